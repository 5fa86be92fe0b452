"""Registering handlers, and defining their types in the database."""

from __future__ import annotations

from datetime import timedelta

import pytest

from runledger import App, Client, InvalidArgument
from runledger.supervisor import Supervisor


async def handler(job):
    return None


def other(job):
    return None


def test_types_are_sorted_and_know_their_handlers():
    app = App()
    app.register("b", other)
    app.job("a")(handler)
    assert app.job_types == ["a", "b"]
    assert (app["a"].handler, app["a"].is_async) == (handler, True)
    assert (app["b"].handler, app["b"].is_async) == (other, False)
    assert app.get("c") is None


def test_a_second_handler_is_refused_and_the_first_kept():
    app = App()
    app.register("a", handler)
    with pytest.raises(ValueError, match="registered already"):
        app.register("a", other)
    with pytest.raises(ValueError, match="registered already"):
        app.job("a")(other)
    assert app["a"].handler is handler
    app.register("a", other, replace=True)
    assert app["a"].handler is other


def test_an_object_with_an_async_call_is_async():
    class Handler:
        async def __call__(self, job):
            return None

    app = App()
    assert app.register("a", Handler()).is_async


@pytest.mark.parametrize(
    "options",
    [{"retry_delays": {"busy": 0}}, {"retry_delays": {"busy": -1}}, {"retry_base": 0}, {"retry_max": timedelta(0)},
     {"on_exception": "ignore"}],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options):
    app = App()
    with pytest.raises(ValueError):
        app.register("a", handler, **options)
    assert app.job_types == []


def test_what_cannot_be_sent_is_refused_when_it_is_registered():
    with pytest.raises(InvalidArgument):
        App().register("a", handler, timeout=1.5)
    with pytest.raises(InvalidArgument):
        App().register("a", handler, max_attempts="three")
    with pytest.raises(ValueError):
        App().register("  ", handler)
    with pytest.raises(TypeError):
        App().register("a", "handler")


def test_a_worker_without_handlers_is_refused():
    with pytest.raises(ValueError, match="no handlers"):
        Supervisor(App())


def test_definitions_reach_the_database(db):
    app = App()
    app.register(
        "a", handler, version=3, max_attempts=5, timeout=timedelta(minutes=2), priority=7, max_concurrency=2,
        retry_base=0.5, retry_max=timedelta(hours=1), retry_delays={"busy": 60, "slow": timedelta(minutes=3)},
    )  # fmt: skip
    with Client.connect(db.dsn) as client:
        (row,) = app.define(client)
    assert (row.version, row.max_attempts, row.timeout_seconds, row.priority) == (3, 5, 120, 7)
    assert (row.max_concurrency, row.retry_base_ms, row.retry_max_ms) == (2, 500, 3600000)
    assert row.retry_delays_ms == {"busy": 60000, "slow": 180000}
    assert row.is_enabled


def test_defining_again_keeps_what_an_operator_did_and_writes_nothing(db):
    app = App()
    app.register("a", handler, max_attempts=5)
    with Client.connect(db.dsn) as client:
        app.define(client)
        client.disable_job_type("a", "broken")
        client.pause_job_type("a", "broken")
        client.define_job("a", priority=9)
        before = db.one("select xmin, d.* from runledger.job_definitions d")
        (row,) = app.define(client)
    assert (row.is_enabled, row.is_paused, row.priority, row.max_attempts) == (False, True, 9, 5)
    assert db.one("select xmin, d.* from runledger.job_definitions d") == before
