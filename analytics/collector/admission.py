"""What a well-formed window must fulfil to be counted: who sends it, of what, and of when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from analytics.collector.limits import Limits
from analytics.readings import Reading, Told
from analytics.windows import STATES, Batch, PathWindow
from netslo.estate import Estate
from netslo.model import NS_PER_S, Path
from netslo.route import RouteObservation


class Reason(StrEnum):
    """Why data points were refused. A label of our own metrics, so a short list."""

    MALFORMED = "malformed"  # the codec could not use the point
    UNKNOWN_SITE = "unknown-site"
    UNKNOWN_PATH = "unknown-path"
    FOREIGN_SITE = "foreign-site"  # a probe speaks for another site than its own
    FUTURE = "future"
    EXPIRED = "expired"
    IMPLAUSIBLE = "implausible"
    OBJECTIVES = "objectives"  # more of them on one path than are kept


_TEXTS = {
    Reason.MALFORMED: "the data point is malformed",
    Reason.UNKNOWN_SITE: "netslo.site is no site of this estate",
    Reason.UNKNOWN_PATH: "the path is not of this estate",
    Reason.FOREIGN_SITE: "src_site is not the site of the probe",
    Reason.FUTURE: "the window lies in the future; check the probe's clock",
    Reason.EXPIRED: "the window is older than the retention",
    Reason.OBJECTIVES: "too many objectives on one path",
    Reason.IMPLAUSIBLE: "a count is larger than any path can have in one window",
}
_TEXTS_MAX = 10  # texts in one answer


@dataclass(slots=True)
class Refused:
    """Data points that are not counted, by reason, and the texts for the sender."""

    points: Counter[Reason] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)

    def add(self, reason: Reason, points: int, text: str | None = None) -> None:
        self.points[reason] += points
        self.texts[text or _TEXTS[reason]] += points

    def add_windows(self, reason: Reason, windows: Iterable[PathWindow]) -> None:
        for window in windows:
            self.add(reason, data_points(window))

    @property
    def total(self) -> int:
        return self.points.total()

    @property
    def message(self) -> str:
        """What to tell the sender, the most frequent first."""
        said = [f"{text} ({points})" for text, points in self.texts.most_common(_TEXTS_MAX)]
        more = len(self.texts) - len(said)
        return "; ".join(said) + (f"; and {more} more reasons" if more else "")


def admit(batch: Batch, estate: Estate, limits: Limits, now_s: float, refused: Refused) -> Batch:
    """Return the batch with what may be counted; the rest goes to `refused`.

    The estate bounds what can be stored: a path that it does not know is never kept.
    """
    kept = []
    for window in batch.windows:
        reason = _fault(batch.site, window, estate, limits, now_s)
        if reason is None:
            kept.append(window)
        else:
            refused.add_windows(reason, [window])
    told = []
    for each in batch.told:
        reason = fault_of_told(batch.site, each, estate, limits, now_s)
        if reason is None:
            told.append(each)
        else:
            refused.add(reason, 1)
    return replace(
        batch,
        windows=tuple(kept),
        routes=tuple(each for each in told if isinstance(each, RouteObservation)),
        readings=tuple(each for each in told if isinstance(each, Reading)),
    )


def fault_of_told(
    site: str, told: Told, estate: Estate, limits: Limits, now_s: float
) -> Reason | None:
    """Return why what a probe says of a route or of capacity is not kept; None where it is."""
    return _first(_faults(site, told.path, told.seen_ns / NS_PER_S, estate, limits, now_s))


def too_young(end_s: float, limits: Limits, now_s: float) -> bool:
    """Whether a window that ends then lies in the future."""
    return end_s > now_s + limits.future_s


def too_old(end_s: float, limits: Limits, now_s: float) -> bool:
    """Whether a window that ended then is past every retention."""
    return end_s < now_s - limits.age_s


def data_points(window: PathWindow) -> int:
    """Return how many OTLP data points a window takes."""
    packets = window.packets
    optional = (
        packets.lost,
        packets.unmeasured,
        packets.duplicates,
        packets.reordered,
        *(getattr(window, state) is not None for state in STATES),
        *window.counts.values(),
        *(count for slo in window.slo.values() for count in (slo.bad, slo.unmeasured)),
    )
    return 1 + len(window.sketches) + len(window.slo) + sum(map(bool, optional))


def _fault(
    site: str, window: PathWindow, estate: Estate, limits: Limits, now_s: float
) -> Reason | None:
    faults = _faults(site, window.key.path, window.window.end_s, estate, limits, now_s)
    return _first({**faults, Reason.IMPLAUSIBLE: _largest_count(window) > limits.count_max})


def _faults(
    site: str, path: Path, end_s: float, estate: Estate, limits: Limits, now_s: float
) -> dict[Reason, bool]:
    # Other people's tools name no site: what they say about a path is taken.
    return {
        Reason.UNKNOWN_SITE: bool(site) and site not in estate.sites,
        Reason.UNKNOWN_PATH: not estate.knows(path),
        Reason.FOREIGN_SITE: bool(site) and site != path.src,
        Reason.FUTURE: too_young(end_s, limits, now_s),
        Reason.EXPIRED: too_old(end_s, limits, now_s),
    }


def _first(faults: Mapping[Reason, bool]) -> Reason | None:
    return next((reason for reason, present in faults.items() if present), None)


def _largest_count(window: PathWindow) -> int:
    packets = window.packets
    return max(
        packets.due,
        packets.duplicates,
        packets.reordered,
        *window.counts.values(),
        *(slo.events + slo.unmeasured for slo in window.slo.values()),
        *(sketch.count for sketch in window.sketches.values()),
    )
