"""Two or more sessions driven step by step. A step that must wait is waited for until the server says it waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.rows import dict_row

PATIENCE = 30.0


class Pending:
    """A statement under way in another thread."""

    def __init__(self, run: Callable[[], list[dict[str, Any]]]) -> None:
        self._rows: list[dict[str, Any]] = []
        self._error: BaseException | None = None

        def work() -> None:
            try:
                self._rows = run()
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> list[dict[str, Any]]:
        """The rows, once the statement ended; raises what it raised."""
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise TimeoutError("the statement is still under way")
        if self._error is not None:
            raise self._error
        return self._rows


class Session:
    """A named connection in autocommit mode, with explicit begin, commit and rollback."""

    def __init__(self, name: str, dsn: str) -> None:
        self.name = name
        self.conn = psycopg.connect(dsn, autocommit=True, row_factory=dict_row, application_name=name)
        self.pid = self.conn.info.backend_pid
        self._watcher = psycopg.connect(dsn, autocommit=True)
        self._pending: Pending | None = None

    def begin(self, isolation: str = "read committed") -> Session:
        self.execute(f"begin isolation level {isolation}")
        return self

    def commit(self) -> Session:
        self.execute("commit")
        return self

    def rollback(self) -> Session:
        self.execute("rollback")
        return self

    def execute(self, query: str, params: Any = None) -> list[dict[str, Any]]:
        cursor = self.conn.execute(query, params)
        return cursor.fetchall() if cursor.description else []

    def start(self, query: str, params: Any = None) -> Pending:
        """Send a statement without waiting for its end."""
        assert self._pending is None or self._pending.done, f"{self.name} is busy"
        self._pending = Pending(lambda: self.execute(query, params))
        return self._pending

    def blocked(self, by: Session | None = None) -> bool:
        """Wait until the started statement waits for another session (for `by`): True. If it ends instead: False."""
        assert self._pending is not None, f"{self.name} has started nothing"
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            row = self._watcher.execute("select pg_blocking_pids(%s)", [self.pid]).fetchone()
            assert row is not None
            if by.pid in row[0] if by else row[0]:
                return True
            if self._pending.done:
                return False
            time.sleep(0.002)
        raise TimeoutError(f"{self.name} neither waits nor ends")

    def close(self) -> None:
        if self._pending is not None and not self._pending.done:
            self._watcher.execute("select pg_terminate_backend(%s)", [self.pid])
            self._pending._thread.join(PATIENCE)
        self.conn.close()
        self._watcher.close()
