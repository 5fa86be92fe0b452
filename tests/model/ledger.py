"""A real database beside the model: each call goes to both, and afterwards everything must be equal."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

import psycopg
from psycopg.rows import dict_row

from tests.model.base import START, Refused, Told, plain
from tests.model.jobs import RELEASES
from tests.model.schedules import FIRED, Model
from tests.support.database import Db
from tests.support.ledger import statement

# Tables by the key of a row, without what follows no rule that is promised: roles, transactions, the kept requests.
TABLES = {
    "job_definitions": "x.job_type",
    "job_queue": "x.id",
    "job_attempts": "x.job_id || '/' || x.run_number || '/' || x.attempt",
    "job_dead_letters": "x.job_id",
    "job_replays": "x.replay_job_id",
    "workflow_runs": "x.id",
    "workflow_steps": "x.workflow_run_id || '/' || x.step_key",
    "workflow_run_mutations": "x.workflow_run_id || '/' || x.mutation_key",
    "job_schedules": "x.name",
}
OMITTED = [
    "lease_role", "role_name", "disabled_by", "paused_by", "catalog", "absent_at", "enqueue_request", "request",
    "due_at", "ordinal",
]  # fmt: skip
KEPT_REQUEST = """
    case when x.enqueue_request ? '_redacted' then 'redacted' when x.enqueue_request is not null then 'kept' end"""
LISTS = {
    "job_events": """
        select e.job_id::text as key, jsonb_agg(jsonb_build_array(e.run_number, e.attempt, e.event_type, e.stage,
          e.progress_done, e.progress_total, case when e.payload ? 'by' then e.payload || '{"by": "owner"}' else e.payload end,
          e.occurred_at) order by e.id) as value
          from runledger.job_events as e group by e.job_id""",
    "job_logs": """
        select l.job_id::text as key, jsonb_agg(to_jsonb(l) - '{id,job_id}'::text[] order by l.id) as value
          from runledger.job_logs as l group by l.job_id""",
    "workflow_step_dependencies": """
        select d.workflow_run_id::text as key, jsonb_agg(jsonb_build_array(p.step_key, s.step_key, d.release_mode)
          order by p.step_key collate "C", s.step_key collate "C") as value
          from runledger.workflow_step_dependencies as d
          join runledger.workflow_steps as p on p.id = d.prerequisite_step_id
          join runledger.workflow_steps as s on s.id = d.dependent_step_id group by d.workflow_run_id""",
}


def _dump_query() -> str:
    parts = [
        f"'{name}', (select coalesce(jsonb_object_agg(r.key, r.value), '{{}}') from (select ({key})::text as key,"
        f" to_jsonb(x) - %(omitted)s::text[]"
        + (f" || jsonb_build_object('request', {KEPT_REQUEST})" if name == "job_queue" else "")
        + f" as value from runledger.{name} as x) as r)"
        for name, key in TABLES.items()
    ]
    parts += [
        f"'{n}', (select coalesce(jsonb_object_agg(r.key, r.value), '{{}}') from ({q}) as r)" for n, q in LISTS.items()
    ]
    parts.append(
        "'operator_actions', (select coalesce(jsonb_agg(jsonb_build_array(a.action, a.object, a.reason)"
        " order by a.id), '[]') from runledger.operator_actions as a)"
    )
    return f"select jsonb_build_object({', '.join(parts)})"


DUMP = _dump_query()
EMPTIED = [
    "job_definitions", "job_queue", "job_attempts", "job_events", "job_logs", "job_dead_letters", "job_replays",
    "job_schedules", "workflow_runs", "workflow_steps", "workflow_step_dependencies", "workflow_run_mutations",
    "operator_actions", "prune_passes", "job_metrics_slots", "job_metrics_totals", "workers",
]  # fmt: skip


class Divergence(AssertionError):
    """The database and the model do not agree."""


class World:
    """One database for many programs; `begin` empties it."""

    def __init__(self, db: Db) -> None:
        self.db = db
        self.admin = db.connect(admin=True)
        self.admin.execute("set timezone to 'UTC'")
        self.connect()
        db.execute("create table public.model_clock (now timestamptz not null)")
        db.execute("insert into public.model_clock values (%s)", [START])
        db.execute("grant select on public.model_clock to public")
        db.execute(
            "create or replace function runledger._now() returns timestamptz language sql volatile"
            " as $$ select c.now from public.model_clock as c $$"
        )
        # The same ids in each run of a program: retries and fires are spread by them.
        db.execute("create sequence public.model_ids")
        db.execute("grant usage on public.model_ids to public")
        db.execute(
            "create or replace function runledger._uuidv7() returns uuid language sql volatile as $$"
            " select (lpad(to_hex(1600000000000 + n.n), 12, '0') || '70008' || left(md5(n.n::text), 15))::uuid"
            " from nextval('public.model_ids') as n(n) $$"
        )
        # Planning its queries anew is nine tenths of a full fsck on a small ledger; which rows it finds is the same.
        db.execute("alter function runledger.fsck(text, uuid, integer) set plan_cache_mode = force_generic_plan")
        # So that programs come to the end of what a run may be released, and of what one call fires.
        self.break_verb("_limits", "'releases',                 100,", f"'releases', {RELEASES},")
        self.break_verb("_limits", "'fired_jobs',              1000,", f"'fired_jobs', {FIRED},")
        # What goes by its age is not in the model; 0 is for ever.
        db.execute("select runledger.set_retention('0', '0', '0')")
        self.calls: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.programs = self.steps = 0
        self.heard = 0
        """A checksum of all that was called."""

    def connect(self) -> None:
        self.conn = self.db.connect(row_factory=dict_row)
        self.conn.execute("set timezone to 'UTC'")

    def begin(self) -> None:
        self.programs += 1
        self.db.execute("set session_replication_role = replica")  # no order among the tables
        self.db.execute("; ".join(f"delete from runledger.{t}" for t in EMPTIED))
        self.db.execute("set session_replication_role = default")
        self.conn.execute("select set_config('runledger.claim_mark', '', false)")
        self.draw_on(0, 0)
        self.model = Model(START)
        self.set_clock(START)

    def draw_on(self, ids: int, tokens: int) -> None:
        """Go on with ids and tokens behind these."""
        self.db.execute("select setval('public.model_ids', %s + 1), setval('runledger.lease_token_seq', %s + 1)", [ids, tokens])

    def set_clock(self, now: datetime) -> None:
        self.db.execute("update public.model_clock set now = %s", [now])
        self.model.now = now

    def advance(self, by: timedelta) -> None:
        self.set_clock(self.model.now + by)

    def ask(self, function: str, arguments: dict[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
        """The rows of a call, or the code of its refusal."""
        query, params = statement(function, arguments)
        try:
            return [plain(r) for r in self.conn.execute(query.encode(), params).fetchall()], None
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith("RL"):
                raise Divergence(f"{function}{arguments}: {error.sqlstate} {error}") from error
            return [], json.loads(error.diag.message_detail or "{}")["code"]

    def dump(self) -> dict[str, Any]:
        found: dict[str, Any] = self.admin.execute(DUMP, {"omitted": OMITTED}).fetchone()[0]  # type: ignore[index]
        return found

    def do(self, function: str, **arguments: Any) -> list[dict[str, Any]]:
        """Call the function and its model; rows, refusal and ledger must be the same. Gives the rows."""
        self.calls[function] += 1
        rows, code = self.ask(function, arguments)
        dump = self.dump()
        expected: list[dict[str, Any]] = []
        refusal = None
        try:
            told = Told(rows, dump)
            self.model.hear(told)
            answer = getattr(self.model, function)(told, **arguments)
            # A verb that changes settings gives what is stored, and that is compared anyway.
            expected = rows if answer is None else plain(answer)
        except Refused as refused:
            refusal = refused.code
            self.refusals[refusal] += 1
        except (AssertionError, LookupError) as error:
            raise Divergence(f"{function}({arguments}): {error!r}\n{code or rows}") from error
        if (code, rows) != (refusal, expected):
            raise Divergence(f"{function}({arguments})\n{difference(code or rows, refusal or expected)}")
        self.compare(dump, f"{function}({arguments})")
        return rows

    def claim(self, *, goes_on: bool = False, **arguments: Any) -> None:
        """A claim that looks from the start; or one that goes on where the last one of this second ended.

        That one may pass over what lies behind it, so the model then takes what it was told, if a claim may take it.
        """
        if not goes_on:
            self.conn.execute("select set_config('runledger.claim_mark', '', false)")
        self.model.may_pass_over = goes_on
        self.do("claim_jobs", **arguments)
        self.model.may_pass_over = False

    def lost(self, function: str, arguments: dict[str, Any], how: str) -> None:
        """The call in a transaction of the caller that comes to no end: nothing may be left of it."""
        self.calls[f"lost: {how}"] += 1
        drawn = self.db.one(
            "select i.last_value as ids, t.last_value as tokens from public.model_ids as i, runledger.lease_token_seq as t"
        )
        query, params = statement(function, arguments)
        self.conn.execute("begin")
        with contextlib.suppress(psycopg.Error):
            if how == "timeout":
                self.conn.execute("set local statement_timeout = '1ms'")
            self.conn.execute(query.encode(), params)
        if how == "terminated":
            self.admin.execute("select pg_terminate_backend(%s, 60000)", [self.conn.info.backend_pid])
            self.conn.close()
            self.connect()
        else:
            self.conn.execute("rollback")
        # How far it came is chance; a gap is left behind by any.
        self.draw_on(drawn["ids"] + 10_000, drawn["tokens"] + 1000)
        self.compare(self.dump(), f"lost ({how}) {function}({arguments})")

    def compare(self, dump: dict[str, Any], after: str) -> None:
        self.steps += 1
        self.heard = crc32(after.encode(), self.heard)
        expected = self.model.dump()
        for table, want in expected.items():
            have = dump[table]
            if have != want:
                raise Divergence(f"after {after}\n{table}: {difference(have, want)}")
        findings = self.admin.execute("select * from runledger.fsck()").fetchall()
        if findings := [f for f in findings if f[1] == "ERROR"]:
            raise Divergence(f"after {after}\nfsck: {findings}")

    def report(self) -> str:
        lines = [f"{self.programs} programs, {self.steps} steps compared"]
        for title, counts in (("calls", self.calls), ("refusals", self.refusals)):
            lines += [f"{title}:", *(f"  {n:>7}  {name}" for name, n in counts.most_common())]
        return "\n".join(lines)

    def break_verb(self, function: str, text: str, instead: str) -> None:
        """Put a defect into the database."""
        source = self.db.value("select pg_get_functiondef(%s::regproc)", [f"runledger.{function}"])
        assert text in source, f"{function} has no {text!r}"
        self.db.execute(source.replace(text, instead).encode())


def difference(have: Any, want: Any, at: str = "") -> str:
    """Where two values part, in a line each."""
    if isinstance(have, dict) and isinstance(want, dict):
        lines = [
            difference(have.get(k), want.get(k), f"{at}/{k}")
            for k in sorted({*have, *want})
            if have.get(k) != want.get(k)
        ]
        return "\n".join(lines)
    if isinstance(have, list) and isinstance(want, list) and len(have) == len(want):
        return "\n".join(
            difference(h, w, f"{at}[{n}]") for n, (h, w) in enumerate(zip(have, want, strict=True)) if h != w
        )
    return f"{at}: database {have!r}, model {want!r}"
