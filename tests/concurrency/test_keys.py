"""Two who enqueue, requeue, redrive or replay the same thing at once."""

from __future__ import annotations

from collections.abc import Callable

from tests.concurrency.threads import together
from tests.support.database import Db
from tests.support.interleave import Session
from tests.support.ledger import Ledger

Sessions = Callable[..., tuple[Session, ...]]
KEYED = "select * from runledger.enqueue_job('t', %s::jsonb, idempotency_key => 'k')"


def test_two_identical_keyed_enqueues_make_one_job(q: Ledger, sessions: Sessions):
    a, b = sessions("a", "b")
    [first] = a.begin().execute(KEYED, ["1"])
    pending = b.start(KEYED, ["1.0"])
    assert b.blocked(by=a)
    a.commit()
    [second] = pending.result()
    assert (first["disposition"], second["disposition"]) == ("INSERTED", "EXISTING")
    assert first["job_id"] == second["job_id"]
    assert q.db.events(first["job_id"]) == ["ENQUEUED"]


def test_two_different_requests_with_a_key_conflict(q: Ledger, sessions: Sessions):
    a, b = sessions("a", "b")
    a.begin().execute(KEYED, ["1"])
    pending = b.start(KEYED, ["2"])
    assert b.blocked(by=a)
    a.commit()
    with q.refused("job.idempotency_conflict"):
        pending.result()


def test_the_second_inserts_when_the_first_rolls_back(q: Ledger, sessions: Sessions):
    a, b = sessions("a", "b")
    a.begin().execute(KEYED, ["1"])
    pending = b.start(KEYED, ["2"])
    assert b.blocked(by=a)
    a.rollback()
    assert pending.result()[0]["disposition"] == "INSERTED"
    assert q.pending() == 1


def test_many_identical_keyed_enqueues_make_one_job(db: Db, q: Ledger):
    rows = [
        row
        for result in together(
            db, 8, lambda x: [x.row("enqueue_job", job_type="t", idempotency_key=f"k{n}") for n in range(10)]
        )
        for row in result
    ]
    assert len({r["job_id"] for r in rows}) == 10
    assert sum(r["disposition"] == "INSERTED" for r in rows) == 10
    assert db.value("select count(*) from runledger.job_events") == 10


def test_batches_with_the_same_keys_in_opposite_order_do_not_deadlock(q: Ledger, sessions: Sessions):
    a, b, c = sessions("a", "b", "c")
    keys = [f"k{n}" for n in range(20)]
    batch = "select * from runledger.enqueue_jobs((select jsonb_agg(jsonb_build_object('job_type', 't', 'idempotency_key', k)) from unnest(%s::text[]) as k))"
    # A third one holds a key in the middle, so that both stop there with half of their keys inserted.
    c.begin().execute("select * from runledger.enqueue_job('t', idempotency_key => 'k15')")
    first, second = a.start(batch, [keys]), b.start(batch, [keys[::-1]])
    assert a.blocked()
    assert b.blocked()
    c.commit()
    results = [p.result() for p in (first, second)]
    assert [len(r) for r in results] == [20, 20]
    assert len({r["job_id"] for rows in results for r in rows}) == 20
    assert sum(r["disposition"] == "INSERTED" for rows in results for r in rows) == 19


def test_batches_of_random_order_do_not_deadlock(db: Db, q: Ledger):
    q.define("u")
    items = [{"job_type": t, "idempotency_key": f"k{n}"} for n in range(40) for t in ("t", "u")]

    def work(client: Ledger) -> list:
        found = []
        for turn in range(6):
            order = items[turn * 7 :] + items[: turn * 7]
            found += client.rows("enqueue_jobs", jobs=order[:: -1 if turn % 2 else 1])
        return found

    rows = [row for result in together(db, 6, work) for row in result]
    assert {r["disposition"] for r in rows} == {"INSERTED", "EXISTING"}
    assert len({r["job_id"] for r in rows}) == 80


def test_two_redrives_share_the_work(q: Ledger, sessions: Sessions):
    dead = [q.dead() for _ in range(4)]
    a, b = sessions("a", "b")
    redrive = "select job_id from runledger.redrive_dead_letters('x', max_jobs => %s)"
    first = a.begin().execute(redrive, [2])
    pending = b.start(redrive, [10])
    assert b.blocked() is False
    second = pending.result()
    a.commit()
    assert [r["job_id"] for r in first] == dead[:2]
    assert sorted(r["job_id"] for r in second) == sorted(dead[2:])
    assert q.db.value("select count(*) from runledger.job_events where event_type = 'REQUEUED'") == 4
    assert q.db.value("select max(run_number) from runledger.job_queue") == 2


def test_two_requeues_start_one_run(q: Ledger, sessions: Sessions):
    dead = q.dead()
    a, b = sessions("a", "b")
    requeue = "select * from runledger.requeue_job(%s, expected_run_number => 1)"
    a.begin().execute(requeue, [dead])
    pending = b.start(requeue, [dead])
    assert b.blocked(by=a)
    a.commit()
    with q.refused("job.requeue_expectation_mismatch"):
        pending.result()
    assert q.job(dead)["run_number"] == 2


def test_a_requeue_that_waits_looks_again(q: Ledger, sessions: Sessions):
    """Whoever it waited for rolled back, or changed something else: then it goes on."""
    for end, dead in (("rollback", q.dead()), ("commit", q.dead())):
        a, b = sessions(f"a {end}", f"b {end}")
        a.begin().execute("update runledger.job_queue set priority = 1 where id = %s", [dead])
        pending = b.start("select * from runledger.requeue_job(%s)", [dead])
        assert b.blocked(by=a)
        a.execute(end)
        assert pending.result()[0]["disposition"] == "REQUEUED"


def test_redrive_against_redact(q: Ledger, sessions: Sessions):
    dead = q.dead(payload={"a": 1})
    a, b = sessions("a", "b")
    a.begin().execute("select * from runledger.redact_job(%s, 'forget')", [dead])
    assert b.execute("select * from runledger.redrive_dead_letters('x')") == []
    pending = b.start("select * from runledger.requeue_job(%s)", [dead])
    assert b.blocked(by=a)
    a.commit()
    with q.refused("job.invalid_state_transition"):
        pending.result()
    assert q.job(dead)["status"] == "DEAD_LETTERED"


def test_two_replays_with_a_key_make_one_job(q: Ledger, sessions: Sessions):
    lease = q.leased()
    q.succeed(lease)
    a, b = sessions("a", "b")
    replay = "select * from runledger.replay_job(%s, 'k', %s)"
    [first] = a.begin().execute(replay, [lease["job_id"], "why"])
    pending = b.start(replay, [lease["job_id"], "why"])
    assert b.blocked(by=a)
    a.commit()
    [second] = pending.result()
    assert (second["disposition"], second["job_id"]) == ("EXISTING", first["job_id"])
    assert q.pending() == 1


def test_two_definitions_of_a_type_meet_on_the_row(q: Ledger, sessions: Sessions):
    a, b = sessions("a", "b")
    a.begin().execute("select * from runledger.define_job('new', max_attempts => 3)")
    pending = b.start("select * from runledger.define_job('new', priority => 7)")
    assert b.blocked(by=a)
    a.commit()
    [row] = pending.result()
    assert (row["max_attempts"], row["priority"]) == (3, 7)


def test_a_correction_meets_a_claim(q: Ledger, sessions: Sessions):
    job_id = q.enqueue(payload=1)
    a, b = sessions("a", "b")
    a.begin().execute("select * from runledger.claim_jobs('w', '{t}')")
    pending = b.start("select * from runledger.correct_payload(%s, '2', 'typo')", [job_id])
    assert b.blocked(by=a)
    a.commit()
    with q.refused("job.invalid_state_transition"):
        pending.result()
    assert q.job(job_id)["payload"] == 1
