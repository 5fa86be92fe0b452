"""A short storm in the default run. `make chaos` is the long one. RUNLEDGER_SEED takes another seed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos import storm
from tests.chaos.__main__ import main
from tests.chaos.checker import Verdict
from tests.chaos.faults import kinds
from tests.support import servers

EXECUTIONS, KINDS = 20_000, 16
SECONDS = 240
"""The end of all patience. What ends the storm are the numbers above, however fast the machine is."""
SEED = int(os.environ.get("RUNLEDGER_SEED", "20260101"))
BRIEF = frozenset({
    "worker-kill", "kill-after-claim-reply", "kill-in-handler", "kill-before-finish-sent", "kill-after-finish-sent", "worker-freeze",
    "server-crash", "server-crash-in-recovery", "backend-terminate", "backend-terminate-in-claim", "backend-terminate-in-finish",
    "reply-lost-after-commit", "connections-reset", "clock-step", "operator-cancel-and-requeue", "operator-redrive",
    "prune-and-maintenance", "pooler-restart",
})  # fmt: skip
"""Faults that do not take long."""


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_short_storm(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]):
    outcome = storm.run(storm.Plan(
        jobs=EXECUTIONS + 1000, kinds=KINDS, seconds=SECONDS, seed=SEED, bindir=servers.own(pytestconfig.getoption("--pg")), is_hasty=True,
        every=600, only=BRIEF, disk=False, backlog=3000, batch=100, burst=300,
    ))  # fmt: skip
    with capsys.disabled():
        print(
            f"\nchaos: {outcome.executions} executions, {sum(outcome.faults.values())} faults of {len(outcome.faults)} kinds, seed {SEED}"
        )
    assert outcome.is_clean, outcome.report()
    assert outcome.executions >= EXECUTIONS, outcome.report()
    assert len(outcome.faults) >= KINDS, outcome.report()


def test_there_are_faults_enough():
    names = [kind.name for kind in kinds()]
    assert len(names) == len(set(names)) >= 30
    assert set(names) >= BRIEF
    told = (Path(__file__).parent / "README.md").read_text()
    assert [name for name in names if f"`{name}`" not in told] == [], "faults that the table does not list"


@pytest.mark.parametrize(("found", "runs", "status"), [({}, 1, 0), ({"H1 lost": 1}, 4, 1)])
def test_a_seed_that_failed_is_run_three_times_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: dict[str, int], runs: int, status: int
):
    plans: list[storm.Plan] = []

    def run(plan: storm.Plan) -> storm.Outcome:
        plans.append(plan)
        return storm.Outcome(plan, Verdict(counts=Counter(found)), executions=plan.jobs)

    monkeypatch.setattr(storm, "run", run)
    monkeypatch.setattr("sys.argv", ["chaos", "--seed=7", "--executions=10"])
    assert main() == status
    assert [plan.seed for plan in plans] == [7] * runs
    assert capsys.readouterr().out.count("seed 7, runledger") == runs
