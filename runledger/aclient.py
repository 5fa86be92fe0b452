"""The client for asyncio: the methods of `Client`, awaited.

    async with await AsyncClient.connect("postgresql://…") as client:
        await client.enqueue_job("email.send", {"to": "a@example.org"})

See `runledger.client` for the three kinds of source.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import psycopg
from psycopg.rows import tuple_row

from runledger import _calls
from runledger.errors import translated
from runledger.workflow import AsyncWorkflowHandle, Ear, address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from psycopg_pool import AsyncConnectionPool

P = ParamSpec("P")
R = TypeVar("R")


def _verb(make: Callable[P, _calls.Call[R]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, R]]:
    async def verb(self: AsyncClient, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.run(make(*args, **kwargs))

    return _calls.like(make, verb, owner="AsyncClient")  # type: ignore[no-any-return]


class AsyncClient:
    """Calls the SQL functions of Runledger, on a connection or a pool."""

    def __init__(self, source: psycopg.AsyncConnection[Any] | AsyncConnectionPool[Any]) -> None:
        """Use the caller's connection, in its transaction if there is one and never committing; or a pool."""
        self._source = source
        self._owned = False
        self._ear = Ear()

    @classmethod
    async def connect(cls, dsn: str = "", *, prepare_threshold: int | None = 5, **options: Any) -> Self:
        """Open a connection in autocommit mode; `prepare_threshold=None` suits a transaction pooler."""
        options = {"autocommit": True, "client_encoding": "UTF8", "fallback_application_name": "runledger", **options}
        client = cls(await psycopg.AsyncConnection.connect(dsn, prepare_threshold=prepare_threshold, **options))
        client._owned = True
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection that `connect` opened; the caller's own stays open."""
        if self._owned:
            await self._source.close()

    @asynccontextmanager
    async def _connection(self, patience: float | None = None) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        if isinstance(self._source, psycopg.AsyncConnection):
            yield self._source
        else:
            async with self._source.connection(patience) as connection:
                yield connection

    async def run(self, call: _calls.Call[R]) -> R:
        """Execute a call and read its result; errors of class RL become `RunledgerError`."""
        # A plain cursor, whatever cursor and row factories the connection prefers.
        with translated():
            async with (
                self._connection() as connection,
                psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor,
            ):
                await cursor.execute(*call.statement, binary=_calls.in_binary(connection))
                return call.read(await cursor.fetchall())

    def workflow(self, workflow_run_id: _calls.Id, organization_id: _calls.Id | None = None) -> AsyncWorkflowHandle:
        """Return the handle of a run, whose `result` waits for its result; asks nothing yet."""
        return AsyncWorkflowHandle(self._look, self._ear, call=_calls.workflow_result(workflow_run_id, organization_id))

    async def _look(self, call: _calls.Call[R], patience: float | None) -> tuple[R, str]:
        # A transaction of its own, or a savepoint: a long wait leaves none open between its looks.
        async with self._connection(patience) as connection, connection.transaction():
            return await AsyncClient(connection).run(call), address(connection)

    # definitions
    define_job = _verb(_calls.define_job)
    get_job_definition = _verb(_calls.get_job_definition)
    list_job_definitions = _verb(_calls.list_job_definitions)
    enable_job_type = _verb(_calls.enable_job_type)
    disable_job_type = _verb(_calls.disable_job_type)
    pause_job_type = _verb(_calls.pause_job_type)
    resume_job_type = _verb(_calls.resume_job_type)
    set_runtime_config = _verb(_calls.set_runtime_config)
    runtime_config = _verb(_calls.runtime_config)
    get_runtime_config = _verb(_calls.get_runtime_config)
    list_runtime_configs = _verb(_calls.list_runtime_configs)

    # jobs
    enqueue_job = _verb(_calls.enqueue_job)
    enqueue_jobs = _verb(_calls.enqueue_jobs)
    claim_jobs = _verb(_calls.claim_jobs)
    leased_jobs = _verb(_calls.leased_jobs)
    start_jobs = _verb(_calls.start_jobs)
    heartbeat_jobs = _verb(_calls.heartbeat_jobs)
    report_progress = _verb(_calls.report_progress)
    succeed_job = _verb(_calls.succeed_job)
    fail_job = _verb(_calls.fail_job)
    continue_job = _verb(_calls.continue_job)
    release_job = _verb(_calls.release_job)
    finish_jobs = _verb(_calls.finish_jobs)
    cancel_job = _verb(_calls.cancel_job)
    requeue_job = _verb(_calls.requeue_job)
    replay_job = _verb(_calls.replay_job)
    redrive_dead_letters = _verb(_calls.redrive_dead_letters)
    reap_expired_leases = _verb(_calls.reap_expired_leases)
    get_job = _verb(_calls.get_job)
    list_jobs = _verb(_calls.list_jobs)
    list_queues = _verb(_calls.list_queues)
    list_waiting_jobs = _verb(_calls.list_waiting_jobs)
    list_running_jobs = _verb(_calls.list_running_jobs)
    find_job = _verb(_calls.find_job)
    job_statuses = _verb(_calls.job_statuses)
    list_job_events = _verb(_calls.list_job_events)
    list_job_attempts = _verb(_calls.list_job_attempts)
    list_job_logs = _verb(_calls.list_job_logs)
    job_log_payloads = _verb(_calls.job_log_payloads)
    list_dead_letters = _verb(_calls.list_dead_letters)
    job_payload = _verb(_calls.job_payload)
    correct_payload = _verb(_calls.correct_payload)
    redact_job = _verb(_calls.redact_job)
    log_job = _verb(_calls.log_job)
    log_jobs = _verb(_calls.log_jobs)

    # workflows
    enqueue_workflow = _verb(_calls.enqueue_workflow)
    validate_workflow = _verb(_calls.validate_workflow)
    explain_workflow = _verb(_calls.explain_workflow)
    complete_external_step = _verb(_calls.complete_external_step)
    append_workflow_steps = _verb(_calls.append_workflow_steps)
    cancel_workflow = _verb(_calls.cancel_workflow)
    workflow_result = _verb(_calls.workflow_result)
    await_workflow = _verb(_calls.await_workflow)
    get_workflow = _verb(_calls.get_workflow)
    list_workflows = _verb(_calls.list_workflows)
    list_live_workflows = _verb(_calls.list_live_workflows)
    find_workflow = _verb(_calls.find_workflow)
    list_workflow_steps = _verb(_calls.list_workflow_steps)
    get_workflow_step = _verb(_calls.get_workflow_step)
    list_workflow_edges = _verb(_calls.list_workflow_edges)
    list_workflow_mutations = _verb(_calls.list_workflow_mutations)
    workflow_tree = _verb(_calls.workflow_tree)
    workflow_mermaid = _verb(_calls.workflow_mermaid)
    step_inputs = _verb(_calls.step_inputs)

    # schedules
    next_fire_at = _verb(_calls.next_fire_at)
    upsert_schedule = _verb(_calls.upsert_schedule)
    get_schedule = _verb(_calls.get_schedule)
    list_schedules = _verb(_calls.list_schedules)
    pause_schedule = _verb(_calls.pause_schedule)
    resume_schedule = _verb(_calls.resume_schedule)
    delete_schedule = _verb(_calls.delete_schedule)
    preview_schedule = _verb(_calls.preview_schedule)
    fire_due_schedules = _verb(_calls.fire_due_schedules)
    next_schedule_at = _verb(_calls.next_schedule_at)

    # catalogs
    sync_catalog = _verb(_calls.sync_catalog)

    # operations
    register_worker = _verb(_calls.register_worker)
    idle_worker = _verb(_calls.idle_worker)
    deregister_worker = _verb(_calls.deregister_worker)
    list_workers = _verb(_calls.list_workers)
    run_maintenance = _verb(_calls.run_maintenance)
    prune = _verb(_calls.prune)
    retention = _verb(_calls.retention)
    set_retention = _verb(_calls.set_retention)
    job_metrics = _verb(_calls.job_metrics)
    metrics_prometheus = _verb(_calls.metrics_prometheus)
    fsck = _verb(_calls.fsck)
    grant_access = _verb(_calls.grant_access)
    revoke_access = _verb(_calls.revoke_access)
    list_operator_actions = _verb(_calls.list_operator_actions)
    why = _verb(_calls.why)
    health = _verb(_calls.health)
    why_workflow = _verb(_calls.why_workflow)
    error_codes = _verb(_calls.error_codes)
    schema_info = _verb(_calls.schema_info)
