"""Cron in SQL: against croniter on random expressions, against a walk through every minute where clocks change."""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter

from tests.support.database import Db

SEED = 20
FIELDS = ((0, 59, ()), (0, 23, ()), (1, 31, ()),
          (1, 12, ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
          (0, 6, ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]))  # fmt: skip
# Zones whose clocks do odd things: half hours, midnight, Ramadan, two hours, the south, a whole day left out.
ZONES = {
    "Europe/Berlin": 2026, "America/New_York": 2026, "Australia/Lord_Howe": 2026, "Africa/Casablanca": 2026,
    "America/Sao_Paulo": 2018, "America/St_Johns": 2010, "America/Havana": 2026, "Asia/Tehran": 2021,
    "Asia/Gaza": 2024, "Antarctica/Troll": 2026, "Pacific/Apia": 2011, "Europe/Dublin": 2026, "Atlantic/Azores": 2026,
    "Pacific/Chatham": 2026, "Asia/Beirut": 2026, "America/Santiago": 2026, "Asia/Amman": 2021, "Africa/Cairo": 2026,
}  # fmt: skip
MINUTE = timedelta(minutes=1)


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether this is the long run (--pg-all): 24,000 evaluations instead of 4,000, and every zone there is."""
    return bool(request.config.getoption("--pg-all"))


# --- expressions -----------------------------------------------------------------------------------


def field(rng: random.Random, place: int) -> str:
    """A field that croniter reads as we do.

    Its known faults are left out: `a-a` means every value to it, and it takes a list that comes to all values for
    a star when it joins day and weekday. Our own choices, too: it has no `7/n`, and `?` only for days.
    """
    low, high, names = FIELDS[place]

    def part() -> str:
        kind = rng.random()
        if kind < 0.4:
            value = rng.randint(low, high)
            if place == 4 and value == 0 and rng.random() < 0.3:
                return "7"
            if names and rng.random() < 0.3:
                name = names[value - low]
                return rng.choice([name, name.upper()])
            return f"{value:02d}" if rng.random() < 0.1 else str(value)
        if kind < 0.75:
            a, b = sorted(rng.sample(range(low, high + 1), 2))
            if (a, b) == (low, high):
                return str(a)
            step = f"/{rng.randint(1, high)}" if rng.random() < 0.4 else ""
            return (
                f"{names[a - low]}-{names[b - low]}{step}"
                if names and not step and rng.random() < 0.3
                else f"{a}-{b}{step}"
            )
        if kind < 0.85:
            a = rng.randint(low + 1, high - 1)
            return f"{a}/{rng.randint(1, high)}"
        return f"*/{rng.randint(2, high)}"

    if rng.random() < (0.2, 0.3, 0.5, 0.6, 0.5)[place]:
        return "*"
    return ",".join(part() for _ in range(rng.choice((1, 1, 1, 2, 3))))


def covers(text: str, place: int) -> bool:
    """Whether a field that is no star has every value."""
    low, high, names = FIELDS[place]
    found: set[int] = set()
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        a, _, b = span.partition("-")
        numbers = [names.index(x) + low if x in names else int(x) for x in (a, b) if x not in ("", "*")]
        start = numbers[0] if numbers else low
        end = numbers[1] if len(numbers) > 1 else high if step or not numbers else start
        found |= {v % 7 if place == 4 else v for v in range(start, end + 1, int(step or 1))}
    return len(found) == high - low + 1


def expression(rng: random.Random) -> str:
    """An expression of 5 fields, or 6 with seconds first, that can fire."""
    while True:
        fields = [field(rng, place) for place in range(5)]
        if any(text != "*" and covers(text, place) for place, text in enumerate(fields)):
            continue
        if rng.random() < 0.2:
            fields.insert(0, field(rng, 0))
            if fields[0] != "*" and covers(fields[0], 0):
                continue
        text = " ".join(fields)
        if croniter.is_valid(text, strict=True, second_at_beginning=True):
            return text


def evaluate(db: Db, cases: list[tuple[str, str, datetime]]) -> list[datetime | None]:
    """The next fire of each (expression, zone, after); None where the expression never fires."""
    document = json.dumps([{"c": c, "z": z, "a": a.isoformat()} for c, z, a in cases])
    rows = db.all(
        "select runledger._next_fire(runledger._parse_cron(c), z, a) as at"
        " from rows from (jsonb_to_recordset(%s::jsonb) as (c text, z text, a timestamptz)) with ordinality as x (c, z, a, n)"
        " order by n",
        [document],
    )
    return [row["at"].astimezone(UTC) for row in rows]


def compare_with_croniter(db: Db, count: int, seed: int) -> None:
    rng = random.Random(seed)
    cases, expected = [], []
    while len(cases) < count:
        text = expression(rng)
        for _ in range(4):
            after = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(5 * 366 * 86400))
            cases.append((text, "UTC", after))
            expected.append(croniter(text, after, second_at_beginning=True).get_next(datetime))
    got = evaluate(db, cases)
    wrong = [(c, a, g, e) for (c, _, a), g, e in zip(cases, got, expected, strict=True) if g != e]
    assert wrong == []


def test_croniter_agrees(db: Db, thorough: bool):
    for round_ in range(6 if thorough else 1):
        compare_with_croniter(db, 4_000, SEED + round_)


# --- daylight saving -------------------------------------------------------------------------------


class Wall:
    """What the clocks of a zone show in each minute around the changes of a year, as the server tells it."""

    def __init__(self, db: Db, zone: str, year: int) -> None:
        self.zone = zone
        hours = db.all(
            "select h at time zone 'UTC' as utc, h at time zone %(z)s as local from generate_series("
            " make_timestamptz(%(y)s, 1, 1, 0, 0, 0, 'UTC'), make_timestamptz(%(y)s, 12, 31, 0, 0, 0, 'UTC'), '1 hour') h",
            {"z": zone, "y": year},
        )
        changes = [
            b["utc"] for a, b in zip(hours, hours[1:], strict=False) if b["local"] - b["utc"] != a["local"] - a["utc"]
        ]
        self.windows: list[list[tuple[datetime, datetime]]] = []
        for change in changes:
            minutes = db.all(
                "select m as utc, m at time zone 'UTC' at time zone %s as local"
                " from generate_series(%s::timestamp, %s::timestamp, '1 minute') m",
                [zone, change - timedelta(days=2), change + timedelta(days=2)],
            )
            self.windows.append([(m["utc"], m["local"]) for m in minutes])


def numbers(text: str, place: int) -> set[int]:
    low, high, _ = FIELDS[place]
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        a, _, b = span.partition("-")
        start = low if a == "*" else int(a)
        end = high if a == "*" or (step and not b) else int(b or a)
        found |= set(range(start, end + 1, int(step or 1)))
    return found


def fires(text: str, window: list[tuple[datetime, datetime]]) -> list[datetime]:
    """By the rules as they are documented, minute after minute."""
    fields = text.split()
    minute, hour, day, month, weekday = (numbers(t, place) for place, t in enumerate(fields))
    either = fields[2] != "*" and fields[4] != "*"

    def matches(at: datetime) -> bool:
        if at.minute not in minute or at.hour not in hour or at.month not in month:
            return False
        is_day, is_weekday = at.day in day, at.isoweekday() % 7 in weekday
        return is_day or is_weekday if either else is_day and is_weekday

    if "*" in fields[0] + fields[1]:
        return [utc for utc, local in window if matches(local)]
    found = []
    reached = window[0][1]
    for utc, local in window[1:]:
        while reached < local:
            reached += MINUTE
            if matches(reached) and (not found or found[-1] != utc):
                found.append(utc)
    return found


def near_expression(rng: random.Random, window: list[tuple[datetime, datetime]]) -> str:
    """An expression that has something to say about the hours around the change."""
    middle = len(window) // 2
    moments = [window[i][1] for i in (middle - 90, middle - 30, middle - 1, middle, middle + 15, middle + 90)]
    # What is left out or comes twice, as well.
    moments += [window[middle - 1][1] + timedelta(minutes=rng.randrange(1, 60)) for _ in range(2)]

    def around(value: int, low: int, high: int) -> str:
        kind = rng.random()
        if kind < 0.5:
            return str(value)
        if kind < 0.7:
            return f"{max(low, value - 2)}-{min(high, value + 1)}"
        if kind < 0.8:
            return f"{value},{rng.randint(low, high)}"
        return f"*/{rng.randint(2, 7)}" if kind < 0.9 else "*"

    at = rng.choice(moments)
    days = rng.choice(["*", "*", "*", str(at.day), f"{at.day}-31" if at.day < 31 else "31"])
    weekday = rng.choice(["*", "*", "*", str(at.isoweekday() % 7), "1-5"])
    month = rng.choice(["*", "*", str(at.month)])
    return f"{around(at.minute, 0, 59)} {around(at.hour, 0, 23)} {days} {month} {weekday}"


def walk(db: Db, zone: str, year: int, expressions: int, instants: int) -> int:
    """Compare around each change of the clocks; the number of comparisons."""
    rng = random.Random(f"{SEED}/{zone}")
    cases: list[tuple[str, str, datetime]] = []
    expected: list[tuple[datetime | None, datetime]] = []
    for window in Wall(db, zone, year).windows:
        first, last = window[0][0], window[-1][0]
        for _ in range(expressions):
            text = near_expression(rng, window)
            found = fires(text, window)
            middle = first + (last - first) / 2
            afters = [middle + timedelta(seconds=rng.randint(-3 * 3600, 3 * 3600)) for _ in range(instants // 2)]
            afters += [first + timedelta(minutes=rng.randint(1441, 5000)) for _ in range(instants - len(afters))]
            afters += [f for f in found if f >= first + timedelta(days=1)][:instants]
            for after in afters:
                place = bisect_right(found, after)
                expected.append((found[place] if place < len(found) else None, last))
                cases.append((text, zone, after.replace(tzinfo=UTC)))
    wrong = []
    for (text, _, after), at, (right, last) in zip(cases, evaluate(db, cases), expected, strict=True):
        naive = at.replace(tzinfo=None) if at else None
        if naive != right and not (right is None and (naive is None or naive > last)):
            wrong.append((zone, text, after, naive, right))
    assert wrong == []
    return len(cases)


@pytest.mark.timeout(600)
def test_around_changes_of_the_clocks_every_minute_is_as_documented(db: Db, thorough: bool):
    compared = {zone: walk(db, zone, year, expressions=8, instants=24) for zone, year in ZONES.items()}
    assert len(compared) >= 12
    assert min(compared.values()) > 150, compared
    if not thorough:
        return
    zones = db.column("""
        select n.name from pg_timezone_names as n
        where n.name ~ '/' and (timestamp '2025-01-01' at time zone n.name) - timestamp '2025-01-01' at time zone 'UTC'
          <> (timestamp '2025-07-01' at time zone n.name) - timestamp '2025-07-01' at time zone 'UTC' order by 1""")
    assert len(zones) > 100
    assert sum(walk(db, zone, 2025, expressions=8, instants=20) for zone in zones) > 40_000


def test_a_daily_fire_comes_once_a_day_in_every_zone(db: Db):
    """Walked fire by fire: whatever the clocks do, no day without one and none with two."""
    for zone, year in ZONES.items():
        for text in ("30 2 * * *", "0 0 * * *"):
            found = db.column(
                "with recursive f (at) as (select runledger._next_fire(runledger._parse_cron(%(c)s), %(z)s, %(a)s)"
                " union all select runledger._next_fire(runledger._parse_cron(%(c)s), %(z)s, at) from f"
                " where at < %(a)s + interval '300 days') select at from f",
                {"c": text, "z": zone, "a": datetime(year, 2, 1, tzinfo=UTC)},
            )
            gaps = {b - a for a, b in zip(found, found[1:], strict=False)}
            assert all(timedelta(hours=21) <= gap <= timedelta(hours=27) for gap in gaps), (zone, gaps)
