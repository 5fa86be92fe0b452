"""Every verb: its fields in --json, its table, the SQL it shows, and what it leaves unsaid."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from datetime import datetime
from typing import Any

import pytest
from rich.cells import cell_len

from runledger.cli import _output as out
from tests.cli.cases import CHANGES, EMPTY, READS, Case
from tests.cli.conftest import objects, verbs
from tests.psql.test_psql import psql

each = pytest.mark.parametrize("case", READS + CHANGES, ids=lambda c: c.id)
# What differs between two executions, or is written differently by PostgreSQL and in JSON.
BORN = {
    "EnqueuedJob": {"job_id"}, "ReplayedJob": {"job_id"}, "EnqueuedWorkflow": {"workflow_run_id"},
    "view": {"seen_ago", "up"}, "JobDefinition": {"updated_at", "created_at"}, "RuntimeConfigRecord": {"updated_at"},
}  # fmt: skip


def test_every_verb_has_a_case():
    paths = {
        tuple(c.args[: len(path)]) for c in READS + CHANGES + EMPTY for path in verbs() if c.args[: len(path)] == path
    }
    assert paths == set(verbs())


def psql_run(db: Any, script: str) -> list[list[dict[str, str]]]:
    """The rows of each statement of a script, run verbatim."""
    argv = [psql(), "-X", "-q", "--csv", "-v", "ON_ERROR_STOP=1", "-P", "null=(null)", "-d", db.dsn]
    results = []
    for statement in script.splitlines():
        done = subprocess.run(argv, input=statement + "\n", capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), statement
        results.append(list(csv.DictReader(io.StringIO(done.stdout))))
    return results


def as_psql(value: Any) -> Any:
    """A value of --json as psql prints it; None where the two differ by right."""
    if value is None:
        return "(null)"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, list | dict | float) or (isinstance(value, str) and _is_instant(value)):
        return None
    return str(value)


def unbroken(words: str) -> str:
    """Without the ends of lines, which reading a CSV changes."""
    return words.replace("\r", "").replace("\n", "")


def _is_instant(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return len(value) > 12


@each
def test_json_has_the_fields_of_the_result_type(cli, world, case: Case):
    result = cli(*case.given(world), "--json")
    assert (result.exit_code, result.stderr) == (case.exit_code, "")
    rows = objects(result)
    assert rows
    assert all(list(row) == case.fields for row in rows)
    assert result.stdout.isascii()


@each
def test_tables_fit_the_screen_and_steer_no_terminal(cli, world, case: Case):
    result = cli(*case.given(world))
    assert result.exit_code == case.exit_code, result.output
    lines = result.stdout.split("\n")[:-1]
    assert lines
    if case.args[:2] not in {("workflow", "mermaid"), ("job", "payload")}:
        assert max(map(cell_len, lines)) <= 120
    assert not [c for c in result.stdout.replace("\n", "") if out._steers(c)]


@each
def test_what_is_shown_as_sql_runs_in_psql_and_tells_the_same(db, cli, world, case: Case):
    """Run verbatim; a change in a world of its own, since the verb shall find the same one: it is undone."""
    shown = cli(*case.given(world), "--sql-only")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert len(shown.stdout.splitlines()) == case.calls
    script = shown.stdout
    if case in CHANGES:
        script = "".join(f"begin; {line} rollback;\n" for line in script.splitlines())
    told, *_ = psql_run(db, script)
    rows = objects(cli(*case.given(world), "--json"))
    assert len(told) == len(rows)
    for psqls, ours in zip(told, rows, strict=True):
        if not isinstance(case.rows, tuple):
            assert list(psqls) == [n for n in psqls if n in (*case.fields, *case.without)]
        for name in set(psqls) & set(ours) - BORN.get(getattr(case.rows, "__name__", "view"), set()):
            expected = as_psql(ours[name])
            assert expected is None or unbroken(psqls[name]) == unbroken(expected), name


@each
def test_show_sql_prints_the_calls_on_standard_error_and_runs_them(cli, world, case: Case):
    args = case.given(world)
    shown = cli(*args, "--sql-only").stdout
    result = cli(*args, "--json", "--show-sql")
    if "+2h" not in args:  # an instant of its own each time
        assert result.stderr == shown
    assert [list(json.loads(line)) for line in result.stdout.splitlines()] == [case.fields] * len(objects(result))


def test_sql_only_needs_no_database(cli, monkeypatch):
    monkeypatch.setenv("RUNLEDGER_DSN", "host=/nowhere")
    result = cli("jobs", "--status", "PENDING", "--limit", "5", "--sql-only")
    assert (result.exit_code, result.stdout) == (
        0, "select * from runledger.list_jobs(status => 'PENDING', max_rows => 5);\n",
    )  # fmt: skip


@pytest.mark.parametrize("case", READS, ids=lambda c: c.id)
def test_bodies_are_printed_only_when_asked_for(cli, world, case: Case):
    if "--payload" in case.args or "payload" in case.args:
        assert "secret" in cli(*case.given(world)).stdout
        return
    assert "secret" not in cli(*case.given(world)).stdout
    assert "secret" not in cli(*case.given(world), "--json").stdout


def test_help_of_each_verb_tells_of_the_options_that_all_have(cli):
    for path, command in verbs().items():
        text = cli(*path, "--help").stdout
        assert all(flag in text for flag in ("--json", "--show-sql", "--sql-only", "--dsn")), path
        assert command.help or command.callback.__doc__, path
