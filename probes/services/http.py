"""One request of HTTP/1.1 and its answer, without a socket: h11 reads, this judges."""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin

import h11

from netslo import __version__
from netslo.service import HttpRequest, ServiceResult, Url, parse_url
from probes.services.exchange import Failed

HEADERS_MAX: Final = 64 << 10  # octets of all headers of an answer
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_VERSION: Final = b"HTTP/1."
_TOO_LARGE: Final = 431  # h11's hint: the headers are


class HttpClient:
    """Asks for one URL; `octets` goes to the peer, what comes back goes to `receive`.

    `own` says whether the URL is that of the configuration: where a redirect leads to another
    host, the configured headers, which may hold a secret, stay behind.
    """

    def __init__(self, request: HttpRequest, url: Url, *, own: bool = True) -> None:
        self.status: int | None = None
        self.size = 0  # octets of the body so far
        self._request = request
        self._url = url
        self._location: str | None = None
        self._body = bytearray()
        self._begun = b""  # the first octets of the answer
        self._keeps = bool(request.contains or request.lacks)
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADERS_MAX)
        self.octets = self._ask(own=own)

    @property
    def octets_max(self) -> int:
        """More octets than this no answer takes which we read to its end."""
        return 2 * self._request.body_max + 2 * HEADERS_MAX

    def _ask(self, *, own: bool) -> bytes:
        headers = {
            "Host": self._url.authority,
            "User-Agent": f"netslo/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        known = {name.lower(): name for name in headers}
        for name, value in self._request.headers if own else ():
            headers[known.get(name.lower(), name)] = value
        asked = h11.Request(
            method=self._request.method, target=self._url.target, headers=list(headers.items())
        )
        octets = self._h11.send(asked)
        ended = self._h11.send(h11.EndOfMessage())
        assert octets is not None
        return octets + (ended or b"")

    def receive(self, octets: bytes) -> bool:
        """Take in what arrived, nothing at the end of the connection; returns whether it is whole.

        Raises:
            Failed: the answer is not of HTTP, too large, or ends too early.
        """
        self._begun = (self._begun + octets)[: len(_VERSION)]
        if not _VERSION.startswith(self._begun):  # h11 would wait for lines that never come
            raise Failed(ServiceResult.MALFORMED, f"it begins with {self._begun!r}")
        try:
            self._h11.receive_data(octets)
            return self._read()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == _TOO_LARGE:
                raise Failed(ServiceResult.TOO_LARGE, "headers") from error
            if not octets:
                raise Failed(ServiceResult.CLOSED, "before the answer was whole") from error
            raise Failed(ServiceResult.MALFORMED, str(error)[:200]) from error

    def _read(self) -> bool:
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Data):
                self._take(event.data)
            elif isinstance(event, h11.Response):
                self.status = event.status_code
                self._location = _header(event, b"location")
            elif isinstance(event, h11.EndOfMessage):
                return True
            elif event is h11.NEED_DATA:
                return False
            elif isinstance(event, h11.ConnectionClosed):
                raise Failed(ServiceResult.CLOSED, "before the answer was whole")
            elif event is h11.PAUSED:  # 101: another protocol, which nobody asked for
                raise Failed(ServiceResult.MALFORMED, "the server changed the protocol")

    def _take(self, octets: bytes) -> None:
        self.size += len(octets)
        if self.size > self._request.body_max:
            raise Failed(ServiceResult.TOO_LARGE, f"more than {self._request.body_max} octets")
        if self._keeps:
            self._body += octets

    def redirect(self) -> Url | None:
        """Return where a whole answer leads, if it is followed; None: it is the last.

        Raises:
            Failed: it leads where we were not asked to go, or nowhere.
        """
        if not self._request.redirects_max or self.status not in _REDIRECTS:
            return None
        if self._location is None:
            return None
        try:
            url = parse_url(urljoin(str(self._url), self._location.partition("#")[0]))
        except ValueError as error:
            raise Failed(ServiceResult.REDIRECT_REFUSED, "to no http or https URL") from error
        if url.host not in {self._request.url.host, *self._request.redirect_hosts}:
            raise Failed(ServiceResult.REDIRECT_REFUSED, f"to {url.host}")
        if self._url.secure and not url.secure:
            raise Failed(ServiceResult.REDIRECT_REFUSED, "from https to http")
        return url

    def judge(self) -> None:
        """Check a whole answer that is the last.

        Raises:
            Failed: it is not what was expected.
        """
        asked, status = self._request, self.status
        assert status is not None
        if not asked.expects(status):
            raise Failed(ServiceResult.WRONG_STATUS, str(status))
        size_max = asked.body_max if asked.size_max is None else asked.size_max
        if not asked.size_min <= self.size <= size_max:
            raise Failed(ServiceResult.WRONG_SIZE, f"{self.size} octets")
        for text in asked.contains:
            if text.encode() not in self._body:
                raise Failed(ServiceResult.WRONG_BODY, f"without {text[:60]!r}")
        for text in asked.lacks:
            if text.encode() in self._body:
                raise Failed(ServiceResult.WRONG_BODY, f"with {text[:60]!r}")


def _header(event: h11.Response, wanted: bytes) -> str | None:
    for name, value in event.headers:
        if name == wanted:
            return value.decode("latin-1")
    return None
