"""A folder of OpenSLO v1 documents, read whole: every objective, or every problem."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from netslo.config.validation import validate_known
from netslo.config.yaml_lines import load_documents
from netslo.errors import ConfigurationError, Problem
from netslo.estate import Estate
from slo import openslo
from slo.alerting import AlertReader, Named
from slo.indicator import IndicatorReader
from slo.objective import Objective, thresholds_by_path
from slo.place import Place
from slo.resolve import Resolver

__all__ = ["Specification", "load_objectives", "load_specification", "thresholds_by_path"]

FOLDER: Final = "slos"
_SUFFIXES: Final = (".yaml", ".yml")

D = TypeVar("D", bound=openslo.AnyDocument)


@dataclass(frozen=True, slots=True)
class Specification:
    """What a folder states, and what in it has no effect."""

    objectives: tuple[Objective, ...]
    notes: tuple[str, ...] = ()
    documents: tuple[openslo.AnyDocument, ...] = ()  # all, as they stand


def load_objectives(directory: pathlib.Path, estate: Estate) -> tuple[Objective, ...]:
    """Read the objectives of `directory/slos/*.yaml`, by file and then as they stand there.

    No such folder, or nothing in it, is fine: then nothing is promised.

    Raises:
        ConfigurationError: with every problem of every file.
    """
    return load_specification(directory, estate).objectives


def load_specification(
    directory: pathlib.Path,
    estate: Estate,
    also_check: Callable[[Objective, Place], None] = lambda _objective, _place: None,
) -> Specification:
    """Read `directory/slos/*.yaml` with notes for a person; see `load_objectives`.

    `also_check` looks at each objective that could be understood, whatever is wrong elsewhere, and
    reports to the place of its document: all faults come at once.
    """
    folder = directory / FOLDER
    reader = _Reader()
    for file in _list_files(folder):
        reader.read(file)
    objectives = reader.resolve(estate)
    places = {slo.metadata.name: place for slo, place in reader.slos}
    for objective in objectives:
        also_check(objective, places[objective.name])
    if reader.problems:
        # What several SLOs refer to is at fault once.
        raise ConfigurationError(sorted(dict.fromkeys(reader.told), key=_position))
    if not objectives:
        reader.notes.append(f"{folder}: no SLO documents, so nothing is promised")
    return Specification(
        objectives,
        tuple(dict.fromkeys(reader.notes)),
        tuple(document for document, _ in reader.documents),
    )


def load_changed(
    directory: pathlib.Path, file: pathlib.Path, estate: Estate
) -> tuple[Objective, ...]:
    """Read the objectives of one file, which may refer to all documents of a folder but SLOs.

    Raises:
        ConfigurationError: with every problem of every file.
    """
    around, reader = _Reader(), _Reader()
    for each in _list_files(directory / FOLDER):
        around.read(each)
    reader.read(file)
    own = {(document.kind, document.metadata.name) for document, _ in reader.documents}
    reader.documents += [
        (document, place)
        for document, place in around.documents
        if not isinstance(document, openslo.Slo)
        and (document.kind, document.metadata.name) not in own
    ]
    objectives = reader.resolve(estate)
    problems = reader.told + around.told
    if problems:
        raise ConfigurationError(sorted(dict.fromkeys(problems), key=_position))
    return objectives


def load_openslo(files: Iterable[pathlib.Path]) -> tuple[openslo.AnyDocument, ...]:
    """Read the OpenSLO documents of files, whatever they measure.

    Raises:
        ConfigurationError: with every problem of every file.
    """
    reader = _Reader()
    for file in files:
        reader.read(file)
    if reader.problems:
        raise ConfigurationError(sorted(reader.told, key=_position))
    return tuple(document for document, _ in reader.documents)


def _list_files(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES)
    except FileNotFoundError:
        return []
    except OSError as error:
        problem = Problem(str(folder), None, "", "", f"cannot be read: {error.strerror}")
        raise ConfigurationError([problem]) from error


def _position(problem: Problem) -> tuple[str, int]:
    return problem.file, problem.line or 0


@dataclass(slots=True)
class _Reader:
    """Collects documents by kind, then resolves what refers to what."""

    problems: list[Problem] = field(default_factory=list)
    follow_ups: list[Problem] = field(default_factory=list)  # which the user need not be told
    notes: list[str] = field(default_factory=list)
    documents: list[tuple[openslo.AnyDocument, Place]] = field(default_factory=list)
    names: dict[tuple[str, str], str] = field(default_factory=dict)  # (kind, name): where

    def read(self, file: pathlib.Path) -> None:
        """Take in one file's documents."""
        try:
            documents = load_documents(file)
        except ConfigurationError as error:
            self._take(error, file)
            return
        for document in documents:
            self._read_document(Place(document, self.problems))

    def resolve(self, estate: Estate) -> tuple[Objective, ...]:
        """Return the objectives that could be understood."""
        sources = {d.metadata.name: d.spec.type for d, _ in self._of(openslo.DataSource)}
        reader = IndicatorReader(estate, sources)
        resolver = Resolver(
            reader,
            AlertReader(self._named(), self._note),
            {s.metadata.name: reader.read(s.spec, p.at("spec")) for s, p in self._of(openslo.Sli)},
        )
        found = (resolver.resolve(slo, place) for slo, place in self.slos)
        return tuple(objective for objective in found if objective is not None)

    @property
    def told(self) -> list[Problem]:
        """The problems without those that only follow from another."""
        follow_ups = {id(problem) for problem in self.follow_ups}
        return [problem for problem in self.problems if id(problem) not in follow_ups]

    @property
    def slos(self) -> list[tuple[openslo.Slo, Place]]:
        return list(self._of(openslo.Slo))

    def _named(self) -> Named:
        return Named(
            {d.metadata.name: (d.spec, p.at("spec")) for d, p in self._of(openslo.AlertPolicy)},
            {d.metadata.name: (d, p) for d, p in self._of(openslo.AlertCondition)},
            {d.metadata.name: (d, p) for d, p in self._of(openslo.AlertNotificationTarget)},
        )

    def _of(self, kind: type[D]) -> Iterator[tuple[D, Place]]:
        for document, place in self.documents:
            if isinstance(document, kind):
                yield document, place

    def _read_document(self, place: Place) -> None:
        data = place.data
        if isinstance(data, list) and not place.location:  # the standard's library writes lists
            for number in range(len(data)):
                self._read_document(place.at(number))
            return
        model = _find_model(place)
        if model is None:
            return
        parsed, problems, left_out = validate_known(model, place.document, place.location)
        self.problems += problems
        place = replace(place, left_out=left_out, follow_ups=self.follow_ups)
        if parsed is None:
            return
        self._check_unique(parsed.kind, parsed.metadata.name, place)
        self.documents.append((parsed, place))

    def _check_unique(self, kind: str, name: str, place: Place) -> None:
        where = f"{place.document.file}:{place.at('metadata', 'name').line}"
        first = self.names.setdefault((kind, name), where)
        if first != where:
            place.at("metadata", "name").report(name, f"is the name of another {kind}, at {first}")

    def _take(self, error: ConfigurationError, file: pathlib.Path) -> None:
        self.problems += error.problems or [Problem(str(file), None, "", "", str(error))]

    def _note(self, place: Place, text: str) -> None:
        self.notes.append(f"{place.document.file}:{place.line}: {place.field} {text}")


def _find_model(place: Place) -> type[openslo.AnyDocument] | None:
    """Choose by `kind`; a document of no kind has one problem rather than one per field."""
    data = place.data
    if not isinstance(data, dict):
        place.report("", "must be an OpenSLO document: apiVersion, kind, metadata and spec")
        return None
    if data.get("apiVersion") != openslo.API_VERSION:
        place.at("apiVersion").report(data.get("apiVersion", ""), f"must be {openslo.API_VERSION}")
        return None
    model = openslo.KINDS.get(str(data.get("kind", "")))
    if model is None:
        place.at("kind").report(data.get("kind", ""), f"must be one of {', '.join(openslo.KINDS)}")
    return model
