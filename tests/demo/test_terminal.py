"""The demo on a terminal: drawn in place, within its lines and columns."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from runledger.demo import ledger
from runledger.demo.screen import Screen, draw, tell
from runledger.demo.story import Story
from tests.demo.conftest import COMMAND, wait_for

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def with_variable(name: str, value: str) -> list[int]:
    """The processes that have it in their environment."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has gone, or is not ours
            if f"{name}={value}".encode() in file.read_bytes().split(b"\0"):
                found.append(int(file.parent.name))
    return found


def on_a_terminal(environment: dict[str, str], *flags: str, columns: int, lines: int) -> tuple[int, str]:
    """Run the demo with a terminal of that size; returns exit code and everything it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *flags], env={**environment, "TERM": "xterm-256color"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    # While it is being started its environment reads empty for a moment.
    wait_for(lambda: process.pid in with_variable("TMPDIR", environment["TMPDIR"]))
    written = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the last one who had it is gone
            break
        if not data:
            break
        written += data
    os.close(ours)
    return process.wait(60), written.decode()


@pytest.mark.slow
@pytest.mark.parametrize("columns, lines", [(80, 24), (120, 40)])
def test_it_is_drawn_in_place_and_fits(environment, columns, lines):
    code, written = on_a_terminal(environment, "--limit", "5", columns=columns, lines=lines)
    assert code == 0, written[-3000:]
    assert "Traceback" not in written
    # A line that is too long would wrap, one too many would scroll: the next picture would miss its place.
    drawn = [ESCAPE.sub("", line) for line in re.split(r"[\r\n]+", written)]
    assert max(map(cell_len, drawn)) <= columns
    heights = [len(re.findall("\x1b\\[1A", run)) for run in re.findall(r"(?:\x1b\[1A\x1b\[2K|\r|\x1b\[2K)+", written)]
    assert len([height for height in heights if height]) > 20
    assert max(heights) < lines
    words = "\n".join(drawn)
    for seen in ("workflow running", "index …", "▶", "━", "approve (gate)", "demo-worker-1", "waiting"):
        assert seen in words
    assert words.count("✔ as told") == len(ledger.CHECKS) + 1
    assert ("other jobs" in words) == (columns >= 100)
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    wait_for(lambda: not with_variable("TMPDIR", environment["TMPDIR"]))


@pytest.mark.slow
def test_lines_on_a_terminal_on_demand(environment):
    code, written = on_a_terminal(environment, "--limit", "1", "--no-live", columns=80, lines=24)
    assert code == 0
    assert "\x1b[1A" not in written
    assert "✔ as told" in ESCAPE.sub("", written)


def test_a_picture_is_drawn_of_every_moment(db, tmp_path):
    """From the first moment on, when most steps are still to come, and on a terminal of any width."""
    with db.connect() as connection:
        story = Story(connection, tmp_path)
        list(story.begin(1))
        now = story.look()
        for width in (20, 60, 80, 99, 100, 200):
            console = Console(width=width, file=io.StringIO())
            console.print(draw(now, "PostgreSQL", seconds=1.0, width=width))
            text = console.file.getvalue()
            assert "to come" in text or width < 60
            assert max(map(cell_len, text.splitlines())) <= width
    assert [step.status for step in now.steps.values()] == [
        "enqueued", "waiting_for_external", "enqueued", "blocked", "blocked",
    ]  # fmt: skip


def test_words_hang_below_their_first_line(capsys):
    console = Console(width=40)
    tell(console, Text("  1.0 s  "), words=Text("one two three four five six seven eight nine ten"))
    Screen(console, "PostgreSQL", live=False).say("[red] is told as it is")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["  1.0 s  one two three four five six", "         seven eight nine ten"]
    assert lines[2] == "  0.0 s  [red] is told as it is"
