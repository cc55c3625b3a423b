"""Pairs of key and value: a sketch and five quantiles for every key.

Only netslo also gets count, sum, minimum and maximum of each key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from support.engine.array import QS
from support.engine.timing import OURS, Case, Goal, Work, engine

POLARS, DUCKDB, PANDAS = "polars (exact)", "duckdb (exact)", "pandas (exact)"
POLARS_SORTED = "polars, sorted lists (exact)"
_TITLE = "{data.keys.size:,} pairs of {data.count:,} keys: five quantiles of every key"
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Pairs:
    keys: NDArray[np.int32]  # (n,)
    values: NDArray[np.float64]  # (n,)
    count: int  # of keys


def pairs(count: int, keys: int, seed: int = 3) -> Pairs:
    """Return delays of paths of all lengths, in no order."""
    rng = np.random.default_rng(seed)
    of_pair = rng.integers(0, keys, count, dtype=np.int32)
    medians = rng.lognormal(math.log(0.030), 0.5, keys)
    return Pairs(of_pair, medians[of_pair] * rng.lognormal(0.0, 0.35, count), keys)


def _100k(quick: bool) -> Pairs:  # noqa: FBT001
    return pairs(400_000, 10_000) if quick else pairs(4_000_000, 100_000)


def _1k(quick: bool) -> Pairs:  # noqa: FBT001
    return pairs(1_000_000 if quick else 10_000_000, 1000)


def _1m(quick: bool) -> Pairs:  # noqa: FBT001
    return pairs(1_000_000, 100_000) if quick else pairs(10_000_000, 1_000_000)


def _ours(data: Pairs) -> Case:
    from analytics import _kernels
    from analytics.table import SketchTable

    assert _kernels.load(), "the figures are those of the kernels: install numba"

    def work() -> NDArray[np.float64]:
        table = SketchTable(data.count)
        table.add(data.keys, data.values)
        return table.quantiles(QS)

    return Case(OURS, len(data.keys), work)


def _ours_without_quantiles(data: Pairs) -> Case:
    from analytics.table import SketchTable

    def work() -> None:
        SketchTable(data.count).add(data.keys, data.values)

    return Case("netslo, ingest alone", len(data.keys), work)


def _scatter(data: Pairs) -> Case:
    from support.engine.limits import scatter

    # As many counters as netslo fills, wherever they lie.
    counters = 250 * min(data.count, len(data.keys) // 250)
    places = np.random.default_rng(4).integers(0, counters, len(data.keys), dtype=np.uint32)
    counts = np.zeros(counters, dtype=np.uint32)
    name = "limit: increments at given places"
    return Case(name, len(places), lambda: scatter(places, counts), limit=True)


@engine(POLARS)
def _polars(data: Pairs) -> Case:
    import polars as pl

    frame = pl.DataFrame({"key": data.keys, "value": data.values})
    wanted = [pl.col("value").quantile(q).alias(str(q)) for q in QS]
    return Case(POLARS, len(data.keys), lambda: frame.group_by("key").agg(wanted))


@engine(POLARS_SORTED)
def _polars_sorted(data: Pairs) -> Case:
    import polars as pl

    frame = pl.DataFrame({"key": data.keys, "value": data.values})
    values = pl.col("value").list
    ranks = [((values.len() - 1) * q).cast(pl.Int64) for q in QS]
    wanted = [values.get(rank).alias(str(q)) for rank, q in zip(ranks, QS, strict=True)]

    def work() -> object:
        return frame.group_by("key").agg(pl.col("value").sort()).with_columns(wanted)

    return Case(POLARS_SORTED, len(data.keys), work)


@engine(DUCKDB)
def _duckdb(data: Pairs) -> Case:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    arrays = {"key": data.keys, "value": data.values}  # noqa: F841 - duckdb finds it by its name
    connection.execute("CREATE TABLE pairs AS SELECT * FROM arrays")
    query = f"SELECT key, quantile_disc(value, {QS}) FROM pairs GROUP BY key"
    return Case(DUCKDB, len(data.keys), lambda: connection.execute(query).fetchnumpy())


@engine(PANDAS)
def _pandas(data: Pairs) -> Case:
    import pandas as pd

    frame = pd.DataFrame({"key": data.keys, "value": data.values})  # noqa: PD011 - no frame yet
    return Case(PANDAS, len(data.keys), lambda: frame.groupby("key")["value"].quantile(QS))


KEYED = Work(
    title=_TITLE,
    items="pairs",
    data=_100k,
    cases=(_ours, _ours_without_quantiles, _polars, _polars_sorted, _duckdb, _pandas),
    goals=(
        Goal(POLARS, at_least=12),
        Goal(POLARS_SORTED, at_least=12),  # not what one writes first, but quicker at times
        Goal(DUCKDB, at_least=15),
        Goal(PANDAS, at_least=5),
    ),
    rounds=3,
    environment=ONE_THREAD,
)
KEYED_FEW = Work(
    title=_TITLE,
    items="pairs",
    data=_1k,
    cases=(_scatter, _ours, _ours_without_quantiles),
    rounds=3,
    environment=ONE_THREAD,
)
KEYED_MANY = Work(
    title=_TITLE,
    items="pairs",
    data=_1m,
    cases=(_scatter, _ours, _ours_without_quantiles),
    rounds=3,
    environment=ONE_THREAD,
)
