"""The number of statements that a call runs on tables, whatever the size of what it is given.

Counted by auto_explain, which not every server here has; PostgreSQL 18 has it, and the functions are the same on all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from runledger.testing import DatabaseServer
from tests.plans.test_workflow_cost import chain, fan, layers, outcomes
from tests.support import servers
from tests.support.database import Db
from tests.support.flows import Flows, gate
from tests.support.ledger import Ledger


@pytest.fixture
def start() -> Iterator[Flows]:
    with DatabaseServer.start(servers.bindir("18")) as server:
        db = Db(server.take(), server)
        q = Ledger(db, db.conn)
        q.define("t")
        yield Flows(q)
        assert db.findings() == []
        db.close()


TABLE = re.compile(r" on (workflow_|job_|workers)")


class Statements:
    """Counts the statements inside the functions that read or write a table: auto_explain tells each of them once."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self.conn = conn
        self.texts: list[str] = []
        conn.execute("load 'auto_explain'")
        for name, value in (("log_nested_statements", "on"), ("log_min_duration", "0"), ("log_level", "notice")):
            conn.execute(f"set auto_explain.{name} = {value}")
        conn.add_notice_handler(self._hear)

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        text = notice.message_primary or ""
        # The checks of foreign keys are triggers, one for each row, of every insert in PostgreSQL.
        if TABLE.search(text) and " FOR KEY SHARE OF x" not in text:
            self.texts.append(text)

    def of(self, call: Any) -> int:
        self.texts.clear()
        self.conn.execute("set client_min_messages = notice")
        call()
        self.conn.execute("set client_min_messages = warning")
        return len(self.texts)


def test_statements_do_not_grow_with_the_graph(start: Flows):
    counted = Statements(start.q.conn)
    shapes = {"chain": chain, "layers": lambda n: layers(n // 10, 10, 3), "fan": fan}
    for name, shape in shapes.items():
        counts = []
        for size in (150, 1500):
            told = shape(size)
            counts.append(counted.of(lambda told=told: start(*told)))
        assert 5 < counts[0] == counts[1] < 25, (name, counts)


def test_statements_of_an_append_do_not_grow(start: Flows):
    counted = Statements(start.q.conn)
    counts = []
    for size in (150, 1500):
        flow = start(gate("g"), *chain(size))
        told = layers(size // 10, 10, 2)
        counts.append(counted.of(lambda flow=flow, told=told: flow.append(*({**s, "key": "a" + s["key"], **(
            {"after_success": ["a" + k for k in s["after_success"]]} if "after_success" in s else {})} for s in told))))  # fmt: skip
    assert 5 < counts[0] == counts[1] < 30, counts


def test_statements_of_a_batch_do_not_grow(start: Flows):
    """Completions of one batch: as many statements for 1,000 steps of 1,000 runs as for a few of one."""
    counted = Statements(start.q.conn)
    counts = []
    for runs, width in ((1, 5), (1, 500), (60, 2)):
        flows = [start(*fan(width)) for _ in range(runs)]
        for expected in (runs, runs * width, runs):
            batch = outcomes(flows[0].claim())
            assert len(batch) == expected
            counts.append(counted.of(lambda batch=batch: start.q.finish(*batch)))
        assert {flow.status for flow in flows} == {"SUCCEEDED"}
    # Of each three the last ends runs: the same statements, but for those that let steps go.
    assert len({*counts[0::3], *counts[1::3]}) == len(set(counts[2::3])) == 1, counts
    assert 5 < counts[0] < 40


def test_statements_of_why_do_not_grow(start: Flows):
    """Of a job behind many, and of runs with one open job; of many open jobs twenty are asked."""
    q = start.q
    counted = Statements(q.conn)
    q.row("register_worker", worker_id="w1", job_types=["t"], max_jobs=3000)
    q.define("t", max_concurrency=2000)
    why, chains, fans = [], [], []
    for size in (150, 1500):
        q.enqueue_many(size)
        q.claim(size // 2)
        job_id = q.enqueue(priority=-1)
        why.append(counted.of(lambda job_id=job_id: q.rows("why", job_id=job_id)))
        flow = start(*chain(size))
        chains.append(counted.of(lambda flow=flow: q.rows("why_workflow", workflow_run_id=flow.id)))
        flow = start(*layers(size, 1, 0))
        fans.append(counted.of(lambda flow=flow: q.rows("why_workflow", workflow_run_id=flow.id)))
    assert 3 < why[0] == why[1] < 12, why
    assert chains[0] == chains[1] < 20, chains
    assert fans[0] == fans[1] < 250, fans
