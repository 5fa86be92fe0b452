"""The SQL files as syntax trees, function bodies included: what the tidy tests look at."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pglast import ast, parse_plpgsql, parse_sql
from pglast.visitors import Visitor

from tests.support.servers import ROOT

SQL = ROOT / "sql"


def relative(path: Path) -> str:
    return path.relative_to(SQL).as_posix()


@dataclass(frozen=True)
class Function:
    """A function file. `columns`: of `returns table`; `queries`: every statement and expression of its body, parsed."""

    path: Path
    text: str
    node: ast.CreateFunctionStmt
    name: str
    language: str
    body: str
    parameters: tuple[str, ...]
    columns: tuple[str, ...]
    locals: tuple[str, ...]
    queries: tuple[Any, ...] = field(repr=False)

    @property
    def public(self) -> bool:
        return not self.name.startswith("_")

    def __str__(self) -> str:
        return relative(self.path)


def function_files() -> list[Path]:
    return sorted((SQL / "functions").rglob("*.sql"))


@functools.cache
def functions() -> tuple[Function, ...]:
    return tuple(_parse(path) for path in function_files())


def option(node: ast.CreateFunctionStmt, name: str) -> Any:
    return next((o.arg for o in node.options or () if o.defname == name), None)


def _parse(path: Path) -> Function:
    text = path.read_text()
    node = next(s.stmt for s in parse_sql(text) if isinstance(s.stmt, ast.CreateFunctionStmt))
    language = option(node, "language").sval
    body = option(node, "as")[0].sval
    if language == "plpgsql":
        found, queries = _body(path, text)
    else:
        found, queries = (), tuple(statement.stmt for statement in parse_sql(body))
    return Function(
        path=path,
        text=text,
        node=node,
        name=node.funcname[-1].sval,
        language=language,
        body=body,
        parameters=tuple(p.name for p in node.parameters or () if p.name and p.mode.value not in ("t", "o")),
        columns=tuple(p.name for p in node.parameters or () if p.mode.value == "t"),
        locals=found,
        queries=queries,
    )


def tree(text: str) -> Any:
    """The PL/pgSQL function of that file, as PostgreSQL's parser sees it."""
    # The parser knows no types of other schemas in signatures and declarations, nor arrays of row types;
    # neither matters for names.
    plain = re.sub(r"\brunledger\.(?=\w)", "public.", text)
    create = plain[plain.index("create or replace function") :]
    create = create[: re.search(r"^\$\$;?\s*$", create, re.MULTILINE).end()]  # type: ignore[union-attr]
    return parse_plpgsql(re.sub(r"\bpublic\.(_?\w+)\[\]", "text[]", create))


def _body(path: Path, text: str) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    names: list[str] = []
    queries: list[Any] = []
    for key, value in walk(tree(text)):
        if key in ("PLpgSQL_var", "PLpgSQL_rec") and "lineno" in value:
            names.append(value["refname"])
        elif key == "PLpgSQL_expr":
            queries.extend(_query(path, value["query"], value.get("parseMode", 0)))
    return tuple(dict.fromkeys(names)), tuple(queries)


def _query(path: Path, query: str, mode: int) -> Iterator[Any]:
    query = re.sub(r"\bpublic\.(?=\w)", "runledger.", query)
    if mode == 2:  # an expression
        query = f"select {query}"
    elif mode >= 3:  # an assignment
        target, _, value = re.split(r"(:=|=)", query, maxsplit=1)
        query = f"select {value}"
        if "[" in target:
            query += f", {target}"
    try:
        for statement in parse_sql(query):
            yield statement.stmt
    except Exception as error:
        raise AssertionError(f"{relative(path)}: {query!r}: {error}") from error


def walk(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def nodes(tree: Any, *kinds: type) -> list[Any]:
    """All nodes of those kinds below `tree`, itself included."""
    found: list[Any] = []

    class Collect(Visitor):
        def visit(self, _ancestors: Any, node: Any) -> None:
            if isinstance(node, kinds):
                found.append(node)

    Collect()(tree)
    return found


def table(relation: ast.RangeVar) -> str:
    return f"{relation.schemaname}.{relation.relname}" if relation.schemaname else relation.relname


def dump(tree: Any) -> str:
    return json.dumps(tree(skip_none=True), default=str)
