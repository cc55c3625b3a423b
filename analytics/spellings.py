"""Which stream some octets spell: found out by one reader, known to all of the process."""

from __future__ import annotations

import hashlib
from typing import Final

_SPELLINGS_MAX: Final = 1 << 20  # then it begins anew: a peer may spell attributes in endless ways
_DIGEST_OCTETS: Final = 16  # of a cryptographic hash: nobody can make two spellings meet


class Spellings:
    """The number of a stream by a metric's name and the octets of attributes. Thread-safe.

    To read attributes takes a reader some 50 us, and a collector has several: for what comes in,
    for what is compacted, for who asks. It says what octets mean, not who may say so.
    """

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def find(self, metric: str, attributes: bytes) -> int | None:
        """Return the number of the stream; None where no reader has met the spelling yet."""
        return self._numbers.get(_digest(metric, attributes))

    def note(self, metric: str, attributes: bytes, number: int) -> None:
        """Let it be found."""
        if len(self._numbers) >= _SPELLINGS_MAX:
            self._numbers = {}
        self._numbers[_digest(metric, attributes)] = number


def _digest(metric: str, attributes: bytes) -> bytes:
    return hashlib.blake2b(
        metric.encode() + b"\0" + attributes, digest_size=_DIGEST_OCTETS
    ).digest()
