"""The log of effects: what processes did and were told, written outside of the database, in files that only grow.

A record is one line and one write: a process that is killed leaves a torn last line at most. Times are of the clock that
all processes of this machine share and nobody sets.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

now = time.monotonic_ns

# Where a worker can be told to die, in the order in which a job passes them.
CLAIMED = "after the reply of a claim"
MIDWAY = "in the middle of a handler"
UNSENT = "before a finish is sent"
SENT = "after a finish is sent, before its reply"
POINTS = (CLAIMED, MIDWAY, UNSENT, SENT)


class Journal:
    """One file per process. In the records a process is its name and its pid: the next one of that name is another."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._who = f"{name}.{os.getpid()}"
        self._directory = directory
        self._file = os.open(directory / f"{self._who}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    @classmethod
    def of_environment(cls) -> Journal:
        """That of a process of the arena, which does not outlive the one that started it: its stdin ends then."""
        threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()
        return cls(Path(os.environ["CHAOS_FILES"]), os.environ["CHAOS_NAME"])

    def write(self, kind: str, *facts: Any) -> None:
        os.write(self._file, json.dumps([kind, self._who, *facts], separators=(",", ":"), default=str).encode() + b"\n")

    def is_to_die(self, point: str) -> bool:
        """Whether somebody asked this process to die there; asked once, it is told once."""
        order = self._directory / f"{self.name}.die.{POINTS.index(point)}"
        if not order.exists():
            return False
        order.unlink()
        self.write("died", now(), point)
        return True

    def reach(self, point: str) -> None:
        if self.is_to_die(point):
            die()
        order = self._directory / f"{self.name}.freeze.{POINTS.index(point)}"
        if order.exists():
            order.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)  # until somebody sends SIGCONT


def order_death(directory: Path, name: str, point: str) -> Path:
    path = directory / f"{name}.die.{POINTS.index(point)}"
    path.touch()
    return path


def order_freeze(directory: Path, name: str, point: str) -> None:
    (directory / f"{name}.freeze.{POINTS.index(point)}").touch()


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL returned")


def read(directory: Path) -> Iterator[list[Any]]:
    """All records of all processes, file by file; a torn last line is what was not written."""
    for path in sorted(directory.glob("*.log")):
        with path.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield json.loads(line)
