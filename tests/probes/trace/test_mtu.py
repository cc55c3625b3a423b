"""The search of the path MTU over links that a test makes up."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probes.trace.mtu import STEP, TRIES, MtuSearch


@dataclass
class Link:
    mtu: int
    tells: bool = True


def run(search: MtuSearch, links: list[Link], *, answers: bool = True, lie: int = 0) -> int:
    """Search to the end; return how many packets that took."""
    sent = 0
    while (size := search.size) is not None:
        sent += 1
        assert sent < 500
        narrow = next((link for link in links if link.mtu < size), None)
        if narrow is None and answers:
            search.passed(size)
        elif narrow is None or not narrow.tells:
            search.silent(size)
        else:
            search.too_big(size, lie or narrow.mtu, "10.0.0.1")
    return sent


def test_a_path_as_wide_as_its_first_link_takes_one_packet() -> None:
    search = MtuSearch(576, 1500)
    assert run(search, [Link(9000)]) == 1
    assert (search.mtu, search.black_hole, search.told_by) == (1500, False, None)


def test_routers_that_tell_are_followed_from_link_to_link() -> None:
    search = MtuSearch(576, 9000)
    assert run(search, [Link(4000), Link(1480), Link(1412)]) == 4
    assert (search.mtu, search.black_hole, search.told_by) == (1412, False, "10.0.0.1")


def test_a_router_that_says_nothing_is_a_black_hole() -> None:
    search = MtuSearch(1280, 1500)
    run(search, [Link(1400, tells=False)])
    assert (search.mtu, search.black_hole) == (1400, True)


def test_a_silent_target_is_no_black_hole() -> None:
    search = MtuSearch(576, 1500)
    assert run(search, [], answers=False) == 2 * TRIES
    assert (search.mtu, search.black_hole) == (None, False)


@pytest.mark.parametrize("lie", [1500, 1501, 65_535, 600])
def test_a_router_that_lies_does_not_lead_astray_for_long(lie: int) -> None:
    search = MtuSearch(576, 1500)
    sent = run(search, [Link(1400)], lie=lie)
    assert sent < 30
    assert search.mtu is not None
    assert search.mtu <= 1400


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    high=st.sampled_from([1500, 9000, 65_535]),
    low=st.sampled_from([576, 1280]),
    links=st.lists(st.builds(Link, st.integers(1280, 9100), st.booleans()), max_size=6),
)
def test_what_is_found_is_what_the_narrowest_link_lets_pass(
    high: int, low: int, links: list[Link]
) -> None:
    search = MtuSearch(low, high)
    run(search, links)
    truth = min([high, *(link.mtu for link in links)])
    assert search.mtu is not None
    assert truth - STEP < search.mtu <= truth
    if all(link.tells for link in links):
        assert search.mtu == truth
        assert not search.black_hole
