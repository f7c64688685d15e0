"""Stops many runs at once: those that a Dag run left, or those that a task was handed.

Every run has a flow of its own; all are under way together, so that the first request to stop each of
them is out before anybody waits for a confirmation.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from airflow_runctl.compat import Channel
from airflow_runctl.control.ledger import (
    AUDIT_KEY,
    LISTED_AFTER,
    Found,
    audit_of,
    look_for_handles,
    note_intent,
    search_in,
)
from airflow_runctl.control.lost_start import the_one
from airflow_runctl.control.seal import Handle, describe, open_handle
from airflow_runctl.control.stop import STOP_PATIENCE, StopNote, stop
from airflow_runctl.exceptions import ConnectionUnreadable, RunctlError
from airflow_runctl.hooks.base import Access, hook_class
from airflow_runctl.runs import HANDLE_KEY, ExternalRun, Ownership, StopOutcome, StopResult, TaskKey
from airflow_runctl.vendors.base import Started

log = logging.getLogger(__name__)

Doing = Coroutine[Any, Any, "Report | None"]

LOOK_AGAIN: Final = 1.0
GRACE_SECONDS: Final = 10.0
"""For how long a running task that has said nothing of a start may still come to have a handle."""


@dataclass(frozen=True, slots=True)
class Target:
    """A run that is to be stopped.

    :param run: the run.
    :param access: the connection that reaches it.
    :param handle: its handle, to tell it from a later one at the same task instance.
    """

    run: ExternalRun
    access: Access
    handle: Handle


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one target, or of a handle that could not be opened.

    :param run: words for the run.
    :param where: the task instance that owns it.
    :param result: the outcome, if it got that far.
    :param error: why it was not stopped.
    """

    run: str
    where: TaskKey | None
    result: StopResult | None = None
    error: str | None = None

    def out(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "run": self.run,
            "task": str(self.where) if self.where else None,
            "outcome": self.result and self.result.outcome.value,
            "seconds": self.result and self.result.seconds,
            "error": self.error,
        }


class Connections:
    """Reads each connection once.

    :param channel: how this process asks Airflow.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._asked: dict[tuple[str, str], asyncio.Task[Access]] = {}

    async def access(self, vendor: str, conn_id: str) -> Access:
        """Return what a connection gives access to.

        :raises ConnectionUnreadable: if Airflow does not give it.
        :raises RunctlError: if it is of another type, or lacks something.
        """
        key = (vendor, conn_id)
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._read(vendor, conn_id))
        return await asyncio.shield(self._asked[key])

    async def _read(self, vendor: str, conn_id: str) -> Access:
        hook = hook_class(vendor)
        try:
            conn, extra = await self._channel.connection(conn_id)
        except Exception as error:
            raise ConnectionUnreadable(f"Connection {conn_id!r} cannot be read ({type(error).__name__}).") from error
        return hook.access_of(conn, extra)

    async def open(self, handle: Handle, found_at: TaskKey | None) -> Target:
        """Return the run behind a handle.

        :raises RunctlError: if the handle cannot be trusted, or its connection not be read.
        """
        access = await self.access(str(handle.get("vendor")), str(handle.get("conn_id")))
        return Target(open_handle(handle, access, found_at=found_at), access, handle)


async def stop_target(
    channel: Channel, target: Target, note: StopNote, timeout: float, *, records: bool = True
) -> Report:
    """Stop one run, record intent and outcome at its owner, and say what came of it.

    :param records: False if the records at the task instance are a later attempt's by now.
    """
    run, access = target.run, target.access
    where = run.owner.key if run.owner else None
    records = records and where is not None and channel.writable
    last: StopNote = note

    async def record(what: object) -> None:
        nonlocal last
        if isinstance(what, StopNote):
            last = what
            if where is not None and records and what.outcome is None:
                await _quietly("record the intent", note_intent(channel, where, what, target.handle))

    flow = stop(access.vendor, run, note, timeout=timeout)
    name = f"{access.vendor.label} run {run.run_id}"
    try:
        result = await access.adrive(flow, STOP_PATIENCE, listener=record)
    except RunctlError as error:
        log.error("%s was not stopped (%s): %s", name, note.reason.value, error)
        return Report(name, where, error=str(error))
    log.info("%s: %s in %.1f s (%s, by %s)", name, result.outcome.value, result.seconds, note.reason.value, note.by)
    if where is not None and records:
        await _quietly("record the outcome", _record_outcome(channel, where, target, result, last))
    return Report(name, where, result)


async def _record_outcome(channel: Channel, where: TaskKey, target: Target, result: StopResult, note: StopNote) -> None:
    """Store the outcome, unless a later attempt has put another handle there meanwhile."""
    stored = await channel.get(HANDLE_KEY, where)
    if isinstance(stored, Mapping) and stored.get("token") != target.handle.get("token"):
        return
    await channel.set(AUDIT_KEY, audit_of(target.run, result.status, note), where)
    if result.is_over and stored is not None:
        await channel.delete(HANDLE_KEY, where)


async def _quietly(what: str, doing: Any) -> None:
    """Await ``doing``; a record that cannot be written must not keep a run alive."""
    try:
        await doing
    except Exception:
        log.warning("Could not %s of a stop", what, exc_info=True)


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
    """

    channel: Channel
    dag_id: str
    run_id: str
    note: StopNote
    task_ids: frozenset[str] | None = None
    timeout: float = 60.0
    patience: float = 600.0
    dry_run: bool = False

    async def run(self) -> list[Report]:
        """Stop every live run that is recorded, and those whose start is in flight; report on each."""
        connections = Connections(self.channel)
        stopping: dict[TaskKey, asyncio.Task[Report | None]] = {}
        warned: set[TaskKey] = set()
        began = time.time()
        while True:
            looked = await self._look(bool(stopping))
            for found in looked:
                doing = self._what_to_do(connections, found)
                if doing is not None and found.where not in stopping:
                    stopping[found.where] = asyncio.create_task(doing())
            # Lets the stops go out before the next look, which may block.
            await asyncio.sleep(0)
            waiting = list(self._worth_waiting(looked, stopping, time.time() - began))
            if self.dry_run or not waiting:
                break
            await self._announce(waiting, warned)
            await asyncio.sleep(LOOK_AGAIN)
        reports = [report for report in await asyncio.gather(*stopping.values()) if report is not None]
        unread = [found for found in looked if found.unread and found.where not in stopping]
        return [*reports, *(Report("its run", found.where, error=found.unread) for found in unread)]

    async def _look(self, stopping: bool) -> list[Found]:
        """Look at the Dag run's tasks; once stops are under way a look that fails must not end them."""
        try:
            return await look_for_handles(self.channel, self.dag_id, self.run_id, self.task_ids)
        except Exception:
            if not stopping:
                raise
            log.exception("Could not look again for starts in flight")
            return []

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
                    await _quietly("record the intent", note_intent(self.channel, found.where, self.note, None))

    def _what_to_do(self, connections: Connections, found: Found) -> Callable[[], Doing] | None:
        if (handle := found.handle) is not None:
            return lambda: self._stop(connections, found.where, handle)
        if (start := found.lost_start) is not None:
            return lambda: self._stop_lost_start(connections, found.where, start)
        return None

    async def _stop(self, connections: Connections, where: TaskKey, handle: Handle) -> Report | None:
        target = await self._opened(connections, where, handle)
        if not isinstance(target, Target):
            return target
        name = describe(handle)
        if self.dry_run:
            log.info("dry run: %s of %s would be stopped", name, where)
            return Report(name, where)
        return await stop_target(self.channel, target, self.note, self.timeout)

    async def _stop_lost_start(self, connections: Connections, where: TaskKey, start: Handle) -> Report | None:
        """Look for the run of a start whose process was lost before it could record it, and stop it."""
        target = await self._opened(connections, where, start)
        if not isinstance(target, Target):
            return target
        access, name = target.access, f"the run that {where} was starting when it was lost"
        try:
            found = the_one(await self._search(access, target.run), target.run.started_at)
        except RunctlError as error:
            return Report(name, where, error=f"it is not found, and may be alive. {error}")
        if found is None:
            log.info("No run came up of the start that %s was lost in", where)
            return None
        if self.dry_run:
            log.info("dry run: %s of %s would be stopped", found.run_id, where)
            return Report(name, where)
        run = replace(target.run, run_id=found.run_id, ids=found.ids)
        return await stop_target(self.channel, replace(target, run=run), self.note, self.timeout)

    async def _search(self, access: Access, start: ExternalRun) -> list[Started]:
        """Look for the run of a start; again for a while, since it need not be listed at once."""
        until = min(start.started_at.timestamp() + LISTED_AFTER, time.time() + self.patience)
        while True:
            found = await access.adrive(access.vendor.find(search_in(start)), STOP_PATIENCE)
            if found or time.time() >= until:
                return found
            await asyncio.sleep(LOOK_AGAIN)

    async def _opened(self, connections: Connections, where: TaskKey, handle: Handle) -> Target | Report | None:
        """Open a handle; a report says that it cannot be, ``None`` that its run belongs to nobody."""
        name = describe(handle)
        try:
            target = await connections.open(handle, where)
        except RunctlError as error:
            log.error("%s: %s", where, error)
            return Report(name, where, error=str(error))
        owner = target.run.owner
        if owner is not None and owner.ownership is Ownership.NOBODY:
            log.info("%s was started with leave_running=True; it is left alone", name)
            return None
        return target


def failures(reports: Iterable[Report], *, confirmed: bool) -> list[str]:
    """Return a sentence for each run that may still be alive.

    :param confirmed: count a stop that was only requested as a failure.
    """
    said = [f"{report.run}: {report.error}" for report in reports if report.error]
    if confirmed:
        said += [
            f"{report.run}: asked to stop, not confirmed in {report.result.seconds:.0f} s; it may be alive."
            for report in reports
            if report.result and report.result.outcome is StopOutcome.REQUESTED
        ]
    return said


__all__ = ["Connections", "DagRunStop", "Report", "Target", "failures", "stop_target"]
