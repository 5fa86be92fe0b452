"""The benchmark measures what it says, on a small scale: the figures are there and come from the ledger."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.timeout(310)
def test_bench_reports_each_figure_beside_its_raw_limit():
    command = [sys.executable, "-m", "runledger", "bench", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["setting"].startswith("PostgreSQL server_version")
    figures = {figure["what"]: figure for figure in report["figures"]}
    compared = [what for what, figure in figures.items() if figure["raw"]]
    assert len(compared) == 12
    assert all(figures[what]["ratio"] > 0 for what in compared)
    assert sum(what.startswith("buffers of a claim") for what in figures) == 4
    assert figures["WAL a job, drained"]["reached"] is not None
