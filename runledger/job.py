"""What a handler sees: the job it works on, and the ways it may end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, wait
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import UUID

from runledger import _calls
from runledger.errors import LeaseLost
from runledger.types import ClaimedJob, FailureKind, Json, ProgressReport, Seconds

RunCall = Callable[["Job | SyncJob", _calls.Call[Any]], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Success:
    """Return this instead of the bare output to store progress or a checkpoint with it."""

    output: Json = None
    checkpoint: Json = None
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Continue:
    """Return this to end the run and start the next one `after` that many seconds, with fresh attempts."""

    after: Seconds = 0
    checkpoint: Json = None
    done: int | None = None
    total: int | None = None


class Failure(Exception):
    """Raise one to fail the attempt with a code of your own. The database decides about retries.

    `after` (seconds) or `not_before` (an instant) can only put a retry off, never hasten it.
    """

    def __init__(
        self,
        kind: FailureKind,
        code: str,
        message: str,
        *,
        after: Seconds | None = None,
        not_before: datetime | None = None,
    ) -> None:
        super().__init__(kind, code, message)
        self.kind = kind
        self.code = code
        self.message = message
        self.after = after
        self.not_before = not_before

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"

    @classmethod
    def retryable(
        cls, code: str, message: str, *, after: Seconds | None = None, not_before: datetime | None = None
    ) -> Self:
        """Fail the attempt; another one follows while the budget lasts."""
        return cls("RETRYABLE", code, message, after=after, not_before=not_before)

    @classmethod
    def timeout(
        cls, code: str, message: str, *, after: Seconds | None = None, not_before: datetime | None = None
    ) -> Self:
        """Fail the attempt because something took too long; retried like `retryable`."""
        return cls("TIMEOUT", code, message, after=after, not_before=not_before)

    @classmethod
    def terminal(cls, code: str, message: str) -> Self:
        """Fail the job for good: it becomes a dead letter."""
        return cls("TERMINAL", code, message)

    @classmethod
    def panicked(cls, code: str, message: str) -> Self:
        """Fail the job for good, because the handler is broken."""
        return cls("PANICKED", code, message)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a job became a dead letter, for hooks. `worker_id` is "reaper" when its worker was gone."""

    reason: Literal["AttemptsExhausted", "FailureKindNonRetryable", "LeaseExpired"]
    kind: FailureKind
    code: str
    message: str
    worker_id: str


if TYPE_CHECKING:
    _Columns = ClaimedJob
else:
    _Columns = object


class _Leased(_Columns):
    """A job under our lease: every column of the claim under its SQL name, and what time is left.

    `deadline` is an instant of `time.monotonic()`. `canceled` is set when the job was canceled, its lease was
    lost or the worker shuts down: a handler in a thread should look at it now and then.
    """

    # The row as it came, not an object of it: a worker makes thousands of these a second, handlers look at few columns.
    __slots__ = ("_loop", "_row", "_run", "deadline")
    canceled: Flag | threading.Event

    def __init__(self, row: Sequence[Any], *, deadline: float, run: RunCall, loop: asyncio.AbstractEventLoop) -> None:
        self._row = row
        self._run = run
        self._loop = loop
        self.deadline = deadline

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.job_id}, {self.job_type!r}, attempt={self.attempt})"

    def remaining(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self.deadline - time.monotonic()


def _column(name: str, position: int) -> property:
    def column(self: _Leased) -> Any:
        return self._row[position]

    def identifier(self: _Leased) -> UUID:
        return UUID(self._row[position])

    return property(identifier if name == "job_id" else column)


for _position, _field in enumerate(fields(ClaimedJob)):
    setattr(_Leased, _field.name, _column(_field.name, _position))


class Flag:
    """The little of `threading.Event` that needs no lock."""

    __slots__ = ("_on",)

    def __init__(self) -> None:
        self._on = False

    def set(self) -> None:
        """Raise it."""
        self._on = True

    def is_set(self) -> bool:
        """Whether it was raised."""
        return self._on


class Job(_Leased):
    """The job as an async handler sees it. It is told to stop by a cancellation, too."""

    __slots__ = ("canceled",)

    def __init__(self, row: Sequence[Any], *, deadline: float, run: RunCall, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(row, deadline=deadline, run=run, loop=loop)
        self.canceled = Flag()

    async def progress(
        self, done: int | None = None, total: int | None = None, *, checkpoint: Json = None, stage: str | None = None
    ) -> ProgressReport:
        """Store progress, a checkpoint for the next attempt, or a stage. Calls `runledger.report_progress`."""
        call = _calls.report_progress(
            self.job_id, self.lease_token, done=done, total=total, checkpoint=checkpoint, stage=stage
        )
        report: ProgressReport = await self._run(self, call)
        return report

    async def log(self, level: str, message: str, **payload: Json) -> int:
        """Write a line to the log of the job; returns its id. Calls `runledger.log_job`."""
        call = _calls.log_job(self.job_id, level, message=message, payload=payload, lease_token=self.lease_token)
        line: int = await self._run(self, call)
        return line


class SyncJob(_Leased):
    """The job as a handler in a thread sees it: the same, blocking. It should look at `canceled` now and then."""

    __slots__ = ("canceled",)
    canceled: threading.Event

    def __init__(self, row: Sequence[Any], *, deadline: float, run: RunCall, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(row, deadline=deadline, run=run, loop=loop)
        self.canceled = threading.Event()

    def _wait(self, call: _calls.Call[Any]) -> Any:
        coroutine = self._run(self, call)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            # A loop that is closed with the call in its queue answers no more.
            while not wait({future}, timeout=1.0).done and not self._loop.is_closed():
                pass
            if future.done():
                return future.result()
        except RuntimeError:
            coroutine.close()
            if not self._loop.is_closed():
                raise
        except CancelledError:
            pass
        raise LeaseLost("job.lease_owner_mismatch", "the worker has stopped")

    def progress(
        self, done: int | None = None, total: int | None = None, *, checkpoint: Json = None, stage: str | None = None
    ) -> ProgressReport:
        """Store progress, a checkpoint for the next attempt, or a stage. Calls `runledger.report_progress`."""
        call = _calls.report_progress(
            self.job_id, self.lease_token, done=done, total=total, checkpoint=checkpoint, stage=stage
        )
        report: ProgressReport = self._wait(call)
        return report

    def log(self, level: str, message: str, **payload: Json) -> int:
        """Write a line to the log of the job; returns its id. Calls `runledger.log_job`."""
        call = _calls.log_job(self.job_id, level, message=message, payload=payload, lease_token=self.lease_token)
        line: int = self._wait(call)
        return line
