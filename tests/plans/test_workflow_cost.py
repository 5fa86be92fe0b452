"""What workflows cost: statements and buffers, not time; they must not grow with the size of a run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import Ledger


@pytest.fixture
def q(db: Db) -> Ledger:
    ledger = Ledger(db, db.conn)
    ledger.define("t")
    return ledger


@pytest.fixture
def start(q: Ledger) -> Flows:
    return Flows(q)


def chain(n: int) -> list[dict[str, Any]]:
    return [step(f"s{i}", f"s{i - 1}" if i else ()) for i in range(n)]


def layers(width: int, depth: int, edges: int) -> list[dict[str, Any]]:
    """depth layers of width steps; each step waits for `edges` steps of the layer before."""
    return [
        step(f"s{d}_{w}", [f"s{d - 1}_{(w + e * 7) % width}" for e in range(edges)] if d else ())
        for d in range(depth)
        for w in range(width)
    ]


def fan(n: int) -> list[dict[str, Any]]:
    return [step("top"), *(step(f"s{i}", "top") for i in range(n)), step("end", [f"s{i}" for i in range(n)])]


def outcomes(claimed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"job_id": c["job_id"], "lease_token": c["lease_token"], "outcome": "SUCCEEDED"} for c in claimed]


def buffers(db: Db, query: str, params: Any) -> int:
    """Buffers that a call touches, taken back afterwards."""
    seen = []
    for _ in range(3):
        with db.conn.transaction(force_rollback=True):
            row = db.conn.execute("explain (analyze, buffers, timing off, format json) " + query, params).fetchone()
        assert row is not None
        top = row[0][0]["Plan"]
        seen.append(top["Shared Hit Blocks"] + top["Shared Read Blocks"])
    return min(seen)


def costs(db: Db, q: Ledger, flow: Flow, key: str) -> dict[str, int]:
    """Buffers of each way in which a step ends, in the middle of that run."""
    lease = flow.lease(key)
    item = {"job_id": str(lease["job_id"]), "lease_token": lease["lease_token"]}
    finish = "select * from runledger.finish_jobs(%s::jsonb)"
    failure = {"kind": "TERMINAL", "error_code": "e", "error_message": "m"}
    return {
        "success": buffers(db, finish, [json.dumps([{**item, "outcome": "SUCCEEDED"}])]),
        "failure": buffers(db, finish, [json.dumps([{**item, "outcome": "FAILED", **failure}])]),
        "cancel": buffers(db, "select * from runledger.cancel_job(%s)", [lease["job_id"]]),
        "gate": buffers(db, "select * from runledger.complete_external_step(%s, 'g')", [flow.id]),
        "append": buffers(
            db, """select * from runledger.append_workflow_steps(%s, 'k', 'g', '[{"key": "new", "job_type": "t", "after_success": ["s0"]}]')""",
            [flow.id],
        ),
    }  # fmt: skip


def test_a_completion_costs_the_same_in_a_small_and_in_a_large_run(db: Db, q: Ledger, start: Flows):
    """Fifty chains and a gate: each end touches the step, its dependent and the run, whatever else is in the run."""
    found: dict[int, dict[str, int]] = {}
    for size in (100, 10_000):
        flow = start(
            gate("g"),
            step("h", "g"),
            step("s0"),
            *(step(f"s{i}", always=f"s{max(0, i - 50)}") for i in range(1, size - 2)),
        )
        flow.succeed("s0")
        db.execute("vacuum analyze")
        found[size] = costs(db, q, flow, "s7")
        flow.cancel()
    for verb, cost in found[10_000].items():
        # A B-tree of 10,000 steps is one level higher than one of 100; nothing else may show.
        assert cost <= 1.4 * found[100][verb] + 12, (verb, found)


def test_a_large_run_after_many_small_ones(db: Db, q: Ledger, start: Flows):
    """Statistics that know of a small run only mislead no plan: that would take minutes."""
    start(*(step(f"s{i}") for i in range(100)))
    db.execute("vacuum analyze")
    db.execute("set statement_timeout = '60s'")
    flow = start(gate("g"), *layers(500, 10, 3))
    flow.append(*({**s, "key": f"a{n}", "after_success": [s["key"]]} for n, s in enumerate(layers(500, 2, 0))))
    assert flow.run["steps_total"] == 6001
    assert db.value("show enable_nestloop") == "on"
    flow.cancel()


def test_attempts_and_steps_change_where_they_lie(db: Db, q: Ledger, start: Flows):
    """Their pages have room for the versions to come: only the release of a step, which gives it a job, writes index entries."""
    for _ in range(2):
        start(*fan(400))
    while claimed := q.claim(200):
        q.finish(*outcomes(claimed))
    db.execute("select pg_stat_force_next_flush()")
    db.execute("select 1")
    updates = {
        r["relname"]: (r["n_tup_upd"], r["n_tup_hot_upd"])
        for r in db.all("select * from pg_stat_user_tables where relname in ('job_attempts', 'workflow_steps')")
    }
    assert updates["job_attempts"] == (804, 804)
    # Released but for the roots, claimed, finished; and the joins are told that something ended.
    steps, hot = updates["workflow_steps"]
    assert steps >= 3 * 804 - 2
    assert hot >= 0.95 * (steps - 804)
