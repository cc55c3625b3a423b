"""`netslo measure http`, `tls`, `tcp` and `dns` as a person and a script meet them."""

import json

import pytest
from a_dns_server import reply, udp_server
from click.testing import CliRunner
from ports import free_port
from some_services import answering, hanging, server_context, serving

from netslo.errors import ConfigurationError, NetsloError
from probes.cli import measure

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
FAST = ("--count", "4", "--interval", "20ms")


def run(*arguments: str):
    return CliRunner().invoke(measure, arguments)


def test_the_json_has_the_agreed_shape_and_adds_up() -> None:
    with serving(answering(OK)) as port:
        result = run("http", f"http://127.0.0.1:{port}/", *FAST, "--json")
    assert result.exit_code == 0, result.exception
    shape = json.loads(result.stdout)
    assert shape["kind"] == "http"
    assert shape["due"] == shape["answered"] == shape["results"]["ok"] == 4
    assert set(shape["phases"]) == {"dns", "connect", "tls", "first_byte", "transfer"}
    assert shape["phases"]["tls"]["count"] == 0
    parts = sum(figures["sum"] or 0 for figures in shape["phases"].values())
    assert parts == pytest.approx(shape["rtt"]["sum"], rel=1e-9)
    assert shape["certificate_expiry"] is None
    assert shape["quality"] == {"A": 0, "B": 0, "C": 4}


def test_a_person_reads_phases_ends_and_the_certificate(authority, tmp_path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    options = ("--server-name", "shop.example", "--ca-file", str(tmp_path / "ca.pem"))
    with serving(hanging, server_context(authority, "shop.example")) as port:
        result = run("tls", f"127.0.0.1:{port}", *options, *FAST)
    assert result.exit_code == 0, result.exception
    assert f"TLS to 127.0.0.1:{port}\n4 due, 4 answered, 0 lost (0.00 %)" in result.stdout
    for word in ("connect", "TLS", "total", "p99", "certificate expires 3000-01-01"):
        assert word in result.stdout


def test_bad_news_is_said_by_name() -> None:
    port = free_port()
    result = run("tcp", f"127.0.0.1:{port}", *FAST)
    assert isinstance(result.exception, NetsloError)
    assert result.exception.exit_code == 1
    assert "4: refused" in result.stdout
    assert "no right answer: refused" in str(result.exception)
    with serving(answering(OK)) as port:
        result = run("http", f"http://127.0.0.1:{port}/", *FAST, "--status", "404", "--json")
    assert json.loads(result.stdout)["results"] == {"wrong_status": 4}
    assert json.loads(result.stdout)["details"] == {"wrong_status: 200": 4}


def test_dns_is_asked_at_the_server_named() -> None:
    with udp_server(lambda wire: reply(wire, "A 192.0.2.1")) as where:
        server = ("--server", f"127.0.0.1:{where.port}")
        good = run("dns", "www.example", *server, *FAST, "--record", "192.0.2.1")
        bad = run("dns", "www.example", *server, *FAST, "--record", "192.0.2.9")
    assert good.exit_code == 0, good.exception
    assert "DNS www.example A from 127.0.0.1" in good.stdout
    assert "4: wrong_records: without 192.0.2.9" in bad.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["http", "ftp://h/"], "url = ftp://h/: must be a URL that begins with http"),
        (["http", "http://h/", "--header", "X"], "expected NAME:VALUE"),
        (["http", "http://h/", "--status", "9"], "such as 200 or 2xx"),
        (["http", "http://h/", "--redirect-host", "b"], "need follow_redirects"),
        (["tcp", "host"], "expected HOST:PORT"),
        (["tcp", "a b:1"], "no host"),
        (["tls", "h", "--ca-file", "/no/such.pem"], "cannot be read"),
        (["tls", "h", "--ca-file", __file__], "has no certificates in PEM"),
        (["dns", "n", "--server", "h", "--type", "XY"], "type = XY: must be one of"),
        (["tcp", "h:1", "--count", "2", "--duration", "1s"], "exclude each other"),
        (["tcp", "h:1", "-4", "-6"], "-4 and -6 exclude each other"),
        (
            ["http", "http://h/", "--size-min", "5", "--size-max", "4"],
            "the request has size_max 4 below size_min 5",
        ),
        (["tcp", "h:1", "--interval", "1ms"], "at least 0.01s"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(arguments, expected) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert expected in str(result.exception)
