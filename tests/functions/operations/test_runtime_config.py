"""set_runtime_config, runtime_config, get_runtime_config, list_runtime_configs."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger, Raw


def test_a_config_is_stored_and_read(q: Ledger):
    stored = q.row("set_runtime_config", job_type="t", config={"limit": 5}, schema_version=2)
    owner = q.conn.execute("select session_user::text").fetchone()[0]
    assert (stored["job_type"], stored["schema_version"], stored["config"], stored["updated_by"]) == (
        "t",
        2,
        {"limit": 5},
        owner,
    )
    assert q.row("runtime_config", job_type="t") == stored


def test_an_equal_config_writes_nothing(db: Db, q: Ledger, clock: Clock):
    first = q.row("set_runtime_config", job_type="t", config={"a": 1})
    clock.advance(60)
    before = db.all("select * from runledger.job_runtime_configs")
    assert q.row("set_runtime_config", job_type="t", config={"a": 1.0}) == first
    assert db.all("select * from runledger.job_runtime_configs") == before
    changed = q.row("set_runtime_config", job_type="t", config={"a": 1}, schema_version=3)
    assert changed["updated_at"] > first["updated_at"]
    assert db.value("select created_at from runledger.job_runtime_configs") == before[0]["created_at"]


@pytest.mark.parametrize(
    "code, arguments",
    [
        ("job_definition.invalid_config", [{"config": x} for x in (None, Raw("null"), [], 1, "x")] + [{"schema_version": x} for x in (None, 0, -1)]),
        ("job.definition_not_found", [{"job_type": x} for x in (None, "nobody", "")]),
        ("json.too_large", [{"config": {"a": "x" * 65_536}}]),
        ("json.too_deep", [{"config": Raw('{"a":' * 300 + "1" + "}" * 300)}]),
        ("json.number_out_of_range", [{"config": Raw('{"a": 1e4300}')}]),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_a_config_is_refused(db: Db, q: Ledger, code: str, arguments: list[dict]):
    for one in arguments:
        with q.refused(code):
            q.row("set_runtime_config", **{"job_type": "t", "config": {}, **one})
    assert db.value("select count(*) from runledger.job_runtime_configs") == 0


def test_no_config_is_an_error(q: Ledger):
    for job_type in ("t", "nobody", None):
        with q.refused("job.runtime_config_not_found", "RL001"):
            q.row("runtime_config", job_type=job_type)


def test_if_missing_never_overwrites(db: Db, q: Ledger):
    first = q.row("set_runtime_config", job_type="t", config={"a": 1}, if_missing=True)
    before = db.all("select xmin::text, c.* from runledger.job_runtime_configs as c")
    assert q.row("set_runtime_config", job_type="t", config={"a": 2}, schema_version=9, if_missing=True) == first
    assert db.all("select xmin::text, c.* from runledger.job_runtime_configs as c") == before
    assert q.row("set_runtime_config", job_type="t", config={"a": 2}, if_missing=None)["config"] == {"a": 2}


def test_a_config_may_be_asked_for_without_an_error(q: Ledger):
    assert q.rows("get_runtime_config", job_type="t") == []
    stored = q.row("set_runtime_config", job_type="t", config={"a": 1})
    assert q.row("get_runtime_config", job_type="t") == stored


def test_configs_are_listed_by_type_without_what_they_say(q: Ledger):
    for job_type in ("b", "a_1", "ax1", "none"):
        q.define(job_type)
        if job_type != "none":
            q.row("set_runtime_config", job_type=job_type, config={"s3cret": "x" * 100}, schema_version=2)
    rows = q.rows("list_runtime_configs")
    assert {r["job_type"] for r in rows} == {"b", "a_1", "ax1"}
    assert {(r["schema_version"], r["config_bytes"] > 100, "s3cret" in str(r)) for r in rows} == {(2, True, False)}
    types = [r["job_type"] for r in rows]
    assert [r["job_type"] for r in q.rows("list_runtime_configs", after_type=types[0], max_rows=1)] == types[1:2]
    assert [r["job_type"] for r in q.rows("list_runtime_configs", contains="_")] == ["a_1"]
