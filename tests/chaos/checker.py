"""The judge: compares what was seen outside (the journal) with what the ledger says at the end.

Codes are those of the invariants of histories: H1 durability, H2 at least once, H3 one lease at a time, H4 no effect of a
zombie, H5 exactly once inside the database, H6 the same answer to the same call, H7 nothing stuck.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos import journal
from tests.chaos.graph import PRODUCT

RECORDED = {"SUCCEEDED", "RETRY_SCHEDULED", "DEAD_LETTERED", "CONTINUED"}
ENDS = {"SUCCEEDED", "DEAD_LETTERED", "CANCELED"}
MAY_DIE = {"doomed", "poison"}
"""Types whose handlers fail for good on purpose."""
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Finish:
    """An acknowledged answer to one outcome."""

    worker: str
    sent: int
    received: int
    job: str
    token: int
    asked: str
    disposition: str
    replayed: bool


@dataclass(slots=True)
class History:
    """What the processes wrote down."""

    enqueued: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    runs: set[str] = field(default_factory=set)
    handed: dict[int, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))  # token: (worker, job)
    leases: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))  # job: token: first known at
    starts: Counter[int] = field(default_factory=Counter)
    executions: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    started: set[str] = field(default_factory=set)
    finishes: list[Finish] = field(default_factory=list)
    beats: list[tuple[str, int, str, int]] = field(default_factory=list)  # worker, sent, job, token: EXTENDED
    canceled: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)  # somebody tried to cancel it
    requeued: dict[str, int] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    ahead: list[tuple[int, int]] = field(default_factory=list)  # while the ledger's clock was, from and to

    @classmethod
    def of(cls, records: Iterable[list[Any]]) -> History:
        history = cls()
        for record in records:
            history.add(*record)
        return history

    def add(self, kind: str, who: str, *facts: Any) -> None:
        match kind:
            case "claim":
                _, received, jobs = facts
                for job, token in jobs:
                    self.handed[token].add((who, job))
                    self.leases[job].setdefault(token, received)
                    self.leases[job][token] = min(self.leases[job][token], received)
            case "start":
                at, job, token, run = facts
                self.starts[token] += 1
                self.started.add(job)
                self.executions[job, run] += 1
                self.leases[job].setdefault(token, at)
                self.handed[token].add((who, job))
            case "finish":
                sent, received, items = facts
                self.finishes += [Finish(who, sent, received, *item) for item in items]
            case "beat":
                sent, _, items = facts
                self.beats += [(who, sent, job, token) for job, token, told in items if told == "EXTENDED"]
            case "enqueue":
                for key, job in facts[2]:
                    self.enqueued[key].add(job)
            case "run":
                self.runs.add(facts[2])
            case "canceling":
                self.touched.add(facts[1])
            case "cancel":
                self.canceled.add(facts[2])
            case "requeue":
                for job, run in facts[2]:
                    self.requeued[job] = max(run, self.requeued.get(job, 0))
            case "unknown":
                self.unknown[facts[2]] += 1
            case "ahead":
                self.ahead.append((facts[0], facts[1]))
            case "died":
                self.deaths[facts[1]] += 1
            case _:
                raise ValueError(f"no record of this kind: {kind}")


@dataclass(slots=True)
class Ledger:
    """What the database says."""

    jobs: dict[str, tuple[str, str, int]] = field(default_factory=dict)  # type, status, run
    attempts: dict[int, tuple[str, int, str | None]] = field(default_factory=dict)  # token: job, run, disposition
    successes: dict[tuple[str, int], int] = field(default_factory=dict)  # events, of (job, run)
    canceled: set[str] = field(default_factory=set)
    runs: dict[str, str] = field(default_factory=dict)
    products: dict[str, int] = field(default_factory=dict)  # what the last steps of workflows came to
    transfers: list[tuple[str, int, int]] = field(default_factory=list)  # job, run, token

    @classmethod
    def of(cls, conn: psycopg.Connection[Any]) -> Ledger:
        def rows(query: str) -> list[tuple[Any, ...]]:
            return conn.execute(query.encode()).fetchall()

        return cls(
            jobs={
                j: (t, s, r)
                for j, t, s, r in rows("select id::text, job_type, status::text, run_number from runledger.job_queue")
            },
            attempts={
                token: (job, run, told)
                for token, job, run, told in rows(
                    "select lease_token, job_id::text, run_number, disposition from runledger.job_attempts where worker_id <> 'old'"
                )
            },
            successes={
                (job, run): n
                for job, run, n in rows(
                    "select job_id::text, run_number, count(*) from runledger.job_events where event_type = 'SUCCEEDED' group by 1, 2"
                )
            },
            canceled={
                job
                for (job,) in rows(
                    "select distinct job_id::text from runledger.job_events where event_type = 'CANCELED'"
                )
            },
            runs=dict(rows("select id::text, status::text from runledger.workflow_runs")),
            products=dict(
                rows(
                    "select workflow_run_id::text, output::integer from runledger.workflow_steps where step_key = 'c' and status = 'SUCCEEDED'"
                )
            ),
            transfers=rows("select job_id::text, run_number, lease_token from public.transfers"),
        )


@dataclass(slots=True)
class Verdict:
    counts: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)

    def find(self, code: str, words: str) -> None:
        self.counts[code] += 1
        if self.counts[code] <= SHOWN:
            self.words.append(f"{code}: {words}")


LOST, UNRUN, OVERLAP, ZOMBIE, DOUBLE, EXACTLY, ANSWER, STUCK = (
    "H1 lost", "H2 not run", "H3 overlapping leases", "H4 zombie", "H4 doubled completions", "H5 not exactly once",
    "H6 another answer", "H7 stuck",
)  # fmt: skip
CODES = (LOST, UNRUN, OVERLAP, ZOMBIE, DOUBLE, EXACTLY, ANSWER, STUCK)


def check(history: History, ledger: Ledger, stuck: Iterable[str] = ()) -> Verdict:
    verdict = Verdict()
    for part in (_durable, _at_least_once, _one_lease, _no_zombie, _exactly_once, _same_answer):
        part(history, ledger, verdict.find)
    for words in stuck:
        verdict.find(STUCK, words)
    return verdict


def _durable(history: History, ledger: Ledger, find: Any) -> None:
    for key, jobs in history.enqueued.items():
        if len(jobs) > 1:
            find(ANSWER, f"key {key} gave {len(jobs)} jobs")
        for job in jobs:
            if job not in ledger.jobs:
                find(LOST, f"acknowledged job {job} is not there")
    for run in history.runs:
        if run not in ledger.runs:
            find(LOST, f"acknowledged workflow {run} is not there")
    for end in history.finishes:
        recorded = ledger.attempts.get(end.token, ("", 0, None))
        if end.disposition in RECORDED and (recorded[0], recorded[2]) != (end.job, end.disposition):
            find(LOST, f"{end.disposition} of {end.job} token {end.token} was acknowledged, found {recorded}")
        elif end.disposition == "SUCCEEDED" and not ledger.successes.get((end.job, recorded[1])):
            find(LOST, f"success of {end.job} token {end.token} was acknowledged and is no event")
    for job in history.canceled - ledger.canceled:
        find(LOST, f"acknowledged cancellation of {job} is not there")
    for job, run in history.requeued.items():
        if ledger.jobs.get(job, ("", "", 0))[2] < run:
            find(LOST, f"acknowledged requeue of {job} to run {run}, found {ledger.jobs.get(job)}")


def _at_least_once(history: History, ledger: Ledger, find: Any) -> None:
    accepted = {job for jobs in history.enqueued.values() for job in jobs}
    for job in accepted & ledger.jobs.keys():
        job_type, status, _ = ledger.jobs[job]
        if job in history.touched or status == "SUCCEEDED":
            continue
        if status == "CANCELED" or (status == "DEAD_LETTERED" and job_type not in MAY_DIE):
            find(UNRUN, f"{job_type} {job} ended as {status}, and nobody asked for that")
        if status in ENDS and job not in history.started:
            find(UNRUN, f"{job_type} {job} ended as {status} and never ran")
    for token, (job, run, told) in ledger.attempts.items():
        if told == "SUCCEEDED" and token not in history.starts:
            find(UNRUN, f"{job} run {run} succeeded with token {token}, under which no handler started")
    for run, status in ledger.runs.items():
        if status in ("COMPLETED_WITH_ERRORS", "CANCELED"):
            find(UNRUN, f"workflow {run} ended as {status}, and nobody asked for that")


def _one_lease(history: History, ledger: Ledger, find: Any) -> None:
    for token, holders in history.handed.items():
        if len(holders) > 1:
            find(OVERLAP, f"token {token} was handed out to {sorted(holders)}")
    for token, n in history.starts.items():
        if n > 1:
            find(OVERLAP, f"{n} handlers started under token {token}")


def _no_zombie(history: History, ledger: Ledger, find: Any) -> None:
    """Tokens of a job rise: who was answered for a newer one had the job. From then on the older ones are nothing."""

    def newer(job: str, token: int, sent: int) -> int | None:
        return next((t for t, at in history.leases[job].items() if t > token and at < sent), None)

    for end in history.finishes:
        if (
            end.disposition in RECORDED | {"RELEASED"}
            and not end.replayed
            and (other := newer(end.job, end.token, end.sent))
        ):
            find(ZOMBIE, f"{end.worker}: {end.disposition} of {end.job} token {end.token}, sent when {other} was out")
    for worker, sent, job, token in history.beats:
        if other := newer(job, token, sent):
            find(ZOMBIE, f"{worker}: lease {token} of {job} extended when {other} was out")
    answered = Counter(end.job for end in history.finishes if end.disposition == "SUCCEEDED" and not end.replayed)
    recorded: Counter[str] = Counter()
    for (job, _), n in ledger.successes.items():
        recorded[job] += n
    for job in answered.keys() | recorded.keys():
        if max(answered[job], recorded[job]) > 1:
            find(DOUBLE, f"{job}: {answered[job]} successes acknowledged, {recorded[job]} recorded")


def _exactly_once(history: History, ledger: Ledger, find: Any) -> None:
    """`pay` moves money in the transaction of its completion: the money moved if and only if that completion won."""
    won = {(job, run): token for token, (job, run, told) in ledger.attempts.items() if told == "SUCCEEDED"}
    moved = Counter((job, run) for job, run, _ in ledger.transfers)
    for job, run, token in ledger.transfers:
        if won.get((job, run)) != token:
            find(EXACTLY, f"{job} run {run} moved money under token {token}, and {won.get((job, run))} completed it")
    for (job, run), n in moved.items():
        if n > 1:
            find(EXACTLY, f"{job} run {run} moved money {n} times")
    for flow, product in ledger.products.items():
        if product != PRODUCT:
            find(EXACTLY, f"workflow {flow} came to {product}")
    for job, run in won:
        if ledger.jobs.get(job, ("", "", 0))[0] == "pay" and (job, run) not in moved:
            find(EXACTLY, f"{job} run {run} succeeded and moved no money")


def _same_answer(history: History, ledger: Ledger, find: Any) -> None:
    for end in history.finishes:
        recorded = ledger.attempts.get(end.token, ("", 0, None))[2]
        # Refused while the clock was ahead, sent again after it was set back: the lease lives.
        was_ahead = any(end.sent <= until and since <= end.received for since, until in history.ahead)
        if (end.disposition, end.asked, recorded) == ("LEASE_LOST", "SUCCEEDED", "SUCCEEDED") and not was_ahead:
            find(ANSWER, f"{end.worker}: {end.job} token {end.token} succeeded and was told LEASE_LOST")
        if end.disposition == "INVALID":
            find(ANSWER, f"{end.worker}: {end.asked} of {end.job} token {end.token} was refused as invalid")


def recoveries(history: History, ledger: Ledger) -> list[float]:
    """For each lease that nobody ended: seconds from its claim until the job was claimed again."""
    ended = {end.token for end in history.finishes if end.disposition in RECORDED | {"RELEASED"}}
    # Nor those whose end was recorded and never acknowledged, or that an operator took away.
    ended |= {
        token for token, (_, _, told) in ledger.attempts.items() if told in ("SUCCEEDED", "DEAD_LETTERED", "CONTINUED")
    }
    waits = []
    for job, tokens in history.leases.items():
        known = sorted(tokens.items()) if job not in history.touched else []
        waits += [(there - here) / 1e9 for (one, here), (_, there) in pairwise(known) if one not in ended]
    return waits


def read(directory: Path) -> History:
    return History.of(journal.read(directory))
