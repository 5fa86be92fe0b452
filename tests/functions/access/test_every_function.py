"""Each kind of role, logged in, against every function, view, table and sequence there is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from runledger import _calls
from tests.client.test_parity import CALLS
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger

Acting = Callable[..., Ledger]
KINDS = ["producer", "worker", "operator", "observer"]


def plausible(db: Db, q: Ledger, clock: Clock) -> Callable[[str, str], Any]:
    """A value for a parameter of a function that makes sense, as far as one can be had for all functions at once."""
    dead = q.dead()
    job = q.enqueue(payload={"x": 1})
    run = q.row("enqueue_workflow", workflow_type="w", steps=[{"key": "g", "external": True}])["workflow_run_id"]
    q.row("upsert_schedule", name="s", job_type="t", cron="@daily")
    q.row("set_runtime_config", job_type="t", config={"a": 1})
    q.row("register_worker", worker_id="owners", job_types=["t"])
    own: dict[str, Any] = {
        "job_id": job, "job_ids": [job], "lease_token": 1, "lease_tokens": [1], "job_type": "t", "job_types": ["t"],
        "worker_id": "w", "workflow_run_id": run, "step_key": "g", "append_window": "g", "mutation_key": "m",
        "workflow_type": "w", "name": "s", "cron": "@daily", "timezone": "UTC", "reason": "r", "level": "info",
        "message": "m", "error_code": "e.x", "request_key": "k", "role_name": "nobody", "catalog": "c",
        "until": clock.now() + timedelta(minutes=5), "steps": [{"key": "a", "job_type": "t"}],
        "jobs": [{"job_type": "t"}], "definitions": [{"job_type": "t"}], "log_ids": [1], "dry_run": True,
        "entries": [{"job_id": str(job), "level": "info", "message": "m"}],
        "outcomes": [{"job_id": str(job), "lease_token": 1, "outcome": "SUCCEEDED"}],
    }  # fmt: skip
    special = {("fail_job", "kind"): "RETRYABLE", ("grant_access", "kind"): "worker", ("requeue_job", "job_id"): dead}
    by_adapter: dict[Any, Any] = {
        _calls.text: "x", _calls.texts: ["x"], _calls.int4: 1, _calls.int8: 1, _calls.int8s: [1], _calls.boolean: True,
        _calls.whole_seconds: 1, _calls.uuid: UUID(int=1), _calls.uuids: [UUID(int=1)], _calls.interval: 1,
        _calls.timestamptz: datetime.fromisoformat("2030-01-01T00:00:00Z"), _calls.encode: {}, _calls.batch: [],
        _calls.steps: [],
    }  # fmt: skip

    def value(function: str, parameter: str) -> Any:
        if (function, parameter) in special:
            return special[function, parameter]
        return own[parameter] if parameter in own else by_adapter[_calls.ADAPTERS[parameter]]

    return value


def attempt(conn: psycopg.Connection[Any], query: Any, params: Any = None) -> str:
    """'ok', or the SQLSTATE with which it was refused; whatever it did is taken back."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(query, params).fetchall()
    except psycopg.Error as error:
        return error.sqlstate or str(error)
    return "ok"


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["nobody", "by hand", *KINDS])
def test_every_function(db: Db, q: Ledger, acting: Acting, clock: Clock, kind: str):
    """What the matrix allows works or is refused for a reason; all else is 42501, before anything runs."""
    value = plausible(db, q, clock)
    caller = acting(*([kind] if kind in KINDS else []))
    if kind == "by hand":
        db.execute(f"grant usage on schema runledger to {caller.role}")
    matrix = dict(db.conn.execute("select name, kinds from runledger._access_matrix() where object_type = 'function'"))
    works, wrong = set(), {}
    for name, make in CALLS.items():
        required = [p for p in inspect.signature(make).parameters.values() if p.default is p.empty or p.name == "steps"]
        made = make(**{p.name: value(name, p.name) for p in required})
        outcome = attempt(caller.conn, *made.statement)
        allowed = kind in matrix[name]
        if outcome == "ok" and allowed:
            works.add(name)
        elif not (outcome.startswith("RL") if allowed else outcome == "42501"):
            wrong[name] = outcome
    assert wrong == {}
    if kind in KINDS:
        assert len(works) >= sum(kind in kinds for kinds in matrix.values()) / 2, (
            "most of them should find something to do"
        )


@pytest.mark.parametrize("kind", ["nobody", *KINDS])
def test_every_view_and_no_table(db: Db, acting: Acting, kind: str):
    caller = acting(*([kind] if kind in KINDS else []))
    views = dict(db.conn.execute("select name, kinds from runledger._access_matrix() where object_type = 'view'"))
    relations = db.conn.execute(
        "select relname::text, relkind::text from pg_class where relnamespace = 'runledger'::regnamespace"
        " and relkind in ('r', 'p', 'v', 'm', 'S')"
    ).fetchall()
    assert {name for name, relkind in relations if relkind == "v" and not name.startswith("_")} == views.keys()
    wrong = {}
    for name, relkind in relations:
        statements = [f"select * from runledger.{name} limit 1"]
        if relkind in "rp":
            statements += [f"select ctid from runledger.{name}", f"select count(*) from runledger.{name}",
                           f"insert into runledger.{name} default values returning 1", f"delete from runledger.{name} returning 1",
                           f"truncate runledger.{name}", f"lock table runledger.{name} in access share mode",
                           f"copy runledger.{name} to stdout", f"create index on runledger.{name} ((1))",
                           f"create trigger x before insert on runledger.{name} execute function pg_catalog.tsvector_update_trigger()",
                           f"alter table runledger.{name} disable trigger all", f"drop table runledger.{name}",
                           f"create table x (like runledger.{name})"]  # fmt: skip
        if relkind == "S":
            statements += [f"select nextval('runledger.{name}')", f"select setval('runledger.{name}', 1)"]
        for statement in statements:
            outcome = attempt(caller.conn, statement)
            if outcome != ("ok" if kind in views.get(name, []) else "42501"):
                wrong[statement] = outcome
    assert wrong == {}


@pytest.mark.parametrize("kind", KINDS)
def test_no_internal(db: Db, acting: Acting, kind: str):
    """Nor by its address, from a default or out of a function of one's own."""
    caller = acting(kind)
    internals = db.conn.execute(
        "select proname::text, array(select format_type(t, null) from unnest(proargtypes::oid[]) as t)"
        " from pg_proc where pronamespace = 'runledger'::regnamespace and proname ~ '^_'"
        " and proname not in ('_limits', '_job_state', '_schedule_state')"
    ).fetchall()
    assert len(internals) > 100
    wrong = {}
    for name, types in internals:
        outcome = attempt(caller.conn, f"select runledger.{name}({', '.join(f'null::{t}' for t in types)})")
        if outcome != "42501":
            wrong[name] = outcome
    assert wrong == {}


def test_a_role_without_a_grant_cannot_even_look(db: Db, acting: Acting):
    """Names of the schema stand in the catalog for everybody; what is in it does not."""
    nobody = acting()
    for statement in ("select * from runledger.limits", "select runledger.schema_info()", "select runledger.error_codes()",
                      "create table runledger.mine ()", "comment on schema runledger is 'x'", "drop schema runledger cascade",
                      "alter schema runledger rename to x", "grant usage on schema runledger to public"):  # fmt: skip
        assert attempt(nobody.conn, statement) == "42501", statement
