"""list_dead_letters: the latest dead letter of each job, in pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.support.clock import Clock
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger


def died(q: Ledger, code: str = "e.x", **job: Any) -> UUID:
    lease = q.leased(**job)
    q.fail(lease, code=code, kind="TERMINAL")
    return lease["job_id"]


def listed(q: Ledger, **arguments: Any) -> list[UUID]:
    return [r["job_id"] for r in q.rows("list_dead_letters", **arguments)]


def test_a_dead_letter_says_what_went_wrong_and_carries_nothing(q: Ledger):
    job_id = died(q, payload="s3cret", organization_id=TENANT)
    job = q.job(job_id)
    assert q.row("list_dead_letters") == {
        "job_id": job_id, "job_type": "t", "organization_id": TENANT, "run_number": 1, "attempt": 1, "error_code": "e.x",
        "error_message": "it broke", "failed_at": job["finished_at"], "status": "DEAD_LETTERED", "is_dead": True,
    }  # fmt: skip


def test_pages_go_from_the_latest_failure_and_over_equal_instants(q: Ledger, clock: Clock):
    jobs = []
    for n in range(3):
        # Three that fail at one instant: the id decides.
        leases = [q.leased(organization_id=TENANT if n % 2 else None) for _ in range(3)]
        with q.conn.transaction():
            q.finish(*({**x, "outcome": "FAILED", "kind": "TERMINAL", "error_code": "e"} for x in leases))
        jobs += [x["job_id"] for x in leases]
        clock.advance(10)
    assert len({r["failed_at"] for r in q.rows("list_dead_letters")}) == 3
    seen: list[UUID] = []
    place: dict[str, Any] = {}
    while page := q.rows("list_dead_letters", max_rows=2, **place):
        seen += [r["job_id"] for r in page]
        place = {"before_failed_at": page[-1]["failed_at"], "before_id": page[-1]["job_id"]}
    assert seen == jobs[::-1]
    assert listed(q, organization_id=TENANT) == jobs[3:6][::-1]
    assert listed(q, organization_id=TENANT, before_failed_at=q.job(jobs[5])["finished_at"], before_id=jobs[5]) == [
        jobs[4],
        jobs[3],
    ]
    assert listed(q, organization_id=OTHER_TENANT) == []


def test_filters_combine(q: Ledger, clock: Clock):
    q.define("u")
    first = died(q, "smtp.busy", job_type="u")
    clock.advance(100)
    second = died(q, "smtp.gone")
    at = q.job(second)["finished_at"]
    assert listed(q) == [second, first]
    assert listed(q, job_type="u") == listed(q, error_code="smtp.busy") == [first]
    assert listed(q, job_type="u", error_code="smtp.gone") == listed(q, job_type="%") == []
    assert listed(q, failed_before=at) == [first]
    assert listed(q, failed_after=at) == [second]
    assert listed(q, failed_after=at + timedelta(seconds=1)) == []


def test_who_was_requeued_is_told_apart(q: Ledger):
    dead, requeued, again = died(q), died(q), died(q)
    for job_id in (requeued, again):
        q.row("requeue_job", job_id=job_id)
    q.hold(requeued)
    q.fail(q.hold(again), kind="TERMINAL")
    assert {r["job_id"]: (r["status"], r["is_dead"], r["run_number"]) for r in q.rows("list_dead_letters")} == {
        dead: ("DEAD_LETTERED", True, 1), requeued: ("LEASED", False, 1), again: ("DEAD_LETTERED", True, 2),
    }  # fmt: skip
    assert listed(q, is_dead=False) == [requeued]
    assert set(listed(q, is_dead=True)) == {dead, again}
    assert len(listed(q, is_dead=None)) == 3


@pytest.mark.parametrize("place", [{"before_id": NOBODY}, {"before_failed_at": "2030-01-01T00:00:00Z"}], ids=str)
def test_a_place_has_instant_and_id(q: Ledger, place: dict[str, Any]):
    with q.refused("job.invalid_cursor", "RL010"):
        q.rows("list_dead_letters", **place)
