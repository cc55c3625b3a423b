"""What importers share: a foreign objective understood, and the OpenSLO document it becomes."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict

from netslo.config.validation import validate_known
from netslo.config.yaml_lines import load_documents
from netslo.errors import ConfigurationError, Problem
from netslo.model import NAME_LENGTH_MAX, is_name
from netslo.units import format_duration
from slo import openslo
from slo.annotations import (
    ALERT_PAIRS,
    OWNER,
    PREFIX,
    RUNBOOK,
    expect_distinct,
    format_pairs,
    order,
)
from slo.burn import GUARD, PAIRS, BurnPair
from slo.period import PERIOD_S_MAX, PERIOD_S_MIN
from slo.place import Place

PROMETHEUS: Final = "Prometheus"


class Foreign(BaseModel):
    """A part of another tool's file: what we do not know of it is noted, not refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")


F = TypeVar("F", bound=Foreign)


def read_foreign(model: type[F], place: Place) -> tuple[F | None, Place]:
    """Return what stands at a place as a `model`, and the place for what is read further.

    A fault hides no other: what is at fault is left out, or has a value of its type in its stead.
    All of them go to the place's problems; what only follows from one goes to `follow_ups`, too.

    Returns:
        The model, or None where nothing of it can be made; and the place, which knows the faults.
    """
    found, problems, left_out = validate_known(model, place.document, place.location)
    place.problems.extend(problems)
    return found, replace(place, left_out=left_out)


def refuse_problems(problems: Iterable[Problem], follow_ups: Iterable[Problem]) -> None:
    """Raise what is wrong, in the order of the file, without what only follows from another.

    Raises:
        ConfigurationError: something is wrong.
    """
    follow = {id(problem) for problem in follow_ups}
    told = dict.fromkeys(problem for problem in problems if id(problem) not in follow)
    if told:
        raise ConfigurationError(sorted(told, key=lambda problem: problem.line or 0))


@dataclass(slots=True)
class Notes:
    """What has no counterpart, each with where it stands."""

    lines: list[str] = field(default_factory=list)
    names: dict[str, Place] = field(default_factory=dict)  # given so far, and for what

    def add(self, place: Place, text: str) -> None:
        line = f"{place.document.file}:{place.line}: {place.field} {text}".replace(":  ", ": ")
        if line not in self.lines:
            self.lines.append(line)

    def unknown(self, part: object, place: Place) -> None:
        """Note the fields which no model names, of a part and of all parts within."""
        if isinstance(part, list):
            for number, each in enumerate(part):
                self.unknown(each, place.at(number))
        if not isinstance(part, Foreign):
            return
        for key in sorted(part.model_extra or {}):
            self.add(place.at(key), "has no counterpart")
        for name, known in type(part).model_fields.items():
            self.unknown(getattr(part, name), place.at(known.alias or name))


@dataclass(frozen=True, slots=True)
class Imported:
    """One foreign objective, as far as it has a counterpart."""

    name: str
    service: str
    target_text: str  # the ratio as an exact decimal string
    period_s: int
    pairs: tuple[BurnPair, ...]
    indicator: Mapping[str, Any]  # the `spec` of an SLI
    description: str = ""
    display_name: str = ""
    owner: str | None = None
    runbook: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self, indicator_ref: str | None = None) -> dict[str, Any]:
        """Return it as an OpenSLO SLO; with `indicator_ref`, of that SLI and no query."""
        annotations = {OWNER: self.owner, RUNBOOK: self.runbook}
        if self.pairs != PAIRS:
            annotations[ALERT_PAIRS] = format_pairs(self.pairs)
        metadata: dict[str, Any] = {"name": self.name}
        if self.display_name:
            metadata["displayName"] = self.display_name
        if self.labels:
            metadata["labels"] = dict(self.labels)
        ours = {PREFIX + key: text for key, text in annotations.items() if text}
        if ours:
            metadata["annotations"] = ours
        spec: dict[str, Any] = {"description": self.description} if self.description else {}
        spec["service"] = self.service
        if indicator_ref is None:
            spec["indicator"] = {"spec": dict(self.indicator)}
        else:
            spec["indicatorRef"] = indicator_ref
        spec["timeWindow"] = [{"duration": format_duration(self.period_s), "isRolling": True}]
        spec["budgetingMethod"] = "Occurrences"
        spec["objectives"] = [{"target": Decimal(self.target_text)}]
        return {
            "apiVersion": openslo.API_VERSION,
            "kind": "SLO",
            "metadata": metadata,
            "spec": spec,
        }


def ordered(pairs: Iterable[BurnPair], place: Place) -> tuple[BurnPair, ...]:
    """Return the pairs of an objective, the most urgent first; two alike go to `place`."""
    found = list(pairs)
    try:
        expect_distinct(found)
    except ValueError as error:
        place.report("", str(error))
    return order(found)


def make_name(parts: Sequence[str], place: Place, notes: Notes) -> str:
    """Return a name for labels and files out of names that follow other rules.

    One that another objective has got goes to `place`.
    """
    wanted = "-".join(part for part in parts if part)
    name = re.sub(r"[^a-z0-9-]+", "-", wanted.lower()).strip("-")[:NAME_LENGTH_MAX]
    if not is_name(name):
        name = f"slo-{name}"[:NAME_LENGTH_MAX].rstrip("-")
    if name != wanted:
        notes.add(place, f"is named {name} here")
    first = notes.names.setdefault(name, place)
    if first is not place:
        at = f"{first.document.file}:{first.line}"
        place.report(place.text or "", f"is named {name} here, as is another SLO, at {at}")
    return name


def query(text: str) -> dict[str, Any]:
    """Return a metric source that holds somebody else's query."""
    return {"metricSource": {"type": PROMETHEUS, "spec": {"query": text}}}


def _note_common(imported: Iterable[Imported], root: Place, notes: Notes, tool: str) -> None:
    """Say what is true of every import."""
    notes.add(
        root,
        f"netslo waits for {GUARD.bad_events_min} bad events, {tool} for one: "
        f"{PREFIX}min-bad-events says otherwise",
    )
    for each in imported:
        for pair in each.pairs if each.target_text else ():
            if pair.error_ratio_min(Fraction(each.target_text), each.period_s) >= 1:
                notes.add(
                    root,
                    f"{each.name}: the {pair.severity.value} on {pair.long} and {pair.short} can "
                    f"never fire at {each.target_text}, with {tool} neither; netslo refuses it",
                )
        if not PERIOD_S_MIN <= each.period_s <= PERIOD_S_MAX:
            notes.add(
                root,
                f"{each.name}: a period of {format_duration(each.period_s)} is not from 7d to 35d, "
                "which netslo's budgets roll over; netslo refuses it",
            )


def import_documents(
    file: pathlib.Path, tool: str, import_one: Callable[[Place, Notes], list[Imported]]
) -> tuple[tuple[Imported, ...], Notes]:
    """Return the objectives of all documents of a file, and what of them has no counterpart.

    Args:
        file: YAML.
        tool: Whose it is.
        import_one: Returns the objectives of the document whose root a place is.

    Raises:
        ConfigurationError: with every problem of the file.
    """
    notes, problems, follow_ups = Notes(), list[Problem](), list[Problem]()
    found: list[Imported] = []
    documents = load_documents(file)
    if not documents:
        raise ConfigurationError([Problem(str(file), None, "", "", "holds no document")])
    for document in documents:
        root = Place(document, problems, follow_ups=follow_ups)
        imported = import_one(root, notes)
        _note_common(imported, root, notes, tool)
        found += imported
    refuse_problems(problems, follow_ups)
    return tuple(found), notes
