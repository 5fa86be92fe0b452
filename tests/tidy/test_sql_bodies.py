"""The house rules inside function bodies, read from their syntax trees."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pglast import ast, parse_sql
from pglast.enums import SubLinkType
from pglast.parser import scan

from tests.support.plpgsql import Function, functions, nodes, option, table
from tests.tidy.test_sql_files import code

each_function = pytest.mark.parametrize("function", functions(), ids=str)

# Who may set job_queue.status, and from what to what. Everything else goes through these.
STATUS_WRITERS = {
    "jobs/_requeue.sql",
    "jobs/_settle.sql",
    "jobs/_succeed_jobs.sql",
    "jobs/_cancel_jobs.sql",
    "jobs/claim_jobs.sql",
}
# The ledger is append-only; what may delete from it does so by age.
EVENT_ERASERS = {"jobs/redact_job.sql"}
CLOCKS = {"_now", "_uuidv7"}
# Privileges and kinds of objects are words of the language, taken from the catalog, and cannot be quoted.
SPELLED = {"_sync_access"}
ONE_ROW = {"runledger.upkeep_state"}
COLLECTORS = {"array_agg", "jsonb_agg", "jsonb_object_agg", "string_agg"}
# What names one row of those that are locked.
KEYS = {
    "runledger.job_queue": {"id"},
    "runledger.workflow_runs": {"id"},
    "runledger.workflow_steps": {"workflow_run_id", "step_key"},
    "runledger.job_definitions": {"job_type"},
    "runledger.job_schedules": {"name"},
    "runledger.retention_settings": {"only_row"},
}


def here(function: Function) -> str:
    return function.path.relative_to(function.path.parents[1]).as_posix()


@each_function
def test_locals_start_with_v(function: Function):
    implicit = {"sqlstate", "sqlerrm"}  # of an exception block
    assert [name for name in function.locals if not name.startswith("v_") and name not in implicit] == []


@each_function
def test_parameters_are_bare(function: Function):
    assert [name for name in function.parameters if re.match(r"(p|i|in|v|_)_?[_]", name)] == []


@each_function
def test_bare_names_are_locals(function: Function):
    """A parameter is written function.name, a column alias.name; only locals stand alone.

    A query without a FROM has no columns, so nothing in it can be ambiguous: there a parameter may stand alone in
    a function of language sql.
    """
    bare = []
    for query in function.queries:
        aliases = _aliases(query) | set(function.columns)
        if function.language == "sql" and not nodes(query, ast.RangeVar, ast.RangeFunction, ast.RangeSubselect):
            aliases |= set(function.parameters)
        for ref in nodes(query, ast.ColumnRef):
            parts = [part.sval for part in ref.fields if isinstance(part, ast.String)]
            if len(ref.fields) == 1 and parts and not parts[0].startswith("v_") and parts[0] not in aliases:
                bare.append(parts[0])
    assert bare == []


def _aliases(query: ast.Node) -> set[str]:
    """Names that may stand alone: rows of a range (as a whole), and output columns in `order by`."""
    names = {"found", "sqlstate", "sqlerrm", "tg_op"}
    for kind in (ast.RangeVar, ast.RangeSubselect, ast.RangeFunction, ast.JoinExpr):
        for item in nodes(query, kind):
            if item.alias:
                names.add(item.alias.aliasname)
            elif isinstance(item, ast.RangeVar):
                names.add(item.relname)
    names |= {target.name for target in nodes(query, ast.ResTarget) if target.name}
    # `insert … returning id into v_id`: one table only, and no other name for it.
    for insert in nodes(query, ast.InsertStmt):
        for target in insert.returningClause.exprs if insert.returningClause else ():
            if isinstance(target.val, ast.ColumnRef):
                names |= {part.sval for part in target.val.fields if isinstance(part, ast.String)}
    return names


@each_function
def test_everything_of_ours_is_qualified(function: Function):
    """A definer's path is pinned, but an internal runs with the path of whoever calls it."""
    for query in function.queries:
        ctes = {cte.ctename for cte in nodes(query, ast.CommonTableExpr)}
        ctes |= {rel.relname for lock in nodes(query, ast.LockingClause) for rel in lock.lockedRels or ()}
        for item in nodes(query, ast.RangeVar):
            known = item.relname in ctes or item.relname.startswith("pg_")
            assert known or item.schemaname in ("runledger", "pg_catalog"), table(item)


@each_function
def test_no_star_from_tables(function: Function):
    """`select *` breaks callers when a column is added; alias.* into a row of that type is meant."""
    for query in function.queries:
        stars = [ref for ref in nodes(query, ast.ColumnRef) if isinstance(ref.fields[0], ast.A_Star)]
        assert stars == []


@each_function
def test_rows_are_picked_in_a_materialised_cte(function: Function):
    """`where id in (select … limit n for update skip locked)` takes up to four times n rows."""
    for query in function.queries:
        for link in nodes(query, ast.SubLink):
            # array(select …) runs once, before anything else.
            assert link.subLinkType == SubLinkType.ARRAY_SUBLINK or not _locks(link.subselect)
        for item in nodes(query, ast.RangeSubselect):
            assert not _locks(item.subquery)
        for cte in nodes(query, ast.CommonTableExpr):
            if isinstance(cte.ctequery, ast.SelectStmt) and _locks(cte.ctequery):
                assert cte.ctematerialized.name == "CTEMaterializeAlways", cte.ctename


@each_function
def test_what_is_picked_or_read_twice_is_materialised_and_says_so(function: Function):
    """PostgreSQL would do it anyhow; so nobody wonders which of the rows are meant the second time."""
    for query in function.queries:
        for clause in nodes(query, ast.WithClause):
            for cte in clause.ctes:
                if clause.recursive or not isinstance(cte.ctequery, ast.SelectStmt):
                    continue
                read = [item for item in nodes(query, ast.RangeVar) if item.relname == cte.ctename and not item.schemaname]
                limited = any(select.limitCount for select in nodes(cte.ctequery, ast.SelectStmt))
                if len(read) > 1 or limited:
                    assert cte.ctematerialized.name == "CTEMaterializeAlways", cte.ctename


def _locks(select: ast.Node) -> bool:
    return any(inner.lockingClause for inner in nodes(select, ast.SelectStmt))


@each_function
def test_locks_of_several_rows_are_ordered(function: Function):
    """Unordered row locks deadlock. A select that locks says in which order, or names one row by its key."""
    for query in function.queries:
        for select in nodes(query, ast.SelectStmt):
            if select.lockingClause and not select.sortClause:
                read = {table(item) for item in nodes(select.fromClause, ast.RangeVar)}
                one = len(read) == 1 and KEYS.get(*read, {""}) <= _named(select)
                assert read <= ONE_ROW or one, "for update without order by"


@each_function
def test_rows_that_are_sorted_for_one_aggregate_are_in_no_order_for_the_others(function: Function):
    """From PostgreSQL 16 on, a distinct or ordered aggregate gets its input sorted, and all beside it get it like that."""
    for query in function.queries:
        for select in nodes(query, ast.SelectStmt):
            calls = list(_aggregates(select.targetList))
            if any(call.agg_distinct or call.agg_order for call in calls):
                assert [call.funcname[-1].sval for call in calls if not (call.agg_distinct or call.agg_order)] == []


def test_requests_that_are_kept_are_in_the_order_of_bytes():
    """A dump restored where a language sorts otherwise must not make a conflict of a retry."""
    [function] = [f for f in functions() if here(f) == "workflows/_workflow_request.sql"]
    keys = [by.node for query in function.queries for call in nodes(query, ast.FuncCall) for by in call.agg_order or ()]
    assert [[name.sval for name in key.collname] for key in keys if isinstance(key, ast.CollateClause)] == [["C"]] * 3 == [["C"]] * len(keys)


def _aggregates(node: Any) -> Iterator[ast.FuncCall]:
    """What collects values in an order, in this select itself."""
    if isinstance(node, ast.FuncCall) and (node.agg_distinct or node.agg_order or node.funcname[-1].sval in COLLECTORS):
        yield node
    elif isinstance(node, tuple):
        for item in node:
            yield from _aggregates(item)
    elif isinstance(node, ast.Node) and not isinstance(node, ast.SelectStmt):
        for name in node:
            yield from _aggregates(getattr(node, name))


def _named(select: ast.SelectStmt) -> set[str]:
    """The columns that are compared with one value, or are true."""
    where = select.whereClause
    terms = where.args if isinstance(where, ast.BoolExpr) and where.boolop.name == "AND_EXPR" else (where,)
    columns = [
        term.lexpr if isinstance(term, ast.A_Expr) and term.name[0].sval == "=" and term.kind.name == "AEXPR_OP" else term
        for term in terms
    ]
    return {column.fields[-1].sval for column in columns if isinstance(column, ast.ColumnRef)}


def test_what_catches_errors_is_never_run_by_a_parallel_worker():
    """Before PostgreSQL 17 a parallel worker may not begin a subtransaction: what does, or calls what does, is not marked as safe."""
    texts = {f.name: code(f.text) for f in functions()}
    calls = {f.name: {call.funcname[-1].sval for q in f.queries for call in nodes(q, ast.FuncCall)} for f in functions()}
    catching = {name for name, text in texts.items() if re.search(r"^ *exception( when|$)", text, re.MULTILINE)}
    assert "_as_interval" in catching
    while more := {name for name in texts if catching & calls[name]} - catching:
        catching |= more
    assert [name for name in sorted(catching) if "parallel safe" in texts[name]] == []


@each_function
def test_nothing_asks_for_a_hash_that_servers_refuse(function: Function):
    """With OpenSSL in FIPS mode md5() raises: then no claim would work."""
    for query in function.queries:
        assert "md5" not in [call.funcname[-1].sval for call in nodes(query, ast.FuncCall)]


@each_function
def test_only_raise_raises(function: Function):
    """A bare `raise;` hands on what was caught and says nothing of its own."""
    if function.name != "_raise":
        assert not re.search(r"\braise\b(?!\s*;)", code(function.body))


def executed(function: Function) -> list[ast.Node]:
    """What its EXECUTE statements run, as syntax trees."""
    tokens = [t for t in scan(function.body) if not t.name.endswith("COMMENT")]
    words = [function.body[t.start : t.end + 1] for t in tokens]
    found = []
    for i, word in enumerate(words):
        if word == "execute":
            end = next(j for j in range(i, len(words)) if words[j] in (";", "using", "into"))
            text = function.body[tokens[i + 1].start : tokens[end].start]
            found.append(parse_sql(f"select {text}")[0].stmt.targetList[0].val)
    return found


def templates(node: ast.Node) -> list[str]:
    """The format strings, if the statement is a `format(…)` and they are constants; else nothing."""
    if not isinstance(node, ast.FuncCall) or node.funcname[-1].sval != "format":
        return []
    first = node.args[0]
    choices = [when.result for when in first.args] + [first.defresult] if isinstance(first, ast.CaseExpr) else [first]
    return [c.val.sval for c in choices if isinstance(c, ast.A_Const)] if choices else []


@each_function
def test_execute_runs_a_constant_format_with_quoted_parts(function: Function):
    """Values go through USING, names through %I, what cannot be a parameter through %L; nothing is put together by hand."""
    for node in executed(function):
        texts = templates(node)
        assert texts, "not a format() of a constant"
        parts = {kind for text in texts for kind in re.findall(r"%(?:\d+\$)?(.)", text)}
        assert parts <= {"I", "L"} | ({"s"} if function.name in SPELLED else set())


def test_every_execute_is_looked_at():
    assert sum(len(executed(f)) for f in functions()) >= 6
    assert {f.name for f in functions() if executed(f)} >= SPELLED


@each_function
def test_one_clock(function: Function):
    """Time is read through _now(), which tests replace."""
    if function.name in CLOCKS:
        return
    words = r"\b(clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|now|localtimestamp)\s*\("
    assert not re.search(r"(?<!\w\.)(?<!_)" + words, code(function.body))
    assert not re.search(r"\b(current_timestamp|current_date|current_time)\b", code(function.body))


@each_function
def test_conflicts_are_not_resolved_by_column(function: Function):
    """A target column would be ambiguous with the parameter of that name."""
    for query in function.queries:
        for clause in nodes(query, ast.OnConflictClause):
            assert clause.infer is None or clause.infer.conname


@each_function
def test_no_directive_hides_an_ambiguity(function: Function):
    assert "#variable_conflict" not in function.text


def test_status_is_written_in_few_places():
    writers = set()
    for function in functions():
        for query in function.queries:
            for update in nodes(query, ast.UpdateStmt):
                if table(update.relation).endswith(".job_queue") and "status" in {t.name for t in update.targetList}:
                    writers.add(here(function))
    assert writers == STATUS_WRITERS


def test_events_are_never_changed():
    for function in functions():
        for query in function.queries:
            for statement in nodes(query, ast.UpdateStmt, ast.DeleteStmt):
                if table(statement.relation).endswith(".job_events"):
                    assert here(function) in EVENT_ERASERS


def test_every_raised_code_is_in_the_table():
    raised = {
        (here(function), code_)
        for function in functions()
        for code_ in re.findall(r"_raise\(\s*'([^']+)'", function.text)
    }
    assert {(file, c) for file, c in raised if c not in error_codes()} == set()


def test_every_code_of_the_table_is_used():
    others = "".join(f.text for f in functions() if f.name != "error_codes")
    # The problems of a graph are found without their common prefix, which _graph_problems adds.
    names = {c: c.removeprefix("workflow.invalid_dag_") for c in error_codes()}
    assert [
        c for c, name in names.items() if f"'{c}'" not in others and not re.search(rf"['{{]{name}['}}]", others)
    ] == []


def test_codes_are_dotted_and_messages_constant():
    wrong = [
        code_ for code_, (sqlstate, message, hint) in error_codes().items()
        if not (
            re.fullmatch(r"[a-z_]+(\.[a-z0-9_]+)+", code_)
            and re.fullmatch(r"RL\d{3}", sqlstate)
            and message[0].islower() and message[-1] != "." and "%" not in message
            and hint.endswith(".")
        )
    ]  # fmt: skip
    assert wrong == []


def error_codes() -> dict[str, tuple[str, str, str]]:
    (function,) = [f for f in functions() if f.name == "error_codes"]
    rows = nodes(function.queries[0], ast.SelectStmt)[0].valuesLists
    return {row[0].val.sval: tuple(cell.val.sval for cell in row[1:]) for row in rows}


@each_function
def test_volatility_is_said(function: Function):
    assert option(function.node, "volatility") is not None


@each_function
def test_public_is_definer_with_a_pinned_path(function: Function):
    definer = option(function.node, "security")
    paths = [
        [a.val.sval for a in o.arg.args] for o in function.node.options
        if o.defname == "set" and o.arg.name == "search_path"
    ]  # fmt: skip
    if function.public:
        assert definer is not None
        assert definer.boolval
        assert paths == [["pg_catalog", "pg_temp"]]
    else:
        assert definer is None
        assert [o for o in function.node.options if o.defname == "set"] == []


@each_function
def test_public_parameters_are_plain_types(function: Function):
    if function.public:
        for parameter in function.node.parameters or ():
            if parameter.mode.value != "t":
                assert [n.sval for n in parameter.argType.names][0] != "runledger", parameter.name
