"""Ledgers that are broken on purpose, with real workers on them: the checker must report each, and nothing where all is whole.

Nothing here waits for luck: a worker stops itself at a point of the protocol, and goes on when the test lets it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from runledger import embedded
from runledger.migrate import migrate
from tests.chaos import checker, journal, storm
from tests.chaos.bare import REAP_SECONDS, TYPES
from tests.chaos.checker import DOUBLE, LOST, STUCK, ZOMBIE, History, Ledger, Verdict
from tests.chaos.journal import MIDWAY, UNSENT, Journal, now
from tests.chaos.producer import ENQUEUE
from tests.support import servers
from tests.support.database import Db

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

LEASE = 1
RECOVERY = LEASE + REAP_SECONDS + 0.3 + storm.EPSILON
PATIENCE = 40.0


def until(check: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := check():
            return answer
        time.sleep(0.01)
    raise TimeoutError(what)


class Site:
    """A ledger, its journal, and workers that are driven by hand."""

    def __init__(self, db: Db, files: Path) -> None:
        self.db, self.files = db, files
        self._book = Journal(files, "producer")
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        db.execute(
            "create table public.transfers (job_id uuid not null, run_number integer not null, lease_token bigint not null)"
        )
        for job_type in TYPES:
            db.execute("select runledger.define_job(%s, max_attempts => 10)", [job_type])

    def enqueue(self, count: int = 1) -> list[str]:
        return enqueue(self.db.conn, self._book, count)

    def worker(self, name: str, *, reaps: bool) -> None:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("JOBS_", "PG", "RUNLEDGER_"))},
            "RUNLEDGER_DSN": self.db.admin_dsn, "PYTHONPATH": str(servers.ROOT), "CHAOS_FILES": str(self.files), "CHAOS_NAME": name,
            "CHAOS_LEASE": str(LEASE), "CHAOS_BATCH": "10", "CHAOS_REAPS": str(int(reaps)),
        }  # fmt: skip
        self._workers[name] = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.bare"], env=environment, cwd=servers.ROOT, stdin=subprocess.PIPE
        )

    def freeze(self, name: str, point: str) -> None:
        """Start a worker that stops there with its first claim, and wait until its lease is over."""
        journal.order_freeze(self.files, name, point)
        self.worker(name, reaps=False)
        stat = Path(f"/proc/{self._workers[name].pid}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", f"{name} stops")
        until(
            lambda: self.db.value(
                "select coalesce(bool_and(lease_expires_at < clock_timestamp()), false) from runledger.job_queue where status = 'LEASED'"
            ),
            "the end of its leases",
        )

    def wake(self, name: str) -> None:
        """Let it go on, until it has been told something about what it had done."""
        self._workers[name].send_signal(signal.SIGCONT)
        until(lambda: any(end.worker.startswith(name) for end in self.history().finishes), f"an answer to {name}")

    def dead(self, name: str) -> None:
        until(lambda: self._workers[name].poll() is not None, f"the end of {name}")

    def ended(self, jobs: list[str]) -> None:
        until(
            lambda: self.db.value(
                "select bool_and(status = 'SUCCEEDED') from runledger.job_queue where id = any (%s)", [jobs]
            ),
            "the ends of the jobs",
        )

    def history(self) -> History:
        return checker.read(self.files)

    def calm(self) -> list[str]:
        return storm.wait_for_calm(self.db.all, RECOVERY)

    def verdict(self, stuck: list[str]) -> Verdict:
        self.close()
        return checker.check(self.history(), Ledger.of(self.db.conn), stuck)

    def close(self) -> None:
        for process in self._workers.values():
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
        self._workers.clear()


def enqueue(conn: psycopg.Connection[Any], book: Journal, count: int) -> list[str]:
    """Jobs whose keys and ids go into the journal once they are acknowledged."""
    keys = [f"{now()}-{n}" for n in range(count)]
    sent = now()
    rows = conn.execute(
        ENQUEUE.encode(), [json.dumps([{"job_type": "plain", "idempotency_key": key} for key in keys])]
    ).fetchall()
    jobs = [str(row[0]) for row in rows]
    book.write("enqueue", sent, now(), list(zip(keys, jobs, strict=True)))
    return jobs


@pytest.fixture
def site(db: Db, tmp_path: Path) -> Iterator[Site]:
    site = Site(db, tmp_path)
    yield site
    site.close()


FENCES = {
    "_succeed_jobs": "and q.status = 'LEASED'\n       and coalesce(q.lease_token, 0) = a.lease_token\n       and q.lease_expires_at > runledger._now() and",
    "_judge_outcomes": "coalesce(q.status = 'LEASED' and q.lease_token = a.lease_token\n             and q.lease_expires_at > _judge_outcomes.now\n             and",
}  # fmt: skip


def remove_fence(db: Db) -> None:
    """Completions by id alone, as many queues have them: token, status and expiry are not looked at."""
    for function, fence in FENCES.items():
        text = db.value(f"select pg_get_functiondef('runledger.{function}'::regproc)")
        assert text.count(fence) == 1, function
        db.execute(text.replace(fence, "coalesce(true or" if fence.startswith("coalesce") else "and"))


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
    assert len(checker.recoveries(site.history())) == 1


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
