"""What every window store promises, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from analytics.frame import Frame
from analytics.readings import Reading, Told
from analytics.streams import Streams
from analytics.windows import ALL, Batch, PacketCounts, PathWindow, Selector, SeriesKey, SloCounts
from netslo.errors import NetsloError
from netslo.model import Path
from netslo.route import RouteObservation

if TYPE_CHECKING:  # it needs zstandard, which who asks for a constant may lack
    from analytics.steps import Steps

HOT_S = 10
WARM_S = 300
DAY_S = 86400
EVER_S = 2**40  # one window for all times
LATE_S = 120.0  # after a window's end; retries of a short trouble take less
WARM_RETENTION_S = 35 * DAY_S
COUNTS_RETENTION_S = 400 * DAY_S  # thirteen months: a year against the one before


class StoreFull(NetsloError):
    """The disk is full; nothing of the batch was kept, everything before it is."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A batch as it came: who it is, what it says, and the octets that say so.

    The frame's streams are numbered by the store's own `Streams`; `body` is an OTLP request with
    these windows and no others, compressed as `encoding` says. What it says of routes and capacity
    is in `told`, and not read from it again.
    """

    site: str
    instance_id: str
    sequence: int
    frame: Frame
    body: bytes
    encoding: str
    told: tuple[Told, ...] = ()


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of one batch."""

    duplicate: bool  # seen before: nothing was counted
    windows: int  # windows kept
    expired: int  # windows older than every retention: refused, and never counted
    expired_points: int = 0  # data points of those, and of routes and capacity as old


@dataclass(frozen=True, slots=True)
class SloTotals:
    """Events of one path and objective under one target.

    `target` is the ratio in force when the events were due, as the decimal string of the
    specification ("0.999"); budget events are exactly (1 - target) * events.
    """

    path: Path
    slo: str
    target: str
    counts: SloCounts

    @property
    def budget_events(self) -> Fraction:
        return (1 - Fraction(self.target)) * self.counts.events


@dataclass(frozen=True, slots=True)
class KeptFrom:
    """From when on a store is complete, Unix seconds; 0 where nothing has expired yet."""

    counts_s: int  # what is counted, by 5 min and by day
    distributions_s: int


_P = TypeVar("_P", bound=Told)


@dataclass(frozen=True, slots=True)
class Latest(Generic[_P]):
    """What was seen last, and when that is so long ago that it says nothing of now; Unix s.

    That is three times the interval at which it was seen before, and a least time for each kind.
    """

    told: _P
    stale_s: float


class PointHistory(Protocol):
    """One state of a store, whatever is written meanwhile; for one thread at a time."""

    def frames(
        self,
        start_s: int,
        end_s: int,
        window_s: int,
        *,
        distributions: bool = True,
        numbers: bool = True,
        selector: Selector = ALL,
    ) -> Iterator[Frame]:
        """Yield the points of [start_s, end_s), in windows of at most `window_s`.

        Windows are longer where shorter ones have expired. Without `distributions` or `numbers`
        it is faster. Without `distributions` there are counters alone, and from further back: see
        `WindowStore.kept_from`.
        """

    def add_to(self, steps: Steps, end_s: int, selector: Selector = ALL) -> None:
        """Add the counters from where `steps` begin to `end_s` to them."""

    def close(self) -> None:
        """Let go of the state."""


class WindowStore(Protocol):
    """Windows by series and time, kept losslessly at 10 s, 5 min and a day.

    One process writes; any number read at the same time. Times are Unix seconds.
    """

    @property
    def streams(self) -> Streams:
        """What the numbers in frames stand for."""

    def append_all(self, arrivals: Sequence[Arrival], received_s: float) -> list[Appended]:
        """Keep batches, each once, in one transaction; see `append`."""

    def append(self, batch: Batch, received_s: float) -> Appended:
        """Keep a batch, once: its id and its data are committed in one transaction.

        When this returns, the batch survives a kill and a power cut. A late window merges
        into its own place in time.

        Raises:
            StoreFull: no room; nothing of the batch was kept.
        """

    def kept_from(self) -> KeptFrom:
        """From when on there are counts, and distributions; of before there is less, or nothing."""

    def late_arrivals(self) -> Mapping[str, float]:
        """When each site last delivered windows that were over for `LATE_S`, Unix seconds."""

    def declare_objectives(self, targets: Mapping[str, str], now_s: float) -> None:
        """State the target ratio of each objective, in force from `now_s` on.

        A changed target counts from the next 5 min boundary; history keeps the old one.
        """

    def targets(self) -> Mapping[str, Sequence[tuple[int, str]]]:
        """The targets of every objective ever declared: (in force since, ratio), in order.

        What was before the first counts under the first, too.
        """

    def series(self) -> list[SeriesKey]:
        """Every series ever kept, sorted."""

    def windows(
        self, selector: Selector, start_s: int, end_s: int, resolution_s: int = HOT_S
    ) -> Iterator[PathWindow]:
        """Yield the windows that begin in [start_s, end_s), by series, then time.

        `resolution_s` is a multiple of 10. Where 10 s windows have been dropped, what is left
        of them stands in the 5 min windows, and those are what comes back.
        """

    def aggregate(
        self, selector: Selector, start_s: int, end_s: int
    ) -> dict[SeriesKey, PathWindow]:
        """Merge each series over [start_s, end_s) into one window."""

    def slo_counts(self, selector: Selector, start_s: int, end_s: int) -> list[SloTotals]:
        """Sum the events due in [start_s, end_s), by path, objective and target, sorted."""

    def slo_totals(self) -> list[SloTotals]:
        """The events since the store was made: these never go back, nor expire."""

    def count_totals(self) -> dict[SeriesKey, PathWindow]:
        """All counts of packets since the store was made: these never go back, nor expire.

        Only `packets` and `counts` of each window are filled; its times mean nothing.
        """

    def packet_totals(self) -> dict[SeriesKey, PacketCounts]:
        """The ledgers alone of `count_totals`."""

    def distribution_totals(self) -> Frame:
        """The distributions since the store was made: these never go back, nor expire."""

    def routes(self, path: Path | None = None) -> list[Latest[RouteObservation]]:
        """The latest route of each flow, of one path or of all, sorted; stale ones as well."""

    def path_changes(
        self, path: Path | None, start_s: float, end_s: float, at_most: int
    ) -> list[RouteObservation]:
        """The newest changes of routes in [start_s, end_s), newest first."""

    def path_change_totals(self) -> dict[Path, int]:
        """Changes since the store was made, of each path that was traced: these never go back."""

    def readings(
        self, metric: str, path: Path | None, start_s: float, end_s: float, at_most: int
    ) -> list[Reading]:
        """The newest figures of capacity tests in [start_s, end_s), newest first."""

    def readings_between(
        self, metric: str, direction: str, method: str, start_s: float, end_s: float
    ) -> list[Reading]:
        """All figures of one kind of capacity test in [start_s, end_s), by time."""

    def first_readings(self, metric: str, direction: str, method: str) -> dict[Path, int]:
        """When each path's first figure of a kind that is still kept was measured; Unix ns."""

    def latest_readings(self, path: Path | None = None) -> list[Latest[Reading]]:
        """The latest figure of each kind, of one path or of all, sorted; stale ones as well."""

    def history(self) -> PointHistory:
        """Return the state of the store at this moment; the caller closes it."""

    def maintain(self, now_s: float) -> None:
        """Compact what has come, and drop what is past its retention.

        Batches may be appended meanwhile, from another thread.
        """

    def close(self) -> None:
        """Release the files; a kept batch needs no close."""
