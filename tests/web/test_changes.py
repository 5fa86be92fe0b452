"""What the page changes when it may: each is the function of that name, with its reason on record."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from runledger import Client
from runledger.web._changes import CHANGES
from tests.functions.conftest import Ledger
from tests.support.database import Db
from tests.web.conftest import Answer, Browser

GATED = [{"key": "g", "external": True}, {"key": "s", "job_type": "t", "after_success": ["g"]}]


@pytest.fixture
def w(db: Db) -> SimpleNamespace:
    q = Ledger(db)
    q.define("t")
    with Client.connect(db.dsn) as client:
        run = client.enqueue_workflow("flow", GATED).workflow_run_id
        client.upsert_schedule("s", "t", cron="@hourly")
    return SimpleNamespace(q=q, db=db, run=run)


@pytest.fixture
def page(serve: Callable[..., Browser]) -> Browser:
    browser = serve(allow_changes=True)
    browser.sign_in()
    return browser


def done(page: Browser, answer: Answer, words: str) -> None:
    assert answer.status == 303, answer.text
    after = page.read(answer.headers["location"])
    assert words in after.text
    # It is said once.
    assert words not in page.read("/").text


def recorded(db: Db) -> list[tuple[Any, ...]]:
    return [
        (r["action"], r["object"], r["reason"])
        for r in db.all("select * from runledger.operator_actions order by id")
        if r["action"] not in ("define_job", "upsert_schedule")
    ]


def test_a_type_is_paused_and_resumed(page: Browser, w: SimpleNamespace):
    done(page, page.change("pause-type", type="t", reason="smtp is <down>"), "t is paused: its jobs wait.")
    assert "Paused, so it is not claimed: smtp is <down>" in page.read("/type?name=t").text
    done(page, page.change("resume-type", type="t"), "t is claimed again.")
    assert recorded(w.db) == [("pause_job_type", "t", "smtp is <down>"), ("resume_job_type", "t", None)]


def test_a_job_is_canceled_and_requeued(page: Browser, w: SimpleNamespace):
    job_id = w.q.enqueue()
    done(page, page.change("cancel-job", job=job_id, reason="not needed"), "The job is canceled.")
    done(
        page,
        page.change("requeue-job", job=job_id, run_number=1, reason="needed"),
        "The job waits again, as its run 2.",
    )
    assert w.q.job(job_id)["status"] == "PENDING"
    # Somebody else looked at the first run, too.
    w.q.row("cancel_job", job_id=job_id)
    stale = page.change("requeue-job", job=job_id, run_number=1, reason="needed")
    assert stale.status == 409
    assert w.q.job(job_id)["status"] == "CANCELED"
    assert [row[0] for row in recorded(w.db)][:2] == ["cancel_job", "requeue_job"]


def test_dead_letters_of_one_error_are_redriven(page: Browser, w: SimpleNamespace):
    ids = [w.q.dead() for _ in range(3)]
    lease = w.q.leased()
    w.q.fail(lease, "e.other", kind="TERMINAL")
    answer = page.change("redrive", job_type="t", error_code="e.x", reason="mended")
    done(page, answer, "3 jobs wait again. Steps of runs stay.")
    assert {w.q.job(i)["status"] for i in ids} == {"PENDING"}
    assert w.q.job(lease["job_id"])["status"] == "DEAD_LETTERED"
    # Without a code it would be all of them: the page does not offer that.
    assert page.change("redrive", job_type="t", error_code="", reason="mended").status == 400


def test_a_gate_is_completed_and_a_run_canceled(page: Browser, w: SimpleNamespace):
    done(page, page.change("complete-gate", run=w.run, step="g", outcome="SUCCEEDED", reason="ann said so"),
         "The gate has succeeded.")  # fmt: skip
    assert w.db.value("select status::text from runledger.workflow_steps where step_key = 's'") == "ENQUEUED"
    assert page.change("complete-gate", run=w.run, step="g", outcome="CANCELED").status == 409
    assert page.change("complete-gate", run=w.run, step="g", outcome="MAYBE").status == 400
    done(page, page.change("cancel-run", run=w.run, reason="enough"), "The run is canceled.")
    assert w.db.value("select status::text from runledger.workflow_runs") == "CANCELED"


def test_a_schedule_is_paused_and_resumed(page: Browser, w: SimpleNamespace):
    done(page, page.change("pause-schedule", schedule="s", reason="holiday"), "The schedule is paused.")
    assert w.db.value("select is_active from runledger.job_schedules") is False
    done(page, page.change("resume-schedule", schedule="s"), "The schedule fires again.")
    assert w.db.value("select is_active from runledger.job_schedules") is True


@pytest.mark.parametrize("verb", sorted(set(CHANGES) - {"resume-type", "resume-schedule", "complete-gate"}))
def test_a_change_needs_a_reason(page: Browser, w: SimpleNamespace, verb: str):
    job_id = w.q.enqueue()
    form = {
        "type": "t",
        "job": job_id,
        "run_number": 1,
        "job_type": "t",
        "error_code": "e",
        "run": w.run,
        "schedule": "s",
    }
    assert page.change(verb, **form, reason="  ").status == 400
    assert recorded(w.db) == []


@pytest.mark.parametrize(("verb", "form", "status"), [
    ("no-such-change", {}, 404), ("cancel-job", {"reason": "r"}, 400), ("cancel-job", {"job": "x", "reason": "r"}, 400),
    ("cancel-job", {"job": "0190c3a4-0000-7000-8000-000000000000", "reason": "r"}, 404),
    ("pause-type", {"type": "unknown", "reason": "r"}, 404), ("pause-type", {"type": "t", "reason": "x" * 9000}, 400),
    ("requeue-job", {"job": "0190c3a4-0000-7000-8000-000000000000", "run_number": "-1", "reason": "r"}, 400),
])  # fmt: skip
def test_a_change_that_cannot_be_is_told(
    page: Browser, w: SimpleNamespace, verb: str, form: dict[str, str], status: int
):
    answer = page.change(verb, **form)
    assert answer.status == status, answer.text
    assert recorded(w.db) == []


def test_the_role_of_the_page_decides(serve: Callable[..., Browser], w: SimpleNamespace, new_role: Callable[..., str]):
    job_id = w.q.enqueue()
    observer, operator = new_role("observer"), new_role("operator")
    with Client.connect(w.db.dsn) as client:
        client.grant_access(observer, "observer")
        client.grant_access(operator, "operator")
    refused = serve(make_conninfo(w.db.admin_dsn, user=observer), allow_changes=True)
    refused.sign_in()
    answer = refused.change("cancel-job", job=job_id, reason="r")
    assert answer.status == 403
    assert "The role of this page may not do that" in answer.text
    allowed = serve(make_conninfo(w.db.admin_dsn, user=operator), allow_changes=True)
    allowed.sign_in()
    assert allowed.change("cancel-job", job=job_id, reason="r").status == 303
    assert w.db.value("select role_name from runledger.operator_actions where action = 'cancel_job'") == operator
