"""Put the SQL of this package into a database: pending migrations, then all functions and views as one set.

One transaction. The ledger is `runledger._migrations` and `runledger._shelves`, both made by migration 0001.

    MigrateError                 nothing was changed; `hint` says what to do
    ├── Drift                    the database is not one this package can continue (exit code 4)
    │   ├── DatabaseAhead        it holds migrations this package does not know
    │   ├── MigrationDrifted     an applied file and ours differ
    │   └── MigrationGap         a number is missing
    ├── ForeignOwner             the schema belongs to another role
    ├── SquattedSchema           the schema exists and is not ours
    ├── FunctionsAhead           a newer package put the functions there
    ├── OrphanFound              the database holds functions or views that no file defines
    ├── UnsupportedServer        older than PostgreSQL 15, or a database without an encoding
    ├── MigrateBusy              a lock was not free in time
    └── FileFailed               a file raised; the cause is psycopg's error
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import re
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

CONTRACT = 1
"""Rises with a breaking change of the SQL contract, and only then."""

Connection = psycopg.Connection[Any]
Echo = Callable[[str], object]

_LOCK_KEY = 0x72756E6C65646772
_MIN_SERVER = 15

# The lock is waited for before the short lock_timeout: rival deployers queue, a busy table makes us give up.
_OPENING = f"""\
set transaction isolation level read committed read write;
set local statement_timeout = 0;
set local idle_in_transaction_session_timeout = 0;
select pg_catalog.set_config('transaction_timeout', '0', true)
 where pg_catalog.current_setting('transaction_timeout', true) is not null;
set local client_min_messages = warning;
set local standard_conforming_strings = on;
set local client_encoding = 'UTF8';
set local lock_timeout = '120s';
select pg_catalog.pg_advisory_xact_lock({_LOCK_KEY});
set local lock_timeout = '5s';
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local check_function_bodies = off;
"""
_CLOSING = f"""\
do $$
begin
  if pg_catalog.to_regprocedure('runledger._ensure_partitions()') is not null then
    perform runledger._ensure_partitions();
  end if;
  -- A full notification queue would make the commit fail.
  if pg_catalog.pg_notification_queue_usage() < 0.5 then
    perform pg_catalog.pg_notify('runledger', 'schema:{CONTRACT}');
  end if;
end
$$;
"""
_SERVER_GUARD = """\
do $$
begin
  if current_setting('server_version_num')::integer < {oldest} then
    raise exception 'Runledger needs a newer PostgreSQL' using detail = current_setting('server_version');
  elsif current_setting('server_encoding') = 'SQL_ASCII' then
    raise exception 'Runledger needs a database with an encoding' using hint = 'Create it with encoding UTF8.';
  end if;
end
$$;
"""
_INSERT_MIGRATION = """\
insert into runledger._migrations (number, name, sha256, package_version, elapsed_ms)
values ({number}, {name}, {sha256}, {version}, {elapsed});
"""
_INSERT_SHELF = """\
insert into runledger._shelves (sha256, contract, package_version, manifest)
values ({sha256}, {contract}, {version}, runledger._schema_manifest(true));
"""
# What the shelf did not define just now carries the xmin of an older transaction. Grants come later: they too
# rewrite rows of pg_proc.
_ORPHANS = """
select p.oid::regprocedure::text from pg_proc p
where p.pronamespace = 'runledger'::regnamespace and p.xmin <> pg_current_xact_id()::xid
union all
select c.oid::regclass::text from pg_class c join pg_rewrite r on r.ev_class = c.oid
where c.relnamespace = 'runledger'::regnamespace and c.relkind = 'v' and r.xmin <> pg_current_xact_id()::xid
order by 1
"""


class MigrateError(Exception):
    """Nothing was changed. `hint` says what to do, `exit_code` is the command's."""

    exit_code = 1

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Drift(MigrateError):
    """The database is not one this package can continue."""

    exit_code = 4


class DatabaseAhead(Drift):
    """The database holds migrations that this package does not know."""


class MigrationDrifted(Drift):
    """An applied migration differs from the file of its number."""


class MigrationGap(Drift):
    """A number is missing in the ledger or among the files."""


class ForeignOwner(MigrateError):
    """The schema belongs to another role."""


class SquattedSchema(MigrateError):
    """A schema of our name exists that we did not make."""


class FunctionsAhead(MigrateError):
    """A newer package put the functions there."""


class OrphanFound(MigrateError):
    """The database holds functions or views that no file defines."""


class UnsupportedServer(MigrateError):
    """The server is too old, or the database takes any bytes for text."""


class MigrateBusy(MigrateError):
    """A lock was not free in time."""


class FileFailed(MigrateError):
    """A file raised an error; the cause is psycopg's."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found and done: `status` before the call, file names applied, whether the functions were put in place.

    `detail` says why the status is DRIFTED, or which functions somebody changed by hand.
    """

    status: Literal["CURRENT", "PENDING", "DRIFTED"]
    applied: tuple[str, ...]
    shelf_applied: bool
    head: int
    sha256: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def number(self) -> int:
        return int(Path(self.name).name[:4])


@dataclass(frozen=True, slots=True)
class _Tree:
    """The files of `sql/`: migrations in number order, the shelf (retired, functions, views) in order, grants."""

    migrations: tuple[_File, ...]
    shelf: tuple[_File, ...]
    grants: _File

    @property
    def sha256(self) -> str:
        whole = "".join(f"{file.name}\0{file.text}\0" for file in (*self.shelf, self.grants))
        return hashlib.sha256(whole.encode()).hexdigest()


def sql_root() -> Path:
    """Return the directory of the SQL files: the packaged one, or that of the source tree."""
    here = Path(__file__).resolve().parent
    packaged = here / "sql"
    return packaged if packaged.is_dir() else here.parent / "sql"


@cache
def migration_head() -> int:
    """Return the number of the last migration of this package."""
    return max(file.number for file in _load().migrations)


def package_version() -> str:
    """Return the version that the ledger records."""
    try:
        return importlib.metadata.version("runledger")
    except importlib.metadata.PackageNotFoundError:
        return "0.source"


def migrate(
    target: Connection | str,
    *,
    check: bool = False,
    dry_run: bool = False,
    rollback_functions: bool = False,
    echo: Echo | None = None,
) -> Report:
    """Bring a database to the state of this package, in one transaction; `target` is a DSN or an idle connection.

    `check` only looks; `dry_run` does everything, locks included, and rolls back; `rollback_functions` lets an
    older package replace the functions of a newer one. `echo` gets a line per step. Raises MigrateError.
    """
    if check:
        return _check(target)
    tree, say = _load(), echo or (lambda _line: None)
    with _connected(target) as conn, _explained(), conn.transaction(force_rollback=dry_run):
        _require_server(conn)
        conn.execute(_OPENING.encode())
        pending, recorded = _examine(conn, tree, owned=True)
        current = not pending and recorded is not None and recorded[0] == tree.sha256
        if current and not _changed_by_hand(conn) and not _without_grants(conn) and not _unguarded(conn):
            return Report("CURRENT", (), False, len(tree.migrations), tree.sha256)
        if recorded is not None and _order(recorded[1]) > _order(package_version()) and not rollback_functions:
            raise FunctionsAhead(
                f"the functions there are of version {recorded[1]}, newer than {package_version()}",
                "upgrade this package, or pass --rollback-functions to put its functions in their place",
            )
        for file in pending:
            elapsed = _run(conn, file)
            conn.execute(_migration_row(file, elapsed))
            say(f"{file.name}  {elapsed} ms")
        _apply_shelf(conn, tree, say)
        if dry_run:
            say("rolled back: dry run")
        return Report("PENDING", tuple(f.name for f in pending), True, len(tree.migrations), tree.sha256)


def print_script() -> str:
    """Return one script that installs everything in an empty database, ledger rows included: `psql -1 -f`."""
    tree = _load()
    parts = [
        f"-- Runledger {package_version()}: the whole schema, for an empty database. Run it in one transaction:",
        "--   psql -X -1 -v ON_ERROR_STOP=1 -f this-file",
        _OPENING,
        _SERVER_GUARD.format(oldest=_MIN_SERVER * 10000),
    ]
    for file in tree.migrations:
        parts += [f"-- {file.name}\n{file.text}", _migration_row(file, 0).as_string(None)]
    parts += [f"-- {file.name}\n{file.text}" for file in (*tree.shelf, tree.grants)]
    parts += [_shelf_row(tree).as_string(None), _CLOSING]
    return "\n".join(part if part.endswith("\n") else part + "\n" for part in parts)


def _check(target: Connection | str) -> Report:
    tree = _load()
    with _connected(target) as conn, conn.transaction():
        _require_server(conn)
        try:
            pending, recorded = _examine(conn, tree, owned=False)
        except Drift as drift:
            return Report("DRIFTED", (), False, len(tree.migrations), tree.sha256, f"{drift}; {drift.hint}")
        current = not pending and recorded is not None and recorded[0] == tree.sha256
        changed = _changed_by_hand(conn) if current else ""
        bare = _without_grants(conn) if current else ""
        free = _unguarded(conn) if current else ""
    told = (
        ("changed by hand", changed),
        ("roles without what they were granted", bare),
        ("may change operator_actions", free),
    )
    detail = "; ".join(f"{words}: {names}" for words, names in told if names)
    return Report(
        "CURRENT" if current and not detail else "PENDING", (), False, len(tree.migrations), tree.sha256, detail
    )


def _load() -> _Tree:
    root = sql_root()

    def read(path: Path) -> _File:
        # Checksums must not depend on how git wrote the line ends.
        return _File(path.relative_to(root).as_posix(), path.read_bytes().decode().replace("\r\n", "\n"))

    migrations = tuple(read(path) for path in sorted((root / "migrations").glob("[0-9]*.sql")))
    if [file.number for file in migrations] != list(range(1, len(migrations) + 1)):
        raise MigrationGap("the package's migrations are not numbered 1, 2, 3, …", "reinstall the package")
    functions = sorted((root / "functions").rglob("*.sql"), key=lambda path: path.relative_to(root).as_posix())
    shelf = (root / "retired.sql", *functions, *sorted((root / "views").glob("*.sql")))
    return _Tree(migrations, tuple(map(read, shelf)), read(root / "grants.sql"))


@contextlib.contextmanager
def _connected(target: Connection | str) -> Iterator[Connection]:
    if isinstance(target, str):
        with contextlib.closing(psycopg.connect(target, autocommit=True)) as conn:
            yield conn
        return
    if target.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise ValueError("migrate needs a connection with no transaction open: it is one transaction of its own")
    yield target


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say what a lock that was not free means."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise MigrateBusy(
            "another migration, or a transaction on our tables, did not end in time",
            "run it again; pg_stat_activity and pg_blocking_pids show who holds the lock",
        ) from error


def _require_server(conn: Connection) -> None:
    if conn.info.server_version // 10000 < _MIN_SERVER:
        raise UnsupportedServer(
            f"the server is PostgreSQL {conn.info.server_version // 10000}",
            f"Runledger needs PostgreSQL {_MIN_SERVER} or newer",
        )
    # There psycopg returns bytes where text is meant, and what is not UTF-8 would be stored.
    if conn.info.parameter_status("server_encoding") == "SQL_ASCII":
        raise UnsupportedServer(
            "the database has no encoding (SQL_ASCII)",
            "use one that has: create database … template template0 encoding 'UTF8'",
        )


def _examine(conn: Connection, tree: _Tree, *, owned: bool) -> tuple[tuple[_File, ...], tuple[str, str] | None]:
    """Return the pending migrations, and checksum and version of the shelf in force; refuse what is not ours."""
    # Not to_regclass: it raises where the present role may not look into the schema.
    ((exists, ledger),) = _rows(
        conn,
        "select count(*) > 0, count(*) filter (where c.relname = '_migrations') > 0 from pg_namespace n"
        " left join pg_class c on c.relnamespace = n.oid where n.nspname = 'runledger'",
    )
    if not exists:
        return tree.migrations, None
    if not ledger:
        raise SquattedSchema(
            "a schema named runledger exists, but Runledger did not make it",
            "rename or drop it: migrate creates the schema itself",
        )
    if owned:
        _require_owner(conn)
    rows = _rows(conn, "select number, name, sha256 from runledger._migrations order by number")
    known = {file.number: file for file in tree.migrations}
    for expected, (number, name, sha256) in enumerate(rows, start=1):
        if number not in known:
            raise DatabaseAhead(
                f"the database has migration {name}, this package ends with {len(known):04}",
                "upgrade this package; nothing older can work with that schema",
            )
        if number != expected:
            raise MigrationGap(
                f"the ledger jumps from {expected - 1:04} to {number:04}",
                "a row of runledger._migrations was deleted, or a restore was partial: restore from a backup",
            )
        if sha256 != known[number].sha256:
            raise MigrationDrifted(
                f"migration {name} was applied with another content than {known[number].name} has",
                "an applied migration is never edited: install the version that applied it, or restore",
            )
    shelves = _rows(conn, "select sha256, package_version from runledger._shelves order by id desc limit 1")
    return tree.migrations[len(rows) :], (shelves[0][0], shelves[0][1]) if shelves else None


def _changed_by_hand(conn: Connection) -> str:
    """Return the functions and views that are not as the last apply left them; the next one puts them back."""
    conn.execute("set local search_path = pg_catalog, pg_temp; set local quote_all_identifiers = off")
    if _rows(conn, "select from pg_proc where oid = to_regprocedure('runledger._schema_drift()')") == []:
        return "_schema_drift()"
    ((changed,),) = _rows(
        conn,
        "select string_agg(d.name, ', ' order by d.name) from runledger._schema_drift() as d"
        " where d.kind in ('functions', 'views')",
    )
    return changed or ""


def _without_grants(conn: Connection) -> str:
    """Return the roles that have lost what was granted: a dump restored before they were created gave them nothing."""
    ((bare,),) = _rows(
        conn,
        "select string_agg(distinct g.role_name, ', ') from runledger.access_grants as g"
        " join pg_catalog.pg_roles as r on r.rolname = g.role_name"
        " where not pg_catalog.has_schema_privilege(r.oid, 'runledger', 'usage')",
    )
    return bare or ""


def _unguarded(conn: Connection) -> str:
    """Return the owner if he may change what operators did: that is so after a restore to another one."""
    ((owner,),) = _rows(
        conn,
        "select string_agg(distinct pg_catalog.pg_get_userbyid(c.relowner), ', ') from pg_catalog.pg_class as c"
        " cross join lateral pg_catalog.aclexplode(coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))) as a"
        " where c.oid = 'runledger.operator_actions'::pg_catalog.regclass and a.grantee = c.relowner"
        " and a.privilege_type in ('UPDATE', 'DELETE', 'TRUNCATE')",
    )
    return owner or ""


def _require_owner(conn: Connection) -> None:
    """A superuser must not replace functions either: they would be definer functions of a superuser."""
    foreign = _rows(
        conn,
        """
        select o.relname, pg_get_userbyid(o.owner) from (
          select nspname, nspowner from pg_namespace where nspname = 'runledger'
          union all
          select relname, relowner from pg_class
          where relnamespace = 'runledger'::regnamespace and relkind in ('r', 'p', 'v', 'S')
          union all
          select proname, proowner from pg_proc where pronamespace = 'runledger'::regnamespace
        ) as o (relname, owner)
        where pg_get_userbyid(o.owner) <> current_user
        limit 1""",
    )
    for name, owner in foreign:
        # A space ends an option unless a backslash is before it; quotes would be taken for part of the name.
        options = shlex.quote("-c role=" + re.sub(r"([\s\\])", r"\\\1", owner))
        raise ForeignOwner(
            f"{name} in schema runledger belongs to {owner}, not to the present role",
            f"connect as {owner}, or set PGOPTIONS={options}",
        )


def _apply_shelf(conn: Connection, tree: _Tree, say: Echo) -> None:
    started = time.monotonic()
    for file in tree.shelf:
        _run(conn, file)
    if orphans := _rows(conn, _ORPHANS):
        raise OrphanFound(
            "no file defines " + ", ".join(name for (name,) in orphans),
            "drop what was made by hand in the schema; a removed function needs a line in sql/retired.sql",
        )
    _run(conn, tree.grants)
    conn.execute(_shelf_row(tree))
    conn.execute(_CLOSING.encode())
    say(f"functions and views ({len(tree.shelf) - 1} files)  {int((time.monotonic() - started) * 1000)} ms")


def _run(conn: Connection, file: _File) -> int:
    """Send a file as one message (simple protocol: several statements); return the milliseconds it took."""
    started = time.monotonic()
    try:
        conn.execute(file.text.encode())
    except psycopg.errors.LockNotAvailable:
        raise
    except psycopg.Error as error:
        line = file.text.count("\n", 0, int(error.diag.statement_position or 1) - 1) + 1
        said = f"{file.name}, line {line}: {error.diag.message_primary or error}"
        raise FileFailed(said, "nothing was changed") from error
    return int((time.monotonic() - started) * 1000)


def _migration_row(file: _File, elapsed: int) -> sql.Composed:
    return sql.SQL(_INSERT_MIGRATION).format(
        number=file.number,
        name=Path(file.name).name,
        sha256=file.sha256,
        version=package_version(),
        elapsed=elapsed,
    )


def _shelf_row(tree: _Tree) -> sql.Composed:
    return sql.SQL(_INSERT_SHELF).format(sha256=tree.sha256, contract=CONTRACT, version=package_version())


def _rows(conn: Connection, query: str) -> list[tuple[Any, ...]]:
    """Return tuples, whatever rows the lent connection makes."""
    return conn.cursor(row_factory=tuple_row).execute(query.encode()).fetchall()


def _order(version: str) -> tuple[tuple[int, ...], int]:
    """Sort key of a version: the numbers, then development builds before the release."""
    found = re.match(r"[\d.]+", version)
    numbers = tuple(int(part) for part in found[0].split(".") if part) if found else ()
    return numbers, 0 if re.search(r"dev|a|b|rc", version) else 1
