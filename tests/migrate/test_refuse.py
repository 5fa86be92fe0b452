"""What a migration refuses: each leaves the database as it was and says what to do."""

from __future__ import annotations

import hashlib
import shlex
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

import runledger.migrate as m
from tests.migrate.test_apply import migration_names
from tests.migrate.test_print import psql
from tests.support.catalog import snapshot


@contextmanager
def refused(db, error: type[m.MigrateError], match: str):
    """The call raises `error` with a hint, and changes nothing."""
    before = snapshot(db.conn)
    with pytest.raises(error, match=match) as caught:
        yield
    assert caught.value.hint
    assert snapshot(db.conn) == before


def next_migration() -> str:
    return f"migrations/{len(migration_names()) + 1:04}_next.sql"


def test_database_ahead(db, tree):
    tree.write(next_migration(), "create table runledger.future ();\n")
    m.migrate(db.dsn)
    tree.remove(f"migrations/{migration_names()[-1]}")
    with refused(db, m.DatabaseAhead, r"_next\.sql"):
        m.migrate(db.dsn)
    report = m.migrate(db.dsn, check=True)
    assert report.status == "DRIFTED"
    assert "_next.sql" in report.detail


def test_drifted_migration(db, tree):
    name = f"migrations/{migration_names()[1]}"
    tree.write(name, (tree.root / name).read_text() + "-- edited\n")
    with refused(db, m.MigrationDrifted, migration_names()[1]):
        m.migrate(db.dsn)
    assert m.migrate(db.dsn, check=True).status == "DRIFTED"


def test_windows_line_ends_are_no_drift(db, tree):
    for path in tree.root.rglob("*.sql"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert m.migrate(db.dsn, check=True).status == "CURRENT"


def test_gap_in_the_ledger(db):
    db.execute("delete from runledger._migrations where number = 3")
    with refused(db, m.MigrationGap, "0002 to 0004"):
        m.migrate(db.dsn)
    assert m.migrate(db.dsn, check=True).status == "DRIFTED"


def test_gap_in_the_package(db, tree):
    tree.remove(f"migrations/{migration_names()[2]}")
    with refused(db, m.MigrationGap, "package"):
        m.migrate(db.dsn)


@pytest.mark.parametrize("content", ["", "create table runledger.theirs (id int)"])
def test_squatted_schema(empty_db, content):
    empty_db.execute("create schema runledger")
    if content:
        empty_db.execute(content)
    with refused(empty_db, m.SquattedSchema, "did not make it"):
        m.migrate(empty_db.dsn)


def test_foreign_owner_even_for_a_superuser(empty_db, stranger, tree):
    """Else a superuser would leave definer functions of a superuser behind."""
    empty_db.execute(f"grant create on database {empty_db.database.name} to {stranger}")
    acting = f"{empty_db.admin_dsn} options='-c role={stranger}'"
    m.migrate(acting)
    tree.add_function()
    with refused(empty_db, m.ForeignOwner, stranger):
        m.migrate(empty_db.admin_dsn)
    assert m.migrate(acting).shelf_applied
    owner = "select proowner::regrole::text from pg_proc where oid = 'runledger.added_by_test()'::regprocedure"
    assert empty_db.value(owner) == stranger


def test_an_owner_whose_name_needs_quotes(empty_db, tree):
    """Such a one may migrate again, and the way to act as that owner works as it is told."""
    owner = f'The "owner" of {empty_db.database.name}'
    name, database = sql.Identifier(owner), sql.Identifier(empty_db.database.name)
    empty_db.conn.execute(sql.SQL("create role {0}; grant create on database {1} to {0}").format(name, database))
    with psycopg.connect(empty_db.admin_dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("set role {}").format(name))
        m.migrate(conn)
    with pytest.raises(m.ForeignOwner, match=owner) as caught:
        m.migrate(empty_db.admin_dsn)
    (setting,) = shlex.split(caught.value.hint.partition("or set ")[2])
    acting = make_conninfo(empty_db.admin_dsn, options=setting.removeprefix("PGOPTIONS="))
    assert m.migrate(acting).status == "CURRENT"
    tree.add_function()
    assert m.migrate(acting).shelf_applied
    empty_db.conn.execute(sql.SQL("drop owned by {0} cascade; drop role {0}").format(name))


def test_a_database_that_takes_any_bytes_for_text(empty_db):
    """psycopg gives bytes for text there: what was just installed would be called drifted."""
    name = f"{empty_db.database.name}_bytes"
    empty_db.execute(f"create database {name} encoding 'SQL_ASCII' locale 'C' template template0")
    dsn = make_conninfo(empty_db.admin_dsn, dbname=name)
    try:
        for check in (False, True):
            with pytest.raises(m.UnsupportedServer, match="SQL_ASCII") as caught:
                m.migrate(dsn, check=check)
        assert "UTF8" in caught.value.hint
        done = psql(dsn, m.print_script())
        assert (done.returncode, "needs a database with an encoding" in done.stderr) == (3, True)
    finally:
        empty_db.execute(f"drop database {name}")


def test_a_database_of_another_encoding_calls_workers_by_the_same_key(empty_db):
    """Who listens makes the key of the name as UTF-8, whatever the bytes of it are in the database."""
    name = f"{empty_db.database.name}_latin"
    empty_db.execute(f"create database {name} encoding 'LATIN1' locale 'C' template template0")
    dsn = make_conninfo(empty_db.admin_dsn, dbname=name)
    try:
        assert m.migrate(dsn).status == "PENDING"
        with psycopg.connect(dsn, client_encoding="UTF8") as conn:
            row = conn.execute("select runledger._wake_key('caf\u00e9')").fetchone()
        assert row == (hashlib.sha256("caf\u00e9".encode()).hexdigest()[:16],)
    finally:
        empty_db.execute(f"drop database {name}")


def test_one_foreign_function_is_enough(db, stranger, tree):
    tree.add_function()
    db.execute("create function runledger.theirs() returns int language sql as 'select 1'")
    db.execute(f"alter function runledger.theirs() owner to {stranger}")
    with refused(db, m.ForeignOwner, "theirs"):
        m.migrate(db.dsn)


def test_failing_migration_leaves_nothing_and_names_the_line(empty_db, tree):
    tree.write(next_migration(), "create table runledger.half ();\n\nselect 1 / 0;\n")
    with refused(empty_db, m.FileFailed, "_next.sql.*division by zero"):
        m.migrate(empty_db.dsn)
    assert empty_db.value("select to_regnamespace('runledger')") is None


def test_failing_function_file_names_file_and_line(db, tree):
    tree.write("functions/core/broken.sql", "-- one\n-- two\ncreate or replace functoin x();\n")
    with refused(db, m.FileFailed, r"functions/core/broken\.sql, line 3: syntax error"):
        m.migrate(db.dsn)


def test_functions_of_a_newer_package(db, tree, monkeypatch):
    db.execute("update runledger._shelves set package_version = '99.1'")
    tree.add_function()
    monkeypatch.setattr(m, "package_version", lambda: "2.0")
    with refused(db, m.FunctionsAhead, r"99\.1, newer than 2\.0"):
        m.migrate(db.dsn)
    assert m.migrate(db.dsn, rollback_functions=True).shelf_applied
    assert db.value("select package_version from runledger._shelves order by id desc limit 1") == "2.0"


@pytest.mark.parametrize(
    ("older", "newer"),
    [("0.1.0.dev0", "0.1.0"), ("0.1.0", "0.1.1"), ("0.9.0", "0.10.0"), ("1.0.0rc1", "1.0.0"), ("0.1.0", "0.2.0.dev0")],
)
def test_versions_are_ordered(older, newer):
    assert m._order(older) < m._order(newer)


def test_busy_table_is_not_waited_for_long(db, tree, monkeypatch):
    monkeypatch.setattr(m, "_OPENING", m._OPENING.replace("'5s'", "'20ms'"))
    name = next_migration()
    tree.write(name, "alter table runledger.job_queue add column more integer;\n")
    with db.connect(autocommit=False) as reader:
        reader.execute("select 1 from runledger.job_queue")
        with refused(db, m.MigrateBusy, "did not end in time"):
            m.migrate(db.dsn)
    assert m.migrate(db.dsn).applied == (name,)


def test_rival_is_not_waited_for_for_ever(db, monkeypatch):
    monkeypatch.setattr(m, "_OPENING", m._OPENING.replace("'120s'", "'20ms'"))
    with db.connect(autocommit=False) as rival:
        rival.execute("select pg_advisory_xact_lock(%s)", [m._LOCK_KEY])
        with refused(db, m.MigrateBusy, "did not end in time"):
            m.migrate(db.dsn)


def test_old_server_is_refused(empty_db, monkeypatch):
    monkeypatch.setattr(m, "_MIN_SERVER", 99)
    with refused(empty_db, m.UnsupportedServer, "PostgreSQL"):
        m.migrate(empty_db.dsn)


def test_role_that_may_not_create_is_told_by_the_server(empty_db, stranger):
    with empty_db.connect(role=stranger) as conn, refused(empty_db, m.FileFailed, "permission denied"):
        m.migrate(conn)


class TestOrphans:
    """A function or view in the schema that no file defines stops the migration."""

    def test_function_made_by_hand(self, db, tree):
        tree.add_function()
        db.connect().execute("create function runledger.by_hand(a int) returns int language sql as 'select 1'")
        with refused(db, m.OrphanFound, r"runledger\.by_hand\(integer\)"):
            m.migrate(db.dsn)

    def test_view_made_by_hand(self, db, tree):
        tree.add_function()
        db.connect().execute("create view runledger.by_hand as select 1 as one")
        with refused(db, m.OrphanFound, r"runledger\.by_hand"):
            m.migrate(db.dsn)

    def test_removed_function_needs_a_line_in_retired(self, db, tree):
        tree.add_function()
        m.migrate(db.dsn)
        tree.remove("functions/core/added_by_test.sql")
        with refused(db, m.OrphanFound, "added_by_test"):
            m.migrate(db.dsn)
        tree.write("retired.sql", "drop function if exists runledger.added_by_test();\n")
        assert m.migrate(db.dsn).shelf_applied
        assert db.value("select to_regprocedure('runledger.added_by_test()')") is None
        assert m.migrate(db.dsn).status == "CURRENT"

    def test_changed_parameters_leave_an_orphan_not_an_overload(self, db, tree):
        tree.add_function()
        m.migrate(db.dsn)
        tree.write(
            "functions/core/added_by_test.sql",
            "create or replace function runledger.added_by_test(a int default 0) returns integer"
            " language sql stable as 'select 1';\n",
        )
        with refused(db, m.OrphanFound, r"added_by_test\(\)"):
            m.migrate(db.dsn)


def test_unreachable_server_is_psycopgs_error():
    with pytest.raises(psycopg.OperationalError):
        m.migrate("host=/nowhere dbname=none connect_timeout=1")
