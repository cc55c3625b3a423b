"""The alerts that are in force, without a clock, a socket or a file of its own.

An alert is told from another by its labels. It begins when what it is about has been so for as
long as it must, and ends when that is known to be over: not when nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

Labels = tuple[tuple[str, str], ...]  # sorted


class Observed(Enum):
    """What is seen of the matter of an alert."""

    TRUE = "true"
    UNKNOWN = "unknown"  # it stays as it was


@dataclass(frozen=True, slots=True)
class Observation:
    """A matter that is seen, or not known, at one moment; what is not mentioned is not so.

    `held_s` is how long it must last before anybody is told.
    """

    labels: Labels
    seen: Observed
    held_s: float = 0.0
    value: float | None = None


@dataclass(slots=True)
class Alert:
    """An alert that is in force, or was."""

    labels: Labels
    since_s: float  # when what it is about began to be seen
    starts_s: float | None = None  # when somebody was to be told; None: not yet
    ends_s: float | None = None  # when it was over
    value: float | None = None
    unknown_since_s: float | None = None
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return dict(self.labels)["alertname"]

    def not_after(self, now_s: float) -> None:
        """Let nothing have begun in a future that a clock was in."""
        self.since_s = min(self.since_s, now_s)
        if self.starts_s is not None:
            self.starts_s = min(self.starts_s, now_s)
        if self.unknown_since_s is not None:
            self.unknown_since_s = min(self.unknown_since_s, now_s)

    def to_json(self) -> dict[str, Any]:
        """Return the shape of `/api/v1/alerts`; times are Unix seconds."""
        return {
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "since": self.since_s,
            "starts": self.starts_s,
            "ends": self.ends_s,
            "value": self.value,
            "unknown_since": self.unknown_since_s,
        }

    @classmethod
    def from_json(cls, shape: Mapping[str, Any]) -> Alert:
        """Read what `to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: it did not.
        """
        labels = {str(k): str(v) for k, v in shape["labels"].items()}
        return cls(
            labels_of(**labels),
            _moment(shape["since"]),
            None if shape["starts"] is None else _moment(shape["starts"]),
            None if shape["ends"] is None else _moment(shape["ends"]),
            None if shape["value"] is None else float(shape["value"]),
            None if shape["unknown_since"] is None else _moment(shape["unknown_since"]),
            {str(k): str(v) for k, v in shape["annotations"].items()},
        )


_MOMENT_MAX: Final = 253_402_300_799  # the last second of the year 9999


def _moment(value: Any) -> float:
    unix_s = float(value)
    if not 0 <= unix_s <= _MOMENT_MAX:
        raise ValueError(f"{value} is no Unix time")
    return unix_s


def labels_of(**labels: str) -> Labels:
    """Return labels as an alert has them; `class` is given as `class_`."""
    return tuple(sorted((name.rstrip("_"), value) for name, value in labels.items() if value))


@dataclass(frozen=True, slots=True)
class Changes:
    """What an update did."""

    started: tuple[Alert, ...]
    ended: tuple[Alert, ...]


class AlertBook:
    """Keeps alerts by their labels."""

    def __init__(self, alerts: Iterable[Alert] = ()) -> None:
        self._alerts = {alert.labels: alert for alert in alerts if alert.ends_s is None}

    @property
    def firing(self) -> list[Alert]:
        """The alerts somebody is to be told of, the oldest first."""
        told = [alert for alert in self._alerts.values() if alert.starts_s is not None]
        return sorted(told, key=lambda alert: (alert.starts_s or 0.0, alert.labels))

    @property
    def pending(self) -> list[Alert]:
        """What is seen, but not long enough."""
        return [alert for alert in self._alerts.values() if alert.starts_s is None]

    def update(self, observations: Iterable[Observation], now_s: float) -> Changes:
        """Take in all that is seen at one moment; clocks may be set back between two."""
        for each in self._alerts.values():
            each.not_after(now_s)
        started: list[Alert] = []
        mentioned: set[Labels] = set()
        for seen in observations:
            alert = self._alerts.get(seen.labels)
            mentioned.add(seen.labels)
            if seen.seen is Observed.UNKNOWN:
                if alert is not None and alert.starts_s is None:
                    del self._alerts[seen.labels]  # nobody was told, so nobody will be
                elif alert is not None and alert.unknown_since_s is None:
                    alert.unknown_since_s = now_s
                continue
            if alert is None:
                alert = self._alerts[seen.labels] = Alert(seen.labels, now_s)
            alert.value, alert.unknown_since_s = seen.value, None
            if alert.starts_s is None and now_s - alert.since_s >= seen.held_s:
                alert.starts_s = now_s
                started.append(alert)
        over = [alert for labels, alert in self._alerts.items() if labels not in mentioned]
        for alert in over:
            alert.ends_s = now_s
            del self._alerts[alert.labels]
        return Changes(tuple(started), tuple(each for each in over if each.starts_s is not None))
