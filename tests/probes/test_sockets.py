import socket
import time

import pytest

import probes.timestamps
from netslo.model import Endpoint
from probes.address import SocketAddress, resolve
from probes.sockets import open_probe_socket, open_reflector_socket, read_datagram
from probes.timestamps import (
    enable_timestamps,
    keep_stamping,
    number_from_zero,
    read_transmitted,
)


@pytest.fixture(autouse=True)
def the_kernel_stamps():
    assert keep_stamping()


def pair(host: str, dscp: int = 0) -> tuple[socket.socket, socket.socket]:
    """Return a reflector's socket and a probe's that is connected to it."""
    reflector = open_reflector_socket(resolve(Endpoint(host, 0)))
    reflector.settimeout(60)  # in place of epoll
    address = SocketAddress(reflector.family, reflector.getsockname())
    return reflector, open_probe_socket(address, dscp)


def exchange(datagram: bytes, host: str = "127.0.0.1", dscp: int = 0):
    reflector, probe = pair(host, dscp)
    with reflector, probe:
        enable_timestamps(reflector)
        before_ns = time.time_ns()
        probe.send(datagram)
        received = read_datagram(reflector)
        return before_ns, received, time.time_ns()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_says_when_and_with_what_ttl_class_and_address_a_datagram_came(host):
    before_ns, datagram, after_ns = exchange(b"test", host, dscp=46)
    assert datagram.data == b"test"
    assert before_ns <= datagram.received_ns <= after_ns
    assert (datagram.ttl, datagram.traffic_class) == (255, 46 << 2)
    assert socket.inet_ntop(resolve(Endpoint(host, 0)).family, datagram.local) == host
    assert not datagram.truncated


def test_without_the_newer_option_there_are_receive_timestamps_only(monkeypatch):
    monkeypatch.setattr(probes.timestamps, "_SO_TIMESTAMPING_NEW", 9999)
    before_ns, datagram, after_ns = exchange(b"test")
    assert before_ns <= datagram.received_ns <= after_ns
    reflector, probe = pair("127.0.0.1")
    with reflector, probe:
        assert not enable_timestamps(probe, transmit=True)


def test_without_kernel_timestamps_there_is_none(monkeypatch):
    for option in ("_SO_TIMESTAMPING_NEW", "_SO_TIMESTAMPNS_NEW"):
        monkeypatch.setattr(probes.timestamps, option, 9999)
    assert exchange(b"test")[1].received_ns is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_says_when_each_datagram_left(host):
    reflector, probe = pair(host)
    with reflector, probe:
        assert enable_timestamps(probe, transmit=True)
        assert enable_timestamps(reflector, transmit=True)
        before_ns = time.time_ns()
        for _ in range(3):
            probe.send(b"test")
        stamps = dict(read_transmitted(probe))
        assert list(stamps) == [0, 1, 2]
        came = [read_datagram(reflector).received_ns for _ in range(3)]
        order = [
            before_ns,
            *(ns for pair in zip(stamps.values(), came, strict=True) for ns in pair),
        ]
        assert order == sorted(order)
        number_from_zero(probe)
        probe.send(b"test")
        assert [number for number, _ in read_transmitted(probe)] == [0]
        assert not list(read_transmitted(probe))


def test_a_kernel_that_begins_to_stamp_late_is_waited_for(monkeypatch):
    stamps = iter([False, True, False, *[True] * 100])
    monkeypatch.setattr(probes.timestamps, "_stamps_now", lambda sock: next(stamps))
    assert keep_stamping.__wrapped__()
    assert len(list(stamps)) < 100  # the first that came were not believed to stay


def test_a_kernel_that_stamps_nothing_is_not_waited_for_long(monkeypatch):
    for option in ("_SO_TIMESTAMPING_NEW", "_SO_TIMESTAMPNS_NEW"):
        monkeypatch.setattr(probes.timestamps, option, 9999)
    monkeypatch.setattr(probes.timestamps, "_BEGIN_S", 0.01)
    assert not keep_stamping.__wrapped__()


def test_a_host_that_refuses_sockets_stamps_nothing(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(socket, "socket", refuse)
    assert not keep_stamping.__wrapped__()


@pytest.mark.parametrize(("size", "truncated"), [(9000, False), (9001, True)])
def test_a_datagram_longer_than_any_test_packet_is_known_as_such(size, truncated):
    _, datagram, _ = exchange(bytes(size))
    assert (len(datagram.data), datagram.truncated) == (9000, truncated)


def test_an_empty_socket_has_no_datagram_and_does_not_block():
    reflector, probe = pair("127.0.0.1")
    with reflector, probe:
        assert read_datagram(probe) is None


def test_a_target_without_a_route_is_an_os_error_and_leaks_no_socket():
    with pytest.raises(OSError, match=r"denied|unreachable"):
        open_probe_socket(SocketAddress(socket.AF_INET, ("255.255.255.255", 1)), 0)
