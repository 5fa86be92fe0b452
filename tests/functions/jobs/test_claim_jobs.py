"""claim_jobs: which jobs, in which order, and what a claim writes."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import TENANT, Ledger, Raw

PAST = datetime(2020, 1, 1, tzinfo=UTC)


def spread(db: Db, n: int, types: list[str], priorities: list[int], due: list[str], seed: int = 1) -> None:
    """Insert n pending jobs of mixed types, priorities and due times."""
    rnd = random.Random(seed)
    rows = [(rnd.choice(types), rnd.choice(priorities), rnd.choice(due)) for _ in range(n)]
    db.execute(
        """insert into runledger.job_queue (id, job_type, priority, max_attempts, timeout_seconds, next_run_at, created_at, updated_at)
           select runledger._uuidv7(), r.t, r.p, 3, 60, now() + r.due::interval, now(), now()
             from unnest(%s::text[], %s::int[], %s::text[]) as r(t, p, due)""",
        [list(x) for x in zip(*rows, strict=True)],
    )
    # They were not enqueued by a function, but fsck asks for the event.
    db.execute(
        """insert into runledger.job_events (job_id, run_number, event_type, stage, payload, occurred_at)
           select q.id, 1, 'ENQUEUED', 'queued', jsonb_build_object('job_type', q.job_type), q.created_at from runledger.job_queue q"""
    )


def expected(db: Db, types: list[str], n: int) -> list:
    """The jobs a claim of these types must give, by the plain statement of the rule."""
    return db.column(
        """select id from runledger.job_queue where status = 'PENDING' and next_run_at <= clock_timestamp() and job_type = any (%s)
            order by priority desc, next_run_at, id limit %s""",
        [types, n],
    )


def test_a_claim_hands_out_what_the_handler_needs(q: Ledger):
    job_id = q.enqueue(payload={"a": 1}, organization_id=TENANT, priority=9, max_attempts=4, timeout_seconds=30)
    [claimed] = q.claim(worker="w1", lease_seconds=90)
    job = q.job(job_id)
    assert claimed == {
        "job_id": job_id, "lease_token": job["lease_token"], "job_type": "t", "organization_id": TENANT, "payload": {"a": 1},
        "checkpoint": None, "run_number": 1, "attempt": 1, "max_attempts": 4, "priority": 9, "timeout_seconds": 30,
        "lease_expires_at": job["lease_expires_at"], "workflow_run_id": None, "step_key": None, "inputs": None,
        "inputs_omitted": False, "created_at": job["created_at"],
    }  # fmt: skip


def test_a_claim_leases_charges_and_starts(q: Ledger):
    job_id = q.enqueue()
    q.claim(worker="w1", lease_seconds=90)
    job, [attempt] = q.job(job_id), q.db.attempts(job_id)
    assert (job["status"], job["attempt"], job["worker_id"], job["stage"]) == ("LEASED", 1, "w1", "running")
    assert job["lease_expires_at"] - job["last_heartbeat_at"] == timedelta(seconds=90)
    assert job["started_at"] == job["last_heartbeat_at"] == attempt["leased_at"] == attempt["started_at"]
    assert (attempt["run_number"], attempt["attempt"], attempt["worker_id"], attempt["lease_token"]) == (
        1,
        1,
        "w1",
        job["lease_token"],
    )
    assert (attempt["claim_origin"], attempt["finished_at"], attempt["disposition"]) == ("DIRECT", None, None)
    assert q.told(job_id) == [("ENQUEUED", 1, None), ("LEASED", 1, 1)]
    event = q.event(job_id, "LEASED")
    assert (event["stage"], event["payload"]) == ("running", {"worker_id": "w1", "lease_duration_seconds": 90})


def test_a_prestart_claim_is_charged_but_not_started(q: Ledger):
    lease = q.leased(prestart=True)
    [attempt] = q.db.attempts(lease["job_id"])
    assert (attempt["claim_origin"], attempt["started_at"]) == ("WORKER_PRESTART", None)
    job = q.job(lease["job_id"])
    assert (job["status"], job["attempt"], job["stage"]) == ("LEASED", 1, "queued")


def test_tokens_rise_with_every_claim(q: Ledger):
    q.enqueue_many(20)
    tokens = [c["lease_token"] for c in q.claim(10) + q.claim(10)]
    assert len(set(tokens)) == 20
    assert max(tokens[:10]) < min(tokens[10:])


def test_a_retry_keeps_when_the_run_started(q: Ledger, clock: Clock):
    lease = q.leased()
    first = q.job(lease["job_id"])["started_at"]
    q.fail(lease)
    clock.advance(60)
    q.hold(lease["job_id"])
    job = q.job(lease["job_id"])
    assert (job["started_at"], job["attempt"]) == (first, 2)


def test_claims_go_by_priority_then_due_time_then_id(q: Ledger):
    low = q.enqueue(priority=1)
    late = q.enqueue(priority=5, run_at=PAST + timedelta(hours=1))
    early = q.enqueue(priority=5, run_at=PAST)
    tie = [q.enqueue(priority=5, run_at=PAST + timedelta(minutes=1)) for _ in range(3)]
    negative = q.enqueue(priority=-1)
    assert q.ids(100) == [early, *tie, late, low, negative]


@pytest.mark.parametrize("types", [["a"], ["a", "b"], ["a", "b", "c", "d"]], ids=len)
def test_claims_agree_with_the_plain_rule(db: Db, q: Ledger, types: list[str]):
    for name in "abcd":
        q.define(name)
    spread(db, 600, list("abcd"), [1, 5, 5, 100, -3], ["-1 hour", "-1 minute", "-2 minutes", "1 hour", "0"])
    while want := expected(db, types, 37):
        # A session of its own looks without a mark; this one with the mark of its last claim.
        assert q.ids(37, *types) == want
    assert q.claim(1, *types) == []


@pytest.mark.parametrize("types", [["a"], ["a", "b"]], ids=len)
def test_many_priorities_of_others_hide_none_of_ours(db: Db, q: Ledger, types: list[str]):
    """A hundred priorities, most of them without a job of these types, or with delayed ones only."""
    for name in ("a", "b", "huge"):
        q.define(name)
    spread(db, 1200, ["a", "b"] + ["huge"] * 40, list(range(-50, 50)), ["-1 hour", "-1 minute", "1 hour", "0"], seed=7)
    assert expected(db, types, 100)
    while want := expected(db, types, 3):
        assert q.ids(3, *types) == want
    assert q.claim(1, *types) == []


def test_a_claim_respects_its_limit(q: Ledger):
    q.enqueue_many(5)
    assert [len(q.claim(n)) for n in (2, 1, 10, 10)] == [2, 1, 2, 0]


def test_a_claim_takes_only_its_types(q: Ledger):
    q.define("u")
    job_id = q.enqueue("u")
    assert q.claim(10, "t") == q.claim(10, "T") == q.claim(10, "nobody") == []
    assert q.ids(10, "u", "u", "nobody") == [job_id]


def test_no_types_claim_nothing(q: Ledger):
    q.enqueue()
    assert q.rows("claim_jobs", worker_id="w", job_types=[], max_jobs=10) == []


def test_a_delayed_job_is_claimed_when_its_time_comes(q: Ledger, clock: Clock):
    job_id = q.enqueue(run_at=clock.now() + timedelta(seconds=60), priority=1000)
    ready = q.enqueue()
    assert q.ids(10) == [ready]
    clock.advance(61)
    assert q.ids(10) == [job_id]


def test_only_pending_jobs_are_claimed(q: Ledger):
    done, dead, canceled = q.leased(), q.leased(), q.leased()
    q.succeed(done)
    q.fail(dead, kind="TERMINAL")
    q.row("cancel_job", job_id=canceled["job_id"])
    q.leased()
    assert q.claim(10) == []


def test_a_backlog_of_types_nobody_here_handles_hides_nothing(db: Db, q: Ledger):
    for name in ("huge", "a", "b"):
        q.define(name)
    spread(db, 3000, ["huge"], [100], ["-1 hour"])
    jobs = [q.enqueue("a"), q.enqueue("b"), q.enqueue("a", priority=7)]
    assert q.ids(3, "a", "b") == jobs
    assert q.ids(3, "a", "b") == []


def test_jobs_of_one_type_do_not_hide_those_of_another(db: Db, q: Ledger):
    for name in ("a", "b", "c"):
        q.define(name)
    spread(db, 500, ["a", "c"], [100], ["-1 hour"])
    job_id = q.enqueue("b", run_at=PAST)
    assert q.ids(1, "a", "b") == [job_id]


def test_a_rolled_back_claim_never_happened(q: Ledger):
    job_ids = q.enqueue_many(3)
    other = q.on(autocommit=False)
    with q.unchanged():
        assert other.ids(2) == job_ids[:2]
        other.conn.rollback()
    assert other.ids(3) == job_ids


def test_many_locked_jobs_hide_none_behind_them(db: Db, q: Ledger):
    """Also when a backlog of another type makes the claim read each type's own lane."""
    for name in ("huge", "a", "b"):
        q.define(name)
    spread(db, 300, ["huge"], [100], ["-1 hour"])
    jobs = q.enqueue_many(60, "a")
    other = q.on(autocommit=False)
    other.conn.execute("select from runledger.job_queue where id = any (%s) for update", [jobs[:55]])
    assert q.ids(5, "a", "b") == jobs[55:]
    other.conn.rollback()
    assert q.ids(5, "a", "b") == jobs[:5]


def test_locked_jobs_are_skipped_not_waited_for(q: Ledger):
    first, second = q.enqueue_many(2)
    other = q.on(autocommit=False)
    other.conn.execute("select from runledger.job_queue where id = %s for update", [first])
    q.conn.execute("set statement_timeout = '10s'")
    assert q.ids(10) == [second]
    other.conn.rollback()


# The low-water mark of a session: it saves cost and must hide nothing for long.


def test_a_job_below_the_mark_is_found_at_once_when_nothing_else_is_left(q: Ledger):
    first, second, third = q.enqueue_many(3)
    assert q.ids(2) == [first, second]
    late = q.enqueue(run_at=PAST)
    # One of them now, the other by the next call at the latest: usually the late one, which lies below the mark.
    assert {*q.ids(1), *q.ids(10)} == {third, late}


@pytest.mark.parametrize("are_counted", [True, False])
def test_a_look_that_met_little_is_cheap_however_long_it_took(db: Db, q: Ledger, are_counted: bool):
    """On a machine that is busy with other things it takes long. Where nothing is counted only the time tells."""
    db.execute(f"alter database {db.database.name} set track_counts = {are_counted}")
    db.execute("create sequence public.ticks; grant usage on sequence public.ticks to public")
    # Every look at the clock finds that thirty milliseconds have passed.
    db.execute(
        "create or replace function runledger._now() returns timestamptz language sql volatile as $$"
        f" select timestamptz '{q.db.value('select now()')}' + nextval('public.ticks') * interval '30 ms' $$"
    )
    worker = q.on()
    q.enqueue_many(3)
    assert len(worker.ids(3)) == 3
    late = q.enqueue(run_at=PAST)
    assert worker.ids(1) == ([late] if are_counted else [])


def test_a_job_below_the_mark_is_found_within_a_second(q: Ledger, clock: Clock):
    # Enough ready jobs that every claim is filled from above the mark.
    q.enqueue_many(50)
    q.claim(5)
    late = q.enqueue(run_at=PAST)
    found = []
    for _ in range(5):
        clock.advance(0.3)
        found.append(late in q.ids(5))
    assert sum(found) == 1


def test_a_job_of_a_new_priority_is_found_at_once(q: Ledger):
    for priority in (100, 50):
        q.enqueue_many(20, priority=priority)
    q.claim(30)
    between, above = q.enqueue(priority=70, run_at=PAST), q.enqueue(priority=200, run_at=PAST)
    assert q.ids(2) == [above, between]


def test_the_mark_is_of_the_same_types_only(q: Ledger):
    q.define("u")
    old = q.enqueue("u", run_at=PAST)
    q.enqueue_many(10)
    q.claim(5, "t")
    assert q.ids(1, "t", "u") == [old]


def test_a_look_from_the_start_that_was_dear_is_not_repeated_at_once(q: Ledger, clock: Clock):
    """Under a held snapshot it walks over all that was claimed since: it may take a twentieth of the time, no more."""
    q.enqueue_many(5)
    q.claim(5)
    q.conn.execute("""select set_config('runledger.claim_mark',
        (current_setting('runledger.claim_mark')::jsonb || '{"look_took": "00:00:01"}')::text, false)""")
    behind = q.enqueue(run_at=PAST)
    assert q.ids(5) == []
    clock.advance(19)
    assert q.ids(5) == []
    ahead = q.enqueue()
    assert q.ids(5) == [ahead]
    clock.advance(2)
    assert q.ids(5) == [behind]


def garbage() -> list[str]:
    scope, now = "{scope}", "{now}"
    uuid = "00000000-0000-0000-0000-000000000000"

    def mark(**fields: object) -> str:
        return json.dumps({"scope": scope, "looked_at": now, "priorities": [], "due_ats": [], "ids": [], **fields})

    return [
        "", "x", "null", "1", "[]", "[[[", "{}", '{"scope": 1}', '{"scope": "{scope}", "looked_at": "yesterday"}',
        mark(), mark(priorities=[1]), mark(priorities="x"), mark(priorities=[None], due_ats=[None], ids=[None]),
        mark(priorities=[100], due_ats=["x"], ids=[uuid]), mark(priorities=[1e99], due_ats=[now], ids=[uuid]),
        mark(priorities=[[100], [50]], due_ats=[[now], [now]], ids=[[uuid], [uuid]]),
        mark(priorities=[[100, 50]], due_ats=[now, now], ids=[uuid, uuid]),
        mark(priorities=[1, 100, 1], due_ats=["-infinity"] * 3, ids=[uuid] * 3),
        mark(priorities=[2147483647], due_ats=["infinity"], ids=[uuid]), mark(looked_at="infinity"), mark(looked_at=None),
        mark(priorities=[-2147483648], due_ats=["-infinity"], ids=[uuid]), mark(look_took="x"), mark(look_took=1e99),
        mark(look_took="178000000 years"), mark(look_took="-178000000 years"), mark(look_took=None),
    ]  # fmt: skip


def test_nonsense_in_the_mark_loses_the_shortcut_and_no_more(q: Ledger):
    """Whatever a session writes there, its claims are right: distinct jobs, and all of them in the end."""
    for text in garbage():
        for names in (("t",), ("t", "u")):
            q.define("u")
            job_ids = q.enqueue_many(6) + q.enqueue_many(2, priority=50)
            now = datetime.now(UTC).isoformat()
            scope = "".join(q.db.column("select runledger._claim_scope(%s)", [list(names)]))
            q.conn.execute(
                "select set_config('runledger.claim_mark', %s, false)",
                [text.replace("{now}", now).replace("{scope}", scope)],
            )
            first = q.ids(2, *names)
            assert len(set(first)) == 2, text
            assert {*first, *q.ids(10, *names)} == set(job_ids), text


def test_a_claim_that_hangs_does_not_keep_the_others_from_what_lies_behind_it(q: Ledger):
    """One session holds as many jobs as a claim can take, in a transaction that does not end."""
    q.define("u")
    q.enqueue_many(1000)
    behind = q.enqueue_many(70, "u")
    hangs = q.on(autocommit=False)
    assert len(hangs.ids(1000)) == 1000
    assert q.ids(1, "t", "u") == behind[:1]
    hangs.conn.rollback()


# Fleet-wide limits.


def test_a_limited_type_gives_its_free_slots(q: Ledger):
    q.define("one", max_concurrency=2)
    job_ids = q.enqueue_many(5, "one")
    held = q.claim(10, "one")
    assert [c["job_id"] for c in held] == job_ids[:2]
    assert q.claim(10, "one", worker="w2") == []
    q.succeed({k: held[0][k] for k in ("job_id", "lease_token")})
    assert q.ids(10, "one", worker="w2") == job_ids[2:3]


def test_limited_and_open_types_are_merged_in_order(q: Ledger):
    q.define("a", max_concurrency=1)
    q.define("b", max_concurrency=2)
    # Enqueued from the last to the first, so that the order of ids is no help.
    made = {
        p: q.enqueue(t, priority=p) for p, t in ((3, "b"), (4, "a"), (5, "t"), (6, "b"), (7, "a"), (8, "t"), (9, "b"))
    }
    assert q.ids(2, "t", "a", "b") == [made[9], made[8]]
    assert q.ids(9, "t", "a", "b") == [made[7], made[6], made[5]]
    assert set(q.db.column("select id from runledger.job_queue where status = 'PENDING'")) == {made[4], made[3]}


@pytest.mark.parametrize("max_jobs", [1, 2, 3, 5])
def test_what_loses_the_merge_is_met_by_the_next_claim(q: Ledger, clock: Clock, max_jobs: int):
    """Also while looks from the start are dear: the mark had moved past jobs that were locked and not taken."""
    q.define("one", max_concurrency=2)
    q.claim(1, "t", "one")
    q.conn.execute("""select set_config('runledger.claim_mark',
        (current_setting('runledger.claim_mark')::jsonb || '{"look_took": "00:00:02"}')::text, false)""")
    clock.advance(1)
    jobs = []
    # Further apart than a claim reads anew before its mark for what was committed late.
    for priority in (300, 200, 100):
        for _ in range(2):
            jobs.append(q.enqueue(priority=priority))
            clock.advance(0.5)
    jobs[2:2] = [q.enqueue("one", priority=250)]
    jobs[0:0] = [q.enqueue("one", priority=400)]
    taken = []
    while ids := q.ids(max_jobs, "t", "one"):
        taken += ids
    assert set(taken) == set(jobs)
    assert taken[:max_jobs] == jobs[:max_jobs]


def test_what_loses_the_merge_is_due_for_who_goes_idle(q: Ledger, clock: Clock):
    """The walk went to the end of the queue, so that it knew of nothing before; the jobs it did not take are before."""
    q.define("one", max_concurrency=2)
    q.row("register_worker", worker_id="w1", job_types=["t", "one"], max_jobs=3)
    q.claim(1, "t", "one")
    q.conn.execute("""select set_config('runledger.claim_mark',
        (current_setting('runledger.claim_mark')::jsonb || '{"look_took": "00:00:02"}')::text, false)""")
    clock.advance(1)
    q.enqueue_many(2)
    limited = q.enqueue_many(2, "one", priority=200)
    clock.advance(1)
    [*_, taken] = q.ids(3, "t", "one")
    assert taken not in limited
    due = q.row("idle_worker", worker_id="w1", until=clock.now() + timedelta(minutes=1))["next_due_at"]
    assert due == q.db.value("select next_run_at from runledger.job_queue where status = 'PENDING'")


def test_an_expired_lease_gives_its_slot_back(q: Ledger, clock: Clock):
    q.define("one", max_concurrency=1)
    first, second = q.enqueue_many(2, "one")
    q.hold(first, "one", lease_seconds=10)
    assert q.claim(10, "one") == []
    clock.advance(11)
    q.hold(second, "one")


def test_a_canceled_handler_fills_its_slot_until_it_is_quiet(q: Ledger, clock: Clock):
    q.define("one", max_concurrency=1)
    first = q.leased("one", lease_seconds=10)
    second, third = q.enqueue_many(2, "one")
    q.row("cancel_job", job_id=first["job_id"])
    assert q.claim(10, "one") == []
    # The handler says that it has stopped.
    assert q.finish_one(first, "RELEASE", reason="stopped")["code"] == "job.canceled"
    lease = q.hold(second, "one", lease_seconds=10)
    q.row("cancel_job", job_id=lease["job_id"])
    assert q.claim(10, "one") == []
    # Or its lease would have ended by now.
    clock.advance(11)
    q.hold(third, "one")


def test_a_limit_may_change_while_jobs_run(q: Ledger):
    q.define("one", max_concurrency=3)
    q.enqueue_many(9, "one")
    assert len(q.claim(10, "one")) == 3
    q.define("one", max_concurrency=2)
    assert q.claim(10, "one") == []
    q.define("one", max_concurrency=4)
    assert len(q.claim(10, "one")) == 1
    q.define("one", max_concurrency=0)
    assert len(q.claim(10, "one")) == 5


@pytest.mark.parametrize("plan", ["force_generic_plan", "force_custom_plan"])
def test_no_plan_claims_more_than_was_asked_for(db: Db, q: Ledger, plan: str):
    """An update over a subquery with LIMIT and FOR UPDATE claims too much when it is planned as a nested loop."""
    q.define("u")
    q.define("one", max_concurrency=3)
    q.conn.execute(f"set plan_cache_mode = {plan}")
    for off in ("hashjoin", "mergejoin", "hashagg", "material", "bitmapscan", "memoize"):
        q.conn.execute(f"set enable_{off} = off")
    q.enqueue_many(40)
    q.enqueue_many(40, "u")
    q.enqueue_many(40, "one")
    for _ in range(8):
        assert len(q.claim(7, "t", "u")) == 7
    assert len(q.claim(100, "one")) == 3
    assert len(q.claim(1000, "t", "u", "one")) == 24
    assert db.value("select count(*) from runledger.job_queue where status = 'LEASED'") == 83


# Refusals.


@pytest.mark.parametrize(
    "code, arguments",
    [
        ("job.invalid_worker_id", [{"worker_id": x} for x in (None, "", " \n", "w" * 201)]),
        ("job.invalid_job_type", [{"job_types": x} for x in (None, ["t", None], ["t"] * 1001)]),
        ("job.invalid_limit", [{"max_jobs": x} for x in (None, 0, -1, 1001)]),
        ("job.invalid_lease_duration", [{"lease_seconds": x} for x in (None, 0, -1, 86_401)]),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_claim_refuses(q: Ledger, code: str, arguments: list[dict]):
    q.enqueue()
    with q.unchanged():
        for one in arguments:
            with q.refused(code, "RL010"):
                q.rows("claim_jobs", **{"worker_id": "w", "job_types": ["t"], **one})


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_claim_is_refused_above_read_committed(q: Ledger, isolation: str):
    q.enqueue()
    with q.refused("job.claim_unsupported_isolation", "RL013"), q.conn.transaction():
        q.conn.execute(f"set transaction isolation level {isolation}")
        q.claim()
    with q.conn.transaction():
        q.conn.execute("set transaction isolation level read uncommitted")
        assert len(q.claim()) == 1


def test_a_claim_hands_out_the_checkpoint_of_the_last_attempt(q: Ledger, clock: Clock):
    lease = q.leased()
    q.row("report_progress", **lease, checkpoint=Raw('{"page": 7}'))
    q.fail(lease)
    clock.advance(60)
    [claimed] = q.claim()
    assert (claimed["checkpoint"], claimed["attempt"]) == ({"page": 7}, 2)


def test_tokens_of_one_claim_rise_in_its_order(q: Ledger):
    """Not in the order in which the rows lie in the table."""
    q.define()
    later = [q.enqueue(priority=n) for n in (1, 5, 3, 9)]
    claimed = q.claim(4)
    assert [c["job_id"] for c in claimed] == [later[3], later[1], later[2], later[0]]
    assert [c["lease_token"] for c in claimed] == sorted(c["lease_token"] for c in claimed)
