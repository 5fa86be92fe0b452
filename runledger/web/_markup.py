"""HTML that cannot forget to escape: `el` makes markup of text and of markup, and only markup passes unescaped."""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from runledger.types import Undecodable

VOID = {"meta", "link", "input", "br", "hr", "img"}
BODY_CHARACTERS = 200_000
"""Of a JSON body, more are not shown."""


class Markup(str):
    """Text that is HTML already. Made by this module alone."""

    __slots__ = ()


def visible(words: str, *, lines: bool = False) -> str:
    """The text with control characters, direction marks and the like shown as escapes, so that none takes effect."""
    if words.isprintable():
        return words
    return "".join(c if (lines and c == "\n") or not _steers(c) else _escape(c) for c in words)


def _steers(char: str) -> bool:
    return unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"


def _escape(char: str) -> str:
    code = ord(char)
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    return named or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}")


def text(value: object) -> Markup:
    """A value as escaped text; markup as it is; None as nothing."""
    if value is None:
        return Markup("")
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return Markup(html.escape(visible(value), quote=True))
    if isinstance(value, int | float):
        return Markup(html.escape(f"{value:,}"))
    if isinstance(value, Mapping):
        return text(json.dumps(value, ensure_ascii=False, default=str))
    if isinstance(value, Iterable):
        return Markup("".join(text(item) for item in value))
    return Markup(html.escape(visible(str(value)), quote=True))


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """An element. `cls` is its class, `_` in a name is `-`; None and False leave an attribute out, True names it."""
    given = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in VOID:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{text(children)}</{tag}>")


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    word = {"cls": "class", "for_": "for", "type_": "type"}.get(name, name.replace("_", "-"))
    if value is True:
        return f" {word}"
    words = str(value) if isinstance(value, float | int) else text(value)
    return f' {word}="{words}"'


def pre(words: str, **attributes: object) -> Markup:
    """Lines as they are."""
    given = "".join(_attribute(name, value) for name, value in attributes.items())
    return Markup(f"<pre{given}>{html.escape(visible(words, lines=True))}</pre>")


def body(value: Any) -> Markup:
    """A JSON value to read."""
    if isinstance(value, Undecodable):
        told = f"Not shown as JSON: {value.reason}\n{value.text}"
    else:
        told = json.dumps(value, indent=2, ensure_ascii=False)
    if len(told) > BODY_CHARACTERS:
        told = f"{told[:BODY_CHARACTERS]}\n… {len(told) - BODY_CHARACTERS:,} more characters"
    return pre(told, cls="json", tabindex="0")


def url(path: str, /, **query: object) -> str:
    """An address with a query, of what is given."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


# --- times, numbers, states -----------------------------------------------------------------------


def span(length: timedelta | float | None) -> str:
    """A length of time in two units at most: 3m 20s."""
    if length is None:
        return "—"
    seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    if seconds < 1:
        return f"{sign}{seconds * 1000:.0f}ms" if seconds else "0s"
    if seconds < 10:
        return f"{sign}{seconds:.1f}s"
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    whole = round(seconds)
    for place, (unit, size) in enumerate(units):
        if whole >= size:
            first, rest = divmod(whole, size)
            told = f"{sign}{first}{unit}"
            if place + 1 < len(units) and first < 100 and (rest := rest // units[place + 1][1]):
                told += f" {rest}{units[place + 1][0]}"
            return told
    return f"{sign}{whole}s"


def clock(instant: datetime) -> str:
    """An instant in full, UTC."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def when(instant: datetime | None, now: datetime) -> Markup:
    """How long ago, or in how long; the instant itself is told to who asks."""
    if instant is None:
        return el("span", "—", cls="dim")
    away = now - instant
    if abs(away) < timedelta(seconds=1):
        words = "now"
    else:
        words = f"{span(away)} ago" if away > timedelta(0) else f"in {span(-away)}"
    return el("time", words, datetime=instant.astimezone(UTC).isoformat(), title=clock(instant))


STATES = {
    "ready": "wait",
    "delayed": "idle",
    "retrying": "warn",
    "running": "run",
    "claimed": "run",
    "over time": "bad",
    "lost": "bad",
    "done": "ok",
    "dead": "bad",
    "canceled": "idle",
    "stopping": "warn",
    "paused": "warn",
    "disabled": "idle",
    "RUNNING": "run",
    "WAITING_FOR_EXTERNAL": "gate",
    "SUCCEEDED": "ok",
    "COMPLETED_WITH_ERRORS": "bad",
    "CANCELED": "idle",
    "BLOCKED": "idle",
    "ENQUEUED": "wait",
    "FAILED": "bad",
    "PENDING": "wait",
    "LEASED": "run",
    "DEAD_LETTERED": "bad",
    "OK": "ok",
    "WARN": "warn",
    "CRIT": "bad",
    "ERROR": "bad",
    "RETRY_SCHEDULED": "warn",
    "CONTINUED": "wait",
    "RELEASED": "idle",
    "idle": "ok",
    "busy": "run",
    "silent": "bad",
    "unknown": "warn",
    "active": "ok",
    "deferred": "warn",
    "overdue": "bad",
    "open": "gate",
}


def pill(state: str) -> Markup:
    """A state as a mark: its word, and a colour that repeats what the word says."""
    words = state.replace("_", " ").lower() if state.isupper() and len(state) > 4 else state
    return el("span", words, cls=f"pill {STATES.get(state, 'idle')}")


def short(identifier: object) -> str:
    """The start and the end of an id, which differ."""
    words = str(identifier)
    return f"{words[:8]}…{words[-6:]}"


def cut(words: str | None, length: int) -> Markup | None:
    """The text, with its end left to the tooltip if it is long."""
    if words is None or len(words) <= length:
        return None if words is None else text(words)
    return el("span", words[:length] + "…", title=words[:1000])
