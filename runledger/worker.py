"""The worker: leases jobs, runs handlers, sends what came of them. The database decides everything about states.

Two exchanges take turns. Each is one round trip and one commit: the outcomes that are ready, then a claim for the
slots that are free. While the server works on one, handlers run and the other one fills. There is no timer that
collects a batch: an exchange starts when one is free and there is something to do.

When the reply of an exchange is lost, the same outcomes are sent again (the database knows them by their tokens)
and the claim is asked for by `leased_jobs`. No handler runs twice under one token.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import traceback
from collections import deque
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from runledger import _calls
from runledger._hooks import Hooks, Threads, tell
from runledger._link import ERRORS, Fate, Link, Links, Rows, brief, fate, pause
from runledger.config import Config
from runledger.errors import LeaseLost, RunledgerError
from runledger.heartbeat import Held
from runledger.job import Continue, DeadLetter, Failure, Job, Success, SyncJob
from runledger.registry import JobType, Registry
from runledger.types import ClaimedJob, FailureKind, FinishedJob, Json, Undecodable

logger = logging.getLogger("runledger")

BATCH_ITEMS = 1000
LARGE_BYTES = 256 << 10
LOST_TOKENS = 10_000
BATCH_BYTES = 8 << 20
IDLE_SECONDS = 60
"""How long a worker asks to be woken; it asks anew at half time."""
LANES = 2
TURN_SECONDS = 0.005
"""How long handlers that wait for nothing may follow each other before others get a turn."""
_FINISH = _calls.finish_jobs([])
_FINISH_SHORT = replace(_FINISH, query=_FINISH.query + _calls.NO_SUCCESS)
_MESSAGE = 6000
_AT = {f.name: at for at, f in enumerate(fields(ClaimedJob))}
_ID, _TOKEN, _TYPE = _AT["job_id"], _AT["lease_token"], _AT["job_type"]
_TIMEOUT, _EXPIRES = _AT["timeout_seconds"], _AT["lease_expires_at"]
_PAYLOAD, _CHECKPOINT, _INPUTS = _AT["payload"], _AT["checkpoint"], _AT["inputs"]


class WorkerStoppedError(Exception):
    """The database says that this worker can never work here; the message says what to look at."""


class Lease:
    """A lease of ours, from the claim until its end is known to be recorded."""

    task: asyncio.Task[None] | None = None  # where its handler runs, from its first step on
    outcome = ""
    failure: tuple[FailureKind, str, str] | None = None
    verdict: str | None = None  # why the handler is made to end; the reason of its release
    ended = False  # the handler has returned
    settled = False  # what came of it is on its way; nothing the handler does matters any more
    amended = False

    def __init__(self, job: Job | SyncJob, type_: JobType | None, *, row: Sequence[Any], until: float) -> None:
        self.job = job
        self.type = type_
        self.until = until
        self.job_id: str = row[0]
        self.token: int = row[1]
        self.expires_at: datetime = row[_EXPIRES]


class Worker:
    """Claims and runs jobs until it is told to stop. `lane` is one exchange; run all of them side by side."""

    def __init__(self, registry: Registry, dsn: str, *, config: Config, hooks: Hooks | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.live: dict[int, Lease] = {}
        self._registry = registry
        self._types = registry.job_types
        self._config = config
        self._hooks = hooks or Hooks()
        self._lanes = [Link(dsn, config) for _ in range(LANES)]
        self._calls = Links(dsn, config)
        self._letters = asyncio.Semaphore(8)
        self._threads = Threads(config.max_global_concurrency, "runledger-job")
        self._ready: deque[Lease] = deque()
        self._new: deque[tuple[JobType, Lease]] = deque()  # handlers on the loop that have not begun
        self._turn = 0
        self._turning = False
        self._waits = False  # the handler that began last waits for something
        self._width = 1  # how many tasks begin handlers at once: one does, unless they wait for something
        self._logs: list[_calls.Call[Any]] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._busy = 0  # handlers at work
        self._reserved = 0  # slots of claims under way
        self._claims: dict[int, _calls.Many[ClaimedJob]] = {}  # by how many they ask for
        self._tries = 0  # refused claims in a row
        self._alarm: asyncio.TimerHandle | None = None  # the earliest deadline of a handler
        self._alarm_at = math.inf
        self._left: list[int] | None = None  # tokens of leases that an earlier process of our name left behind
        self._looking_back = asyncio.Lock()
        self._searching = 0  # lost claims that are looked for
        self._recent: set[int] = set()  # tokens that came meanwhile
        self._found: set[int] = set()  # tokens that were found so: their claim's reply may still come
        self._lost: deque[int] = deque(maxlen=LOST_TOKENS)  # a clock that is set back revives them, not for us
        self._hungry = True  # the last claim found something
        self._full = True  # and as much as it asked for
        self._fed = False  # a claim found something since we asked to be woken
        self._claim_at = 0.0
        self._due_at = math.inf  # when the next job that waits becomes due
        self._woken = False  # somebody said that there is work
        self._announced = False  # the database was told that we are idle
        self._asked_at = -math.inf  # when it was told so
        self._behind = False  # and it said that something is due, which no claim gets: its type is at its limit
        self._telling = asyncio.Lock()  # idle and busy go over two connections: one at a time, or the older one wins
        self._clock: datetime | None = None  # the server's clock at zero of our monotonic one
        self.stopping = False
        self._abandoned = False

    # --- exchanges ---

    async def lane(self, number: int) -> None:
        """Exchange until told to stop and everything that was begun is recorded."""
        link = self._lanes[number]
        async with self._looking_back:
            if self._left is None:
                self._left = await self._look_back(link)
        while True:
            batch, want = self._take()
            if batch or want or self._must_tell():
                self._reserved += want
                if want:
                    self._woken = False
                    if not self._hungry:  # one of us is enough to look at an empty queue, unless it is held up
                        self._claim_at = self.loop.time() + self._poll()
                self._arm()
                try:
                    await self._exchange(link, batch, want)
                finally:
                    self._reserved -= want
                # Handlers that end at once are in the next batch.
                await asyncio.sleep(0)
            elif self._abandoned or (self.stopping and not self.live):
                self.stir(everybody=True)
                return
            else:
                await self._wait()

    def _take(self) -> tuple[list[Lease], int]:
        batch: list[Lease] = []
        size = 0
        while self._ready and len(batch) < BATCH_ITEMS and size < BATCH_BYTES:
            lease = self._ready.popleft()
            size += len(lease.outcome)
            batch.append(lease)
        if self._ready:
            self.stir()
        want = min(self._config.max_global_concurrency - self._busy - self._reserved, self._config.claim_batch_size)
        if want <= 0 or self.stopping or self._abandoned:
            return batch, 0
        due = self.loop.time() >= self._claim_at
        return batch, want if due or (batch and not self._tries) else 0

    async def _wait(self) -> None:
        future = self.loop.create_future()
        self._waiting.append(future)
        self._arm()
        await future

    def _arm(self) -> None:
        """Have a waiting lane claim when it is time."""
        if self._timer:
            self._timer.cancel()
        room = self._config.max_global_concurrency - self._busy - self._reserved
        if self._waiting and room > 0 and not self.stopping:
            self._timer = self.loop.call_at(self._claim_at, self.stir)

    def stir(self, *, everybody: bool = False) -> None:
        """Have a lane look what there is to do."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                if not everybody:
                    return

    def wake(self) -> None:
        """Claim now: somebody says that there is work."""
        self._woken, self._claim_at = True, 0.0
        self.stir()

    async def _exchange(self, link: Link, batch: list[Lease], want: int) -> None:
        extra, self._logs = self._logs, []
        telling = self._must_tell()
        if telling:
            await self._telling.acquire()  # at once: nobody holds it
            self._announced = False
            extra.append(_calls.idle_worker(self._config.worker_id))
        try:
            lost_claim, empty = await self._converse(link, batch, want, extra)
        finally:
            if telling:
                self._telling.release()
        if lost_claim:
            await self._recover(link)
        if empty and not self.stopping:
            await self._rest(link)

    def _must_tell(self) -> bool:
        """Whether no word is wanted any more. With slots free it is: one job now and then changes nothing."""
        is_busy = (self._hungry and self._full) or self._busy >= self._config.max_global_concurrency
        return self._announced and is_busy and not self._telling.locked()

    async def _converse(
        self, link: Link, batch: list[Lease], want: int, extra: list[_calls.Call[Any]]
    ) -> tuple[bool, bool]:
        """Send until there is an answer: was the reply of a claim lost on the way, did a claim find nothing?"""
        empty = False
        lost_claim = False  # a claim was sent whose reply is missing
        for tries in range(1 << 62):
            calls = list(extra)
            if batch:
                calls.append(_finish(batch, watched=self._hooks.watched))
            if want:
                calls.append(self._claim(want))
            if not calls:
                break
            sent = self.loop.time()
            try:
                rows = await link.run(*calls)
            except ERRORS as error:
                what = fate(error)
                if self._abandoned:
                    return False, False
                if what is Fate.STOP:
                    raise WorkerStoppedError(f"this worker cannot work here: {brief(error)}") from error
                state = getattr(error, "sqlstate", None) or ""
                if what is Fate.LATER and state.startswith(("53", "54")):
                    if len(batch) == 1 and not want and _is_too_large(batch[0], state):
                        what = Fate.REFUSED
                    half = (len(batch) + 1) // 2
                    self._ready.extendleft(batch[half:])
                    batch, want = batch[:half], want // 2 if batch else (want + 1) // 2
                if what is Fate.REFUSED or (what is Fate.AGAIN and tries >= 5):
                    await self._apart(link, batch, want, extra=extra, error=error)
                    break
                log = logger.debug if what is Fate.AGAIN else logger.warning
                log("an exchange failed, it is tried again: %s", brief(error))
                if what is Fate.UNKNOWN and want:
                    lost_claim, want = True, 0
                await pause(tries)
            else:
                if batch:
                    self._record(batch, rows[len(extra)])
                if want:
                    self._received(rows[-1], sent=sent, want=want)
                    empty = not rows[-1]
                break
        return lost_claim, empty

    async def _apart(
        self, link: Link, batch: list[Lease], want: int, *, extra: list[_calls.Call[Any]], error: Exception
    ) -> None:
        """Find out which part of a refused exchange was meant; the others must not suffer for it."""
        if extra or (batch and want):
            if batch:
                await self._exchange(link, batch, 0)
            for call in extra:
                try:
                    await link.run(call)
                except ERRORS as refusal:
                    logger.warning("%s failed: %s", call.function, brief(refusal))
            if want:
                await self._exchange(link, [], want)
        elif len(batch) > 1:
            await self._exchange(link, batch[: len(batch) // 2], 0)
            await self._exchange(link, batch[len(batch) // 2 :], 0)
        elif batch:
            code = getattr(error, "code", None) or f"job.outcome_refused.{getattr(error, 'sqlstate', None)}"
            self._amend(batch[0], code)
        else:
            self._tries += 1
            self._hungry = False
            self._claim_at = self.loop.time() + min(30.0, 0.5 * 2 ** min(self._tries, 10))
            logger.error("a claim is refused, it is tried again: %s", brief(error))

    def _claim(self, want: int) -> _calls.Many[ClaimedJob]:
        if want not in self._claims:
            call = _calls.claim_jobs(
                self._config.worker_id, self._types, max_jobs=want, lease_seconds=self._config.lease_ttl_seconds
            )
            self._claims[want] = replace(call, query=_calls.id_as_text(call.query))
        return self._claims[want]

    def _received(self, rows: Rows, *, sent: float, want: int = 1) -> None:
        self._tries = 0
        self._full = len(rows) >= want
        if rows:
            self._hungry = self._fed = True
            self._claim_at = 0.0
            claims = _calls.leased_rows(rows)
            self._clock = claims[0][_EXPIRES] - timedelta(seconds=sent + self._config.lease_ttl_seconds)
            self._dispatch(claims, until=sent + self._config.lease_ttl_seconds)
        else:
            self._hungry = False

    async def _look_back(self, link: Link) -> list[int]:
        """Before the first claim: leases under our name are those of a process that died. It may have begun them."""
        left: list[int] = []
        tries = 0
        while not self._abandoned:
            try:
                (rows,) = await link.run(_calls.leased_jobs(self._config.worker_id, left))
            except ERRORS as error:
                if fate(error) is Fate.STOP:
                    raise WorkerStoppedError(f"this worker cannot work here: {brief(error)}") from error
                tries += 1
                await pause(tries)
                continue
            if not rows:
                break
            left += [row[_TOKEN] for row in rows]
        return left

    async def _recover(self, link: Link) -> None:
        """Run the jobs of a claim whose reply was lost, after making sure of their leases."""
        self._searching += 1
        for tries in range(1 << 62):
            call = _calls.leased_jobs(self._config.worker_id, [*self.live, *(self._left or ()), *self._lost])
            try:
                (rows,) = await link.run(replace(call, query=_calls.id_as_text(call.query)))
                if rows:
                    await self._adopt(link, rows)
                break
            except ERRORS as error:
                if self._abandoned or fate(error) in (Fate.REFUSED, Fate.STOP):
                    break
                await pause(tries)
        self._searching -= 1
        if not self._searching:
            self._recent.clear()

    async def _adopt(self, link: Link, found: Rows) -> None:
        seconds = self._config.lease_ttl_seconds
        sent = self.loop.time()
        beat = _calls.heartbeat_jobs([row[_ID] for row in found], [row[_TOKEN] for row in found], lease_seconds=seconds)
        (rows,) = await link.run(beat)
        kept = [c for c, r in zip(found, beat.read(rows), strict=True) if r.disposition == "EXTENDED"]
        # What came while we asked was not lost, and may have been run and finished by now.
        kept = [row for row in kept if row[_TOKEN] not in self._recent]
        logger.warning("%s leases of a lost reply found again", len(kept))
        self._dispatch(_calls.leased_rows(kept), until=sent + seconds)
        self._found.update(row[_TOKEN] for row in kept)

    async def _rest(self, link: Link) -> None:
        """Nothing to claim: ask to be woken, look once more, then wait for a word, a due job or the next poll."""
        now = self.loop.time()
        first, missed = not self._announced, self._due_at <= now
        if missed and not self._fed and now < self._asked_at + 1.0:
            # Somebody else has it, or clocks differ: ask, but not at once.
            self._due_at = self._asked_at + 1.0
        # While the other exchange tells that we are busy it may be held up: it will come here itself.
        elif (first or missed or now >= self._asked_at + self._patience()) and not self._telling.locked():
            async with self._telling:
                behind = self._behind
                await self._ask_to_be_woken(link, now)
            if first or (self._behind and not behind):  # a job may have come between the claim and this
                self._claim_at = 0.0
                return
        if not (self._woken or self._hungry):  # or the other exchange found work meanwhile
            anew = self._asked_at + self._patience()
            self._claim_at = min(now + self._poll(), self._due_at, anew if anew > now else math.inf)

    def _patience(self) -> float:
        # What was done since may have left something that is due later.
        return 1.0 if self._fed else IDLE_SECONDS / 2

    async def _ask_to_be_woken(self, link: Link, now: float) -> None:
        self._announced, self._asked_at, self._due_at, self._behind = True, now, math.inf, False
        self._fed = False
        until = self.server_time() + timedelta(seconds=IDLE_SECONDS)
        try:
            call = _calls.idle_worker(self._config.worker_id, until)
            (rows,) = await link.run(call)
            if due := call.read(rows).next_due_at:
                # A hair later, not earlier.
                span = (due - self.server_time()).total_seconds() + 0.002
                # Past: it became due this instant, or its type is at its limit. One look more; then polls will do.
                self._behind = span <= 0
                if span > 0:
                    self._due_at = self.loop.time() + span
        except ERRORS as error:
            logger.warning("cannot ask to be woken: %s", brief(error))

    def _poll(self) -> float:
        # Not in step with the rest of the fleet.
        return self._config.poll_interval_ms / 1000 * random.uniform(1.0, 1.3)  # noqa: S311

    def server_time(self) -> datetime:
        """The clock of the database, as well as we know it; ours before the first claim."""
        now = self.loop.time()
        return datetime.now(UTC) if self._clock is None else self._clock + timedelta(seconds=now)

    # --- handlers ---

    def _dispatch(self, claims: Sequence[Sequence[Any]], *, until: float) -> None:
        now = self.loop.time()
        for row in claims:
            token, seconds = row[_TOKEN], row[_TIMEOUT]
            if token in self.live or token in self._found:
                continue
            if self._searching:
                self._recent.add(token)
            type_ = self._registry.get(row[_TYPE])
            kind = Job if type_ is None or type_.is_async else SyncJob
            job = kind(row, deadline=now + max(1, seconds), run=self._call, loop=self.loop)
            lease = self.live[token] = Lease(job, type_, row=row, until=until)
            if type_ is None or Undecodable in (type(row[_PAYLOAD]), type(row[_CHECKPOINT]), type(row[_INPUTS])):
                lease.ended = lease.settled = True
                if type_ is None:
                    self._fail(lease, "TERMINAL", "job.handler_not_registered", "no handler for this job type here")
                else:
                    names = (name for name, at in _AT.items() if type(row[at]) is Undecodable)
                    words = f"Python cannot read its {', '.join(names)}"
                    self._fail(lease, "TERMINAL", "job.payload_undecodable", words)
                continue
            self._busy += 1
            if job.deadline < self._alarm_at:
                self._set_alarm(job.deadline)
            if type_.is_async:
                self._new.append((type_, lease))
            else:
                self._threads.submit(partial(self._run_in_thread, type_, lease))
            if self._hooks.watched:
                self._hooks.tell("on_job_running", job, token=token, final=False)
        self._begin()

    def _begin(self) -> None:
        for _ in range(min(self._width, len(self._new))):
            self.loop.create_task(self._serve())

    async def _serve(self) -> None:
        """Run handlers, the next one in the same task if the last one waited for nothing and left nothing behind.

        A task for each would cost a short job as much as everything else that is done for it here.
        """
        task, context, turn = asyncio.current_task(), copy_context(), self._turn
        assert task is not None  # noqa: S101 - we are one
        if not self._turning:  # first thing after this step: whoever waited finds that the turn is over
            self._turning = True
            self.loop.call_soon(self._end_turn)
        if not self._new:
            self._width = (self._width + 1) // 2
        until = self.loop.time() + TURN_SECONDS
        while self._new and not self._abandoned:
            type_, lease = self._new.popleft()
            if lease.settled:  # given back before it began
                self._ended(lease, None, None)
                continue
            lease.task = task
            if lease.job.canceled.is_set():
                self.loop.call_soon(self._cancel, lease)
            self._waits = True
            await self._run(type_, lease)
            if self._turn != turn:
                return
            self._waits = False
            if task.cancelling() or copy_context() != context or self.loop.time() > until:
                return

    def _end_turn(self) -> None:
        self._turn += 1
        self._turning = False
        if self._new:
            self._width = self._width * 2 if self._waits else 1
            self._begin()

    async def _run(self, type_: JobType, lease: Lease) -> None:
        result, error = None, None
        try:
            result = await type_.handler(lease.job)
        except BaseException as e:  # noqa: BLE001 - whatever it is, the slot comes back and the job is told of
            error = e
        self._ended(lease, result, error)

    def _run_in_thread(self, type_: JobType, lease: Lease) -> None:
        result, error = None, None
        try:
            result = type_.handler(lease.job)
        except BaseException as e:  # noqa: BLE001
            error = e
        tell(self.loop, self._ended, lease, result, error)

    async def _call(self, job: Job | SyncJob, call: _calls.Call[Any]) -> Any:
        try:
            return await self._calls.run(call)
        except LeaseLost:
            lease = self.live.get(job.lease_token)
            if lease and not lease.verdict:
                lease.verdict = "LEASE_LOST"
            raise

    def _ended(self, lease: Lease, result: Any, error: BaseException | None) -> None:
        lease.ended = True
        self._busy -= 1
        if not lease.settled:
            lease.settled = True
            try:
                self._conclude(lease, result, error)
            except Exception as problem:
                logger.exception("%r: what came of it cannot be told", lease.job)
                words = f"what came of it cannot be stored: {type(problem).__name__}"
                self._fail(lease, "TERMINAL", "job.invalid_output", words)
        self.stir()

    def _conclude(self, lease: Lease, result: Any, error: BaseException | None) -> None:
        if lease.verdict and error is not None:
            self._send(lease, f'"outcome":"RELEASE","reason":"{lease.verdict}"')
        elif self.loop.time() >= lease.job.deadline:
            self._timed_out(lease)
        elif error is None:
            self._succeed(lease, result)
        else:
            self._failed(lease, error)

    def _set_alarm(self, at: float) -> None:
        # One timer for all handlers: a timer of its own would cost a short job more than its wrapper.
        if self._alarm:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self.loop.call_at(at, self._overran) if at < math.inf else None

    def _overran(self) -> None:
        """A deadline came: the outcome goes out at once, the slot comes back when the handler has ended."""
        now = self.loop.time()
        for lease in self.held():
            if not lease.settled and lease.job.deadline <= now:
                lease.settled = True
                self._timed_out(lease)
                self._interrupt(lease)
        self._set_alarm(min((x.job.deadline for x in self.live.values() if not x.settled), default=math.inf))
        self.stir()

    def _interrupt(self, lease: Lease) -> None:
        lease.job.canceled.set()
        self._cancel(lease)

    def _cancel(self, lease: Lease) -> None:
        # Not before its first step, nor after its last: the task may have another handler by then.
        if lease.task and not lease.ended:
            lease.task.cancel()

    def held(self) -> Sequence[Lease]:
        """All leases that live. Called from the heartbeat's thread."""
        return list(self.live.copy().values())

    def ending(self, lease: Held, verdict: str) -> None:
        """End a handler whose lease was canceled, is lost or must have run out."""
        assert isinstance(lease, Lease)  # noqa: S101 - ours, from held()
        token = lease.token
        if lease.settled or self.live.get(token) is not lease:
            return
        if verdict == "LOST":  # somebody else's: nothing more to say about it
            del self.live[token]
            self._lost.append(token)
            lease.settled = True
            if self._hooks.watched:
                self._hooks.tell("on_job_lease_lost", lease.job, None, token=token)
        if not lease.verdict:
            logger.warning("%r: %s", lease.job, verdict.lower())
            lease.verdict = verdict
            self._interrupt(lease)
        self.stir()

    # --- outcomes ---

    def _timed_out(self, lease: Lease) -> None:
        self._fail(lease, "TIMEOUT", "job.timeout_exceeded", f"no result within {lease.job.timeout_seconds} s")

    def _succeed(self, lease: Lease, result: Any) -> None:
        code = "job.invalid_output"
        try:
            if isinstance(result, Continue):
                body = '"outcome":"CONTINUE"' + _progress(result)
                code = "job.invalid_continuation_delay"
                body += f',"delay":{_calls.interval(result.after) / timedelta(seconds=1)!r}'
            elif isinstance(result, Success):
                body = '"outcome":"SUCCEEDED"' + _field("output", result.output) + _progress(result)
            else:
                body = '"outcome":"SUCCEEDED"' + _field("output", result)
        except (TypeError, ValueError, RecursionError) as error:
            self._fail(lease, "TERMINAL", code, f"what the handler returned cannot be stored: {error}")
            return
        if len(body) > BATCH_BYTES:
            self._fail(lease, "TERMINAL", "json.too_large", "what the handler returned is too large to be stored")
            return
        self._send(lease, body)

    def _failed(self, lease: Lease, error: BaseException) -> None:
        job = lease.job
        if isinstance(error, Failure):
            put_off = error.not_before
            try:
                if error.after is not None:
                    put_off = self.server_time() + _calls.interval(error.after)
                not_before = "" if put_off is None else f',"not_before":"{_calls.timestamptz(put_off).isoformat()}"'
            except (TypeError, ValueError, OverflowError):
                self._fail(lease, "TERMINAL", "job.invalid_retry_timing", "the handler's retry time makes no sense")
                return
            self._fail(lease, error.kind, error.code, error.message, more=not_before)
            return
        words = f"{type(error).__name__}: {_text(error)}"
        trace = _calls.storable("".join(traceback.format_exception(error))).encode()[-_MESSAGE:].decode(errors="ignore")
        facts = {"exception": type(error).__qualname__, "run_number": job.run_number, "attempt": job.attempt}
        logger.warning("%r raised %s", job, type(error).__name__)
        try:
            self._logs.append(_calls.log_job(job.job_id, "error", message=trace, payload=facts))
        except RunledgerError as refusal:
            logger.warning("a traceback cannot be stored: %s", refusal)
        if lease.type and lease.type.on_exception == "panic":
            self._fail(lease, "PANICKED", "job.handler_panic", f"Job handler panicked: {words}")
        else:
            self._fail(lease, "RETRYABLE", "job.unhandled_exception", words)

    def _fail(self, lease: Lease, kind: FailureKind, code: str, message: str, *, more: str = "") -> None:
        code, message = _calls.storable(str(code)), _calls.storable(str(message))[:_MESSAGE]
        lease.failure = (kind, code, message)
        words = json.dumps({"kind": kind, "error_code": code[:1000], "error_message": message})
        self._send(lease, f'"outcome":"FAILED",{words[1:-1]}{more}')

    def _send(self, lease: Lease, body: str) -> None:
        lease.outcome = f'{{"job_id":"{lease.job_id}","lease_token":{lease.token},{body}}}'
        self._ready.append(lease)

    def _amend(self, lease: Lease, code: str) -> None:
        """An outcome was refused: a mistake that a repetition would only repeat. Fail the job with it, once."""
        logger.error("%r: its outcome is refused: %s", lease.job, code)
        if not lease.amended:
            lease.amended = True
            self._fail(lease, "TERMINAL", code, "what the handler returned was refused by the database")
            self.stir()
            return
        self.live.pop(lease.token, None)
        self._hooks.tell("on_job_completion_persist_failed", lease.job, code, token=lease.token)

    def _record(self, batch: list[Lease], rows: Rows) -> None:
        told = {row[0]: row for row in rows}
        for ordinal, lease in enumerate(batch, 1):
            row = told.get(ordinal)
            if row is None:  # a success, and nobody watches
                self.live.pop(lease.token, None)
                continue
            disposition = row[2]
            if disposition == "INVALID":
                self._amend(lease, row[6])
                continue
            self.live.pop(lease.token, None)
            if disposition == "DEAD_LETTERED" and lease.type and lease.type.on_dead_letter and lease.failure:
                kind, code, message = lease.failure
                final = kind in ("TERMINAL", "PANICKED")
                reason: Any = "FailureKindNonRetryable" if final else "AttemptsExhausted"
                info = DeadLetter(reason, kind, code, message, self._config.worker_id)
                self._hooks.spawn(self.dead_letter(lease.type, lease.job_id, info=info))
            if row[5] is not None:  # a next attempt, which we have asked nobody to tell us of
                span = (row[5] - self.server_time()).total_seconds() + 0.002
                self._due_at = min(self._due_at, self.loop.time() + span)
            if disposition == "LEASE_LOST":
                self._lost.append(lease.token)
                logger.warning("%r: lease lost: %s", lease.job, row[6])
            if self._hooks.watched:
                self._hooks.tell(
                    _EVENTS.get(disposition, "on_job_failed"), lease.job, FinishedJob(*row),
                    token=lease.token,
                )  # fmt: skip

    async def dead_letter(self, type_: JobType, job_id: UUID | str, *, info: DeadLetter) -> None:
        """Call the hook of a type with the job as it was committed."""
        async with self._letters:
            try:
                record = await self._calls.run(_calls.get_job(job_id))
            except ERRORS as error:
                logger.warning("dead-letter hook of %s: the job cannot be read: %s", type_.name, brief(error))
                return
            if record is not None and type_.on_dead_letter:
                await self._hooks.call(type_.on_dead_letter, record, info)

    # --- the end ---

    def stop(self) -> None:
        """Claim no more; lanes end when everything that was begun is recorded."""
        self.stopping = True
        self.stir(everybody=True)

    def interrupt_all(self) -> None:
        """Make async handlers end, and give back the jobs of those that cannot be made to."""
        for lease in self.held():
            if not lease.settled:
                lease.verdict = lease.verdict or SHUTDOWN
                self._interrupt(lease)
        self.release_all(keep_tasks=True)

    def release_all(self, *, keep_tasks: bool = False) -> None:
        """Give back what is still not settled, whatever its handlers do."""
        for lease in self.held():
            if not lease.settled and not (lease.task and keep_tasks):
                lease.settled = True
                self._send(lease, f'"outcome":"RELEASE","reason":"{SHUTDOWN}"')
        self.stir()

    def abandon(self) -> None:
        """Give up: calls under way fail, lanes end."""
        self._abandoned = True
        for link in self._lanes:
            link.abort()
        self._set_alarm(math.inf)
        self.stir(everybody=True)

    async def close(self) -> None:
        """Close the connections."""
        for link in self._lanes:
            await link.close()
        await self._calls.close()
        self._threads.close()


SHUTDOWN = "WORKER_SHUTDOWN"
_EVENTS = {
    "SUCCEEDED": "on_job_succeeded",
    "CONTINUED": "on_job_continued",
    "LEASE_LOST": "on_job_lease_lost",
    "RELEASED": "on_job_released",
}


def _is_too_large(lease: Lease, state: str) -> bool:
    """Whether an outcome is what the server has no room for. One of a few bytes fills neither disk nor memory."""
    return state.startswith("54") or (state == "53200" and len(lease.outcome) > LARGE_BYTES)


def _finish(batch: Sequence[Lease], *, watched: bool) -> _calls.Many[FinishedJob]:
    # The items are JSON text already.
    outcomes = f"[{','.join([lease.outcome for lease in batch])}]"
    return replace(_FINISH if watched else _FINISH_SHORT, params={"outcomes": outcomes})


def _field(name: str, value: Json) -> str:
    return "" if value is None else f',"{name}":{_calls.encode(value)}'


def _progress(result: Success | Continue) -> str:
    return _field("checkpoint", result.checkpoint) + _field("done", result.done) + _field("total", result.total)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - its __str__ is the user's
        return "(no text)"
