"""The live view: what is selected, what keys do, what is asked before something is changed."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from rich.text import Text

from runledger import _calls
from runledger import types as t
from runledger._words import escaped, fitted
from runledger.top import draw
from runledger.top.draw import Item, Rates, Row
from runledger.top.feed import PATIENCE, ROWS, Answer, Ask, Crash, Feed, Look, Lost, Refusal, View
from runledger.top.terminal import Ended, Terminal

_MEMORY = 21
"""Looks that are remembered for rates and their course."""
_RECENT = 5
"""Differences of them over which a rate is told."""
_LATEST = 2**63 - 1
_WHOLE = {Look(panel) for panel in draw.PANELS}


class History:
    """The counters of the last looks, per type and altogether."""

    def __init__(self) -> None:
        self._seen: deque[tuple[datetime, dict[str, tuple[int, int]]]] = deque(maxlen=_MEMORY)

    def add(self, now: datetime, queues: Sequence[t.QueueSummary]) -> None:
        """Remember a look, unless upkeep lags too far behind to tell."""
        told = {q.job_type: (q.finished, q.failed) for q in queues if q.finished is not None and q.failed is not None}
        if queues and not told:
            self._seen.clear()
        elif not self._seen or now > self._seen[-1][0]:
            self._seen.append((now, told))

    def rates(self) -> tuple[Rates, dict[str, Rates]]:
        """Of everything, and by type."""
        looks = list(self._seen)
        pairs = list(pairwise(looks))
        if not pairs:
            return Rates(), {}
        spans = [(later[0] - before[0]).total_seconds() for before, later in pairs]
        totals, by_type = [(0, 0)] * len(spans), {}
        for name in looks[-1][1]:
            steps = [_step(before[1].get(name), later[1].get(name)) for before, later in pairs]
            by_type[name] = _rates(steps, spans)
            totals = [(x[0] + y[0], x[1] + y[1]) for x, y in zip(totals, steps, strict=True)]
        return _rates(totals, spans), by_type


def _step(before: tuple[int, int] | None, later: tuple[int, int] | None) -> tuple[int, int]:
    if before is None or later is None:
        return 0, 0
    return max(0, later[0] - before[0]), max(0, later[1] - before[1])


def _rates(steps: Sequence[tuple[int, int]], spans: Sequence[float]) -> Rates:
    recent = sum(spans[-_RECENT:])
    finished, failed = (sum(step[i] for step in steps[-_RECENT:]) / recent for i in (0, 1))
    return Rates(finished, failed, tuple(step[0] / length for step, length in zip(steps, spans, strict=True)))


@dataclass(slots=True, frozen=True)
class Overlay:
    """Text over the panel: its title, and its lines for a width."""

    title: str
    lines: Callable[[int], list[Text]]


@dataclass(slots=True, frozen=True)
class Question:
    """What is being asked: `keys` that answer at once, or else a line of text that `enter` ends."""

    words: str
    then: Callable[[str], None]
    keys: str = ""


class Top:
    """The state of the view. `press` and `hear` change it, `frame` draws it."""

    def __init__(self, feed: Feed, *, interval: float) -> None:
        self._feed = feed
        self._interval = interval
        self.panel = "queues"
        self.of_type: str | None = None
        self.contains: str | None = None
        self.frozen = False
        self.done = False
        self._view: View | None = None
        self._seen: dict[Look, View] = {}
        self._lost: Lost | None = None
        self._history = History()
        self._rates: tuple[Rates, dict[str, Rates]] = (Rates(), {})
        self._rows: list[Row] = []
        self._keys: dict[str, str | None] = {}
        self._places: dict[str, int] = {}
        self._first = 0
        self._overlay: Overlay | None = None
        self._scroll = 0
        self._question: Question | None = None
        self._typed = ""
        self._message = Text("")
        self._page = 10
        self._overlay_lines = 0

    # --- what comes in ---

    def hear(self, message: View | Lost | Answer | Crash) -> None:
        """Take in what the feed says."""
        if isinstance(message, Answer):
            message.then(message.result)
        elif isinstance(message, Crash):
            raise message.error
        elif isinstance(message, Lost):
            self._lost = message
        else:
            self._lost = None
            if isinstance(message.queues, list):
                self._history.add(message.now, message.queues)
                self._rates = self._history.rates()
            # What was asked for before the panel was changed comes late.
            if message.look == self._look() and (not self.frozen or self._view is None):
                self._view = message
                if message.look in _WHOLE:
                    self._seen[message.look] = message
                self._arrange()

    def _look(self) -> Look:
        return Look(self.panel, self.contains, self.of_type)

    def _arrange(self) -> None:
        view = self._view
        if view is None or isinstance(view.rows, Refusal):
            self._rows = []
            return
        self._rows = draw.rows_of(self.panel, view.rows, now=view.now, rates=self._rates[1], contains=self.contains)
        key = self._keys.get(self.panel)
        place = next((n for n, item in enumerate(self._rows) if item.key == key), None)
        self._select(place if place is not None else self._places.get(self.panel, 0))

    def _select(self, place: int) -> None:
        place = max(0, min(place, len(self._rows) - 1))
        self._places[self.panel] = place
        self._keys[self.panel] = self._rows[place].key if self._rows else None

    @property
    def selected(self) -> Item | None:
        """The row that keys are about."""
        place = self._places.get(self.panel, 0)
        return self._rows[place].item() if place < len(self._rows) else None

    # --- keys ---

    def press(self, key: str) -> None:
        """Do what a key says."""
        self._message = Text("")
        if self._question is not None:
            self._answer(self._question, key)
        elif self._overlay is not None:
            self._scrolled(key)
        else:
            self._command(key)

    def _command(self, key: str) -> None:
        moves = {
            "up": -1,
            "k": -1,
            "down": 1,
            "j": 1,
            "page up": -self._page,
            "page down": self._page,
            "home": -math.inf,
            "g": -math.inf,
            "end": math.inf,
            "G": math.inf,
        }
        names = list(draw.PANELS)
        if key in moves:
            place = self._places.get(self.panel, 0) + moves[key]
            self._select(int(max(0, min(place, len(self._rows)))))
        elif key in map(str, range(1, len(names) + 1)):
            self._go(names[int(key) - 1])
        elif key in ("tab", "right", "back tab", "left"):
            here = names.index(self.panel) if self.panel in names else 0
            self._go(names[(here + (1 if key in ("tab", "right") else -1)) % len(names)])
        elif key == "q":
            self.done = True
        elif key == "?":
            self._open("keys", lambda _: [Text(line) for line in draw.HELP.splitlines()])
        elif key == " ":
            self.frozen = not self.frozen
            self._feed.look(self._look())
        elif key == "/":
            self._question, self._typed = Question("filter: ", self._filter), self.contains or ""
        elif key in ("escape", "backspace"):
            if self.panel == "jobs":
                self._go("queues")
            elif self.contains:
                self._filter("")
        elif key == "h":
            self._open("health", lambda width: draw.checks(self._view.health if self._view else [], width))
        elif key in ("enter", "w", "t", "p", "c", "r"):
            self._about(key)

    def _go(self, panel: str, of_type: str | None = None) -> None:
        self.panel, self.of_type = panel, of_type
        self.contains, self._first = None, 0
        self._view = self._seen.get(self._look())  # until there is something newer
        self._arrange()
        self._feed.look(self._look())

    def _filter(self, words: str) -> None:
        self.contains = words or None
        self._view, self._first = None, 0
        self._arrange()  # no key may act on a row that is not to be seen
        self._feed.look(self._look())

    def _about(self, key: str) -> None:
        item = self.selected
        if item is None:
            self._say("nothing is selected")
        elif key == "enter" and self.panel == "queues":
            self._keys["jobs"] = None
            self._places["jobs"] = 0
            self._go("jobs", item.job_type)
        elif key in ("enter", "w"):
            self._why(item)
        elif key == "t":
            self._timeline(item)
        elif key == "p":
            self._pause(item)
        elif key == "c":
            self._cancel(item)
        else:
            self._again(item)

    def _say(self, words: str, style: str = "yellow") -> None:
        self._message = Text(words, style)

    def _open(self, title: str, lines: Callable[[int], list[Text]]) -> None:
        self._overlay, self._scroll, self._message = Overlay(title, lines), 0, Text("")

    def _scrolled(self, key: str) -> None:
        moves = {
            "up": -1,
            "k": -1,
            "down": 1,
            "j": 1,
            "page up": -self._page,
            "page down": self._page,
            " ": self._page,
            "home": -(10**9),
            "g": -(10**9),
            "end": 10**9,
            "G": 10**9,
        }
        if key in moves:
            self._scroll = max(0, min(self._scroll + moves[key], self._overlay_lines - self._page))
        elif key in ("q", "escape", "enter", "backspace", "left", "?", "h"):
            self._overlay = None

    # --- questions ---

    def _answer(self, question: Question, key: str) -> None:
        if key == "escape":
            self._question = None
            self._say("nothing was done" if question.then != self._filter else "")
        elif question.keys:
            if key in question.keys:
                self._question = None
                question.then(key)
        elif key == "enter":
            self._question = None
            question.then(self._typed)
        elif key == "backspace":
            self._typed = self._typed[:-1]
        elif len(key) == 1 and len(self._typed) < 200:
            self._typed += key

    def _change(self, words: str, make: Callable[[str | None], _calls.Call[Any]], *, done: str) -> None:
        """Ask whether, then ask why, then do it."""

        def reason(key: str) -> None:
            if key != "y":
                self._say("nothing was done")
                return
            self._question, self._typed = Question("reason, or enter for none: ", do), ""

        def do(given: str) -> None:
            self._say("…", "bright_black")
            self._feed.do(lambda ask: ask(make(given.strip() or None)), told, changes=True)

        def told(result: Any) -> None:
            if isinstance(result, Refusal):
                refusal = result
                self._open("refused", lambda width: draw.refused(refusal, width))
            else:
                self._say(f"{done}: {getattr(result, 'disposition', 'done').lower()}", "green")

        self._question = Question(f"{words}? y/n ", reason, keys="yn")

    def _pause(self, item: Item) -> None:
        if (name := item.job_type) is None:
            self._say("there is no job type here")
            return
        view = self._view
        queues = view.queues if view and isinstance(view.queues, list) else []
        if any(q.job_type == name and q.is_paused for q in queues):
            self._question = Question(
                f"resume type {escaped(name)}? y/n ", lambda key: self._resume(name, key), keys="yn"
            )
            return
        self._change(f"pause type {escaped(name)}", lambda reason: _calls.pause_job_type(name, reason), done="paused")

    def _resume(self, name: str, key: str) -> None:
        def told(result: Any) -> None:
            if isinstance(result, Refusal):
                self._open("refused", lambda width: draw.refused(result, width))
            else:
                self._say("resumed", "green")

        if key == "y":
            self._feed.do(lambda ask: ask(_calls.resume_job_type(name)), told, changes=True)
        else:
            self._say("nothing was done")

    def _cancel(self, item: Item) -> None:
        if (run_id := item.run_id) is not None:
            self._change(
                f"cancel {item.name} and all that is open in it",
                lambda why: _calls.cancel_workflow(run_id, why),
                done=item.name,
            )
        elif (job_id := item.job_id) is not None:
            self._change(f"cancel {item.name}", lambda why: _calls.cancel_job(job_id, why), done=item.name)
        else:
            self._say("there is no job or run here: choose one first")

    def _again(self, item: Item) -> None:
        if not item.is_dead or (job_id := item.job_id) is None:
            self._say("r runs a dead letter again: choose one in panel 4")
            return
        number = item.run_number
        self._change(
            f"run {item.name} again",
            lambda why: _calls.requeue_job(job_id, why, expected_status="DEAD_LETTERED", expected_run_number=number),
            done=item.name,
        )

    # --- looking closer ---

    def _show(self, title: str, run: Callable[[Ask], Any], lines: Callable[[Any, int], list[Text]]) -> None:
        def told(result: Any) -> None:
            if isinstance(result, Refusal):
                self._open("refused", lambda width: draw.refused(result, width))
            else:
                self._open(title, lambda width: lines(result, width))

        self._say("…", "bright_black")
        self._feed.do(run, told)

    def _why(self, item: Item) -> None:
        if (run_id := item.run_id) is not None:
            self._show(f"why: {item.name}", lambda ask: ask(_calls.why_workflow(run_id)), draw.reasons)
        elif (job_id := item.job_id) is not None:
            self._show(f"why: {item.name}", lambda ask: ask(_calls.why(job_id)), draw.reasons)
        elif (job_type := item.job_type) is not None:
            self._show(f"why: what comes next of {item.name}", lambda ask: _why_next(ask, job_type), draw.reasons)
        else:
            self._say("there is no job or run here")

    def _timeline(self, item: Item) -> None:
        if (run_id := item.run_id) is not None:
            self._show(f"tree: {item.name}", lambda ask: ask(_calls.workflow_tree(run_id)), _tree)
        elif (job_id := item.job_id) is not None:
            self._show(
                f"history: {item.name}",
                lambda ask: _history(ask, job_id),
                lambda found, width: draw.timeline(found[0], found[1], logs=found[2], width=width),
            )
        else:
            self._say("there is no job or run here: choose one first")

    # --- the frame ---

    def status(self) -> draw.Status:
        """What the head of the screen says."""
        view, total = self._view, self._rates[0]
        link, style = f"every {self._interval:g}s", "green"
        if self._lost is not None:
            link, style = f"reconnecting, {time.monotonic() - self._lost.since:.0f}s", "bold red"
        elif self._feed.waits > 2:
            link, style = f"no answer for {self._feed.waits:.0f}s", "bold yellow"
        elif self.frozen:
            link, style = "FROZEN", "bold yellow"
        if view is None:
            return draw.Status(self._feed.place, None, self._interval, link, style)
        return draw.Status(self._feed.place, view.now, self._interval, link, style, view.queues, view.health, total)

    def frame(self, width: int, height: int) -> list[Text]:
        """The screen as it should be: exactly `height` lines of at most `width` cells."""
        note = f"jobs of {escaped(self.of_type)} " if self.of_type else ""
        note = f"filter: {escaped(self.contains)} " if self.contains else note
        lines = [*draw.header(self.status(), width), draw.tabs(self.panel, self._counts(), width=width, note=note)]
        room = max(1, height - len(lines) - 3)
        self._page = max(1, room - 1)
        lines += self._overlaid(width, room + 1) if self._overlay else self._panel(width, room)
        lines = lines[: height - 2]
        lines += [Text("")] * (height - 2 - len(lines))
        lines += [self._line(width), self._hints(width)]
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return lines[-height:]

    def _counts(self) -> dict[str, str]:
        queues = self._view.queues if self._view else []
        if isinstance(queues, Refusal):
            return {}
        counts = {"queues": len(queues), "running": sum(q.running for q in queues), "dead": sum(q.dead for q in queues)}
        return {name: f" {draw.number(count)}" for name, count in counts.items() if count}

    def _panel(self, width: int, room: int) -> list[Text]:
        view = self._view
        if view is None:
            return [Text(""), Text(" …", "bright_black")]
        if isinstance(view.rows, Refusal):
            return [Text(""), *(Text(" ") + line for line in draw.refused(view.rows, width - 2))]
        if not self._rows:
            return [Text(""), Text(f" {_nothing(self.panel, self.contains)}", "bright_black")]
        place = self._places.get(self.panel, 0)
        self._first = min(max(self._first, place - room + 1), place, max(0, len(self._rows) - room))
        shown = [row.item() for row in self._rows[self._first : self._first + room]]
        head, rows = draw.table(self.panel, shown, width=width, marked=place - self._first)
        return [head, *rows]

    def _overlaid(self, width: int, room: int) -> list[Text]:
        overlay = self._overlay
        assert overlay is not None  # noqa: S101
        lines = overlay.lines(width - 2)
        self._overlay_lines, self._page = len(lines), room - 1
        self._scroll = max(0, min(self._scroll, len(lines) - self._page))
        more = len(lines) - self._scroll - self._page
        title = Text(f" {overlay.title} ", "bold reverse")
        shown = [Text(" ") + line for line in lines[self._scroll : self._scroll + self._page]]
        return [
            draw.columns(title, Text(f"{more} lines more " if more > 0 else "", "bright_black"), width=width),
            *shown,
        ]

    def _line(self, width: int) -> Text:
        """Above the keys: what is asked, what was said, where the connection is, or the selected row in full."""
        if self._question is not None:
            # The end of a long answer stays in sight.
            cursor = "" if self._question.keys else f"{escaped(self._typed)}▏"
            line = Text.assemble(" ", (self._question.words, "bold yellow"), cursor)
            return line if line.cell_len <= width else Text(" …" + line.plain[-(width - 4) :], "bold")
        if self._message.plain:
            return Text(" ") + self._message
        if self._lost is not None:
            return Text(f" connection lost, trying again ({self._lost.tries}): {escaped(self._lost.words)}", "red")
        if self._overlay is None and (selected := self.selected) is not None:
            place, count = self._places.get(self.panel, 0) + 1, len(self._rows)
            many = f"{count}+" if count >= ROWS else str(count)
            return draw.columns(Text(f" {selected.told}"), Text(f"{place} of {many} ", "bright_black"), width=width)
        return Text("")

    def _hints(self, width: int) -> Text:
        if self._question is not None:
            words = "y n  escape" if self._question.keys else "enter  escape"
        elif self._overlay is not None:
            words = "j k scroll  q back"
        else:
            words = {
                "queues": "enter jobs  w why  p pause/resume",
                "running": "enter why  t history  c cancel  p pause type",
                "workers": "",
                "dead": "enter why  t history  r run again",
                "workflows": "enter why  t tree  c cancel",
                "jobs": "enter why  t history  c cancel  p pause type  escape back",
            }[self.panel] + "  ? keys  q quit  / filter  h health  space freeze"
        line = Text(" ")
        for group in words.strip().split("  "):
            key, _, what = group.partition(" ") if not group.startswith(("j k", "y n")) else (group[:3], " ", group[4:])
            line.append(key, "bold").append(f" {what}   " if what else "   ", "bright_black")
        line.truncate(width, overflow="ellipsis")
        return line


def _nothing(panel: str, contains: str | None) -> str:
    if contains:
        return "nothing has that in its name"
    return {
        "queues": "no job type is defined yet",
        "running": "no job is running",
        "workers": "no worker has registered and nobody holds a lease",
        "dead": "no dead letters: nothing has failed for good",
        "workflows": "no workflow run is open",
        "jobs": "no job of this type waits or runs",
    }[panel]


def _why_next(ask: Ask, job_type: str) -> list[t.Reason]:
    waiting = ask(_calls.list_waiting_jobs(job_type, max_rows=1))
    found = waiting or ask(_calls.list_running_jobs(job_type, max_rows=1))
    return (
        ask(_calls.why(found[0].job_id))
        if found
        else [t.Reason(1, "nothing waits", "No job of this type waits or runs.", None)]
    )


def _history(ask: Ask, job_id: Any) -> tuple[Any, Any, Any]:
    return (
        ask(_calls.list_job_attempts(job_id, before_run=2**31 - 1, before_attempt=2**31 - 1)),
        ask(_calls.list_job_events(job_id, before_event_id=_LATEST)),
        ask(_calls.list_job_logs(job_id, before_log_id=_LATEST)),
    )


def _tree(lines: list[str], width: int) -> list[Text]:
    return [Text(fitted(escaped(line), width)) for line in lines]


def run(dsn: str, *, interval: float) -> int:
    """Show the view until it is left; the exit code. The screen is as before, whatever happens."""
    terminal = Terminal()
    feed = Feed(dsn, Look("queues"), interval=interval, wake=terminal.wake)
    try:
        with terminal:
            top = Top(feed, interval=interval)
            feed.start()
            while not top.done:
                terminal.show(top.frame(*terminal.size))
                for key in terminal.wait(1.0):
                    if key == "interrupt":
                        return 130
                    if key == "suspend":
                        terminal.suspend()
                    elif key == "redraw":
                        terminal.redraw()
                    else:
                        top.press(key)
                for message in feed.take():
                    top.hear(message)
                if feed.waits > PATIENCE:
                    feed.give_up()
    except Ended as ended:
        return 130 if ended.args[0] == 2 else 128 + int(ended.args[0])
    finally:
        feed.stop()
    return 0
