"""Nothing is told that no test asks for: each section of the texts under told/ belongs to a test."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.support.servers import ROOT
from tests.support.told import read, title


def test_each_section_has_its_test():
    texts = sorted((ROOT / "tests").glob("**/told/*.txt"))
    files = [text.parent.parent / f"{text.stem}.py" for text in texts]
    asked = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--pg=18", "-p", "no:cacheprovider", *map(str, files)]
    listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tests = {
        (line.partition("::")[0], title(line)) for line in listed.splitlines() if re.match(r"tests/.*\.py::", line)
    }
    told = {(str(file.relative_to(ROOT)), name) for file, text in zip(files, texts, strict=True) for name in read(text)}
    assert len(told) > 100
    assert told - tests == set()
