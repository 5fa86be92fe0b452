"""Through PgBouncer in transaction mode: two server sessions shared by workers, clients, migrate and the command line."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest
from click.testing import CliRunner

from runledger import Client, Failure, Workflow
from runledger import doctor as d
from runledger.cli import main
from runledger.metrics import Exporter
from runledger.migrate import migrate
from tests.runner import pooler as p
from tests.runner.conftest import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(p.BINARY is None, reason="pgbouncer is not installed (make test-all insists on it)"),
]


@pytest.fixture
def pooler(db) -> Iterator[p.Pooler]:
    pooler = p.Pooler(db)
    yield pooler
    pooler.close()


def test_sessions_are_shared(pooler, db):
    """Else the other tests here would show nothing."""
    pids = set()
    for _ in range(8):
        with psycopg.connect(pooler.dsn, autocommit=True, prepare_threshold=None) as conn:
            pids.update(conn.execute("select pg_backend_pid()").fetchone())
    assert len(pids) <= 2


def test_two_workers_do_all_their_work_through_it(pooler, runner):
    """Retries, long handlers with heartbeats, a workflow with a gate: each job ends once."""
    ran: Counter[str] = Counter()

    async def work(job):
        ran[str(job.job_id)] += 1
        await job.progress(1, 2, checkpoint={"at": 1})
        if job.payload["fail"] and job.attempt == 1:
            raise Failure.retryable("smtp.busy", "patience")
        return job.payload["n"]

    async def long(job):
        await asyncio.sleep(4)  # beyond the length of the lease: heartbeats keep it

    runner.app.register("a", work, retry_delays={"smtp.busy": 0.01})
    runner.app.register("long", long)
    runner.define()
    settings = {"dsn": pooler.dsn, "prepare": 0, "lease_ttl_seconds": 3, "reaper_interval_seconds": 1}
    for _ in range(2):
        runner.start(**settings)
    with Client.connect(pooler.dsn, prepare_threshold=None) as client:
        ids = [client.enqueue_job("a", {"n": n, "fail": n % 5 == 0}, idempotency_key=f"k{n}").job_id for n in range(60)]
        slow = client.enqueue_job("long").job_id
        wf = Workflow("w", result_step="last")
        first, gate = wf.job("first", "a", payload={"n": 7, "fail": False}), wf.gate("gate")
        wf.job("last", "a", payload={"n": 8, "fail": False}, after=[first, gate])
        run = client.enqueue_workflow(wf)
        client.complete_external_step(run.workflow_run_id, "gate")
        assert client.workflow(run.workflow_run_id).result(timeout=20) == 8
        for job_id in [*ids, slow]:
            assert runner.wait(job_id)["status"] == "SUCCEEDED"
        assert {client.get_job(job_id).output for job_id in ids} == set(range(60))
    assert [ran[str(job_id)] for job_id in ids] == [2 if n % 5 == 0 else 1 for n in range(60)]
    assert runner.db.job(slow)["attempt"] == 1, "its lease was kept"


def test_workers_that_were_not_told_of_it_fail_no_job(pooler, runner):
    """Statements that it has prepared are in other sessions: what succeeded is not refused for that."""
    runner.app.register("a", lambda job: job.payload, max_attempts=1)
    runner.define()
    for _ in range(2):
        runner.start(dsn=pooler.dsn, prepare=1)
    for n in range(60):
        assert runner.finish("a", n)["status"] == "SUCCEEDED"


def test_wake_ups_arrive_over_a_direct_connection(pooler, runner):
    """It polls every ten minutes: only a notification lets it find the jobs, one after the other."""
    runner.app.register("a", lambda job: None)
    runner.define()
    runner.start(dsn=pooler.dsn, prepare=0, poll_interval_ms=600_000, listen_dsn=runner.db.dsn)
    for _ in range(3):
        until(lambda: runner.db.value("select count(*) from runledger.workers where idle_until > now()"), "it to idle")
        assert runner.finish("a")["status"] == "SUCCEEDED"


def test_the_command_line_leaves_no_prepared_statement_behind(pooler, db):
    with Client.connect(db.dsn) as client:
        client.define_job("a")
        ids = [str(client.enqueue_job("a").job_id) for _ in range(12)]
    for batch in (ids[:6], ids[6:]):  # psycopg would prepare at the sixth time
        done = CliRunner().invoke(
            main, ["--dsn", pooler.dsn, "job", "cancel", *batch, "--reason", "r", "--yes"], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
    assert db.value("select count(*) from runledger.job_queue where status = 'CANCELED'") == 12
    with psycopg.connect(pooler.dsn, autocommit=True, prepare_threshold=None) as conn:
        assert conn.execute("select name from pg_prepared_statements").fetchall() == []


def test_scrapes_go_through_it(pooler):
    """Two scrapers at once; psycopg would prepare at the sixth time, under the same names."""
    scrapers = [Exporter(pooler.dsn) for _ in range(2)]
    for _ in range(8):
        assert all("runledger_schema_info" in scraper.metrics() for scraper in scrapers)
    for scraper in scrapers:
        scraper.close()


def test_migrate_goes_through_it(empty_db):
    through = p.Pooler(empty_db, size=1)
    try:
        assert migrate(through.dsn).status == "PENDING"
        assert migrate(through.dsn).status == "CURRENT"
        assert migrate(through.dsn, check=True).status == "CURRENT"
    finally:
        through.close()


def test_the_doctor_tells(pooler):
    examination = d.Doctor(pooler.dsn)
    with examination.connection:
        found = {check.code: check.level for check in examination.examine()}
    assert found["path.listen"] == "WARN"
    assert not [code for code, level in found.items() if code.startswith("behaviour.") and level != "OK"]
