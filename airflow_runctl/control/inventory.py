"""What the tasks of a Dag run have recorded: runs that may be alive, and starts that may become one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from airflow_runctl.compat import Channel
from airflow_runctl.control.records import AUDIT_KEY, STARTING
from airflow_runctl.control.seal import Handle
from airflow_runctl.runs import HANDLE_KEY, TaskKey

MAYBE_STARTING: Final = frozenset({"running", "restarting"})
"""States of a task that may be about to store a handle."""


@dataclass(frozen=True, slots=True)
class Found:
    """One task instance that was looked at.

    :param where: the task instance.
    :param handle: its handle, if it has one.
    :param may_start: True if it may still come to have one: it runs, and nothing says that it is done.
    :param is_starting: True if it said that it is starting a run.
    :param lost_start: what it wrote ahead of a start, if it is over and never said what came of it.
    :param unread: why it could not be looked at; it may have a run.
    """

    where: TaskKey
    handle: Handle | None
    may_start: bool = False
    is_starting: bool = False
    lost_start: Handle | None = None
    unread: str | None = None


async def look_for_handles(channel: Channel, dag_id: str, run_id: str, task_ids: frozenset[str] | None) -> list[Found]:
    """Look at every task instance of a Dag run, or at those of the named tasks."""
    states = await channel.task_states(dag_id, run_id)
    found = []
    for name, state in states.items():
        for where in _meanings(TaskKey(dag_id, run_id, name)):
            if task_ids is not None and where.task_id not in task_ids:
                continue
            try:
                found.append(await _look_at(channel, where, running=state in MAYBE_STARTING))
            except Exception as error:
                # A task may store what only its own code can read: that must not keep the others' runs alive.
                unread = f"the handle of task {where.task_id!r} cannot be read ({type(error).__name__})"
                found.append(Found(where, None, unread=f"{unread}; a run of it may be alive."))
    return found


def _meanings(name: TaskKey) -> Iterator[TaskKey]:
    """Yield what a name among the task states can mean: ``t_0`` is a task, or an instance of a mapped ``t``."""
    yield name
    if mapped := re.fullmatch(r"(.+)_(\d+)", name.task_id):
        yield TaskKey(name.dag_id, name.run_id, mapped[1], int(mapped[2]))


async def _look_at(channel: Channel, where: TaskKey, *, running: bool) -> Found:
    handle = await channel.get(HANDLE_KEY, where)
    if isinstance(handle, Mapping):
        return Found(where, handle)
    audit = await channel.get(AUDIT_KEY, where)
    state = audit.get("state") if isinstance(audit, Mapping) else None
    if running:
        return Found(where, None, may_start=state in (None, STARTING), is_starting=state == STARTING)
    start = audit.get("start") if state == STARTING else None
    return Found(where, None, lost_start=start if isinstance(start, Mapping) else None)
