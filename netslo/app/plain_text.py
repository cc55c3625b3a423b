"""Output to where not every character can be written: a pipe or a terminal in plain ASCII."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable
from typing import Any, Final

_HANDLER: Final = "netslo-plain"
_PLAIN: Final = {
    "µ": "u",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "✓": "+",
    "✗": "x",
    "·": "-",
    "…": "...",
}
_PLAIN_BLOCKS: Final = range(0x2580, 0x25A0)  # of which bars are drawn


def write_plainly(streams: Iterable[Any]) -> None:
    """Let streams write something readable instead of what their encoding does not have."""
    codecs.register_error(_HANDLER, _replace)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if ord(character) in _PLAIN_BLOCKS:
        return "#"
    return _PLAIN.get(character, "?")
