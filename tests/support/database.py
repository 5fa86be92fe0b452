"""What the fixture `db` gives a test: a migrated database, connections to it, short ways to ask it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row, tuple_row

from runledger.testing import Database, DatabaseServer
from tests.support.told import Told

# What fsck proves is about these; the partitions of events and logs are among them.
LEDGER = "^(job_(queue|attempts|events|dead_letters|logs|replays|schedules)|workflow_)"

class Db:
    """`conn` is an autocommit connection as superuser; `dsn` connects as the plain role that owns the schema."""

    def __init__(self, database: Database, server: DatabaseServer) -> None:
        self.database = database
        self.server = server
        self.dsn = database.dsn
        self.admin_dsn = database.admin_dsn
        self._opened: list[psycopg.Connection[Any]] = []
        self.told: Told | None = None
        self.conn = self.connect(admin=True)

    def connect(
        self, *, admin: bool = False, role: str | None = None, login: str | None = None, **options: Any
    ) -> psycopg.Connection[Any]:
        """A further connection, closed with the test. `role`: act as that role; `login`: log in as that one."""
        dsn = self.admin_dsn if admin or role else self.dsn
        if login:
            dsn = psycopg.conninfo.make_conninfo(self.admin_dsn, user=login)
        conn = psycopg.connect(dsn, **{"autocommit": True, **options})
        self._opened.append(conn)
        if role:
            conn.execute(psycopg.sql.SQL("set session authorization {}").format(psycopg.sql.Identifier(role)))
        return conn

    def execute(self, query: str, params: Any = None) -> None:
        self.conn.execute(query, params)

    def all(self, query: str, params: Any = None) -> list[dict[str, Any]]:
        return self.conn.cursor(row_factory=dict_row).execute(query, params).fetchall()

    def one(self, query: str, params: Any = None) -> dict[str, Any]:
        rows = self.all(query, params)
        assert len(rows) == 1, f"{len(rows)} rows from: {query}"
        return rows[0]

    def value(self, query: str, params: Any = None) -> Any:
        rows = self.conn.cursor(row_factory=tuple_row).execute(query, params).fetchall()
        assert len(rows) == 1, f"{len(rows)} rows from: {query}"
        assert len(rows[0]) == 1, f"{len(rows[0])} columns from: {query}"
        return rows[0][0]

    def column(self, query: str, params: Any = None) -> list[Any]:
        return [row[0] for row in self.conn.cursor(row_factory=tuple_row).execute(query, params).fetchall()]

    def job(self, job_id: UUID | str) -> dict[str, Any]:
        return self.one("select * from runledger.job_queue where id = %s", [job_id])

    def events(self, job_id: UUID | str) -> list[str]:
        """The event types of a job, oldest first."""
        return self.column(
            "select event_type::text from runledger.job_events where job_id = %s order by id", [job_id]
        )

    def attempts(self, job_id: UUID | str) -> list[dict[str, Any]]:
        return self.all(
            "select * from runledger.job_attempts where job_id = %s order by run_number, attempt", [job_id]
        )

    def findings(self) -> list[tuple[Any, ...]]:
        """What fsck finds; a connection of its own, since the test may have broken the other."""
        with psycopg.connect(self.admin_dsn, autocommit=True) as conn:
            return conn.execute("select * from runledger.fsck()").fetchall()

    def is_untouched(self) -> bool:
        """Whether no row of the ledger was ever written, be it rolled back or deleted: fsck would read empty tables."""
        with psycopg.connect(self.admin_dsn, autocommit=True) as conn:
            row = conn.execute(f"""
                select count(*), sum(pg_relation_size(c.oid)) from pg_class as c
                 where c.relnamespace = 'runledger'::regnamespace and c.relkind = 'r' and c.relname ~ '{LEDGER}'""").fetchone()
        assert row is not None
        assert row[0] >= 11, "the ledger has other tables than it had"
        return bool(row[1] == 0)

    def close(self) -> None:
        for conn in self._opened:
            conn.close()
        self.server.give_back(self.database)
