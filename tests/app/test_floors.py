"""What a run's view hears of its probes' noise floors, and from whom it is not disturbed."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from netslo.app import asking
from netslo.app.floors import EVERY_S, ProbeFloors, read_floors
from netslo.model import Endpoint


def probe(site: str, last_report: float, floor) -> dict:
    return {"site": site, "last_report": last_report, "noise_floor": floor}


def answer_of(*probes: dict) -> bytes:
    return json.dumps({"probes": probes}).encode()


def test_the_latest_report_with_a_floor_counts_for_each_site() -> None:
    answer = answer_of(
        probe("london", 20, {"0.5": 2e-6}),
        probe("london", 10, {"0.5": 1e-6}),
        probe("london", 30, {"0.5": None}),
        probe("leeds", 5, {"0.5": 3e-6}),
    )
    assert read_floors(answer) == {"london": {"0.5": 2e-6}, "leeds": {"0.5": 3e-6}}


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[]", b"{}", b'{"probes": 3}', b'{"probes": [{}]}', b'{"probes": [[]]}'],
    ids=repr,
)
def test_what_is_no_answer_is_a_value_error(answer) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_floors(answer)


def test_a_collector_is_asked_now_and_then_and_may_be_gone(monkeypatch) -> None:
    monkeypatch.setattr(asking, "_TIMEOUT_S", 60.0)
    answers = [answer_of(probe("london", 1, {"0.5": 1e-6})), b"<html>"]
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = answers[len(asked) - 1]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments) -> None:
            pass

    now_s = 0.0
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        floors = ProbeFloors(Endpoint("127.0.0.1", server.server_port), lambda: now_s)
        try:
            assert floors() == {"london": {"0.5": 1e-6}}
            now_s = EVERY_S - 1
            assert floors() == {"london": {"0.5": 1e-6}}
            assert len(asked) == 1
            now_s = EVERY_S
            assert floors() == {"london": {"0.5": 1e-6}}  # the last that was understood
        finally:
            server.shutdown()
            thread.join()
    now_s = 2 * EVERY_S
    assert floors() == {"london": {"0.5": 1e-6}}
    assert asked == ["/api/v1/probes"] * 2


def test_where_nothing_listens_there_are_no_floors() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # bound, but it does not listen
        assert ProbeFloors(Endpoint("127.0.0.1", sock.getsockname()[1]))() == {}
