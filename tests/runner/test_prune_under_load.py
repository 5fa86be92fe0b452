"""A month of history is pruned while a worker drains at full speed: no job fails, nobody waits long for a lock.

The server tells of waits: with log_lock_waits it writes a line for whoever waited longer than deadlock_timeout, which
is set to the bound here. A control at the end makes somebody wait that long, to see that the line would be there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import psycopg
import pytest

from runledger import Job
from tests.anomaly.world import ServerLog
from tests.runner.conftest import Runner, until
from tests.support.database import Db

# A drop waits 200 ms for its lock, with everybody who writes events behind it, and then has to be done.
BOUND = "1s"
WAITED = "still waiting for"
DAYS = 30
# A job in fifty was dead-lettered and is kept for 90 days.
JOBS = """
    insert into runledger.job_queue
      (id, job_type, status, payload, priority, attempt, max_attempts, timeout_seconds, next_run_at, started_at,
       finished_at, stage, last_error_code, created_at, updated_at)
    select (left(runledger._uuid_floor(m.at)::text, 13) || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
           'old', m.status, '{"n": 1}', 100, 1, 8, 900, m.at, m.at, m.at, 'completed',
           case when n %% 50 = 0 then 'e.old' end, m.at, m.at
      from generate_series(%(first)s::bigint, %(last)s) as n
     cross join lateral (select
           now() - interval '1 hour' - %(days)s * interval '1 day' * (1 - n / %(total)s::float8) as at,
           case when n %% 50 = 0 then 'DEAD_LETTERED' else 'SUCCEEDED' end::runledger.job_status as status) as m"""
ATTEMPTS = """
    insert into runledger.job_attempts (job_id, run_number, attempt, worker_id, lease_token, leased_at, started_at,
      finished_at, disposition, outcome)
    select q.id, 1, 1, 'w', nextval('runledger.lease_token_seq'), q.created_at, q.created_at, q.finished_at, q.status::text,
           case when q.status = 'DEAD_LETTERED' then 'TERMINAL' end::runledger.job_failure_kind
      from runledger.job_queue as q"""
EVENTS = """
    insert into runledger.job_events (job_id, run_number, attempt, event_type, occurred_at)
    select q.id, 1, case when k.n > 1 then 1 end, k.kind::runledger.job_event_type, q.created_at
      from runledger.job_queue as q
     cross join lateral (values (1, 'ENQUEUED'), (2, 'LEASED'),
       (3, case when q.status = 'SUCCEEDED' then 'SUCCEEDED' else 'FAILED' end),
       (4, case when q.status = 'DEAD_LETTERED' then 'DEAD_LETTERED' end)) as k(n, kind)
     where k.kind is not null
     order by q.id, k.n"""
LETTERS = """
    insert into runledger.job_dead_letters (job_id, job_type, run_number, attempt, error_code, payload_snapshot, failed_at)
    select q.id, q.job_type, 1, 1, 'e.old', q.payload, q.finished_at
      from runledger.job_queue as q where q.status = 'DEAD_LETTERED'"""
LINES = """
    insert into runledger.job_logs (job_id, run_number, attempt, level, message, occurred_at)
    select q.id, 1, 1, 'info', 'done', q.finished_at from runledger.job_queue as q"""


def a_month(db: Db, jobs: int) -> None:
    """Finished jobs, evenly over the last thirty days, with their partitions."""
    db.execute("select runledger.define_job('old')")
    # The upkeep of the worker leaves it to the calls of this test, so that all of them can be counted.
    db.execute("select runledger.set_retention('0', '0', '0')")
    with psycopg.connect(db.dsn, autocommit=True) as owner:
        for parent in ("job_events", "job_logs"):
            owner.execute(
                f"""do $$ declare v_day date; begin
                    for v_day in select d::date from generate_series((now() at time zone 'UTC')::date - {DAYS + 1},
                      (now() at time zone 'UTC')::date - 1, interval '1 day') as d loop
                      execute format('create table runledger.%I partition of runledger.{parent} for values from (%L) to (%L)',
                        '{parent}_' || to_char(v_day, 'YYYYMMDD'), v_day::timestamp at time zone 'UTC',
                        (v_day + 1)::timestamp at time zone 'UTC');
                    end loop; end $$"""
            )
    db.execute(JOBS, {"first": 1, "last": jobs, "total": jobs, "days": DAYS})
    for each in (ATTEMPTS, EVENTS, LETTERS, LINES):
        db.execute(each)
    # Its events were counted as they came.
    db.execute("update runledger.upkeep_state set rolled_up_to = (select max(id) from runledger.job_events)")
    db.execute("vacuum analyze")


class Load:
    """A worker that always has something to do, until it is told to end."""

    def __init__(self, runner: Runner, batch: int) -> None:
        self.runner, self.batch = runner, batch
        self.enqueued = 0
        self.errors: list[BaseException] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)

    def _feed(self) -> None:
        try:
            with psycopg.connect(self.runner.db.dsn, autocommit=True) as conn:
                while not self._end.is_set():
                    row = conn.execute(
                        "select count(*) from (select from runledger.job_queue where status = 'PENDING' limit %s) as p",
                        [self.batch],
                    ).fetchone()
                    if row and row[0] < self.batch:
                        conn.execute(
                            "select count(*) from runledger.enqueue_jobs((select jsonb_agg(jsonb_build_object("
                            "'job_type', 'new')) from generate_series(1, %s)))",
                            [self.batch],
                        )
                        self.enqueued += self.batch
                    self._end.wait(0.01)
        except BaseException as error:
            self.errors.append(error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(30)


@pytest.fixture
def watched(db: Db) -> Iterator[ServerLog]:
    """Every session from now on that waits longer than the bound leaves a line."""
    name = db.value("select current_database()")
    db.execute(f"alter database {name} set log_lock_waits = on")
    db.execute(f"alter database {name} set deadlock_timeout = '{BOUND}'")
    return ServerLog(db)


def prune_until_done(db: Db, max_rows: int) -> dict[str, Any]:
    """Call prune as an operator would, a committed transaction each."""
    told: dict[str, Any] = {"calls": 0, "rows": 0, "partitions": 0, "most rows in a call": 0, "slowest call": 0.0}
    with psycopg.connect(db.dsn, autocommit=True) as conn:
        more = True
        while more:
            began = time.monotonic()
            rows = conn.execute(
                "select task, affected, more from runledger.prune(max_rows => %s, dead_letters_older_than => '90 days')",
                [max_rows],
            ).fetchall()
            told["slowest call"] = max(told["slowest call"], round(time.monotonic() - began, 3))
            deleted = sum(r[1] for r in rows if r[0] != "partitions")
            dropped = sum(r[1] for r in rows if r[0] == "partitions")
            # What drops a partition deletes nothing, and no call exceeds its bound.
            assert deleted <= max_rows
            assert not (deleted and dropped)
            told["calls"] += 1
            told["rows"] += deleted
            told["partitions"] += dropped
            told["most rows in a call"] = max(told["most rows in a call"], deleted)
            more = any(r[2] for r in rows)
    return told


def wait_longer_than_the_bound(db: Db, log: ServerLog) -> None:
    with psycopg.connect(db.admin_dsn) as holder, psycopg.connect(db.admin_dsn) as waiter:
        holder.execute("lock table runledger.job_definitions in exclusive mode")
        thread = threading.Thread(
            target=waiter.execute, args=["lock table runledger.job_definitions in exclusive mode"]
        )
        thread.start()
        until(lambda: WAITED in log.text(), "the line of a session that waits")
        holder.rollback()
        thread.join()
        waiter.rollback()


@pytest.mark.parametrize(
    ("jobs", "max_rows"),
    [
        pytest.param(20_000, 2_000, id="20 thousand"),
        pytest.param(1_000_000, 10_000, id="1 million", marks=[pytest.mark.soak, pytest.mark.slow, pytest.mark.timeout(3000)]),
    ],
)  # fmt: skip
def test_a_month_is_pruned_while_a_worker_drains(db: Db, runner: Runner, watched: ServerLog, jobs: int, max_rows: int):
    a_month(db, jobs)
    before = db.value("select count(*) from runledger.job_queue")
    # Time goes on meanwhile, and some more grow old: what is an hour younger is not old enough at the end either.
    horizon = db.value("select now() - interval '14 days'")
    young = "select count(*) from runledger.job_queue where job_type = 'old' and (status <> 'SUCCEEDED' or finished_at > %s + interval '1 hour')"
    kept = db.value(young, [horizon])

    @runner.job("new")
    async def new(job: Job) -> None:
        pass

    runner.define()
    runner.start(max_global_concurrency=200, claim_batch_size=100)
    began = time.monotonic()
    with Load(runner, max(200, jobs // 500)) as load:
        until(
            lambda: db.value(
                "select count(*) from (select from runledger.job_queue where job_type = 'new' and status = 'SUCCEEDED' limit 1) as j"
            )
        )
        told = prune_until_done(db, max_rows)
        seconds = time.monotonic() - began
    finished = until(
        lambda: db.value("select count(*) from runledger.job_queue where job_type = 'new' and status not in ('PENDING', 'LEASED')") == load.enqueued
        and load.enqueued
    )  # fmt: skip
    waits = watched.text().count(WAITED)
    print(f"\n{before} jobs, {told}, {seconds:.1f} s; {finished} jobs drained, {waits} waits over {BOUND}")  # noqa: T201
    assert load.errors == []
    # No job failed, none ran twice.
    assert db.all(
        "select status::text, attempt, count(*) as n from runledger.job_queue where job_type = 'new' group by 1, 2"
    ) == [{"status": "SUCCEEDED", "attempt": 1, "n": finished}]
    assert waits == 0
    assert db.value(young, [horizon]) == kept
    assert (
        db.value("select count(*) from runledger.job_queue where status = 'SUCCEEDED' and finished_at < %s", [horizon])
        == 0
    )
    assert told["rows"] == 2 * (before - db.value("select count(*) from runledger.job_queue where job_type = 'old'"))
    assert told["partitions"] == 2 * (DAYS + 1 - 14)
    wait_longer_than_the_bound(db, watched)
