"""JSON that the caller reads from a table arrives compressed: the limits are about what it is, not about how it is stored."""

from __future__ import annotations

import psycopg
import pytest

from tests.anomaly.world import World, code_of, contents
from tests.support.database import Db

LARGE = "to_jsonb(repeat('x', 300000))"
# A few KB each as stored, with any compression that the server has.
STORED = {
    "text above the limit": (LARGE, "json.too_large"),
    "1,000 levels": ("(repeat('[', 1000) || repeat(']', 1000))::jsonb", "json.too_deep"),
    "numbers": ("('[' || repeat('1e4300,', 5000) || '1]')::jsonb", "json.number_out_of_range"),
}
CALLS = [
    "enqueue_job('work', body)",
    "enqueue_job('work', (select body), idempotency_key => 'k')",
    "correct_payload(%(pending)s, body, 'r')",
    "succeed_job(%(job_id)s, %(lease_token)s, body)",
    "report_progress(%(job_id)s, %(lease_token)s, checkpoint => body)",
]


def stored(db: Db, expression: str) -> None:
    """The table public.stored with one compressed value in it."""
    db.execute("create table public.stored (body jsonb)")
    db.execute(f"insert into public.stored values ({expression})")
    db.execute("grant select on public.stored to public")
    assert db.value("select pg_column_compression(body) is not null and pg_column_size(body) < 1048576 from public.stored")


@pytest.mark.parametrize("name", STORED)
def test_the_guard_sees_through_compression(db: Db, name: str):
    world = World(db)
    expression, code = STORED[name]
    stored(db, expression)
    before = contents(db)
    arguments = {"job_id": world.lease.job_id, "lease_token": world.lease.lease_token, "pending": world.pending}
    for call in CALLS:
        with pytest.raises(psycopg.Error) as refused:
            world.run(f"select runledger.{call} from public.stored", arguments)
        assert code_of(refused.value) == code, call
    assert contents(db) == before


@pytest.mark.parametrize(
    "expression",
    [
        LARGE, "jsonb_build_object('k', repeat('x', 9999))", "jsonb_build_array(1, repeat('x', 10001), null)",
        "(select jsonb_object_agg('key' || n, n) from generate_series(1, 3000) as n)",
        "(select jsonb_agg(n / 7.0) from generate_series(1, 3000) as n)", "jsonb_build_array(jsonb_build_array(repeat('y', 5003)))",
    ],
)  # fmt: skip
def test_a_stored_value_is_as_large_as_a_fresh_one(db: Db, expression: str):
    stored(db, expression)
    sizes = f"select runledger._json_bytes({expression}), runledger._json_bytes(body), pg_column_size({expression}) from public.stored"
    (row,) = db.conn.execute(sizes.encode()).fetchall()
    assert row[0] == row[1] == row[2]


def test_a_stored_batch_is_as_large_as_its_items(db: Db):
    world = World(db)
    stored(db, "(select jsonb_agg(jsonb_build_object('job_type', repeat('x', 10000))) from generate_series(1, 4000))")
    before = contents(db)
    for call in ("enqueue_jobs", "finish_jobs"):
        with pytest.raises(psycopg.Error) as refused:
            world.run(f"select runledger.{call}(body) from public.stored")
        assert code_of(refused.value) == "job.invalid_batch"
    assert contents(db) == before


def test_inputs_count_by_what_they_hold(db: Db):
    """Eight outputs of 200 KB that are stored in 2 KB each: too much for a claim, and paged by their length."""
    keys = [f"s{n}" for n in range(8)]
    db.execute("select runledger.define_job('work'), runledger.define_job('join')")
    db.execute(
        "select runledger.enqueue_workflow('flow', (select jsonb_agg(jsonb_build_object('key', k, 'job_type', 'work'))"
        " from unnest(%s::text[]) as k) || jsonb_build_array(jsonb_build_object('key', 'join', 'job_type', 'join',"
        " 'after_success', to_jsonb(%s::text[]))))",
        [keys, keys],
    )
    db.execute(
        "select count(*) from (select job_id, lease_token from runledger.claim_jobs('w', '{work}', 10)) as c,"
        " lateral runledger.succeed_job(c.job_id, c.lease_token, to_jsonb(repeat('x', 200000)))"
    )
    assert db.value("select max(pg_column_size(output)) < 4096 from runledger.workflow_steps") is True
    join = db.one("select job_id, lease_token, inputs, inputs_omitted from runledger.claim_jobs('w', '{join}')")
    assert (join["inputs"], join["inputs_omitted"]) == (None, True)
    page = "select step_key, status, length(output #>> '{}') as n from runledger.step_inputs(%s, %s, %s, %s)"
    seen: list[str] = []
    while rows := db.all(page, [join["job_id"], join["lease_token"], seen[-1] if seen else None, 450_000]):
        assert len(rows) == 2
        assert all((row["status"], row["n"]) == ("SUCCEEDED", 200_000) for row in rows)
        seen += [row["step_key"] for row in rows]
    assert seen == keys
    one = db.all(page, [join["job_id"], join["lease_token"], None, 1])
    assert [row["step_key"] for row in one] == ["s0"]
