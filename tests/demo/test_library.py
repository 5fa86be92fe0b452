"""What the demo reads from source files."""

from __future__ import annotations

import pytest

from runledger.demo.library import read_source, sources, standard_library

SOURCE = b'''# -*- coding: latin-1 -*-
"""Two lines
of text: \xe9."""
import os.path, sys
from collections import abc
from . import near  # a comment behind

class C:
    def short(self): ...

    async def long(self):
        def inner():
            return 1

        return inner
'''


def test_facts_of_a_source_file():
    facts = read_source(SOURCE)
    assert (facts.lines, facts.comments, facts.functions, facts.classes) == (15, 2, 3, 1)
    assert facts.code_lines == 11  # without the two blank lines, the comment line and the blank one in the method
    assert facts.longest == (5, "long")
    assert facts.imports == {"os": 1, "sys": 1, "collections": 1}


def test_an_empty_file_is_a_source_file():
    assert read_source(b"").longest == (0, "")


@pytest.mark.parametrize(
    "data", [b'print "2008"', b"if x:\n\ty\n        z", b"'''open", b"# coding: no-such\n", b"x = '\xff'", b"a\0b"]
)
def test_what_is_no_source_file_is_refused(data: bytes):
    with pytest.raises((SyntaxError, ValueError)):
        read_source(data)


def test_packages_hold_each_file_of_the_library_once_and_no_tests():
    packages = sources()
    files = [name for names in packages.values() for name in names]
    assert len(files) == len(set(files))
    assert {"ast.py", "json/decoder.py", "concurrent/futures/thread.py"} <= set(files)
    assert not [name for name in files if {"test", "tests", "site-packages", "__pycache__"} & set(name.split("/"))]
    top = {path.name for path in standard_library().glob("*.py")}
    assert top == {name for name in files if "/" not in name}
    assert packages["json"] == sorted(name for name in files if name.startswith("json/"))


def test_modules_stand_together_a_dozen_or_more_at_a_time():
    groups = {name: files for name, files in sources().items() if name.startswith("modules ")}
    assert all(len(files) >= 12 for files in list(groups.values())[:-1])
    letters = [{file[0].lower() for file in files} for files in groups.values()]
    assert sum(map(len, letters)) == len(set().union(*letters))
