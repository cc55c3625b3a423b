"""`exclusions.jsonl`: who took which time out of the budgets, and why. It only ever grows.

One JSON object a line, in the order of declaration:

    {"id": "x1", "start": "2026-12-01T01:00:00Z", "end": "2026-12-01T05:00:00Z",
     "declared": "2026-11-24T15:00:00Z", "author": "alice", "reason": "CHG-1: fibre replaced",
     "slos": ["loss"], "paths": ["london:leeds/ef"], "sites": ["leeds"]}
    {"revokes": "x1", "declared": "2026-11-25T09:00:00Z", "author": "bob", "reason": "put off"}

`slos`, `paths` and `sites` may be absent, which means all. A line that revokes another takes it
back from the beginning; both lines stay.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from netslo.errors import ConfigurationError, NetsloError, Problem
from netslo.model import Path
from slo.exclusion import AUTHOR_LENGTH_MAX, REASON_LENGTH_MAX, Covers, Exclusion, next_step

FILE_NAME: Final = "exclusions.jsonl"
SIZE_MAX: Final = 16 << 20

_TIMES: Final = ("start", "end", "declared")
_TEXTS: Final = ("id", "author", "reason")
_LISTS: Final = ("slos", "paths", "sites")

Report = Callable[[str, str, str], None]  # field, value, what was expected


@dataclass(frozen=True, slots=True)
class Revocation:
    """An exclusion taken back: by whom, when, why."""

    revokes: str  # the id of the exclusion
    author: str
    reason: str
    declared_s: int


def read_log(file: pathlib.Path) -> tuple[Exclusion | Revocation, ...]:
    """Return every line of the log, in order; no such file is an empty log.

    Raises:
        ConfigurationError: with every fault of every line.
    """
    problems: list[Problem] = []
    entries: list[Exclusion | Revocation] = []
    known: set[str] = set()
    for number, line in enumerate(_lines(file), start=1):

        def report(field: str, value: str, expected: str, line: int = number) -> None:
            problems.append(Problem(str(file), line, field, value, expected))

        entry = _read_line(line, report) if line.strip() else None
        match entry:
            case Exclusion() if entry.id in known:
                report("id", entry.id, "is the id of an earlier line")
            case Revocation() if entry.revokes not in known:
                report("revokes", entry.revokes, "must be the id of an earlier line")
            case Exclusion():
                known.add(entry.id)
                entries.append(entry)
            case Revocation():
                entries.append(entry)
    if problems:
        raise ConfigurationError(problems)
    return tuple(entries)


def load_exclusions(file: pathlib.Path) -> tuple[Exclusion, ...]:
    """Return the exclusions of the log that nobody revoked; see `read_log`."""
    return in_force(read_log(file))


def in_force(entries: Iterable[Exclusion | Revocation]) -> tuple[Exclusion, ...]:
    """Return the exclusions among `entries` that nobody revoked."""
    entries = tuple(entries)
    revoked = {entry.revokes for entry in entries if isinstance(entry, Revocation)}
    return tuple(e for e in entries if isinstance(e, Exclusion) and e.id not in revoked)


def taken_back(entries: Iterable[Exclusion | Revocation]) -> tuple[Exclusion, ...]:
    """Return what was over of exclusions when they were revoked: counters have left it out."""
    found, declared = [], dict[str, Exclusion]()
    for entry in entries:
        if isinstance(entry, Exclusion):
            declared[entry.id] = entry
        elif (x := declared.pop(entry.revokes, None)) is not None:
            end_s = min(x.end_s, next_step(entry.declared_s))
            if x.start_s < end_s:
                found.append(replace(x, end_s=end_s))
    return tuple(found)


@contextmanager
def only_author(file: pathlib.Path) -> Iterator[None]:
    """Have other authors wait: who reads the log to give an id would give the same one twice.

    Raises:
        NetsloError: the file cannot be written.
    """
    with _written(file) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def append_to_log(file: pathlib.Path, entry: Exclusion | Revocation) -> None:
    """Add one line, on disk when this returns.

    Raises:
        NetsloError: the file cannot be written.
    """
    line = json.dumps(to_json(entry), ensure_ascii=False, allow_nan=False) + "\n"
    with _written(file) as descriptor:
        if _ends_within_a_line(file):  # a writer was killed; its line is then at fault alone
            line = "\n" + line
        octets, size = line.encode(), os.fstat(descriptor).st_size
        if os.write(descriptor, octets) < len(octets):  # one write, so that two authors do not mix
            os.ftruncate(descriptor, size)  # a part of a line would be a fault to all who read it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)


def to_json(entry: Exclusion | Revocation) -> dict[str, Any]:
    """Return the object that stands for `entry` in a line of the log."""
    if isinstance(entry, Revocation):
        return {
            "revokes": entry.revokes,
            "declared": format_time(entry.declared_s),
            "author": entry.author,
            "reason": entry.reason,
        }
    covers = entry.covers
    lists = {
        "slos": sorted(covers.slos),
        "paths": sorted(path.id for path in covers.paths),
        "sites": sorted(covers.sites),
    }
    return {
        "id": entry.id,
        "start": format_time(entry.start_s),
        "end": format_time(entry.end_s),
        "declared": format_time(entry.declared_s),
        "author": entry.author,
        "reason": entry.reason,
        **{key: names for key, names in lists.items() if names},
    }


def read_exclusion(data: object, report: Report) -> Exclusion | None:
    """Return the exclusion that an object states, or None once its faults are reported."""
    if not isinstance(data, Mapping):
        report("", "", "must be an object with id, start, end, declared, author and reason")
        return None
    faults: list[str] = []

    def fault(field: str, value: object, expected: str) -> None:
        faults.append(field)
        report(field, _show(value), expected)

    for key in data.keys() - {*_TIMES, *_TEXTS, *_LISTS}:
        fault(str(key), data[key], f"is no known field; known are {', '.join(_KNOWN)}")
    times = {key: _read_time(data, key, fault) for key in _TIMES}
    texts = {key: _read_text(data, key, fault) for key in _TEXTS}
    slos, paths, sites = (_read_names(data, key, fault) for key in _LISTS)
    parsed = [_read_path(text, fault) for text in paths]
    if faults:
        return None
    try:
        return Exclusion(
            id=texts["id"],
            start_s=times["start"],
            end_s=times["end"],
            author=texts["author"],
            reason=texts["reason"],
            declared_s=times["declared"],
            covers=Covers(
                frozenset(slos), frozenset(p for p in parsed if p is not None), frozenset(sites)
            ),
        )
    except ValueError as error:
        report("", "", str(error))
        return None


def parse_time(text: str) -> int:
    """Read an RFC 3339 time with its offset from UTC; Unix seconds.

    Raises:
        ValueError: it is none, has no offset, or is no whole second.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or moment.microsecond:
        raise ValueError(text)
    return int(moment.timestamp())


def format_time(unix_s: int) -> str:
    """Write Unix seconds as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_KNOWN = (*_TEXTS, *_TIMES, *_LISTS)
_Fault = Callable[[str, object, str], None]


@contextmanager
def _written(file: pathlib.Path) -> Iterator[int]:
    """Open the log to add to it, and make it if it is not there."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NetsloError(f"{file}: cannot be written: {error.strerror}") from error


def _lines(file: pathlib.Path) -> Iterator[str]:
    try:
        octets = file.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        problem = Problem(str(file), None, "", "", f"cannot be read: {error.strerror}")
        raise ConfigurationError([problem]) from error
    if len(octets) > SIZE_MAX:
        expected = f"has {len(octets)} octets, at most {SIZE_MAX} are read"
        raise ConfigurationError([Problem(str(file), None, "", "", expected)])
    yield from octets.decode(errors="replace").split("\n")


def _read_line(line: str, report: Report) -> Exclusion | Revocation | None:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        report("", "", f"is no JSON: {str(error).splitlines()[0]}")
        return None
    if isinstance(data, dict) and "revokes" in data:
        return _read_revocation(data, report)
    return read_exclusion(data, report)


def _read_revocation(data: dict[str, Any], report: Report) -> Revocation | None:
    faults: list[str] = []

    def fault(field: str, value: object, expected: str) -> None:
        faults.append(field)
        report(field, _show(value), expected)

    for key in data.keys() - {"revokes", "declared", "author", "reason"}:
        fault(key, data[key], "is no known field; known are revokes, declared, author, reason")
    declared_s = _read_time(data, "declared", fault)
    revokes, author, reason = (_read_text(data, k, fault) for k in ("revokes", "author", "reason"))
    return None if faults else Revocation(revokes, author, reason, declared_s)


def _read_time(data: Mapping[str, Any], key: str, fault: _Fault) -> int:
    value = data.get(key)
    if isinstance(value, datetime):  # YAML reads a time by itself
        value = value.isoformat()
    try:
        return parse_time(value if isinstance(value, str) else "")
    except ValueError:
        expected = "must be a time with its offset, such as 2026-12-01T01:00:00Z"
        fault(key, value if key in data else "", expected if key in data else "is missing")
        return 0


_LENGTHS_MAX: Final = {"author": AUTHOR_LENGTH_MAX, "reason": REASON_LENGTH_MAX}


def _read_text(data: Mapping[str, Any], key: str, fault: _Fault) -> str:
    value, length_max = data.get(key), _LENGTHS_MAX.get(key, 100)
    if isinstance(value, str) and value.strip() and len(value) <= length_max:
        return value
    expected = f"must be text of at most {length_max} characters"
    fault(key, value if key in data else "", expected if key in data else "is missing")
    return ""


def _read_names(data: Mapping[str, Any], key: str, fault: _Fault) -> list[str]:
    value = data.get(key, [])
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        if value or key not in data:
            return value
        fault(key, "", "must not be an empty list; leave it out to mean all")
        return []
    fault(key, value, "must be a list of names")
    return []


def _read_path(text: str, fault: _Fault) -> Path | None:
    try:
        return Path.parse(text)
    except ValueError:
        fault("paths", text, "must be a path, as src:dst/class")
        return None


def _show(value: object) -> str:
    """Write a plain value as one short line; what holds others may hold itself."""
    text = "" if isinstance(value, list | dict) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004 - one line of a terminal


def _ends_within_a_line(file: pathlib.Path) -> bool:
    with file.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) == 0:
            return False
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"
