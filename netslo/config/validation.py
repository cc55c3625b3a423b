"""Data from a file against a Pydantic model, faults in words that a person can act on."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from netslo.config.yaml_lines import Document, Location
from netslo.errors import ConfigurationError, Problem

M = TypeVar("M", bound=BaseModel)

_VALUE_LENGTH_MAX: Final = 60
_ROUNDS_MAX: Final = 3  # a list that was empty has an entry, which lacks a field
_STAND_INS: Final[dict[Any, Any]] = {
    str: "left-out",
    int: 1,
    float: 1.0,
    bool: False,
    dict: {},
    Any: "",
}


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

    A field that is not known, or has another type, hides nothing else: it is left out, and one
    that must be there has a value of its type in its stead, so that the rest is a model, too.

    Returns:
        The model, or None where nothing of it can be made, the faults, and the places in the
        document of fields that were left out: nothing that follows from them is a fault.
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
        return _stood_in(model, known), problems, left_out
    except (ValidationError, LookupError, TypeError):  # a place that only the model knows
        return None, problems, left_out


def _drop(data: Any, location: Location) -> None:
    """Take a field out; an entry of a list stays, for those behind it would change their places."""
    for part in location[:-1]:
        data = data[part]
    if isinstance(data, list):
        return
    if not isinstance(data, dict):
        raise TypeError("no field")
    data.pop(location[-1], None)


def _stood_in(model: type[M], data: Any) -> M:
    """Return a model of data with values of the right type where such must stand and none does.

    Raises:
        ValidationError, LookupError, TypeError: that cannot be.
    """
    for _ in range(_ROUNDS_MAX):
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for each in error.errors():
                place = _in_file(each["loc"], data)
                around = data
                for part in place[:-1]:
                    around = around[part]
                around[place[-1]] = _stand_in(_annotation_at(model, place))
    return model.model_validate(data)


def _annotation_at(model: type[BaseModel], location: Location) -> Any:
    """Return the type of a place.

    Raises:
        LookupError: the models do not tell.
    """
    current: Any = model
    for part in location:
        if isinstance(part, int):
            current = _arguments(_without_extras(current), list)[0]
            continue
        inside = _model_in(current)
        fields = {} if inside is None else inside.model_fields
        current = {f.alias or n: f.annotation for n, f in fields.items()}[str(part)]
    return current


def _arguments(annotation: Any, of: type) -> tuple[Any, ...]:
    """Return what a list, or the first list of a union, is of."""
    if get_origin(annotation) is of:
        return get_args(annotation)
    for each in get_args(annotation):
        if found := _arguments(each, of):
            return found
    return ()


def _without_extras(annotation: Any) -> Any:
    """Return the type behind `Annotated`."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _stand_in(annotation: Any) -> Any:
    """Return a value of a type, as a file would have it.

    Raises:
        LookupError: there is none for such a type.
    """
    annotation = _without_extras(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.items()
        return {f.alias or n: _stand_in(f.annotation) for n, f in fields if f.is_required()}
    if origin is Literal:
        return arguments[0]
    if origin is list:
        return [_stand_in(arguments[0])]
    if origin in (Union, UnionType):
        return _stand_in(arguments[0])
    return _STAND_INS[dict if origin is dict else annotation]


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
