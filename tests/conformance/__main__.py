"""`python -m tests.conformance` plays every scenario by every driver and prints a table; 1 if any went wrong."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from runledger import embedded, testing
from tests.conformance import drivers
from tests.support import node


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        modules = node.install(Path(directory) / "node")
        plays = {"psycopg": drivers.psycopg, "psql": drivers.psql, "node": drivers.nodejs(modules)}
        problems: list[str] = []
        print(f"{'':60}" + "".join(f"{name:>9}" for name in plays))
        server = embedded.Server(data=Path(directory) / "data")
        with testing.DatabaseServer(server.dsn(), server=server) as databases:
            for name, scenario in drivers.SCENARIOS.items():
                verdicts = []
                for by, play in plays.items():
                    wrong = play(databases.take().dsn, scenario)
                    verdicts.append("wrong" if wrong else "ok")
                    problems += [f"{name}, by {by}: {wrong}"] if wrong else []
                print(f"{name:60}" + "".join(f"{verdict:>9}" for verdict in verdicts), flush=True)
        print(*problems, f"{len(drivers.SCENARIOS)} scenarios, {len(problems)} wrong", sep="\n")
        return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
