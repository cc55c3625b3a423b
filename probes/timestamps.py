"""Kernel timestamps of datagrams that leave and come (SO_TIMESTAMPING), without privilege.

A datagram that leaves is stamped when the driver takes it, and the stamp waits in the socket's
error queue with a number: the first datagram since the option was set has 0, the next one 1.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from struct import Struct
from typing import Final

from netslo.model import NS_PER_S

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
_EXTENDED_ERROR: Final = Struct("=IBBBBII")  # errno, origin, type, code, pad, info, data
_ANCILLARY_SIZE: Final = 256

RECEIVED: Final = (
    (socket.SOL_SOCKET, _SO_TIMESTAMPING_NEW),
    (socket.SOL_SOCKET, _SO_TIMESTAMPNS_NEW),
)


def enable_timestamps(sock: socket.socket, *, transmit: bool = False) -> bool:
    """Ask for stamps of what comes, and of what leaves; return whether the latter will be there.

    Where the kernel gives none, the caller's own reading of the clock has to do.
    """
    if transmit:
        with contextlib.suppress(OSError):
            number_from_zero(sock)
            return True
    for option, value in ((_SO_TIMESTAMPING_NEW, _RECEIVE), (_SO_TIMESTAMPNS_NEW, 1)):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, value)
            break
    return False


def number_from_zero(sock: socket.socket) -> None:
    """Have the next datagram numbered 0, for instance after one that may not have left.

    Raises:
        OSError: the kernel gives no stamps of what leaves.
    """
    for flags in (
        TRANSMIT_FLAGS,
        TRANSMIT_FLAGS | OPT_ID_FLAG,
    ):  # numbers begin anew when OPT_ID is set anew
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
    """Return the Unix time in ns of an ancillary message of a kind in `RECEIVED`."""
    seconds, ns = _TIMESPEC.unpack_from(value)
    return int(seconds) * NS_PER_S + int(ns)
