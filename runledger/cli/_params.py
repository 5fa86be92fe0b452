"""What is typed on a command line, made into what the calls take."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

if TYPE_CHECKING:
    from runledger.registry import Registry

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(words: str) -> float | None:
    """Seconds of `90`, `90s`, `15m`, `2h`, `3d`, `1w`; None for anything else."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw]?)", words)
    return float(found[1]) * _UNITS[found[2] or "s"] if found else None


class Span(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    """A span of time."""

    name = "SPAN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """90, 90s, 15m, 2h, 3d or 1w."""
        if isinstance(value, timedelta):
            return value
        length = seconds(value)
        if length is None or length > timedelta.max.total_seconds():
            self.fail(f"{value!r} is no span of time: 90, 90s, 15m, 2h, 3d or 1w", param, ctx)
        return timedelta(seconds=length)


class Instant(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    """An instant, absolute with a time zone or relative to now."""

    name = "WHEN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """2030-01-31T12:00:00Z or another ISO 8601 text with its offset; -2h, +15m by this machine's clock."""
        if isinstance(value, datetime):
            return value
        length = seconds(value[1:])
        try:
            if value.startswith(("+", "-")) and length is not None:
                return datetime.now(UTC) + timedelta(seconds=length if value[0] == "+" else -length)
            instant = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            instant = None
        if instant is None or instant.utcoffset() is None:
            self.fail(f"{value!r} is no instant: 2030-01-31T12:00:00Z, with its offset; or -2h, +15m", param, ctx)
        return instant


class JsonText(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    """A JSON value."""

    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value itself, `@file`, or `-` for standard input."""
        if not isinstance(value, str):
            return value
        try:
            if value == "-":
                value = sys.stdin.read()
            elif value.startswith("@"):
                value = Path(value[1:]).read_text(encoding="utf-8")
            return json.loads(value)
        except (OSError, UnicodeDecodeError) as error:
            self.fail(f"it cannot be read: {error}", param, ctx)
        except (ValueError, RecursionError) as error:
            # Not the value: it may be a secret that stands on a screen now.
            self.fail(f"it is no JSON: {error}", param, ctx)


class Address(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    """Where to listen."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """127.0.0.1:9464, localhost:9464 or [::1]:9464."""
        if isinstance(value, tuple):
            return value
        host, colon, port = value.rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 65535:
            self.fail(f"{value!r} is no HOST:PORT, like 127.0.0.1:9464", param, ctx)
        return host.strip("[]"), int(port)


class Level(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    """What a log tells."""

    name = "LEVEL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """A level of Python's logging, in small letters or large ones."""
        level = str(value).upper()
        if level not in logging.getLevelNamesMapping():
            self.fail(f"{value!r} is no level: DEBUG, INFO, WARNING, ERROR or CRITICAL", param, ctx)
        return level


SPAN, WHEN, JSON, ADDRESS, LEVEL = Span(), Instant(), JsonText(), Address(), Level()


def ids(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> list[UUID]:
    """Ids as given; `-` reads them from standard input, one per line, or objects as `--json` prints them."""
    words: list[str] = []
    for word in given:
        words.extend(line.strip() for line in sys.stdin if line.strip()) if word == "-" else words.append(word)
    found: dict[UUID, None] = {}
    for word in words:
        try:
            bare = json.loads(word)["job_id"] if word.startswith("{") else word
            found[UUID(bare)] = None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise click.BadParameter(f"{word[:60]!r} is no id: give it in full", ctx, param) from None
    return list(found)


def registry(app: str) -> Registry:
    """The App written as module:name; the name is `app` if it is left out."""
    import importlib

    from runledger.registry import Registry

    module, _, name = app.partition(":")
    if "" in module.split("."):
        raise click.BadParameter(f"{app!r} names no module: write it as module:name", param_hint="APP")
    sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), name or "app", None)
    except ModuleNotFoundError as error:
        if error.name not in (module, module.partition(".")[0]):
            raise  # what the module itself imports
        raise click.BadParameter(f"there is no module {module!r} here", param_hint="APP") from error
    if not isinstance(found, Registry):
        raise click.BadParameter(f"{name or 'app'!r} in {module!r} is no App", param_hint="APP")
    return found
