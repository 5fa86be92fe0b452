"""The small functions that everything is made of, as tables: lengths of time, cuts, sizes, ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TABLES: dict[str, list[tuple[tuple[Any, ...], Any]]] = {
    "_age(%s::interval)": [
        (("0",), "0 ms"), (("1.4 ms",), "1 ms"), (("0.9994 s",), "999 ms"), (("1 s",), "1.0 s"), (("1.25 s",), "1.3 s"), (("119.9 s",), "119.9 s"), (("2 min",), "2 min"), (("150 s",), "3 min"),
        (("119 min",), "119 min"), (("2 h",), "2 h"), (("47 h",), "47 h"), (("2 days",), "2 d"), (("60 h",), "3 d"), (("40 days",), "40 d"), ((None,), None),
    ],
    "_when(%s::timestamptz, %s::timestamptz)": [
        ((NOW, NOW), "2026-03-01 12:00:00+00 (0 ms ago)"), ((NOW, NOW - timedelta(seconds=5)), "2026-03-01 12:00:00+00 (in 5.0 s)"), ((NOW, NOW + timedelta(hours=3)), "2026-03-01 12:00:00+00 (3 h ago)"),
        ((NOW, NOW - timedelta(microseconds=1)), "2026-03-01 12:00:00+00 (in 0 ms)"), ((None, NOW), None),
    ],
    "_cut(%s, %s)": [
        (("abc", 3), "abc"), (("abcdefghij", 10), "abcdefghij"), (("x" * 41, 40), "x" * 9 + "..."), (("é" * 20, 40), "é" * 20), (("é" * 21, 40), "é" * 9 + "..."), (("", 10), ""), ((None, 10), None),
    ],
    "_one_line(%s)": [
        (("a\n\tb\r\n",), "a b "), (("x" * 300,), "x" * 300), (("x" * 301,), "x" * 74 + "..."), (("é" * 150,), "é" * 150), (("é" * 151,), "é" * 74 + "..."), ((None,), None),
    ],
    "_percent(%s::bigint, %s::bigint)": [
        ((1, 3), "33.33"), ((2, 3), "66.67"), ((0, 1), "0.00"), ((5, 5), "100.00"), ((1, 0), None), ((0, 0), None), ((1, None), None), ((None, 1), None), ((1, 1), "100.00"), ((2**62, 2**63 - 1), "50.00"),
    ],
    "_contains(%s, %s)": [(("abc", "B"), True), (("ABC", "bc"), True), (("abc", ""), True), (("abc", "abcd"), False), (("a%c", "%"), True), (("abc", "%"), False), (("abc", "a"), True), ((None, "a"), None)],
    "_has_only(%s::jsonb, %s::text[])": [(("{}", []), True), (('{"a": 1}', ["a"]), True), (('{"a": null}', []), False), (('{"a": 1, "b": 2}', ["a"]), False), (('{"a": 1}', ["a", "b"]), True)],
    "_integer_field(%s::jsonb, %s, %s)": [
        (("{}", "a", 7), 7), (('{"a": 5}', "a", 7), 5), (('{"a": 0}', "a", 7), 0), (('{"a": "5"}', "a", 7), -1), (('{"a": null}', "a", 7), -1), (('{"a": 1.5}', "a", 7), -1), (('{"b": 5}', "a", None), None), (('{"a": 2147483648}', "a", 7), -1),
    ],
    "_without_nulls(%s::jsonb)": [(("{}",), {}), (('{"a": null}',), {}), (('{"a": 1, "b": null, "c": {"d": null}}',), {"a": 1, "c": {"d": None}}), (('{"a": [null], "b": "null"}',), {"a": [None], "b": "null"})],
    "_as_text(%s::jsonb)": [(('"x"',), "x"), (('""',), ""), (("1",), None), (("null",), None), (("{}",), None), ((None,), None)],
    "_as_text_array(%s::jsonb)": [((None,), []), (("[]",), []), (('["a", ""]',), ["a", ""]), (('["a", 1]',), None), (("[null]",), None), (('"a"',), None), (("{}",), None), (('[["a"]]',), None)],
    "_as_bigint(%s::jsonb)": [(("9223372036854775807",), 2**63 - 1), (("-9223372036854775808",), -(2**63)), (("-9223372036854775809",), None), (("0",), 0), (("-1.0",), -1), (("1.5",), None), (('"1"',), None), ((None,), None)],
    "_as_integer(%s::jsonb)": [(("2147483647",), 2**31 - 1), (("-2147483648",), -(2**31)), (("-2147483649",), None), (("2147483648",), None), (("0",), 0), ((None,), None)],
    "_as_delay_ms(%s::jsonb)": [
        ((None,), 0), (("0",), 0), (("0.0001",), 1), (("1.5",), 1500), (('"1 minute"',), 60_000), (("315360000",), 315_360_000_000), (("315360000.001",), None), (("-0.001",), None), (("null",), None), (('"x"',), None),
        (('"3650 days"',), 315_360_000_000), (('"3650 days 1 ms"',), None), (('"-1 s"',), None),
    ],
    "_as_interval(%s::jsonb)::text": [
        (("1000000000",), "277777:46:40"), (("-1000000000",), "-277777:46:40"), (("1000000000.1",), None), (("-1000000000.1",), None), (('"1 day"',), "1 day"), (('"' + "0" * 63 + '1"',), "00:00:01"), (('"' + "0" * 64 + '1"',), None),
        (('"999999999999 years"',), None), (("true",), None), ((None,), None),
    ],
    "_is_instant(%s)": [
        (("2030-01-01T00:00:00Z",), True), (("2030-01-01 00:00+02",), True), (("12030-01-01T00:00:00z",), True), (("2030-01-01T00:00:00 +02:00",), True), (("2030-01-01T00:00:00",), False), (("now",), False),
        (("2030-01-01T" + "0" * 52 + "Z",), True), (("2030-01-01T" + "0" * 53 + "Z",), False), ((None,), None),
    ],
    "_uuid_time(%s::uuid)": [(("00000000-0001-7000-8000-000000000000",), datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)), (("019b76da-a800-7fff-8000-000000000000",), datetime(2026, 1, 1, tzinfo=UTC)), (("00000000-0000-7fff-bfff-ffffffffffff",), datetime(1970, 1, 1, tzinfo=UTC))],
    "_uuid_floor(%s::timestamptz)::text": [
        (("1970-01-01 00:00:00.001Z",), "00000000-0001-0000-0000-000000000000"), (("1970-01-01 00:00:00.001999Z",), "00000000-0001-0000-0000-000000000000"), (("1970-01-01 00:00:00.000001Z",), "00000000-0000-0000-0000-000000000000"),
        (("9999-12-31Z",), "e677ccf9-8000-0000-0000-000000000000"), (("9999-12-31 00:00:00.001Z",), "ffffffff-ffff-ffff-ffff-ffffffffffff"), (("epoch",), "00000000-0000-0000-0000-000000000000"),
    ],
    "_wake_key(%s)": [(("t",), "e3b98a4da31a127d"), (("",), "e3b0c44298fc1c14")],
    "_is_name(%s, %s)": [(("a", 1), True), (("é", 1), False), (("é", 2), True), (("\u00a0a", 9), True), (("\n", 9), False), (("ab", 1), False), ((None, 9), False)],
    "_is_redacted(%s::jsonb)": [(('{"_redacted": true}',), True), (('{"_redacted": false}',), False), (('{"_redacted": true, "a": 1}',), False), (("{}",), False)],
    "_same_request(%s::jsonb, %s::jsonb)": [(('{"a": 1}', '{"a": 1.0}'), True), (('{"a": 1}', '{"a": 2}'), False), (('{"_redacted": true}', '{"a": 2}'), True), (('{"a": 2}', '{"_redacted": true}'), False), ((None, "{}"), None)],
    "_horizon(%s::timestamptz)": [((NOW,), NOW + timedelta(days=3650))],
}  # fmt: skip


def test_each_says_what_it_says(db: Db):
    db.execute("set timezone = 'UTC'")
    for call, cases in TABLES.items():
        for given, want in cases:
            got = db.value(f"select runledger.{call}", given)
            assert (str(got) if call.startswith("_percent") and got is not None else got) == want, (call, given)


def test_the_shortcuts_of_the_json_guard_begin_where_they_may(db: Db):
    """Too large as stored, too large as text, too deep, out of range: each right at its bound, whatever the others let pass."""
    ask = "select runledger._json_problem(%s::jsonb, %s)"
    for text, limit, want in (
        # As stored: a string of n bytes takes n + 12.
        ('"' + "x" * 988 + '"', 1000, None), ('"' + "x" * 989 + '"', 1000, "json.too_large"),
        # As text: a long number is short as stored, and a short array long.
        ("[" + "1e60," * 15 + "1]", 2000, None), ("[" + "1e60," * 40 + "1]", 2000, "json.too_large"),
        ("[" + ",".join(["1e60"] * 20) + "]", 1260, None), ("[" + ",".join(["1e60"] * 20) + "]", 1259, "json.too_large"),
        # Depth is looked for from 500 bytes on: 65 containers take more.
        ("[" * 65 + "]" * 65, 10**6, None), ("[" * 65 + "1" + "]" * 65, 10**6, "json.too_deep"), ('{"a":' * 65 + "1" + "}" * 65, 10**6, "json.too_deep"), ('{"a":' * 64 + "1" + "}" * 64, 10**6, None),
        ("1e308", 1000, None), ("1.1e308", 1000, "json.number_out_of_range"), ("-1.1e308", 1000, "json.number_out_of_range"), ("1e-308", 1000, None), ("0.9e-308", 1000, "json.number_out_of_range"),
        ("-1e-308", 1000, None), ("-0.9e-308", 1000, "json.number_out_of_range"), ("-1e308", 1000, None), ("[0]", 1000, None), ('{"a": {"b": [0.9e-308]}}', 1000, "json.number_out_of_range"), (None, 1, None), ("true", 0, None), ("{}", 0, None),
    ):  # fmt: skip
        assert db.value(ask, [text, limit]) == want, (text and text[:60], limit)


def test_a_value_has_one_size_however_it_is_stored(db: Db):
    db.execute("create temp table kept (value jsonb)")
    for text in ('"' + "x" * 5000 + '"', "[" + "7," * 3000 + "7]", '{"a": "' + "y" * 9000 + '"}', "{" + ", ".join(f'"{n}": {n}' for n in range(500)) + "}"):
        plain = db.value("select pg_column_size(%s::jsonb)", [text])
        db.execute("truncate kept; ")
        db.execute("insert into kept values (%s)", [text])
        assert db.value("select runledger._json_bytes(value) from kept") == db.value("select runledger._json_bytes(%s::jsonb)", [text]) == plain, text[:20]


def test_ids_of_a_batch_count_up_behind_those_of_its_base(db: Db):
    base = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    got = db.column("select runledger._batch_uuid(%s, nth) from unnest(%s::integer[]) with ordinality as x(nth, o) order by o", [base, [1, 2, 16383, 16384]])
    assert [str(u)[:24] for u in got] == [f"01890a5d-ac96-774b-{n:04x}-" for n in (0x8001, 0x8002, 0xBFFF, 0x8000)]
    assert len({str(u)[24:] for u in got}) == 4
    assert db.value("select runledger._batch_uuid(%s, 1)", [base]) == got[0]


def test_an_id_is_made_of_its_instant(db: Db):
    """On servers that cannot do it: 48 bits of milliseconds, 12 of the microseconds within."""
    drawn = "select runledger._uuid_at(%s)"
    for at, begins in (
        ("1970-01-01 00:00:00Z", "00000000-0000-7000"), ("1970-01-01 00:00:00.000001Z", "00000000-0000-7004"), ("1970-01-01 00:00:00.000500Z", "00000000-0000-7800"), ("1970-01-01 00:00:00.000999Z", "00000000-0000-7ffb"),
        ("1970-01-01 00:00:00.001Z", "00000000-0001-7000"), ("2026-01-01Z", "019b76da-a800-7000"), ("2026-01-01 00:00:00.123456Z", "019b76da-a87b-774b"),
    ):  # fmt: skip
        ids = [db.value(drawn, [at]) for _ in range(3)]
        assert {str(i)[:18] for i in ids} == {begins}, at
        assert len(set(ids)) == 3
        assert {(i.version, i.variant) for i in ids} == {(7, "specified in RFC 4122")}


def test_who_is_woken(db: Db, q: Ledger, clock: Clock):
    """Types that an idle worker handles, each once; nobody whose time is up, to the instant."""
    now = clock.stop()
    for n, types in enumerate((["a", "b"], ["b", "c"], ["d"])):
        q.row("register_worker", worker_id=f"w{n}", job_types=types)
    conn = db.connect(admin=True)
    heard: list[str] = []
    conn.add_notify_handler(lambda note: heard.append(note.payload))
    conn.execute("listen runledger_wake")
    keys = {db.value("select runledger._wake_key(%s)", [t]): t for t in "abcdx"}
    for idle, types, want in (
        ([], "abcd", ""), ([0], "abcd", "ab"), ([0], "aabba", "ab"), ([0, 1], "abcdx", "abc"), ([2], "abc", ""), ([2], "d", "d"), ([0, 1, 2], "", ""), ([1], None, ""),
    ):  # fmt: skip
        for late in (1, 0, -1):
            db.execute("update runledger.workers set idle_until = null")
            db.execute("update runledger.workers set idle_until = %s where worker_id = any (%s)", [now + timedelta(microseconds=late), [f"w{n}" for n in idle]])
            heard.clear()
            conn.execute("select runledger._wake(%s::text[], %s)", [None if types is None else list(types), now])
            conn.execute("select 1")
            assert sorted(keys[h] for h in heard) == (list(want) if late > 0 else []), (idle, types, late)
    db.execute("update runledger.workers set idle_until = null")


def test_read_committed_and_below_pass(db: Db, q: Ledger):
    conn = db.connect(admin=True)
    own = q.on(conn)
    for isolation in ("read uncommitted", "read committed", "repeatable read", "serializable"):
        with conn.transaction(force_rollback=True):
            conn.execute(f"set transaction isolation level {isolation}".encode())
            if isolation in ("read uncommitted", "read committed"):
                conn.execute("select runledger._require_read_committed('job.claim_unsupported_isolation')")
                continue
            with own.refused("job.claim_unsupported_isolation", "RL013") as told:
                conn.execute("select runledger._require_read_committed('job.claim_unsupported_isolation')")
            assert told.detail == {"code": "job.claim_unsupported_isolation", "isolation": isolation}
