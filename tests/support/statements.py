"""Where the statements of a PL/pgSQL body begin, to the character: what the probes are put in front of.

PostgreSQL's own parser tells lines only. This one knows just enough of the grammar: where a list of statements begins
and how far the expressions reach; tests/house/test_probes.py compares what it finds with the real parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      | (?P<text>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
      | (?P<label><<\w+>>)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<other>\d+(?:\.\d+)?|.)""",
    re.VERBOSE | re.DOTALL,
)
# What ends a list of statements, where a statement could begin.
CLOSERS = {"end", "else", "elsif", "when", "exception"}


class NotUnderstood(Exception):
    """The body is not as this parser knows PL/pgSQL."""


@dataclass(frozen=True, slots=True)
class Statement:
    """`at`: the offset of its first character. An `end` is the end of the body, where it can be reached."""

    at: int
    line: int
    kind: Literal["statement", "block", "end"]
    text: str


@dataclass(frozen=True, slots=True)
class _Token:
    at: int
    text: str


def statements(body: str) -> list[Statement]:
    """Every statement of the body in the order of the text, and the end of the body unless it ends with a return."""
    return _Parser(body).parse()


class _Parser:
    def __init__(self, body: str) -> None:
        self._body = body
        found = (m for m in TOKEN.finditer(body) if m.lastgroup != "space")
        # A quoted name or a string is no keyword, whatever stands in it.
        self._tokens = [_Token(m.start(), "'" if m["text"] else m[0].lower()) for m in found]
        self._next = 0
        self._found: list[Statement] = []

    def parse(self) -> list[Statement]:
        while self._peek() == "#":  # #variable_conflict …
            line = self._line()
            while self._line() == line:
                self._next += 1
        end = self._block()
        if self._next < len(self._tokens) and self._take() != ";":
            raise NotUnderstood(f"{self._peek()!r} after the end")
        if not self._returns():
            self._found.append(Statement(end, self._line_of(end), "end", "end"))
        return sorted(self._found, key=lambda s: s.at)

    def _returns(self) -> bool:
        """Whether the body ends with a statement behind which nothing is reached."""
        last = max(self._outermost, key=lambda s: s.at)
        return bool(re.match(r"return(?!\s+(query|next))\b|raise\s+exception\b", last.text, re.IGNORECASE))

    def _peek(self) -> str:
        return self._tokens[self._next].text if self._next < len(self._tokens) else ""

    def _line_of(self, at: int) -> int:
        return self._body.count("\n", 0, at) + 1

    def _line(self) -> int:
        return self._line_of(self._tokens[self._next].at)

    def _take(self, *expected: str) -> str:
        text = self._peek()
        if not text or (expected and text not in expected):
            raise NotUnderstood(f"line {self._line()}: {text!r}, expected {expected}")
        self._next += 1
        return text

    def _block(self) -> int:
        """[declare …] begin … [exception when … then …] end; returns where its `end` stands."""
        if self._peek() == "declare":
            while self._take() != "begin":
                pass
        else:
            self._take("begin")
        before = len(self._found)
        end = self._list()
        self._outermost = self._found[before:]
        if self._peek() == "exception":
            self._take()
            while self._peek() == "when":
                self._until("then")
                self._list()
        self._take("end")
        return end

    def _list(self) -> int:
        """Statements up to a closer; returns where that stands."""
        while self._peek() not in CLOSERS:
            self._statement()
        return self._tokens[self._next].at

    def _statement(self) -> None:
        start, first = self._next, self._peek()
        label = first.startswith("<<")
        if label:
            self._take()
            first = self._peek()
        block = first in ("declare", "begin")
        place = len(self._found)
        if block:
            self._block()
        elif first == "if":
            self._branches("elsif")
        elif first == "case":
            self._take()
            self._until("when", keep=True)
            self._branches("when", first=True)
        elif first in ("loop", "while", "for", "foreach"):
            self._until("loop")
            self._list()
            self._take("end")
            self._take("loop")
        self._until(";")
        at, end = self._tokens[start].at, self._tokens[self._next - 1].at
        text = " ".join(re.sub(r"--[^\n]*", "", self._body[at:end]).split())
        self._found.insert(place, Statement(at, self._line_of(at), "block" if block else "statement", text))

    def _branches(self, again: str, *, first: bool = False) -> None:
        """`if` or `case` from its first condition to behind its `end if`."""
        keyword = "case" if first else "if"
        self._until("then")
        self._list()
        while self._peek() == again:
            self._until("then")
            self._list()
        if self._peek() == "else":
            self._take()
            self._list()
        self._take("end")
        self._take(keyword)

    def _until(self, stop: str, *, keep: bool = False) -> None:
        """Over an expression, in which a `case … end` has words of its own."""
        depth = cases = 0
        while True:
            text = self._peek()
            if not text:
                raise NotUnderstood(f"no {stop!r}")
            if text == stop and depth == cases == 0:
                self._next += not keep
                return
            depth += (text in "([") - (text in ")]") if len(text) == 1 else 0
            cases += (text == "case") - (text == "end")
            self._next += 1
