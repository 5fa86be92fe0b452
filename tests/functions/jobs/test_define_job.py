"""define_job: what a type is, how it changes, and what it refuses."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger


def test_define_fills_in_the_defaults(q: Ledger):
    row = q.define("email.send")
    kept = {k: v for k, v in row.items() if not k.endswith("_at")}
    assert kept == {
        "job_type": "email.send", "version": 1, "max_attempts": 8, "timeout_seconds": 900, "priority": 100,
        "is_enabled": True, "disabled_reason": None, "is_paused": False, "paused_reason": None,
        "max_concurrency": None, "retry_base_ms": 5000, "retry_max_ms": 300000, "retry_delays_ms": {},
    }  # fmt: skip


def test_define_keeps_what_is_not_given(q: Ledger):
    first = q.define("a", max_attempts=3, priority=-7, retry_delays_ms={"smtp.busy": 60000}, version=2)
    second = q.define("a", timeout_seconds=30)
    changed = {k for k in first if first[k] != second[k]}
    assert changed == {"timeout_seconds", "updated_at"}


def test_an_equal_define_writes_nothing(db: Db, q: Ledger, clock: Clock):
    q.define("a", max_attempts=3, max_concurrency=2)
    row = "select xmin::text, updated_at from runledger.job_definitions where job_type = 'a'"
    before = db.one(row)
    clock.advance(60)
    q.define("a")
    q.define("a", max_attempts=3, max_concurrency=2, is_enabled=True)
    # The row lock of the second call leaves xmin alone; only a write would move it.
    assert db.one(row) == before
    q.define("a", max_attempts=4)
    assert db.one(row)["updated_at"] > before["updated_at"]


def test_define_switches_enabled_and_leaves_the_pause(q: Ledger):
    q.rows("pause_job_type", job_type="t", reason="incident 7")
    off = q.define("t", is_enabled=False)
    assert (off["is_enabled"], off["is_paused"], off["paused_reason"]) == (False, True, "incident 7")
    assert q.define("t")["is_enabled"] is False
    assert q.define("t", is_enabled=True)["is_enabled"] is True


def test_define_lifts_a_concurrency_limit_with_zero(q: Ledger):
    assert q.define("a", max_concurrency=3)["max_concurrency"] == 3
    assert q.define("a")["max_concurrency"] == 3
    assert q.define("a", max_concurrency=0)["max_concurrency"] is None


def test_define_raises_the_longest_delay_with_the_base(q: Ledger):
    assert q.define("a", retry_base_ms=400_000)["retry_max_ms"] == 400_000


def test_define_does_not_touch_jobs_that_exist(q: Ledger):
    job_id = q.enqueue("t")
    q.define("t", priority=1, max_attempts=1, timeout_seconds=1)
    job = q.job(job_id)
    assert (job["priority"], job["max_attempts"], job["timeout_seconds"]) == (100, 8, 900)


@pytest.mark.parametrize(
    "code, settings",
    [
        ("job.invalid_job_type", [{"job_type": x} for x in (None, "", " \t\n", "x" * 201)]),
        ("job_definition.invalid_version", [{"version": 0}, {"version": -1}]),
        ("job.invalid_max_attempts", [{"max_attempts": x} for x in (0, -1, 10_001)]),
        ("job.invalid_timeout", [{"timeout_seconds": x} for x in (0, -1, 2_592_001)]),
        ("job_definition.invalid_max_concurrency", [{"max_concurrency": x} for x in (-1, 100_001)]),
        (
            "job_definition.invalid_retry_policy",
            [
                {"retry_base_ms": 0}, {"retry_base_ms": 10, "retry_max_ms": 9}, {"retry_max_ms": 1},
                {"retry_delays_ms": [1]}, {"retry_delays_ms": "x"}, {"retry_delays_ms": {"a": 0}},
                {"retry_delays_ms": {"a": 1.5}}, {"retry_delays_ms": {"a": "1"}}, {"retry_delays_ms": {"a": None}},
                {"retry_delays_ms": {"a": 315_360_000_001}},
            ],
        ),
        ("json.too_large", [{"retry_delays_ms": {f"code{i}": 1 for i in range(9000)}}]),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_define_refuses(q: Ledger, code: str, settings: list[dict]):
    before = q.db.all("select * from runledger.job_definitions")
    for one in settings:
        with q.refused(code):
            q.define(**{"job_type": "bad", **one})
    assert q.db.all("select * from runledger.job_definitions") == before
