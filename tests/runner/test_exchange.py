"""How a worker talks to the database: how often, how much at once, and how it waits."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from runledger._link import Link
from tests.runner.conftest import Gate, backends, until


def test_finish_and_claim_are_one_commit(runner):
    """The attempt of the second job begins in the very transaction that ends the first."""
    runner.app.register("a", lambda job: None)
    runner.define()
    ids = [runner.enqueue("a") for _ in range(5)]
    runner.start(max_global_concurrency=1, claim_batch_size=1)
    for job_id in ids:
        runner.wait(job_id)
    rows = runner.db.all(
        "select e.transaction_id::text as xid, event_type::text as event, job_id from runledger.job_events e"
        " where event_type in ('LEASED', 'SUCCEEDED') order by id"
    )
    assert [row["event"] for row in rows] == ["LEASED", "SUCCEEDED"] * 5
    assert [row["job_id"] for row in rows[::2]] == ids
    for ended, begun in zip(rows[1::2], rows[2::2], strict=False):
        assert ended["xid"] == begun["xid"]


def test_a_batch_is_finished_at_once(runner):
    async def work(job):
        return None

    runner.app.register("a", work)
    runner.define()
    runner.client.enqueue_jobs([{"job_type": "a"}] * 400)
    runner.start(max_global_concurrency=200, claim_batch_size=100)
    until(lambda: runner.db.value("select count(*) from runledger.job_queue where status = 'SUCCEEDED'") == 400)
    commits = runner.db.value(
        "select count(distinct e.xmin::text) from runledger.job_events e where event_type = 'SUCCEEDED'"
    )
    assert commits <= 8, "handlers that end at once share an exchange"


def test_two_exchanges_overlap(runner, sessions):
    """While one waits for a row that somebody holds, the other goes on."""
    gate = Gate()

    async def work(job):
        if job.payload:
            await gate.pass_()

    runner.app.register("a", work)
    runner.define()
    held = runner.enqueue("a", {"wait": True})
    supervisor = runner.start()
    gate.await_arrival()
    (other,) = sessions("other")
    other.begin().execute("select from runledger.job_queue where id = %s for update", [held])
    gate.open()
    pids = backends(runner.db, supervisor.config.worker_id)
    blocked = "select count(*) from unnest(%s::int[]) p where %s = any(pg_blocking_pids(p))"
    until(lambda: runner.db.value(blocked, [pids, other.pid]), "an exchange to wait")
    assert runner.finish("a")["status"] == "SUCCEEDED"
    assert runner.db.value(blocked, [pids, other.pid])
    other.commit()
    runner.wait(held, "SUCCEEDED")


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_no_more_jobs_at_once_than_allowed(runner, limit, kind):
    gate = Gate()

    async def work(job):
        await gate.pass_()

    runner.app.register("a", work if kind == "async" else lambda job: gate.wait())
    runner.define()
    runner.client.enqueue_jobs([{"job_type": "a"}] * 30)
    leased = "select count(*) from runledger.job_queue where status = 'LEASED'"
    done = "select count(*) from runledger.job_queue where status = 'SUCCEEDED'"
    runner.start(max_global_concurrency=limit, claim_batch_size=10, poll_interval_ms=5)
    until(lambda: runner.db.value(leased) == limit, "all slots in use")
    # It has time for dozens of polls, and is told to look.
    for _ in range(20):
        runner.db.execute("select pg_notify('runledger_wake', runledger._wake_key('a'))")
        assert runner.db.value(leased) == limit
        time.sleep(0.01)
    gate.open()
    until(lambda: runner.db.value(done) == 30, "all of them")


def test_a_full_batch_is_followed_by_the_next_without_a_pause(runner):
    runner.app.register("a", lambda job: None)
    runner.define()
    ids = [runner.enqueue("a") for _ in range(20)]
    runner.start(poll_interval_ms=3_600_000, claim_batch_size=2, max_global_concurrency=2)
    for job_id in ids:
        runner.wait(job_id)


def test_an_enqueued_job_wakes_an_idle_worker(runner):
    async def work(job):
        return None

    runner.app.register("a", work)
    runner.define()
    runner.start(poll_interval_ms=3_600_000)
    for _ in range(3):
        until(lambda: runner.db.value("select count(*) from runledger.workers where idle_until > now()"), "idleness")
        assert runner.finish("a")["status"] == "SUCCEEDED"


def test_a_busy_worker_asks_not_to_be_woken(runner):
    gate = Gate()

    async def work(job):
        if job.payload:
            await gate.pass_()

    runner.app.register("a", work)
    runner.define()
    runner.start(max_global_concurrency=2, claim_batch_size=1, poll_interval_ms=3_600_000)
    until(lambda: runner.db.value("select count(*) from runledger.workers where idle_until > now()"), "idleness")
    ids = [runner.enqueue("a", {"wait": True}) for _ in range(2)]
    # The second claim, or the end of the first job, says so.
    gate.await_arrival()
    until(lambda: runner.db.value("select idle_until is null or idle_until < now() from runledger.workers"), "no wish")
    gate.open()
    for job_id in ids:
        runner.wait(job_id)
    until(lambda: runner.db.value("select count(*) from runledger.workers where idle_until > now()"), "idleness again")


def test_a_job_now_and_then_is_a_claim_and_a_completion(runner, monkeypatch):
    """A worker with slots free goes on waiting for a word: nothing is said of it for each job."""
    sent = []
    send = Link.run

    async def run(self, *calls):
        sent.append([call.function for call in calls])
        return await send(self, *calls)

    async def work(job):
        return None

    monkeypatch.setattr(Link, "run", run)
    runner.app.register("a", work)
    runner.define()
    runner.start(poll_interval_ms=3_600_000)
    until(lambda: runner.db.value("select count(*) from runledger.workers where idle_until > now()"), "idleness")
    for _ in range(20):
        assert runner.finish("a")["status"] == "SUCCEEDED"
    begun = next(n for n, functions in enumerate(sent) if "finish_jobs" in functions)
    told = [functions for functions in sent[begun:] if "idle_worker" in functions]
    span = runner.db.value("select extract(epoch from max(finished_at) - min(started_at)) from runledger.job_queue")
    assert len(told) <= 2 + span  # at most once a second, to hear of what is due later
    assert runner.db.value("select idle_until > now() from runledger.workers")


def test_a_follow_up_is_begun_when_it_is_due(runner):
    """Its parent came by a word, and the worker has not rested since: still it learns what is due later."""

    async def work(job):
        if job.payload:
            await asyncio.to_thread(runner.enqueue, "a", run_at=datetime.now(UTC) + timedelta(seconds=1.2))

    runner.app.register("a", work)
    runner.define()
    runner.start(poll_interval_ms=3_600_000)
    until(lambda: runner.db.value("select count(*) from runledger.workers where idle_until > now()"), "idleness")
    runner.finish("a", {"again": True})
    until(lambda: runner.db.value("select count(*) from runledger.job_queue where status = 'SUCCEEDED'") == 2, "both")


def test_the_next_due_job_wakes_an_idle_worker(runner):
    async def work(job):
        return None

    runner.app.register("a", work)
    runner.define()
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    job_id = runner.enqueue("a", run_at=due)
    runner.start(poll_interval_ms=3_600_000)
    row = runner.wait(job_id)
    assert row["started_at"] >= due


def test_a_retry_wakes_the_worker_when_it_is_due(runner):
    async def work(job):
        if job.attempt == 1:
            raise ValueError

    runner.app.register("a", work, retry_base=1, retry_max=1)
    runner.define()
    runner.start(poll_interval_ms=3_600_000)
    until(lambda: runner.db.value("select count(*) from runledger.workers where idle_until > now()"), "idleness")
    assert runner.finish("a")["attempt"] == 2


def test_polling_alone_is_enough(runner):
    """Behind a pooler that swallows notifications."""
    runner.app.register("a", lambda job: None)
    runner.define()
    runner.db.execute(
        "create or replace function runledger._wake(job_types text[], now timestamptz) returns void"
        " language sql as 'select'"
    )
    runner.start(poll_interval_ms=20)
    for _ in range(3):
        assert runner.finish("a")["status"] == "SUCCEEDED"


def test_an_idle_worker_asks_at_most_once_a_second(runner):
    async def work(job):
        return None

    runner.app.register("a", work)
    supervisor = runner.start(poll_interval_ms=1000, reaper_interval_seconds=15)
    name = f"runledger:{supervisor.config.worker_id}"[:63]
    seen: dict[tuple, float] = {}

    def look():
        """Remember every query of the worker that has ended: one under way has several beginnings."""
        for row in runner.db.all(
            "select pid, query_start, query from pg_stat_activity where application_name = %s and state = 'idle'",
            [name],
        ):
            seen.setdefault((row["pid"], row["query_start"], row["query"]), time.monotonic())
        return time.monotonic() - max(seen.values())

    until(lambda: runner.db.value("select count(*) from runledger.workers where idle_until > now()"), "idleness")
    until(lambda: look() > 0.8, "the end of the start")
    assert len({pid for pid, _, _ in seen}) <= 4
    begin, known = time.monotonic(), len(seen)
    until(lambda: look() >= 0 and time.monotonic() - begin > 5, "five seconds to pass")
    asked = len(seen) - known
    assert 3 <= asked <= 5, list(seen)[known:]


@pytest.fixture
def asked(monkeypatch):
    """When a worker has asked for jobs or to be woken, on the monotonic clock."""
    asked: list[float] = []
    send = Link.run

    async def run(self, *calls):
        if any(call.function in ("claim_jobs", "idle_worker") for call in calls):
            asked.append(time.monotonic())
        return await send(self, *calls)

    monkeypatch.setattr(Link, "run", run)
    return asked


@pytest.mark.parametrize("holder", ["another worker", "itself"])
def test_a_backlog_of_a_full_type_is_not_asked_for_again_and_again(runner, asked, holder):
    """Its jobs are due and nobody may have them: no reason to ask more often than with nothing to do."""
    gate = Gate()

    async def work(job):
        await gate.pass_()

    runner.app.register("a", work, max_concurrency=1)
    runner.define()
    ids = [runner.enqueue("a") for _ in range(3)]
    if holder == "another worker":
        (held,) = runner.client.claim_jobs("elsewhere", ["a"], max_jobs=3)
    runner.start(poll_interval_ms=1000)
    if holder == "itself":
        gate.await_arrival()
    until(lambda: runner.db.value("select count(*) from runledger.workers where idle_until > now()"), "idleness")
    begin = len(asked)
    until(lambda: len(asked) >= begin + 9, "nine asks")
    # The last claim of the start may still be among them, and the look and the wish that follow a find within a
    # second; the others are a poll apart.
    assert asked[begin + 8] - asked[begin + 3] >= 4.9
    gate.open()
    if holder == "another worker":
        runner.client.succeed_job(held.job_id, held.lease_token)
    for job_id in ids:
        assert runner.wait(job_id)["status"] == "SUCCEEDED"


def test_the_wish_to_be_woken_is_renewed_however_long_the_poll(runner, monkeypatch):
    monkeypatch.setattr("runledger.worker.IDLE_SECONDS", 2)
    runner.app.register("a", lambda job: None)
    runner.start(poll_interval_ms=3_600_000)
    until(lambda: runner.db.value("select count(*) from runledger.workers where idle_until > now()"), "idleness")
    first = runner.db.value("select idle_until from runledger.workers")
    until(lambda: runner.db.value("select min(idle_until) > %s from runledger.workers", [first]), "a later one")
    assert runner.finish("a")["status"] == "SUCCEEDED"


def test_a_refused_claim_does_not_stop_the_worker(runner):
    runner.app.register("a", lambda job: None)
    runner.define()
    source = runner.db.value("select pg_get_functiondef('runledger._check_claim'::regproc)")
    runner.db.execute(
        "create or replace function runledger._check_claim(worker_id text, job_types text[], max_jobs integer,"
        " lease_seconds integer) returns void language plpgsql stable as"
        " $$ begin perform runledger._raise('job.invalid_limit'); end $$"
    )
    job_id = runner.enqueue("a")
    runner.start()
    until(lambda: "claim_jobs" in runner.db.value("select string_agg(query, ' ') from pg_stat_activity"), "a claim")
    runner.db.execute(source)
    assert runner.wait(job_id)["status"] == "SUCCEEDED"


def test_work_goes_through_without_prepared_statements(runner):
    runner.app.register("a", lambda job: job.payload)
    supervisor = runner.start(prepare=0)
    for n in range(8):
        assert runner.finish("a", n)["output"] == n
    assert len(backends(runner.db, supervisor.config.worker_id)) >= 3


def test_a_role_that_may_never_claim_is_told_so_at_once(runner, stranger):
    dsn = psycopg.conninfo.make_conninfo(runner.db.admin_dsn, user=stranger)
    runner.app.register("a", lambda job: None)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        runner.start(dsn=dsn)


def test_another_isolation_level_is_told_of_at_once(runner):
    from runledger.worker import WorkerStoppedError

    runner.app.register("a", lambda job: None)
    runner.define()
    runner.db.execute(f"alter database {runner.db.database.name} set default_transaction_isolation = 'serializable'")
    supervisor = runner.start()
    supervisor._thread.join(30)
    with pytest.raises(WorkerStoppedError, match="READ COMMITTED"):
        runner.stop(supervisor)


def test_a_worker_is_woken_while_its_other_exchange_is_held_up(runner, sessions):
    """It tells that it is busy in an exchange that waits for a row: it must find work all the same, and rest."""
    gate = Gate()

    async def work(job):
        if job.payload:
            await gate.pass_()

    runner.app.register("a", work)
    runner.define()
    supervisor = runner.start(poll_interval_ms=200)
    until(lambda: runner.db.value("select count(*) from runledger.workers where idle_until > now()"), "idleness")
    held = runner.enqueue("a", {"wait": True})
    gate.await_arrival()
    (other,) = sessions("other")
    other.begin().execute("select from runledger.job_queue where id = %s for update", [held])
    gate.open()
    pids = backends(runner.db, supervisor.config.worker_id)
    blocked = "select count(*) from unnest(%s::int[]) p where %s = any(pg_blocking_pids(p))"
    until(lambda: runner.db.value(blocked, [pids, other.pid]), "an exchange to wait")
    for _ in range(3):
        assert runner.finish("a")["status"] == "SUCCEEDED"
    assert runner.db.value(blocked, [pids, other.pid])
    other.commit()
    runner.wait(held, "SUCCEEDED")
