"""What somebody with a login and a kind tries in order to get further than that kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger

Acting = Callable[..., Ledger]
SECRET = "this-is-secret"


def refused(ledger: Ledger, statement: str, params: Any = None) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ledger.conn.execute(statement.encode(), params)


@pytest.fixture
def attacker(db: Db, acting: Acting) -> Ledger:
    """Every kind that is not an operator's, temporary objects, and a schema of its own."""
    ledger = acting("producer", "worker", "observer")
    db.execute(f"create schema {ledger.role} authorization {ledger.role}")
    return ledger


def test_temporary_objects_do_not_stand_before_ours(db: Db, attacker: Ledger, q: Ledger):
    """pg_temp is last in the path of every function, and its functions and operators are never found without a name."""
    names = db.column(
        "select relname from pg_class where relnamespace = 'runledger'::regnamespace and relkind in ('r', 'p', 'v')"
    )
    for name in names:
        attacker.conn.execute(f"create temp table {name} (id int, job_type text default 'trap')".encode())
    attacker.conn.execute("create temp table pg_roles (rolname text, oid oid)")
    attacker.conn.execute("create temp table pg_proc (oid oid)")
    job_id = attacker.enqueue()
    assert db.job(job_id)["job_type"] == "t"
    [claimed] = attacker.claim()
    attacker.beat({k: claimed[k] for k in ("job_id", "lease_token")})
    assert attacker.succeed({k: claimed[k] for k in ("job_id", "lease_token")})["disposition"] == "SUCCEEDED"
    for name in names:
        assert attacker.conn.execute(f"select count(*) from pg_temp.{name}".encode()).fetchone() == (0,)


@pytest.mark.parametrize("path", ["{own}, pg_catalog", "{own}, runledger, pg_catalog", "pg_temp, {own}", ""])
def test_nothing_of_a_caller_runs_as_the_owner(db: Db, attacker: Ledger, q: Ledger, path: str):
    """Functions, operators, casts and types in front of pg_catalog: what of it runs, runs as the caller."""
    own = attacker.role
    attacker.conn.execute(f"create table {own}.trapped (as_user text)")
    trap = f"language plpgsql as $$ begin insert into {own}.trapped values (current_user); return null; end $$"
    for signature, result in (
        ("coalesce_(text, text)", "boolean"), ("octet_length(text)", "integer"), ("jsonb_typeof(jsonb)", "text"),
        ("now()", "timestamptz"), ("clock_timestamp()", "timestamptz"), ("hashtext(text)", "integer"),
        ("pg_has_role(name, name, text)", "boolean"), ("current_setting(text)", "text"),
        ("array_position(anyarray, anyelement)", "integer"), ("jsonb_path_exists(jsonb, jsonpath)", "boolean"),
        ("_caller()", "text"), ("_now()", "timestamptz"), ("_acts_as(text, text)", "boolean"),
    ):  # fmt: skip
        attacker.conn.execute(f"create function {own}.{signature} returns {result} {trap}".encode())
    for n, (operator, left, right, result) in enumerate((
        ("=", "text", "text", "boolean"), ("<>", "text", "text", "boolean"), ("<@", "anyarray", "anyarray", "boolean"),
        ("||", "jsonb", "jsonb", "jsonb"), ("->", "jsonb", "text", "jsonb"), (">", "timestamptz", "timestamptz", "boolean"),
    )):  # fmt: skip
        attacker.conn.execute(f"create function {own}.op_{n}(a {left}, b {right}) returns {result} {trap}".encode())
        attacker.conn.execute(f"create operator {own}.{operator} (function = {own}.op_{n}, leftarg = {left},"
                              f" rightarg = {right})".encode())  # fmt: skip
    attacker.conn.execute("select set_config('search_path', %s, false)", [path.format(own=own)])
    job_id = attacker.conn.execute(
        "select (runledger.enqueue_job('t', idempotency_key => 'k')).job_id").fetchone()[0]  # fmt: skip
    attacker.conn.execute('select count(*) from runledger.enqueue_jobs(\'[{"job_type": "t"}]\')')
    [(claimed, token)] = attacker.conn.execute(
        "select job_id, lease_token from runledger.claim_jobs('w', '{t}')").fetchall()  # fmt: skip
    assert claimed == job_id
    attacker.conn.execute("select runledger.heartbeat_jobs(array[%s::uuid], array[%s::bigint])", [claimed, token])
    attacker.conn.execute("select runledger.succeed_job(%s, %s, output => '{\"a\": 1}')", [claimed, token])
    attacker.conn.execute("select count(*) from runledger.jobs")
    attacker.conn.execute("select count(*) from runledger.fsck('fast')")
    attacker.conn.execute("select runledger.run_maintenance()")
    assert db.column(f"select as_user from {own}.trapped") == []
    assert db.job(job_id)["status"] == "SUCCEEDED"


def test_no_one_takes_another_role(db: Db, attacker: Ledger, acting: Acting):
    owner = db.value("select nspowner::regrole::text from pg_namespace where nspname = 'runledger'")
    operator = acting("operator").role
    for role in (owner, operator):
        refused(attacker, f"set role {role}")
        refused(attacker, f"set local role {role}")
        refused(attacker, f"set session authorization {role}")
        refused(attacker, "select set_config('role', %s, false)", [role])
        refused(attacker, f"grant {role} to {attacker.role}")
    for setting in ("role", "session_authorization"):
        with pytest.raises(psycopg.Error):
            attacker.conn.execute(f"create function pg_temp.f() returns text language sql set {setting} = {owner}"
                                  " as $$ select (runledger.enqueue_job('t')).job_id $$".encode())  # fmt: skip
            attacker.conn.execute("select pg_temp.f()")
    assert attacker.conn.execute("select current_user::text, session_user::text").fetchone() == (attacker.role,) * 2


def test_rights_cannot_be_lent_to_a_role_without_types(db: Db, acting: Acting, q: Ledger, new_role: Callable[..., str]):
    """A restricted producer wraps a verb in a function of its own and has somebody else call it."""
    q.define("u")
    bound = acting("producer", types=["t"])
    db.execute(f"create schema {bound.role} authorization {bound.role}")
    accomplice = acting()
    bound.conn.execute(f"create function {bound.role}.lend(job_type text) returns text language sql security definer"
                       f" as $$ select (runledger.enqueue_job(job_type)).job_id $$".encode())  # fmt: skip
    bound.conn.execute(f"grant usage on schema {bound.role} to {accomplice.role}".encode())
    for job_type in ("t", "u"):
        with accomplice.refused("access.job_type_not_granted"):
            accomplice.conn.execute(f"select {bound.role}.lend(%s)".encode(), [job_type])
    bound.conn.execute(f"select {bound.role}.lend('t')".encode())
    with bound.refused("access.job_type_not_granted"):
        bound.conn.execute(f"select {bound.role}.lend('u')".encode())


def test_no_token_is_found_by_trying(db: Db, attacker: Ledger, acting: Acting, q: Ledger):
    """All tokens that were ever drawn, for a job whose id is known."""
    holder = acting("worker")
    leases = [holder.hold(q.enqueue()) for _ in range(5)]
    highest = max(x["lease_token"] for x in leases)
    before = db.all("select *, xmin from runledger.job_queue order by id")
    for lease in leases:
        guesses = [{"job_id": lease["job_id"], "lease_token": n} for n in range(highest + 3)]
        for outcome in ({"outcome": "SUCCEEDED"}, {"outcome": "FAILED", "error_code": "x", "kind": "TERMINAL"}):
            rows = attacker.finish(*[{**g, **outcome} for g in guesses])
            assert {r["disposition"] for r in rows} == {"LEASE_LOST"}
        assert set(attacker.beat(*guesses)) == {"LOST"}
    assert db.all("select *, xmin from runledger.job_queue order by id") == before
    assert holder.beat(*leases) == ["EXTENDED"] * 5


def test_a_forged_worker_name_gets_nothing(db: Db, attacker: Ledger, acting: Acting, q: Ledger):
    holder = acting("worker")
    holder.row("register_worker", worker_id="w1", job_types=["t"])
    lease = holder.hold(q.enqueue(payload={"x": SECRET}), worker="w1")
    assert attacker.rows("leased_jobs", worker_id="w1") == []
    assert attacker.claim(worker="w1") == []
    mine = attacker.hold(q.enqueue(), worker="w1")
    assert [x["lease_token"] for x in attacker.rows("leased_jobs", worker_id="w1")] == [mine["lease_token"]]
    assert [x["lease_token"] for x in holder.rows("leased_jobs", worker_id="w1")] == [lease["lease_token"]]


def test_payloads_are_read_nowhere(db: Db, attacker: Ledger, acting: Acting, q: Ledger):
    """Not through lists and views, not through the statistics of the planner, not through what others run."""
    lease = q.leased(payload={"x": SECRET}, idempotency_key=SECRET)
    q.row("report_progress", **lease, checkpoint={"x": SECRET})
    q.fail(lease, kind="TERMINAL")
    q.row("enqueue_workflow", workflow_type="w", idempotency_key=SECRET, metadata={"x": SECRET}, active_key=SECRET,
          steps=[{"key": "a", "job_type": "t", "payload": {"x": SECRET}}])  # fmt: skip
    q.row("upsert_schedule", name="s", job_type="t", cron="@daily", payload={"x": SECRET})
    q.row("set_runtime_config", job_type="t", config={"x": SECRET})
    q.row("log_job", job_id=lease["job_id"], level="info", message="m", payload={"x": SECRET})
    for _ in range(120):
        q.enqueue(payload={"x": SECRET})
    db.execute("analyze")
    other = db.connect()
    other.execute("select %s::text", [SECRET])
    looker = acting("observer", "producer", "worker", types=["nothing"])
    views = db.column("select name from runledger._access_matrix() where object_type = 'view'")
    for source in (*(f"runledger.{v}" for v in views), "pg_stats", "pg_stats_ext", "pg_stats_ext_exprs", "pg_stat_activity",
                   "pg_prepared_statements", "pg_cursors", "pg_catalog.pg_indexes", "pg_catalog.pg_locks"):  # fmt: skip
        text = looker.conn.execute(
            f"select count(*) from {source} as s where s::text ~ %s".encode(), [SECRET]
        ).fetchone()
        assert text == (0,), source
    for table in ("pg_statistic", "pg_statistic_ext_data"):
        refused(looker, f"select * from {table}")
    for name in ("list_jobs", "list_dead_letters", "list_workflows", "list_schedules", "list_operator_actions",
                 "list_runtime_configs", "list_job_definitions", "health"):  # fmt: skip
        assert SECRET not in str(looker.rows(name)), name
    for name in ("get_job", "list_job_events", "list_job_attempts", "list_job_logs", "why"):
        assert SECRET not in str(looker.rows(name, job_id=lease["job_id"])), name
    with looker.refused("access.job_type_not_granted"):
        looker.claim(1, "t")


def test_no_file_program_or_server_function_is_reached(attacker: Ledger):
    for statement in ("copy (select 1) to program 'true'", "copy (select 1) to '/tmp/x'", "select pg_read_file('PG_VERSION')",
                      "select pg_ls_dir('.')", "select lo_import('/etc/passwd')", "alter system set fsync = off",
                      "select pg_reload_conf()", "set session_replication_role = replica",
                      "create function f() returns void language c as 'x', 'y'", "create event trigger e on ddl_command_end"
                      " execute function pg_catalog.event_trigger_fdw()", "alter database postgres set search_path = x",
                      "select pg_terminate_backend(pid) from pg_stat_activity where usename <> current_user"):  # fmt: skip
        with pytest.raises(psycopg.Error) as told:
            attacker.conn.execute(statement.encode())
        assert told.value.sqlstate in ("42501", "42883"), statement


def test_our_objects_cannot_be_changed_or_depended_on(db: Db, attacker: Ledger):
    own = attacker.role
    for statement in ("create function runledger.mine() returns int language sql as 'select 1'",
                      "create or replace function runledger._now() returns timestamptz language sql as 'select now()'",
                      "create operator runledger.= (function = texteq, leftarg = text, rightarg = text)",
                      "create type runledger.mine as (a int)", "create view runledger.mine as select 1",
                      "alter function runledger.enqueue_job security invoker", "drop function runledger._now()",
                      "alter view runledger.jobs owner to current_user", "comment on view runledger.jobs is 'x'",
                      f"alter function runledger._now() set schema {own}", "alter type runledger.job_status add value 'X'",
                      f"create table {own}.x (job_id uuid references runledger.job_queue (id))",
                      f"create table {own}.x () inherits (runledger.job_queue)",
                      "create policy p on runledger.job_queue", "create rule r as on select to runledger.jobs do instead select 1",
                      "create statistics s on payload, id from runledger.job_queue",
                      "security label on table runledger.job_queue is 'x'"):  # fmt: skip
        with pytest.raises(psycopg.Error) as told:
            attacker.conn.execute(statement.encode())
        assert told.value.sqlstate in ("42501", "22023", "42P16"), statement


def test_errors_tell_a_forbidden_role_nothing(acting: Acting, q: Ledger):
    """The refusal names the function or table, and comes before any argument is looked at."""
    producer = acting("producer")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as told:
        producer.conn.execute("select * from runledger.job_payload(%s)", [q.enqueue(payload={"x": SECRET})])
    assert told.value.diag.message_primary == "permission denied for function job_payload"
    assert told.value.diag.message_detail is None


def test_junk_on_our_channels_wakes_and_nothing_else(attacker: Ledger, acting: Acting, q: Ledger, clock: Clock):
    worker = acting("worker")
    worker.row("register_worker", worker_id="w", job_types=["t"])
    worker.conn.execute("listen runledger_wake")
    for channel in ("runledger_wake", "runledger_run"):
        for payload in ("", "x" * 7000, "'; drop schema runledger; --", "00000000-0000-0000-0000-000000000000"):
            attacker.conn.execute("select pg_notify(%s, %s)", [channel, payload])
    job_id = q.enqueue()
    assert [c["job_id"] for c in worker.claim()] == [job_id]


def test_foreign_locks_do_not_stop_the_work(db: Db, acting: Acting, q: Ledger, clock: Clock):
    """Advisory locks may be taken by whoever can connect. Only a limited type waits, and why() says for whom."""
    nobody, worker = acting(), acting("worker")
    q.define("limited", max_concurrency=5)
    for key in ("runledger.maintenance", "runledger.max_concurrency", "runledger_wake", "runledger"):
        nobody.conn.execute("select pg_advisory_lock(hashtext(%s), 0), pg_advisory_lock(hashtext(%s))", [key, key])
    nobody.conn.execute("select pg_advisory_lock(hashtext('runledger.max_concurrency'), hashtext('limited'))")
    lease = worker.hold(q.enqueue())
    clock.advance(61)
    assert {r["task"]: r["affected"] for r in worker.rows("run_maintenance")}["reap"] == 1
    assert db.job(lease["job_id"])["status"] == "PENDING"
    waiting = q.enqueue("limited")
    assert worker.claim(1, "limited") == []
    pid = nobody.conn.info.backend_pid
    assert str(pid) in str(q.rows("why", job_id=waiting))
    q.define("limited", max_concurrency=0)
    assert [c["job_id"] for c in worker.claim(1, "limited")] == [waiting]


def test_a_lock_on_our_tables_is_not_to_be_had(attacker: Ledger):
    for mode in ("access share", "row exclusive", "access exclusive"):
        for table in ("job_queue", "access_grants", "job_definitions", "upkeep_state"):
            with attacker.conn.transaction(force_rollback=True):
                refused(attacker, f"lock table runledger.{table} in {mode} mode")
    with pytest.raises(psycopg.Error):
        attacker.conn.execute("select * from runledger.jobs for update")


def test_settings_of_a_session_change_no_decision(db: Db, attacker: Ledger, q: Ledger):
    """The mark of a claim, time zone and formats, row security, timeouts: nobody gets more, or another answer."""
    for setting, value in (
        ("runledger.claim_mark", "nonsense"), ("row_security", "off"), ("timezone", "Pacific/Kiritimati"),
        ("intervalstyle", "sql_standard"), ("standard_conforming_strings", "off"),
        ("plpgsql.variable_conflict", "use_column"), ("transform_null_equals", "on"), ("array_nulls", "off"),
        ("check_function_bodies", "off"), ("runledger.role", "postgres"), ("runledger.now", "infinity"),
    ):  # fmt: skip
        try:
            attacker.conn.execute("select set_config(%s, %s, false)", [setting, value])
        except psycopg.errors.InsufficientPrivilege:
            assert setting == "plpgsql.variable_conflict"
        except psycopg.errors.InvalidParameterValue:
            # A newer server knows no such value any more.
            assert setting in ("standard_conforming_strings", "array_nulls")
    lease = attacker.hold(q.enqueue())
    assert db.job(lease["job_id"])["lease_role"] == attacker.role
    assert attacker.beat(lease) == ["EXTENDED"]
    refused(attacker, "select runledger.cancel_job(%s)", [lease["job_id"]])
    assert attacker.succeed(lease)["disposition"] == "SUCCEEDED"
