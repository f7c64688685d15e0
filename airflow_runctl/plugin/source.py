"""A source of the inventory over Airflow's own tables, for the Dags that a user may see: one question for all runs.

What one look at the tables told is given out once; whoever asks again, as right before a stop, is told anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final, TypeVar

from airflow_runctl.compat import archive, tables
from airflow_runctl.control.archive import BESIDE as LEFT_BESIDE
from airflow_runctl.control.archive import LOOK_BACK, MOST, READ, candidate
from airflow_runctl.control.inventory import LastAttempt, Left, Scope, Stored
from airflow_runctl.exceptions import AirflowUnreachable
from airflow_runctl.runs import AUDIT_KEY, HANDLE_KEY, HISTORY_KEY, TaskKey, digest_of

T = TypeVar("T")

BESIDE: Final = (AUDIT_KEY, HISTORY_KEY)
"""What is read of a task instance together with its handle."""

May = Callable[[set[str]], Awaitable[frozenset[str]]]
Limit = Callable[[TaskKey], Awaitable[float | None]]


def asked(question: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    """Make a blocking question of ``tables`` one for an event loop; what the database does not tell is an error."""

    @wraps(question)
    async def ask(*arguments: Any, **more: Any) -> T:
        try:
            return await asyncio.to_thread(question, *arguments, **more)
        except Exception as error:
            # The error's own text may name the database, and what was asked.
            raise AirflowUnreachable(f"Airflow's database does not say ({type(error).__name__}).") from error

    return ask


class Tables:
    """Airflow's own tables.

    :param may: returns those of some Dags that the user may see; of others nothing is read.
    :param limit: returns the ``execution_timeout`` of a task.
    """

    def __init__(self, may: May, limit: Limit) -> None:
        self._may = may
        self._limit = limit
        self._stored: dict[tuple[str, TaskKey], Stored | None] = {}
        self._attempts: dict[TaskKey, tables.Attempt | None] = {}
        self._dag_runs: dict[tuple[str, str], str | None] = {}
        self.began: dict[TaskKey, datetime | None] = {}
        """When the latest attempt began, of each task instance that was looked at."""

    async def places(self, key: str, scope: Scope) -> list[TaskKey]:
        """Return the task instances that hold an XCom ``key``, and keep what was read on the way."""
        dag_ids = await self._may(await asked(tables.dags_with)(key, scope.dag_id))
        if not dag_ids:
            return []
        rows = await asked(tables.held)(key, BESIDE, dag_ids, scope.run_id, scope.task_id, scope.map_index)
        for row in rows:
            self._stored[key, row.where] = Stored(row.value, row.at)
            for name in BESIDE:
                beside = row.beside.get(name)
                self._stored[name, row.where] = None if beside is None else Stored(*beside)
            self._attempts[row.where] = row.attempt
        return [row.where for row in rows]

    async def stored(self, key: str, where: TaskKey) -> Stored | None:
        """Return an XCom, or ``None``."""
        if (key, where) in self._stored:
            return self._stored.pop((key, where))
        row = await asked(tables.stored)(key, where)
        return None if row is None else Stored(*row)

    async def earlier(self, key: str, where: TaskKey) -> list[Any]:
        """Return what the earlier attempts of a task instance still hold as XCom ``key`` (3.4 and newer)."""
        return await asked(archive.archived)(key, where)

    async def left(self, scope: Scope) -> tuple[list[Left], bool]:
        """Return what archived attempts left (3.4 and newer), as far as no record says that it is of no use."""
        found = await self._archived(scope)
        left = [one for one in map(_left, found) if one is not None]
        return left[:MOST], len(found) < READ and len(left) <= MOST

    async def let_go(self, over: Sequence[Left]) -> None:
        """Take out handles of archived attempts."""
        for where in {one.where for one in over}:
            meant = {(one.try_number, digest_of(one.handle)) for one in over if one.where == where}
            await self.drop(where, meant)

    async def drop(self, where: TaskKey, meant: Collection[tuple[int, str]]) -> None:
        """Take out those handles that archived attempts of a task instance hold and that are meant.

        :param meant: number of each attempt, and the digest of its handle.
        """
        scope = Scope(dag_id=where.dag_id, run_id=where.run_id, task_id=where.task_id, map_index=where.map_index)
        ids = [
            one.attempt_id
            for one in await self._archived(scope)
            if isinstance(one.value, Mapping) and (one.try_number, digest_of(one.value)) in meant
        ]
        await asked(archive.drop_archived)(HANDLE_KEY, ids)

    async def _archived(self, scope: Scope) -> list[archive.Archived]:
        since = datetime.now(UTC) - LOOK_BACK
        dag_ids = await self._may(await asked(archive.dags_with_archived)(HANDLE_KEY, since, scope.dag_id))
        if not dag_ids:
            return []
        place = {"run_id": scope.run_id, "task_id": scope.task_id, "map_index": scope.map_index}
        return await asked(archive.held_by_archived)(HANDLE_KEY, LEFT_BESIDE, dag_ids, since, READ, **place)

    async def attempt(self, where: TaskKey) -> LastAttempt | None:
        """Return the latest attempt of a task instance, or ``None``."""
        if where in self._attempts:
            attempt = self._attempts.pop(where)
        else:
            attempt = await asked(tables.latest_attempt)(where)
        if attempt is None:
            return None
        # As old as what was just told, and no older.
        self._dag_runs[where.dag_id, where.run_id] = attempt.dag_run
        self.began[where] = attempt.began_at
        return LastAttempt(attempt.state, attempt.try_number, attempt.ended_at, attempt.note)

    async def dag_run_state(self, dag_id: str, run_id: str) -> str | None:
        """Return the state of a Dag run, or ``None``."""
        if (dag_id, run_id) in self._dag_runs:
            return self._dag_runs.pop((dag_id, run_id))
        return await asked(tables.dag_run_state)(dag_id, run_id)

    async def time_limit(self, where: TaskKey) -> float | None:
        """Return the seconds of the task's ``execution_timeout``, or ``None``."""
        return await self._limit(where)


def _left(one: archive.Archived) -> Left | None:
    return candidate(one.where, one.try_number, one.value, one.beside, one.latest)
