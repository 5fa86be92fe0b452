"""What the pages show, to whom, and what they never show."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from types import SimpleNamespace

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from runledger import Client, _calls
from runledger.web._source import Rates, Source, Unavailable
from tests.anomaly.test_payload_zoo import HARMLESS
from tests.functions.conftest import Ledger
from tests.runner import pooler as p
from tests.support.database import Db
from tests.web.conftest import Browser
from tests.web.world import HOSTILE

LISTS = (
    "/", "/jobs", "/running", "/types", "/workflows", "/gates", "/schedules", "/dead-letters", "/workers", "/health", "/fsck",
    "/actions",
)  # fmt: skip
NOBODY = "0190c3a4-0000-7000-8000-000000000000"


@pytest.fixture
def q(db: Db) -> Ledger:
    ledger = Ledger(db)
    ledger.define("t")
    return ledger


@pytest.fixture
def page(serve: Callable[..., Browser]) -> Browser:
    return serve()


def as_role(db: Db, role: str) -> str:
    return make_conninfo(db.admin_dsn, user=role)


def test_an_empty_ledger_has_every_page(page: Browser):
    for path in LISTS:
        assert page.read(path).html.startswith("<!doctype html>")
    assert "No job type is defined yet" in page.read("/").text
    assert "No worker is here" in page.read("/workers").text


def test_every_link_leads_somewhere_and_nothing_hostile_takes_effect(page: Browser, world: SimpleNamespace):
    """Walks from page to page over a ledger whose names and messages are HTML, quotes and control characters."""
    to_see, seen = ["/", f"/jobs/{world.hostile}", f"/workflows/{world.gated}", f"/workflows/{world.wide}"], set()
    while to_see and len(seen) < 140:
        path = to_see.pop(0)
        if path in seen:
            continue
        seen.add(path)
        answer = page.get(path)
        assert answer.status in (200, 303), (path, answer.status, answer.text[:300])
        if "text/html" not in answer.headers["content-type"] or answer.status == 303:
            continue
        html = answer.html
        assert set(re.findall(r"<script\b[^>]*>", html)) == {'<script src="/static/app.js" defer>'}, path
        assert "<img" not in html
        assert not [name for name in answer.attributes if name.startswith("on") or name == "style"], path
        assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", html), path
        assert "s3cr3t" not in html
        to_see += [link for link in answer.links if link.startswith("/")]
    assert len(seen) > 100
    assert any(path.startswith("/jobs/") for path in seen)


def test_what_is_hostile_is_shown_as_it_is(page: Browser, world: SimpleNamespace):
    told = page.read(f"/jobs/{world.hostile}").text
    assert "<script>alert('pwned')</script>\"'><img src=x onerror=alert(1)>&amp;\\u202e\\x1b[31m" in told


def test_the_overview_begins_with_what_is_wrong(page: Browser, world: SimpleNamespace):
    answer = page.read("/")
    told = answer.text
    assert told.index("things need attention") < told.index("No live worker handles type invoice.archive")
    assert told.index("No live worker handles type invoice.archive") < told.index("Queues")
    assert "/waiting?type=invoice.archive" in answer.links
    # The way of somebody without a manual: overview, the jobs that wait, one of them, and there is the reason.
    waiting = page.read("/waiting?type=invoice.archive")
    assert [link for link in waiting.links if link.startswith("/jobs/")][0] == f"/jobs/{world.stuck}"
    why = page.read(f"/jobs/{world.stuck}").text
    assert "Why No worker is registered for the type invoice.archive. Start one" in why


def test_a_job_tells_its_attempts_events_log_and_next_try(page: Browser, world: SimpleNamespace):
    told = page.read(f"/jobs/{world.retrying}").text
    assert "retrying" in told
    assert "why.retry_wait" in told
    assert "2 attempts in" in told
    assert "3h later, asked by the handler" in told
    assert "451 4.7.1 greylisted, try again later" in told
    assert "connecting to smtp.example.org" in told
    assert told.count("leased") == 2


def test_a_run_is_drawn_with_a_link_for_each_job(page: Browser, db: Db, world: SimpleNamespace):
    answer = page.read(f"/workflows/{world.run}")
    picture = re.search(r"<svg class=\"dag\".*?</svg>\s*</div>", answer.html, re.DOTALL)
    assert picture
    jobs = db.column("select job_id::text from runledger.workflow_steps where workflow_run_id = %s", [world.run])
    assert {j for j in jobs if j} == set(re.findall(r'href="/jobs/([^"]*)"', picture[0]))
    assert picture[0].count('class="frame"') == len(jobs)
    assert "approve It is a gate" in answer.text
    assert "4 more steps like this" in answer.text


def test_a_wide_run_is_folded(page: Browser, world: SimpleNamespace):
    answer = page.read(f"/workflows/{world.wide}")
    assert answer.html.count('class="frame"') == 3
    assert "300 crawl.page: 300 blocked" in answer.text


def test_gates_schedules_types_and_workers(page: Browser, world: SimpleNamespace):
    gates = page.read("/gates")
    assert "sign off" in gates.text
    assert f"/workflows/{world.gated}" in gates.links
    assert "nobody reads it in August" in page.read("/schedules").text
    fires = page.read("/schedule?name=nightly+cleanup").text
    assert fires.count(" 02:30:00 ") == 12
    assert "Paused, so it is not claimed: the index is being moved" in page.read("/type?name=search.reindex").text
    assert "mail-2:4712" in page.read("/workers?type=email.send").text
    assert "crawl-1:8" not in page.read("/workers?type=email.send").text


def test_dead_letters_are_counted_by_error(page: Browser, world: SimpleNamespace):
    del world
    told = page.read("/dead-letters").text
    assert "card.declined 6 billing.charge" in told
    chosen = page.read("/dead-letters?type=billing.charge&code=psp.timeout").text
    assert "Each of them of type billing.charge with psp.timeout" in chosen
    assert chosen.count("the provider said no") - 2 == 3  # two groups tell of their latest


def test_find_goes_to_jobs_runs_and_types(page: Browser, world: SimpleNamespace):
    for words, place in {
        str(world.stuck): f"/jobs/{world.stuck}", str(world.run): f"/workflows/{world.run}",
        "invoice.archive": "/type?name=invoice.archive", "digest": "/type?name=email.digest",
        "crawl": "/types?contains=crawl", "nothing+like+it": "/jobs?contains=nothing+like+it",
    }.items():  # fmt: skip
        answer = page.get(f"/find?q={words}")
        assert (answer.status, answer.headers["location"]) == (303, place)
    assert page.get(f"/find?q={NOBODY}").status == 404


def test_fsck_is_asked_by_a_button_alone(page: Browser, world: SimpleNamespace):
    del world
    assert "Result" not in page.read("/fsck").text
    told = page.submit("/fsck", "/fsck", scope="full").text
    assert "It is sound: nothing was found." in told


@pytest.mark.corrupts
def test_fsck_tells_what_it_finds_and_how_to_repair_it(page: Browser, q: Ledger, db: Db):
    job_id = q.dead()
    db.execute("delete from runledger.job_dead_letters where job_id = %s", [job_id])
    answer = page.submit("/fsck", "/fsck", scope="full")
    assert str(job_id) in answer.text
    assert '<div class="fix">' in answer.html


def test_payloads_are_shown_on_demand_and_that_is_recorded(page: Browser, world: SimpleNamespace, db: Db):
    path = f"/jobs/{world.hostile}"
    # The owner of the schema could read them in get_job; the page shows them to nobody who does not ask.
    assert "s3cr3t" not in page.read(path).html
    assert page.read(f"{path}?show=bodies").html.count("s3cr3t") == 0
    shown = page.submit(path, path, show="bodies")
    assert '"secret": "s3cr3t-payload"' in shown.text
    assert "<script>alert" not in shown.html
    assert '"secret": "s3cr3t-log"' in page.submit(path, path, show="logs").text
    read = db.column(
        "select action from runledger.operator_actions where object = %s order by id", [str(world.hostile)]
    )
    assert read == ["job_payload", "job_log_payloads"]


@pytest.mark.parametrize("beast", HARMLESS)
def test_whatever_is_stored_can_be_shown(page: Browser, q: Ledger, db: Db, beast: str):
    job_id = db.value(f"select job_id from runledger.enqueue_job('t', {HARMLESS[beast]})")
    shown = page.submit(f"/jobs/{job_id}", f"/jobs/{job_id}", show="bodies")
    assert shown.status == 200
    assert "Payload" in shown.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", shown.html)
    assert shown.html.count("<script") == 1


@pytest.mark.corrupts
def test_what_cannot_be_decoded_is_shown_as_its_words(page: Browser, q: Ledger, db: Db):
    job_id = q.enqueue()
    db.execute("update runledger.job_queue set payload = '{\"n\": 1e5000}' where id = %s", [job_id])
    shown = page.submit(f"/jobs/{job_id}", f"/jobs/{job_id}", show="bodies")
    assert shown.status == 200
    assert "Not shown as JSON" in shown.text


def test_nothing_of_a_query_or_form_is_logged(page: Browser, world: SimpleNamespace, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, logger="runledger"):
        page.read("/jobs?contains=customer-name-in-a-filter")
        page.submit(f"/jobs/{world.hostile}", f"/jobs/{world.hostile}", show="bodies")
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert "web: GET /jobs 200" in told
    assert "customer-name" not in told
    assert "s3cr3t" not in told


# --- lists ----------------------------------------------------------------------------------------


def test_a_list_of_ten_thousand_jobs_is_read_in_pages_of_few_calls(page: Browser, q: Ledger, db: Db):
    for _ in range(10):
        q.rows("enqueue_jobs", jobs=[{"job_type": "t"}] * 1000)
    db.execute("analyze runledger.job_queue")
    found: list[str] = []
    path: str | None = "/jobs?n=250&contains=T"
    pages = 0
    while path:
        before = page.server.source.calls
        answer = page.read(path)
        # The clock and the list.
        assert page.server.source.calls - before == 2
        ids = re.findall(r'href="/jobs/([0-9a-f-]{36})"', answer.html)
        assert len(ids) <= 250
        found += ids
        pages += 1
        path = next((link for link in answer.links if "before=" in link), None)
        assert path is None or "contains=T" in path
    assert pages in (40, 41)
    assert len(found) == len(set(found)) == 10_000
    before = page.server.source.calls
    assert "Ready 10,000+" in page.read("/").text
    assert page.server.source.calls - before <= 8


def test_waiting_jobs_are_paged_in_the_order_of_claiming(page: Browser, q: Ledger):
    order = [str(i) for p in (7, 0, -3) for i in q.enqueue_many(9, priority=p)]
    q.enqueue(organization_id="0190c3a4-1111-7000-8000-00000000000a", priority=100)
    path, found = "/waiting?type=t&n=5&tenant=", []
    while path:
        answer = page.read(path)
        found += re.findall(r'href="/jobs/([0-9a-f-]{36})"', answer.html)
        path = next((link for link in answer.links if "after=" in link), "")
    assert found[1:] == order
    assert len(found) == 28
    for query in ("", "type=t&after=" + order[0], "type=t&after_priority=1&after_at=2026-01-01T00:00:00Z"):
        assert page.get(f"/waiting?{query}").status in (400, 404)


def test_running_jobs_are_paged_the_longest_held_first(page: Browser, q: Ledger):
    held = [str(q.leased()["job_id"]) for _ in range(7)]
    done = q.leased()
    q.succeed(done)
    path, found = "/running?n=3&contains=T", []
    while path:
        answer = page.read(path)
        found += re.findall(r'href="/jobs/([0-9a-f-]{36})"', answer.html)
        path = next((link for link in answer.links if "after=" in link), "")
    assert found == held
    assert "Nothing is running" in page.read("/running?type=other").text


def test_runs_that_go_on_are_listed_oldest_first(page: Browser, q: Ledger):
    runs = [
        str(q.row("enqueue_workflow", workflow_type="w", steps=[{"key": "s", "external": True}])["workflow_run_id"])
        for _ in range(4)
    ]
    q.row("cancel_workflow", workflow_run_id=runs[1])
    path, found = "/workflows?status=LIVE&n=2", []
    while path:
        answer = page.read(path)
        found += re.findall(r'href="/workflows/([0-9a-f-]{36})"', answer.html)
        path = next((link for link in answer.links if "before=" in link), "")
    assert found == [runs[0], runs[2], runs[3]]
    newest = re.findall(r'href="/workflows/([0-9a-f-]{36})"', page.read("/workflows").html)
    assert newest == runs[::-1]


def test_filters_find_what_they_say(page: Browser, q: Ledger):
    q.define("other")
    dead, tenant = q.dead(), "0190c3a4-1111-7000-8000-00000000000a"
    other = q.enqueue("other")
    own = q.enqueue(organization_id=tenant)

    def ids(query: str) -> set[str]:
        return set(re.findall(r'href="/jobs/([0-9a-f-]{36})"', page.read(f"/jobs?{query}").html))

    assert ids("status=DEAD_LETTERED") == {str(dead)}
    assert ids("type=other") == ids("contains=OTH") == {str(other)}
    assert ids(f"tenant={tenant}") == {str(own)}
    assert ids("created=last-hour") == {str(dead), str(other), str(own)}
    assert ids("created=hour-ago") == set()
    assert ids("worker=nobody") == set()


@pytest.mark.parametrize("query", [
    "status=WRONG", "n=0", "n=251", "n=-1", "n=x", "n=%D9%A3", "created=ever", "before_at=yesterday", "n=" + "9" * 30,
    "a=1&a=2", "x=%00", "x=%ff", "&".join(f"f{i}=1" for i in range(30)),
])  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused(page: Browser, query: str):
    path = "/dead-letters" if "before_at" in query else "/jobs"
    assert page.get(f"{path}?{query}").status == 400


@pytest.mark.parametrize("path", [
    "/nothing", "/jobs/", "/jobs/1", f"/jobs/{NOBODY}", f"/workflows/{NOBODY}", "/workflows/x/y", "/type", "/type?name=no",
    "/schedule?name=no", "/static/../__init__.py", "/static/%2e%2e/_server.py", "/static/", "/jobs?before=1",
    "/do/pause-type", f"/jobs/{NOBODY}/payload",
])  # fmt: skip
def test_what_is_not_there_is_not_found(page: Browser, path: str):
    answer = page.get(path)
    assert answer.status == 404
    assert "Traceback" not in answer.html


# --- roles ----------------------------------------------------------------------------------------


def test_an_observer_reads_everything_but_payloads(
    serve: Callable[..., Browser], db: Db, world: SimpleNamespace, new_role: Callable[..., str]
):
    role = new_role("observer")
    with Client.connect(db.dsn) as client:
        client.grant_access(role, "observer")
    page = serve(as_role(db, role))
    for path in (*LISTS, f"/jobs/{world.hostile}", f"/workflows/{world.run}", "/type?name=email.send",
                 "/schedule?name=reindex"):  # fmt: skip
        assert "Left out" not in page.read(path).text, path
    asked = page.submit(f"/jobs/{world.hostile}", f"/jobs/{world.hostile}", show="bodies")
    assert asked.status == 200
    assert f"Left out: the role {role} may not read this" in asked.text
    assert "s3cr3t" not in asked.html
    assert "It is sound" in page.submit("/fsck", "/fsck", scope="fast").text


def test_what_a_role_may_not_see_is_left_out_with_a_word(
    serve: Callable[..., Browser], db: Db, world: SimpleNamespace, new_role: Callable[..., str]
):
    producer, nobody = new_role("producer"), new_role("nobody")
    with Client.connect(db.dsn) as client:
        client.grant_access(producer, "producer")
    for role in (producer, nobody):
        page = serve(as_role(db, role))
        for path in (*LISTS, f"/jobs/{world.hostile}", f"/workflows/{world.run}"):
            answer = page.read(path)
            assert f"Left out: the role {role} may not read this" in answer.text or path == "/fsck", path
            assert "pwned" not in answer.html
        assert "email.send" not in page.read("/").text


def test_a_page_changes_nothing(db: Db, q: Ledger):
    source = Source(db.dsn)
    with source.session() as session:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            session.read(_calls.pause_job_type("t", "no"))
        assert session.read(_calls.get_job_definition("t")).is_paused is False
    source.close()


# --- the database is not always there -------------------------------------------------------------


def test_without_the_schema_the_page_says_so(serve: Callable[..., Browser], empty_db: Db):
    answer = serve(empty_db.dsn).get("/")
    assert answer.status == 503
    assert "The schema is not installed here" in answer.text
    assert "runledger migrate --check" in answer.text


def test_without_a_server_the_page_says_so(serve: Callable[..., Browser], db: Db):
    page = serve(make_conninfo(db.dsn, host="127.0.0.1", port="1", password="hidden-word"))
    answer = page.get("/jobs")
    assert answer.status == 503
    assert "The database did not answer" in answer.text
    assert "hidden-word" not in answer.html


def test_broken_connections_are_opened_anew(page: Browser, db: Db):
    page.read("/")
    ended = db.column(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where application_name = 'runledger-web' and datname = current_database()"
    )
    assert ended == [True]
    page.read("/")
    page.read("/jobs")


@pytest.mark.slow
@pytest.mark.skipif(p.BINARY is None, reason="pgbouncer is not installed (make test-all insists on it)")
def test_it_works_through_a_pooler_in_transaction_mode(serve: Callable[..., Browser], world: SimpleNamespace, db: Db):
    pooler = p.Pooler(db)
    try:
        page = serve(pooler.dsn, allow_changes=True)
        page.sign_in()
        for _ in range(8):
            for path in ("/", "/jobs", f"/jobs/{world.stuck}", f"/workflows/{world.run}"):
                page.read(path)
        assert page.change("cancel-job", job=world.stuck, reason="r").status == 303
        assert db.job(world.stuck)["status"] == "CANCELED"
    finally:
        pooler.close()


def test_what_takes_too_long_is_given_up_and_costs_no_connection(db: Db, q: Ledger):
    job_id = q.enqueue()
    source = Source(db.dsn, size=1)
    blocker = db.connect(admin=True, autocommit=False)
    blocker.execute("lock table runledger.job_queue in access exclusive mode")
    for _ in range(3):
        with pytest.raises(Unavailable, match="given up"), source.session(0.3) as session:
            session.read(_calls.get_job(job_id))
    blocker.rollback()
    with source.session() as session:
        found = session.read(_calls.get_job(job_id))
        assert found is not None
        assert found.job_id == job_id
    source.close()


def test_nothing_is_asked_after_the_time_is_over(db: Db, q: Ledger):
    source = Source(db.dsn)
    for ask in ("read", "write"):
        with pytest.raises(Unavailable, match="given up"), source.session() as session:
            session.give_up()  # between two calls, where there is nothing to cancel
            getattr(session, ask)(_calls.pause_job_type("t", "r"))
    assert not db.value("select is_paused from runledger.job_definitions")
    source.close()


def test_when_all_connections_are_taken_one_more_is_told_so(db: Db):
    source = Source(db.dsn, size=1)
    with source.session(), pytest.raises(Unavailable, match="in use"), source.session(0.1):
        pass
    source.close()


def test_rates_are_differences_of_counts(db: Db, q: Ledger):
    rates = Rates()

    def sample(at: float) -> None:
        with Client.connect(db.dsn) as client:
            rates.add(client.list_queues(), at=at)

    sample(100.0)
    q.succeed(q.leased())
    q.succeed(q.leased())
    sample(102.0)  # too early to tell
    assert rates.of("t") == []
    sample(105.0)
    sample(110.0)
    assert rates.of("t") == [0.4, 0.0]
    q.succeed(q.leased())
    sample(300.0)  # nobody looked for minutes: that is no rate of now
    assert rates.of("t") == []


def test_the_hostile_text_is_what_the_other_tests_think():
    assert {"<", ">", '"', "'", "&", "\u202e", "\x1b"} <= set(HOSTILE)
