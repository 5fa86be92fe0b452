"""What a look at the health and a fast fsck cost, in shared buffers: the same in small and in large queues."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.plans.test_claim_cost import AHEAD, fill
from tests.support.database import Db

SMALL, LARGE = 15_000, 150_000


def buffers(conn: psycopg.Connection[Any], query: str) -> int:
    """Of the third run: caches are warm, plans are made."""
    for _ in range(3):
        row = conn.execute(f"explain (analyze, buffers, timing off, format json) {query}".encode()).fetchone()
        assert row is not None
    top = row[0][0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def mixed(db: Db, first: int, last: int) -> None:
    """A third ready, a third delayed, a third finished, of fifty types and six priorities."""
    third = (last - first + 1) // 3
    fill(db, first, first + third - 1, priority="100 + 50 * (n / 50 % 6)")
    fill(db, first + third, first + 2 * third - 1, due=AHEAD)
    fill(db, first + 2 * third, last, status="'SUCCEEDED'", attempt="1", finished="now()")


def prepare(db: Db) -> None:
    db.execute("alter table runledger.job_queue set (autovacuum_enabled = off)")
    db.execute("insert into runledger.job_definitions (job_type) select 't' || n from generate_series(1, 50) n")
    db.execute("insert into runledger.job_definitions (job_type) values ('leased')")
    db.execute("select count(*) from runledger.enqueue_jobs((select jsonb_agg('{\"job_type\": \"leased\"}'::jsonb)"
               " from generate_series(1, 100)))")  # fmt: skip
    db.execute("select count(*) from runledger.claim_jobs('w', '{leased}', 100)")
    db.execute("select runledger.register_worker('w', '{t1}')")


@pytest.mark.slow
@pytest.mark.corrupts
def test_health_touches_as_many_buffers_at_150_000_jobs_as_at_15_000(db: Db):
    prepare(db)
    mixed(db, 1, SMALL)
    db.execute("vacuum analyze runledger.job_queue")
    small = buffers(db.connect(), "select * from runledger.health()")
    early = db.connect()
    buffers(early, "select * from runledger.health()")
    mixed(db, SMALL + 1, LARGE)
    stale = buffers(early, "select * from runledger.health()")
    # Each probe also visits its row: no vacuum has told that all may see it.
    assert stale <= small * 1.4, (small, stale, "with plans for a tenth of the table")
    db.execute("vacuum analyze runledger.job_queue")
    large = buffers(db.connect(), "select * from runledger.health()")
    assert large <= small * 1.2, (small, large)


@pytest.mark.slow
@pytest.mark.corrupts
def test_a_fast_fsck_touches_as_many_buffers_at_150_000_keyed_jobs_as_at_15_000(db: Db):
    look = "select * from runledger.fsck('fast')"
    prepare(db)
    mixed(db, 1, SMALL)
    keyed = "update runledger.job_queue set idempotency_key = id::text, enqueue_request = '{}' where idempotency_key is null"
    db.execute(keyed)
    db.execute("vacuum analyze runledger.job_queue")
    stale = db.connect()
    small = buffers(stale, look)
    mixed(db, SMALL + 1, LARGE)
    db.execute(keyed)
    db.execute("vacuum analyze runledger.job_queue")
    assert buffers(db.connect(), look) <= small * 1.2
    # A session that looks often has no generic plan, which would read the whole table.
    assert {buffers(stale, look) <= small * 1.2 for _ in range(5)} == {True}
    assert db.all(look) == []
    db.execute("alter table runledger.job_queue drop constraint a_pending_job_has_an_attempt_left")
    assert buffers(db.connect(), look) > 5 * small, "without the constraint the rows are read"


@pytest.mark.slow
@pytest.mark.corrupts
def test_a_queue_of_nothing_but_priorities_makes_health_no_dearer(db: Db):
    prepare(db)
    fill(db, 1, 100)
    few = buffers(db.connect(), "select * from runledger.health()")
    fill(db, 101, 50_000, job_type="'odd' || n % 2", priority="n")
    db.execute("vacuum analyze runledger.job_queue")
    assert buffers(db.connect(), "select * from runledger.health()") <= few + 2 * 10 * 25
    [found] = db.all("select * from runledger.health() where code = 'queue.no_worker'")
    assert {t["job_type"] for t in found["detail"]["worst"][:2]} <= {"odd0", "odd1", *(f"t{n}" for n in range(51))}
