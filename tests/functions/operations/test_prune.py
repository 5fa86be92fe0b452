"""prune, retention and set_retention: what goes, what stays, and that the ledger is sound in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger

DAY = timedelta(days=1)


def prune(q: Ledger, **arguments: Any) -> dict[str, tuple[int, bool]]:
    return {r["task"]: (r["affected"], r["more"]) for r in q.rows("prune", **arguments)}


def prune_all(q: Ledger, **arguments: Any) -> dict[str, int]:
    """Call until nothing more is said to be left; the sums, and fsck after each call."""
    sums: dict[str, int] = {}
    for _ in range(200):
        tasks = prune(q, **arguments)
        for task, (affected, _more) in tasks.items():
            sums[task] = sums.get(task, 0) + affected
        assert q.db.findings() == []
        if not any(more for _affected, more in tasks.values()):
            return sums
    raise AssertionError("it does not end")


def jobs(db: Db) -> set[UUID]:
    return set(db.column("select id from runledger.job_queue"))


def succeeded(q: Ledger, n: int = 1, **job: Any) -> list[UUID]:
    made = []
    for _ in range(n):
        lease = q.leased(**job)
        q.succeed(lease)
        made.append(lease["job_id"])
    return made


def test_what_finished_long_ago_goes_with_all_that_belongs_to_it(db: Db, q: Ledger, clock: Clock):
    [done] = succeeded(q)
    dead = q.dead()
    canceled = q.enqueue()
    q.row("cancel_job", job_id=canceled)
    clock.advance(13 * DAY)
    assert prune_all(q)["jobs"] == 0
    clock.advance(1.1 * DAY)
    # A job and its attempt; a job that never ran.
    assert prune(q)["jobs"] == (3, False)
    assert jobs(db) == {dead}
    assert db.column("select distinct job_id from runledger.job_attempts") == [dead]
    # The letter is kept for 90 days.
    clock.advance(77 * DAY)
    assert prune_all(q)["jobs"] == 3
    for table in ("job_queue", "job_attempts", "job_dead_letters", "job_replays"):
        assert db.value(f"select count(*) from runledger.{table}") == 0, (table, done)
