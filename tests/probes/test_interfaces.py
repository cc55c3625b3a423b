"""What interfaces can do, against ethtool and the kernel's own files, and structures by hand."""

import pathlib
import re
import shutil
import socket
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.fixtures import pair

from probes import interfaces
from probes.interfaces import (
    DRIVER,
    GET_DRIVER,
    GET_TIMESTAMPING,
    TIMESTAMPING,
    Interface,
    list_interfaces,
    parse_driver,
    parse_timestamping,
    read_interface,
)

__all__ = ["pair"]  # a fixture

FILES = pathlib.Path("/sys/class/net")
ETHTOOL = shutil.which("ethtool") or shutil.which("ethtool", path="/usr/sbin:/sbin")


def stamps_by_ethtool(name: str) -> dict[str, object]:
    """Return what `ethtool -T` says, in our words; in full as of ethtool 6.1."""
    done = subprocess.run([ETHTOOL, "-T", name], capture_output=True, text=True, check=True)
    words = set(re.findall(r"^\s+([a-z-]+)", done.stdout, flags=re.MULTILINE))
    clock = re.search(r"(?:PTP Hardware Clock|provider index): (\S+)", done.stdout)
    raw, system = "hardware-raw-clock" in words, "software-system-clock" in words
    return {
        "software_transmit": system and "software-transmit" in words,
        "software_receive": system and "software-receive" in words,
        "hardware_transmit": raw and "hardware-transmit" in words,
        "hardware_receive": raw and "hardware-receive" in words,
        "phc_index": int(clock[1]) if clock is not None and clock[1].isdigit() else None,
    }


def kernel_says(interface: Interface) -> None:
    """Compare with the files of sysfs."""
    folder = FILES / interface.name
    flags = int((folder / "flags").read_text(), 16)
    assert interface.up == bool(flags & 1)
    assert interface.loopback == bool(flags & 8)
    assert interface.mtu == int((folder / "mtu").read_text())


def test_every_interface_is_as_ethtool_and_the_kernel_have_it() -> None:
    before = {name for _, name in socket.if_nameindex()}
    found = {interface.name: interface for interface in list_interfaces()}
    after = {name for _, name in socket.if_nameindex()}
    assert before & after <= found.keys() <= before | after
    assert found["lo"].loopback
    # Wires of other tests and of containers come and go meanwhile.
    found = {name: each for name, each in found.items() if each.driver != "veth"}
    for interface in found.values():
        kernel_says(interface)
    if ETHTOOL is None:
        pytest.skip("ethtool is not installed (apt-get install ethtool); the rest was compared")
    for name, interface in found.items():
        assert interface.timestamping is not None
        shape = interface.timestamping.to_json()
        said = stamps_by_ethtool(name)
        assert {key: shape[key] for key in said} == said


def test_an_interface_of_a_namespace_is_seen_from_within_only(pair) -> None:
    with pair.a.namespace.inside():
        [wire] = [each for each in list_interfaces() if not each.loopback]
        assert (wire.up, wire.link, wire.driver) == (True, True, "veth")
        assert wire.timestamping.software
        assert not wire.timestamping.hardware
        name = wire.name
        pair.a.namespace.ip("link", "set", name, "down", "mtu", "1280")
        down = read_interface(name)
    assert (down.up, down.link, down.mtu) == (False, False, 1280)
    if name not in {each for _, each in socket.if_nameindex()}:
        assert read_interface(name) is None


@pytest.mark.parametrize("name", ["", "no-such", "x" * 16, "a\0b", "../lo", "é" * 8], ids=repr)
def test_a_name_of_none_is_none(name) -> None:
    assert read_interface(name) is None


def test_a_sandbox_that_lets_nothing_be_asked_has_no_interfaces(monkeypatch) -> None:
    def refuse(*_arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(interfaces.fcntl, "ioctl", refuse)
    assert list_interfaces() == []
    monkeypatch.setattr(interfaces.socket, "if_nameindex", refuse)
    assert list_interfaces() == []


def ts_info(flags: int, clock: int = -1, transmit: int = 0, receive: int = 0) -> bytes:
    """Return a `struct ethtool_ts_info` as linux/ethtool.h lays it out."""
    head = struct.pack("=IIi", GET_TIMESTAMPING, flags, clock)
    return head + struct.pack("=4I4I", transmit, 0, 0, 0, receive, 0, 0, 0)


def test_a_card_with_a_clock_of_its_own() -> None:
    # Intel i210 by `ethtool -T`: all capabilities, /dev/ptp0, "off on", "none all".
    card = parse_timestamping(ts_info(0b1011111, 0, 0b11, 0b11))
    assert card.hardware
    assert card.software
    assert card.phc_index == 0
    assert card.transmit_types == ("off", "on")
    assert card.receive_filters == ("none", "all")


@pytest.mark.parametrize(
    ("octets", "software", "hardware"),
    [
        (ts_info(0b11010), True, False),
        (ts_info(0b01010), False, False),
        (ts_info(0b10010), False, False),
        (ts_info(0b1000101, 1, 0b11, 0b11), False, True),
        (ts_info(0b0000101, 1, 0b11, 0b11), False, False),
        (ts_info(0b1000101, 1, 0b11, 1 | 1 << 12), False, False),
        (ts_info(0b1000101, 1, 0b01, 0b11), False, False),
    ],
    ids=[
        "software",
        "no system clock behind it",
        "what leaves only",
        "hardware",
        "stamps that nobody hands over",
        "PTP only",
        "what leaves is never stamped",
    ],
)
def test_half_of_it_is_nothing(octets, software, hardware) -> None:
    found = parse_timestamping(octets)
    assert (found.software, found.hardware) == (software, hardware)


@given(st.binary(max_size=2 * TIMESTAMPING.size))
def test_other_octets_are_a_value_error_or_are_read(octets) -> None:
    for request, parse in ((GET_TIMESTAMPING, parse_timestamping), (GET_DRIVER, parse_driver)):
        try:
            parse(octets)
        except ValueError:
            assert len(octets) < TIMESTAMPING.size or octets[:4] != struct.pack("=I", request)
        parse(struct.pack("=I", request) + octets.ljust(DRIVER.size, b"\0"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [(b"igb", "igb"), (b"", None), (b"a\x1b[2Jb", None), (b"\xff" * 32, "�" * 32), (b"v\0x", "v")],
)
def test_a_drivers_name_is_fit_for_a_terminal(name, expected) -> None:
    octets = struct.pack("=I32s", GET_DRIVER, name).ljust(DRIVER.size, b"\0")
    assert parse_driver(octets) == expected


def test_the_json_has_a_stable_shape() -> None:
    shape = Interface("e", True, False, False, None, None, None).to_json()
    assert shape == {
        "name": "e",
        "up": True,
        "link": False,
        "loopback": False,
        "mtu": None,
        "driver": None,
        "timestamping": None,
        "device_stamps": False,
    }
