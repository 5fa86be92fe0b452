"""heartbeat_jobs: all leases of a worker in one call."""

from __future__ import annotations

from datetime import timedelta

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import NOBODY, Ledger


def test_a_heartbeat_extends_from_now(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=10)
    clock.advance(8)
    [row] = q.rows("heartbeat_jobs", job_ids=[lease["job_id"]], lease_tokens=[lease["lease_token"]], lease_seconds=30)
    job = q.job(lease["job_id"])
    assert (row["disposition"], row["lease_expires_at"]) == ("EXTENDED", job["lease_expires_at"])
    assert job["lease_expires_at"] - job["last_heartbeat_at"] == timedelta(seconds=30)
    clock.advance(25)
    assert q.beat(lease) == ["EXTENDED"]
    assert q.reap() == []


def test_a_heartbeat_tells_nothing_in_the_ledger(q: Ledger):
    lease = q.leased()
    q.beat(lease)
    assert q.db.events(lease["job_id"]) == ["ENQUEUED", "LEASED"]


def test_a_heartbeat_keeps_a_job_alive_beyond_its_first_lease(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=10)
    for _ in range(5):
        clock.advance(8)
        assert q.beat(lease, lease_seconds=10) == ["EXTENDED"]
    assert q.succeed(lease)["disposition"] == "SUCCEEDED"


def test_a_heartbeat_says_what_became_of_each_job(q: Ledger, clock: Clock):
    expired = q.leased(lease_seconds=1)
    clock.advance(2)
    canceled, retried, done, released, live = (q.leased() for _ in range(5))
    q.row("cancel_job", job_id=canceled["job_id"])
    q.fail(retried)
    q.succeed(done)
    q.release(released)
    again = q.hold(released["job_id"], worker="w2")
    foreign = {**live, "lease_token": again["lease_token"]}
    with q.unchanged(*(x["job_id"] for x in (expired, canceled, retried, done, released))):
        assert q.beat(
            live, expired, canceled, retried, done, released, foreign, {"job_id": NOBODY, "lease_token": 1}, live
        ) == ["EXTENDED", "LOST", "CANCELED", "LOST", "LOST", "LOST", "LOST", "LOST", "EXTENDED"]


def test_a_heartbeat_of_nothing_gives_nothing(q: Ledger):
    assert q.beat() == []


def test_a_heartbeat_refuses_lengths_out_of_range(q: Ledger):
    lease = q.leased()
    for seconds in (None, 0, -1, 86_401):
        with q.unchanged(), q.refused("job.invalid_lease_duration", "RL010"):
            q.beat(lease, lease_seconds=seconds)


def test_a_locked_row_does_not_delay_the_others(q: Ledger):
    locked, free = q.leased(lease_seconds=10), q.leased(lease_seconds=10)
    other = q.on(autocommit=False)
    other.conn.execute("select from runledger.job_queue where id = %s for update", [locked["job_id"]])
    q.conn.execute("set statement_timeout = '10s'")
    before = q.job(locked["job_id"])["lease_expires_at"]
    rows = q.rows(
        "heartbeat_jobs", job_ids=[locked["job_id"], free["job_id"]],
        lease_tokens=[locked["lease_token"], free["lease_token"]], lease_seconds=600,
    )  # fmt: skip
    # The lease of the locked row is still good, as long as it was.
    assert [r["disposition"] for r in rows] == ["EXTENDED", "EXTENDED"]
    assert rows[0]["lease_expires_at"] == before
    assert rows[1]["lease_expires_at"] > before + timedelta(seconds=500)


def test_heartbeats_stay_hot(db: Db, q: Ledger):
    leases = [q.leased() for _ in range(5)]

    def counts() -> tuple[int, int]:
        db.execute("select pg_stat_force_next_flush()")
        q.conn.execute("select pg_stat_force_next_flush()")
        db.execute("select pg_stat_clear_snapshot()")
        row = db.one("select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'job_queue'")
        return row["n_tup_upd"], row["n_tup_hot_upd"]

    updated, hot = counts()
    for _ in range(20):
        q.beat(*leases)
    later = counts()
    assert later[0] - updated == 100
    # A row that finds its page full moves once and is hot again on the next one.
    assert later[1] - hot >= 90


def test_no_index_covers_what_a_heartbeat_writes(db: Db):
    definitions = db.column("select indexdef from pg_indexes where schemaname = 'runledger' and tablename = 'job_queue'")
    assert definitions
    for column in ("lease_expires_at", "last_heartbeat_at", "updated_at", "progress_done", "checkpoint"):
        assert not [d for d in definitions if column in d]
