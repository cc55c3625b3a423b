"""Alerts begin, last and end as they should, whatever is seen and not seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slo.engine.book import Alert, AlertBook, Observation, Observed, labels_of

LABELS = labels_of(alertname="SLOBurnPage", path="a:b/ef", class_="ef")
TRUE = Observation(LABELS, Observed.TRUE, value=20.0)
UNKNOWN = Observation(LABELS, Observed.UNKNOWN)


def test_labels_are_sorted_and_without_empty_ones() -> None:
    assert labels_of(b="2", class_="x", a="1", none="") == (("a", "1"), ("b", "2"), ("class", "x"))


def test_data_that_stop_resolve_nothing_and_start_nothing() -> None:
    book = AlertBook()
    assert book.update([UNKNOWN], 0).started == ()
    assert book.update([TRUE], 10).started[0].starts_s == 10
    assert book.update([UNKNOWN], 20).ended == ()
    assert book.firing[0].unknown_since_s == 20
    book.update([UNKNOWN], 30)
    assert book.firing[0].unknown_since_s == 20
    assert book.update([TRUE], 40).started == ()  # it is the same alert
    assert book.firing[0].unknown_since_s is None
    (ended,) = book.update([], 50).ended
    assert (ended.starts_s, ended.ends_s) == (10, 50)
    assert book.firing == []


def test_what_must_last_is_told_only_when_it_has() -> None:
    book, held = AlertBook(), Observation(LABELS, Observed.TRUE, held_s=60)
    for at_s in (0, 30, 59):
        assert book.update([held], at_s).started == ()
    assert [alert.since_s for alert in book.pending] == [0]
    assert book.update([held], 60).started[0].since_s == 0
    book = AlertBook()
    book.update([held], 0)
    assert book.update([], 30).ended == ()  # nobody was told
    assert book.update([held], 60).started == ()  # it begins anew


def test_what_was_told_is_known_after_a_restart() -> None:
    book = AlertBook()
    book.update([TRUE], 10)
    again = AlertBook([Alert.from_json(alert.to_json()) for alert in book.firing])
    assert again.update([UNKNOWN], 100).started == ()
    assert again.firing[0].starts_s == 10
    assert again.update([], 110).ended[0].starts_s == 10


@given(
    st.lists(st.sampled_from([None, Observed.TRUE, Observed.UNKNOWN]), max_size=40),
    st.integers(0, 3),
)
def test_it_is_told_while_it_was_last_known_to_be_so(history, held) -> None:
    book, lasted, told = AlertBook(), None, False
    for at_s, seen in enumerate(history):
        observations = [] if seen is None else [Observation(LABELS, seen, float(held))]
        changes = book.update(observations, at_s)
        before = told
        if seen is None:
            lasted, told = None, False
        elif seen is Observed.TRUE:
            lasted = at_s if lasted is None else lasted
            told = told or at_s - lasted >= held
        elif not told:
            lasted = None
        assert bool(book.firing) == told
        assert bool(changes.started) == (told and not before)
        assert bool(changes.ended) == (before and not told)


def test_a_clock_that_is_set_back_leaves_nothing_in_the_future() -> None:
    book = AlertBook()
    seen = Observation(labels_of(alertname="a"), Observed.TRUE)
    held = Observation(labels_of(alertname="b"), Observed.TRUE, held_s=60.0)
    book.update([seen, held], 5000.0)
    book.update([seen, held], 1000.0)
    (alert,) = book.firing
    assert (alert.since_s, alert.starts_s) == (1000.0, 1000.0)
    assert [a.name for a in book.update([seen, held], 1060.0).started] == ["b"]
    (over,) = book.update([held], 1070.0).ended
    assert over.starts_s <= over.ends_s
