"""list_job_events, list_job_attempts, list_job_logs, job_log_payloads: what is told of one job, in pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger

MAX4, MAX8 = 2**31 - 1, 2**63 - 1
LOG = ("list_job_logs", "after_log_id", "before_log_id", "log_id")
EVENTS = ("list_job_events", "after_event_id", "before_event_id", "event_id")
both = pytest.mark.parametrize(("name", "after", "before", "key"), [EVENTS, LOG], ids=["events", "logs"])


@pytest.fixture
def told(q: Ledger) -> UUID:
    """A job with ten lines and ten reports of progress, between those of another job."""
    lease, other = q.leased(organization_id=TENANT), q.leased()
    for n in range(10):
        for x in (lease, other):
            q.row("report_progress", **x, done=n)
            q.row("log_job", **x, level="info", message=f"line {n}", payload={"n": n} if n % 2 else None)
    return lease["job_id"]


def pages(q: Ledger, name: str, cursor: str, key: str, first: Any = None, **arguments: Any) -> Iterator[Any]:
    place = first
    while page := q.rows(name, **arguments, **{cursor: place}, max_rows=3):
        assert len(page) <= 3
        yield from page
        place = page[-1][key]


@both
def test_pages_go_forward_from_the_oldest_and_back_from_the_newest(
    q: Ledger, told: UUID, name: str, after: str, before: str, key: str
):
    every = [r[key] for r in q.rows(name, job_id=told)]
    assert len(every) >= 10
    assert every == sorted(every)
    assert [r[key] for r in pages(q, name, after, key, job_id=told)] == every
    assert [r[key] for r in pages(q, name, before, key, MAX8, job_id=told)] == every[::-1]
    assert {r["job_id"] for r in q.rows(name, job_id=told)} == {told}


@both
def test_a_place_is_where_it_is_when_its_row_is_gone(
    db: Db, q: Ledger, told: UUID, name: str, after: str, before: str, key: str
):
    third, *rest = [r[key] for r in q.rows(name, job_id=told)][2:]
    earlier = [r[key] for r in q.rows(name, job_id=told, **{before: third})]
    if name == "list_job_logs":
        db.execute("delete from runledger.job_logs where id = %s", [third])
    else:
        # An id of another job is a place too: events are never deleted one by one.
        third += 1
        assert third not in rest
    assert [r[key] for r in q.rows(name, job_id=told, **{after: third})] == rest
    assert [r[key] for r in q.rows(name, job_id=told, **{before: third})][-2:] == earlier


@both
def test_a_page_goes_one_way(q: Ledger, told: UUID, name: str, after: str, before: str, key: str):
    with q.refused("job.invalid_cursor", "RL010"):
        q.rows(name, job_id=told, **{after: 1, before: 2})


@both
def test_only_the_tenant_of_the_job_is_told(q: Ledger, told: UUID, name: str, after: str, before: str, key: str):
    assert q.rows(name, job_id=told, organization_id=TENANT) == q.rows(name, job_id=told) != []
    for wrong in ({"job_id": told, "organization_id": OTHER_TENANT}, {"job_id": NOBODY}, {"job_id": None}):
        assert q.rows(name, **wrong) == []


def test_an_event_says_what_was_written(db: Db, q: Ledger):
    lease = q.leased(payload={"to": "s3cret"}, idempotency_key="s3cret")
    q.row("report_progress", **lease, stage="half", done=1, total=2)
    q.fail(lease, kind="TERMINAL", message="it broke")
    rows = q.rows("list_job_events", job_id=lease["job_id"])
    stored = db.all(
        "select id as event_id, job_id, run_number, attempt, event_type::text, stage, progress_done, progress_total,"
        " payload as detail, occurred_at from runledger.job_events where job_id = %s order by id",
        [lease["job_id"]],
    )
    assert rows == stored
    assert "s3cret" not in str(rows)
    assert [r["event_type"] for r in rows][-2:] == ["FAILED", "DEAD_LETTERED"]
    assert rows[-2]["detail"]["error_message"] == "it broke"


def test_events_of_several_days_stay_in_order(db: Db, q: Ledger, clock: Clock):
    """They stand in partitions of a day each, and in the default one."""
    job_id = q.enqueue()
    for _ in range(4):
        lease = q.hold(job_id)
        q.row("continue_job", **lease)
        clock.advance(86_400)
    rows = q.rows("list_job_events", job_id=job_id)
    assert db.value("select count(distinct tableoid) from runledger.job_events where job_id = %s", [job_id]) > 2
    assert [r["run_number"] for r in rows if r["event_type"] == "LEASED"] == [1, 2, 3, 4]
    assert [r["occurred_at"] for r in rows] == sorted(r["occurred_at"] for r in rows)


def test_a_line_is_listed_without_its_json_which_is_read_apart(q: Ledger, told: UUID):
    lines = q.rows("list_job_logs", job_id=told)
    assert [(r["message"], r["has_payload"]) for r in lines] == [(f"line {n}", n % 2 == 1) for n in range(10)]
    ids = [r["log_id"] for r in lines]
    bodies = q.rows("job_log_payloads", job_id=told, log_ids=[ids[3], ids[1], ids[1], 0])
    assert bodies == [{"log_id": ids[1], "payload": {"n": 1}}, {"log_id": ids[3], "payload": {"n": 3}}]
    other = q.enqueue()
    for wrong in ({"job_id": other}, {"job_id": told, "organization_id": OTHER_TENANT}, {"job_id": NOBODY}):
        assert q.rows("job_log_payloads", log_ids=ids, **wrong) == []
    for bad in (None, [None], [[1], [2]], [1] * 1001):
        with q.refused("job.invalid_ids", "RL010"):
            q.rows("job_log_payloads", job_id=told, log_ids=bad)


@pytest.fixture
def tried(q: Ledger) -> UUID:
    """A job with three runs of one, one and three attempts."""
    job_id = q.enqueue(organization_id=TENANT)
    q.row("continue_job", **q.hold(job_id))
    q.row("continue_job", **q.hold(job_id))
    for _ in range(2):
        q.fail(q.hold(job_id), not_before="2000-01-01")
        q.db.execute("update runledger.job_queue set next_run_at = now() where id = %s", [job_id])
    q.hold(job_id)
    return job_id


def attempts(q: Ledger, job_id: UUID, **arguments: Any) -> list[tuple[int, int]]:
    return [(r["run_number"], r["attempt"]) for r in q.rows("list_job_attempts", job_id=job_id, **arguments)]


def test_attempts_are_paged_by_run_and_attempt(q: Ledger, tried: UUID):
    every = [(1, 1), (2, 1), (3, 1), (3, 2), (3, 3)]
    assert attempts(q, tried) == every
    assert attempts(q, tried, after_run=2, after_attempt=1) == every[2:]
    assert attempts(q, tried, after_run=3, after_attempt=1, max_rows=1) == [(3, 2)]
    assert attempts(q, tried, before_run=MAX4) == every[::-1]
    assert attempts(q, tried, before_run=3, before_attempt=2, max_rows=2) == [(3, 1), (2, 1)]
    # A run alone is all of it.
    assert attempts(q, tried, after_run=2) == every[2:]
    assert attempts(q, tried, before_run=3) == [(2, 1), (1, 1)]
    assert attempts(q, tried, organization_id=TENANT) == every
    assert attempts(q, tried, organization_id=OTHER_TENANT) == attempts(q, NOBODY) == []


@pytest.mark.parametrize(
    "place", [{"after_run": 1, "before_run": 2}, {"after_attempt": 1}, {"before_attempt": 1}], ids=str
)
def test_a_place_among_attempts_is_whole(q: Ledger, tried: UUID, place: dict[str, int]):
    with q.refused("job.invalid_cursor", "RL010"):
        q.rows("list_job_attempts", job_id=tried, **place)


def test_an_attempt_says_all_but_its_token(db: Db, q: Ledger, tried: UUID):
    rows = q.rows("list_job_attempts", job_id=tried)
    stored = db.attempts(tried)
    for row, kept in zip(rows, stored, strict=True):
        assert row == {k: kept[k] for k in row}
        assert set(kept) - set(row) == {"lease_token"}
    assert [r["disposition"] for r in rows] == ["CONTINUED", "CONTINUED", "RETRY_SCHEDULED", "RETRY_SCHEDULED", None]
    assert rows[2]["outcome"] == "RETRYABLE"


def test_what_is_redacted_is_told_no_more(q: Ledger):
    lease = q.leased(max_attempts=1)
    q.row("log_job", **lease, level="info", message="s3cret", payload="s3cret")
    q.fail(lease, message="s3cret")
    job = {"job_id": lease["job_id"]}

    def everything() -> str:
        lines = q.rows("list_job_logs", **job)
        bodies = q.rows("job_log_payloads", **job, log_ids=[r["log_id"] for r in lines])
        letters = q.rows("list_dead_letters")
        return str([lines, bodies, letters, q.rows("list_job_events", **job), q.rows("list_job_attempts", **job)])

    assert everything().count("s3cret") == 5
    q.row("redact_job", **job, reason="asked to forget")
    assert "s3cret" not in everything()
