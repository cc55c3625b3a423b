"""Ports that are free, and stay so beside everything else that this machine does."""

from __future__ import annotations

import functools
import pathlib
import random
import socket

_RANGE = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
_dice = random.SystemRandom()  # hypothesis seeds the common one alike in every worker


@functools.cache
def _first_ephemeral() -> int:
    return int(_RANGE.read_text(encoding="ascii").split()[0]) if _RANGE.exists() else 32_768


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """Return a port of this host at which nothing listens.

    It is none of those that the kernel gives to whoever binds port 0: such a one could be given to
    another test's server at once.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = _dice.randrange(10_000, _first_ephemeral())
        with socket.socket(family, kind) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
        return port


def free_udp_port() -> int:
    """Return a UDP port of loopback at which nothing listens."""
    return free_port(socket.SOCK_DGRAM)
