"""The dashboards as files: what every panel has, what stays, what no Grafana reads any more."""

from __future__ import annotations

import pathlib
import re

import pytest
import yaml
from click.testing import CliRunner
from real_prometheus import run

from dashboards.cli import dashboards
from dashboards.grafana.build import Surroundings, boards, files
from dashboards.grafana.levels import Levels
from dashboards.grafana.runbooks import BY_PANEL
from netslo import metrics
from slo.rules import expressions

BOARDS = {board["uid"]: board for board in boards(())}
PANELS = [
    pytest.param(panel, id=f"{uid}: {panel['title']}")
    for uid, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]
KINDS = {"geomap", "heatmap", "stat", "state-timeline", "table", "text", "timeseries"}
KNOWN = {value for key, value in vars(metrics).items() if key.startswith("PROM_")}
KNOWN |= {expressions.BURN_ALERT, expressions.SITE_PEERS}
KNOWN |= {"ALERTS", "ALERTS_FOR_STATE", f"{metrics.PROM_COLLECTOR_COMMIT}_bucket"}
NAMES = re.compile(r"(?<![\w:$\"])(?:(?:network|netslo|slo)[_:]\w+|ALERTS\w*)")


def nulls(value, where=()):
    if value is None:
        yield where
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from nulls(part, (*where, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from nulls(part, (*where, number))


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_says_what_it_is_and_leads_on(panel) -> None:
    assert panel["type"] in KINDS  # nothing of Angular
    assert len(panel["description"]) > 20
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    linked = [o for o in panel.get("fieldConfig", {}).get("overrides", ()) if "links" in str(o)]
    assert panel.get("links") or defaults.get("links") or linked
    if panel["type"] == "text":
        return
    assert defaults["unit"]
    steps = defaults["thresholds"]["steps"]
    assert steps[0]["value"] is None
    values = [step["value"] for step in steps[1:]]
    assert values == sorted(values)
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("panel", PANELS)
def test_every_target_names_metrics_that_there_are(panel) -> None:
    for target in panel.get("targets", ()):
        named = set(NAMES.findall(target["expr"]))
        assert named
        assert named <= KNOWN, target["expr"]


def test_thresholds_begin_at_null_in_overrides_too() -> None:
    found = list(steps_in(list(BOARDS.values())))
    assert len(found) > 90
    assert all(steps[0]["value"] is None for steps in found)


def steps_in(value):
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "steps" and isinstance(part, list):
                yield part
            else:
                yield from steps_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from steps_in(part)


@pytest.mark.parametrize("uid", BOARDS)
def test_boards_have_no_nulls_and_no_keys_of_old(uid) -> None:
    board = BOARDS[uid]
    assert [w for w in nulls(board) if w[-3:] != ("steps", 0, "value")] == []
    assert board["schemaVersion"] == 42
    assert not {"__inputs", "rows", "hideControls", "sharedCrosshair", "style"} & set(board)
    for panel in board["panels"]:
        assert not {"span", "height", "cacheTimeout", "error", "editable"} & set(panel)


def test_links_lead_to_boards_that_there_are() -> None:
    led = set(re.findall(r"/d/([a-z-]+)\?", "".join(files(()).values())))
    assert led == set(BOARDS)


def test_panels_do_not_overlap() -> None:
    for board in BOARDS.values():
        taken = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
            assert not cells & taken
            assert at["x"] + at["w"] <= 24
            taken |= cells


def test_the_on_call_board_has_at_most_twelve_panels() -> None:
    assert len(BOARDS["netslo-on-call"]["panels"]) <= 12


def test_prometheus_reads_every_expression(tmp_path) -> None:
    found = [
        target["expr"]
        for board in BOARDS.values()
        for part in (*board["panels"], *board["annotations"]["list"])
        for target in (part.get("targets", ()) if "type" in part else [part])
        if "expr" in target
    ]
    macros = {
        "$__rate_interval": "1m",
        "$__range": "1h",
        "$slo": "s",
        "$path": "p",
        "$site": "a",
        "$region": "r",
        "$service": "s",
    }
    rules = []
    for number, expr in enumerate(found):
        plain = re.sub("|".join(map(re.escape, macros)), lambda m: macros[m[0]], expr)
        rules.append({"record": f"panel:{number}", "expr": plain})
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = run("promtool", "check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rules) > 100


def test_panels_lead_to_runbooks_that_there_are() -> None:
    docs = pathlib.Path(__file__).parents[2] / "docs"
    base = "https://docs.example/runbooks"
    text = "".join(files((), Surroundings(runbooks=base)).values())
    led = re.findall(rf"{base}/(\S+?)\.md", text)
    assert "${__data.fields.alert}" in led
    for alert in set(led) - {"${__data.fields.alert}"}:
        assert (docs / "runbooks" / f"{alert}.md").is_file()
    titles = {panel["title"] for board in BOARDS.values() for panel in board["panels"]}
    assert set(BY_PANEL) <= titles
    assert "runbooks" not in "".join(
        str(panel.get("links")) for board in BOARDS.values() for panel in board["panels"]
    )


def test_the_same_objectives_make_the_same_octets() -> None:
    assert files(()) == files(())


def test_colours_change_where_alerts_fire() -> None:
    levels = Levels.of(())
    assert levels.page == pytest.approx(0.05 * 28 * 4)  # 5 % of 28 d in 6 h
    assert [value for _, value in levels.burn] == [None, 1.0, levels.page]


def test_the_command_writes_all_and_says_what_is_wrong(tmp_path) -> None:
    uk = pathlib.Path(__file__).parents[2] / "examples" / "uk"
    out = tmp_path / "out"
    arguments = ["build", "-c", str(uk), "-o", str(out)]
    done = CliRunner().invoke(dashboards, arguments)
    assert done.exit_code == 0, done.output
    assert {str(p.relative_to(out)) for p in out.rglob("*.*")} == set(files(()))
    provided = yaml.safe_load((out / "provisioning/datasources/netslo.yaml").read_text())
    assert provided["datasources"][0]["uid"] == "netslo-prometheus"
    for option in ("--prometheus", "--runbooks", "--alertmanager", "--contact-point"):
        bad = CliRunner().invoke(dashboards, [*arguments, option, "prometheus:9090"])
        assert bad.exit_code == 2


def told(**around):
    text = files((), Surroundings(**around))["provisioning/alerting/netslo.yaml"]
    return yaml.safe_load(text)


def test_grafana_shows_an_alertmanager_and_alerts_by_itself_only_where_asked() -> None:
    found = files(())
    assert "provisioning/alerting/netslo.yaml" not in found
    (prometheus,) = yaml.safe_load(found["provisioning/datasources/netslo.yaml"])["datasources"]
    assert "alertmanagerUid" not in prometheus["jsonData"]
    text = files((), Surroundings(alertmanager_url="http://alertmanager:9093"))
    prometheus, other = yaml.safe_load(text["provisioning/datasources/netslo.yaml"])["datasources"]
    assert other["uid"] == prometheus["jsonData"]["alertmanagerUid"]
    assert (other["type"], other["url"]) == ("alertmanager", "http://alertmanager:9093")
    assert other["jsonData"]["implementation"] == "prometheus"


def test_grafanas_own_rules_have_all_that_it_asks_of_a_file() -> None:
    """As `mapToModel` of Grafana's rules_types.go and contact_point_types.go refuses it."""
    made = told(contact_url="http://pager/$HOME")
    assert made["apiVersion"] == 1
    (contact,) = made["contactPoints"]
    (receiver,) = contact["receivers"]
    assert receiver["uid"]
    assert receiver["type"] == "webhook"
    assert receiver["settings"] == {"url": "http://pager/$$HOME"}  # no variable of Grafana's
    (group,) = made["groups"]
    assert group["folder"] == "netslo"  # that of the dashboards
    assert re.fullmatch(r"\d+s", group["interval"])
    assert int(group["interval"][:-1]) % 10 == 0  # Grafana's own step
    uids, titles = ({rule[key] for rule in group["rules"]} for key in ("uid", "title"))
    assert len(uids) == len(titles) == len(group["rules"]) == 3
    panels = {panel["id"]: panel["title"] for panel in BOARDS["netslo-on-call"]["panels"]}
    for rule in group["rules"]:
        assert re.fullmatch(r"[\w-]{1,40}", rule["uid"])
        assert rule["notification_settings"]["receiver"] == contact["name"]
        assert {"grafana_folder", "alertname"} <= set(rule["notification_settings"]["group_by"])
        lasting = "Alerting" if rule["for"] == "5m" else "KeepLast"  # one query may fail
        assert (rule["noDataState"], rule["execErrState"]) == ("OK", lasting)
        assert (rule["dashboardUid"], panels[rule["panelId"]]) == ("netslo-on-call", "Alerts")
        query, condition = rule["data"]
        assert (query["refId"], condition["refId"]) == ("A", rule["condition"])
        assert query["datasourceUid"] == "netslo-prometheus"
        assert query["model"]["refId"] == "A"
        assert query["model"]["instant"]
        assert "alertname=" in query["model"]["expr"]  # other people's alerts are not ours to tell
        assert condition["datasourceUid"] == condition["model"]["datasource"]["uid"] == "__expr__"
        assert condition["model"]["expression"] == "A"
        assert not re.search(r"\$(?!labels\b)", rule["annotations"]["summary"])
    with_runbooks = told(contact_url="http://pager/", runbooks="https://docs.example/runbooks")
    led = {rule["annotations"]["runbook_url"] for rule in with_runbooks["groups"][0]["rules"]}
    assert led == {
        "https://docs.example/runbooks/{{ $labels.alert }}.md",
        "https://docs.example/runbooks/SLOWatchdog.md",
    }
