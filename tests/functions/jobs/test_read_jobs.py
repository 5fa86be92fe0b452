"""get_job, list_jobs, job_payload."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.clock import Clock
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger


def test_get_job_says_everything(q: Ledger):
    lease = q.leased(payload={"a": 1}, organization_id=TENANT, idempotency_key="k", priority=3)
    q.row("report_progress", **lease, done=1, total=4, checkpoint=2)
    row, job = q.row("get_job", job_id=lease["job_id"]), q.job(lease["job_id"])
    assert row.pop("job_id") == job["id"]
    assert row == {k: job[k] for k in row}
    assert (row["status"], row["payload"], row["checkpoint"], row["progress_pct"]) == ("LEASED", {"a": 1}, 2, 25)


def test_get_job_sees_only_the_tenant_it_is_given(q: Ledger):
    job_id, global_job = q.enqueue(organization_id=TENANT), q.enqueue()
    assert q.rows("get_job", job_id=job_id, organization_id=TENANT)
    for wrong in ({"job_id": job_id, "organization_id": OTHER_TENANT}, {"job_id": global_job, "organization_id": TENANT}, {"job_id": NOBODY}, {"job_id": None}):
        assert q.rows("get_job", **wrong) == []


def test_job_payload_gives_the_bodies(q: Ledger):
    lease = q.leased(payload={"a": 1})
    q.succeed(lease, output=[1], checkpoint="c")
    assert q.row("job_payload", job_id=lease["job_id"]) == {"job_id": lease["job_id"], "payload": {"a": 1}, "checkpoint": "c", "output": [1]}
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
    assert listed(created_after=middle - timedelta(seconds=1), created_before=middle + timedelta(microseconds=1)) == [leased]
    assert listed(created_before=middle) == [first]
    assert listed(job_type="%") == listed(organization_id=OTHER_TENANT) == []
    assert not {"payload", "checkpoint", "output"} & set(q.rows("list_jobs")[0])


@pytest.mark.parametrize("arguments, code", [({"max_rows": x}, "job.invalid_pagination") for x in (None, 0, -1, 1001)] + [({"status": x}, "job.invalid_status") for x in ("", "pending", "RUNNING")], ids=str)
def test_list_jobs_refuses(q: Ledger, arguments: dict, code: str):
    with q.refused(code, "RL010"):
        q.rows("list_jobs", **arguments)


def test_reads_run_where_nothing_may_be_written(q: Ledger):
    """On a standby, that is."""
    job_id = q.enqueue()
    with q.conn.transaction():
        q.conn.execute("set transaction read only")
        q.row("get_job", job_id=job_id)
        q.row("job_payload", job_id=job_id)
        q.rows("list_jobs")
        q.rows("leased_jobs", worker_id="w")
        q.rows("error_codes")
        q.row("schema_info")
