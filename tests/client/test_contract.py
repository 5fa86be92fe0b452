"""The contract: SQL signatures, composite types and error codes on one side, the client on the other.

The SQL side is read twice, from the catalog of a migrated database and by a parser from the files.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pglast
import psycopg
import pytest
from pglast.stream import RawStream

from runledger import AsyncClient, Client, _calls
from runledger import types as result_types
from runledger.errors import RunledgerError
from runledger.migrate import sql_root
from tests.client.test_parity import CALLS
from tests.support.database import Db

# SQL type of a parameter -> how _calls sends it. timeout_seconds and its like are integers in SQL.
SENT_AS = {
    "text": {_calls.text},
    "text[]": {_calls.texts},
    "integer": {_calls.int4, _calls.whole_seconds},
    "bigint": {_calls.int8},
    "bigint[]": {_calls.int8s},
    "boolean": {_calls.boolean},
    "uuid": {_calls.uuid},
    "uuid[]": {_calls.uuids},
    "timestamp with time zone": {_calls.timestamptz},
    "interval": {_calls.interval},
    "jsonb": {_calls.encode, _calls.batch, _calls.steps},
}
# SQL type of a column -> Python type of a field.
READ_AS = {
    "text": str,
    "text[]": list[str],
    "integer": int,
    "bigint": int,
    "numeric": Decimal,
    "boolean": bool,
    "uuid": UUID,
    "timestamp with time zone": datetime,
    "interval": timedelta,
    "jsonb": Any,
}
# Required in SQL only: a `Workflow` in place of the type brings its steps along. None is sent as an empty list.
BROUGHT_ALONG = {"enqueue_workflow": {"steps"}}

FUNCTIONS = """
    select p.proname as name, p.proargnames[1:p.pronargs] as arguments,
           array(select format_type(t, null) from unnest(p.proargtypes) with ordinality as a(t, n) order by n) as types,
           p.pronargdefaults as defaults, p.proretset as returns_rows,
           case when r.typnamespace = p.pronamespace then r.typname end as row_type,
           format_type(p.prorettype, null) as returns
      from pg_proc as p join pg_type as r on r.oid = p.prorettype
     where p.pronamespace = 'runledger'::regnamespace and p.proname !~ '^_'
     order by 1"""
COLUMNS = """
    select t.typname as name, array_agg(a.attname::text order by a.attnum) as columns,
           array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum) as types
      from pg_type as t join pg_class as c on c.oid = t.typrelid and c.relkind = 'c'
      join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where t.typnamespace = 'runledger'::regnamespace and t.typname !~ '^_'
     group by 1"""


@dataclasses.dataclass(frozen=True)
class Signature:
    arguments: list[str]
    types: list[str]
    defaults: int


@pytest.fixture
def functions(db: Db) -> dict[str, dict[str, Any]]:
    rows = db.all(FUNCTIONS)
    found = {row["name"]: row for row in rows}
    assert len(found) == len(rows), "an overload"
    return found


@pytest.fixture
def composites(db: Db) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in db.all(COLUMNS)}


def row_types() -> dict[str, type]:
    """Result types by the name of their composite type."""
    return {
        re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): value
        for name, value in vars(result_types).items()
        if dataclasses.is_dataclass(value) and name != "Undecodable"
    }


def value_of(parameter: inspect.Parameter) -> Any:
    """Some value that the parameter takes, so that a call can be made."""
    return {
        _calls.text: "x", _calls.texts: ["x"], _calls.int4: 1, _calls.int8: 1, _calls.int8s: [1],
        _calls.whole_seconds: 1, _calls.boolean: True, _calls.uuid: UUID(int=1), _calls.uuids: [UUID(int=1)],
        _calls.timestamptz: datetime.fromisoformat("2030-01-01T00:00:00Z"), _calls.interval: 1,
        _calls.encode: {}, _calls.batch: [],
        _calls.steps: [{"key": "x"}],
    }[_calls.ADAPTERS[parameter.name]]  # fmt: skip


def call(name: str, *, everything: bool) -> _calls.Call[Any]:
    make = CALLS[name]
    parameters = inspect.signature(make).parameters.values()
    return make(**{p.name: value_of(p) for p in parameters if everything or p.default is p.empty})


def test_there_is_one_method_per_public_function(functions):
    assert set(CALLS) == set(functions)
    for client in (Client, AsyncClient):
        assert all(callable(getattr(client, name)) for name in functions)


def test_methods_take_the_parameters_of_their_functions(functions):
    """Names, order, and which of them have a default."""
    for name, function in functions.items():
        for method in (getattr(Client, name), getattr(AsyncClient, name)):
            parameters = list(inspect.signature(method).parameters.values())[1:]
            assert [p.name for p in parameters] == (function["arguments"] or []), name
            required = len(parameters) - function["defaults"]
            given = [p.default is p.empty or p.name in BROUGHT_ALONG.get(name, ()) for p in parameters]
            assert given == [i < required for i in range(len(parameters))], name


def test_parameters_are_sent_as_their_types(functions):
    sent = set()
    for name, function in functions.items():
        for argument, type_ in zip(function["arguments"] or [], function["types"], strict=True):
            assert _calls.ADAPTERS[argument] in SENT_AS[type_], f"{name}({argument} {type_})"
            sent.add(argument)
    assert sent == set(_calls.ADAPTERS), "an adapter for a parameter that no function has"


def test_calls_read_what_their_functions_return(functions):
    for name, function in functions.items():
        made = call(name, everything=False)
        assert made.function == name
        if function["row_type"] is None:
            assert made.row is READ_AS[function["returns"]], name
            assert isinstance(made, _calls.Many if function["returns_rows"] else _calls.Value), name
        else:
            assert made.row is row_types()[function["row_type"]], name
            assert isinstance(made, _calls.One) or function["returns_rows"], name


def test_result_types_are_the_composite_types(composites):
    assert set(row_types()) == set(composites)
    for name, row_type in row_types().items():
        assert [f.name for f in dataclasses.fields(row_type)] == composites[name]["columns"], name
        hints = typing.get_type_hints(row_type)
        for column, type_ in zip(composites[name]["columns"], composites[name]["types"], strict=True):
            assert bare(hints[column]) == READ_AS[type_], f"{name}.{column}"
            is_json = row_type.__dataclass_fields__[column].type == "Json"
            assert is_json == (type_ == "jsonb"), f"{name}.{column}"
        assert row_type.__dataclass_params__.frozen
        assert hasattr(row_type, "__slots__")


def bare(hint: Any) -> Any:
    """The type without `| None`; str for a Literal of strings."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = (h for h in typing.get_args(hint) if h is not types.NoneType)
    return str if typing.get_origin(hint) is Literal else hint


def test_literals_are_the_labels_of_the_enums(db: Db):
    for literal, enum in {
        result_types.JobStatus: "job_status",
        result_types.FailureKind: "job_failure_kind",
        result_types.WorkflowStatus: "workflow_run_status",
        result_types.StepStatus: "step_status",
    }.items():
        labels = db.value(f"select enum_range(null::runledger.{enum})::text[]")
        assert list(typing.get_args(literal)) == labels


def test_every_statement_fits_its_function(db: Db, functions):
    """The server itself resolves each call, with nothing optional and with everything."""
    for name in functions:
        for everything in (False, True):
            made = call(name, everything=everything)
            assert len(made.params) == len(functions[name]["arguments"] or []) - (
                0 if everything else functions[name]["defaults"]
            )
            with psycopg.Cursor(db.conn) as cursor:
                # Planned, not run: a wrong name, type or column fails here.
                cursor.execute(b"explain " + made.query, made.params)


def parsed() -> Iterator[tuple[Path, str, Signature, str]]:
    spelled = {"timestamptz": "timestamp with time zone", "int": "integer"}
    for file in sorted((sql_root() / "functions").rglob("*.sql")):
        for statement in pglast.parse_sql(file.read_text()):
            node = statement.stmt
            if isinstance(node, pglast.ast.CreateFunctionStmt):
                inputs = [p for p in node.parameters or () if p.mode.value in {"i", "d", "b", "v"}]
                yield (
                    file,
                    node.funcname[-1].sval,
                    Signature(
                        [p.name for p in inputs],
                        [spelled.get(t, t) for t in (RawStream()(p.argType) for p in inputs)],
                        sum(p.defexpr is not None for p in inputs),
                    ),
                    RawStream()(node.returnType) if node.returnType else "",
                )


def test_the_files_say_what_the_catalog_says(functions):
    """Nothing else is installed than what stands in sql/functions, and a parser reads it the same way."""
    public = {name: (file, signature, returns) for file, name, signature, returns in parsed() if name[0] != "_"}
    assert set(public) == set(functions)
    for name, (_file, signature, returns) in public.items():
        function = functions[name]
        assert signature == Signature(function["arguments"] or [], function["types"], function["defaults"]), name
        if function["row_type"]:
            assert returns.removeprefix("SETOF ").removeprefix("setof ") == f"runledger.{function['row_type']}", name


def test_error_classes_and_error_codes_agree(db: Db):
    raised = set(db.column("select distinct sqlstate from runledger.error_codes()"))
    assert raised == set(RunledgerError.by_sqlstate)


def test_codes_of_the_client_do_not_clash_with_those_of_the_database(db: Db):
    assert db.column("select code from runledger.error_codes() where code ~ '^client[.]|^workflow[.]result_'") == []
