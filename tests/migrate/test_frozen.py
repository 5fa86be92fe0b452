"""What each release installed, and what its client asks for: the present tree must be able to go on from there."""

from __future__ import annotations

import pytest

import runledger.migrate as m
from tests.support import freeze
from tests.support.freeze import Asked


def test_what_was_released_is_never_edited():
    assert {name: freeze.checksum(name) for name in freeze.RELEASED} == freeze.RELEASED


@pytest.mark.parametrize("release", freeze.versions())
def test_its_migrations_are_ours(release):
    """Functions may differ, they are replaced as a set. Tables change by a further migration alone: until a version is
    released `make freeze` takes an edited one over, afterwards nothing does."""
    ours = {m.Path(file.name).name: file.sha256 for file in m._load().migrations}
    theirs = freeze.migrations(freeze.script(release))
    assert theirs, "an install script without migrations"
    assert {name: ours.get(name) for name in theirs} == theirs, "an edited migration: see tests/support/freeze.py"


def test_the_version_that_is_being_made_is_frozen():
    assert freeze.version() in freeze.versions()


@pytest.mark.parametrize("release", freeze.versions())
def test_its_client_finds_all_that_it_asks_for(db, release):
    """Each statement that it sends is accepted, and has the columns that it reads, with the same names and types."""
    told = freeze.calls(release)
    assert len(told["calls"]) > 100
    asked = Asked(db.conn)
    for call in told["calls"]:
        assert asked.describe(call["query"], call["sent"]) == call["columns"], call["function"]


@pytest.mark.parametrize("release", freeze.versions())
def test_its_client_knows_the_errors_that_it_may_get(db, release):
    """It acts on codes: they keep their SQLSTATE. A new one has a SQLSTATE that it knows."""
    codes = dict(db.conn.execute("select code, sqlstate from runledger.error_codes()").fetchall())
    known = freeze.calls(release)["codes"]
    assert {code: codes.get(code) for code in known} == known
    assert set(codes.values()) <= set(known.values())
