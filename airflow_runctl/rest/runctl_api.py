"""The API of this package in Airflow's API server, ``/runctl``, asked as the user: it acts where a shell cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from airflow_runctl.control.inventory import Left, Scope
from airflow_runctl.exceptions import AirflowUnreachable, RunctlError, WrongArgument
from airflow_runctl.rest.answers import detail_in
from airflow_runctl.rest.calls import SECONDS, Calls
from airflow_runctl.runs import TaskKey, digest_of

BASE: Final = "/runctl"

LONGEST_WAIT: Final = 50.0
"""Seconds for which that API lets an answer wait."""

READ: Final = "read the task instances of the Dag"
EDIT: Final = "edit the task instances of the Dag"
SWEEP: Final = "edit the task instances of the Dag, and to read its XComs"

NOT_THERE: Final = frozenset({404, 405})
"""What an Airflow answers that has no such API."""


class NoApi(RunctlError):
    """There is no such API at this Airflow."""


class RunctlApi:
    """That API, as the user who asks.

    :param calls: makes the calls.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def shown(self, run_id: str) -> list[dict[str, Any]]:
        """Return all that it knows of the runs of an id.

        :raises NoApi: if there is no such API.
        :raises RunctlError: if it does not say.
        """
        path = f"/runs/{quote(run_id, safe='')}"
        answer = await self._ask("GET", path, None, to=f"show run {run_id}", right=READ, seconds=SECONDS)
        return list(answer.get("runs") or ())

    async def archived(self, scope: Scope) -> tuple[list[Left], bool]:
        """Return what archived attempts left, and whether that is all.

        :raises NoApi: if there is no such API.
        :raises RunctlError: if it does not say.
        """
        named = {
            "dag_id": scope.dag_id,
            "dag_run_id": scope.run_id,
            "task_id": scope.task_id,
            "map_index": scope.map_index,
        }
        query = urlencode({name: value for name, value in named.items() if value is not None})
        to = "show what archived attempts left"
        answer = await self._ask("GET", f"/archived?{query}", None, to=to, right=SWEEP, seconds=SECONDS)
        return [_left(one) for one in answer.get("handles") or ()], bool(answer.get("is_all"))

    async def let_go(self, over: Sequence[Left]) -> None:
        """Take out handles of archived attempts whose runs are over.

        :raises RunctlError: if it does not.
        """
        named = [
            {
                "dag_id": one.where.dag_id,
                "dag_run_id": one.where.run_id,
                "task_id": one.where.task_id,
                "map_index": one.where.map_index,
                "try_number": one.try_number,
                "digest": digest_of(one.handle),
            }
            for one in over
        ]
        to = "let go what archived attempts left"
        await self._ask("POST", "/archived/over", {"over": named}, to=to, right=SWEEP, seconds=SECONDS)

    async def do(self, act: str, body: Mapping[str, Any], *, to: str, seconds: float) -> dict[str, Any]:
        """Have something done, and return what came of it.

        :param act: ``stop``, ``resume``, ``sweep`` or ``test``.
        :param to: ends the sentence "Airflow refuses to ...".
        :param seconds: how long it may take before it answers.
        :raises NoApi: if there is no such API.
        :raises AirflowRefused: if the login lacks a right.
        :raises RunctlError: if it could not be done, and why.
        """
        given = {name: value for name, value in body.items() if value is not None}
        return await self._ask("POST", f"/{act}", given, to=to, right=EDIT, seconds=seconds + SECONDS)

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, *, to: str, right: str, seconds: float
    ) -> dict[str, Any]:
        status, content = await self._calls.send(method, f"{BASE}{path}", body, seconds)
        answer = _json(content)
        if status in (401, 403):
            raise self._calls.refusal(status, content, to, right)
        if status == 404 and method == "GET" and "No such run" in detail_in(content):
            return {}
        if status == 204:
            return {}
        if status in NOT_THERE or answer is None:
            raise NoApi(f"Airflow at {self._calls.url} has no API of airflow-runctl (HTTP {status} at /runctl).")
        if 200 <= status < 300:
            return answer
        said = detail_in(content).removeprefix(": ")
        if status == 409:
            raise RunctlError(said)
        if status == 422:
            raise WrongArgument(f"Airflow at {self._calls.url} does not take that: {answer.get('detail')}")
        raise AirflowUnreachable(f"Airflow at {self._calls.url} cannot {to} now (HTTP {status}: {said}).")


def _left(row: Any) -> Left:
    """Return an entry of the answer.

    :raises AirflowUnreachable: if it is none.
    """
    try:
        where = TaskKey(row["dag_id"], row["dag_run_id"], row["task_id"], int(row["map_index"]))
        return Left(where, int(row["try_number"]), dict(row["handle"]), bool(row["has_other"]))
    except (KeyError, TypeError, ValueError) as error:
        raise AirflowUnreachable("The API of airflow-runctl answered an entry that is none.") from error


def _json(content: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(content)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
