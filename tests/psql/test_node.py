"""A worker in JavaScript, with node's own driver; part of `make test-all`, where a missing node is a failure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.psql import fleet
from tests.support import node as nodejs
from tests.support.database import Db

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the driver installed from the registry."""
    return nodejs.install(tmp_path_factory.mktemp("node"))


@pytest.fixture
def node(db: Db, modules: Path) -> fleet.Fleet:
    environment = {"DSN": nodejs.connection(db.dsn), "PATH": os.environ["PATH"]}
    return fleet.Fleet(db, ["node", str(HERE / "worker.mjs")], environment, modules)


def test_a_node_worker_works_through_a_mixed_queue(node: fleet.Fleet):
    fleet.works_through_a_mixed_queue(node)


@pytest.mark.chaos
def test_a_node_worker_keeps_its_lease_and_loses_it_when_killed(node: fleet.Fleet, tmp_path: Path):
    fleet.keeps_its_lease_and_loses_it_when_killed(node, tmp_path / "hold")


def test_a_node_worker_works_through_a_workflow(node: fleet.Fleet):
    fleet.works_through_a_workflow(node)


def test_two_node_workers_share_the_work(node: fleet.Fleet):
    fleet.two_share_the_work(node)
