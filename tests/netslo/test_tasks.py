"""Tasks end, also those that overhear that they shall."""

from __future__ import annotations

import asyncio

from netslo.tasks import cancelled


async def test_a_task_that_swallows_cancellations_ends_all_the_same() -> None:
    heard = []

    async def deaf() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                heard.append(len(heard))
                if len(heard) == 3:
                    raise

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await cancelled(task)
    assert task.cancelled()
    assert heard == [0, 1, 2]


async def test_what_ended_before_or_fails_at_its_end_is_no_trouble() -> None:
    async def failing() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ValueError

    over, going = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(failing())
    await over
    await cancelled(over, going)
    assert isinstance(going.exception(), ValueError)
    await cancelled()
