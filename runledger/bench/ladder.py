"""What a claim costs beside many rows, in buffers: time would say more about the machine."""

from __future__ import annotations

from collections.abc import Iterator

from runledger.bench.report import Figure
from runledger.bench.stage import Stage

BATCH = 100
_LOAD = """
insert into runledger.job_queue (id, job_type, payload, status, priority, max_attempts, timeout_seconds,
  next_run_at, attempt, finished_at, created_at, updated_at)
select gen_random_uuid(), %(job_type)s, '{}', %(status)s::runledger.job_status, 100, 2, 60,
  clock_timestamp() + make_interval(secs => %(offset)s + g * 1e-6), %(attempt)s,
  case when %(status)s = 'SUCCEEDED' then clock_timestamp() end, clock_timestamp(), clock_timestamp()
from generate_series(1, %(rows)s) as g
"""
_KINDS: dict[str, dict[str, object]] = {
    "ready": {"job_type": "bench.noop", "status": "PENDING", "offset": -3600, "attempt": 0},
    "delayed": {"job_type": "bench.noop", "status": "PENDING", "offset": 3600, "attempt": 0},
    "finished": {"job_type": "bench.noop", "status": "SUCCEEDED", "offset": -3600, "attempt": 1},
    "unhandled": {"job_type": "bench.other", "status": "PENDING", "offset": -7200, "attempt": 0},
}


def measure(stage: Stage) -> Iterator[Figure]:
    """Buffers of one claim beside more and more rows of a kind that it does not want, or does."""
    conn, sizes = stage.conn, stage.scale.ladder
    stage.client.define_job("bench.other")
    for kind, values in _KINDS.items():
        buffers = []
        for size in sizes:
            stage.empty()
            for rows, which in ((1000, _KINDS["ready"]), (size, values)):
                conn.execute(_LOAD, {"rows": rows, **which})
            conn.execute("vacuum analyze runledger.job_queue")
            buffers.append(claim_buffers(stage))
        steps = ", ".join(f"{size:,}: {count}" for size, count in zip(sizes, buffers, strict=True))
        growth = buffers[-1] / buffers[0]
        what = f"buffers of a claim of {BATCH}, {kind}"
        points = list(zip(map(float, sizes), map(float, buffers), strict=True))
        yield Figure(
            what=what, ours=steps, ratio=growth, goal="<= 1.2 x", reached=growth <= 1.2,
            series={"Runledger": points}, axes=("rows", "buffers"),
        )  # fmt: skip


def claim_buffers(stage: Stage) -> int:
    """Shared buffers that one claim touches; two types, so that the common index is what counts. Rolled back."""
    claim = f"select * from runledger.claim_jobs('bench', '{{bench.noop,bench.pickup}}', {BATCH})"  # noqa: S608
    with stage.conn.transaction(force_rollback=True):
        stage.conn.execute(claim.encode())
        stage.conn.execute("select set_config('runledger.claim_mark', '', false)")
        (explained,) = stage.value(f"explain (analyze, buffers, timing off, format json) {claim}")
    plan = explained["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
