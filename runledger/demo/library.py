"""The input of the demo: the source files of the running Python's standard library, and what is in one of them."""

from __future__ import annotations

import ast
import io
import sysconfig
import tokenize
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_LEFT_OUT = {"__pycache__", "dist-packages", "idle_test", "site-packages", "test", "tests"}
_MODULES_TOGETHER = 12
_NO_CODE = {
    tokenize.COMMENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER, tokenize.INDENT, tokenize.NEWLINE,
    tokenize.NL,
}  # fmt: skip


def standard_library() -> Path:
    """Return the directory with the sources of the running Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def sources() -> dict[str, list[str]]:
    """Return the source files of the standard library by package, without its tests.

    Modules that are no package stand together by their first letters, as "modules a-b", a dozen or more at a time.
    """
    root = standard_library()
    packages: dict[str, list[str]] = {}
    modules: list[str] = []
    for top in sorted(root.iterdir(), key=lambda path: path.name.lower()):
        if top.suffix == ".py":
            modules.append(top.name)
        elif top.is_dir() and top.name not in _LEFT_OUT:
            files = sorted(path.relative_to(root) for path in top.rglob("*.py"))
            if kept := [file.as_posix() for file in files if not _LEFT_OUT.intersection(file.parts)]:
                packages[top.name] = kept
    together: list[str] = []
    for nth, name in enumerate(modules, 1):
        together.append(name)
        ends = nth == len(modules) or name[0].lower() != modules[nth][0].lower()
        if nth == len(modules) or (ends and len(together) >= _MODULES_TOGETHER):
            first, last = together[0][0].lower(), name[0].lower()
            packages[f"modules {first}" if first == last else f"modules {first}-{last}"] = together
            together = []
    return packages


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is in one source file."""

    lines: int
    code_lines: int
    comments: int
    functions: int
    classes: int
    longest: tuple[int, str]
    imports: Counter[str]


def read_source(data: bytes) -> SourceFacts:
    """Tokenize and parse a source file. Raises SyntaxError (also for bytes in no known encoding) or ValueError."""
    code: set[int] = set()
    comments = 0
    try:
        for token in tokenize.tokenize(io.BytesIO(data).readline):
            if token.type == tokenize.COMMENT:
                comments += 1
            elif token.type not in _NO_CODE:
                code.update(range(token.start[0], token.end[0] + 1))
    except tokenize.TokenError as error:
        raise SyntaxError(str(error.args[0])) from error
    functions = classes = 0
    longest = (0, "")
    imports: Counter[str] = Counter()
    for node in ast.walk(ast.parse(data)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions += 1
            longest = max(longest, ((node.end_lineno or node.lineno) - node.lineno + 1, node.name))
        elif isinstance(node, ast.ClassDef):
            classes += 1
        elif isinstance(node, ast.Import):
            imports.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports[node.module.partition(".")[0]] += 1
    return SourceFacts(data.count(b"\n"), len(code), comments, functions, classes, longest, imports)
