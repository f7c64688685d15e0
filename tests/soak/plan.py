"""What will happen in a soak, second by second: a pure function of seed and minutes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

VENDORS: Final = ("snaplogic", "axiom", "vectorshift", "bctrl")
WORKERS: Final = ("worker-1", "worker-2")
TRIGGERERS: Final = ("triggerer", "triggerer-2")
ALONE: Final = ("scheduler", "dag-processor", "api-server")
COMPONENTS: Final = (*WORKERS, *TRIGGERERS, *ALONE)

KINDS: Final = ("plain", "plain", "plain", "mapped", "deadline", "limits", "restart", "released", "bare")
"""Kinds of Dag runs (``dags/soak.py``), as often as they are dealt."""

HANG: Final = ("deadline", "limits", "released")
"""Kinds whose runs never end by themselves."""

STALL_SECONDS: Final = 25.0
AWAY_SECONDS: Final = 60.0
AWAY_KINDS: Final = ("status", "cut", "hang")
FIRST_FAULT: Final = 40.0
FAULT_GAPS: Final = (10.0, 25.0)
DAG_RUN_GAPS: Final = (12.0, 22.0)
RUN_SECONDS: Final = (15.0, 75.0)

Dealt = TypeVar("Dealt")


@dataclass(frozen=True, slots=True)
class DagRun:
    """A Dag run that is to begin.

    :param at: seconds from the beginning of the soak.
    :param name: its run id, which the names of its runs at the vendor begin with.
    :param kind: which Dag, with ``vendor``.
    :param run_seconds: how long its runs take at the vendor; None for ever.
    """

    at: float
    name: str
    kind: str
    vendor: str
    run_seconds: float | None

    def line(self) -> str:
        """Return it as text."""
        ends = "hangs" if self.run_seconds is None else f"{self.run_seconds:.0f} s"
        return f"Dag run {self.name}: {self.kind}, {self.vendor}, {ends}"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is to go wrong, or that a person does.

    :param at: seconds from the beginning of the soak.
    :param kind: ``kill-task``, ``kill``, ``stall``, ``restart-database``, ``vendor-away``, ``clear``, ``mark-failed``,
        ``mark-success`` or ``fail-dag-run``.
    :param target: the component or the vendor, where the plan can name it.
    :param pick: from 0 to 1: which of the tasks there are then, where it cannot.
    :param seconds: how long it lasts.
    :param how: the fault of the sandbox.
    """

    at: float
    kind: str
    target: str = ""
    pick: float = 0.0
    seconds: float = 0.0
    how: str = ""

    def line(self) -> str:
        """Return it as text."""
        which = self.target or f"task at {self.pick:.3f}"
        how = f" ({self.how})" if self.how else ""
        return f"{self.kind} {which}{how}{f' for {self.seconds:.0f} s' if self.seconds else ''}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Both, in the order of their times."""

    seed: int
    minutes: float
    dag_runs: Sequence[DagRun]
    faults: Sequence[Fault]

    def lines(self) -> Iterator[str]:
        """Yield the plan as text."""
        counts = f"{len(self.dag_runs)} Dag runs, {len(self.faults)} faults"
        yield f"Plan of seed {self.seed}, {self.minutes:g} min: {counts}"
        lines = [(run.at, run.line()) for run in self.dag_runs] + [(fault.at, fault.line()) for fault in self.faults]
        yield from (f"{at:7.1f}  {line}" for at, line in sorted(lines))


def plan(seed: int, minutes: float) -> Plan:
    """Return what will happen. The first minutes of a longer plan of the same seed are those of a shorter one."""
    until = minutes * 60
    return Plan(seed, minutes, tuple(_dag_runs(seed, until)), tuple(_faults(seed, until)))


def _dag_runs(seed: int, until: float) -> Iterator[DagRun]:
    random = Random(f"Dag runs {seed}")
    kinds, vendors = _dealt(random, KINDS), _dealt(random, VENDORS)
    for number, at in enumerate(_times(random, 0.0, DAG_RUN_GAPS, until), 1):
        kind, seconds = next(kinds), round(random.uniform(*RUN_SECONDS), 1)
        yield DagRun(at, f"s{number:03}", kind, next(vendors), None if kind in HANG else seconds)


def _faults(seed: int, until: float) -> Iterator[Fault]:
    random = Random(f"faults {seed}")
    cards = _dealt(random, _CARDS)
    vendors, ways = _dealt(random, VENDORS), _dealt(random, AWAY_KINDS)
    for at in _times(random, FIRST_FAULT, FAULT_GAPS, until):
        kind, target = next(cards)
        pick = round(random.random(), 3)
        if kind == "vendor-away":
            yield Fault(at, kind, next(vendors), seconds=AWAY_SECONDS, how=next(ways))
        elif kind in ("kill", "stall"):
            yield Fault(at, kind, target, seconds=STALL_SECONDS if kind == "stall" else 0.0)
        else:
            yield Fault(at, kind, target, pick=pick)


_CARDS: Final = (
    *(("kill-task", "") for _ in range(4)),
    *(("kill", component) for component in COMPONENTS),
    *(("stall", component) for component in COMPONENTS),
    ("restart-database", "postgresql"),
    *(("vendor-away", "") for _ in range(2)),
    *((kind, "") for kind in ("clear", "clear", "clear", "mark-failed", "mark-failed", "mark-success", "fail-dag-run")),
)


def _times(random: Random, at: float, gaps: tuple[float, float], until: float) -> Iterator[float]:
    while at < until:
        yield round(at, 1)
        at += random.uniform(*gaps)


def _dealt(random: Random, cards: Sequence[Dealt]) -> Iterator[Dealt]:
    """Deal all of them before one comes again, so that a short soak has something of everything."""
    while True:
        yield from random.sample(cards, len(cards))
