"""A PgBouncer in transaction mode before the server of a test: two server sessions for everybody."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runledger.embedded import _not_root
from tests.support.database import Db

BINARY = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
SETTINGS = """\
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {directory}
auth_type = trust
auth_file = {directory}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
server_reset_query_always = 0
"""


class Pooler:
    """`dsn` leads through it, as the owner of the schema."""

    def __init__(self, db: Db, *, size: int = 2) -> None:
        assert BINARY
        parts = conninfo_to_dict(db.dsn)
        self.directory = Path(tempfile.mkdtemp(prefix="rlpb-"))
        (self.directory / "users").write_text(f'"{parts["user"]}" ""\n')
        ini = self.directory / "ini"
        ini.write_text(
            SETTINGS.format(directory=self.directory, host=parts["host"], port=parts.get("port", 5432), size=size)
        )
        prefix, options = _not_root([self.directory])
        self._log = (self.directory / "log").open("w")
        self._process = subprocess.Popen([*prefix, BINARY, ini], stdout=self._log, stderr=subprocess.STDOUT, **options)
        self.dsn = make_conninfo(db.dsn, host=str(self.directory), port=6432)
        end = time.monotonic() + 20
        while True:
            try:
                psycopg.connect(self.dsn).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()
        shutil.rmtree(self.directory)
