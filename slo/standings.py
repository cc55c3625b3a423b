"""The ledger of a collector: made from its store, kept up, and made anew when exclusions change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from analytics.collector.following import Follower
from analytics.collector.server import Beside
from analytics.frame import Frame
from analytics.store import WindowStore
from netslo.estate import Estate
from netslo.model import WINDOW_S
from slo.budget import Spend
from slo.burn import WINDOWS_S
from slo.exclusion import Exclusion
from slo.ledger import Ledger, Standing
from slo.objective import Objective
from slo.ranges import Ranges, SpendKey

_PATIENCE_S: Final = 5.0
_SLICE_S: Final = 30

_log = logging.getLogger(__name__)


class Standings:
    """Keeps the ledger of all objectives; any thread may ask, and exclude times.

    A companion of the collector's: see `analytics.collector.server.create_app`.
    """

    def __init__(
        self,
        store: WindowStore,
        objectives: Sequence[Objective],
        estate: Estate,
        exclusions: Sequence[Exclusion] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._sliced = [o for o in objectives if o.slices is not None]
        self._keys = [
            (o.name, path)
            for o in objectives
            if o.slices is None  # the probe counts packets, also for objectives by time slice
            for path in o.paths(estate)
        ]
        self._sliced_keys = [(o.name, path) for o in self._sliced for path in o.paths(estate)]
        self._slices = self._slice_readers(exclusions)
        self._lengths_s = {
            *WINDOWS_S,
            *(s for o in objectives for s in (o.window_s, *o.alerts.windows_s)),
        }
        self._clock = clock
        self._exclusions = tuple(exclusions)
        self._kept: tuple[Ledger, Follower[Ledger]] | None = None
        self._making: tuple[Ledger, Follower[Ledger]] | None = None  # the next one
        self._mending = False  # a ledger of another time is awaited
        self._between: Callable[[Callable[[], None]], None] | None = None
        self._slicing = threading.Lock()  # of the next one
        self._read: dict[bool, tuple[int, Standing]] = {}  # by reader: when, and what it said
        self._whole_keys: tuple[SpendKey, ...] = ()
        self._lock = threading.Lock()  # of which ledger is kept

    def start(self, beside: Beside) -> None:
        self._between = beside.between
        self._kept = self._make()

    def note(self, frame: Frame) -> None:
        for _, follower in self._all():
            follower.note(frame)

    def stop(self) -> None:
        for _, follower in self._all():
            follower.stop()

    def exclude(self, exclusions: Sequence[Exclusion]) -> None:
        """Count without these times from now on; the figures change when that is worked out."""
        with self._lock:
            if tuple(exclusions) == self._exclusions:
                return
            self._exclusions = tuple(exclusions)
            self._slices = self._slice_readers(exclusions)
            self._read.clear()
        if self._between is not None:
            self._between(self._begin_anew)

    def standing(self, *, with_exclusions: bool = False) -> Standing | None:
        """Return how all stands; None where that is not known (yet)."""
        self._change_over()
        if self._kept is None:
            return None
        ledger, follower = self._kept
        if follower.astray:
            self._mend()
            return None
        with follower.up_to_date(_PATIENCE_S) as known:
            if not known:
                return None
            standing = ledger.standing(with_exclusions=with_exclusions)
        slices = self._read_slices(standing.now_s, standing.lengths_s, everything=with_exclusions)
        return standing if slices is None else self._joined(standing, slices)

    def _mend(self) -> None:
        """Have a new ledger made, once: what has left a window does not come back to it."""
        with self._lock:
            mending = self._mending or (self._making is not None and not self._making[1].astray)
            if mending or self._between is None:
                return
            self._mending = True
        _log.warning("the clock was set: burn rates and budgets are worked out anew")
        self._between(self._begin_anew)

    @property
    def problem(self) -> str | None:
        """Why there are no figures."""
        return None if self._kept is None else self._kept[1].problem

    def _slice_readers(self, exclusions: Sequence[Exclusion]) -> dict[bool, Ranges]:
        """Return who reads slices without excluded times, and who reads all of them."""
        return {
            everything: Ranges(self._store, () if everything else tuple(exclusions), self._sliced)
            for everything in (False, True)
        }

    def _read_slices(
        self, now_s: int, lengths_s: Sequence[int], *, everything: bool
    ) -> Standing | None:
        """Return what slices say, worked out twice a minute: none is shorter."""
        if not self._sliced:
            return None
        with self._slicing:
            known = self._read.get(everything)
            if known is None or not 0 <= now_s - known[0] < _SLICE_S:
                found = self._slices[everything].read(now_s, self._lengths_s)
                # A path of which nothing is known has a row as well, so that this is said.
                covered, nothing = self._sliced_keys, Spend()
                spends = {
                    length_s: {key: of_one.get(key, nothing) for key in covered}
                    for length_s, of_one in found.items()
                }
                known = self._read[everything] = now_s, Standing.of_spends(spends, lengths_s)
            return known[1]

    def _joined(self, standing: Standing, slices: Standing) -> Standing:
        """Join them; the keys are the same object each time, for who goes by that."""
        whole = standing.beside(slices)
        with self._lock:
            if whole.keys != self._whole_keys:
                self._whole_keys = whole.keys
            return replace(whole, keys=self._whole_keys)

    def _make(self) -> tuple[Ledger, Follower[Ledger]]:
        """Make a ledger; between commits, for its history ends where the following begins."""
        now_s = int(self._clock()) // WINDOW_S * WINDOW_S
        ledger = Ledger(
            self._store.streams,
            self._keys,
            self._store.targets(),
            self._lengths_s,
            self._exclusions,
            now_s,
        )
        follower = Follower(ledger, self._clock, "burn rates and budgets")
        follower.start(self._store.history())
        return ledger, follower

    def _begin_anew(self) -> None:
        made = self._make()
        with self._lock:
            superseded, self._making = self._making, made
            self._mending = False
        if superseded is not None:
            threading.Thread(target=superseded[1].stop, daemon=True).start()

    def _change_over(self) -> None:
        """Let the next ledger be the one that counts, as soon as it is made."""
        with self._lock:
            if self._making is None or not self._making[1].ready:
                return
            old, self._kept, self._making = self._kept, self._making, None
        if old is not None:
            old[1].stop()

    def _all(self) -> list[tuple[Ledger, Follower[Ledger]]]:
        with self._lock:
            return [each for each in (self._kept, self._making) if each is not None]
