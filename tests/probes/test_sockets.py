import socket
import time

import pytest

import probes.sockets
from netslo.model import Endpoint
from probes.address import SocketAddress, resolve
from probes.sockets import open_probe_socket, open_reflector_socket, read_datagram


def pair(host: str, dscp: int = 0) -> tuple[socket.socket, socket.socket]:
    """Return a reflector's socket and a probe's that is connected to it."""
    reflector = open_reflector_socket(resolve(Endpoint(host, 0)))
    reflector.settimeout(5)  # in place of epoll
    address = SocketAddress(reflector.family, reflector.getsockname())
    return reflector, open_probe_socket(address, dscp)


def exchange(datagram: bytes, host: str = "127.0.0.1", dscp: int = 0):
    reflector, probe = pair(host, dscp)
    with reflector, probe:
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


def test_an_older_kernels_timestamps_are_read_too(monkeypatch):
    monkeypatch.setattr(probes.sockets, "_SO_TIMESTAMPNS_NEW", 9999)  # refused, as before 5.1
    before_ns, datagram, after_ns = exchange(b"test")
    assert before_ns <= datagram.received_ns <= after_ns


def test_without_kernel_timestamps_there_is_none(monkeypatch):
    monkeypatch.setattr(probes.sockets, "_SO_TIMESTAMPNS_NEW", 9999)
    monkeypatch.setattr(probes.sockets, "_SO_TIMESTAMPNS_OLD", 9998)
    assert exchange(b"test")[1].received_ns is None


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
