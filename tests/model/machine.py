"""The programs: Hypothesis draws calls of every verb, with live, stale and foreign arguments, and moves the clock.

Hypothesis itself switches a random part of the rules off in each program, or rare ones would never meet.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.model.jobs import Job
from tests.model.ledger import World
from tests.model.schedules import CRONS, Model

TYPES = ["a", "b", "c"]
TENANTS = [None, "00000000-0000-7000-8000-00000000000a", "00000000-0000-7000-8000-00000000000b"]
NOBODY = "00000000-0000-7000-8000-000000000000"
KEYS = [None, None, "k1", "k2"]

pick = st.integers(0, 1 << 16)
small = st.integers(1, 3)
org = st.sampled_from(TENANTS)
reason = st.sampled_from([None, "why", "because"])
said = st.sampled_from(["why", "because"])
payload = st.sampled_from([None, {}, {"n": 1}, [1, "two"], "text"])
body = st.sampled_from([None, {"out": 1}, [], "text", 7])
progress = st.sampled_from([None, None, 0, 1, 3, 10, -1])
run_at = st.sampled_from([None, None, None, -60, 0, 5, 3600, -(1 << 40), 1 << 40])
leases = st.sampled_from([1, 5, 60, 60, 3600])
delay = st.sampled_from([0, 0, 0.0012, 5, 600])
flag = st.booleans()
seldom = st.sampled_from([False, False, False, True])


def job_settings() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={
        "payload": payload, "organization_id": org, "priority": st.sampled_from([-5, 100, 200]),
        "max_attempts": st.sampled_from([1, 2, 3, 0]), "timeout_seconds": st.sampled_from([1, 30]),
        "run_at": run_at, "idempotency_key": st.sampled_from(["k1", "k2", " "]), "stage": st.sampled_from(["queued", "mine", ""]),
    })  # fmt: skip


def graphs(smallest: int) -> st.SearchStrategy[list[Any]]:
    """Steps as (what it runs, whom it waits for and how, its settings)."""
    return st.lists(
        st.tuples(
            st.sampled_from([*"aaaaaab", "gate", "gate", "timed", "timed", "unknown"]),
            st.lists(st.tuples(st.integers(0, 5), flag), max_size=3),
            st.fixed_dictionaries({}, optional={
                "priority": st.sampled_from([50, 200]), "max_attempts": st.sampled_from([1, 2]), "stage": st.just("mine"),
                "allow_continuation": flag, "organization_id": st.sampled_from(TENANTS[1:])}),
        ),
        min_size=smallest, max_size=5,
    )  # fmt: skip


def steps_of(graph: list[Any], prefix: str, there: list[str], defect: str | None) -> list[dict[str, Any]]:
    """As enqueue_workflow takes them; a step waits only for what stands before it, until a defect is put in."""
    steps: list[dict[str, Any]] = []
    keys = list(there)
    for n, (what, links, settings) in enumerate(graph):
        step: dict[str, Any] = {"key": f"{prefix}{n}", "payload": {"of": n}}
        if what in ("gate", "timed"):
            step["external"] = True
            if what == "timed":
                step |= {"timeout_seconds": 100, "on_timeout": ["SUCCEEDED", "FAILED", "CANCELED"][n % 3]}
        else:
            step |= {"job_type": what, **settings}
        waits = {keys[p % len(keys)]: needed for p, needed in links} if keys else {}
        for name, wanted in (("after_success", True), ("after_terminal", False)):
            if found := [k for k, needed in waits.items() if needed is wanted]:
                step[name] = found
        keys.append(step["key"])
        steps.append(step)
    last = steps[-1] if steps else {}
    if steps and defect in ("self", "missing", "twice"):
        more = {"self": [last["key"]], "missing": ["nowhere"], "twice": (last.get("after_success") or keys[:1]) * 2}[defect]
        last["after_terminal"] = more
    if len(steps) > 1 and defect == "cycle":
        steps[0]["after_terminal"] = [last["key"]]
        last["after_success"] = [steps[0]["key"]]
        last.pop("after_terminal", None)
    if len(steps) > 1 and defect == "same key":
        last["key"] = steps[0]["key"]
    return steps[::-1] if defect == "reversed" else steps


crons = st.sampled_from(list(CRONS))
defects = st.sampled_from([None] * 8 + ["reversed", "reversed", "self", "missing", "twice", "cycle", "same key"])
failure = st.fixed_dictionaries({}, optional={
    "kind": st.sampled_from(["RETRYABLE", "TIMEOUT", "TERMINAL", "PANICKED", "ODD"]), "not_before": run_at})  # fmt: skip
outcomes = st.one_of(
    st.fixed_dictionaries({"outcome": st.just("SUCCEEDED")}, optional={
        "output": body, "checkpoint": body, "done": progress, "total": progress}),
    st.just({"outcome": "SUCCEEDED"}),
    st.fixed_dictionaries({"outcome": st.just("FAILED"), "error_code": st.sampled_from(["e.x", "e.slow", "e.x", ""])}, optional={
        "kind": st.sampled_from(["RETRYABLE", "TIMEOUT", "TERMINAL", "PANICKED", "ODD"]), "error_message": said,
        "not_before": run_at}),
    st.fixed_dictionaries({"outcome": st.just("CONTINUE")}, optional={
        "delay": delay, "checkpoint": body, "done": progress, "total": progress}),
    st.fixed_dictionaries({"outcome": st.just("RELEASE"), "reason": st.sampled_from(["WORKER_SHUTDOWN", " "])}, optional={
        "delay": delay}),
    st.sampled_from([{"outcome": "SUCEEDED"}, {"outcome": "FAILED", "error_code": "e", "output": 1}, {"outcome": "RELEASE"}]),
)  # fmt: skip


# The most that the rules of a group may be of all steps, and each rule a sixth: else what can always be called, and
# what was called before, crowds out the rest.
SHARES = {"types": 1 / 10, "faults": 1 / 6, "operators": 1 / 4, "life": 1.0}
Rules = Callable[[Callable[..., None]], Callable[..., None]]


def verb(group: str = "life", when: Callable[[Any], Any] = bool, **drawn: st.SearchStrategy[Any]) -> Rules:
    """A rule of that group, in programs where its precondition holds."""

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def step(self: Programs, **values: Any) -> None:
            self.taken.update((group, function.__name__, "all"))
            function(self, **values)

        def may(self: Programs) -> bool:
            so_far = self.taken["all"]
            is_rare = self.taken[function.__name__] <= 1 + so_far / 6
            return is_rare and self.taken[group] <= SHARES[group] * so_far and bool(when(self.model))

        return precondition(may)(rule(**drawn)(step))  # type: ignore[no-any-return, arg-type]

    return wrap


def held(model: Model) -> list[Job]:
    """Jobs under a live lease."""
    return [j for j in model.jobs.values() if model.is_live(j, j.lease_token)]


def outlived(model: Model) -> list[tuple[str, int]]:
    """Tokens of jobs that are held under a later one, or whose lease has ended and nobody took it away yet."""
    leased = {j.id for j in model.jobs.values() if j.status == "LEASED"}
    return [(i, t) for i, t in model.tokens if i in leased and not model.is_live(model.jobs[i], t)]


# What there is to wait for, and who does what has then become due.
MOMENTS = {
    "lease": ["reap_expired_leases", "run_maintenance"],
    "gate": ["run_maintenance"],
    "fire": ["fire_due_schedules", "run_maintenance"],
    "job": ["claim_jobs"],
}
# Whatever takes a token.
WORDS: dict[str, Callable[[str, Any], dict[str, Any]]] = {
    "start_jobs": lambda job_id, token: {"job_ids": [job_id], "lease_tokens": [token]},
    "heartbeat_jobs": lambda job_id, token: {"job_ids": [job_id], "lease_tokens": [token], "lease_seconds": 60},
    "report_progress": lambda job_id, token: {"job_id": job_id, "lease_token": token, "done": 1},
    "log_job": lambda job_id, token: {"job_id": job_id, "lease_token": token, "level": "info", "message": "late"},
    "succeed_job": lambda job_id, token: {"job_id": job_id, "lease_token": token},
    "fail_job": lambda job_id, token: {"job_id": job_id, "lease_token": token, "error_code": "e.x", "error_message": "late"},
    "continue_job": lambda job_id, token: {"job_id": job_id, "lease_token": token, "delay": timedelta(0)},
    "release_job": lambda job_id, token: {
        "job_id": job_id, "lease_token": token, "delay": timedelta(0), "reason": "WORKER_SHUTDOWN"},
    "finish_jobs": lambda job_id, token: {"outcomes": [{"job_id": job_id, "lease_token": token, "outcome": "SUCCEEDED"}]},
}  # fmt: skip


class Programs(RuleBasedStateMachine):
    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.world.begin()
        self.model = self.world.model
        self.taken: Counter[str] = Counter()
        self.last: tuple[str, dict[str, Any]] | None = None

    def do(self, function: str, **arguments: Any) -> list[dict[str, Any]]:
        self.last = (function, arguments)
        return self.world.do(function, **arguments)

    # What a rule means by a number.

    def job(self, n: int, *statuses: str) -> str:
        """One of the jobs, more often than not one that stands there, and most often what has lived most; now and then nobody's."""
        known = [j.id for j in self.model.jobs.values() if n % 3 < 2 and j.status in statuses] or list(self.model.jobs)
        known.sort(key=lambda i: -len(self.model.events[i]))
        return NOBODY if n % 17 == 16 else known[n % len(known)]

    def lease(self, n: int) -> tuple[str, int]:
        """A live lease as often as not, else an earlier one of such a job, or any ever given out, also under another's id."""
        live = [(j.id, j.lease_token) for j in self.model.jobs.values() if j.lease_token is not None]
        n, stale = divmod(n, 4)
        if live and stale < 2:
            return live[n % len(live)]  # type: ignore[return-value]
        known = self.model.tokens
        if stale == 2 and (earlier := [t for t in known if t not in live and t[0] in dict(live)]):
            return earlier[n % len(earlier)]
        if n % 13 == 12:
            return known[0][0], known[n % len(known)][1]
        return known[n % len(known)] if n % 17 < 16 else (NOBODY, known[0][1])

    def instant(self, seconds: float | None) -> Any:
        if seconds is None:
            return None
        return self.model.now + timedelta(seconds=max(min(seconds, 400 * 86400 * 365), -80 * 86400 * 365))

    def settled(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Instants instead of offsets."""
        times = {k: self.instant(v) for k, v in fields.items() if k in ("run_at", "not_before")}
        return {k: v for k, v in {**fields, **times}.items() if v is not None}

    def item(self, fields: dict[str, Any]) -> dict[str, Any]:
        """As an element of a JSON array."""
        return {k: v.isoformat() if k in ("run_at", "not_before") else v for k, v in self.settled(fields).items()}

    # Definitions and time.

    @initialize(b=flag, limit=st.sampled_from([None, 1, 2]), jobs=st.integers(0, 3), prestart=seldom, graph=graphs(0),
                cron=crons, missed=st.sampled_from(["ALL", "SKIP", "ONCE"]), season=st.sampled_from([0, 0, 83]),
                active=st.sampled_from([None, "live"]))  # fmt: skip
    def define(self, b: bool, limit: int | None, jobs: int, prestart: bool, graph: list[Any], active: str | None,
               cron: str, missed: str, season: int) -> None:  # fmt: skip
        """A program begins with a type or two, often with jobs and a workflow under way."""
        self.world.advance(timedelta(days=season, hours=23.5))  # 83: the night in which clocks are set
        self.do("define_job", job_type="a", max_attempts=3, retry_delays_ms={"e.slow": 7000})
        if b:
            self.do("define_job", job_type="b", max_concurrency=limit, priority=200, retry_base_ms=60_000)
        if jobs:
            self.do("enqueue_jobs", jobs=[{"job_type": "a"}] * jobs)
            self.world.claim(worker_id="w1", job_types=["a"], max_jobs=jobs, prestart=prestart)
        if jobs < 2:
            self.do("upsert_schedule", name="nightly", job_type="a", cron=cron, timezone="Europe/Berlin", missed=missed)
        if graph:
            steps = steps_of(graph, "s", [], None)
            self.do("enqueue_workflow", workflow_type="w", steps=steps, active_key=active, result_step="s0")

    @verb("types", job_type=st.sampled_from(TYPES), fields=st.fixed_dictionaries({}, optional={
        "version": small, "max_attempts": small, "timeout_seconds": small, "priority": st.sampled_from([50, 100]),
        "is_enabled": flag, "max_concurrency": st.integers(0, 2), "retry_base_ms": st.sampled_from([5000, 9000]),
        "retry_max_ms": st.sampled_from([20_000, 300_000]), "retry_delays_ms": st.sampled_from([{}, {"e.x": 1500}])}))  # fmt: skip
    def define_job(self, job_type: str, fields: dict[str, Any]) -> None:
        # Two changes of a type are never of the same instant: fsck takes one that was not changed since it was made at its word.
        self.world.advance(timedelta(microseconds=1))
        self.do("define_job", job_type=job_type, **fields)

    @verb(
        "types",
        verb=st.sampled_from(["enable", "disable", "pause", "resume"]),
        job_type=st.sampled_from(TYPES),
        reason=reason,
    )
    def switch(self, verb: str, job_type: str, reason: str | None) -> None:
        why = {"reason": reason} if verb in ("disable", "pause") else {}
        self.do(f"{verb}_job_type", job_type=job_type, **why)

    @verb(seconds=st.sampled_from([0.001, 1, 4.9995, 10, 30, 3600, 86400]))
    def wait(self, seconds: float) -> None:
        self.world.advance(timedelta(seconds=seconds))

    @verb(n=pick, of=st.sampled_from(list(MOMENTS)), micros=st.sampled_from([0, 0, -1, 1]), who=st.integers(0, 2))
    def wait_until(self, n: int, of: str, micros: int, who: int) -> None:
        """To just before, at, or just after the end of a lease or when something is due, and who looks for that comes."""
        moments = self.model.moments()
        if ahead := sorted(t for t in moments.get(of) or set().union(*moments.values()) if t > self.model.now):
            self.world.advance(ahead[n % min(len(ahead), 4)] - self.model.now + timedelta(microseconds=micros))
        comes = [*MOMENTS[of], None][who % (len(MOMENTS[of]) + 1)]
        if comes == "claim_jobs":
            self.world.claim(worker_id="w1", job_types=TYPES, max_jobs=10)
        elif comes:
            self.do(comes)

    # Jobs.

    @verb(job_type=st.sampled_from([*TYPES, "a", "a", "unknown"]), fields=job_settings())
    def enqueue_job(self, job_type: str, fields: dict[str, Any]) -> None:
        self.do("enqueue_job", job_type=job_type, **self.settled(fields))

    @verb(jobs=st.lists(st.tuples(st.sampled_from(["a", "a", "b", "unknown"]), job_settings()), max_size=5))
    def enqueue_jobs(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        self.do("enqueue_jobs", jobs=[self.item({"job_type": t, **fields}) for t, fields in jobs])

    @verb(worker=st.sampled_from(["w1", "w2"]), types=st.sampled_from([["a"], ["b"], TYPES, TYPES, ["unknown"]]),
          max_jobs=st.sampled_from([1, 1, 2, 10, 0]), seconds=leases, prestart=seldom, goes_on=seldom)  # fmt: skip
    def claim_jobs(
        self, worker: str, types: list[str], max_jobs: int, seconds: int, prestart: bool, goes_on: bool
    ) -> None:
        self.world.claim(
            goes_on=goes_on,
            worker_id=worker,
            job_types=types,
            max_jobs=max_jobs,
            lease_seconds=seconds,
            prestart=prestart,
        )

    @verb("operators", lambda m: m.tokens, worker=st.sampled_from(["w1", "w2"]), n=pick)
    def leased_jobs(self, worker: str, n: int) -> None:
        self.do("leased_jobs", worker_id=worker, known_tokens=[self.lease(n)[1]])

    @verb(when=lambda m: m.tokens, ns=st.lists(pick, min_size=1, max_size=4))
    def start_jobs(self, ns: list[int]) -> None:
        held = [self.lease(n) for n in ns]
        self.do("start_jobs", job_ids=[i for i, _ in held], lease_tokens=[t for _, t in held])

    @verb(when=lambda m: m.tokens, ns=st.lists(pick, min_size=1, max_size=4), seconds=leases)
    def heartbeat_jobs(self, ns: list[int], seconds: int) -> None:
        held = [self.lease(n) for n in ns]
        self.do(
            "heartbeat_jobs", job_ids=[i for i, _ in held], lease_tokens=[t for _, t in held], lease_seconds=seconds
        )

    @verb(
        when=lambda m: m.tokens,
        n=pick,
        done=progress,
        total=progress,
        checkpoint=body,
        stage=st.sampled_from([None, "half way"]),
    )
    def report_progress(self, n: int, **told: Any) -> None:
        job_id, token = self.lease(n)
        self.do("report_progress", job_id=job_id, lease_token=token, **told)

    @verb("operators", lambda m: m.tokens, n=pick, level=st.sampled_from(["info", "error", ""]), with_token=flag)
    def log_job(self, n: int, level: str, with_token: bool) -> None:
        job_id, token = self.lease(n)
        self.do(
            "log_job",
            job_id=job_id,
            level=level,
            message="a line",
            payload={"n": 1},
            lease_token=token if with_token else None,
        )

    @verb(when=lambda m: m.tokens, n=pick, fields=st.fixed_dictionaries({}, optional={
        "output": body, "checkpoint": body, "done": progress, "total": progress}))  # fmt: skip
    def succeed_job(self, n: int, fields: dict[str, Any]) -> None:
        job_id, token = self.lease(n)
        self.do("succeed_job", job_id=job_id, lease_token=token, **self.settled(fields))

    @verb(when=lambda m: m.tokens, n=pick, code=st.sampled_from(["e.x", "e.slow", ""]), message=said, fields=failure)
    def fail_job(self, n: int, code: str, message: str, fields: dict[str, Any]) -> None:
        job_id, token = self.lease(n)
        self.do(
            "fail_job", job_id=job_id, lease_token=token, error_code=code, error_message=message, **self.settled(fields)
        )

    @verb(when=lambda m: m.tokens, n=pick, seconds=delay, fields=st.fixed_dictionaries({}, optional={
        "checkpoint": body, "done": progress, "total": progress}))  # fmt: skip
    def continue_job(self, n: int, seconds: float, fields: dict[str, Any]) -> None:
        job_id, token = self.lease(n)
        self.do(
            "continue_job", job_id=job_id, lease_token=token, delay=timedelta(seconds=seconds), **self.settled(fields)
        )

    @verb(
        when=lambda m: m.tokens,
        n=pick,
        seconds=delay,
        reason=st.sampled_from(["WORKER_SHUTDOWN", "WORKER_SHUTDOWN", " "]),
    )
    def release_job(self, n: int, seconds: float, reason: str) -> None:
        job_id, token = self.lease(n)
        self.do("release_job", job_id=job_id, lease_token=token, reason=reason, delay=timedelta(seconds=seconds))

    @verb(when=lambda m: m.tokens, items=st.lists(st.tuples(pick, outcomes), min_size=1, max_size=5), junk=seldom)
    def finish_jobs(self, items: list[tuple[int, dict[str, Any]]], junk: bool) -> None:
        batch = [
            {"job_id": job_id, "lease_token": token, **self.item(fields)}
            for (job_id, token), fields in ((self.lease(n), fields) for n, fields in items)
        ]
        self.do("finish_jobs", outcomes=[*batch, "junk", batch[0]] if junk else batch)

    @verb(n=pick, worker=st.sampled_from(["w1", "w2"]), code=st.sampled_from(["e.x", "e.slow"]), checkpoint=body,
          how=st.sampled_from(["RETRYABLE", "RETRYABLE", "TERMINAL", "late"]), micros=st.sampled_from([0, 1, -1]),
          reset=flag, speaks=flag)  # fmt: skip
    def begin_again(self, n: int, worker: str, code: str, checkpoint: Any, how: str, micros: int, reset: bool,
                    speaks: bool) -> None:  # fmt: skip
        """A second attempt or a second run, and so a stale token beside a live one: calls that seldom meet by chance."""
        if not held(self.model):
            self.do("enqueue_job", job_type="a")
            self.world.claim(worker_id=worker, job_types=TYPES, max_jobs=10)
        if not (live := held(self.model)):
            return
        job = live[n % len(live)]
        job_id, token = job.id, job.lease_token
        if checkpoint is not None:
            self.do("report_progress", job_id=job_id, lease_token=token, checkpoint=checkpoint)
        if how == "late" and job.lease_expires_at:
            self.world.advance(job.lease_expires_at - self.model.now + timedelta(microseconds=micros))
            self.do("reap_expired_leases")
        else:
            self.do("fail_job", job_id=job_id, lease_token=token, error_code=code, error_message="m", kind=how)
        if job.status == "DEAD_LETTERED":
            self.do("requeue_job", job_id=job_id, reset_state=reset)
        if job.status == "PENDING" and job.next_run_at > self.model.now:
            self.world.advance(job.next_run_at - self.model.now)
        self.world.claim(worker_id=worker, job_types=TYPES, max_jobs=10)
        if speaks:
            self.say_all(job_id, token)

    def say_all(self, job_id: str, token: int | None) -> None:
        for word, more in WORDS.items():
            self.do(word, **more(job_id, token))

    @verb("faults", outlived, n=pick)
    def late_words(self, n: int) -> None:
        """All that a worker may say that overslept its lease, whether or not another one holds its job by now."""
        known = outlived(self.model)
        self.say_all(*known[n % len(known)])

    @verb("faults", lambda m: m.jobs)
    def again(self) -> None:
        """The identical call once more, as after a lost reply."""
        function, arguments = self.last  # type: ignore[misc]
        if function == "claim_jobs":
            self.world.claim(goes_on=False, **arguments)
        else:
            self.do(function, **arguments)

    @verb(when=lambda m: m.tokens, max_jobs=st.sampled_from([1, 100]), seconds=st.sampled_from([0, 30]))
    def reap_expired_leases(self, max_jobs: int, seconds: int) -> None:
        self.do("reap_expired_leases", max_jobs=max_jobs, retry_delay=timedelta(seconds=seconds))

    @verb("operators", lambda m: m.jobs, n=pick, reason=reason, org=org)
    def cancel_job(self, n: int, reason: str | None, org: str | None) -> None:
        self.do("cancel_job", job_id=self.job(n), reason=reason, organization_id=org)

    @verb("operators", lambda m: m.jobs, n=pick, reason=reason, status=st.sampled_from([None, None, "CANCELED", "DEAD_LETTERED"]),
          run=st.sampled_from([None, None, 1, 2]), reset=flag)  # fmt: skip
    def requeue_job(self, n: int, reason: str | None, status: str | None, run: int | None, reset: bool) -> None:
        self.do(
            "requeue_job",
            job_id=self.job(n, "DEAD_LETTERED", "CANCELED"),
            reason=reason,
            expected_status=status,
            expected_run_number=run,
            reset_state=reset,
        )

    @verb(
        "operators",
        lambda m: m.letters,
        reason=said,
        job_type=st.sampled_from([None, None, "a"]),
        error_code=st.sampled_from([None, None, "e.x"]),
        max_jobs=small,
    )
    def redrive_dead_letters(self, **told: Any) -> None:
        self.do("redrive_dead_letters", **told)

    @verb("operators", lambda m: m.jobs, n=pick, key=st.sampled_from(["r1", "r2"]), reason=said)
    def replay_job(self, n: int, key: str, reason: str) -> None:
        self.do("replay_job", job_id=self.job(n), request_key=key, reason=reason)

    @verb("operators", lambda m: m.jobs, n=pick, payload=payload.filter(lambda p: p is not None), reason=said)
    def correct_payload(self, n: int, payload: Any, reason: str) -> None:
        self.do("correct_payload", job_id=self.job(n), payload=payload, reason=reason)

    @verb("operators", lambda m: m.jobs, n=pick, reason=said)
    def redact_job(self, n: int, reason: str) -> None:
        self.do("redact_job", job_id=self.job(n), reason=reason)

    # Workflows.

    def run_id(self, n: int) -> str:
        """One of the runs, most often one with a handler at work; now and then nobody's."""
        at_work = {j.workflow_run_id for j in held(self.model)}
        known = sorted(self.model.runs, key=lambda i: i not in at_work)
        return NOBODY if n % 17 == 16 else known[n % len(known)]

    def gate(self, n: int) -> tuple[str, str]:
        """A gate that waits, if there is one, three times of four; else any step."""
        steps = [(g.run.id, s) for g in self.model.runs.values() for s in g.steps.values()]
        open_ = [(r, s) for r, s in steps if s.status == "WAITING_FOR_EXTERNAL"]
        n, other = divmod(n, 4)
        among = open_ if open_ and other else steps
        run_id, step = among[n % len(among)]
        return run_id, step.step_key

    @verb(graph=graphs(0), tenant=org, key=st.sampled_from(KEYS), active=st.sampled_from([None, None, "live"]), defect=defects,
          result=st.sampled_from([None, None, None, None, "s0", "s0", "s1"]), workflow_type=st.sampled_from([*"wwwwwwv", " "]))  # fmt: skip
    def enqueue_workflow(self, graph: list[Any], tenant: str | None, key: str | None, active: str | None,
                         defect: str | None, result: str | None, workflow_type: str) -> None:  # fmt: skip
        self.do("enqueue_workflow", workflow_type=workflow_type, steps=steps_of(graph, "s", [], defect), organization_id=tenant,
                idempotency_key=key, active_key=active, result_step=result)  # fmt: skip

    @verb(when=lambda m: m.runs, n=pick, graph=graphs(1), key=st.sampled_from(["m1", "m2"]), defect=defects)
    def append_workflow_steps(self, n: int, graph: list[Any], key: str, defect: str | None) -> None:
        run_id, window = self.gate(n)
        there = self.model.runs[run_id].steps
        self.do("append_workflow_steps", workflow_run_id=run_id, mutation_key=key, append_window=window,
                steps=steps_of(graph, f"{key}.", list(there), defect))  # fmt: skip

    @verb(when=lambda m: m.runs, n=pick, outcome=st.sampled_from([*["SUCCEEDED"] * 4, "FAILED", "FAILED", "CANCELED", "ODD"]),
          output=body, reason=reason)  # fmt: skip
    def complete_external_step(self, n: int, outcome: str, output: Any, reason: str | None) -> None:
        run_id, key = self.gate(n)
        self.do("complete_external_step", workflow_run_id=run_id, step_key=key, outcome=outcome, output=output, reason=reason)

    @verb(end=st.sampled_from(["SUCCEEDED", "FAILED", "CANCELED"]), needed=flag, micros=st.sampled_from([0, 0, -1, 1]))
    def time_out(self, end: str, needed: bool, micros: int) -> None:
        """Nobody completes a gate in time, and somebody waits for it."""
        gates = self.model.moments()["gate"]
        if not any(t > self.model.now for t in gates):
            steps = [{"key": "g", "external": True, "timeout_seconds": 100, "on_timeout": end},
                     {"key": "s", "job_type": "a", "after_success" if needed else "after_terminal": ["g"]}]  # fmt: skip
            self.do("enqueue_workflow", workflow_type="w", steps=steps)
        if ahead := [t for t in self.model.moments()["gate"] if t > self.model.now]:
            self.world.advance(min(ahead) - self.model.now + timedelta(microseconds=micros))
            self.do("run_maintenance")

    @verb("operators", lambda m: m.runs, n=pick, reason=reason, org=org)
    def cancel_workflow(self, n: int, reason: str | None, org: str | None) -> None:
        self.do("cancel_workflow", workflow_run_id=self.run_id(n), reason=reason, organization_id=org)

    @verb("operators", lambda m: m.runs, n=pick, seconds=st.sampled_from([60, 3600, 3601]))
    def await_workflow(self, n: int, seconds: int) -> None:
        self.do("await_workflow", workflow_run_id=self.run_id(n), until=self.instant(seconds))

    @verb("operators", lambda m: m.jobs)
    def run_maintenance(self) -> None:
        self.do("run_maintenance")

    # Schedules.

    @verb(name=st.sampled_from(["nightly", "nightly", "often", "flow", " x"]), cron=st.sampled_from([*CRONS, *CRONS, "x"]),
          fields=st.fixed_dictionaries({}, optional={
              "timezone": st.sampled_from([*["UTC", "Europe/Berlin"] * 3, "CEST"]), "payload": payload, "organization_id": org,
              "max_jitter_seconds": st.sampled_from([0, 0, 5, 90, 4000, -1]), "missed": st.sampled_from([*["ONCE", "SKIP", "ALL"] * 2, "ODD"]),
              "is_active": flag}),
          cursor=st.sampled_from([None, None, None, -3600, 40]), graph=graphs(1))  # fmt: skip
    def upsert_schedule(self, name: str, cron: str, fields: dict[str, Any], cursor: float | None, graph: list[Any]) -> None:
        what: dict[str, Any] = {"job_type": "a"}
        if name == "flow":
            what = {"job_type": None, "workflow_type": "w", "steps": steps_of(graph[:3], "s", [], None)}
        self.do("upsert_schedule", name=name, cron=cron, next_fire_at=self.instant(cursor), **what, **fields)

    @verb("operators", lambda m: m.schedules, verb_=st.sampled_from(["pause", "resume", "resume", "delete"]),
          name=st.sampled_from(["nightly", "often", "flow"]), reason=reason, cursor=st.sampled_from([None, None, -3600, -60, 40]))  # fmt: skip
    def change_schedule(self, verb_: str, name: str, reason: str | None, cursor: float | None) -> None:
        more: dict[str, Any] = {"pause": {"reason": reason}, "resume": {"next_fire_at": self.instant(cursor)}}.get(verb_, {})
        self.do(f"{verb_}_schedule", name=name, **more)

    @verb("operators", lambda m: m.schedules, back=st.sampled_from([1, 20, 420, 3600, 86400]), name=st.sampled_from(["nightly", "often"]))
    def move_back(self, name: str, back: int) -> None:
        """The cursor to an instant that may have fired."""
        if name in self.model.schedules:
            to = self.model.schedules[name].next_base_at - timedelta(seconds=back)
            self.do("resume_schedule", name=name, next_fire_at=to)

    @verb(cron=crons, missed=st.sampled_from(["SKIP", "SKIP", "ONCE", "ALL"]), late=st.sampled_from([0, 59.999999, 60, 60.000001, 3600]))
    def fire_late(self, cron: str, missed: str, late: float) -> None:
        """Nobody looks at what is due for a while; a minute is the most for what may be skipped."""
        self.do("upsert_schedule", name="often", job_type="a", cron=cron, missed=missed)
        if (often := self.model.schedules.get("often")) and often.next_fire_at > self.model.now:
            self.world.advance(often.next_fire_at - self.model.now + timedelta(seconds=late))
        self.do("fire_due_schedules")

    @verb(when=lambda m: m.schedules, most=st.sampled_from([1, 100]))
    def fire_due_schedules(self, most: int) -> None:
        self.do("fire_due_schedules", max_schedules=most)

    # What a life is made of is drawn more often than the rest.
    enqueue_more = enqueue_job
    claim_more = claim_jobs
    begin_more = begin_again
    finish_many = finish_jobs
    complete_more = complete_external_step
    wait_more = wait_until

    # Faults.

    @verb("faults", lambda m: m.jobs, how=st.sampled_from(["rolled back", "rolled back", "terminated", "timeout"]))
    def lost(self, how: str) -> None:
        """The last call once more, in a transaction that comes to no end."""
        self.world.lost(*self.last, how=how)  # type: ignore[misc]
