"""leased_jobs: after a claim whose reply was lost."""

from __future__ import annotations

from tests.support.clock import Clock
from tests.support.ledger import Ledger


def test_a_worker_finds_the_leases_it_does_not_know_of(q: Ledger):
    q.enqueue_many(3, payload={"a": 1})
    claimed = q.claim(3)
    assert q.rows("leased_jobs", worker_id="w1") == claimed
    assert q.rows("leased_jobs", worker_id="w1", known_tokens=[c["lease_token"] for c in claimed[:2]]) == claimed[2:]
    assert q.rows("leased_jobs", worker_id="w2") == []


def test_only_live_leases_are_found(q: Ledger, clock: Clock):
    q.leased(lease_seconds=1)
    clock.advance(2)
    done, canceled, live = q.leased(), q.leased(), q.leased()
    q.succeed(done)
    q.row("cancel_job", job_id=canceled["job_id"])
    assert [r["job_id"] for r in q.rows("leased_jobs", worker_id="w1")] == [live["job_id"]]


def test_leased_jobs_refuses_blank_workers_and_no_list(q: Ledger):
    for worker in (None, "", " ", "w" * 201):
        with q.refused("job.invalid_worker_id", "RL010"):
            q.rows("leased_jobs", worker_id=worker)
    with q.refused("job.invalid_tokens", "RL010"):
        q.rows("leased_jobs", worker_id="w1", known_tokens=None)


def test_a_token_that_is_null_is_that_of_no_lease(q: Ledger):
    known, lease = q.leased(), q.leased()
    for tokens in ([known["lease_token"], None], [None, known["lease_token"]]):
        assert [r["job_id"] for r in q.rows("leased_jobs", worker_id="w1", known_tokens=tokens)] == [lease["job_id"]]
    assert len(q.rows("leased_jobs", worker_id="w1", known_tokens=[None])) == 2
