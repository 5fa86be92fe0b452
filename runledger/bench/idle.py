"""What a worker costs that has nothing to do."""

from __future__ import annotations

import time
from collections.abc import Iterator

from runledger.bench.report import Figure
from runledger.bench.stage import Stage

STATEMENTS = """
select coalesce(sum(s.calls), 0) from pg_stat_statements as s
  join pg_database as d on d.oid = s.dbid and d.datname = current_database()
 where s.query ~ '^select .* from runledger\\.'
"""
# Where statements are not counted, calls of functions are; they reach the views within a second or so.
CALLS = """
select coalesce(sum(calls), 0) from pg_stat_user_functions
 where schemaname = 'runledger'
   and funcname in ('claim_jobs', 'finish_jobs', 'idle_worker', 'heartbeat_jobs', 'leased_jobs',
                    'reap_expired_leases', 'fire_due_schedules', 'next_schedule_at', 'run_maintenance')
"""


def measure(stage: Stage) -> Iterator[Figure]:
    """Statements a second of one idle worker, all its loops together."""
    stage.empty()
    query = STATEMENTS if stage.counts_statements else CALLS
    with stage.worker() as process:
        stage.until_idle()
        time.sleep(min(3.0, stage.scale.idle_seconds))
        before, calls = stage.reading([process.pid]), stage.value(query)
        time.sleep(stage.scale.idle_seconds)
        after, calls_after = stage.reading([process.pid]), stage.value(query)
    what = "statements of an idle worker"
    if not calls:
        yield Figure(what=what, ours="not measured: track_functions is off", goal="<= 1/s")
        return
    rate = float(calls_after - calls) / (after.at - before.at)
    yield Figure(what=what, ours=f"{rate:.2f}/s", ratio=rate, goal="<= 1/s", reached=rate <= 1)
    spent = before.until(after, after.at - before.at)
    if spent.client_cpu_us is not None:
        server = "not measured" if spent.server_cpu_us is None else f"{spent.server_cpu_us / 1e4:.2f} %"
        shown = f"worker {spent.client_cpu_us / 1e4:.2f} %, server {server}"
        yield Figure(what="CPU of an idle worker, of one core", ours=shown)
