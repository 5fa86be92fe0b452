"""Printing: tables and records for people, one JSON object per line for programs.

Nothing that comes from the database reaches the terminal unescaped, and nothing is wider than the screen (120 columns
where there is none), counted in cells: a CJK letter takes two. `--json` has every value in full.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import click
from rich.cells import cell_len

from runledger._words import escaped, fitted, folded, wrapped
from runledger.types import Undecodable

__all__ = [
    "WIDTH",
    "Column",
    "columns",
    "escaped",
    "every",
    "fitted",
    "folded",
    "json_line",
    "plain",
    "record",
    "screen",
    "shown",
    "table",
    "wrapped",
]

WIDTH = 120
"""Columns where the screen does not say."""

_COLOURS = {
    "red": "DEAD_LETTERED FAILED CRIT ERROR COMPLETED_WITH_ERRORS REFUSED LEASE_LOST INVALID CONFLICT BAD",
    "green": "SUCCEEDED OK INSERTED REQUEUED RESTORED",
    "yellow": "CANCELED WARN DEFERRED DISABLED PAUSED WAITING_FOR_EXTERNAL",
    "cyan": "LEASED RUNNING ENQUEUED",
}
_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COLOUR = {word: colour for colour, words in _COLOURS.items() for word in words.split()}


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One column: a field of the row, or what a function makes of the row. `cut` may lose its end, down to 8 cells."""

    title: str
    value: str | Callable[[Any], object]
    cut: bool = False

    def of(self, row: object) -> object:
        """The value of a row in this column."""
        if not isinstance(self.value, str):
            return self.value(row)
        return row[self.value] if isinstance(row, Mapping) else getattr(row, self.value)


def columns(spec: str, **made: Callable[[Any], object]) -> list[Column]:
    """Columns from `title=field title~ …`: `~` may be cut, without `=field` the title is the field."""
    found = []
    for word in spec.split():
        title, _, field = word.partition("=")
        bare = title.rstrip("~")
        found.append(Column(bare.replace("_", " "), made.get(bare, field or bare), cut=title != bare))
    return found


def every(row: Any) -> list[Column]:
    """All fields of a result type, or of a view, as columns; what is no id may be cut."""
    if isinstance(row, Mapping):
        return [Column(name.replace("_", " "), name, cut=True) for name in row]
    return [Column(f.name.replace("_", " "), f.name, cut="UUID" not in str(f.type)) for f in dataclasses.fields(row)]


# --- words ----------------------------------------------------------------------------------------


def shown(value: object) -> str:
    """A value as people read it, on one line: instants in UTC."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, dict | list) and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
        return escaped(json.dumps(value, ensure_ascii=False))
    if isinstance(value, list):
        return escaped(", ".join(value))
    if isinstance(value, Undecodable):
        return escaped(value.text)
    return escaped(str(value))


# --- tables and records ---------------------------------------------------------------------------


def screen() -> int:
    """Cells of a line of output."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH


def table(rows: Iterable[object], shape: Sequence[Column]) -> list[str]:
    """Lines of a table: its head and a line per row, ids whole. Columns that are empty everywhere are left out."""
    cells = [[shown(c.of(row)) for c in shape] for row in rows]
    used = [i for i in range(len(shape)) if not cells or any(line[i] for line in cells)]
    widths = {i: max([cell_len(shape[i].title), *(cell_len(line[i]) for line in cells)]) for i in used}
    ids = {i for i in used if any(_ID.fullmatch(line[i]) for line in cells)}
    for least, some in ((8, [i for i in used if shape[i].cut]), (8, used), (3, used)):
        room = {i: 36 if i in ids else least for i in some}
        while sum(widths.values()) + 2 * (len(used) - 1) > screen():
            widest = max((i for i in some if widths[i] > room[i]), key=lambda i: widths[i], default=None)
            if widest is None:
                break
            widths[widest] -= 1
    head = "  ".join(fitted(shape[i].title, widths[i]) for i in used).rstrip()
    body = ["  ".join(_coloured(fitted(line[i], widths[i]), line[i]) for i in used).rstrip() for line in cells]
    return [click.style(head, bold=True), *body]


def _coloured(cell: str, word: str) -> str:
    colour = _COLOUR.get(word)
    return click.style(cell, fg=colour) if colour else cell


def record(values: Mapping[str, object]) -> list[str]:
    """Lines of one object: a name and its value, folded to the screen. What is NULL is left out."""
    told = {name.replace("_", " "): shown(value) for name, value in values.items() if value is not None}
    left = max(map(len, told), default=0) + 2
    lines = []
    for name, value in told.items():
        first, *rest = folded(value, max(screen() - left, 8))
        lines.append(click.style(name.ljust(left), bold=True) + _coloured(first, value))
        lines.extend(" " * left + more for more in rest)
    return [line.rstrip() for line in lines]


# --- JSON -----------------------------------------------------------------------------------------


def plain(value: object) -> Any:
    """A value in JSON's own types: result types as objects of their fields, instants as ISO 8601 in UTC."""
    if isinstance(value, Undecodable):
        return value.text
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value) if isinstance(value, UUID) else value


def json_line(value: object) -> str:
    """A value as one line of JSON in ASCII, which no terminal and no encoding can spoil."""
    return json.dumps(plain(value))
