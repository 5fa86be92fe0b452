"""A primary and its streaming standby, made without pg_basebackup: not every set of binaries has it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path

import psycopg

from runledger import embedded

SETTINGS = {
    "fsync": "off",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "wal_log_hints": "on",
    "wal_keep_size": "64MB",
    "max_connections": "60",
}
NOT_COPIED = {
    "postmaster.pid",
    "postmaster.opts",
    "pg_wal",
    "pg_replslot",
    "pg_dynshmem",
    "pg_notify",
    "pg_stat_tmp",
    "pg_subtrans",
}


def base_backup(server: embedded.Server) -> Path:
    """A copy of the data directory of a server, which may be at work. It has no WAL: that has to come from the server."""
    data = server.directory / "copy"
    with psycopg.connect(server.dsn(), autocommit=True) as conn:
        conn.execute("select pg_backup_start('copy', true)")
        shutil.copytree(
            server.data, data, ignore=lambda _, names: NOT_COPIED.intersection(names), copy_function=_copy_if_there
        )
        label = conn.execute("select labelfile from pg_backup_stop()").fetchone()
    assert label
    for name in NOT_COPIED - {"postmaster.pid", "postmaster.opts"}:
        (data / name).mkdir()
    (data / "backup_label").write_text(label[0])
    data.chmod(0o700)
    return data


def _copy_if_there(source: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # files come and go while it is at work
        shutil.copy2(source, target)


def follow(data: Path, primary: embedded.Server, *, slot: str = "") -> None:
    """Let the server of that copy be a standby."""
    (data / "standby.signal").touch()
    with (data / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"primary_conninfo = 'host={primary.directory} user=postgres application_name=standby'\n")
        conf.write(f"primary_slot_name = '{slot}'\n")


def recover_to(data: Path, xid: int, *, wal: Path) -> None:
    """Let the server of that copy begin right after a transaction."""
    (data / "recovery.signal").touch()
    with (data / "postgresql.auto.conf").open("a") as conf:
        conf.write(
            f"restore_command = 'cp {wal}/%f %p'\nrecovery_target_xid = '{xid}'\nrecovery_target_action = 'promote'\n"
        )


class Pair:
    """`dsn` names both servers; the second streams from the first."""

    def __init__(self, bindir: Path) -> None:
        self.first = embedded.Server(bindir, settings=SETTINGS)
        try:
            self.second = embedded.Server(bindir, data=self._copy(), settings=SETTINGS)
        except BaseException:
            self.first.stop("immediate")
            raise
        self.dsn = f"host={self.first.directory},{self.second.directory} user=postgres dbname=postgres"

    def _copy(self) -> Path:
        data = base_backup(self.first)
        follow(data, self.first)
        return data

    def caught_up(self) -> bool:
        return self._of_first("select count(*) from pg_stat_replication where replay_lsn >= pg_current_wal_lsn()") == 1

    def behind(self) -> int:
        """Bytes of WAL that the standby has not got."""
        return int(self._of_first("select coalesce(max(pg_current_wal_lsn() - flush_lsn), 0) from pg_stat_replication"))

    def wait_for_standby(self) -> None:
        """From now on nothing is acknowledged that the standby has not got."""
        self._of_first("alter system set synchronous_standby_names = '*'")
        self._of_first("select pg_reload_conf()")

    def waiting(self) -> int:
        """Sessions whose commit waits for the standby."""
        return int(self._of_first("select count(*) from pg_stat_activity where wait_event = 'SyncRep'"))

    def freeze_receiver(self) -> int:
        """Nothing reaches the standby any more; returns who has to be sent SIGCONT."""
        with psycopg.connect(self.second.dsn(), autocommit=True) as conn:
            row = conn.execute("select pid from pg_stat_wal_receiver").fetchone()
        assert row
        os.kill(row[0], signal.SIGSTOP)
        return int(row[0])

    def promote(self) -> None:
        with psycopg.connect(self.second.dsn(), autocommit=True) as conn:
            assert conn.execute("select pg_promote(true, 60)").fetchone() == (True,)

    def _of_first(self, query: str) -> int:
        with psycopg.connect(self.first.dsn(), autocommit=True) as conn:
            cursor = conn.execute(query.encode())
            row = cursor.fetchone() if cursor.description else None
        return row[0] if row else 0

    def close(self) -> None:
        self.second.stop("immediate")
        self.first.stop("immediate")
