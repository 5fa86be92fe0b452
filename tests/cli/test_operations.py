"""Verbs whose output depends on what is the matter: health, fsck, why, maintenance, and the history of a job."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from datetime import timedelta

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runledger import Client
from runledger import types as t
from runledger.top import feed
from runledger.web._source import Source
from tests.cli.conftest import NASTY, TENANT, objects
from tests.cli.test_verbs import psql_run


def names(kind: type) -> list[str]:
    return [f.name for f in dataclasses.fields(kind)]


# --- is it well? ----------------------------------------------------------------------------------


def test_health_ends_with_2_when_something_is_critical_and_not_before(db, cli, clock):
    db.execute("select runledger.define_job('t'); select count(*) from runledger.run_maintenance()")
    assert cli("health").exit_code == 0
    db.execute("select runledger.enqueue_job('t')")
    clock.advance(86400)
    result = cli("health", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 2
    assert list(rows[0]) == names(t.HealthCheck)
    bad = [row for row in rows if row["level"] != "OK"]
    assert {"CRIT"} <= {row["level"] for row in bad}
    told = cli("health").stdout
    assert all(f"{row['level']}  {row['code']}" in told for row in bad)
    assert all(f"  fix: {row['fix']}" in told.splitlines() for row in bad if row["fix"])


@pytest.mark.corrupts
def test_fsck_ends_with_1_on_findings_and_prints_repairs_that_work(db, cli):
    assert (cli("fsck").exit_code, cli("fsck").stderr) == (0, "the ledger is sound\n")
    db.execute("select runledger.define_job('t'); select runledger.enqueue_job('t')")
    db.execute("alter table runledger.job_queue drop constraint a_pending_job_has_an_attempt_left")
    db.execute("update runledger.job_queue set attempt = max_attempts")
    result = cli("fsck", "--json")
    assert result.exit_code == 1
    assert [list(row) for row in objects(result)] == [names(t.FsckFinding)] * len(objects(result))
    shown = cli("fsck", "--sql-only").stdout
    assert [row["invariant"] for row in psql_run(db, shown)[0]] == [row["invariant"] for row in objects(result)]
    plain = cli("fsck")
    assert plain.exit_code == 1
    repairs = [line.strip() for line in plain.stdout.split("schema:\n")[1].splitlines()]
    assert repairs == list(dict.fromkeys(row["repair"] for row in objects(result) if row["repair"]))
    found = {row["invariant"] for row in objects(result)}
    for repair in repairs:
        db.execute(repair)
    assert "J4" in found
    assert "J4" not in {row["invariant"] for row in objects(cli("fsck", "--json"))}


def test_the_fix_that_why_prints_is_run_as_it_stands(db, cli):
    db.execute("select runledger.define_job('t'); select runledger.pause_job_type('t', 'a deploy')")
    job_id = db.value("select job_id from runledger.enqueue_job('t')")
    result = cli("why", job_id)
    (fix,) = [line for line in result.stdout.splitlines() if line.startswith("  fix: ") and "resume" in line]
    assert "why.type_paused" in result.stdout
    assert "a deploy" in result.stdout
    db.execute(fix.removeprefix("  fix: "))
    assert db.value("select is_paused from runledger.job_definitions") is False
    assert "why.type_paused" not in cli("why", job_id).stdout


# --- upkeep ---------------------------------------------------------------------------------------


def test_maintenance_goes_on_until_nothing_is_left(db, cli, clock):
    db.execute("select runledger.define_job('t')")
    db.execute("select runledger.upsert_schedule('s', 't', '* * * * *', missed => 'ALL')")
    clock.advance(86400 * 2)
    result = cli("maintenance", "--until-done", "--json")
    rows = objects(result)
    assert list(rows[0]) == names(t.UpkeepReport)
    assert not any(row["more"] for row in rows[-len({row["task"] for row in rows}) :])
    # A fire a minute, and one more if a minute ended meanwhile.
    assert db.value("select count(*) from runledger.job_queue") in (2880, 2881)


def test_due_schedules_are_fired_and_told(db, cli, clock):
    db.execute("select runledger.define_job('t'); select runledger.upsert_schedule('s', 't', '@hourly')")
    clock.advance(3600)
    (row,) = objects(cli("schedule", "fire", "--json"))
    assert list(row) == names(t.FiredSchedule)
    assert (row["name"], row["disposition"]) == ("s", "FIRED")
    assert cli("schedule", "fire").stderr == "nothing is due\n"


# --- one job --------------------------------------------------------------------------------------


def test_the_history_of_a_job_is_told_in_order(world, cli):
    (told,) = objects(cli("job", "show", world.jobs.leased, "--json"))
    assert [e["event_type"] for e in told["events"]] == ["ENQUEUED", "LEASED", "STAGE_CHANGED", "PROGRESS"]
    assert [a["attempt"] for a in told["attempts"]] == [1]
    assert [(line["level"], line["message"]) for line in told["logs"]] == [("INFO", NASTY)]
    plain = cli("job", "show", world.jobs.leased).stdout
    history = plain.split("history\n")[1]
    assert [history.index(word) for word in ("ENQUEUED", "LEASED", "[INFO]")] == sorted(
        history.index(word) for word in ("ENQUEUED", "LEASED", "[INFO]")
    )


def test_a_long_history_says_that_there_is_more(db, cli, world):
    for number in range(5):
        db.execute("select runledger.log_job(%s, 'INFO', %s)", [world.jobs.leased, f"line {number}"])
    result = cli("job", "show", world.jobs.leased, "--rows", "3")
    assert "job logs" in result.stderr
    assert "line 4" in result.stdout
    assert "line 1" not in result.stdout
    assert "history" not in cli("job", "show", world.jobs.leased, "--rows", "0").stdout


def test_the_json_of_log_lines_is_printed_when_asked_for(world, cli):
    (line,) = objects(cli("job", "logs", world.jobs.leased, "--payload", "--json"))
    assert line["payload"] == {"secret": "log"}
    assert "secret" not in cli("job", "logs", world.jobs.leased).stdout


def test_a_database_may_write_times_in_a_style_of_its_own(db, world, cli, monkeypatch):
    """Every program with a connection of its own reads them: verbs, doctor, metrics, the live view and the page."""
    plain = cli("jobs", "--json").stdout
    styles = "-c datestyle=German -c intervalstyle=iso_8601"
    dsn = make_conninfo(db.dsn, options=f"{conninfo_to_dict(db.dsn).get('options') or ''} {styles}")
    monkeypatch.setenv("RUNLEDGER_DSN", dsn)
    assert cli("jobs", "--json").stdout == plain
    assert "14 days" in cli("retention").stdout
    assert "checks are fine" in cli("doctor").stdout
    assert cli("top", "--once").exit_code == cli("dlq", "redrive", "--reason", "r", "--yes").exit_code == 0
    assert "runledger_" in cli("metrics").stdout
    with feed.connect(dsn) as connection:
        assert Client(connection).retention().finished == timedelta(days=14)
    with contextlib.closing(Source(dsn)) as source, source.session() as session:
        assert session.now.tzinfo is not None


def test_the_encoding_of_the_environment_lacks_nothing(db, cli, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    cli("type", "define", "電")
    assert [o["job_type"] for o in objects(cli("type", "list", "--json"))] == ["電"]
    with Client.connect(db.dsn) as client:
        assert client.enqueue_job("電").disposition == "INSERTED"


def test_another_tenant_is_told_nothing(world, cli):
    other = TENANT.replace("1", "9")
    assert cli("job", "show", world.jobs.waiting, "--tenant", TENANT).exit_code == 0
    for args in (("job", "show"), ("job", "payload"), ("job", "cancel"), ("why",)):
        result = cli(*args, world.jobs.waiting, "--tenant", other)
        assert (result.exit_code, result.stdout) == (1, ""), args
        assert "job.not_found" in result.stderr
    for args in (("job", "events"), ("job", "attempts"), ("job", "logs")):
        assert cli(*args, world.jobs.waiting, "--tenant", other).stdout == "", args


def test_arguments_come_from_files_and_standard_input(db, cli, tmp_path):
    db.execute("select runledger.define_job('t')")
    (tmp_path / "p.json").write_text('{"from": "a file"}')
    cli("enqueue", "t", f"@{tmp_path / 'p.json'}")
    cli("enqueue", "t", "-", input='{"from": "standard input"}')
    cli("enqueue", "t")
    assert db.column("select payload ->> 'from' from runledger.job_queue order by id") == [
        "a file", "standard input", None,
    ]  # fmt: skip


def test_spans_and_instants(db, cli):
    (row,) = objects(
        cli("type", "define", "t", "--timeout", "2m", "--retry-base", "1.5s", "--retry-max", "1h", "--json")
    )
    assert [row[name] for name in ("timeout_seconds", "retry_base_ms", "retry_max_ms")] == [120, 1500, 3600000]
    cli("enqueue", "t", "--at", "2030-01-31T12:00:00+02:00")
    cli("enqueue", "t", "--at", "+1d")
    assert db.column(
        "select next_run_at = '2030-01-31 10:00Z' or next_run_at between now() + '23 h' and now() + '1 d'"
        " from runledger.job_queue"
    ) == [True, True]
