"""Forged datagrams by the hundred thousand: made in arrays, sent by one call for many."""

from __future__ import annotations

import ctypes
import errno
import os
import pathlib
import select
import socket
from collections.abc import Iterator, Sequence

import numpy as np
from independent_stamp import digest
from numpy.typing import NDArray

from probes.stamp.reflector import RequestFault

Octets = NDArray[np.uint8]
Forged = tuple[Octets, NDArray[np.int64]]  # (n, width) datagrams, and (n,) their lengths

PATIENCE_S = 30.0  # of whoever waits for a datagram on a busy machine
_SO_RCVBUFFORCE = 33
_libc = ctypes.CDLL(None, use_errno=True)


def request_fault(datagram: bytes, peer: tuple[str, int], key: bytes | None) -> RequestFault | None:
    """Say by the text of the RFCs alone why a request is refused."""
    if len(datagram) > 9000:
        return RequestFault.LONG
    if peer[1] == 0:
        return RequestFault.PORT
    if len(datagram) < (14 if key is None else 112):
        return RequestFault.SHORT
    if key is not None and digest(key, datagram[:96]) != datagram[96:112]:
        return RequestFault.HMAC
    stamp, received = (4, 16) if key is None else (16, 32)
    filled = datagram.ljust(44, b"\0")
    t2 = int.from_bytes(filled[received : received + 8])
    dwell = int.from_bytes(filled[stamp : stamp + 8]) - t2
    looped = len(datagram) >= 41 and t2 != 0 and 0 <= dwell <= 10 << 32
    return RequestFault.LOOP if looped else None


class Mutator:
    """Makes many datagrams of a few genuine ones: as they are, changed, cut, stuffed, noise."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def made(self, genuine: Sequence[bytes], count: int) -> Iterator[bytes]:
        """Yield the datagrams one by one."""
        octets, lengths = self.forged(genuine, count)
        flat, width = octets.tobytes(), octets.shape[1]
        for at, length in enumerate(lengths.tolist()):
            yield flat[at * width : at * width + length]

    def forged(self, genuine: Sequence[bytes], count: int) -> Forged:
        """Return the datagrams; behind the end of each stands noise."""
        rng = self._rng
        width = max(map(len, genuine)) + 40
        octets = rng.integers(0, 256, (len(genuine), width), np.uint8)
        for row, each in zip(octets, genuine, strict=True):
            row[: len(each)] = np.frombuffer(each, np.uint8)
        pick = rng.integers(0, len(genuine), count)
        lengths = np.array([len(each) for each in genuine])[pick]
        octets = octets[pick]
        rows = np.arange(count)
        for chance in (0.5, 0.3, 0.2):  # single octets, the base packet as often as the rest
            limit = np.where(rng.random(count) < 0.5, np.minimum(lengths, 44), lengths)
            hit = rows[rng.random(count) < chance]
            at = (rng.random(len(hit)) * limit[hit]).astype(np.int64)
            octets[hit, at] = rng.integers(0, 256, len(hit), np.uint8)
        # Whole words of one value: wild sequence numbers, times, types and lengths.
        words = octets[:, : width // 4 * 4].reshape(count, -1, 4)
        hit = rows[rng.random(count) < 0.2]
        at = rng.integers(0, words.shape[1], len(hit))
        words[hit, at] = rng.choice(np.array([0, 1, 0x7F, 0x80, 0xFF], np.uint8), len(hit))[:, None]
        noise = rng.random(count) < 0.05
        octets[noise] = rng.integers(0, 256, (int(noise.sum()), width), np.uint8)
        cut, stuffed = rng.random(count) < 0.15, rng.random(count) < 0.1
        lengths = np.where(cut, (rng.random(count) * lengths).astype(np.int64), lengths)
        lengths = np.where(stuffed, lengths + rng.integers(0, 41, count), lengths)
        return octets, lengths


def send_forged(sock: socket.socket, octets: Octets, lengths: NDArray[np.int64]) -> None:
    """Send datagrams by a socket that is connected; of each so many octets as its length says."""
    octets = np.ascontiguousarray(octets)
    rows = np.arange(len(octets))
    vectors = np.empty((len(octets), 2), np.int64)  # struct iovec
    vectors[:, 0] = octets.ctypes.data + rows * octets.shape[1]
    vectors[:, 1] = lengths
    headers = np.zeros((len(octets), 8), np.int64)  # struct mmsghdr, as probes._kernels.libc says
    headers[:, 2] = vectors.ctypes.data + rows * vectors.strides[0]
    headers[:, 3] = 1
    sent = 0
    while sent < len(octets):
        address = ctypes.c_void_p(headers.ctypes.data + sent * headers.strides[0])
        left = _libc.sendmmsg(sock.fileno(), address, len(octets) - sent, 0)
        if left < 0:
            number = ctypes.get_errno()
            if number == errno.EAGAIN:
                select.select([], [sock], [], PATIENCE_S)
                continue
            raise OSError(number, os.strerror(number))
        sent += left


def roomy_socket(host: str = "127.0.0.1") -> socket.socket:
    """Return a UDP socket of loopback with room for many datagrams, where that is allowed."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind((host, 0))
    sock.settimeout(PATIENCE_S)
    return sock


def resident_octets() -> int:
    """Return how much memory this process has."""
    words = pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE")
