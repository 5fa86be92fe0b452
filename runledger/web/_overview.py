"""The first page: what is wrong first, then every queue, then what is running, failing and going on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from runledger import _calls
from runledger import types as t
from runledger.web._frame import (
    ZERO,
    Page,
    View,
    fix,
    job_link,
    note,
    progress,
    run_link,
    section,
    shown,
    table,
    type_link,
)
from runledger.web._markup import Markup, cut, el, pill, span, url, when
from runledger.web._source import Answer, Source

QUEUES = 40
"""Rows of the table of queues; the rest is under Types."""


def overview(view: View, source: Source) -> Page:
    """What a person sees who comes because something is wrong."""
    session = view.session
    health = source.cached("health", 2.0, lambda: session.look(_calls.health()))
    standing = source.cached("queues", 2.0, lambda: session.look(_calls.list_queues(max_rows=1000)))
    workers = source.cached("workers", 2.0, lambda: session.look(_calls.list_workers(max_rows=1000)))
    running = session.look(_calls.list_running_jobs(max_rows=8))
    dead = source.cached("dead", 2.0, lambda: session.look(_calls.list_dead_letters(is_dead=True, max_rows=200)))
    runs = session.look(_calls.list_live_workflows(max_rows=8))
    if standing.value is not None:
        source.rates.add(standing.value)
    content = [
        el("h1", "Overview", cls="sr"),
        verdict(health),
        tiles(source, queues=standing, workers=workers),
        section(
            "Queues",
            shown(standing, lambda rows: queues(view, source, rows)),
            id_="queues",
            aside=el("a", "All types", href="/types"),
        ),
        el(
            "div",
            el(
                "div",
                section(
                    "Running now",
                    shown(running, lambda rows: running_jobs(view, rows)),
                    id_="running",
                    aside=el("a", "All running", href="/running"),
                ),
                cls="stack",
            ),
            el(
                "div",
                section(
                    "Dead letters",
                    shown(dead, lambda rows: letters(view, rows)),
                    id_="dead",
                    aside=el("a", "All dead letters", href="/dead-letters"),
                ),
                section(
                    "Workflows going on",
                    shown(runs, lambda rows: run_rows(view, rows)),
                    id_="runs",
                    aside=el("a", "All going on", href="/workflows?status=LIVE"),
                ),
                cls="stack",
            ),
            cls="columns",
        ),
    ]
    return Page("Overview", content, active="Overview")


def verdict(health: Answer[list[t.HealthCheck]]) -> Markup:
    """Health, what is not well in full."""
    if health.value is None:
        return el("section", note(health.refusal, "note refused"), id="health")
    bad = [c for c in health.value if c.level != "OK"]
    if not bad:
        words = f"All {len(health.value)} checks are fine."
        return el(
            "section",
            el("p", el("span", "✓", cls="tick", aria_hidden="true"), words, el("a", "See them", href="/health")),
            cls="verdict ok",
            id="health",
        )
    worst = "bad" if any(c.level == "CRIT" for c in bad) else "warn"
    title = f"{len(bad)} thing{'' if len(bad) == 1 else 's'} need{'s' if len(bad) == 1 else ''} attention"
    shown_ = [finding(check) for check in bad[:6]]
    if len(bad) > 6:
        shown_.append(el("p", el("a", f"{len(bad) - 6} more findings", href="/health")))
    return el(
        "section",
        el("h2", title, id="health-title"),
        el("div", shown_, cls="findings"),
        cls=f"verdict {worst}",
        id="health",
        aria_labelledby="health-title",
    )


def finding(check: t.HealthCheck) -> Markup:
    """One check that is not well: what, where to look, what to run."""
    links = [el("a", words, href=href) for words, href in where(check)]
    return el(
        "article",
        el("p", pill(check.level), el("code", check.code), cls="finding-head"),
        el("p", check.explanation, cls="explanation"),
        el("p", links, cls="links") if links else None,
        fix(check.fix) if check.level != "OK" else None,
        cls="finding",
    )


def where(check: t.HealthCheck) -> list[tuple[str, str]]:
    """Where the pages tell more of a check."""
    detail: Mapping[str, Any] = check.detail if isinstance(check.detail, dict) else {}
    found: list[tuple[str, str]] = []
    worst: Sequence[Mapping[str, Any]] = detail.get("worst") or ()
    for entry in worst[:2]:
        if "job_id" in entry:
            found.append((f"Why job {entry['job_id'][:8]}… runs over", f"/jobs/{entry['job_id']}"))
        elif "job_type" in entry:
            link = url("/waiting", type=entry["job_type"])
            found.append((f"Waiting jobs of {entry['job_type'][:60]}", link))
    area = check.code.split(".", 1)[0]
    pages = {
        "lease": ("Running jobs", "/running"),
        "worker": ("Workers", "/workers"),
        "schedule": ("Schedules", "/schedules"),
        "gate": ("Gates", "/gates"),
    }
    if area in pages:
        found.append(pages[area])
    if check.code == "queue.no_worker":
        found.append(("Workers", "/workers"))
    return found


def tiles(source: Source, *, queues: Answer[list[t.QueueSummary]], workers: Answer[list[t.WorkerRecord]]) -> Markup:
    """The numbers of all queues together."""
    told: list[Markup] = []
    if (rows := queues.value) is not None:
        lost, delayed = sum(r.lost for r in rows), sum(r.delayed for r in rows)
        series = [sum(step) for step in zip(*_same_length([source.rates.of(r.job_type) for r in rows]), strict=True)]
        more = "+" if any(_is_cut(r) for r in rows) else ""
        told += [
            tile("Ready", f"{sum(r.ready for r in rows):,}{more}", under=f"{delayed:,} for later" if delayed else None),
            tile(
                "Running",
                f"{sum(r.running for r in rows):,}",
                href="/running",
                under=f"{lost:,} lost their lease" if lost else None,
                bad=bool(lost),
            ),
            tile("Jobs ended", *_speed(rows, series)),
            tile("Dead letters", f"{sum(r.dead for r in rows):,}", href="/dead-letters", bad=any(r.dead for r in rows)),
        ]
    if (those := workers.value) is not None:
        states = Counter(w.state for w in those)
        live = states["idle"] + states["busy"] + states["unknown"]
        told.append(
            tile(
                "Live workers",
                f"{live:,}",
                href="/workers",
                bad=not live or bool(states["silent"]),
                under=f"{states['silent']} silent" if states["silent"] else f"{states['busy']} busy",
            )
        )
    return el("section", told, cls="tiles", id="tiles", aria_label="In numbers") if told else Markup("")


def _same_length(series: Sequence[list[float]]) -> list[list[float]]:
    size = max(map(len, series), default=0)
    return [[0.0] * (size - len(s)) + s for s in series]


def _speed(rows: Sequence[t.QueueSummary], series: Sequence[float]) -> tuple[str, object]:
    if series:
        return rate(series[-1]), sparkline(series) or "nothing ends"
    return "…", "not known: upkeep lags" if any(r.finished is None for r in rows) else "measuring"


def tile(label: str, value: str, under: object = None, *, href: str | None = None, bad: bool = False) -> Markup:
    """One number with its name."""
    inner = (el("span", label, cls="label"), el("span", value, cls="value"), el("span", under, cls="under"))
    classes = "tile bad" if bad else "tile"
    return el("a", inner, href=href, cls=classes) if href else el("div", inner, cls=classes)


def rate(per_second: float) -> str:
    """A rate in the unit in which it is a number of some size."""
    if per_second >= 10:
        return f"{per_second:,.0f}/s"
    if per_second >= 1:
        return f"{per_second:.1f}/s"
    return f"{per_second * 60:.0f}/min"


def _is_cut(row: t.QueueSummary) -> bool:
    return row.ready + row.delayed >= row.counted_to


def queues(view: View, source: Source, rows: list[t.QueueSummary]) -> Markup:
    """A row per job type, those first where something waits for long, has gone wrong, or is going on."""

    def weight(row: t.QueueSummary) -> tuple[object, ...]:
        wait = (view.now - row.oldest_ready_at).total_seconds() if row.oldest_ready_at else 0
        return -int(wait // 60), -row.lost, -row.dead, -row.ready, -row.running, -row.delayed, row.job_type

    ranked = sorted(rows, key=weight)
    told = queue_table(view, source, ranked[:QUEUES])
    if len(ranked) > QUEUES:
        return el("div", told, note(f"{len(ranked) - QUEUES:,} more types, with less to see, are under Types."))
    return told


def queue_table(view: View, source: Source, rows: Sequence[t.QueueSummary]) -> Markup:
    """How job types stand."""
    return table(
        [queue_row(view, source, row) for row in rows],
        id_="queues",
        numbers="Ready Oldest Later Running Dead Workers Ended Failed",
        empty="No job type is defined yet. Workers define theirs when they start; define_job() does it in psql.",
        caption="Queues by job type",
    )


LONG_WAIT = 300.0
"""Seconds: the bound from which health warns."""


def queue_row(view: View, source: Source, row: t.QueueSummary) -> dict[str, object]:
    """What is told of one type."""
    name, more = row.job_type, "+" if _is_cut(row) else ""
    wait = (view.now - row.oldest_ready_at).total_seconds() if row.oldest_ready_at else None
    needs_worker = not row.workers and not row.running and row.ready
    return {
        "Type": (type_link(name), type_marks(row)),
        "Ready": _counted(row.ready, url("/waiting", type=name), more),
        "Oldest": el("span", span(wait), cls="bad-text" if wait >= LONG_WAIT else None) if wait is not None else None,
        "Later": _counted(row.delayed, url("/waiting", type=name), more) if row.delayed else None,
        "Running": (
            _counted(row.running, url("/running", type=name)),
            el("span", f" {row.lost:,} lost", cls="bad-text") if row.lost else None,
        ),
        "Dead": el("a", f"{row.dead:,}", href=url("/dead-letters", type=name), cls="bad-text") if row.dead else ZERO,
        "Workers": el("span", "none", cls="bad-text")
        if needs_worker
        else _counted(row.workers, url("/workers", type=name)),
        "Ended": f"{row.finished:,}" if row.finished else None,
        "Failed": f"{row.failed:,}" if row.failed else None,
        "Rate": _rate(source.rates.of(name)),
    }


def type_marks(definition: t.JobDefinition | t.QueueSummary) -> list[Markup]:
    """Whether a type is paused or disabled."""
    marks = []
    if definition.is_paused:
        marks.append(el("span", pill("paused"), title=definition.paused_reason))
    if not definition.is_enabled:
        marks.append(el("span", pill("disabled"), title=definition.disabled_reason))
    return marks


def _counted(count: int, href: str, more: str = "") -> Markup:
    return el("a", f"{count:,}{more}", href=href) if count else ZERO


def _rate(series: list[float]) -> Markup | None:
    if not any(series):
        return None
    return el("span", sparkline(series), el("span", rate(series[-1]), cls="dim"), cls="rate")


def sparkline(series: Sequence[float], *, width: int = 84, height: int = 20) -> Markup | None:
    """The series as a small picture, the latest on the right."""
    if len(series) < 2 or not any(series):
        return None
    top = max(*series, 1e-9)
    step = width / max(len(series) - 1, 1)
    points = [f"{i * step:.1f} {height - 2 - (height - 4) * value / top:.1f}" for i, value in enumerate(series)]
    line = "M" + "L".join(points)
    return el(
        "svg",
        el("path", d=f"{line}L{width} {height}L0 {height}Z", cls="area"),
        el("path", d=line, cls="line"),
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        cls="spark",
        role="img",
        aria_label=f"rates of the last minutes, at most {rate(top)}",
    )


def running_jobs(view: View, rows: list[t.RunningJob]) -> Markup:
    """Jobs that workers hold, the longest held first."""
    return table(
        [
            {
                "Job": job_link(row.job_id),
                "Type": cut(row.job_type, 40),
                "Progress": progress(row.progress_done, row.progress_total) or cut(row.stage, 24),
                "Since": when(row.claimed_at, view.now),
                "Worker": cut(row.worker_id, 22),
            }
            for row in rows
        ],
        id_="running",
        empty="Nothing is running.",
    )


def letters(view: View, rows: list[t.DeadLetter]) -> Markup:
    """Dead letters by type and code."""
    counted = Counter((row.job_type, row.error_code) for row in rows)
    latest = {(row.job_type, row.error_code): row for row in reversed(rows)}
    told = table(
        [
            {
                "Error": el("code", cut(code, 40) or "—"),
                "Jobs": el("a", f"{count:,}", href=url("/dead-letters", type=job_type, code=code)),
                "Type": cut(job_type, 32),
                "Latest": job_link(latest[job_type, code].job_id, words=_ago(view, latest[job_type, code])),
            }
            for (job_type, code), count in counted.most_common(8)
        ],
        id_="dead",
        empty="None.",
        numbers="Jobs",
    )
    return el("div", told, note("Counted among the latest 200.")) if len(rows) == 200 else told


def _ago(view: View, row: t.DeadLetter) -> str:
    return f"{span(view.now - row.failed_at)} ago"


def run_rows(view: View, rows: list[t.WorkflowSummary]) -> Markup:
    """Runs with how far they are."""
    return table(
        [
            {
                "Run": run_link(row.workflow_run_id),
                "Type": cut(row.workflow_type, 23),
                "Steps": steps_bar(row),
                "Started": when(row.started_at, view.now),
            }
            for row in rows
        ],
        id_="runs",
        empty="No run is going on.",
    )


def steps_bar(row: t.WorkflowSummary | t.WorkflowRecord) -> Markup:
    """How many steps of a run have ended how, as a bar and in words."""
    total = max(row.steps_total, 1)
    parts = [
        ("ok", row.steps_succeeded),
        ("bad", row.steps_failed),
        ("open", row.steps_active),
        ("gate", row.steps_waiting),
    ]
    x, bars = 0.0, []
    for cls, count in parts:
        wide = 100 * count / total
        if count:
            bars.append(el("rect", x=f"{x:.2f}", y=0, width=f"{wide:.2f}", height=8, cls=f"part {cls}"))
        x += wide
    words = f"{row.steps_succeeded:,}/{row.steps_total:,}" + (
        f", {row.steps_failed:,} not well" if row.steps_failed else ""
    )
    return el(
        "span",
        el(
            "svg",
            el("rect", x=0, y=0, width=100, height=8, cls="part rest"),
            bars,
            viewBox="0 0 100 8",
            cls="steps-bar",
            preserveAspectRatio="none",
            role="img",
            aria_label=words,
        ),
        el("span", words, cls="dim"),
        cls="steps",
    )
