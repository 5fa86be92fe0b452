"""What a workflow run must do, written as what must hold rather than as what to do next.

Counters are counted anew from the edges each time they are asked for, and a run moves by deciding blocked steps until
no more can be decided. It knows nothing of levels, deltas or locks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DONE = {"SUCCEEDED", "FAILED", "CANCELED"}
JOB_STATUS = {"ENQUEUED": "PENDING", "RUNNING": "LEASED", "FAILED": "DEAD_LETTERED"}


@dataclass
class Step:
    key: str
    external: bool = False
    needs: dict[str, bool] = field(default_factory=dict)
    """Prerequisite to whether it must succeed."""
    max_attempts: int = 1
    may_continue: bool = False
    on_timeout: str | None = None
    status: str = "BLOCKED"
    released: bool = False
    attempt: int = 0
    run_number: int = 1
    output: Any = None

    def document(self) -> dict[str, Any]:
        """As enqueue_workflow takes it."""
        doc: dict[str, Any] = {"key": self.key}
        if self.external:
            doc["external"] = True
            if self.on_timeout:
                doc |= {"timeout_seconds": 100, "on_timeout": self.on_timeout}
        else:
            doc |= {"job_type": "t", "max_attempts": self.max_attempts, "allow_continuation": self.may_continue}
        for name, needed in (("after_success", True), ("after_terminal", False)):
            if keys := [k for k, must in self.needs.items() if must is needed]:
                doc[name] = keys
        return doc


class Run:
    def __init__(self, steps: list[Step], result_step: str | None) -> None:
        self.steps = {s.key: s for s in steps}
        self.result_step = result_step
        self.canceled = False
        self.settle()

    def counters(self, step: Step) -> tuple[int, int, int]:
        """Prerequisites: total, pending, unsatisfied."""
        ends = [(self.steps[k].status, must) for k, must in step.needs.items()]
        return (
            len(ends),
            sum(status not in DONE for status, _ in ends),
            sum(must and status in ("FAILED", "CANCELED") for status, must in ends),
        )

    def settle(self) -> None:
        """Decide what can be decided."""
        moved = True
        while moved:
            moved = False
            for step in self.steps.values():
                _, pending, unsatisfied = self.counters(step)
                if step.status == "BLOCKED" and not pending:
                    moved = True
                    if unsatisfied:
                        step.status = "CANCELED"
                    else:
                        step.released = True
                        step.status = "WAITING_FOR_EXTERNAL" if step.external else "ENQUEUED"

    def end(self, key: str, status: str, output: Any = None) -> None:
        step = self.steps[key]
        step.status, step.output = status, output
        self.settle()

    def append(self, steps: list[Step]) -> None:
        self.steps |= {s.key: s for s in steps}
        self.settle()

    def cancel(self) -> None:
        if self.open:
            self.canceled = True
            for step in self.steps.values():
                if step.status not in DONE:
                    step.status = "CANCELED"

    def at(self, *statuses: str) -> list[str]:
        return [s.key for s in self.steps.values() if s.status in statuses]

    @property
    def open(self) -> bool:
        return self.status in ("RUNNING", "WAITING_FOR_EXTERNAL")

    @property
    def status(self) -> str:
        if self.canceled:
            return "CANCELED"
        if self.at("BLOCKED", "ENQUEUED", "RUNNING"):
            return "RUNNING"
        if self.at("WAITING_FOR_EXTERNAL"):
            return "WAITING_FOR_EXTERNAL"
        return "COMPLETED_WITH_ERRORS" if self.at("FAILED", "CANCELED") else "SUCCEEDED"

    def as_row(self) -> tuple[Any, ...]:
        """Status, whether it has an end, counters, result."""
        return (
            self.status,
            not self.open,
            len(self.steps),
            len(self.at("BLOCKED", "ENQUEUED", "RUNNING")),
            len(self.at("WAITING_FOR_EXTERNAL")),
            len(self.at("FAILED", "CANCELED")),
            len(self.at("SUCCEEDED")),
            self.steps[self.result_step].output if self.result_step and self.status == "SUCCEEDED" else None,
        )

    def as_steps(self) -> dict[str, tuple[Any, ...]]:
        """Key to status, counters, whether it was let go, and its job: status, run and attempt, or None."""
        return {
            s.key: (
                s.status, *self.counters(s), s.released,
                None if s.external or not s.released
                else (JOB_STATUS.get(s.status, s.status), s.run_number, s.attempt),
            )
            for s in self.steps.values()
        }  # fmt: skip
