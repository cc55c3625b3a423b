"""The measuring loop: sends what is due, reads what came, and writes down what became of it.

It needs nobody: Python hears of packets by the rows they end as. Its time goes to system calls,
so it makes one for many packets: what becomes due within `quantum_ns` leaves together, and answers
are read now and then, for the kernel has noted when they came.

A second thread, on other processors, stands by: what the first has not done `grace_ns` after its
time, because its processor is away (a hypervisor takes one for milliseconds), it does instead,
unless the first was in the midst of a turn. To be woken for nothing costs more than a packet, so
it looks after each packet for a minute from when one was late, and otherwise now and then.

The rules are those of `probes.session.Session` and `probes.stamp.sender.Sender`, which do the
same in plain Python.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from analytics._kernels.compilation import compiled
from probes._kernels.answers import missing, take_replies, take_stamps
from probes._kernels.layouts import (
    BATCH,
    ERRNO_MAX,
    GENERATION,
    KEEP_NS,
    MUTED,
    NO_ROOM,
    NO_TARGET,
    NUMBERS,
    OFFSET,
    READ_NS,
    STOOD_IN,
    TOO_LATE,
    WATCH_NS,
    State,
)
from probes._kernels.libc import (
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    CONTROL_LENGTH,
    FLAGS,
    NAME,
    NAME_LENGTH,
    NAME_SIZE,
    NS_PER_S,
    POLLIN,
    clock_ns,
    number_from_zero,
    ppoll,
    pthread_mutex_lock,
    pthread_mutex_unlock,
    read_clocks,
    send,
)
from probes._kernels.octets import ntp_from_unix
from probes._kernels.sealing import seal_request
from probes._kernels.settling import keep, rows_free, write_unsent
from probes._kernels.stamp import AUTHENTICATED, put_request
from probes.channel import REOPEN_NS
from probes.outcome import State as Outcome
from probes.schedule import LATE_NS

_PENDING = int(Outcome.PENDING)
_UNMEASURED = int(Outcome.UNMEASURED)

READ_EVERY_NS: Final = 1_000_000
KEEP_EVERY_NS: Final = 20_000_000
WATCH_FOR_NS: Final = 60 * NS_PER_S
_OFFSET_NOISE_NS: Final = 20_000  # two readings of the clocks may differ by more only if one is set

_EAGAIN, _ENOMEM, _EACCES, _EPERM, _EMSGSIZE = 11, 12, 13, 1, 90
_ENOBUFS, _ECONNREFUSED = 105, 111
_MASK32 = 0xFFFFFFFF


@compiled
def measure(state: State, generation: int, control: int, quantum_ns: int, grace_ns: int) -> None:
    """Measure until the descriptor `control` is readable, or these are not the arrays any more.

    To be called again to go on, with the arrays of the generation there is by then. A thread that
    stands by has a `grace_ns`: it does what another has left undone for so long. If a turn raises,
    as it may with NUMBA_BOUNDSCHECK=1, the caller has the mutex.
    """
    polled, wait = np.zeros(2, np.int32), np.zeros(2, np.int64)
    mutex = state.mutex.ctypes.data
    pthread_mutex_lock(mutex)
    while state.words[GENERATION] == generation:
        wake_ns = _turn(state, quantum_ns, grace_ns)
        left_ns = max(0, wake_ns - clock_ns(CLOCK_MONOTONIC, state.clock))
        wait[0] = left_ns // NS_PER_S
        wait[1] = left_ns % NS_PER_S
        polled[0], polled[1] = control, POLLIN
        pthread_mutex_unlock(mutex)
        told = ppoll(polled.ctypes.data, 1, wait.ctypes.data, 0)
        pthread_mutex_lock(mutex)
        if told > 0:
            break
    pthread_mutex_unlock(mutex)


@compiled
def _turn(state: State, quantum_ns: int, grace_ns: int) -> int:
    """Do what should have been done `grace_ns` ago; return when to look again, monotonic."""
    mono_ns = _now(state)
    since_ns = mono_ns - grace_ns
    if state.heap_size[0] > 0 and state.heap_ns[0] <= since_ns:
        sent = _send_due(state, mono_ns)
        if grace_ns > 0:
            state.words[STOOD_IN] += sent
    if since_ns >= state.words[READ_NS]:
        state.words[READ_NS] = mono_ns + READ_EVERY_NS
        _read(state)
    if since_ns >= state.words[KEEP_NS]:
        state.words[KEEP_NS] = mono_ns + KEEP_EVERY_NS
        _read(state)
        keep(state, mono_ns)
    wake_ns = state.words[KEEP_NS]
    watched = grace_ns == 0 or mono_ns < state.words[WATCH_NS]
    if watched and state.heap_size[0] > 0:
        wake_ns = min(wake_ns, max(state.heap_ns[0], mono_ns + quantum_ns))
    return wake_ns + grace_ns


@compiled
def _now(state: State) -> int:
    """Return the monotonic time, and see whether the wall clock was set since."""
    before_ns = clock_ns(CLOCK_MONOTONIC, state.clock)
    wall_ns = clock_ns(CLOCK_REALTIME, state.clock)
    if abs(wall_ns - before_ns - state.words[OFFSET]) > _OFFSET_NOISE_NS:
        wall_ns, mono_ns = read_clocks(state.clock)
        if abs(wall_ns - mono_ns - state.words[OFFSET]) > _OFFSET_NOISE_NS:
            state.words[OFFSET] = wall_ns - mono_ns
    return before_ns


@compiled
def _read(state: State) -> None:
    """Read when packets left, and then the answers, which are judged by that."""
    for s in range(state.sockets.shape[0]):
        if state.sockets[s].fd >= 0:
            if state.sockets[s].stamps:
                take_stamps(state, s)
            take_replies(state, s)


@compiled
def _send_due(state: State, mono_ns: int) -> int:
    """Send what is due; return how many packets.

    Where nobody takes rows away, it stays due until it is too late.
    """
    sent = 0
    while state.heap_size[0] > 0 and state.heap_ns[0] <= mono_ns and rows_free(state) > BATCH:
        i, due_ns = state.heap[0], state.heap_ns[0]
        session = state.sessions[i]
        late = (mono_ns - session.tolerance_ns - due_ns) // session.interval_ns
        packets = np.int64(1)
        if late > 0:
            packets = late if session.count < 0 else min(late, session.count - session.taken)
            write_unsent(state, i, due_ns, packets, TOO_LATE)
            state.words[WATCH_NS] = mono_ns + WATCH_FOR_NS
        elif session.socket < 0:
            write_unsent(state, i, due_ns, packets, NO_TARGET if session.socket == -1 else MUTED)
        elif mono_ns < session.muted_ns:
            write_unsent(state, i, due_ns, packets, MUTED)
        elif not _room(state, session):
            write_unsent(state, i, due_ns, packets, NO_ROOM)
        else:
            socket = state.sockets[session.socket]
            state.waiting[session.socket, socket.waiting, 0] = i
            state.waiting[session.socket, socket.waiting, 1] = due_ns
            socket.waiting += 1
            sent += 1
            if socket.waiting == BATCH:
                _flush(state, session.socket)
        session.taken += packets
        _reschedule(state, session)
    for s in range(state.sockets.shape[0]):
        if state.sockets[s].waiting:
            _flush(state, s)
    return sent


@compiled
def _room(state: State, session: Any) -> bool:
    """Whether the ring has room for another record, those that wait to be sent included."""
    waiting = state.sockets[session.socket].waiting
    if waiting and session.position + waiting - session.harvest > session.mask:
        _flush(state, session.socket)
    return session.position - session.harvest <= session.mask


@compiled
def _reschedule(state: State, session: Any) -> None:
    """Move the first of the heap to its next due time, or out."""
    heap, heap_ns = state.heap, state.heap_ns
    size = state.heap_size[0]
    if session.count >= 0 and session.taken >= session.count:
        size -= 1
        state.heap_size[0] = size
        moved, moved_ns = heap[size], heap_ns[size]
    else:
        moved, moved_ns = heap[0], session.first_ns + session.taken * session.interval_ns
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and heap_ns[child + 1] < heap_ns[child]:
            child += 1
        if heap_ns[child] >= moved_ns:
            break
        heap[at], heap_ns[at] = heap[child], heap_ns[child]
        at = child
    if size > 0:
        heap[at], heap_ns[at] = moved, moved_ns


@compiled
def _flush(state: State, s: int) -> None:
    """Send the packets that wait for a socket; T1 is read directly before."""
    socket = state.sockets[s]
    count, size = socket.waiting, socket.size
    mono_ns = clock_ns(CLOCK_MONOTONIC, state.clock)
    sent_ns = mono_ns + state.words[OFFSET]
    bits = ntp_from_unix(sent_ns)
    output = state.output
    for j in range(count):
        i = state.waiting[s, j, 0]
        session = state.sessions[i]
        packet = output.octets[j]
        packet[:size] = state.templates[s, :size]
        wanted = missing(state, session)
        sequence = session.position & _MASK32
        put_request(
            packet, socket.kind, sequence, bits, session.error, session.ssid, socket.wanted, wanted
        )
        if socket.kind == AUTHENTICATED:
            seal_request(state.keys[session.key], packet, size)
        output.headers[j, NAME] = state.names.ctypes.data + i * NAME_SIZE
        output.headers[j, NAME_LENGTH] = session.name_length
        output.headers[j, CONTROL_LENGTH] = 0
        output.headers[j, FLAGS] = 0
        output.vectors[j, 1] = size
        state.waiting[s, j, 2] = session.position
        _note(state, session, state.waiting[s, j, 1], mono_ns, sent_ns, bits)
    _transmit(state, s, count, mono_ns)
    socket.waiting = 0


@compiled
def _note(state: State, session: Any, due_ns: int, mono_ns: int, sent_ns: int, bits: int) -> None:
    """Begin the record of a packet."""
    record = state.records[session.ring + (session.position & session.mask)]
    record.position = session.position
    record.due_ns = due_ns
    record.offset_ns = state.words[OFFSET]
    record.late_ns = mono_ns - due_ns
    if record.late_ns > LATE_NS:
        state.words[WATCH_NS] = mono_ns + WATCH_FOR_NS
    record.bits = bits
    record.sent_ns = sent_ns
    record.until_ns = 0
    record.order = record.reflector_sequence = -1
    record.duplicates = 0
    record.ttl = record.reply_ttl = record.dscp = record.reply_dscp = -1
    record.state = _PENDING
    record.stamped = record.known = record.followed = record.asked = record.extent = 0
    record.far_error = -1
    session.position += 1


@compiled
def _transmit(state: State, s: int, count: int, mono_ns: int) -> None:
    """Hand packets to the kernel; one that it does not take holds up none behind it."""
    socket = state.sockets[s]
    sent = 0
    retried = False
    while sent < count:
        left = send(socket.fd, state.output, sent, count)
        if left > 0:
            for j in range(sent, sent + left):
                _number(state, s, state.waiting[s, j, 0], state.waiting[s, j, 2])
            sent += left
            retried = False
            continue
        error = min(-left, ERRNO_MAX - 1)
        if error == _ECONNREFUSED and not retried:
            # News by ICMP of an earlier packet: told once, this packet has not left yet.
            state.errors[s, 1, error] += 1
            retried = True
            _begin_numbers(state, s)
            continue
        retried = False
        state.errors[s, 0, error] += 1
        i = state.waiting[s, sent, 0]
        session = state.sessions[i]
        record = state.records[session.ring + (state.waiting[s, sent, 2] & session.mask)]
        record.state = _UNMEASURED
        session.unmeasured += 1
        passing = (
            error == _EAGAIN
            or error == _ENOBUFS
            or error == _ENOMEM
            or error == _EPERM
            or error == _EACCES
            or error == _EMSGSIZE
        )
        if not passing:
            session.muted_ns = mono_ns + REOPEN_NS
        _begin_numbers(state, s)
        sent += 1


@compiled
def _number(state: State, s: int, i: int, position: int) -> None:
    """Remember by which number the kernel will speak of a packet."""
    socket = state.sockets[s]
    if socket.stamps:
        slot = state.numbered[s, socket.number & (NUMBERS - 1)]
        slot[0], slot[1], slot[2] = socket.number, i, position
        socket.number = (socket.number + 1) & _MASK32


@compiled
def _begin_numbers(state: State, s: int) -> None:
    """Number anew: whether a packet that did not leave used a number up, nobody says."""
    socket = state.sockets[s]
    if socket.stamps:
        take_stamps(state, s)
        state.numbered[s, :, 0] = -1
        socket.number = 0
        number_from_zero(socket.fd, state.replies.device, state.clock)
