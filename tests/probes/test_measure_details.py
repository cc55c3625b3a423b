"""What is said beside the round trip, of windows laid down by hand."""

import json

import pytest

from analytics.sketch import Sketch
from analytics.windows import (
    BROKE,
    FORWARD,
    IMPRECISE,
    KEPT,
    MENDED,
    REVERSE,
    STAYED_LOST,
    UNSYNCHRONISED,
    CountKey,
    PathWindow,
    SeriesKey,
    SketchKey,
)
from netslo import metrics
from netslo.model import Path, ProbeKind, Quality, Window
from probes.address import SocketAddress
from probes.measure_details import detail_lines
from probes.measurement import Flow, Measurement


def sketch_of(values) -> Sketch:
    sketch = Sketch()
    sketch.add(values)
    return sketch


def lines_of(window: PathWindow, dscp: int | None = None) -> list[str]:
    measurement = Measurement(None, SocketAddress(2, ("192.0.2.1", 862)), [Flow(window)])
    shape = measurement.to_json() if window.key.probe is ProbeKind.STAMP else None
    if shape is None:
        from analytics.figures import window_figures

        shape = {"kind": window.key.probe.value, **window_figures(window)}
    json.dumps(shape, allow_nan=False)
    return list(detail_lines(shape, dscp))


def a_window(kind=ProbeKind.STAMP) -> PathWindow:
    window = PathWindow(SeriesKey(Path("here", "0", "measure"), kind), Window(0))
    window.packets.answered = 100
    return window


def test_where_packets_were_lost_and_how_many_in_a_row() -> None:
    window = a_window()
    window.packets.lost = 7
    window.counts[CountKey(metrics.DIRECTED_LOSS, "", FORWARD)] = 4
    window.counts[CountKey(metrics.DIRECTED_LOSS, "", REVERSE)] = 2
    window.sketches[SketchKey(metrics.LOSS_PERIOD)] = sketch_of([1, 1, 1, 4])
    for name, count in ((KEPT, 96), (BROKE, 4), (STAYED_LOST, 3), (MENDED, 4)):
        window.counts[CountKey(metrics.TRANSITIONS, name)] = count
    assert lines_of(window)[:3] == [
        "lost: 4 on the way there, 2 on the way back, 1 not known where",
        "losses in a row (RFC 3357): 3 of 1, 1 of 4",
        "after an answer 4.00 % are lost, after a loss 57.14 % answered (Gilbert's p and r)",
    ]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(ProbeKind.STAMP, "no count of the far end's own"), (ProbeKind.ICMP, "an echo does not tell")],
)
def test_a_loss_whose_way_is_not_known_is_said_to_be_that(kind, reason) -> None:
    window = a_window(kind)
    window.packets.lost = 1
    [line] = [line for line in lines_of(window) if line.startswith("lost on")]
    assert reason in line


def test_one_way_delays_come_with_their_error() -> None:
    window = a_window()
    window.delay_error_s = 0.0005
    key = SketchKey(metrics.DELAY, Quality.A, FORWARD)
    window.sketches[key] = sketch_of([0.0102] * 100)
    window.counts[CountKey(metrics.WITHHELD_DELAYS, IMPRECISE, REVERSE)] = 100
    window.sketches[SketchKey(metrics.DELAY_VARIATION, Quality.A, REVERSE)] = sketch_of(
        [0.000001] * 100
    )
    there, back, variation = (line for line in lines_of(window))
    assert there == "one way there p50 10.200, p99 10.200 ms, off by at most 0.500"
    assert back == "one way back not said: the clocks may be off by more than the delays"
    assert variation.startswith("  its variation p50 1.00, p99 1.00 µs")


def test_delays_of_clocks_that_do_not_follow_utc_are_withheld_with_the_reason() -> None:
    window = a_window()
    for direction in (FORWARD, REVERSE):
        window.counts[CountKey(metrics.WITHHELD_DELAYS, UNSYNCHRONISED, direction)] = 100
        window.counts[CountKey(metrics.NEGATIVE_DELAYS, "", direction)] = 2
    said = lines_of(window)
    assert said[0] == "one way there not said: one of the clocks does not follow UTC"
    assert said[1] == "  2 packets came before they left: the clocks disagree"
    assert len(said) == 4


def test_a_far_end_that_tells_no_times_is_said_to_be_one() -> None:
    assert lines_of(a_window())[0].endswith("the far end does not say when packets came and left")


def test_marks_routes_and_clocks() -> None:
    window = a_window()
    window.counts[CountKey(metrics.REMARKED, "0")] = 12
    window.counts[CountKey(metrics.TTL_CHANGES, "", REVERSE)] = 3
    window.clock_offset_s, window.clock_offset_error_s = -0.0012, 0.0005
    said = lines_of(window, dscp=46)
    assert "DSCP changed on the way: the far end saw 0 on 12 packets instead of 46" in said
    assert "the way back changed its number of hops, 3 times" in said
    assert "clock of the far end -1.200 ms against ours, give or take 0.500" in said


def test_ipdv_has_its_own_line_and_unit() -> None:
    window = a_window()
    window.sketches[SketchKey(metrics.IPDV, Quality.A)] = sketch_of([-1e-6, 1e-6, 2e-6])
    assert any(line.startswith("from packet to packet (|IPDV|") for line in lines_of(window))
