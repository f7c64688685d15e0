"""Ends the task that owns a run, for a person, and follows that to the end of the run as far as it can be seen.

A run whose task is alive is not stopped behind its back: the task is marked as failed, with the rights of the person,
and the kill path stops the run where credential and network are. What came of it lies in the task's records. Nothing
here needs a connection, or Airflow itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from airflow_runctl.control.inventory import KnownRun, Source
from airflow_runctl.control.stop_note import StopNote
from airflow_runctl.runs import AUDIT_KEY, HANDLE_KEY, RunState, StopOutcome, TaskKey, printable

LOOK_EVERY: Final = 1.0


class Tasks(Protocol):
    """Who may end a task for a person."""

    async def fail(self, where: TaskKey, note: str | None) -> None:
        """Mark a task instance as failed.

        :param note: what is written to it; ``None`` leaves what is there.
        :raises RunctlError: if it is refused.
        """


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a run that a person wanted to end, or to go on.

    :param where: the task instance that owns it.
    :param run: words for the run.
    :param how: what was done.
    :param outcome: what it came to; ``None`` if nothing was done.
    :param seconds: how long it took.
    :param error: why nothing was done, or what is to be feared.
    """

    where: TaskKey
    run: str
    how: str
    outcome: str | None = None
    seconds: float | None = None
    error: str | None = None

    @property
    def may_be_alive(self) -> bool:
        """True if the run was not seen to be over."""
        return self.outcome not in (StopOutcome.STOPPED, StopOutcome.ALREADY_FINISHED)

    def out(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "task": str(self.where),
            "run": self.run,
            "done": self.how,
            "outcome": str(self.outcome) if self.outcome else None,
            "seconds": self.seconds,
            "error": self.error,
        }


MARKED: Final = "task marked as failed"


async def end_owner(
    source: Source,
    tasks: Tasks,
    known: KnownRun,
    name: str,
    text: str | None,
    *,
    timeout: float,
    is_over: Callable[[], Awaitable[bool]] | None = None,
    marked: Callable[[], Awaitable[None]] | None = None,
) -> Ended:
    """Mark the owner of a run as failed, and look until its run is over.

    :param name: words for the run.
    :param text: why, to be written to the task.
    :param timeout: seconds to look for; 0 does not wait.
    :param is_over: asks the vendor, where that can be done from here.
    :param marked: called once the task is marked.
    :raises RunctlError: if Airflow refuses to mark the task.
    """
    began = time.monotonic()
    await tasks.fail(known.where, note_of(known, text))
    if marked is not None:
        await marked()
    while True:
        outcome = await recorded_outcome(source, known)
        if outcome is None and is_over is not None and await is_over():
            outcome = StopOutcome.STOPPED
        passed = round(time.monotonic() - began, 1)
        if outcome is not None:
            return Ended(known.where, name, MARKED, outcome, passed)
        if passed + LOOK_EVERY > timeout:
            doubt = f"not seen to be over in {passed:.0f} s; it may be alive"
            return Ended(known.where, name, MARKED, StopOutcome.REQUESTED, passed, doubt)
        await asyncio.sleep(LOOK_EVERY)


async def recorded_outcome(source: Source, known: KnownRun) -> StopOutcome | None:
    """Return what the records say that the run came to; ``None`` while they do not."""
    handle, audit = await asyncio.gather(source.stored(HANDLE_KEY, known.where), source.stored(AUDIT_KEY, known.where))
    if handle is not None and _is_about(handle.value, known):
        return None
    if audit is None or not _is_about(audit.value, known):
        return None  # a later attempt wiped what was recorded
    note = StopNote.read(audit.value.get("stop"))
    if note is not None and note.outcome in (StopOutcome.STOPPED, StopOutcome.ALREADY_FINISHED):
        return note.outcome
    is_stopped = audit.value.get("state") in (RunState.STOPPED, RunState.FAILED)
    return StopOutcome.STOPPED if is_stopped else StopOutcome.ALREADY_FINISHED


def _is_about(record: object, known: KnownRun) -> bool:
    return isinstance(record, Mapping) and all(
        record.get(key) == known.handle.get(key) for key in ("run_id", "started_at")
    )


LONGEST_NOTE: Final = 1000
"""Characters that Airflow takes."""


def note_of(known: KnownRun, text: str | None) -> str | None:
    """Return the task's note with the reason after what stood there; ``None`` if it stays as it is."""
    if not text:
        return None
    before = known.attempt.note if known.attempt else None
    said = f"Run stopped by hand: {printable(text, 300)}"
    return f"{before}\n{said}"[-LONGEST_NOTE:] if before else said
