"""The demo's real link: routers of this kernel, a way out, the truth, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
from contextlib import suppress

import numpy as np
import pytest
from own_networks import NO_RIGHTS, have_names, held_by, require_networks, who_holds
from processes import wait_gone
from scapy.layers.inet import IP, UDP

from netslo.app.lab import namespaces
from netslo.app.lab.courier import carrying, listen
from netslo.app.lab.namespaces import Namespaces, NoNamespaces
from netslo.app.lab.network import FAR, FAR_ADDRESS, FAR_DEVICE, NEAR, NEAR_DEVICE, Network
from netslo.app.lab.taps import Taps, open_tap
from netslo.model import Endpoint, Window
from probes.stamp.packet import PORT, REPLY, REQUEST

PRIMARY = ["10.1.0.1", "10.2.1.2", "10.2.2.1", FAR_ADDRESS]
BACKUP = ["10.1.0.1", "10.3.1.2", "10.3.2.2", "10.3.3.1", FAR_ADDRESS]


@pytest.fixture
def network():
    require_networks()
    with Namespaces() as spaces:
        yield Network(spaces)


def hops(network) -> list[str]:
    """Trace by the plainest means: UDP of a growing TTL, and who complains."""

    def sockets():
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        errors = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        errors.settimeout(10)
        return out, errors

    found: list[str] = []
    out, errors = network.inside(NEAR, sockets)
    with out, errors:
        while FAR_ADDRESS not in found and len(found) < 9:
            out.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, len(found) + 1)
            out.sendto(b"?", (FAR_ADDRESS, 33434))
            try:
                found.append(errors.recvfrom(512)[1][0])
            except TimeoutError:  # lost where the way just changes
                found.append("*")
    return found


def until(condition, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_better_branch_is_taken_while_it_works(network) -> None:
    until(lambda: hops(network) == PRIMARY)
    network.break_primary()
    until(lambda: hops(network) == BACKUP)
    network.mend_primary()
    until(lambda: hops(network) == PRIMARY)


@pytest.mark.quiet
@pytest.mark.parametrize(("works", "rate_bit_s"), [(True, 50e6), (False, 20e6)])
def test_a_branch_carries_what_its_bucket_lets_through(network, works, rate_bit_s) -> None:
    if not works:
        network.break_primary()
    sender, receiver = _udp_pair(network)
    with sender, receiver:
        for _ in range(200):  # about as long as the queue
            sender.sendto(bytes(1472), (FAR_ADDRESS, 5000))
        times_s = []
        receiver.settimeout(1)
        with pytest.raises(TimeoutError):
            while True:
                _, controls, *_ = receiver.recvmsg(2000, 64)
                seconds, nanoseconds = struct.unpack("@qq", controls[0][2][:16])
                times_s.append(seconds + nanoseconds / 1e9)
    gaps_s = np.diff(times_s[20:])  # behind the burst; some of the rest were dropped
    assert len(gaps_s) > 30
    assert 1514 * 8 / np.median(gaps_s) == pytest.approx(rate_bit_s, rel=0.05)


def _udp_pair(network):
    def receiver():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, 64, 1)  # SO_TIMESTAMPNS_NEW
        sock.bind((FAR_ADDRESS, 5000))
        return sock

    def sender():
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    return network.inside(NEAR, sender), network.inside(FAR, receiver)


def own_network() -> str:
    return str(pathlib.Path("/proc/thread-self/ns/net").readlink())


def test_other_threads_stay_where_they_are(network) -> None:
    here = own_network()
    assert network.inside(NEAR, own_network) != here
    assert own_network() == here


HOLD = """
    import os, subprocess, sys, time
    from netslo.app.lab.namespaces import Namespaces
    from netslo.app.lab.network import NEAR, Network
    with Namespaces() as spaces:
        Network(spaces)
        print(os.getpid(), flush=True)
        time.sleep(600)
"""


@pytest.mark.parametrize("prefix", [(), NO_RIGHTS], ids=["root", "user namespace"])
def test_a_process_that_is_killed_leaves_no_namespace(prefix) -> None:
    require_networks(*prefix)
    command = [*prefix, sys.executable, "-c", textwrap.dedent(HOLD)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        held = held_by(pid)
        assert len(held) == 7
        assert who_holds(held) == {pid}
        assert not have_names(held)
        os.kill(pid, signal.SIGKILL)
    assert not wait_gone([pid])


def test_without_iproute2_the_reason_is_said(monkeypatch) -> None:
    monkeypatch.setattr(namespaces.shutil, "which", lambda *_args, **_kwargs: None)
    with pytest.raises(NoNamespaces, match="no 'ip' command here; it is of iproute2"):
        Namespaces()


def test_a_command_that_fails_is_said(network) -> None:
    with pytest.raises(NoNamespaces, match=r"Cannot find device.*link set nothing up"):
        network.namespaces.ip(NEAR, ["link set lo up", "link set nothing up"])


async def _echo(reader, writer) -> None:
    while data := await reader.read(1000):
        writer.write(data[::-1])
    writer.close()


async def test_a_connection_made_inside_is_carried_out(network) -> None:
    way_out = network.inside(NEAR, listen)
    address = way_out.getsockname()
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    inside = network.inside(NEAR, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    async with server, carrying(way_out, Endpoint(*server.sockets[0].getsockname())):
        inside.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(inside, address)
        reader, writer = await asyncio.open_connection(sock=inside)
        writer.write(b"abc")
        assert await reader.readexactly(3) == b"cba"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    with pytest.raises(ConnectionRefusedError):  # from here, nobody listens at that address
        await asyncio.open_connection(*address)


async def test_where_nobody_answers_outside_the_connection_is_closed() -> None:
    way_out, gone = listen(), listen()
    to = Endpoint(*gone.getsockname())
    gone.close()
    address = way_out.getsockname()
    async with carrying(way_out, to):
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_ends_with_the_courier() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    way_out = listen()
    address = way_out.getsockname()
    async with server:
        async with carrying(way_out, Endpoint(*server.sockets[0].getsockname())):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        assert await reader.read() == b""
        writer.close()


def request(sequence: int, ssid: int = 7) -> bytes:
    return REQUEST.pack(sequence, 0, 0, ssid)


def reply(sequence: int, ssid: int = 7) -> bytes:
    return REPLY.pack(0, 0, 0, ssid, 0, sequence, 0, 0, 64)


def settle(near: socket.socket, far: socket.socket) -> None:
    """Send packets of no session until they arrive: a busy host may give neighbours up at first."""
    far.settimeout(1)

    def arrives() -> bool:
        near.sendto(b"anyone?", (FAR_ADDRESS, PORT))
        with suppress(TimeoutError):
            far.recv(500)
            return True
        return False

    until(arrives)
    with suppress(TimeoutError):
        while far.recv(500):
            pass
    far.settimeout(60)


def test_taps_tell_what_became_of_each_packet(network) -> None:
    taps = Taps(
        network.inside(NEAR, lambda: open_tap(NEAR_DEVICE)),
        network.inside(FAR, lambda: open_tap(FAR_DEVICE)),
    )

    def reflector():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((FAR_ADDRESS, PORT))
        sock.settimeout(60)
        return sock

    near = network.inside(NEAR, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    far = network.inside(FAR, reflector)
    with near, far:
        settle(near, far)
        near.settimeout(60)
        began_ns = time.time_ns()
        for sequence in range(4):
            near.sendto(request(sequence), (FAR_ADDRESS, PORT))
            _, address = far.recvfrom(500)
            if sequence != 2:  # it has no answer, and is none of the network's losses
                far.sendto(reply(sequence), address)
                near.recv(500)
        near.sendto(request(0, ssid=8), (FAR_ADDRESS, PORT))  # another session
        near.sendto(b"short", (FAR_ADDRESS, PORT))
        near.sendto(bytes(100), (FAR_ADDRESS, 5000))
    until(lambda: (taps.read_near(), taps.read_far()) and len(taps.truth().rtt_s) == 3)
    truth = taps.truth()
    assert (truth.due, truth.lost) == (4, 0)
    assert 0 < truth.rtt_s.min() <= truth.rtt_s.max() < (time.time_ns() - began_ns) / 1e9
    windows = {Window.containing(began_ns), Window.containing(time.time_ns())}
    assert taps.truth(windows).due == 0
    taps.close()


def test_what_does_not_arrive_within_a_second_is_lost(network) -> None:
    taps = Taps(
        network.inside(NEAR, lambda: open_tap(NEAR_DEVICE)),
        network.inside(FAR, lambda: open_tap(FAR_DEVICE)),
    )
    near = network.inside(NEAR, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    network.namespaces.ip("edge-2", ["link set to-far down"])
    with near:
        near.sendto(request(0), (FAR_ADDRESS, PORT))
        until(lambda: (taps.read_near(), time.sleep(0.1)) and taps.truth().due == 0)
        time.sleep(1.1)
        near.sendto(request(1), (FAR_ADDRESS, PORT))
    until(lambda: (taps.read_near(), taps.read_far()) and taps.truth().lost == 1)
    taps.close()


def test_a_tap_sees_no_more_than_test_packets(network) -> None:
    tap = network.inside(NEAR, lambda: open_tap(NEAR_DEVICE))
    near = network.inside(
        NEAR, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    )
    whole = IP(dst=FAR_ADDRESS) / UDP(sport=40000, dport=PORT) / request(1)
    other = IP(dst=FAR_ADDRESS) / UDP(sport=40000, dport=5000) / request(2)
    part = IP(dst=FAR_ADDRESS, frag=3) / UDP(sport=40000, dport=PORT) / request(3)
    with near, tap:
        for packet in (other, part, whole):
            near.sendto(bytes(packet), (FAR_ADDRESS, 0))
        tap.settimeout(60)
        data, _ = tap.recvfrom(500)
        assert IP(data)[UDP].dport == PORT
        assert bytes(IP(data)[UDP].payload)[:4] == b"\0\0\0\1"
        tap.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                tap.recvfrom(500)
