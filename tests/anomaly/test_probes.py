"""Every verb, ended at every statement that it passes: by an error, by the end of its backend, by a cancellation.

Nothing of it is left, and the same call does then what it does. Some verbs settle what they find one by one and put off
what cannot be settled; an error inside that leaves a sound ledger, and the next call does the rest.
"""

from __future__ import annotations

import itertools
from typing import Any

import psycopg
import pytest

from tests.anomaly.test_terminate import SETTLES_APART, VERBS, prepared
from tests.anomaly.world import contents
from tests.support.database import Db
from tests.support.probes import SQLSTATE, Point, Probes

ENDS = {"raise": {SQLSTATE}, "cancel": {"57014"}, "terminate": {"57P01", None}}
# So many probes of each verb in the default run: the first, the last, and evenly in between; each is ended in one way.
SAMPLE = 5


def readied(db: Db) -> dict[str, object]:
    """A world with something to do for every verb; what their calls name of it."""
    arguments = prepared(db, to_reap=True)
    # On a slow machine this takes longer than a lease lasts.
    for job, token in (("unstarted", "unstarted_token"), ("step_job", "step_token")):
        lease = [arguments[job], arguments[token]]
        db.execute("select runledger.heartbeat_jobs(array[%s::uuid], array[%s::bigint], 3600)", lease)
    db.execute("select runledger.upsert_schedule('due', 'step', '@yearly', next_fire_at => '2020-01-01Z')")
    return arguments


def way_of(db: Db, query: str, arguments: dict[str, object]) -> list[Point]:
    """The probes that the call passes, each once, in their order."""
    with db.connect(autocommit=False) as conn:
        hits = Probes().passed(conn, query, arguments)
        conn.rollback()
    return list(dict.fromkeys(hits))


def unsound(conn: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """What fsck finds, but for what is only late: the world is made so that something is."""
    return conn.execute("select * from runledger.fsck() where severity <> 'WARN'").fetchall()


def ended_at(conn: psycopg.Connection[Any], query: str, arguments: dict[str, object], mode: str, point: Point) -> bool:
    """Whether the call ended there as `mode` says. If it did not, it put something off: then the ledger is sound."""
    try:
        with Probes().armed(conn, mode, point):
            conn.execute(query.encode(), arguments)
    except psycopg.Error as error:
        if error.sqlstate not in ENDS[mode]:
            raise AssertionError(f"{mode} at {point}") from error
        return True
    else:
        assert mode == "raise", f"{mode} at {point} did not end the call"
        assert unsound(conn) == [], str(point)
        conn.execute(query.encode(), arguments)
        assert unsound(conn) == [], str(point)
        return False
    finally:
        if not conn.closed:
            conn.rollback()


def end(db: Db, arguments: dict[str, object], name: str, sample: int | None = None) -> int:
    """End the call at each probe (of a sample) in each way (in turn); returns how often."""
    query = f"select * from runledger.{VERBS[name].call}"
    way = way_of(db, query, arguments)
    tries = [(mode, point) for mode in ENDS for point in way]
    if sample:
        places = [round(n * (len(way) - 1) / (sample - 1)) for n in range(sample)]
        tries = list(zip(itertools.cycle(ENDS), [way[n] for n in dict.fromkeys(places)], strict=False))
    before = contents(db)
    conn = db.connect(autocommit=False)
    for mode, point in tries:
        # A backend that has planned everything once; after its end another.
        conn = db.connect(autocommit=False) if conn.closed else conn
        ended = ended_at(conn, query, arguments, mode, point)
        assert ended or name in SETTLES_APART, f"{name} went on after {mode} at {point}"
        assert contents(db) == before, f"{name} left something after {mode} at {point}"
    assert db.column("select locktype from pg_locks where locktype = 'advisory'") == []
    with db.connect(autocommit=False) as conn:
        conn.execute(query.encode(), arguments)
        assert contents(db, conn) != before
        conn.rollback()
    return len(tries)


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("stranger")
def test_a_call_ended_inside_leaves_nothing(probed: Db):
    arguments = readied(probed)
    done = {name: end(probed, arguments, name, SAMPLE) for name in VERBS}
    assert all(done.values())
    probed.execute("select runledger.run_maintenance()")


def at(function: str, text: str) -> Point:
    return Probes().at(function, text)


SETTLING = at("_settle", "perform runledger._close_attempts")
FIRING = at("_fire_schedules", "")
# Where an error is caught so that one row cannot keep the others: the calls, and the errors on the way.
CAUGHT = {
    "a canceled job that ran out": ("reap_expired_leases()", [(at("reap_expired_leases", "update runledger.job_queue"), None)]),
    "all leases at once": ("reap_expired_leases()", [(SETTLING, None)]),
    "one lease": ("reap_expired_leases()", [(SETTLING, SQLSTATE), (at("_settle_apart", "perform runledger._settle"), None)]),
    "to put off a lease": ("reap_expired_leases()", [(SETTLING, SQLSTATE), (at("_settle_apart", "update runledger.job_queue"), None)]),
    "all schedules at once": ("fire_due_schedules()", [(FIRING, None)]),
    "one schedule": ("fire_due_schedules()", [(FIRING, SQLSTATE), (at("_fire_apart", "return query"), None)]),
    "to put off a schedule": ("fire_due_schedules()", [(FIRING, SQLSTATE), (at("_fire_apart", "update runledger.job_schedules"), None)]),
}  # fmt: skip


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("where", CAUGHT)
def test_one_row_is_put_off_but_a_shortage_ends_the_call(probed: Db, where: str):
    """Out of memory, shutting down, broken: that is not the row's fault, and putting off would only hide it."""
    readied(probed)
    call, errors = CAUGHT[where]
    query = f"select * from runledger.{call}"
    before = contents(probed)
    conn = probed.connect()
    points = [point for point, _ in errors]
    for sqlstate in ("53200", "57P05", "XX001"):
        with pytest.raises(psycopg.Error) as ended:
            with Probes().armed(conn, "raise", *points, sqlstates=[state or sqlstate for _, state in errors]):
                conn.execute(query.encode())
        assert ended.value.sqlstate == sqlstate
        assert contents(probed) == before
    # An error of the row: the call goes on.
    with Probes().armed(conn, "raise", *points):
        conn.execute(query.encode())
    assert unsound(conn) == []
    probed.execute("update runledger.job_schedules set deferred_until = null, deferred_at = null, deferred_code = null")
    probed.execute("select runledger.run_maintenance()")


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("name", VERBS)
def test_a_call_ended_at_any_statement_leaves_nothing(probed: Db, name: str):
    print(f"{name}: ended {end(probed, readied(probed), name)} times")
    probed.execute("select runledger.run_maintenance()")
