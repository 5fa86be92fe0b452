"""Every body of a function is read by the server, with all the checks that it has for PL/pgSQL."""

from __future__ import annotations


def test_every_body_compiles_with_every_extra_check(db):
    """The installation does not look into bodies; a shadowed variable would not be told."""
    db.execute("set check_function_bodies = on")
    db.execute("set plpgsql.extra_errors = 'all'")
    db.execute("set search_path = pg_catalog, pg_temp")
    names = db.column(
        "select p.oid::regprocedure::text from pg_proc as p join pg_language as l on l.oid = p.prolang"
        " where p.pronamespace = 'runledger'::regnamespace and l.lanname = 'plpgsql' order by 1"
    )
    assert len(names) > 150
    for name in names:
        db.execute("select plpgsql_validator(%s::regprocedure)", [name])
    for name in db.column(
        "select p.oid::regprocedure::text from pg_proc as p join pg_language as l on l.oid = p.prolang"
        " where p.pronamespace = 'runledger'::regnamespace and l.lanname = 'sql' order by 1"
    ):
        db.execute("select fmgr_sql_validator(%s::regprocedure)", [name])


def test_the_servers_of_the_tests_check_at_run_time_too(pg, db):
    """A `select into` that finds two rows, an assignment of three values to two variables."""
    if pg.server:  # one that the environment names is configured by whoever started it
        assert db.value("show plpgsql.extra_errors") == "all"
