"""A worker whose role is a worker and nothing else, and a client whose role is a producer and nothing else."""

from __future__ import annotations

import asyncio
import threading

import psycopg
import pytest

from runledger import AsyncClient, Client, Failure, Workflow
from runledger.errors import NotGranted
from tests.runner.conftest import expire, until


@pytest.fixture
def login(runner, new_role):
    """login("worker", types=["a"]): a DSN of a role with that kind."""

    def make(kind: str, types: list[str] | None = None) -> str:
        role = new_role(kind)
        runner.client.grant_access(role, kind, job_types=types)
        return psycopg.conninfo.make_conninfo(runner.db.admin_dsn, user=role)

    yield make
    # Before their roles go.
    for supervisor in list(runner._running):
        runner.stop(supervisor)


def test_a_worker_needs_no_more_than_its_kind(runner, login, caplog):
    """Register, be woken, claim, beat, report, log, finish in each way, settings, schedules, maintenance, reap, an orderly end."""
    done = threading.Event()

    @runner.job("ok")
    async def ok(job):
        await job.progress(1, 2, checkpoint={"half": 1})
        await job.log("info", "half way")
        await asyncio.sleep(1.5)  # half again as long as its lease
        return {"n": job.payload["n"]}

    @runner.job("fails")
    def fails(job):
        raise Failure.terminal("e.x", "no")

    @runner.job("raises")
    def raises(job):
        raise ValueError("its traceback goes to the log")

    @runner.job("later")
    def later(job):
        done.set()

    runner.define()
    runner.client.set_runtime_config("ok", {"a": 1})
    runner.client.upsert_schedule("s", "later", cron="* * * * * *")
    supervisor = runner.start(dsn=login("worker"), lease_ttl_seconds=1, reaper_interval_seconds=0.1)
    assert runner.finish("ok", {"n": 7})["output"] == {"n": 7}
    assert runner.finish("fails")["last_error_code"] == "e.x"
    assert runner.finish("raises", max_attempts=1)["last_error_code"] == "job.unhandled_exception"
    assert runner.db.value("select count(*) from runledger.job_logs") == 2
    assert done.wait(20), "the schedule was not fired"
    until(lambda: runner.db.value("select last_pass_at from runledger.upkeep_state"), "maintenance")
    assert runner.db.value("select role_name from runledger.workers") != runner.db.value("select current_user::text")
    runner.stop(supervisor)
    assert runner.db.all("select * from runledger.workers") == []
    assert "not for this role" not in caplog.text
    assert "permission denied" not in caplog.text.replace("this role may not call", "")


def test_a_worker_reaps_what_another_role_left(runner, login):
    runner.app.register("a", lambda job: "fine")
    runner.define()
    job_id = runner.enqueue("a")
    [lost] = runner.client.claim_jobs("gone", ["a"])
    assert lost.job_id == job_id
    expire(runner.db, job_id)
    runner.start(dsn=login("worker"), reaper_interval_seconds=0.1)
    until(lambda: "RETRY_SCHEDULED" in runner.db.events(job_id), "the reaper")
    runner.db.execute(
        "update runledger.job_queue set next_run_at = now() where id = %s and status = 'PENDING'", [job_id]
    )
    assert runner.wait(job_id)["output"] == "fine"


def test_a_worker_whose_types_are_not_granted_says_so_and_ends(runner, login):
    runner.app.register("a", lambda job: None)
    runner.define()
    with pytest.raises(NotGranted) as refused:
        runner.start(dsn=login("worker", types=["b"]))
    assert refused.value.code == "access.job_type_not_granted"
    assert refused.value.detail["job_types"] == ["a"]


def test_a_worker_that_loses_a_type_stops_asking(runner, login, new_role):
    """In mid work: what it holds it ends, then it says why it cannot go on."""
    role = new_role("worker")
    runner.client.grant_access(role, "worker", job_types=["a"])
    runner.app.register("a", lambda job: "fine")
    runner.define()
    supervisor = runner.start(dsn=psycopg.conninfo.make_conninfo(runner.db.admin_dsn, user=role))
    assert runner.finish("a")["output"] == "fine"
    runner.client.grant_access(role, "worker", job_types=["b"])
    until(lambda: not supervisor._thread.is_alive(), "the worker to end")
    with pytest.raises(Exception, match="access.job_type_not_granted"):
        runner.stop(supervisor)


def test_a_producer_starts_work_and_hears_of_results(runner, login):
    @runner.job("add")
    def add(job):
        return job.payload["a"] + 1

    runner.define()
    runner.start(dsn=login("worker"))
    flow = Workflow("sum", result_step="add")
    flow.job("add", "add", payload={"a": 1})
    with Client.connect(login("producer")) as client:
        job = client.enqueue_job("add", {"a": 1}, idempotency_key="k")
        assert [r.disposition for r in client.enqueue_jobs([{"job_type": "add", "payload": {"a": 2}}])] == ["INSERTED"]
        run = client.enqueue_workflow(flow)
        assert client.workflow(run.workflow_run_id).result(timeout=20) == 2
        runner.wait(job.job_id)
        [state] = client.job_statuses([job.job_id])
        assert state.status == "SUCCEEDED"
        found = client.find_job("add", "k")
        assert found is not None
        assert found.job_id == job.job_id
        for forbidden in (lambda: client.get_job(job.job_id), lambda: client.claim_jobs("w", ["add"]),
                          lambda: client.cancel_job(job.job_id)):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                forbidden()


def test_the_async_client_of_a_producer(runner, login):
    runner.app.register("a", lambda job: None)
    runner.define()
    dsn = login("producer", ["a"])

    async def main() -> None:
        async with await AsyncClient.connect(dsn) as client:
            assert (await client.enqueue_job("a")).disposition == "INSERTED"
            with pytest.raises(NotGranted):
                await client.enqueue_job("b")

    asyncio.run(main())
