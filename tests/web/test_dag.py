"""The picture of a workflow: layers, folding, and places where nothing lies on anything else."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from runledger.types import WorkflowEdge, WorkflowStepSummary
from runledger.web import _dag
from runledger.web._dag import HEIGHT, MOST, WIDTH, graph, layers, place, svg

RUN = UUID(int=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def step(ordinal: int, key: str = "", status: str = "BLOCKED", job_type: str | None = "t") -> WorkflowStepSummary:
    known: dict[str, Any] = {
        "workflow_run_id": RUN, "ordinal": ordinal, "step_key": key or f"s{ordinal}", "status": status,
        "execution_kind": "JOB" if job_type else "EXTERNAL", "job_type": job_type, "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    return WorkflowStepSummary(**{name: known.get(name) for name in WorkflowStepSummary.__slots__})


def edge(start: int, end: int, mode: Any = "ON_SUCCESS") -> WorkflowEdge:
    return WorkflowEdge(RUN, end, f"s{end}", start, f"s{start}", mode, None, False)


def test_a_layer_is_the_longest_path():
    assert layers([1, 2, 3, 4], [(1, 2), (2, 3), (1, 3), (1, 4)]) == {1: 0, 2: 1, 3: 2, 4: 1}


def test_up_to_forty_steps_each_has_its_box():
    drawn = graph([step(n) for n in range(1, 41)], [edge(1, n) for n in range(2, 41)])
    assert len(drawn.boxes) == 40
    assert drawn.folding == ""


def test_many_alike_become_one_box_and_those_that_differ_stay():
    steps = [step(1), *[step(n, status="SUCCEEDED") for n in range(2, 90)], step(90, job_type="other"), step(91)]
    steps[5] = step(6, status="FAILED")
    edges = [edge(1, n) for n in range(2, 91)] + [edge(n, 91) for n in range(2, 91)]
    drawn = graph(steps, edges)
    assert sorted(len(box.steps) for box in drawn.boxes.values()) == [1, 1, 1, 88]
    folded = max(drawn.boxes.values(), key=lambda box: len(box.steps))
    # What failed is told first.
    assert folded.counts == [("FAILED", 1), ("SUCCEEDED", 87)]
    assert "88 t: 1 failed, 87 succeeded" in svg(drawn, hrefs={}, label="a run")
    assert drawn.folding


@pytest.mark.parametrize("shape", ["chain", "layers", "types"])
def test_ten_thousand_steps_become_few_boxes(shape: str):
    n = 10_000
    if shape == "chain":
        steps, edges = [step(i) for i in range(1, n + 1)], [edge(i, i + 1) for i in range(1, n)]
    elif shape == "layers":
        steps = [step(i) for i in range(1, n + 1)]
        edges = [edge(i, i + 100 + i % 3) for i in range(1, n - 102)]
    else:
        steps, edges = [step(i, job_type=f"type {i}") for i in range(1, n + 1)], []
    drawn = graph(steps, edges)
    assert len(drawn.boxes) <= MOST
    assert sum(len(box.steps) for box in drawn.boxes.values()) == n
    assert drawn.folding.startswith("Too many")
    assert len(svg(drawn, hrefs={}, label="a run")) < 1_000_000


def test_no_box_lies_on_another_and_edges_go_to_the_right():
    chance = random.Random(67)
    for _ in range(60):
        n = chance.randint(1, 40)
        pairs = {(a, b) for a, b in itertools.combinations(range(1, n + 1), 2) if chance.random() < 2.5 / n}
        drawn = graph([step(i) for i in range(1, n + 1)], [edge(a, b) for a, b in pairs])
        places, ways, width, height = place(drawn)
        boxes = [at for (_, is_point), at in places.items() if is_point == -1]
        assert len(boxes) == n
        for a, b in itertools.combinations(boxes, 2):
            assert a.x != b.x or abs(a.y - b.y) >= HEIGHT, (a, b)
        for at in boxes:
            assert at.x >= 0
            assert at.y >= 0
            assert at.x + WIDTH <= width
            assert at.y + HEIGHT <= height
        assert len(ways) == len(pairs)
        assert all(places[a].x < places[b].x for way in ways for a, b in itertools.pairwise(way))


def test_edges_to_steps_that_are_hidden_are_left_out():
    hidden = WorkflowEdge(RUN, 2, "s2", 1, None, "ON_SUCCESS", None, True)
    drawn = graph([step(2), step(3)], [hidden, edge(2, 3, "ON_TERMINAL")])
    assert drawn.edges == {(2, 3): False}
    assert "edge  loose" in svg(drawn, hrefs={}, label="a run")


def test_names_are_cut_to_their_box_and_escaped():
    picture = svg(
        graph([step(1, "電子メール送信" * 5), step(2, "<b>&\u202e\x1b" + "x" * 100)], []), hrefs={}, label='"<'
    )
    assert "電子メール送信…" in picture or "電子メール送信電…" in picture
    assert "<b>" not in picture
    assert "\u202e" not in picture
    assert "\x1b" not in picture
    assert "&lt;b&gt;&amp;\\u202e" in picture
    assert 'aria-label="&quot;&lt;"' in picture


def test_every_status_has_a_sign_and_a_colour():
    from typing import get_args

    from runledger.types import StepStatus
    from runledger.web._markup import STATES

    for status in get_args(StepStatus):
        assert status in _dag.SIGNS
        assert status in _dag.ORDER
        assert status in STATES
