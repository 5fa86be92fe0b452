"""Clocks that jump, by libfaketime: that of a whole server, forth and back, and those of the workers all the while."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from runledger.testing import DatabaseServer
from tests.chaos import journal
from tests.chaos.journal import MIDWAY, now
from tests.chaos.site import Site, until
from tests.support import servers
from tests.support.database import Db

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
HOUR = 3600
NEAR = timedelta(minutes=30)

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (make test-all insists on it)"),
]


class FakeClock:
    """The clock of processes that are started with `environment`, ahead by so many seconds. Monotonic clocks stay true."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

    def set(self, ahead: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead:+d}\n")
        new.chmod(0o644)
        new.rename(self._file)  # never half written


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "journal").mkdir()
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture
def server_clock(place: Path) -> FakeClock:
    return FakeClock(place / "clock")


@pytest.fixture
def faked(
    server_clock: FakeClock, place: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    with monkeypatch.context() as during:
        for name, value in server_clock.environment.items():
            during.setenv(name, value)
        server = DatabaseServer.start(servers.own(pytestconfig.getoption("--pg")))
    with server:
        db = Db(server.take(), server)
        site = Site(db, place / "journal")
        yield site
        site.close()
        findings = db.all("select * from runledger.fsck() where severity = 'ERROR'")
        db.close()
    # Events are written in the order of the clock: that of one that was set back is not.
    assert [finding for finding in findings if finding["invariant"] != "A5"] == []


def test_the_clock_of_the_server_jumps_an_hour_and_back(faked: Site, server_clock: FakeClock):
    """Ahead, every lease has ended; back, leases and retries of that hour wait for as long as the jump, and fsck names the
    leases. Nothing is lost or counted twice, and all of it ends once the time has come."""
    site = faked
    clock = "select clock_timestamp()"
    start = site.db.value(clock)
    site.worker("one", reaps=True)
    site.worker("two", reaps=True, module="worker")
    site.ended(site.enqueue(200) + site.enqueue(20, "flaky"))

    began = now()
    server_clock.set(HOUR)
    assert (site.db.value(clock) - start).total_seconds() > HOUR
    ahead = site.enqueue(200)
    site.ended(ahead)
    journal.order_death(site.files, "mortal", MIDWAY)
    site.worker("mortal", reaps=False)
    while not site.has_ended("mortal"):
        site.enqueue(20)
    left = site.db.column("select id from runledger.job_queue where worker_id = 'mortal' and status = 'LEASED'")
    later = site.enqueue(20)

    server_clock.set(0)
    site.book.write("ahead", began, now())
    assert (site.db.value(clock) - start).total_seconds() < HOUR
    site.ended(site.enqueue(200))
    held = site.db.column("select id from runledger.job_queue where status = 'LEASED' and id = any (%s)", [left])
    told = site.db.all("select object, repair from runledger.fsck() where invariant = 'J6'")
    found = {row["object"]: row["repair"] for row in told}
    assert {f"job {job}" for job in held} <= set(found), "who set the clock is told which leases last too long"
    for repair in found.values():
        site.db.execute(repair)
    until(
        lambda: site.db.value("select count(*) from runledger.job_queue where id = any (%s) and worker_id = 'mortal'", [held]) == 0,
        "the leases of the dead",
    )  # fmt: skip

    server_clock.set(HOUR + 60)
    site.ended(later)
    verdict = site.verdict(site.calm())
    assert verdict.words == []
    assert site.history().deaths[MIDWAY] == 1


def test_no_clock_of_a_worker_reaches_a_row(db: Db, place: Path):
    """They jump by hours and by days while 500 jobs and more run. Every instant in the ledger is of the server's clock."""
    seed = int(os.environ.get("RUNLEDGER_SEED", "7"))
    print(f"seed {seed}")
    dice = random.Random(seed)
    start = db.value("select clock_timestamp()")
    site = Site(db, place / "journal")
    clocks = [FakeClock(place / f"clock{n}") for n in range(2)]
    try:
        site.worker("one", reaps=True, **clocks[0].environment)
        site.worker("two", reaps=True, module="worker", **clocks[1].environment)
        for batch in itertools.count(1):
            for clock in clocks:
                clock.set(dice.choice((-1, 1)) * dice.choice((3600, 7200, 86400)))
            site.ended(site.enqueue(100) + site.enqueue(5, "flaky"))
            workers = {who.split(".")[0] for who, _ in itertools.chain(*site.history().handed.values())}
            if batch >= 5 and workers == {"one", "two"}:
                break
        assert site.verdict(site.calm()).words == []
    finally:
        site.close()
    columns = db.all(
        "select c.oid::regclass::text as relation, a.attname as column from pg_class as c"
        " join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and a.atttypid = 'timestamptz'::regtype"
        " where c.relnamespace = 'runledger'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition"
    )
    assert len(columns) > 40
    for each in columns:
        low, high = db.conn.execute(
            f"select min({each['column']}), max({each['column']}) from {each['relation']}"
            f" where isfinite({each['column']}) and {each['column']} <> 'epoch'"
        ).fetchone()
        if low is not None and each["relation"] != "runledger._shelves":
            assert low > start - NEAR, each
            assert high < start + NEAR, each
