"""Script in everything that comes from outside: it stays text in pages, JSON and dashboards."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import yaml
from a_browser import PROGRAM, browser
from dashboards_page import a_page, bad_and_good, make_estate, make_objective
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from dashboards.grafana.build import Surroundings, boards, files
from dashboards.preview.page import preview, to_html
from dashboards.preview.prometheus import Bucket, Series
from dashboards.preview.variables import Span
from netslo import metrics
from netslo.config.estate_file import load_estate
from netslo.errors import ConfigurationError
from netslo.estate import Estate
from netslo.model import TrafficClass
from slo.exclusion import Covers, Exclusion
from slo.exclusion_log import read_log, to_json

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'{{7*7}}"
ADDRESSES = ("/", "/paths", "/paths/london:leeds/ef", "/paths/london:leeds/ef?span=1d")
RAW = re.compile(r"<script>document|<img src=x|href=\"javascript:|\"javascript:|>49<")


def hostile_alerts() -> dict:
    alert = {
        "labels": dict.fromkeys(("alertname", "owner", "slo", "pair"), HOSTILE)
        | {"severity": "page", "path": "london:leeds/ef"},
        "annotations": dict.fromkeys(("summary", "description", "evidence"), HOSTILE)
        | {"runbook_url": "javascript:alert(1)"},
        "since": 1.0,
        "starts": 1.0,
        "ends": None,
        "value": 1.0,
        "unknown_since": None,
    }
    return {"evaluated": 1.0, "alerts": [alert], "pending": [], "alertmanagers": {HOSTILE: HOSTILE}}


def hostile_estate() -> Estate:
    """An estate that no file could say; but who knows what will make estates one day."""
    estate = make_estate(name=HOSTILE)
    sites = {name: replace(site, region=HOSTILE) for name, site in estate.sites.items()}
    return Estate(
        HOSTILE, HOSTILE, sites, {"ef": TrafficClass("ef", 46)}, estate.links, estate.plan
    )


def health_of(instance: str, site: str) -> bytes:
    """Return a report of a probe whose every string is hostile, but its site."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    for key, value in (
        (metrics.ATTR_SERVICE_NAME, metrics.SERVICE_NAME),
        (metrics.ATTR_INSTANCE, instance),
        (metrics.ATTR_SITE, site),
        ("user_agent.original", instance),
    ):
        resource.resource.attributes.add(key=key).value.string_value = value
    metric = resource.scope_metrics.add().metrics.add(name=metrics.LACKS, unit="1")
    point = metric.gauge.data_points.add(time_unix_nano=1, as_double=1.0)
    point.attributes.add(key="notice").value.string_value = instance
    return request.SerializeToString()


def a_hostile_page(folder):
    """Return a page and what it takes to fill it."""
    objectives = [
        make_objective(
            display_name=HOSTILE, description=HOSTILE, service=HOSTILE, owner=HOSTILE,
            runbook="javascript:alert(1)",
        ),
        make_objective(name=HOSTILE, display_name="", owner=HOSTILE, limit=0.02),
    ]  # fmt: skip
    return a_page(folder, estate=hostile_estate(), objectives=objectives, alerts=hostile_alerts())


async def fill(room) -> None:
    await room.send(*bad_and_good())
    headers = {"Content-Type": "application/x-protobuf"}
    body = health_of(HOSTILE, "london")
    async with room.client.post(f"{room.url}/v1/metrics", data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def test_pages_parts_and_json_keep_it_text(tmp_path) -> None:
    async with a_hostile_page(tmp_path) as room:
        await fill(room)
        seen = ""
        for address in ADDRESSES:
            status, headers, text = await room.get(address)
            assert status == 200
            assert "script-src 'self'" in headers["Content-Security-Policy"]
            assert not RAW.search(text), RAW.search(text)
            seen += text
        assert seen.count("&lt;script&gt;") > 10
        async with room.client.get(f"{room.url}/events?view=/") as stream:
            await stream.content.readuntil(b"\n\n")  # when to come again
            told = await stream.content.readuntil(b"\n\n")
            assert b"owned" in told
            for line in told.decode().splitlines():
                if line.startswith("data: "):
                    assert not RAW.search(" ".join(json.loads(line[6:]).values()))
        for address in ("/api/v1/paths", "/api/v1/probes", "/api/v1/horizons"):
            status, headers, text = await room.get(address)
            assert headers["Content-Type"].startswith("application/json")
            assert headers["X-Content-Type-Options"] == "nosniff"
            json.loads(text)
        probes = json.loads((await room.get("/api/v1/probes"))[2])
        assert HOSTILE in str(probes).replace("\\'", "'")
        status, headers, text = await room.get("/metrics")
        assert headers["Content-Type"].startswith("text/plain")
        assert headers["X-Content-Type-Options"] == "nosniff"
        status, headers, text = await room.get("/nowhere/" + "%3Cscript%3Ealert(1)%3C/script%3E")
        assert status == 404
        assert "<script>" not in text


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("sites", "sites: {'<script>': {region: north}}"),
        ("name", "name: 1\nsites: {}"),
    ],
)
def test_an_estate_file_takes_no_markup_for_a_site(tmp_path, field, text) -> None:
    (tmp_path / "estate.yaml").write_text(text)
    with pytest.raises(ConfigurationError):
        load_estate(tmp_path)


def test_reasons_and_authors_are_json_in_the_log(tmp_path) -> None:
    said = Exclusion("x1", 0, 300, HOSTILE[:60], HOSTILE, 0, Covers())
    line = json.dumps(to_json(said))
    (tmp_path / "log.jsonl").write_text(line + "\n")
    (read,) = read_log(tmp_path / "log.jsonl")
    assert (read.author, read.reason) == (said.author, said.reason)


def test_dashboards_hold_nothing_of_what_objectives_say(tmp_path) -> None:
    hostile = make_objective(
        name=HOSTILE, display_name=HOSTILE, description=HOSTILE, owner=HOSTILE, runbook=HOSTILE
    )
    assert files([hostile]) == files([make_objective()])
    url = f"http://{HOSTILE}"
    around = Surroundings(url, f"/{HOSTILE}", None, url, url)
    made = files([hostile], around)
    source = yaml.safe_load(made["provisioning/datasources/netslo.yaml"])
    assert [each["url"] for each in source["datasources"]] == [url, url]
    told = yaml.safe_load(made["provisioning/alerting/netslo.yaml"])
    assert told["contactPoints"][0]["receivers"][0]["settings"] == {"url": url}
    provider = yaml.safe_load(made["provisioning/dashboards/netslo.yaml"])
    assert provider["providers"][0]["options"]["path"] == f"/{HOSTILE}"


class HostilePrometheus:
    """A Prometheus in which every label says the same."""

    url = f"http://{HOSTILE}"

    def version(self) -> str:
        return HOSTILE

    def label_values(self, *_) -> list[str]:
        return [HOSTILE]

    def at(self, expr, at_s) -> list[Series]:
        return [Series(self.labels(expr), (at_s,), (1.0,))]

    def over(self, expr, start_s, end_s, step_s) -> list[Series]:
        buckets = ((end_s, (Bucket(0.001, 0.002, 3.0),)),)
        times = tuple(start_s + step_s * n for n in range(5))
        return [Series(self.labels(expr), times, (1.0, 2.0, 3.0, 4.0, 5.0), buckets)]

    def labels(self, expr) -> dict[str, str]:
        named = set(re.findall(r"\w+", expr)) | {"src_site", "dst_site", "from", "region"}
        return dict.fromkeys(sorted(named), HOSTILE) | {"latitude": "51", "longitude": "0"}


def hostile_preview() -> str:
    span = Span(0.0, 3600.0)
    server = HostilePrometheus()
    return to_html(preview(boards(()), server, span, {}), server, span)


def test_a_preview_keeps_it_text() -> None:
    text = hostile_preview()
    assert text.count("</script>") == 3  # the library, the drawings, what shows them
    assert "<script>document.title" not in text
    assert "<img src=x" not in text


@pytest.mark.skipif(PROGRAM is None, reason="no chromium; make test installs it as root")
async def test_a_browser_runs_none_of_it(tmp_path) -> None:
    (tmp_path / "preview.html").write_text(hostile_preview())
    async with a_hostile_page(tmp_path) as room, browser(tmp_path / "b") as tab:
        await fill(room)
        for address in ADDRESSES:
            await tab.go(room.url + address)
            await tab.until("document.getElementById('live').textContent.startsWith('live')")
            assert await tab.run("document.title") != "owned"
            assert await tab.run("document.querySelectorAll('img[src=x]').length") == 0
        await tab.go((tmp_path / "preview.html").as_uri())
        for board in boards(()):
            await tab.run(f"location.hash = {board['uid']!r}")
            await tab.until(f"document.body.dataset.shown === {board['uid']!r}")
        assert await tab.run("document.querySelectorAll('img[src=x]').length") == 0
        assert "preview, not Grafana" in await tab.run("document.title")
        assert tab.complaints == []
