"""Keeps leases alive, from a thread, a loop and a connection of its own: a handler that blocks the worker's loop
cannot lose its lease by that.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Protocol

from runledger import _calls
from runledger._hooks import tell
from runledger._link import ERRORS, Link, brief
from runledger.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from runledger.job import Job, SyncJob

logger = logging.getLogger("runledger")

CHUNK = 1000


class Held(Protocol):
    """A lease as the heartbeat sees it. `until`: when it ends at the latest, on our monotonic clock."""

    job: Job | SyncJob
    job_id: str
    token: int
    until: float
    expires_at: datetime
    ended: bool


class Holder(Protocol):
    """Who holds leases: the worker. Called from the heartbeat's thread, except for `ending`."""

    loop: asyncio.AbstractEventLoop

    def held(self) -> Sequence[Held]:
        """Return all leases that live."""

    def ending(self, lease: Held, verdict: str) -> None:
        """End the handler of a lease: CANCELED, LOST, or EXPIRED when nobody can tell any more."""


class Heartbeat:
    """The thread. A beat every third of a lease, one call for all leases, at most one under way.

    `died` is called from the thread when it ends by an error.
    """

    def __init__(self, holder: Holder, dsn: str, *, config: Config, died: Callable[[], None]) -> None:
        self.error: Exception | None = None
        self._died = died
        self._holder = holder
        self._period = config.lease_ttl_seconds / 3
        self._dsn = dsn
        self._config = config
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._stopped: asyncio.Event | None = None
        self._answered = True
        self._thread = threading.Thread(target=self._main, name="runledger-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin; the first beat comes a third of a lease from now."""
        self._thread.start()

    def stop(self) -> None:
        """End; a call under way is waited for, but not long."""
        self._stop.set()
        if self._loop and self._stopped:
            tell(self._loop, self._stopped.set)
        self._thread.join(1.0)

    def _main(self) -> None:
        try:
            asyncio.run(self._beat())
        except Exception as error:  # noqa: BLE001 - the supervisor raises it
            self.error = error
            self._died()

    async def _beat(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        link = Link(self._dsn, self._config, deadline=min(self._period, self._config.call_timeout_seconds))
        wait = self._period
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(wait):
                    await self._stopped.wait()
            except TimeoutError:
                wait = self._period if await self._round(link) else self._period / 4
        await link.close()

    async def _round(self, link: Link) -> bool:
        """Extend every lease; False if a call failed."""
        leases = self._holder.held()
        if leases:
            self._look_at_loop()
        try:
            for start in range(0, len(leases), CHUNK):
                await self._extend(link, leases[start : start + CHUNK])
        except ERRORS as error:
            logger.warning("heartbeat failed: %s", brief(error))
            now = time.monotonic()
            for lease in leases:
                if lease.until <= now and not lease.ended:
                    self._end(lease, "EXPIRED")
            return False
        return True

    async def _extend(self, link: Link, leases: Sequence[Held]) -> None:
        seconds = self._config.lease_ttl_seconds
        call = _calls.heartbeat_jobs(
            [lease.job_id for lease in leases],
            [lease.token for lease in leases],
            lease_seconds=seconds,
        )
        sent = time.monotonic()
        (rows,) = await link.run(call)
        for lease, report in zip(leases, call.read(rows), strict=True):
            if report.disposition != "EXTENDED":
                self._end(lease, report.disposition)
            elif report.lease_expires_at and report.lease_expires_at > lease.expires_at:
                # Not later than before: somebody was changing the row, and it kept its expiry.
                lease.expires_at = report.lease_expires_at
                lease.until = sent + seconds

    def _end(self, lease: Held, verdict: str) -> None:
        if not lease.ended:
            lease.job.canceled.set()
            tell(self._holder.loop, self._holder.ending, lease, verdict)

    def _look_at_loop(self) -> None:
        if not self._answered:
            logger.warning("the worker's event loop does not answer: does an async handler block it?")
        self._answered = False
        tell(self._holder.loop, self._answer)

    def _answer(self) -> None:
        self._answered = True
