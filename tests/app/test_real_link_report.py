"""What the demo says of its real link: from the store of a run, held against its token buckets."""

from __future__ import annotations

import dataclasses
import pathlib
from contextlib import closing

import pytest
from some_routes import batch_of, make_change, make_loaded, make_reading, make_seen
from some_windows import T0, make_window

from analytics.store.sqlite import SqliteStore
from analytics.windows import CAPACITY_TEST, CountKey
from netslo import metrics
from netslo.app.incident import Incident
from netslo.app.lab.findings import read_findings, spoilt_windows, true_bit_s
from netslo.app.lab.real_link import (
    RealLink,
    carried_path,
    plan_capacity_tests,
    with_its_capacity,
)
from netslo.app.lab.report import change_line, lab_lines, lab_state, no_lab_state
from netslo.config.estate_file import load_estate
from netslo.model import Endpoint, Path, Window

UK = pathlib.Path(__file__).parents[2] / "examples" / "uk"
PATH = Path("london", "edinburgh", "be")
OTHER = Path("london", "edinburgh", "ef")
BEFORE = ("10.1.0.1", "10.2.1.2", "10.2.2.1", "10.4.0.2")
AFTER = ("10.1.0.1", "10.3.1.2", "10.3.2.2", "10.3.3.1", "10.4.0.2")
FAILED_S, MENDED_S = T0 + 60.0, T0 + 120.0


@pytest.fixture
def store(tmp_path):
    with closing(SqliteStore.open(tmp_path / "store.sqlite")) as store:
        yield store


def keep(store, *told, windows=()) -> None:
    store.append(batch_of(*told, windows=windows), T0 + 200)


def a_link(failed_s=FAILED_S, mended_s=MENDED_S) -> RealLink:
    return RealLink(PATH, None, Endpoint("10.4.0.2", 862), failed_s, mended_s)


def state_of(store, link=None):
    """Return as much of a demo's final state as the lines are made of."""
    link = link or a_link()
    rtt = {"quantiles": {"0.5": {"value": 6e-5}, "0.99": {"value": 1.1e-4}}}
    found = read_findings(store, PATH, T0)
    return {"lab": lab_state(link, found), "paths": [{"path": PATH.id, "rtt": rtt}]}


def test_everything_that_was_found_is_told_once_and_of_no_other_path(store) -> None:
    keep(
        store,
        make_seen(T0 + 5, PATH, hops=BEFORE),
        make_change(T0 + 63, PATH, before=BEFORE, hops=AFTER),
        make_change(T0 + 64, OTHER, before=BEFORE, hops=AFTER),
        make_reading(T0 + 30, 47.9e6, PATH, method="tcp"),
        make_reading(T0 + 30, 49.5e6, PATH, method="train"),
        make_reading(T0 + 100, 19.2e6, PATH, method="tcp"),
        make_reading(T0 + 30, 1e6, OTHER),
        *(
            make_loaded(T0 + 30, value, state, q, path=PATH, method="tcp")
            for state, q, value in (
                ("idle", "0.5", 6e-5),
                ("idle", "0.99", 1e-4),
                ("loaded", "0.5", 0.016),
                ("loaded", "0.99", 0.031),
            )
        ),
    )
    state = state_of(store)
    lab = state["lab"]
    assert lab["change_seen_after"] == 3
    assert [change["after"]["hops"] for change in lab["route_changes"]] == [list(AFTER)]
    assert [route["hops"] for route in lab["routes"]] == [list(AFTER)]
    assert len(lab["bandwidth"]) == 3
    assert len(lab["loaded_rtt"]) == 4
    assert list(lab_lines(state)) == [
        f"Real link under {PATH} (50 Mbit/s or 20 Mbit/s): p50 0.06 ms, p99 0.11 ms.",
        "  forward by tcp: 47.90 Mbit/s, +0.17% of what the token bucket lets through",
        "  forward by train: 49.50 Mbit/s, -0.08% of what the token bucket lets through",
        "  forward by tcp: 19.20 Mbit/s, +0.38% of what the token bucket lets through",
        "  forward, p50 and p99 in ms: idle 0.06 and 0.10, loaded 16.00 and 31.00",
        (
            f"  its better branch failed; 3 s later it was seen to go by {', '.join(AFTER[:-1])} "
            f"instead of {', '.join(BEFORE[:-1])}"
        ),
    ]


def test_what_was_not_found_is_null_and_said_to_be_missing(store) -> None:
    state = state_of(store)
    assert state["lab"]["change_seen_after"] is None
    assert state["lab"]["bandwidth"] == []
    assert list(lab_lines(state))[1:] == [
        "  its capacity was not tested",
        "  its better branch failed; no change of its route was seen",
    ]
    assert len(list(lab_lines(state_of(store, a_link(None, None))))) == 2


def test_a_test_that_failed_is_said(store) -> None:
    link = a_link(None, None)
    link.failures.append("it is busy")
    assert list(lab_lines(state_of(store, link)))[1:] == ["  a capacity test failed: it is busy"]


def test_without_a_link_the_same_keys_are_null(store) -> None:
    state = {"lab": no_lab_state("no root"), "paths": []}
    assert state["lab"].keys() == state_of(store)["lab"].keys()
    assert {value for key, value in state["lab"].items() if key != "lack"} == {None}
    assert list(lab_lines(state)) == ["Real link: not shown: no root"]


@pytest.mark.parametrize(
    ("ended_s", "method", "expected"),
    [
        (T0 + 30, "train", 50e6 * 1500 / 1514),
        (T0 + 30, "tcp", 50e6 * 1448 / 1514),
        (T0 + 65, "tcp", None),  # it failed meanwhile
        (T0 + 100, "tcp", 20e6 * 1448 / 1514),
        (T0 + 125, "tcp", None),  # it was mended meanwhile
        (T0 + 140, "train", 50e6 * 1500 / 1514),
    ],
)
def test_the_truth_is_that_of_the_branch_which_was_tested(ended_s, method, expected) -> None:
    reading = make_reading(ended_s, path=PATH, method=method)
    assert true_bit_s(reading, FAILED_S, MENDED_S) == (expected and pytest.approx(expected))


def test_the_truth_is_that_of_the_better_branch_while_nothing_failed() -> None:
    reading = make_reading(T0 + 100, path=PATH)
    assert true_bit_s(reading, None, None) == pytest.approx(50e6 * 1500 / 1514)
    assert true_bit_s(make_loaded(T0 + 100, path=PATH), None, None) is None


def test_only_the_first_change_after_the_failure_counts(store) -> None:
    keep(
        store,
        make_change(T0 + 20, PATH, before=AFTER, hops=BEFORE),
        make_change(T0 + 122, PATH, before=AFTER, hops=BEFORE),
        make_change(T0 + 62, PATH, before=BEFORE, hops=AFTER),
    )
    found = read_findings(store, PATH, T0)
    assert [each.seen_ns // 10**9 - T0 for each in found.changes] == [20, 62, 122]
    change = found.first_change(FAILED_S, MENDED_S)
    assert change_line(change, FAILED_S) == f"{PATH} takes another way: seen after 2 s"
    assert found.first_change(None, None) is None
    assert found.first_change(FAILED_S + 5, MENDED_S) is None  # what was seen then is the return


def test_windows_that_a_test_spoilt_are_known(store) -> None:
    windows = [make_window(T0 + at, path) for path, at in ((PATH, 0), (PATH, 10), (OTHER, 20))]
    for window in windows[1:]:
        window.counts[CountKey(metrics.SET_ASIDE, CAPACITY_TEST)] = 5
        window.packets.unmeasured += 5
    keep(store, windows=windows)
    assert spoilt_windows(store, PATH, T0 + 3) == {Window(T0 + 10)}


def test_tests_are_before_and_within_the_incident() -> None:
    before_s, within_s = plan_capacity_tests(Incident(OTHER, FAILED_S, MENDED_S), float(T0))
    assert T0 < before_s < FAILED_S - 15
    assert FAILED_S < within_s < MENDED_S - 15
    assert plan_capacity_tests(Incident(OTHER, FAILED_S, FAILED_S + 10), float(T0)) == []


def test_the_estate_knows_what_the_link_really_carries() -> None:
    estate = load_estate(UK)
    assert carried_path(estate) == PATH
    changed = with_its_capacity(estate)
    capacities = {frozenset((x.a, x.b)): x.capacity_bits_per_second for x in changed.links}
    assert capacities.pop(frozenset(("london", "edinburgh"))) == 50e6
    kept = {frozenset((x.a, x.b)): x.capacity_bits_per_second for x in estate.links}
    assert capacities.items() <= kept.items()
    assert dataclasses.replace(changed, links=estate.links) == estate
