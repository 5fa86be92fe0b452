"""Where it is measured, and with what: a database of its own, workers as processes, readings of what was spent."""

from __future__ import annotations

import contextlib
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from runledger import embedded
from runledger.bench.jobs import app
from runledger.client import Client
from runledger.migrate import migrate

DURABLE = {"shared_buffers": "256MB", "max_wal_size": "4GB", "jit": "off", "track_functions": "all"}
SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "wal_level")
OWNER = "runledger_bench"

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
RAW_COMPLETE = "update raw_queue set status = 'SUCCEEDED' where id = any (%s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything: the flags of the command."""

    jobs: int = 20_000
    rounds: int = 3
    ladder: Sequence[int] = (1_000, 10_000, 100_000)
    idle_seconds: float = 10
    pickups: int = 200
    cron_calls: int = 500
    ways: int = 5
    width: int = 1000
    diamonds: int = 1000
    chain: int = 200
    graph: int = 10_000
    snapshot_seconds: float = 20
    offered: int = 800


QUICK = Scale(
    jobs=500, rounds=1, ladder=(500, 1000), idle_seconds=1, pickups=5, cron_calls=5, ways=2,
    width=20, diamonds=5, chain=10, graph=100, snapshot_seconds=1, offered=200,
)  # fmt: skip
"""A look at whether everything works; its figures say little."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one job cost; None is what could not be measured here."""

    server_cpu_us: float | None = None
    client_cpu_us: float | None = None
    wal_bytes: float | None = None
    transactions: float | None = None
    statements: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one instant."""

    at: float
    server_cpu: float | None
    client_cpu: float | None
    wal: int
    transactions: int
    statements: int | None

    def until(self, later: Reading, jobs: float) -> Spent:
        """What was spent until a later reading, by each job."""

        def each(before: float | None, after: float | None, unit: float = 1) -> float | None:
            return None if before is None or after is None else (after - before) * unit / max(jobs, 1)

        return Spent(
            each(self.server_cpu, later.server_cpu, 1e6),
            each(self.client_cpu, later.client_cpu, 1e6),
            each(self.wal, later.wal),
            each(self.transactions, later.transactions),
            each(self.statements, later.statements),
        )


def median(spent: Sequence[Spent]) -> Spent:
    """The median of each thing that was spent."""

    def middle(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None

    return Spent(*(middle([getattr(each, name) for each in spent]) for name in Spent.__slots__))


@dataclass(frozen=True, slots=True)
class Stage:
    """A database to measure in. `conn` is in autocommit mode, as the owner of the schema."""

    scale: Scale
    dsn: str
    conn: psycopg.Connection[Any]
    client: Client
    setting: str
    postmaster: int | None
    counts_statements: bool

    def connect(self) -> psycopg.Connection[Any]:
        """Open one more connection, in autocommit mode."""
        return psycopg.connect(self.dsn, autocommit=True)

    def value(self, query: str, *params: object) -> Any:
        """The one value of a query."""
        row = self.conn.execute(query.encode(), params).fetchone()
        assert row  # noqa: S101 - the queries here give one row
        return row[0]

    def until(self, query: str, *params: object, seconds: float = 30, pause: float = 0.002) -> None:
        """Ask until a query says true."""
        end = time.monotonic() + seconds
        while not self.value(query, *params):
            if time.monotonic() > end:
                raise TimeoutError(query)
            time.sleep(pause)

    def empty(self) -> None:
        """Take all jobs away."""
        self.conn.execute(b"""
            truncate runledger.job_queue, runledger.job_attempts, runledger.job_events, runledger.workflow_runs,
                     runledger.workflow_step_dependencies, raw_queue cascade""")

    @contextlib.contextmanager
    def worker(self, *settings: str) -> Iterator[subprocess.Popen[bytes]]:
        """Have a process work, with flags of `runledger worker`."""
        command = [sys.executable, "-m", "runledger", "--dsn", self.dsn, "worker", "runledger.bench.jobs:app"]
        process = subprocess.Popen(
            [*command, "--log-level", "WARNING", *settings], env={**os.environ, "JOBS_SHUTDOWN_GRACE_SECONDS": "5"}
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    def until_idle(self, workers: int = 1) -> None:
        """Wait until so many workers wait for a word."""
        self.until("select count(*) >= %s from runledger.workers where idle_until > clock_timestamp()", workers)

    def reading(self, clients: Sequence[int] = ()) -> Reading:
        """Read the counters; the client is this process, or those with the pids given."""
        row = self.conn.execute("""
            select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,
                   pg_snapshot_xmax(pg_current_snapshot())::text::bigint""").fetchone()
        assert row  # noqa: S101 - one row always
        calls = int(self.value("select sum(calls) from pg_stat_statements")) if self.counts_statements else None
        server = _cpu([self.postmaster, *_children(self.postmaster)]) if self.postmaster else None
        return Reading(
            time.perf_counter(), server, _cpu(clients) if clients else time.process_time(), row[0], row[1], calls
        )


def timed(action: Callable[[], object]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


# --- processes ---------------------------------------------------------------------------------------


def _cpu(pids: Sequence[int]) -> float | None:
    """CPU seconds of processes and of those of their children that have ended; None without /proc."""
    ticks, seen = 0, False
    for pid in pids:
        with contextlib.suppress(OSError):
            # The name may have spaces and brackets.
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))
            seen = True
    return ticks / os.sysconf("SC_CLK_TCK") if seen else None


def _children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _postmaster(conn: psycopg.Connection[Any]) -> int | None:
    """The server's first process, if it is on this machine and its processes can be seen."""
    try:
        pid = conn.info.backend_pid
        stat = Path(f"/proc/{pid}/stat").read_text()
        parent = int(stat.rsplit(")", 1)[1].split()[1])
        if "(postgres)" not in stat or pid not in _children(parent):
            return None
    except (OSError, ValueError, IndexError):
        return None
    # A backend of another server may have that number here, in a container say: ours must be where we connect to.
    is_local = conn.info.host.startswith("/") or conn.info.hostaddr in ("127.0.0.1", "::1")
    return parent if is_local else None


# --- the database ------------------------------------------------------------------------------------


@contextlib.contextmanager
def stage(scale: Scale) -> Iterator[Stage]:
    """Make a database to measure in, on the server that the environment names or on one of our own."""
    given = os.environ.get("RUNLEDGER_DSN") or os.environ.get("DATABASE_URL")
    with contextlib.ExitStack() as stack:
        if given:
            admin_dsn, owner = given, None
        else:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="rlbench-"))
            server = embedded.Server(data=Path(directory) / "data", settings=_settings())
            stack.callback(server.stop, "immediate")
            admin_dsn, owner = server.dsn(), OWNER
        name = f"runledger_bench_{secrets.token_hex(4)}"
        admin = stack.enter_context(psycopg.connect(admin_dsn, autocommit=True))
        if owner:
            admin.execute(sql.SQL("create role {} login in role pg_read_all_stats").format(sql.Identifier(owner)))
        create = sql.SQL("create database {}").format(sql.Identifier(name))
        admin.execute(create + sql.SQL(" owner {}").format(sql.Identifier(owner)) if owner else create)
        stack.callback(admin.execute, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        here = make_conninfo(admin_dsn, dbname=name)
        counts = _count_statements(here)
        dsn = make_conninfo(here, user=owner) if owner else here
        migrate(dsn)
        conn = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        conn.execute(RAW_TABLE)
        shown = [f"{name} {conn.execute(f'show {name}'.encode()).fetchone()[0]}" for name in SETTINGS]  # type: ignore[index]
        client = Client(conn)
        app.define(client)
        yield Stage(scale, dsn, conn, client, "PostgreSQL " + ", ".join(shown), _postmaster(conn), counts)


def _settings() -> dict[str, str]:
    modules = embedded.find_binaries().parent.rglob("pg_stat_statements.*")
    if any(module.suffix in (".so", ".dylib") for module in modules):
        return {**DURABLE, "shared_preload_libraries": "pg_stat_statements"}
    return DURABLE


def _count_statements(dsn: str) -> bool:
    """Whether the server counts statements, and lets us see."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        try:
            conn.execute("create extension if not exists pg_stat_statements")
            conn.execute("select from pg_stat_statements limit 1")
        except psycopg.Error:
            return False
    return True
