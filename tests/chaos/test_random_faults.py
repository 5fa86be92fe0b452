"""Workers and producers whose every call may fail, or lose its backend, at any statement inside the functions.

RUNLEDGER_SEED takes another seed; the seed fixes the draws, not which call draws next.
"""

from __future__ import annotations

import os

import psycopg
import pytest

from tests.chaos import storm
from tests.chaos.arena import Arena
from tests.support import servers
from tests.support.probes import install

SEED = int(os.environ.get("RUNLEDGER_SEED", "20260102"))
JOBS = 3000
P = 0.002
"""Of each statement: a call for a few jobs passes a hundred and more of them, so one in five or so fails."""
BESIDES = frozenset({"operator-cancel-and-requeue", "operator-redrive", "prune-and-maintenance"})
FACTORS = {"chaos_worker": 1, "chaos_operator": 1, "chaos_producer": 0.1}
"""A producer sends a hundred jobs and more at once."""


def arm(arena: Arena) -> None:
    """Whoever logs in as one of the roles from now on throws dice at each probe."""
    with psycopg.connect(arena.dsn(), autocommit=True) as conn:
        install(conn)
        conn.execute("update probe.storm set seed = %s, p = %s", [SEED, P])
        for role, factor in FACTORS.items():
            conn.execute(f"alter role {role} in database chaos set probe.mode = 'random'".encode())
            conn.execute(f"alter role {role} in database chaos set probe.factor = '{factor}'".encode())


def calm(arena: Arena) -> None:
    arena.sql("update probe.storm set p = 0")


@pytest.mark.chaos
@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_storm_of_faults_inside_the_functions(pytestconfig: pytest.Config):
    faults = 0

    def count(arena: Arena) -> None:
        nonlocal faults
        calm(arena)
        faults = arena.sql("select coalesce(pg_sequence_last_value('probe.faults'), 0) as n")[0]["n"]

    outcome = storm.run(storm.Plan(
        jobs=JOBS, seconds=400, seed=SEED, bindir=servers.own(pytestconfig.getoption("--pg")), is_hasty=True, only=BESIDES, disk=False,
        batch=5, gap=1.0, prepare=arm, before_calm=count,
    ))  # fmt: skip
    print(f"\n{faults} faults inside the functions\n{outcome.report()}")
    assert outcome.is_clean
    assert outcome.executions >= JOBS * 0.9
    assert faults >= 200
