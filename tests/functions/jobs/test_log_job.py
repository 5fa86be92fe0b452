"""log_job: lines beside the events."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from tests.support.ledger import NOBODY, Ledger, Raw


def test_a_line_belongs_to_the_attempt_at_hand(q: Ledger):
    lease = q.leased()
    line = q.row("log_job", **lease, level="warning", message="slow", payload={"ms": 9})["log_job"]
    row = q.db.one("select * from runledger.job_logs")
    assert row.pop("occurred_at")
    assert row == {
        "id": line, "job_id": lease["job_id"], "run_number": 1, "attempt": 1, "level": "warning", "message": "slow", "payload": {"ms": 9},
    }  # fmt: skip
    assert q.db.events(lease["job_id"]) == ["ENQUEUED", "LEASED"]


def test_anybody_may_write_about_any_job_without_a_token(q: Ledger):
    pending, dead = q.enqueue(), None
    q.row("log_job", job_id=pending, level="note", message="by hand")
    q.row("cancel_job", job_id=pending)
    dead = q.dead()
    q.row("log_job", job_id=dead, level="note", message="seen", payload=None)
    assert q.db.column("select attempt from runledger.job_logs order by id") == [0, 1]


def test_a_token_must_hold_the_lease(q: Ledger, clock: Clock):
    expired = q.leased(lease_seconds=1)
    clock.advance(2)
    held, done, canceled = q.leased(), q.leased(), q.leased()
    q.succeed(done)
    q.row("cancel_job", job_id=canceled["job_id"])
    for lease in (expired, done, {**held, "lease_token": held["lease_token"] - 1}, canceled):
        with q.unchanged(), q.refused("job.lease_owner_mismatch", "RL003"):
            q.row("log_job", **lease, level="info", message="late")


@pytest.mark.parametrize(
    "code, arguments",
    [
        ("job.invalid_log", [{"level": x} for x in (None, "", " ", "l" * 201)] + [{"message": x} for x in (None, "", "\n", "m" * 8193)]),
        ("json.too_large", [{"payload": "x" * 16_384}]),
        ("json.number_out_of_range", [{"payload": Raw("1e4300")}]),
        ("job.not_found", [{"job_id": NOBODY}, {"job_id": None}]),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_is_no_line_is_refused(q: Ledger, code: str, arguments: list[dict]):
    job_id = q.enqueue()
    with q.unchanged():
        for one in arguments:
            with q.refused(code):
                q.row("log_job", **{"job_id": job_id, "level": "info", "message": "x", **one})
