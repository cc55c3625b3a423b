"""What OpenSLO v1 has no field for, as annotations under our prefix.

Every one is checked: one of ours that is not known, or not understood, is a fault. Those of
others are theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, TypeVar

import yaml

from netslo.model import is_name
from netslo.units import parse_duration
from slo.budget import MissingData
from slo.burn import BurnPair, Severity
from slo.exclusion import Exclusion
from slo.exclusion_log import read_exclusion
from slo.number import format_share, parse_share
from slo.place import Place
from slo.policy import HEARTBEAT
from slo.web_address import is_url

PREFIX: Final = "netslo.dev/"

OWNER: Final = "owner"
RUNBOOK: Final = "runbook"
ESCALATION: Final = "escalation"
ALERT_PAIRS: Final = "alert-pairs"
MISSING_DATA: Final = "missing-data"
COVERAGE_MIN: Final = "min-coverage"
BAD_EVENTS_MIN: Final = "min-bad-events"
CONFIDENCE: Final = "confidence"
SLICE_PACKETS_MIN: Final = "min-slice-packets"
EXCLUSIONS: Final = "exclusions"
SHORT_WINDOW: Final = "short-window"

OF_SLO: Final = (
    OWNER,
    RUNBOOK,
    ESCALATION,
    ALERT_PAIRS,
    MISSING_DATA,
    COVERAGE_MIN,
    BAD_EVENTS_MIN,
    CONFIDENCE,
    SLICE_PACKETS_MIN,
    EXCLUSIONS,
)
OF_CONDITION: Final = (SHORT_WINDOW,)

NO_PAIRS: Final = "none"
PAIRS_MAX: Final = 8
WINDOW_MIN_S: Final = 60
WINDOW_STEP_S: Final = 10
LONG_STEP_S: Final = 300  # windows beyond 6 h end on the boundaries of 5 min windows
EXACT_MAX_S: Final = 6 * 3600

_TEXT_LENGTH_MAX: Final = 253
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Annotations:
    """Ours of one document, understood; None where one is absent."""

    owner: str | None = None
    runbook: str | None = None
    escalation: str | None = None
    pairs: tuple[BurnPair, ...] | None = None
    missing_data: MissingData | None = None
    coverage_min: Fraction | None = None
    bad_events_min: int | None = None
    confidence: float | None = None
    slice_packets_min: int | None = None
    exclusions: tuple[Exclusion, ...] = ()
    short_s: int | None = None


def read_annotations(
    annotations: Mapping[str, str], place: Place, known: tuple[str, ...], slo: str = ""
) -> Annotations:
    """Read ours of one document; problems go to `place`, its `metadata.annotations`.

    Args:
        annotations: All of the document.
        place: Where they stand.
        known: Which of ours may stand there, without the prefix.
        slo: The objective whose exclusions they are.
    """
    found: dict[str, Any] = {}
    for key, text in annotations.items():
        if not key.startswith(PREFIX):
            continue
        name, where = key.removeprefix(PREFIX), place.at(key)
        if name not in known:
            may = ", ".join(PREFIX + each for each in known)
            where.report(text, f"is not known: must be {may}" if may else "is not known here")
        elif name == EXCLUSIONS:
            found["exclusions"] = _read_exclusions(text, where, slo)
        else:
            field, read = _READERS[name]
            value = _attempt(read, text, where)
            if value is not None:
                found[field] = value
    return Annotations(**found)


def parse_pairs(text: str) -> tuple[BurnPair, ...]:
    """Read pairs such as `page 2% 1h 5m, ticket 10% 3d`, or `none`.

    Each is a severity, the share of the period's budget, the long window and, if it is not a
    twelfth of it, the short one. The most urgent come first, whatever their order.

    Raises:
        ValueError: saying which pair is wrong and why.
    """
    if text.strip() == NO_PAIRS:
        return ()
    pairs = [_parse_pair(part.strip()) for part in text.split(",")]
    if len(pairs) > PAIRS_MAX:
        raise ValueError(f"has {len(pairs)} pairs; at most {PAIRS_MAX} are kept")
    expect_distinct(pairs)
    return order(pairs)


def expect_distinct(pairs: Iterable[BurnPair]) -> None:
    """See that the pairs of one objective are on windows of their own.

    Rules and alerts tell pairs by their windows, and such a pair has one threshold.

    Raises:
        ValueError: two are on the same windows.
    """
    found: dict[tuple[int, int], BurnPair] = {}
    for pair in pairs:
        other = found.setdefault((pair.long_s, pair.short_s), pair)
        if other is not pair:
            both = f"a {other.severity.value} and a {pair.severity.value}"
            raise ValueError(
                f"has two pairs on {pair.long} and {pair.short}, {both}: "
                "each pair must have windows of its own"
            )


def order(pairs: list[BurnPair]) -> tuple[BurnPair, ...]:
    """Sort pairs, the most urgent first: by severity, then the quicker."""
    severities = list(Severity)
    return tuple(sorted(pairs, key=lambda pair: (severities.index(pair.severity), pair.long_s)))


def format_pairs(pairs: tuple[BurnPair, ...]) -> str:
    """Write pairs as `parse_pairs` reads them."""
    return (
        ", ".join(
            f"{pair.severity.value} {format_share(pair.budget_share)} {pair.long} {pair.short}"
            for pair in pairs
        )
        or NO_PAIRS
    )


def parse_window(text: str, what: str) -> int:
    """Read the length of a window of an alert; seconds.

    Raises:
        ValueError: it is none, zero, or no multiple of what windows are kept in.
    """
    try:
        length_s = parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{what} {text!r} must be a positive duration such as 5m or 1h") from error
    if length_s < WINDOW_MIN_S:
        raise ValueError(f"{what} {text} must be at least 1m")
    step_s = WINDOW_STEP_S if length_s <= EXACT_MAX_S else LONG_STEP_S
    if length_s % step_s:
        raise ValueError(f"{what} {text} must be a multiple of {step_s} s")
    return int(length_s)


def make_pair(severity: Severity, share: Fraction, long_s: int, short_s: int | None) -> BurnPair:
    """Return a pair whose windows fit each other.

    Raises:
        ValueError: they do not.
    """
    pair = BurnPair(severity, share, long_s, short_s or 0)
    if not WINDOW_MIN_S <= pair.short_s < long_s:
        raise ValueError(
            f"the short window, {pair.short}, must be at least 1m and less than {pair.long}"
        )
    if pair.short_s % WINDOW_STEP_S:
        raise ValueError(f"the short window, {pair.short}, must be a multiple of 10 s: give it")
    return pair


def _parse_pair(text: str) -> BurnPair:
    words = text.split()
    if len(words) not in (3, 4):
        raise ValueError(f"{text!r} must be severity, share, long and short: page 2% 1h 5m")
    if words[0] not in {severity.value for severity in Severity}:
        raise ValueError(f"{text!r} must begin with {' or '.join(s.value for s in Severity)}")
    share = parse_share(words[1])
    long_s = parse_window(words[2], "the long window")
    short_s = parse_window(words[3], "the short window") if words[3:] else None
    return make_pair(Severity(words[0]), share, long_s, short_s)


def _read_exclusions(text: str, place: Place, slo: str) -> tuple[Exclusion, ...]:
    """Read a YAML list of exclusions of this objective alone."""
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        data = None
    if not isinstance(data, list):
        place.report(text, "must be a YAML list of exclusions: id, start, end, declared, ...")
        return ()
    found: list[Exclusion] = []
    for number, entry in enumerate(data):

        def report(field: str, value: str, expected: str, number: int = number) -> None:
            where = f"[{number}].{field}" if field else f"[{number}]"
            place.report(f"{where} {value}".strip(), expected)

        if isinstance(entry, dict) and "slos" in entry:
            report("slos", "", "must be absent: the exclusion is of this SLO")
            continue
        own = {**entry, "slos": [slo]} if isinstance(entry, dict) else entry
        exclusion = read_exclusion(own, report)
        if exclusion is None:
            continue
        if any(exclusion.id == other.id for other in found):
            report("id", exclusion.id, "is used twice")
        found.append(exclusion)
    return tuple(found)


def _attempt(read: Callable[[str], T], text: str, place: Place) -> T | None:
    try:
        return read(text)
    except ValueError as error:
        place.report(text, str(error))
        return None


def _line(text: str) -> str:
    if not text.strip() or len(text) > _TEXT_LENGTH_MAX or not text.isprintable():
        raise ValueError(f"must be one line of at most {_TEXT_LENGTH_MAX} characters")
    return text


def _owner(text: str) -> str:
    return _person(_line(text))


def _receiver(text: str) -> str:
    if not is_name(text):
        raise ValueError("must be the name of a receiver: a-z, 0-9 and -, a letter first")
    return _person(text)


def _person(name: str) -> str:
    if name == HEARTBEAT:
        raise ValueError(f"must be another name: the receiver {HEARTBEAT} hears SLOWatchdog alone")
    return name


def _url(text: str) -> str:
    if not is_url(text):
        raise ValueError("must be a link: https://...")
    return text


def _missing(text: str) -> MissingData:
    if text not in {policy.value for policy in MissingData}:
        raise ValueError(f"must be {', '.join(policy.value for policy in MissingData)}")
    return MissingData(text)


def _whole(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise ValueError("must be a whole number from 1 on")
    return int(text)


def _confidence(text: str) -> float:
    share = float(parse_share(text))
    if not 0.5 <= share < 1:  # noqa: PLR2004 - below a half it would be a guess
        raise ValueError("must be at least 0.5 and less than 1, such as 0.95")
    return share


_READERS: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    OWNER: ("owner", _owner),
    RUNBOOK: ("runbook", _url),
    ESCALATION: ("escalation", _receiver),
    ALERT_PAIRS: ("pairs", parse_pairs),
    MISSING_DATA: ("missing_data", _missing),
    COVERAGE_MIN: ("coverage_min", parse_share),
    BAD_EVENTS_MIN: ("bad_events_min", _whole),
    CONFIDENCE: ("confidence", _confidence),
    SLICE_PACKETS_MIN: ("slice_packets_min", _whole),
    SHORT_WINDOW: ("short_s", lambda text: parse_window(text, "the short window")),
}
