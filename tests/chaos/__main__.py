"""`python -m tests.chaos`: the long run. Ends with 1 if anything was lost, doubled, overlapping or stuck. README.md lists the faults."""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.chaos import storm
from tests.chaos.faults import kinds
from tests.support import servers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--executions", type=int, default=250_000, help="jobs to enqueue (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=30, help="stop enqueuing after that long (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--pg", default="18", help="major version of the server (default: %(default)s)")
    parser.add_argument("--lease", type=int, default=3, help="seconds (default: %(default)s)")
    parser.add_argument("--gap", type=float, default=0.7, help="seconds between faults, about (default: %(default)s)")
    parser.add_argument(
        "--only", default="", help=f"these faults alone, separated by commas: {', '.join(k.name for k in kinds())}"
    )
    parser.add_argument("--again", type=int, default=3, help="reruns of a seed that failed (default: %(default)s)")
    given = parser.parse_args()
    plan = storm.Plan(
        jobs=given.executions, seconds=given.minutes * 60, seed=given.seed, bindir=servers.bindir(given.pg), lease=given.lease,
        runners=3, bares=3, producers=2, through_cli=1, gap=given.gap, only=frozenset(filter(None, given.only.split(","))),
    )  # fmt: skip
    is_good = told(plan)
    for nth in range(1, 1 + given.again * (not is_good)):
        # The seed fixes the order of the faults, not what they meet: a rare failure may take several runs to come again.
        print(f"\n--- the same seed again, {nth} of {given.again} ---")
        told(plan)
    return int(not is_good)


def told(plan: storm.Plan) -> bool:
    """Run it and print what came of it; whether all was well."""
    print(f"seed {plan.seed}", flush=True)
    outcome = storm.run(plan)
    print(outcome.report(), flush=True)
    is_short = outcome.executions < plan.jobs
    if is_short:
        print(f"only {outcome.executions} executions in {plan.seconds / 60:g} minutes, {plan.jobs} were asked for")
    return outcome.is_clean and not is_short


if __name__ == "__main__":
    sys.exit(main())
