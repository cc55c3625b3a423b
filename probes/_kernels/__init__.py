"""Compiled loops of probe and reflector: many packets a system call, without the interpreter.

They call libc by numba and lay out its structures by hand, so they are for 64-bit little-endian
Linux; elsewhere, without numba, and with `NETSLO_NUMBA=0` plain Python does the same, slower.

Every number that came in a packet is checked before it leads to an address in memory.
"""

from __future__ import annotations

import os
import pathlib
import struct
import sys
from importlib.util import find_spec
from typing import Final

_PLATFORM: Final = (
    sys.platform == "linux" and sys.byteorder == "little" and struct.calcsize("P") == 8
)


def available() -> bool:
    """Whether this host can run them, and nobody keeps numba out."""
    if not _PLATFORM or os.environ.get("NETSLO_NUMBA", "1") == "0" or find_spec("numba") is None:
        return False
    try:
        from probes._kernels import libc as _  # noqa: F401 - numba may be there and not run
    except ImportError:
        return False
    return True


def cache_folder() -> pathlib.Path | None:
    """Where the compiled loop is kept; None where no folder can be written, or it cannot run."""
    if not available():
        return None
    from probes._kernels.measuring import measure

    stats = getattr(measure, "stats", None)  # none with NUMBA_DISABLE_JIT=1
    path = getattr(stats, "cache_path", None)
    return None if path is None else pathlib.Path(path)
