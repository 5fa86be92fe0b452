"""health on a standby, and on its primary: who holds the horizon besides sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from runledger import embedded
from runledger.migrate import migrate
from runledger.testing import DatabaseServer
from tests.support.standby import base_backup, follow

pytestmark = pytest.mark.slow
PRIMARY = {**embedded.FAST, "wal_level": "replica", "max_wal_senders": "4", "max_prepared_transactions": "4"}
STANDBY = {
    **PRIMARY,
    "hot_standby_feedback": "on",
    "wal_receiver_status_interval": "1s",
    "max_standby_streaming_delay": "-1",
}


@pytest.fixture
def pair(pg: DatabaseServer, tmp_path: Path) -> Iterator[tuple[embedded.Server, embedded.Server]]:
    """A primary with the schema, owned by a plain role, and a standby that follows it through a slot."""
    assert pg.server is not None
    with embedded.Server(pg.server.bindir, settings=PRIMARY) as primary:
        with psycopg.connect(primary.dsn(), autocommit=True) as conn:
            conn.execute("create role owner login")
            conn.execute("create database jobs owner owner")
        migrate(primary.dsn("jobs", "owner"))
        with psycopg.connect(primary.dsn(), autocommit=True) as conn:
            conn.execute("select pg_create_physical_replication_slot('standby', true)")
        copy = base_backup(primary)
        follow(copy, primary, slot="standby")
        with embedded.Server(primary.bindir, data=copy, settings=STANDBY) as standby:
            yield primary, standby


def health(conn: psycopg.Connection[Any]) -> dict[str, dict[str, Any]]:
    rows = conn.cursor(row_factory=dict_row).execute("select * from runledger.health()").fetchall()
    return {row["code"]: row for row in rows}


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what


def bounds(conn: psycopg.Connection[Any], code: str, warn: str) -> None:
    """Warn earlier than the constant says."""
    row = conn.execute("select pg_get_functiondef('runledger._health_bounds()'::regprocedure)").fetchone()
    assert row is not None
    name, _, rest = row[0].partition(f"('{code}', ")
    conn.execute(f"{name}('{code}', {warn},{rest.partition(',')[2]}".encode())


def test_standbys_slots_and_prepared_transactions(pair: tuple[embedded.Server, embedded.Server]):
    primary, standby = pair
    with (
        psycopg.connect(primary.dsn("jobs", "owner"), autocommit=True) as owner,
        psycopg.connect(standby.dsn("jobs", "owner"), autocommit=True) as reader,
        psycopg.connect(standby.dsn("jobs", "owner")) as report,
    ):
        # A standby is asked the same questions; what only a primary knows is well there.
        seen = health(reader)
        assert seen.keys() == health(owner).keys()
        assert [row for row in seen.values() if row["level"] != "OK"] == []

        # Its reader holds the horizon of the primary, through the slot.
        report.execute("set transaction isolation level repeatable read")
        report.execute("select count(*) from runledger.job_queue")
        bounds(owner, "server.horizon", "20")

        def held() -> bool:
            for _ in range(10):
                owner.execute("select pg_current_xact_id()")
            return health(owner)["server.horizon"]["level"] == "WARN"

        until(held, "the feedback of the standby never came")
        found = health(owner)["server.horizon"]
        assert found["detail"]["kind"] == "slot"
        assert "Replication slot 'standby', in use by process" in found["explanation"]
        assert found["fix"] == "select pg_drop_replication_slot('standby');"
        report.rollback()
        until(lambda: health(owner)["server.horizon"]["level"] == "OK", "the slot still holds it")

        # A prepared transaction outlives its session, and the fix ends it.
        with psycopg.connect(primary.dsn("jobs", "owner"), autocommit=True) as gone:
            gone.execute("begin")
            gone.execute("select pg_current_xact_id()")
            gone.execute("prepare transaction 'it''s forgotten'")
        bounds(owner, "server.snapshot", "0")
        found = health(owner)["server.snapshot"]
        assert (found["level"], found["detail"]["kind"]) == ("WARN", "prepared")
        assert "Prepared transaction 'it''s forgotten' of role owner" in found["explanation"]
        owner.execute(found["fix"])
        assert health(owner)["server.snapshot"]["detail"]["kind"] != "prepared"
