"""Wait for what another process or session does, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(holds: Callable[[], Any], what: str = "", *, seconds: float = 90.0) -> Any:
    """The first true answer, asked for again and again; `seconds` only bounds a failure, which tells `what`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := holds():
            return answer
        time.sleep(0.005)
    raise TimeoutError(f"did not happen: {what or holds}")
