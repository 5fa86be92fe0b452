"""The scenarios by psycopg: the shortest of the drivers, and the one to read first."""

from __future__ import annotations

import json
import time
from typing import Any

import psycopg
from psycopg import sql

WAIT = 10.0


def play(dsn: str, steps: list[dict[str, Any]]) -> str | None:
    """What is wrong, or None. Every step is a call of its own session state: none but what the ledger holds."""
    known: dict[str, Any] = {}
    with psycopg.connect(dsn, autocommit=True) as conn:
        for at, step in enumerate(steps, 1):
            end = time.monotonic() + (WAIT if step.get("until") else 0)
            while True:
                wrong = judge(step, call(conn, step, known), known)
                if wrong is None or time.monotonic() >= end:
                    break
                time.sleep(0.05)
            if wrong:
                return f"step {at}, {step['do']}: {wrong}"
    return None


def call(conn: psycopg.Connection[Any], step: dict[str, Any], known: dict[str, Any]) -> Any:
    """The rows as JSON objects, or the refusal as `SQLSTATE code`."""
    given = {name: argument(value, known) for name, value in step.get("with", {}).items()}
    names = sql.SQL(", ").join(sql.SQL("{} => {}").format(sql.Identifier(n), sql.Placeholder(n)) for n in given)
    query = sql.SQL("select to_jsonb(r) from runledger.{}({}) as r").format(sql.Identifier(step["do"]), names)
    try:
        return [row[0] for row in conn.execute(query, given).fetchall()]
    except psycopg.Error as error:
        if not (error.sqlstate or "").startswith("RL"):
            raise
        return f"{error.sqlstate} {json.loads(error.diag.message_detail or '{}')['code']}"


def argument(value: Any, known: dict[str, Any]) -> str | None:
    """A text goes as it is, with its $names filled in; anything else as JSON."""
    if isinstance(value, str):
        for name, what in known.items():
            value = value.replace(f"${name}", str(what))
        return value
    return None if value is None else json.dumps(filled(value, known))


def filled(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {k: filled(v, known) for k, v in value.items()}
    if isinstance(value, list):
        return [filled(v, known) for v in value]
    return known.get(value[1:], value) if isinstance(value, str) and value[:1] == "$" else value


def judge(step: dict[str, Any], got: Any, known: dict[str, Any]) -> str | None:
    """Compare with what the step expects, and remember the values it names."""
    if isinstance(got, str) or "refused" in step:
        return None if got == step.get("refused") else f"expected {step.get('refused', 'rows')}, got {got}"
    if "gives" not in step:
        return None
    if len(got) != len(step["gives"]):
        return f"expected {len(step['gives'])} rows, got {got}"
    named: dict[str, Any] = {}
    for row, expected in zip(got, step["gives"], strict=True):
        for field, value in expected.items():
            found = row.get(field)
            if value == "*" or (isinstance(value, str) and value[:1] == "$" and value[1:] not in known | named):
                if found is None:
                    return f"{field} is null"
                if value != "*":
                    named[value[1:]] = found
            elif filled(value, known | named) != found:
                return f"{field}: expected {filled(value, known | named)!r}, got {found!r}"
    known.update(named)
    return None
