"""Everybody does everything at once to five runs and twenty jobs: nobody may ever meet another crosswise.

A deadlock that is resolved by an error and tried again is a deadlock: none is allowed. RUNLEDGER_SEED repeats the
choices of each hand, not their interleaving.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from typing import Any

import psycopg
import pytest

from tests.anomaly.world import code_of
from tests.concurrency.world import ROLES, document
from tests.support.database import Db
from tests.support.ledger import Ledger

HANDS = 8
JOBS = [f"job{n}" for n in range(20)]
RUNS = [f"run{n}" for n in range(5)]
TYPES = ["hot", "hot", "step", "one"]
PLANS = ["plan0", "plan1", "plan2"]
STEPS = [
    {"key": "a", "job_type": "step"},
    {"key": "b", "job_type": "hot"},
    {"key": "c", "job_type": "one"},
    {"key": "g", "external": True},
    {"key": "t", "external": True, "timeout_seconds": 1, "on_timeout": "FAILED"},
    {"key": "d", "job_type": "step", "after_success": ["a", "b"]},
    {"key": "e", "job_type": "hot", "after_terminal": ["a", "c", "t"]},
    {"key": "h", "external": True, "after_terminal": ["d", "e"]},
]
# What a caller who waits too long or holds too little is told; anything else that is not ours is a defect.
ALLOWED = {"55P03"}


class Hand(threading.Thread):
    """One session that does whatever comes to mind until the time is up."""

    def __init__(self, db: Db, seed: str, until: float) -> None:
        super().__init__(daemon=True)
        self.rand = random.Random(seed)
        self.name, self.until = seed, until
        self.conn = psycopg.connect(db.dsn, autocommit=True)
        self.leases: list[tuple[Any, int]] = []
        self.told: Counter[str] = Counter()
        self.error: str | None = None
        self.calls = sorted(n for n in dir(self) if n.startswith("do_"))
        self.weights = [1 if n in RARE else 4 for n in self.calls]

    def run(self) -> None:
        # Each thing once, then as it comes.
        first = self.rand.sample(self.calls, len(self.calls))
        while time.monotonic() < self.until and not self.error:
            name = first.pop() if first else self.rand.choices(self.calls, self.weights)[0]
            self.told[name] += 1
            try:
                getattr(self, name)()
            except psycopg.Error as error:
                code = code_of(error)
                if not (error.sqlstate or "").startswith("RL") and code not in ALLOWED:
                    self.error = f"{name}: {code} {error} {error.diag.message_detail} {error.diag.context}"
                self.told[f"{name} {code}"] += 1
        self.conn.close()

    # Choices

    def call(self, call: str) -> list[tuple[Any, ...]]:
        return self.conn.execute(f"select * from runledger.{call}".encode()).fetchall()

    def some(self, query: str) -> Any:
        rows = self.conn.execute(query.encode()).fetchall()
        return self.rand.choice(rows)[0] if rows else "00000000-0000-7000-8000-000000000000"

    def job(self) -> Any:
        """Mostly a hot one, at times one of a run."""
        if self.rand.random() < 0.3:
            return self.some(
                "select job_id from runledger.workflow_steps where job_id is not null order by id desc limit 20"
            )
        return self.some("select id from runledger.job_queue where idempotency_key is not null order by id limit 20")

    def hot_run(self) -> Any:
        return self.some("select id from runledger.workflow_runs where active_key is not null order by id desc limit 5")

    def of(self, *values: Any) -> Any:
        return self.rand.choice(values)

    def lease(self) -> tuple[Any, int]:
        """One of mine, or one that somebody else has."""
        if self.leases and self.rand.random() < 0.7:
            return self.leases.pop(self.rand.randrange(len(self.leases)))
        rows = self.conn.execute(
            "select id, lease_token from runledger.job_queue where lease_token is not null limit 20"
        ).fetchall()
        return self.rand.choice(rows) if rows else ("00000000-0000-7000-8000-000000000000", 1)

    def batch(self) -> list[tuple[Any, int]]:
        found = {lease[0]: lease for lease in (self.lease() for _ in range(self.rand.randint(1, 8)))}
        return self.rand.sample(list(found.values()), len(found))

    def arrays(self) -> str:
        batch = self.batch()
        self.leases += batch
        ids, tokens = (",".join(str(lease[n]) for lease in batch) for n in (0, 1))
        return f"'{{{ids}}}', '{{{tokens}}}'"

    # Jobs

    def do_enqueue_job(self) -> None:
        self.call(f"enqueue_job('hot', idempotency_key => '{self.of(*JOBS)}')")

    def do_enqueue_jobs(self) -> None:
        items = [{"job_type": "hot", "idempotency_key": key} for key in self.rand.sample(JOBS, 8)]
        self.call(f"enqueue_jobs({document([*items, {'job_type': 'one'}])})")

    def do_claim_jobs(self) -> None:
        types = ",".join(self.rand.sample(TYPES, self.rand.randint(1, 4)))
        for row in self.call(
            f"claim_jobs('{self.of('w0', 'w1')}', '{{{types}}}', {self.rand.randint(1, 8)}, {self.of(1, 60)}, {self.of(True, False)})"
        ):
            self.leases.append((row[0], row[1]))
        self.leases = self.leases[-30:]

    def do_finish_jobs(self) -> None:
        fates = [
            {"outcome": "SUCCEEDED"}, {"outcome": "SUCCEEDED"}, {"outcome": "CONTINUE"}, {"outcome": "RELEASE", "reason": "r"},
            {"outcome": "FAILED", "error_code": "e", "error_message": "m"},
            {"outcome": "FAILED", "error_code": "e", "error_message": "m", "kind": "TERMINAL"},
        ]  # fmt: skip
        items = [{"job_id": str(i), "lease_token": t, **self.of(*fates)} for i, t in self.batch()]
        self.call(f"finish_jobs({document(items)})")

    def do_succeed_jobs(self) -> None:
        items = [{"job_id": str(i), "lease_token": t, "outcome": "SUCCEEDED"} for i, t in self.batch()]
        self.call(f"finish_jobs({document(items)})")

    def do_one_outcome(self) -> None:
        job, token = self.lease()
        lease = f"'{job}', {token}"
        self.call(self.of(f"succeed_job({lease})", f"fail_job({lease}, 'e', 'm')", f"fail_job({lease}, 'e', 'm', 'TERMINAL')",
                          f"continue_job({lease})", f"release_job({lease}, 'r')"))  # fmt: skip

    def do_report_progress(self) -> None:
        job, token = self.lease()
        self.call(f"report_progress('{job}', {token}, {self.rand.randint(0, 9)}, 9)")

    def do_log(self) -> None:
        self.call(f"log_job('{self.job()}', 'info', 'm')")
        self.call(f"log_jobs({document([{'job_id': str(self.job()), 'level': 'info', 'message': 'm'}] * 2)})")

    def do_start_jobs(self) -> None:
        self.call(f"start_jobs({self.arrays()})")

    def do_heartbeat_jobs(self) -> None:
        self.call(f"heartbeat_jobs({self.arrays()}, {self.of(1, 60)})")

    def do_reap_expired_leases(self) -> None:
        self.call(f"reap_expired_leases({self.of(1, 5, 100)}, '0')")

    def do_cancel_job(self) -> None:
        self.call(f"cancel_job('{self.job()}')")

    def do_requeue_job(self) -> None:
        self.call(f"requeue_job('{self.job()}')")

    def do_redrive_dead_letters(self) -> None:
        self.call("redrive_dead_letters('r')")

    def do_replay_job(self) -> None:
        self.call(f"replay_job('{self.job()}', '{self.of('k', 'l')}', 'r')")

    def do_correct_payload(self) -> None:
        self.call(f"correct_payload('{self.job()}', '{self.rand.randint(0, 9)}', 'r')")

    def do_redact_job(self) -> None:
        self.call(f"redact_job('{self.job()}', 'r')")

    def do_read_bodies(self) -> None:
        self.call(f"job_payload('{self.job()}')")
        self.call(f"job_log_payloads('{self.job()}', '{{1}}')")
        self.call(f"get_workflow_step('{self.hot_run()}', 'a')")

    # Workflows

    def do_enqueue_workflow(self) -> None:
        key = f", idempotency_key => '{self.of('x', 'y')}'" if self.rand.random() < 0.2 else ""
        self.call(f"enqueue_workflow('w', {document(STEPS)}, active_key => '{self.of(*RUNS)}'{key})")

    def do_append_workflow_steps(self) -> None:
        key = f"{self.rand.randint(0, 30)}"
        steps = [{"key": f"s{key}", "job_type": "step", "after_terminal": [self.of("a", "d", "g")]},
                 {"key": f"u{key}", "external": True, "after_success": [f"s{key}"]}]  # fmt: skip
        self.call(f"append_workflow_steps('{self.hot_run()}', '{key}', '{self.of('g', 'h')}', {document(steps)})")

    def do_complete_external_step(self) -> None:
        self.call(
            f"complete_external_step('{self.hot_run()}', '{self.of('g', 'h', 't')}', '{self.of('SUCCEEDED', 'FAILED')}')"
        )

    def do_cancel_workflow(self) -> None:
        self.call(f"cancel_workflow('{self.hot_run()}')")

    def do_await_workflow(self) -> None:
        self.call(f"await_workflow('{self.hot_run()}', clock_timestamp() + interval '1 min')")

    # Schedules, definitions, upkeep

    def do_upsert_schedule(self) -> None:
        if self.rand.random() < 0.5:
            self.call(
                f"upsert_schedule('{self.of(*PLANS)}', '{self.of('hot', 'step', 'one')}', '* * * * * *', missed => '{self.of('ALL', 'ONCE')}')"
            )
        else:
            steps = document(self.rand.sample(STEPS[:3], 3))
            self.call(
                f"upsert_schedule('{self.of(*PLANS)}', null, '* * * * * *', workflow_type => 'w', steps => {steps})"
            )

    def do_switch_schedule(self) -> None:
        self.call(
            f"{self.of('pause_schedule', 'resume_schedule', 'resume_schedule', 'delete_schedule')}('{self.of(*PLANS)}')"
        )

    def do_fire_due_schedules(self) -> None:
        self.call(f"fire_due_schedules({self.of(1, 100)})")

    def do_run_maintenance(self) -> None:
        self.call("run_maintenance()")

    def do_prune(self) -> None:
        self.call(f"prune('2 s', {self.of(3, 50, 1000)}, dead_letters_older_than => '1 s')")

    def do_define_job(self) -> None:
        job_type = self.of("hot", "step", "one")
        self.call(
            f"define_job('{job_type}', max_attempts => {self.rand.randint(1, 3)}, retry_base_ms => 1, retry_max_ms => 1)"
        )
        self.call(f"define_job('one', max_concurrency => {self.rand.randint(0, 3)})")

    def do_switch_job_type(self) -> None:
        # What is off most of the time keeps the others from doing anything.
        verb = self.rand.choices(
            ["pause_job_type", "resume_job_type", "disable_job_type", "enable_job_type"], [1, 4, 1, 4]
        )[0]
        self.call(f"{verb}('{self.of('hot', 'step', 'one')}')")

    def do_set_runtime_config(self) -> None:
        self.call(f"set_runtime_config('{self.of('hot', 'step')}', {document({'n': self.rand.randint(0, 9)})})")

    def do_sync_catalog(self) -> None:
        types = self.rand.sample(["hot", "step", "one", "other"], self.of(3, *[4] * 7))
        plans = self.rand.sample(PLANS, self.rand.randint(0, 3))
        definitions = document(
            [{"job_type": t, "priority": self.rand.randint(1, 9), "retry_base_ms": 1, "retry_max_ms": 1} for t in types]
        )
        schedules = document(
            [{"name": n, "job_type": self.of("hot", "step", "other"), "cron": "* * * * * *"} for n in plans]
        )
        self.call(f"sync_catalog('{self.of('c', 'd')}', {definitions}, {schedules})")

    def do_work_as_a_worker(self) -> None:
        worker = self.of("w0", "w1")
        self.call(self.of(f"register_worker('{worker}', '{{hot,step,one}}')", f"deregister_worker('{worker}')",
                          f"idle_worker('{worker}', clock_timestamp() + interval '1 min')"))  # fmt: skip

    def do_set_retention(self) -> None:
        self.call(f"set_retention('{self.rand.randint(1, 9)} days')")

    def do_grant(self) -> None:
        role = self.of(*ROLES)
        self.call(
            self.of(
                f"grant_access('{role}', '{self.of('producer', 'worker', 'observer')}')", f"revoke_access('{role}')"
            )
        )


RARE = {
    "do_prune", "do_set_retention", "do_grant", "do_redact_job", "do_read_bodies", "do_switch_job_type", "do_define_job",
    "do_sync_catalog", "do_cancel_workflow", "do_run_maintenance",
}  # fmt: skip


def hunt(db: Db, seconds: float) -> Counter[str]:
    """What was done and told, over all hands."""
    seed = int(os.environ.get("RUNLEDGER_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"RUNLEDGER_SEED={seed}")
    database = db.value("select quote_ident(current_database())")
    db.execute(f"alter database {database} set deadlock_timeout = '50ms'")
    for role in ROLES:
        try:
            db.execute(f"create role {role} login")
        except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
            continue
    q = Ledger(db)
    for job_type in ("hot", "step"):
        q.define(job_type, retry_base_ms=1, retry_max_ms=1)
    q.define("one", max_concurrency=2, retry_base_ms=1, retry_max_ms=1)
    q.rows("enqueue_jobs", jobs=[{"job_type": "hot", "idempotency_key": key} for key in JOBS])
    for key in RUNS:
        q.row("enqueue_workflow", workflow_type="w", steps=STEPS, active_key=key)
    until = time.monotonic() + seconds
    hands = [Hand(db, f"{seed} {n}", until) for n in range(HANDS)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join(seconds + 100)
    assert not any(hand.is_alive() for hand in hands)
    assert [hand.error for hand in hands if hand.error] == [], f"RUNLEDGER_SEED={seed}"
    # A backend reports what it counted at the latest when it ends.
    db.execute("select pg_stat_clear_snapshot()")
    assert db.value("select deadlocks from pg_stat_database where datname = current_database()") == 0
    return sum((hand.told for hand in hands), Counter())


def still_hot(told: Counter[str]) -> None:
    """Each thing was tried, and not only in vain, else there was nothing to hunt."""
    tried = {name: n for name, n in told.items() if " " not in name}
    refused = sum(told.values()) - sum(tried.values())
    print(f"{sum(tried.values())} calls, {refused} refused")
    assert {n for n in dir(Hand) if n.startswith("do_")} == set(tried)
    assert refused < sum(tried.values()) / 2, told


@pytest.mark.timeout(300)
def test_nobody_meets_another_crosswise(db: Db):
    still_hot(hunt(db, 8))


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_nobody_meets_another_crosswise_for_ten_minutes(db: Db):
    still_hot(hunt(db, float(os.environ.get("RUNLEDGER_HUNT_SECONDS") or 600)))
