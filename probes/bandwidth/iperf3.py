"""A test against a plain iperf3 server, by the iperf3 program of this host."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import asdict
from typing import Any, Final

from pydantic import TypeAdapter

from netslo.errors import NetsloError
from netslo.model import Endpoint
from probes.bandwidth.load import Progress
from probes.bandwidth.plan import Direction
from probes.bandwidth.result import Received, Throughput

PORT: Final = 5201
_SLACK_S: Final = 15.0  # to connect, and to exchange results
_POLL_S: Final = 0.05
_OUTPUT_MAX: Final = 64 << 20
_US: Final = 1e-6
_TEXT_MAX: Final = 200
_THROUGHPUT: Final = TypeAdapter(Throughput)
_RECEIVED: Final = TypeAdapter(Received)


class NotConnected(NetsloError):
    """The server was not reached, or did not want this client: nothing was sent."""


def run_iperf3(
    server: Endpoint,
    direction: Direction,
    streams: int,
    seconds: float,
    congestion: str | None,
    progress: Progress,
) -> tuple[Throughput, Received]:
    """Run the program and read what it says.

    Raises:
        NetsloError: it is not installed, or says that it could not.
    """
    program = shutil.which("iperf3")
    if program is None:
        raise NetsloError("iperf3 is not installed on this host (Debian package iperf3)")
    command = [program, "--client", server.host, "--port", str(server.port), "--json"]
    command += ["--time", str(max(1, round(seconds))), "--parallel", str(streams)]
    command += ["--reverse"] if direction is Direction.REVERSE else []
    command += [] if congestion is None else ["--congestion", congestion]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        progress.began_s = time.monotonic()
        output = _output(process, seconds + _SLACK_S, progress)
    try:
        return read_iperf3(output)
    except NotConnected:
        progress.began_s = 0.0
        raise


def _output(process: subprocess.Popen[bytes], timeout_s: float, progress: Progress) -> bytes:
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            output, _ = process.communicate(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            if progress.stop or time.monotonic() > deadline_s:
                process.kill()
                process.communicate()
                why = "was stopped" if progress.stop else f"did not end within {timeout_s:g} s"
                raise NetsloError(f"iperf3 {why}") from None
            continue
        progress.ended = True
        return output[:_OUTPUT_MAX]


def read_iperf3(output: bytes) -> tuple[Throughput, Received]:
    """Return what iperf3's JSON says: goodput is what the receiver got.

    Raises:
        NetsloError: it is no such JSON, or tells of an error.
    """
    try:
        found = json.loads(output)
        if "error" in found:
            connected = found.get("start", {}).get("connected")
            failure = NetsloError if connected else NotConnected
            raise failure(f"iperf3: {str(found['error'])[:_TEXT_MAX]}")
        return _read(found)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError) as error:
        text = output.decode(errors="replace").strip()[:_TEXT_MAX]
        raise NetsloError(f"iperf3 said what cannot be read: {text}") from error


def _read(found: dict[str, Any]) -> tuple[Throughput, Received]:
    end, start = found["end"], found["start"]
    received, sent = end["sum_received"], end["sum_sent"]
    seconds = float(received["seconds"])
    senders = [stream["sender"] for stream in end["streams"]]
    receivers = [stream["receiver"] for stream in end["streams"]]
    min_rtts = [float(each["min_rtt"]) * _US for each in senders if each.get("min_rtt")]
    mean_rtts = [float(each["mean_rtt"]) * _US for each in senders if each.get("mean_rtt")]
    octets = int(received["bytes"])
    retransmits = sent.get("retransmits")  # only some systems tell
    why = None if octets and seconds > 0 else "nothing was received"
    told = Throughput(
        goodput_bit_per_s=octets * 8 / seconds if why is None else None,
        octets=octets,
        measured_s=seconds,
        warm_up_s=0.0,
        by_stream_bit_per_s=tuple(float(each["bits_per_second"]) for each in receivers),
        segment_octets=int(start.get("tcp_mss_default") or 0),
        sent_segments=None,  # it does not tell
        retransmitted_segments=None if retransmits is None else int(retransmits),
        min_rtt_s=min(min_rtts, default=None),
        rtt_s=sum(mean_rtts) / len(mean_rtts) if mean_rtts else None,
        congestion=str(end.get("sender_tcp_congestion") or "")[:32],
        busy=None,
        receiver_limited=None,
        sender_limited=None,
        ended_by="time",
        why=why,
    )
    # The far end's figures are in it: what cannot be is refused.
    return (
        _THROUGHPUT.validate_python(asdict(told)),
        _RECEIVED.validate_python({"octets": octets, "seconds": seconds}),
    )
