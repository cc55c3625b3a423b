"""A place in a configuration document, where a problem may be found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from netslo.config.yaml_lines import Document
from netslo.errors import Problem


@dataclass(frozen=True, slots=True)
class Place:
    """One node of a document, and the list to which all places of it report."""

    document: Document
    problems: list[Problem]
    location: tuple[str | int, ...] = ()

    def at(self, *keys: str | int) -> Self:
        """Return the place reached from here by `keys`."""
        return replace(self, location=self.location + keys)

    @property
    def line(self) -> int:
        """The line of this node, or of the nearest one around it that exists."""
        return self.document.line(self.location)

    def report(self, value: object, expected: str) -> None:
        """Note that `value` stands here where something else was expected.

        `value` is "" where something is missing.
        """
        self.problems.append(
            Problem(
                file=str(self.document.file),
                line=self.line,
                field=".".join(str(key) for key in self.location),
                value=str(value),
                expected=expected,
            )
        )
