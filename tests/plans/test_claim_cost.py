"""What a claim costs, in shared buffers: flat in ready, delayed, finished and unhandled jobs, and under a held snapshot.

Buffers, not time: they are the same on every machine. EXPLAIN counts those of a function in its top node.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.database import Db

# The one cost that may differ by version: only 18 skips within an index by itself.
pytestmark = pytest.mark.matrix

SMALL, LARGE = 50_000, 500_000
# Of one type and of fifty; the same without a single job to find, where nothing hides a walk.
HANDLED = {"1 type": ["t1"], "50 types": [f"t{n}" for n in range(1, 51)]}
IDLE = {"1 idle type": ["idle1"], "50 idle types": [f"idle{n}" for n in range(1, 51)]}
# Written by hand: through the functions it would take minutes, and only the shape of the table matters here.
FILL = """
    insert into runledger.job_queue
      (id, job_type, status, priority, attempt, max_attempts, timeout_seconds, next_run_at, finished_at,
       created_at, updated_at)
    select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, {job_type}, {status}, {priority}, {attempt},
           8, 900, {due}, {finished}, now(), now()
      from generate_series({first}, {last}) as n"""
READY = {
    "job_type": "'t' || 1 + n % 50",
    "status": "'PENDING'",
    "priority": "100",
    "attempt": "0",
    "due": "timestamptz '2020-01-01 00:00Z' + n * interval '1 ms'",
    "finished": "null",
}
AHEAD = "timestamptz '2100-01-01 00:00Z' + n * interval '1 ms'"
SHAPES: dict[str, dict[str, str]] = {
    "ready": {},
    # Of the priority of the ready ones, and above and below it.
    "delayed": {"due": AHEAD, "priority": "50 * (1 + n / 50 % 6)"},
    "finished": {"status": "'SUCCEEDED'", "attempt": "1", "finished": "now()"},
    # Due before everything else; half of it of the priority of the ready ones, half above it, no two alike.
    "unhandled": {"job_type": "'nobody' || n % 5", "priority": "100 + n % 2 * n"},
}
Cost = dict[str, int]


def fill(db: Db, first: int, last: int, **columns: str) -> None:
    db.execute(FILL.format(first=first, last=last, **{**READY, **columns}))


def explained(conn: psycopg.Connection[Any], types: Sequence[str], max_jobs: int) -> tuple[int, int]:
    """Claim in a transaction that is rolled back; return (buffers touched, jobs claimed)."""
    row = conn.execute(
        "explain (analyze, buffers, timing off, format json) select * from runledger.claim_jobs('plans', %s, %s)",
        [list(types), max_jobs],
    ).fetchone()
    assert row is not None
    top = row[0][0]["Plan"]
    return top["Shared Hit Blocks"] + top["Shared Read Blocks"], int(top["Actual Rows"])


def cost(conn: psycopg.Connection[Any], handled: dict[str, list[str]]) -> Cost:
    """Buffers of a claim of 100 that has no mark to start from, by what it handles; caches are warm."""
    costs = {}
    for name, types in handled.items():
        seen = []
        for _ in range(4):
            conn.execute("begin")
            conn.execute("set local runledger.claim_mark = ''")
            buffers, claimed = explained(conn, types, 100)
            conn.execute("rollback")
            assert claimed == (0 if handled is IDLE else 100)
            seen.append(buffers)
        costs[name] = int(statistics.median(seen[1:]))
    return costs


def assert_flat(small: Cost, large: Cost, *, of: str) -> None:
    """Within 1.2 times; an empty claim makes a few probes only, and each may meet one more level of its B-tree."""
    grown = {n: (small[n], large[n]) for n in small if large[n] > max(small[n] * 1.2, small[n] + 4)}
    assert not grown, f"{of}: buffers of a claim grew (from, to): {json.dumps(grown)}; all: {small} {large}"


@pytest.mark.slow
@pytest.mark.corrupts
@pytest.mark.parametrize("shape", SHAPES)
def test_claim_of_100_touches_as_many_buffers_at_500_000_jobs_as_at_50_000(db: Db, shape: str):
    db.execute("alter table runledger.job_queue set (autovacuum_enabled = off)")
    db.execute("insert into runledger.job_definitions (job_type) select 't' || n from generate_series(1, 50) n")
    db.execute("insert into runledger.job_definitions (job_type) select 'idle' || n from generate_series(1, 50) n")
    # This session makes its plans while the table is empty, and keeps them: five custom ones, then a generic one.
    early = db.connect()
    for _ in range(8):
        for types in (*HANDLED.values(), *IDLE.values()):
            assert explained(early, types, 100)[1] == 0
    fill(db, 1, SMALL, **SHAPES[shape])
    if shape != "ready":
        fill(db, 10_000_001, 10_010_000)
    db.execute("vacuum analyze runledger.job_queue")
    small = cost(db.connect(), HANDLED), cost(db.connect(), IDLE)
    stale = db.connect()
    cost(stale, HANDLED), cost(stale, IDLE)

    fill(db, SMALL + 1, LARGE, **SHAPES[shape])

    # Before any ANALYZE: these two plan for a table that is a tenth of the size.
    assert_flat(small[0], cost(stale, HANDLED), of=f"{shape}, planned at {SMALL}")
    assert_flat(small[1], cost(stale, IDLE), of=f"{shape}, planned at {SMALL}")
    assert_flat(small[0], cost(early, HANDLED), of=f"{shape}, planned when empty")
    assert_flat(small[1], cost(early, IDLE), of=f"{shape}, planned when empty")
    db.execute("vacuum analyze runledger.job_queue")
    fresh = db.connect()
    assert_flat(small[0], cost(fresh, HANDLED), of=shape)
    assert_flat(small[1], cost(fresh, IDLE), of=shape)


def test_the_ladder_sees_a_walk(db: Db):
    """The same measure, with a claim that filters by type what it finds in the order of the queue."""
    db.execute("alter table runledger.job_queue set (autovacuum_enabled = off)")
    db.execute("insert into runledger.job_definitions (job_type) select 'idle' || n from generate_series(1, 50) n")
    db.execute("""
        create or replace function runledger._lock_ready(
          job_types text[], priority integer, from_at timestamptz, from_id uuid, max_jobs integer, now timestamptz)
        returns runledger._pick language sql as $$
          select runledger._lock_window(job_types, priority, from_at, from_id, now,
            'ffffffff-ffff-ffff-ffff-ffffffffffff', max_jobs) $$""")
    fill(db, 1, 1_000, job_type="'nobody'")
    small = cost(db.connect(), IDLE)
    fill(db, 1_001, 10_000, job_type="'nobody'")
    with pytest.raises(AssertionError, match="buffers of a claim grew"):
        assert_flat(small, cost(db.connect(), IDLE), of="unhandled")
    db.execute("truncate runledger.job_queue cascade")


class Drain:
    """Claims and finishes in one session, whose claims keep their mark, beside a session that holds a snapshot."""

    def __init__(self, db: Db) -> None:
        db.execute("alter table runledger.job_queue set (autovacuum_enabled = off)")
        db.execute("select runledger.define_job('t1'), runledger.define_job('t2')")
        self.producer = db.connect()
        self.worker = db.connect()
        self.worker.execute("create temp table claimed (job_id uuid, lease_token bigint)")
        self.holder = db.connect(autocommit=False, application_name="holder")
        self.holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self.holder.execute("select count(*) from runledger.job_queue")
        self.buffers: list[int] = []
        self.finished = 0
        self.started = time.monotonic()

    def enqueue(self, jobs: int) -> None:
        self.producer.execute(
            "select count(*) from runledger.enqueue_jobs((select jsonb_agg(jsonb_build_object("
            "'job_type', 't' || 1 + n %% 2)) from generate_series(1, %s) as n))",
            [jobs],
        )

    def claim_and_finish(self, expected: int) -> None:
        row = self.worker.execute(
            "explain (analyze, buffers, timing off, format json) insert into claimed"
            " select c.job_id, c.lease_token from runledger.claim_jobs('plans', '{t1,t2}', 100) as c"
        ).fetchone()
        assert row is not None
        top = row[0][0]["Plan"]
        self.buffers.append(top["Shared Hit Blocks"] + top["Shared Read Blocks"])
        done = self.worker.execute(
            "select count(*) filter (where f.disposition = 'SUCCEEDED') from runledger.finish_jobs((select jsonb_agg("
            "jsonb_build_object('job_id', c.job_id, 'lease_token', c.lease_token, 'outcome', 'SUCCEEDED'))"
            " from claimed as c)) as f"
        ).fetchone()
        assert done == (expected,)
        self.finished += expected
        self.worker.execute("truncate claimed")

    def assert_flat(self) -> None:
        """Within twice the start, but for the look at the whole index that a session takes once a second."""
        self.holder.rollback()
        start = statistics.median(self.buffers[:10])
        looks = [spent for spent in self.buffers if spent > 2 * start]
        assert len(looks) <= time.monotonic() - self.started + 2, (start, self.buffers)
        assert statistics.median(self.buffers[-50:]) <= 1.5 * start, (start, self.buffers[-50:])


@pytest.mark.slow
def test_claims_stay_flat_while_a_snapshot_is_held_and_50_000_jobs_are_claimed_and_finished(db: Db):
    drain = Drain(db)
    for _ in range(5):
        drain.enqueue(10_000)
    db.execute("analyze runledger.job_queue")
    while drain.finished < 50_000:
        drain.claim_and_finish(100)
    drain.assert_flat()


@pytest.mark.slow
def test_claims_stay_flat_while_a_snapshot_is_held_and_the_queue_keeps_up_with_its_work(db: Db):
    """Each claim takes all there is, less than it may: it must not look from the start of the index for more."""
    drain = Drain(db)
    while drain.finished < 6_000:
        drain.enqueue(20)
        drain.claim_and_finish(20)
    drain.assert_flat()


def buffers(conn: psycopg.Connection[Any], query: str) -> int:
    row = conn.execute(f"explain (analyze, buffers, timing off, format json) {query}").fetchone()
    assert row is not None
    top = row[0][0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


CLAIM = "select * from runledger.claim_jobs('w', '{t1,t2,limited}', 100)"
IDLING = "select * from runledger.idle_worker('w', clock_timestamp() + interval '1 minute')"


@pytest.mark.slow
@pytest.mark.corrupts  # jobs are written by hand
def test_an_empty_queue_is_cheap_to_ask_while_a_snapshot_is_held(db: Db, clock: Clock):
    """Whether this session claimed what is gone or another did, and with jobs nobody handles before and behind it."""
    drain = Drain(db)
    clock.stop()  # a mark is good for a second, one of a dear look for longer; this clock reads a table, too
    db.execute("select runledger.define_job('limited', max_concurrency => 5), runledger.define_job('nobody')")
    fill(db, 1, 5_000, job_type="'nobody'", priority="500")
    drain.enqueue(10_000)
    while drain.finished < 10_000:
        drain.claim_and_finish(100)
    fill(db, 5_001, 10_000, job_type="'nobody'", priority="50")
    db.execute("analyze runledger.job_queue")
    fresh = db.connect()
    fresh.execute("select runledger.register_worker('w', array['t1', 't2', 'limited'])")
    clock.advance(0.5)
    drain.enqueue(100)
    drain.claim_and_finish(100)
    for conn in (fresh, drain.worker):
        assert buffers(conn, CLAIM) > 500, "the first look walks over all that is gone"
        buffers(conn, IDLING)  # reads the catalog, too
        # Without a priority it has claimed in, servers before 18 read the index to the end, but visit no row.
        allowed = 200 if conn is fresh and conn.info.server_version < 180000 else 80
        for _ in range(3):
            assert buffers(conn, IDLING) < allowed
            assert buffers(conn, CLAIM) < allowed
    drain.holder.rollback()


@pytest.mark.slow
def test_a_job_behind_what_was_swept_is_found_by_the_next_look_from_the_start(db: Db):
    drain = Drain(db)
    drain.enqueue(4_000)
    while drain.finished < 4_000:
        drain.claim_and_finish(100)
    assert claimed(drain.worker) == []
    assert mark(drain.worker)["look_took"] > "00:00:00", "it walked over 2,000 entries"
    mark(drain.worker, look_took="3 s")
    behind, new = (enqueued(db, "1 hour", priority=priority) for priority in (100, 500))
    assert claimed(drain.worker) == []
    fresh = enqueued(db, "0 s")
    assert claimed(drain.worker) == [fresh]
    mark(drain.worker, looked_at="2020-01-01T00:00:00Z")
    assert claimed(drain.worker) == [new, behind]
    drain.holder.rollback()


def mark(conn: psycopg.Connection[Any], **changes: str) -> dict[str, Any]:
    """The mark of this session, after these changes of it."""
    row = conn.execute(
        "select set_config('runledger.claim_mark', (current_setting('runledger.claim_mark')::jsonb || %s)::text, false)",
        [json.dumps(changes)],
    ).fetchone()
    assert row is not None
    return dict(json.loads(row[0]))


def claimed(conn: psycopg.Connection[Any]) -> list[str]:
    return [str(row[0]) for row in conn.execute("select job_id from runledger.claim_jobs('w', '{t1}', 10)")]


def enqueued(db: Db, age: str, priority: int = 100) -> str:
    """Enqueue a job that has been due for that long."""
    query = "select job_id from runledger.enqueue_job('t1', run_at => now() - %s::interval, priority => %s)"
    return str(db.value(query, [age, priority]))


def test_jobs_committed_late_are_found_behind_the_mark(db: Db):
    db.execute("select runledger.define_job('t1')")
    worker = db.connect()
    assert claimed(worker) == []
    first = enqueued(db, "1 minute")
    assert claimed(worker) == [first]
    late = str(
        db.value(
            "select job_id from runledger.enqueue_job('t1', run_at => (select next_run_at - interval '50 ms'"
            " from runledger.job_queue where id = %s))",
            [first],
        )
    )
    fresh = enqueued(db, "0 s")
    assert claimed(worker) == [late, fresh]


def test_jobs_far_behind_the_mark_are_found_by_the_claim_that_finds_nothing_else(db: Db):
    db.execute("select runledger.define_job('t1')")
    worker = db.connect()
    first = enqueued(db, "0 s")
    assert claimed(worker) == [first]
    old, fresh = enqueued(db, "1 hour"), enqueued(db, "0 s")
    assert sorted(claimed(worker) + claimed(worker)) == sorted([old, fresh])
    assert claimed(worker) == []


def test_jobs_of_a_new_priority_are_never_behind_the_mark(db: Db):
    db.execute("select runledger.define_job('t1')")
    worker = db.connect()
    first = enqueued(db, "0 s")
    assert claimed(worker) == [first]
    above = str(db.value("select job_id from runledger.enqueue_job('t1', priority => 500, run_at => '2020-01-01Z')"))
    below = str(db.value("select job_id from runledger.enqueue_job('t1', priority => -5, run_at => '2020-01-01Z')"))
    assert claimed(worker) == [above, below]
