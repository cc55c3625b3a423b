"""What happens once per window of a probe: fifty values, a merge, a message, a reading."""

from __future__ import annotations

from support.engine.array import QS, Values, lognormal
from support.engine.timing import OURS, Case, Work

from analytics.otlp import sketch_from_bytes, sketch_to_bytes
from analytics.sketch import Sketch

_TIMES = 500


def _values(quick: bool) -> Values:  # noqa: ARG001, FBT001
    return lognormal(1000)


def _repeated(name: str, work) -> Case:  # type: ignore[no-untyped-def]
    def run() -> None:
        for _ in range(_TIMES):
            work()

    return Case(name, _TIMES, run)


def _add(values: Values) -> Case:
    return _repeated(f"{OURS}, add 50 values", lambda: Sketch().add(values[:50]))


def _merge(values: Values) -> Case:
    total, window = _total(values), _window(values)
    return _repeated(f"{OURS}, merge a window", lambda: total.merge(window))


def _to_octets(values: Values) -> Case:
    window = _window(values)
    return _repeated(f"{OURS}, to OTLP octets", lambda: sketch_to_bytes(window))


def _from_octets(values: Values) -> Case:
    octets = sketch_to_bytes(_window(values))
    return _repeated(f"{OURS}, from OTLP octets", lambda: sketch_from_bytes(octets))


def _quantiles(values: Values) -> Case:
    window, total = _window(values), _total(values)

    def work() -> None:
        total.merge(window)  # so that nothing is remembered
        total.quantiles(QS)

    return _repeated(f"{OURS}, merge and five quantiles", work)


def _window(values: Values) -> Sketch:
    window = Sketch()
    window.add(values[:50])
    return window


def _total(values: Values) -> Sketch:
    total = Sketch()
    total.add(values)
    return total


WINDOW = Work(
    title="one window of one path, 50 values, in Python",
    items="calls",
    data=_values,
    cases=(_add, _merge, _to_octets, _from_octets, _quantiles),
)
