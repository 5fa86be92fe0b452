"""The roll-up beside writers that come late, come back or give up: each event is counted once, and readers always see all."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.concurrency.threads import together
from tests.functions.operations.test_metrics import happened, over_tenants, roll_up_all, slots, totals
from tests.support.database import Db
from tests.support.ledger import Ledger

WRITERS, ROUNDS = 4, 40


@pytest.mark.parametrize("seed", range(3))
def test_every_event_is_counted_once_whatever_commits_when(q: Ledger, db: Db, seed: int):
    turns = iter(range(WRITERS + 1))

    def work(mine: Ledger) -> list[Any]:
        turn = next(turns)
        return roll_up(mine) if turn == WRITERS else write(mine, random.Random(f"{seed} {turn}"))

    def write(mine: Ledger, chance: random.Random) -> list[Any]:
        for _ in range(ROUNDS):
            mine.conn.execute("begin")
            # Several event ids a transaction, drawn in turns with the others.
            for _ in range(chance.randint(1, 4)):
                mine.enqueue()
                for lease in mine.claim(chance.randint(1, 2)):
                    mine.finish_one({k: lease[k] for k in ("job_id", "lease_token")}, "SUCCEEDED")
            mine.conn.execute("rollback" if chance.random() < 0.3 else "commit")
        return []

    def roll_up(mine: Ledger) -> list[Any]:
        seen = []
        for _ in range(ROUNDS * 3):
            mine.rows("run_maintenance")
            seen.append(mine.row("job_metrics")["succeeded_24h"])
        return seen

    [seen] = [r for r in together(db, WRITERS + 1, work) if r]
    assert seen == sorted(seen), "what was counted does not go away"
    before = q.row("job_metrics")["succeeded_24h"]
    roll_up_all(q)
    assert slots(db) == happened(db)
    assert totals(db) == over_tenants(happened(db))
    assert before == slots(db)["t", None, "SUCCEEDED"] == q.row("job_metrics")["succeeded_24h"] > 0
