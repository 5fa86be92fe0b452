"""What a call of prune costs, in shared buffers: flat in what it does not delete, whatever that is and however much."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plans.test_claim_cost import fill
from tests.plans.test_workflow_cost import buffers
from tests.support.database import Db

SMALL, LARGE = 20_000, 120_000
DONE = {"status": "'SUCCEEDED'", "attempt": "1"}
# Ids of test_claim_cost are as old as can be, so each call looks at them; what changed lately is kept.
KEPT: dict[str, dict[str, str]] = {
    "pending": {},
    "finished lately": {**DONE, "finished": "now()"},
}
PRUNE = "select * from runledger.prune('1 day', %s)"


def cost(db: Db, max_rows: int = 1000) -> int:
    db.execute("vacuum analyze")
    return buffers(db, PRUNE, [max_rows])


def test_what_stays_costs_no_more_however_much_it_is(db: Db):
    for shape, columns in KEPT.items():
        found = {}
        for first, last in ((1, SMALL), (SMALL + 1, LARGE)):
            fill(db, first, last, **columns)
            found[last] = cost(db)
        # A B-tree of ten times the size may be a level higher.
        assert found[LARGE] <= 1.2 * found[SMALL] + 20, (shape, found)
        db.execute("truncate runledger.job_queue cascade")


def test_what_is_too_young_is_not_even_looked_at(db: Db):
    db.execute(
        "insert into runledger.job_queue (id, job_type, status, priority, attempt, max_attempts, timeout_seconds,"
        " next_run_at, finished_at, created_at, updated_at) select runledger._uuidv7(), 't', 'SUCCEEDED', 100, 1, 8, 900,"
        " now(), now(), now(), now() from generate_series(1, %s)",
        [LARGE],
    )
    young = cost(db)
    db.execute("truncate runledger.job_queue cascade")
    assert young <= cost(db) + 20


@pytest.mark.corrupts  # jobs made by hand, without events
def test_what_goes_costs_the_same_in_a_long_and_in_a_short_history(db: Db):
    found: dict[int, Any] = {}
    for first, last in ((1, SMALL), (SMALL + 1, LARGE)):
        fill(db, first, last, **DONE, finished="timestamptz '2020-01-01Z'")
        db.execute("update runledger.job_queue set updated_at = finished_at where updated_at > finished_at")
        db.execute(
            "insert into runledger.job_attempts (job_id, run_number, attempt, worker_id, lease_token, leased_at, started_at,"
            " finished_at, disposition) select q.id, 1, 1, 'w', 1, q.finished_at, q.finished_at, q.finished_at, 'SUCCEEDED'"
            " from runledger.job_queue as q on conflict do nothing"
        )
        found[last] = cost(db)
        with db.conn.transaction(force_rollback=True):
            rows = db.conn.execute(PRUNE, [1000]).fetchall()
        assert {r[0]: r[1] for r in rows}["jobs"] == 1000
    assert found[LARGE] <= 1.3 * found[SMALL] + 50, found
