"""Where the demo happens: a database of its own, and worker processes that end when it does."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runledger import embedded
from runledger.config import Config
from runledger.demo.jobs import app, dsn
from runledger.supervisor import Supervisor, run

WORKERS = 2
_START = "import sys; sys.path.append(sys.argv.pop(1)); from runledger.demo.stage import work; work()"


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class Stage:
    """A database of our own: in an embedded server, or on that of `address`, whose other databases stay untouched.

    `dsn` is its address, `scratch` a directory where the jobs may write, `title` what kind of server it is.
    """

    def __init__(self, address: str) -> None:
        self._server: embedded.Server | None = None
        self._is_kept = False
        if address:
            self._name = f"runledger_demo_{os.getpid()}_{os.urandom(3).hex()}"
            self._admin, self.dsn = address, make_conninfo(address, dbname=self._name)
            self.scratch = Path(tempfile.mkdtemp(prefix="runledger-demo-"))
        else:
            self._server = embedded.Server()
            self._name = "demo"
            self._admin, self.dsn = self._server.dsn(), self._server.dsn(self._name, user="demo")
            # In the server's directory, which goes even when we are killed.
            self.scratch = self._server.directory / "scratch"
            self.scratch.mkdir(0o700)
        try:
            version = self._create()
        except BaseException as error:
            with contextlib.suppress(psycopg.Error):
                self.close()
            if isinstance(error, psycopg.Error):
                raise DemoError(f"no database can be made for the demo: {error}") from error
            raise
        self.title = f"{'embedded ' if self._server else ''}PostgreSQL {version}"

    def _create(self) -> str | None:
        database = sql.SQL("create database {}").format(sql.Identifier(self._name))
        with psycopg.connect(self._admin, autocommit=True) as connection:
            if self._server:  # no superuser: Runledger needs none
                connection.execute(sql.SQL("create role demo login"))
                database += sql.SQL(" owner demo")
            connection.execute(database)
            return connection.info.parameter_status("server_version")

    @property
    def psql(self) -> str:
        """The command that looks into it; without a password, which is not to be shown."""
        shown = _without_password(self.dsn)
        command = "psql"
        if self._server and not shutil.which("psql"):
            command = str(self._server.bindir / "psql")
        return f"{command} {shlex.quote(shown)}"

    def keep(self) -> str:
        """Leave everything up; return the command that removes it."""
        self._is_kept = True
        if self._server:
            directory, pid = shlex.quote(str(self._server.directory)), self._server.detach()
            self._server = None
            return f"kill -INT {pid}; while kill -0 {pid} 2>/dev/null; do sleep .1; done; rm -r {directory}"
        return f"psql {shlex.quote(_without_password(self._admin))} -c 'drop database {self._name} with (force)'"

    def close(self) -> None:
        """Drop the database, or throw the server away, unless it is kept; what the jobs wrote goes in any case."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        if self._server:
            self._server.stop("immediate")
            self._server = None
        elif not self._is_kept:
            with psycopg.connect(self._admin, autocommit=True) as connection:
                statement = sql.SQL("drop database if exists {} with (force)")
                connection.execute(statement.format(sql.Identifier(self._name)))


def _without_password(dsn: str) -> str:
    return make_conninfo(**{k: str(v) for k, v in conninfo_to_dict(dsn).items() if v is not None and k != "password"})


class Workers:
    """The worker processes. Leaving the context stops them."""

    def __init__(self, address: str, *, scratch: Path) -> None:
        self._log = scratch / "workers.log"
        # In the environment, for a command line shows its password to everybody.
        environment = {**os.environ, "RUNLEDGER_DSN": address}
        # The path at the end: where we were found, should that be a checkout that is not installed.
        start = [sys.executable, "-P", "-c", _START, str(Path(__file__).resolve().parents[2])]
        self._processes: list[subprocess.Popen[bytes]] = []
        with self._log.open("ab") as log:
            for nth in range(1, WORKERS + 1):
                process = subprocess.Popen(
                    [*start, f"demo-worker-{nth}"], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment,
                    start_new_session=True,  # Ctrl-C is for us, and we tell them
                )  # fmt: skip
                self._processes.append(process)

    def look(self) -> None:
        """Raise `DemoError` if one has died."""
        for process in self._processes:
            if process.poll() is not None:
                words = self._log.read_text(errors="replace")[-2000:]
                raise DemoError(f"a worker ended with exit code {process.returncode}:\n{words}")

    def stop(self) -> None:
        """Have them end, by force if need be."""
        for process in self._processes:
            if process.stdin:
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # their database goes, too: what they do now is lost anyway
            for process in self._processes:
                process.kill()
        self.stop()


def work() -> None:
    """Be a worker process of the demo, until standard input ends: so it ends with the demo, however that ends."""
    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    warnings.simplefilter("ignore")  # about escapes in old sources
    config = Config(
        worker_id=sys.argv[1], max_global_concurrency=3, claim_batch_size=3, poll_interval_ms=300,
        lease_ttl_seconds=15, reaper_interval_seconds=2, reaper_retry_delay_ms=1000, shutdown_grace_seconds=3,
    )  # fmt: skip
    supervisor = Supervisor(app, dsn(), config=config)

    def await_the_end() -> None:
        os.read(0, 1)
        supervisor.request_shutdown()
        time.sleep(15)
        os._exit(1)

    threading.Thread(target=await_the_end, daemon=True).start()
    run(supervisor.run())
