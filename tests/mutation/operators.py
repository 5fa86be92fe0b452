"""The mutants: every small fault that could have been typed into a function file, one at a time.

Works on tokens, not on text, so that comments and string literals stay out of it; what does not parse afterwards is
thrown away by the server and not counted.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pglast import split
from pglast.parser import scan

from tests.support.plpgsql import SQL, function_files, relative

# Of these kinds not one may survive, unless it is listed with a reason in equivalent.txt.
STRICT = ("fence", "lock", "grant", "path")
FENCE = re.compile(r"lease_token|lease_expires_at|lease_role|role_name = v_caller|_acts_as|is_live|'LEASED'")
LOCKS = re.compile(r"advisory|_lock_|\bfor (no key )?update\b|\bfor (key )?share\b|lock_timeout")
# They look and report: a wrong fence there is a wrong report, counted with the rest.
READERS = re.compile(
    r"^(_fsck|_why|_health|_job_case|_handlers|why|health|list_|get_|leased_jobs|job_metrics|_fleet|_queue)"
)
SWAPPED = {"=": "<>", "<>": "=", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "+": "-", "-": "+"}
# What ends an operand of `and` at its own depth.
BOUNDARY = {
    "and", "or", "then", "loop", "group", "order", "limit", "for", "returning", "union", "having", "window", "left", "right",
    "inner", "full", "cross", "join", "when", "else", "elsif", "elseif", "end", "where", "select", "from", "do", "as", "set",
    "into", "using", "except", "with", ";", ",", ":=", "=>",
}  # fmt: skip
OPENERS = {"where", "on", "if", "elsif", "when", "while", "having"}
VERBS = {"perform", "insert", "update", "delete", "with", "return", "exit", "continue", "execute", "select", "raise"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """`text` is the whole file with the fault: run in a database, it puts the fault there."""

    path: Path
    kind: str
    operator: str
    before: str
    text: str
    lines: tuple[str, str] = ("", "")  # those that differ, before and after
    nth: int = 0
    reinstall: bool = False  # the file has no effect alone: install all anew with it

    @property
    def function(self) -> str:
        return self.path.stem

    @property
    def file(self) -> str:
        return relative(self.path)

    @property
    def id(self) -> str:
        """Stays the same as long as the changed lines do."""
        digest = hashlib.sha256(f"{self.nth} {self.lines}".encode()).hexdigest()
        return f"{self.file.removeprefix('functions/')}:{self.operator}:{digest[:8]}"

    @property
    def diff(self) -> str:
        lines = difflib.unified_diff(self.before.splitlines(), self.text.splitlines(), lineterm="", n=2)
        return "\n".join(list(lines)[2:])


@dataclass(frozen=True, slots=True)
class Token:
    start: int
    end: int
    text: str
    depth: int
    cased: int  # how many `case … end` are open around it

    @property
    def word(self) -> str:
        return self.text.lower()


class Body:
    """A function body as tokens; `offset` is where it begins in the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.read_text()
        found = re.search(r"^as \$\$\n(.*?)^\$\$", self.file, re.MULTILINE | re.DOTALL)
        assert found, path
        self.text, self.offset = found[1], found.start(1)
        self.lines = ("", "")  # those of the change made last
        self.plpgsql = "language plpgsql" in self.file[: found.start()]
        self.tokens = self._scan()

    def _scan(self) -> list[Token]:
        tokens: list[Token] = []
        depth = cased = 0
        stack: list[int] = []  # `case` within brackets closes within them
        for t in scan(self.text):
            if t.name in ("SQL_COMMENT", "C_COMMENT"):
                continue
            text = self.text[t.start : t.end + 1]
            if text in ")]":
                depth -= 1
                cased = stack.pop() if stack else 0
            after_end = bool(tokens) and tokens[-1].word == "end"
            if text.lower() == "end" and cased:
                cased -= 1
            tokens.append(Token(t.start, t.end + 1, text, depth, cased))
            if text.lower() == "case" and not after_end:
                cased += 1
            if text in "([":
                depth += 1
                stack.append(cased)
                cased = 0
        return tokens

    def level(self, i: int) -> tuple[int, int]:
        return self.tokens[i].depth, self.tokens[i].cased

    def until(self, i: int, words: set[str]) -> int:
        """Index of the first token from `i` on, at its level, that is one of the words or closes the level."""
        depth, cased = self.level(i)
        between = 0
        for j in range(i, len(self.tokens)):
            t = self.tokens[j]
            if t.depth < depth or (t.depth == depth and t.cased < cased):
                return j
            if t.depth == depth and t.cased == cased:
                if t.word == "between":
                    between += 1
                elif t.word == "and" and between:
                    between -= 1
                elif t.word in words:
                    return j
        return len(self.tokens)

    def span(self, first: int, last: int) -> tuple[int, int]:
        """From the start of token `first` to the end of the token before `last`."""
        return self.tokens[first].start, self.tokens[last - 1].end

    def said(self, first: int, last: int) -> str:
        start, end = self.span(first, last)
        return self.text[start:end]

    def replaced(self, start: int, end: int, by: str) -> str:
        start, end = self.offset + start, self.offset + end
        first = self.file.rfind("\n", 0, start) + 1
        last = self.file.find("\n", end)
        self.lines = self.file[first:last], self.file[first:start] + by + self.file[end:last]
        return self.file[:start] + by + self.file[end:]


Change = tuple[str, str, str]  # kind, operator, text of the file


@functools.cache
def enums() -> tuple[tuple[str, ...], ...]:
    text = "".join(p.read_text() for p in sorted((SQL / "migrations").glob("*.sql")))
    return tuple(
        tuple(re.findall(r"'(\w+)'", labels)) for labels in re.findall(r"as enum\s*\((.*?)\);", text, re.DOTALL)
    )


def mutants(path: Path, kinds: Collection[str] = ()) -> list[Mutant]:
    """Every mutant of a function file (of those kinds), without duplicates."""
    body = Body(path)
    found: dict[str, Mutant] = {}
    same: Counter[tuple[str, tuple[str, str]]] = Counter()
    for kind, operator, text in _changes(body):
        lines = body.lines
        if (kinds and kind not in kinds) or lines[0].split() == lines[1].split() or text in found:
            continue
        found[text] = Mutant(path, kind, operator, body.file, text, lines, same[operator, lines])
        same[operator, lines] += 1
    return list(found.values())


def placebo(path: Path) -> Mutant:
    """A change that changes nothing: a test that fails with it would fail with every mutant of the file."""
    body = Body(path)
    return Mutant(path, "placebo", "comment", body.file, body.replaced(0, 0, "-- nothing\n"))


def _changes(body: Body) -> Iterator[Change]:
    reader = READERS.match(body.path.stem)
    for kind, operator, text, about in _all(body):
        if kind in ("conjunct", "compare", "logic", "enum", "null", "condition") and not reader and FENCE.search(about):
            yield "fence", operator, text
        else:
            yield kind, operator, text
    yield from _header(body)


def _all(body: Body) -> Iterator[tuple[str, str, str, str]]:
    for operators in (_conjuncts, _conditions, _tokens, _clauses, _coalesce, _members):
        yield from operators(body)
    if body.plpgsql:
        yield from _statements(body)


def _operand(body: Body, i: int) -> str:
    """The operand of `and`/`or` around token `i`, roughly: what the fault is about."""
    depth, cased = body.level(i)
    first = i
    while first > 0:
        t = body.tokens[first - 1]
        if t.depth < depth or (t.depth == depth and t.cased == cased and t.word in BOUNDARY | OPENERS):
            break
        first -= 1
    return body.said(first, max(i + 1, body.until(i, BOUNDARY)))


def _conjuncts(body: Body) -> Iterator[tuple[str, str, str, str]]:
    for i, t in enumerate(body.tokens):
        if t.word in ("and", "or") and not _of_between(body, i):
            end = body.until(i + 1, BOUNDARY) if i + 1 < len(body.tokens) else i + 1
            if end > i + 1:
                said = body.said(i + 1, end)
                start, stop = body.span(i, end)
                yield "conjunct", f"drop-{t.word}", body.replaced(start, stop, ""), said
                other = "or" if t.word == "and" else "and"
                yield "logic", f"{t.word}-to-{other}", body.replaced(t.start, t.end, other), said
        elif t.word in OPENERS or (t.text == "(" and i + 1 < len(body.tokens)):
            if i + 1 >= len(body.tokens) or body.tokens[i + 1].word in ("select", "with", "conflict"):
                continue
            end = body.until(i + 1, BOUNDARY)
            if (
                end < len(body.tokens)
                and body.tokens[end].word in ("and", "or")
                and body.level(end) == body.level(i + 1)
            ):
                start, stop = body.span(i + 1, end + 1)
                yield (
                    "conjunct",
                    f"drop-before-{body.tokens[end].word}",
                    body.replaced(start, stop, ""),
                    body.said(i + 1, end),
                )


def _of_between(body: Body, i: int) -> bool:
    depth, cased = body.level(i)
    for j in range(i - 1, -1, -1):
        t = body.tokens[j]
        if t.depth < depth:
            return False
        if t.depth == depth and t.cased == cased:
            if t.word == "between":
                return True
            if t.word in BOUNDARY:
                return False
    return False


def _conditions(body: Body) -> Iterator[tuple[str, str, str, str]]:
    ends = {
        "where": BOUNDARY - {"and", "or"}, "if": {"then"}, "elsif": {"then"}, "when": {"then", "and"}, "while": {"loop"},
        "having": BOUNDARY - {"and", "or"},
    }  # fmt: skip
    for i, t in enumerate(body.tokens):
        if t.word not in ends or i + 1 >= len(body.tokens):
            continue
        if t.word == "if" and body.tokens[i - 1].word == "end":
            continue
        end = body.until(i + 1, ends[t.word])
        if end <= i + 1 or (t.word == "when" and (end >= len(body.tokens) or body.tokens[end].word != "then")):
            continue
        start, stop = body.span(i + 1, end)
        said = body.text[start:stop]
        yield "condition", f"{t.word}-true", body.replaced(start, stop, "true"), said
        if t.word != "where":
            yield "condition", f"{t.word}-false", body.replaced(start, stop, "false"), said


def _tokens(body: Body) -> Iterator[tuple[str, str, str, str]]:
    for i, t in enumerate(body.tokens):
        nearby = _operand(body, i) if t.word in SWAPPED or t.text.startswith("'") or t.word in ("is", "not") else ""
        if t.text in SWAPPED:
            yield "compare", f"{t.text}-to-{SWAPPED[t.text]}", body.replaced(t.start, t.end, SWAPPED[t.text]), nearby
        elif re.fullmatch(r"\d+", t.text) and "_raise" not in body.text[max(0, t.start - 20) : t.start]:
            yield "literal", "plus-one", body.replaced(t.start, t.end, str(int(t.text) + 1)), ""
            if int(t.text) > 0:
                yield "literal", "minus-one", body.replaced(t.start, t.end, str(int(t.text) - 1)), ""
        elif t.word in ("true", "false"):
            yield "literal", f"not-{t.word}", body.replaced(t.start, t.end, "false" if t.word == "true" else "true"), ""
        elif t.text.startswith("'") and (label := t.text.strip("'")).isupper():
            for labels in enums():
                if label in labels:
                    other = labels[(labels.index(label) + 1) % len(labels)]
                    yield "enum", "next-label", body.replaced(t.start, t.end, f"'{other}'"), nearby
                    break
        elif (
            t.word == "not"
            and i + 1 < len(body.tokens)
            and body.tokens[i + 1].word not in ("null", "materialized", "distinct")
        ):
            if body.tokens[i - 1].word == "is":
                continue
            yield "logic", "drop-not", body.replaced(t.start, t.end, ""), nearby
        elif t.word == "is" and i + 2 < len(body.tokens):
            if body.tokens[i + 1].word == "null":
                yield "null", "is-not-null", body.replaced(t.start, body.tokens[i + 1].end, "is not null"), nearby
            elif body.tokens[i + 1].word == "not":
                yield "null", "drop-is-not", body.replaced(body.tokens[i + 1].start, body.tokens[i + 1].end, ""), nearby
            elif body.tokens[i + 1].word == "distinct":
                yield "null", "is-not-distinct", body.replaced(t.start, t.end, "is not"), nearby
        elif t.text == "_now" and body.text[t.end : t.end + 2] == "()":
            start = body.tokens[i - 2].start if body.tokens[i - 1].text == "." else t.start
            yield "clock", "transaction-time", body.replaced(start, t.end, "now"), ""
        elif t.word in ("asc", "desc"):
            yield "order", f"not-{t.word}", body.replaced(t.start, t.end, "asc" if t.word == "desc" else "desc"), ""
        elif t.word == "materialized" and body.tokens[i - 1].word == "as":
            yield "materialized", "drop", body.replaced(t.start, t.end, ""), ""
        elif t.word == "distinct" and body.tokens[i - 1].word == "select" and body.tokens[i + 1].word != "on":
            yield "distinct", "drop", body.replaced(t.start, t.end, ""), ""
        elif t.word in ("least", "greatest"):
            yield (
                "extremum",
                f"not-{t.word}",
                body.replaced(t.start, t.end, "greatest" if t.word == "least" else "least"),
                "",
            )


def _clauses(body: Body) -> Iterator[tuple[str, str, str, str]]:
    ends = {"limit", "for", ";", "union", "loop", "returning", "offset", "order", "then", "except"}
    words = [t.word for t in body.tokens]
    for i, word in enumerate(words):
        if word == "for" and words[i + 1 : i + 2] and words[i + 1] in ("update", "no", "share", "key"):
            end = i + 1
            while end < len(words) and words[end] in ("update", "no", "key", "share"):
                end += 1
            if words[end : end + 1] == ["of"]:
                end += 2
            if words[end : end + 2] == ["skip", "locked"]:
                start, stop = body.span(end, end + 2)
                yield "lock", "drop-skip-locked", body.replaced(start, stop, ""), ""
                end += 2
            elif words[end : end + 1] == ["nowait"]:
                end += 1
            start, stop = body.span(i, end)
            yield "lock", "drop-for-update", body.replaced(start, stop, ""), ""
        elif word == "order" and words[i + 1] == "by":
            end = body.until(i + 2, ends)
            start, stop = body.span(i, end)
            after = body.until(i, {"for", ";"})
            locks = after < len(words) and words[after] == "for" and body.level(after) == body.level(i)
            yield "lock" if locks else "order", "drop-order-by", body.replaced(start, stop, ""), ""
        elif word == "limit":
            end = body.until(i + 1, ends)
            if end > i + 1:
                start, stop = body.span(i, end)
                yield "bound", "drop-limit", body.replaced(start, stop, ""), ""


def _coalesce(body: Body) -> Iterator[tuple[str, str, str, str]]:
    for i, t in enumerate(body.tokens):
        if t.word == "coalesce" and body.tokens[i + 1].text == "(":
            comma = body.until(i + 2, {","})
            close = comma
            while close < len(body.tokens) and not (
                body.tokens[close].text == ")" and body.tokens[close].depth == t.depth
            ):
                close += 1
            if body.tokens[comma].text == ",":
                first = body.said(i + 2, comma)
                yield "coalesce", "first", body.replaced(t.start, body.tokens[close].end, f"({first})"), ""


def _members(body: Body) -> Iterator[tuple[str, str, str, str]]:
    """Common table expressions that write: they are told to write nothing."""
    for i, t in enumerate(body.tokens):
        if t.word == "insert" and i > 1 and body.tokens[i - 1].text == "(":
            close = body.until(i, {"on", "returning"})
            if "select" in {u.word for u in body.tokens[i:close] if u.depth == t.depth}:
                at = body.tokens[close - 1].end
                said = body.said(i, close)
                yield (
                    "event" if "job_events" in said else "insert",
                    "write-nothing",
                    body.replaced(at, at, " limit 0"),
                    "",
                )
        elif t.word in ("update", "delete") and i > 1 and body.tokens[i - 1].text == "(":
            where = body.until(i, {"where"})
            if where < len(body.tokens) and body.tokens[where].word == "where":
                at = body.tokens[where].end
                yield "insert", "write-nothing", body.replaced(at, at, " false and"), ""


def _statements(body: Body) -> Iterator[tuple[str, str, str, str]]:
    begun = False
    for i, t in enumerate(body.tokens):
        if t.word == "begin":
            begun = True
        if not begun or t.depth or t.cased or not i:
            continue
        before = body.tokens[i - 1]
        if before.word not in (";", "begin", "then", "else", "loop"):
            continue
        assigns = i + 1 < len(body.tokens) and body.tokens[i + 1].text in (":=", "=")
        if t.word not in VERBS and not assigns:
            continue
        end = body.until(i, {";"})
        if end >= len(body.tokens) or body.tokens[end].text != ";":
            continue
        start, stop = body.span(i, end)
        said = body.text[start:stop]
        yield _kind_of(said), "delete-statement", body.replaced(start, stop, "null"), ""


def _kind_of(statement: str) -> str:
    if re.search(r"_raise\(", statement):
        return "raise"
    if LOCKS.search(statement):
        return "lock"
    if re.match(r"insert into runledger\.job_events", statement):
        return "event"
    if re.search(r"_require_lease|_check_leases", statement):
        return "fence"
    return "guard" if re.search(r"\._?(require|check)_", statement) else "statement"


def _header(body: Body) -> Iterator[Change]:
    head = body.file[: body.offset]
    if "security definer" not in head:
        return
    rest = body.file[body.offset :]
    for operator, old, new in (
        ("drop-pg-temp", "search_path = pg_catalog, pg_temp", "search_path = pg_catalog"),
        ("temp-first", "search_path = pg_catalog, pg_temp", "search_path = pg_temp, pg_catalog"),
        ("schema-in-path", "search_path = pg_catalog, pg_temp", "search_path = pg_catalog, public, pg_temp"),
        ("not-pinned", "set search_path = pg_catalog, pg_temp", ""),
        ("invoker", "security definer", "security invoker"),
    ):
        if old in head:
            body.lines = old, new
            yield "path", operator, head.replace(old, new, 1) + rest


GRANTS = SQL / "grants.sql"


def grant_mutants() -> list[Mutant]:
    """Each object given to PUBLIC, each statement of grants.sql left out, each right of the matrix widened."""
    given = [
        *(f"grant execute on function runledger.{path.stem} to public" for path in function_files()),
        *(f"grant select on runledger.{name} to public" for name in _created("table")),
        *(f"grant select on runledger.{path.stem} to public" for path in sorted((SQL / "views").glob("*.sql"))),
        *(f"grant usage on sequence runledger.{name} to public" for name in _created("sequence")),
        *(f"grant usage on type runledger.{name} to public" for name in _created("type")),
        "grant usage on schema runledger to public",
        "grant create on schema runledger to public",
        "grant update on runledger.operator_actions to current_user",
        "grant delete on runledger.operator_actions to current_user",
        "grant truncate on runledger.operator_actions to current_user",
    ]
    found = [Mutant(GRANTS, "grant", "to-public", "", f"{statement};\n", ("", statement)) for statement in given]
    text = GRANTS.read_text()
    for statement in split(text, only_slices=True):
        without = text[: statement.start] + "select 1" + text[statement.stop :]
        found.append(Mutant(GRANTS, "grant", "drop-statement", text, without, (text[statement], ""), reinstall=True))
    (matrix,) = (path for path in function_files() if path.stem == "_access_matrix")
    text = matrix.read_text()
    for row in re.finditer(r"\('(?:function|view)', '\w+', '\{(.*?)\}'", text):
        kinds = [kind for kind in row[1].split(",") if kind]
        for kind in ("producer", "worker", "operator", "observer"):
            other = ",".join(k for k in kinds if k != kind) if kind in kinds else ",".join([*kinds, kind])
            changed = text[: row.start(1)] + other + text[row.end(1) :]
            found.append(
                Mutant(matrix, "grant", f"{'drop' if kind in kinds else 'add'}-{kind}", text, changed, (row[0], other))
            )
    return found


def _created(what: str) -> list[str]:
    text = "".join(p.read_text() for p in sorted((SQL / "migrations").glob("*.sql")))
    return re.findall(rf"^create {what} runledger\.(\w+)", text, re.MULTILINE)
