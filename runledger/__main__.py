"""`python -m runledger`."""

from __future__ import annotations

from runledger.cli import main

if __name__ == "__main__":
    main()
