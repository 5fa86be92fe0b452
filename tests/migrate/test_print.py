"""The printed script: for DBAs and teams without Python."""

from __future__ import annotations

import subprocess

import psycopg
import pytest

import runledger.migrate as m
from runledger import embedded
from tests.support.catalog import snapshot


def psql(dsn: str, script: str) -> subprocess.CompletedProcess[str]:
    argv = ["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "-", dsn]
    return subprocess.run(
        [embedded.find_binaries(18) / "psql", *argv], input=script, capture_output=True, text=True, check=False
    )


def test_psql_installs_what_migrate_installs(db, empty_db):
    done = psql(empty_db.dsn, m.print_script())
    assert (done.returncode, done.stderr) == (0, "")
    assert snapshot(empty_db.conn) == snapshot(db.conn)
    ledger = "select number, name, sha256, package_version, applied_by from runledger._migrations order by number"
    assert empty_db.all(ledger) == db.all(ledger)
    shelves = "select sha256, contract, package_version from runledger._shelves"
    assert empty_db.all(shelves) == db.all(shelves)


def test_a_database_of_settings_of_its_own_is_no_obstacle(empty_db):
    """Read-only and another isolation unless asked for, names in quotes, odd styles: for the script as for migrate."""
    for setting in (
        "default_transaction_read_only = on", "default_transaction_isolation = serializable",
        "quote_all_identifiers = on", "standard_conforming_strings = off", "timezone = 'America/Sao_Paulo'",
        "datestyle = 'SQL, DMY'", "intervalstyle = iso_8601", "search_path = 'nowhere'",
    ):  # fmt: skip
        empty_db.execute(f"alter database {empty_db.database.name} set {setting}")
    done = psql(empty_db.dsn, m.print_script())
    assert (done.returncode, done.stderr) == (0, "")
    assert m.migrate(empty_db.dsn).status == "CURRENT"
    drift = "select count(*) from runledger._schema_drift()"
    assert empty_db.value(drift) == 0, "so says a session without these settings"
    with psycopg.connect(empty_db.dsn) as conn:
        (level,) = conn.execute("select level from runledger.health() where code = 'schema.drift'").fetchone()
        assert level == "OK"


@pytest.mark.parametrize("timeout", ["statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout"])
def test_time_limits_of_a_database_do_not_cut_it_short(empty_db, timeout):
    if empty_db.value("select exists(select from pg_settings where name = %s)", [timeout]):  # one is new in 17
        empty_db.execute(f"alter database {empty_db.database.name} set {timeout} = '100ms'")
    done = psql(empty_db.dsn, m.print_script())
    assert (done.returncode, done.stderr) == (0, "")
    empty_db.execute("drop schema runledger cascade")
    assert m.migrate(empty_db.dsn).shelf_applied


def test_migrate_goes_on_where_psql_began(empty_db, tree):
    psql(empty_db.dsn, m.print_script())
    assert m.migrate(empty_db.dsn).status == "CURRENT"
    tree.add_function()
    assert m.migrate(empty_db.dsn).shelf_applied


def test_script_is_the_same_each_time():
    assert m.print_script() == m.print_script()


def test_script_fails_whole_on_a_database_that_has_it(db):
    before = snapshot(db.conn)
    done = psql(db.dsn, m.print_script())
    assert done.returncode == 3
    assert "already exists" in done.stderr
    assert snapshot(db.conn) == before


def test_script_refuses_an_old_server(empty_db, monkeypatch):
    monkeypatch.setattr(m, "_MIN_SERVER", 99)
    done = psql(empty_db.dsn, m.print_script())
    assert done.returncode == 3
    assert "Runledger needs a newer PostgreSQL" in done.stderr
    assert empty_db.value("select to_regnamespace('runledger')") is None


def test_script_is_plain_sql_for_other_tools():
    assert not [line for line in m.print_script().splitlines() if line.startswith("\\")]
