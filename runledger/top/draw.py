"""Draws what was seen, as lines of text that fit the screen; knows no terminal and no database.

What came from the database is escaped before it is measured, and measured in cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from rich.cells import cell_len
from rich.text import Text

from runledger import types as t
from runledger._words import escaped, fitted, wrapped
from runledger.top.feed import Refusal

PANELS = {
    "queues": "Queues",
    "running": "Running",
    "workers": "Workers",
    "dead": "Dead letters",
    "workflows": "Workflows",
}
_LEVELS = {"OK": "green", "WARN": "yellow", "CRIT": "bold red"}
_STATES = {
    "busy": "cyan",
    "running": "cyan",
    "ready": "",
    "delayed": "blue",
    "retrying": "yellow",
    "idle": "bright_black",
    "paused": "yellow",
    "disabled": "yellow",
    "at limit": "yellow",
    "slow": "yellow",
    "no worker": "bold red",
    "lost": "bold red",
    "over time": "bold red",
    "stopping": "magenta",
    "claimed": "cyan",
    "silent": "bold red",
    "unknown": "yellow",
    "waiting": "yellow",
    "failing": "red",
}
SLOW, ALONE = 60, 10
"""Seconds after which ready jobs wait for long; after which nobody is coming, if no worker handles them."""


# --- words ----------------------------------------------------------------------------------------


def span(seconds: float) -> str:
    """A length of time in at most six cells: 0.4s, 59s, 4m10s, 3h05m, 12d03h."""
    sign, whole = ("-" if seconds < 0 else ""), int(abs(seconds))
    if whole < 60:
        return f"{sign}{whole}s"
    if whole < 3600:
        return f"{sign}{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{sign}{whole // 3600}h{whole // 60 % 60:02}m"
    return f"{sign}{whole // 86400}d{whole // 3600 % 24:02}h" if whole < 86400 * 100 else f"{sign}{whole // 86400}d"


def number(count: int) -> str:
    """A count in at most six cells."""
    return (
        f"{count:,}"
        if count < 100_000
        else f"{count // 1000:,}k"
        if count < 100_000_000
        else f"{count // 1_000_000:,}M"
    )


def rate(per_second: float | None) -> str:
    """A rate per second in at most five cells; nothing if it is not known."""
    if per_second is None:
        return "-"
    return (
        "0"
        if per_second == 0
        else f"{per_second:.2f}"
        if per_second < 1
        else f"{per_second:.1f}"
        if per_second < 100
        else number(round(per_second))
    )


def spark(values: Sequence[float], cells: int) -> str:
    """The latest values as bars, the last one at the right; the highest of them is the full height."""
    shown = list(values)[-cells:]
    top = max(shown, default=0.0)
    if top == 0:
        return " " * cells
    bars = "".join("▁▂▃▄▅▆▇█"[min(7, int(v / top * 7.999))] if v > 0 else "▁" for v in shown)
    return bars.rjust(cells)


def bar(done: float, total: float, *, cells: int, style: str = "cyan") -> Text:
    """So much of it, in so many cells."""
    share = min(1.0, max(0.0, done / total)) if total > 0 else 0.0
    full = int(share * cells)
    half = share * cells - full >= 0.5
    text = Text("━" * full + "╸" * half, style)
    return text.append("─" * (cells - full - half), "bright_black")


def _count(count: int, style: str = "") -> Text:
    return Text(number(count), style if count else "bright_black")


# --- rows -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rates:
    """Jobs that ended and attempts that failed per second over the last refreshes, and the course of the former."""

    finished: float | None = None
    failed: float | None = None
    course: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """A row that can be selected: what its keys are about."""

    key: str
    cells: tuple[Text, ...]
    told: str
    job_type: str | None = None
    job_id: UUID | None = None
    run_id: UUID | None = None
    run_number: int | None = None
    is_dead: bool = False
    is_paused: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its least width, whether it may grow or be cut, and from which width of the screen on it shows."""

    title: str
    least: int = 1
    grows: bool = False
    right: bool = False
    since: int = 0


COLUMNS: Mapping[str, Sequence[Column]] = {
    "queues": (
        Column("type", 14, grows=True),
        Column("state", 9),
        Column("ready", 6, right=True),
        Column("delayed", 6, right=True, since=70),
        Column("running", 7, right=True),
        Column("dead", 5, right=True),
        Column("oldest", 6, right=True),
        Column("done/s", 6, right=True),
        Column("fail/s", 6, right=True, since=90),
        Column("", 12, since=100),
        Column("workers", 7, right=True, since=120),
    ),
    "running": (
        Column("type", 12, grows=True),
        Column("state", 9),
        Column("held", 6, right=True),
        Column("lease", 6, right=True),
        Column("progress", 15),
        Column("try", 5, right=True, since=70),
        Column("worker", 10, grows=True),
        Column("stage", 8, grows=True, since=100),
        Column("job", 36, since=150),
    ),
    "workers": (
        Column("worker", 16, grows=True),
        Column("state", 7),
        Column("slots", 18),
        Column("seen", 6, right=True),
        Column("up", 6, right=True),
        Column("role", 8, grows=True, since=70),
        Column("handles", 8, grows=True, since=90),
    ),
    "dead": (
        Column("type", 12, grows=True),
        Column("error", 12, grows=True),
        Column("died", 6, right=True),
        Column("try", 5, right=True),
        Column("message", 10, grows=True),
        Column("job", 36, since=150),
    ),
    "workflows": (
        Column("type", 14, grows=True),
        Column("state", 8),
        Column("steps", 20),
        Column("active", 6, right=True),
        Column("gates", 5, right=True),
        Column("failed", 6, right=True),
        Column("age", 6, right=True),
        Column("run", 36, since=120),
    ),
    "jobs": (
        Column("job", 36),
        Column("state", 9),
        Column("since", 6, right=True),
        Column("prio", 5, right=True, since=70),
        Column("try", 5, right=True),
        Column("worker or last error", 8, grows=True),
        Column("progress", 15, since=110),
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A place in a list. Its item is made when it is looked at: of a thousand rows few are on the screen."""

    key: str
    item: Callable[[], Item]


def rows_of(
    panel: str, rows: Sequence[Any], *, now: datetime, rates: Mapping[str, Rates], contains: str | None
) -> list[Row]:
    """The rows of a panel, those that matter most first; workers and dead letters are filtered here."""
    part = (contains or "").lower()
    if panel == "queues":
        return _queues(rows, now, rates=rates)
    if panel == "workers":
        rows = [w for w in rows if part in w.worker_id.lower()]
    elif panel == "dead":
        rows = [d for d in rows if part in d.job_type.lower()]
    shapes: dict[str, tuple[Callable[[Any, datetime], Item], str]] = {
        "workers": (_worker, "worker_id"),
        "workflows": (_run, "workflow_run_id"),
        "dead": (_letter, "job_id"),
        "running": (_running, "job_id"),
        "jobs": (_of_type, "job_id"),
    }
    make, key = shapes[panel]
    return [Row(str(getattr(row, key)), partial(make, row, now)) for row in rows]


def _queues(rows: Sequence[t.QueueSummary], now: datetime, *, rates: Mapping[str, Rates]) -> list[Row]:
    told = []
    for queue in rows:
        speed = rates.get(queue.job_type, Rates())
        state = _queue_state(queue, now, speed)
        told.append(
            (_urgency(queue, state), Row(queue.job_type, partial(_queue, queue, now, state=state, speed=speed)))
        )
    return [row for _, row in sorted(told, key=lambda entry: entry[0])]


def _waits(queue: t.QueueSummary, now: datetime) -> float:
    return (now - queue.oldest_ready_at).total_seconds() if queue.oldest_ready_at else 0.0


def _queue_state(queue: t.QueueSummary, now: datetime, speed: Rates) -> str:
    waits = _waits(queue, now)
    # Who claims without registering is no worker that is known, and yet somebody is at it.
    is_served = bool(queue.workers or queue.running or speed.finished or speed.failed)
    if queue.is_paused:
        return "paused"
    if queue.lost:
        return "lost"
    if queue.oldest_ready_at and not is_served and waits >= ALONE:
        return "no worker"
    if queue.oldest_ready_at and queue.max_concurrency and queue.running >= queue.max_concurrency:
        return "at limit"
    if waits >= SLOW:
        return "slow"
    if not queue.is_enabled:
        return "disabled"
    return (
        "busy" if queue.running else "waiting" if queue.ready and waits >= ALONE else "ready" if queue.ready else "idle"
    )


def _urgency(queue: t.QueueSummary, state: str) -> tuple[int, str]:
    # By class and name, so that rows keep their places.
    waits = queue.oldest_ready_at is not None
    if state in ("lost", "no worker", "slow") or (state in ("paused", "at limit") and waits):
        return 0, queue.job_type
    is_quiet = not (queue.ready or queue.delayed or queue.running or queue.dead)
    return (2 if is_quiet and state == "idle" else 1), queue.job_type


def _queue(queue: t.QueueSummary, now: datetime, *, state: str, speed: Rates) -> Item:
    waits = _waits(queue, now)
    more = "+" if queue.ready + queue.delayed >= queue.counted_to else ""
    limit = f"/{queue.max_concurrency}" if queue.max_concurrency else ""
    running = Text(f"{number(queue.running)}{limit}", "cyan" if queue.running else "bright_black")
    oldest = (
        Text(span(waits), "bold red" if state == "no worker" else "yellow" if waits >= SLOW else "")
        if queue.oldest_ready_at
        else Text("")
    )
    why = queue.paused_reason if queue.is_paused else queue.disabled_reason if not queue.is_enabled else None
    told = [f"{number(queue.lost)} with a lost lease"] if queue.lost else []
    told += [f"{state}: {escaped(why)}"] if why else ["disabled: takes no new jobs"] if not queue.is_enabled else []
    told += (
        ["no worker is registered for it, w tells more"]
        if not queue.workers
        else [f"{queue.workers} worker{'s' * (queue.workers > 1)}"]
    )
    cells = (
        Text(escaped(queue.job_type), "bold" if state not in ("idle", "disabled") else ""),
        Text(state, _STATES.get(state, "")),
        _count(queue.ready).append(more),
        _count(queue.delayed, "blue"),
        running,
        _count(queue.dead, "red"),
        oldest,
        Text(rate(speed.finished), "green" if speed.finished else "bright_black"),
        Text(rate(speed.failed), "red" if speed.failed else "bright_black"),
        Text(spark(speed.course, 12), "green" if any(speed.course) else "bright_black"),
        _count(queue.workers),
    )
    return Item(
        queue.job_type,
        cells,
        "  ".join(told),
        job_type=queue.job_type,
        is_paused=queue.is_paused,
        name=f"type {escaped(queue.job_type)}",
    )


def _progress(row: t.RunningJob | t.JobSummary) -> Text:
    if row.progress_pct is not None:
        return bar(float(row.progress_pct), 100, cells=10).append(f" {float(row.progress_pct):3.0f}%", "")
    return Text(f"{row.progress_done:,} done" if row.progress_done else "", "bright_black")


def _running(job: t.RunningJob, now: datetime) -> Item:
    lease = (job.lease_expires_at - now).total_seconds()
    cells = (
        Text(escaped(job.job_type), "bold"),
        Text(job.state, _STATES.get(job.state, "")),
        Text(span((now - job.claimed_at).total_seconds())),
        Text(span(lease), "bold red" if lease <= 0 else "yellow" if lease < 10 else ""),
        _progress(job),
        Text(f"{job.attempt}/{job.max_attempts}", "yellow" if job.attempt > 1 else ""),
        Text(escaped(job.worker_id)),
        Text(escaped(job.stage)),
        Text(str(job.job_id), "bright_black"),
    )
    told = f"{job.job_id}  {escaped(job.stage)}  on {escaped(job.worker_id)}"
    return Item(
        str(job.job_id),
        cells,
        told,
        job_type=job.job_type,
        job_id=job.job_id,
        run_number=job.run_number,
        name=f"job {job.job_id}",
    )


def _of_type(job: t.RunningJob | t.JobSummary, now: datetime) -> Item:
    if isinstance(job, t.RunningJob):
        since, note, prio = now - job.claimed_at, job.worker_id, ""
    else:
        since, prio = now - job.next_run_at, str(job.priority)
        note = job.last_error_code or job.status_reason or ""
    cells = (
        Text(str(job.job_id)),
        Text(job.state, _STATES.get(job.state, "")),
        Text(span(since.total_seconds())),
        Text(prio),
        Text(f"{job.attempt}/{job.max_attempts}"),
        Text(escaped(note), "red" if isinstance(job, t.JobSummary) and job.last_error_code else ""),
        _progress(job),
    )
    told = f"{job.job_id}  {job.state}  {escaped(job.stage)}"
    return Item(
        str(job.job_id),
        cells,
        told,
        job_type=job.job_type,
        job_id=job.job_id,
        run_number=job.run_number,
        name=f"job {job.job_id}",
    )


def _worker(worker: t.WorkerRecord, now: datetime) -> Item:
    slots = Text(f"{worker.leases} leases", "cyan" if worker.leases else "bright_black")
    if worker.max_jobs:
        slots = bar(worker.leases, worker.max_jobs, cells=10).append(f" {worker.leases}/{worker.max_jobs}", "")
    up = span((now - worker.registered_at).total_seconds()) if worker.registered_at else ""
    types = ", ".join(map(escaped, (worker.job_types or [])[:50]))
    cells = (
        Text(escaped(worker.worker_id), "bold"),
        Text(worker.state, _STATES[worker.state]),
        slots,
        Text(span((now - worker.last_seen_at).total_seconds())),
        Text(up),
        Text(escaped(worker.role_name or "")),
        Text(types, "bright_black"),
    )
    told = (
        f"{escaped(worker.worker_id)}  handles {len(worker.job_types or [])} types: {types}"
        if types
        else "never registered, holds leases"
    )
    return Item(worker.worker_id, cells, told, name=f"worker {escaped(worker.worker_id)}")


def _letter(letter: t.DeadLetter, now: datetime) -> Item:
    message = escaped(letter.error_message or "")
    cells = (
        Text(escaped(letter.job_type), "bold"),
        Text(escaped(letter.error_code or ""), "red"),
        Text(span((now - letter.failed_at).total_seconds())),
        Text(f"{letter.run_number}.{letter.attempt}"),
        Text(message),
        Text(str(letter.job_id), "bright_black"),
    )
    told = f"{letter.job_id}  {message}"
    return Item(
        str(letter.job_id),
        cells,
        told,
        job_type=letter.job_type,
        job_id=letter.job_id,
        run_number=letter.run_number,
        is_dead=True,
        name=f"job {letter.job_id}",
    )


def _run(run: t.WorkflowSummary, now: datetime) -> Item:
    state = "waiting" if run.status == "WAITING_FOR_EXTERNAL" else "failing" if run.steps_failed else "running"
    done = run.steps_succeeded + run.steps_failed
    steps = bar(done, run.steps_total, cells=10, style="red" if run.steps_failed else "green").append(
        f" {done}/{run.steps_total}", ""
    )
    cells = (
        Text(escaped(run.workflow_type), "bold"),
        Text(state, _STATES[state]),
        steps,
        _count(run.steps_active, "cyan"),
        _count(run.steps_waiting, "yellow"),
        _count(run.steps_failed, "red"),
        Text(span((now - run.started_at).total_seconds())),
        Text(str(run.workflow_run_id), "bright_black"),
    )
    told = f"{run.workflow_run_id}" + ("  waits for a gate" if run.steps_waiting else "")
    return Item(str(run.workflow_run_id), cells, told, run_id=run.workflow_run_id, name=f"run {run.workflow_run_id}")


# --- lines ----------------------------------------------------------------------------------------


def table(panel: str, rows: Sequence[Item], *, width: int, marked: int | None = None) -> tuple[Text, list[Text]]:
    """The head and a line per row, cut to the width; `marked` is the row that is selected."""
    shape = [(i, c) for i, c in enumerate(COLUMNS[panel]) if width >= c.since]
    widths = {i: max([c.least, cell_len(c.title), *(row.cells[i].cell_len for row in rows)]) for i, c in shape}
    room = width - 2 * (len(shape) - 1) - 2
    for least in (True, False):
        while sum(widths.values()) > room:
            may = [i for i, c in shape if widths[i] > (c.least if least else 4) and (c.grows or not least)]
            if not may:
                break
            # The widest gives first, in one go down to the next one or to what is needed.
            widest = max(may, key=lambda i: widths[i])
            widths[widest] -= 1
    spare = room - sum(widths.values())
    growing = [i for i, c in shape if c.grows]
    if growing and spare > 0:
        widths[growing[0]] += min(spare, 12)
    head = Text(" ")
    for i, c in shape:
        title = c.title.rjust(widths[i]) if c.right else c.title
        head.append(fitted(title, widths[i]) + "  ")
    head.stylize("bold")
    lines = []
    for place, row in enumerate(rows):
        line = Text(" ")
        for i, c in shape:
            cell = row.cells[i].copy()
            if cell.cell_len > widths[i]:
                style = cell.style
                cell = Text(fitted(cell.plain, widths[i]), style)
            blanks = " " * (widths[i] - cell.cell_len)
            line.append_text(Text(blanks) + cell if c.right else cell + Text(blanks))
            line.append("  ")
        lines.append(_marked(line, width) if place == marked else line)
    return head, lines


def _marked(line: Text, width: int) -> Text:
    return Text(fitted(line.plain.rstrip(), width), "reverse bold")


def columns(left: Text, right: Text, *, width: int) -> Text:
    """Two texts at the ends of a line; the left one gives way."""
    room = width - right.cell_len - 1
    if left.cell_len > room:
        left = left.copy()
        left.truncate(max(0, room), overflow="ellipsis")
    return left + Text(" " * max(1, width - left.cell_len - right.cell_len)) + right


@dataclass(frozen=True, slots=True)
class Status:
    """What stands above the panels."""

    place: tuple[str, str]
    now: datetime | None
    interval: float
    link: str
    link_style: str
    queues: Sequence[t.QueueSummary] | Refusal = ()
    health: Sequence[t.HealthCheck] | Refusal = ()
    total: Rates = field(default_factory=Rates)


def header(status: Status, width: int) -> list[Text]:
    """Where this is, how it is, and how much there is: three lines."""
    place, version = status.place
    left = Text.assemble(
        (" runledger ", "bold reverse"),
        "  ",
        (escaped(place), "bold"),
        (f"  PostgreSQL {escaped(version.split()[0] if version else '')}", "bright_black"),
    )
    form = "%Y-%m-%d %H:%M:%SZ" if width >= 100 else "%H:%M:%SZ"
    clock = status.now.astimezone(UTC).strftime(form) if status.now else ""
    right = Text.assemble((clock, ""), "  ", (status.link, status.link_style), " ")
    return [columns(left, right, width=width), _health(status.health, width), _totals(status, width)]


def _health(health: Sequence[t.HealthCheck] | Refusal, width: int) -> Text:
    if isinstance(health, Refusal):
        return columns(Text.assemble(" health ", ("?", "yellow"), f" {escaped(health.words)}"), Text(""), width=width)
    bad = [check for check in health if check.level != "OK"]
    if not bad:
        return (
            Text.assemble(" health ", ("OK", "green"), (f" {len(health)} checks", "bright_black"))
            if health
            else Text(" health …")
        )
    more = Text(f"+{len(bad) - 1} more: h " if len(bad) > 1 else "h ", "bright_black")
    worst = bad[0]
    return columns(
        Text.assemble(" health ", (worst.level, _LEVELS[worst.level]), f" {worst.code}  {escaped(worst.explanation)}"),
        more,
        width=width,
    )


def _totals(status: Status, width: int) -> Text:
    if isinstance(status.queues, Refusal):
        return columns(Text(f" {escaped(status.queues.words)}", "red"), Text(""), width=width)
    rows = status.queues
    more = "+" if any(q.ready + q.delayed >= q.counted_to for q in rows) else ""
    line = Text(" ")
    for name, style in (
        ("ready", "bold"),
        ("running", "bold cyan"),
        ("delayed", "bold blue"),
        ("lost", "bold red"),
        ("dead", "bold red"),
    ):
        count = sum(getattr(q, name) for q in rows)
        if name == "lost" and not count:
            continue
        line.append(f"{name} ").append(
            number(count) + (more if name in ("ready", "delayed") else ""), style if count else "bright_black"
        ).append("   ")
    line.append("done ").append(
        f"{rate(status.total.finished)}/s", "bold green" if status.total.finished else "bright_black"
    )
    line.append("   failed ").append(
        f"{rate(status.total.failed)}/s", "bold red" if status.total.failed else "bright_black"
    )
    room = min(20, width - line.cell_len - 2)
    return columns(line, Text(spark(status.total.course, room) + " " if room >= 5 else "", "green"), width=width)


def tabs(panel: str, counts: Mapping[str, str], *, width: int, note: str) -> Text:
    """The panels by their keys."""
    line = Text(" ")
    for key, (name, title) in enumerate(PANELS.items(), 1):
        chosen = name == panel or (panel == "jobs" and name == "queues")
        words = f" {key} {title if width >= 76 else title[:5]}{counts.get(name, '')} "
        line.append(words, "reverse bold" if chosen else "bright_black").append(" ")
    return columns(line, Text(note, "bold yellow"), width=width)


def reasons(rows: Sequence[Any], width: int) -> list[Text]:
    """What why and why_workflow say: a head, the words, and the fix whole, since it is to be run."""
    lines: list[Text] = []
    for reason in rows:
        step = getattr(reason, "step_key", None)
        head = Text.assemble(
            (f"{reason.rank}  ", "bright_black"),
            (reason.code, "bold yellow"),
            (f"  step {escaped(step)}" if step else "", "bold"),
        )
        lines.append(head)
        lines += [Text("   " + words) for words in wrapped(escaped(reason.explanation), max(20, width - 4))]
        lines += _fix(reason.fix, width)
        lines.append(Text(""))
    return lines or [Text("nothing is known of it: it may have been pruned")]


def _fix(fix: str | None, width: int) -> list[Text]:
    if not fix:
        return []
    first, *rest = wrapped(escaped(fix), max(20, width - 9))
    return [
        Text.assemble("   ", ("fix: ", "bold"), (first, "green")),
        *(Text("        " + words, "green") for words in rest),
    ]


def checks(rows: Sequence[t.HealthCheck] | Refusal, width: int) -> list[Text]:
    """Every check, the worst first, those that are not well with what to do."""
    if isinstance(rows, Refusal):
        return refused(rows, width)
    lines: list[Text] = []
    for check in rows:
        value = "" if check.value is None else f"  {check.value:f} {check.unit}".rstrip()
        lines.append(
            Text.assemble(
                (f"{check.level:5}", _LEVELS[check.level]),
                (check.code, "bold" if check.level != "OK" else ""),
                (value, "bright_black"),
            )
        )
        if check.level != "OK":
            lines += [Text("   " + words) for words in wrapped(escaped(check.explanation), max(20, width - 4))]
            lines += _fix(check.fix, width)
    return lines


def refused(refusal: Refusal, width: int) -> list[Text]:
    """What the database said no to, and what would help."""
    lines = [Text(words, "bold red") for words in wrapped(escaped(refusal.words), max(20, width - 2))]
    if refusal.hint:
        lines += [Text(""), *(Text(words) for words in wrapped(escaped(refusal.hint), max(20, width - 2)))]
    return lines


def timeline(
    attempts: Sequence[t.JobAttemptRecord],
    events: Sequence[t.JobEventRecord],
    *,
    logs: Sequence[t.JobLogRecord],
    width: int,
) -> list[Text]:
    """The history of a job, oldest first: its attempts, then its events and log lines by time."""
    lines = [Text("attempts", "bold")]
    for a in sorted(attempts, key=lambda a: (a.run_number, a.attempt)):
        took = span((a.finished_at - a.leased_at).total_seconds()) if a.finished_at else "still at it"
        ended = a.disposition or "RUNNING"
        style = (
            "green" if ended == "SUCCEEDED" else "red" if a.error_code else "cyan" if ended == "RUNNING" else "yellow"
        )
        lines.append(
            Text.assemble(
                f"  {a.run_number}.{a.attempt}  {_clock(a.leased_at)}  {took:>6}  ",
                (f"{ended:14}", style),
                f"  {escaped(a.worker_id)}",
            )
        )
        if a.error_code:
            error = escaped(f"{a.error_code}: {a.error_message or ''}")
            lines += [Text("       " + words, "red") for words in wrapped(error, max(20, width - 8))]
    lines += [Text(""), Text("events and log", "bold")]
    history = [(e.occurred_at, 0, e.event_id, _event(e)) for e in events]
    history += [
        (
            x.occurred_at,
            1,
            x.log_id,
            Text.assemble((f"log {escaped(x.level):10}", "bright_black"), f"  {escaped(x.message)}"),
        )
        for x in logs
    ]
    for at, _, _, words in sorted(history, key=lambda entry: entry[:3]):
        lines.append(Text(f"  {_clock(at)}  ") + words)
    for line in lines:
        line.truncate(width - 1, overflow="ellipsis")
    return lines


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%m-%d %H:%M:%S}"


def _event(event: t.JobEventRecord) -> Text:
    style = {
        "SUCCEEDED": "green",
        "FAILED": "red",
        "DEAD_LETTERED": "red",
        "CANCELED": "magenta",
        "RETRY_SCHEDULED": "yellow",
    }.get(event.event_type, "cyan")
    detail = "  ".join(f"{k}={v}" for k, v in event.detail.items()) if isinstance(event.detail, dict) else ""
    done = f"  {event.progress_done}/{event.progress_total or '?'}" if event.progress_done is not None else ""
    stage = f"  {event.stage}" if event.stage else ""
    return Text.assemble(
        (f"{event.event_type:14}", style), f"  {escaped(stage + done)}  ", (escaped(detail), "bright_black")
    )


HELP = """
1 to 5, tab   another panel
j k, arrows   up and down; page up, page down, g, G
enter         a type: its jobs. A job or a run: why it is not running
w             why the job or run stands where it is; of a type, its next job
t             the history of a job, the tree of a run
p             pause or resume the type
c             cancel the job or the run
r             run a dead letter again
h             health: every check, and what to do
/             filter by part of the name of the type, or of the worker
space         freeze, and go on
escape        back
q             quit

What changes something asks first. A role that may only look is told so.

lost          its lease ran out and nobody has taken it back
over time     it runs for longer than its timeout
no worker     jobs wait, and nobody is registered for the type
at limit      jobs wait, and max_concurrency of the type is reached
slow          jobs have been ready for over a minute
done/s        jobs that ended per second, over the last refreshes
fail/s        attempts that failed; 100+ means that no more was counted
""".strip("\n")
