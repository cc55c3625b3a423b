"""The PromQL of the rules. docs/alerting.md explains them to who has to trust them.

What all of them keep to:

- The burn rate of a window is bad events per budget event, both as differences of counters that
  never reset. A short window uses `increase`; a longer one the value of then (`offset`), which
  costs the same however long the window is.
- A window with fewer budget events than `slo_budget_events_min` has no burn rate at all: so a
  young series, a gap, a reset and a silent probe are unknown, and neither good nor bad.
- An alert whose short window has become unknown stays as it was: data that stop resolve nothing.
  Nor does a collector that cannot be asked: what was told stays told until it can be again.
- Nearly all of what rules cost is reading the counters of every path, whatever is done with them.
  So each is read as seldom as can be: first the bad events of the short windows, of which most
  paths have too few to burn (`suspects`); all else of the few that are left, and of those that
  somebody was told of.
- What a probe delivers long after its time makes the short windows of pairs of hours unknown, until
  only what came in its time is in them: a backlog pages nobody for what is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Final

from netslo import metrics
from netslo.units import format_duration
from slo.rules.layout import Cadence, Span, Timing

SUSPECT: Final = "slo:burn_suspect"
JUDGED: Final = "slo:burn_judged"
KNOWN: Final = "slo:burn_known"
BURN_ALERT: Final = "slo:burn_alert"
SITE_PEERS: Final = "slo:site_burning_peers"

INCREASE_S_MAX: Final = 300  # a longer window would read every sample of it, again and again
SITE_SHARE: Final = Fraction(2, 3)  # of a site's peers: more, and it is the site
SITE_PEERS_MIN: Final = 2
PROBE_SILENT_S: Final = 90
COLLECTOR_SILENT_S: Final = 60  # told of before its probes are: PROBE_SILENT_S is longer
LATE_MARGIN_S: Final = 120  # from a commit until Prometheus has seen what it added

_ROUNDING: Final = 0.99  # of floats: who is a suspect decides nothing
_BAD: Final = metrics.PROM_SLO_BAD_EVENTS
_BUDGET: Final = metrics.PROM_SLO_BUDGET_EVENTS


def suspects(cadence: Cadence, timing: Timing) -> str:
    """Return the bad events of short windows, of the paths that have enough of them to burn.

    A pair fires above its threshold times the budget events of its short window, which are known
    from `slo_budget_events_min` on. That product needs no look at the budget of any path.
    """

    def of(short_s: int) -> str:
        pairs = "|".join(span.id for span in cadence.spans if span.short_s == short_s)
        threshold = f'min by (slo) ({metrics.PROM_SLO_BURN_THRESHOLD}{{pair=~"{pairs}"}})'
        needed = f"{threshold} * min by (slo) ({_budget_min(short_s)}) * {_ROUNDING}"
        bad = _difference(_BAD, short_s, timing)
        return f"{bad}\n  > on (slo) group_left () ({needed})"

    return _labelled("window", ((format_duration(s), of(s)) for s in cadence.shorts_s))


def judged(cadence: Cadence) -> str:
    """Return the budget counters of suspects, and of paths that somebody was told of.

    A path that the collector no longer has is not among them.
    """
    return f"{_BUDGET} and on (path, slo)\n  {_looked_at(cadence)}"


def known(cadence: Cadence, timing: Timing) -> str:
    """Return the budget events of short windows, of judged paths, where they are known.

    A backlog makes them unknown where the cadence is blind to it.
    """

    def of(short_s: int) -> str:
        budget = _grown_budget(short_s, cadence, timing, _looked_at(cadence))
        enough = f"{budget}\n  >= on (slo) group_left () max by (slo) ({_budget_min(short_s)})"
        if not cadence.name.blind:
            return enough
        return f"{enough}\n  unless on (src_site) {_has_backlog(short_s, timing)}"

    return _labelled("window", ((format_duration(s), of(s)) for s in cadence.shorts_s))


def burn_alerts(cadence: Cadence, timing: Timing) -> str:
    """Return the burn rates of long windows where a pair fires, or did and is unknown now."""
    return _labelled(
        "pair", ((span.id, _burn_alert(span, cadence, timing)) for span in cadence.spans)
    )


def _burn_alert(span: Span, cadence: Cadence, timing: Timing) -> str:
    pair = f'{{pair="{span.id}"}}'
    threshold = f"{metrics.PROM_SLO_BURN_THRESHOLD}{pair}"
    bad_min = f"max by (slo) ({metrics.PROM_SLO_BAD_EVENTS_MIN}{pair})"
    least = f"max by (slo) ({_budget_min(span.long_s)})"
    short = f'{{window="{format_duration(span.short_s)}",cadence="{cadence.name}"}}'
    burns = (
        f"({SUSPECT}{short} / {KNOWN}{short} > on (slo) group_left () max by (slo) ({threshold}))"
    )
    bad = _difference(_BAD, span.long_s, timing, burns)
    budget = _grown_budget(span.long_s, cadence, timing, burns)
    told = f"{BURN_ALERT}{pair}"
    # A path that the collector no longer has is given up; without a collector all are held.
    there = f"{told} and on (path, slo) {_of(JUDGED, cadence)}"
    kept = f"({there} or on (path, slo) {told} unless on () {metrics.PROM_SLO_SITE_PEERS})"
    return (
        f"(\n"
        f"  ({bad} >= on (slo) group_left () {bad_min})\n"
        f"  / ({budget} >= on (slo) group_left () {least})\n"
        f"  > on (slo) group_left (severity) max by (slo, severity) ({threshold})\n"
        f")\n"
        f"or on (path, slo)\n"
        f"({kept} unless on (path, slo) {KNOWN}{short})"
    )


def burning(severity: str, spans: tuple[Span, ...]) -> str:
    """Return the pairs of a cadence that fire, at a severity."""
    pairs = "|".join(span.id for span in spans)
    selected = f'{BURN_ALERT}{{severity="{severity}",pair=~"{pairs}"}}'
    return f"max without (job, instance, cadence) ({selected})"


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


def site_burns(alert: str) -> str:
    """Return the sites that most of their peers have a burning path with, as `alert` says."""
    peers = f"max by (site) ({metrics.PROM_SLO_SITE_PEERS})"
    sick = (
        f"{SITE_PEERS} >= {SITE_PEERS_MIN} and on (site) {SITE_PEERS} > on (site) "
        f"({peers} * {SITE_SHARE.numerator} / {SITE_SHARE.denominator})"
    )
    told = f"{SITE_PEERS} and on (site) {_told(alert)}"
    # Both ends, so that it inhibits what goes to the site as well as what comes from it.
    return (
        f'label_replace(label_replace({sick}\n  or {told},\n  "dst_site", "$1", "site", "(.+)"), '
        f'"src_site", "$1", "site", "(.+)")'
    )


def coverage_low(alert: str, windows_s: Sequence[int], timing: Timing) -> str:
    """Return the paths whose shortest window has too little, outside of exclusions.

    A backlog in it is no lack of data; one that goes on and on keeps `probe_down` true.

    Args:
        alert: Which alert says so.
        windows_s: The shortest windows that objectives have, ascending; each objective is judged
            by the first of them that it has.
        timing: How much faster windows go by.
    """
    parts = []
    for place, window_s in enumerate(windows_s):
        budget, least = _difference(_BUDGET, window_s, timing), _budget_min(window_s)
        enough = f"({budget} >= on (slo) group_left () max by (slo) ({least}))"
        shorter = "".join(f" unless on (slo) {_budget_min(s)}" for s in windows_s[:place])
        parts.append(
            f"  {metrics.PROM_SLO_EVENTS}\n"
            f"  unless on (path, slo) {enough}\n"
            f"  unless on (path, slo) {metrics.PROM_SLO_EXCLUDED}\n"
            f"  unless on (src_site) {_has_backlog(window_s, timing)}\n"
            f"  and on (slo) ({least}{shorter})\n"
        )
    return (
        "max without (job, instance) (\n" + "  or\n".join(parts) + ")\n"
        f"or\n"
        f"max without (alertname, alertstate, severity) {_told(alert)}"
    )


def probe_down(alert: str, timing: Timing) -> str:
    """Return the sites of which no window has come for long, or never, as `alert` says."""
    last = f"max by (src_site) ({metrics.PROM_PROBE_LAST_WINDOW})"
    sites = f'label_replace({metrics.PROM_SLO_SITE_PEERS}, "src_site", "$1", "site", "(.+)")'
    silent_s = PROBE_SILENT_S / timing.scale
    return (
        f"(time() - {last} > {silent_s:g})\n"
        f"or\n"
        f"(max by (src_site) ({sites}) unless on (src_site) {last})\n"
        f"or\n"
        f"max by (src_site) {_told(alert)}"
    )


def collector_down(timing: Timing) -> str:
    """Return something when no collector commits what probes send."""
    commit = metrics.PROM_COLLECTOR_LAST_COMMIT
    silent_s = COLLECTOR_SILENT_S / timing.scale
    return f"absent({commit})\nor\n(time() - max({commit}) > {silent_s:g})"


def _told(alert: str) -> str:
    """Return what an alert tells, while there is no collector that could say whether it is over."""
    return (
        f'(ALERTS{{alertname="{alert}",alertstate="firing"}} '
        f"unless on () {metrics.PROM_SLO_SITE_PEERS})"
    )


def _has_backlog(window_s: int, timing: Timing) -> str:
    """Return the sites of which late windows may have come within a window."""
    late_s = (window_s + LATE_MARGIN_S) / timing.scale
    return f"(time() - max by (src_site) ({metrics.PROM_PROBE_LATE_ARRIVAL}) < {late_s:g})"


def _budget_min(window_s: int) -> str:
    return f'{metrics.PROM_SLO_BUDGET_EVENTS_MIN}{{window="{format_duration(window_s)}"}}'


def _of(record: str, cadence: Cadence) -> str:
    return f'{record}{{cadence="{cadence.name}"}}'


def _looked_at(cadence: Cadence) -> str:
    """Return the paths of which more must be known than their bad events."""
    pairs = "|".join(span.id for span in cadence.spans)
    return f'({_of(SUSPECT, cadence)} or on (path, slo) {BURN_ALERT}{{pair=~"{pairs}"}})'


def _grown_budget(window_s: int, cadence: Cadence, timing: Timing, where: str) -> str:
    """Return how much the budget counter grew in a window, on judged paths, or those of `where`."""
    if window_s <= INCREASE_S_MAX:
        return _difference(_BUDGET, window_s, timing, where)
    now = _of(JUDGED, cadence)
    return f"({now} - ignoring (cadence) {_BUDGET} offset {timing.text(window_s)})"


def _labelled(name: str, by_value: Iterable[tuple[str, str]]) -> str:
    """Return what several expressions give, each with its own value of a label."""
    return "\nor\n".join(
        f'label_replace(\n{expr},\n"{name}", "{value}", "", "")' for value, expr in by_value
    )


def _difference(metric: str, window_s: int, timing: Timing, where: str = "") -> str:
    """Return how much a counter grew in a window, on the paths of `where` if that is given."""
    duration = timing.text(window_s)
    if window_s <= INCREASE_S_MAX:
        grown = f"increase({metric}[{duration}])"
        return f"({grown} and on (path, slo) {where})" if where else grown
    now = f"({metric} and on (path, slo) {where})" if where else metric
    return f"({now} - {metric} offset {duration})"
