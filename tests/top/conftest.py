"""`watch` runs the view as people do, in a process with a terminal of its own, whose screen a test can read."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from select import select
from typing import Any

import pyte
import pytest

from tests.support.database import Db
from tests.support.ledger import Ledger
from tests.support.servers import ROOT

LEFT = "\x1b[?1049l"
KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "tab": "\t",
    "end": "\x1b[F",
    "interrupt": "\x03",
    "suspend": "\x1a",
}


class Watch:
    """A program with a terminal: what it wrote, and what its screen shows."""

    def __init__(self, command: list[str], columns: int, lines: int, **environment: str) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._ours, self.theirs = pty.openpty()  # the other end stays open, to see how it is left
        self.before = termios.tcgetattr(self.theirs)
        self.written = b""
        self.resize(columns, lines)
        kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, start_new_session=True,
            env={**kept, "TERM": "xterm-256color", **environment},
        )  # fmt: skip

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self, seconds: float) -> bool:
        if not select([self._ours], [], [], seconds)[0]:
            return False
        data = os.read(self._ours, 65536)
        self.written += data
        self._stream.feed(data)
        return True

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, seen: str | Callable[[str], Any], seconds: float = 30) -> str:
        """Wait until the screen shows the words, or the condition holds of its text."""
        holds = seen if callable(seen) else lambda text: seen in text
        deadline = time.monotonic() + seconds
        while not holds(self.text):
            assert time.monotonic() < deadline, f"never seen: {seen}\n{self.text}"
            if not self._read(0.1) and self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}\n{self.text}")
        return self.text

    def press(self, *keys: str) -> Watch:
        for key in keys:
            os.write(self._ours, KEYS.get(key, key).encode())
        return self

    def ended(self, seconds: float = 20) -> int:
        """Wait for its end; the exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.text
            self._read(0.05)
        self.read_all()
        return self.process.returncode

    def read_all(self) -> None:
        """Read what has been written so far."""
        while self._read(0):
            pass

    @property
    def is_restored(self) -> bool:
        """Whether the terminal is as it was: its modes, its first screen, its cursor."""
        words = self.written.decode()
        return (
            termios.tcgetattr(self.theirs) == self.before
            and words.rindex(LEFT) > words.rindex("\x1b[?1049h")
            and words.rindex("\x1b[?25h") > words.rindex("\x1b[?25l")
            and words.rindex("\x1b[?7h") > words.rindex("\x1b[?7l")
        )

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)


@pytest.fixture
def start() -> Iterator[Callable[..., Watch]]:
    """start([…], columns, lines) runs a command on a terminal of that size; it is killed with the test."""
    started: list[Watch] = []

    def on_terminal(command: list[str], columns: int = 100, lines: int = 30, **environment: str) -> Watch:
        started.append(Watch(command, columns, lines, **environment))
        return started[-1]

    yield on_terminal
    for one in started:
        one.close()


@pytest.fixture
def watch(db: Db, start: Callable[..., Watch]) -> Callable[..., Watch]:
    """watch() opens the view on the database of the test."""

    def on_database(*flags: str, dsn: str = "", columns: int = 100, lines: int = 30) -> Watch:
        command = [sys.executable, "-m", "runledger", "top", "--interval", "0.3", "--dsn", dsn or db.dsn, *flags]
        return start(command, columns, lines)

    return on_database


@pytest.fixture
def q(db: Db) -> Ledger:
    ledger = Ledger(db)
    ledger.define("t")
    return ledger
