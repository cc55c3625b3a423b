"""Client and server over loopback; and peers that are none."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from netslo.errors import ConfigurationError, NetsloError
from netslo.model import Endpoint
from probes.address import SocketAddress
from probes.bandwidth import admission, far_test
from probes.bandwidth import server as serving
from probes.bandwidth.admission import OneAtATime, ServerLimits
from probes.bandwidth.busy import BusyError
from probes.bandwidth.client import BandwidthClient, Refused, Unreachable
from probes.bandwidth.control import Data, Greeting, Hello, Message, Tcp, read_message
from probes.bandwidth.load import NoSuchCongestionControl, Progress
from probes.bandwidth.plan import Direction
from probes.bandwidth.server import BandwidthServer
from probes.bandwidth.serving import BandwidthService

KEY, OTHER_KEY = b"0123456789abcdef", b"fedcba9876543210"
MB = 1_000_000
WAIT_S = 60.0


def until(true: Callable[[], bool]) -> None:
    """Wait for something; a busy machine gets a minute."""
    end_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end_s, "it never came to that"
        time.sleep(0.01)


@contextmanager
def running(host: str = "127.0.0.1", **options: object) -> Iterator[BandwidthServer]:
    server = BandwidthServer([Endpoint(host, 0)], **options)
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join(WAIT_S)
        assert not thread.is_alive()


def address_of(server: BandwidthServer) -> SocketAddress:
    (endpoint,) = server.endpoints
    if ":" in endpoint.host:
        return SocketAddress(socket.AF_INET6, (endpoint.host, endpoint.port, 0, 0))
    return SocketAddress(socket.AF_INET, (endpoint.host, endpoint.port))


def begun(server: BandwidthServer, key: bytes | None = None) -> BandwidthClient:
    client = BandwidthClient(address_of(server), key)
    client.begin(60, (), "test")
    return client


def connected(server: BandwidthServer) -> socket.socket:
    address = address_of(server)
    sock = socket.create_connection(address.sockaddr[:2], timeout=WAIT_S)
    sock.recv(4096)  # its greeting
    return sock


def hears(sock: socket.socket) -> dict[str, object]:
    """Return the next thing a server says; empty when it closes."""
    octets = b""
    with suppress(ConnectionResetError):
        while not octets.endswith(b"\n") and (more := sock.recv(4096)):
            octets += more
    return json.loads(octets.splitlines()[-1]) if octets else {}


def welcomed(server: BandwidthServer) -> socket.socket:
    sock = connected(server)
    sock.sendall(Hello(nonce="ab" * 16).encode())
    assert "refused" not in hears(sock)
    return sock


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("direction", list(Direction))
def test_what_one_side_carried_the_other_received(host: str, direction: Direction) -> None:
    with running(host) as server, begun(server) as client:
        progress = Progress()
        told, received = client.load(direction, 2, 30.0, 40 * MB, None, progress)
    assert told is not None
    assert received is not None
    assert told.ended_by == f"the limit of {40 * MB} octets"
    assert received.octets <= 40 * MB
    # What is on the way when it ends is broken off.
    assert 0 < told.octets <= 40 * MB
    assert progress.ended
    assert 0 < progress.octets <= 40 * MB + 1000  # and the lines before the data
    assert server.tests == 1


def test_a_load_ends_by_time_and_has_a_figure() -> None:
    with running() as server, begun(server) as client:
        told, received = client.load(Direction.REVERSE, 1, 2.0, 30_000 * MB, "reno", Progress())
    assert told is not None
    assert received is not None
    assert told.ended_by == "time"
    assert told.congestion == "reno"
    assert told.goodput_bit_per_s is not None
    assert told.goodput_bit_per_s == pytest.approx(received.octets * 8 / received.seconds, rel=0.8)


def test_the_server_sends_no_faster_than_it_may() -> None:
    limits = ServerLimits(bit_per_s=20e6, seconds=10)
    with running(limits=limits) as server, begun(server) as client:
        with_limit, _ = client.load(Direction.REVERSE, 2, 3.0, 20 * MB, None, Progress())
        assert with_limit is not None
        assert with_limit.octets * 8 / 3.0 < 20e6 * 1.2
        with pytest.raises(Refused, match="carries at most 25000000 octets here"):
            client.load(Direction.REVERSE, 1, 3.0, 26 * MB, None, Progress())
    assert server.discarded[admission.BEYOND] == 1


@pytest.mark.parametrize("direction", list(Direction))
def test_trains_over_loopback_arrive_and_are_the_senders_own_rate(direction: Direction) -> None:
    with running() as server, begun(server) as client:
        found = client.trains(direction, 5, 60)
    assert found.sent == 300
    assert found.arrived > 0
    # Loopback has no narrowest link: either the sender was the limit, or this machine stalled.
    assert found.bit_per_s is None or found.bit_per_s > 1e7


def test_congestion_controls_that_are_not_there_are_said() -> None:
    here = pytest.raises(NoSuchCongestionControl, match="nosuch")
    with running() as server, begun(server) as client, here:
        client.load(Direction.FORWARD, 1, 1.0, MB, "nosuch", Progress())
    with running() as server, begun(server) as client, pytest.raises(Refused, match="nosuch"):
        client.load(Direction.REVERSE, 1, 1.0, MB, "nosuch", Progress())
    assert server.discarded == {admission.UNABLE: 1}


def test_one_test_at_a_time() -> None:
    with running() as server:
        with begun(server), BandwidthClient(address_of(server)) as other:
            with pytest.raises(BusyError) as busy:
                other.begin(10, (), "other")
            assert "test tests here" in str(busy.value)
            assert busy.value.retry_after_s is not None
            assert 0 < busy.value.retry_after_s <= 60
            assert server.testing == "test"
        until(lambda: server.testing is None)
        begun(server).close()
    assert server.discarded == {admission.BUSY: 1}


def test_a_client_that_dies_frees_the_server() -> None:
    with running() as server:
        client = begun(server)
        thread = threading.Thread(
            target=_load_to_the_end, args=(client, Direction.REVERSE), daemon=True
        )
        thread.start()
        until(lambda: server.testing == "test")
        client._lines.sock.shutdown(socket.SHUT_RDWR)
        until(lambda: server.testing is None)
        thread.join(WAIT_S)
        client.close()


def _load_to_the_end(client: BandwidthClient, direction: Direction) -> None:
    with suppress(NetsloError):
        client.load(direction, 1, 25.0, 30_000 * MB, None, Progress())


def test_a_lease_that_is_not_released_ends() -> None:
    leases = OneAtATime()
    first = leases.grant((), 0.05, "a")
    until(lambda: _granted(leases))
    first.release()  # too late: it takes nobody else's away
    with pytest.raises(BusyError, match="b tests here"):
        leases.grant((), 1, "c")


def _granted(leases: OneAtATime) -> bool:
    with suppress(BusyError):
        leases.grant((), 60, "b")
        return True
    return False


def test_a_key_is_proved_by_both_sides() -> None:
    with running(key=KEY) as server:
        begun(server, KEY).close()
        with pytest.raises(Refused, match="wants a key"):
            BandwidthClient(address_of(server))
        with pytest.raises(Refused, match="the key is wrong"):
            BandwidthClient(address_of(server), OTHER_KEY)
        assert server.discarded[admission.UNPROVEN] == 1
    with running() as server, pytest.raises(Refused, match="does not have the key"):
        BandwidthClient(address_of(server), KEY)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", admission.GARBLED),
        (b"\n", admission.GARBLED),
        (b"\0" * 100_000, admission.GARBLED),
        (b"[" * 4000 + b"\n", admission.GARBLED),
        (Hello(nonce="ab" * 16).encode() + b'{"op":"ping"}\n', admission.OUT_OF_TURN),
        (Hello(nonce="ab" * 16).encode() + b'{"op":"go"}\n', admission.OUT_OF_TURN),
        (Hello(nonce="ab" * 16).encode() + Data(token="cd" * 16).encode(), admission.STRANGER),
    ],
)
def test_strangers_are_refused_and_counted(said: bytes, reason: str) -> None:
    with running() as server, connected(server) as sock:
        with suppress(OSError):
            sock.sendall(said)
        until(lambda: server.discarded[reason] == 1)
        begun(server).close()
        assert server.discarded == {reason: 1}


def test_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_HANDSHAKE_S", 0.2)
    with running() as server, connected(server) as sock:
        assert "too slow" in str(hears(sock))
    assert server.discarded == {admission.SLOW: 1}


def test_more_connections_than_allowed_are_closed_and_counted() -> None:
    limits = ServerLimits(connections=5, by_host=3)
    with running(limits=limits) as server, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connected(server))
        (endpoint,) = server.endpoints
        for _ in range(4):
            with socket.create_connection((endpoint.host, endpoint.port), timeout=WAIT_S) as sock:
                assert not hears(sock)
        assert server.discarded == {admission.CROWDED: 4}
    with running(limits=limits) as server:
        begun(server).close()  # and the places are free again afterwards


REQUESTS_OUT_OF_TURN = [
    b'{"op":"heard"}',
    b'{"op":"train","direction":"reverse","number":1,"packets":60,"payload":1472}',
    b'{"op":"collected"}',
    b'{"op":"go"}',
    b'{"op":"result"}',
    b'{"op":"begin","seconds":1,"holder":"me"}',
    b'{"op":"data","token":"' + b"a" * 32 + b'"}',
]


@pytest.mark.parametrize("request_line", REQUESTS_OUT_OF_TURN)
def test_requests_out_of_turn_end_the_test(request_line: bytes) -> None:
    with running() as server, welcomed(server) as sock:
        sock.sendall(b'{"op":"begin","seconds":9,"holder":"me"}\n')
        assert hears(sock) == {"done": True}
        sock.sendall(request_line + b"\n")
        assert "refused" in hears(sock)
        assert not hears(sock)
        until(lambda: server.testing is None)
        assert server.discarded == {admission.OUT_OF_TURN: 1}


def test_trains_go_to_nobody_who_did_not_send_the_token_from_the_clients_address() -> None:
    with running() as server, welcomed(server) as sock:
        sock.sendall(b'{"op":"begin","seconds":30,"holder":"me"}\n')
        hears(sock)
        sock.sendall(b'{"op":"udp"}\n')
        opened = hears(sock)
        token, port = bytes.fromhex(str(opened["token"])), int(str(opened["port"]))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.bind(("127.0.0.2", 0))
            elsewhere.sendto(token, ("127.0.0.1", port))  # the token, from another host
            elsewhere.sendto(bytes(16), ("127.0.0.1", port))
            sock.sendall(b'{"op":"heard"}\n')
            assert hears(sock) == {"heard": False}
            sock.sendall(
                b'{"op":"train","direction":"reverse","number":1,"packets":60,"payload":1472}\n'
            )
            assert "only where the token came from" in str(hears(sock))
            elsewhere.settimeout(0.2)
            with pytest.raises(TimeoutError):
                elsewhere.recv(2000)


def test_a_connection_for_data_must_know_the_token_and_come_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(far_test, "_GATHER_S", 0.2)
    with running() as server, welcomed(server) as sock:
        sock.sendall(b'{"op":"begin","seconds":30,"holder":"me"}\n')
        hears(sock)
        asked = Tcp(direction=Direction.REVERSE, streams=2, seconds=1, octets=MB)
        sock.sendall(asked.encode())
        token = str(hears(sock)["token"])
        with welcomed(server) as data, welcomed(server) as stranger:
            data.sendall(Data(token=token).encode())
            assert hears(data) == {"done": True}
            stranger.sendall(Data(token="00" * 16).encode())
            assert "no test" in str(hears(stranger))
            sock.sendall(b'{"op":"go"}\n')
            assert "1 of 2 connections came" in str(hears(sock))
            assert not hears(data)


def test_limits_of_time_are_kept() -> None:
    with running(limits=ServerLimits(seconds=2)) as server:
        with begun(server) as client, pytest.raises(Refused, match="at most 2 s here"):
            client.load(Direction.FORWARD, 1, 3.0, MB, None, Progress())
        until(lambda: server.testing is None)
        beyond = pytest.raises(Refused, match="a test takes at most")
        with BandwidthClient(address_of(server)) as client, beyond:
            client.begin(3600, (), "me")
    assert server.discarded == {admission.BEYOND: 2}


def test_a_test_that_overstays_its_lease_is_ended() -> None:
    with running() as server:
        client = BandwidthClient(address_of(server))
        client.begin(0.3, (), "me")
        until(lambda: server.testing is None)
        with pytest.raises(NetsloError):
            client.ping()
        client.close()
    assert server.discarded == {admission.SLOW: 1}


@contextmanager
def false_server(*lines: bytes) -> Iterator[SocketAddress]:
    """Serve one connection that says this, whatever it hears."""

    def serve() -> None:
        with suppress(OSError):
            sock, _ = listening.accept()
            with sock:
                for line in lines:
                    sock.sendall(line)
                while sock.recv(4096):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield SocketAddress(socket.AF_INET, listening.getsockname())
        thread.join(WAIT_S)


GREETING = Greeting(nonce="ab" * 16, keyed=False).encode()


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"{}\n",
        b"x" * 200_000,
        GREETING + b'{"stamp_port":70000}\n',
        GREETING + b"\n",
    ],
)
def test_a_server_that_is_none_is_told_from_one(said: bytes) -> None:
    with false_server(said) as address, pytest.raises(Refused, match="no bandwidth server of"):
        BandwidthClient(address)


def test_nobody_there_is_said_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = SocketAddress(socket.AF_INET, free.getsockname())
    with pytest.raises(Unreachable, match="netslo reflect --bandwidth"):
        BandwidthClient(address)


def test_a_service_needs_a_port_that_stamp_does_not_have() -> None:
    service = BandwidthService([Endpoint("127.0.0.1", 8620)], ServerLimits())
    with pytest.raises(ConfigurationError, match="answers STAMP already"):
        service.begin(None, [Endpoint("127.0.0.1", 8620)])


@pytest.mark.parametrize(
    ("host", "why"),
    [("no-such-host.invalid", r"no-such-host\.invalid:0: "), ("192.0.2.9", "not one of this host")],
)
def test_a_service_says_at_once_where_it_cannot_be(host: str, why: str) -> None:
    service = BandwidthService([Endpoint(host, 0)], ServerLimits())
    with pytest.raises(ConfigurationError, match=f"cannot answer bandwidth tests on .*{why}"):
        service.bind()
    service.end()


def test_a_service_that_is_bound_serves_nobody_before_it_begins_and_lets_go() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service = BandwidthService([Endpoint("127.0.0.1", port)], ServerLimits())
    service.bind()
    with socket.create_connection(("127.0.0.1", port)) as waiting:
        waiting.settimeout(0.2)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
    service.end()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_service_takes_another_key_without_a_stop() -> None:
    service = BandwidthService([Endpoint("127.0.0.1", 0)], ServerLimits())
    (endpoint,) = service.begin(KEY, [Endpoint("127.0.0.1", 862)])
    address = SocketAddress(socket.AF_INET, (endpoint.host, endpoint.port))
    try:
        with BandwidthClient(address, KEY) as client:
            assert client.stamp_port == 862
        service.take_key(OTHER_KEY)
        BandwidthClient(address, OTHER_KEY).close()
        with pytest.raises(Refused):
            BandwidthClient(address, KEY)
        service.check()
        assert service.tests == 0
    finally:
        service.end()


def test_messages_have_no_line_end_inside() -> None:
    assert read_message(Hello(nonce="ab" * 16).encode(), Hello).nonce == "ab" * 16
    assert issubclass(Hello, Message)


class Losing:
    """Leases that cannot be kept, as those of a host that stood still; or cannot be had."""

    id = None

    def __init__(self, failure: NetsloError | None = None) -> None:
        self.usable = True
        self.released = False
        self._failure = failure

    def grant(self, names: tuple[str, ...], seconds: float, holder: str) -> Losing:
        if self._failure is not None:
            raise self._failure
        return self

    def release(self) -> None:
        self.released = True


@pytest.mark.parametrize("direction", list(Direction))
def test_a_test_ends_when_the_servers_lease_cannot_be_kept(direction: Direction) -> None:
    leases = Losing()
    limits = ServerLimits(bit_per_s=80e6 if direction is Direction.REVERSE else 10e9)
    with running(leases=leases, limits=limits) as server, begun(server) as client:
        progress = Progress()

        def lose() -> None:
            until(lambda: progress.octets > 0)
            leases.usable = False

        losing = threading.Thread(target=lose)
        losing.start()
        with pytest.raises(NetsloError):
            client.load(direction, 2, 25.0, limits.octets, None, progress)
        losing.join(WAIT_S)
        until(lambda: leases.released)
    assert server.discarded == {admission.LOST: 1}


def test_a_lease_that_cannot_be_had_is_said_without_this_hosts_trouble() -> None:
    failure = NetsloError("/var/lib/netslo/leases.json: cannot be written: No space left on device")
    with running(leases=Losing(failure)) as server:
        client = BandwidthClient(address_of(server))
        with client, pytest.raises(Refused) as refused:
            client.begin(60, (), "test")
    assert "no lease can be given here" in str(refused.value)
    assert "/var" not in str(refused.value)
    assert server.discarded == {admission.UNABLE: 1}


def test_time_is_over_for_requests_that_came_before_it_was_too() -> None:
    with running() as server:
        sock = welcomed(server)
        begin = b'{"op":"begin","seconds":0.5,"holder":"me"}\n'
        sock.sendall(begin + b'{"op":"udp"}\n' + b'{"op":"heard"}\n' * 100)
        until(lambda: server.testing is None and server.tests == 1)
        assert server.discarded == {admission.SLOW: 1}
        sock.close()


def test_what_a_server_says_does_nothing_to_a_terminal() -> None:
    said = b'{"refused":"\\u001b[2J\\u0007gone\\nnetslo: all is well"}\n'
    with false_server(said) as address, pytest.raises(Refused) as refused:
        BandwidthClient(address)
    assert str(refused.value).isprintable()
    assert "gone" in str(refused.value)
