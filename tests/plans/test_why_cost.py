"""What why costs, in shared buffers: flat in ready, delayed and finished jobs, and bounded where it counts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Db
from tests.support.flows import Flows, gate, step
from tests.support.ledger import Ledger

# The rows are written without their events, which fsck would rightly miss.
pytestmark = pytest.mark.corrupts

SMALL, LARGE = 15_000, 150_000
# Written by hand: through the functions it would take minutes, and only the shape of the tables matters here.
FILL = """
    insert into runledger.job_queue
      (id, job_type, status, priority, attempt, max_attempts, timeout_seconds, next_run_at, finished_at,
       created_at, updated_at)
    select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 't' || 1 + n %% 10,
           case when n %% 3 = 2 then 'SUCCEEDED' else 'PENDING' end::runledger.job_status, 100 + n %% 7, n %% 3 / 2,
           8, 900, case when n %% 3 = 1 then timestamptz '2100-01-01' else timestamptz '2020-01-01' end + n * interval '1 ms',
           case when n %% 3 = 2 then now() end, now(), now()
      from generate_series(%s::int, %s::int) as n"""


def fill(db: Db, first: int, last: int) -> None:
    """A third each: ready, delayed (in front of everything by priority too), finished; ten types, seven priorities."""
    db.execute(FILL, [first, last])
    db.execute("vacuum analyze runledger.job_queue")


def cost(db: Db, query: str, params: Any) -> int:
    """Buffers of the call once its plans are made and the pages are cached."""
    seen = []
    for _ in range(3):
        row = db.conn.execute("explain (analyze, buffers, timing off, format json) " + query, params).fetchone()
        assert row is not None
        top = row[0][0]["Plan"]
        seen.append(top["Shared Hit Blocks"] + top["Shared Read Blocks"])
    return min(seen)


@pytest.fixture
def q(db: Db) -> Ledger:
    ledger = Ledger(db, db.conn)
    for n in range(1, 11):
        ledger.define(f"t{n}")
    ledger.row("register_worker", worker_id="w1", job_types=[f"t{n}" for n in range(1, 11)], max_jobs=5000)
    return ledger


def test_why_costs_the_same_whatever_waits(db: Db, q: Ledger):
    """Of the last of all ready jobs, of one in front of them, of one that runs and of one that is dead."""
    found: dict[int, dict[str, int]] = {}
    done = 0
    for size in (SMALL, LARGE):
        fill(db, done + 1, size)
        done = size
        if size == SMALL:
            q.rows("claim_jobs", worker_id="w1", job_types=["t1", "t2"], max_jobs=500)
        of = "select id from runledger.job_queue where job_type = 't4' and "
        jobs = {
            "last": q.enqueue("t4", priority=1),
            "first": q.enqueue("t4", priority=1000, run_at=db.value("select timestamptz '2019-01-01'")),
            "delayed": db.value(of + "status = 'PENDING' and next_run_at > now() limit 1"),
            "running": db.value("select id from runledger.job_queue where status = 'LEASED' limit 1"),
            "succeeded": db.value(of + "status = 'SUCCEEDED' limit 1"),
        }
        db.execute("vacuum analyze")
        found[size] = {name: cost(db, "select * from runledger.why(%s)", [job_id]) for name, job_id in jobs.items()}
        [row] = q.rows("why", job_id=jobs["last"])
        assert row["explanation"].startswith("Before it: more than 1000 ready jobs")
    for name, buffers in found[LARGE].items():
        # A B-tree of ten times the rows is a level higher; nothing else may show.
        assert buffers <= 1.3 * found[SMALL][name] + 20, found


def test_many_lanes_and_many_leases_are_bounded(db: Db, q: Ledger):
    """A thousand priorities, a thousand types, two thousand leases: no more than a part of each is looked at."""
    fill(db, 1, 3000)
    db.execute("update runledger.job_queue set priority = 100 + n from (select id, row_number() over () as n"
               " from runledger.job_queue where status = 'PENDING') as x where x.id = job_queue.id")  # fmt: skip
    types = [f"u{n}" for n in range(1000)]
    db.execute("select count(runledger.define_job('u' || n)) from generate_series(0, 999) as n")
    q.row("register_worker", worker_id="w2", job_types=["t4", *types[:999]], max_jobs=5000)
    job_id = q.enqueue("t4", priority=1)
    db.execute("vacuum analyze")
    few = cost(db, "select * from runledger.why(%s)", [job_id])
    for _ in range(2):
        q.rows("enqueue_jobs", jobs=[{"job_type": t} for t in types])
    for _ in range(2):
        assert len(q.rows("claim_jobs", worker_id="w3", job_types=types, max_jobs=1000)) == 1000
    db.execute("vacuum analyze")
    many = cost(db, "select * from runledger.why(%s)", [job_id])
    # Of 2,000 leases 1,001 are read; of 51 types' lanes a hundred.
    assert few < many < 2500


def test_why_workflow_walks_each_edge_once(db: Db, q: Ledger):
    """Steps and edges are read once each, chain or mesh, however long the way to the root of a step is."""
    start = Flows(q)
    for size in (100, 1000):
        chain = start(*(step(f"s{n}", f"s{n - 1}" if n else (), job_type="t1") for n in range(size)))
        before = [["g", *(f"s{m}" for m in range(max(0, n - 20), n))] for n in range(size - 1)]
        mesh = start(gate("g"), *(step(f"s{n}", keys, job_type="t1") for n, keys in enumerate(before)))
        db.execute("vacuum analyze")
        for flow, edges in ((chain, size - 1), (mesh, sum(map(len, before)))):
            rows = db.all("select * from runledger.why_workflow(%s)", [flow.id])
            assert len(rows) == size
            # A probe of an index is three or four pages, a row one.
            assert cost(db, "select * from runledger.why_workflow(%s)", [flow.id]) <= 200 + 5 * size + edges


def test_the_buffers_are_counted(db: Db, q: Ledger):
    """That cost() sees what it is to see: a scan of the whole table."""
    db.execute(FILL, [1, SMALL])
    assert cost(db, "select count(*) from runledger.job_queue where priority = 1", []) > 300
