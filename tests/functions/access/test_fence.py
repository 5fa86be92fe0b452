"""Tokens are numbers one after the other: whoever guesses one has nothing, unless their role claimed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger

Acting = Callable[..., Ledger]

# Every verb that takes a token.
VERBS: dict[str, Callable[[Ledger, dict[str, Any]], Any]] = {
    "report_progress": lambda q, x: q.row("report_progress", **x, done=1),
    "log_job": lambda q, x: q.row("log_job", **x, level="info", message="m"),
    "step_inputs": lambda q, x: q.rows("step_inputs", **x),
    "succeed_job": lambda q, x: q.succeed(x),
    "fail_job": lambda q, x: q.fail(x),
    "continue_job": lambda q, x: q.row("continue_job", **x),
    "release_job": lambda q, x: q.row("release_job", **x, reason="r"),
}  # fmt: skip
OUTCOMES = [
    {"outcome": "SUCCEEDED", "output": 1}, {"outcome": "FAILED", "error_code": "e.x"}, {"outcome": "CONTINUE"},
    {"outcome": "RELEASE", "reason": "r"},
]  # fmt: skip


def told(verb: Callable[[], object]) -> tuple[str | None, str | None, str | None]:
    """Everything that an error says."""
    with pytest.raises(psycopg.Error) as caught:
        verb()
    diag = caught.value.diag
    return diag.sqlstate, diag.message_primary, diag.message_detail


def row(db: Db, lease: dict[str, Any]) -> tuple[Any, ...]:
    return db.conn.execute("select q.*, q.xmin from runledger.job_queue q where id = %s", [lease["job_id"]]).fetchone()


def test_the_claim_keeps_its_role(db: Db, acting: Acting, q: Ledger):
    worker = acting("worker")
    q.enqueue()
    [claimed] = worker.claim()
    assert db.job(claimed["job_id"])["lease_role"] == worker.role
    assert db.attempts(claimed["job_id"])[0]["role_name"] == worker.role


@pytest.mark.parametrize("verb", VERBS)
def test_a_guessed_token_is_a_wrong_token(db: Db, acting: Acting, q: Ledger, verb: str):
    """The answer is the same to the letter: nobody learns that the guess was right."""
    holder, thief = acting("worker"), acting("worker")
    job_id = q.enqueue()
    lease = holder.hold(job_id, worker="w1")
    before = row(db, lease)
    right = told(lambda: VERBS[verb](thief, lease))
    wrong = told(lambda: VERBS[verb](thief, {**lease, "lease_token": lease["lease_token"] + 1}))
    assert right == wrong
    assert right[0] == "RL003"
    assert row(db, lease) == before
    assert db.value("select count(*) from runledger.job_logs") == 0
    VERBS[verb](holder, lease)


def line_of(q: Ledger, lease: dict[str, Any]) -> dict[str, Any]:
    """What became of a log line that came with that lease, among others."""
    entry = {"job_id": str(lease["job_id"]), "lease_token": lease["lease_token"], "level": "info", "message": "m"}
    return q.row("log_jobs", entries=[entry])


def test_a_batch_of_lines_stores_only_its_own(acting: Acting, q: Ledger):
    holder, thief = acting("worker"), acting("worker")
    lease = holder.hold(q.enqueue())
    assert line_of(thief, lease) == line_of(thief, {**lease, "lease_token": 1})
    assert line_of(thief, lease)["code"] == "job.lease_owner_mismatch"
    assert line_of(holder, lease)["disposition"] == "STORED"


def test_heartbeats_and_starts_of_another_role_are_lost(db: Db, acting: Acting, q: Ledger):
    holder, thief = acting("worker"), acting("worker")
    lease = holder.hold(q.enqueue(), prestart=True)
    before = row(db, lease)
    assert thief.beat(lease) == ["LOST"]
    assert thief.start(lease) == ["LOST"]
    assert row(db, lease) == before
    assert holder.start(lease) == ["STARTED"]
    assert thief.beat(lease) == ["LOST"]
    assert holder.beat(lease) == ["EXTENDED"]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda o: o["outcome"])
def test_a_batch_finishes_only_its_own(db: Db, acting: Acting, q: Ledger, outcome: dict[str, Any]):
    holder, thief = acting("worker"), acting("worker")
    mine, theirs = thief.hold(q.enqueue()), holder.hold(q.enqueue())
    before = row(db, theirs)
    assert [r["disposition"] for r in thief.finish({**theirs, **outcome})] == ["LEASE_LOST"]
    rows = thief.finish({**theirs, **outcome}, {**mine, **outcome}, {**theirs, "lease_token": 1, **outcome})
    assert [r["disposition"] for r in rows][::2] == ["LEASE_LOST", "LEASE_LOST"]
    assert {k: v for k, v in rows[0].items() if k != "ordinal"} == {k: v for k, v in rows[2].items() if k != "ordinal"}
    assert rows[1]["disposition"] != "LEASE_LOST"
    assert row(db, theirs) == before


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda o: o["outcome"])
def test_a_repeated_completion_is_told_to_its_role_alone(acting: Acting, q: Ledger, outcome: dict[str, Any]):
    holder, thief = acting("worker"), acting("worker")
    lease = holder.hold(q.enqueue())
    [first] = holder.finish({**lease, **outcome})
    [stolen], [wrong] = thief.finish({**lease, **outcome}), thief.finish({**lease, "lease_token": 1, **outcome})
    assert stolen == wrong
    assert stolen["disposition"] == "LEASE_LOST"
    [again] = holder.finish({**lease, **outcome})
    assert (again["disposition"], again["replayed"]) == (first["disposition"], True)


def test_only_the_role_that_holds_a_canceled_lease_says_that_it_is_quiet(db: Db, acting: Acting, q: Ledger):
    holder, thief = acting("worker"), acting("worker")
    lease = holder.hold(q.enqueue())
    q.row("cancel_job", job_id=lease["job_id"])
    before = row(db, lease)
    assert thief.beat(lease) == ["LOST"]
    [late] = thief.finish({**lease, "outcome": "SUCCEEDED"})
    assert (late["disposition"], late["code"]) == ("LEASE_LOST", "job.lease_owner_mismatch")
    assert told(lambda: thief.succeed(lease))[2] == told(lambda: thief.succeed({**lease, "lease_token": 1}))[2]
    assert row(db, lease) == before
    assert holder.beat(lease) == ["CANCELED"]
    [word] = holder.finish({**lease, "outcome": "SUCCEEDED"})
    assert word["code"] == "job.canceled"
    assert db.job(lease["job_id"])["lease_token"] is None
    assert holder.beat(lease) == ["CANCELED"]
    assert thief.beat(lease) == ["LOST"]


def test_leases_are_shown_to_their_role_alone(acting: Acting, q: Ledger):
    """Also to one that gives itself the name of the other's worker."""
    holder, thief = acting("worker"), acting("worker")
    lease = holder.hold(q.enqueue(payload={"secret": 1}), worker="w1")
    assert thief.rows("leased_jobs", worker_id="w1") == []
    [found] = holder.rows("leased_jobs", worker_id="w1")
    assert (found["lease_token"], found["payload"]) == (lease["lease_token"], {"secret": 1})


def test_inputs_are_shown_to_the_role_that_claimed(acting: Acting, q: Ledger):
    holder, thief = acting("worker"), acting("worker")
    q.row("enqueue_workflow", workflow_type="w", steps=[
        {"key": "a", "job_type": "t"}, {"key": "b", "job_type": "t", "after_success": ["a"]}])  # fmt: skip
    [first] = holder.claim()
    holder.succeed({k: first[k] for k in ("job_id", "lease_token")}, output={"secret": 1})
    [second] = holder.claim()
    lease = {k: second[k] for k in ("job_id", "lease_token")}
    with thief.refused("job.lease_owner_mismatch"):
        thief.rows("step_inputs", **lease)
    assert [r["output"] for r in holder.rows("step_inputs", **lease)] == [{"secret": 1}]


def test_members_of_the_role_that_claimed_may_go_on(db: Db, acting: Acting, q: Ledger, new_role: Callable[..., str]):
    """A fleet of logins under one group role that they take on by SET ROLE, and the owner of the schema."""
    group = new_role("group", options="nologin")
    q.row("grant_access", role_name=group, kind="worker")
    member, other = acting(member_of=group), acting(member_of=group)
    outsider = acting("worker")
    member.conn.execute(f"set role {group}")
    lease = member.hold(q.enqueue())
    assert db.job(lease["job_id"])["lease_role"] == group
    assert outsider.beat(lease) == ["LOST"]
    assert other.beat(lease) == ["EXTENDED"]
    assert q.beat(lease) == ["EXTENDED"]
    member.conn.execute("reset role")
    assert member.succeed(lease)["disposition"] == "SUCCEEDED"
    assert other.succeed(lease)["replayed"]


def test_a_member_does_all_that_the_role_may(db: Db, acting: Acting, q: Ledger, new_role: Callable[..., str]):
    group = new_role("group", options="nologin")
    q.row("grant_access", role_name=group, kind="worker")
    member, other = acting(member_of=group), acting(member_of=group)
    member.conn.execute(f"set role {group}")

    def lease(**claim: Any) -> dict[str, Any]:
        lease.made += 1  # type: ignore[attr-defined]
        job_type = f"t{lease.made}"  # type: ignore[attr-defined]
        q.define(job_type)
        return member.hold(q.enqueue(job_type), job_type, **claim)

    lease.made = 0  # type: ignore[attr-defined]
    assert other.start(lease(prestart=True)) == ["STARTED"]
    held = lease()
    until = db.job(held["job_id"])["lease_expires_at"]
    assert other.beat(held, lease_seconds=600) == ["EXTENDED"]
    assert db.job(held["job_id"])["lease_expires_at"] > until
    other.row("report_progress", **held, done=1)
    other.row("log_job", **held, level="info", message="m")
    assert line_of(other, held)["disposition"] == "STORED"
    for outcome in OUTCOMES:
        for alone in (True, False):
            asked = [{**lease(), **outcome}, *([] if alone else [{**lease(), "outcome": "FAILED", "error_code": "e.x"}])]
            assert "LEASE_LOST" not in {r["disposition"] for r in other.finish(*asked)}
            assert all(r["replayed"] for r in other.finish(*asked))
    q.row("cancel_job", job_id=held["job_id"])
    assert other.beat(held) == ["CANCELED"]
    with other.refused("job.canceled"):
        other.row("report_progress", **held, done=1)
    assert other.finish_one(held, "SUCCEEDED")["code"] == "job.canceled"
    q.define("s")
    q.row("enqueue_workflow", workflow_type="w", steps=[{"key": "a", "job_type": "s"}])
    [step] = member.claim(1, "s")
    assert other.rows("step_inputs", job_id=step["job_id"], lease_token=step["lease_token"]) == []


def test_a_member_speaks_for_the_workers_of_its_role(db: Db, acting: Acting, q: Ledger, new_role: Callable[..., str]):
    group = new_role("group", options="nologin")
    q.row("grant_access", role_name=group, kind="worker")
    member, other = acting(member_of=group), acting(member_of=group)
    member.conn.execute(f"set role {group}")
    for worker in "vw":
        member.row("register_worker", worker_id=worker, job_types=["t"])
    other.row("idle_worker", worker_id="v")
    assert other.row("deregister_worker", worker_id="v") == {"deregister_worker": True}
    other.row("register_worker", worker_id="w", job_types=["u"])
    assert db.one("select job_types, role_name from runledger.workers") == {"job_types": ["u"], "role_name": other.role}  # type: ignore[attr-defined]


def test_siblings_do_not_share_leases(acting: Acting, q: Ledger, new_role: Callable[..., str]):
    """Members of one group who claim as themselves are two roles."""
    group = new_role("group", options="nologin")
    q.row("grant_access", role_name=group, kind="worker")
    one, other = acting(member_of=group), acting(member_of=group)
    lease = one.hold(q.enqueue())
    assert other.beat(lease) == ["LOST"]
    assert one.beat(lease) == ["EXTENDED"]


@pytest.mark.parametrize("role", ["none", "default"])
def test_set_role_gives_nobody_a_lease(acting: Acting, q: Ledger, role: str):
    holder, thief = acting("worker"), acting("worker")
    lease = holder.hold(q.enqueue())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        thief.conn.execute(f"set role {holder.role}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        thief.conn.execute("select set_config('role', %s, false)", [holder.role])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        thief.conn.execute(f"set session authorization {holder.role}")
    thief.conn.execute(f"set role {role}" if role == "none" else "reset role")
    assert thief.beat(lease) == ["LOST"]


def test_a_role_that_is_gone_leaves_its_leases_to_the_reaper(db: Db, acting: Acting, q: Ledger, clock: Clock):
    holder, other = acting("worker"), acting("worker")
    lease = holder.hold(q.enqueue())
    q.rows("revoke_access", role_name=holder.role)
    holder.conn.close()
    db.execute(f"drop role {holder.role}")
    assert other.beat(lease) == ["LOST"]
    assert q.beat(lease) == ["EXTENDED"]
    clock.advance(61)
    assert [r["disposition"] for r in other.rows("reap_expired_leases")] == ["RETRY_SCHEDULED"]
    job = db.job(lease["job_id"])
    assert (job["lease_role"], job["lease_token"]) == (None, None)
    db.execute(f"create role {holder.role}")


@pytest.mark.parametrize(
    ("ends", "keeps"),
    [
        (lambda q, x: q.succeed(x), False),
        (lambda q, x: q.fail(x), False),
        (lambda q, x: q.row("continue_job", **x), False),
        (lambda q, x: q.row("release_job", **x, reason="r"), True),
        (lambda q, x: q.row("cancel_job", job_id=x["job_id"]), True),
    ],
    ids=["succeeded", "failed", "continued", "released", "canceled"],
)
def test_the_role_stays_as_long_as_a_token_does(db: Db, q: Ledger, ends: Callable[..., object], keeps: bool):
    lease = q.leased()
    ends(q, lease)
    job = db.job(lease["job_id"])
    assert (job["lease_role"] is not None) == keeps
    assert (job["lease_token"] is not None or job["last_lease_token"] is not None) == keeps


def test_workers_of_another_role_keep_their_names(db: Db, acting: Acting, q: Ledger, clock: Clock):
    one, other = acting("worker"), acting("worker")
    one.row("register_worker", worker_id="w", job_types=["t"])
    with other.refused("worker.name_taken", "RL021"):
        other.row("register_worker", worker_id="w", job_types=["u"])
    with other.refused("worker.not_found"):
        other.row("idle_worker", worker_id="w")
    assert other.row("deregister_worker", worker_id="w") == {"deregister_worker": False}
    worker = db.one("select * from runledger.workers")
    assert (worker["role_name"], worker["job_types"]) == (one.role, ["t"])
    one.row("register_worker", worker_id="w", job_types=["t", "u"])
    clock.advance(181)
    other.row("register_worker", worker_id="w", job_types=["u"])
    assert db.value("select role_name from runledger.workers") == other.role
    assert one.row("deregister_worker", worker_id="w") == {"deregister_worker": False}
    assert q.row("deregister_worker", worker_id="w") == {"deregister_worker": True}


@pytest.mark.parametrize("damage", [
    "update runledger.job_queue set worker_id = null, lease_token = null, lease_role = null, lease_expires_at = null",
    "delete from runledger.job_attempts",
])  # fmt: skip
def test_a_lease_that_fsck_repaired_is_its_roles_again(db: Db, acting: Acting, q: Ledger, damage: str):
    holder, thief = acting("worker"), acting("worker")
    lease = holder.hold(q.enqueue())
    with db.conn.transaction():
        # As from before the constraint, or from a disk that lied.
        for (name,) in db.conn.execute(
            "select conname from pg_constraint where conrelid = 'runledger.job_queue'::regclass and contype = 'c'"
        ).fetchall():
            db.execute(f"alter table runledger.job_queue drop constraint {name}")
        db.execute(damage)
    for _ in range(3):
        # The first one, then ask again: one repair may mend what several findings tell of.
        for finding in q.rows("fsck")[:1]:
            db.execute(finding["repair"])
    assert q.rows("fsck") == []
    if "lease_token" in damage:
        db.execute("update runledger.job_queue set lease_expires_at = runledger._now() + interval '1 minute'")
    assert thief.beat(lease) == ["LOST"]
    assert holder.beat(lease) == ["EXTENDED"]
    assert holder.succeed(lease)["disposition"] == "SUCCEEDED"


def test_every_role_acts_as_itself(db: Db, new_role: Callable[..., str]):
    """So the comparison beside each _acts_as only spares a look-up; tests/mutation/equivalent.txt relies on it."""
    for role in (new_role("plain"), new_role("alone", options="login noinherit"), new_role("group", options="nologin")):
        assert db.value("select runledger._acts_as(%(r)s, %(r)s)", {"r": role}) is True
