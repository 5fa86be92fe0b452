"""How the demo shows itself: drawn in place on a terminal, told line by line elsewhere."""

from __future__ import annotations

import time
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runledger.demo.story import STEP_ENDED, Picture

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
    done = [step for step in many if step.status in STEP_ENDED]
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
        note = due or (f"looks: {job.done}" if job.done else job.reason if job.state != "done" else "") or ""
        table.add_row(
            Text(f"{mark} {name}", colour), Text(job.state, colour), Text(job.tries), Text(note, "bright_black")
        )
    return table


def draw(now: Picture, title: str, *, seconds: float, width: int) -> RenderableType:
    """Draw the picture for a terminal of that width: in two columns, or in 22 lines."""
    ended = sum(step.status in STEP_ENDED for step in now.steps.values())
    progress = Table.grid(padding=(0, 1))
    progress.add_row(
        Text(f"workflow {now.run_status.lower().replace('_for_external', '')}", "bold"), _bar(ended, len(now.steps)),
        Text(f"{ended}/{len(now.steps)} steps, {seconds:.1f} s"),
    )  # fmt: skip
    counts = Text("  ".join(f"{state} {count}" for state, count in sorted(now.counts.items())) or "nothing yet")
    workers = [Text(f"{worker} {state}, {leases} of {most}") for worker, state, leases, most in now.workers]
    if width < _WIDE:
        return Group(progress, _workflow_table(now, 3), _jobs_table(now), counts, *workers)
    right = Group(
        Text("other jobs", "bold"), _jobs_table(now), "", Text("all jobs by state", "bold"), counts, "",
        Text("workers", "bold"), *(workers or [Text("none yet")]),
    )  # fmt: skip
    body = Table.grid(padding=(0, 2))
    body.add_column(width=62)
    body.add_row(Group(progress, _workflow_table(now, 6)), right)
    return Group("", Text(f"Runledger on {title}", "bold"), "", body)


def tell(console: Console, label: Text, *, words: Text) -> None:
    """Print words behind a label; their second line stands below the first, not below the label."""
    for line in words.wrap(console, max(20, console.width - label.cell_len)):
        line.rstrip()
        console.print(label + line)
        label = Text(" " * label.cell_len)


class Screen:
    """Tells and draws: in place on a terminal, line by line elsewhere."""

    def __init__(self, console: Console, title: str, *, live: bool) -> None:
        self.console = console
        self._title = title
        self._started = time.monotonic()
        self._live: Live | None = None
        if live:
            self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._told = ("", 0.0)

    def say(self, words: str) -> None:
        """Tell something, once."""
        tell(self.console, Text(f"{time.monotonic() - self._started:5.1f} s  "), words=Text(words))

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
