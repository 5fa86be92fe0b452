"""A dump and its restore: leases, tokens, history and grants are what they were."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from runledger import Client, embedded
from runledger.migrate import migrate
from runledger.testing import DatabaseServer
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
