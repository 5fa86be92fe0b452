"""`client`: one test body for both clients. The async one is driven by an event loop of its own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from runledger import AsyncClient, Client
from tests.support.database import Db


class Driver:
    """Opens clients of one kind on `db` and gives both kinds the same, blocking face."""

    def __init__(self, db: Db, kind: str) -> None:
        self.db = db
        self.kind = kind
        self._runner = asyncio.Runner() if kind == "async" else None
        self._closers: list[Callable[[], object]] = []

    def wait(self, value: Any) -> Any:
        """The result of an awaitable; anything else as it is."""
        if not inspect.isawaitable(value):
            return value
        assert self._runner is not None

        async def awaited() -> Any:
            return await value

        return self._runner.run(awaited())

    def connection(self, **options: Any) -> Any:
        """A connection of the caller's own, of the sort this kind of client takes."""
        kind = psycopg.AsyncConnection if self._runner else psycopg.Connection
        connection = self.wait(kind.connect(self.db.dsn, **options))
        self._closers.append(connection.close)
        return connection

    def pool(self, max_size: int = 2) -> Any:
        kind = AsyncConnectionPool if self._runner else ConnectionPool
        pool = kind(self.db.dsn, min_size=1, max_size=max_size, open=False)
        self.wait(pool.open())
        self._closers.append(pool.close)
        return pool

    def client(self, source: Any) -> Any:
        return Face(self, (AsyncClient if self._runner else Client)(source))

    def connect(self, **options: Any) -> Any:
        client = self.wait((AsyncClient if self._runner else Client).connect(self.db.dsn, **options))
        self._closers.append(client.close)
        return Face(self, client)

    def together(self, *works: Callable[[], Any]) -> list[Any]:
        """The results of blocking works side by side: in threads, or as tasks of one event loop.

        The async kind blocks where it awaits; a work that would block the loop itself belongs into `meanwhile`.
        """
        if self._runner is None:
            with ThreadPoolExecutor(len(works)) as threads:
                return [future.result() for future in [threads.submit(work) for work in works]]

        async def gathered() -> list[Any]:
            return await asyncio.gather(*(work() for work in works))

        return self._runner.run(gathered())

    def close(self) -> None:
        for close in reversed(self._closers):
            self.wait(close())
        if self._runner:
            self._runner.close()


class Face:
    """A client, or a handle, whose methods block."""

    def __init__(self, driver: Driver, client: Any) -> None:
        self.driver = driver
        self.client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if not callable(method):
            return method
        return lambda *args, **kwargs: self.driver.wait(method(*args, **kwargs))


@pytest.fixture(params=["sync", "async"])
def driver(db: Db, request: pytest.FixtureRequest) -> Iterator[Driver]:
    driver = Driver(db, request.param)
    yield driver
    driver.close()


@pytest.fixture
def client(driver: Driver) -> Any:
    """A client with a connection of its own."""
    return driver.connect()
