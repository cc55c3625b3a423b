"""Data from a file against a Pydantic model, faults in words that a person can act on."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from netslo.config.yaml_lines import Document, Location
from netslo.errors import ConfigurationError, Problem

M = TypeVar("M", bound=BaseModel)

_VALUE_LENGTH_MAX: Final = 60


def validate(model: type[M], document: Document, at: Location = ()) -> M:
    """Return the document, or the part of it at a place that exists, as a `model`.

    Raises:
        ConfigurationError: with every fault, its line, field and value.
    """
    data = document.data
    for part in at:
        data = data[part]
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(problems_from(error, document, model, at)) from error


def validate_known(
    model: type[M], document: Document, at: Location = ()
) -> tuple[M | None, list[Problem], frozenset[Location]]:
    """Return what a `model` knows of a document, every fault as `validate` finds them, and where.

    A field that is not known, or has another type, hides nothing else: the rest is a model, too.
    Where something is missing, or a field that must be there is at fault, there is none.

    Returns:
        The model or None, the faults, and the places in the document of fields that were left out.
    """
    data = document.data
    for part in at:
        data = data[part]
    try:
        return model.model_validate(data), [], frozenset()
    except ValidationError as error:
        problems = problems_from(error, document, model, at)
        found = error.errors()
    places = {_in_file(each["loc"], data) for each in found}
    left_out = frozenset((*at, *place) for place in places)
    known = copy.deepcopy(data)
    try:
        for place in places:
            _drop(known, place)
        return model.model_validate(known), problems, left_out
    except (ValidationError, LookupError, TypeError):  # a place that only the model knows
        return None, problems, left_out


def _drop(data: Any, location: Location) -> None:
    """Take a field out; an entry of a list stays, for those behind it would change their places."""
    for part in location[:-1]:
        data = data[part]
    if not isinstance(data, dict):
        raise TypeError("no field")
    del data[location[-1]]


def problems_from(
    error: ValidationError,
    document: Document,
    model: type[BaseModel] | None = None,
    at: Location = (),
) -> list[Problem]:
    """Return what Pydantic found, in our words and with lines, in the order of the file."""
    problems = [_problem(details, document, model, at) for details in error.errors()]
    return sorted(problems, key=lambda problem: problem.line or 0)


def problem_at(document: Document, location: Location, value: object, expected: str) -> Problem:
    """Return a fault of one part of a document; a value of "" means that there is none."""
    field = ".".join(str(part) for part in location)
    return Problem(str(document.file), document.line(location), field, _show(value), expected)


def values(
    document: Document, section: str, key: str, of: type | None = None
) -> Iterator[tuple[Location, Any]]:
    """Yield the value of `key` in each entry of a list, with its place, if the shape is right."""
    entries = document.data.get(section) if isinstance(document.data, dict) else None
    for i, entry in enumerate(entries if isinstance(entries, Sequence) else ()):
        value = entry.get(key) if isinstance(entry, dict) else None
        wanted = isinstance(value, of) if of else isinstance(value, str | int)
        if wanted:
            yield (section, i, key), value


def _problem(
    details: ErrorDetails, document: Document, model: type[BaseModel] | None, at: Location
) -> Problem:
    location = _in_file((*at, *details["loc"]), document.data)
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing":
        return problem_at(document, location, "", "is missing")
    if kind == "extra_forbidden":
        known = _fields_at(model, location[len(at) : -1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        hint = hint or (f"; known are {', '.join(known)}" if known else "")
        return problem_at(document, location, details["input"], f"is no known field{hint}")
    return problem_at(document, location, details["input"], _expectation(kind, context, details))


def _expectation(kind: str, context: dict[str, Any], details: ErrorDetails) -> str:
    if kind == "value_error":
        return str(context["error"])
    if kind in ("literal_error", "enum"):
        return f"must be {context['expected']}"
    if kind in _TYPES:
        return f"must be {_TYPES[kind]}"
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return f"must be {word} {context[key]}"
    message = details["msg"]
    return message[0].lower() + message[1:]


_TYPES: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
    "bool_type": "true or false",
}
_BOUNDS: Final = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def _in_file(location: Iterable[str | int], data: Any) -> Location:
    """Drop what Pydantic adds for unions and the like: keep the parts that lead to a place."""
    kept: list[str | int] = []
    for part in location:
        if isinstance(data, dict) and isinstance(part, str):
            kept.append(part)
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            kept.append(part)
            data = data[part]
    return tuple(kept)


def _fields_at(model: type[BaseModel] | None, location: Location) -> list[str]:
    """Return the names a file may use at a place, as far as the models tell."""
    current: Any = model
    for part in location:
        if current is None:
            return []
        if isinstance(part, int):
            continue
        found = next((f for n, f in current.model_fields.items() if (f.alias or n) == part), None)
        current = None if found is None else _model_in(found.annotation)
    return [] if current is None else [f.alias or n for n, f in current.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model within an annotation such as `list[Model] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _model_in(argument)) is not None:
            return found
    return None


def _show(value: object) -> str:
    """Write a value as one short line."""
    if isinstance(value, dict | list):
        return ""
    text = "null" if value is None else str(value)
    text = text.replace("\n", "\\n")
    return text if len(text) <= _VALUE_LENGTH_MAX else f"{text[:_VALUE_LENGTH_MAX]}…"
