"""What happens in the demo: what it starts, how things stand, and what people and other programs do meanwhile."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from runledger.client import Client
from runledger.demo.jobs import APPEND_WINDOW, app
from runledger.demo.library import sources, standard_library
from runledger.demo.stage import DemoError
from runledger.types import Json
from runledger.workflow import Workflow

SHOWN_WAITING_SECONDS = 1.5
DELAY_SECONDS = 5.0
PYTHON_2 = 'print "Hello, 2008"\n'
STEP_ENDED = {"succeeded", "failed", "canceled"}
JOB_ENDED = {"done", "dead", "canceled"}

_STEPS = """
select s.step_key, lower(s.status::text), s.execution_kind = 'EXTERNAL', coalesce(q.attempt, 0),
       q.progress_done, q.progress_total, coalesce(s.last_error_code, s.status_reason),
       extract(epoch from coalesce(s.finished_at, now()) - coalesce(s.started_at, s.released_at, s.created_at))::float8
  from runledger.workflow_steps as s
  left join runledger.job_queue as q on q.id = s.job_id
 where s.workflow_run_id = %s
 order by s.ordinal
"""
_JOBS = """
select j.job_id, j.state, j.try, q.run_number, q.progress_done, coalesce(j.due_in, '0')::text,
       coalesce(q.last_error_code, q.status_reason), q.lease_token is null,
       (select count(*) from runledger.job_attempts as a
         where a.job_id = j.job_id and a.disposition = 'RETRY_SCHEDULED')
  from runledger.jobs as j
  join runledger.job_queue as q on q.id = j.job_id
 where q.workflow_run_id is null
"""
_COUNTS = "select j.state, count(*) from runledger.jobs as j group by j.state"
_WORKERS = "select w.worker, w.state, w.leases, w.max_jobs from runledger.worker_status as w"
_RUN = "select r.status::text, r.finished_at is not null from runledger.workflow_runs as r where r.id = %s"


@dataclass(frozen=True, slots=True)
class StepLine:
    """A step of the workflow. `status` is the step's, in lower case; `seconds` since it could start."""

    key: str
    status: str
    is_gate: bool
    attempt: int
    done: int | None
    total: int | None
    error: str | None
    seconds: float

    @property
    def is_package(self) -> bool:
        """Whether it is one of the many."""
        return self.key.startswith("index ")


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job that is no step, under the name the demo has for it. `state` is that of the view jobs."""

    job_id: UUID
    state: str
    tries: str
    run_number: int
    done: int | None
    due_in: str
    reason: str | None
    is_quiet: bool
    retries: int


@dataclass(frozen=True, slots=True)
class Picture:
    """How things stand."""

    run_status: str
    is_run_finished: bool
    steps: Mapping[str, StepLine]
    jobs: Mapping[str, JobLine]
    counts: Mapping[str, int]
    workers: Sequence[tuple[str, str, int, int]]

    @property
    def packages(self) -> list[StepLine]:
        """The steps of the packages."""
        return [step for step in self.steps.values() if step.is_package]


class Story:
    """Starts everything, and does what people and other programs would do meanwhile."""

    def __init__(self, connection: psycopg.Connection[Any], scratch: Path) -> None:
        self._connection = connection
        self._client = Client(connection)
        self._scratch = scratch
        self._did: set[str] = set()
        self._seen: dict[str, str] = {}
        self._approval_since: float | None = None
        self.names: dict[UUID, str] = {}
        self.run_id = UUID(int=0)

    def begin(self, limit: int | None) -> Iterator[str]:
        """Define the types and enqueue; yields what happens, in words."""
        if not sources():
            raise DemoError(f"there are no source files in {standard_library()}")
        app.define(self._client)
        legacy = str(self._scratch / "legacy")
        index = Workflow("stdlib.index")
        index.job("plan", "stdlib.plan", payload={"limit": limit})
        index.gate(APPEND_WINDOW)
        broken = index.job("legacy", "source.check", payload={"path": f"{legacy}/hello.py", "source": PYTHON_2})
        unmet = index.job("legacy publish", "catalog.publish", payload={"path": legacy}, after=broken)
        index.job("legacy clean-up", "scratch.clean", payload={"path": legacy}, after_terminal=[broken, unmet])
        self.run_id = self._client.enqueue_workflow(index).workflow_run_id
        yield f"workflow {index.workflow_type} enqueued: {len(index.steps)} steps, the others it finds itself"
        (self._scratch / "catalog.lock").touch()
        payload = {"path": str(self._scratch)}
        flaky = self._enqueue("flaky", "catalog.publish", payload, idempotency_key="publish the catalog")
        again = self._client.enqueue_job(
            "catalog.publish", payload, stage="flaky", idempotency_key="publish the catalog"
        )
        yield f"flaky, a job with an idempotency key, enqueued twice: {flaky}, then {again.disposition}"
        self._enqueue("poison", "source.check", {"path": str(self._scratch / "old.py"), "source": PYTHON_2})
        self._enqueue("too early", "source.check", {"path": str(self._scratch / "notes.py")})
        self._enqueue("watcher", "stdlib.watch", {})
        now = self._connection.execute("select clock_timestamp()").fetchone()
        assert now  # noqa: S101 - a row it is
        self._enqueue("delayed", "stdlib.recount", {}, run_at=now[0] + timedelta(seconds=DELAY_SECONDS))
        yield f"four more: poison, too early, watcher, and delayed, which is due in {DELAY_SECONDS:.0f} s"

    def _enqueue(self, name: str, job_type: str, payload: Json, **options: Any) -> str:
        # The stage is for people: it shows in the view jobs.
        job = self._client.enqueue_job(job_type, payload, stage=name, **options)
        self.names[job.job_id] = name
        return job.disposition

    def look(self) -> Picture:
        """Read how things stand."""
        execute = self._connection.execute
        status, is_finished = execute(_RUN, (self.run_id,)).fetchone() or ("", False)
        steps = [StepLine(*row) for row in execute(_STEPS, (self.run_id,))]
        jobs = {self.names[row[0]]: JobLine(*row) for row in execute(_JOBS)}
        return Picture(
            status, is_finished, {step.key: step for step in steps}, {name: jobs[name] for name in self.names.values()},
            dict(execute(_COUNTS).fetchall()), execute(_WORKERS).fetchall(),
        )  # fmt: skip

    def act(self, now: Picture) -> Iterator[str]:
        """Do what is to be done in this situation; yields what happened, in words."""
        yield from self._news(now)
        flaky, early, watcher = now.jobs["flaky"], now.jobs["too early"], now.jobs["watcher"]
        approve = now.steps.get("approve")
        if flaky.retries >= 2 and self._once("unlock"):
            (self._scratch / "catalog.lock").unlink()
            yield "  who held the lock of the catalog lets go: the next try of flaky will do"
        if early.state == "dead" and self._once("redrive"):
            (self._scratch / "notes.py").write_text("def remember(): ...\n")
            reason = "the file is there now"
            done = self._client.redrive_dead_letters(reason, "source.check", error_code="source.missing")
            yield f"  the file it missed is there now: redrive_dead_letters() gives {len(done)} job another run"
        if watcher.state == "running" and (watcher.done or 0) >= 5 and self._once("cancel"):
            self._client.cancel_job(watcher.job_id, "seen enough")
            yield "  cancel_job() on watcher: its handler learns of it at its next word"
        if approve and approve.status == "waiting_for_external":
            self._approval_since = self._approval_since or time.monotonic()
            if time.monotonic() > self._approval_since + SHOWN_WAITING_SECONDS and self._once("approve"):
                self._client.complete_external_step(self.run_id, "approve", output={"approved_by": _user()})
                yield f"  complete_external_step() on approve, by {_user()}"

    def _once(self, what: str) -> bool:
        is_new = what not in self._did
        self._did.add(what)
        return is_new

    def _news(self, now: Picture) -> Iterator[str]:
        """Tell of what has changed, but for the many packages."""
        states = {step.key: (step.status, step.error) for step in now.steps.values() if not step.is_package}
        states |= {name: (job.state, job.reason) for name, job in now.jobs.items()}
        for name, (state, reason) in states.items():
            news = _NEWS.get(state, "")
            if self._seen.get(name) != state and news:
                yield f"{name}: {news}{f' ({reason})' if reason and state not in _FINE else ''}"
            self._seen[name] = state

    def is_over(self, now: Picture) -> bool:
        """Whether nothing is left to be done."""
        is_open = any(job.state not in JOB_ENDED or not job.is_quiet for job in now.jobs.values())
        return now.is_run_finished and not is_open and "redrive" in self._did


_FINE = {"running", "succeeded", "done", "waiting_for_external"}
_NEWS = {
    "running": "running", "succeeded": "succeeded", "done": "done", "failed": "failed", "dead": "a dead letter",
    "canceled": "canceled", "retrying": "failed, is retried", "waiting_for_external": "a gate, waits",
}  # fmt: skip


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return str(os.getuid())
