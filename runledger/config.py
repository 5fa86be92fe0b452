"""Settings of a worker: the variables JOBS_*, with defaults and bounds.

A field is the variable of its name: `lease_ttl_seconds` is JOBS_LEASE_TTL_SECONDS. From the environment a value
that makes no sense counts as not given and one out of bounds is drawn in; a `Config` made by hand is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self
from uuid import uuid4

_drawn: dict[str, int] = {}
"""Names that were drawn, and the process that drew them."""


def drawn_name() -> str:
    """A name for a worker that gives itself none."""
    name = f"worker-{uuid4()}"
    _drawn[name] = os.getpid()
    return name


def is_inherited(worker_id: str) -> bool:
    """Whether the name was drawn by the process that this one was forked from, which may go on under it."""
    return _drawn.get(worker_id, os.getpid()) != os.getpid()


class ConfigError(ValueError):
    """A setting is out of its bounds; `field` names it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


def _setting(default: float, help_: str, *, lowest: float, ceiling: float = math.inf) -> Any:
    # `lowest` holds for the environment; by hand anything above zero will do, for tests above all.
    return field(default=default, metadata={"lowest": lowest, "ceiling": ceiling, "help": help_})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How a worker works. Everything has a default; `Config.from_env()` reads JOBS_*."""

    worker_id: str = field(
        default_factory=drawn_name,
        metadata={"help": "Name of this process in the ledger; no two running workers may share one."},
    )
    poll_interval_ms: int = _setting(1000, "Pause between claims when idle (up to 30% more).", lowest=1)
    claim_batch_size: int = _setting(16, "Jobs claimed at once, and leases reaped at once.", lowest=1, ceiling=1000)
    lease_ttl_seconds: int = _setting(60, "Length of a lease.", lowest=10, ceiling=86400)
    max_global_concurrency: int = _setting(32, "Handlers at work at once.", lowest=1)
    reaper_interval_seconds: float = _setting(15, "Pause between looks for expired leases.", lowest=1)
    reaper_retry_delay_ms: int = _setting(30000, "Delay of a job whose lease expired.", lowest=1000)
    schedule_poll_interval_seconds: float = _setting(30, "Pause between looks for due schedules.", lowest=1)
    shutdown_grace_seconds: float = _setting(30, "Time for running handlers to end at shutdown.", lowest=0)
    call_timeout_seconds: float = _setting(15, "A database call that takes longer is given up.", lowest=1)
    prepare: int = _setting(1, "0 behind a pooler that cannot keep prepared statements.", lowest=0, ceiling=1)
    listen_dsn: str = field(
        default="",
        repr=False,  # it may hold a password
        metadata={"help": "Where wake-ups are heard, straight to the server, if the other DSN leads to a pooler."},
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "listen_dsn":
                if not isinstance(value, str):
                    raise ConfigError(f.name, "give a connection string")
                continue
            if f.name == "worker_id":
                if not isinstance(value, str) or not value.strip() or len(value.encode()) > 200:
                    raise ConfigError(f.name, "give 1 to 200 bytes that are not blank")
                continue
            numeric = int if f.type == "int" else int | float
            if not isinstance(value, numeric) or isinstance(value, bool) or not math.isfinite(value):
                raise ConfigError(f.name, "give a whole number" if f.type == "int" else "give a number")
            zero_too = f.metadata["lowest"] == 0
            if value < 0 or (value == 0 and not zero_too) or value > f.metadata["ceiling"]:
                raise ConfigError(f.name, f"is out of range: above 0, at most {f.metadata['ceiling']}")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Self:
        """Settings from JOBS_*; what is `given` and not None wins over the environment, drawn in like it."""
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for f in fields(cls):
            raw = given.get(f.name)
            text = str(environ.get(f"JOBS_{f.name.upper()}", "") if raw is None else raw).strip()
            if f.name == "listen_dsn":
                values[f.name] = text
                continue
            if f.name == "worker_id":
                if text and len(text.encode()) <= 200:
                    values[f.name] = text
                continue
            try:
                number = int(text) if f.type == "int" else float(text)
            except ValueError:
                continue
            if math.isfinite(number):
                values[f.name] = min(max(number, f.metadata["lowest"]), f.metadata["ceiling"])
        return cls(**values)
