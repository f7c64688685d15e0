"""Stops what a Dag run left alive, the starts in flight included."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from airflow_runctl.compat import Channel
from airflow_runctl.control import audit
from airflow_runctl.control.dag_run_records import Found, look_for_handles, owned_by_others
from airflow_runctl.control.garbage import collected_after
from airflow_runctl.control.identity import lists_until, search_lost
from airflow_runctl.control.recording import quietly
from airflow_runctl.control.records import note_intent, search_in
from airflow_runctl.control.remember import remembered
from airflow_runctl.control.seal import Handle, describe, name_of
from airflow_runctl.control.second_home import forget
from airflow_runctl.control.stop import STOP_PATIENCE, StopNote
from airflow_runctl.control.stop_many import Connections, Report, Target, broken, stop_target
from airflow_runctl.control.watched_here import watched_in
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.runs import Ownership, StopOutcome, TaskKey
from airflow_runctl.vendors.base import Started

log = logging.getLogger(__name__)

Doing = Coroutine[Any, Any, "Report | None"]

AtOnce = dict[tuple[TaskKey, object], "asyncio.Task[Report | None]"]
"""Stops that have begun before any handle was read, by task instance and token of the handle."""

LOOK_AGAIN: Final = 1.0
GRACE_SECONDS: Final = 10.0
"""For how long a running task that has said nothing of a start may still come to have a handle."""


@dataclass(frozen=True, slots=True)
class DagRunStop:
    """The stop of what a Dag run left alive.

    :param channel: how this process asks Airflow.
    :param dag_id: the Dag.
    :param run_id: the Dag run.
    :param note: why, and by whom.
    :param task_ids: only these tasks; ``None`` for all.
    :param timeout: seconds in which each stop has to be confirmed; 0 does not wait.
    :param patience: seconds for which starts in flight are waited for.
    :param dry_run: only say what would be stopped.
    :param not_after: when no confirmation is waited for any more (Unix time); each stop is sent all the same.
    """

    channel: Channel
    dag_id: str
    run_id: str
    note: StopNote
    task_ids: frozenset[str] | None = None
    timeout: float = 60.0
    patience: float = 600.0
    dry_run: bool = False
    not_after: float = math.inf

    async def run(self) -> list[Report]:
        """Stop every live run that is recorded, and those whose start is in flight; report on each."""
        connections = Connections(self.channel)
        at_once = self._stop_at_once()
        stopping: dict[TaskKey, asyncio.Task[Report | None]] = {}
        warned: set[TaskKey] = set()
        began = time.time()
        while True:
            looked = []
            # The stop of a run goes out while the handles of the others are still being read.
            async for found in self._look(bool(stopping or at_once)):
                looked.append(found)
                doing = self._what_to_do(connections, found, at_once)
                if doing is not None and found.where not in stopping:
                    stopping[found.where] = _begun(found.where, doing)
            waiting = list(self._worth_waiting(looked, stopping, time.time() - began))
            if self.dry_run or not waiting:
                break
            await self._announce(waiting, warned)
            await asyncio.sleep(LOOK_AGAIN)
        done = [*await asyncio.gather(*stopping.values()), *await asyncio.gather(*at_once.values())]
        reports = [report for report in done if report is not None]
        left = [found for found in looked if found.where not in stopping]
        unread = [Report("its run", found.where, error=found.unread) for found in left if found.unread]
        ambiguous = [
            Report("its run", found.where, error=_one_of(found.candidates)) for found in left if found.candidates
        ]
        return [*reports, *unread, *ambiguous]

    def _stop_at_once(self) -> AtOnce:
        """Begin to stop the runs that this process watches."""
        if self.dry_run:
            return {}
        return {
            (where, target.handle.get("token")): _begun(where, partial(self._stop_target, target))
            for where, target in watched_in(self.dag_id, self.run_id, self.task_ids)
        }

    async def _look(self, stopping: bool) -> AsyncIterator[Found]:
        """Look at the Dag run's tasks; once stops are under way a look that fails must not end them."""
        try:
            async for found in look_for_handles(self.channel, self.dag_id, self.run_id, self.task_ids):
                yield found
        except Exception:
            if not stopping:
                raise
            log.exception("Could not look again for starts in flight")

    def _worth_waiting(self, looked: Iterable[Found], known: Mapping[TaskKey, Any], passed: float) -> Iterable[Found]:
        for found in looked:
            limit = self.patience if found.is_starting else min(self.patience, GRACE_SECONDS)
            if found.may_start and found.where not in known and passed < limit:
                yield found

    async def _announce(self, waiting: Iterable[Found], warned: set[TaskKey]) -> None:
        """Leave the intent where a start is in flight: it then stops its run itself, should we end first."""
        for found in waiting:
            if found.is_starting and found.where not in warned:
                warned.add(found.where)
                log.info("%s is starting a run; it is stopped as soon as it is known", found.where)
                if self.channel.writable:
                    await quietly(
                        "record the intent of a stop", note_intent(self.channel, found.where, self.note, None)
                    )

    def _what_to_do(self, connections: Connections, found: Found, at_once: AtOnce) -> Callable[[], Doing] | None:
        if (handle := found.handle) is not None:
            begun = at_once.pop((found.where, handle.get("token")), None)
            return lambda: self._stop(connections, found.where, handle, begun)
        if (start := found.lost_start) is not None:
            return lambda: self._stop_lost_start(connections, found.where, start)
        return None

    async def _stop(
        self, connections: Connections, where: TaskKey, handle: Handle, begun: asyncio.Task[Report | None] | None
    ) -> Report | None:
        """Stop the run of a handle, unless its stop has begun and does not fail: its connection may have changed."""
        if begun is not None and (report := await begun) is not None and report.error is None:
            return report
        target = await remembered(self.channel, where, self._opened(connections, where, handle))
        if not isinstance(target, Target):
            return target
        name = name_of(target.run)
        if self.dry_run:
            log.info("dry run: %s of %s would be stopped", name, where)
            return Report(name, where)
        return await self._stop_target(target)

    async def _stop_target(self, target: Target) -> Report | None:
        return await stop_target(self.channel, target, self.note, self.timeout, not_after=self.not_after)

    async def _stop_lost_start(self, connections: Connections, where: TaskKey, start: Handle) -> Report | None:
        """Look for the run of a start whose process was lost before it could record it, and stop it."""
        return await remembered(self.channel, where, self._stop_if_it_came_up(connections, where, start))

    async def _stop_if_it_came_up(self, connections: Connections, where: TaskKey, start: Handle) -> Report | None:
        target = await self._opened(connections, where, start)
        if not isinstance(target, Target):
            return target
        name = f"the run that {where} was starting when it was lost"
        try:
            found = await self._search(connections, where, target)
        except RunctlError as error:
            return Report(name, where, error=f"it is not found, and may be alive. {error}")
        if found is None:
            log.info("No run came up of the start that %s was lost in", where)
            if not self.dry_run and target.run.owner is not None:
                await quietly("forget the record of a start", forget(self.channel, target.run.owner))
            return None
        if self.dry_run:
            log.info("dry run: %s of %s would be stopped", found.run_id, where)
            return Report(name, where)
        run = replace(target.run, run_id=found.run_id, ids=found.ids)
        audit.found(run, self.note.by)
        target = replace(target, run=run)
        report = await self._stop_target(target)
        if self.channel.writable and report is not None and report.result is not None and report.result.is_over:
            # No record of it was open that stop_target() could have closed.
            audit.ended(run, report.result.status, self.note.by, stopped=report.result.outcome is StopOutcome.STOPPED)
        return report

    async def _search(self, connections: Connections, where: TaskKey, target: Target) -> Started | None:
        """Look for the run of a start; again for a while, since it need not be listed at once."""
        start, access = target.run, target.access

        async def owned(run_ids: frozenset[str]) -> frozenset[str]:
            return run_ids & await owned_by_others(self.channel, connections, where)

        until = min(lists_until(start.started_at), time.time() + self.patience)
        flow = search_lost(access.vendor, search_in(start), start.started_at, until=until)
        return await access.adrive(flow, STOP_PATIENCE, owned=owned)

    async def _opened(self, connections: Connections, where: TaskKey, handle: Handle) -> Target | Report | None:
        """Open a handle; a report says that it cannot be, ``None`` that its run belongs to nobody."""
        name = describe(handle)
        try:
            target = await connections.open(handle, where)
        except RunctlError as error:
            log.error("%s: %s", where, error)
            audit.refused_unread("stop", where, self.note.by, error)
            return Report(name, where, error=str(error))
        owner = target.run.owner
        if owner is not None and owner.ownership is Ownership.NOBODY:
            log.info("%s was started with leave_running=True; it is left alone", name_of(target.run))
            return None
        return target


def _one_of(candidates: Iterable[str]) -> str:
    return f"it is one of {', '.join(candidates)}, and nothing tells which. They may be alive; none was stopped."


def _begun(where: TaskKey, doing: Callable[[], Doing]) -> asyncio.Task[Report | None]:
    """Begin what one task's run needs."""
    return collected_after(asyncio.create_task(_walled(where, doing)))


async def _walled(where: TaskKey, doing: Callable[[], Doing]) -> Report | None:
    """Do what one task's run needs; whatever that raises is its own report."""
    try:
        return await doing()
    except Exception as error:
        return broken(f"the run of {where}", where, error)
