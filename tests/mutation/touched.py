"""Which tests run which functions, as the server counted it: a run of the tests with track_functions = all.

A function of language sql that the planner inlines is not counted; its callers stand for it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import os
import re
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import Any

import psycopg
import pytest

from runledger.testing import DatabaseServer
from tests.mutation.arena import Failures, Patched
from tests.mutation.operators import placebo
from tests.support import database, servers
from tests.support.flows import Flow, Flows
from tests.support.ledger import Ledger
from tests.support.plpgsql import SQL, function_files
from tests.support.told import read, title

# They fill tables by the hundred thousand, or go on for long: last, where nothing was measured.
LONG = ("tests/plans/", "tests/property/", "tests/functions/operations/test_fsck_load.py",
        "tests/functions/operations/test_why.py::test_every_state")  # fmt: skip
BENEATH = ("tests.support", "tests.conftest", "tests.functions.conftest")
# They state whole rows of much at once: most faults of their area die of them, so they go first.
WHOLE = (
    *(f"tests/functions/jobs/test_{name}.py" for name in ("written", "whole_lists", "bounds", "marks")),
    "tests/functions/core/test_words.py", "tests/functions/access/test_whole_access.py", "tests/functions/operations/test_written.py",
    "tests/functions/workflows/test_whole_rows.py", "tests/functions/workflows/test_exact_answers.py",
)  # fmt: skip
CODE = r"'([a-z_]+\.[a-z_]+)'"
CACHE = servers.ROOT / ".mutation" / "touched.json"


@dataclass(frozen=True, slots=True)
class Test:
    seconds: float
    functions: frozenset[str]


class Touched:
    """The map, and the choice of tests that follows from it."""

    def __init__(self, tests: dict[str, Test]) -> None:
        self.tests = tests

    @cached_property
    def by_function(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for name, test in self.tests.items():
            for function in test.functions:
                found[function].add(name)
        return found

    @cached_property
    def per_file(self) -> dict[str, int]:
        found: dict[str, int] = defaultdict(int)
        for name in self.tests:
            found[_file(name)] += 1
        return found

    @cached_property
    def callers(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for path in function_files():
            for called in re.findall(r"runledger\.(\w+)\(", path.read_text()):
                if called != path.stem:
                    found[called].add(path.stem)
        return found

    def touching(self, function: str) -> set[str]:
        seen, level = {function}, {function}
        while level:
            if names := set().union(*(self.by_function.get(f, set()) for f in level)):
                return names
            level = set().union(*(self.callers.get(f, set()) for f in level)) - seen
            seen |= level
        return set()

    def choose(self, function: str, seconds: float, beside: str = "") -> list[str]:
        """The tests that touch it, those of the files that are most about it first, within that time.

        `beside`: the lines around the fault. Where nothing was measured, tests that ask for a code which stands there come first.
        """
        names = self.touching(function)
        share: dict[str, float] = defaultdict(float)
        for name in names:
            share[_file(name)] += 1 / self.per_file[_file(name)]
        words = function.strip("_").removesuffix("s")
        for file in share:
            if words in file:
                share[file] += 1
        chosen, spent = [], 0.0
        for name in sorted(names, key=lambda n: (-share[_file(n)], self.tests[n].seconds, n)):
            spent += self.tests[name].seconds
            if spent > seconds and chosen:
                break
            chosen.append(name)
        return chosen


class Guessed(Touched):
    """Without a measurement: what the text of a test names, and what that calls, nearest first."""

    def __init__(self, items: dict[str, pytest.Item]) -> None:
        self.tests = {}
        self.near: dict[str, dict[str, int]] = defaultdict(dict)
        self.words = {name: _quoted(item) for name, item in items.items()}
        self.long = {n for n, item in items.items() if item.get_closest_marker("slow") or n.startswith(LONG)}
        names = {path.stem for path in function_files()} | {path.stem for path in (SQL / "views").glob("*.sql")}
        calls = {
            path.stem: set(re.findall(r"runledger\.(\w+)", path.read_text())) & names - {path.stem}
            for path in [*function_files(), *(SQL / "views").glob("*.sql")]
        }
        self.codes = _codes(calls)
        sources: dict[Any, set[str]] = {}
        short = _short_names(names)
        for name, item in items.items():
            test = getattr(item, "function", None)
            if test not in sources:
                text = "".join(inspect.getsource(code) for code in _code_of(item))
                sources[test] = set(re.findall(r"\w+", text)) & names
                sources[test] |= set().union(*(short.get(method, set()) for method in re.findall(r"\.(\w+)\(", text)))
            self.tests[name] = Test(0.1, frozenset(sources[test]))
            distance = dict.fromkeys(sources[test] | {f for f in names if f"[pg18-{f}" in name or f"-{f}]" in name}, 0)
            words = short_of(item)
            shared = (words & names).union(*(short[word] for word in words & short.keys()))
            distance |= {f: 1 for f in shared if f not in distance}
            level = set(distance)
            while level:
                level = set().union(*(calls[f] for f in level)) - set(distance)
                distance.update(dict.fromkeys(level, max(distance.values()) + 1))
            for function, far in distance.items():
                self.near[function][name] = far

    def touching(self, function: str) -> set[str]:
        return set(self.near[function])

    def choose(self, function: str, seconds: float, beside: str = "") -> list[str]:
        words = function.strip("_").removesuffix("s")
        near = self.near[function]
        area = next((f"/{path.parent.name}/" for path in function_files() if path.stem == function), "/")
        codes = self.codes.get(function, frozenset()) | set(re.findall(CODE, beside))

        def far(name: str) -> tuple[bool, int, int, str]:
            file = _file(name)
            named = 3 * (words in file) + 3 * (words in name.partition("::")[2]) + 2 * (area in file)
            named += 9 * bool(codes & self.words[name])
            return name in self.long, near[name] - named, len(self.tests[name].functions), name

        # Each five of a file count as one step further away: what one file does not see, the next might. Of those that
        # are about its area each fifteen.
        files: dict[str, list[str]] = defaultdict(list)
        for name in sorted(near, key=far):
            files[_file(name)].append(name)
        turns = sorted(
            # Those that ask for a code which this function gives, all at once.
            (
                name in self.long, not (name.startswith(WHOLE) and area in file or codes & self.words[name]),
                far(name)[1] + (0 if codes & self.words[name] else nth // (15 if area in file else 5)), far(name), name,
            )  # fmt: skip
            for file, names in files.items()
            for nth, name in enumerate(names)
        )
        return [name for *_, name in turns][: max(1, round(seconds / 0.1))]


def _short_names(names: set[str]) -> dict[str, set[str]]:
    """Tests call through short names: q.beat(lease) is heartbeat_jobs, and q.finish_one calls q.finish."""
    text: dict[str, str] = defaultdict(str)
    for kind in (Ledger, Flow, Flows):
        for method, code in vars(kind).items():
            text[method] += inspect.getsource(code) if inspect.isfunction(code) else ""
    short = {method: set(re.findall(r"\w+", source)) & names for method, source in text.items()}
    for _ in range(3):
        for method, source in text.items():
            short[method] |= set().union(*(short.get(m, set()) for m in re.findall(r"\.(\w+)\(", source)))
    return short


def _code_of(item: Any) -> list[Any]:
    """A test, its fixtures, and the helpers that these call by name: `plan(…)` is upsert_schedule.

    Without what stands beneath all tests: it installs, looks with fsck, and so on, and would name everything.
    """
    fixtures = [defs[-1].func for defs in item._fixtureinfo.name2fixturedefs.values()]
    found: list[Any] = []
    level = [getattr(item, "function", None), *fixtures]
    for _ in range(4):
        level = [
            code
            for code in map(inspect.unwrap, filter(inspect.isfunction, level))
            if code.__module__.startswith("tests.") and not code.__module__.startswith(BENEATH)
        ]
        found += (level := [code for code in dict.fromkeys(level) if code not in found])
        level = [code.__globals__.get(name) for code in level for name in _names_in(code.__code__)]
    return found


def _names_in(code: CodeType) -> set[str]:
    """The globals that it reads, those of the comprehensions and functions within included."""
    return set(code.co_names).union(*(_names_in(c) for c in code.co_consts if isinstance(c, CodeType)))


def _codes(calls: dict[str, set[str]]) -> dict[str, frozenset[str]]:
    """The codes of reasons, checks and invariants that each function gives; of those that give none, of their callers."""
    own = {
        path.stem: frozenset(c.removeprefix("why.") for c in re.findall(r"'([A-Z]\d+|[a-z]+\.[a-z_]+)'", path.read_text()))
        for path in function_files() if path.stem.startswith(("_fsck", "_health", "_why"))
    }  # fmt: skip
    callers: dict[str, set[str]] = defaultdict(set)
    for caller, called in calls.items():
        for name in called:
            callers[name] |= own.get(caller, frozenset())
    return {name: own.get(name) or frozenset(callers[name]) for name in calls}


def _quoted(item: pytest.Item) -> frozenset[str]:
    """Codes in the name and the text of a test, and in the answers that are written down for it."""
    test = getattr(item, "function", None)
    quoted = re.findall(r"[\"']([\w.]+)[\"']", inspect.getsource(test)) if test else []
    corrupted = re.findall(r"-([A-Z]\d+)-", item.name)
    told = "\n".join(_told(item.path).get(title(item.nodeid), []))
    heard = re.findall(r"^(?:\d+\. (?:'.*?' )?|OK |WARN |CRIT )([a-z]+\.[a-z_]+): ", told, re.MULTILINE)
    return frozenset([*corrupted, *(word.removeprefix("why.") for word in (*quoted, *heard))])


@functools.cache
def _told(path: Path) -> dict[str, list[str]]:
    return read(path.parent / "told" / f"{path.stem}.txt")


@functools.cache
def _words_of(module: Any) -> frozenset[str]:
    """What the tables and helpers of a test file name, without its tests."""
    text = re.sub(r"^(    )?def test_.*?(?=^\S|\Z)", "", inspect.getsource(module), flags=re.MULTILINE | re.DOTALL)
    return frozenset(re.findall(r"\w+", text))


def short_of(item: pytest.Item) -> frozenset[str]:
    module = getattr(item, "module", None)
    return _words_of(module) if module else frozenset()


def _file(name: str) -> str:
    return name.partition("::")[0]


def digest() -> str:
    """Of everything the map depends on."""
    files = [*function_files(), *sorted((servers.ROOT / "tests").rglob("*.py"))]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def load(*, stale: bool = False) -> Touched | None:
    """The map of the last measurement, unless the files have changed since (`stale`: even then)."""
    if not CACHE.exists():
        return None
    told = json.loads(CACHE.read_text())
    if told["digest"] != digest() and not stale:
        return None
    return Touched({name: Test(t["seconds"], frozenset(t["functions"])) for name, t in told["tests"].items()})


def measure(items: list[pytest.Item], failures: Failures) -> dict[str, Test]:
    """Run them all, once; what fails here is of no use against a mutant."""
    tests: dict[str, Test] = {}
    touched: set[str] = set()
    close = database.Db.close

    def closed(self: database.Db) -> None:
        for conn in self._opened:
            conn.close()
        with psycopg.connect(self.admin_dsn, autocommit=True) as conn:
            # Counts are sent when a session ends.
            for _ in range(200):
                rows = conn.execute(
                    "select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
                ).fetchall()
                if not rows:
                    break
                time.sleep(0.005)
            found = conn.execute(
                "select funcname from pg_stat_user_functions where schemaname = 'runledger'"
            ).fetchall()
        touched.update(name for (name,) in found)
        close(self)

    database.Db.close = closed  # type: ignore[method-assign]
    for nth, item in enumerate(items):
        touched.clear()
        failures.failed.clear()
        began = time.process_time()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=items[nth + 1] if nth + 1 < len(items) else None)
        if not failures.failed:
            tests[item.nodeid] = Test(round(time.process_time() - began, 4), frozenset(touched))
    database.Db.close = close  # type: ignore[method-assign]
    failures.failed.clear()
    return tests


def measure_in_parts(base: DatabaseServer, items: list[pytest.Item], failures: Failures, parts: int) -> None:
    """The same by several processes, each with its share of the tests."""
    pids = []
    with tempfile.TemporaryDirectory() as directory:
        for part in range(parts):
            if (pid := os.fork()) == 0:
                with contextlib.suppress(BaseException):
                    server = Patched(base, placebo(function_files()[0]))
                    servers.start = lambda _version, given=server: contextlib.nullcontext(given)  # type: ignore[assignment,misc]
                    found = measure(items[part::parts], failures)
                    Path(directory, str(part)).write_text(
                        json.dumps([[n, t.seconds, sorted(t.functions)] for n, t in found.items()])
                    )
                os._exit(0)
            pids.append(pid)
        for pid in pids:
            os.waitpid(pid, 0)
        rows = [row for file in sorted(Path(directory).iterdir()) for row in json.loads(file.read_text())]
    CACHE.parent.mkdir(exist_ok=True)
    told = {name: {"seconds": seconds, "functions": functions} for name, seconds, functions in rows}
    CACHE.write_text(json.dumps({"digest": digest(), "tests": told}))
