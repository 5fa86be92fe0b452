"""log_jobs: many lines at once, each judged alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.ledger import NOBODY, Ledger, Raw


def line(job_id: Any = None, **more: Any) -> dict[str, Any]:
    return {"job_id": str(job_id), "level": "info", "message": "m", **more}


def test_lines_are_stored_in_the_order_given(q: Ledger):
    lease, pending = q.leased(), q.enqueue()
    entries = [line((lease["job_id"], pending)[n % 2], message=f"m{n}", payload={"n": n}) for n in range(50)]
    rows = q.rows("log_jobs", entries=entries)
    assert [r["ordinal"] for r in rows] == list(range(1, 51))
    assert {(r["disposition"], r["code"]) for r in rows} == {("STORED", None)}
    stored = q.db.all("select * from runledger.job_logs order by id")
    assert [r["log_id"] for r in rows] == [s["id"] for s in stored]
    assert [(s["message"], s["payload"]) for s in stored] == [(f"m{n}", {"n": n}) for n in range(50)]
    assert [s["attempt"] for s in stored[:2]] == [1, 0]
    assert len({s["occurred_at"] for s in stored}) == 1
    # The next line by itself comes after them.
    assert q.row("log_job", job_id=pending, level="info", message="m")["log_job"] > rows[-1]["log_id"]


def test_a_token_must_hold_the_lease(q: Ledger, clock: Clock):
    expired = q.leased(lease_seconds=1)
    clock.advance(2)
    held, done, canceled = q.leased(), q.leased(), q.leased()
    q.succeed(done)
    q.row("cancel_job", job_id=canceled["job_id"])
    forged = {**held, "lease_token": held["lease_token"] + 1}
    leases = (held, expired, done, canceled, forged)
    rows = q.rows("log_jobs", entries=[line(x["job_id"], lease_token=x["lease_token"]) for x in leases])
    assert [r["disposition"] for r in rows] == ["STORED", "LOST", "LOST", "LOST", "LOST"]
    assert {r["code"] for r in rows[1:]} == {"job.lease_owner_mismatch"}
    assert {r["log_id"] for r in rows[1:]} == {None}
    assert q.db.value("select count(*) from runledger.job_logs") == 1


BAD = [
    (1, "job.invalid_item"), (None, "job.invalid_item"), ([], "job.invalid_item"),
    ({"leve1": "x"}, "job.unknown_field"),
    ({"job_id": None}, "job.invalid_id"), ({"job_id": "x"}, "job.invalid_id"), ({"job_id": 1}, "job.invalid_id"),
    ({"lease_token": "1"}, "job.invalid_tokens"), ({"lease_token": 1.5}, "job.invalid_tokens"), ({"lease_token": 2**63}, "job.invalid_tokens"),
    *[({"level": x}, "job.invalid_log") for x in (None, "", " ", 1, "l" * 201)],
    *[({"message": x}, "job.invalid_log") for x in (None, "", "\n", 1, "m" * 8193)],
    ({"payload": "x" * 16_384}, "json.too_large"),
]  # fmt: skip


def test_each_bad_line_is_invalid_alone(q: Ledger):
    job_id = q.enqueue()
    bad = [({**line(job_id), **item} if isinstance(item, dict) else item) for item, _ in BAD]
    rows = q.rows("log_jobs", entries=[line(job_id), *bad, line(NOBODY), line(job_id)])
    assert (rows[0]["disposition"], rows[-1]["disposition"]) == ("STORED", "STORED")
    assert [(r["disposition"], r["code"]) for r in rows[1:-2]] == [("INVALID", code) for _, code in BAD]
    assert (rows[-2]["disposition"], rows[-2]["code"]) == ("LOST", "job.not_found")
    assert q.db.value("select count(*) from runledger.job_logs") == 2


def test_an_unreadable_number_is_invalid_alone(q: Ledger):
    job_id = q.enqueue()
    text = f'[{{"job_id": "{job_id}", "level": "l", "message": "m", "payload": 1e4300}}]'
    assert q.row("log_jobs", entries=Raw(text))["code"] == "json.number_out_of_range"


def test_payload_may_be_left_out_or_null(q: Ledger):
    job_id = q.enqueue()
    q.rows("log_jobs", entries=[line(job_id), line(job_id, payload=None), line(job_id, payload=0)])
    assert q.db.column("select payload from runledger.job_logs order by id") == [{}, None, 0]


@pytest.mark.parametrize(
    "entries", [None, {}, 1, Raw("[" + ",".join(["1"] * 10_001) + "]")], ids=["null", "{}", "1", "many"]
)
def test_what_is_no_batch_is_refused(q: Ledger, entries: Any):
    with q.unchanged(), q.refused("job.invalid_batch", "RL010"):
        q.rows("log_jobs", entries=entries)


def test_no_lines_are_no_rows(q: Ledger):
    assert q.rows("log_jobs", entries=[]) == []
