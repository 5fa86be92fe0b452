"""A connection that comes back, calls with a deadline, and what an error means for the caller.

A call that is given up has its socket shut, never a cancel sent: a canceled commit that waits for its standby
would report success.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import random
import re
import socket
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from runledger import _calls
from runledger.config import Config
from runledger.errors import NotGranted, RunledgerError, UnsupportedIsolation, translated

logger = logging.getLogger("runledger")

Rows = list[tuple[Any, ...]]
ERRORS = (psycopg.Error, RunledgerError, OSError)
"""What `Link.run` may raise."""


class Fate(enum.Enum):
    """What became of a call that failed."""

    REFUSED = "it was judged and refused"
    AGAIN = "it lost a race and may be sent again at once"
    LATER = "the server is short of something"
    UNKNOWN = "it may have been committed or not"
    STOP = "it can never succeed here"


_UNKNOWN = ("08", "57P01", "57P02", "57P05", "25P03", "25P04", "25006")
_LATER = ("53", "54", "55P03", "57014", "57P03")
_STOP = ("28", "3D", "3F", "42")
_UNPREPARED = ("26000", "42P05")
"""A pooler gave us another server session, which lacks our prepared statements or has those of somebody else."""


def fate(error: BaseException) -> Fate:
    """Judge an error of a call by its SQLSTATE; none means that the connection broke."""
    if isinstance(error, NotGranted | UnsupportedIsolation):
        return Fate.STOP
    if isinstance(error, RunledgerError):
        return Fate.REFUSED
    state = getattr(error, "sqlstate", None) or ""
    if state in ("40001", "40P01"):
        return Fate.AGAIN
    if state.startswith(_LATER):
        return Fate.LATER
    if state.startswith(_STOP):
        return Fate.STOP
    if state.startswith(_UNKNOWN):
        return Fate.UNKNOWN
    # Without a state it never came back from the server; unless it was not fit to be sent.
    is_ours = isinstance(error, psycopg.ProgrammingError | psycopg.DataError)
    return Fate.REFUSED if state or is_ours else Fate.UNKNOWN


def brief(error: BaseException) -> str:
    """What may be logged of an error: not its DETAIL and CONTEXT, where the server quotes rows."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    words = primary or next(iter(str(error).splitlines()), "")
    state = getattr(error, "sqlstate", None)
    if isinstance(error, psycopg.ProgrammingError) and state is None:
        # libpq quotes of a connection string what it cannot read, and that may be the password.
        words = re.sub('".*"|".*', '"..."', words)
    return f"{words} [{state}]" if state else words or type(error).__name__


async def pause(tries: int, *, longest: float = 5.0) -> None:
    """Back off: twice as long each time, within bounds, and not in step with others."""
    await asyncio.sleep(min(longest, 0.05 * 2 ** min(tries, 10)) * random.uniform(0.5, 1.0))  # noqa: S311


class CommitInDoubtError(psycopg.OperationalError):
    """A commit was cut short while it waited for its standby."""


class Link:
    """One connection, opened at the first call and anew after it broke. One call at a time."""

    def __init__(self, dsn: str, config: Config, *, deadline: float | None = None) -> None:
        self._dsn = dsn
        self._config = config
        self._deadline = deadline or config.call_timeout_seconds
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._lock = asyncio.Lock()
        self._prepares = bool(config.prepare)
        self._doubt = self._in_doubt = False

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        """Open the connection if need be; a server that does not answer in time is a broken connection."""
        if self._connection is None or self._connection.closed:
            # The encoding of a role, of the environment or of an old database may lack what an error message has.
            name = f"runledger:{self._config.worker_id}"[:63]
            options: dict[str, Any] = {"application_name": name, "client_encoding": "UTF8"}
            parts = conninfo_to_dict(self._dsn)
            if "target_session_attrs" not in parts and "," in f"{parts.get('host')}{parts.get('hostaddr')}":
                options["target_session_attrs"] = "read-write"
            threshold = 5 if self._prepares else None
            try:
                async with asyncio.timeout(self._deadline):
                    self._connection = await psycopg.AsyncConnection.connect(
                        self._dsn, autocommit=True, prepare_threshold=threshold, **options
                    )
            except TimeoutError as error:
                raise psycopg.OperationalError("the server did not answer in time") from error
            self._connection.add_notice_handler(self._notice)
        return self._connection

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.sqlstate == "01000":
            self._doubt = True

    async def run(self, *calls: _calls.Call[Any]) -> list[Rows]:
        """Send calls in one round trip and one transaction; the rows of each. Raises one of `ERRORS`."""
        async with self._lock:
            try:
                return await self._run(calls)
            except psycopg.Error as error:
                if not self._prepares or error.sqlstate not in _UNPREPARED:
                    raise
                logger.warning("prepared statements are not kept here, it goes on without: JOBS_PREPARE=0 spares this")
            # Nothing of it was executed.
            self._prepares = False
            await self._drop()
            return await self._run(calls)

    async def _run(self, calls: tuple[_calls.Call[Any], ...]) -> list[Rows]:
        connection = await self.connect()
        self._doubt = False
        timer = asyncio.get_running_loop().call_later(self._deadline, shut, connection.fileno())
        try:
            with translated():
                rows = await self._send(connection, calls)
        except BaseException as error:
            if not isinstance(error, ERRORS) or fate(error) is Fate.UNKNOWN:
                await self._drop()
            raise
        finally:
            timer.cancel()
        # Once: there are functions and triggers that always warn.
        self._in_doubt = self._doubt and not self._in_doubt
        if self._in_doubt:
            raise CommitInDoubtError("the commit did not wait for its standby")
        return rows

    async def _send(self, connection: psycopg.AsyncConnection[Any], calls: tuple[_calls.Call[Any], ...]) -> list[Rows]:
        cursors = [psycopg.AsyncCursor(connection, row_factory=tuple_row) for _ in calls]
        binary = _calls.in_binary(connection)
        if len(calls) == 1:
            await cursors[0].execute(*calls[0].statement, binary=binary)
        else:
            async with connection.pipeline():
                for cursor, call in zip(cursors, calls, strict=True):
                    await cursor.execute(*call.statement, binary=binary)
        return [await cursor.fetchall() for cursor in cursors]

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()

    def abort(self) -> None:
        """Make a call under way fail."""
        if self._connection is not None and not self._connection.closed:
            shut(self._connection.fileno())

    async def close(self) -> None:
        """Close the connection."""
        await self._drop()


def shut(fileno: int) -> None:
    """Make whoever waits on this connection stop waiting."""
    # The waiting call then reads the end of the stream and fails as if the server had gone.
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fileno)) as twin:
        twin.shutdown(socket.SHUT_RDWR)


class Links:
    """A few links for calls that come from handlers, each opened when it is first needed."""

    def __init__(self, dsn: str, config: Config, *, size: int = 4) -> None:
        self._free = [Link(dsn, config) for _ in range(size)]
        self._all = list(self._free)
        self._room = asyncio.Semaphore(size)

    async def run(self, call: _calls.Call[Any]) -> Any:
        """Result of a call; sent again a few times if the connection broke."""
        for tries in range(4):
            async with self._room:
                link = self._free.pop()
                try:
                    (rows,) = await link.run(call)
                    return call.read(rows)
                except ERRORS as error:
                    if tries == 3 or fate(error) in (Fate.REFUSED, Fate.STOP):
                        raise
                finally:
                    self._free.append(link)
            await pause(tries)
        raise AssertionError

    async def close(self) -> None:
        """Close them all."""
        for link in self._all:
            await link.close()
