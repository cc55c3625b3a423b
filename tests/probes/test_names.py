"""Names that are followed: who is asked, when, and what becomes of the answer."""

import asyncio
import socket
import threading
from contextlib import asynccontextmanager

import pytest

import probes.address
import probes.names
from netslo.model import Endpoint
from probes.address import ADDRESSES_MAX, SocketAddress, has_route, read_address, resolve_all
from probes.names import Names

NAME = Endpoint("leeds.example", 862)


def address(last: int) -> SocketAddress:
    return SocketAddress(socket.AF_INET, (f"127.0.0.{last}", 862))


@pytest.fixture
def resolver(monkeypatch):
    """Answers by name; the times between questions are short."""
    answers = {}

    def resolve(endpoint):
        found = answers[endpoint.host]
        if isinstance(found, threading.Event):
            found.wait(30)
            raise OSError(1, "given up")
        if found is None:
            raise OSError(1, "no such name")
        return found

    monkeypatch.setattr(probes.names, "resolve_all", resolve)
    monkeypatch.setattr(probes.names, "ASK_SPACING_S", 0.01)
    monkeypatch.setattr(probes.names, "ASK_AGAIN_S", 0.02)
    monkeypatch.setattr(probes.names, "RETRY_S", 0.02)
    return answers


@asynccontextmanager
async def following(*endpoints):
    changes = []
    names = Names(lambda endpoint, found: changes.append((endpoint.host, found)))
    names.follow(endpoints)
    try:
        yield names, changes
    finally:
        await names.close()


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.005)


async def test_a_name_is_asked_again_and_a_change_is_told_once(resolver):
    resolver[NAME.host] = (address(1),)
    async with following(NAME) as (names, changes):
        await names.settle(60)
        assert names.addresses == {NAME: (address(1),)}
        resolver[NAME.host] = (address(1), address(2))
        await until(lambda: len(changes) == 2)
        await asyncio.sleep(0.1)
    assert changes == [(NAME.host, (address(1),)), (NAME.host, (address(1), address(2)))]


async def test_a_name_that_does_not_resolve_any_more_keeps_its_addresses(resolver, caplog):
    resolver[NAME.host] = (address(1),)
    async with following(NAME) as (names, changes):
        await names.settle(60)
        resolver[NAME.host] = None
        await until(lambda: "leeds.example does not resolve: no such name" in caplog.text)
        await asyncio.sleep(0.1)
        assert names.addresses == {NAME: (address(1),)}
    assert len(changes) == 1
    assert len(caplog.records) == 1


async def test_doubt_has_a_name_asked_at_once(resolver, monkeypatch):
    monkeypatch.setattr(probes.names, "ASK_AGAIN_S", 3600.0)
    resolver[NAME.host] = (address(1),)
    async with following(NAME) as (names, changes):
        await names.settle(60)
        resolver[NAME.host] = (address(2),)
        await asyncio.sleep(0.1)
        assert len(changes) == 1
        names.doubt(NAME)
        names.doubt(Endpoint("another.example", 1))
        await until(lambda: len(changes) == 2)


async def test_names_that_hang_keep_no_other_waiting(resolver):
    hung = threading.Event()
    many = [Endpoint(f"hangs-{n}.example", 862) for n in range(100)]
    resolver |= {endpoint.host: hung for endpoint in many} | {NAME.host: (address(1),)}
    async with following(*many, NAME) as (names, _):
        await names.settle(0.05)
        await until(lambda: NAME in names.addresses)
        assert set(names.addresses) == {NAME}
    hung.set()


async def test_what_is_followed_may_change(resolver):
    other, number = Endpoint("dundee.example", 862), Endpoint("127.0.0.9", 1)
    resolver |= {NAME.host: (address(1),), other.host: (address(2),)}
    async with following(NAME) as (names, changes):
        await names.settle(60)
        names.follow([other, number])
        assert names.addresses[number] == (SocketAddress(socket.AF_INET, ("127.0.0.9", 1)),)
        await names.settle(60)
        assert set(names.addresses) == {other, number}
        names.follow([other, number])
        await asyncio.sleep(0.1)
    assert changes == [(NAME.host, (address(1),)), (other.host, (address(2),))]


def answer(*addresses):
    def getaddrinfo(_host, port, **_):
        return [
            (
                socket.AF_INET6 if ":" in each else socket.AF_INET,
                0,
                0,
                "",
                (each, port, 0, 0)[: 4 if ":" in each else 2],
            )
            for each in addresses
        ]

    return getaddrinfo


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["127.0.0.2", "::1", "127.0.0.1"], ["127.0.0.1", "127.0.0.2", "::1"]),
        (["127.0.0.1", "127.0.0.1"], ["127.0.0.1"]),
        (["198.51.100.1", "127.0.0.1"], ["127.0.0.1"]),
        (["198.51.100.1"], ["198.51.100.1"]),
        ([f"127.0.0.{n}" for n in range(1, 30)], None),
    ],
    ids=["both families", "twice", "one without a route", "all without a route", "very many"],
)
def test_every_address_of_a_name_is_found(monkeypatch, given, found):
    monkeypatch.setattr(socket, "getaddrinfo", answer(*given))
    monkeypatch.setattr(
        probes.address, "has_route", lambda address: not address.sockaddr[0].startswith("198")
    )
    resolved = [str(each.sockaddr[0]) for each in resolve_all(NAME)]
    assert resolved == found if found else len(resolved) == ADDRESSES_MAX


def test_loopback_has_a_route_and_a_family_that_is_not_there_has_none(monkeypatch):
    assert has_route(address(1))

    class NoSocket:
        def __init__(self, *_):
            raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", NoSocket)
    assert not has_route(address(1))


@pytest.mark.parametrize(
    ("host", "number"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("leeds.example", False),
        ("1.2.3.4.5", False),
        ("", False),
    ],
)
def test_an_address_is_known_without_asking(host, number, monkeypatch):
    real = socket.getaddrinfo

    def nobody_is_asked(*arguments, flags=0, **more):
        assert flags & socket.AI_NUMERICHOST
        return real(*arguments, flags=flags, **more)

    monkeypatch.setattr(socket, "getaddrinfo", nobody_is_asked)
    assert (read_address(Endpoint(host, 862)) is not None) is number
