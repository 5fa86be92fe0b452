"""Which PL/pgSQL statements the tests reach: `pytest --coverage=DIRECTORY …`, then `python -m tests.support.coverage DIRECTORY`.

The template that the databases of the tests are copied from gets probes (tests/support/probes.py) that note what they
see; before a database is dropped its notes are taken. Each process of the run writes a file of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path

import psycopg

from runledger.testing import Database, DatabaseServer
from tests.support.probes import Point, install, points, reached

# Statements that no test reaches, each with its reason: "path: statement  # why".
ALLOWED = Path(__file__).with_name("coverage_allowed.txt")


class Collector:
    """What the databases of this process have seen."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / f"reached-{os.getpid()}"
        self._edition = edition()
        self._hits: set[int] = set()

    def attach(self) -> None:
        """From now on templates carry probes, and databases are asked when they are given back, or at the end."""
        make_template, take, give_back, close = (
            DatabaseServer._make_template, DatabaseServer.take, DatabaseServer.give_back, DatabaseServer.close,
        )  # fmt: skip
        lent: dict[str, Database] = {}

        def probed_template(server: DatabaseServer) -> str:
            name = make_template(server)
            server._admin.execute(f"alter database {name} with allow_connections true")
            with psycopg.connect(server._database(name).admin_dsn, autocommit=True) as conn:
                install(conn, cover=True)
            server._admin.execute(f"alter database {name} with allow_connections false")
            return name

        def lend(server: DatabaseServer) -> Database:
            database = take(server)
            lent[database.name] = database
            return database

        def ask_and_give_back(server: DatabaseServer, database: Database) -> None:
            lent.pop(database.name, None)
            self.ask(database)
            give_back(server, database)

        def ask_and_close(server: DatabaseServer) -> None:
            for name in [n for n in lent if n.startswith(server._prefix)]:
                self.ask(lent.pop(name))
            close(server)

        DatabaseServer._make_template = probed_template  # type: ignore[method-assign]
        DatabaseServer.take = lend  # type: ignore[method-assign]
        DatabaseServer.give_back = ask_and_give_back  # type: ignore[method-assign]
        DatabaseServer.close = ask_and_close  # type: ignore[method-assign]

    def ask(self, database: Database) -> None:
        # A test may have dropped it, or stopped its server.
        try:
            with psycopg.connect(database.admin_dsn, autocommit=True) as conn:
                found = reached(conn)
        except psycopg.OperationalError as error:
            print(f"coverage: {database.name} tells nothing: {error}", file=sys.stderr)
            return
        if not found <= self._hits:
            self._hits |= found
            self._write()

    def _write(self) -> None:
        self._file.write_text("".join(f"{line}\n" for line in (self._edition, *sorted(self._hits))))


def edition() -> str:
    """Tells the functions that were measured from those that somebody has edited since."""
    return hashlib.sha256("".join(f"{p.path} {p.text}\n" for p in points()).encode()).hexdigest()


def allowed() -> dict[str, str]:
    """What need not be reached, as `path: statement`, and why."""
    lines = [line for line in ALLOWED.read_text().splitlines() if line and not line.startswith("#")]
    return {what.strip(): why.strip() for what, _, why in (line.partition("  # ") for line in lines)}


def name_of(point: Point) -> str:
    return f"{point.path}: {point.text[:80].strip()}"


def report(directory: Path) -> float:
    """Print what was not reached, and return the share that was, in percent."""
    hits: set[int] = set()
    for file in directory.glob("reached-*"):
        found, *ids = file.read_text().split()
        if found != edition():
            raise SystemExit(f"{file} tells of other functions than there are now: measure again")
        hits.update(map(int, ids))
    all_of_it = [p for p in points() if p.kind == "statement"]
    excused = allowed()
    missed = [p for p in all_of_it if p.id not in hits]
    for path, of_it in groupby(missed, key=lambda p: p.path):
        print(path)
        for p in of_it:
            print(
                f"  {p.line:4}  {p.text[:90]}"
                + (f"   [allowed: {excused[name_of(p)]}]" if name_of(p) in excused else "")
            )
    names = Counter(map(name_of, missed))
    for name in excused:
        if not names[name]:
            print(f"allowed, and reached or gone: {name}")
    share = 100 * (len(all_of_it) - len(missed)) / len(all_of_it)
    told = sum(name_of(p) in excused for p in missed)
    print(
        f"{len(all_of_it) - len(missed)} of {len(all_of_it)} PL/pgSQL statements reached in"
        f" {len({p.function for p in all_of_it})} functions: {share:.2f} %; {len(missed) - told} missed, {told} allowed"
    )
    return share


def main() -> int:
    parser = argparse.ArgumentParser(description="Which PL/pgSQL statements the tests did not reach.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--least", type=float, default=95.0, help="fail below this share, in percent")
    options = parser.parse_args()
    return int(report(options.directory) < options.least)


if __name__ == "__main__":
    sys.exit(main())
