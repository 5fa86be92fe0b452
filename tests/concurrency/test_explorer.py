"""Verbs against each other, as explorer.py runs them: one after the other, or refused, or apart, and nothing else.

The default run takes a random sample of the schedules (RUNLEDGER_SEED repeats one) and all of the named triples;
`make explore` takes every pair in every way and compares the result with MATRIX.md.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest

from tests.concurrency import explorer as explorers
from tests.concurrency.explorer import MATRIX, Explorer, Pair, Schedule
from tests.concurrency.world import Call, calls
from tests.support.database import Db

SCHEDULES = 300
TEXT = MATRIX.read_text()
CELLS = explorers.cells(TEXT)
PLACES, HELD = explorers.places(TEXT)


@pytest.fixture
def explorer(db: Db) -> Iterator[Explorer]:
    explorer = Explorer(db)
    explorer.where, explorer.held = dict(PLACES), dict(HELD)
    yield explorer
    explorer.close()


def seed() -> int:
    return int(os.environ.get("RUNLEDGER_SEED") or random.SystemRandom().randrange(1 << 32))


def pairs(rand: random.Random) -> Iterator[tuple[str, str]]:
    """Mostly those that lock the same: the others have little to tell."""
    names = sorted(PLACES)
    while True:
        one, two = sorted((rand.choice(names), rand.choice(names)))
        if explorers.shared(one, two, PLACES) or rand.random() < 0.1:
            yield one, two


def test_every_verb_has_its_row(db: Db):
    verbs = set(
        db.column(
            "select proname::text from pg_proc where pronamespace = 'runledger'::regnamespace and proname !~ '^_'"
            " and provolatile = 'v'"
        )
    )
    called = calls(defaultdict(str))
    assert {call.verb for call in called.values()} == verbs
    assert {verb for pair in CELLS for verb in pair} == verbs
    assert len(CELLS) == len(verbs) * (len(verbs) + 1) // 2
    assert set(PLACES) == set(called)


@pytest.mark.timeout(600)
def test_a_sample_of_what_can_happen_to_two_verbs(explorer: Explorer):
    number = seed()
    print(f"RUNLEDGER_SEED={number}")
    ran, seen = 0, set()
    for one, two in pairs(random.Random(number)):
        if (one, two) in seen:
            continue
        seen.add((one, two))
        pair = Pair()
        for schedule in explorers.schedules(one, two, PLACES):
            pair.add(explorer.judge(schedule))
        assert not pair.wrong, f"RUNLEDGER_SEED={number}\n" + "\n".join(pair.wrong)
        assert set(pair.cell()) - {"."} <= set(CELLS[explorers.verbs_of(one, two)]), (
            number,
            one,
            two,
            pair.cell(),
            pair.codes,
        )
        ran += pair.ran
        if ran >= SCHEDULES:
            break


def test_a_sample_of_where_calls_stop(explorer: Explorer):
    """A call that waits where it did not, or no longer holds what it did, is another call than MATRIX.md has."""
    number = seed()
    rand = random.Random(number)
    for name in rand.sample(sorted(PLACES), 8):
        own = list(PLACES[name]) or sorted(explorer.gates)
        for gate in (rand.choice(own), rand.choice(sorted(explorer.gates))):
            assert explorer.at_gate(name, gate) == PLACES[name].get(gate), (number, name, gate)
        explorer.held.clear()
        assert explorer.holds(name) == HELD[name], (number, name)


@pytest.mark.timeout(600)
def test_three_at_once(explorer: Explorer):
    for names, schedules in explorers.named_triples(PLACES).items():
        wrong = [v.report for v in map(explorer.judge, schedules) if v.kind == "wrong"]
        assert not wrong, f"{names}\n" + "\n".join(wrong)


# The explorer itself


Change = Callable[..., None]


@pytest.fixture
def change(db: Db) -> Iterator[Change]:
    """change("finish_jobs", (old, new), …) edits a function of the test's database until the end of the test."""
    originals = []

    def edit(function: str, *edits: tuple[str, str]) -> None:
        text = db.value(
            "select pg_get_functiondef(oid) from pg_proc where pronamespace = 'runledger'::regnamespace and proname = %s",
            [function],
        )
        originals.append(text)
        for old, new in edits:
            assert old in text, (function, old)
            text = text.replace(old, new)
        db.conn.execute(text.encode())

    yield edit
    for text in reversed(originals):
        db.conn.execute(text.encode())


def found(explorer: Explorer, *names: str) -> list[str]:
    explorer.forget()
    one, two = names
    verdicts = [explorer.judge(s) for s in explorers.schedules(one, two, PLACES)]
    return [v.report for v in verdicts if v.kind == "wrong"]


def test_it_finds_a_join_that_recounts(explorer: Explorer, change: Change):
    """Each of two completers counts the open prerequisites in its own snapshot, without the mutex of the run: both see
    the other one open, and the step is never let go."""
    names = "succeed_job step a", "succeed_job step b"
    assert found(explorer, *names) == []
    change("_lock_runs", ("for no key update;", ";"))
    # What is left still counts on the row of the step, and that is enough for the step, if not for the run.
    change(
        "_advance",
        ("s.dependency_count_pending - t.finished", "t.open"),
        ("o.dependency_count_pending > t.finished", "t.open > 0"),
        (
            "select e.dependent_step_id as id, count(*)::integer as finished,",
            "select e.dependent_step_id as id, (select count(*)::integer from runledger.workflow_step_dependencies as x"
            " join runledger.workflow_steps as y on y.id = x.prerequisite_step_id"
            " where x.dependent_step_id = e.dependent_step_id and y.finished_at is null) as open,",
        ),
    )
    reports = found(explorer, *names)
    assert any("BLOCKED" in report for report in reports), reports


def test_it_finds_locks_without_an_order(explorer: Explorer, change: Change):
    names = "finish_jobs", "start_jobs"
    assert found(explorer, *names) == []
    change("finish_jobs", ("order by q.id for update", "order by q.id desc for update"))
    reports = found(explorer, *names)
    assert any("40P01" in report for report in reports), reports


def test_it_finds_who_looks_before_he_locks(db: Db, explorer: Explorer):
    """The state is looked at before the row is locked, so that two callers both act on it."""
    db.execute(
        """create function runledger.careless(job_id uuid) returns text language plpgsql security definer as $$
           declare v_run integer;
           begin
             select q.run_number into v_run from runledger.job_queue q where q.id = careless.job_id and q.attempt = 1;
             if not found then return 'not found'; end if;
             update runledger.job_queue q set attempt = 2, run_number = v_run + 1 where q.id = careless.job_id;
             return 'done';
           end $$"""
    )
    job = explorer.world.ids["leased"]
    explorer.calls["careless"] = Call("careless", f"select runledger.careless('{job}')")
    explorer.where["careless"] = {"job leased": "waits"}
    explorer.held["careless"] = ["job leased"]
    verdict = explorer.judge(Schedule(("careless", "careless")))
    db.execute("drop function runledger.careless(uuid)")
    assert verdict.kind == "wrong"
    assert "done" in verdict.report


def test_it_finds_two_who_are_right_each_alone(explorer: Explorer, change: Change):
    """One disables the type that the other makes a schedule of: neither changes a row that the other changes."""
    names = "disable_job_type spare", "upsert_schedule new"
    assert found(explorer, *names) == []
    change("_require_schedule_types", ("order by d.job_type for share", "order by d.job_type"))
    assert found(explorer, *names) != []


def test_it_finds_a_verb_that_is_refused_by_the_server(explorer: Explorer, change: Change):
    """Two who insert the same schedule meet on the unique name, not on an error."""
    names = "upsert_schedule new", "upsert_schedule new"
    assert found(explorer, *names) == []
    change("_insert_schedule", ("on conflict do nothing", ""))
    assert any("23505" in report for report in found(explorer, *names))


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_every_pair_in_every_way():
    matrix = explorers.explore(os.cpu_count() or 1)
    assert matrix.wrong == 0
    assert matrix.text() == TEXT
