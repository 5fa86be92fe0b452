"""`runledger migrate`, its output and exit codes."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import runledger.migrate as m
from runledger.cli import main
from tests.migrate.test_apply import migration_names


@pytest.fixture
def run(monkeypatch):
    for name in ("RUNLEDGER_DSN", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def invoke(dsn: str, *flags: str):
        return CliRunner().invoke(main, ["--dsn", dsn, "migrate", *flags])

    return invoke


def test_check_tells_pending_current_and_drifted(empty_db, run):
    assert (run(empty_db.dsn, "--check").exit_code, run(empty_db.dsn, "--check").output) == (3, "pending\n")
    assert run(empty_db.dsn).exit_code == 0
    assert (run(empty_db.dsn, "--check").exit_code, run(empty_db.dsn, "--check").output) == (0, "current\n")
    empty_db.execute("update runledger._migrations set sha256 = 'x' where number = 1")
    drifted = run(empty_db.dsn, "--check")
    assert drifted.exit_code == 4
    assert drifted.output.startswith("drifted: migration 0001")
    assert run(empty_db.dsn).exit_code == 4


def test_changed_functions_are_pending(db, tree, run):
    tree.add_function()
    assert run(db.dsn, "--check").exit_code == 3


def test_one_line_per_step_and_none_when_current(empty_db, run):
    lines = run(empty_db.dsn).output.splitlines()
    assert len(lines) == len(migration_names()) + 1
    assert run(empty_db.dsn).output == ""


def test_refusal_says_what_to_do(db, run):
    db.execute("delete from runledger._migrations where number = 2")
    result = run(db.dsn)
    assert result.exit_code == 4
    assert "runledger: the ledger jumps" in result.output
    assert "hint: " in result.output


def test_print_needs_no_database(run):
    result = run("host=/nowhere", "--print")
    assert (result.exit_code, result.output) == (0, m.print_script())


def test_unreachable_server(run):
    result = run("host=/nowhere connect_timeout=1")
    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_role_without_rights_gets_a_message(db, stranger, run):
    result = run(f"{db.admin_dsn} options='-c role={stranger}'", "--check")
    assert result.exit_code == 1
    assert "permission denied" in result.output


def test_dsn_from_the_environment(empty_db, monkeypatch):
    monkeypatch.delenv("RUNLEDGER_DSN", raising=False)
    monkeypatch.setenv("DATABASE_URL", empty_db.dsn)
    assert CliRunner().invoke(main, ["migrate"]).exit_code == 0
    assert m.migrate(empty_db.dsn, check=True).status == "CURRENT"


def test_flags_that_exclude_each_other(run):
    assert run("", "--check", "--print").exit_code == 2
