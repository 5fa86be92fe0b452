"""`runledger sync`: what an app registers, told as a table, in place or not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from runledger import App, Client, Workflow
from tests.cli.conftest import objects


def handler(job):
    return None


def test_sync_tells_what_changes_and_leaves_out_what_does_not(db, cli):
    dry = cli("sync", "tests.cli.billing:app", "--dry-run")
    assert dry.exit_code == 1, dry.output
    assert [line.split() for line in dry.stdout.splitlines()] == [
        ["kind", "name", "action", "code"],
        ["JOB_TYPE", "books.close", "INSERTED"],
        ["SCHEDULE", "broken", "REFUSED", "job_schedule.invalid_cron"],
        ["SCHEDULE", "closing", "INSERTED"],
    ]
    assert db.column("select job_type from runledger.job_definitions") == []
    assert cli("sync", "tests.cli.billing:app").stdout == dry.stdout
    assert db.column("select name from runledger.job_schedules") == ["closing"]
    again = cli("sync", "tests.cli.billing:app")
    assert "closing" not in again.stdout
    db.execute("select runledger.define_job('books.close', priority => 7)")
    changed = cli("sync", "tests.cli.billing:app")
    assert "priority 7 -> 100" in changed.stdout
    rows = objects(cli("sync", "tests.cli.billing:app", "--json"))
    assert [row["action"] for row in rows] == ["UNCHANGED", "REFUSED", "UNCHANGED"]


def test_strict_refuses_all(db, cli):
    result = cli("sync", "tests.cli.billing:app", "--strict")
    assert result.exit_code == 1
    assert "job_schedule.invalid_cron" in result.stderr
    assert db.column("select job_type from runledger.job_definitions") == []


def test_an_app_without_a_catalog_is_refused(cli):
    for app in ("tests.cli.billing:nobodys", "tests.cli.billing:close_books", "tests.cli.nothing", "nothing:app"):
        assert cli("sync", app).exit_code == 2


def test_an_app_says_everything_that_its_verbs_can_say(db):
    app = App(catalog="billing")
    app.register("a", handler, timeout=timedelta(minutes=2), retry_delays={"busy": 60}, max_concurrency=2)
    flow = Workflow("w")
    flow.job("one", "a", payload={"n": None}, timeout=30)
    flow.gate("ok", timeout=60, on_timeout="CANCELED", after="one")
    tenant, at = UUID(int=7), datetime(2030, 1, 1, tzinfo=UTC)
    options = {
        "timezone": "Asia/Tokyo",
        "max_jitter_seconds": timedelta(seconds=5),
        "missed": "ALL",
        "organization_id": tenant,
    }
    app.add_schedule("s", "@daily", job_type="a", payload=[1, None], next_fire_at=at, is_active=False, **options)
    app.add_schedule("f", "@daily", workflow_type="w", steps=flow)
    with Client.connect(db.dsn) as client:
        told = app.sync(client, dry_run=True)
        assert app.sync(client, strict=True) == told
        assert [(c.kind, c.name, c.action) for c in told] == [
            ("JOB_TYPE", "a", "INSERTED"), ("SCHEDULE", "f", "INSERTED"), ("SCHEDULE", "s", "INSERTED"),
        ]  # fmt: skip
        # The additive verbs of a worker find nothing to change.
        app.define(client)
        assert {client.run(call).disposition for call in app.schedules()} == {"UNCHANGED"}
        assert {c.action for c in app.sync(client)} == {"UNCHANGED"}
    s = db.one("select * from runledger.job_schedules where name = 's'")
    assert (s["payload_template"], s["organization_id"], s["next_fire_at"], s["is_active"]) == (
        [1, None],
        tenant,
        at,
        False,
    )
    assert (s["timezone"], s["max_jitter_seconds"], s["missed"]) == ("Asia/Tokyo", 5, "ALL")
    assert db.value("select workflow_steps from runledger.job_schedules where name = 'f'") == flow.steps
    d = db.one("select * from runledger.job_definitions")
    assert (d["default_timeout_seconds"], d["retry_delays_ms"], d["max_concurrency"]) == (120, {"busy": 60000}, 2)


def test_a_sync_needs_a_catalog():
    with pytest.raises(ValueError, match="owns no catalog"):
        App().sync_call()
