"""How far apart two places are, and how long light in fibre takes between them."""

from __future__ import annotations

import math
from typing import Final

from netslo.model import Location

EARTH_RADIUS_M: Final = 6_371_008.8  # IUGG mean radius R1
FIBRE_M_PER_S: Final = 299_792_458 / 1.468  # group index of G.652 fibre at 1550 nm
STRETCH: Final = 1.6  # fibre follows roads and railways, not great circles


def distance_m(a: Location, b: Location) -> float:
    """Return the great-circle distance in metres (haversine; within 0.6 % of the ellipsoid)."""
    lat_a, lat_b = math.radians(a.lat), math.radians(b.lat)
    half_lat = math.sin((lat_b - lat_a) / 2)
    half_lon = math.sin(math.radians(b.lon - a.lon) / 2)
    chord = half_lat**2 + math.cos(lat_a) * math.cos(lat_b) * half_lon**2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(chord)))


def propagation_s(a: Location, b: Location, stretch: float = STRETCH) -> float:
    """Return the one-way propagation delay in seconds over fibre `stretch` times as long."""
    return distance_m(a, b) * stretch / FIBRE_M_PER_S
