"""report_progress: how far a job is, merged with what is stored."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.clock import Clock
from tests.support.ledger import Ledger, Raw


def test_progress_is_merged_field_by_field(q: Ledger):
    lease = q.leased()
    assert q.row("report_progress", **lease, total=8) == {
        "job_id": lease["job_id"], "stage": "running", "progress_done": None, "progress_total": 8, "progress_pct": None,
    }  # fmt: skip
    q.row("report_progress", **lease, done=2, checkpoint={"page": 1})
    row = q.row("report_progress", **lease, stage="uploading")
    assert (row["stage"], row["progress_done"], row["progress_total"], row["progress_pct"]) == ("uploading", 2, 8, Decimal("25.00"))
    assert q.row("report_progress", **lease, done=3)["progress_pct"] == Decimal("37.50")
    job = q.job(lease["job_id"])
    assert (job["stage"], job["progress_done"], job["progress_total"], job["checkpoint"]) == ("uploading", 3, 8, {"page": 1})
    assert q.row("report_progress", **lease, done=0, total=0)["progress_pct"] is None
    assert q.row("report_progress", **lease, done=1, total=3)["progress_pct"] == Decimal("33.33")


def test_events_hold_what_was_reported(q: Ledger):
    lease = q.leased()
    q.row("report_progress", **lease, checkpoint=1)
    assert q.db.events(lease["job_id"]) == ["ENQUEUED", "LEASED"]
    q.row("report_progress", **lease, total=8)
    q.row("report_progress", **lease, done=2)
    event = q.event(lease["job_id"], "PROGRESS")
    assert (event["progress_done"], event["progress_total"], event["attempt"], event["payload"]) == (2, None, 1, {})
    q.row("report_progress", **lease, stage="running", done=3, total=9)
    # A stage is told even when it is the one the job has.
    assert q.db.events(lease["job_id"])[2:] == ["PROGRESS", "PROGRESS", "STAGE_CHANGED", "PROGRESS"]
    assert q.event(lease["job_id"], "STAGE_CHANGED")["stage"] == "running"


def test_a_report_of_nothing_tells_nothing(q: Ledger):
    lease = q.leased()
    q.row("report_progress", **lease)
    assert q.db.events(lease["job_id"]) == ["ENQUEUED", "LEASED"]


@pytest.mark.parametrize(
    "code, arguments",
    [
        ("job.invalid_progress", [{"done": -1}, {"total": -1}, {"done": 6}, {"total": 1}, {"done": 9, "total": 8}, {"done": -(2**63)}]),
        ("job.invalid_stage", [{"stage": x} for x in ("", " ", "s" * 201)]),
        ("json.too_large", [{"checkpoint": "x" * 262_144}]),
        ("json.too_deep", [{"checkpoint": Raw("[" * 300 + "]" * 300)}]),
        ("json.number_out_of_range", [{"checkpoint": Raw("1e999")}]),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_nothing_written(q: Ledger, code: str, arguments: list[dict]):
    lease = q.leased()
    q.row("report_progress", **lease, done=2, total=5, checkpoint={"a": 1})
    with q.unchanged():
        for one in arguments:
            with q.refused(code):
                q.row("report_progress", **lease, **one)
    assert q.row("report_progress", **lease, done=5)["progress_done"] == 5


def test_the_largest_numbers_count(q: Ledger):
    lease = q.leased()
    row = q.row("report_progress", **lease, done=2**63 - 1, total=2**63 - 1)
    assert row["progress_pct"] == 100


def test_a_checkpoint_reaches_the_next_attempt_and_the_dead_letter(q: Ledger, clock: Clock):
    lease = q.leased(max_attempts=2)
    q.row("report_progress", **lease, checkpoint={"page": 1})
    q.fail(lease)
    clock.advance(60)
    [claimed] = q.claim()
    assert claimed["checkpoint"] == {"page": 1}
    q.fail({k: claimed[k] for k in lease})
    assert q.db.value("select checkpoint_snapshot from runledger.job_dead_letters") == {"page": 1}
