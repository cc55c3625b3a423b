"""Templates to text: whole pages, and the parts of them that change."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dashboards.page import numbers
from dashboards.page.charts import SPARK_HEIGHT, SPARK_WIDTH, Spark, boxes, spark
from dashboards.page.detail import path_detail
from dashboards.page.figures import Snapshot, State
from dashboards.page.overview import estate_map, matrix
from dashboards.page.source import Source
from dashboards.page.views import SORTS, SPANS, WORST, Listing, OnePath, Overview, View
from netslo.model import Path
from netslo.units import format_duration

_HERE: Final = pathlib.Path(__file__).parent
STATIC_TYPES: Final = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
FRAGMENTS: Final[Mapping[type[View], tuple[str, ...]]] = {
    Overview: ("verdict", "news", "matrix", "map", "paths", "slos", "probes"),
    Listing: ("verdict", "paths"),
    OnePath: (
        *("standing", "distribution", "history", "objectives", "horizons"),
        *("routes", "changes", "capacity", "service"),
    ),
}
_FILTERS: Final = (
    *("ms", "percent", "objective", "count", "burn", "bits"),
    *("ago", "clock", "day_and_clock", "moment"),
)
_TEMPLATES: Final[Mapping[type[View], str]] = {
    Overview: "overview.html",
    Listing: "listing.html",
    OnePath: "path.html",
}


def static_files() -> tuple[str, dict[str, bytes]]:
    """Return a version, which changes when any file does, and the files by name."""
    files = {name: (_HERE / "static" / name).read_bytes() for name in STATIC_TYPES}
    digest = hashlib.sha256(b"".join(files.values())).hexdigest()
    return digest[:12], files


@dataclass(slots=True)
class _Shared:
    """What was made for one view of a snapshot and stands in others, too."""

    snapshot: Snapshot
    verdict: str = ""
    sparks: dict[Path, Spark | None] = field(default_factory=dict)


class Renderer:
    """Turns a snapshot into pages. What comes from outside is escaped everywhere."""

    def __init__(self, source: Source, version: str) -> None:
        self._source = source
        self._shared: _Shared | None = None  # of the latest snapshot
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals.update(
            static=f"/static/{version}",
            State=State,
            spark_width=SPARK_WIDTH,
            spark_height=SPARK_HEIGHT,
            duration=format_duration,
        )
        named: dict[str, Callable[..., Any]] = {name: getattr(numbers, name) for name in _FILTERS}
        self._environment.filters.update(named, web_link=numbers.web_link, boxes=boxes)

    def page(self, view: View, snapshot: Snapshot) -> str:
        """Return a whole page."""
        template = self._environment.get_template(_TEMPLATES[type(view)])
        return template.render(self._context(view, snapshot), view=view)

    def fragments(self, view: View, snapshot: Snapshot) -> dict[str, str]:
        """Return the parts of a page that change, by the id of their element."""
        context = self._context(view, snapshot)
        return {
            name: self._verdict(context, snapshot)
            if name == "verdict"
            else self._part(name, context)
            for name in FRAGMENTS[type(view)]
        } | {"at": numbers.clock(snapshot.at_s)}

    def trouble(self, title: str, message: str) -> str:
        """Return the page that says why there is no other."""
        template = self._environment.get_template("trouble.html")
        return template.render(title=title, message=message, estate=self._source.estate)

    def _context(self, view: View, snapshot: Snapshot) -> dict[str, Any]:
        context: dict[str, Any] = {"now": snapshot, "estate": snapshot.estate, "view": view}
        match view:
            case Overview():
                worst = list(snapshot.by_trouble[:WORST])
                context |= {"matrix": matrix(snapshot), "map": estate_map(snapshot)}
                context |= {"rows": worst, "total": len(snapshot.paths)}
            case Listing():
                worst, total, pages = view.select(snapshot)
                context |= {"rows": worst, "total": total, "pages": pages, "sorts": SORTS}
            case OnePath():
                context |= {"detail": path_detail(self._source, snapshot, view), "spans": SPANS}
                return context
        context["sparks"] = {each.path: self._spark(each.path, snapshot) for each in worst}
        return context

    def _spark(self, path: Path, snapshot: Snapshot) -> Spark | None:
        """Return a path's line, which several views show; drawn once for each snapshot."""
        drawn = self._of(snapshot).sparks
        if path not in drawn:
            at_s = snapshot.at_s
            drawn[path] = spark(self._source.trail.of(path, at_s), at_s)
        return drawn[path]

    def _verdict(self, context: dict[str, Any], snapshot: Snapshot) -> str:
        made = self._of(snapshot)
        if not made.verdict:
            made.verdict = self._part("verdict", context)
        return made.verdict

    def _of(self, snapshot: Snapshot) -> _Shared:
        """Return what several views of a snapshot have in common, to be added to."""
        shared = self._shared
        if shared is None or shared.snapshot is not snapshot:
            shared = self._shared = _Shared(snapshot)
        return shared

    def _part(self, name: str, context: dict[str, Any]) -> str:
        return self._environment.get_template(f"parts/{name}.html").render(context)
