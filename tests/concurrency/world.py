"""One small world with something in every state, and every call that changes state, aimed at it.

Time stands still in it and ids are drawn from a sequence, so the same calls in the same order leave the same rows. It
is built once by the public functions, kept in tables of its own, and put back before each schedule.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.support.database import Db

ROLES = ("runledger_met", "runledger_new")
STEPS = [
    {"key": "a", "job_type": "step"},
    {"key": "b", "job_type": "step"},
    {"key": "p", "job_type": "step", "priority": 1},
    {"key": "x", "job_type": "step", "max_attempts": 1, "priority": 500},
    {"key": "g", "external": True},
    {"key": "c", "job_type": "step", "after_success": ["a", "b"]},
    {"key": "d", "job_type": "step", "after_terminal": ["a"]},
    {"key": "e", "job_type": "step", "after_success": ["g"], "after_terminal": ["x"]},
    {"key": "h", "external": True, "after_success": ["c"]},
]
# Rows about how far the metrics have counted: they lag behind by design while a transaction is open, and fsck and
# their own tests look at them. What the migrations keep is not touched by any verb.
UNSEEN = {"_migrations", "_shelves", "job_metrics_slots", "job_metrics_totals", "upkeep_state"}
# Ordinals of histories: what counts is the order within a job.
NUMBERED = {"job_events", "job_logs", "operator_actions"}


def document(value: Any) -> str:
    return "'" + json.dumps(value).replace("'", "''") + "'::jsonb"


class World:
    """`ids` names what stands in it; `restore` and `dump` are functions of the test's database."""

    def __init__(self, db: Db) -> None:
        self.db = db
        self.ids: dict[str, Any] = {}
        self._stop_time()
        self._make_roles()
        self._build()
        self._keep()
        self.calls = calls(self.ids)
        self.gates = gates(self.ids)

    def at(self, shift: str) -> None:
        self.db.execute("update public.test_clock set at = noon + %s::interval", [shift])

    def one(self, call: str) -> dict[str, Any]:
        return self.db.one(f"select * from runledger.{call}")

    def lease(self, name: str, job_type: str, prestart: bool = False) -> None:
        row = self.one(f"claim_jobs('w1', '{{{job_type}}}', 1, 60, {prestart})")
        self.ids |= {name: row["job_id"], f"{name}_token": row["lease_token"]}

    def leased(self, name: str, **settings: Any) -> None:
        self.job(name, **settings)
        self.lease(name, "t")

    def job(self, name: str, job_type: str = "t", key: str | None = None, **settings: Any) -> None:
        given = "".join(f", {k} => {v}" for k, v in settings.items())
        given += f", idempotency_key => '{key}'" if key else ""
        self.ids[name] = self.one(f"enqueue_job('{job_type}'{given})")["job_id"]

    def run(self, name: str, steps: list[dict[str, Any]], **settings: str) -> None:
        given = "".join(f", {k} => '{v}'" for k, v in settings.items())
        self.ids[name] = self.one(f"enqueue_workflow('w', {document(steps)}{given})")["workflow_run_id"]

    def _stop_time(self) -> None:
        self.db.execute("create table public.test_clock (at timestamptz, noon timestamptz)")
        self.db.execute(
            "insert into public.test_clock select n.n, n.n from (select date_trunc('day', now(), 'UTC') + interval '12 h 30 s') as n(n)"
        )
        self.db.execute("create sequence public.test_ids")
        self.db.execute("grant select on public.test_clock to public")
        self.db.execute("grant usage on public.test_ids to public")
        self.db.execute(
            "create or replace function runledger._now() returns timestamptz language sql volatile"
            " as $$ select c.at from public.test_clock as c $$"
        )
        self.db.execute(
            "create or replace function runledger._uuidv7() returns uuid language sql volatile as $$"
            " select (lpad(to_hex((extract(epoch from runledger._now()) * 1000)::bigint), 12, '0') || '7000'"
            " || lpad(to_hex(nextval('public.test_ids')), 16, '8000000000000000'))::uuid $$"
        )

    def _make_roles(self) -> None:
        for role in ROLES:
            try:
                self.db.execute(f"create role {role} login")
            except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                continue

    def _build(self) -> None:
        self.at("-30 days")
        for job_type in ("t", "step", "plan", "spare", "off"):
            self.one(f"define_job('{job_type}', retry_delays_ms => '{{\"e\": 1}}')")
        self.one("define_job('one', max_concurrency => 1)")
        self.one("disable_job_type('off')")
        self.leased("old", key="old")
        self.one(f"succeed_job('{self.ids['old']}', {self.ids['old_token']})")
        self.run("old_run", [{"key": "a", "job_type": "t"}], idempotency_key="old")
        self.lease("old_step", "t")
        self.one(f"succeed_job('{self.ids['old_step']}', {self.ids['old_step_token']})")
        self.one("register_worker('gone', '{t}')")
        for _ in range(2):
            self.db.execute("select runledger.run_maintenance()")
        # Days without an event, which the first prune would drop: a table is not put back.
        for (table,) in self.db.conn.execute(
            "select inhrelid::regclass::text from pg_inherits where inhrelid::regclass::text ~ '_20[0-9]{6}$'"
            " and right(inhrelid::regclass::text, 8) < to_char((select noon from public.test_clock), 'YYYYMMDD')"
        ).fetchall():
            self.db.execute(f"drop table {table}")
        self.at("-100 s")
        self.one("register_worker('w1', '{t,one,step}')")
        self.leased("expired", key="expired")
        self.leased("expired_last", max_attempts=1)
        self.job("expired_unstarted")
        self.lease("expired_unstarted", "t", prestart=True)
        self.leased("canceled_late")
        self.one(f"cancel_job('{self.ids['canceled_late']}')")
        self.run("run", STEPS, idempotency_key="ik", active_key="ak")
        steps = {r["step_key"]: r["job_id"] for r in self.db.all(
            "select step_key, job_id from runledger.workflow_steps where workflow_run_id = %s", [self.ids["run"]]
        )}  # fmt: skip
        self.run("gate_run", [{"key": "g", "external": True, "timeout_seconds": 60, "on_timeout": "SUCCEEDED"},
                              {"key": "after", "job_type": "step", "priority": 1, "after_success": ["g"]}])  # fmt: skip
        self.ids["p"] = steps["p"]
        self.lease("x", "step")
        for name in ("due", "due_too"):
            self.one(f"upsert_schedule('{name}', 'plan', '* * * * *')")
        self.one(f"upsert_schedule('flow', null, '* * * * *', workflow_type => 'w', steps => {document(STEPS[:1])})")
        self.one("upsert_schedule('later', 'plan', '@yearly')")
        self.one("upsert_schedule('paused', 'plan', '@yearly', is_active => false)")
        self.db.execute(f"select runledger.sync_catalog('cat', {CATALOG})")
        self.leased("dead", key="dead")
        self.one(f"fail_job('{self.ids['dead']}', {self.ids['dead_token']}, 'e', 'm', 'TERMINAL')")
        self.leased("succeeded")
        self.one(f"succeed_job('{self.ids['succeeded']}', {self.ids['succeeded_token']})")
        self.at("0 s")
        self.lease("a", "step")
        self.lease("b", "step")
        self.leased("leased", key="leased")
        self.job("unstarted")
        self.lease("unstarted", "t", prestart=True)
        self.leased("canceled")
        self.one(f"cancel_job('{self.ids['canceled']}')")
        self.job("pending", key="pending")
        self.job("second")
        self.job("limited", "one")
        self.job("limited_too", "one")
        self.run("last_run", [{"key": "z", "job_type": "t", "priority": 500}], active_key="last")
        self.lease("z", "t")
        self.one("set_runtime_config('t', '{}')")
        self.one(f"grant_access('{ROLES[0]}', 'producer')")
        self.db.execute(f"select runledger.log_job('{self.ids['leased']}', 'info', 'm')")

    def _keep(self) -> None:
        """Make public.kept_* of all tables, and the functions that put the world back and tell it."""
        tables = self.db.all(
            """select c.relname::text as name, string_agg(quote_ident(a.attname), ', ' order by a.attnum) as columns
                 from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                  and a.attgenerated = ''
                where c.relnamespace = 'runledger'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
                  and c.relname not in ('_migrations', '_shelves') group by 1 order by 1"""
        )
        sequences = self.db.column(
            "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind = 'S' and n.nspname in ('runledger', 'public') order by 1"
        )
        for table in tables:
            self.db.execute(f"create table public.kept_{table['name']} as select * from runledger.{table['name']}")
        self.db.execute(
            "do $$ declare r record; begin for r in select c.oid::regclass as t from pg_class c"
            " where c.relnamespace = 'runledger'::regnamespace and c.relkind = 'r'"
            " loop execute format('alter table %s set (autovacuum_enabled = off)', r.t); end loop; end $$"
        )
        body = [
            f"if of is null or '{t['name']}' = any (of) then delete from runledger.{t['name']};"
            f" insert into runledger.{t['name']} ({t['columns']}) overriding system value"
            f" select {t['columns']} from public.kept_{t['name']}; end if;"
            for t in tables
        ]
        for sequence in sequences:
            last, called = self.db.one(f"select last_value, is_called from {sequence}").values()
            body.append(f"perform setval('{sequence}', {last}, {called});")
        self.db.execute(
            "create function public.restore(of text[]) returns void language plpgsql"
            f" set session_replication_role = replica as $$ begin {' '.join(body)} end $$"
        )
        seen = [t["name"] for t in tables if t["name"] not in UNSEEN]
        self.db.execute(
            "create function public.dump() returns table (t text, doc text) language sql as $$ "
            + " union all ".join(f"select '{name}', to_jsonb(x)::text from runledger.{name} as x" for name in seen)
            + " $$"
        )


CATALOG = document([{"job_type": "cat.a"}, {"job_type": "cat.b"}]) + ", " + document(
    [{"name": "cat.s", "job_type": "cat.a", "cron": "@yearly"}]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a verb. `skips`: it leaves out what others hold and says what it could do without."""

    name: str
    sql: str
    skips: bool = False

    @property
    def verb(self) -> str:
        return self.name.split()[0]


SKIPPERS = {
    "claim_jobs", "heartbeat_jobs", "reap_expired_leases", "redrive_dead_letters", "fire_due_schedules", "prune",
    "run_maintenance",
}  # fmt: skip


def calls(i: dict[str, Any]) -> dict[str, Call]:
    def job(name: str) -> str:
        return f"'{i[name]}'"

    def lease(name: str) -> str:
        return f"'{i[name]}', {i[name + '_token']}"

    def leases(*names: str) -> str:
        ids, tokens = (", ".join(str(i[n + end]) for n in names) for end in ("", "_token"))
        return f"'{{{ids}}}', '{{{tokens}}}'"

    def outcomes(*named: tuple[str, dict[str, Any]]) -> str:
        return document([{"job_id": str(i[n]), "lease_token": i[n + "_token"], **what} for n, what in named])

    done = {"outcome": "SUCCEEDED"}
    failed = {"outcome": "FAILED", "error_code": "e", "error_message": "m"}
    terminal = {**failed, "kind": "TERMINAL"}
    release = {"outcome": "RELEASE", "reason": "r"}
    run = f"'{i['run']}'"
    append = document([{"key": "y", "job_type": "step", "after_success": ["a"]},
                       {"key": "z", "external": True, "after_terminal": ["y"]}])  # fmt: skip
    listed = {
        "append_workflow_steps": f"append_workflow_steps({run}, 'm', 'g', {append})",
        "append_workflow_steps other": f"append_workflow_steps({run}, 'n', 'g', {document([{'key': 'n', 'job_type': 'step', 'after_terminal': ['b']}])})",
        "await_workflow": f"await_workflow({run}, (select at + interval '1 min' from public.test_clock))",
        "await_workflow last": f"await_workflow('{i['last_run']}', (select at + interval '1 min' from public.test_clock))",
        "cancel_job pending": f"cancel_job({job('pending')})",
        "cancel_job leased": f"cancel_job({job('leased')})",
        "cancel_job unstarted": f"cancel_job({job('unstarted')})",
        "cancel_job expired": f"cancel_job({job('expired')})",
        "cancel_job canceled": f"cancel_job({job('canceled')})",
        "cancel_job dead": f"cancel_job({job('dead')})",
        "cancel_job step a": f"cancel_job({job('a')})",
        "cancel_job step p": f"cancel_job({job('p')})",
        "cancel_job step z": f"cancel_job({job('z')})",
        "cancel_workflow": f"cancel_workflow({run})",
        "cancel_workflow last": f"cancel_workflow('{i['last_run']}')",
        "claim_jobs": "claim_jobs('w2', '{t}', 10)",
        "claim_jobs first": "claim_jobs('w2', '{t}', 1)",
        "claim_jobs limited": "claim_jobs('w2', '{one}', 5)",
        "claim_jobs all": "claim_jobs('w2', '{t,one,step,plan}', 50)",
        "complete_external_step": f"complete_external_step({run}, 'g')",
        "complete_external_step failed": f"complete_external_step({run}, 'g', 'FAILED')",
        "complete_external_step late": f"complete_external_step('{i['gate_run']}', 'g')",
        "continue_job": f"continue_job({lease('leased')})",
        "correct_payload": f"correct_payload({job('pending')}, '9', 'r')",
        "correct_payload dead": f"correct_payload({job('dead')}, '9', 'r')",
        "correct_payload step p": f"correct_payload({job('p')}, '9', 'r')",
        "define_job": "define_job('t', max_attempts => 5)",
        "define_job new": "define_job('new', max_attempts => 5)",
        "define_job limit": "define_job('one', max_concurrency => 2)",
        "define_job disabled": "define_job('plan', is_enabled => false)",
        "delete_schedule": "delete_schedule('due')",
        "delete_schedule catalog": "delete_schedule('cat.s')",
        "deregister_worker": "deregister_worker('w1')",
        "disable_job_type": "disable_job_type('t')",
        "disable_job_type spare": "disable_job_type('spare')",
        "disable_job_type plan": "disable_job_type('plan')",
        "disable_job_type catalog": "disable_job_type('cat.b')",
        "enable_job_type": "enable_job_type('off')",
        "enqueue_job": "enqueue_job('t', idempotency_key => 'new')",
        "enqueue_job again": "enqueue_job('t', idempotency_key => 'pending')",
        "enqueue_job other": "enqueue_job('t', '1', idempotency_key => 'new')",
        "enqueue_job old": "enqueue_job('t', idempotency_key => 'old')",
        "enqueue_job spare": "enqueue_job('spare')",
        "enqueue_jobs": "enqueue_jobs('[{\"job_type\": \"t\", \"idempotency_key\": \"newer\"}, {\"job_type\": \"t\", \"idempotency_key\": \"new\"}, {\"job_type\": \"off\"}]')",
        "enqueue_jobs reversed": "enqueue_jobs('[{\"job_type\": \"t\", \"idempotency_key\": \"new\"}, {\"job_type\": \"t\", \"idempotency_key\": \"newer\"}]')",
        "enqueue_workflow": f"enqueue_workflow('w', {document(STEPS[:2])}, idempotency_key => 'new')",
        "enqueue_workflow again": f"enqueue_workflow('w', {document(STEPS)}, idempotency_key => 'ik', active_key => 'ak')",
        "enqueue_workflow active": f"enqueue_workflow('w', {document(STEPS[:1])}, active_key => 'last')",
        "enqueue_workflow both": f"enqueue_workflow('w', {document(STEPS[:2])}, idempotency_key => 'new', active_key => 'new')",
        "enqueue_workflow spare": "enqueue_workflow('w', '[{\"key\": \"s\", \"job_type\": \"spare\"}]', active_key => 'new')",
        "fail_job": f"fail_job({lease('leased')}, 'e', 'm')",
        "fail_job terminal": f"fail_job({lease('leased')}, 'e', 'm', 'TERMINAL')",
        "fail_job step a": f"fail_job({lease('a')}, 'e', 'm', 'TERMINAL')",
        "fail_job expired": f"fail_job({lease('expired')}, 'e', 'm')",
        "finish_jobs": f"finish_jobs({outcomes(('leased', done), ('unstarted', release), ('expired', done), ('canceled', done))})",
        "finish_jobs reversed": f"finish_jobs({outcomes(('canceled', release), ('unstarted', failed), ('leased', terminal))})",
        "finish_jobs plain": f"finish_jobs({outcomes(('leased', done), ('unstarted', done))})",
        "finish_jobs steps": f"finish_jobs({outcomes(('z', done), ('b', done), ('a', done), ('leased', done))})",
        "finish_jobs dead": f"finish_jobs({outcomes(('dead', terminal), ('succeeded', done))})",
        "fire_due_schedules": "fire_due_schedules()",
        "fire_due_schedules one": "fire_due_schedules(1)",
        "get_workflow_step": f"get_workflow_step({run}, 'a')",
        "grant_access": f"grant_access('{ROLES[0]}', 'worker')",
        "grant_access types": f"grant_access('{ROLES[0]}', 'producer', '{{t}}')",
        "grant_access other": f"grant_access('{ROLES[1]}', 'observer')",
        "heartbeat_jobs": f"heartbeat_jobs({leases('leased', 'unstarted', 'expired', 'canceled', 'a', 'z')}, 120)",
        "idle_worker": "idle_worker('w1', (select at + interval '1 min' from public.test_clock))",
        "job_log_payloads": f"job_log_payloads({job('leased')}, '{{1}}')",
        "job_payload": f"job_payload({job('pending')})",
        "log_job": f"log_job({job('leased')}, 'info', 'm', '{{}}', {i['leased_token']})",
        "log_jobs": f"log_jobs({document([{'job_id': str(i[n]), 'level': 'info', 'message': 'm', 'lease_token': i[n + '_token']} for n in ('leased', 'a', 'expired')])})",
        "pause_job_type": "pause_job_type('t')",
        "pause_job_type limited": "pause_job_type('one')",
        "pause_schedule": "pause_schedule('due')",
        "pause_schedule catalog": "pause_schedule('cat.s')",
        "prune": "prune('1 day', dead_letters_older_than => '1 day')",
        "reap_expired_leases": "reap_expired_leases()",
        "reap_expired_leases one": "reap_expired_leases(1, '0')",
        "redact_job": f"redact_job({job('dead')}, 'r')",
        "redact_job succeeded": f"redact_job({job('succeeded')}, 'r')",
        "redact_job canceled": f"redact_job({job('canceled')}, 'r')",
        "redrive_dead_letters": "redrive_dead_letters('r')",
        "register_worker": "register_worker('w1', '{t}')",
        "register_worker new": "register_worker('w2', '{t}')",
        "register_worker gone": "register_worker('gone', '{t}')",
        "release_job": f"release_job({lease('leased')}, 'r')",
        "release_job unstarted": f"release_job({lease('unstarted')}, 'r')",
        "release_job canceled": f"release_job({lease('canceled')}, 'r')",
        "release_job step a": f"release_job({lease('a')}, 'r')",
        "replay_job": f"replay_job({job('succeeded')}, 'k', 'r')",
        "replay_job other": f"replay_job({job('succeeded')}, 'k', 's')",
        "replay_job old": f"replay_job({job('old')}, 'k', 'r')",
        "report_progress": f"report_progress({lease('leased')}, 1, 2, checkpoint => '1')",
        "report_progress step a": f"report_progress({lease('a')}, 1, 2)",
        "requeue_job": f"requeue_job({job('dead')})",
        "requeue_job canceled": f"requeue_job({job('canceled')})",
        "requeue_job late": f"requeue_job({job('canceled_late')})",
        "resume_job_type": "resume_job_type('t')",
        "resume_schedule": "resume_schedule('due')",
        "resume_schedule paused": "resume_schedule('paused')",
        "revoke_access": f"revoke_access('{ROLES[0]}')",
        "run_maintenance": "run_maintenance()",
        "set_retention": "set_retention('3 days')",
        "set_retention other": "set_retention(history => '5 days')",
        "set_runtime_config": "set_runtime_config('t', '{\"a\": 1}')",
        "set_runtime_config new": "set_runtime_config('spare', '{\"a\": 1}', if_missing => true)",
        "start_jobs": f"start_jobs({leases('unstarted', 'leased')})",
        "start_jobs steps": f"start_jobs({leases('z', 'leased')})",
        "start_jobs expired": f"start_jobs({leases('expired_unstarted')})",
        "succeed_job": f"succeed_job({lease('leased')})",
        "succeed_job unstarted": f"succeed_job({lease('unstarted')})",
        "succeed_job expired": f"succeed_job({lease('expired')})",
        "succeed_job succeeded": f"succeed_job({lease('succeeded')})",
        "succeed_job step a": f"succeed_job({lease('a')})",
        "succeed_job step b": f"succeed_job({lease('b')})",
        "succeed_job step z": f"succeed_job({lease('z')})",
        "sync_catalog": f"sync_catalog('cat', {CATALOG})",
        "sync_catalog less": "sync_catalog('cat', '[{\"job_type\": \"cat.a\", \"priority\": 7}]', '[]')",
        "sync_catalog taking": f"sync_catalog('other', {document([{'job_type': 'plan'}, {'job_type': 'new'}, {'job_type': 'spare'}])}, {document([{'name': 'due', 'job_type': 'plan', 'cron': '@monthly'}, {'name': 'new', 'job_type': 'new', 'cron': '@monthly'}])})",
        "upsert_schedule": "upsert_schedule('due', 'plan', '@monthly')",
        "upsert_schedule new": "upsert_schedule('new', 'spare', '@monthly')",
        "upsert_schedule flow": "upsert_schedule('flow', null, '@monthly', workflow_type => 'w', steps => '[{\"key\": \"s\", \"job_type\": \"t\"}, {\"key\": \"o\", \"job_type\": \"spare\"}]')",
        "upsert_schedule catalog": "upsert_schedule('cat.s', 'cat.b', '@monthly')",
    }  # fmt: skip
    return {name: Call(name, answering(sql), name.split()[0] in SKIPPERS) for name, sql in listed.items()}


def answering(call: str) -> str:
    """The call, its rows as one JSON array, without what only counts up or says how far a side task came."""
    verb = call.split("(", maxsplit=1)[0]
    row, where = "to_jsonb(x)", ""
    if verb in ("log_job", "log_jobs"):
        row = "case when jsonb_typeof(to_jsonb(x)) = 'object' then to_jsonb(x) - 'log_id' end"
    elif verb == "set_retention":
        # What others have pruned so far, told beside the settings.
        row = "to_jsonb(x) - 'history_begins_at'"
    elif verb in ("run_maintenance", "prune"):
        where = " where x.task not in ('rollup', 'partitions')"
    return f"select coalesce(jsonb_agg({row}), '[]')::text from runledger.{call} as x{where}"


@dataclass(frozen=True, slots=True)
class Gate:
    """Statements with which a third session holds what verbs need; it lets go by a rollback."""

    name: str
    sql: str
    table: bool = False


def gates(i: dict[str, Any]) -> dict[str, Gate]:
    def row(table: str, where: str, strength: str = "no key update") -> str:
        return f"select from runledger.{table} where {where} for {strength}"

    held = {f"job {n}": row("job_queue", f"id = '{i[n]}'", "update") for n in (
        "pending", "second", "leased", "unstarted", "expired", "expired_last", "expired_unstarted", "canceled",
        "canceled_late", "dead", "succeeded", "old", "old_step", "a", "b", "p", "x", "z", "limited", "limited_too",
    )}  # fmt: skip
    held |= {n.replace("_", " "): row("workflow_runs", f"id = '{i[n]}'") for n in (
        "run", "gate_run", "last_run", "old_run")}  # fmt: skip
    held["step p"] = row("workflow_steps", f"job_id = '{i['p']}'")
    held |= {f"type {n}": row("job_definitions", f"job_type = '{n}'") for n in (
        "t", "step", "plan", "spare", "one", "off", "cat.a", "cat.b")}  # fmt: skip
    held |= {f"schedule {n}": row("job_schedules", f"name = '{n}'") for n in (
        "due", "due_too", "flow", "paused", "cat.s")}  # fmt: skip
    held |= {f"worker {n}": row("workers", f"worker_id = '{n}'") for n in ("w1", "gone")}
    held["config"] = row("job_runtime_configs", "job_type = 't'")
    held["upkeep"] = row("upkeep_state", "true")
    held["pass of a call"] = row("prune_passes", "caller = 'CALL'")
    held["pass of maintenance"] = row("prune_passes", "caller = 'MAINTENANCE'")
    held["old events"] = row("job_events_default", "true", "update")
    held["retention"] = "lock table runledger.retention_settings in exclusive mode"
    held["grants"] = "lock table runledger.access_grants in share row exclusive mode"
    held["slots one"] = "select pg_advisory_xact_lock(hashtext('runledger.max_concurrency'), hashtext('one'))"
    held["catalog cat"] = "select pg_advisory_xact_lock(hashtext('runledger.catalog'), hashtext('cat'))"
    held["key job"] = "select runledger.enqueue_job('t', '2', idempotency_key => 'new')"
    held["key run"] = (
        f"select runledger.enqueue_workflow('w', {document(STEPS[:3])}, idempotency_key => 'new', active_key => 'new')"
    )
    held["key type"] = "insert into runledger.job_definitions (job_type) values ('new')"
    held["key worker"] = "select runledger.register_worker('w2', '{t}')"
    held["key schedule"] = "select runledger.upsert_schedule('new', 'spare', '@daily')"
    written = {f"table {t}": f"lock table runledger.{t} in share mode" for t in (
        "job_queue", "job_attempts", "job_events", "workflow_steps", "workflow_runs", "job_schedules",
        "job_definitions", "operator_actions")}  # fmt: skip
    return {n: Gate(n, s) for n, s in held.items()} | {n: Gate(n, s, True) for n, s in written.items()}
