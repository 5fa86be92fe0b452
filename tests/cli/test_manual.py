"""What README and --help say of the command line is true."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from click.testing import CliRunner

from runledger.cli import main
from tests.cli.conftest import verbs
from tests.support.servers import ROOT

README = (ROOT / "README.md").read_text()
SECTION = README[README.index("## The command line") :].split("\n## ")[0]
COMMANDS = [shlex.split(line, comments=True)[1:] for line in re.findall(r"^runledger .*", SECTION, re.MULTILINE)]
HELP = CliRunner().invoke(main, ["--help"]).output


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_the_commands_of_the_readme_are_understood(args):
    result = CliRunner().invoke(main, [*args, "--sql-only"])
    assert result.exit_code == 0, result.output
    assert "select" in result.stdout


def test_readme_and_help_name_every_command():
    named = set(re.findall(r"`(\w+)`", SECTION[SECTION.index("Nouns:") : SECTION.index("reads like a manual")]))
    assert named - {"runledger"} == set(main.commands)
    assert set(re.findall(r"^  ([a-z]+)  ", HELP, re.MULTILINE)) == set(main.commands)


def test_readme_and_help_have_the_same_exit_codes():
    table = re.findall(r"^\| ([\d, ]+) \|", SECTION, re.MULTILINE)
    told = re.findall(r"^    (\d[\d ]*?)  +\w", HELP, re.MULTILINE)
    assert [code.replace(", ", " ") for code in table] == told


@pytest.mark.parametrize("path", [(), *verbs()], ids=" ".join)
def test_every_help_fits_a_screen_and_explains_each_argument_that_is_no_plain_word(path):
    result = CliRunner().invoke(main, [*path, "--help"], terminal_width=110)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 110
    command = verbs().get(path)
    for param in command.params if command else ():
        if isinstance(param, click.Option) and param.name in {"dry_run", "yes", "reason", "limit", "older_than"}:
            assert param.help, param.name


@pytest.mark.parametrize(("name", "value", "coloured"), [("NO_COLOR", "1", False), ("TERM", "dumb", False), ("NO_COLOR", "", True)])
def test_colours_are_left_out_where_they_are_not_wanted(world, cli, monkeypatch, name, value, coloured):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(name, value)
    assert ("\x1b[" in cli("jobs", color=True).stdout) is coloured
