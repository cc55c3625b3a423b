"""Kernel timestamps of datagrams that leave and come (SO_TIMESTAMPING), without privilege.

A datagram that leaves is stamped when the driver takes it, and the stamp waits in the socket's
error queue with a number: the first datagram since the option was set has 0, the next one 1.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from functools import cache
from struct import Struct
from typing import Final

from netslo.model import NS_PER_S
from probes.device_clock import ASK, DEVICE, unix_ns, use_device_clock

# linux/net_tstamp.h
_TX_SOFTWARE: Final = 1 << 1
_RX_SOFTWARE: Final = 1 << 3
_SOFTWARE: Final = 1 << 4
OPT_ID_FLAG: Final = 1 << 7
_OPT_TSONLY: Final = 1 << 11  # without the datagram itself
_RECEIVE: Final = _RX_SOFTWARE | _SOFTWARE
TRANSMIT_FLAGS: Final = _RECEIVE | _TX_SOFTWARE | _OPT_TSONLY

# asm-generic/socket.h, linux/in.h, linux/in6.h, linux/errqueue.h
_SO_TIMESTAMPING_NEW: Final = 65  # pairs of 64-bit integers on every machine, since Linux 5.1
_SO_TIMESTAMPNS_NEW: Final = 64
_MSG_ERRQUEUE: Final = int(socket.MSG_ERRQUEUE)
_RECVERR: Final = ((socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25))
_ORIGIN_TIMESTAMPING: Final = 4

_TIMESPEC: Final = Struct("=qq")  # of three: software, none, hardware
_DEVICE_AT: Final = 2 * _TIMESPEC.size
_EXTENDED_ERROR: Final = Struct("=IBBBBII")  # errno, origin, type, code, pad, info, data
_ANCILLARY_SIZE: Final = 256

RECEIVED: Final = (
    (socket.SOL_SOCKET, _SO_TIMESTAMPING_NEW),
    (socket.SOL_SOCKET, _SO_TIMESTAMPNS_NEW),
)

# How long the kernel may take to begin, and for how long stamps must come until they are believed
# to stay: another program's last socket may just have closed. A busy host needed 30 ms.
_BEGIN_S: Final = 1.0
_STEADY_S: Final = 0.03
_TRY_S: Final = 0.001


def enable_timestamps(sock: socket.socket, *, transmit: bool = False) -> bool:
    """Ask for stamps of what comes, and of what leaves; return whether the latter will be there.

    Where the kernel gives none, the caller's own reading of the clock has to do.
    """
    if transmit:
        with contextlib.suppress(OSError):
            number_from_zero(sock)
            return True
    for option, value in ((_SO_TIMESTAMPING_NEW, _RECEIVE | DEVICE[ASK]), (_SO_TIMESTAMPNS_NEW, 1)):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, value)
            break
    return False


@cache
def keep_stamping() -> bool:
    """Have the kernel stamp what arrives from now on, as long as this process lives.

    When the first socket of a host asks for such stamps, the kernel leaves it to a worker to
    begin, and when the last one closes, to end (`net_enable_timestamp`); packets that come
    meanwhile have none. So whoever opens sockets to measure calls this before; from then on a
    device's stamps, too, are used where there are any. It returns when datagrams to ourselves
    come with a stamp; False: they do not, or there is no loopback.
    """
    use_device_clock()
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:
        return False
    try:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)  # noqa: FBT003
        enable_timestamps(sock)
        return _stamps_steadily(sock)
    except OSError:
        return False
    finally:
        sock.detach()  # never closed: that is what keeps the kernel at it


def _stamps_steadily(sock: socket.socket) -> bool:
    began_s = unstamped_s = time.monotonic()
    while unstamped_s - began_s < _BEGIN_S:
        if not _stamps_now(sock):
            unstamped_s = time.monotonic()
        elif time.monotonic() - unstamped_s >= _STEADY_S:
            return True
        time.sleep(_TRY_S)
    return False


def _stamps_now(sock: socket.socket) -> bool:
    """Whether a datagram from a socket to itself has a stamp; one that does not come has none."""
    sock.sendto(b"", sock.getsockname())
    try:
        _, ancillary, _, _ = sock.recvmsg(0, _ANCILLARY_SIZE)
    except BlockingIOError:
        return False
    return any((level, kind) in RECEIVED and stamp_of(value) for level, kind, value in ancillary)


def number_from_zero(sock: socket.socket) -> None:
    """Have the next datagram numbered 0, for instance after one that may not have left.

    Raises:
        OSError: the kernel gives no stamps of what leaves.
    """
    wanted = TRANSMIT_FLAGS | DEVICE[ASK]
    for flags in (wanted, wanted | OPT_ID_FLAG):  # numbers begin anew when OPT_ID is set anew
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING_NEW, flags)


def read_transmitted(sock: socket.socket) -> Iterator[tuple[int, int]]:
    """Yield the number of each datagram that has left since, and its Unix time in ns."""
    while True:
        try:
            _, ancillary, _, _ = sock.recvmsg(0, _ANCILLARY_SIZE, _MSG_ERRQUEUE)
        except OSError:  # nothing waits there, or the socket has another trouble: not for here
            return
        stamp_ns, number = None, None
        for level, kind, value in ancillary:
            if (level, kind) in RECEIVED:
                stamp_ns = stamp_of(value)
            elif (level, kind) in _RECVERR and len(value) >= _EXTENDED_ERROR.size:
                _, origin, _, _, _, _, data = _EXTENDED_ERROR.unpack_from(value)
                number = data if origin == _ORIGIN_TIMESTAMPING else None
        if stamp_ns and number is not None:
            yield number, stamp_ns


def stamp_of(value: bytes) -> int:
    """Return the Unix time in ns of an ancillary message of a kind in `RECEIVED`; 0: it has none.

    That of the device where there is one that may be used (`probes.device_clock`).
    """
    if DEVICE[ASK] and len(value) >= _DEVICE_AT + _TIMESPEC.size:
        device_ns = unix_ns(*_TIMESPEC.unpack_from(value, _DEVICE_AT))
        if device_ns:
            return device_ns
    seconds, ns = _TIMESPEC.unpack_from(value)
    return int(seconds) * NS_PER_S + int(ns)
