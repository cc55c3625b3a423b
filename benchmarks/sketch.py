"""The sketch beside numpy's exact quantiles and the OpenTelemetry SDK, in one process."""

import time

import numpy as np
from opentelemetry.sdk.metrics._internal.exponential_histogram.mapping.logarithm_mapping import (
    LogarithmMapping,
)

from analytics import _kernels
from analytics.otlp import sketch_from_bytes, sketch_to_bytes
from analytics.sketch import Sketch

VALUES = 5_000_000
QS = [0.5, 0.9, 0.99, 0.999, 0.9999]


def best(work, rounds: int = 5) -> float:
    """Return the shortest of several times, in seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    values = np.random.default_rng(1).lognormal(np.log(0.030), 0.5, VALUES)
    few = values[:20_000].tolist()
    mapping = LogarithmMapping(7)
    rows = {
        "sum of the array (limit)": best(values.sum) / VALUES,
        "numpy.quantile, 5 quantiles, exact": best(lambda: np.quantile(values, QS), 2) / VALUES,
        "Sketch.add, numpy": best(lambda: Sketch().add(values)) / VALUES,
        "OpenTelemetry SDK, index only": best(lambda: [*map(mapping.map_to_index, few)]) / len(few),
    }
    if _kernels.load():
        Sketch().add(values)  # compile, or load what was compiled
        rows["Sketch.add, numba kernel"] = best(lambda: Sketch().add(values)) / VALUES
    for name, seconds in rows.items():
        print(f"{name:36} {seconds * 1e9:9.2f} ns per value")
    window = Sketch()
    window.add(values[:50])
    octets, total = sketch_to_bytes(window), Sketch()
    total.add(values[:1000])
    print()
    for name, work in {
        "add 50 values (a probe's window)": lambda: Sketch().add(values[:50]),
        "merge a window": lambda: total.merge(window),
        "to octets": lambda: sketch_to_bytes(window),
        "from octets": lambda: sketch_from_bytes(octets),
        "five quantiles": lambda: total.quantiles(QS),
    }.items():
        print(f"{name:36} {best(lambda w=work: [w() for _ in range(500)]) / 500 * 1e6:9.1f} us")
    print(f"{'octets of a window of 50':36} {len(octets):9}")


if __name__ == "__main__":
    main()
