"""What an alert tells a tired person: what, where, since when, how much budget, what is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from urllib.parse import quote, urlencode

from analytics.readings import Reading
from netslo.estate import Estate
from netslo.metrics import BANDWIDTH
from netslo.model import NS_PER_S, Path
from netslo.route import RouteObservation
from netslo.units import format_duration, format_ms, format_percent, format_rate
from slo.burn import BurnPair
from slo.due import budget_events_min, events_due
from slo.engine.book import Alert
from slo.engine.certificates import certificate
from slo.engine.observing import Surroundings
from slo.ledger import Standing
from slo.objective import Objective
from slo.rules.layout import span_of
from slo.rules.rules import Alert as Name
from slo.rules.texts import Links


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured of a path, now and over a longer time before; None is not known."""

    p99_s: float | None = None
    p99_before_s: float | None = None
    loss_ratio: float | None = None
    loss_before_ratio: float | None = None
    before: str = "day"  # how long the longer time is
    more: tuple[str, ...] = ()  # sentences: a changed path, a reroute
    readings: tuple[Reading, ...] = ()  # the latest of each kind of capacity test


Look = Callable[[Path], Seen]


@dataclass(frozen=True, slots=True)
class Texts:
    """Writes annotations; the same names as the rules have.

    `source` is the collector's own URL: a path has its page there, if it has no dashboard.
    """

    objectives: Mapping[str, Objective]
    estate: Estate
    links: Links
    source: str = ""

    def annotate(
        self,
        alert: Alert,
        standing: Standing | None,
        look: Look,
        around: Surroundings | None = None,
    ) -> dict[str, str]:
        """Return the annotations of an alert, as things stand; `look` is asked for evidence."""
        labels = dict(alert.labels)
        match alert.name:
            case Name.BURN_PAGE | Name.BURN_TICKET:
                said = self._burn(alert, labels, standing, look)
            case Name.SITE_PAGE:
                said = _site(alert, labels, around)
            case Name.COVERAGE_LOW:
                said = self._coverage(alert, labels, look)
            case Name.PROBE_DOWN:
                said = _probe(alert, labels, around)
            case Name.CERTIFICATE:
                said = certificate(alert, labels)
                said["evidence"] = _handshake(labels["dst_site"], around)
            case Name.COLLECTOR_DOWN:
                said = {
                    "summary": "The collector commits no measurements: nothing is judged anywhere",
                    "where": "the collector's disk, or the way from all probes to it",
                    "since": _time(alert.since_s),
                }
            case _:
                said = {"summary": "Always firing: when nothing is heard of it, alerting is broken"}
        said["runbook_url"] = self.links.runbook(alert.name)
        if alert.unknown_since_s is not None:
            said["unknown"] = (
                f"too little is measured since {_time(alert.unknown_since_s)}, or it came late, "
                "so nobody knows whether it is over"
            )
        return {name: text for name, text in said.items() if text}

    def _burn(
        self, alert: Alert, labels: Mapping[str, str], standing: Standing | None, look: Look
    ) -> dict[str, str]:
        objective = self.objectives.get(labels["slo"])
        path = Path.parse(labels["path"])
        rate = "" if alert.value is None else f" {alert.value:.1f} times"
        said = {
            "summary": (
                f"{labels['slo']} on {path}: the error budget burns{rate} too fast "
                f"(pair {labels['pair']})"
            ),
            "where": (
                f"from {path.src} to {path.dst}, class {path.traffic_class}, {labels['scope']}"
            ),
            "since": _time(alert.since_s),
            "evidence": _evidence(look(path), objective),
            "dashboard_url": self._dashboard(labels),
        }
        if objective is None:
            return said
        said |= _named(objective)
        if standing is not None:
            said["budget"] = _budget(standing, objective, path, self.estate)
            for pair in objective.alerts.pairs:
                if span_of(pair).id == labels["pair"]:
                    said["pair"] = _pair(standing, objective, path, pair)
        return said

    def _coverage(self, alert: Alert, labels: Mapping[str, str], look: Look) -> dict[str, str]:
        path = Path.parse(labels["path"])
        objective = self.objectives.get(labels["slo"])
        said = {
            "summary": f"{labels['slo']} on {path} cannot be judged: too little is measured",
            "where": f"from {path.src} to {path.dst}, class {path.traffic_class}",
            "since": _time(alert.since_s),
            "evidence": _evidence(look(path), objective),
            "dashboard_url": self._dashboard(labels),
        }
        return said if objective is None else said | _named(objective)

    def _dashboard(self, labels: Mapping[str, str]) -> str:
        if self.links.dashboard:
            chosen = urlencode({"var-slo": labels["slo"], "var-path": labels["path"]})
            return f"{self.links.dashboard.rstrip('/')}?{chosen}"
        return f"{self.source}/paths/{quote(labels['path'], safe=':/')}" if self.source else ""


def _named(objective: Objective) -> dict[str, str]:
    return {
        "owner": objective.owner or "nobody is named",
        "slo_runbook_url": objective.runbook or "",
    }


def _site(alert: Alert, labels: Mapping[str, str], around: Surroundings | None) -> dict[str, str]:
    peers = "most" if alert.value is None else f"{alert.value:.0f}"
    return {
        "summary": (
            f"{labels['site']}: paths with {peers} of its peers burn their budgets; "
            "it is the site or its access, not the paths"
        ),
        "where": f"every path to and from {labels['site']}",
        "since": _time(alert.since_s),
        "evidence": f"its probe's last window ended {_last_window(labels['site'], around)}",
    }


def _probe(alert: Alert, labels: Mapping[str, str], around: Surroundings | None) -> dict[str, str]:
    return {
        "summary": f"{labels['src_site']}: its probe delivers nothing; its paths are not measured",
        "where": f"every path from {labels['src_site']}",
        "since": _time(alert.since_s),
        "evidence": f"its last window ended {_last_window(labels['src_site'], around)}",
    }


def _handshake(service: str, around: Surroundings | None) -> str:
    end_s = None if around is None else around.certificates_s.get(service)
    shown = "a time that is not known any more" if end_s is None else _time(end_s)
    return f"the last good handshake showed an end at {shown}"


def _last_window(site: str, around: Surroundings | None) -> str:
    last_s = None if around is None else around.last_ends_s.get(site)
    if around is None or last_s is None:
        return "before the collector started, or never"
    return f"{format_duration(max(0, int(around.now_s - last_s)))} ago"


def _budget(standing: Standing, objective: Objective, path: Path, estate: Estate) -> str:
    """Say what is left of a period's budget; of a young series, what a whole period's loses."""
    row = standing.rows.get((objective.name, path))
    if row is None:
        return ""
    spend = standing.spend(objective.window_s, row).taking(objective.missing_data)
    if spend.remaining is None:
        return "how much budget is left is not known"
    period = format_duration(objective.window_s)
    least = budget_events_min(objective, estate, objective.window_s)
    if spend.budget >= least:
        return (
            f"{format_percent(float(spend.remaining), 1)} of the budget of {period} is left: "
            f"{spend.bad:,} bad of {float(spend.budget):,.6g} allowed"
        )
    whole = (1 - objective.target) * events_due(objective, estate, objective.window_s)
    return (
        f"{spend.bad:,} bad events so far, {format_percent(float(spend.bad / whole))} of the "
        f"{float(whole):,.6g} that a whole {period} allows, of which little is measured yet"
    )


def _pair(standing: Standing, objective: Objective, path: Path, pair: BurnPair) -> str:
    row = standing.rows.get((objective.name, path))
    if row is None:
        return ""
    parts = []
    for length_s in (pair.long_s, pair.short_s):
        spend = standing.spend(length_s, row).taking(objective.missing_data)
        rate = "unknown" if spend.burn_rate is None else f"{float(spend.burn_rate):.2f}"
        parts.append(
            f"{format_duration(length_s)}: {spend.bad:,} of {spend.events:,} bad, burn {rate}"
        )
    return f"{'; '.join(parts)}; threshold {float(pair.threshold(objective.window_s)):.4g}"


def say_change(change: RouteObservation, count: int) -> str:
    """Say in a sentence when a route changed, how often of late, and from where on."""
    said = f"the route of {change.path} changed at {_time(change.seen_ns / NS_PER_S)}"
    if count > 1:
        said += f", {count} changes in the hour"
    if change.previous is None:
        return said
    before, after = change.previous.hops, change.route.hops
    for number, (old, new) in enumerate(zip_longest(before, after), 1):
        was, is_now = ("nothing" if hop is None else hop.address for hop in (old, new))
        if was is not None and is_now is not None and was != is_now:  # an unknown one is any
            return f"{said}, at hop {number} from {was} to {is_now}"
    return said


def _tested(seen: Seen, objective: Objective) -> str:
    """Say what the last test that tells a bandwidth found."""
    kind = objective.direction.value, objective.method
    promised = f"at least {format_rate(objective.rate or 0)} promised"
    for each in seen.readings:
        if each.metric == BANDWIDTH and (each.direction, each.method) == kind:
            rate, at = format_rate(float(f"{each.value:.3g}")), _time(each.seen_ns / NS_PER_S)
            return f"{rate} {' by '.join(map(str, kind))} at {at}, {promised}"
    return f"never tested {' by '.join(map(str, kind))}, {promised}"


def _evidence(seen: Seen, objective: Objective | None = None) -> str:
    loss, before = (format_percent(x) for x in (seen.loss_ratio, seen.loss_before_ratio))
    rtt = f"p99 RTT now {_ms(seen.p99_s)}, last {seen.before} {_ms(seen.p99_before_s)}"
    tested = [] if objective is None or objective.rate is None else [_tested(seen, objective)]
    return "; ".join([*tested, rtt, f"loss now {loss}, last {seen.before} {before}", *seen.more])


def _ms(seconds: float | None) -> str:
    return "not known" if seconds is None else f"{format_ms(seconds, 1)} ms"


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
