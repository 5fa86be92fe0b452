"""`runledger doctor`: is this server, this schema, this role and this path fit for a queue that must lose nothing?

`examine` yields a `Check` for everything it looked at, in six groups: server, schema, access, logging, path, behaviour.
What cannot be looked at is a WARN that says so, never silence. Nothing is changed: the behaviour is tried in a
transaction that is rolled back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from runledger import _calls
from runledger import migrate as m
from runledger._link import brief
from runledger.client import Client
from runledger.errors import LeaseLost, RunledgerError
from runledger.types import HealthCheck

Level = Literal["OK", "WARN", "UNSAFE"]
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Check:
    """What was found. `fix`: a statement, or a command if it begins with `runledger`; None where all is well."""

    group: str
    code: str
    level: Level
    value: str | None
    explanation: str
    fix: str | None


QUERIES = {
    "settings": "select name, setting, context from pg_catalog.pg_settings",
    "session": """
        select pg_backend_pid() as pid, pg_is_in_recovery() as standby, clock_timestamp() as now,
               r.rolsuper, r.rolbypassrls, s.ssl, host(inet_server_addr()) as address,
               coalesce(inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() = '::1', true) as local,
               has_schema_privilege('public', 'public', 'create') as public_create
          from pg_catalog.pg_roles as r
          left join pg_catalog.pg_stat_ssl as s on s.pid = pg_backend_pid()
         where r.rolname = current_user""",
    "pid": "select pg_backend_pid() as pid",
    "connections": "select coalesce(sum(numbackends), 0)::integer as used from pg_catalog.pg_stat_database",
    "owner": """
        select r.rolname as name, r.rolsuper or r.rolbypassrls as mighty
          from pg_catalog.pg_namespace as n join pg_catalog.pg_roles as r on r.oid = n.nspowner
         where n.nspname = 'runledger'""",
    "definers": """
        select p.oid::regprocedure::text as name from pg_catalog.pg_proc as p
         where p.pronamespace = 'runledger'::regnamespace and p.prosecdef
           and not 'search_path=pg_catalog, pg_temp' = any(coalesce(p.proconfig, '{}')) order by 1""",
    "public": """
        select 'function ' || p.oid::regprocedure as name from pg_catalog.pg_proc as p,
               aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
         where p.pronamespace = 'runledger'::regnamespace and a.grantee = 0
         union select 'relation ' || c.oid::regclass from pg_catalog.pg_class as c, aclexplode(c.relacl) as a
         where c.relnamespace = 'runledger'::regnamespace and a.grantee = 0
         union select 'schema ' || n.nspname from pg_catalog.pg_namespace as n, aclexplode(n.nspacl) as a
         where n.nspname = 'runledger' and a.grantee = 0 order by 1""",
    "creators": """
        select r.rolname as name from pg_catalog.pg_roles as r, pg_catalog.pg_namespace as n
         where n.nspname = 'runledger' and r.oid <> n.nspowner and not r.rolsuper
           and has_schema_privilege(r.oid, n.oid, 'create') and not pg_has_role(r.oid, n.nspowner, 'MEMBER')
         order by 1""",
    "foreign": """
        select 'trigger ' || t.tgname || ' on ' || c.relname as name
          from pg_catalog.pg_trigger as t join pg_catalog.pg_class as c on c.oid = t.tgrelid
          join pg_catalog.pg_proc as p on p.oid = t.tgfoid
         where c.relnamespace = 'runledger'::regnamespace and not t.tgisinternal
           and p.pronamespace <> 'runledger'::regnamespace
         union all
        select 'rule ' || w.rulename || ' on ' || c.relname
          from pg_catalog.pg_rewrite as w join pg_catalog.pg_class as c on c.oid = w.ev_class
         where c.relnamespace = 'runledger'::regnamespace and c.relkind <> 'v'
         union all
        select 'policy ' || p.polname || ' on ' || c.relname
          from pg_catalog.pg_policy as p join pg_catalog.pg_class as c on c.oid = p.polrelid
         where c.relnamespace = 'runledger'::regnamespace order by 1""",
    "by_hand": """
        select distinct a.grantee::regrole::text as name
          from pg_catalog.pg_namespace as n
         cross join lateral (
           select p.proacl from pg_catalog.pg_proc as p where p.pronamespace = n.oid
           union all select c.relacl from pg_catalog.pg_class as c where c.relnamespace = n.oid
           union all select t.attacl
             from pg_catalog.pg_class as c join pg_catalog.pg_attribute as t on t.attrelid = c.oid
            where c.relnamespace = n.oid) as o(acl), aclexplode(o.acl) as a
         where n.nspname = 'runledger' and a.grantee not in (0, n.nspowner)
           and a.grantee not in (
             select r.oid from pg_catalog.pg_roles as r join runledger.access as g on g.role = r.rolname)
         order by 1""",
    "both_kinds": """
        select g.role as name from runledger.access as g where g.kind in ('producer', 'worker')
         group by g.role having count(*) = 2 order by 1""",
    "mighty_workers": """
        select distinct w.role as name
          from runledger.worker_status as w join pg_catalog.pg_roles as r on r.rolname = w.role
         where r.rolsuper or r.rolbypassrls order by 1""",
}
LISTEN, UNLISTEN = "listen runledger_doctor", "unlisten runledger_doctor"
NOTIFY = "select pg_notify('runledger_doctor', %s)"
GROUPS = ("server", "schema", "access", "logging", "path", "behaviour")


class Doctor:
    """One examination, on a connection of its own; `say` hears every statement before it runs."""

    def __init__(self, dsn: str, say: Callable[[str], object] = lambda _: None) -> None:
        self.dsn, self.say = dsn, say
        # No prepared statements: what is at the other end may not keep them.
        self.connection = psycopg.connect(
            dsn,
            autocommit=True,
            prepare_threshold=None,
            fallback_application_name="runledger-doctor",
            client_encoding="UTF8",
        )
        self.connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        self.client = Client(self.connection)
        self.settings: dict[str, str] = {}
        self.fixed_at_start: set[str] = set()
        self.session: dict[str, Any] = {}
        self.skew = 0.0

    def ask(self, name: str) -> Rows:
        """The rows of one of the queries."""
        self.say(QUERIES[name].strip() + ";")
        cursor = self.connection.cursor(row_factory=dict_row, binary=_calls.in_binary(self.connection))
        return cursor.execute(QUERIES[name].encode()).fetchall()

    def call(self, call: _calls.Call[Any]) -> Any:
        """The result of one of our functions."""
        self.say(call.text)
        return self.client.run(call)

    def setting(self, name: str) -> str:
        """A setting of this session; empty if the server has none of that name."""
        return self.settings.get(name, "")

    def examine(self) -> Iterator[Check]:
        """Everything, group by group; a group that cannot go on is a WARN and the next begins."""
        rows = self.ask("settings")
        self.settings = {row["name"]: row["setting"] for row in rows}
        self.fixed_at_start = {row["name"] for row in rows if row["context"] == "postmaster"}
        before = time.time()
        (self.session,) = self.ask("session")
        after = time.time()
        now = self.session["now"].timestamp()
        self.skew = max(before - now, now - after, 0.0)
        for group in GROUPS:
            try:
                yield from getattr(self, f"_{group}")()
            except (psycopg.Error, RunledgerError, m.MigrateError) as error:
                self.connection.rollback()
                told = brief(error) if isinstance(error, psycopg.Error) else str(error)
                words = f"The rest of this group could not be looked at: {told}."
                yield Check(group, f"{group}.unseen", "WARN", None, words, "runledger migrate --check")

    # groups

    def _server(self) -> Iterator[Check]:
        def setting(name: str, bad: bool, level: Level, words: str, fix: str | None = None) -> Check:
            then = "-- then restart the server" if name in self.fixed_at_start else "select pg_reload_conf();"
            told = f"alter system set {name} = {fix}; {then}" if fix else None
            return _judge("server", name, level if bad else "OK", self.setting(name), words, told)

        version = self.connection.info.server_version
        yield _judge(
            "server",
            "version",
            "OK" if version >= 150000 else "UNSAFE",
            self.setting("server_version"),
            "Runledger needs PostgreSQL 15 or newer.",
        )
        yield setting(
            "fsync",
            self.setting("fsync") != "on",
            "UNSAFE",
            "Without it a crash of the machine can destroy the database.",
            "on",
        )
        yield setting(
            "full_page_writes",
            self.setting("full_page_writes") != "on",
            "UNSAFE",
            "Without it a crash of the machine can tear pages.",
            "on",
        )
        weak = self.setting("synchronous_commit") == "off"
        yield setting(
            "synchronous_commit", weak, "WARN", "Off, a crash loses work that was acknowledged a moment before.", "on"
        )
        yield setting(
            "synchronous_standby_names",
            False,
            "WARN",
            "Empty: a fail-over may lose the newest commits; lease tokens stay unique, finished jobs may run again.",
        )
        yield setting(
            "wal_level",
            self.setting("wal_level") == "minimal",
            "WARN",
            "Minimal allows no standby and no recovery to a point in time.",
            "replica",
        )
        yield setting(
            "data_checksums",
            self.setting("data_checksums") != "on",
            "WARN",
            "Off, a bad disk is noticed late: pg_checksums --enable, with the server stopped.",
        )
        yield self._connections()
        yield _judge(
            "server",
            "standby",
            "WARN" if self.session["standby"] else "OK",
            _yes(self.session["standby"]),
            "A standby answers reads alone.",
        )
        yield _judge(
            "server",
            "clock",
            "WARN" if self.skew > 2 else "OK",
            f"{self.skew:.1f} s",
            "The clocks of this machine and of the server should agree to two seconds; the server's rules.",
        )
        yield from self._health("server", "server.notify", "upkeep.timeline", "upkeep.tokens")

    def _connections(self) -> Check:
        used = self.ask("connections")[0]["used"]
        reserved = sum(int(self.setting(f"{n}reserved_connections") or 0) for n in ("superuser_", ""))
        room = int(self.setting("max_connections")) - reserved
        fleet = len(self.call(_calls.list_workers(max_rows=1000)))
        short = used > room * 0.8 or fleet * PER_WORKER > room
        return _judge(
            "server",
            "max_connections",
            "WARN" if short else "OK",
            f"{used} of {room} used, {fleet} workers",
            f"Each worker may open up to {PER_WORKER} connections; leave a fifth free.",
        )

    def _schema(self) -> Iterator[Check]:
        self.say("-- what `runledger migrate --check` asks")
        report = m.migrate(self.connection, check=True)
        levels: dict[str, Level] = {"CURRENT": "OK", "PENDING": "WARN", "DRIFTED": "UNSAFE"}
        yield _judge(
            "schema",
            "version",
            levels[report.status],
            report.status.lower(),
            report.detail or "The schema should be the one of this program.",
            "runledger migrate",
        )
        owners = self.ask("owner")
        if not owners:
            return  # there is no schema: the first check says so
        (owner,) = owners
        yield _judge(
            "schema",
            "owner",
            "WARN" if owner["mighty"] else "OK",
            owner["name"],
            "The owner of the schema should be no superuser and not pass over row level security: its functions"
            " run with its rights.",
            "alter schema runledger owner to …, and each object in it",
        )
        yield _names(
            "schema",
            "definers",
            "UNSAFE",
            self.ask("definers"),
            "Functions with their owner's rights need a pinned search_path.",
            "runledger migrate",
        )
        yield _names(
            "schema",
            "public",
            "UNSAFE",
            self.ask("public"),
            "Nothing of ours may be granted to PUBLIC.",
            "revoke all on … from public",
        )
        yield _names(
            "schema",
            "creators",
            "UNSAFE",
            self.ask("creators"),
            "Only its owner may create in our schema.",
            "revoke create on schema runledger from …",
        )
        yield _names(
            "schema",
            "foreign",
            "WARN",
            self.ask("foreign"),
            "Triggers, rules and policies of others on our tables can change what a verb does.",
            "drop … on runledger.…",
        )
        yield from self._health(
            "schema", "schema.", "server.dead_rows", "server.autovacuum", "server.snapshot", "server.horizon"
        )

    def _access(self) -> Iterator[Check]:
        mighty = self.session["rolsuper"] or self.session["rolbypassrls"]
        yield _judge(
            "access",
            "superuser",
            "WARN" if mighty else "OK",
            _yes(mighty),
            "Work and produce as a plain role: this one is a superuser, or passes over row level security,"
            " if the value is yes.",
            "create a login role, grant it a kind with runledger.grant_access(…)",
        )
        yield _judge(
            "access",
            "public_schema",
            "WARN" if self.session["public_create"] else "OK",
            _yes(self.session["public_create"]),
            "Nobody should create in schema public by right of being there.",
            "revoke create on schema public from public;",
        )
        bare = not self.session["local"] and not self.session["ssl"]
        yield _judge(
            "access",
            "tls",
            "WARN" if bare else "OK",
            "on" if self.session["ssl"] else "off",
            "Across a network payloads and passwords should be encrypted.",
            "sslmode=verify-full in the DSN",
        )
        weak = self.setting("password_encryption") == "md5"
        yield _judge(
            "access",
            "password",
            "WARN" if weak else "OK",
            self.setting("password_encryption"),
            "md5 hashes can be used in place of the password.",
            "alter system set password_encryption = 'scram-sha-256'; select pg_reload_conf();",
        )
        yield _names(
            "access",
            "mighty_workers",
            "WARN",
            self.ask("mighty_workers"),
            "Workers should connect as a plain role of kind worker, not as a superuser.",
            "select * from runledger.grant_access(…, 'worker')",
        )
        yield _names(
            "access",
            "both_kinds",
            "WARN",
            self.ask("both_kinds"),
            "Keep producers and workers apart: who is both can forge work and finish it.",
            "select * from runledger.revoke_access(…)",
        )
        yield _names(
            "access",
            "by_hand",
            "WARN",
            self.ask("by_hand"),
            "Has privileges in our schema that grant_access did not give, by hand or by default: nothing here holds it "
            "to a kind or to job types, and tables show payloads and keys.",
            "select * from runledger.revoke_access(…)",
        )

    def _logging(self) -> Iterator[Check]:
        s = self.setting
        timed = any(int(s(f"log_min_duration_{n}") or -1) >= 0 for n in ("statement", "sample"))
        logged = s("log_statement") in ("mod", "all") or timed
        shown = s("log_parameter_max_length") != "0"
        yield _judge(
            "logging",
            "parameters",
            "WARN" if logged and shown else "OK",
            s("log_parameter_max_length"),
            "Statements that are logged bring their parameters along: payloads.",
            "alter system set log_parameter_max_length = 0; select pg_reload_conf();",
        )
        value = s("log_parameter_max_length_on_error")
        yield _judge(
            "logging",
            "parameters_on_error",
            "OK" if value == "0" else "WARN",
            value,
            "A statement that fails is logged with its parameters: payloads.",
            "alter system set log_parameter_max_length_on_error = 0; select pg_reload_conf();",
        )
        yield _judge(
            "logging",
            "log_statement",
            "WARN" if s("log_statement") in ("mod", "all") else "OK",
            s("log_statement"),
            "Calls with literals stand in the log whole.",
            "alter system set log_statement = 'ddl'; select pg_reload_conf();",
        )
        yield _judge(
            "logging",
            "log_error_verbosity",
            "OK",
            s("log_error_verbosity"),
            "Our errors carry no keys and no payloads, whatever the verbosity.",
        )
        explained = (
            int(s("auto_explain.log_min_duration") or -1) >= 0 and s("auto_explain.log_parameter_max_length") != "0"
        )
        yield _judge(
            "logging",
            "auto_explain",
            "WARN" if explained else "OK",
            s("auto_explain.log_min_duration") or "not loaded",
            "Plans are logged with the parameters of their statement: payloads.",
            "alter system set auto_explain.log_parameter_max_length = 0; select pg_reload_conf();",
        )
        utility = s("pg_stat_statements.track_utility")
        yield _judge(
            "logging",
            "pg_stat_statements",
            "WARN" if utility == "on" else "OK",
            utility or "not loaded",
            "It keeps utility statements as they were written, passwords included.",
            "alter system set pg_stat_statements.track_utility = off; select pg_reload_conf();",
        )

    def _path(self) -> Iterator[Check]:
        pids = {self.connection.info.backend_pid, self.session["pid"], *(self.ask("pid")[0]["pid"] for _ in range(3))}
        pooled = len(pids) > 1
        yield _judge(
            "path",
            "pooler",
            "WARN" if pooled else "OK",
            _yes(pooled),
            "Behind a pooler that gives each transaction another session, wake-ups do not arrive and prepared"
            " statements may be lost: set JOBS_PREPARE=0, or give the workers a direct DSN.",
        )
        heard = self._round_trip()
        yield _judge(
            "path",
            "listen",
            "OK" if heard else "WARN",
            _yes(heard),
            "A notification sent on this path should come back on it; without, workers find work by polling.",
            "Give the workers a DSN that goes to the server itself, or one for wake-ups alone: JOBS_LISTEN_DSN.",
        )
        isolation = self.setting("default_transaction_isolation")
        yield _judge(
            "path",
            "isolation",
            "OK" if isolation == "read committed" else "WARN",
            isolation,
            "Some verbs are refused above read committed (RL013).",
            "alter role … set default_transaction_isolation = 'read committed';",
        )
        locked = self.setting("default_transaction_read_only") == "on"
        yield _judge(
            "path",
            "read_only",
            "UNSAFE" if locked else "OK",
            _yes(locked),
            "Nothing can be enqueued or finished in read-only transactions.",
            "alter role … set default_transaction_read_only = off;",
        )
        timeout = int(self.setting("statement_timeout") or 0)
        yield _judge(
            "path",
            "statement_timeout",
            "WARN" if 0 < timeout < SHORT_MS else "OK",
            f"{timeout} ms",
            "The runner gives up a call after 15 s by itself; a timeout below 5 s cuts upkeep off.",
            "alter role … set statement_timeout = '15s';",
        )
        parts = conninfo_to_dict(self.dsn)
        hosts = f"{parts.get('host') or ''}{parts.get('hostaddr') or ''}"
        several = "," in hosts and "target_session_attrs" not in parts
        yield _judge(
            "path",
            "hosts",
            "WARN" if several else "OK",
            str(hosts.count(",") + 1),
            "A DSN of several hosts should ask for one that writes; workers do so by themselves.",
            "target_session_attrs=read-write in the DSN",
        )
        deaf = not self.session["local"] and str(parts.get("keepalives", "1")) == "0"
        yield _judge(
            "path",
            "keepalives",
            "WARN" if deaf else "OK",
            str(parts.get("keepalives", "1")),
            "Without keep-alives a dead path is noticed by the runner's deadline alone; tcp_user_timeout helps too.",
            "keepalives=1 in the DSN",
        )

    def _round_trip(self) -> bool:
        word = uuid4().hex
        for statement in (LISTEN, NOTIFY):
            self.say(statement.replace("%s", f"'{word}'") + ";")
        self.connection.execute(LISTEN.encode())
        # From another session, as it is with workers.
        with psycopg.connect(self.dsn, autocommit=True, prepare_threshold=None) as other:
            other.execute(NOTIFY.encode(), [word])
        heard = any(n.payload == word for n in self.connection.notifies(timeout=2.0, stop_after=1))
        self.connection.execute(UNLISTEN.encode())
        return heard

    def _behaviour(self) -> Iterator[Check]:
        if self.session["standby"] or self.setting("default_transaction_read_only") == "on":
            yield _judge(
                "behaviour", "trial", "WARN", "not tried", "Nothing can be written here, so nothing was tried."
            )
            return
        with self.connection.transaction(force_rollback=True):
            yield from self._trial(f"runledger.doctor.{uuid4().hex}")

    def _trial(self, name: str) -> Iterator[Check]:
        def step(code: str, ok: bool, words: str) -> Check:
            return _judge("behaviour", code, "OK" if ok else "UNSAFE", _yes(ok), words, "runledger migrate")

        self.call(_calls.define_job(name))
        job = self.call(_calls.enqueue_job(name, {"doctor": True}))
        yield step("enqueue", job.disposition == "INSERTED", "A job is enqueued.")
        leases = self.call(_calls.claim_jobs(name[:60], [name], max_jobs=2))
        yield step("claim", [lease.job_id for lease in leases] == [job.job_id], "A worker claims it, once.")
        again = self.call(_calls.claim_jobs(name[:60], [name], max_jobs=2))
        yield step("second_claim", again == [], "A second claim gets nothing.")
        token = leases[0].lease_token if leases else 0
        (beat,) = self.call(_calls.heartbeat_jobs([job.job_id], [token]))
        yield step("heartbeat", beat.disposition == "EXTENDED", "A heartbeat extends the lease.")
        yield step("fence", self._fenced(job.job_id, token - 1), "A stale token is refused.")
        done = self.call(_calls.succeed_job(job.job_id, token))
        yield step(
            "finish", done.disposition == "SUCCEEDED" and not done.replayed, "The holder of the lease finishes it."
        )
        twice = self.call(_calls.succeed_job(job.job_id, token))
        yield step("replay", twice.replayed, "The same completion again is recognised.")
        findings = self.call(_calls.fsck("fast"))
        level: Level = "UNSAFE" if any(f.severity == "ERROR" for f in findings) else "WARN" if findings else "OK"
        yield _judge(
            "behaviour", "fsck", level, f"{len(findings)} findings", "The ledger should be sound.", "runledger fsck"
        )

    def _fenced(self, job_id: Any, token: int) -> bool:
        try:
            with self.connection.transaction():
                self.call(_calls.succeed_job(job_id, token))
        except LeaseLost:
            return True
        return False

    def _health(self, group: str, *codes: str) -> Iterator[Check]:
        """What health() says of these."""
        levels: dict[str, Level] = {"OK": "OK", "WARN": "WARN", "CRIT": "UNSAFE"}
        found: list[HealthCheck] = self.call(_calls.health())
        for check in found:
            if check.code.startswith(codes):
                value = None if check.value is None else f"{check.value:f} {check.unit}".rstrip()
                yield Check(group, check.code, levels[check.level], value, check.explanation, check.fix)


PER_WORKER = 7
"""Connections of a worker at most: claims, heartbeats, wake-ups, and four for calls of handlers."""
SHORT_MS = 5000


def _judge(group: str, name: str, level: Level, value: str, explanation: str, fix: str | None = None) -> Check:  # noqa: PLR0917
    return Check(group, f"{group}.{name}", level, value, explanation, None if level == "OK" else fix)


def _names(group: str, name: str, level: Level, rows: Rows, explanation: str, fix: str) -> Check:  # noqa: PLR0917
    names = [row["name"] for row in rows]
    told = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return _judge(group, name, level if names else "OK", told or "none", explanation, fix)


def _yes(value: object) -> str:
    return "yes" if value else "no"


def exit_code(checks: list[Check]) -> int:
    """0 fine, 1 warnings, 2 unsafe."""
    levels = {check.level for check in checks}
    return 2 if "UNSAFE" in levels else 1 if "WARN" in levels else 0
