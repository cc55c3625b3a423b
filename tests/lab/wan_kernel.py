"""The emulator's inner loop, compiled: two TUN devices, a heap of due times, one log.

All of it stands in one file, because numba compiles anew when the file changes that a kernel is
in, but not when one of its callees elsewhere does. Every index is checked (`boundscheck`): what
comes out of a packet is never trusted.
"""
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from .link import Link
from .wan_log import HELD, ROWS, Verdict

PACKET_MAX: Final = 2048  # octets
HELD_MAX: Final = 1 << 15  # packets in the emulator at a time
BATCH_MAX: Final = 32  # packets read from one device before the other has its turn

# What `carry` returns.
TOLD: Final = 0  # a control descriptor is readable
LOG_FULL: Final = 1
DEVICE_GONE: Final = 2

LINK: Final = np.dtype(
    [
        ("delay_ns", np.float64),
        ("jitter_ns", np.float64),
        ("jitter_spread", np.float64),
        ("jitter_time_ns", np.float64),
        ("p", np.float64),
        ("r", np.float64),
        ("loss_good", np.float64),
        ("loss_bad", np.float64),
        ("duplicate", np.float64),
        ("reorder", np.float64),
        ("reorder_extra_ns", np.float64),
        ("ns_per_octet", np.float64),  # at the bottleneck; 0: there is none
        ("queue_ns", np.float64),
        ("hops", np.int64),
    ],
    align=True,
)

_STATE: Final = np.dtype(
    [
        ("arrivals", np.int64),
        ("bad", np.int64),  # state of the loss model
        ("queue", np.float64),  # state of the jitter model, mean 0 and variance 1
        ("seen_ns", np.int64),  # when the last packet came; 0: none yet
        ("backlog_ns", np.float64),  # then the bottleneck needed so long for what it held
        ("last_due_ns", np.int64),  # of a packet that keeps its order
    ],
    align=True,
)

_SLOT: Final = np.dtype(
    [("due_ns", np.int64), ("row", np.int64), ("length", np.int64)],
    align=True,
)


class Emulator(NamedTuple):
    """All that `carry` works on. The last of the packets' places is for one that is dropped."""

    links: NDArray[np.void]  # (2,) LINK
    dscp_maps: NDArray[np.uint8]  # (2, 64)
    states: NDArray[np.void]  # (2,) _STATE
    packets: NDArray[np.uint8]  # (HELD_MAX + 1, PACKET_MAX)
    slots: NDArray[np.void]  # (HELD_MAX + 1,) _SLOT
    heap: NDArray[np.int64]  # (HELD_MAX,) slots in use, the first due at the front
    free: NDArray[np.int64]  # (HELD_MAX,) slots, those not in use from header[HELD] on
    log: NDArray[np.void]  # (n,) LOG
    header: NDArray[np.int64]  # see wan_log


def new_emulator(log: NDArray[np.void], header: NDArray[np.int64]) -> Emulator:
    """Return an emulator whose links do nothing yet, with an empty log."""
    return Emulator(
        links=np.zeros(2, LINK),
        dscp_maps=np.tile(np.arange(64, dtype=np.uint8), (2, 1)),
        states=np.zeros(2, _STATE),
        packets=np.zeros((HELD_MAX + 1, PACKET_MAX), np.uint8),
        slots=np.zeros(HELD_MAX + 1, _SLOT),
        heap=np.zeros(HELD_MAX, np.int64),
        free=np.arange(HELD_MAX, dtype=np.int64),
        log=log,
        header=header,
    )


def set_links(emulator: Emulator, links: Sequence[Link]) -> None:
    """Let both directions behave so from the next packet on."""
    for direction, link in enumerate(links):
        emulator.links[direction] = (
            link.delay_s * 1e9,
            link.jitter_s * 1e9,
            link.jitter_spread,
            link.jitter_time_s * 1e9,
            link.p,
            link.r,
            link.loss_good,
            link.loss_bad,
            link.duplicate,
            link.reorder,
            link.reorder_extra_s * 1e9,
            8e9 / link.rate_bit_s if link.rate_bit_s else 0.0,
            link.queue_s * 1e9,
            link.hops,
        )
        emulator.dscp_maps[direction] = np.arange(64)
        for old, new in link.dscp_map.items():
            emulator.dscp_maps[direction, old] = new


_read: Any = types.ExternalFunction("read", types.int64(types.int32, types.uintp, types.uintp))
_write: Any = types.ExternalFunction("write", types.int64(types.int32, types.uintp, types.uintp))
_clock_gettime: Any = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))
_ppoll: Any = types.ExternalFunction(
    "ppoll", types.int32(types.uintp, types.uint64, types.uintp, types.uintp)
)

_CLOCK_REALTIME = 0
_NS_PER_S = 1_000_000_000
_WAIT_MAX_NS = 50_000_000
_POLLIN = 1
_POLL_BROKEN = 0x38  # POLLERR, POLLHUP, POLLNVAL

_UNDER_WAY = int(Verdict.UNDER_WAY)
_DELIVERED = int(Verdict.DELIVERED)
_LOST = int(Verdict.LOST)
_QUEUE_FULL = int(Verdict.QUEUE_FULL)
_EXPIRED = int(Verdict.EXPIRED)
_REFUSED = int(Verdict.REFUSED)

_ICMP, _TCP, _UDP, _ICMPV6 = 1, 6, 17, 58
_V4_HEADER, _V6_HEADER, _UDP_HEADER, _ICMP_ECHO_HEADER = 20, 40, 8, 8
_ECHO_TYPES, _V6_ECHO_TYPES = (8, 0), (128, 129)
_SENDER_SEQUENCE, _SENDER_SEQUENCE_AUTHENTICATED = 24, 48

_compiled: Any = njit(nogil=True, cache=True, boundscheck=True)


@_compiled
def carry(
    devices: NDArray[np.int32],  # (2,) TUN of a and b; what is read from one goes to the other
    controls: NDArray[np.int32],  # (2,) descriptors that end the call when one is readable
    emulator: Emulator,
    random_forward: np.random.Generator,
    random_reverse: np.random.Generator,
) -> int:
    """Carry packets until there is a reason to return; to be called again to go on."""
    clock = np.zeros(2, np.int64)
    polled = np.zeros((4, 2), np.int32)  # struct pollfd: descriptor, then events and what came
    while True:
        for i in range(2):
            polled[i, 0] = devices[i]
            polled[2 + i, 0] = controls[i]
        polled[:, 1] = _POLLIN
        _set_wait(emulator, clock)
        ready = _ppoll(polled.ctypes.data, 4, clock.ctypes.data, 0)
        if ready > 0:
            came = polled[:, 1] >> 16
            if (came[0] | came[1]) & _POLL_BROKEN:
                return DEVICE_GONE
            if came[2] | came[3]:
                return TOLD
            if came[0]:
                _take(0, devices, emulator, random_forward, clock)
            if came[1]:
                _take(1, devices, emulator, random_reverse, clock)
            if emulator.header[ROWS] + 4 * BATCH_MAX > emulator.log.shape[0]:
                return LOG_FULL
        _release(devices, emulator, clock)


@_compiled
def _now(clock: NDArray[np.int64]) -> int:
    _clock_gettime(_CLOCK_REALTIME, clock.ctypes.data)
    now: int = clock[0] * _NS_PER_S + clock[1]
    return now


@_compiled
def _set_wait(emulator: Emulator, clock: NDArray[np.int64]) -> None:
    """Write into `clock` how long there is nothing to release."""
    wait = _WAIT_MAX_NS
    if emulator.header[HELD] > 0:
        wait = min(wait, emulator.slots[emulator.heap[0]].due_ns - _now(clock))
    wait = max(wait, 0)
    clock[0] = wait // _NS_PER_S
    clock[1] = wait % _NS_PER_S


@_compiled
def _take(
    direction: int,
    devices: NDArray[np.int32],
    emulator: Emulator,
    random: np.random.Generator,
    clock: NDArray[np.int64],
) -> None:
    """Read what arrived at a device, decide its fate and log it."""
    for _ in range(BATCH_MAX):
        held = emulator.header[HELD]
        full = held >= HELD_MAX
        slot = HELD_MAX if full else emulator.free[held]
        packet = emulator.packets[slot]
        length = _read(devices[direction], packet.ctypes.data, PACKET_MAX)
        if length <= 0:
            return
        state = emulator.states[direction]
        row = emulator.header[ROWS]
        entry = emulator.log[row]
        entry.arrival_ns = _now(clock)
        entry.release_ns = 0
        entry.index = state.arrivals
        entry.direction = direction
        entry.copy = 0
        state.arrivals += 1
        _describe(packet, length, entry)
        twice = _decide(emulator.links[direction], state, random, entry)
        if entry.verdict == _UNDER_WAY and full:
            entry.verdict = _QUEUE_FULL
        if entry.verdict == _UNDER_WAY:
            entry.dscp_out = emulator.dscp_maps[direction, entry.dscp]
            if not _rewrite(packet, length, entry, emulator.links[direction].hops):
                entry.verdict = _EXPIRED
        emulator.header[ROWS] = row + 1
        if entry.verdict != _UNDER_WAY:
            continue
        _hold(emulator, slot, row, length)
        if twice:
            _hold_copy(emulator, slot, row, length)


@_compiled
def _decide(link: Any, state: Any, random: np.random.Generator, entry: Any) -> bool:
    """Draw a packet's verdict and due time; return whether it is to arrive twice.

    As many numbers are drawn for each packet whatever becomes of it: with one seed, the fate of
    the n-th packet of a direction is the same in every run.
    """
    turns, falls = random.random(), random.random()
    twice: bool = random.random() < link.duplicate
    late: bool = random.random() < link.reorder
    noise = random.standard_normal()
    now = entry.arrival_ns
    if state.bad:
        state.bad = 0 if turns < link.r else 1
    else:
        state.bad = 1 if turns < link.p else 0
    elapsed = max(0, now - state.seen_ns)
    forgotten = elapsed / link.jitter_time_ns
    state.queue = math.exp(-forgotten) * state.queue
    state.queue += math.sqrt(-math.expm1(-2 * forgotten)) * noise
    state.backlog_ns = max(0.0, state.backlog_ns - elapsed)
    state.seen_ns = max(now, state.seen_ns)
    entry.due_ns = now
    if falls < (link.loss_bad if state.bad else link.loss_good):
        entry.verdict = _LOST
        return False
    if state.backlog_ns > link.queue_ns:
        entry.verdict = _QUEUE_FULL
        return False
    state.backlog_ns += entry.length * link.ns_per_octet
    jitter = link.jitter_ns * math.exp(link.jitter_spread * state.queue)
    due = max(now + np.int64(link.delay_ns + jitter + state.backlog_ns), state.last_due_ns)
    if late:
        due += np.int64(link.reorder_extra_ns)
    else:
        state.last_due_ns = due
    entry.due_ns = due
    entry.verdict = _UNDER_WAY
    return twice


@_compiled
def _hold(emulator: Emulator, slot: int, row: int, length: int) -> None:
    """Put the next free slot into the heap."""
    slots, heap = emulator.slots, emulator.heap
    slots[slot].due_ns = emulator.log[row].due_ns
    slots[slot].row = row
    slots[slot].length = length
    i = emulator.header[HELD]
    emulator.header[HELD] = i + 1
    while i > 0:
        parent = (i - 1) >> 1
        if not _before(slots, slot, heap[parent]):
            break
        heap[i] = heap[parent]
        i = parent
    heap[i] = slot


@_compiled
def _hold_copy(emulator: Emulator, slot: int, row: int, length: int) -> None:
    """Hold a packet's copy in the next free slot, with a row of its own."""
    held = emulator.header[HELD]
    again = emulator.header[ROWS]
    emulator.log[again] = emulator.log[row]
    emulator.log[again].copy = 1
    emulator.header[ROWS] = again + 1
    if held >= HELD_MAX:
        emulator.log[again].verdict = _QUEUE_FULL
        return
    second = emulator.free[held]
    emulator.packets[second, :length] = emulator.packets[slot, :length]
    _hold(emulator, second, again, length)


@_compiled
def _before(slots: NDArray[np.void], one: int, other: int) -> bool:
    """Whether a slot is due before another; at the same time, in the order of the log."""
    earlier: bool = slots[one].due_ns < slots[other].due_ns
    if slots[one].due_ns == slots[other].due_ns:
        earlier = slots[one].row < slots[other].row
    return earlier


@_compiled
def _release(devices: NDArray[np.int32], emulator: Emulator, clock: NDArray[np.int64]) -> None:
    """Write everything that is due."""
    while emulator.header[HELD] > 0:
        slot = emulator.heap[0]
        due = emulator.slots[slot]
        if due.due_ns > _now(clock):
            return
        _drop_first(emulator)
        entry = emulator.log[due.row]
        device = devices[1 - entry.direction]
        entry.release_ns = _now(clock)
        written = _write(device, emulator.packets[slot].ctypes.data, due.length)
        entry.verdict = _DELIVERED if written == due.length else _REFUSED


@_compiled
def _drop_first(emulator: Emulator) -> None:
    """Take the first out of the heap; its slot is the next one to be used."""
    slots, heap = emulator.slots, emulator.heap
    held = emulator.header[HELD] - 1
    emulator.header[HELD] = held
    emulator.free[held] = heap[0]
    moved = heap[held]
    i = 0
    while 2 * i + 1 < held:
        child = 2 * i + 1
        if child + 1 < held and _before(slots, heap[child + 1], heap[child]):
            child += 1
        if not _before(slots, heap[child], moved):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = moved


@_compiled
def _describe(packet: NDArray[np.uint8], length: int, entry: Any) -> None:
    """Log what the headers say; of a later fragment or behind extension headers, no ports."""
    entry.length = length
    entry.sequence = entry.sender_sequence = entry.sender_sequence_authenticated = -1
    entry.source_port = entry.destination_port = -1
    entry.protocol = entry.dscp = entry.dscp_out = 0
    entry.version = packet[0] >> 4
    if entry.version == 4 and length >= _V4_HEADER:
        entry.protocol = packet[9]
        entry.dscp = entry.dscp_out = packet[1] >> 2
        at = (packet[0] & 15) * 4
        if _two(packet, 6) & 0x1FFF:  # fragment offset
            return
    elif entry.version == 6 and length >= _V6_HEADER:
        entry.protocol = packet[6]
        entry.dscp = entry.dscp_out = (packet[0] & 15) << 2 | packet[1] >> 6
        at = _V6_HEADER
    else:
        return
    protocol = entry.protocol
    if protocol in (_UDP, _TCP) and length >= at + 4:
        entry.source_port = _two(packet, at)
        entry.destination_port = _two(packet, at + 2)
    if protocol == _UDP:
        payload = at + _UDP_HEADER
        entry.sequence = _four(packet, payload, length)
        entry.sender_sequence = _four(packet, payload + _SENDER_SEQUENCE, length)
        authenticated = payload + _SENDER_SEQUENCE_AUTHENTICATED
        entry.sender_sequence_authenticated = _four(packet, authenticated, length)
    elif length < at + _ICMP_ECHO_HEADER:
        return
    elif (protocol == _ICMP and packet[at] in _ECHO_TYPES) or (
        protocol == _ICMPV6 and packet[at] in _V6_ECHO_TYPES
    ):
        entry.sequence = _four(packet, at + 4, length)


@_compiled
def _rewrite(packet: NDArray[np.uint8], length: int, entry: Any, hops: int) -> bool:
    """Set the DSCP and take the hops; False where there are not enough of them."""
    if entry.version == 4 and length >= _V4_HEADER:
        if packet[8] <= hops and hops > 0:
            return False
        before = _two(packet, 0) + _two(packet, 8)
        packet[1] = entry.dscp_out << 2 | packet[1] & 3
        packet[8] -= hops
        changed = _two(packet, 0) + _two(packet, 8) - before
        # RFC 1624: the checksum's complement is the sum, never 0, so it changes as the words do.
        total = (~_two(packet, 10) & 0xFFFF) + changed
        total = (total - 1) % 0xFFFF + 1
        _set_two(packet, 10, ~total & 0xFFFF)
    elif entry.version == 6 and length >= _V6_HEADER:
        if packet[7] <= hops and hops > 0:
            return False
        packet[0] = 0x60 | entry.dscp_out >> 2
        packet[1] = (entry.dscp_out & 3) << 6 | packet[1] & 0x3F
        packet[7] -= hops
    return True


@_compiled
def _two(octets: NDArray[np.uint8], at: int) -> int:
    number: int = octets[at] * 256 + octets[at + 1]
    return number


@_compiled
def _set_two(octets: NDArray[np.uint8], at: int, value: int) -> None:
    octets[at] = value >> 8
    octets[at + 1] = value & 0xFF


@_compiled
def _four(octets: NDArray[np.uint8], at: int, length: int) -> int:
    """Return four octets as a number; -1 where the packet is shorter."""
    if at + 4 > length:
        return -1
    number: int = _two(octets, at) << 16 | _two(octets, at + 2)
    return number
