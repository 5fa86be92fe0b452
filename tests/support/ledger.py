"""Short ways for tests to call the functions by name, and to say which error they expect."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.support.database import Db

_TYPES = {
    "job_ids": "uuid[]", "lease_tokens": "bigint[]", "known_tokens": "bigint[]", "job_types": "text[]",
    "payload": "jsonb", "checkpoint": "jsonb", "output": "jsonb", "outcomes": "jsonb", "jobs": "jsonb",
    "config": "jsonb", "metadata": "jsonb", "retry_delays_ms": "jsonb",
    "steps": "jsonb", "entries": "jsonb", "definitions": "jsonb", "schedules": "jsonb", "log_ids": "bigint[]",
}  # fmt: skip
NOBODY = UUID("00000000-0000-7000-8000-000000000000")
TENANT = UUID("00000000-0000-7000-8000-00000000000a")
OTHER_TENANT = UUID("00000000-0000-7000-8000-00000000000b")
LATER = timedelta(hours=1)


class Raw(str):
    """JSON as text: for values that Python would write differently, like 1.0."""

    __slots__ = ()


def _value(name: str, value: Any) -> Any:
    if isinstance(value, Raw):
        return str(value)
    return Jsonb(value) if _TYPES.get(name) == "jsonb" and value is not None else value


def statement(function: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """`select * from runledger.function(name => …)` and its parameters."""
    given = ", ".join(f"{n} => %({n})s" + (f"::{_TYPES[n]}" if n in _TYPES else "") for n in arguments)
    return f"select * from runledger.{function}({given})", {n: _value(n, v) for n, v in arguments.items()}


class Refusal:
    """A refused call: its code, and everything a client could read of it."""

    code: str
    detail: dict[str, Any]
    text: str


class Ledger:
    """The functions of one database, on one connection (autocommit unless given another)."""

    def __init__(self, db: Db, conn: psycopg.Connection[Any] | None = None) -> None:
        self.db = db
        self.conn = conn or db.connect()

    def on(self, conn: psycopg.Connection[Any] | None = None, **options: Any) -> Ledger:
        """The same on a connection of its own."""
        return Ledger(self.db, conn or self.db.connect(**options))

    def rows(self, function: str, **arguments: Any) -> list[dict[str, Any]]:
        query, params = statement(function, arguments)
        return self.conn.cursor(row_factory=dict_row).execute(query.encode(), params).fetchall()

    def row(self, function: str, **arguments: Any) -> dict[str, Any]:
        rows = self.rows(function, **arguments)
        assert len(rows) == 1, f"{len(rows)} rows from {function}"
        return rows[0]

    @contextlib.contextmanager
    def refused(self, code: str, sqlstate: str | None = None) -> Iterator[Refusal]:
        """The block must raise the error of that code, shaped like every error of Runledger."""
        told = Refusal()
        try:
            yield told
        except psycopg.Error as error:
            raised = error
        else:
            raise AssertionError(f"not refused, expected {code}")
        diag = raised.diag
        assert diag.sqlstate is not None, raised
        assert diag.sqlstate.startswith("RL"), f"{diag.sqlstate}: {raised}"
        detail = json.loads(diag.message_detail or "{}")
        assert detail.get("code") == code, f"{detail} instead of {code}"
        known = self.db.one("select * from runledger.error_codes() where code = %s", [code])
        assert (diag.sqlstate, diag.message_primary, diag.message_hint) == (
            known["sqlstate"], known["message"], known["hint"],
        )  # fmt: skip
        assert sqlstate in (None, diag.sqlstate)
        told.code, told.detail = code, detail
        told.text = " ".join(
            str(v) for v in (
                diag.message_primary, diag.message_detail, diag.message_hint, diag.context, diag.internal_query,
                diag.column_name, diag.constraint_name, raised,
            )
        )  # fmt: skip

    def define(self, job_type: str = "t", **settings: Any) -> dict[str, Any]:
        return self.row("define_job", job_type=job_type, **settings)

    def enqueue(self, job_type: str = "t", **settings: Any) -> UUID:
        job_id: UUID = self.row("enqueue_job", job_type=job_type, **settings)["job_id"]
        return job_id

    def enqueue_many(self, n: int, job_type: str = "t", **settings: Any) -> list[UUID]:
        return [r["job_id"] for r in self.rows("enqueue_jobs", jobs=[{"job_type": job_type, **settings}] * n)]

    def claim(self, max_jobs: int = 1, *types: str, worker: str = "w1", **settings: Any) -> list[dict[str, Any]]:
        return self.rows("claim_jobs", worker_id=worker, job_types=list(types or ["t"]), max_jobs=max_jobs, **settings)

    def ids(self, max_jobs: int = 1, *types: str, **settings: Any) -> list[UUID]:
        return [c["job_id"] for c in self.claim(max_jobs, *types, **settings)]

    def leased(
        self, job_type: str = "t", worker: str = "w1", lease_seconds: int = 60, prestart: bool = False, **job: Any
    ) -> dict[str, Any]:
        """Enqueue a job, claim it, and give its job_id and lease_token, ready to pass on."""
        job_id = self.enqueue(job_type, **job)
        return self.hold(job_id, job_type, worker=worker, lease_seconds=lease_seconds, prestart=prestart)

    def hold(self, job_id: UUID, job_type: str = "t", **claim: Any) -> dict[str, Any]:
        """Claim that very job, which must be the next one."""
        [claimed] = self.claim(1, job_type, **claim)
        assert claimed["job_id"] == job_id
        return {"job_id": claimed["job_id"], "lease_token": claimed["lease_token"]}

    def finish(self, *outcomes: dict[str, Any]) -> list[dict[str, Any]]:
        return self.rows("finish_jobs", outcomes=[json_ready(o) for o in outcomes])

    def finish_one(self, lease: dict[str, Any], outcome: str, **fields: Any) -> dict[str, Any]:
        [row] = self.finish({**lease, "outcome": outcome, **fields})
        return row

    def beat(self, *leases: dict[str, Any], lease_seconds: int = 60) -> list[str]:
        """The dispositions of a heartbeat for these leases."""
        return [
            r["disposition"] for r in self.rows(
                "heartbeat_jobs", job_ids=[x["job_id"] for x in leases],
                lease_tokens=[x["lease_token"] for x in leases], lease_seconds=lease_seconds,
            )
        ]  # fmt: skip

    def start(self, *leases: dict[str, Any]) -> list[str]:
        return [
            r["disposition"] for r in self.rows(
                "start_jobs", job_ids=[x["job_id"] for x in leases], lease_tokens=[x["lease_token"] for x in leases],
            )
        ]  # fmt: skip

    def dead(self, job_type: str = "t", **job: Any) -> UUID:
        """A dead-lettered job."""
        lease = self.leased(job_type, **job)
        assert self.fail(lease, kind="TERMINAL")["disposition"] == "DEAD_LETTERED"
        return lease["job_id"]

    def succeed(self, lease: dict[str, Any], **fields: Any) -> dict[str, Any]:
        return self.row("succeed_job", **lease, **fields)

    def fail(
        self, lease: dict[str, Any], code: str = "e.x", message: str = "it broke", **fields: Any
    ) -> dict[str, Any]:
        return self.row("fail_job", **lease, error_code=code, error_message=message, **fields)

    def release(self, lease: dict[str, Any], reason: str = "WORKER_SHUTDOWN", **fields: Any) -> dict[str, Any]:
        return self.row("release_job", **lease, reason=reason, **fields)

    def reap(self, **arguments: Any) -> list[dict[str, Any]]:
        return self.rows("reap_expired_leases", **arguments)

    def job(self, job_id: UUID) -> dict[str, Any]:
        return self.db.job(job_id)

    def told(self, job_id: UUID) -> list[tuple[str, int, int | None]]:
        """The events of a job: type, run, attempt."""
        rows = self.db.all(
            "select event_type::text, run_number, attempt from runledger.job_events where job_id = %s order by id",
            [job_id],
        )
        return [(r["event_type"], r["run_number"], r["attempt"]) for r in rows]

    def event(self, job_id: UUID, event_type: str) -> dict[str, Any]:
        """The last event of that type."""
        return self.db.all(
            "select * from runledger.job_events where job_id = %s and event_type::text = %s order by id",
            [job_id, event_type],
        )[-1]

    def snapshot(self, *job_ids: UUID) -> dict[str, Any]:
        """Everything the ledger holds of these jobs (of all, without ids), to see that nothing was written."""
        tables = {
            "job_queue": "id", "job_attempts": "job_id", "job_events": "job_id", "job_dead_letters": "job_id",
            "job_logs": "job_id", "job_replays": "source_job_id",
        }  # fmt: skip
        return {
            table: self.db.all(
                f"select x.* from runledger.{table} x where %(all)s or x.{key} = any (%(ids)s::uuid[]) order by x::text",
                {"all": not job_ids, "ids": list(job_ids)},
            )
            for table, key in tables.items()
        }

    @contextlib.contextmanager
    def unchanged(self, *job_ids: UUID) -> Iterator[None]:
        before = self.snapshot(*job_ids)
        yield
        assert self.snapshot(*job_ids) == before

    def pending(self) -> int:
        count: int = self.db.value("select count(*) from runledger.job_queue where status = 'PENDING'")
        return count


def json_ready(fields: dict[str, Any]) -> dict[str, Any]:
    """Uuids and instants as text."""
    return {
        k: str(v) if isinstance(v, UUID) else v.isoformat() if isinstance(v, datetime) else v for k, v in fields.items()
    }
