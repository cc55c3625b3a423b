"""From verdicts to the matters of alerts: paths, sites, probes, coverage and the collector."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netslo.estate import Estate
from netslo.model import Path
from slo.burn import Severity
from slo.due import lacking_s
from slo.engine.book import Labels, Observation, Observed, labels_of
from slo.engine.certificates import expiring
from slo.engine.verdicts import Judged, PairVerdicts, Verdict
from slo.exclusion import Exclusion, is_excluded
from slo.objective import Objective
from slo.rules.expressions import (
    COLLECTOR_SILENT_S,
    PROBE_SILENT_S,
    SITE_PEERS_MIN,
    SITE_SHARE,
)
from slo.rules.layout import peers_of, span_of
from slo.rules.rules import BURN_ALERTS, COLLECTOR_FOR_S, COVERAGE_FOR_S, PROBE_FOR_S, Alert


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the engine knows beside the ledger."""

    now_s: float
    started_s: float  # the collector; before it nobody can say that nothing came
    last_commit_s: float | None
    last_ends_s: Mapping[str, float]  # by source site: where its last window ends
    last_late_s: Mapping[str, float] = field(default_factory=dict)  # when it delivered late
    exclusions: Sequence[Exclusion] = ()
    certificates_s: Mapping[str, float] = field(default_factory=dict)  # by service: its end
    scale: int = 1  # how much faster than in truth windows go by, in trials


@dataclass(frozen=True, slots=True)
class _Burning:
    observation: Observation
    path: Path
    severity: Severity


class Observer:
    """Says what is to be seen at one moment."""

    def __init__(self, objectives: Sequence[Objective], estate: Estate) -> None:
        self._objectives = tuple(objectives)
        self._estate = estate
        self._peers = peers_of(objectives, estate)
        self._lacking_s = {o.name: lacking_s(o) for o in objectives}

    def observe(
        self, judged: Judged, around: Surroundings, in_force: Collection[Labels] = ()
    ) -> Iterator[Observation]:
        """Yield all matters; `in_force` are the alerts that somebody has been told of."""
        burning = list(self._burning(judged, in_force))
        yield from (each.observation for each in burning)
        yield from self._sites(burning)
        yield from self._coverage(judged, around)
        yield from self._probes(around)
        yield from self._collector(around)
        yield from expiring(around.certificates_s, self._estate, around.now_s, in_force)
        yield Observation(labels_of(alertname=Alert.WATCHDOG, severity="none"), Observed.TRUE)

    def _burning(self, judged: Judged, in_force: Collection[Labels]) -> Iterator[_Burning]:
        """Yield what burns, and what burned and is not known now.

        A path that never burned, and is not known, says nothing: there may be thousands.
        """
        told: dict[tuple[str, str, str, str], Labels] = {}
        for labels in in_force:
            of = dict(labels)
            if "pair" in of:
                told[of["alertname"], of.get("slo", ""), of["pair"], of.get("path", "")] = labels
        for found in judged.pairs:
            for row in (found.verdicts == Verdict.FIRES).nonzero()[0].tolist():
                path, rate = found.keys[row][1], float(found.rates[row])
                seen = Observation(self._burn_labels(found, path), Observed.TRUE, value=rate)
                yield _Burning(seen, path, found.pair.severity)
            if not told:
                continue
            alert, pair = BURN_ALERTS[found.pair.severity], span_of(found.pair).id
            for row in (found.verdicts == Verdict.UNKNOWN).nonzero()[0].tolist():
                path = found.keys[row][1]
                held = told.get((alert, found.objective.name, pair, path.id))
                if held is not None:
                    seen = Observation(held, Observed.UNKNOWN)
                    yield _Burning(seen, path, found.pair.severity)

    def _burn_labels(self, found: PairVerdicts, path: Path) -> Labels:
        severity = found.pair.severity
        return labels_of(
            alertname=BURN_ALERTS[severity],
            severity=severity.value,
            slo=found.objective.name,
            pair=span_of(found.pair).id,
            **self._path_labels(path),
        )

    def _path_labels(self, path: Path) -> dict[str, str]:
        return {
            "path": path.id,
            "src_site": path.src,
            "dst_site": path.dst,
            "class_": path.traffic_class,
            "scope": self._estate.scope(path).value,
        }

    def _sites(self, found: Iterable[_Burning]) -> Iterator[Observation]:
        """Tell a sick site from sick paths: most of its peers have a burning path with it."""
        burning: dict[str, set[str]] = {}
        for each in found:
            if each.severity is Severity.PAGE:
                burning.setdefault(each.path.src, set()).add(each.path.dst)
                burning.setdefault(each.path.dst, set()).add(each.path.src)
        for site, peers_count in self._peers.items():
            sick = len(burning.get(site, ()))
            if sick >= SITE_PEERS_MIN and sick > SITE_SHARE * peers_count:
                labels = labels_of(
                    alertname=Alert.SITE_PAGE,
                    severity=Severity.PAGE.value,
                    scope="site",
                    site=site,
                    src_site=site,
                    dst_site=site,
                )
                yield Observation(labels, Observed.TRUE, value=float(sick))

    def _coverage(self, judged: Judged, around: Surroundings) -> Iterator[Observation]:
        for slo, path in sorted(judged.unknown):
            exclusions = (*self._exclusions_of(slo), *around.exclusions)
            since_s = around.now_s - self._lacking_s[slo] / around.scale
            if not is_excluded(exclusions, slo, path, around.now_s, since_s):
                labels = labels_of(
                    alertname=Alert.COVERAGE_LOW,
                    severity=Severity.TICKET.value,
                    slo=slo,
                    **self._path_labels(path),
                )
                yield Observation(labels, Observed.TRUE, COVERAGE_FOR_S / around.scale)

    def _exclusions_of(self, slo: str) -> tuple[Exclusion, ...]:
        return next((o.exclusions for o in self._objectives if o.name == slo), ())

    def _probes(self, around: Surroundings) -> Iterator[Observation]:
        for site in self._peers:
            labels = labels_of(
                alertname=Alert.PROBE_DOWN, severity=Severity.PAGE.value, src_site=site
            )
            last_s = around.last_ends_s.get(site, 0.0)
            off = self._is_off(site, around)
            for each in _silence(
                labels, last_s, around, PROBE_SILENT_S / around.scale, PROBE_FOR_S / around.scale
            ):
                # Nobody is told of what is off, and who was is not told that it is over.
                yield replace(each, seen=Observed.UNKNOWN) if off else each

    def _is_off(self, site: str, around: Surroundings) -> bool:
        """Whether a site as a whole is excluded now."""
        return any(
            x.start_s <= around.now_s < x.end_s and x.covers.has_site(site)
            for x in around.exclusions
        )

    def _collector(self, around: Surroundings) -> Iterator[Observation]:
        yield from _silence(
            labels_of(alertname=Alert.COLLECTOR_DOWN, severity=Severity.PAGE.value),
            around.last_commit_s or 0.0,
            around,
            COLLECTOR_SILENT_S / around.scale,
            COLLECTOR_FOR_S / around.scale,
        )


def _silence(
    labels: Labels, last_s: float, around: Surroundings, allowed_s: float, held_s: float
) -> Iterator[Observation]:
    """Yield that nothing came for long; a collector that has just begun cannot say it is over."""
    silent_s = around.now_s - max(last_s, around.started_s)
    if silent_s > allowed_s:
        yield Observation(labels, Observed.TRUE, held_s, silent_s)
    elif around.now_s - last_s > allowed_s:
        yield Observation(labels, Observed.UNKNOWN)
