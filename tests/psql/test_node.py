"""A worker in JavaScript, with node's own driver; part of `make test-all`, where a missing node is a failure."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.psql import fleet
from tests.support.database import Db

HERE = Path(__file__).parent
DRIVER = "pg@8"


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the driver installed from the registry."""
    for tool in ("node", "npm"):
        assert shutil.which(tool), f"{tool} is missing: the node worker cannot be tested"
    directory = tmp_path_factory.mktemp("node")
    argv = ["npm", "install", "--prefix", str(directory), "--no-audit", "--no-fund", "--silent", DRIVER]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"npm install {DRIVER}: {done.stderr}"
    return directory


@pytest.fixture
def node(db: Db, modules: Path) -> fleet.Fleet:
    given = conninfo_to_dict(db.dsn)
    names = {"host": "host", "port": "port", "user": "user", "dbname": "database", "password": "password"}
    dsn = json.dumps({names[key]: str(value) for key, value in given.items() if key in names})
    return fleet.Fleet(db, ["node", str(HERE / "worker.mjs")], {"DSN": dsn, "PATH": os.environ["PATH"]}, modules)


def test_a_node_worker_works_through_a_mixed_queue(node: fleet.Fleet):
    fleet.works_through_a_mixed_queue(node)


@pytest.mark.chaos
def test_a_node_worker_keeps_its_lease_and_loses_it_when_killed(node: fleet.Fleet, tmp_path: Path):
    fleet.keeps_its_lease_and_loses_it_when_killed(node, tmp_path / "hold")


def test_two_node_workers_share_the_work(node: fleet.Fleet):
    fleet.two_share_the_work(node)
