"""Threads with a connection each, begun at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg

from tests.support.database import Db
from tests.support.ledger import Ledger


def together(db: Db, n: int, work: Callable[[Ledger], list[Any]]) -> list[list[Any]]:
    """The results of n threads, each with a connection of its own, begun at once."""
    gate = threading.Barrier(n)
    results: list[list[Any]] = [[] for _ in range(n)]
    errors: list[BaseException] = []

    def run(i: int) -> None:
        try:
            with psycopg.connect(db.dsn, autocommit=True) as conn:
                gate.wait(30)
                results[i] = work(Ledger(db, conn))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
