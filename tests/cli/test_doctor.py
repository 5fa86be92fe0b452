"""`runledger doctor`: each group on a server that is as it should be, and each fault that a test can plant."""

from __future__ import annotations

import psycopg
import pytest

from runledger import doctor as d
from tests.cli.conftest import objects

CODES = {
    "server": {
        "version", "fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names", "wal_level",
        "data_checksums", "max_connections", "standby", "clock",
    },
    "schema": {"version", "owner", "definers", "public", "creators", "foreign"},
    "access": {"superuser", "mighty_workers", "public_schema", "tls", "password", "both_kinds", "by_hand"},
    "logging": {
        "parameters", "parameters_on_error", "log_statement", "log_error_verbosity", "auto_explain", "pg_stat_statements",
    },
    "path": {"pooler", "listen", "isolation", "read_only", "statement_timeout", "hosts", "keepalives"},
    "behaviour": {"enqueue", "claim", "second_claim", "heartbeat", "fence", "finish", "replay", "fsck"},
}  # fmt: skip
BORROWED = {
    "server.notify", "server.dead_rows", "server.autovacuum", "server.snapshot", "server.horizon", "upkeep.timeline",
    "upkeep.tokens", "schema.drift", "schema.indexes", "schema.constraints",
}  # fmt: skip
# What throw-away servers do without, for speed.
TESTS_ALONE = {
    "server.fsync",
    "server.full_page_writes",
    "server.synchronous_commit",
    "server.wal_level",
    "server.data_checksums",
}


def examined(dsn: str) -> dict[str, d.Check]:
    examination = d.Doctor(dsn)
    with examination.connection:
        return {check.code: check for check in examination.examine()}


def levels(dsn: str) -> dict[str, str]:
    return {code: check.level for code, check in examined(dsn).items()}


@pytest.mark.matrix
def test_a_sound_place_is_found_sound_and_is_left_as_it_was(db):
    before = db.one(
        "select (select count(*) from runledger.job_definitions), (select count(*) from runledger.job_queue)"
    )
    found = examined(db.dsn)
    own = {f"{group}.{name}" for group, names in CODES.items() for name in names}
    assert set(found) == own | BORROWED
    assert {code for code, check in found.items() if check.level != "OK"} <= TESTS_ALONE
    assert all(check.fix is None for check in found.values() if check.level == "OK" and check.code in own)
    assert (
        db.one("select (select count(*) from runledger.job_definitions), (select count(*) from runledger.job_queue)")
        == before
    )


FAULTS = {
    "schema.owner": ("alter role {owner} bypassrls", "WARN"),
    "schema.definers": ("alter function runledger.enqueue_job reset search_path", "UNSAFE"),
    "schema.public": ("grant execute on function runledger.claim_jobs to public", "UNSAFE"),
    "schema.creators": ("grant create on schema runledger to {stranger}", "UNSAFE"),
    "schema.foreign": ("create rule quiet as on delete to runledger.job_queue do instead nothing", "WARN"),
    "schema.version": ("update runledger._migrations set sha256 = 'x' where number = 1", "UNSAFE"),
    "access.public_schema": ("grant create on schema public to public", "WARN"),
    "access.by_hand": ("grant execute on function runledger.enqueue_job to {stranger}", "WARN"),
    "access.both_kinds": (
        "select runledger.grant_access('{stranger}', 'worker'), runledger.grant_access('{stranger}', 'producer')", "WARN",
    ),
    "logging.parameters_on_error": ("alter database {database} set log_parameter_max_length_on_error = 100", "WARN"),
    "logging.log_statement": ("alter database {database} set log_statement = 'all'", "WARN"),
    "logging.parameters": ("alter database {database} set log_min_duration_statement = 100", "WARN"),
    "path.isolation": ("alter database {database} set default_transaction_isolation = serializable", "WARN"),
    "path.read_only": ("alter database {database} set default_transaction_read_only = on", "UNSAFE"),
    "path.statement_timeout": ("alter database {database} set statement_timeout = '1s'", "WARN"),
    "access.password": ("alter database {database} set password_encryption = 'md5'", "WARN"),
    "server.synchronous_commit": ("alter database {database} set synchronous_commit = off", "WARN"),
}  # fmt: skip


@pytest.mark.corrupts
@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_is_found(db, stranger, code):
    statement, level = FAULTS[code]
    database, owner = db.value("select current_database()"), "runledger_owner"
    db.execute(statement.format(stranger=stranger, database=f'"{database}"', owner=owner))
    try:
        check = examined(db.dsn)[code]
    finally:
        if code == "schema.owner":
            db.execute(f"alter role {owner} nobypassrls")
    assert check.level == level
    assert check.fix


@pytest.mark.parametrize("columns", ["", "(payload)"])
def test_who_may_read_a_table_is_found_and_the_fix_takes_that_away(db, stranger, columns):
    """For example by default privileges of the owner, which give every new table to those who make reports."""
    db.execute(f"grant select {columns} on runledger.job_queue to {stranger}")
    found = examined(db.dsn)["access.by_hand"]
    assert (found.level, found.value) == ("WARN", stranger)
    db.execute(found.fix.replace("…", f"'{stranger}'"))
    assert examined(db.dsn)["access.by_hand"].level == "OK"


def test_a_fix_that_needs_a_restart_says_so(db):
    found = examined(db.dsn)
    assert found["server.wal_level"].fix == "alter system set wal_level = replica; -- then restart the server"
    assert found["server.fsync"].fix == "alter system set fsync = on; select pg_reload_conf();"


def test_a_superuser_is_told_to_be_a_plain_role(db):
    assert levels(db.admin_dsn)["access.superuser"] == "WARN"


def test_a_worker_that_is_a_superuser_is_found(db):
    db.execute("select runledger.register_worker('w', array['t'])")
    assert levels(db.dsn)["access.mighty_workers"] == "WARN"


def test_what_a_role_may_not_see_is_a_warning(db, stranger):
    found = examined(f"{db.admin_dsn} options='-c role={stranger}'")
    unseen = [check for check in found.values() if check.code.endswith(".unseen")]
    assert {check.group for check in unseen} >= {"behaviour", "schema"}
    assert {check.level for check in unseen} == {"WARN"}


@pytest.mark.corrupts
def test_a_broken_fence_is_unsafe(db):
    """Somebody put a completion there that believes any token."""
    body = db.value("select pg_get_functiondef('runledger.succeed_job'::regproc)")
    assert "succeed_job.lease_token" in body
    db.execute(
        body.replace(
            "succeed_job.lease_token",
            "(select q.lease_token from runledger.job_queue as q where q.id = succeed_job.job_id)",
        )
    )
    assert levels(db.dsn)["behaviour.fence"] == "UNSAFE"


@pytest.mark.corrupts
def test_findings_of_fsck_are_unsafe(db):
    db.execute("select runledger.define_job('t'); select runledger.enqueue_job('t')")
    db.execute("alter table runledger.job_queue drop constraint a_pending_job_has_an_attempt_left")
    db.execute("update runledger.job_queue set attempt = max_attempts")
    assert levels(db.dsn)["behaviour.fsck"] == "UNSAFE"


def test_the_command_ends_with_its_levels(db, cli):
    result = cli("doctor", "--json")
    rows = objects(result) if result.exit_code < 2 else None
    found = examined(db.dsn)
    assert result.exit_code == d.exit_code(list(found.values()))
    if rows is not None:
        assert [row["code"] for row in rows] == list(found)
        assert list(rows[0]) == ["group", "code", "level", "value", "explanation", "fix"]
    plain = cli("doctor", "--all").stdout
    assert max(map(len, [line for line in plain.splitlines() if not line.startswith("  fix: ")])) <= 120
    assert plain.splitlines()[-1].endswith(f" of {len(found)} checks are fine")


@pytest.mark.parametrize(("found", "code"), [([], 0), (["OK"], 0), (["OK", "WARN"], 1), (["WARN", "UNSAFE"], 2)])
def test_exit_codes(found, code):
    assert d.exit_code([d.Check("g", "c", level, None, "", None) for level in found]) == code


def test_what_it_asks_runs_in_psql_and_is_shown(db, cli):
    queries = cli("doctor", "--sql-only").stdout.splitlines()
    assert len(queries) == len(d.QUERIES)
    with psycopg.connect(db.dsn, autocommit=True) as conn:
        for query in queries:
            conn.execute(query.encode())
    said = cli("doctor", "--show-sql").stderr
    assert all(query in said for query in queries)
    assert "runledger.claim_jobs(" in said


def test_no_server_is_unsafe_and_without_a_traceback(cli, monkeypatch):
    monkeypatch.setenv("RUNLEDGER_DSN", "host=/nowhere connect_timeout=1")
    result = cli("doctor")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "hint: " in result.stderr


def test_without_a_schema_the_rest_is_told(empty_db):
    found = examined(empty_db.dsn)
    assert (found["schema.version"].value, found["schema.version"].fix) == ("pending", "runledger migrate")
    assert {group for group in d.GROUPS if not any(code.startswith(group) for code in found)} == set()
    assert "schema.owner" not in found
