"""What each verb answers, whom it wakes, and what it writes, to the last column: written/*.out, to be read like a specification.

    ## a case
    answers  one line per row, all columns     refused  the code, and what is told beside it
    wakes    the types of the notifications, once for each
    ~        what changed in a row     + a new row (columns that are null are left out)     - a row that is gone

Time stands still; instants are told by their distance from it. `RUNLEDGER_WRITE=1 pytest …` writes the files anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger
from tests.support.written import stands_written

HERE = Path(__file__).parent / "written"
TABLES = {
    "job_queue": ("id",), "job_attempts": ("job_id", "run_number", "attempt"), "job_events": ("id",), "job_dead_letters": ("job_id",),
    "job_logs": ("id",), "job_replays": ("replay_job_id",), "operator_actions": ("id",), "job_definitions": ("job_type",),
    "job_runtime_configs": ("job_type",),
}  # fmt: skip
TYPES = ("t", "u", "lazy", "limited", "new")
INSTANT = timedelta(microseconds=1)

Act = Callable[[], Any]
CASES: dict[str, dict[str, Callable[[Scene], Act]]] = {}


class Scene:
    """The database of an area, what a case needs of it, and the words for what it holds."""

    def __init__(self, db: Db, q: Ledger, clock: Clock) -> None:
        self.db, self.q, self.clock = db, q, clock
        clock.noon()
        self.now = clock.stop()
        self.owner = q.conn.info.user
        self.heard: list[str] = []
        q.conn.add_notify_handler(lambda note: self.heard.append(note.payload))
        q.conn.execute("listen runledger_wake")
        self.keys = {db.value("select runledger._wake_key(%s)", [t]): t for t in TYPES}
        self.names: dict[Any, str] = {}
        self.seen, self.kept = 0, dict[tuple[Any, ...], dict[str, Any]]()

    def begin(self) -> None:
        self.names = {NOBODY: "nobody", TENANT: "tenant", OTHER_TENANT: "other tenant"}
        self.now = self.clock.now()

    def word(self, value: Any, column: str = "") -> str:
        if isinstance(value, datetime):
            apart = value - self.now
            return "now" if not apart else f"now{apart.total_seconds():+.6f}".rstrip("0").rstrip(".") + "s"
        if isinstance(value, str) and column.endswith(("_at", "after", "before")) and value[:2] == "20":
            return self.word(datetime.fromisoformat(value))
        if isinstance(value, str) and value == self.owner:
            return "owner"
        if isinstance(value, str) and len(value) == 36 and value[8] == "-":
            return self.word(UUID(value))
        if isinstance(value, UUID) or (column.endswith(("token", "log_id", "log_job")) and value is not None):
            kind = "job" if isinstance(value, UUID) else "token" if column.endswith("token") else "line"
            same = [n for n in self.names.values() if n.rstrip("0123456789") == kind]
            return self.names.setdefault(value, f"{kind}{len(same) + 1}")
        if isinstance(value, dict):
            return "{" + self.line(value, full=True) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(self.word(v) for v in value) + "]"
        if value is None:
            return "-"
        return str(value) if isinstance(value, (bool, int, float, Decimal)) else repr(value)

    def line(self, row: dict[str, Any], full: bool = False) -> str:
        return ", ".join(f"{k} {self.word(v, k)}" for k, v in row.items() if full or v is not None)

    def rows(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Every row of these tables; only those that were written since the last time are fetched."""
        since, self.seen = self.seen, self.db.value("select pg_current_xact_id()::text::bigint")
        stand: dict[tuple[Any, ...], dict[str, Any]] = {}
        for table, key in TABLES.items():
            keys = ", ".join(key)
            new = self.db.all(f"select * from runledger.{table} where xmin::text::bigint >= %s", [since])
            self.kept |= {(table, *(r[k] for k in key)): r for r in new}
            for place in self.db.all(f"select {keys} from runledger.{table} order by {keys}"):
                stand[(table, *place.values())] = self.kept[(table, *place.values())]
        return stand

    def told(self, build: Callable[[Scene], Act]) -> Iterator[str]:
        self.begin()
        act = build(self)
        self.now = self.clock.now()
        before = self.rows()
        self.q.conn.execute("select 1")
        self.heard.clear()
        try:
            answer = act()
        except psycopg.Error as error:
            detail = json.loads(error.diag.message_detail or "null")
            yield f"refused  {error.diag.sqlstate} {detail.pop('code')}" + (f": {self.line(detail, full=True)}" if detail else "")
            answer = []
        self.q.conn.execute("select 1")
        woken = sorted(self.keys[h] for h in self.heard)
        after = self.rows()
        for row in answer if isinstance(answer, list) else [answer]:
            yield f"answers  {self.line(row, full=True) if isinstance(row, dict) else self.word(row)}"
        if woken:
            yield f"wakes    {', '.join(woken)}"
        for place, row in after.items():
            old = before.get(place)
            serial = place[0] in ("job_events", "job_logs", "operator_actions")
            told = {k: v for k, v in row.items() if not (serial and k in ("id", "transaction_id"))}
            if old is None:
                yield f"+ {place[0]}: {self.line(told)}"
            elif old != row:
                changed = [f"{k} {self.word(old[k], k)} → {self.word(row[k], k)}" for k in row if old[k] != row[k]]
                which = f"{row.get('event_type', 'line')} of {self.word(row['job_id'])}" if serial else ", ".join(self.word(p) for p in place[1:])
                yield f"~ {place[0]} {which}: {', '.join(changed)}"
        for place in (p for p in before if p not in after):
            yield f"- {place[0]} {', '.join(self.word(p) for p in place[1:])}"


def case(area: str, name: str) -> Callable[[Callable[[Scene], Act]], Callable[[Scene], Act]]:
    def put(build: Callable[[Scene], Act]) -> Callable[[Scene], Act]:
        assert name not in CASES.setdefault(area, {})
        CASES[area][name] = build
        return build

    return put


def each(area: str, verb: str, cases: dict[str, Callable[[Scene], Act]]) -> None:
    for name, build in cases.items():
        case(area, f"{verb}: {name}")(build)


# Enqueue.


def one(**settings: Any) -> Callable[[Scene], Act]:
    return lambda s: lambda: s.q.row("enqueue_job", **{"job_type": "t", **{k: v(s) if callable(v) else v for k, v in settings.items()}})


def keyed(s: Scene, key: str, job_type: str = "t", **more: Any) -> UUID:
    return s.q.enqueue(job_type, idempotency_key=key, **more)


def known(key: str, **more: Any) -> Callable[[Scene], Act]:
    def build(s: Scene) -> Act:
        keyed(s, key, organization_id=more.get("organization_id"))
        return lambda: s.q.row("enqueue_job", job_type="t", idempotency_key=key, **more)

    return build


def later(seconds: float) -> Callable[[Scene], datetime]:
    return lambda s: s.now + timedelta(seconds=seconds)


FULL = {
    "organization_id": TENANT, "priority": -5, "max_attempts": 2, "timeout_seconds": 9, "stage": "waiting", "payload": {"a": [1]},
}  # fmt: skip
each("enqueue", "enqueue_job", {
    "plain": one(), "of another type": one(job_type="u"), "with everything": one(**FULL, run_at=later(5), idempotency_key="full"),
    "without a payload": one(payload=None), "due now": one(run_at=later(0)), "due in a moment": one(run_at=later(0.000001)),
    "due before": one(run_at=later(-5)), "of a type for which nobody is idle": one(job_type="lazy"),
    "the same key again": known("again"), "the same key again, of a tenant": known("of tenant", organization_id=TENANT),
    "the key of another type": lambda s: (keyed(s, "theirs", "u"), one(idempotency_key="theirs")(s))[1],
    "the key of another type, of a tenant": lambda s: (
        keyed(s, "theirs", "u", organization_id=TENANT), one(idempotency_key="theirs", organization_id=TENANT)(s))[1],
    "the key of another tenant": lambda s: (keyed(s, "mine", organization_id=TENANT), one(idempotency_key="mine")(s))[1],
})  # fmt: skip


def batch(*items: dict[str, Any], key: str = "", also: tuple[Any, ...] = ()) -> Callable[[Scene], Act]:
    def build(s: Scene) -> Act:
        if key:
            keyed(s, key)
            keyed(s, key, organization_id=TENANT)
        jobs = [{k: v(s).isoformat() if callable(v) else v for k, v in item.items()} for item in items] + [*also]
        return lambda: s.q.rows("enqueue_jobs", jobs=jobs)

    return build


T, U, LAZY = {"job_type": "t"}, {"job_type": "u"}, {"job_type": "lazy"}
OF = {"organization_id": str(TENANT)}
each("enqueue", "enqueue_jobs", {
    "plain": batch(T, U, T), "with everything": batch({**T, **FULL, **OF, "run_at": later(5)}, U),
    "one due now, one in a moment": batch({**U, "run_at": later(0)}, {**T, "run_at": later(0.000001)}),
    "nothing due": batch({**T, "run_at": later(1)}, {**U, "run_at": later(2)}),
    "nobody is idle": batch(LAZY), "with everything and a key": batch({**T, **FULL, **OF, "run_at": later(5), "idempotency_key": "all"}, U),
    "a key, one due now, one in a moment": batch({**U, "run_at": later(0), "idempotency_key": "k1"}, {**T, "run_at": later(0.000001)}),
    "nothing new": batch({**T, "idempotency_key": "k2"}, {**T, **OF, "idempotency_key": "k2"}, key="k2"),
    "new, known, in conflict, invalid, of no type": batch(
        {**U, "idempotency_key": "k3"}, {**T, "idempotency_key": "k3"}, {**T, "idempotency_key": "k3", "priority": 1},
        {**T, **OF, "idempotency_key": "k3"}, {**T, **OF, "idempotency_key": "k3", "stage": "x"},
        {**T, "organization_id": str(OTHER_TENANT), "idempotency_key": "k3", "run_at": later(3)},
        {**T, "prioritty": 1}, {"job_type": "none"}, {"job_type": "none", "idempotency_key": "k3"}, key="k3", also=(7,)),
    "the key of another type": lambda s: (
        keyed(s, "k5", job_type="u"), keyed(s, "k5", job_type="u", organization_id=TENANT),
        batch({**T, "idempotency_key": "k5"}, {**T, **OF, "idempotency_key": "k5"}, {**U, "idempotency_key": "k5"}, {**U, **OF, "idempotency_key": "k5"})(s))[-1],
    "the same key twice and once in conflict": batch(
        {**T, "idempotency_key": "k4"}, {**T, "idempotency_key": "k4"}, {**T, "idempotency_key": "k4", "stage": "x"}),
})  # fmt: skip


# Claim, start, extend, report, log.


def clear(s: Scene) -> None:
    """Nothing of the cases before waits to be claimed."""
    s.db.execute("update runledger.job_queue set next_run_at = %s where status = 'PENDING'", [s.now + timedelta(days=9)])


def claims(*jobs: dict[str, Any], **claim: Any) -> Callable[[Scene], Act]:
    def build(s: Scene) -> Act:
        clear(s)
        for job in jobs:
            s.q.enqueue(**job)
        s.clock.advance(2)
        return lambda: s.q.claim(5, "t", "u", worker="w7", **claim)

    return build


def held(s: Scene, ago: float = 3, **of: Any) -> dict[str, Any]:
    """A lease that was taken a few seconds ago."""
    clear(s)
    lease = s.q.leased(**of)
    s.clock.advance(ago)
    return lease


def second(s: Scene, **of: Any) -> dict[str, Any]:
    """A lease of a second attempt, of a job that has reported a little."""
    lease = held(s, **{"max_attempts": 3, **of})
    s.q.row("report_progress", **lease, done=1, total=4, checkpoint={"page": 1}, stage="half")
    s.q.fail(lease, not_before=s.clock.now())
    s.clock.advance(60)
    return s.q.hold(lease["job_id"], of.get("job_type", "t"))


def rerun(s: Scene, **of: Any) -> dict[str, Any]:
    """The first attempt of a second run; that of the first run was canceled before it started."""
    lease = held(s, prestart=True, **of)
    s.q.row("cancel_job", job_id=lease["job_id"])
    s.q.finish_one(lease, outcome="SUCCEEDED")
    s.q.row("requeue_job", job_id=lease["job_id"])
    s.clock.advance(1)
    return s.q.hold(lease["job_id"], of.get("job_type", "t"), prestart=True)


each("lease", "claim_jobs", {
    "two, by priority": claims({"priority": 1}, {"job_type": "u", "priority": 2, "payload": [1], "organization_id": TENANT}),
    "for a while": claims({}, lease_seconds=7), "prestart": claims({"stage": "x"}, prestart=True), "nothing": claims(),
})  # fmt: skip


@case("lease", "claim_jobs: a second attempt")
def claim_again(s: Scene) -> Act:
    lease = second(s)
    s.q.fail(lease, not_before=s.clock.now())
    s.clock.advance(60)
    return lambda: s.q.claim(1)


def on(verb: str, made: Callable[[Scene], UUID], **given: Any) -> Callable[[Scene], Act]:
    def build(s: Scene) -> Act:
        job = made(s)
        return lambda: s.q.rows(verb, job_id=job, **given)

    return build


def with_lease(verb: str, lease: Callable[[Scene], dict[str, Any]] = held, **given: Any) -> Callable[[Scene], Act]:
    def build(s: Scene) -> Act:
        own = lease(s)
        return lambda: s.q.rows(verb, **own, **{k: v(s) if callable(v) else v for k, v in given.items()})

    return build


def several(verb: str, **more: Any) -> Callable[[Scene], Act]:
    """Of a prestarted, a started, a lost, a canceled one and one of nobody."""

    def build(s: Scene) -> Act:
        leases = [held(s, prestart=True), held(s), held(s), held(s), {"job_id": NOBODY, "lease_token": 1}]
        leases[2]["lease_token"] -= 1
        s.q.row("cancel_job", job_id=leases[3]["job_id"])
        s.clock.advance(1)
        ids, tokens = [x["job_id"] for x in leases], [x["lease_token"] for x in leases]
        return lambda: s.q.rows(verb, job_ids=ids, lease_tokens=tokens, **more)

    return build


each("lease", "start_jobs", {"some": several("start_jobs")})
each("lease", "start_jobs of a second run", {
    "alone": lambda s: (x := rerun(s), lambda: s.q.rows("start_jobs", job_ids=[x["job_id"]], lease_tokens=[x["lease_token"]]))[1],
})  # fmt: skip
each("lease", "heartbeat_jobs", {"some": several("heartbeat_jobs", lease_seconds=9)})
each("lease", "report_progress", {
    "done": with_lease("report_progress", done=3), "total": with_lease("report_progress", total=8),
    "both": with_lease("report_progress", done=1, total=3), "all of it": with_lease("report_progress", done=3, total=3),
    "none of nothing": with_lease("report_progress", done=0, total=0),
    "a checkpoint": with_lease("report_progress", checkpoint=[7]), "a stage": with_lease("report_progress", stage="x"),
    "all": with_lease("report_progress", done=0, total=8, checkpoint={}, stage="x"), "nothing": with_lease("report_progress"),
    "done, after a report": with_lease("report_progress", second, done=3), "total, after a report": with_lease("report_progress", second, total=2),
    "nothing, after a report": with_lease("report_progress", second),
})  # fmt: skip
each("lease", "log_job", {
    "with a token": with_lease("log_job", level="info", message="said", payload={"a": 1}),
    "without": on("log_job", lambda s: s.q.enqueue(), level="x", message="y"),
})  # fmt: skip


@case("lease", "log_jobs: stored, lost, invalid")
def log_some(s: Scene) -> Act:
    own, other = second(s), s.q.enqueue()
    line = {"job_id": str(own["job_id"]), "level": "info", "message": "m"}
    entries = [
        {**line, "lease_token": own["lease_token"], "payload": [1]}, {**line, "lease_token": own["lease_token"] + 1}, line,
        {**line, "job_id": str(other), "payload": None}, {**line, "job_id": str(NOBODY)}, {**line, "level": " "}, 7,
    ]  # fmt: skip
    return lambda: s.q.rows("log_jobs", entries=entries)


# Every end of a lease.


def ends(lease: Callable[[Scene], dict[str, Any]] = held, **outcome: Any) -> Callable[[Scene], Act]:
    def build(s: Scene) -> Act:
        own = lease(s)
        given = {k: v(s) if callable(v) else v for k, v in outcome.items()}
        return lambda: s.q.finish({**own, **given})

    return build


def last(s: Scene) -> dict[str, Any]:
    return held(s, max_attempts=1)


def released(times: int, **of: Any) -> Callable[[Scene], dict[str, Any]]:
    def build(s: Scene) -> dict[str, Any]:
        own = held(s, **of)
        s.db.execute("update runledger.job_queue set release_count = %s where id = %s", [times, own["job_id"]])
        return own

    return build


def stopped(s: Scene) -> dict[str, Any]:
    own = held(s)
    s.q.row("cancel_job", job_id=own["job_id"], reason="no more")
    return own


def asked_again(outcome: dict[str, Any]) -> Callable[[Scene], Act]:
    def build(s: Scene) -> Act:
        own = second(s)
        s.q.finish({**own, **outcome})
        s.clock.advance(1)
        return lambda: s.q.finish({**own, **outcome})

    return build


SUCCEEDED, FAILED = {"outcome": "SUCCEEDED"}, {"outcome": "FAILED", "error_code": "e.x", "error_message": "it broke"}
CONTINUE, RELEASE = {"outcome": "CONTINUE"}, {"outcome": "RELEASE", "reason": "shutdown"}
each("finish", "SUCCEEDED", {
    "plain": ends(**SUCCEEDED), "with an output": ends(**SUCCEEDED, output={"n": 1}), "of a second attempt": ends(second, **SUCCEEDED),
    "with everything": ends(second, **SUCCEEDED, output=[1], checkpoint="c", done=4, total=4),
    "with done": ends(second, **SUCCEEDED, done=3), "with total": ends(second, **SUCCEEDED, total=2),
    "with done of nothing": ends(**SUCCEEDED, done=3), "with a checkpoint": ends(second, **SUCCEEDED, checkpoint=[2]),
    "of a canceled job": ends(stopped, **SUCCEEDED), "again": asked_again({**SUCCEEDED, "done": 2}),
})  # fmt: skip
each("finish", "FAILED", {
    "retried": ends(**FAILED), "of a second attempt": ends(second, **FAILED), "after its time": ends(**FAILED, kind="TIMEOUT"),
    "not before an instant": ends(**FAILED, not_before=later(90)), "not before now": ends(**FAILED, not_before=later(3)),
    "without a message": ends(outcome="FAILED", error_code="e.x"),
    "by the policy": ends(lambda s: held(s, job_type="u"), **{**FAILED, "error_code": "e.y"}),
    "not before the policy says": ends(lambda s: held(s, job_type="u"), **{**FAILED, "error_code": "e.y"}, not_before=later(3 + 1)),
    "a moment later": ends(lambda s: held(s, job_type="u"), **{**FAILED, "error_code": "e.y"}, not_before=later(3 + 1.000001)),
    "for good": ends(second, **FAILED, kind="TERMINAL"), "in a panic": ends(**FAILED, kind="PANICKED"),
    "the last attempt": ends(last, **FAILED), "the last attempt, after its time": ends(last, **FAILED, kind="TIMEOUT"),
    "of a canceled job": ends(stopped, **FAILED), "again": asked_again(FAILED), "for good, again": asked_again({**FAILED, "kind": "TERMINAL"}),
})  # fmt: skip
each("finish", "CONTINUE", {
    "at once": ends(**CONTINUE), "of a second attempt": ends(second, **CONTINUE), "in a moment": ends(**CONTINUE, delay=0.001),
    "with everything": ends(second, **CONTINUE, delay="90 s", checkpoint="c", done=2, total=5), "after releases": ends(released(7), **CONTINUE),
    "again": asked_again(CONTINUE),
})  # fmt: skip
each("finish", "RELEASE", {
    "at once": ends(**RELEASE), "of a second attempt": ends(second, **RELEASE), "in a moment": ends(**RELEASE, delay=0.001),
    "before it started": ends(lambda s: held(s, prestart=True), **RELEASE),
    "the hundredth": ends(released(99), **RELEASE), "charged": ends(released(100, max_attempts=2), **RELEASE),
    "too often": ends(released(100, max_attempts=1), **RELEASE), "again": asked_again(RELEASE),
})  # fmt: skip


@case("finish", "a batch of each, two of one type, and who is woken")
def batch_of_each(s: Scene) -> Act:
    own = [held(s, job_type=t) for t in ("t", "u", "u", "t", "lazy")]
    outcomes = [CONTINUE, RELEASE, {**RELEASE, "delay": 1}, FAILED, CONTINUE]
    return lambda: s.q.finish(*({**x, **o} for x, o in zip(own, outcomes, strict=True)))


@case("finish", "plain successes, not in the order of their ids")
def successes(s: Scene) -> Act:
    own = [second(s), held(s), held(s, job_type="u")][::-1]
    return lambda: s.q.finish(*({**x, **SUCCEEDED, "output": n} for n, x in enumerate(own)))


each("finish", "of a second run", {
    "succeeded": ends(rerun, **SUCCEEDED), "with everything": ends(rerun, **SUCCEEDED, output=[1], done=1, total=2), "retried": ends(rerun, **FAILED),
    "for good": ends(rerun, **FAILED, kind="TERMINAL"), "continued": ends(rerun, **CONTINUE), "released": ends(rerun, **RELEASE),
    "asked again": lambda s: (x := rerun(s), s.q.fail(x), ends(lambda _: x, **FAILED)(s))[-1],
})  # fmt: skip


def reaps(delay: str, *leases: Callable[[Scene], dict[str, Any]], beat: bool = False) -> Callable[[Scene], Act]:
    def build(s: Scene) -> Act:
        clear(s)
        own = [lease(s) for lease in leases]
        if beat:
            s.q.beat(*own)
        s.clock.advance(61)
        return lambda: s.q.reap(retry_delay=delay)

    return build


each("finish", "reap_expired_leases", {
    "retried": reaps("30 s", held), "retried at once": reaps("0", held), "of a second attempt": reaps("5 s", second),
    "after a heartbeat": reaps("5 s", held, beat=True), "the last attempt": reaps("5 s", last),
    "never started": reaps("5 s", lambda s: held(s, prestart=True)), "canceled": reaps("5 s", stopped),
    "of a second run": reaps("5 s", lambda s: (x := rerun(s), s.q.start(x))[0]), "of a second run, never started": reaps("5 s", rerun),
    "some at once": reaps("1 s", lambda s: held(s, job_type="u", prestart=True), held, last, lambda s: held(s, job_type="lazy", prestart=True)),
})  # fmt: skip


@case("finish", "reap_expired_leases: the longest expired first")
def reap_in_order(s: Scene) -> Act:
    clear(s)
    for nth, seconds in enumerate((40, 10, 30, 10, 20)):
        s.q.leased("tu"[nth % 2], f"w{seconds}", seconds)
    s.clock.advance(41)
    return lambda: s.q.reap(max_jobs=3, retry_delay="9 s")


# What operators do.


def dead(s: Scene, **of: Any) -> UUID:
    own = second(s, **of)
    s.q.fail(own, kind="TERMINAL")
    s.clock.advance(5)
    return own["job_id"]


def gone(s: Scene) -> UUID:
    own = second(s)
    s.q.row("cancel_job", job_id=own["job_id"])
    s.clock.advance(70)
    return own["job_id"]


def done(s: Scene, **of: Any) -> UUID:
    own = held(s, **of)
    s.q.succeed(own, output=[1])
    return own["job_id"]


each("operate", "cancel_job", {
    "pending": on("cancel_job", lambda s: s.q.enqueue()), "pending, for a reason": on("cancel_job", lambda s: s.q.enqueue(), reason="no more"),
    "leased": on("cancel_job", lambda s: held(s)["job_id"]), "of a second attempt": on("cancel_job", lambda s: second(s)["job_id"], reason="x"),
    "after its lease": on("cancel_job", lambda s: held(s, 60)["job_id"]), "again": on("cancel_job", lambda s: stopped(s)["job_id"]),
    "again, once quiet": on("cancel_job", gone), "waiting for its retry": on("cancel_job", lambda s: (x := second(s), s.q.fail(x))[0]["job_id"]),
    "released": on("cancel_job", lambda s: (x := held(s), s.q.release(x))[0]["job_id"]),
})  # fmt: skip
each("operate", "cancel_job", {"of a second run": on("cancel_job", lambda s: rerun(s)["job_id"])})
each("operate", "requeue_job", {
    "dead in a second run": on("requeue_job", lambda s: (x := rerun(s), s.q.fail(x, kind="TERMINAL"))[0]["job_id"]),

    "dead": on("requeue_job", dead), "canceled": on("requeue_job", gone, reason="again"),
    "as expected": on("requeue_job", dead, expected_status="DEAD_LETTERED"), "of a run as expected": on("requeue_job", dead, expected_run_number=1),
    "with its state": on("requeue_job", dead, reset_state=False), "without": on("requeue_job", dead, reset_state=None),
    "of a type for which nobody is idle": on("requeue_job", lambda s: dead(s, job_type="lazy")),
})  # fmt: skip


def redrives(also: bool = False, **given: Any) -> Callable[[Scene], Act]:
    """Of two dead ones, the first of `t`, the second of `u`; `also` one that was redacted, and one that was requeued."""

    def build(s: Scene) -> Act:
        s.db.execute("update runledger.job_queue set payload = '{\"_redacted\": true}' where status = 'DEAD_LETTERED'")
        first = dead(s)
        at = s.q.job(first)["finished_at"]
        other = dead(s, job_type="u")
        if also:
            s.q.row("redact_job", job_id=dead(s), reason="forget")
            s.q.row("requeue_job", job_id=dead(s))
        late = s.q.job(other)["finished_at"]
        times = {"at": at, "late": late}
        return lambda: s.q.rows("redrive_dead_letters", reason="again", **{k: times.get(v, v) for k, v in given.items()})

    return build


each("operate", "redrive_dead_letters", {
    "all": redrives(also=True), "of a type": redrives(job_type="u"), "of a code": redrives(error_code="e.x"), "of another code": redrives(error_code="e"),
    "since": redrives(failed_after="late"), "before": redrives(failed_before="late"), "one": redrives(max_jobs=1),
    "between": redrives(failed_after="at", failed_before="late", job_type="t", error_code="e.x"),
})  # fmt: skip
each("operate", "replay_job", {
    "for the first time": on("replay_job", lambda s: done(s, **FULL), request_key="k", reason="r"),
    "again": on("replay_job", lambda s: (j := done(s), s.q.row("replay_job", job_id=j, request_key="k", reason="r"))[0], request_key="k", reason="r"),
    "with another key": on("replay_job", lambda s: (j := done(s), s.q.row("replay_job", job_id=j, request_key="k", reason="r"))[0], request_key="l", reason="q"),
})  # fmt: skip
each("operate", "correct_payload", {
    "pending": on("correct_payload", lambda s: s.q.enqueue(), payload=[1], reason="typo"),
    "the same": on("correct_payload", lambda s: s.q.enqueue(payload=[1]), payload=[1], reason="typo"),
    "nothing": on("correct_payload", lambda s: s.q.enqueue(payload=[1]), payload=None, reason="typo"),
    "waiting for its retry": on("correct_payload", lambda s: (x := second(s), s.q.fail(x))[0]["job_id"], payload=[1], reason="typo"),
})  # fmt: skip


def wordy(s: Scene) -> UUID:
    """Something of everything that could tell what a job was about."""
    own = second(s, idempotency_key=f"wordy {s.now}", payload="secret")
    s.q.row("log_job", **own, level="info", message="secret", payload="secret")
    s.q.fail(own, kind="TERMINAL", message="secret")
    s.clock.advance(1)
    return own["job_id"]


def wordless(s: Scene) -> UUID:
    own = held(s)
    s.q.fail(own, kind="TERMINAL", message=None)
    return own["job_id"]


def forgotten(s: Scene) -> UUID:
    job = wordy(s)
    s.q.row("redact_job", job_id=job, reason="forget")
    s.clock.advance(1)
    return job


def logged_since(s: Scene) -> UUID:
    job = forgotten(s)
    s.q.row("log_job", job_id=job, level="info", message="secret")
    s.clock.advance(1)
    return job


def log_bodies(s: Scene) -> Act:
    job = wordy(s)
    lines = s.db.column("select id from runledger.job_logs where job_id = %s", [job])
    return lambda: s.q.rows("job_log_payloads", job_id=job, log_ids=lines)


each("operate", "redact_job", {
    "dead": on("redact_job", wordy, reason="forget"), "dead without a word": on("redact_job", wordless, reason="forget"), "succeeded": on("redact_job", done, reason="forget"),
    "canceled before it ran": on("redact_job", lambda s: (j := s.q.enqueue(), s.q.row("cancel_job", job_id=j))[0], reason="forget"),
    "again": on("redact_job", forgotten, reason="forget"), "again, after another line": on("redact_job", logged_since, reason="forget"),
})  # fmt: skip
each("operate", "reading bodies", {
    "job_payload": on("job_payload", wordy),
    "job_log_payloads": log_bodies,
})  # fmt: skip


# Every verb on every state, refused or not; what it writes when it is not stands above, too.


def redacted(s: Scene) -> UUID:
    job = done(s)
    s.q.row("redact_job", job_id=job, reason="forget")
    return job


def of_a_run(s: Scene) -> UUID:
    job = dead(s)
    s.db.execute("update runledger.job_queue set workflow_run_id = %s where id = %s", [NOBODY, job])
    return job


STATES: dict[str, Callable[[Scene], UUID]] = {
    "pending": lambda s: s.q.enqueue(), "leased": lambda s: held(s)["job_id"], "succeeded": done, "dead": dead, "stopping": lambda s: stopped(s)["job_id"],
    "canceled": lambda s: (j := s.q.enqueue(), s.q.row("cancel_job", job_id=j))[0], "redacted": redacted, "dead and redacted": forgotten, "of nobody": lambda s: NOBODY,
}  # fmt: skip
ON: dict[str, dict[str, Any]] = {
    "cancel_job": {}, "requeue_job": {}, "replay_job": {"request_key": "k", "reason": "r"}, "correct_payload": {"payload": [7], "reason": "r"}, "redact_job": {"reason": "r"},
}  # fmt: skip
for _verb, _given in ON.items():
    each("refuse", _verb, {state: on(_verb, made, **_given) for state, made in STATES.items()})
each("refuse", "requeue_job", {
    "of a run": on("requeue_job", of_a_run), "not of that status": on("requeue_job", dead, expected_status="CANCELED"), "not of that run": on("requeue_job", dead, expected_run_number=2),
    "of another tenant": on("requeue_job", lambda s: dead(s, organization_id=TENANT), organization_id=OTHER_TENANT),
    "of that tenant, status and run": on("requeue_job", lambda s: dead(s, organization_id=TENANT), organization_id=TENANT, expected_status="DEAD_LETTERED", expected_run_number=1),
    "of no such status": on("requeue_job", dead, expected_status="dead"),
    "at the very end of its lease": on("requeue_job", lambda s: (stopped(s), s.clock.advance(57))[0]["job_id"]),
    "a moment before": on("requeue_job", lambda s: (stopped(s), s.clock.advance(timedelta(seconds=57) - INSTANT))[0]["job_id"]),
})  # fmt: skip
each("refuse", "with a tenant", {
    "cancel_job, another": on("cancel_job", lambda s: s.q.enqueue(organization_id=TENANT), organization_id=OTHER_TENANT),
    "cancel_job, its own": on("cancel_job", lambda s: s.q.enqueue(organization_id=TENANT), organization_id=TENANT),
    "replay_job, another": on("replay_job", lambda s: done(s, organization_id=TENANT), request_key="k", reason="r", organization_id=OTHER_TENANT),
    "replay_job, its own": on("replay_job", lambda s: done(s, organization_id=TENANT), request_key="k", reason="r", organization_id=TENANT),
    "job_payload, another": on("job_payload", lambda s: done(s, organization_id=TENANT), organization_id=OTHER_TENANT),
    "job_payload, its own": on("job_payload", lambda s: done(s, organization_id=TENANT), organization_id=TENANT),
})  # fmt: skip


def replayed(s: Scene) -> UUID:
    job = done(s)
    s.q.row("replay_job", job_id=job, request_key="k", reason="r")
    return job


def off(s: Scene) -> UUID:
    job = done(s, job_type="new")
    s.q.row("disable_job_type", job_type="new")
    return job


each("refuse", "replay_job", {
    "for another reason": on("replay_job", replayed, request_key="k", reason="s"),
    "redacted since, again": on("replay_job", lambda s: (j := replayed(s), s.q.row("redact_job", job_id=j, reason="x"))[0], request_key="k", reason="r"),
    "of a type that is off": on("replay_job", off, request_key="k", reason="r"),
})  # fmt: skip
LEASES: dict[str, Callable[[Scene], dict[str, Any]]] = {
    "live": held, "in its last moment": lambda s: held(s, 60 - 0.000001), "at its very end": lambda s: held(s, 60), "canceled": stopped,
    "of another token": lambda s: (x := held(s), {**x, "lease_token": x["lease_token"] + 1})[1], "of nobody": lambda s: {"job_id": NOBODY, "lease_token": 1},
    "ended": lambda s: (x := held(s), s.q.succeed(x))[0], "waiting again": lambda s: (x := held(s), s.q.fail(x))[0],
}  # fmt: skip
for _verb, _given in {"report_progress": {"done": 1}, "log_job": {"level": "x", "message": "y"}, "continue_job": {}}.items():
    each("refuse", _verb, {f"{lease}, by its token": with_lease(_verb, made, **_given) for lease, made in LEASES.items()})


def above(build: Callable[[Scene], Act]) -> Callable[[Scene], Act]:
    def under(s: Scene) -> Act:
        act = build(s)

        def call() -> Any:
            with s.q.conn.transaction():
                s.q.conn.execute("set transaction isolation level repeatable read")
                return act()

        return call

    return under


each("refuse", "above READ COMMITTED", {
    "enqueue_job": above(one()), "enqueue_job with a key": above(one(idempotency_key="above")), "enqueue_jobs": above(batch(T, {**T, "stage": "x"})),
    "enqueue_jobs with a key": above(batch(T, {**T, "idempotency_key": "above"})), "claim_jobs": above(claims({})), "finish_jobs": above(ends(**FAILED)),
    "plain successes": above(ends(**SUCCEEDED)), "reap_expired_leases": above(reaps("1 s", held)), "requeue_job": above(on("requeue_job", dead)),
    "redrive_dead_letters": above(redrives()), "replay_job": above(on("replay_job", done, request_key="k", reason="r")), "cancel_job": above(on("cancel_job", lambda s: s.q.enqueue())),
})  # fmt: skip


# Types.


def call(verb: str, *before: tuple[str, dict[str, Any]], **given: Any) -> Callable[[Scene], Act]:
    """On the type `new`, which is taken away first."""

    def build(s: Scene) -> Act:
        s.db.execute("delete from runledger.job_runtime_configs where job_type = 'new'")
        s.db.execute("delete from runledger.job_definitions where job_type = 'new'")
        for name, arguments in before:
            s.q.row(name, job_type="new", **arguments)
            s.clock.advance(1)
        return lambda: s.q.rows(verb, job_type="new", **given)

    return build


MADE: tuple[str, dict[str, Any]] = ("define_job", {})
EVERY = {
    "version": 2, "max_attempts": 3, "timeout_seconds": 4, "priority": 5, "max_concurrency": 6, "retry_base_ms": 7, "retry_max_ms": 8,
    "retry_delays_ms": {"e": 9},
}  # fmt: skip
each("define", "define_job", {
    "new": call("define_job"), "new, with everything": call("define_job", **EVERY, is_enabled=True),
    "new, disabled": call("define_job", is_enabled=False), "new, if missing": call("define_job", **EVERY, if_missing=True),
    "the same": call("define_job", ("define_job", EVERY), **EVERY), "nothing": call("define_job", ("define_job", EVERY)),
    "everything changed": call("define_job", MADE, **EVERY), "no more limit": call("define_job", ("define_job", EVERY), max_concurrency=0),
    "a base above the longest": call("define_job", ("define_job", EVERY), retry_base_ms=9),
    "missing no more": call("define_job", MADE, **EVERY, if_missing=True, is_enabled=False),
    "enabled": call("define_job", ("define_job", {"is_enabled": False}), is_enabled=True), "disabled": call("define_job", MADE, is_enabled=False),
})  # fmt: skip
OFF: tuple[str, dict[str, Any]] = ("disable_job_type", {"reason": "why"})
PAUSED: tuple[str, dict[str, Any]] = ("pause_job_type", {"reason": "why"})
each("define", "switches", {
    "disable": call("disable_job_type", MADE, reason="why"), "disable, no reason": call("disable_job_type", MADE),
    "disable again": call("disable_job_type", MADE, OFF, reason="other"),
    "enable": call("enable_job_type", MADE, OFF), "enable again": call("enable_job_type", MADE),
    "pause": call("pause_job_type", MADE, reason="why"), "pause, no reason": call("pause_job_type", MADE),
    "pause again": call("pause_job_type", MADE, PAUSED, reason="other"),
    "resume": call("resume_job_type", MADE, PAUSED), "resume again": call("resume_job_type", MADE),
    "pause what is disabled": call("pause_job_type", MADE, OFF), "disable what is paused": call("disable_job_type", MADE, PAUSED),
    "enable what is paused": call("enable_job_type", MADE, PAUSED, OFF), "resume what is disabled": call("resume_job_type", MADE, OFF, PAUSED),
})  # fmt: skip


@case("define", "switches: disable what a catalog turned off")
def absent(s: Scene) -> Act:
    build = call("disable_job_type", MADE, OFF, reason="for good")(s)
    s.db.execute("update runledger.job_definitions set disabled_by = 'catalog', catalog = 'c', absent_at = disabled_at where job_type = 'new'")
    return build


SET = ("set_runtime_config", {"config": {"a": 1}, "schema_version": 2})
each("define", "set_runtime_config", {
    "new": call("set_runtime_config", MADE, config={"a": 1}), "again": call("set_runtime_config", MADE, SET, config={"a": 1}, schema_version=2),
    "another version": call("set_runtime_config", MADE, SET, config={"a": 1}, schema_version=3),
    "another config": call("set_runtime_config", MADE, SET, config={"a": 2}, schema_version=2),
    "missing": call("set_runtime_config", MADE, config={}, if_missing=True), "missing no more": call("set_runtime_config", MADE, SET, config={}, if_missing=True),
    "missing or not": call("set_runtime_config", MADE, SET, config={}, if_missing=None),
    "read": call("runtime_config", MADE, SET), "looked for": call("get_runtime_config", MADE, SET), "not there": call("get_runtime_config", MADE),
    "get_job_definition": call("get_job_definition", ("define_job", EVERY), OFF, PAUSED), "no definition": call("get_job_definition"),
})  # fmt: skip


@pytest.mark.parametrize("area", CASES)
def test_every_verb_answers_wakes_and_writes(db: Db, q: Ledger, clock: Clock, area: str):
    delays = {"retry_delays_ms": {"e.x": 5000}}
    q.define("t", **delays)
    # So short that its delay is the least there is, whatever the jitter of the job.
    q.define("u", priority=7, max_attempts=4, timeout_seconds=6, retry_base_ms=1, retry_max_ms=1, **delays)
    q.define("lazy", **delays)
    q.define("new")
    scene = Scene(db, q, clock)
    lines = []
    for name, build in CASES[area].items():
        # The idle worker is heard of again, since time goes on from case to case.
        q.row("register_worker", worker_id="idler", job_types=["t", "u", "limited", "new"])
        q.row("idle_worker", worker_id="idler", until=clock.now() + timedelta(seconds=3000))
        lines += [f"## {name}", *scene.told(build), ""]
    q.conn.execute("unlisten *")
    db.execute("update runledger.job_queue set workflow_run_id = null")
    q.reap(max_jobs=1000)
    stands_written(HERE / f"{area}.out", "\n".join(lines))
