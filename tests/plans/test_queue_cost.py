"""What a look at the queues costs, in shared buffers: it does not grow with what waits, and not with what has finished."""

from __future__ import annotations

import pytest

from tests.plans.test_claim_cost import fill
from tests.plans.test_health_cost import LARGE, SMALL, buffers, mixed, prepare
from tests.support.database import Db

# The largest count of a look: fifty types, and the heap once for each of the pending jobs it counts.
COUNTED = 100_000
RUNS = """
    insert into runledger.workflow_runs
      (id, workflow_type, status, enqueue_request, started_at, finished_at, created_at, updated_at)
    select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'w', 'SUCCEEDED', '{}', now(), now(), now(), now()
      from generate_series(1, 50000) as n"""

ATTEMPTS = """
    insert into runledger.job_attempts
      (job_id, run_number, attempt, worker_id, lease_token, leased_at, finished_at, disposition)
    select q.id, 1, 1, 'w', 1, now(), now(), 'SUCCEEDED' from runledger.job_queue q where q.status = 'SUCCEEDED'"""


@pytest.mark.slow
@pytest.mark.corrupts
def test_lists_of_the_present_touch_no_more_buffers_in_a_large_queue(db: Db):
    prepare(db)
    db.execute("select runledger.enqueue_workflow('w', '[{\"key\": \"g\", \"external\": true}]')")
    mixed(db, 1, SMALL)
    db.execute("vacuum analyze")
    looks = {
        "running": "select * from runledger.list_running_jobs(max_rows => 200)",
        "waiting": "select * from runledger.list_waiting_jobs('t7', max_rows => 200)",
        "runs": "select * from runledger.list_live_workflows()",
    }
    small = {name: buffers(db.connect(), look) for name, look in looks.items()}
    early = db.connect()
    for look in looks.values():
        buffers(early, look)
    mixed(db, SMALL + 1, LARGE)
    db.execute(RUNS)
    db.execute(ATTEMPTS)
    for kind, conn in (("planned early", early), ("planned late", db.connect())):
        if kind == "planned late":
            db.execute("vacuum analyze")
        large = {name: buffers(conn, look) for name, look in looks.items()}
        # A hundred held jobs and two hundred waiting ones are looked up by keys whose trees may grow by two levels.
        assert {n: b for n, b in large.items() if b > small[n] + 2 * 200 + 20} == {}, (kind, small)
    queues = "select * from runledger.list_queues(max_rows => 1000)"
    # An index entry of all that is counted, at worst with its row, and some probes for each type.
    assert buffers(early, queues) < 1.1 * COUNTED + 51 * 60
    # Finished jobs, three times as many, are not looked at.
    db.execute("select count(*) from runledger.enqueue_jobs('[{\"job_type\": \"t1\"}]')")
    before = buffers(early, queues)
    fill(db, LARGE + 1, 2 * LARGE, status="'SUCCEEDED'", attempt="1", finished="now()")
    assert buffers(early, queues) <= before * 1.05


@pytest.mark.corrupts
def test_what_is_held_is_found_by_an_index_of_its_own(db: Db):
    """By the reaper, by the limit of a type, by a run that gives back its key: jobs without a token are not looked at."""
    prepare(db)
    db.execute("select runledger.define_job('t1', max_concurrency => 5)")
    # The one that is held is the last of all that a walk would meet.
    fill(db, 1, 10_000, status="'SUCCEEDED'", attempt="1", finished="now()")
    steps = '[{"key": "a", "job_type": "t1"}]'
    run = db.value("select (runledger.enqueue_workflow('w', %s, active_key => 'k')).workflow_run_id", [steps])
    db.execute("select runledger.claim_jobs('w', '{t1}')")
    db.execute("select runledger.cancel_workflow(%s)", [run])
    db.execute("vacuum analyze")
    conn = db.connect(admin=True)
    for look in (
        "select * from runledger.reap_expired_leases()",
        "select runledger._free_slots('t1', 5, runledger._now())",
        f"select runledger._release_active_keys('{{{run}}}', runledger._now())",
    ):
        assert buffers(conn, look) < 60, look
    assert db.value("select active_key_held from runledger.workflow_runs")
