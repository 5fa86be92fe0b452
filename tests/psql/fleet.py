"""Workers of other languages as processes, and what any of them must do: the tests of each language call these."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from tests.support.database import Db
from tests.support.waiting import until

PATIENCE = 60.0


class Fleet:
    """Starts workers with `command` in `directory`; what they print goes to a file."""

    def __init__(self, db: Db, command: list[str], environment: Mapping[str, str], directory: Path) -> None:
        self.db = db
        self._command = command
        self._environment = {**os.environ, **environment}
        self._directory = directory
        db.execute("select runledger.define_job('words.count', max_attempts => 3)")

    def _start(self, name: str, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (self._directory / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                self._command, env={**self._environment, "WORKER": name, **settings}, cwd=self._directory,
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def run_dry(self, name: str, **settings: str) -> str:
        """Let one work until there is nothing to do; return what it printed."""
        process = self._start(name, {"ONCE": "1", **settings})
        try:
            assert process.wait(PATIENCE) == 0, self.printed(name)
        finally:
            kill(process)
        return self.printed(name)

    @contextmanager
    def running(self, name: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        process = self._start(name, settings)
        try:
            yield process
        finally:
            kill(process)

    def printed(self, name: str) -> str:
        return (self._directory / f"{name}.log").read_text()

    def enqueue(self, payload: str) -> UUID:
        job_id: UUID = self.db.value("select job_id from runledger.enqueue_job('words.count', %s::jsonb)", [payload])
        return job_id

    def status(self, job_id: UUID) -> str:
        status: str = self.db.value("select status::text from runledger.job_queue where id = %s", [job_id])
        return status


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the worker and all it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def works_through_a_mixed_queue(fleet: Fleet) -> None:
    texts = ["one two three", "o'clock \"quoted\" $$; select 1; -- \\", "\u202eevil\u202c \U0001f469\u200d\U0001f680", "a\nb\tc"]
    jobs = {fleet.enqueue(fleet.db.value("select jsonb_build_object('text', %s::text)::text", [t])): len(t.split()) for t in texts}
    poison = [fleet.enqueue(payload) for payload in ('{"text": null}', "{}", "[]", '"text"')]
    fleet.run_dry("w1")
    for job_id, words in jobs.items():
        job = fleet.db.job(job_id)
        assert (job["status"], job["output"], job["attempt"]) == ("SUCCEEDED", {"words": words}, 1), fleet.printed("w1")
        assert fleet.db.events(job_id) == ["ENQUEUED", "LEASED", "SUCCEEDED"]
    for job_id in poison:
        job = fleet.db.job(job_id)
        assert (job["status"], job["last_error_code"]) == ("DEAD_LETTERED", "words.no_text"), fleet.printed("w1")


def works_through_a_workflow(fleet: Fleet) -> None:
    """It never learns of the graph: each step is a job that comes when it may."""
    steps = [
        {"key": "first", "job_type": "words.count", "payload": {"text": "a b"}},
        {"key": "bad", "job_type": "words.count", "after_success": ["first"]},
        {"key": "good", "job_type": "words.count", "payload": {"text": "a"}, "after_success": ["first"]},
        {"key": "last", "job_type": "words.count", "payload": {"text": "the end"}, "after_terminal": ["bad", "good"]},
    ]
    run = "select workflow_run_id from runledger.enqueue_workflow('words', %s::jsonb)"
    run_id = fleet.db.value(run, [json.dumps(steps)])
    fleet.run_dry("w1")
    ended = fleet.db.all(
        "select step_key, status::text from runledger.workflow_steps where workflow_run_id = %s order by ordinal", [run_id]
    )
    assert {row["step_key"]: row["status"] for row in ended} == {
        "first": "SUCCEEDED", "bad": "FAILED", "good": "SUCCEEDED", "last": "SUCCEEDED",
    }, fleet.printed("w1")  # fmt: skip
    assert fleet.db.value("select status::text from runledger.workflow_runs") == "COMPLETED_WITH_ERRORS"


def keeps_its_lease_and_loses_it_when_killed(fleet: Fleet, hold: Path) -> None:
    """Beats while it works; killed, its job runs again elsewhere, charged, and its late word is refused."""
    hold.touch()
    job_id = fleet.enqueue('{"text": "to be or not"}')
    with fleet.running("w1", LEASE="5", HOLD=str(hold)) as process:
        until(lambda: fleet.status(job_id) == "LEASED", "the job was never claimed")
        first = fleet.db.job(job_id)
        beaten = until(
            lambda: (now := fleet.db.job(job_id))["last_heartbeat_at"] > first["last_heartbeat_at"] and now, "no heartbeat"
        )
        assert beaten["lease_expires_at"] > first["lease_expires_at"]
        assert beaten["status"] == "LEASED"
        kill(process)
    hold.unlink()
    with fleet.running("w2", LEASE="3"):
        # Not before the reaper found the lease expired, and the delay it gives.
        until(lambda: fleet.db.attempts(job_id)[0]["finished_at"], "the lease was never reaped")
        fleet.db.execute("update runledger.job_queue set next_run_at = now() where id = %s and status = 'PENDING'", [job_id])
        until(lambda: fleet.status(job_id) == "SUCCEEDED", "the job was never finished")
    attempts = fleet.db.attempts(job_id)
    assert [(a["worker_id"], a["disposition"]) for a in attempts] == [("w1", "RETRY_SCHEDULED"), ("w2", "SUCCEEDED")]
    assert fleet.db.job(job_id)["output"] == {"words": 4}
    late = fleet.db.all(
        "select disposition, code from runledger.finish_jobs(jsonb_build_array(jsonb_build_object('job_id', %s::uuid,"
        " 'lease_token', %s::bigint, 'outcome', 'SUCCEEDED')))",
        [job_id, first["lease_token"]],
    )
    assert late == [{"disposition": "LEASE_LOST", "code": "job.lease_owner_mismatch"}]


def two_share_the_work(fleet: Fleet) -> None:
    ids = [fleet.enqueue('{"text": "word"}') for _ in range(20)]
    with fleet.running("w1"), fleet.running("w2"):
        until(lambda: all(fleet.status(job_id) == "SUCCEEDED" for job_id in ids), "jobs are left")
    assert [len(fleet.db.attempts(job_id)) for job_id in ids] == [1] * len(ids)
