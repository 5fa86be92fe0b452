"""The handlers of the demo. `runledger worker runledger.demo.jobs:app` would run them as well."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from runledger.app import App
from runledger.client import Client
from runledger.demo.library import read_source, sources, standard_library
from runledger.job import Failure, Job, SyncJob
from runledger.types import Json
from runledger.workflow import Workflow

LOCKED_RETRY_SECONDS = 0.8
APPEND_WINDOW = "packages"
"""The gate of the workflow through which `plan` appends; it completes it when it is done."""

app = App()


def dsn() -> str:
    """Return where a handler finds the database that its worker works for."""
    return os.environ.get("RUNLEDGER_DSN") or os.environ.get("DATABASE_URL") or ""


# --- steps of the workflow ------------------------------------------------------------------------


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
    assert job.workflow_run_id  # noqa: S101 - a step has a run
    steps = Workflow()
    # The largest first: the workers then end at about the same time.
    indexed = [
        steps.job(f"index {name}", "stdlib.package", payload={"files": packages[name]}, after="plan")
        for name in sorted(packages, key=lambda name: -len(packages[name]))
    ]
    merged = steps.job("merge", "stdlib.merge", after_terminal=indexed)
    approved = steps.gate("approve", after=merged)
    steps.job("report", "stdlib.report", after=[merged, approved])
    found = {"packages": len(packages), "files": sum(map(len, packages.values()))}
    with Client.connect(dsn()) as client:
        client.append_workflow_steps(
            job.workflow_run_id, "a step per package", append_window=APPEND_WINDOW, steps=steps
        )
        client.complete_external_step(job.workflow_run_id, APPEND_WINDOW, output=found)
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
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # the parser gives up
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


@app.job("source.check", timeout=30, max_attempts=5, priority=200)
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


@app.job(
    "catalog.publish",
    timeout=30,
    max_attempts=50,
    priority=200,
    retry_delays={"catalog.locked": LOCKED_RETRY_SECONDS},
)
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
