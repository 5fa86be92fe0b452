"""What the pages ask the database: few connections, each call in a read-only transaction, and never for long."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runledger import _calls
from runledger import types as t
from runledger._link import brief
from runledger.client import Client
from runledger.errors import RunledgerError

R = TypeVar("R")
REFUSED = (psycopg.errors.InsufficientPrivilege,)


class Unavailable(Exception):
    """The database cannot be asked, or took too long; `brief` is fit to be shown."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    """What a call gave, or in words why it gave nothing."""

    value: R | None
    refusal: str | None = None
    sql: str = ""


def retryable(dsn: str) -> str:
    """The connection string with a bound on connecting, unless it has one."""
    return dsn if "connect_timeout" in conninfo_to_dict(dsn) else make_conninfo(dsn, connect_timeout=5)


class Source:
    """Up to `size` connections, opened when needed and anew after they broke. `calls`: how many were made."""

    def __init__(self, dsn: str, *, size: int = 4, seconds: float = 10.0) -> None:
        self._dsn = retryable(dsn)
        self._seconds = seconds
        self._free: queue.LifoQueue[psycopg.Connection[Any] | None] = queue.LifoQueue()
        self.calls = 0
        for _ in range(size):
            self._free.put(None)
        self._cache: dict[str, tuple[float, object]] = {}
        self._cache_lock = threading.Lock()
        self.rates = Rates()

    @contextlib.contextmanager
    def session(self, seconds: float | None = None) -> Iterator[Session]:
        """A connection for one request; when its time is over, what it asks is given up."""
        limit = seconds or self._seconds
        try:
            connection = self._free.get(timeout=min(limit, 5.0))
        except queue.Empty:
            raise Unavailable("all connections of this page are in use; try again") from None
        session = Session(self, connection)
        timer = threading.Timer(limit, session.give_up)
        timer.daemon = True
        timer.start()
        try:
            session.begin()
            yield session
        except (psycopg.OperationalError, psycopg.errors.QueryCanceled, psycopg.InterfaceError) as error:
            if session.is_over:
                raise Unavailable(f"it took longer than {limit:g} s and was given up") from error
            raise Unavailable(brief(error)) from error
        finally:
            timer.cancel()
            self._free.put(session.leave())

    def cached(self, name: str, seconds: float, ask: Callable[[], R]) -> R:
        """What `ask` gave less than `seconds` ago, to whomever."""
        with self._cache_lock:
            kept = self._cache.get(name)
        if kept and time.monotonic() - kept[0] < seconds:
            return cast("R", kept[1])
        value = ask()
        with self._cache_lock:
            if len(self._cache) > 60:
                self._cache.clear()
            self._cache[name] = (time.monotonic(), value)
        return value

    def forget(self) -> None:
        """Ask anew: something was changed."""
        with self._cache_lock:
            self._cache.clear()

    def close(self) -> None:
        """Close the connections that nobody uses; those in use close with their request."""
        with contextlib.suppress(queue.Empty):
            while True:
                if connection := self._free.get_nowait():
                    connection.close()


class Session:
    """One request's connection. `now` is the server's clock, `user` the role it is connected as."""

    def __init__(self, source: Source, connection: psycopg.Connection[Any] | None) -> None:
        self._source = source
        self._connection = connection
        self._over = threading.Event()
        self._writes = False
        self.now: datetime

    @property
    def is_over(self) -> bool:
        """Whether its time is over."""
        return self._over.is_set()

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The connection, which `begin` has opened."""
        if self._connection is None:
            raise Unavailable("there is no connection")
        return self._connection

    @property
    def user(self) -> str:
        """The role of the connection."""
        return self.connection.info.user

    @property
    def database(self) -> str:
        """The database of the connection."""
        return self.connection.info.dbname

    def begin(self) -> None:
        """Have a connection that answers: one that broke while nobody used it is opened anew."""
        if self._connection is not None and not self._connection.closed:
            with contextlib.suppress(psycopg.OperationalError):
                self._tick()
                return
        self._connection = psycopg.connect(
            self._source._dsn,  # noqa: SLF001 - of the same module
            autocommit=True,
            prepare_threshold=None,  # a pooler that lends connections by the transaction may stand between
            client_encoding="UTF8",
            fallback_application_name="runledger-web",
        )
        self._connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        self._go_on()
        self._tick()

    def _tick(self) -> None:
        ((self.now,),) = self.connection.execute(_calls.SERVER_TIME, binary=True).fetchall()
        self._source.calls += 1

    def _go_on(self) -> None:
        # Who gave up while nothing was asked has canceled nothing, and nobody would end what is asked now.
        if self.is_over:
            raise psycopg.OperationalError("its time is over")

    def read(self, call: _calls.Call[R]) -> R:
        """Run a call in a read-only transaction, so that no page can change anything."""
        self._go_on()
        self._source.calls += 1
        self.connection.read_only = True
        with self.connection.transaction():
            return Client(self.connection).run(call)

    def look(self, call: _calls.Call[R]) -> Answer[R]:
        """The same, where a missing right is an answer, too."""
        try:
            return Answer(self.read(call), sql=call.text)
        except REFUSED as error:
            return Answer(None, f"Left out: the role {self.user} may not read this ({brief(error)}).", call.text)

    def open_look(self, call: _calls.Call[R]) -> Answer[R]:
        """As `look`, of what leaves a record that it was looked at."""
        try:
            return Answer(self.write(call), sql=call.text)
        except REFUSED as error:
            return Answer(None, f"Left out: the role {self.user} may not read this ({brief(error)}).", call.text)

    def write(self, call: _calls.Call[R]) -> R:
        """Run a call that changes something, once."""
        self._go_on()
        self._source.calls += 1
        self.connection.read_only = None
        self._writes = True
        try:
            with self.connection.transaction():
                return Client(self.connection).run(call)
        finally:
            self._writes = False
            self._source.forget()

    def give_up(self) -> None:
        """End what is asked: cancel it, and hang up should that not help."""
        self._over.set()
        connection = self._connection
        if connection is None or connection.closed:
            return
        if not self._writes:  # a canceled commit that waits for its standby would report success
            with contextlib.suppress(psycopg.Error, OSError):
                connection.cancel_safe(timeout=2)
                return
        with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)

    def leave(self) -> psycopg.Connection[Any] | None:
        """The connection, if it can be used again."""
        connection = self._connection
        if connection is None or connection.closed:
            return None
        if self.is_over or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.close()
            return None
        return connection


class Rates:
    """How many jobs ended per second, from counters that only rise, read again and again while somebody looked."""

    KEPT = 40
    STEP = 4.0
    """Seconds between two samples, at least."""
    BREAK = 120.0
    """After that nobody was looking, and what was before is no rate of now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, int] = {}
        self._at = float("-inf")
        self._series: dict[str, deque[float]] = {}

    def add(self, rows: list[t.QueueSummary], *, at: float | None = None) -> None:
        """Take in the counters of now; those that are not known are left out."""
        now = time.monotonic() if at is None else at
        with self._lock:
            passed = now - self._at
            if passed < self.STEP:
                return
            ended = {row.job_type: row.finished for row in rows if row.finished is not None}
            if passed > self.BREAK:
                self._series.clear()
            else:
                for job_type in ended.keys() & self._last.keys():
                    series = self._series.setdefault(job_type, deque(maxlen=self.KEPT))
                    series.append(max(0, ended[job_type] - self._last[job_type]) / passed)
            self._last, self._at = ended, now

    def of(self, job_type: str) -> list[float]:
        """The latest rates, oldest first."""
        with self._lock:
            return list(self._series.get(job_type, ()))


__all__ = ["Answer", "Rates", "RunledgerError", "Session", "Source", "Unavailable"]
