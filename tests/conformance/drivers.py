"""Each driver as a function of a connection string and a scenario: what is wrong, or None."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conformance import driver
from tests.support import node
from tests.support.psql import psql as find_psql

HERE = Path(__file__).parent
Scenario = dict[str, Any]
Play = Callable[[str, Scenario], str | None]
SCENARIOS: dict[str, Scenario] = {
    scenario["name"]: scenario
    for file in sorted((HERE / "scenarios").glob("*.json"))
    for scenario in json.loads(file.read_text())
}


def psycopg(dsn: str, scenario: Scenario) -> str | None:
    return driver.play(dsn, scenario["steps"])


def psql(dsn: str, scenario: Scenario) -> str | None:
    argv = [find_psql(), "-X", "-d", dsn, "-v", f"scenario={json.dumps(scenario)}", "-f", str(HERE / "driver.sql")]
    told = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return None if told.stdout.strip() == "ok" else told.stdout.strip() + told.stderr


def nodejs(modules: Path) -> Play:
    """Needs the driver that `node.install` put into `modules`."""

    def play(dsn: str, scenario: Scenario) -> str | None:
        told = subprocess.run(
            ["node", str(HERE / "driver.mjs")], input=json.dumps(scenario), cwd=modules,
            env={**os.environ, "DSN": node.connection(dsn)}, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        wrong: str | None = json.loads(told.stdout)["wrong"]
        return wrong

    return play
