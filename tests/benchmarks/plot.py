"""Draws how cost grows with the number of runs: docs/explanation/performance.png."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.rows import Point

FILE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "performance.png"
LOOKS: Final[dict[str, dict[str, Any]]] = {
    # Broad and below: where both cost the same, both are seen.
    "bare aiohttp": {"color": "#e8a33d", "marker": "s", "markersize": 9, "linewidth": 4, "zorder": 3},
    "ours": {"color": "#1f4fa3", "marker": "o", "markersize": 5, "linewidth": 1.8, "zorder": 4},
}
GREY: Final = "#9aa0a6"
COLUMNS: Final = 2


def draw(points: Iterable[Point], file: Path = FILE) -> Path:
    """Draw a panel for each cost, both axes logarithmic; return the file."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    points = [point for point in points if point.figure > 0]
    costs = list(dict.fromkeys(point.cost for point in points))
    lines = -(-len(costs) // COLUMNS)
    figure, panels = pyplot.subplots(lines, COLUMNS, figsize=(10, 3.6 * lines), squeeze=False)
    for panel, cost in zip(panels.flat, costs, strict=False):
        _panel(panel, cost, [point for point in points if point.cost == cost])
    for panel in panels.flat[len(costs) :]:
        panel.axis("off")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
    return file


def _panel(panel: Any, cost: str, points: list[Point]) -> None:
    from matplotlib.ticker import FuncFormatter

    for who, look in LOOKS.items():
        line = sorted((point.runs, point.figure) for point in points if point.who == who)
        runs, figures = zip(*line, strict=True)
        panel.plot(runs, figures, label=who, **look)
    # What grows with the number of runs, and not faster, runs along this.
    ours = sorted((point.runs, point.figure) for point in points if point.who == "ours")
    (least, figure), (most, _) = ours[0], ours[-1]
    steady = (figure, figure * most / least)
    panel.plot((least, most), steady, "--", color=GREY, linewidth=1, label="ten times the runs, ten times ours")
    panel.set(xscale="log", yscale="log", xlabel="runs", ylabel=points[0].unit)
    panel.set_title(cost, fontsize=11)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda runs, _: f"{runs:,.0f}"))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda figure, _: f"{figure:,g}"))
    panel.set_xticks(sorted({point.runs for point in points}))
    panel.grid(visible=True, which="major", color="#e3e5e8")
    panel.spines[["top", "right"]].set_visible(False)
