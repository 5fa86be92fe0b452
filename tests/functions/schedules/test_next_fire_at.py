"""next_fire_at: what an expression may say, what is refused and how fast, and what the clocks do to it."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from croniter import croniter

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger

AFTER = "2026-01-01T00:00:00Z"  # a Thursday


def fire(q: Ledger, cron: str, after: str = AFTER, timezone: str = "UTC") -> str:
    at = q.row("next_fire_at", cron=cron, timezone=timezone, after=after)["next_fire_at"]
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def test_the_change_of_a_clock_is_found_to_the_second(db: Db):
    change = "select to_char(runledger._clock_change(%s::timestamp, %s::timestamp, 'Europe/Berlin'), 'MM-DD HH24:MI:SS')"
    for since in ("2026-03-28 12:00:00", "2026-03-29 00:59:58", "2026-03-29 00:59:59"):
        assert db.value(change, [since, "2026-03-30 12:00:00"]) == "03-29 01:00:00", since


MEANINGS = [
    ("* * * * *", "2026-01-01 00:01:00"),
    ("0 0 * * *", "2026-01-02 00:00:00"),
    ("5,10-12 * * * *", "2026-01-01 00:05:00"),
    ("50-59/5,3 * * * *", "2026-01-01 00:03:00"),
    ("20/15 * * * *", "2026-01-01 00:20:00"),
    ("0 9-9 * * *", "2026-01-01 09:00:00"),
    ("0 0 * * 7", "2026-01-04 00:00:00"),
    ("0 0 * * 0", "2026-01-04 00:00:00"),
    ("0 0 * * SUN", "2026-01-04 00:00:00"),
    ("0 0 * * fri-mon", "2026-01-02 00:00:00"),
    ("0 12 * * 5-7", "2026-01-02 12:00:00"),
    ("0 0 * * sat-sun", "2026-01-03 00:00:00"),
    ("0 0 * * 6-1/2", "2026-01-03 00:00:00"),
    ("0 0 * * mon-mon", "2026-01-05 00:00:00"),
    ("0 0 1 nov-feb *", "2026-02-01 00:00:00"),
    ("0 0 10 NOV-jan/2 *", "2026-01-10 00:00:00"),
    ("0 0 ? * 1", "2026-01-05 00:00:00"),
    ("0 0 15 * ?", "2026-01-15 00:00:00"),
    ("0 0 13 * fri", "2026-01-02 00:00:00"),  # day or weekday
    ("0 0 */2 * fri", "2026-01-02 00:00:00"),  # a step is no star: the 2nd is a Friday
    ("0 0 29 2 *", "2028-02-29 00:00:00"),
    ("0 0 31 * *", "2026-01-31 00:00:00"),
    ("0 0 30 2 mon", "2026-02-02 00:00:00"),  # no such day, but Mondays there are
    ("30 15 10 * * *", "2026-01-01 10:15:30"),
    ("*/20 * * * * *", "2026-01-01 00:00:20"),
    ("* * * * * *", "2026-01-01 00:00:01"),
    ("0 0\t1  1 *", "2027-01-01 00:00:00"),
    ("@hourly", "2026-01-01 01:00:00"),
    ("@Daily", "2026-01-02 00:00:00"),
    ("@midnight", "2026-01-02 00:00:00"),
    ("@weekly", "2026-01-04 00:00:00"),
    ("@monthly", "2026-02-01 00:00:00"),
    ("@yearly", "2027-01-01 00:00:00"),
    ("@annually", "2027-01-01 00:00:00"),
]  # fmt: skip


def test_what_an_expression_says(q: Ledger):
    assert [(cron, fire(q, cron)) for cron, _ in MEANINGS] == MEANINGS


def test_wrapping_ranges_have_each_of_their_days(db: Db):
    """Weekday and month masks, exhaustively: every a-b is the walk from a to b around the circle."""
    for a in range(8):
        for b in range(8):
            mask = db.value("select (runledger._parse_cron(%s)).weekdays", [f"0 0 * * {a}-{b}"])
            walk, at = {a % 7}, a
            while at % 7 != b % 7 or (at == a and b - a == 7):
                at += 1
                walk.add(at % 7)
            assert {n for n in range(7) if mask >> n & 1} == walk, (a, b)
    for a in range(1, 13):
        for b in range(1, 13):
            mask = db.value("select (runledger._parse_cron(%s)).months", [f"0 0 1 {a}-{b} *"])
            assert {n for n in range(16) if mask >> n & 1} == {(a - 1 + i) % 12 + 1 for i in range((b - a) % 12 + 1)}


def every(low: int, high: int, step: int = 1) -> set[int]:
    return set(range(low, high + 1, step))


# Expression, and what differs from "0 * * * * *": the values of the fields, whether a day and a weekday are any, whether
# fires follow real time.
PARSED: list[tuple[str, dict[str, Any]]] = [
    ("* * * * *", {}),
    ("* * * * * *", {"seconds": every(0, 59)}),
    ("*/59 1/58 2 3 4 5", {"seconds": {0, 59}, "minutes": {1, 59}, "hours": {2}, "days": {3}, "months": {4}, "weekdays": {5},
                           "any_day": False, "any_weekday": False, "follows_real_time": False}),
    ("0,59 0-59/30 0,23 1,31 1,12 0,6", {"seconds": {0, 59}, "minutes": {0, 30}, "hours": {0, 23}, "days": {1, 31},
                                         "months": {1, 12}, "weekdays": {0, 6}, "any_day": False, "any_weekday": False,
                                         "follows_real_time": False}),
    ("5 * * * *", {"minutes": {5}}),
    ("* 5 * * *", {"hours": {5}}),
    ("*/7 5 * * *", {"minutes": every(0, 59, 7), "hours": {5}}),
    ("5 */7 * * *", {"minutes": {5}, "hours": {0, 7, 14, 21}}),
    ("5 5 * * *", {"minutes": {5}, "hours": {5}, "follows_real_time": False}),
    ("* 5 5 * * *", {"seconds": every(0, 59), "minutes": {5}, "hours": {5}, "follows_real_time": False}),
    ("* * */30 * *", {"days": {1, 31}, "any_day": False}),
    ("* * 31 * */3", {"days": {31}, "weekdays": {0, 3, 6}, "any_day": False, "any_weekday": False}),
    ("* * ? 11/1 ?", {"months": {11, 12}}),
    ("* * * * 4/2", {"weekdays": {4, 6}, "any_weekday": False}),
    ("* * * * 7", {"weekdays": {0}, "any_weekday": False}),
    ("* * * dec-feb,jun-jul fri-mon/2", {"months": {12, 1, 2, 6, 7}, "weekdays": {5, 0}, "any_weekday": False}),
    ("@yearly", {"minutes": {0}, "hours": {0}, "days": {1}, "months": {1}, "any_day": False, "follows_real_time": False}),
    ("@weekly", {"minutes": {0}, "hours": {0}, "weekdays": {0}, "any_weekday": False, "follows_real_time": False}),
    ("@hourly", {"minutes": {0}}),
    ("  ".join("0-" + n for n in ("59", "23")) + " 1-31 1-12 0-6", {"any_day": False, "any_weekday": False, "follows_real_time": False}),
]  # fmt: skip
ANY: dict[str, Any] = {
    "seconds": {0}, "minutes": every(0, 59), "hours": every(0, 23), "days": every(1, 31), "months": every(1, 12),
    "weekdays": every(0, 6), "any_day": True, "any_weekday": True, "follows_real_time": True,
}  # fmt: skip


def test_every_field_of_an_expression_is_read(db: Db):
    for cron, differs in PARSED:
        parsed = db.value("select to_jsonb(runledger._parse_cron(%s))", [cron])
        read = {k: v if isinstance(v, bool) else {n for n in range(64) if v >> n & 1} for k, v in parsed.items()}
        assert read == {**ANY, **differs}, cron


def test_of_an_expression_that_cannot_be_read_the_field_is_named(q: Ledger):
    told = [(" ".join("x" if n == wrong else "1" for n in range(6)), {"field": name})
            for wrong, name in enumerate(["second", "minute", "hour", "day", "month", "weekday"])]  # fmt: skip
    told += [("61 0 0 0 0", {"field": "minute"}), ("1 1 ?/2 1 1", {"field": "day"}), ("* ? * * ?", {"field": "hour"})]
    told += [("1 " * n + "1", {"fields": n + 1}) for n in (0, 3, 6)]
    told += [(cron, {"max_bytes": 1000}) for cron in (None, "1" * 1001, "\u00e9" * 501)]
    told += [("1" * 1000, {"fields": 1})]
    for cron, detail in told:
        with q.refused("job_schedule.invalid_cron") as refusal:
            q.row("next_fire_at", cron=cron)
        assert refusal.detail == {"code": "job_schedule.invalid_cron", **detail}


def test_the_days_that_no_month_has(db: Db, q: Ledger):
    """Refused alone, and whatever the other days are if it is one of several, or a weekday besides, accepted."""
    for month in range(1, 13):
        last = 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31
        for day in range(28, 32):
            if day <= last:
                fire(q, f"0 0 {day} {month} *")
            else:
                with q.refused("job_schedule.cron_never_fires") as refusal:
                    q.row("next_fire_at", cron=f"0 0 {day} {month} *")
                assert refusal.detail == {"code": "job_schedule.cron_never_fires"}
            fire(q, f"0 0 28,{day} {month} *")
            fire(q, f"0 0 {day} 7,{month} *")
            fire(q, f"0 0 {day} {month} 0-6")


GRID = [
    "0 0 * * *", "59 23 31 12 *", "0 0 1 1 *", "0 0 29 2 *", "*/7 */5 * * *", "30 12 28-31 * *", "0 6 13 * 5", "0 6 */10 * 1",
    "15,45 0,23 * 2,12 *", "5 4 * * 0", "0 0 31 * 3", "30 0 0 1 * *", "59 59 23 * * 6", "*/25 */25 * * * *", "0 1 1 11 2", "1 0 30 4,6 *",
]  # fmt: skip
INSTANTS = [
    "2026-01-01T00:00:00Z", "2025-12-31T23:59:58Z", "2025-12-31T23:59:59Z", "2026-02-28T23:59:59Z", "2024-02-28T23:59:59Z",
    "2024-02-29T00:00:00Z", "2026-03-13T05:59:59Z", "2026-04-30T00:00:59Z", "2026-07-04T23:58:59Z", "2026-11-30T12:30:00Z",
    "2027-01-31T00:24:59Z", "2028-12-30T23:59:00Z",
]  # fmt: skip


def test_the_next_fire_is_that_of_croniter(db: Db):
    """Over the ends of minutes, hours, days, months and years; by chance in tests/property."""
    got = db.all(
        "select c, a, runledger._next_fire(runledger._parse_cron(c), 'UTC', a) as at"
        " from unnest(%s::text[]) as c, unnest(%s::timestamptz[]) as a",
        [GRID, INSTANTS],
    )
    assert len(got) == len(GRID) * len(INSTANTS)
    for row in got:
        after = row["a"].astimezone(UTC)
        right = croniter(row["c"], after, second_at_beginning=True).get_next(datetime)
        assert row["at"] == right, (row["c"], after)


def test_a_leap_day_is_eight_years_away_at_most(db: Db):
    day = db.value("select runledger._next_cron_day(runledger._parse_cron('0 0 29 2 *'), date '2096-03-01')")
    assert day == date(2104, 2, 29)


# Zone, instant of the change, offsets before and after in minutes.
JUMPS = [
    ("Europe/Berlin", "2026-03-29T01:00Z", 60, 120),
    ("Europe/Berlin", "2026-10-25T01:00Z", 120, 60),
    ("America/New_York", "2026-03-08T07:00Z", -300, -240),
    ("America/New_York", "2026-11-01T06:00Z", -240, -300),
    ("Australia/Lord_Howe", "2026-10-03T15:30Z", 630, 660),
    ("Australia/Lord_Howe", "2026-04-04T15:00Z", 660, 630),
    ("Pacific/Apia", "2011-12-30T10:00Z", -600, 840),
]


def test_what_a_change_of_the_clocks_has_to_do_with_an_instant(db: Db):
    """To the second, on both sides of each end: the gap, the first pass, the second, and the days around."""
    for zone, text, before, after in JUMPS:
        change, width = datetime.fromisoformat(text), timedelta(minutes=abs(after - before))
        second, day = timedelta(seconds=1), timedelta(days=1)
        around = [e + d for e in (-day, -width, 0 * day, width, day) for d in (-second, 0 * day, second / 2, second)]
        for offset in sorted(set(around)):
            note = None
            if after > before:
                note = "first instant after skipped local times" if timedelta() <= offset < second else None
            elif -width <= offset < timedelta():
                note = "repeated local time, first pass"
            elif timedelta() <= offset < width:
                note = "repeated local time, second pass"
            assert db.value("select runledger._clock_note(%s, %s)", [change + offset, zone]) == note, (zone, offset)


def test_strictly_after(q: Ledger):
    assert fire(q, "*/5 * * * *", "2026-01-01T00:05:00Z") == "2026-01-01 00:10:00"
    assert fire(q, "*/5 * * * *", "2026-01-01T00:04:59.999999Z") == "2026-01-01 00:05:00"
    assert fire(q, "* * * * * *", "2026-01-01T00:00:00.5Z") == "2026-01-01 00:00:01"


def test_after_is_now_unless_given(q: Ledger, clock: Clock):
    at = q.row("next_fire_at", cron="0 0 1 1 *")["next_fire_at"]
    assert at == datetime(clock.now().astimezone(UTC).year + 1, 1, 1, tzinfo=UTC)


CHANGES = [
    # Clocks forward in Berlin: 02:00 to 03:00 on 2026-03-29, at 01:00 UTC.
    ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00Z", "2026-03-29 01:00:00"),
    ("Europe/Berlin", "30 2 * * *", "2026-03-29T01:00Z", "2026-03-30 00:30:00"),
    ("Europe/Berlin", "*/30 2 * * *", "2026-03-28T12:00Z", "2026-03-30 00:00:00"),
    ("Europe/Berlin", "*/30 * * * *", "2026-03-29T00:30Z", "2026-03-29 01:00:00"),
    ("Europe/Berlin", "* 30 2 * * *", "2026-03-28T12:00Z", "2026-03-29 01:00:00"),
    # Back: 03:00 to 02:00 on 2026-10-25, at 01:00 UTC.
    ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00Z", "2026-10-25 00:30:00"),
    ("Europe/Berlin", "30 2 * * *", "2026-10-25T00:30Z", "2026-10-26 01:30:00"),
    ("Europe/Berlin", "30 2 * * *", "2026-10-25T01:10Z", "2026-10-26 01:30:00"),
    ("Europe/Berlin", "30 * * * *", "2026-10-25T00:30Z", "2026-10-25 01:30:00"),
    ("Europe/Berlin", "0 3 * * *", "2026-10-24T12:00Z", "2026-10-25 02:00:00"),
    # Half an hour, midnight, a day that never was.
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00Z", "2026-10-03 15:30:00"),
    ("America/Sao_Paulo", "0 0 * * *", "2018-11-03T12:00Z", "2018-11-04 03:00:00"),
    ("Pacific/Apia", "0 12 * * *", "2011-12-29T23:00Z", "2011-12-30 10:00:00"),
    ("Pacific/Apia", "0 12 * * *", "2011-12-30T10:00Z", "2011-12-30 22:00:00"),
]  # fmt: skip


def test_when_the_clocks_change(q: Ledger):
    assert [(z, c, a, fire(q, c, a, z)) for z, c, a, _ in CHANGES] == CHANGES


def test_the_zone_of_the_session_does_not_matter(q: Ledger):
    for setting in ("Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"):
        q.conn.execute(f"set timezone = '{setting}'")
        assert [(z, c, a, fire(q, c, a, z)) for z, c, a, _ in CHANGES] == CHANGES


UNREADABLE = [
    None, "", " ", "* * * *", "* * * * * * *", " * * * * *", "* * * * * ", "\n* * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *",
    "* * 32 * *", "* * * 0 *", "* * * 13 *", "* * * * 8", "-1 * * * *", "1- * * * *", "-5 * * * *", "5-1 * * * *", "* 22-2 * * *",
    "*/0 * * * *", "1/0 * * * *", "*/60 * * * *", "*/-1 * * * *", "*/ * * * *", "/5 * * * *", "1,,2 * * * *", ", * * * *",
    "1, * * * *", "? * * * *", "* ? * * *", "* * ?/2 * *", "* * * foo *", "* * * * jan", "* * * mon *", "jan * * * *", "* * * * 7/2",
    "* * L * *", "* * * * 5#2", "* * 15W * *", "H * * * *", "R * * * *", "@reboot", "@every 5m", "@", "@daily x", "@dailyx",
    "1.5 * * * *", "0x1 * * * *", "1e1 * * * *", "\u0661 * * * *", "* * * * \u212a", "*\u00a0* * * *", "* * * * *;", "' or 1=1 --",
    "* * * * *\n", "%s * * * *", "001 * * * *", "1-2-3 * * * *", "1/2/3 * * * *", "** * * * *", "*-5 * * * *", "* * * * sunday",
]  # fmt: skip


def test_what_cannot_be_read_is_refused(q: Ledger):
    for cron in UNREADABLE:
        with q.refused("job_schedule.invalid_cron", "RL010"):
            q.row("next_fire_at", cron=cron)


def test_what_never_fires_is_refused(q: Ledger):
    for cron in ("0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "* * 31 feb *", "0 0 0 31 apr *", "0 0 30-31 2 ?"):
        with q.refused("job_schedule.cron_never_fires", "RL010"):
            q.row("next_fire_at", cron=cron)


HOSTILE = [
    "*" * 1_000_000, "*," * 499, "0-59," * 199 + "1", "* " * 500_000, "1" * 999, "1-1" * 300, "(" * 999, "/" * 999, "a" * 999,
    "*/1," * 240 + " * * * *", " " * 999, "\t" * 999, "-".join("1" * 400),
]  # fmt: skip


def test_hostile_expressions_are_refused_quickly(q: Ledger):
    """A second for all of them, where each runs in well under a millisecond."""
    start = time.monotonic()
    for cron in HOSTILE:
        with q.refused("job_schedule.invalid_cron"):
            q.row("next_fire_at", cron=cron)
    q.conn.execute("set statement_timeout = '1s'")
    assert fire(q, ",".join(map(str, range(60))) + " " + ",".join(["0-23/1"] * 100) + " * * *") == "2026-01-01 00:01:00"
    assert fire(q, "59 59 23 29 2 *", "2036-02-29T23:59:59Z") == "2040-02-29 23:59:59"
    assert time.monotonic() - start < 60


ZONES = [
    None, "", " ", "Berlin", "Europe/Berlin ", "europe", "CEST", "PST", "CET", "EST", "+02", "UTC+2", "UTC-2", "EST5EDT4", "Foo/Bar",
    "Foo/Bar3", "<+02>-2", "Europe/../Berlin", "/etc/localtime", "posixrules", "localtime", "posix/Europe/Berlin", "right/Europe/Berlin", "europe/berlin", "x" * 100_000, "Europe/" + "x" * 200, "o'clock",
    "Europe/Berlin\n", "\u00c9urope/Berlin", "local", "DEFAULT", "infinity",
]  # fmt: skip


def test_what_is_no_zone_is_refused(q: Ledger):
    for zone in ZONES:
        with q.refused("job_schedule.invalid_timezone", "RL010"):
            q.row("next_fire_at", cron="* * * * *", timezone=zone)


def test_every_zone_of_the_server_is_one(db: Db, q: Ledger):
    """But for the few that are abbreviations as well, which AT TIME ZONE reads without daylight saving."""
    refused = []
    # Names with nothing odd in them are all alike: some of those, and all of the others.
    plain = "^[A-Za-z_]+(/[A-Za-z_-]+)+$"
    names = db.column(
        "select name from pg_timezone_names where name ~ '^[A-Z]' and (name !~ %s or name ~ '^[AP].*[ao]$')", [plain]
    )
    for name in names:
        try:
            q.row("next_fire_at", cron="0 0 * * *", timezone=name, after=AFTER)
        except psycopg.Error:
            refused.append(name)
    assert len(names) > 100
    assert set(refused) <= {"CET", "EET", "EST", "HST", "MET", "MST", "UCT", "WET", "Zulu"}


def test_an_instant_out_of_range_is_refused(q: Ledger):
    for after in ("infinity", "-infinity", "1969-12-31T23:59:59Z", "294276-12-31", "4713-01-01 BC"):
        with q.refused("job_schedule.invalid_instant", "RL010"):
            q.row("next_fire_at", cron="* * * * *", after=after)


def test_an_expression_that_never_fires_is_not_looked_for_without_end(db: Db, q: Ledger):
    """_parse_cron refuses these; here is one that has got past it."""
    never = "jsonb_populate_record(runledger._parse_cron('0 0 1 1 *'), '{\"months\": 0}')"
    assert db.value(f"select runledger._next_cron_day({never}, date '2026-01-01')") is None
    with pytest.raises(psycopg.Error) as error:
        db.value(f"select runledger._next_fire({never}, 'UTC', '2026-01-01Z')")
    assert json.loads(error.value.diag.message_detail or "")["code"] == "job_schedule.cron_never_fires"
