"""What the tasks of a Dag run have recorded: runs that may be alive, and starts that may become one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from airflow_runctl.compat import Channel
from airflow_runctl.control.records import AMBIGUOUS, AUDIT_KEY, STARTING
from airflow_runctl.control.seal import Handle
from airflow_runctl.control.stop_many import Connections
from airflow_runctl.control.task_names import instances_named
from airflow_runctl.runs import HANDLE_KEY, TaskKey

MAYBE_STARTING: Final = frozenset({"running", "restarting"})
"""States of a task that may be about to store a handle."""

NEVER_RAN: Final = frozenset({None, "scheduled", "queued", "skipped", "upstream_failed", "removed"})
"""States of a task that has recorded nothing."""


@dataclass(frozen=True, slots=True)
class Found:
    """One task instance that was looked at.

    :param where: the task instance.
    :param handle: its handle, if it has one.
    :param may_start: True if it may still come to have one: it runs, and nothing says that it is done.
    :param is_starting: True if it said that it is starting a run.
    :param lost_start: what it wrote ahead of a start, if it is over and never said what came of it.
    :param candidates: ids of the runs of which one may be its own; nothing tells which.
    :param unread: why it could not be looked at; it may have a run.
    """

    where: TaskKey
    handle: Handle | None
    may_start: bool = False
    is_starting: bool = False
    lost_start: Handle | None = None
    candidates: tuple[str, ...] = ()
    unread: str | None = None


async def look_for_handles(
    channel: Channel, dag_id: str, run_id: str, task_ids: frozenset[str] | None
) -> AsyncIterator[Found]:
    """Look at every task instance of a Dag run, or at those of the named tasks; yield each as soon as it was seen."""
    for where, state in await _instances(channel, dag_id, run_id, task_ids):
        try:
            found = await _look_at(channel, where, running=state in MAYBE_STARTING)
        except Exception as error:
            # A task may store what only its own code can read: that must not keep the others' runs alive.
            unread = f"the handle of task {where.task_id!r} cannot be read ({type(error).__name__})"
            found = Found(where, None, unread=f"{unread}; a run of it may be alive.")
        yield found


async def starting_tasks(channel: Channel, where: TaskKey, tasks: frozenset[str]) -> list[TaskKey]:
    """Return the other task instances of a Dag run that may be starting a run now.

    :param where: the task instance that asks.
    :param tasks: ids of the tasks to look at.
    """
    instances = await _instances(channel, where.dag_id, where.run_id, tasks)
    return [place for place, state in instances if state in MAYBE_STARTING and place != where]


async def owned_by_others(
    channel: Channel, connections: Connections, where: TaskKey, tasks: frozenset[str] | None = None
) -> frozenset[str]:
    """Return the ids of the runs that other tasks of a Dag run own, living or over, by records that open.

    A record that cannot be read, or does not open, claims nothing: on its word alone no run is ruled out.

    :param where: the task instance that asks.
    :param tasks: ids of the tasks to look at; ``None`` for all.
    """
    owned = set()
    for place, state in await _instances(channel, where.dag_id, where.run_id, tasks):
        if state not in NEVER_RAN and place != where:
            owned |= await _owned_at(channel, connections, place)
    return frozenset(owned)


async def _owned_at(channel: Channel, connections: Connections, place: TaskKey) -> set[str]:
    owned = set()
    for key in (HANDLE_KEY, AUDIT_KEY):
        with suppress(Exception):
            record = await channel.get(key, place)
            if isinstance(record, Mapping) and "token" in record:
                owned.add((await connections.open(record, place)).run.run_id)
    return owned


async def _instances(
    channel: Channel, dag_id: str, run_id: str, tasks: frozenset[str] | None
) -> list[tuple[TaskKey, str | None]]:
    """Return every task instance that a Dag run may have of these tasks, or of all, and its state."""
    return [
        (TaskKey(dag_id, run_id, task_id, map_index), state)
        for name, state in (await channel.task_states(dag_id, run_id)).items()
        for task_id, map_index in instances_named(name)
        if tasks is None or task_id in tasks
    ]


async def _look_at(channel: Channel, where: TaskKey, *, running: bool) -> Found:
    handle = await channel.get(HANDLE_KEY, where)
    if isinstance(handle, Mapping):
        return Found(where, handle)
    audit = await channel.get(AUDIT_KEY, where)
    state = audit.get("state") if isinstance(audit, Mapping) else None
    if running:
        return Found(where, None, may_start=state in (None, STARTING), is_starting=state == STARTING)
    if state == AMBIGUOUS:
        names = audit.get("candidates")
        return Found(where, None, candidates=tuple(map(str, names)) if isinstance(names, list) else ())
    start = audit.get("start") if state == STARTING else None
    return Found(where, None, lost_start=start if isinstance(start, Mapping) else None)
