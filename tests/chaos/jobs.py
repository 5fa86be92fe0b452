"""The jobs of the real workers, and the runner's link with a journal around it. Importing this instruments the process."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import psycopg

from runledger import App, Continue, Failure, Job
from runledger._calls import NO_SUCCESS
from runledger._link import Link, Rows
from tests.chaos.graph import multiply
from tests.chaos.journal import CLAIMED, MIDWAY, SENT, UNSENT, Journal, die, now

app = App()
book = Journal.of_environment()


def started(job: Job) -> None:
    book.write("start", now(), job.job_id, job.lease_token, job.run_number)
    book.reach(MIDWAY)


@app.job("plain")
async def plain(job: Job) -> None:
    started(job)


@app.job("slow")
async def slow(job: Job) -> None:
    started(job)
    await asyncio.sleep(job.payload["seconds"])


@app.job("flaky")
async def flaky(job: Job) -> None:
    """Fails once."""
    started(job)
    if job.attempt == 1:
        raise Failure.retryable("chaos.flaky", "not at the first try")


@app.job("doomed")
async def doomed(job: Job) -> None:
    """A dead letter, until somebody redrives it."""
    started(job)
    if job.run_number == 1:
        raise Failure.terminal("chaos.doomed", "not in the first run")


@app.job("more")
async def more(job: Job) -> Any:
    started(job)
    return Continue() if job.run_number == 1 else None


@app.job("step")
async def step(job: Job) -> int:
    started(job)
    return multiply(job.payload, job.inputs)


@app.job("tick")
async def tick(job: Job) -> None:
    started(job)


_send = Link._send


async def _written(self: Link, connection: psycopg.AsyncConnection[Any], calls: tuple[Any, ...]) -> list[Rows]:
    """The runner's only way to the database, with its answers written down."""
    # Everything is told here, the expected too.
    calls = tuple(replace(call, query=call.query.removesuffix(NO_SUCCESS)) for call in calls)
    finishing = any(call.function == "finish_jobs" for call in calls)
    if finishing:
        book.reach(UNSENT)
        if book.is_to_die(SENT):
            _send_and_die(connection, calls)
    sent = now()
    try:
        results = await _send(self, connection, calls)
    except BaseException:
        for call in calls:
            book.write("unknown", sent, now(), call.function)
        raise
    received = now()
    for call, rows in zip(calls, results, strict=True):
        match call.function:
            # Not leased_jobs: what it names is not ours until it runs, a lease of it may have ended meanwhile.
            case "claim_jobs" if rows:
                book.write("claim", sent, received, [[row[0], row[1]] for row in rows])
                book.reach(CLAIMED)
            case "finish_jobs":
                told = {row[0]: row[2:4] for row in rows}  # no row: a success, nobody asked whether a repeated one
                book.write("finish", sent, received, [
                    [i["job_id"], i["lease_token"], i["outcome"], *told.get(nth, ("SUCCEEDED", None))]
                    for nth, i in enumerate(json.loads(call.params["outcomes"]), 1)
                ])  # fmt: skip
            case "heartbeat_jobs":
                pairs = zip(call.params["job_ids"], call.params["lease_tokens"], call.read(rows), strict=True)
                book.write("beat", sent, received, [[job, token, told.disposition] for job, token, told in pairs])
    return results


def _send_and_die(connection: psycopg.AsyncConnection[Any], calls: tuple[Any, ...]) -> None:
    cursor = psycopg.AsyncClientCursor(connection)
    connection.pgconn.send_query("; ".join(cursor.mogrify(*call.statement) for call in calls).encode())
    while connection.pgconn.flush():
        pass
    die()


Link._send = _written  # type: ignore[method-assign]
