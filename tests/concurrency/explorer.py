"""Puts calls of verbs beside each other in every way that their locks allow, and judges what came of it.

A schedule is: some calls, and how they meet. Either the first has done its work and not committed when the next one
comes, or a third session holds something (a gate) until all of them have arrived at it. What they answer and what the
ledger holds afterwards must be what the same calls give one after the other, in some order.

    python -m tests.concurrency.explorer --write      every pair in every way; writes MATRIX.md
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import re
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import DiagnosticField, ExecStatus

from tests.concurrency.world import NUMBERED, ROLES, UNSEEN, World
from tests.support.database import Db

PATIENCE = 60.0
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TOKEN = re.compile(r'("(?:last_)?lease_token": )(\d+)')
ORDINAL = re.compile(r'"id": \d+, ')
TRANSACTION = re.compile(r', "transaction_id": "?\d+"?')
# Not of the ledger's making, and right for what they tell: a caller that gave up, was told to, or may not.
DOCUMENTED = {"55P03", "57014", "42501"}


class Stuck(AssertionError):
    """Calls that neither end nor wait for one of us."""


class Actor:
    """A connection whose statements are sent without waiting for them."""

    def __init__(self, name: str, dsn: str) -> None:
        self.name = name
        self.conn = psycopg.connect(dsn, autocommit=True, application_name=name)
        self.pid = self.conn.info.backend_pid
        self._pg = self.conn.pgconn
        self._told, self._done = "", True

    def run(self, statement: str) -> None:
        self.send(statement)
        answer = self.answer()
        assert not answer.startswith("!"), f"{statement}: {answer}"

    def send(self, statement: str) -> None:
        assert self._done, f"{self.name} is busy"
        self._told, self._done = "", False
        self._pg.send_query(statement.encode())

    def ended(self, seconds: float) -> bool:
        """Whether the statement has ended, waiting for that so long. An error is told before its transaction has let
        go of what it held: the end is when the server is ready for the next statement."""
        if not self._done and self._pg.is_busy():
            select.select([self._pg.socket], [], [], seconds)
            self._pg.consume_input()
        while not self._done and not self._pg.is_busy():
            result = self._pg.get_result()
            if result is None:
                self._done = True
            elif result.status == ExecStatus.TUPLES_OK and result.ntuples and result.nfields:
                self._told = (result.get_value(0, 0) or b"").decode()
            elif result.status == ExecStatus.FATAL_ERROR:
                state = (result.error_field(DiagnosticField.SQLSTATE) or b"?").decode()
                detail = (result.error_field(DiagnosticField.MESSAGE_DETAIL) or b"").decode()
                self._told = "!" + (json.loads(detail)["code"] if state.startswith("RL") else f"{state} ")
        return self._done

    def answer(self) -> str:
        """The one value of the statement's one row; or `!` and the code of what it raised."""
        deadline = time.monotonic() + PATIENCE
        while not self.ended(0.05):
            if time.monotonic() > deadline:
                raise Stuck(f"{self.name} does not end")
        return self._told


@dataclass(frozen=True, slots=True)
class Outcome:
    """What calls answered, in the order in which they are named, and what the world became, in words without ids."""

    answers: tuple[str, ...]
    rows: tuple[str, ...]

    def of(self, names: Sequence[str]) -> Outcome:
        """Of equal calls it does not matter which of them got which answer."""
        left = {name: sorted(a for n, a in zip(names, self.answers, strict=True) if n == name) for name in names}
        return Outcome(tuple(left[name].pop(0) for name in names), self.rows)

    def without(self, nth: int) -> Outcome:
        return Outcome(self.answers[:nth] + self.answers[nth + 1 :], self.rows)

    def told(self) -> str:
        return "\n".join([*(f"  answer {a}" for a in self.answers), *(f"  {r}" for r in self.rows)])


@dataclass(frozen=True, slots=True)
class Schedule:
    """Calls in the order of their arrival. gate: what is held until all have arrived; without one the first has done
    its work by then, and ends its transaction by `end`."""

    names: tuple[str, ...]
    gate: str | None = None
    end: str = "commit"

    def __str__(self) -> str:
        return f"{' | '.join(self.names)}  [{self.gate or 'first ' + self.end + 's'}]"


@dataclass(slots=True)
class Verdict:
    """kind: apart, serial, skips, refused, or wrong. codes: by call, what it was told and is not told alone."""

    schedule: Schedule
    kind: str
    codes: dict[str, str] = field(default_factory=dict)
    waited: bool = False
    report: str = ""


class Explorer:
    """Schedules in one database. What has been run one after the other is remembered."""

    def __init__(self, db: Db, world: World | None = None) -> None:
        self.world = world or World(db)
        self.calls, self.gates = self.world.calls, self.world.gates
        self.owner = psycopg.connect(db.admin_dsn, autocommit=True)
        # A deadlock is an answer like any other here; nobody should have to wait a second for it.
        self.owner.execute(f"alter database {self._name()} set deadlock_timeout = '20ms'")
        self.actors = [Actor(name, db.dsn) for name in ("one", "two", "three")]
        self.holder = Actor("holder", db.admin_dsn)
        self.pids = {a.pid for a in (*self.actors, self.holder)}
        self.ran = 0
        self._changed: list[str] | None = None
        self._serial: dict[tuple[Any, ...], Outcome | None] = {}
        self.where: dict[str, dict[str, str]] = {}
        self.held: dict[str, list[str]] = {}
        self.restore()
        self._kept = {(t, d) for t, d in self._dump()}
        known = " ".join(d for _, d in self._kept)
        self._known_ids = set(UUID.findall(known))
        self._last_token = max(int(n) for _, n in TOKEN.findall(known))

    def forget(self) -> None:
        """What one after the other gives may have changed: somebody edited a function."""
        self._serial.clear()

    def _name(self) -> str:
        row = self.owner.execute("select quote_ident(current_database())").fetchone()
        assert row is not None
        return str(row[0])

    def close(self) -> None:
        self._changed = None
        self.restore()
        for actor in (*self.actors, self.holder):
            actor.conn.close()
        self.owner.close()

    # The world and what became of it

    def restore(self) -> None:
        """Put the world back; of the tables that were seen to have changed, if that is known."""
        self.owner.execute("select public.restore(%s)", [self._changed], prepare=True)
        self._changed = None
        self.ran += 1
        if self.ran % 200 == 0:
            self.owner.execute("vacuum")

    def _ready(self, actor: Actor, name: str) -> None:
        """The session remembers where its last claim left off, by a clock that stands still here."""
        if name.startswith("claim_jobs"):
            actor.run("set runledger.claim_mark = ''")

    def _forget_grants(self, names: Iterable[str]) -> None:
        if any(n.startswith(("grant_access", "revoke_access")) for n in names):
            self.owner.execute("select public.restore(null)")
            for role in ROLES:
                self.owner.execute("select runledger._sync_access(%s)", [role])

    def _dump(self) -> list[tuple[str, str]]:
        return self.owner.execute("select t, doc from public.dump()", prepare=True).fetchall()

    def outcome(self, answers: Sequence[str]) -> Outcome:
        """The rows that are not as they were, with fresh ids and tokens named by what they stand for."""
        there = set(self._dump())
        gone = [f"-{t} {d}" for t, d in self._kept - there]
        fresh = sorted((t, d) for t, d in there - self._kept)
        rows = [*gone, *self._without_ordinals(fresh)]
        self._changed = [*UNSEEN, *{t for t, _ in self._kept ^ there}]
        return self._named(list(answers), rows)

    def _without_ordinals(self, rows: list[tuple[str, str]]) -> list[str]:
        plain = [f"+{t} {d}" for t, d in rows if t not in NUMBERED]
        counted: dict[tuple[str, str], int] = {}
        numbered = sorted(((t, json.loads(d), d) for t, d in rows if t in NUMBERED), key=lambda r: (r[0], r[1]["id"]))
        for table, parsed, doc in numbered:
            # What several operators do at once about several things has no order among itself.
            subject = (table, str(parsed.get("job_id") or f"{parsed.get('action')} {parsed.get('object')}"))
            counted[subject] = nth = counted.get(subject, 0) + 1
            plain.append(f"+{table} {nth} {TRANSACTION.sub('', ORDINAL.sub('', doc, count=1))}")
        return plain

    def _named(self, answers: list[str], rows: list[str]) -> Outcome:
        texts = [f"?{a}" for a in answers] + rows
        texts = [
            TOKEN.sub(lambda m: m[1] + (f'"§{m[2]}§"' if int(m[2]) > self._last_token else m[2]), t) for t in texts
        ]
        marks = [{u for u in UUID.findall(t) if u not in self._known_ids} | set(re.findall(r"§\d+§", t)) for t in texts]
        names = dict.fromkeys(set().union(*marks) if marks else (), "new")
        for _ in range(3):
            seen: dict[str, list[str]] = {m: [] for m in names}
            for text, own in zip(texts, marks, strict=True):
                for mark in own:
                    seen[mark].append(_renamed(text, {o: "*" if o == mark else names[o] for o in own}))
            names = {m: "new-" + hashlib.sha1("".join(sorted(s)).encode()).hexdigest()[:8] for m, s in seen.items()}
        done = [_renamed(t, {o: names[o] for o in own}) for t, own in zip(texts, marks, strict=True)]
        return Outcome(tuple(a[1:] for a in done[: len(answers)]), tuple(sorted(done[len(answers) :])))

    # Calls one after the other

    def serial(self, program: tuple[tuple[str, tuple[str, ...]], ...], names: tuple[str, ...]) -> Outcome | None:
        """One call after the other, each with the gates that are held meanwhile; None if that cannot be, because a
        call waits. The answers come in the order of `names`."""
        key = (program, names)
        if key not in self._serial:
            self._serial[key] = self._run_serial(program, names)
        return self._serial[key]

    def _run_serial(self, program: tuple[tuple[str, tuple[str, ...]], ...], names: tuple[str, ...]) -> Outcome | None:
        self.restore()
        answers: list[tuple[str, str]] = []
        for nth, (name, held) in enumerate(program):
            actor = self.actors[nth]
            if held:
                self.holder.run("begin")
                for gate in held:
                    self.holder.run(self.gates[gate].sql)
            self._ready(actor, name)
            actor.send(self.calls[name].sql)
            waits = bool(held) and self.settle(actor)
            if held:
                self.holder.run("rollback")
            answers.append((name, actor.answer()))
            if waits:
                self._forget_grants(names)
                return None
        told = self.outcome(_in_order(answers, names)).of(names)
        self._forget_grants(names)
        return told

    def settle(self, actor: Actor) -> bool:
        """Wait until the call of an actor waits for another of us (True), or has ended."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if actor.ended(0.002):
                return False
            row = self.owner.execute("select pg_blocking_pids(%s)", [actor.pid], prepare=True).fetchone()
            assert row is not None
            if self.pids & set(row[0]):
                # It may have been let go and ended meanwhile.
                return not actor.ended(0)
        raise Stuck(f"{actor.name} neither waits nor ends")

    # Calls at once

    def meet(self, schedule: Schedule) -> tuple[Outcome, bool]:
        """Run a schedule: its outcome, and whether a call had to wait for another or at the gate."""
        self.restore()
        actors = self.actors[: len(schedule.names)]
        for actor, name in zip(actors, schedule.names, strict=True):
            self._ready(actor, name)
        if schedule.gate:
            self.holder.run("begin")
            self.holder.run(self.gates[schedule.gate].sql)
        else:
            actors[0].run("begin")
        waited = False
        early: dict[int, str] = {}
        for nth, (actor, name) in enumerate(zip(actors, schedule.names, strict=True)):
            actor.send(self.calls[name].sql)
            if nth == 0 and not schedule.gate:
                early[0] = actor.answer()
            else:
                waited |= self.settle(actor)
        if schedule.gate:
            self.holder.run("rollback")
        else:
            actors[0].run(schedule.end)
        answers = [
            (name, early[n] if n in early else actor.answer())
            for n, (actor, name) in enumerate(zip(actors, schedule.names, strict=True))
        ]
        told = self.outcome([a for _, a in answers])
        if schedule.end == "commit":
            told = told.of(schedule.names)
        self._forget_grants(schedule.names)
        return told, waited

    def judge(self, schedule: Schedule) -> Verdict:
        got, waited = self.meet(schedule)
        names = schedule.names
        bad = [a for a in got.answers if a.startswith("!") and " " in a and a[1:6] not in DOCUMENTED]
        if bad:
            return Verdict(schedule, "wrong", report=f"{schedule}: {bad}")
        if schedule.end == "rollback":
            return self._judge_rollback(schedule, got, waited)
        for order in dict.fromkeys(itertools.permutations(names)):
            if got == self.serial(tuple((n, ()) for n in order), names):
                kind = "apart" if not waited and got == self.apart(names) else "serial"
                return Verdict(schedule, kind, self._new_codes(schedule, got), waited)
        for program in self._skipping(names, schedule):
            if got == self.serial(program, names):
                return Verdict(schedule, "skips", self._new_codes(schedule, got), waited)
        for nth, name in enumerate(names):
            rest = names[:nth] + names[nth + 1 :]
            if got.answers[nth].startswith("!"):
                for order in dict.fromkeys(itertools.permutations(rest)):
                    if got.without(nth).of(rest) == self.serial(tuple((n, ()) for n in order), rest):
                        return Verdict(schedule, "refused", {name: got.answers[nth][1:]}, waited)
        return Verdict(schedule, "wrong", report=self._report(schedule, got))

    def _judge_rollback(self, schedule: Schedule, got: Outcome, waited: bool) -> Verdict:
        """The first call never was; the others, that met it, do as if it had not been, or left out what it held."""
        rest = schedule.names[1:]
        left = got.without(0).of(rest)
        for order in dict.fromkeys(itertools.permutations(rest)):
            if left == self.serial(tuple((n, ()) for n in order), rest):
                return Verdict(schedule, "serial" if waited else "apart", waited=waited)
        for program in self._skipping(rest, schedule):
            if left == self.serial(program, rest):
                return Verdict(schedule, "skips", waited=waited)
        return Verdict(schedule, "wrong", report=self._report(schedule, got))

    def alone(self, name: str) -> Outcome:
        told = self.serial(((name, ()),), (name,))
        assert told is not None
        return told

    def apart(self, names: tuple[str, ...]) -> Outcome:
        """What calls give if each does what it does alone. That is not enough: both may be wrong to."""
        told = [self.alone(name) for name in names]
        return Outcome(tuple(o.answers[0] for o in told), tuple(sorted(r for o in told for r in o.rows))).of(names)

    def _new_codes(self, schedule: Schedule, got: Outcome) -> dict[str, str]:
        """Refusals that a call is told here and not alone."""
        told = {}
        for name, answer in zip(schedule.names, got.answers, strict=True):
            if codes := _codes(answer) - _codes(self.alone(name).answers[0]):
                told[name] = ", ".join(sorted(codes))
        return told

    def _skipping(
        self, names: tuple[str, ...], schedule: Schedule
    ) -> Iterator[tuple[tuple[str, tuple[str, ...]], ...]]:
        """Orders of these calls in which those that skip leave out some of what the others, or the gate, may have
        held."""
        held = {n: [(), *self._held_sets(n, schedule)] if self.calls[n].skips else [()] for n in set(names)}
        for order in sorted(set(itertools.permutations(names))):
            for choice in itertools.product(*(held[n] for n in order)):
                if any(choice):
                    yield tuple(zip(order, choice, strict=True))

    def _held_sets(self, name: str, schedule: Schedule) -> list[tuple[str, ...]]:
        """What the others, the gate, or both may have had in their hands when this call came by; of one that waits
        itself perhaps not all of it yet."""
        others = list(schedule.names)
        others.remove(name)
        mine = self.sensitive(name)
        held = [[], *([[schedule.gate]] if schedule.gate else [])]
        for other in others:
            held += [[*h, *self.holds(other)] for h in held]
        if not any(self.calls[o].skips for o in others):
            held += [[*h, g] for o in others for g in self.holds(o) if g in mine for h in held[:2]]
        sets = (tuple(sorted({g for g in h if g[:3] != "key" and mine.get(g) != "waits"})) for h in held)
        return [h for h in dict.fromkeys(sets) if h]

    # Where a call waits

    def sensitive(self, name: str) -> dict[str, str]:
        """The gates that matter to a call: it waits there, or leaves out what is held."""
        if name not in self.where:
            self.where[name] = {g: how for g in self.gates if (how := self.at_gate(name, g))}
        return self.where[name]

    def at_gate(self, name: str, gate: str) -> str | None:
        """What a call does there: waits, skips, or nothing (None)."""
        self.restore()
        self.holder.run("begin")
        self.holder.run(self.gates[gate].sql)
        self._ready(self.actors[0], name)
        self.actors[0].send(self.calls[name].sql)
        waits = self.settle(self.actors[0])
        self.holder.run("rollback")
        told = self.outcome([self.actors[0].answer()])
        self._forget_grants([name])
        if waits:
            return "waits"
        return None if told == self.alone(name) else "skips"

    def holds(self, name: str) -> list[str]:
        """What of the gates is in the hands of a call that has done its work and not committed."""
        if name not in self.held:
            self.restore()
            self._ready(self.actors[0], name)
            self.actors[0].run("begin")
            self.actors[0].send(self.calls[name].sql)
            self.actors[0].answer()
            self.held[name] = [g for g in self.gates if not g.startswith("table ") and self._is_held(g)]
            self.actors[0].run("rollback")
        return self.held[name]

    def _is_held(self, gate: str) -> bool:
        self.holder.run("begin")
        self.holder.run("set local lock_timeout = '5ms'")
        self.holder.send(self.gates[gate].sql)
        answer = self.holder.answer()
        self.holder.run("rollback")
        return answer.startswith("!55P03")

    def _report(self, schedule: Schedule, got: Outcome) -> str:
        lines = [f"{schedule}"]
        for order in sorted(set(itertools.permutations(schedule.names))):
            told = self.serial(tuple((n, ()) for n in order), schedule.names)
            assert told is not None
            lines.append(f" not {' then '.join(order)}:")
            lines += [f"  {sign} {r[:300]}" for sign, r in (*_extra("here ", got, told), *_extra("there", told, got))]
        return "\n".join(lines)


def _extra(sign: str, one: Outcome, other: Outcome) -> list[tuple[str, str]]:
    """What only one of two outcomes has; of an altered row what differs from the nearest one of the other."""
    found = [f"answer {a}" for a, b in zip(one.answers, other.answers, strict=False) if a != b]
    theirs = [r for r in other.rows if r not in one.rows]
    for row in (r for r in one.rows if r not in other.rows):
        near = difflib.get_close_matches(row, theirs, 1)
        if not near or not row.endswith("}") or not near[0].endswith("}"):
            found.append(row)
            continue
        mine, its = (json.loads(r[r.index("{") :]) for r in (row, near[0]))
        changed = {k: v for k, v in mine.items() if v != its.get(k)}
        found.append(f"{row.split(' {')[0]} {mine.get('id') or mine.get('job_id')} {changed}")
    return [(sign, f) for f in found[:8]]


def _renamed(text: str, names: dict[str, str]) -> str:
    for mark, name in names.items():
        text = text.replace(mark, name)
    return text


def _codes(answer: str) -> set[str]:
    if answer.startswith("!"):
        return {answer[1:]}
    return {
        row["code"] for row in json.loads(answer or "[]")
        if isinstance(row, dict) and row.get("code") and row.get("disposition") in ("LEASE_LOST", "INVALID", "CONFLICT")
    }  # fmt: skip


def _in_order(answers: list[tuple[str, str]], names: tuple[str, ...]) -> list[str]:
    """Answers by the order of `names`; of two equal names the first that answered comes first."""
    left = list(answers)
    found = []
    for name in names:
        nth = next(n for n, (who, _) in enumerate(left) if who == name)
        found.append(left.pop(nth)[1])
    return found


# What to run


def verbs_of(one: str, two: str) -> tuple[str, str]:
    first, second = sorted(name.split(maxsplit=1)[0] for name in (one, two))
    return first, second


def shared(one: str, two: str, sensitive: dict[str, dict[str, str]]) -> list[str]:
    return [g for g in sensitive[one] if g in sensitive[two]]


def schedules(one: str, two: str, sensitive: dict[str, dict[str, str]]) -> Iterator[Schedule]:
    """Every way in which two calls can meet. That they meet in the middle of their writing, at a table that somebody
    keeps from being written, matters to those that lock the same; two such tables a pair."""
    orders = list(dict.fromkeys([(one, two), (two, one)]))
    common = shared(one, two, sensitive)
    rows = [g for g in common if not g.startswith("table ")]
    tables = [g for g in common if g.startswith("table ")]
    chosen = random.Random(f"{one} {two}").sample(tables, min(2, len(tables))) if rows else []
    for names in orders:
        yield Schedule(names)
        if rows:
            yield Schedule(names, end="rollback")
    for gate in rows + chosen:
        for names in orders:
            yield Schedule(names, gate)


def named_triples(sensitive: dict[str, dict[str, str]]) -> dict[tuple[str, str, str], list[Schedule]]:
    """Three calls at once, in every order of arrival: at what all of them want, and behind the first."""
    found = {}
    for names in TRIPLES:
        gates = [g for g in shared(names[0], names[1], sensitive) if g in sensitive[names[2]]]
        gates = [g for g in gates if not g.startswith("table ")] + [g for g in gates if g.startswith("table ")][:1]
        orders = list(dict.fromkeys(itertools.permutations(names)))
        found[names] = [Schedule(o, g) for g in gates for o in orders]
        found[names] += [Schedule(o, end=end) for end in ("commit", "rollback") for o in orders]
    return found


TRIPLES = [
    ("succeed_job step a", "succeed_job step b", "append_workflow_steps"),
    ("succeed_job step a", "cancel_workflow", "release_job step a"),
    ("reap_expired_leases", "succeed_job expired", "claim_jobs"),
    ("claim_jobs limited", "claim_jobs limited", "claim_jobs limited"),
    ("complete_external_step", "cancel_workflow", "append_workflow_steps"),
    ("fire_due_schedules", "pause_schedule", "upsert_schedule"),
]
# Where each call stops, and what it holds when it has done its work.
Places = tuple[dict[str, dict[str, str]], dict[str, list[str]]]
LETTERS = {"apart": ".", "serial": "s", "skips": "k", "refused": "r"}


@dataclass(slots=True)
class Pair:
    """What two verbs were seen to do to each other; codes: by verb."""

    letters: set[str] = field(default_factory=set)
    codes: set[tuple[str, str]] = field(default_factory=set)
    ran: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.ran += 1
        if verdict.kind == "wrong":
            self.wrong.append(verdict.report)
        elif not (verdict.schedule.gate or "").startswith("table "):
            # Who is let go at a table goes on beside the others: which of them comes first is open.
            self.letters.add(LETTERS[verdict.kind])
            self.codes |= {(name.split()[0], code) for name, code in verdict.codes.items()}

    def merge(self, other: Pair) -> None:
        self.letters |= other.letters
        self.codes |= other.codes
        self.ran += other.ran
        self.wrong += other.wrong

    def cell(self) -> str:
        found = "".join(x for x in "skr" if x in self.letters | ({"r"} if self.codes else set()))
        return found or "."


# All of it, in several processes

_mine: list[Explorer] = []


def _begin(databases: Any) -> None:
    """Each process has a database and an explorer of its own."""
    _mine.append(Explorer(Db(databases.get(), None)))  # type: ignore[arg-type]


def _places(name: str) -> tuple[str, dict[str, str], list[str]]:
    return name, _mine[0].sensitive(name), _mine[0].holds(name)


def _row(task: tuple[str, list[str], Places]) -> list[tuple[str, str, Pair]]:
    one, others, (sensitive, held) = task
    explorer = _mine[0]
    explorer.where, explorer.held = sensitive, held
    found = []
    for two in others:
        pair = Pair()
        for schedule in schedules(one, two, sensitive):
            pair.add(explorer.judge(schedule))
        found.append((one, two, pair))
    return found


def explore(jobs: int, only: str | None = None, told: Callable[[str], None] = print) -> Matrix:
    """Every pair in every way."""
    from runledger.testing import DatabaseServer
    from tests.support import servers

    with DatabaseServer.start(servers.bindir("18")) as server:
        databases: Any = multiprocessing.get_context("spawn").Manager().Queue()
        for _ in range(jobs):
            databases.put(server.take())
        db = Db(server.take(), server)
        names = list(World(db).calls)
        with ProcessPoolExecutor(
            jobs, multiprocessing.get_context("spawn"), initializer=_begin, initargs=[databases]
        ) as pool:
            looked = list(pool.map(_places, names))
            found = {name: where for name, where, _ in looked}, {name: held for name, _, held in looked}
            told(f"{len(names)} calls, {sum(map(len, found[0].values()))} places where one waits or skips")
            matrix = Matrix(found)
            tasks = [
                (one, rest[k : k + 12], found)
                for n, one in enumerate(names)
                for rest in [[two for two in names[n:] if not only or only in (one.split()[0], two.split()[0])]]
                for k in range(0, len(rest), 12)
            ]
            for nth, row in enumerate(pool.map(_row, tasks)):
                for one, two, pair in row:
                    matrix.add(one, two, pair)
                    for report in pair.wrong:
                        told(f"WRONG {report}")
                if nth % 25 == 0:
                    told(f"{nth} of {len(tasks)}, {matrix.ran} schedules, {matrix.wrong} wrong")
    return matrix


class Matrix:
    """Verb by verb, and where each call waits: what MATRIX.md says."""

    def __init__(self, found: Places) -> None:
        self.sensitive, self.held = found
        self.pairs: dict[tuple[str, str], Pair] = {}
        self.ran = self.wrong = 0

    def add(self, one: str, two: str, pair: Pair) -> None:
        self.pairs.setdefault(verbs_of(one, two), Pair()).merge(pair)
        self.ran += pair.ran
        self.wrong += len(pair.wrong)

    def verbs(self) -> list[str]:
        return sorted({name.split()[0] for name in self.sensitive})

    def text(self) -> str:
        verbs = self.verbs()
        lines = [HEAD, "## Verb by verb", "", "```"]
        lines.append(" " * 26 + " ".join(f"{n:<3}" for n in range(1, len(verbs) + 1)).rstrip())
        for n, one in enumerate(verbs):
            cells = " ".join(f"{self.pairs[two, one].cell():<3}" for two in verbs[: n + 1])
            lines.append(f"{n + 1:>2} {one:<22} {cells}".rstrip())
        lines += ["```", "", "## What one is told because of the other", "", "| verbs | codes |", "|---|---|"]
        for (one, two), pair in sorted(self.pairs.items()):
            if pair.codes:
                told = "; ".join(f"{verb}: {code}" for verb, code in sorted(pair.codes))
                lines.append(f"| {one} × {two} | {told} |")
        lines += [
            "",
            "## Where each call stops",
            "",
            "| call | waits at | leaves out | holds when done |",
            "|---|---|---|---|",
        ]
        for name, where in self.sensitive.items():
            cells = [
                name,
                *([g for g, how in where.items() if how == kind] for kind in ("waits", "skips")),
                self.held[name],
            ]
            lines.append(f"| {' | '.join(c if isinstance(c, str) else ', '.join(c) for c in cells)} |")
        return "\n".join(lines) + "\n"


HEAD = """# What the verbs do to each other

Written by `python -m tests.concurrency.explorer --write` (`make explore` compares). Every call of `world.py` met every
other, itself included: behind an uncommitted one, after a rolled back one, and at whatever a third session held of what
both lock, in both orders of arrival. Nothing else than this happened:

- `.` apart: they have nothing to do with each other, neither waits, and each does what it does alone
- `s` serial: answers and ledger are those of one after the other
- `k` skips: the same, with the one leaving out what the other, or somebody else, held just then
- `r` one of them is refused, by a code of its own kind, because of the other
"""
MATRIX = Path(__file__).with_name("MATRIX.md")


def places(text: str) -> Places:
    """Where each call stops and what it holds, as MATRIX.md has it."""
    where, held = {}, {}
    for line in text.split("## Where each call stops")[1].splitlines()[4:]:
        name, *cells = ([g.strip() for g in cell.split(",") if g.strip()] for cell in line.strip("|").split("|"))
        where[name[0]] = dict.fromkeys(cells[0], "waits") | dict.fromkeys(cells[1], "skips")
        held[name[0]] = cells[2]
    return where, held


def cells(text: str) -> dict[tuple[str, str], str]:
    """The letters of each pair of verbs, as MATRIX.md has them."""
    rows = [line for line in text.split("```")[1].splitlines()[2:] if line]
    verbs = [row.split()[1] for row in rows]
    return {
        (two, verbs[n]): cell for n, row in enumerate(rows) for two, cell in zip(verbs, row.split()[2:], strict=False)
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.concurrency.explorer", description="Every pair of verbs.")
    parser.add_argument("--write", action="store_true", help="write MATRIX.md; without it, compare")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", help="pairs of this verb alone; compares nothing")
    options = parser.parse_args()
    matrix = explore(options.jobs, options.only)
    print(f"{matrix.ran} schedules of {len(matrix.pairs)} pairs of verbs, {matrix.wrong} wrong")
    if matrix.wrong or options.only:
        return min(matrix.wrong, 1)
    if options.write:
        MATRIX.write_text(matrix.text())
    elif MATRIX.read_text() != matrix.text():
        sys.stdout.writelines(difflib.unified_diff(MATRIX.read_text().splitlines(True), matrix.text().splitlines(True)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
