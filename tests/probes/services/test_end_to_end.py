"""From a service to the collector's pages: agent, spool, OTLP, store, Prometheus, API."""

import asyncio
import time
from dataclasses import replace

from a_collector import collector, make_estate
from ports import free_port
from prometheus_client.parser import text_string_to_metric_families
from some_services import answering, hanging, server_context, serving

from netslo import metrics
from netslo.model import WINDOW_S, Path, SloThreshold
from netslo.service import HttpRequest, Service, TcpRequest, TlsRequest, Where, parse_url
from probes.agent import ProbeAgent
from probes.services.plan import plan_services

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
THRESHOLDS = (SloThreshold("there", None), SloThreshold("never", 1e-6))


def service(name, request, **options) -> Service:
    return Service(name, request, "ef", ("leeds",), 0.05, 10.0, **options)


def _told(asking) -> int:
    return asking.totals.answered + asking.totals.lost


async def test_what_a_service_did_is_what_is_shown(tmp_path, authority) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    context = server_context(authority, "shop.example")
    with serving(answering(OK)) as web, serving(hanging, context) as secure:
        url = parse_url(f"http://127.0.0.1:{web}/")
        services = [
            service("web", HttpRequest(url)),
            service("wrong", HttpRequest(url, contains=("bye",))),
            service("gone", TcpRequest(Where("127.0.0.1", free_port()))),
            service(
                "shop",
                TlsRequest(Where("127.0.0.1", secure), "shop.example"),
                ca_file=tmp_path / "ca.pem",
            ),
        ]
        estate = replace(make_estate(), services={each.name: each for each in services})
        thresholds = dict.fromkeys(estate.service_paths, THRESHOLDS)
        plans = plan_services(estate, ["leeds"], thresholds)
        clock = lambda: time.time() + WINDOW_S  # noqa: E731 - so that the last window is over
        async with collector(tmp_path / "store.sqlite", estate=estate, clock=clock) as room:
            agent = ProbeAgent(["leeds"], plans, room.url, tmp_path / "spool")
            stop, ready = asyncio.Event(), asyncio.Event()
            running = asyncio.create_task(agent.run(stop, on_ready=ready.set))
            await ready.wait()
            async with asyncio.timeout(60):
                while sum(_told(each) >= 3 for each in agent._asking._asking) < 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert agent.measuring
            stop.set()
            await running
            async with asyncio.timeout(60):  # figures are made once a second
                while "leeds:shop/ef" not in (text := await room.text("/metrics")):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            _, api = await room.get("/api/v1/paths")
    samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
    for name, result, good in [
        ("web", "ok", True),
        ("wrong", "wrong_body", False),
        ("gone", "refused", False),
        ("shop", "ok", True),
    ]:
        path = Path("leeds", name, "ef").id
        own = [s for s in samples if s.labels.get("path") == path]
        packets = {s.labels["outcome"]: s.value for s in own if s.name == metrics.PROM_PACKETS}
        results = {
            s.labels["result"]: s.value for s in own if s.name == metrics.PROM_RESULTS and s.value
        }
        assert results == {result: packets["answered" if good else "lost"]}
        assert packets["answered" if good else "lost"] >= 2
        assert packets["lost" if good else "answered"] == 0
        assert {s.labels["scope"] for s in own if "scope" in s.labels} == {"service"}
        (shown,) = [each for each in api["paths"] if each["path"] == path]
        assert shown["results"] == {result: packets["answered" if good else "lost"]}
        assert (shown["phases"]["connect"]["count"] > 0) == good
    expiry = [s for s in samples if s.name == metrics.PROM_PROBE_CERTIFICATE]
    assert [s.labels["path"] for s in expiry] == ["leeds:shop/ef"]
    assert expiry[0].value > 1.7e9
    assert not any(s.name == metrics.PROM_RESULTS and s.labels["probe"] == "stamp" for s in samples)
