"""The model of workflows: runs, steps, gates. Counters are counted anew whenever they are looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.model.base import MARK, Refused, Told, is_name, plain, refuse_if
from tests.model.jobs import Job, Jobs, Row, columns

OVER = ("SUCCEEDED", "FAILED", "CANCELED")
UNSATISFIED = "workflow.dependency_unsatisfied"


@dataclass(slots=True)
class Step:
    id: str
    workflow_run_id: str
    step_key: str
    execution_kind: str
    payload: Any
    created_at: datetime
    updated_at: datetime
    job_type: str | None = None
    organization_id: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    timeout_seconds: int | None = None
    stage: str | None = None
    allow_continuation: bool = False
    gate_timeout_seconds: int | None = None
    on_timeout: str | None = None
    status: str = "BLOCKED"
    job_id: str | None = None
    gate_expires_at: datetime | None = None
    output: Any = None
    status_reason: str | None = None
    last_error_code: str | None = None
    last_error_message: str | None = None
    released_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(slots=True)
class Run:
    id: str
    workflow_type: str
    started_at: datetime
    created_at: datetime
    updated_at: datetime
    metadata: Any
    organization_id: str | None = None
    idempotency_key: str | None = None
    active_key: str | None = None
    active_key_held: bool = False
    result_step_key: str | None = None
    result: Any = None
    status: str = "RUNNING"
    status_reason: str | None = None
    awaited_until: datetime | None = None
    finished_at: datetime | None = None
    pruned_at: datetime | None = None


@dataclass(slots=True)
class Graph:
    """A run with its steps, and who waits for whom: (prerequisite, dependent) to whether it must succeed."""

    run: Run
    request: Any
    steps: dict[str, Step] = field(default_factory=dict)
    edges: dict[tuple[str, str], bool] = field(default_factory=dict)

    def counters(self, key: str) -> Row:
        ends = [(self.steps[p].status, needed) for (p, d), needed in self.edges.items() if d == key]
        return {
            "dependency_count_total": len(ends),
            "dependency_count_pending": sum(s not in OVER for s, _ in ends),
            "dependency_count_unsatisfied": sum(needed and s in ("FAILED", "CANCELED") for s, needed in ends),
        }

    def at(self, *statuses: str) -> int:
        return sum(s.status in statuses for s in self.steps.values())

    def totals(self) -> Row:
        return {
            "steps_total": len(self.steps), "steps_active": self.at("BLOCKED", "ENQUEUED", "RUNNING"),
            "steps_waiting": self.at("WAITING_FOR_EXTERNAL"), "steps_failed": self.at("FAILED", "CANCELED"),
            "steps_succeeded": self.at("SUCCEEDED"),
        }  # fmt: skip

    def status(self) -> str:
        if self.at("BLOCKED", "ENQUEUED", "RUNNING"):
            return "RUNNING"
        if self.at("WAITING_FOR_EXTERNAL"):
            return "WAITING_FOR_EXTERNAL"
        return "COMPLETED_WITH_ERRORS" if self.at("FAILED", "CANCELED") else "SUCCEEDED"


class Flows(Jobs):
    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self.runs: dict[str, Graph] = {}
        self.mutations: dict[tuple[str, str], Row] = {}
        self.quieted: set[str] = set()

    def dump(self) -> Row:
        return {
            **super().dump(),
            "workflow_runs": {g.run.id: {**columns(g.run), **g.totals()} for g in self.runs.values()},
            "workflow_steps": {
                f"{g.run.id}/{s.step_key}": {**columns(s), **g.counters(s.step_key)}
                for g in self.runs.values() for s in g.steps.values()
            },
            "workflow_step_dependencies": {
                g.run.id: sorted([p, d, "ON_SUCCESS" if needed else "ON_TERMINAL"] for (p, d), needed in g.edges.items())
                for g in self.runs.values() if g.edges
            },
            "workflow_run_mutations": {
                f"{m['workflow_run_id']}/{m['mutation_key']}": {k: plain(v) for k, v in m.items() if k != "request"}
                for m in self.mutations.values()
            },
        }  # fmt: skip

    def moments(self) -> dict[str, set[datetime]]:
        gates = (s for g in self.runs.values() for s in g.steps.values())
        return {**super().moments(), "gate": {s.gate_expires_at for s in gates if s.gate_expires_at}}

    def graph(self, run_id: str, organization_id: str | None = None) -> Graph:
        graph = self.runs.get(run_id)
        if graph is None or (organization_id and graph.run.organization_id != organization_id):
            raise Refused("workflow.run_not_found")
        return graph

    # What a graph must be.

    def check_steps(self, steps: list[Row], there: dict[str, Step]) -> None:
        """The first problem, in the order in which they are promised."""
        refuse_if(not steps, "workflow.invalid_dag_empty")
        keys = [s.get("key") for s in steps]
        problems = []
        for step in steps:
            if not is_name(step.get("key")):
                problems.append("step_key_blank")
            if not step.get("external") and not is_name(step.get("job_type")):
                problems.append("job_type_blank")
            if step.get("external") and "job_type" in step:
                problems.append("external_step_job_type_not_allowed")
        if not problems:
            problems += ["duplicate_step_key"] * any(keys.count(k) > 1 or k in there for k in keys)
            named = [(s["key"], [*s.get("after_success", []), *s.get("after_terminal", [])]) for s in steps]
            problems += ["missing_dependency"] * any(p not in keys and p not in there for _, ps in named for p in ps)
            problems += ["self_dependency"] * any(k in ps for k, ps in named)
            problems += ["duplicate_dependency"] * any(len(ps) > len(set(ps)) for _, ps in named)
        if not problems:
            open_ = {k: {p for p in ps if p in keys} for k, ps in named}
            while ready := [k for k, ps in open_.items() if not ps & set(open_)]:
                for key in ready:
                    del open_[key]
            problems += ["cycle"] * bool(open_)
        refuse_if(problems, f"workflow.invalid_dag_{(problems or [None])[0]}")

    def check_types(self, steps: list[Row]) -> None:
        for step in steps:
            if not step.get("external"):
                self.enabled(step["job_type"], "workflow.definition_not_found_or_disabled")

    @staticmethod
    def canonical(steps: list[Row], org: str | None) -> list[Row]:
        """The request: what was left out stays out, the order of steps and of prerequisites is nothing."""
        return sorted(
            (
                {**{k: v for k, v in s.items() if v is not None and (k, v) not in (("allow_continuation", False), ("stage", "queued"))},
                 "organization_id": s.get("organization_id") or org, "payload": s.get("payload", {}),
                 "after_success": sorted(s.get("after_success", [])), "after_terminal": sorted(s.get("after_terminal", []))}
                for s in steps
            ),
            key=lambda s: s["key"],
        )  # fmt: skip

    # Start and growth.

    def enqueue_workflow(self, told: Told, workflow_type: str, steps: list[Row], metadata: Any = None,
                         organization_id: str | None = None, idempotency_key: str | None = None,
                         active_key: str | None = None, result_step: str | None = None) -> list[Row]:  # fmt: skip
        refuse_if(not is_name(workflow_type), "workflow.invalid_dag_workflow_type_blank")
        refuse_if(idempotency_key is not None and not is_name(idempotency_key, 512), "workflow.invalid_dag_idempotency_key_blank")
        refuse_if(active_key is not None and not is_name(active_key, 512), "workflow.invalid_dag_active_key_blank")
        self.check_steps(steps, {})
        refuse_if(result_step and result_step not in [s["key"] for s in steps], "workflow.invalid_dag_result_step_unknown")
        request = (metadata or {}, active_key, result_step, self.canonical(steps, organization_id))
        for graph in self.runs.values():
            run = graph.run
            if idempotency_key and (workflow_type, organization_id, idempotency_key) == (
                    run.workflow_type, run.organization_id, run.idempotency_key):  # fmt: skip
                refuse_if(graph.request not in (request, MARK), "workflow.enqueue_conflicting_retry")
                return [{"workflow_run_id": run.id, "disposition": "EXISTING", "status": run.status}]
        for graph in self.runs.values():
            run = graph.run
            if active_key and run.active_key_held and (organization_id, active_key) == (run.organization_id, run.active_key):
                return [{"workflow_run_id": run.id, "disposition": "EXISTING_ACTIVE", "status": run.status}]
        self.check_types(steps)
        run = Run(
            self.new_run_id(told, organization_id, workflow_type, idempotency_key), workflow_type, self.now, self.now, self.now, metadata or {},
            organization_id, idempotency_key, active_key, active_key is not None, result_step,
        )  # fmt: skip
        self.runs[run.id] = graph = Graph(run, request)
        self.grow(told, graph, steps)
        return [{"workflow_run_id": run.id, "disposition": "INSERTED", "status": run.status}]

    def new_run_id(self, told: Told, *scope: str | None) -> str:
        """Of a run that maintenance started no row tells."""
        if told.rows and "task" not in told.rows[0]:
            return str(told.take("workflow_run_id", self.runs))
        columns_ = ("organization_id", "workflow_type", "idempotency_key")
        found = [i for i, r in told.dump["workflow_runs"].items() if tuple(r[c] for c in columns_) == scope]
        return (found or [""])[0]

    def append_workflow_steps(self, told: Told, workflow_run_id: str, mutation_key: str, append_window: str,
                              steps: list[Row], metadata: Any = None, organization_id: str | None = None) -> list[Row]:  # fmt: skip
        refuse_if(not is_name(mutation_key, 512), "workflow.append_mutation_key_blank")
        graph = self.graph(workflow_run_id, organization_id)
        request = (append_window, self.canonical(steps, graph.run.organization_id))
        disposition, past = "ALREADY_APPLIED", self.mutations.get((workflow_run_id, mutation_key))
        if past:
            refuse_if(past["request"] != request, "workflow.append_conflicting_retry")
        else:
            disposition = "APPENDED"
            refuse_if(graph.run.finished_at, "workflow.append_terminal_run")
            window = graph.steps.get(append_window)
            if window is None:
                raise Refused("workflow.append_window_missing")
            refuse_if(window.execution_kind != "EXTERNAL", "workflow.append_window_not_external")
            refuse_if(window.status != "WAITING_FOR_EXTERNAL", "workflow.append_window_not_open")
            self.check_steps(steps, graph.steps)
            self.check_types(steps)
            past = {
                "workflow_run_id": workflow_run_id, "mutation_key": mutation_key, "append_window": append_window,
                "metadata": metadata or {}, "step_keys": [s["key"] for s in steps], "created_at": self.now,
                "request": request,
            }  # fmt: skip
            self.mutations[workflow_run_id, mutation_key] = past
            self.grow(told, graph, steps)
        return [
            {"workflow_run_id": workflow_run_id, "step_key": k, "status": graph.steps[k].status, "disposition": disposition}
            for k in past["step_keys"]
        ]

    def grow(self, told: Told, graph: Graph, steps: list[Row]) -> None:
        run = graph.run
        for s in steps:
            key, gate = s["key"], bool(s.get("external"))
            step = Step(told.dump["workflow_steps"][f"{run.id}/{key}"]["id"], run.id, key, "EXTERNAL" if gate else "JOB",
                        s.get("payload", {}), self.now, self.now, s.get("job_type"),
                        s.get("organization_id") or run.organization_id)  # fmt: skip
            if gate:
                step.gate_timeout_seconds, step.on_timeout = s.get("timeout_seconds"), s.get("on_timeout")
            else:
                kind = self.definitions[s["job_type"]]
                step.priority = s.get("priority", kind.default_priority)
                step.max_attempts = s.get("max_attempts", kind.max_attempts)
                step.timeout_seconds = s.get("timeout_seconds", kind.default_timeout_seconds)
                step.stage, step.allow_continuation = s.get("stage", "queued"), s.get("allow_continuation", False)
            graph.steps[key] = step
            graph.edges |= {(p, key): True for p in s.get("after_success", [])}
            graph.edges |= {(p, key): False for p in s.get("after_terminal", [])}
        run.updated_at = self.now
        self.decide(told, graph)

    # How a run moves.

    def decide(self, told: Told, graph: Graph) -> None:
        """Let go or cancel whatever waits for nothing any more, until nothing moves; then the run follows."""
        released, moved = [], graph.run.status != "CANCELED"
        while moved:
            moved = False
            for step in graph.steps.values():
                count = graph.counters(step.step_key)
                if step.status != "BLOCKED" or count["dependency_count_pending"]:
                    continue
                moved = True
                step.updated_at = self.now
                if count["dependency_count_unsatisfied"]:
                    step.status_reason = step.last_error_code = UNSATISFIED
                    self.over(graph, step, "CANCELED")
                    continue
                step.released_at = self.now
                step.status = "ENQUEUED" if step.execution_kind == "JOB" else "WAITING_FOR_EXTERNAL"
                if step.execution_kind == "JOB":
                    step.job_id = told.dump["workflow_steps"][f"{graph.run.id}/{step.step_key}"]["job_id"]
                    released.append(step)
                elif step.gate_timeout_seconds:
                    step.gate_expires_at = self.now + timedelta(seconds=step.gate_timeout_seconds)
        for step in sorted(released, key=lambda s: str(s.job_id)):
            self.new_job(
                str(step.job_id), str(step.job_type), payload=step.payload, organization_id=step.organization_id,
                priority=step.priority, max_attempts=step.max_attempts, timeout_seconds=step.timeout_seconds,
                stage=step.stage, workflow_run_id=graph.run.id,
                event={"workflow_run_id": graph.run.id, "step_key": step.step_key},
            )  # fmt: skip
        self.follow(graph)

    def over(self, graph: Graph, step: Step, status: str) -> None:
        """A step has finished: its dependents count anew."""
        step.status, step.finished_at, step.updated_at, step.gate_expires_at = status, self.now, self.now, None
        graph.run.updated_at = self.now
        for (p, d) in graph.edges:
            if p == step.step_key:
                graph.steps[d].updated_at = self.now

    def follow(self, graph: Graph) -> None:
        run = graph.run
        if run.status != "CANCELED":
            run.status = graph.status()
            run.finished_at = None if run.status in ("RUNNING", "WAITING_FOR_EXTERNAL") else run.finished_at or self.now
        if run.status == "SUCCEEDED" and run.result_step_key and run.result is None:
            run.result = graph.steps[run.result_step_key].output
        self.give_back(graph)

    def give_back(self, graph: Graph) -> None:
        """The active key of a finished run, once no handler can be at work."""
        if graph.run.active_key_held and graph.run.finished_at and not any(
                j.workflow_run_id == graph.run.id and j.lease_token is not None and j.lease_expires_at > self.now  # type: ignore[operator]
                for j in self.jobs.values()):  # fmt: skip
            graph.run.active_key_held, graph.run.updated_at = False, self.now

    def is_quiet(self, job: Job) -> None:
        if job.workflow_run_id:
            self.quieted.add(job.workflow_run_id)

    def finish_jobs(self, told: Told, outcomes: list[Any]) -> list[Row]:
        self.quieted = set()
        rows = super().finish_jobs(told, outcomes)
        if self.quieted:  # whoever hears that one is quiet looks at all runs of the batch
            for row in rows:
                job = self.jobs.get(row["job_id"])
                if job and job.workflow_run_id and (row["status"] or row["code"] == "job.duplicate_item"):
                    self.give_back(self.runs[job.workflow_run_id])
        return rows

    def reap_expired_leases(self, told: Told, max_jobs: int = 100, retry_delay: timedelta = timedelta(seconds=30)) -> list[Row]:
        self.quieted = set()
        rows = super().reap_expired_leases(told, max_jobs, retry_delay)
        for run_id in self.quieted:
            self.give_back(self.runs[run_id])
        return rows

    def own_step(self, job: Job) -> Step:
        [step] = [s for s in self.runs[str(job.workflow_run_id)].steps.values() if s.job_id == job.id]
        return step

    def step_of(self, job: Job, status: str, **end: Any) -> None:
        if not job.workflow_run_id:
            return
        graph, step = self.runs[job.workflow_run_id], self.own_step(job)
        step.updated_at = self.now
        if status == "CORRECTED":
            step.payload = end["payload"]
            return
        if status == "RUNNING":
            step.status, step.started_at = "RUNNING", step.started_at or self.now
            return
        step.status_reason = end.get("reason")
        if status != "CANCELED":  # which keeps what it failed with before
            step.last_error_code, step.last_error_message = end.get("code"), end.get("message")
        if status == "ENQUEUED":
            step.status = "ENQUEUED"
            if end.get("uncharged") == 1:
                step.started_at = None
            return
        step.output = end.get("output")
        self.over(graph, step, status)
        self.decide(self.told, graph)

    def may_continue(self, job: Job) -> bool:
        return not job.workflow_run_id or self.own_step(job).allow_continuation

    def inputs_of(self, job: Job) -> Row:
        if not job.workflow_run_id:
            return super().inputs_of(job)
        graph, key = self.runs[job.workflow_run_id], self.own_step(job).step_key
        return {"step_key": key, "inputs": {p: graph.steps[p].output for p, d in graph.edges if d == key}}

    # Gates and the end of runs.

    def complete_external_step(self, told: Told, workflow_run_id: str, step_key: str, outcome: str = "SUCCEEDED",
                               output: Any = None, reason: str | None = None, error_code: str | None = None,
                               error_message: str | None = None, organization_id: str | None = None) -> list[Row]:  # fmt: skip
        refuse_if(outcome not in OVER, "workflow.external_step_invalid_terminal_status")
        refuse_if(output is not None and outcome != "SUCCEEDED", "workflow.external_step_output_not_allowed")
        refuse_if(error_code is not None and not is_name(error_code), "job.invalid_error_code")
        graph = self.graph(workflow_run_id, organization_id)
        gate = graph.steps.get(step_key)
        if gate is None:
            raise Refused("workflow.external_step_not_found")
        refuse_if(gate.execution_kind != "EXTERNAL", "workflow.external_step_not_external")
        refuse_if(gate.released_at is None, "workflow.external_step_not_waiting")
        replayed = gate.status != "WAITING_FOR_EXTERNAL"
        if replayed:
            same = (gate.status, gate.status_reason, gate.last_error_code, gate.last_error_message)
            refuse_if(same != (outcome, reason, error_code, error_message), "workflow.external_step_conflicting_completion_retry")
            refuse_if(gate.output != output, "workflow.external_step_conflicting_output_retry")
        else:
            self.close_gate(told, graph, gate, outcome, output, reason, error_code, error_message)
        return [{"workflow_run_id": workflow_run_id, "step_key": step_key, "status": outcome, "replayed": replayed,
                 "run_status": graph.run.status}]  # fmt: skip

    def close_gate(self, told: Told, graph: Graph, gate: Step, outcome: str, output: Any, reason: str | None,
                   code: str | None, message: str | None) -> None:  # fmt: skip
        gate.output, gate.status_reason, gate.last_error_code, gate.last_error_message = output, reason, code, message
        self.over(graph, gate, outcome)
        self.decide(told, graph)

    def time_out_gates(self, told: Told) -> int:
        late = [
            (g, s) for g in self.runs.values() for s in g.steps.values()
            if s.gate_expires_at and s.gate_expires_at <= self.now
        ]  # fmt: skip
        for graph, gate in late:
            text = "the gate was not completed in time"
            self.close_gate(told, graph, gate, str(gate.on_timeout), None, "GATE_TIMEOUT", "workflow.gate_timeout", text)
        return len(late)

    def cancel_workflow(self, told: Told, workflow_run_id: str, reason: str | None = None,
                        organization_id: str | None = None) -> list[Row]:  # fmt: skip
        graph = self.graph(workflow_run_id, organization_id)
        run = graph.run
        if run.finished_at:
            return [{"workflow_run_id": run.id, "disposition": "UNCHANGED", "status": run.status}]
        run.status, run.status_reason = "CANCELED", reason or "CANCELED"
        run.finished_at = run.updated_at = self.now
        for step in graph.steps.values():
            if step.status in ("ENQUEUED", "RUNNING"):
                self.cancel(self.jobs[str(step.job_id)], reason)
            if step.status not in OVER:
                step.status, step.status_reason = "CANCELED", reason or "CANCELED"
                step.finished_at = step.updated_at = self.now
                step.gate_expires_at = None
        self.follow(graph)
        self.act("cancel_workflow", run.id, reason)
        return [{"workflow_run_id": run.id, "disposition": "CANCELED", "status": "CANCELED"}]

    def await_workflow(self, told: Told, workflow_run_id: str, until: datetime, organization_id: str | None = None) -> list[Row]:
        refuse_if(until > self.now + timedelta(hours=1), "worker.invalid_idle_time")
        run = self.graph(workflow_run_id, organization_id).run
        if not run.finished_at and (run.awaited_until is None or run.awaited_until < until):
            run.awaited_until = until
        return [{"workflow_run_id": run.id, "status": run.status, "is_finished": run.finished_at is not None,
                 "result_step_key": run.result_step_key, "result": run.result, "finished_at": plain(run.finished_at)}]  # fmt: skip
