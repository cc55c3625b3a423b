"""The PromQL of the rules. docs/alerting.md explains them to who has to trust them.

What all of them keep to:

- The burn rate of a window is bad events per budget event, both as differences of counters that
  never reset. A short window uses `increase`; a longer one the value of then (`offset`), which
  costs the same however long the window is.
- A window with fewer budget events than `slo_budget_events_min` has no burn rate at all: so a
  young series, a gap, a reset and a silent probe are unknown, and neither good nor bad.
- An alert whose short window has become unknown stays as it was: data that stop resolve nothing.
- What a probe delivers long after its time makes the short windows of pairs of hours unknown, until
  only what came in its time is in them: a backlog pages nobody for what is over.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from netslo import metrics
from slo.rules.layout import Span, Timing

BURN_RATE: Final = "slo:burn_rate"
BURN_ALERT: Final = "slo:burn_alert"
SITE_PEERS: Final = "slo:site_burning_peers"

INCREASE_S_MAX: Final = 300  # a longer window would read every sample of it, again and again
SITE_SHARE: Final = Fraction(2, 3)  # of a site's peers: more, and it is the site
SITE_PEERS_MIN: Final = 2
PROBE_SILENT_S: Final = 90
COLLECTOR_SILENT_S: Final = 120
LATE_MARGIN_S: Final = 120  # from a commit until Prometheus has seen what it added

_BAD: Final = metrics.PROM_SLO_BAD_EVENTS
_BUDGET: Final = metrics.PROM_SLO_BUDGET_EVENTS


def short_burn_rate(window: str, window_s: int, timing: Timing, *, blind: bool) -> str:
    """Return the burn rate of a short window; nothing where it is unknown.

    A backlog makes it so where the cadence is `blind` to it.
    """
    bad, budget = (_difference(metric, window_s, timing) for metric in (_BAD, _BUDGET))
    least = f'{metrics.PROM_SLO_BUDGET_EVENTS_MIN}{{window="{window}"}}'
    rate = f"{bad}\n/ ({budget} >= on (slo) group_left () max by (slo) ({least}))"
    return f"{rate}\nunless on (src_site)\n  {_has_backlog(window_s, timing)}" if blind else rate


def burn_alert(span: Span, cadence: str, long: str, short: str, timing: Timing) -> str:
    """Return the burn rate of the long window where the pair fires, or did and is unknown now.

    The short window is asked first, since it burns on few paths: the long one is worked out for
    those alone.
    """
    pair = f'{{pair="{span.id}"}}'
    threshold = f"{metrics.PROM_SLO_BURN_THRESHOLD}{pair}"
    peers = metrics.PROM_SLO_SITE_PEERS
    bad_min = f"max by (slo) ({metrics.PROM_SLO_BAD_EVENTS_MIN}{pair})"
    least = f'max by (slo) ({metrics.PROM_SLO_BUDGET_EVENTS_MIN}{{window="{long}"}})'
    now = f'{BURN_RATE}{{window="{short}",cadence="{cadence}"}}'
    burns = f"({now} > on (slo) group_left () max by (slo) ({threshold}))"
    bad, budget = (_difference(metric, span.long_s, timing, burns) for metric in (_BAD, _BUDGET))
    told = f"{BURN_ALERT}{pair}"
    # A path that the collector no longer has is given up; without a collector all are held.
    kept = f"({told} and on (path, slo) {_BAD} or on (path, slo) {told} unless on () {peers})"
    return (
        f"(\n"
        f"  ({bad} >= on (slo) group_left () {bad_min})\n"
        f"  / ({budget} >= on (slo) group_left () {least})\n"
        f"  > on (slo) group_left (severity) max by (slo, severity) ({threshold})\n"
        f")\n"
        f"or on (path, slo)\n"
        f"({kept} unless on (path, slo) {now})"
    )


def burning(severity: str, spans: tuple[Span, ...]) -> str:
    """Return the pairs of a cadence that fire, at a severity."""
    pairs = "|".join(span.id for span in spans)
    selected = f'{BURN_ALERT}{{severity="{severity}",pair=~"{pairs}"}}'
    return f"max without (job, instance) ({selected})"


def burning_peers() -> str:
    """Return for each site with how many others it shares a path that pages."""
    pages = f'group by (src_site, dst_site) ({BURN_ALERT}{{severity="page"}})'

    def seen(site: str, peer: str) -> str:
        return (
            f'label_replace(label_replace({pages}, "site", "$1", "{site}", "(.+)"), '
            f'"peer", "$1", "{peer}", "(.+)")'
        )

    return (
        f"count by (site) (group by (site, peer) (\n"
        f"  {seen('dst_site', 'src_site')}\n"
        f"  or\n"
        f"  {seen('src_site', 'dst_site')}\n"
        f"))"
    )


def site_burns() -> str:
    """Return the sites that most of their peers have a burning path with."""
    peers = f"max by (site) ({metrics.PROM_SLO_SITE_PEERS})"
    sick = (
        f"{SITE_PEERS} >= {SITE_PEERS_MIN} and on (site) {SITE_PEERS} > on (site) "
        f"({peers} * {SITE_SHARE.numerator} / {SITE_SHARE.denominator})"
    )
    # Both ends, so that it inhibits what goes to the site as well as what comes from it.
    return (
        f'label_replace(label_replace({sick}, "dst_site", "$1", "site", "(.+)"), '
        f'"src_site", "$1", "site", "(.+)")'
    )


def coverage_low(window: str, window_s: int, cadence: str, timing: Timing) -> str:
    """Return the paths whose shortest window has too little, outside of exclusions.

    A backlog in it is no lack of data; one that goes on and on keeps `probe_down` true.
    """
    known = f'{BURN_RATE}{{window="{window}",cadence="{cadence}"}}'
    judged = f'{metrics.PROM_SLO_BUDGET_EVENTS_MIN}{{window="{window}"}}'
    return (
        f"max without (job, instance) (\n"
        f"  {metrics.PROM_SLO_EVENTS}\n"
        f"  unless on (path, slo) {known}\n"
        f"  unless on (path, slo) {metrics.PROM_SLO_EXCLUDED}\n"
        f"  unless on (src_site) {_has_backlog(window_s, timing)}\n"
        f"  and on (slo) {judged}\n"
        f")"
    )


def probe_down(timing: Timing) -> str:
    """Return the sites of which no window has come for long, or never."""
    last = f"max by (src_site) ({metrics.PROM_PROBE_LAST_WINDOW})"
    sites = f'label_replace({metrics.PROM_SLO_SITE_PEERS}, "src_site", "$1", "site", "(.+)")'
    silent_s = PROBE_SILENT_S / timing.scale
    return (
        f"(time() - {last} > {silent_s:g})\n"
        f"or\n"
        f"(max by (src_site) ({sites}) unless on (src_site) {last})"
    )


def collector_down(timing: Timing) -> str:
    """Return something when no collector commits what probes send."""
    commit = metrics.PROM_COLLECTOR_LAST_COMMIT
    silent_s = COLLECTOR_SILENT_S / timing.scale
    return f"absent({commit})\nor\n(time() - max({commit}) > {silent_s:g})"


def _has_backlog(window_s: int, timing: Timing) -> str:
    """Return the sites of which late windows may have come within a window."""
    late_s = (window_s + LATE_MARGIN_S) / timing.scale
    return f"(time() - max by (src_site) ({metrics.PROM_PROBE_LATE_ARRIVAL}) < {late_s:g})"


def _difference(metric: str, window_s: int, timing: Timing, where: str = "") -> str:
    """Return how much a counter grew in a window, on the paths of `where` if that is given."""
    duration = timing.text(window_s)
    if window_s <= INCREASE_S_MAX:
        grown = f"increase({metric}[{duration}])"
        return f"({grown} and on (path, slo) {where})" if where else grown
    now = f"({metric} and on (path, slo) {where})" if where else metric
    return f"({now} - {metric} offset {duration})"
