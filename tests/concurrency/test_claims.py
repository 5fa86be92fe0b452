"""Claimers against claimers, cancels, requeues: real sessions, stopped where it hurts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.concurrency.threads import together
from tests.support.database import Db
from tests.support.interleave import Session
from tests.support.ledger import Ledger

Sessions = Callable[..., tuple[Session, ...]]
CLAIM = "select job_id, lease_token from runledger.claim_jobs('w', '{t}', %s)"


def test_eight_claimers_over_ten_thousand_jobs_claim_each_once(db: Db, q: Ledger):
    q.rows("enqueue_jobs", jobs=[{"job_type": "t", "priority": n % 3} for n in range(10_000)])

    def drain(claimer: Ledger) -> list[Any]:
        claimed = []
        while batch := claimer.claim(97):
            claimed += [(c["job_id"], c["lease_token"]) for c in batch]
        return claimed

    results = together(db, 8, drain)
    jobs = Counter(job_id for claimed in results for job_id, _ in claimed)
    # A claimer that finds the last rows locked leaves; whoever holds them has them.
    assert len(jobs) == 10_000
    assert set(jobs.values()) == {1}
    assert len({token for claimed in results for _, token in claimed}) == 10_000
    assert db.value("select count(*) from runledger.job_attempts") == 10_000
    assert db.value("select count(*) from runledger.job_queue where status = 'LEASED' and attempt = 1") == 10_000


def test_workers_run_every_job_to_its_end_once(db: Db, q: Ledger):
    """Claims, completions, failures and releases at once: each job ends once, and nothing is lost."""
    q.define("t", retry_base_ms=1, retry_max_ms=1)
    db.execute("update runledger.job_definitions set retry_delays_ms = '{\"again\": 1}'")
    q.rows("enqueue_jobs", jobs=[{"job_type": "t", "payload": n, "max_attempts": 3} for n in range(2000)])

    def outcome(claimed: dict[str, Any]) -> dict[str, Any]:
        lease = {"job_id": claimed["job_id"], "lease_token": claimed["lease_token"]}
        kind = claimed["payload"] % 10
        if kind == 0:
            return {**lease, "outcome": "FAILED", "error_code": "e", "kind": "TERMINAL"}
        if kind == 1 and claimed["attempt"] == 1:
            return {**lease, "outcome": "FAILED", "error_code": "again"}
        if kind == 2 and claimed["lease_token"] % 2:
            return {**lease, "outcome": "RELEASE", "reason": "elsewhere"}
        return {**lease, "outcome": "SUCCEEDED"}

    def work(worker: Ledger) -> list[Any]:
        ended = []
        while True:
            batch = worker.claim(50)
            if not batch:
                left = worker.conn.execute(
                    "select count(*) from runledger.job_queue where status in ('PENDING', 'LEASED')"
                ).fetchone()
                if left == (0,):
                    return ended
                continue
            rows = worker.finish(*(outcome(c) for c in batch))
            ended += [r["job_id"] for r in rows if r["disposition"] in ("SUCCEEDED", "DEAD_LETTERED")]

    ended = Counter(job_id for result in together(db, 4, work) for job_id in result)
    assert len(ended) == 2000
    assert set(ended.values()) == {1}
    counts = dict(db.conn.execute("select status::text, count(*) from runledger.job_queue group by 1").fetchall())
    assert counts == {"SUCCEEDED": 1800, "DEAD_LETTERED": 200}


@pytest.mark.parametrize("limit", [1, 3])
def test_a_fleet_wide_limit_is_never_exceeded(db: Db, q: Ledger, limit: int):
    q.define("one", max_concurrency=limit)
    q.enqueue_many(60, "one")
    db.execute("create table public.high_water (leases bigint)")
    # Seen by each claim itself, before it commits: all leases that live beside the ones it takes.
    db.execute(
        """create function public.watch() returns trigger language plpgsql security definer as $$
           begin
             insert into public.high_water select count(*) from runledger.job_queue
              where job_type = 'one' and lease_token is not null and lease_expires_at > clock_timestamp();
             return null;
           end $$"""
    )
    db.execute(
        "create trigger watch after update on runledger.job_queue for each statement execute function public.watch()"
    )

    def work(worker: Ledger) -> list[Any]:
        done = []
        while worker.conn.execute(
            "select exists (select from runledger.job_queue where status = 'PENDING')"
        ).fetchone() == (True,):
            batch = worker.claim(5, "one")
            assert len(batch) <= limit
            if batch:
                worker.finish(
                    *({"job_id": c["job_id"], "lease_token": c["lease_token"], "outcome": "SUCCEEDED"} for c in batch)
                )
            done += batch
        return done

    results = together(db, 8, work)
    assert sum(len(r) for r in results) == 60
    assert db.value("select max(leases) from public.high_water") == limit


def test_the_count_sees_what_the_last_holder_of_the_lock_committed(q: Ledger, sessions: Sessions):
    """A claim that began before another committed must not count its own old snapshot."""
    q.define("one", max_concurrency=1)
    q.enqueue_many(3, "one")
    a, b = sessions("a", "b")
    one = "select job_id from runledger.claim_jobs('w', '{one}', 5)"
    a.begin()
    b.begin()
    assert len(a.execute(one)) == 1
    # While the first has not committed the type is busy, and skipped rather than waited for.
    assert b.execute(one) == []
    a.commit()
    assert b.execute(one) == []
    b.commit()


def test_claimers_do_not_wait_for_each_other(q: Ledger, sessions: Sessions):
    jobs = q.enqueue_many(4)
    a, b = sessions("a", "b")
    a.begin()
    assert [r["job_id"] for r in a.execute(CLAIM, [2])] == jobs[:2]
    pending = b.start(CLAIM, [10])
    assert b.blocked() is False
    assert [r["job_id"] for r in pending.result()] == jobs[2:]
    a.rollback()
    assert [r["job_id"] for r in b.execute(CLAIM, [10])] == jobs[:2]


def test_claim_against_cancel(q: Ledger, sessions: Sessions):
    job_id = q.enqueue()
    a, b = sessions("a", "b")
    # Cancel first: the claim skips the row.
    a.begin().execute("select * from runledger.cancel_job(%s)", [job_id])
    pending = b.start(CLAIM, [1])
    assert b.blocked() is False
    assert pending.result() == []
    a.commit()
    assert b.execute(CLAIM, [1]) == []
    # Claim first: the cancel waits, then ends a leased job.
    job_id = q.enqueue()
    [claimed] = a.begin().execute(CLAIM, [1])
    pending = b.start("select * from runledger.cancel_job(%s)", [job_id])
    assert b.blocked(by=a)
    a.commit()
    [row] = pending.result()
    assert (row["disposition"], row["lease_quiesces_at"] is None) == ("CANCELED", False)
    assert q.beat(dict(claimed)) == ["CANCELED"]


def test_claim_against_requeue(q: Ledger, sessions: Sessions):
    dead = q.dead()
    a, b = sessions("a", "b")
    a.begin().execute("select * from runledger.requeue_job(%s)", [dead])
    assert b.execute(CLAIM, [1]) == []
    a.commit()
    assert [r["job_id"] for r in b.execute(CLAIM, [1])] == [dead]
    # A requeue that meets a claimed job is refused and waits for nobody.
    b.begin().execute("select from runledger.job_queue where id = %s for update", [dead])
    pending = a.start("select * from runledger.requeue_job(%s)", [dead])
    assert a.blocked() is False
    with q.refused("job.invalid_state_transition"):
        pending.result()
    b.commit()


def test_claim_against_pause(q: Ledger, sessions: Sessions):
    q.enqueue_many(2)
    a, b = sessions("a", "b")
    a.begin().execute("select * from runledger.pause_job_type('t')")
    pending = b.start(CLAIM, [1])
    assert b.blocked() is False
    assert len(pending.result()) == 1
    a.commit()
    assert b.execute(CLAIM, [1]) == []


def test_a_late_commit_is_not_lost_below_the_mark(q: Ledger, sessions: Sessions):
    """An enqueue that began first and committed last stands before what was claimed meanwhile."""
    a, b = sessions("a", "b")
    [late] = a.begin().execute("select job_id from runledger.enqueue_job('t')")
    q.enqueue_many(3)
    assert len(b.execute(CLAIM, [3])) == 3
    a.commit()
    assert b.execute(CLAIM, [3])[0]["job_id"] == late["job_id"]
