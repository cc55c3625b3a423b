"""The HTTP client alone: octets in, a judgement out, whatever a server says."""

import http.client
import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netslo.service import HttpRequest, ServiceResult, parse_url
from probes.services.exchange import Failed
from probes.services.http import HEADERS_MAX, HttpClient

URL = parse_url("http://shop.example:8080/cart?id=7")


def client(**options) -> HttpClient:
    return HttpClient(HttpRequest(URL, **options), URL)


def answer(body=b"hello", status="200 OK", headers=b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 " + status.encode() + b"\r\n" + length + headers + b"\r\n" + body


def result_of(asked: HttpClient, *pieces: bytes) -> ServiceResult:
    """Feed the pieces and then the end; return how it ended."""
    try:
        if not any(asked.receive(piece) for piece in pieces):
            asked.receive(b"")
        asked.redirect()
        asked.judge()
    except Failed as failure:
        return failure.result
    return ServiceResult.OK


def test_the_request_is_what_the_standard_library_reads() -> None:
    asked = client(headers=(("Authorization", "Bearer x"), ("host", "other.example")))
    line, _, rest = asked.octets.partition(b"\r\n")
    headers = http.client.parse_headers(io.BytesIO(rest))
    assert line == b"GET /cart?id=7 HTTP/1.1"
    assert headers["Host"] == "other.example"
    assert headers["Connection"] == "close"
    assert headers["Authorization"] == "Bearer x"


def test_headers_stay_at_home_when_another_host_is_asked() -> None:
    request = HttpRequest(URL, headers=(("Authorization", "Bearer x"),))
    asked = HttpClient(request, parse_url("http://cdn.example/"), own=False)
    assert b"Bearer" not in asked.octets


@pytest.mark.parametrize(
    ("options", "octets", "expected"),
    [
        ({}, answer(), ServiceResult.OK),
        ({}, answer(status="204 No Content"), ServiceResult.OK),
        ({}, answer(status="500 Oops"), ServiceResult.WRONG_STATUS),
        ({}, answer(status="302 Found", headers=b"Location: /\r\n"), ServiceResult.WRONG_STATUS),
        ({"statuses": ((404, 404),)}, answer(status="404 No"), ServiceResult.OK),
        ({"contains": ("ell",)}, answer(), ServiceResult.OK),
        ({"contains": ("HELL",)}, answer(), ServiceResult.WRONG_BODY),
        ({"lacks": ("ell",)}, answer(), ServiceResult.WRONG_BODY),
        ({"size_min": 6}, answer(), ServiceResult.WRONG_SIZE),
        ({"size_max": 4}, answer(), ServiceResult.WRONG_SIZE),
        ({"body_max": 4}, answer(), ServiceResult.TOO_LARGE),
        ({"method": "HEAD"}, answer()[:-5], ServiceResult.OK),
        ({}, answer()[:-1], ServiceResult.CLOSED),
        ({}, b"", ServiceResult.CLOSED),
        ({}, b"HTTP/1.1 200 OK\r\nTransfer-Enc", ServiceResult.CLOSED),
        ({}, b"HTTP/1.0 200 OK\r\n\r\nuntil the end", ServiceResult.OK),
        ({}, b"HTTP/1.1 100 Continue\r\n\r\n" + answer(), ServiceResult.OK),
        ({}, b"SSH-2.0-OpenSSH_9.2\r\n", ServiceResult.MALFORMED),
        ({}, b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", ServiceResult.MALFORMED),
        ({}, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
         ServiceResult.MALFORMED),
        ({}, b"HTTP/1.1 101 Go\r\nUpgrade: h2c\r\n\r\n", ServiceResult.MALFORMED),
        ({}, b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2 * HEADERS_MAX, ServiceResult.TOO_LARGE),
        ({}, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
         ServiceResult.MALFORMED),
        ({"body_max": 9}, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
         + b"5\r\nhello\r\n" * 2, ServiceResult.TOO_LARGE),
    ],
)  # fmt: skip
def test_every_answer_has_its_name(options, octets, expected) -> None:
    assert result_of(client(**options), octets) is expected
    in_pieces = [octets[i : i + 1] for i in range(len(octets[:2000]))] + [octets[2000:]]
    assert result_of(client(**options), *filter(None, in_pieces)) is expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (b"/login", "http://shop.example:8080/login"),
        (b"?x=1#part", "http://shop.example:8080/cart?x=1"),
        (b"https://SHOP.example/login", "https://shop.example/login"),
        (b"//login.example/", "http://login.example/"),
        (b"http://169.254.169.254/latest/meta-data", None),
        (b"http://shop.example@evil.example/", None),
        (b"file:///etc/passwd", None),
        (b"http://[::1", None),
        (b"http://shop.example:99999/", None),
        (b"/with space", None),
    ],
)
def test_redirects_lead_only_where_the_configuration_says(location, expected) -> None:
    asked = client(redirects_max=3, redirect_hosts=("login.example",))
    assert asked.receive(answer(status="302 Found", headers=b"Location: " + location + b"\r\n"))
    if expected is not None:
        assert str(asked.redirect()) == expected
        return
    with pytest.raises(Failed) as failed:
        asked.redirect()
    assert failed.value.result is ServiceResult.REDIRECT_REFUSED


def test_no_redirect_leads_away_from_tls() -> None:
    url = parse_url("https://shop.example/")
    asked = HttpClient(HttpRequest(url, redirects_max=1), url)
    asked.receive(answer(status="301 Moved", headers=b"Location: http://shop.example/\r\n"))
    with pytest.raises(Failed, match="redirect_refused"):
        asked.redirect()


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=8))
def test_no_octets_do_more_than_end_in_a_named_result(pieces) -> None:
    assert result_of(client(), *pieces) in ServiceResult


HEADS = st.sampled_from([
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: ",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 1",
])  # fmt: skip


@given(HEADS, st.lists(st.binary(min_size=1, max_size=50), max_size=8))
def test_nor_do_those_that_begin_well(head, pieces) -> None:
    asked = client(redirects_max=2, contains=("x",))
    assert result_of(asked, head, *pieces) in ServiceResult


def test_memory_stays_bounded_under_an_endless_answer() -> None:
    asked = client(contains=("never",), body_max=100_000)
    tracemalloc.start()
    ended = None
    try:
        asked.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(Failed) as failed:
            while True:
                asked.receive(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
        ended = failed.value.result
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ended is ServiceResult.TOO_LARGE
    assert peak < 1_000_000
