"""start_jobs: the second half of a prestart claim."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from tests.support.ledger import NOBODY, Ledger


def test_start_marks_the_handler_as_begun(q: Ledger, clock: Clock):
    lease = q.leased(prestart=True)
    clock.advance(5)
    assert q.start(lease) == ["STARTED"]
    [attempt] = q.db.attempts(lease["job_id"])
    assert attempt["started_at"] > attempt["leased_at"]
    assert q.job(lease["job_id"])["stage"] == "running"
    assert q.told(lease["job_id"]) == [("ENQUEUED", 1, None), ("LEASED", 1, 1), ("STAGE_CHANGED", 1, 1)]
    assert q.event(lease["job_id"], "STAGE_CHANGED")["stage"] == "running"


def test_starting_again_or_after_a_direct_claim_writes_nothing(q: Ledger):
    prestart, direct = q.leased(prestart=True), q.leased()
    q.start(prestart)
    with q.unchanged():
        assert q.start(prestart, direct) == ["STARTED", "STARTED"]
    assert "STAGE_CHANGED" not in q.db.events(direct["job_id"])


def test_start_says_which_claims_are_lost(q: Ledger, clock: Clock):
    expired = q.leased(prestart=True, lease_seconds=1)
    clock.advance(2)
    done, canceled, live = q.leased(prestart=True), q.leased(prestart=True), q.leased(prestart=True)
    q.succeed(done)
    q.row("cancel_job", job_id=canceled["job_id"])
    stale = {**live, "lease_token": live["lease_token"] - 1}
    nobody = {"job_id": NOBODY, "lease_token": 1}
    with q.unchanged(*(x["job_id"] for x in (expired, done, canceled))):
        assert q.start(expired, done, canceled, stale, nobody, live, live) == ["LOST"] * 5 + ["STARTED"] * 2


def test_starting_nothing_gives_nothing(q: Ledger):
    assert q.start() == []


@pytest.mark.parametrize("verb", ["start_jobs", "heartbeat_jobs"])
def test_ids_and_tokens_must_match(q: Ledger, verb: str):
    lease = q.leased()
    for ids, tokens in (
        (None, [1]), ([lease["job_id"]], None), ([lease["job_id"]], []), ([], [1]), ([None], [1]),
        ([lease["job_id"]], [None]), ([NOBODY] * 1001, [1] * 1001), ([[lease["job_id"]]], [[1]]),
        ([lease["job_id"]], [[1]]), ([[lease["job_id"]]], [1]),
    ):  # fmt: skip
        with q.unchanged(), q.refused("job.invalid_tokens", "RL010"):
            q.rows(verb, job_ids=ids, lease_tokens=tokens)
