"""The terminal: keys in raw mode, frames that write only what has changed, and everything put back at the end."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import io
import os
import re
import signal
import struct
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from select import select
from types import FrameType
from typing import Any, Self

from rich.console import Console
from rich.text import Text

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
"""The other screen, without a cursor and without wrapping: a letter wider than thought spoils its line alone."""
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Around a frame: terminals that know it show the frame at once, others ignore it."""
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O[@-~])")
_NAMED = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1bOC": "right",
    "\x1bOD": "left",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\x1bOH": "home",
    "\x1bOF": "end",
    "\x1b[Z": "back tab",
    "\r": "enter",
    "\n": "enter",
    "\t": "tab",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x1b": "escape",
    "\x03": "interrupt",
    "\x1a": "suspend",
    "\x0c": "redraw",
}


def keys(data: bytes, decoder: codecs.IncrementalDecoder) -> list[str]:
    """The names of keys, and characters as they are; sequences of keys that have no name here are dropped."""
    found = []
    while data:
        if match := _SEQUENCE.match(data):
            word, data = match.group().decode("ascii", "replace"), data[match.end() :]
            found.append(_NAMED.get(word, ""))
            continue
        char, data = decoder.decode(data[:1]), data[1:]
        if char:
            found.append(_NAMED.get(char, char if char.isprintable() else ""))
    return [key for key in found if key]


class Ended(Exception):
    """A signal asks to end; its number is the first argument."""


class Terminal:
    """Standard input and output while the view is open; a context manager that puts everything back."""

    def __init__(self) -> None:
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._saved: list[Any] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        self._signals: dict[int, Any] = {}
        self._ended: int | None = None
        self._resized = True
        self._shown: list[str] = []
        probe = Console()
        self._colours: Any = probe.color_system
        self._no_colour = probe.no_color

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGWINCH, signal.SIGCONT):
            self._signals[number] = signal.signal(number, self._heard)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        signal.set_wakeup_fd(-1)
        for number, handler in self._signals.items():
            signal.signal(number, handler)
        for end in self._pipe:
            os.close(end)

    def _open(self) -> None:
        self._saved = termios.tcgetattr(self._in)
        tty.setraw(self._in, termios.TCSANOW)
        self._write(_ENTER)
        self._resized = True

    def _close(self) -> None:
        # The terminal may be gone with its window.
        with contextlib.suppress(OSError):
            self._write(_LEAVE)
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self._in, termios.TCSANOW, self._saved)

    def _write(self, words: str) -> None:
        data = words.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._out, data) :]

    def _heard(self, number: int, _: FrameType | None) -> None:
        if number in (signal.SIGWINCH, signal.SIGCONT):
            self._resized = True
        else:
            self._ended = number

    def suspend(self) -> None:
        """Stop as any program does at ^Z, with the screen as it was; go on when the shell says so."""
        self._close()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._open()

    def wake(self) -> None:
        """End a wait; from any thread."""
        with contextlib.suppress(OSError):
            os.write(self._pipe[1], b"\0")

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            lines, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(self._out, termios.TIOCGWINSZ, b"\0" * 8))
        except OSError:
            lines = columns = 0
        return columns or 80, lines or 24

    def wait(self, seconds: float) -> list[str]:
        """Keys that were pressed; none after so long, after `wake`, or when the size changes. Raises `Ended`."""
        if self._ended is None and not self._resized:
            ready, _, _ = select([self._in, self._pipe[0]], [], [], seconds)
        else:
            ready, _, _ = select([self._in, self._pipe[0]], [], [], 0)
        if self._pipe[0] in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._pipe[0], 4096)
        if self._ended is not None:
            raise Ended(self._ended)
        return self._read() if self._in in ready else []

    def _read(self) -> list[str]:
        try:
            data = os.read(self._in, 4096)
        except OSError:
            data = b""
        if not data:
            raise Ended(signal.SIGHUP)
        # The bytes of one key may come apart; an escape on its own is a key.
        while data.endswith(b"\x1b") or re.search(rb"\x1b[\[O][0-9;?]*\Z", data):
            if not select([self._in], [], [], 0.05)[0]:
                break
            data += os.read(self._in, 4096)
        return keys(data, self._decoder)

    def redraw(self) -> None:
        """Draw everything anew the next time."""
        self._resized = True

    def show(self, lines: Sequence[Text]) -> None:
        """Show a frame: write the lines that differ from the last one."""
        width, height = self.size
        new = list(painted(lines, width, colours=self._colours, no_colour=self._no_colour))[:height]
        words = [_BEGIN]
        if self._resized:
            self._shown, self._resized = [], False
            words.append("\x1b[2J")
        for row in range(max(len(new), len(self._shown))):
            line = new[row] if row < len(new) else ""
            if row >= len(self._shown) or self._shown[row] != line:
                words.append(f"\x1b[{row + 1};1H{line}\x1b[0m\x1b[K")
        if len(words) > 1:
            self._write("".join([*words, _END]))
        self._shown = new


def painted(lines: Sequence[Text], width: int, *, colours: Any, no_colour: bool) -> Iterator[str]:
    """Lines as a terminal takes them, cut to its width."""
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system=colours,
        no_color=no_colour,
        width=width,
        legacy_windows=False,
    )
    for line in lines:
        with console.capture() as captured:
            console.print(line, end="", no_wrap=True, overflow="crop", crop=True, highlight=False, markup=False)
        yield captured.get()
