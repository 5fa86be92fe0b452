"""Workflow runs as tests see them: start one, claim and finish its steps by key, look at what became of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.support.ledger import Ledger


def step(key: str, after: Any = (), always: Any = (), job_type: str = "t", **settings: Any) -> dict[str, Any]:
    """A step that needs the success of `after` and the end of `always` (keys, or one key)."""
    return {"key": key, "job_type": job_type, **_edges(after, always), **settings}


def gate(key: str, after: Any = (), always: Any = (), **settings: Any) -> dict[str, Any]:
    return {"key": key, "external": True, **_edges(after, always), **settings}


def _edges(after: Any, always: Any) -> dict[str, list[str]]:
    names = {"after_success": after, "after_terminal": always}
    return {n: [keys] if isinstance(keys, str) else list(keys) for n, keys in names.items() if keys}


class Flow:
    """One run. `leases` of all runs are shared: a claim takes what comes first, not what a test asks for."""

    def __init__(self, q: Ledger, run_id: UUID, leases: dict[tuple[UUID, str], dict[str, Any]]) -> None:
        self.q, self.id, self.leases = q, run_id, leases

    @property
    def run(self) -> dict[str, Any]:
        return self.q.db.one("select * from runledger.workflow_runs where id = %s", [self.id])

    @property
    def status(self) -> str:
        status: str = self.run["status"]
        return status

    def states(self) -> dict[str, str]:
        """Status by key, in the order of the run."""
        rows = self.q.db.all(
            "select step_key, status::text from runledger.workflow_steps where workflow_run_id = %s order by ordinal",
            [self.id],
        )
        return {r["step_key"]: r["status"] for r in rows}

    def step(self, key: str) -> dict[str, Any]:
        return self.q.db.one(
            "select * from runledger.workflow_steps where workflow_run_id = %s and step_key = %s", [self.id, key]
        )

    def counters(self, key: str) -> tuple[int, int, int]:
        """Prerequisites of a step: total, pending, unsatisfied."""
        found = self.step(key)
        return tuple(found[f"dependency_count_{n}"] for n in ("total", "pending", "unsatisfied"))  # type: ignore[return-value]

    def job_id(self, key: str) -> UUID:
        job_id: UUID = self.step(key)["job_id"]
        return job_id

    def jobs(self) -> list[dict[str, Any]]:
        return self.q.db.all("select * from runledger.job_queue where workflow_run_id = %s order by id", [self.id])

    def claim(self, **settings: Any) -> list[dict[str, Any]]:
        """Claim everything that is due, of every run."""
        types = self.q.db.column("select job_type from runledger.job_definitions")
        claimed = self.q.rows(
            "claim_jobs", **{"worker_id": "w1", "job_types": types, "max_jobs": 1000, "lease_seconds": 60, **settings}
        )
        for c in claimed:
            self.leases[c["workflow_run_id"], c["step_key"]] = {k: c[k] for k in ("job_id", "lease_token")}
        return claimed

    def lease(self, key: str, **settings: Any) -> dict[str, Any]:
        """The lease of a step, claimed now unless it was before."""
        if (self.id, key) not in self.leases:
            self.claim(**settings)
        return self.leases[self.id, key]

    def finish(self, key: str, outcome: str = "SUCCEEDED", **fields: Any) -> dict[str, Any]:
        lease = self.lease(key)
        del self.leases[self.id, key]
        return self.q.finish_one(lease, outcome, **fields)

    def succeed(self, *keys: str) -> None:
        for key in keys:
            assert self.finish(key, output={"of": key})["disposition"] == "SUCCEEDED"

    def fail(self, *keys: str) -> None:
        for key in keys:
            row = self.finish(key, "FAILED", kind="TERMINAL", error_code="e.x", error_message="it broke")
            assert row["disposition"] == "DEAD_LETTERED"

    def complete(self, key: str, outcome: str = "SUCCEEDED", **fields: Any) -> dict[str, Any]:
        return self.q.row("complete_external_step", workflow_run_id=self.id, step_key=key, outcome=outcome, **fields)

    def append(self, *steps: dict[str, Any], window: str = "g", key: str = "k", **fields: Any) -> list[dict[str, Any]]:
        return self.q.rows(
            "append_workflow_steps", workflow_run_id=self.id, mutation_key=key, append_window=window, steps=list(steps),
            **fields,
        )  # fmt: skip

    def cancel(self, **fields: Any) -> dict[str, Any]:
        return self.q.row("cancel_workflow", workflow_run_id=self.id, **fields)

    def cancel_job(self, key: str, **fields: Any) -> dict[str, Any]:
        return self.q.row("cancel_job", job_id=self.job_id(key), **fields)

    def snapshot(self) -> list[Any]:
        """Everything the ledger holds of workflows, and all jobs and events."""
        tables = ("workflow_runs", "workflow_steps", "workflow_step_dependencies", "workflow_run_mutations",
                  "job_queue", "job_events")  # fmt: skip
        return [self.q.db.all(f"select x::text from runledger.{t} as x order by 1") for t in tables]


class Flows:
    """Starts runs."""

    def __init__(self, q: Ledger) -> None:
        self.q = q
        self.leases: dict[tuple[UUID, str], dict[str, Any]] = {}

    def __call__(self, *steps: dict[str, Any], workflow_type: str = "w", **settings: Any) -> Flow:
        row = self.q.row("enqueue_workflow", workflow_type=workflow_type, steps=list(steps), **settings)
        assert row["disposition"] == "INSERTED"
        return Flow(self.q, row["workflow_run_id"], self.leases)
