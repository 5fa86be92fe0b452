"""Runs the demo as users do: in a process of its own, with a server of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.servers import ROOT

Start = Callable[..., "subprocess.Popen[str]"]
COMMAND = [sys.executable, "-m", "runledger", "demo"]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def children(pid: int) -> dict[int, str]:
    """The direct children of a process, with their command lines."""
    shown = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    lines = [line.split(None, 2) for line in shown.stdout.splitlines()]
    return {int(line[0]): line[2] for line in lines if int(line[1]) == pid and len(line) == 3}


@pytest.fixture
def environment(tmp_path, monkeypatch) -> dict[str, str]:
    """An environment that names no server, with a directory for temporary files that a test can look into."""
    (tmp_path / "tmp").mkdir()
    kept = {k: v for k, v in os.environ.items() if k not in ("RUNLEDGER_DSN", "DATABASE_URL", "COLUMNS", "LINES")}
    return {**kept, "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def start(environment) -> Iterator[Start]:
    """start(*flags) starts the demo with its output piped; it is killed with the test."""
    started: list[subprocess.Popen[str]] = []

    def start_demo(*flags: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *flags], env={**environment, **variables}, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        started.append(process)
        return process

    yield start_demo
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
