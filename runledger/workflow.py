"""Workflows: a builder of the `steps` document, and the handle of a run that waits for its result.

wf = Workflow("profiles.research", result_step="score")
crawl = wf.job("crawl", "crawl.page", payload={"url": "https://example.org"})
approve = wf.gate("approve", timeout=3600, on_timeout="CANCELED")
wf.job("score", "profile.score", after=[crawl, approve])
run = client.enqueue_workflow(wf)
score = client.workflow(run.workflow_run_id).result(timeout=60)
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeGuard, TypeVar
from uuid import UUID

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import PoolTimeout

from runledger import _calls
from runledger.errors import RunledgerError, WorkflowFailed, WorkflowResultNotDeclared, WorkflowResultTimeout
from runledger.types import Json, Seconds, StepOutcome, WorkflowOutcome, WorkflowStatus

logger = logging.getLogger("runledger")

ASK_SECONDS = 3000
"""How far ahead notifications are asked for; `await_workflow` allows an hour. Half-way they are asked for anew."""
TICK_SECONDS = 0.2
"""How soon the ear learns who has come and gone. It costs the server nothing."""

Keys = str | Sequence[str]
"""The key of a step, or several; `job` and `gate` return the key of the step they add."""


class Workflow:
    """Builds `steps`, for `enqueue_workflow` and its kin. It checks nothing: the database does, all of it at once.

    Without a type it holds steps for `append_workflow_steps`, whose `after` may name steps of the run.
    """

    def __init__(
        self,
        workflow_type: str = "",
        *,
        result_step: str | None = None,
        metadata: Mapping[str, Json] | None = None,
        organization_id: UUID | str | None = None,
        idempotency_key: str | None = None,
        active_key: str | None = None,
    ) -> None:
        self.workflow_type = workflow_type
        self.result_step = result_step
        self.metadata, self.organization_id = metadata, organization_id
        self.idempotency_key, self.active_key = idempotency_key, active_key
        self.steps: list[dict[str, Json]] = []

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `runledger.enqueue_workflow`, by name."""
        return dict(vars(self))

    def job(
        self,
        key: str,
        job_type: str,
        *,
        payload: Json = None,
        after: Keys = (),
        after_terminal: Keys = (),
        priority: int | None = None,
        max_attempts: int | None = None,
        timeout: Seconds | None = None,
        stage: str | None = None,
        organization_id: UUID | str | None = None,
        allow_continuation: bool | None = None,
    ) -> str:
        """Add a step that is a job: after success of `after`, and whatever becomes of `after_terminal`.

        The settings are those of `enqueue_job`; what is None is left to the job type. Returns `key`.
        """
        return self._add(locals())

    def gate(
        self,
        key: str,
        *,
        payload: Json = None,
        after: Keys = (),
        after_terminal: Keys = (),
        timeout: Seconds | None = None,
        on_timeout: StepOutcome | None = None,
    ) -> str:
        """Add a step that `complete_external_step` completes, or `timeout` with `on_timeout`. Returns `key`."""
        return self._add({"external": True, **locals()})

    def _add(self, given: Mapping[str, Any]) -> str:
        names = {"after": "after_success", "timeout": "timeout_seconds"}
        step = {names.get(name, name): value for name, value in given.items() if name != "self" and value is not None}
        for name in ("after_success", "after_terminal"):
            keys = step.pop(name, None)
            if keys:
                step[name] = [keys] if isinstance(keys, str) else list(keys)
        self.steps.append(step)
        return str(given["key"])


class Ear:
    """Hears, for all who wait through one client, which runs have finished.

    A thread and a connection of its own, never one of a pool, only while somebody waits. Whoever waits looks for
    himself too: if there is no connection to be had, or a pooler swallows notifications, he is late and no more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[object, tuple[str, Callable[[], object]]] = {}
        self._is_on = False

    @contextlib.contextmanager
    def listening(self, address: str, run_id: UUID, *, wake: Callable[[], object]) -> Iterator[None]:
        """Call `wake`, from the thread, when listening has begun and when the run has finished."""
        me = object()
        with self._lock:
            self._waiting[me] = str(run_id), wake
            if not self._is_on:
                self._is_on = True
                threading.Thread(target=self._main, args=(address,), name="runledger-runs", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                del self._waiting[me]

    def _main(self, address: str) -> None:
        try:
            with psycopg.connect(address, autocommit=True, fallback_application_name="runledger") as connection:
                connection.execute(_calls.LISTEN_RUNS)
                self._hear(connection)
        except (psycopg.Error, OSError) as error:
            logger.info("no notifications of finished runs, they are polled for: %s", error)
            with self._lock:
                self._is_on = False

    def _hear(self, connection: psycopg.Connection[Any]) -> None:
        asked: dict[str, float] = {}
        while runs := self._runs():
            now = time.monotonic()
            asked = {run_id: at for run_id, at in asked.items() if run_id in runs and now < at + ASK_SECONDS / 2}
            for run_id in runs - asked.keys():
                _ask(connection, run_id)
                asked[run_id] = now
                # What had finished before sends nothing.
                self._tell(run_id)
            for notify in connection.notifies(timeout=TICK_SECONDS, stop_after=1):
                self._tell(notify.payload)

    def _runs(self) -> set[str]:
        with self._lock:
            # Off under the same lock: who comes now starts another thread.
            self._is_on = bool(self._waiting)
            return {run_id for run_id, _ in self._waiting.values()}

    def _tell(self, finished: str) -> None:
        with self._lock:
            for run_id, wake in self._waiting.values():
                if run_id == finished:
                    with contextlib.suppress(RuntimeError):  # an event loop that was closed over the wait
                        wake()


def _ask(connection: psycopg.Connection[Any], run_id: str) -> None:
    # A refusal or a locked run costs the notification; a lost connection shows at the next command.
    with contextlib.suppress(psycopg.Error):
        for (now,) in connection.execute(_calls.SERVER_TIME, binary=True).fetchall():
            connection.execute(*_calls.await_workflow(run_id, now + timedelta(seconds=ASK_SECONDS)).statement)


def address(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> str:
    """What opens another connection like this one."""
    return make_conninfo(connection.info.dsn, password=connection.info.password or None)


class _Wait:
    """When to look, and what to make of what is seen; shared by both handles."""

    def __init__(self, timeout: Seconds | None, poll: Seconds) -> None:
        self._poll = max(_calls.patience("poll", poll), 0.01)
        self._end = time.monotonic() + (float("inf") if timeout is None else _calls.patience("timeout", timeout))
        self._is_last = False

    def look(self) -> float:
        """A look begins: seconds it may wait for a connection of the pool."""
        left = self._end - time.monotonic()
        self._is_last = left <= 0  # before the look, so that one comes after the deadline
        return min(max(left, 1.0), ASK_SECONDS)

    def pause(self) -> float:
        """Seconds until the next look, unless woken."""
        return min(max(self._end - time.monotonic(), 0.0), self._poll, ASK_SECONDS)

    def is_over(self, outcome: WorkflowOutcome | None, run_id: UUID) -> TypeGuard[WorkflowOutcome]:
        """Whether the result is there; raises if there is none to come, or if time is up."""
        error: type[RunledgerError]
        if outcome and outcome.result_step_key is None:
            error, code, message = WorkflowResultNotDeclared, "result_not_declared", "the workflow has no result step"
            hint = "Name a result_step when you enqueue it, or read the outputs of its jobs."
        elif outcome and outcome.is_finished:
            if outcome.status == "SUCCEEDED":
                return True
            error, code, message = WorkflowFailed, "result_unsuccessful_terminal", "the workflow did not succeed"
            hint = "workflow_tree() shows which steps failed."
        elif self._is_last:
            error, code, message = WorkflowResultTimeout, "result_wait_timeout", "the workflow is not finished yet"
            hint = "Wait again; workflow_tree() shows what it waits for."
        else:
            return False
        detail = {"workflow_run_id": str(run_id), "status": outcome.status if outcome else None}
        raise error(f"workflow.{code}", message, detail, hint)


L_co = TypeVar("L_co", covariant=True)
Look = Callable[[_calls.Call[WorkflowOutcome], float | None], L_co]
Seen = tuple[WorkflowOutcome, str]


class _Handle(Generic[L_co]):
    def __init__(self, look: Look[L_co], ear: Ear, *, call: _calls.Call[WorkflowOutcome]) -> None:
        self.workflow_run_id = _calls.uuid(call.params["workflow_run_id"])
        self._look, self._ear, self._call = look, ear, call


class WorkflowHandle(_Handle[Seen]):
    """A run, seen from who wants its result; `Client.workflow` makes it. Threads may share it."""

    def status(self) -> WorkflowStatus:
        """How the run stands. Calls `runledger.workflow_result`."""
        return self._look(self._call, None)[0].status

    def result(self, timeout: Seconds | None = 300, poll: Seconds = 1) -> Json:
        """Wait for the output of the result step; None if that step had none. Calls `runledger.workflow_result`.

        Looks every `poll` seconds and when notified. `timeout` 0 looks once, None waits for ever. Raises
        `WorkflowResultNotDeclared` (at once), `WorkflowFailed` or `WorkflowResultTimeout`. Commit first what
        enqueued the run: in an open transaction of yours each look sees what that transaction sees.
        """
        wait, woken, outcome, is_first = _Wait(timeout, poll), threading.Event(), None, True
        with contextlib.ExitStack() as stack:
            while True:
                woken.clear()
                with contextlib.suppress(PoolTimeout):
                    outcome, here = self._look(self._call, wait.look())
                if wait.is_over(outcome, self.workflow_run_id):
                    return outcome.result
                if outcome and is_first:
                    stack.enter_context(self._ear.listening(here, self.workflow_run_id, wake=woken.set))
                    is_first = False
                woken.wait(wait.pause())


class AsyncWorkflowHandle(_Handle[Coroutine[Any, Any, Seen]]):
    """A run, seen from who wants its result; `AsyncClient.workflow` makes it."""

    async def status(self) -> WorkflowStatus:
        """How the run stands. Calls `runledger.workflow_result`."""
        return (await self._look(self._call, None))[0].status

    async def result(self, timeout: Seconds | None = 300, poll: Seconds = 1) -> Json:  # noqa: ASYNC109
        """Wait for the output of the result step; see `WorkflowHandle.result`. Calls `runledger.workflow_result`."""
        wait, woken, outcome, is_first = _Wait(timeout, poll), asyncio.Event(), None, True
        with contextlib.ExitStack() as stack:
            while True:
                woken.clear()
                with contextlib.suppress(PoolTimeout):
                    outcome, here = await self._look(self._call, wait.look())
                if wait.is_over(outcome, self.workflow_run_id):
                    return outcome.result
                if outcome and is_first:
                    wake = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, woken.set)
                    stack.enter_context(self._ear.listening(here, self.workflow_run_id, wake=wake))
                    is_first = False
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait.pause()):
                        await woken.wait()
