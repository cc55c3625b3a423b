"""Draw the plots of docs/engine.md, and write its table, from what was measured.

    python benchmarks/engine.py --json docs/engine/measured.json
    python docs/engine_plots.py

Colours and the grey of all text are of middling brightness, and the ground is transparent, so that
one picture can be read on a light page and on a dark one.
"""

import json
import pathlib
import sys

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

HERE = pathlib.Path(__file__).parent / "engine"
INK, FAINT, OURS = "#78818c", "#78818c55", "#2f81f7"
SHAPES = {
    "lognormal": "lognormal, median 30 ms",
    "Pareto 1.2": "Pareto, a = 1.2",
    "bimodal": "bimodal, 2 and 300 ms",
}
LINES = {  # engine -> (label, colour)
    "KLL (datasketches, k = 200)": ("KLL", "#d9822b"),
    "prometheus_client (15 buckets)": ("15 fixed buckets", "#8a8f3c"),
    "fastdigest (100 centroids)": ("t-digest, 100 centroids", "#e0524a"),
    "opentelemetry-sdk (160 buckets)": ("OpenTelemetry, 160 buckets", "#2c9d5c"),
    "REQ (datasketches, k = 12)": ("REQ", "#a371f7"),
    "netslo, scale 7": ("netslo", OURS),
    "hdrhistogram (3 digits, us)": ("HdrHistogram, 3 digits", "#b0699a"),
}
_SMALLEST = 0.01  # per cent; what is better still is drawn here


def style() -> None:
    mpl.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "netslo", "font.family": "sans-serif",
        "font.size": 11, "figure.constrained_layout.use": True,
        "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "axes.titlecolor": INK,
        "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
        "axes.spines.right": False, "axes.titlesize": 11, "axes.linewidth": 0.8,
    })  # fmt: skip


def accuracy(figures: dict) -> None:
    """Draw the worst error near each quantile, one panel per distribution."""
    place = 1 / (1 - np.array(figures["qs"]))
    figure, panels = plt.subplots(1, 3, figsize=(11, 4.6), sharey=True)
    alpha = 100 * figures["alpha"]["netslo, scale 7"]["lognormal"]
    for axes, (shape, title) in zip(panels, SHAPES.items(), strict=True):
        ends = {}
        for engine, (label, colour) in LINES.items():
            if engine not in figures["errors"]:
                continue
            error = np.maximum(100 * _worst_near(figures["errors"][engine][shape]), _SMALLEST)
            ours = engine.startswith("netslo")
            axes.plot(place, error, color=colour, lw=3 if ours else 1.6, zorder=3 if ours else 2)
            ends[label] = (error[-1], colour)
        axes.axhline(alpha, color=OURS, lw=1, ls=(0, (4, 3)))
        axes.set(xscale="log", yscale="log", xlim=(2, 10_000), ylim=(_SMALLEST, 300), title=title)
        axes.set_xticks([2, 10, 100, 1000, 10_000])
        axes.set_xticklabels(["p50", "p90", "p99", "p99.9", "p99.99"])
        axes.minorticks_off()
        axes.grid(axis="y", color=FAINT, lw=0.5)
        axes.tick_params(axis="x", labelsize=9)
        if axes is panels[-1]:
            ends[f"netslo, never above {alpha:.2f} %"] = ends.pop("netslo")
            _name_lines(axes, ends)
    figure.get_layout_engine().set(wspace=0.06)
    panels[0].set_ylabel("relative error")
    panels[0].set_yticks([0.01, 0.1, 1, 10, 100])
    panels[0].set_yticklabels(["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    figure.suptitle(
        "Sketches that bound the relative error keep it to p99.99; those that bound ranks do not",
        color=INK, fontweight="bold", x=0.01, ha="left",
    )  # fmt: skip
    _save(figure, "accuracy")


def _worst_near(errors: list[float], reach: int = 3) -> np.ndarray:
    """Return the running maximum: an error of nothing at one rank is luck."""
    padded = np.pad(np.array(errors), reach, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)


def _name_lines(axes: Axes, ends: dict[str, tuple[float, str]]) -> None:
    """Write names behind the ends of the lines, moved apart where they would touch."""
    low, high = (np.log10(limit) for limit in axes.get_ylim())
    gap, below = 0.062 * (high - low), -np.inf
    for label, (error, colour) in sorted(ends.items(), key=lambda item: item[1][0]):
        below = max(np.log10(error), below + gap)
        weight = "bold" if label.startswith("netslo") else "normal"
        axes.annotate(
            label, (10_000, error), (11_500, 10**below), color=colour, va="center",
            annotation_clip=False, fontweight=weight, size=10,
        )  # fmt: skip


def speed(figures: dict, processes: int) -> None:
    """Draw the time per value of each engine."""
    rows = [row for row in figures["rows"] if not row["limit"] and "log2" not in row["engine"]]
    rows.sort(key=lambda row: -row["ns"])
    limit = next(row for row in figures["rows"] if row["engine"].startswith("limit: sum"))
    figure, axes = plt.subplots(figsize=(9, 0.36 * len(rows) + 1.5))
    for y, row in enumerate(rows):
        ours = row["engine"] == "netslo"
        colour, weight = (OURS, "bold") if ours else (INK, "normal")
        axes.plot([limit["ns"], row["ns"]], [y, y], color=colour, lw=2.5 if ours else 1, alpha=0.6)
        axes.plot(row["ns"], y, "o", color=colour, ms=9 if ours else 6)
        time = f"{row['ns']:.3g}" if row["ns"] < 1000 else f"{row['ns']:,.0f}"
        said = f"{time} ns" if ours else f"{time} ns, {_times(row['ratio'])} times as long"
        axes.annotate(
            said, (row["ns"], y), (9, 0), textcoords="offset points", va="center",
            color=colour, fontweight=weight, size=10, annotation_clip=False,
        )  # fmt: skip
        axes.text(
            limit["ns"] * 0.82, y, row["engine"], ha="right", va="center", color=colour,
            fontweight=weight,
        )  # fmt: skip
    axes.axvline(limit["ns"], color=INK, lw=1, ls=(0, (4, 3)))
    axes.annotate(
        f"reading the array: {limit['ns']:.2g} ns", (limit["ns"], len(rows) - 0.4), (5, 0),
        textcoords="offset points", size=10, va="center",
    )  # fmt: skip
    axes.set(xscale="log", xlim=(limit["ns"] * 0.98, rows[0]["ns"] * 2), ylim=(-0.6, len(rows)))
    axes.set_xticks([1, 10, 100, 1000])
    axes.set_xticklabels(["1 ns", "10 ns", "100 ns", "1 us"])
    axes.minorticks_off()
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    said = "one process" if processes == 1 else f"the median of {processes} processes"
    axes.set_xlabel(f"time per value, one thread; {said}")
    figure.suptitle(
        "An array into a sketch, with all statistics", color=INK, fontweight="bold",
        x=0.01, ha="left",
    )  # fmt: skip
    _save(figure, "speed")


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"


def midpoint() -> None:
    """Draw the error of three representatives over one bucket, at the scale 0."""
    value = np.linspace(1, 2, 200)
    figure, axes = plt.subplots(figsize=(7.5, 4.8))
    for name, middle, colour in (
        ("arithmetic mean", 1.5, "#d9822b"),
        ("geometric mean", np.sqrt(2), "#2c9d5c"),
        ("harmonic midpoint", 4 / 3, OURS),
    ):
        error = 100 * (middle / value - 1)
        ours = name.startswith("harmonic")
        axes.plot(value, error, color=colour, lw=3 if ours else 1.6)
        axes.annotate(
            f"{error[0]:+.0f} %", (1, error[0]), (-6, 0), textcoords="offset points",
            ha="right", va="center", color=colour, fontweight="bold" if ours else "normal",
        )  # fmt: skip
        axes.annotate(
            f"{error[-1]:+.0f} %, {name}", (2, error[-1]), (6, 0), textcoords="offset points",
            va="center", color=colour, annotation_clip=False,
            fontweight="bold" if ours else "normal",
        )  # fmt: skip
    axes.axhline(0, color=INK, lw=0.8)
    axes.set(
        xlim=(1, 2),
        ylim=(-38, 53),
        xlabel="value in the bucket from 1 to 2 (scale 0); upwards: how far off its middle is",
    )
    axes.set_xticks([1, 1.25, 1.5, 1.75, 2])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.annotate(
        "exact", (2, 0), (6, 0), textcoords="offset points", va="center", annotation_clip=False
    )
    figure.suptitle(
        "Only the harmonic midpoint errs the same at both ends", color=INK, fontweight="bold",
        x=0.01, ha="left",
    )  # fmt: skip
    _save(figure, "midpoint")


def _save(figure: plt.Figure, name: str) -> None:
    figure.savefig(HERE / f"{name}.svg", transparent=True, metadata={"Date": None})
    plt.close(figure)


def table(figures: dict) -> None:
    """Write the worst errors into the page, between its two marks."""
    lines = [f"{'':34} " + " ".join(f"{shape:>12}" for shape in SHAPES)]
    for engine, errors in figures["errors"].items():
        worst = " ".join(f"{100 * max(errors[shape]):12.3g}" for shape in SHAPES)
        lines.append(f"{engine:34} {worst}")
    page = HERE.with_suffix(".md")
    before, begin, rest = page.read_text().partition("<!-- worst errors -->\n")
    _, end, after = rest.partition("<!-- end -->\n")
    body = "\n".join(["```text", *lines, "```", ""])
    page.write_text(before + begin + body + end + after)


def main() -> str | None:
    measured = json.loads((HERE / "measured.json").read_text())
    if measured["quick"]:
        return "measured.json is of a quick run: measure again without --quick"
    style()
    midpoint()
    if "accuracy" in measured:
        accuracy(measured["accuracy"])
        table(measured["accuracy"])
    if "array" in measured:
        speed(measured["array"], measured["processes"])
    return None


if __name__ == "__main__":
    sys.exit(main())
