"""What reading the metrics costs, in shared buffers: the same with ten times the history behind it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.functions.operations.test_metrics import roll_up_all, slots, totals
from tests.support.database import Db
from tests.support.ledger import Ledger

RECENT, SMALL, LARGE = 4_000, 10_000, 100_000
# What the functions would have written for jobs that were enqueued, claimed and succeeded, 20 types, over days.
FILL = (
    """
    insert into runledger.job_queue
      (id, job_type, status, priority, attempt, max_attempts, timeout_seconds, next_run_at, finished_at, created_at,
       updated_at)
    select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 't' || n %% 20, 'SUCCEEDED', 100, 1, 8, 900,
           now(), now(), now(), now()
      from generate_series(%(first)s::int, %(last)s::int) as n""",
    """
    insert into runledger.job_attempts
      (job_id, run_number, attempt, worker_id, lease_token, leased_at, started_at, finished_at, disposition)
    select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 1, 1, 'w', n, now() - interval '1 s',
           now() - interval '1 s', now() - n %% 1000 * interval '1 ms', 'SUCCEEDED'
      from generate_series(%(first)s::int, %(last)s::int) as n""",
    """
    insert into runledger.job_events (job_id, run_number, attempt, event_type, occurred_at)
    select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 1, e.attempt,
           e.type::runledger.job_event_type, now() - interval '1 day' * (%(since)s + %(days)s * (n - %(first)s) / (%(last)s - %(first)s)::float8)
      from generate_series(%(first)s::int, %(last)s::int) as n
     cross join (values ('ENQUEUED', null), ('LEASED', 1), ('SUCCEEDED', 1)) as e(type, attempt)""",
)
READS = {
    "view": "select * from runledger.job_metrics_rollup",
    "job_metrics": "select * from runledger.job_metrics()",
    "metrics_prometheus": "select runledger.metrics_prometheus()",
}


def fill(db: Db, first: int, last: int, *, since: int, days: int) -> None:
    """Jobs first to last, spread evenly over that many days, which ended `since` days ago."""
    for statement in FILL:
        db.execute(statement, {"first": first, "last": last, "since": since, "days": days})


def buffers(conn: psycopg.Connection[Any], query: str) -> int:
    """Buffers of the second run: the first reads the catalog."""
    for _ in range(2):
        row = conn.execute(f"explain (analyze, buffers, timing off, format json) {query}").fetchone()
        assert row is not None
    top = row[0][0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def costs(db: Db) -> dict[str, int]:
    conn = db.connect()
    return {name: buffers(conn, query) for name, query in READS.items()}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.corrupts  # jobs and events are written by hand
def test_reading_metrics_costs_the_same_with_ten_times_the_history(db: Db):
    q = Ledger(db)
    db.execute("insert into runledger.job_definitions (job_type) select 't' || n from generate_series(0, 19) as n")
    seen = []
    # The last day is the same in both: what is shown of it is read, history is not.
    fill(db, 1, RECENT, since=0, days=1)
    for first, last in ((RECENT + 1, SMALL), (SMALL + 1, LARGE)):
        fill(db, first, last, since=2, days=4)
        # As autovacuum would, after rolling up: this also proves that the roll-up summarises by itself.
        db.execute("analyze runledger.job_queue, runledger.job_attempts, runledger.job_events")
        roll_up_all(q)
        db.execute("vacuum analyze runledger.job_metrics_slots, runledger.job_metrics_totals, runledger.job_queue")
        seen.append(costs(db))
    assert totals(db) == {(f"t{n}", e): LARGE // 20 for n in range(20) for e in ("ENQUEUED", "SUCCEEDED")}
    assert sum(slots(db).values()) == 2 * LARGE
    small, large = seen
    assert {k: v for k, v in large.items() if v > small[k] * 1.2 + 20} == {}, (small, large)
