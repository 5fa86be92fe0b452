"""Tests around midnight: `python -m tests.support.midnight [--after] [pytest's own arguments]`.

What holds at noon and not at midnight is seldom seen: a run passes midnight once a day, within one test. Here every test
does, client and server, soon after it began; or, with --after, begins when the day of the template is over.
RUNLEDGER_MIDNIGHT (seconds since 1970) names another midnight than the next one, that of a new year perhaps.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runledger.testing import DatabaseServer

SOURCE = Path(__file__).with_suffix(".c")
CLOCK, AFTER, MIDNIGHT = "RUNLEDGER_CLOCK", "RUNLEDGER_AFTER_MIDNIGHT", "RUNLEDGER_MIDNIGHT"
DAY = 86_400


class Midnight:
    """Sets the clock of this process and of those it started."""

    def __init__(self) -> None:
        self._file = os.open(os.environ[CLOCK], os.O_WRONLY)
        self._at = float(os.environ[MIDNIGHT])
        self._after = bool(os.environ.get(AFTER))
        self._rng = random.Random(os.environ.get("RUNLEDGER_SEED", "7"))
        self._ahead = 0.0
        make_template = DatabaseServer._make_template

        def on_the_day_before(server: DatabaseServer) -> str:
            with self.time(-600):
                return make_template(server)

        DatabaseServer._make_template = on_the_day_before  # type: ignore[method-assign]

    def set(self, seconds: float) -> None:
        """So many after midnight."""
        self._ahead += self._at + seconds - time.time()
        # In place: who reads it has it mapped.
        os.pwrite(self._file, int(self._ahead * 1e9).to_bytes(8, sys.byteorder, signed=True), 0)

    @contextlib.contextmanager
    def time(self, seconds: float) -> Iterator[None]:
        was = time.time() - self._at
        self.set(seconds)
        yield
        self.set(was)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.set(20 if self._after else -10)

    def pytest_runtest_call(self, item: pytest.Item) -> None:
        # Most tests take less than a second.
        self.set(30 if self._after else -self._rng.choice((0.02, 0.05, 0.1, 0.2, 0.4, 0.8)))


def pytest_configure(config: pytest.Config) -> None:
    """This module is a plugin, too: the process that pytest runs in is the one with the other clock."""
    config.pluginmanager.register(Midnight())


def main() -> int:
    arguments = [argument for argument in sys.argv[1:] if argument != "--after"]
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        Path(place, "clock").write_bytes(bytes(8))
        library = f"{place}/midnight.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", library, SOURCE, "-ldl"], check=True)
        environment = {
            **os.environ, CLOCK: f"{place}/clock", AFTER: "1" if "--after" in sys.argv else "", "LD_PRELOAD": library,
            MIDNIGHT: os.environ.get(MIDNIGHT) or str((int(time.time()) // DAY + 1) * DAY),
        }  # fmt: skip
        command = [sys.executable, "-m", "pytest", "-p", "tests.support.midnight", "-p", "no:xdist", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
