"""The only file that knows which Airflow this is.

Names come from ``apache-airflow-providers-common-compat`` where it has them. What differs in substance
between versions, or between Airflow's processes, is a function here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseHook,
    BaseNotifier,
    BaseOperator,
    BaseOperatorLink,
    BaseSensorOperator,
    PokeReturnValue,
    TaskDeferred,
    XCom,
    conf,
    mask_secret,
)
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_runctl.runs import TaskKey

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context

try:
    from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout
except ImportError:  # Airflow 2.11, where both are one
    from airflow.exceptions import TaskDeferralError  # type: ignore[no-redef]
    from airflow.exceptions import TaskDeferralError as TaskDeferralTimeout  # type: ignore[no-redef]

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "BlockingChannel",
    "Channel",
    "PokeReturnValue",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "TaskDeferred",
    "TaskStore",
    "TriggerEvent",
    "TriggererChannel",
    "XCom",
    "conf",
    "dag_file_seconds",
    "further_try_is_coming",
    "in_dag_processor",
    "mask_secret",
    "start_date",
    "task_key",
    "task_store",
    "when_airflow_was_told",
]


class TaskStore(Protocol):
    """Airflow's task state store (3.3+): survives retries and clears of a task instance."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return the stored value."""

    def set(self, key: str, value: Any) -> None:
        """Store a JSON value."""

    def delete(self, key: str) -> None:
        """Forget the value."""


def task_store(context: Context) -> TaskStore | None:
    """Return the task state store, or ``None`` below Airflow 3.3."""
    store: TaskStore | None = context.get("task_state_store")
    return store


def task_key(ti: Any) -> TaskKey:
    """Return the key of a task instance, whichever class stands for it."""
    return TaskKey(ti.dag_id, ti.run_id, ti.task_id, getattr(ti, "map_index", -1))


def further_try_is_coming(context: Context) -> bool:
    """Return True if Airflow would try the task again should it fail now.

    A task's own ``retry_policy`` decides by the error, which nobody knows yet: then the careful answer
    is False, since a run that is left for a try that never comes is an orphan.
    """
    ti = context["ti"]
    if getattr(context["task"], "retry_policy", None) is not None:
        return False
    return bool(ti.try_number <= (ti.max_tries or 0))


def start_date(context: Context) -> datetime:
    """Return when this attempt began; deferral keeps it."""
    moment: datetime = context["ti"].start_date
    return moment


def when_airflow_was_told(call: Callable[[], None]) -> None:
    """Call ``call`` once this process has told Airflow how its task ended, and can still ask Airflow.

    Airflow's listeners are all that a worker runs after that.
    """
    from airflow.listeners import hookimpl

    try:
        from airflow.sdk.listener import get_listener_manager
    except ImportError:  # below Airflow 3.2
        from airflow.listeners.listener import get_listener_manager  # type: ignore[assignment]

    class Once:
        called = False

        @hookimpl
        def before_stopping(self) -> None:
            called, self.called = self.called, True
            if not called:
                call()

    get_listener_manager().add_listener(Once())  # type: ignore[no-untyped-call]


# -- talking to Airflow from an event loop ---------------------------------------------------------------


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


def _send_message(name: str, **fields: Any) -> tuple[Any, Any]:
    from airflow.sdk.execution_time import comms, task_runner

    return task_runner.SUPERVISOR_COMMS, getattr(comms, name)(**fields)


def _where(key: str, where: TaskKey) -> dict[str, Any]:
    return {
        "key": key,
        "dag_id": where.dag_id,
        "run_id": where.run_id,
        "task_id": where.task_id,
        "map_index": where.map_index,
    }


def _one(task: TaskKey | None) -> dict[str, Any]:
    return {"task_ids": [task.task_id], "map_index": task.map_index} if task else {}


class TriggererChannel:
    """The triggerer: triggers and the callbacks of deadlines. Only awaitable calls: it serves many."""

    writable = True

    async def connection(self, conn_id: str) -> tuple[Connection, dict[str, Any]]:
        """Return a connection and its extra."""
        from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

        conn = await get_async_connection(conn_id)
        return conn, await get_async_extra_dejson(conn)

    async def get(self, key: str, where: TaskKey) -> Any:
        """Return an XCom, or ``None``."""
        return await XCom.aget_one(**_where(key, where))

    async def set(self, key: str, value: Any, where: TaskKey) -> None:
        """Store an XCom."""
        await XCom.aset(value=value, **_where(key, where))

    async def delete(self, key: str, where: TaskKey) -> None:
        """Delete an XCom; a missing one is no error."""
        comms, message = _send_message("DeleteXCom", **_where(key, where))
        await comms.asend(message)

    async def task_states(self, dag_id: str, run_id: str, only: TaskKey | None = None) -> dict[str, str | None]:
        """Return the states of a Dag run's tasks, or of one."""
        comms, message = _send_message("GetTaskStates", dag_id=dag_id, run_ids=[run_id], **_one(only))
        answer = await comms.asend(message)
        return dict(answer.task_states.get(run_id, {}))


class BlockingChannel:
    """The worker and the Dag processor: one callback at a time, so a blocking call holds up nobody.

    :param writable: ``False`` in the Dag processor, where a write is never answered and hangs.
    """

    def __init__(self, *, writable: bool) -> None:
        self.writable = writable

    async def connection(self, conn_id: str) -> tuple[Connection, dict[str, Any]]:
        """Return a connection and its extra."""
        conn = BaseHook.get_connection(conn_id)
        return conn, conn.extra_dejson

    async def get(self, key: str, where: TaskKey) -> Any:
        """Return an XCom, or ``None``."""
        return XCom.get_one(**_where(key, where))

    async def set(self, key: str, value: Any, where: TaskKey) -> None:
        """Store an XCom, where that is possible."""
        if self.writable:
            XCom.set(value=value, **_where(key, where))

    async def delete(self, key: str, where: TaskKey) -> None:
        """Delete an XCom, where that is possible."""
        if self.writable:
            XCom.delete(**_where(key, where))

    async def task_states(self, dag_id: str, run_id: str, only: TaskKey | None = None) -> dict[str, str | None]:
        """Return the states of a Dag run's tasks, or of one."""
        comms, message = _send_message("GetTaskStates", dag_id=dag_id, run_ids=[run_id], **_one(only))
        return dict(comms.send(message).task_states.get(run_id, {}))


def in_dag_processor() -> bool:
    """Return True in the process that runs a Dag's callbacks and those of tasks whose worker is lost.

    Its supervisor decodes other messages than a task's; nothing public tells the two apart.
    """
    from airflow.sdk.execution_time import task_runner

    decoder = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "body_decoder", None)
    return "DagFileParseRequest" in repr(getattr(decoder, "_type", decoder))


def dag_file_seconds() -> float:
    """Return the seconds after which the Dag processor kills a process, callbacks included."""
    return float(conf.getint("dag_processor", "dag_file_processor_timeout", fallback=50))
