"""Fixtures: `db` (a migrated database per test), `empty_db`, `clock`, `sessions`; servers by --pg.

Every test of the default run uses the first server of --pg (18); tests marked `matrix` and those in MATRIX run on each of
them (18 and 16): what every verb of jobs answers and writes, and what depends on clocks, tokens and the order of claims.
--pg-all runs every test on every server.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

# Imported, so that they are there in a checkout that was never installed.
from runledger.testing import DatabaseServer, runledger_db, runledger_server  # noqa: F401
from tests.support import servers
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.interleave import Session

TESTS = Path(__file__).parent
MATRIX = (
    "functions/core", "migrate",
    *(f"functions/jobs/test_{name}.py" for name in ("written", "whole_lists", "bounds", "marks", "claim_jobs", "fence_parts",
      "finish_jobs", "enqueue_jobs", "reap_expired_leases", "history", "life_cycles")),
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pg", help=f"major versions, the primary one first (default: {servers.DEFAULT})")
    parser.addoption("--coverage", type=Path, help="note in this directory which PL/pgSQL statements are reached")
    parser.addoption("--pg-all", action="store_true", help="run every test on every server of --pg")


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in the background deaf to interrupts, and all that is started from there, too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if directory := config.getoption("--coverage"):
        directory.mkdir(parents=True, exist_ok=True)
        from tests.support.coverage import Collector

        Collector(directory.resolve()).attach()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pg" not in metafunc.fixturenames:
        return
    versions = servers.versions(metafunc.config.getoption("--pg"))
    area = metafunc.definition.path.relative_to(TESTS).as_posix()
    everywhere = area.startswith(MATRIX) or metafunc.definition.get_closest_marker("matrix")
    if not everywhere and not metafunc.config.getoption("--pg-all"):
        versions = versions[:1]
    metafunc.parametrize("pg", versions, ids=[f"pg{v}" for v in versions], indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if TESTS in item.path.parents and item.path.relative_to(TESTS).as_posix().startswith(MATRIX):
            item.add_marker("matrix")


@pytest.fixture(scope="session")
def pg(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """The server of this test; its version comes from --pg."""
    with servers.start(request.param) as server:
        yield server


@pytest.fixture
def db(pg: DatabaseServer, request: pytest.FixtureRequest) -> Iterator[Db]:
    """A migrated database of its own. Afterwards fsck must find nothing in it, unless the test is marked `corrupts`."""
    yield from _checked(Db(pg.take(), pg), request)


def _checked(db: Db, request: pytest.FixtureRequest) -> Iterator[Db]:
    yield db
    try:
        findings = [] if request.node.get_closest_marker("corrupts") or db.is_untouched() else db.findings()
    finally:
        db.close()
    assert not findings, f"fsck: {findings}"


@pytest.fixture(scope="session")
def probed_template(pg: DatabaseServer) -> Iterator[str]:
    """The name of a database that others are copied from: migrated, with probes (tests/support/probes.py)."""
    from tests.support.probes import install

    database = pg.take()
    with psycopg.connect(database.admin_dsn, autocommit=True) as conn:
        install(conn)
    yield database.name
    pg.give_back(database)


@pytest.fixture
def probed(pg: DatabaseServer, probed_template: str, request: pytest.FixtureRequest) -> Iterator[Db]:
    """Like `db`, with probes."""
    name = next(pg._names)
    with psycopg.connect(pg.admin_dsn, autocommit=True) as conn:
        conn.execute(pg._create(name, probed_template))
    yield from _checked(Db(pg._database(name), pg), request)


@pytest.fixture
def empty_db(pg: DatabaseServer) -> Iterator[Db]:
    """A database without the schema."""
    db = Db(pg.create_empty(), pg)
    yield db
    db.close()


@pytest.fixture
def stranger(pg: DatabaseServer) -> str:
    """The name of a login role that was granted nothing; roles belong to the server, so it outlives the test."""
    name = "runledger_stranger"
    with psycopg.connect(pg.admin_dsn, autocommit=True) as conn:
        with contextlib.suppress(psycopg.errors.DuplicateObject):
            conn.execute(f"create role {name} login")
    return name


@pytest.fixture
def new_role(db: Db) -> Iterator[Callable[..., str]]:
    """new_role("worker", member_of=…) makes a login role of this test alone and drops it afterwards."""
    made: list[str] = []

    def make(label: str = "role", *, member_of: str | None = None, options: str = "login") -> str:
        made.append(name := f"runledger_{label}_{secrets.token_hex(5)}")
        db.execute(f"create role {name} {options}")
        if member_of:
            db.execute(f"grant {member_of} to {name}")
        return name

    yield make
    with psycopg.connect(db.admin_dsn, autocommit=True) as conn:
        for name in reversed(made):
            conn.execute(f"drop owned by {name} cascade")
            conn.execute(f"drop role {name}")


@pytest.fixture
def clock(db: Db) -> Clock:
    """Moves the time of `db`: clock.advance(seconds)."""
    return Clock(db)


@pytest.fixture
def sessions(db: Db) -> Iterator[Callable[..., tuple[Session, ...]]]:
    """sessions("a", "b") opens two named sessions on `db`, as the owner or as superuser; see tests/support/interleave.py."""
    opened: list[Session] = []

    def open_sessions(*names: str, admin: bool = False) -> tuple[Session, ...]:
        new = tuple(Session(name, db.admin_dsn if admin else db.dsn) for name in names)
        opened.extend(new)
        return new

    yield open_sessions
    for session in opened:
        session.close()
