"""The house rules of `sql/`: where a thing stands and how it looks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pglast import ast, parse_sql
from pglast.parser import scan

from tests.support.plpgsql import SQL, Function, function_files, functions, relative

ALL_FILES = sorted(p for p in SQL.rglob("*.sql") if p.name != "schema.generated.sql")
MIGRATIONS = sorted((SQL / "migrations").glob("*.sql"))
VIEWS = sorted((SQL / "views").glob("*.sql"))
ERROR_CODES = (SQL / "functions/core/error_codes.sql").read_text()
AREAS = {"access", "core", "jobs", "workflows", "schedules", "operations"}

# Tables of constants, not code: a row per line.
DATA = {"error_codes", "_limits", "_access_matrix"}

each_function = pytest.mark.parametrize("function", functions(), ids=str)
each_file = pytest.mark.parametrize("path", ALL_FILES, ids=relative)


def code(text: str) -> str:
    """The text without comments."""
    return re.sub(r"--[^\n]*", "", text)


def test_nothing_else_lies_about():
    assert {p.name for p in SQL.iterdir()} <= {
        "README.md", "DECISIONS.md", "REFERENCE.md", "OPERATIONS.md", "migrations", "functions", "views", "retired.sql", "grants.sql",
        "schema.generated.sql",
    }  # fmt: skip
    assert {p.name for p in (SQL / "functions").iterdir()} <= AREAS
    assert all(len(p.relative_to(SQL).parts) == 3 for p in function_files())


@each_file
def test_ascii_spaces_and_line_length(path: Path):
    text = path.read_text()
    assert text.isascii()
    assert "\t" not in text
    assert text.endswith("\n")
    long = [n for n, line in enumerate(text.splitlines(), 1) if len(line) > 100]
    trailing = [n for n, line in enumerate(text.splitlines(), 1) if line != line.rstrip()]
    assert (long, trailing) == ([], [])


@each_file
def test_keywords_are_lower_case(path: Path):
    def shouted(text: str) -> list[str]:
        tokens = scan(text)
        return [
            text[t.start : t.end + 1] for t in tokens
            if t.kind != "NO_KEYWORD" and re.search("[A-Z]", text[t.start : t.end + 1])
        ]  # fmt: skip

    text = path.read_text()
    assert shouted(text) == []
    for body in re.findall(r"\$\$\n(.*?)\$\$", text, re.DOTALL):
        assert shouted(body) == []


@each_function
def test_one_function_named_as_its_file(function: Function):
    statements = [s.stmt for s in parse_sql(function.text)]
    assert isinstance(statements[0], ast.CreateFunctionStmt)
    assert function.node.replace
    assert function.name == function.path.stem
    assert function.node.funcname[0].sval == "runledger"
    assert [type(s).__name__ for s in statements[1:]] == ["CommentStmt"]
    assert [part.sval for part in statements[1].object.objname] == ["runledger", function.name]


@each_function
def test_at_most_70_lines(function: Function):
    if function.name in DATA:
        return
    lines = function.text.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("create or replace function"))
    last = max(n for n, line in enumerate(lines) if line.startswith("$$"))
    assert last - first + 1 <= 70


@each_function
def test_public_header_says_locks_writes_raises(function: Function):
    header = function.text[: function.text.index("create or replace")]
    if function.public:
        found = re.findall(r"^-- (Locks|Writes|Raises):\s+\S", header, re.MULTILINE)
        assert found == ["Locks", "Writes", "Raises"]


def may_be_raised(name: str) -> set[str]:
    """The codes that stand in a function and in those it calls, as far as its text tells."""
    texts = {f.name: code(f.text[f.text.index("as $$") :]) for f in functions() if f.name not in DATA}
    reached, codes = {name}, set[str]()
    for called in (todo := [name]):
        codes |= set(re.findall(r"'([a-z_]+\.[a-z_]+)'", texts[called]))
        # What stands in a text is a statement for people, not a call.
        calls = set(re.findall(r"runledger\.(\w+)\s*\(", re.sub(r"'[^']*'", "", texts[called])))
        todo += sorted((calls & texts.keys()) - reached)
        reached |= calls
    return codes


@each_function
def test_public_header_says_what_a_caller_must_begin_anew_for(function: Function):
    """RL013 asks for another transaction, RL021 for another call: who meets them unprepared gives up."""
    caught = {"fire_due_schedules": {"RL021"}, "run_maintenance": {"RL021"}, "upsert_schedule": {"RL013"}}
    header = function.text[: function.text.index("create or replace")]
    if function.public and function.name not in DATA:
        states = dict(re.findall(r"\('([a-z_]+\.[a-z_]+)',\s+'(RL013|RL021)'", ERROR_CODES))
        unsaid = {states[c] for c in may_be_raised(function.name) & states.keys()} - caught.get(function.name, set())
        assert {state for state in unsaid if state not in header} == set()


@each_function
def test_no_leftovers(function: Function):
    assert not re.search(r"\b(todo|fixme|xxx|hack)\b", function.text, re.IGNORECASE)


def test_migrations_are_numbered_without_gap():
    assert [int(p.name[:4]) for p in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    assert all(re.fullmatch(r"\d{4}_[a-z_]+\.sql", p.name) for p in MIGRATIONS)


@pytest.mark.parametrize("path", MIGRATIONS, ids=relative)
def test_migrations_neither_define_nor_call_functions(path: Path):
    statements = [s.stmt for s in parse_sql(path.read_text())]
    assert not [s for s in statements if isinstance(s, (ast.CreateFunctionStmt, ast.DoStmt))]
    assert not re.findall(r"runledger\.\w+\s*\((?=\s*\))", code(path.read_text()))
    called = [c for c in _calls(statements) if c[0] == "runledger"]
    assert called == []


@pytest.mark.parametrize("path", MIGRATIONS, ids=relative)
def test_migrations_say_what_they_lock(path: Path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith(f"-- {path.name[:4]}: ")
    assert any(line.startswith("-- Lock: ") for line in lines[:4])


@pytest.mark.parametrize("path", VIEWS, ids=relative)
def test_view_files_hold_a_view_and_its_comments(path: Path):
    statements = [s.stmt for s in parse_sql(path.read_text())]
    views = [s for s in statements if isinstance(s, ast.ViewStmt)]
    assert [(v.view.schemaname, v.view.relname, v.replace) for v in views] == [("runledger", path.stem, True)]
    assert all(isinstance(s, (ast.ViewStmt, ast.CommentStmt)) for s in statements)


def test_retired_holds_nothing_but_guarded_drops():
    for statement in parse_sql((SQL / "retired.sql").read_text()):
        assert isinstance(statement.stmt, (ast.DropStmt, ast.DoStmt))
        assert not isinstance(statement.stmt, ast.DropStmt) or statement.stmt.missing_ok


def _calls(statements: list[ast.Node]) -> list[tuple[str, ...]]:
    from tests.support.plpgsql import nodes

    return [tuple(part.sval for part in call.funcname) for s in statements for call in nodes(s, ast.FuncCall)]
