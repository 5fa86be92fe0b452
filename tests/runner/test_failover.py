"""Fail-over for real: a primary that dies, a standby that is promoted, a worker that knows both."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from runledger import App, Client
from runledger.config import Config
from runledger.migrate import migrate
from runledger.supervisor import Supervisor
from tests.runner.conftest import until
from tests.support import servers
from tests.support.standby import Pair

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


@pytest.fixture
def pair(pytestconfig) -> Iterator[Pair]:
    pair = Pair(servers.own(pytestconfig.getoption("--pg")))
    yield pair
    pair.close()


def test_a_worker_follows_to_the_new_primary_and_no_token_comes_twice(pair):
    migrate(pair.first.dsn())
    app, ran = App(), []

    @app.job("a")
    def work(job):
        ran.append(job.job_id)

    config = Config(poll_interval_ms=100, lease_ttl_seconds=10, reaper_interval_seconds=0.5, reaper_retry_delay_ms=1000)
    with Client.connect(pair.dsn, target_session_attrs="read-write") as client:
        client.define_job("a")
        before = [client.enqueue_job("a", {"n": n}).job_id for n in range(50)]
        with Supervisor(app, pair.dsn, config=config):
            until(lambda: set(before) <= set(ran), "the first fifty")
            until(lambda: all(s.status == "SUCCEEDED" for s in client.job_statuses(before)), "their ends")
            until(pair.caught_up, "the standby")
            with psycopg.connect(pair.second.dsn(), autocommit=True) as standby:
                # Reads go to the standby as they are.
                assert standby.execute("select count(*) from runledger.jobs").fetchone() == (50,)
                assert standby.execute("select count(*) from runledger.health()").fetchone() != (0,)
                assert standby.execute("select count(*) from runledger.fsck('fast')").fetchone() == (0,)
            pair.first.halt("immediate")
            pair.promote()
            with Client.connect(pair.dsn, target_session_attrs="read-write") as after:
                highest = after.list_job_attempts(before[-1])[0]
                assert highest.disposition == "SUCCEEDED"
                assert "upkeep.timeline" in [c.code for c in after.health() if c.level == "CRIT"]
                new = [after.enqueue_job("a", {"n": n}).job_id for n in range(50)]
                until(
                    lambda: all(s.status == "SUCCEEDED" for s in after.job_statuses(new)), "the jobs of the new primary"
                )
                after.run_maintenance()
                assert "upkeep.timeline" not in [c.code for c in after.health() if c.level != "OK"]
                assert [f for f in after.fsck() if f.severity == "ERROR"] == []
                after.enqueue_job("a")
    with psycopg.connect(pair.second.dsn(), autocommit=True) as conn:
        tokens = [row[0] for row in conn.execute("select lease_token from runledger.job_attempts").fetchall()]
        assert len(tokens) == len(set(tokens)) >= 100
        # Upkeep lifted the sequence over whatever the lost primary may have drawn.
        assert conn.execute("select last_value >= 2^32 from runledger.lease_token_seq").fetchone() == (True,)
