"""Does an attempt still follow this run, or will one? Asked before anybody stops it for a user's sake.

``BaseTrigger.on_kill`` should mean that a user acted. It also comes when a triggerer stalls, loses its
triggers to another one and recovers (apache/airflow#73454), and it may come after a new attempt has taken
the run over: then nobody may stop anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from airflow_runctl.compat import Channel
from airflow_runctl.control.records import LEFT_BY
from airflow_runctl.control.seal import Handle
from airflow_runctl.runs import HANDLE_KEY, TaskKey, instance_name

WIPE_SECONDS: Final = 15.0
"""How long a new attempt may take from its start until it has wiped the handle of the one before."""

LOOK_AGAIN: Final = 0.5

States = Mapping[str, str | None]

_asking: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], asyncio.Task[Any]]] = WeakKeyDictionary()


async def is_followed(channel: Channel, where: TaskKey, handle: Handle) -> bool:
    """Return True if the task instance is in a state that follows a run, and has stored this one.

    A clear or a mark changes the state; a new attempt wipes the handle when it starts, and stores one again,
    newly sealed, only if it takes the run over. Between its start and the wipe it looks as if it followed the
    run, so a running task with the very same handle is looked at again for a while.
    """
    until = time.monotonic() + WIPE_SECONDS
    while True:
        state = (await _states(channel, where.dag_id, where.run_id)).get(instance_name(where.task_id, where.map_index))
        if state not in ("deferred", "running"):
            return False
        stored = await channel.get(HANDLE_KEY, where)
        if not isinstance(stored, Mapping) or any(stored.get(key) != handle.get(key) for key in RUN):
            return False
        if LEFT_BY in stored:
            return False
        newly_sealed = stored.get("token") != handle.get("token")
        if state == "deferred" or newly_sealed or time.monotonic() > until:
            return True
        await asyncio.sleep(LOOK_AGAIN)


async def is_handed_on(channel: Channel, where: TaskKey) -> bool:
    """Return True if Airflow took it that a task deferred, or is to be tried again: somebody will follow its run.

    It refuses if a user has marked or cleared the task in the same moment, and only logs that: no trigger will
    run, and nobody is killed.
    """
    states = await channel.task_states(where.dag_id, where.run_id, only=where)
    return states.get(instance_name(where.task_id, where.map_index)) in GOES_ON


GOES_ON: Final = frozenset({"deferred", "up_for_retry", "scheduled", "queued", "running"})
"""States of a task that follows its run, or will."""

RUN: Final = ("vendor", "conn_id", "run_id", "started_at")
"""What tells from a handle which run it is."""


async def _states(channel: Channel, dag_id: str, run_id: str) -> States:
    """Return the states of a Dag run's tasks; many who ask at once share one question."""
    asking = _asking.setdefault(asyncio.get_running_loop(), {})
    key = (dag_id, run_id)
    if key not in asking:
        asking[key] = asyncio.create_task(channel.task_states(dag_id, run_id))
        asking[key].add_done_callback(lambda _: asking.pop(key, None))
    # Shielded: the one who asked first may be cancelled while the others still wait.
    answer: States = await asyncio.shield(asking[key])
    return answer
