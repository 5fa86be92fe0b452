"""What goes wrong: the words, the stream they go to, the exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import click
import pytest

from tests.cli.conftest import NASTY, objects, verbs
from tests.support.servers import ROOT

NOBODY = "00000000-0000-7000-8000-00000000dead"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("job", "show", NOBODY), "job.not_found"),
        (("job", "payload", NOBODY), "job.not_found"),
        (("job", "cancel", NOBODY), "job.not_found"),
        (("workflow", "show", NOBODY), "workflow.run_not_found"),
        (("workflow", "mermaid", NOBODY), "workflow.run_not_found"),
        (("schedule", "preview", "nowhere"), "job_schedule.not_found"),
        (("type", "pause", "nowhere"), "job.definition_not_found"),
        (("enqueue", "nowhere"), "job.definition_not_found_or_disabled"),
        (("schedule", "next", "61 * * * *"), "job_schedule.invalid_cron"),
    ],
    ids=lambda v: v if isinstance(v, str) else " ".join(v[:2]),
)
def test_a_refusal_is_told_with_its_code_and_what_to_do(cli, args, code):
    result = cli(*args)
    first, *_, last = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (1, "")
    assert first.startswith("runledger: ")
    assert first.endswith(f"({code})")
    assert last.startswith("hint: ")


@pytest.mark.parametrize(
    "dsn",
    ["postgres:/u:s3cret@h/db", "u:s3cret@h/db", "postgresql://u:s3cret%@h/db", "host=h password='s3cret", "s3cret\n"],
)
@pytest.mark.parametrize(
    "args",
    [("health",), ("doctor",), ("migrate",), ("demo",), ("bench",), ("worker", "tests.cli.billing:app")],
    ids=" ".join,
)
def test_a_connection_string_that_cannot_be_read_is_not_quoted(cli, dsn, args):
    result = cli("--dsn", dsn, *args)
    assert result.exit_code in (1, 2)
    assert "runledger: " in result.stderr
    assert "s3cret" not in result.output


@pytest.mark.parametrize(
    "args",
    [
        ("jobs", "--status", "LOST"), ("jobs", "--limit", "0"), ("jobs", "--created-after", "yesterday"),
        ("jobs", "--created-after", "2030-01-01T00:00:00"), ("job", "show", "0190"), ("job", "cancel"),
        ("job", "replay", NOBODY), ("enqueue", "t", "{"), ("enqueue", "t", "@/nowhere/at/all"),
        ("enqueue", "t", "--timeout", "3 days"), ("job", "cancel", NOBODY, NOBODY.replace("dead", "beef")),
        ("job", "cancel", NOBODY, NOBODY.replace("dead", "beef"), "--reason", "r"), ("job", "redact", NOBODY, "--reason", "r"),
        ("jobs", "--created-after", ""), ("jobs", "--created-after=-99999999w"), ("enqueue", "t", "--timeout", "999999999w"),
        ("dlq", "list", "--older-than", ""), ("dlq", "list", "--older-than", "99999999w"),
        ("worker", ""), ("worker", ":app"), ("worker", ".here:app"), ("worker", "a..b"), ("sync", ":app"),
        ("worker", "tests.cli.billing:app", "--log-level", "loud"), ("web", "--log-level", "loud"),
        ("schedule", "delete", "s"), ("no-such-verb",), ("workflow", "complete", NOBODY, "k", "--outcome", "MAYBE"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_ends_with_2_before_anything_is_asked(cli, monkeypatch, args):
    monkeypatch.setenv("RUNLEDGER_DSN", "host=/nowhere")
    result = cli(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


def test_json_that_is_refused_is_not_repeated(cli):
    assert "hunter2" not in cli("enqueue", "t", '{"password": "hunter2"').output


def test_an_empty_list_is_said_beside_the_output(cli):
    result = cli("jobs")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no such jobs\n")
    assert cli("jobs", "--json").output == ""


def test_no_database_is_told_without_a_traceback(cli, monkeypatch):
    """By each verb, with whatever arguments it demands."""
    monkeypatch.setenv("RUNLEDGER_DSN", "host=/nowhere connect_timeout=1 password=hunter2")
    some = {"JSON": "[]", "UUID": NOBODY, "TEXT": "x", "SPAN": "1h"}
    for path, command in verbs().items():
        args: list[str] = []
        for p in command.params:
            value = p.type.choices[0] if isinstance(p.type, click.Choice) else some.get(p.type.name.upper())
            if p.name == "app":
                value = "tests.cli.billing:app"
            if p.required:
                args += (
                    [NOBODY if p.name == "job_ids" else value] if isinstance(p, click.Argument) else [p.opts[0], value]
                )
            elif "--yes" in p.opts and "job_ids" not in [q.name for q in command.params]:
                args.append("--yes")
        result = cli(*path, *args)
        assert (result.exit_code, result.stdout) == ((2 if path[0] in ("health", "doctor") else 1), ""), (
            path,
            result.stderr,
        )
        assert result.stderr.startswith("runledger: "), path
        assert "hint: " in result.stderr
        assert "Traceback" not in result.stderr
        assert "hunter2" not in result.output


def test_no_schema_is_told(empty_db, cli, monkeypatch):
    monkeypatch.setenv("RUNLEDGER_DSN", empty_db.dsn)
    result = cli("jobs")
    assert result.exit_code == 1
    assert "runledger migrate" in result.stderr


def test_no_grant_is_told(db, stranger, cli):
    result = cli("jobs", "--dsn", f"{db.admin_dsn} options='-c role={stranger}'")
    assert result.exit_code == 1
    assert "permission denied" in result.stderr
    assert "hint: " in result.stderr


def test_a_dsn_of_the_verb_goes_before_that_of_the_program(db, cli):
    assert cli("--dsn", "host=/nowhere", "schema", "--dsn", db.dsn).exit_code == 0


@pytest.mark.parametrize(("encoding", "verb"), [("latin-1", "jobs"), ("latin-1", "errors"), ("ascii", "top --once")])
def test_a_terminal_that_lacks_letters_is_shown_the_others(db, monkeypatch, encoding, verb):
    db.execute("select runledger.define_job(%s)", ["caf\u00e9 \U0001f98a"])
    db.execute("select runledger.enqueue_job(%s)", ["caf\u00e9 \U0001f98a"])
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    with process(db, *verb.split()) as child:
        child.stdout.reconfigure(encoding=encoding)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    assert verb == "errors" or "caf" in out


def test_names_in_errors_steer_no_terminal(cli):
    result = cli("type", "pause", NASTY)
    assert "\x1b" not in result.stderr
    assert "\u202e" not in result.stderr


def process(db, *args: str, **options) -> subprocess.Popen[str]:
    env = {**os.environ, "RUNLEDGER_DSN": db.dsn, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "runledger", *args]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(argv, text=True, env=env, **{**pipes, **options})


def test_a_reader_that_goes_away_is_no_error_worth_words(db):
    reading, writing = os.pipe()
    os.close(reading)
    started = process(db, "errors", "--json", stdout=writing)
    os.close(writing)
    _, said = started.communicate()
    assert (started.returncode, said) == (1, "")


def test_an_interrupt_while_waiting_ends_with_130(db):
    """Held up by a lock; the statement is canceled on the server too."""
    db.execute("select runledger.define_job('t')")
    holder = db.connect(autocommit=False)
    holder.execute("select from runledger.job_definitions for update")
    started = process(db, "type", "pause", "t")
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    while db.value(waiting) == 0:
        assert started.poll() is None
    started.send_signal(signal.SIGINT)
    out, said = started.communicate()
    assert (started.returncode, out, said) == (130, "", "runledger: interrupted\n")
    holder.rollback()
    assert db.value("select is_paused from runledger.job_definitions") is False


def test_plain_output_has_no_colours_and_no_boxes(db, world):
    out, said = process(db, "jobs").communicate()
    assert (said, "\x1b" in out) == ("", False)
    assert not [c for c in out if "\u2500" <= c <= "\u257f"]
    assert out.splitlines()[0].split()[:3] == ["job", "id", "job"]


def test_pages_are_joined(db, cli):
    db.execute("select runledger.define_job('t')")
    db.execute("select runledger.enqueue_job('t') from generate_series(1, 1205)")
    result = cli("jobs", "--json", "--limit", "1203", "--show-sql")
    rows = objects(result)
    assert [r["job_id"] for r in rows] == [
        str(i) for i in db.column("select id from runledger.job_queue order by id desc limit 1203")
    ]
    assert [line.count("before_id") for line in result.stderr.splitlines()] == [0, 1]
