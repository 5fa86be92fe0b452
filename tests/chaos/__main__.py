"""`python -m tests.chaos`: the long run. Ends with 1 if anything was lost, doubled, overlapping or stuck."""

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
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    outcome = storm.run(storm.Plan(
        jobs=given.executions, seconds=given.minutes * 60, seed=given.seed, bindir=servers.bindir(given.pg), lease=given.lease,
        runners=3, bares=3, producers=2, through_cli=1, gap=given.gap, only=frozenset(filter(None, given.only.split(","))),
    ))  # fmt: skip
    print(outcome.report())
    if outcome.executions < given.executions:
        print(f"only {outcome.executions} executions in {given.minutes} minutes, {given.executions} were asked for")
    return int(not outcome.is_clean or outcome.executions < given.executions)


if __name__ == "__main__":
    sys.exit(main())
