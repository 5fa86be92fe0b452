"""The tables refuse by themselves what no function writes."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.database import Db
from tests.support.flows import Flows, gate, step

REFUSED = [
    ("a_step_key_is_unique_in_its_run", "workflow_steps set step_key = 'g' where step_key = 'a'"),
    ("a_step_has_its_own_place_in_the_order", "workflow_steps set ordinal = 2 where ordinal = 1"),
    ("dependency_counters_stay_within_their_total", "workflow_steps set dependency_count_pending = 3 where step_key = 'b'"),
    ("dependency_counters_stay_within_their_total", "workflow_steps set dependency_count_unsatisfied = 3 where step_key = 'b'"),
    ("a_blocked_step_waits_for_something", "workflow_steps set dependency_count_pending = 0 where step_key = 'b'"),
    ("a_released_step_has_all_it_needs",
     "workflow_steps set dependency_count_pending = 1, dependency_count_total = 1 where step_key = 'a'"),
    ("only_a_gate_waits", "workflow_steps set status = 'WAITING_FOR_EXTERNAL' where step_key = 'a'"),
    ("only_a_job_step_is_queued_and_runs", "workflow_steps set status = 'ENQUEUED' where step_key = 'g'"),
    ("only_a_job_step_is_queued_and_runs", "workflow_steps set job_id = null where step_key = 'a'"),
    ("exactly_the_finished_steps_have_finished_at", "workflow_steps set finished_at = now() where step_key = 'a'"),
    ("only_a_succeeded_step_has_an_output", "workflow_steps set output = '1' where step_key = 'a'"),
    ("workflow_steps_one_step_per_job",
     "workflow_steps set job_id = (select job_id from runledger.workflow_steps where step_key = 'a') where step_key = 'b'"),
    ("workflow_steps_job_type_fkey", "workflow_steps set job_type = 'unknown' where step_key = 'a'"),
    ("no_step_waits_for_itself", "workflow_step_dependencies set dependent_step_id = prerequisite_step_id"),
    ("step_counters_are_not_negative", "workflow_runs set steps_failed = -1, steps_succeeded = 1"),
    ("every_step_is_counted_once", "workflow_runs set steps_total = 9"),
    ("run_status_follows_from_its_counters", "workflow_runs set status = 'WAITING_FOR_EXTERNAL'"),
    ("a_canceled_run_has_nothing_open", "workflow_runs set status = 'CANCELED', finished_at = now()"),
    ("exactly_the_finished_runs_have_finished_at", "workflow_runs set finished_at = now()"),
    ("only_a_succeeded_run_has_a_result", "workflow_runs set result = '1'"),
    ("only_a_run_with_a_key_holds_it", "workflow_runs set active_key_held = true"),
    ("a_mutation_key_is_not_blank", "workflow_run_mutations set mutation_key = ' '"),
]  # fmt: skip


@pytest.mark.parametrize(("constraint", "change"), REFUSED, ids=[f"{n}-{c}" for n, (c, _) in enumerate(REFUSED)])
def test_the_tables_refuse(start: Flows, db: Db, constraint: str, change: str):
    flow = start(step("a"), gate("g"), step("b", ["a", "g"]))
    flow.append(step("c", "a"))
    with pytest.raises(psycopg.errors.IntegrityError) as raised:
        db.execute(f"update runledger.{change}")
    assert raised.value.diag.constraint_name == constraint


def test_steps_and_appends_go_with_their_run_and_types_in_use_stay(start: Flows, db: Db):
    flow = start(step("a"), gate("g"), step("b", "a"))
    flow.append(step("c", "a"))
    with pytest.raises(psycopg.errors.IntegrityError):
        db.execute("delete from runledger.job_definitions")
    flow.cancel()
    db.execute("delete from runledger.job_events")
    db.execute("delete from runledger.job_queue")
    db.execute("delete from runledger.workflow_runs")
    for table in ("workflow_steps", "workflow_run_mutations"):
        assert db.value(f"select count(*) from runledger.{table}") == 0
    # Edges have no keys; whoever deletes runs by hand is told of what is left, and how to end it.
    left = db.all("select invariant, repair from runledger.fsck()")
    assert {w["invariant"] for w in left} == {"W9"}
    for finding in left:
        db.execute(finding["repair"])
    assert db.value("select count(*) from runledger.workflow_step_dependencies") == 0
