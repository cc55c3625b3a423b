"""What a user caused, said so that the user can act on it.

    NetsloError            exit 1   something outside failed (port in use, disk, host)
      ConfigurationError   exit 2   a file, an option or a value is wrong; carries every Problem

A caller's mistake is a plain ValueError, a network peer's an event that is counted;
anything else that surfaces is our bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netslo.printable import printable


class NetsloError(Exception):
    """The command cannot go on, and the message tells the user why and what to do."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in one file: where it is, what stands there, what was expected."""

    file: str
    line: int | None
    field: str
    value: str
    expected: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        what = f"{self.field} = {self.value}" if self.value else self.field
        said = f"{where}: {what}: {self.expected}" if what else f"{where}: {self.expected}"
        return printable(said)


class ConfigurationError(NetsloError):
    """The configuration or the command line is wrong; nothing was started."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        if isinstance(problems, str):
            self.problems: tuple[Problem, ...] = ()
            super().__init__(problems)
            return
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
