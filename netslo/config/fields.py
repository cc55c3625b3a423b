"""The fields that parts of `estate.yaml` share: names, durations, rates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from netslo.model import is_name
from netslo.units import parse_duration, parse_octets, parse_rate


class Model(BaseModel):
    """A part of the file: every field known, nothing converted by a guess."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", arbitrary_types_allowed=True
    )


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("must be a name: a to z, digits and hyphens, a letter first, at most 63")
    return text


def converted(convert: Callable[[str], Any]) -> BeforeValidator:
    """Read a text with a unit; a bare number is refused, since its unit would be a guess."""

    def read(value: object) -> Any:
        if not isinstance(value, str):
            raise ValueError("must be a text with a unit")  # noqa: TRY004 - Pydantic's protocol
        return convert(value)

    return BeforeValidator(read)


Name = Annotated[str, AfterValidator(_name)]
Duration = Annotated[float, converted(parse_duration)]
Octets = Annotated[int, converted(parse_octets)]
Rate = Annotated[float, converted(parse_rate)]
