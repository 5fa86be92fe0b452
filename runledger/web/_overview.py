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
    metrics = source.cached("metrics", 2.0, lambda: session.look(_calls.job_metrics()))
    definitions = source.cached("types", 2.0, lambda: session.look(_calls.list_job_definitions(max_rows=1000)))
    workers = source.cached("workers", 2.0, lambda: session.look(_calls.list_workers(max_rows=1000)))
    running = session.look(_calls.list_jobs(None, "LEASED", max_rows=8))
    dead = source.cached("dead", 2.0, lambda: session.look(_calls.list_dead_letters(is_dead=True, max_rows=200)))
    runs = [session.look(_calls.list_workflows(None, status, max_rows=6)) for status in ACTIVE]
    if metrics.value is not None:
        source.rates.add(metrics.value)
    content = [
        el("h1", "Overview", cls="sr"),
        verdict(health),
        tiles(source, metrics=metrics, workers=workers),
        section(
            "Queues",
            shown(metrics, lambda rows: queues(source, rows, definitions.value or [], oldest(health.value))),
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
                    aside=el("a", "All running", href="/jobs?status=LEASED"),
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
                    [shown(r, lambda rows: rows and run_rows(view, rows)) for r in runs]
                    if any(r.value or r.refusal for r in runs)
                    else note("No run is going on.", "empty"),
                    id_="runs",
                    aside=el("a", "All runs", href="/workflows"),
                ),
                cls="stack",
            ),
            cls="columns",
        ),
    ]
    return Page("Overview", content, active="Overview")


ACTIVE: tuple[t.WorkflowStatus, ...] = ("WAITING_FOR_EXTERNAL", "RUNNING")


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
            link = url("/jobs", type=entry["job_type"], status="PENDING")
            found.append((f"Waiting jobs of {entry['job_type'][:60]}", link))
    area = check.code.split(".", 1)[0]
    pages = {
        "lease": ("Running jobs", "/jobs?status=LEASED"),
        "worker": ("Workers", "/workers"),
        "schedule": ("Schedules", "/schedules"),
        "gate": ("Gates", "/gates"),
    }
    if area in pages:
        found.append(pages[area])
    if check.code == "queue.no_worker":
        found.append(("Workers", "/workers"))
    return found


def oldest(checks: list[t.HealthCheck] | None) -> dict[str, float]:
    """How long the oldest ready job of a type waits, of the types where health tells."""
    found: dict[str, float] = {}
    for check in checks or ():
        if check.code in ("queue.ready_age", "queue.paused") and isinstance(check.detail, dict):
            for entry in check.detail.get("worst") or ():
                found[entry["job_type"]] = float(entry["seconds"])
    return found


def tiles(
    source: Source,
    *,
    metrics: Answer[list[t.JobMetricsRow]],
    workers: Answer[list[t.WorkerRecord]],
) -> Markup:
    """The numbers of all queues together."""
    told: list[Markup] = []
    if (rows := metrics.value) is not None:
        stale = sum(r.stale_leases for r in rows)
        series = [sum(step) for step in zip(*_same_length([source.rates.of(r.job_type) for r in rows]), strict=True)]
        failed = sum(failures(r) for r in rows)
        told += [
            tile("Waiting", f"{sum(r.pending_count for r in rows):,}", href="/jobs?status=PENDING"),
            tile(
                "Running",
                f"{sum(r.leased_count for r in rows):,}",
                href="/jobs?status=LEASED",
                under=f"{stale:,} lost their lease" if stale else None,
                bad=bool(stale),
            ),
            tile("Attempts ended", rate(series[-1]) if series else "…", under=sparkline(series) or "measuring"),
            tile(
                "Succeeded, 24 h",
                f"{sum(r.succeeded_24h for r in rows):,}",
                href="/jobs?status=SUCCEEDED",
                under=f"{failed:,} attempts failed" if failed else "none failed",
            ),
            tile(
                "Dead, 24 h",
                f"{sum(r.dead_lettered_24h for r in rows):,}",
                href="/dead-letters",
                bad=any(r.dead_lettered_24h for r in rows),
            ),
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


def tile(label: str, value: str, *, href: str | None = None, under: object = None, bad: bool = False) -> Markup:
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


def failures(row: t.JobMetricsRow) -> int:
    """Attempts of 24 hours that failed."""
    return row.retryable_24h + row.terminal_24h + row.panicked_24h + row.timeout_24h


def queues(
    source: Source, rows: list[t.JobMetricsRow], definitions: list[t.JobDefinition], waits: Mapping[str, float]
) -> Markup:
    """A row per job type, those first where something waits, runs or fails."""
    defined = {d.job_type: d for d in definitions}

    def weight(row: t.JobMetricsRow) -> tuple[object, ...]:
        return (
            -waits.get(row.job_type, 0),
            -row.stale_leases,
            -row.dead_lettered_24h,
            -row.pending_count,
            -row.leased_count,
            -row.succeeded_24h,
            row.job_type,
        )

    ranked = sorted(rows, key=weight)
    told = table(
        [queue_row(source, row, defined.get(row.job_type), waits.get(row.job_type)) for row in ranked[:QUEUES]],
        id_="queues",
        numbers="Waiting Oldest Running Done Failed Median p95",
        empty="No job type is defined yet. Workers define theirs when they start; define_job() does it in psql.",
        caption="Queues by job type",
    )
    if len(ranked) > QUEUES:
        return el("div", told, note(f"{len(ranked) - QUEUES:,} more types, with less to see, are under Types."))
    return told


def queue_row(
    source: Source, row: t.JobMetricsRow, definition: t.JobDefinition | None, wait: float | None
) -> dict[str, object]:
    """What is told of one type."""
    name = row.job_type
    marks = type_marks(definition)
    stale = el("span", f" {row.stale_leases:,} lost", cls="bad-text") if row.stale_leases else None
    failed = failures(row)
    return {
        "Type": (type_link(name), marks),
        "Waiting": _counted(row.pending_count, url("/jobs", type=name, status="PENDING")),
        "Oldest": el("span", span(wait), cls="bad-text" if (wait or 0) >= 300 else None) if wait is not None else None,
        "Running": (_counted(row.leased_count, url("/jobs", type=name, status="LEASED")), stale),
        "Done": _counted(row.succeeded_24h, url("/jobs", type=name, status="SUCCEEDED")),
        "Failed": el(
            "span",
            f"{failed:,}" + (f", {row.dead_lettered_24h:,} dead" if row.dead_lettered_24h else ""),
            cls="bad-text" if row.dead_lettered_24h else None,
        )
        if failed
        else None,
        "Median": milliseconds(row.p50_duration_ms_24h),
        "p95": milliseconds(row.p95_duration_ms_24h),
        "Rate": _rate(source.rates.of(name)),
    }


def type_marks(definition: t.JobDefinition | None) -> list[Markup]:
    """Whether a type is paused or disabled."""
    if definition is None:
        return []
    marks = []
    if definition.is_paused:
        marks.append(el("span", pill("paused"), title=definition.paused_reason))
    if not definition.is_enabled:
        marks.append(el("span", pill("disabled"), title=definition.disabled_reason))
    return marks


def _counted(count: int, href: str) -> object:
    return el("a", f"{count:,}", href=href) if count else ZERO


def milliseconds(value: object) -> str | None:
    """A duration that was measured in milliseconds."""
    return None if value is None else span(float(str(value)) / 1000)


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


def running_jobs(view: View, rows: list[t.JobSummary]) -> Markup:
    """Jobs that workers hold, the newest first."""
    return table(
        [
            {
                "Job": job_link(row.job_id),
                "Type": cut(row.job_type, 40),
                "Progress": progress(row.progress_done, row.progress_total) or cut(row.stage, 24),
                "Since": when(row.started_at, view.now),
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
                "Type": cut(row.workflow_type, 36),
                "Steps": steps_bar(row),
                "Started": when(row.started_at, view.now),
            }
            for row in rows
        ],
        id_=f"runs-{rows[0].status}",
        empty="None.",
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
