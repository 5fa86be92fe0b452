"""The demo: the whole machine at work on real input, the source files of the running Python's standard library.

A workflow plans, grows a step per package while it runs, joins them, waits for an approval and reports; a branch of
it fails and is cleaned up after. Beside it single jobs show the other ways a job may go: one retries, one
dead-letters, one is redriven, one is canceled, one is delayed. Two worker processes, as `runledger worker` runs them,
do the work.

What it tells at the end it reads from the database. Everything happens in a server, or a database, of its own.
"""

from __future__ import annotations

import contextlib
import io
import platform
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

import psycopg
from rich.console import Console
from rich.text import Text

from runledger.demo import ledger
from runledger.demo.screen import Screen
from runledger.demo.stage import DemoError, Stage, Workers
from runledger.demo.story import JOB_ENDED, STEP_ENDED, Story
from runledger.migrate import migrate

PATIENCE_SECONDS = 90.0
"""The demo gives up after that; it takes a fraction of it."""


def main(dsn: str = "", *, keep: bool = False, limit: int | None = None, live: bool = True) -> int:
    """Run the demo; returns the exit code: 0 if everything ended as told.

    `dsn` names a server to use, where a database is made and dropped; without it a server is started. `limit` is how
    many packages are indexed. `keep` leaves database or server up.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no ✔
    console = Console() if sys.stdout.isatty() else Console(width=120)
    with _ended_by_signals(), contextlib.closing(Stage(dsn)) as stage:
        good = _perform(stage, console, limit=limit, live=live and console.is_terminal)
        if keep:
            psql, end = stage.psql, stage.keep()
            console.print(Text.assemble("\nIt is left up. To look further:\n  ", (psql, "bold")), soft_wrap=True)
            console.print(Text.assemble("To remove it:\n  ", (end, "bold")), soft_wrap=True)
        else:
            words = "\nAll of it is gone now. To look further in psql, leave it up: runledger demo --keep"
            console.print(words, highlight=False)
    return 0 if good else 1


def _perform(stage: Stage, console: Console, *, limit: int | None, live: bool) -> bool:
    migrate(stage.dsn)
    title = f"{stage.title}, Python {platform.python_version()}"
    console.print(f"Runledger on {title}: migrated.", highlight=False)
    with psycopg.connect(stage.dsn, autocommit=True) as connection:
        story = Story(connection, stage.scratch)
        with Workers(stage.dsn, scratch=stage.scratch) as workers, Screen(console, title, live=live) as screen:
            for words in story.begin(limit):
                screen.say(words)
            _play(story, screen, workers)
        # The workers have gone: what follows is what they left.
        ledger.show(connection, story, console=console)
        ledger.report(connection, story, console=console)
        console.print()
        return ledger.check(connection, story, console=console)


def _play(story: Story, screen: Screen, workers: Workers) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not story.is_over(now := story.look()):
        if time.monotonic() > until:
            still = [f"{name}: {job.state}" for name, job in now.jobs.items() if job.state not in JOB_ENDED]
            still += [f"{key}: {step.status}" for key, step in now.steps.items() if step.status not in STEP_ENDED]
            raise DemoError(f"not finished after {PATIENCE_SECONDS:.0f} s; still open: {', '.join(still)}")
        workers.look()
        screen.show(now)
        for words in story.act(now):
            screen.say(words)
        time.sleep(0.1)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have signals that would end us at once leave room for cleaning up, which is bounded and not to be disturbed."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

    def leave(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


__all__ = ["DemoError", "main"]
