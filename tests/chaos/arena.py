"""What the faults work on: a server of its own, its database, the processes, and what stands between them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from runledger import embedded
from runledger.embedded import Server
from runledger.migrate import migrate
from tests.chaos.bare import TYPES
from tests.chaos.journal import Journal
from tests.chaos.wire import Wire
from tests.support.servers import ROOT

PATIENCE = 60.0
POOLER = "/usr/sbin/pgbouncer"
DISK_BYTES, JOB_BYTES = 300 << 20, 4096
"""The disk that can be filled: for the server, and for each job with its history."""
RETURN_SECONDS = 60
OLD_JOBS = 2000


@dataclass(slots=True)
class Member:
    """A process that is started again whenever it is gone, as an init system would do."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    expected: set[int] = field(default_factory=set)  # pids that somebody killed
    gave_up: int = 0

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Arena:
    def __init__(self, files: Path, *, bindir: Path, lease: int, seed: int, disk: int) -> None:
        self.files, self.lease, self.seed = files, lease, seed
        self.journal = Journal(files, "nemesis")
        self.members: dict[str, Member] = {}
        self.dice = random.Random(seed)
        self.closing = threading.Event()
        self.world = threading.RLock()  # who restarts the server or the pooler
        self.absent: dict[str, str] = {}
        self._server_due: float | None = None
        self._disk = self._mount(disk) if disk else None
        settings = dict(embedded.FAST) | {"deadlock_timeout": "200ms", "log_min_messages": "warning"}
        major = embedded.server_major(bindir) or 0
        if major >= 17:
            settings["max_notify_queue_pages"] = "64"
        self.server = Server(bindir, data=self._disk / "data" if self._disk else None, settings=settings)
        self._prepare()
        self.wire = Wire(f"{self.server.directory}/.s.PGSQL.{self.server.port}")
        self.pooler = Pooler(self) if Path(POOLER).exists() else None
        if self.pooler is None:
            self.absent["pooler-restart"] = f"there is no {POOLER}"

    # --- the database ---

    @property
    def disk(self) -> Path | None:
        return self._disk

    def dsn(self, user: str = "postgres") -> str:
        return self.server.dsn("chaos", user)

    @contextmanager
    def session(self, user: str = "postgres", **options: Any) -> Iterator[psycopg.Connection[Any]]:
        """A connection past all faults of the network; whoever crashes the server meanwhile breaks it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                conn = psycopg.connect(
                    self.dsn(user), **{"autocommit": True, "row_factory": dict_row, "connect_timeout": 2, **options}
                )
                break
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        with conn:
            yield conn

    def sql(self, query: str, params: Any = None, *, user: str = "postgres") -> list[dict[str, Any]]:
        """Rows of a statement that may be run again: it is, while the connection breaks."""
        for tries in range(100):
            try:
                with self.session(user) as conn:
                    cursor = conn.execute(query.encode(), params)
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                if tries == 99:
                    raise
                time.sleep(0.05)
        raise AssertionError

    def _prepare(self) -> None:
        with psycopg.connect(self.server.dsn(), autocommit=True) as conn:
            for role in ("chaos_owner", "chaos_worker", "chaos_producer", "chaos_operator"):
                conn.execute(f"create role {role} login".encode())
            conn.execute("create database chaos owner chaos_owner")
        migrate(self.dsn("chaos_owner"))
        self.sql("create table public.clock (shift interval not null)")
        self.sql("insert into public.clock values ('0')")
        self.sql("grant select on public.clock to public")
        self.sql(
            "create table public.transfers (job_id uuid not null, run_number integer not null, lease_token bigint not null)"
        )
        self.sql("grant insert on public.transfers to chaos_worker")
        self.take_clock()
        for kind in ("worker", "producer", "operator"):
            self.sql("select runledger.grant_access(%s, %s)", [f"chaos_{kind}", kind], user="chaos_owner")
        for job_type in [*TYPES, "poison"]:
            # No fault may use up a budget: whatever dies here was lost.
            self.sql(
                "select runledger.define_job(%s, max_attempts => 1000, retry_base_ms => 20, retry_max_ms => 200)", [job_type],
                user="chaos_owner",
            )  # fmt: skip
        self.sql("select runledger.upsert_schedule('tick', 'tick', '* * * * * *')", user="chaos_owner")
        self._grow_old()

    def _grow_old(self) -> None:
        """Jobs that finished a day ago: what prune finds to do while all else goes on."""
        self.set_clock(-86400)
        with self.session("chaos_owner") as conn:
            conn.execute(
                "select count(*) from runledger.enqueue_jobs((select jsonb_agg(jsonb_build_object('job_type', 'plain'))"
                " from generate_series(1, %s)))", [OLD_JOBS],
            )  # fmt: skip
            while leases := conn.execute(
                "select job_id, lease_token from runledger.claim_jobs('old', '{plain}', 1000)"
            ).fetchall():
                conn.execute(
                    "select count(*) from runledger.finish_jobs((select jsonb_agg(jsonb_build_object('job_id', j, 'lease_token', t,"
                    " 'outcome', 'SUCCEEDED')) from unnest(%s::uuid[], %s::bigint[]) as x(j, t)))",
                    [[x["job_id"] for x in leases], [x["lease_token"] for x in leases]],
                )
        self.set_clock(0)

    def take_clock(self) -> None:
        """Put a clock that can be set in the place of the ledger's, as the fixture `clock` does."""
        self.sql(
            "create or replace function runledger._now() returns timestamptz language sql volatile parallel safe"
            " as $$ select clock_timestamp() + (select c.shift from public.clock c) $$"
        )

    def set_clock(self, ahead: float) -> None:
        """Let the ledger's clock be that many seconds ahead."""
        self.sql("update public.clock set shift = make_interval(secs => %s)", [ahead])

    # --- the server ---

    def keep_server(self) -> bool:
        """Start the server again if it is gone by itself; whether it was."""
        with self.world:
            process = self.server._process
            if process is not None and process.poll() is None:
                return False
            try:
                self.server.restart()
            except embedded.EmbeddedError:
                # While the disk is full it cannot: it is tried again, but not for ever.
                self._server_due = self._server_due or time.monotonic() + RETURN_SECONDS
                if time.monotonic() > self._server_due:
                    raise
                return False
            self._server_due = None
            return True

    def _mount(self, size: int) -> Path | None:
        path = Path(tempfile.mkdtemp(prefix="rlchaos-", dir="/dev/shm"))
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, check=False
        )
        if done.returncode:
            path.rmdir()
            self.absent["disk-full"] = "no right to mount a small disk"
            return None
        path.chmod(0o711)
        return path

    # --- the processes ---

    def add(
        self, name: str, module: str, *, route: str = "direct", user: str = "chaos_worker", **environment: str
    ) -> Member:
        dsn = {
            "direct": lambda: self.dsn(user),
            "wire": lambda: self.wire.dsn(self.dsn(user)),
            "pooler": lambda: self._pooled(user),
        }[route]()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("JOBS_", "PG", "RUNLEDGER_"))}
        environment = {
            "RUNLEDGER_DSN": dsn, "PYTHONPATH": str(ROOT), "CHAOS_FILES": str(self.files), "CHAOS_NAME": name, "CHAOS_LEASE": str(self.lease), "CHAOS_BATCH": "50",
            "JOBS_WORKER_ID": name, "JOBS_PREPARE": "0" if route == "pooler" else "1", **environment,
        }  # fmt: skip
        command = (
            ["-m", "runledger", "worker", "tests.chaos.jobs:app"]
            if module == "runledger"
            else ["-m", f"tests.chaos.{module}"]
        )
        self.members[name] = member = Member(name, [sys.executable, *command], kept | environment)
        self._start(member)
        return member

    def _pooled(self, user: str) -> str:
        return self.pooler.dsn(user) if self.pooler else self.dsn(user)

    def _start(self, member: Member) -> None:
        member.starts += 1
        if member.process and member.process.stdin:
            member.process.stdin.close()
        with (self.files / f"{member.name}.err").open("ab") as log:
            member.process = subprocess.Popen(
                member.command, env=member.environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log
            )

    def workers(self) -> list[Member]:
        return [
            m
            for m in self.members.values()
            if m.environment["JOBS_WORKER_ID"] == m.name and not m.name.startswith("producer")
        ]

    def keep_members(self) -> None:
        """Start again what is gone. A producer that ended by itself is done."""
        for member in self.members.values():
            if member.is_running or (
                member.process and member.name.startswith("producer") and member.process.returncode == 0
            ):
                continue
            if member.process and member.process.returncode not in (0, -signal.SIGKILL, -signal.SIGTERM):
                member.gave_up += 1
            self._start(member)

    def stop(self, members: list[Member]) -> None:
        for member in members:
            if member.is_running:
                member.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
                member.process.terminate()  # type: ignore[union-attr]
        for member in members:
            with suppress(subprocess.TimeoutExpired):
                member.process.wait(10)  # type: ignore[union-attr]
            if member.is_running:
                member.process.kill()  # type: ignore[union-attr]
                member.process.wait()  # type: ignore[union-attr]
            member.process.stdin.close()  # type: ignore[union-attr]

    def complaints(self) -> Counter[str]:
        """The last lines of tracebacks in what the processes said: errors that nobody caught."""
        found: Counter[str] = Counter()
        for path in self.files.glob("*.err"):
            in_traceback = False
            for line in path.read_text(errors="replace").splitlines():
                if line.startswith("Traceback"):
                    in_traceback = True
                elif in_traceback and line and not line.startswith((" ", "+", "|")):
                    found[f"{path.stem}: {line[:200]}"] += 1
                    in_traceback = False
        return found

    def said(self, words: str) -> int:
        """How often the server said that."""
        return self.server.log.read_text(errors="replace").count(words)

    def close(self) -> None:
        self.closing.set()
        self.stop(list(self.members.values()))
        if self.pooler:
            self.pooler.kill()
        self.wire.close()
        self.server.stop("immediate")
        if self._disk:
            subprocess.run(["umount", str(self._disk)], check=True)
            shutil.rmtree(self._disk, ignore_errors=True)


class Pooler:
    """PgBouncer in transaction mode, few connections for many clients."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._directory = arena.server.directory
        self._prefix, self._user = embedded._not_root([self._directory])
        self.port = embedded._free_port()
        lines = [
            "[databases]", f"chaos = host={self._directory} port={arena.server.port} dbname=chaos",
            "[pgbouncer]", "listen_addr = 127.0.0.1", f"listen_port = {self.port}", "unix_socket_dir =", "auth_type = any",
            "pool_mode = transaction", "default_pool_size = 4", "max_client_conn = 100", "server_login_retry = 1",
            "server_reset_query =", "ignore_startup_parameters = extra_float_digits", "log_connections = 0", "log_disconnections = 0",
        ]  # fmt: skip
        self._ini = self._directory / "pooler.ini"
        self._process: subprocess.Popen[bytes] | None = None
        # auth_type any: one user for all who come.
        lines[1] += " user=chaos_worker"
        self._ini.write_text("\n".join(lines) + "\n")
        self._ini.chmod(0o644)
        self.start()

    def dsn(self, user: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={user} dbname=chaos sslmode=disable gssencmode=disable"

    def start(self) -> None:
        with (self._directory / "pooler.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, POOLER, str(self._ini)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                **self._user,
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
