"""Rules against promtool: what they say of counters that an oracle made up."""

from __future__ import annotations

import pathlib
import re
from dataclasses import replace
from fractions import Fraction

import pytest
import yaml
from real_prometheus import run

from netslo import metrics
from netslo.errors import ConfigurationError
from netslo.model import Path
from slo.budget import MissingData
from slo.burn import PAIRS, BurnPair, Guard, Severity, chance_of_at_least
from slo.due import bad_events_min, budget_events_min
from slo.exclusion import Covers, Exclusion
from slo.policy import AlertPolicy
from slo.rules import expressions
from slo.rules.cases import test_files as files_of_cases
from slo.rules.exposition import ThresholdCollector
from slo.rules.layout import RULES_MAX, Timing, cadences
from slo.rules.rules import COLLECTOR_FOR_S, PROBE_FOR_S, Alert, rule_file
from slo.rules.texts import Links, burn_texts
from slo.rules.yaml_text import to_yaml
from slo.slices import TimeSlices

ROOT = pathlib.Path(__file__).parents[2]
PATH = Path("london", "leeds", "ef")
LABELS = (
    'path="london:leeds/ef",slo="national-latency",src_site="london",dst_site="leeds",'
    'class="ef",scope="national"'
)


def promtool(folder: pathlib.Path, rules: dict, *tests: dict) -> str:
    """Return what promtool says of tests; empty when all of them pass."""
    (folder / "rules.yml").write_text(to_yaml(rules, "rules"))
    names = []
    for number, test in enumerate(tests):
        names.append(f"test{number}.yml")
        (folder / names[-1]).write_text(to_yaml(test, "test"))
    done = run("promtool", "test", "rules", *(folder / name for name in names))
    return "" if done.returncode == 0 else done.stdout + done.stderr


def rules_of(*objectives) -> list[dict]:
    return [rule for group in rule_file(objectives)["groups"] for rule in group["rules"]]


class TestRuleFile:
    def test_promtool_finds_no_fault(self, tmp_path, latency, loss) -> None:
        file = tmp_path / "rules.yml"
        file.write_text(to_yaml(rule_file([latency, loss]), "rules"))
        done = run("promtool", "check", "rules", file)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "22 rules found" in done.stdout

    def test_the_rules_are_the_same_for_any_number_of_paths_and_objectives(self, latency) -> None:
        many = [replace(latency, name=f"slo-{n}", target_text="0.95") for n in range(100)]
        assert rule_file(many) == rule_file([latency]) == rule_file([])
        assert len(rules_of(latency)) <= RULES_MAX == 25

    def test_any_pairs_make_as_many_rules(self, tmp_path, latency) -> None:
        pairs = tuple(
            BurnPair(severity, Fraction(1, 100), long_s)
            for severity in Severity
            for long_s in (1800, 7200, 21_600, 43_200, 86_400)
        )
        policy = AlertPolicy(pairs=(*pairs, BurnPair(Severity.PAGE, Fraction(1, 100), 7200, 3600)))
        objective = replace(latency, alerts=policy)
        assert len(rules_of(objective)) == 24 <= RULES_MAX
        file = tmp_path / "rules.yml"
        file.write_text(to_yaml(rule_file([objective]), "rules"))
        done = run("promtool", "check", "rules", file)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_no_rule_names_an_objective_and_every_metric_exists(self, latency, loss) -> None:
        known = {value for name, value in vars(metrics).items() if name.startswith("PROM_")}
        text = to_yaml(rule_file([latency, loss]), "rules")
        assert latency.name not in text
        found = set(re.findall(r"\b(?:slo|network|netslo)_\w+", text)) - {"slo_runbook_url"}
        assert found
        assert found <= known

    def test_every_alert_has_its_labels_its_texts_and_a_runbook_that_ends_in_commands(
        self, latency
    ) -> None:
        alerts = {rule["alert"]: rule for rule in rules_of(latency) if "alert" in rule}
        assert set(alerts) == set(Alert)
        for name, rule in alerts.items():
            assert rule["labels"]["severity"] in {"page", "ticket", "none"}
            assert rule["annotations"]["summary"]
            runbook = ROOT / rule["annotations"]["runbook_url"]
            assert runbook.read_text().startswith(f"# {name}\n")

    def test_alerts_stand_with_what_they_look_at_each_once(self, latency) -> None:
        found = [
            (group["name"], rule["alert"], re.findall(r'pair=~"([^"]+)"', rule["expr"]))
            for group in rule_file([latency])["groups"]
            for rule in group["rules"]
            if rule.get("alert") in {Alert.BURN_PAGE, Alert.BURN_TICKET}
        ]
        assert found == [
            ("netslo-fast", "SLOBurnPage", ["1h/5m|6h/30m"]),
            ("netslo-slow", "SLOBurnTicket", ["1d/2h|3d/6h"]),
        ]

    def test_links_are_those_of_the_user(self, latency) -> None:
        links = Links("https://runbooks.example/", "https://grafana.example/d/slo")
        rules = rule_file([latency], links=links)["groups"][0]["rules"]
        (page,) = [rule for rule in rules if rule.get("alert") == Alert.BURN_PAGE]
        said = page["annotations"]
        assert said["runbook_url"] == "https://runbooks.example/SLOBurnPage.md"
        assert said["dashboard_url"].startswith("https://grafana.example/d/slo?var-slo=")

    def test_a_custom_pair_makes_its_own_rules_and_too_many_are_refused(self, latency) -> None:
        own = BurnPair(Severity.TICKET, Fraction(1, 100), 1800, 300)
        policy = AlertPolicy(pairs=(*PAIRS, own))
        fast, medium, _ = cadences([replace(latency, alerts=policy)], Timing())
        assert [span.id for span in fast.spans] == ["30m/5m", "1h/5m"]
        assert fast.severities == (Severity.PAGE, Severity.TICKET)
        assert [span.id for span in medium.spans] == ["6h/30m"]
        pairs = tuple(BurnPair(Severity.PAGE, Fraction(2, 100), 3600 * n) for n in range(1, 16))
        with pytest.raises(ConfigurationError, match=r"15 different .* at most 10 can be"):
            rule_file([replace(latency, alerts=AlertPolicy(pairs=pairs))])

    @pytest.mark.parametrize("pair", PAIRS, ids=["1h", "6h", "1d", "3d"])
    def test_one_pair_alone_has_its_page_for_sites_and_its_coverage(self, latency, pair) -> None:
        rules = rules_of(replace(latency, alerts=AlertPolicy(pairs=(pair,))))
        alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
        assert {Alert.SITE_PAGE, Alert.COVERAGE_LOW} < set(alerts)
        assert f'window="{pair.short}"' in alerts[Alert.COVERAGE_LOW]["expr"]

    def test_the_longer_the_window_the_less_often_it_is_looked_at(self, latency) -> None:
        def intervals(timing: Timing | None = None) -> list[str]:
            return [group["interval"] for group in rule_file([latency], timing)["groups"]]

        assert intervals() == ["30s", "90s", "4m", "2m", "30s"]
        # Never beyond the five minutes that Prometheus looks back.
        assert intervals(Timing(fast_s=240)) == ["4m"] * 5

    def test_a_backlog_blinds_pairs_of_hours_and_no_others(self, latency) -> None:
        blind = {
            rule["labels"]["cadence"]: metrics.PROM_PROBE_LATE_ARRIVAL in rule["expr"]
            for rule in rules_of(latency)
            if rule.get("record") == expressions.KNOWN
        }
        assert blind == {"fast": True, "medium": True, "slow": False}

    def test_durations_are_scaled_for_trials(self) -> None:
        assert Timing().text(3600) == "1h"
        assert Timing(scale=60).text(3600) == "1m"
        assert Timing(scale=60).text(30) == "500ms"

    def test_what_an_alert_says_reads_counters_of_its_own_path_only(self, latency) -> None:
        """It is worked out for each alert, at each evaluation: to read all paths took a minute."""
        few = {
            metrics.PROM_SLO_INFO,
            metrics.PROM_SLO_BUDGET_EVENTS_MIN,
            metrics.PROM_SLO_BURN_THRESHOLD,
        }
        texts = [
            text for rule in rules_of(latency) for text in rule.get("annotations", {}).values()
        ]
        queries = [q for text in texts for q in re.findall('printf "(.*?)" ', text)]
        read = [found for q in queries for found in re.findall(r"([a-z]+_[a-z_]+)(\{.*?\})?", q)]
        assert len([name for name, _ in read if name.startswith("network_")]) >= 6
        for name, matchers in read:
            if name.startswith(("slo_", "network_")) and name not in few:
                assert matchers.startswith("{path='%s"), (name, matchers)


class TestCases:
    def test_cases_of_every_pair_pass(self, tmp_path, estate, latency) -> None:
        made = files_of_cases([latency], estate, "rules.yml")
        names = [case["name"] for test in made.values() for case in test["tests"]]
        assert [name.split(":")[0].split()[-1] for name in names] == [
            "1h/5m", "6h/30m", "1d/2h", "3d/6h",
        ]  # fmt: skip
        assert not promtool(tmp_path, rule_file([latency]), *made.values())

    @pytest.mark.parametrize(
        "slices",
        [
            TimeSlices(60, Fraction(95, 100)),
            TimeSlices(300, Fraction(95, 100)),
            TimeSlices(60, None),
        ],
        ids=["1m", "5m", "shares of 1m"],
    )
    def test_cases_of_slices_pass(self, tmp_path, estate, loss, slices) -> None:
        policy = AlertPolicy(pairs=(PAIRS[0], PAIRS[2]))
        objective = replace(loss, target_text="0.999", slices=slices, alerts=policy)
        made = files_of_cases([objective], estate, "rules.yml")
        assert sum(len(test["tests"]) for test in made.values()) == 2
        said = promtool(tmp_path, rule_file([objective]), *made.values())
        assert not said, said

    @pytest.mark.parametrize("length_s", [1800, 3600])
    def test_cases_of_slices_as_long_as_the_short_window_pass(
        self, tmp_path, estate, loss, length_s
    ) -> None:
        pair = BurnPair(Severity.PAGE, Fraction(5, 100), 6 * 3600, length_s)
        policy = AlertPolicy(pairs=(pair,), guard=Guard(bad_events_min=2))
        slices = TimeSlices(length_s, Fraction(1))
        objective = replace(loss, target_text="0.95", slices=slices, alerts=policy)
        (made,) = files_of_cases([objective], estate, "rules.yml").values()
        said = promtool(tmp_path, rule_file([objective]), made)
        assert not said, said

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("offset 1h", "offset 2h"),
            ("slo_bad_events_total[5m]", "slo_bad_events_total[40m]"),
            ('((slo:burn_alert{pair="1h/5m"} and', '((slo:burn_alert{pair="none"} and'),
            ("* 0.99", "* 99"),
            ("time() - max by (src_site) (netslo_probe_last", "0 * max by (src_site) (netslo_pr"),
            ("  > on (slo) group_left (severity) max", "  < on (slo) group_left (severity) max"),
        ],
        ids=["long window", "short window", "hold", "suspects", "probe down", "comparison"],
    )
    def test_cases_fail_when_the_rules_are_wrong(self, tmp_path, estate, loss, old, new) -> None:
        objective = replace(loss, alerts=AlertPolicy(pairs=PAIRS[:1]))
        good = to_yaml(rule_file([objective]), "rules")
        assert old in good
        made = files_of_cases([objective], estate, "rules.yml")
        assert promtool(tmp_path, yaml.safe_load(good.replace(old, new)), *made.values())

    def test_a_pair_that_can_never_fire_has_no_case(self, estate, loss) -> None:
        hopeless = replace(loss, target_text="0.5", alerts=AlertPolicy(pairs=PAIRS[:1]))
        assert files_of_cases([hopeless], estate, "rules.yml") == {}


def series(name: str, values: str, more: str = "") -> dict[str, str]:
    return {"series": f"{name}{{{LABELS}{more}}}", "values": values}


def constants(total: int, **least: float) -> list[dict[str, str]]:
    """Thresholds of 99.9 %, a packet a second."""
    slo = 'slo="national-latency"'
    return [
        {"series": f'slo_burn_threshold{{pair="1h/5m",severity="page",{slo}}}',
         "values": f"13.44x{total}"},
        {"series": f'slo_bad_events_min{{pair="1h/5m",{slo}}}', "values": f"3x{total}"},
        {"series": f'slo_budget_events_min{{window="1h",{slo}}}', "values": f"1.8x{total}"},
        {"series": f'slo_budget_events_min{{window="5m",{slo}}}', "values": f"0.15x{total}"},
        {"series": 'slo_site_peers{site="london"}', "values": f"3x{total}"},
        {"series": "netslo_collector_last_commit_timestamp_seconds", "values": f"0+60x{total}"},
        {"series": 'netslo_probe_last_window_timestamp_seconds{src_site="london"}',
         "values": f"0+60x{total}"},
    ]  # fmt: skip


def by_minute(given: list[dict[str, str]], **checks: list[dict]) -> dict:
    """Return what promtool is to check of series that are given by the minute."""
    case = {"interval": "1m", "input_series": given, **checks}
    return {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [case]}


def firing(alert: str, at: str, count: int) -> dict:
    return {
        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)',
        "eval_time": at,
        "exp_samples": [{"labels": "{}", "value": count}],
    }


def unknown(at: str, count: int) -> dict:
    expr = 'count(ALERTS{alertname="SLOCoverageLow",alertstate="pending"}) or vector(0)'
    return {**firing("", at, count), "expr": expr}


@pytest.fixture
def check(tmp_path, latency):
    """Run cases of series by the minute under the rules of one pair."""
    objective = replace(latency, alerts=AlertPolicy(pairs=PAIRS[:1]))

    def check(total: int, given: list[dict[str, str]], *expected: dict) -> None:
        test = by_minute([*given, *constants(total)], promql_expr_test=list(expected))
        said = promtool(tmp_path, rule_file([objective]), test)
        assert not said, said

    return check


class TestUnknown:
    """Young series, gaps, restarts, backlogs: unknown, never a false page nor a silent hole."""

    def counters(self, events: str, bad: str, budget: str) -> list[dict[str, str]]:
        return [
            series("slo_events_total", events),
            series("slo_bad_events_total", bad),
            series("slo_budget_events_total", budget),
        ]

    def test_a_young_series_pages_nobody(self, check) -> None:
        # Half of all packets are lost from the first moment on: 500 times the budget.
        given = self.counters("0+60x100", "0+30x100", "0+0.06x100")
        check(100, given, firing("SLOBurnPage", "50m", 0), firing("SLOBurnPage", "62m", 1))

    def test_a_restart_with_the_same_store_changes_nothing(self, check) -> None:
        given = self.counters(
            "0+60x80 _x2 4980+60x40", "0+0.001x80 _x2 0.083+30x40", "0+0.06x80 _x2 4.98+0.06x40"
        )
        check(
            130, given, firing("SLOBurnPage", "81m", 0), firing("SLOBurnPage", "86m", 1),
        )  # fmt: skip

    def test_a_store_that_was_put_back_is_unknown_until_it_has_a_window(self, check) -> None:
        # After 100 min the counters are those of 90 min before; nothing is wrong with the path.
        given = self.counters(
            "0+60x100 600+60x100", "0+0.001x100 0.01+0.001x100", "0+0.06x100 0.6+0.06x100"
        )
        check(200, given, *(firing("SLOBurnPage", f"{at}m", 0) for at in range(95, 200, 3)))

    def test_a_silent_path_is_unknown_and_says_so(self, check) -> None:
        given = self.counters("0+60x80 4800x40", "0x120", "0+0.06x80 4.8x40")
        check(
            120, given,
            unknown("79m", 0), unknown("90m", 1),
            firing("SLOCoverageLow", "79m", 0), firing("SLOCoverageLow", "100m", 1),
            firing("SLOBurnPage", "100m", 0),
        )  # fmt: skip

    @pytest.mark.parametrize("silent", ["national-latency", "rate"])
    def test_each_objective_is_held_against_its_own_shortest_window(
        self, tmp_path, latency, silent
    ) -> None:
        """One has 5 min and 1 h, of another 1 h is the shortest; then one of them falls silent."""
        quick = replace(latency, alerts=AlertPolicy(pairs=PAIRS[:1]))
        slow_pair = BurnPair(Severity.PAGE, Fraction(5, 100), 6 * 3600, 3600)
        slow = replace(latency, name="rate", alerts=AlertPolicy(pairs=(slow_pair,)))
        given = constants(400)
        for name, window, least in (("rate", "1h", 1.8), ("rate", "6h", 10.8)):
            labels = f'window="{window}",slo="{name}"'
            given.append({"series": f"slo_budget_events_min{{{labels}}}", "values": f"{least}x400"})
        for name in ("national-latency", "rate"):
            events, budget = "0+60x400", "0+0.06x400"
            if name == silent:
                events, budget = "0+60x200 12000x200", "0+0.06x200 12x200"
            for metric, values in (
                ("slo_events_total", events),
                ("slo_bad_events_total", "0x400"),
                ("slo_budget_events_total", budget),
            ):
                given.append(series(metric, values))
                given[-1]["series"] = given[-1]["series"].replace("national-latency", name)
        told = 'count by (slo) (ALERTS{alertname="SLOCoverageLow",alertstate="firing"})'
        expected = [{"labels": f'{{slo="{silent}"}}', "value": 1}]
        test = by_minute(
            given,
            promql_expr_test=[
                {"expr": told, "eval_time": "190m", "exp_samples": []},
                {"expr": told, "eval_time": "260m", "exp_samples": expected},
            ],
        )
        said = promtool(tmp_path, rule_file([quick, slow]), test)
        assert not said, said

    def test_an_exclusion_keeps_the_coverage_alert_quiet(self, check) -> None:
        given = self.counters("0+60x80 4800x40", "0x120", "0+0.06x80 4.8x40")
        given.append(series("slo_excluded", "_x79 1x41"))
        check(120, given, firing("SLOCoverageLow", "100m", 0))

    def test_a_backlog_of_two_hours_pages_nobody_for_what_is_over(self, check) -> None:
        # At 200 min two hours come in at once, all of them bad; since then all is well.
        given = self.counters(
            "0+60x80 4800x119 12000+60x90",
            "0+0.001x80 0.08x119 7200+0.001x90",
            "0+0.06x80 4.8x119 12+0.06x90",
        )
        given.append(
            {"series": 'netslo_probe_late_arrival_timestamp_seconds{src_site="london"}',
             "values": "_x199 12000x90"}
        )  # fmt: skip
        check(290, given, *(firing("SLOBurnPage", f"{at}m", 0) for at in range(195, 290, 2)))

    def test_an_alert_holds_while_data_stop_and_ends_when_the_path_is_given_up(self, check) -> None:
        # Lost from 80 min on, silent from 90 min on, no longer exported from 120 min on.
        given = self.counters(
            "0+60x90 5400x30 stale",
            "0+0.001x80 0.08+60x10 600x30 stale",
            "0+0.06x90 5.4x30 stale",
        )
        check(
            140, given,
            firing("SLOBurnPage", "89m", 1),
            firing("SLOBurnPage", "119m", 1),
            firing("SLOBurnPage", "124m", 0),
        )  # fmt: skip

    def test_an_alert_holds_while_the_collector_is_down(self, tmp_path, latency) -> None:
        objective = replace(latency, alerts=AlertPolicy(pairs=PAIRS[:1]))
        given = self.counters("0+60x90 stale", "0+0.001x80 0.08+60x10 stale", "0+0.06x90 stale")
        for one in constants(90):
            given.append({**one, "values": one["values"] + " stale"})
        expected = [
            firing("SLOCollectorDown", "89m", 0),
            firing("SLOBurnPage", "89m", 1),
            firing("SLOBurnPage", "130m", 1),
            firing("SLOCollectorDown", "95m", 1),
        ]
        test = by_minute(given, promql_expr_test=expected)
        said = promtool(tmp_path, rule_file([objective]), test)
        assert not said, said

    def test_a_silent_probe_stays_told_while_the_collector_is_down(self, tmp_path, latency) -> None:
        # Silent from 60 min on; no collector from 90 to 120 min; the probe is back at 140 min.
        objective = replace(latency, alerts=AlertPolicy(pairs=PAIRS[:1]))
        gone = "stale _x29"
        given = self.counters(
            *(
                f"0+{step}x60 {60 * step:g}x28 {gone} {60 * step:g}x20 {60 * step:g}+{step}x40"
                for step in (60, 0.001, 0.06)
            )
        )
        for one in constants(89):
            if "last_window" in one["series"]:
                values = f"0+60x60 3600x28 {gone} 3600x20 8400+60x40"
            elif "last_commit" in one["series"]:
                values = f"0+60x89 {gone} 7200+60x61"
            else:
                values = f"{one['values']} {gone} {one['values']}"
            given.append({**one, "values": values})
        expected = [
            *(firing("SLOProbeDown", at, 1) for at in ("65m", "89m", "91m", "119m", "125m")),
            *(firing("SLOCoverageLow", at, 1) for at in ("85m", "91m", "119m", "125m")),
            firing("SLOCollectorDown", "95m", 1),
            firing("SLOCollectorDown", "122m", 0),
            firing("SLOProbeDown", "145m", 0),
            firing("SLOCoverageLow", "150m", 0),
        ]
        test = by_minute(given, promql_expr_test=expected)
        said = promtool(tmp_path, rule_file([objective]), test)
        assert not said, said

    def test_a_collector_that_hears_nobody_is_told_of_no_later_than_its_probes(
        self, tmp_path, latency
    ) -> None:
        collector_s = expressions.COLLECTOR_SILENT_S + COLLECTOR_FOR_S
        assert collector_s < expressions.PROBE_SILENT_S + PROBE_FOR_S  # the engine's, too
        given = [{**one, "values": one["values"].replace("0+60x9", "0+60x5 300x5")}
                 for one in constants(9)]  # fmt: skip
        expected = [
            firing("SLOCollectorDown", "7m", 0),
            firing("SLOCollectorDown", "8m", 1),
            firing("SLOProbeDown", "7m", 0),
        ]
        test = by_minute(given, promql_expr_test=expected)
        said = promtool(tmp_path, rule_file([latency]), test)
        assert not said, said


class TestTexts:
    """What a page says, with the templates filled in by Prometheus' own engine."""

    @pytest.mark.parametrize(
        ("remaining", "least", "text"),
        [
            ("0.4", 1.8, "60% of the period's budget is spent"),
            ("-180.5", 1.8, "181.5 times the period's budget is spent"),
            ("-180.5", 1209.6, "480 bad events so far, but too little of the period is measured"),
            ("_", 1.8, "480 bad events so far, but too little of the period is measured"),
        ],
        ids=["a part", "overspent", "a young store", "not known"],
    )
    def test_of_the_budget(self, tmp_path, latency, remaining, least, text) -> None:
        objective = replace(latency, alerts=AlertPolicy(pairs=PAIRS[:1]))
        given = [
            series("slo_events_total", "0+60x100"),
            series("slo_bad_events_total", "0x80 60+60x20"),
            series("slo_budget_events_total", "0+0.06x100"),
            series("slo_error_budget_remaining_ratio", f"{remaining}x100", ',period="28d"'),
            {"series": 'slo_budget_events_min{window="28d",slo="national-latency"}',
             "values": f"{least}x100"},
            *constants(100),
        ]  # fmt: skip
        none = {"eval_time": "88m", "alertname": "SLOBurnPage", "exp_alerts": []}
        test = by_minute(given, alert_rule_test=[none])
        assert text in promtool(tmp_path, rule_file([objective]), test).replace("\\'", "'")

    def test_since_when_is_that_of_the_slo_itself(self, tmp_path) -> None:
        since = burn_texts("SLOBurnPage", Links())["since"]
        rule = {"alert": "SLOBurnPage", "expr": "burn > 1", "annotations": {"since": since}}
        labels = {slo: {"slo": slo, "path": PATH.id, "pair": "1h/5m"} for slo in ("loss", "rtt")}
        given = [
            {"series": f'burn{{slo="{slo}",path="{PATH.id}",pair="1h/5m"}}', "values": values}
            for slo, values in (("loss", "2x200"), ("rtt", "0x120 2x80"))
        ]
        expected = [
            {
                "exp_labels": labels[slo],
                "exp_annotations": {"since": f"1970-01-01 {at} +0000 UTC"},
            }
            for slo, at in (("loss", "00:00:00"), ("rtt", "02:01:00"))
        ]
        both = {"eval_time": "150m", "alertname": "SLOBurnPage", "exp_alerts": expected}
        test = by_minute(given, alert_rule_test=[both])
        rules = {"groups": [{"name": "g", "interval": "1m", "rules": [rule]}]}
        assert promtool(tmp_path, rules, test) == ""

    @pytest.mark.parametrize(
        ("path", "way"), [("london:leeds/ef", "there"), ("leeds:london/ef", "back")]
    )
    def test_a_changed_route_is_said_of_both_ways(self, tmp_path, latency, path, way) -> None:
        objective = replace(latency, alerts=AlertPolicy(pairs=PAIRS[:1]))
        given = [
            series("slo_events_total", "0+60x100"),
            series("slo_bad_events_total", "0x80 60+60x20"),
            series("slo_budget_events_total", "0+0.06x100"),
            {"series": f'network_path_changes_total{{path="{path}"}}', "values": "0x70 3x30"},
            *constants(100),
        ]
        none = {"eval_time": "88m", "alertname": "SLOBurnPage", "exp_alerts": []}
        test = by_minute(given, alert_rule_test=[none])
        said = promtool(tmp_path, rule_file([objective]), test)
        assert f"changes of the route {way} in the last hour: 3" in said
        assert said.count("changes of the route") == 1


class TestSites:
    def given(self, burning: list[tuple[str, str]], sites: str) -> list[dict[str, str]]:
        total, slo = 100, 'slo="national-latency"'
        found = constants(total)[:4]
        for site in sites:
            found.append(
                {"series": f'slo_site_peers{{site="{site}"}}', "values": f"{len(sites) - 1}x100"}
            )
        for src in sites:
            for dst in sites:
                if src == dst:
                    continue
                of = f'path="{src}:{dst}/ef",{slo},src_site="{src}",dst_site="{dst}"'
                bad = "0+0.001x80 0.08+60x20" if (src, dst) in burning else "0+0.001x100"
                for name, values in (
                    ("slo_events_total", "0+60x100"),
                    ("slo_bad_events_total", bad),
                    ("slo_budget_events_total", "0+0.06x100"),
                ):
                    found.append({"series": f"{name}{{{of}}}", "values": values})
        return found

    def sick(self, tmp_path, latency, burning, sites: str = "abcd") -> str:
        """Return what promtool says when exactly `sites` of the answer are expected."""
        objective = replace(latency, alerts=AlertPolicy(pairs=PAIRS[:1]))
        expr = 'sum by (dst_site, src_site) (ALERTS{alertname="SLOSiteBurnPage"})'

        def said(expected: str) -> str:
            samples = [
                {"labels": f'{{dst_site="{s}",src_site="{s}"}}', "value": 1} for s in expected
            ]
            named = {"expr": expr, "eval_time": "90m", "exp_samples": samples}
            test = by_minute(self.given(burning, sites), promql_expr_test=[named])
            return promtool(tmp_path, rule_file([objective]), test)

        return said

    def test_a_dead_site_is_named_by_the_paths_to_it_alone(self, tmp_path, latency) -> None:
        burning = [(site, "d") for site in "abc"]
        assert not self.sick(tmp_path, latency, burning)("d")

    def test_a_site_with_bad_paths_either_way_is_named_once(self, tmp_path, latency) -> None:
        burning = [("a", "d"), ("d", "b"), ("d", "c"), ("c", "d")]
        assert not self.sick(tmp_path, latency, burning)("d")

    def test_two_dead_sites_are_two_and_their_peers_none(self, tmp_path, latency) -> None:
        burning = [(site, dead) for site in "abcde" for dead in "de" if site != dead]
        assert not self.sick(tmp_path, latency, burning, "abcde")("de")

    def test_a_dead_site_stays_told_while_the_collector_is_down(self, tmp_path, latency) -> None:
        objective = replace(latency, alerts=AlertPolicy(pairs=PAIRS[:1]))
        given = self.given([(site, "d") for site in "abc"], "abcd")
        given = [{**each, "values": each["values"] + " stale"} for each in given]
        expected = [firing("SLOSiteBurnPage", at, 1) for at in ("90m", "102m", "130m")]
        test = by_minute(given, promql_expr_test=expected)
        said = promtool(tmp_path, rule_file([objective]), test)
        assert not said, said

    def test_one_bad_path_is_no_site(self, tmp_path, latency) -> None:
        assert not self.sick(tmp_path, latency, [("a", "d"), ("d", "a")])("")


class TestLeastCounts:
    def test_the_least_budget_is_the_coverage_of_what_is_due(self, estate, latency) -> None:
        # Five packets a second, 99.9 %, half of them at least.
        assert budget_events_min(latency, estate, 3600) == Fraction(9) - Fraction(
            1, 2000
        )  # half a packet
        fuller = replace(latency, coverage_min=Fraction(1))
        assert budget_events_min(fuller, estate, 3600) == Fraction(18) - Fraction(1, 2000)
        bad = replace(latency, missing_data=MissingData.BAD)
        assert budget_events_min(bad, estate, 3600) == Fraction(1, 2000)

    def test_the_least_bad_events_are_the_guards(self, estate, latency) -> None:
        # 18,000 packets an hour, of which 9 are lost by chance: less than once in 100 periods
        # of 672 hours it is 28.
        assert bad_events_min(latency, estate, PAIRS[0]) == 28
        three = replace(latency, alerts=AlertPolicy(guard=Guard(3)))
        assert bad_events_min(three, estate, PAIRS[0]) == 3
        found = [672 * 9 * chance_of_at_least(others, 9) for others in (26, 27)]
        assert found[1] <= 0.01 < found[0]

    def test_parts_of_slices_are_counted_whole(self, estate, loss) -> None:
        shares = replace(loss, slices=TimeSlices(60, None), alerts=AlertPolicy(guard=Guard(3)))
        assert bad_events_min(shares, estate, PAIRS[0]) == 3_000_000

    def test_thresholds_peers_and_exclusions_are_published(self, estate, latency, loss) -> None:
        now_s = 1_800_000_000
        outage = Exclusion(
            "x1", now_s - 600, now_s + 600, "alice", "CHG-1", now_s - 900,
            Covers(sites=frozenset({"leeds"})),
        )  # fmt: skip
        collector = ThresholdCollector([latency, loss], estate, lambda: [outage], lambda: now_s)
        found = {
            (s.name, *sorted(s.labels.items())): s.value
            for family in collector.collect()
            for s in family.samples
        }
        pair = ("pair", "1h/5m"), ("severity", "page"), ("slo", "loss")
        assert found[("slo_burn_threshold", *pair)] == pytest.approx(13.44)
        least = bad_events_min(loss, estate, PAIRS[0])
        assert found[("slo_bad_events_min", ("pair", "1h/5m"), ("slo", "loss"))] == least > 3
        assert found[("slo_budget_events_min", ("slo", "loss"), ("window", "1h"))] == 89.995
        assert found[("slo_site_peers", ("site", "leeds"))] == 3
        excluded = {dict(k[1:])["path"]: v for k, v in found.items() if k[0] == "slo_excluded"}
        assert excluded
        assert all("leeds" in path for path in excluded)
        assert set(excluded.values()) == {1}

    @pytest.mark.parametrize(
        ("slices", "lacking_s"), [(None, 300), (TimeSlices(3600, Fraction(1, 2)), 300 + 3660)]
    )
    def test_an_exclusion_that_is_over_is_published_while_coverage_lacks_what_it_left_out(
        self, estate, loss, slices, lacking_s
    ) -> None:
        now_s = 1_800_000_000
        off = Exclusion("x1", now_s - 600, now_s, "alice", "CHG-1", now_s - 900)
        clock = [now_s]
        objective = replace(loss, slices=slices)
        collector = ThresholdCollector([objective], estate, lambda: [off], lambda: clock[0])
        for after_s, expected in ((0, {0.0}), (lacking_s - 1, {0.0}), (lacking_s, set())):
            clock[0] = now_s + after_s
            families = {family.name: family for family in collector.collect()}
            assert {s.value for s in families["slo_excluded"].samples} == expected
