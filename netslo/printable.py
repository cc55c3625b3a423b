"""Texts of other people, made fit for a terminal."""

from __future__ import annotations

from typing import Final

_OCTETS: Final = range(0xDC80, 0xDD00)  # no UTF-8; how "surrogateescape" decodes them


def printable(text: str) -> str:
    r"""Return a text in which what a terminal would obey, or cannot show, is escaped as in Python.

    A line stays a line; an escape sequence becomes `\x1b[2J`.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if code in _OCTETS:
        return f"\\x{code & 0xFF:02x}"
    return character.encode("unicode_escape").decode()
