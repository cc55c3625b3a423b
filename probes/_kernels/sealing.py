"""HMACs of authenticated packets and of their extensions (RFC 8762 §4.4, RFC 8972 §4.8)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled
from probes._kernels.octets import Octets
from probes._kernels.stamp import Extras

Key = NDArray[np.uint32]


@compiled
def seal_request(key: Key, packet: Octets, size: int) -> None:
    """Sign the base packet, and its extensions in the HMAC TLV that ends it."""


@compiled
def authentic(key: Key, packet: Octets) -> bool:  # noqa: ARG001
    """Whether the HMAC of a base packet is that of its octets."""
    return False


@compiled
def extensions_authentic(key: Key, packet: Octets, extras: Extras) -> bool:  # noqa: ARG001
    """Whether extensions are what the holder of the key sent, as `probes.stamp.integrity` says."""
    return False
