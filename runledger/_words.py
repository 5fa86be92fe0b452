"""Words for a screen: what came from the database is escaped, and measured in cells."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len


def escaped(words: str) -> str:
    """The text on one line, with what steers a terminal or turns its direction shown as an escape."""
    if words.isascii() and words.isprintable():
        return words
    return "".join(c if not _steers(c) else _escape(c) for c in words)


def _steers(char: str) -> bool:
    # Categories: control, format (direction marks), surrogate, private, unassigned; line and paragraph separators.
    return unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"


def _escape(char: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    code = ord(char)
    return named or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}")


def fitted(words: str, cells: int) -> str:
    """The text in exactly so many cells: filled up with blanks, or cut with an ellipsis."""
    length = cell_len(words)
    if length > cells:
        kept, length = "", 1
        for char in words:
            if length + cell_len(char) > cells:
                break
            kept, length = kept + char, length + cell_len(char)
        words = kept + "\u2026"
    return words + " " * (cells - length)


def folded(words: str, cells: int) -> list[str]:
    """The text in lines of at most so many cells."""
    lines, line, length = [], "", 0
    for char in words:
        if length + cell_len(char) > cells:
            lines.append(line)
            line, length = "", 0
        line, length = line + char, length + cell_len(char)
    return [*lines, line]


def wrapped(words: str, cells: int) -> list[str]:
    """The text in lines of at most so many cells, broken between words where there are any."""
    lines, line = [], ""
    for word in words.split(" "):
        if line and cell_len(line) + 1 + cell_len(word) > cells:
            lines.append(line)
            line = ""
        *whole, rest = folded(word, cells)
        lines.extend(whole)
        line = f"{line} {rest}" if line else rest
    return [*lines, line]
