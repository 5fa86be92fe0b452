"""`make pgspot`: the whole install script before pgspot, which knows how definer functions and scripts are broken into.

It parses PL/pgSQL with a parser that knows no types of other schemas, so the script is rewritten where that matters to
the parser and not to what is looked for. Internals have no search_path of their own, as whoever calls them has ours
pinned (tests/tidy sees to that): they are given one here, and everything in them is looked at as under it.

Fail-closed: a finding that is not listed with a reason, output that is not understood, or a known hole that is not
found: each ends with exit code 1.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from runledger import migrate

# Finding, without its line number: why it is none.
ALLOWED: dict[str, str] = {}
_DECLARED = re.compile(r"^(\s+)(v_\w+)( constant)? runledger\.\w+(%rowtype)?(\[\])?(?=\s*(;|:=))", re.MULTILINE)
_SUMMARY = re.compile(r"Errors: (\d+) Warnings: (\d+) Unknown: (\d+)")
_PATH = "set search_path = pg_catalog, pg_temp\n"
# One of each kind of fault it is there for, within functions shaped like ours.
_PINNED = "set local search_path = pg_catalog, pg_temp;\ncreate schema runledger;\n"
HOLES = {
    "PS001": "create function runledger.f() returns boolean language sql as $$ select 1 = 2 $$;\n",
    "PS003": f"{_PINNED}create function runledger.f() returns int language sql security definer as $$ select 1 $$;\n",
    "PS004": f"{_PINNED}create function runledger.f() returns int language sql security definer set search_path = pg_catalog"
    " as $$ select 1 $$;\n",
    "PS005": f"{_PINNED}create function runledger.f() returns int language sql as $$ select 1 $$;\n",
    "PS016": "create view runledger.v as select digest('x');\n",
}


def script() -> str:
    """What `runledger migrate` runs, as pgspot can read it."""
    tree = migrate._load()
    files = (*tree.migrations, *tree.shelf, tree.grants)
    texts = [_readable(f.text) if f.name.startswith("functions/") else f.text for f in files]
    return "set local search_path = pg_catalog, pg_temp;\n" + "\n".join(texts)


def _readable(text: str) -> str:
    head, begin, body = text.partition("as $$\n")
    if re.search(r"create or replace function runledger\._", head):
        head += _PATH

    def plain(found: re.Match[str]) -> str:
        fields = re.search(rf"\b{found[2]}\.\w", body)
        return f"{found[1]}{found[2]}{found[3] or ''} {'record' if fields and not found[5] else 'text'}"

    body = _DECLARED.sub(plain, body)
    body = re.sub(r"^(\s+)(v_\w+)( constant)? record :=", r"\1\2 record;\1\2_given text :=", body, flags=re.MULTILINE)
    return head + begin + re.sub(r"\breturn next (?=\S)", "perform ", body)


def findings(pgspot: str, text: str) -> list[str]:
    """What it finds, without line numbers; raises if it did not get to the end."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(text)
        file.flush()
        done = subprocess.run([pgspot, file.name], capture_output=True, text=True, check=False)
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    summary = next((m for line in said if (m := _SUMMARY.fullmatch(line))), None)
    found = [re.sub(r" at line \d+$", "", line) for line in said if re.match(r"PS\d{3}: ", line)]
    told = summary is not None and sum(map(int, summary.groups())) == len(found)
    if not told or len(said) != len(found) + 1:
        raise SystemExit("pgspot said something unforeseen:\n" + "\n".join(said[-20:]))
    return found


def main() -> None:
    pgspot = sys.argv[1] if len(sys.argv) > 1 else "pgspot"
    if not Path(pgspot).exists():
        raise SystemExit(f"no {pgspot}: make pgspot installs it in a virtual environment of its own")
    for code, hole in HOLES.items():
        if not any(line.startswith(code) for line in findings(pgspot, hole)):
            raise SystemExit(f"{code} is not found where it should be")
    text = script()
    found = findings(pgspot, text)
    new = [line for line in found if line not in ALLOWED]
    gone = [line for line in ALLOWED if line not in found]
    functions = text.count("create or replace function")
    sys.stdout.write("".join(f"{line}\n" for line in [*new, *(f"no longer found: {g}" for g in gone)]))
    sys.stdout.write(
        f"{functions} functions, {len(HOLES)} known holes found, {len(ALLOWED)} allowed, {len(new)} findings\n"
    )
    sys.exit(1 if new or gone else 0)


if __name__ == "__main__":
    main()
