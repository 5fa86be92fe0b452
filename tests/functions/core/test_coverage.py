"""tests/COVERAGE.md names tests and decisions that exist."""

from __future__ import annotations

import re

from tests.support.servers import ROOT

TEXT = (ROOT / "tests/COVERAGE.md").read_text()


def test_the_tests_it_names_exist():
    files = list((ROOT / "tests").rglob("*.py"))
    defined = set(re.findall(r"^(?:    )?def (test_\w+)", "\n".join(f.read_text() for f in files), re.MULTILINE))
    named = {f.stem for f in files} | defined
    for name, open_ended in re.findall(r"\b(test_\w+)(…?)", TEXT):
        found = [x for x in named if x.startswith(name)] if open_ended else name in named
        assert found, name
    for path in re.findall(r"`(tests/[\w/]+\.py)`", TEXT):
        assert (ROOT / path).is_file(), path


def test_the_decisions_it_names_exist():
    decided = set(re.findall(r"^## (\d+) ", (ROOT / "sql/DECISIONS.md").read_text(), re.MULTILINE))
    cited = set(re.findall(r"decision (\d+)", TEXT))
    assert cited
    assert cited <= decided
