"""Alertmanager's configuration: who hears of what, once.

A dead site is one page, not one for each path: what burns is grouped by objective and far site,
a site's page silences those of its paths, and a silent collector those of everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from slo.burn import Severity
from slo.exclusion import Exclusion, Interval
from slo.objective import Objective
from slo.policy import HEARTBEAT
from slo.rules.mute_regions import Region, of_paths, of_sites, parted
from slo.rules.mutes import mute_names, time_intervals
from slo.rules.rules import BURN_ALERTS, Alert

Route = dict[str, Any]

DEFAULT: Final = "operations"
ESCALATION: Final = "escalation"

_BURNS: Final = "|".join(BURN_ALERTS.values())
_OF_PATHS: Final = f"{_BURNS}|{Alert.COVERAGE_LOW}"
_OF_SITES: Final = f"{Alert.SITE_PAGE}|{Alert.PROBE_DOWN}"
_GROUP: Final = ["alertname", "slo", "dst_site"]


@dataclass(frozen=True, slots=True)
class Waits:
    """How long Alertmanager waits, in seconds; each is divided by `scale` in a trial."""

    path_s: float = 30.0  # for a site's page to come first
    site_s: float = 10.0
    group_s: float = 300.0  # before what joins a group is told
    repeat_page_s: float = 4 * 3600.0
    repeat_ticket_s: float = 24 * 3600.0
    escalation_s: float = 15 * 60.0  # a page that still burns
    national_escalation_s: float = 5 * 60.0
    heartbeat_s: float = 60.0
    scale: int = 1

    def text(self, seconds: float) -> str:
        return f"{round(seconds * 1000 / self.scale)}ms" if self.scale > 1 else f"{seconds:g}s"


@dataclass(frozen=True, slots=True)
class Receivers:
    """Web hooks of receivers by name; one without an address is there to be filled in."""

    webhooks: Mapping[str, str] = field(default_factory=dict)


def configuration(
    objectives: Sequence[Objective],
    receivers: Receivers | None = None,
    waits: Waits | None = None,
    exclusions: Iterable[Exclusion] = (),
    now_s: float = 0.0,
) -> dict[str, Any]:
    """Return the configuration, as YAML's plain data.

    Args:
        objectives: Their owners and escalations are receivers; their exclusions mute.
        receivers: Where to send to.
        waits: How long to wait.
        exclusions: Those of the log. Those that are not over mute.
        now_s: Unix time.

    Raises:
        ConfigurationError: exclusions overlap in too many ways.
    """
    receivers, waits = receivers or Receivers(), waits or Waits()
    every = (*exclusions, *(e for o in objectives for e in o.exclusions))
    muting = sorted((e for e in every if e.end_s > now_s), key=lambda e: (e.start_s, e.id))
    names = mute_names(muting)
    routes = [
        _heartbeat(waits),
        *_muted(_OF_PATHS, _regions(of_paths, muting, names), objectives, waits),
        *_muted(_OF_SITES, _regions(of_sites, muting, names), objectives, waits),
        *_routes(objectives, waits),
    ]
    config: dict[str, Any] = {
        "route": {
            "receiver": DEFAULT,
            "group_by": _GROUP,
            "group_wait": waits.text(waits.path_s),
            "group_interval": waits.text(waits.group_s),
            "repeat_interval": waits.text(waits.repeat_ticket_s),
            "routes": routes,
        },
        "inhibit_rules": inhibitions(),
        "receivers": [_receiver(name, receivers) for name in _names(objectives, receivers)],
    }
    if muting:
        config["time_intervals"] = [
            {"name": name, "time_intervals": time_intervals(*interval)}
            for (_, interval), name in names.items()
        ]
    return config


def inhibitions() -> list[dict[str, Any]]:
    """Return what silences what: the cause its effects."""
    page, site = Alert.BURN_PAGE, Alert.SITE_PAGE
    everything_else = f"{Alert.COLLECTOR_DOWN}|{Alert.WATCHDOG}"
    return [
        _inhibition(f'alertname="{Alert.COLLECTOR_DOWN}"', f'alertname!~"{everything_else}"'),
        _inhibition(f'alertname="{site}"', f'alertname=~"{_BURNS}"', "dst_site"),
        _inhibition(f'alertname="{site}"', f'alertname=~"{_BURNS}"', "src_site"),
        _inhibition(
            f'alertname="{site}"',
            f'alertname=~"{Alert.PROBE_DOWN}|{Alert.COVERAGE_LOW}"',
            "src_site",
        ),
        _inhibition(f'alertname="{site}"', f'alertname="{Alert.COVERAGE_LOW}"', "dst_site"),
        _inhibition(f'alertname="{page}"', f'alertname="{Alert.BURN_TICKET}"', "slo", "path"),
        _inhibition(
            f'alertname="{Alert.PROBE_DOWN}"', f'alertname="{Alert.COVERAGE_LOW}"', "src_site"
        ),
    ]


def _inhibition(source: str, target: str, *equal: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"source_matchers": [source], "target_matchers": [target]}
    return {**rule, "equal": list(equal)} if equal else rule


def _heartbeat(waits: Waits) -> Route:
    return {
        "matchers": [f'alertname="{Alert.WATCHDOG}"'],
        "receiver": HEARTBEAT,
        "group_by": ["alertname"],
        "group_wait": "0s",
        "group_interval": waits.text(waits.heartbeat_s),
        # It asks at each group_interval whether as long has passed, and a moment lacks: every other
        # heartbeat would be missing.
        "repeat_interval": waits.text(waits.heartbeat_s * 3 / 4),
    }


def _routes(objectives: Sequence[Objective], waits: Waits) -> list[Route]:
    """Return routes by scope (who is told when nobody takes it up), severity and owner."""
    return [
        *_escalations(objectives, waits),
        {
            "matchers": [f'alertname="{Alert.COLLECTOR_DOWN}"'],
            "receiver": DEFAULT,
            "group_by": ["alertname"],
            "group_wait": waits.text(waits.site_s),
            "repeat_interval": waits.text(waits.repeat_page_s),
        },
        {
            "matchers": [f'alertname=~"{_OF_SITES}"'],
            "receiver": DEFAULT,
            "group_by": ["alertname", "src_site"],
            "group_wait": waits.text(waits.site_s),
            "repeat_interval": waits.text(waits.repeat_page_s),
        },
        *(
            {
                "matchers": [f'severity="{severity}"', f'slo=~"{_any_of(slos)}"'],
                "receiver": owner,
                "repeat_interval": waits.text(repeat_s),
            }
            for owner, slos in _by_owner(objectives).items()
            for severity, repeat_s in (
                (Severity.PAGE, waits.repeat_page_s),
                (Severity.TICKET, waits.repeat_ticket_s),
            )
        ),
        {  # not left to the root: what an escalation took does not come back to it
            "matchers": ['severity="page"'],
            "receiver": DEFAULT,
            "repeat_interval": waits.text(waits.repeat_page_s),
        },
    ]


def _escalations(objectives: Sequence[Objective], waits: Waits) -> list[Route]:
    """Return routes that wait: what is over by then reaches nobody else."""
    page = 'severity="page"'
    national = {
        "matchers": ['scope=~"national|site"'],
        "group_wait": waits.text(waits.national_escalation_s),
    }
    by_receiver: dict[str, list[str]] = {}
    for objective in objectives:
        if objective.alerts.escalation is not None:
            by_receiver.setdefault(objective.alerts.escalation, []).append(objective.name)
    own = [
        {
            "matchers": [page, f'slo=~"{_any_of(slos)}"'],
            "receiver": receiver,
            "group_wait": waits.text(waits.escalation_s),
            "repeat_interval": waits.text(waits.repeat_page_s),
            "continue": True,
            "routes": [dict(national)],
        }
        for receiver, slos in sorted(by_receiver.items())
    ]
    taken = [name for slos in by_receiver.values() for name in slos]
    others = [page, f'slo!~"{_any_of(taken)}"'] if taken else [page]
    return [
        *own,
        {
            "matchers": others,
            "receiver": ESCALATION,
            "group_wait": waits.text(waits.escalation_s),
            "repeat_interval": waits.text(waits.repeat_page_s),
            "continue": True,
            "routes": [dict(national)],
        },
    ]


def _regions(
    regions_of: Callable[[Exclusion], Iterable[Region]],
    exclusions: Iterable[Exclusion],
    names: Mapping[tuple[str, Interval], str],
) -> Iterator[tuple[Region, str]]:
    """Yield what exclusions cover, each with the name of its time interval."""
    for each in exclusions:
        for region in regions_of(each):
            yield region, names[each.id, each.interval]


def _muted(
    alerts: str,
    muted: Iterable[tuple[Region, str]],
    objectives: Sequence[Objective],
    waits: Waits,
) -> Iterator[Route]:
    """Yield the usual routes for what exclusions cover, silent while one of them is in force."""
    for region, names in parted(muted).items():
        mutes = list(names)
        yield {
            "matchers": [f'alertname=~"{alerts}"', *region.matchers],
            "receiver": DEFAULT,
            "mute_time_intervals": mutes,
            "routes": [_with_mutes(route, mutes) for route in _routes(objectives, waits)],
        }


def _with_mutes(route: Route, mutes: list[str]) -> Route:
    """Mute a route and those below: Alertmanager hands mutes down to nobody."""
    below = [_with_mutes(child, mutes) for child in route.get("routes", ())]
    muted = {**route, "mute_time_intervals": mutes}
    return {**muted, "routes": below} if below else muted


def _by_owner(objectives: Iterable[Objective]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for objective in objectives:
        if objective.owner:
            found.setdefault(objective.owner, []).append(objective.name)
    return dict(sorted(found.items()))


def _names(objectives: Sequence[Objective], receivers: Receivers) -> list[str]:
    escalations = {o.alerts.escalation for o in objectives} - {None}
    more = {*_by_owner(objectives), *escalations, *receivers.webhooks}
    fixed = [DEFAULT, ESCALATION, HEARTBEAT]
    return fixed + sorted(str(name) for name in more if name not in fixed)


def _receiver(name: str, receivers: Receivers) -> dict[str, Any]:
    url = receivers.webhooks.get(name)
    if url is None:
        return {"name": name}
    return {"name": name, "webhook_configs": [{"url": url, "send_resolved": name != HEARTBEAT}]}


def _any_of(names: Iterable[str]) -> str:
    """Return a regular expression; names have no character that means anything in one."""
    return "|".join(sorted(names))
