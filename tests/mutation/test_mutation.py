"""The harness itself: which faults it makes, that a fault reaches the tests, that nothing else does."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from tests.mutation.__main__ import equivalents, report
from tests.mutation.arena import Patched, Verdict, tidy_kills
from tests.mutation.operators import Mutant, grant_mutants, mutants, placebo
from tests.support.database import Db
from tests.support.plpgsql import function_files
from tests.support.servers import ROOT

FILES = {path.stem: path for path in function_files()}


def changes(function: str, kind: str) -> list[str]:
    """What the mutants of that kind take away and put there instead."""
    found = []
    for mutant in mutants(FILES[function]):
        if mutant.kind == kind:
            lines = [line for line in mutant.diff.splitlines() if line[:1] in "+-"]
            found.append(" ".join(" ".join(lines).split()))
    return found


def fault(function: str, operator: str, removed: str) -> Mutant:
    (found,) = (
        m
        for m in mutants(FILES[function])
        if m.operator == operator and re.search(rf"^-.*{removed}", m.diff, re.MULTILINE)
    )
    return found


def test_each_part_of_a_fence_is_dropped_and_turned():
    found = changes("_succeed_jobs", "fence")
    for part in (r"q\.status = 'LEASED'", r"and coalesce\(q\.lease_token, 0\) = a\.lease_token", r"and q\.lease_expires_at > ", r"\(q\.lease_role = v_caller or"):
        gone = [f for f in found if re.search(f"^-.*{part}", f) and not re.search(rf"\+.*{part}", f)]
        assert len(gone) >= 2, part
    assert "- and coalesce(q.lease_token, 0) = a.lease_token + and coalesce(q.lease_token, 0) <> a.lease_token" in found


def test_locks_are_dropped_weakened_and_disordered():
    found = changes("_lock_window", "lock") + changes("_lock_ready", "lock") + changes("_lock_expired", "lock")
    assert [f for f in found if "skip locked" in f.split("+")[0] and "skip locked" not in f.split("+")[1]]
    assert [f for f in found if "for update" in f.split("+")[0] and "for update" not in f.split("+")[1]]


def test_paths_are_opened_in_each_way():
    operators = {m.operator for m in mutants(FILES["claim_jobs"]) if m.kind == "path"}
    assert operators == {"drop-pg-temp", "temp-first", "schema-in-path", "not-pinned", "invoker"}
    assert all(tidy_kills(m) for m in mutants(FILES["claim_jobs"]) if m.kind == "path" and m.operator != "temp-first")


def test_every_function_table_and_view_is_given_to_public():
    found = {m.text for m in grant_mutants() if m.operator == "to-public"}
    assert len([text for text in found if text.startswith("grant execute")]) == len(FILES)
    assert "grant select on runledger.job_queue to public;\n" in found
    assert "grant select on runledger.jobs to public;\n" in found


@pytest.mark.parametrize("function", ["claim_jobs", "_settle", "_next_cron_day", "workflow_tree"])
def test_no_two_mutants_are_the_same(function: str):
    found = mutants(FILES[function])
    assert len(found) > 20
    assert len({m.id for m in found}) == len({m.text for m in found}) == len(found)
    assert FILES[function].read_text() not in {m.text for m in found}


def test_the_list_of_equivalents_names_mutants_that_exist():
    known = equivalents()
    assert all(known.values()), "each with its reason"
    files = {name.partition(":")[0] for name in known}
    found = {
        m.id
        for path in function_files()
        if any(path.as_posix().endswith(f"functions/{f}") for f in files)
        for m in mutants(path)
    }
    found |= {m.id for m in grant_mutants()}
    assert known.keys() - found == set()


def test_a_fault_is_in_every_database_and_nothing_else_is(pg):
    mutant = fault("_judge_outcomes", "drop-and", "and q.lease_expires_at > _judge_outcomes.now")
    for made, judged in ((mutant, "DEAD_LETTERED"), (placebo(FILES["_judge_outcomes"]), "LEASE_LOST")):
        with Patched(pg, made) as server:
            db = Db(server.take(), server)
            db.execute("select runledger.define_job('t', max_attempts => 1)")
            db.execute("select runledger.enqueue_job('t')")
            lease = db.one("select job_id, lease_token from runledger.claim_jobs('w', '{t}')")
            db.execute("update runledger.job_queue set lease_expires_at = now() - interval '1 minute'")
            late = [{**lease, "job_id": str(lease["job_id"]), "outcome": "FAILED", "error_code": "a.b"}]
            told = db.value("select disposition from runledger.finish_jobs(%s::jsonb)", [json.dumps(late)])
            assert told == judged
            # Or each test that looks at the schema would fail for any fault at all.
            assert db.all("select * from runledger._schema_drift()") == []
            for conn in db._opened:
                conn.close()


@pytest.mark.timeout(400)
def test_a_run_kills_what_a_test_sees_and_spares_what_is_the_same():
    mutant = fault("start_jobs", "next-label", "q.status = 'LEASED' and")
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutation", f"--id={mutant.id}", "--placebos=1", "--tests=tests/functions/jobs/test_start_jobs.py"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=380,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"killed +fence", done.stdout), done.stdout + done.stderr
    assert re.search(r"survived +placebo", done.stdout)
    assert "0 placebos killed" in done.stdout


def test_the_verdict_is_strict_about_fences(capfd):
    fence, other = mutants(FILES["_succeed_jobs"])[:2]
    fence = dataclasses.replace(fence, kind="fence")
    other = dataclasses.replace(other, kind="compare")
    killed, lives = Verdict("killed", "a test"), Verdict("survived")
    assert report([(fence, killed)] + [(other, killed)] * 9)
    assert report([(other, killed)] * 9 + [(other, lives)])
    assert not report([(other, killed)] * 8 + [(other, lives)])
    assert not report([(other, killed)] * 9 + [(other, Verdict("undecided"))])
    assert not report([(fence, lives)] + [(other, killed)] * 99)
    assert not report([(other, killed)] * 9 + [(placebo(FILES["_settle"]), killed)])
