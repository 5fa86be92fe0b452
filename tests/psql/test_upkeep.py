"""No Python at work: the lines of the documentation alone reap, fire and time out, by psql, cron or pg_cron."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.psql import psql

ROOT = Path(__file__).parents[2]
SETTING = """
select runledger.define_job(t) from unnest(array['late', 'often', 'nightly', 'step']) as t;
select count(*) from runledger.enqueue_jobs((select jsonb_agg('{"job_type": "late"}'::jsonb) from generate_series(1, 1500)));
select count(*) from runledger.claim_jobs('dead', '{late}', 1000, 60);
select count(*) from runledger.claim_jobs('dead', '{late}', 1000, 60);
select runledger.upsert_schedule('often', 'often', '* * * * *', missed => 'ALL');
select runledger.upsert_schedule('flow', null, '@hourly', workflow_type => 'w', steps => '[{"key": "a", "job_type": "step"}]');
select runledger.enqueue_workflow('gated', '[{"key": "gate", "external": true, "timeout_seconds": 60, "on_timeout": "CANCELED"},
  {"key": "after", "job_type": "step", "after_terminal": ["gate"]}]');
"""


def lines(document: str) -> list[str]:
    """The three lines, without what is said about them."""
    (block,) = re.findall(r"^```sh\n([^`]*run_maintenance[^`]*)^```", (ROOT / document).read_text(), re.MULTILINE)
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


def pg_cron(db: Db, line: str) -> None:
    """The extension runs what it was given as a client would; here it is only asked what that was."""
    db.execute("create schema cron")
    db.execute("create table cron.job (jobname text, schedule text, command text)")
    db.execute(
        "create function cron.schedule(text, text, text) returns bigint language sql security definer"
        " as 'insert into cron.job values ($1, $2, $3) returning 1::bigint'"
    )
    db.execute("grant usage on schema cron to public")
    shell(db, line).check_returncode()
    job = db.one("select * from cron.job")
    assert re.fullmatch(r"[1-9]\d? seconds", job["schedule"]), "what pg_cron takes besides five fields"
    while "t" in psql_out(db, job["command"]):
        pass


def crontab(db: Db, line: str) -> None:
    fields = line.split(maxsplit=5)
    assert fields[:5] == ["*"] * 5
    assert "%" not in fields[5], "cron would end the command there"
    shell(db, fields[5]).check_returncode()


def window(db: Db, line: str) -> None:
    """As it stands but for the pause, since each call leaves some of this much work to the next."""
    assert r"\watch 10'" in line
    argv = ["sh", "-c", "exec " + line.split("| ")[1]]
    process = subprocess.Popen(argv, env=environment(db), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stdin
    try:
        process.stdin.write(line.split("'")[1].replace("10", "0.1") + "\n")
        process.stdin.flush()
        end = time.monotonic() + 60
        while not db.value("select count(*) = 1500 and bool_and(status = 'PENDING') from runledger.job_queue where job_type = 'late'"):
            assert time.monotonic() < end
            time.sleep(0.05)
        while db.value("select min(next_fire_at) < runledger._now() from runledger.job_schedules"):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        process.kill()
        process.stdin.close()
        process.wait(30)


def environment(db: Db) -> dict[str, str]:
    """Such that bare `psql` finds the database of the test."""
    info = psycopg.conninfo.conninfo_to_dict(db.dsn)
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}
    given = {names[key]: str(value) for key, value in info.items() if key in names and value}
    return {**os.environ, **given, "PATH": f"{Path(psql()).parent}:{os.environ['PATH']}"}


def shell(db: Db, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], env=environment(db), capture_output=True, text=True, check=False, timeout=120)


def psql_out(db: Db, script: str) -> list[str]:
    """Whether each row says that more is to be done."""
    argv = [psql(), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", db.dsn]
    done = subprocess.run(argv, input=script, capture_output=True, text=True, check=True)
    return [line.split("|")[-1] for line in done.stdout.splitlines()]


@pytest.mark.matrix
@pytest.mark.parametrize("document", ["README.md", "sql/README.md"])
@pytest.mark.parametrize("way", [pg_cron, crontab, window], ids=lambda way: way.__name__)
def test_upkeep_without_python(db: Db, clock: Clock, document: str, way: Callable[[Db, str], None]):
    """More than one call can do: 1500 expired leases, 2000 missed instants; a workflow is due, and a gate is late."""
    psql_out(db, SETTING)
    clock.advance(2000 * 60)
    assert db.value("select count(*) from runledger.job_queue where status = 'LEASED'") == 1500
    way(db, lines(document)[[pg_cron, crontab, window].index(way)])
    count = "select count(*) from runledger.job_queue where job_type = %s and status = 'PENDING'"
    assert db.value(count, ["late"]) == 1500
    assert db.value(f"{count} and attempt = 1 and run_number = 1 and last_error_code = 'job.lease_expired'", ["late"]) == 1500
    assert db.value(f"{count} and scheduled_for is not null", ["often"]) in (2000, 2001)
    assert db.value("select min(next_fire_at) > runledger._now() - interval '1 minute' from runledger.job_schedules")
    assert db.column("select status::text from runledger.workflow_runs where workflow_type = 'w'") == ["RUNNING"]
    assert db.value("select status::text from runledger.workflow_steps where step_key = 'gate'") == "CANCELED"
    assert db.value(count, ["step"]) == 2, "of the workflow that was due, and of the step behind the gate"
    db.execute("update runledger.job_schedules set is_active = false")


def test_of_two_callers_the_second_is_told_nothing(db: Db, sessions):
    a, b = sessions("a", "b")
    a.begin()
    assert a.execute("select * from runledger.run_maintenance()")
    assert psql_out(db, "select * from runledger.run_maintenance()") == []
    a.commit()
    assert psql_out(db, "select * from runledger.run_maintenance()") != []
    assert b.execute("select * from runledger.run_maintenance()")
