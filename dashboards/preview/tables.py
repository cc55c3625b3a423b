"""What Grafana's transformations make of results: rows and columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboards.preview.prometheus import Series

Cell = str | float | None
_TIME: Final = "Time"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as mappings by column; a column that a row has not is empty there."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Cell], ...]


def table_of(panel: Mapping[str, Any], results: Mapping[str, Sequence[Series]]) -> Table:
    """Return the table that a panel makes of the results of its targets, by refId."""
    frames = [_frame(ref_id, found, len(results) > 1) for ref_id, found in results.items()]
    table = frames[0] if len(frames) == 1 else None
    for step in panel.get("transformations", ()):
        options = step["options"]
        match step["id"]:
            case "merge":
                table = _merged(frames)
            case "joinByField":
                table = _joined(frames, options["byField"])
            case "organize":
                table = _organized(table or _merged(frames), options)
            case "groupingToMatrix":
                table = _matrix(table or _merged(frames), options)
            case "convertFieldType":
                pass  # every cell is as it needs to be
            case other:
                raise AssertionError(f"{panel['title']}: the preview knows no {other}")
    found = table or _merged(frames)
    return _sorted(found, panel.get("options", {}).get("sortBy", ()))


def _frame(ref_id: str, found: Sequence[Series], many: bool) -> Table:  # noqa: FBT001
    value = f"Value #{ref_id}" if many else "Value"
    rows: list[Mapping[str, Cell]] = [
        {_TIME: each.times_s[-1], **each.labels, value: each.values[-1]}
        for each in found
        if each.values
    ]
    return Table(_columns(rows, (value,)), tuple(rows))


def _columns(rows: Sequence[Mapping[str, Cell]], last: Sequence[str]) -> tuple[str, ...]:
    names = dict.fromkeys(name for row in rows for name in row if name not in last)
    return (*names, *(name for name in last))


def _merged(frames: Sequence[Table]) -> Table:
    """Lay rows together that agree in every column that they share."""
    rows: list[dict[str, Cell]] = []
    for frame in frames:
        for row in frame.rows:
            said = {name: cell for name, cell in row.items() if not _is_value(name)}
            home = next((r for r in rows if all(r.get(k, v) == v for k, v in said.items())), None)
            if home is None:
                rows.append(dict(row))
            else:
                home.update(row)
    values = [name for frame in frames for name in frame.columns if _is_value(name)]
    return Table(_columns(rows, values), tuple(rows))


def _joined(frames: Sequence[Table], by: str) -> Table:
    rows: dict[Cell, dict[str, Cell]] = {}
    for frame in frames:
        for row in frame.rows:
            rows.setdefault(row.get(by), {}).update(row)
    values = [name for frame in frames for name in frame.columns if _is_value(name)]
    return Table(_columns(list(rows.values()), values), tuple(rows.values()))


def _organized(table: Table, options: Mapping[str, Any]) -> Table:
    left_out = {name for name, out in options.get("excludeByName", {}).items() if out}
    order, names = options.get("indexByName", {}), options.get("renameByName", {})
    kept = [name for name in table.columns if name not in left_out]
    kept.sort(key=lambda name: order.get(name, len(order)))
    rows = tuple(
        {names.get(name, name): row[name] for name in kept if name in row} for row in table.rows
    )
    return Table(tuple(names.get(name, name) for name in kept), rows)


def _matrix(table: Table, options: Mapping[str, Any]) -> Table:
    row_field, column_field = options["rowField"], options["columnField"]
    corner = f"{row_field}\\{column_field}"
    rows: dict[Cell, dict[str, Cell]] = {}
    columns: dict[str, None] = {}
    for row in table.rows:
        column = str(row[column_field])
        columns[column] = None
        home = rows.setdefault(row[row_field], {corner: row[row_field]})
        home[column] = row[options["valueField"]]
    ordered = sorted(rows.values(), key=lambda row: str(row[corner]))
    return Table((corner, *sorted(columns)), tuple(ordered))


def _sorted(table: Table, orders: Sequence[Mapping[str, Any]]) -> Table:
    rows = list(table.rows)
    for order in reversed(orders):
        name, known = order["displayName"], float("-inf") if order["desc"] else float("inf")
        rows.sort(
            key=lambda row: (isinstance(row.get(name), str), _rank(row.get(name), known)),
            reverse=order["desc"],
        )
    return Table(table.columns, tuple(rows))


def _rank(cell: Cell, unknown: float) -> Any:
    return unknown if cell is None or cell != cell else cell  # noqa: PLR0124 - NaN


def _is_value(name: str) -> bool:
    return name == "Value" or name.startswith("Value #") or name == _TIME
