"""What may explain that a task failed, that a run was stopped, or that a run was left: a row of rules for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from tests.soak.dags import soak_limits
from tests.soak.history import Attempt, DagRun, Event, History, Run

DEADLINE: Final = timedelta(seconds=soak_limits.DEADLINE)
MAX_RUNTIME: Final = timedelta(seconds=soak_limits.MAX_RUNTIME)
EXECUTION_TIMEOUT: Final = timedelta(seconds=soak_limits.EXECUTION_TIMEOUT)
BACKSTOP: Final = timedelta(seconds=soak_limits.BACKSTOP)

SLACK: Final = timedelta(seconds=1)
"""Between an event and what Airflow stores of it: one machine, one clock."""

LEAD: Final = timedelta(seconds=5)
"""``max_runtime`` counts from when the start was sent; on a busy machine the vendor makes the run seconds later."""

PATIENT: Final = timedelta(seconds=5)
"""An act of a person that took longer was sent again: Airflow's API was away."""

QUEUED: Final = timedelta(seconds=50)
"""A message that was lost with a worker fails its task after ``task_queued_timeout`` or later."""

AFTER_AWAY: Final = 60.0
"""Seconds after Airflow was away in which a task can fail for it: requests that were under way give up later."""

STOPS_AFTER_FAILURE: Final = timedelta(seconds=soak_limits.STOP_TIMEOUT)
"""In which a task that fails stops its run."""

CALLBACK: Final = timedelta(seconds=75)
"""After the end of a Dag run in which its callback runs in the Dag processor."""

BY_PERSON: Final = ("clear", "mark-failed", "mark-success")


class Causes:
    """Finds causes in a history."""

    def __init__(self, history: History) -> None:
        self._events: dict[str, list[Event]] = defaultdict(list)
        for event in history.events:
            self._events[event.kind].append(event)
        self._dag_runs = {run.name: run for run in history.dag_runs}
        self._attempts: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in history.attempts:
            self._attempts[attempt.owner].append(attempt)
        self._runs: dict[str, list[Run]] = defaultdict(list)
        for run in history.runs:
            self._runs[run.owner].append(run)

    # --- a task that failed ---

    def of_failure(self, attempt: Attempt) -> str | None:
        """Return why a try failed; None if nothing explains it."""
        rules: tuple[Callable[[Attempt], str | None], ...] = (
            self._killed,
            self.by_person,
            self._deadline,
            self._limit,
            self._start_met_absence,
            self._lost_in_queue,
            self._airflow_away,
        )
        return next((cause for rule in rules if (cause := rule(attempt))), None)

    def _killed(self, attempt: Attempt) -> str | None:
        for event in (*self._events["kill-task"], *self._events["kill"]):
            there = attempt.id in event.attempts or (attempt.pid in event.pids and _lived(attempt, event.at))
            if there:
                return "its process was killed" if event.kind == "kill-task" else "its worker was killed"
        return None

    def by_person(self, attempt: Attempt) -> str | None:
        """Return what a person did that ended a try.

        The clear that made this try does not explain its end: it was asked for before the try was queued.
        """
        began = attempt.queued or attempt.started
        acts = [
            event
            for event in self._of_people(attempt.owner, attempt.dag_run)
            if (attempt.ended is None or event.at <= attempt.ended + SLACK) and (not began or _done(event) >= began)
        ]
        return max(acts, key=lambda event: event.at).kind if acts else None

    def _of_people(self, owner: str, dag_run: str) -> Iterator[Event]:
        for kind in BY_PERSON:
            yield from (event for event in self._events[kind] if event.owner == owner)
        yield from (event for event in self._events["fail-dag-run"] if event.dag_run == dag_run)

    def _deadline(self, attempt: Attempt) -> str | None:
        before = [one.ended for one in self._attempts[attempt.owner] if one.number < attempt.number]
        late = attempt.ended and self._is_late(self._dag_runs[attempt.dag_run], attempt.ended, before)
        return "deadline" if late else None

    def _is_late(self, dag_run: DagRun, moment: datetime, before: Iterable[datetime | None]) -> bool:
        """Tell whether a deadline has passed. Each clear of one of its tasks lets Airflow count it anew.

        A clear that was under way when the deadline passed may have come too late for it.

        :param before: ends of what this task instance did earlier: a deadline that had passed by then is over.
        """
        if dag_run.kind != "deadline" or dag_run.queued is None:
            return False
        cleared = [each for each in self._events["clear"] if each.owner.startswith(f"{dag_run.name}-")]
        clears = [each.at for each in cleared]
        done = [each.until or each.at for each in cleared]
        since = max(filter(None, before), default=dag_run.queued)
        in_force = max([dag_run.queued, *(clear for clear in clears if clear <= since)])
        return any(
            in_force <= count
            and count + DEADLINE - SLACK <= moment
            and not any(count < clear < count + DEADLINE - SLACK for clear in done)
            for count in (dag_run.queued, *clears)
        )

    def _limit(self, attempt: Attempt) -> str | None:
        kind, ended = self._dag_runs[attempt.dag_run].kind, attempt.ended
        if ended is None:
            return None
        if kind == "limits" and attempt.task == "worker":
            over = attempt.started is not None and ended >= attempt.started + EXECUTION_TIMEOUT - SLACK
            return "execution_timeout" if over else None
        longest = {"limits": MAX_RUNTIME, "deadline": BACKSTOP}.get(kind)
        if longest and any(ended >= run.created + longest - LEAD for run in self._runs[attempt.owner]):
            return "max_runtime"
        return None

    def _start_met_absence(self, attempt: Attempt) -> str | None:
        """A start fails while its vendor is away. A run that is watched by then rides it out."""
        vendor = self._dag_runs[attempt.dag_run].vendor
        for away in self._events["vendor-away"]:
            if away.target != vendor or attempt.ended is None or not away.covers(attempt.ended, AFTER_AWAY):
                continue
            if not any(_alive_at(run, away.at) for run in self._runs[attempt.owner]):
                return "its start met a vendor that was away"
        return None

    def _lost_in_queue(self, attempt: Attempt) -> str | None:
        ended = attempt.ended
        for event in self._events["kill"]:
            if event.target.startswith("worker") and ended and ended >= event.at + QUEUED and attempt.started is None:
                return "its message was lost with a worker"
        return None

    def _airflow_away(self, attempt: Attempt) -> str | None:
        if attempt.ended and any(away.covers(attempt.ended, AFTER_AWAY) for away in self._events["airflow-away"]):
            return "Airflow's API or database was away"
        return None

    # --- a run that was stopped ---

    def of_stop(self, run: Run) -> str | None:
        """Return why a run was asked to stop; None if nothing explains it."""
        assert run.stop_asked is not None
        dag_run = self._dag_run_of(run)
        if dag_run is None:
            return None
        rules: tuple[Callable[[Run, DagRun, datetime], str | None], ...] = (
            self._stop_by_person,
            self._stop_by_deadline,
            self._stop_by_limit,
            self._stop_by_dag_run,
            self._stop_by_restart,
            self._stop_by_failure,
        )
        return next((cause for rule in rules if (cause := rule(run, dag_run, run.stop_asked))), None)

    def _dag_run_of(self, run: Run) -> DagRun | None:
        return self._dag_runs.get(run.owner.partition("-")[0])

    def _stop_by_person(self, run: Run, dag_run: DagRun, asked: datetime) -> str | None:
        for event in self._of_people(run.owner, dag_run.name):
            # One that comes while the start is in flight comes before the run.
            watching = [one.started for one in self._attempts[run.owner] if one.started and _watched(one, run)]
            began = min(watching, default=run.created)
            if began - SLACK <= (event.until or event.at) and event.at <= asked:
                return event.kind
        return None

    def _stop_by_deadline(self, run: Run, dag_run: DagRun, asked: datetime) -> str | None:
        before = [one.ended for one in self._runs[run.owner] if one.created < run.created]
        return "deadline" if self._is_late(dag_run, asked, before) else None

    def _stop_by_limit(self, run: Run, dag_run: DagRun, asked: datetime) -> str | None:
        if dag_run.kind == "limits" and run.owner.endswith("-worker"):
            watching = [one.started for one in self._attempts[run.owner] if one.started and one.started <= asked]
            late = any(asked >= started + EXECUTION_TIMEOUT - SLACK for started in watching[-1:])
            return "execution_timeout" if late else None
        longest = {"limits": MAX_RUNTIME, "deadline": BACKSTOP}.get(dag_run.kind)
        return "max_runtime" if longest and asked >= run.created + longest - LEAD else None

    def _stop_by_dag_run(self, run: Run, dag_run: DagRun, asked: datetime) -> str | None:
        nets = dag_run.kind != "bare"
        return "its Dag run was over" if nets and dag_run.ended and asked >= dag_run.ended - SLACK else None

    def _stop_by_restart(self, run: Run, dag_run: DagRun, asked: datetime) -> str | None:
        lost = (
            one.ended and run.created - SLACK <= one.ended <= asked and self.of_failure(one)
            for one in self._attempts[run.owner]
        )
        return "on_retry=restart" if dag_run.kind == "restart" and any(lost) else None

    def _stop_by_failure(self, run: Run, dag_run: DagRun, asked: datetime) -> str | None:
        """A task that fails for a reason of its own stops its run; one whose process is killed cannot."""
        for one in self._attempts[run.owner]:
            if one.started and one.ended and one.started <= asked <= one.ended + STOPS_AFTER_FAILURE:
                cause = self.of_failure(one) if one.state == "failed" else None
                if cause and not cause.endswith("killed"):
                    return f"its task failed: {cause}"
        return None

    # --- a run that was left ---

    def of_gap(self, run: Run) -> str | None:
        """Return why no net but the sweep catches a run (docs/explanation/kill-matrix.md); None if one should have."""
        dag_run, attempts = self._dag_run_of(run), self._attempts[run.owner]
        if dag_run is None or not attempts:
            return None
        if dag_run.kind == "bare" and self.of_failure(attempts[-1]):
            return "its last try was lost or marked, in a Dag without callbacks"
        end = dag_run.ended
        if end is None:
            return None
        if any(away.covers(end, 0) for away in self._events["vendor-away"] if away.target == run.vendor):
            return "its vendor was away when its Dag run ended"
        for event in (*self._events["kill"], *self._events["stall"]):
            if event.target == "dag-processor" and end - SLACK <= (event.until or event.at) <= end + CALLBACK:
                return "the Dag processor was lost with the callback of its Dag run"
        return None


def _lived(attempt: Attempt, moment: datetime) -> bool:
    began = attempt.started or attempt.queued
    return (began is None or began <= moment + SLACK) and (attempt.ended is None or moment - SLACK <= attempt.ended)


def _done(event: Event) -> datetime:
    until = event.until or event.at
    return event.at if until - event.at < PATIENT else until


def _watched(attempt: Attempt, run: Run) -> bool:
    if attempt.started is None or attempt.started > (run.ended or attempt.started):
        return False
    return attempt.ended is None or attempt.ended >= run.created


def _alive_at(run: Run, moment: datetime) -> bool:
    return run.created < moment and (run.ended is None or run.ended > moment)
