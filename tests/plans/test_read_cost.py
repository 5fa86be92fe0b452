"""What a page costs, in shared buffers: its own rows and one descent of an index, however deep in the table it lies.

With plans of both sorts, and with plans that were made while the table was empty.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Db
from tests.support.ledger import TENANT

JOBS, TENANTS, RUN = 300_000, 100, 3_000
# Written by hand: through the functions it would take minutes. Jobs of a tenant stand together, like jobs that were
# enqueued in one batch; scattered ones cost one page of the table each, whatever reads them.
FILL = [
    """insert into runledger.job_queue
         (id, job_type, organization_id, status, priority, attempt, max_attempts, timeout_seconds, next_run_at, finished_at,
          idempotency_key, enqueue_request, created_at, updated_at)
       select {job}, 't', {tenant}, 'DEAD_LETTERED', 100, 1, 8, 900, now(), now(), 'k' || n, '{{}}', now(), now()
         from generate_series(1, {jobs}) as n""",
    """insert into runledger.job_dead_letters (job_id, job_type, organization_id, attempt, run_number, payload_snapshot, failed_at)
       select {job}, 't', {tenant}, 1, 1, '{{}}', timestamptz '2020-01-01 00:00Z' + n * interval '1 second'
         from generate_series(1, {jobs}) as n""",
    """insert into runledger.workflow_runs
         (id, workflow_type, organization_id, status, enqueue_request, started_at, finished_at, created_at, updated_at)
       select {job}, 'w', {tenant}, 'SUCCEEDED', '{{}}', now(), now(), now(), now() from generate_series(1, {jobs} / 3) as n""",
    """insert into runledger.job_events (job_id, run_number, event_type, occurred_at)
       select {one}, 1, 'PROGRESS', now() from generate_series(1, 20000) as n""",
    """insert into runledger.job_logs (job_id, run_number, level, message, occurred_at)
       select {one}, 1, 'info', 'line', now() from generate_series(1, 20000) as n""",
    """insert into runledger.job_attempts (job_id, run_number, attempt, worker_id, lease_token, leased_at)
       select {one}, n, 1, 'w', n, now() from generate_series(1, 20000) as n""",
]  # fmt: skip


def ident(number: str) -> str:
    return f"('00000000-0000-7000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid"


# Tenant 1 owns the first of each hundred blocks of jobs, and so on; one tenant has a name of its own.
OWNER = f"case when n / {RUN} % {TENANTS} = 50 then '{TENANT}'::uuid else {ident(f'n / {RUN} % {TENANTS}')} end"
HALF, IN_TENANT = ident(str(JOBS // 2)), ident(str(50 * RUN + RUN // 2))
SIXTH = ident(str(JOBS // 6))
AT = f"timestamptz '2020-01-01 00:00Z' + {JOBS // 2} * interval '1 second'"
AT_TENANT = f"timestamptz '2020-01-01 00:00Z' + {50 * RUN + RUN // 2} * interval '1 second'"
TENANT_ = f"organization_id => '{TENANT}'"
EVERY_ID = f"array(select {ident('n')} from generate_series({JOBS // 2}, {JOBS // 2 + 19}) as n)"

# The call of a page of 20 rows (find_job: 1), and how many buffers it may touch.
PAGES = {
    "jobs": (f"list_jobs(before_id => {HALF}, max_rows => 20)", 5),
    "jobs of a type": (f"list_jobs('t', 'DEAD_LETTERED', before_id => {HALF}, max_rows => 20)", 5),
    "jobs of a tenant": (f"list_jobs(before_id => {IN_TENANT}, max_rows => 20, {TENANT_})", 5),
    "runs": (f"list_workflows(before_id => {SIXTH}, max_rows => 20)", 5),
    "runs of a tenant": (f"list_workflows(max_rows => 20, {TENANT_})", 5),
    "events of a job": (f"list_job_events({ident('7')}, after_event_id => 10000, max_rows => 20)", None),
    "events of a job, newest first": (f"list_job_events({ident('7')}, before_event_id => 10000, max_rows => 20)", None),
    "lines of a job": (f"list_job_logs({ident('7')}, after_log_id => 10000, max_rows => 20)", None),
    "lines of a job, newest first": (f"list_job_logs({ident('7')}, before_log_id => 10000, max_rows => 20)", None),
    "attempts of a job": (f"list_job_attempts({ident('7')}, 10000, 1, max_rows => 20)", 6),
    "attempts of a job, newest first": (f"list_job_attempts({ident('7')}, before_run => 10000, max_rows => 20)", 6),
    # Each letter asks for its job: one descent of a primary key of three levels, and its page.
    "dead letters": (f"list_dead_letters(before_failed_at => {AT}, before_id => {HALF}, max_rows => 20)", 5 + 20 * 4),
    "dead letters of a tenant": (
        f"list_dead_letters(before_failed_at => {AT_TENANT}, before_id => {IN_TENANT}, max_rows => 20, {TENANT_})", 5 + 20 * 4,
    ),
    "statuses": (f"job_statuses({EVERY_ID})", 3 * 20 + 20),
    "a key": (f"find_job('t', 'k{JOBS // 2}', '{TENANT}')", 8 + 4),
}  # fmt: skip


def touched(conn: psycopg.Connection[Any], call: str) -> tuple[int, int]:
    """Buffers and rows of a call with warm caches."""
    seen = []
    for _ in range(8):
        row = conn.execute(
            f"explain (analyze, buffers, timing off, format json) select * from runledger.{call}".encode()
        ).fetchone()
        assert row is not None
        top = row[0][0]["Plan"]
        seen.append(top["Shared Hit Blocks"] + top["Shared Read Blocks"])
        rows = int(top["Actual Rows"])
    return min(seen), rows


@pytest.mark.corrupts
def test_a_page_deep_in_the_table_touches_its_own_rows_and_no_more(db: Db):
    db.execute("insert into runledger.job_definitions (job_type) values ('t')")
    # These make their plans while there is nothing, and keep them.
    early = {mode: db.connect() for mode in ("auto", "force_generic_plan", "force_custom_plan")}
    for mode, conn in early.items():
        conn.execute(f"set plan_cache_mode = {mode}".encode())
        for call, _ in PAGES.values():
            assert touched(conn, call)[1] == 0
    for statement in FILL:
        db.execute(statement.format(job=ident("n"), one=ident("7"), tenant=OWNER, jobs=JOBS))
    db.execute("vacuum analyze")
    days = db.value("select count(*) from pg_inherits where inhparent = 'runledger.job_events'::regclass")
    found: dict[str, dict[str, int]] = {}
    for mode, old in early.items():
        fresh = db.connect()
        fresh.execute(f"set plan_cache_mode = {mode}".encode())
        for name, (call, limit) in PAGES.items():
            for age, conn in {"": fresh, ", planned when empty": old}.items():
                buffers, rows = touched(conn, call)
                assert rows == (1 if name == "a key" else 20), name
                # A history has a partition per day, each of which is asked once.
                allowed = limit if limit is not None else 6 + 3 * days
                if buffers > allowed:
                    found.setdefault(name, {})[mode + age] = buffers
    assert found == {}
