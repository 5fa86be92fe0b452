"""What a migration does when it may."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import runledger.migrate as m
from runledger import Client
from tests.support.catalog import snapshot


def migration_names() -> list[str]:
    return sorted(path.name for path in (m.sql_root() / "migrations").glob("[0-9]*.sql"))


def test_fresh_database_gets_all_of_it(empty_db):
    report = m.migrate(empty_db.dsn)
    assert report.status == "PENDING"
    assert [name.removeprefix("migrations/") for name in report.applied] == migration_names()
    assert report.shelf_applied
    assert empty_db.column("select name from runledger._migrations order by number") == migration_names()
    assert empty_db.all("select sha256, contract from runledger._shelves") == [
        {"sha256": report.sha256, "contract": m.CONTRACT}
    ]
    assert m.migrate(empty_db.dsn, check=True).status == "CURRENT"


def test_every_function_file_is_installed(db):
    files = {path.stem for path in (m.sql_root() / "functions").rglob("*.sql")}
    assert set(db.column("select proname from pg_proc where pronamespace = 'runledger'::regnamespace")) == files


def owner_of(db) -> str:
    return db.connect().execute("select current_user::text").fetchone()[0]


def test_everything_belongs_to_the_role_that_migrated(db):
    owners = db.column("""
        select distinct o.owner::regrole::text from (
          select relowner from pg_class where relnamespace = 'runledger'::regnamespace
          union all select proowner from pg_proc where pronamespace = 'runledger'::regnamespace
          union all select typowner from pg_type where typnamespace = 'runledger'::regnamespace) as o (owner)""")
    assert owners == [owner_of(db)]


def test_a_role_with_a_grant_that_became_the_owner_keeps_all_rights(empty_db, tree, new_role):
    """What it was granted held it to its kind: the next apply took from the owner what all functions need."""
    first, second = new_role("first"), new_role("second")
    empty_db.execute(f"grant create on database {empty_db.database.name} to {first}")
    m.migrate(make_conninfo(empty_db.admin_dsn, user=first))
    empty_db.execute(f"set role {first}; select runledger.grant_access('{second}', 'operator'); reset role")
    empty_db.execute(f"reassign owned by {first} to {second}")
    tree.add_function()
    dsn = make_conninfo(empty_db.admin_dsn, user=second)
    assert m.migrate(dsn).shelf_applied
    with Client.connect(dsn) as owner:
        owner.define_job("a")
        owner.enqueue_job("a")
        assert owner.fsck() == []
    assert empty_db.column("select role from runledger.access") == []
    empty_db.execute(f"drop owned by {first}, {second} cascade")


def test_second_call_changes_and_says_nothing(db):
    before = snapshot(db.conn), db.column("select xmin::text from pg_proc order by oid")
    lines: list[str] = []
    report = m.migrate(db.dsn, echo=lines.append)
    assert (report.status, report.applied, report.shelf_applied, lines) == ("CURRENT", (), False, [])
    assert (snapshot(db.conn), db.column("select xmin::text from pg_proc order by oid")) == before
    assert db.value("select count(*) from runledger._shelves") == 1


def test_a_changed_function_is_put_in_place_without_touching_state(db, tree):
    tree.add_function()
    oid = db.value("select 'runledger._now()'::regprocedure::oid")
    report = m.migrate(db.dsn)
    assert (report.applied, report.shelf_applied) == ((), True)
    assert db.value("select runledger.added_by_test()") == 1
    assert db.value("select 'runledger._now()'::regprocedure::oid") == oid
    assert db.value("select count(*) from runledger._shelves") == 2


def test_a_new_function_is_executable_by_nobody_else(db, tree):
    tree.add_function()
    m.migrate(db.dsn)
    acl = db.value("select proacl::text from pg_proc where oid = 'runledger.added_by_test()'::regprocedure")
    assert acl == f"{{{owner_of(db)}=X/{owner_of(db)}}}"


def test_pending_migration_runs_alone_and_keeps_data(db, tree):
    db.execute("select runledger.define_job('kept')")
    number = len(migration_names()) + 1
    tree.write(f"migrations/{number:04}_more.sql", "alter table runledger.job_definitions add column more integer;\n")
    assert m.migrate(db.dsn, check=True).status == "PENDING"
    assert m.migrate(db.dsn).applied == (f"migrations/{number:04}_more.sql",)
    assert db.all("select job_type, more from runledger.job_definitions") == [{"job_type": "kept", "more": None}]


def test_dry_run_does_everything_and_leaves_nothing(empty_db):
    lines: list[str] = []
    report = m.migrate(empty_db.dsn, dry_run=True, echo=lines.append)
    assert len(report.applied) == len(migration_names())
    assert any("0001" in line for line in lines)
    assert "rolled back" in lines[-1]
    assert empty_db.value("select to_regnamespace('runledger')") is None


def test_workers_are_told_of_new_functions(db, tree):
    with psycopg.connect(db.dsn, autocommit=True) as listener:
        listener.execute("listen runledger")
        tree.add_function()
        m.migrate(db.dsn)
        assert [n.payload for n in listener.notifies(timeout=10, stop_after=1)] == [f"schema:{m.CONTRACT}"]


def test_caller_may_lend_a_connection(empty_db):
    with psycopg.connect(empty_db.dsn) as conn:
        assert m.migrate(conn).status == "PENDING"
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert conn.execute("show search_path").fetchone() == ('"$user", public',)
        with pytest.raises(ValueError, match="transaction"):
            m.migrate(conn)


def test_lent_connection_may_make_rows_of_its_own(empty_db):
    with psycopg.connect(empty_db.dsn, row_factory=psycopg.rows.dict_row) as conn:
        assert m.migrate(conn).status == "PENDING"
        assert m.migrate(conn).status == "CURRENT"
        assert m.migrate(conn, check=True).status == "CURRENT"


def test_serializable_default_does_not_blind_it(empty_db, tree):
    tree.write(f"migrations/{len(migration_names()) + 1:04}_takes_long.sql", "select pg_sleep(1.2);\n")
    dsn = f"{empty_db.dsn} options='-c default_transaction_isolation=serializable -c statement_timeout=1s'"
    with psycopg.connect(dsn, autocommit=True) as conn:
        assert m.migrate(conn).status == "PENDING"


def test_eight_concurrent_appliers_apply_once(empty_db):
    reports: list[m.Report] = []
    start = threading.Barrier(8)

    def apply() -> None:
        start.wait()
        reports.append(m.migrate(empty_db.dsn))

    threads = [threading.Thread(target=apply) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.status for report in reports) == ["CURRENT"] * 7 + ["PENDING"]
    assert empty_db.value("select count(*) from runledger._shelves") == 1
    assert empty_db.value("select count(*) from runledger._migrations") == len(migration_names())


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def waits_for_lock_42(db) -> list[int]:
    return db.column(
        "select pid from pg_locks where locktype = 'advisory' and objid = 42 and not granted"
        " and database = (select oid from pg_database where datname = current_database())"
    )


@pytest.mark.chaos
def test_killed_client_leaves_nothing(empty_db, tree):
    tree.write(f"migrations/{len(migration_names()) + 1:04}_waits.sql", "select pg_advisory_xact_lock(42);\n")
    empty_db.execute("select pg_advisory_lock(42)")
    code = (
        "import pathlib, sys, runledger.migrate as m\n"
        "m.sql_root = lambda: pathlib.Path(sys.argv[2])\n"
        "m._OPENING = m._OPENING.replace(\"'5s'\", '0')\n"
        "m.migrate(sys.argv[1])"
    )
    client = subprocess.Popen([sys.executable, "-c", code, empty_db.dsn, str(tree.root)])
    wait_for(lambda: waits_for_lock_42(empty_db))
    (backend,) = waits_for_lock_42(empty_db)
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    empty_db.execute("select pg_advisory_unlock(42)")
    wait_for(lambda: not empty_db.all("select 1 from pg_stat_activity where pid = %s", [backend]))
    assert empty_db.value("select to_regnamespace('runledger')") is None
    tree.remove(f"migrations/{len(migration_names()):04}_waits.sql")
    assert m.migrate(empty_db.dsn).status == "PENDING"


@pytest.mark.chaos
def test_killed_backend_leaves_nothing(empty_db, tree, monkeypatch):
    monkeypatch.setattr(m, "_OPENING", m._OPENING.replace("'5s'", "0"))
    tree.write(f"migrations/{len(migration_names()) + 1:04}_waits.sql", "select pg_advisory_xact_lock(42);\n")
    empty_db.execute("select pg_advisory_lock(42)")
    errors: list[BaseException] = []

    def apply() -> None:
        try:
            m.migrate(empty_db.dsn)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=apply)
    thread.start()
    wait_for(lambda: waits_for_lock_42(empty_db))
    empty_db.execute("select pg_terminate_backend(%s)", waits_for_lock_42(empty_db))
    thread.join()
    assert len(errors) == 1
    assert empty_db.value("select to_regnamespace('runledger')") is None
