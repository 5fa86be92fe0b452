"""`runledger.testing`, as its users meet it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import psycopg
import pytest

from runledger import testing
from runledger.embedded import EmbeddedError, Server
from runledger.testing import DatabaseServer, ephemeral_database
from tests.support.servers import ROOT


@pytest.fixture
def no_server_named(monkeypatch):
    monkeypatch.delenv("RUNLEDGER_DSN", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)


def databases(dsn: str) -> list[str]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        return [name for (name,) in conn.execute("select datname from pg_database where datname like 'runledger%'")]


def test_without_pytest(no_server_named):
    with ephemeral_database() as database, database.connect() as conn:
        assert conn.execute("select count(*) from runledger.job_queue").fetchone() == (0,)
        socket = conn.info.host
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"host={socket} user=postgres dbname=postgres")


def test_owner_on_our_own_server_is_a_plain_role(no_server_named):
    """What the tests do needs no superuser."""
    with ephemeral_database() as database, database.connect() as conn:
        assert conn.execute("""
            select current_user = nspowner::regrole::text, rolsuper, rolcreaterole, rolcreatedb
            from pg_namespace, pg_roles where nspname = 'runledger' and rolname = current_user""").fetchone() == (
            True, False, False, False,
        )  # fmt: skip


def test_databases_do_not_see_each_other(pg):
    first, second = pg.take(), pg.take()
    with first.connect() as conn:
        conn.execute("create table public.mine ()")
    with second.connect() as conn:
        assert conn.execute("select to_regclass('public.mine')").fetchone() == (None,)
    pg.give_back(first)
    pg.give_back(second)


@pytest.mark.parametrize("variable", ["RUNLEDGER_DSN", "DATABASE_URL"])
def test_server_of_the_environment_is_used_and_left_clean(monkeypatch, no_server_named, variable):
    """A role that may create databases is enough; nothing of ours stays behind."""
    with Server() as server:
        with psycopg.connect(server.dsn(), autocommit=True) as conn:
            conn.execute("create role tester login createdb")
        monkeypatch.setenv(variable, server.dsn(user="tester"))
        with ephemeral_database() as database:
            assert database.name in databases(server.dsn())
            with database.connect() as conn:
                assert conn.execute("select current_user, runledger.schema_info() is null").fetchone() == ("tester", False)
        assert databases(server.dsn()) == []


def test_used_databases_are_dropped_in_time(no_server_named):
    with DatabaseServer.choose() as server:
        names = []
        for _ in range(20):
            database = server.take()
            names.append(database.name)
            server.give_back(database)
        left = set(databases(server.admin_dsn)) & set(names)
        assert names[0] not in left
        assert len(left) < len(names)


@pytest.mark.chaos
def test_restarted_server_goes_on_serving(no_server_named):
    with DatabaseServer.choose() as server:
        server.server.restart()
        for _ in range(6):  # more than were ready before
            with server.take().connect() as conn:
                assert conn.execute("select 1").fetchone() == (1,)


def test_a_server_that_is_gone_is_told_to_who_waits(no_server_named, monkeypatch):
    monkeypatch.setattr("runledger.testing._PATIENCE", 0.5)
    with DatabaseServer.choose() as server:
        server.server.halt("immediate")
        with pytest.raises(RuntimeError, match="no database within.*(No such file|refused|terminat|closed)"):
            for _ in range(9):  # those that are ready, and one that is not
                server.take()


def test_broken_template_is_told_to_who_waits(no_server_named):
    with DatabaseServer.choose() as server:
        with psycopg.connect(server.admin_dsn, autocommit=True) as conn:
            conn.execute(f"alter database {server._template} is_template false")
            conn.execute(f"drop database {server._template}")
        with pytest.raises(psycopg.errors.InvalidCatalogName):
            for _ in range(10):
                server.take()


@pytest.mark.parametrize("arguments", [[], ["-p", "runledger.testing"]], ids=["conftest", "option"])
def test_users_of_the_plugin(tmp_path, no_server_named, arguments):
    """Named in a conftest or as an option, installed or not."""
    if not arguments:
        (tmp_path / "conftest.py").write_text("pytest_plugins = ['runledger.testing']\n")
    (tmp_path / "test_mine.py").write_text(
        "def test_mine(runledger_db):\n"
        "    with runledger_db.connect() as conn:\n"
        "        conn.execute(\"select runledger.define_job('mine')\")\n"
        "        assert conn.execute('select count(*) from runledger.job_definitions').fetchone() == (1,)\n"
        "def test_fresh(runledger_db):\n"
        "    with runledger_db.connect() as conn:\n"
        "        assert conn.execute('select count(*) from runledger.job_definitions').fetchone() == (0,)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_no_server_at_all(monkeypatch, no_server_named):
    """Neither binaries nor Docker: the message is that of the binaries."""

    def nothing() -> None:
        raise EmbeddedError("no PostgreSQL binaries")

    monkeypatch.setattr(testing.embedded, "find_binaries", nothing)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(EmbeddedError, match="no PostgreSQL binaries"):
        DatabaseServer.choose()
    gc.collect()  # the Docker client leaves a socket of its failed attempt open
