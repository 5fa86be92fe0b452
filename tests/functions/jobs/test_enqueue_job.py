"""enqueue_job: one job, in the transaction of the caller."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.database import Db
from tests.support.ledger import LATER, OTHER_TENANT, TENANT, Ledger, Raw

SETTINGS = {
    "payload": {"a": 2}, "priority": 7, "max_attempts": 3, "timeout_seconds": 20, "stage": "scheduled",
    "run_at": datetime(2030, 1, 1, tzinfo=UTC),
}  # fmt: skip


def test_enqueue_takes_what_is_left_out_from_the_definition(q: Ledger):
    q.define("t", priority=5, max_attempts=3, timeout_seconds=60)
    row = q.row("enqueue_job", job_type="t")
    assert (row["disposition"], row["status"], row["run_number"]) == ("INSERTED", "PENDING", 1)
    job = q.job(row["job_id"])
    assert (job["priority"], job["max_attempts"], job["timeout_seconds"]) == (5, 3, 60)
    assert (job["attempt"], job["run_number"], job["stage"], job["payload"]) == (0, 1, "queued", {})
    assert job["next_run_at"] == job["created_at"]
    assert (job["idempotency_key"], job["enqueue_request"], job["organization_id"]) == (None, None, None)


def test_enqueue_keeps_what_is_given(q: Ledger):
    due = datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
    job = q.job(q.enqueue(
        payload=[1, None], organization_id=TENANT, priority=-3, max_attempts=1, timeout_seconds=9, run_at=due, stage="scheduled",
    ))  # fmt: skip
    assert (job["payload"], job["organization_id"], job["priority"]) == ([1, None], TENANT, -3)
    assert (job["max_attempts"], job["timeout_seconds"], job["next_run_at"], job["stage"]) == (1, 9, due, "scheduled")


@pytest.mark.parametrize("payload", ["null", "0", '"x"', "[]", "true", '{"a": "\\u20ac"}'])
def test_enqueue_takes_any_json(q: Ledger, payload: str):
    job_id = q.enqueue(payload=Raw(payload))
    assert q.db.value("select payload = %s::jsonb from runledger.job_queue where id = %s", [payload, job_id])


def test_enqueue_tells_it_once(q: Ledger):
    job_id = q.enqueue(stage="scheduled")
    assert q.told(job_id) == [("ENQUEUED", 1, None)]
    event = q.event(job_id, "ENQUEUED")
    assert (event["stage"], event["payload"]) == ("scheduled", {"job_type": "t"})


def test_enqueue_belongs_to_the_transaction_of_the_caller(db: Db, q: Ledger):
    db.execute("create table public.orders (n integer)")
    db.execute("grant all on public.orders to public")
    other = q.on(autocommit=False)
    other.conn.execute("insert into public.orders values (1)")
    other.enqueue(idempotency_key="k")
    other.conn.rollback()
    assert q.pending() == 0
    assert db.value("select count(*) from runledger.job_events") == 0
    assert db.value("select count(*) from public.orders") == 0
    other.conn.execute("insert into public.orders values (1)")
    other.enqueue(idempotency_key="k")
    assert q.claim() == []
    other.conn.commit()
    assert len(q.claim()) == 1


def test_enqueue_without_a_key_always_inserts(q: Ledger):
    assert q.enqueue(payload={"a": 1}) != q.enqueue(payload={"a": 1})


@pytest.mark.parametrize(
    "code, arguments",
    [
        ("job.definition_not_found_or_disabled", [{"job_type": x} for x in ("nobody", "", None, "T")]),
        ("job.invalid_max_attempts", [{"max_attempts": x} for x in (0, -1, 10_001)]),
        ("job.invalid_timeout", [{"timeout_seconds": x} for x in (0, -1, 2_592_001)]),
        ("job.invalid_run_at", [{"run_at": x} for x in ("infinity", "-infinity", "1969-12-31", "2999-01-01", "10000-01-01")]),
        ("job.invalid_idempotency_key", [{"idempotency_key": x} for x in ("", " \t", "k" * 513)]),
        ("job.invalid_stage", [{"stage": x} for x in ("", " ", None, "s" * 201)]),
        ("json.too_large", [{"payload": "x" * 262_144}]),
        ("json.too_deep", [{"payload": Raw("[" * 200 + "]" * 200)}, {"payload": Raw('{"a":' * 64 + '["' + "x" * 500 + '"]' + "}" * 64)}]),
        ("json.number_out_of_range", [{"payload": Raw(x)} for x in ("1e4300", "[-1e309]", '{"a":1e-400}')]),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_enqueue_refuses(q: Ledger, code: str, arguments: list[dict]):
    with q.unchanged():
        for one in arguments:
            with q.refused(code):
                q.row("enqueue_job", **{"job_type": "t", **one})


def test_a_key_gives_the_same_job_once(q: Ledger):
    first = q.row("enqueue_job", job_type="t", **SETTINGS, idempotency_key="k", organization_id=TENANT)
    with q.unchanged():
        again = q.row("enqueue_job", job_type="t", **SETTINGS, idempotency_key="k", organization_id=TENANT)
    assert again == {**first, "disposition": "EXISTING"}


def test_a_key_is_taken_per_type_and_tenant(q: Ledger):
    q.define("u")
    jobs = {
        q.enqueue(job_type, idempotency_key="k", organization_id=tenant)
        for job_type in ("t", "u")
        for tenant in (None, TENANT, OTHER_TENANT)
    }
    assert len(jobs) == 6


def test_another_request_with_the_key_is_a_conflict(q: Ledger):
    job_id = q.enqueue(idempotency_key="k", payload={"a": 1})
    bare = q.enqueue(idempotency_key="bare")
    with q.unchanged():
        for name, value in SETTINGS.items():
            for key in ("k", "bare"):
                with q.refused("job.idempotency_conflict", "RL020") as told:
                    q.row("enqueue_job", job_type="t", idempotency_key=key, **{"payload": {"a": 1}, name: value})
                assert told.detail == {
                    "code": "job.idempotency_conflict", "job_id": str(job_id if key == "k" else bare), "status": "PENDING",
                }  # fmt: skip


def test_an_explicit_setting_is_another_request_than_the_equal_default(q: Ledger):
    q.enqueue(idempotency_key="k")
    for explicit in ({"priority": 100}, {"max_attempts": 8}, {"timeout_seconds": 900}):
        with q.refused("job.idempotency_conflict"):
            q.enqueue(idempotency_key="k", **explicit)
    # Spelled out, these say what leaving them out says.
    assert q.row("enqueue_job", job_type="t", idempotency_key="k", payload={}, stage="queued")["disposition"] == "EXISTING"


@pytest.mark.parametrize(
    "first, second, same",
    [
        ("1", "1.0", True), ("1e2", "100", True), ("-0", "0", True), ("1.10", "1.1", True), ("1", "2", False),
        ('{"a": 1, "b": 2}', '{"b": 2.0, "a": 1}', True), ("[1, 2]", "[2, 1]", False), ("null", "{}", False),
        ('{"a": null}', "{}", False), ('{"a": 1, "a": 2}', '{"a": 2}', True), ('"1"', "1", False),
    ],
)  # fmt: skip
def test_requests_compare_as_json_values(q: Ledger, first: str, second: str, same: bool):
    job_id = q.enqueue(idempotency_key="k", payload=Raw(first))
    if same:
        assert q.enqueue(idempotency_key="k", payload=Raw(second)) == job_id
    else:
        with q.refused("job.idempotency_conflict"):
            q.enqueue(idempotency_key="k", payload=Raw(second))


def test_requests_compare_instants_in_microseconds_whatever_the_zone(q: Ledger):
    due = datetime(2030, 1, 1, 12, 0, 0, 1, tzinfo=UTC)
    job_id = q.enqueue(idempotency_key="k", run_at=due)
    q.conn.execute("set timezone = 'Asia/Tokyo'")
    assert q.enqueue(idempotency_key="k", run_at="2030-01-01 14:00:00.000001+02") == job_id
    q.conn.execute("set datestyle = 'SQL, DMY'")
    assert q.enqueue(idempotency_key="k", run_at=due) == job_id
    with q.refused("job.idempotency_conflict"):
        q.enqueue(idempotency_key="k", run_at=due + timedelta(microseconds=1))


def test_a_retry_finds_the_job_whatever_became_of_it(q: Ledger):
    def again() -> tuple[str, str, int]:
        row = q.row("enqueue_job", job_type="t", idempotency_key="k", payload={"a": 1}, max_attempts=5)
        assert row["job_id"] == job_id
        return row["disposition"], row["status"], row["run_number"]

    job_id = q.enqueue(idempotency_key="k", payload={"a": 1}, max_attempts=5)
    q.row("correct_payload", job_id=job_id, payload={"a": 2}, reason="typo")
    assert again() == ("EXISTING", "PENDING", 1)
    lease = q.hold(job_id)
    q.row("report_progress", **lease, stage="half way", done=1, total=2)
    assert again() == ("EXISTING", "LEASED", 1)
    q.fail(lease, kind="TERMINAL")
    assert again() == ("EXISTING", "DEAD_LETTERED", 1)
    q.row("requeue_job", job_id=job_id)
    assert again() == ("EXISTING", "PENDING", 2)
    q.succeed(q.hold(job_id), output=1)
    assert again() == ("EXISTING", "SUCCEEDED", 2)
    q.row("redact_job", job_id=job_id, reason="asked to forget")
    assert again() == ("EXISTING", "SUCCEEDED", 2)


def test_a_retry_finds_the_job_of_a_type_disabled_meanwhile(q: Ledger):
    job_id = q.enqueue(idempotency_key="k")
    q.row("disable_job_type", job_type="t")
    assert q.enqueue(idempotency_key="k") == job_id
    with q.refused("job.definition_not_found_or_disabled"):
        q.enqueue(idempotency_key="other")


def test_a_later_default_is_no_conflict(q: Ledger):
    job_id = q.enqueue(idempotency_key="k")
    q.define("t", priority=1, max_attempts=1, timeout_seconds=1)
    assert q.enqueue(idempotency_key="k") == job_id


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_keyed_enqueue_is_refused_above_read_committed(q: Ledger, isolation: str):
    q.enqueue(idempotency_key="old")
    with q.unchanged():
        for key in ("new", "old"):
            with q.refused("job.idempotency_unsupported_isolation", "RL013"), q.conn.transaction():
                q.conn.execute(f"set transaction isolation level {isolation}")
                q.enqueue(idempotency_key=key)
            with q.refused("job.idempotency_unsupported_isolation"), q.conn.transaction():
                q.conn.execute(f"set transaction isolation level {isolation}")
                q.rows("enqueue_jobs", jobs=[{"job_type": "t"}, {"job_type": "t", "idempotency_key": key}])
    with q.conn.transaction():
        q.conn.execute(f"set transaction isolation level {isolation}")
        q.enqueue()
    with q.conn.transaction():
        q.conn.execute("set transaction isolation level read uncommitted")
        q.enqueue(idempotency_key="new")
    assert q.pending() == 3


def test_no_error_tells_a_key_or_a_payload(q: Ledger):
    key, secret = "KEY-4711", "SECRET-0815"
    q.enqueue(idempotency_key=key, payload={"a": 1})
    q.row("pause_job_type", job_type="t")
    for code, arguments in {
        "job.idempotency_conflict": {},
        "job.invalid_stage": {"stage": " "},
        "json.number_out_of_range": {"payload": Raw(f'["{secret}", 1e400]')},
        "json.too_large": {"payload": [secret] * 30_000},
        "job.definition_not_found_or_disabled": {"job_type": "nobody"},
        "job.invalid_idempotency_key": {"idempotency_key": key * 100},
    }.items():
        with q.refused(code) as told:
            q.row("enqueue_job", **{"job_type": "t", "payload": {"a": secret}, "idempotency_key": key, **arguments})
        assert key not in told.text
        assert secret not in told.text


def test_a_delayed_job_waits_for_its_time(q: Ledger):
    q.enqueue(run_at=datetime.now(UTC) + LATER)
    assert q.claim() == []
