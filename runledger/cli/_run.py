"""What all verbs share: which database, how calls are run and shown, how errors end."""

from __future__ import annotations

import os


def resolve_dsn(dsn: str | None = None) -> str:
    """Return the connection string in force; empty means libpq's own variables and defaults."""
    return dsn or os.environ.get("RUNLEDGER_DSN") or os.environ.get("DATABASE_URL") or ""
