"""What happens only if somebody comes in between two statements of one call: the call is stopped there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from tests.support.database import Db
from tests.support.interleave import Session
from tests.support.probes import LOCK, Point, Probes
from tests.support.waiting import until


class Stops:
    """A call that stops at some places, at each until it is let on."""

    def __init__(self, db: Db, *points: Point) -> None:
        self._db, self._points = db, points
        self._holder, self._caller = Session("holder", db.dsn), Session("caller", db.dsn)
        self._held: set[Point] = set()

    @contextmanager
    def refused(self, query: str, code: str) -> Iterator[None]:
        """The call goes on beside the block, and ends with that code."""
        self._hold()
        try:
            with Probes().armed(self._caller.conn, "pause", *self._points):
                pending = self._caller.start(query)
                yield
                for point in self._held:
                    Probes().let_go(self._holder.conn, point)
                with pytest.raises(psycopg.Error) as error:
                    pending.result()
        finally:
            self._caller.close()
            self._holder.close()
        assert json.loads(error.value.diag.message_detail or "")["code"] == code

    @contextmanager
    def at(self, point: Point) -> Iterator[None]:
        """The block is run while the call stands there; then it goes on to the next stop."""
        waits = (
            "select 1 as waits from pg_locks where pid = %s and locktype = 'advisory' and not granted"
            " and (classid::bigint, objid::bigint) = (%s, %s)"
        )
        come = partial(self._db.all, waits, [self._caller.pid, LOCK, point.id])
        until(come, f"it never came to {point}")
        yield
        self._hold()
        Probes().let_go(self._holder.conn, point)
        self._held.remove(point)

    def _hold(self) -> None:
        for point in {*self._points} - self._held:
            Probes().hold(self._holder.conn, point)
        self._held.update(self._points)


def at(function: str, text: str, nth: int = 1) -> Point:
    return Probes().at(function, text, nth)


def test_a_job_with_the_key_that_is_gone_again_is_told(probed: Db):
    """In the way when the call inserted, pruned when it looked: nothing is returned that is not there."""
    probed.execute("select runledger.define_job('t')")
    insert, look = at("enqueue_job", "with inserted"), at("_rival_job", "v_existing :=")
    stops = Stops(probed, insert, look)
    call = "select * from runledger.enqueue_job('t', idempotency_key => 'k')"
    with stops.refused(call, "job.idempotency_conflict_missing_existing"):
        with stops.at(insert):
            probed.execute(call)
        with stops.at(look):
            probed.execute("select runledger.cancel_job(id) from runledger.job_queue")
            for _ in range(3):
                probed.execute("select runledger.prune('1 microsecond', dead_letters_older_than => '1 microsecond')")
            assert probed.value("select count(*) from runledger.job_queue") == 0
    assert probed.one(call)["disposition"] == "INSERTED"


def test_a_type_enabled_too_late_was_disabled(probed: Db):
    """The call had no key, so no key is what it is told of."""
    probed.execute("select runledger.define_job('t', is_enabled => false)")
    look = at("_rival_job", "")
    stops = Stops(probed, look)
    with stops.refused("select * from runledger.enqueue_job('t')", "job.definition_not_found_or_disabled"):
        with stops.at(look):
            probed.execute("select runledger.enable_job_type('t')")
    assert probed.one("select * from runledger.enqueue_job('t')")["disposition"] == "INSERTED"


def test_a_job_that_changes_between_look_and_lock_ten_times_is_not_requeued(probed: Db):
    """Each time it is dead-lettered when the call looks, and pending when it locks."""
    probed.execute("select runledger.define_job('t', max_attempts => 1)")
    job = probed.value("select job_id from runledger.enqueue_job('t')")
    look, lock = at("requeue_job", "perform runledger._check_requeue"), at("requeue_job", "v_ids := array(")
    stops = Stops(probed, look, lock)
    with stops.refused(f"select * from runledger.requeue_job('{job}')", "job.requeue_expectation_mismatch"):
        for _ in range(10):
            with stops.at(look):
                probed.execute(
                    "select runledger.fail_job(c.job_id, c.lease_token, 'e', 'm') from runledger.claim_jobs('w', '{t}') as c"
                )
                assert probed.job(job)["status"] == "DEAD_LETTERED"
            with stops.at(lock):
                probed.execute("select runledger.requeue_job(%s)", [job])
    assert (probed.job(job)["status"], probed.job(job)["run_number"]) == ("PENDING", 11)


def test_a_workflow_whose_key_comes_and_goes_ten_times_is_refused(probed: Db):
    probed.execute("select runledger.define_job('t')")
    look, insert = at("_start_workflow", "v_run := runledger._existing_workflow"), at("_start_workflow", "insert into")
    stops = Stops(probed, look, insert)
    call = 'select * from runledger.enqueue_workflow(\'f\', \'[{"key": "a", "job_type": "t"}]\', active_key => \'k\')'
    with stops.refused(call, "workflow.enqueue_conflict_missing_existing"):
        for _ in range(10):
            with stops.at(look):
                probed.execute(
                    "select runledger.cancel_workflow(id) from runledger.workflow_runs where finished_at is null"
                )
            with stops.at(insert):
                probed.execute(call)
    assert probed.one(call)["disposition"] == "EXISTING_ACTIVE"


SCHEDULE = "select * from runledger.upsert_schedule('s', 't', '@yearly')"


def test_a_schedule_that_comes_and_goes_ten_times_is_refused(probed: Db):
    probed.execute("select runledger.define_job('t')")
    look, insert = at("upsert_schedule", "select s.* into v_old"), at("_insert_schedule", "insert into")
    stops = Stops(probed, look, insert)
    with stops.refused(SCHEDULE, "job_schedule.upsert_conflict_missing_existing"):
        for _ in range(10):
            with stops.at(look):
                probed.execute("select runledger.delete_schedule(s.name) from runledger.job_schedules as s")
            with stops.at(insert):
                probed.execute(SCHEDULE)
    assert probed.value("select count(*) from runledger.job_schedules") == 1


def test_a_catalog_whose_schedule_is_deleted_ten_times_is_refused(probed: Db):
    """Nine times it begins anew, holding nothing of the time before."""
    probed.execute("select runledger.define_job('t')")
    begin, lock = at("_lock_catalog", "for v_n in 1..cardinality(v_entries) loop"), at("_lock_catalog", "v_locked :=")
    stops = Stops(probed, begin, lock)
    call = (
        "select * from runledger.sync_catalog('c', '[{\"job_type\": \"new\"}]',"
        ' \'[{"name": "s", "job_type": "t", "cron": "@yearly"}]\')'
    )
    with stops.refused(call, "catalog.changed_meanwhile"):
        for _ in range(10):
            with stops.at(begin):
                probed.execute(SCHEDULE)
            with stops.at(lock):
                probed.execute("select runledger.delete_schedule('s')")
    assert probed.column("select job_type from runledger.job_definitions") == ["t"]
    assert {row["action"] for row in probed.all(call)} == {"INSERTED"}


def test_an_error_that_is_no_refusal_goes_through_a_catalog(probed: Db):
    """What is wrong with a schedule is said of its entry; a server that cannot go on is not."""
    probed.execute("select runledger.define_job('t')")
    conn = probed.connect()
    call = 'select code from runledger.sync_catalog(\'c\', \'[]\', \'[{"name": "s", "job_type": "t", "cron": "%s"}]\')'
    for sqlstate in ("53200", "RL090"):
        with pytest.raises(psycopg.Error) as error:
            with Probes().armed(conn, "raise", at("_check_schedule", ""), sqlstates=[sqlstate]):
                conn.execute((call % "@yearly").encode())
        assert error.value.sqlstate == sqlstate
    assert probed.value("select count(*) from runledger.job_schedules") == 0
    assert conn.execute((call % "@yearly").encode()).fetchall() == [(None,)]
