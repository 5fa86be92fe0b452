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


def test_if_missing_never_overwrites(db: Db, q: Ledger, clock: Clock):
    first = q.define("a", max_attempts=3, is_enabled=False, if_missing=True)
    assert (first["max_attempts"], first["is_enabled"]) == (3, False)
    row = "select xmin::text, d.* from runledger.job_definitions as d where job_type = 'a'"
    before = db.one(row)
    clock.advance(60)
    assert q.define("a", max_attempts=9, priority=1, is_enabled=True, version=2, if_missing=True) == first
    assert db.one(row) == before
    assert q.define("a", max_attempts=9, if_missing=None)["max_attempts"] == 9
    with q.refused("job.invalid_max_attempts"):
        q.define("a", max_attempts=0, if_missing=True)


def test_one_definition_is_read(q: Ledger):
    made = q.define("email.send", max_attempts=3)
    assert q.row("get_job_definition", job_type="email.send") == made
    for nobody in ("email.%", "", None):
        assert q.rows("get_job_definition", job_type=nobody) == []


def test_definitions_are_listed_by_type_and_found_by_their_letters(q: Ledger):
    for job_type in ("b_1", "a%", "bx1", "A.b", "c"):
        q.define(job_type)

    def types(**more: object) -> list[str]:
        return [r["job_type"] for r in q.rows("list_job_definitions", **more)]

    every = types()
    assert set(every) == {"t", "b_1", "a%", "bx1", "A.b", "c"}
    assert every == q.db.column("select job_type from runledger.job_definitions order by job_type")
    assert types(contains="%") == ["a%"]
    assert types(contains="_") == ["b_1"]
    assert set(types(contains="B")) == {"b_1", "bx1", "A.b"}
    assert types(contains="\\") == []
    assert types(max_rows=2) + types(max_rows=2, after_type=every[1]) + types(after_type=every[3]) == every
    # A place is a place, whether there is such a type or not.
    assert types(after_type="bx") == every[every.index("bx1") :]
    assert q.rows("list_job_definitions", contains="c") == q.rows("get_job_definition", job_type="c")


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
