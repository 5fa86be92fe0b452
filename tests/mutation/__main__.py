"""`make mutants`: put small faults into the functions, one at a time, and see whether a test notices."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import click
import pytest

from runledger.testing import DatabaseServer
from tests.mutation import touched
from tests.mutation.arena import Child, Failures, Verdict, base_server, tidy_kills
from tests.mutation.operators import STRICT, Mutant, grant_mutants, mutants, placebo
from tests.support.plpgsql import function_files

HERE = Path(__file__).parent
AREAS = ["functions", "concurrency", "catalog", "anomaly", "property", "plans", "psql"]
CATALOG = ("tests/catalog/test_security.py", "tests/catalog/test_access.py", "tests/functions/access/")

# Whatever else was chosen: for locks and most fences those who compete for a lease, for roles those who must not have it.
ROWS = "tests/concurrency/test_row_locks.py"
PARTS = "tests/functions/jobs/test_fence_parts.py"
RIVALS = (PARTS, ROWS, "tests/concurrency/test_leases.py")
FENCES = ("tests/functions/access/test_fence.py",)


def equivalents() -> dict[str, str]:
    """Mutants that change nothing anybody could see, each with the reason."""
    found = {}
    for line in (HERE / "equivalent.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.partition("  ")
            found[name] = reason.strip()
    return found


class Harness:
    """A pytest plugin: instead of running what was collected it lets mutants live against it."""

    def __init__(
        self,
        wanted: list[Mutant],
        *,
        side_by_side: int,
        seconds: float,
        deep: float,
        measure: bool,
        stale: bool,
        verbose: bool,
    ) -> None:
        self.wanted = wanted
        self.side_by_side = side_by_side
        self.seconds = seconds
        self.deep = deep
        self.only_measure = measure
        self.stale = stale
        self.verbose = verbose
        self.failures = Failures()
        self.verdicts: list[tuple[Mutant, Verdict]] = []
        self.reliable: set[str] = set()
        self.unreliable: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        session.config.pluginmanager.register(self.failures)
        session.config.pluginmanager.unregister(name="terminalreporter")
        self.items = {item.nodeid: item for item in session.items if not item.get_closest_marker("chaos")}
        if self.only_measure:
            say(f"measuring which of {len(self.items)} tests run which functions …")
            with base_server("18", {"track_functions": "all"}) as base:
                touched.measure_in_parts(base, list(self.items.values()), self.failures, self.side_by_side)
            return True
        self.known = touched.load(stale=self.stale) or touched.Guessed(self.items)
        say(
            f"{len(self.items)} tests, chosen by what {'they name' if isinstance(self.known, touched.Guessed) else 'was measured'}"
        )
        # What mutants leave behind goes with their server.
        for some in batched(self.wanted, 100):
            # One for each: prune and rollup wait for transactions of other databases, too.
            with contextlib.ExitStack() as servers:
                self.free = [servers.enter_context(base_server("18")) for _ in range(self.side_by_side)]
                self._run_all(some)
        return True

    def _run_all(self, wanted: list[Mutant]) -> None:
        waiting = list(reversed(wanted))
        alive: list[tuple[Child, list[str]]] = []
        try:
            self._live_and_let_die(waiting, alive)
        finally:
            for child, _ in alive:
                child.kill()

    def _live_and_let_die(self, waiting: list[Mutant], alive: list[tuple[Child, list[str]]]) -> None:
        while waiting or alive:
            while waiting and self.free:
                mutant = waiting.pop()
                if rule := tidy_kills(mutant):
                    self._done(mutant, Verdict("killed", rule))
                    continue
                alive.append(self._start(mutant))
            for pair in list(alive):
                child, tests = pair
                if verdict := child.poll(0.05):
                    alive.remove(pair)
                    if child.mutant.kind == "placebo":
                        self._done(child.mutant, verdict)
                    elif verdict.what == "hung" and not self._ends_without(child.base, tests):
                        self._done(child.mutant, replace(verdict, what="undecided"))
                    elif verdict.what == "killed" and not self._holds_without(child.base, verdict.by):
                        self.unreliable.add(verdict.by)
                        waiting.append(child.mutant)
                    else:
                        self._done(child.mutant, verdict)
                    self.free.append(child.base)

    def _start(self, mutant: Mutant) -> tuple[Child, list[str]]:
        tests = [name for name in self._tests(mutant) if name in self.items and name not in self.unreliable]
        base = self.free.pop()
        # What hangs on a lock fails after a while and need not be waited for, unless that is what was taken away.
        patience = "0" if "lock_timeout" in mutant.lines[0] else "20s"
        base._admin.execute(f"alter system set lock_timeout = '{patience}'".encode())
        base._admin.execute("select pg_reload_conf()")
        return Child(base, mutant, [self.items[name] for name in tests], self.failures), tests

    def _tests(self, mutant: Mutant) -> list[str]:
        if mutant.kind in ("grant", "path"):
            return sorted(
                (n for n in self.known.tests if n.startswith(CATALOG)), key=lambda n: "granted_to_public" not in n
            )
        seconds = self.deep if mutant.kind in STRICT else self.seconds
        chosen = self.known.choose(mutant.function, seconds, beside=mutant.diff)
        if mutant.kind in ("fence", "lock"):
            files = FENCES if re.search(r"role|_acts_as", " ".join(mutant.lines)) else RIVALS
            also = self.known.touching(mutant.function) & {n for n in self.known.tests if n.startswith(files)}
            first = ROWS if mutant.kind == "lock" else PARTS
            # What is about nothing else first, one of each test before the next of any: most die of it.
            copies: Counter[str] = Counter()
            nth = {n: copies.update([n.partition("[")[0]]) or copies[n.partition("[")[0]] for n in sorted(also)}
            rivals = sorted(also, key=lambda n: (not n.startswith(first), f"-{mutant.function}" not in n, nth[n], n))
            rivals = rivals[: max(25, len(chosen))]
            direct = [n for n in rivals if n.startswith(ROWS)] if mutant.kind == "lock" else []
            chosen = direct + [name for pair in zip_longest(rivals, chosen) for name in pair if name]
            chosen = list(dict.fromkeys(chosen))
        return chosen

    def _holds_without(self, base: DatabaseServer, test: str) -> bool:
        """A kill counts only if the same test passes on the schema as it is."""
        name = test
        if name not in self.items or name in self.reliable:
            return True
        (any_file, *_) = function_files()
        child = Child(base, placebo(any_file), [self.items[name]], self.failures)
        while not (verdict := child.poll(1)):
            pass
        if verdict.what == "survived":
            self.reliable.add(name)
        return verdict.what == "survived"

    def _ends_without(self, base: DatabaseServer, tests: list[str]) -> bool:
        """The machine may be too busy for the same tests without any fault: then nothing is known."""
        (any_file, *_) = function_files()
        child = Child(base, placebo(any_file), [self.items[name] for name in tests], self.failures)
        while not (verdict := child.poll(1)):
            pass
        return verdict.what == "survived"

    def _done(self, mutant: Mutant, verdict: Verdict) -> None:
        self.verdicts.append((mutant, verdict))
        by = f" by {verdict.by}" if verdict.by else f" {verdict.tests} tests"
        say(f"{len(self.verdicts):5} {verdict.seconds:6.1f} s  {verdict.what:9} {mutant.kind:12} {mutant.id}{by}")
        if verdict.how and self.verbose:
            say(f"      {verdict.how}")


def batched(some: list[Mutant], size: int) -> Iterator[list[Mutant]]:
    for start in range(0, len(some), size):
        yield some[start : start + size]


def say(line: str) -> None:
    sys.__stdout__.write(line + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


def report(verdicts: Iterable[tuple[Mutant, Verdict]]) -> bool:
    """Print the table and the survivors; say whether the goals are met."""
    known = equivalents()
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    survivors = []
    for mutant, verdict in verdicts:
        what = "equivalent" if verdict.what == "survived" and mutant.id in known else verdict.what
        rows[mutant.kind][what] += 1
        if what == "survived":
            survivors.append(mutant)
    for mutant in survivors:
        if mutant.kind != "placebo":
            say(f"\nSURVIVED {mutant.kind} {mutant.id}\n{mutant.diff or mutant.text}")
    say(
        f"\n{'kind':14}{'counted':>9}{'killed':>8}{'hung':>6}{'survived':>10}{'equivalent':>12}{'stillborn':>11}{'undecided':>11}"
    )
    total: Counter[str] = Counter()
    for kind, row in sorted(rows.items()):
        if kind != "placebo":
            total += row
        say(_line(kind, row))
    say(_line("all", total))
    counted = total["killed"] + total["hung"] + total["survived"]
    share = (total["killed"] + total["hung"]) / counted if counted else 1.0
    strict = [m for m in survivors if m.kind in STRICT]
    false_alarm = rows["placebo"]["killed"] + rows["placebo"]["hung"]
    say(
        f"\n{share:.1%} of {counted} killed; {len(strict)} survivors among {', '.join(STRICT)}; {false_alarm} placebos killed"
    )
    undecided = sum(row["undecided"] for row in rows.values())
    return share >= 0.9 and not strict and not false_alarm and not undecided


def _line(kind: str, row: Counter[str]) -> str:
    counted = row["killed"] + row["hung"] + row["survived"]
    return f"{kind:14}{counted:9}{row['killed']:8}{row['hung']:6}{row['survived']:10}{row['equivalent']:12}{row['stillborn']:11}{row['undecided']:11}"


def pick(
    kinds: Sequence[str], but: Sequence[str], function: str, file: str, ids: Sequence[str], sample: int, seed: int
) -> list[Mutant]:
    """The mutants asked for; a sample is drawn from what the other options leave."""
    named = {name.partition(":")[0] for name in ids}
    paths = [
        path
        for path in function_files()
        if (not function or path.stem in function.split(","))
        and f"{path.parent.name}/{path.name}".startswith(file)
        and (not named or f"{path.parent.name}/{path.name}" in named)
    ]
    among = [mutant for path in paths for mutant in mutants(path, kinds)]
    if not (function or file) and (not named or named & {"grants.sql", "access/_access_matrix.sql"}):
        among += grant_mutants()
    if kinds:
        among = [m for m in among if m.kind in kinds]
    among = [m for m in among if m.kind not in but]
    if ids:
        among = [m for m in among if m.id in ids]
    rng = random.Random(seed)
    # Shuffled in any case: what was done when somebody stops a run stands for the rest.
    return rng.sample(among, min(sample or len(among), len(among)))


@click.command()
@click.option("--sample", default=150, help="how many mutants, drawn at random; 0: all")
@click.option("--seed", default=0, help="of the draw; 0: another one each time")
@click.option("--kind", default="", help="only these kinds, separated by commas")
@click.option("--but", default="", help="none of these kinds")
@click.option("--function", default="", help="only mutants of these functions, separated by commas")
@click.option("--file", default="", help="only mutants of files whose path begins so, as in jobs/")
@click.option("--id", "ids", multiple=True, help="only this mutant")
@click.option("--ids-from", type=click.Path(exists=True), help="only the mutants that this file names, one a line")
@click.option("--jobs", default=2, help="mutants side by side")
@click.option("--seconds", default=12.0, help="of tests against a mutant at most")
@click.option("--deep", default=40.0, help="the same, for fence, lock, grant and path")
@click.option("--placebos", default=3, help="changes that change nothing: no test may notice")
@click.option("--measure", is_flag=True, help="only measure which tests run which functions")
@click.option("--stale", is_flag=True, help="use the last measurement although files have changed")
@click.option("--tests", default="", help="only these test files and directories, separated by commas")
@click.option("--verbose", is_flag=True, help="print how tests failed")
@click.option("--list", "only_list", is_flag=True, help="print the mutants and their diffs")
def main(
    *, sample: int, seed: int, kind: str, but: str, function: str, file: str, ids: tuple[str, ...], ids_from: str | None,
    jobs: int, seconds: float, deep: float, placebos: int, measure: bool, stale: bool, tests: str, verbose: bool,
    only_list: bool,
) -> None:  # fmt: skip
    """Put small faults into the SQL and see whether a test notices; exit 1 under 90 % or if a strict one survives."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = seed or random.randrange(1, 1_000_000)
    if ids_from:
        ids = (*ids, *Path(ids_from).read_text().split())
    kinds = [k for k in kind.split(",") if k]
    wanted = pick(kinds, but.split(","), function, file, ids, 0 if ids else sample, seed)
    if only_list:
        for mutant in wanted:
            say(f"{mutant.kind} {mutant.id}\n{mutant.diff or mutant.text}\n")
        return
    say(f"{len(wanted)} mutants, seed {seed}")
    wanted += [placebo(path) for path in random.Random(seed).sample(function_files(), placebos)]
    harness = Harness(
        wanted, side_by_side=jobs, seconds=seconds, deep=deep, measure=measure, stale=stale, verbose=verbose
    )
    began = time.monotonic()
    where = tests.split(",") if tests else [f"tests/{area}" for area in AREAS]
    options = ["--pg=18", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=60", "-W", "ignore"]
    code = pytest.main([*where, *options, "-m", "not soak and not browser"], plugins=[harness])
    if code not in (0, 5) and not harness.verdicts:
        sys.exit(int(code))
    if measure:
        return
    fine = report(harness.verdicts)
    if harness.unreliable:
        say(f"tests that failed also without a fault, and did not count: {', '.join(sorted(harness.unreliable))}")
    say(f"seed {seed}, {time.monotonic() - began:.0f} s")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
