"""A small receiver of Alertmanager's web hooks, which remembers what it was told."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from types import TracebackType
from typing import Any, Final, Self

_BODY_MAX: Final = 1_000_000
_WAITING_MAX: Final = 1000
_TIMEOUT_S: Final = 10.0
_SHOWN: Final = ("budget", "evidence", "runbook_url")


class Webhook:
    """Listens on a free port of loopback, as a context manager. Any thread may ask for news."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []  # each alert of each notice, once
        self._notices: deque[dict[str, Any]] = deque(maxlen=_WAITING_MAX)
        self._seen: set[tuple[str, str, str, str]] = set()
        notices = self._notices

        class Handler(BaseHTTPRequestHandler):
            timeout = _TIMEOUT_S

            def do_POST(self) -> None:
                notice = _read(self.headers.get("Content-Length", ""), self.rfile)
                if notice is not None:
                    notices.append(notice)
                self.send_response(400 if notice is None else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: the screen is the demo's."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="web hook", daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

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
                    self._seen.add(one)
                    self.told.append({"receiver": receiver, **alert})
                    yield from _lines(receiver, alert)


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
        what = labels.get("path") or labels.get("src_site") or ""
        pair = labels.get("pair", "")
        yield f"Alertmanager to {receiver}: resolved: {labels['alertname']} {what} {pair}".rstrip()
        return
    severity = labels["severity"].upper()
    yield (
        f"Alertmanager to {receiver}: {severity} {labels['alertname']}: {said.get('summary', '')}"
    )
    for name in _SHOWN:
        if said.get(name):
            yield f"  {name.removesuffix('_url')}: {said[name]}"
