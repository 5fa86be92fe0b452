"""The tables hold themselves: what a stray statement could not store."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.database import Db
from tests.support.ledger import Ledger

JOB = "update runledger.job_queue set "
REFUSED = {
    "a_job_type_is_not_blank": ["update runledger.job_definitions set job_type = ' '"],
    "a_pending_job_has_an_attempt_left": [JOB + "max_attempts = 0", JOB + "attempt = 9"],
    "max_attempts_is_positive": ["update runledger.job_definitions set max_attempts = 0"],
    "a_timeout_is_positive": ["update runledger.job_definitions set default_timeout_seconds = 0"],
    "a_lease_has_worker_token_and_expiry": [JOB + "worker_id = null", JOB + "lease_token = null", JOB + "lease_expires_at = null"],
    "exactly_the_finished_jobs_have_finished_at": [JOB + "finished_at = now()"],
    "a_config_is_an_object": ["insert into runledger.job_runtime_configs values ('t', 1, '[]', 'x', now(), now())"],
    "retry_delays_rise_from_base_to_max": ["update runledger.job_definitions set retry_max_ms = 1"],
}  # fmt: skip


def test_the_tables_refuse(db: Db, q: Ledger):
    q.leased()
    for constraint, statements in REFUSED.items():
        for statement in statements:
            with pytest.raises(psycopg.errors.CheckViolation) as refused:
                db.execute(statement)
            assert refused.value.diag.constraint_name == constraint, statement


def test_each_letter_is_a_name_and_each_blank_is_none(db: Db, q: Ledger):
    """For the functions and for the tables alike, on every version."""
    for code in range(33, 127):
        q.define(chr(code))
    for blank in " \t\n\r\f\v":
        with q.refused("job.invalid_job_type"):
            q.define(blank)
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute("insert into runledger.job_definitions (job_type) values (%s)", [blank])


def test_percent_is_done_of_total(db: Db, q: Ledger):
    for done, total, want in (
        (None, None, None),
        (1, None, None),
        (0, 0, None),
        (1, 3, 33.33),
        (2, 3, 66.67),
        (5, 5, 100),
    ):
        job = q.leased()
        q.row("succeed_job", **job, done=done, total=total)
        got = q.job(job["job_id"])["progress_pct"]
        assert (float(got) if got is not None else None) == want


def test_every_index_named_by_the_functions_is_there(db: Db):
    names = set(db.column("select indexname::text from pg_indexes where schemaname = 'runledger'"))
    assert names >= {
        "job_queue_claim_idx", "job_queue_lane_idx", "job_queue_held_idx", "job_queue_one_job_per_tenant_key",
        "job_queue_one_job_per_global_key", "job_queue_one_job_per_fire", "job_dead_letters_failed_at_idx",
    }  # fmt: skip
