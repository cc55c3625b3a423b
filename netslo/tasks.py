"""Tasks of asyncio that have to end."""

from __future__ import annotations

import asyncio
from typing import Any, Final

_AGAIN_S: Final = 0.1


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until all of them have ended; what they failed with meanwhile is nobody's.

    Once may not be enough: aiohttp 3.14 takes a cancellation for its own time-out when both come
    in one turn of the loop, as they do on a host that stood still. Then the task goes on.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()
