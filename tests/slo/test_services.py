"""Objectives for services: named on purpose, never met by accident."""

from dataclasses import replace

import pytest
from a_collector import make_estate

from netslo.errors import ConfigurationError
from netslo.model import Path
from netslo.service import Service, TcpRequest, Where
from slo.spec import load_objectives, thresholds_by_path

TEXT = """\
apiVersion: openslo/v1
kind: SLO
metadata: {name: fast}
spec:
  service: shop
  indicator:
    metadata: {name: answer}
    spec:
      thresholdMetric:
        metricSource: {type: netslo, spec: {metric: network.probe.rtt%s}}
  objectives: [{op: lte, value: 0.5, target: 0.99}]
  timeWindow: [{duration: 28d, isRolling: true}]
  budgetingMethod: Occurrences
"""
SHOP = Service("shop", TcpRequest(Where("shop.example", 443)), "ef", ("leeds",), 10, 5)
PATH = Path("leeds", "shop", "ef")


@pytest.fixture
def covered(tmp_path):
    """Return a function which gives the paths of the one objective with this selector."""
    estate = replace(make_estate(), services={"shop": SHOP})
    (tmp_path / "slos").mkdir()

    def load(selector: str):
        text = TEXT % (f", selector: {selector}" if selector else "")
        (tmp_path / "slos" / "fast.yaml").write_text(text)
        objectives = load_objectives(tmp_path, estate)
        found = thresholds_by_path(objectives, estate)
        assert set(found) == set(estate.measured_paths)
        return {path for path, thresholds in found.items() if thresholds}

    return load


@pytest.mark.parametrize("selector", ["", "{class: ef}", "{src_site: leeds}", "{scope: national}"])
def test_an_objective_of_paths_is_none_of_services(covered, selector) -> None:
    assert PATH not in covered(selector)
    assert len(covered(selector)) >= 2


@pytest.mark.parametrize(
    "selector",
    ["{scope: service}", "{dst_site: shop}", "{path: 'leeds:shop/ef'}",
     "{scope: service, src_site: leeds}"],
)  # fmt: skip
def test_a_service_is_covered_where_it_is_named(covered, selector) -> None:
    assert covered(selector) == {PATH}


def test_a_service_that_is_not_there_is_no_destination(covered) -> None:
    with pytest.raises(ConfigurationError, match=r"site or service of the estate: .*shop"):
        covered("{dst_site: shopp}")


def test_limits_and_rates_are_those_of_the_services_own_plan(tmp_path) -> None:
    """Packets of the estate are lost after 1 s; a service may take longer, and is asked less."""
    estate = replace(make_estate(), services={"shop": SHOP})
    (tmp_path / "slos").mkdir()
    text = TEXT % ", selector: {scope: service}"
    (tmp_path / "slos" / "fast.yaml").write_text(text.replace("value: 0.5", "value: 3"))
    (objective,) = load_objectives(tmp_path, estate)
    assert objective.limit == 3
    assert objective.interval_s(estate) == 10
    (tmp_path / "slos" / "fast.yaml").write_text(text.replace("value: 0.5", "value: 5"))
    with pytest.raises(ConfigurationError, match="less than 5 s"):
        load_objectives(tmp_path, estate)
