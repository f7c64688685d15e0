"""A source of the inventory for places that are named: what a task may ask of other Dags' task instances."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from airflow_runctl.compat import Channel
from airflow_runctl.control.inventory import LastAttempt, Scope, Stored
from airflow_runctl.exceptions import AirflowUnreachable, RunctlError
from airflow_runctl.runs import TaskKey, instance_name

T = TypeVar("T")


class ChannelSource:
    """A task's questions.

    :param channel: how it asks.
    :param dag_run_state: asks for the state of a Dag run.
    :param places: the task instances that are meant; it cannot look for others.
    """

    def __init__(
        self,
        channel: Channel,
        dag_run_state: Callable[[str, str], Awaitable[str | None]],
        places: Iterable[TaskKey],
    ) -> None:
        self._channel = channel
        self._dag_run_state = dag_run_state
        self._places = list(places)

    async def places(self, key: str, scope: Scope) -> list[TaskKey]:
        """Return the places; whether an XCom ``key`` still lies there is seen when it is read."""
        return self._places

    async def stored(self, key: str, where: TaskKey) -> Stored | None:
        """Return an XCom, or ``None``."""
        value = await _said(self._channel.get(key, where))
        return None if value is None else Stored(value)

    async def attempt(self, where: TaskKey) -> LastAttempt | None:
        """Return the latest attempt; its number and its end are not told here."""
        states = await _said(self._channel.task_states(where.dag_id, where.run_id, where))
        name = instance_name(where.task_id, where.map_index)
        return LastAttempt(states[name], 0) if name in states else None

    async def dag_run_state(self, dag_id: str, run_id: str) -> str | None:
        """Return the state of a Dag run."""
        return await _said(self._dag_run_state(dag_id, run_id))

    async def time_limit(self, where: TaskKey) -> float | None:
        """Return ``None``: that is not told here."""
        return None


class Nobody:
    """Ends no task: a task has no right to mark another one."""

    async def fail(self, where: TaskKey, note: str | None) -> None:
        """Refuse.

        :raises RunctlError: always.
        """
        raise RunctlError(f"By now {where} has a live attempt again, and a task cannot mark it. Ask for the stop anew.")


async def _said(asking: Awaitable[T]) -> T:
    try:
        return await asking
    except Exception as error:
        raise AirflowUnreachable(f"Airflow does not say ({type(error).__name__}).") from error
