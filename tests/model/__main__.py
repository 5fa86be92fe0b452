"""`make model`: more programs, longer ones, other ones; and what they were made of."""

from __future__ import annotations

import argparse
import secrets
import time

from runledger.testing import DatabaseServer
from tests.model.ledger import World
from tests.model.run import run
from tests.support import servers
from tests.support.database import Db


def main() -> None:
    parser = argparse.ArgumentParser(prog="make model", description=__doc__)
    parser.add_argument("--programs", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    parser.add_argument("--pg", default="18")
    parser.add_argument("--as-found", action="store_true", help="do not shrink what is found")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    with DatabaseServer.start(servers.bindir(asked.pg)) as server:
        db = Db(server.take(), server)
        world = World(db)
        began = time.monotonic()
        try:
            run(world, programs=asked.programs, steps=asked.steps, seed_=asked.seed, shrinks=not asked.as_found)
        finally:
            print(f"seed {asked.seed}, {time.monotonic() - began:.0f} s")
            print(world.report())
            db.close()


if __name__ == "__main__":
    main()
