"""The reply is lost after the commit, and the client sends the call again: it learns what happened, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from runledger import Client
from tests.anomaly.ackdrop import AckDrop
from tests.anomaly.world import World, code_of, contents
from tests.support.database import Db

TIMES = 20
LEASE = "%(job_id)s, %(lease_token)s"


@dataclass(frozen=True, slots=True)
class Repeated:
    """A call about a fresh lease, and what its repetition says: some columns, or a code."""

    call: str
    again: dict[str, Any] | str
    # What a repetition may write: a heartbeat extends once more, progress is reported once more.
    writes: bool = False


def ended(disposition: str, **more: Any) -> dict[str, Any]:
    return {"disposition": disposition, "replayed": True, **more}


REPEATED = {
    "succeed_job": Repeated(f"succeed_job({LEASE}, '{{\"n\": 1}}', done => 1, total => 1)", ended("SUCCEEDED", status="SUCCEEDED")),
    "fail_job": Repeated(f"fail_job({LEASE}, 'x.y', 'm')", ended("RETRY_SCHEDULED", status="PENDING", code="x.y")),
    "fail_job for good": Repeated(f"fail_job({LEASE}, 'x.y', 'm', 'TERMINAL')", ended("DEAD_LETTERED", status="DEAD_LETTERED")),
    "fail_job by panic": Repeated(f"fail_job({LEASE}, 'x.y', 'm', 'PANICKED')", ended("DEAD_LETTERED", status="DEAD_LETTERED")),
    "fail_job by timeout": Repeated(f"fail_job({LEASE}, 'x.y', 'm', 'TIMEOUT')", ended("RETRY_SCHEDULED", status="PENDING")),
    "continue_job": Repeated(f"continue_job({LEASE}, '1 h', '1')", ended("CONTINUED", status="PENDING")),
    "release_job": Repeated(f"release_job({LEASE}, 'stop', '1 h')", ended("RELEASED", status="PENDING")),
    "cancel_job": Repeated("cancel_job(%(job_id)s, 'stop')", {"disposition": "UNCHANGED", "status": "CANCELED"}),
    "start_jobs": Repeated("start_jobs(array[%(unstarted)s::uuid], array[%(unstarted_token)s::bigint])", {"disposition": "STARTED"}),
    "heartbeat_jobs": Repeated(
        "heartbeat_jobs(array[%(job_id)s::uuid], array[%(lease_token)s::bigint])", {"disposition": "EXTENDED"}, writes=True
    ),
    "report_progress": Repeated(f"report_progress({LEASE}, 1, 4)", {"progress_pct": 25}, writes=True),
    "enqueue_job": Repeated("enqueue_job('work', '1', idempotency_key => %(key)s)", {"disposition": "EXISTING", "status": "PENDING"}),
    "enqueue_jobs": Repeated(
        "enqueue_jobs(jsonb_build_array(jsonb_build_object('job_type', 'work', 'idempotency_key', %(key)s::text)))",
        {"disposition": "EXISTING", "status": "PENDING"},
    ),
    "replay_job": Repeated("replay_job(%(succeeded)s, %(key)s, 'again')", {"disposition": "EXISTING"}),
    # The truth: it is no longer as the caller saw it.
    "requeue_job": Repeated("requeue_job(%(dead)s, 'r', 'DEAD_LETTERED', 1)", "job.requeue_expectation_mismatch"),
    "correct_payload": Repeated("correct_payload(%(pending)s, to_jsonb(%(key)s::text), 'r')", {"disposition": "UNCHANGED"}),
    "redact_job": Repeated("redact_job(%(dead)s, 'r')", {"disposition": "UNCHANGED"}),
    "enqueue_workflow": Repeated(
        "enqueue_workflow('flow', '[{\"key\": \"a\", \"job_type\": \"work\"}]', idempotency_key => %(key)s)",
        {"disposition": "EXISTING"},
    ),
    "append_workflow_steps": Repeated(
        "append_workflow_steps(%(run)s, %(key)s, 'gate', '[{\"key\": \"a\", \"job_type\": \"work\"}]')",
        {"disposition": "ALREADY_APPLIED"},
    ),
    "complete_external_step": Repeated(
        "complete_external_step(%(run)s, 'gate', output => '1')", {"replayed": True, "status": "SUCCEEDED"}
    ),
    "cancel_workflow": Repeated("cancel_workflow(%(run)s, 'stop')", {"disposition": "UNCHANGED", "status": "CANCELED"}),
    "deregister_worker": Repeated("deregister_worker('w')", {"deregister_worker": False}),
}  # fmt: skip


@pytest.fixture
def proxy(db: Db) -> Iterator[AckDrop]:
    with AckDrop(db.dsn) as proxy:
        yield proxy


def lost(proxy: AckDrop, query: str, arguments: dict[str, Any]) -> None:
    """Send a call whose reply never comes."""
    conn = psycopg.connect(proxy.dsn, autocommit=True)
    proxy.armed = True
    with pytest.raises(psycopg.OperationalError):
        conn.execute(query.encode(), arguments)
    conn.close()
    assert not proxy.armed


@pytest.mark.chaos
@pytest.mark.parametrize("name", REPEATED)
def test_a_call_whose_reply_was_lost_can_be_sent_again(db: Db, proxy: AckDrop, name: str):
    repeated = REPEATED[name]
    query = f"select * from runledger.{repeated.call}"
    world = World(db)
    caller = db.connect()
    caller.row_factory = dict_row
    for nth in range(TIMES):
        db.execute("select runledger.register_worker('w', '{work}')")
        lease, dead, succeeded = world.leased(), world.leased(), world.leased()
        db.execute("select runledger.fail_job(%s, %s, 'c', 'm', 'TERMINAL')", [dead.job_id, dead.lease_token])
        db.execute("select runledger.succeed_job(%s, %s)", [succeeded.job_id, succeeded.lease_token])
        db.execute("select runledger.enqueue_job('work')")
        unstarted = db.one("select job_id, lease_token from runledger.claim_jobs('w', '{work}', 1, 600, true)")
        arguments: dict[str, Any] = {
            "job_id": lease.job_id, "lease_token": lease.lease_token, "dead": dead.job_id, "succeeded": succeeded.job_id,
            "key": f"key {nth}", "pending": world.pending, "unstarted": unstarted["job_id"],
            "unstarted_token": unstarted["lease_token"],
        }  # fmt: skip
        arguments["run"] = db.value(
            "select workflow_run_id from runledger.enqueue_workflow('flow', '[{\"key\": \"gate\", \"external\": true},"
            " {\"key\": \"after\", \"job_type\": \"work\", \"after_success\": [\"gate\"]}]')"
        )
        before = contents(db)
        lost(proxy, query, arguments)
        after = contents(db)
        assert after != before, "the first call was not committed"
        if isinstance(repeated.again, str):
            with pytest.raises(psycopg.Error) as refused:
                caller.execute(query.encode(), arguments)
            assert code_of(refused.value) == repeated.again
        else:
            (row,) = caller.execute(query.encode(), arguments).fetchall()
            assert {column: row[column] for column in repeated.again} == repeated.again
        if not repeated.writes:
            assert contents(db) == after, "the repetition wrote something"
        # So that nothing but this round is in the way of the next one.
        db.execute("select runledger.cancel_job(id) from runledger.job_queue where status in ('PENDING', 'LEASED') and id <> %s",
                   [world.pending])  # fmt: skip
    assert proxy.dropped == TIMES


@pytest.mark.chaos
def test_a_batch_whose_reply_was_lost_is_reported_item_by_item(db: Db, proxy: AckDrop):
    """The same batch again: each item tells what was recorded; one that was different meanwhile tells that, too."""
    world = World(db)
    for _ in range(TIMES):
        leases = [world.leased() for _ in range(5)]
        batch = psycopg.types.json.Jsonb([
            {"job_id": str(lease.job_id), "lease_token": lease.lease_token, **outcome}
            for lease, outcome in zip(leases, [
                {"outcome": "SUCCEEDED", "output": 1}, {"outcome": "FAILED", "error_code": "x.y"},
                {"outcome": "CONTINUE", "delay": 3600}, {"outcome": "RELEASE", "reason": "stop", "delay": 3600},
                {"outcome": "FAILED", "error_code": "x.y", "kind": "TERMINAL"},
            ], strict=True)
        ])  # fmt: skip
        query = "select * from runledger.finish_jobs(%(batch)s)"
        lost(proxy, query, {"batch": batch})
        # One of them has moved on since: the repetition must not undo it.
        db.execute("select runledger.requeue_job(%s)", [leases[4].job_id])
        after = contents(db)
        rows = db.all(query, {"batch": batch})
        assert [(r["disposition"], r["replayed"], r["status"]) for r in rows] == [
            ("SUCCEEDED", True, "SUCCEEDED"), ("RETRY_SCHEDULED", True, "PENDING"), ("CONTINUED", True, "PENDING"),
            ("RELEASED", True, "PENDING"), ("DEAD_LETTERED", True, "PENDING"),
        ]  # fmt: skip
        assert contents(db) == after
        db.execute("select runledger.cancel_job(id) from runledger.job_queue where status in ('PENDING', 'LEASED')")
    assert proxy.dropped == TIMES


@pytest.mark.chaos
def test_another_outcome_after_a_lost_reply_is_refused(db: Db, proxy: AckDrop):
    world = World(db)
    for nth in range(TIMES):
        lease = world.leased()
        arguments = {"job_id": lease.job_id, "lease_token": lease.lease_token}
        lost(proxy, f"select * from runledger.succeed_job({LEASE})", arguments)
        after = contents(db)
        other = (f"fail_job({LEASE}, 'c', 'm')", f"continue_job({LEASE})", f"release_job({LEASE}, 'r')")[nth % 3]
        with pytest.raises(psycopg.Error) as refused:
            world.run(f"select * from runledger.{other}", arguments)
        assert code_of(refused.value) == "job.lease_owner_mismatch"
        assert contents(db) == after


@pytest.mark.chaos
def test_a_claim_whose_reply_was_lost_is_found_by_leased_jobs(db: Db, proxy: AckDrop):
    """What the worker does not know of runs now, and not when its lease has ended."""
    world = World(db)
    known = [world.lease.lease_token]
    for _ in range(TIMES):
        ids = db.column("select job_id from runledger.enqueue_jobs('[{\"job_type\": \"work\"}, {\"job_type\": \"work\"}]')")
        lost(proxy, "select * from runledger.claim_jobs('w', '{work}', 10)", {})
        found = db.all("select * from runledger.leased_jobs('w', %s)", [known])
        assert [row["job_id"] for row in found] == ids
        for row in found:
            assert db.value("select disposition from runledger.succeed_job(%s, %s)", [row["job_id"], row["lease_token"]]) == "SUCCEEDED"
        assert db.all("select * from runledger.leased_jobs('w', %s)", [known]) == []


@pytest.mark.chaos
def test_the_client_lets_the_lost_connection_through(db: Db, proxy: AckDrop):
    """As what it is, not as a refusal: whoever catches it sends the same completion again."""
    world = World(db)
    for _ in range(TIMES):
        lease = world.leased()
        with psycopg.connect(proxy.dsn, autocommit=True) as conn, Client(conn) as client:
            proxy.armed = True
            with pytest.raises(psycopg.OperationalError):
                client.succeed_job(lease.job_id, lease.lease_token)
        with Client(db.connect()) as client:
            assert client.succeed_job(lease.job_id, lease.lease_token).replayed is True
