"""What a release leaves behind for the next ones: its install script, and the calls that its client makes.

`python -m tests.support.freeze` (make freeze) writes both for the version of pyproject.toml, until that is released. Who
releases it adds their checksums to RELEASED; from then on the two files are never written again.
"""

from __future__ import annotations

import gzip
import hashlib
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

import runledger.migrate as m
from runledger import _calls
from runledger.testing import DatabaseServer
from tests.support import servers

FROZEN = servers.ROOT / "tests/migrate/frozen"
RELEASED: dict[str, str] = {}
"""File of a released version: its SHA-256. Lines are added and never changed."""


def version() -> str:
    """The release that is being made: that of pyproject.toml without .dev0 and the like."""
    told = tomllib.loads((servers.ROOT / "pyproject.toml").read_text())["project"]["version"]
    return re.match(r"[\d.]*\d", told)[0]  # type: ignore[index]


def versions() -> list[str]:
    """All that are frozen, oldest first."""
    found = [path.name.removesuffix(".sql.gz") for path in FROZEN.glob("*.sql.gz")]
    return sorted(found, key=lambda name: [int(part) for part in name.split(".")])


def script(release: str) -> str:
    return gzip.decompress((FROZEN / f"{release}.sql.gz").read_bytes()).decode()


def calls(release: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(gzip.decompress((FROZEN / f"{release}.calls.json.gz").read_bytes()))
    return read


def checksum(name: str) -> str:
    return hashlib.sha256((FROZEN / name).read_bytes()).hexdigest()


def migrations(text: str) -> dict[str, str]:
    """Of an install script: name of each migration, and its checksum."""
    return dict(re.findall(r"^values \(\d+, '(\d{4}_\w+\.sql)', '([0-9a-f]{64})',", text, re.MULTILINE))


# --- the calls ---


class Asked:
    """A statement as a client sends it, and what the server says of it without running it."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._conn = conn
        self._types = dict(conn.execute("select format_type(oid, null), oid::bigint from pg_type").fetchall())
        self._names = {oid: name for name, oid in self._types.items()}

    def describe(self, query: str, sent: list[str]) -> list[list[str]]:
        """Names and types of the columns. Raises what the server has against the statement."""
        # An empty name stands for a type that the client leaves open.
        oids = [self._types[name] if name else 0 for name in sent]
        with self._conn.transaction(force_rollback=True):
            for result in (
                self._conn.pgconn.prepare(b"frozen", query.encode(), oids),
                told := self._conn.pgconn.describe_prepared(b"frozen"),
            ):
                if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
                    raise psycopg.errors.lookup(result.error_field(psycopg.pq.DiagnosticField.SQLSTATE).decode())(  # type: ignore[union-attr]
                        result.error_message.decode() if result.error_message else query
                    )
            self._conn.execute("deallocate frozen")
        return [[told.fname(n).decode(), self._names[told.ftype(n)]] for n in range(told.nfields)]  # type: ignore[union-attr]

    def sent(self, call: _calls.Call[Any]) -> tuple[str, list[str]]:
        """The text with its placeholders, and the types of the parameters."""
        query = PostgresQuery(Transformer(self._conn))
        query.convert(call.query, call.params)
        return query.query.decode(), [self._names.get(oid, "") for oid in query.types]


def made(example: Any) -> Iterator[_calls.Call[Any]]:
    """Every call of the client, with nothing optional and with everything. `example` gives a value for a parameter."""
    for make in vars(_calls).values():
        if inspect.isfunction(make) and re.match(r"(One|Maybe|Many|Value)\[", str(make.__annotations__.get("return"))):
            if make.__name__.startswith("_"):
                continue
            parameters = inspect.signature(make).parameters.values()
            for everything in (False, True):
                yield make(**{p.name: example(p) for p in parameters if everything or p.default is p.empty})


def record(conn: psycopg.Connection[Any]) -> dict[str, Any]:
    from tests.client.test_contract import value_of

    asked = Asked(conn)
    found = []
    for call in made(value_of):
        query, sent = asked.sent(call)
        entry = {"function": call.function, "query": query, "sent": sent, "columns": asked.describe(query, sent)}
        if entry not in found:
            found.append(entry)
    codes = conn.execute("select code, sqlstate from runledger.error_codes() order by 1").fetchall()
    return {"calls": found, "codes": dict(codes)}


def main() -> int:
    release = version()
    names = [f"{release}.sql.gz", f"{release}.calls.json.gz"]
    if done := [name for name in names if name in RELEASED]:
        print(f"released, and never written again: {', '.join(done)}", file=sys.stderr)
        return 1
    FROZEN.mkdir(exist_ok=True)
    m.package_version = lambda: release
    with (
        DatabaseServer.start(servers.bindir("18")) as server,
        psycopg.connect(server.take().dsn, autocommit=True) as conn,
    ):
        told = record(conn)
    for name, text in zip(names, (m.print_script(), json.dumps(told, indent=0)), strict=True):
        (FROZEN / name).write_bytes(gzip.compress(text.encode(), mtime=0))
        print(f"{name}  {checksum(name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
