"""The oracle: reads the vendors' own history of their runs, and says what was wrong and what nothing explains.

Ask it again about a soak that is over: ``python -m tests.soak.oracle build/soak/1/history.json``.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.soak.causes import Causes
from tests.soak.history import Attempt, History, Run

LEFT_ALIVE: Final = "run left alive"
STOPPED: Final = "run stopped without a cause"
TWO: Final = "two runs of one attempt at once"
FAILED: Final = "task failed without a cause"
SUCCEEDED: Final = "task succeeded without its run"
NOT_OVER: Final = "Dag run not over"
SINS: Final = (LEFT_ALIVE, STOPPED, TWO, FAILED, SUCCEEDED, NOT_OVER)

GOOD_ENDS: Final = ("Completed", "Success", "completed", "succeeded")
"""The vendors' words for the good end of a run."""


WATCHING: Final = ("deferred", "worker", "mapped")
"""Tasks that wait for the end of their run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or a gap that the documentation names.

    :param sin: one of ``SINS``.
    :param owner: the task instance, as its runs are named.
    :param text: what was seen.
    """

    sin: str
    owner: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the oracle says.

    :param sins: what nothing explains.
    :param gaps: runs left alive that no net but the sweep catches, as docs/explanation/kill-matrix.md says.
    :param stops: how often which cause explained a stop.
    :param failures: how often which cause explained the failure of a task.
    """

    sins: list[Finding]
    gaps: list[Finding]
    stops: Counter[str]
    failures: Counter[str]

    def count(self, sin: str) -> int:
        """Return how many there are of it."""
        return sum(finding.sin == sin for finding in self.sins)


def judge(history: History) -> Verdict:
    """Look at all runs and tasks of a soak that has settled."""
    causes = Causes(history)
    verdict = Verdict([], [], Counter(), Counter())
    for attempt in history.attempts:
        _judge_attempt(attempt, history, causes, verdict)
    for run in history.runs:
        _judge_run(run, causes, verdict)
    verdict.sins.extend(_two_at_once(history.runs))
    over = ("success", "failed")
    verdict.sins.extend(Finding(NOT_OVER, one.name, one.state) for one in history.dag_runs if one.state not in over)
    return verdict


def _judge_attempt(attempt: Attempt, history: History, causes: Causes, verdict: Verdict) -> None:
    if attempt.state in ("failed", "up_for_retry"):
        if cause := causes.of_failure(attempt):
            verdict.failures[cause] += 1
        else:
            verdict.sins.append(Finding(FAILED, attempt.owner, _of_attempt(attempt)))
    elif attempt.state == "success" and attempt.task in WATCHING and not causes.by_person(attempt):
        own = (run for run in history.runs if run.owner == attempt.owner)
        if not any(_ended_well(run, attempt) for run in own):
            verdict.sins.append(Finding(SUCCEEDED, attempt.owner, _of_attempt(attempt)))


def _judge_run(run: Run, causes: Causes, verdict: Verdict) -> None:
    if run.stop_asked and not (run.ended and run.ended < run.stop_asked):
        if cause := causes.of_stop(run):
            verdict.stops[cause] += 1
        else:
            verdict.sins.append(Finding(STOPPED, run.owner, _of_run(run)))
    if run.is_open:
        gap = causes.of_gap(run)
        found = Finding(LEFT_ALIVE, run.owner, f"{_of_run(run)}{f': {gap}' if gap else ''}")
        (verdict.gaps if gap else verdict.sins).append(found)


def _ended_well(run: Run, attempt: Attempt) -> bool:
    return run.state in GOOD_ENDS and bool(run.ended and attempt.ended and run.ended <= attempt.ended)


def _two_at_once(runs: Iterable[Run]) -> Iterator[Finding]:
    """Every attempt of a task instance waits for the end of what the one before has left: no two of one name."""
    of_owner: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.created):
        of_owner[run.owner].append(run)
    for owner, several in of_owner.items():
        for before, after in pairwise(several):
            if before.ended is None or before.ended > after.created:
                yield Finding(TWO, owner, f"{_of_run(before)}; {_of_run(after)}")


def _of_run(run: Run) -> str:
    return (
        f"{run.vendor} {run.id} {run.state}, from {_clock(run.created)} to {_clock(run.ended)}, "
        f"stop asked {_clock(run.stop_asked)}"
    )


def _of_attempt(attempt: Attempt) -> str:
    return (
        f"try {attempt.number}{' (last)' if attempt.is_last else ''} {attempt.state}, "
        f"from {_clock(attempt.started)} to {_clock(attempt.ended)}"
    )


def _clock(moment: datetime | None) -> str:
    return f"{moment:%H:%M:%S}" if moment else "-"


def table(history: History, verdict: Verdict) -> Iterator[str]:
    """Yield the verdict as text."""
    events = Counter(f"{event.kind} {event.target}".strip() for event in history.events)
    yield f"{len(history.dag_runs)} Dag runs, {len(history.attempts)} tries of tasks, {len(history.runs)} runs"
    for title, counts in (
        ("done", events),
        ("stops, by cause", verdict.stops),
        ("failures, by cause", verdict.failures),
    ):
        yield f"{title}:"
        yield from (f"  {number:4}  {name}" for name, number in sorted(counts.items()))
    yield "the oracle:"
    yield from (f"  {verdict.count(sin):4}  {sin}" for sin in SINS)
    yield f"  {len(verdict.gaps):4}  left for the sweep, as documented"
    for finding in verdict.sins:
        yield f"SIN  {finding.sin}: {finding.owner}: {finding.text}"
    for finding in verdict.gaps:
        yield f"GAP  {finding.owner}: {finding.text}"


def main() -> int:
    history = History.load(Path(sys.argv[1]))
    verdict = judge(history)
    print(*table(history, verdict), sep="\n")
    return 1 if verdict.sins else 0


if __name__ == "__main__":
    sys.exit(main())
