"""Which target of an objective was in force when.

A change takes force at a 5 min boundary, so that every 5 min window is of one target. The first
target declared holds for all the past.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Mapping

from analytics.store.interface import WARM_S

Era = tuple[int, str]  # (since_s, target)
Eras = Mapping[str, list[Era]]  # by objective, in order of time, never empty


def declare(connection: sqlite3.Connection, slo: str, target: str, now_s: int) -> None:
    """Note a target; one that is not yet in force is replaced."""
    connection.execute("DELETE FROM objectives WHERE slo = ? AND since_s > ?", (slo, now_s))
    last = connection.execute(
        "SELECT target FROM objectives WHERE slo = ? ORDER BY since_s DESC LIMIT 1", (slo,)
    ).fetchone()
    if last is not None and last[0] == target:
        return
    since_s = 0 if last is None else now_s - now_s % WARM_S + WARM_S
    connection.execute(
        "INSERT INTO objectives(slo, since_s, target) VALUES (?, ?, ?)", (slo, since_s, target)
    )


def read_eras(connection: sqlite3.Connection) -> dict[str, list[Era]]:
    """Return the eras of every objective ever declared."""
    eras: dict[str, list[Era]] = {}
    rows = connection.execute("SELECT slo, since_s, target FROM objectives ORDER BY slo, since_s")
    for slo, since_s, target in rows:
        eras.setdefault(slo, []).append((since_s, target))
    return eras


def era_at(eras: list[Era], start_s: int) -> Era:
    """Return the era in force at a time; before the first, the first."""
    in_force = eras[0]
    for era in eras:
        if era[0] <= start_s:
            in_force = era
    return in_force


def split(start_s: int, end_s: int, eras: Eras) -> Iterator[tuple[int, int]]:
    """Cut a span wherever a target changed."""
    changes = {since_s for of_one in eras.values() for since_s, _ in of_one}
    edges = [start_s, *sorted(s for s in changes if start_s < s < end_s), end_s]
    yield from itertools.pairwise(edges)
