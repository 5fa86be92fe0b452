"""Errors that Runledger raises, one class per SQLSTATE of class RL.

    RunledgerError
    ├── NotFound               RL001  no such job or job type
    ├── DefinitionUnavailable  RL002  the job type is undefined or disabled
    ├── LeaseLost              RL003  the lease is not, or no longer, this worker's
    ├── InvalidState           RL004  the job is in a state that forbids the verb
    ├── NotGranted             RL005  the role may not enqueue or claim that job type
    ├── InvalidArgument        RL010  an argument is missing, malformed or out of range
    ├── PayloadRefused         RL011  JSON that is too large, too deep or not storable
    ├── UnsupportedIsolation   RL013  the transaction is not READ COMMITTED
    ├── IdempotencyConflict    RL020  the key was used for another request
    ├── Conflict               RL021  somebody else changed it meanwhile
    ├── InvalidWorkflow        RL030  the graph is refused
    ├── InternalError          RL090  a broken invariant: a bug in Runledger
    ├── WorkflowResultNotDeclared  -  the run has no result step       } raised by the handle
    ├── WorkflowFailed             -  it has finished without success  } of a run, never by
    └── WorkflowResultTimeout      -  it is still going on             } the database

`code` is the stable dotted name (`error_codes()` lists all of them). The SQLSTATE alone decides the
class, never a message; every other database error passes through as psycopg raised it.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class RunledgerError(Exception):
    """A refusal by Runledger: dotted `code`, constant `message`, safe `detail`, and what to do in `hint`."""

    by_sqlstate: ClassVar[dict[str, type[RunledgerError]]] = {}

    def __init_subclass__(cls, *, sqlstate: str | None = None) -> None:
        if sqlstate is not None:
            cls.by_sqlstate[sqlstate] = cls

    def __init__(
        self,
        code: str,
        message: str,
        detail: Mapping[str, Any] | None = None,
        hint: str | None = None,
        sqlstate: str | None = None,
    ) -> None:
        # All of them go to Exception.args, so that the error survives pickle and copy.
        super().__init__(code, message, detail, hint, sqlstate)
        self.code = code
        self.message = message
        self.detail = dict(detail or {})
        self.hint = hint
        self.sqlstate = sqlstate

    def __str__(self) -> str:
        return f"{self.message} ({self.code})" + (f": {self.hint}" if self.hint else "")


class NotFound(RunledgerError, sqlstate="RL001"):
    """No such job or job type."""


class DefinitionUnavailable(RunledgerError, sqlstate="RL002"):
    """The job type is undefined or disabled."""


class LeaseLost(RunledgerError, sqlstate="RL003"):
    """The lease is not, or no longer, held with this token; the job is somebody else's now."""


class InvalidState(RunledgerError, sqlstate="RL004"):
    """The job is in a state that forbids the verb."""


class NotGranted(RunledgerError, sqlstate="RL005"):
    """The role of this connection may not enqueue or claim that job type."""


class InvalidArgument(RunledgerError, sqlstate="RL010"):
    """An argument is missing, malformed or out of range; `client.*` codes are refused before sending."""


class PayloadRefused(RunledgerError, sqlstate="RL011"):
    """JSON that is too large, too deep or not storable."""


class UnsupportedIsolation(RunledgerError, sqlstate="RL013"):
    """The verb needs a READ COMMITTED transaction."""


class IdempotencyConflict(RunledgerError, sqlstate="RL020"):
    """The idempotency key was used before, for another request."""


class Conflict(RunledgerError, sqlstate="RL021"):
    """The object changed meanwhile, or is in use."""


class InvalidWorkflow(RunledgerError, sqlstate="RL030"):
    """The workflow graph is refused."""

    @property
    def problems(self) -> list[dict[str, Any]]:
        """Mappings of ordinal, step, code and message: the first 100 of `detail["count"]`.

        Empty if the list of steps was refused as a whole.
        """
        return list(self.detail.get("problems") or ())


class InternalError(RunledgerError, sqlstate="RL090"):
    """A broken invariant: please report it."""


class WorkflowResultNotDeclared(RunledgerError):
    """The run was enqueued without `result_step`: there will never be a result."""


class WorkflowFailed(RunledgerError):
    """The run has finished, and not with SUCCEEDED."""

    @property
    def status(self) -> str:
        """How it ended: COMPLETED_WITH_ERRORS or CANCELED."""
        return str(self.detail.get("status"))


class WorkflowResultTimeout(RunledgerError):
    """The run is still going on; nothing keeps you from waiting again."""


def from_database(error: psycopg.Error) -> RunledgerError | None:
    """The Runledger error that a psycopg error carries; None when it is not of class RL."""
    sqlstate = error.sqlstate
    if sqlstate is None or not sqlstate.startswith("RL"):
        return None
    diag = error.diag
    try:
        detail = json.loads(diag.message_detail or "{}")
    except ValueError:
        detail = {}
    if not isinstance(detail, dict):
        detail = {}
    # A newer schema may raise a state this package does not know: the base class then.
    kind = RunledgerError.by_sqlstate.get(sqlstate, RunledgerError)
    code = str(detail.pop("code", sqlstate))
    return kind(code, diag.message_primary or "", detail, diag.message_hint, sqlstate)


@contextmanager
def translated() -> Iterator[None]:
    """Re-raise errors of class RL as `RunledgerError`, caused by the psycopg error; pass others on."""
    try:
        yield
    except psycopg.Error as error:
        mapped = from_database(error)
        if mapped is None:
            raise
        raise mapped from error
