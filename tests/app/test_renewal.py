"""A part that begins anew: at its address, and as before when the new configuration is no good."""

import asyncio

import pytest

from netslo.app.renewal import Renewal
from netslo.errors import NetsloError
from netslo.model import Endpoint

HERE = Endpoint("127.0.0.1", 0)


class Part:
    """Remembers its lives; refuses to begin with the configuration `bad`."""

    def __init__(self) -> None:
        self.lives: list[tuple[str, int]] = []

    async def live(self, config, listen, stop, on_ready) -> None:
        self.lives.append((config, listen.port))
        if config == "bad":
            raise NetsloError("no good")
        on_ready(Endpoint(listen.host, listen.port or 7))
        await stop.wait()
        if config == "brittle":
            raise NetsloError("broke at its end")


async def started(part, config="one"):
    renewal, stop, ready = Renewal(part.live, config, HERE), asyncio.Event(), []
    return renewal, stop, ready, asyncio.create_task(renewal.run(stop, ready.append))


async def test_it_goes_on_with_another_configuration_where_it_was() -> None:
    part = Part()
    renewal, stop, ready, task = await started(part)
    assert await renewal.renew("two") == Endpoint("127.0.0.1", 7)
    assert await renewal.renew("three") == Endpoint("127.0.0.1", 7)
    stop.set()
    await task
    assert part.lives == [("one", 0), ("two", 7), ("three", 7)]
    assert ready == [Endpoint("127.0.0.1", 7)]


async def test_one_that_cannot_begin_is_refused_and_the_last_good_one_goes_on() -> None:
    part = Part()
    renewal, stop, _, task = await started(part)
    await renewal.renew("two")
    with pytest.raises(NetsloError, match="no good"):
        await renewal.renew("bad")
    await renewal.renew("three")
    stop.set()
    await task
    assert [config for config, _ in part.lives] == ["one", "two", "bad", "two", "three"]


async def test_what_breaks_later_is_no_refusal() -> None:
    part = Part()
    renewal, stop, _, task = await started(part)
    await renewal.renew("brittle")
    stop.set()
    with pytest.raises(NetsloError, match="broke at its end"):
        await task


async def test_a_first_life_that_cannot_begin_is_said() -> None:
    _, _, _, task = await started(Part(), "bad")
    with pytest.raises(NetsloError, match="no good"):
        await task
