"""Databases for tests: ephemeral, migrated, a fresh one in milliseconds. A pytest plugin, and usable without pytest.

    def test_welcome(runledger_db):
        with Client.connect(runledger_db.dsn) as client: ...

The server is, in order: `RUNLEDGER_DSN` or `DATABASE_URL` (databases named runledger_test_… are made there and
dropped again), an embedded one, a container where Docker answers.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from runledger import embedded
from runledger.migrate import migrate

_READY = 3
_KEPT = 8
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database. `dsn` connects as the owner of the schema, `admin_dsn` as who made the database."""

    name: str
    dsn: str
    admin_dsn: str

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """Open a connection as the owner, in autocommit mode unless `options` say otherwise."""
        return psycopg.connect(self.dsn, **{"autocommit": True, **options})


class DatabaseServer:
    """A server on which a thread keeps a few clones of a migrated template ready."""

    def __init__(
        self,
        admin_dsn: str,
        *,
        server: embedded.Server | None = None,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        """Migrate a template on the server of `admin_dsn`; `server` is stopped and `on_close` called at the end."""
        self.server = server
        self._on_close = on_close
        self.admin_dsn = admin_dsn
        # On a server of our own the owner is a plain role: what works in the tests needs no superuser.
        self._owner = "runledger_owner" if server else None
        self._prefix = f"runledger_test_{secrets.token_hex(4)}"
        self._names = (f"{self._prefix}_{n}" for n in range(1 << 31))
        self._ready: queue.Queue[str | BaseException] = queue.Queue(_READY)
        self._used: deque[str] = deque()
        self._stop = threading.Event()
        self._trouble = ""
        self._admin = psycopg.connect(admin_dsn, autocommit=True)
        self._thread = threading.Thread(target=self._prepare, name="runledger-testing", daemon=True)
        try:
            self._template = self._make_template()
        except BaseException:
            self.close()
            raise
        self._thread.start()

    @classmethod
    def start(cls, bindir: str | os.PathLike[str] | None = None) -> Self:
        """Start an embedded server, of the binaries in `bindir` or the first ones found."""
        server = embedded.Server(os.fspath(bindir) if bindir else None)
        try:
            return cls(server.dsn(), server=server)
        except BaseException:
            server.stop()
            raise

    @classmethod
    def choose(cls) -> Self:
        """Return the server the environment names, an embedded one, or a container."""
        if dsn := os.environ.get("RUNLEDGER_DSN") or os.environ.get("DATABASE_URL"):
            return cls(dsn)
        try:
            return cls.start(embedded.find_binaries())
        except embedded.EmbeddedError as no_binaries:
            if container := _container():
                return cls(container.dsn, on_close=container.stop)
            raise no_binaries from None

    def take(self) -> Database:
        """Return a fresh migrated database."""
        try:
            name = self._ready.get(timeout=_PATIENCE)
        except queue.Empty:
            raise RuntimeError(f"no database within {_PATIENCE:g} s: {self._trouble or 'the server is slow'}") from None
        if isinstance(name, BaseException):
            raise name
        return self._database(name)

    def create_empty(self) -> Database:
        """Return a fresh database without the schema."""
        name = next(self._names)
        with psycopg.connect(self.admin_dsn, autocommit=True) as conn:
            conn.execute(self._create(name))
        return self._database(name)

    def give_back(self, database: Database) -> None:
        """Say that a database is no longer used: it is dropped some time later."""
        self._used.append(database.name)

    def close(self) -> None:
        """Drop what was made, or throw the server away."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.server is None:
            self._drop_all()
        self._admin.close()
        if self.server:
            self.server.stop("immediate")
        if self._on_close:
            self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _database(self, name: str) -> Database:
        admin = make_conninfo(self.admin_dsn, dbname=name)
        return Database(name, make_conninfo(admin, user=self._owner) if self._owner else admin, admin)

    def _make_template(self) -> str:
        if self._owner:
            self._admin.execute(sql.SQL("create role {} login").format(sql.Identifier(self._owner)))
        name = f"{self._prefix}_template"
        self._admin.execute(self._create(name))
        migrate(self._database(name).dsn)
        # Nobody may be connected to a database that is copied.
        self._admin.execute(
            sql.SQL("alter database {} with is_template true allow_connections false").format(sql.Identifier(name))
        )
        return name

    def _create(self, name: str, template: str | None = None) -> sql.Composed:
        statement = sql.SQL("create database {}").format(sql.Identifier(name))
        if self._owner:
            statement += sql.SQL(" owner {}").format(sql.Identifier(self._owner))
        if template:
            statement += sql.SQL(" template {}").format(sql.Identifier(template))
            if self.server:  # four times as fast as the log, but it checkpoints: not on somebody's server
                statement += sql.SQL(" strategy file_copy")
        return statement

    def _prepare(self) -> None:
        """Keep databases ready; drop used ones late, when their backends are gone and need not be waited for."""
        while not self._stop.is_set():
            name = next(self._names)
            try:
                self._admin.execute(self._create(name, self._template))
                while len(self._used) > _KEPT:
                    self._drop(self._used.popleft())
            except psycopg.OperationalError as error:
                self._trouble = str(error).partition("\n")[0]
                self._reconnect()
                continue
            except BaseException as error:  # noqa: BLE001 - it belongs to who waits for a database
                return self._offer(error)
            self._offer(name)
        return None

    def _offer(self, item: str | BaseException) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                return self._ready.put(item, timeout=0.2)
        return None

    def _reconnect(self) -> None:
        """Come back after a test restarted the server."""
        self._admin.close()
        while not self._stop.wait(0.05):
            try:
                self._admin = psycopg.connect(self.admin_dsn, autocommit=True)
            except psycopg.OperationalError as error:
                self._trouble = str(error).partition("\n")[0]
            else:
                return

    def _drop(self, name: str) -> None:
        self._admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def _drop_all(self) -> None:
        for (name,) in self._admin.execute(
            "select datname from pg_catalog.pg_database where pg_catalog.starts_with(datname::text, %s)", [self._prefix]
        ).fetchall():
            if name.endswith("_template"):
                self._admin.execute(sql.SQL("alter database {} with is_template false").format(sql.Identifier(name)))
            self._drop(name)


@contextlib.contextmanager
def ephemeral_database() -> Iterator[Database]:
    """Yield a migrated database that is gone afterwards."""
    with DatabaseServer.choose() as server:
        yield server.take()


@dataclass(frozen=True, slots=True)
class _Container:
    dsn: str
    stop: Callable[[], object]


def _container() -> _Container | None:
    """Start PostgreSQL in a container, or return None where Docker or testcontainers is missing."""
    try:
        import docker  # noqa: PLC0415
        from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415
    except ImportError:
        return None
    try:
        docker.from_env().ping()
    except docker.errors.DockerException:
        return None
    container = PostgresContainer("postgres:18", driver=None).start()
    return _Container(container.get_connection_url(), container.stop)


try:
    import pytest
except ImportError:  # without pytest: ephemeral_database()
    pass
else:

    @pytest.fixture(scope="session")
    def runledger_server() -> Iterator[DatabaseServer]:
        """Serve migrated databases to the whole test session."""
        with DatabaseServer.choose() as server:
            yield server

    @pytest.fixture
    def runledger_db(runledger_server: DatabaseServer) -> Iterator[Database]:
        """Give the test a migrated database of its own."""
        database = runledger_server.take()
        yield database
        runledger_server.give_back(database)
