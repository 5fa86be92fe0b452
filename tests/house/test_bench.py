"""The benchmark measures what it says, on a small scale: the figures are there and come from the ledger."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from runledger.bench import MEASURES, Figure, as_json
from runledger.bench.report import ANALYSES
from runledger.bench.show import plot, report, spark
from runledger.bench.stage import Reading, Spent, median
from runledger.cli import main
from tests.support.servers import ROOT

PARTS = ["single", "bulk", "drain", "pickup", "workflows", "snapshot", "idle", "ladder", "cron"]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What a quick run of everything found, and what it showed."""
    path = tmp_path_factory.mktemp("bench") / "found.json"
    command = [sys.executable, "-m", "runledger", "bench", "--quick", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    return found["setting"], {figure["what"]: figure for figure in found["figures"]}, done.stdout


@pytest.mark.timeout(310)
def test_each_figure_stands_beside_its_raw_limit(quick):
    setting, figures, _ = quick
    assert setting.startswith("PostgreSQL server_version")
    compared = [what for what, figure in figures.items() if figure["raw"]]
    assert len(compared) == 18
    assert all(figures[what]["ratio"] > 0 for what in compared)
    goals = {what.split(",")[0].split(" beneath")[0] for what, figure in figures.items() if figure["goal"]}
    assert goals >= {"single enqueue", "bulk enqueue", "WAL a job", "pickup by an idle worker", "rate"}
    assert sum(what.startswith("buffers of a claim of") for what in figures) == 4
    assert all(figure["reached"] is not None for figure in figures.values() if figure["goal"])


def test_what_a_job_costs_is_counted(quick):
    _, figures, _ = quick
    costs = {what: figure["spent"] for what, figure in figures.items() if figure["spent"]}
    assert any(what.startswith("drain, one process") for what in costs)
    for what, spent in costs.items():
        assert 200 < spent["wal_bytes"] < 50_000, what
        assert spent["transactions"] > 0, what
        assert spent["statements"] > 0, what
        assert spent["client_cpu_us"] is not None, what
    single = figures["single enqueue, one commit each"]["spent"]
    assert round(single["transactions"], 1) == 1.0
    assert round(single["statements"], 1) == 1.0


def test_the_terminal_shows_goals_costs_and_lines(quick):
    _, figures, shown = quick
    assert "Goals" in shown
    assert "One job costs (raw limit)" in shown
    assert "Share of the raw limit" in shown
    assert "█" in shown
    for what, figure in figures.items():
        if figure["reached"] is False:
            assert figure["analysis"].startswith("sql/DECISIONS.md"), what


def test_every_part_can_be_asked_for_alone():
    assert list(MEASURES) == PARTS
    assert set(ANALYSES) <= set(PARTS)
    done = CliRunner().invoke(main, ["bench", "--only", "nothing"])
    assert done.exit_code == 2
    assert all(f"'{part}'" in done.output for part in PARTS)


@pytest.mark.parametrize("sizes", ["many", "10,5", "0,10", ""])
def test_a_ladder_that_makes_no_sense_is_refused(sizes):
    done = CliRunner().invoke(main, ["bench", "--ladder", sizes])
    assert done.exit_code == 2
    assert "give sizes" in done.output


def test_pictures_without_the_extra_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = CliRunner().invoke(main, ["bench", "--plot", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "pip install 'runledger[bench]'" in done.output
    assert not (tmp_path / "out").exists()


def figure(**given):
    return Figure(**{"what": "rate [of x]", "ours": "1/s", "raw": "2/s", "ratio": 0.5, "spent": Spent(1.0), **given})


def test_a_line_is_drawn_on_one_scale():
    assert spark({"a": [(0, 0.0), (1, 8.0)], "raw": [(0, 4.0), (1, 4.0)]}) == ["a    █ 0 to 8", "raw ▄▄ 4 to 4"]


def test_a_goal_that_could_not_be_measured_is_not_called_reached(capsys):
    from rich.console import Console

    report(
        Console(width=150),
        ["the setting", figure(goal=">= 1", reached=None), figure(goal=">= 1", reached=False, analysis="there")],
    )
    shown = capsys.readouterr().out
    assert "not measured" in shown
    assert "yes" not in shown
    assert "not reached: rate [of x]: there" in shown


def test_what_cannot_be_counted_is_none_and_not_zero():
    before, after = Reading(0, None, 1.0, 100, 5, None), Reading(1, None, 1.5, 300, 15, None)
    spent = before.until(after, 10)
    assert spent == Spent(None, 50_000.0, 20.0, 1.0, None)
    assert median([spent, Spent(None, 70_000.0, 40.0, 3.0, None), spent]) == spent
    assert json.loads(as_json(["s", figure()]))["figures"][0]["spent"]["wal_bytes"] is None


def test_the_method_is_written_down():
    method = (ROOT / "tests/bench/README.md").read_text()
    assert "tests/bench/README.md" in (ROOT / "README.md").read_text()
    assert [part for part in PARTS if f"`{part}`" not in method] == []


def test_pictures_are_written(tmp_path):
    series = {"Runledger": [(1.0, 2.0), (2.0, 3.0)], "raw": [(1.0, 1.0), (2.0, 1.0)]}
    written = plot([figure(series=series, axes=("rows", "buffers"))], tmp_path / "out")
    assert [path.name for path in written] == ["shares.png", "rate-of-x.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
