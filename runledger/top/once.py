"""All panels at once, printed and done: for files, pipes and reports."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from runledger.top import draw
from runledger.top.feed import Feed, Look, Refusal

_MOST = 20


def frame(dsn: str, width: int) -> Iterator[Text]:
    """Lines of at most `width` cells: the head, then each panel with its first rows."""
    for line in _lines(dsn, width):
        line.truncate(width, overflow="ellipsis")
        line.rstrip()
        yield line


def _lines(dsn: str, width: int) -> Iterator[Text]:
    feed = Feed(dsn, Look("queues"), interval=0, wake=lambda: None)
    try:
        views = {panel: feed.seen(Look(panel)) for panel in draw.PANELS}
        first = views["queues"]
        status = draw.Status(feed.place, first.now, 0, "", "", first.queues, first.health)
        yield from draw.header(status, width)
        for panel, title in draw.PANELS.items():
            view = views[panel]
            yield Text("")
            if isinstance(view.rows, Refusal):
                yield Text(f" {title}", "bold")
                yield from (Text(" ") + line for line in draw.refused(view.rows, width - 2))
                continue
            rows = draw.rows_of(panel, view.rows, now=view.now, rates={}, contains=None)
            yield Text.assemble((f" {title}", "bold"), (f"  {len(rows)}" if rows else "  none", "bright_black"))
            if rows:
                head, lines = draw.table(panel, [row.item() for row in rows[:_MOST]], width=width)
                yield head
                yield from lines
            if len(rows) > _MOST:
                yield Text(f" … and {len(rows) - _MOST} more", "bright_black")
    finally:
        feed.close()
