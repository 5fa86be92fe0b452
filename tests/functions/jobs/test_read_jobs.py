"""get_job, list_jobs, find_job, job_statuses, job_payload."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger


def test_get_job_says_everything(q: Ledger):
    lease = q.leased(payload={"a": 1}, organization_id=TENANT, idempotency_key="k", priority=3)
    q.row("report_progress", **lease, done=1, total=4, checkpoint=2)
    row, job = q.row("get_job", job_id=lease["job_id"]), q.job(lease["job_id"])
    assert (row.pop("job_id"), row.pop("state")) == (job["id"], "running")
    assert row == {k: job[k] for k in row}
    assert (row["status"], row["payload"], row["checkpoint"], row["progress_pct"]) == ("LEASED", {"a": 1}, 2, 25)


def test_get_job_sees_only_the_tenant_it_is_given(q: Ledger):
    job_id, global_job = q.enqueue(organization_id=TENANT), q.enqueue()
    assert q.rows("get_job", job_id=job_id, organization_id=TENANT)
    for wrong in (
        {"job_id": job_id, "organization_id": OTHER_TENANT},
        {"job_id": global_job, "organization_id": TENANT},
        {"job_id": NOBODY},
        {"job_id": None},
    ):
        assert q.rows("get_job", **wrong) == []


def test_job_payload_gives_the_bodies(q: Ledger):
    lease = q.leased(payload={"a": 1})
    q.succeed(lease, output=[1], checkpoint="c")
    assert q.row("job_payload", job_id=lease["job_id"]) == {
        "job_id": lease["job_id"],
        "payload": {"a": 1},
        "checkpoint": "c",
        "output": [1],
    }
    assert q.rows("job_payload", job_id=NOBODY) == []


def test_list_jobs_pages_from_the_newest(q: Ledger):
    jobs = [q.enqueue() for _ in range(7)][::-1]
    seen: list = []
    before = None
    while page := q.rows("list_jobs", max_rows=3, before_id=before):
        seen += [r["job_id"] for r in page]
        before = seen[-1]
    assert seen == jobs


def test_list_jobs_filters(q: Ledger, clock: Clock):
    q.define("u")
    first = q.enqueue("u", organization_id=TENANT)
    clock.advance(100)
    leased = q.leased(worker="w9")["job_id"]
    dead = q.dead(organization_id=TENANT)
    middle = q.job(leased)["created_at"]

    def listed(**filters: object) -> list:
        return [r["job_id"] for r in q.rows("list_jobs", **filters)]

    assert listed() == [dead, leased, first]
    assert listed(job_type="u") == listed(status="PENDING") == [first]
    assert listed(worker_id="w9") == listed(status="LEASED") == [leased]
    assert listed(organization_id=TENANT) == [dead, first]
    assert listed(organization_id=TENANT, status="DEAD_LETTERED") == [dead]
    assert listed(organization_id=TENANT, job_type="u", before_id=first) == []
    assert listed(created_after=middle - timedelta(seconds=1), created_before=middle + timedelta(microseconds=1)) == [
        leased
    ]
    assert listed(created_before=middle) == [first]
    assert listed(job_type="%") == listed(organization_id=OTHER_TENANT) == []
    assert not {"payload", "checkpoint", "output"} & set(q.rows("list_jobs")[0])


def test_contains_takes_letters_as_they_are(q: Ledger):
    """No wildcards, upper and lower case alike; whole names go by job_type."""
    types = ["email.send", "Email.Digest", "sms_send", "100%"]
    for job_type in types:
        q.define(job_type)
    jobs = {job_type: q.enqueue(job_type) for job_type in types}

    def found(contains: str | None, **more: object) -> set[str]:
        rows = q.rows("list_jobs", contains=contains, **more)
        assert {r["job_id"] for r in rows} == {jobs[r["job_type"]] for r in rows}
        return {r["job_type"] for r in rows}

    assert found("EMAIL") == {"email.send", "Email.Digest"}
    assert found("send") == {"email.send", "sms_send"}
    assert found("_") == {"sms_send"}
    assert found("%") == {"100%"}
    assert found(".*") == found("\\") == set()
    assert found("") == found(None) == set(types)
    assert found("send", job_type="sms_send") == {"sms_send"}
    assert found("send", organization_id=TENANT) == set()


def test_list_jobs_goes_on_where_a_deleted_job_was(db: Db, q: Ledger):
    jobs = [q.enqueue(organization_id=TENANT) for _ in range(5)][::-1]
    db.execute("delete from runledger.job_events where job_id = %s", [jobs[1]])
    db.execute("delete from runledger.job_queue where id = %s", [jobs[1]])
    for tenant in (None, TENANT):
        page = q.rows("list_jobs", before_id=jobs[1], organization_id=tenant)
        assert [r["job_id"] for r in page] == jobs[2:]


def test_list_jobs_is_ordered_by_creation(q: Ledger):
    """The id is a uuid v7: its order is that of created_at, and unique."""
    q.enqueue_many(30)
    rows = q.rows("list_jobs")
    assert [(r["created_at"], r["job_id"]) for r in rows] == sorted(
        ((r["created_at"], r["job_id"]) for r in rows), reverse=True
    )


def test_a_key_finds_its_job_in_its_very_scope(q: Ledger):
    """As at enqueue: without a tenant the job of none is meant, and not that of any."""
    q.define("u")
    job = {tenant: q.enqueue(organization_id=tenant, idempotency_key="k") for tenant in (None, TENANT, OTHER_TENANT)}
    only = q.enqueue("u", organization_id=TENANT, idempotency_key="k")
    for tenant, job_id in job.items():
        row = q.row("find_job", job_type="t", idempotency_key="k", organization_id=tenant)
        assert row == next(r for r in q.rows("list_jobs") if r["job_id"] == job_id)
    assert q.row("find_job", job_type="u", idempotency_key="k", organization_id=TENANT)["job_id"] == only
    for nothing in (
        {"job_type": "u", "idempotency_key": "k"}, {"job_type": "u", "idempotency_key": "k", "organization_id": OTHER_TENANT},
        {"job_type": "t", "idempotency_key": "K"}, {"job_type": None, "idempotency_key": "k"}, {"job_type": "t", "idempotency_key": None},
    ):  # fmt: skip
        assert q.rows("find_job", **nothing) == []


def test_statuses_in_bulk(q: Ledger):
    dead = q.dead(organization_id=TENANT)
    leased, pending = q.leased(organization_id=OTHER_TENANT)["job_id"], q.enqueue()
    asked = [leased, NOBODY, dead, pending, dead]
    rows = q.rows("job_statuses", job_ids=asked)
    assert [r["job_id"] for r in rows] == [dead, leased, pending]
    assert [r["status"] for r in rows] == ["DEAD_LETTERED", "LEASED", "PENDING"]
    for row in rows:
        whole = q.row("get_job", job_id=row["job_id"])
        assert row == {k: whole[k] for k in row}
    assert [r["job_id"] for r in q.rows("job_statuses", job_ids=asked, organization_id=TENANT)] == [dead]
    assert q.rows("job_statuses", job_ids=[]) == []
    assert len(q.rows("job_statuses", job_ids=[pending] * 1000)) == 1


@pytest.mark.parametrize(
    "job_ids", [None, [None], [NOBODY, None], [[NOBODY], [NOBODY]], [NOBODY] * 1001], ids=lambda x: str(x)[:20]
)
def test_what_is_no_list_of_ids_is_refused(q: Ledger, job_ids: list | None):
    with q.refused("job.invalid_ids", "RL010"):
        q.rows("job_statuses", job_ids=job_ids)


def test_job_payload_sees_only_the_tenant_it_is_given(q: Ledger):
    job_id = q.enqueue(organization_id=TENANT, payload=1)
    assert q.row("job_payload", job_id=job_id, organization_id=TENANT)["payload"] == 1
    assert q.rows("job_payload", job_id=job_id, organization_id=OTHER_TENANT) == []


@pytest.mark.parametrize(
    "arguments, code",
    [({"max_rows": x}, "job.invalid_pagination") for x in (None, 0, -1, 1001)]
    + [({"status": x}, "job.invalid_status") for x in ("", "pending", "RUNNING")],
    ids=str,
)
def test_list_jobs_refuses(q: Ledger, arguments: dict, code: str):
    with q.refused(code, "RL010"):
        q.rows("list_jobs", **arguments)


def test_reads_run_where_nothing_may_be_written(q: Ledger):
    """On a standby, that is."""
    job_id = q.enqueue()
    with q.conn.transaction():
        q.conn.execute("set transaction read only")
        q.row("get_job", job_id=job_id)
        q.rows("list_jobs")
        q.rows("leased_jobs", worker_id="w")
        q.rows("error_codes")
        q.row("schema_info")
