"""What the parts of the model share: refusals, instants as the database writes them, and names it cannot foresee."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID

DAY = timedelta(days=1)
HORIZON = 3650 * DAY
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Ids tell an earlier time than the ledger's own, so whatever goes by age goes by that.
START = datetime(2035, 1, 1, tzinfo=UTC)
MARK = {"_redacted": True}


class Refused(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def refuse_if(is_wrong: object, code: str) -> None:
    if is_wrong:
        raise Refused(code)


def stamp(at: datetime | None) -> str | None:
    """As a timestamptz stands in JSON, under UTC."""
    if at is None:
        return None
    micros = f".{at.microsecond:06}".rstrip("0") if at.microsecond else ""
    return f"{at:%Y-%m-%dT%H:%M:%S}{micros}+00:00"


def plain(value: Any) -> Any:
    """As JSON has it: ids and instants as text."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return stamp(value.astimezone(UTC))
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def is_name(text: Any, max_bytes: int = 200) -> bool:
    return isinstance(text, str) and text.strip() != "" and len(text.encode()) <= max_bytes


def percent(done: int | None, total: int | None) -> float | None:
    if done is None or not total:
        return None
    return float((Decimal(done) * 100 / total).quantize(Decimal("0.01"), ROUND_HALF_UP))


class Told:
    """What the database chose by itself in this step: new ids, tokens, delays. Each is taken once, and they rise."""

    def __init__(self, rows: list[dict[str, Any]], dump: dict[str, Any]) -> None:
        self.rows, self.dump = rows, dump
        self._used = 0

    def take(self, column: str, known: Iterable[str] = ()) -> Any:
        """The next value of that column that is not known."""
        for n in range(self._used, len(self.rows)):
            if self.rows[n][column] is not None and self.rows[n][column] not in known:
                self._used = n + 1
                return self.rows[n][column]
        return f"no {column} was told"

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.dump["job_queue"].get(job_id, {})
        return found
