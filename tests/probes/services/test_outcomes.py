"""Each way in which an exchange can end, by real servers: a name for it, in time."""

import http.server
import os
import socket
import struct
import threading
import time

import pytest
import trustme
from ports import free_port
from some_services import answering, ask, hanging, server_context, serving

import probes.services.lookup
from netslo.service import (
    HttpRequest,
    Phase,
    ServiceResult,
    TcpRequest,
    TlsRequest,
    Where,
    parse_url,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
SLOW_S = 0.4  # a time-out that a hanging server is given


def resetting(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def dripping(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def drowning(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1\r\nx\r\n" * 1000)


def headers_for_ever(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-More: %b\r\n" % (b"y" * 1000))


def web(port: int, path="/", **options) -> HttpRequest:
    return HttpRequest(parse_url(f"http://127.0.0.1:{port}{path}"), **options)


@pytest.mark.parametrize(
    ("handle", "expected"),
    [
        (answering(OK), ServiceResult.OK),
        (answering(b""), ServiceResult.CLOSED),
        (answering(OK[:-1]), ServiceResult.CLOSED),
        (answering(b"SMTP ready\r\n"), ServiceResult.MALFORMED),
        (resetting, ServiceResult.RESET),
        (headers_for_ever, ServiceResult.TOO_LARGE),
    ],
)
def test_http_ends_by_its_name(handle, expected) -> None:
    with serving(handle) as port:
        found = ask(web(port), timeout_s=20)
    assert found.result is expected
    assert sum(found.spans_ns.values()) == found.total_ns


@pytest.mark.parametrize("handle", [hanging, dripping], ids=["hangs", "drips"])
def test_what_never_ends_ends_in_time(handle) -> None:
    with serving(handle) as port:
        found = ask(web(port), timeout_s=SLOW_S)
    assert found.result is ServiceResult.TIMEOUT
    assert found.total_ns >= SLOW_S * 1e9


def test_a_flood_of_tiny_chunks_ends_by_its_size() -> None:
    with serving(drowning) as port:
        found = ask(web(port, body_max=10_000), timeout_s=20)
    assert found.result is ServiceResult.TOO_LARGE


def test_a_free_port_refuses_and_a_filled_one_is_silent() -> None:
    assert ask(TcpRequest(Where("127.0.0.1", free_port()))).result is ServiceResult.REFUSED
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(full.getsockname())
            found = ask(TcpRequest(Where(*full.getsockname())), timeout_s=SLOW_S)
        finally:
            for each in waiting:
                each.close()
    assert found.result is ServiceResult.TIMEOUT
    assert found.detail == "during connect"


def test_a_name_without_address_is_unresolved(monkeypatch) -> None:
    def resolve(_where, _kind, _flags=0):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(probes.services.lookup, "_ask", resolve)
    found = ask(TcpRequest(Where("www.example", 80)), timeout_s=30)
    assert found.result is ServiceResult.UNRESOLVED
    assert found.detail == "no such name"


def test_a_resolver_that_hangs_ends_in_time_and_holds_few_threads(monkeypatch) -> None:
    gone = threading.Event()

    def resolve(where, kind, flags=0):
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        gone.wait(30)
        return []

    monkeypatch.setattr(probes.services.lookup, "_ask", resolve)
    found = ask(TcpRequest(Where("www.example", 80)), timeout_s=0.1)
    gone.set()
    assert found.result is ServiceResult.TIMEOUT
    assert found.detail == "during dns"


def test_a_host_without_a_way_has_not_tried() -> None:
    found = ask(TcpRequest(Where("255.255.255.255", 80)))
    assert found.result is None
    assert found.detail.startswith("not sent: ")


@pytest.mark.parametrize(
    ("names", "expired", "trusted", "expected"),
    [
        (["shop.example"], False, True, ServiceResult.OK),
        (["shop.example"], True, True, ServiceResult.CERTIFICATE_EXPIRED),
        (["other.example"], False, True, ServiceResult.CERTIFICATE_NAME),
        (["shop.example"], False, False, ServiceResult.CERTIFICATE_UNTRUSTED),
    ],
    ids=["good", "expired", "name", "untrusted"],
)
def test_certificates(authority, pem, names, expired, trusted, expected) -> None:
    with serving(hanging, server_context(authority, *names, expired=expired)) as port:
        other = trustme.CA().cert_pem.bytes().decode()
        found = ask(
            TlsRequest(Where("127.0.0.1", port), "shop.example"), 20, pem if trusted else other
        )
    assert found.result is expected
    if expected is ServiceResult.OK:
        assert found.certificate_expires_s > time.time()
        assert set(found.spans_ns) == {Phase.DNS, Phase.CONNECT, Phase.TLS}


@pytest.mark.parametrize(
    ("handle", "expected"),
    [
        (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ServiceResult.TLS_ERROR),
        (lambda connection: connection.sendall(os.urandom(4000)), ServiceResult.TLS_ERROR),
        (answering(b"\x15\x03\x03\x00\x02\x02\x28"), ServiceResult.TLS_ERROR),  # an alert
        (answering(b"\x16\x03\x03\x40\x00" + b"\0" * 100), ServiceResult.CLOSED),
        (answering(b""), ServiceResult.CLOSED),
        (resetting, ServiceResult.RESET),
        (hanging, ServiceResult.TIMEOUT),
    ],
)
def test_what_is_no_tls_has_a_name_too(pem, handle, expected) -> None:
    timeout_s = SLOW_S if expected is ServiceResult.TIMEOUT else 20
    with serving(handle) as port:
        found = ask(TlsRequest(Where("127.0.0.1", port), "shop.example"), timeout_s, pem)
    if handle.__name__ == "<lambda>":  # random octets may look like a reset on a busy host
        assert found.result in {expected, ServiceResult.RESET}
    else:
        assert found.result is expected


class Pages(http.server.BaseHTTPRequestHandler):
    """Redirects, as the path says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        home = self.headers["Host"]
        where = {"/loop": "/loop", "/away": "http://203.0.113.1/", "/once": f"//{home}/"}
        self.send_response(302 if self.path in where else 200)
        if self.path in where:
            self.send_header("Location", where[self.path])
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def pages():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join(60)


@pytest.mark.parametrize(
    ("path", "redirects_max", "expected"),
    [
        ("/once", 0, ServiceResult.WRONG_STATUS),
        ("/once", 1, ServiceResult.OK),
        ("/loop", 3, ServiceResult.TOO_MANY_REDIRECTS),
        ("/away", 3, ServiceResult.REDIRECT_REFUSED),
    ],
)
def test_redirects(pages, path, redirects_max, expected) -> None:
    request = web(pages, path, redirects_max=redirects_max, contains=("ok",))
    assert ask(request, timeout_s=20).result is expected


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_every_packet_has_the_class_of_its_path(host) -> None:
    """The server asks the kernel for the DSCP that the SYN came with (TCP_SAVE_SYN)."""
    tcp_save_syn, tcp_saved_syn = 27, 28
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, tcp_save_syn, 1)
        port = listener.getsockname()[1]
        assert ask(TcpRequest(Where(host, port)), dscp=46).good
        connection, _ = listener.accept()
        with connection:
            syn = connection.getsockopt(socket.IPPROTO_TCP, tcp_saved_syn, 200)
    octet = syn[1] if family == socket.AF_INET else (syn[0] << 4 | syn[1] >> 4) & 0xFF
    assert octet >> 2 == 46
