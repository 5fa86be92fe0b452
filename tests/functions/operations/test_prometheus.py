"""metrics_prometheus: the text is what the format wants, and each family says what its help says."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from tests.functions.operations.test_metrics import roll_up_all
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import LATER, TENANT, Ledger
from tests.support.prometheus import Family, parse


def scrape(q: Ledger) -> dict[str, Family]:
    text: str = q.row("metrics_prometheus")["metrics_prometheus"]
    return parse(text)


def of_type(found: dict[str, Family], name: str, job_type: str = "t") -> float | dict[str, float]:
    """The sample of that type, or its samples by outcome."""
    samples = found[f"runledger_{name}"].of(job_type=job_type)
    return samples[""] if set(samples) == {""} else samples


def test_an_empty_ledger_shows_every_family_and_zeros(db: Db, q: Ledger):
    found = scrape(q)
    assert len(found) == 18
    assert all(family.samples for family in found.values())
    info, = found["runledger_schema_info"].samples.items()
    assert dict(info[0][1]).keys() == {"contract", "migration_head", "package_version"}
    assert info[1] == 1
    del found["runledger_schema_info"]
    assert {v for family in found.values() for v in family.samples.values()} == {0}


def test_what_waits_and_runs(q: Ledger, clock: Clock):
    q.define("u", max_attempts=1)
    q.enqueue_many(3)
    q.enqueue(run_at=clock.now() + LATER)
    q.leased("u", lease_seconds=30)
    clock.advance(60)
    found = scrape(q)
    assert of_type(found, "jobs_pending") == 4
    assert of_type(found, "jobs_ready") == 3
    assert 60 <= of_type(found, "oldest_ready_age_seconds") < 120
    assert of_type(found, "jobs_leased") == of_type(found, "leases_stale") == 0
    assert of_type(found, "jobs_pending", "u") == of_type(found, "oldest_ready_age_seconds", "u") == 0
    assert of_type(found, "jobs_leased", "u") == of_type(found, "leases_stale", "u") == 1
    q.reap()
    found = scrape(q)
    assert of_type(found, "jobs_leased", "u") == of_type(found, "leases_stale", "u") == 0
    assert of_type(found, "attempts_finished_total", "u")["lease_expired"] == 1
    assert of_type(found, "jobs_finished_total", "u") == {"succeeded": 0, "dead_lettered": 1, "canceled": 0}


def test_switches(q: Ledger):
    q.define("u")
    q.rows("pause_job_type", job_type="t")
    q.rows("disable_job_type", job_type="u")
    found = scrape(q)
    assert [of_type(found, "job_type_paused", t) for t in "tu"] == [1, 0]
    assert [of_type(found, "job_type_disabled", t) for t in "tu"] == [0, 1]


@pytest.mark.parametrize("rolled_up", [False, True], ids=["in the tail", "rolled up"])
def test_counters(q: Ledger, rolled_up: bool):
    q.define("u", max_attempts=1)
    q.succeed(q.leased())
    for kind, times in (("RETRYABLE", 1), ("TERMINAL", 2), ("PANICKED", 3), ("TIMEOUT", 4)):
        for _ in range(times):
            dead = q.leased("u")
            q.fail(dead, kind=kind)
    q.row("requeue_job", job_id=dead["job_id"])
    q.row("cancel_job", job_id=dead["job_id"])
    q.row("continue_job", **q.leased())
    if rolled_up:
        assert roll_up_all(q) > 20
    found = scrape(q)
    assert [of_type(found, "jobs_enqueued_total", t) for t in "tu"] == [2, 10]
    assert of_type(found, "jobs_requeued_total", "u") == 1
    assert of_type(found, "jobs_finished_total") == {"succeeded": 1, "dead_lettered": 0, "canceled": 0}
    assert of_type(found, "jobs_finished_total", "u") == {"succeeded": 0, "dead_lettered": 10, "canceled": 1}
    none = dict.fromkeys(
        ("succeeded", "retryable", "terminal", "panicked", "timeout", "lease_expired", "continued", "released"), 0
    )
    assert of_type(found, "attempts_finished_total") == {**none, "succeeded": 1, "continued": 1}
    assert of_type(found, "attempts_finished_total", "u") == {
        **none, "retryable": 1, "terminal": 2, "panicked": 3, "timeout": 4,
    }  # fmt: skip
    left = found["runledger_events_not_rolled_up"][{}]
    assert left == 0 if rolled_up else left > 20


@pytest.mark.corrupts  # durations are written by hand
def test_durations_are_counted_under_their_bound(db: Db, q: Ledger):
    q.enqueue_many(4)
    q.finish(*({"job_id": c["job_id"], "lease_token": c["lease_token"], "outcome": "SUCCEEDED"} for c in q.claim(4)))
    # A thousandth of a second and a second stand on a bound; just above one; longer than any.
    db.execute(
        "update runledger.job_attempts a set started_at = finished_at - w.ms * interval '1 ms', "
        "leased_at = finished_at - w.ms * interval '1 ms'"
        "  from unnest(%s::uuid[], %s::float8[]) as w(id, ms) where w.id = a.job_id",
        [db.column("select id from runledger.job_queue"), [1.0, 1000.0, 1001.0, 2e7]],
    )
    for _ in range(2):
        family = scrape(q)["runledger_attempt_duration_seconds"]
        buckets = {dict(k)["le"]: v for (name, k), v in family.samples.items() if name.endswith("_bucket")}
        assert len(buckets) == 16
        assert {le: buckets[le] for le in ("0.001", "0.316228", "1", "3.162278", "10000", "+Inf")} == {
            "0.001": 1, "0.316228": 1, "1": 2, "3.162278": 3, "10000": 3, "+Inf": 4,
        }  # fmt: skip
        labels = (("job_type", "t"),)
        assert family.samples["runledger_attempt_duration_seconds_sum", labels] == pytest.approx(20002.002)
        assert family.samples["runledger_attempt_duration_seconds_count", labels] == 4
        roll_up_all(q)


def test_durations_add_up_from_one_roll_up_to_the_next(q: Ledger, clock: Clock):
    clock.stop()
    for seconds in (2, 4, 6):
        lease = q.leased()
        clock.advance(2)
        q.succeed(lease)
        roll_up_all(q)
        samples = scrape(q)["runledger_attempt_duration_seconds"].samples
        assert samples["runledger_attempt_duration_seconds_sum", (("job_type", "t"),)] == seconds


def test_counters_do_not_fall_when_slots_are_forgotten(q: Ledger, clock: Clock, db: Db):
    q.succeed(q.leased())
    roll_up_all(q)
    before = scrape(q)
    clock.advance(timedelta(days=9))
    roll_up_all(q)
    q.rows("run_maintenance")
    assert db.value("select count(*) from runledger.job_metrics_slots") == 0
    after = scrape(q)
    for name, family in before.items():
        if family.kind != "gauge":
            assert after[name].samples == family.samples


def test_the_rest_of_the_fleet(q: Ledger, clock: Clock):
    q.row("register_worker", worker_id="silent", job_types=["t"], max_jobs=1)
    clock.advance(240)
    q.row("register_worker", worker_id="busy", job_types=["t"], max_jobs=1)
    q.row("register_worker", worker_id="idle", job_types=["t"], max_jobs=1)
    q.row("idle_worker", worker_id="idle", until=clock.now() + LATER)
    for name in ("overdue", "active", "paused"):
        q.row("upsert_schedule", name=name, job_type="t", cron="0 0 1 1 *")
    q.row("pause_schedule", name="paused")
    q.row("resume_schedule", name="overdue", next_fire_at=clock.now() - LATER)
    q.row("enqueue_workflow", workflow_type="w", steps=[{"key": "a", "job_type": "t"}])
    q.row("enqueue_workflow", workflow_type="w", steps=[{"key": "a", "external": True}])
    q.define("d")
    q.dead("d")
    q.row("requeue_job", job_id=q.dead("d"))
    found = scrape(q)
    assert found["runledger_workers"].of() == {"busy": 1, "idle": 1, "silent": 1}
    assert found["runledger_schedules"].of() == {"active": 1, "deferred": 0, "inactive": 0, "overdue": 1, "paused": 1}
    assert found["runledger_workflow_runs"].of() == {"running": 1, "waiting_for_external": 1}
    assert found["runledger_dead_letters"][{}] == 1
    q.rows("fire_due_schedules")
    assert scrape(q)["runledger_schedules"].of() == {"active": 2, "deferred": 0, "inactive": 0, "overdue": 0, "paused": 1}


def test_names_are_escaped(q: Ledger):
    name = 'say "hi" \\ to\nall'
    q.define(name)
    q.enqueue(name)
    assert of_type(scrape(q), "jobs_pending", name) == 1


def test_tenants_are_summed_and_not_named(q: Ledger):
    series = set()
    for n, tenant in enumerate((None, TENANT, UUID(int=1), UUID(int=2)), 1):
        q.succeed(q.leased(organization_id=tenant))
        found = scrape(q)
        assert of_type(found, "jobs_finished_total")["succeeded"] == n
        assert str(TENANT) not in str(found)
        series.add(sum(len(family.samples) for family in found.values()))
    assert len(series) == 1
