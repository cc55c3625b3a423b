"""Numbers of a document exactly as they are written: decimals, never the double next to them."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

from slo.place import Place

DIGITS_MAX: Final = 18  # of shares; exact in a decimal context of 28
# Of targets, so that the ledger's whole numbers hold the budget of any period: at most 5e10
# events (35 d of RatioTimeslices of a minute, in millionths) of less than 1e8 units each.
TARGET_DIGITS_MAX: Final = 8

_SHARE: Final = re.compile(
    r"(?P<number>\d{1,18}(\.\d{1,18})?)((?P<percent>%)|/(?P<below>[1-9]\d{0,17}))?"
)


def read_decimal(value: float, text: str | None) -> Decimal:
    """Return what was written rather than the double next to it."""
    try:
        exact = Decimal(text or "")
    except InvalidOperation:  # YAML has notations of its own, such as .nan
        return Decimal(repr(value))
    return exact if float(exact) == value else Decimal(repr(value))


def read_ratio(value: float, place: Place, *, percent: bool = False, one: bool = False) -> str:
    """Return a ratio inside (0, 1) as an exact decimal string, "" once a problem is reported.

    Args:
        value: As YAML read it.
        place: Where it stands.
        percent: It is out of a hundred.
        one: The whole is allowed, too.
    """
    limit = 100 if percent else 1
    exact = read_decimal(value, place.text)
    if not (exact.is_finite() and exact > 0 and (exact < limit or (one and exact == limit))):
        most = f"at most {limit}" if one else f"less than {limit}"
        place.report(place.text or value, f"must be greater than 0 and {most}")
        return ""
    places = TARGET_DIGITS_MAX - 2 if percent else TARGET_DIGITS_MAX
    if decimal_places(exact) > places:
        place.report(place.text or value, f"must have at most {places} decimal places")
        return ""
    return f"{(exact / limit).normalize():f}"


def decimal_places(exact: Decimal) -> int:
    """Return how many decimal places a finite number has, without noughts at its end."""
    digits = "".join(map(str, exact.as_tuple().digits))
    noughts = len(digits) - len(digits.rstrip("0"))
    return max(0, -int(exact.as_tuple().exponent) - noughts)


def parse_share(text: str) -> Fraction:
    """Read a share such as `2%`, `0.02` or `1/48`, exactly.

    Raises:
        ValueError: it is none, has too many digits or is not inside (0, 1].
    """
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no share such as 2%, 0.02 or 1/48")
    share = Fraction(match["number"]) / (100 if match["percent"] else int(match["below"] or 1))
    if not 0 < share <= 1:
        raise ValueError(f"{text!r} must be greater than 0 and at most 1, or 100%")
    return share


def format_share(share: Fraction) -> str:
    """Write a share as `parse_share` reads it, exactly."""
    percent = decimal_text(share * 100)
    return f"{percent}%" if percent is not None else f"{share.numerator}/{share.denominator}"


def decimal_text(exact: Fraction) -> str | None:
    """Write a fraction as a decimal that is exactly it; None when there is none of 18 places."""
    scaled = exact * 10**DIGITS_MAX
    if scaled.denominator != 1:
        return None
    return f"{(Decimal(scaled.numerator) / 10**DIGITS_MAX).normalize():f}"
