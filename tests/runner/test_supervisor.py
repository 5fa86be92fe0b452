"""The process: how it starts, what makes it end, and what it leaves behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from runledger import Client
from runledger.config import Config
from runledger.errors import LeaseLost
from runledger.heartbeat import Heartbeat
from runledger.supervisor import Supervisor
from tests.runner.conftest import Gate, backends, until


def test_a_worker_introduces_itself_and_takes_its_leave(runner):
    runner.app.register("b", lambda job: None, max_attempts=4)
    runner.app.register("a", lambda job: None)
    supervisor = runner.start(worker_id="here", max_global_concurrency=7)
    row = runner.db.one("select * from runledger.workers")
    assert (row["worker_id"], row["job_types"], row["max_jobs"]) == ("here", ["a", "b"], 7)
    assert row["metadata"].keys() == {"host", "pid", "python"}
    assert runner.db.value("select max_attempts from runledger.job_definitions where job_type = 'b'") == 4
    assert backends(runner.db, "here")
    runner.stop(supervisor)
    assert runner.db.all("select * from runledger.workers") == []
    until(lambda: not backends(runner.db, "here"), "its connections to be closed")


def test_a_worker_of_a_database_that_writes_times_in_a_style_of_its_own_works(runner):
    runner.app.register("mail", lambda job: {"attempt": job.attempt})
    runner.define()
    runner.start(dsn=make_conninfo(runner.db.dsn, options="-c datestyle=German -c intervalstyle=iso_8601"))
    assert runner.finish("mail")["status"] == "SUCCEEDED"


def test_an_encoding_that_lacks_a_character_of_an_error_ends_no_worker(runner):
    """That of the role, the environment, or a database that is not UTF-8: it killed each worker that took the job."""

    def fail(job):
        raise RuntimeError("電")

    runner.app.register("mail", fail, max_attempts=1)
    runner.define()
    runner.start(dsn=make_conninfo(runner.db.dsn, client_encoding="LATIN1"))
    assert "電" in runner.finish("mail")["last_error_message"]


def test_shutdown_lets_handlers_end_and_claims_no_more(runner):
    gate = Gate()

    async def work(job):
        await gate.pass_()
        return "ended"

    runner.app.register("a", work)
    runner.define()
    running = runner.enqueue("a")
    supervisor = runner.start(max_global_concurrency=1)
    gate.await_arrival()
    supervisor.request_shutdown()
    supervisor.request_shutdown()
    waiting = runner.enqueue("a")
    gate.open()
    runner.stop(supervisor)
    assert runner.db.job(running)["output"] == "ended"
    assert runner.db.events(waiting) == ["ENQUEUED"]


def test_shutdown_interrupts_the_wait_of_an_idle_worker(runner):
    runner.app.register("a", lambda job: None)
    supervisor = runner.start(poll_interval_ms=3_600_000)
    until(lambda: runner.db.value("select count(*) from runledger.workers where idle_until > now()"), "idleness")
    runner.stop(supervisor)


def test_shutdown_interrupts_a_worker_without_a_free_slot(runner):
    gate = Gate()

    async def work(job):
        await gate.pass_()

    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a")
    supervisor = runner.start(max_global_concurrency=1, shutdown_grace_seconds=0)
    gate.await_arrival()
    runner.stop(supervisor)
    assert runner.db.job(job_id)["status"] == "PENDING"


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_what_does_not_end_in_time_is_given_back_uncharged(runner, kind):
    gate = Gate()
    stopped = threading.Event()

    async def work(job):
        try:
            await gate.pass_()
        finally:
            stopped.set()

    def sync_work(job):
        gate.reached.set()
        job.canceled.wait(30)
        stopped.set()

    runner.app.register("a", work if kind == "async" else sync_work, max_attempts=1)
    runner.define()
    job_id = runner.enqueue("a")
    supervisor = runner.start(shutdown_grace_seconds=0.1)
    gate.await_arrival()
    runner.stop(supervisor)
    assert stopped.wait(30)
    row = runner.db.job(job_id)
    assert (row["status"], row["attempt"], row["status_reason"]) == ("PENDING", 0, "WORKER_SHUTDOWN")
    assert runner.db.attempts(job_id) == []
    assert runner.db.events(job_id) == ["ENQUEUED", "LEASED", "REQUEUED"]


def test_a_call_that_is_under_way_when_all_ends_holds_no_thread_for_ever(runner):
    told = []
    gate = Gate()

    def work(job):
        gate.reached.set()
        try:
            job.log("info", "nobody answers")
        except Exception as error:
            told.append(error)

    runner.app.register("a", work)
    runner.define()
    runner.enqueue("a")
    with runner.db.conn.transaction():
        runner.db.execute("lock table runledger.job_logs in access exclusive mode")
        supervisor = runner.start(shutdown_grace_seconds=0.1)
        gate.await_arrival()
        runner.stop(supervisor)
        until(lambda: told, "the handler to be told")
    assert isinstance(told[0], LeaseLost)
    assert told[0].message == "the worker has stopped"


def test_what_a_handler_left_on_the_loop_is_ended(runner):
    left = []
    ended = threading.Event()

    async def forever():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async def work(job):
        left.append(asyncio.create_task(forever()))

    runner.app.register("a", work)
    supervisor = runner.start()
    assert runner.finish("a")["status"] == "SUCCEEDED"
    runner.stop(supervisor)
    assert ended.is_set()


def test_a_handler_that_ends_while_it_is_interrupted_counts(runner):
    gate = Gate()

    async def work(job):
        try:
            await gate.pass_()
        except asyncio.CancelledError:
            return "just in time"

    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a")
    supervisor = runner.start(shutdown_grace_seconds=0)
    gate.await_arrival()
    runner.stop(supervisor)
    assert runner.db.job(job_id)["output"] == "just in time"


def test_a_loop_that_dies_ends_the_others_and_its_error_is_raised(runner, monkeypatch):
    async def broken(self, *args):
        await asyncio.sleep(0.05)
        raise ZeroDivisionError

    monkeypatch.setattr(Supervisor, "_upkeep", broken)
    runner.app.register("a", lambda job: None)
    supervisor = runner.start()
    supervisor._thread.join(30)
    assert not supervisor._thread.is_alive()
    with pytest.raises(ZeroDivisionError):
        runner.stop(supervisor)
    assert runner.db.all("select * from runledger.workers") == []


def test_a_heartbeat_that_dies_ends_the_worker_too(runner, monkeypatch):
    async def broken(self, *args):
        raise ZeroDivisionError

    monkeypatch.setattr(Heartbeat, "_round", broken)
    runner.app.register("a", lambda job: None)
    supervisor = runner.start(lease_ttl_seconds=1)
    supervisor._thread.join(30)
    assert not supervisor._thread.is_alive()
    with pytest.raises(ZeroDivisionError):
        runner.stop(supervisor)


def test_a_loop_that_just_ends_is_an_error_too(runner, monkeypatch):
    async def ends(self, *args):
        return None

    monkeypatch.setattr(Supervisor, "_listen", ends)
    runner.app.register("a", lambda job: None)
    supervisor = runner.start()
    with pytest.raises(RuntimeError, match="listen.*unexpectedly"):
        runner.stop(supervisor)


def test_shutdown_asked_for_before_the_start_is_heeded(runner):
    runner.app.register("a", lambda job: None)
    supervisor = Supervisor(runner.app, runner.db.dsn, config=Config())
    supervisor.request_shutdown()
    asyncio.run(supervisor.run())


def test_what_has_ended_may_be_entered_again(runner):
    runner.app.register("a", lambda job: "fine")
    supervisor = Supervisor(runner.app, runner.db.dsn, config=Config(poll_interval_ms=100))
    for _ in range(2):
        with supervisor:
            assert runner.finish("a")["output"] == "fine"
        assert runner.db.all("select * from runledger.workers") == []


FORKED = """
import os, sys
from runledger import App
from runledger.config import Config
from runledger.supervisor import Supervisor

app, config = App(), Config()  # as a server does that loads the program and forks then
app.register("a", lambda job: None)
supervisor = Supervisor(app, sys.argv[1], config=config)
pipes = []
for _ in range(2):
    up, down = os.pipe(), os.pipe()
    if not os.fork():
        os.close(down[1])
        with supervisor:
            os.write(up[1], b"!")
            os.read(down[0], 1)
        os._exit(0)
    os.close(down[0])
    pipes.append((up, down))
for up, _ in pipes:
    os.read(up[0], 1)
print("both", flush=True)
sys.stdin.read()
for _, down in pipes:
    os.write(down[1], b"!!")
for _ in pipes:
    assert os.wait()[1] == 0
"""


def test_two_processes_forked_from_one_do_not_work_under_one_name(runner):
    argv = [sys.executable, "-c", FORKED, runner.db.dsn]
    parent = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "both\n"
    names = runner.db.column("select worker_id from runledger.workers")
    assert len(names) == 2, names
    parent.communicate(timeout=30)
    assert parent.returncode == 0


def test_nobody_there_is_told_after_a_few_tries(runner):
    runner.app.register("a", lambda job: None)
    supervisor = Supervisor(runner.app, "host=/nowhere connect_timeout=2", config=Config())
    with pytest.raises(psycopg.OperationalError):
        asyncio.run(supervisor.run())


def test_beside_a_worker_that_cannot_start_nothing_is_done(runner, stranger, caplog):
    runner.app.register("a", lambda job: None)
    supervisor = Supervisor(runner.app, psycopg.conninfo.make_conninfo(runner.db.admin_dsn, user=stranger), config=Config())
    done = []
    with pytest.raises(psycopg.errors.InsufficientPrivilege), supervisor:
        done.append("work of the program")
    assert not done
    assert not supervisor._thread.is_alive()
    assert "the worker has ended: permission denied" in caplog.text


def test_a_role_that_may_not_define_goes_on(runner, stranger, caplog):
    runner.app.register("a", lambda job: "fine")
    runner.define()
    runner.client.grant_access(stranger, "worker")
    runner.start(dsn=psycopg.conninfo.make_conninfo(runner.db.admin_dsn, user=stranger))
    assert "may not call define_job: what it would define must exist already, which is not checked" in caplog.text
    assert runner.finish("a")["output"] == "fine"


def test_maintenance_runs_and_runs_again_while_there_is_more(runner):
    runner.db.execute("create table public.upkeep (at timestamptz default clock_timestamp())")
    runner.db.execute("grant all on public.upkeep to public")
    runner.db.execute(
        "create or replace function runledger.run_maintenance() returns setof runledger.upkeep_report"
        " language plpgsql as $$ begin insert into public.upkeep default values;"
        " return next row('x', 1, (select count(*) < 3 from public.upkeep))::runledger.upkeep_report; end $$"
    )
    runner.app.register("a", lambda job: None)
    runner.start()
    until(lambda: runner.db.value("select count(*) from public.upkeep") == 3, "three passes")
    assert runner.finish("a")["status"] == "SUCCEEDED"
    assert runner.db.value("select count(*) from public.upkeep") == 3


# --- as a process ---


def started(files, attempt=None):
    return [p.name for p in files.glob(f"started-1-{attempt or '*'}-*")]


def enqueue(db, files, job_type, **options):
    with Client.connect(db.dsn) as client:
        until(lambda: db.value("select count(*) from runledger.workers"), "a worker")
        return client.enqueue_job(job_type, {"files": str(files)}, **options).job_id


def test_sigterm_drains(db, worker_process, tmp_path):
    worker = worker_process()
    job_id = enqueue(db, tmp_path, "wait")
    until(lambda: started(tmp_path), "the handler")
    worker.signal(signal.SIGTERM)
    until(lambda: "shutting down" in worker.log.read_text(), "the drain")
    (tmp_path / "go").touch()
    assert worker.end() == 0
    assert db.job(job_id)["status"] == "SUCCEEDED"
    assert db.all("select * from runledger.workers") == []


@pytest.mark.parametrize("job_type", ["wait", "wait.sync", "stubborn"])
def test_sigint_gives_back_what_does_not_end(db, worker_process, tmp_path, job_type):
    worker = worker_process(JOBS_SHUTDOWN_GRACE_SECONDS="0")
    job_id = enqueue(db, tmp_path, job_type)
    until(lambda: started(tmp_path), "the handler")
    worker.signal(signal.SIGINT)
    assert worker.end() == 0
    row = db.job(job_id)
    assert (row["status"], row["attempt"], row["status_reason"]) == ("PENDING", 0, "WORKER_SHUTDOWN")


@pytest.mark.parametrize("job_type", ["wait", "block"])
def test_a_second_signal_exits_at_once(db, worker_process, tmp_path, job_type):
    worker = worker_process()
    job_id = enqueue(db, tmp_path, job_type)
    until(lambda: started(tmp_path), "the handler")
    worker.signal(signal.SIGTERM)
    # Signals of one kind that come together are one: another kind, and again until it ends.
    while worker.process.poll() is None:
        worker.signal(signal.SIGINT)
        time.sleep(0.05)
    assert worker.end() == 130
    assert db.job(job_id)["status"] == "LEASED"


def test_flags_win_over_the_environment_and_mistakes_are_told(db, tmp_path):
    import os
    import subprocess
    import sys

    from tests.support.servers import ROOT

    def run(*args, **environ):
        return subprocess.run(
            [sys.executable, "-m", "runledger", *args], check=False, capture_output=True, text=True, cwd=ROOT, timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        )  # fmt: skip

    shown = run("worker", "--help").stdout
    assert "--lease-ttl-seconds" in shown
    assert "JOBS_CLAIM_BATCH_SIZE" in shown
    wrong = run("worker", "tests.runner.conftest:PATIENCE")
    assert (wrong.returncode, "is no App" in wrong.stderr) == (2, True)
    nobody = run("--dsn", "host=/nowhere", "worker", "tests.runner.jobs:app")
    assert (nobody.returncode, "hint:" in nobody.stderr) == (1, True)
