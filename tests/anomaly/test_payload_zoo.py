"""Hostile JSON through every jsonb parameter: a documented code, nothing written, neighbours unharmed, nothing leaked.

The values are made by the server, in the statement that makes the call, so that no driver stands between.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
import pytest

from tests.anomaly.world import MARKER, ServerLog, World, code_of, contents, told
from tests.support.database import Db


@dataclass(frozen=True, slots=True)
class Beast:
    """An SQL expression of type jsonb and the codes it may get, the first where nothing but size differs."""

    sql: str
    codes: tuple[str, ...]


def bomb(number: str, times: int) -> str:
    return f"('[' || repeat('{number},', {times - 1}) || '{number}]')::jsonb"


def nested(levels: int) -> str:
    return f"(repeat('[', {levels}) || repeat(']', {levels}))::jsonb"


NUMBER, DEEP, LARGE = "json.number_out_of_range", "json.too_deep", "json.too_large"
# Refused by the guard: jsonb that the server itself accepts.
BEASTS = {
    "six bytes that Python cannot read": Beast("'1e4300'::jsonb", (NUMBER,)),
    "as many digits as a numeric has": Beast("'1e131071'::jsonb", (NUMBER,)),
    "a negative one": Beast("'-1e131071'::jsonb", (NUMBER,)),
    "just above what a float holds": Beast("'1.1e308'::jsonb", (NUMBER,)),
    "just below what a float holds": Beast("'1e-309'::jsonb", (NUMBER,)),
    "a tiny one": Beast("'1e-16000'::jsonb", (NUMBER,)),
    "a number deep inside": Beast("'{\"a\": [1, {\"b\": [2, {\"c\": 1e4300}]}]}'::jsonb", (NUMBER,)),
    "18 KB that become 262 MB of text": Beast(bomb("1e131071", 2_000), (NUMBER, LARGE)),
    "180 KB that cannot be read back": Beast(bomb("1e131071", 20_000), (LARGE,)),
    "tiny numbers that become 320 MB of text": Beast(bomb("1e-16000", 20_000), (LARGE,)),
    "65 levels": Beast(nested(65), (DEEP,)),
    "1,000 levels": Beast(nested(1_000), (DEEP,)),
    "5,000 levels": Beast(nested(5_000), (DEEP, LARGE)),
    "text just above the limit": Beast("to_jsonb(repeat('x', 262143))", (LARGE,)),
    "small in store, large as text": Beast("('[' || repeat('1e300,', 3000) || '1]')::jsonb", (LARGE,)),
    "1 MB": Beast("to_jsonb(repeat('x', 1048576))", (LARGE,)),
    "10 MB": Beast("to_jsonb(repeat('x', 10485760))", (LARGE,)),
    "20,000 keys": Beast("(select jsonb_object_agg('key' || n, n) from generate_series(1, 20000) as n)", (LARGE,)),
}
# Refused by the server while it reads the argument, before any function of ours is entered.
UNREADABLE = {
    "NUL": ('"\\u0000"', "22P05"),
    "NUL in a key": ('{"a\\u0000b": 1}', "22P05"),
    "a lone surrogate": ('"\\ud800"', "22P02"),
    "NaN": ("NaN", "22P02"),
    "Infinity": ("[Infinity]", "22P02"),
    "a number beyond numeric": ("1e131072", "22003"),
    "a number below numeric": ("1e-20000", "22003"),
    "20,000 levels": ("[" * 20_000 + "]" * 20_000, "54001"),
    "half an object": ('{"a": ', "22P02"),
    "nothing": ("", "22P02"),
}
# Odd, but stored and read back as they are.
HARMLESS = {
    "null": "'null'::jsonb",
    "64 levels": nested(64),
    "the largest number": "'1e308'::jsonb",
    "the smallest number": "'1e-308'::jsonb",
    "minus zero": "'-0.0'::jsonb",
    "duplicate keys, the last one wins": "'{\"a\": 1, \"a\": 2}'::jsonb",
    "NaN as a string": "to_jsonb('NaN'::float8)",
    "an empty key": "'{\"\": \"\"}'::jsonb",
    "bidi and a joined emoji": "to_jsonb(E'\\u202Eabc\\u202C \\U0001F469\\u200D\\U0001F680'::text)",
    "256 KiB, but for a header": "to_jsonb(repeat('x', 262130))",
}
LEASE = "%(job_id)s, %(lease_token)s"
# The call that takes the value {} as this parameter, for every jsonb parameter of every public function.
SINKS = {
    "enqueue_job.payload": "select disposition from runledger.enqueue_job('work', {})",
    "define_job.retry_delays_ms": "select job_type from runledger.define_job('work', retry_delays_ms => {})",
    "set_runtime_config.config": "select job_type from runledger.set_runtime_config('work', {})",
    "report_progress.checkpoint": f"select job_id from runledger.report_progress({LEASE}, checkpoint => {{}})",
    "succeed_job.output": f"select disposition from runledger.succeed_job({LEASE}, output => {{}})",
    "succeed_job.checkpoint": f"select disposition from runledger.succeed_job({LEASE}, checkpoint => {{}})",
    "continue_job.checkpoint": f"select disposition from runledger.continue_job({LEASE}, checkpoint => {{}})",
    "correct_payload.payload": "select disposition from runledger.correct_payload(%(pending)s, {}, 'because')",
    "log_job.payload": "select runledger.log_job(%(job_id)s, 'info', 'm', {})",
    "enqueue_workflow.metadata":
        "select disposition from runledger.enqueue_workflow('flow', '[{{\"key\": \"a\", \"job_type\": \"work\"}}]', {})",
    "append_workflow_steps.metadata":
        "select disposition from runledger.append_workflow_steps(%(run)s, 'm', 'gate',"
        " '[{{\"key\": \"a\", \"job_type\": \"work\"}}]', {})",
    "complete_external_step.output": "select status from runledger.complete_external_step(%(run)s, 'gate', output => {})",
    "upsert_schedule.payload": "select disposition from runledger.upsert_schedule('s', 'work', '@yearly', payload => {})",
    "register_worker.metadata": "select worker_id from runledger.register_worker('w2', '{{work}}', 1, {})",
}  # fmt: skip
# The batches, by the field of an item that carries the value.
FIELDS = {
    "enqueue_jobs.jobs": {"payload": "'job_type', 'work'"},
    "finish_jobs.outcomes": {
        "output": "'job_id', %(job_id)s::uuid, 'lease_token', %(lease_token)s::bigint, 'outcome', 'SUCCEEDED'",
        "checkpoint": "'job_id', %(job_id)s::uuid, 'lease_token', %(lease_token)s::bigint, 'outcome', 'CONTINUE'",
    },
    "log_jobs.entries": {"payload": "'job_id', %(job_id)s::uuid, 'level', 'info', 'message', 'm'"},
}
# The calls that take the steps of a workflow.
GRAPHS = {
    "enqueue_workflow.steps": "select disposition from runledger.enqueue_workflow('flow', {})",
    "upsert_schedule.steps":
        "select disposition from runledger.upsert_schedule('s', null, '@yearly', workflow_type => 'flow', steps => {})",
    "append_workflow_steps.steps": "select disposition from runledger.append_workflow_steps(%(run)s, 'm', 'gate', {})",
    "explain_workflow.steps": "select * from runledger.explain_workflow({})",
    "validate_workflow.steps": "select code from runledger.validate_workflow({})",
}
# The lists of a catalog, by the field of an entry that carries the value: {} is the list.
CATALOGS = {
    "sync_catalog.definitions": ("retry_delays_ms", "'job_type', 'new'", "select * from runledger.sync_catalog('c', {})"),
    "sync_catalog.schedules": (
        "payload", "'name', 's', 'job_type', 'work', 'cron', '@yearly'", "select * from runledger.sync_catalog('c', '[]', {})",
    ),
}  # fmt: skip
EVERYWHERE = [*SINKS, *FIELDS, *GRAPHS, *CATALOGS]
# With company, so that there is something to leak.
WITH_MARKER = "jsonb_build_object('k', %(marker)s::text, 'v', {})"


def arguments(world: World) -> dict[str, object]:
    lease = world.lease
    return {"job_id": lease.job_id, "lease_token": lease.lease_token, "pending": world.pending, "run": world.run_id, "marker": MARKER}


def test_every_jsonb_parameter_is_fed_here(db: Db):
    found = db.column(
        "select p.proname || '.' || a.name from pg_proc p,"
        " unnest(p.proargtypes::oid[], p.proargnames[1:p.pronargs]) as a(type, name)"
        " where p.pronamespace = 'runledger'::regnamespace and p.proname not like '\\_%' and a.type = 'jsonb'::regtype"
    )
    assert sorted(found) == sorted(EVERYWHERE)


@pytest.mark.parametrize("sink", SINKS)
def test_a_hostile_value_is_refused_by_code_and_writes_nothing(db: Db, sink: str):
    world = World(db)
    before, log = contents(db), ServerLog(db)
    for name, beast in BEASTS.items():
        with pytest.raises(psycopg.Error) as refused:
            world.run(SINKS[sink].format(WITH_MARKER.format(beast.sql)), arguments(world))
        # A narrower limit of this parameter may be met first.
        assert code_of(refused.value) in {*beast.codes, LARGE}, (name, told(refused.value))
        assert refused.value.sqlstate == "RL011", name
        assert MARKER not in told(refused.value), name
    assert contents(db) == before
    assert MARKER not in log.text()


@pytest.mark.parametrize("sink", EVERYWHERE)
def test_what_the_server_cannot_read_never_reaches_a_function(db: Db, sink: str):
    """These errors are PostgreSQL's own; the client refuses such values before it sends them."""
    world = World(db)
    call = {**SINKS, **GRAPHS, **{name: call for name, (_, _, call) in CATALOGS.items()}}.get(sink) or f"select * from runledger.{sink.split('.', maxsplit=1)[0]}({{}})"
    before = contents(db)
    for name, (text, sqlstate) in UNREADABLE.items():
        with pytest.raises(psycopg.Error) as refused:
            world.run(call.format("%(text)s::text::jsonb"), {**arguments(world), "text": text})
        assert refused.value.sqlstate == sqlstate, name
    assert contents(db) == before


@pytest.mark.parametrize("sink", GRAPHS)
def test_a_hostile_payload_of_a_step_refuses_the_graph(db: Db, sink: str):
    world = World(db)
    before, log = contents(db), ServerLog(db)
    for name, beast in BEASTS.items():
        steps = (
            "jsonb_build_array(jsonb_build_object('key', 'a', 'job_type', 'work'), jsonb_build_object("
            f"'key', 'b', 'job_type', 'work', 'payload', {WITH_MARKER.format(beast.sql)}))"
        )
        if sink.startswith("validate"):
            assert world.run(GRAPHS[sink].format(steps), arguments(world)) == [("workflow.invalid_dag_payload_refused",)], name
            continue
        with pytest.raises(psycopg.Error) as refused:
            world.run(GRAPHS[sink].format(steps), arguments(world))
        assert code_of(refused.value) == "workflow.invalid_dag_payload_refused", (name, told(refused.value))
        assert MARKER not in told(refused.value), name
    assert contents(db) == before
    assert MARKER not in log.text()


def test_a_hostile_item_of_enqueue_jobs_is_invalid_alone(db: Db):
    world = World(db)
    log = ServerLog(db)
    for name, beast in BEASTS.items():
        before = contents(db)
        values = ("'1'::jsonb", WITH_MARKER.format(beast.sql), "'2'::jsonb")
        items = ", ".join(f"jsonb_build_object('job_type', 'work', 'payload', {v})" for v in values)
        with pytest.raises(psycopg.Error) as refused:
            world.run(f"select * from runledger.enqueue_jobs(jsonb_build_array({items}), strict => true)", arguments(world))
        assert code_of(refused.value) in beast.codes, name
        assert MARKER not in told(refused.value), name
        assert contents(db) == before, name
        rows = world.run(
            f"select ordinal, disposition, code, job_id from runledger.enqueue_jobs(jsonb_build_array({items}))",
            arguments(world),
        )
        assert [r[:2] for r in rows] == [(1, "INSERTED"), (2, "INVALID"), (3, "INSERTED")], name
        assert rows[1][2] in beast.codes, (name, rows[1])
        assert rows[1][3] is None
        claimed = world.run("select payload, job_id, lease_token from runledger.claim_jobs('w', '{work}', 10)")
        assert [c[:2] for c in claimed] == [(1, rows[0][3]), (2, rows[2][3])], name
        db.execute(
            "select count(*) from runledger.finish_jobs((select jsonb_agg(jsonb_build_object('job_id', j, 'lease_token', t,"
            " 'outcome', 'SUCCEEDED')) from unnest(%s::uuid[], %s::bigint[]) as x(j, t)))",
            [[c[1] for c in claimed], [c[2] for c in claimed]],
        )
    assert MARKER not in log.text()


@pytest.mark.parametrize("field", FIELDS["finish_jobs.outcomes"])
def test_a_hostile_outcome_of_finish_jobs_is_invalid_alone(db: Db, field: str):
    world = World(db)
    log = ServerLog(db)
    for name, beast in BEASTS.items():
        good = [world.leased(), world.leased()]
        before = db.job(world.lease.job_id)
        bad = f"jsonb_build_object({FIELDS['finish_jobs.outcomes'][field]}, '{field}', {WITH_MARKER.format(beast.sql)})"
        fine = ", ".join(
            f"jsonb_build_object('job_id', '{g.job_id}', 'lease_token', {g.lease_token}, 'outcome', 'SUCCEEDED')" for g in good
        ).split(", jsonb")
        items = f"{fine[0]}, {bad}, jsonb{fine[1]}"
        rows = world.run(
            f"select disposition, code, status from runledger.finish_jobs(jsonb_build_array({items}))", arguments(world)
        )
        assert [r[0] for r in rows] == ["SUCCEEDED", "INVALID", "SUCCEEDED"], name
        assert rows[1][1] in beast.codes, (name, rows[1])
        assert db.job(world.lease.job_id) == before, name
    done = world.run(
        f"select disposition from runledger.succeed_job({LEASE})", arguments(world)
    )
    assert done == [("SUCCEEDED",)]
    assert MARKER not in log.text()


def test_a_hostile_line_of_log_jobs_is_invalid_alone(db: Db):
    world = World(db)
    log = ServerLog(db)
    line = FIELDS["log_jobs.entries"]["payload"]
    for name, beast in BEASTS.items():
        items = ", ".join(f"jsonb_build_object({line}, 'payload', {v})" for v in ("1", WITH_MARKER.format(beast.sql), "2"))
        rows = world.run(
            f"select disposition, code, log_id is null from runledger.log_jobs(jsonb_build_array({items}))", arguments(world)
        )
        assert [r[0] for r in rows] == ["STORED", "INVALID", "STORED"], name
        assert rows[1][1] in {*beast.codes, LARGE}, (name, rows[1])
        assert rows[1][2] is True
    assert db.column("select distinct payload from runledger.job_logs order by 1") == [1, 2]
    assert MARKER not in log.text()


@pytest.mark.parametrize("sink", CATALOGS)
def test_a_hostile_value_in_a_catalog_is_refused_alone(db: Db, sink: str):
    world = World(db)
    field, entry, call = CATALOGS[sink]
    before, log = contents(db), ServerLog(db)
    for name, beast in BEASTS.items():
        items = f"jsonb_build_array(jsonb_build_object({entry}, '{field}', {WITH_MARKER.format(beast.sql)}))"
        ((_, _, action, changes, code),) = world.run(call.format(items), arguments(world))
        assert (action, changes) == ("REFUSED", {}), name
        assert code in {*beast.codes, LARGE}, (name, code)
    assert contents(db) == before
    assert MARKER not in log.text()


@pytest.mark.parametrize("name", HARMLESS)
def test_an_odd_value_is_kept_as_it_is(db: Db, name: str):
    """Through enqueue, claim, checkpoint and output, single and batch; compared on the server."""
    value = HARMLESS[name]
    world = World(db)
    ids = [
        world.run(f"select job_id from runledger.enqueue_job('work', {value})")[0][0],
        world.run(
            f"select job_id from runledger.enqueue_jobs(jsonb_build_array(jsonb_build_object('job_type', 'work',"
            f" 'payload', {value})))"
        )[0][0],
    ]
    for job_id in ids:
        claimed = world.run(
            f"select job_id, payload = {value}, lease_token from runledger.claim_jobs('w', '{{work}}', 1)"
        )
        assert claimed[0][:2] == (job_id, True)
        lease = {"job_id": job_id, "lease_token": claimed[0][2]}
        world.run(f"select runledger.report_progress({LEASE}, checkpoint => {value})", lease)
        if job_id == ids[0]:
            world.run(f"select runledger.succeed_job({LEASE}, output => {value})", lease)
        else:
            world.run(
                "select * from runledger.finish_jobs(jsonb_build_array(jsonb_build_object('job_id', %(job_id)s::uuid,"
                f" 'lease_token', %(lease_token)s::bigint, 'outcome', 'SUCCEEDED', 'output', {value})))",
                lease,
            )
        # An output of JSON null is no output.
        same = (
            f"select payload = {value}, output is not distinct from nullif({value}, 'null'), checkpoint = {value}"
            " from runledger.job_payload(%(job_id)s)"
        )
        assert world.run(same, lease) == [(True, True, True)]


def test_a_batch_beyond_its_limits_is_refused_as_a_whole(db: Db):
    world = World(db)
    before = contents(db)
    for function in ("enqueue_jobs", "finish_jobs", "log_jobs"):
        for batch in (
            "null::jsonb", "'null'::jsonb", "'{}'::jsonb", "'\"work\"'::jsonb", "'1'::jsonb",
            "(select jsonb_agg('{\"job_type\": \"work\"}'::jsonb) from generate_series(1, 10001))",
            "jsonb_build_array(repeat('x', 33554432))",
        ):  # fmt: skip
            with pytest.raises(psycopg.Error) as refused:
                world.run(f"select * from runledger.{function}({batch})")
            assert code_of(refused.value) == "job.invalid_batch", (function, batch)
        assert world.run(f"select * from runledger.{function}('[]')") == []
    assert contents(db) == before


@pytest.mark.slow
def test_200_megabytes_are_refused_and_the_queue_goes_on(db: Db):
    world = World(db)
    before = contents(db)
    huge = "to_jsonb(repeat('x', 200 * 1024 * 1024))"
    for call, code in {
        f"runledger.enqueue_job('work', {huge})": LARGE,
        f"runledger.enqueue_jobs(jsonb_build_array(jsonb_build_object('job_type', 'work', 'payload', {huge})))":
            "job.invalid_batch",
        # More than the server can make of one object: its own error, before any function is entered.
        f"runledger.enqueue_job('work', jsonb_build_object('a', {huge}, 'b', {huge}))": "54000",
    }.items():  # fmt: skip
        with pytest.raises(psycopg.Error) as refused:
            world.run(f"select * from {call}")
        assert code_of(refused.value) == code
    assert contents(db) == before
    assert world.leased()
