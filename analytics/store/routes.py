"""The routes that flows take now, and the changes of them.

A current route is the latest by the time of its trace, whenever it came. A change is kept as the
probe tells it, with the route before. How many changes there ever were is counted beside, and
outlives them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from analytics.otlp.routes import known_hop
from analytics.store.interface import Latest
from netslo.model import NS_PER_S, Path
from netslo.route import Hop, Route, RouteObservation, TraceProtocol

CHANGES_MAX: Final = 5_000  # kept of one path
STALE_S: Final = 900  # at the least: "every few minutes", three times
_GAPS: Final = 3  # a route that is not seen for so many times its interval is stale
_GAP_NS_MAX: Final = 86_400 * NS_PER_S
_LAST_S: Final = 2.0**33
# Of an upsert, told which column has the time. The interval is the last one, but falls by half at
# most: a trace out of turn makes nothing stale.
GAP: Final = f"gap_ns = min({_GAP_NS_MAX}, max(excluded.{{at}} - {{at}}, gap_ns / 2))"
_ROUTE: Final = "src, dst, class, protocol, flow, reached, path_mtu, hops"
_KEEP: Final = (
    f"INSERT INTO routes({_ROUTE}, seen_ns, gap_ns)"  # noqa: S608
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"
    f" ON CONFLICT (src, dst, class, protocol, flow) DO UPDATE SET {GAP.format(at='seen_ns')},"
    " path_mtu = CASE WHEN ? THEN excluded.path_mtu ELSE coalesce(excluded.path_mtu, path_mtu) END,"
    " seen_ns = excluded.seen_ns, reached = excluded.reached, hops = excluded.hops"
    " WHERE excluded.seen_ns > seen_ns"
)
_KEEP_CHANGE: Final = (
    f"INSERT INTO path_changes({_ROUTE}, changed_ns, before_seen_ns, before_reached, before_hops)"  # noqa: S608
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def keep(connection: sqlite3.Connection, seen: Iterable[RouteObservation]) -> None:
    """Add observations, in the transaction that keeps their batch."""
    changes: dict[Path, int] = {}
    for each in seen:
        route = _row(each.path, each.route)
        # An MTU is not sought in every trace, and holds as long as the route does.
        connection.execute(_KEEP, (*route, each.seen_ns, each.previous is not None))
        if each.previous is not None:
            before = (each.previous_seen_ns, each.previous.reached, _text(each.previous.hops))
            connection.execute(_KEEP_CHANGE, (*route, each.seen_ns, *before))
            changes[each.path] = _count_change(connection, each.path)
    for path, count in changes.items():
        if count > CHANGES_MAX:
            keep_newest(connection, "path_changes", "changed_ns", path, CHANGES_MAX)


def _count_change(connection: sqlite3.Connection, path: Path) -> int:
    """Return how many changes of a path there ever were, this one included."""
    connection.execute(
        "INSERT INTO path_change_totals(src, dst, class, changes) VALUES (?, ?, ?, 1)"
        " ON CONFLICT (src, dst, class) DO UPDATE SET changes = changes + 1",
        place_of(path),
    )
    (changes,) = connection.execute(
        "SELECT changes FROM path_change_totals WHERE src = ? AND dst = ? AND class = ?",
        place_of(path),
    ).fetchone()
    return int(changes)


def keep_newest(
    connection: sqlite3.Connection, table: str, column: str, path: Path, at_most: int
) -> None:
    """Drop the oldest rows of one path beyond `at_most`."""
    connection.execute(
        f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table}"  # noqa: S608
        f" WHERE src = ? AND dst = ? AND class = ? ORDER BY {column} DESC LIMIT -1 OFFSET ?)",
        (*place_of(path), at_most),
    )


def read_routes(
    connection: sqlite3.Connection, path: Path | None
) -> list[Latest[RouteObservation]]:
    """Return the current routes of one path or of all, sorted."""
    where, values = of_path(path)
    rows = connection.execute(
        f"SELECT {_ROUTE}, seen_ns, gap_ns FROM routes"  # noqa: S608
        f" WHERE {where} ORDER BY src, dst, class, protocol, flow",
        values,
    )
    return [
        Latest(RouteObservation(*_route(route), seen_ns), stale_s(seen_ns, gap_ns, STALE_S))
        for *route, seen_ns, gap_ns in rows
    ]


def read_changes(
    connection: sqlite3.Connection, path: Path | None, start_s: float, end_s: float, at_most: int
) -> list[RouteObservation]:
    """Return the newest changes in [start_s, end_s), newest first."""
    where, values = of_path(path)
    rows = connection.execute(
        f"SELECT {_ROUTE}, changed_ns, before_seen_ns, before_reached, before_hops"  # noqa: S608
        f" FROM path_changes WHERE {where} AND changed_ns >= ? AND changed_ns < ?"
        " ORDER BY changed_ns DESC, id DESC LIMIT ?",
        (*values, nanoseconds(start_s), nanoseconds(end_s), at_most),
    )
    found = []
    for *row, changed_ns, before_seen_ns, before_reached, before_hops in rows:
        of, route = _route(row)
        before = Route(route.flow, route.protocol, _hops(before_hops), bool(before_reached))
        found.append(RouteObservation(of, route, changed_ns, before, before_seen_ns))
    return found


def read_change_totals(connection: sqlite3.Connection) -> dict[Path, int]:
    """Return how many changes of each path there ever were; 0 where it was only seen."""
    rows = connection.execute(
        "SELECT src, dst, class, 0 FROM routes"
        " UNION ALL SELECT src, dst, class, changes FROM path_change_totals"
    )
    return {Path(*place): changes for *place, changes in rows}


def place_of(path: Path) -> tuple[str, str, str]:
    """Return what names a path in a row."""
    return (path.src, path.dst, path.traffic_class)


def of_path(path: Path | None) -> tuple[str, tuple[str, ...]]:
    """Return the condition for rows of one path, or of all, and its values."""
    if path is None:
        return "1", ()
    return "src = ? AND dst = ? AND class = ?", place_of(path)


def nanoseconds(unix_s: float) -> int:
    """Return a time as rows have it; what no row can have becomes the last one."""
    return round(min(unix_s, _LAST_S) * 1e6) * 1000  # a double holds microseconds of our days


def stale_s(at_ns: int, gap_ns: int, least_s: float) -> float:
    """Return when what was seen then, and before at that interval, says nothing of now any more."""
    return at_ns / NS_PER_S + max(least_s, _GAPS * gap_ns / NS_PER_S)


def _row(path: Path, route: Route) -> tuple[Any, ...]:
    """Return the columns of `_ROUTE`."""
    return (
        *place_of(path),
        route.protocol.value,
        route.flow,
        route.reached,
        route.path_mtu,
        _text(route.hops),
    )


def _route(row: Sequence[Any]) -> tuple[Path, Route]:
    *place, protocol, flow, reached, path_mtu, hops = row
    route = Route(flow, TraceProtocol(protocol), _hops(hops), bool(reached), path_mtu)
    return Path(*place), route


def _text(hops: Iterable[Hop]) -> str:
    return json.dumps([str(hop) for hop in hops])


def _hops(text: str) -> tuple[Hop, ...]:
    return tuple(map(known_hop, json.loads(text)))
