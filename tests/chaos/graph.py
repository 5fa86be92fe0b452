"""The workflow that producers submit: a diamond whose result is known, if each step ran after what it needs."""

from __future__ import annotations

from typing import Any

STEPS = [
    {"key": "a", "job_type": "step", "payload": {"times": 2}},
    *({"key": f"b{n}", "job_type": "step", "payload": {"times": n}, "after_success": ["a"]} for n in (3, 5, 7)),
    {"key": "c", "job_type": "step", "payload": {"times": 11}, "after_success": ["b3", "b5", "b7"]},
]
PRODUCT = 11 * (2 * 3 + 2 * 5 + 2 * 7)


def multiply(payload: Any, inputs: Any) -> int:
    return int(payload["times"]) * sum((inputs or {"nothing": 1}).values())
