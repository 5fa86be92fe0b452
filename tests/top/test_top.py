"""runledger top on a terminal: what it shows is what stands in the database, and its keys do what they say there."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from runledger.top.feed import Feed, Look, Lost, View
from tests.cli.conftest import NASTY, WIDE
from tests.demo.conftest import wait_for
from tests.support.database import Db
from tests.support.flows import Flows, gate, step
from tests.support.ledger import Ledger
from tests.top.conftest import Watch

pytestmark = pytest.mark.slow
Open = Callable[..., Watch]
PANELS = {"1": "queues", "2": "running", "3": "workers", "4": "dead", "5": "workflows"}


@pytest.fixture
def scene(q: Ledger) -> SimpleNamespace:
    """Something of each kind, under names that cannot be taken for anything else."""
    for name in ("stuck.type", "work.type", "fail.type", WIDE, NASTY):
        q.define(name, max_attempts=1)
    q.row("register_worker", worker_id="worker-one", job_types=["work.type", "fail.type"], max_jobs=4)
    q.row("register_worker", worker_id="worker " + NASTY, job_types=[WIDE])
    stuck = q.enqueue_many(3, "stuck.type")
    q.enqueue(WIDE)
    q.enqueue(NASTY)
    running = q.leased("work.type", worker="worker-one", lease_seconds=900)
    q.row("report_progress", **running, done=1, total=4, stage="quarter")
    q.row("log_job", **running, level="info", message="a line of the log")
    dead = q.leased("fail.type", worker="worker-one")
    q.fail(dead, code="smtp.gone", message="the server is " + NASTY, kind="TERMINAL")
    run = Flows(q)(step("a"), gate("approve"), step("b", "a", "approve"))
    return SimpleNamespace(q=q, stuck=stuck, running=running["job_id"], dead=dead["job_id"], run=run.id)


@pytest.mark.parametrize("columns, lines", [(80, 24), (100, 30), (200, 50)])
def test_each_panel_shows_what_there_is(watch: Open, scene: SimpleNamespace, columns: int, lines: int):
    top = watch(columns=columns, lines=lines)
    words = ("PostgreSQL", "health", "ready 6", "running 1", "dead 1", "stuck.type", "work.type", "q quit")
    top.until(lambda s: all(word in s for word in words))
    top.press("2").until(lambda s: "25%" in s and "worker-one" in s and "900" not in s)
    assert "14m" in top.text  # what is left of the lease
    top.press("3").until(lambda s: "1/4" in s and "worker-one" in s)
    top.press("4").until(lambda s: "smtp.gone" in s and str(scene.dead) in s)
    top.press("5").until(lambda s: "0/3" in s and str(scene.run) in s)
    for _ in range(5):
        top.press("tab")
    top.until("0/3")
    assert top.press("q").ended() == 0
    # Nothing scrolled, and nothing that steers a terminal came through.
    assert "\n" not in top.written.decode().split("\x1b[?1049h")[1].split("\x1b[?1049l")[0]
    assert not set("\x07\u202e\u2028\t") & set(top.written.decode())


def test_a_stuck_job_and_its_reason_are_three_keys_away(watch: Open, scene: SimpleNamespace):
    """The type that waits stands first; enter, enter, and the reason is there with its fix."""
    scene.q.db.execute("update runledger.job_queue set next_run_at = next_run_at - interval '1 minute', created_at ="
                       " created_at - interval '1 minute' where job_type = 'stuck.type'")  # fmt: skip
    top = watch()
    top.until(lambda s: "no worker" in s)
    assert top.lines[5].split()[:2] == ["stuck.type", "no"]
    top.press("enter").until(str(scene.stuck[0]))
    shown = top.press("enter").until("why.no_worker")
    assert "No worker is registered for the type stuck.type" in shown
    assert "fix: select" in shown
    top.press("q").until(str(scene.stuck[0]))
    top.press("escape").until("no worker")
    assert "why.no_worker" in top.press("w").until("what comes next")


def test_p_pauses_and_resumes_the_type(db: Db, watch: Open, scene: SimpleNamespace):
    def paused() -> Any:
        return db.one("select is_paused, paused_reason from runledger.job_definitions where job_type = 'stuck.type'")

    top = watch()
    top.until("stuck.type")
    top.press("/", "stuck", "enter").until(lambda s: "filter: stuck" in s and "1 of 1" in s)
    top.press("p").until("pause type stuck.type? y/n")
    top.press("n").until("nothing was done")
    top.press("p", "y").until("reason")
    top.press("escape").until("nothing was done")
    assert paused() == {"is_paused": False, "paused_reason": None}
    top.press("p", "y", "deploy ü", "enter").until("paused: done")
    assert paused() == {"is_paused": True, "paused_reason": "deploy ü"}
    top.until(lambda s: "paused: deploy ü" in top.press("k").text or "paused  " in s)
    top.press("p").until("resume type stuck.type? y/n")
    top.press("y").until("resumed")
    assert paused()["is_paused"] is False


def test_c_cancels_jobs_and_runs(db: Db, watch: Open, scene: SimpleNamespace):
    top = watch()
    top.press("2").until("25%")
    top.press("c").until(f"cancel job {scene.running}? y/n")
    top.press("y", "wrong list", "enter").until("canceled")
    assert scene.q.job(scene.running)["status_reason"] == "wrong list"
    assert scene.q.job(scene.running)["status"] == "CANCELED"
    top.until("stopping")
    top.press("5").until("0/3")
    top.press("c").until("and all that is open in it? y/n")
    top.press("y", "enter").until("no workflow run is open")
    assert db.value("select status::text from runledger.workflow_runs where id = %s", [scene.run]) == "CANCELED"


def test_r_runs_a_dead_letter_again(db: Db, watch: Open, scene: SimpleNamespace):
    top = watch()
    top.press("4").until("smtp.gone")
    top.press("r").until(f"run job {scene.dead} again? y/n")
    top.press("y", "smtp is back", "enter").until(": requeued")
    top.until("no dead letters")
    job = scene.q.job(scene.dead)
    assert (job["status"], job["run_number"]) == ("PENDING", 2)
    action = db.one("select action, reason from runledger.operator_actions where action = 'requeue_job'")
    assert action == {"action": "requeue_job", "reason": "smtp is back"}
    top.press("1").until("stuck.type")
    top.press("r").until("r runs a dead letter again")


def test_a_letter_that_was_run_again_meanwhile_is_refused(watch: Open, scene: SimpleNamespace):
    top = watch()
    top.press("4").until("smtp.gone")
    top.press(" ").until("FROZEN")
    scene.q.row("requeue_job", job_id=scene.dead)
    top.press("r", "y", "enter").until("refused")
    assert "job.requeue" in top.text
    assert scene.q.job(scene.dead)["run_number"] == 2
    top.press("q").until("smtp.gone")
    top.press(" ").until("no dead letters")


def test_t_tells_the_history_of_a_job_and_the_tree_of_a_run(watch: Open, scene: SimpleNamespace):
    top = watch()
    top.press("2").until("25%")
    shown = top.press("t").until("history: job")
    for words in ("1.1", "worker-one", "ENQUEUED", "LEASED", "STAGE_CHANGED", "quarter", "a line of the log"):
        assert words in shown
    top.press("q", "4").until("smtp.gone")
    assert "DEAD_LETTERED" in top.press("t").until("smtp.gone: the server is evil\\x1b[31m\\x07\\u202e")
    top.press("q", "5").until("0/3")
    shown = top.press("t").until("tree: run")
    assert "approve" in shown
    assert "WAITING_FOR_EXTERNAL" in shown
    top.press("q").until("0/3")
    assert "why.gate_waiting" in top.press("enter").until("why: run")


def test_help_health_and_scrolling(watch: Open, scene: SimpleNamespace):
    top = watch(columns=80, lines=24)
    top.until("stuck.type")
    assert "pause or resume the type" in top.press("?").until("freeze, and go on")
    top.press("escape").until("stuck.type")
    top.press("h").until("lines more")
    top.press("end").until(lambda s: "lines more" not in s)
    top.press("q").until("stuck.type")


def test_the_selection_stays_with_its_row(watch: Open, scene: SimpleNamespace):
    q = scene.q
    ids = [q.leased("work.type", worker="worker-one", lease_seconds=900)["job_id"] for _ in range(3)]
    top = watch()
    top.press("2").until("1 of 4")
    top.press("j", "j").until("3 of 4")
    assert str(ids[1]) in top.lines[-2]
    q.row("cancel_job", job_id=scene.running)
    [token] = q.db.column("select lease_token from runledger.job_queue where id = %s", [ids[0]])
    q.succeed({"job_id": ids[0], "lease_token": token})
    top.until("2 of 3")
    assert str(ids[1]) in top.lines[-2]
    top.press("end").until("3 of 3")
    assert str(ids[2]) in top.lines[-2]


def test_what_ends_is_told_as_a_rate(watch: Open, scene: SimpleNamespace):
    q = scene.q
    top = watch()
    top.until(lambda s: "done 0/s" in s)
    for _ in range(20):
        q.succeed(q.leased("work.type"))
    top.until(lambda s: "done 0/s" not in s and "done -/s" not in s)
    assert any(bar in top.text for bar in "▂▃▄▅▆▇█")


def test_it_freezes_and_goes_on(watch: Open, scene: SimpleNamespace):
    top = watch()
    top.press("/", "stuck", "enter").until("1 of 1")
    top.press(" ").until("FROZEN")
    scene.q.enqueue_many(4, "stuck.type")
    top.press("?").until("freeze, and go on")
    top.press("q").until("1 of 1")
    assert " 3 " in top.lines[5]
    top.press(" ").until(lambda s: " 7 " in top.lines[5])


@pytest.mark.parametrize(
    "end, code",
    [("q", 0), ("interrupt", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)],
)
def test_whatever_ends_it_the_terminal_is_as_before(watch: Open, scene: SimpleNamespace, end: Any, code: int):
    top = watch()
    top.until("stuck.type")
    if isinstance(end, str):
        top.press(end)
    else:
        os.kill(top.process.pid, end)
    assert top.ended() == code
    assert top.is_restored


def test_it_can_be_put_aside(watch: Open, scene: SimpleNamespace):
    top = watch()
    top.until("stuck.type")
    top.press("suspend")
    status = Path(f"/proc/{top.process.pid}/stat")
    wait_for(lambda: status.read_text().rpartition(")")[2].split()[0] == "T")
    top.read_all()
    assert top.is_restored
    scene.q.define("made.meanwhile")
    os.kill(top.process.pid, signal.SIGCONT)
    top.until("made.meanwhile")
    assert not top.is_restored
    assert top.press("q").ended() == 0
    assert top.is_restored


def test_an_exception_leaves_the_terminal_as_before(start: Callable[..., Watch]):
    code = "from runledger.top.terminal import Terminal\nwith Terminal(): 1 / 0"
    top = start([sys.executable, "-c", code])
    assert top.ended() == 1
    assert top.is_restored
    assert b"ZeroDivisionError" in top.written.partition(b"\x1b[?1049l")[2]


def test_a_system_without_pipe2_will_do(start: Callable[..., Watch]):
    code = "import os\ndel os.pipe2\nfrom runledger.top.terminal import Terminal\nwith Terminal() as t: t.wake(), t.wait(9)"
    top = start([sys.executable, "-c", code])  # macOS has none
    assert top.ended() == 0, top.text
    assert top.is_restored


def test_it_follows_the_size_of_the_terminal(watch: Open, scene: SimpleNamespace):
    top = watch(columns=80, lines=24)
    top.until("stuck.type")
    assert "workers" not in top.lines[4]
    for columns, lines in ((160, 40), (60, 12), (100, 30)):
        top.resize(columns, lines)
        os.kill(top.process.pid, signal.SIGWINCH)
        top.until(lambda s: "quit" in top.lines[-1] or (columns < 100 and "enter jobs" in top.lines[-1]))  # noqa: B023
        top.until(lambda s: ("workers" in top.lines[4]) == (columns >= 120))  # noqa: B023
    top.resize(20, 5)
    os.kill(top.process.pid, signal.SIGWINCH)
    top.until("enter jobs")
    assert top.press("q").ended() == 0


def test_an_observer_looks_and_is_told_what_it_may_not_do(db: Db, watch: Open, scene: SimpleNamespace, new_role: Any):
    role = new_role("watcher")
    scene.q.row("grant_access", role_name=role, kind="observer")
    top = watch(dsn=db.admin_dsn.replace("user=postgres", f"user={role}"))
    top.until("stuck.type")
    top.press("2").until("25%")
    top.press("c", "y", "enter").until("permission denied for function cancel_job")
    assert "The owner of the schema grants it" in top.text
    assert scene.q.job(scene.running)["status"] == "LEASED"
    assert "why.running" in top.press("q", "w").until("why: job")
    top.press("q", "t").until("a line of the log")
    top.press("q", "5").until("0/3")
    assert top.press("q").ended() == 0


def test_a_role_without_any_right_is_told_so(db: Db, watch: Open, scene: SimpleNamespace, stranger: str):
    top = watch(dsn=db.admin_dsn.replace("user=postgres", f"user={stranger}"))
    top.until("permission denied")
    assert "grant ROLE KIND" in top.text
    assert top.press("q").ended() == 0


def test_a_lost_connection_comes_back(db: Db, watch: Open, scene: SimpleNamespace):
    top = watch()
    top.until("stuck.type")
    name = db.conn.info.dbname
    with psycopg.connect(db.server.admin_dsn, autocommit=True) as other:
        other.execute(f"alter database {name} allow_connections false")
        try:
            other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'runledger-top'"
            )
            top.until("reconnecting")
            assert "stuck.type" in top.text  # what was seen last
            top.press("2", "c", "?").until("freeze, and go on")
        finally:
            other.execute(f"alter database {name} allow_connections true")
    top.press("q").until("25%")
    top.until(lambda s: "reconnecting" not in s and "every 0.3s" in s)


def test_a_call_that_hangs_keeps_no_key_waiting(db: Db, watch: Open, scene: SimpleNamespace):
    top = watch()
    top.until("stuck.type")
    with db.connect(admin=True, autocommit=False) as other:
        other.execute("lock table runledger.job_definitions in access exclusive mode")
        top.until("no answer for")
        top.press("?").until("freeze, and go on")
        assert top.press("q", "q").ended() == 0
    assert top.is_restored
    # Its session is not left behind.
    sessions = "select count(*) from pg_stat_activity where application_name = 'runledger-top'"
    wait_for(lambda: db.value(sessions) == 0)


def test_keys_that_mean_nothing_do_nothing(watch: Open, scene: SimpleNamespace):
    top = watch()
    top.until("stuck.type")
    top.press(*"²①٣éß0", "2").until("worker-one")  # ² is a key of its own on French keyboards
    assert top.press("q").ended() == 0


def test_no_call_hangs_unseen(db: Db):
    db.execute("create schema slow")
    db.execute("grant usage on schema slow to public")
    db.execute(
        "create function slow.clock_timestamp() returns timestamptz language sql volatile"
        " as 'select pg_catalog.pg_advisory_xact_lock(7); select pg_catalog.clock_timestamp()'"
    )
    blocker = db.connect()
    blocker.execute("select pg_advisory_lock(7)")
    dsn = psycopg.conninfo.make_conninfo(db.dsn, options="-c search_path=slow,pg_catalog")
    feed = Feed(dsn, Look("queues"), interval=0.2, wake=lambda: None)
    feed.start()
    wait_for(lambda: db.value("select exists (select from pg_locks where locktype = 'advisory' and not granted)"))
    assert feed.waits > 0
    feed.give_up()
    wait_for(lambda: any(isinstance(message, Lost) for message in feed.take()))
    blocker.close()
    wait_for(lambda: any(isinstance(message, View) for message in feed.take()))
    feed.stop()


def test_an_empty_database(db: Db, watch: Open):
    top = watch(columns=80, lines=24)
    top.until("no job type is defined yet")
    for key, words in {
        "2": "no job is running", "3": "no worker has registered", "4": "no dead letters", "5": "no workflow run is open",
    }.items():  # fmt: skip
        top.press(key).until(words)
        for nothing in ("j", "enter", "w", "t", "p", "c", "r", "end"):
            top.press(nothing)
    assert top.press("q").ended() == 0


def test_a_terminal_that_can_do_nothing_gets_one_frame(start: Callable[..., Watch], db: Db, scene: SimpleNamespace):
    top = start([sys.executable, "-m", "runledger", "top", "--dsn", db.dsn], 100, 60, TERM="dumb")
    assert top.ended() == 0
    assert b"\x1b" not in top.written
    assert b"stuck.type" in top.written
