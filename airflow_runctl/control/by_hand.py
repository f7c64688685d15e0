"""Stops and resumes single runs for a person, where the vendor's connection can be read.

The handle that Airflow keeps is opened first, and must fit its place; what it shows decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from airflow_runctl.compat import Channel
from airflow_runctl.control import audit, pause_resume
from airflow_runctl.control.end_owner import Ended, Tasks, end_owner, note_of
from airflow_runctl.control.inventory import COMES, FOLLOWS, Inventory, KnownRun, Source
from airflow_runctl.control.remember import remember_person, remembered
from airflow_runctl.control.seal import describe, name_of
from airflow_runctl.control.stop import PROBLEMS, StopNote
from airflow_runctl.control.stop_many import Connections, Target, failures, stop_target
from airflow_runctl.exceptions import ConnectionUnreadable, RunctlError
from airflow_runctl.runs import Ownership, RunStatus, StopReason, printable

log = logging.getLogger(__name__)

DIRECTLY: Final = "stopped directly"
RESUMED: Final = "told to resume"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a handle opens to.

    :param name: words for the run.
    :param target: the run; ``None`` if it does not open.
    :param closed: why it does not.
    :param may_be_its_tasks: False if the end of its task would not end it, or if the handle is none of that task's,
        which is left alone then.
    """

    name: str
    target: Target | None = None
    closed: str = ""
    may_be_its_tasks: bool = False


@dataclass(frozen=True, slots=True)
class Hand:
    """A person's hand.

    :param source: where the facts come from.
    :param tasks: who may end a task.
    :param channel: how this process asks Airflow for connections, and records what it does.
    :param opened: reads each connection once.
    :param by: who acts.
    :param text: why, as the person said.
    :param timeout: seconds in which a stop has to be confirmed.
    :param told: told what is done.
    """

    source: Source
    tasks: Tasks
    channel: Channel
    opened: Connections
    by: str
    text: str | None = None
    timeout: float = 60.0
    told: Callable[[str], None] = log.info

    async def stop(self, known: KnownRun) -> Ended:
        """Stop a run: through its task while that is alive, else directly."""
        return await remembered(self.channel, known.where, self._stop(known))

    async def _stop(self, known: KnownRun) -> Ended:
        seen = await self._opened(known)
        state = known.attempt.state if known.attempt else "unknown"
        try:
            if state in FOLLOWS and seen.may_be_its_tasks:
                return await self._through_task(known, seen)
            if seen.target is None:
                audit.refused_unread("stop", known.where, self.by, seen.closed)
                said = f"{seen.closed} Nothing was stopped; the run may be alive."
                return Ended(known.where, seen.name, "nothing", error=said)
            if state in COMES and seen.may_be_its_tasks:
                self.told(f"{seen.name}: marking {known.where} as failed, so that no further attempt goes on with it")
                await self.tasks.fail(known.where, note_of(known, self.text))
                audit.ended_by_person(known.where, known.handle.get("run_id"), self.by, self.text)
            return await self._directly(known, seen.name, seen.target)
        except RunctlError as error:
            return Ended(known.where, seen.name, "nothing", error=f"{error} The run may be alive.")

    async def resume(self, known: KnownRun) -> Ended:
        """Resume a suspended run."""
        return await remembered(self.channel, known.where, self._resume(known))

    async def _resume(self, known: KnownRun) -> Ended:
        seen = await self._opened(known)
        if (target := seen.target) is None:
            return Ended(known.where, seen.name, "nothing", error=seen.closed)
        flow = pause_resume.change(target.access.vendor, target.run, pause_resume.RESUME, timeout=self.timeout)
        try:
            result = await target.access.adrive(flow)
        except (RunctlError, NotImplementedError) as error:
            audit.refused("resume", target.run, self.by, error)
            return Ended(known.where, seen.name, "nothing", error=str(error))
        audit.told_to("resume", target.run, self.by, result.outcome, result.status, result.seconds)
        return Ended(known.where, seen.name, RESUMED, result.outcome, result.seconds)

    async def _opened(self, known: KnownRun) -> Seen:
        if known.unread:
            return Seen(f"a run of {known.where}", closed=known.unread)
        try:
            target = await self.opened.open(known.handle, known.where)
        except ConnectionUnreadable as error:
            return Seen(describe(known.handle), closed=f"{error} {ELSEWHERE}", may_be_its_tasks=True)
        except RunctlError as error:
            return Seen(describe(known.handle), closed=str(error))
        owner = target.run.owner
        is_its_tasks = owner is None or owner.ownership is Ownership.TASK
        return Seen(name_of(target.run), target, may_be_its_tasks=is_its_tasks)

    async def _through_task(self, known: KnownRun, seen: Seen) -> Ended:
        name, target = seen.name, seen.target
        self.told(f"{name}: marking {known.where} as failed; its kill stops the run")

        async def is_over() -> bool:
            return target is not None and await seen_to_be_over(target)

        ended = await end_owner(
            self.source,
            self.tasks,
            known,
            name,
            self.text,
            timeout=self.timeout,
            is_over=is_over if target else None,
            marked=partial(remember_person, self.channel, known, self.by, self.text),
        )
        if ended.may_be_alive and target is not None and self.timeout > 0:
            self.told(f"{name}: {ended.error}; it is stopped directly now")
            return await self._directly(known, name, target)
        return ended

    async def _directly(self, known: KnownRun, name: str, target: Target) -> Ended:
        self.told(f"{name}: stopping it directly")
        owner = target.run.owner
        ownership = owner.ownership if owner else None

        async def still_wanted() -> bool:
            now = await Inventory(self.source).again(known, ownership)
            return now is not None and (now.attempt is None or now.attempt.state not in FOLLOWS)

        note = StopNote(StopReason.BY_HAND, self.by, self.text)
        report = await stop_target(self.channel, target, note, self.timeout, still_wanted=still_wanted)
        said = failures([report], confirmed=True)
        result = report.result
        return Ended(
            known.where,
            name,
            DIRECTLY,
            result.outcome if result else None,
            result.seconds if result else None,
            said[0] if said else None,
        )


ELSEWHERE: Final = (
    "Run the same command where Airflow's connections can be read: on a worker that gets them from its environment or "
    "from a secrets backend, or where Airflow's configuration reaches the metadata database (scheduler, API server)."
)


async def seen_to_be_over(target: Target) -> bool:
    """Ask the vendor once; a look that fails says no."""
    vendor = target.access.vendor
    if not vendor.can_look(target.run):
        return False
    try:
        status = await target.access.adrive(vendor.status(target.run))
    except PROBLEMS:
        return False
    return status.state.is_terminal


async def look_at_vendor(opened: Connections, known: KnownRun) -> RunStatus | str:
    """Ask the vendor once; return why there is no answer if there is none."""
    if known.unread:
        return f"not asked: {known.unread}"
    try:
        target = await opened.open(known.handle, known.where)
        vendor = target.access.vendor
        if not vendor.can_look(target.run):
            return f"not asked: {vendor.label} does not say"
        return await target.access.adrive(vendor.status(target.run))
    except ConnectionUnreadable as error:
        return f"not asked: {error} {ELSEWHERE}"
    except RunctlError as error:
        return f"not known: {error}"


async def state_at_vendor(opened: Connections, known: KnownRun) -> str:
    """Return the vendor's word for a run, or why there is none."""
    status = await look_at_vendor(opened, known)
    return status if isinstance(status, str) else f"{printable(status.vendor_state)} ({status.state.value})"


__all__ = ["ELSEWHERE", "Ended", "Hand", "look_at_vendor", "seen_to_be_over", "state_at_vendor"]
