"""The tree, the texts beside the code, and the tests themselves."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib

import pytest

from tests.support.servers import ROOT
from tests.tidy.test_sql_bodies import error_codes

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = {"help", "demo", "test", "test-all", "test-web", "tidy", "schema", "check", "bench"}


def tracked() -> list[str]:
    """Files in git; in an unpacked archive, all but what tools leave behind."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and (ROOT / ".git").exists():
        return [name for name in done.stdout.splitlines() if (ROOT / name).exists()]
    skip = re.compile(r"(^|/)(\.venv|\.pg17|\.git|__pycache__|[^/]*\.egg-info|\.\w+_cache|\.hypothesis)(/|$)")
    found = (path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file())
    return [name for name in found if not skip.search(name)]


def test_top_level_is_what_the_design_says():
    top = {name.split("/")[0] for name in tracked()}
    assert top <= {
        ".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml", "runledger", "sql",
        "tests",
    }  # fmt: skip


def test_no_catch_all_modules():
    banned = {"utils", "util", "common", "helpers", "misc"}
    assert not [name for name in tracked() if name.rsplit("/", 1)[-1].split(".")[0] in banned]


def test_every_target_documents_itself():
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):(?!=)", MAKEFILE, re.MULTILINE))
    documented = set(re.findall(r"^([a-z][a-z0-9-]*):.*## \S", MAKEFILE, re.MULTILINE))
    assert targets == documented
    assert targets >= TARGETS


def test_help_lists_the_targets():
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in shown.splitlines()} >= TARGETS


def test_readme_names_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


def test_changelog_has_an_unreleased_section():
    assert re.search(r"^## \[?Unreleased", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_version_is_under_development_or_in_the_changelog():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ".dev" in version or f"[{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_sqlstates_are_explained_in_the_sql_readme():
    readme = (ROOT / "sql/README.md").read_text()
    assert [state for state in sorted({row[0] for row in error_codes().values()}) if state not in readme] == []


def test_decisions_are_numbered_without_gap():
    numbers = [int(n) for n in re.findall(r"^#+ (\d+)\b", (ROOT / "sql/DECISIONS.md").read_text(), re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_check_from_nothing_uses_the_readmes_command():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()
    assert "set -euo pipefail" in script.read_text()


def test_concurrency_is_waited_for_not_slept_for():
    files = [name for name in tracked() if name.startswith("tests/concurrency/")]
    assert [name for name in files if "sleep(" in (ROOT / name).read_text()] == []


@pytest.mark.parametrize(
    "name", [n for n in tracked() if n.startswith("tests/") and n.endswith(".py") and "tidy" not in n]
)
def test_no_test_is_switched_off(name: str):
    text = (ROOT / name).read_text()
    assert not re.search(r"pytest\.(skip|xfail|importorskip)\(|mark\.(skip\b|xfail)", text)
    assert "unittest.mock" not in text
