"""Random graphs under random fates, compared with the model after each step.

Several runs go on at once, so that batches finish steps of many runs. `pytest --pg-all` runs 10,000 graphs, spread over
the servers of --pg; else 300. RUNLEDGER_SEED repeats one world: its trace stands in the failure.
"""

from __future__ import annotations

import os
import random
from typing import Any
from uuid import UUID

import pytest

from tests.property.model import Run, Step
from tests.support import servers
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger

WORLD = 5
WORLDS = 10
GRAPHS = {False: 300, True: 10_000}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "first_seed" not in metafunc.fixturenames:
        return
    everything = metafunc.config.getoption("--pg-all")
    count = GRAPHS[everything] // (len(servers.versions(metafunc.config.getoption("--pg"))) if everything else 1)
    seeds = [int(os.environ["RUNLEDGER_SEED"])] if "RUNLEDGER_SEED" in os.environ else range(0, count // WORLD, WORLDS)
    metafunc.parametrize("first_seed", seeds)


def some_steps(rand: random.Random, n: int, known: list[str], prefix: str) -> list[Step]:
    """Steps that wait for known ones and for each other, in no order."""
    keys = list(known)
    steps = []
    for i in range(n):
        near = keys[-6:] if rand.random() < 0.5 else keys
        chosen = rand.sample(near, min(len(near), rand.choice((0, 1, 1, 2, 2, 3, 6))))
        step = Step(f"{prefix}{i}", external=rand.random() < 0.2, needs={k: rand.random() < 0.6 for k in chosen})
        if step.external:
            step.on_timeout = rand.choice((None, None, "SUCCEEDED", "FAILED", "CANCELED"))
        else:
            step.max_attempts, step.may_continue = rand.randint(1, 3), rand.random() < 0.4
        steps.append(step)
        keys.append(step.key)
    rand.shuffle(steps)
    return steps


class World:
    """Some runs in the ledger and their models."""

    def __init__(self, q: Ledger, clock: Clock, seed: int) -> None:
        self.q, self.clock, self.rand = q, clock, random.Random(seed)
        self.trace: list[Any] = [f"seed {seed}"]
        self.runs: dict[UUID, Run] = {}
        self.leases: dict[tuple[UUID, str], dict[str, Any]] = {}
        self.stale: list[dict[str, Any]] = []
        self.appended: list[tuple[dict[str, Any], list[str]]] = []
        self.numbers = iter(range(1 << 30))

    def begin(self) -> None:
        steps = some_steps(self.rand, self.rand.choice((1, 2, 4, 7, 10, 14)), [], "s")
        result_step = self.rand.choice([None, *(s.key for s in steps)])
        document = [s.document() for s in steps]
        row = self.q.row("enqueue_workflow", workflow_type="w", steps=document, result_step=result_step)
        self.trace.append(("enqueue", str(row["workflow_run_id"]), document))
        self.runs[row["workflow_run_id"]] = run = Run(steps, result_step)
        assert row["status"] == run.status

    def all(self, *statuses: str) -> list[tuple[UUID, str]]:
        return [(i, k) for i, run in self.runs.items() for k in run.at(*statuses)]

    def claim(self, n: int) -> None:
        self.clock.advance(1)
        ready = self.all("ENQUEUED")
        claimed = self.q.claim(n, lease_seconds=3600)
        self.trace.append(("claim", [(str(c["workflow_run_id"]), c["step_key"]) for c in claimed]))
        assert len(claimed) == min(n, len(ready))
        for c in claimed:
            at = c["workflow_run_id"], c["step_key"]
            step = self.runs[at[0]].steps[at[1]]
            assert step.status == "ENQUEUED"
            step.status, step.attempt = "RUNNING", step.attempt + 1
            assert (c["attempt"], c["run_number"]) == (step.attempt, step.run_number)
            assert c["inputs"] == {k: self.runs[at[0]].steps[k].output for k in step.needs}
            self.leases[at] = {k: c[k] for k in ("job_id", "lease_token")}

    def finish(self, share: float, outcomes: str) -> None:
        """outcomes: letters to draw from; Success, Failure, Terminal, Continue, Release."""
        batch, told = [], []
        for at, lease in list(self.leases.items()):
            if self.rand.random() < share:
                kind = self.rand.choice(outcomes)
                batch.append({**lease, **self._outcome(kind)})
                told.append((at, kind, batch[-1]))
        if not batch:
            return
        self.trace.append(("finish", [(str(at[0]), at[1], kind) for at, kind, _ in told]))
        for ((run_id, key), kind, item), row in zip(told, self.q.finish(*batch), strict=True):
            run = self.runs[run_id]
            step = run.steps[key]
            expected = self._expected(step, kind)
            assert row["disposition"] == expected, (key, kind, row)
            if expected == "INVALID":
                assert row["code"] == "job.workflow_handler_continuation_not_enabled"
                continue
            self.stale.append(self.leases.pop((run_id, key)))
            if expected == "SUCCEEDED":
                run.end(key, "SUCCEEDED", item["output"])
            elif expected == "DEAD_LETTERED":
                run.end(key, "FAILED")
            else:
                step.status = "ENQUEUED"
                if expected == "CONTINUED":
                    step.attempt, step.run_number = 0, step.run_number + 1
                elif expected == "RELEASED":
                    step.attempt -= 1

    def _outcome(self, kind: str) -> dict[str, Any]:
        error = {"error_code": "e.x", "error_message": "it broke"}
        return {
            "S": {"outcome": "SUCCEEDED", "output": {"n": next(self.numbers)}},
            "F": {"outcome": "FAILED", **error},
            "T": {"outcome": "FAILED", "kind": "TERMINAL", **error},
            "C": {"outcome": "CONTINUE"},
            "R": {"outcome": "RELEASE", "reason": "shutdown"},
        }[kind]

    def _expected(self, step: Step, kind: str) -> str:
        if kind == "C":
            return "CONTINUED" if step.may_continue else "INVALID"
        if kind == "F":
            return "RETRY_SCHEDULED" if step.attempt < step.max_attempts else "DEAD_LETTERED"
        return {"S": "SUCCEEDED", "T": "DEAD_LETTERED", "R": "RELEASED"}[kind]

    def finish_late(self) -> None:
        """A lease that ended, by another outcome than the recorded one or after a cancel: refused, without effect."""
        if self.stale:
            lease = self.rand.choice(self.stale)
            row = self.q.finish_one(lease, "FAILED", kind="PANICKED", error_code="e.late", error_message="late")
            assert row["disposition"] == "LEASE_LOST" or (row["disposition"], row["replayed"]) == (
                "DEAD_LETTERED",
                True,
            )

    def complete(self, outcome: str | None = None) -> None:
        if waiting := self.all("WAITING_FOR_EXTERNAL"):
            run_id, key = self.rand.choice(waiting)
            outcome = outcome or self.rand.choice(("SUCCEEDED", "SUCCEEDED", "FAILED", "CANCELED"))
            output = {"n": next(self.numbers)} if outcome == "SUCCEEDED" else None
            self.trace.append(("complete", str(run_id), key, outcome))
            told = {"workflow_run_id": run_id, "step_key": key, "outcome": outcome, "output": output}
            row = self.q.row("complete_external_step", **told)
            self.runs[run_id].end(key, outcome, output)
            assert (row["status"], row["replayed"], row["run_status"]) == (outcome, False, self.runs[run_id].status)
            assert self.q.row("complete_external_step", **told)["replayed"]

    def append(self) -> None:
        if waiting := self.all("WAITING_FOR_EXTERNAL"):
            run_id, window = self.rand.choice(waiting)
            run = self.runs[run_id]
            steps = some_steps(self.rand, self.rand.randint(1, 4), list(run.steps), f"a{next(self.numbers)}_")
            told = {
                "workflow_run_id": run_id, "mutation_key": f"m{next(self.numbers)}", "append_window": window,
                "steps": [s.document() for s in steps],
            }  # fmt: skip
            self.trace.append(("append", str(run_id), told["steps"]))
            rows = self.q.rows("append_workflow_steps", **told)
            run.append(steps)
            assert [(r["step_key"], r["status"], r["disposition"]) for r in rows] == [
                (s.key, s.status, "APPENDED") for s in steps
            ]
            self.appended.append((told, [s.key for s in steps]))

    def append_again(self) -> None:
        if self.appended:
            told, keys = self.rand.choice(self.appended)
            rows = self.q.rows("append_workflow_steps", **told)
            assert [(r["step_key"], r["disposition"]) for r in rows] == [(k, "ALREADY_APPLIED") for k in keys]

    def cancel_job(self) -> None:
        if at := self.all("ENQUEUED", "RUNNING"):
            run_id, key = self.rand.choice(at)
            self.trace.append(("cancel job", str(run_id), key))
            job_id = self.q.db.value(
                "select job_id from runledger.workflow_steps where workflow_run_id = %s and step_key = %s",
                [run_id, key],
            )
            assert self.q.row("cancel_job", job_id=job_id)["disposition"] == "CANCELED"
            self.runs[run_id].end(key, "CANCELED")
            self._lose((run_id, key))

    def cancel_run(self) -> None:
        run_id = self.rand.choice(list(self.runs))
        self.trace.append(("cancel run", str(run_id)))
        expected = "CANCELED" if self.runs[run_id].open else "UNCHANGED"
        self.runs[run_id].cancel()
        row = self.q.row("cancel_workflow", workflow_run_id=run_id)
        assert (row["disposition"], row["status"]) == (expected, self.runs[run_id].status)
        for at in [at for at in self.leases if at[0] == run_id]:
            self._lose(at)

    def _lose(self, at: tuple[UUID, str]) -> None:
        if at in self.leases and self.runs[at[0]].steps[at[1]].status != "RUNNING":
            self.stale.append(self.leases.pop(at))

    def let_time_pass(self) -> None:
        """Every lease and every gate with a time limit that is open now runs out."""
        gates = [(i, k) for i, k in self.all("WAITING_FOR_EXTERNAL") if self.runs[i].steps[k].on_timeout]
        self.trace.append(("time passes", [(str(i), k) for i, k in self.leases], [(str(i), k) for i, k in gates]))
        self.clock.advance(4000)
        self.q.rows("run_maintenance")
        self.clock.advance(31)
        for run_id, key in self.leases:
            step = self.runs[run_id].steps[key]
            if step.attempt < step.max_attempts:
                step.status = "ENQUEUED"
            else:
                self.runs[run_id].end(key, "FAILED")
        for run_id, key in gates:
            self.runs[run_id].end(key, self.runs[run_id].steps[key].on_timeout or "")
        self.stale += self.leases.values()
        self.leases.clear()

    def check(self) -> None:
        ids = list(self.runs)
        rows = self.q.db.all(
            """select r.id, r.status::text, r.finished_at is not null as is_over, r.steps_total, r.steps_active,
                      r.steps_waiting, r.steps_failed, r.steps_succeeded, r.result
                 from runledger.workflow_runs as r where r.id = any (%s)""", [ids],
        )  # fmt: skip
        assert {r.pop("id"): tuple(r.values()) for r in rows} == {i: run.as_row() for i, run in self.runs.items()}
        rows = self.q.db.all(
            """select s.workflow_run_id, s.step_key, s.status::text, s.dependency_count_total as total,
                      s.dependency_count_pending as pending, s.dependency_count_unsatisfied as unsatisfied,
                      s.released_at is not null as released, q.status::text as job, q.run_number, q.attempt
                 from runledger.workflow_steps as s left join runledger.job_queue as q on q.id = s.job_id
                where s.workflow_run_id = any (%s)""", [ids],
        )  # fmt: skip
        actual: dict[UUID, dict[str, Any]] = {i: {} for i in ids}
        for r in rows:
            actual[r["workflow_run_id"]][r["step_key"]] = (
                r["status"], r["total"], r["pending"], r["unsatisfied"], r["released"],
                (r["job"], r["run_number"], r["attempt"]) if r["job"] else None,
            )  # fmt: skip
        expected = {i: run.as_steps() for i, run in self.runs.items()}
        assert actual == expected
        jobs = self.q.db.value("select count(*) from runledger.job_queue where workflow_run_id = any (%s)", [ids])
        assert jobs == sum(state[-1] is not None for run in expected.values() for state in run.values())

    def live(self) -> None:
        for _ in range(WORLD):
            self.begin()
        self.check()
        actions = (
            [lambda: self.claim(self.rand.randint(1, 8))] * 4
            + [lambda: self.finish(0.6, "SSSSSSFFTCR")] * 4
            + [self.complete, self.append, self.append]
        )
        rare = [self.append_again, self.cancel_job, self.cancel_run, self.let_time_pass, self.finish_late]
        for _ in range(self.rand.randint(20, 50)):
            self.rand.choice(rare if self.rand.random() < 0.15 else actions)()
            self.check()
        while any(run.open for run in self.runs.values()):
            self.complete("SUCCEEDED")
            self.claim(1000)
            self.finish(1, "SSSST")
        self.check()


def test_runs_do_what_the_model_says(db: Db, clock: Clock, first_seed: int):
    q = Ledger(db, db.conn)
    q.define("t", retry_base_ms=1, retry_max_ms=1)
    for seed in range(first_seed, first_seed + WORLDS):
        world = World(q, clock, seed)
        try:
            world.live()
        except AssertionError as error:
            raise AssertionError("\n".join([f"{error}", "after:", *map(str, world.trace)])) from error


def test_the_model_is_no_mirror(db: Db, clock: Clock):
    """A release that the ledger did not make is seen."""
    q = Ledger(db, db.conn)
    q.define("t", retry_base_ms=1, retry_max_ms=1)
    world = World(q, clock, 0)
    world.begin()
    world.check()
    next(iter(world.runs.values())).cancel()
    with pytest.raises(AssertionError):
        world.check()
