"""Where mutants live: one server; for each mutant a forked process with a template of its own, in which tests run.

pytest collects once, in the parent. A child takes the collected tests that touch its function and runs them one after
the other until one fails.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

import runledger.testing
from runledger import migrate
from runledger.testing import DatabaseServer
from tests.mutation.operators import Mutant
from tests.support import access, database, servers

# A child that takes longer for one test is killed, and so is its mutant: it made something hang. (Tests have a limit of
# their own, under that.)
HANGS = 180


@dataclass(frozen=True, slots=True)
class Verdict:
    """`what`: killed, survived, stillborn (the server refused it), hung or undecided; `by`: the test that failed."""

    what: str
    by: str = ""
    how: str = ""
    tests: int = 0
    seconds: float = 0.0


class Patched(DatabaseServer):
    """Databases of another server's template, with one file more run in them."""

    def __init__(self, base: DatabaseServer, mutant: Mutant) -> None:
        self._base = base
        self._mutant = mutant
        super().__init__(base.admin_dsn, server=base.server)

    def _make_template(self) -> str:
        name = f"{self._prefix}_template"
        if self._mutant.reinstall:
            self._admin.execute(self._create(name))
            _install(self._database(name), self._mutant)
        else:
            self._admin.execute(self._create(name, self._base._template))
            _apply(self._database(name), self._mutant.text)
        self._admin.execute(
            sql.SQL("alter database {} with is_template true allow_connections false").format(sql.Identifier(name))
        )
        return name

    def close(self) -> None:
        """Nothing is dropped: the whole server goes, sooner than each of its databases would."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._admin.close()


def _install(database: runledger.testing.Database, mutant: Mutant) -> None:
    """The whole schema, with that file instead of ours."""
    tree = migrate._load()
    assert mutant.path.name == tree.grants.name, mutant.path
    changed = dataclasses.replace(tree, grants=dataclasses.replace(tree.grants, text=mutant.text))
    migrate._load = lambda: changed
    migrate.migrate(database.dsn)


def _apply(database: runledger.testing.Database, patch: str) -> None:
    """Run the file as the owner; afterwards the schema takes it for its own, so that no test fails for the change as such."""
    with psycopg.connect(database.dsn, autocommit=True) as conn:
        conn.execute("set search_path = pg_catalog, pg_temp")
        conn.execute(patch.encode())
    with psycopg.connect(database.admin_dsn, autocommit=True) as conn:
        conn.execute("update runledger._shelves set manifest = runledger._schema_manifest(true)")


@contextlib.contextmanager
def base_server(version: str, settings: dict[str, str] | None = None) -> Iterator[DatabaseServer]:
    """A server with a template, and no thread: it is there to be forked."""
    with servers.start(version) as base:
        base._stop.set()
        base._thread.join()
        for name, value in (settings or {}).items():
            base._admin.execute(sql.SQL("alter system set {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        base._admin.execute("select pg_reload_conf()")
        yield base


class Failures:
    """A pytest plugin that remembers what failed, and how."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.how = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
            crash = getattr(report.longrepr, "reprcrash", None)
            self.how = self.how or " ".join(str(crash.message if crash else report.longrepr).split())[:300]


def run_tests(items: list[pytest.Item], failures: Failures, beat: Callable[[], object]) -> int:
    """Run them in this order up to the first that fails; return how many ran."""
    findings = database.Db.findings
    # What has failed needs no fsck.
    database.Db.findings = lambda db: [] if failures.failed else findings(db)  # type: ignore[method-assign]
    for nth, item in enumerate(items):
        beat()
        following = items[nth + 1] if nth + 1 < len(items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if failures.failed:
            return nth + 1
    return len(items)


class Child:
    """A forked process that runs tests against one mutant; `poll` has its verdict once it has one."""

    def __init__(self, base: DatabaseServer, mutant: Mutant, items: list[pytest.Item], failures: Failures) -> None:
        self.base, self.mutant = base, mutant
        self._started = self._beaten = time.monotonic()
        self._read, write = os.pipe()
        self._heard = b""
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._read)
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            with contextlib.suppress(BaseException):
                _live(base, mutant, items, failures, write)
            os._exit(0)
        os.close(write)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._read)

    def poll(self, seconds: float) -> Verdict | None:
        ready, _, _ = select.select([self._read], [], [], seconds)
        if ready:
            if got := os.read(self._read, 65_536):
                self._heard += got
                self._beaten = time.monotonic()
                return None
            os.close(self._read)
            os.waitpid(self.pid, 0)
            took = time.monotonic() - self._started
            said: dict[str, Any] = json.loads(self._heard.strip() or b'{"what": "hung", "by": "the process ended"}')
            return Verdict(**said, seconds=took)
        if time.monotonic() - self._beaten > HANGS:
            self.kill()
            return Verdict("hung", seconds=time.monotonic() - self._started)
        return None


def _live(base: DatabaseServer, mutant: Mutant, items: list[pytest.Item], failures: Failures, write: int) -> None:
    """The life of a child."""

    def say(**what: Any) -> None:
        os.write(write, json.dumps(what).encode())

    quiet = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(quiet, fd)
    runledger.testing._READY = 1
    try:
        server = Patched(base, mutant)
    except psycopg.Error as error:
        return say(what="stillborn", by=str(error).splitlines()[0])
    try:
        servers.start = lambda _version: contextlib.nullcontext(server)  # type: ignore[assignment]
        # White space before what is said.
        ran = run_tests(items, failures, lambda: os.write(write, b"\n"))
        say(
            what="killed" if failures.failed else "survived",
            by="".join(failures.failed[:1]),
            how=failures.how,
            tests=ran,
        )
    finally:
        server.close()
        _hang_up(base, server)
    return None


def _hang_up(base: DatabaseServer, server: DatabaseServer) -> None:
    """Sessions that a failed test left open would go on for as long as their statement does."""
    with psycopg.connect(base.admin_dsn, autocommit=True) as conn:
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where starts_with(datname, %s)", [server._prefix]
        )


def tidy_kills(mutant: Mutant) -> str:
    """The rule of tests/tidy that the mutated file breaks, or nothing; they read files, so no database is needed."""
    from tests.support.plpgsql import _parse
    from tests.tidy import test_sql_bodies as rules

    if mutant.path.suffix != ".sql" or "create or replace function" not in mutant.text:
        return ""
    # The rules know a file by its place in the tree.
    function = _parse_text(mutant, _parse)
    if function is None:
        return ""
    if function.name == "_access_matrix":
        access.functions = lambda: (function,)  # type: ignore[assignment]
        return (
            "" if access.stated() == access.block() else "tests/catalog/test_access.py::test_the_readme_has_the_matrix"
        )
    for name, rule in vars(rules).items():
        marks = [m for m in getattr(rule, "pytestmark", []) if m.name == "parametrize" and m.args[0] == "function"]
        if name.startswith("test_") and marks:
            try:
                rule(function)
            except AssertionError:
                return f"tests/tidy/test_sql_bodies.py::{name}"
    return ""


def _parse_text(mutant: Mutant, parse: Any) -> Any:
    class File(type(Path())):  # type: ignore[misc]
        def read_text(self, *_: Any, **__: Any) -> str:
            return mutant.text

    try:
        return parse(File(mutant.path))
    except Exception:  # noqa: BLE001 - the parser refuses it; the server will say the same
        return None
