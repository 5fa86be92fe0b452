"""Lists in pages with a place, as the functions give them; health, fsck and what operators did."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID

from runledger import _calls
from runledger import types as t
from runledger.errors import NotFound
from runledger.web._frame import (
    PAGE_SIZES,
    BadRequest,
    Cells,
    Missing,
    Page,
    View,
    change,
    changes,
    entry,
    fix,
    form,
    job_link,
    note,
    paging,
    progress,
    refused,
    run_link,
    section,
    select,
    shown,
    table,
    type_link,
)
from runledger.web._markup import Markup, clock, cut, el, pill, short, span, text, url, visible, when
from runledger.web._overview import finding, queue_table, steps_bar
from runledger.web._source import Source

JOB_STATUSES: tuple[t.JobStatus, ...] = ("PENDING", "LEASED", "SUCCEEDED", "DEAD_LETTERED", "CANCELED")
RUN_STATUSES: tuple[t.WorkflowStatus, ...] = (
    "RUNNING",
    "WAITING_FOR_EXTERNAL",
    "SUCCEEDED",
    "COMPLETED_WITH_ERRORS",
    "CANCELED",
)
LIVE = "LIVE"
"""Stands for the two statuses of runs that have not ended."""
AGES = {
    "last-hour": ("in the last hour", timedelta(hours=1), True),
    "last-day": ("in the last day", timedelta(days=1), True),
    "last-week": ("in the last week", timedelta(days=7), True),
    "hour-ago": ("over an hour ago", timedelta(hours=1), False),
    "day-ago": ("over a day ago", timedelta(days=1), False),
}


def _filters(path: str, *fields: object, size: int) -> Markup:
    sizes = select("n", "Rows", [(str(n), str(n)) for n in PAGE_SIZES], chosen=str(size))
    buttons = el("span", el("button", "Show", type_="submit"), el("a", "Clear", href=path), cls="buttons")
    return el("form", fields, sizes, buttons, method="get", action=path, cls="filters")


def _age(view: View) -> dict[str, datetime]:
    """The bounds of creation that were chosen; an age keeps to the clock of the server."""
    chosen = view.one_of("created", tuple(AGES))
    if chosen is None:
        return {}
    _, length, is_after = AGES[chosen]
    return {"created_after" if is_after else "created_before": view.now - length}


def _age_choice(view: View) -> Markup:
    options = [("", "at any time"), *((name, words) for name, (words, _, _) in AGES.items())]
    return select("created", "Created", options, chosen=view.word("created"))


def jobs(view: View, source: Source) -> Page:
    """Jobs, newest first."""
    del source
    size = view.rows()
    status = view.one_of("status", JOB_STATUSES)
    found = view.session.look(
        _calls.list_jobs(
            view.word("type"),
            status,
            worker_id=view.word("worker"),
            contains=view.word("contains"),
            organization_id=view.identifier("tenant"),
            before_id=view.identifier("before"),
            max_rows=size,
            **_age(view),
        )
    )
    exact = view.word("type")
    filters = _filters(
        "/jobs",
        entry("type", "Type", exact, placeholder="exactly")
        if exact
        else entry("contains", "Type contains", view.word("contains"), placeholder="part of the name"),
        select(
            "status", "Status", [("", "any"), *((s, s.replace("_", " ").lower()) for s in JOB_STATUSES)], chosen=status
        ),
        entry("worker", "Worker", view.word("worker"), placeholder="exactly"),
        _age_choice(view),
        entry("tenant", "Tenant", view.word("tenant"), placeholder="its UUID"),
        size=size,
    )

    def draw(rows: list[t.JobSummary]) -> object:
        more = {"before": rows[-1].job_id} if len(rows) == size else None
        return [
            table(
                [_job_row(view, row) for row in rows],
                id_="jobs",
                caption="Jobs, newest first",
                empty="No job is like that.",
            ),
            paging(view, "/jobs", more=more, placed="before", count=len(rows)),
        ]

    return Page(
        "Jobs",
        [section("Jobs", filters, id_="filters", level="h1"), el("section", shown(found, draw), id="list")],
        active="Jobs",
    )


def _job_row(view: View, row: t.JobSummary) -> Cells:
    if row.status == "PENDING":
        moment: object = ("due ", when(row.next_run_at, view.now))
    elif row.finished_at:
        moment = ("ended ", when(row.finished_at, view.now))
    elif row.status == "LEASED":
        moment = ("since ", when(row.started_at, view.now)) if row.started_at else "claimed"
    else:
        moment = when(row.updated_at, view.now)
    told = progress(row.progress_done, row.progress_total) if row.status == "LEASED" else None
    return {
        "State": pill(row.state),
        "Job": job_link(row.job_id),
        "Type": type_link(row.job_type),
        "Attempt": f"{row.attempt}/{row.max_attempts}" + (f" run {row.run_number}" if row.run_number > 1 else ""),
        "When": moment,
        "Progress": told or (cut(row.stage, 28) if row.status == "LEASED" else None),
        "Error or reason": el("code", cut(row.last_error_code, 40))
        if row.last_error_code
        else cut(row.status_reason, 40),
        "Worker": cut(row.worker_id, 24),
        "Created": when(row.created_at, view.now),
    }


def waiting(view: View, source: Source) -> Page:
    """The pending jobs of a type in the order in which they will be claimed."""
    del source
    name = view.word("type")
    if not name:
        raise Missing("Say which type.")
    size = view.rows()
    place = view.word("after_priority"), view.instant("after_at"), view.identifier("after")
    if len({part is None for part in place}) != 1:
        raise BadRequest("A place has three parts.")
    priority = view.number("after_priority", 0, least=-(2**31), most=2**31 - 1) if place[0] else None
    found = view.session.look(
        _calls.list_waiting_jobs(
            name, priority, after_next_run_at=place[1], after_id=place[2], max_rows=size,
            organization_id=view.identifier("tenant"),
        )
    )  # fmt: skip

    def draw(rows: list[t.JobSummary]) -> object:
        last = rows[-1] if len(rows) == size else None
        more = (
            {"after_priority": last.priority, "after_at": last.next_run_at.isoformat(), "after": last.job_id}
            if last
            else None
        )
        return [
            table(
                [{**_job_row(view, row), "Priority": row.priority} for row in rows],
                id_="jobs",
                numbers="Priority",
                caption="Jobs in the order of claiming",
                empty="No job of this type waits.",
            ),
            paging(view, "/waiting", more=more, placed="after_priority after_at after", count=len(rows)),
        ]

    words = "In the order in which they will be claimed. Look at the first: its page says why it does not run."
    return Page(
        "Waiting",
        [
            section(f"Waiting jobs of {name[:120]}", note(words), id_="head", aside=type_link(name), level="h1"),
            el("section", shown(found, draw), id="list"),
        ],
        active="Jobs",
    )


def running(view: View, source: Source) -> Page:
    """Jobs that workers hold, the longest held first."""
    del source
    size = view.rows()
    found = view.session.look(
        _calls.list_running_jobs(
            view.word("type"), view.word("contains"), after_claimed_at=view.instant("after_at"),
            after_id=view.identifier("after"), max_rows=size, organization_id=view.identifier("tenant"),
        )
    )  # fmt: skip

    def draw(rows: list[t.RunningJob]) -> object:
        more = {"after_at": rows[-1].claimed_at.isoformat(), "after": rows[-1].job_id} if len(rows) == size else None
        return [
            table(
                [_running_row(view, row) for row in rows],
                id_="jobs",
                caption="Running jobs, the longest held first",
                empty="Nothing is running.",
            ),
            paging(view, "/running", more=more, placed="after_at after", count=len(rows)),
        ]

    exact = view.word("type")
    field = (
        entry("type", "Type", exact, placeholder="exactly")
        if exact
        else entry("contains", "Type contains", view.word("contains"), placeholder="part of the name")
    )
    return Page(
        "Running",
        [
            section("Running jobs", _filters("/running", field, size=size), id_="filters", level="h1"),
            el("section", shown(found, draw), id="list"),
        ],
        active="Running",
    )


def _running_row(view: View, row: t.RunningJob) -> Cells:
    return {
        "State": pill(row.state),
        "Job": job_link(row.job_id),
        "Type": type_link(row.job_type),
        "Attempt": f"{row.attempt}/{row.max_attempts}",
        "Since": when(row.claimed_at, view.now),
        "Progress": progress(row.progress_done, row.progress_total) or cut(row.stage, 28),
        "Heartbeat": when(row.last_heartbeat_at, view.now),
        "Lease ends": when(row.lease_expires_at, view.now),
        "Worker": cut(row.worker_id, 28),
    }


def types(view: View, source: Source) -> Page:
    """How job types stand, by name."""
    size = view.rows()
    found = view.session.look(_calls.list_queues(view.word("contains"), view.word("after"), max_rows=size))

    def draw(rows: list[t.QueueSummary]) -> object:
        more = {"after": rows[-1].job_type} if len(rows) == size else None
        return [
            queue_table(view, source, rows),
            paging(view, "/types", more=more, placed="after", count=len(rows)),
        ]

    filters = _filters("/types", entry("contains", "Name contains", view.word("contains")), size=size)
    return Page(
        "Types",
        [section("Job types", filters, id_="filters", level="h1"), el("section", shown(found, draw), id="list")],
        active="Types",
    )


def workflows(view: View, source: Source) -> Page:
    """Runs, newest first."""
    del source
    size = view.rows()
    is_live = view.word("status") == LIVE
    status = None if is_live else view.one_of("status", RUN_STATUSES)
    contains, tenant, place = view.word("contains"), view.identifier("tenant"), view.identifier("before")
    if is_live:
        call = _calls.list_live_workflows(contains, place, max_rows=size, organization_id=tenant)
    else:
        call = _calls.list_workflows(
            view.word("type"), status, contains=contains, before_id=place, organization_id=tenant, max_rows=size,
            **_age(view),
        )  # fmt: skip
    found = view.session.look(call)
    filters = _filters(
        "/workflows",
        entry("contains", "Type contains", view.word("contains"), placeholder="part of the name"),
        select(
            "status",
            "Status",
            [("", "any"), (LIVE, "going on, oldest first"), *((s, s.replace("_", " ").lower()) for s in RUN_STATUSES)],
            chosen=LIVE if is_live else status,
        ),
        _age_choice(view),
        entry("tenant", "Tenant", view.word("tenant"), placeholder="its UUID"),
        size=size,
    )

    def draw(rows: list[t.WorkflowSummary]) -> object:
        more = {"before": rows[-1].workflow_run_id} if len(rows) == size else None
        return [
            table(
                [
                    {
                        "State": pill(row.status),
                        "Run": run_link(row.workflow_run_id),
                        "Type": cut(row.workflow_type, 48),
                        "Steps": steps_bar(row),
                        "Gates open": row.steps_waiting or None,
                        "Started": when(row.started_at, view.now),
                        "Took": span((row.finished_at or view.now) - row.started_at),
                        "Reason": cut(row.status_reason, 40),
                    }
                    for row in rows
                ],
                id_="runs",
                empty="No run is like that.",
                numbers="Took",
                caption="Workflow runs",
            ),
            paging(view, "/workflows", more=more, placed="before", count=len(rows)),
        ]

    return Page(
        "Workflows",
        [section("Workflows", filters, id_="filters", level="h1"), el("section", shown(found, draw), id="list")],
        active="Workflows",
    )


GATED_RUNS, LIVE_RUNS = 25, 1000


def gates(view: View, source: Source) -> Page:
    """Gates that wait, of the oldest runs that have some."""
    del source
    live = view.session.look(_calls.list_live_workflows(max_rows=LIVE_RUNS))
    runs = [run for run in live.value or () if run.steps_waiting][:GATED_RUNS]
    rows: list[Cells] = []
    for run in runs:
        try:
            reasons = view.session.look(_calls.why_workflow(run.workflow_run_id)).value or []
        except NotFound:  # it was pruned meanwhile
            continue
        rows += [
            {
                "Gate": el("code", cut(reason.step_key, 48)),
                "Run": run_link(run.workflow_run_id),
                "Type": cut(run.workflow_type, 36),
                "State": pill("overdue" if reason.code == "why.gate_overdue" else "open"),
                "What it waits for": text(reason.explanation),
                "": complete_gate(view, run.workflow_run_id, reason.step_key),
            }
            for reason in reasons
            if reason.code in ("why.gate_waiting", "why.gate_overdue") and reason.step_key
        ]
    if not view.can_change:
        rows = [{k: v for k, v in row.items() if k} for row in rows]
    full = note(f"Of the {GATED_RUNS} oldest runs that wait.") if len(runs) == GATED_RUNS else None
    return Page(
        "Gates",
        [
            section(
                "Open gates",
                refused(live),
                table(rows, id_="gates", empty="No gate waits for anybody."),
                full,
                changes(view) if rows else None,
                id_="list",
                level="h1",
            )
        ],
        active="Gates",
    )


def complete_gate(view: View, run_id: UUID, step_key: str) -> Markup:
    """The form that completes a gate."""
    outcome = select(
        "outcome", "Outcome", [("SUCCEEDED", "succeeded"), ("FAILED", "failed"), ("CANCELED", "canceled")], chosen=None
    )
    return change(
        view,
        "complete-gate",
        f"Complete {visible(step_key)[:40]}",
        outcome,
        needs_reason=False,
        key=f"{run_id}-{step_key}",
        run=run_id,
        step=step_key,
    )


def schedules(view: View, source: Source) -> Page:
    """Schedules by name."""
    del source
    size = view.rows()
    found = view.session.look(
        _calls.list_schedules(view.word("contains"), after_name=view.word("after"), max_rows=size)
    )

    def draw(rows: list[t.ScheduleSummary]) -> object:
        more = {"after": rows[-1].name} if len(rows) == size else None
        return [
            table(
                [
                    {
                        "State": pill(row.state),
                        "Schedule": el("a", cut(row.name, 48), href=url("/schedule", name=row.name)),
                        "Starts": cut(row.job_type or f"{row.workflow_type} (workflow)", 40),
                        "When": el("code", f"{row.cron_expr}"),
                        "Zone": row.timezone,
                        "Next fire": when(row.due_at, view.now) if row.is_active else None,
                        "Last fired": when(row.last_fired_at, view.now),
                        "Note": cut(row.deferred_code or row.paused_reason, 40),
                    }
                    for row in rows
                ],
                id_="schedules",
                empty="There is no schedule.",
                caption="Schedules by name",
            ),
            paging(view, "/schedules", more=more, placed="after", count=len(rows)),
        ]

    filters = _filters("/schedules", entry("contains", "Name contains", view.word("contains")), size=size)
    return Page(
        "Schedules",
        [section("Schedules", filters, id_="filters", level="h1"), el("section", shown(found, draw), id="list")],
        active="Schedules",
    )


LETTERS = 1000
"""The latest dead letters that are counted by code."""


def dead_letters(view: View, source: Source) -> Page:
    """Dead letters: how many of which error, and each of them."""
    size = view.rows()
    job_type, code = view.word("type"), view.word("code")
    everything = source.cached(
        "letters", 2.0, lambda: view.session.look(_calls.list_dead_letters(is_dead=True, max_rows=LETTERS))
    )
    before = view.instant("before_at"), view.identifier("before")
    if (before[0] is None) != (before[1] is None):
        raise Missing("That page does not exist: begin at the first one.")
    found = view.session.look(
        _calls.list_dead_letters(
            job_type, code, before_failed_at=before[0], before_id=before[1], is_dead=True, max_rows=size
        )
    )

    def draw(rows: list[t.DeadLetter]) -> object:
        more = {"before_at": rows[-1].failed_at.isoformat(), "before": rows[-1].job_id} if len(rows) == size else None
        return [
            table(
                [
                    {
                        "Job": job_link(row.job_id),
                        "Type": type_link(row.job_type),
                        "Error": el("code", cut(row.error_code, 48)),
                        "Message": cut(row.error_message, 90),
                        "Attempts": row.attempt,
                        "Run": row.run_number if row.run_number > 1 else None,
                        "Failed": when(row.failed_at, view.now),
                    }
                    for row in rows
                ],
                id_="letters",
                numbers="Attempts Run",
                empty="Nothing is dead.",
                caption="Dead letters, latest first",
            ),
            paging(view, "/dead-letters", more=more, placed="before_at before", count=len(rows)),
        ]

    chosen = [f"of type {job_type}"] * bool(job_type) + [f"with {code}"] * bool(code)
    title = " ".join(["Each of them", *chosen])
    content = [
        section("Dead letters", shown(everything, lambda rows: _by_code(view, rows)), id_="groups", level="h1"),
        section(
            title, shown(found, draw), id_="list", aside=el("a", "Show all", href="/dead-letters") if chosen else None
        ),
    ]
    return Page("Dead letters", content, active="Dead letters")


def _by_code(view: View, rows: list[t.DeadLetter]) -> Markup:
    counted = Counter((row.job_type, row.error_code) for row in rows)
    newest: dict[tuple[str, str | None], t.DeadLetter] = {}
    oldest_: dict[tuple[str, str | None], t.DeadLetter] = {}
    for row in rows:
        newest.setdefault((row.job_type, row.error_code), row)
        oldest_[row.job_type, row.error_code] = row
    told: list[Cells] = []
    for (job_type, code), count in counted.most_common(40):
        last = newest[job_type, code]
        cells: dict[str, object] = {
            "Error": el("code", cut(code, 48) or "—"),
            "Jobs": el("a", f"{count:,}", href=url("/dead-letters", type=job_type, code=code)),
            "Type": type_link(job_type),
            "Latest message": cut(last.error_message, 80),
            "Latest": when(last.failed_at, view.now),
            "Oldest": when(oldest_[job_type, code].failed_at, view.now),
        }
        if view.can_change:
            cells[""] = change(view, "redrive", "Redrive", key=f"{job_type}-{code}", job_type=job_type, error_code=code)
        told.append(cells)
    words = note(f"Counted among the latest {LETTERS:,}.") if len(rows) == LETTERS else None
    return el(
        "div",
        table(
            told,
            id_="groups",
            numbers="Jobs",
            empty="Nothing is dead: every failure was retried or none was.",
            caption="Dead letters by type and error",
        ),
        words,
        changes(view) if told else None,
    )


def workers(view: View, source: Source) -> Page:
    """Who works here."""
    del source
    size = view.rows()
    found = view.session.look(_calls.list_workers(view.word("type"), view.word("after"), max_rows=size))

    def draw(rows: list[t.WorkerRecord]) -> object:
        more = {"after": rows[-1].worker_id} if len(rows) == size else None
        return [
            table(
                [
                    {
                        "State": pill(row.state),
                        "Worker": el("a", cut(row.worker_id, 48), href=url("/jobs", worker=row.worker_id)),
                        "Jobs": f"{row.leases}/{row.max_jobs}" if row.max_jobs else str(row.leases),
                        "Last heard of": when(row.last_seen_at, view.now),
                        "Handles": _names(row.job_types),
                        "Role": row.role_name,
                        "Since": when(row.registered_at, view.now),
                    }
                    for row in rows
                ],
                id_="workers",
                empty="No worker is here: nothing will run until one starts.",
                numbers="Jobs",
                caption="Workers by name",
            ),
            paging(view, "/workers", more=more, placed="after", count=len(rows)),
        ]

    filters = _filters(
        "/workers", entry("type", "Handles", view.word("type"), placeholder="a type, exactly"), size=size
    )
    return Page(
        "Workers",
        [section("Workers", filters, id_="filters", level="h1"), el("section", shown(found, draw), id="list")],
        active="Workers",
    )


def _names(names: list[str] | None) -> Markup | None:
    if names is None:
        return None
    few = cut(", ".join(names[:4]), 70)
    return el("span", few, f" and {len(names) - 4} more" if len(names) > 4 else "", title=", ".join(names[:40]))


def health(view: View, source: Source) -> Page:
    """Every check, the worst first."""
    found = source.cached("health", 2.0, lambda: view.session.look(_calls.health()))

    def draw(rows: list[t.HealthCheck]) -> object:
        bad = [row for row in rows if row.level != "OK"]
        good = [row for row in rows if row.level == "OK"]
        return [
            el("div", [finding(row) for row in bad], cls="findings") if bad else note("Nothing is wrong.", "empty"),
            el("h2", f"Fine: {len(good)}"),
            table(
                [
                    {
                        "Level": pill(row.level),
                        "Check": el("code", row.code),
                        "Value": f"{row.value.normalize():f}" if row.value is not None else None,
                        "Unit": row.unit,
                        "Means": row.explanation,
                    }
                    for row in good
                ],
                id_="fine",
                numbers="Value",
                empty="None.",
            ),
        ]

    return Page("Health", [section("Health", shown(found, draw), id_="list", level="h1")], active="Health")


def fsck(view: View, source: Source) -> Page:
    """Whether the ledger is sound: asked only when somebody presses the button."""
    del source
    scopes = select(
        "scope", "Scope", [("fast", "fast: cheap at any size"), ("full", "full: reads whole tables")], chosen=None
    )
    ask = form(view, "/fsck", scopes, el("button", "Examine", type_="submit", cls="primary"), cls="filters")
    words = note("Looks for every violated invariant in one snapshot; it changes nothing.")
    content: list[object] = [section("Is the ledger sound?", words, ask, id_="ask", level="h1")]
    scope = view.form.get("scope")
    if scope in ("fast", "full"):
        found = view.session.look(_calls.fsck(scope, max_rows=200))

        def draw(rows: list[t.FsckFinding]) -> object:
            if not rows:
                return el(
                    "p",
                    el("span", "✓", cls="tick", aria_hidden="true"),
                    "It is sound: nothing was found.",
                    cls="verdict ok",
                )
            return [
                note("Repair the first, look again: others may follow from it."),
                [
                    el(
                        "article",
                        el(
                            "p",
                            pill(row.severity),
                            el("code", row.invariant),
                            el("code", row.object),
                            cls="finding-head",
                        ),
                        el("pre", text(row.detail)),
                        fix(row.repair),
                        cls="finding",
                    )
                    for row in rows
                ],
            ]

        content.append(section(f"Result, {scope}, {clock(view.now)}", shown(found, draw), id_="result"))
    return Page("Fsck", content, active="Fsck", refresh=0)


def actions(view: View, source: Source) -> Page:
    """What operators did, newest first."""
    del source
    size = view.rows()
    before = view.number("before", 0, least=0, most=2**63 - 1) or None
    found = view.session.look(
        _calls.list_operator_actions(view.word("role"), view.word("action"), before_action_id=before, max_rows=size)
    )

    def draw(rows: list[t.OperatorAction]) -> object:
        more = {"before": rows[-1].id} if len(rows) == size else None
        return [
            table(
                [
                    {
                        "When": when(row.occurred_at, view.now),
                        "Role": row.role_name,
                        "Did": el("code", row.action),
                        "To": _object(row.object),
                        "Reason": cut(row.reason, 80),
                        "Detail": cut(text(row.detail) and str(row.detail), 80) if row.detail else None,
                    }
                    for row in rows
                ],
                id_="actions",
                empty="Nobody did anything yet.",
                caption="Actions of operators, newest first",
            ),
            paging(view, "/actions", more=more, placed="before", count=len(rows)),
        ]

    filters = _filters(
        "/actions",
        entry("role", "Role", view.word("role")),
        entry("action", "Did", view.word("action"), placeholder="a function, like cancel_job"),
        size=size,
    )
    return Page(
        "Actions",
        [
            section("What operators did", filters, id_="filters", level="h1"),
            el("section", shown(found, draw), id="list"),
        ],
        active="Actions",
    )


def _object(name: str | None) -> object:
    if name is None:
        return None
    try:
        return el("a", short(UUID(name)), href=url("/find", q=name), cls="id", title=name)
    except ValueError:
        return cut(name, 48)
