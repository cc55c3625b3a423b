"""Spellings of streams: what one reader has found out, the others know."""

from __future__ import annotations

import pytest
from some_windows import PATHS, make_batch, make_window

from analytics import _kernels, spellings
from analytics.otlp import encode_batch
from analytics.otlp import frames as module
from analytics.otlp.frames import FrameReader
from analytics.spellings import Spellings
from analytics.streams import Streams

needs_kernels = pytest.mark.skipif(not _kernels.load(), reason="numba is not installed")


def test_a_spelling_is_of_one_metric_and_begins_anew_when_there_are_too_many(monkeypatch) -> None:
    monkeypatch.setattr(spellings, "_SPELLINGS_MAX", 2)
    known = Spellings()
    known.note("a", b"bc", 1)
    known.note("ab", b"c", 2)
    assert (known.find("a", b"bc"), known.find("ab", b"c"), known.find("a", b"c")) == (1, 2, None)
    known.note("a", b"c", 3)
    assert (len(known), known.find("a", b"bc"), known.find("a", b"c")) == (1, None, 3)


@needs_kernels
def test_what_one_reader_spelt_the_next_need_not_read(monkeypatch) -> None:
    streams, read = Streams(), []
    plainly = module.read_subject
    monkeypatch.setattr(module, "read_subject", lambda *a: read.append(a) or plainly(*a))
    body = encode_batch(make_batch(make_window(path=PATHS[0]), make_window(path=PATHS[1])))
    frames = []
    for _ in range(2):
        received = FrameReader(streams, lambda *_: True).read(body)
        assert received is not None
        frames.append(received.frame.windows(streams))
    assert frames[0] == frames[1]
    assert len(read) == len(streams) == len(streams.spellings)


@needs_kernels
def test_a_reader_that_may_not_speak_of_a_stream_may_not_for_another_having_spelt_it() -> None:
    streams = Streams()
    body = encode_batch(make_batch(make_window(path=PATHS[0])))
    assert FrameReader(streams, lambda *_: True).read(body) is not None
    assert FrameReader(streams, lambda *_: False).read(body) is None


@needs_kernels
def test_what_is_refused_gets_no_number_and_no_spelling() -> None:
    streams = Streams()
    body = encode_batch(make_batch(make_window(path=PATHS[0])))
    assert FrameReader(streams, lambda *_: False).read(body) is None
    assert (len(streams), len(streams.spellings)) == (0, 0)
