"""What Grafana puts for variables and macros, before Prometheus sees an expression.

Rules of Grafana's Prometheus data source: a variable with one value is escaped as a string, one
that may have many as a regular expression; "All" is what the variable says it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dashboards.preview.prometheus import Prometheus
from netslo.errors import ConfigurationError

ALL: Final = "$__all"
_NAME: Final = re.compile(r"\$(\w+)|\$\{(\w+)(?::\w+)?\}|\[\[(\w+)(?::\w+)?\]\]")
_LABEL_VALUES: Final = re.compile(
    r"label_values\((?:(?P<match>.*),\s*)?(?P<label>\w+)\)", re.DOTALL
)
_SPECIAL: Final = re.compile(r"[\\^$*{}\[\]+?.()|]")
_STEPS_S: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400)


@dataclass(frozen=True, slots=True)
class Span:
    """What is looked at: Unix seconds, and how often the data source is filled."""

    start_s: float
    end_s: float
    scrape_s: float = 15.0

    def step_s(self, points: int) -> float:
        """Return the time between two points of a graph that has room for so many."""
        wanted = max((self.end_s - self.start_s) / points, self.scrape_s)
        return float(next((step for step in _STEPS_S if step >= wanted), _STEPS_S[-1]))

    def macros(self, step_s: float) -> dict[str, str]:
        """Return Grafana's own names, for graphs of a step."""
        rate_s = max(step_s + self.scrape_s, 4 * self.scrape_s)
        range_s = max(1, round(self.end_s - self.start_s))
        return {
            "__interval": f"{step_s:g}s",
            "__rate_interval": f"{rate_s:g}s",
            "__range": f"{range_s}s",
            "__range_s": str(range_s),
        }


@dataclass(frozen=True, slots=True)
class Chosen:
    """The values of a board's variables, as somebody chose them."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)  # what expressions get

    def fill(self, expr: str, macros: Mapping[str, str]) -> str:
        """Return an expression as Prometheus gets it; names that nobody knows stay."""
        known = {**self.patterns, **macros}
        return _NAME.sub(lambda found: known.get(found[1] or found[2] or found[3], found[0]), expr)


def choose(
    board: Mapping[str, Any],
    prometheus: Prometheus,
    span: Span,
    wanted: Mapping[str, Sequence[str]],
) -> Chosen:
    """Give each variable of a board a value: the wanted ones, or else what Grafana begins with.

    Raises:
        ConfigurationError: Prometheus has not what is wanted of a variable.
        QueryError: it does not answer.
    """
    values: dict[str, Sequence[str]] = {}
    patterns: dict[str, str] = {}
    macros = span.macros(span.scrape_s)
    for variable in board["templating"]["list"]:
        if variable["type"] != "query":
            continue
        name = variable["name"]
        query = Chosen(values, patterns).fill(variable["query"]["query"], macros)
        asked = _LABEL_VALUES.fullmatch(query)
        assert asked is not None, query
        match = asked["match"] or ""
        there = prometheus.label_values(asked["label"], match, span.start_s, span.end_s)
        unknown = sorted(set(wanted.get(name, ())) - set(there))
        if unknown:
            some = ", ".join(there[:5]) + (", ..." if len(there) > 5 else "")  # noqa: PLR2004
            raise ConfigurationError(
                f"--var {name}={unknown[0]}: Prometheus has no such {variable['label'].lower()}; "
                f"it has {some or 'none'}"
            )
        many = variable["multi"] or variable["includeAll"]
        chosen = wanted.get(name) or ([ALL] if variable["includeAll"] else there[:1])
        values[name] = chosen
        patterns[name] = _pattern(chosen, variable.get("allValue", ".*"), many=many)
    return Chosen(values, patterns)


def _pattern(chosen: Sequence[str], all_value: str, *, many: bool) -> str:
    if list(chosen) == [ALL]:
        return all_value
    if not many:
        return _in_string(chosen[0]) if chosen else ""
    escaped = [_in_string(_SPECIAL.sub(r"\\\g<0>", each)) for each in chosen]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _in_string(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
