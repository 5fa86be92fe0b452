"""A short storm in the default run: as many executions as fit. `make chaos` is the long one."""

from __future__ import annotations

import pytest

from tests.chaos import storm
from tests.chaos.faults import kinds
from tests.support import servers

SECONDS = 11
SEED = 20_260_101
BRIEF = frozenset({
    "worker-kill", "kill-after-claim-reply", "kill-in-handler", "kill-before-finish-sent", "kill-after-finish-sent", "worker-freeze",
    "server-crash", "server-crash-in-recovery", "backend-terminate", "backend-terminate-in-claim", "backend-terminate-in-finish",
    "reply-lost-after-commit", "connections-reset", "clock-step", "operator-cancel-and-requeue", "operator-redrive",
    "prune-and-maintenance", "pooler-restart",
})  # fmt: skip
"""Faults that do not take long."""


@pytest.mark.chaos
@pytest.mark.slow
def test_a_short_storm(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]):
    outcome = storm.run(storm.Plan(
        jobs=100_000, seconds=SECONDS, seed=SEED, bindir=servers.own(pytestconfig.getoption("--pg")), is_hasty=True, gap=0.15,
        only=BRIEF, disk=False, backlog=1500,
    ))  # fmt: skip
    with capsys.disabled():
        print(
            f"\nchaos: {outcome.executions} executions, {sum(outcome.faults.values())} faults of {len(outcome.faults)} kinds, seed {SEED}"
        )
    assert outcome.is_clean, outcome.report()
    assert outcome.executions > 500, outcome.report()
    assert len(outcome.faults) >= 8, outcome.report()


def test_there_are_faults_enough():
    names = [kind.name for kind in kinds()]
    assert len(names) == len(set(names)) >= 30
    assert set(names) >= BRIEF
