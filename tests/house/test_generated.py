"""What is shipped beside the code: the generated schema, and the SQL inside the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import runledger.migrate as m
from tests.support import schema
from tests.support.servers import ROOT


def test_generated_schema_is_current():
    generated = ROOT / "sql/schema.generated.sql"
    assert generated.read_text() == schema.generate(), "make schema"


def test_packaged_sql_wins_over_the_source_tree(tmp_path, monkeypatch):
    package = tmp_path / "runledger"
    (tmp_path / "sql").mkdir()
    package.mkdir()
    monkeypatch.setattr(m, "__file__", str(package / "migrate.py"))
    assert m.sql_root() == tmp_path / "sql"
    (package / "sql").mkdir()
    assert m.sql_root() == package / "sql"


def test_wheel_carries_the_whole_tree(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {f"runledger/sql/{path.relative_to(ROOT / 'sql').as_posix()}" for path in Path(ROOT / "sql").rglob("*.sql")}
    assert shipped <= names
    assert "runledger/py.typed" in names
