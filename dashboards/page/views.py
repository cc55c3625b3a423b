"""What each page is about: the estate, a part of the list of paths, or one path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from dashboards.page.figures import PathFigures, Snapshot
from netslo.estate import Estate
from netslo.model import Path

WORST: Final = 25  # paths on the first page
PER_PAGE: Final = 100
SORTS: Final = ("trouble", "name", "p99", "loss", "budget")
SPANS: Final = {"1h": 3_600, "1d": 86_400, "28d": 28 * 86_400}


class NoSuchView(Exception):
    """The address asks for what there is not; status 404, or 400 where it is not understood."""

    def __init__(self, message: str, status: int = 404) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page."""

    @property
    def key(self) -> str:
        return "/"


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of the list of paths; an empty filter lets all through."""

    site: str = ""
    traffic_class: str = ""
    sort: str = "trouble"
    page: int = 1

    @property
    def key(self) -> str:
        return self.on(self.page)

    def on(self, page: int) -> str:
        """Return the address of another page of the same list."""
        asked = {"site": self.site, "class": self.traffic_class, "sort": self.sort, "page": page}
        said = {k: v for k, v in asked.items() if v not in {"", "trouble", 1}}
        return "/paths" + (f"?{urlencode(said)}" if said else "")

    def select(self, snapshot: Snapshot) -> tuple[list[PathFigures], int, int]:
        """Return the paths of this page, how many there are in all, and how many pages."""
        found = [
            each
            for each in snapshot.by_trouble
            if self.site in {"", each.path.src, each.path.dst}
            and self.traffic_class in {"", each.path.traffic_class}
        ]
        if self.sort != "trouble":
            found.sort(key=lambda each: _sort_key(each, self.sort))
        pages = max(1, -(-len(found) // PER_PAGE))
        first = (min(self.page, pages) - 1) * PER_PAGE
        return found[first : first + PER_PAGE], len(found), pages


@dataclass(frozen=True, slots=True)
class OnePath:
    """One path over a span."""

    path: Path
    span: str = "1h"

    @property
    def key(self) -> str:
        return self.over(self.span)

    def over(self, span: str) -> str:
        """Return the address of the same path over another span."""
        return f"/paths/{self.path.id}" + ("" if span == "1h" else f"?span={span}")


View = Overview | Listing | OnePath


def read_view(path: str, query: Mapping[str, str], estate: Estate) -> View:
    """Return the view at an address; parameters it does not know are ignored.

    Raises:
        NoSuchView: there is no such page.
    """
    if path == "/":
        return Overview()
    if path == "/paths":
        return _read_listing(query, estate)
    if path.startswith("/paths/"):
        return _read_path(path.removeprefix("/paths/"), query, estate)
    raise NoSuchView("There is no such page.")


def _read_listing(query: Mapping[str, str], estate: Estate) -> Listing:
    site, traffic_class = query.get("site", ""), query.get("class", "")
    sort, page = query.get("sort") or "trouble", query.get("page") or "1"
    if site and site not in estate.sites:
        raise NoSuchView(f"The estate has no site {site!r}.")
    if traffic_class and traffic_class not in estate.classes:
        raise NoSuchView(f"The estate has no class {traffic_class!r}.")
    if sort not in SORTS:
        raise NoSuchView(f"Paths are sorted by {', '.join(SORTS)}, not by {sort!r}.", 400)
    pages_max = -(-len(estate.measured_paths) // PER_PAGE)
    if not (page.isascii() and page.isdecimal() and len(page) < 7):  # noqa: PLR2004 - bounded
        raise NoSuchView(f"The page is a number, not {page!r}.", 400)
    return Listing(site, traffic_class, sort, max(1, min(int(page), pages_max)))


def _read_path(text: str, query: Mapping[str, str], estate: Estate) -> OnePath:
    try:
        path = Path.parse(text)
    except ValueError as error:
        raise NoSuchView(f"A path is named src:dst/class, not {text!r}.") from error
    if not estate.knows(path):
        raise NoSuchView(f"The estate has no path {path}.")
    span = query.get("span") or "1h"
    if span not in SPANS:
        raise NoSuchView(f"A span is one of {', '.join(SPANS)}, not {span!r}.", 400)
    return OnePath(path, span)


def _sort_key(each: PathFigures, sort: str) -> tuple[object, ...]:
    match sort:
        case "p99":
            value = -(each.p99.value_s or 0.0)
        case "loss":
            value = -(each.loss_ratio or 0.0)
        case "budget":
            budget = each.budget_remaining_ratio
            value = float("inf") if budget is None else budget
        case _:
            value = 0.0
    return value, each.path
