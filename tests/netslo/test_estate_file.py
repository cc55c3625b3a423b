"""`estate.yaml`: the example is good, and each fault is named with its line, all at once."""

import pathlib

import pytest

from netslo.config.estate_file import load_estate
from netslo.errors import ConfigurationError
from netslo.estate import TestingPlan, TraceSettings
from netslo.model import Direction, Endpoint, Path, Scope
from netslo.route import TraceProtocol

UK = pathlib.Path(__file__).parents[2] / "examples" / "uk"


@pytest.fixture
def changed(tmp_path):
    """Return a function which loads the UK estate after replacing texts in its file."""

    def load(*replacements):
        text = (UK / "estate.yaml").read_text()
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "estate.yaml").write_text(text)
        return load_estate(tmp_path)

    return load


def problems_of(load, *arguments):
    with pytest.raises(ConfigurationError) as caught:
        load(*arguments)
    assert caught.value.exit_code == 2
    return caught.value.problems


def test_the_uk_example_has_nine_places_on_three_tiers() -> None:
    uk = load_estate(UK)
    assert len(uk.sites) == 9
    assert {site.tier for site in uk.sites.values()} == {"edge", "regional", "national"}
    assert {c.name: c.dscp for c in uk.classes.values()} == {"ef": 46, "be": 0}
    assert len({site.residency_zone for site in uk.sites.values()}) == 2
    assert (uk.plan.interval_s, uk.plan.timeout_s) == (0.2, 1.0)
    assert len(uk.paths) == 9 * 8 * 2
    assert uk.links[0].capacity_bits_per_second == 100e9


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("london:reading/ef", Scope.REGIONAL),
        ("london:brighton/ef", Scope.EDGE),
        ("brighton:london/be", Scope.EDGE),
        ("brighton:dundee/be", Scope.NATIONAL),
        ("london:edinburgh/ef", Scope.NATIONAL),
    ],
)
def test_scope_follows_regions_and_tiers(path: str, scope: Scope) -> None:
    assert load_estate(UK).scope(Path.parse(path)) is scope


FAULTS = {
    "a negative interval": (("200ms", "-5ms"), "probing.interval", "not a positive duration"),
    "an interval of nothing": (("200ms", "0s"), "probing.interval", "not a positive duration"),
    "an interval too short": (("200ms", "0.5ms"), "probing.interval", "at least 0.001"),
    "a bare number": (("200ms", "5"), "probing.interval", "text with a unit"),
    "an unknown field": (("interval: 200ms", "intervall: 200ms"), "intervall", "mean interval?"),
    "a field too few": (("interval: 200ms  # per path\n", "\n"), "probing.interval", "missing"),
    "a name twice": (("name: leeds", "name: london"), "sites.4.name", "already used on line"),
    "a name with capitals": (("name: leeds", "name: Leeds"), "sites.4.name", "must be a name"),
    "an unknown tier": (
        ("    tier: edge", "    tier: egde"),
        "sites.2.tier",
        "'edge', 'regional' or",
    ),
    "a place beyond the pole": (("lat: 53.8008", "lat: 153.8"), "sites.4.location.lat", "at most"),
    "a port out of range": (("18624", "98624"), "sites.4.addresses.0", "port from 1 to 65535"),
    "an address twice": (("18624", "18620"), "sites.4.addresses.0", "already used on line"),
    "a link to nowhere": (("[leeds, london]", "[leeds, paris]"), "links.9.between.1", "is no site"),
    "a link to itself": (("[leeds, london]", "[leeds, leeds]"), "links.9.between", "two different"),
    "a link twice": (("[leeds, london]", "[london, reading]"), "links.9.between", "same link"),
    "a capacity without unit": (("10Gbit/s", "10"), "links.4.capacity", "text with a unit"),
    "a negative cost": (("0.004", "-0.004"), "links.0.cost_per_gigabyte", "at least 0"),
    "a DSCP out of range": (("dscp: 46", "dscp: 64"), "classes.0.dscp", "at most 63"),
    "a DSCP twice": (("dscp: 46", "dscp: 0"), "classes.1.dscp", "already used"),
    "no source port": (
        ("timeout: 1s", "source_ports: 0\n  timeout: 1s"),
        "source_ports",
        "at least",
    ),
    "ports as a text": (
        ("timeout: 1s", "source_ports: many\n  timeout: 1s"),
        "source_ports",
        "whole",
    ),
    "ports by the hundred": (
        ("timeout: 1s", "source_ports: 100\n  timeout: 1s"),
        "source_ports",
        "at most 16",
    ),
    "routes traced too often": (
        ("timeout: 1s", "trace: {interval: 1s}\n  timeout: 1s"),
        "probing.trace.interval",
        "at least 10",
    ),
    "traces by a protocol that is none": (
        ("timeout: 1s", "trace: {protocol: gre}\n  timeout: 1s"),
        "probing.trace.protocol",
        "'icmp', 'udp' or 'tcp'",
    ),
    "traces neither on nor off": (
        ("timeout: 1s", "trace: often\n  timeout: 1s"),
        "probing.trace",
        "must be {interval: 5m} or off",
    ),
    "a port of ICMP": (
        ("timeout: 1s", "trace: {protocol: icmp, port: 7}\n  timeout: 1s"),
        "probing.trace",
        "ICMP has none",
    ),
    "a kind of probe that is none": (
        ('addresses: ["127.0.0.1:18624"]', 'addresses: ["127.0.0.1:18624"]\n    probe: ping'),
        "sites.4.probe",
        "must be stamp or icmp",
    ),
    "a link by a kind that is none": (
        ("cost_per_gigabyte: 0.004}", "cost_per_gigabyte: 0.004, probe: tcp}"),
        "links.0.probe",
        "must be stamp or icmp",
    ),
    "an estate's key without a file": (
        ("currency: GBP", "currency: GBP\nauthentication: {}"),
        "authentication.key_file",
        "is missing",
    ),
    "an estate's key by no name": (
        ("currency: GBP", "currency: GBP\nauthentication: {key_file: ''}"),
        "authentication.key_file",
        "must name a file",
    ),
    "an estate's key that is a list": (
        ("currency: GBP", "currency: GBP\nauthentication: []"),
        "authentication",
        "must be a mapping",
    ),
    "a key by another name": (
        ("currency: GBP", "currency: GBP\nauthentication: {key_flie: a}"),
        "authentication.key_flie",
        "did you mean key_file?",
    ),
    "a site's key that is a text": (
        ("region: south", "authentication: secret\n    region: south"),
        "sites.0.authentication",
        "must be {key_file: FILE} or none",
    ),
    "a site's key that is a number": (
        ("region: south", "authentication: {key_file: 5}\n    region: south"),
        "sites.0.authentication.key_file",
        "must be text",
    ),
    "a key for ICMP": (
        ("region: south", "authentication: {key_file: a}\n    probe: icmp\n    region: south"),
        "sites.0.authentication",
        "of no use",
    ),
    "a test by a method that is none": (
        ("timeout: 1s", "timeout: 1s\n  bandwidth: {method: speedtest}"),
        "probing.bandwidth.method",
        "must be 'train' or 'tcp'",
    ),
    "tests all the time": (
        ("timeout: 1s", "timeout: 1s\n  bandwidth: {interval: 5s}"),
        "bandwidth.interval",
        "at least 60",
    ),
    "a test of an hour": (
        ("timeout: 1s", "timeout: 1s\n  bandwidth: {seconds: 3600}"),
        "bandwidth.seconds",
        "at most 120",
    ),
    "a budget without a unit": (
        ("timeout: 1s", "timeout: 1s\n  bandwidth: {budget: 5}"),
        "bandwidth.budget",
        "text with a unit",
    ),
    "a budget by the hour": (
        ("timeout: 1s", "timeout: 1s\n  bandwidth: {budget: 5GB/h}"),
        "bandwidth.budget",
        "not an amount of data",
    ),
    "a plan of tests that is a number": (
        ("timeout: 1s", "timeout: 1s\n  bandwidth: 5"),
        "probing.bandwidth",
        "or none",
    ),
    "a field of tests by another name": (
        ("timeout: 1s", "timeout: 1s\n  bandwidth: {budgit: 5GB}"),
        "bandwidth.budgit",
        "did you mean budget?",
    ),
    "a port of tests out of range": (
        ("region: south", "bandwidth: 70000\n    region: south"),
        "sites.0.bandwidth",
        "at most 65535",
    ),
    "a port of tests that answers STAMP": (
        ("region: south", "bandwidth: 18620\n    region: south"),
        "sites.0.bandwidth",
        "a port of its own",
    ),
    "an address without a port": ((":18624", ""), "sites.4.addresses.0", "must be HOST:PORT"),
    "a version of the future": (("version: 1", "version: 2"), "version", "at most 1"),
}


@pytest.mark.parametrize(("change", "field", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named_with_its_line_field_and_expectation(
    changed, tmp_path, change, field, expected
) -> None:
    found = problems_of(changed, change)
    (problem,) = [p for p in found if p.field.endswith(field) and expected in p.expected]
    assert problem.file == str(tmp_path / "estate.yaml")
    lines = (tmp_path / "estate.yaml").read_text().splitlines()
    word = field.rpartition(".")[2]
    if not word.isdigit() and "missing" not in expected:
        assert word in lines[problem.line - 1]


def test_a_plan_says_ports_kinds_and_keys(changed, tmp_path) -> None:
    estate = changed(
        ("currency: GBP", "currency: GBP\nauthentication: {key_file: keys/all.key}"),
        ("timeout: 1s", "source_ports: 4\n  timeout: 1s"),
        ('["127.0.0.1:18621"]', '["router.example"]\n    probe: icmp'),
        ('["127.0.0.1:18622"]', '["[::1]:18622"]\n    authentication: none'),
        ('["127.0.0.1:18623"]', '["127.0.0.1:18623"]\n    authentication: {key_file: /m.key}'),
        ("cost_per_gigabyte: 0.006}", "cost_per_gigabyte: 0.006, probe: icmp}"),
    )
    assert estate.plan.source_ports == 4
    assert estate.sites["reading"].addresses == (Endpoint("router.example", 0),)
    assert estate.key_files["london"] == tmp_path / "keys/all.key"
    assert estate.key_files["manchester"] == pathlib.Path("/m.key")
    assert not {"reading", "brighton"} & set(estate.key_files)
    kinds = {p.id: estate.probe_kind(p) for p in estate.paths if p.traffic_class == "be"}
    assert {path for path, kind in kinds.items() if kind == "icmp"} == {
        *(p for p in kinds if ":reading/" in p),
        "manchester:edinburgh/be",
        "edinburgh:manchester/be",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("off", None),
        ('"off"', None),
        ("{interval: 1m}", TraceSettings(60.0)),
        (
            "{interval: 30s, protocol: tcp, port: 8443, flows: 16}",
            TraceSettings(30.0, TraceProtocol.TCP, 8443, 16),
        ),
    ],
)
def test_a_plan_says_how_routes_are_traced(changed, text, expected) -> None:
    estate = changed(("timeout: 1s", f"trace: {text}\n  timeout: 1s"))
    assert estate.plan.trace == expected


def test_a_plan_that_says_nothing_of_ports_kinds_and_keys_has_none() -> None:
    uk = load_estate(UK)
    assert uk.plan.source_ports is None
    assert uk.plan.trace == TraceSettings(300.0, TraceProtocol.UDP, None, 4)
    assert uk.key_files == {}
    assert {uk.probe_kind(path) for path in uk.paths} == {"stamp"}


def test_all_faults_are_said_at_once_in_the_order_of_the_file(changed) -> None:
    found = problems_of(
        changed, ("200ms", "-1s"), ("name: leeds", "name: london"), ("dscp: 46", "dscp: 99")
    )
    assert len({p.field for p in found}) >= 3
    assert [p.line for p in found] == sorted(p.line for p in found)


BROKEN = {
    "malformed YAML": ("sites: [1, 2\nx: }", "not YAML"),
    "an empty file": ("", "is empty"),
    "two documents": ("a: 1\n---\nb: 2\n", "one document"),
    "a list": ("- 1\n", "mapping"),
    "a key twice": ("version: 1\nversion: 1\n", "a second time; the first is on line 1"),
    "a tab": ("a:\n\t- b\n", "not YAML"),
    "a foreign tag": ("a: !!python/object:os.system {}\n", "missing"),
    "an undefined alias": ("a: *b\n", "not YAML"),
    "a date where text is due": ("name: 2026-01-01\n", "must be text"),
}


@pytest.mark.parametrize(("text", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_one_clear_message(tmp_path, text, expected) -> None:
    (tmp_path / "estate.yaml").write_text(text)
    assert any(expected in p.expected for p in problems_of(load_estate, tmp_path))


def test_a_bomb_of_aliases_is_refused_quickly(tmp_path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "estate.yaml").write_text("\n".join(lines))
    (problem,) = problems_of(load_estate, tmp_path)
    assert "values" in problem.expected


def test_deep_nesting_is_refused(tmp_path) -> None:
    (tmp_path / "estate.yaml").write_text("[" * 5000 + "]" * 5000)
    (problem,) = problems_of(load_estate, tmp_path)
    assert "deep" in problem.expected


def test_a_file_that_is_too_large_or_no_text_is_refused(tmp_path) -> None:
    file = tmp_path / "estate.yaml"
    file.write_bytes(b"#" * (1 << 21))
    assert "octets" in problems_of(load_estate, tmp_path)[0].expected
    file.write_bytes(b"a: \xff\n")
    assert "UTF-8" in problems_of(load_estate, tmp_path)[0].expected


def test_a_missing_folder_is_named(tmp_path) -> None:
    (problem,) = problems_of(load_estate, tmp_path / "none")
    assert "none/estate.yaml" in problem.file
    assert "no such file" in problem.expected


def test_ipv6_addresses_stand_in_brackets(changed) -> None:
    estate = changed(("127.0.0.1:18620", "[::1]:18620"))
    assert estate.sites["london"].addresses == (Endpoint("::1", 18620),)
    assert str(estate.sites["london"].addresses[0]) == "[::1]:18620"
    assert problems_of(changed, ("127.0.0.1:18620", "::1:18620"))


def test_a_plan_says_how_bandwidth_is_tested(changed) -> None:
    plan = "method: tcp, interval: 30m, seconds: 5, direction: forward, streams: 2, budget: 5GB/day"
    estate = changed(
        ("timeout: 1s", f"timeout: 1s\n  bandwidth: {{{plan}}}"),
        ('addresses: ["127.0.0.1:18624"]', 'addresses: ["127.0.0.1:18624"]\n    bandwidth: 8862'),
    )
    assert estate.testing == TestingPlan("tcp", 1800.0, 5.0, (Direction.FORWARD,), 2, 5 * 10**9)
    assert estate.bandwidth_server("leeds") == Endpoint("127.0.0.1", 8862)
    assert estate.bandwidth_server("london") is None
    assert {path.id for path in estate.tested_paths} == {
        "manchester:leeds/be",
        "london:leeds/be",
        "sheffield:leeds/be",
    }


def test_links_are_tested_by_trains_where_a_site_offers_it_unless_told_otherwise(changed) -> None:
    offer = ('addresses: ["127.0.0.1:18624"]', 'addresses: ["127.0.0.1:18624"]\n    bandwidth: 1')
    assert load_estate(UK).testing == TestingPlan()
    assert load_estate(UK).tested_paths == ()
    assert len(changed(offer).tested_paths) == 3
    never = changed(offer, ("timeout: 1s", "timeout: 1s\n  bandwidth: none"))
    assert (never.testing, never.tested_paths) == (None, ())
