"""The control channel's lines: what is read, what is refused, who proves what."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.bandwidth.control import (
    REQUEST_MAX,
    Arrivals,
    Begin,
    Garbled,
    Hello,
    LineBuffer,
    LineTooLong,
    Refusal,
    Tcp,
    TcpResult,
    TrainAsked,
    Welcome,
    prove,
    proves,
    read_message,
    read_refusal,
    read_request,
)
from probes.bandwidth.plan import Direction

KEY, NONCE, OTHER = b"0123456789abcdef", "ab" * 16, "cd" * 16


def test_a_request_comes_out_as_it_went_in() -> None:
    for request in (
        Begin(seconds=30.0, names=("leeds--london",), holder="me"),
        TrainAsked(direction=Direction.REVERSE, number=3, packets=60, payload=1472),
        Tcp(direction=Direction.FORWARD, streams=4, seconds=10, octets=10**9, congestion="bbr"),
    ):
        line = request.encode()
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert read_request(line[:-1]) == request


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET / HTTP/1.1",
        b"{}",
        b"[]",
        b'{"op":"nothing"}',
        b'{"op":"begin","seconds":1e9,"holder":"me"}',
        b'{"op":"begin","seconds":NaN,"holder":"me"}',
        b'{"op":"begin","seconds":3,"holder":""}',
        b'{"op":"tcp","direction":"up","streams":1,"seconds":1,"octets":1}',
        b'{"op":"tcp","direction":"forward","streams":999,"seconds":1,"octets":1}',
        b'{"op":"tcp","direction":"forward","streams":1,"seconds":1e400,"octets":1}',
        b'{"op":"tcp","direction":"forward","streams":1,"seconds":1,"octets":1,"congestion":"a b"}',
        b'{"op":"train","direction":"reverse","number":1,"packets":100000,"payload":1472}',
        b'{"op":"train","direction":"reverse","number":1,"packets":60,"payload":65000}',
        b'{"op":"data","token":"' + b"a" * 33 + b'"}',
        b"[" * 4000,
        b'{"op":' * 600,
        b"\xff\xfe",
    ],
)
def test_what_is_out_of_bounds_is_garbled_and_says_so_shortly(line: bytes) -> None:
    with pytest.raises(Garbled) as fault:
        read_request(line)
    assert 0 < len(str(fault.value)) <= 200


@given(st.binary(max_size=REQUEST_MAX))
def test_any_octets_are_a_request_or_garbled(line: bytes) -> None:
    try:
        read_request(line)
    except Garbled:
        return
    json.loads(line)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=10), inner),
        max_leaves=20,
    )
)
def test_any_json_from_a_server_is_a_message_or_garbled(value: object) -> None:
    line = json.dumps({"arrivals": value, "throughput": value, "received": value}).encode()
    for kind in (Arrivals, TcpResult):
        try:
            read_message(line, kind)
        except Garbled:
            continue
    read_refusal(line)


def test_a_refusal_is_no_welcome() -> None:
    line = Refusal(refused="no", busy=True, retry_after=3.0).encode()
    found = read_refusal(line)
    assert found is not None
    assert (found.busy, found.retry_after) == (True, 3.0)
    assert read_refusal(Welcome().encode()) is None


@given(st.lists(st.binary(max_size=50), max_size=30))
def test_lines_come_out_whole_however_they_are_cut(parts: list[bytes]) -> None:
    buffer, whole, found = LineBuffer(10_000), b"".join(parts), []
    for part in parts:
        buffer.feed(part)
        while (line := buffer.take()) is not None:
            found.append(line)
    *lines, rest = whole.split(b"\n")
    assert found == lines
    assert buffer.rest() == rest


def test_a_line_without_end_is_not_waited_for() -> None:
    buffer = LineBuffer(100)
    buffer.feed(b"a" * 99)
    with pytest.raises(LineTooLong):
        buffer.feed(b"a" * 60)


def test_a_proof_is_good_for_one_side_and_one_conversation() -> None:
    proof = prove(KEY, "client", NONCE, OTHER)
    assert proves(proof, KEY, "client", NONCE, OTHER)
    assert not proves(proof, KEY, "server", NONCE, OTHER)  # reflected
    assert not proves(proof, KEY, "client", OTHER, NONCE)  # replayed
    assert not proves(proof, KEY + b"0", "client", NONCE, OTHER)
    assert not proves(None, KEY, "client", NONCE, OTHER)
    with pytest.raises(Garbled):
        read_message(b'{"nonce":"' + NONCE.encode() + b'","proof":"x"}', Hello)


@pytest.mark.parametrize(
    "arrivals", ["[[0,1" + "0" * 400 + "]]", "[[-1,0]]", "[[200,0]]", "[[0,1.5]]", "[[0]]"]
)
def test_arrivals_that_cannot_be_are_garbled(arrivals: str) -> None:
    with pytest.raises(Garbled):
        read_message(f'{{"arrivals":{arrivals}}}'.encode(), Arrivals)


def test_names_are_printable() -> None:
    with pytest.raises(Garbled, match="printable"):
        read_request(b'{"op":"begin","seconds":1,"holder":"\\u001b[2J"}')
