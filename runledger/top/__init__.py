"""`runledger top`: a live view in a terminal. Elsewhere, and with `once`, one frame of everything as text."""

from __future__ import annotations

from runledger.top.live import run
from runledger.top.once import frame

__all__ = ["frame", "run"]
