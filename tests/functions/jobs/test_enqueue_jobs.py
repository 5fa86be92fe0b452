"""enqueue_jobs: a batch, one row per item, in order."""

from __future__ import annotations

import json

import pytest

from tests.support.ledger import TENANT, Ledger, Raw


def dispositions(rows: list[dict]) -> list[str]:
    return [r["disposition"] for r in rows]


def test_a_batch_gives_one_row_per_item_in_order(q: Ledger):
    q.define("u", priority=5)
    rows = q.rows("enqueue_jobs", jobs=[
        {"job_type": "t", "payload": {"n": 1}},
        {"job_type": "u", "organization_id": str(TENANT), "priority": 9, "max_attempts": 2, "timeout_seconds": 3,
         "run_at": "2030-01-01T00:00:00Z", "idempotency_key": "k", "stage": "scheduled"},
        {"job_type": "u", "priority": None, "payload": None},
    ])  # fmt: skip
    assert [r["ordinal"] for r in rows] == [1, 2, 3]
    assert dispositions(rows) == ["INSERTED"] * 3
    assert {(r["status"], r["run_number"], r["code"]) for r in rows} == {("PENDING", 1, None)}
    first, second, third = (q.job(r["job_id"]) for r in rows)
    assert (first["payload"], first["priority"], first["stage"]) == ({"n": 1}, 100, "queued")
    assert (second["organization_id"], second["priority"], second["max_attempts"], second["timeout_seconds"]) == (
        TENANT,
        9,
        2,
        3,
    )
    assert (second["next_run_at"].year, second["idempotency_key"], second["stage"]) == (2030, "k", "scheduled")
    # null counts as left out, but for payload, where null is a value.
    assert (third["payload"], third["priority"]) == (None, 5)
    assert q.told(rows[0]["job_id"]) == [("ENQUEUED", 1, None)]


def test_an_empty_batch_gives_no_rows(q: Ledger):
    assert q.rows("enqueue_jobs", jobs=[]) == []


def test_claims_follow_the_order_of_the_items(q: Ledger):
    rows = q.rows("enqueue_jobs", jobs=[{"job_type": "t", "idempotency_key": f"k{-n}"} for n in range(200)])
    assert q.ids(200) == [r["job_id"] for r in rows]


BAD_ITEMS = [
    (42, "job.invalid_item"), ("x", "job.invalid_item"), (None, "job.invalid_item"), ([], "job.invalid_item"),
    ({}, "job.invalid_job_type"), ({"job_type": 7}, "job.invalid_job_type"), ({"job_type": None}, "job.invalid_job_type"),
    ({"job_type": "nobody"}, "job.definition_not_found_or_disabled"), ({"job_type": ""}, "job.definition_not_found_or_disabled"),
    ({"job_type": "t", "prioritty": 5}, "job.unknown_field"),
    ({"job_type": "t", "organization_id": "x"}, "job.invalid_organization_id"), ({"job_type": "t", "organization_id": 7}, "job.invalid_organization_id"),
    ({"job_type": "t", "priority": "high"}, "job.invalid_priority"), ({"job_type": "t", "priority": 1.5}, "job.invalid_priority"),
    ({"job_type": "t", "priority": 3_000_000_000}, "job.invalid_priority"),
    ({"job_type": "t", "max_attempts": 0}, "job.invalid_max_attempts"), ({"job_type": "t", "max_attempts": "3"}, "job.invalid_max_attempts"),
    ({"job_type": "t", "timeout_seconds": -1}, "job.invalid_timeout"), ({"job_type": "t", "timeout_seconds": True}, "job.invalid_timeout"),
    ({"job_type": "t", "run_at": "tomorrow"}, "job.invalid_run_at"), ({"job_type": "t", "run_at": "2030-01-01 00:00"}, "job.invalid_run_at"),
    ({"job_type": "t", "run_at": "2030-13-01T00:00:00Z"}, "job.invalid_run_at"), ({"job_type": "t", "run_at": "9999-01-01T00:00:00Z"}, "job.invalid_run_at"),
    ({"job_type": "t", "run_at": 1893456000}, "job.invalid_run_at"),
    ({"job_type": "t", "idempotency_key": " "}, "job.invalid_idempotency_key"), ({"job_type": "t", "idempotency_key": 5}, "job.invalid_idempotency_key"),
    ({"job_type": "t", "stage": ""}, "job.invalid_stage"), ({"job_type": "t", "stage": 5}, "job.invalid_stage"),
    ({"job_type": "t", "payload": "x" * 262_144}, "json.too_large"),
]  # fmt: skip


def test_a_bad_item_is_reported_and_does_not_spoil_the_others(q: Ledger):
    jobs = [item for bad, _ in BAD_ITEMS for item in (bad, {"job_type": "t"})]
    rows = q.rows("enqueue_jobs", jobs=jobs)
    assert [(r["disposition"], r["code"]) for r in rows[::2]] == [("INVALID", code) for _, code in BAD_ITEMS]
    assert {(r["job_id"], r["status"], r["run_number"]) for r in rows[::2]} == {(None, None, None)}
    assert set(dispositions(rows[1::2])) == {"INSERTED"}
    assert q.pending() == len(BAD_ITEMS)


def test_a_bad_item_alone_is_reported_the_same(q: Ledger):
    """Nothing else in the batch asks for a second look at it."""
    with q.unchanged():
        for bad, code in BAD_ITEMS:
            [row] = q.rows("enqueue_jobs", jobs=[bad])
            assert (row["disposition"], row["code"]) == ("INVALID", code), bad
        for bad in (
            '[{"job_type": "t", "payload": 1e4300}]',
            '[{"job_type": "t", "payload": -1e309}]',
            '[{"job_type": "t", "payload": {"a": [1e-309]}}]',
            '[{"job_type": "t", "payload": [-1e-400]}]',
            '[{"job_type": "t", "payload": %s}]' % ("[" * 300 + "]" * 300),
            '[{"job_type": "t", "run_at": "2030-01-01 allballs Z"}]',
            '[{"job_type": "t", "organization_id": "{0000000000000000000000000000000}"}]',
            '[{"job_type": "t", "stage": "%s"}]' % ("x" * 201),
        ):
            [row] = q.rows("enqueue_jobs", jobs=Raw(bad))
            assert row["disposition"] == "INVALID", bad


PLAIN_ITEMS = [
    {"job_type": "t"}, {"job_type": "u"}, {"job_type": "t", "payload": None}, {"job_type": "t", "payload": {"n": [1, "x", 2.5]}},
    {"job_type": "t", "payload": 0}, {"job_type": "u", "priority": -7}, {"job_type": "u", "max_attempts": 3},
    {"job_type": "t", "timeout_seconds": 5}, {"job_type": "t", "stage": "waiting"}, {"job_type": "t", "organization_id": str(TENANT)},
    {"job_type": "t", "run_at": "2030-01-01T00:00:00+02:00"}, {"job_type": "t", "run_at": "1970-01-02 00:00:00Z"},
    {"job_type": "u", "payload": {}, "priority": None, "max_attempts": None, "timeout_seconds": None, "stage": None,
     "organization_id": None, "run_at": None, "idempotency_key": None},
]  # fmt: skip
WIDE_ITEMS = [{"job_type": "t", "priority": 1.0}, {"job_type": "t", "max_attempts": 2e1}]


@pytest.mark.parametrize("wide", [[], WIDE_ITEMS], ids=["plain", "wide"])
def test_a_batch_without_keys_stores_what_one_with_keys_stores(q: Ledger, wide: list[dict]):
    q.define("u", priority=5, max_attempts=4, timeout_seconds=6)
    jobs = [*PLAIN_ITEMS, *wide]
    plain = q.rows("enqueue_jobs", jobs=jobs)
    keyed = q.rows("enqueue_jobs", jobs=[*jobs, {"job_type": "t", "idempotency_key": "k"}])[:-1]
    assert [{**a, "job_id": None} for a in plain] == [{**b, "job_id": None} for b in keyed]
    at = ("id", "next_run_at", "created_at", "updated_at")
    for nth, (a, b) in enumerate(zip(plain, keyed, strict=True)):
        one, other = q.job(a["job_id"]), q.job(b["job_id"])
        assert {n: v for n, v in one.items() if n not in at} == {n: v for n, v in other.items() if n not in at}
        assert (one["next_run_at"] == one["created_at"]) is (not jobs[nth].get("run_at"))
        assert jobs[nth].get("run_at") is None or one["next_run_at"] == other["next_run_at"]
        assert q.told(a["job_id"]) == q.told(b["job_id"]) == [("ENQUEUED", 1, None)]


def test_ids_of_a_batch_are_of_version_7_rise_with_the_items_and_come_once(q: Ledger):
    first, second = ([r["job_id"] for r in q.rows("enqueue_jobs", jobs=[{"job_type": "t"}] * n)] for n in (10_000, 300))
    ids = [*first, *second]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {(i.version, i.variant) for i in ids} == {(7, "specified in RFC 4122")}
    assert len({i.int & 0xFFFF_FFFF_FFFF for i in ids}) == len(ids)
    created = q.job(second[0])["created_at"].timestamp()
    assert abs((second[0].int >> 80) / 1000 - created) < 60
    assert q.ids(300) == first[:300]


def test_an_unreadable_item_is_reported(q: Ledger):
    batch = '[{"job_type": "t", "payload": 1e4300}, {"job_type": "t", "payload": %s}, {"job_type": "t"}]' % (
        "[" * 300 + "]" * 300
    )
    rows = q.rows("enqueue_jobs", jobs=Raw(batch))
    assert [r["code"] for r in rows] == ["json.number_out_of_range", "json.too_deep", None]


def test_strict_refuses_the_whole_batch_at_its_first_refusal(q: Ledger):
    q.enqueue(idempotency_key="k")
    good, conflict, bad = (
        {"job_type": "t"},
        {"job_type": "t", "idempotency_key": "k", "priority": 1},
        {"job_type": "nobody"},
    )
    with q.unchanged():
        for jobs, code, ordinal in (
            ([good, conflict, bad], "job.idempotency_conflict", 2),
            ([good, good, bad, conflict], "job.definition_not_found_or_disabled", 3),
            ([7], "job.invalid_item", 1),
        ):
            with q.refused(code) as told:
                q.rows("enqueue_jobs", jobs=jobs, strict=True)
            assert told.detail["ordinal"] == ordinal
    assert dispositions(q.rows("enqueue_jobs", jobs=[good, good], strict=True)) == ["INSERTED"] * 2


def test_items_with_one_key_share_a_job(q: Ledger):
    old = q.enqueue(idempotency_key="old")
    item = {"job_type": "t", "idempotency_key": "k"}
    rows = q.rows("enqueue_jobs", jobs=[
        item, item, {**item, "payload": 1}, {**item, "organization_id": str(TENANT)},
        {"job_type": "t", "idempotency_key": "old"}, {"job_type": "t", "idempotency_key": "old", "priority": 3},
    ])  # fmt: skip
    assert dispositions(rows) == ["INSERTED", "EXISTING", "CONFLICT", "INSERTED", "EXISTING", "CONFLICT"]
    assert [r["code"] for r in rows] == [None, None, "job.idempotency_conflict", None, None, "job.idempotency_conflict"]
    assert rows[0]["job_id"] == rows[1]["job_id"] == rows[2]["job_id"] != rows[3]["job_id"]
    assert rows[4]["job_id"] == rows[5]["job_id"] == old
    with q.unchanged():
        assert dispositions(q.rows("enqueue_jobs", jobs=[item, item])) == ["EXISTING"] * 2


def test_single_and_bulk_requests_are_the_same_request(q: Ledger):
    settings = {
        "payload": {"a": [1]},
        "priority": 3,
        "run_at": "2030-01-01T00:00:00.000001Z",
        "idempotency_key": "k",
        "stage": "scheduled",
    }
    job_id = q.enqueue(**settings)
    [row] = q.rows("enqueue_jobs", jobs=[{"job_type": "t", **settings}])
    assert (row["job_id"], row["disposition"]) == (job_id, "EXISTING")
    # A key whose type was disabled meanwhile is still found.
    q.row("disable_job_type", job_type="t")
    [row] = q.rows("enqueue_jobs", jobs=[{"job_type": "t", **settings}], strict=True)
    assert row["job_id"] == job_id


def test_a_batch_reports_where_a_job_stands(q: Ledger):
    job_id = q.dead(idempotency_key="k")
    q.row("requeue_job", job_id=job_id)
    q.hold(job_id)
    [row] = q.rows("enqueue_jobs", jobs=[{"job_type": "t", "idempotency_key": "k"}])
    assert (row["status"], row["run_number"]) == ("LEASED", 2)


@pytest.mark.parametrize(
    "jobs",
    [None, Raw("{}"), Raw("null"), Raw("1"), Raw(json.dumps([1] * 10_001))],
    ids=["null", "object", "json-null", "number", "many"],
)
def test_what_is_no_batch_is_refused(q: Ledger, jobs: object):
    with q.refused("job.invalid_batch"):
        q.rows("enqueue_jobs", jobs=jobs)


def test_no_item_tells_its_key(q: Ledger):
    q.enqueue(idempotency_key="KEY-4711")
    rows = q.rows("enqueue_jobs", jobs=[{"job_type": "t", "idempotency_key": "KEY-4711", "payload": "SECRET"}])
    assert rows[0]["disposition"] == "CONFLICT"
    assert "KEY" not in str(rows)
    with q.refused("job.idempotency_conflict") as told:
        q.rows(
            "enqueue_jobs", jobs=[{"job_type": "t", "idempotency_key": "KEY-4711", "payload": "SECRET"}], strict=True
        )
    assert "KEY" not in told.text
    assert "SECRET" not in told.text
