import socket

import pytest

from netslo.model import Endpoint
from probes.address import SocketAddress, is_forbidden, parse_endpoint, resolve


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("london.example.net", "london.example.net", 862),
        ("london.example.net:18620", "london.example.net", 18620),
        ("192.0.2.1:0", "192.0.2.1", 0),
        ("2001:db8::7", "2001:db8::7", 862),
        ("[2001:db8::7]", "2001:db8::7", 862),
        ("[2001:db8::7]:65535", "2001:db8::7", 65535),
        ("fe80::1%eth0", "fe80::1%eth0", 862),
    ],
)
def test_an_endpoint_is_read_as_people_write_it(text, host, port):
    endpoint = parse_endpoint(text, 862)
    assert endpoint == Endpoint(host, port)
    assert parse_endpoint(str(endpoint), 1) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":862",
        "host:",
        "host:65536",
        "host:-1",
        "host:x",
        "host:٣",
        "[::1",
        "[::1]x:1",
        "[::1]:",
        "a b",
    ],
)
def test_an_endpoint_that_is_none_is_refused_with_the_text(text):
    with pytest.raises(ValueError, match=r"has|is not") as refused:
        parse_endpoint(text, 862)
    assert repr(text) in str(refused.value)


def test_an_address_resolves_to_itself():
    address = resolve(Endpoint("127.0.0.1", 18620))
    assert (address.family, address.sockaddr) == (socket.AF_INET, ("127.0.0.1", 18620))
    assert str(resolve(Endpoint("::1", 5))) == "[::1]:5"


def test_a_link_local_address_keeps_its_zone():
    loopback = socket.if_nametoindex("lo")
    for text in ("fe80::1%lo", f"fe80::1%{loopback}"):
        address = resolve(Endpoint(text, 5))
        assert address.sockaddr[3] == loopback
        assert (address.host, str(address)) == ("fe80::1%lo", "[fe80::1%lo]:5")
    gone = SocketAddress(socket.AF_INET6, ("fe80::1", 5, 0, 2**31 - 1))
    assert gone.host == f"fe80::1%{2**31 - 1}"


def test_a_broadcast_address_is_no_target():
    assert is_forbidden(resolve(Endpoint("255.255.255.255", 9)))
    assert is_forbidden(resolve(Endpoint("127.255.255.255", 9)))
    assert not is_forbidden(resolve(Endpoint("127.0.0.1", 9)))
    assert not is_forbidden(resolve(Endpoint("::1", 9)))


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "\udcff"])
def test_what_cannot_be_a_name_does_not_resolve(host):
    with pytest.raises(socket.gaierror):
        resolve(Endpoint(host, 1))


def test_an_address_of_the_other_family_does_not_resolve():
    with pytest.raises(socket.gaierror):
        resolve(Endpoint("127.0.0.1", 1), socket.AF_INET6)
