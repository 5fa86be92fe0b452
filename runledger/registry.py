"""Which handler does which job type, and how the type is defined in the database."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from runledger import _calls
from runledger.job import DeadLetter
from runledger.types import CatalogChange, JobDefinition, JobRecord, Json, ScheduleChange, Seconds

if TYPE_CHECKING:
    from runledger.client import Client

Handler = Callable[[Any], Awaitable[Json] | Json]
DeadLetterHook = Callable[[JobRecord, DeadLetter], object]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class JobType:
    """A registered handler; `definition` holds the arguments of `define_job` that were given."""

    name: str
    handler: Handler
    is_async: bool
    definition: Mapping[str, Any]
    on_exception: Literal["retry", "panic"] = "retry"
    on_dead_letter: DeadLetterHook | None = None


def _ms(name: str, span: Seconds) -> int:
    seconds = span / timedelta(seconds=1) if isinstance(span, timedelta) else span
    if not round(seconds * 1000) > 0:
        raise ValueError(f"{name} must be longer than zero")
    return round(seconds * 1000)


class Registry:
    """Job types by name. `App` is what one uses; this is what a worker needs of it."""

    def __init__(self, *, catalog: str | None = None) -> None:
        self.catalog = catalog
        self._types: dict[str, JobType] = {}
        self._schedules: dict[str, _calls.One[ScheduleChange]] = {}

    @property
    def job_types(self) -> list[str]:
        """Names of the registered types, sorted."""
        return sorted(self._types)

    def __getitem__(self, name: str) -> JobType:
        return self._types[name]

    def get(self, name: str) -> JobType | None:
        """Return the type of that name, or None."""
        return self._types.get(name)

    def job(self, name: str, **options: Any) -> Callable[[H], H]:
        """Decorate the handler of a job type; `options` are those of `register`."""

        def decorate(handler: H) -> H:
            self.register(name, handler, **options)
            return handler

        return decorate

    def register(
        self,
        name: str,
        handler: Handler,
        *,
        version: int | None = None,
        max_attempts: int | None = None,
        timeout: Seconds | None = None,
        priority: int | None = None,
        max_concurrency: int | None = None,
        retry_base: Seconds | None = None,
        retry_max: Seconds | None = None,
        retry_delays: Mapping[str, Seconds] | None = None,
        on_exception: Literal["retry", "panic"] = "retry",
        on_dead_letter: DeadLetterHook | None = None,
        replace: bool = False,
    ) -> JobType:
        """Register a handler: async, or sync to be run in a thread. A second one needs `replace`.

        Times are seconds or timedeltas; what is None is the database's to choose. `retry_delays` is error code ->
        delay. `on_exception="panic"` makes an exception that is no `Failure` end the job at once.
        """
        if not name.strip():
            raise ValueError("a job type needs a name")
        if name in self._types and not replace:
            raise ValueError(f"job type {name!r} is registered already")
        if not callable(handler):
            raise TypeError(f"the handler of {name!r} cannot be called")
        if on_exception not in ("retry", "panic"):
            raise ValueError('on_exception is "retry" or "panic"')
        definition = {
            "version": version,
            "max_attempts": max_attempts,
            "timeout_seconds": timeout,
            "priority": priority,
            "max_concurrency": max_concurrency,
            "retry_base_ms": None if retry_base is None else _ms("retry_base", retry_base),
            "retry_max_ms": None if retry_max is None else _ms("retry_max", retry_max),
            "retry_delays_ms": None
            if retry_delays is None
            else {code: _ms(f"the delay of {code!r}", span) for code, span in retry_delays.items()},
        }
        given: dict[str, Any] = {key: value for key, value in definition.items() if value is not None}
        is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004 - an object with an async __call__
        )
        _calls.define_job(name, **given)  # refuses what cannot be sent, here and not at the start
        self._types[name] = JobType(name, handler, is_async, given, on_exception, on_dead_letter)
        return self._types[name]

    def schedule(self, name: str, cron: str, *, job_type: str | None = None, **options: Any) -> Callable[[H], H]:
        """Decorate the handler of a job that a schedule starts; `options` are those of `add_schedule`.

        Above `@app.job` it starts that type; alone it registers the handler under the name of the schedule.
        """

        def decorate(handler: H) -> H:
            known = job_type or next((t.name for t in self._types.values() if t.handler is handler), None)
            self.add_schedule(name, cron, job_type=known or self.register(name, handler).name, **options)
            return handler

        return decorate

    def add_schedule(self, name: str, cron: str, *, job_type: str | None = None, **options: Any) -> None:
        """Have a worker create a schedule when it starts; `options` are those of `Client.upsert_schedule`.

        A workflow takes the place of the job: `workflow_type="report", steps=Workflow(…)`. What an operator paused
        stays paused.
        """
        if name in self._schedules:
            raise ValueError(f"schedule {name!r} is registered already")
        self._schedules[name] = _calls.upsert_schedule(name, job_type, cron=cron, **options)

    def schedules(self) -> Iterable[_calls.One[ScheduleChange]]:
        """Yield the calls that create the schedules, in the order of registration."""
        return list(self._schedules.values())

    def definitions(self) -> Iterable[_calls.One[JobDefinition]]:
        """Yield the calls that define the types. They leave alone what an operator switched off or paused."""
        return [_calls.define_job(name, **self._types[name].definition) for name in self.job_types]

    def define(self, client: Client) -> list[JobDefinition]:
        """Define all types in the database. Calls `runledger.define_job` for each.

        A worker does it too when it starts. One whose role may not (42501) only says so in its log and works on: have
        another role call this first, since the worker does not check whether the types exist.
        """
        return [client.run(call) for call in self.definitions()]

    def sync_call(self, *, dry_run: bool | None = None, strict: bool | None = None) -> _calls.Many[CatalogChange]:
        """Return the call that makes the catalog of this app exactly what is registered. See `Client.sync_catalog`."""
        if self.catalog is None:
            raise ValueError('the app owns no catalog: give it a name, App(catalog="billing")')
        definitions, schedules = map(_calls.entry, self.definitions()), map(_calls.entry, self.schedules())
        return _calls.sync_catalog(
            self.catalog, list(definitions), schedules=list(schedules), dry_run=dry_run, strict=strict
        )

    def sync(self, client: Client, *, dry_run: bool | None = None, strict: bool | None = None) -> list[CatalogChange]:
        """Make the catalog exactly what is registered. Calls `runledger.sync_catalog`.

        Unlike `define` it switches off what was registered once and is no more, and takes what is left out as the
        default. What an operator disabled or paused stays so.
        """
        return client.run(self.sync_call(dry_run=dry_run, strict=strict))
