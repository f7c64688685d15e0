"""Watches 100, 1,000 and 10,000 runs at the default interval: how cost grows with the number of runs.

What stopping costs at these sizes is in the points of ``stopping``.
"""

from __future__ import annotations

from typing import Final

from tests.benchmarks.rows import Measured, Point
from tests.benchmarks.watching import BARE, OURS, watch
from tests.servers.many_runs import ManyRunsElsewhere

SIZES: Final = (100, 1_000, 10_000)
INTERVAL: Final = 10.0


def measure(sizes: tuple[int, ...] = SIZES, interval: float = INTERVAL) -> Measured:
    """Measure both, for one interval, in which each run is looked at once."""
    points = []
    with ManyRunsElsewhere() as server:
        for runs in sizes:
            for who in (OURS, BARE):
                cost = watch(server, who, runs, interval, interval)
                points += [
                    Point("CPU to look at all once", who, runs, cost.cpu * runs / 1_000, "s"),
                    Point("HTTP requests to look at all once", who, runs, cost.requests_per_poll * runs, ""),
                    Point("event loop held up, worst", who, runs, cost.worst, "ms"),
                    Point("memory of all watched", who, runs, cost.memory * runs / 1_024, "MiB"),
                ]
    return Measured(points=tuple(points))
