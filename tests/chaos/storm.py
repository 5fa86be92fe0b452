"""Lets everything loose on a ledger, waits until it is calm again, and has the checker judge."""

from __future__ import annotations

import platform
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from runledger.migrate import package_version
from tests.chaos import checker
from tests.chaos.arena import DISK_BYTES, JOB_BYTES, Arena
from tests.chaos.bare import REAP_SECONDS
from tests.chaos.checker import Ledger, Verdict
from tests.chaos.faults import Fault, kinds

MAINTENANCE_DELAY = 30.0
"""Retry delay of a lease that run_maintenance() found first; the workers' own reapers give 0.3 s."""
EPSILON = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`jobs` are enqueued, unless `seconds` pass first; then the faults stop and all must come to its end.

    With `kinds` it goes on, with new jobs, until so many kinds of fault have struck and `jobs` leases were given out: a
    fast machine is through with its jobs before anything can happen to it.
    """

    jobs: int
    seconds: float
    seed: int
    bindir: Path
    kinds: int = 0
    lease: int = 2
    runners: int = 2
    bares: int = 2
    producers: int = 1
    through_cli: int = 0
    gap: float = 0.3  # seconds between two faults of a nemesis, about, or
    every: int = 0  # claims between them, about: a slow machine then sees as many faults as a fast one
    backlog: int = 4000
    batch: int = 50  # jobs a claim
    burst: int = 0  # plain jobs on top of each request of mixed ones
    oversleep: float = 0.0005
    reaps: bool = True
    is_hasty: bool = False  # when all that is left waits for its time, the clock is set forward
    only: frozenset[str] = frozenset()
    disk: bool = True
    prepare: Callable[[Arena], object] | None = None
    before_calm: Callable[[Arena], object] | None = None


@dataclass(slots=True)
class Outcome:
    plan: Plan
    verdict: Verdict
    server: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    hindered: Counter[str] = field(default_factory=Counter)
    absent: dict[str, str] = field(default_factory=dict)
    jobs: int = 0
    executions: int = 0
    repeated: int = 0
    retried: int = 0
    seconds: float = 0.0
    calm_seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    recovered: int = 0
    longest_stuck: float = 0.0
    replayed: int = 0
    restarts: int = 0
    gave_up: Counter[str] = field(default_factory=Counter)
    server_gone: int = 0
    shortages: int = 0
    findings: list[str] = field(default_factory=list)
    explained: Counter[str] = field(default_factory=Counter)
    complaints: Counter[str] = field(default_factory=Counter)
    deadlocks: int = 0

    @property
    def is_clean(self) -> bool:
        return not (self.verdict.counts or self.findings)

    def report(self) -> str:
        wrong = [f"  {code:26} {self.verdict.counts[code]}" for code in checker.CODES]
        struck = [f"  {name:26} {n}" for name, n in sorted(self.faults.items())]
        return "\n".join([
            f"seed {self.plan.seed}, runledger {package_version()}, {self.server}, Python {platform.python_version()}, psycopg {psycopg.__version__}, lease {self.plan.lease} s",
            f"{self.executions} executions of {self.jobs} jobs in {self.seconds:.0f} s, calm again after {self.calm_seconds:.1f} s",
            f"{self.repeated} executions repeated (at least once), {self.retried} retried after a failure on purpose",
            f"ends: {dict(self.statuses)}",
            f"{sum(self.unknown.values())} calls without an answer: {dict(self.unknown)}",
            f"{self.refused} completions refused as LEASE_LOST, {self.replayed} recognised as repeated",
            f"{self.recovered} leases that nobody ended were claimed again, the last to come after {self.longest_stuck:.1f} s",
            f"{sum(self.faults.values())} faults of {sum(n > 0 for n in self.faults.values())} kinds, {self.restarts} processes started again:",
            *struck,
            *(f"  {name:26} not here: {why}" for name, why in self.absent.items()),
            f"faults that another one kept from striking: {dict(self.hindered)}",
            f"no space left: {self.shortages} times, server gone by that: {self.server_gone}; deadlocks: {self.deadlocks}; workers that gave up: {dict(self.gave_up)}",
            f"verdict: {'clean' if self.is_clean else 'VIOLATIONS'}", *wrong, f"  {'fsck':26} {len(self.findings)} (explained by the clock: {dict(self.explained)})",
            *(f"  {words}" for words in [*self.verdict.words, *self.findings]),
            *(f"  uncaught, {n} times: {words}" for words, n in self.complaints.most_common(10)),
        ])  # fmt: skip


def wait_for_calm(
    sql: Callable[[str], list[dict[str, Any]]], longest: float, hurry: Callable[[], object] = lambda: None
) -> list[str]:
    """Wait until nothing is open; return what still is when nothing has moved for `longest`, as long as a recovery takes.

    `hurry` is called whenever all that is open waits for its time.
    """
    last, moved = None, time.monotonic()
    while True:
        [row] = sql(
            "select (select count(*) from runledger.job_queue where status in ('PENDING', 'LEASED')) as jobs,"
            " (select count(*) from runledger.workflow_runs where finished_at is null) as runs,"
            " (select count(*) from runledger.job_queue where status = 'LEASED' or (status = 'PENDING' and next_run_at <= runledger._now())) as now"
        )
        if not row["jobs"] and not row["runs"]:
            return []
        if not row["now"]:
            hurry()
        if row["jobs"] != last:
            last, moved = row["jobs"], time.monotonic()
        if time.monotonic() - moved > longest:
            break
        time.sleep(0.1)
    jobs = sql(
        "select id::text as id, job_type, status::text as status, run_number, attempt, next_run_at, worker_id, lease_expires_at,"
        " runledger._now() as now from runledger.job_queue where status in ('PENDING', 'LEASED')"
    )
    runs = sql("select id::text as id, status::text as status from runledger.workflow_runs where finished_at is null")
    return [str({k: str(v) for k, v in row.items()}) for row in [*jobs, *runs]]


def run(plan: Plan) -> Outcome:
    files = Path(tempfile.mkdtemp(prefix="rlchaos-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        arena = Arena(
            files,
            bindir=plan.bindir,
            lease=plan.lease,
            seed=plan.seed,
            disk=(DISK_BYTES + JOB_BYTES * plan.jobs) * plan.disk,
        )
        try:
            return Storm(arena, plan).run()
        finally:
            arena.close()
    finally:
        shutil.rmtree(files, ignore_errors=True)


class Storm:
    def __init__(self, arena: Arena, plan: Plan) -> None:
        self._arena, self._plan = arena, plan
        self._over = threading.Event()  # no more faults
        self._errors: list[BaseException] = []
        wanted = [kind for kind in kinds() if not plan.only or kind.name in plan.only]
        if unknown := plan.only - {kind.name for kind in wanted}:
            raise ValueError(f"no fault of this name: {sorted(unknown)}")
        self._faults = [kind(arena, random.Random(f"{plan.seed} {kind.name}")) for kind in wanted]
        self._outcome = Outcome(plan, Verdict())

    def run(self) -> Outcome:
        plan, arena, outcome = self._plan, self._arena, self._outcome
        if plan.prepare:
            plan.prepare(arena)
        outcome.server = arena.sql("select 'PostgreSQL ' || current_setting('server_version') as v")[0]["v"]
        began = time.monotonic()
        self._start_processes()
        threads = [self._thread(self._watch), *(
            self._thread(self._strike, [f for f in self._faults if f.on_processes is side], side) for side in (True, False)
        )]  # fmt: skip
        producers = [m for name, m in arena.members.items() if name.startswith("producer")]
        while time.monotonic() - began < plan.seconds and not self._errors:
            if plan.kinds:
                if self._claims >= plan.jobs and len(outcome.faults) >= plan.kinds:
                    break
            elif all(m.process and m.process.poll() == 0 for m in producers):
                break
            time.sleep(0.1)
        self._over.set()
        arena.closing.set()
        for thread in threads[1:]:
            thread.join(60)
        if self._errors:
            raise self._errors[0]
        for fault in self._faults:
            fault.undo()
        if plan.before_calm:
            plan.before_calm(arena)
        outcome.seconds = time.monotonic() - began
        stuck = self._wait_for_calm(producers)
        outcome.restarts = sum(m.starts - 1 for m in arena.members.values())
        watching, self._watching = self._watching, False
        assert watching
        threads[0].join(60)
        arena.stop(list(arena.members.values()))
        if self._errors:
            raise self._errors[0]
        self._judge(stuck)
        return outcome

    _watching = True
    _claims = 0

    def _thread(self, target: Callable[..., None], *args: Any) -> threading.Thread:
        def guarded() -> None:
            try:
                target(*args)
            except BaseException as error:
                self._errors.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def _start_processes(self) -> None:
        plan, arena = self._plan, self._arena
        routes = ["direct", "wire", "pooler" if arena.pooler else "wire"]
        for n in range(plan.bares):
            arena.add(
                f"bare{n}",
                "bare",
                route=routes[(n + 1) % 3],
                CHAOS_OVERSLEEP=str(plan.oversleep),
                CHAOS_REAPS=str(int(plan.reaps)),
                CHAOS_BATCH=str(plan.batch),
            )
        for n in range(plan.runners):
            is_cli = n < plan.through_cli
            settings = {
                "JOBS_POLL_INTERVAL_MS": "100", "JOBS_CLAIM_BATCH_SIZE": "50", "JOBS_MAX_GLOBAL_CONCURRENCY": "100",
                "JOBS_LEASE_TTL_SECONDS": "10", "JOBS_REAPER_INTERVAL_SECONDS": "1", "JOBS_REAPER_RETRY_DELAY_MS": "1000",
                "JOBS_SCHEDULE_POLL_INTERVAL_SECONDS": "1", "JOBS_SHUTDOWN_GRACE_SECONDS": "1", "JOBS_CALL_TIMEOUT_SECONDS": "2",
            }  # fmt: skip
            arena.add(
                f"runner{n}", "runledger" if is_cli else "worker", route=routes[n % 3], **(settings if is_cli else {})
            )
        for n in range(plan.producers):
            arena.add(
                f"producer{n}", "producer", route=routes[(n + 1) % 2], user="chaos_producer",
                CHAOS_JOBS=str(1 << 30 if plan.kinds else plan.jobs // plan.producers), CHAOS_SEED=str(plan.seed + n), CHAOS_BURST=str(plan.burst),
            )  # fmt: skip

    def _watch(self) -> None:
        """Keeps up what a machine would: processes and the server; and holds the producers while too much waits."""
        hold = self._arena.files / "hold"
        while self._watching:
            if self._arena.world.acquire(blocking=False):
                try:
                    self._outcome.server_gone += self._arena.keep_server()
                finally:
                    self._arena.world.release()
            if not self._over.is_set() or self._watching:
                self._arena.keep_members()
            with suppress(psycopg.Error), psycopg.connect(self._arena.dsn(), connect_timeout=2) as conn:
                waiting, self._claims = conn.execute(
                    "select (select count(*) from (select from runledger.job_queue where status = 'PENDING' limit %s) as x),"
                    " (select last_value from runledger.lease_token_seq)",
                    [self._plan.backlog],
                ).fetchone() or (0, 0)
                if waiting >= self._plan.backlog:
                    hold.touch()
                else:
                    hold.unlink(missing_ok=True)
            time.sleep(0.1)

    def _strike(self, faults: Sequence[Fault], is_first: bool) -> None:
        dice = random.Random(f"{self._plan.seed} {is_first}")
        self._over.wait(1.0)
        while faults and not self._over.is_set():
            # Each kind once before any comes again.
            for fault in dice.sample(faults, len(faults)):
                if self._over.is_set():
                    return
                try:
                    if fault.name not in self._arena.absent and fault.strike():
                        self._outcome.faults[fault.name] += 1
                except psycopg.Error as error:
                    # The other nemesis was quicker.
                    self._outcome.hindered[f"{fault.name} {error.sqlstate or type(error).__name__}"] += 1
                self._rest(dice.uniform(0.3, 1.7))

    def _rest(self, factor: float) -> None:
        if not self._plan.every:
            self._over.wait(factor * self._plan.gap)
            return
        until, patience = self._claims + factor * self._plan.every, time.monotonic() + 3
        while self._claims < until and time.monotonic() < patience and not self._over.wait(0.05):
            pass

    # --- afterwards ---

    def _wait_for_calm(self, producers: list[Any]) -> list[str]:
        """Until nothing is open. Stuck is what still is when nothing has moved for as long as a recovery takes."""
        plan, arena = self._plan, self._arena
        began = time.monotonic()
        arena.stop(producers)
        for member in producers:
            del arena.members[member.name]
        (arena.files / "hold").unlink(missing_ok=True)
        (arena.files / "calm").touch()
        arena.sql("select runledger.pause_schedule('tick', 'chaos')", user="chaos_owner")
        arena.sql(
            "select runledger.cancel_job(id, 'chaos') from runledger.job_queue where job_type in ('poison', 'gone') and status in ('PENDING', 'LEASED')"
        )
        delay = 0.3 if plan.is_hasty else MAINTENANCE_DELAY
        longest = max(plan.lease, 10 if plan.through_cli else 0) + REAP_SECONDS + delay + EPSILON
        hurried = 0

        def hurry() -> None:
            nonlocal hurried
            if plan.is_hasty and hurried < 5:
                hurried += 1
                arena.set_clock((MAINTENANCE_DELAY + 1) * hurried)

        stuck = wait_for_calm(arena.sql, longest, hurry)
        self._outcome.calm_seconds = time.monotonic() - began
        return stuck

    def _judge(self, stuck: list[str]) -> None:
        outcome, arena = self._outcome, self._arena
        history = checker.read(arena.files)
        with arena.session(row_factory=psycopg.rows.tuple_row) as conn:
            ledger = Ledger.of(conn)
            findings = conn.execute(
                "select invariant, severity, object, detail from runledger.fsck(max_rows => 50)"
            ).fetchall()
            (outcome.deadlocks,) = conn.execute("select sum(deadlocks)::integer from pg_stat_database").fetchone() or (
                0,
            )
        outcome.verdict = checker.check(history, ledger, stuck)
        for invariant, severity, thing, detail in findings:
            if severity == "WARN" or (invariant == "A5" and outcome.faults["clock-step"]):
                outcome.explained[invariant] += 1
            else:
                outcome.findings.append(f"{invariant} {severity} {thing} {detail}")
        outcome.absent = arena.absent
        outcome.jobs = sum(1 for job in ledger.jobs if job in history.started)
        outcome.executions = sum(history.starts.values())
        outcome.retried = sum(
            1 for end in history.finishes if end.disposition == "RETRY_SCHEDULED" and not end.replayed
        )
        outcome.repeated = outcome.executions - len(history.executions) - outcome.retried
        outcome.statuses = Counter(status for _, status, _ in ledger.jobs.values())
        waits = checker.recoveries(history, ledger)
        outcome.recovered, outcome.longest_stuck = len(waits), max(waits, default=0.0)
        outcome.unknown = history.unknown
        outcome.refused = sum(1 for end in history.finishes if end.disposition == "LEASE_LOST")
        outcome.replayed = sum(1 for end in history.finishes if end.replayed)
        outcome.gave_up = Counter({name: m.gave_up for name, m in arena.members.items() if m.gave_up})
        outcome.shortages = arena.said("No space left on device")
        outcome.complaints = arena.complaints()
