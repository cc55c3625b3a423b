"""The vocabulary and the units people write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netslo.model import NS_PER_S, Path, SloThreshold, Window, is_name
from netslo.units import (
    format_duration,
    format_ms,
    format_percent,
    format_rate,
    parse_duration,
    parse_rate,
)

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)


@given(NAMES, NAMES, NAMES)
def test_a_path_reads_back_from_its_id(src, dst, traffic_class) -> None:
    path = Path(src, dst, traffic_class)
    assert Path.parse(path.id) == path
    assert path.reverse.reverse == path


@pytest.mark.parametrize(
    "text", ["", "a", "a:b", "a/b", ":b/c", "a:b/", "A:b/c", "a:b/c;d", "a b:c/d"]
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="src:dst/class"):
        Path.parse(text)


@given(st.integers(0, 2**62), st.sampled_from([10, 60, 300]))
def test_a_window_holds_its_instants_and_is_aligned(unix_ns, length_s) -> None:
    window = Window.containing(unix_ns, length_s)
    assert window.start_s * NS_PER_S <= unix_ns < window.end_s * NS_PER_S
    assert window.start_s % length_s == 0


def test_a_threshold_is_inclusive_and_loss_has_none() -> None:
    assert SloThreshold("x", 0.009).is_good(0.009)
    assert not SloThreshold("x", 0.009).is_good(0.0090000001)
    assert SloThreshold("x", None).is_good(99.0)


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "a" * 64, "a\n", "é"])
def test_what_is_no_name_is_none(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("5m", 300), ("1.5s", 1.5), ("28d", 2419200), ("1w", 604800)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


def test_durations_end_where_nanoseconds_do() -> None:
    assert parse_duration("1000000000s") == 1e9
    for text in ("1000000001s", "11575d", "9" * 400 + "s"):
        with pytest.raises(ValueError, match="longer than 31 years"):
            parse_duration(text)


@pytest.mark.parametrize("text", ["", "5", "-5s", "0s", "5 parsecs", "s", "1e3s", "5m "[:-1] + "x"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["5m", "30m", "1h", "6h", "1d", "28d", "10s"])
def test_a_duration_is_written_as_it_was_read(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize(
    ("text", "rate"), [("10Gbit/s", 1e10), ("2.5Mbit/s", 2.5e6), ("64 kbit/s", 64e3), ("1bit/s", 1)]
)
def test_rates_are_read_in_decimal_prefixes(text: str, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate)
    assert parse_rate(format_rate(rate)) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["10", "10GB", "0bit/s", "-1bit/s", "Gbit/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        parse_rate(text)


def test_what_cannot_be_said_is_a_dash_and_never_zero() -> None:
    assert format_ms(None) == format_percent(None) == format_ms(float("nan")) == "-"
    assert format_ms(float("inf")) == "inf"
    assert format_ms(0.01234) == "12.34"
    assert format_ms(-1e-9) == "0.00"
    assert format_percent(0.5) == "50.00 %"
