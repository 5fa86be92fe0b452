"""What users are told, word for word: the answers a test sees, compared with a checked-in text that people can read.

`RUNLEDGER_WRITE=1 pytest …` writes the sections of the tests it runs anew. Read what changed before you commit it.
"""

from __future__ import annotations

import difflib
import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from tests.support.written import WRITING

if TYPE_CHECKING:
    from tests.support.clock import Clock

UUID_ = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
INSTANT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?[+-]\d\d(?::?\d\d)?")
DAY = re.compile(r"(?<=job_events_)\d{8}|(?<=job_logs_)\d{8}")
# What a test cannot choose: process ids, how long a session of its own has been idle, who connects.
CHANCE = (
    (re.compile(r"(?<=session )\d+|(?<=Session )\d+|(?<=process )\d+|(?<=pg_terminate_backend\()\d+"), "PID"),
    (re.compile(r"(idle in transaction|active|idle), since [^()]*\([^()]*\)"), r"\1, since INSTANT"),
)


def title(nodeid: str) -> str:
    """The test as pytest names it in its file, without the server."""
    name = nodeid.split("::", 1)[1]
    return re.sub(r"\[pg\d+-", "[", re.sub(r"\[pg\d+\]", "", name))


def read(path: Path) -> dict[str, list[str]]:
    """The entries of each section."""
    parts = re.split(r"^== (.*)\n", path.read_text() if path.exists() else "", flags=re.MULTILINE)[1:]
    return {
        name: [e for e in text.strip("\n").split("\n\n") if e]
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


class Told:
    """One section. `clock`, if it stands still: instants and days are told by how far they are from its beginning."""

    def __init__(
        self, request: pytest.FixtureRequest, *, clock: Clock | None = None, names: dict[str, str] | None = None
    ) -> None:
        self.path = Path(request.path).parent / "told" / f"{Path(request.path).stem}.txt"
        self.title = title(request.node.nodeid)
        self._clock = clock
        self._names = dict(names or {})
        self._unknown = 0
        self._heard: list[str] = []
        self._expected = [] if WRITING else read(self.path).get(self.title, [])

    @property
    def is_exact(self) -> bool:
        return self._clock is not None

    def hear(self, *lines: str) -> None:
        """The next answer; it must be word for word the one that is written down. Said twice, it is written once."""
        entry = self._plain("\n".join(line for line in lines if line)) or "nothing"
        if entry == (self._heard or [None])[-1]:
            return
        nth = len(self._heard)
        self._heard.append(entry)
        if not WRITING:
            assert nth < len(self._expected), f"not in {self.path.name}, {self.title}:\n{entry}"
            assert entry == self._expected[nth], f"{self.path.name}, {self.title}:\n" + "\n".join(
                difflib.ndiff(self._expected[nth].splitlines(), entry.splitlines())
            )

    def end(self) -> None:
        if WRITING:
            self._write()
        else:
            assert len(self._heard) == len(self._expected), f"{self.path.name} tells more under {self.title}"

    def _plain(self, text: str) -> str:
        text = UUID_.sub(self._name, text)
        for pattern, word in CHANCE:
            text = pattern.sub(word, text)
        return DAY.sub(self._day, INSTANT.sub(self._instant, text))

    def _name(self, found: re.Match[str]) -> str:
        if found[0] not in self._names:
            self._unknown += 1
            self._names[found[0]] = f"ID-{self._unknown}"
        return self._names[found[0]]

    def _instant(self, found: re.Match[str]) -> str:
        if self._clock is None or self._clock.began is None:
            return "INSTANT"
        return f"START{_seconds(datetime.fromisoformat(found[0]) - self._clock.began)}"

    def _day(self, found: re.Match[str]) -> str:
        if self._clock is None or self._clock.began is None:
            return "DAY"
        day = datetime.strptime(found[0], "%Y%m%d").date()
        return f"DAY{(day - self._clock.began.astimezone(UTC).date()).days:+}"

    def _write(self) -> None:
        self.path.parent.mkdir(exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            sections = read(self.path) | {self.title: self._heard}
            self.path.write_text(
                "\n".join(f"== {name}\n\n" + "".join(f"{e}\n\n" for e in told) for name, told in sections.items() if told)
            )
        self.path.with_suffix(".lock").unlink(missing_ok=True)


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():+g}s" if span else ""


@contextmanager
def telling(request: pytest.FixtureRequest, **how: Any) -> Iterator[Told]:
    told = Told(request, **how)
    yield told
    told.end()


def ranked(rows: list[dict[str, Any]], of: str = "code") -> list[str]:
    """Reasons with their words and fixes; of a long list the head and the tail."""
    lines = []
    for row in rows:
        step = f"{row['step_key']!r} " if row.get("step_key") is not None else ""
        lines.append(f"{row['rank']}. {step}{row[of]}: {row['explanation']}")
        lines += [f"   -> {row['fix']}"] if row["fix"] else []
    return lines if len(lines) <= 60 else [*lines[:12], f"   … {len(lines) - 24} lines …", *lines[-12:]]


def findings(rows: list[dict[str, Any]]) -> list[str]:
    """What fsck found: each finding with its detail, and what it says to do."""
    lines = []
    for row in rows:
        lines.append(f"{row['severity']} {row['invariant']} {row['object']} {as_json(row['detail'])}")
        lines.append(f"   -> {row['repair']}")
    return lines


def checked(row: dict[str, Any], *, exact: bool = True) -> list[str]:
    """A row of health(). Not `exact`: time goes on, so that no value in seconds can be told."""
    value, text = row["value"], row["explanation"]
    if not exact and row["unit"] == "seconds" and value is not None:
        value = "some"
    if row["code"] in ("server.snapshot", "server.horizon", "server.notify") and value is not None:
        value, text = "some", re.sub(r"\d+ (?=transactions)", "N ", text)
    lines = [f"{row['level']} {row['code']}: {value} {row['unit']}. {text}"]
    lines += [f"   -> {row['fix']}"] if row["fix"] else []
    return [*lines, f"   {as_json(row['detail'])}"]


def as_json(value: Any) -> str:
    """Detail of an answer: keys in order, ids and instants as text."""

    def plain(v: Any) -> Any:
        return str(v) if isinstance(v, UUID | datetime) else float(v)

    return json.dumps(value, sort_keys=True, default=plain, ensure_ascii=False)
