"""What every page is made of: the frame around it, tables, fixes, forms that change something."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

from runledger.web._markup import Markup, el, pre, short, text, url
from runledger.web._source import Answer, Session, Unavailable

R = TypeVar("R")
W = TypeVar("W", bound=str)
NAV = (
    ("Overview", "/"),
    ("Jobs", "/jobs"),
    ("Running", "/running"),
    ("Types", "/types"),
    ("Workflows", "/workflows"),
    ("Gates", "/gates"),
    ("Schedules", "/schedules"),
    ("Dead letters", "/dead-letters"),
    ("Workers", "/workers"),
    ("Health", "/health"),
    ("Fsck", "/fsck"),
    ("Actions", "/actions"),
)
PAGE_ROWS = 50
PAGE_SIZES = (25, 50, 100, 250)


class BadRequest(Exception):
    """A request that makes no sense; the message is shown."""


class Missing(Exception):
    """There is no such thing; the message is shown."""


@dataclass(frozen=True, slots=True)
class View:
    """One request: whom it asks, what was asked for, and what the one who asks may do."""

    session: Session
    query: Mapping[str, str]
    form: Mapping[str, str]
    csrf: str
    can_change: bool
    offers_sign_in: bool
    signed_in: bool
    notice: str | None = None

    @property
    def now(self) -> datetime:
        """The clock of the server."""
        return self.session.now

    def word(self, name: str) -> str | None:
        """A text of the query."""
        return self.query.get(name) or None

    def one_of(self, name: str, allowed: Sequence[W]) -> W | None:
        """A text of the query that must be one of these."""
        given = self.word(name)
        for word in allowed:
            if word == given:
                return word
        if given is not None:
            raise BadRequest(f"{name} is one of {', '.join(allowed)}.")
        return None

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """A number of the query, within bounds."""
        given = self.word(name)
        if given is None:
            return default
        digits = given.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(given) < 20 and least <= int(given) <= most):
            raise BadRequest(f"{name} is a number from {least} to {most}.")
        return int(given)

    def identifier(self, name: str) -> UUID | None:
        """An id of the query."""
        given = self.word(name)
        return identifier(given) if given else None

    def instant(self, name: str) -> datetime | None:
        """An instant of the query."""
        given = self.word(name)
        if given is None:
            return None
        try:
            found = datetime.fromisoformat(given)
        except ValueError:
            raise BadRequest(f"{name} is an instant like 2030-01-31T12:00:00Z.") from None
        if found.tzinfo is None:
            raise BadRequest(f"{name} needs a time zone.")
        return found

    def rows(self) -> int:
        """Rows of a page, as asked for."""
        return self.number("n", PAGE_ROWS, least=1, most=PAGE_SIZES[-1])


def identifier(words: str) -> UUID:
    """An id as it stands in an address."""
    try:
        return UUID(words)
    except ValueError:
        raise Missing("That is no id: an id is a UUID.") from None


@dataclass(frozen=True, slots=True)
class Page:
    """A page without its frame. `refresh`: seconds until it is asked for again, 0 for never."""

    title: str
    content: Sequence[object]
    active: str = ""
    refresh: int = 5


# --- parts ----------------------------------------------------------------------------------------


def section(title: str, *children: object, id_: str, aside: object = None, level: str = "h2") -> Markup:
    """A part of a page with a heading."""
    head = el("header", el(level, title, id=f"{id_}-title"), aside, cls="section-head")
    return el("section", head, children, id=id_, aria_labelledby=f"{id_}-title")


def note(words: str | None, cls: str = "note") -> Markup:
    """A sentence beside the matter."""
    return el("p", words, cls=cls) if words else Markup("")


Cells = Mapping[str, object]


def table(rows: Iterable[Cells], *, id_: str, empty: str, numbers: str = "", caption: str = "") -> Markup:
    """Rows as a table whose columns are the keys of the first; on narrow screens each row is a card."""
    told = list(rows)
    if not told:
        return note(empty, "empty")
    # A column that says nothing on this page only takes room.
    names = [name for place, name in enumerate(told[0]) if place == 0 or any(not _is_blank(row[name]) for row in told)]
    right = set(numbers.split())

    def classes(name: str) -> str | None:
        return "num" if name in right else None

    head = el("tr", [el("th", name, scope="col", cls=classes(name)) for name in names])
    cells = [
        el("tr", [el("td", row[name], data_label=name, cls=_td(name, row[name], right)) for name in names])
        for row in told
    ]
    return el(
        "div",
        el("table", el("caption", caption, cls="sr") if caption else None, el("thead", head), el("tbody", cells)),
        cls="scroll",
        id=f"{id_}-table",
    )


def _is_blank(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, tuple | list) and all(_is_blank(v) for v in value))


ZERO = el("span", "0", cls="dim")
"""A number that draws no eyes; narrow screens leave it out."""


def _td(name: str, value: object, right: set[str]) -> str | None:
    words = ["num"] if name in right else []
    parts = value if isinstance(value, tuple) else (value,)
    if all(_is_blank(part) or part is ZERO for part in parts):
        words.append("blank")
    elif len(re.sub(r"<[^>]*>", "", text(value))) > 24:
        words.append("broad")
    return " ".join(words) or None


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Names and values."""
    given = [(name, value) for name, value in pairs if value not in (None, "")]
    return el(
        "dl", [el("div", el("dt", name), el("dd", value), cls=_breadth(value)) for name, value in given], cls="facts"
    )


def _breadth(value: object) -> str | None:
    return "broad" if len(re.sub(r"<[^>]*>", "", text(value))) > 34 else None


def fix(statement: str | None) -> Markup:
    """A statement to be run as it stands."""
    if not statement:
        return Markup("")
    return el("div", el("span", "fix", cls="fix-label"), pre(statement, tabindex="0"), cls="fix")


def refused(answer: Answer[Any]) -> Markup:
    """Why something is left out, if it is."""
    return note(answer.refusal, "note refused")


def shown(answer: Answer[R], draw: Callable[[R], object]) -> object:
    """What was read, or the word why it was not."""
    return refused(answer) if answer.value is None else draw(answer.value)


def job_link(job_id: UUID | None, words: str | None = None) -> Markup | None:
    """The page of a job."""
    if job_id is None:
        return None
    return el("a", words or short(job_id), href=f"/jobs/{job_id}", cls=None if words else "id", title=str(job_id))


def run_link(run_id: UUID | None, words: str | None = None) -> Markup | None:
    """The page of a run."""
    if run_id is None:
        return None
    return el("a", words or short(run_id), href=f"/workflows/{run_id}", cls=None if words else "id", title=str(run_id))


def type_link(job_type: str | None) -> Markup | None:
    """The page of a job type."""
    if job_type is None:
        return None
    return el("a", _wrapping(job_type), href=url("/type", name=job_type), cls="name")


def _wrapping(words: str) -> Markup:
    # Names of types are long and have no blanks: they may be broken after a dot.
    return Markup(text(words).replace(".", ".<wbr>").replace("_", "_<wbr>"))


def progress(done: int | None, total: int | None) -> Markup | None:
    """How far a job is."""
    if done is None:
        return None
    if not total:
        return el("span", f"{done:,} done", cls="dim")
    share = min(100.0, 100 * done / total)
    return el(
        "span",
        el("progress", value=done, max=total, aria_label=f"{share:.0f} percent done"),
        el("span", f"{share:.0f}%", cls="percent", title=f"{done:,} of {total:,}"),
        cls="progress",
    )


def paging(view: View, path: str, *, more: Mapping[str, object] | None, placed: str, count: int) -> Markup:
    """The way to the next page and back to the first. `placed`: the names of the place in the query."""
    kept = {k: v for k, v in view.query.items() if k not in placed.split()}
    is_first = not any(view.query.get(name) for name in placed.split())
    links = []
    if not is_first:
        links.append(el("a", "« First page", href=url(path, **kept)))
    if more:
        links.append(el("a", "Next page »", href=url(path, **{**kept, **more}), rel="next"))
    words = f"{count} row{'' if count == 1 else 's'}" + (" on this page" if links else "")
    return el("nav", el("span", words, cls="dim"), links, cls="paging", aria_label="Pages")


def select(name: str, label: str, options: Sequence[tuple[str, str]], *, chosen: str | None) -> Markup:
    """A choice of a filter form."""
    items = [el("option", words, value=value, selected=value == (chosen or "")) for value, words in options]
    return el("label", el("span", label), el("select", items, name=name))


def entry(name: str, label: str, value: str | None, **attributes: object) -> Markup:
    """A field of a form."""
    return el("label", el("span", label), el("input", name=name, value=value, maxlength=300, **attributes))


# --- forms that change something ------------------------------------------------------------------


def form(view: View, action: str, *children: object, **attributes: object) -> Markup:
    """A form that is posted, with the proof that it came from here."""
    token = el("input", type_="hidden", name="csrf", value=view.csrf)
    return el("form", token, children, method="post", action=action, **attributes)


def change(
    view: View,
    verb: str,
    label: str,
    *fields: object,
    needs_reason: bool = True,
    danger: bool = False,
    key: str = "",
    **hidden: object,
) -> Markup:
    """A button that opens a form: what it does, why, and the button that does it. Nothing for who may not."""
    if not view.can_change:
        return Markup("")
    kept = [el("input", type_="hidden", name=n, value=str(v)) for n, v in hidden.items() if v is not None]
    reason = entry(
        "reason",
        "Reason",
        None,
        required=needs_reason,
        autocomplete="off",
        placeholder=("goes to the record of actions" if needs_reason else "if there is one"),
    )
    button = el("button", label, type_="submit", cls="danger" if danger else "primary")
    inner = form(view, f"/do/{verb}", kept, fields, reason, button)
    return el("details", el("summary", f"{label}…"), inner, cls="change", id=f"do-{verb}-{quote(key, safe='')}")


def changes(view: View, *forms: Markup) -> Markup:
    """The forms of a page, or how to get them."""
    given = [f for f in forms if f]
    if given:
        return el("div", given, cls="changes")
    if view.offers_sign_in:
        return el("p", el("a", "Sign in", href="/sign-in"), " to change something.", cls="note")
    return Markup("")


# --- the frame ------------------------------------------------------------------------------------


def frame(page: Page, view: View | None, *, live: bool = True) -> str:
    """The whole document."""
    links = [el("a", words, href=path, aria_current="page" if words == page.active else None) for words, path in NAV]
    search = el(
        "form",
        el(
            "input",
            name="q",
            type_="search",
            placeholder="Job or run id, or part of a type",
            required=True,
            aria_label="Find a job or run by its id, or a type by a part of its name",
            maxlength=200,
        ),
        el("button", "Find", type_="submit"),
        action="/find",
        method="get",
        role="search",
        cls="search",
    )
    status = [el("span", id="live", role="status", cls="live")]
    if live and page.refresh:
        status.append(el("button", "Pause", type_="button", id="pause", hidden=True, cls="quiet"))
    where = None
    if view is not None:
        session = view.session
        mode = "changes allowed" if view.can_change else "read only"
        sign_out = (
            form(view, "/sign-out", el("button", "Sign out", type_="submit", cls="quiet")) if view.signed_in else None
        )
        sign_in = el("a", "Sign in", href="/sign-in") if view.offers_sign_in else None
        where = el(
            "div",
            el("span", session.database, cls="strong"),
            f" as {session.user} · ",
            el(
                "time",
                session.now.strftime("%H:%M:%S"),
                title="the clock of the server",
                datetime=session.now.isoformat(),
            ),
            f" {session.now.tzname() or ''} · {mode} ",
            sign_in,
            sign_out,
            cls="where",
            id="where",
        )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="same-origin"),
        el("title", f"{page.title} · Runledger"),
        el("link", rel="icon", href="/static/icon.svg", type_="image/svg+xml"),
        el("link", rel="stylesheet", href="/static/style.css"),
        el("script", src="/static/app.js", defer=True),
    )
    notice = el("p", view.notice, cls="flash", role="status", id="flash") if view and view.notice else None
    body = el(
        "body",
        el("a", "Skip to content", href="#main", cls="skip"),
        el(
            "header",
            el(
                "div",
                el("a", el("span", cls="logo", aria_hidden="true"), "Runledger", href="/", cls="brand"),
                search,
                el("div", status, cls="status"),
                cls="bar",
            ),
            el("nav", links, aria_label="Sections", cls="sections"),
            cls="top",
        ),
        el("main", notice, page.content, id="main", tabindex="-1"),
        el("footer", where or "", cls="foot"),
        data_refresh=page.refresh if live else 0,
    )
    return "<!doctype html>" + el("html", head, body, lang="en")


__all__ = [
    "BadRequest",
    "Cells",
    "Missing",
    "Page",
    "Unavailable",
    "View",
    "change",
    "changes",
    "entry",
    "facts",
    "fix",
    "form",
    "frame",
    "identifier",
    "job_link",
    "note",
    "paging",
    "progress",
    "refused",
    "run_link",
    "section",
    "select",
    "shown",
    "table",
    "type_link",
]
