"""Quantiles by key: what `netslo quantiles --by` computes and prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.summary import distributions
from analytics.table import SketchTable
from netslo.errors import ConfigurationError

KEYS_MAX: Final = 1_000_000
_TOGETHER: Final = 1 << 22  # pairs: what each call costs by key counts little beside so many


class ByKey:
    """A table of sketches whose keys are texts."""

    def __init__(self, scale: int) -> None:
        self._table = SketchTable(0, scale, threads=0)
        self._waiting: list[tuple[NDArray[np.int32], NDArray[np.float64]]] = []
        self._waiting_pairs = 0
        self.numbers: dict[str, int] = {}

    @property
    def table(self) -> SketchTable:
        """The sketches of all pairs so far."""
        self._settle()
        return self._table

    def add(self, keys: Any, values: NDArray[np.float64]) -> None:
        """Count pairs; `keys` is a sequence of texts, or an array of pyarrow.

        Raises:
            ConfigurationError: there are more than a million keys.
        """
        distinct, codes = _encoded(keys)
        places = [self.numbers.setdefault(key, len(self.numbers)) for key in distinct]
        if len(self.numbers) > KEYS_MAX:
            raise ConfigurationError(f"more than {KEYS_MAX:,} distinct keys")
        self._waiting.append((np.array(places, dtype=np.int32)[codes], values))
        self._waiting_pairs += len(values)
        if self._waiting_pairs >= _TOGETHER:
            self._settle()

    def _settle(self) -> None:
        """Count what waits."""
        if self._waiting:
            keys, values = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting, self._waiting_pairs = [], 0
            self._table.grow(len(self.numbers))
            self._table.add(keys, values)

    def ordered(self, sort: float | None, top: int | None) -> list[str]:
        """Return keys in their own order, or those with the largest of a quantile first."""
        keys = sorted(self.numbers, key=_natural)
        if sort is not None:
            values = self.table.quantiles([sort])[:, 0]
            place = {key: values[number] for key, number in self.numbers.items()}
            keys.sort(key=lambda key: -np.nan_to_num(place[key], nan=-np.inf))
        return keys[:top]

    def shapes(self, keys: Iterable[str], qs: Sequence[float]) -> dict[str, Any]:
        """Return shape Q of each key, and what of it is no finite number."""
        wanted = list(keys)
        numbers = [self.numbers[key] for key in wanted]
        found = dict(zip(wanted, distributions(self.table, numbers, qs), strict=True))
        apart = self.table.nan_count[numbers], self.table.infinite_count[numbers]
        for shape, nan, infinite in zip(found.values(), *apart, strict=True):
            shape |= {"nan": int(nan), "infinite": int(infinite)}
        return found


def _encoded(keys: Any) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct keys of a batch, and which of them each is."""
    if hasattr(keys, "dictionary_encode"):
        encoded = keys.dictionary_encode()
        return _spelt(encoded.dictionary), np.asarray(encoded.indices, dtype=np.int64)
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(key, len(numbers)) for key in keys]
    return list(numbers), np.array(codes, dtype=np.int64)


def _spelt(keys: Any) -> list[str]:
    """Return each of pyarrow's values as a text; times with a zone in UTC.

    Octets are read as UTF-8; of what is none each octet stays a character, so that keys that
    differ remain two.
    """
    import pyarrow as pa

    kind, zone = keys.type, ""
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        keys, zone = keys.cast(pa.timestamp(kind.unit)), "Z"
    if pa.types.is_temporal(kind):  # Python has neither nanoseconds nor the year 10000
        keys = keys.cast(pa.string())
    return [
        key.decode(errors="surrogateescape") if isinstance(key, bytes) else f"{key}{zone}"
        for key in keys.to_pylist()
    ]


def _natural(key: str) -> tuple[int, float, str]:
    try:
        number = float(key)
    except ValueError:
        return (1, 0.0, key)
    return (1, 0.0, key) if number != number else (0, number, key)  # noqa: PLR0124 - NaN
