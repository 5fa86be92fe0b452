"""Runs the loops of a worker process and ends them in order: worker, heartbeat, reaper, scheduler, upkeep, wake-ups."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import platform
import signal
import threading
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from types import FrameType, TracebackType
from typing import Any, Self

import psycopg

from runledger import _calls
from runledger._hooks import Hooks, tell
from runledger._link import ERRORS, Fate, Link, brief, fate, pause
from runledger.config import Config, drawn_name, is_inherited
from runledger.errors import DefinitionUnavailable
from runledger.heartbeat import Heartbeat
from runledger.job import DeadLetter
from runledger.registry import Registry
from runledger.worker import LANES, Worker, WorkerStoppedError

logger = logging.getLogger("runledger")

UPKEEP_SECONDS = 60.0
REGISTER_SECONDS = 30.0
_ABORT_SECONDS = 2.0
_LAST_SECONDS = 0.5


class Supervisor:
    """One worker process. `await run()`, or `with Supervisor(…):` to run it in a thread beside your own code.

    `with` raises what keeps it from starting; what ends it later is logged at once and raised at the end.
    When it has ended it may be started again. A process that was forked from another one gets a worker id of its own,
    unless it was given one.
    """

    def __init__(
        self, registry: Registry, dsn: str = "", *, config: Config | None = None, observers: Sequence[object] = ()
    ) -> None:
        if not registry.job_types:
            raise ValueError("there are no handlers: register job types first")
        self.config = config or Config.from_env()
        self._registry = registry
        self._dsn = dsn
        self._observers = observers
        self._asked = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None
        self._up = threading.Event()
        self._error: BaseException | None = None

    def request_shutdown(self) -> None:
        """Ask for the end, from any thread, as often as you like. `run` returns when it is reached."""
        self._asked.set()
        if loop := self._loop:  # once: a run that ends forgets it
            tell(loop, self._end)

    def _end(self) -> None:
        # The worker first: what is asked to stop does not claim once more while the loops hear of it.
        if self._worker:
            self._worker.stop()
        if self._stop:
            self._stop.set()

    async def run(self, *, signals: bool = False) -> None:
        """Work until `request_shutdown`, or until a loop fails: its error is raised.

        `signals`: SIGTERM and SIGINT ask for the end, a second one exits at once (130). Main thread only.
        """
        if is_inherited(self.config.worker_id):
            self.config = replace(self.config, worker_id=drawn_name())
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._asked.is_set():
            self._stop.set()
        with self._signals() if signals else contextlib.nullcontext():
            hooks = Hooks(self._observers)
            upkeep = Link(self._dsn, self.config)
            try:
                await self._introduce(upkeep)
                logger.info("%s works on %s", self.config.worker_id, ", ".join(sorted(self._registry.job_types)))
                worker = self._worker = Worker(self._registry, self._dsn, config=self.config, hooks=hooks)
                await self._work(worker, upkeep, hooks=hooks)
            finally:
                # What was asked for is reached: it may be entered again.
                self._worker = self._loop = self._stop = None
                self._asked.clear()
                await upkeep.close()

    async def _work(self, worker: Worker, upkeep: Link, *, hooks: Hooks) -> None:
        assert self._stop is not None  # noqa: S101 - run() made it
        heartbeat = Heartbeat(worker, self._dsn, config=self.config, died=self.request_shutdown)
        heartbeat.start()
        lanes = {_task("worker", worker.lane(n)) for n in range(LANES)}
        others = {
            _task("reaper", self._reap(worker, upkeep, hooks)),
            _task("scheduler", self._schedule(worker, upkeep, hooks)),
            _task("upkeep", self._upkeep(upkeep)),
            _task("register", self._register(upkeep)),
            _task("listen", self._listen(worker)),
        }
        asked = _task("shutdown", self._stop.wait())
        self._up.set()
        try:
            done, _ = await asyncio.wait({*lanes, *others, asked}, return_when=asyncio.FIRST_COMPLETED)
            died = next((task for task in done if task is not asked), None)
            logger.info("shutting down")
            await self._drain(worker, lanes)
        finally:
            heartbeat.stop()
            worker.abandon()
            for task in {*lanes, *others, asked}:
                task.cancel()
            await asyncio.wait({*lanes, *others, asked}, timeout=_ABORT_SECONDS)
            await self._leave(upkeep)
            await hooks.drain(10.0)
            await worker.close()
        if heartbeat.error:
            raise heartbeat.error
        for task in ([died] if died else []) + list(lanes):
            if not task.cancelled() and (error := task.exception()):
                raise error
        if died and died in others:
            raise RuntimeError(f"the loop {died.get_name()!r} ended unexpectedly")

    async def _drain(self, worker: Worker, lanes: set[asyncio.Task[None]]) -> None:
        """Let handlers end, then make them, then give their jobs back, each within bounds."""
        worker.stop()
        for step, seconds in (
            (worker.interrupt_all, self.config.shutdown_grace_seconds),
            (worker.release_all, _ABORT_SECONDS),
            (worker.abandon, _ABORT_SECONDS),
        ):
            _, rest = await asyncio.wait(lanes, timeout=seconds)
            if not rest:
                return
            step()

    # --- loops; a call that fails is logged and the loop goes on ---

    async def _introduce(self, link: Link) -> None:
        """Define types and schedules, and register. Tries a few times only: a wrong DSN should be heard of.

        A role that may not define (42501) goes on, without knowing whether its types exist: no verb that such a role
        may call tells it. Jobs of a type that does not exist cannot be enqueued, so the worker idles for it.
        """
        registry = self._registry
        calls: list[_calls.Call[Any]] = [*registry.definitions(), *registry.schedules(), self._registration()]
        tries = 0
        while calls:
            try:
                await link.run(calls[0])
            except psycopg.errors.InsufficientPrivilege:
                refused = calls[0].function
                if refused not in ("define_job", "upsert_schedule"):
                    raise
                words = "this role may not call %s: what it would define must exist already, which is not checked"
                logger.warning(words, refused)
                calls = [call for call in calls if call.function != refused]
                continue
            except DefinitionUnavailable as error:
                # An operator disabled the type: no reason for the rest to stand still.
                logger.warning("schedule %s is not created: %s", calls[0].params.get("name"), error)
            except ERRORS as error:
                tries += 1
                if fate(error) in (Fate.REFUSED, Fate.STOP) or tries > 5:
                    raise
                await pause(tries)
                continue
            del calls[0]

    def _registration(self) -> _calls.Call[Any]:
        facts = {"host": platform.node(), "pid": os.getpid(), "python": platform.python_version()}
        return _calls.register_worker(
            self.config.worker_id,
            self._registry.job_types,
            max_jobs=self.config.max_global_concurrency,
            metadata=facts,
        )

    async def _reap(self, worker: Worker, link: Link, hooks: Hooks) -> None:
        call = _calls.reap_expired_leases(
            self.config.claim_batch_size, retry_delay=self.config.reaper_retry_delay_ms / 1000
        )
        while True:
            full = False
            for reaped in await self._try(link, call) or []:
                full = True
                logger.warning("lease of %s %s expired: %s", reaped.job_type, reaped.job_id, reaped.disposition)
                hooks.tell("on_job_lease_reaped", reaped)
                type_ = self._registry.get(reaped.job_type)
                if reaped.disposition == "DEAD_LETTERED" and type_ and type_.on_dead_letter:
                    words = "the worker lost its lease"
                    info = DeadLetter("LeaseExpired", "LEASE_EXPIRED", "job.lease_expired", words, "reaper")
                    hooks.spawn(worker.dead_letter(type_, reaped.job_id, info=info))
            await asyncio.sleep(0 if full else self.config.reaper_interval_seconds)

    async def _schedule(self, worker: Worker, link: Link, hooks: Hooks) -> None:
        """Fire what is due, then sleep until the next fire is."""
        fire = _calls.fire_due_schedules(self.config.claim_batch_size)
        while True:
            fired = await self._try(link, fire) or []
            for each in fired:
                if each.disposition == "DEFERRED":
                    logger.warning("schedule %s cannot fire: %s", each.name, each.code)
                hooks.tell("on_schedule_fired", each)
            seconds = self.config.schedule_poll_interval_seconds
            if due := await self._try(link, _calls.next_schedule_at()):
                # A hair later, not earlier. Past and nothing fired: somebody else is at it.
                span = (due - worker.server_time()).total_seconds() + 0.002
                seconds = min(seconds, span if span > 0 else 0.0 if fired else 1.0)
            await asyncio.sleep(seconds)

    async def _upkeep(self, link: Link) -> None:
        while True:
            reports = await self._try(link, _calls.run_maintenance()) or []
            await asyncio.sleep(0.1 if any(report.more for report in reports) else UPKEEP_SECONDS)

    async def _register(self, link: Link) -> None:
        while True:
            await asyncio.sleep(REGISTER_SECONDS)
            await self._try(link, self._registration())

    async def _listen(self, worker: Worker) -> None:
        """Wake the worker when one of its types is notified. Through a pooler nothing is heard: polling does it."""
        link = Link(self.config.listen_dsn or self._dsn, self.config)
        keys = {hashlib.sha256(name.encode()).hexdigest()[:16] for name in self._registry.job_types}
        tries = 0
        while True:
            try:
                connection = await link.connect()
                await connection.execute(_calls.LISTEN)
                tries = 0
                worker.wake()  # what was said meanwhile was not heard
                async for notice in connection.notifies():
                    if notice.payload in keys:
                        worker.wake()
            except ERRORS as error:
                logger.warning("wake-ups are not heard for now: %s", brief(error))
            finally:
                await link.close()
            tries += 1
            await pause(tries, longest=30.0)

    async def _try(self, link: Link, call: _calls.Call[Any]) -> Any:
        try:
            (rows,) = await link.run(call)
            return call.read(rows)
        except ERRORS as error:
            if fate(error) is Fate.STOP:
                logger.critical("%s is not for this role or schema: %s", call.function, brief(error))
            else:
                logger.warning("%s failed: %s", call.function, brief(error))
            await asyncio.sleep(1.0)
            return None

    async def _leave(self, link: Link) -> None:
        with contextlib.suppress(*ERRORS, TimeoutError):
            async with asyncio.timeout(_ABORT_SECONDS):
                await link.run(_calls.deregister_worker(self.config.worker_id))

    # --- signals and threads ---

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def handle(_number: int, _frame: FrameType | None) -> None:
            # Not through the loop: a handler that blocks it must not keep the second signal from working.
            if self._asked.is_set():
                os._exit(130)
            self.request_shutdown()

        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def __enter__(self) -> Self:
        def main() -> None:
            try:
                run(self.run())
            except BaseException as error:  # noqa: BLE001 - raised by __enter__ or __exit__
                logger.critical("the worker has ended: %s", brief(error))
                self._error = error
            finally:
                self._up.set()

        self._up.clear()
        self._thread = threading.Thread(target=main, name="runledger", daemon=True)
        self._thread.start()
        self._up.wait()
        error, self._error = self._error, None
        if error:  # who goes on would find out at the end that nobody has worked
            self._thread.join()
            raise error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.request_shutdown()
        if self._thread:
            self._thread.join()
        self._asked.clear()  # the thread may have ended before it was asked to
        fault, self._error = self._error, None
        if fault and error is None:
            raise fault


def run(work: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run`, but a handler that refuses to end does not keep the process from leaving."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        # What handlers left behind, and the calls of those in threads: who waits for one would do so for ever.
        if rest := asyncio.all_tasks(loop):
            for task in rest:
                task.cancel()
            loop.run_until_complete(asyncio.wait(rest, timeout=_LAST_SECONDS))
        loop.close()


def _task(name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(work, name=f"runledger-{name}")


__all__ = ["Supervisor", "WorkerStoppedError", "run"]
