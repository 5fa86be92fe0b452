"""Random calls by each caller meet documented errors only, leak nothing, leave no lock and a sound ledger.

RUNLEDGER_FUZZ_CALLS (per function and isolation level) and RUNLEDGER_FUZZ_SEED make a longer or another run; `make fuzz`
prints what it saw.
"""

from __future__ import annotations

import os

import pytest

from tests.anomaly.fuzz import KINDS, LEVELS, REFUSED_ABOVE_READ_COMMITTED, Fuzz, Seen
from tests.support.database import Db

CALLS = int(os.environ.get("RUNLEDGER_FUZZ_CALLS", "30"))
SEED = int(os.environ.get("RUNLEDGER_FUZZ_SEED", "20"))


def told(seen: Seen) -> str:
    return "\n\n".join(f"{name}: {problem}: {text}" for (name, problem), text in seen.findings.items())


@pytest.mark.slow
@pytest.mark.timeout(600)  # some ten seconds of work, and a machine may have other things to do
@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("isolation", LEVELS)
def test_random_arguments_meet_documented_errors_only(db: Db, isolation: str):
    fuzz = Fuzz(db, SEED, isolation)
    assert len(fuzz.functions) > 30
    wanted = {f["name"] for f in fuzz.functions}
    wanted -= set() if isolation == "read committed" else REFUSED_ABOVE_READ_COMMITTED
    fuzz.rounds(0, CALLS)
    # Some verbs find what they need by chance only: those that never did are tried further, ten times as often at most.
    for nth in range(CALLS, 11 * CALLS):
        if not (rest := wanted - fuzz.seen.fine()):
            break
        fuzz.rounds(nth, nth + 1, rest)
    seen = fuzz.end()
    assert not seen.findings, told(seen)
    # A fuzz that is refused at the door proves nothing: what can be called at this level also got through.
    assert wanted <= seen.fine(), wanted - seen.fine()


@pytest.mark.parametrize("kind", [*KINDS, "nobody"])
@pytest.mark.usefixtures("stranger")
def test_each_role_gets_what_the_matrix_says_whatever_it_sends(db: Db, kind: str):
    """42501 for what it may not call, and only for that; a fifth of its calls lies within transactions of its own."""
    fuzz = Fuzz(db, SEED, kind=kind)
    fuzz.rounds(0, max(5, CALLS // 10))
    seen = fuzz.end()
    assert not seen.findings, told(seen)
    assert seen.fine() <= fuzz.allowed
    assert len(seen.fine()) >= len(fuzz.allowed) / 2
