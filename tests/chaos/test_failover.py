"""A primary dies under load while its standby is behind; the standby is promoted. What was acknowledged is compared.

With a synchronous standby nothing that was acknowledged may be missing. With an asynchronous one the last moments are: exactly
what the old primary has and the new one has not, and no more than that; the ledger is sound on either side, and no token is
given out a second time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from runledger.migrate import migrate
from tests.chaos import checker, storm
from tests.chaos.bare import REAP_SECONDS, TYPES
from tests.chaos.checker import DOUBLE, LOST, RECORDED, History, Ledger
from tests.chaos.journal import Journal
from tests.chaos.producer import Producer
from tests.support import servers, waiting
from tests.support.standby import Pair

pytestmark = [pytest.mark.chaos, pytest.mark.soak, pytest.mark.timeout(300)]

LEASE = 3
GAP = 1 << 20
"""Bytes of WAL. What is still on its way to the standby when it is cut off gets there: that is less."""
CYCLES = range(20)


class Cluster:
    def __init__(self, pair: Pair, files: Path, seed: int) -> None:
        self.pair, self.files, self._seed = pair, files, seed
        self._workers: list[subprocess.Popen[bytes]] = []
        migrate(pair.first.dsn())
        with psycopg.connect(pair.first.dsn(), autocommit=True) as conn:
            conn.execute(
                "create table public.transfers (job_id uuid not null, run_number integer not null, lease_token bigint not null)"
            )
            for job_type in TYPES:
                conn.execute(
                    "select runledger.define_job(%s, max_attempts => 1000, retry_base_ms => 20, retry_max_ms => 200)",
                    [job_type],
                )

    def start(self) -> None:
        dsn = f"{self.pair.dsn} target_session_attrs=read-write"
        for n in range(2):
            environment = {
                **{k: v for k, v in os.environ.items() if not k.startswith(("JOBS_", "PG", "RUNLEDGER_"))},
                "RUNLEDGER_DSN": dsn, "PYTHONPATH": str(servers.ROOT), "CHAOS_FILES": str(self.files), "CHAOS_NAME": f"bare{n}",
                "CHAOS_LEASE": str(LEASE), "CHAOS_BATCH": "50", "CHAOS_REAPS": "1",
            }  # fmt: skip
            self._workers.append(subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.bare"], env=environment, cwd=servers.ROOT, stdin=subprocess.PIPE
            ))  # fmt: skip
        self._producer = Producer(
            dsn, Journal(self.files, "producer"), jobs=1 << 30, burst=0, hold=self.files / "hold", seed=self._seed
        )
        self._thread = threading.Thread(target=self._producer.run, daemon=True)
        self._thread.start()

    def signal(self, number: int) -> None:
        for worker in self._workers:
            worker.send_signal(number)

    def history(self) -> History:
        return checker.read(self.files)

    def ends(self) -> int:
        return len(self.history().finishes)

    def calm(self) -> list[str]:
        self._producer.stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        (self.files / "calm").touch()
        return storm.wait_for_calm(
            lambda query: rows(self.pair.second.dsn(), query), LEASE + REAP_SECONDS + 0.3 + storm.EPSILON
        )

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()
            if worker.stdin:
                worker.stdin.close()
        self._workers.clear()
        self.pair.close()


def rows(dsn: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as conn:
        return conn.execute(query.encode()).fetchall()


def ledger_of(dsn: str) -> Ledger:
    with psycopg.connect(dsn, autocommit=True) as conn:
        errors = conn.execute("select * from runledger.fsck() where severity = 'ERROR'").fetchall()
        assert errors == []
        return Ledger.of(conn)


def until(check: Callable[[], Any], what: str) -> None:
    def holds() -> Any:
        # A standby cancels what stands in the way of its recovery.
        with contextlib.suppress(psycopg.errors.SerializationFailure):
            return check()

    waiting.until(holds, what)


@pytest.fixture
def cluster(pytestconfig: pytest.Config, tmp_path: Path, cycle: int) -> Iterator[Cluster]:
    seed = int(os.environ.get("RUNLEDGER_SEED", "20260101")) + cycle
    print(f"seed {seed}")
    cluster = Cluster(Pair(servers.own(pytestconfig.getoption("--pg"))), tmp_path, seed)
    yield cluster
    cluster.close()


@pytest.mark.parametrize("cycle", CYCLES)
def test_a_synchronous_standby_has_all_that_was_acknowledged(cluster: Cluster):
    pair = cluster.pair
    until(pair.caught_up, "the standby")
    pair.wait_for_standby()
    cluster.start()
    until(lambda: cluster.ends() > 300, "work")
    receiver = pair.freeze_receiver()
    until(lambda: pair.waiting() >= 2, "commits that wait for the standby")
    pair.first.halt("kill")
    os.kill(receiver, signal.SIGCONT)
    pair.promote()
    before = cluster.ends()
    until(lambda: cluster.ends() > before + 300, "work at the new primary")
    rows(pair.second.dsn(), "select * from runledger.run_maintenance()")
    stuck = cluster.calm()
    verdict = checker.check(cluster.history(), ledger_of(pair.second.dsn()), stuck)
    assert verdict.words == []
    assert cluster.history().unknown, "nobody was left without an answer: nothing was tried"


@pytest.mark.parametrize("cycle", CYCLES)
def test_an_asynchronous_standby_lacks_its_gap_and_nothing_else(cluster: Cluster):
    pair = cluster.pair
    cluster.start()
    until(lambda: cluster.ends() > 300, "work")
    until(pair.caught_up, "the standby")
    receiver = pair.freeze_receiver()
    until(lambda: pair.behind() > GAP, "a standby that is behind")
    # As the guide says: tokens are lifted before workers are let in.
    cluster.signal(signal.SIGSTOP)
    pair.first.halt("kill")
    os.kill(receiver, signal.SIGCONT)
    pair.promote()
    rows(pair.second.dsn(), "select * from runledger.run_maintenance()")
    cluster.signal(signal.SIGCONT)
    before = cluster.ends()
    until(lambda: cluster.ends() > before + 300, "work at the new primary")
    stuck = cluster.calm()
    history, new = cluster.history(), ledger_of(pair.second.dsn())
    cluster.signal(signal.SIGSTOP)
    pair.second.halt("immediate")
    pair.first.restart("kill")
    old = ledger_of(pair.first.dsn())

    accepted = {job for jobs in history.enqueued.values() for job in jobs}
    lost_jobs, lost_runs = accepted - new.jobs.keys(), history.runs - new.runs.keys()
    lost_ends = [
        end for end in history.finishes
        if end.disposition in RECORDED
        and (end.job, end.disposition) != (new.attempts.get(end.token, ("", 0, None))[0], new.attempts.get(end.token, ("", 0, None))[2])
    ]  # fmt: skip
    assert lost_jobs or lost_ends, "nothing was lost: there was no gap"
    assert lost_jobs <= old.jobs.keys(), "the old primary has all that is missing"
    assert lost_runs <= old.runs.keys()
    assert all(old.attempts[end.token][2] == end.disposition for end in lost_ends)
    verdict = checker.check(history, new, stuck)
    assert set(verdict.counts) <= {LOST, DOUBLE}, verdict.words
    assert verdict.counts[LOST] == len(lost_jobs) + len(lost_runs) + len(lost_ends), verdict.words
    assert verdict.counts[DOUBLE] <= len(lost_ends), "whose end was lost ran again, and nothing else"
    assert max(new.successes.values()) == 1
    lifted = {token for token in history.handed if token >= 1 << 32}
    assert lifted
    assert history.handed.keys() - lifted <= old.attempts.keys(), "no token of the old primary is given out again"
    print(
        f"lost with the gap: {len(lost_jobs)} jobs, {len(lost_runs)} workflows, {len(lost_ends)} completions of {len(history.finishes)}"
    )
