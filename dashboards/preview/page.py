"""The preview as one page of HTML that needs nothing else: pictures, tables and their library."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from dashboards.preview.panels import Drawn, Painter
from dashboards.preview.prometheus import Prometheus
from dashboards.preview.variables import ALL, Chosen, Span, choose
from netslo.errors import ConfigurationError

_HERE: Final = pathlib.Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard with its panels drawn."""

    uid: str
    title: str
    description: str
    variables: Sequence[tuple[str, str]]
    panels: Sequence[Drawn]

    @property
    def failures(self) -> list[str]:
        """Return which panels could not be asked for."""
        return [drawn.panel["title"] for drawn in self.panels if drawn.failed]


def preview(
    boards: Sequence[Mapping[str, Any]],
    prometheus: Prometheus,
    span: Span,
    wanted: Mapping[str, Sequence[str]],
) -> list[Board]:
    """Ask for everything that dashboards show.

    Args:
        boards: As `netslo dashboards build` writes them.
        prometheus: Where the data are.
        span: What is looked at.
        wanted: Values of variables, of any board that has them.

    Raises:
        ConfigurationError: there is no such variable, or Prometheus has no such value of it.
        QueryError: it does not answer.
    """
    known = {v["name"] for board in boards for v in board["templating"]["list"]}
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise ConfigurationError(
            f"--var {unknown[0]}: no dashboard has it; they have "
            f"{', '.join(sorted(known - {'datasource'}))}"
        )
    found = []
    for board in boards:
        chosen = choose(board, prometheus, span, wanted)
        panels = list(Painter(prometheus, span, chosen).draw(board))
        described = board.get("description", "")
        variables = _named(board, chosen)
        found.append(Board(board["uid"], board["title"], described, variables, panels))
    return found


def to_html(boards: Sequence[Board], prometheus: Prometheus, span: Span) -> str:
    """Return the page. What comes from outside is escaped everywhere."""
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawings = {
        f"{board.uid}-{drawn.panel['id']}": json.loads(drawn.plot.to_json())
        for board in boards
        for drawn in board.panels
        if drawn.plot is not None
    }
    return environment.get_template("preview.html").render(
        boards=boards,
        drawings=_for_script(drawings),
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
        start=_moment(span.start_s),
        end=_moment(span.end_s),
        url=prometheus.url,
        version=prometheus.version(),
    )


def _named(board: Mapping[str, Any], chosen: Chosen) -> list[tuple[str, str]]:
    found = []
    for variable in board["templating"]["list"]:
        values = chosen.values.get(variable["name"])
        if values is not None:
            text = "All" if list(values) == [ALL] else ", ".join(values) or "none"
            found.append((variable["label"], text))
    return found


def _for_script(value: Any) -> str:
    """Return JSON that ends no script element, whatever is in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _moment(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(unix_s))
