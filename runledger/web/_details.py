"""One job, one run, one type, one schedule: why first, then what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from runledger import _calls
from runledger import types as t
from runledger.web import _dag
from runledger.web._frame import (
    Cells,
    Missing,
    Page,
    View,
    change,
    changes,
    facts,
    fix,
    form,
    job_link,
    note,
    paging,
    progress,
    refused,
    run_link,
    section,
    shown,
    table,
    type_link,
)
from runledger.web._lists import complete_gate
from runledger.web._markup import STATES, Markup, body, clock, cut, el, pill, short, span, url, when
from runledger.web._overview import rate, sparkline, steps_bar, type_marks
from runledger.web._source import Answer, Source

NEWEST = 2**63 - 1
NEWEST_RUN = 2**31 - 1
HISTORY = 100


def job(view: View, source: Source, job_id: UUID) -> Page:
    """Everything about one job but its bodies, which are shown when they are asked for."""
    del source
    session = view.session
    record = session.look(_calls.get_job(job_id))
    if record.refusal is None and record.value is None:
        raise Missing("There is no job with this id: it never was, or it has been pruned.")
    reasons = session.look(_calls.why(job_id))
    before_event = view.number("before_event", NEWEST, least=1, most=NEWEST)
    before_log = view.number("before_log", NEWEST, least=1, most=NEWEST)
    attempts = session.look(
        _calls.list_job_attempts(job_id, before_run=NEWEST_RUN, before_attempt=NEWEST_RUN, max_rows=HISTORY)
    )
    events = session.look(_calls.list_job_events(job_id, before_event_id=before_event, max_rows=HISTORY))
    logs = session.look(_calls.list_job_logs(job_id, before_log_id=before_log, max_rows=HISTORY))
    bodies = _bodies(view, job_id, logs)
    row = record.value
    head = el(
        "section",
        el("p", el("a", "Jobs", href="/jobs"), cls="crumbs"),
        el("h1", "Job ", el("span", short(job_id), cls="id", title=str(job_id)), pill(row.state) if row else None),
        el("p", type_link(row.job_type), cls="sub") if row else refused(record),
        _job_changes(view, row),
        id="head",
    )
    content: list[object] = [
        head,
        el(
            "section",
            el("h2", "Why", id="why-title"),
            shown(reasons, _reasons),
            id="why",
            cls="why",
            aria_labelledby="why-title",
        ),
    ]
    if row:
        content.append(section("Facts", facts(_job_facts(view, row)), id_="facts"))
    is_posted = bool(view.form)
    if is_posted:  # what was asked for comes first
        content.insert(1, bodies)
    content += [
        section("Timeline", shown(attempts, lambda rows: _timeline(view, row, rows)), id_="timeline"),
        section("Attempts", shown(attempts, lambda rows: _attempts(view, rows)), id_="attempts"),
        section("Log", shown(logs, lambda rows: _logs(view, job_id, rows)), id_="log"),
        section("Events", shown(events, lambda rows: _events(view, job_id, rows)), id_="events"),
        *([] if is_posted else [bodies]),
    ]
    return Page(f"Job {short(job_id)}", content, active="Jobs", refresh=0 if is_posted else 5)


def _reasons(rows: Sequence[t.Reason]) -> object:
    return [
        el(
            "article",
            el("p", row.explanation, cls="explanation"),
            el("code", row.code, cls="code"),
            fix(row.fix),
            cls="reason first" if place == 0 else "reason",
        )
        for place, row in enumerate(rows)
    ]


def _job_changes(view: View, row: t.JobRecord | None) -> Markup:
    if row is None:
        return Markup("")
    given = []
    if row.status in ("PENDING", "LEASED"):
        given.append(change(view, "cancel-job", "Cancel job", danger=True, job=row.job_id))
    if row.status in ("DEAD_LETTERED", "CANCELED"):
        given.append(change(view, "requeue-job", "Requeue", job=row.job_id, run_number=row.run_number))
    may_change = row.status in ("PENDING", "LEASED", "DEAD_LETTERED", "CANCELED")
    return changes(view, *given) if may_change else Markup("")


def _job_facts(view: View, row: t.JobRecord) -> list[tuple[str, object]]:
    now = view.now
    return [
        ("Id", el("code", str(row.job_id))),
        ("Attempt", f"{row.attempt} of {row.max_attempts}" + (f", run {row.run_number}" if row.run_number > 1 else "")),
        ("Progress", progress(row.progress_done, row.progress_total)),
        ("Stage", cut(row.stage, 80)),
        ("Due", when(row.next_run_at, now) if row.status == "PENDING" else None),
        ("Worker", cut(row.worker_id, 80)),
        ("Lease", ("ends ", when(row.lease_expires_at, now)) if row.lease_expires_at else None),
        ("Last heartbeat", when(row.last_heartbeat_at, now) if row.status == "LEASED" else None),
        (
            "Last error",
            (el("code", cut(row.last_error_code, 80)), " ", cut(row.last_error_message, 400))
            if row.last_error_code
            else None,
        ),
        ("Reason", cut(row.status_reason, 400)),
        ("Priority", str(row.priority)),
        ("Timeout", span(row.timeout_seconds)),
        (
            "Tenant",
            el("a", short(row.organization_id), href=url("/jobs", tenant=row.organization_id), cls="id")
            if row.organization_id
            else None,
        ),
        ("Workflow", run_link(row.workflow_run_id)),
        ("Scheduled for", clock(row.scheduled_for) if row.scheduled_for else None),
        ("Created", when(row.created_at, now)),
        ("Started", when(row.started_at, now) if row.started_at else None),
        ("Finished", when(row.finished_at, now) if row.finished_at else None),
    ]


def _bodies(view: View, job_id: UUID, logs: Answer[list[t.JobLogRecord]]) -> Markup:
    """The JSON of a job: behind a button, since looking at it is recorded."""
    button = el("button", "Show payload, checkpoint and output", type_="submit")
    ask = form(view, f"/jobs/{job_id}", el("input", type_="hidden", name="show", value="bodies"), button)
    words = note("Only for roles that may read it; that it was read stands in the record of actions.")
    if view.form.get("show") == "bodies":
        found = view.session.open_look(_calls.job_payload(job_id))
        drawn = shown(found, _json_bodies)
        return section("Payload", drawn, el("p", el("a", "Hide", href=f"/jobs/{job_id}")), id_="bodies")
    if view.form.get("show") == "logs":
        with_json = [line.log_id for line in logs.value or () if line.has_payload]
        if with_json:
            found_logs = view.session.open_look(_calls.job_log_payloads(job_id, with_json))
            drawn = shown(found_logs, lambda rows: [_json(f"Line {row.log_id}", row.payload) for row in rows])
            return section("Data of the log", drawn, el("p", el("a", "Hide", href=f"/jobs/{job_id}")), id_="bodies")
    return section("Payload", ask, words, id_="bodies")


def _json_bodies(found: t.JobBody | None) -> object:
    if found is None:
        return note("The job is gone.")
    return [_json("Payload", found.payload), _json("Checkpoint", found.checkpoint), _json("Output", found.output)]


def _json(name: str, value: object) -> object:
    return el("div", el("h3", name), body(value) if value is not None else note("None."))


COLOURS = {
    "SUCCEEDED": "ok",
    "RETRY_SCHEDULED": "warn",
    "DEAD_LETTERED": "bad",
    "CONTINUED": "wait",
    "RELEASED": "idle",
    "CANCELED": "idle",
}


def _timeline(view: View, row: t.JobRecord | None, attempts: Sequence[t.JobAttemptRecord]) -> Markup:
    """The time of a job as a bar: waiting is thin, each attempt a block."""
    oldest_first = list(reversed(attempts))
    if not oldest_first and row is None:
        return note("No attempt yet.", "empty")
    is_whole = len(attempts) < HISTORY
    start = row.created_at if row and is_whole else oldest_first[0].leased_at
    end = (row.finished_at if row else None) or view.now
    end = max([end, *(a.finished_at for a in oldest_first if a.finished_at)])
    whole = max((end - start).total_seconds(), 1e-3)
    width, parts = 1000.0, []

    def at(instant: datetime) -> float:
        return max(0.0, min(width, (instant - start).total_seconds() / whole * width))

    parts.append(el("rect", cls="wait-line", x=0, y=19, width=width, height=4, rx=2))
    for attempt in oldest_first:
        left, right = at(attempt.leased_at), at(attempt.finished_at or end)
        wide = max(right - left, 5.0)
        left = min(left, width - wide)
        colour = COLOURS.get(attempt.disposition or "", "run")
        told = f"attempt {attempt.attempt}" + (f" of run {attempt.run_number}" if attempt.run_number > 1 else "")
        told += f": {(attempt.disposition or 'running').lower().replace('_', ' ')}"
        told += f", {span((attempt.finished_at or view.now) - attempt.leased_at)}"
        parts.append(
            el(
                "rect",
                el("title", told),
                cls=f"part {colour}",
                x=f"{left:.1f}",
                y=8,
                width=f"{wide:.1f}",
                height=26,
                rx=3,
            )
        )
    words = f"{len(attempts)} attempt{'' if len(attempts) == 1 else 's'} in {span(end - start)}"
    if row and row.status == "PENDING":
        words += ", waiting"
    worked = sum((((a.finished_at or view.now) - a.leased_at) for a in attempts), timedelta(0))
    if attempts:
        words += f", {span(worked)} of it at work"
    return el(
        "figure",
        el(
            "svg",
            parts,
            viewBox=f"0 0 {width:.0f} 42",
            preserveAspectRatio="none",
            cls="timeline",
            role="img",
            aria_label=words,
        ),
        el(
            "figcaption",
            el("span", "created" if is_whole else "", " ", el("time", clock(start))),
            el("span", words),
            el("time", clock(end)),
        ),
    )


def _attempts(view: View, rows: Sequence[t.JobAttemptRecord]) -> Markup:
    told: list[Cells] = [
        {
            "Attempt": f"{row.attempt}" + (f", run {row.run_number}" if row.run_number > 1 else ""),
            "Ended": pill(row.disposition or "running"),
            "Error": el("code", cut(row.error_code, 48)) if row.error_code else None,
            "Message": el("span", cut(row.error_message, 300), cls="message") if row.error_message else None,
            "Took": span((row.finished_at or view.now) - (row.started_at or row.leased_at)),
            "Claimed": when(row.leased_at, view.now),
            "Next try": _next_try(row),
            "Worker": cut(row.worker_id, 28),
        }
        for row in rows
    ]
    return table(told, id_="attempts", numbers="Took", empty="No worker has claimed it yet.")


def _next_try(row: t.JobAttemptRecord) -> str | None:
    if row.effective_next_run_at is None or row.finished_at is None:
        return None
    by = {"ERROR_CODE": "by its error code", "HANDLER_NOT_BEFORE": "asked by the handler", "REAPER": "by the reaper"}
    how = by.get(row.retry_timing_source or "")
    return f"{span(row.effective_next_run_at - row.finished_at)} later" + (f", {how}" if how else "")


def _events(view: View, job_id: UUID, rows: Sequence[t.JobEventRecord]) -> object:
    told: list[Cells] = [
        {
            "When": el("time", clock(row.occurred_at), datetime=row.occurred_at.isoformat(), cls="at"),
            "Event": el("strong", row.event_type.replace("_", " ").lower()),
            "Attempt": (str(row.attempt) if row.attempt else "—")
            + (f", run {row.run_number}" if row.run_number > 1 else ""),
            "Detail": _detail(row),
        }
        for row in rows
    ]
    more = {"before_event": rows[-1].event_id} if len(rows) == HISTORY else None
    return [
        table(told, id_="events", empty="None is kept."),
        paging(view, f"/jobs/{job_id}", more=more, placed="before_event", count=len(rows)) if told else None,
    ]


def _detail(row: t.JobEventRecord) -> object:
    parts: list[object] = []
    if row.progress_done is not None:
        parts.append(progress(row.progress_done, row.progress_total))
    if row.stage:
        parts.append(el("span", cut(row.stage, 60), cls="dim"))
    if isinstance(row.detail, Mapping):
        parts += [
            el("span", el("span", f"{key}: ", cls="dim"), cut(str(value), 160), cls="pair")
            for key, value in row.detail.items()
            if value is not None
        ]
    return el("span", parts, cls="pairs") if parts else None


LEVELS = {"ERROR": "bad", "CRITICAL": "bad", "WARN": "warn", "WARNING": "warn"}


def _logs(view: View, job_id: UUID, rows: Sequence[t.JobLogRecord]) -> object:
    if not rows:
        return note("It wrote no log.", "empty")
    lines = [
        el(
            "li",
            el("time", row.occurred_at.strftime("%H:%M:%S.%f")[:-3], title=clock(row.occurred_at)),
            el("span", cut(row.level, 12), cls=f"level {LEVELS.get(row.level.upper(), '')}"),
            el(
                "span",
                el("span", str(row.message), cls="message"),
                el("span", f" data in line {row.log_id}", cls="dim") if row.has_payload else None,
            ),
        )
        for row in rows
    ]
    ask = None
    if any(row.has_payload for row in rows) and not view.query:
        ask = form(
            view,
            f"/jobs/{job_id}",
            el("input", type_="hidden", name="show", value="logs"),
            el("button", "Show the data of these lines", type_="submit"),
        )
    more = {"before_log": rows[-1].log_id} if len(rows) == HISTORY else None
    pages = paging(view, f"/jobs/{job_id}", more=more, placed="before_log", count=len(rows))
    return [el("ol", lines, cls="logs"), ask, pages]


# --- runs -----------------------------------------------------------------------------------------

STEPS_READ, EDGES_READ, ROWS_READ = 10_000, 20_000, 1000
QUIET = ("why.step_succeeded", "why.step_blocked", "why.run_succeeded", "why.step_canceled", "why.step_unsatisfied")


def workflow(view: View, source: Source, run_id: UUID) -> Page:
    """One run: why it is not done, its picture, its steps."""
    session = view.session
    record = session.look(_calls.get_workflow(run_id))
    if record.refusal is None and record.value is None:
        raise Missing("There is no run with this id: it never was, or it has been pruned.")
    row = record.value
    if row is None:
        return Page(
            "Workflow", [section(f"Run {short(run_id)}", refused(record), id_="head", level="h1")], active="Workflows"
        )
    reasons = session.look(_calls.why_workflow(run_id))
    after = view.number("after", 0, least=0, most=2**31 - 1) or None
    steps = session.look(_calls.list_workflow_steps(run_id, after, max_rows=100))
    gates_ = [r for r in reasons.value or () if r.code in ("why.gate_waiting", "why.gate_overdue") and r.step_key]
    given = [complete_gate(view, run_id, str(g.step_key)) for g in gates_[:5]]
    if row.finished_at is None:
        given.append(change(view, "cancel-run", "Cancel run", danger=True, run=run_id))
    content: list[object] = [
        el(
            "section",
            el("p", el("a", "Workflows", href="/workflows"), cls="crumbs"),
            el("h1", "Run ", el("span", short(run_id), cls="id", title=str(run_id)), pill(row.status)),
            el("p", cut(row.workflow_type, 160), cls="sub name"),
            changes(view, *given) if row.finished_at is None else None,
            id="head",
        ),
        el(
            "section",
            el("h2", "Why", id="why-title"),
            shown(reasons, _step_reasons),
            id="why",
            cls="why",
            aria_labelledby="why-title",
        ),
        section("Facts", facts(_run_facts(view, row)), id_="facts"),
        section("Picture", _picture(view, source, row), id_="picture"),
        section("Steps", shown(steps, lambda rows: _steps(view, run_id, rows)), id_="steps"),
    ]
    refresh = 5 if row.steps_total <= ROWS_READ else 30
    return Page(f"Run {short(run_id)}", content, active="Workflows", refresh=refresh)


def _step_reasons(rows: Sequence[t.StepReason]) -> object:
    # The rows come in the order in which to mend them; steps with the same reason are told of once. What is done or
    # merely waits for others is told by the picture.
    alike: dict[str, list[t.StepReason]] = {}
    for row in [row for row in rows if row.code not in QUIET] or rows[:1]:
        alike.setdefault(row.code, []).append(row)
    return [_step_reason(those, is_first=place == 0) for place, those in enumerate(list(alike.values())[:8])]


MORE_STEPS = 30


def _step_reason(rows: Sequence[t.StepReason], *, is_first: bool) -> Markup:
    first, *others = rows
    key = el("code", cut(first.step_key, 60), cls="step") if first.step_key else None
    more = None
    if others:
        told = [
            el("li", el("code", cut(row.step_key, 60)), " ", cut(row.explanation, 300)) for row in others[:MORE_STEPS]
        ]
        if len(others) > MORE_STEPS:
            told.append(el("li", f"and {len(others) - MORE_STEPS:,} more"))
        words = f"{len(others):,} more step{'' if len(others) == 1 else 's'} like this"
        more = el("details", el("summary", words), el("ul", told), id=f"more-{first.code}")
    return el(
        "article",
        el("p", key, first.explanation, cls="explanation"),
        el("code", first.code, cls="code"),
        fix(first.fix),
        more,
        cls="reason first" if is_first else "reason",
    )


def _run_facts(view: View, row: t.WorkflowRecord) -> list[tuple[str, object]]:
    return [
        ("Id", el("code", str(row.workflow_run_id))),
        ("Steps", steps_bar(row)),
        ("Steps not ended", f"{row.steps_active + row.steps_waiting:,}" if row.finished_at is None else None),
        ("Gates open", f"{row.steps_waiting:,}" if row.steps_waiting else None),
        ("Result of", el("code", cut(row.result_step_key, 60)) if row.result_step_key else None),
        ("Reason", cut(row.status_reason, 400)),
        ("Tenant", short(row.organization_id) if row.organization_id else None),
        ("Started", when(row.started_at, view.now)),
        ("Finished", when(row.finished_at, view.now) if row.finished_at else None),
        ("Took", span((row.finished_at or view.now) - row.started_at)),
    ]


def _picture(view: View, source: Source, row: t.WorkflowRecord) -> object:
    if row.steps_total > STEPS_READ:
        return note(f"{row.steps_total:,} steps are too many to draw.")
    drawn = source.cached(
        f"dag {row.workflow_run_id} {row.organization_id}", 3.0, lambda: _graph(view, row.workflow_run_id)
    )
    if isinstance(drawn, str):
        return note(drawn)
    return [
        el(
            "div",
            drawn[0],
            cls="scroll picture whole" if row.steps_total <= _dag.FOLD_FROM else "scroll picture",
            tabindex="0",
            id="picture-scroll",
            aria_label="Picture of the steps",
            role="region",
        ),
        _dag.legend(),
        note(drawn[1]),
    ]


def _graph(view: View, run_id: UUID) -> tuple[Markup, str] | str:
    steps: list[t.WorkflowStepSummary] = []
    while len(steps) < STEPS_READ + ROWS_READ:
        page = view.session.look(
            _calls.list_workflow_steps(run_id, steps[-1].ordinal if steps else None, max_rows=ROWS_READ)
        )
        if page.value is None:
            return page.refusal or ""
        steps += page.value
        if len(page.value) < ROWS_READ:
            break
    edges: list[t.WorkflowEdge] = []
    while len(edges) < EDGES_READ:
        last = edges[-1] if edges else None
        some = view.session.look(
            _calls.list_workflow_edges(
                run_id,
                last.dependent_ordinal if last else None,
                after_prerequisite=last.prerequisite_ordinal if last else None,
                max_rows=ROWS_READ,
            )
        )
        edges += some.value or []
        if len(some.value or ()) < ROWS_READ:
            break
    if not steps:
        return "It has no steps."
    graph = _dag.graph(steps, edges)
    hrefs = {s.ordinal: f"/jobs/{s.job_id}" for s in steps if s.job_id}
    words = graph.folding
    if len(edges) >= EDGES_READ:
        words = f"{words} Of its edges the first {EDGES_READ:,} are drawn.".strip()
    label = f"{len(steps)} steps in {max(graph.layer.values()) + 1} levels"
    return _dag.svg(graph, hrefs=hrefs, label=label), words


def _steps(view: View, run_id: UUID, rows: Sequence[t.WorkflowStepSummary]) -> object:
    told: list[Cells] = [
        {
            "Step": el("code", cut(row.step_key, 48)),
            "State": pill(row.status),
            "Type": type_link(row.job_type) or "gate",
            "Job": job_link(row.job_id),
            "Waits for": f"{row.dependency_count_pending:,} of {row.dependency_count_total:,}"
            if row.status == "BLOCKED"
            else None,
            "Error or reason": el("code", cut(row.last_error_code, 40))
            if row.last_error_code
            else cut(row.status_reason, 40),
            "Took": span((row.finished_at or view.now) - row.started_at) if row.started_at else None,
            "Until": ("gate times out ", when(row.gate_expires_at, view.now))
            if row.gate_expires_at and row.status == "WAITING_FOR_EXTERNAL"
            else None,
        }
        for row in rows
    ]
    more = {"after": rows[-1].ordinal} if len(rows) == 100 else None
    return [
        table(told, id_="steps", numbers="Took", empty="No steps."),
        paging(view, f"/workflows/{run_id}", more=more, placed="after", count=len(rows)),
    ]


# --- types and schedules --------------------------------------------------------------------------


ENDED = (("succeeded", "SUCCEEDED"), ("dead", "DEAD_LETTERED"), ("canceled", "CANCELED"))


def job_type(view: View, source: Source) -> Page:
    """One job type: whether it may run, its numbers, its settings, who handles it."""
    name = view.word("name")
    if not name:
        raise Missing("Say which type.")
    found = view.session.look(_calls.get_job_definition(name))
    if found.refusal is None and found.value is None:
        raise Missing("There is no job type with this name.")
    metrics = view.session.look(_calls.job_metrics(name))
    workers = view.session.look(_calls.list_workers(name, max_rows=20))
    row = found.value
    numbers = next(iter(metrics.value or ()), None)
    if row is None:
        return Page("Type", [section("Job type", refused(found), id_="head", level="h1")], active="Types")
    words = []
    if row.is_paused:
        words.append(f"Paused, so it is not claimed: {row.paused_reason or 'no reason was given'}")
    if not row.is_enabled:
        words.append(f"Disabled, so it takes no new jobs: {row.disabled_reason or 'no reason was given'}")
    pause = (
        change(view, "resume-type", "Resume", needs_reason=False, type=name)
        if row.is_paused
        else change(view, "pause-type", "Pause", type=name)
    )
    lists = [
        el("a", "waiting, in order", href=url("/waiting", type=name)),
        el("a", "running", href=url("/running", type=name)),
        *(el("a", word, href=url("/jobs", type=name, status=status)) for word, status in ENDED),
    ]
    content: list[object] = [
        el(
            "section",
            el("p", el("a", "Types", href="/types"), cls="crumbs"),
            el("h1", el("span", cut(name, 120), cls="name"), type_marks(row)),
            [el("p", w, cls="verdict warn") for w in words],
            el("p", "Its jobs: ", lists, cls="links"),
            changes(view, pause),
            id="head",
        ),
        section(
            "Numbers", refused(metrics), facts(_numbers(source, name, numbers)) if numbers else None, id_="numbers"
        ),
        section("Settings", facts(_settings(view, row)), id_="settings"),
        section(
            "Workers that handle it",
            shown(
                workers,
                lambda those: table(
                    [
                        {
                            "State": pill(w.state),
                            "Worker": cut(w.worker_id, 60),
                            "Jobs": str(w.leases),
                            "Last heard of": when(w.last_seen_at, view.now),
                        }
                        for w in those
                    ],
                    id_="workers",
                    numbers="Jobs",
                    empty="No registered worker handles it: its jobs wait until one starts.",
                ),
            ),
            id_="workers",
        ),
    ]
    return Page(name[:80], content, active="Types")


def _milliseconds(value: Decimal | None) -> str | None:
    return None if value is None else span(float(value) / 1000)


def _numbers(source: Source, name: str, row: t.JobMetricsRow) -> list[tuple[str, object]]:
    series = source.rates.of(name)
    return [
        ("Waiting", f"{row.pending_count:,}"),
        ("Running", f"{row.leased_count:,}"),
        ("Leases lost", f"{row.stale_leases:,}" if row.stale_leases else None),
        ("Succeeded, 24 h", f"{row.succeeded_24h:,}"),
        ("Failed attempts, 24 h", f"{row.retryable_24h + row.terminal_24h + row.panicked_24h + row.timeout_24h:,}"),
        ("Dead, 24 h", f"{row.dead_lettered_24h:,}"),
        ("Median", _milliseconds(row.p50_duration_ms_24h)),
        ("95th percentile", _milliseconds(row.p95_duration_ms_24h)),
        ("Rate", (sparkline(series), rate(series[-1])) if series else None),
    ]


def _settings(view: View, row: t.JobDefinition) -> list[tuple[str, object]]:
    return [
        ("Attempts", str(row.max_attempts)),
        ("Timeout", span(row.timeout_seconds)),
        ("Priority", str(row.priority)),
        ("At once, at most", str(row.max_concurrency) if row.max_concurrency else "no limit"),
        ("Retry", f"after {span(row.retry_base_ms / 1000)}, at most {span(row.retry_max_ms / 1000)}"),
        (
            "Retry by error code",
            cut(", ".join(f"{c}: {span(ms / 1000)}" for c, ms in row.retry_delays_ms.items()), 400)
            if isinstance(row.retry_delays_ms, dict) and row.retry_delays_ms
            else None,
        ),
        ("Version", str(row.version)),
        ("Changed", when(row.updated_at, view.now)),
    ]


FIRES = 12


def schedule(view: View, source: Source) -> Page:
    """One schedule with its coming fires."""
    del source
    name = view.word("name")
    if not name:
        raise Missing("Say which schedule.")
    listed = view.session.look(_calls.list_schedules(name, max_rows=1000))
    row = next((s for s in listed.value or () if s.name == name), None)
    if listed.refusal is None and row is None:
        raise Missing("There is no schedule with this name.")
    if row is None:
        return Page("Schedule", [section("Schedule", refused(listed), id_="head", level="h1")], active="Schedules")
    fires = view.session.look(_calls.preview_schedule(name, FIRES))
    pause = (
        change(view, "pause-schedule", "Pause", schedule=name)
        if row.is_active
        else change(view, "resume-schedule", "Resume", needs_reason=False, schedule=name)
    )
    starts = type_link(row.job_type) if row.job_type else f"{row.workflow_type} (workflow)"
    content: list[object] = [
        el(
            "section",
            el("p", el("a", "Schedules", href="/schedules"), cls="crumbs"),
            el("h1", el("span", cut(name, 120), cls="name"), pill(row.state)),
            changes(view, pause),
            id="head",
        ),
        section(
            "Facts",
            facts(
                [
                    ("Starts", starts),
                    ("When", el("code", row.cron_expr)),
                    ("Zone", row.timezone),
                    ("Missed fires", row.missed.lower()),
                    ("Jitter", span(row.max_jitter_seconds) if row.max_jitter_seconds else None),
                    ("Last fired", when(row.last_fired_at, view.now)),
                    (
                        "Paused",
                        (
                            when(row.paused_at, view.now),
                            f" by {row.paused_by}: {row.paused_reason or 'no reason was given'}",
                        )
                        if row.paused_at
                        else None,
                    ),
                    (
                        "Put off",
                        (el("code", row.deferred_code), " until ", when(row.deferred_until, view.now))
                        if row.deferred_at
                        else None,
                    ),
                    ("Tenant", short(row.organization_id) if row.organization_id else None),
                    ("Changed", when(row.updated_at, view.now)),
                ]
            ),
            id_="facts",
        ),
        section(
            "Coming fires" if row.is_active else "Would fire",
            shown(
                fires,
                lambda those: table(
                    [
                        {
                            "Fires": when(f.fires_at, view.now),
                            "Local time": f.local_time,
                            "Offset": f.utc_offset,
                            "UTC": clock(f.fires_at),
                            "Note": f.note,
                        }
                        for f in those
                    ],
                    id_="fires",
                    empty="Never.",
                ),
            ),
            id_="fires",
        ),
    ]
    return Page(name[:80], content, active="Schedules")


__all__ = ["STATES", "job", "job_type", "schedule", "workflow"]
