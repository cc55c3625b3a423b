"""libc's calls for many datagrams at once, and the structures they work on (socket.h, 64-bit).

`Messages` is the memory of so many messages: their headers point into the arrays beside, so the
arrays must live as long as the headers are used, and must not be copied.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import carray, types
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled
from probes.device_clock import ADD, ASK, DEVICE
from probes.timestamps import OPT_ID_FLAG, TRANSMIT_FLAGS

CONTROL_SIZE: Final = 256  # octets of ancillary data of one message
NAME_SIZE: Final = 32  # octets for a socket address; an IPv6 one has 28

# Words of `struct mmsghdr`: its 32-bit members have padding behind, or nothing of worth.
NAME: Final = 0
NAME_LENGTH: Final = 1
VECTOR: Final = 2
VECTOR_LENGTH: Final = 3
CONTROL: Final = 4
CONTROL_LENGTH: Final = 5
FLAGS: Final = 6
LENGTH: Final = 7  # of the datagram that was received

CLOCK_REALTIME: Final = 0
CLOCK_MONOTONIC: Final = 1
MSG_TRUNC: Final = 0x20
MSG_DONTWAIT: Final = 0x40
MSG_ERRQUEUE: Final = 0x2000
POLLIN: Final = 1
POLLERR: Final = 8
NS_PER_S: Final = 1_000_000_000

_AF_INET = 2
_SOL_IP, _SOL_SOCKET, _SOL_IPV6 = 0, 1, 41
_IP_TOS, _IP_TTL, _IP_PKTINFO, _IP_RECVERR = 1, 2, 8, 11
_IPV6_RECVERR, _IPV6_PKTINFO, _IPV6_HOPLIMIT, _IPV6_TCLASS = 25, 50, 52, 67
_SO_TIMESTAMPNS_NEW, _SO_TIMESTAMPING_NEW = 64, 65
_ORIGIN_TIMESTAMPING = 4
_HEADER = 16  # octets of struct cmsghdr
_READ_SPAN_NS, _READ_TRIES = 5_000, 4

sendmmsg: Any = types.ExternalFunction(
    "sendmmsg", types.int32(types.int32, types.uintp, types.uint32, types.int32)
)
recvmmsg: Any = types.ExternalFunction(
    "recvmmsg", types.int32(types.int32, types.uintp, types.uint32, types.int32, types.uintp)
)
ppoll: Any = types.ExternalFunction(
    "ppoll", types.int32(types.uintp, types.uint64, types.uintp, types.uintp)
)
pthread_mutex_lock: Any = types.ExternalFunction("pthread_mutex_lock", types.int32(types.uintp))
pthread_mutex_unlock: Any = types.ExternalFunction("pthread_mutex_unlock", types.int32(types.uintp))
_setsockopt: Any = types.ExternalFunction(
    "setsockopt", types.int32(types.int32, types.int32, types.int32, types.uintp, types.uint32)
)
_clock_gettime: Any = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))
_errno_location: Any = types.ExternalFunction("__errno_location", types.CPointer(types.int32)())


class Messages(NamedTuple):
    """Room for so many messages; rows belong together."""

    headers: NDArray[np.int64]  # (n, 8) struct mmsghdr
    vectors: NDArray[np.int64]  # (n, 2) struct iovec
    octets: NDArray[np.uint8]  # (n, size) the datagrams
    control: NDArray[np.uint8]  # (n, CONTROL_SIZE) ancillary data
    control32: NDArray[np.int32]  # the same memory
    control64: NDArray[np.int64]  # the same memory
    names: NDArray[np.uint8]  # (n, NAME_SIZE) socket addresses
    device: NDArray[np.int64]  # probes.device_clock.DEVICE, the same memory


class Said(NamedTuple):
    """What the kernel said of one message; -1 where it said nothing."""

    stamp_ns: int  # Unix time
    number: int  # of the datagram that left, where the message tells that it did
    error: int  # an ICMP error's errno
    ttl: int
    traffic_class: int
    local: int  # where in the control octets our address is by which it came


def new_messages(count: int, size: int) -> Messages:
    """Return room for messages of at most `size` octets."""
    headers = np.zeros((count, 8), np.int64)
    vectors = np.zeros((count, 2), np.int64)
    octets = np.zeros((count, size), np.uint8)
    control = np.zeros((count, CONTROL_SIZE), np.uint8)
    names = np.zeros((count, NAME_SIZE), np.uint8)
    rows = np.arange(count)
    vectors[:, 0] = octets.ctypes.data + rows * size
    vectors[:, 1] = size
    headers[:, NAME] = names.ctypes.data + rows * NAME_SIZE
    headers[:, NAME_LENGTH] = NAME_SIZE
    headers[:, VECTOR] = vectors.ctypes.data + rows * vectors.strides[0]
    headers[:, VECTOR_LENGTH] = 1
    headers[:, CONTROL] = control.ctypes.data + rows * CONTROL_SIZE
    headers[:, CONTROL_LENGTH] = CONTROL_SIZE
    views = control.view(np.int32), control.view(np.int64)
    device = np.frombuffer(DEVICE, np.int64)
    return Messages(headers, vectors, octets, control, *views, names, device)


@compiled
def error_number() -> int:
    """Return errno of this thread."""
    return np.int64(carray(_errno_location(), 1)[0])


@compiled
def receive(fd: int, messages: Messages, flags: int) -> int:
    """Read what waits, at most as much as there is room for; return how many, or -errno."""
    count = messages.headers.shape[0]
    for i in range(count):
        messages.headers[i, NAME_LENGTH] = NAME_SIZE
        messages.headers[i, CONTROL_LENGTH] = CONTROL_SIZE
        messages.headers[i, FLAGS] = 0
    got = recvmmsg(fd, messages.headers.ctypes.data, count, MSG_DONTWAIT | flags, 0)
    return np.int64(got) if got >= 0 else -error_number()


@compiled
def send(fd: int, messages: Messages, begin: int, end: int) -> int:
    """Send messages from `begin` to before `end`; return how many left, or -errno for none."""
    address = messages.headers.ctypes.data + begin * 64
    sent = sendmmsg(fd, address, end - begin, MSG_DONTWAIT)
    return np.int64(sent) if sent >= 0 else -error_number()


@compiled
def number_from_zero(fd: int, device: NDArray[np.int64], room: NDArray[np.int64]) -> None:
    """Have the next datagram numbered 0, as `probes.timestamps.number_from_zero` does."""
    room[0] = TRANSMIT_FLAGS | device[ASK]
    _setsockopt(fd, _SOL_SOCKET, _SO_TIMESTAMPING_NEW, room.ctypes.data, 4)
    room[0] |= OPT_ID_FLAG
    _setsockopt(fd, _SOL_SOCKET, _SO_TIMESTAMPING_NEW, room.ctypes.data, 4)


@compiled
def clock_ns(clock: int, room: NDArray[np.int64]) -> int:
    """Read a clock; `room` is two words to write in."""
    _clock_gettime(clock, room.ctypes.data)
    return room[0] * NS_PER_S + room[1]


@compiled
def read_clocks(room: NDArray[np.int64]) -> tuple[int, int]:
    """Return wall and monotonic time of one moment, as `probes.instant.read_clocks` does."""
    best, wall, mono = np.int64(1) << 62, np.int64(0), np.int64(0)
    for _ in range(_READ_TRIES):
        before = clock_ns(CLOCK_MONOTONIC, room)
        seen = clock_ns(CLOCK_REALTIME, room)
        span = clock_ns(CLOCK_MONOTONIC, room) - before
        if span < best:
            best, wall, mono = span, seen, before + span // 2
        if span < _READ_SPAN_NS:
            break
    return wall, mono


@compiled
def say_origin(messages: Messages, i: int, octet: int, local: NDArray[np.uint8]) -> None:
    """Have a message leave with a traffic class, and from an address of 4 or 16 octets, or any."""
    control32, control64 = messages.control32[i], messages.control64[i]
    v4 = messages.names[i, 0] == _AF_INET
    level = _SOL_IP if v4 else _SOL_IPV6
    control64[0] = _HEADER + 4
    control32[2], control32[3], control32[4] = level, _IP_TOS if v4 else _IPV6_TCLASS, octet
    size = 24
    if local.shape[0] > 0:
        room = 12 if v4 else 20
        control64[3] = _HEADER + room
        control32[8], control32[9] = level, _IP_PKTINFO if v4 else _IPV6_PKTINFO
        value = size + _HEADER
        messages.control[i, value : value + room] = 0
        begin = value + 4 if v4 else value
        for each in range(local.shape[0]):
            messages.control[i, begin + each] = local[each]
        size += _HEADER + (room + 7) // 8 * 8
    messages.headers[i, CONTROL_LENGTH] = size


@compiled
def said(messages: Messages, i: int) -> Said:
    """Read the ancillary data of a message that was received."""
    stamp, number, error, ttl, octet, local = -1, -1, -1, -1, -1, -1
    length = min(messages.headers[i, CONTROL_LENGTH], CONTROL_SIZE)
    at = 0
    while at + _HEADER <= length:
        size = messages.control64[i, at >> 3]
        if size < _HEADER or at + size > length:
            break
        level, kind = messages.control32[i, (at >> 2) + 2], messages.control32[i, (at >> 2) + 3]
        value = at + _HEADER
        room = size - _HEADER
        if level == _SOL_SOCKET:
            if (kind == _SO_TIMESTAMPING_NEW or kind == _SO_TIMESTAMPNS_NEW) and room >= 16:
                seconds = messages.control64[i, value >> 3]
                stamp = seconds * NS_PER_S + messages.control64[i, (value >> 3) + 1]
                if messages.device[ASK] and room >= 48:  # the device's, as `stamp_of` has it
                    seconds = messages.control64[i, (value >> 3) + 4]
                    device = seconds * NS_PER_S + messages.control64[i, (value >> 3) + 5]
                    if device:
                        stamp = device + messages.device[ADD]
        elif level == _SOL_IP or level == _SOL_IPV6:
            v4 = level == _SOL_IP
            if kind == (_IP_RECVERR if v4 else _IPV6_RECVERR) and room >= 16:
                if messages.control[i, value + 4] == _ORIGIN_TIMESTAMPING:
                    number = np.int64(np.uint32(messages.control32[i, (value >> 2) + 3]))
                else:
                    error = np.int64(messages.control32[i, value >> 2])
            elif kind == (_IP_TTL if v4 else _IPV6_HOPLIMIT) and room >= 4:
                ttl = np.int64(messages.control32[i, value >> 2])
            elif kind == (_IP_TOS if v4 else _IPV6_TCLASS) and room >= 1:
                octet = np.int64(messages.control[i, value])  # little-endian: the int's first
            elif kind == (_IP_PKTINFO if v4 else _IPV6_PKTINFO) and room >= (12 if v4 else 20):
                local = value + 4 if v4 else value  # behind the interface; the header's is last
        at += (size + 7) & ~7
    return Said(stamp, number, error, ttl, octet, local)
