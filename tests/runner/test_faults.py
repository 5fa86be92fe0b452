"""Faults: processes, connections and servers that die, stop or lose replies. No job is lost, none ends twice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from runledger import Client, _calls
from runledger._link import Fate, Link, brief, fate
from runledger.config import Config
from runledger.testing import DatabaseServer
from runledger.worker import Worker
from tests.runner.conftest import Gate, Runner, backends, expire, until
from tests.runner.proxy import Proxy
from tests.support import servers
from tests.support.database import Db

pytestmark = pytest.mark.chaos


@pytest.fixture
def proxy(db) -> Iterator[Proxy]:
    proxy = Proxy(db.dsn)
    yield proxy
    proxy.close()


def ended_once(db, job_ids, status="SUCCEEDED"):
    rows = db.all("select id, status::text from runledger.job_queue where id = any(%s)", [job_ids])
    assert [row["status"] for row in rows] == [status] * len(job_ids)
    assert db.value(
        "select count(*) from runledger.job_events where event_type = %s::runledger.job_event_type"
        " and job_id = any(%s)", [status, job_ids],
    ) == len(job_ids)  # fmt: skip


# --- lost replies ---


@pytest.mark.parametrize("hold", [False, True], ids=["reset", "silence"])
def test_a_lost_reply_to_a_finish_is_sent_again(proxy, runner, hold):
    ran = []

    async def work(job):
        ran.append((job.job_id, job.attempt))
        return "once"

    runner.app.register("a", work)
    runner.start(dsn=proxy.dsn, prepare=0, call_timeout_seconds=1)
    assert runner.finish("a")["output"] == "once"
    proxy.lose("finish_jobs", hold=hold)
    job_id = runner.enqueue("a")
    assert proxy.lost.wait(30)
    ended_once(runner.db, [job_id])
    # The worker knows it, too, and goes on.
    assert runner.finish("a")["output"] == "once"
    assert len(ran) == 3
    assert {attempt for _, attempt in ran} == {1}


def test_observers_are_told_once_of_a_finish_whose_reply_was_lost(proxy, runner):
    told = []

    class Observer:
        async def on_job_succeeded(self, job, finished):
            told.append(finished.replayed)

    runner.app.register("a", lambda job: None)
    runner.start(dsn=proxy.dsn, prepare=0, observers=(Observer(),))
    proxy.lose("finish_jobs")
    runner.finish("a")
    assert proxy.lost.wait(30)
    until(lambda: told, "the notice")
    assert told == [True]


def test_leases_of_a_lost_claim_are_found_and_run(proxy, runner):
    """Not left to expire: the lease is a minute, the test is not."""
    ran = []

    async def work(job):
        ran.append(job.lease_token)
        return job.attempt

    runner.app.register("a", work)
    runner.define()
    runner.start(dsn=proxy.dsn, prepare=0, lease_ttl_seconds=60, poll_interval_ms=20)
    runner.client.pause_job_type("a")
    ids = [runner.enqueue("a") for _ in range(10)]
    runner.client.resume_job_type("a")
    for _ in range(5):
        proxy.lose("claim_jobs")
        assert proxy.lost.wait(30)
        ids += [runner.enqueue("a") for _ in range(5)]
    rows = [runner.wait(job_id) for job_id in ids]
    assert {(row["status"], row["attempt"], row["output"]) for row in rows} == {("SUCCEEDED", 1, 1)}
    ended_once(runner.db, ids)
    assert len(ran) == len(set(ran)) == len(ids)


def test_what_a_process_of_the_same_name_left_is_not_taken_for_a_lost_claim(proxy, runner):
    """That process may have begun its handlers: under the same token they would run twice."""
    ran = []

    async def work(job):
        ran.append(job.job_id)

    runner.app.register("a", work)
    runner.define()
    left = [runner.enqueue("a") for _ in range(3)]
    assert len(runner.client.claim_jobs("w1", ["a"], max_jobs=3, lease_seconds=60)) == 3
    runner.start(dsn=proxy.dsn, prepare=0, worker_id="w1", lease_ttl_seconds=60, poll_interval_ms=20)
    ids = []
    for _ in range(3):
        runner.client.pause_job_type("a")
        ids += [runner.enqueue("a") for _ in range(5)]
        proxy.lose("claim_jobs")
        runner.client.resume_job_type("a")
        assert proxy.lost.wait(30)
    for job_id in ids:
        assert runner.wait(job_id)["status"] == "SUCCEEDED"
    assert set(ran) == set(ids)
    assert {runner.db.job(job_id)["status"] for job_id in left} == {"LEASED"}


def test_a_claim_that_certainly_leased_something_is_recovered(proxy, runner):
    gate = Gate()

    async def work(job):
        if job.payload:
            await gate.pass_()
        return job.attempt

    runner.app.register("a", work)
    runner.define()
    first = runner.enqueue("a", {"wait": True}, priority=900)
    second = runner.enqueue("a")
    runner.start(dsn=proxy.dsn, prepare=0, max_global_concurrency=1, lease_ttl_seconds=60)
    gate.await_arrival()
    proxy.lose("finish_jobs")  # the claim of the second job travels with the end of the first
    gate.open()
    assert proxy.lost.wait(30)
    assert (runner.db.job(first)["status"], runner.db.job(second)["status"]) == ("SUCCEEDED", "LEASED")
    row = runner.wait(second)
    assert (row["attempt"], row["output"]) == (1, 1)
    assert runner.db.events(second) == ["ENQUEUED", "LEASED", "SUCCEEDED"]


def test_progress_survives_a_lost_reply(proxy, runner):
    async def work(job):
        await job.progress(1, 2)
        proxy.lose("report_progress")
        return (await job.progress(2)).progress_done

    runner.app.register("a", work)
    runner.start(dsn=proxy.dsn, prepare=0)
    assert runner.finish("a")["output"] == 2
    assert proxy.lost.is_set()


# --- connections and servers ---


def test_every_connection_may_be_killed_at_any_time(runner):
    async def work(job):
        await asyncio.sleep(0.01)
        await job.progress(1, 2)
        return job.attempt

    runner.app.register("a", work)
    runner.define()
    supervisor = runner.start(lease_ttl_seconds=5, poll_interval_ms=20)
    name = f"runledger:{supervisor.config.worker_id}"[:63]
    ids = []
    for _ in range(15):
        ids += [item.job_id for item in runner.client.enqueue_jobs([{"job_type": "a"}] * 20)]
        runner.db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s and random() < 0.7",
            [name],
        )
    rows = [runner.wait(job_id) for job_id in ids]
    assert {row["status"] for row in rows} == {"SUCCEEDED"}
    ended_once(runner.db, ids)


def test_a_stopped_server_process_is_given_up(runner):
    """It keeps its connection, its kernel answers: only a deadline of our own sees it."""
    gate = Gate()

    async def work(job):
        if job.payload:
            await gate.pass_()

    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a", {"wait": True})
    supervisor = runner.start(call_timeout_seconds=1, max_global_concurrency=1)
    gate.await_arrival()
    name = f"runledger:{supervisor.config.worker_id}"[:63]
    pids = runner.db.column(
        "select pid from pg_stat_activity where application_name = %s and query ~ 'claim_jobs|finish_jobs'", [name]
    )
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        gate.open()
        assert runner.wait(job_id)["status"] == "SUCCEEDED"
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def own(request) -> Iterator[tuple[Runner, DatabaseServer]]:
    """A runner on a server of its own, that may be restarted."""
    with DatabaseServer.start(servers.bindir("18")) as server:
        db = Db(server.take(), server)
        runner = Runner(db)
        yield runner, server
        runner.close()
        assert db.findings() == []
        db.close()


def reconnect(runner):
    runner.client.close()
    runner.client = Client.connect(runner.db.dsn)
    runner.db.conn = runner.db.connect(admin=True)


def test_a_restarted_server_is_ridden_out(own):
    runner, server = own
    ran = []
    gate = Gate()

    async def work(job):
        ran.append(job.job_id)
        if job.payload:
            await gate.pass_()
        return job.attempt

    runner.app.register("a", work)
    runner.define()
    held = runner.enqueue("a", {"wait": True})
    runner.start(lease_ttl_seconds=60, poll_interval_ms=50)
    gate.await_arrival()
    for round_ in range(3):
        server.server.restart("immediate")
        reconnect(runner)
        if round_ == 1:
            gate.open()
        assert runner.finish("a")["status"] == "SUCCEEDED"
    row = runner.wait(held)
    assert (row["status"], row["output"]) == ("SUCCEEDED", 1)
    assert ran.count(held) == 1, "a handler that was at work is not run again"


def test_outcomes_outlast_an_outage(own):
    """Handlers that end while the server is away are finished when it is back, without being run again."""
    runner, server = own
    ran = []
    gate = Gate()

    async def work(job):
        ran.append(job.job_id)
        await gate.pass_()

    runner.app.register("a", work)
    runner.define()
    ids = [runner.enqueue("a") for _ in range(5)]
    runner.start(lease_ttl_seconds=60)
    until(lambda: len(ran) == 5, "five handlers")
    server.server.halt("immediate")
    gate.open()
    server.server.restart("immediate")
    reconnect(runner)
    for job_id in ids:
        assert runner.wait(job_id)["attempt"] == 1
    ended_once(runner.db, ids)
    assert sorted(ran) == sorted(ids)


# --- workers ---


def started(files):
    return sorted(p.name for p in files.glob("started-*"))


def claimed(db, files, job_type):
    with Client.connect(db.dsn) as client:
        until(lambda: db.value("select count(*) from runledger.workers"), "a worker")
        return client.enqueue_job(job_type, {"files": str(files)}).job_id


def run_again(db, job_id):
    """What the reaper of any other worker does, without waiting for the lease."""
    expire(db, job_id)
    with Client.connect(db.dsn) as client:
        (reaped,) = client.reap_expired_leases(retry_delay=0)
    assert (reaped.job_id, reaped.disposition) == (job_id, "RETRY_SCHEDULED")


@pytest.mark.parametrize("job_type", ["wait", "wait.sync", "block"])
def test_a_worker_killed_while_its_handler_runs(db, worker_process, tmp_path, job_type):
    first = worker_process()
    job_id = claimed(db, tmp_path, job_type)
    until(lambda: started(tmp_path), "the handler")
    first.kill()
    assert db.job(job_id)["status"] == "LEASED"
    run_again(db, job_id)
    (tmp_path / "go").touch()
    worker_process()
    until(lambda: db.job(job_id)["status"] == "SUCCEEDED", "the second attempt")
    ended_once(db, [job_id])
    first_try, second_try = db.attempts(job_id)
    assert (first_try["outcome"], first_try["error_code"]) == ("LEASE_EXPIRED", "job.lease_expired")
    assert second_try["outcome"] is None
    assert len(started(tmp_path)) == 2


def test_a_worker_killed_after_its_handler_ended_and_before_it_said_so(db, worker_process, tmp_path):
    first = worker_process()
    job_id = claimed(db, tmp_path, "die")
    assert first.end() == -signal.SIGKILL
    assert db.job(job_id)["status"] == "LEASED"
    run_again(db, job_id)
    worker_process()
    until(lambda: db.job(job_id)["status"] == "SUCCEEDED", "the second attempt")
    assert db.job(job_id)["output"] == "attempt 2"
    ended_once(db, [job_id])


def test_a_worker_killed_while_its_finish_is_under_way(db, worker_process, tmp_path, sessions):
    """The server may well commit it: then that is the end of the job."""
    first = worker_process(JOBS_WORKER_ID="first")
    job_id = claimed(db, tmp_path, "wait")
    until(lambda: started(tmp_path), "the handler")
    (other,) = sessions("other")
    other.begin().execute("select from runledger.job_queue where id = %s for update", [job_id])
    (tmp_path / "go").touch()
    until(
        lambda: db.value(
            "select count(*) from pg_stat_activity a where application_name = 'runledger:first'"
            " and %s = any(pg_blocking_pids(a.pid))", [other.pid],
        ),
        "the finish to wait",
    )  # fmt: skip
    first.kill()
    other.commit()
    until(lambda: not backends(db, "first"), "its server processes to end")
    if db.job(job_id)["status"] == "LEASED":
        run_again(db, job_id)
        worker_process()
    until(lambda: db.job(job_id)["status"] == "SUCCEEDED", "its end")
    ended_once(db, [job_id])


def test_a_worker_killed_right_after_its_claim(db, proxy, worker_process, tmp_path):
    """The reply never reaches it. The claim is the start: the attempt is charged."""
    with Client.connect(db.dsn) as client:
        client.define_job("wait", max_attempts=3)
        job_id = client.enqueue_job("wait", {"files": str(tmp_path)}).job_id
    proxy.lose_answer(str(tmp_path))
    first = worker_process(proxy.dsn)
    assert proxy.lost.wait(30)
    first.kill()
    row = db.job(job_id)
    assert (row["status"], row["attempt"], started(tmp_path)) == ("LEASED", 1, [])
    run_again(db, job_id)
    (tmp_path / "go").touch()
    worker_process()
    until(lambda: db.job(job_id)["status"] == "SUCCEEDED", "the second attempt")
    assert [a["outcome"] for a in db.attempts(job_id)] == ["LEASE_EXPIRED", None]
    ended_once(db, [job_id])


@pytest.mark.parametrize("job_type", ["wait", "wait.sync"])
def test_a_worker_that_was_frozen_changes_nothing(db, worker_process, tmp_path, job_type):
    zombie = worker_process()
    job_id = claimed(db, tmp_path, job_type)
    until(lambda: started(tmp_path), "the handler")
    zombie.signal(signal.SIGSTOP)
    run_again(db, job_id)
    with Client.connect(db.dsn) as client:
        (claim,) = client.claim_jobs("other", [job_type])
        (tmp_path / "go").touch()
        zombie.signal(signal.SIGCONT)
        until(lambda: "lost" in zombie.log.read_text(), "the zombie to learn it")
        row = db.job(job_id)
        assert (row["status"], row["worker_id"], row["attempt"]) == ("LEASED", "other", 2)
        assert client.succeed_job(job_id, claim.lease_token, output="mine").disposition == "SUCCEEDED"
    assert db.job(job_id)["output"] == "mine"
    ended_once(db, [job_id])
    zombie.signal(signal.SIGTERM)
    assert zombie.end() == 0


# --- refusals ---


def test_one_poisoned_outcome_does_not_keep_the_others(runner, caplog):
    """A row that no statement can finish: a trigger refuses it, in whatever batch it is."""
    runner.app.register("a", lambda job: None, max_attempts=1)
    runner.define()
    ids = [runner.enqueue("a") for _ in range(9)]
    runner.db.execute(
        "create function public.poison() returns trigger language plpgsql as $$ begin"
        f" if new.id = '{ids[4]}' and old.status = 'LEASED' then raise 'poison' using errcode = '23514', detail = 'secret'; end if;"
        " return new; end $$"
    )
    runner.db.execute(
        "create trigger poison before update on runledger.job_queue for each row execute function public.poison()"
    )
    told = []

    class Observer:
        def on_job_completion_persist_failed(self, job, error):
            told.append((job.job_id, error))

    runner.start(observers=(Observer(),))
    for job_id in ids[:4] + ids[5:]:
        assert runner.wait(job_id)["status"] == "SUCCEEDED"
    until(lambda: told, "the report")
    assert told == [(ids[4], "job.outcome_refused.23514")]
    assert "job.outcome_refused.23514" in caplog.text
    assert "secret" not in caplog.text
    assert runner.db.job(ids[4])["status"] == "LEASED"
    runner.db.execute("drop trigger poison on runledger.job_queue")
    assert runner.finish("a")["status"] == "SUCCEEDED"


def prepend(runner, statement):
    """Put a statement at the beginning of finish_jobs."""
    source = runner.db.value("select pg_get_functiondef('runledger.finish_jobs'::regproc)")
    assert source.count("\nbegin\n") == 1
    runner.db.execute(source.replace("\nbegin\n", f"\nbegin\n{statement}\n"))


@pytest.mark.parametrize("state", ["40001", "40P01", "53200", "55P03", "57014", "57P01", "25P04", "08006"])
def test_a_call_that_fails_for_a_while_is_sent_again(runner, state):
    ran = []

    async def work(job):
        ran.append(job.attempt)
        return "once"

    runner.app.register("a", work)
    runner.define()
    # What failed has written nothing; but a sequence counts.
    runner.db.execute("create sequence public.failures")
    runner.db.execute("grant all on sequence public.failures to public")
    prepend(runner, f"if nextval('public.failures') <= 3 then raise sqlstate '{state}'; end if;")
    ids = [runner.enqueue("a") for _ in range(4)]
    runner.start()
    for job_id in ids:
        row = runner.wait(job_id)
        assert (row["status"], row["output"]) == ("SUCCEEDED", "once")
    assert ran == [1] * 4


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (psycopg.errors.SerializationFailure(), Fate.AGAIN),
        (psycopg.errors.DeadlockDetected(), Fate.AGAIN),
        (psycopg.errors.DiskFull(), Fate.LATER),
        (psycopg.errors.TooManyConnections(), Fate.LATER),
        (psycopg.errors.LockNotAvailable(), Fate.LATER),
        (psycopg.errors.QueryCanceled(), Fate.LATER),
        (psycopg.errors.AdminShutdown(), Fate.UNKNOWN),
        (psycopg.errors.CrashShutdown(), Fate.UNKNOWN),
        (psycopg.errors.IdleSessionTimeout(), Fate.UNKNOWN),
        (psycopg.errors.IdleInTransactionSessionTimeout(), Fate.UNKNOWN),
        (psycopg.errors.ConnectionFailure(), Fate.UNKNOWN),
        (psycopg.errors.ReadOnlySqlTransaction(), Fate.UNKNOWN),
        (psycopg.OperationalError("server closed the connection unexpectedly"), Fate.UNKNOWN),
        (psycopg.InterfaceError("the connection is closed"), Fate.UNKNOWN),
        (ConnectionResetError(), Fate.UNKNOWN),
        (TimeoutError(), Fate.UNKNOWN),
        (psycopg.errors.InvalidPassword(), Fate.STOP),
        (psycopg.errors.InvalidCatalogName(), Fate.STOP),
        (psycopg.errors.InvalidSchemaName(), Fate.STOP),
        (psycopg.errors.InsufficientPrivilege(), Fate.STOP),
        (psycopg.errors.UndefinedFunction(), Fate.STOP),
        (psycopg.errors.CheckViolation(), Fate.REFUSED),
        (psycopg.DataError("cannot be sent"), Fate.REFUSED),
    ],
    ids=lambda v: v.name if isinstance(v, Fate) else type(v).__name__,
)
def test_what_an_error_means(error, what):
    assert fate(error) is what


@pytest.mark.parametrize(("runs", "other"), [(6, "deallocate all"), (5, "prepare _pg3_0 as select 1")])
def test_a_link_whose_prepared_statements_are_gone_goes_on_without(db, caplog, runs, other):
    """As behind a pooler that gives each transaction another session. Nothing is refused, nothing is done twice."""
    db.execute("create table public.calls (n integer)")
    db.execute("grant all on public.calls to public")
    once = replace(_calls.schema_info(), query=b"insert into public.calls values (1) returning n")

    async def talk() -> None:
        link = Link(db.dsn, Config())
        for _ in range(runs):
            await link.run(once)
        await (await link.connect()).execute(f"do $$ begin execute '{other}'; end $$".encode())  # psycopg does not see it
        assert await link.run(once, once) == [[(1,)], [(1,)]]
        for _ in range(8):
            await link.run(once)
        assert (await link.connect()).prepare_threshold is None
        await link.close()

    asyncio.run(talk())
    assert db.value("select count(*) from public.calls") == runs + 10
    assert [r.getMessage()[:35] for r in caplog.records] == ["prepared statements are not kept he"]


def test_what_is_logged_of_an_error_quotes_no_row(runner):
    runner.client.define_job("a")
    job_id = runner.enqueue("a", {"secret": 1})
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        runner.db.execute("update runledger.job_queue set priority = 1, max_attempts = -1 where id = %s", [job_id])
    assert "secret" in str(caught.value)
    assert "secret" not in brief(caught.value)
    assert brief(caught.value).endswith("[23514]")
    assert brief(psycopg.OperationalError("first\nsecond")) == "first"
    assert brief(TimeoutError()) == "TimeoutError"


def test_the_next_host_is_tried(runner):
    runner.app.register("a", lambda job: "fine")
    parts = psycopg.conninfo.conninfo_to_dict(runner.db.dsn)
    dsn = psycopg.conninfo.make_conninfo(runner.db.dsn, host=f"/nowhere,{parts['host']}", port="5432,5432")
    runner.start(dsn=dsn)
    assert runner.finish("a")["output"] == "fine"


def test_a_server_that_is_short_of_something_gets_smaller_batches(runner):
    ran = []

    async def work(job):
        ran.append(job.job_id)

    runner.app.register("a", work)
    runner.define()
    prepend(
        runner,
        "if jsonb_array_length(finish_jobs.outcomes) > 2 then raise sqlstate '53200'; end if;",
    )
    ids = [runner.enqueue("a") for _ in range(16)]
    runner.start()
    for job_id in ids:
        runner.wait(job_id, "SUCCEEDED")
    ended_once(runner.db, ids)
    assert sorted(ran) == sorted(ids)


@pytest.mark.parametrize("state", ["53100", "53200", "53400"])
def test_a_success_is_not_failed_for_a_server_that_is_out_of_room(runner, state):
    """One job, so there is no smaller batch to send."""
    runner.app.register("a", lambda job: "done")
    runner.define()
    runner.db.execute("create sequence public.failures")
    runner.db.execute("grant all on sequence public.failures to public")
    prepend(runner, f"if nextval('public.failures') <= 6 then raise sqlstate '{state}'; end if;")
    job_id = runner.enqueue("a")
    runner.start()
    assert (runner.wait(job_id)["status"], runner.db.job(job_id)["output"]) == ("SUCCEEDED", "done")
    assert runner.db.value("select last_value from public.failures") >= 7


def test_an_output_that_the_server_has_no_memory_for_fails_its_job(runner):
    runner.app.register("a", lambda job: "x" * 300_000)
    runner.define()
    prepend(runner, "if length(finish_jobs.outcomes::text) > 300000 then raise sqlstate '53200'; end if;")
    job_id = runner.enqueue("a")
    runner.start()
    assert runner.wait(job_id)["status"] == "DEAD_LETTERED"


def test_a_commit_in_doubt_is_sent_again_once(runner):
    """The warning of a canceled wait for a standby, of the code that any RAISE WARNING has: it comes every time here."""
    ran, told = [], []

    class Observer:
        async def on_job_succeeded(self, job, finished):
            told.append(finished.replayed)

    async def work(job):
        ran.append(job.attempt)
        return "once"

    runner.app.register("a", work)
    runner.define()
    prepend(runner, "raise warning sqlstate '01000';")
    runner.start(observers=(Observer(),))
    for _ in range(3):
        assert runner.finish("a")["output"] == "once"
    until(lambda: len(told) == 3, "three notices")
    assert ran == [1] * 3
    assert told == [True] * 3


def test_a_server_that_is_short_of_something_is_asked_for_fewer_jobs(runner):
    runner.app.register("a", lambda job: None)
    runner.define()
    source = runner.db.value("select pg_get_functiondef('runledger.claim_jobs'::regproc)")
    runner.db.execute(
        source.replace("\nbegin\n", "\nbegin\nif claim_jobs.max_jobs > 2 then raise sqlstate '54000'; end if;\n", 1)
    )
    ids = [runner.enqueue("a") for _ in range(5)]
    runner.start(claim_batch_size=16)
    for job_id in ids:
        runner.wait(job_id, "SUCCEEDED")


# --- a lost claim, and replies that come in an odd order ---


def drive(runner, script):
    """Run a script with a worker whose exchanges it makes itself, and the jobs that ran."""
    ran = []

    async def work(job):
        ran.append(job.lease_token)

    runner.app.register("a", work)
    runner.define()

    async def main():
        worker = Worker(runner.app, runner.db.dsn, config=Config(worker_id="w"))
        try:
            await script(worker, worker._lanes[0])
            worker.stop()
            await asyncio.wait_for(worker.lane(1), 20)
        finally:
            await worker.close()

    asyncio.run(main())
    return ran


async def claim(worker, link):
    """Rows of a claim, as the worker gets them."""
    (rows,) = await link.run(worker._claim(1))
    return rows


async def settle(worker):
    """Let the jobs at hand end and be recorded."""
    while worker.live:
        await asyncio.sleep(0)
        batch, _ = worker._take()
        if batch:
            await worker._exchange(worker._lanes[1], batch, 0)


def test_a_lease_that_is_lost_before_its_handler_starts_runs_nothing(runner):
    """Found again and lost in between: the database is asked before the handler is."""

    async def script(worker, link):
        job_id = runner.enqueue("a")
        claims = await claim(worker, link)
        expire(runner.db, job_id)
        (reaped,) = runner.client.reap_expired_leases(retry_delay=3600)
        assert reaped.job_id == job_id
        await worker._adopt(link, claims)
        assert worker.live == {}
        await settle(worker)
        assert runner.db.job(job_id)["status"] == "PENDING"

    assert drive(runner, script) == []


def test_a_reply_that_comes_after_its_leases_were_found_runs_nothing_twice(runner):
    async def script(worker, link):
        job_id = runner.enqueue("a")
        late = await claim(worker, link)
        assert [row[0] for row in late] == [str(job_id)]
        await worker._recover(link)
        assert len(worker.live) == 1
        await settle(worker)
        worker._received(late, sent=worker.loop.time())
        assert worker.live == {}

    assert len(drive(runner, script)) == 1


def test_what_is_claimed_while_a_lost_claim_is_looked_for_is_not_taken_for_it(runner):
    async def script(worker, link):
        runner.enqueue("a")
        claims = await claim(worker, link)
        ask = link.run

        async def slow(*calls):
            rows = await ask(*calls)
            if calls[0].function == "heartbeat_jobs":  # the server has answered: the lease is still ours
                worker._received(claims, sent=worker.loop.time())
                await settle(worker)
            return rows

        link.run = slow
        await worker._recover(link)
        assert worker.live == {}

    assert len(drive(runner, script)) == 1


def test_a_lease_that_was_told_lost_is_not_run_again_when_the_clock_goes_back(runner, clock):
    """The ledger's clock was ahead when the job ended. Back again, its lease lives, and another process may not have it yet."""

    async def script(worker, link):
        job_id = runner.enqueue("a")
        worker._received(await claim(worker, link), sent=worker.loop.time())
        clock.advance(3600)
        await settle(worker)
        clock.advance(-3600)
        assert [claim.job_id for claim in runner.client.leased_jobs("w")] == [job_id]
        await worker._recover(link)
        assert worker.live == {}

    assert len(drive(runner, script)) == 1
