"""YAML documents that remember on which line everything stands."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.constructor import ConstructorError

from netslo.errors import ConfigurationError, Problem

SIZE_MAX: Final = 1 << 20
NODES_MAX: Final = 200_000  # what an alias repeats counts again, so a bomb of aliases is refused

Location = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Of YAML 1.1 as the library has it, but 1e9 is a number as in YAML 1.2 and in JSON."""


def know_exponents(of: type[yaml.SafeLoader | yaml.SafeDumper]) -> None:
    """Have 1e9 read as a number, or text of that form written in quotes."""
    of.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+\Z"),
        list("-+.0123456789"),
    )


know_exponents(_Loader)


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file: plain Python data, and the line of each part of it."""

    file: pathlib.Path
    data: Any
    lines: dict[Location, int] = field(repr=False)
    texts: dict[Location, str] = field(repr=False)

    def line(self, location: Location) -> int:
        """Return the line of a part, or of the nearest part around it that exists."""
        while location not in self.lines and location:
            location = location[:-1]
        return self.lines.get(location, 1)

    def text(self, location: Location) -> str | None:
        """Return a scalar as it is written in the file: `0.9990` stays `0.9990`."""
        return self.texts.get(location)


def load_documents(file: pathlib.Path) -> list[Document]:
    """Read the documents of a YAML file, with the safe types only.

    Raises:
        ConfigurationError: the file cannot be read, is no YAML, has a key twice or is too large.
    """
    text = _read(file)
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=_Loader) if node]
        return [_Reader(file).document(node) for node in nodes]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        reason = error.problem or error.context or "cannot be understood"
        raise _fault(file, line, f"not YAML: {reason}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise _fault(file, None, f"not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise _fault(file, None, "not usable: nested too deeply") from error


def _read(file: pathlib.Path) -> str:
    try:
        octets = file.read_bytes()
    except FileNotFoundError as error:
        raise _fault(file, None, "there is no such file") from error
    except OSError as error:
        raise _fault(file, None, f"cannot be read: {error.strerror}") from error
    if len(octets) > SIZE_MAX:
        raise _fault(file, None, f"has {len(octets)} octets, at most {SIZE_MAX} are read")
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        line = octets[: error.start].count(b"\n") + 1
        raise _fault(file, line, "is not UTF-8 text") from error


def _fault(file: pathlib.Path, line: int | None, expected: str) -> ConfigurationError:
    return ConfigurationError([Problem(str(file), line, "", "", expected)])


class _Reader:
    """Turns nodes into data and notes where they stood."""

    def __init__(self, file: pathlib.Path) -> None:
        self._file = file
        self._constructor = _Loader("")
        self._lines: dict[Location, int] = {}
        self._texts: dict[Location, str] = {}
        self._problems: list[Problem] = []
        self._nodes = 0

    def document(self, node: yaml.Node) -> Document:
        data = self._value(node, ())
        if self._problems:
            raise ConfigurationError(self._problems)
        return Document(self._file, data, self._lines, self._texts)

    def _value(self, node: yaml.Node, location: Location) -> Any:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise _fault(self._file, None, f"has more than {NODES_MAX} values")
        self._lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return dict(self._entries(node, location))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*location, i)) for i, item in enumerate(node.value)]
        self._texts[location] = str(node.value)
        return self._constructor.construct_object(node)

    def _entries(self, node: yaml.MappingNode, location: Location) -> Iterator[tuple[str, Any]]:
        try:
            self._constructor.flatten_mapping(node)  # merge keys: `<<: *defaults`
        except ConstructorError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else None
            raise _fault(self._file, line, f"not YAML: {error.problem}") from error
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise _fault(self._file, line, "a key must be a plain word")
            if key in seen:
                where = ".".join(map(str, (*location, key)))
                expected = f"stands here a second time; the first is on line {seen[key]}"
                self._problems.append(Problem(str(self._file), line, where, "", expected))
            seen[key] = line
            self._lines[*location, key] = line
            yield key, self._value(value_node, (*location, key))
