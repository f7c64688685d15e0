"""How the API server asks Airflow for what stops runs: its own tables, and connections as plugins may read them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow_runctl.compat import BlockingChannel, tables
from airflow_runctl.runs import TaskKey

if TYPE_CHECKING:
    from airflow.sdk import Connection


class TablesChannel:
    """A channel over Airflow's own tables."""

    writable = True

    def __init__(self) -> None:
        self._connections = BlockingChannel(writable=False)

    async def connection(self, conn_id: str) -> tuple[Connection, dict[str, Any]]:
        """Return a connection and its extra."""
        return await self._connections.connection(conn_id)

    async def get(self, key: str, where: TaskKey) -> Any:
        """Return the XCom ``key`` of a task instance, or ``None``."""
        row = await asyncio.to_thread(tables.stored, key, where)
        return None if row is None else row[0]

    async def set(self, key: str, value: Any, where: TaskKey) -> None:
        """Store an XCom."""
        await asyncio.to_thread(tables.store, key, value, where)

    async def delete(self, key: str, where: TaskKey) -> None:
        """Delete an XCom; a missing one is no error."""
        await asyncio.to_thread(tables.drop, key, where)

    async def task_states(self, dag_id: str, run_id: str, only: TaskKey | None = None) -> dict[str, str | None]:
        """Return the states of a Dag run's tasks, or of one; a mapped instance is named ``<task_id>_<index>``."""
        return await asyncio.to_thread(tables.task_states, dag_id, run_id, only)

    async def variables(self, prefix: str) -> list[str]:
        """Return the names of Variables that begin so."""
        return await asyncio.to_thread(tables.variables, prefix)

    async def delete_variable(self, name: str) -> None:
        """Delete a Variable."""
        await asyncio.to_thread(tables.drop_variable, name)
