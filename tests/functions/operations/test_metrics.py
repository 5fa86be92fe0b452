"""What the metrics count: each column of the view and of job_metrics, each event once, percentiles within 5 %."""

from __future__ import annotations

import math
import random
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import OTHER_TENANT, TENANT, Ledger

COUNTS = (
    "pending_count", "leased_count", "stale_leases", "succeeded_24h", "retryable_24h", "terminal_24h", "panicked_24h",
    "timeout_24h", "dead_lettered_24h",
)  # fmt: skip
# From what happened, without the functions and views of the product.
BRUTE_FORCE = """
    select q.job_type, q.organization_id,
           case when e.event_type = 'FAILED' then e.payload ->> 'kind'
                when e.event_type <> 'REQUEUED' then e.event_type::text
                when e.payload ->> 'requeue_kind' = 'RELEASE' then 'RELEASED'
                when e.payload ->> 'requeue_kind' = 'HANDLER_CONTINUATION' then 'CONTINUED'
                else 'REQUEUED' end as outcome, count(*)
      from runledger.job_events e join runledger.job_queue q on q.id = e.job_id
     where e.event_type not in ('LEASED', 'HEARTBEAT', 'STAGE_CHANGED', 'PROGRESS', 'RETRY_SCHEDULED',
       'PAYLOAD_CORRECTED', 'REDACTED')
     group by 1, 2, 3"""


def roll_up(q: Ledger) -> tuple[int, bool]:
    """One pass of maintenance: events counted, and whether more could be."""
    [row] = [r for r in q.rows("run_maintenance") if r["task"] == "rollup"]
    return row["affected"], row["more"]


def roll_up_all(q: Ledger) -> int:
    """Passes until nothing is left to count; how many events they counted.

    Transactions anywhere on the server are waited for, and this one has databases made and dropped beside the test.
    """
    counted_ = 0
    for _ in range(2000):
        counted_ += roll_up(q)[0]
        if q.db.value(
            "select rolled_up_to = (select last_value from runledger.job_events_id_seq) from runledger.upkeep_state"
        ):
            return counted_
    raise AssertionError("a transaction does not end")


def view(db: Db, job_type: str = "t", organization_id: UUID | None = None) -> dict[str, Any]:
    return db.one(
        "select * from runledger.job_metrics_rollup where job_type = %s and organization_id is not distinct from %s",
        [job_type, organization_id],
    )


def counted(row: dict[str, Any]) -> dict[str, int]:
    """The counts that are not zero."""
    return {name: row[name] for name in COUNTS if row[name]}


def happened(db: Db) -> Counter[tuple[Any, ...]]:
    return Counter({(r["job_type"], r["organization_id"], r["outcome"]): r["count"] for r in db.all(BRUTE_FORCE)})


def slots(db: Db) -> Counter[tuple[Any, ...]]:
    rows = db.all(
        "select job_type, organization_id, outcome, sum(events)::int as n from runledger.job_metrics_slots group by 1, 2, 3"
    )
    return Counter({(r["job_type"], r["organization_id"], r["outcome"]): r["n"] for r in rows})


def slots_and_tail(db: Db) -> Counter[tuple[Any, ...]]:
    rows = db.all(
        "select job_type, organization_id, outcome, sum(events)::int as n from runledger._job_outcomes_counted group by 1, 2, 3"
    )
    return Counter({(r["job_type"], r["organization_id"], r["outcome"]): r["n"] for r in rows})


def totals(db: Db) -> Counter[tuple[str, str]]:
    rows = db.all("select job_type, outcome, sum(events)::int as n from runledger.job_metrics_totals group by 1, 2")
    return Counter({(r["job_type"], r["outcome"]): r["n"] for r in rows})


def over_tenants(counts: Counter[tuple[Any, ...]]) -> Counter[tuple[str, str]]:
    summed: Counter[tuple[str, str]] = Counter()
    for (job_type, _, outcome), n in counts.items():
        summed[job_type, outcome] += n
    return summed


@pytest.mark.parametrize("rolled_up", [False, True], ids=["in the tail", "rolled up"])
def test_every_column_counts_what_it_says(q: Ledger, db: Db, rolled_up: bool):
    q.define(max_attempts=8)
    for kind, times in (("RETRYABLE", 1), ("TERMINAL", 2), ("PANICKED", 3), ("TIMEOUT", 4)):
        for _ in range(times):
            q.fail(q.leased(), kind=kind)
    for _ in range(5):
        q.succeed(q.leased())
    q.enqueue(run_at=db.value("select now() + interval '1 day'"))
    q.leased()
    if rolled_up:
        assert roll_up_all(q) == 17 + 5 + 10 + 5  # enqueued, succeeded, failed, dead
    row = view(db)
    # A retry waits as well.
    assert counted(row) == {
        "pending_count": 1 + 1 + 4, "leased_count": 1, "succeeded_24h": 5, "retryable_24h": 1, "terminal_24h": 2,
        "panicked_24h": 3, "timeout_24h": 4, "dead_lettered_24h": 5,
    }  # fmt: skip
    assert row["p50_duration_ms_24h"] > 0
    assert row["p95_duration_ms_24h"] >= row["p50_duration_ms_24h"]
    [again] = q.rows("job_metrics")
    assert again == {k: v for k, v in row.items() if k != "organization_id"}


def test_an_expired_lease_is_stale_until_it_is_reaped_and_then_in_no_outcome_column(q: Ledger, db: Db, clock: Clock):
    clock.advance(-600)
    q.define(max_attempts=1)
    lease = q.leased(lease_seconds=60)
    assert counted(view(db)) == {"leased_count": 1, "stale_leases": 1}  # by the clock of the view, which nobody moved
    assert counted(q.row("job_metrics")) == {"leased_count": 1}
    clock.advance(120)
    assert counted(q.row("job_metrics")) == {"leased_count": 1, "stale_leases": 1}
    q.reap()
    assert q.job(lease["job_id"])["status"] == "DEAD_LETTERED"
    assert counted(view(db)) == {"dead_lettered_24h": 1}
    roll_up_all(q)
    assert counted(view(db)) == {"dead_lettered_24h": 1}
    assert slots(db)["t", None, "LEASE_EXPIRED"] == 1


def test_tenants_are_told_apart_and_summed(q: Ledger, db: Db):
    for tenant, times in ((TENANT, 1), (OTHER_TENANT, 2), (None, 3)):
        for _ in range(times):
            q.succeed(q.leased(organization_id=tenant))
    for _ in range(2):
        assert [view(db, "t", tenant)["succeeded_24h"] for tenant in (TENANT, OTHER_TENANT, None)] == [1, 2, 3]
        assert q.row("job_metrics", organization_id=TENANT)["succeeded_24h"] == 1
        assert q.row("job_metrics")["succeeded_24h"] == 6
        roll_up_all(q)


def test_types_without_jobs_show_zeros(q: Ledger):
    q.define("idle")
    q.succeed(q.leased())
    rows = {r["job_type"]: r for r in q.rows("job_metrics")}
    assert set(rows) == {"idle", "t"}
    assert counted(rows["idle"]) == {}
    assert rows["idle"]["p50_duration_ms_24h"] is None
    assert rows["idle"]["p95_duration_ms_24h"] is None
    assert [r["job_type"] for r in q.rows("job_metrics", job_type="idle")] == ["idle"]
    assert q.rows("job_metrics", job_type="unknown") == []


def test_what_is_no_end_of_an_attempt_has_no_duration(q: Ledger, db: Db):
    """Attempts that were given back, never started, or of a pending job that is canceled."""
    q.define("u")
    q.define("v")
    q.release(q.leased())
    q.row("cancel_job", job_id=q.leased("u", prestart=True)["job_id"])
    failed = q.leased("v")
    q.fail(failed)
    q.row("cancel_job", job_id=failed["job_id"])
    roll_up_all(q)
    assert db.all(
        "select outcome, bucket is not null as timed, sum(events)::int as n from runledger.job_metrics_slots"
        " where outcome <> 'ENQUEUED' group by 1, 2 order by 1, 2"
    ) == [
        {"outcome": "CANCELED", "timed": False, "n": 2},
        {"outcome": "RELEASED", "timed": False, "n": 1},
        {"outcome": "RETRYABLE", "timed": True, "n": 1},
    ]


def test_each_attempt_has_one_duration(q: Ledger, db: Db):
    """Also when its end is told by two events, and for canceled and continued ones."""
    q.dead()
    q.row("cancel_job", job_id=q.leased()["job_id"])
    q.row("continue_job", **q.leased())
    attempts = db.value("select count(*) from runledger.job_attempts where finished_at is not null")
    spent = db.value(
        "select sum(extract(epoch from finished_at - started_at) * 1000000)::int8 from runledger.job_attempts"
    )
    roll_up_all(q)
    for table in ("job_metrics_slots", "job_metrics_totals"):
        assert db.one(
            f"select sum(events)::int as n, sum(duration_us)::int8 as us from runledger.{table} where bucket is not null"
        ) == {"n": attempts, "us": spent}


@pytest.mark.corrupts  # durations are written by hand
@pytest.mark.parametrize("n", [1, 2, 3, 10, 999])
def test_percentiles_are_right_within_five_percent(q: Ledger, db: Db, n: int):
    chance = random.Random(n)
    durations = [
        10 ** chance.uniform(-3, 6) for _ in range(n)
    ]  # milliseconds: from a microsecond to a quarter of an hour
    q.enqueue_many(n)
    q.finish(*({"job_id": c["job_id"], "lease_token": c["lease_token"], "outcome": "SUCCEEDED"} for c in q.claim(999)))
    db.execute(
        "update runledger.job_attempts a set started_at = finished_at - w.ms * interval '1 ms'"
        "  from unnest(%s::uuid[], %s::float8[]) as w(id, ms) where w.id = a.job_id",
        [db.column("select id from runledger.job_queue"), durations],
    )
    right = db.one(
        "select percentile_cont(array[0.5, 0.95]) within group (order by extract(epoch from finished_at - started_at) * 1000) as p"
        " from runledger.job_attempts"
    )["p"]
    for _ in range(2):
        for row in (view(db), q.row("job_metrics")):
            assert float(row["p50_duration_ms_24h"]) == pytest.approx(right[0], rel=0.05, abs=0.001)
            assert float(row["p95_duration_ms_24h"]) == pytest.approx(right[1], rel=0.05, abs=0.001)
        roll_up_all(q)


def test_powers_of_ten_are_bounds_of_buckets(db: Db):
    """So that a histogram of decades needs no guess: exactly a second lies in "at most a second"."""
    for decade in range(12):
        at, above = (
            db.value("select ceil(26 * log(%s::float8))::int", [us]) for us in (10**decade, 10**decade * 1.0001 + 1e-9)
        )
        assert (at, above) == (26 * decade, 26 * decade + 1)
    assert math.isclose(2 / (1 + 10 ** (1 / 26)) / 1000, 0.000955748, rel_tol=1e-6)


def test_the_window_is_of_24_hours(q: Ledger, db: Db, clock: Clock):
    clock.advance(-timedelta(hours=24, minutes=11))
    q.succeed(q.leased())
    clock.advance(timedelta(minutes=12))
    q.succeed(q.leased())
    for _ in range(2):
        assert view(db)["succeeded_24h"] == 1
        assert q.row("job_metrics")["succeeded_24h"] == 2
        roll_up_all(q)
    clock.advance(timedelta(hours=24, minutes=6))
    assert q.row("job_metrics")["succeeded_24h"] == 0
    assert totals(db)["t", "SUCCEEDED"] == 2


def test_slots_are_kept_for_eight_days_and_totals_for_ever(q: Ledger, db: Db, clock: Clock):
    q.succeed(q.leased())
    assert roll_up_all(q) == 2
    clock.advance(timedelta(days=7, hours=23))
    q.succeed(q.leased())
    roll_up_all(q)
    assert slots(db)["t", None, "SUCCEEDED"] == 2
    clock.advance(timedelta(hours=2))
    roll_up_all(q)
    assert slots(db)["t", None, "SUCCEEDED"] == 1
    assert totals(db) == {("t", "ENQUEUED"): 2, ("t", "SUCCEEDED"): 2}


def test_rolling_up_twice_counts_once(q: Ledger, db: Db):
    q.succeed(q.leased())
    assert roll_up_all(q) == 2
    assert roll_up(q) == (0, False)
    assert roll_up_all(q) == 0
    assert slots(db) == happened(db)


def test_a_pass_is_bounded_and_says_that_there_is_more(q: Ledger, db: Db):
    q.enqueue_many(10)
    roll_up_all(q)
    q.enqueue_many(10)
    steps = []
    while sum(n for n, _ in steps) < 10:
        mark = "select runledger._event_mark() as id offset 0"
        step = db.one(f"select r.* from ({mark}) m, runledger._roll_up(m.id, 4, runledger._now()) r")
        steps += [tuple(step.values())] if step["affected"] else []
    assert steps == [(4, True), (4, True), (2, False)]
    assert slots(db) == happened(db) == {("t", None, "ENQUEUED"): 20}


def test_a_transaction_that_commits_late_is_counted_once(q: Ledger, db: Db):
    late = q.on(autocommit=False)
    late.enqueue()
    q.enqueue_many(2)
    assert roll_up(q) == (0, False)
    assert slots_and_tail(db)["t", None, "ENQUEUED"] == 2
    late.conn.commit()
    assert slots_and_tail(db)["t", None, "ENQUEUED"] == 3
    assert roll_up_all(q) == 3
    assert slots(db) == slots_and_tail(db) == happened(db)


def test_the_latest_of_several_open_transactions_is_waited_for(q: Ledger, db: Db):
    """The second one has a transaction id at or above the xmax of any snapshot taken while both are open."""
    first, second = q.on(autocommit=False), q.on(autocommit=False)
    first.enqueue()
    second.enqueue()
    assert roll_up(q) == (0, False)
    first.conn.commit()
    assert roll_up(q) == (0, False)
    q.enqueue()
    assert roll_up(q)[0] <= 1
    second.conn.commit()
    roll_up_all(q)
    assert slots(db) == happened(db) == {("t", None, "ENQUEUED"): 3}


def test_while_a_writer_stays_open_the_tail_grows_and_stays_exact(q: Ledger, db: Db):
    held = q.on(autocommit=False)
    held.enqueue()
    for n in range(1, 6):
        q.succeed(q.leased())
        assert roll_up(q) == (0, False)
        assert view(db)["succeeded_24h"] == n
    held.conn.rollback()
    assert roll_up_all(q) == 10
    assert slots(db) == happened(db)


def test_a_held_snapshot_of_a_reader_delays_nothing(q: Ledger, db: Db):
    reader = q.on(autocommit=False)
    reader.conn.execute("set transaction isolation level repeatable read")
    before = reader.rows("job_metrics")
    q.succeed(q.leased())
    assert roll_up_all(q) == 2
    # It sees the ledger of its time: neither the new slots nor the new events.
    assert reader.rows("job_metrics") == before
    assert view(db)["succeeded_24h"] == 1


def test_what_was_rolled_back_is_not_counted(q: Ledger, db: Db):
    gone = q.on(autocommit=False)
    gone.succeed(gone.leased())
    gone.conn.rollback()
    q.enqueue()
    assert roll_up_all(q) == 1
    assert slots(db) == happened(db) == {("t", None, "ENQUEUED"): 1}


def test_a_caller_that_has_written_marks_nothing(q: Ledger, db: Db):
    """It may have drawn event ids before others that are smaller transactions."""
    caller = q.on(autocommit=False)
    caller.enqueue()
    assert roll_up(caller) == (0, False)
    caller.conn.commit()
    assert db.value("select mark_id from runledger.upkeep_state") is None
    assert roll_up_all(q) == 1


def test_after_a_logical_restore_counting_goes_on(q: Ledger, db: Db):
    """Transaction ids begin anew, event ids go on: the mark is of a future that does not come."""
    q.enqueue()
    roll_up_all(q)
    q.enqueue()
    db.execute("update runledger.upkeep_state set mark_id = rolled_up_to + 1, mark_xid = '900000000'")
    q.enqueue()
    roll_up_all(q)
    assert slots(db) == happened(db) == {("t", None, "ENQUEUED"): 3}


def test_a_day_has_24_hours_in_a_session_whose_clocks_were_put_forward(q: Ledger, db: Db, clock: Clock):
    """The zone of this session changed its offset today at midnight: by its calendar a day has 23 hours."""
    clock.advance(-timedelta(hours=23, minutes=30))
    q.succeed(q.leased())
    db.execute("update public.test_clock set shift = '0'")  # adding it up would leave a day less 24 hours
    today = db.value("select extract(doy from now() at time zone 'UTC')::integer - 1")
    db.execute(f"set timezone = 'AAA0BBB,{today}/0,{(today + 100) % 365}/0'")
    assert db.value("select now() - interval '1 day'") > db.value("select now() - interval '24 hours'")
    assert view(db)["succeeded_24h"] == q.on(db.conn).row("job_metrics", job_type="t")["succeeded_24h"] == 1


def test_event_ids_are_not_handed_out_in_advance(db: Db):
    """A cached id would be drawn long before it is used, by a younger transaction than the mark assumes."""
    assert db.value("select seqcache from pg_sequence where seqrelid = 'runledger.job_events_id_seq'::regclass") == 1


def test_who_may_read_the_view_needs_nothing_else(q: Ledger, db: Db, stranger: str):
    q.succeed(q.leased())
    db.execute(f"grant usage on schema runledger to {stranger}")
    db.execute(f"grant select on runledger.job_metrics_rollup to {stranger}")
    with db.connect(role=stranger) as conn:
        assert conn.execute("select succeeded_24h from runledger.job_metrics_rollup").fetchall() == [(1,)]
    roll_up_all(q)
    with db.connect(role=stranger) as conn:
        assert conn.execute("select succeeded_24h from runledger.job_metrics_rollup").fetchall() == [(1,)]


@pytest.mark.parametrize("seed", range(4))
def test_slots_and_tail_are_what_happened(q: Ledger, db: Db, seed: int):
    """Any mix of jobs, with roll-ups in between and a writer that comes and goes."""
    chance = random.Random(seed)
    kinds = ("RETRYABLE", "TERMINAL", "PANICKED", "TIMEOUT")
    types = ("t", "u")
    q.define("u", max_attempts=2)
    late, is_open = q.on(autocommit=False), False
    for _ in range(120):
        name, tenant = chance.choice(types), chance.choice((None, TENANT, OTHER_TENANT))
        match chance.choice(("enqueue", "finish", "finish", "cancel", "requeue", "late", "roll")):
            case "enqueue":
                q.enqueue_many(chance.randint(1, 3), name, **({"organization_id": str(tenant)} if tenant else {}))
            case "finish":
                outcomes = []
                for lease in q.claim(chance.randint(1, 4), *types):
                    what = chance.choice(("SUCCEEDED", "FAILED", "FAILED", "CONTINUE", "RELEASE"))
                    more = {"FAILED": {"kind": chance.choice(kinds), "error_code": "e.x", "error_message": "x"},
                            "RELEASE": {"reason": "x"}}.get(what, {})  # fmt: skip
                    outcomes.append(
                        {"job_id": lease["job_id"], "lease_token": lease["lease_token"], "outcome": what, **more}
                    )
                q.finish(*outcomes) if outcomes else None
            case "cancel":
                for lease in q.claim(1, *types):
                    q.row("cancel_job", job_id=lease["job_id"])
            case "requeue":
                for job_id in db.column("select id from runledger.job_queue where status = 'DEAD_LETTERED' limit 1"):
                    q.row("requeue_job", job_id=job_id)
            case "late" if is_open:
                late.conn.commit() if chance.random() < 0.7 else late.conn.rollback()
                is_open = False
            case "late":
                late.enqueue(name, organization_id=tenant)
                is_open = True
            case "roll":
                roll_up(q)
        if chance.random() < 0.1:
            assert slots_and_tail(db) == happened(db)
    late.conn.commit()
    assert slots_and_tail(db) == happened(db)
    roll_up_all(q)
    assert slots(db) == happened(db)
    assert totals(db) == over_tenants(happened(db))
    assert sum(happened(db).values()) > 100


@pytest.mark.parametrize("is_held", [False, True])
def test_full_pages_of_events_are_summarised_unless_somebody_is_in_the_way(db: Db, q: Ledger, sessions: Any, is_held: bool):
    q.enqueue_many(3000)
    partition = db.value("select distinct tableoid::regclass::text from runledger.job_events")
    (holder,) = sessions("holder")
    if is_held:
        holder.begin().execute(f"lock table {partition} in share update exclusive mode")
    assert roll_up_all(q) == 3000
    before = q.conn.execute("show lock_timeout").fetchone()
    with q.conn.transaction():
        q.conn.execute("select runledger._summarize_events(0, 3000)")
        assert q.conn.execute("show lock_timeout").fetchone() == before
    assert q.conn.execute("show lock_timeout").fetchone() == before
    if is_held:
        holder.rollback()
    index = db.value(
        "select i.inhrelid::regclass::text from pg_inherits as i join pg_index as x on x.indexrelid = i.inhrelid"
        " where i.inhparent = 'runledger.job_events_id_idx'::regclass and x.indrelid = %s::regclass", [partition],
    )  # fmt: skip
    # What is left is more than the last range, which is not full.
    assert (db.value("select brin_summarize_new_values(%s)", [index]) > 1) is is_held
