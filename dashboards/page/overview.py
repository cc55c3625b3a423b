"""The estate at a glance: the matrix of sites, and the map."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dashboards.page.figures import PathFigures, Snapshot, State
from netslo.model import Scope, Site

MATRIX_SITES_MAX: Final = 40
_BESIDE_MAX: Final = 12  # sites of a matrix that has room beside the map
_LABELS_MAX: Final = 40
_MAP_WIDTH: Final = 400.0
_MAP_MARGIN: Final = 40.0
_ASPECT_MIN, _ASPECT_MAX = 0.7, 1.35
_LETTER: Final = 7.4  # the usual width of one, in a label
_ASIDE: Final = (  # where a label may stand beside its dot: what ends there, and how far
    ("start", 10.0, 4.0),
    ("end", -10.0, 4.0),
    ("start", 8.0, -8.0),
    ("start", 8.0, 16.0),
    ("end", -8.0, -8.0),
    ("end", -8.0, 16.0),
    ("middle", 0.0, -12.0),
    ("middle", 0.0, 20.0),
)
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Cell:
    """All classes from one site to another: the worst of each figure."""

    worst: PathFigures  # the path which is worst altogether
    state: State
    p99_s: float | None
    loss_ratio: float | None
    classes: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows are sources, columns destinations; None on the diagonal."""

    sites: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    left_out: int  # sites that there is no room for

    @property
    def large(self) -> bool:
        """Whether it takes the whole width."""
        return len(self.sites) > _BESIDE_MAX


def matrix(snapshot: Snapshot) -> Matrix:
    """Return the matrix; of a large estate only the sites with most trouble."""
    pairs: dict[tuple[str, str], list[PathFigures]] = {}
    between = [each for each in snapshot.paths.values() if each.scope is not Scope.SERVICE]
    for each in between:
        pairs.setdefault((each.path.src, each.path.dst), []).append(each)
    sites = list(snapshot.estate.sites)
    if len(sites) > MATRIX_SITES_MAX:
        worst: dict[str, tuple[float, ...]] = {}
        for each in between:
            for site in (each.path.src, each.path.dst):
                worst[site] = min(worst.get(site, each.trouble), each.trouble)
        chosen = set(sorted(worst, key=lambda site: (worst[site], site))[:MATRIX_SITES_MAX])
        sites = [site for site in sites if site in chosen]
    rows = tuple(
        (src, tuple(_cell(pairs[src, dst]) if src != dst else None for dst in sites))
        for src in sites
    )
    return Matrix(tuple(sites), rows, len(snapshot.estate.sites) - len(sites))


def _cell(paths: Sequence[PathFigures]) -> Cell:
    worst = min(paths, key=lambda each: each.trouble)
    return Cell(
        worst,
        worst.state,
        max((p.p99.value_s for p in paths if p.p99.value_s is not None), default=None),
        max((p.loss_ratio for p in paths if p.loss_ratio is not None), default=None),
        len(paths),
    )


@dataclass(frozen=True, slots=True)
class Dot:
    """A site on the map."""

    name: str
    x: float
    y: float
    state: State
    label_x: float
    label_y: float
    anchor: str
    labelled: bool


@dataclass(frozen=True, slots=True)
class Line:
    """Two sites, by a link or by a path in trouble."""

    x1: float
    y1: float
    x2: float
    y2: float
    state: State | None  # None: a link, which has no state of its own
    text: str


@dataclass(frozen=True, slots=True)
class Map:
    width: float
    height: float
    dots: tuple[Dot, ...]
    lines: tuple[Line, ...]
    text: str  # the same in words


def estate_map(snapshot: Snapshot) -> Map:
    """Return the sites where they are, links, and paths in trouble."""
    sites = snapshot.estate.sites
    places, height = _project(sites.values())
    by_site = _worst_by_site(snapshot.paths.values())
    lines = [
        Line(*places[link.a], *places[link.b], None, f"link {link.a} to {link.b}")
        for link in snapshot.estate.links
    ]
    troubled: dict[frozenset[str], PathFigures] = {}
    for each in snapshot.paths.values():
        if each.state <= State.TICKET and each.scope is not Scope.SERVICE:  # which has no place
            ends = frozenset((each.path.src, each.path.dst))
            if ends not in troubled or each.trouble < troubled[ends].trouble:
                troubled[ends] = each
    lines += [
        Line(*places[p.path.src], *places[p.path.dst], p.state, f"{p.path} is {p.state.word}")
        for p in troubled.values()
    ]
    return Map(
        _MAP_WIDTH,
        height,
        tuple(_dots(places, by_site, lines)),
        tuple(lines),
        _in_words(len(sites), troubled.values()),
    )


def _in_words(sites: int, troubled: Iterable[PathFigures]) -> str:
    named = [each.path.id for each in sorted(troubled, key=lambda each: each.trouble)]
    if not named:
        return f"Map of {sites} sites; no path burns its budget"
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""  # noqa: PLR2004
    return f"Map of {sites} sites; burning: {', '.join(named[:5])}{more}"


def _project(sites: Iterable[Site]) -> tuple[dict[str, tuple[float, float]], float]:
    """Return places on the picture, and its height; degrees east shrink away from the equator."""
    sites = list(sites)
    lats = [site.location.lat for site in sites]
    lons = [site.location.lon for site in sites]
    if max(lons) - min(lons) > 180:  # noqa: PLR2004 - across the date line
        lons = [lon % 360 for lon in lons]
    east = math.cos(math.radians((max(lats) + min(lats)) / 2))
    width_deg, height_deg = (max(lons) - min(lons)) * east, max(lats) - min(lats)
    if not width_deg and not height_deg:  # no place is given: a circle
        return _circle(sites)
    inner = _MAP_WIDTH - 2 * _MAP_MARGIN
    aspect = min(max(height_deg / max(width_deg, 1e-9), _ASPECT_MIN), _ASPECT_MAX)
    height = inner * aspect
    scale = min(inner / max(width_deg, 1e-9), height / max(height_deg, 1e-9))
    x0 = (_MAP_WIDTH - width_deg * scale) / 2
    y0 = _MAP_MARGIN + (height - height_deg * scale) / 2
    places = {
        site.name: (
            round(x0 + (lon - min(lons)) * east * scale, 1),
            round(y0 + (max(lats) - lat) * scale, 1),
        )
        for site, lat, lon in zip(sites, lats, lons, strict=True)
    }
    return places, round(height + 2 * _MAP_MARGIN, 1)


def _circle(sites: Sequence[Site]) -> tuple[dict[str, tuple[float, float]], float]:
    radius, turn = _MAP_WIDTH / 2 - 2 * _MAP_MARGIN, 2 * math.pi / len(sites)
    centre = _MAP_WIDTH / 2
    return {
        site.name: (
            round(centre + radius * math.sin(turn * n), 1),
            round(centre - radius * math.cos(turn * n), 1),
        )
        for n, site in enumerate(sites)
    }, _MAP_WIDTH


def _worst_by_site(paths: Iterable[PathFigures]) -> Mapping[str, State]:
    worst: dict[str, State] = {}
    for each in paths:
        for site in (each.path.src, each.path.dst):
            worst[site] = min(worst.get(site, each.state), each.state)
    return worst


def _dots(
    places: Mapping[str, tuple[float, float]], states: Mapping[str, State], lines: Sequence[Line]
) -> list[Dot]:
    """Put each label where it covers no other, no dot, and none of its site's lines if it can."""
    ending: dict[tuple[float, float], list[Line]] = {}
    for line in lines:
        for end in ((line.x1, line.y1), (line.x2, line.y2)):
            ending.setdefault(end, []).append(line)
    taken: list[Box] = []
    dots = []
    order = sorted(places, key=lambda name: (states.get(name, State.UNJUDGED), name))
    for name in order:
        x, y = places[name]
        state = states.get(name, State.UNJUDGED)
        aside = None
        if len(taken) < _LABELS_MAX:
            others = [place for other, place in places.items() if other != name]
            aside = _aside(_LETTER * len(name), (x, y), taken, others, ending)
        if aside is None:
            dots.append(Dot(name, x, y, state, x, y, "start", labelled=False))
            continue
        (anchor, dx, dy), box = aside
        taken.append(box)
        dots.append(
            Dot(name, x, y, state, round(x + dx, 1), round(y + dy, 1), anchor, labelled=True)
        )
    return dots


def _aside(
    width: float,
    place: tuple[float, float],
    taken: Sequence[Box],
    others: Sequence[tuple[float, float]],
    ending: Mapping[tuple[float, float], Sequence[Line]],
) -> tuple[tuple[str, float, float], Box] | None:
    """Return where a label covers least, and its box; None where it would cover another."""
    x, y = place
    found = None
    least = math.inf
    for anchor, dx, dy in _ASIDE:
        left = x + dx - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        box = (left, y + dy - 11, left + width, y + dy + 3)
        if box[0] < 0 or box[2] > _MAP_WIDTH or any(_overlap(box, other) for other in taken):
            continue
        covered = sum(_near(box, other) for other in others) * 10.0
        covered += sum(_crosses(line, box) for line in ending.get(place, ()))
        if covered < least:
            found, least = ((anchor, dx, dy), box), covered
    return found


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _near(box: Box, dot: tuple[float, float]) -> bool:
    return box[0] - 7 < dot[0] < box[2] + 7 and box[1] - 7 < dot[1] < box[3] + 7


def _crosses(line: Line, box: Box) -> bool:
    """Tell whether a line goes through a box (Liang and Barsky)."""
    dx, dy = line.x2 - line.x1, line.y2 - line.y1
    enters, leaves = 0.0, 1.0
    for along, inside in (
        (-dx, line.x1 - box[0]),
        (dx, box[2] - line.x1),
        (-dy, line.y1 - box[1]),
        (dy, box[3] - line.y1),
    ):
        if not along:
            if inside < 0:
                return False
        elif along < 0:
            enters = max(enters, inside / along)
        else:
            leaves = min(leaves, inside / along)
    return enters <= leaves
