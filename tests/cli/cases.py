"""One case per verb: how it is called on the `world`, and what type of rows it tells."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from runledger import types as t
from tests.cli.conftest import GATE, NASTY, STEPS, TENANT


@dataclasses.dataclass(frozen=True)
class Case:
    """`args` may hold `{jobs.dead}` and its like; `rows`: result type, or the names in --json."""

    args: tuple[str, ...]
    rows: Any
    without: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    calls: int = 1
    exit_code: int = 0

    @property
    def fields(self) -> list[str]:
        names = self.rows if isinstance(self.rows, tuple) else [f.name for f in dataclasses.fields(self.rows)]
        return [n for n in names if n not in self.without] + list(self.also)

    def given(self, world: Any) -> list[str]:
        return [arg.format_map(vars(world)) if "{" in arg and '"' not in arg else arg for arg in self.args]

    @property
    def own_instant(self) -> bool:
        """It sends what the clock says, so no two calls are the same."""
        return "+2h" in self.args or "redrive" in self.args

    @property
    def id(self) -> str:
        return " ".join(self.args[:2])


GRAPH = json.dumps(STEPS)
BAD = json.dumps([{"key": "a", "job_type": "nowhere", "after_success": ["b"]}])
BODIES = ("payload", "checkpoint", "output")

READS = [
    Case(("jobs",), t.JobSummary),
    Case(("job", "list", "--status", "pending", "--tenant", TENANT), t.JobSummary),
    Case(("job", "show", "{jobs.leased}"), t.JobRecord, without=BODIES, also=("attempts", "events", "logs"), calls=4),
    Case(("job", "show", "{jobs.dead}", "--payload"), t.JobRecord, also=("attempts", "events", "logs"), calls=4),
    Case(("job", "why", "{jobs.nasty}"), t.Reason),
    Case(("why", "{jobs.dead}"), t.Reason),
    Case(("workflow", "why", "{run}"), t.StepReason),
    Case(("health",), t.HealthCheck),
    Case(("job", "attempts", "{jobs.dead}"), t.JobAttemptRecord),
    Case(("job", "events", "{jobs.dead}"), t.JobEventRecord),
    Case(("job", "logs", "{jobs.leased}"), t.JobLogRecord),
    Case(("job", "find", NASTY, NASTY), t.JobSummary),
    Case(("job", "payload", "{jobs.succeeded}"), t.JobBody),
    Case(("workflow", "list"), t.WorkflowSummary),
    Case(("workflow", "show", "{run}"), t.WorkflowRecord, without=("metadata", "result"), also=("tree",), calls=2),
    Case(("workflow", "steps", "{run}"), t.WorkflowStepSummary),
    Case(("workflow", "step", "{run}", "crawl"), t.WorkflowStepRecord, without=("payload", "output")),
    Case(("workflow", "edges", "{run}"), t.WorkflowEdge),
    Case(("workflow", "appends", "{appended}"), t.WorkflowMutation),
    Case(("workflow", "find", "w", NASTY), t.WorkflowSummary),
    Case(("workflow", "result", "{run}"), t.WorkflowOutcome, without=("result",)),
    Case(("workflow", "mermaid", "{run}"), ("mermaid",)),
    Case(("metrics",), ("metrics",)),
    Case(("workflow", "validate", BAD), t.WorkflowProblem, exit_code=1),
    Case(("workflow", "explain", GRAPH), t.WorkflowPlanStep),
    Case(("schedule", "list"), t.ScheduleSummary),
    Case(("schedule", "show", "hourly"), t.ScheduleRecord, without=("payload", "steps")),
    Case(("schedule", "preview", "hourly"), t.SchedulePreview),
    Case(("schedule", "next", "30 2 * * *", "--timezone", "Asia/Tokyo"), ("next_fire_at",)),
    Case(("type", "list"), t.JobDefinition),
    Case(("type", "show", NASTY), t.JobDefinition),
    Case(("type", "stats"), t.JobMetricsRow),
    Case(("type", "configs"), t.RuntimeConfigSummary),
    Case(("dlq", "list"), t.DeadLetter),
    Case(("dlq", "show", "{jobs.dead2}"), t.JobRecord, without=BODIES, also=("attempts", "events", "logs"), calls=4),
    Case(("type", "config", "plain"), t.RuntimeConfigRecord),
    Case(("workers",), t.WorkerRecord),
    Case(("retention",), t.RetentionRecord),
    Case(("access",), ("role", "kind", "job_types", "granted_by", "granted_at")),
    Case(("actions",), t.OperatorAction),
    Case(("limits",), ("name", "value", "unit", "meaning")),
    Case(("errors",), t.ErrorCode),
    Case(("schema",), t.SchemaState),
]

CHANGES = [
    Case(("enqueue", "plain", '{"to": "\\u001b"}', "--key", "k'1\\", "--at", "+2h", "--timeout", "1m"), t.EnqueuedJob),
    Case(("job", "cancel", "{jobs.waiting}", "--reason", "it's wrong"), t.CanceledJob),
    Case(("job", "requeue", "{jobs.dead}"), t.RequeuedJob),
    Case(("job", "replay", "{jobs.succeeded}", "--reason", "again", "--request-key", "k"), t.ReplayedJob),
    Case(("job", "correct", "{jobs.waiting}", '{"a": 1}', "--reason", "typo"), t.ChangedJob),
    Case(("job", "redact", "{jobs.succeeded}", "--reason", "asked for", "--yes"), t.ChangedJob),
    Case(("dlq", "redrive", "--reason", "smtp is back", "--yes"), t.RequeuedJob),
    Case(("workflow", "enqueue", "w", GRAPH, "--metadata", '{"a": 1}'), t.EnqueuedWorkflow),
    Case(("workflow", "cancel", "{run}", "--reason", "enough"), t.CanceledWorkflow),
    Case(("workflow", "complete", "{run}", GATE, "--output", '{"by": "ann"}'), t.CompletedStep),
    Case(
        ("workflow", "append", "{run}", "m1", '[{"key": "more", "job_type": "plain"}]', "--window", GATE),
        t.AppendedStep,
    ),
    Case(("schedule", "upsert", "new", "--cron", "@daily", "--type", "plain", "--jitter", "90s"), t.ScheduleChange),
    Case(("sync", "tests.cli.billing:app"), t.CatalogChange, exit_code=1),
    Case(("sync", "tests.cli.billing:app", "--dry-run"), t.CatalogChange, exit_code=1),
    Case(("schedule", "pause", "hourly", "--reason", "deploy"), t.ScheduleChange),
    Case(("schedule", "resume", "hourly"), t.ScheduleChange),
    Case(("schedule", "delete", "hourly", "--yes"), t.ScheduleChange),
    Case(("type", "define", "new", "--retry-base", "3s", "--max-attempts", "3", "--enabled"), t.JobDefinition),
    Case(("type", "pause", "plain", "--reason", "smtp is down"), t.JobDefinition),
    Case(("type", "resume", "plain"), t.JobDefinition),
    Case(("type", "disable", "other", "--reason", "retired"), t.JobDefinition),
    Case(("type", "enable", "plain"), t.JobDefinition),
    Case(("type", "config", "plain", "--set", '{"limit": 4}', "--schema-version", "2"), t.RuntimeConfigRecord),
    Case(("grant", "{role}", "worker", "--type", "plain", "--type", "other"), t.AccessGrant),
    Case(("revoke", "{role}"), t.AccessGrant),
    Case(("prune", "--older-than", "1s", "--reason", "space", "--yes"), t.UpkeepReport),
    Case(("retention", "--finished", "30d", "--dead-letters", "0"), t.RetentionRecord),
    Case(("maintenance",), t.UpkeepReport),
]

EMPTY = [
    Case(("schedule", "fire"), t.FiredSchedule),
    Case(("fsck",), t.FsckFinding),
]
"""Nothing to tell in the world; tests of their own show them with something to tell."""
