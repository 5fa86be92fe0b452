"""Runs programs of the machine against one database."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.ledger import World
from tests.model.machine import Programs


def run(world: World, *, programs: int, steps: int, seed_: int | None = None, shrinks: bool = True) -> None:
    """Without a seed always the same programs."""
    machine = type("Programs", (Programs,), {"world": world})
    phases = [Phase.generate, Phase.shrink] if shrinks else [Phase.generate]
    run_state_machine_as_test(
        machine if seed_ is None else seed(seed_)(machine),
        settings=settings(
            max_examples=programs, stateful_step_count=steps, derandomize=seed_ is None, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=phases, print_blob=False,
            report_multiple_bugs=False,
        ),
    )  # fmt: skip
