"""What Airflow's public REST API tells of runs: a source of the inventory, and who marks tasks.

Entries of a list carry no values, so that each handle takes a call of its own; but there are handles only of runs that
may be alive. Works with Airflow 3.1 and newer; what was added since is not needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from airflow_runctl.control.inventory import LastAttempt, Left, Scope, Stored
from airflow_runctl.exceptions import AirflowUnreachable
from airflow_runctl.rest.answers import check_marked, time_limit_in
from airflow_runctl.rest.calls import Calls
from airflow_runctl.rest.runctl_api import NoApi, RunctlApi
from airflow_runctl.runs import TaskKey, as_stored

PAGE: Final = 100
"""Entries of a page; Airflow's own limit by default."""

ANY: Final = "~"
UNMAPPED: Final = -1

READ_XCOMS: Final = "read XComs of the Dag"
READ_TASKS: Final = "read task instances of the Dag"
EDIT_TASKS: Final = "edit task instances of the Dag"


class AirflowRest:
    """Airflow's REST API, as the user who asks.

    :param calls: makes the calls.
    """

    def __init__(self, calls: Calls) -> None:
        from airflow_client.client.api import (
            connection_api,
            dag_run_api,
            task_api,
            task_instance_api,
            version_api,
            x_com_api,
        )

        self.calls = calls
        self.xcoms = x_com_api.XComApi(calls.client)
        self.tasks = task_instance_api.TaskInstanceApi(calls.client)
        self._dag_runs = dag_run_api.DagRunApi(calls.client)
        self._task_of_dag = task_api.TaskApi(calls.client)
        self._connections = connection_api.ConnectionApi(calls.client)
        self._version = version_api.VersionApi(calls.client)

    async def places(self, key: str, scope: Scope) -> list[TaskKey]:
        """Return the task instances that hold an XCom ``key``."""
        path = (scope.dag_id or ANY, scope.run_id or ANY, scope.task_id or ANY)
        listing = self.xcoms.get_xcom_entries_without_preload_content
        return [
            self._place(entry, "run_id")
            async for entry in self.pages(
                "xcom_entries", listing, *path, xcom_key=key, to="list XComs", right=READ_XCOMS
            )
        ]

    def _place(self, entry: Mapping[str, Any], run_id: str) -> TaskKey:
        """Return the task instance that an entry of a list is about.

        :param run_id: under which name it has the Dag run.
        """
        try:
            return TaskKey(entry["dag_id"], entry[run_id], entry["task_id"], int(entry["map_index"]))
        except (KeyError, TypeError, ValueError) as error:
            raise AirflowUnreachable(f"Airflow at {self.calls.url} answered an entry that is none.") from error

    async def pages(
        self, name: str, listing: Callable[..., Any], *path: Any, **more: Any
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield all entries of a list.

        :param name: under which name the answer has them.
        """
        seen = 0
        while True:
            page = await self.calls.ask(listing, *path, **more, limit=PAGE, offset=seen)
            entries = (page or {}).get(name)
            if page is None:
                return  # nothing of that name: no Dag, for example
            if not isinstance(entries, list):
                raise AirflowUnreachable(f"Airflow at {self.calls.url} answered a list without {name!r}.")
            for entry in entries:
                yield entry
            seen += len(entries)
            if not entries or seen >= int(page.get("total_entries") or 0):
                return

    async def stored(self, key: str, where: TaskKey) -> Stored | None:
        """Return an XCom, or ``None``."""
        answer = await self.calls.ask(
            self.xcoms.get_xcom_entry_without_preload_content,
            *(where.dag_id, where.task_id, where.run_id, key),
            map_index=where.map_index,
            stringify=False,
            to=f"show the XCom {key!r} of {where}",
            right=READ_XCOMS,
        )
        if answer is None:
            return None
        return Stored(as_stored(answer.get("value")), _moment(answer.get("timestamp")))

    async def attempt(self, where: TaskKey) -> LastAttempt | None:
        """Return the latest attempt of a task instance, or ``None``."""
        mapped = where.map_index != UNMAPPED
        answer = await self.calls.ask(
            self.tasks.get_mapped_task_instance_without_preload_content
            if mapped
            else self.tasks.get_task_instance_without_preload_content,
            *(where.dag_id, where.run_id, where.task_id),
            *((where.map_index,) if mapped else ()),
            to=f"show task instance {where}",
            right=READ_TASKS,
        )
        if answer is None:
            return None
        return LastAttempt(
            answer.get("state"), int(answer.get("try_number") or 0), _moment(answer.get("end_date")), answer.get("note")
        )

    async def dag_run_state(self, dag_id: str, run_id: str) -> str | None:
        """Return the state of a Dag run, or ``None``."""
        answer = await self.calls.ask(
            self._dag_runs.get_dag_run_without_preload_content,
            *(dag_id, run_id),
            to=f"show Dag run {dag_id}/{run_id}",
            right="read Dag runs of the Dag",
        )
        return None if answer is None else answer.get("state")

    async def time_limit(self, where: TaskKey) -> float | None:
        """Return the seconds of the task's ``execution_timeout``, or ``None``."""
        answer = await self.calls.ask(
            self._task_of_dag.get_task_without_preload_content,
            *(where.dag_id, where.task_id),
            to=f"show task {where.dag_id}.{where.task_id}",
            right="read tasks of the Dag",
        )
        return time_limit_in(answer)

    async def failed_since(self, since: datetime, scope: Scope, most: int) -> list[TaskKey]:
        """Return the task instances that have failed since then, the latest first, at most so many."""
        rows = self.pages(
            "task_instances",
            self.tasks.get_task_instances_without_preload_content,
            *(scope.dag_id or ANY, ANY),
            state=["failed"],
            end_date_gte=since,
            order_by=["-end_date"],
            to="list failed tasks",
            right=READ_TASKS,
        )
        found: list[TaskKey] = []
        async for row in rows:
            where = self._place(row, "dag_run_id")
            if scope.has_place(where):
                found.append(where)
            if len(found) >= most:
                break
        return found

    async def left(self, scope: Scope) -> tuple[list[Left], bool]:
        """Return what archived attempts left, as only our own API in the API server can tell.

        :raises AirflowUnreachable: if an Airflow that archives attempts (3.4 and newer) has no such API.
        """
        try:
            return await RunctlApi(self.calls).archived(scope)
        except NoApi as error:
            answer = await self.calls.ask(
                self._version.get_version_without_preload_content, to="tell its version", right="log in"
            )
            if _is_older((answer or {}).get("version"), ARCHIVES):
                return [], True
            raise AirflowUnreachable(str(error)) from error

    async def let_go(self, over: Sequence[Left]) -> None:
        """Take out handles of archived attempts whose runs are over."""
        await RunctlApi(self.calls).let_go(over)

    async def connections(self, types: frozenset[str]) -> frozenset[tuple[str, str]]:
        """Return type and id of the connections of these types that Airflow stores itself."""
        listing = self._connections.get_connections_without_preload_content
        return frozenset(
            [
                (entry["conn_type"], entry["connection_id"])
                async for entry in self.pages("connections", listing, to="list connections", right="read connections")
                if entry.get("conn_type") in types
            ]
        )

    async def fail(self, where: TaskKey, note: str | None) -> None:
        """Mark a task instance as failed."""
        from airflow_client.client.models.patch_task_instance_body import PatchTaskInstanceBody
        from airflow_client.client.models.task_instance_state import TaskInstanceState

        body = PatchTaskInstanceBody(new_state=TaskInstanceState.FAILED, note=note)
        mapped = where.map_index != UNMAPPED
        answer = await self.calls.ask(
            self.tasks.patch_task_instance_by_map_index_without_preload_content
            if mapped
            else self.tasks.patch_task_instance_without_preload_content,
            *(where.dag_id, where.run_id, where.task_id),
            *((where.map_index,) if mapped else ()),
            body,
            to=f"mark {where} as failed",
            right=EDIT_TASKS,
        )
        check_marked(answer, where)


ARCHIVES: Final = (3, 4)
"""The first Airflow that keeps attempts with their XComs."""


def _is_older(version: object, than: tuple[int, int]) -> bool:
    parts = str(version).split(".")[:2]
    return all(part.isdecimal() for part in parts) and tuple(map(int, parts)) < than


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
