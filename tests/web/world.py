"""A ledger as an operator finds it on a bad day: busy queues, one without a worker, one paused, failures, runs, gates."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from runledger import Client
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.servers import ROOT

HOSTILE = "<script>alert('pwned')</script>\"'><img src=x onerror=alert(1)>&amp;\u202e\x1b[31m"
TENANT = "0190c3a4-1111-7000-8000-00000000000a"
PAGES = 14


def _fail(client: Client, lease: Any, code: str, message: str, **fields: Any) -> None:
    client.fail_job(lease.job_id, lease.lease_token, error_code=code, error_message=message, **fields)


def fill(db: Db) -> SimpleNamespace:
    """Fill the ledger through the public functions alone, beginning an hour ago; the ids of what is worth a look."""
    w = SimpleNamespace()
    clock = Clock(db)
    clock.advance(-3600)
    with Client.connect(db.dsn) as c:
        for name, settings in {
            "email.send": {"max_attempts": 3}, "email.digest": {}, "invoice.render": {"timeout_seconds": 120},
            "invoice.archive": {}, "crawl.plan": {}, "crawl.page": {"max_concurrency": 8}, "crawl.join": {},
            "crawl.report": {}, "billing.charge": {"max_attempts": 5}, "search.reindex": {}, "nightly.cleanup": {},
        }.items():  # fmt: skip
            c.define_job(name, **settings)
        _old_work(c, clock, w)
        _stuck(c, clock, w)
        # From here on it is now, by the clock of the server.
        db.execute((ROOT / "sql/functions/core/_now.sql").read_text())
        db.execute("drop table public.test_clock")
        _work_now(c, w)
        _runs(c, w)
        c.upsert_schedule("nightly cleanup", "nightly.cleanup", cron="30 2 * * *", timezone="Europe/Berlin")
        c.upsert_schedule("reindex", "search.reindex", cron="*/15 * * * *", max_jitter_seconds=30)
        c.upsert_schedule("weekly report", "crawl.report", cron="0 7 * * mon", timezone="America/New_York")
        c.pause_schedule("weekly report", "nobody reads it in August")
        c.run_maintenance()
    return w


def _old_work(c: Client, clock: Clock, w: SimpleNamespace) -> None:
    for _ in range(40):
        c.enqueue_job("email.digest", {"n": 1})
    for _ in range(25):
        c.enqueue_job("invoice.render", {"n": 1})
    for job_type, seconds in (("email.digest", 0.4), ("invoice.render", 3.2)):
        for lease in c.claim_jobs("mail-1:4711", [job_type], max_jobs=100, lease_seconds=600):
            clock.advance(seconds / 20)
            c.succeed_job(lease.job_id, lease.lease_token, output={"ok": True})
    for n in range(9):
        c.enqueue_job("billing.charge", {"order": n}, max_attempts=1)
    for n, lease in enumerate(c.claim_jobs("bill-1:99", ["billing.charge"], max_jobs=9, lease_seconds=600)):
        clock.advance(2)
        code = "card.declined" if n % 3 else "psp.timeout"
        _fail(c, lease, code, f"order {n}: the provider said no", kind="TERMINAL")
        w.dead = lease.job_id
    w.hostile = c.enqueue_job(
        "email.send", {HOSTILE: HOSTILE, "secret": "s3cr3t-payload"}, max_attempts=1, priority=9
    ).job_id
    (lease,) = c.claim_jobs(f"w {HOSTILE}", ["email.send"], max_jobs=1, lease_seconds=600)
    c.report_progress(lease.job_id, lease.lease_token, done=1, total=3, stage=HOSTILE[:60])
    c.log_job(lease.job_id, "ERROR", message=HOSTILE, payload={"secret": "s3cr3t-log"}, lease_token=lease.lease_token)
    _fail(c, lease, "mail.rejected", HOSTILE, kind="TERMINAL")


def _stuck(c: Client, clock: Clock, w: SimpleNamespace) -> None:
    # A job that failed twice and is tried again much later; a queue that nobody serves; a paused one.
    w.retrying = c.enqueue_job("email.send", {"to": "a@example.org"}, priority=5).job_id
    for seconds in (40, 150):
        (lease,) = c.claim_jobs("mail-1:4711", ["email.send"], max_jobs=1, lease_seconds=600)
        c.log_job(lease.job_id, "INFO", message="connecting to smtp.example.org", lease_token=lease.lease_token)
        c.log_job(
            lease.job_id, "WARNING", message="451 4.7.1 greylisted, try again later", lease_token=lease.lease_token
        )
        clock.advance(12)
        later = clock.now() + timedelta(hours=3) if seconds == 150 else None
        _fail(c, lease, "smtp.busy", "451 4.7.1 greylisted, try again later", not_before=later)
        clock.advance(seconds)
        if seconds == 40:
            job = c.get_job(w.retrying)
            assert job is not None
            clock.advance(max((job.next_run_at - clock.now()).total_seconds() + 1, 0))
    w.stuck = c.enqueue_job("invoice.archive", {"invoice": 17}).job_id
    for n in range(11):
        c.enqueue_job("invoice.archive", {"invoice": n})
    for n in range(23):
        c.enqueue_job("search.reindex", {"shard": n})
    c.pause_job_type("search.reindex", "the index is being moved, see the wiki")
    clock.advance(900)


def _work_now(c: Client, w: SimpleNamespace) -> None:
    for worker, types in (("mail-1:4711", ["email.send", "email.digest"]), ("mail-2:4712", ["email.send"]),
                          ("crawl-1:8", ["crawl.plan", "crawl.page", "crawl.join", "crawl.report"]),
                          ("bill-1:99", ["billing.charge", "invoice.render"])):  # fmt: skip
        c.register_worker(worker, types, max_jobs=8)
    for _ in range(6):
        c.enqueue_job("invoice.render", {"n": 2}, organization_id=TENANT)
    for n, lease in enumerate(c.claim_jobs("bill-1:99", ["invoice.render"], max_jobs=4, lease_seconds=600)):
        c.report_progress(lease.job_id, lease.lease_token, done=n * 3 + 1, total=12, stage="drawing pages")
        w.running = lease.job_id
    for _ in range(30):
        c.enqueue_job("email.send", {"to": "b@example.org"})


def _runs(c: Client, w: SimpleNamespace) -> None:
    names = ("asyncio", "collections", "concurrent", "ctypes", "dbm", "email", "html", "http", "json", "logging", "os",
             "re", "tomllib", "xml")[:PAGES]  # fmt: skip
    steps: list[dict[str, Any]] = [{"key": "plan", "job_type": "crawl.plan"}]
    steps += [{"key": f"crawl {n}", "job_type": "crawl.page", "after_success": ["plan"]} for n in names]
    steps += [
        {"key": "join", "job_type": "crawl.join", "after_success": [f"crawl {n}" for n in names]},
        {
            "key": "approve",
            "external": True,
            "timeout_seconds": 86400,
            "on_timeout": "CANCELED",
            "after_success": ["plan"],
        },
        {"key": "report", "job_type": "crawl.report", "after_success": ["join", "approve"]},
        {"key": "tidy", "job_type": "nightly.cleanup", "after_terminal": ["report"]},
    ]
    w.run = c.enqueue_workflow("library.index", steps, result_step="report").workflow_run_id
    (plan,) = c.claim_jobs("crawl-1:8", ["crawl.plan"], max_jobs=1, lease_seconds=600)
    c.succeed_job(plan.job_id, plan.lease_token)
    for n, lease in enumerate(c.claim_jobs("crawl-1:8", ["crawl.page"], max_jobs=8, lease_seconds=600)):
        if n < 5:
            c.succeed_job(lease.job_id, lease.lease_token)
        elif n == 5:
            _fail(c, lease, "fetch.gone", "410 Gone", kind="TERMINAL")
        else:
            c.report_progress(lease.job_id, lease.lease_token, done=n, total=9, stage="fetching")
    w.gated = c.enqueue_workflow(
        f"release {HOSTILE}", [{"key": "sign off", "external": True, "timeout_seconds": 7200, "on_timeout": "FAILED"},
                    {"key": HOSTILE.replace("\x1b", "")[:100], "job_type": "crawl.report", "after_success": ["sign off"]}],
    ).workflow_run_id  # fmt: skip
    wide: list[dict[str, Any]] = [{"key": "split", "job_type": "crawl.plan"}]
    wide += [{"key": f"part {n}", "job_type": "crawl.page", "after_success": ["split"]} for n in range(300)]
    wide += [{"key": "merge", "job_type": "crawl.join", "after_success": [f"part {n}" for n in range(300)]}]
    w.wide = c.enqueue_workflow("library.wide", wide).workflow_run_id
