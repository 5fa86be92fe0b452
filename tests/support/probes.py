"""Probes: a call in front of every PL/pgSQL statement, put into the functions of one database of a test.

    probes = install(db.conn)
    point = probes.at("_settle", "insert into runledger.job_events")
    with probes.armed(session, "raise", point): ...

A probe is `assert probe.hit(n)`: an assertion changes neither FOUND nor the diagnostics of the statement before, needs no
variable, and is allowed in functions that must not write. What a hit does the session says (`set probe.mode`):

    trace                    tells the client, with an INFO message
    raise, terminate,        at the probes `probe.points`: an error of our own SQLSTATE or that of `probe.sqlstates`, the
    cancel, sleep            end of this backend, a cancellation, `probe.seconds` of sleep
    pause                    at the probes `probe.points`: wait as long as somebody holds the advisory lock of that probe
    random                   at any probe, with the probability in the table `probe.storm`, times `probe.factor` if that
                             is set: raise or terminate

The functions differ from those of the package by nothing else; the lines are the same.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.support.plpgsql import functions
from tests.support.statements import statements

SQLSTATE = "PB001"
LOCK = 1886547810
BITS = 60
MODES = ("trace", "raise", "terminate", "cancel", "sleep", "pause", "random")

# Which statements were reached, as bits in sequences: they survive the end of the transaction, however it ends. Not
# logged, so that reading stays reading: no transaction id, no WAL.
COVER = f"""
  if pg_catalog.current_setting('transaction_read_only') = 'off' then
    v_word := ('probe.word_' || hit.point / {BITS})::pg_catalog.regclass;
    v_bits := coalesce(pg_catalog.pg_sequence_last_value(v_word), 0);
    if v_bits & (1::bigint << hit.point % {BITS}) = 0 then
      perform pg_catalog.setval(v_word, v_bits | (1::bigint << hit.point % {BITS}));
    end if;
  end if;
"""
HIT = """
create or replace function probe.hit(point integer) returns boolean
language plpgsql volatile parallel safe
as $$
declare
  v_mode constant text := pg_catalog.current_setting('probe.mode', true);
  v_word regclass;
  v_bits bigint;
begin
  {cover}
  if v_mode is null or v_mode = '' then
    return true;
  elsif v_mode = 'trace' then
    raise info 'probe %', hit.point;
  elsif v_mode = 'random' then
    perform probe.throw_dice(hit.point);
  elsif hit.point = any (pg_catalog.current_setting('probe.points')::integer[]) then
    perform probe.strike(v_mode, hit.point);
  end if;
  return true;
end
$$;
"""
# The backend may belong to a role that the owner of the functions is no member of.
STRIKE = f"""
create schema probe;
grant usage on schema probe to public;
alter default privileges in schema probe grant select on tables to public;
alter default privileges in schema probe grant all on sequences to public;
create table probe.points (
  id integer primary key, function text not null, ordinal integer not null, line integer not null,
  kind text not null, statement text not null
);
-- A table, so that a storm can be ended for sessions that are there already.
create table probe.storm (seed bigint not null, p float8 not null);
insert into probe.storm values (0, 0);
create unlogged sequence probe.draws;
create unlogged sequence probe.faults;
create function probe.terminate() returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp
as 'select pg_terminate_backend(pg_backend_pid())';
create function probe.strike(mode text, point integer) returns void
language plpgsql volatile
as $$
declare
  v_nth integer;
begin
  case strike.mode
  when 'raise' then
    v_nth := pg_catalog.array_position(
      nullif(pg_catalog.current_setting('probe.points', true), '')::integer[], strike.point);
    raise exception using
      errcode = coalesce(
        (nullif(pg_catalog.current_setting('probe.sqlstates', true), '')::text[])[v_nth], '{SQLSTATE}'),
      message = pg_catalog.format('probe %s', strike.point);
  when 'terminate' then
    perform probe.terminate();
  when 'cancel' then
    perform pg_catalog.pg_cancel_backend(pg_catalog.pg_backend_pid());
  when 'sleep' then
    perform pg_catalog.pg_sleep(pg_catalog.current_setting('probe.seconds')::float8);
  when 'pause' then
    perform pg_catalog.pg_advisory_lock_shared({LOCK}, strike.point);
    perform pg_catalog.pg_advisory_unlock_shared({LOCK}, strike.point);
  end case;
end
$$;
create function probe.throw_dice(point integer) returns void
language plpgsql volatile
as $$
declare
  v_seed bigint;
  v_p float8;
  v_drawn bigint;
begin
  if pg_catalog.current_setting('transaction_read_only') = 'on' then
    return;
  end if;
  select s.seed, s.p into v_seed, v_p from probe.storm as s;
  v_drawn := pg_catalog.hashint8extended(pg_catalog.nextval('probe.draws'), v_seed) & 4294967295;
  v_p := v_p * coalesce(nullif(pg_catalog.current_setting('probe.factor', true), '')::float8, 1);
  if v_drawn < v_p * 4294967296 then
    perform pg_catalog.nextval('probe.faults');
    perform probe.strike(case when v_drawn % 2 = 0 then 'raise' else 'terminate' end, throw_dice.point);
  end if;
end
$$;
"""


@dataclass(frozen=True, slots=True)
class Point:
    """A probe: in front of the statement `text` in that line of the file, or at the end of the body."""

    id: int
    function: str
    path: str
    ordinal: int
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.text[:60]!r}"


@functools.cache
def points() -> tuple[Point, ...]:
    """Every probe of the functions as they are in `sql/`, numbered from 0."""
    found: list[Point] = []
    for function in functions():
        if function.language != "plpgsql":
            continue
        above = function.text.count("\n", 0, function.text.index(function.body))
        for ordinal, s in enumerate(statements(function.body)):
            place = str(function), ordinal, above + s.line
            found.append(Point(len(found), function.name, *place, s.kind, s.text))
    return tuple(found)


@functools.cache
def instrumented(body: str, first: int) -> str:
    """The body with a probe in front of each statement, numbered from `first`."""
    for ordinal, s in reversed(list(enumerate(statements(body)))):
        body = f"{body[: s.at]}assert probe.hit({first + ordinal}); {body[s.at :]}"
    return body


def install(conn: psycopg.Connection[Any], *, cover: bool = False) -> Probes:
    """Put the probes into the functions of this database; `conn` is a superuser's. Nothing to do if they are there."""
    with conn.transaction():
        row = conn.execute("select pg_catalog.to_regnamespace('probe') is not null").fetchone()
        if not (row and row[0]):
            _install(conn, cover=cover)
    return Probes()


def _install(conn: psycopg.Connection[Any], *, cover: bool) -> None:
    words = "".join(
        f"create unlogged sequence probe.word_{n} minvalue 0 start 0;" for n in range(len(points()) // BITS + 1)
    )
    conn.execute((STRIKE + HIT.format(cover=COVER if cover else "") + (words if cover else "")).encode())
    first = {p.function: p.id for p in reversed(points())}
    found = conn.execute(
        "select p.proname, p.prosrc, pg_catalog.pg_get_functiondef(p.oid) from pg_catalog.pg_proc as p"
        " join pg_catalog.pg_language as l on l.oid = p.prolang"
        " where p.pronamespace = 'runledger'::regnamespace and l.lanname = 'plpgsql'"
    ).fetchall()
    assert {name for name, _, _ in found} == set(first)
    conn.execute("set local check_function_bodies = off")
    conn.execute(
        ";\n".join(whole.replace(body, instrumented(body, first[name]), 1) for name, body, whole in found).encode()
    )
    with conn.cursor().copy("copy probe.points from stdin") as copy:
        for p in points():
            copy.write_row((p.id, p.function, p.ordinal, p.line, p.kind, p.text))
    # These functions are the ones that belong here: nobody has changed them by hand.
    conn.execute(
        "update runledger._shelves set manifest = runledger._schema_manifest(true)"
        " where id = (select max(id) from runledger._shelves)"
    )


class Probes:
    """The probes of a database, by the function and the statement behind them."""

    def at(self, function: str, text: str, nth: int = 1) -> Point:
        """The nth probe of the function whose statement begins like that."""
        found = [p for p in points() if p.function == function and p.text.startswith(text)]
        assert len(found) >= nth, f"{function} has {len(found)} statements that begin with {text!r}"
        return found[nth - 1]

    def before_end(self, function: str) -> Point:
        """The last probe of the function: behind it nothing of the function is left to do, but what it returns."""
        return [p for p in points() if p.function == function][-1]

    @contextlib.contextmanager
    def armed(
        self, conn: psycopg.Connection[Any], mode: str, *where: Point, sqlstates: Sequence[str] = ()
    ) -> Iterator[None]:
        """Within, hits of those probes by that session do what `mode` says; `sqlstates`: of the errors, one per probe."""
        assert mode in MODES
        conn.execute(
            "select set_config('probe.points', (%s::integer[])::text, false),"
            " set_config('probe.sqlstates', (%s::text[])::text, false), set_config('probe.mode', %s, false)",
            [[p.id for p in where], list(sqlstates), mode],
        )
        try:
            yield
        finally:
            # After `terminate` there is no session left; an aborted transaction takes the setting back itself.
            with contextlib.suppress(psycopg.OperationalError, psycopg.errors.InFailedSqlTransaction):
                conn.execute("reset probe.mode")

    @contextlib.contextmanager
    def held(self, conn: psycopg.Connection[Any], point: Point) -> Iterator[None]:
        """Within, `conn` keeps every session that is armed with `pause` at that probe."""
        self.hold(conn, point)
        try:
            yield
        finally:
            self.let_go(conn, point)

    def hold(self, conn: psycopg.Connection[Any], point: Point) -> None:
        conn.execute("select pg_advisory_lock(%s, %s)", [LOCK, point.id])

    def let_go(self, conn: psycopg.Connection[Any], point: Point) -> None:
        conn.execute("select pg_advisory_unlock(%s, %s)", [LOCK, point.id])

    def passed(self, conn: psycopg.Connection[Any], query: str, params: Any = None) -> list[Point]:
        """The probes that the query passes, in order, each time; what it does stays, unless the caller rolls back."""
        hits: list[Point] = []

        def hear(told: psycopg.errors.Diagnostic) -> None:
            if match := re.fullmatch(r"probe (\d+)", told.message_primary or ""):
                hits.append(points()[int(match[1])])

        conn.add_notice_handler(hear)
        conn.execute("select set_config('probe.mode', 'trace', false)")
        try:
            conn.execute(query.encode(), params)
        finally:
            conn.remove_notice_handler(hear)
            if conn.info.transaction_status != psycopg.pq.TransactionStatus.INERROR:
                conn.execute("reset probe.mode")
        return hits


def reached(conn: psycopg.Connection[Any]) -> set[int]:
    """The ids of the probes that any session of this database has hit, where they were installed with `cover`."""
    found: set[int] = set()
    for word, bits in conn.execute(
        "select pg_catalog.substr(sequencename, 6)::integer, last_value from pg_catalog.pg_sequences"
        " where schemaname = 'probe' and sequencename like 'word%' and last_value > 0"
    ):
        found.update(word * BITS + bit for bit in range(BITS) if bits >> bit & 1)
    return found
