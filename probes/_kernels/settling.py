"""What became of packets: given up past their time-out, and told to Python by a row each.

The rules are those of `probes.session.Session`.
"""

from __future__ import annotations

from typing import Any, Final

from analytics._kernels.compilation import compiled
from probes._kernels.layouts import BATCH, HEAD, OFFSET, TAIL, State
from probes.outcome import NEVER_NS, NO_SPAN
from probes.outcome import State as Outcome
from probes.session import CLOCK_STEP_NS, READ_GRACE_NS

_PENDING = int(Outcome.PENDING)
_ANSWERED = int(Outcome.ANSWERED)
_LOST = int(Outcome.LOST)
_UNMEASURED = int(Outcome.UNMEASURED)

_KERNEL_QUALITY, _FAR_USER_QUALITY, _USER_QUALITY = 0, 1, 2  # places in probes.outcome.QUALITIES
_KERNEL_TOLD: Final = 2


@compiled
def keep(state: State, mono_ns: int) -> None:
    """Give up what is past its time-out, and write down what is settled.

    `mono_ns` is older than the last look at the sockets, so what came in time has been seen.
    """
    for i in range(state.sessions.shape[0]):
        session = state.sessions[i]
        _expire(state, session, mono_ns)
        _harvest(state, i, mono_ns)
        if session.harvest < session.position:
            record = state.records[session.ring + (session.harvest & session.mask)]
            session.watermark_ns = record.due_ns
        elif session.count >= 0 and session.taken >= session.count:
            session.watermark_ns = NEVER_NS
        else:
            session.watermark_ns = session.first_ns + session.taken * session.interval_ns


@compiled
def _expire(state: State, session: Any, mono_ns: int) -> None:
    while session.expire < session.position:
        record = state.records[session.ring + (session.expire & session.mask)]
        if record.state == _PENDING:
            waited_ns = mono_ns - READ_GRACE_NS - (record.sent_ns - record.offset_ns)
            if waited_ns <= session.timeout_ns:
                return
            if abs(state.words[OFFSET] - record.offset_ns) > CLOCK_STEP_NS:
                record.state = _UNMEASURED
                session.unmeasured += 1
            else:
                record.state = _LOST
                session.lost += 1
        session.expire += 1


@compiled
def _harvest(state: State, i: int, mono_ns: int) -> None:
    """Write the rows of packets of which nothing more is expected, in the order of sending."""
    session = state.sessions[i]
    while session.harvest < session.expire and rows_free(state) > BATCH:
        record = state.records[session.ring + (session.harvest & session.mask)]
        if record.state == _ANSWERED:
            # A second answer may come until the time-out, and count as a duplicate.
            waited_ns = mono_ns - READ_GRACE_NS - (record.sent_ns - record.offset_ns)
            awaited = record.until_ns > mono_ns and record.stamped and not record.followed
            if waited_ns <= session.timeout_ns or awaited:
                return
        _write(state, i, record)
        session.harvest += 1


@compiled
def _write(state: State, i: int, record: Any) -> None:
    row = state.rows[state.words[HEAD] & (state.rows.shape[0] - 1)]
    outcome = row.outcome
    outcome.due_ns = record.due_ns
    outcome.rtt_ns = outcome.forward_ns = outcome.backward_ns = NO_SPAN
    outcome.order = outcome.reflector_sequence = -1
    outcome.duplicates = record.duplicates
    outcome.state = record.state
    outcome.quality = _USER_QUALITY
    outcome.ttl, outcome.dscp = record.ttl, record.dscp
    outcome.reply_ttl, outcome.reply_dscp = record.reply_ttl, record.reply_dscp
    outcome.position = record.position
    outcome.extent, outcome.far_error = record.extent, record.far_error
    outcome.reordered = record.extent > 0
    if record.state == _ANSWERED:
        outcome.forward_ns = record.received_ns - record.sent_ns
        outcome.backward_ns = record.arrived_ns - record.replied_ns
        outcome.rtt_ns = max(0, outcome.forward_ns + outcome.backward_ns)
        outcome.order = record.order
        outcome.reflector_sequence = record.reflector_sequence
        if record.stamped and record.known:
            told = record.followed == _KERNEL_TOLD
            outcome.quality = _KERNEL_QUALITY if told else _FAR_USER_QUALITY
    row.session = i
    row.offset_ns = record.offset_ns
    row.late_ns = record.late_ns
    row.packets = 1
    state.words[HEAD] += 1


@compiled
def write_unsent(state: State, i: int, due_ns: int, packets: int, why: int) -> None:
    """Write down packets which nobody sent, an interval apart from `due_ns` on."""
    row = state.rows[state.words[HEAD] & (state.rows.shape[0] - 1)]
    outcome = row.outcome
    outcome.due_ns = due_ns
    outcome.rtt_ns = outcome.forward_ns = outcome.backward_ns = NO_SPAN
    outcome.order = outcome.reflector_sequence = outcome.position = -1
    outcome.duplicates = outcome.extent = 0
    outcome.far_error = -1
    outcome.state = _UNMEASURED
    outcome.quality = _USER_QUALITY
    outcome.ttl = outcome.dscp = outcome.reply_ttl = outcome.reply_dscp = -1
    outcome.reordered = 0
    row.session = i
    row.offset_ns = state.words[OFFSET]
    row.late_ns = why
    row.packets = packets
    state.sessions[i].unmeasured += packets
    state.words[HEAD] += 1


@compiled
def rows_free(state: State) -> int:
    return state.rows.shape[0] - (state.words[HEAD] - state.words[TAIL])
