"""Texts of a peer, which end on a terminal or in a log: a line, and nothing that these obey."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from netslo.printable import printable


def _one_line(text: str) -> str:
    return printable(text).replace("\n", " ")


def _printable_only(text: str) -> str:
    if not text.isprintable():
        raise ValueError("should have printable characters only")
    return text


Words = Annotated[str, AfterValidator(_one_line)]
Printable = Annotated[str, AfterValidator(_printable_only)]
