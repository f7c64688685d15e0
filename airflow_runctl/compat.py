"""The only file that knows which Airflow this is: 2.11, or 3.1 and newer.

Names come from ``apache-airflow-providers-common-compat`` where it has them. What differs in substance
between versions, or between Airflow's processes, is a constant or a function here.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow import __version__ as airflow_version
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

AIRFLOW: Final = tuple(int(part) for part in airflow_version.split(".")[:2])

IS_AIRFLOW_2: Final = AIRFLOW < (3, 0)
"""Airflow 2.11: every process has the metadata database; SLAs instead of deadlines."""

HAS_TASK_STORE: Final = AIRFLOW >= (3, 3)
"""True if something that a task stores survives its retries and clears."""

TRIGGERS_HEAR_OF_KILLS: Final = hasattr(BaseTrigger, "on_kill")
"""True if Airflow tells a trigger of a kill (3.3 and newer); below, all it sees is that it is cancelled."""

if IS_AIRFLOW_2:
    from airflow.exceptions import TaskDeferralError

    TaskDeferralTimeout = TaskDeferralError  # both are one there

    class BaseNotifier(BaseNotifier):  # type: ignore[no-redef]
        """Takes the context that Airflow 3 gives a notifier of a deadline."""

        def __init__(self, context: Context | None = None) -> None:
            super().__init__()

elif AIRFLOW < (3, 2):
    from airflow.exceptions import TaskDeferralError, TaskDeferralTimeout  # type: ignore[no-redef]
else:
    from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout

__all__ = [
    "AIRFLOW",
    "HAS_TASK_STORE",
    "IS_AIRFLOW_2",
    "TRIGGERS_HEAR_OF_KILLS",
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
    "callback_channel",
    "conf",
    "context_of_lost_resumption",
    "count",
    "dag_file_seconds",
    "delete_xcom",
    "further_try_is_coming",
    "get_xcom",
    "in_dag_processor",
    "is_marked",
    "kill_held_back",
    "lead_over_core",
    "mask_secret",
    "set_xcom",
    "start_date",
    "task_key",
    "task_store",
    "unfinished_dag_runs",
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
    from airflow.providers.common.compat.sdk import get_listener_manager

    class Once:
        called = False

        @hookimpl
        def before_stopping(self) -> None:
            called, self.called = self.called, True
            if not called:
                call()

    once = Once()
    get_listener_manager().add_listener(once)  # type: ignore[no-untyped-call]
    if (3, 0) <= AIRFLOW < (3, 2):
        from airflow.sdk.execution_time import task_runner

        told: Any = _ToldOfRefusal(task_runner.SUPERVISOR_COMMS, once.before_stopping)
        task_runner.SUPERVISOR_COMMS = told


class _ToldOfRefusal:
    """The channel of a task of Airflow 3.1, whose process ends at once, listeners unheard, if its deferral is refused.

    :param comms: the channel itself.
    :param call: called then.
    """

    def __init__(self, comms: Any, call: Callable[[], None]) -> None:
        self._comms = comms
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comms, name)

    def send(self, msg: Any) -> Any:
        """Send a message, and wait for the answer."""
        try:
            return self._comms.send(msg)
        except Exception:
            if type(msg).__name__ == "DeferTask":
                self._call()
            raise


def lead_over_core(limit: timedelta) -> timedelta:
    """Return how long before ``execution_timeout`` a trigger has to act, to be ahead of Airflow itself.

    Airflow 3 does not enforce it while a task is deferred. 2.11 does: it takes the trigger away, and a task that
    comes back later fails before any method of ours, or with an ``on_kill`` that knows no run.
    """
    return min(limit / 10, LONGEST_LEAD) if IS_AIRFLOW_2 else timedelta(0)


LONGEST_LEAD: Final = timedelta(seconds=30)


def context_of_lost_resumption() -> Context | None:
    """Return the context of a task that came back from a deferral and is ended before any method of ours ran.

    For ``on_kill`` on Airflow 2.11, where ``execution_timeout`` includes the deferral: an operator that comes back
    too late is a fresh one that knows no run. Elsewhere, and for a task that was not deferred, ``None``.
    """
    if not IS_AIRFLOW_2:
        return None
    from airflow.exceptions import AirflowException as NoContext
    from airflow.providers.common.compat.sdk import get_current_context

    try:
        context: Any = get_current_context()
    except NoContext:
        return None
    return context if context["ti"].next_method else None


@contextmanager
def kill_held_back(on_kill: Callable[[], None]) -> Iterator[None]:
    """Let a kill on a worker call ``on_kill``, and raise nothing before the end.

    That is what Airflow 3 does. The handler of 2.11 raises after it, wherever the process is: it would tear a start
    from its record. In the end its own error is raised there too: with that alone it looks at what a user has made
    of the task meanwhile, which it would overwrite with any other, to the point of a retry.
    """
    if not IS_AIRFLOW_2 or threading.current_thread() is not threading.main_thread():
        yield
        return
    from airflow.exceptions import AirflowTaskTerminated

    killed: list[int] = []

    def kill(signum: int, frame: Any) -> None:
        killed.append(signum)
        on_kill()

    before = signal.signal(signal.SIGTERM, kill)
    error: BaseException | None = None
    try:
        yield
    except AirflowFailException:  # somebody wanted the run to end: no retry
        raise
    except BaseException as raised:
        error = raised
        if not killed:
            raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if killed:
        ended = AirflowTaskTerminated(str(error or "The task was killed."))
        for note in getattr(error, "__notes__", ()):
            ended.add_note(note)
        raise ended from error


def is_marked(ti: Any) -> bool:
    """Return True if a user has marked or cleared a running task, of which its process has not heard yet.

    To be asked before a deferral: Airflow 3 refuses that by itself, 2.11 would write over what the user did.
    """
    if not IS_AIRFLOW_2:
        return False
    states = _task_states_in_database(ti.dag_id, ti.run_id, task_key(ti)).values()
    return not USERS_STATES.isdisjoint(states)


USERS_STATES: Final = frozenset({"failed", "success", "skipped", "removed", "restarting"})
"""What a user, or ``dagrun_timeout``, makes of a running task."""


def count(name: str, tags: Mapping[str, str], *, in_triggerer: bool) -> None:
    """Add one to a counter of Airflow's metrics.

    :param name: name of the counter.
    :param tags: its tags.
    :param in_triggerer: the triggerer sets up core's metrics, a worker the Task SDK's; on some versions they are two.
    """
    if in_triggerer and AIRFLOW >= (3, 2):
        from airflow._shared.observability.metrics import stats as core

        # A module of functions from 3.3 on, a class in a module before.
        getattr(core, "Stats", core).incr(name, tags=dict(tags))
        return
    from airflow.providers.common.compat.sdk import Stats

    Stats.incr(name, tags=dict(tags))


# -- XCom ------------------------------------------------------------------------------------------------


def get_xcom(key: str, where: TaskKey) -> Any:
    """Return the XCom ``key`` of a task instance, or ``None``."""
    return XCom.get_one(**_where(key, where))


def set_xcom(key: str, value: Any, where: TaskKey) -> None:
    """Store an XCom."""
    XCom.set(value=value, **_where(key, where))


def delete_xcom(key: str, where: TaskKey) -> None:
    """Delete an XCom; a missing one is no error."""
    if not IS_AIRFLOW_2:
        XCom.delete(**_where(key, where))
        return
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = XCom.get_many(
            key=key,
            dag_ids=where.dag_id,
            run_id=where.run_id,
            task_ids=where.task_id,
            map_indexes=where.map_index,
            session=session,
        )
        # Each by itself: a custom backend clears up behind it.
        XCom.delete(rows.all(), session=session)


def _where(key: str, where: TaskKey) -> dict[str, Any]:
    return {
        "key": key,
        "dag_id": where.dag_id,
        "run_id": where.run_id,
        "task_id": where.task_id,
        "map_index": where.map_index,
    }


# -- Airflow 2.11: what only the metadata database tells ---------------------------------------------------


def unfinished_dag_runs(dag_id: str) -> dict[str, datetime]:
    """Return the unfinished Dag runs of a Dag: run id to when its SLAs begin to count.

    That is the end of the data interval: the moment from which a scheduled run may start. On Airflow 2.11 only.
    """
    from airflow.models import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.query(DagRun).filter(DagRun.dag_id == dag_id, DagRun.state.in_(("queued", "running"))).all()
        # A run by hand has the last complete interval, and a logical date after it.
        return {row.run_id: max(row.data_interval_end or row.execution_date, row.execution_date) for row in rows}


def _task_states_in_database(dag_id: str, run_id: str, only: TaskKey | None) -> dict[str, str | None]:
    """Return what Airflow 3 answers to ``GetTaskStates``.

    A task between its trigger and its worker, which 2.11 has to start again to fail it, still is the deferred
    attempt: a new one has nothing to come back to.
    """
    from airflow.models import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        asked = session.query(
            TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state, TaskInstance.next_method
        ).filter(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        if only is not None:
            asked = asked.filter(TaskInstance.task_id == only.task_id, TaskInstance.map_index == only.map_index)
        return {
            task_id if map_index < 0 else f"{task_id}_{map_index}": (
                "deferred" if next_method and state in ("scheduled", "queued") else state and str(state)
            )
            for task_id, map_index, state, next_method in asked
        }


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


def _one(task: TaskKey | None) -> dict[str, Any]:
    return {"task_ids": [task.task_id], "map_index": task.map_index} if task else {}


class BlockingChannel:
    """The worker and the Dag processor: one callback at a time, so a blocking call holds up nobody.

    :param writable: ``False`` in a Dag processor that cannot write: there a write is never answered and hangs.
    """

    def __init__(self, *, writable: bool) -> None:
        self.writable = writable

    async def connection(self, conn_id: str) -> tuple[Connection, dict[str, Any]]:
        """Return a connection and its extra."""
        conn = BaseHook.get_connection(conn_id)
        return conn, conn.extra_dejson

    async def get(self, key: str, where: TaskKey) -> Any:
        """Return an XCom, or ``None``."""
        return get_xcom(key, where)

    async def set(self, key: str, value: Any, where: TaskKey) -> None:
        """Store an XCom, where that is possible."""
        if self.writable:
            set_xcom(key, value, where)

    async def delete(self, key: str, where: TaskKey) -> None:
        """Delete an XCom, where that is possible."""
        if self.writable:
            delete_xcom(key, where)

    async def task_states(self, dag_id: str, run_id: str, only: TaskKey | None = None) -> dict[str, str | None]:
        """Return the states of a Dag run's tasks, or of one."""
        if IS_AIRFLOW_2:
            return _task_states_in_database(dag_id, run_id, only)
        comms, message = _send_message("GetTaskStates", dag_id=dag_id, run_ids=[run_id], **_one(only))
        return dict(comms.send(message).task_states.get(run_id, {}))


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
        comms, message = _send_message("GetXCom", **_where(key, where))
        answer = await comms.asend(message)
        return None if answer.value is None else XCom.deserialize_value(answer)

    async def set(self, key: str, value: Any, where: TaskKey) -> None:
        """Store an XCom."""
        comms, message = _send_message(
            "SetXCom", **{**_where(key, where), "value": XCom.serialize_value(value, **_where(key, where))}
        )
        await comms.asend(message)

    async def delete(self, key: str, where: TaskKey) -> None:
        """Delete an XCom; a missing one is no error."""
        comms, message = _send_message("DeleteXCom", **_where(key, where))
        await comms.asend(message)

    async def task_states(self, dag_id: str, run_id: str, only: TaskKey | None = None) -> dict[str, str | None]:
        """Return the states of a Dag run's tasks, or of one."""
        comms, message = _send_message("GetTaskStates", dag_id=dag_id, run_ids=[run_id], **_one(only))
        answer = await comms.asend(message)
        return dict(answer.task_states.get(run_id, {}))


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
        return await asyncio.to_thread(_task_states_in_database, dag_id, run_id, only)


TriggererChannel: Final[type[Channel]] = _TriggererWithDatabase if IS_AIRFLOW_2 else _SupervisedTriggerer
"""The triggerer: triggers and the callbacks of deadlines."""


def callback_channel() -> Channel:
    """Return how a callback in the worker or the Dag processor asks Airflow."""
    return BlockingChannel(writable=IS_AIRFLOW_2 or not in_dag_processor())


def in_dag_processor() -> bool:
    """Return True in the process that runs a Dag's callbacks and those of tasks whose worker is lost.

    In Airflow 3 its supervisor decodes other messages than a task's; in 2.11 its thread has a name. Nothing
    public tells the processes apart.
    """
    if IS_AIRFLOW_2:
        return threading.current_thread().name.startswith("DagFileProcessor")
    from airflow.sdk.execution_time import task_runner

    decoder = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "body_decoder", None)
    return "DagFileParseRequest" in repr(getattr(decoder, "_type", decoder))


def dag_file_seconds() -> float:
    """Return the seconds after which the Dag processor kills a process, callbacks included."""
    section = "core" if IS_AIRFLOW_2 else "dag_processor"
    return float(conf.getint(section, "dag_file_processor_timeout", fallback=50))
