"""Functions are replaced under running workers: no job fails, none runs twice, nobody has to stop."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from runledger import App, Client
from runledger.config import Config
from runledger.migrate import migrate
from runledger.supervisor import Supervisor

pytestmark = pytest.mark.slow


def test_workers_go_on_while_functions_and_views_are_replaced(db, tree):
    ran: Counter[int] = Counter()
    app = App()
    app.register("a", lambda job: ran.update([job.payload["n"]]))
    done = threading.Event()
    with Client.connect(db.dsn) as client:
        app.define(client)

        def produce() -> None:
            with Client.connect(db.dsn) as producer:
                n = 0
                while not done.is_set():
                    producer.enqueue_jobs([{"job_type": "a", "payload": {"n": n + i}} for i in range(10)])
                    n += 10

        producing = threading.Thread(target=produce)
        with Supervisor(app, db.dsn, config=Config(poll_interval_ms=50)):
            producing.start()
            try:
                for n in range(4):
                    before = sum(ran.values())
                    while sum(ran.values()) < before + 50:
                        time.sleep(0.01)
                    tree.write(
                        "functions/core/_age.sql", (tree.root / "functions/core/_age.sql").read_text() + f"-- {n}\n"
                    )
                    assert migrate(db.dsn).shelf_applied
            finally:
                done.set()
                producing.join()
            while client.list_jobs(status="PENDING", max_rows=1) or client.list_jobs(status="LEASED", max_rows=1):
                time.sleep(0.01)
    assert set(ran.values()) == {1}
    assert db.value("select count(*) from runledger.job_queue where status <> 'SUCCEEDED'") == 0
    assert db.value("select count(*) from runledger.job_attempts where disposition is distinct from 'SUCCEEDED'") == 0
