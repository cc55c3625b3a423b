"""Every metric from packets to /metrics and the API, through OTLP, the store and its tiers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from a_collector import NOW_S, collector
from prometheus_client.parser import text_string_to_metric_families
from some_outcomes import INTERVAL_NS, outcomes_of
from some_windows import PATHS, make_batch

from analytics.windows import PathWindow, Selector, SeriesKey, SketchKey
from netslo import metrics
from netslo.model import Window
from probes.clock import ClockState
from probes.stamp.error_estimate import ErrorEstimate
from probes.statistics import WindowStatistics

MS = 1_000_000
KEY = SeriesKey(PATHS[0])
START_S = int(NOW_S) // 10 * 10 - 100
GOOD_CLOCK = ClockState(synchronised=True, error_ns_max=100_000)
FATES = "aaaf" * 10 + "a" * 30 + "rrrrr" + "a" * 25  # by a reflector with a memory


def measured(clock: ClockState = GOOD_CLOCK) -> list[PathWindow]:
    """Return two windows of one path with all that can happen to packets."""
    rows = outcomes_of(FATES.translate(str.maketrans("fr", "ll")))
    rng = np.random.default_rng(7)
    answered = rows["state"] == 1
    rows["forward_ns"][answered] = rng.integers(5 * MS, 9 * MS, answered.sum())
    rows["backward_ns"][answered] = rng.integers(6 * MS, 8 * MS, answered.sum())
    rows["rtt_ns"] = np.where(answered, rows["forward_ns"] + rows["backward_ns"], rows["rtt_ns"])
    came = np.array([fate in "ar" for fate in FATES])
    rows["reflector_sequence"][answered] = (np.cumsum(came) + 1000)[answered]
    rows["far_error"] = ErrorEstimate.bounding(50_000, synchronised=True).encode()
    rows["dscp"] = np.where(answered, 46, -1)
    rows["dscp"][69] = 0
    rows["ttl"] = np.where(np.arange(len(rows)) < 50, 60, 59)
    rows["extent"][60] = 3
    rows["reordered"][60] = 1
    rows["quality"] = 0
    statistics = WindowStatistics(KEY, INTERVAL_NS, dscp=46)
    return [
        statistics.close(Window(START_S + 10 * number), part, (), clock)
        for number, part in enumerate(np.split(rows, [73]))  # in the middle of the burst
    ]


def samples(text: str) -> dict:
    """Return samples by name and by what they say beside the path."""
    path = {"path", "src_site", "dst_site", "scope", "probe"}
    return {
        (sample.name, *(v for k, v in sorted(sample.labels.items()) if k not in path)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("path") == PATHS[0].id
    }


async def test_prometheus_is_told_every_metric(tmp_path) -> None:
    async with collector(tmp_path / "store.sqlite") as room:
        assert (await room.send(make_batch(*measured()))).refused_points == 0
        found = samples(await room.text("/metrics"))
    one = {
        (metrics.PROM_DIRECTED_LOSS, "ef", "forward"): 10,
        (metrics.PROM_DIRECTED_LOSS, "ef", "reverse"): 5,
        (metrics.PROM_TRANSITIONS, "ef", "answered-lost"): 11,
        (metrics.PROM_TRANSITIONS, "ef", "lost-answered"): 11,
        (metrics.PROM_TRANSITIONS, "ef", "lost-lost"): 4,
        (metrics.PROM_NEGATIVE_DELAYS, "ef", "forward"): 0,
        (metrics.PROM_WITHHELD_DELAYS, "ef", "forward", "imprecise"): 0,
        (metrics.PROM_REMARKED, "ef", "0"): 1,
        (metrics.PROM_TTL_CHANGES, "ef", "forward"): 1,
        (metrics.PROM_REORDERED, "ef"): 1,
    }
    assert {key: found[key] for key in one} == one
    assert found[metrics.PROM_DELAY_ERROR, "ef"] == pytest.approx(150e-6, rel=0.02)
    assert (
        abs(found[metrics.PROM_CLOCK_OFFSET, "ef"]) < found[metrics.PROM_CLOCK_OFFSET_ERROR, "ef"]
    )
    assert found[metrics.PROM_INTERARRIVAL_JITTER, "ef"] > 0
    median = found[metrics.PROM_DELAY_QUANTILE, "ef", "forward", "0.5", "5m"]
    assert median == pytest.approx(0.007, rel=0.1)
    assert not [key for key in found if key[0] == metrics.PROM_DELAY_VARIATION_QUANTILE]


async def test_clocks_that_are_not_synchronised_leave_only_the_variation(tmp_path) -> None:
    clock = ClockState(synchronised=False, error_ns_max=None)
    async with collector(tmp_path / "store.sqlite") as room:
        await room.send(make_batch(*measured(clock)))
        found = samples(await room.text("/metrics"))
        api = json.loads(await room.text("/api/v1/paths"))
    assert not [key for key in found if key[0] == metrics.PROM_DELAY_QUANTILE]
    assert (metrics.PROM_DELAY_ERROR, "ef") not in found
    assert found[metrics.PROM_DELAY_VARIATION_QUANTILE, "ef", "reverse", "0.5", "5m"] > 0
    assert found[metrics.PROM_WITHHELD_DELAYS, "ef", "forward", "unsynchronised"] == 85
    (path,) = api["paths"]
    for direction in ("forward", "reverse"):
        delay = path["delay"][direction]
        assert delay["why"] == "unsynchronised"
        assert delay["delay"]["quantiles"]["0.5"]["value"] is None
        assert delay["variation"]["count"] == 85


async def test_the_api_says_the_same_before_and_after_compaction(tmp_path) -> None:
    async with collector(tmp_path / "store.sqlite") as room:
        await room.send(make_batch(*measured()))
        before = json.loads(await room.text("/api/v1/paths"))
        room.writer.maintain(NOW_S + 3600)
        after = json.loads(await room.text("/api/v1/paths"))
    assert after == before
    (path,) = before["paths"]
    loss = path["loss"]
    assert (loss["forward"], loss["reverse"], loss["undetermined"]) == (10, 5, 0)
    assert loss["lengths"] == {"1": 10, "5": 1}
    assert loss["periods"]["max"] == 5
    assert loss["gilbert"]["r"] == pytest.approx(11 / 15)
    assert loss["distance"]["count"] == 14
    assert path["remarked"] == {"0": 1}
    assert path["ttl_changes"] == {"forward": 1, "reverse": 0}
    assert path["reordering_extent"]["max"] == 3
    assert path["delay"]["forward"]["why"] is None
    ipdv = path["jitter"]["ipdv"]
    assert ipdv["sum"] is None
    assert ipdv["max"] < 0.008
    assert abs(ipdv["mean"]) < 0.001


async def test_the_store_gives_back_what_was_measured_exactly(tmp_path) -> None:
    windows = measured()
    async with collector(tmp_path / "store.sqlite") as room:
        await room.send(make_batch(*windows))
        for at_s in (NOW_S, NOW_S + 3600):
            room.writer.maintain(at_s)
            kept = list(room.writer.windows(Selector(), START_S, START_S + 20))
            assert kept == windows
        whole = room.writer.aggregate(Selector(), START_S, START_S + 20)[KEY]
    merged = PathWindow(KEY, Window(START_S, 20))
    for window in windows:
        merged.absorb(window)
    assert whole.counts == merged.counts
    assert whole.sketches[SketchKey(metrics.LOSS_PERIOD)].count == 11
    assert whole.delay_error_s == merged.delay_error_s
