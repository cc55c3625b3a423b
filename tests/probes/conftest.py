import socket
from collections.abc import Iterator

import pytest

from probes.timestamps import RECEIVED, enable_timestamps


@pytest.fixture(scope="session")
def stamping() -> Iterator[None]:
    """Have the kernel stamp what comes: it begins a while after the first socket asks for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        enable_timestamps(sock)
        stamped = False
        while not stamped:
            sock.sendto(b"", sock.getsockname())
            _, ancillary, _, _ = sock.recvmsg(10, 100)
            stamped = any((level, kind) in RECEIVED for level, kind, _ in ancillary)
        yield
