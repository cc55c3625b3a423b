"""What the preview makes of variables, results and units, apart from any server."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.preview.plots import Named, heatmap, marks_of, state_timeline, timeseries
from dashboards.preview.prometheus import Bucket, Prometheus, Series
from dashboards.preview.tables import table_of
from dashboards.preview.values import Shown, write
from dashboards.preview.variables import Chosen, Span, choose
from netslo.errors import ConfigurationError

SPAN = Span(1000.0, 4600.0)


class Fake:
    """A Prometheus that knows label values only."""

    def __init__(self, **values: list[str]) -> None:
        self.values, self.asked = values, []

    def label_values(self, label, match, start_s, end_s):
        self.asked.append((label, match))
        return self.values[label]


def board(*variables):
    return {"templating": {"list": list(variables)}}


def variable(name, query, *, many=False):
    extra = {"allValue": ".*"} if many else {}
    return {
        "name": name,
        "label": name,
        "type": "query",
        "query": {"query": query},
        "multi": many,
        "includeAll": many,
        **extra,
    }


def test_variables_begin_as_grafana_begins_and_follow_each_other() -> None:
    fake = Fake(region=["north"], site=["a", "b"])
    chosen = choose(
        board(
            variable("region", "label_values(info, region)", many=True),
            variable("site", 'label_values(info{region=~"$region"}, site)'),
        ),
        fake,
        SPAN,
        {},
    )
    assert chosen.values == {"region": ["$__all"], "site": ["a"]}
    assert fake.asked == [("region", "info"), ("site", 'info{region=~".*"}')]
    filled = chosen.fill(
        'x{s="$site",r=~"${region:regex}",t="[[site]]"}[$__rate_interval] $1 $no',
        {"__rate_interval": "1m"},
    )
    assert filled == 'x{s="a",r=~".*",t="a"}[1m] $1 $no'


def test_what_prometheus_does_not_have_is_named() -> None:
    of = board(variable("site", "label_values(info, site)"))
    with pytest.raises(ConfigurationError, match=r"site=z: Prometheus has no such site; it has a"):
        choose(of, Fake(site=["a"]), SPAN, {"site": ["z"]})


@given(st.lists(st.text("ab.*+\\\"'$()[]{}|^/:", min_size=1, max_size=6), min_size=1, max_size=3))
def test_values_of_many_match_themselves_alone(values) -> None:
    values = list(dict.fromkeys(values))
    of = board(variable("v", "label_values(v)", many=True))
    pattern = choose(of, Fake(v=values), SPAN, {"v": values}).patterns["v"]
    unquoted = re.sub(r"\\(.)", r"\1", pattern)  # as PromQL reads a string
    for value in values:
        assert re.fullmatch(unquoted, value)
    assert not re.fullmatch(unquoted, "zz")


def test_intervals_are_grafanas() -> None:
    assert SPAN.step_s(100) == 60
    assert SPAN.step_s(10_000) == 15
    assert SPAN.macros(15.0)["__rate_interval"] == "60s"
    assert SPAN.macros(300.0)["__rate_interval"] == "315s"
    assert SPAN.macros(15.0)["__range_s"] == "3600"


@pytest.mark.parametrize("url", ["", "prometheus:9090", "ftp://x", "http://", "http://[", "//x"])
def test_an_address_that_is_none_is_refused(url) -> None:
    with pytest.raises(ConfigurationError, match="must be an http or https URL"):
        Prometheus(url)


def rows(**values):
    return [Series({"path": name}, (5.0,), (value,)) for name, value in values.items()]


def test_results_become_rows_as_grafana_transforms_them() -> None:
    panel = {
        "title": "t",
        "transformations": [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True},
                    "indexByName": {"path": 0},
                    "renameByName": {"Value #A": "burn", "Value #B": "left"},
                },
            },
        ],
        "options": {"sortBy": [{"displayName": "burn", "desc": True}]},
    }
    table = table_of(panel, {"A": rows(p=1.0, q=2.0, r=math.nan), "B": rows(p=0.5)})
    assert table.columns == ("path", "burn", "left")
    assert [row["path"] for row in table.rows] == ["q", "p", "r"]
    assert table.rows[1] == {"path": "p", "burn": 1.0, "left": 0.5}
    assert "left" not in table.rows[0]


def test_pairs_become_a_matrix() -> None:
    found = [Series({"a": a, "b": b}, (5.0,), (v,)) for a, b, v in (("x", "y", 1), ("y", "x", 2))]
    options = {"rowField": "a", "columnField": "b", "valueField": "Value"}
    panel = {"title": "t", "transformations": [{"id": "groupingToMatrix", "options": options}]}
    table = table_of(panel, {"A": found})
    assert table.columns == ("a\\b", "x", "y")
    assert table.rows == ({"a\\b": "x", "y": 1}, {"a\\b": "y", "x": 2})


def shown(**defaults):
    steps = [{"color": "green", "value": None}, {"color": "red", "value": 10}]
    given = {"thresholds": {"steps": steps}, **defaults}
    return Shown.of({"fieldConfig": {"defaults": given, "overrides": []}})


def test_values_have_units_colours_and_say_when_they_are_unknown() -> None:
    assert [
        write(0.0123, "s"),
        write(120, "s"),
        write(0.5, "percentunit"),
        write(12_345, "pps"),
    ] == [
        "12.3 ms",
        "2 min",
        "50 %",
        "12.3 k p/s",
    ]
    assert write(math.inf, "s") == "∞"
    assert write(0.0001234, "none") == "0.00012"
    assert shown(noValue="unknown").text(math.nan) == "unknown"
    assert shown().colour(None) is None
    assert shown().colour(9.9) != shown().colour(10)
    mapped = {"type": "value", "options": {"-1": {"text": "unknown", "color": "gray"}}}
    assert shown(mappings=[mapped]).text(-1.0) == "unknown"


def test_a_heatmap_keeps_every_packet() -> None:
    buckets = tuple(Bucket(1.1**n / 1000, 1.1 ** (n + 1) / 1000, n + 1.0) for n in range(40))
    figure = heatmap([Named("", Series({}, histograms=((2000.0, buckets),)))], (0, 4000))
    column = [(row[0] or 0) ** 2 for row in figure.data[0].z]
    assert sum(column) == pytest.approx(sum(b.count for b in buckets))
    edges = figure.data[0].y
    assert edges[0] == pytest.approx(0.001)
    assert edges[-1] == pytest.approx(buckets[-1].high)


def panel(**defaults):
    return {"fieldConfig": {"defaults": {"unit": "s", **defaults}, "overrides": []}}


def test_unknown_is_a_gap_and_names_stay_text() -> None:
    series = Named("<b>x</b>", Series({}, (0.0, 15.0, 30.0), (1.0, math.nan, 2.0)))
    figure = timeseries(panel(), [series], (0, 60), [])
    assert list(figure.data[0].y) == [1.0, None, 2.0]
    assert figure.data[0].connectgaps is False
    assert figure.data[0].name == "&lt;b&gt;x&lt;/b&gt;"


def test_states_last_until_they_change_or_end() -> None:
    series = Series({}, (0.0, 15.0, 30.0, 45.0, 300.0), (20.0, 20.0, 30.0, 30.0, 30.0))
    figure = state_timeline(panel(unit="short"), [Named("p", series)], (0, 400), 15.0)
    assert [bar.x[0] / 1e3 for bar in figure.data] == [30.0, 30.0, 15.0]


def test_marks_that_touch_are_one() -> None:
    series = Series({}, (0.0, 60.0, 120.0, 600.0), (1.0, 1.0, 1.0, 1.0))
    marks = marks_of([Named("excluded", series)], "purple", 60.0)
    assert [(mark.start_s, mark.end_s) for mark in marks] == [(0.0, 120.0), (600.0, 600.0)]
    assert Chosen().fill("$x", {}) == "$x"
