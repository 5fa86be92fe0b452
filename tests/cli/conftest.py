"""`world`: a ledger with jobs, runs and schedules in every state, under names that are hard to print; `cli` runs a verb."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from runledger import Client
from runledger.cli import main
from tests.support.database import Db

LONG = "very.long." + "x" * 180
WIDE = "電子メール送信" * 6
NASTY = "evil\x1b[31m\x07\u202etxt\tname\r\n\u2028next"
TENANT = "11111111-2222-3333-4444-555555555555"
STEPS = [
    {"key": "crawl", "job_type": "plain"},
    {"key": "gate " + "k" * 120, "external": True},
    {"key": "score", "job_type": "plain", "after_success": ["crawl", "gate " + "k" * 120]},
]
GATE = STEPS[1]["key"]


@pytest.fixture
def cli(db: Db, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a verb on the database of the test; `input` is its standard input."""
    monkeypatch.setenv("RUNLEDGER_DSN", db.dsn)

    def run(*args: Any, input: Any = None, **extra: Any) -> Result:  # noqa: A002
        return CliRunner().invoke(main, [str(a) for a in args], input=input, **extra)

    return run


def objects(result: Result) -> list[dict[str, Any]]:
    """What --json printed."""
    assert result.exit_code in (0, 1), result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def verbs(group: click.Group = main, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """Every verb that has the options of all verbs, by its path."""
    found: dict[tuple[str, ...], click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found.update(verbs(command, (*path, name)))
        elif any(p.name == "sql_only" for p in command.params):
            found[*path, name] = command
    return found


@pytest.fixture
def world(db: Db, stranger: str) -> SimpleNamespace:
    with Client.connect(db.dsn) as c:
        for name in ("plain", "other", LONG, WIDE, NASTY):
            c.define_job(name, max_attempts=1)
        c.set_runtime_config("plain", {"limit": 3})
        c.pause_job_type(WIDE, NASTY)
        w = SimpleNamespace(client=c, run=None, role=stranger)
        c.grant_access(stranger, "observer")
        ids = {}

        def claimed(name: str, job_type: str = "other") -> Any:
            ids[name] = c.enqueue_job(job_type, {"secret": "payload"}).job_id
            (lease,) = c.claim_jobs("worker " + "w" * 150, [job_type], max_jobs=1, lease_seconds=300)
            return lease

        lease = claimed("succeeded")
        c.succeed_job(lease.job_id, lease.lease_token, output={"secret": "output"})
        for name in ("dead", "dead2"):
            lease = claimed(name)
            c.fail_job(
                lease.job_id, lease.lease_token, error_code="smtp.busy", error_message=NASTY * 3, kind="TERMINAL"
            )
        ids["canceled"] = c.enqueue_job("other").job_id
        c.cancel_job(ids["canceled"], NASTY)
        lease = claimed("leased")
        c.report_progress(lease.job_id, lease.lease_token, done=1, total=3, stage="half")
        c.log_job(lease.job_id, "INFO", message=NASTY, payload={"secret": "log"})
        for name, job_type in (("long", LONG), ("wide", WIDE), ("nasty", NASTY)):
            ids[name] = c.enqueue_job(job_type, {"secret": "payload"}, idempotency_key=NASTY).job_id
        ids["waiting"] = c.enqueue_job("plain", {"secret": "payload"}, organization_id=TENANT).job_id
        w.jobs = SimpleNamespace(**ids)
        w.run = c.enqueue_workflow(
            "research " + NASTY, STEPS, metadata={"secret": 1}, result_step="score"
        ).workflow_run_id
        w.appended = c.enqueue_workflow("w", [{"key": "g", "external": True}], idempotency_key=NASTY).workflow_run_id
        more = [{"key": "more " + NASTY.strip().replace("\x1b", ""), "job_type": "plain"}]
        c.append_workflow_steps(w.appended, "m " + "m" * 180, append_window="g", steps=more)
        c.upsert_schedule("nightly " + "n" * 180, "plain", cron="30 2 * * *", timezone="Europe/Berlin")
        c.upsert_schedule("hourly", "plain", cron="@hourly")
        c.register_worker("idle " + NASTY, ["plain", LONG])
        return w
