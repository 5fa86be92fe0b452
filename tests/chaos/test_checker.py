"""The checker must see what it is there for: each violation, in a history made by hand. test_zombies.py has ledgers that are broken."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.chaos import checker
from tests.chaos.checker import ANSWER, DOUBLE, EXACTLY, LOST, OVERLAP, STUCK, UNRUN, ZOMBIE, History, Ledger
from tests.chaos.graph import PRODUCT

Records = list[list[Any]]


def claim(who: str, at: int, job: str, token: int) -> list[Any]:
    return ["claim", who, at - 1, at, [[job, token]]]


def start(who: str, at: int, job: str, token: int, run: int = 1) -> list[Any]:
    return ["start", who, at, job, token, run]


def finish(who: str, at: int, job: str, token: int, told: str = "SUCCEEDED", *, replayed: bool = False) -> list[Any]:
    return ["finish", who, at, at + 1, [[job, token, "SUCCEEDED", told, replayed]]]


def enqueue(job: str) -> list[Any]:
    return ["enqueue", "p", 0, 1, [[f"key {job}", job]]]


def life(job: str = "a", token: int = 1) -> Records:
    return [enqueue(job), claim("w", 10, job, token), start("w", 11, job, token), finish("w", 20, job, token)]


def ledger(**changes: Any) -> Ledger:
    """Job a, which succeeded with token 1."""
    facts: dict[str, Any] = {
        "jobs": {"a": ("plain", "SUCCEEDED", 1)}, "attempts": {1: ("a", 1, "SUCCEEDED")}, "successes": {("a", 1): 1},
    }  # fmt: skip
    return Ledger(**(facts | changes))


def found(records: Records, facts: Ledger, *stuck: str) -> dict[str, int]:
    return dict(checker.check(History.of(records), facts, stuck).counts)


TWICE = {1: ("a", 1, "RETRY_SCHEDULED"), 2: ("a", 1, "SUCCEEDED")}
"""The lease of token 1 ended and the job succeeded with token 2."""


def test_an_orderly_life_is_clean():
    assert found(life(), ledger()) == {}


@pytest.mark.parametrize(
    "records",
    [
        [*life("a", 2), claim("z", 5, "a", 1), start("z", 6, "a", 1), finish("z", 30, "a", 1, "LEASE_LOST")],
        [*life("a", 2), claim("z", 5, "a", 1), start("z", 6, "a", 1), ["unknown", "z", 7, 8, "finish_jobs"]],
        [
            *life("a", 2),
            start("z", 6, "a", 1),
            ["beat", "z", 12, 13, [["a", 1, "LOST"]]],
            finish("w", 25, "a", 2, replayed=True),
        ],
    ],
    ids=["a zombie is refused", "a worker died", "lost and repeated"],
)
def test_a_second_execution_is_clean(records: Records):
    assert found(records, ledger(attempts=TWICE)) == {}


@pytest.mark.parametrize(
    ("code", "records", "facts"),
    [
        (LOST, [*life(), enqueue("b")], ledger()),
        (LOST, life(), ledger(attempts={1: ("a", 1, "RETRY_SCHEDULED")}, successes={})),
        (LOST, [*life(), ["run", "p", 0, 1, "r"]], ledger()),
        (LOST, [*life(), ["canceling", "o", 1, "a"], ["cancel", "o", 1, 2, "a"]], ledger()),
        (LOST, [*life(), ["requeue", "o", 1, 2, [["a", 2]]]], ledger()),
        (UNRUN, [enqueue("a")], ledger()),
        (UNRUN, [enqueue("a")], ledger(jobs={"a": ("plain", "CANCELED", 1)}, attempts={}, successes={}, canceled={"a"})),
        (UNRUN, [enqueue("a"), start("w", 1, "a", 1)], ledger(jobs={"a": ("plain", "DEAD_LETTERED", 1)}, attempts={}, successes={})),
        (UNRUN, life(), ledger(runs={"r": "COMPLETED_WITH_ERRORS"})),
        (OVERLAP, [*life(), claim("z", 12, "a", 1)], ledger()),
        (OVERLAP, [*life(), start("w", 12, "a", 1)], ledger()),
        (ZOMBIE, [*life("a", 2), start("z", 6, "a", 1), ["beat", "z", 12, 13, [["a", 1, "EXTENDED"]]]], ledger(attempts=TWICE)),
        (ZOMBIE, [*life("a", 2), start("z", 6, "a", 1), finish("z", 12, "a", 1, "RETRY_SCHEDULED")], ledger(attempts=TWICE)),
        (LOST, life(), ledger(successes={})),
        (DOUBLE, life(), ledger(successes={("a", 1): 2})),
        (DOUBLE, [*life(), finish("w", 30, "a", 1)], ledger()),
        (DOUBLE, life(), ledger(successes={("a", 1): 1, ("a", 2): 1})),
        (EXACTLY, life(), ledger(jobs={"a": ("pay", "SUCCEEDED", 1)})),
        (EXACTLY, life(), ledger(transfers=[("a", 1, 1), ("a", 1, 1)])),
        (EXACTLY, life(), ledger(transfers=[("a", 1, 7)])),
        (EXACTLY, life(), ledger(products={"r": PRODUCT + 1})),
        (ANSWER, [*life(), finish("w", 30, "a", 1, "LEASE_LOST")], ledger()),
        (ANSWER, [*life(), finish("w", 30, "a", 1, "INVALID")], ledger()),
        (ANSWER, [*life(), ["enqueue", "p", 2, 3, [["key a", "b"]]]], ledger(jobs={"a": ("plain", "SUCCEEDED", 1), "b": ("plain", "SUCCEEDED", 1)})),
    ],
)  # fmt: skip
def test_what_must_not_be_is_found(code: str, records: Records, facts: Ledger):
    assert code in found(records, facts)


def test_a_refusal_while_the_clock_was_ahead_is_no_other_answer():
    records = [*life(), finish("w", 15, "a", 1, "LEASE_LOST")]
    assert found(records, ledger()) == {ANSWER: 1}
    assert found([*records, ["ahead", "n", 12, 16]], ledger()) == {}
    assert found([*records, ["ahead", "n", 12, 14]], ledger()) == {ANSWER: 1}


def test_the_wait_of_a_lease_that_nobody_ended_is_measured():
    records = [*life("a", 3), claim("z", 4, "a", 1), claim("y", 6, "a", 2), finish("y", 7, "a", 2, "RETRY_SCHEDULED")]
    assert checker.recoveries(History.of(records), ledger(attempts={3: ("a", 1, "SUCCEEDED")})) == [2e-9]


def test_what_is_stuck_is_told():
    assert found(life(), ledger(), "job b") == {STUCK: 1}


def test_a_torn_last_line_was_not_written(tmp_path: Any):
    (tmp_path / "w.1.log").write_bytes(b'["start","w",1,"a",1,1]\n["start","w",2,"b"')
    assert checker.read(tmp_path).starts == Counter({1: 1})
