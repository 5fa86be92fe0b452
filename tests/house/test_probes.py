"""The probes of the tests: where they stand, what they do, what they leave alone. tests/support/probes.py has the why."""

from __future__ import annotations

import re

import psycopg
import pytest

from runledger.migrate import print_script
from tests.support.database import Db
from tests.support.interleave import Session
from tests.support.plpgsql import Function, functions, tree, walk
from tests.support.probes import Probes, install, instrumented, points, reached
from tests.support.statements import NotUnderstood, statements

BODIES = [f for f in functions() if f.language == "plpgsql"]
SETTLING = Probes().at("_settle", "with s as materialized")
ENQUEUE = "select * from runledger.enqueue_job('t')"


@pytest.mark.parametrize("function", BODIES, ids=str)
def test_every_statement_has_its_probe_and_nothing_else_has(function: Function):
    """As PostgreSQL's own parser sees it; that drops a `null` and tells of a block where its `begin` stands."""
    lines = [
        node["lineno"] for key, node in walk(tree(function.text))
        if key.startswith("PLpgSQL_stmt_") and key != "PLpgSQL_stmt_block" and node.get("lineno")
    ]  # fmt: skip
    found = [s for s in statements(function.body) if s.kind == "statement" and s.text != "null"]
    assert sorted(s.line for s in found) == sorted(lines)
    probed = tree(function.text.replace(function.body, instrumented(function.body, 0)))
    asserts = [node for key, node in walk(probed) if key == "PLpgSQL_stmt_assert"]
    assert len(asserts) == len(statements(function.body))


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ("begin return 1; end", ["return 1"]),
        ("begin a := 1; b := 2; end", ["a := 1", "b := 2", "end"]),
        ("begin a := case when x then 1 else 2 end; end", ["a := case when x then 1 else 2 end", "end"]),
        ("begin if case when x then y end then a; else b; end if; end", ["if", "a", "b", "end"]),
        ("begin case x when 1 then a; when 2 then b; else c; end case; return; end", ["case", "a", "b", "c", "return"]),
        ("begin <<l>> for i in 1 .. 2 loop continue l when x; end loop l; end", ["<<l>>", "continue l when x", "end"]),
        ("declare x text := 'begin; '; begin null; exception when others then y; end", ["null", "end", "y"]),
        ("begin declare x int; begin a; end; return query b; end", ["declare", "a", "return query b", "end"]),
        ("begin a := E'it\\'s; -- end'; -- if\n /* loop */ b; end", ["a := E'it\\'s;", "b", "end"]),
        ('begin perform "end"(); execute $x$ begin; $x$; end', ['perform "end"()', "execute", "end"]),
    ],
)
def test_statements_begin_where_they_begin(body: str, texts: list[str]):
    found = statements(body)
    assert len(found) == len(texts)
    assert all(s.text.startswith(text) for s, text in zip(found, texts, strict=True))


@pytest.mark.parametrize("body", ["begin a", "begin if x a; end if; end", "begin end end", "select 1"])
def test_a_body_that_is_not_understood_is_refused(body: str):
    with pytest.raises(NotUnderstood):
        statements(body)


def test_an_installed_schema_has_no_trace_of_them(db: Db, request: pytest.FixtureRequest):
    assert not re.search(r"probe\.\w|^\s*assert\b", print_script(), re.MULTILINE | re.IGNORECASE)
    if not request.config.getoption("--coverage"):
        assert db.column("select proname from pg_proc where prosrc ~ 'probe[.]\\w'") == []
        assert db.value("select to_regnamespace('probe')") is None


def test_the_functions_are_otherwise_the_same(db: Db, probed: Db):
    """Owner, rights, settings and kind; and health finds nothing changed by hand."""
    catalog = (
        "select p.proname, p.proowner::regrole::text, p.proacl::text, p.proconfig, p.prosecdef, p.provolatile, p.proparallel,"
        " p.procost, p.prorows, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)"
        " from pg_proc as p where pronamespace = 'runledger'::regnamespace order by 1"
    )
    assert probed.all(catalog) == db.all(catalog)
    assert probed.value("select level::text from runledger.health() where code = 'schema.drift'") == "OK"
    assert probed.value("select count(*) from probe.points") == len(points())


def failing(db: Db) -> str:
    """A call that fails a job."""
    db.execute("select runledger.define_job('t')")
    db.execute(ENQUEUE)
    lease = db.one("select job_id, lease_token from runledger.claim_jobs('w', '{t}')")
    return f"select * from runledger.fail_job('{lease['job_id']}', {lease['lease_token']}, 'e.x', 'm')"


def test_probes_are_passed_in_the_order_of_the_statements(probed: Db):
    passed = Probes().passed(probed.connect(), failing(probed))
    own = [p.ordinal for p in passed if p.function == "finish_jobs"]
    assert own == sorted(own)
    assert own[0] == 0
    assert {"fail_job", "_finish_one", "finish_jobs", "_settle", "_close_attempts"} <= {p.function for p in passed}
    assert SETTLING in passed
    assert probed.value("select last_error_code from runledger.job_queue") == "e.x"


def test_a_session_waits_at_a_probe_until_it_is_let_go(probed: Db):
    """Between the attempt and the job: other sessions see neither, then both."""
    call = failing(probed)
    holder, caller = Session("holder", probed.dsn), Session("caller", probed.dsn)
    ended = "select array_remove(array[a.disposition, q.last_error_code], null) from runledger.job_attempts as a, runledger.job_queue as q"
    try:
        with Probes().armed(caller.conn, "pause", SETTLING):
            with Probes().held(holder.conn, SETTLING):
                pending = caller.start(call)
                assert caller.blocked(by=holder)
                assert probed.value(ended) == []
            [told] = pending.result()
        assert told["disposition"] == "RETRY_SCHEDULED"
        assert probed.value(ended) == ["RETRY_SCHEDULED", "e.x"]
        assert caller.execute("select from pg_locks where locktype = 'advisory'") == []
    finally:
        caller.close()
        holder.close()


def test_a_probe_changes_neither_found_nor_row_count(probed: Db):
    """What stands behind a probe asks about the statement before it."""
    probed.execute("create table public.rows as select generate_series(1, 3) as n")
    body = """
declare
  v_rows bigint; v_found boolean; v_none boolean;
begin
  delete from public.rows as r where r.n > 1;
  get diagnostics v_rows = row_count;
  v_found := found;
  perform from public.rows as r where r.n > 1;
  if not found then v_none := true; end if;
  return format('%s %s %s', v_rows, v_found, v_none);
end"""
    probed.execute(f"create function public.asks() returns text language plpgsql as $${instrumented(body, 0)}$$")
    assert probed.value("select public.asks()") == "2 t t"


def test_random_faults_come_from_their_seed(probed: Db):
    probed.execute("select runledger.define_job('t')")

    def faults(seed: int) -> list[str]:
        probed.execute("alter sequence probe.draws restart")
        probed.execute("update probe.storm set seed = %s, p = 0.02", [seed])
        told = []
        for _ in range(20):
            with probed.connect() as conn:
                conn.execute("set probe.mode = random")
                try:
                    conn.execute(ENQUEUE)
                except psycopg.Error as error:
                    told.append(str(error.sqlstate))
                else:
                    told.append("")
        return told

    first, again, other = faults(1), faults(1), faults(2)
    assert {"PB001", "57P01", ""} == set(first)
    assert again == first
    assert other != first
    assert probed.value("select last_value from probe.faults") == sum(map(bool, first + again + other))
    assert probed.value("select count(*) from runledger.job_queue") > 0


def test_what_was_reached_is_known_even_if_it_was_undone(empty_db: Db):
    from runledger.migrate import migrate

    migrate(empty_db.dsn)
    install(empty_db.conn, cover=True)
    known = Probes().at("_raise", "raise exception")
    assert known.id not in reached(empty_db.conn)
    with pytest.raises(psycopg.Error):
        empty_db.connect().execute("select runledger.enqueue_job('nothing')")
    assert known.id in reached(empty_db.conn)
    assert SETTLING.id not in reached(empty_db.conn)
