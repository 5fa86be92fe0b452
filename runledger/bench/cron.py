"""What cron costs on the server: parsing, finding the next instant, refusing nonsense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from runledger.bench.report import Figure
from runledger.bench.stage import Stage, timed

_EVERY_VALUE = " ".join(",".join(map(str, range(low, high + 1))) for low, high in ((0, 59), (0, 59), (0, 23), (1, 31)))
_CRONS: dict[str, tuple[str, str, str]] = {
    "every five minutes": ("*/5 * * * *", "UTC", "2026-03-01 00:00Z"),
    "working days in Berlin": ("30 8 * * 1-5", "Europe/Berlin", "2026-03-27 12:00Z"),
    "a list of every value": (f"{_EVERY_VALUE} 1-12 *", "Europe/Berlin", "2026-03-27 12:00Z"),
    "29 February, four years on": ("0 0 29 2 *", "Australia/Lord_Howe", "2028-03-01 00:00Z"),
}
_HOSTILE = {
    "a thousand bytes": ",".join(["0-59/1"] * 142) + " * * * *",
    "a million bytes": "*" * 1_000_000,
    "a thousand fields": "* " * 500,
    "30 February": "0 0 30 2 *",
    "a step of 0": "*/0 * * * *",
}
_SPENT = {
    "parse": "select count(runledger._parse_cron(%(cron)s || left(g::text, 0)))"
    " from generate_series(1, %(calls)s) as g",
    "next": "select count(runledger._next_fire(c.cron, %(zone)s, %(after)s::timestamptz + g * interval '1 s'))"
    " from generate_series(1, %(calls)s) as g, (select runledger._parse_cron(%(cron)s) as cron offset 0) as c",
    "call": "select count(runledger.next_fire_at(%(cron)s, %(zone)s, %(after)s::timestamptz + g * interval '1 s'))"
    " from generate_series(1, %(calls)s) as g",
}
# An error cannot be had without a subtransaction around it: the raw limit is an error of the same kind at once.
_REFUSING = """
create function pg_temp.refused(cron text, calls integer) returns void language plpgsql as $$
begin
  for v_n in 1..calls loop
    begin
      if cron is null then
        perform runledger._raise('job_schedule.invalid_cron');
      end if;
      perform runledger._parse_cron(cron);
    exception when sqlstate 'RL010' then
      continue;
    end;
    raise exception 'not refused: %', left(cron, 80);
  end loop;
end $$
"""


def measure(stage: Stage) -> Iterator[Figure]:
    """Server time of one call, without the round trip; nothing to compare it with but each other."""
    conn, calls = stage.conn, stage.scale.cron_calls
    conn.execute("set timezone = 'UTC'")
    for name, (cron, zone, after) in _CRONS.items():
        arguments = {"cron": cron, "zone": zone, "after": after, "calls": calls}
        spent = {part: _microseconds(conn, query, arguments, calls) for part, query in _SPENT.items()}
        shown = ", ".join(f"{part} {us:,.0f}" for part, us in spent.items())
        yield Figure(what=f"cron: {name}", ours=f"{shown} us")
    conn.execute(_REFUSING)
    refuse = "select pg_temp.refused(%(cron)s, %(calls)s)"
    bare = _microseconds(conn, refuse, {"cron": None, "calls": calls}, calls)
    for name, cron in _HOSTILE.items():
        us = _microseconds(conn, refuse, {"cron": cron, "calls": calls}, calls)
        yield Figure(what=f"cron refused: {name}", ours=f"{us:,.0f} us", raw=f"{bare:,.0f} us", ratio=us / bare)


def _microseconds(conn: psycopg.Connection[Any], query: str, arguments: dict[str, object], calls: int) -> float:
    """Of one call in a statement of so many; the best of three, since whatever else runs can only add."""
    return min(timed(lambda: conn.execute(query.encode(), arguments)) for _ in range(3)) / calls * 1e6
