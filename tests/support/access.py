"""The matrix of rights as it stands in sql/README.md: `python -m tests.support.access` writes it there."""

from __future__ import annotations

import re
import textwrap

from pglast import ast

from tests.support.plpgsql import functions, nodes
from tests.support.servers import ROOT

README = ROOT / "sql/README.md"
KINDS = ("producer", "worker", "operator", "observer")
_BLOCK = re.compile(r"(?<=<!-- access -->\n```\n).*?(?=```\n)", re.DOTALL)


def matrix() -> list[tuple[str, str, frozenset[str]]]:
    """(type, name, kinds) of each line of _access_matrix(), from its file."""
    (function,) = (f for f in functions() if f.name == "_access_matrix")
    rows = nodes(function.queries[0], ast.SelectStmt)[0].valuesLists
    cells = ([nodes(cell, ast.A_Const)[0].val.sval for cell in row] for row in rows)
    return [(type_, name, frozenset(kinds.strip("{}").split(",")) - {""}) for type_, name, kinds in cells]


def block() -> str:
    """One paragraph per set of kinds; views are marked by a star."""
    groups: dict[frozenset[str], list[str]] = {}
    for type_, name, kinds in matrix():
        groups.setdefault(kinds, []).append(name + "*" * (type_ == "view"))
    parts = []
    for kinds, names in groups.items():
        title = ", ".join(k for k in KINDS if k in kinds) if kinds else "the owner of the schema alone"
        title = "any kind" if len(kinds) == len(KINDS) else title
        parts.append(
            f"{title}\n" + textwrap.fill(" ".join(sorted(names)), 120, initial_indent="    ", subsequent_indent="    ")
        )
    return "\n".join(parts) + "\n"


def stated() -> str:
    """The block as the README has it."""
    found = _BLOCK.search(README.read_text())
    assert found, "sql/README.md has no matrix"
    return found.group()


if __name__ == "__main__":
    README.write_text(_BLOCK.sub(lambda _: block(), README.read_text()))
