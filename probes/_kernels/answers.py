"""What became of packets: replies, follow-ups and the kernel's transmit timestamps, judged."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from analytics._kernels.compilation import compiled
from probes._kernels.layouts import BATCH, ERRNO_MAX, NUMBERS, OFFSET, Cause, State
from probes._kernels.libc import (
    CLOCK_MONOTONIC,
    FLAGS,
    LENGTH,
    MSG_ERRQUEUE,
    MSG_TRUNC,
    clock_ns,
    receive,
    said,
)
from probes._kernels.octets import Octets, get4, get8, unix_from_ntp, unix_from_ptp
from probes._kernels.sealing import authentic, extensions_authentic
from probes._kernels.stamp import (
    AUTHENTICATED,
    PTP_FLAG,
    SIZE,
    SIZE_LEAST,
    by_kernel,
    get_extras,
    get_reply,
    ssid_of,
)
from probes.channel import KERNEL_STAMP_AGE_NS_MAX
from probes.outcome import State as Outcome
from probes.reordering import EXTENT_MAX
from probes.session import CLOCK_STEP_NS
from probes.stamp.sender import ASKED_AGAIN_MAX, CLOCK_NOISE_NS

_PENDING = int(Outcome.PENDING)
_ANSWERED = int(Outcome.ANSWERED)
_UNMEASURED = int(Outcome.UNMEASURED)

_SHORT = int(Cause.SHORT)
_SSID = int(Cause.SSID)
_SEQUENCE = int(Cause.SEQUENCE)
_SENDER_TIMESTAMP = int(Cause.SENDER_TIMESTAMP)
_TIMESTAMP = int(Cause.TIMESTAMP)
_DWELL_NEGATIVE = int(Cause.DWELL_NEGATIVE)
_DWELL_LONG = int(Cause.DWELL_LONG)
_HMAC = int(Cause.HMAC)
_INTEGRITY = int(Cause.INTEGRITY)
_FOLLOW_UP_UNKNOWN = int(Cause.FOLLOW_UP_UNKNOWN)
_FOLLOW_UP_TIMESTAMP = int(Cause.FOLLOW_UP_TIMESTAMP)
_FOLLOW_UP_EARLY = int(Cause.FOLLOW_UP_EARLY)
_FOLLOW_UP_LATE = int(Cause.FOLLOW_UP_LATE)
_LATE_REPLY = int(Cause.LATE_REPLY)
_OVERLONG = int(Cause.OVERLONG)
_SOURCE = int(Cause.SOURCE)
_STALE_DUPLICATE = int(Cause.STALE_DUPLICATE)
_GOOD = -1

_EAGAIN = 11
_BATCHES_MAX: Final = 64  # of one socket in one turn
_AF_INET = 2


@compiled
def take_stamps(state: State, s: int) -> None:
    """Read when packets of a socket really left."""
    fd = state.sockets[s].fd
    for _ in range(_BATCHES_MAX):
        got = receive(fd, state.replies, MSG_ERRQUEUE)
        for i in range(got):
            heard = said(state.replies, i)
            if heard.error > 0:
                state.errors[s, 1, min(heard.error, ERRNO_MAX - 1)] += 1
            elif heard.number >= 0 and heard.stamp_ns > 0:
                _left(state, s, heard.number, heard.stamp_ns)
        if got < BATCH:
            return


@compiled
def _left(state: State, s: int, number: int, stamp_ns: int) -> None:
    slot = state.numbered[s, number & (NUMBERS - 1)]
    if slot[0] != number:
        return
    slot[0] = -1
    session = state.sessions[slot[1]]
    record = state.records[session.ring + (slot[2] & session.mask)]
    if record.position != slot[2] or record.state not in (_PENDING, _ANSWERED) or record.stamped:
        return
    # What waited in the error queue while the clock was set is not of its time.
    if 0 <= stamp_ns - record.sent_ns + CLOCK_NOISE_NS <= KERNEL_STAMP_AGE_NS_MAX:
        record.sent_ns = stamp_ns
        record.stamped = 1


@compiled
def take_replies(state: State, s: int) -> None:
    """Read what came by a socket."""
    fd = state.sockets[s].fd
    for _ in range(_BATCHES_MAX):
        got = receive(fd, state.replies, 0)
        if got < 0:
            if got != -_EAGAIN:
                state.errors[s, 1, min(-got, ERRNO_MAX - 1)] += 1
                continue
            return
        mono_ns = clock_ns(CLOCK_MONOTONIC, state.clock)
        for i in range(got):
            cause = _judge(state, s, i, mono_ns)
            if cause >= 0:
                state.discarded[s, cause] += 1
        if got < BATCH:
            return


@compiled
def _judge(state: State, s: int, i: int, mono_ns: int) -> int:
    """Take in a datagram; return why it is of no use, or _GOOD."""
    kind = state.sockets[s].kind
    length, packet = state.replies.headers[i, LENGTH], state.replies.octets[i]
    if state.replies.headers[i, FLAGS] & MSG_TRUNC:
        return _OVERLONG
    if length < SIZE_LEAST[kind]:
        return _SHORT
    for at in range(length, SIZE[kind]):
        packet[at] = 0  # what TWAMP Light's reply lacks; an earlier datagram lay there
    index = _session_of(state, s, i, ssid_of(packet, kind))
    if index < 0:
        return _SOURCE if index == -2 else _SSID
    session = state.sessions[index]
    if kind == AUTHENTICATED and not authentic(state.keys[session.key], packet):
        return _HMAC
    reply = get_reply(packet, kind)
    at = _record_of(state, session, reply.sender_sequence)
    if at < 0:
        return _SEQUENCE
    record = state.records[at]
    if record.bits != reply.sender_stamp:
        return _SENDER_TIMESTAMP
    heard = said(state.replies, i)
    wall_ns = mono_ns + state.words[OFFSET]
    stamped = heard.stamp_ns > 0 and 0 <= wall_ns - heard.stamp_ns <= KERNEL_STAMP_AGE_NS_MAX
    arrived_ns = (heard.stamp_ns if stamped else wall_ns) - state.words[OFFSET] + record.offset_ns
    if record.state == _ANSWERED:
        if record.position < session.harvest:
            return _STALE_DUPLICATE
        record.duplicates += 1
        session.duplicates += 1
        return _GOOD
    span_ns = arrived_ns - record.sent_ns
    if record.state != _PENDING or span_ns > session.timeout_ns:
        return _LATE_REPLY
    extras = get_extras(packet, kind, length)
    if (
        kind == AUTHENTICATED
        and extras.touched
        and not extensions_authentic(state.keys[session.key], packet, extras)
    ):
        return _INTEGRITY
    ptp = reply.error & PTP_FLAG != 0
    received_ns = _unix(reply.received, wall_ns, ptp)
    replied_ns = _unix(reply.stamp, wall_ns, ptp)
    if received_ns == -1 or replied_ns == -1:
        return _TIMESTAMP
    if replied_ns < received_ns:
        return _DWELL_NEGATIVE
    if span_ns - (replied_ns - received_ns) < -CLOCK_NOISE_NS:
        return _DWELL_LONG
    for value in (extras.first, extras.second):
        if value >= 0 and (value == extras.first or not _same(packet, extras.first, value)):
            cause = _follow_up(state, session, packet, value, wall_ns, ptp)
            if cause >= 0:
                state.discarded[s, cause] += 1
    if abs(state.words[OFFSET] - record.offset_ns) > CLOCK_STEP_NS:
        record.state = _UNMEASURED
        session.unmeasured += 1
        return _GOOD
    record.state = _ANSWERED
    record.received_ns, record.replied_ns, record.arrived_ns = received_ns, replied_ns, arrived_ns
    record.known = stamped and by_kernel(extras.method_in)
    record.until_ns = mono_ns + session.hold_ns if record.known and extras.announces else 0
    record.ttl = reply.ttl or -1
    record.dscp = extras.dscp
    record.reply_ttl = heard.ttl
    record.reply_dscp = heard.traffic_class >> 2 if heard.traffic_class >= 0 else -1
    record.reflector_sequence = reply.sequence
    record.order = session.orders
    record.far_error = reply.error
    record.extent = 0
    if record.position < session.latest:
        record.extent = _extent(state, session, record.position)
    session.latest = max(session.latest, record.position)
    session.orders += 1
    session.answered += 1
    session.reordered += record.extent > 0
    state.by_order[session.ring + (record.order & session.mask)] = record.position
    state.by_reflector[session.ring + (reply.sequence & session.mask)] = record.position
    return _GOOD


@compiled
def _extent(state: State, session: Any, position: int) -> int:
    """Return how many answers ago the first came of a packet sent later (RFC 4737 §4.2.1)."""
    extent = 1  # where no answer is remembered that long
    for back in range(1, min(session.orders, session.mask, EXTENT_MAX) + 1):
        order = session.orders - back
        if state.by_order[session.ring + (order & session.mask)] > position:
            extent = back
    return extent


@compiled
def _session_of(state: State, s: int, i: int, ssid: int) -> int:
    """Return whose reply it may be; -1 where nobody has the SSID, -2 for another's address.

    A reflector that knows RFC 8762 only, or TWAMP Light, returns 0 for the SSID: then the
    address tells, and where several sessions measure it, the packet that is echoed.
    """
    name = state.replies.names[i]
    if ssid != 0:
        index = state.of_ssid[s, ssid]
        if index < 0:
            return -1
        return index if same_address(name, state.names[index]) else -2
    found = np.int64(-2)
    index = state.of_name[address_hash(name) % state.of_name.shape[0]]
    while index >= 0:
        session = state.sessions[index]
        if session.socket == s and same_address(name, state.names[index]):
            found = index
            kind = state.sockets[s].kind
            reply = get_reply(state.replies.octets[i], kind)
            at = _record_of(state, session, reply.sender_sequence)
            if at >= 0 and state.records[at].bits == reply.sender_stamp:
                break
        index = session.neighbour
    return found


@compiled
def same_address(a: Octets, b: Octets) -> bool:
    """Whether two socket addresses have the same family, port and address."""
    for at in range(4):
        if a[at] != b[at]:
            return False
    begin, end = (4, 8) if a[0] == _AF_INET else (8, 24)
    for at in range(begin, end):
        if a[at] != b[at]:
            return False
    return True


@compiled
def address_hash(name: Octets) -> int:
    """Return a number, not negative, of a socket address: FNV-1a over family, port, address."""
    found = np.uint64(14695981039346656037)
    begin, end = (4, 8) if name[0] == _AF_INET else (8, 24)
    for at in range(4):
        found = (found ^ np.uint64(name[at])) * np.uint64(1099511628211)
    for at in range(begin, end):
        found = (found ^ np.uint64(name[at])) * np.uint64(1099511628211)
    return np.int64(found >> np.uint64(1))


@compiled
def _record_of(state: State, session: Any, sequence: int) -> int:
    """Return where the record of a packet is, by its 32-bit number; -1 where there is none."""
    last = session.position - 1
    back = (last - sequence) & 0xFFFFFFFF
    if back > session.mask or back > last:
        return -1
    at = session.ring + ((last - back) & session.mask)
    return at if state.records[at].position == last - back else -1


@compiled
def _follow_up(
    state: State, session: Any, packet: Octets, value: int, wall_ns: int, ptp: bool
) -> int:
    """Take in when an earlier reply left (RFC 8972 §4.7); return why not, or _GOOD."""
    sequence = get4(packet, value)
    position = state.by_reflector[session.ring + (sequence & session.mask)]
    if position < 0:
        return _FOLLOW_UP_UNKNOWN
    record = state.records[session.ring + (position & session.mask)]
    if (
        record.position != position
        or record.state != _ANSWERED
        or record.reflector_sequence != sequence
        or record.followed
    ):
        return _FOLLOW_UP_UNKNOWN
    left_ns = _unix(get8(packet, value + 4), wall_ns, ptp)
    if left_ns == -1:
        return _FOLLOW_UP_TIMESTAMP
    if left_ns < record.replied_ns - CLOCK_NOISE_NS or left_ns < record.received_ns:
        return _FOLLOW_UP_EARLY
    span_ns = record.arrived_ns - record.sent_ns
    if span_ns - (left_ns - record.received_ns) < -CLOCK_NOISE_NS:
        return _FOLLOW_UP_LATE
    record.replied_ns = left_ns
    record.followed = 2 if by_kernel(np.int64(packet[value + 12])) else 1
    session.told = max(session.told, record.order)
    return _GOOD


@compiled
def missing(state: State, session: Any) -> int:
    """Return the reply whose follow-up was lost with the reply that told it; 0: none."""
    while session.asking < session.told:
        order = session.asking
        position = state.by_order[session.ring + (order & session.mask)]
        record = state.records[session.ring + (position & session.mask)]
        if (
            session.orders - order <= session.mask
            and record.position == position
            and record.order == order
            and not record.followed
            and record.asked < ASKED_AGAIN_MAX
        ):
            record.asked += 1
            return record.reflector_sequence
        session.asking += 1
    return 0


@compiled
def _same(packet: Octets, a: int, b: int) -> bool:
    """Whether two follow-ups say the same."""
    return get4(packet, a) == get4(packet, b) and get8(packet, a + 4) == get8(packet, b + 4)


@compiled
def _unix(bits: int, near_ns: int, ptp: bool) -> int:
    return unix_from_ptp(bits, near_ns) if ptp else unix_from_ntp(bits, near_ns)
