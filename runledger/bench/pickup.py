"""How soon an idle worker begins a job: from before the call of enqueue to the first line of the handler."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Sequence

from runledger.bench.report import Figure
from runledger.bench.stage import RAW_CLAIM, Stage

RAW_ENQUEUE_AND_NOTIFY = """
with added as (insert into raw_queue (payload) values ('{"n": 1}') returning id)
select pg_notify('bench_raw', '') from added
"""
WARM = 5


def measure(stage: Stage) -> Iterator[Figure]:
    """The delay in the middle and at its worst, beside a session that is notified and claims."""
    raw, ours = raw_pickups(stage), pickups(stage)
    for name, rank in (("p50", 0.5), ("p99", 0.99)):
        mine, bare = _ranked(ours, rank), _ranked(raw, rank)
        goal = rank == 0.5
        yield Figure(
            what=f"pickup by an idle worker, {name}", ours=f"{mine * 1e3:.2f} ms", raw=f"{bare * 1e3:.2f} ms",
            ratio=mine / bare, goal="<= 1.6 x" if goal else "", reached=mine / bare <= 1.6 if goal else None,
            series={"Runledger": _spread(ours), "raw": _spread(raw)} if goal else {},
            axes=("percentile", "ms") if goal else ("", ""),
        )  # fmt: skip


def _ranked(delays: Sequence[float], rank: float) -> float:
    if rank == 0.5:
        return statistics.median(delays)
    return sorted(delays)[min(len(delays) - 1, int(rank * len(delays)))]


def _spread(delays: Sequence[float]) -> list[tuple[float, float]]:
    return [(float(percent), _ranked(delays, percent / 100) * 1e3) for percent in (10, 25, 50, 75, 90, 95, 99)]


def pickups(stage: Stage) -> list[float]:
    """Seconds until the handler began, of each job."""
    stage.empty()
    delays = []
    with stage.worker():
        stage.until_idle()
        for n in range(stage.scale.pickups + WARM):
            began = time.time()
            job_id = stage.client.enqueue_job("bench.pickup").job_id
            stage.until("select status = 'SUCCEEDED' from runledger.job_queue where id = %s", job_id)
            stage.until_idle()
            started = stage.client.job_payload(job_id)
            if n >= WARM and started:
                delays.append(started.output - began)
    return delays


def raw_pickups(stage: Stage) -> list[float]:
    """From before a bare insert that notifies to the committed claim of the session that listens."""
    claimed: list[float] = []
    ready, done = threading.Event(), threading.Event()
    samples = stage.scale.pickups + WARM

    def listen() -> None:
        with stage.connect() as listener, stage.connect() as claimer:
            listener.execute("listen bench_raw")
            ready.set()
            for _ in listener.notifies(stop_after=samples):
                claimer.execute(RAW_CLAIM, [1]).fetchall()
                claimed.append(time.time())
                done.set()

    stage.empty()
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    ready.wait(10)
    trips = []
    for _ in range(samples):
        done.clear()
        began = time.time()
        stage.conn.execute(RAW_ENQUEUE_AND_NOTIFY)
        done.wait(5)
        trips.append(claimed[-1] - began)
    thread.join(5)
    return trips[WARM:]
