"""The scaffolding itself: what other tests rest on."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest


def test_each_test_has_a_database_of_its_own(db):
    assert db.value("select count(*) from runledger.job_definitions") == 0
    assert db.value("select contract from runledger.schema_info()") == 1


def test_clock_moves_for_every_session(db, clock, sessions):
    (other,) = sessions("other")
    before = clock.now()
    clock.advance(timedelta(hours=2))
    seen = other.execute("select runledger._now() as now")[0]["now"]
    assert timedelta(hours=2) <= seen - before < timedelta(hours=2, minutes=5)
    clock.advance(-3 * 3600)
    assert other.execute("select runledger._now() as now")[0]["now"] < before


def test_a_session_says_that_it_waits(db, sessions):
    db.execute("create table public.t (id int primary key)")
    db.execute("insert into public.t values (1)")
    db.execute("grant all on public.t to public")
    first, second = sessions("first", "second")
    first.begin().execute("update public.t set id = 1")
    pending = second.start("update public.t set id = 2 returning id")
    assert second.blocked(by=first)
    first.commit()
    assert pending.result() == [{"id": 2}]
    pending = second.start("select 1 as one")
    assert not second.blocked()
    assert pending.result() == [{"one": 1}]


def test_a_pending_statement_raises_its_error(db, sessions):
    (only,) = sessions("only")
    with pytest.raises(psycopg.errors.DivisionByZero):
        only.start("select 1 / 0").result()


@pytest.mark.corrupts
def test_fsck_that_ends_every_test_sees_a_corruption(db):
    assert db.findings() == []
    db.execute("select runledger.define_job('a')")
    assert db.is_untouched()
    db.execute("select runledger.enqueue_job('a')")
    assert not db.is_untouched()
    db.execute("select from runledger.claim_jobs('w', array['a'])")
    assert db.findings() == []
    db.execute("delete from runledger.job_attempts")
    assert db.findings() != []


def test_published_fixture(runledger_db):
    with runledger_db.connect() as conn:
        assert conn.execute("select count(*) from runledger.job_queue").fetchone() == (0,)
