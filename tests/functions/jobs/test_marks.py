"""Where claims leave off, and how they go on from there: each function by itself, with given marks, at every edge.

What a claim costs under a held snapshot is measured in tests/plans/test_claim_cost.py; here is what a mark says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger
from tests.support.written import stands_written

HERE = Path(__file__).parent / "written"
INSTANT = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
NOTHING = timedelta(0)
FIRST, LAST = UUID(int=0), UUID(int=2**128 - 1)
FLOOR, CEILING = -(2**31) - 1, 2**31


def uid(n: int) -> UUID:
    return UUID(int=n)


@dataclass(frozen=True)
class Mark:
    """runledger._mark, its lanes as (priority, due at, id)."""

    scope: str | None = "s"
    looked_at: datetime | None = None
    look_took: timedelta | None = NOTHING
    swept_at: datetime | str | None = "-infinity"
    lanes: list[tuple[int, datetime, UUID]] = field(default_factory=list)

    @property
    def fields(self) -> list[Any]:
        swept = self.swept_at
        priorities, due_ats, ids = ([lane[n] for lane in self.lanes] for n in range(3))
        return [self.scope, self.looked_at, self.look_took, swept, priorities, due_ats, ids]


ROW = "row(%s::text, %s::timestamptz, %s::interval, %s::timestamptz, %s::integer[], %s::timestamptz[], %s::uuid[])::runledger._mark"
COLUMNS = "scope, looked_at, look_took, case when isfinite(swept_at) then swept_at end as swept_at, swept_at = '-infinity' as never, priorities, due_ats, ids"


def read(db: Db, query: str, params: list[Any]) -> Mark | None:
    row = db.one(f"select {COLUMNS} from {query} as m", params)
    if row["scope"] is None and row["priorities"] is None:
        return None
    lanes = list(zip(row["priorities"], row["due_ats"], row["ids"], strict=True))
    return Mark(row["scope"], row["looked_at"], row["look_took"], "-infinity" if row["never"] else row["swept_at"], lanes)


def put(db: Db, mark: Mark, **other: Any) -> None:
    """As _save_mark writes it, or with other words in it."""
    names = ("scope", "looked_at", "look_took", "swept_at", "priorities", "due_ats", "ids")
    text = json.dumps(dict(zip(names, mark.fields, strict=True)) | other, default=lambda v: v.isoformat() if isinstance(v, datetime) else str(v))
    db.execute("select set_config('runledger.claim_mark', %s, false)", [text])


@pytest.fixture
def now(clock: Clock) -> datetime:
    return clock.stop()


def lanes(now: datetime, *priorities: int) -> list[tuple[int, datetime, UUID]]:
    return [(p, now - SECOND * n, uid(n)) for n, p in enumerate(priorities, 1)]


def test_a_mark_is_good_for_a_while_and_knows_its_priorities_for_longer(db: Db, now: datetime):
    def loaded(mark: Mark, scope: str = "s", **other: Any) -> Mark | None:
        put(db, mark, **other)
        return read(db, "runledger._load_mark(%s, %s)", [scope, now])

    two = lanes(now, 7, 0)
    ms = timedelta(milliseconds=1)
    for took, kept, holds in (
        # How long the look took, what of that counts, and for how long the mark is good.
        (NOTHING, NOTHING, SECOND), (-SECOND, NOTHING, SECOND), (40 * ms, 40 * ms, SECOND), (50 * ms, 50 * ms, SECOND), (51 * ms, 51 * ms, 1020 * ms),
        (SECOND, SECOND, 20 * SECOND), (3 * SECOND, 3 * SECOND, 60 * SECOND), (4 * SECOND, 3 * SECOND, 60 * SECOND),
    ):  # fmt: skip
        mark = Mark(look_took=took, lanes=two, looked_at=now)
        for age in (NOTHING, holds - INSTANT):
            assert loaded(replace(mark, looked_at=now - age)) == replace(mark, looked_at=now - age, look_took=kept), (took, age)
        old = loaded(replace(mark, looked_at=now - holds))
        assert old == (replace(mark, looked_at=None, look_took=kept) if kept else None), took
    good = Mark(looked_at=now, lanes=two)
    assert loaded(replace(good, swept_at=now)) == replace(good, swept_at=now)
    assert loaded(replace(good, lanes=[])) == replace(good, lanes=[])
    assert loaded(good, scope="other") is None
    for late in ({"looked_at": now + INSTANT}, {"swept_at": now + INSTANT}, {"looked_at": None}, {"swept_at": None}, {"scope": None}):
        assert loaded(replace(good, **late)) is None, late
    times, ids = [now.isoformat()] * 2, [str(FIRST)] * 2
    for broken in (
        {"priorities": [1]}, {"priorities": [1, 2, 3]}, {"due_ats": times[:1]}, {"due_ats": [*times, times[0]]}, {"ids": ids[:1]}, {"ids": None}, {"due_ats": None}, {"priorities": None},
        {"priorities": [[1, 2]]}, {"due_ats": [times]}, {"ids": [ids]}, {"priorities": [["x"]]}, {"looked_at": "x"}, {"look_took": "x"}, {"ids": ["x"]},
    ):  # fmt: skip
        assert loaded(good, **broken) is None, broken
    for text in ("", "x", "{}", "[]", "null", "7"):
        db.execute("select set_config('runledger.claim_mark', %s, false)", [text])
        assert read(db, "runledger._load_mark('s', %s)", [now]) is None, text
    assert loaded(good) == good


def test_a_mark_is_remembered_by_the_session(db: Db, now: datetime):
    mark = Mark("of another", now, SECOND, now - SECOND, lanes(now, 7, 0, -7))
    with db.conn.transaction():
        db.execute(f"select runledger._save_mark('s', {ROW})", mark.fields)
    assert read(db, "runledger._load_mark('s', %s)", [now]) == replace(mark, scope="s")
    assert db.connect(admin=True).execute("select current_setting('runledger.claim_mark', true)").fetchone() == (None,)


def test_a_mark_has_room_for_32_priorities_half_of_them_barren(db: Db, now: datetime):
    picked = "row(array[9, 9], %s::timestamptz[], %s::uuid[], array['(0,1)', '(0,2)']::tid[])::runledger._pick"
    found = [[now - SECOND, now], [uid(77), uid(78)]]
    nothing = "null::runledger._pick"
    for count in (0, 1, 15, 16, 17, 31, 32, 33):
        mark = Mark("s", now, SECOND, now - SECOND, lanes(now, *range(100, 100 - count, -1)))
        for query, params, room, lane in (
            (picked, found, 32, (9, now, uid(78))), (nothing, [], 16, (9, now - 2 * SECOND, uid(5))),
        ):  # fmt: skip
            got = read(db, f"runledger._move_mark({ROW}, 9, {query}, %s, %s)", [*mark.fields, *params, now - 2 * SECOND, uid(5)])
            assert got == (replace(mark, lanes=[*mark.lanes, lane]) if count < room else replace(mark, swept_at=None)), (count, room)


def test_a_walk_to_the_end_need_not_meet_again_what_lies_before_it(db: Db, now: datetime):
    end = now - timedelta(milliseconds=100)
    mine = [(9, end - INSTANT, uid(1)), (8, end + INSTANT, uid(2)), (7, end, uid(3))]
    before = [(9, now - 9 * SECOND, uid(11)), (7, now - 8 * SECOND, uid(12)), (-5, now - 7 * SECOND, uid(13))]
    for took, filled, swept, nth in product((NOTHING, INSTANT, SECOND), (True, False), (now - SECOND, None, "-infinity"), (1, 2, 3, 4)):
        mark = Mark("s", now - SECOND, took, swept, mine)
        got = read(
            db, f"runledger._close_mark({ROW}, {ROW}, %s, %s, %s)",
            [*mark.fields, *Mark("s", now, SECOND, now, before).fields, nth, filled, now],
        )  # fmt: skip
        ended = took > NOTHING and not filled
        want = Mark(
            "s", now - SECOND, took, (end if ended and swept else swept) or "-infinity",
            [(p, max(at, end) if ended else at, i) for p, at, i in mine] + before[nth - 1 :],
        )  # fmt: skip
        assert got == want, (took, filled, swept, nth)


def test_a_look_costs_what_it_walked_over(db: Db, now: datetime):
    """Fewer than a thousand entries cost nothing, however long that took; without statistics the time tells."""
    mark = Mark("s", None, 7 * SECOND, now - SECOND, lanes(now, 7, 0))
    ms = timedelta(milliseconds=1)
    for counted, walked, began, took in (
        (True, 0, now - SECOND, NOTHING), (True, 999, now - SECOND, NOTHING), (True, 1000, now - SECOND, SECOND), (True, 1000, now - 24 * ms, 24 * ms),
        (True, 1001, now, INSTANT), (True, 1000, now + SECOND, INSTANT), (True, 999, now - 25 * ms, NOTHING),
        (False, 999, now - 25 * ms + INSTANT, NOTHING), (False, 999, now - 25 * ms, 25 * ms), (False, 1000, now - 24 * ms, 24 * ms),
    ):  # fmt: skip
        with db.conn.transaction():
            db.execute(f"set local track_counts = {'on' if counted else 'off'}")
            got = read(
                db, f"runledger._time_mark({ROW}, runledger._entries_walked() - %s, %s, %s)", [*mark.fields, walked, began, now - 3 * SECOND],
            )  # fmt: skip
        assert got == replace(mark, looked_at=now - 3 * SECOND, look_took=took), (counted, walked, began)


def test_what_was_locked_and_not_taken_is_met_again(db: Db, now: datetime):
    at = [now - SECOND * n for n in (9, 8, 7, 6, 5)]
    picks = list(zip((7, 7, 7, 0, 0), at, (uid(n) for n in range(1, 6)), strict=True))
    mark = Mark(lanes=[(9, now - 30 * SECOND, uid(90)), (7, at[2], uid(3)), (0, at[4], uid(5)), (-1, now - 40 * SECOND, uid(91))], looked_at=now)
    scope = db.value("select runledger._claim_scope('{a,b}')")
    for taken in range(6):
        put(db, replace(mark, scope=scope))
        db.execute(
            "select runledger._set_back_mark('{a,b}', row(%s::integer[], %s::timestamptz[], %s::uuid[], null)::runledger._pick, %s, %s)",
            [*([p[n] for p in picks] for n in range(3)), taken, now],
        )
        want = []
        for lane in mark.lanes:
            own = [(n, p) for n, p in enumerate(picks, 1) if p[0] == lane[0]]
            if not own or own[-1][0] <= taken:
                want.append(lane)
            elif own[0][0] <= taken:
                want.append(picks[taken - 1])
            else:
                want.append((lane[0], own[0][1][1], FIRST))
        assert read(db, "runledger._load_mark(%s, %s)", [scope, now]) == replace(mark, scope=scope, lanes=want), taken
    # Without a mark, or with one of other types, there is nothing to set back.
    for left in (Mark(scope="other", looked_at=now), Mark(scope=scope, looked_at=now + SECOND)):
        put(db, left)
        held = db.value("select current_setting('runledger.claim_mark')")
        db.execute("select runledger._set_back_mark('{a,b}', row('{7}', array[now()], array[gen_random_uuid()], null)::runledger._pick, 0, %s)", [now])
        assert db.value("select current_setting('runledger.claim_mark')") == held


@pytest.fixture
def waiting(db: Db, q: Ledger, now: datetime) -> list[dict[str, Any]]:
    """Pending jobs of three types and three priorities, several at one instant, and some that are not pending."""
    for job_type in "uv":
        q.define(job_type)
    for nth, (job_type, priority, late) in enumerate(product("tuv", (2**31 - 1, 7, 0, -(2**31)), (-5, -5, -4, 0, 6))):
        if job_type == "v" and priority == 7:
            continue
        state = ("PENDING", "PENDING", "PENDING", "SUCCEEDED", "PENDING")[nth % 5]
        db.execute(
            "insert into runledger.job_queue (id, job_type, payload, priority, max_attempts, timeout_seconds, next_run_at, stage, status, attempt,"
            " finished_at, created_at, updated_at) values (%s, %s, '{}', %s, 3, 60, %s, 'queued', %s, 0, %s, %s, %s)",
            [uid(1000 - nth * 7 % 61), job_type, priority, now + SECOND * late, state, now if state == "SUCCEEDED" else None, now, now],
        )
    yield db.all("select id, job_type, priority, next_run_at, ctid::text as place from runledger.job_queue where status = 'PENDING'")
    db.execute("delete from runledger.job_queue")


def test_the_next_priority_is_the_highest_between_the_bounds(db: Db, q: Ledger, waiting: list[dict[str, Any]], now: datetime):
    ends = (FLOOR, -(2**31), -1, 0, 7, 8, 2**31 - 1, CEILING)
    afters: tuple[Any, ...] = ("-infinity", now - 5 * SECOND, now, now + 6 * SECOND - INSTANT, now + 6 * SECOND)
    asked = [(t, below, above, after) for t in ("t", "v", None, "tu", "uv", "") for below in ends for above in ends for after in afters]
    rows = db.all(
        "select case when a.many then runledger._next_lane(a.types, a.below, a.above, a.after)"
        "   else runledger._next_priority(a.types[1], a.below, a.above, a.after) end as got"
        " from unnest(%s::text[], %s::bigint[], %s::bigint[], %s::timestamptz[]) with ordinality as x(types, below, above, after, nth)"
        " cross join lateral (select regexp_split_to_array(nullif(x.types, '-'), '') as types, length(x.types) <> 1 as many, x.below, x.above, x.after) as a"
        " order by x.nth",
        [[t or ("-" if t is None else "tuv") for t, *_ in asked], *([a[n] for a in asked] for n in (1, 2)), [str(a[3]) for a in asked]],
    )
    for (types, below, above, after), row in zip(asked, rows, strict=True):
        found = [
            r["priority"] for r in waiting
            if (types is None or r["job_type"] in (types or "tuv")) and above < r["priority"] < below and (after == "-infinity" or r["next_run_at"] > after)
        ]  # fmt: skip
        assert row["got"] == max(found, default=None), (types, below, above, after)


def test_a_walk_comes_to_the_marked_priority_or_to_one_before_it(db: Db, waiting: list[dict[str, Any]]):
    for by_lanes, marked, below in product((True, False), (None, 7, 3, 0, 2**31 - 1), (CEILING, 2**31 - 1, 7, 1, -(2**31))):
        got = db.value("select runledger._next_walked('{v}', null, %s, %s, %s, '-infinity')", [by_lanes, below, marked])
        found = [r["priority"] for r in waiting if r["priority"] < below and (marked is None or r["priority"] > marked) and (not by_lanes or r["job_type"] == "v")]
        assert got == max(found, default=marked), (by_lanes, marked, below)


PICK = "select p.* from {} as x cross join lateral unnest(x.priorities, x.due_ats, x.ids, x.places::text[]) as p(priority, next_run_at, id, place)"


def test_ready_jobs_are_locked_in_order_from_a_position_on(db: Db, waiting: list[dict[str, Any]], now: datetime):
    order = sorted(waiting, key=lambda r: (r["next_run_at"], r["id"]))
    places = [("-infinity", FIRST), *((r["next_run_at"], r["id"]) for r in order[1:9:3]), (now - 5 * SECOND, FIRST), (now - 5 * SECOND, LAST), (now, LAST)]
    last = now - 4 * SECOND

    def behind(r: dict[str, Any], place: tuple[Any, UUID]) -> bool:
        return place[0] == "-infinity" or (r["next_run_at"], r["id"]) > place

    def locked(call: str, params: list[Any]) -> list[Any]:
        return db.all(PICK.format(call), params)

    db.execute("begin")
    for place, at, most in product(places, (now, last, last - INSTANT), (1, 3, 100)):
        for types, priority in (("t", 0), ("tv", 0), ("tuv", -(2**31)), ("v", 7), ("tv", 7)):
            mine = [r for r in order if r["job_type"] in types and r["priority"] == priority and behind(r, place)]
            ready = [{k: r[k] for k in ("priority", "next_run_at", "id", "place")} for r in mine if r["next_run_at"] <= at][:most]
            given = [list(types), priority, *place, most, at]
            calls = ["runledger._lock_ready(%s, %s, %s, %s, %s, %s)"]
            if most != 100:
                calls.append("runledger._lock_lanes(%s, %s, %s, %s, %s, %s)")
            for call in calls:
                assert locked(call, given) == ready, (call, given)
            if len(types) == 1:
                assert locked("runledger._lock_lane(%s, %s, %s, %s, %s, %s)", [types, *given[1:]]) == ready, given
    every = [r for r in order if r["job_type"] in "tv" and r["priority"] == 0]
    for place, until in product(places, places[1:]):
        want = [r["id"] for r in every if behind(r, place) and (r["next_run_at"], r["id"]) <= until]
        got = locked("runledger._lock_window('{t,v}', 0, %s, %s, %s, %s, 100)", [*place, *until])
        assert [r["id"] for r in got] == want, (place, until)
    db.execute("commit")


def test_the_next_due_job_of_some_types(db: Db, q: Ledger, waiting: list[dict[str, Any]], now: datetime):
    def due(types: str, after: datetime | None = None) -> datetime | None:
        return min((r["next_run_at"] for r in waiting if r["job_type"] in types and (not after or r["next_run_at"] > after)), default=None)

    ask = "select runledger._next_due_at(%s, %s)"
    for types in ("t", "u", "v", "tu", "tuv", "x", "tx"):
        assert db.value(ask, [list(types), now]) == due(types), types
    # What was walked over to the end does not count, for the open types alone.
    scope = db.value("select runledger._claim_scope('{t,u}')")
    for swept in (now - 5 * SECOND, now - 4 * SECOND - INSTANT, now - INSTANT, now):
        for priorities in ((), (7,), (2**31 - 1, 7, 0, -(2**31)), (9, 3)):
            put(db, Mark(scope=scope, looked_at=now, look_took=SECOND, swept_at=swept, lanes=lanes(now, *priorities)))
            assert db.value(ask, [["t", "u"], now]) == due("tu", swept), (swept, priorities)
            assert db.value(ask, [["u", "v"], now]) == due("uv")
    q.define("v", max_concurrency=1)
    assert db.value(ask, [["t", "u", "v"], now]) == due("v")
    q.row("pause_job_type", job_type="v")
    assert db.value(ask, [["t", "u", "v"], now]) == due("tu", now)
    assert db.value(ask, [["v"], now]) is None


def test_when_a_claim_looks_from_the_start(db: Db, q: Ledger, now: datetime):
    """A job lies behind the mark: it is met if the last look cost nothing, or is old enough, and nothing else is found."""
    ms = timedelta(milliseconds=1)
    own = q.on(db.conn)
    scope = db.value("select runledger._claim_scope('{t}')")
    behind, before, after = ({"run_at": now - x} for x in (5 * SECOND, SECOND + 100 * ms - INSTANT, NOTHING))
    rather, edge = {"run_at": now - SECOND - 100 * ms - INSTANT}, {"run_at": now - SECOND - 100 * ms}
    for took, age, jobs, most, found in (
        (NOTHING, 900 * ms, [behind], 1, 1), (10 * ms, NOTHING, [behind], 1, 0), (10 * ms, 200 * ms, [behind], 1, 0), (10 * ms, 200 * ms + INSTANT, [behind], 1, 1),
        (10 * ms, SECOND, [behind], 1, 1), (SECOND, 5 * SECOND, [behind], 1, 0), (SECOND, 20 * SECOND - INSTANT, [behind], 1, 0), (SECOND, 20 * SECOND, [behind], 1, 1),
        # Something is found, and less than wanted: a little before the mark, and no further.
        (NOTHING, NOTHING, [behind, after], 2, 1), (NOTHING, NOTHING, [before, after], 2, 2), (NOTHING, NOTHING, [edge, after], 2, 1), (NOTHING, NOTHING, [rather, after], 2, 1),
        (SECOND, NOTHING, [before, after], 2, 2), (SECOND, NOTHING, [before], 1, 1), (SECOND, NOTHING, [rather], 1, 0), (SECOND, NOTHING, [behind, after], 1, 1),
        (NOTHING, NOTHING, [behind, before, after], 3, 2), (NOTHING, NOTHING, [behind, before], 3, 2), (NOTHING, 200 * ms, [behind, behind], 1, 1),
    ):  # fmt: skip
        with db.conn.transaction(force_rollback=True):
            for job in jobs:
                own.enqueue(**job)
            put(db, Mark(scope, now - age, took, "-infinity", [(100, now - SECOND, LAST)]))
            assert len(own.claim(most)) == found, (took, age, jobs, most)


def test_a_mark_is_of_these_types_and_of_no_others(q: Ledger):
    """A type may have a comma in its name: what was left off for two types says nothing of a third."""
    for job_type in ("x", "y", "x,y"):
        q.define(job_type)
    first = q.enqueue("x,y")
    for job_type in ("x", "y", "x,y"):
        q.enqueue(job_type)
    assert len(q.claim(2, "x", "y")) == 2
    assert [r["job_id"] for r in q.claim(1, "x,y")] == [first]


@dataclass
class Story:
    """Claims one after another, and the mark that each leaves; written down in written/marks.out."""

    db: Db
    q: Ledger
    names: dict[UUID, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        return self.db.value("select stopped from public.test_clock")

    def put(self, job_type: str, priority: int, *late: float) -> None:
        """Jobs that became due that many seconds ago."""
        for seconds in late:
            job_id = self.q.enqueue(job_type, priority=priority, run_at=self.now() - timedelta(seconds=seconds))
            same = [n for n in self.names.values() if n.startswith(f"{job_type}{priority}")]
            self.names[job_id] = f"{job_type}{priority}{chr(97 + len(same))}"
            self.lines.append(f"    {self.names[job_id]} due {seconds} s ago")

    def wait(self, seconds: float) -> None:
        self.db.execute("update public.test_clock set stopped = stopped + %s", [timedelta(seconds=seconds)])
        self.lines.append(f"{seconds} s later")

    def claim(self, types: str, most: int) -> None:
        began = self.now()
        got = [self.names[r["job_id"]] for r in self.q.rows("claim_jobs", worker_id="w", job_types=list(types), max_jobs=most, lease_seconds=600)]
        text = self.q.conn.execute("select current_setting('runledger.claim_mark', true)").fetchone()
        mark = json.loads(text[0]) if text and text[0] else {}
        scopes = {self.db.value("select runledger._claim_scope(%s)", [list(s)]): s for s in ("t", "u", "tu", "tuv", "l")}

        def at(value: Any) -> str:
            if value in (None, "-infinity"):
                return "never" if value else "-"
            apart = (datetime.fromisoformat(value) - began).total_seconds()
            return f"{apart:+.6f}".rstrip("0").rstrip(".") + "s"

        places = [
            f"{p} up to {self.names.get(UUID(i), 'nothing') if UUID(i).int else 'its start'} {at(d)}"
            for p, d, i in zip(mark.get("priorities", []), mark.get("due_ats", []), mark.get("ids", []), strict=True)
        ]  # fmt: skip
        self.lines.append(f"claim {most} of {types}: {', '.join(got) or 'nothing'}")
        told = f"{scopes[mark['scope']]}, looked {at(mark['looked_at'])}, took {mark['look_took']}, swept {at(mark['swept_at'])}" if mark else "none"
        self.lines.append("; ".join([f"    mark of {told}", *places]))


def tell(story: Story) -> None:
    story.put("t", 7, 5, 4, 3)
    story.put("u", 7, 4.5)
    story.put("t", 0, 5, 5)
    story.put("v", 3, 6)
    for most in (2, 1, 5, 1):
        story.claim("tu", most)
    # Committed late: behind the mark, a little before it, and long before it.
    story.put("t", 7, 0.05)
    story.claim("tu", 1)
    story.put("t", 0, 30)
    story.put("t", 9, 20)
    story.claim("tu", 1)
    story.claim("tu", 3)
    story.wait(0.5)
    story.put("u", 7, 0.1, 0.2)
    story.put("t", -5, 0.1)
    story.claim("tu", 2)
    story.put("u", 7, 0.6)
    story.claim("tu", 2)
    story.wait(1)
    story.put("t", 0, 40, 0)
    story.claim("tu", 1)
    story.claim("tu", 5)
    story.wait(3)
    story.claim("tu", 5)
    # Other types have another mark, and a limited type beside open ones leaves the mark where it belongs.
    story.put("l", 8, 1, 1, 1)
    story.put("l", 0, 2)
    story.put("t", 7, 1, 1)
    story.put("u", 0, 1)
    story.claim("tul", 2)
    story.claim("tul", 2)
    story.claim("tul", 9)
    story.claim("u", 1)
    story.claim("l", 1)
    story.claim("tuv", 9)
    # A priority that nobody here handles between others, many of them, and more than a mark has room for.
    for priority in range(60, 40, -1):
        story.put("v", priority, 2)
    story.put("t", 50, 2, 1)
    story.put("t", 41, 2)
    story.claim("tu", 1)
    story.claim("tu", 3)
    story.claim("tuv", 30)
    for priority in range(160, 120, -1):
        story.put("t", priority, 2)
    story.claim("t", 38)
    story.claim("t", 38)


def test_a_story_of_claims(db: Db, q: Ledger, clock: Clock):
    lines = []
    for dear in (False, True):
        clock.noon()
        clock.stop()
        for job_type in "uv":
            q.define(job_type)
        q.define("l", max_concurrency=2)
        if dear:
            # Each look meets many entries, and takes a tenth of a second.
            db.execute("delete from runledger.job_attempts; delete from runledger.job_events; delete from runledger.job_queue")
            db.execute("create sequence public.walked")
            db.execute("grant update on public.test_clock to public; grant usage on public.walked to public")
            db.execute("create or replace function runledger._entries_walked() returns bigint language sql volatile as $$"
                       " update public.test_clock set stopped = stopped + interval '100 ms'; select nextval('public.walked') * 1000 $$")  # fmt: skip
            q.conn.execute("reset runledger.claim_mark")
        story = Story(db, q)
        tell(story)
        lines += [f"## {'Looks from the start are dear' if dear else 'Looks from the start cost little'}", *story.lines, ""]
    stands_written(HERE / "marks.out", "\n".join(lines))
    db.execute("delete from runledger.job_attempts; delete from runledger.job_events; delete from runledger.job_queue")


def test_slots_are_free_as_long_as_fewer_leases_live(db: Db, q: Ledger, now: datetime):
    q.define("l")
    leases = [q.leased("l", lease_seconds=s) for s in (10, 20, 30)]
    q.leased("t")
    q.row("cancel_job", job_id=leases[2]["job_id"])
    q.enqueue("l")
    for seconds, live in ((0, 3), (10, 2), (20, 1), (30, 0)):
        for beside in (NOTHING, -INSTANT):
            at = now + seconds * SECOND + beside
            held = live + (beside < NOTHING and seconds > 0)
            for most in (1, 2, 3, 4):
                assert db.value("select runledger._free_slots('l', %s, %s)", [most, at]) == max(most - held, 0), (most, seconds)
    with db.connect(admin=True).transaction() as tx:
        tx.connection.execute("select runledger._free_slots('l', 1, now())")
        assert db.value("select runledger._free_slots('l', 9, now())") == 0
        assert db.value("select runledger._free_slots('t', 9, now())") == 8
