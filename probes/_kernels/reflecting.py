"""The reflecting loop: reads requests, answers them where they lie, tells when answers left.

The rules are those of `probes.stamp.reflector.Reflector` and `probes.reflector.ReflectorServer`,
which do the same in plain Python.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from analytics._kernels.compilation import compiled
from probes._kernels.answering import NONE, Came, answer, doubt
from probes._kernels.layouts import BATCH, ERRNO_MAX, NUMBERS
from probes._kernels.libc import (
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    FLAGS,
    LENGTH,
    MSG_ERRQUEUE,
    MSG_TRUNC,
    NS_PER_S,
    POLLERR,
    POLLIN,
    Said,
    clock_ns,
    number_from_zero,
    ppoll,
    receive,
    said,
    say_origin,
    send,
)
from probes._kernels.octets import Octets, get2, get4, get8, ntp_from_unix
from probes._kernels.recent import place_of
from probes._kernels.reflector_layouts import (
    COST_NS,
    DEPTH_NS,
    ERROR_ESTIMATE,
    KIND,
    REFLECTED,
    STATEFUL,
    SYNCHRONISATION,
    Cause,
    State,
)
from probes._kernels.sealing import authentic, extensions_authentic, seal_base, seal_extensions
from probes._kernels.stamp import (
    AUTHENTICATED,
    SIZE,
    get_extras,
    get_reply,
    put_reply,
    put_stamp,
    ssid_of,
)
from probes._kernels.telling import add, forget
from probes.channel import KERNEL_STAMP_AGE_NS_MAX
from probes.device_clock import ASK
from probes.stamp.packet import PACKET_SIZE_MAX, TWAMP_REPLY_SIZE, TWAMP_REQUEST_SIZE
from probes.stamp.reflector import DWELL_MAX
from probes.stamp.tlv import Flag, Method

_SHORT, _LONG, _PORT = int(Cause.SHORT), int(Cause.LONG), int(Cause.PORT)
_LOOP, _HMAC, _RATE = int(Cause.LOOP), int(Cause.HMAC), int(Cause.RATE)
_ANSWERED = -1
_HARDWARE, _SOFTWARE = int(Method.HARDWARE), int(Method.SOFTWARE)
_CONTROL_PLANE = int(Method.CONTROL_PLANE)

_REQUEST_FLAGS = int(Flag.UNRECOGNISED)
_BATCHES_MAX: Final = 4  # of one socket before the others have their turn
_AF_INET, _EAGAIN = 2, 11
_MASK32 = 0xFFFFFFFF


@compiled
def reflect(state: State, until_ns: int) -> None:
    """Answer until a monotonic time; to be called again to go on."""
    wait = np.zeros(2, np.int64)
    doors = state.doors.shape[0]
    while True:
        left_ns = until_ns - clock_ns(CLOCK_MONOTONIC, state.clock)
        if left_ns <= 0:
            return
        wait[0], wait[1] = left_ns // NS_PER_S, left_ns % NS_PER_S
        for d in range(doors):
            state.polled[d, 0], state.polled[d, 1] = state.doors[d].fd, POLLIN
        if ppoll(state.polled.ctypes.data, doors, wait.ctypes.data, 0) <= 0:
            continue
        for d in range(doors):
            ready = state.polled[d, 1] >> 16
            if ready & POLLERR and state.doors[d].stamps:
                _take_stamps(state, d)
            if ready:
                _serve(state, d)


@compiled
def _take_stamps(state: State, d: int) -> None:
    """Read when replies of a socket really left; later ones will tell it."""
    door = state.doors[d]
    while True:
        got = receive(door.fd, state.requests, MSG_ERRQUEUE)
        for i in range(got):
            heard = said(state.requests, i)
            if heard.number < 0 or heard.stamp_ns <= 0:
                continue
            slot = state.numbered[d, heard.number & (NUMBERS - 1)]
            if slot[0] == heard.number:
                slot[0] = -1
                session = slot[1]
                if session >= 0 and state.sessions[session].generation == slot[2]:
                    add(state.telling, session, slot[3], ntp_from_unix(heard.stamp_ns))
        if got < BATCH:
            return


@compiled
def _serve(state: State, d: int) -> None:
    """Answer what waits at a socket."""
    door = state.doors[d]
    for _ in range(_BATCHES_MAX):
        got = receive(door.fd, state.requests, 0)
        if got < 0:
            if got != -_EAGAIN:  # what ICMP said of a reply of ours
                state.errors[min(-got, ERRNO_MAX - 1)] += 1
            return
        mono_ns = clock_ns(CLOCK_MONOTONIC, state.clock)
        came_ns = clock_ns(CLOCK_REALTIME, state.clock)
        count = 0
        for i in range(got):
            cause = _judge(state, d, i, count, mono_ns, came_ns)
            if cause == _ANSWERED:
                count += 1
            else:
                state.discarded[cause] += 1
        for j in range(count):
            _finish(state, j)
        _transmit(state, d, count)
        for j in range(count):
            state.requests.vectors[state.replies[j].row, 1] = PACKET_SIZE_MAX
        if got < BATCH:
            return


@compiled
def _judge(state: State, d: int, i: int, j: int, mono_ns: int, came_ns: int) -> int:
    """Make a request the reply `j` of this turn, or return why not."""
    kind = state.words[KIND]
    length, packet = state.requests.headers[i, LENGTH], state.requests.octets[i]
    name = state.requests.names[i]
    if state.requests.headers[i, FLAGS] & MSG_TRUNC:
        return _LONG
    remote_port = get2(name, 2)
    if remote_port == 0:
        return _PORT
    if length < (SIZE[kind] if kind == AUTHENTICATED else TWAMP_REQUEST_SIZE):
        return _SHORT
    for at in range(length, SIZE[kind]):
        packet[at] = 0  # what TWAMP Light's request lacks; an earlier datagram lay there
    if kind == AUTHENTICATED and not authentic(state.key, packet):
        return _HMAC
    if length >= TWAMP_REPLY_SIZE and _is_reply(packet, kind):
        return _LOOP
    if not _allowed(state, name, mono_ns):
        return _RATE
    heard = said(state.requests, i)
    stamped = heard.stamp_ns > 0 and 0 <= came_ns - heard.stamp_ns <= KERNEL_STAMP_AGE_NS_MAX
    session = _session(state, d, name, ssid_of(packet, kind))
    sequence, received, returned = get4(packet, 0), np.int64(0), np.int64(0)
    if session >= 0:
        known = state.sessions[session]
        known.received = (known.received + 1) & _MASK32
        sequence, received = known.next_sequence, known.received
        known.next_sequence = returned = (sequence + 1) & _MASK32
    local = _copy_local(state, i, heard, name)
    mac, dscp = np.int64(NONE), np.int64(NONE)
    base = SIZE[kind]
    if length > base and packet[base] == _REQUEST_FLAGS:
        extras = get_extras(packet, kind, length)
        if kind == AUTHENTICATED and not extensions_authentic(state.key, packet, extras):
            doubt(packet, kind, length)
        else:
            mac = extras.mac if kind == AUTHENTICATED else np.int64(NONE)
            by = _HARDWARE if state.requests.device[ASK] else _SOFTWARE
            came = Came(
                heard.traffic_class,
                by if stamped else _CONTROL_PLANE,
                state.words[SYNCHRONISATION],
                local,
                name[4:8] if name[0] == _AF_INET else name[8:24],
                state.doors[d].port if local.shape[0] else np.int64(0),
                remote_port if local.shape[0] else np.int64(0),
                session,
                received,
                returned,
            )
            dscp = answer(packet, kind, length, mac, came, state.telling)
    t2 = ntp_from_unix(heard.stamp_ns if stamped else came_ns)
    put_reply(packet, kind, sequence, t2, state.words[ERROR_ESTIMATE], max(0, heard.ttl))
    octet = dscp << 2 if dscp >= 0 else max(0, heard.traffic_class) & 0xFC  # ECN is not copied
    say_origin(state.requests, i, octet, local)
    state.requests.vectors[i, 1] = max(TWAMP_REPLY_SIZE, length)
    state.requests.headers[i, FLAGS] = 0
    state.output.headers[j] = state.requests.headers[i]
    reply = state.replies[j]
    reply.row, reply.session, reply.sequence, reply.mac = i, session, sequence, mac
    return _ANSWERED


@compiled
def _is_reply(packet: Octets, kind: int) -> bool:
    """Whether a datagram is a reply, as `probes.stamp.reflector` tells."""
    reply = get_reply(packet, kind)
    t3, t2 = np.uint64(reply.stamp), np.uint64(reply.received)
    return t2 != 0 and t3 >= t2 and t3 - t2 <= np.uint64(DWELL_MAX)


@compiled
def _allowed(state: State, name: Octets, mono_ns: int) -> bool:
    """Take a token out of the bucket of a source address, if there is one."""
    if name[0] == _AF_INET:
        place, new = place_of(state.of_source, np.int64(4), get4(name, 4), np.int64(0))
    else:
        place, new = place_of(state.of_source, np.int64(6), get8(name, 8), get8(name, 16))
    full_ns = mono_ns if new else max(state.full_ns[place], mono_ns)
    allowed = full_ns + state.words[COST_NS] - mono_ns <= state.words[DEPTH_NS]
    state.full_ns[place] = full_ns + state.words[COST_NS] if allowed else full_ns
    return allowed


@compiled
def _session(state: State, d: int, name: Octets, ssid: int) -> int:
    """Return the session of a request; NONE where none is remembered."""
    if not state.words[STATEFUL]:
        return np.int64(NONE)
    whose = np.int64(d) << 32 | get2(name, 2) << 16 | ssid
    if name[0] == _AF_INET:
        place, new = place_of(state.of_session, whose, get4(name, 4), np.int64(0))
    else:
        place, new = place_of(state.of_session, whose, get8(name, 8), get8(name, 16))
    if new:
        session = state.sessions[place]
        session.generation += 1
        session.next_sequence = session.received = 0
        forget(state.telling, place)
    return place


@compiled
def _copy_local(state: State, i: int, heard: Said, name: Octets) -> Octets:
    """Return our address by which a request came, of no octets if it is not known."""
    size = 0
    if heard.local >= 0:
        size = 4 if name[0] == _AF_INET else 16
    for at in range(size):
        state.address[at] = state.requests.control[i, heard.local + at]
    return state.address[:size]


@compiled
def _finish(state: State, j: int) -> None:
    """Write T3, and sign."""
    reply = state.replies[j]
    kind, packet = state.words[KIND], state.requests.octets[reply.row]
    put_stamp(packet, kind, ntp_from_unix(clock_ns(CLOCK_REALTIME, state.clock)))
    if kind == AUTHENTICATED:
        seal_base(state.key, packet)
        if reply.mac >= 0:
            seal_extensions(state.key, packet, reply.mac)


@compiled
def _transmit(state: State, d: int, count: int) -> None:
    """Hand replies to the kernel; one that it does not take holds up none behind it."""
    door = state.doors[d]
    sent = 0
    while sent < count:
        left = send(door.fd, state.output, sent, count)
        for j in range(sent, sent + max(0, left)):
            _number(state, d, state.replies[j])
        if left > 0:
            state.words[REFLECTED] += left
            sent += left
            continue
        state.errors[min(-left, ERRNO_MAX - 1)] += 1
        sent += 1
        if door.stamps:
            # Whether a reply that did not leave used a number up, nobody says.
            state.numbered[d, :, 0] = -1
            door.number = 0
            number_from_zero(door.fd, state.requests.device, state.clock)


@compiled
def _number(state: State, d: int, reply: Any) -> None:
    """Remember by which number the kernel will speak of a reply."""
    door = state.doors[d]
    if door.stamps:
        slot = state.numbered[d, door.number & (NUMBERS - 1)]
        slot[0], slot[1], slot[3] = door.number, reply.session, reply.sequence
        slot[2] = state.sessions[reply.session].generation if reply.session >= 0 else 0
        door.number = (door.number + 1) & _MASK32
