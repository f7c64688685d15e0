"""The API of this package in Airflow's API server, ``/runctl``, asked as the user: it acts where a shell cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from airflow_runctl.exceptions import AirflowUnreachable, RunctlError, WrongArgument
from airflow_runctl.rest.answers import detail_in
from airflow_runctl.rest.calls import SECONDS, Calls

BASE: Final = "/runctl"

LONGEST_WAIT: Final = 50.0
"""Seconds for which that API lets an answer wait."""

READ: Final = "read the task instances of the Dag"
EDIT: Final = "edit the task instances of the Dag"

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


def _json(content: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(content)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
