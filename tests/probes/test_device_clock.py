"""A device's own clock: when its stamps are used, and that they come out as Unix time.

No machine of ours has such a card: the clocks of the kernel, which can be read in the same way,
stand in for it, and ancillary data as Documentation/networking/timestamping.rst lays them out.
"""

from __future__ import annotations

import logging
import socket
import struct
import time
from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import device_clock
from probes.device_clock import (
    ADD,
    ASK,
    DEVICE,
    HARDWARE_FLAGS,
    DeviceClock,
    DeviceUse,
    Reading,
    choose,
    read_clock,
    use_device_clock,
)
from probes.interfaces import Interface, Timestamping
from probes.timestamps import enable_timestamps, read_transmitted, stamp_of

S = 1_000_000_000
CARD = Interface(
    "eth1",
    up=True,
    link=True,
    loopback=False,
    mtu=1500,
    driver="igb",
    timestamping=Timestamping(True, True, True, True, 0, ("off", "on"), ("none", "all")),
    device_stamps=True,
)


def three(software_ns: int, device_ns: int) -> bytes:
    """Return a `struct scm_timestamping64`."""
    return struct.pack("=6q", *divmod(software_ns, S), 0, 0, *divmod(device_ns, S))


def test_the_distance_of_two_clocks_of_the_kernel_is_found():
    before = time.time_ns() - time.monotonic_ns()
    found = read_clock(time.CLOCK_MONOTONIC)
    assert found.span_ns >= 0
    assert abs(found.offset_ns - before) < S  # but for steps, which chrony may make
    again = read_clock(time.CLOCK_REALTIME)
    assert abs(again.offset_ns) <= again.span_ns / 2 + 1


def test_a_clock_that_keeps_pace_is_used_and_one_that_does_not_is_not():
    shared = array("q", [0, 0])
    readings = [
        Reading(37 * S, 900, 0),
        Reading(37 * S + 400, 900, S),  # 0.4 us/s
        Reading(37 * S + 12_400, 900, 2 * S),  # 12 us/s
        Reading(99 * S, 40_000, 3 * S),  # interrupted: says nothing
        Reading(37 * S + 13_000, 900, 4 * S),
        Reading(38 * S, 900, 5 * S),  # a step
        Reading(38 * S, 900, 6 * S),
    ]
    clock = DeviceClock(iter(readings).__next__, shared)
    assert "keep pace" in clock.look()  # one reading says nothing of the pace
    assert shared[ASK] == 0
    assert clock.look() == ""
    assert list(shared) == [HARDWARE_FLAGS, 37 * S + 400]
    assert "keep pace" in clock.look()
    assert shared[ASK] == 0
    assert "keep pace" in clock.look()
    assert clock.look() == ""
    assert shared[ADD] == 37 * S + 13_000
    assert "keep pace" in clock.look()
    assert clock.look() == ""
    assert shared[ADD] == 38 * S


def test_a_last_good_reading_does_not_do_for_ever():
    shared = array("q", [0, 0])
    quick = [Reading(5, 100, turn * S) for turn in range(2)]
    interrupted = [Reading(5, 90_000, turn * S) for turn in range(2, 8)]
    clock = DeviceClock(iter([*quick, *interrupted]).__next__, shared)
    reasons = [clock.look() for _ in range(8)]
    assert [not reason for reason in reasons] == [False, *[True] * 6, False]
    assert shared[ASK] == 0


def test_a_card_that_is_pulled_out_is_no_longer_used_and_that_is_said(monkeypatch, caplog):
    class Over(Exception):
        pass

    def read(turns=iter(range(9))):
        turn = next(turns)
        if turn == 2:
            raise OSError(19, "No such device")
        return Reading(5, 100, turn * S)

    waits = iter(range(3))

    def sleep(seconds):
        assert seconds == 1
        if next(waits, None) is None:
            raise Over

    shared = array("q", [0, 0])
    clock = DeviceClock(read, shared)
    clock.look()
    assert clock.look() == ""
    monkeypatch.setattr(device_clock.time, "sleep", sleep)
    with caplog.at_level(logging.WARNING), pytest.raises(Over):
        clock.follow("eth1")
    assert [record.getMessage() for record in caplog.records] == [
        "timestamps of eth1: its clock cannot be read: No such device",
        "timestamps of eth1: its clock is used again",
    ]
    assert shared[ASK] == HARDWARE_FLAGS


def test_one_clock_that_stamps_every_packet_is_chosen():
    plain = replace(CARD, name="eth0", timestamping=None, device_stamps=False)
    port = replace(CARD, name="eth2")  # of the same card
    assert choose([]) == choose([plain]) == ((), DeviceUse(None, used=False))
    assert choose([plain, CARD]) == ([CARD], DeviceUse("eth1", used=True))
    assert choose([CARD, port])[1] == DeviceUse("eth1, eth2", used=True)


def test_why_a_clock_is_not_used_is_said():
    [chosen, off] = choose([replace(CARD, device_stamps=False)])
    assert not chosen
    assert (off.interface, off.used) == ("eth1", False)
    assert off.mend == "hwstamp_ctl -i eth1 -t 1 -r 1"
    other = replace(CARD, name="eth2", timestamping=replace(CARD.timestamping, phc_index=1))
    [chosen, two] = choose([CARD, other])
    assert not chosen
    assert "several clocks" in two.reason
    ptp = replace(other, device_stamps=False, device_busy=True)  # its packets, too, may be ours
    assert "several clocks" in choose([CARD, ptp])[1].reason
    assert choose([replace(CARD, up=False)])[1].interface is None


def test_a_clock_that_may_not_be_opened_is_said(monkeypatch):
    monkeypatch.setattr(device_clock, "list_interfaces", lambda: [CARD])

    def refuse(path, flags):
        assert path == "/dev/ptp0"
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(device_clock.os, "open", refuse)
    use = use_device_clock.__wrapped__()
    assert use.reason == "/dev/ptp0 cannot be opened: Permission denied"
    assert "udev" in use.mend
    assert DEVICE[ASK] == 0


@pytest.mark.usefixtures("device_stamps_used")
def test_a_clock_that_can_be_opened_is_used_from_the_first_packet_on(monkeypatch, tmp_path):
    (tmp_path / "ptp0").touch()
    opened, real = [], device_clock.os.open
    monkeypatch.setattr(device_clock, "list_interfaces", lambda: [CARD])
    monkeypatch.setattr(
        device_clock.os,
        "open",
        lambda path, flags: opened.append(path) or real(tmp_path / "ptp0", flags),
    )
    # By its number a clock of a file is no other than that of a card; here there is none.
    monkeypatch.setattr(device_clock, "clock_of", lambda descriptor: time.CLOCK_REALTIME)
    monkeypatch.setattr(DeviceClock, "follow", lambda clock, name: None)
    assert use_device_clock.__wrapped__() == DeviceUse("eth1", used=True)
    assert opened == ["/dev/ptp0"]
    assert DEVICE[ASK] == HARDWARE_FLAGS
    assert abs(DEVICE[ADD]) < S


def test_the_number_of_a_clock_is_that_of_the_kernel():
    assert device_clock.clock_of(3) == -29  # FD_TO_CLOCKID(3)


@given(st.integers(1, 1 << 61), st.integers(1, 1 << 61))
def test_without_a_device_the_kernels_stamp_counts(software_ns, device_ns):
    assert stamp_of(three(software_ns, device_ns)) == software_ns
    assert stamp_of(three(0, device_ns)) == 0  # of a clock of which nothing is known


@pytest.mark.usefixtures("device_stamps_used")
def test_the_devices_stamp_counts_where_there_is_one():
    assert stamp_of(three(100 * S, 137 * S - 800)) == 100 * S - 800
    assert stamp_of(three(0, 137 * S)) == 100 * S  # what leaves has one of the two
    assert stamp_of(three(100 * S, 0)) == 100 * S  # the device had its hands full
    assert stamp_of(struct.pack("=2q", 100, 5)) == 100 * S + 5  # SO_TIMESTAMPNS


@pytest.mark.usefixtures("device_stamps_used")
def test_the_compiled_loop_reads_them_likewise():
    libc = pytest.importorskip("probes._kernels.libc")
    cases = [
        three(100 * S, 137 * S - 800),
        three(0, 137 * S),
        three(100 * S, 0),
        struct.pack("=2q", 100, 5),
    ]
    for used in (True, False):
        DEVICE[ASK] = HARDWARE_FLAGS if used else 0
        messages = libc.new_messages(1, 64)
        for value in cases:
            octets = struct.pack("=Qii", 16 + len(value), socket.SOL_SOCKET, 65) + value
            messages.control[0, : len(octets)] = list(octets)
            messages.headers[0, libc.CONTROL_LENGTH] = len(octets)
            assert libc.said(messages, 0).stamp_ns == stamp_of(value)


@pytest.mark.usefixtures("device_stamps_used")
def test_a_packet_that_no_device_stamps_has_the_kernels_own_stamp():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
    ):
        far.bind(("127.0.0.1", 0))
        near.setblocking(False)
        assert enable_timestamps(near, transmit=True)
        flags = near.getsockopt(socket.SOL_SOCKET, 65)
        assert flags & HARDWARE_FLAGS == HARDWARE_FLAGS
        began_ns = time.time_ns()
        near.sendto(b"netslo", far.getsockname())
        far.recv(64)
        [(number, stamp_ns)] = list(read_transmitted(near))
    assert number == 0
    assert began_ns <= stamp_ns <= time.time_ns()
