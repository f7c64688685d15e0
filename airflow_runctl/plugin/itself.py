"""Airflow's own public API, asked inside its process for the user who asks: with that user's token, and rights.

What marks a task, starts a Dag run or shows a task is public and stays as it is from version to version; the functions
behind it do not. So nothing is done here that the user could not do, and Airflow's own log of actions has the name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx  # noqa: TID253  (no Dag file imports this)

from airflow_runctl.exceptions import AirflowRefused, AirflowUnreachable
from airflow_runctl.plugin.login import Caller
from airflow_runctl.rest.answers import check_marked, detail_in, time_limit_in
from airflow_runctl.runs import TaskKey

NO_SUCH: Final = 404
REFUSED: Final = frozenset({401, 403})


class Itself:
    """Asks Airflow, as a user.

    :param app: Airflow's application, as it was handed on by the door.
    :param caller: the user.
    """

    def __init__(self, app: Any, caller: Caller) -> None:
        self._app = app
        self._caller = caller
        self._loop = asyncio.get_running_loop()

    async def ask(
        self, method: str, *path: str, to: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Return Airflow's answer, or ``None`` if what it is about does not exist.

        :param path: parts of the path below ``/api/v2``.
        :param to: ends the sentence "Airflow refuses to ...".
        :raises AirflowRefused: if the user lacks the right.
        :raises AirflowUnreachable: if Airflow cannot do it.
        """
        asking = self._send(method, "/".join(quote(part, safe="") for part in path), body)
        if asyncio.get_running_loop() is self._loop:
            response = await asking
        else:  # Airflow's application belongs to the loop of its server.
            response = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asking, self._loop))
        if response.status_code == NO_SUCH:
            return None
        if response.status_code in REFUSED:
            raise AirflowRefused(f"Airflow refuses to {to} (HTTP {response.status_code}): the login lacks the right.")
        if not response.is_success:
            said = f"HTTP {response.status_code}{detail_in(response.content)}"
            raise AirflowUnreachable(f"Airflow cannot {to} now ({said}).")
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow-itself") as client:
            return await client.request(method, f"/api/v2/{path}", json=body, headers=dict(self._caller.credential))

    async def fail(self, where: TaskKey, note: str | None) -> None:
        """Mark a task instance as failed."""
        mapped = () if where.map_index < 0 else (str(where.map_index),)
        answer = await self.ask(
            "PATCH",
            *("dags", where.dag_id, "dagRuns", where.run_id, "taskInstances", where.task_id, *mapped),
            to=f"mark {where} as failed",
            body={"new_state": "failed", **({"note": note} if note else {})},
        )
        check_marked(answer, where)

    async def time_limit(self, where: TaskKey) -> float | None:
        """Return the seconds of the task's ``execution_timeout``, or ``None`` if it has none, or that is not known."""
        try:
            answer = await self.ask("GET", "dags", where.dag_id, "tasks", where.task_id, to=f"show task {where}")
        except (AirflowRefused, AirflowUnreachable):
            return None
        return time_limit_in(answer)
