"""Where psql is."""

from __future__ import annotations

import shutil

from runledger import embedded


def psql() -> str:
    """That of the newest binaries at hand: older ones do not know newer servers."""
    ours = embedded.find_binaries() / "psql"
    found = str(ours) if ours.exists() else shutil.which("psql")
    assert found, "psql is missing"
    return found
