"""What the view asks and how it draws, without a terminal: bounded statements, lines that fit, numbers that are right."""

from __future__ import annotations

import codecs
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from runledger import types as t
from runledger.cli import main
from runledger.top import draw, frame
from runledger.top.draw import PANELS, number, rate, span, spark
from runledger.top.feed import Answer, Feed, Look, Refusal
from runledger.top.live import History, Top
from runledger.top.terminal import keys, painted
from tests.cli.conftest import LONG, NASTY, WIDE
from tests.support.database import Db
from tests.support.flows import Flows, gate, step
from tests.support.ledger import Ledger

WIDTHS = (1, 20, 40, 60, 80, 99, 100, 119, 120, 150, 200)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def feed(db: Db) -> Any:
    made = Feed(db.dsn, Look("queues"), interval=1, wake=lambda: None)
    yield made
    made.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are sent."""
    sent: list[str] = []
    execute = psycopg.Cursor.execute

    def counted(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        sent.append(str(query))
        return execute(self, query, *args, **kwargs)

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    return sent


def crowd(q: Ledger) -> None:
    for name in (LONG, WIDE, NASTY, *(f"type{n:04}" for n in range(1000))):
        q.db.execute("insert into runledger.job_definitions (job_type) values (%s)", [name])
    for worker in range(10):
        q.enqueue_many(1000, "t")
        q.enqueue_many(3, LONG)
        assert len(q.claim(1000, "t", worker=f"w{worker}")) == 1000
        q.leased(NASTY, worker="worker " + NASTY)
    lease = q.leased(WIDE)
    q.fail(lease, kind="TERMINAL", message=NASTY * 20)
    Flows(q)(step("a"), gate("g"), workflow_type=NASTY)


def test_a_refresh_asks_a_handful_whatever_there_is(q: Ledger, feed: Feed, asked: list[str]):
    crowd(q)
    feed.seen(Look("queues"))  # with health, which the next ten seconds do without
    for panel in PANELS:
        asked.clear()
        view = feed.seen(Look(panel))
        assert len(asked) <= 3, asked
        assert not isinstance(view.rows, Refusal)
        assert len(view.rows) <= 1000
    for look, most in ((Look("queues", "type00"), 3), (Look("jobs", job_type="t"), 4), (Look("running", "evil"), 3)):
        asked.clear()
        view = feed.seen(look)
        assert len(asked) <= most
        assert view.rows
    # Not one of them asks for what has finished.
    assert not [query for query in asked if "list_jobs" in query or "job_metrics" in query]


def test_every_line_fits_every_screen(db: Db, q: Ledger, feed: Feed):
    crowd(q)
    top = Top(feed, interval=1)
    for panel in (*PANELS, "jobs"):
        top.press({name: str(n) for n, name in enumerate(PANELS, 1)}.get(panel, "1"))
        if panel == "jobs":
            top._go("jobs", NASTY)
        top.hear(feed.seen(Look(top.panel, None, top.of_type)))
        top.press("j")
        for width in WIDTHS:
            for height in (5, 24, 60):
                lines = top.frame(width, height)
                assert len(lines) == height
                assert max(line.cell_len for line in lines) <= width, (panel, width)
                words = "".join(painted(lines, width, colours=None, no_colour=True))
                assert not set("\x07\u202e\u2028\t\r\n") & set(words)
    assert max(cell_len(line.plain) for line in frame(db.dsn, 120)) <= 120


def test_the_overlays_fit_too(q: Ledger, feed: Feed):
    lease = q.leased()
    q.row("log_job", **lease, level="info", message=NASTY * 30)
    top = Top(feed, interval=1)
    top.press("2")
    top.hear(feed.seen(Look("running")))
    for key in ("?", "h", "w", "t"):
        top.press(key)
        while not feed._inbox.empty():
            task = feed._inbox.get()
            if not isinstance(task, Look):
                top.hear(Answer(task.then, feed._carried_out(task)))
        assert top._overlay is not None
        for width in WIDTHS[1:]:
            lines = top.frame(width, 24)
            assert len(lines) == 24
            assert max(line.cell_len for line in lines) <= width
        top.press("escape")


def test_a_question_takes_text_and_backspace_and_forgets_at_escape(feed: Feed, q: Ledger):
    top = Top(feed, interval=1)
    top.hear(feed.seen(Look("queues")))
    top.press("p")
    assert "pause type t? y/n" in top.frame(80, 24)[-2].plain
    for key in ("x", "down", "enter"):
        top.press(key)  # neither y nor n: it asks on
    top.press("y")
    for key in ("a", "é", "b", "backspace", "up"):
        top.press(key)
    assert "none: aé▏" in top.frame(80, 24)[-2].plain
    for key in "x" * 300:
        top.press(key)
    assert top.frame(80, 24)[-2].plain.rstrip().endswith("xxx▏")
    top.press("escape")
    assert "nothing was done" in top.frame(80, 24)[-2].plain
    assert feed._inbox.empty()


def test_what_comes_late_is_not_shown(feed: Feed, q: Ledger):
    top = Top(feed, interval=1)
    late = feed.seen(Look("queues"))
    top.press("2")
    top.hear(late)
    assert "…" in top.frame(80, 24)[5].plain
    top.hear(feed.seen(Look("running")))
    assert "no job is running" in "".join(line.plain for line in top.frame(80, 24))


def test_no_key_acts_on_a_row_that_is_not_to_be_seen(feed: Feed, q: Ledger):
    top = Top(feed, interval=1)
    top.hear(feed.seen(Look("queues")))
    for key in ("/", "z", "enter"):
        top.press(key)
    top.press("p")
    assert "nothing is selected" in top.frame(80, 24)[-2].plain
    top.hear(feed.seen(Look("queues", "z")))
    assert "nothing has that in its name" in top.frame(80, 24)[5].plain


def test_a_bug_in_the_thread_is_not_silence(feed: Feed, q: Ledger):
    class Bug(Exception): ...

    def broken(_: Any) -> None:
        raise Bug

    feed.do(broken, lambda _: None)
    feed.start()
    feed._thread.join(20)
    top = Top(feed, interval=1)
    with pytest.raises(Bug):
        for message in feed.take():
            top.hear(message)


def items(*args: Any, **kwargs: Any) -> list[draw.Item]:
    return [row.item() for row in draw.rows_of(*args, **kwargs)]


def queue(**fields: Any) -> t.QueueSummary:
    base: dict[str, Any] = {
        "job_type": "t", "is_enabled": True, "disabled_reason": None, "is_paused": False, "paused_reason": None,
        "max_concurrency": None, "workers": 1, "ready": 0, "delayed": 0, "counted_to": 100, "oldest_ready_at": None,
        "running": 0, "lost": 0, "dead": 0, "finished": 0, "failed": 0,
    }  # fmt: skip
    return t.QueueSummary(**{**base, **fields})


@pytest.mark.parametrize(
    "fields, state",
    [
        ({}, "idle"),
        ({"running": 1}, "busy"),
        ({"ready": 1, "oldest_ready_at": NOW}, "ready"),
        ({"ready": 1, "oldest_ready_at": NOW - timedelta(seconds=11)}, "waiting"),
        ({"ready": 1, "oldest_ready_at": NOW - timedelta(seconds=61)}, "slow"),
        ({"ready": 1, "oldest_ready_at": NOW - timedelta(seconds=11), "workers": 0}, "no worker"),
        ({"ready": 1, "oldest_ready_at": NOW - timedelta(seconds=99), "workers": 0, "running": 1}, "slow"),
        ({"ready": 1, "oldest_ready_at": NOW, "max_concurrency": 2, "running": 2}, "at limit"),
        ({"running": 2, "lost": 1}, "lost"),
        ({"ready": 1, "oldest_ready_at": NOW, "is_paused": True, "lost": 1}, "paused"),
        ({"is_enabled": False}, "disabled"),
    ],
)
def test_the_state_of_a_type_says_what_is_worst(fields: dict[str, Any], state: str):
    [item] = items("queues", [queue(**fields)], now=NOW, rates={}, contains=None)
    assert item.cells[1].plain == state


def test_whoever_works_without_registering_is_not_called_nobody():
    alone = queue(ready=1, oldest_ready_at=NOW - timedelta(seconds=30), workers=0)
    [item] = items("queues", [alone], now=NOW, rates={"t": draw.Rates(0.5, 0.0)}, contains=None)
    assert item.cells[1].plain == "waiting"


def test_what_is_in_trouble_stands_first_and_rows_keep_their_places():
    rows = [
        queue(job_type="a"), queue(job_type="b", running=1), queue(job_type="d", is_paused=True),
        queue(job_type="x", ready=1, oldest_ready_at=NOW - timedelta(hours=1)),
        queue(job_type="c", ready=1, oldest_ready_at=NOW - timedelta(hours=9)),
    ]  # fmt: skip
    found = items("queues", rows, now=NOW, rates={}, contains=None)
    assert [item.key for item in found] == ["c", "x", "b", "d", "a"]


def test_a_count_that_reached_its_bound_says_so():
    [item] = items("queues", [queue(ready=60, delayed=40)], now=NOW, rates={}, contains=None)
    assert item.cells[2].plain == "60+"


def test_rates_are_differences_of_counters_by_the_clock_of_the_server():
    history = History()
    assert history.rates()[0].finished is None
    for n in range(30):
        history.add(NOW + timedelta(seconds=2 * n), [queue(finished=10 * n, failed=n), queue(job_type="u", finished=0)])
        history.add(NOW + timedelta(seconds=2 * n), [])  # the same instant again tells nothing
    total, by_type = history.rates()
    assert (total.finished, total.failed, by_type["t"].finished, by_type["u"].finished) == (5, 0.5, 5, 0)
    assert by_type["t"].course == (5.0,) * 20
    history.add(NOW + timedelta(seconds=60), [queue(job_type="new", finished=1000, failed=0)])
    assert history.rates()[1]["new"].finished == 0
    history.add(NOW + timedelta(seconds=62), [queue(finished=None, failed=None)])
    assert history.rates()[0].finished is None


def test_the_help_fits_the_smallest_usual_terminal():
    assert max(map(cell_len, draw.HELP.splitlines())) <= 76


def test_words_for_numbers():
    spans = {0.4: "0s", -3: "-3s", 59.9: "59s", 250: "4m10s", 11100: "3h05m", 1047600: "12d03h", 10**7: "115d"}
    assert {seconds: span(seconds) for seconds in spans} == spans
    assert [number(n) for n in (0, 99_999, 123_456, 123_456_789)] == ["0", "99,999", "123k", "123M"]
    assert [rate(r) for r in (None, 0.0, 0.25, 12.34, 1234.5)] == ["-", "0", "0.25", "12.3", "1,234"]
    assert spark([0, 1, 4, 8], 6) == "  ▁▁▄█"
    assert spark([0, 0], 4) == "    "
    assert [draw.bar(d, 4, cells=8).plain for d in (0, 1, 4, 9)] == ["────────", "━━──────", "━━━━━━━━", "━━━━━━━━"]


def test_keys_are_understood_by_what_terminals_send():
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    assert keys(b"jk\x1b[A\x1bOB\x1b[6~\r\t\x7f\x1b[15~\x1b[Zq", decoder) == [
        "j", "k", "up", "down", "page down", "enter", "tab", "backspace", "back tab", "q",
    ]  # fmt: skip
    assert keys("é電".encode()[:3], decoder) == ["é"]
    assert keys("電".encode()[1:], decoder) == ["電"]
    assert keys(b"\x1b", decoder) == ["escape"]
    assert keys(b"\x00\x01\xff", decoder) == ["\ufffd"]


def test_once_prints_everything_and_ends(db: Db, q: Ledger, monkeypatch: pytest.MonkeyPatch):
    q.row("register_worker", worker_id="worker-one", job_types=["t"])
    q.leased()
    result = CliRunner().invoke(main, ["top", "--once", "--dsn", db.dsn])
    assert result.exit_code == 0
    for words in ("PostgreSQL", "Queues  1", "Running  1", "Workers  2", "Dead letters  none", "Workflows  none"):
        assert words in result.output
    assert max(map(cell_len, result.output.splitlines())) <= 120
    assert "\x1b" not in result.output


def test_it_cannot_begin_without_a_database():
    result = CliRunner().invoke(main, ["top", "--dsn", "host=/nowhere port=1"])
    assert result.exit_code == 1
    assert "connection" in result.output
    assert CliRunner().invoke(main, ["top", "--interval", "0.1"]).exit_code == 2


def test_without_the_schema_it_says_what_is_missing(empty_db: Db):
    result = CliRunner().invoke(main, ["top", "--dsn", empty_db.dsn])
    assert result.exit_code == 0
    assert "runledger migrate --check" in result.output


def test_a_frame_is_the_same_with_and_without_colours(feed: Feed, q: Ledger):
    top = Top(feed, interval=1)
    top.hear(feed.seen(Look("queues")))
    plain = list(painted(top.frame(80, 24), 80, colours=None, no_colour=True))
    assert all("\x1b[3" not in line for line in plain)
    coloured = list(painted(top.frame(80, 24), 80, colours="standard", no_colour=False))
    assert any("\x1b[" in line for line in coloured)
