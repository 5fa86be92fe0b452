"""The faults. Each class is one kind; `strike` does it once and tells whether it took place.

Two nemeses draw from them side by side: one kills and freezes processes, the other works on all else.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from runledger.embedded import EmbeddedError
from runledger.migrate import MigrateError, migrate
from tests.chaos import journal
from tests.chaos.arena import Arena, Member
from tests.chaos.journal import now

TROUBLE = psycopg.Error
"""What a fault itself may run into while another one is at work."""


class Fault:
    name: ClassVar[str]
    on_processes: ClassVar[bool] = False

    def __init__(self, arena: Arena, dice: random.Random) -> None:
        self.arena = arena
        self.dice = dice
        self.struck = 0

    def strike(self) -> bool:
        raise NotImplementedError

    def undo(self) -> None:
        """Leave nothing of it behind, whatever happened."""

    def hold(self, seconds: float) -> None:
        """Let it last, unless all is over."""
        self.arena.closing.wait(seconds)


def kinds() -> list[type[Fault]]:
    def below(kind: type[Fault]) -> list[type[Fault]]:
        return [
            found for sub in kind.__subclasses__() for found in ([sub] if hasattr(sub, "name") else []) + below(sub)
        ]

    return below(Fault)


# --- processes ---


class OnProcess(Fault):
    on_processes = True

    def victim(self) -> Member | None:
        running = [m for m in self.arena.workers() if m.is_running]
        return self.dice.choice(running) if running else None


class Kill(OnProcess):
    name = "worker-kill"

    def strike(self) -> bool:
        if victim := self.victim():
            os.kill(victim.pid, signal.SIGKILL)
        return victim is not None


class KillAtPoint(OnProcess):
    point: ClassVar[str]

    def strike(self) -> bool:
        victim = self.victim()
        if victim is None:
            return False
        pid = victim.pid
        order = journal.order_death(self.arena.files, victim.name, self.point)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and victim.is_running and victim.pid == pid:
            self.hold(0.01)
        with suppress(FileNotFoundError):
            order.unlink()
            return False
        return True


class KillClaimed(KillAtPoint):
    name, point = "kill-after-claim-reply", journal.CLAIMED


class KillMidway(KillAtPoint):
    name, point = "kill-in-handler", journal.MIDWAY


class KillUnsent(KillAtPoint):
    name, point = "kill-before-finish-sent", journal.UNSENT


class KillSent(KillAtPoint):
    name, point = "kill-after-finish-sent", journal.SENT


class Freeze(OnProcess):
    """Stopped for longer than its leases last, and then it goes on as if nothing had been."""

    name = "worker-freeze"

    def strike(self) -> bool:
        victim = self.victim()
        if victim is None:
            return False
        pid = victim.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            self.hold(self.arena.lease * self.dice.uniform(1.3, 1.8))
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return True


class Terminate(OnProcess):
    """An orderly end, as in a deployment."""

    name = "worker-sigterm"

    def strike(self) -> bool:
        if victim := self.victim():
            os.kill(victim.pid, signal.SIGTERM)
        return victim is not None


# --- sessions of the server ---

CLIENTS = "datname = 'chaos' and backend_type = 'client backend' and usename in ('chaos_worker', 'chaos_producer')"


class KillBackend(Fault):
    name = "backend-terminate"

    def strike(self) -> bool:
        return bool(self.arena.sql(
            f"select pg_terminate_backend(pid) from pg_stat_activity where {CLIENTS} order by random() limit 1"
        ))  # fmt: skip


class Blocked(Fault):
    """Holds what the verbs write next, so that some session is known to be in the middle of one."""

    def blocked(self, conn: psycopg.Connection[Any], verb: str) -> list[int]:
        """Sessions that wait for us within that verb."""
        table = self.dice.choice(("job_attempts", "job_events", "job_queue"))
        conn.execute("set lock_timeout = '500ms'")
        conn.execute(f"lock table runledger.{table} in share mode".encode())
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline and not self.arena.closing.is_set():
            rows = conn.execute(
                f"select pid from pg_stat_activity where {CLIENTS} and query ~ %s and pg_backend_pid() = any (pg_blocking_pids(pid))",
                [verb],
            ).fetchall()
            if rows:
                return [row["pid"] for row in rows]
            time.sleep(0.01)
        return []

    def on_blocked(self, verb: str, act: str) -> bool:
        with self.arena.session(autocommit=False) as conn:
            pids = self.blocked(conn, verb)
            for pid in pids:
                conn.execute(f"select {act}(%s)".encode(), [pid])
            conn.rollback()
        return bool(pids)


class KillInClaim(Blocked):
    name = "backend-terminate-in-claim"

    def strike(self) -> bool:
        return self.on_blocked("claim_jobs", "pg_terminate_backend")


class KillInFinish(Blocked):
    name = "backend-terminate-in-finish"

    def strike(self) -> bool:
        return self.on_blocked("finish_jobs", "pg_terminate_backend")


class CancelInVerb(Blocked):
    """57014 in the middle of a verb, as by statement_timeout."""

    name = "statement-cancel-in-verb"

    def strike(self) -> bool:
        return self.on_blocked("claim_jobs|finish_jobs|enqueue", "pg_cancel_backend")


class FreezeBackend(Fault):
    """A server process that stops in the middle of something, locks and all, and goes on later."""

    name = "backend-freeze"

    def strike(self) -> bool:
        with self.arena.world:
            rows = self.arena.sql(
                f"select pid from pg_stat_activity where {CLIENTS} order by state = 'active' desc, random() limit 1"
            )
            for row in rows:
                with suppress(ProcessLookupError):
                    os.kill(row["pid"], signal.SIGSTOP)
                    self.hold(self.dice.uniform(0.3, 2.5))
                    os.kill(row["pid"], signal.SIGCONT)
        return bool(rows)


class ShortOfMemory(Fault):
    """Server processes that get no more memory than they have. Out of memory is an error like others, or the end of the process."""

    name = "backend-out-of-memory"

    def strike(self) -> bool:
        before = self.arena.said("out of memory")
        rows = self.arena.sql(f"select pid from pg_stat_activity where {CLIENTS} order by random() limit 4")
        pids = [row["pid"] for row in rows]
        for pid in pids:
            with suppress(OSError, ValueError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
                resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), resource.RLIM_INFINITY))
        self.hold(self.dice.uniform(0.5, 1.5))
        for pid in pids:
            with suppress(OSError):
                resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return self.arena.said("out of memory") > before


class Timeout(Fault):
    """A timeout that is too short for some of the calls, given to the role of the workers for a while."""

    setting: ClassVar[str]
    longest: ClassVar[int]

    def strike(self) -> bool:
        value = self.dice.randint(1, self.longest)
        self.arena.sql(f"alter role chaos_worker set {self.setting} = '{value}ms'")
        self.arena.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where {CLIENTS}")
        self.meanwhile()
        self.undo()
        return True

    def meanwhile(self) -> None:
        self.hold(self.dice.uniform(0.5, 1.5))

    def undo(self) -> None:
        self.arena.sql(f"alter role chaos_worker reset {self.setting}")
        self.arena.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where {CLIENTS}")


class StatementTimeout(Timeout):
    name, setting, longest = "statement-timeout", "statement_timeout", 40


class LockTimeout(Timeout):
    name, setting, longest = "lock-timeout", "lock_timeout", 5

    def meanwhile(self) -> None:
        for _ in range(5):
            with suppress(TROUBLE), self.arena.session(autocommit=False) as conn:
                conn.execute("set lock_timeout = '500ms'")
                conn.execute("lock table runledger.job_events in share mode")
                self.hold(0.1)
                conn.rollback()
            self.hold(0.05)


class HeldSnapshot(Fault):
    name = "held-snapshot"

    def strike(self) -> bool:
        with self.arena.session(autocommit=False) as conn:
            conn.execute("set transaction isolation level repeatable read")
            conn.execute("select pg_current_xact_id()")
            self.hold(self.dice.uniform(2, 6))
            conn.rollback()
        return True


class FullNotifyQueue(Fault):
    """A listener that does not read, and somebody who floods: every commit with a NOTIFY would fail."""

    name = "notify-queue-full"

    def strike(self) -> bool:
        with self.arena.session(autocommit=False) as listener, self.arena.session() as flood:
            if not flood.execute("select name from pg_settings where name = 'max_notify_queue_pages'").fetchone():
                self.arena.absent[self.name] = "this server cannot be given a small queue"
                return False
            listener.execute("listen chaos")
            listener.commit()
            listener.execute("select 1")
            with suppress(psycopg.errors.ProgramLimitExceeded):
                for _ in range(200):
                    flood.execute("select pg_notify('chaos', repeat('x', 7000) || g) from generate_series(1, 10) as g")
            usage = flood.execute("select pg_notification_queue_usage() as used").fetchone()
            self.hold(1.0)
            listener.rollback()
            assert usage is not None
            return bool(usage["used"] > 0.9)


# --- the server ---


class Crash(Fault):
    name = "server-crash"

    def strike(self) -> bool:
        with self.arena.world:
            self.arena.server.restart("immediate")
        return True


class CrashInRecovery(Fault):
    """Crashed, started, and killed before it has recovered."""

    name = "server-crash-in-recovery"

    def strike(self) -> bool:
        with self.arena.world:
            server = self.arena.server
            server.halt("kill")
            self.was_in_time = False
            killer = threading.Thread(target=self._kill_next, args=(self.dice.uniform(0.01, 0.06),))
            killer.start()
            with suppress(EmbeddedError):
                server.restart()
            killer.join()
            server.restart("kill")
        return self.was_in_time

    was_in_time = False

    def _kill_next(self, after: float) -> None:
        server = self.arena.server
        deadline = time.monotonic() + 5
        while server._process is None and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(after)
        if process := server._process:
            self.was_in_time = not server._ready()
            process.kill()


class DiskFull(Fault):
    name = "disk-full"

    def strike(self) -> bool:
        disk = self.arena.disk
        if disk is None:
            return False
        ballast = disk / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file, suppress(OSError):
                space = os.statvfs(disk)
                os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize)
                file.seek(0, os.SEEK_END)
                while not self.arena.closing.is_set():
                    if file.write(bytes(1 << 20)) < 1 << 20:
                        break
            self.hold(self.dice.uniform(0.3, 1.0))
        finally:
            self.undo()
        return True

    def undo(self) -> None:
        if self.arena.disk:
            (self.arena.disk / "ballast").unlink(missing_ok=True)


class StepClock(Fault):
    """The clock of the database is set forward, and back after a while. Forward every lease has ended at once."""

    name = "clock-step"

    def strike(self) -> bool:
        with self.arena.world:
            began = now()
            self.arena.set_clock(self.dice.choice((1, 3, self.arena.lease * 2)))
            self.hold(self.dice.uniform(0.2, 1.0))
            self.arena.set_clock(0)
            self.arena.journal.write("ahead", began, now())
        return True


class Upgrade(Fault):
    """The whole set of functions is put in place anew while it is in use."""

    name = "functions-replaced"

    def strike(self) -> bool:
        with self.arena.world:
            try:
                report = migrate(self.arena.dsn("chaos_owner"))
            except (MigrateError, psycopg.Error):
                return False
            finally:
                self.arena.take_clock()
        return report.status != "CURRENT"


# --- the network ---


class LoseReplies(Fault):
    name = "reply-lost-after-commit"

    def strike(self) -> bool:
        before = self.arena.wire.lost
        self.arena.wire.lose_replies(5)
        self.hold(0.5)
        self.undo()
        return self.arena.wire.lost > before

    def undo(self) -> None:
        self.arena.wire.lose_replies(0)


class Cut(Fault):
    name = "connections-reset"

    def strike(self) -> bool:
        return self.arena.wire.cut() > 0


class BlackHole(Fault):
    name = "network-black-hole"

    def strike(self) -> bool:
        self.arena.wire.silence(True)
        self.hold(self.dice.uniform(1, 4))
        self.undo()
        return True

    def undo(self) -> None:
        self.arena.wire.silence(False)


class Slow(Fault):
    name = "network-slow"

    def strike(self) -> bool:
        self.arena.wire.slow(self.dice.uniform(0.01, 0.1))
        self.hold(self.dice.uniform(1, 2))
        self.undo()
        return True

    def undo(self) -> None:
        self.arena.wire.slow(0)


class Refuse(Fault):
    name = "connections-refused"

    def strike(self) -> bool:
        self.arena.wire.refuse(True)
        self.hold(self.dice.uniform(0.5, 2))
        self.arena.wire.refuse(False)
        return True


class KillPooler(Fault):
    name = "pooler-restart"

    def strike(self) -> bool:
        pooler = self.arena.pooler
        if pooler is None:
            return False
        pooler.kill()
        self.hold(self.dice.uniform(0.05, 0.5))
        pooler.start()
        return True


# --- people and rows ---


class Cancellations(Fault):
    """An operator cancels what is there and takes some of it back."""

    name = "operator-cancel-and-requeue"

    def strike(self) -> bool:
        book = self.arena.journal
        done = 0
        with self.arena.session("chaos_operator") as conn:
            rows = self.arena.sql(
                "select id::text as job from runledger.job_queue where workflow_run_id is null and job_type <> 'poison'"
                " and status in ('LEASED', 'PENDING') order by random() limit 20"
            )
            for row in rows:
                book.write("canceling", now(), row["job"])
                sent = now()
                with suppress(psycopg.DatabaseError):
                    told = conn.execute(
                        "select disposition from runledger.cancel_job(%s, 'chaos')", [row["job"]]
                    ).fetchone()
                    if told and told["disposition"] == "CANCELED":
                        book.write("cancel", sent, now(), row["job"])
                        done += 1
            for row in rows[::2]:
                sent = now()
                with suppress(psycopg.DatabaseError):
                    told = conn.execute(
                        "select run_number from runledger.requeue_job(%s, 'chaos')", [row["job"]]
                    ).fetchone()
                    if told:
                        book.write("requeue", sent, now(), [[row["job"], told["run_number"]]])
        return done > 0


class Redrives(Fault):
    name = "operator-redrive"

    def strike(self) -> bool:
        sent = now()
        with self.arena.session("chaos_operator") as conn:
            told = conn.execute(
                "select job_id::text as job, run_number from runledger.redrive_dead_letters('chaos', max_jobs => 200)"
            ).fetchall()
        self.arena.journal.write("requeue", sent, now(), [[row["job"], row["run_number"]] for row in told])
        return bool(told)


class Pauses(Fault):
    name = "operator-pause"

    def strike(self) -> bool:
        self.arena.sql("select runledger.pause_job_type('plain', 'chaos')", user="chaos_operator")
        self.hold(self.dice.uniform(0.1, 0.5))
        self.undo()
        return True

    def undo(self) -> None:
        self.arena.sql("select runledger.resume_job_type('plain')", user="chaos_operator")


class Upkeep(Fault):
    """Maintenance and prune beside all else; of what finished a day ago prune takes a piece each time."""

    name = "prune-and-maintenance"

    def strike(self) -> bool:
        with self.arena.session("chaos_operator") as conn:
            conn.execute("select * from runledger.run_maintenance()")
            return bool(conn.execute("select * from runledger.prune('12 hours', 100, 'chaos')").fetchall())


class PoisonInReaper(Fault):
    """A lease whose end cannot be written: it must not keep the others from being ended."""

    name = "poison-in-reaper"

    def strike(self) -> bool:
        arena = self.arena
        arena.sql(
            "create or replace function public.poison() returns trigger language plpgsql as"
            " $$ begin if old.status = 'LEASED' and new.status <> 'LEASED' then raise exception 'poison'; end if; return new; end $$"
        )
        arena.sql(
            "create or replace trigger poison before update on runledger.job_queue for each row when (old.job_type = 'poison')"
            " execute function public.poison()"
        )
        arena.sql("select runledger.enqueue_job('poison')", user="chaos_owner")
        claimed = arena.sql(
            "select job_id from runledger.claim_jobs('poisoner', '{poison}', 1, 1)", user="chaos_worker"
        )
        self.hold(2.5)
        self.undo()
        return bool(claimed)

    def undo(self) -> None:
        self.arena.sql("drop trigger if exists poison on runledger.job_queue")


class PoisonInScheduler(Fault):
    """A schedule that cannot fire: it must not keep the others."""

    name = "poison-in-scheduler"

    def strike(self) -> bool:
        arena = self.arena
        with arena.session("chaos_owner", autocommit=False) as conn:
            conn.execute("select runledger.define_job('gone', is_enabled => true)")
            conn.execute("select runledger.upsert_schedule('poison', 'gone', '* * * * * *')")
            # Behind its back: no verb would do that under an active schedule.
            conn.execute(
                "update runledger.job_definitions set is_enabled = false, disabled_at = now(), disabled_by = 'x' where job_type = 'gone'"
            )
        self.hold(2.5)
        put_off = arena.sql(
            "select name from runledger.job_schedules where name = 'poison' and deferred_code is not null"
        )
        self.undo()
        return bool(put_off)

    def undo(self) -> None:
        self.arena.sql(
            "select runledger.delete_schedule(s.name) from runledger.job_schedules as s where s.name = 'poison'"
        )
