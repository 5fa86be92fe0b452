"""Both clients on a real database: the life of a job, whose transaction it is, and what JSON may do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row, tuple_row
from psycopg.types.json import set_json_loads

import runledger
from runledger import Undecodable, _calls
from runledger.types import ClaimedJob, EnqueuedJob, FinishedJob, JobDefinition
from tests.client.conftest import Driver
from tests.support.database import Db

TENANT = UUID("00000000-0000-7000-8000-000000000007")


@pytest.fixture
def mail(client: Any) -> str:
    client.define_job("mail.send")
    return "mail.send"


def claim(client: Any, *, max_jobs: int = 1) -> Any:
    claimed = client.claim_jobs("w1", ["mail.send"], max_jobs=max_jobs)
    return claimed[0] if max_jobs == 1 else claimed


# --- the life of a job ----------------------------------------------------------------------------


def test_a_job_is_enqueued_claimed_and_succeeded(client: Any, db: Db, mail: str):
    enqueued = client.enqueue_job(mail, {"to": ["ä😀", None, 1.5, True]}, organization_id=str(TENANT))
    assert enqueued == EnqueuedJob(enqueued.job_id, "INSERTED", "PENDING", 1)
    job = claim(client)
    assert isinstance(job, ClaimedJob)
    assert (job.job_id, job.payload, job.organization_id) == (
        enqueued.job_id,
        {"to": ["ä😀", None, 1.5, True]},
        TENANT,
    )
    assert (job.attempt, job.run_number, job.checkpoint, job.undecodable) == (1, 1, None, ())
    assert job.lease_expires_at > job.created_at
    progress = client.report_progress(
        job.job_id, job.lease_token, done=1, total=3, checkpoint={"at": 1}, stage="rendering"
    )
    assert (progress.stage, progress.progress_pct) == ("rendering", Decimal("33.33"))
    finished = client.succeed_job(job.job_id, job.lease_token, output={"id": "m-1"}, done=3)
    assert finished == FinishedJob(1, job.job_id, "SUCCEEDED", False, "SUCCEEDED", None, None, 3, 3)
    record = client.get_job(job.job_id)
    assert (record.status, record.output, record.checkpoint) == ("SUCCEEDED", {"id": "m-1"}, {"at": 1})
    assert (record.progress_done, record.progress_total, record.progress_pct) == (3, 3, Decimal("100.00"))
    assert db.events(job.job_id)[0] == "ENQUEUED"
    assert db.events(job.job_id)[-1] == "SUCCEEDED"
    assert db.attempts(job.job_id)[0]["disposition"] == "SUCCEEDED"


def test_a_repeated_completion_is_replayed(client: Any, mail: str):
    client.enqueue_job(mail)
    job = claim(client)
    first = client.succeed_job(job.job_id, job.lease_token)
    again = client.succeed_job(job.job_id, job.lease_token)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.disposition == "SUCCEEDED"
    with pytest.raises(runledger.LeaseLost) as caught:
        client.fail_job(job.job_id, job.lease_token, error_code="x", error_message="too late")
    assert caught.value.code == "job.lease_owner_mismatch"


def test_a_failure_is_retried_not_before_the_instant_asked_for(client: Any, db: Db, mail: str):
    client.enqueue_job(mail)
    job = claim(client)
    not_before = datetime.now(UTC) + timedelta(hours=2)
    failed = client.fail_job(
        job.job_id, job.lease_token, error_code="smtp.busy", error_message="451", not_before=not_before
    )
    assert (failed.disposition, failed.status) == ("RETRY_SCHEDULED", "PENDING")
    assert failed.next_run_at >= not_before
    (attempt,) = db.attempts(job.job_id)
    assert (attempt["outcome"], attempt["error_code"]) == ("RETRYABLE", "smtp.busy")
    assert claimless(client)


def claimless(client: Any) -> bool:
    return client.claim_jobs("w1", ["mail.send"]) == []


def test_a_terminal_failure_is_dead_lettered_and_redriven(client: Any, db: Db, mail: str):
    job_id = client.enqueue_job(mail).job_id
    job = claim(client)
    failed = client.fail_job(job_id, job.lease_token, error_code="smtp.refused", error_message="550", kind="TERMINAL")
    assert failed.disposition == "DEAD_LETTERED"
    (redriven,) = client.redrive_dead_letters("address corrected", mail, error_code="smtp.refused")
    assert (redriven.job_id, redriven.disposition, redriven.run_number) == (job_id, "REQUEUED", 2)
    assert db.events(job_id)[-1] == "REQUEUED"
    assert claim(client).run_number == 2


@pytest.mark.parametrize("delay", [5400, 5400.0, timedelta(minutes=90)])
def test_a_delay_is_seconds_or_a_timedelta(client: Any, db: Db, mail: str, delay: Any):
    client.enqueue_job(mail)
    job = claim(client)
    continued = client.continue_job(job.job_id, job.lease_token, delay=delay, checkpoint=[1])
    assert continued.disposition == "CONTINUED"
    row = db.job(job.job_id)
    assert row["run_number"] == 2
    assert row["checkpoint"] == [1]
    assert timedelta(minutes=89) < row["next_run_at"] - row["created_at"] < timedelta(minutes=91)


def test_a_released_job_keeps_its_attempts(client: Any, db: Db, mail: str):
    client.enqueue_job(mail)
    job = claim(client)
    released = client.release_job(job.job_id, job.lease_token, reason="shutdown", delay=0.25)
    assert (released.disposition, released.status) == ("RELEASED", "PENDING")
    assert db.job(job.job_id)["attempt"] == 0


def test_prestarted_claims_are_started(client: Any, db: Db, mail: str):
    client.enqueue_job(mail)
    (job,) = client.claim_jobs("w1", [mail], prestart=True, lease_seconds=timedelta(minutes=2))
    assert db.attempts(job.job_id)[0]["started_at"] is None
    (started,) = client.start_jobs([job.job_id], [job.lease_token])
    assert started.disposition == "STARTED"
    assert db.attempts(job.job_id)[0]["started_at"] is not None
    (lost,) = client.start_jobs([str(job.job_id)], [job.lease_token + 1])
    assert lost.disposition == "LOST"


def test_a_heartbeat_extends_leases_and_tells_of_the_canceled_and_the_lost(client: Any, mail: str):
    client.enqueue_jobs([{"job_type": mail}] * 3)
    kept, canceled, lost = claim(client, max_jobs=3)
    answer = client.cancel_job(canceled.job_id, "changed my mind")
    assert (answer.disposition, answer.status) == ("CANCELED", "CANCELED")
    assert answer.lease_quiesces_at is not None
    beats = client.heartbeat_jobs(
        [kept.job_id, canceled.job_id, lost.job_id],
        [kept.lease_token, canceled.lease_token, lost.lease_token + 9],
        lease_seconds=300,
    )
    assert {b.job_id: b.disposition for b in beats} == {
        kept.job_id: "EXTENDED",
        canceled.job_id: "CANCELED",
        lost.job_id: "LOST",
    }
    extended = {b.job_id: b.lease_expires_at for b in beats}
    assert extended[kept.job_id] > kept.lease_expires_at


def test_leases_that_the_worker_does_not_know_are_handed_to_it(client: Any, mail: str):
    client.enqueue_jobs([{"job_type": mail}, {"job_type": mail, "payload": [2]}])
    known, forgotten = claim(client, max_jobs=2)
    (found,) = client.leased_jobs("w1", [known.lease_token])
    assert (found.job_id, found.lease_token, found.payload) == (forgotten.job_id, forgotten.lease_token, [2])
    assert len(client.leased_jobs("w1")) == 2
    assert client.leased_jobs("w1", [known.lease_token, found.lease_token]) == []


def test_a_batch_has_a_row_per_item_in_order(client: Any, db: Db, mail: str):
    run_at = datetime.now(UTC) + timedelta(days=1)
    rows = client.enqueue_jobs(
        [
            {"job_type": mail, "payload": {"n": 1}, "organization_id": TENANT, "run_at": run_at},
            {"job_type": "no.such.type"},
            {"job_type": mail, "timeout_seconds": timedelta(minutes=1), "idempotency_key": "k"},
            "no object",
            {"job_type": mail, "timeout_seconds": 60, "idempotency_key": "k"},
            {"job_type": mail, "payload": {"other": 1}, "idempotency_key": "k"},
        ]
    )
    assert [r.ordinal for r in rows] == [1, 2, 3, 4, 5, 6]
    assert [r.disposition for r in rows] == ["INSERTED", "INVALID", "INSERTED", "INVALID", "EXISTING", "CONFLICT"]
    assert [r.code for r in rows][1] == "job.definition_not_found_or_disabled"
    assert rows[1].job_id is None
    assert rows[4].job_id == rows[2].job_id
    first = db.job(rows[0].job_id)
    assert (first["organization_id"], first["next_run_at"]) == (TENANT, run_at)
    assert db.value("select count(*) from runledger.job_queue") == 2


def test_a_strict_batch_raises_and_writes_nothing(client: Any, db: Db, mail: str):
    with pytest.raises(runledger.DefinitionUnavailable) as caught:
        client.enqueue_jobs([{"job_type": mail}, {"job_type": "no.such.type"}], strict=True)
    assert caught.value.detail == {"ordinal": 2}
    assert db.value("select count(*) from runledger.job_queue") == 0


def test_a_batch_of_outcomes_takes_ids_spans_and_instants(client: Any, db: Db, mail: str):
    client.enqueue_jobs([{"job_type": mail}] * 4)
    a, b, c, d = claim(client, max_jobs=4)
    later = datetime.now(UTC) + timedelta(hours=3)
    rows = client.finish_jobs(
        [
            {"job_id": a.job_id, "lease_token": a.lease_token, "outcome": "SUCCEEDED", "output": {"ok": True}},
            {
                "job_id": b.job_id,
                "lease_token": b.lease_token,
                "outcome": "FAILED",
                "error_code": "busy",
                "error_message": "later",
                "not_before": later,
            },
            {
                "job_id": c.job_id,
                "lease_token": c.lease_token,
                "outcome": "CONTINUE",
                "delay": timedelta(seconds=90, milliseconds=500),
            },
            {"job_id": d.job_id, "lease_token": d.lease_token + 9, "outcome": "SUCCEEDED"},
        ]
    )
    assert [r.disposition for r in rows] == ["SUCCEEDED", "RETRY_SCHEDULED", "CONTINUED", "LEASE_LOST"]
    assert rows[1].next_run_at >= later
    assert rows[3].code == "job.lease_owner_mismatch"
    assert db.job(a.job_id)["output"] == {"ok": True}
    assert db.job(d.job_id)["status"] == "LEASED"


# --- definitions, reads and upkeep ----------------------------------------------------------------


def test_a_definition_keeps_what_is_left_out(client: Any):
    made = client.define_job("a", max_attempts=3, timeout_seconds=timedelta(minutes=2), retry_delays_ms={"busy": 60000})
    assert isinstance(made, JobDefinition)
    assert (made.max_attempts, made.timeout_seconds, made.retry_delays_ms) == (3, 120, {"busy": 60000})
    kept = client.define_job("a", max_concurrency=2)
    assert (kept.max_attempts, kept.timeout_seconds, kept.max_concurrency) == (3, 120, 2)
    assert client.define_job("a", max_concurrency=0).max_concurrency is None
    assert client.disable_job_type("a", "broken").disabled_reason == "broken"
    with pytest.raises(runledger.DefinitionUnavailable):
        client.enqueue_job("a")
    assert client.enable_job_type("a").is_enabled
    assert client.pause_job_type("a").is_paused
    client.enqueue_job("a")
    assert client.claim_jobs("w1", ["a"]) == []
    assert not client.resume_job_type("a").is_paused
    assert len(client.claim_jobs("w1", ["a"])) == 1


def test_a_runtime_config_is_read_back(client: Any, mail: str):
    assert client.set_runtime_config(mail, {"rate": 5}, schema_version=2).schema_version == 2
    assert client.runtime_config(mail).config == {"rate": 5}


def test_jobs_are_listed_newest_first_page_by_page(client: Any, mail: str):
    ids = [client.enqueue_job(mail, {"n": n}, organization_id=TENANT if n % 2 else None).job_id for n in range(5)]
    assert [j.job_id for j in client.list_jobs()] == ids[::-1]
    page = client.list_jobs(mail, "PENDING", max_rows=2)
    assert [j.job_id for j in page] == ids[:2:-1]
    assert [j.job_id for j in client.list_jobs(before_id=page[-1].job_id)] == ids[2::-1]
    assert [j.job_id for j in client.list_jobs(organization_id=TENANT)] == [ids[3], ids[1]]
    assert client.list_jobs("no.such.type") == []
    assert not hasattr(page[0], "payload")


def test_a_job_that_is_not_there_is_none_to_readers_and_an_error_to_verbs(client: Any):
    assert client.get_job(uuid4()) is None
    assert client.job_payload(uuid4()) is None
    with pytest.raises(runledger.NotFound) as caught:
        client.cancel_job(uuid4())
    assert caught.value.code == "job.not_found"


def test_a_payload_is_corrected_and_redacted(client: Any, mail: str):
    job_id = client.enqueue_job(mail, {"to": "a@exmaple.org"}).job_id
    assert client.correct_payload(job_id, {"to": "a@example.org"}, reason="typo").disposition == "CORRECTED"
    assert client.job_payload(job_id).payload == {"to": "a@example.org"}
    job = claim(client)
    client.succeed_job(job_id, job.lease_token, output={"to": "a@example.org"})
    assert client.redact_job(job_id, "erasure request").disposition == "REDACTED"
    assert "example" not in repr(client.job_payload(job_id))


def test_a_succeeded_job_is_replayed_once_per_key(client: Any, mail: str):
    job_id = client.enqueue_job(mail, {"n": 1}).job_id
    client.succeed_job(job_id, claim(client).lease_token)
    twin = client.replay_job(job_id, "again-1", reason="lost mail")
    assert twin.disposition == "INSERTED"
    assert client.replay_job(job_id, "again-1", reason="lost mail").job_id == twin.job_id
    assert client.job_payload(twin.job_id).payload == {"n": 1}


def test_a_canceled_job_is_requeued_if_it_is_as_expected(client: Any, mail: str):
    job_id = client.enqueue_job(mail).job_id
    client.cancel_job(job_id, "no")
    with pytest.raises(runledger.Conflict):
        client.requeue_job(job_id, "yes", expected_status="DEAD_LETTERED")
    again = client.requeue_job(job_id, "yes", expected_status="CANCELED", expected_run_number=1)
    assert (again.disposition, again.status, again.run_number) == ("REQUEUED", "PENDING", 2)


def test_expired_leases_are_reaped(client: Any, clock: Any, mail: str):
    client.enqueue_job(mail)
    (job,) = client.claim_jobs("w1", [mail], lease_seconds=1)
    clock.advance(5)
    (reaped,) = client.reap_expired_leases(10, timedelta(minutes=1))
    assert (reaped.job_id, reaped.worker_id, reaped.disposition) == (job.job_id, "w1", "RETRY_SCHEDULED")
    assert client.reap_expired_leases() == []


def test_a_handler_writes_to_the_log_of_its_job(client: Any, db: Db, mail: str):
    client.enqueue_job(mail)
    job = claim(client)
    client.log_job(job.job_id, "info", message="half done", payload={"n": 1}, lease_token=job.lease_token)
    row = db.one("select * from runledger.job_logs")
    assert (row["job_id"], row["level"], row["message"], row["payload"]) == (job.job_id, "info", "half done", {"n": 1})
    with pytest.raises(runledger.LeaseLost):
        client.log_job(job.job_id, "info", message="too late", lease_token=job.lease_token + 1)


def test_a_worker_comes_idles_and_goes(client: Any, db: Db, mail: str):
    client.register_worker("w1", [mail], max_jobs=4, metadata={"host": "h"})
    assert db.one("select * from runledger.workers")["metadata"] == {"host": "h"}
    run_at = datetime.now(UTC) + timedelta(minutes=5)
    client.enqueue_job(mail, run_at=run_at)
    idle = client.idle_worker("w1", datetime.now(UTC) + timedelta(seconds=30))
    assert (idle.worker_id, idle.next_due_at) == ("w1", run_at)
    client.deregister_worker("w1")
    assert db.all("select * from runledger.workers") == []


def test_upkeep_checks_and_says_what_is_installed(client: Any):
    assert {r.task for r in client.run_maintenance()}
    assert {r.task: r.more for r in client.prune(timedelta(days=2), 100, reason="tidy up")}["jobs"] is False
    assert client.set_retention(timedelta(days=7), history=0).finished == timedelta(days=7)
    assert client.retention().history == timedelta(0)
    assert client.fsck() == []
    assert client.fsck("fast", max_rows=5) == []
    assert client.schema_info().migration_head >= 6
    assert "job.not_found" in {c.code for c in client.error_codes()}


# --- whose transaction it is ----------------------------------------------------------------------


def test_on_the_callers_connection_a_job_lives_and_dies_with_the_transaction(driver: Driver, db: Db, mail: str):
    connection = driver.connection()
    client = driver.client(connection)
    client.enqueue_job(mail)
    assert db.value("select count(*) from runledger.job_queue") == 0, "not committed"
    driver.wait(connection.rollback())
    assert db.value("select count(*) from runledger.job_queue") == 0
    client.enqueue_job(mail)
    driver.wait(connection.commit())
    assert db.value("select count(*) from runledger.job_queue") == 1


def test_a_refusal_leaves_the_transaction_to_the_caller(driver: Driver, db: Db, mail: str):
    connection = driver.connection()
    client = driver.client(connection)
    client.enqueue_job(mail)
    driver.wait(connection.execute("savepoint before"))
    with pytest.raises(runledger.DefinitionUnavailable):
        client.enqueue_job("no.such.type")
    driver.wait(connection.execute("rollback to savepoint before"))
    driver.wait(connection.commit())
    assert db.value("select count(*) from runledger.job_queue") == 1


def test_what_is_refused_before_sending_does_not_touch_the_transaction(driver: Driver, db: Db, mail: str):
    connection = driver.connection()
    client = driver.client(connection)
    client.enqueue_job(mail)
    for wrong in (float("nan"), "\0", {1j}):
        with pytest.raises(runledger.InvalidArgument):
            client.enqueue_job(mail, {"x": wrong})
    driver.wait(connection.commit())
    assert db.value("select count(*) from runledger.job_queue") == 1


def test_the_callers_connection_stays_open(driver: Driver, mail: str):
    connection = driver.connection()
    driver.client(connection).close()
    assert not connection.closed


def test_a_connection_of_its_own_commits_each_call_and_is_closed(driver: Driver, db: Db, mail: str):
    client = driver.connect()
    client.enqueue_job(mail)
    assert db.value("select count(*) from runledger.job_queue") == 1
    client.close()
    with pytest.raises(psycopg.OperationalError):
        client.enqueue_job(mail)


def test_on_a_pool_each_call_commits_and_an_error_gives_the_connection_back(driver: Driver, db: Db, mail: str):
    pool = driver.pool()
    client = driver.client(pool)
    for _ in range(5):
        with pytest.raises(runledger.NotFound):
            client.cancel_job(uuid4())
    client.enqueue_job(mail)
    assert db.value("select count(*) from runledger.job_queue") == 1
    client.close()
    assert not pool.closed


def test_a_connection_may_be_told_to_prepare_nothing(driver: Driver, db: Db, mail: str):
    """Behind a transaction pooler a prepared statement may live in another backend."""
    for threshold, expected in ((None, 0), (0, 1)):
        client = driver.connect(prepare_threshold=threshold)
        for _ in range(3):
            client.enqueue_job(mail)
        connection = client.client._source
        cursor = driver.wait(
            connection.execute(
                "select count(*) from pg_prepared_statements where statement ~ 'enqueue' and statement !~ 'pg_prepared'"
            )
        )
        assert driver.wait(cursor.fetchone())[0] == expected


def test_finish_and_claim_travel_in_one_pipeline_and_one_commit(driver: Driver, db: Db, mail: str):
    client = driver.connect()
    client.enqueue_jobs([{"job_type": mail}] * 2)
    job = claim(client)
    connection = client.client._source
    finish = _calls.finish_jobs([{"job_id": job.job_id, "lease_token": job.lease_token, "outcome": "SUCCEEDED"}])
    more = _calls.claim_jobs("w1", [mail])

    def exchange() -> tuple[list[Any], list[Any]]:
        with connection.pipeline():
            first, second = (connection.cursor(row_factory=tuple_row) for _ in range(2))
            first.execute(*finish.statement)
            second.execute(*more.statement)
        return finish.read(first.fetchall()), more.read(second.fetchall())

    async def aexchange() -> tuple[list[Any], list[Any]]:
        async with connection.pipeline():
            first, second = (connection.cursor(row_factory=tuple_row) for _ in range(2))
            await first.execute(*finish.statement)
            await second.execute(*more.statement)
        return finish.read(await first.fetchall()), more.read(await second.fetchall())

    finished, claimed = driver.wait(exchange() if driver.kind == "sync" else aexchange())
    assert [f.disposition for f in finished] == ["SUCCEEDED"]
    (next_job,) = claimed
    transactions = db.column(
        "select transaction_id::text from runledger.job_events"
        " where (job_id = %s and event_type = 'SUCCEEDED') or (job_id = %s and event_type = 'LEASED')",
        [job.job_id, next_job.job_id],
    )
    assert len(transactions) == 2
    assert len(set(transactions)) == 1


# --- JSON, and connections with habits of their own -----------------------------------------------

UNREADABLE = {
    "a number of 4,301 digits": "1e4300",
    "nesting beyond the stack": "[" * 3000 + "]" * 3000,
}


@pytest.mark.corrupts  # such values get in only behind the functions' back
@pytest.mark.parametrize("what", UNREADABLE)
def test_json_that_python_cannot_read_spoils_one_job_only(client: Any, db: Db, mail: str, what: str):
    ids = [client.enqueue_job(mail, {"n": n}).job_id for n in range(3)]
    db.execute("update runledger.job_queue set payload = %s where id = %s", [UNREADABLE[what], ids[1]])
    jobs = claim(client, max_jobs=3)
    assert [j.job_id for j in jobs] == ids
    assert [j.undecodable for j in jobs] == [(), ("payload",), ()]
    assert (jobs[0].payload, jobs[2].payload) == ({"n": 0}, {"n": 2})
    bad = jobs[1]
    assert isinstance(bad.payload, Undecodable)
    assert bad.payload.reason
    assert bad.payload.text not in repr(bad), "the text of a payload is no matter for logs"
    failed = client.fail_job(
        bad.job_id,
        bad.lease_token,
        error_code="job.payload_undecodable",
        error_message=bad.payload.reason,
        kind="TERMINAL",
    )
    assert failed.disposition == "DEAD_LETTERED"
    assert isinstance(client.get_job(bad.job_id).payload, Undecodable)
    assert isinstance(client.job_payload(bad.job_id).payload, Undecodable)


@pytest.mark.parametrize("value", [{}, [], 0, -1.5, "", "x", False, {"a": {"b": [None, 2**60, 1e15, 10**300]}}])
def test_json_values_come_back_as_they_went(client: Any, mail: str, value: Any):
    job_id = client.enqueue_job(mail, value).job_id
    assert client.job_payload(job_id).payload == value


def test_json_nulls_and_nothing_are_both_none(client: Any, db: Db, mail: str):
    job_id = client.enqueue_job(mail, None).job_id
    assert db.job(job_id)["payload"] == {}, "left out: the default of the database"
    job = claim(client)
    assert (job.checkpoint, job.inputs) == (None, None)


def test_json_beyond_the_limits_is_refused_by_the_database(client: Any, db: Db, mail: str):
    deep: Any = 1
    for _ in range(65):
        deep = [deep]
    for payload, code in (
        ("x" * 300_000, "json.too_large"),
        (deep, "json.too_deep"),
        (10**400, "json.number_out_of_range"),
    ):
        with pytest.raises(runledger.PayloadRefused) as caught:
            client.enqueue_job(mail, payload)
        assert caught.value.code == code
        assert "xxxx" not in f"{caught.value!r}{caught.value.__cause__}"
    assert db.value("select count(*) from runledger.job_queue") == 0


def test_a_connection_may_have_its_own_rows_cursors_and_json(driver: Driver, mail: str):
    """As frameworks leave them: rows as dicts, client-side binding, JSON as text."""
    connection = driver.connection(autocommit=True, row_factory=dict_row)
    connection.cursor_factory = psycopg.AsyncRawCursor if driver.kind == "async" else psycopg.RawCursor
    set_json_loads(lambda _: "not yours", connection)
    client = driver.client(connection)
    job_id = client.enqueue_job(mail, {"n": 1}).job_id
    assert claim(client).payload == {"n": 1}
    assert client.get_job(job_id).payload == {"n": 1}


def test_another_client_encoding_changes_nothing(driver: Driver, mail: str):
    client = driver.connect(client_encoding="LATIN1")
    job_id = client.enqueue_job(mail, {"ä": "é"}).job_id
    assert client.job_payload(job_id).payload == {"ä": "é"}


def test_times_are_instants_in_any_time_zone(driver: Driver, mail: str):
    client = driver.connect(options="-c timezone=Australia/Lord_Howe")
    run_at = datetime(2030, 6, 1, 12, 30, 15, 123456, tzinfo=UTC)
    job_id = client.enqueue_job(mail, run_at=run_at).job_id
    assert client.get_job(job_id).next_run_at == run_at


@pytest.mark.parametrize(
    ("dates", "spans", "whose"),
    [("German", "iso_8601", "ours"), ("SQL, DMY", "sql_standard", "the caller's"), ("Postgres", "postgres_verbose", "a pool's")],
)
def test_a_database_may_write_times_in_a_style_of_its_own(driver: Driver, mail: str, dates: str, spans: str, whose: str):
    """psycopg reads none but ISO, and intervals in none but the usual: all comes in binary then."""
    db, name = driver.db, driver.db.conn.info.dbname
    db.execute(f"alter database {name} set datestyle = '{dates}'")
    db.execute(f"alter database {name} set intervalstyle = '{spans}'")
    if whose == "ours":
        client = driver.connect()
    else:
        client = driver.client(driver.pool() if whose == "a pool's" else driver.connection())
    run_at = datetime(2030, 6, 1, 12, 30, 15, 123456, tzinfo=UTC)
    job_id = client.enqueue_job(mail, {"n": 1}, run_at=run_at).job_id
    assert client.get_job(job_id).next_run_at == run_at
    assert client.retention().finished == timedelta(days=14)
    assert client.job_payload(job_id).payload == {"n": 1}
    assert [d.job_type for d in client.list_job_definitions()] == [mail]


def test_what_is_left_out_is_not_sent(mail: str):
    """So an older server, which does not know a newer parameter, is still called rightly."""
    query, params = _calls.claim_jobs("w1", [mail]).statement
    assert query.endswith(b"from runledger.claim_jobs(worker_id => %(worker_id)s, job_types => %(job_types)s)")
    assert set(params) == {"worker_id", "job_types"}
    assert b"lease_seconds => %(lease_seconds)s" in _calls.claim_jobs("w1", [mail], lease_seconds=5).query
    assert b"*" not in query


def test_null_for_what_is_required_is_an_error_of_the_database(client: Any, mail: str):
    with pytest.raises(runledger.DefinitionUnavailable):
        client.enqueue_job(None)
    with pytest.raises(runledger.InvalidArgument) as caught:
        client.claim_jobs(None, [mail])
    assert caught.value.code == "job.invalid_worker_id"


def test_calls_are_values(mail: str):
    assert _calls.get_job(TENANT) == _calls.get_job(str(TENANT))
    assert json.loads(str(_calls.enqueue_job(mail, {"n": 1}).params["payload"])) == {"n": 1}
