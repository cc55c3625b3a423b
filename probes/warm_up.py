"""Having the loops of probe and reflector ready before a schedule begins.

`python -m probes.warm_up` does it at installation: compiled once per machine, kept on disk.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import Final

from probes import _kernels

_PATIENCE_S: Final = 2.0  # with loops from the cache it takes less

_log = logging.getLogger(__name__)


def warm_up() -> bool:
    """Load the loops, compiling what is not in the cache; says so if that takes long.

    Returns False where they cannot run; then plain Python does the same, slower.
    """
    notice = threading.Timer(
        _PATIENCE_S, lambda: _log.warning("compiling the measuring loops, once per machine ...")
    )
    notice.daemon = True
    began_s = time.monotonic()
    notice.start()
    try:
        if not _kernels.available():
            return False
        _exercise()
    finally:
        notice.cancel()
    took_s = time.monotonic() - began_s
    if took_s > _PATIENCE_S:
        _log.warning("the measuring loops are ready after %.0f s", took_s)
    return True


def _exercise() -> None:
    """Call each loop with nothing to do."""
    from probes._kernels.measuring import measure
    from probes.kernel_state import Plant

    control = os.eventfd(1, os.EFD_CLOEXEC)
    try:
        measure(Plant().state, control, 0)
    finally:
        os.close(control)


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    warm_up()
