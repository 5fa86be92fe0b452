"""Observers and dead-letter hooks: told after the commit, apart from the loops, and bounded in every way.

An observer is any object with some of these methods, async or not (those run in threads):

    on_job_running(job)                        on_job_lease_lost(job, finished)
    on_job_succeeded(job, finished)            on_job_lease_reaped(reaped)
    on_job_continued(job, finished)            on_job_completion_persist_failed(job, error)
    on_job_failed(job, finished)               on_job_released(job, finished)
    on_schedule_fired(fired)

`finished` is the committed `FinishedJob`, or None for a lease that a heartbeat found lost.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import queue
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

logger = logging.getLogger("runledger")

PATIENCE = 10.0
"""Seconds a hook or an observer may take."""
CROWD = 512
"""Hooks and observers at work at once; what comes on top is dropped and counted."""


class Threads:
    """Daemon threads for handlers and hooks that block; a stuck one keeps nobody from leaving."""

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open = 0
        self._count = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Have a thread call `work`, which must not raise."""
        with self._lock:
            self._open += 1
            if self._open > self._count and self._count < self._limit:
                self._count += 1
                threading.Thread(target=self._serve, name=f"{self._name}-{self._count}", daemon=True).start()
        self._work.put(work)

    async def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Await a blocking function."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            if not future.done():
                future.set_exception(error) if error else future.set_result(result)

        def work() -> None:
            result, error = None, None
            try:
                result = function(*arguments)
            except BaseException as e:  # noqa: BLE001 - it is the caller's
                error = e if isinstance(e, Exception) else RuntimeError(repr(e))
            tell(loop, settle, result, error)

        self.submit(work)
        return await future

    def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._count):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work
            with self._lock:
                self._open -= 1


def tell(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    """Call a function on the loop from another thread; nothing happens if the loop is closed."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        logger.debug("the loop is closed: %s is not told", function)


class Hooks:
    """Runs observers and hooks as tasks of their own."""

    def __init__(self, observers: Sequence[object] = ()) -> None:
        self._observers = tuple(observers)
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: dict[int, asyncio.Task[None]] = {}
        self._threads = Threads(8, "runledger-hook")
        self.dropped = 0

    @property
    def watched(self) -> bool:
        """Whether there is any observer."""
        return bool(self._observers)

    def tell(self, event: str, *facts: Any, token: int = 0, final: bool = True) -> None:
        """Tell the observers. What is said about one lease (`token`) is said in order."""
        for observer in self._observers:
            method = getattr(observer, event, None)
            if method is not None:
                before = self._last.get(token)
                task = self.spawn(self._after(before, method, facts))
                if task and token and not final:
                    self._last[token] = task
        if final:
            self._last.pop(token, None)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Run something bounded beside the loops, or drop it when there is too much already."""
        if len(self._tasks) >= CROWD:
            work.close()
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, 8 …
                logger.warning("observers are too slow: notices dropped", extra={"dropped": self.dropped})
            return None
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call one hook: bounded in time, its errors logged and kept from everybody else."""
        name = getattr(function, "__qualname__", repr(function))
        try:
            async with asyncio.timeout(PATIENCE):
                if inspect.iscoroutinefunction(function):
                    await function(*arguments)
                elif inspect.isawaitable(result := await self._threads.call(function, *arguments)):
                    await result
        except TimeoutError:
            logger.critical("hook %s took longer than %s s", name, PATIENCE)
        except Exception:
            logger.exception("hook %s failed", name)

    async def _after(
        self, before: asyncio.Task[None] | None, method: Callable[..., Any], facts: tuple[Any, ...]
    ) -> None:
        if before is not None:
            await asyncio.wait({before})
        await self.call(method, *facts)

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way, then give it up."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=0.25)
        self._threads.close()
