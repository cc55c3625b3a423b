"""What the page says, apart from HTTP: states, incidents, scales, pictures, views."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_routes import make_change, make_loaded, make_reading

from analytics.sketch import Sketch
from analytics.store.interface import Latest
from dashboards.page import numbers
from dashboards.page.charts import distribution, history, spark
from dashboards.page.figures import (
    Incident,
    IncidentLog,
    PathFigures,
    Quantile,
    Snapshot,
    State,
    state_of,
    worst_first,
)
from dashboards.page.overview import MATRIX_SITES_MAX, estate_map, matrix
from dashboards.page.scales import Axis, decimal_ticks, polyline, round_ticks, thinned
from dashboards.page.trail import Series, Trail
from dashboards.page.views import Listing, NoSuchView, OnePath, Overview, read_view
from dashboards.page.ways import capacities, changes
from netslo.estate import Estate, Link, ProbingPlan
from netslo.model import Location, Path, Scope, Site, Tier, TrafficClass
from netslo.route import Hop
from netslo.service import Service, TcpRequest, Where
from slo.burn import PAIRS, Severity
from slo.status import SloStatus

A = Path("a", "b", "ef")
PAGE, TICKET = (next(p for p in PAIRS if p.severity is s) for s in (Severity.PAGE, Severity.TICKET))


def status(path=A, left=1.0, firing=()) -> SloStatus:
    return SloStatus(
        "latency", path, 0.99, 0.1, 2_419_200, 100, 1, 0, 1.0, 1.0, left, {"5m": 1.0}, firing
    )


def estate_of(places) -> Estate:
    sites = {n: Site(n, Tier.NATIONAL, n, "gb", Location(*p), ()) for n, p in places.items()}
    classes = {"ef": TrafficClass("ef", 46), "be": TrafficClass("be", 0)}
    return Estate("e", "GBP", sites, classes, (), ProbingPlan(0.2, 1.0))


def snapshot(estate, **states) -> Snapshot:
    paths = {
        path: PathFigures(
            path,
            Scope.SERVICE if path in estate.service_paths else Scope.NATIONAL,
            states.get(path.traffic_class, State.GOOD),
        )
        for path in estate.measured_paths
    }
    return Snapshot(0.0, estate, True, "", paths, (), (), {"alerts": [], "pending": []}, (), ())


@pytest.mark.parametrize(
    ("statuses", "measured", "state"),
    [
        ([status(), status(firing=(PAGE,))], True, State.PAGE),
        ([status(firing=(PAGE,))], False, State.PAGE),
        ([status(firing=(TICKET,))], True, State.TICKET),
        ([status(left=-0.1)], True, State.OVERSPENT),
        ([status(left=0.2), status(left=None)], True, State.LOW),
        ([status(left=None)], True, State.GOOD),
        ([status()], False, State.SILENT),
        ([], True, State.UNJUDGED),
        ([], False, State.SILENT),
    ],
)
def test_a_path_is_as_bad_as_its_worst_objective(statuses, measured, state) -> None:
    assert state_of(statuses, measured=measured) is state


def test_every_state_has_its_own_sign_and_words() -> None:
    assert len({state.mark for state in State}) == len({state.word for state in State}) == 7


def test_incidents_begin_go_on_and_end() -> None:
    log = IncidentLog(most=2)
    burning = status(firing=(PAGE,))
    assert log.update([status()], 10.0) == ()
    (first,) = log.update([burning], 20.0)
    assert (first.starts_s, first.ends_s) == (20.0, None)
    assert log.update([burning], 30.0) == (first,)
    (over,) = log.update([status()], 40.0)
    assert over == replace(first, ends_s=40.0)
    for at_s in range(50, 90, 20):
        log.update([burning], at_s)
        log.update([status()], at_s + 10)
    assert [each.starts_s for each in log.update([], 99)] == [70, 50]  # the oldest is forgotten


def test_an_incident_is_as_old_as_its_page_whoever_looked() -> None:
    burning = status(firing=(PAGE,))
    (first,) = IncidentLog().update([burning], 100.0, {A.id: 40.0})
    assert first.starts_s == 40.0
    (other,) = IncidentLog().update([burning], 100.0, {"b:a/ef": 40.0})
    assert other.starts_s == 100.0


def test_the_worst_incident_stands_first_and_what_is_over_last() -> None:
    figures = {
        path: PathFigures(path, Scope.NATIONAL, State.PAGE, budget_remaining_ratio=left)
        for path, left in ((A, 0.5), (A.reverse, -9.0))
    }
    over = Incident(A.reverse, ("x",), 1.0, 2.0)
    mild, grave = Incident(A, ("x",), 30.0), Incident(A.reverse, ("x",), 10.0)
    gone = Incident(Path("x", "y", "ef"), ("x",), 20.0)  # of a path that the estate has no more
    assert worst_first([mild, gone, grave, over], figures) == (grave, mild, gone, over)


@settings(deadline=None)  # a busy machine is no fault
@given(
    st.floats(1e-6, 10),
    st.floats(1.001, 1e6),
    st.floats(1e-9, 1e9),
    st.floats(0, 100),
    st.booleans(),
)
def test_an_axis_keeps_order_and_never_leaves_the_picture(low, factor, value, start, log) -> None:
    axis = Axis(low, low * factor, start, start + 200, logarithmic=log)
    assert start - 0.1 <= axis.at(value) <= start + 200.1
    assert axis.at(low) <= axis.at(low * factor)


@settings(deadline=None)  # a busy machine is no fault
@given(st.floats(1e-6, 1e3), st.floats(1.01, 1e5))
def test_ticks_lie_inside(low, factor) -> None:
    assert all(low <= tick <= low * factor for tick in decimal_ticks(low, low * factor))
    ticks = round_ticks(low)
    assert ticks[0] == 0
    assert ticks[-1] >= low * (1 - 1e-6)
    assert len(ticks) <= 6


def test_a_line_breaks_where_nothing_is_known_and_a_lonely_point_is_seen() -> None:
    assert polyline([(0, 1), (2, 3), None, None, (4, 5)]) == "M0 1L2 3M4 5L4.1 5"


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.one_of(st.floats(0, 100), st.just(math.nan)), max_size=200), st.integers(1, 20))
def test_thinning_keeps_the_highest_of_each_part(values, most) -> None:
    best: dict[int, tuple[float, float]] = {}
    for n, value in enumerate(values):
        part = n // 10
        if part not in best or math.isnan(best[part][1]) or value > best[part][1]:
            best[part] = (float(n), value)
    times = np.arange(len(values), dtype=np.float64)
    times_s, kept = thinned(times, np.array(values, dtype=np.float64), 0.0, 10.0 * most, most)
    assert len(kept) == len(best)
    for at_s, value, (best_s, expected) in zip(times_s, kept, best.values(), strict=True):
        assert (at_s, value) == (best_s, expected) or math.isnan(value) == math.isnan(expected)


@settings(deadline=None)  # a busy machine is no fault
@given(st.floats(-100, 100), st.floats(0, 50), st.lists(st.floats(-1e4, 1e4)))
def test_many_places_are_each_the_place_of_one(low, more, values) -> None:
    axis = Axis(low, low + more, 1.0, 131.0)
    found = axis.places(np.array(values, dtype=np.float64))
    assert found.tolist() == pytest.approx([axis.at(value) for value in values], abs=0.11)
    assert np.isnan(axis.places(np.array([np.nan]))).all()


def test_a_trail_keeps_an_hour_in_order_and_what_is_unknown_unknown() -> None:
    trail = Trail([A, A.reverse])
    for n in range(500):
        trail.add(10.0 * n, {A: (0.01, n / 1000, 0.0)})
    series = trail.of(A, 4_990.0)
    assert len(series.times_s) == 360
    assert (np.diff(series.times_s) == 10).all()
    assert series.values[-1].tolist() == pytest.approx([0.01, 0.499, 0.0])
    assert np.isnan(trail.of(A.reverse, 4_990.0).values).all()
    assert spark(trail.of(A.reverse, 4_990.0), 4_990.0) is None
    assert "to 499 ms" in spark(series, 4_990.0).text


def test_a_distribution_shows_every_packet_and_the_objective() -> None:
    sketch = Sketch()
    sketch.add(np.random.default_rng(1).lognormal(np.log(0.02), 0.3, 5_000))
    p99 = Quantile(float(sketch.quantile(0.99)), *sketch.interval(0.99))
    drawn = distribution(sketch, [("p99", p99)], [("Latency", 0.03), ("Far", 60.0)])
    near, far = drawn.limits
    assert drawn.left < near.x < drawn.right
    assert (far.x, far.text) == (None, "Far 60000 ms")
    (marker,) = drawn.markers
    assert marker.low <= marker.x <= marker.high
    assert all(bar.beyond == (bar.x >= near.x - bar.width) or bar.x < near.x for bar in drawn.bars)
    assert any(bar.beyond for bar in drawn.bars)
    assert not all(bar.beyond for bar in drawn.bars)
    assert distribution(Sketch(), [], []) is None


def test_a_history_joins_no_points_over_a_gap() -> None:
    times = np.array([*range(0, 600, 10), *range(2_000, 3_000, 10)], dtype=np.float64)
    values = np.full((len(times), 3), 0.01, dtype=np.float32)
    values[:, 2] = 0
    values[5, 2] = 0.5
    drawn = history(Series(times, values), 0.0, 3_600.0, [("Latency", 0.015), ("Far", 1.0)])
    assert drawn.p99.count("M") == 2
    assert len(drawn.loss_bars) == 1
    assert [tick.text for tick in drawn.limits] == ["Latency 15 ms"]
    assert history(Series(times[:0], values[:0]), 0.0, 1.0, []) is None


def test_a_cell_of_the_matrix_is_the_worst_of_its_classes() -> None:
    estate = estate_of({"a": (51, 0), "b": (52, 1)})
    table = matrix(snapshot(estate, be=State.PAGE))
    cell = table.rows[0][1][1]
    assert (cell.state, cell.worst.path.traffic_class, cell.classes) == (State.PAGE, "be", 2)
    assert table.rows[0][1][0] is None


def test_a_large_estate_shows_the_sites_with_most_trouble() -> None:
    estate = estate_of({f"s{n:02}": (50 + n / 10, n / 10) for n in range(MATRIX_SITES_MAX + 5)})
    now = snapshot(estate)
    bad = Path("s44", "s43", "ef")
    now.paths[bad] = replace(now.paths[bad], state=State.PAGE)
    table = matrix(now)
    assert (len(table.sites), table.left_out) == (MATRIX_SITES_MAX, 5)
    assert {"s43", "s44"} <= set(table.sites)


@pytest.mark.parametrize(
    "places",
    [
        {"a": (0, 0), "b": (0, 0)},
        {"a": (60, 0), "b": (50, 0)},
        {"a": (-18, 179), "b": (-14, -171)},
        {"a": (90, 0), "b": (-90, 180)},
        {"a": (51, 0), "b": (51, 0.00001)},
    ],
    ids=["no places", "one meridian", "over the date line", "poles", "one town"],
)
def test_a_map_holds_every_site(places) -> None:
    drawn = estate_map(snapshot(estate_of(places), ef=State.PAGE))
    for dot in drawn.dots:
        assert 0 <= dot.x <= drawn.width
        assert 0 <= dot.y <= drawn.height
    assert "a:b/ef" in drawn.text


def test_labels_of_a_map_cover_neither_each_other_nor_the_lines_of_their_site() -> None:
    places = {"a-long-name": (51.5, -0.1), "b-long-name": (51.5, -3.2), "c": (51.6, -0.1)}
    drawn = estate_map(snapshot(estate_of(places), ef=State.PAGE))
    assert all(dot.labelled for dot in drawn.dots)
    boxes = {dot.name: box_of(dot) for dot in drawn.dots}
    for one, other in itertools.combinations(boxes.values(), 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for line in drawn.lines:
        for dot in drawn.dots:
            if (dot.x, dot.y) in {(line.x1, line.y1), (line.x2, line.y2)}:
                assert not any(inside(boxes[dot.name], line, share / 50) for share in range(51)), (
                    dot,
                    line,
                )


def box_of(dot):
    """Return what a label covers, by a letter's width and height."""
    width = 7.4 * len(dot.name)
    left = dot.label_x - {"start": 0.0, "middle": width / 2, "end": width}[dot.anchor]
    return left, dot.label_y - 11, left + width, dot.label_y + 3


def inside(box, line, share) -> bool:
    x = line.x1 + share * (line.x2 - line.x1)
    y = line.y1 + share * (line.y2 - line.y1)
    return box[0] < x < box[2] and box[1] < y < box[3]


@pytest.mark.parametrize("sites", [2, MATRIX_SITES_MAX + 3])
def test_services_have_no_place_in_the_matrix_nor_on_the_map(sites) -> None:
    shop = Service("shop", TcpRequest(Where("shop.example", 443)), "ef", ("s0",), 10, 5)
    estate = replace(
        estate_of({f"s{n}": (n / 10, n / 10) for n in range(sites)}), services={"shop": shop}
    )
    of_services = snapshot(estate, ef=State.PAGE)
    assert Path("s0", "shop", "ef") in of_services.paths
    assert "shop" not in matrix(of_services).sites
    assert len(matrix(of_services).rows) == min(sites, MATRIX_SITES_MAX)
    assert matrix(of_services).large == (sites > 12)
    assert "shop" not in {dot.name for dot in estate_map(of_services).dots}


@pytest.mark.parametrize(
    ("path", "query", "view"),
    [
        ("/", {"x": "y"}, Overview()),
        ("/paths", {"site": "a", "sort": "p99", "page": "99"}, Listing("a", "", "p99", 1)),
        ("/paths/a:b/ef", {"span": "1d"}, OnePath(A, "1d")),
    ],
)
def test_an_address_names_a_view_and_a_view_its_address(path, query, view) -> None:
    estate = estate_of({"a": (51, 0), "b": (52, 1)})
    assert read_view(path, query, estate) == view
    again, _, rest = view.key.partition("?")
    assert read_view(again, dict(p.split("=") for p in rest.split("&") if p), estate) == view


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/paths", {"site": "<b>"}, 404),
        ("/paths", {"class": "zz"}, 404),
        ("/paths", {"sort": "size"}, 400),
        ("/paths", {"page": "9" * 400}, 400),
        ("/paths", {"page": "²"}, 400),
        ("/paths/a:a/ef", {}, 404),
        ("/paths/<script>", {}, 404),
        ("/paths/a:b/ef", {"span": "9y"}, 400),
        ("/etc/passwd", {}, 404),
    ],
)
def test_what_there_is_not_is_refused(path, query, code) -> None:
    with pytest.raises(NoSuchView) as refusal:
        read_view(path, query, estate_of({"a": (51, 0), "b": (52, 1)}))
    assert refusal.value.status == code


def test_figures_are_written_for_readers() -> None:
    cases = {0.000082: "0.082", 0.00234: "2.34", 0.0234: "23.4", 0.234: "234", 1.5: "1,500"}
    assert {value: numbers.ms(value) for value in cases} == cases
    assert [numbers.ms(x) for x in (None, math.nan, math.inf)] == ["-", "-", "∞"]
    assert [numbers.percent(x) for x in (None, 0.0, 1e-6, 0.5)] == [
        "-",
        "0.00 %",
        "< 0.01 %",
        "50.00 %",
    ]
    assert numbers.web_link("https://example.org/a") == "https://example.org/a"
    for bad in ("javascript:alert(1)", "data:text/html,x", "//x", "http://", "http://[", None):
        assert numbers.web_link(bad) is None


def hops(*texts):
    return tuple(map(Hop.parse, texts))


@pytest.mark.parametrize(
    ("before", "after", "pairs"),
    [
        ("a b c", "a b c", ["a=a", "b=b", "c=c"]),
        ("a b c", "a d c", ["a=a", "b!d", "c=c"]),
        ("a c", "a b c", ["a=a", "-!b", "c=c"]),  # nothing of the rest has changed
        ("a b c", "a c", ["a=a", "b!-", "c=c"]),
        ("a * c", "a b c", ["a=a", "*=b", "c=c"]),  # an unknown hop may be any
        ("", "a", ["-!a"]),
        ("a", "", ["a!-"]),
    ],
)
def test_hops_before_and_after_stand_side_by_side(before, after, pairs) -> None:
    names = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3", "d": "10.0.0.4", "*": "*"}
    olds, news = (hops(*(names[each] for each in text.split())) for text in (before, after))
    seen = make_change(path=A, before=map(str, olds), hops=map(str, news))
    (change,) = changes([seen])
    back = {hop: name for name, hop in names.items()}

    def name(side):
        return "-" if side is None else back[str(side[1])]

    found = [f"{name(s.before)}{'!' if s.differs else '='}{name(s.after)}" for s in change.steps]
    assert found == pairs
    for side, sent in (("before", olds), ("after", news)):
        numbered = [getattr(s, side) for s in change.steps if getattr(s, side) is not None]
        assert numbered == list(enumerate(sent, 1))


def test_capacity_stands_beside_what_the_estate_says_of_the_link() -> None:
    estate = replace(estate_of({"a": (0, 0), "b": (1, 1)}), links=(Link("b", "a", 2e8, 0.0),))
    readings = [make_reading(100, 1e8, A), make_loaded(100, 0.05, path=A)]
    found = capacities([Latest(each, 200.0) for each in readings], A, estate, 150.0)
    (row,) = found.rows
    assert (row.of_link, row.loaded_s, row.idle_s, row.stale) == (
        0.5,
        (None, 0.05),
        (None,) * 2,
        False,
    )
    assert capacities([Latest(readings[0], 200.0)], A, estate, 201.0).rows[0].stale
    without = replace(estate, links=())
    assert capacities([Latest(readings[0], 200.0)], A, without, 150.0).rows[0].of_link is None


def test_marks_of_changes_are_inside_the_picture_and_apart() -> None:
    times = np.arange(0.0, 3_600.0, 60.0)
    series = Series(times, np.full((len(times), 3), 0.01))
    marks = [(at_s, f"at {at_s:g}") for at_s in (-5.0, 1_000.0, 1_001.0, 1_002.0, 3_000.0, 4_000.0)]
    drawn = history(series, 0.0, 3_600.0, [], marks)
    assert drawn is not None
    assert [mark.text for mark in drawn.changes] == ["at 1000, and 2 more", "at 3000"]
    assert all(drawn.left <= mark.place <= drawn.right for mark in drawn.changes)


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (None, "-"),
        (0.0, "0 bit/s"),
        (999.9, "1 kbit/s"),
        (64_000.0, "64 kbit/s"),
        (941.6e6, "942 Mbit/s"),
        (1e10, "10 Gbit/s"),
    ],
)
def test_bandwidth_is_written_with_few_digits(per_second, text) -> None:
    assert numbers.bits(per_second) == text
