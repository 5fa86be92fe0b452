"""A real notification queue, filled to the brim by a listener that sits in a transaction."""

from __future__ import annotations

import time

import psycopg
import pytest

from runledger import embedded
from runledger.migrate import migrate
from tests.support import servers


@pytest.fixture
def small_queue():
    """A server whose notification queue holds 64 pages; only PostgreSQL 17 and newer can be told so."""
    with embedded.Server(servers.bindir("18"), settings={**embedded.FAST, "max_notify_queue_pages": "64"}) as server:
        yield server


def test_a_full_notification_queue_fails_no_enqueue_and_heals(small_queue: embedded.Server):
    dsn = small_queue.dsn("postgres")
    migrate(dsn)
    with (
        psycopg.connect(dsn, autocommit=True) as conn,
        psycopg.connect(dsn, autocommit=True) as stuck,
        psycopg.connect(dsn, autocommit=True) as filler,
    ):
        conn.execute("select runledger.define_job('t')")
        conn.execute("select runledger.register_worker('w', '{t}')")
        conn.execute("select runledger.idle_worker('w', now() + interval '50 minutes')")
        stuck.execute("listen other")
        stuck.execute("begin")
        stuck.execute("select 1")

        def usage() -> float:
            row = conn.execute("select pg_notification_queue_usage()").fetchone()
            assert row is not None
            return float(row[0])

        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            for _ in range(10_000):
                filler.execute("select pg_notify('other', repeat('x', 7000)) from generate_series(1, 20)")
        assert usage() > 0.9
        # Whoever notifies fails now; who enqueues does not.
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            filler.execute("select pg_notify('other', repeat('x', 7000)) from generate_series(1, 20)")
        for _ in range(3):
            conn.execute("select runledger.enqueue_job('t')")
        conn.execute('select * from runledger.enqueue_jobs(\'[{"job_type": "t"}]\')')
        claimed = conn.execute("select job_id, lease_token from runledger.claim_jobs('w', '{t}', 10)").fetchall()
        assert len(claimed) == 4
        conn.execute("select runledger.release_job(%s, %s, 'r')", claimed[0])
        conn.execute("select * from runledger.run_maintenance()")
        stuck.execute("commit")
        listener = psycopg.connect(dsn, autocommit=True)
        listener.execute("listen runledger_wake")
        # Once nobody holds it, asking for the usage moves the queue on; and wake-ups are sent again.
        deadline = time.monotonic() + 30
        while usage() > 0.4:
            assert time.monotonic() < deadline
            conn.execute("select * from runledger.run_maintenance()")
            stuck.execute("select 1")
        conn.execute("select runledger.enqueue_job('t')")
        notes = list(listener.notifies(timeout=30, stop_after=1))
        assert [n.channel for n in notes] == ["runledger_wake"]
        listener.close()
