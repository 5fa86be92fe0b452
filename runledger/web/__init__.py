"""A page in the browser over the public functions: lists, timelines, the picture of a workflow, health.

Read-only unless it is told otherwise. It has no SQL of its own, no state but who is signed in, and needs nothing from
outside: the standard library serves it, `static/` has its style and script. `_server` is the door, `_source` asks the
database, `_overview`, `_lists` and `_details` are the pages, `_dag` draws, `_frame` and `_markup` write HTML.
"""

from __future__ import annotations

from runledger.web._server import Server, Settings

__all__ = ["Server", "Settings"]
