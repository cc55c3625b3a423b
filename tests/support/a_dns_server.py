"""A DNS server of a few lines, by dnspython's own server side."""

import socket
import threading
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from netslo.service import Where


def reply(wire: bytes, *records: str, rcode="NOERROR", truncated=False) -> bytes:
    """Answer a query as a resolver does, by dnspython's own server side."""
    query = dns.message.from_wire(wire)
    answer = dns.message.make_response(query, recursion_available=True)
    answer.set_rcode(dns.rcode.from_text(rcode))
    if truncated:
        answer.flags |= dns.flags.TC
    name = query.question[0].name
    for record in records:
        kind, _, text = record.partition(" ")
        answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, text))
    return answer.to_wire()


@contextmanager
def udp_server(*answers):
    """Answer each query with what these make of it, one datagram each."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    def run() -> None:
        while True:
            wire, address = sock.recvfrom(4096)
            if wire == b"end":
                return
            for make in answers:
                sock.sendto(make(wire), address)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    port = sock.getsockname()[1]
    try:
        yield Where("127.0.0.1", port)
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"end", ("127.0.0.1", port))
        thread.join(60)
        sock.close()
