"""``StopRunsNotifier``: stops live runs when a deadline passes, an SLA is missed or something fails."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_runctl.arguments.reading import odd_among_given, read_given, read_rendered
from airflow_runctl.compat import (
    BaseNotifier,
    Channel,
    TriggererChannel,
    callback_channel,
    dag_file_seconds,
    in_dag_processor,
    unfinished_dag_runs,
)
from airflow_runctl.control.readiness import loaded
from airflow_runctl.control.stop import STOP_TIMEOUT, StopNote
from airflow_runctl.control.stop_dag_run import DagRunStop
from airflow_runctl.control.stop_many import Report, broken, failures
from airflow_runctl.control.task_names import named_among, tasks_in, unknown_among
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.runs import StopReason

if TYPE_CHECKING:
    from airflow.sdk import Context

START_PATIENCE: Final = 600.0
"""Seconds for which a start in flight is waited for in the triggerer; then the task stops its run itself."""

WORKER_PATIENCE: Final = 30.0

DAG_PROCESSOR_MARGIN: Final = 10.0
"""Seconds that a callback in the Dag processor leaves of ``dag_file_processor_timeout``."""


UNGUESSED: Final = frozenset({"task_ids", "dry_run"})
"""Arguments without which nobody can say what is to be stopped."""

TASKS_SHOWN: Final = 20


class StopRunsNotifier(BaseNotifier):
    """Stops every live run that is recorded in the Dag run, all at once.

    Give it to a deadline as ``DeadlineAlert(callback=AsyncCallback(StopRunsNotifier, kwargs={...}))``, or to a
    task or Dag as ``on_failure_callback=StopRunsNotifier()``, to a Dag also as ``on_success_callback``. Wherever
    it is called it acts on the whole Dag run; ``task_ids`` narrows it.

    On Airflow 2.11 it also serves as ``sla_miss_callback=StopRunsNotifier()``. There it acts on the tasks that
    missed their SLA, in every unfinished Dag run that is late: Airflow names the interval after the one that hangs.

    A run that is stopped by it is not started again by a retry. A task that is starting a run at that moment
    is waited for. Runs started with ``leave_running=True`` are left alone.

    :param task_ids: only the runs of these tasks, or of the tasks in these groups; of all by default. A name that the
        Dag run has not is an error, once the others' runs are stopped. (templated; the text of a list is a list)
    :param stop_reason: a text for the logs and the audit record. (templated)
    :param wait_for_stop: wait until each run is seen to be over; True by default.
    :param stop_timeout: seconds (a number, or a timedelta) in which a stop has to be confirmed, 60 by default.
    :param dry_run: only log what would be stopped.
    :param context: given by Airflow.
    """

    template_fields: Sequence[str] = ("task_ids", "stop_reason")

    def __init__(
        self,
        task_ids: Sequence[str] | str | None = None,
        stop_reason: str | None = None,
        wait_for_stop: bool = True,
        stop_timeout: float | timedelta = STOP_TIMEOUT,
        dry_run: bool = False,
        context: Context | None = None,
    ) -> None:
        super().__init__(context=context)
        self.task_ids: Any = task_ids
        self.stop_reason = stop_reason
        self.wait_for_stop = wait_for_stop
        self.stop_timeout: Any = stop_timeout
        self.dry_run = dry_run
        self._odd: Mapping[str, RunctlError] = {}
        if context is None:
            read_given(self, StopRunsNotifier)
        else:
            # At a deadline, of which nobody has looked at the arguments before: first the runs are stopped.
            self._odd = odd_among_given(self, StopRunsNotifier)

    async def async_notify(self, context: Context) -> str:  # type: ignore[override]
        """Stop the runs, from the triggerer.

        :returns: JSON text, which Airflow stores as the callback's output (it takes nothing but text, and its
            triggerer dies of anything else): for each run ``run``, ``task``, ``outcome``, ``seconds``, ``error``.
        :raises RunctlError: if a run may still be alive.
        """
        self._read_rendered()
        await loaded()
        channel = TriggererChannel()
        meant = await self._meant(context, channel)
        (stop,) = self._stops(meant, context, channel, "deadline callback", START_PATIENCE)
        return json.dumps(self._said(await stop.run(), meant))

    def notify(self, context: Context) -> None:
        """Stop the runs, from the worker or the Dag processor.

        :raises RunctlError: if a run may still be alive; and at once in a deadline's ``SyncCallback``, whose
            process can read no XCom and would hang for ever.
        """
        if "deadline" in context:
            raise RunctlError(
                "StopRunsNotifier cannot work in a SyncCallback: its process cannot read the handles of the runs. "
                "Nothing was stopped. Use DeadlineAlert(callback=AsyncCallback(StopRunsNotifier, kwargs={...})); it "
                "runs in the triggerer."
            )
        from airflow_runctl.transport.aio import in_own_loop

        in_own_loop(self._stop_here(context))

    async def _stop_here(self, context: Mapping[str, Any]) -> None:
        self._read_rendered()
        channel, by, patience, not_after = callback_channel(), "worker callback", WORKER_PATIENCE, math.inf
        if in_dag_processor():
            seconds = max(1.0, dag_file_seconds() - DAG_PROCESSOR_MARGIN)
            by, patience, not_after = "Dag processor", min(seconds, patience), time.time() + seconds
        meant = await self._meant(context, channel)
        stops = self._stops(meant, context, channel, by, patience / 2, not_after)
        came = await asyncio.gather(*(stop.run() for stop in stops), return_exceptions=True)
        self._said([report for stop, found in zip(stops, came, strict=True) for report in _reports(stop, found)], meant)

    def _read_rendered(self) -> None:
        """Read what came out of the templates; refuse to guess which runs are meant, and if any.

        :raises RunctlError: if ``task_ids`` or ``dry_run`` is not what it has to be.
        """
        read_rendered(self)
        for name in UNGUESSED & self._odd.keys():
            raise RunctlError(f"{self._odd[name]} Nothing was stopped.")

    def _stops(
        self,
        meant: Meant,
        context: Mapping[str, Any],
        channel: Channel,
        by: str,
        patience: float,
        not_after: float = math.inf,
    ) -> list[DagRunStop]:
        note = StopNote(_reason(context), by, self.stop_reason, since=_since(context))
        timeout = self.stop_timeout if self.wait_for_stop else 0.0
        return [
            DagRunStop(channel, dag_id, run_id, note, task_ids, timeout, patience, self.dry_run, not_after)
            for dag_id, run_id, task_ids in meant.dag_runs
        ]

    async def _meant(self, context: Mapping[str, Any], channel: Channel) -> Meant:
        """Return the Dag runs and tasks that are to be stopped, and which of ``task_ids`` are no tasks there."""
        if "slas" in context:
            return self._late(context)
        dag_id, run_id = _dag_run_of(context)
        if self.task_ids is None:
            return Meant([(dag_id, run_id, None)])
        wanted = _listed(self.task_ids)
        there = await self._tasks_there(context, channel, wanted)
        return Meant([(dag_id, run_id, named_among(wanted, there))], unknown_among(wanted, there), there)

    async def _tasks_there(
        self, context: Mapping[str, Any], channel: Channel, wanted: frozenset[str]
    ) -> frozenset[str]:
        """Return the tasks that there are.

        The Dag knows them where the context has it: on the worker, in the Dag processor, at an SLA miss. What it does
        not know (it may have changed since), and everything at a deadline, is looked for among the states of the Dag
        run's tasks.
        """
        there = _tasks_of(context)
        if there and not unknown_among(wanted, there):
            return there
        try:
            return there | tasks_in(await channel.task_states(*_dag_run_of(context)))
        except Exception:
            if not there:
                raise
            self.log.exception("Could not look for tasks that the Dag does not know")
            return there

    def _late(self, context: Mapping[str, Any]) -> Meant:
        """Return what an SLA miss of Airflow 2.11 means: late tasks, in each unfinished Dag run that is late.

        It names tasks and dates: that of the interval after the one that hangs. A task's SLA counts from the end of
        the data interval, so what is late are its runs in Dag runs whose interval was over by then.
        """
        missed: dict[str, Any] = {}
        for sla in context["slas"]:
            missed[sla.task_id] = max(sla.execution_date, missed.get(sla.task_id, sla.execution_date))
        there = _tasks_of(context) | missed.keys()
        wanted = there if self.task_ids is None else _listed(self.task_ids)
        meant = Meant([], unknown_among(wanted, there), there)
        dag_id = context["dag"].dag_id
        for run_id, due in unfinished_dag_runs(dag_id).items():
            late = frozenset(task_id for task_id, date in missed.items() if due <= date)
            if late := late & named_among(wanted, there):
                meant.dag_runs.append((dag_id, run_id, late))
        return meant

    def _said(self, reports: list[Report], meant: Meant) -> list[dict[str, Any]]:
        """Log the sum, and raise if a run may still be alive, one that was named wrongly too: a failure is seen."""
        told = f"{len(reports)} runs {'would be stopped' if self.dry_run else 'were told to stop'}"
        self.log.info("%s", told)
        said = failures(reports, confirmed=self.wait_for_stop)
        if meant.unknown:
            said.append(f"{meant.about()}. Of the others {told}.")
        said += [f"{error} The default was taken instead." for error in self._odd.values()]
        if said:
            raise RunctlError("Not every run was stopped. " + " ".join(said))
        return [report.out() for report in reports]


@dataclass(frozen=True, slots=True)
class Meant:
    """What is to be stopped.

    :param dag_runs: Dag id, run id and task ids (``None`` for all).
    :param unknown: what of ``task_ids`` is no task there.
    :param there: the tasks that are.
    """

    dag_runs: list[tuple[str, str, frozenset[str] | None]]
    unknown: frozenset[str] = frozenset()
    there: frozenset[str] = frozenset()

    def about(self) -> str:
        """Say which names are unknown, and what there is instead."""
        some = sorted(self.there)[:TASKS_SHOWN]
        more = f" and {len(self.there) - len(some)} more" if len(self.there) > len(some) else ""
        return (
            f"task_ids names {', '.join(map(repr, sorted(self.unknown)))}, which is no task of this Dag run; "
            f"there are {', '.join(some) or 'none'}{more}"
        )


def _listed(task_ids: Any) -> frozenset[str]:
    return frozenset([task_ids] if isinstance(task_ids, str) else task_ids)


def _tasks_of(context: Mapping[str, Any]) -> frozenset[str]:
    """Return the tasks of the Dag in the context, if it has one."""
    return frozenset(getattr(context.get("dag"), "task_ids", ()))


def _reports(stop: DagRunStop, came: list[Report] | BaseException) -> list[Report]:
    """Return the reports on a Dag run; that it could not be looked at is one, and keeps no other from its stops."""
    if isinstance(came, Exception):
        return [broken(f"what {stop.dag_id}/{stop.run_id} has running", None, came)]
    if isinstance(came, BaseException):
        raise came
    return came


def _dag_run_of(context: Mapping[str, Any]) -> tuple[str, str]:
    """Return the Dag id and the run id, whichever form of context this is."""
    dag_run = context.get("dag_run")
    if isinstance(dag_run, Mapping):  # a deadline's
        return str(dag_run["dag_id"]), str(dag_run.get("dag_run_id") or dag_run["run_id"])
    if dag_run is not None:
        return dag_run.dag_id, dag_run.run_id
    return context["dag"].dag_id, context["run_id"]


def _since(context: Mapping[str, Any]) -> float | None:
    """Return when a deadline passed (Unix time), if this is one."""
    deadline = context.get("deadline")
    moment = deadline.get("deadline_time") if isinstance(deadline, Mapping) else None
    if isinstance(moment, str):
        with suppress(ValueError):
            moment = datetime.fromisoformat(moment)
    return moment.timestamp() if isinstance(moment, datetime) else None


def _reason(context: Mapping[str, Any]) -> StopReason:
    if "deadline" in context:
        return StopReason.DEADLINE
    if "slas" in context:
        return StopReason.SLA
    return StopReason.DAG_RUN_ENDED if context.get("reason") == "success" else StopReason.FAILURE
