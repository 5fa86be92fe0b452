"""`runledger demo`: what it tells is in the ledger, and however it ends nothing is left behind."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rich.console import Console

from runledger.demo import ledger
from runledger.demo.library import sources, standard_library
from runledger.demo.stage import DemoError, Workers
from runledger.demo.story import Story
from tests.demo.conftest import alive, children, wait_for

CLAIMS = len(ledger.CHECKS) + 1


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=110)
    assert process.returncode == 0, output
    return output


def read_until(process: subprocess.Popen[str], words: str) -> list[str]:
    """Read the output until a line has these words in it."""
    read = []
    for line in process.stdout:
        read.append(line)
        if words in line:
            return read
    raise AssertionError("".join(read))


def told_as_true(output: str) -> int:
    assert "NOT SO" not in output
    return output.count("✔ as told")


def count(connection, query: str) -> int:
    return connection.execute(query).fetchone()[0]


@pytest.mark.slow
def test_the_ledger_has_what_the_demo_tells(start, environment):
    output = finish(start("--keep"))
    assert told_as_true(output) == CLAIMS
    psql, stop = re.search(r"To look further:\n +(psql .*|/.*psql .*)\nTo remove it:\n +(.*)\n", output).groups()
    dsn = re.search(r"'(.*)'", psql)[1]
    directory = Path(conninfo_to_dict(dsn)["host"])
    pid = int(re.search(r"kill -INT (\d+)", stop)[1])
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            look_at_the_ledger(connection, output)
        looked = ["sh", "-c", f"{psql} -Atc 'select count(*) from runledger.jobs'"]
        assert int(subprocess.run(looked, stdout=subprocess.PIPE, check=True).stdout) >= 40
    finally:
        subprocess.run(["sh", "-c", stop], check=True, timeout=60)
    assert not alive(pid)
    assert not directory.exists()
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


def look_at_the_ledger(connection: psycopg.Connection, output: str) -> None:
    """Ask in other words than the demo does, and count the library again."""
    assert connection.info.parameter_status("is_superuser") == "off"
    by_state = dict(connection.execute("select status::text, count(*) from runledger.job_queue group by 1").fetchall())
    packages = sources()
    steps = len(packages)
    # plan, merge, report, clean-up; flaky, the redriven one, the delayed one.
    assert by_state == {"SUCCEEDED": steps + 4 + 3, "DEAD_LETTERED": 2, "CANCELED": 1}
    run = connection.execute("select * from runledger.list_workflows()").fetchall()
    assert len(run) == 1
    status = dict(connection.execute("select s.step_key, s.status::text from runledger.workflow_steps as s").fetchall())
    assert {key for key in status if key.startswith("index ")} == {f"index {name}" for name in packages}
    assert {key: state for key, state in status.items() if state != "SUCCEEDED"} == {
        "legacy": "FAILED", "legacy publish": "CANCELED",
    }  # fmt: skip

    found = connection.execute(
        "select q.output from runledger.job_queue as q where q.job_type = 'stdlib.report'"
    ).fetchone()[0]
    files = [name for names in packages.values() for name in names]
    readable = set(files) - set(found["unreadable"])
    assert found["files"] == len(files)
    assert found["lines"] == sum((standard_library() / name).read_bytes().count(b"\n") for name in readable)
    assert f"{found['files']} files in {found['packages']} packages: {found['lines']} lines" in output

    retries = connection.execute(
        "select a.attempt, a.disposition, a.error_code, a.retry_delay_ms from runledger.job_attempts as a"
        " join runledger.job_queue as q on q.id = a.job_id where q.job_type = 'catalog.publish' order by a.attempt"
    ).fetchall()
    assert len(retries) >= 3
    assert [row[1:] for row in retries[:-1]] == [("RETRY_SCHEDULED", "catalog.locked", 800)] * (len(retries) - 1)
    assert retries[-1][1:] == ("SUCCEEDED", None, None)
    letters = connection.execute("select state, error_code from runledger.dead_letters order by 1, 2").fetchall()
    assert letters == [("dead", "source.syntax"), ("dead", "source.syntax"), ("done", "source.missing")]
    # Two processes shared the work, and progress was reported on the way.
    assert count(connection, "select count(distinct a.worker_id) from runledger.job_attempts as a") == 2
    assert count(connection, "select count(*) from runledger.job_events as e where e.event_type = 'PROGRESS'") > steps
    # Both gates waited: packages until all was appended, approve for its approval, before the report existed.
    assert count(connection, "select count(*) from runledger.workflow_run_mutations as m") == 1
    assert count(
        connection,
        "select count(*) from runledger.workflow_steps as g, runledger.workflow_steps as r"
        " where g.step_key = 'approve' and r.step_key = 'report' and g.output ->> 'approved_by' > ''"
        " and g.finished_at > g.released_at and r.released_at >= g.finished_at",
    ) == 1  # fmt: skip
    assert count(connection, "select count(*) from runledger.fsck()") == 0
    for line in connection.execute("select j.job_type, j.state, count(*) from runledger.jobs as j group by 1, 2"):
        assert re.search(r"^{}  +{}  +{}$".format(*map(re.escape, map(str, line))), output, re.MULTILINE), line


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize(
    "number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=["SIGINT", "SIGTERM", "SIGKILL"],
)  # fmt: skip
def test_however_it_is_ended_nothing_is_left(start, environment, number, code):
    """Where it ends by itself, see test_terminal."""
    process = start("--limit", "2")
    read = read_until(process, "watcher: running")
    family = children(process.pid)
    workers = [args for args in family.values() if "demo-worker-" in args]
    directories = {Path(found[1]) for args in family.values() if (found := re.search(r"-D (\S*rlpg-\w+)/data", args))}
    assert len(workers) == 2, (family, read)
    assert len(directories) == 1, family
    process.send_signal(number)
    rest, _ = process.communicate(timeout=110)
    assert process.returncode == code, rest
    wait_for(lambda: not [pid for pid in family if alive(pid)])
    wait_for(lambda: not [path for path in directories if path.exists()])
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    assert "Traceback" not in rest


def databases(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        return {row[0] for row in connection.execute("select d.datname from pg_database as d")}


@pytest.mark.slow
def test_a_given_server_lends_a_database(pg, empty_db, start, environment):
    """By the environment and by --dsn; with a password, which is not shown. Only --keep leaves the database."""
    before = {name for name in databases(pg.admin_dsn) if name.startswith("runledger_demo_")}
    dsn = make_conninfo(empty_db.admin_dsn, password="sekret")  # trusted without one, too
    output = finish(start("--limit", "1", "--keep", RUNLEDGER_DSN=dsn))
    assert told_as_true(output) == CLAIMS
    assert "sekret" not in output
    (made,) = {name for name in databases(pg.admin_dsn) if name.startswith("runledger_demo_")} - before
    assert f"dbname={made} " in output
    assert f"-c 'drop database {made} with (force)'" in output
    with psycopg.connect(pg.admin_dsn, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("drop database {} with (force)").format(psycopg.sql.Identifier(made)))
    finish(start("--limit", "1", "--dsn", dsn))
    interrupted = start("--dsn", dsn)
    read_until(interrupted, "watcher: running")
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(30) == 130
    assert {name for name in databases(pg.admin_dsn) if name.startswith("runledger_demo_")} == before
    assert empty_db.all("select 1 from pg_namespace as n where n.nspname = 'runledger'") == []
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


def test_a_server_that_lends_none_is_told_of(empty_db, stranger, start):
    refused = start("--dsn", make_conninfo(empty_db.admin_dsn, user=stranger))
    output, _ = refused.communicate(timeout=60)
    assert refused.returncode == 1
    assert output.startswith("runledger: no database can be made for the demo: permission denied")
    nowhere = start("--dsn", "host=/nowhere-at-all")
    output, _ = nowhere.communicate(timeout=60)
    assert nowhere.returncode == 1
    assert output.startswith("runledger: no database can be made for the demo: ")
    assert "Traceback" not in output


def test_nothing_is_told_that_is_not_so(db, tmp_path):
    """The claims of the end are questions to the database: where nothing ran, none is true but that of fsck."""
    console = Console(file=io.StringIO(), width=200)
    with db.connect() as connection:
        story = Story(connection, tmp_path)
        assert len(list(story.begin(1))) == 3
        assert not ledger.check(connection, story, console=console)
        ledger.show(connection, story, console=console)
        ledger.report(connection, story, console=console)
    output = console.file.getvalue()
    assert output.count("✘ NOT SO") == CLAIMS - 1
    assert "✔ as told  fsck()" in output
    assert "there is no report" in output


@pytest.mark.parametrize(
    "claim, harm",
    [
        ("the report adds up", "update runledger.job_queue set output = output || '{\"lines\": 1}'"
         " where job_type = 'stdlib.package'"),
        ("poison is a dead letter", "select runledger.redrive_dead_letters('again', error_code => 'source.syntax')"),
        ("no job is left open", "select runledger.enqueue_job('stdlib.recount')"),
        ("no job is left open", "select runledger.register_worker('late', '{stdlib.recount}')"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_what_is_changed_afterwards_is_told_no_more(finished, claim, harm):
    connection, story = finished
    with connection.transaction(force_rollback=True):
        connection.execute(harm)
        console = Console(file=io.StringIO(), width=200)
        assert not ledger.check(connection, story, console=console)
    assert [line for line in console.file.getvalue().splitlines() if line.startswith(f"✘ NOT SO   {claim}")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, runledger_server):
    """A demo that has been played, in this process: its connection and its story."""
    database = runledger_server.take()
    scratch = tmp_path_factory.mktemp("scratch")
    with database.connect() as connection:
        story = Story(connection, scratch)
        with Workers(database.dsn, scratch=scratch) as workers:
            list(story.begin(1))

            def step() -> bool:
                workers.look()
                now = story.look()
                list(story.act(now))
                return story.is_over(now)

            wait_for(step, 80)
        assert ledger.check(connection, story, console=Console(file=io.StringIO()))
        yield connection, story
    runledger_server.give_back(database)


def test_a_worker_that_dies_ends_the_demo(db, tmp_path):
    with pytest.raises(DemoError, match="a worker ended with exit code -9") as raised:
        with Workers(db.dsn, scratch=tmp_path) as workers:
            workers.look()
            victim = next(pid for pid, args in children(os.getpid()).items() if "demo-worker-2" in args)
            os.kill(victim, signal.SIGKILL)
            wait_for(workers.look)
    assert "Traceback" not in str(raised.value)
    assert not [args for args in children(os.getpid()).values() if "demo-worker-" in args]
