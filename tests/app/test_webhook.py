"""What Alertmanager sends is shown once, as text, whatever is in it."""

import http.client
import json
import socket
import urllib.error
import urllib.request

import pytest

from netslo.app import webhook
from netslo.app.webhook import Webhook
from netslo.errors import NetsloError
from netslo.model import Endpoint


def alert(status="firing", severity="page", summary="it burns", **labels):
    return {
        "status": status,
        "labels": {"alertname": "SLOBurnPage", "severity": severity, **labels},
        "annotations": {"summary": summary, "budget": "14 % left"},
        "startsAt": "2026-11-24T03:00:00Z",
    }


def tell(hook, *alerts, receiver="noc"):
    body = json.dumps({"receiver": receiver, "alerts": alerts}).encode()
    with urllib.request.urlopen(hook.url, data=body, timeout=60) as answer:
        assert answer.status == 200


def read(hook, path=""):
    with urllib.request.urlopen(hook.url + path, timeout=60) as answer:
        return answer.headers, answer.read().decode()


def test_a_page_is_told_once_and_stays_on_the_page() -> None:
    with Webhook() as hook:
        assert "Nothing was told yet" in read(hook)[1]
        tell(hook, alert(path="a:b/ef"))
        tell(hook, alert(path="a:b/ef"), alert(severity="none", path="heartbeat"))
        assert list(hook.news()) == [
            "Alertmanager to noc: PAGE SLOBurnPage: it burns",
            "  budget: 14 % left",
        ]
        assert not list(hook.news())
        assert len(hook.told) == 1
        headers, text = read(hook)
        assert text.count("it burns") == 1
        assert "2026" in text
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert not read(hook, "healthz")[1]
        tell(hook, alert(status="resolved", path="a:b/ef", slo="loss", pair="1h/5m"))
        assert list(hook.news()) == [
            "Alertmanager to noc: resolved: SLOBurnPage: loss on a:b/ef (pair 1h/5m)"
        ]
        tell(hook, alert(status="resolved", alertname="SLOProbeDown", src_site="leeds"))
        assert list(hook.news()) == ["Alertmanager to noc: resolved: SLOProbeDown: leeds"]


def test_what_is_told_moves_no_cursor() -> None:
    with Webhook() as hook:
        tell(hook, alert(summary="\x1b[2J<script>\r\nnetslo: all is well\u202e"))
        (line, _) = hook.news()
        assert line.endswith("PAGE SLOBurnPage:  [2J<script>  netslo: all is well ")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"alerts": [1]}', b'{"alerts": [{"labels": {}}]}', b"\xff"]
)
def test_what_is_no_notice_is_refused(body) -> None:
    with Webhook() as hook:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(hook.url, data=body, timeout=60)
        assert caught.value.code == 400
        caught.value.close()
        assert not list(hook.news())


def test_memory_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(webhook, "_KEPT_MAX", 3)
    with Webhook() as hook:
        tell(hook, *(alert(path=f"a:b/{number}") for number in range(5)))
        assert len(list(hook.news())) == 10
        tell(hook, alert(path="a:b/4"))
        assert not list(hook.news())
        tell(hook, alert(path="a:b/0"))  # long forgotten
        assert list(hook.news())


def test_so_many_connections_and_no_more(monkeypatch) -> None:
    monkeypatch.setattr(webhook, "_CONNECTIONS_MAX", 2)
    with Webhook() as hook:
        silent = [socket.create_connection((hook.bound.host, hook.bound.port)) for _ in range(2)]
        with pytest.raises((OSError, http.client.HTTPException)):
            read(hook)
        for each in silent:
            each.close()


def test_a_port_that_is_taken_is_a_sentence() -> None:
    with Webhook() as hook, pytest.raises(NetsloError, match=r"cannot listen on 127\.0\.0\.1:"):
        Webhook(Endpoint("127.0.0.1", hook.bound.port))


def test_the_command_prints_what_comes(start) -> None:
    service = start("webhook", "--listen", "127.0.0.1:0")
    url = service.wait_for(r"listening on (http://\S+)")[1]
    body = json.dumps({"receiver": "noc", "alerts": [alert()]}).encode()
    urllib.request.urlopen(url, data=body, timeout=60).close()
    service.wait_for("netslo webhook: Alertmanager to noc: PAGE SLOBurnPage: it burns")
    assert service.stop() == 0
