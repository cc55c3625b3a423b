"""The reflector on loopback, against a sender written from the RFC with `struct` alone."""

import errno
import socket
import struct
import threading
import time
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netslo.errors import ConfigurationError, NetsloError
from netslo.model import Endpoint
from probes.cli import reflect
from probes.reflector import ReflectorServer, _advice

V4, V6 = Endpoint("127.0.0.1", 0), Endpoint("::1", 0)
NTP_1970 = 2_208_988_800


@contextmanager
def running(*endpoints: Endpoint, stateful=True):
    server, stop = ReflectorServer(endpoints, stateful=stateful), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def udp(family=socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(60)
    return sock


def ntp_now() -> int:
    seconds, ns = divmod(time.time_ns(), 10**9)
    return (seconds + NTP_1970) << 32 | (ns << 32) // 10**9


def make_request(seq: int) -> bytes:
    return struct.pack("!IQHH28x", seq, ntp_now(), 0x8001, 77)


@pytest.fixture(params=[V4, V6], ids=["IPv4", "IPv6"])
def peer(request):
    """A running server and a sender's socket connected to it."""
    with running(request.param) as server:
        (endpoint,) = server.endpoints
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        with udp(family) as sock:
            sock.connect((endpoint.host, endpoint.port))
            yield server, sock


def test_a_sender_that_is_not_ours_gets_its_answers(peer):
    _, sock = peer
    for seq in range(3):
        request = make_request(seq + 100)
        sock.send(request)
        reply = sock.recv(2000)
        t4 = ntp_now()
        assert len(reply) == 44
        own_seq, t3, error, ssid, t2, sender_seq, t1, sender_error = struct.unpack_from(
            "!IQHHQIQH", reply
        )
        assert (own_seq, sender_seq, ssid) == (seq, seq + 100, 77)
        assert (struct.pack("!Q", t1), sender_error) == (request[4:12], 0x8001)
        assert t1 <= t2 <= t3 <= t4
        assert error & 0xFF != 0  # multiplier 0 would be invalid


def test_the_ttl_and_the_dscp_of_the_request_come_back(peer):
    _, sock = peer
    if sock.family == socket.AF_INET:
        level, hops, dscp, told = socket.IPPROTO_IP, socket.IP_TTL, socket.IP_TOS, 13
    else:
        level, hops = socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS
        dscp, told = socket.IPV6_TCLASS, socket.IPV6_RECVTCLASS
    sock.setsockopt(level, hops, 77)
    sock.setsockopt(level, dscp, 46 << 2 | 1)
    sock.setsockopt(level, told, 1)
    sock.send(make_request(1))
    reply, ancillary, _, _ = sock.recvmsg(2000, 100)
    assert reply[40] == 77
    ((_, _, octets),) = ancillary
    assert octets[0] == 46 << 2  # ECN is not copied


def test_a_stateless_reflector_repeats_the_senders_numbers():
    with running(V4, stateful=False) as server, udp() as sock:
        sock.sendto(make_request(41), ("127.0.0.1", server.endpoints[0].port))
        assert struct.unpack_from("!I", sock.recv(2000)) == (41,)


def test_one_server_answers_for_many_sites():
    with running(*[V4] * 9) as server, udp() as sock:
        assert len({endpoint.port for endpoint in server.endpoints}) == 9
        for seq, endpoint in enumerate(server.endpoints):
            sock.sendto(make_request(seq), (endpoint.host, endpoint.port))
            _, source = sock.recvfrom(2000)
            assert source == (endpoint.host, endpoint.port)


def test_bound_to_every_address_it_answers_from_the_one_that_was_asked():
    with udp() as probe:
        try:
            probe.bind(("127.0.0.2", 0))
        except OSError:
            pytest.skip("this host has only one loopback address")
    with running(Endpoint("0.0.0.0", 0)) as server, udp() as sock:
        port = server.endpoints[0].port
        sock.bind(("127.0.0.1", 0))
        sock.sendto(make_request(1), ("127.0.0.2", port))
        assert sock.recvfrom(2000)[1] == ("127.0.0.2", port)


@pytest.mark.parametrize("size", [14, 41, 44, 200, 9000])
def test_padding_is_mirrored(size):
    datagram = make_request(5).ljust(size, b"\xaa")[:size]
    with running(V4) as server, udp() as sock:
        sock.sendto(datagram, ("127.0.0.1", server.endpoints[0].port))
        reply = sock.recv(10_000)
    assert len(reply) == max(41, size)
    assert reply[44:] == datagram[44:]


def test_garbage_is_counted_and_answered_by_nothing_that_matters():
    with running(V4) as server, udp() as sock:
        sock.connect(("127.0.0.1", server.endpoints[0].port))

        @settings(max_examples=60, suppress_health_check=list(HealthCheck))
        @given(st.binary(max_size=13) | st.integers(9001, 9100).map(bytes))
        def refused(datagram):
            before = server.discarded.total()
            sock.send(datagram)
            sock.send(make_request(1))
            assert len(sock.recv(2000)) == 44  # only the good one is answered
            assert server.discarded.total() == before + 1

        refused()
        assert set(server.discarded) == {
            "shorter than a TWAMP or STAMP request",
            "longer than any test packet",
        }


def test_two_reflectors_made_to_talk_to_each_other_stop_at_the_first_reply():
    with running(V4) as server:
        (b,) = server.endpoints
        now = ntp_now()
        reply_of_a = struct.pack("!IQHHQ20x", 0, now, 1, 0, now - 5000)
        with udp() as sock:
            sock.sendto(reply_of_a, (b.host, b.port))
            sock.sendto(make_request(1), (b.host, b.port))
            assert struct.unpack_from("!24xI", sock.recv(100)) == (1,)
        assert server.discarded == {"a reflector's reply": 1}


def test_a_reply_to_a_port_that_closed_does_no_harm():
    with running(V4) as server:
        address = ("127.0.0.1", server.endpoints[0].port)
        for seq in range(20):
            with udp() as sock:
                sock.sendto(make_request(seq), address)
        with udp() as sock:
            sock.sendto(make_request(1), address)
            assert len(sock.recv(100)) == 44


class TestAnAddressThatCannotBeListenedOn:
    def test_because_it_is_taken_says_so_and_leaks_no_socket(self):
        with (
            ReflectorServer([V4]) as server,
            pytest.raises(NetsloError, match=r"cannot listen on 127\.0\.0\.1.*taken") as refused,
        ):
            ReflectorServer([V4, *server.endpoints])
        assert refused.value.exit_code == 1

    def test_because_the_name_is_none_is_a_configuration_error(self):
        with pytest.raises(ConfigurationError, match=r"cannot listen on a\.\.b:862"):
            ReflectorServer([Endpoint("a..b", 862)])

    def test_because_it_is_another_hosts_says_so(self):
        with pytest.raises(NetsloError, match="not one of this host"):
            ReflectorServer([Endpoint("192.0.2.1", 18620)])

    def test_because_the_rate_is_no_number_says_so(self):
        result = CliRunner().invoke(reflect, ["--listen", "127.0.0.1:0", "--rate", "nan"])
        assert result.exit_code == 2
        assert "--rate" in result.output
        assert "nan" in result.output

    def test_because_the_port_is_privileged_says_what_to_do(self):
        advice = _advice(PermissionError(errno.EACCES, "Permission denied"), Endpoint("::", 862))
        assert "CAP_NET_BIND_SERVICE" in advice
        assert "port 862" in advice
