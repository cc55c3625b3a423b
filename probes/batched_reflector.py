"""The reflector's compiled loop on its sockets."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

import numpy as np

from netslo.model import NS_PER_S
from probes._kernels.layouts import BATCH, ERRNO_MAX, NUMBERS
from probes._kernels.libc import new_messages
from probes._kernels.recent import new_recent
from probes._kernels.reflecting import reflect
from probes._kernels.reflector_layouts import (
    CAUSES,
    COST_NS,
    DEPTH_NS,
    DOOR,
    ERROR_ESTIMATE,
    KIND,
    REFLECTED,
    REPLY,
    SESSION,
    STATEFUL,
    SYNCHRONISATION,
    WORDS,
    State,
)
from probes._kernels.sha256 import hmac_key
from probes._kernels.stamp import AUTHENTICATED, UNAUTHENTICATED
from probes._kernels.telling import new_telling
from probes.clock import ClockState, read_clock_state
from probes.stamp.packet import PACKET_SIZE_MAX
from probes.stamp.rate_limit import SOURCES_MAX, RateLimit
from probes.stamp.reflector import SESSIONS_MAX
from probes.stamp.tlv import Synchronisation

_CLOCK_READ_NS: Final = 16 * NS_PER_S
_DOORS_MAX: Final = 16  # that have a table of sessions each; what is beyond shares theirs


class CompiledReflector:
    """Answers on sockets that are bound already.

    Args:
        sockets: And whether the kernel tells when datagrams leave by them.
        limit: What a source address may have answered.
        stateful: Whether replies are counted by session.
        key: Only what is authenticated by it is answered; None: only what is not authenticated.
    """

    def __init__(
        self,
        sockets: Mapping[socket.socket, bool],
        limit: RateLimit,
        *,
        stateful: bool,
        key: bytes | None,
    ) -> None:
        self._state = _new_state(sockets, limit, stateful=stateful, key=key)
        self._note_clock(read_clock_state())
        reflect(self._state, 0)  # compiled, before the first request waits for it

    @property
    def reflected(self) -> int:
        """Datagrams that were answered so far; any thread may ask."""
        return int(self._state.words[REFLECTED])

    @property
    def discarded(self) -> Counter[str]:
        """Datagrams that were not, by the reason; any thread may ask."""
        found: Counter[str] = Counter()
        counts, errors = self._state.discarded.copy(), self._state.errors.copy()
        for cause in np.flatnonzero(counts).tolist():
            found[CAUSES[cause].value] = int(counts[cause])
        for number in np.flatnonzero(errors).tolist():
            name = errno.errorcode.get(number, "error")
            found[f"reply not sent: {name}"] = int(errors[number])
        return found

    def run(self, stop: threading.Event, poll_s: float) -> None:
        """Answer until `stop` is set, which is looked at every `poll_s` seconds."""
        clock_read_ns = time.monotonic_ns()
        while not stop.is_set():
            now_ns = time.monotonic_ns()
            if now_ns - clock_read_ns > _CLOCK_READ_NS:
                clock_read_ns = now_ns
                self._note_clock(read_clock_state())
            reflect(self._state, now_ns + int(poll_s * NS_PER_S))

    def _note_clock(self, clock: ClockState) -> None:
        known = Synchronisation.NTP if clock.synchronised else Synchronisation.FREE_RUNNING
        self._state.words[ERROR_ESTIMATE] = clock.error_estimate().encode()
        self._state.words[SYNCHRONISATION] = known


def _new_state(
    sockets: Mapping[socket.socket, bool], limit: RateLimit, *, stateful: bool, key: bytes | None
) -> State:
    doors = np.zeros(len(sockets), DOOR)
    doors["fd"] = [sock.fileno() for sock in sockets]
    doors["port"] = [sock.getsockname()[1] for sock in sockets]
    doors["stamps"] = list(sockets.values())
    words = np.zeros(WORDS, np.int64)
    words[COST_NS], words[DEPTH_NS] = limit.cost_ns, limit.burst * limit.cost_ns
    words[STATEFUL] = stateful
    words[KIND] = UNAUTHENTICATED if key is None else AUTHENTICATED
    sessions = SESSIONS_MAX * min(len(sockets), _DOORS_MAX) if stateful else 1
    requests = new_messages(BATCH, PACKET_SIZE_MAX)
    return State(
        doors=doors,
        polled=np.zeros((len(sockets), 2), np.int32),
        numbered=np.full((len(sockets), NUMBERS, 4), -1, np.int64),
        sessions=np.zeros(sessions, SESSION),
        of_session=new_recent(sessions),
        telling=new_telling(sessions),
        of_source=new_recent(SOURCES_MAX),
        full_ns=np.zeros(SOURCES_MAX, np.int64),
        key=np.zeros(16, np.uint32) if key is None else hmac_key(key),
        replies=np.zeros(BATCH, REPLY),
        address=np.zeros(16, np.uint8),
        discarded=np.zeros(len(CAUSES), np.int64),
        errors=np.zeros(ERRNO_MAX, np.int64),
        words=words,
        clock=np.zeros(2, np.int64),
        requests=requests,
        output=requests._replace(headers=np.zeros_like(requests.headers)),
    )
