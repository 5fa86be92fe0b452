"""finish_jobs: every outcome, its repetition, and what a batch makes of the rest."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import NOBODY, Ledger, Raw

OUTCOMES = {
    "SUCCEEDED": {"outcome": "SUCCEEDED", "output": {"n": 1}},
    "RETRY_SCHEDULED": {"outcome": "FAILED", "error_code": "e.x", "error_message": "it broke"},
    "DEAD_LETTERED": {"outcome": "FAILED", "error_code": "e.x", "error_message": "it broke", "kind": "TERMINAL"},
    "CONTINUED": {"outcome": "CONTINUE", "delay": 0, "checkpoint": 7},
    "RELEASED": {"outcome": "RELEASE", "reason": "shutdown"},
}
STATUS = {"SUCCEEDED": "SUCCEEDED", "DEAD_LETTERED": "DEAD_LETTERED"}


def test_every_outcome_ends_the_lease(q: Ledger):
    for n, (disposition, outcome) in enumerate(OUTCOMES.items()):
        lease = q.leased(priority=n)
        [row] = q.finish({**lease, **outcome})
        assert (row["ordinal"], row["job_id"], row["disposition"], row["replayed"]) == (
            1,
            lease["job_id"],
            disposition,
            False,
        )
        job = q.job(lease["job_id"])
        assert row["status"] == job["status"] == STATUS.get(disposition, "PENDING")
        assert row["next_run_at"] == (job["next_run_at"] if job["status"] == "PENDING" else None)
        assert row["code"] == ("e.x" if outcome["outcome"] == "FAILED" else None)
        assert (job["worker_id"], job["lease_token"], job["lease_expires_at"]) == (None, None, None)
        assert (job["finished_at"] is None) == (job["status"] == "PENDING")


def test_a_mixed_batch_settles_each_item_on_its_own(q: Ledger):
    leases = {d: q.leased() for d in OUTCOMES}
    canceled, lost = q.leased(), q.leased()
    q.row("cancel_job", job_id=canceled["job_id"])
    rows = q.finish(
        *({**leases[d], **o} for d, o in OUTCOMES.items()),
        {**canceled, "outcome": "SUCCEEDED"},
        {**lost, "lease_token": 0, "outcome": "SUCCEEDED"},
        {"job_id": NOBODY, "lease_token": 1, "outcome": "SUCCEEDED"},
        {**lost, "outcome": "NONSENSE"},
        {"lease_token": 1, "outcome": "SUCCEEDED"},
    )
    assert [r["ordinal"] for r in rows] == list(range(1, 11))
    assert [r["disposition"] for r in rows] == [
        *OUTCOMES,
        "LEASE_LOST",
        "LEASE_LOST",
        "LEASE_LOST",
        "INVALID",
        "INVALID",
    ]
    assert [r["code"] for r in rows[5:]] == [
        "job.canceled", "job.lease_owner_mismatch", "job.not_found", "job.invalid_outcome", "job.invalid_id",
    ]  # fmt: skip
    assert [r["status"] for r in rows[5:8]] == ["CANCELED", "LEASED", None]
    assert [q.job(x["job_id"])["status"] for x in leases.values()] == [STATUS.get(d, "PENDING") for d in OUTCOMES]
    assert q.job(lost["job_id"])["status"] == "LEASED"


@pytest.mark.parametrize("disposition", OUTCOMES)
def test_repeating_a_completion_reports_it_and_writes_nothing(q: Ledger, disposition: str):
    lease = q.leased()
    first = q.finish_one(lease, **OUTCOMES[disposition])
    with q.unchanged():
        # Another body is no other outcome: only the label and the kind count.
        for body in ({}, {"output": 8} if disposition == "SUCCEEDED" else {}):
            again = q.finish_one(lease, **{**OUTCOMES[disposition], **body})
            assert (again["disposition"], again["replayed"], again["status"]) == (disposition, True, first["status"])
            assert again["code"] == first["code"]
            if disposition == "RETRY_SCHEDULED":
                assert again["next_run_at"] == first["next_run_at"]
        for other, outcome in OUTCOMES.items():
            if other != disposition:
                lost = q.finish_one(lease, **outcome)
                assert (lost["disposition"], lost["code"]) == ("LEASE_LOST", "job.lease_owner_mismatch")


@pytest.mark.parametrize("disposition", ["RETRY_SCHEDULED", "CONTINUED", "RELEASED"])
def test_a_repetition_is_known_after_the_job_ran_again(q: Ledger, clock: Clock, disposition: str):
    lease = q.leased()
    q.finish_one(lease, **OUTCOMES[disposition])
    clock.advance(60)
    again = q.hold(lease["job_id"])
    with q.unchanged():
        row = q.finish_one(lease, **OUTCOMES[disposition])
        assert (row["disposition"], row["replayed"], row["status"]) == (disposition, True, "LEASED")
    q.succeed(again)
    if disposition != "RELEASED":
        assert q.finish_one(lease, **OUTCOMES[disposition])["status"] == "SUCCEEDED"
    else:
        # A released attempt leaves no row: it is remembered until the next lease ends.
        assert q.finish_one(lease, **OUTCOMES[disposition])["disposition"] == "LEASE_LOST"


def test_the_reaper_s_verdict_is_not_the_worker_s_completion(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=1)
    clock.advance(2)
    q.reap()
    for outcome in OUTCOMES.values():
        assert q.finish_one(lease, **outcome)["code"] == "job.lease_owner_mismatch"


def test_the_second_outcome_for_a_job_in_a_batch_is_invalid(q: Ledger):
    lease, other = q.leased(), q.leased()
    rows = q.finish(
        {**lease, **OUTCOMES["SUCCEEDED"]}, {**other, **OUTCOMES["SUCCEEDED"]},
        {**lease, **OUTCOMES["DEAD_LETTERED"]}, {**lease, **OUTCOMES["SUCCEEDED"]},
    )  # fmt: skip
    assert [r["disposition"] for r in rows] == ["SUCCEEDED", "SUCCEEDED", "INVALID", "INVALID"]
    assert {r["code"] for r in rows[2:]} == {"job.duplicate_item"}
    assert q.db.events(lease["job_id"]) == ["ENQUEUED", "LEASED", "SUCCEEDED"]


ITEMS = [
    (7, "job.invalid_item"), ("x", "job.invalid_item"), (None, "job.invalid_item"), ([], "job.invalid_item"),
    ({"job_id": "x"}, "job.invalid_id"), ({"job_id": None}, "job.invalid_id"), ({"job_id": 5}, "job.invalid_id"),
    ({"lease_token": None}, "job.invalid_tokens"), ({"lease_token": "1"}, "job.invalid_tokens"), ({"lease_token": 1.5}, "job.invalid_tokens"),
    ({"lease_token": 1e30}, "job.invalid_tokens"),
    ({"outcome": None}, "job.invalid_outcome"), ({"outcome": "succeeded"}, "job.invalid_outcome"), ({"outcome": 1}, "job.invalid_outcome"),
    ({"outcome": "SUCCEEDED", "outptu": 1}, "job.unknown_field"), ({"outcome": "SUCCEEDED", "delay": 1}, "job.unknown_field"),
    ({"outcome": "SUCCEEDED", "reason": "x"}, "job.unknown_field"),
    ({"outcome": "FAILED", "error_code": "x", "output": 1}, "job.unknown_field"), ({"outcome": "FAILED", "error_code": "x", "checkpoint": 1}, "job.unknown_field"),
    ({"outcome": "RELEASE", "reason": "x", "checkpoint": 1}, "job.unknown_field"), ({"outcome": "CONTINUE", "output": 1}, "job.unknown_field"),
    ({"outcome": "SUCCEEDED", "done": "1"}, "job.invalid_completion_progress"), ({"outcome": "SUCCEEDED", "done": -1}, "job.invalid_completion_progress"),
    ({"outcome": "SUCCEEDED", "done": 2, "total": 1}, "job.invalid_completion_progress"), ({"outcome": "CONTINUE", "total": -1}, "job.invalid_completion_progress"),
    ({"outcome": "FAILED"}, "job.invalid_error_code"), ({"outcome": "FAILED", "error_code": " "}, "job.invalid_error_code"),
    ({"outcome": "FAILED", "error_code": "x" * 201}, "job.invalid_error_code"), ({"outcome": "FAILED", "error_code": 5}, "job.invalid_error_code"),
    ({"outcome": "FAILED", "error_code": "x", "kind": "LEASE_EXPIRED"}, "job.invalid_failure_kind"),
    ({"outcome": "FAILED", "error_code": "x", "kind": "retryable"}, "job.invalid_failure_kind"), ({"outcome": "FAILED", "error_code": "x", "kind": 5}, "job.invalid_failure_kind"),
    ({"outcome": "FAILED", "error_code": "x", "not_before": "soon"}, "job.invalid_retry_timing"),
    ({"outcome": "FAILED", "error_code": "x", "not_before": "2999-01-01T00:00:00Z"}, "job.invalid_retry_timing"),
    ({"outcome": "FAILED", "error_code": "x", "not_before": "infinity"}, "job.invalid_retry_timing"),
    ({"outcome": "CONTINUE", "delay": -1}, "job.invalid_continuation_delay"), ({"outcome": "CONTINUE", "delay": "a while"}, "job.invalid_continuation_delay"),
    ({"outcome": "CONTINUE", "delay": 1e12}, "job.invalid_continuation_delay"), ({"outcome": "CONTINUE", "delay": True}, "job.invalid_continuation_delay"),
    ({"outcome": "RELEASE"}, "job.invalid_reason"), ({"outcome": "RELEASE", "reason": " "}, "job.invalid_reason"), ({"outcome": "RELEASE", "reason": "x" * 8193}, "job.invalid_reason"),
    ({"outcome": "RELEASE", "reason": "x", "delay": "-1 s"}, "job.invalid_retry_delay"), ({"outcome": "RELEASE", "reason": "x", "delay": "11 years"}, "job.invalid_retry_delay"),
    ({"outcome": "SUCCEEDED", "output": "x" * 262_144}, "json.too_large"), ({"outcome": "CONTINUE", "checkpoint": "x" * 262_144}, "json.too_large"),
]  # fmt: skip


def test_what_is_wrong_with_an_item_is_said_and_nothing_written(q: Ledger):
    lease, neighbour = q.leased(), q.leased()
    good = {"job_id": str(lease["job_id"]), "lease_token": lease["lease_token"], "outcome": "SUCCEEDED"}
    with q.unchanged():
        # One by one: of two items about a job the second would be a duplicate.
        for item, code in ITEMS:
            [row] = q.rows("finish_jobs", outcomes=[{**good, **item} if isinstance(item, dict) else item])
            assert (row["disposition"], row["code"], row["replayed"]) == ("INVALID", code, False), item
        for json_text, code in (("1e4300", "json.number_out_of_range"), ("[" * 300 + "]" * 300, "json.too_deep")):
            text = json.dumps([good]).replace('"SUCCEEDED"', f'"SUCCEEDED", "output": {json_text}')
            [row] = q.rows("finish_jobs", outcomes=Raw(text))
            assert row["code"] == code
    rows = q.finish({**neighbour, "outcome": "SUCCEEDED"}, *({"outcome": "NONSENSE"} for _ in range(3)))
    assert [r["disposition"] for r in rows] == ["SUCCEEDED"] + ["INVALID"] * 3


def test_progress_of_a_completion_is_checked_after_merging(q: Ledger):
    lease = q.leased()
    q.row("report_progress", **lease, done=3, total=10)
    with q.unchanged():
        for fields in ({"done": 11}, {"total": 2}):
            row = q.finish_one(lease, "SUCCEEDED", **fields)
            assert (row["disposition"], row["code"]) == ("INVALID", "job.invalid_completion_progress")
    assert q.finish_one(lease, "SUCCEEDED", done=10)["disposition"] == "SUCCEEDED"
    job = q.job(lease["job_id"])
    assert (job["progress_done"], job["progress_total"]) == (10, 10)


@pytest.mark.parametrize("disposition", OUTCOMES)
@pytest.mark.parametrize(
    ("asked", "pair"),
    [({}, (3, 10)), ({"done": 4}, (4, 10)), ({"total": 20}, (3, 20)), ({"done": 0, "total": 0}, (0, 0))],
)
def test_a_completion_tells_the_progress_that_was_committed(q: Ledger, disposition: str, asked: dict, pair: tuple):
    carries = disposition in ("SUCCEEDED", "CONTINUED")
    outcome = {**OUTCOMES[disposition], **(asked if carries else {})}
    lease = q.leased()
    q.row("report_progress", **lease, done=3, total=10)
    first = q.finish_one(lease, **outcome)
    again = q.finish_one(lease, **outcome)
    job = q.job(lease["job_id"])
    assert (job["progress_done"], job["progress_total"]) == (pair if carries else (3, 10))
    for row in (first, again):
        assert (row["progress_done"], row["progress_total"]) == (pair if carries else (None, None))
    assert (first["disposition"], first["replayed"], again["replayed"]) == (disposition, False, True)


def test_a_completion_without_any_progress_tells_none(q: Ledger):
    lease, partly, lost = q.leased(), q.leased(), q.leased()
    rows = q.finish(
        {**lease, "outcome": "SUCCEEDED"}, {**partly, "outcome": "SUCCEEDED", "done": 7},
        {**lost, "lease_token": 0, "outcome": "SUCCEEDED", "done": 7}, {**lost, "outcome": "SUCCEEDED", "done": -7},
    )  # fmt: skip
    assert [(r["disposition"], r["progress_done"], r["progress_total"]) for r in rows] == [
        ("SUCCEEDED", None, None), ("SUCCEEDED", 7, None), ("LEASE_LOST", None, None), ("INVALID", None, None),
    ]  # fmt: skip


def test_json_null_counts_as_left_out(q: Ledger):
    lease = q.leased()
    q.row("report_progress", **lease, checkpoint={"a": 1}, done=1, total=2)
    q.finish_one(lease, "SUCCEEDED", output=None, checkpoint=None, done=None, total=None)
    job = q.job(lease["job_id"])
    assert (job["output"], job["checkpoint"], job["progress_done"], job["progress_total"]) == (None, {"a": 1}, 1, 2)


def test_a_delay_is_seconds_or_an_interval(q: Ledger):
    for delay, seconds in ((1.5, 1.5), ("2 minutes", 120), ("PT1H", 3600), (0, 0)):
        lease = q.leased()
        row = q.finish_one(lease, "CONTINUE", delay=delay)
        event = q.event(lease["job_id"], "REQUEUED")
        assert row["next_run_at"] - event["occurred_at"] == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "outcomes",
    [None, Raw("{}"), Raw("null"), Raw("[" + "1," * 10_000 + "1]")],
    ids=["null", "object", "json-null", "many"],
)
def test_what_is_no_batch_is_refused(q: Ledger, outcomes: object):
    with q.refused("job.invalid_batch", "RL010"):
        q.rows("finish_jobs", outcomes=outcomes)


def test_an_empty_batch_gives_no_rows(q: Ledger):
    assert q.finish() == []


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_plain_completion_works_at_any_isolation(q: Ledger, isolation: str):
    lease = q.leased()
    with q.conn.transaction():
        q.conn.execute(f"set transaction isolation level {isolation}")
        assert q.succeed(lease)["disposition"] == "SUCCEEDED"


def test_finish_and_claim_share_a_transaction(q: Ledger):
    leases = [q.leased() for _ in range(3)]
    waiting = q.enqueue_many(3)
    other = q.on(autocommit=False)
    other.finish(*({**x, "outcome": "SUCCEEDED"} for x in leases))
    assert other.ids(10) == waiting
    other.conn.rollback()
    assert {q.job(x["job_id"])["status"] for x in leases} == {"LEASED"}


def test_a_batch_costs_a_constant_number_of_writes(db: Db, q: Ledger):
    """Set-based: the statements of a call do not depend on the size of the batch."""
    q.enqueue_many(60)

    def calls(n: int) -> dict[str, int]:
        db.execute("select pg_stat_reset()")
        q.finish(
            *({"job_id": c["job_id"], "lease_token": c["lease_token"], "outcome": "SUCCEEDED"} for c in q.claim(n))
        )
        q.conn.execute("select pg_stat_force_next_flush()")
        db.execute("select pg_stat_clear_snapshot()")
        writers = ("_settle", "_close_attempts", "_judge_outcomes", "_wake")
        return dict(
            db.conn.execute(
                "select funcname::text, calls from pg_stat_user_functions where funcname = any (%s)", [list(writers)]
            ).fetchall()
        )

    assert calls(1) == calls(50)


def test_a_late_word_does_not_spoil_that_of_the_next_lease_in_the_same_batch(q: Ledger):
    """One worker can hold a job twice, one lease after the other; the stale outcome may come first."""
    late = q.leased()
    q.finish({**late, "outcome": "RELEASE", "reason": "shutdown"})
    [claim] = q.claim()
    live = {"job_id": late["job_id"], "lease_token": claim["lease_token"]}
    assert live["lease_token"] != late["lease_token"]
    rows = q.finish(
        {**late, "outcome": "SUCCEEDED", "output": "first"}, {**live, "outcome": "SUCCEEDED", "output": "second"}
    )
    assert [(r["disposition"], r["code"]) for r in rows] == [
        ("LEASE_LOST", "job.lease_owner_mismatch"),
        ("SUCCEEDED", None),
    ]
    assert (q.job(late["job_id"])["status"], q.job(late["job_id"])["output"]) == ("SUCCEEDED", "second")


# Plain successes go a short way of their own; whatever is not plain is judged as if there were none.
OK = {"outcome": "SUCCEEDED"}


def test_a_batch_of_plain_successes_ends_as_one_by_one(db: Db, q: Ledger):
    leases = [q.leased() for _ in range(5)]
    outputs = [None, {"n": 1}, [], "text", 0]
    rows = q.finish(*[{**x, **OK, "output": o} for x, o in zip(leases, outputs, strict=True)][::-1])
    assert [r["ordinal"] for r in rows] == [1, 2, 3, 4, 5]
    assert [r["job_id"] for r in rows] == [x["job_id"] for x in leases][::-1]
    for lease, output in zip(leases, outputs, strict=True):
        job = q.job(lease["job_id"])
        assert (job["status"], job["stage"], job["output"]) == ("SUCCEEDED", "completed", output)
        assert (job["worker_id"], job["lease_token"]) == (None, None)
        assert db.events(lease["job_id"]) == ["ENQUEUED", "LEASED", "SUCCEEDED"]
        assert [a["disposition"] for a in db.attempts(lease["job_id"])] == ["SUCCEEDED"]


@pytest.mark.parametrize("spoiler", ["lost", "expired", "canceled", "workflow", "replayed", "duplicate", "failed"])
def test_one_that_is_not_plain_changes_nothing_for_the_others(db: Db, q: Ledger, clock: Clock, spoiler: str):
    others = [q.leased(lease_seconds=3600) for _ in range(2)]
    items = [{**x, **OK} for x in others]
    if spoiler == "workflow":
        q.row("define_job", job_type="step")
        q.row("enqueue_workflow", workflow_type="w", steps=Raw('[{"key": "a", "job_type": "step"}]'))
        [step] = q.rows("claim_jobs", worker_id="w1", job_types=["step"])
        odd = {"job_id": step["job_id"], "lease_token": step["lease_token"], **OK}
    else:
        odd = {**q.leased(lease_seconds=30), **OK}
    want, code = "LEASE_LOST", "job.lease_owner_mismatch"
    if spoiler == "lost":
        odd["lease_token"] += 1_000_000
    elif spoiler == "expired":
        clock.advance(31)
    elif spoiler == "canceled":
        q.row("cancel_job", job_id=odd["job_id"])
        code = "job.canceled"
    elif spoiler == "workflow":
        want, code = "SUCCEEDED", None
    elif spoiler == "replayed":
        q.finish(odd)
        want, code = "SUCCEEDED", None
    elif spoiler == "duplicate":
        items.append(odd)
        want, code = "INVALID", "job.duplicate_item"
    else:
        odd |= {"outcome": "FAILED", "error_code": "x", "error_message": "y"}
        want, code = "RETRY_SCHEDULED", "x"
    rows = q.finish(*items, odd)
    assert [r["disposition"] for r in rows[:-1]] == ["SUCCEEDED"] * len(items)
    assert (rows[-1]["disposition"], rows[-1]["code"], rows[-1]["replayed"]) == (want, code, spoiler == "replayed")
    for lease in others:
        assert db.events(lease["job_id"]) == ["ENQUEUED", "LEASED", "SUCCEEDED"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"lease_token": "7"}, "job.invalid_tokens"),
        ({"lease_token": 1.5}, "job.invalid_tokens"),
        ({"lease_token": 10**30}, "job.invalid_tokens"),
        ({"job_id": "no uuid"}, "job.invalid_id"),
        ({"job_id": "x" * 36}, "job.invalid_id"),
        ({"outcome": "succeeded"}, "job.invalid_outcome"),
        ({"extra": 1}, "job.unknown_field"),
        ({"output": [[[]]] * 200_000}, "json.too_large"),
        ({"done": 2, "total": 1}, "job.invalid_completion_progress"),
    ],
)
def test_a_malformed_item_is_refused_and_the_others_end(q: Ledger, change: dict, code: str):
    good, bad = q.leased(), q.leased()
    first, second = q.finish({**good, **OK}, {**bad, **OK, **change})
    assert first["disposition"] == "SUCCEEDED"
    assert (second["disposition"], second["code"]) == ("INVALID", code)
    assert q.job(bad["job_id"])["status"] == "LEASED"


@pytest.mark.parametrize("shape", ["{{{0}{1}-{2}-{3}{4}}}", "{0:.4}-{0[4]}{0[5]}{0[6]}{0[7]}-{1}-{2}-{3}{4}"])
def test_an_id_is_written_in_one_way_whether_alone_or_among_others(q: Ledger, shape: str):
    """PostgreSQL reads a uuid in braces, or with its hyphens elsewhere; a batch does not, plain or mixed."""
    lease = q.leased()
    odd = shape.format(*str(lease["job_id"]).split("-"))
    for others in ([], [{"job_id": NOBODY, "lease_token": 1, "outcome": "RELEASE"}]):
        told = q.finish({**lease, **OK, "job_id": odd}, *others)[0]
        assert (told["disposition"], told["code"]) == ("INVALID", "job.invalid_id")
    assert q.job(lease["job_id"])["status"] == "LEASED"


@pytest.mark.parametrize("spoiler", ["workflow", "lost"])
def test_a_batch_that_is_not_plain_is_not_written_twice(db: Db, q: Ledger, spoiler: str):
    """A write that is taken back costs as much as one that stays; what is in the way is seen before."""
    leases = [q.leased() for _ in range(9)]
    if spoiler == "workflow":
        q.row("enqueue_workflow", workflow_type="w", steps=[{"key": "a", "job_type": "t"}])
        [last] = [{k: c[k] for k in ("job_id", "lease_token")} for c in q.claim()]
    else:
        last = {**q.leased(), "lease_token": 1}
    written = "select n_tup_upd from pg_stat_xact_user_tables where relid = 'runledger.job_queue'::regclass"
    with q.conn.transaction():
        [(before,)] = q.conn.execute(written).fetchall()
        q.finish(*({**lease, **OK} for lease in [*leases, last]))
        [(after,)] = q.conn.execute(written).fetchall()
    assert after - before == 9 + (spoiler == "workflow")
