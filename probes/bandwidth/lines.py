"""A control channel's socket: lines within a time, and no longer."""

from __future__ import annotations

import socket
import time
from typing import Final

from probes.bandwidth.control import LineBuffer, Message

_CHUNK: Final = 4096


class Gone(Exception):
    """The peer closed the connection, or it broke."""


class TooSlow(Exception):
    """The peer did not say a whole line, or did not take one, in time."""


class Lines:
    """Lines to and from a peer. One thread reads and writes."""

    def __init__(self, sock: socket.socket, line_max: int) -> None:
        self.sock = sock
        self._buffer = LineBuffer(line_max)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, timeout_s: float) -> bytes:
        """Return the next line, within `timeout_s` altogether.

        Raises:
            Gone: there is no further one.
            TooSlow: it did not come in time.
            LineTooLong: it is too long.
        """
        deadline_s = time.monotonic() + timeout_s
        while (line := self._buffer.take()) is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TooSlow
            self.sock.settimeout(left_s)
            try:
                octets = self.sock.recv(_CHUNK)
            except TimeoutError:
                raise TooSlow from None
            except OSError as error:
                raise Gone(error.strerror or str(error)) from error
            if not octets:
                raise Gone("the peer closed the connection")
            self._buffer.feed(octets)
        return line

    def write(self, message: Message, timeout_s: float) -> None:
        """Send a message.

        Raises:
            Gone: nobody takes it.
            TooSlow: it was not taken in time.
        """
        self.sock.settimeout(timeout_s)
        try:
            self.sock.sendall(message.encode())
        except TimeoutError:
            raise TooSlow from None
        except OSError as error:
            raise Gone(error.strerror or str(error)) from error
