"""The handle of a run: results, waiting by notification and by polling, whose connections it uses, and its errors.

What is asserted is the order of events, never a time: a poll of years can only end by a notification.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

import runledger
from runledger import Workflow
from runledger.workflow import address
from tests.client.conftest import Driver, Face
from tests.support.database import Db

TENANT = UUID("00000000-0000-7000-8000-000000000007")
OTHER = UUID("00000000-0000-7000-8000-000000000008")
YEARS = 1e9
WAITING, DONE = "WAITING_FOR_EXTERNAL", "SUCCEEDED"
EARS = (
    "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    " and query ~ 'await_workflow|listen runledger_run'"
)


def start(client: Any, *, result_step: str | None = "ask", **settings: Any) -> UUID:
    """A run that is one open gate."""
    wf = Workflow("w", result_step=result_step, **settings)
    wf.gate("ask")
    run_id: UUID = client.enqueue_workflow(wf).workflow_run_id
    return run_id


def handle(client: Any, run_id: Any, organization_id: Any = None) -> Any:
    return Face(client.driver, client.client.workflow(run_id, organization_id))


def looks(client: Any, then: Callable[[list[str]], object] = lambda _: None) -> list[str]:
    """What each look of the client's handles sees from now on, in order; `then` is called after each of them."""
    seen: list[str] = []
    look = client.client._look

    def watched(call: Any, patience: Any) -> Any:
        outcome, here = look(call, patience)
        seen.append(outcome.status)
        then(seen)
        return outcome, here

    async def awaited(call: Any, patience: Any) -> Any:
        outcome, here = await look(call, patience)
        seen.append(outcome.status)
        then(seen)
        return outcome, here

    client.client._look = watched if client.driver.kind == "sync" else awaited
    return seen


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


async def auntil(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():  # noqa: ASYNC110
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.005)


def is_asked(db: Db, run_id: UUID) -> bool:
    asked: bool = db.value("select awaited_until is not null from runledger.workflow_runs where id = %s", [run_id])
    return asked


def complete(db: Db, run_id: UUID, output: str = '{"ok": 1}') -> None:
    db.execute("select runledger.complete_external_step(%s, 'ask', output => %s)", [run_id, output])


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do the work in another thread beside the block; what it raises is raised at the end."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


@pytest.fixture
def deaf(db: Db) -> Iterator[Callable[[], None]]:
    """Call it, and from then on nobody can connect to the database any more."""

    def allow(value: bool) -> None:
        with psycopg.connect(db.server.admin_dsn, autocommit=True) as conn:
            name = psycopg.sql.Identifier(db.database.name)
            conn.execute(psycopg.sql.SQL(f"alter database {{}} allow_connections {value}").format(name))

    yield lambda: allow(False)
    allow(True)


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, 300, None])
def test_the_result_of_a_finished_run_is_there_at_once(client: Any, db: Db, timeout: Any):
    run_id = start(client)
    client.complete_external_step(run_id, "ask", output={"score": [1, None]})
    seen = looks(client)
    assert handle(client, run_id).result(timeout) == {"score": [1, None]}
    assert handle(client, str(run_id)).workflow_run_id == run_id
    assert seen == [DONE]
    assert not is_asked(db, run_id)


def test_a_result_step_without_output_gives_none(client: Any):
    run_id = start(client)
    client.complete_external_step(run_id, "ask")
    assert handle(client, run_id).result() is None


def test_the_status_is_told_without_waiting(client: Any):
    run_id = start(client)
    run = handle(client, run_id)
    assert run.status() == WAITING
    client.cancel_workflow(run_id)
    assert run.status() == "CANCELED"


def test_a_result_that_was_not_declared_is_an_error_at_once(client: Any):
    run_id = start(client, result_step=None)
    seen = looks(client)
    for _ in range(2):
        with pytest.raises(runledger.WorkflowResultNotDeclared) as caught:
            handle(client, run_id).result(None, YEARS)
        client.complete_external_step(run_id, "ask", output=1)
    assert seen == [WAITING, DONE]
    assert caught.value.code == "workflow.result_not_declared"
    assert caught.value.detail == {"workflow_run_id": str(run_id), "status": DONE}


@pytest.mark.parametrize(("end", "status"), [("fail", "COMPLETED_WITH_ERRORS"), ("cancel", "CANCELED")])
def test_a_run_that_does_not_succeed_is_an_error_with_its_status(client: Any, end: str, status: str):
    run_id = start(client)
    if end == "fail":
        client.complete_external_step(run_id, "ask", outcome="FAILED")
    else:
        client.cancel_workflow(run_id)
    with pytest.raises(runledger.WorkflowFailed) as caught:
        handle(client, run_id).result(None, YEARS)
    assert caught.value.status == status
    assert caught.value.code == "workflow.result_unsuccessful_terminal"


def test_a_run_is_seen_by_its_tenant_only(client: Any):
    run_id = start(client, organization_id=TENANT)
    for organization_id, expected in ((None, WAITING), (TENANT, WAITING), (str(TENANT), WAITING)):
        assert handle(client, run_id, organization_id).status() == expected
    client.complete_external_step(run_id, "ask", output=5)
    assert handle(client, run_id, TENANT).result(0) == 5
    for run in (handle(client, run_id, OTHER), handle(client, uuid4())):
        for ask in (run.status, lambda run=run: run.result(None, YEARS)):
            with pytest.raises(runledger.NotFound) as caught:
                ask()
            assert caught.value.code == "workflow.run_not_found"


# --- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [None, 1e300, float("inf"), timedelta.max])
def test_a_notification_ends_the_wait(client: Any, db: Db, timeout: Any):
    run_id = start(client)
    seen = looks(client)

    def finish() -> None:
        # The first look finds nothing; the second comes when the notification has been asked for.
        until(lambda: len(seen) == 2 and is_asked(db, run_id))
        seen.append("completed")
        complete(db, run_id)

    with meanwhile(finish):
        assert handle(client, run_id).result(timeout, YEARS) == {"ok": 1}
    assert seen == [WAITING, WAITING, "completed", DONE]
    until(lambda: db.column(EARS) == [])


def test_a_notification_tells_of_failure_too(client: Any, db: Db):
    run_id = start(client)
    seen = looks(client)

    def cancel() -> None:
        until(lambda: len(seen) == 2 and is_asked(db, run_id))
        db.execute("select runledger.cancel_workflow(%s)", [run_id])

    with meanwhile(cancel), pytest.raises(runledger.WorkflowFailed) as caught:
        handle(client, run_id).result(None, YEARS)
    assert caught.value.status == "CANCELED"


def test_a_run_that_finishes_before_it_was_asked_about_is_not_missed(client: Any, db: Db):
    """Between the first look and the listening."""
    run_id = start(client)
    seen = looks(client, lambda seen: complete(db, run_id) if len(seen) == 1 else None)
    assert handle(client, run_id).result(None, YEARS) == {"ok": 1}
    assert seen == [WAITING, DONE]


def test_without_notifications_it_polls(client: Any, db: Db, deaf: Any, caplog: Any):
    caplog.set_level(logging.INFO, "runledger")
    run_id = start(client)
    deaf()
    seen = looks(client)

    def finish() -> None:
        until(lambda: len(seen) > 3)
        complete(db, run_id)

    with meanwhile(finish):
        assert handle(client, run_id).result(None, 0.01) == {"ok": 1}
    assert set(seen[:-1]) == {WAITING}
    assert not is_asked(db, run_id)
    until(lambda: "they are polled for" in caplog.text)


def test_a_listener_that_dies_is_replaced_by_polling(client: Any, db: Db):
    run_id = start(client)
    seen = looks(client)

    def finish() -> None:
        until(lambda: is_asked(db, run_id))
        (pid,) = db.column(EARS)
        db.execute("select pg_terminate_backend(%s)", [pid])
        until(lambda: db.column(EARS) == [])
        count = len(seen)
        until(lambda: len(seen) > count + 1)
        complete(db, run_id)

    with meanwhile(finish):
        assert handle(client, run_id).result(None, 0.01) == {"ok": 1}
    # And the next wait listens again.
    other = start(client)
    with meanwhile(lambda: (until(lambda: is_asked(db, other)), complete(db, other, "2"))):
        assert handle(client, other).result(None, YEARS) == 2


def test_a_look_at_the_deadline_finds_what_was_finished_just_before(client: Any, db: Db, deaf: Any):
    run_id = start(client)
    deaf()
    seen = looks(client, lambda seen: complete(db, run_id) if len(seen) == 1 else None)
    assert handle(client, run_id).result(0.2, YEARS) == {"ok": 1}
    assert seen == [WAITING, DONE]


def test_a_timeout_of_zero_looks_once_and_disturbs_nobody(client: Any, db: Db):
    run_id = start(client)
    seen = looks(client)
    with pytest.raises(runledger.WorkflowResultTimeout) as caught:
        handle(client, run_id).result(0)
    assert seen == [WAITING]
    assert not is_asked(db, run_id)
    assert caught.value.code == "workflow.result_wait_timeout"
    assert caught.value.detail == {"workflow_run_id": str(run_id), "status": WAITING}


def test_after_a_timeout_one_may_wait_again(client: Any, db: Db):
    run_id = start(client)
    seen = looks(client)
    run = handle(client, run_id)
    with pytest.raises(runledger.WorkflowResultTimeout):
        run.result(timedelta(milliseconds=50), timedelta(days=400))
    assert len(seen) >= 2
    complete(db, run_id)
    assert run.result(timedelta(0)) == {"ok": 1}


@pytest.mark.parametrize("wrong", [-1, -0.001, float("nan"), "5", True, timedelta(seconds=-1)])
@pytest.mark.parametrize("argument", ["timeout", "poll"])
def test_a_span_that_is_none_is_refused(client: Any, argument: str, wrong: Any):
    seen = looks(client)
    with pytest.raises(runledger.InvalidArgument) as caught:
        handle(client, uuid4()).result(**{argument: wrong})
    assert caught.value.detail == {"argument": argument}
    assert seen == []


def test_a_locked_run_does_not_hold_up_who_waits_for_it(client: Any, db: Db, sessions: Any):
    (holder,) = sessions("holder")
    run_id = start(client)
    holder.begin().execute("select from runledger.workflow_runs where id = %s for update", [run_id])
    seen = looks(client)

    def finish() -> None:
        # The ear waits for the holder; the looks go on meanwhile.
        until(lambda: db.value("select count(*) from pg_stat_activity where %s = any (pg_blocking_pids(pid))",
                               [holder.pid]) == 1)  # fmt: skip
        count = len(seen)
        until(lambda: len(seen) > count + 2)
        holder.rollback()
        complete(db, run_id)

    with meanwhile(finish):
        assert handle(client, run_id).result(None, 0.01) == {"ok": 1}


# --- connections ----------------------------------------------------------------------------------


def test_a_pool_of_one_connection_does_not_starve(driver: Driver, db: Db):
    """Twenty wait for years, and who finishes the runs uses the very same pool; all of them listen on one connection."""
    client = driver.client(driver.pool(max_size=1))
    runs = [start(client) for _ in range(20)]
    seen = looks(client)
    ears: list[int] = []

    def is_ready() -> bool:
        if len(seen) < 2 * len(runs) or not all(is_asked(db, run_id) for run_id in runs):
            return False
        ears.extend(db.column(EARS))
        return True

    def finish() -> None:
        until(is_ready)
        for run_id in runs:
            client.client.complete_external_step(run_id, "ask", output=str(run_id))

    async def afinish() -> None:
        await auntil(is_ready)
        for run_id in runs:
            await client.client.complete_external_step(run_id, "ask", output=str(run_id))

    handles = [client.client.workflow(run_id) for run_id in runs]
    waits = [functools.partial(run.result, None, YEARS) for run in handles]
    results = driver.together(*waits, finish if driver.kind == "sync" else afinish)
    assert results == [*(str(run_id) for run_id in runs), None]
    assert len(ears) == 1
    assert seen == [WAITING] * 40 + [DONE] * 20
    until(lambda: db.column(EARS) == [])


def test_a_pool_without_a_free_connection_counts_against_the_timeout(driver: Driver, db: Db):
    pool = driver.pool(max_size=1)
    client = driver.client(pool)
    run_id = start(client)
    complete(db, run_id)
    taken = driver.wait(pool.getconn())
    with pytest.raises(runledger.WorkflowResultTimeout) as caught:
        handle(client, run_id).result(0)
    assert caught.value.detail["status"] is None
    driver.wait(pool.putconn(taken))
    assert handle(client, run_id).result(0) == {"ok": 1}


def test_on_the_callers_connection_a_wait_leaves_no_transaction_open(driver: Driver, db: Db):
    connection = driver.connection()
    client = driver.client(connection)
    run_id = start(client)
    driver.wait(connection.commit())
    seen = looks(client, lambda seen: states.append(connection.info.transaction_status))
    states: list[TransactionStatus] = []
    with meanwhile(lambda: (until(lambda: len(seen) > 1 and is_asked(db, run_id)), complete(db, run_id))):
        assert handle(client, run_id).result(None, YEARS) == {"ok": 1}
    assert set(states) == {TransactionStatus.IDLE}


def test_in_the_callers_transaction_a_look_sees_what_it_sees_and_breaks_nothing(driver: Driver, db: Db):
    connection = driver.connection()
    client = driver.client(connection)
    run_id = start(client)
    with pytest.raises(runledger.WorkflowResultTimeout):
        handle(client, run_id).result(0)
    with pytest.raises(runledger.NotFound):
        handle(client, uuid4()).result(0)
    assert connection.info.transaction_status == TransactionStatus.INTRANS
    client.complete_external_step(run_id, "ask", output=3)
    assert handle(client, run_id).result(0) == 3
    assert db.value("select count(*) from runledger.workflow_runs") == 0, "not committed"
    driver.wait(connection.commit())
    assert db.value("select status::text from runledger.workflow_runs") == DONE


def test_the_listening_connection_is_one_like_the_clients(driver: Driver, db: Db):
    connection = driver.connection(password="it's \\ secret", application_name="shop", autocommit=True)
    found = conninfo_to_dict(address(connection))
    assert (found["password"], found["application_name"]) == ("it's \\ secret", "shop")
    with psycopg.connect(address(connection)) as twin:
        assert (twin.info.dbname, twin.info.user, twin.info.port) == (
            connection.info.dbname, connection.info.user, connection.info.port,
        )  # fmt: skip


def test_a_wait_that_is_cut_short_is_forgotten(driver: Driver, db: Db):
    """An async wait is canceled like anything else, and nobody listens on."""
    client = driver.connect()
    run_id = start(client)
    if driver.kind == "sync":
        with pytest.raises(runledger.WorkflowResultTimeout):
            handle(client, run_id).result(0.05, YEARS)
    else:

        async def cut() -> None:
            task = asyncio.create_task(client.client.workflow(run_id).result(None, YEARS))
            await auntil(lambda: is_asked(db, run_id))
            task.cancel()
            await task

        with pytest.raises(asyncio.CancelledError):
            driver.together(cut)
    assert client.client._ear._waiting == {}
    until(lambda: db.column(EARS) == [])
    assert client.get_workflow(run_id).status == WAITING
