"""run_maintenance: reaping, forgetting workers, partitions, and the fail-over."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger


def maintain(q: Ledger) -> dict[str, tuple[int, bool]]:
    return {r["task"]: (r["affected"], r["more"]) for r in q.rows("run_maintenance")}


def partitions(db: Db, parent: str) -> list[str]:
    return db.column(
        "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = %s::regclass order by 1",
        [f"runledger.{parent}"],
    )


def test_an_idle_system_has_nothing_to_do(q: Ledger, clock: Clock):
    clock.noon()
    for _ in range(2):
        tasks = maintain(q)
        assert set(tasks) >= {"timeline", "reap", "fire", "forget_workers", "partitions"}
        assert set(tasks.values()) == {(0, False)}


def test_maintenance_reaps(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=1)
    clock.advance(2)
    tasks = maintain(q)
    assert tasks["reap"] == (1, False)
    # Partitions are made only by a call that did nothing else.
    assert "partitions" not in tasks
    assert q.job(lease["job_id"])["status"] == "PENDING"
    assert "partitions" in maintain(q)


def test_maintenance_forgets_workers_silent_for_a_day(db: Db, q: Ledger, clock: Clock):
    q.row("register_worker", worker_id="gone", job_types=["t"])
    clock.advance(timedelta(hours=23))
    q.row("register_worker", worker_id="here", job_types=["t"])
    assert maintain(q)["forget_workers"] == (0, False)
    clock.advance(timedelta(hours=2))
    assert maintain(q)["forget_workers"] == (1, False)
    assert db.column("select worker_id from runledger.workers") == ["here"]


def test_a_worker_that_comes_back_in_an_open_transaction_holds_nothing_up(db: Db, q: Ledger, clock: Clock):
    for name in ("back", "gone"):
        q.row("register_worker", worker_id=name, job_types=["t"])
    clock.advance(timedelta(days=2))
    other = q.on(db.connect(autocommit=False))
    other.row("register_worker", worker_id="back", job_types=["t"])
    q.conn.execute("set lock_timeout = '10s'")
    assert maintain(q)["forget_workers"] == (1, False)
    other.conn.commit()
    assert maintain(q)["forget_workers"] == (0, False)
    assert db.column("select worker_id from runledger.workers") == ["back"]


def test_one_session_at_a_time(q: Ledger):
    other = q.on(autocommit=False)
    assert maintain(other)
    q.conn.execute("set statement_timeout = '10s'")
    assert maintain(q) == {}
    other.conn.rollback()
    assert maintain(q)


def test_maintenance_is_refused_above_read_committed(q: Ledger):
    for isolation in ("repeatable read", "serializable"):
        with q.refused("operations.unsupported_isolation", "RL013"), q.conn.transaction():
            q.conn.execute(f"set transaction isolation level {isolation}")
            q.rows("run_maintenance")
    # Also while somebody is at it, when there is nothing to do.
    other = q.on(autocommit=False)
    assert maintain(other)
    with q.refused("operations.unsupported_isolation", "RL013"), q.conn.transaction():
        q.conn.execute("set transaction isolation level repeatable read")
        q.rows("run_maintenance")
    other.conn.rollback()


def test_a_new_timeline_lifts_the_tokens(db: Db, q: Ledger):
    maintain(q)
    before = q.leased()
    db.execute("update runledger.upkeep_state set timeline = 'FFFFFFFF'")
    tasks = maintain(q)
    assert tasks["timeline"] == (1, False)
    after = q.leased()
    # By so much and no more: the tokens of a server are to last for many of its fail-overs.
    assert after["lease_token"] == before["lease_token"] + 2**32 + 1
    state = db.one("select * from runledger.upkeep_state")
    assert (state["tokens_lifted"], state["timeline"]) == (1, "00000001")
    assert maintain(q)["timeline"] == (0, False)
    assert q.beat(before, after) == ["EXTENDED", "EXTENDED"]


def test_partitions_reach_three_days_ahead(db: Db, q: Ledger, clock: Clock):
    today = clock.noon()
    for parent in ("job_events", "job_logs"):
        days = [f"{parent}_{today + timedelta(days=n):%Y%m%d}" for n in range(4)]
        assert partitions(db, parent) == sorted([f"{parent}_default", *days])
    clock.advance(timedelta(days=2))
    assert maintain(q)["partitions"] == (4, False)
    assert maintain(q)["partitions"] == (0, False)
    clock.advance(timedelta(days=1))
    job_id = q.enqueue()
    q.row("log_job", job_id=job_id, level="info", message="x")
    day = f"{clock.now():%Y%m%d}"
    assert db.value("select tableoid::regclass::text from runledger.job_events") == f"runledger.job_events_{day}"
    assert db.value("select tableoid::regclass::text from runledger.job_logs") == f"runledger.job_logs_{day}"
    assert q.told(job_id) == [("ENQUEUED", 1, None)]


def test_a_day_is_that_of_utc_however_the_session_writes_instants(db: Db, q: Ledger, clock: Clock):
    """In India a session may write IST behind an instant, which is Israel's time to whoever reads it."""
    clock.noon()
    clock.advance(timedelta(days=2))
    q.conn.execute("set timezone = 'Asia/Kolkata'")
    q.conn.execute("set datestyle = 'SQL, DMY'")
    assert maintain(q)["partitions"] == (4, False)
    for name in partitions(db, "job_events") + partitions(db, "job_logs"):
        if not name.endswith("_default"):
            day = datetime.strptime(name[-8:], "%Y%m%d")
            assert db.value("select pg_get_expr(relpartbound, oid) from pg_class where relname = %s", [name]) == (
                f"FOR VALUES FROM ('{day:%Y-%m-%d} 00:00:00+00') TO ('{day + timedelta(days=1):%Y-%m-%d} 00:00:00+00')"
            )


def test_a_missed_maintenance_blocks_no_write(db: Db, q: Ledger, clock: Clock):
    clock.noon()
    clock.advance(timedelta(days=30))
    lease = q.leased()
    q.succeed(lease)
    assert set(db.column("select tableoid::regclass::text from runledger.job_events")) == {
        "runledger.job_events_default"
    }
    # The days past their retention go first, a partition a call.
    before = len(partitions(db, "job_events") + partitions(db, "job_logs")) - 2
    assert [maintain(q)["prune"] for _ in range(before)] == [(1, True)] * before
    # That day has rows in the default partition and stays there; the next ones get their own.
    assert maintain(q)["partitions"] == (7, False)
    assert maintain(q)["partitions"] == (0, False)
    assert f"job_events_{clock.now():%Y%m%d}" not in partitions(db, "job_events")
    q.leased()


def test_partitions_wait_for_nobody(db: Db, q: Ledger, clock: Clock):
    clock.noon()
    clock.advance(timedelta(days=2))
    reader = db.connect(admin=True, autocommit=False)
    reader.execute("lock table runledger.job_events in access share mode")
    writer = db.connect(autocommit=False)
    writer.execute("lock table runledger.job_events in row exclusive mode")
    q.conn.execute("set lock_timeout = '1min'; set statement_timeout = '10s'")
    q.conn.execute("begin")
    assert maintain(q)["partitions"] == (0, False)
    # The caller's own limit is as it was.
    assert q.conn.execute("show lock_timeout").fetchone()[0] == "1min"
    q.conn.execute("commit")
    reader.rollback()
    writer.rollback()
    assert maintain(q)["partitions"] == (4, False)


def test_a_stricter_limit_of_the_caller_holds(db: Db, q: Ledger, clock: Clock):
    clock.advance(timedelta(days=2))
    blocker = db.connect(autocommit=False)
    blocker.execute("lock table runledger.job_events in row exclusive mode")
    q.conn.execute("set lock_timeout = '1ms'")
    assert maintain(q)["partitions"] == (0, False)
    assert q.conn.execute("show lock_timeout").fetchone()[0] == "1ms"
    blocker.rollback()


def test_maintenance_may_be_called_where_reaping_has_more_to_do(db: Db, q: Ledger, clock: Clock):
    q.enqueue_many(1003)
    q.claim(1000, lease_seconds=1)
    q.claim(3, lease_seconds=1)
    clock.advance(2)
    assert maintain(q)["reap"] == (1000, True)
    assert maintain(q)["reap"] == (3, False)
