"""Stops many runs at once: reads each connection once, opens handles, stops each run, reports on each.

Every run has a flow of its own, and so many requests of all flows are under way at once (``transport/turns.py``): the
first request to stop each run goes before any look that confirms a stop.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_runctl.compat import Channel
from airflow_runctl.control import audit
from airflow_runctl.control.garbage import collected_later
from airflow_runctl.control.recording import Recording, quietly
from airflow_runctl.control.records import AUDIT_KEY, audit_of, note_intent
from airflow_runctl.control.remember import remembered
from airflow_runctl.control.rounds import look_now
from airflow_runctl.control.seal import Handle, aopen_handle, verified
from airflow_runctl.control.second_home import forget
from airflow_runctl.control.stop import STOP_PATIENCE, AskingAgain, StopNote, stop
from airflow_runctl.exceptions import ConnectionUnreadable, RunctlError
from airflow_runctl.hooks.base import Access, hook_class
from airflow_runctl.runs import HANDLE_KEY, ExternalRun, StopOutcome, StopResult, TaskKey

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """A run that is to be stopped.

    :param run: the run.
    :param access: the connection that reaches it.
    :param handle: its handle, to tell it from a later one at the same task instance; it shows what is sealed.
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
        run = await aopen_handle(handle, access, found_at=found_at)
        return Target(run, access, verified(handle, run))


async def stop_target(
    channel: Channel,
    target: Target,
    note: StopNote,
    timeout: float,
    *,
    records: bool = True,
    not_after: float = math.inf,
    still_wanted: Callable[[], Awaitable[bool]] | None = None,
) -> Report:
    """Stop one run, record intent and outcome at its owner, keep the history, and say what came of it.

    :param timeout: seconds in which the stop has to be confirmed, from when it is its turn.
    :param records: False if the records at the task instance are a later attempt's by now.
    :param not_after: when no confirmation is waited for any more (Unix time).
    :param still_wanted: asked before the run is asked to stop once more, should the vendor not have taken it.
    """
    stopping = _stop(channel, target, note, timeout, records=records, not_after=not_after, still_wanted=still_wanted)
    owner = target.run.owner
    return await remembered(channel, owner.key if owner else None, stopping)


async def _stop(
    channel: Channel,
    target: Target,
    note: StopNote,
    timeout: float,
    *,
    records: bool,
    not_after: float,
    still_wanted: Callable[[], Awaitable[bool]] | None,
) -> Report:
    run, access = target.run, target.access
    where = run.owner.key if run.owner else None
    records = records and where is not None and channel.writable
    last: StopNote = note
    recording = Recording()

    async def record(what: object) -> None:
        nonlocal last
        if isinstance(what, StopNote):
            last = what
            if where is not None and records and what.outcome is None:
                await recording.intend(note_intent(channel, where, what, target.handle))
        elif isinstance(what, AskingAgain) and still_wanted is not None and not await still_wanted():
            error = RunctlError("It is not asked to stop again: by now a task follows it, and it lives on.")
            audit.refused("stop", run, note.by, error)
            raise error

    flow = stop(access.vendor, run, note, timeout=timeout, not_after=not_after)
    name = f"{access.vendor.label} run {run.run_id}"
    try:
        with collected_later():
            result = await access.adrive(flow, STOP_PATIENCE, listener=record)
    except RunctlError as error:
        log.error("%s was not stopped (%s): %s", name, note.reason.value, error)
        return Report(name, where, error=str(error))
    except Exception as error:
        return broken(name, where, error)
    finally:
        await recording.settle()
    look_now(access, run)
    log.info("%s: %s in %.1f s (%s, by %s)", name, result.outcome.value, result.seconds, note.reason.value, note.by)
    if not records and result.outcome is StopOutcome.STOPPED and run.owner is not None and not channel.writable:
        audit.ended(run, result.status, note.by, stopped=True)  # nobody who would comes after the Dag processor
    await record_end(channel, target, result, last, records=records)
    return Report(name, where, result)


async def record_end(
    channel: Channel, target: Target, result: StopResult, note: StopNote | None, *, records: bool = True
) -> None:
    """Record what a stop, or a look, has shown of a run; once it is over nobody has to look for it any more.

    :param note: the stop, if there was one.
    :param records: False if the records at the task instance are a later attempt's by now.
    """
    owner = target.run.owner
    if owner is None:
        return
    if records and channel.writable:
        recording = _record_outcome(channel, owner.key, target, result, note)
        await quietly("record the outcome of a stop", recording)
    if result.is_over:
        await quietly("forget the record of a run that is over", forget(channel, owner))


async def _record_outcome(
    channel: Channel, where: TaskKey, target: Target, result: StopResult, note: StopNote | None
) -> None:
    """Store the outcome, unless a later attempt has put another handle there meanwhile."""
    stored = await channel.get(HANDLE_KEY, where)
    if isinstance(stored, Mapping) and stored.get("token") != target.handle.get("token"):
        return
    await channel.set(AUDIT_KEY, audit_of(target.run, result.status, note, target.handle), where)
    if result.is_over and stored is not None:
        await channel.delete(HANDLE_KEY, where)
        audit.ended(
            target.run, result.status, note.by if note else "sweep", stopped=result.outcome is StopOutcome.STOPPED
        )


def broken(name: str, where: TaskKey | None, error: Exception) -> Report:
    """Report what nobody foresaw: one run's odd answer, handle or connection must not keep another's from its stop.

    :param name: words for the run.
    """
    log.error("%s was not stopped, by an error that was not foreseen", name, exc_info=error)
    return Report(name, where, error=f"{type(error).__name__}: {error}. It may be alive.")


def failures(reports: Iterable[Report], *, confirmed: bool) -> list[str]:
    """Return a sentence for each run that may still be alive.

    :param confirmed: count a stop that was only requested as a failure.
    """
    said = [f"{report.run}: {report.error}" for report in reports if report.error]
    if confirmed:
        said += [
            f"{report.run}: asked to stop, not confirmed in {report.result.seconds:.0f} s; {_doubt(report)}"
            for report in reports
            if report.result and report.result.outcome is StopOutcome.REQUESTED
        ]
    return said


def _doubt(report: Report) -> str:
    """Say what is to be feared of a run whose stop was not confirmed; of one that a user named, it may be the ids."""
    if report.result is None or report.result.unknown is None:
        return "it may be alive."
    feared = "it may be alive, though no look finds it" if report.where else "no look finds such a run"
    return f"{feared}. {report.result.unknown}"


__all__ = ["Connections", "Report", "Target", "failures", "record_end", "stop_target"]
