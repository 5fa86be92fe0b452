"""What Runledger costs, as ratios to a raw limit on the same server in the same run.

Each figure stands beside the least that any queue on this server must do: a bare table with one partial index, a
bare insert that notifies a session which claims. Rounds of both take turns and the median of each counts, so a busy
machine hurts both alike. Absolute figures say more about the machine than about Runledger: compare ratios, and only
within one run.

Everything happens in a database of its own, made on the server and dropped at the end. Without a server given it
starts an embedded one as a server is run in earnest: on disk, with fsync.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from runledger import embedded, testing
from runledger.app import App
from runledger.client import Client
from runledger.job import Job

BATCH = 100
DURABLE = {"shared_buffers": "256MB", "max_wal_size": "4GB", "jit": "off", "track_functions": "all"}
SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "wal_level")

app = App()


@app.job("bench.noop", max_attempts=2)
async def noop(_: Job) -> None:
    """Do nothing: what is left is the cost of the queue."""


@app.job("bench.pickup", max_attempts=2)
async def pickup(_: Job) -> float:
    """Tell when it began, by the clock of this machine."""
    return time.time()


RAW_TABLE = """
create table raw_queue (
  id bigint generated always as identity primary key, payload jsonb not null,
  status text not null default 'PENDING', run_at timestamptz not null default clock_timestamp());
create index on raw_queue (run_at, id) where status = 'PENDING';
"""
RAW_CLAIM = """
with picked as materialized (
  select id from raw_queue where status = 'PENDING' and run_at <= now()
   order by run_at, id limit %s for update skip locked)
update raw_queue as r set status = 'LEASED' from picked as p where p.id = r.id returning r.id, r.payload
"""
RAW_ENQUEUE_AND_NOTIFY = """
with added as (insert into raw_queue (payload) values ('{"n": 1}') returning id)
select pg_notify('bench_raw', '') from added
"""
RAW_COMPLETE = "update raw_queue set status = 'SUCCEEDED' where id = any (%s)"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report. `ratio` is ours to raw (1: as fast as raw), or what the goal speaks of."""

    what: str
    ours: str
    raw: str
    ratio: float | None
    goal: str
    reached: bool | None


def run(
    *, jobs: int = 20_000, ladder: Sequence[int] = (10_000, 100_000), rounds: int = 3, idle_seconds: float = 10
) -> Iterator[Figure | str]:
    """Measure, and yield a line of text for the setting and a `Figure` for each result as it comes."""
    with _database() as database, database.connect() as conn:
        shown = (f"{name} {_value(conn, f'show {name}')}" for name in SETTINGS)
        yield "PostgreSQL " + ", ".join(shown)
        conn.execute(RAW_TABLE)
        with Client(conn) as client:
            for name in app.job_types:
                client.define_job(name, max_attempts=2)
        yield _single(conn, rounds)
        yield _bulk(conn, jobs, rounds)
        yield from _drain(conn, database.dsn, jobs, rounds)
        yield _pickup(conn, database.dsn)
        yield _idle(conn, database.dsn, idle_seconds)
        yield from _ladder(conn, ladder)
        yield from _cron(conn)


@contextlib.contextmanager
def _database() -> Iterator[testing.Database]:
    if os.environ.get("RUNLEDGER_DSN") or os.environ.get("DATABASE_URL"):
        with testing.ephemeral_database() as database:
            yield database
        return
    with tempfile.TemporaryDirectory(prefix="rlbench-") as directory:
        server = embedded.Server(data=Path(directory) / "data", settings=DURABLE)
        with testing.DatabaseServer(server.dsn(), server=server) as databases:
            yield databases.take()


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _single(conn: psycopg.Connection[Any], rounds: int, count: int = 1000) -> Figure:
    client = Client(conn)

    def raw() -> None:
        for _ in range(count):
            conn.execute("insert into raw_queue (payload) values (%s) returning id", ['{"n": 1}'])

    def ours() -> None:
        for _ in range(count):
            client.enqueue_job("bench.noop", {"n": 1})

    return _pair("single enqueue, one commit each", raw, ours, count, rounds, goal=0.7)


def _pair(
    what: str, raw: Callable[[], None], ours: Callable[[], None], count: int, rounds: int, *, goal: float
) -> Figure:
    raw()
    ours()
    times = [(_timed(raw), _timed(ours)) for _ in range(rounds)]
    bare, full = (statistics.median(t[i] for t in times) for i in (0, 1))
    ratio = bare / full
    return Figure(what, f"{count / full:,.0f}/s", f"{count / bare:,.0f}/s", ratio, f">= {goal}", ratio >= goal)


def _bulk(conn: psycopg.Connection[Any], jobs: int, rounds: int) -> Figure:
    client = Client(conn)
    items = [{"job_type": "bench.noop", "payload": {"n": 1}}] * 5000

    def raw() -> None:
        conn.execute("insert into raw_queue (payload) select '{\"n\": 1}' from generate_series(1, %s)", [jobs])

    def ours() -> None:
        for _ in range(0, jobs, len(items)):
            client.enqueue_jobs(items)

    return _pair(f"bulk enqueue, {len(items)} a call", raw, ours, jobs // len(items) * len(items), rounds, goal=0.4)


@contextlib.contextmanager
def _worker(dsn: str, *settings: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "runledger", "--dsn", dsn, "worker", f"{__name__}:app", "--log-level", "WARNING"]
    process = subprocess.Popen([*command, *settings], env={**os.environ, "JOBS_SHUTDOWN_GRACE_SECONDS": "5"})
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _empty(conn: psycopg.Connection[Any]) -> None:
    conn.execute("truncate runledger.job_queue, runledger.job_attempts, runledger.job_events, raw_queue cascade")


def _drain(conn: psycopg.Connection[Any], dsn: str, jobs: int, rounds: int) -> Iterator[Figure]:
    raw_times, our_times = [], []
    wal: list[float] = []
    commits: list[float] = []
    client = Client(conn)
    for _ in range(rounds):
        _empty(conn)
        conn.execute("insert into raw_queue (payload) select '{\"n\": 1}' from generate_series(1, %s)", [jobs])
        conn.execute("vacuum analyze raw_queue")
        raw_times.append(_timed(lambda: _raw_drain(dsn)) / jobs)
        items = [{"job_type": "bench.noop", "payload": {"n": 1}}] * 5000
        for _ in range(0, jobs, len(items)):
            client.enqueue_jobs(items)
        conn.execute("vacuum analyze runledger.job_queue")
        with _worker(dsn, "--claim-batch-size", str(BATCH), "--max-global-concurrency", str(2 * BATCH)):
            our_times.append(_drained(conn, wal, commits))
    bare, full = statistics.median(raw_times), statistics.median(our_times)
    rate = f"{1 / full:,.0f}/s"
    yield Figure("drain no-op jobs, one process", rate, f"{1 / bare:,.0f}/s", bare / full, ">= 0.9", bare / full >= 0.9)
    bytes_ = statistics.median(wal)
    yield Figure("WAL a job", f"{bytes_:,.0f} B", "", None, "<= 2,200 B", bytes_ <= 2200)
    yield Figure("commits a job", f"{statistics.median(commits):.3f}", "", None, "", None)


def _raw_drain(dsn: str) -> None:
    """The bare loop: claim a batch and complete the last one in one round trip and one commit."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        done: list[int] = []
        while True:
            with conn.pipeline():
                if done:
                    conn.execute(RAW_COMPLETE, [done])
                cursor = conn.execute(RAW_CLAIM, [BATCH])
            rows = cursor.fetchall()
            done = [row[0] for row in rows]
            if not rows:
                return


def _state(conn: psycopg.Connection[Any]) -> tuple[int, int, int]:
    row = conn.execute("""
        select (select count(*) from runledger.job_queue where status = 'PENDING'),
               pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,
               (select xact_commit from pg_stat_database where datname = current_database())""").fetchone()
    assert row  # noqa: S101 - one row always
    return row[0], row[1], row[2]


def _drained(conn: psycopg.Connection[Any], wal: list[float], commits: list[float]) -> float:
    """Seconds a job, from the first claims on: the start of the process is not the drain."""
    total, _, _ = _state(conn)
    first: tuple[float, int, int, int] | None = None
    while True:
        pending, lsn, committed = _state(conn)
        now = time.perf_counter()
        if first is None and pending < total:
            first = now, pending, lsn, committed
        if pending == 0:
            break
        time.sleep(0.05)
    assert first  # noqa: S101 - pending went down
    began, pending, lsn_before, commits_before = first
    wal.append((lsn - lsn_before) / max(pending, 1))
    commits.append((committed - commits_before) / max(pending, 1))
    return (now - began) / max(pending, 1)


def _pickup(conn: psycopg.Connection[Any], dsn: str, samples: int = 60) -> Figure:
    raw = statistics.median(_raw_pickups(conn, dsn, samples))
    client, delays = Client(conn), []
    with _worker(dsn):
        _until(conn, "select exists (select from runledger.workers where idle_until > clock_timestamp())")
        for n in range(samples + 5):
            began = time.time()
            job_id = client.enqueue_job("bench.pickup").job_id
            _until(conn, "select status = 'SUCCEEDED' from runledger.job_queue where id = %s", job_id)
            _until(conn, "select exists (select from runledger.workers where idle_until > clock_timestamp())")
            started = client.job_payload(job_id)
            if n >= 5 and started:
                delays.append(started.output - began)
    ours = statistics.median(delays)
    shown = f"{ours * 1e3:.2f} ms", f"{raw * 1e3:.2f} ms"
    return Figure("pickup by an idle worker, p50", *shown, ours / raw, "<= 1.6 x raw", ours / raw <= 1.6)


def _raw_pickups(conn: psycopg.Connection[Any], dsn: str, samples: int) -> list[float]:
    """From before a bare insert that notifies to the committed claim of the session that listens."""
    claimed: list[float] = []
    ready, done = threading.Event(), threading.Event()

    def listen() -> None:
        with psycopg.connect(dsn, autocommit=True) as listener, psycopg.connect(dsn, autocommit=True) as claimer:
            listener.execute("listen bench_raw")
            ready.set()
            for _ in listener.notifies(stop_after=samples):
                claimer.execute(RAW_CLAIM, [1]).fetchall()
                claimed.append(time.time())
                done.set()

    conn.execute("truncate raw_queue")
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    ready.wait(10)
    trips = []
    for _ in range(samples):
        done.clear()
        began = time.time()
        conn.execute(RAW_ENQUEUE_AND_NOTIFY)
        done.wait(5)
        trips.append(claimed[-1] - began)
    thread.join(5)
    return trips


def _value(conn: psycopg.Connection[Any], query: str, *params: object) -> Any:
    row = conn.execute(query.encode(), params).fetchone()
    assert row  # noqa: S101 - the queries here give one row
    return row[0]


def _until(conn: psycopg.Connection[Any], query: str, *params: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        if _value(conn, query, *params):
            return
        if time.monotonic() > end:
            raise TimeoutError(query)
        time.sleep(0.002)


def _idle(conn: psycopg.Connection[Any], dsn: str, seconds: float) -> Figure:
    # The functions a worker calls; statistics of a session reach the views within a second or so.
    calls = """select coalesce(sum(calls), 0) from pg_stat_user_functions
                where schemaname = 'runledger' and funcname in
                  ('claim_jobs', 'finish_jobs', 'idle_worker', 'heartbeat_jobs', 'leased_jobs')"""
    with _worker(dsn):
        _until(conn, "select exists (select from runledger.workers where idle_until > clock_timestamp())")
        time.sleep(3)
        before = _value(conn, calls)
        time.sleep(seconds)
        after = _value(conn, calls)
    if not before:
        return Figure("calls of an idle worker", "not counted: track_functions is off", "", None, "<= 1/s", None)
    rate = float(after - before) / seconds
    return Figure("calls of an idle worker", f"{rate:.2f}/s", "", rate, "<= 1/s", rate <= 1)


# --- the cost of a claim, in buffers ---------------------------------------------------------------

_LOAD = """
insert into runledger.job_queue (id, job_type, payload, status, priority, max_attempts, timeout_seconds,
  next_run_at, attempt, finished_at, created_at, updated_at)
select gen_random_uuid(), %(job_type)s, '{}', %(status)s::runledger.job_status, 100, 2, 60,
  clock_timestamp() + make_interval(secs => %(offset)s + g * 1e-6), %(attempt)s,
  case when %(status)s = 'SUCCEEDED' then clock_timestamp() end, clock_timestamp(), clock_timestamp()
from generate_series(1, %(rows)s) as g
"""
_KINDS: dict[str, dict[str, object]] = {
    "ready": {"job_type": "bench.noop", "status": "PENDING", "offset": -3600, "attempt": 0},
    "delayed": {"job_type": "bench.noop", "status": "PENDING", "offset": 3600, "attempt": 0},
    "finished": {"job_type": "bench.noop", "status": "SUCCEEDED", "offset": -3600, "attempt": 1},
    "unhandled": {"job_type": "bench.other", "status": "PENDING", "offset": -7200, "attempt": 0},
}


def _ladder(conn: psycopg.Connection[Any], sizes: Sequence[int]) -> Iterator[Figure]:
    Client(conn).define_job("bench.other")
    for kind, values in _KINDS.items():
        buffers = []
        for size in sizes:
            _empty(conn)
            for rows, what in ((1000, _KINDS["ready"]), (size, values)):
                conn.execute(_LOAD, {"rows": rows, **what})
            conn.execute("vacuum analyze runledger.job_queue")
            buffers.append(_claim_buffers(conn))
        steps = ", ".join(f"{size:,}: {count}" for size, count in zip(sizes, buffers, strict=True))
        growth = buffers[-1] / buffers[0]
        yield Figure(f"buffers of a claim of {BATCH}, {kind}", steps, "", growth, "<= 1.2 x", growth <= 1.2)


def _claim_buffers(conn: psycopg.Connection[Any]) -> int:
    """Shared buffers that one claim touches; two types, so that the common index is what counts. Rolled back."""
    claim = f"select * from runledger.claim_jobs('bench', '{{bench.noop,bench.pickup}}', {BATCH})"  # noqa: S608
    with conn.transaction(force_rollback=True):
        conn.execute(claim.encode())
        conn.execute("select set_config('runledger.claim_mark', '', false)")
        (explained,) = _value(conn, f"explain (analyze, buffers, timing off, format json) {claim}")
    plan = explained["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


# --- the cost of cron, on the server ---------------------------------------------------------------

_EVERY_VALUE = " ".join(",".join(map(str, range(low, high + 1))) for low, high in ((0, 59), (0, 59), (0, 23), (1, 31)))
_CRONS: dict[str, tuple[str, str, str]] = {
    "every five minutes": ("*/5 * * * *", "UTC", "2026-03-01 00:00Z"),
    "working days in Berlin": ("30 8 * * 1-5", "Europe/Berlin", "2026-03-27 12:00Z"),
    "a list of every value": (f"{_EVERY_VALUE} 1-12 *", "Europe/Berlin", "2026-03-27 12:00Z"),
    "29 February, four years on": ("0 0 29 2 *", "Australia/Lord_Howe", "2028-03-01 00:00Z"),
}
_HOSTILE = {
    "a thousand bytes": ",".join(["0-59/1"] * 142) + " * * * *",
    "a million bytes": "*" * 1_000_000,
    "a thousand fields": "* " * 500,
    "30 February": "0 0 30 2 *",
    "a step of 0": "*/0 * * * *",
}
_SPENT = {
    "parse": "select count(runledger._parse_cron(%(cron)s || left(g::text, 0)))"
    " from generate_series(1, %(calls)s) as g",
    "next": "select count(runledger._next_fire(c.cron, %(zone)s, %(after)s::timestamptz + g * interval '1 s'))"
    " from generate_series(1, %(calls)s) as g, (select runledger._parse_cron(%(cron)s) as cron offset 0) as c",
    "call": "select count(runledger.next_fire_at(%(cron)s, %(zone)s, %(after)s::timestamptz + g * interval '1 s'))"
    " from generate_series(1, %(calls)s) as g",
}
# An error cannot be had without a subtransaction around it: the raw limit is an error of the same kind at once.
_REFUSING = """
create function pg_temp.refused(cron text, calls integer) returns void language plpgsql as $$
begin
  for v_n in 1..calls loop
    begin
      if cron is null then
        perform runledger._raise('job_schedule.invalid_cron');
      end if;
      perform runledger._parse_cron(cron);
    exception when sqlstate 'RL010' then
      continue;
    end;
    raise exception 'not refused: %', left(cron, 80);
  end loop;
end $$
"""


def _cron(conn: psycopg.Connection[Any], calls: int = 500) -> Iterator[Figure]:
    """Server time of one call, without the round trip; nothing to compare it with but each other."""
    conn.execute("set timezone = 'UTC'")
    for name, (cron, zone, after) in _CRONS.items():
        arguments = {"cron": cron, "zone": zone, "after": after, "calls": calls}
        spent = {part: _microseconds(conn, query, arguments, calls) for part, query in _SPENT.items()}
        shown = ", ".join(f"{part} {us:,.0f}" for part, us in spent.items())
        yield Figure(f"cron: {name}", f"{shown} us", "", None, "", None)
    conn.execute(_REFUSING)
    refuse = "select pg_temp.refused(%(cron)s, %(calls)s)"
    bare = _microseconds(conn, refuse, {"cron": None, "calls": calls}, calls)
    for name, cron in _HOSTILE.items():
        us = _microseconds(conn, refuse, {"cron": cron, "calls": calls}, calls)
        yield Figure(f"cron refused: {name}", f"{us:,.0f} us", f"{bare:,.0f} us", us / bare, "", None)


def _microseconds(conn: psycopg.Connection[Any], query: str, arguments: dict[str, object], calls: int) -> float:
    """Of one call in a statement of so many; the best of three, since whatever else runs can only add."""
    return min(_timed(lambda: conn.execute(query.encode(), arguments)) for _ in range(3)) / calls * 1e6


def as_json(lines: Sequence[Figure | str]) -> str:
    """The report as JSON: `setting`, and `figures` with the fields of `Figure`."""
    figures = [asdict(line) for line in lines if isinstance(line, Figure)]
    return json.dumps({"setting": next((x for x in lines if isinstance(x, str)), ""), "figures": figures}, indent=2)
