"""prune, retention and set_retention: what goes, what stays, and that the ledger is sound in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import Ledger

DAY, SECOND, INSTANT = timedelta(days=1), timedelta(seconds=1), timedelta(microseconds=1)
TRIES = 5000


@pytest.fixture
def start(q: Ledger) -> Flows:
    return Flows(q)


def call(q: Ledger, **arguments: Any) -> dict[str, tuple[int, bool]]:
    return {r["task"]: (r["affected"], r["more"]) for r in q.rows("prune", **arguments)}


def prune(q: Ledger, **arguments: Any) -> dict[str, tuple[int, bool]]:
    """A call that has nothing to count first: any transaction on the server, of another database too, holds that up."""
    for _ in range(TRIES):
        tasks = call(q, **arguments)
        if tasks.keys() != {"rollup"}:
            return {task: told for task, told in tasks.items() if task != "rollup"}
    raise TimeoutError("events are not counted")


def prune_all(q: Ledger, **arguments: Any) -> dict[str, int]:
    """Call until nothing more is said to be left; the sums. fsck after each call: prune may stop at any time."""
    sums: dict[str, int] = {}
    for _ in range(300):
        tasks = prune(q, **arguments)
        for task, (affected, _more) in tasks.items():
            sums[task] = sums.get(task, 0) + affected
        assert q.db.findings() == []
        if not any(more for _affected, more in tasks.values()):
            return sums
    raise AssertionError("it does not end")


def maintain(q: Ledger, times: int = 60) -> int:
    """Call run_maintenance as a worker does, until it says that nothing more is to be done."""
    counted(q.db)
    for n in range(times):
        if not any(r["more"] for r in q.rows("run_maintenance")):
            return n + 1
    raise AssertionError("it does not end")


def counted(db: Db) -> None:
    """Have the metrics count all events, as maintenance does all the time: an open transaction would hold that up."""
    for _ in range(TRIES):
        db.execute("select * from runledger._roll_up(runledger._event_mark(), 1000000, runledger._now())")
        if not db.value("select runledger._is_uncounted('infinity')"):
            return
    raise TimeoutError("events are not counted")


def jobs(db: Db) -> set[UUID]:
    return set(db.column("select id from runledger.job_queue"))


def count(db: Db, table: str) -> int:
    n: int = db.value(f"select count(*) from runledger.{table}")
    return n


def succeeded(q: Ledger, **job: Any) -> UUID:
    lease = q.leased(**job)
    q.succeed(lease)
    return lease["job_id"]


def days(db: Db, parent: str = "job_events") -> list[str]:
    return db.column(
        "select right(c.relname, 8) from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = %s::regclass and c.relname ~ '[0-9]{8}$' order by 1",
        [f"runledger.{parent}"],
    )


def test_a_publication_of_all_tables_stops_no_upkeep(db: Db, q: Ledger, start: Flows, clock: Clock):
    """Whoever replicates the database, to move it for example: each row that changes or goes can be told apart."""
    db.execute("set client_min_messages = error")
    db.execute(f"create publication all_of_{db.database.name} for tables in schema runledger")
    q.dead()
    for _ in range(2):
        succeeded(q)
        maintain(q)
    start(step("a"), step("b"))
    maintain(q)
    what = "from runledger.job_metrics_slots where outcome = 'SUCCEEDED'"
    assert db.value(f"select sum(events) {what}") == 2
    clock.advance(100 * DAY)
    maintain(q)
    maintain(q)
    assert (count(db, "job_metrics_slots"), count(db, "job_queue")) == (0, 2)
    assert db.value("select sum(events) from runledger.job_metrics_totals where outcome = 'SUCCEEDED'") == 2


class TestJobs:
    def test_what_finished_long_ago_goes_with_all_that_belongs_to_it(self, db: Db, q: Ledger, clock: Clock):
        succeeded(q)
        dead = q.dead()
        q.row("cancel_job", job_id=q.enqueue())
        clock.advance(13 * DAY)
        assert prune_all(q)["jobs"] == 0
        clock.advance(1.1 * DAY)
        # A job and its attempt; a job that never ran.
        assert prune(q)["jobs"] == (3, False)
        assert jobs(db) == {dead}
        assert db.column("select distinct job_id from runledger.job_attempts") == [dead]
        # The letter is kept for 90 days.
        clock.advance(77 * DAY)
        assert prune_all(q)["jobs"] == 3
        for table in ("job_queue", "job_attempts", "job_dead_letters"):
            assert count(db, table) == 0

    def test_what_is_not_finished_stays_however_old_it_is(self, db: Db, q: Ledger, clock: Clock):
        pending = q.enqueue(priority=1)
        retried = q.leased()
        q.fail(retried)
        leased = q.leased()
        clock.advance(400 * DAY)
        assert q.beat(leased) == ["LOST"]
        assert [r["disposition"] for r in q.reap()] == ["RETRY_SCHEDULED"]
        assert prune_all(q, older_than=DAY)["jobs"] == 0
        assert jobs(db) == {pending, retried["job_id"], leased["job_id"]}

    def test_the_age_counts_from_the_end(self, db: Db, q: Ledger, clock: Clock):
        lease = q.leased(lease_seconds=86400)
        clock.advance(0.9 * DAY)
        q.succeed(lease)
        clock.advance(0.9 * DAY)
        assert prune(q, older_than=DAY)["jobs"] == (0, False)
        clock.advance(0.2 * DAY)
        assert prune(q, older_than=DAY)["jobs"] == (2, False)
        assert jobs(db) == set()

    def test_a_canceled_handler_that_may_be_at_work_keeps_its_job(self, db: Db, q: Ledger, clock: Clock):
        lease = q.leased(lease_seconds=7200)
        q.row("cancel_job", job_id=lease["job_id"])
        clock.advance(3600)
        # To the end of each pass: just after midnight it has a day of history to drop, too.
        assert prune_all(q, older_than=timedelta(minutes=1))["jobs"] == 0
        assert q.finish_one(lease, "SUCCEEDED")["code"] == "job.canceled"
        clock.advance(120)
        assert prune_all(q, older_than=timedelta(minutes=1))["jobs"] == 2
        # The late word of a handler whose job is gone.
        assert q.finish_one(lease, "SUCCEEDED")["disposition"] == "LEASE_LOST"

    def test_a_redacted_job_counts_from_then_on(self, db: Db, q: Ledger, clock: Clock):
        job_id = succeeded(q)
        clock.advance(20 * DAY)
        q.row("redact_job", job_id=job_id, reason="asked for")
        assert prune(q)["jobs"] == (0, False)
        clock.advance(15 * DAY)
        assert prune_all(q)["jobs"] == 2

    def test_dead_letters_have_an_age_of_their_own(self, db: Db, q: Ledger, clock: Clock):
        dead, fine = q.dead(), succeeded(q)
        clock.advance(3 * DAY)
        assert prune_all(q, older_than=10 * DAY, dead_letters_older_than=2 * DAY)["jobs"] == 3
        assert jobs(db) == {fine}
        assert dead not in jobs(db)

    def test_the_letter_of_a_requeued_job_goes_with_the_job(self, db: Db, q: Ledger, clock: Clock):
        dead = q.dead()
        q.row("requeue_job", job_id=dead)
        q.succeed(q.hold(dead))
        clock.advance(15 * DAY)
        assert prune_all(q)["jobs"] == 4
        assert count(db, "job_dead_letters") == 0

    def test_an_idempotency_key_is_free_again(self, db: Db, q: Ledger, clock: Clock):
        first = q.enqueue(idempotency_key="k", payload={"n": 1})
        q.succeed(q.hold(first))
        clock.advance(15 * DAY)
        with q.refused("job.idempotency_conflict"):
            q.enqueue(idempotency_key="k", payload={"n": 2})
        prune_all(q)
        assert q.row("enqueue_job", job_type="t", idempotency_key="k", payload={"n": 2})["disposition"] == "INSERTED"

    def test_replays(self, db: Db, q: Ledger, clock: Clock):
        source = succeeded(q)
        replay = q.row("replay_job", job_id=source, request_key="k", reason="r")["job_id"]
        clock.advance(15 * DAY)
        # The source goes, the replay is not finished: its row stays with it.
        assert prune_all(q)["jobs"] == 2
        assert db.column("select replay_job_id from runledger.job_replays") == [replay]
        with q.refused("job.not_found"):
            q.row("replay_job", job_id=source, request_key="k", reason="r")
        q.succeed(q.hold(replay))
        clock.advance(15 * DAY)
        assert prune_all(q)["jobs"] == 3
        assert count(db, "job_replays") == 0

    def test_at_most_max_rows_a_call_and_more_says_so(self, db: Db, q: Ledger, clock: Clock):
        ids = [succeeded(q) for _ in range(5)]
        clock.advance(15 * DAY)
        assert prune(q, max_rows=4)["jobs"] == (4, True)
        assert jobs(db) == set(ids[2:])
        assert prune(q, max_rows=5)["jobs"] == (4, True)
        assert prune(q, max_rows=5)["jobs"] == (2, False)

    def test_one_job_goes_whole_also_when_it_does_not_fit(self, db: Db, q: Ledger, clock: Clock):
        lease = q.leased(max_attempts=5)
        for _ in range(3):
            q.fail(lease)
            clock.advance(3600)
            lease = q.hold(lease["job_id"])
        q.succeed(lease)
        clock.advance(15 * DAY)
        assert prune(q, max_rows=1)["jobs"] == (5, True)
        assert jobs(db) == set()

    def test_the_attempts_of_earlier_runs_go_before_a_job_that_does_not_fit(self, db: Db, q: Ledger, clock: Clock):
        lease = q.leased()
        for _ in range(9):
            q.row("continue_job", **lease)
            lease = q.hold(lease["job_id"])
        q.succeed(lease)
        clock.advance(15 * DAY)
        assert prune(q, max_rows=4)["jobs"] == (4, True)
        assert [a["run_number"] for a in db.attempts(lease["job_id"])] == [5, 6, 7, 8, 9, 10]
        assert db.findings() == []
        assert prune_all(q, max_rows=4)["jobs"] == 7

    def test_a_job_that_somebody_holds_is_left_for_the_next_pass(self, db: Db, q: Ledger, clock: Clock):
        ids = [succeeded(q) for _ in range(3)]
        clock.advance(15 * DAY)
        counted(db)
        holder = db.connect(autocommit=False)
        holder.execute("select from runledger.job_queue where id = %s for update", [ids[1]])
        q.conn.execute("set lock_timeout = '1ms'")
        assert prune_all(q)["jobs"] == 4
        assert jobs(db) == {ids[1]}
        holder.rollback()
        assert prune_all(q)["jobs"] == 2

    def test_old_unfinished_jobs_are_passed_over_in_pieces(self, db: Db, q: Ledger, clock: Clock):
        looks = db.value("select value from runledger.limits where name = 'prune_looks'")
        q.enqueue_many(looks, priority=1)
        q.enqueue_many(looks // 2, priority=1)
        late = succeeded(q)
        clock.advance(15 * DAY)
        assert prune(q)["jobs"] == (0, True)
        assert prune(q)["jobs"] == (2, False)
        assert late not in jobs(db)


class TestRuns:
    def finished(self, start: Flows, **run: Any) -> Flow:
        flow = start(step("a"), gate("g", "a"), step("b", "g"), **run)
        flow.succeed("a")
        flow.append(step("c", "a"))
        flow.complete("g")
        flow.succeed("b", "c")
        assert flow.status == "SUCCEEDED"
        return flow

    def empty(self, db: Db) -> bool:
        tables = ("workflow_runs", "workflow_steps", "workflow_step_dependencies", "workflow_run_mutations")
        return not any(count(db, t) for t in (*tables, "job_queue", "job_attempts", "job_dead_letters"))

    def test_a_run_goes_as_a_whole(self, db: Db, start: Flows, q: Ledger, clock: Clock):
        self.finished(start)
        clock.advance(13 * DAY)
        assert prune_all(q)["workflows"] == 0
        clock.advance(2 * DAY)
        # 1 run, 4 steps, 3 edges, 1 append, 3 jobs with an attempt each.
        assert prune(q)["workflows"] == (15, False)
        assert self.empty(db)

    def test_the_jobs_of_a_run_that_goes_on_stay(self, db: Db, start: Flows, q: Ledger, clock: Clock):
        flow = start(step("a"), gate("g", "a"))
        flow.succeed("a")
        clock.advance(100 * DAY)
        assert prune_all(q) == {
            "workflows": 0, "jobs": 0, "history": 0, "partitions": 8,
        }  # fmt: skip
        assert flow.states() == {"a": "SUCCEEDED", "g": "WAITING_FOR_EXTERNAL"}
        assert flow.complete("g")["run_status"] == "SUCCEEDED"

    def test_a_run_with_a_dead_letter_is_kept_as_long_as_that(self, db: Db, start: Flows, q: Ledger, clock: Clock):
        failed = start(step("a"), step("b", always="a"))
        failed.fail("a")
        failed.succeed("b")
        canceled = start(step("a"), step("b", "a"))
        canceled.cancel()
        clock.advance(30 * DAY)
        # The run, two steps, the edge and the one job, which was never claimed.
        assert prune_all(q)["workflows"] == 5
        assert failed.status == "COMPLETED_WITH_ERRORS"
        clock.advance(61 * DAY)
        prune_all(q)
        assert self.empty(db)

    def test_a_canceled_run_whose_handler_may_be_at_work_stays(self, db: Db, start: Flows, q: Ledger, clock: Clock):
        flow = start(step("a"), active_key="k")
        flow.lease("a", lease_seconds=7200)
        flow.cancel()
        clock.advance(3600)
        assert prune(q, older_than=timedelta(minutes=1))["workflows"] == (0, False)
        assert flow.run["active_key_held"]
        clock.advance(7200)
        prune_all(q, older_than=timedelta(minutes=1))
        assert self.empty(db)

    def test_a_large_run_is_taken_away_in_pieces_that_nobody_sees(self, db: Db, start: Flows, q: Ledger, clock: Clock):
        flow = start(*(step(f"s{i}", f"s{i - 1}" if i else ()) for i in range(30)), idempotency_key="k")
        flow.succeed(*(f"s{i}" for i in range(30)))
        other = self.finished(start)
        clock.advance(15 * DAY)
        assert prune(q, max_rows=10)["workflows"] == (10, True)
        assert flow.run["pruned_at"] is not None
        for function in ("get_workflow", "list_workflow_steps", "list_workflow_edges", "list_workflow_mutations"):
            assert q.rows(function, workflow_run_id=flow.id) == []
        assert q.rows("get_workflow_step", workflow_run_id=flow.id, step_key="s29") == []
        for function in ("workflow_tree", "workflow_mermaid", "workflow_result"):
            with q.refused("workflow.run_not_found"):
                q.rows(function, workflow_run_id=flow.id)
        assert [r["workflow_run_id"] for r in q.rows("list_workflows")] == [other.id]
        assert db.column("select workflow_run_id from runledger.workflows") == [other.id]
        assert set(db.column("select workflow_run_id from runledger.workflow_step_status")) == {other.id}
        for call in (flow.cancel, lambda: flow.complete("s0"), lambda: flow.append(step("x"))):
            with q.refused("workflow.run_not_found"):
                call()
        again = start(step("a"), idempotency_key="k")
        assert again.id != flow.id
        sums = prune_all(q, max_rows=10)
        # 30 steps, jobs and attempts, 29 edges and the run, less what went first; then the other run.
        assert sums["workflows"] == 120 - 10 + 15
        assert db.column("select id from runledger.workflow_runs") == [again.id]
        again.cancel()

    def test_a_job_that_somebody_holds_keeps_its_step_and_its_run(self, db: Db, start: Flows, q: Ledger, clock: Clock):
        flow = self.finished(start)
        job_id = flow.job_id("b")
        clock.advance(15 * DAY)
        counted(db)
        holder = db.connect(autocommit=False)
        holder.execute("select from runledger.job_queue where id = %s for update", [job_id])
        q.conn.execute("set lock_timeout = '1ms'")
        # Two steps with their jobs and attempts, three edges and the append.
        assert prune_all(q)["workflows"] == 11
        assert jobs(db) == {job_id}
        holder.rollback()
        q.row("redact_job", job_id=job_id, reason="meanwhile")
        assert prune_all(q)["workflows"] == 4
        assert self.empty(db)

    def test_a_run_that_somebody_holds_is_left_for_the_next_pass(self, db: Db, start: Flows, q: Ledger, clock: Clock):
        flow = self.finished(start)
        clock.advance(15 * DAY)
        counted(db)
        holder = db.connect(autocommit=False)
        holder.execute("select from runledger.workflow_runs where id = %s for update", [flow.id])
        q.conn.execute("set lock_timeout = '1ms'")
        assert prune_all(q)["workflows"] == 0
        holder.rollback()
        assert prune_all(q)["workflows"] == 15


class TestHistory:
    def test_a_day_goes_with_its_partitions_one_a_call(self, db: Db, q: Ledger, clock: Clock):
        succeeded(q)
        today = days(db)[0]
        clock.advance(16 * DAY)
        counted(db)
        # A call that deletes rows drops nothing.
        assert prune(q) == {"workflows": (0, False), "jobs": (2, False), "history": (0, False), "partitions": (0, True)}
        assert days(db)[0] == days(db, "job_logs")[0] == today
        assert prune(q)["partitions"] == (1, True)
        assert (days(db)[0] == today, days(db, "job_logs")[0] == today) == (False, True)
        assert prune(q)["partitions"] == (1, True)
        assert days(db, "job_logs")[0] > today
        prune_all(q)
        oldest = datetime.strptime(days(db)[0], "%Y%m%d").replace(tzinfo=UTC)
        assert oldest + DAY > clock.now() - 14 * DAY
        assert q.row("retention")["history_begins_at"] == oldest

    def test_a_day_that_is_not_over_for_long_enough_stays(self, db: Db, q: Ledger, clock: Clock):
        before = days(db)
        clock.advance(1.5 * DAY)
        prune_all(q, older_than=2 * DAY)
        assert days(db) == before

    def test_rows_without_a_partition_are_deleted_in_pieces(self, db: Db, q: Ledger, clock: Clock):
        clock.advance(40 * DAY)
        for _ in range(4):
            q.row("log_job", job_id=succeeded(q), level="info", message="x")
        assert (count(db, "job_events_default"), count(db, "job_logs_default")) == (12, 4)
        clock.advance(13 * DAY)
        young = q.enqueue()
        clock.advance(2 * DAY)
        assert prune(q, max_rows=14)["history"] == (6, True)
        assert prune_all(q, max_rows=14)["history"] == 10
        assert (count(db, "job_events_default"), count(db, "job_logs_default")) == (1, 0)
        assert db.events(young) == ["ENQUEUED"]

    def test_a_large_default_partition_is_walked_a_number_of_blocks_a_call(self, db: Db, q: Ledger, clock: Clock):
        blocks = db.value("select value / 10 from runledger.limits where name = 'prune_looks'")
        job_id = succeeded(q)
        db.execute(
            "insert into runledger.job_events (job_id, run_number, event_type, payload, occurred_at)"
            " select %s, 1, 'PROGRESS',"
            " jsonb_build_object('x', repeat(md5(n::text), 60)), now() + interval '200 days'"
            " from generate_series(1, 5 * %s) n",
            [job_id, blocks],
        )
        assert db.value("select pg_relation_size('runledger.job_events_default')") > blocks * 8192
        assert prune(q)["history"] == (0, True)
        assert prune(q)["history"] == (0, False)
        clock.advance(220 * DAY)
        assert prune_all(q)["history"] == 5 * blocks

    def test_a_partition_in_use_is_waited_for_briefly_and_left_for_the_next_pass(self, db: Db, q: Ledger, clock: Clock):
        clock.advance(20 * DAY)
        reader = db.connect(admin=True, autocommit=False)
        reader.execute("select count(*) from runledger.job_events")
        q.conn.execute("set lock_timeout = '1min'; set statement_timeout = '10s'")
        before = days(db)
        with q.conn.transaction():
            q.conn.execute("set local lock_timeout = '2min'")
            assert prune(q)["partitions"] == (0, False)
            assert q.conn.execute("show lock_timeout").fetchone() == ("2min",)
        assert q.conn.execute("show lock_timeout").fetchone() == ("1min",)
        assert days(db) == before
        reader.rollback()
        assert prune(q)["partitions"] == (1, True)
        assert q.conn.execute("show lock_timeout").fetchone() == ("1min",)

    def test_a_partition_that_a_cursor_of_the_caller_reads_is_left(self, db: Db, q: Ledger, clock: Clock):
        oldest = days(db)[0]
        clock.advance(20 * DAY)
        counted(db)
        with q.conn.transaction():
            q.conn.execute(f"declare c cursor for select from runledger.job_events_{oldest}")
            assert prune(q)["partitions"] == (0, False)
        assert days(db)[0] == oldest

    def test_only_runs_that_may_go_are_marked(self, db: Db, start: Flows, q: Ledger, clock: Clock):
        """As _prune_runs has looked at them, under the lock once more."""
        now = clock.stop()
        flows = {"open": start(gate("g")), "done": start(step("a")), "failed": start(step("a")), "gate": start(gate("g")), "other": start(step("a"))}
        for name in ("done", "other"):
            flows[name].succeed("a")
        flows["failed"].fail("a")
        flows["gate"].complete("g", "FAILED")
        clock.advance(10)
        asked = [f.id for name, f in flows.items() if name != "other"]

        def marked(finished: timedelta, dead: timedelta) -> set[str]:
            with db.conn.transaction(force_rollback=True):
                db.execute("select runledger._mark_runs(%s, %s, %s, %s)", [asked, now + finished, now + dead, now + 10 * SECOND])
                rows = db.all("select id, pruned_at, updated_at from runledger.workflow_runs")
            by_id = {f.id: name for name, f in flows.items()}
            assert all(r["updated_at"] == r["pruned_at"] for r in rows if r["pruned_at"])
            return {by_id[r["id"]] for r in rows if r["pruned_at"]}

        assert marked(timedelta(), SECOND) == marked(timedelta(), timedelta()) == set()
        assert marked(INSTANT, timedelta()) == {"done", "gate"}
        assert marked(INSTANT, INSTANT) == {"done", "gate", "failed"}
        assert marked(SECOND, -DAY) == {"done", "gate"}

    def test_a_stricter_limit_of_the_caller_holds(self, db: Db, q: Ledger, clock: Clock):
        clock.advance(20 * DAY)
        reader = db.connect(admin=True, autocommit=False)
        reader.execute("select count(*) from runledger.job_events")
        q.conn.execute("set lock_timeout = '1ms'")
        assert prune(q)["partitions"] == (0, False)
        assert q.conn.execute("show lock_timeout").fetchone() == ("1ms",)
        reader.rollback()

    def test_tables_of_others_that_end_in_eight_digits_are_no_days(self, db: Db, q: Ledger, clock: Clock):
        """With thousands of partitions the planner reads the names of all tables first."""
        db.execute("create table public.orders_99999999 (id int)")
        db.execute("create table public.job_events_20000101 (id int)")
        today = days(db)[0]
        with db.connect(admin=True) as conn:
            conn.execute("set enable_nestloop = off")
            [(oldest,)] = conn.execute("select runledger._oldest_partition('1 day', runledger._now() + interval '3 days')")
        assert oldest == f"job_events_{today}"

    def test_a_partition_that_somebody_depends_on_stands_in_the_way_of_nothing_else(
        self, db: Db, q: Ledger, clock: Clock
    ):
        lease = q.leased()
        oldest = days(db)[0]
        db.execute(f"create view public.mine as select job_id from runledger.job_events_{oldest}")
        clock.advance(20 * DAY)
        assert prune(q)["partitions"] == (0, False)
        maintain(q)
        assert db.job(lease["job_id"])["status"] == "PENDING"  # reaped
        assert days(db)[0] == oldest
        [late] = [c for c in q.rows("health") if c["code"] == "upkeep.retention"]
        assert late["level"] == "WARN"
        assert oldest in late["explanation"]
        db.execute("drop view public.mine")
        clock.advance(timedelta(minutes=2))
        maintain(q)
        assert oldest not in days(db)

    def test_only_tables_that_hold_a_day_are_dropped(self, db: Db, q: Ledger, clock: Clock):
        db.execute("create table runledger.job_events_20200101 (like runledger.job_events)")
        clock.advance(20 * DAY)
        prune_all(q)
        assert db.value("select to_regclass('runledger.job_events_20200101')") is not None
        db.execute("drop table runledger.job_events_20200101")


class TestFsckWhereHistoryBegins:
    """Jobs that outlive their events are sound; what came later is judged as before."""

    def outlived(self, q: Ledger, clock: Clock) -> dict[str, UUID]:
        """Jobs in every state, their events dropped."""
        made = {"pending": q.enqueue(priority=1), "dead": q.dead(), "requeued": q.dead()}
        retried = q.leased()
        q.fail(retried)
        made["retried"] = retried["job_id"]
        q.row("requeue_job", job_id=made["requeued"], reason="r")
        made["leased"] = q.leased(priority=1000, lease_seconds=86400)["job_id"]
        clock.advance(20 * DAY)
        q.db.execute(
            "update runledger.job_queue set lease_expires_at = runledger._now() + interval '1 d',"
            " last_heartbeat_at = runledger._now() where lease_token is not null"
        )
        prune_all(q)
        assert count(q.db, "job_events") == 0
        return made

    def test_jobs_that_outlive_their_events_are_sound(self, db: Db, q: Ledger, clock: Clock):
        made = self.outlived(q, clock)
        assert db.findings() == []
        lease = {"job_id": made["leased"], "lease_token": db.job(made["leased"])["lease_token"]}
        q.succeed(lease)
        q.row("cancel_job", job_id=made["pending"])
        q.row("requeue_job", job_id=made["dead"])
        assert {c["job_id"] for c in q.claim(9)} == {made["dead"], made["requeued"], made["retried"]}
        assert db.events(made["leased"]) == ["SUCCEEDED"]
        assert db.findings() == []

    @pytest.mark.corrupts
    def test_a_missing_event_of_later_is_found(self, db: Db, q: Ledger, clock: Clock):
        made = self.outlived(q, clock)
        clock.advance(3600)
        lease = {"job_id": made["leased"], "lease_token": db.job(made["leased"])["lease_token"]}
        q.succeed(lease)
        q.row("requeue_job", job_id=made["dead"])
        [again] = [c for c in q.claim(9) if c["job_id"] == made["dead"]]
        q.succeed({k: again[k] for k in ("job_id", "lease_token")})
        new = q.leased()["job_id"]
        assert db.findings() == []

        def found(query: str, job_id: UUID) -> set[tuple[str, str]]:
            with db.conn.transaction(force_rollback=True):
                db.execute(query, [job_id])
                rows = db.conn.execute("select invariant, object from runledger.fsck()").fetchall()
            return {(r[0], r[1]) for r in rows}

        erase = "delete from runledger.job_events where job_id = %s and event_type = "
        assert found(erase + "'SUCCEEDED'", made["leased"]) == {("E3", f"job {made['leased']}")}
        assert found(erase + "'LEASED'", made["dead"]) == {
            ("E1", f"job {made['dead']}"), ("E5", f"job {made['dead']}"),
        }  # fmt: skip
        assert found(erase + "'ENQUEUED'", new) == {("E1", f"job {new}")}
        assert ("E6", f"job {new}") in found("delete from runledger.job_queue where id = %s", new)

    @pytest.mark.corrupts
    def test_events_of_pruned_jobs_are_no_orphans_and_younger_ones_are(self, db: Db, q: Ledger, clock: Clock):
        pruned = succeeded(q)
        clock.advance(2 * 3600)
        young = succeeded(q)
        assert prune(q, older_than=timedelta(hours=1))["jobs"] == (2, False)
        assert (db.events(pruned), jobs(db)) == (["ENQUEUED", "LEASED", "SUCCEEDED"], {young})
        assert db.findings() == []
        db.execute("delete from runledger.job_queue where id = %s", [young])
        assert {f[0] for f in db.findings()} == {"A7", "E6"}
        assert {f[2] for f in db.findings()} == {f"job {young}"}

    def test_a_pruned_job_whose_day_began_between_its_clock_and_its_id_is_sound(self, db: Db, q: Ledger, clock: Clock):
        """Ids are of the real time. It was enqueued half a second before midnight, and got its id half a second after."""
        began = clock.advance(-1) + timedelta(seconds=0.5)
        clock.stop()
        pruned = q.enqueue()
        clock.advance(10)
        q.succeed(q.hold(pruned))
        clock.advance(3600)
        prune_all(q, older_than=timedelta(minutes=1))
        db.execute("delete from runledger.job_events where occurred_at < %s", [began])
        db.execute("update runledger.prune_passes set history_begins_at = %s", [began])
        assert (db.events(pruned), jobs(db)) == (["LEASED", "SUCCEEDED"], set())
        assert db.findings() == []

    def test_a_part_of_old_history_is_no_finding(self, db: Db, q: Ledger, clock: Clock):
        """Rows of the default partition go in the order of their blocks, not of the jobs."""
        clock.advance(40 * DAY)
        leases = [q.leased(lease_seconds=86400) for _ in range(3)]
        clock.advance(0.5 * DAY)
        for lease in leases:
            q.fail(lease, kind="TERMINAL")
        clock.advance(15 * DAY)
        for taken in range(1, 4):
            assert prune(q, max_rows=3)["history"] == (3, True)
            assert db.findings() == [], taken
        prune_all(q)


class TestMetrics:
    def test_what_is_not_counted_is_counted_first(self, db: Db, q: Ledger, clock: Clock):
        for _ in range(3):
            succeeded(q)
        clock.advance(15 * DAY)
        before = q.rows("job_metrics")
        told: list[dict[str, tuple[int, bool]]] = []
        while not told or told[-1].keys() == {"rollup"}:
            told.append(call(q))
        # Three events each, of which a claim is none that counts; then what they belong to.
        assert sum(t["rollup"][0] for t in told) == 6
        assert told[-1] == {"rollup": told[-1]["rollup"], "workflows": (0, False), "jobs": (6, False),
                            "history": (0, False), "partitions": (0, True)}  # fmt: skip
        assert told[-1]["rollup"][1] is False
        assert db.value("select sum(events) from runledger.job_metrics_totals where outcome = 'SUCCEEDED'") == 3
        assert q.rows("job_metrics") == before

    def test_nothing_goes_while_an_open_transaction_holds_up_the_counting(self, db: Db, q: Ledger, clock: Clock):
        done = succeeded(q)
        clock.advance(20 * DAY)
        before = days(db)
        writer = db.connect(autocommit=False)
        writer.execute("select pg_current_xact_id()")
        # The first call leaves its mark, the second one finds that it must wait.
        assert call(q) == {"rollup": (0, True)}
        assert call(q) == {"rollup": (0, False)}
        for _ in range(3):
            assert ("prune", 0) in [(r["task"], r["affected"]) for r in q.rows("run_maintenance")]
        assert (jobs(db), days(db)[: len(before)]) == ({done}, before)
        writer.rollback()
        prune_all(q)
        assert jobs(db) == set()
        assert db.value("select sum(events) from runledger.job_metrics_totals where outcome = 'SUCCEEDED'") == 1

    def test_whoever_counts_is_not_waited_for(self, db: Db, q: Ledger, clock: Clock):
        succeeded(q)
        clock.advance(15 * DAY)
        other = q.on(autocommit=False)
        other.conn.execute("select from runledger.upkeep_state for update")
        q.conn.execute("set lock_timeout = '1ms'")
        assert call(q) == {"rollup": (0, False)}
        other.conn.rollback()


class TestRetention:
    def test_defaults(self, q: Ledger):
        kept = q.row("retention")
        assert (kept["finished"], kept["dead_letters"], kept["history"]) == (14 * DAY, 90 * DAY, 14 * DAY)
        assert (kept["updated_by"], kept["history_begins_at"]) == (None, None)

    def test_what_is_not_given_stays(self, db: Db, q: Ledger):
        first = q.row("set_retention", finished=3 * DAY)
        assert (first["finished"], first["dead_letters"]) == (3 * DAY, 90 * DAY)
        second = q.row("set_retention", dead_letters=timedelta(0), history=30 * DAY)
        assert (second["finished"], second["dead_letters"], second["history"]) == (3 * DAY, timedelta(0), 30 * DAY)
        # An equal call writes nothing.
        assert q.row("set_retention", finished=3 * DAY) == second == q.row("retention")
        assert db.value("select count(*) from runledger.operator_actions where action = 'set_retention'") == 2

    def test_maintenance_prunes_by_it(self, db: Db, q: Ledger, clock: Clock):
        done, dead = succeeded(q), q.dead()
        q.row("set_retention", finished=2 * DAY, dead_letters=4 * DAY, history=3 * DAY)
        today = days(db)[0]
        clock.advance(1.9 * DAY)
        maintain(q)
        assert jobs(db) == {done, dead}
        clock.advance(0.2 * DAY)
        maintain(q)
        assert (jobs(db), days(db)[0]) == ({dead}, today)
        clock.advance(2 * DAY)
        maintain(q)
        assert days(db)[0] > today
        assert jobs(db) == set()

    def test_zero_keeps_for_ever(self, db: Db, q: Ledger, clock: Clock):
        q.row("set_retention", finished=timedelta(0), dead_letters=timedelta(0), history=timedelta(0))
        kept, before = {succeeded(q), q.dead()}, days(db)
        clock.advance(3000 * DAY)
        maintain(q)
        assert (jobs(db), days(db)[: len(before)]) == (kept, before)
        # A call of prune says its own age, and takes that of dead letters from the setting.
        prune_all(q)
        assert len(jobs(db)) == 1
        assert count(db, "job_dead_letters") == 1

    def test_maintenance_rests_for_a_minute_after_a_pass(self, db: Db, q: Ledger, clock: Clock):
        clock.advance(3600)
        maintain(q)
        q.row("set_retention", finished=DAY)
        maintain(q)
        done = succeeded(q)
        clock.advance(0.999 * DAY)
        maintain(q)
        clock.advance(50)
        assert jobs(db) == {done}
        clock.advance(120)
        maintain(q)
        assert jobs(db) == set()


class TestCalls:
    def test_one_session_at_a_time(self, q: Ledger):
        other = q.on(autocommit=False)
        assert prune(other)
        q.conn.execute("set lock_timeout = '1ms'")
        assert prune(q) == {}
        other.conn.rollback()
        assert prune(q)

    def test_a_call_does_not_keep_maintenance_from_its_own_pass(self, db: Db, q: Ledger, clock: Clock):
        for _ in range(4):
            succeeded(q)
        clock.advance(15 * DAY)
        counted(db)
        other = q.on(autocommit=False)
        # It holds two and deletes one of them.
        assert prune(other, max_rows=2)["jobs"] == (2, True)
        q.conn.execute("set lock_timeout = '1ms'")
        assert {r["task"]: r["affected"] for r in q.rows("run_maintenance")}["prune"] == 4
        other.conn.commit()
        assert len(jobs(db)) == 1
        assert db.column("select caller from runledger.prune_passes order by 1") == ["CALL", "MAINTENANCE"]

    def test_another_age_begins_anew(self, db: Db, q: Ledger, clock: Clock):
        old = succeeded(q)
        clock.advance(5 * DAY)
        for _ in range(2):
            succeeded(q)
        clock.advance(12 * DAY)
        assert prune(q, older_than=3 * DAY, max_rows=2)["jobs"] == (2, True)
        db.execute("update runledger.job_queue set updated_at = updated_at")
        assert prune(q, older_than=15 * DAY)["jobs"] == (0, False)
        assert old not in jobs(db)
        assert prune(q, older_than=3 * DAY)["jobs"] == (4, False)

    def test_the_first_call_of_a_pass_is_recorded(self, db: Db, q: Ledger, clock: Clock):
        for _ in range(3):
            succeeded(q)
        clock.advance(15 * DAY)
        prune_all(q, max_rows=2, reason="disk is full")
        actions = db.all("select action, reason, detail from runledger.operator_actions where action <> 'define_job'")
        assert [(a["action"], a["reason"]) for a in actions] == [("prune", "disk is full")]
        assert actions[0]["detail"]["older_than"] == "14 days"

    @pytest.mark.parametrize("age", ["0", "-1 day", "3651 days", "infinity", "1 month -29 days"])
    def test_ages_above_zero_up_to_ten_years(self, q: Ledger, age: str):
        if age == "infinity" and q.conn.info.server_version < 170000:
            age = "100 years"
        for argument in ("older_than", "dead_letters_older_than"):
            with q.refused("operations.invalid_retention", "RL010"):
                q.conn.execute(f"select runledger.prune({argument} => %s::interval)", [age])
        for argument in ("finished", "dead_letters", "history"):
            if age != "0":
                with q.refused("operations.invalid_retention", "RL010"):
                    q.conn.execute(f"select runledger.set_retention({argument} => %s::interval)", [age])

    def test_null_is_no_age(self, q: Ledger):
        with q.refused("operations.invalid_retention"):
            q.rows("prune", older_than=None)

    @pytest.mark.parametrize("rows", [None, 0, -1, 100_001])
    def test_max_rows_is_held_to_its_limit(self, q: Ledger, rows: int | None):
        with q.refused("job.invalid_limit", "RL010"):
            q.rows("prune", max_rows=rows)

    def test_a_blank_reason_is_refused(self, q: Ledger):
        with q.refused("job.invalid_reason"):
            q.rows("prune", reason=" ")

    def test_it_is_refused_above_read_committed(self, q: Ledger):
        for isolation in ("repeatable read", "serializable"):
            with q.refused("operations.unsupported_isolation", "RL013"), q.conn.transaction():
                q.conn.execute(f"set transaction isolation level {isolation}")
                q.rows("prune")
