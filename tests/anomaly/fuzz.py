"""Random arguments for every public function. `make fuzz` runs it at length and prints what it saw.

The arguments have the right types, so that whatever is raised was raised inside. A function is called by the owner, by
each kind of role and by a role with no grant at all, at three isolation levels, alone and within a transaction.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import click
import psycopg

from tests.anomaly.world import MARKER, ServerLog, World, told
from tests.support import servers
from tests.support.database import Db

LEVELS = ["read committed", "repeatable read", "serializable"]
KINDS = ["producer", "worker", "operator", "observer"]
# Besides RL: no rights, canceled by a timeout, lock not available. None of them can happen here by chance.
ALLOWED = {"42501", "57014", "55P03"}
NIL, MAX = UUID(int=0), UUID(int=2**128 - 1)

INTEGERS = [None, 0, 1, -1, 2, 100, 1_000, 1_001, 10_000, 2**31 - 1, -(2**31)]
BIGINTS = [*INTEGERS, 2**63 - 1, -(2**63), 2**53]
NAMES = [
    None, "", " ", "\t\n", "work", "other", "nobody", "x" * 200, "x" * 201, "é" * 100, "é" * 101, "x" * 65_536,
    "o'clock", 'a"b', "a\\b", "$$; drop schema runledger cascade; --", "{a,b}", "NULL", "%s %(x)s %I", "line\nfeed",
    "\u202eabc\u202c", "\U0001f469\u200d\U0001f680", "\ufeff", "\u0301", "info", "SUCCEEDED", "RETRYABLE", "TERMINAL",
    "PENDING", "DEAD_LETTERED", "full", "fast",
]  # fmt: skip
# Of these nothing may come back in an error.
SECRETS = [MARKER, f"{MARKER}'\"\\", MARKER + "x" * 400, MARKER + "x" * 70_000, f"{MARKER}\n%s", " ", "", None]
INSTANTS = [
    None, "infinity", "-infinity", "epoch", "4713-01-01 00:00 BC", "294276-12-31 23:59:59+00", "10000-01-01 00:00+00",
    "1969-12-31 23:59:59.999999+00", "now", "tomorrow", "yesterday", "2030-01-01 00:00+00", "2037-01-01 00:00+00",
]  # fmt: skip
INTERVALS = [
    None, "0", "1 microsecond", "1 second", "-1 second", "1 month", "3650 days", "3651 days", "2000000000 days",
    "-2000000000 days", "178000000 years", "2562047788 hours", "1 month -30 days",
]  # fmt: skip
BODIES = [
    "null", "{}", "[]", "0", "true", '""', "1e308", "1e309", "-1e4300", "1e-400", "1e-16383", "[[[[[[]]]]]]", "[" * 65 + "]" * 65,
    "[" * 900 + "]" * 900, f'{{"{MARKER}": "{MARKER}"}}', f'["{MARKER}", 1e4300]', f'"{MARKER}{"x" * 263_000}"',
    '{"a": {"b": [1, 2, {"c": null}]}}', '{"email.busy": 60000}', '{"x": 0}', '{"x": 1.5}', '{"x": 1e300}', '{"": 1}',
    '{"x": "1"}', '{"x": 2147483648}', '{"x": 315360000000}',
]  # fmt: skip

KEYS = ["a", "b", "c", "d", "e", "o'clock", "x" * 200, "\u202eevil\u202c", "\U0001f469\u200d\U0001f680"]


class Generator:
    """Arguments by parameter name where it says more than the type; mostly sensible, so that calls get somewhere."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.jobs: list[UUID] = []
        self.leases: list[tuple[UUID, int]] = []
        self.runs: list[UUID] = []
        self.refresh()
        self.by_name: dict[str, Callable[[], Any]] = {
            "job_id": self.job_id,
            "lease_token": self.token,
            "job_types": lambda: self.array(lambda: self.pick(["work", "other"], NAMES), "text"),
            "job_type": lambda: self.pick(["work", "other"], NAMES),
            "worker_id": lambda: self.pick(["w", "w2"], NAMES),
            "max_jobs": lambda: self.pick([1, 3, 100], INTEGERS),
            "max_rows": lambda: self.pick([1, 3, 100], INTEGERS),
            "jobs": lambda: self.batch(self.item),
            "outcomes": lambda: self.batch(self.outcome),
            "catalog": lambda: self.pick(["one", "two"], [*NAMES, " x"]),
            "definitions": lambda: self.batch(self.definition),
            "schedules": lambda: self.batch(self.schedule),
            "workflow_run_id": lambda: self.pick([self.rng.choice(self.runs)], [None, NIL, MAX, self.jobs[0]]),
            "name": lambda: self.pick(["plan", "plan 2"], [*NAMES, " x"]),
            "cron": lambda: self.pick(
                ["* * * * *", "@daily", "5 4 * * 1-5"], ["", "x", "0 0 30 2 *", " @daily", "*/0 * * * *", *NAMES]
            ),
            "timezone": lambda: self.pick(["UTC", "Europe/Berlin"], ["CEST", "Foo/Bar3", *NAMES]),
            "missed": lambda: self.pick(["ONCE", "SKIP", "ALL"], NAMES),
            "workflow_type": lambda: self.pick(["flow"], NAMES),
            "steps": self.graph,
            "step_key": lambda: self.pick(["gate"], [*KEYS, *NAMES]),
            "append_window": lambda: self.pick(["gate"], [*KEYS, *NAMES]),
            "result_step": lambda: self.pick([None, "a"], NAMES),
            "after_key": lambda: self.pick([None, "a"], NAMES),
            "outcome": lambda: self.pick(["SUCCEEDED", "FAILED", "CANCELED"], NAMES),
            "max_bytes": lambda: self.pick([1, 1_048_576], BIGINTS),
            "mutation_key": self.secret,
            "active_key": self.secret,
            "idempotency_key": self.secret,
            "request_key": self.secret,
            "reason": self.secret,
            "message": self.secret,
            "error_message": self.secret,
            "stage": lambda: self.pick(["working"], NAMES),
            "status": lambda: self.pick(["PENDING", "LEASED"], NAMES),
            "expected_status": lambda: self.pick(["CANCELED", "DEAD_LETTERED"], NAMES),
            "kind": lambda: self.pick(["RETRYABLE", "TERMINAL", "PANICKED", "TIMEOUT", "worker", "observer"], NAMES),
            "role_name": lambda: self.pick(["runledger_stranger"], NAMES),
        }
        self.by_type: dict[str, Callable[[], Any]] = {
            "integer": lambda: self.pick([1, 5, 60], INTEGERS),
            "bigint": lambda: self.pick([1, 5], BIGINTS),
            "boolean": lambda: rng.choice([True, False, None]),
            "text": lambda: self.pick(["work", "plain"], NAMES),
            "uuid": lambda: self.pick([None], [self.job_id(), NIL, MAX]),
            "jsonb": lambda: self.pick(["{}", '{"n": 1}'], BODIES),
            "timestamp with time zone": lambda: self.pick(["now", "tomorrow"], INSTANTS),
            "interval": lambda: self.pick(["0", "1 second"], INTERVALS),
            "uuid[]": lambda: self.array(self.job_id, "uuid"),
            "bigint[]": lambda: self.array(self.token, "bigint"),
            "text[]": lambda: self.array(lambda: self.pick(["work"], NAMES), "text"),
        }

    def refresh(self) -> None:
        """Look what there is by now, and see that something is pending, leased and expired."""
        db = self.world.db
        db.execute("set runledger.claim_mark = ''")
        db.execute("select runledger.define_job('work', is_enabled => true, max_concurrency => 0, max_attempts => 3)")
        db.execute("select runledger.resume_job_type('work')")
        db.execute("select runledger.upsert_schedule('plan', 'work', '@daily', is_active => true)")
        db.execute(
            "select count(*) from runledger.enqueue_jobs(%s)", [json.dumps([{"job_type": "work", "priority": 900}] * 6)]
        )
        db.execute("select count(*) from runledger.claim_jobs('w', '{work}', 2, 3600)")
        db.execute("select count(*) from runledger.claim_jobs('w2', '{work}', 1, 3600, true)")
        # Of each status some: new jobs and fires would crowd out those that are finished.
        self.jobs = db.column(
            "select id from (select q.*, row_number() over (partition by status order by updated_at desc, id) as nth"
            " from runledger.job_queue q where schedule_id is null) q where nth <= 10 order by id"
        )
        self.leases = [
            (row["id"], row["lease_token"])
            for row in db.all(
                "select id, lease_token from runledger.job_queue where lease_token is not null order by id limit 20"
            )
        ]

        # A run with a gate that waits, and the latest of those that came of the calls.
        db.execute(
            'select runledger.enqueue_workflow(\'flow\', \'[{"key": "gate", "external": true},'
            ' {"key": "a", "job_type": "work", "after_success": ["gate"]},'
            ' {"key": "b", "job_type": "work", "priority": 950}]\')'
        )
        self.runs = db.column("select id from runledger.workflow_runs order by created_at desc, id limit 10")

    def pick(self, usual: list[Any], odd: list[Any]) -> Any:
        return self.rng.choice(usual if self.rng.random() < 0.75 else odd)

    def secret(self) -> Any:
        return self.pick(["plain", MARKER], SECRETS)

    def lease(self) -> tuple[UUID, int]:
        return self.rng.choice(self.leases)

    def job_id(self) -> UUID | None:
        return self.pick([self.lease()[0], *self.jobs], [None, NIL, MAX, UUID(int=self.rng.getrandbits(128))])

    def token(self) -> int | None:
        return self.pick([self.lease()[1]], BIGINTS)

    def array(self, element: Callable[[], Any], of: str) -> str | None:
        """As text, since no driver sends ragged bounds or nested arrays of our choice."""
        odd = self.rng.random()
        if odd < 0.05:
            return self.rng.choice([None, "{}", "{NULL}", "{NULL,NULL}"])

        def written(value: Any) -> str:
            text = str(value).replace("\\", "\\\\").replace('"', '\\"')
            return "NULL" if value is None else f'"{text}"'

        size = 1_001 if odd > 0.98 else self.rng.randint(1, 4)
        flat = ",".join(written(element()) for _ in range(size))
        if odd < 0.10:
            return "{{" + flat + "},{" + flat + "}}"
        return f"[0:{size - 1}]={{{flat}}}" if odd < 0.15 else f"{{{flat}}}"

    def batch(self, item: Callable[[], Any]) -> str | None:
        if self.rng.random() < 0.1:
            return self.rng.choice([None, *BODIES])
        items = [
            item() if self.rng.random() < 0.9 else json.loads(self.rng.choice(BODIES[:6]))
            for _ in range(self.rng.randint(0, 5))
        ]
        return self.written(items)

    def written(self, items: list[Any]) -> str:
        """As JSON, with numbers that Python would not write."""
        text = json.dumps(items, default=str)
        return text.replace('"@huge"', "1e4300").replace('"@long"', "9" * 30).replace('"@half"', "1.50")

    def field(self) -> Any:
        return self.rng.choice([
            None, "", " ", 0, 1, -1, 1.5, True, [], {}, "@huge", "@long", "@half", 2**31, 2**63, "infinity", "2030-01-01T00:00:00Z",
            "2030-01-01", "10000-01-01T00:00:00Z", "2030-02-30T00:00:00Z", "2030-01-01T00:00:00+99", "1 hour", "2000000000 days",
            -5, str(NIL), "x" * 600, MARKER, "now", "allballs", "24:00", "P1Y", "1e400 seconds", "9" * 60 + " years",
        ])  # fmt: skip

    def fields(self, sensible: dict[str, Any], others: list[str]) -> dict[str, Any]:
        item = {name: value if self.rng.random() < 0.95 else self.field() for name, value in sensible.items()}
        for name in others:
            if self.rng.random() < 0.2:
                item[name] = self.field()
        if self.rng.random() < 0.03:
            item[self.rng.choice(["", MARKER, "Payload", "lease"])] = self.field()
        return item

    def item(self) -> dict[str, Any]:
        names = [
            "organization_id",
            "priority",
            "max_attempts",
            "timeout_seconds",
            "run_at",
            "idempotency_key",
            "stage",
            "payload",
        ]
        item = self.fields({"job_type": "work"}, names)
        if self.rng.random() < 0.3:
            item["idempotency_key"] = MARKER + str(self.rng.randint(1, 5))
        return item

    def definition(self) -> dict[str, Any]:
        names = ["version", "max_attempts", "timeout_seconds", "priority", "max_concurrency", "retry_base_ms", "retry_max_ms",
                 "retry_delays_ms", "is_enabled"]  # fmt: skip
        return self.named(
            self.fields({"job_type": self.rng.choice(["work", "other", f"new {self.rng.randint(1, 99)}"])}, names)
        )

    def schedule(self) -> dict[str, Any]:
        names = ["timezone", "payload", "organization_id", "max_jitter_seconds", "missed", "is_active", "next_fire_at",
                 "workflow_type", "steps"]  # fmt: skip
        name = self.rng.choice(["plan", "plan 2", f"plan {self.rng.randint(3, 99)}"])
        return self.named(self.fields({"name": name, "job_type": "work", "cron": "@daily"}, names))

    def named(self, item: dict[str, Any]) -> dict[str, Any]:
        """Names are no secrets: an error may tell them."""
        return {
            field: "plain" if value == MARKER and field in ("key", "name", "job_type") else value
            for field, value in item.items()
        }

    def graph(self) -> str | None:
        """Steps that mostly wait for earlier ones, some for nobody, for themselves, or in a circle."""
        if self.rng.random() < 0.1:
            return self.rng.choice([None, *BODIES])
        keys = self.rng.sample(KEYS, self.rng.randint(1, 5))
        steps: list[Any] = []
        for nth, key in enumerate(keys):
            kind = {"job_type": "work"} if self.rng.random() < 0.7 else {"external": True}
            step = {"key": key, **kind}
            for waits in ("after_success", "after_terminal"):
                if nth and self.rng.random() < 0.4:
                    among = keys[:nth] if self.rng.random() < 0.9 else [*keys, "nobody", "", MARKER]
                    step[waits] = [self.rng.choice(among)]
            if self.rng.random() < 0.15:
                names = ["payload", "priority", "max_attempts", "timeout_seconds", "stage", "organization_id", "on_timeout",
                         "allow_continuation", "after_success", "after_terminal", "external", "key", "job_type", "typo"]  # fmt: skip
                step[self.rng.choice(names)] = self.field()
            steps.append(self.named(step))
        if self.rng.random() < 0.05:
            steps.append(self.field())
        return self.written(steps)

    def outcome(self) -> dict[str, Any]:
        job_id, token = self.lease()
        what = self.rng.choice([
            {"outcome": "SUCCEEDED", "output": {"n": 1}}, {"outcome": "FAILED", "error_code": "x.y", "error_message": MARKER},
            {"outcome": "CONTINUE", "delay": 1}, {"outcome": "RELEASE", "reason": "stop"},
        ])  # fmt: skip
        names = [
            "output",
            "checkpoint",
            "done",
            "total",
            "kind",
            "not_before",
            "delay",
            "reason",
            "error_code",
            "error_message",
        ]
        return self.fields({"job_id": str(job_id), "lease_token": token, **what}, self.rng.sample(names, 2))

    def call(self, function: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        given: dict[str, Any] = {}
        written = []
        required = len(function["names"]) - function["defaults"]
        lease = self.lease() if self.rng.random() < 0.6 else None
        for nth, (name, kind) in enumerate(zip(function["names"], function["types"], strict=True)):
            if nth >= required and self.rng.random() < 0.5:
                continue
            given[name] = (self.by_name.get(name) or self.by_type[kind])()
            if lease and name in ("job_id", "lease_token"):
                given[name] = lease[name == "lease_token"]
            if lease and kind in ("uuid[]", "bigint[]"):
                given[name] = f"{{{lease[kind == 'bigint[]']}}}"
            written.append(f"{name} => %({name})s::{kind}")
        return f"select * from runledger.{function['name']}({', '.join(written)})", given


def public_functions(db: Db) -> list[dict[str, Any]]:
    return db.all(
        "select p.proname::text as name, p.pronargdefaults::integer as defaults,"
        " coalesce(p.proargnames[1:p.pronargs], '{}')::text[] as names,"
        " array(select format_type(t, null) from unnest(p.proargtypes) with ordinality as a(t, n) order by n) as types"
        " from pg_proc p where p.pronamespace = 'runledger'::regnamespace and p.proname not like '\\_%' order by 1"
    )


def wrong_with(error: psycopg.Error, documented: dict[str, str]) -> str | None:
    """What speaks against this error, or None."""
    state = error.sqlstate or "raised by the driver"
    if MARKER in told(error):
        return "leak"
    if state in ALLOWED:
        return None
    if not state.startswith("RL"):
        return state
    code = json.loads(error.diag.message_detail or "{}").get("code")
    if documented.get(code) != state or state == "RL090":
        return f"{state} {code}"
    return None


# They need a snapshot of their own for each statement, and say so at the other levels.
REFUSED_ABOVE_READ_COMMITTED = {
    "claim_jobs", "requeue_job", "replay_job", "redrive_dead_letters", "reap_expired_leases", "run_maintenance", "prune",
    "fire_due_schedules", "append_workflow_steps", "cancel_workflow", "complete_external_step",
}  # fmt: skip


@dataclass
class Seen:
    """What came of the calls: by function how many and which SQLSTATEs, and what should not have been."""

    states: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    findings: dict[tuple[str, str], str] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def fine(self) -> set[str]:
        return {name for name, states in self.states.items() if states["ok"]}

    def add(self, other: Seen) -> None:
        for name, states in other.states.items():
            self.states[name].update(states)
            self.slowest[name] = max(self.slowest[name], other.slowest[name])
        for what, text in other.findings.items():
            self.findings.setdefault(what, text)


class Fuzz:
    """Calls to one database by one caller: `kind` None is the owner, "nobody" a role without a grant."""

    def __init__(self, db: Db, seed: int, isolation: str = "read committed", kind: str | None = None) -> None:
        self.db = db
        self.about = f"seed {seed}, {isolation}, {kind or 'owner'}"
        self.world = World(db)
        self.rng = random.Random(f"{seed} {isolation}" + (f" {kind}" if kind else ""))
        self.generator = Generator(self.world, self.rng)
        self.log = ServerLog(db)
        self.documented = {
            row["code"]: row["sqlstate"] for row in db.all("select code, sqlstate from runledger.error_codes()")
        }
        rights = db.all("select name, kinds from runledger._access_matrix() where object_type = 'function'")
        self.allowed = {row["name"] for row in rights if kind is None or kind in row["kinds"]}
        self.functions = public_functions(db)
        self.caller = self._login(kind) if kind else self.world.caller
        self.caller.execute(f"set default_transaction_isolation = '{isolation}'".encode())
        self.pid = self.caller.info.backend_pid
        self.seen = Seen()

    def _login(self, kind: str) -> psycopg.Connection[Any]:
        """The role belongs to the server; it is dropped with it, or taken again by the next run."""
        role = f"runledger_fuzz_{kind}"
        with contextlib.suppress(psycopg.errors.DuplicateObject):
            self.db.execute(f"create role {role} login")
        if kind in KINDS:
            self.db.execute("select runledger.grant_access(%s, %s)", [role, kind])
        return self.db.connect(login=role)

    def rounds(self, first: int, last: int, names: set[str] | None = None) -> None:
        """Each function (of these names) once a round."""
        for nth in range(first, last):
            if nth % 5 == 0:
                self.generator.refresh()
            for function in self.functions:
                if names is None or function["name"] in names:
                    self.call(function, nth)
            self.leftovers(nth)

    def call(self, function: dict[str, Any], nth: int) -> None:
        name = function["name"]
        query, given = self.generator.call(function)
        within = self.rng.random() < 0.2
        began = time.perf_counter()
        state, problem, text = "ok", None, ""
        try:
            if within:
                # Beside a statement of the caller's own, and taken back as often as not.
                with self.caller.transaction(force_rollback=self.rng.random() < 0.5):
                    self.caller.execute("select 1")
                    self.caller.execute(query.encode(), given).fetchall()
            else:
                self.caller.execute(query.encode(), given).fetchall()
            if name not in self.allowed:
                problem = "not refused"
        except psycopg.Error as error:
            state = error.sqlstate or "driver"
            problem, text = wrong_with(error, self.documented), told(error)
            if not problem and (state == "42501") != (name not in self.allowed):
                problem = "refused to who may" if state == "42501" else f"{state} instead of 42501"
        self.seen.states[name][state] += 1
        self.seen.slowest[name] = max(self.seen.slowest[name], time.perf_counter() - began)
        if problem:
            where = f"{self.about}, round {nth}, {'in a transaction' if within else 'alone'}"
            self.seen.findings.setdefault((name, problem), f"{text}\n{where}: {query} {str(given)[:2_000]}")

    def leftovers(self, nth: int) -> None:
        """Between calls the session is idle and holds nothing."""
        held = self.db.all(
            "select locktype, mode, objid from pg_locks where pid = %s and locktype <> 'virtualxid'", [self.pid]
        )
        if held:
            self.seen.findings.setdefault(("pg_locks", "held"), f"{self.about}, round {nth}: {held}")

    def end(self) -> Seen:
        """Look at what is left: the server's log, and the ledger."""
        self.db.execute("update runledger.job_schedules set is_active = false")
        if MARKER in self.log.text():
            self.seen.findings["server log", "leak"] = self.about
        if found := self.db.findings():
            self.seen.findings["fsck", "findings"] = f"{self.about}: {found}"
        return self.seen


def print_report(seen: Seen) -> None:
    sys.stdout.write(f"\n{'function':28}{'calls':>8}{'ok':>8}{'refused':>9}{'slowest':>10}  SQLSTATEs\n")
    for name, states in sorted(seen.states.items()):
        total = sum(states.values())
        told_ = " ".join(f"{state}:{n}" for state, n in sorted(states.items()) if state != "ok")
        sys.stdout.write(
            f"{name:28}{total:8}{states['ok']:8}{total - states['ok']:9}{seen.slowest[name] * 1000:7.0f} ms  {told_}\n"
        )
    for (name, problem), text in seen.findings.items():
        sys.stdout.write(f"\nFINDING {name}: {problem}: {text}\n")
    sys.stdout.write(f"\n{sum(sum(s.values()) for s in seen.states.values())} calls, {len(seen.findings)} findings\n")


@click.command()
@click.option("--calls", default=2_000, help="per function, all callers and levels together")
@click.option("--seed", default=0, help="0: another one each time")
@click.option("--pg", default="18", help="major version of the server")
def main(calls: int, seed: int, pg: str) -> None:
    """Call every public function at random; exit 1 if anything was found."""
    seed = seed or random.randrange(1, 1_000_000)
    sys.stdout.write(f"seed {seed}\n")
    # Half of the calls by the owner at the three levels; refusals at the door are cheap, and say less.
    plan = [(level, None, calls // 6) for level in LEVELS]
    plan += [(level, kind, calls // 30) for level in LEVELS for kind in [*KINDS, "nobody"]]
    seen = Seen()
    with servers.start(pg) as server:
        with psycopg.connect(server.admin_dsn, autocommit=True) as conn, contextlib.suppress(psycopg.errors.DuplicateObject):
            conn.execute("create role runledger_stranger login")  # whom the generator names, for grants
        for level, kind, rounds in plan:
            db = Db(server.take(), server)
            fuzz = Fuzz(db, seed, level, kind)
            fuzz.rounds(0, max(1, rounds))
            seen.add(fuzz.end())
            db.close()
            sys.stdout.write(f"{level}, {kind or 'owner'}: {rounds} calls each, {len(seen.findings)} findings so far\n")
            sys.stdout.flush()
    print_report(seen)
    if never := {f for f in seen.states if not seen.states[f]["ok"]}:
        sys.stdout.write(f"never got through: {', '.join(sorted(never))}\n")
    sys.exit(1 if seen.findings else 0)


if __name__ == "__main__":
    main()
