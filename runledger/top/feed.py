"""Asks the database in a thread of its own: a call that hangs keeps no key waiting."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import psycopg

from runledger import _calls
from runledger import types as t
from runledger._link import brief, shut
from runledger.client import Client
from runledger.errors import RunledgerError

R = TypeVar("R")
ROWS = 1000
"""Rows of a list, at most: what is beyond is found by a filter."""
DEAD = 500
LINES = 200
PATIENCE = 15.0
"""Seconds after which a call that does not answer is given up, and its connection with it."""
HEALTH_EVERY = 10.0
_LONGEST_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class Look:
    """What to look at: a panel, part of the name of a type; the type whose jobs are shown."""

    panel: str
    contains: str | None = None
    job_type: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the database did not do it, in words, and what would help."""

    words: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What one refresh saw. A refused list is a `Refusal`."""

    look: Look
    now: datetime
    queues: list[t.QueueSummary] | Refusal
    rows: list[Any] | Refusal
    health: list[t.HealthCheck] | Refusal


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no connection: why, since when (on the clock of this machine), and how often it was tried."""

    words: str
    since: float
    tries: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a task; `then` is to be called with it where the screen is."""

    then: Callable[[Any], None]
    result: Any


@dataclass(frozen=True, slots=True)
class Crash:
    """The thread ended with an error that nobody thought of: a bug."""

    error: BaseException


Ask = Callable[[_calls.Call[Any]], Any]
Message = View | Lost | Answer | Crash


@dataclass(frozen=True, slots=True)
class _Task:
    run: Callable[[Ask], Any]
    then: Callable[[Any], None]
    changes: bool


def connect(dsn: str) -> psycopg.Connection[Any]:
    """Open a connection that does not wait for ever for a server that is gone."""
    return psycopg.connect(
        dsn,
        autocommit=True,
        fallback_application_name="runledger-top",
        connect_timeout=5,
        prepare_threshold=None,
        client_encoding="UTF8",
    )


def refusal(error: Exception) -> Refusal:
    """The words for an error that left the connection whole."""
    if isinstance(error, RunledgerError):
        return Refusal(f"{error.message} ({error.code})", error.hint)
    state = getattr(error, "sqlstate", None) or ""
    hint = None
    if state == "42501":
        hint = "This role may not do that. The owner of the schema grants it: runledger grant ROLE KIND"
    elif state in ("3F000", "42883", "42P01", "42703"):
        hint = "Is the schema installed and as new as this program? runledger migrate --check tells."
    return Refusal(brief(error), hint)


class Feed:
    """One connection and one thread; what they say comes by `take`, after a call of `wake`."""

    def __init__(self, dsn: str, look: Look, *, interval: float, wake: Callable[[], None]) -> None:
        self._dsn = dsn
        self._look = look
        self._interval = interval
        self._wake = wake
        self._inbox: queue.SimpleQueue[Look | _Task | None] = queue.SimpleQueue()
        self._outbox: deque[Message] = deque()
        self._busy_since: float | None = None
        self._health: list[t.HealthCheck] | Refusal = []
        self._health_at = float("-inf")
        self._connection = connect(dsn)  # the first one here: who cannot connect at all is told at once
        info = self._connection.info
        far = bool(info.host) and not info.host.startswith("/")
        self.place = (
            f"{info.dbname} on {info.host}:{info.port}" if far else info.dbname,
            info.parameter_status("server_version") or "",
        )
        """The database and its server, and the version of that."""
        self._thread = threading.Thread(target=self._work, name="runledger-top", daemon=True)

    # from the thread of the screen

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def look(self, look: Look) -> None:
        """Look at something else, at once."""
        self._inbox.put(look)

    def do(self, run: Callable[[Ask], R], then: Callable[[R | Refusal], None], *, changes: bool = False) -> None:
        """Have calls made; `then` gets their result, or why there is none. `changes`: look again after it."""
        self._inbox.put(_Task(run, then, changes))

    def take(self) -> list[Message]:
        """What has been said since the last time."""
        taken = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._outbox.popleft())
        return taken

    @property
    def waits(self) -> float:
        """Seconds for which the call under way has not been answered; zero if there is none."""
        since = self._busy_since
        return time.monotonic() - since if since is not None else 0.0

    def give_up(self) -> None:
        """Make the call under way fail."""
        with contextlib.suppress(psycopg.Error):
            shut(self._connection.fileno())

    def stop(self) -> None:
        """End the thread; a call that hangs is left to its fate."""
        self._inbox.put(None)
        self._thread.join(0.5)
        if self._thread.is_alive():
            self.give_up()
            self._thread.join(0.5)

    def close(self) -> None:
        """Close the connection, if it was never started."""
        self._connection.close()

    # in the thread of its own

    def _say(self, message: Message) -> None:
        self._outbox.append(message)
        self._wake()

    def _work(self) -> None:
        try:
            self._go_on()
        except BaseException as error:  # noqa: BLE001 - raised again where the screen is
            self._say(Crash(error))

    def _go_on(self) -> None:
        tries, since, pause = 0, 0.0, 0.0
        while self._obey(pause):
            pause = self._interval
            try:
                if self._connection.closed:
                    self._connection = connect(self._dsn)
                    tries = 0
                self._say(self.seen(self._look))
            except psycopg.Error as error:
                self._connection.close()
                since = since if tries else time.monotonic()
                tries += 1
                pause = min(_LONGEST_PAUSE, 0.25 * 2**tries)
                self._say(Lost(brief(error), since, tries))
        self._connection.close()

    def _obey(self, pause: float) -> bool:
        """Wait for orders for so long, carry out all there are; false if the last one was to stop."""
        until = time.monotonic() + pause
        ordered = False
        while True:
            try:
                order = self._inbox.get(
                    timeout=None if ordered else max(0.0, until - time.monotonic()), block=not ordered
                )
            except queue.Empty:
                return True
            if order is None:
                return False
            if isinstance(order, Look):
                self._look, ordered = order, True
            else:
                self._say(Answer(order.then, self._carried_out(order)))
                ordered = ordered or order.changes

    def _carried_out(self, task: _Task) -> Any:
        if self._connection.closed:
            return Refusal("there is no connection", "It is tried again and again; nothing was done.")
        try:
            return task.run(self._ask)
        except (RunledgerError, psycopg.Error) as error:
            if self._is_broken():
                hint = "The connection broke: it may have been done or not. Look before you do it again."
                return Refusal(brief(error), hint if task.changes else None)
            return refusal(error)

    def _is_broken(self) -> bool:
        return bool(self._connection.closed)

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        self._busy_since = time.monotonic()
        try:
            yield
        finally:
            self._busy_since = None

    def _ask(self, call: _calls.Call[Any]) -> Any:
        with self._busy():
            return Client(self._connection).run(call)

    def _list(self, call: _calls.Call[list[R]]) -> list[R] | Refusal:
        try:
            return self._ask(call)  # type: ignore[no-any-return]
        except (RunledgerError, psycopg.Error) as error:
            if self._is_broken():
                raise psycopg.OperationalError(brief(error)) from error
            return refusal(error)

    def seen(self, look: Look) -> View:
        """Look once. Raises `psycopg.Error` if the connection breaks."""
        queues = self._list(_calls.list_queues(max_rows=ROWS))
        if look.panel != "queues":
            rows = _lists(look, self._list)
        else:
            rows = self._list(_calls.list_queues(look.contains, max_rows=ROWS)) if look.contains else queues
        if time.monotonic() - self._health_at >= HEALTH_EVERY:
            self._health = self._list(_calls.health())
            self._health_at = time.monotonic()
        with self._busy():
            ((now,),) = self._connection.execute(_calls.SERVER_TIME, binary=True).fetchall()
        return View(look, now, queues, rows, self._health)


def _lists(look: Look, ask: Callable[[_calls.Call[list[Any]]], list[Any] | Refusal]) -> list[Any] | Refusal:
    """The rows of a panel: one call, two for the jobs of a type."""
    if look.panel == "running":
        return ask(_calls.list_running_jobs(contains=look.contains, max_rows=ROWS))
    if look.panel == "workers":
        return ask(_calls.list_workers(max_rows=ROWS))
    if look.panel == "workflows":
        return ask(_calls.list_live_workflows(look.contains, max_rows=ROWS))
    if look.panel == "dead":
        # Not asked for those that are still dead: the walk over the others has no bound.
        letters = ask(_calls.list_dead_letters(max_rows=DEAD))
        return letters if isinstance(letters, Refusal) else [x for x in letters if x.is_dead]
    running = ask(_calls.list_running_jobs(look.job_type, max_rows=LINES))
    waiting = ask(_calls.list_waiting_jobs(look.job_type or "", max_rows=LINES))
    if isinstance(running, Refusal) or isinstance(waiting, Refusal):
        return running if isinstance(running, Refusal) else waiting
    return [*running, *waiting]
