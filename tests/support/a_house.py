"""A collector whose alert engine looks when a test says so, at a time that the test says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from a_collector import Room, collector, make_estate
from some_windows import PATHS, make_batch

from analytics.store.sqlite import SqliteStore
from analytics.windows import PacketCounts, PathWindow, SeriesKey, SloCounts
from netslo.model import Path, Window
from slo.budget import Spend
from slo.engine.engine import AlertEngine
from slo.objective import Indicator, Objective, PathSelector
from slo.standings import Standings

T0 = 1_800_000_000
PER_WINDOW = 50  # at the 0.2 s of `make_estate`
IN_TIME = 12  # windows; the first of more would be more than two minutes late
PATH = PATHS[0]
OBJECTIVE = Objective(
    name="loss",
    display_name="Loss",
    description="",
    service="backbone",
    indicator=Indicator.LOSS,
    limit=None,
    target_text="0.999",
    selector=PathSelector(),
    owner="noc",
    runbook="https://runbooks.example/loss",
)


@dataclass
class House:
    """A collector whose engine looks when the test says so."""

    room: Room
    engine: AlertEngine
    standings: Standings
    now_s: float
    sequence: int = 0

    async def deliver(
        self, start_s: int, bad: float, *paths: Path, windows: int = 1, late: bool = False
    ) -> None:
        """Deliver windows of which a share of the packets is bad: in their time, or `late` now."""
        now_s, at_once = self.now_s, windows if late else IN_TIME
        for first in range(0, windows, at_once):
            count = min(at_once, windows - first)
            if not late:
                self.now_s = float(start_s + 10 * (first + count))
            await self._send(start_s + 10 * first, bad, paths or (PATH,), count)
        self.now_s = now_s

    async def _send(self, start_s: int, bad: float, paths: tuple[Path, ...], windows: int) -> None:
        lost = round(PER_WINDOW * bad)
        found = [
            PathWindow(
                SeriesKey(path),
                Window(start_s + 10 * n),
                PacketCounts(answered=PER_WINDOW - lost, lost=lost),
                slo={"loss": SloCounts(PER_WINDOW - lost, lost)},
            )
            for path in paths
            for n in range(windows)
        ]
        for src in {window.key.path.src for window in found}:
            own = [window for window in found if window.key.path.src == src]
            batch = replace(make_batch(*own, sequence=self.sequence), site=src, instance_id=src)
            assert (await self.room.send(batch)).refused_points == 0
        self.sequence += 1

    def look(self, at_s: float) -> list[tuple[str, str]]:
        """Return (name, pair or site) of what is in force then."""
        self.now_s = at_s
        self.engine.look()
        return self.told()

    def spent(self, path: Path, length_s: int) -> Spend:
        """Return what the ledger says of a path; panes make a window begin a little late."""
        standing = self.standings.standing()
        return standing.spend(length_s, standing.rows["loss", path])

    def told(self) -> list[tuple[str, str]]:
        found = [dict(alert["labels"]) for alert in self.engine.to_json()["alerts"]]
        names = [(each["alertname"], each.get("pair") or each.get("site", "")) for each in found]
        return sorted(
            each for each in names if each[0].startswith("SLO") and each[0] != "SLOWatchdog"
        )


@asynccontextmanager
async def house(tmp_path, now_s: float = T0, objective=OBJECTIVE, off=()) -> AsyncIterator[House]:
    made: list[House] = []
    companions: list[Standings | AlertEngine] = []
    clock = lambda: made[0].now_s if made else now_s  # noqa: E731

    def furnish(store: SqliteStore) -> SqliteStore:
        store.declare_objectives({"loss": "0.999"}, 0)
        standings = Standings(store, [objective], make_estate(), off, clock)
        engine = AlertEngine(
            standings,
            [objective],
            make_estate(),
            file=tmp_path / "alerts.json",
            exclusions=lambda: off,
            store=store,
            clock=clock,
        )
        companions.extend([standings, engine])
        return store

    async with collector(
        tmp_path / "store.sqlite", wrap=furnish, companions=companions, clock=clock
    ) as room:
        made.append(House(room, companions[1], companions[0], now_s))
        yield made[0]
