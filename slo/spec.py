"""A folder of OpenSLO v1 documents, read whole: every objective, or every problem."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field
from typing import Final

from netslo.config.validation import validate
from netslo.config.yaml_lines import Document, load_documents
from netslo.errors import ConfigurationError, Problem
from netslo.estate import Estate
from slo import openslo
from slo.indicator import read_indicator
from slo.objective import Objective, thresholds_by_path
from slo.place import Place
from slo.resolve import resolve

__all__ = ["Specification", "load_objectives", "load_specification", "thresholds_by_path"]

FOLDER: Final = "slos"
_SUFFIXES: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Specification:
    """What a folder states, and what in it has no effect."""

    objectives: tuple[Objective, ...]
    notes: tuple[str, ...] = ()


def load_objectives(directory: pathlib.Path, estate: Estate) -> tuple[Objective, ...]:
    """Read the objectives of `directory/slos/*.yaml`, by file and then as they stand there.

    No such folder, or nothing in it, is fine: then nothing is promised.

    Raises:
        ConfigurationError: with every problem of every file.
    """
    return load_specification(directory, estate).objectives


def load_specification(directory: pathlib.Path, estate: Estate) -> Specification:
    """Read `directory/slos/*.yaml` with notes for a person; see `load_objectives`."""
    folder = directory / FOLDER
    reader = _Reader(estate)
    for file in _list_files(folder):
        reader.read(file)
    objectives = reader.resolve()
    if reader.problems:
        raise ConfigurationError(sorted(reader.problems, key=_position))
    if not objectives:
        reader.notes.append(f"{folder}: no SLO documents, so nothing is promised")
    return Specification(objectives, tuple(reader.notes))


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

    estate: Estate
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    slos: list[tuple[openslo.Slo, Place]] = field(default_factory=list)
    slis: dict[str, tuple[openslo.Sli, Place]] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)  # (kind, name): where

    def read(self, file: pathlib.Path) -> None:
        """Take in one file's documents."""
        try:
            documents = load_documents(file)
        except ConfigurationError as error:
            self._take(error, file)
            return
        for document in documents:
            self._read_document(document, file)

    def resolve(self) -> tuple[Objective, ...]:
        """Return the objectives that could be understood."""
        indicators = {
            name: read_indicator(sli.spec, place.at("spec"), self.estate)
            for name, (sli, place) in self.slis.items()
        }
        found = (resolve(slo, place, indicators, self.estate) for slo, place in self.slos)
        return tuple(objective for objective in found if objective is not None)

    def _read_document(self, document: Document, file: pathlib.Path) -> None:
        place = Place(document, self.problems)
        model = _find_model(document, place)
        if model is None:
            return
        try:
            parsed = validate(model, document)
        except ConfigurationError as error:
            self._take(error, file)
            return
        self._check_unique(parsed.kind, parsed.metadata.name, place)
        match parsed:
            case openslo.Slo():
                self.slos.append((parsed, place))
                if parsed.spec.alert_policies:
                    self._note(place.at("spec", "alertPolicies"), _ALERTS_NOTE)
            case openslo.Sli():
                self.slis[parsed.metadata.name] = (parsed, place)
            case openslo.Unused():
                self._note(place, f"kind {parsed.kind} has no effect here")
            case openslo.Service():
                pass

    def _check_unique(self, kind: str, name: str, place: Place) -> None:
        where = f"{place.document.file}:{place.at('metadata', 'name').line}"
        first = self.names.setdefault((kind, name), where)
        if first != where:
            place.at("metadata", "name").report(name, f"is the name of another {kind}, at {first}")

    def _take(self, error: ConfigurationError, file: pathlib.Path) -> None:
        self.problems += error.problems or [Problem(str(file), None, "", "", str(error))]

    def _note(self, place: Place, text: str) -> None:
        self.notes.append(f"{place.document.file}:{place.line}: {text}")


_ALERTS_NOTE = "alertPolicies have no effect here: burn-rate pairs alert for every SLO"


def _find_model(
    document: Document, place: Place
) -> type[openslo.Slo | openslo.Sli | openslo.Service | openslo.Unused] | None:
    """Choose by `kind`; a document of no kind has one problem rather than one per field."""
    data = document.data
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
