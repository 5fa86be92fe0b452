"""The house rules of `runledger/`: thin, layered, no SQL where it does not belong."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.servers import ROOT

PACKAGE = ROOT / "runledger"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Calls as data, the migrations, and what makes or fills databases of its own.
SQL_HOMES = {"_calls", "migrate", "embedded", "testing", "demo", "bench", "doctor", "reference"}
# Who may import whom: only what ranks lower.
RANK = {
    "types": 0, "errors": 0, "_words": 0, "embedded": 0, "migrate": 0,
    "_calls": 1, "testing": 1,
    "workflow": 2, "client": 3, "aclient": 3,
    "config": 2, "job": 2, "_hooks": 2, "_link": 3,
    "registry": 4, "metrics": 4, "heartbeat": 4, "worker": 5, "supervisor": 6, "app": 7,
    "__init__": 8, "demo": 9, "bench": 9, "doctor": 9, "top": 9, "reference": 9, "web": 9, "cli": 10, "__main__": 11,
}  # fmt: skip
SQL = re.compile(
    r"^\s*(select\s|insert\s+into\s|update\s+[\w.]+\s+set\s|delete\s+from\s|merge\s+into\s|with\s+\w+\s+as\s"
    r"|(create|alter|drop|grant|revoke|truncate)\s+\w+|listen\s|unlisten|notify\s|set\s+(local\s+)?\w+\s*(=|to)"
    r"|begin\b|commit\b|rollback\b|call\s+\w|do\s+\$)|\brunledger\.\w+\s*\(",
    re.IGNORECASE,
)

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())


def part(path: Path) -> str:
    """The module of the package, or the subpackage, that a file is or belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def docstrings(module: ast.Module) -> set[int]:
    """The identities of string nodes that stand alone as a statement."""
    return {id(n.value) for n in ast.walk(module) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}


def sql_strings(path: Path) -> list[str]:
    module = tree(path)
    texts = docstrings(module)
    return [
        n.value for n in ast.walk(module)
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in texts and SQL.search(n.value)
    ]  # fmt: skip


@each_module
def test_no_sql_outside_its_homes(path: Path):
    if part(path) not in SQL_HOMES:
        assert sql_strings(path) == []


def test_the_search_for_sql_finds_it():
    assert any(sql_strings(path) for path in MODULES if path.stem == "_calls")
    assert sql_strings(PACKAGE / "migrate.py")


@each_module
def test_imports_point_downwards(path: Path):
    own = part(path)
    assert own in RANK, f"give {own} a rank here"
    for node in ast.walk(tree(path)):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "no relative imports"
            if node.module == "runledger":
                names = [a.name for a in node.names if a.name in RANK]
            elif (node.module or "").startswith("runledger."):
                names = [str(node.module).split(".")[1]]
        elif isinstance(node, ast.Import):
            names = [a.name.split(".")[1] for a in node.names if a.name.startswith("runledger.")]
        for name in names:
            within = name == own and path.stem != own  # among the modules of a subpackage
            assert within or RANK[name] < RANK[own], f"{own} imports {name}"


@each_module
def test_no_print_and_one_logger(path: Path):
    if part(path) in {"cli", "demo", "bench", "__main__"}:
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called != "print"
            if called == "logging.getLogger":
                assert ast.unparse(node.args[0]) == "'runledger'"


@each_module
def test_future_annotations_and_a_docstring(path: Path):
    module = tree(path)
    assert ast.get_docstring(module)
    if any(isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for n in module.body):
        assert any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in module.body)


@each_module
def test_dataclasses_are_frozen_and_slotted(path: Path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                text = ast.unparse(decorator)
                if re.match(r"(dataclasses\.)?dataclass\b", text):
                    assert "frozen=True" in text, node.name
                    assert "slots=True" in text, node.name


@each_module
def test_at_most_two_positional_arguments(path: Path):
    """Of public functions and methods; the rest is given by name, as in SQL."""
    if path.stem.startswith("_"):
        return
    for scope in ast.walk(tree(path)):
        if isinstance(scope, (ast.Module, ast.ClassDef)):
            for node in scope.body:
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
                    names = [a.arg for a in node.args.posonlyargs + node.args.args if a.arg not in ("self", "cls")]
                    assert len(names) <= 2, f"{node.name}{names}"


def test_no_module_imports_a_copyleft_tool():
    for path in MODULES:
        assert not re.search(r"^\s*(from|import) pglast", path.read_text(), re.MULTILINE)


def code_lines(path: Path) -> int:
    """Lines of code: without blank lines, comments and docstrings."""
    module = tree(path)
    told = docstrings(module)
    skip: set[int] = set()
    for node in ast.walk(module):
        if id(node) in told:
            skip.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(path.read_text().splitlines(), 1)
    return sum(1 for n, line in lines if line.strip() and not line.lstrip().startswith("#") and n not in skip)


# Lines of code of what is read together, without demo, bench and the text of the command line.
TOOLS = {"migrate", "embedded", "testing", "metrics"}
DECLARATIONS = {"_calls", "types"}  # one entry per SQL function and result: long, and nothing to understand
UNCOUNTED = {"cli", "top", "_words", "demo", "bench", "doctor", "reference", "web", "__main__"}


def test_package_stays_small_enough_to_read():
    """About 2,200 lines are to be understood: client, builder and runner. See decision 41."""
    lines = {part(p): code_lines(p) for p in MODULES if part(p) not in UNCOUNTED}
    assert sum(lines[m] for m in TOOLS) <= 890, lines
    assert sum(lines[m] for m in DECLARATIONS) <= 1500, lines
    assert sum(n for m, n in lines.items() if m not in TOOLS | DECLARATIONS) <= 2300, lines


def test_exports_are_sorted_and_few():
    import runledger

    assert list(runledger.__all__) == sorted(runledger.__all__)
    assert len(runledger.__all__) <= 25
    assert all(hasattr(runledger, name) for name in runledger.__all__)
