from __future__ import annotations

import json
import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netslo.errors import ConfigurationError, NetsloError
from netslo.model import Path
from slo.exclusion import (
    Covers,
    Exclusion,
    ExclusionKind,
    clip,
    excluded_times,
    is_excluded,
    merge,
    remaining,
)
from slo.exclusion_log import (
    Revocation,
    append_to_log,
    load_exclusions,
    parse_time,
    read_log,
    to_json,
)

T0 = 1_800_000_000
NORTH, SOUTH = Path("london", "leeds", "ef"), Path("leeds", "london", "be")
OTHER = Path("london", "reading", "ef")


def make(start_s=T0, end_s=T0 + 600, declared_s=T0 - 3600, name="x1", **covers):
    return Exclusion(name, start_s, end_s, "alice", "CHG-1", declared_s, Covers(**covers))


MADE = make(slos=frozenset({"loss"}), paths=frozenset({NORTH}), sites=frozenset({"leeds"}))


def test_what_is_declared_before_it_begins_is_planned_and_else_retroactive():
    assert make().kind is ExclusionKind.PLANNED
    assert make(declared_s=T0).kind is ExclusionKind.PLANNED
    assert make(declared_s=T0 + 1).kind is ExclusionKind.RETROACTIVE


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"end_s": T0}, "later than start"),
        ({"start_s": T0 + 10}, "start must be a time in whole 5 minutes"),
        ({"end_s": T0 + 610}, "end must be"),
        ({"start_s": -10}, "start must be"),
        ({"name": ""}, "id must not"),
    ],
)
def test_an_exclusion_that_makes_no_sense_is_refused(change, text):
    with pytest.raises(ValueError, match=text):
        make(**change)


@pytest.mark.parametrize(
    ("covers", "slo", "path", "expected"),
    [
        ({}, "loss", NORTH, True),
        ({"slos": frozenset({"loss"})}, "loss", NORTH, True),
        ({"slos": frozenset({"loss"})}, "fast", NORTH, False),
        ({"sites": frozenset({"leeds"})}, "loss", NORTH, True),
        ({"sites": frozenset({"leeds"})}, "loss", SOUTH, True),
        ({"sites": frozenset({"leeds"})}, "loss", OTHER, False),
        ({"paths": frozenset({NORTH})}, "loss", SOUTH, False),
        ({"paths": frozenset({NORTH}), "slos": frozenset({"loss"})}, "fast", NORTH, False),
    ],
)
def test_every_given_field_must_match(covers, slo, path, expected):
    exclusion = make(**covers)
    assert is_excluded([exclusion], slo, path, T0) is expected
    assert bool(excluded_times([exclusion], slo, path)) is expected


def test_the_end_is_outside():
    assert is_excluded([make()], "loss", NORTH, T0 + 599.9)
    assert not is_excluded([make()], "loss", NORTH, T0 + 600)
    assert not is_excluded([make()], "loss", NORTH, T0 - 0.1)


INTERVALS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda t: (t[0], t[0] + t[1])),
    max_size=8,
)


@given(INTERVALS, st.integers(0, 60), st.integers(0, 60))
def test_merging_clipping_and_what_remains_agree_with_sets_of_seconds(intervals, a, b):
    seconds = {s for low, high in intervals for s in range(low, high)}
    merged = merge(intervals)
    assert [s for low, high in merged for s in range(low, high)] == sorted(seconds)
    assert all(before[1] < after[0] for before, after in pairwise(merged))
    inside = set(range(a, b))
    assert {s for low, high in clip(merged, a, b) for s in range(low, high)} == seconds & inside
    left = remaining(merged, a, b)
    assert [s for low, high in left for s in range(low, high)] == sorted(inside - seconds)


def test_the_log_gives_back_what_was_appended(tmp_path):
    file = tmp_path / "data" / "exclusions.jsonl"
    assert load_exclusions(file) == ()
    later = make(name="x2", start_s=T0 + 600, end_s=T0 + 1200)
    append_to_log(file, MADE)
    append_to_log(file, later)
    assert read_log(file) == (MADE, later)
    revoked = Revocation("x1", "bob", "put off", T0)
    append_to_log(file, revoked)
    assert read_log(file) == (MADE, later, revoked)
    assert load_exclusions(file) == (later,)
    assert len(file.read_text().splitlines()) == 3


def test_a_line_is_what_a_person_expects():
    assert to_json(MADE) == {
        "id": "x1",
        "start": "2027-01-15T08:00:00Z",
        "end": "2027-01-15T08:10:00Z",
        "declared": "2027-01-15T07:00:00Z",
        "author": "alice",
        "reason": "CHG-1",
        "slos": ["loss"],
        "paths": ["london:leeds/ef"],
        "sites": ["leeds"],
    }


def test_a_line_of_a_killed_writer_spoils_no_later_one(tmp_path):
    file = tmp_path / "exclusions.jsonl"
    file.write_text('{"id": "x0", "sta')
    append_to_log(file, MADE)
    with pytest.raises(ConfigurationError) as caught:
        read_log(file)
    assert [problem.line for problem in caught.value.problems] == [1]


LINE = to_json(MADE)
BAD_LINES = {
    "no JSON": ("{", "", "is no JSON"),
    "a list": ("[1]", "", "must be an object"),
    "unknown field": (json.dumps(LINE | {"until": 1}), "until", "no known field"),
    "no zone": (json.dumps(LINE | {"end": "2027-01-15T08:10:00"}), "end", "offset"),
    "fraction of a second": (json.dumps(LINE | {"end": "2027-01-15T08:10:00.5Z"}), "end", "time"),
    "end before start": (json.dumps(LINE | {"end": "2027-01-15T07:00:00Z"}), "", "later than"),
    "no author": (json.dumps({k: v for k, v in LINE.items() if k != "author"}), "author", "miss"),
    "empty reason": (json.dumps(LINE | {"reason": " "}), "reason", "must be text"),
    "long reason": (json.dumps(LINE | {"reason": "x" * 501}), "reason", "at most 500"),
    "no path": (json.dumps(LINE | {"paths": ["leeds"]}), "paths", "src:dst/class"),
    "paths of numbers": (json.dumps(LINE | {"paths": [1]}), "paths", "list of names"),
    "empty list": (json.dumps(LINE | {"sites": []}), "sites", "leave it out"),
    "same id": (f"{json.dumps(LINE)}\n{json.dumps(LINE)}", "id", "earlier line"),
    "revokes nothing": (
        json.dumps(
            {"revokes": "x9", "declared": LINE["declared"], "author": "a", "reason": "r"}
        ),
        "revokes",
        "earlier line",
    ),
    "revokes with more": (json.dumps({"revokes": "x9", "id": "x"}), "id", "no known field"),
    "nested too deeply": ("[" * 100_000, "", "is no JSON"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "field", "expected"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_fault_is_named_with_its_line(tmp_path, text, field, expected):
    file = tmp_path / "exclusions.jsonl"
    file.write_text("\n" + text + "\n")
    with pytest.raises(ConfigurationError) as caught:
        read_log(file)
    found = [p for p in caught.value.problems if p.field == field and expected in p.expected]
    assert found, caught.value.problems
    assert found[0].line == 2 + text.count("\n")


@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda b: b.decode("latin1")))
def test_whatever_stands_in_a_log_is_read_or_refused(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / "any.jsonl"
    file.write_text(text, errors="replace")
    refused = None
    try:
        read_log(file)
    except ConfigurationError as error:
        refused = error
    assert refused is None or refused.problems


def test_a_log_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(NetsloError, match="cannot be written"):
        append_to_log(tmp_path, MADE)


def test_a_line_that_a_full_disk_has_room_for_only_in_part_is_taken_away(tmp_path, monkeypatch):
    file, write = tmp_path / "exclusions.jsonl", os.write
    append_to_log(file, MADE)
    monkeypatch.setattr(os, "write", lambda descriptor, octets: write(descriptor, octets[:20]))
    with pytest.raises(NetsloError, match="No space left"):
        append_to_log(file, make(name="x2"))
    assert read_log(file) == (MADE,)


@pytest.mark.parametrize(
    ("text", "unix_s"),
    [("2027-01-15T08:00:00Z", T0), ("2027-01-15T09:00:00+01:00", T0)],
)
def test_times_are_moments_whatever_their_offset(text, unix_s):
    assert parse_time(text) == unix_s
