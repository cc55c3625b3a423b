import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.ntp import ntp_from_unix_ns, unix_ns_from_ntp, unix_ns_from_ptp

ERA_NS = 2**32 * 10**9
ERA_1_BEGINS_NS = 2_085_978_496 * 10**9  # 2036-02-07T06:28:16Z, RFC 5905 §6


@given(st.integers(0, 2**63), st.integers(-(2**60), 2**60))
def test_ntp_round_trip_keeps_the_nanosecond_in_any_era(unix_ns, offset_ns):
    assert unix_ns_from_ntp(ntp_from_unix_ns(unix_ns), near_ns=unix_ns + offset_ns) == unix_ns


@given(st.integers(0, 2**63), st.integers(-(2**60), 2**60))
def test_a_ptp_timestamp_is_found_in_any_era(unix_ns, offset_ns):
    seconds, ns = divmod(unix_ns, 10**9)
    ptp = (seconds % 2**32) << 32 | ns
    assert unix_ns_from_ptp(ptp, near_ns=unix_ns + offset_ns) == unix_ns


@pytest.mark.parametrize(
    ("unix_ns", "ntp"),
    [
        pytest.param(0, 2_208_988_800 << 32, id="the Unix epoch is 70 years after 1900"),
        pytest.param(500_000_000, 2_208_988_800 << 32 | 1 << 31, id="half a second is the top bit"),
        pytest.param(1, 2_208_988_800 << 32 | 4, id="one nanosecond is 4.29 units, rounded down"),
        pytest.param(ERA_1_BEGINS_NS, 0, id="the second era begins with zero"),
        pytest.param(
            ERA_1_BEGINS_NS - 1, 2**64 - 5, id="the first era ends with its last fraction"
        ),
    ],
)
def test_ntp_timestamps_of_known_moments(unix_ns, ntp):
    assert ntp_from_unix_ns(unix_ns) == ntp


def test_one_second_either_side_of_the_era_change_is_two_seconds():
    before, after = (
        ntp_from_unix_ns(ERA_1_BEGINS_NS - 10**9),
        ntp_from_unix_ns(ERA_1_BEGINS_NS + 10**9),
    )
    near_ns = ERA_1_BEGINS_NS
    assert (
        unix_ns_from_ntp(after, near_ns=near_ns) - unix_ns_from_ntp(before, near_ns=near_ns)
        == 2 * 10**9
    )


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**63))
def test_any_64_bits_are_a_moment_within_half_an_era(ntp, near_ns):
    assert abs(unix_ns_from_ntp(ntp, near_ns=near_ns) - near_ns) <= ERA_NS // 2 + 1


@given(st.integers(10**9, 2**32 - 1))
def test_ptp_nanoseconds_of_a_second_or_more_are_refused(ns):
    with pytest.raises(ValueError, match="must be below"):
        unix_ns_from_ptp(ns, near_ns=0)
