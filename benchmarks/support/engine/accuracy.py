"""How far each engine's quantiles are from the exact ones, at ranks from p50 to p99.99."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.engine import peers

from analytics import _kernels
from analytics.mapping import relative_error
from analytics.sketch import Sketch

SCALES = (6, 7, 8)
_ROUNDING = 1e-12  # of the representative itself, relative
_CONVOLVED = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)

Values = NDArray[np.float64]


def ranks_of_interest() -> list[float]:
    """Return q from 0.5 to 0.9999, evenly by the logarithm of 1 / (1 - q)."""
    return (1 - 1 / np.geomspace(2, 10_000, 61)).tolist()


def shapes(count: int, seed: int = 7) -> dict[str, Values]:
    """Return delays in seconds."""
    rng = np.random.default_rng(seed)
    quick = rng.random(count) < 0.93
    return {
        "lognormal": rng.lognormal(math.log(0.030), 0.6, count),
        "Pareto 1.2": 0.001 * (1 - rng.random(count)) ** (-1 / 1.2),
        "bimodal": np.where(
            quick,
            rng.lognormal(math.log(0.002), 0.25, count),
            rng.lognormal(math.log(0.300), 0.20, count),
        ),
    }


def measure(*, quick: bool, seed: int) -> dict[str, Any]:
    """Return relative errors by engine and shape, at each rank of interest."""
    _kernels.load()
    count, qs = (100_000 if quick else 1_000_000), ranks_of_interest()
    errors: dict[str, dict[str, list[float]]] = {}
    alphas: dict[str, dict[str, float]] = {}
    left_out = {}
    data = shapes(count)
    for shape, values in data.items():
        ordered, ranks = np.sort(values), np.floor(np.array(qs) * (count - 1)).astype(np.int64)
        exact = ordered[ranks]
        for scale in SCALES:
            sketch, engine = _merged(values, scale, seed), f"netslo, scale {scale}"
            _note(errors, engine, shape, sketch.quantiles(qs) / exact - 1)
            # Of the sketch as it is: values of too many binades have lowered its scale.
            alphas.setdefault(engine, {})[shape] = sketch.relative_error
        for kind in peers.PEERS:
            try:
                peer = kind()
            except ModuleNotFoundError as missing:
                left_out[kind.name] = f"{missing.name} is not installed"
                continue
            found = np.asarray(peer.quantiles(peer.filled(peer.prepared(values)), qs))
            # Peers round ranks their own way: one rank to either side is as good.
            nearest = np.clip(found, ordered[ranks - 1], ordered[ranks + 1])
            _note(errors, kind.name, shape, found / nearest - 1)
    return {
        "count": count,
        "qs": qs,
        "alpha": alphas,
        "errors": errors,
        "left_out": left_out,
        "convolution": _convolution_errors(data, 500 if quick else 2000),
    }


def _note(
    errors: dict[str, dict[str, list[float]]], engine: str, shape: str, found: Values
) -> None:
    errors.setdefault(engine, {})[shape] = [float(f"{error:.6g}") for error in np.abs(found)]


def _merged(values: Values, scale: int, seed: int) -> Sketch:
    """Count in a hundred parts of unequal size and merge them in no order."""
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, len(values), 99))
    total = Sketch(scale)
    parts = np.split(values, cuts)
    for k in rng.permutation(len(parts)):
        part = Sketch(scale)
        part.add(parts[k])
        total.merge(part)
    return total


def _convolution_errors(data: dict[str, Values], count: int) -> dict[str, Any] | None:
    """Return the worst error in alphas, against the exact distribution of all sums."""
    try:
        from analytics.convolution import convolve
    except ModuleNotFoundError:
        return None
    worst = {}
    for left, right in (
        ("lognormal", "lognormal"),
        ("lognormal", "Pareto 1.2"),
        ("bimodal", "lognormal"),
        ("bimodal", "Pareto 1.2"),
    ):
        a, b = data[left][:count], data[right][-count:]
        sums = np.sort(np.add.outer(a, b).ravel())
        exact = sums[np.floor(np.array(_CONVOLVED) * (len(sums) - 1)).astype(np.int64)]
        sketches = Sketch(), Sketch()
        sketches[0].add(a)
        sketches[1].add(b)
        found = convolve(*sketches).quantiles(_CONVOLVED)
        worst[f"{left} + {right}"] = float(np.abs(found / exact - 1).max() / relative_error(7))
    return worst


def verdicts(result: dict[str, Any]) -> list[tuple[str, float, float, bool]]:
    """Return (what, worst error, bound, whether it holds)."""
    found = []
    for engine, alphas in result["alpha"].items():
        for shape, alpha in alphas.items():
            worst = max(result["errors"][engine][shape])
            holds = worst <= alpha * (1 + _ROUNDING) + _ROUNDING
            found.append((f"{engine}, {shape}", worst, alpha, holds))
    if result["convolution"]:
        worst, alpha = max(result["convolution"].values()), relative_error(7)
        found.append(("netslo, convolution", worst * alpha, 2 * alpha, worst <= 2))
    return found
