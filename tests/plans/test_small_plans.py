"""Plans that a session made while the tables had a handful of rows, and keeps: they must do when there are thousands.

Where a table has one page, reading all of an index costs the planner no more than one look into it; a session goes on doing that, for each
item of a batch, until the next ANALYZE. Counted are rows that the nodes of all plans visit, told by auto_explain, which not every
server here has; PostgreSQL 18 has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from runledger.testing import DatabaseServer
from tests.plans.test_workflow_cost import fan, outcomes
from tests.support import servers
from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import Ledger, json_ready

BATCH, GROWN = 100, 1000
Claimed = list[dict[str, Any]]


class Visits:
    """Rows that each statement inside the functions visits: those that a node gives, and those that it looks at and drops."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self.conn = conn
        self.plans: dict[str, int] = {}
        conn.execute("load 'auto_explain'")
        settings = {"log_nested_statements": "on", "log_analyze": "on", "log_timing": "off", "log_format": "json"}
        for name, value in {**settings, "log_min_duration": "0", "log_level": "notice"}.items():
            conn.execute(f"set auto_explain.{name} = {value}")
        conn.add_notice_handler(self._hear)

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        told = json.loads((notice.message_primary or "").split("plan:", 1)[1])
        text = re.sub(r"\s+", " ", told["Query Text"])
        self.plans[text] = max(self.plans.get(text, 0), _visited(told["Plan"]))

    def of(self, call: Callable[[], Any]) -> tuple[int, str]:
        """The most that one statement of a call visits, and which that is."""
        self.plans.clear()
        self.conn.execute("set client_min_messages = notice")
        call()
        self.conn.execute("set client_min_messages = warning")
        return max((rows, text) for text, rows in self.plans.items())


def _visited(node: dict[str, Any]) -> int:
    """The most that one node visits."""
    removed = sum(rows for name, rows in node.items() if name.startswith("Rows Removed"))
    here = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return max(int(here), *(_visited(child) for child in node.get("Plans", ())), 0)


def succeed(q: Ledger, claimed: Claimed) -> None:
    assert {r["disposition"] for r in q.finish(*outcomes(claimed))} == {"SUCCEEDED"}


def end(q: Ledger, claimed: Claimed, disposition: str, **outcome: Any) -> None:
    rows = q.finish(*({"job_id": c["job_id"], "lease_token": c["lease_token"], **outcome} for c in claimed))
    assert {r["disposition"] for r in rows} == {disposition}


class Verbs:
    """Calls with n items each, and what prepares them, on other connections."""

    def __init__(self, q: Ledger, other: Ledger) -> None:
        self.q, self.other = q, other
        self.start = Flows(other)

    def claimed(self, n: int, **claim: Any) -> Claimed:
        self.other.enqueue_many(n)
        claimed = self.other.claim(n, **claim)
        assert len(claimed) == n
        return claimed

    def tokens(self, claimed: Claimed) -> dict[str, Any]:
        return {"job_ids": [c["job_id"] for c in claimed], "lease_tokens": [c["lease_token"] for c in claimed]}

    def enqueue(self, n: int) -> Callable[[], Any]:
        return lambda: self.q.enqueue_many(n)

    def claim(self, n: int) -> Callable[[], Any]:
        self.other.enqueue_many(n)
        return lambda: self.q.claim(n)

    def claim_of_two_types(self, n: int) -> Callable[[], Any]:
        self.other.enqueue_many(n)
        return lambda: self.q.claim(n, "t", "t2")

    def heartbeat(self, n: int) -> Callable[[], Any]:
        claimed = self.claimed(n)
        return lambda: self.q.rows("heartbeat_jobs", **self.tokens(claimed))

    def begin(self, n: int) -> Callable[[], Any]:
        claimed = self.claimed(n, prestart=True)
        return lambda: self.q.rows("start_jobs", **self.tokens(claimed))

    def success(self, n: int) -> Callable[[], Any]:
        claimed = self.claimed(n)
        return lambda: succeed(self.q, claimed)

    def success_with_progress(self, n: int) -> Callable[[], Any]:
        claimed = self.claimed(n)
        return lambda: end(self.q, claimed, "SUCCEEDED", outcome="SUCCEEDED", done=1)

    def failure(self, n: int) -> Callable[[], Any]:
        claimed = self.claimed(n)
        failed = {"outcome": "FAILED", "kind": "TERMINAL", "error_code": "e", "error_message": "m"}
        return lambda: end(self.q, claimed, "DEAD_LETTERED", **failed)

    def release(self, n: int) -> Callable[[], Any]:
        claimed = self.claimed(n)
        return lambda: end(self.q, claimed, "RELEASED", outcome="RELEASE", reason="r")

    def reap(self, n: int) -> Callable[[], Any]:
        self.claimed(n)
        self.other.db.execute("""
            update runledger.job_queue set lease_expires_at = last_heartbeat_at where status = 'LEASED'""")
        return lambda: self.q.reap(max_jobs=n)

    def redrive(self, n: int) -> Callable[[], Any]:
        self.failure(n)()
        return lambda: self.q.rows("redrive_dead_letters", reason="r", job_type="t", max_jobs=n)

    def log(self, n: int) -> Callable[[], Any]:
        claimed = self.claimed(n)
        entries = [json_ready({"job_id": c["job_id"], "lease_token": c["lease_token"], "message": "m"}) for c in claimed]
        return lambda: self.q.rows("log_jobs", entries=entries)

    def root_of_a_fan(self, n: int) -> Callable[[], Any]:
        self.start(*fan(n))
        claimed = self.other.claim(n)
        return lambda: succeed(self.q, claimed)

    def claim_of_a_fan(self, n: int) -> Callable[[], Any]:
        self.root_of_a_fan(n)()
        return lambda: self.q.claim(n)

    def leaves_of_a_fan(self, n: int) -> Callable[[], Any]:
        self.root_of_a_fan(n)()
        claimed = self.other.claim(n)
        return lambda: end(self.q, claimed, "SUCCEEDED", outcome="SUCCEEDED", output=1)

    def leaves_that_fail(self, n: int) -> Callable[[], Any]:
        self.root_of_a_fan(n)()
        claimed = self.other.claim(n)
        failed = {"outcome": "FAILED", "kind": "TERMINAL", "error_code": "e", "error_message": "m"}
        return lambda: end(self.q, claimed, "DEAD_LETTERED", **failed)

    def join_of_a_fan(self, n: int) -> Callable[[], Any]:
        self.leaves_of_a_fan(n)()
        return lambda: self.q.claim(n)

    def ends_of_runs(self, n: int) -> Callable[[], Any]:
        for _ in range(n):
            self.start(step("only"))
        claimed = self.other.claim(n)
        return lambda: succeed(self.q, claimed)

    def enqueue_workflow(self, n: int) -> Callable[[], Any]:
        return lambda: self.q.row("enqueue_workflow", workflow_type="w", steps=fan(n))

    def append(self, n: int) -> Callable[[], Any]:
        flow = Flow(self.q, self.start(gate("g")).id, {})
        return lambda: flow.append(*fan(n))

    def cancel_workflow(self, n: int) -> Callable[[], Any]:
        self.root_of_a_fan(n)()
        run_id = self.other.db.value("select max(id::text)::uuid from runledger.workflow_runs where finished_at is null")
        return lambda: self.q.row("cancel_workflow", workflow_run_id=run_id, reason="r")

    def open_gate(self, n: int) -> Callable[[], Any]:
        flow = Flow(self.q, self.start(gate("g"), *(step(f"s{i}", "g") for i in range(n))).id, {})
        return lambda: flow.complete("g")


VERBS = [name for name in vars(Verbs) if not name.startswith("_") and name not in ("claimed", "tokens")]


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseServer]:
    with DatabaseServer.start(servers.bindir("18")) as server:
        yield server


@pytest.fixture
def verbs(server: DatabaseServer) -> Iterator[Verbs]:
    db = Db(server.take(), server)
    for table in ("job_queue", "job_attempts", "workflow_runs", "workflow_steps", "workflow_step_dependencies"):
        db.execute(f"alter table runledger.{table} set (autovacuum_enabled = off)")
    verbs = Verbs(Ledger(db, db.connect(admin=True)), Ledger(db, db.connect(admin=True)))
    for job_type in ("t", "t2", "x"):
        verbs.other.define(job_type)
    yield verbs
    findings = db.findings()
    db.close()
    assert findings == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_batch_visits_a_row_an_item_with_plans_made_for_one_row(verbs: Verbs, verb: str):
    prepare, db = getattr(verbs, verb), verbs.other.db
    for nth in range(7):  # Custom plans first, then a generic one.
        call = prepare(1)
        if nth == 0:
            db.execute("vacuum analyze")
        call()
        db.execute("update runledger.job_queue set next_run_at = now() + interval '1 day' where status = 'PENDING'")
    verbs.other.enqueue_many(GROWN, "x")
    verbs.start(*({**s, "job_type": "x"} for s in fan(GROWN)))
    call = prepare(BATCH)
    rows, statement = Visits(verbs.q.conn).of(call)
    assert BATCH <= rows <= 3 * BATCH + 10, statement
