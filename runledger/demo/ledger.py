"""The end of the demo: the ledger it left, as anybody can read it, and whether it is what the demo told."""

from __future__ import annotations

import platform
from typing import Any
from uuid import UUID

import psycopg
from rich.console import Console
from rich.text import Text

from runledger.client import Client
from runledger.demo.jobs import LOCKED_RETRY_SECONDS
from runledger.demo.screen import tell
from runledger.demo.story import DELAY_SECONDS, SHOWN_WAITING_SECONDS, Story

_MANY = 6
_WIDE = 110
CHECKS = {
    "the workflow ended, with errors in one branch": """
        select r.status = 'COMPLETED_WITH_ERRORS', lower(r.status::text)
          from runledger.workflow_runs as r where r.id = %(run)s""",
    "plan grew a step per package, and all of them succeeded": """
        select count(*) filter (where s.status = 'SUCCEEDED') = max((p.output ->> 'packages')::integer)
               and count(*) = count(*) filter (where s.status = 'SUCCEEDED'), count(*) || ' packages'
          from runledger.workflow_steps as s
          join runledger.workflow_steps as p on p.workflow_run_id = s.workflow_run_id and p.step_key = 'plan'
         where s.workflow_run_id = %(run)s and s.step_key like 'index %%'""",
    "the report adds up to the outputs of the packages": """
        select r.output = jsonb_build_object('files', t.files, 'lines', t.lines, 'functions', t.functions)
               and r.files = r.planned, t.files || ' files, ' || t.lines || ' lines'
          from (select sum((q.output ->> 'files')::bigint) as files, sum((q.output ->> 'lines')::bigint) as lines,
                       sum((q.output ->> 'functions')::bigint) as functions
                  from runledger.job_queue as q
                 where q.workflow_run_id = %(run)s and q.job_type = 'stdlib.package') as t,
               (select jsonb_build_object('files', q.output -> 'files', 'lines', q.output -> 'lines',
                         'functions', q.output -> 'functions') as output,
                       q.output -> 'files' as files, p.output -> 'files' as planned
                  from runledger.job_queue as q, runledger.job_queue as p
                 where q.workflow_run_id = %(run)s and q.job_type = 'stdlib.report'
                   and p.workflow_run_id = %(run)s and p.job_type = 'stdlib.plan') as r""",
    "the report waited for its approval": """
        select g.finished_at - g.released_at >= make_interval(secs => %(waiting)s) and r.created_at >= g.finished_at,
               to_char(extract(epoch from g.finished_at - g.released_at), 'FM990.0" s"')
          from runledger.workflow_steps as g
          join runledger.workflow_steps as s on s.workflow_run_id = g.workflow_run_id and s.step_key = 'report'
          join runledger.job_queue as r on r.id = s.job_id
         where g.workflow_run_id = %(run)s and g.step_key = 'approve' and g.status = 'SUCCEEDED'""",
    "the branch that failed was cleaned up after, and what needed it was canceled": """
        select array_agg(s.status::text order by s.ordinal) = '{FAILED,CANCELED,SUCCEEDED}',
               string_agg(lower(s.status::text), ', ' order by s.ordinal)
          from runledger.workflow_steps as s where s.workflow_run_id = %(run)s and s.step_key like 'legacy%%'""",
    "flaky was retried by the delay of its error code, and succeeded; its key made one job of two calls": """
        select count(distinct q.id) = 1 and bool_and(q.status = 'SUCCEEDED')
               and count(*) filter (where a.disposition = 'RETRY_SCHEDULED' and a.error_code = 'catalog.locked'
                 and a.retry_timing_source = 'ERROR_CODE' and a.retry_delay_ms = %(retry_ms)s) >= 2,
               count(*) || ' attempts'
          from runledger.job_queue as q join runledger.job_attempts as a on a.job_id = q.id
         where q.workflow_run_id is null and q.job_type = 'catalog.publish'""",
    "poison is a dead letter after one attempt of five": """
        select q.status = 'DEAD_LETTERED' and q.attempt = 1 and q.max_attempts = 5
               and d.error_code = 'source.syntax', d.error_code
          from runledger.job_queue as q join runledger.job_dead_letters as d on d.job_id = q.id
         where q.id = %(poison)s""",
    "too early was a dead letter, too, and succeeded in the run that the redrive gave it": """
        select q.status = 'SUCCEEDED' and q.run_number = 2 and d.run_number = 1 and d.error_code = 'source.missing',
               'run ' || q.run_number
          from runledger.job_queue as q join runledger.job_dead_letters as d on d.job_id = q.id
         where q.id = %(too early)s""",
    "watcher was canceled at work, and is quiet": """
        select q.status = 'CANCELED' and q.lease_token is null and q.attempt = 1, q.status_reason
          from runledger.job_queue as q where q.id = %(watcher)s""",
    "delayed ran when it was due, not before": """
        select q.status = 'SUCCEEDED' and a.leased_at >= q.next_run_at
               and q.next_run_at > q.created_at + make_interval(secs => %(delay)s - 1),
               to_char(extract(epoch from a.leased_at - q.next_run_at) * 1000, 'FM999990" ms after"')
          from runledger.job_queue as q join runledger.job_attempts as a on a.job_id = q.id
         where q.id = %(delayed)s""",
    "no job is left open, and no worker": """
        select (select count(*) from runledger.job_queue as q where q.status in ('PENDING', 'LEASED'))
               + (select count(*) from runledger.workers) = 0,
               (select count(distinct a.worker_id) from runledger.job_attempts as a) || ' workers did '
               || (select count(*) from runledger.job_attempts) || ' attempts'""",
}
"""What the demo claims, and the query that says whether it is so, with a word of evidence."""


def check(connection: psycopg.Connection[Any], story: Story, *, console: Console) -> bool:
    """Ask the database whether everything ended as told, and print its answers."""
    facts: dict[str, Any] = {name: job_id for job_id, name in story.names.items()}
    facts |= {"run": story.run_id, "waiting": SHOWN_WAITING_SECONDS, "delay": DELAY_SECONDS}
    facts["retry_ms"] = round(LOCKED_RETRY_SECONDS * 1000)
    verdicts: list[tuple[str, bool, str]] = []
    for claim, query in CHECKS.items():
        is_so, evidence = connection.execute(query, facts).fetchone() or (False, "")
        verdicts.append((claim, bool(is_so), evidence))
    findings = Client(connection).fsck()
    verdicts.append(("fsck() finds nothing wrong with the ledger", not findings, f"{len(findings)} findings"))
    for claim, is_so, evidence in verdicts:
        mark = Text("✔ as told  ", "green") if is_so else Text("✘ NOT SO   ", "bold red")
        tell(console, mark, words=Text.assemble(claim, (f" ({evidence or 'not found'})", "bright_black")))
    for finding in findings:
        console.print(Text(f"{finding.invariant} {finding.severity} {finding.object} {finding.detail}"))
    return all(is_so for _, is_so, _ in verdicts)


def show(connection: psycopg.Connection[Any], story: Story, *, console: Console) -> None:
    """Print what was produced, from the views that anybody can read in psql."""

    def ask(query: str) -> list[tuple[Any, ...]]:
        console.print(Text(f"\n=> {query};", "bold"))
        cursor = connection.execute(query.encode())
        rows = cursor.fetchall()
        _table(console, [column.name for column in cursor.description or ()], rows)
        return rows

    flaky = next(job_id for job_id, name in story.names.items() if name == "flaky")
    ask("select * from runledger.jobs where job_type <> 'stdlib.package' order by job_id desc")
    ask("select job_type, state, count(*) from runledger.jobs group by job_type, state order by job_type, state")
    ask("select * from runledger.dead_letters")
    timeline = "select occurred_at::time(0) as at, run, try, event, detail from runledger.job_timeline"
    ask(f"{timeline} where job_id = '{flaky}'")
    console.print(Text(f"\n=> select * from runledger.workflow_tree('{story.run_id}');", "bold"))  # noqa: S608 - shown
    lines = Client(connection).workflow_tree(story.run_id)
    many = [line for line in lines if line.lstrip().startswith("index ")]
    for line in lines:
        if line not in many[_MANY:]:
            console.print(Text(line), no_wrap=True, overflow="ellipsis")
        elif line == many[-1]:
            console.print(Text(f"    … {len(many) - _MANY} more of index"))


def _table(console: Console, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Print rows as psql would; what does not fit is cut."""
    narrow = console.width < _WIDE
    cells = [[_cell(value, narrow=narrow) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in [columns, ["─" * width for width in widths], *cells]:
        words = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        console.print(Text(words.rstrip()), no_wrap=True, overflow="ellipsis")


def _cell(value: object, *, narrow: bool) -> str:
    if isinstance(value, UUID) and narrow:  # the end tells jobs apart: they begin with the time
        return f"…{str(value)[-8:]}"
    return "" if value is None else str(value)


def report(connection: psycopg.Connection[Any], story: Story, *, console: Console) -> None:
    """Print what the workflow was for: the output of its last step."""
    row = connection.execute(
        "select q.output from runledger.workflow_steps as s join runledger.job_queue as q on q.id = s.job_id"
        " where s.workflow_run_id = %s and s.step_key = 'report' and q.status = 'SUCCEEDED'",
        (story.run_id,),
    ).fetchone()
    console.print(Text(f"\nThe standard library of Python {platform.python_version()}", "bold"))
    if row is None:
        console.print("was not indexed: there is no report")
        return
    found = row[0]
    lines = [
        "{files} files in {packages} packages: {lines} lines, {code_lines} of code".format(**found),
        "{functions} functions ({code_lines_per_function} lines of code for each), {classes} classes".format(**found),
        "most imported: " + ", ".join(f"{name} {count}" for name, count in found["most_imported"]),
        "largest: " + ", ".join(f"{name} {count}" for name, count in found["largest"]),
        "longest functions: " + ", ".join(f"{name} {count} ({path})" for count, name, path in found["longest"]),
        *([f"unreadable: {', '.join(found['unreadable'])}"] if found["unreadable"] else []),
        f"approved by {found['approved_by']}",
    ]
    for line in lines:
        tell(console, Text("· "), words=Text(line))
