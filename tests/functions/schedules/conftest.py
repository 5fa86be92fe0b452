"""`plan` creates schedules of the job type `t`; what a test leaves overdue is no finding of fsck."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger

Plan = Callable[..., dict[str, Any]]
Fire = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def plan(db: Db, q: Ledger, clock: Clock) -> Iterator[Plan]:
    """plan("name", "0 * * * *", **arguments of upsert_schedule). It is half past, and time passes as the test says."""
    clock.stop()
    to(clock, clock.now().replace(minute=30, second=0, microsecond=0))

    def upsert(
        name: str = "s", cron: str = "0 * * * *", job_type: str | None = "t", **arguments: Any
    ) -> dict[str, Any]:
        return q.row("upsert_schedule", name=name, job_type=job_type, cron=cron, **arguments)

    yield upsert
    db.execute("update runledger.job_schedules set is_active = false")


@pytest.fixture
def fire(q: Ledger) -> Fire:
    def call(max_schedules: int = 100) -> list[dict[str, Any]]:
        return q.rows("fire_due_schedules", max_schedules=max_schedules)

    return call


def stored(db: Db, name: str = "s") -> dict[str, Any]:
    return db.one("select * from runledger.job_schedules where name = %s", [name])


def jobs(db: Db, name: str = "s") -> list[dict[str, Any]]:
    """The jobs of a schedule, by the instant they stand for."""
    return db.all(
        "select q.* from runledger.job_queue as q where payload #>> '{_schedule,schedule_name}' = %s order by scheduled_for",
        [name],
    )


def to(clock: Clock, at: datetime, late: float = 0) -> datetime:
    """Let it be that instant, or so many seconds later."""
    return clock.advance((at - clock.now()).total_seconds() + late)
