"""A place in a configuration document, where a problem may be found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

from netslo.config.validation import problem_at
from netslo.config.yaml_lines import Document, Location
from netslo.errors import Problem


@dataclass(frozen=True, slots=True)
class Place:
    """One node of a document, and the list to which all places of it report.

    `left_out` are fields of the document at fault already. What is reported of one of them, of
    what is around it or inside, follows from that alone, and goes to `follow_ups` as well.
    """

    document: Document
    problems: list[Problem]
    location: Location = ()
    left_out: frozenset[Location] = frozenset()
    follow_ups: list[Problem] = field(default_factory=list)

    def at(self, *keys: str | int) -> Self:
        """Return the place reached from here by `keys`."""
        return replace(self, location=self.location + keys)

    @property
    def data(self) -> Any:
        """What stands here; None when there is nothing."""
        data = self.document.data
        for key in self.location:
            try:
                data = data[key]
            except (KeyError, IndexError, TypeError):
                return None
        return data

    @property
    def text(self) -> str | None:
        """The scalar that stands here, as it is written; None when there is none."""
        return self.document.text(self.location)

    @property
    def field(self) -> str:
        """The keys that lead here, as problems show them."""
        return ".".join(map(str, self.location))

    @property
    def line(self) -> int:
        """The line of this node, or of the nearest one around it that exists."""
        return self.document.line(self.location)

    @property
    def is_left_out(self) -> bool:
        """Whether what stands here, if anything does, is at fault already, or inside of such."""
        return any(self.location[: len(place)] == place for place in self.left_out)

    def report(self, value: object, expected: str) -> None:
        """Note that `value` stands here where something else was expected.

        `value` is "" where something is missing.
        """
        problem = problem_at(self.document, self.location, value, expected)
        self.problems.append(problem)
        size = len(self.location)
        if any(self.location[: len(p)] == p[:size] for p in self.left_out):
            self.follow_ups.append(problem)
