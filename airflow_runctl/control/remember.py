"""Keeps the history of runs where a process may write XComs; last of all, and what cannot be kept is a line in the log.

On the worker that watches a run it is the business of ``ledger.py``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from airflow_runctl.compat import Channel, in_nobodys_name
from airflow_runctl.control import audit
from airflow_runctl.control.history import Event, heard, merged
from airflow_runctl.control.inventory import KnownRun
from airflow_runctl.runs import HISTORY_KEY, TaskKey

log = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE: Final = 50
"""Of so many runs at once is kept what is done to them. Of more, as when a deadline stops ten thousand, the audit
record has to do, which says the same of a stop (``history.read``): each event takes two messages to Airflow."""

_under_way = 0


async def remembered(channel: Channel, where: TaskKey | None, doing: Coroutine[Any, Any, T]) -> T:
    """Await ``doing``; then keep what was told meanwhile of the runs of a task instance.

    :param where: the task instance; ``None`` keeps nothing.
    """
    global _under_way
    if where is None or not channel.writable or _under_way >= AT_ONCE:
        return await doing
    _under_way += 1
    try:
        with heard() as events:
            try:
                result = await doing
            except Exception:
                await keep(channel, where, events)
                raise
        await keep(channel, where, events)
        return result
    finally:
        _under_way -= 1


async def keep(channel: Channel, where: TaskKey, events: list[Event]) -> None:
    """Add events to those of a task instance, where this process may write."""
    if not events or not channel.writable:
        return
    try:
        stored = await channel.get(HISTORY_KEY, where)
        history = merged(stored, events)
        if history != stored:
            await channel.set(HISTORY_KEY, history, where)
    except Exception as error:
        log.info("The history of %s lacks %d event(s), which could not be kept: %s", where, len(events), error)


async def remember_person(channel: Channel, known: KnownRun, by: str, text: str | None) -> None:
    """Tell, and keep, that a person has ended the task of a run.

    :param text: why, as the person said.
    """
    with heard() as events:
        audit.ended_by_person(known.where, known.handle.get("run_id"), by, text)
    await keep(channel, known.where, events)


class Backlog:
    """What is still to be kept in an event loop that goes on: of one task instance after the other.

    Airflow's channel answers one after the other too. So no more than one of these messages ever stands before one
    that matters.
    """

    def __init__(self) -> None:
        self._waiting: dict[TaskKey, list[Event]] = {}
        self._writing: asyncio.Task[None] | None = None

    def add(self, channel: Channel, where: TaskKey, events: list[Event]) -> None:
        """Keep events in a while, and take them out of the list."""
        self._waiting.setdefault(where, []).extend(events)
        events.clear()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(channel), context=in_nobodys_name())

    def take_back(self, where: TaskKey) -> list[Event]:
        """Return what was not written yet of a task instance, for whoever writes next."""
        return self._waiting.pop(where, [])

    async def _write(self, channel: Channel) -> None:
        while self._waiting:
            where = next(iter(self._waiting))
            await keep(channel, where, self._waiting.pop(where))


_backlogs: WeakKeyDictionary[asyncio.AbstractEventLoop, Backlog] = WeakKeyDictionary()


def backlog() -> Backlog:
    """Return the backlog of this event loop."""
    return _backlogs.setdefault(asyncio.get_running_loop(), Backlog())
