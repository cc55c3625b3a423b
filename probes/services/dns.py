"""DNS queries and answers without a socket; dnspython knows the wire format."""

from __future__ import annotations

import struct
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from netslo.service import DnsRequest, ServiceResult, Transport, normal_record
from probes.services.exchange import Failed

DATAGRAM_MAX: Final = 4096  # octets of an answer by UDP that are read; we ask for less
MESSAGE_MAX: Final = 16 << 10  # of one by TCP: reading it may not take long
STRANGERS_MAX: Final = 100  # datagrams that answer nothing we asked, before we give up
_PAYLOAD: Final = 1232  # what DNS Flag Day 2020 advises: no fragments on any path
_FAILURES: Final = {
    "SERVFAIL": ServiceResult.SERVFAIL,
    "NXDOMAIN": ServiceResult.NXDOMAIN,
    "REFUSED": ServiceResult.DNS_REFUSED,
}


class DnsClient:
    """Asks one question; `number` is the message's id, which whoever answers must repeat."""

    def __init__(self, request: DnsRequest, number: int) -> None:
        self._request = request
        self._query = dns.message.make_query(
            request.name,
            request.record_type,
            use_edns=0,
            payload=_PAYLOAD,
            flags=dns.flags.RD if request.recursion else 0,
            id=number,
        )
        wire = self._query.to_wire()
        framed = request.transport is not Transport.UDP
        self.octets = struct.pack("!H", len(wire)) + wire if framed else wire

    def is_answer(self, wire: bytes) -> bool:
        """Whether a datagram answers our question; a stranger may send whatever it likes."""
        return self._parse(wire) is not None

    def judge(self, wire: bytes) -> None:
        """Check an answer.

        Raises:
            Failed: it is no answer to our question, or not the one expected.
        """
        answer = self._parse(wire)
        if answer is None:
            raise Failed(ServiceResult.MALFORMED, "no answer to the question")
        if answer.flags & dns.flags.TC:
            raise Failed(ServiceResult.TRUNCATED, "the answer needs TCP")
        told, wanted = dns.rcode.to_text(answer.rcode()), self._request.rcode
        if told != wanted:
            if told == "NOERROR":
                raise Failed(ServiceResult.WRONG_RECORDS, f"an answer instead of {wanted}")
            raise Failed(_FAILURES.get(told, ServiceResult.DNS_ERROR), told)
        if wanted == "NOERROR":
            self._judge_records(answer)

    def _judge_records(self, answer: dns.message.Message) -> None:
        kind = self._request.record_type
        found = {
            _normal(kind, record.to_text())
            for rrset in answer.answer
            if rrset.rdtype == dns.rdatatype.from_text(kind)
            for record in rrset
        }
        if not found:
            raise Failed(ServiceResult.WRONG_RECORDS, f"no {kind} record")
        missing = [record for record in self._request.records if record not in found]
        if missing:
            raise Failed(ServiceResult.WRONG_RECORDS, f"without {missing[0][:60]}")

    def _parse(self, wire: bytes) -> dns.message.Message | None:
        try:
            answer = dns.message.from_wire(wire)
            return answer if self._query.is_response(answer) else None
        except (dns.exception.DNSException, ValueError, LookupError, struct.error):
            return None  # of a peer's making, whatever it is that dnspython stumbles over


class Framing:
    """Messages on a stream: two octets of length, then the message (RFC 1035 §4.2.2)."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def receive(self, octets: bytes) -> bytes | None:
        """Take in what arrived, nothing at the end; returns the message when it is whole.

        Raises:
            Failed: it is too long, or the stream ends within it.
        """
        if not octets:
            raise Failed(ServiceResult.CLOSED, "before the answer was whole")
        self._octets += octets
        if len(self._octets) < 2:  # noqa: PLR2004 - the length's own
            return None
        length = int.from_bytes(self._octets[:2], "big")
        if length > MESSAGE_MAX:
            raise Failed(ServiceResult.TOO_LARGE, f"{length} octets")
        return bytes(self._octets[2 : 2 + length]) if len(self._octets) >= 2 + length else None


def _normal(kind: str, text: str) -> str:
    try:
        return normal_record(kind, text)
    except ValueError:
        return text
