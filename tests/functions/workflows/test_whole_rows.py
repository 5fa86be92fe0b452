"""Every column of runs, steps, edges, jobs and events after each kind of change: what a call writes, and what it leaves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.support.clock import Clock
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import OTHER_TENANT, TENANT, Ledger

Rows = dict[str, dict[str, Any]]


class Story:
    """One run, and a clock that stands still but for `at`: instants are told as seconds, ids as what they belong to."""

    def __init__(self, q: Ledger, clock: Clock) -> None:
        self.q, self.clock = q, clock
        self.begun = clock.stop()
        self.seen: Rows = {}
        self.lines: list[str] = []

    def at(self, seconds: float) -> None:
        self.clock.advance(self.begun.timestamp() + seconds - self.clock.now().timestamp())

    def tell(self, flow: Flow, what: str) -> None:
        self.lines += [f"[{what}]", *self.changed(flow)]

    def is_told(self, text: str) -> None:
        assert self.lines == [line.strip() for line in text.strip().splitlines()]

    def changed(self, flow: Flow) -> list[str]:
        """What has changed since it was asked last, a row a line: of a new row what is not null, else the new values."""
        before, self.seen = self.seen, self.look(flow)
        found = [f"- {name}" for name in before if name not in self.seen]
        for name, row in self.seen.items():
            old = before.get(name)
            values = {k: v for k, v in row.items() if (v is not None if old is None else v != old[k])}
            if values:
                found.append(f"{'' if old else '+ '}{name}: " + " ".join(f"{k}={v}" for k, v in values.items()))
        return found

    def look(self, flow: Flow) -> Rows:
        db, of_run = self.q.db, [flow.id]
        steps = db.all("select * from runledger.workflow_steps where workflow_run_id = %s order by ordinal", of_run)
        edges = db.all("select * from runledger.workflow_step_dependencies where workflow_run_id = %s", of_run)
        names = {TENANT: "ours", OTHER_TENANT: "theirs", flow.id: "run"}
        names |= {s["id"]: s["step_key"] for s in steps} | {s["job_id"]: s["step_key"] for s in steps if s["job_id"]}
        found = {"run": flow.run} | {s["step_key"]: s for s in steps}
        found |= {f"{names[e['prerequisite_step_id']]} to {names[e['dependent_step_id']]}": e for e in edges}
        for job in sorted(flow.jobs(), key=lambda job: names[job["id"]]):
            found[f"job of {names[job['id']]}"] = job
            events = db.all("select * from runledger.job_events where job_id = %s order by id", [job["id"]])
            found |= {f"event {n} of {names[job['id']]}": e for n, e in enumerate(events, 1)}
        appends = db.all("select * from runledger.workflow_run_mutations where workflow_run_id = %s", of_run)
        found |= {f"append {m['mutation_key']}": m for m in appends}
        hidden = ("id", "workflow_run_id", "step_key", "job_id", "transaction_id", "lease_token", "last_lease_token", "lease_role", "request")
        return {
            name: {k: self._plain(v, names) for k, v in row.items() if k not in hidden} for name, row in found.items()
        }

    def _plain(self, value: Any, names: dict[UUID, str]) -> Any:
        if isinstance(value, datetime):
            return f"{(value - self.begun).total_seconds():g}"
        if isinstance(value, str) and value.startswith("20"):
            return self._plain(datetime.fromisoformat(value), names)
        if isinstance(value, dict):
            value = {k: self._plain(v, names) for k, v in value.items()}
            by_text = {str(k): v for k, v in names.items()}
            return {k: by_text.get(str(v), v) for k, v in value.items()}
        return names.get(value, value) if isinstance(value, UUID) else value


@pytest.fixture
def story(q: Ledger, clock: Clock) -> Story:
    return Story(q, clock)


RESULT = """
[started]
+ run: workflow_type=w organization_id=ours status=RUNNING idempotency_key=i active_key=k metadata={'m': 1} enqueue_request={'steps': [{'key': 'a', 'stage': 'warm', 'payload': [1], 'job_type': 'u', 'priority': -2, 'after_success': [], 'after_terminal': [], 'organization_id': '00000000-0000-7000-8000-00000000000a', 'allow_continuation': True}, {'key': 'b', 'stage': 'queued', 'payload': {}, 'job_type': 'u', 'max_attempts': 9, 'after_success': ['a'], 'after_terminal': ['h'], 'organization_id': '00000000-0000-7000-8000-00000000000a', 'timeout_seconds': 8}, {'key': 'c', 'stage': 'queued', 'payload': {}, 'job_type': 't', 'after_success': ['b', 'g'], 'after_terminal': [], 'organization_id': '00000000-0000-7000-8000-00000000000a'}, {'key': 'g', 'payload': {'ask': 'her'}, 'external': True, 'on_timeout': 'FAILED', 'after_success': ['a'], 'after_terminal': [], 'organization_id': '00000000-0000-7000-8000-00000000000a', 'timeout_seconds': 60}, {'key': 'h', 'payload': {}, 'external': True, 'on_timeout': 'SUCCEEDED', 'after_success': [], 'after_terminal': [], 'organization_id': '00000000-0000-7000-8000-00000000000b', 'timeout_seconds': 30}, {'key': 'i', 'payload': {}, 'external': True, 'on_timeout': 'FAILED', 'after_success': ['c'], 'after_terminal': ['a'], 'organization_id': '00000000-0000-7000-8000-00000000000a', 'timeout_seconds': 9}], 'metadata': {'m': 1}, 'active_key': 'k', 'result_step': 'b'} steps_total=6 steps_active=5 steps_waiting=1 steps_failed=0 steps_succeeded=0 result_step_key=b active_key_held=True started_at=10 created_at=10 updated_at=10
+ a: ordinal=1 execution_kind=JOB status=ENQUEUED job_type=u organization_id=ours payload=[1] priority=-2 max_attempts=4 timeout_seconds=5 stage=warm allow_continuation=True dependency_count_total=0 dependency_count_pending=0 dependency_count_unsatisfied=0 released_at=10 created_at=10 updated_at=10
+ h: ordinal=2 execution_kind=EXTERNAL status=WAITING_FOR_EXTERNAL organization_id=theirs payload={} allow_continuation=False gate_timeout_seconds=30 on_timeout=SUCCEEDED gate_expires_at=40 dependency_count_total=0 dependency_count_pending=0 dependency_count_unsatisfied=0 released_at=10 created_at=10 updated_at=10
+ g: ordinal=3 execution_kind=EXTERNAL status=BLOCKED organization_id=ours payload={'ask': 'her'} allow_continuation=False gate_timeout_seconds=60 on_timeout=FAILED dependency_count_total=1 dependency_count_pending=1 dependency_count_unsatisfied=0 created_at=10 updated_at=10
+ b: ordinal=4 execution_kind=JOB status=BLOCKED job_type=u organization_id=ours payload={} priority=3 max_attempts=9 timeout_seconds=8 stage=queued allow_continuation=False dependency_count_total=2 dependency_count_pending=2 dependency_count_unsatisfied=0 created_at=10 updated_at=10
+ c: ordinal=5 execution_kind=JOB status=BLOCKED job_type=t organization_id=ours payload={} priority=100 max_attempts=8 timeout_seconds=900 stage=queued allow_continuation=False dependency_count_total=2 dependency_count_pending=2 dependency_count_unsatisfied=0 created_at=10 updated_at=10
+ i: ordinal=6 execution_kind=EXTERNAL status=BLOCKED organization_id=ours payload={} allow_continuation=False gate_timeout_seconds=9 on_timeout=FAILED dependency_count_total=2 dependency_count_pending=2 dependency_count_unsatisfied=0 created_at=10 updated_at=10
+ a to g: prerequisite_step_id=a dependent_step_id=g release_mode=ON_SUCCESS created_at=10
+ a to b: prerequisite_step_id=a dependent_step_id=b release_mode=ON_SUCCESS created_at=10
+ h to b: prerequisite_step_id=h dependent_step_id=b release_mode=ON_TERMINAL created_at=10
+ g to c: prerequisite_step_id=g dependent_step_id=c release_mode=ON_SUCCESS created_at=10
+ b to c: prerequisite_step_id=b dependent_step_id=c release_mode=ON_SUCCESS created_at=10
+ c to i: prerequisite_step_id=c dependent_step_id=i release_mode=ON_SUCCESS created_at=10
+ a to i: prerequisite_step_id=a dependent_step_id=i release_mode=ON_TERMINAL created_at=10
+ job of a: status=PENDING priority=-2 run_number=1 attempt=0 max_attempts=4 timeout_seconds=5 release_count=0 next_run_at=10 created_at=10 updated_at=10 job_type=u stage=warm payload=[1] organization_id=ours
+ event 1 of a: run_number=1 event_type=ENQUEUED stage=warm payload={'job_type': 'u', 'step_key': 'a', 'workflow_run_id': 'run'} occurred_at=10
[awaited]
run: awaited_until=75
[a claimed]
a: status=RUNNING started_at=20 updated_at=20
job of a: status=LEASED attempt=1 updated_at=20 lease_expires_at=80 last_heartbeat_at=20 started_at=20 worker_id=w1 stage=running
+ event 2 of a: run_number=1 attempt=1 event_type=LEASED stage=running payload={'worker_id': 'w1', 'lease_duration_seconds': 60} occurred_at=20
[a continued]
a: status=ENQUEUED status_reason=HANDLER_CONTINUATION updated_at=25
job of a: status=PENDING run_number=2 attempt=0 next_run_at=25 updated_at=25 lease_expires_at=None started_at=None worker_id=None stage=queued checkpoint={'page': 1} status_reason=HANDLER_CONTINUATION
+ event 3 of a: run_number=1 attempt=1 event_type=REQUEUED stage=queued payload={'reason': 'HANDLER_CONTINUATION', 'next_run_at': '25', 'requeue_kind': 'HANDLER_CONTINUATION', 'next_run_number': 2, 'delay_microseconds': 0} occurred_at=25
[a succeeded]
run: steps_active=3 steps_waiting=2 steps_succeeded=1 updated_at=30
a: status=SUCCEEDED output={'of': 'a'} status_reason=None finished_at=30 updated_at=30
g: status=WAITING_FOR_EXTERNAL gate_expires_at=90 dependency_count_pending=0 released_at=30 updated_at=30
b: dependency_count_pending=1 updated_at=30
i: dependency_count_pending=1 updated_at=30
job of a: status=SUCCEEDED updated_at=30 lease_expires_at=None finished_at=30 worker_id=None stage=completed output={'of': 'a'} status_reason=None
+ event 5 of a: run_number=2 attempt=1 event_type=SUCCEEDED stage=completed payload={} occurred_at=30
[the gate is still open]
[the gate has timed out]
run: steps_waiting=1 steps_succeeded=2 updated_at=40
h: status=SUCCEEDED gate_expires_at=None status_reason=GATE_TIMEOUT last_error_code=workflow.gate_timeout last_error_message=the gate was not completed in time finished_at=40 updated_at=40
b: status=ENQUEUED dependency_count_pending=0 released_at=40 updated_at=40
+ job of b: status=PENDING priority=3 run_number=1 attempt=0 max_attempts=9 timeout_seconds=8 release_count=0 next_run_at=40 created_at=40 updated_at=40 job_type=u stage=queued payload={} organization_id=ours
+ event 1 of b: run_number=1 event_type=ENQUEUED stage=queued payload={'job_type': 'u', 'step_key': 'b', 'workflow_run_id': 'run'} occurred_at=40
[b released before it started]
b: status_reason=stop updated_at=50
job of b: release_count=1 next_run_at=50 updated_at=50 last_heartbeat_at=45 last_disposition=RELEASED status_reason=stop
+ event 2 of b: run_number=1 attempt=1 event_type=LEASED stage=queued payload={'worker_id': 'w1', 'lease_duration_seconds': 60} occurred_at=45
+ event 3 of b: run_number=1 attempt=1 event_type=REQUEUED payload={'reason': 'stop', 'refunded': True, 'next_run_at': '50', 'requeue_kind': 'RELEASE'} occurred_at=50
[b failed, to be tried again]
b: status_reason=RETRYABLE last_error_code=e.x last_error_message=it broke started_at=55 updated_at=57
job of b: attempt=1 next_run_at=62 updated_at=57 last_heartbeat_at=55 started_at=55 stage=running last_disposition=None status_reason=RETRYABLE last_error_code=e.x last_error_message=it broke
+ event 4 of b: run_number=1 attempt=1 event_type=LEASED stage=running payload={'worker_id': 'w1', 'lease_duration_seconds': 60} occurred_at=55
+ event 5 of b: run_number=1 attempt=1 event_type=FAILED payload={'kind': 'RETRYABLE', 'error_code': 'e.x', 'error_message': 'it broke'} occurred_at=57
+ event 6 of b: run_number=1 attempt=1 event_type=RETRY_SCHEDULED payload={'kind': 'RETRYABLE', 'next_run_at': '62', 'retry_delay_ms': 5000, 'retry_timing_source': 'ERROR_CODE', 'requested_retry_not_before': None} occurred_at=57
[b claimed again, the other gate canceled]
run: steps_waiting=0 steps_failed=1 updated_at=75
g: status=CANCELED gate_expires_at=None status_reason=r last_error_code=x.y last_error_message=m finished_at=75 updated_at=75
b: status=RUNNING updated_at=70
c: dependency_count_pending=1 dependency_count_unsatisfied=1 updated_at=75
job of b: status=LEASED attempt=2 updated_at=70 lease_expires_at=130 last_heartbeat_at=70 worker_id=w1
+ event 7 of b: run_number=1 attempt=2 event_type=LEASED stage=running payload={'worker_id': 'w1', 'lease_duration_seconds': 60} occurred_at=70
[b succeeded]
run: status=COMPLETED_WITH_ERRORS steps_active=0 steps_failed=3 steps_succeeded=3 active_key_held=False finished_at=80 updated_at=80
b: status=SUCCEEDED output={'of': 'b'} status_reason=None last_error_code=None last_error_message=None finished_at=80 updated_at=80
c: status=CANCELED dependency_count_pending=0 status_reason=workflow.dependency_unsatisfied last_error_code=workflow.dependency_unsatisfied finished_at=80 updated_at=80
i: status=CANCELED dependency_count_pending=0 dependency_count_unsatisfied=1 status_reason=workflow.dependency_unsatisfied last_error_code=workflow.dependency_unsatisfied finished_at=80 updated_at=80
job of b: status=SUCCEEDED updated_at=80 lease_expires_at=None finished_at=80 worker_id=None stage=completed output={'of': 'b'} status_reason=None last_error_code=None last_error_message=None
+ event 8 of b: run_number=1 attempt=2 event_type=SUCCEEDED stage=completed payload={} occurred_at=80
"""  # noqa: E501


def test_from_the_start_to_the_result(story: Story, start: Flows, q: Ledger):
    q.define("u", priority=3, max_attempts=4, timeout_seconds=5, retry_delays_ms={"e.x": 5000})
    story.at(10)
    flow = start(
        step("a", job_type="u", payload=[1], stage="warm", allow_continuation=True, priority=-2),
        gate("g", "a", payload={"ask": "her"}, timeout_seconds=60, on_timeout="FAILED"),
        gate("h", timeout_seconds=30, on_timeout="SUCCEEDED", organization_id=str(OTHER_TENANT)),
        step("b", "a", always="h", job_type="u", max_attempts=9, timeout_seconds=8), step("c", ["g", "b"]),
        gate("i", "c", always="a", timeout_seconds=9, on_timeout="FAILED"), organization_id=TENANT, idempotency_key="i", active_key="k", result_step="b", metadata={"m": 1},
    )  # fmt: skip
    story.tell(flow, "started")
    story.at(15)
    q.row("await_workflow", workflow_run_id=flow.id, until=story.clock.now() + timedelta(minutes=1))
    story.tell(flow, "awaited")
    story.at(20)
    flow.claim()
    story.tell(flow, "a claimed")
    story.at(25)
    flow.finish("a", "CONTINUE", checkpoint={"page": 1})
    story.tell(flow, "a continued")
    flow.claim()
    story.seen = story.look(flow)
    story.at(30)
    flow.succeed("a")
    story.tell(flow, "a succeeded")
    story.at(39.5)
    q.rows("run_maintenance")
    story.tell(flow, "the gate is still open")
    story.at(40)
    q.rows("run_maintenance")
    story.tell(flow, "the gate has timed out")
    story.at(45)
    flow.claim(prestart=True)
    story.at(50)
    flow.finish("b", "RELEASE", reason="stop")
    story.tell(flow, "b released before it started")
    story.at(55)
    flow.claim()
    story.at(57)
    flow.finish("b", "FAILED", error_code="e.x", error_message="it broke")
    story.tell(flow, "b failed, to be tried again")
    story.at(70)
    flow.claim()
    story.at(75)
    flow.complete("g", "CANCELED", reason="r", error_code="x.y", error_message="m")
    story.tell(flow, "b claimed again, the other gate canceled")
    story.at(80)
    flow.succeed("b")
    story.tell(flow, "b succeeded")
    story.is_told(RESULT)


SUCCESS = """
[started]
+ run: workflow_type=w status=RUNNING active_key=k metadata={} steps_total=2 steps_active=1 steps_waiting=1 steps_failed=0 steps_succeeded=0 result_step_key=g active_key_held=True started_at=0 created_at=0 updated_at=0
+ g: ordinal=1 execution_kind=EXTERNAL status=WAITING_FOR_EXTERNAL payload={} allow_continuation=False dependency_count_total=0 dependency_count_pending=0 dependency_count_unsatisfied=0 released_at=0 created_at=0 updated_at=0
+ a: ordinal=2 execution_kind=JOB status=ENQUEUED job_type=t payload={} priority=100 max_attempts=8 timeout_seconds=900 stage=queued allow_continuation=False dependency_count_total=0 dependency_count_pending=0 dependency_count_unsatisfied=0 released_at=0 created_at=0 updated_at=0
+ job of a: status=PENDING priority=100 run_number=1 attempt=0 max_attempts=8 timeout_seconds=900 release_count=0 next_run_at=0 created_at=0 updated_at=0 job_type=t stage=queued payload={}
+ event 1 of a: run_number=1 event_type=ENQUEUED stage=queued payload={'job_type': 't', 'step_key': 'a', 'workflow_run_id': 'run'} occurred_at=0
[the gate completed]
run: steps_waiting=0 steps_succeeded=1 updated_at=10
g: status=SUCCEEDED output={'ok': True} finished_at=10 updated_at=10
[a succeeded without output]
run: status=SUCCEEDED steps_active=0 steps_succeeded=2 result={'ok': True} active_key_held=False finished_at=20 updated_at=20
a: status=SUCCEEDED started_at=15 finished_at=20 updated_at=20
job of a: status=SUCCEEDED attempt=1 updated_at=20 last_heartbeat_at=15 started_at=15 finished_at=20 stage=completed
+ event 2 of a: run_number=1 attempt=1 event_type=LEASED stage=running payload={'worker_id': 'w1', 'lease_duration_seconds': 60} occurred_at=15
+ event 3 of a: run_number=1 attempt=1 event_type=SUCCEEDED stage=completed payload={} occurred_at=20
"""  # noqa: E501


def test_success_of_all(story: Story, start: Flows, q: Ledger):
    flow = start(gate("g"), step("a"), active_key="k", result_step="g")
    story.tell(flow, "started")
    story.at(10)
    flow.complete("g", output={"ok": True})
    story.tell(flow, "the gate completed")
    story.at(15)
    flow.claim()
    story.at(20)
    flow.finish("a")
    story.tell(flow, "a succeeded without output")
    story.is_told(SUCCESS)


CANCELED = """
[canceled]
run: status=CANCELED steps_active=0 steps_waiting=0 steps_failed=6 status_reason=enough finished_at=10 updated_at=10
leased: status=CANCELED status_reason=enough finished_at=10 updated_at=10
open: status=CANCELED gate_expires_at=None status_reason=enough finished_at=10 updated_at=10
pending: status=CANCELED status_reason=enough finished_at=10 updated_at=10
shut: status=CANCELED dependency_count_pending=0 dependency_count_unsatisfied=1 status_reason=enough finished_at=10 updated_at=10
blocked: status=CANCELED dependency_count_pending=0 dependency_count_unsatisfied=2 status_reason=enough finished_at=10 updated_at=10
job of leased: status=CANCELED updated_at=10 finished_at=10 worker_id=None last_disposition=CANCELED status_reason=enough
+ event 3 of leased: run_number=1 attempt=1 event_type=CANCELED payload={'reason': 'enough', 'lease_quiesces_at': '65'} occurred_at=10
job of pending: status=CANCELED updated_at=10 finished_at=10 status_reason=enough
+ event 2 of pending: run_number=1 event_type=CANCELED payload={'reason': 'enough', 'lease_quiesces_at': None} occurred_at=10
[the handler is quiet]
run: active_key_held=False updated_at=20
job of leased: updated_at=20 lease_expires_at=None
"""  # noqa: E501


def test_a_cancel_of_the_run(story: Story, start: Flows, q: Ledger):
    flow = start(
        step("done"), step("failed"), step("leased"), step("pending", "done"), step("blocked", ["failed", "pending"], always="leased"),
        gate("open", timeout_seconds=100, on_timeout="FAILED"), gate("shut", "leased", always="done"), active_key="k",
    )  # fmt: skip
    story.at(5)
    flow.succeed("done")
    flow.fail("failed")
    story.seen = story.look(flow)
    story.at(10)
    flow.cancel(reason="enough")
    story.tell(flow, "canceled")
    story.at(20)
    flow.finish("leased", "RELEASE", reason="stopped")
    story.tell(flow, "the handler is quiet")
    story.is_told(CANCELED)


UNREASONED = """
[job b canceled]
run: steps_active=2 steps_failed=2 updated_at=5
b: status=CANCELED status_reason=CANCELED finished_at=5 updated_at=5
g: status=CANCELED dependency_count_pending=0 dependency_count_unsatisfied=1 status_reason=workflow.dependency_unsatisfied last_error_code=workflow.dependency_unsatisfied finished_at=5 updated_at=5
c: status=ENQUEUED dependency_count_pending=0 released_at=5 updated_at=5
job of b: status=CANCELED updated_at=5 finished_at=5 status_reason=CANCELED
+ event 2 of b: run_number=1 event_type=CANCELED payload={'reason': None, 'lease_quiesces_at': None} occurred_at=5
+ job of c: status=PENDING priority=100 run_number=1 attempt=0 max_attempts=8 timeout_seconds=900 release_count=0 next_run_at=5 created_at=5 updated_at=5 job_type=t stage=queued payload={}
+ event 1 of c: run_number=1 event_type=ENQUEUED stage=queued payload={'job_type': 't', 'step_key': 'c', 'workflow_run_id': 'run'} occurred_at=5
[job c canceled, with a reason]
run: steps_active=1 steps_failed=3 updated_at=7
c: status=CANCELED status_reason=no finished_at=7 updated_at=7
job of c: status=CANCELED updated_at=7 finished_at=7 status_reason=no
+ event 2 of c: run_number=1 event_type=CANCELED payload={'reason': 'no', 'lease_quiesces_at': None} occurred_at=7
[run canceled]
run: status=CANCELED steps_active=0 steps_failed=4 status_reason=CANCELED active_key_held=False finished_at=10 updated_at=10
a: status=CANCELED status_reason=CANCELED finished_at=10 updated_at=10
job of a: status=CANCELED updated_at=10 finished_at=10 status_reason=CANCELED
+ event 2 of a: run_number=1 event_type=CANCELED payload={'reason': None, 'lease_quiesces_at': None} occurred_at=10
"""  # noqa: E501


def test_a_cancel_without_a_reason(story: Story, start: Flows, q: Ledger):
    flow = start(step("a"), step("b"), gate("g", "b"), step("c", always="g"), active_key="k")
    story.seen = story.look(flow)
    story.at(5)
    flow.cancel_job("b")
    story.tell(flow, "job b canceled")
    story.at(7)
    flow.cancel_job("c", reason="no")
    story.tell(flow, "job c canceled, with a reason")
    story.at(10)
    flow.cancel()
    story.tell(flow, "run canceled")
    story.is_told(UNREASONED)


APPENDED = """
[appended]
run: steps_total=11 steps_active=5 steps_waiting=2 steps_failed=3 updated_at=10
+ x: ordinal=5 execution_kind=JOB status=ENQUEUED job_type=t organization_id=theirs payload={} priority=100 max_attempts=8 timeout_seconds=900 stage=queued allow_continuation=False dependency_count_total=1 dependency_count_pending=0 dependency_count_unsatisfied=0 released_at=10 created_at=10 updated_at=10
+ dead: ordinal=6 execution_kind=JOB status=CANCELED job_type=t organization_id=ours payload={} priority=100 max_attempts=8 timeout_seconds=900 stage=queued allow_continuation=False dependency_count_total=2 dependency_count_pending=0 dependency_count_unsatisfied=1 status_reason=workflow.dependency_unsatisfied last_error_code=workflow.dependency_unsatisfied finished_at=10 created_at=10 updated_at=10
+ h: ordinal=7 execution_kind=EXTERNAL status=WAITING_FOR_EXTERNAL organization_id=ours payload={} allow_continuation=False gate_timeout_seconds=9 on_timeout=CANCELED gate_expires_at=19 dependency_count_total=0 dependency_count_pending=0 dependency_count_unsatisfied=0 released_at=10 created_at=10 updated_at=10
+ doomed: ordinal=8 execution_kind=JOB status=BLOCKED job_type=t organization_id=ours payload={} priority=100 max_attempts=8 timeout_seconds=900 stage=queued allow_continuation=False dependency_count_total=2 dependency_count_pending=1 dependency_count_unsatisfied=1 created_at=10 updated_at=10
+ late: ordinal=9 execution_kind=JOB status=BLOCKED job_type=t organization_id=ours payload={} priority=100 max_attempts=8 timeout_seconds=900 stage=queued allow_continuation=False dependency_count_total=3 dependency_count_pending=2 dependency_count_unsatisfied=0 created_at=10 updated_at=10
+ heir: ordinal=10 execution_kind=EXTERNAL status=CANCELED organization_id=ours payload={} allow_continuation=False dependency_count_total=1 dependency_count_pending=0 dependency_count_unsatisfied=1 status_reason=workflow.dependency_unsatisfied last_error_code=workflow.dependency_unsatisfied finished_at=10 created_at=10 updated_at=10
+ clean: ordinal=11 execution_kind=JOB status=ENQUEUED job_type=t organization_id=ours payload={} priority=100 max_attempts=8 timeout_seconds=900 stage=queued allow_continuation=False dependency_count_total=2 dependency_count_pending=0 dependency_count_unsatisfied=0 released_at=10 created_at=10 updated_at=10
+ x to late: prerequisite_step_id=x dependent_step_id=late release_mode=ON_SUCCESS created_at=10
+ open to late: prerequisite_step_id=open dependent_step_id=late release_mode=ON_SUCCESS created_at=10
+ bad to late: prerequisite_step_id=bad dependent_step_id=late release_mode=ON_TERMINAL created_at=10
+ good to x: prerequisite_step_id=good dependent_step_id=x release_mode=ON_SUCCESS created_at=10
+ bad to dead: prerequisite_step_id=bad dependent_step_id=dead release_mode=ON_SUCCESS created_at=10
+ good to dead: prerequisite_step_id=good dependent_step_id=dead release_mode=ON_SUCCESS created_at=10
+ dead to heir: prerequisite_step_id=dead dependent_step_id=heir release_mode=ON_SUCCESS created_at=10
+ dead to clean: prerequisite_step_id=dead dependent_step_id=clean release_mode=ON_TERMINAL created_at=10
+ heir to clean: prerequisite_step_id=heir dependent_step_id=clean release_mode=ON_TERMINAL created_at=10
+ bad to doomed: prerequisite_step_id=bad dependent_step_id=doomed release_mode=ON_SUCCESS created_at=10
+ open to doomed: prerequisite_step_id=open dependent_step_id=doomed release_mode=ON_SUCCESS created_at=10
+ job of clean: status=PENDING priority=100 run_number=1 attempt=0 max_attempts=8 timeout_seconds=900 release_count=0 next_run_at=10 created_at=10 updated_at=10 job_type=t stage=queued payload={} organization_id=ours
+ event 1 of clean: run_number=1 event_type=ENQUEUED stage=queued payload={'job_type': 't', 'step_key': 'clean', 'workflow_run_id': 'run'} occurred_at=10
+ job of x: status=PENDING priority=100 run_number=1 attempt=0 max_attempts=8 timeout_seconds=900 release_count=0 next_run_at=10 created_at=10 updated_at=10 job_type=t stage=queued payload={} organization_id=theirs
+ event 1 of x: run_number=1 event_type=ENQUEUED stage=queued payload={'job_type': 't', 'step_key': 'x', 'workflow_run_id': 'run'} occurred_at=10
+ append m: mutation_key=m append_window=g metadata={'by': 'her'} step_keys=['late', 'x', 'dead', 'heir', 'clean', 'h', 'doomed'] created_at=10
[appended under the new gate]
run: steps_total=12 steps_active=6 updated_at=20
+ y: ordinal=12 execution_kind=JOB status=BLOCKED job_type=t organization_id=ours payload={} priority=100 max_attempts=8 timeout_seconds=900 stage=queued allow_continuation=False dependency_count_total=1 dependency_count_pending=1 dependency_count_unsatisfied=0 created_at=20 updated_at=20
+ h to y: prerequisite_step_id=h dependent_step_id=y release_mode=ON_SUCCESS created_at=20
+ append n: mutation_key=n append_window=h metadata={} step_keys=['y'] created_at=20
[open succeeded]
run: steps_active=4 steps_failed=4 steps_succeeded=2 updated_at=30
open: status=SUCCEEDED output={'of': 'open'} finished_at=30 updated_at=30
doomed: status=CANCELED dependency_count_pending=0 status_reason=workflow.dependency_unsatisfied last_error_code=workflow.dependency_unsatisfied finished_at=30 updated_at=30
late: dependency_count_pending=1 updated_at=30
job of open: status=SUCCEEDED updated_at=30 lease_expires_at=None finished_at=30 worker_id=None stage=completed output={'of': 'open'}
+ event 3 of open: run_number=1 attempt=1 event_type=SUCCEEDED stage=completed payload={} occurred_at=30
"""  # noqa: E501


def test_an_append(story: Story, start: Flows, q: Ledger):
    flow = start(gate("g"), step("good"), step("bad"), step("open"), organization_id=TENANT)
    flow.succeed("good")
    flow.fail("bad")
    story.seen = story.look(flow)
    story.at(10)
    flow.append(
        step("late", ["x", "open"], always="bad"), step("x", "good", organization_id=str(OTHER_TENANT)), step("dead", ["bad", "good"]),
        gate("heir", "dead"), step("clean", always=["dead", "heir"]), gate("h", timeout_seconds=9, on_timeout="CANCELED"),
        step("doomed", ["bad", "open"]), key="m", metadata={"by": "her"},
    )  # fmt: skip
    story.tell(flow, "appended")
    story.at(20)
    flow.append(step("y", "h"), key="n", window="h")
    story.tell(flow, "appended under the new gate")
    story.at(30)
    flow.succeed("open")
    story.tell(flow, "open succeeded")
    story.is_told(APPENDED)


REAPED = """
[they end now]
[reaped]
run: steps_active=2 steps_failed=2 updated_at=7
once: status=FAILED status_reason=LEASE_EXPIRED last_error_code=job.lease_expired last_error_message=the lease ended without a word of its worker finished_at=7 updated_at=7
twice: status=ENQUEUED status_reason=LEASE_EXPIRED last_error_code=job.lease_expired last_error_message=the lease ended without a word of its worker updated_at=7
fresh: status=ENQUEUED status_reason=LEASE_EXPIRED_BEFORE_RUNNING_PERSISTED started_at=None updated_at=7
b: status=CANCELED dependency_count_pending=0 dependency_count_unsatisfied=1 status_reason=workflow.dependency_unsatisfied last_error_code=workflow.dependency_unsatisfied finished_at=7 updated_at=7
job of fresh: status=PENDING attempt=0 release_count=1 next_run_at=7 updated_at=7 lease_expires_at=None started_at=None worker_id=None last_disposition=RELEASED status_reason=LEASE_EXPIRED_BEFORE_RUNNING_PERSISTED
+ event 3 of fresh: run_number=1 attempt=1 event_type=REQUEUED payload={'reason': 'LEASE_EXPIRED_BEFORE_RUNNING_PERSISTED', 'refunded': True, 'next_run_at': '7', 'requeue_kind': 'RELEASE'} occurred_at=7
job of once: status=DEAD_LETTERED updated_at=7 lease_expires_at=None finished_at=7 worker_id=None status_reason=LEASE_EXPIRED last_error_code=job.lease_expired last_error_message=the lease ended without a word of its worker
+ event 3 of once: run_number=1 attempt=1 event_type=FAILED payload={'kind': 'LEASE_EXPIRED', 'error_code': 'job.lease_expired', 'error_message': 'the lease ended without a word of its worker', 'started_without_renewal_heartbeat': True} occurred_at=7
+ event 4 of once: run_number=1 attempt=1 event_type=DEAD_LETTERED payload={'kind': 'LEASE_EXPIRED', 'error_code': 'job.lease_expired', 'started_without_renewal_heartbeat': True} occurred_at=7
job of twice: status=PENDING next_run_at=37 updated_at=7 lease_expires_at=None worker_id=None status_reason=LEASE_EXPIRED last_error_code=job.lease_expired last_error_message=the lease ended without a word of its worker
+ event 3 of twice: run_number=1 attempt=1 event_type=FAILED payload={'kind': 'LEASE_EXPIRED', 'error_code': 'job.lease_expired', 'error_message': 'the lease ended without a word of its worker', 'started_without_renewal_heartbeat': True} occurred_at=7
+ event 4 of twice: run_number=1 attempt=1 event_type=RETRY_SCHEDULED payload={'kind': 'LEASE_EXPIRED', 'next_run_at': '37', 'retry_delay_ms': 30000, 'retry_timing_source': 'REAPER', 'requested_retry_not_before': None, 'started_without_renewal_heartbeat': True} occurred_at=7
"""  # noqa: E501


def test_leases_that_ran_out(story: Story, start: Flows, q: Ledger):
    flow = start(step("once", max_attempts=1), step("b", "once"), step("twice", max_attempts=2), step("fresh"))
    story.at(1)
    q.claim(2, lease_seconds=5)
    q.claim(2, lease_seconds=5, prestart=True)
    story.seen = story.look(flow)
    story.at(6)
    q.reap()
    story.tell(flow, "they end now")
    story.at(7)
    q.reap()
    story.tell(flow, "reaped")
    story.is_told(REAPED)


# States that a step could be left in; what it is by its job and its edges is found again.
WRONG = [
    {"status": status, "dependency_count_total": 9, "dependency_count_pending": 7, "dependency_count_unsatisfied": 8, **more}
    for status in ("BLOCKED", "ENQUEUED", "RUNNING", "WAITING_FOR_EXTERNAL")
    for more in ({}, {"job_id": None, "released_at": None, "finished_at": None, "gate_expires_at": None})
]  # fmt: skip


def without_constraints(q: Ledger) -> None:
    for table in ("workflow_steps", "workflow_runs"):
        for name in q.db.column(
            "select conname from pg_constraint where contype = 'c' and conrelid = %s::regclass", [f"runledger.{table}"]
        ):
            q.db.execute(f'alter table runledger.{table} drop constraint "{name}"')


@pytest.mark.corrupts  # steps are written by hand
@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED", "several"])
def test_a_step_that_was_ended_by_hand_stays_ended(story: Story, start: Flows, q: Ledger, end: str):
    flow = start(step("a"), step("b"), step("c", "a"))
    flow.claim()
    q.db.execute("update runledger.workflow_steps set status = 'CANCELED', finished_at = runledger._now() where step_key = 'a'")
    before = story.look(flow)["a"], story.look(flow)["c"]
    if end == "SUCCEEDED":
        q.succeed(flow.lease("a"), output=1)
    elif end == "FAILED":
        q.fail(flow.lease("a"), kind="TERMINAL")
    else:
        q.finish(*({**flow.lease(k), "outcome": "SUCCEEDED"} for k in "ab"))
        assert flow.states()["b"] == "SUCCEEDED"
    assert (story.look(flow)["a"], story.look(flow)["c"]) == before


@pytest.mark.corrupts  # a job is made too early
def test_a_step_whose_job_came_too_early_is_left_to_people(story: Story, start: Flows, q: Ledger):
    flow = start(step("a"), step("b"), step("early", ["a", "b"]))
    flow.cancel_job("a")
    assert flow.counters("early") == (2, 1, 1)
    job_id = q.enqueue()
    q.db.execute("update runledger.job_queue set workflow_run_id = %s where id = %s", [flow.id, job_id])
    q.db.execute("update runledger.workflow_steps set job_id = %s where step_key = 'early'", [job_id])
    story.at(10)
    before = story.look(flow)["early"]
    assert q.db.value("select runledger._repair_run(%s)", [flow.id]) == "RUNNING"
    assert story.look(flow)["early"] == before


@pytest.mark.corrupts  # for a while
def test_a_repair_of_a_canceled_run_opens_nothing(story: Story, start: Flows, q: Ledger):
    flow = start(step("done"), step("a"), step("b", "a"), gate("g", always="b"), gate("open"), step("c", "done"), active_key="k", result_step="done")
    flow.succeed("done")
    story.at(10)
    flow.cancel(reason="enough")
    right = story.look(flow)
    without_constraints(q)
    for key, status in [("b", "BLOCKED"), ("g", "BLOCKED"), ("open", "WAITING_FOR_EXTERNAL"), ("a", "ENQUEUED"), ("b", "ENQUEUED"), ("done", "RUNNING")]:
        q.db.execute(
            "update runledger.workflow_steps set status = %s, finished_at = null, dependency_count_pending = 3"
            " where workflow_run_id = %s and step_key = %s",
            [status, flow.id, key],
        )
        q.db.execute("update runledger.workflow_runs set steps_active = 1, steps_failed = 4, active_key_held = true where id = %s", [flow.id])
        story.at(20)
        assert q.db.value("select runledger._repair_run(%s)", [flow.id]) == "CANCELED"
        found = story.look(flow)
        for name, row in found.items():
            # When a step without a job was canceled nothing but its own row said.
            same = {k: v for k, v in row.items() if k not in ("updated_at", "finished_at")}
            assert same == {k: right[name][k] for k in same}, (name, key)
            assert (row.get("finished_at") is None) == (right[name].get("finished_at") is None)
    # Where a job is at work the run goes on until it has ended.
    other = start(step("x"), step("y", always="x"))
    other.cancel()
    for status in ("PENDING", "CANCELED"):
        finished = None if status == "PENDING" else story.clock.now()
        q.db.execute("update runledger.job_queue set status = %s, finished_at = %s where workflow_run_id = %s", [status, finished, other.id])
        assert q.db.value("select runledger._repair_run(%s)", [other.id]) == ("RUNNING" if status == "PENDING" else "COMPLETED_WITH_ERRORS")


@pytest.mark.corrupts  # for a while
def test_a_repair_finds_again_what_each_step_is(story: Story, start: Flows, q: Ledger):
    flow = start(
        step("done"), step("failed"), step("canceled"), step("running", "done"), step("ready", always="failed"),
        step("blocked", "running", always=["failed", "done"]), step("dropped", "failed"), step("waits", "dropped", always="running"),
        gate("open", "done", timeout_seconds=100, on_timeout="FAILED"), gate("shut", "blocked"), gate("passed"), gate("refused"),
    )  # fmt: skip
    story.at(5)
    flow.complete("passed", output={"ok": True})
    flow.complete("refused", "FAILED", reason="r", error_code="c", error_message="m")
    story.at(10)
    flow.fail("failed")
    story.at(15)
    flow.cancel_job("canceled", reason="no")
    flow.finish("canceled", "RELEASE", reason="stopped")
    flow.succeed("done")
    story.at(20)
    q.hold(flow.job_id("ready"))
    q.release({"job_id": flow.job_id("ready"), "lease_token": q.job(flow.job_id("ready"))["lease_token"]})
    q.hold(flow.job_id("running"))
    q.db.execute("update runledger.workflow_steps set status = 'RUNNING', started_at = runledger._now() where step_key = 'running'")
    story.at(30)
    right = story.look(flow)
    status = right["run"]["status"]
    without_constraints(q)

    def repaired() -> None:
        assert q.db.value("select runledger._repair_run(%s)", [flow.id]) == status
        found = story.look(flow)
        assert found.keys() == right.keys()
        for name, row in found.items():
            # When it was dropped nothing but its own row says.
            same = {k: v for k, v in row.items() if k not in ("updated_at", "finished_at" if name == "dropped" else "")}
            assert same == {k: right[name][k] for k in same}, name

    repaired()
    for key in flow.states():
        was = flow.step(key)
        for wrong in WRONG:
            is_job = was["execution_kind"] == "JOB"
            # How a gate was completed, and since when it is open, nothing else says.
            if not is_job and (key in ("passed", "refused") or len(wrong) > 4):
                continue
            change = ", ".join(f"{k} = %({k})s" for k in wrong)
            q.db.execute(f"update runledger.workflow_steps set {change} where id = %(id)s", {**wrong, "id": was["id"]})
            q.db.execute(
                "update runledger.workflow_runs set steps_total = 1, steps_active = 2, steps_waiting = 3, steps_failed = 4,"
                " steps_succeeded = 5, status = 'SUCCEEDED', finished_at = runledger._now(), result = '1' where id = %s",
                [flow.id],
            )
            repaired()
    # Without their first events jobs are known by what the steps say.
    q.db.execute("delete from runledger.job_events where event_type = 'ENQUEUED'")
    right = {name: row for name, row in right.items() if "event 1 of" not in name}
    for key in ("done", "ready", "canceled"):
        q.db.execute("update runledger.workflow_steps set status = 'BLOCKED', finished_at = null where step_key = %s", [key])
    right = {name: row for name, row in story.look(flow).items() if "event" in name} | {
        name: row for name, row in right.items() if "event" not in name
    }
    repaired()
