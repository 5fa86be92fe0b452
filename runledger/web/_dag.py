"""The picture of a workflow: steps in layers from left to right, drawn as SVG; large graphs are folded first.

Layers are longest paths, the order within a layer follows the barycentres of the neighbours, long edges pass through
points of their own. Steps that have the same neighbours and type become one box when there are many of them; if that
leaves too many boxes, there is one per layer and type.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runledger.types import WorkflowEdge, WorkflowStepSummary
from runledger.web._markup import STATES, Markup, el, pill, visible

WIDTH, HEIGHT = 186, 46
GAP_X, GAP_Y, EDGE_Y, MARGIN = 58, 12, 12, 14
FOLD_FROM = 40
"""Boxes; up to that many every step has its own."""
FOLD_GROUP = 4
MOST = 240
"""Boxes of a picture."""
SWEEPS = 6
ORDER = ("FAILED", "RUNNING", "WAITING_FOR_EXTERNAL", "ENQUEUED", "BLOCKED", "CANCELED", "SUCCEEDED")


@dataclass(frozen=True, slots=True)
class Box:
    """One or several steps that are drawn as one."""

    key: int
    steps: tuple[WorkflowStepSummary, ...]

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many steps in which status, what needs eyes first."""
        counted: Counter[str] = Counter(step.status for step in self.steps)
        return [(status, counted[status]) for status in ORDER if counted[status]]

    @property
    def kind(self) -> str:
        """The type of its jobs, or that it is a gate."""
        kinds = {step.job_type or "gate" for step in self.steps}
        return kinds.pop() if len(kinds) == 1 else f"{len(kinds)} types"


@dataclass(frozen=True, slots=True)
class Graph:
    """Boxes, the pairs of keys (from, to) between them with whether success is needed, and the layer of each box."""

    boxes: Mapping[int, Box]
    edges: Mapping[tuple[int, int], bool]
    layer: Mapping[int, int]
    folding: str


def layers(keys: Iterable[int], edges: Iterable[tuple[int, int]]) -> dict[int, int]:
    """The longest path to each; an edge always goes from a smaller key to a larger one."""
    before: dict[int, list[int]] = defaultdict(list)
    for start, end in edges:
        before[end].append(start)
    found: dict[int, int] = {}
    for key in sorted(keys):
        found[key] = max((found[b] + 1 for b in before[key] if b in found), default=0)
    return found


def graph(steps: Sequence[WorkflowStepSummary], edges: Sequence[WorkflowEdge]) -> Graph:
    """Fold steps into boxes until a person can look at them."""
    known = {step.ordinal for step in steps}
    pairs = {
        (e.prerequisite_ordinal, e.dependent_ordinal): e.release_mode == "ON_SUCCESS"
        for e in edges
        if e.prerequisite_ordinal in known and e.dependent_ordinal in known
    }
    layer = layers(known, pairs)
    single = {step.ordinal: (step.ordinal,) for step in steps}
    if len(steps) <= FOLD_FROM:
        return _folded(steps, pairs, layer=layer, group=single, folding="")
    before: dict[int, set[int]] = defaultdict(set)
    after: dict[int, set[int]] = defaultdict(set)
    for start, end in pairs:
        before[end].add(start)
        after[start].add(end)
    alike: dict[int, tuple[object, ...]] = {
        s.ordinal: (layer[s.ordinal], s.job_type, frozenset(before[s.ordinal]), frozenset(after[s.ordinal]))
        for s in steps
    }
    sizes = Counter(alike.values())
    mixed = {o: a if sizes[a] >= FOLD_GROUP else (o,) for o, a in alike.items()}
    if len(set(mixed.values())) <= MOST:
        is_folded = len(set(mixed.values())) < len(steps)
        words = "Steps with the same neighbours and type are drawn as one box." if is_folded else ""
        return _folded(steps, pairs, layer=layer, group=mixed, folding=words)
    words = "Too many steps to draw each: one box per level and job type."
    by_level: dict[int, tuple[object, ...]] = {s.ordinal: (layer[s.ordinal], s.job_type) for s in steps}
    if len(set(by_level.values())) > MOST:
        words = "Too many steps to draw each: one box per level."
        by_level = {s.ordinal: (layer[s.ordinal],) for s in steps}
    if len(set(by_level.values())) > MOST:
        words = f"Too many levels to draw each: one box per {len(set(by_level.values())) // MOST + 1} levels."
        size = len(set(by_level.values())) // MOST + 1
        layer = {ordinal: level // size for ordinal, level in layer.items()}
        by_level = {s.ordinal: (layer[s.ordinal],) for s in steps}
    return _folded(steps, pairs, layer=layer, group=by_level, folding=words)


def _folded(
    steps: Sequence[WorkflowStepSummary],
    pairs: Mapping[tuple[int, int], bool],
    *,
    layer: Mapping[int, int],
    group: Mapping[int, tuple[object, ...]],
    folding: str,
) -> Graph:
    members: dict[tuple[object, ...], list[WorkflowStepSummary]] = defaultdict(list)
    for step in steps:
        members[group[step.ordinal]].append(step)
    name = {of: min(s.ordinal for s in those) for of, those in members.items()}
    boxes = {name[of]: Box(name[of], tuple(those)) for of, those in members.items()}
    edges: dict[tuple[int, int], bool] = {}
    for (start, end), strict in pairs.items():
        a, b = name[group[start]], name[group[end]]
        if a != b:
            edges[a, b] = edges.get((a, b), False) or strict
    return Graph(boxes, edges, {key: layer[box.steps[0].ordinal] for key, box in boxes.items()}, folding)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box, or the point where a long edge passes a layer, is drawn."""

    x: float
    y: float
    height: float


Node = tuple[int, int]
"""A box (key, -1), or a point of a long edge (number of the edge, layer)."""


def place(drawn: Graph) -> tuple[dict[Node, Place], list[list[Node]], float, float]:
    """Where everything goes: places, the way of each edge, width and height."""
    rows: dict[int, list[Node]] = defaultdict(list)
    for key in sorted(drawn.boxes):
        rows[drawn.layer[key]].append((key, -1))
    ways: list[list[Node]] = []
    for number, (start, end) in enumerate(drawn.edges):
        points: list[Node] = [(number, level) for level in range(drawn.layer[start] + 1, drawn.layer[end])]
        if len(points) > 40:  # far: straight, under what is between
            points = []
        for point in points:
            rows[point[1]].append(point)
        ways.append([(start, -1), *points, (end, -1)])
    before: dict[Node, list[Node]] = defaultdict(list)
    after: dict[Node, list[Node]] = defaultdict(list)
    for way in ways:
        for a, b in itertools.pairwise(way):
            after[a].append(b)
            before[b].append(a)
    levels = sorted(rows)
    at = {node: float(i) for level in levels for i, node in enumerate(rows[level])}
    for sweep in range(SWEEPS):
        near = before if sweep % 2 == 0 else after
        for level in levels if sweep % 2 == 0 else reversed(levels):
            weight = {n: sum(at[m] for m in near[n]) / len(near[n]) if near[n] else at[n] for n in rows[level]}
            rows[level].sort(key=lambda n, w=weight: w[n])  # type: ignore[misc]
            size = len(rows[level])
            for i, node in enumerate(rows[level]):
                at[node] = (i + 0.5) / size * 1000
    tall = {level: sum(_room(n) for n in rows[level]) for level in levels}
    height = max(tall.values(), default=0)
    places: dict[Node, Place] = {}
    for column, level in enumerate(levels):
        y = MARGIN + (height - tall[level]) / 2
        for node in rows[level]:
            own = HEIGHT if node[1] == -1 else 0
            places[node] = Place(MARGIN + column * (WIDTH + GAP_X), y + (_room(node) - own) / 2, own)
            y += _room(node)
    _straighten(rows, levels, places=places, before=before, after=after)
    top = min((p.y for p in places.values()), default=0) - MARGIN
    places = {n: Place(p.x, p.y - top, p.height) for n, p in places.items()}
    bottom = max((p.y + p.height for p in places.values()), default=0) + MARGIN
    return places, ways, 2 * MARGIN + len(levels) * (WIDTH + GAP_X) - GAP_X, bottom


def _straighten(
    rows: Mapping[int, list[Node]],
    levels: Sequence[int],
    *,
    places: dict[Node, Place],
    before: Mapping[Node, list[Node]],
    after: Mapping[Node, list[Node]],
) -> None:
    """Draw each towards the middle of its neighbours, without changing the order or coming too near."""
    for sweep in range(4):
        near = before if sweep % 2 == 0 else after
        for level in levels if sweep % 2 == 0 else list(reversed(levels)):
            row = rows[level]
            wish = []
            for node in row:
                those = [places[m].y + places[m].height / 2 for m in near.get(node, ())]
                own = places[node].y + places[node].height / 2
                wish.append(sum(those) / len(those) if those else own)
            centres = _spread(wish, [_room(node) for node in row])
            for node, centre in zip(row, centres, strict=True):
                p = places[node]
                places[node] = Place(p.x, centre - p.height / 2, p.height)


def _spread(wish: Sequence[float], rooms: Sequence[float]) -> list[float]:
    """The nearest to the wishes that keeps the order and leaves each its room: runs that touch move as one."""
    runs: list[tuple[float, list[int]]] = []  # where a run begins at best (mean over its members), and its members
    offset: list[float] = []
    reach = 0.0
    for room in rooms:
        offset.append(reach + room / 2)
        reach += room
    for i, centre in enumerate(wish):
        start, members = centre - offset[i], [i]
        while runs and runs[-1][0] >= start:
            other, those = runs.pop()
            start = (other * len(those) + start * len(members)) / (len(those) + len(members))
            members = those + members
        runs.append((start, members))
    return [start + offset[i] for start, members in runs for i in members]


def _room(node: Node) -> float:
    return HEIGHT + GAP_Y if node[1] == -1 else EDGE_Y


def svg(drawn: Graph, *, hrefs: Mapping[int, str], label: str) -> Markup:
    """The picture; `hrefs` has the address of each box that is one step, by ordinal."""
    places, ways, width, height = place(drawn)
    lines = [
        _edge([places[node] for node in way], strict=strict, state=_state(drawn.boxes[start]))
        for way, ((start, _), strict) in zip(ways, drawn.edges.items(), strict=True)
    ]
    boxes = [_box(box, places[key, -1], hrefs.get(key)) for key, box in drawn.boxes.items()]
    return el(
        "svg",
        el("g", lines, cls="edges"),
        boxes,
        cls="dag",
        role="group",
        aria_label=label,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
    )


def _state(box: Box) -> str:
    return STATES[box.counts[0][0]] if len(box.counts) == 1 else "mixed"


def _edge(way: Sequence[Place], *, strict: bool, state: str) -> Markup:
    first, last = way[0], way[-1]
    x, y = first.x + WIDTH, first.y + first.height / 2
    path = [f"M{x:.0f} {y:.1f}"]
    for stop in way[1:]:
        to_x, to_y = stop.x, stop.y + stop.height / 2
        middle = (x + to_x) / 2
        path.append(f"C{middle:.0f} {y:.1f} {middle:.0f} {to_y:.1f} {to_x:.0f} {to_y:.1f}")
        x, y = to_x, to_y
        if stop is not last:
            x += WIDTH
            path.append(f"H{x:.0f}")
    classes = f"edge {'done' if state == 'ok' else ''}{'' if strict else ' loose'}"
    return el("path", d="".join(path), cls=classes)


def _box(box: Box, at: Place, href: str | None) -> Markup:
    many = len(box.steps) > 1
    first = box.steps[0]
    title = f"{len(box.steps):,} {box.kind}" if many else first.step_key
    told = ", ".join(f"{n:,} {s.lower().replace('_', ' ')}" for s, n in box.counts) if many else first.status
    state = STATES[box.counts[0][0]]
    second = told if many else f"{box.kind}"
    parts: list[Markup] = [
        el("title", f"{title}: {told}" + ("" if many else f" ({box.kind})")),
        el("rect", cls="frame", width=WIDTH, height=HEIGHT, rx=7),
        el("rect", cls="mark", width=5, height=HEIGHT - 14, x=7, y=7, rx=2.5),
        el("text", _fit(title, 20 if many else 18), cls="name", x=20, y=19),
        el("text", _fit(second, 25), cls="of", x=20, y=35),
    ]
    if not many:
        parts.append(_sign(box.counts[0][0]))
    if many:
        parts.append(_bar(box))
    shape = el(
        "g",
        parts,
        cls=f"box {state}{' gate' if box.kind == 'gate' else ''}",
        transform=f"translate({at.x:.0f} {at.y:.1f})",
    )
    return el("a", shape, href=href) if href else shape


SIGNS = {
    "SUCCEEDED": "✓",
    "FAILED": "✕",
    "RUNNING": "▶",
    "WAITING_FOR_EXTERNAL": "◆",
    "ENQUEUED": "•",
    "CANCELED": "—",
    "BLOCKED": "",
}


def _sign(status: str) -> Markup:
    return el("text", SIGNS[status], cls="sign", x=WIDTH - 10, y=19)


def _bar(box: Box) -> Markup:
    x, whole, parts = 20.0, WIDTH - 30, []
    for status, count in box.counts:
        wide = whole * count / len(box.steps)
        parts.append(el("rect", cls=f"part {STATES[status]}", x=f"{x:.1f}", y=39, width=f"{wide:.1f}", height=3))
        x += wide
    return el("g", parts)


def _fit(words: str, length: int) -> str:
    words = visible(words)
    # Wide characters take two places.
    taken = 0
    for i, char in enumerate(words):
        taken += 2 if ord(char) > 0x2E80 else 1
        if taken > length:
            return words[: max(i - 1, 1)] + "…"
    return words


def legend() -> Markup:
    """What the colours and lines of a picture mean."""
    states = [pill(s) for s in ("BLOCKED", "ENQUEUED", "RUNNING", "WAITING_FOR_EXTERNAL", "SUCCEEDED", "FAILED")]
    return el("p", states, el("span", "dashed line: goes on whatever became of it", cls="dim"), cls="legend")
