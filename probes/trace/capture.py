"""What a trace sent and received, as a file that Wireshark and tcpdump read. Written by scapy."""

from __future__ import annotations

import pathlib
import socket
from collections import deque
from types import TracebackType
from typing import Final, Self

from netslo.errors import ConfigurationError
from netslo.model import NS_PER_S
from probes.trace.carrier import Packet

_LINKTYPE_RAW: Final = 101  # IP packets without a link's header


class Capture:
    """A pcap file with stamps in nanoseconds.

    `take` is quick, for it is called between packets; `write` builds headers, and takes longer.
    Checksums of IPv4 headers sent are written by the kernel, and IPv6 headers of what came are not
    seen by raw sockets: here both are made anew.

    Raises:
        ConfigurationError: the file cannot be written.
    """

    def __init__(self, file: pathlib.Path) -> None:
        from scapy.utils import PcapWriter

        self._file = file
        self._waiting: deque[Packet] = deque()
        try:
            self._writer = PcapWriter(str(file), linktype=_LINKTYPE_RAW, nano=True)
            self._writer.write_header(None)
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.write()
            self._writer.close()
        except OSError as failure:
            raise self._unwritable(failure) from failure

    def take(self, packet: Packet) -> None:
        """Keep a packet until it is written; from any thread."""
        self._waiting.append(packet)

    def write(self) -> None:
        """Write what was kept.

        Raises:
            ConfigurationError: the file cannot be written any more.
        """
        try:
            while self._waiting:
                packet = self._waiting.popleft()
                seconds, ns = divmod(packet.unix_ns, NS_PER_S)
                self._writer.write_packet(_whole(packet), sec=seconds, usec=ns)
            self._writer.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(f"--pcap {self._file}: cannot be written: {error.strerror}")


def _whole(packet: Packet) -> bytes:
    """Return a packet from its IP header on."""
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    from scapy.packet import Raw

    if packet.headless_from is not None:
        header = IPv6(src=packet.headless_from, dst=packet.own, nh=packet.protocol)
        return bytes(header / Raw(packet.octets))
    if packet.family == socket.AF_INET and packet.sent:
        whole = IP(packet.octets)
        del whole.chksum
        return bytes(whole)
    return packet.octets
