"""What the hostile tests share: a ledger with something in every state, its whole content as a value, and its errors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from tests.support.database import Db

# Stands in every hostile value; found in an error or in the server's log, it is a leak.
MARKER = "s3cret-marker-7f1d"


def contents(db: Db, conn: psycopg.Connection[Any] | None = None) -> dict[str, str]:
    """Every row of every table, as one digest per table; sequences may move. `conn`: as that session sees it."""
    tables = db.column(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = 'runledger' and c.relkind in ('r', 'p') and not c.relispartition order by 1"
    )
    digest = "select %s, md5(coalesce(string_agg(t::text, '/' order by t::text), '')) from {} as t"
    query = " union all ".join(digest.format(t) for t in tables)
    return dict((conn or db.conn).execute(query.encode(), tables).fetchall())


def told(error: psycopg.Error) -> str:
    """Everything a client can read of an error."""
    d = error.diag
    return " ".join(filter(None, [str(error), d.message_detail, d.message_hint, d.context, d.internal_query]))


def code_of(error: psycopg.Error) -> str | None:
    """The dotted code of a Runledger error; of another its SQLSTATE."""
    if (error.sqlstate or "").startswith("RL"):
        assert error.diag.message_detail is not None
        code = json.loads(error.diag.message_detail)["code"]
        assert isinstance(code, str)
        return code
    return error.sqlstate


class ServerLog:
    """What the server writes from now on; empty where the server is not ours to read."""

    def __init__(self, db: Db) -> None:
        server = db.server.server
        self._path: Path | None = server.log if server else None
        self._from = self._path.stat().st_size if self._path else 0

    def text(self) -> str:
        if self._path is None:
            return ""
        with self._path.open("rb") as log:
            log.seek(self._from)
            return log.read().decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Lease:
    job_id: UUID
    lease_token: int


class World:
    """One job per state of type `work`, and ways to get more; `caller` is the plain owner, like a service's role."""

    def __init__(self, db: Db) -> None:
        self.db = db
        self.caller = db.connect()
        db.execute("select runledger.define_job('work', max_attempts => 3)")
        db.execute("select runledger.register_worker('w', '{work}')")
        self.pending: UUID = db.value(
            "select job_id from runledger.enqueue_job('work', '{\"kept\": 1}', run_at => now() + interval '1 day')"
        )
        self.lease = self.leased()
        # A run that waits at a gate, before its only job.
        self.run_id: UUID = db.value(
            "select workflow_run_id from runledger.enqueue_workflow('flow', %s::jsonb)",
            [json.dumps([{"key": "gate", "external": True}, {"key": "after", "job_type": "work", "after_success": ["gate"]}])],
        )
        self.succeeded = self.leased().job_id
        self.dead = self.leased().job_id
        self.canceled = self.leased().job_id
        db.execute("select runledger.succeed_job(id, lease_token) from runledger.job_queue where id = %s", [self.succeeded])
        db.execute(
            "select runledger.fail_job(id, lease_token, 'x.y', 'no', 'TERMINAL') from runledger.job_queue where id = %s",
            [self.dead],
        )
        db.execute("select runledger.cancel_job(%s)", [self.canceled])

    def leased(self, seconds: int = 3600) -> Lease:
        """One more job, claimed."""
        self.db.execute("select runledger.enqueue_job('work')")
        row = self.db.one("select job_id, lease_token from runledger.claim_jobs('w', '{work}', 1, %s)", [seconds])
        return Lease(row["job_id"], row["lease_token"])

    def run(self, query: str, params: Any = None) -> list[tuple[Any, ...]]:
        return self.caller.execute(query.encode(), params).fetchall()
