"""Having the loops of probe and reflector ready before a schedule begins.

`python -m probes.warm_up` does it at installation: compiled once per machine, kept on disk.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Final

from probes import _kernels
from probes.stamp.rate_limit import RateLimit

_PATIENCE_S: Final = 8.0  # a loop that is in the cache takes less, also on a busy host

_log = logging.getLogger(__name__)


def load_measuring() -> None:
    """Call the prober's loop with nothing to do."""
    from probes._kernels.measuring import measure
    from probes.kernel_state import Plant

    control = os.eventfd(1, os.EFD_CLOEXEC)
    try:
        measure(Plant().state, 0, control, 0, 0)
    finally:
        os.close(control)


def load_reflecting() -> None:
    """Call the reflector's loop with nothing to do."""
    from probes.batched_reflector import CompiledReflector

    CompiledReflector({}, RateLimit(), stateful=True, key=None)


def warm_up(load: Callable[[], None] = load_measuring) -> bool:
    """Load a loop, compiling what is not in the cache; says so if that takes long.

    Returns False where it cannot run; then plain Python does the same, slower.
    """
    began_s = time.monotonic()
    if not _kernels.available():
        return False
    load()
    took_s = time.monotonic() - began_s
    if took_s > _PATIENCE_S:
        from analytics._kernels.compilation import kept

        _log.warning("they are ready after %.0f s; %s", took_s, kept(_kernels.cache_folder()))
    return True


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    warm_up(load_measuring)
    warm_up(load_reflecting)
