"""next_fire_at: what an expression may say, what is refused and how fast, and what the clocks do to it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger

AFTER = "2026-01-01T00:00:00Z"  # a Thursday


def fire(q: Ledger, cron: str, after: str = AFTER, timezone: str = "UTC") -> str:
    at = q.row("next_fire_at", cron=cron, timezone=timezone, after=after)["next_fire_at"]
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


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
