"""A dump and its restore: leases, tokens, history and grants are what they were."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from runledger import Client, embedded
from runledger.migrate import migrate
from runledger.testing import DatabaseServer
from tests.runner.conftest import until
from tests.support import servers, standby
from tests.support.database import Db

pytestmark = pytest.mark.slow


def tool(server: DatabaseServer, name: str) -> Path:
    """That of the server, or of a newer one: some sets of binaries have no tools."""
    assert server.server
    path = server.server.bindir / name
    return path if path.exists() else embedded.find_binaries(18) / name


@pytest.fixture
def dump(db: Db, tmp_path) -> Callable[[], Path]:
    def make() -> Path:
        file = tmp_path / "dump"
        subprocess.run([tool(db.server, "pg_dump"), "-Fc", "-n", "runledger", "-f", file, "-d", db.dsn], check=True)
        return file

    return make


def restore(file: Path, server: DatabaseServer, dsn: str) -> str:
    """What pg_restore complained of."""
    argv = [tool(server, "pg_restore"), "-d", dsn, file]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stderr


@pytest.fixture
def busy(db: Db) -> Iterator[Client]:
    """A ledger with a live lease, a dead letter, a schedule, a workflow and somebody who may look."""
    with Client.connect(db.dsn) as client:
        client.define_job("a", max_attempts=1)
        client.upsert_schedule("nightly", "a", cron="0 3 * * *")
        client.enqueue_workflow("w", [{"key": "one", "job_type": "a"}, {"key": "gate", "external": True}])
        client.enqueue_job("a", {"to": "a@example.org"}, idempotency_key="once")
        (dead,) = client.claim_jobs("w", ["a"], lease_seconds=3600)
        client.fail_job(dead.job_id, dead.lease_token, error_code="smtp.busy", error_message="no", kind="TERMINAL")
        yield client


def test_a_restored_ledger_is_the_one_that_was_dumped(db, empty_db, busy, dump, new_role):
    role = new_role("looker")
    busy.grant_access(role, "observer")
    (lease,) = busy.claim_jobs("w", ["a"], lease_seconds=3600)
    file = dump()
    assert restore(file, empty_db.server, empty_db.dsn) == ""
    with Client.connect(empty_db.dsn) as there:
        assert there.fsck() == []
        assert migrate(empty_db.dsn, check=True).status == "CURRENT"
        # The worker of the old place finishes in the new one, and what is claimed next has a higher token.
        there.succeed_job(lease.job_id, lease.lease_token)
        again = there.enqueue_job("a", {"to": "a@example.org"}, idempotency_key="once")
        assert again.disposition == "EXISTING"
        there.enqueue_job("a")
        assert all(job.lease_token > lease.lease_token for job in there.claim_jobs("w", ["a"], max_jobs=10))
        assert there.health() != []
    with psycopg.connect(f"{empty_db.admin_dsn} options='-c role={role}'", autocommit=True) as looker:
        assert looker.execute("select count(*) from runledger.jobs").fetchone() != (0,)
    empty_db.execute(f"drop owned by {role}")


def test_on_another_server_the_grants_come_back_with_the_roles(db, busy, dump, new_role):
    """A dump has no roles: its grants to those that are missing fail, and migrate gives them again."""
    role = new_role("looker")
    busy.grant_access(role, "observer")
    file = dump()
    with DatabaseServer.start(db.server.server.bindir) as other:
        place = other.create_empty()
        assert f'role "{role}" does not exist' in restore(file, other, place.dsn)
        with psycopg.connect(place.admin_dsn, autocommit=True) as admin:
            assert migrate(place.dsn, check=True).status == "CURRENT", "a role that is gone is nobody's business"
            admin.execute(f"create role {role} login")
            found = migrate(place.dsn, check=True)
            assert (found.status, found.detail) == ("PENDING", f"roles without what they were granted: {role}")
            assert migrate(place.dsn).shelf_applied
            assert migrate(place.dsn, check=True).status == "CURRENT"
            admin.execute(f"set role {role}")
            assert admin.execute("select count(*) from runledger.jobs").fetchone() != (0,)


def test_under_another_owner_what_operators_did_stays_as_it_was(db, empty_db, busy, dump, new_role):
    """A dump says what the old owner may not do; the new one is held to it by migrate."""
    owner = new_role("owner")
    empty_db.conn.execute(f"grant create on database {empty_db.database.name} to {owner}")
    busy.pause_job_type("a", reason="for the dump")
    file = dump()
    dsn = make_conninfo(empty_db.admin_dsn, user=owner)
    argv = [tool(db.server, "pg_restore"), "--no-owner", "--no-acl", "-d", dsn, file]
    subprocess.run(argv, check=True)
    found = migrate(dsn, check=True)
    assert (found.status, found.detail) == ("PENDING", f"may change operator_actions: {owner}")
    assert migrate(dsn).shelf_applied
    assert migrate(dsn, check=True).status == "CURRENT"
    with psycopg.connect(dsn, autocommit=True) as there:
        for change in ("delete from", "truncate"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                there.execute(f"{change} runledger.operator_actions")
        assert Client(there).list_operator_actions(action="pause_job_type") != []
    empty_db.execute(f"drop owned by {owner} cascade")


class Work:
    """A producer and a worker of a few lines each, that do not stop for anything."""

    def __init__(self, dsn: str) -> None:
        self._dsn, self._over = dsn, threading.Event()
        self.ended: list[UUID] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with Client.connect(self._dsn) as client:
            while not self._over.is_set():
                client.enqueue_jobs([{"job_type": "a", "payload": {"n": n}} for n in range(10)])
                client.enqueue_workflow(
                    "w", [{"key": "x", "job_type": "a"}, {"key": "y", "job_type": "a", "after_success": ["x"]}]
                )
                leases = client.claim_jobs("w", ["a"], max_jobs=12)
                client.finish_jobs([
                    {"job_id": x.job_id, "lease_token": x.lease_token, "outcome": "SUCCEEDED"} for x in leases[1:]
                ])  # fmt: skip
                self.ended += [x.job_id for x in leases[1:]]

    def until(self, count: int) -> None:
        while len(self.ended) < count:
            assert self._thread.is_alive()
            time.sleep(0.01)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def goes_on(dsn: str) -> None:
    """Nothing is unsound, and what was leased is taken back and done."""
    with Client.connect(dsn) as there:
        assert [f for f in there.fsck() if f.severity == "ERROR"] == []
        there.run_maintenance()
        there.enqueue_job("a")
        (lease,) = there.claim_jobs("later", ["a"])
        there.succeed_job(lease.job_id, lease.lease_token)
        assert there.fsck() == []


def test_a_dump_that_is_taken_at_work_is_a_sound_ledger(db, empty_db, dump):
    with Client.connect(db.dsn) as client:
        client.define_job("a")
    with Work(db.dsn) as work:
        work.until(300)
        before = set(work.ended)
        file = dump()
        work.until(len(work.ended) + 50)
    assert restore(file, empty_db.server, empty_db.dsn) == ""
    done = set(empty_db.column("select id from runledger.job_queue where status = 'SUCCEEDED'"))
    assert before <= done < set(work.ended), "what was done before it began, and not what came later"
    goes_on(empty_db.dsn)


def test_recovery_to_a_point_between_two_commits_is_a_sound_ledger(pytestconfig):
    """A base backup that is taken at work, and the WAL up to a transaction in the middle of it."""
    bindir = servers.own(pytestconfig.getoption("--pg"))
    with embedded.Server(bindir, settings=standby.SETTINGS) as first:
        migrate(first.dsn())
        with Client.connect(first.dsn()) as client:
            client.define_job("a")
        with Work(first.dsn()) as work:
            work.until(100)
            data = standby.base_backup(first)
            work.until(len(work.ended) + 200)
            with psycopg.connect(first.dsn(), autocommit=True) as conn:
                (target,) = conn.execute("select txid_current()").fetchone()
            acknowledged = set(work.ended)
            work.until(len(work.ended) + 200)
        first.halt("fast")
        standby.recover_to(data, target, wal=first.data / "pg_wal")
        with embedded.Server(bindir, data=data, settings=standby.SETTINGS) as second:
            with psycopg.connect(second.dsn(), autocommit=True) as conn:
                until(lambda: conn.execute("select not pg_is_in_recovery()").fetchone()[0], "the end of recovery")
                done = {row[0] for row in conn.execute("select id from runledger.job_queue where status = 'SUCCEEDED'")}
            assert done < set(work.ended)
            assert len(acknowledged - done) <= 11, "at most the batch that was under way"
            goes_on(second.dsn())
