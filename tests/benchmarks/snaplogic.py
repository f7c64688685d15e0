"""Runs of ours at the server of ``tests/servers/many_runs.py``, and an Airflow that answers from memory."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from types import SimpleNamespace
from typing import Any, Final

from airflow_runctl.control.seal import handle_of
from airflow_runctl.hooks.base import Access
from airflow_runctl.hooks.snaplogic import SnapLogicHook
from airflow_runctl.runs import HANDLE_KEY, ExternalRun, Owner, TaskKey
from airflow_runctl.triggers.run import ExternalRunTrigger
from tests.fakes.airflow_3 import FakeAirflow, in_place
from tests.servers.many_runs import run_ids

DAG_ID: Final = "many"
RUN_ID: Final = "manual__1"
CONN_ID: Final = "snaplogic_default"


def connect(url: str) -> Access:
    """Make the server at ``url`` the SnapLogic of this process; return what its connection gives access to."""
    quiet()
    conn = {"conn_type": "snaplogic", "host": url, "login": "ops@example.com", "password": "the password"}
    os.environ[f"AIRFLOW_CONN_{CONN_ID.upper()}"] = json.dumps({**conn, "extra": {"org": "Acme"}})
    return SnapLogicHook().access


def quiet() -> None:
    """Log nothing but errors: what a process does with its log lines is not what is measured."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.getLogger().setLevel(logging.ERROR)


def handles(access: Access, runs: int) -> dict[TaskKey, dict[str, Any]]:
    """Return the handles of so many runs, each with the deferred task that owns it."""
    began = datetime.now(UTC)  # an older run is looked at less often
    found = {}
    for number, run_id in enumerate(run_ids(runs)):
        where = TaskKey(DAG_ID, RUN_ID, f"run_{number}")
        run = ExternalRun("snaplogic", CONN_ID, run_id, None, began, {"ruuid": run_id}, Owner(where, 1))
        found[where] = handle_of(run, access)
    return found


def triggers(owned: dict[TaskKey, dict[str, Any]], interval: float, runs: int) -> list[ExternalRunTrigger]:
    """Return the triggers of the first so many of the deferred tasks, as the triggerer makes them."""
    made = []
    for where, handle in islice(owned.items(), runs):
        trigger = ExternalRunTrigger(handle, interval)
        there: Any = SimpleNamespace(
            id=where.task_id,
            dag_id=where.dag_id,
            run_id=where.run_id,
            task_id=where.task_id,
            map_index=-1,
            try_number=1,
            context_carrier=None,
        )
        trigger.task_instance = there
        made.append(trigger)
    return made


class SlowAirflow(FakeAirflow):
    """A supervisor that answers one question after the other, each in its time, and remembers none.

    :param seconds: for each answer.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(DAG_ID, RUN_ID)
        self._seconds = seconds
        self._one_at_a_time = asyncio.Lock()

    async def asend(self, msg: Any) -> Any:
        async with self._one_at_a_time:
            if self._seconds:
                await asyncio.sleep(self._seconds)
            self.messages.clear()
            return self.send(msg)


@contextmanager
def airflow(owned: dict[TaskKey, dict[str, Any]], seconds: float = 0.0) -> Iterator[SlowAirflow]:
    """Let an Airflow answer this process that holds these handles, whose tasks are deferred."""
    with in_place(SlowAirflow(seconds)) as fake:
        assert isinstance(fake, SlowAirflow)
        for where, handle in owned.items():
            fake.put_xcom(where.task_id, HANDLE_KEY, handle)
            fake.states[where.task_id] = "deferred"
        yield fake
