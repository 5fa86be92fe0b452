"""Every SQL call of the package as data: no I/O, so that the sync and the async client share it.

A call knows its statement, its parameters and how to read the rows. To run one by hand, for example
several in one pipeline: `cursor.execute(*call.statement)`, later `call.read(cursor.fetchall())`,
on a cursor with psycopg's `tuple_row`.

Rules: named notation; the columns of the result by name; a parameter that is None and has a default
in SQL is left out. So SQL may append parameters and columns without breaking an older client.
JSON columns travel as text and are parsed here, one value at a time: a value that Python refuses to
parse becomes an `Undecodable` and spoils no other row, whatever loaders the connection has.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable
from uuid import UUID

import psycopg
from psycopg.types.numeric import Int4, Int8

from runledger import types as t
from runledger.errors import InvalidArgument
from runledger.types import FailureKind, JobStatus, Json, Missed, Seconds, StepOutcome, Undecodable, WorkflowStatus

LISTEN = b"listen runledger_wake"
"""Hear wake-ups; their payload is the start of a job type's SHA-256, as `runledger._wake_key` makes it."""

LISTEN_RUNS = b"set lock_timeout = '1s'; listen runledger_run"
"""Hear of finished runs, by their ids. Asking (`await_workflow`) locks the run: no row is worth a long wait."""
SERVER_TIME = b"select clock_timestamp()"

LOCAL_TIMEOUT = b"select set_config('statement_timeout', %s, true)"
"""Bound the statements of the present transaction; a setting of the session would leak through a pooler."""

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
Id = UUID | str


@runtime_checkable
class Graph(Protocol):
    """A `runledger.Workflow`: the document `steps`, and all `arguments` of `enqueue_workflow`."""

    @property
    def steps(self) -> Sequence[Mapping[str, Json]]: ...

    @property
    def arguments(self) -> Mapping[str, Any]: ...


Steps = Sequence[Mapping[str, Json]] | Graph


@dataclass(frozen=True, slots=True)
class Call(Generic[R_co]):
    """One call of `runledger.<function>`; `read` turns the fetched tuples into its result."""

    function: str
    query: bytes
    params: Mapping[str, object]
    row: type[Any]

    @property
    def statement(self) -> tuple[bytes, Mapping[str, object]]:
        """What `cursor.execute` takes."""
        return self.query, self.params

    @property
    def text(self) -> str:
        """The call with its arguments as literals: what a person would run in psql."""
        arguments = ", ".join(f"{name} => {literal(value)}" for name, value in self.params.items())
        return f"select {'* from ' * is_dataclass(self.row)}runledger.{self.function}({arguments});"  # noqa: S608

    @property
    def undone_text(self) -> str:
        """The same, rolled back."""
        return f"begin; {self.text} rollback;"

    def read(self, rows: Sequence[tuple[Any, ...]]) -> R_co:
        """The result of the call."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Many(Call[list[T]]):
    """A call that returns rows, possibly none."""

    def read(self, rows: Sequence[tuple[Any, ...]]) -> list[T]:
        """One object per row, in the order of the database."""
        build, jsons = self.row, _shape(self.row)[1]
        if not jsons:
            return [build(*row) for row in rows]
        return [build(*_decoded(row, jsons)) for row in rows]


@dataclass(frozen=True, slots=True)
class Maybe(Call[T | None]):
    """A call that finds one row or nothing."""

    def read(self, rows: Sequence[tuple[Any, ...]]) -> T | None:
        """The row, or None."""
        return self.row(*_decoded(rows[0], _shape(self.row)[1])) if rows else None


@dataclass(frozen=True, slots=True)
class One(Call[T]):
    """A call that returns exactly one row."""

    def read(self, rows: Sequence[tuple[Any, ...]]) -> T:
        """The row."""
        (row,) = rows
        return self.row(*_decoded(row, _shape(self.row)[1]))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Value(Call[T]):
    """A call that returns a plain value."""

    def read(self, rows: Sequence[tuple[Any, ...]]) -> T:
        """The value."""
        ((value,),) = rows
        return value  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class View(Call[list[Mapping[str, Json]]]):
    """All rows of a view, as mappings by column: intervals and instants in the words of the database."""

    @property
    def text(self) -> str:
        """What a person would run in psql."""
        return f"select * from runledger.{self.function};"  # noqa: S608 - a name of this file

    def read(self, rows: Sequence[tuple[Any, ...]]) -> list[Mapping[str, Json]]:
        """The rows, in the order of the view."""
        return [json.loads(row) for (row,) in rows]


def view(name: Literal["limits", "access"]) -> View:
    """One of the views that stand for themselves: no parameters, no paging."""
    return View(name, f"select row_to_json(v)::text from runledger.{name} as v".encode(), {}, dict)  # noqa: S608


_SHAPES: dict[type[Any], tuple[str, tuple[int, ...]]] = {}


def _shape(row: type[Any]) -> tuple[str, tuple[int, ...]]:
    """Select list of a result type, and where in it JSON stands."""
    if not is_dataclass(row):
        return "", ()
    if row not in _SHAPES:
        is_json = [f.type == "Json" for f in fields(row)]
        columns = [f"{f.name}::text" if j else f.name for f, j in zip(fields(row), is_json, strict=True)]
        _SHAPES[row] = ", ".join(columns), tuple(i for i, j in enumerate(is_json) if j)
    return _SHAPES[row]


@cache
def _required(function: str) -> frozenset[str]:
    parameters = inspect.signature(globals()[function]).parameters.values()
    return frozenset(p.name for p in parameters if p.default is p.empty)


@lru_cache(maxsize=1024)
def _query(function: str, columns: str, names: tuple[str, ...]) -> bytes:
    # Made of names in this file alone.
    arguments = ", ".join(f"{name} => %({name})s" for name in names)
    return f"select {columns}{' from ' * bool(columns)}runledger.{function}({arguments})".encode()  # noqa: S608


def _prepared(
    row: type[Any], function: str, arguments: Mapping[str, object]
) -> tuple[str, bytes, Mapping[str, object], type[Any]]:
    params: dict[str, object] = {}
    for name, value in arguments.items():
        if value is not None:
            try:
                params[name] = ADAPTERS[name](value)
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                raise _refused(name, error) from error
        elif name in _required(function):
            params[name] = None  # the function says what is wrong with NULL
    return function, _query(function, _shape(row)[0], tuple(params)), params, row


def _many(row: type[T], function: str, arguments: Mapping[str, object]) -> Many[T]:
    return Many(*_prepared(row, function, arguments))


def _maybe(row: type[T], function: str, arguments: Mapping[str, object]) -> Maybe[T]:
    return Maybe(*_prepared(row, function, arguments))


def _one(row: type[T], function: str, arguments: Mapping[str, object]) -> One[T]:
    return One(*_prepared(row, function, arguments))


def _value(row: type[T], function: str, arguments: Mapping[str, object]) -> Value[T]:
    return Value(*_prepared(row, function, arguments))


def like(make: Callable[..., Call[Any]], verb: Any, *, owner: str) -> Any:
    """Give the method `verb` of class `owner` the name, documentation and signature of its call."""
    signature = inspect.signature(make)
    returns = re.sub(r"\bt\.", "", signature.return_annotation)
    returns = re.sub(r"^Many\[", "list[", re.sub(r"^(?:One|Value)\[(.*)]$", r"\1", returns))
    verb.__signature__ = signature.replace(
        parameters=[inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *signature.parameters.values()],
        return_annotation=re.sub(r"^Maybe\[(.*)]$", r"\1 | None", returns),
    )
    verb.__name__, verb.__doc__, verb.__qualname__ = make.__name__, make.__doc__, f"{owner}.{make.__name__}"
    return verb


# --- leases as a worker takes them: rows whose id is text, in place of objects ---


def id_as_text(query: bytes) -> bytes:
    """The query with ids as text, which is how a worker sends them back."""
    return query.replace(b"select job_id,", b"select job_id::text,", 1)


def leased_rows(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Columns of `ClaimedJob` in its order, JSON decoded; the id stays as it is."""
    jsons = _shape(t.ClaimedJob)[1]
    return [_decoded(row, jsons) for row in rows]


NO_SUCCESS = b" where disposition <> 'SUCCEEDED'"
"""What leaves out the rows of `finish_jobs` that say what was expected."""


# --- values: from the database, and to it ---------------------------------------------------------


def in_binary(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether results are to come in binary: psycopg reads instants and spans as text in one style alone each.

    A role or a database may have other ones. What a user may write in them is up to him.
    """
    status = connection.info.parameter_status
    return status("IntervalStyle") != "postgres" or not (status("DateStyle") or "").startswith("ISO")


_scan = json.JSONDecoder().raw_decode
"""`json.loads` without its looks for an encoding and for blanks: the text of a jsonb has none around it."""


def _decoded(row: tuple[Any, ...], jsons: tuple[int, ...]) -> list[Any]:
    values = list(row)
    for i in jsons:
        if (text := values[i]) is not None:
            try:
                values[i] = _scan(text)[0]
            except (ValueError, RecursionError) as error:
                values[i] = Undecodable(str(error), text)
    return values


def literal(value: object) -> str:
    """A parameter as SQL: on one line, of harmless characters, whatever the settings of the session."""
    if value is None or isinstance(value, bool | int):
        return str(value).lower() if value is not None else "null"
    if isinstance(value, list):
        kind = "text" if not value or isinstance(value[0], str) else "uuid" if isinstance(value[0], UUID) else "bigint"
        return f"array[{', '.join(map(literal, value))}]::{kind}[]" if value else "'{}'"
    if isinstance(value, timedelta):
        # With a sign of its own each: a leading minus means all of it under one IntervalStyle.
        seconds = value.seconds + value.microseconds / 1_000_000
        return f"'{value.days:+} days {seconds:+} seconds'" if value.days else f"'{seconds} seconds'"
    words = str(value)
    if words.isprintable() and "\\" not in words:
        return "'" + words.replace("'", "''") + "'"
    marks = {ord(c): f"\\U{ord(c):08x}" for c in words if not c.isprintable()}
    return "E'" + words.translate({**marks, ord("\\"): "\\\\", ord("'"): "''"}) + "'"


class _RefusalError(ValueError):
    """What is wrong with an argument, in words without its value."""


def _refused(argument: str, error: Exception) -> InvalidArgument:
    # Python's own words (for a type, a cycle, a digit limit) do not quote the value either.
    message = "an argument cannot be sent to the database"
    return InvalidArgument("client.invalid_argument", message, {"argument": argument}, str(error), "RL010")


def encode(value: Json) -> str:
    """JSON text of a value as it is sent; ValueError, TypeError or RecursionError if it has none."""
    # ASCII, so that it means the same under every client_encoding.
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    if "\\u0000" in text and re.search(r"(?<!\\)(?:\\\\)*\\u0000", text):
        raise _RefusalError("PostgreSQL stores no NUL character: leave it out.")
    if "\\ud" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise _RefusalError("It holds half a surrogate pair, which is no character.") from None
    return text


def _plain(value: object) -> object:
    """A field of a batch item in JSON: ids, instants and spans as the single verbs take them."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return timestamptz(value).isoformat()
    if isinstance(value, timedelta):
        seconds = value / timedelta(seconds=1)
        return int(seconds) if seconds.is_integer() else seconds
    return value


def storable(words: str) -> str:
    """The text with what PostgreSQL cannot store replaced: for messages of exceptions, say."""
    return words.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def batch(items: Sequence[object]) -> str:
    """A batch as one JSON array; the function judges the items."""
    if isinstance(items, str | bytes | Mapping):
        raise _RefusalError("Give a list of mappings.")
    array = [{k: _plain(v) for k, v in item.items()} if isinstance(item, Mapping) else item for item in items]
    try:
        return encode(array)
    except (TypeError, ValueError, RecursionError):
        for ordinal, item in enumerate(array, 1):
            try:
                encode(item)
            except (TypeError, ValueError, RecursionError) as error:
                raise _RefusalError(f"Item {ordinal}: {error}") from error
        raise


def entry(call: Call[Any]) -> dict[str, Any]:
    """The arguments of a call as an entry of a list, where its function takes lists of them."""
    parsed = {name: ADAPTERS[name] in (encode, steps) and value is not None for name, value in call.params.items()}
    return {name: json.loads(str(value)) if parsed[name] else value for name, value in call.params.items()}


def steps(value: Steps) -> str:
    """The steps of a workflow as one JSON array."""
    return batch(value.steps if isinstance(value, Graph) else value)


def text(value: object) -> str:
    if not isinstance(value, str):
        raise _RefusalError("Give a str.")
    if "\0" in value:
        raise _RefusalError("PostgreSQL stores no NUL character: leave it out.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _RefusalError("It holds half a surrogate pair, which is no character.") from None
    return value


def texts(values: Sequence[str]) -> list[str]:
    if isinstance(values, str):
        raise _RefusalError("Give a list of str, not one str.")
    return [text(value) for value in values]


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise _RefusalError("Give True or False.")
    return value


def _integer(value: object, bits: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _RefusalError("Give an int.")
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise _RefusalError(f"It does not fit {bits} bits.")
    return value


def int4(value: object) -> Int4:
    return Int4(_integer(value, 32))


def int8(value: object) -> Int8:
    return Int8(_integer(value, 64))


def int8s(values: Sequence[int]) -> list[Int8]:
    return [int8(value) for value in values]


def uuid(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(text(value))
    except ValueError:
        raise _RefusalError("Give a UUID, or its text.") from None


def uuids(values: Sequence[Id]) -> list[UUID]:
    if isinstance(values, str):
        raise _RefusalError("Give a list of UUIDs, not one str.")
    return [uuid(value) for value in values]


def timestamptz(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise _RefusalError("Give a datetime.")
    if value.utcoffset() is None:
        raise _RefusalError("A datetime needs a time zone: datetime.now(timezone.utc), for example.")
    return value


def interval(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise _RefusalError("Give seconds, or a timedelta.")
    try:
        return timedelta(seconds=value)
    except OverflowError:
        raise _RefusalError("It is too long.") from None


def patience(argument: str, value: Seconds) -> float:
    """Seconds to wait on this side, however many."""
    seconds: object = value / timedelta(seconds=1) if isinstance(value, timedelta) else value
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds >= 0:
        raise _refused(argument, _RefusalError("Give seconds, or a timedelta, not less than 0."))
    return min(seconds, 1e9)


def whole_seconds(value: object) -> Int4:
    span = interval(value)
    if span % timedelta(seconds=1):
        raise _RefusalError("Give whole seconds.")
    return int4(span // timedelta(seconds=1))


# A parameter name means one SQL type, in every function; a contract test compares them with pg_proc.
_BY_TYPE: dict[Callable[[Any], object], str] = {
    text: "job_type worker_id reason kind error_code error_message idempotency_key stage request_key status"
    " expected_status level message scope workflow_type active_key result_step step_key outcome mutation_key"
    " append_window after_key cron timezone name missed role_name action object contains after_type after_name"
    " after_worker catalog",
    texts: "job_types",
    int4: "version max_attempts priority max_concurrency retry_base_ms retry_max_ms schema_version max_jobs"
    " max_rows expected_run_number max_schedules fires after_ordinal after_dependent after_prerequisite after_run"
    " after_attempt before_run before_attempt after_priority",
    int8: "lease_token done total max_bytes before_action_id after_event_id before_event_id after_log_id before_log_id",
    int8s: "lease_tokens known_tokens log_ids",
    whole_seconds: "timeout_seconds lease_seconds max_jitter_seconds",
    boolean: "is_enabled strict prestart reset_state is_active if_missing is_dead dry_run",
    uuid: "job_id organization_id before_id after_id workflow_run_id",
    uuids: "job_ids",
    timestamptz: "run_at not_before failed_after failed_before before_failed_at created_after created_before"
    " after_created_at until after next_fire_at after_claimed_at after_next_run_at",
    interval: "delay retry_delay older_than dead_letters_older_than finished dead_letters history",
    encode: "payload checkpoint output config metadata retry_delays_ms",
    batch: "jobs outcomes entries definitions schedules",
    steps: "steps",
}
ADAPTERS: Mapping[str, Callable[[Any], object]] = {
    name: adapt for adapt, names in _BY_TYPE.items() for name in names.split()
}


# --- definitions ----------------------------------------------------------------------------------


def define_job(
    job_type: str,
    version: int | None = None,
    *,
    max_attempts: int | None = None,
    timeout_seconds: Seconds | None = None,
    priority: int | None = None,
    is_enabled: bool | None = None,
    max_concurrency: int | None = None,
    retry_base_ms: int | None = None,
    retry_max_ms: int | None = None,
    retry_delays_ms: Mapping[str, int] | None = None,
    if_missing: bool | None = None,
) -> One[t.JobDefinition]:
    """Create or change a job type. Calls `runledger.define_job`.

    None takes the default of a new type and keeps the value of an existing one; an equal call writes
    nothing. `max_concurrency=0` lifts the limit; `retry_delays_ms` is error code -> milliseconds;
    `if_missing` leaves an existing type as it is.
    """
    return _one(t.JobDefinition, "define_job", locals())


def get_job_definition(job_type: str) -> Maybe[t.JobDefinition]:
    """One job type; None if there is none. Calls `runledger.get_job_definition`."""
    return _maybe(t.JobDefinition, "get_job_definition", locals())


def list_job_definitions(
    contains: str | None = None, after_type: str | None = None, *, max_rows: int | None = None
) -> Many[t.JobDefinition]:
    """Up to `max_rows` (100) job types by name, of those with `contains` in it. Calls `runledger.list_job_definitions`.

    The next page starts at `after_type`, the last type of this one.
    """
    return _many(t.JobDefinition, "list_job_definitions", locals())


def enable_job_type(job_type: str) -> One[t.JobDefinition]:
    """Accept new jobs of the type again. Calls `runledger.enable_job_type`."""
    return _one(t.JobDefinition, "enable_job_type", locals())


def disable_job_type(job_type: str, reason: str | None = None) -> One[t.JobDefinition]:
    """Refuse new jobs of the type; queued ones still run. Calls `runledger.disable_job_type`."""
    return _one(t.JobDefinition, "disable_job_type", locals())


def pause_job_type(job_type: str, reason: str | None = None) -> One[t.JobDefinition]:
    """Stop claiming the type; new jobs are accepted and wait. Calls `runledger.pause_job_type`."""
    return _one(t.JobDefinition, "pause_job_type", locals())


def resume_job_type(job_type: str) -> One[t.JobDefinition]:
    """Let the type be claimed again. Calls `runledger.resume_job_type`."""
    return _one(t.JobDefinition, "resume_job_type", locals())


def set_runtime_config(
    job_type: str, config: Mapping[str, Json], *, schema_version: int | None = None, if_missing: bool | None = None
) -> One[t.RuntimeConfigRecord]:
    """Store the settings a handler reads at run time (`if_missing`: unless there are some).

    Calls `runledger.set_runtime_config`.
    """
    return _one(t.RuntimeConfigRecord, "set_runtime_config", locals())


def runtime_config(job_type: str) -> One[t.RuntimeConfigRecord]:
    """Read those settings. Calls `runledger.runtime_config`."""
    return _one(t.RuntimeConfigRecord, "runtime_config", locals())


def get_runtime_config(job_type: str) -> Maybe[t.RuntimeConfigRecord]:
    """Read those settings; None if there are none. Calls `runledger.get_runtime_config`."""
    return _maybe(t.RuntimeConfigRecord, "get_runtime_config", locals())


def list_runtime_configs(
    contains: str | None = None, after_type: str | None = None, *, max_rows: int | None = None
) -> Many[t.RuntimeConfigSummary]:
    """Up to `max_rows` (100) types that have such settings, by name. Calls `runledger.list_runtime_configs`.

    The next page starts at `after_type`, the last type of this one.
    """
    return _many(t.RuntimeConfigSummary, "list_runtime_configs", locals())


# --- jobs -----------------------------------------------------------------------------------------


def enqueue_job(
    job_type: str,
    payload: Json = None,
    *,
    organization_id: Id | None = None,
    priority: int | None = None,
    max_attempts: int | None = None,
    timeout_seconds: Seconds | None = None,
    run_at: datetime | None = None,
    idempotency_key: str | None = None,
    stage: str | None = None,
) -> One[t.EnqueuedJob]:
    """Add a job; EXISTING if its idempotency key is known. Calls `runledger.enqueue_job`."""
    return _one(t.EnqueuedJob, "enqueue_job", locals())


def enqueue_jobs(jobs: Sequence[Mapping[str, Json]], strict: bool | None = None) -> Many[t.EnqueuedItem]:
    """Add many jobs, each a mapping with the parameters of `enqueue_job`. Calls `runledger.enqueue_jobs`.

    One row per job, in order; a refused one says so in its row, or raises when `strict`.
    """
    return _many(t.EnqueuedItem, "enqueue_jobs", locals())


def claim_jobs(
    worker_id: str,
    job_types: Sequence[str],
    *,
    max_jobs: int | None = None,
    lease_seconds: Seconds | None = None,
    prestart: bool | None = None,
) -> Many[t.ClaimedJob]:
    """Lease up to `max_jobs` (1) due jobs of these types; none when idle. Calls `runledger.claim_jobs`.

    With `prestart`, `start_jobs` must follow before the handler runs.
    """
    return _many(t.ClaimedJob, "claim_jobs", locals())


def leased_jobs(worker_id: str, known_tokens: Sequence[int] | None = None) -> Many[t.ClaimedJob]:
    """Live leases of a worker beyond those it knows: a lost claim reply. Calls `runledger.leased_jobs`."""
    return _many(t.ClaimedJob, "leased_jobs", locals())


def start_jobs(job_ids: Sequence[Id], lease_tokens: Sequence[int]) -> Many[t.StartedJob]:
    """Charge the attempts of jobs claimed with `prestart`. Calls `runledger.start_jobs`."""
    return _many(t.StartedJob, "start_jobs", locals())


def heartbeat_jobs(
    job_ids: Sequence[Id], lease_tokens: Sequence[int], *, lease_seconds: Seconds | None = None
) -> Many[t.ExtendedLease]:
    """Extend leases (60 s) and learn which are canceled or lost. Calls `runledger.heartbeat_jobs`."""
    return _many(t.ExtendedLease, "heartbeat_jobs", locals())


def report_progress(
    job_id: Id,
    lease_token: int,
    *,
    done: int | None = None,
    total: int | None = None,
    checkpoint: Json = None,
    stage: str | None = None,
) -> One[t.ProgressReport]:
    """Merge progress and checkpoint of a leased job. Calls `runledger.report_progress`."""
    return _one(t.ProgressReport, "report_progress", locals())


def succeed_job(
    job_id: Id,
    lease_token: int,
    *,
    output: Json = None,
    checkpoint: Json = None,
    done: int | None = None,
    total: int | None = None,
) -> One[t.FinishedJob]:
    """Finish a job with its output; safe to repeat. Calls `runledger.succeed_job`."""
    return _one(t.FinishedJob, "succeed_job", locals())


def fail_job(
    job_id: Id,
    lease_token: int,
    *,
    error_code: str,
    error_message: str,
    kind: FailureKind | None = None,
    not_before: datetime | None = None,
) -> One[t.FinishedJob]:
    """Fail the attempt; the database retries or dead-letters. Calls `runledger.fail_job`.

    `kind` is RETRYABLE by default; `not_before` puts a retry off to that instant.
    """
    return _one(t.FinishedJob, "fail_job", locals())


def continue_job(
    job_id: Id,
    lease_token: int,
    *,
    delay: Seconds | None = None,
    checkpoint: Json = None,
    done: int | None = None,
    total: int | None = None,
) -> One[t.FinishedJob]:
    """End this run and start the next after `delay`, with fresh attempts. Calls `runledger.continue_job`."""
    return _one(t.FinishedJob, "continue_job", locals())


def release_job(job_id: Id, lease_token: int, *, reason: str, delay: Seconds | None = None) -> One[t.FinishedJob]:
    """Give a job back and its attempt with it. Calls `runledger.release_job`."""
    return _one(t.FinishedJob, "release_job", locals())


def finish_jobs(outcomes: Sequence[Mapping[str, Json]]) -> Many[t.FinishedJob]:
    """Finish many jobs: mappings of job_id, lease_token, outcome, … Calls `runledger.finish_jobs`.

    `outcome` is SUCCEEDED, FAILED, CONTINUE or RELEASE; the other keys are the parameters of
    `succeed_job`, `fail_job`, `continue_job`, `release_job`. One row per outcome, in order.
    """
    return _many(t.FinishedJob, "finish_jobs", locals())


def cancel_job(job_id: Id, reason: str | None = None, *, organization_id: Id | None = None) -> One[t.CanceledJob]:
    """Cancel a job; a running handler learns it at its next heartbeat. Calls `runledger.cancel_job`."""
    return _one(t.CanceledJob, "cancel_job", locals())


def requeue_job(
    job_id: Id,
    reason: str | None = None,
    *,
    expected_status: JobStatus | None = None,
    expected_run_number: int | None = None,
    reset_state: bool | None = None,
    organization_id: Id | None = None,
) -> One[t.RequeuedJob]:
    """Run a dead-lettered or canceled job again, as its next run. Calls `runledger.requeue_job`."""
    return _one(t.RequeuedJob, "requeue_job", locals())


def replay_job(job_id: Id, request_key: str, *, reason: str, organization_id: Id | None = None) -> One[t.ReplayedJob]:
    """Copy a succeeded job into a new one, once per `request_key`. Calls `runledger.replay_job`."""
    return _one(t.ReplayedJob, "replay_job", locals())


def redrive_dead_letters(
    reason: str,
    job_type: str | None = None,
    *,
    error_code: str | None = None,
    failed_after: datetime | None = None,
    failed_before: datetime | None = None,
    max_jobs: int | None = None,
) -> Many[t.RequeuedJob]:
    """Requeue up to `max_jobs` (100) matching dead letters. Calls `runledger.redrive_dead_letters`."""
    return _many(t.RequeuedJob, "redrive_dead_letters", locals())


def reap_expired_leases(max_jobs: int | None = None, retry_delay: Seconds | None = None) -> Many[t.ReapedLease]:
    """Take back up to `max_jobs` (100) expired leases. Calls `runledger.reap_expired_leases`."""
    return _many(t.ReapedLease, "reap_expired_leases", locals())


def get_job(job_id: Id, organization_id: Id | None = None) -> Maybe[t.JobRecord]:
    """Everything about a job; None if there is none. Calls `runledger.get_job`."""
    return _maybe(t.JobRecord, "get_job", locals())


def list_jobs(
    job_type: str | None = None,
    status: JobStatus | None = None,
    *,
    organization_id: Id | None = None,
    worker_id: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    before_id: Id | None = None,
    max_rows: int | None = None,
    contains: str | None = None,
) -> Many[t.JobSummary]:
    """Up to `max_rows` (100) jobs, newest first. Calls `runledger.list_jobs`.

    The next page starts at `before_id`, the last job of this one; `contains` is part of the name of the type.
    """
    return _many(t.JobSummary, "list_jobs", locals())


def list_queues(
    contains: str | None = None, after_type: str | None = None, *, max_rows: int | None = None
) -> Many[t.QueueSummary]:
    """How up to `max_rows` (100) job types stand, by name. Calls `runledger.list_queues`.

    The next page starts at `after_type`, the last type of this one.
    """
    return _many(t.QueueSummary, "list_queues", locals())


def list_waiting_jobs(
    job_type: str,
    after_priority: int | None = None,
    *,
    after_next_run_at: datetime | None = None,
    after_id: Id | None = None,
    max_rows: int | None = None,
    organization_id: Id | None = None,
) -> Many[t.JobSummary]:
    """Up to `max_rows` (100) pending jobs of a type, in the order of claiming. Calls `runledger.list_waiting_jobs`.

    The next page starts at `after_priority`, `after_next_run_at` and `after_id`, of the last job of this one.
    """
    return _many(t.JobSummary, "list_waiting_jobs", locals())


def list_running_jobs(
    job_type: str | None = None,
    contains: str | None = None,
    *,
    after_claimed_at: datetime | None = None,
    after_id: Id | None = None,
    max_rows: int | None = None,
    organization_id: Id | None = None,
) -> Many[t.RunningJob]:
    """Up to `max_rows` (100) jobs that workers hold, the longest held first. Calls `runledger.list_running_jobs`.

    The next page starts at `after_claimed_at` and `after_id`, of the last job of this one.
    """
    return _many(t.RunningJob, "list_running_jobs", locals())


def find_job(job_type: str, idempotency_key: str, *, organization_id: Id | None = None) -> Maybe[t.JobSummary]:
    """The job of an idempotency key; without a tenant the key of none, not of any. Calls `runledger.find_job`."""
    return _maybe(t.JobSummary, "find_job", locals())


def job_statuses(job_ids: Sequence[Id], organization_id: Id | None = None) -> Many[t.JobState]:
    """Where up to 1000 jobs stand, by id; unknown ones are left out. Calls `runledger.job_statuses`."""
    return _many(t.JobState, "job_statuses", locals())


def list_job_events(
    job_id: Id,
    after_event_id: int | None = None,
    *,
    before_event_id: int | None = None,
    max_rows: int | None = None,
    organization_id: Id | None = None,
) -> Many[t.JobEventRecord]:
    """Up to `max_rows` (100) events of a job, oldest first. Calls `runledger.list_job_events`.

    The next page starts at `after_event_id`; `before_event_id` (2**63 - 1 at first) gives the newest first.
    """
    return _many(t.JobEventRecord, "list_job_events", locals())


def list_job_attempts(
    job_id: Id,
    after_run: int | None = None,
    *,
    after_attempt: int | None = None,
    before_run: int | None = None,
    before_attempt: int | None = None,
    max_rows: int | None = None,
    organization_id: Id | None = None,
) -> Many[t.JobAttemptRecord]:
    """Up to `max_rows` (100) attempts of a job, oldest first. Calls `runledger.list_job_attempts`.

    The next page starts at `after_run` and `after_attempt`; `before_run` (2**31 - 1 at first) and `before_attempt`
    give the newest first.
    """
    return _many(t.JobAttemptRecord, "list_job_attempts", locals())


def list_job_logs(
    job_id: Id,
    after_log_id: int | None = None,
    *,
    before_log_id: int | None = None,
    max_rows: int | None = None,
    organization_id: Id | None = None,
) -> Many[t.JobLogRecord]:
    """Up to `max_rows` (100) log lines of a job, oldest first. Calls `runledger.list_job_logs`.

    The next page starts at `after_log_id`; `before_log_id` (2**63 - 1 at first) gives the newest first.
    """
    return _many(t.JobLogRecord, "list_job_logs", locals())


def job_log_payloads(job_id: Id, log_ids: Sequence[int], *, organization_id: Id | None = None) -> Many[t.JobLogBody]:
    """The JSON of up to 1000 log lines of a job. Calls `runledger.job_log_payloads`."""
    return _many(t.JobLogBody, "job_log_payloads", locals())


def list_dead_letters(
    job_type: str | None = None,
    error_code: str | None = None,
    *,
    failed_after: datetime | None = None,
    failed_before: datetime | None = None,
    before_failed_at: datetime | None = None,
    before_id: Id | None = None,
    max_rows: int | None = None,
    organization_id: Id | None = None,
    is_dead: bool | None = None,
) -> Many[t.DeadLetter]:
    """Up to `max_rows` (100) dead letters, latest first. Calls `runledger.list_dead_letters`.

    The next page starts at `before_failed_at` and `before_id`, of the last one of this; `is_dead` leaves out, or shows
    alone, those whose jobs were requeued since.
    """
    return _many(t.DeadLetter, "list_dead_letters", locals())


def job_payload(job_id: Id, organization_id: Id | None = None) -> Maybe[t.JobBody]:
    """The JSON bodies of a job; None if there is none. Calls `runledger.job_payload`."""
    return _maybe(t.JobBody, "job_payload", locals())


def correct_payload(job_id: Id, payload: Json, *, reason: str) -> One[t.ChangedJob]:
    """Replace the payload of a job that is not being worked on. Calls `runledger.correct_payload`."""
    return _one(t.ChangedJob, "correct_payload", locals())


def redact_job(job_id: Id, reason: str) -> One[t.ChangedJob]:
    """Erase the bodies of a finished job for good. Calls `runledger.redact_job`."""
    return _one(t.ChangedJob, "redact_job", locals())


def log_job(
    job_id: Id, level: str, *, message: str, payload: Json = None, lease_token: int | None = None
) -> Value[int]:
    """Write a line to the log of a job; returns its id. Calls `runledger.log_job`."""
    return _value(int, "log_job", locals())


def log_jobs(entries: Sequence[Mapping[str, Json]]) -> Many[t.LoggedLine]:
    """Write many lines, each a mapping with the parameters of `log_job`. Calls `runledger.log_jobs`.

    One row per line, in order: STORED, LOST (no such job, or not its lease) or INVALID.
    """
    return _many(t.LoggedLine, "log_jobs", locals())


# --- workflows ------------------------------------------------------------------------------------


def enqueue_workflow(
    workflow_type: str | Graph,
    steps: Steps | None = None,
    *,
    metadata: Mapping[str, Json] | None = None,
    organization_id: Id | None = None,
    idempotency_key: str | None = None,
    active_key: str | None = None,
    result_step: str | None = None,
) -> One[t.EnqueuedWorkflow]:
    """Start a workflow: a `Workflow`, or a type and its steps. Calls `runledger.enqueue_workflow`.

    What is given here goes before what the `Workflow` says. A refused graph is an `InvalidWorkflow`.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    for graph in (steps, workflow_type):
        if isinstance(graph, Graph):
            given = {**graph.arguments, **{name: value for name, value in given.items() if value is not graph}}
    return _one(t.EnqueuedWorkflow, "enqueue_workflow", {"workflow_type": None, "steps": (), **given})


def validate_workflow(steps: Steps) -> Many[t.WorkflowProblem]:
    """Everything that is wrong with these steps; nothing if they are sound. Calls `runledger.validate_workflow`."""
    return _many(t.WorkflowProblem, "validate_workflow", locals())


def explain_workflow(steps: Steps) -> Many[t.WorkflowPlanStep]:
    """What would run when, and who could run it; starts nothing. Calls `runledger.explain_workflow`."""
    return _many(t.WorkflowPlanStep, "explain_workflow", locals())


def complete_external_step(
    workflow_run_id: Id,
    step_key: str,
    *,
    outcome: StepOutcome | None = None,
    output: Json = None,
    reason: str | None = None,
    error_code: str | None = None,
    error_message: str | None = None,
    organization_id: Id | None = None,
) -> One[t.CompletedStep]:
    """Complete a gate, SUCCEEDED by default; safe to repeat. Calls `runledger.complete_external_step`."""
    return _one(t.CompletedStep, "complete_external_step", locals())


def append_workflow_steps(
    workflow_run_id: Id,
    mutation_key: str,
    *,
    append_window: str,
    steps: Steps,
    metadata: Mapping[str, Json] | None = None,
    organization_id: Id | None = None,
) -> Many[t.AppendedStep]:
    """Add steps while the gate `append_window` waits. Calls `runledger.append_workflow_steps`.

    Once per `mutation_key`: the same steps again are ALREADY_APPLIED.
    """
    return _many(t.AppendedStep, "append_workflow_steps", locals())


def cancel_workflow(
    workflow_run_id: Id, reason: str | None = None, *, organization_id: Id | None = None
) -> One[t.CanceledWorkflow]:
    """Cancel a run and all that is not finished in it. Calls `runledger.cancel_workflow`."""
    return _one(t.CanceledWorkflow, "cancel_workflow", locals())


def workflow_result(workflow_run_id: Id, organization_id: Id | None = None) -> One[t.WorkflowOutcome]:
    """How a run stands and, when it has succeeded, its result. Calls `runledger.workflow_result`."""
    return _one(t.WorkflowOutcome, "workflow_result", locals())


def await_workflow(
    workflow_run_id: Id, until: datetime, *, organization_id: Id | None = None
) -> One[t.WorkflowOutcome]:
    """Ask to be notified of the end of a run, on `runledger_run`. Calls `runledger.await_workflow`.

    `until` is at most an hour ahead. `Client.workflow(…).result()` does all of it.
    """
    return _one(t.WorkflowOutcome, "await_workflow", locals())


def get_workflow(workflow_run_id: Id, organization_id: Id | None = None) -> Maybe[t.WorkflowRecord]:
    """Everything about a run but its steps; None if there is none. Calls `runledger.get_workflow`."""
    return _maybe(t.WorkflowRecord, "get_workflow", locals())


def list_workflows(
    workflow_type: str | None = None,
    status: WorkflowStatus | None = None,
    *,
    organization_id: Id | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    before_id: Id | None = None,
    max_rows: int | None = None,
    contains: str | None = None,
) -> Many[t.WorkflowSummary]:
    """Up to `max_rows` (100) runs, newest first. Calls `runledger.list_workflows`.

    The next page starts at `before_id`, the last run of this one; `contains` is part of the name of the type.
    """
    return _many(t.WorkflowSummary, "list_workflows", locals())


def list_live_workflows(
    contains: str | None = None,
    after_id: Id | None = None,
    *,
    max_rows: int | None = None,
    organization_id: Id | None = None,
) -> Many[t.WorkflowSummary]:
    """Up to `max_rows` (100) runs that are not finished, oldest first. Calls `runledger.list_live_workflows`.

    The next page starts at `after_id`, the last run of this one.
    """
    return _many(t.WorkflowSummary, "list_live_workflows", locals())


def find_workflow(
    workflow_type: str, idempotency_key: str, *, organization_id: Id | None = None
) -> Maybe[t.WorkflowSummary]:
    """The run of an idempotency key; without a tenant the key of none, not of any. Calls `runledger.find_workflow`."""
    return _maybe(t.WorkflowSummary, "find_workflow", locals())


def list_workflow_steps(
    workflow_run_id: Id,
    after_ordinal: int | None = None,
    *,
    max_rows: int | None = None,
    organization_id: Id | None = None,
) -> Many[t.WorkflowStepSummary]:
    """Up to `max_rows` (100) steps of a run, prerequisites first. Calls `runledger.list_workflow_steps`.

    The next page starts at `after_ordinal`, of the last step of this one.
    """
    return _many(t.WorkflowStepSummary, "list_workflow_steps", locals())


def get_workflow_step(
    workflow_run_id: Id, step_key: str, *, organization_id: Id | None = None
) -> Maybe[t.WorkflowStepRecord]:
    """Everything about one step; None if there is none. Calls `runledger.get_workflow_step`."""
    return _maybe(t.WorkflowStepRecord, "get_workflow_step", locals())


def list_workflow_edges(
    workflow_run_id: Id,
    after_dependent: int | None = None,
    *,
    after_prerequisite: int | None = None,
    max_rows: int | None = None,
    organization_id: Id | None = None,
) -> Many[t.WorkflowEdge]:
    """Up to `max_rows` (100) edges of a run, by dependent. Calls `runledger.list_workflow_edges`.

    The next page starts at `after_dependent` and `after_prerequisite`, the ordinals of the last edge of this one.
    """
    return _many(t.WorkflowEdge, "list_workflow_edges", locals())


def list_workflow_mutations(
    workflow_run_id: Id,
    after_created_at: datetime | None = None,
    *,
    after_key: str | None = None,
    max_rows: int | None = None,
    organization_id: Id | None = None,
) -> Many[t.WorkflowMutation]:
    """Up to `max_rows` (100) appends to a run, oldest first. Calls `runledger.list_workflow_mutations`.

    The next page starts at `after_created_at` and `after_key`, of the last append of this one.
    """
    return _many(t.WorkflowMutation, "list_workflow_mutations", locals())


def workflow_tree(workflow_run_id: Id, organization_id: Id | None = None) -> Many[str]:
    """Draw a run, or what a tenant may see of it, as lines to read. Calls `runledger.workflow_tree`."""
    return _many(str, "workflow_tree", locals())


def workflow_mermaid(workflow_run_id: Id, organization_id: Id | None = None) -> Value[str]:
    """Draw a run, or what a tenant may see of it, as a Mermaid flowchart. Calls `runledger.workflow_mermaid`."""
    return _value(str, "workflow_mermaid", locals())


def step_inputs(
    job_id: Id, lease_token: int, *, after_key: str | None = None, max_bytes: int | None = None
) -> Many[t.StepInput]:
    """Read the outputs a leased step waited for, in pages of `max_bytes` (1 MiB). Calls `runledger.step_inputs`.

    The next page starts at `after_key`, the last step of this one.
    """
    return _many(t.StepInput, "step_inputs", locals())


# --- schedules ------------------------------------------------------------------------------------


def next_fire_at(cron: str, timezone: str | None = None, *, after: datetime | None = None) -> Value[datetime]:
    """When a cron expression fires next after an instant (now), in a zone (UTC). Calls `runledger.next_fire_at`."""
    return _value(datetime, "next_fire_at", locals())


def upsert_schedule(
    name: str,
    job_type: str | None,
    *,
    cron: str,
    timezone: str | None = None,
    payload: Json = None,
    organization_id: Id | None = None,
    max_jitter_seconds: Seconds | None = None,
    missed: Missed | None = None,
    is_active: bool | None = None,
    next_fire_at: datetime | None = None,
    workflow_type: str | None = None,
    steps: Steps | None = None,
) -> One[t.ScheduleChange]:
    """Create a schedule of jobs, or of workflows (`job_type=None`), or change it. Calls `runledger.upsert_schedule`.

    A change keeps the tenant, whether it is paused (unless `is_active` is given), and the next fire unless `cron`
    or `timezone` change.
    """
    return _one(t.ScheduleChange, "upsert_schedule", locals())


def get_schedule(name: str, organization_id: Id | None = None) -> Maybe[t.ScheduleRecord]:
    """Everything about a schedule; None if there is none. Calls `runledger.get_schedule`."""
    return _maybe(t.ScheduleRecord, "get_schedule", locals())


def list_schedules(
    contains: str | None = None,
    job_type: str | None = None,
    *,
    is_active: bool | None = None,
    after_name: str | None = None,
    max_rows: int | None = None,
    organization_id: Id | None = None,
) -> Many[t.ScheduleSummary]:
    """Up to `max_rows` (100) schedules by name, of those with `contains` in it. Calls `runledger.list_schedules`.

    The next page starts at `after_name`, the last schedule of this one.
    """
    return _many(t.ScheduleSummary, "list_schedules", locals())


def pause_schedule(name: str, reason: str | None = None) -> One[t.ScheduleChange]:
    """Fire the schedule no more until it is resumed. Calls `runledger.pause_schedule`."""
    return _one(t.ScheduleChange, "pause_schedule", locals())


def resume_schedule(name: str, next_fire_at: datetime | None = None) -> One[t.ScheduleChange]:
    """Let the schedule fire again, from where it stands or from an instant. Calls `runledger.resume_schedule`."""
    return _one(t.ScheduleChange, "resume_schedule", locals())


def delete_schedule(name: str) -> One[t.ScheduleChange]:
    """Delete the schedule; what it has started stays. Calls `runledger.delete_schedule`."""
    return _one(t.ScheduleChange, "delete_schedule", locals())


def preview_schedule(name: str, fires: int | None = None) -> Many[t.SchedulePreview]:
    """Its next `fires` (10) fires, with local times. Calls `runledger.preview_schedule`."""
    return _many(t.SchedulePreview, "preview_schedule", locals())


def fire_due_schedules(max_schedules: int | None = None) -> Many[t.FiredSchedule]:
    """Start what is due, each instant once; any caller, any time. Calls `runledger.fire_due_schedules`."""
    return _many(t.FiredSchedule, "fire_due_schedules", locals())


def next_schedule_at() -> Value[datetime | None]:
    """When a schedule is due next; None if there is none. Calls `runledger.next_schedule_at`."""
    return _value(datetime, "next_schedule_at", locals())


# --- catalogs -------------------------------------------------------------------------------------


def sync_catalog(
    catalog: str,
    definitions: Sequence[Mapping[str, Any]],
    *,
    schedules: Sequence[Mapping[str, Any]] | None = None,
    dry_run: bool | None = None,
    strict: bool | None = None,
) -> Many[t.CatalogChange]:
    """Make the job types and schedules of a catalog exactly what is listed. Calls `runledger.sync_catalog`.

    `definitions` have the arguments of `define_job`, `schedules` those of `upsert_schedule`; what is left out is the
    default. An entry that makes no sense is REFUSED alone, or raises if `strict`. `dry_run` only tells.
    """
    return _many(t.CatalogChange, "sync_catalog", locals())


# --- operations -----------------------------------------------------------------------------------


def register_worker(
    worker_id: str,
    job_types: Sequence[str],
    *,
    max_jobs: int | None = None,
    metadata: Mapping[str, Json] | None = None,
) -> One[t.IdleReport]:
    """Say that a worker is here, what it handles and how much at once. Calls `runledger.register_worker`."""
    return _one(t.IdleReport, "register_worker", locals())


def idle_worker(worker_id: str, until: datetime | None = None) -> One[t.IdleReport]:
    """Ask to be woken until then; tells when the next job is due. Calls `runledger.idle_worker`."""
    return _one(t.IdleReport, "idle_worker", locals())


def deregister_worker(worker_id: str) -> Value[bool]:
    """Forget a worker; returns whether it was known. Calls `runledger.deregister_worker`."""
    return _value(bool, "deregister_worker", locals())


def list_workers(
    job_type: str | None = None, after_worker: str | None = None, *, max_rows: int | None = None
) -> Many[t.WorkerRecord]:
    """Up to `max_rows` (100) workers by name, of those that handle `job_type`. Calls `runledger.list_workers`.

    The next page starts at `after_worker`, the last one of this.
    """
    return _many(t.WorkerRecord, "list_workers", locals())


def run_maintenance() -> Many[t.UpkeepReport]:
    """Do a bounded piece of upkeep; any caller, any time. Calls `runledger.run_maintenance`."""
    return _many(t.UpkeepReport, "run_maintenance", locals())


def prune(
    older_than: Seconds | None = None,
    max_rows: int | None = None,
    *,
    reason: str | None = None,
    dead_letters_older_than: Seconds | None = None,
) -> Many[t.UpkeepReport]:
    """Delete old finished jobs and runs; again while a row says more. Calls `runledger.prune`."""
    return _many(t.UpkeepReport, "prune", locals())


def retention() -> One[t.RetentionRecord]:
    """How long what is kept; zero means for ever. Calls `runledger.retention`."""
    return _one(t.RetentionRecord, "retention", locals())


def set_retention(
    finished: Seconds | None = None, dead_letters: Seconds | None = None, *, history: Seconds | None = None
) -> One[t.RetentionRecord]:
    """How long to keep what is finished; None keeps what is set, 0 is for ever. Calls `runledger.set_retention`."""
    return _one(t.RetentionRecord, "set_retention", locals())


def job_metrics(job_type: str | None = None, organization_id: Id | None = None) -> Many[t.JobMetricsRow]:
    """What waits and runs of each type, and its last 24 hours. Calls `runledger.job_metrics`."""
    return _many(t.JobMetricsRow, "job_metrics", locals())


def metrics_prometheus() -> Value[str]:
    """Everything to watch, as text for Prometheus. Calls `runledger.metrics_prometheus`."""
    return _value(str, "metrics_prometheus", locals())


def fsck(
    scope: str | None = None, workflow_run_id: Id | None = None, *, max_rows: int | None = None
) -> Many[t.FsckFinding]:
    """Violated invariants of the ledger: nothing on a sound one. Calls `runledger.fsck`."""
    return _many(t.FsckFinding, "fsck", locals())


def grant_access(role_name: str, kind: str, *, job_types: Sequence[str] | None = None) -> One[t.AccessGrant]:
    """Make a role a producer, worker, operator or observer. Calls `runledger.grant_access`."""
    return _one(t.AccessGrant, "grant_access", locals())


def revoke_access(role_name: str, kind: str | None = None) -> Many[t.AccessGrant]:
    """Take a kind from a role, or all of them. Calls `runledger.revoke_access`."""
    return _many(t.AccessGrant, "revoke_access", locals())


def list_operator_actions(
    role_name: str | None = None,
    action: str | None = None,
    *,
    object: str | None = None,  # noqa: A002 - the name of its parameter in SQL
    before_action_id: int | None = None,
    max_rows: int | None = None,
) -> Many[t.OperatorAction]:
    """What operators did, newest first. Calls `runledger.list_operator_actions`."""
    return _many(t.OperatorAction, "list_operator_actions", locals())


def why(job_id: Id, organization_id: Id | None = None) -> Many[t.Reason]:
    """Why a job is not running, or what it is doing: ranked, each with its fix. Calls `runledger.why`."""
    return _many(t.Reason, "why", locals())


def health() -> Many[t.HealthCheck]:
    """One row per check, the worst first: what is wrong, and what to run about it. Calls `runledger.health`."""
    return _many(t.HealthCheck, "health", locals())


def why_workflow(workflow_run_id: Id, organization_id: Id | None = None) -> Many[t.StepReason]:
    """Why a run is not done, step by step, each with its fix. Calls `runledger.why_workflow`."""
    return _many(t.StepReason, "why_workflow", locals())


def error_codes() -> Many[t.ErrorCode]:
    """Every error with its SQLSTATE, message and hint. Calls `runledger.error_codes`."""
    return _many(t.ErrorCode, "error_codes", locals())


def schema_info() -> One[t.SchemaState]:
    """What is installed. Calls `runledger.schema_info`."""
    return _one(t.SchemaState, "schema_info", locals())
