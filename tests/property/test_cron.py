"""Cron in SQL: against croniter on random expressions, against a walk through every minute where clocks change."""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from croniter import croniter

from tests.support.database import Db

SEED = 20
FIELDS = ((0, 59, ()), (0, 23, ()), (1, 31, ()),
          (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec".split()),
          (0, 6, "sun mon tue wed thu fri sat".split()))  # fmt: skip
# Zones whose clocks do odd things: half hours, midnight, Ramadan, two hours, the south, a whole day left out.
ZONES = {
    "Europe/Berlin": 2026, "America/New_York": 2026, "Australia/Lord_Howe": 2026, "Africa/Casablanca": 2026,
    "America/Sao_Paulo": 2018, "America/St_Johns": 2010, "America/Havana": 2026, "Asia/Tehran": 2021,
    "Asia/Gaza": 2024, "Antarctica/Troll": 2026, "Pacific/Apia": 2011, "Europe/Dublin": 2026, "Atlantic/Azores": 2026,
    "Pacific/Chatham": 2026, "Asia/Beirut": 2026, "America/Santiago": 2026, "Asia/Amman": 2021, "Africa/Cairo": 2026,
}  # fmt: skip
MINUTE = timedelta(minutes=1)


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
            return f"{names[a - low]}-{names[b - low]}{step}" if names and not step and rng.random() < 0.3 else f"{a}-{b}{step}"
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


def test_croniter_agrees_on_a_sample(db: Db):
    compare_with_croniter(db, 4_000, SEED)


@pytest.mark.slow
def test_croniter_agrees_on_twenty_thousand(db: Db):
    for round_ in range(5):
        compare_with_croniter(db, 4_000, SEED + 1 + round_)
