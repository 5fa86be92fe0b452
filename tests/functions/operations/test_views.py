"""The views for people: what they say, that they carry no bodies, and that they fit a terminal."""

from __future__ import annotations

import subprocess
from datetime import timedelta

import pytest

from runledger import embedded
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger

VIEWS = ("jobs", "running_jobs", "dead_letters", "worker_status", "job_timeline", "schedules")
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


def view(db: Db, name: str, job_id: object) -> dict:
    return db.one(f"select * from runledger.{name} where job_id = %s", [job_id])


def state(db: Db, job_id: object) -> str:
    return view(db, "jobs", job_id)["state"]


def age(db: Db, by: timedelta) -> None:
    """Let everything have happened that much earlier."""
    for table, columns in {
        "job_queue": (
            "created_at",
            "updated_at",
            "next_run_at",
            "lease_expires_at",
            "last_heartbeat_at",
            "finished_at",
        ),
        "job_attempts": ("leased_at", "started_at", "finished_at"),
        "job_dead_letters": ("failed_at",),
        "job_events": ("occurred_at",),
        "workers": ("registered_at", "last_seen_at", "idle_until"),
    }.items():
        changes = ", ".join(f"{c} = {c} - %(by)s" for c in columns)
        db.execute(f"update runledger.{table} set {changes}", {"by": by})


def test_jobs_says_the_state_in_a_word(q: Ledger, db: Db):
    q.define(retry_delays_ms={"e.x": 3600_000})
    states = {}
    states["ready"] = q.enqueue("t")
    states["running"] = q.hold(states["ready"])["job_id"]
    lease = q.leased()
    q.fail(lease)
    states["retrying"] = lease["job_id"]
    states["dead"] = q.dead()
    lease = q.leased()
    q.succeed(lease)
    states["done"] = lease["job_id"]
    states["stopping"] = q.leased()["job_id"]
    q.row("cancel_job", job_id=states["stopping"], reason="no need")
    states["lost"] = q.leased()["job_id"]
    db.execute("update runledger.job_queue set lease_expires_at = now() where id = %s", [states["lost"]])
    states["delayed"] = q.enqueue(run_at=db.value("select now() + interval '1 hour'"))
    states["canceled"] = q.enqueue()
    q.row("cancel_job", job_id=states["canceled"])
    states["ready"] = q.enqueue()
    assert {name: state(db, job_id) for name, job_id in states.items()} == {name: name for name in states}
    assert db.value("select count(*) from runledger.jobs") == len(states)
    # Every list says the same.
    assert {r["job_id"]: r["state"] for r in q.rows("list_jobs")} == {job_id: name for name, job_id in states.items()}
    assert {n: q.row("get_job", job_id=job_id)["state"] for n, job_id in states.items()} == {n: n for n in states}
    waiting = {"ready", "delayed", "retrying"}
    assert {r["state"] for r in q.rows("list_waiting_jobs", job_type="t")} == waiting
    assert {r["state"] for r in q.rows("list_running_jobs")} == {"running", "stopping", "lost"}


def test_a_held_job_is_claimed_before_it_starts_and_over_time_after_its_timeout(q: Ledger, clock: Clock):
    q.define()
    job_id = q.enqueue(timeout_seconds=10)
    [lease] = q.claim(prestart=True, lease_seconds=60)
    assert q.row("list_running_jobs")["state"] == "claimed"
    q.start(lease)
    assert q.row("list_running_jobs")["state"] == "running"
    clock.advance(11)
    assert q.row("list_running_jobs")["state"] == "over time"
    clock.advance(50)
    assert (q.row("list_running_jobs")["state"], q.row("get_job", job_id=job_id)["state"]) == ("lost", "lost")


def test_jobs_tells_tries_times_and_why(q: Ledger, db: Db):
    q.define(retry_delays_ms={"e.x": 3600_000}, max_attempts=3)
    lease = q.leased(priority=7)
    q.fail(lease)
    row = view(db, "jobs", lease["job_id"])
    assert (row["job_type"], row["prio"], row["try"], row["note"]) == ("t", 7, "1/3", "e.x")
    assert HOUR - 60 * SECOND < row["due_in"] < HOUR
    assert timedelta(0) <= row["age"] < 60 * SECOND
    canceled = q.enqueue()
    q.row("cancel_job", job_id=canceled, reason="no\nneed")
    row = view(db, "jobs", canceled)
    assert (row["try"], row["due_in"], row["note"]) == ("0/3", None, "no need")
    assert view(db, "jobs", q.enqueue(stage="unpacked", priority=-1))["note"] == "unpacked"
    released = q.leased()
    assert view(db, "jobs", released["job_id"])["note"] == "running"
    q.release(released, reason="shutdown")
    assert view(db, "jobs", released["job_id"])["note"] == "shutdown"
    age(db, timedelta(hours=90))
    assert timedelta(hours=90) <= view(db, "jobs", canceled)["age"] < timedelta(hours=91)
    age(db, 30 * DAY)
    assert view(db, "jobs", canceled)["age"] == 33 * DAY
    assert view(db, "jobs", lease["job_id"])["due_in"] == -33 * DAY


def test_running_jobs_tells_who_how_long_and_how_far(q: Ledger, db: Db):
    percent, units = q.leased(worker="w1", lease_seconds=600), q.leased(worker="w2", lease_seconds=600)
    q.row("cancel_job", job_id=q.leased()["job_id"])
    q.enqueue()
    q.row("report_progress", **percent, done=1, total=3, stage="packing")
    q.row("report_progress", **units, done=17)
    rows = db.all("select * from runledger.running_jobs")
    assert [(r["job_id"], r["worker"], r["try"], r["progress"], r["stage"]) for r in rows] == [
        (percent["job_id"], "w1", "1/8", "33%", "packing"),
        (units["job_id"], "w2", "1/8", "17", "running"),
    ]
    age(db, timedelta(seconds=300))
    row = view(db, "running_jobs", percent["job_id"])
    assert 300 * SECOND <= row["running"] < 360 * SECOND
    assert 240 * SECOND < row["lease"] <= 300 * SECOND


def test_dead_letters_say_what_became_of_the_job(q: Ledger, db: Db):
    dead = {name: q.dead() for name in ("done", "requeued", "canceled", "dead")}
    for name in ("done", "requeued", "canceled"):
        q.row("requeue_job", job_id=dead[name])
    q.succeed(q.hold(dead["done"]))
    q.row("cancel_job", job_id=dead["canceled"])
    rows = db.all("select * from runledger.dead_letters")
    assert [r["job_id"] for r in rows] == [dead[n] for n in ("dead", "canceled", "requeued", "done")]
    assert [r["state"] for r in rows] == ["dead", "canceled", "requeued", "done"]
    assert {(r["job_type"], r["error_code"], r["error_message"]) for r in rows} == {("t", "e.x", "it broke")}
    assert all(timedelta(0) <= r["age"] < 60 * SECOND for r in rows)


def test_dead_letters_cut_long_errors_to_one_line(q: Ledger, db: Db):
    lease = q.leased()
    q.fail(lease, kind="TERMINAL", code="e." + "x" * 100, message="first\nsecond\tthird " + "y" * 4000)
    row = view(db, "dead_letters", lease["job_id"])
    assert row["error_code"] == "e." + "x" * 16
    assert row["error_message"] == "first second third y"


def test_worker_status_tells_who_works(q: Ledger, db: Db):
    for name in ("busy", "idle", "silent"):
        q.row("register_worker", worker_id=name, job_types=["t", "u"], max_jobs=4)
    age(db, timedelta(minutes=10))
    q.row("register_worker", worker_id="busy", job_types=["t"], max_jobs=2)
    q.row("idle_worker", worker_id="idle", until=db.value("select now() + interval '1 minute'"))
    q.leased(worker="busy")
    q.leased(worker="passer-by")
    db.execute(
        "update runledger.job_queue set lease_expires_at = now() where id = %s", [q.leased(worker="gone")["job_id"]]
    )
    rows = db.all("select * from runledger.worker_status")
    assert [(r["worker"], r["state"], r["leases"], r["max_jobs"], r["types"]) for r in rows] == [
        ("busy", "busy", 1, 2, 1),
        ("idle", "idle", 0, 4, 2),
        ("passer-by", "unknown", 1, None, None),
        ("silent", "silent", 0, 4, 2),
    ]
    by_name = {r["worker"]: r for r in rows}
    assert by_name["silent"]["seen_ago"] >= 600 * SECOND
    assert by_name["busy"]["seen_ago"] < 60 * SECOND
    assert by_name["busy"]["up"] >= 600 * SECOND
    assert by_name["busy"]["role"] == db.value("select role_name from runledger.workers limit 1")
    assert by_name["passer-by"]["role"] is None


def test_a_heartbeat_counts_as_being_seen(q: Ledger, db: Db):
    q.row("register_worker", worker_id="w1", job_types=["t"], max_jobs=4)
    lease = q.leased(worker="w1", lease_seconds=1200)
    age(db, timedelta(minutes=10))
    assert db.value("select state from runledger.worker_status") == "silent"
    q.beat(lease)
    assert db.value("select state from runledger.worker_status") == "busy"


def test_job_timeline_tells_the_story_in_order(q: Ledger, db: Db):
    q.define(retry_delays_ms={"e.x": 1500}, max_attempts=2)
    job_id = q.enqueue()
    q.row("correct_payload", job_id=job_id, payload={"a": 1}, reason="wrong address")
    q.release(q.hold(job_id), reason="shutdown")
    lease = q.hold(job_id, lease_seconds=30)
    q.row("log_job", job_id=job_id, level="info", message="opening\nthe box")
    q.row("report_progress", **lease, done=1, total=4, stage="packing")
    q.fail(lease, message="no tape")
    db.execute("update runledger.job_queue set next_run_at = now() where id = %s", [job_id])
    q.fail(q.hold(job_id), kind="TERMINAL", message="no box")
    q.row("requeue_job", job_id=job_id, reason="found one")
    q.row("continue_job", **q.hold(job_id, prestart=True))
    q.row("cancel_job", job_id=job_id, reason="enough")
    q.row("redact_job", job_id=job_id, reason="asked to")
    rows = db.all("select * from runledger.job_timeline where job_id = %s", [job_id])
    assert [(r["run"], r["try"], r["event"], r["stage"], r["detail"]) for r in rows] == [
        (1, None, "queued", "queued", None),
        (1, None, "corrected", None, "wrong address"),
        (1, 1, "claimed", "running", "by w1, 60 s"),
        (1, 1, "requeued", None, "given back: shutdown"),
        (1, 1, "claimed", "running", "by w1, 30 s"),
        (1, 1, "info", None, "[redacted]"),
        (1, 1, "stage", "packing", None),
        (1, 1, "progress", None, "1 of 4"),
        (1, 1, "failed", None, "e.x"),
        (1, 1, "retry", None, "in 1.5 s"),
        (1, 2, "claimed", "running", "by w1, 60 s"),
        (1, 2, "failed", None, "e.x"),
        (1, 2, "dead", None, "TERMINAL"),
        (1, 2, "requeued", None, "new run: found one"),
        (2, 1, "claimed", "queued", "by w1, 60 s"),
        (2, 1, "requeued", "queued", "to be continued"),
        (3, None, "canceled", None, "enough"),
        (3, None, "redacted", None, "asked to"),
    ]
    assert [r["occurred_at"] for r in rows] == sorted(r["occurred_at"] for r in rows)


def test_job_timeline_tells_errors_lines_and_replays(q: Ledger, db: Db):
    lease = q.leased()
    q.row("log_job", job_id=lease["job_id"], level="warning", message="opening\nthe box " + "y" * 200)
    q.fail(lease, message="no tape")
    told = {
        r["event"]: r["detail"]
        for r in db.all("select * from runledger.job_timeline where job_id = %s", [lease["job_id"]])
    }
    assert told["failed"] == "e.x: no tape"
    assert told["warning"] == "opening the box " + "y" * 64
    source = q.leased()
    q.succeed(source)
    again = q.row("replay_job", job_id=source["job_id"], request_key="k", reason="again")["job_id"]
    assert view(db, "job_timeline", again)["detail"] == f"replay of {source['job_id']}"


def test_job_timeline_reads_one_job_by_index(q: Ledger, db: Db):
    q.enqueue_many(3000)
    db.execute("analyze runledger.job_queue, runledger.job_events, runledger.job_logs")
    plan = db.value(
        "explain (analyze, format json) select * from runledger.job_timeline"
        " where job_id = (select id from runledger.job_queue limit 1)"
    )

    def walk(node: dict) -> list[dict]:
        return [node, *(n for child in node.get("Plans", ()) for n in walk(child))]

    reads = [n for n in walk(plan[0]["Plan"]) if n.get("Relation Name", "").startswith("job_events")]
    assert reads
    assert sum(n["Actual Rows"] + n.get("Rows Removed by Filter", 0) for n in reads) == 1


def test_views_hold_no_bodies(db: Db):
    json = db.column(
        "select attrelid::regclass || '.' || attname from pg_attribute"
        " where attrelid = any (%s::regclass[]) and atttypid in ('json'::regtype, 'jsonb'::regtype)",
        [[f"runledger.{name}" for name in VIEWS]],
    )
    assert json == []


@pytest.mark.corrupts  # leases that ran out a month ago, and nobody reaped
@pytest.mark.parametrize("name", VIEWS)
def test_views_fit_into_120_columns(q: Ledger, db: Db, name: str):
    """As psql prints them, with job types of twelve letters and short errors; also after a month."""
    q.define("email.notify", retry_delays_ms={"smtp.busy": 60_000})
    q.row("register_worker", worker_id="host-1:4711", job_types=["email.notify"], max_jobs=100)
    q.enqueue_many(3, "email.notify")
    lease = q.leased("email.notify", worker="host-1:4711", priority=200)
    q.row("report_progress", **lease, done=1, total=3, stage="packing")
    for kind in ("RETRYABLE", "TERMINAL"):
        lease = q.leased("email.notify", worker="host-1:4711", priority=200)
        q.fail(lease, "smtp.busy", "no answer", kind=kind)
    q.row("log_job", job_id=lease["job_id"], level="info", message="looking for mx")
    for by in (timedelta(0), 31 * DAY):
        age(db, by)
        shown = printed(db, f"select * from runledger.{name}")
        assert len(shown) > 3
        assert max(map(len, shown)) <= 120, "\n".join(shown)


def test_long_errors_widen_nothing_but_the_timeline(q: Ledger, db: Db):
    lease = q.leased("t")
    q.fail(lease, "e." + "x" * 190, "y " * 2000, kind="TERMINAL")
    for name in ("jobs", "dead_letters"):
        assert max(map(len, printed(db, f"select * from runledger.{name}"))) <= 120
    assert max(map(len, printed(db, "select * from runledger.job_timeline"))) <= 190


def printed(db: Db, query: str) -> list[str]:
    """The lines that psql prints."""
    psql = embedded.find_binaries(18) / "psql"
    done = subprocess.run([psql, "-X", "-c", query, db.dsn], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
