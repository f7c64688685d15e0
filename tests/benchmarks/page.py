"""The table as a terminal shows it, and in docs/explanation/performance.md, between two marks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.benchmarks.rows import COLUMNS, Point, Row

PAGE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "performance.md"
BEGIN: Final = "<!-- figures: make bench PAGE=1 writes them -->"
END: Final = "<!-- end of the figures -->"
WIDTH: Final = 150
STYLES: Final = {"held": "green", "NOT HELD": "bold red", "-": ""}


def show(rows: Iterable[Row], points: Iterable[Point]) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    table = Table(*COLUMNS)
    for row in rows:
        *cells, held = row.cells()
        table.add_row(*cells, f"[{STYLES[held]}]{held}" if STYLES[held] else held)
    if table.row_count:
        console.print(table)
    heads, lines = growth(points)
    if lines:
        grown = Table(*heads, title="how cost grows with the number of runs")
        for line in lines:
            grown.add_row(*line)
        console.print(grown)


def growth(points: Iterable[Point]) -> tuple[list[str], list[list[str]]]:
    """Return heads and lines of the table of costs: a column for each number of runs."""
    points = list(points)
    sizes = sorted({point.runs for point in points})
    figures = {(point.cost, point.who, point.runs): shown(point) for point in points}
    costs = list(dict.fromkeys(point.cost for point in points))
    kinds = sorted(
        {(point.cost, point.who) for point in points}, key=lambda kind: (costs.index(kind[0]), kind[1] != "ours")
    )
    lines = [[*kind, *(figures.get((*kind, runs), "-") for runs in sizes)] for kind in kinds]
    return ["cost", "of", *(f"{runs:,} runs" for runs in sizes)], lines


def shown(point: Point) -> str:
    """Return a figure with about three digits, and its unit."""
    digits = 2 if point.figure < 10 else 1 if point.figure < 100 else 0
    return f"{point.figure:,.{digits}f} {point.unit}".strip()


def markdown(machine: dict[str, str], rows: Iterable[Row], points: Iterable[Point]) -> str:
    """Return what stands on the page between the marks."""
    on = "; ".join(f"{name}: {what}" for name, what in machine.items())
    table = _table(COLUMNS, [list(row.cells()) for row in rows])
    return f"{on}.\n\n{table}\n\n{_table(*growth(points))}"


def write(text: str, page: Path = PAGE) -> None:
    """Put ``text`` between the marks of the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _table(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    return "\n".join(_line(cells) for cells in (heads, ["---"] * len(heads), *lines))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
