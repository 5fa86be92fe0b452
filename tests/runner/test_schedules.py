"""Schedules of an app: created when a worker starts, fired by it when they are due, and never in its way."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import psycopg
import pytest

from runledger import App, Client, InvalidArgument, Workflow
from tests.runner.conftest import backends, until

LONG_AGO = datetime(2020, 5, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quiet(db):
    """What a test leaves overdue is no finding of fsck."""
    yield
    db.execute("update runledger.job_schedules set is_active = false")


def stored(db, name="s"):
    return db.one("select * from runledger.job_schedules where name = %s", [name])


def test_a_schedule_above_a_job_starts_that_type():
    app = App()

    @app.schedule("nightly", cron="0 3 * * *", timezone="Europe/Berlin", payload={"n": 1}, max_jitter_seconds=60)
    @app.job("report.build", max_attempts=3)
    def build(job):
        return None

    @app.schedule("hourly", "@hourly", job_type="other")
    @app.schedule("alone", "@daily")
    def alone(job):
        return None

    assert app.job_types == ["alone", "report.build"]
    calls = {call.params["name"]: call.params for call in app.schedules()}
    assert [call.function for call in app.schedules()] == ["upsert_schedule"] * 3
    assert (calls["nightly"]["job_type"], calls["nightly"]["timezone"]) == ("report.build", "Europe/Berlin")
    assert (calls["alone"]["job_type"], calls["hourly"]["job_type"]) == ("alone", "other")
    with pytest.raises(ValueError, match="registered already"):
        app.add_schedule("nightly", "@daily", job_type="report.build")
    with pytest.raises(InvalidArgument):
        app.add_schedule("other", "@daily", job_type="report.build", max_jitter_seconds="long")
    with pytest.raises(TypeError):
        app.add_schedule("other", "@daily", job_type="report.build", jitter=1)


def test_a_worker_creates_its_schedules_and_keeps_what_an_operator_paused(runner):
    runner.app.register("a", lambda job: None)
    runner.app.add_schedule("s", "0 3 * * *", job_type="a", timezone="Europe/Berlin")
    flow = Workflow("flow")
    flow.job("one", "a")
    runner.app.add_schedule("w", "@daily", workflow_type="flow", steps=flow)
    runner.stop(runner.start())
    assert (stored(runner.db)["cron_expr"], stored(runner.db)["timezone"]) == ("0 3 * * *", "Europe/Berlin")
    assert stored(runner.db, "w")["workflow_steps"][0]["job_type"] == "a"
    runner.client.pause_schedule("s", "deploy")
    before = stored(runner.db)
    runner.stop(runner.start())
    assert stored(runner.db) == before


def test_a_worker_fires_what_is_due_and_runs_it(runner):
    seen = []
    runner.app.register("a", lambda job: seen.append((job.payload["n"], job.payload["_schedule"]["schedule_name"])))
    runner.app.add_schedule("s", "@yearly", job_type="a", payload={"n": 1}, next_fire_at=LONG_AGO)
    runner.start(schedule_poll_interval_seconds=3600)
    until(lambda: seen, "the job")
    assert seen == [(1, "s")]
    assert stored(runner.db)["next_fire_at"] > datetime.now(UTC)


def test_a_worker_wakes_at_the_next_fire(runner):
    """Polling once an hour, it still fires every second."""
    seen: list[str] = []
    runner.app.register("a", lambda job: seen.append(job.payload["_schedule"]["scheduled_for"]))
    runner.app.add_schedule("s", "* * * * * *", job_type="a")
    runner.start(schedule_poll_interval_seconds=3600)
    until(lambda: len(seen) >= 3, "three fires")
    assert len(set(seen)) == len(seen)


def test_observers_hear_of_fires(runner):
    heard, told = [], threading.Event()

    class Observer:
        def on_schedule_fired(self, fired):
            heard.append(fired)
            told.set()

    runner.app.register("a", lambda job: None)
    runner.app.add_schedule("s", "@yearly", job_type="a", next_fire_at=LONG_AGO)
    runner.start(observers=(Observer(),))
    assert told.wait(30)
    assert [(f.name, f.scheduled_for, f.disposition) for f in heard] == [("s", LONG_AGO, "FIRED")]


def test_a_type_an_operator_disabled_keeps_no_worker_from_starting(runner):
    runner.app.register("a", lambda job: None)
    runner.app.register("b", lambda job: "fine")
    runner.define()
    runner.client.disable_job_type("a", "broken")
    runner.app.add_schedule("s", "@daily", job_type="a")
    runner.app.add_schedule("t", "@daily", job_type="b")
    runner.start()
    assert runner.finish("b")["output"] == "fine"
    assert runner.db.column("select name from runledger.job_schedules") == ["t"]


def test_what_makes_no_sense_is_told_at_the_start(runner):
    runner.app.register("a", lambda job: None)
    runner.app.add_schedule("s", "61 * * * *", job_type="a")
    with pytest.raises(InvalidArgument) as refused:
        runner.start()
    assert refused.value.code == "job_schedule.invalid_cron"


def test_a_role_that_may_not_create_schedules_goes_on(runner, stranger):
    runner.app.register("a", lambda job: "fine")
    runner.app.add_schedule("s", "@daily", job_type="a")
    runner.define()
    runner.client.grant_access(stranger, "worker")
    runner.start(dsn=psycopg.conninfo.make_conninfo(runner.db.admin_dsn, user=stranger))
    assert runner.finish("a")["output"] == "fine"
    assert runner.db.all("select * from runledger.job_schedules") == []


def test_shutdown_is_bounded_behind_a_locked_table(runner):
    """The scheduler waits for a lock that nobody lets go of: the worker leaves all the same."""
    runner.app.register("a", lambda job: None)
    runner.app.add_schedule("s", "@yearly", job_type="a")
    runner.stop(runner.start())
    with psycopg.connect(runner.db.admin_dsn) as holder:
        holder.execute("lock table runledger.job_schedules in access exclusive mode")
        runner.app._schedules.clear()
        supervisor = runner.start(call_timeout_seconds=60)
        name = f"runledger:{supervisor.config.worker_id}"[:63]
        until(
            lambda: runner.db.value(
                "select count(*) from pg_stat_activity where application_name = %s and wait_event_type = 'Lock'", [name]
            ),
            "the scheduler to wait",
        )
        runner.stop(supervisor)
        until(lambda: not backends(runner.db, supervisor.config.worker_id), "its connections to be closed")


def test_clients_know_the_schedules(db):
    with Client.connect(db.dsn) as client:
        client.define_job("a")
        change = client.upsert_schedule("s", "a", cron="30 2 * * *", timezone="Europe/Berlin", missed="ALL")
        assert (change.disposition, change.is_active) == ("INSERTED", True)
        assert change.next_fire_at == client.next_fire_at("30 2 * * *", "Europe/Berlin") == client.next_schedule_at()
        assert [p.fires_at for p in client.preview_schedule("s", 1)] == [change.next_fire_at]
        assert client.pause_schedule("s", "deploy").disposition == "PAUSED"
        assert client.next_schedule_at() is None
        assert client.resume_schedule("s", LONG_AGO).next_fire_at == LONG_AGO
        client.upsert_schedule("s", "a", cron="30 2 * * *", timezone="Europe/Berlin")
        [fired] = client.fire_due_schedules()
        assert (fired.name, fired.scheduled_for, fired.disposition) == ("s", LONG_AGO, "FIRED")
        assert client.get_job(fired.job_id).scheduled_for == LONG_AGO
        assert client.delete_schedule("s").disposition == "DELETED"
