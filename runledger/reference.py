"""`runledger docs`: the reference of the SQL side, read from the catalog of a database and the installed SQL files.

What a function is for says its COMMENT, what it locks, writes and raises the head of its file, who may call it the
matrix of rights. Nothing is written by hand here, so nothing here can be out of date.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from runledger import migrate as m
from runledger.client import Client

AREAS = {
    "jobs": "Job functions",
    "workflows": "Workflow functions",
    "schedules": "Schedule functions",
    "operations": "Operations",
    "access": "Roles",
    "core": "Errors and versions",
}
"""The directories of `functions/`, in the order of a manual."""

QUERIES = {
    "functions": """
        select p.proname as name, pg_catalog.obj_description(p.oid, 'pg_proc') as comment,
               p.provolatile <> 'v' as reads_only, p.proretset as many,
               pg_catalog.format_type(p.prorettype, null) as returns, x.kinds, x.place,
               (select coalesce(json_agg(json_build_object(
                         'name', p.proargnames[a.n], 'type', pg_catalog.format_type(a.type, null),
                         'default', pg_catalog.pg_get_function_arg_default(p.oid, a.n::integer)) order by a.n), '[]')
                  from unnest(p.proargtypes::oid[]) with ordinality as a(type, n)) as parameters
          from pg_catalog.pg_proc as p
          left join (select a.* from runledger._access_matrix()
                       with ordinality as a(object, name, kinds, place)) as x
            on x.object = 'function' and x.name = p.proname::text
         where p.pronamespace = 'runledger'::regnamespace and p.proname not like '\\_%'
         order by x.place, p.proname""",
    "types": """
        select t.typname as name, pg_catalog.obj_description(t.oid, 'pg_type') as comment,
               (select json_agg(json_build_object('name', a.attname,
                         'type', pg_catalog.format_type(a.atttypid, a.atttypmod)) order by a.attnum)
                  from pg_catalog.pg_attribute as a
                 where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) as columns
          from pg_catalog.pg_type as t join pg_catalog.pg_class as c on c.oid = t.typrelid
         where t.typnamespace = 'runledger'::regnamespace and c.relkind = 'c' and t.typname not like '\\_%'
         order by t.typname""",
    "views": """
        select c.relname as name, pg_catalog.obj_description(c.oid, 'pg_class') as comment, x.kinds,
               (select json_agg(json_build_object('name', a.attname,
                         'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
                         'comment', pg_catalog.col_description(c.oid, a.attnum)) order by a.attnum)
                  from pg_catalog.pg_attribute as a
                 where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
          from pg_catalog.pg_class as c
          left join runledger._access_matrix() as x(object, name, kinds)
            on x.object = 'view' and x.name = c.relname::text
         where c.relnamespace = 'runledger'::regnamespace and c.relkind = 'v' and c.relname not like '\\_%'
         order by c.relname""",
    "errors": "select e.code, e.sqlstate, e.message, e.hint from runledger.error_codes() as e",
    "limits": "select l.name, l.value, l.unit, l.meaning from runledger._limits() as l",
    "why": "select w.code, w.tells_of, w.meaning from runledger.why_codes as w",
    "health": "select b.code, b.warn, b.crit, b.unit, b.fine from runledger._health_bounds() as b",
}
_HEAD = re.compile(r"^-- (Locks|Writes|Raises): *((?:.*)(?:\n--   +.*)*)", re.MULTILINE)
_TYPES = {"timestamp with time zone": "timestamptz"}


@dataclass(frozen=True, slots=True)
class Column:
    """A parameter of a function, or a column; `default` None: it has to be given."""

    name: str
    type: str
    comment: str = ""
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A public function; `returns` names a result type of the schema or a plain type."""

    name: str
    area: str
    comment: str
    parameters: Sequence[Column]
    returns: str
    many: bool
    reads_only: bool
    kinds: Sequence[str]
    locks: str
    writes: str
    raises: str
    python: str


@dataclass(frozen=True, slots=True)
class Rows:
    """A view, or a result type: a shape of rows."""

    name: str
    comment: str
    columns: Sequence[Column]
    kinds: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """All of it."""

    functions: Sequence[Function]
    results: Sequence[Rows]
    views: Sequence[Rows]
    errors: Sequence[Mapping[str, Any]]
    limits: Sequence[Mapping[str, Any]]
    why: Sequence[Mapping[str, Any]]
    health: Sequence[Mapping[str, Any]]


def read(connection: psycopg.Connection[Any]) -> Reference:
    """Read it as the owner of the schema, whom the matrix of rights is for."""
    heads = _heads()
    found: dict[str, list[dict[str, Any]]] = {}
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        # Types and defaults are printed with the schemas that this does not have.
        cursor.execute("set local search_path = pg_catalog, pg_temp")
        for name, query in QUERIES.items():
            found[name] = cursor.execute(query.encode()).fetchall()
    return Reference(
        functions=[_function(row, heads) for row in found["functions"]],
        results=[Rows(row["name"], row["comment"], _columns(row["columns"])) for row in found["types"]],
        views=[Rows(r["name"], r["comment"], _columns(r["columns"]), _kinds(r["kinds"])) for r in found["views"]],
        **{name: found[name] for name in ("errors", "limits", "why", "health")},
    )


def as_json(reference: Reference) -> str:
    """The reference as one JSON object; its names are those of the dataclasses here."""
    return json.dumps(dataclasses.asdict(reference), indent=1, default=float, ensure_ascii=False) + "\n"


def _heads() -> dict[str, tuple[str, dict[str, str]]]:
    """Area and head of each file of `functions/`, by its name."""
    root = m.sql_root() / "functions"
    heads = {}
    for path in sorted(root.glob("*/[a-z]*.sql")):
        head = path.read_text(encoding="utf-8").partition("create or replace")[0]
        lines = {key.lower(): re.sub(r"\s*\n--\s+", " ", text).strip() for key, text in _HEAD.findall(head)}
        heads[path.stem] = path.parent.name, lines
    return heads


def _function(row: Mapping[str, Any], heads: Mapping[str, tuple[str, dict[str, str]]]) -> Function:
    area, head = heads.get(row["name"], ("core", {}))
    return Function(
        name=row["name"],
        area=area,
        comment=row["comment"] or "",
        parameters=_columns(row["parameters"]),
        returns=_type(row["returns"]),
        many=row["many"],
        reads_only=row["reads_only"],
        kinds=_kinds(row["kinds"]),
        locks=head.get("locks", ""),
        writes=head.get("writes", ""),
        raises=head.get("raises", ""),
        python=_method(row["name"]),
    )


def _kinds(kinds: Any) -> tuple[str, ...]:
    """The kinds of role of a line of the matrix; a driver that does not know the type sees its text."""
    return tuple(k for k in (kinds.strip("{}").split(",") if isinstance(kinds, str) else kinds or ()) if k)


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[Column]:
    return [
        Column(row["name"], _type(row["type"]), row.get("comment") or "", _default(row.get("default"))) for row in rows
    ]


def _type(name: str) -> str:
    return _TYPES.get(name, name).removeprefix("runledger.")


def _default(expression: str | None) -> str | None:
    """An expression without the casts that the server writes beside its literals."""
    if expression is None:
        return None
    bare = re.sub(r"^(NULL|'(?:[^']|'')*')::[\w ]+(?:\[\])?$", r"\1", expression)
    return "null" if bare == "NULL" else bare


def _method(name: str) -> str:
    method = getattr(Client, name, None)
    if method is None:
        return ""
    returns = inspect.signature(method).return_annotation
    return f"Client.{name}() -> {returns if isinstance(returns, str) else inspect.formatannotation(returns)}"


# --- markdown -------------------------------------------------------------------------------------

_OPENING = """\
# Reference

<!-- GENERATED by `make docs` from the catalog and the SQL files: read it, never edit it. -->

Every function, view, result type, error, limit and code of the schema `runledger`. [README.md](README.md) is the map,
[OPERATIONS.md](OPERATIONS.md) the guide for operators.

Parameters are given by name (`priority => 5`); one with a default may be left out. *Reads only*: it changes nothing
and runs on a standby. *For*: the kinds of role that `grant_access` lets call it; the owner of the schema may call
everything. `AsyncClient` has the methods of `Client`; they take the same names, an interval as seconds or `timedelta`.

"""
_PREAMBLES = {
    "errors": "Raised with the SQLSTATE; `DETAIL` is JSON with the code, `HINT` says what to do. "
    "`select * from runledger.error_codes()`.",
    "limits": "Beyond a limit a call is refused with a code. `select * from runledger.limits`.",
    "why": "What `why` and `why_workflow` tell, of a job, a step or a run. `select * from runledger.why_codes`.",
    "health": "The checks of `health()`: from where on they are WARN and CRIT, and what they say when all is well.",
}


def markdown(reference: Reference) -> str:
    """The reference as one page."""
    lines = "\n".join(_lines(reference)).splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _lines(reference: Reference) -> Iterator[str]:
    results = {rows.name: rows for rows in reference.results}
    areas = {
        title: [f for f in reference.functions if f.area == area]
        for area, title in AREAS.items()
        if any(f.area == area for f in reference.functions)
    }
    yield _OPENING
    yield "## Contents"
    yield ""
    for title, functions in areas.items():
        yield _contents(title, functions)
    yield _contents("Views", reference.views, mark=" (view)")
    yield _contents("Result types", reference.results)
    yield "- " + " · ".join(f"[{t}](#{_anchor(t)})" for t in ("Error codes", "Limits", "Why codes", "Health checks"))
    for title, functions in areas.items():
        yield f"\n## {title}"
        for function in functions:
            yield from _function_lines(function, results)
    yield "\n## Views"
    for view in reference.views:
        yield from _rows_lines(view, mark=" (view)")
        yield f"\nFor: {_for(view.kinds)}."
    yield "\n## Result types"
    for rows in reference.results:
        yield from _rows_lines(rows)
        users = [f"[{f.name}](#{f.name})" for f in reference.functions if f.returns == rows.name]
        yield "\nReturned by " + ", ".join(users) + "." if users else ""
    yield from _codes(reference)


def _codes(reference: Reference) -> Iterator[str]:
    yield f"\n## Error codes\n\n{_PREAMBLES['errors']}\n"
    yield from _table("SQLSTATE code message hint", reference.errors, "sqlstate code message hint", code="code")
    yield f"\n## Limits\n\n{_PREAMBLES['limits']}\n"
    yield from _table("limit value unit of", reference.limits, "name value unit meaning", code="name")
    yield f"\n## Why codes\n\n{_PREAMBLES['why']}\n"
    yield from _table("code of meaning", reference.why, "code tells_of meaning", code="code")
    yield f"\n## Health checks\n\n{_PREAMBLES['health']}\n"
    yield from _table("check WARN CRIT unit well", reference.health, "code warn crit unit fine", code="code")


def _contents(title: str, entries: Sequence[Function] | Sequence[Rows], mark: str = "") -> str:
    links = " · ".join(f"[{entry.name}](#{_anchor(entry.name + mark)})" for entry in entries)
    return f"- **[{title}](#{_anchor(title)})**: {links}"


def _anchor(title: str) -> str:
    """What sites that show Markdown make of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _for(kinds: Sequence[str]) -> str:
    return ", ".join(kinds) if kinds else "the owner of the schema alone"


def _function_lines(function: Function, results: Mapping[str, Rows]) -> Iterator[str]:
    yield f"\n### {function.name}\n"
    yield function.comment
    yield f"\n```\n{_signature(function)}\n```\n"
    if function.returns in results:
        words = "Rows of" if function.many else "Returns"
        yield f"- {words} [{function.returns}](#{function.returns}). {results[function.returns].comment}"
    yield f"- For: {_for(function.kinds)}.{' Reads only.' if function.reads_only else ''}"
    for name in ("locks", "writes", "raises"):
        if (text := getattr(function, name)) and text not in ("none.", "nothing."):
            yield f"- {name.capitalize()}: {text}"
    if function.python:
        yield f"- Python: `{function.python}`"


def _signature(function: Function) -> str:
    told = [f"{p.name} {p.type}" + (f" => {p.default}" if p.default is not None else "") for p in function.parameters]
    returns = f"returns {'setof ' * function.many}{function.returns}"
    line = f"{function.name}({', '.join(told)}) {returns}"
    return line if len(line) <= 100 else _folded(f"{function.name}(", told, f") {returns}", indent="    ")


def _folded(opening: str, items: Sequence[str], closing: str, *, indent: str = "") -> str:
    """Items on lines of at most 100 columns, none of them torn."""
    whole = opening + ", ".join(item.replace(" ", "\0") for item in items) + closing.replace(" ", "\0")
    filled = textwrap.fill(whole, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return filled.replace("\0", " ")


def _rows_lines(rows: Rows, mark: str = "") -> Iterator[str]:
    yield f"\n### {rows.name}{mark}\n"
    yield rows.comment
    yield ""
    if any(c.comment for c in rows.columns):
        yield from _table(
            "column type meaning", map(dataclasses.asdict, rows.columns), "name type comment", code="name"
        )
        return
    yield "```\n" + _folded("", [f"{c.name} {c.type}" for c in rows.columns], "") + "\n```"


def _table(titles: str, rows: Iterable[Mapping[str, Any]], names: str, *, code: str) -> Iterator[str]:
    columns = names.split()
    yield "| " + " | ".join(titles.split()) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        cells = ("" if row[name] is None else str(row[name]).replace("|", "\\|") for name in columns)
        yield "| " + " | ".join(f"`{c}`" if n == code else c for n, c in zip(columns, cells, strict=True)) + " |"
