"""Every verb: its fields in --json, its table, the SQL it shows, and what it leaves unsaid."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from datetime import datetime
from typing import Any

import pytest
from rich.cells import cell_len

from runledger import _words
from runledger.cli import _output as out
from tests.cli.cases import CHANGES, EMPTY, READS, Case
from tests.cli.conftest import objects, verbs
from tests.support.psql import psql

# What differs between two executions, or is written differently by PostgreSQL and in JSON.
BORN = {
    # They tell ages.
    "Reason": {"explanation"}, "StepReason": {"explanation"}, "HealthCheck": {"explanation", "value"},
    "EnqueuedJob": {"job_id"}, "ReplayedJob": {"job_id"}, "EnqueuedWorkflow": {"workflow_run_id"},
    "JobDefinition": {"updated_at", "created_at"}, "RuntimeConfigRecord": {"updated_at"},
}  # fmt: skip


def test_every_verb_has_a_case():
    paths = {
        tuple(c.args[: len(path)]) for c in READS + CHANGES + EMPTY for path in verbs() if c.args[: len(path)] == path
    }
    assert paths == set(verbs()) - {("doctor",)}, "doctor has tests of its own"


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


def check_table(result: Any, case: Case) -> None:
    assert result.exit_code == case.exit_code, result.output
    lines = result.stdout.split("\n")[:-1]
    assert lines, case.id
    if case.args[:2] not in {("workflow", "mermaid"), ("job", "payload"), ("metrics",)}:
        # Whole: what is to be run.
        assert max(cell_len(line) for line in lines if not line.startswith("  fix: ")) <= 120, case.id
    assert not [c for c in result.stdout.replace("\n", "") if _words._steers(c)], case.id


def check_sql(db: Any, cli: Any, case: Case, args: list[str]) -> None:
    """What --sql-only prints is run verbatim by psql; then the verb itself shows the same, tells the same rows."""
    shown = cli(*args, "--sql-only")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert len(shown.stdout.splitlines()) == case.calls, shown.stdout
    script = shown.stdout
    if case in CHANGES:  # undone, since the verb shall find the same world
        script = "".join(f"begin; {line} rollback;\n" for line in script.splitlines())
    told, *_ = psql_run(db, script)
    result = cli(*args, "--json", "--show-sql")
    assert result.exit_code == case.exit_code, result.output
    assert result.stdout.isascii()
    if not case.own_instant:
        assert result.stderr == shown.stdout
    rows = objects(result)
    assert all(list(row) == case.fields for row in rows), case.id
    assert 0 < len(told) == len(rows), case.id
    for psqls, ours in zip(told, rows, strict=True):
        if not isinstance(case.rows, tuple):
            assert list(psqls) == [n for n in psqls if n in (*case.fields, *case.without)]
        for name in set(psqls) & set(ours) - BORN.get(getattr(case.rows, "__name__", "view"), set()):
            expected = as_psql(ours[name])
            assert expected is None or unbroken(psqls[name]) == unbroken(expected), (case.id, name)


def test_tables_fit_the_screen_and_steer_no_terminal(cli, world):
    for case in READS:
        check_table(cli(*case.given(world)), case)


@pytest.mark.parametrize("case", CHANGES, ids=lambda c: c.id)
def test_what_a_change_prints_fits_the_screen_too(cli, world, case: Case):
    check_table(cli(*case.given(world)), case)


def test_ids_are_whole_in_every_list(cli, world):
    for args, name in {
        ("jobs",): "job_id", ("dlq", "list"): "job_id", ("workflow", "list"): "workflow_run_id", ("actions",): "object",
    }.items():  # fmt: skip
        ids = {row[name] for row in objects(cli(*args, "--json")) if re.fullmatch("[0-9a-f-]{36}", row[name] or "")}
        assert ids, args
        assert ids <= set(cli(*args).stdout.split()), args


def test_a_narrow_screen_keeps_ids_and_width():
    rows = [{"id": "0190c3a4-0000-7000-8000-000000000001", "a": "x" * 50, "b": "y" * 50, "c": "電" * 30}]
    for cells in (60, 80, 120, 300):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(out, "screen", lambda cells=cells: cells)
            head, line = out.table(rows, out.every(rows[0]))
        assert cell_len(line) <= cells
        assert rows[0]["id"] in line


def test_reads_have_the_fields_of_their_types_and_tell_what_psql_tells(db, cli, world):
    for case in READS:
        check_sql(db, cli, case, case.given(world))


@pytest.mark.parametrize("case", CHANGES, ids=lambda c: c.id)
def test_changes_have_the_fields_of_their_types_and_do_what_psql_does(db, cli, world, case: Case):
    check_sql(db, cli, case, case.given(world))


def test_sql_only_needs_no_database(cli, monkeypatch):
    monkeypatch.setenv("RUNLEDGER_DSN", "host=/nowhere")
    result = cli("jobs", "--status", "PENDING", "--limit", "5", "--sql-only")
    assert (result.exit_code, result.stdout) == (
        0, "select * from runledger.list_jobs(status => 'PENDING', max_rows => 5);\n",
    )  # fmt: skip


def test_bodies_are_printed_only_when_asked_for(cli, world):
    for case in READS:
        told = cli(*case.given(world)).stdout, cli(*case.given(world), "--json").stdout
        asked = "--payload" in case.args or "payload" in case.args
        assert ["secret" in text for text in told] == [asked, asked], case.id


def test_help_of_each_verb_tells_of_the_options_that_all_have(cli):
    for path, command in verbs().items():
        text = cli(*path, "--help").stdout
        assert all(flag in text for flag in ("--json", "--show-sql", "--sql-only", "--dsn")), path
        assert command.help or command.callback.__doc__, path
