"""sql/REFERENCE.md is what `runledger docs` says of the schema as it is."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from runledger import Client, reference
from runledger.cli import main
from tests.support.servers import ROOT


@pytest.fixture
def told(db) -> reference.Reference:
    with db.connect(login="runledger_owner") as owner:
        return reference.read(owner)


def test_the_reference_is_current(told):
    assert (ROOT / "sql/REFERENCE.md").read_text() == reference.markdown(told), "make docs"


def test_every_public_function_tells_all_that_one_has_to_know(told, db):
    public = db.column(
        "select proname from pg_proc where pronamespace = 'runledger'::regnamespace and proname not like '\\_%'"
    )
    assert sorted(f.name for f in told.functions) == sorted(public)
    for function in told.functions:
        assert function.comment
        assert function.area in reference.AREAS
        assert function.locks, f"{function.name} does not say what it locks"
        assert function.writes
        assert function.raises
        assert function.python.startswith(f"Client.{function.name}() -> ")


def test_a_statement_of_several_lines_is_told_to_its_end(told):
    """Each of them ends with a full stop in its file."""
    for function in told.functions:
        for text in (function.locks, function.writes, function.raises):
            assert text.endswith("."), (function.name, text)


def test_signatures_are_those_of_the_server(told, db):
    by_name = {f.name: f for f in told.functions}
    claim = by_name["claim_jobs"]
    assert [(p.name, p.type, p.default) for p in claim.parameters] == [
        ("worker_id", "text", None),
        ("job_types", "text[]", None),
        ("max_jobs", "integer", "1"),
        ("lease_seconds", "integer", "60"),
        ("prestart", "boolean", "false"),
    ]
    assert (claim.returns, claim.many, claim.reads_only, claim.kinds) == ("claimed_job", True, False, ("worker",))
    assert by_name["why"].reads_only
    assert by_name["grant_access"].kinds == ()
    for function in told.functions:
        required = db.value(
            "select pronargs - pronargdefaults from pg_proc where proname = %s"
            " and pronamespace = 'runledger'::regnamespace", [function.name],
        )  # fmt: skip
        assert sum(p.default is None for p in function.parameters) == required


def test_every_link_of_the_page_leads_to_one_heading(told):
    page = reference.markdown(told)
    headings = [reference._anchor(h) for h in re.findall(r"^#+ (.*)$", page, re.MULTILINE)]
    assert len(headings) == len(set(headings)), "two headings of one name"
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= set(headings)
    for name in re.findall(r"\]\((\w[^)#]*)\)", page):
        assert (ROOT / "sql" / name).exists()


def test_no_type_of_the_schema_is_named_that_is_not_explained(told):
    results = {rows.name for rows in told.results}
    plain = {"void", "text", "bigint", "integer", "boolean", "uuid", "timestamptz", "jsonb"}
    assert {f.returns for f in told.functions} <= results | plain


def test_the_same_as_json(told):
    assert json.loads(reference.as_json(told))["errors"][0].keys() == {"code", "sqlstate", "message", "hint"}
    assert len(json.loads(reference.as_json(told))["functions"]) == len(told.functions)


def test_the_command_writes_it_or_prints_it(db, tmp_path):
    given = ["--dsn", db.dsn, "docs"]
    printed = CliRunner().invoke(main, given)
    assert printed.exit_code == 0, printed.output
    written = CliRunner().invoke(main, [*given, "--out", str(tmp_path / "new")])
    assert written.stdout.strip() == str(tmp_path / "new/REFERENCE.md")
    assert (tmp_path / "new/REFERENCE.md").read_text() == printed.stdout
    objects = CliRunner().invoke(main, [*given, "--format", "json"])
    assert json.loads(objects.stdout)["limits"]


@pytest.mark.slow
def test_without_a_database_it_starts_one(db, monkeypatch):
    for name in ("RUNLEDGER_DSN", "DATABASE_URL", "PGHOST", "PGSERVICE", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    here = CliRunner().invoke(main, ["--dsn", db.dsn, "docs"])
    assert CliRunner().invoke(main, ["docs"]).stdout == here.stdout


def test_who_may_not_read_the_matrix_is_told_so(db, new_role):
    role = new_role()
    with Client.connect(db.dsn) as owner:
        owner.grant_access(role, "observer")
    refused = CliRunner().invoke(main, ["--dsn", f"{db.admin_dsn} options='-c role={role}'", "docs"])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "permission denied" in refused.stderr
