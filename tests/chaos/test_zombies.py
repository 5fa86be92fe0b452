"""Ledgers that are broken on purpose, with real workers on them: the checker must report each, and nothing where all is whole."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from runledger import embedded
from runledger.migrate import migrate
from tests.chaos import checker, journal
from tests.chaos.checker import DOUBLE, LOST, STUCK, ZOMBIE, Ledger, Verdict
from tests.chaos.journal import MIDWAY, UNSENT, Journal
from tests.chaos.site import Site, enqueue, until
from tests.support import servers
from tests.support.database import Db

pytestmark = [pytest.mark.chaos, pytest.mark.slow]


@pytest.fixture
def site(db: Db, tmp_path: Path) -> Iterator[Site]:
    site = Site(db, tmp_path)
    yield site
    site.close()


FENCES = {
    "_plain_successes": (r"\(q.status = 'LEASED' and q.lease_token = i.lease_token\)", "(q.ctid is not null)"),
    "_succeed_jobs": (
        r"and q.status = 'LEASED'\s+and coalesce\(q.lease_token, 0\) = a.lease_token\s+and q.lease_expires_at > runledger._now\(\)\s+and",
        "and",
    ),
    "_judge_outcomes": (
        r"coalesce\(q.status = 'LEASED' and q.lease_token = a.lease_token\s+and q.lease_expires_at > _judge_outcomes.now\s+and",
        "coalesce(true or",
    ),
}


def remove_fence(db: Db) -> None:
    """Completions by id alone, as many queues have them: token, status and expiry are not looked at."""
    for function, (fence, instead) in FENCES.items():
        text, count = re.subn(fence, instead, db.value(f"select pg_get_functiondef('runledger.{function}'::regproc)"))
        assert count == 1, function
        db.execute(text)


def late_finish(site: Site) -> Verdict:
    """A worker stops before it says that it is done; another one gets the job and ends it; then the first goes on."""
    jobs = site.enqueue()
    site.freeze("zombie", UNSENT)
    site.worker("heir", reaps=True)
    site.ended(jobs)
    site.wake("zombie")
    return site.verdict(site.calm())


def test_a_zombie_is_refused_and_nothing_is_reported(site: Site):
    verdict = late_finish(site)
    assert verdict.words == []
    assert [e.disposition for e in site.history().finishes if e.worker.startswith("zombie")] == ["LEASE_LOST"]
    assert len(checker.recoveries(site.history(), Ledger.of(site.db.conn))) == 1


@pytest.mark.corrupts
def test_without_the_fence_a_zombie_is_reported(site: Site):
    remove_fence(site.db)
    verdict = late_finish(site)
    assert (verdict.counts[ZOMBIE], verdict.counts[DOUBLE]) == (1, 1), verdict.words
    assert site.db.findings(), "fsck sees it as well"


def a_death(site: Site, *, reaps: bool) -> Verdict:
    """A worker dies in its handlers; another one has all that comes later."""
    journal.order_death(site.files, "mortal", MIDWAY)
    site.enqueue(3)
    site.worker("mortal", reaps=False)
    site.dead("mortal")
    site.worker("heir", reaps=reaps)
    site.ended(site.enqueue(5))
    return site.verdict(site.calm())


def test_with_a_reaper_nothing_is_stuck(site: Site):
    assert a_death(site, reaps=True).words == []


def test_without_a_reaper_what_is_stuck_is_reported(site: Site):
    verdict = a_death(site, reaps=False)
    assert dict(verdict.counts) == {STUCK: 3}


@pytest.mark.corrupts
def test_an_event_that_is_not_written_is_reported(site: Site):
    site.db.execute("create function public.lose() returns trigger language plpgsql as 'begin return null; end'")
    site.db.execute(
        "create trigger lose before insert on runledger.job_events for each row when (new.event_type = 'SUCCEEDED')"
        " execute function public.lose()"
    )
    jobs = site.enqueue()
    site.worker("w", reaps=True)
    site.ended(jobs)
    until(lambda: site.history().finishes, "the acknowledgement")
    assert dict(site.verdict(site.calm()).counts) == {LOST: 1}
    assert site.db.findings(), "fsck sees it as well"


@pytest.mark.parametrize(("setting", "lost"), [("on", 0), ("off", 5)])
def test_acknowledged_work_that_a_crash_takes_is_reported(
    pytestconfig: pytest.Config, tmp_path: Path, setting: str, lost: int
):
    """With synchronous_commit = off the answer comes before the WAL is written: the process that would write it is stopped."""
    book = Journal(tmp_path, "producer")
    with embedded.Server(servers.own(pytestconfig.getoption("--pg"))) as server:
        migrate(server.dsn())
        with psycopg.connect(server.dsn(), autocommit=True) as conn:
            conn.execute(
                "create table public.transfers (job_id uuid not null, run_number integer not null, lease_token bigint not null)"
            )
            conn.execute("select runledger.define_job('plain')")
            writer = conn.execute("select pid from pg_stat_activity where backend_type = 'walwriter'").fetchone()[0]
            conn.execute(f"set synchronous_commit = {setting}".encode())
            os.kill(writer, signal.SIGSTOP)
            assert len(enqueue(conn, book, 5)) == 5
            os.kill(server.pid, signal.SIGKILL)
            os.kill(writer, signal.SIGKILL)
        server.restart("kill")
        with psycopg.connect(server.dsn(), autocommit=True) as conn:
            verdict = checker.check(checker.read(tmp_path), Ledger.of(conn))
            assert verdict.counts[LOST] == lost, verdict.words
            with conn.cursor(row_factory=dict_row) as cursor:
                assert cursor.execute("select * from runledger.fsck()").fetchall() == [], "what is there is sound"
