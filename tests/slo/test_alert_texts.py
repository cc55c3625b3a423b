"""What the two modes say of an alert: the same things, in words of their own."""

from __future__ import annotations

import pytest

from netslo.app.parts.collector import source_of
from netslo.model import Endpoint, Path
from slo.budget import Spend
from slo.engine.book import Alert, labels_of
from slo.engine.observing import Surroundings
from slo.engine.texts import Seen, Texts
from slo.ledger import Standing
from slo.rules.rules import Alert as Name
from slo.rules.rules import rule_file
from slo.rules.texts import Links

T0 = 1_800_000_000
PATH = Path("london", "leeds", "ef")
SOURCE = "http://collector.example:4318"
OF_PATH = {"path": PATH.id, "src_site": PATH.src, "dst_site": PATH.dst, "class_": "ef"}
BURN = {"slo": "", "pair": "1h/5m", "scope": "national", **OF_PATH}
LABELS = {
    Name.BURN_PAGE: BURN,
    Name.BURN_TICKET: BURN,
    Name.SITE_PAGE: {"site": "leeds", "src_site": "leeds", "dst_site": "leeds"},
    Name.COVERAGE_LOW: {"slo": "", **OF_PATH},
    Name.PROBE_DOWN: {"src_site": "leeds"},
    Name.COLLECTOR_DOWN: {},
    Name.CERTIFICATE: {"dst_site": "shop"},
    Name.WATCHDOG: {},
}
AROUND = Surroundings(
    T0, T0 - 9000, T0 - 5, {"leeds": T0 - 150.0}, certificates_s={"shop": T0 + 3600.0}
)


@pytest.fixture
def engine(latency, estate):
    """Return what the engine says of an alert of this name."""

    def engine(name, around=AROUND, *, links=None, source=SOURCE, objective=latency):
        lengths_s = sorted({*objective.alerts.windows_s, objective.window_s})
        spends = {s: {(objective.name, PATH): Spend(events=100, bad=9)} for s in lengths_s}
        texts = Texts({objective.name: objective}, estate, links or Links(), source)
        labels = LABELS[name] | ({"slo": objective.name} if "slo" in LABELS[name] else {})
        alert = Alert(labels_of(alertname=name, **labels), T0 - 60.0, T0 - 60.0, value=3.0)
        standing = Standing.of_spends(spends, lengths_s)
        return texts.annotate(alert, standing, lambda _: Seen(), around)

    return engine


@pytest.mark.parametrize("name", list(Name))
def test_both_modes_say_the_same_things(engine, latency, name) -> None:
    by_rules = [
        set(rule["annotations"])
        for group in rule_file([latency])["groups"]
        for rule in group["rules"]
        if rule.get("alert") == name
    ]
    assert by_rules
    assert all(names == set(engine(name)) for names in by_rules)


def test_a_site_s_page_says_when_its_probe_last_delivered(engine) -> None:
    said = engine(Name.SITE_PAGE)
    assert said["evidence"] == "its probe's last window ended 150s ago"
    never = engine(Name.SITE_PAGE, Surroundings(T0, T0, None, {}))
    assert "before the collector started, or never" in never["evidence"]


def test_a_path_links_to_its_dashboard_or_to_its_own_page(engine) -> None:
    own = engine(Name.BURN_PAGE)["dashboard_url"]
    assert own == f"{SOURCE}/paths/london:leeds/ef"
    grafana = Links(dashboard="https://grafana/d/slo")
    chosen = engine(Name.BURN_PAGE, links=grafana)["dashboard_url"]
    assert chosen.startswith("https://grafana/d/slo?var-slo=")
    assert "dashboard_url" not in engine(Name.BURN_PAGE, source="")


def test_an_slo_without_an_owner_says_so(engine, loss) -> None:
    assert engine(Name.BURN_PAGE, objective=loss)["owner"] == "nobody is named"


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("10.0.0.7", 4318, "http://10.0.0.7:4318"),
        ("2001:db8::7", 4318, "http://[2001:db8::7]:4318"),
        ("0.0.0.0", 4318, ""),
        ("::", 4318, ""),
        ("127.0.0.1", 0, ""),
    ],
)
def test_a_collector_knows_its_address_where_it_was_told_one(host, port, expected) -> None:
    assert source_of(Endpoint(host, port)) == expected
