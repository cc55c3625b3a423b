"""`services` of `estate.yaml`: what they mean, and each fault with its line, all at once."""

import json
import pathlib

import pytest
from click.testing import CliRunner

from netslo.app.commands.estate import estate
from netslo.config.estate_file import load_estate
from netslo.errors import ConfigurationError
from netslo.model import Path, ProbeKind, Scope
from netslo.service import (
    REDIRECTS_MAX,
    DnsRequest,
    HttpRequest,
    TcpRequest,
    TlsRequest,
    Transport,
    Where,
    parse_host,
    parse_url,
)

UK = pathlib.Path(__file__).parents[2] / "examples" / "uk"
GOOD = """
services:
  - name: shop
    class: ef
    site: london
    from: [leeds, dundee]
    interval: 10s
    timeout: 2s
    ca_file: authorities.pem
    http:
      url: https://Shop.example/cart?id=7
      status: [200, 3xx]
      headers: {Authorization: Bearer x}
      contains: total
      size_max: 5000000
      follow_redirects: true
      redirect_hosts: [login.example]
  - {name: mail, class: be, tcp: {host: "2001:db8::25", port: 25, ip: 6}}
  - {name: portal, class: be, tls: {host: portal.example}}
  - name: resolver
    class: be
    dns: {host: 192.0.2.53, name: www.example., type: AAAA, transport: tls, records: "2001:DB8::1"}
"""


@pytest.fixture
def load(tmp_path):
    def load(services: str):
        text = (UK / "estate.yaml").read_text() + services
        (tmp_path / "estate.yaml").write_text(text)
        return load_estate(tmp_path)

    return load


def test_services_are_paths_from_sites(load, tmp_path) -> None:
    found = load(GOOD)
    shop, mail, portal, resolver = found.services.values()
    assert found.service_paths[:2] == (Path.parse("leeds:shop/ef"), Path.parse("dundee:shop/ef"))
    assert len(found.service_paths) == 2 + 3 * 9
    assert set(found.measured_paths) == set(found.paths) | set(found.service_paths)
    path = Path.parse("leeds:shop/ef")
    assert found.knows(path)
    assert found.scope(path) is Scope.SERVICE
    assert found.probe_kind(path) is ProbeKind.HTTP
    assert not found.knows(Path.parse("london:shop/ef"))  # not asked from there
    assert not found.knows(Path.parse("leeds:shop/be"))
    assert shop.request == HttpRequest(
        parse_url("https://shop.example/cart?id=7"),
        headers=(("Authorization", "Bearer x"),),
        statuses=((200, 200), (300, 399)),
        contains=("total",),
        size_max=5_000_000,
        body_max=5_000_000,
        redirects_max=REDIRECTS_MAX,
        redirect_hosts=("login.example",),
    )
    assert (shop.interval_s, shop.timeout_s, shop.site) == (10, 2, "london")
    assert shop.ca_file == tmp_path / "authorities.pem"
    assert mail.request == TcpRequest(Where("2001:db8::25", 25, 6))
    assert portal.request == TlsRequest(Where("portal.example", 443), "portal.example")
    assert (portal.interval_s, portal.timeout_s) == (30, 5)
    assert resolver.request == DnsRequest(
        Where("192.0.2.53", 853),
        "www.example",
        "AAAA",
        Transport.TLS,
        records=("2001:db8::1",),
        server_name="192.0.2.53",
    )


@pytest.mark.parametrize(
    ("entry", "field", "expected"),
    [
        ("{name: a, class: be}", "services.0", "exactly one of tcp, tls, http, dns"),
        ("{name: a, class: be, tcp: {host: h, port: 1}, tls: {host: h}}", "services.0",
         "exactly one of"),
        ("{name: london, class: be, tls: {host: h}}", "services.0.name", "name of a site"),
        ("{name: a, class: gold, tls: {host: h}}", "services.0.class", "known are be, ef"),
        ("{name: a, class: be, site: york, tls: {host: h}}", "services.0.site", "is no site"),
        ("{name: a, class: be, from: [leeds, york], tls: {host: h}}", "services.0.from.1",
         "is no site"),
        ("{name: a, class: be, tls: {host: h}, timeout: 60s, interval: 100ms}", "services.0",
         "more than 64 intervals"),
        ("{name: a, class: be, tcp: {host: h}}", "services.0.tcp.port", "is missing"),
        ("{name: a, class: be, tcp: {host: 1.2.3, port: 1}}", "services.0.tcp.host",
         "is no address"),
        ("{name: a, class: be, tcp: {host: 'a b', port: 1}}", "services.0.tcp.host", "host name"),
        ("{name: a, class: be, tls: {host: h, ip: 5}}", "services.0.tls.ip", "must be 4 or 6"),
        ("{name: a, class: be, http: {url: 'ftp://h/'}}", "services.0.http.url", "http://"),
        ("{name: a, class: be, http: {url: 'http://me:pw@h/'}}", "services.0.http.url",
         "no user name"),
        ("{name: a, class: be, http: {url: 'http://h/', ulr: x}}", "services.0.http.ulr",
         "did you mean url?"),
        ("{name: a, class: be, http: {url: 'http://h/', status: 2yy}}", "services.0.http.status",
         "such as 200 or 2xx"),
        ("{name: a, class: be, http: {url: 'http://h/', headers: {Content-Length: '3'}}}",
         "services.0.http.headers", "set by the probe"),
        ('{name: a, class: be, http: {url: "http://h/", headers: {X: "a\\r\\nb"}}}',
         "services.0.http.headers", "one line of ASCII"),
        ("{name: a, class: be, http: {url: 'http://h/', redirect_hosts: [b]}}",
         "services.0.http", "need follow_redirects"),
        ("{name: a, class: be, http: {url: 'http://h/', method: HEAD, contains: x}}",
         "services.0.http", "brings no body"),
        ("{name: a, class: be, dns: {host: h, name: n, type: ANY}}", "services.0.dns.type",
         "must be one of A"),
        ("{name: a, class: be, dns: {host: h, name: n, records: [1.2.3]}}", "services.0.dns",
         "is no A"),
    ],
)  # fmt: skip
def test_each_fault_has_its_place(load, entry, field, expected) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(f"\nservices:\n  - {entry}\n")
    (problem,) = caught.value.problems
    assert problem.field == field
    assert expected in problem.expected
    lines = (UK / "estate.yaml").read_text().count("\n")
    assert problem.line == lines + 3


def test_faults_are_said_all_at_once_and_names_stand_once(load) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load("""
services:
  - {name: a, class: gold, tcp: {host: h, port: 0}}
  - {name: a, class: be, tls: {host: h}}
""")
    fields = [problem.field for problem in caught.value.problems]
    assert sorted(fields) == ["services.0.class", "services.0.tcp.port", "services.1.name"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WWW.Example.", "www.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("_dmarc.example", "_dmarc.example"),
    ],
)
def test_hosts_have_one_form(text, expected) -> None:
    assert parse_host(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "-a", "a/b", "0x7f.1", "2130706433", "[::1", "a" * 64, "[host]", "é" * 80],
)
def test_what_is_no_host_is_refused(text) -> None:
    with pytest.raises(ValueError, match="no"):
        parse_host(text)


def test_the_commands_say_what_is_asked_of_whom(load, tmp_path) -> None:
    load(GOOD)
    checked = CliRunner().invoke(estate, ["check", "-c", str(tmp_path)])
    assert checked.stdout.endswith("144 paths, 4 services\n")
    shown = CliRunner().invoke(estate, ["show", "-c", str(tmp_path)]).stdout
    row = next(line for line in shown.splitlines() if "shop.example:443" in line)
    assert row.split() == [
        "shop",
        "http",
        "shop.example:443",
        "ef",
        "leeds,",
        "dundee",
        "10",
        "s",
        "2",
        "s",
    ]
    told = json.loads(CliRunner().invoke(estate, ["show", "-c", str(tmp_path), "--json"]).stdout)
    assert told["services"][0]["from"] == ["leeds", "dundee"]
    assert "Bearer" not in json.dumps(told)
    assert {"path": "leeds:shop/ef", "scope": "service", "probe": "http"} in told["paths"]
