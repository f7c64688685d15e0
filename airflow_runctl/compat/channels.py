"""How each of Airflow's processes asks Airflow, in whose name, and whether it may write: connections, XComs, states."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context as ContextVars
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from airflow_runctl.compat import database
from airflow_runctl.compat.names import BaseHook, XCom
from airflow_runctl.compat.processes import in_dag_processor
from airflow_runctl.compat.release import IS_AIRFLOW_2
from airflow_runctl.compat.stores import Variables, addressed, names_in
from airflow_runctl.compat.tracing import carry_trace
from airflow_runctl.compat.xcom import address, delete_xcom, get_xcom, set_xcom
from airflow_runctl.runs import TaskKey

if TYPE_CHECKING:
    from airflow.sdk import Connection


class Channel(Protocol):
    """What a process may ask of Airflow, and whether it may write."""

    writable: bool

    async def connection(self, conn_id: str) -> tuple[Connection, dict[str, Any]]:
        """Return a connection and its extra."""

    async def get(self, key: str, where: TaskKey) -> Any:
        """Return the XCom ``key`` of a task instance, or ``None``."""

    async def set(self, key: str, value: Any, where: TaskKey) -> None:
        """Store an XCom."""

    async def delete(self, key: str, where: TaskKey) -> None:
        """Delete an XCom; a missing one is no error."""

    async def task_states(self, dag_id: str, run_id: str, only: TaskKey | None = None) -> dict[str, str | None]:
        """Return the states of a Dag run's tasks, or of one; a mapped instance is named ``<task_id>_<index>``."""

    async def variables(self, prefix: str) -> list[str]:
        """Return the names of Variables that begin so."""

    async def delete_variable(self, name: str) -> None:
        """Delete a Variable; the Dag processor can do so too, though it can write no XCom."""


def _one(task: TaskKey | None) -> dict[str, Any]:
    return {"task_ids": [task.task_id], "map_index": task.map_index} if task else {}


T = TypeVar("T")


@cache
def _one_thread(pid: int) -> ThreadPoolExecutor:
    """Return the one thread of this process that asks Airflow: its channel knows no two questions at once (3.1)."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="runctl-airflow")


async def _beside(call: Callable[..., T], *arguments: Any) -> T:
    """Make a blocking call in that thread: an Airflow that does not answer must not hold up the stops of a callback."""
    return await asyncio.get_running_loop().run_in_executor(_one_thread(os.getpid()), call, *arguments)


class BlockingChannel:
    """The worker and the Dag processor, whose calls to Airflow block.

    :param writable: ``False`` in a Dag processor that cannot write: there a write is never answered and hangs.
    """

    def __init__(self, *, writable: bool) -> None:
        self.writable = writable

    async def connection(self, conn_id: str) -> tuple[Connection, dict[str, Any]]:
        """Return a connection and its extra."""
        conn = await _beside(BaseHook.get_connection, conn_id)
        return conn, conn.extra_dejson

    async def get(self, key: str, where: TaskKey) -> Any:
        """Return an XCom, or ``None``."""
        return await _beside(get_xcom, key, where)

    async def set(self, key: str, value: Any, where: TaskKey) -> None:
        """Store an XCom, where that is possible."""
        if self.writable:
            await _beside(set_xcom, key, value, where)

    async def delete(self, key: str, where: TaskKey) -> None:
        """Delete an XCom, where that is possible."""
        if self.writable:
            await _beside(delete_xcom, key, where)

    async def task_states(self, dag_id: str, run_id: str, only: TaskKey | None = None) -> dict[str, str | None]:
        """Return the states of a Dag run's tasks, or of one."""
        if IS_AIRFLOW_2:
            return await _beside(database.task_states_in_database, dag_id, run_id, only)
        comms, message = addressed("GetTaskStates", dag_id=dag_id, run_ids=[run_id], **_one(only))
        return dict((await _beside(comms.send, message)).task_states.get(run_id, {}))

    async def variables(self, prefix: str) -> list[str]:
        """Return the names of Variables that begin so."""
        return await _beside(Variables().names, prefix)

    async def delete_variable(self, name: str) -> None:
        """Delete a Variable."""
        await _beside(Variables().delete, name)


async def dag_run_state_for_task(dag_id: str, run_id: str) -> str | None:
    """Return the state of a Dag run of any Dag, as a task of Airflow 3 may ask for it."""
    comms, message = addressed("GetDagRunState", dag_id=dag_id, run_id=run_id)
    state = (await _beside(comms.send, message)).state
    return None if state is None else str(getattr(state, "value", state))


class _SupervisedTriggerer:
    """The triggerer of Airflow 3: its supervisor answers messages. Only awaitable calls: it serves many."""

    writable = True

    async def connection(self, conn_id: str) -> tuple[Connection, dict[str, Any]]:
        """Return a connection and its extra."""
        from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

        conn = await get_async_connection(conn_id)
        return conn, await get_async_extra_dejson(conn)

    async def get(self, key: str, where: TaskKey) -> Any:
        """Return an XCom, or ``None``."""
        # Not ``XCom.aget_one``: that came with 3.3.
        comms, message = addressed("GetXCom", **address(key, where))
        answer = await comms.asend(message)
        return None if answer.value is None else XCom.deserialize_value(answer)

    async def set(self, key: str, value: Any, where: TaskKey) -> None:
        """Store an XCom."""
        comms, message = addressed(
            "SetXCom", **{**address(key, where), "value": XCom.serialize_value(value, **address(key, where))}
        )
        await comms.asend(message)

    async def delete(self, key: str, where: TaskKey) -> None:
        """Delete an XCom; a missing one is no error."""
        comms, message = addressed("DeleteXCom", **address(key, where))
        await comms.asend(message)

    async def task_states(self, dag_id: str, run_id: str, only: TaskKey | None = None) -> dict[str, str | None]:
        """Return the states of a Dag run's tasks, or of one."""
        comms, message = addressed("GetTaskStates", dag_id=dag_id, run_ids=[run_id], **_one(only))
        answer = await comms.asend(message)
        return dict(answer.task_states.get(run_id, {}))

    async def variables(self, prefix: str) -> list[str]:
        """Return the names of Variables that begin so."""
        comms, message = addressed("GetVariableKeys", prefix=prefix)
        return names_in(await comms.asend(message))

    async def delete_variable(self, name: str) -> None:
        """Delete a Variable."""
        comms, message = addressed("DeleteVariable", key=name)
        await comms.asend(message)


class _TriggererWithDatabase:
    """The triggerer of Airflow 2.11: as every process it has the database, which is asked in threads."""

    writable = True

    async def connection(self, conn_id: str) -> tuple[Connection, dict[str, Any]]:
        """Return a connection and its extra."""
        conn = await asyncio.to_thread(BaseHook.get_connection, conn_id)
        return conn, conn.extra_dejson

    async def get(self, key: str, where: TaskKey) -> Any:
        """Return an XCom, or ``None``."""
        return await asyncio.to_thread(get_xcom, key, where)

    async def set(self, key: str, value: Any, where: TaskKey) -> None:
        """Store an XCom."""
        await asyncio.to_thread(set_xcom, key, value, where)

    async def delete(self, key: str, where: TaskKey) -> None:
        """Delete an XCom; a missing one is no error."""
        await asyncio.to_thread(delete_xcom, key, where)

    async def task_states(self, dag_id: str, run_id: str, only: TaskKey | None = None) -> dict[str, str | None]:
        """Return the states of a Dag run's tasks, or of one."""
        return await asyncio.to_thread(database.task_states_in_database, dag_id, run_id, only)

    async def variables(self, prefix: str) -> list[str]:
        """Return none: here we keep nothing in Variables."""
        return []

    async def delete_variable(self, name: str) -> None:
        """Do nothing."""


TriggererChannel: Final[type[Channel]] = _TriggererWithDatabase if IS_AIRFLOW_2 else _SupervisedTriggerer
"""The triggerer: triggers and the callbacks of deadlines."""


def in_nobodys_name() -> ContextVars:
    """Return the context for a task of the triggerer's event loop that acts for no trigger; each has its own.

    What runs in the context of a trigger writes to its log, and from 3.4 on speaks to Airflow as its task instance:
    once that was cleared, or does not defer any more, it is refused. Whoever acts after that must not.
    """
    context = ContextVars()
    carry_trace(context)
    return context


def is_refused_as_over(error: BaseException) -> bool:
    """Return True if Airflow refuses an answer because the attempt that asks is over (3.4): nobody follows its run.

    Other refusals, for want of a right for example, say nothing about the attempt.
    """
    detail = getattr(getattr(error, "error", None), "detail", None) or {}
    return detail.get("status_code") == GONE or (detail.get("status_code") == FORBIDDEN and NOT_LIVE in str(detail))


FORBIDDEN: Final = 403
GONE: Final = 410
NOT_LIVE: Final = "not a live attempt"
"""What Airflow 3.4 answers to a trigger that asks for an XCom once its task instance was archived."""


def callback_channel() -> Channel:
    """Return how a callback in the worker or the Dag processor asks Airflow."""
    return BlockingChannel(writable=IS_AIRFLOW_2 or not in_dag_processor())
