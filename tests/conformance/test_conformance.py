"""Scenarios as data, played by psycopg, by psql and by node: whoever can call a function gets the same."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tests.conformance import drivers
from tests.conformance.drivers import SCENARIOS
from tests.support import node
from tests.support.database import Db

every_scenario = pytest.mark.parametrize("name", SCENARIOS)


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return node.install(tmp_path_factory.mktemp("node"))


@every_scenario
def test_by_psycopg(db: Db, name: str):
    assert drivers.psycopg(db.dsn, SCENARIOS[name]) is None


@every_scenario
def test_by_psql(db: Db, name: str):
    assert drivers.psql(db.dsn, SCENARIOS[name]) is None


@every_scenario
def test_by_node(db: Db, modules: Path, name: str):
    assert drivers.nodejs(modules)(db.dsn, SCENARIOS[name]) is None


WRONG = {
    "another value": (6, {"gives": [{"disposition": "RELEASED"}]}, "RELEASED"),
    "more rows": (3, {"gives": [{}]}, "expected 1 rows"),
    "no refusal": (6, {"refused": "RL003 job.lease_owner_mismatch"}, "expected RL003"),
    "a null": (7, {"gives": [{"worker_id": "*"}]}, "worker_id is null"),
    "a known value": (7, {"gives": [{"job_id": "$token"}]}, "job_id: expected"),
    "a refusal": (0, {"with": {"job_type": ""}}, "expected rows, got RL010"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("play", [drivers.psycopg, drivers.psql])
def test_a_driver_sees_what_is_wrong(db: Db, play: drivers.Play, name: str):
    at, change, told = WRONG[name]
    scenario = copy.deepcopy(SCENARIOS["a job runs once"])
    scenario["steps"][at].update(change)
    wrong = play(db.dsn, scenario)
    assert wrong is not None
    assert wrong.startswith(f"step {at + 1}, {scenario['steps'][at]['do']}: ")
    assert told in wrong
