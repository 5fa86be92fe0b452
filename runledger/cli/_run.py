"""What all verbs share: which database, how calls are run and shown, how errors end.

| exit code | meaning |
|---|---|
| 0 | done, or nothing to report |
| 1 | refused, not found, unreachable, or findings (fsck, validate, sync) and warnings (doctor) |
| 2 | wrong usage; health: something is CRIT; doctor: unsafe |
| 3, 4 | migrate --check: pending, drifted |
| 130 | interrupted; what was done until then is said and stays done |
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from functools import cached_property, wraps
from typing import Any, NoReturn, TypeVar

import click
import psycopg

from runledger import _calls
from runledger._link import brief
from runledger.cli import _output as out
from runledger.client import Client
from runledger.errors import NotFound, RunledgerError

R = TypeVar("R")
PAGE = 1000
"""Rows of one call of a list, at most."""


def resolve_dsn(dsn: str | None = None) -> str:
    """Return the connection string in force; empty means libpq's own variables and defaults."""
    return dsn or os.environ.get("RUNLEDGER_DSN") or os.environ.get("DATABASE_URL") or ""


class Run:
    """One verb at work: its connection, opened by the first call, and how it prints."""

    def __init__(self, dsn: str, *, as_json: bool, show_sql: bool, sql_only: bool) -> None:
        self.dsn = dsn
        self.as_json = as_json
        self.show_sql = show_sql
        self.sql_only = sql_only

    @cached_property
    def connection(self) -> psycopg.Connection[Any]:
        """The connection, in autocommit mode: each call is a transaction."""
        # No prepared statements: what is at the other end may be a pooler that does not keep them.
        return psycopg.connect(
            self.dsn,
            autocommit=True,
            prepare_threshold=None,
            fallback_application_name="runledger-cli",
            client_encoding="UTF8",
        )

    @cached_property
    def client(self) -> Client:
        """The client on it."""
        return Client(self.connection)

    def call(self, call: _calls.Call[R]) -> R:
        """Run one call; with --sql-only print it and end here."""
        (result,) = self.calls(call)
        return result  # type: ignore[no-any-return]

    def calls(self, *calls: _calls.Call[Any]) -> list[Any]:
        """Run calls one after the other; with --sql-only print them and end here."""
        if self.show_sql or self.sql_only:
            for call in calls:
                click.echo(call.text, err=not self.sql_only)
        if self.sql_only:
            raise click.exceptions.Exit(0)
        return [self.client.run(call) for call in calls]

    def rolled_back(self, call: _calls.Call[Any]) -> None:
        """Run a call in a transaction that is rolled back, and print its rows: exactly what it would do."""
        if self.show_sql or self.sql_only:
            click.echo(call.undone_text, err=not self.sql_only)
        if self.sql_only:
            return
        with self.connection.transaction(force_rollback=True):
            rows = self.client.run(call)
        self.rows(rows, empty="nothing would be changed")
        self.note(f"rolled back: {len(rows)} would be changed")

    def server_time(self) -> datetime:
        """Now, by the clock of the server."""
        ((now,),) = self.connection.execute(_calls.SERVER_TIME, binary=True).fetchall()
        return now  # type: ignore[no-any-return]

    def pages(self, page: Callable[[int, Any], _calls.Many[R]], limit: int) -> Iterator[R]:
        """Up to `limit` rows; `page(rows, last)` makes the call for the rows after `last`, None at first."""
        last: R | None = None
        while limit > 0:
            size = min(limit, PAGE)
            rows = self.call(page(size, last))
            yield from rows
            if len(rows) < size:
                return
            last, limit = rows[-1], limit - size

    def found(self, row: R | None, code: str) -> R:
        """The row; ends with this code if there is none."""
        if row is None:
            raise NotFound(code, "there is none with this name or id", None, "Ids are given in full.", "RL001")
        return row

    def each(self, items: Sequence[Any], make: Callable[[Any], _calls.Call[Any]], *, doing: str) -> NoReturn:
        """One call per item, each a transaction of its own; refused ones are told and the others go on."""
        if self.sql_only:
            self.calls(*map(make, items))
        done: list[Any] = []
        refused = 0
        try:
            with self.progress(doing, len(items)) as tick:
                for item in items:
                    try:
                        done.append(self.call(make(item)))
                    except RunledgerError as error:
                        refused += 1
                        told(error, prefix=f"{item}: ")
                    tick(1)
        except KeyboardInterrupt:
            self.rows(done)
            self.note(f"interrupted: {len(done)} of {len(items)} done, they stay done")
            sys.exit(130)
        self.rows(done)
        sys.exit(1 if refused else 0)

    @contextmanager
    def progress(self, doing: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar on standard error while it lasts, if that is a terminal; yields what moves it."""
        if not sys.stderr.isatty() or self.sql_only:
            yield lambda _: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        shape = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*shape, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(doing, total=total)
            yield lambda step: bar.advance(task, step)

    # printing

    def rows(self, rows: Iterable[object], shape: Sequence[out.Column] = (), *, empty: str = "") -> int:
        """Print a list, a JSON object per line or a table of `shape` (all fields); how many there were."""
        if self.as_json:
            count = 0
            for count, row in enumerate(rows, 1):  # noqa: B007
                click.echo(out.json_line(row))
            return count
        told = list(rows)
        if told:
            click.echo("\n".join(out.table(told, shape or out.every(told[0]))))
        elif empty:
            self.note(empty)
        return len(told)

    def record(self, value: Any, *, without: str = "") -> None:
        """Print one result, as a JSON object or a line per field, but for the fields named in `without`."""
        told = {f.name: getattr(value, f.name) for f in fields(value) if f.name not in without.split()}
        click.echo(out.json_line(told) if self.as_json else "\n".join(out.record(told)))

    def advice(self, rows: Iterable[Any], head: Callable[[Any], str]) -> None:
        """Print explanations folded to the screen, and each fix whole, since it is to be run."""
        for row in rows:
            if self.as_json:
                click.echo(out.json_line(row))
                continue
            click.echo(click.style(out.fitted(out.escaped(head(row)), out.screen()).rstrip(), bold=True))
            for line in out.wrapped(out.shown(row.explanation), out.screen() - 2):
                click.echo("  " + line)
            if row.fix:
                click.echo("  fix: " + out.escaped(row.fix))

    def text(self, name: str, lines: Sequence[str], *, cut: bool = True) -> None:
        """Print lines that a function made to be read, in JSON as a list under its name."""
        if self.as_json:
            click.echo(out.json_line({name: lines}))
            return
        for line in map(out.escaped, lines):
            click.echo(out.fitted(line, out.screen()).rstrip() if cut else line)

    def value(self, name: str, value: object) -> None:
        """Print a plain value, in JSON under its name."""
        click.echo(out.json_line({name: value}) if self.as_json else out.shown(value))

    def note(self, words: str) -> None:
        """Say something beside the output, on standard error."""
        click.echo(words, err=True)

    # before something is changed

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask on a terminal; elsewhere --yes must have been given."""
        if yes or self.sql_only:
            return
        if not sys.stdin.isatty():
            raise click.UsageError(f"{question} Nobody is there to ask: say --yes.")
        if not click.confirm(question, err=True):
            raise click.exceptions.Exit(1)


# --- errors ---------------------------------------------------------------------------------------


def told(error: BaseException, *, prefix: str = "runledger: ") -> None:
    """Print an error on standard error: message, code, detail, hint."""
    hint: str | None
    if isinstance(error, RunledgerError):
        click.echo(f"{prefix}{out.escaped(error.message)} ({error.code})", err=True)
        if error.detail:
            click.echo(f"detail: {json.dumps(error.detail)}", err=True)
        hint = error.hint
    else:
        click.echo(f"{prefix}{out.escaped(brief(error))}", err=True)
        hint = _hint(getattr(error, "sqlstate", None))
    if hint:
        click.echo(f"hint: {out.escaped(hint)}", err=True)


def _hint(sqlstate: str | None) -> str | None:
    if sqlstate in ("3F000", "42883", "42P01", "42703"):
        return "Is the schema installed and as new as this program? `runledger migrate --check` tells."
    if sqlstate == "42501":
        return "This role may not do that: the owner of the schema grants it."
    if sqlstate is None or sqlstate.startswith(("08", "28", "3D", "57P")):
        return "Check the connection: --dsn, RUNLEDGER_DSN, DATABASE_URL or the PG* variables."
    return None


# --- commands -------------------------------------------------------------------------------------


class Manual(click.Group):
    """Commands in the order of a manual, not of the alphabet; in sections, if there are any."""

    sections: Mapping[str, Sequence[click.Command]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they were added."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section after the other."""
        if not self.sections:
            super().format_commands(ctx, formatter)
        for title, commands in self.sections.items():
            with formatter.section(title):
                room = formatter.width - 20
                formatter.write_dl([(str(c.name), c.get_short_help_str(room)) for c in commands])


# --- options --------------------------------------------------------------------------------------


def verb(command: Callable[..., Any], *, failure: int = 1) -> Callable[..., Any]:
    """Make a function a verb: it gets a `Run` first, and the options that every verb has.

    `failure`: the exit code if it cannot be told.
    """

    @click.pass_obj
    @wraps(command)
    def wrapper(obj: str, /, *, dsn: str | None, as_json: bool, show_sql: bool, sql_only: bool, **given: Any) -> Any:
        run = Run(dsn or obj, as_json=as_json, show_sql=show_sql, sql_only=sql_only)
        try:
            return command(run, **given)
        except (RunledgerError, psycopg.Error) as error:
            told(error)
            sys.exit(failure)
        except KeyboardInterrupt:
            click.echo("runledger: interrupted", err=True)
            sys.exit(130)
        finally:
            if "connection" in vars(run):
                run.connection.close()

    for option in reversed(COMMON):
        wrapper = option(wrapper)
    return wrapper


COMMON = [
    click.option("--json", "as_json", is_flag=True, help="Print a JSON object per line, with every field."),
    click.option("--show-sql", is_flag=True, help="Print each call on standard error, fit for psql, and run it."),
    click.option("--sql-only", is_flag=True, help="Print the call and run nothing."),
    click.option("--dsn", help="As for runledger itself."),
]
