"""`runledger metrics --listen`: what there is to watch, over HTTP, for Prometheus and for whoever restarts things.

`/metrics` is the text of `metrics_prometheus()`, `/healthz` says that this process runs, `/readyz` that the database
answers and its schema fits. One connection serves all; it comes back by itself, and no request waits for longer than
its limit, whatever the network does.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import psycopg

from runledger import _calls
from runledger._link import ERRORS, brief
from runledger.client import Client
from runledger.migrate import CONTRACT, migration_head

T = TypeVar("T")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Unavailable(Exception):
    """Why there is nothing to show; the message is safe to show to anybody who may scrape."""


class Exporter:
    """The database as seen by scrapes: one connection, one call at a time, each within `timeout` seconds."""

    def __init__(self, dsn: str, *, timeout: float = 8.0) -> None:
        """Nothing is connected before the first call."""
        self._dsn = dsn
        self._timeout = timeout
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def metrics(self) -> str:
        """Return the text of `metrics_prometheus()`; `Unavailable` if there is none now."""
        return self._ask(lambda client: client.metrics_prometheus())

    def ready(self) -> None:
        """Raise `Unavailable` unless the database answers and its schema is one for this package."""
        found = self._ask(lambda client: client.schema_info())
        if found.contract != CONTRACT:
            raise Unavailable(f"the schema has contract {found.contract}, this package needs {CONTRACT}")
        if found.migration_head < (head := migration_head()):
            raise Unavailable(f"the schema is at migration {found.migration_head} of {head}: run runledger migrate")

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, question: Callable[[Client], T]) -> T:
        if not self._lock.acquire(timeout=self._timeout):
            raise Unavailable("the request before this one is still under way")
        try:
            # A connection that broke since the last request tells so when it is used: then a new one is asked.
            for is_last in (self._connection is None, True):
                try:
                    return self._ask_once(question)
                except ERRORS as error:
                    alive = self._connection is not None and not self._connection.closed
                    if not alive:
                        self.close()
                    if alive or is_last:
                        raise Unavailable(brief(error)) from error
            raise AssertionError("unreachable")
        finally:
            self._lock.release()

    def _ask_once(self, question: Callable[[Client], T]) -> T:
        if self._connection is None:
            seconds = max(2, round(self._timeout / 2))
            self._connection = psycopg.connect(
                self._dsn,
                connect_timeout=seconds,
                prepare_threshold=None,  # a pooler may stand between
                client_encoding="UTF8",
                fallback_application_name="runledger-metrics",
            )
            self._connection.read_only = True
        connection = self._connection
        # The server ends a long call by itself; a server that is gone cannot: then the socket is shut.
        watchdog = threading.Timer(self._timeout + 1, _shut, [connection.fileno()])
        watchdog.start()
        try:
            with connection.transaction():
                connection.execute(_calls.LOCAL_TIMEOUT, [f"{round(self._timeout * 1000)}ms"])
                return question(Client(connection))
        finally:
            watchdog.cancel()


def _shut(fileno: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fileno)) as twin:
        twin.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10  # seconds a client may take to send its request
    server_version = "runledger"
    sys_version = ""

    def do_GET(self) -> None:
        status, text, kind = HTTPStatus.OK, "ok\n", "text/plain; charset=utf-8"
        try:
            match self.path.partition("?")[0]:
                case "/metrics":
                    text, kind = self.server.exporter.metrics(), CONTENT_TYPE
                case "/readyz":
                    self.server.exporter.ready()
                case "/healthz":
                    pass
                case _:
                    status, text = HTTPStatus.NOT_FOUND, "/metrics, /healthz, /readyz\n"
        except Unavailable as error:
            status, text = HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n"
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: a line per scrape is noise."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], exporter: Exporter) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.exporter = exporter
        super().__init__(address, _Handler)

    def server_close(self) -> None:
        """Stop listening, and close the connection to the database."""
        super().server_close()
        self.exporter.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who hung up before the answer does not miss it."""


def server(dsn: str, address: tuple[str, int], *, timeout: float = 8.0) -> ThreadingHTTPServer:
    """Return a server that listens; `serve_forever()` answers. Port 0 takes any, see `server_port`."""
    return _Server(address, Exporter(dsn, timeout=timeout))
