"""From each released schema to a further one, with data in every state, leases held by a worker, and load all the while.

The step is one that stands for those to come: a migration adds a column and lengthens a result type, and the functions that
use them are replaced. The worker and the producers are older than it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self

import psycopg
import pytest

import runledger.migrate as m
from runledger import App, Client, Failure
from runledger.config import Config
from runledger.migrate import migrate
from runledger.supervisor import Supervisor
from tests.runner.conftest import Gate
from tests.support import freeze
from tests.support.catalog import snapshot
from tests.support.database import Db
from tests.support.waiting import until

pytestmark = pytest.mark.slow

CHANGE = """
alter table runledger.job_queue add column mark text not null default 'none';
comment on column runledger.job_queue.mark is 'Added by a test.';
alter type runledger.claimed_job add attribute mark text;
"""
USES = {
    "claim_jobs": ("l.created_at\n    from leased as l", "l"),
    "leased_jobs": ("q.created_at\n    from runledger", "q"),
}


@pytest.fixture
def later(tree, monkeypatch):
    """The tree of a later release."""
    monkeypatch.setattr(m, "package_version", lambda: "99.0.0")
    number = len(m._load().migrations) + 1
    tree.write(f"migrations/{number:04}_mark.sql", CHANGE)
    for function, (end, alias) in USES.items():
        path = tree.root / f"functions/jobs/{function}.sql"
        text = path.read_text()
        assert text.count(end) == 1, function
        # Whatever columns the query before it hands on.
        mark = f"(select m.mark from runledger.job_queue as m where m.id = {alias}.id)"
        path.write_text(text.replace(end, end.replace("created_at", f"created_at, {mark}")))
    tree.add_function()
    return tree


@pytest.fixture(params=freeze.versions())
def old(empty_db: Db, request) -> Iterator[Db]:
    """A database as that release installs it, by its script."""
    script = freeze.script(request.param)
    with psycopg.connect(empty_db.dsn) as conn:
        conn.execute(script.encode())
    yield empty_db
    assert empty_db.findings() == []


def states(db: Db) -> Counter[str]:
    return Counter(db.column("select status::text from runledger.job_queue"))


def settle(client: Client) -> dict[str, Any]:
    """Jobs and runs in every state; what has to end after the upgrade is returned."""
    for name in ("done", "dead", "waits", "left", "paused", "held", "step", "busy"):
        client.define_job(name, max_attempts=3, retry_base_ms=50, retry_max_ms=50)
    client.enqueue_jobs([{"job_type": "done", "idempotency_key": f"k{n}"} for n in range(5)])
    for lease in client.claim_jobs("before", ["done"], max_jobs=5):
        client.succeed_job(lease.job_id, lease.lease_token, output={"n": 1})
    client.enqueue_job("dead", {"n": 1})
    (lease,) = client.claim_jobs("before", ["dead"])
    client.fail_job(lease.job_id, lease.lease_token, error_code="a.b", error_message="no", kind="TERMINAL")
    canceled = client.enqueue_job("done").job_id
    client.cancel_job(canceled, reason="not wanted")
    stopping = client.enqueue_job("done").job_id
    client.claim_jobs("before", ["done"], lease_seconds=3600)
    client.cancel_job(stopping, reason="while it runs")
    retried = client.enqueue_job("waits").job_id
    (lease,) = client.claim_jobs("before", ["waits"])
    client.fail_job(lease.job_id, lease.lease_token, error_code="a.b", error_message="later", kind="RETRYABLE")
    left = client.enqueue_job("left").job_id
    client.claim_jobs("gone", ["left"], lease_seconds=1)
    client.enqueue_job("paused")
    client.pause_job_type("paused", reason="an upgrade must not resume it")
    client.set_runtime_config("busy", {"a": 1})
    client.upsert_schedule("each second", "busy", cron="* * * * * *")
    client.upsert_schedule("never", "busy", cron="0 0 1 1 *")
    client.pause_schedule("never", reason="kept")
    steps = [
        {"key": "one", "job_type": "done"},
        {"key": "two", "job_type": "step", "after_success": ["one"]},
        {"key": "gate", "external": True},
        {"key": "three", "job_type": "step", "after_success": ["two", "gate"]},
    ]
    run = client.enqueue_workflow("half", steps, idempotency_key="half")
    (lease,) = client.claim_jobs("before", ["done"])
    client.succeed_job(lease.job_id, lease.lease_token)
    return {"run": run.workflow_run_id, "jobs": [retried, left]}


class Load:
    """Producers that do not stop for anything."""

    def __init__(self, dsn: str) -> None:
        self._dsn, self._over = dsn, threading.Event()
        self.sent: list[int] = []
        self.errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with Client.connect(self._dsn) as client:
                while not self._over.is_set():
                    n = len(self.sent)
                    client.enqueue_jobs([{"job_type": "busy", "payload": {"n": n + i}} for i in range(10)])
                    self.sent += range(n, n + 10)
        except BaseException as error:
            self.errors.append(error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def handlers(ran: Counter[int], gate: Gate, held: list[Any]) -> App:
    app = App()
    app.register("busy", lambda job: ran.update([job.payload["n"]] if "n" in job.payload else []))
    app.register("waits", lambda job: None)
    app.register("left", lambda job: None)
    app.register("step", lambda job: job.step_key)

    @app.job("held")
    async def hold(job):
        held.append(job.lease_token)
        await gate.pass_()
        if job.attempt == 1 and job.payload["n"] == 0:
            raise Failure.retryable("a.b", "once more")

    return app


def test_a_released_schema_is_upgraded_under_load(old: Db, pg, later):
    ran: Counter[int] = Counter()
    gate, held = Gate(), []
    with Client.connect(old.dsn) as client:
        begun = settle(client)
        before = client.list_jobs(max_rows=1000)
        holds = [client.enqueue_job("held", {"n": n}).job_id for n in range(5)]
        config = Config(
            poll_interval_ms=50, lease_ttl_seconds=60, reaper_interval_seconds=0.5, reaper_retry_delay_ms=50
        )
        with Supervisor(handlers(ran, gate, held), old.dsn, config=config) as worker, Load(old.dsn) as load:
            until(lambda: len(held) == 5 and sum(ran.values()) > 100, "work in flight")
            done = migrate(old.dsn)
            assert (done.shelf_applied, len(done.applied)) == (True, 1)
            after = sum(ran.values())
            assert states(old)["LEASED"] >= 5, "the leases of the worker live on"
            until(lambda: sum(ran.values()) > after + 100 or worker._error, "work goes on")
            assert worker._error is None
            gate.open()
            until(lambda: {s.status for s in client.job_statuses(holds)} == {"SUCCEEDED"}, "what was held")
            until(lambda: {s.status for s in client.job_statuses(begun["jobs"])} == {"SUCCEEDED"}, "what was begun")
            client.complete_external_step(begun["run"], "gate", outcome="SUCCEEDED")
            until(lambda: client.get_workflow(begun["run"]).status == "SUCCEEDED", "the run that was half done")
            client.pause_schedule("each second", reason="the end")
            load.__exit__()
            until(lambda: not client.list_jobs(job_type="busy", status="PENDING", max_rows=1), "the rest of the load")
        assert load.errors == []
        assert {n: ran[n] for n in load.sent} == dict.fromkeys(load.sent, 1), "each once"
        assert sorted(held)[:5] == held[:5]
        assert len(held) == 6, "five leases, one retry: none was lost by the upgrade"
        assert migrate(old.dsn, check=True).status == "CURRENT"
        # What was finished, and what nobody has touched, is as it was.
        kept = {job.job_id: job for job in before if job.job_id not in begun["jobs"] and job.job_type != "step"}
        assert len(kept) >= 9
        assert {i: client.get_job(i).status for i in kept} == {i: job.status for i, job in kept.items()}
        assert client.enqueue_job("done", idempotency_key="k0").disposition == "EXISTING"
        assert client.get_schedule("never").is_active is False
        assert client.get_job_definition("paused").is_paused
    # The new function sees the new column, in rows of before too.
    mark = old.column("select mark from runledger.leased_jobs('before')")
    assert mark == [] or set(mark) == {"none"}
    client_of_later = old.all("select job_id, mark from runledger.claim_jobs('later', '{busy,held}', 1)")
    assert all(row["mark"] == "none" for row in client_of_later)
    fresh = Db(pg.create_empty(), pg)
    migrate(fresh.dsn)
    upgraded, installed = snapshot(old.conn), snapshot(fresh.conn)
    fresh.close()
    assert upgraded == installed


def test_an_upgrade_that_fails_leaves_the_released_schema_at_work(old: Db, later):
    """The last function cannot be made: neither table nor function of the later release is there."""
    later.write(
        "functions/core/zzz.sql", "create function runledger.zzz() returns nothing language sql as 'select 1';\n"
    )
    before = snapshot(old.conn)
    with pytest.raises(m.FileFailed):
        migrate(old.dsn)
    assert snapshot(old.conn) == before
    with Client.connect(old.dsn) as client:
        client.define_job("a")
        client.enqueue_job("a")
        (lease,) = client.claim_jobs("w", ["a"])
        client.succeed_job(lease.job_id, lease.lease_token)
