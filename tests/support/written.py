"""Texts that are checked in, to be read, and held to: `RUNLEDGER_WRITE=1 pytest …` writes anew what its tests say. Read what changed before you commit it."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

WRITING = bool(os.environ.get("RUNLEDGER_WRITE"))


def stands_written(path: Path, text: str) -> None:
    """The text is what stands in the file, or becomes it."""
    if WRITING:
        path.write_text(text)
    stands, got = path.read_text().splitlines(), text.splitlines()
    assert got == stands, "\n".join(difflib.unified_diff(stands, got, path.name, "said", lineterm="", n=2))
