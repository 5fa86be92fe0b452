"""The operations guide: its SQL runs as it stands, and what it names exists."""

from __future__ import annotations

import re
import subprocess
from datetime import timedelta

import pytest

from runledger import Client
from runledger.config import Config
from tests.cli.test_doctor import BORROWED, CODES
from tests.support.servers import ROOT

GUIDE = (ROOT / "sql/OPERATIONS.md").read_text()
TABLE = GUIDE[GUIDE.index("## What is wrong") :]


@pytest.mark.slow
def test_its_sql_runs_in_one_session_of_psql(db, tmp_path):
    with Client.connect(db.dsn) as client:
        client.define_job("a")
        client.upsert_schedule("nightly", "a", cron="0 3 * * *")
    script = tmp_path / "operations.sql"
    script.write_text("\n".join(re.findall(r"^```sql\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)))
    argv = ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", db.dsn, "-f", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert db.value("select bool_and(is_paused) from runledger.job_definitions where job_type = 'a'")
    assert db.value("select bool_or(is_active) from runledger.job_schedules") is False
    assert db.value("select count(*) from runledger.job_queue where status = 'SUCCEEDED'") == 1000
    (wal,) = re.findall(r"wal_bytes_per_job\s*\n-+\n\s*(\d+)", done.stdout)
    assert 1500 < int(wal) < 6000


def test_days_in_a_default_partition_get_partitions_of_their_own(db, clock):
    """Nobody came for a month: what was written is where it was, and goes with its day from then on."""
    (block,) = (b for b in re.findall(r"^```sql\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL) if "_moved" in b)
    tables = ("job_events", "job_logs")
    with Client.connect(db.dsn) as client:
        client.define_job("a")
        clock.noon()
        for _ in range(3):
            clock.advance(timedelta(days=10, hours=11))
            client.enqueue_job("a")
            (lease,) = client.claim_jobs("w", ["a"])
            client.log_job(lease.job_id, "info", message="at work", lease_token=lease.lease_token)
            client.succeed_job(lease.job_id, lease.lease_token)
        before = [db.all(f"select * from runledger.{table} order by id") for table in tables]
        assert db.value("select count(*) from runledger.job_events_default") == 9
        with db.connect() as owner:
            owner.execute("set datestyle = 'German'; set timezone = 'America/Sao_Paulo'")
            owner.execute(block.encode())
        assert [db.all(f"select * from runledger.{table} order by id") for table in tables] == before
        assert [db.value(f"select count(*) from runledger.{table}_default") for table in tables] == [0, 0]
        assert client.fsck() == []
        assert [c.level for c in client.health() if c.code == "upkeep.default_rows"] == ["OK"]
        for _ in range(1000):  # transactions of other databases hold up the counting of events, and so their end
            client.run_maintenance()
            if db.value("select count(*) from runledger.job_events") == 6:
                break
        days = db.column("select occurred_at::date from runledger.job_events group by 1")
        assert len(days) == 2, "the first day is over for more than 14 days, and gone"
        assert client.fsck() == []


def test_every_code_and_function_it_names_exists(db):
    known = set(db.column("select code from runledger.why_codes"))
    known |= set(db.column("select code from runledger._health_bounds()"))
    known |= set(db.column("select code from runledger.error_codes()"))
    known |= {f"{group}.{name}" for group, names in CODES.items() for name in names} | BORROWED
    named = re.findall(r"`((?:why|queue|lease|worker|schedule|gate|upkeep|server|schema|path|job)\.\w+)`", GUIDE)
    assert set(named) - {"job.lease_expired"} <= known
    functions = set(db.column("select proname from pg_proc where pronamespace = 'runledger'::regnamespace"))
    assert set(re.findall(r"`(\w+)\(", GUIDE)) <= functions


def test_every_setting_and_file_it_names_exists():
    settings = {f"JOBS_{name.upper()}" for name in Config.__dataclass_fields__}
    assert set(re.findall(r"JOBS_[A-Z_]+", GUIDE)) <= settings
    for name in re.findall(r"\*\*T\*\* (tests/[\w/.]+?)\.? ?(?=[,:\s)]|$)", GUIDE):
        assert (ROOT / name.rstrip(".")).exists(), name
    for link in re.findall(r"\]\(([\w./]*)(?:#[\w-]*)?\)", GUIDE):
        assert not link or (ROOT / "sql" / link).exists(), link


def test_its_own_links_lead_somewhere():
    headings = {
        re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^## (.*)$", GUIDE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", GUIDE)) <= headings
