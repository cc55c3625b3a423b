"""A small receiver of Alertmanager's web hooks, which remembers what it was told and shows it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from types import TracebackType
from typing import Any, Final, Self

from netslo.app.pages import named
from netslo.errors import NetsloError
from netslo.model import Endpoint

_BODY_MAX: Final = 1_000_000
_WAITING_MAX: Final = 1000
_KEPT_MAX: Final = 10_000  # alerts told, and known to be no news
_LINES_MAX: Final = 1000
_CONNECTIONS_MAX: Final = 32
_TIMEOUT_S: Final = 10.0
_SHOWN: Final = ("budget", "evidence", "runbook_url")
_LOOPBACK: Final = Endpoint("127.0.0.1", 0)


class _Server(ThreadingHTTPServer):
    """A thread for each connection, and only so many; whoever comes then is turned away."""

    daemon_threads = True

    def __init__(self, listen: Endpoint, handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in listen.host:
            self.address_family = socket.AF_INET6
        self._free = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        super().__init__((listen.host, listen.port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a peer that went away."""

    def server_bind(self) -> None:
        """Bind, without asking a resolver for our own name as the base class does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


class Webhook:
    """Listens, as a context manager. Any thread may ask for news.

    `GET /` shows the last lines as plain text, `GET /healthz` answers 200.

    Args:
        listen: Where; a free port of loopback unless told otherwise.

    Raises:
        NetsloError: it cannot listen there.
    """

    def __init__(self, listen: Endpoint = _LOOPBACK) -> None:
        self._told: deque[dict[str, Any]] = deque(maxlen=_KEPT_MAX)
        self._notices: deque[dict[str, Any]] = deque(maxlen=_WAITING_MAX)
        self._seen: dict[tuple[str, str, str, str], None] = {}
        self._shown: deque[str] = deque(maxlen=_LINES_MAX)
        notices, shown = self._notices, self._shown

        class Handler(BaseHTTPRequestHandler):
            timeout = _TIMEOUT_S

            def do_POST(self) -> None:
                notice = _read(self.headers.get("Content-Length", ""), self.rfile)
                if notice is not None:
                    notices.append(notice)
                self._answer(400 if notice is None else 200)

            def do_GET(self) -> None:
                if self.path == "/":
                    self._answer(200, "\n".join(shown.copy()) or "Nothing was told yet.")
                else:
                    self._answer(200 if self.path == "/healthz" else 404)

            def _answer(self, status: int, text: str = "") -> None:
                body = f"{text}\n".encode() if text else b""
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("X-Content-Type-Options", "nosniff")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing: the screen is for what is told."""

        try:
            self._server = _Server(listen, Handler)
        except OSError as error:
            raise NetsloError(f"cannot listen on {listen}: {error.strerror}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="web hook", daemon=True
        )

    @property
    def bound(self) -> Endpoint:
        return Endpoint(str(self._server.server_address[0]), self._server.server_port)

    @property
    def url(self) -> str:
        return f"http://{self.bound}/"

    @property
    def told(self) -> list[dict[str, Any]]:
        """Each alert of each notice, once; the last ten thousand."""
        return list(self._told)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def news(self) -> Iterator[str]:
        """Yield lines for a person: what was told since the last call; repetitions are not news."""
        while self._notices:
            notice = self._notices.popleft()
            receiver = str(notice.get("receiver", ""))
            for alert in notice["alerts"]:
                labels = alert["labels"]
                if labels.get("severity") not in {"page", "ticket"}:
                    continue  # a heartbeat
                key = (receiver, alert["status"], repr(sorted(labels.items())))
                one = (*key, str(alert.get("startsAt")))
                if one not in self._seen:
                    self._seen[one] = None
                    if len(self._seen) > _KEPT_MAX:
                        del self._seen[next(iter(self._seen))]
                    self._told.append({"receiver": receiver, **alert})
                    lines = [_printable(line) for line in _lines(receiver, alert)]
                    self._shown.extend((f"{_clock()}  {lines[0]}", *lines[1:]))
                    yield from lines


def _printable(line: str) -> str:
    """Return a line without what would move a terminal's cursor; it came from outside."""
    return "".join(character if character.isprintable() else " " for character in line)


def _clock() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())


def _read(length_text: str, body: BufferedIOBase) -> dict[str, Any] | None:
    """Return a notice, or None where it is none."""
    length = int(length_text) if length_text.isascii() and length_text.isdigit() else _BODY_MAX + 1
    if length > _BODY_MAX:
        return None
    try:
        notice: dict[str, Any] = json.loads(body.read(length))
        for alert in notice["alerts"]:
            if not (isinstance(alert["labels"]["alertname"], str) and alert["status"]):
                return None
    except (ValueError, KeyError, TypeError):
        return None
    return notice


def _lines(receiver: str, alert: dict[str, Any]) -> Iterator[str]:
    labels, said = alert["labels"], alert.get("annotations") or {}
    if alert["status"] == "resolved":
        yield f"Alertmanager to {receiver}: resolved: {named(labels)}"
        return
    severity = labels["severity"].upper()
    yield (
        f"Alertmanager to {receiver}: {severity} {labels['alertname']}: {said.get('summary', '')}"
    )
    for name in _SHOWN:
        if said.get(name):
            yield f"  {name.removesuffix('_url')}: {said[name]}"
