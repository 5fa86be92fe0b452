"""What may be changed from a page: each is one SQL function, with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runledger import _calls
from runledger.web._frame import BadRequest
from runledger.web._markup import url

REDRIVEN = 1000
"""Jobs of one redrive, at most."""


@dataclass(frozen=True, slots=True)
class Change:
    """A call, where to go afterwards, and what to say of its result."""

    call: _calls.Call[Any]
    back: str
    said: Callable[[Any], str]


def _field(form: Mapping[str, str], name: str) -> str:
    if not (value := form.get(name)):
        raise BadRequest(f"{name} is missing.")
    return value


def _reason(form: Mapping[str, str]) -> str:
    if not (reason := form.get("reason", "").strip()):
        raise BadRequest("Say a reason: it goes to the record of actions.")
    return reason


def _pause_type(form: Mapping[str, str]) -> Change:
    name = _field(form, "type")
    return Change(
        _calls.pause_job_type(name, _reason(form)),
        url("/type", name=name),
        lambda _: f"{name} is paused: its jobs wait.",
    )


def _resume_type(form: Mapping[str, str]) -> Change:
    name = _field(form, "type")
    return Change(_calls.resume_job_type(name), url("/type", name=name), lambda _: f"{name} is claimed again.")


def _cancel_job(form: Mapping[str, str]) -> Change:
    job = _field(form, "job")
    return Change(
        _calls.cancel_job(job, _reason(form)),
        f"/jobs/{job}",
        lambda done: "It was canceled before." if done.disposition == "UNCHANGED" else "The job is canceled.",
    )


def _requeue_job(form: Mapping[str, str]) -> Change:
    job, run = _field(form, "job"), _field(form, "run_number")
    if not (run.isascii() and run.isdigit() and len(run) < 10):
        raise BadRequest("run_number is a number.")
    return Change(
        _calls.requeue_job(job, _reason(form), expected_run_number=int(run)),
        f"/jobs/{job}",
        lambda done: f"The job waits again, as its run {done.run_number}.",
    )


def _redrive(form: Mapping[str, str]) -> Change:
    job_type, code = _field(form, "job_type"), _field(form, "error_code")
    return Change(
        _calls.redrive_dead_letters(_reason(form), job_type, error_code=code, max_jobs=REDRIVEN),
        "/dead-letters",
        lambda rows: (
            f"{len(rows):,} jobs wait again"
            + (f"; there may be more, {REDRIVEN:,} go at once." if len(rows) == REDRIVEN else ". Steps of runs stay.")
        ),
    )


def _cancel_run(form: Mapping[str, str]) -> Change:
    run = _field(form, "run")
    return Change(
        _calls.cancel_workflow(run, _reason(form)),
        f"/workflows/{run}",
        lambda done: "It had ended before." if done.disposition == "UNCHANGED" else "The run is canceled.",
    )


def _complete_gate(form: Mapping[str, str]) -> Change:
    run, step, outcome = _field(form, "run"), _field(form, "step"), _field(form, "outcome")
    return Change(
        _calls.complete_external_step(run, step, outcome=outcome, reason=form.get("reason") or None),  # type: ignore[arg-type]
        f"/workflows/{run}",
        lambda done: f"The gate has {_ended(done.status)}.",
    )


def _ended(status: str) -> str:
    return {"SUCCEEDED": "succeeded", "FAILED": "failed", "CANCELED": "been canceled"}[status]


def _pause_schedule(form: Mapping[str, str]) -> Change:
    name = _field(form, "schedule")
    return Change(
        _calls.pause_schedule(name, _reason(form)), url("/schedule", name=name), lambda _: "The schedule is paused."
    )


def _resume_schedule(form: Mapping[str, str]) -> Change:
    name = _field(form, "schedule")
    return Change(_calls.resume_schedule(name), url("/schedule", name=name), lambda _: "The schedule fires again.")


CHANGES: Mapping[str, Callable[[Mapping[str, str]], Change]] = {
    "pause-type": _pause_type,
    "resume-type": _resume_type,
    "cancel-job": _cancel_job,
    "requeue-job": _requeue_job,
    "redrive": _redrive,
    "cancel-run": _cancel_run,
    "complete-gate": _complete_gate,
    "pause-schedule": _pause_schedule,
    "resume-schedule": _resume_schedule,
}
