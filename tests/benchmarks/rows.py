"""A row of the table: the same work done by us and by another, in one run, and the budget it has to keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

COLUMNS: Final = ("same work", "ours", "other", "other is", "ratio", "budget", "held")


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured, and whether the budget was held. Nothing fails because it was not.

    :param work: what was done.
    :param ours: our figure; ``None`` if it could not be measured.
    :param other: the figure of who did the same; ``None`` if there is nobody, or it could not be measured.
    :param other_is: who that is, or why there is no figure.
    :param unit: of both figures.
    :param budget: in words.
    :param held: ``None`` where there is no budget.
    :param digits: behind the point.
    """

    work: str
    ours: float | None
    other: float | None
    other_is: str
    unit: str
    budget: str = ""
    held: bool | None = None
    digits: int = 1

    @property
    def ratio(self) -> float | None:
        """Ours, divided by the other's."""
        return self.ours / self.other if self.ours is not None and self.other else None

    def cells(self) -> tuple[str, ...]:
        """Return what stands in the columns."""
        ratio = "-" if self.ratio is None else f"{self.ratio:.2f} x"
        held = {None: "-", True: "held", False: "NOT HELD"}[self.held]
        return (
            self.work,
            self._shown(self.ours),
            self._shown(self.other),
            self.other_is,
            ratio,
            self.budget or "-",
            held,
        )

    def _shown(self, figure: float | None) -> str:
        return "-" if figure is None else f"{figure:,.{self.digits}f} {self.unit}".strip()

    def out(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {**asdict(self), "ratio": self.ratio}


@dataclass(frozen=True, slots=True)
class Point:
    """What so many runs cost.

    :param cost: what is measured, as the plot's title has it.
    :param who: who it was measured of.
    :param runs: how many there were.
    :param figure: what they cost.
    :param unit: of that.
    """

    cost: str
    who: str
    runs: int
    figure: float
    unit: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What one family of rows came to."""

    rows: tuple[Row, ...] = ()
    points: tuple[Point, ...] = ()
