"""The demo: the whole machine at work on real input, the source files of the running Python's standard library.

A workflow plans, grows a step per package while it runs, joins them, waits for an approval and reports; a branch of
it fails and is cleaned up after. Beside it single jobs show the other ways a job may go: one retries, one
dead-letters, one is redriven, one is canceled, one is delayed. Two worker processes, as `runledger worker` runs them,
do the work.

What it tells at the end it reads from the database. Everything happens in a server, or a database, of its own.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import getpass
import io
import logging
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Self
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import Jsonb
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runledger import embedded
from runledger.app import App
from runledger.client import Client
from runledger.config import Config
from runledger.job import Failure, Job, SyncJob
from runledger.migrate import migrate
from runledger.supervisor import Supervisor, run
from runledger.types import Json

WORKERS = 2
PATIENCE_SECONDS = 120.0
"""The demo gives up after that; it takes a fraction of it."""
SHOWN_WAITING_SECONDS = 1.5
LOCKED_RETRY_SECONDS = 0.8
DELAY_SECONDS = 5.0
WORKFLOW = "stdlib.index"
PYTHON_2 = 'print "Hello, 2008"\n'

app = App()


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


# --- the input: what is in the standard library ---------------------------------------------------

_LEFT_OUT = {"__pycache__", "dist-packages", "idle_test", "site-packages", "test", "tests"}
_MODULES_TOGETHER = 12
_NO_CODE = {
    tokenize.COMMENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER, tokenize.INDENT, tokenize.NEWLINE,
    tokenize.NL,
}  # fmt: skip


def standard_library() -> Path:
    """Return the directory with the sources of the running Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def sources() -> dict[str, list[str]]:
    """Return the source files of the standard library by package, without its tests.

    Modules that are no package stand together by their first letters, as "modules a-b", a dozen or more at a time.
    """
    root = standard_library()
    packages: dict[str, list[str]] = {}
    modules: list[str] = []
    for top in sorted(root.iterdir(), key=lambda path: path.name.lower()):
        if top.suffix == ".py":
            modules.append(top.name)
        elif top.is_dir() and top.name not in _LEFT_OUT:
            files = sorted(path.relative_to(root) for path in top.rglob("*.py"))
            if kept := [file.as_posix() for file in files if not _LEFT_OUT.intersection(file.parts)]:
                packages[top.name] = kept
    together: list[str] = []
    for nth, name in enumerate(modules, 1):
        together.append(name)
        ends = nth == len(modules) or name[0].lower() != modules[nth][0].lower()
        if nth == len(modules) or (ends and len(together) >= _MODULES_TOGETHER):
            first, last = together[0][0].lower(), name[0].lower()
            packages[f"modules {first}" if first == last else f"modules {first}-{last}"] = together
            together = []
    return packages


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is in one source file."""

    lines: int
    code_lines: int
    comments: int
    functions: int
    classes: int
    longest: tuple[int, str]
    imports: Counter[str]


def read_source(data: bytes) -> SourceFacts:
    """Tokenize and parse a source file. Raises SyntaxError (also for bytes in no known encoding) or ValueError."""
    code: set[int] = set()
    comments = 0
    try:
        for token in tokenize.tokenize(io.BytesIO(data).readline):
            if token.type == tokenize.COMMENT:
                comments += 1
            elif token.type not in _NO_CODE:
                code.update(range(token.start[0], token.end[0] + 1))
    except tokenize.TokenError as error:
        raise SyntaxError(str(error.args[0])) from error
    functions = classes = 0
    longest = (0, "")
    imports: Counter[str] = Counter()
    for node in ast.walk(ast.parse(data)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions += 1
            longest = max(longest, ((node.end_lineno or node.lineno) - node.lineno + 1, node.name))
        elif isinstance(node, ast.ClassDef):
            classes += 1
        elif isinstance(node, ast.Import):
            imports.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports[node.module.partition(".")[0]] += 1
    return SourceFacts(data.count(b"\n"), len(code), comments, functions, classes, longest, imports)


# --- the jobs of the workflow ---------------------------------------------------------------------


def _dsn() -> str:
    return os.environ.get("RUNLEDGER_DSN") or os.environ.get("DATABASE_URL") or ""


@app.job("stdlib.plan", timeout=60)
def plan(job: SyncJob) -> Json:
    """Find the packages and append a step for each, then the steps that wait for them all, to our own run.

    A retry appends nothing twice: the mutation key is the same.
    """
    packages = sources()
    if job.payload["limit"] is not None:
        packages = dict(list(packages.items())[: job.payload["limit"]])
    if not packages:
        raise Failure.terminal("stdlib.no_sources", f"there are no source files in {standard_library()}")
    # The largest first: the workers then end at about the same time.
    by_size = sorted(packages, key=lambda name: -len(packages[name]))
    keys = [f"index {name}" for name in by_size]
    steps: list[Json] = [
        {"key": key, "job_type": "stdlib.package", "payload": {"files": packages[name]}, "after_success": ["plan"]}
        for key, name in zip(keys, by_size, strict=True)
    ]
    steps += [
        {"key": "merge", "job_type": "stdlib.merge", "after_terminal": keys},
        {"key": "approve", "external": True, "after_success": ["merge"]},
        {"key": "report", "job_type": "stdlib.report", "after_success": ["merge", "approve"]},
    ]
    found = {"packages": len(packages), "files": sum(map(len, packages.values()))}
    with psycopg.connect(_dsn(), autocommit=True) as connection:
        connection.execute(
            "select from runledger.append_workflow_steps(%s, 'a step per package', 'packages', %s)",
            (job.workflow_run_id, Jsonb(steps)),
        )
        connection.execute(
            "select from runledger.complete_external_step(%s, 'packages', output => %s)",
            (job.workflow_run_id, Jsonb(found)),
        )
    return found


@app.job("stdlib.package", timeout=60, max_attempts=3)
def index_package(job: SyncJob) -> Json:
    """Read every source file of a package and add up what is in them."""
    files = job.payload["files"]
    totals: Counter[str] = Counter()
    imports: Counter[str] = Counter()
    longest: tuple[int, str, str] = (0, "", "")
    unreadable: list[str] = []
    told = 0.0
    for nth, name in enumerate(files, 1):
        if job.canceled.is_set():
            raise Failure.retryable("stdlib.interrupted", "told to stop")
        try:
            facts = read_source((standard_library() / name).read_bytes())
        except (SyntaxError, ValueError, RecursionError):
            unreadable.append(name)
        else:
            for field in ("lines", "code_lines", "comments", "functions", "classes"):
                totals[field] += getattr(facts, field)
            imports.update(facts.imports)
            longest = max(longest, (*facts.longest, name))
        if time.monotonic() > told + 0.2 or nth == len(files):
            job.progress(nth, len(files))
            told = time.monotonic()
    return {"files": len(files), **totals, "imports": imports, "longest": longest, "unreadable": unreadable}


@app.job("stdlib.merge", timeout=60, max_attempts=3)
def merge(job: SyncJob) -> Json:
    """Add up what the packages gave: the inputs of a step are the outputs of those it waited for."""
    totals: Counter[str] = Counter()
    imports: Counter[str] = Counter()
    given = {key.removeprefix("index "): output for key, output in job.inputs.items() if output is not None}
    for output in given.values():
        imports.update(output["imports"])
        for field in ("files", "lines", "code_lines", "comments", "functions", "classes"):
            totals[field] += output.get(field, 0)
    return {
        **totals,
        "packages": len(given),
        "unreadable": sorted(name for output in given.values() for name in output["unreadable"]),
        "most_imported": imports.most_common(8),
        "largest": Counter({name: output.get("lines", 0) for name, output in given.items()}).most_common(5),
        "longest": sorted((output["longest"] for output in given.values()), reverse=True)[:5],
    }


@app.job("stdlib.report", timeout=60, max_attempts=3)
def report(job: SyncJob) -> Json:
    """Say in words what was found, over the name of who approved it."""
    found = job.inputs["merge"]
    per_function = round(found["code_lines"] / max(1, found["functions"]), 1)
    return {**found, "code_lines_per_function": per_function, "approved_by": job.inputs["approve"]["approved_by"]}


@app.job("source.check", timeout=30, max_attempts=5)
def check_source(job: SyncJob) -> Json:
    """Compile a source file, given by path or written there first. What can never compile fails for good."""
    path = Path(job.payload["path"])
    if "source" in job.payload:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(job.payload["source"])
    try:
        facts = read_source(path.read_bytes())
    except FileNotFoundError as error:
        raise Failure.terminal("source.missing", f"there is no file {path.name}") from error
    except (SyntaxError, ValueError) as error:
        raise Failure.terminal("source.syntax", str(error)) from error
    return {"lines": facts.lines, "functions": facts.functions}


@app.job("scratch.clean", timeout=30)
def clean(job: SyncJob) -> Json:
    """Remove what a branch left behind, however it ended."""
    left = [path.name for path in Path(job.payload["path"]).glob("*")]
    shutil.rmtree(job.payload["path"], ignore_errors=True)
    return {"removed": left}


# --- the other jobs -------------------------------------------------------------------------------


@app.job("catalog.publish", timeout=30, max_attempts=50, priority=200, retry_delays={"catalog.locked": 0.8})
def publish(job: SyncJob) -> Json:
    """Write the names of all modules to a file, under a lock that somebody else may hold."""
    directory = Path(job.payload["path"])
    try:
        (directory / "catalog.lock").touch(exist_ok=False)
    except FileExistsError as error:
        raise Failure.retryable("catalog.locked", "somebody else is writing the catalog") from error
    names = sorted(sys.stdlib_module_names)
    (directory / "catalog.txt").write_text("\n".join(names))
    (directory / "catalog.lock").unlink()
    return {"names": len(names)}


@app.job("stdlib.watch", timeout=300, priority=200)
async def watch(job: Job) -> None:
    """Look at the standard library for changes, again and again, until canceled."""
    looks = 0
    while not job.canceled.is_set():
        newest = max(path.stat().st_mtime for path in standard_library().glob("*.py"))
        looks += 1
        await job.progress(looks, checkpoint={"newest": newest})
        await asyncio.sleep(0.3)


@app.job("stdlib.recount", timeout=60, priority=200)
def recount(job: SyncJob) -> Json:  # noqa: ARG001
    """Count the source files once more."""
    packages = sources()
    return {"packages": len(packages), "files": sum(map(len, packages.values()))}


# --- worker processes -----------------------------------------------------------------------------


def work() -> None:
    """Be a worker process of the demo, until standard input ends: so it ends with the demo, however that ends."""
    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    warnings.simplefilter("ignore")  # about escapes in old sources
    config = Config(
        worker_id=sys.argv[1], max_global_concurrency=3, claim_batch_size=3, poll_interval_ms=300,
        lease_ttl_seconds=15, reaper_interval_seconds=2, reaper_retry_delay_ms=1000, shutdown_grace_seconds=3,
    )  # fmt: skip
    supervisor = Supervisor(app, _dsn(), config=config)

    def await_the_end() -> None:
        os.read(0, 1)
        supervisor.request_shutdown()
        time.sleep(15)
        os._exit(1)

    threading.Thread(target=await_the_end, daemon=True).start()
    run(supervisor.run())


class _Workers:
    """The worker processes. Leaving the context stops them."""

    def __init__(self, dsn: str, scratch: Path) -> None:
        self._log = scratch / "workers.log"
        package = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "RUNLEDGER_DSN": dsn, "PYTHONPATH": path}
        self._processes: list[subprocess.Popen[bytes]] = []
        with self._log.open("ab") as log:
            for nth in range(1, WORKERS + 1):
                command = [sys.executable, "-c", "from runledger.demo import work; work()", f"demo-worker-{nth}"]
                # A session of their own: Ctrl-C is for us, and we tell them.
                self._processes.append(
                    subprocess.Popen(
                        command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
                    )
                )

    def look(self) -> None:
        """Raise `DemoError` if one has died."""
        for process in self._processes:
            if process.poll() is not None:
                words = self._log.read_text(errors="replace")[-2000:]
                raise DemoError(f"a worker ended with exit code {process.returncode}:\n{words}")

    def stop(self) -> None:
        """Have them end, by force if need be."""
        for process in self._processes:
            if process.stdin:
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


# --- where it happens -----------------------------------------------------------------------------


class _Stage:
    """A database of our own: in an embedded server, or on the server of `dsn`, whose other databases stay untouched."""

    def __init__(self, dsn: str) -> None:
        self._server: embedded.Server | None = None
        self._name = "demo"
        self._is_kept = False
        if dsn:
            self._name = f"runledger_demo_{os.getpid()}_{os.urandom(3).hex()}"
            self._admin = dsn
            self.dsn = make_conninfo(dsn, dbname=self._name)
            statements: list[sql.Composable] = [sql.SQL("create database {}").format(sql.Identifier(self._name))]
        else:
            self._server = embedded.Server()
            self._admin = self._server.dsn()
            # No superuser: Runledger needs none.
            self.dsn = self._server.dsn("demo", user="demo")
            statements = [sql.SQL("create role demo login"), sql.SQL("create database demo owner demo")]
        try:
            with psycopg.connect(self._admin, autocommit=True) as connection:
                for statement in statements:
                    connection.execute(sql.Composed([statement]))
                version = connection.info.parameter_status("server_version")
        except psycopg.Error as error:
            self._drop_server()
            raise DemoError(f"no database can be made for the demo: {error}") from error
        kind = "embedded PostgreSQL" if self._server else "PostgreSQL"
        self.title = f"{kind} {version}"

    @property
    def psql(self) -> str:
        """The command that looks into it; without a password, which is not to be shown."""
        shown = _without_password(self.dsn)
        command = "psql"
        if self._server and not shutil.which("psql"):
            command = str(self._server.bindir / "psql")
        return f"{command} {shlex.quote(shown)}"

    def keep(self) -> str:
        """Leave everything up; return the command that removes it."""
        self._is_kept = True
        if self._server:
            directory, pid = self._server.directory, self._server.detach()
            self._server = None
            return f"kill -INT {pid}; while kill -0 {pid} 2>&-; do sleep .1; done; rm -r {shlex.quote(str(directory))}"
        return f"psql {shlex.quote(_without_password(self._admin))} -c 'drop database {self._name} with (force)'"

    def close(self) -> None:
        """Drop the database, or throw the server away, unless it is kept."""
        if self._server:
            self._drop_server()
        elif not self._is_kept:
            with psycopg.connect(self._admin, autocommit=True) as connection:
                statement = sql.SQL("drop database if exists {} with (force)")
                connection.execute(statement.format(sql.Identifier(self._name)))

    def _drop_server(self) -> None:
        if self._server:
            self._server.stop("immediate")
            self._server = None


def _without_password(dsn: str) -> str:
    return make_conninfo(**{k: str(v) for k, v in conninfo_to_dict(dsn).items() if v is not None and k != "password"})


# --- what is drawn: a picture of the database -----------------------------------------------------

_STEPS = """
select s.step_key, lower(s.status::text), s.execution_kind = 'EXTERNAL', coalesce(q.attempt, 0),
       q.progress_done, q.progress_total, coalesce(s.last_error_code, s.status_reason),
       extract(epoch from coalesce(s.finished_at, now()) - coalesce(s.started_at, s.released_at, s.created_at))::float8
  from runledger.workflow_steps as s
  left join runledger.job_queue as q on q.id = s.job_id
 where s.workflow_run_id = %s
 order by s.ordinal
"""
_JOBS = """
select j.job_id, j.state, j.try, q.run_number, q.progress_done, coalesce(j.due_in, '0')::text,
       coalesce(q.last_error_code, q.status_reason), q.lease_token is null,
       (select count(*) from runledger.job_attempts as a
         where a.job_id = j.job_id and a.disposition = 'RETRY_SCHEDULED')
  from runledger.jobs as j
  join runledger.job_queue as q on q.id = j.job_id
 where q.workflow_run_id is null
"""
_COUNTS = "select j.state, count(*) from runledger.jobs as j group by j.state"
_WORKER_LINES = "select w.worker, w.state, w.leases, w.max_jobs from runledger.worker_status as w"
_RUN = "select r.status::text, r.finished_at is not null from runledger.workflow_runs as r where r.id = %s"


@dataclass(frozen=True, slots=True)
class StepLine:
    """A step of the workflow. `status` is the step's, in lower case; `seconds` since it could start."""

    key: str
    status: str
    is_gate: bool
    attempt: int
    done: int | None
    total: int | None
    error: str | None
    seconds: float

    @property
    def is_package(self) -> bool:
        """Whether it is one of the many."""
        return self.key.startswith("index ")


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job that is no step, under the name the demo has for it. `state` is that of the view jobs."""

    job_id: UUID
    state: str
    tries: str
    run_number: int
    done: int | None
    due_in: str
    reason: str | None
    is_quiet: bool
    retries: int


@dataclass(frozen=True, slots=True)
class Picture:
    """How things stand."""

    run_status: str
    is_run_finished: bool
    steps: Mapping[str, StepLine]
    jobs: Mapping[str, JobLine]
    counts: Mapping[str, int]
    workers: Sequence[tuple[str, str, int, int]]

    @property
    def packages(self) -> list[StepLine]:
        """The steps of the packages."""
        return [step for step in self.steps.values() if step.is_package]


class _Story:
    """Starts everything, and does what people and other programs would do meanwhile."""

    def __init__(self, connection: psycopg.Connection[Any], scratch: Path) -> None:
        self._connection = connection
        self._client = Client(connection)
        self._scratch = scratch
        self._did: set[str] = set()
        self._seen: dict[str, str] = {}
        self._approval_since: float | None = None
        self.started = time.monotonic()
        self.names: dict[UUID, str] = {}
        self.run_id = UUID(int=0)

    def begin(self, limit: int | None) -> Iterator[str]:
        """Define the types and enqueue; yields what happens, in words."""
        app.define(self._client)
        legacy = str(self._scratch / "legacy")
        steps: list[Json] = [
            {"key": "plan", "job_type": "stdlib.plan", "payload": {"limit": limit}},
            {"key": "packages", "external": True},
            {
                "key": "legacy", "job_type": "source.check",
                "payload": {"path": f"{legacy}/hello.py", "source": PYTHON_2},
            },
            {
                "key": "legacy publish", "job_type": "catalog.publish", "payload": {"path": legacy},
                "after_success": ["legacy"],
            },
            {
                "key": "legacy clean-up", "job_type": "scratch.clean", "payload": {"path": legacy},
                "after_terminal": ["legacy", "legacy publish"],
            },
        ]  # fmt: skip
        row = self._connection.execute(
            "select w.workflow_run_id from runledger.enqueue_workflow(%s, %s) as w", (WORKFLOW, Jsonb(steps))
        ).fetchone()
        assert row  # noqa: S101 - it raises or returns one
        self.run_id = row[0]
        yield f"workflow {WORKFLOW} enqueued: {len(steps)} steps, the others it finds itself"
        (self._scratch / "catalog.lock").touch()
        payload = {"path": str(self._scratch)}
        flaky = self._enqueue("flaky", "catalog.publish", payload, idempotency_key="publish the catalog")
        again = self._client.enqueue_job(
            "catalog.publish", payload, stage="flaky", idempotency_key="publish the catalog"
        )
        yield f"flaky, a job with an idempotency key, enqueued twice: {flaky}, then {again.disposition}"
        self._enqueue("poison", "source.check", {"path": str(self._scratch / "old.py"), "source": PYTHON_2})
        self._enqueue("too early", "source.check", {"path": str(self._scratch / "notes.py")})
        self._enqueue("watcher", "stdlib.watch", {})
        now = self._connection.execute("select clock_timestamp()").fetchone()
        assert now  # noqa: S101
        self._enqueue("delayed", "stdlib.recount", {}, run_at=now[0] + timedelta(seconds=DELAY_SECONDS))
        yield f"four more: poison, too early, watcher, and delayed, which is due in {DELAY_SECONDS:.0f} s"

    def _enqueue(self, name: str, job_type: str, payload: Json, **options: Any) -> str:
        # The stage is for people: it shows in the view jobs.
        job = self._client.enqueue_job(job_type, payload, stage=name, **options)
        self.names[job.job_id] = name
        return job.disposition

    def look(self) -> Picture:
        """Read how things stand."""
        execute = self._connection.execute
        status, is_finished = execute(_RUN, (self.run_id,)).fetchone() or ("", False)
        steps = [StepLine(*row) for row in execute(_STEPS, (self.run_id,))]
        jobs = {self.names[row[0]]: JobLine(*row) for row in execute(_JOBS)}
        return Picture(
            status, is_finished, {step.key: step for step in steps}, {name: jobs[name] for name in self.names.values()},
            dict(execute(_COUNTS).fetchall()), execute(_WORKER_LINES).fetchall(),
        )  # fmt: skip

    def act(self, now: Picture) -> Iterator[str]:
        """Do what is to be done in this situation; yields what happened, in words."""
        yield from self._news(now)
        flaky, early, watcher = now.jobs["flaky"], now.jobs["too early"], now.jobs["watcher"]
        approve = now.steps.get("approve")
        if flaky.retries >= 2 and self._once("unlock"):
            (self._scratch / "catalog.lock").unlink()
            yield "  who held the lock of the catalog lets go: the next try of flaky will do"
        if early.state == "dead" and self._once("redrive"):
            (self._scratch / "notes.py").write_text("def remember(): ...\n")
            reason = "the file is there now"
            done = self._client.redrive_dead_letters(reason, "source.check", error_code="source.missing")
            yield f"  the file it missed is there now: redrive_dead_letters() gives {len(done)} job another run"
        if watcher.state == "running" and (watcher.done or 0) >= 5 and self._once("cancel"):
            self._client.cancel_job(watcher.job_id, "seen enough")
            yield "  cancel_job() on watcher: its handler learns of it at its next word"
        if approve and approve.status == "waiting_for_external":
            self._approval_since = self._approval_since or time.monotonic()
            if time.monotonic() > self._approval_since + SHOWN_WAITING_SECONDS and self._once("approve"):
                self._connection.execute(
                    "select from runledger.complete_external_step(%s, 'approve', output => %s)",
                    (self.run_id, Jsonb({"approved_by": _user()})),
                )
                yield f"  complete_external_step() on approve, by {_user()}"

    def _once(self, what: str) -> bool:
        is_new = what not in self._did
        self._did.add(what)
        return is_new

    def _news(self, now: Picture) -> Iterator[str]:
        """Tell of what has changed, but for the many packages."""
        states = {step.key: (step.status, step.error) for step in now.steps.values() if not step.is_package}
        states |= {name: (job.state, job.reason) for name, job in now.jobs.items()}
        for name, (state, reason) in states.items():
            news = _NEWS.get(state, "")
            if self._seen.get(name) != state and news:
                yield f"{name}: {news}{f' ({reason})' if reason and state not in _FINE else ''}"
            self._seen[name] = state

    def is_over(self, now: Picture) -> bool:
        """Whether nothing is left to be done."""
        is_open = any(job.state not in _ENDED or not job.is_quiet for job in now.jobs.values())
        return now.is_run_finished and not is_open and {"unlock", "redrive", "cancel", "approve"} <= self._did


_FINE = {"running", "succeeded", "done", "waiting_for_external"}
_ENDED = {"done", "dead", "canceled"}
_STEP_ENDED = {"succeeded", "failed", "canceled"}
_NEWS = {
    "running": "running", "succeeded": "succeeded", "done": "done", "failed": "failed", "dead": "a dead letter",
    "canceled": "canceled", "retrying": "failed, is retried", "waiting_for_external": "waits for somebody outside",
}  # fmt: skip


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return str(os.getuid())


# --- drawing --------------------------------------------------------------------------------------

_MARKS = {
    "running": ("▶", "cyan"), "succeeded": ("✔", "green"), "done": ("✔", "green"), "failed": ("✘", "red"),
    "dead": ("✘", "red"), "canceled": ("⊘", "magenta"), "stopping": ("⊘", "magenta"), "retrying": ("↻", "yellow"),
    "delayed": ("◷", "blue"), "waiting_for_external": ("?", "yellow"), "ready": ("•", "white"),
    "enqueued": ("•", "white"), "blocked": ("·", "bright_black"), "lost": ("!", "red"),
}  # fmt: skip
_WIDE = 100


def _line(name: str, state: str, bar: RenderableType = "", note: str = "", *, depth: int = 0) -> tuple[Any, ...]:
    mark, colour = _MARKS.get(state, ("•", "white"))
    words = state.replace("_for_external", "")
    return Text(f"{'  ' * depth}{mark} {name}", colour), Text(words, colour), bar, Text(note, "bright_black")


def _bar(done: int, total: int) -> RenderableType:
    return ProgressBar(total=max(1, total), completed=done, width=14)


def _workflow_table(now: Picture, running: int) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=25, no_wrap=True)
    table.add_column(width=9, no_wrap=True)
    table.add_column(width=14)
    table.add_column(width=9, no_wrap=True)

    def add(key: str, depth: int) -> None:
        step = now.steps.get(key)
        if step is None:
            table.add_row(*_line(key, "blocked", note="to come", depth=depth))
        else:
            seconds = "" if step.status in ("blocked", "canceled") else f"{step.seconds:.1f} s"
            table.add_row(*_line(f"{key} (gate)" * step.is_gate or key, step.status, note=seconds, depth=depth))

    add("plan", 0)
    add("packages", 1)
    many = now.packages
    done = [step for step in many if step.status in _STEP_ENDED]
    state = "blocked" if not many else "succeeded" if len(done) == len(many) else "running"
    table.add_row(*_line("index …", state, _bar(len(done), len(many)), f"{len(done)}/{len(many)}", depth=1))
    active = [step for step in many if step.status == "running"][:running]
    for step in active:
        bar = _bar(step.done or 0, step.total or 1)
        note = f"{step.done}/{step.total}" if step.total else ""
        table.add_row(*_line(step.key.removeprefix("index "), step.status, bar, note, depth=2))
    for _ in range(running - len(active)):
        table.add_row("")
    for key, depth in (("merge", 2), ("approve", 3), ("report", 4)):
        add(key, depth)
    for key, depth in (("legacy", 0), ("legacy publish", 1), ("legacy clean-up", 1)):
        add(key, depth)
    return table


def _jobs_table(now: Picture) -> Table:
    table = Table.grid(padding=(0, 1))
    for width in (13, 9, 5, 20):
        table.add_column(width=width, no_wrap=True)
    for name, job in now.jobs.items():
        mark, colour = _MARKS.get(job.state, ("•", "white"))
        due = f"due in {job.due_in}" if job.state in ("delayed", "retrying") else ""
        note = due or (f"{job.done} looks" if job.done else job.reason if job.state != "done" else "") or ""
        table.add_row(
            Text(f"{mark} {name}", colour), Text(job.state, colour), Text(job.tries), Text(note, "bright_black")
        )
    return table


def draw(now: Picture, title: str, *, seconds: float, width: int) -> RenderableType:
    """Draw the picture for a terminal of that width."""
    ended = sum(step.status in _STEP_ENDED for step in now.steps.values())
    head = Table.grid(padding=(0, 1))
    head.add_row(
        Text(f"Runledger on {title}", "bold"), ProgressBar(total=max(1, len(now.steps)), completed=ended, width=16),
        Text(f"{ended}/{len(now.steps)} steps · {seconds:.1f} s"),
    )  # fmt: skip
    counts = Text("  ".join(f"{state} {count}" for state, count in sorted(now.counts.items())) or "nothing yet")
    workers = [Text(f"{worker} {state} {leases}/{most}") for worker, state, leases, most in now.workers]
    if width >= _WIDE:
        right = Group(
            Text("jobs", "bold"), _jobs_table(now), "", Text("all jobs by state", "bold"), counts, "",
            Text("workers", "bold"), *workers,
        )  # fmt: skip
        body = Table.grid(padding=(0, 2))
        body.add_column(width=62)
        body.add_row(Group(Text(f"workflow {now.run_status.lower()}", "bold"), _workflow_table(now, 6)), right)
        return Group("", head, "", body)
    status = Text(f"workflow {now.run_status.lower()}", "bold")
    return Group(head, status, _workflow_table(now, 3), _jobs_table(now), counts, *workers)


class _Screen:
    """Tells and draws: in place on a terminal, line by line elsewhere."""

    def __init__(self, console: Console, title: str, *, live: bool) -> None:
        self.console = console
        self._title = title
        self._started = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None
        self._told = ("", 0.0)

    def say(self, words: str) -> None:
        """Tell something, once."""
        self.console.print(f"{time.monotonic() - self._started:5.1f} s  {escape(words)}", highlight=False)

    def show(self, now: Picture) -> None:
        """Draw how things stand."""
        seconds = time.monotonic() - self._started
        if self._live:
            self._live.update(draw(now, self._title, seconds=seconds, width=self.console.width), refresh=True)
            return
        packages = now.packages
        done = sum(step.status == "succeeded" for step in packages)
        words = f"index: {done} of {len(packages)} packages"
        if packages and self._told[0] != words and seconds > self._told[1] + 1:
            running = [step.key.removeprefix("index ") for step in packages if step.status == "running"]
            self.say(f"{words}{', at work: ' if running else ''}{', '.join(running)}")
            self._told = (words, seconds)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()


# --- the end: what the ledger has -----------------------------------------------------------------

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


def _check(connection: psycopg.Connection[Any], story: _Story, console: Console) -> bool:
    facts: dict[str, Any] = {name: job_id for job_id, name in story.names.items()}
    facts |= {"run": story.run_id, "waiting": SHOWN_WAITING_SECONDS, "delay": DELAY_SECONDS}
    facts["retry_ms"] = round(LOCKED_RETRY_SECONDS * 1000)
    good = True
    for claim, query in CHECKS.items():
        is_so, evidence = connection.execute(query, facts).fetchone() or (False, "not found")
        _verdict(console, claim, evidence, is_so=bool(is_so))
        good = good and bool(is_so)
    findings = Client(connection).fsck()
    _verdict(console, "fsck() finds nothing wrong with the ledger", f"{len(findings)} findings", is_so=not findings)
    for finding in findings:
        console.print(f"    {finding.invariant} {finding.severity} {finding.object}", markup=False)
    return good and not findings


def _verdict(console: Console, claim: str, evidence: str | None, *, is_so: bool) -> None:
    mark = Text("✔ as told  " if is_so else "✘ NOT SO   ", "green" if is_so else "bold red")
    console.print(mark + Text(claim, "default") + Text(f" ({evidence})", "bright_black"), soft_wrap=True)


def _table(console: Console, query: str, result: tuple[list[str], list[tuple[Any, ...]]], *, most: int = 100) -> None:
    """Print rows under the query that gave them, as one would see them in psql."""
    columns, rows = result
    console.print()
    console.print(Text(f"=> {query};", "bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    narrow = console.width < 110
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows[:most]:
        cells = ["" if cell is None else str(cell) for cell in row]
        # The end of an id tells jobs apart; it begins with the time.
        cells = [f"…{c[-12:]}" if narrow and isinstance(v, UUID) else c for c, v in zip(cells, row, strict=True)]
        table.add_row(*map(escape, cells))
    console.print(table)
    if len(rows) > most:
        console.print(Text(f"… {len(rows) - most} more", "bright_black"))


def _ledger(connection: psycopg.Connection[Any], story: _Story, console: Console) -> None:
    """Print what was produced, from the views that anybody can read in psql."""

    def ask(query: str, *, shown: str = "", most: int = 100, **facts: Any) -> list[tuple[Any, ...]]:
        cursor = connection.execute(query, facts)
        rows = cursor.fetchall()
        columns = [column.name for column in cursor.description or ()]
        _table(console, shown or query, (columns, rows), most=most)
        return rows

    flaky = next(job_id for job_id, name in story.names.items() if name == "flaky")
    ask("select * from runledger.jobs order by job_id desc", most=12)
    ask("select state, count(*) from runledger.jobs group by state order by state")
    ask("select * from runledger.dead_letters")
    timeline = "select occurred_at::time(0) as at, run, try, event, stage, detail from runledger.job_timeline"
    ask(f"{timeline} where job_id = %(id)s", shown=f"{timeline} where job_id = '{flaky}'", id=flaky)
    tree = "select * from runledger.workflow_tree('{}')".format(story.run_id)  # noqa: S608, UP032 - our own id
    lines = [row[0] for row in connection.execute(tree)]
    console.print()
    console.print(Text(f"=> {tree};", "bold"), soft_wrap=True)
    many = [line for line in lines if line.lstrip().startswith("index ")]
    for line in lines:
        if line not in many[5:]:
            console.print(Text(line), no_wrap=True, overflow="ellipsis")
        elif line == many[-1]:
            console.print(Text(f"      … {len(many) - 5} more packages", "bright_black"))


def _report(connection: psycopg.Connection[Any], story: _Story, console: Console) -> None:
    """Print what the workflow was for."""
    row = connection.execute(
        "select s.output from runledger.workflow_steps as s where s.workflow_run_id = %s and s.step_key = 'report'",
        (story.run_id,),
    ).fetchone()
    found = row[0] if row and row[0] else None
    if not found:
        return
    console.print()
    console.print(Text(f"The standard library of Python {platform.python_version()}", "bold"))
    console.print(
        f"{found['files']} files in {found['packages']} packages: {found['lines']} lines, {found['code_lines']} of"
        f" code, {found['comments']} comments, {found['functions']} functions ({found['code_lines_per_function']}"
        f" lines of code for each), {found['classes']} classes. Approved by {found['approved_by']}.", markup=False,
    )  # fmt: skip
    for words, items in (
        ("most imported", [f"{name} {count}" for name, count in found["most_imported"]]),
        ("largest", [f"{name} {count} lines" for name, count in found["largest"]]),
        ("longest functions", [f"{name}() {count} lines, {path}" for count, name, path in found["longest"]]),
        ("unreadable", found["unreadable"]),
    ):
        if items:
            console.print(f"{words}: {'; '.join(items)}", markup=False)


# --- the demo -------------------------------------------------------------------------------------


def main(dsn: str = "", *, keep: bool = False, limit: int | None = None, live: bool = True) -> int:
    """Run the demo; returns the exit code: 0 if everything ended as told.

    `dsn` names a server to use, where a database is made and dropped; without it a server is started. `limit` is how
    many packages are indexed. `keep` leaves database or server up.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no ✔
    console = Console() if sys.stdout.isatty() else Console(width=120)
    with (
        _ended_by_signals(),
        tempfile.TemporaryDirectory(prefix="runledger-demo-") as scratch,
        contextlib.closing(_Stage(dsn)) as stage,
    ):
        good = _perform(stage, Path(scratch), console, limit=limit, live=live and console.is_terminal)
        if keep:
            psql, end = stage.psql, stage.keep()
            console.print(Text.assemble("\nIt is left up. To look further:\n  ", (psql, "bold")), soft_wrap=True)
            console.print(Text.assemble("To remove it:\n  ", (end, "bold")), soft_wrap=True)
        else:
            words = "\nAll of it is gone now. To look further in psql, leave it up: runledger demo --keep"
            console.print(words, highlight=False)
    return 0 if good else 1


def _perform(stage: _Stage, scratch: Path, console: Console, *, limit: int | None, live: bool) -> bool:
    migrate(stage.dsn)
    title = f"{stage.title}, Python {platform.python_version()}"
    console.print(f"Runledger on {title}: migrated.", highlight=False)
    with psycopg.connect(stage.dsn, autocommit=True) as connection:
        story = _Story(connection, scratch)
        with _Workers(stage.dsn, scratch) as workers, _Screen(console, title, live=live) as screen:
            for words in story.begin(limit):
                screen.say(words)
            _play(story, screen, workers)
        # The workers have gone: what follows is what they left.
        _ledger(connection, story, console)
        _report(connection, story, console)
        console.print()
        return _check(connection, story, console)


def _play(story: _Story, screen: _Screen, workers: _Workers) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not story.is_over(now := story.look()):
        if time.monotonic() > until:
            still = [f"{name}: {job.state}" for name, job in now.jobs.items() if job.state not in _ENDED]
            still += [f"{key}: {step.status}" for key, step in now.steps.items() if step.status not in _STEP_ENDED]
            raise DemoError(f"not finished after {PATIENCE_SECONDS:.0f} s; still open: {', '.join(still)}")
        workers.look()
        screen.show(now)
        for words in story.act(now):
            screen.say(words)
        time.sleep(0.1)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have signals that would end us at once leave room for cleaning up."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
