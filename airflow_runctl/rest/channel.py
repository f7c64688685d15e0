"""How Airflow is asked for what stops runs: for connections where this process may read them, else over the REST API.

What it does is recorded in XCom where the user may write there: then nobody takes the run for alive any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_runctl.compat import Channel
from airflow_runctl.rest.source import READ_TASKS, AirflowRest
from airflow_runctl.runs import TaskKey, instance_name

if TYPE_CHECKING:
    from airflow.sdk import Connection

EDIT_XCOMS: Final = "edit XComs of the Dag"


class RestChannel:
    """A channel over the REST API.

    :param rest: the API.
    :param here: how this process reads connections.
    """

    writable = True

    def __init__(self, rest: AirflowRest, here: Channel) -> None:
        from airflow_client.client.api import variable_api

        self._rest = rest
        self._variables = variable_api.VariableApi(rest.calls.client)
        self._here = here

    async def connection(self, conn_id: str) -> tuple[Connection, dict[str, Any]]:
        """Return a connection and its extra, if this machine may read it."""
        return await self._here.connection(conn_id)

    async def get(self, key: str, where: TaskKey) -> Any:
        """Return the XCom ``key`` of a task instance, or ``None``."""
        stored = await self._rest.stored(key, where)
        return None if stored is None else stored.value

    async def set(self, key: str, value: Any, where: TaskKey) -> None:
        """Store an XCom."""
        from airflow_client.client.models.x_com_create_body import XComCreateBody
        from airflow_client.client.models.x_com_update_body import XComUpdateBody

        api, path = self._rest.xcoms, (where.dag_id, where.task_id, where.run_id)
        said = {"to": f"write the XCom {key!r} of {where}", "right": EDIT_XCOMS}
        if await self._rest.stored(key, where) is None:
            body = XComCreateBody(key=key, value=value, map_index=where.map_index)
            await self._rest.calls.ask(api.create_xcom_entry_without_preload_content, *path, body, **said)
        else:
            change = XComUpdateBody(value=value, map_index=where.map_index)
            await self._rest.calls.ask(api.update_xcom_entry_without_preload_content, *path, key, change, **said)

    async def delete(self, key: str, where: TaskKey) -> None:
        """Delete an XCom; a missing one is no error."""
        await self._rest.calls.ask(
            self._rest.xcoms.delete_xcom_entry_without_preload_content,
            *(where.dag_id, where.task_id, where.run_id, key),
            map_index=where.map_index,
            to=f"delete the XCom {key!r} of {where}",
            right=EDIT_XCOMS,
        )

    async def task_states(self, dag_id: str, run_id: str, only: TaskKey | None = None) -> dict[str, str | None]:
        """Return the states of a Dag run's tasks, or of one; a mapped instance is named ``<task_id>_<index>``."""
        listing = self._rest.tasks.get_task_instances_without_preload_content
        rows = self._rest.pages(
            "task_instances", listing, dag_id, run_id, to=f"list the tasks of {dag_id}/{run_id}", right=READ_TASKS
        )
        return {
            instance_name(row["task_id"], row["map_index"]): row["state"]
            async for row in rows
            if only is None or (row["task_id"], row["map_index"]) == (only.task_id, only.map_index)
        }

    async def variables(self, prefix: str) -> list[str]:
        """Return the names of Variables that begin so."""
        listing = self._variables.get_variables_without_preload_content
        rows = self._rest.pages(
            "variables", listing, variable_key_pattern=f"{prefix}%", to="list Variables", right="read Variables"
        )
        return [row["key"] async for row in rows if row["key"].startswith(prefix)]

    async def delete_variable(self, name: str) -> None:
        """Delete a Variable."""
        call = self._variables.delete_variable_without_preload_content
        await self._rest.calls.ask(call, name, to=f"delete Variable {name!r}", right="delete Variables")
