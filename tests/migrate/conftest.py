"""A copy of `sql/` that a test may change, in the place of the real one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import runledger.migrate as m


class Tree:
    """Files of a changed release."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def add_function(self, name: str = "added_by_test") -> None:
        self.write(
            f"functions/core/{name}.sql",
            f"create or replace function runledger.{name}() returns integer language sql stable as 'select 1';\n",
        )

    def remove(self, name: str) -> None:
        (self.root / name).unlink()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    root = tmp_path / "sql"
    shutil.copytree(m.sql_root(), root)
    monkeypatch.setattr(m, "sql_root", lambda: root)
    return Tree(root)
