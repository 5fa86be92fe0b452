"""Errors are mapped by SQLSTATE alone and carry code, detail and hint."""

from __future__ import annotations

import copy
import pickle

import psycopg
import pytest

import runledger
from runledger import _calls
from runledger.errors import RunledgerError, from_database, translated
from tests.support.database import Db

CLASSES = {
    "RL001": runledger.NotFound,
    "RL002": runledger.DefinitionUnavailable,
    "RL003": runledger.LeaseLost,
    "RL004": runledger.InvalidState,
    "RL005": runledger.NotGranted,
    "RL010": runledger.InvalidArgument,
    "RL011": runledger.PayloadRefused,
    "RL013": runledger.UnsupportedIsolation,
    "RL020": runledger.IdempotencyConflict,
    "RL021": runledger.Conflict,
    "RL030": runledger.InvalidWorkflow,
    "RL090": runledger.InternalError,
}


def test_each_sqlstate_has_its_class():
    assert RunledgerError.by_sqlstate == CLASSES


def test_every_error_of_the_database_arrives_as_its_class(db: Db):
    """Raised by the server, one by one: class, code, message, hint and detail are those of the table."""
    codes = db.all("select * from runledger.error_codes()")
    assert len(codes) > 50
    for row in codes:
        with pytest.raises(RunledgerError) as caught, translated():
            db.execute("select runledger._raise(%s, '{\"limit\": 7}')", [row["code"]])
        error = caught.value
        assert type(error) is CLASSES[row["sqlstate"]], row["code"]
        assert (error.code, error.sqlstate) == (row["code"], row["sqlstate"])
        assert (error.message, error.hint) == (row["message"], row["hint"])
        assert error.detail == {"limit": 7}
        assert isinstance(error.__cause__, psycopg.Error)


def test_other_errors_pass_through(db: Db):
    with pytest.raises(psycopg.errors.DivisionByZero), translated():
        db.execute("select 1 / 0")
    with pytest.raises(psycopg.OperationalError), translated():
        psycopg.connect("host=/nonexistent port=1")


@pytest.mark.parametrize("detail", ["", "no json", "[1]", "null", '{"code": null}'])
def test_a_detail_that_is_no_object_with_a_code_does_no_harm(db: Db, detail: str):
    with pytest.raises(RunledgerError) as caught, translated():
        db.execute(
            "do $$ begin raise exception using errcode = 'RL001', message = 'gone', detail = "
            + psycopg.sql.Literal(detail).as_string(db.conn)
            + "; end $$"
        )
    assert type(caught.value) is runledger.NotFound
    assert caught.value.code in {"RL001", "None"}


def test_an_unknown_state_of_the_class_is_the_base_error(db: Db):
    with pytest.raises(RunledgerError) as caught, translated():
        db.execute("do $$ begin raise exception using errcode = 'RL777', message = 'of a later version'; end $$")
    assert type(caught.value) is RunledgerError
    assert (caught.value.code, caught.value.message, caught.value.hint) == ("RL777", "of a later version", None)


def test_an_error_without_a_sqlstate_is_none_of_ours():
    assert from_database(psycopg.OperationalError("the server went away")) is None


def test_errors_survive_pickle_and_copy():
    error = runledger.LeaseLost("job.canceled", "the job was canceled", {"job_id": "x"}, "Stop.", "RL003")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is runledger.LeaseLost
        assert vars(twin) == vars(error)
        assert str(twin) == "the job was canceled (job.canceled): Stop."


def test_errors_of_workflows_keep_what_they_tell():
    problem = {"ordinal": 1, "step": "a", "code": "workflow.invalid_dag_self_dependency", "message": "m"}
    refused = runledger.InvalidWorkflow(problem["code"], "m", {"count": 1, "problems": [problem]}, "h", "RL030")
    failed = runledger.WorkflowFailed("workflow.result_unsuccessful_terminal", "m", {"status": "CANCELED"})
    assert pickle.loads(pickle.dumps(refused)).problems == [problem]
    assert pickle.loads(pickle.dumps(failed)).status == "CANCELED"
    assert failed.sqlstate is None
    assert runledger.InvalidWorkflow("workflow.invalid_dag_empty", "m").problems == []


def secret_in_a_ring() -> list[object]:
    ring: list[object] = ["hunter2"]
    ring.append(ring)
    return ring


def deep(levels: int) -> list[object]:
    value: list[object] = ["hunter2"]
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: _calls.enqueue_job("hunter2\0"), "job_type"),
        (lambda: _calls.enqueue_job("hunter2\ud800"), "job_type"),
        (lambda: _calls.enqueue_job(b"hunter2"), "job_type"),
        (lambda: _calls.enqueue_job("t", {"a": ["hunter2\0"]}), "payload"),
        (lambda: _calls.enqueue_job("t", {"hunter2\0": 1}), "payload"),
        (lambda: _calls.enqueue_job("t", "hunter2 \\\\\0"), "payload"),
        (lambda: _calls.enqueue_job("t", "hunter2\udfff"), "payload"),
        (lambda: _calls.enqueue_job("t", ["hunter2", float("nan")]), "payload"),
        (lambda: _calls.enqueue_job("t", ["hunter2", float("-inf")]), "payload"),
        (lambda: _calls.enqueue_job("t", ["hunter2", 10**5000]), "payload"),
        (lambda: _calls.enqueue_job("t", secret_in_a_ring()), "payload"),
        (lambda: _calls.enqueue_job("t", deep(100_000)), "payload"),
        (lambda: _calls.enqueue_job("t", {"hunter2"}), "payload"),
        (lambda: _calls.enqueue_job("t", {("hunter2",): 1}), "payload"),
        (lambda: _calls.enqueue_job("t", priority=2**31), "priority"),
        (lambda: _calls.enqueue_job("t", priority=True), "priority"),
        (lambda: _calls.enqueue_job("t", priority=1.0), "priority"),
        (lambda: _calls.enqueue_job("t", organization_id="hunter2"), "organization_id"),
        (lambda: _calls.enqueue_job("t", organization_id=7), "organization_id"),
        (lambda: _calls.enqueue_job("t", timeout_seconds=0.5), "timeout_seconds"),
        (lambda: _calls.enqueue_job("t", timeout_seconds=float("inf")), "timeout_seconds"),
        (lambda: _calls.enqueue_job("t", timeout_seconds=1e300), "timeout_seconds"),
        (lambda: _calls.enqueue_job("t", timeout_seconds="hunter2"), "timeout_seconds"),
        (lambda: _calls.enqueue_job("t", run_at="hunter2"), "run_at"),
        (lambda: _calls.enqueue_jobs("hunter2"), "jobs"),
        (lambda: _calls.enqueue_jobs({"hunter2": 1}), "jobs"),
        (lambda: _calls.enqueue_jobs([{"job_type": "t", "payload": {"hunter2"}}]), "jobs"),
        (lambda: _calls.enqueue_jobs(7), "jobs"),
        (lambda: _calls.claim_jobs("w", "hunter2"), "job_types"),
        (lambda: _calls.claim_jobs("w", ["hunter2\0"]), "job_types"),
        (lambda: _calls.claim_jobs("w", ["t"], prestart="hunter2"), "prestart"),
        (lambda: _calls.leased_jobs("w", [2**63]), "known_tokens"),
        (lambda: _calls.start_jobs("hunter2", [1]), "job_ids"),
        (lambda: _calls.succeed_job("hunter2", 1), "job_id"),
        (lambda: _calls.succeed_job("0190163d-8694-739b-aea5-966c26f8ad91", "hunter2"), "lease_token"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_sending(call, argument):
    """By the class of the database's own refusals, naming the argument and never its value."""
    with pytest.raises(runledger.InvalidArgument) as caught:
        call()
    error = caught.value
    assert error.code == "client.invalid_argument"
    assert error.sqlstate == "RL010"
    assert error.detail == {"argument": argument}
    assert error.hint
    assert "hunter2" not in f"{error}{error.args}{error.hint}"


def test_a_batch_that_cannot_be_sent_names_the_item():
    with pytest.raises(runledger.InvalidArgument) as caught:
        _calls.finish_jobs([{"outcome": "SUCCEEDED"}, {"output": {"hunter2": {"hunter2"}}}, {"output": {1j}}])
    assert caught.value.hint == "Item 2: Object of type set is not JSON serializable"


def test_words_of_others_are_made_storable(db: Db):
    """A message may quote a file name that is no UTF-8, or a NUL."""
    words = _calls.storable("no such file: caf\udce9\0.txt é😀")
    assert words == "no such file: caf?\ufffd.txt é😀"
    assert db.value("select %s::text", [words]) == words


@pytest.mark.parametrize("fine", ["a\\u0000b", "\\\\u0000", "\\ud800", "😀 \U0010ffff", "\u2028\x01\x7f", '"\\"'])
def test_strings_that_only_look_unstorable_are_stored(db: Db, fine: str):
    call = _calls.enqueue_job("t", {fine: [fine]})
    assert db.value("select %s::jsonb", [call.params["payload"]]) == {fine: [fine]}


def test_a_naive_datetime_is_refused():
    """It would mean another instant in each session's time zone."""
    from datetime import datetime

    with pytest.raises(runledger.InvalidArgument, match="time zone"):
        _calls.enqueue_job("t", run_at=datetime(2030, 1, 1))
    with pytest.raises(runledger.InvalidArgument, match="time zone"):
        _calls.enqueue_jobs([{"job_type": "t", "run_at": datetime(2030, 1, 1)}])
