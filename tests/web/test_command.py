"""`runledger web` as a program."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from urllib.request import urlopen

import pytest

from tests.support.database import Db
from tests.support.servers import ROOT

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(db: Db) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "runledger", "web", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd=ROOT, env={**os.environ, "RUNLEDGER_DSN": db.dsn, **variables},
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_it_says_where_it_is_and_ends_when_told(start: Start):
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start("--listen", "127.0.0.1:0")
        found = re.match(r"Runledger on (http://127\.0\.0\.1:\d+/)", said(process))
        assert found
        with urlopen(found[1]) as answer:
            assert "Runledger" in answer.read().decode()
        process.send_signal(number)
        rest, errors = process.communicate(timeout=30)
        assert (process.returncode, rest, errors) == (0, "", "")


def test_with_changes_it_prints_an_address_that_signs_in(start: Start):
    process = start("--listen", "127.0.0.1:0", "--allow-mutations")
    said(process)
    assert re.fullmatch(r"to change things, sign in:  http://127\.0\.0\.1:\d+/sign-in#[\w-]{32}\n", said(process))


def test_a_token_of_ones_own_is_not_printed(start: Start):
    process = start("--listen", "0.0.0.0:0", "--allow-mutations", RUNLEDGER_WEB_TOKEN="a token of some length")
    told = said(process) + said(process)
    assert "/sign-in\n" in told
    assert "a token" not in told


@pytest.mark.parametrize("arguments", [("--listen", "0.0.0.0:8710"), ("--listen", "nonsense"), ("--token", "short")])
def test_what_is_unsafe_or_makes_no_sense_is_wrong_usage(start: Start, arguments: tuple[str, ...]):
    process = start(*arguments)
    told, errors = process.communicate(timeout=30)
    assert (process.returncode, told) == (2, "")
    assert "token" in errors or "like 127.0.0.1:8710" in errors


def test_an_address_in_use_is_told(start: Start):
    with socket.create_server(("127.0.0.1", 0)) as other:
        process = start("--listen", f"127.0.0.1:{other.getsockname()[1]}")
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "cannot listen on 127.0.0.1:" in errors
    assert "Traceback" not in errors
