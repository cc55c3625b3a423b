"""The arrays of the measuring loop, and how sessions and sockets get into them."""

from __future__ import annotations

import ctypes
import secrets
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from netslo.model import NS_PER_S
from probes._kernels.answers import address_hash
from probes._kernels.layouts import (
    BATCH,
    CAUSES,
    ERRNO_MAX,
    GENERATION,
    HEAD,
    MUTEX_WORDS,
    NUMBERS,
    OFFSET,
    RECORD,
    ROW,
    SESSION,
    SOCKET,
    SSIDS,
    TAIL,
    WORDS,
    State,
)
from probes._kernels.libc import NAME_SIZE, new_messages
from probes._kernels.measuring import KEEP_EVERY_NS, measure
from probes._kernels.sha256 import hmac_key
from probes._kernels.stamp import AUTHENTICATED, SIZE
from probes.address import SocketAddress
from probes.instant import Instant, read_clocks
from probes.schedule import late_tolerance_ns
from probes.session import READ_GRACE_NS, SessionPlan
from probes.sockets import open_shared_socket
from probes.stamp.packet import PACKET_SIZE_MAX
from probes.stamp.sender import asked_of_session
from probes.timestamps import enable_timestamps

ROWS: Final = 1 << 18
_SLACK_NS: Final = KEEP_EVERY_NS + READ_GRACE_NS + NS_PER_S // 2  # a busy host's
_RING_MIN: Final = 16
_NAMES_HASHED: Final = 1 << 14
_KEEPING: Final = ctypes.PyDLL(None)  # calls that keep the interpreter, for they return at once
_YIELDING: Final = ctypes.CDLL(None)  # and those that may wait
_WANTED_AT: Final = 4 + 16 + 4  # of the second follow-up's value, behind the base packet


@dataclass(frozen=True, slots=True)
class Door:
    """What a socket is shared by."""

    site: str
    family: socket.AddressFamily
    dscp: int
    port: int  # which of the source ports of a path
    kind: int
    alone: SocketAddress | None = None  # connected to it


@dataclass(slots=True)
class Plant:
    """Builds and grows the state, and runs the loop on it.

    Once loops run, everything else that changes it is done `held`.
    """

    state: State = field(init=False)
    doors: dict[Door, int] = field(default_factory=dict)
    sockets: list[socket.socket] = field(default_factory=list)
    targets: list[SocketAddress | None] = field(default_factory=list)  # by session
    ports: list[int] = field(default_factory=list)  # by socket, once they are closed
    _free_ssid: list[int] = field(default_factory=list)  # by socket
    _ssids: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # by session
    _free_places: dict[int, list[int]] = field(default_factory=dict)  # by size of their rings
    _records_used: int = 0
    _keys: dict[bytes, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        now = read_clocks()
        words = np.zeros(WORDS, np.int64)
        words[OFFSET] = now.offset_ns
        self.state = State(
            sockets=np.zeros(0, SOCKET),
            sessions=np.zeros(0, SESSION),
            names=np.zeros((0, NAME_SIZE), np.uint8),
            records=np.zeros(0, RECORD),
            by_order=np.zeros(0, np.int64),
            by_reflector=np.zeros(0, np.int64),
            heap=np.zeros(0, np.int64),
            heap_ns=np.zeros(0, np.int64),
            heap_size=np.zeros(1, np.int64),
            of_ssid=np.zeros((0, SSIDS), np.int32),
            of_name=np.full(_NAMES_HASHED, -1, np.int64),
            numbered=np.zeros((0, NUMBERS, 3), np.int64),
            waiting=np.zeros((0, BATCH, 3), np.int64),
            templates=np.zeros((0, PACKET_SIZE_MAX // 16), np.uint8),
            keys=np.zeros((0, 16), np.uint32),
            discarded=np.zeros((0, len(CAUSES)), np.int64),
            errors=np.zeros((0, 2, ERRNO_MAX), np.int64),
            rows=np.zeros(ROWS, ROW),
            words=words,
            clock=np.zeros(2, np.int64),
            mutex=np.zeros(MUTEX_WORDS, np.int64),
            output=new_messages(BATCH, PACKET_SIZE_MAX // 16),
            replies=new_messages(BATCH, PACKET_SIZE_MAX // 4),
        )

    @property
    def generation(self) -> int:
        """Of the arrays in `state`. Who asks for it first and then for them has no older ones."""
        return int(self.state.words[GENERATION])

    def take_turns(self, control: int, quantum_ns: int, grace_ns: int) -> None:
        """Run the loop until it is told something, or there are other arrays."""
        generation = self.generation
        state = self.state
        try:
            measure(state, generation, control, quantum_ns, grace_ns)
        except Exception:
            _KEEPING.pthread_mutex_unlock(_mutex(state))
            raise

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep all loops from their turns; they go on with the arrays that there are afterwards."""
        before = self.state
        mutex = _mutex(before)
        # Nobody may wait for the mutex and keep the interpreter, which its holder may wait for; and
        # nobody should have to wait for the interpreter with the mutex, or no packet leaves.
        if _KEEPING.pthread_mutex_trylock(mutex):
            _YIELDING.pthread_mutex_lock(mutex)
        try:
            yield
        finally:
            if self.state is not before:
                self.state.words[GENERATION] += 1
            _KEEPING.pthread_mutex_unlock(mutex)

    def interrupt(self) -> None:
        """Have every loop return, of whatever thread, also one that is about to begin."""
        with self.held():
            self.state.words[GENERATION] += 1

    def add(
        self,
        plan: SessionPlan,
        start: Instant,
        *,
        phase_ns: int,
        count: int | None,
        error: int,
    ) -> int:
        """Add a session without a target; return its place: a free one, or the next."""
        kept_ns = plan.timeout_ns + plan.hold_ns + _SLACK_NS
        ring = max(_RING_MIN, 1 << int(kept_ns // plan.interval_ns + 1).bit_length())
        free = self._free_places.get(ring)
        index = free.pop() if free else -1
        begin = self._take_records(ring) if index < 0 else self._clear_records(index)
        session = np.zeros(1, SESSION)
        session["socket"] = session["neighbour"] = -1
        session["key"] = -1 if plan.secret is None else self._key(plan.secret)
        session["error"] = error
        session["first_ns"] = start.mono_ns + phase_ns
        session["interval_ns"] = plan.interval_ns
        session["count"] = -1 if count is None else count
        session["timeout_ns"] = plan.timeout_ns
        session["hold_ns"] = plan.hold_ns
        session["tolerance_ns"] = late_tolerance_ns(plan.interval_ns)
        session["ring"] = begin
        session["mask"] = ring - 1
        session["latest"] = session["told"] = -1
        session["watermark_ns"] = session["first_ns"]
        if index >= 0:
            self.state.sessions[index] = session[0]
            self._make_heap()
            return index
        self._replace(
            sessions=np.concatenate([self.state.sessions, session]),
            names=np.concatenate([self.state.names, np.zeros((1, NAME_SIZE), np.uint8)]),
            heap=np.append(self.state.heap, 0),
            heap_ns=np.append(self.state.heap_ns, 0),
        )
        self.targets.append(None)
        self._make_heap()
        return len(self.targets) - 1

    def direct(self, index: int, target: SocketAddress, door: Door) -> None:
        """Send a session's packets to an address from now on.

        Raises:
            OSError: there is no socket to be had for it.
        """
        s = self.doors.get(door)
        if s is None:
            s = self._open(door)
        session = self.state.sessions[index]
        if session["socket"] != s:
            session["socket"] = s
            session["ssid"] = self._ssid(s)
            self.state.of_ssid[s, session["ssid"]] = index
            self._ssids.setdefault(index, []).append((s, int(session["ssid"])))
        if self.targets[index] is not None:
            self._unlink_name(index)
        octets = _sockaddr(target)
        self.state.names[index] = 0
        self.state.names[index, : len(octets)] = np.frombuffer(octets, np.uint8)
        session["name_length"] = 0 if door.alone else len(octets)
        session["muted_ns"] = 0
        self.targets[index] = target
        self._link_name(index)

    def begin(self, phases_ns: Mapping[int, int], now: Instant) -> None:
        """Let sessions of which nothing was due yet begin now, each at its phase."""
        for index, phase_ns in phases_ns.items():
            session = self.state.sessions[index]
            session["first_ns"] = session["watermark_ns"] = now.mono_ns + phase_ns
        self._make_heap()

    def retire(self, index: int) -> None:
        """Let nothing further of a session become due."""
        session = self.state.sessions[index]
        session["count"] = session["taken"]
        self._make_heap()

    def free(self, index: int) -> None:
        """Let another session have the place of one that was retired and is over.

        Whatever comes for it from now on, a late reply or a late timestamp, is nobody's.
        """
        for s, ssid in self._ssids.pop(index, ()):
            self.state.of_ssid[s, ssid] = -1
        if self.targets[index] is not None:
            self._unlink_name(index)
            self.targets[index] = None
        ring = int(self.state.sessions[index]["mask"]) + 1
        self._free_places.setdefault(ring, []).append(index)

    def stop(self) -> None:
        """Let nothing further become due."""
        self.state.sessions["count"] = self.state.sessions["taken"]
        self.state.heap_size[0] = 0

    @property
    def finished(self) -> bool:
        """Nothing more is due, and all that was is in the rows."""
        if not self._settled():
            return False
        with self.held():  # what seems so may be in the midst of a turn
            return self._settled()

    def _settled(self) -> bool:
        sessions = self.state.sessions
        settled = (sessions["harvest"] == sessions["position"]).all()
        return bool(self.state.heap_size[0] == 0 and settled)

    def take_rows(self) -> NDArray[np.void]:
        """Return the rows written since; another thread may do that while the loop runs."""
        words, rows = self.state.words, self.state.rows
        tail, head = int(words[TAIL]), int(words[HEAD])
        taken: NDArray[np.void] = rows[np.arange(tail, head) & (len(rows) - 1)]
        words[TAIL] = head
        return taken

    def source_port(self, index: int) -> int | None:
        """Return the port which a session's packets leave from; None before the first has left."""
        s = int(self.state.sessions[index]["socket"]) if index < len(self.targets) else -1
        if s < 0:
            return None
        ports = self.ports or [sock.getsockname()[1] for sock in self.sockets]
        return ports[s] or None

    def close(self) -> None:
        self.ports = [sock.getsockname()[1] for sock in self.sockets]
        for sock in self.sockets:
            sock.close()
        self.state.sockets["fd"] = -1

    def _open(self, door: Door) -> int:
        sock = open_shared_socket(door.family, door.dscp)
        try:
            if door.alone is not None:
                sock.connect(door.alone.sockaddr)
            stamps = enable_timestamps(sock, transmit=True)
        except OSError:
            sock.close()
            raise
        octets = _template(door.dscp, door.kind)
        entry = np.zeros(1, SOCKET)
        entry["fd"], entry["kind"], entry["stamps"] = sock.fileno(), door.kind, stamps
        entry["size"] = len(octets)
        entry["wanted"] = SIZE[door.kind] + _WANTED_AT
        template = np.zeros((1, self.state.templates.shape[1]), np.uint8)
        template[0, : len(octets)] = np.frombuffer(octets, np.uint8)
        state = self.state
        self._replace(
            sockets=np.concatenate([state.sockets, entry]),
            of_ssid=np.concatenate([state.of_ssid, np.full((1, SSIDS), -1, np.int32)]),
            numbered=np.concatenate([state.numbered, np.full((1, NUMBERS, 3), -1, np.int64)]),
            waiting=np.concatenate([state.waiting, np.zeros((1, BATCH, 3), np.int64)]),
            templates=np.concatenate([state.templates, template]),
            discarded=np.concatenate([state.discarded, np.zeros((1, len(CAUSES)), np.int64)]),
            errors=np.concatenate([state.errors, np.zeros((1, 2, ERRNO_MAX), np.int64)]),
        )
        self.sockets.append(sock)
        self._free_ssid.append(1 + secrets.randbelow(SSIDS - 1))
        s = self.doors[door] = len(self.sockets) - 1
        return s

    def _ssid(self, s: int) -> int:
        """Return an SSID that no session of a socket has; 0 is nobody's."""
        for _ in range(SSIDS):
            ssid = self._free_ssid[s]
            self._free_ssid[s] = ssid % (SSIDS - 1) + 1
            if self.state.of_ssid[s, ssid] < 0:
                return ssid
        raise OSError(f"more than {SSIDS - 1} sessions of one socket")

    def _key(self, key: bytes) -> int:
        """Return where a key is; sites that share one share its place."""
        if key not in self._keys:
            self._keys[key] = len(self._keys)
            self._replace(keys=np.vstack([self.state.keys, hmac_key(key)]))
        return self._keys[key]

    def _take_records(self, ring: int) -> int:
        """Return where there is room for the records of another session.

        It doubles when it is full: sessions join while others are measured, who wait meanwhile.
        """
        begin, room = self._records_used, len(self.state.records)
        self._records_used += ring
        if self._records_used > room:
            more = max(room, self._records_used - room)
            records = np.zeros(more, RECORD)
            records["position"] = -1
            none = np.full(more, -1, np.int64)
            self._replace(
                records=np.concatenate([self.state.records, records]),
                by_order=np.concatenate([self.state.by_order, none]),
                by_reflector=np.concatenate([self.state.by_reflector, none]),
            )
        return begin

    def _clear_records(self, index: int) -> int:
        """Empty the records of a place; return where they begin."""
        begin, mask = (int(self.state.sessions[index][name]) for name in ("ring", "mask"))
        own = slice(begin, begin + mask + 1)
        self.state.records[own] = np.zeros(1, RECORD)
        self.state.records["position"][own] = -1
        self.state.by_order[own] = self.state.by_reflector[own] = -1
        return begin

    def _make_heap(self) -> None:
        """Enter every session that has packets to send, by when the next is due."""
        sessions = self.state.sessions
        going = np.flatnonzero((sessions["count"] < 0) | (sessions["taken"] < sessions["count"]))
        due_ns = sessions["first_ns"] + sessions["taken"] * sessions["interval_ns"]
        order = going[np.argsort(due_ns[going], kind="stable")]
        self.state.heap[: len(order)] = order
        self.state.heap_ns[: len(order)] = due_ns[order]
        self.state.heap_size[0] = len(order)

    def _link_name(self, index: int) -> None:
        """Let a session be found by its address."""
        place = address_hash(self.state.names[index]) % _NAMES_HASHED
        self.state.sessions[index]["neighbour"] = self.state.of_name[place]
        self.state.of_name[place] = index

    def _unlink_name(self, index: int) -> None:
        place = address_hash(self.state.names[index]) % _NAMES_HASHED
        behind = self.state.sessions[index]["neighbour"]
        if self.state.of_name[place] == index:
            self.state.of_name[place] = behind
            return
        before = self.state.of_name[place]
        while self.state.sessions[before]["neighbour"] != index:
            before = self.state.sessions[before]["neighbour"]
        self.state.sessions[before]["neighbour"] = behind

    def _replace(self, **arrays: Any) -> None:
        self.state = self.state._replace(**arrays)


def _mutex(state: State) -> ctypes.c_void_p:
    return ctypes.c_void_p(state.mutex.ctypes.data)


def _template(dscp: int, kind: int) -> bytes:
    """Return the octets of a packet, without what changes from one to the next."""
    size = int(SIZE[kind])
    extensions = asked_of_session(dscp).encode(0)
    seal = bytes.fromhex("80080010") + bytes(16) if kind == AUTHENTICATED else b""
    return bytes(size) + extensions + seal


def _sockaddr(target: SocketAddress) -> bytes:
    """Return `struct sockaddr_in` or `sockaddr_in6`."""
    host, port = target.sockaddr[:2]
    packed = socket.inet_pton(target.family, str(host).partition("%")[0])
    if target.family == socket.AF_INET:
        return struct.pack("=H", target.family) + struct.pack("!H4s8x", port, packed)
    scope = target.sockaddr[3] if len(target.sockaddr) > 3 else 0  # noqa: PLR2004
    start = struct.pack("=H", target.family) + struct.pack("!HI16s", port, 0, packed)
    return start + struct.pack("=I", scope)
