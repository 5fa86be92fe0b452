"""The ledger does what the model does, whatever is called in whatever order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.model.ledger import Divergence, World
from tests.model.run import run
from tests.model.schedules import FIRED
from tests.support.database import Db


@pytest.fixture
def world(db: Db) -> Iterator[World]:
    yield (world := World(db))
    print(world.report())
    world.begin()  # what the last program left overdue is no finding


@pytest.mark.timeout(600)
def test_the_same_programs_each_time(world: World):
    run(world, programs=20, steps=30)
    assert world.programs >= 20
    assert world.steps > 500


def test_a_program_goes_the_same_way_each_time(world: World):
    heard = []
    for _ in range(2):
        world.heard = 0
        run(world, programs=4, steps=20, seed_=2)
        heard.append(world.heard)
    assert heard[0] == heard[1]


def test_what_one_call_leaves_due_the_next_one_fires(world: World):
    world.begin()
    world.do("define_job", job_type="a")
    world.do("upsert_schedule", name="often", job_type="a", cron="*/20 * * * * *", missed="ALL")
    world.advance(timedelta(seconds=(2 * FIRED + 5) * 20))
    fired = [len(world.do("fire_due_schedules")), *(fires(world.do("run_maintenance")) for _ in range(3))]
    assert fired == [FIRED, (FIRED, True), (5, False), (0, False)]


def fires(report: list[dict[str, Any]]) -> tuple[int, bool]:
    [row] = [r for r in report if r["task"] == "fire"]
    return row["affected"], row["more"]


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_programs_of_the_day(world: World):
    import secrets

    seed = secrets.randbelow(1 << 32)
    print(f"seed {seed}")
    run(world, programs=5000, steps=50, seed_=seed)


# What a defect is called: the function, what stands in it, what stands there instead.
DEFECTS = {
    "any token may report": (
        "_require_lease", "or v_job.lease_token is distinct from _require_lease.lease_token", ""),
    "a lease never ends": ("_judge_outcomes", "and q.lease_expires_at > _judge_outcomes.now", ""),
    "a claim is not charged": ("claim_jobs", "attempt = q.attempt + 1", "attempt = greatest(q.attempt, 1)"),
    "no event tells of progress": ("report_progress", "where num_nonnulls(e.stage, e.done, e.total) > 0", "where e.stage is not null"),
    "a lease is reaped as it ends": ("_lock_expired", "q.lease_expires_at < _lock_expired.now", "q.lease_expires_at <= _lock_expired.now"),
    "a requeue keeps the checkpoint": ("_requeue", "checkpoint = case when not _requeue.reset_state then q.checkpoint end", "checkpoint = q.checkpoint"),
    "a prerequisite that failed is as good as one that succeeded": (
        "_advance", "when o.dependency_count_unsatisfied + t.unsatisfied > 0 then 'CANCELED'", ""),
    "a gate times out a moment late": ("_time_out_gates", "s.gate_expires_at <= _time_out_gates.now", "s.gate_expires_at < _time_out_gates.now"),
    "a key is given back under a handler at work": ("_release_active_keys", "and not exists (", "and true or not exists ("),
    "a late fire is not skipped": ("_fire_schedule", "v_schedule.next_fire_at < v_late", "false"),
}  # fmt: skip
QUICK = [
    "any token may report", "a claim is not charged", "a gate times out a moment late", "a key is given back under a handler at work",
]  # fmt: skip


@pytest.mark.corrupts
@pytest.mark.timeout(600)
@pytest.mark.parametrize("defect", [pytest.param(d, marks=[] if d in QUICK else [pytest.mark.soak]) for d in DEFECTS])
def test_a_defect_is_found(world: World, defect: str):
    world.break_verb(*DEFECTS[defect])
    with pytest.raises(Divergence):
        run(world, programs=400, steps=30, shrinks=False)
    print(f"{defect}: found in {world.programs} programs")
