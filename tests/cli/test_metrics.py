"""`runledger metrics`: printed once, and served; what is shown when the database is gone, foreign, old or stuck."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner

from runledger import metrics
from runledger.cli import main
from tests.support.database import Db
from tests.support.ledger import Ledger
from tests.support.prometheus import parse
from tests.support.servers import ROOT

Get = Callable[[str], tuple[int, str]]


@contextlib.contextmanager
def serving(dsn: str, **options: float) -> Iterator[Get]:
    server = metrics.server(dsn, ("127.0.0.1", 0), **options)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}", timeout=60) as answer:
                if path == "/metrics":
                    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    try:
        yield get
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def get(db: Db) -> Iterator[Get]:
    Ledger(db).define("t")
    with serving(db.dsn) as get:
        yield get


def test_it_prints_once(db: Db):
    Ledger(db).define("t")
    done = CliRunner().invoke(main, ["--dsn", db.dsn, "metrics"])
    assert done.exit_code == 0, done.output
    assert parse(done.output)["runledger_jobs_pending"][{"job_type": "t"}] == 0


def test_an_address_that_is_none_is_refused():
    for wrong in ("9464", "localhost:x", "localhost:70000"):
        done = CliRunner().invoke(main, ["metrics", "--listen", wrong])
        assert done.exit_code == 2
        assert "127.0.0.1:9464" in done.output


def test_it_serves(db: Db, get: Get):
    Ledger(db).enqueue()
    status, text = get("/metrics")
    assert status == 200
    assert parse(text)["runledger_jobs_pending"][{"job_type": "t"}] == 1
    assert get("/healthz") == get("/readyz") == (200, "ok\n")
    assert get("/")[0] == 404
    Ledger(db).enqueue()
    assert parse(get("/metrics")[1])["runledger_jobs_pending"][{"job_type": "t"}] == 2
    backends = "select count(*) from pg_stat_activity where application_name = 'runledger-metrics' and datname = current_database()"
    assert db.value(backends) == 1


def test_it_ends_when_told(db: Db):
    command = [sys.executable, "-m", "runledger", "--dsn", db.dsn, "metrics", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    _, _, port = process.stderr.readline().strip().rpartition(":")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
        assert answer.status == 200
    process.terminate()
    assert process.communicate(timeout=30) == (None, "")
    assert process.returncode == 0


def test_an_observer_may_scrape(db: Db, stranger: str):
    db.execute(f"select runledger.grant_access('{stranger}', 'observer')")
    with serving(db.dsn.replace("runledger_owner", stranger)) as get:
        assert get("/readyz") == (200, "ok\n")
        assert get("/metrics")[0] == 200


def test_a_connection_that_was_cut_comes_back(db: Db, get: Get):
    assert get("/readyz")[0] == 200
    for path in ("/readyz", "/metrics"):
        assert db.all(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
            " where application_name = 'runledger-metrics' and datname = current_database()"
        )
        assert get(path)[0] == 200


def test_a_database_that_is_not_there():
    with serving("host=127.0.0.1 port=1 dbname=nowhere") as get:
        assert get("/healthz") == (200, "ok\n")
        for path in ("/readyz", "/metrics"):
            status, reason = get(path)
            assert status == 503
            assert "refused" in reason


def test_a_database_without_the_schema(empty_db: Db):
    with serving(empty_db.dsn) as get:
        for path in ("/readyz", "/metrics"):
            status, reason = get(path)
            assert status == 503
            assert "runledger" in reason
        assert get("/healthz")[0] == 200


@pytest.mark.corrupts
def test_a_schema_that_does_not_fit(db: Db, get: Get):
    assert get("/readyz")[0] == 200
    db.execute("delete from runledger._migrations where number = (select max(number) from runledger._migrations)")
    status, reason = get("/readyz")
    assert status == 503
    assert "run runledger migrate" in reason
    db.execute("update runledger._shelves set contract = 99")
    status, reason = get("/readyz")
    assert status == 503
    assert "contract 99" in reason


def test_a_scrape_that_has_to_wait_ends(db: Db):
    with serving(db.dsn, timeout=0.5) as get:
        assert get("/metrics")[0] == 200
        blocker = db.connect(admin=True, autocommit=False)
        blocker.execute("lock table runledger.job_queue in access exclusive mode")
        status, reason = get("/metrics")
        assert status == 503
        assert "timeout" in reason
        assert get("/readyz")[0] == 200
        blocker.rollback()
        assert get("/metrics")[0] == 200
