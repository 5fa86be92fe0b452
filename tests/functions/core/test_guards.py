"""The helpers that every verb leans on: JSON, names, counts, values out of batch items."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.database import Db
from tests.support.ledger import Ledger

LIMIT = 1000


JSON: list[tuple[str, str | None]] = [
    ("null", None), ("1", None), ('"x"', None), ("{}", None), ("[]", None),
    ("1e308", None), ("-1e308", None), ("1e-307", None), ("0", None), ("-0.0", None),
    ("1e309", "number"), ("-1e309", "number"), ("1e-309", "number"), ("-1e-400", "number"), ("1e4300", "number"), ("1e131071", "number"),
    ('{"a": [1, {"b": 1e309}]}', "number"), ('["1e309"]', None), ('{"1e309": 1}', None),
    ("[" * 64 + "]" * 64, None), ('"' + "x" * 980 + '"', None), ('"' + "x" * 999 + '"', "large"), ('"' + "é" * 490 + '"', None), ('"' + "é" * 500 + '"', "large"),
    ("[" + "1," * 60 + "1]", None), ("[" + "1," * 90 + "1]", "large"),
    ("[" + "1e300," * 3 + "1]", None), ("[" + "1e300," * 4 + "1]", "large"),
]  # fmt: skip


def test_json_is_refused_for_what_it_is(db: Db):
    codes = {"number": "json.number_out_of_range", "large": "json.too_large", "deep": "json.too_deep", None: None}
    for text, problem in JSON:
        assert db.value("select runledger._json_problem(%s::jsonb, %s)", [text, LIMIT]) == codes[problem], text[:40]


def test_the_shortcuts_of_the_guard_are_exact(db: Db):
    """A value small enough to skip a test would have passed it: checked against the tests themselves."""
    for depth in (1, 30, 62, 63, 64, 65, 66, 100, 1000):
        for filler in ("1", '"x"', '"' + "x" * 600 + '"', "[[[]]]", "1e300"):
            text = "[" * depth + filler + "]" * depth
            levels = depth + (2 if filler == "[[[]]]" else 0)
            got = db.value("select runledger._json_problem(%s::jsonb, 262144)", [text])
            # The root is level 0: 64 containers hold their scalar at level 64, and an empty one may stand there.
            assert got == (None if levels <= 64 else "json.too_deep"), (depth, filler)


def test_the_largest_payload_goes_in_and_comes_out(q: Ledger):
    text = "x" * (262_144 - 16)  # stored, a text has a header of a few bytes
    job_id = q.enqueue(payload=text)
    assert q.claim()[0]["payload"] == text
    with q.refused("json.too_large"):
        q.enqueue(payload=text + "x" * 16)
    assert q.job(job_id)["status"] == "LEASED"


def test_limits_are_what_the_guards_use(db: Db):
    rows = db.all("select * from runledger.limits")
    assert {r["name"] for r in rows} >= {
        "payload_bytes",
        "max_jobs",
        "batch_items",
        "lease_seconds",
        "releases",
        "horizon_days",
    }
    for row in rows:
        assert db.value("select runledger._limit(%s)", [row["name"]]) == row["value"] > 0
        assert row["unit"]
        assert row["meaning"]


@pytest.mark.parametrize(
    "function, cases",
    [
        ("_as_text", {'"x"': "x", '""': "", "1": None, "null": None, "{}": None}),
        ("_as_bigint", {"1": 1, "1.0": 1, "1e2": 100, "-9223372036854775808": -(2**63), "9223372036854775808": None, "1.5": None, '"1"': None, "null": None, "true": None, "1e400": None}),
        ("_as_integer", {"2147483647": 2**31 - 1, "2147483648": None, "-2147483648": -(2**31), "0.5": None, "[]": None}),
        ("_as_uuid", {'"00000000-0000-0000-0000-00000000000A"': "00000000-0000-0000-0000-00000000000a", '"{00000000-0000-0000-0000-00000000000a}"': None, '"x"': None, "1": None, "null": None}),
        ("_as_instant", {'"2030-01-01T00:00:00Z"': datetime(2030, 1, 1, tzinfo=UTC), '"2030-01-01 02:00:00.5+02:00"': datetime(2030, 1, 1, 0, 0, 0, 500000, tzinfo=UTC), '"2030-01-01T00:00:00"': None, '"now"': None, '"infinity"': None, '"2030-02-30T00:00:00Z"': None, '"2030-01-01T25:00:00Z"': None, '"2030-01-01T00:00:00+99"': None, "5": None, "null": None}),
        ("_as_interval", {"1.5": timedelta(seconds=1.5), '"1 hour"': timedelta(hours=1), '"PT1M"': timedelta(minutes=1), "-3": timedelta(seconds=-3), '"soon"': None, "1e10": None, '"' + "1" * 65 + '"': None, "null": None, "[]": None}),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_values_of_items_are_what_they_say_or_nothing(db: Db, function: str, cases: dict):
    db.execute("set timezone = 'Asia/Tokyo'")
    for text, want in cases.items():
        got = db.value(f"select runledger.{function}(%s::jsonb)", [text])
        assert (str(got) if function == "_as_uuid" and got else got) == want, text


def test_uuids_are_of_version_7_and_rise_within_a_session(db: Db):
    ids = db.column("select runledger._uuidv7() from generate_series(1, 500)")
    assert {u.version for u in ids} == {7}
    assert len(set(ids)) == 500
    assert ids == sorted(ids)
    stamp = datetime.fromtimestamp((ids[0].int >> 80) / 1000, UTC)
    assert abs(stamp - db.value("select clock_timestamp()")) < timedelta(minutes=1)


def test_names_are_not_blank_and_not_endless(db: Db):
    cases = {
        "a": True,
        " a ": True,
        "": False,
        " \t\n": False,
        "x" * 10: True,
        "x" * 11: False,
        "é" * 5: True,
        "é" * 6: False,
        None: False,
    }
    for text, want in cases.items():
        assert db.value("select runledger._is_name(%s, 10)", [text]) is want, text


def test_texts_are_cut_to_bytes(db: Db):
    for text in ("short", "é" * 5000, "x" * 9000, "\U0001f600" * 3000):
        cut = db.value("select runledger._cut(%s, 8192)", [text])
        assert len(cut.encode()) <= 8192
        assert cut == text or (cut.endswith("...") and text.startswith(cut[:-3]))


def test_a_violated_check_would_tell_a_payload_so_none_is_reached(db: Db, q: Ledger):
    """The constraints are the last line: what they would refuse, a code refuses before."""
    names = db.column(
        "select conname::text from pg_constraint where conrelid = 'runledger.job_queue'::regclass and contype = 'c'"
    )
    assert len(names) >= 3
    lease = q.leased(payload="SECRET")
    for code, call in (
        ("job.invalid_stage", lambda: q.row("report_progress", **lease, stage=" ")),
        ("job.invalid_progress", lambda: q.row("report_progress", **lease, done=2, total=1)),
        ("job.invalid_max_attempts", lambda: q.enqueue(payload="SECRET", max_attempts=0)),
        ("job.invalid_timeout", lambda: q.enqueue(payload="SECRET", timeout_seconds=0)),
        ("job.invalid_run_at", lambda: q.enqueue(payload="SECRET", run_at="infinity")),
        ("job.invalid_idempotency_key", lambda: q.enqueue(payload="SECRET", idempotency_key=" ")),
    ):
        with q.refused(code) as told:
            call()
        assert "SECRET" not in told.text


def test_schema_info_says_what_is_installed(db: Db, q: Ledger):
    row = q.row("schema_info")
    assert row["migration_head"] == db.value("select max(number) from runledger._migrations")
    assert row["contract"] == 1
    assert row["server_version"] == db.value("show server_version")
    assert len(row["functions_sha256"]) == 64


def test_an_instant_has_a_smallest_id(db: Db):
    floor = "select runledger._uuid_floor(%s)::text"
    assert db.value(floor, ["2026-01-01 00:00Z"]) == "019b76da-a800-0000-0000-000000000000"
    for early in ("-infinity", "1900-01-01", "1970-01-01 00:00Z"):
        assert db.value(floor, [early]) == "00000000-0000-0000-0000-000000000000"
    for late in ("infinity", "10000-01-01"):
        assert db.value(floor, [late]) == "ffffffff-ffff-ffff-ffff-ffffffffffff"
    assert db.value("select runledger._uuidv7() > runledger._uuid_floor(clock_timestamp() - interval '1 s')")
