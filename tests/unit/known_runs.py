"""Runs at the sandbox that an Airflow behind its REST API has recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from airflow_runctl.control.seal import handle_of
from airflow_runctl.runs import ExternalRun, Owner, Ownership, TaskKey
from airflow_runctl.sandbox.client import Sandbox
from tests.servers.airflow_rest import AirflowServer
from tests.unit.connections import Connections

WORKSPACE = "77aa0c1e-5b7d-4f5e-9d43-2f6c1b8a9e10"
CONN_ID = "bctrl_default"


def alive_at_bctrl(box: Sandbox, connections: Connections, name: str) -> str:
    """Make a live run at bctrl; return its id."""
    box.behave("bctrl", name, stop_seconds=0.01)
    row = connections.rows[CONN_ID]
    body = {"kind": "browser", "alias": name, "driver": "playwright", "launch": {"mode": "ephemeral"}}
    answer = requests.post(
        f"{row['host']}/v1/workspaces/{WORKSPACE}/runtimes",
        json=body,
        headers={"Authorization": f"Bearer {row['password']}"},
        timeout=30,
    )
    return str(answer.json()["id"])


@dataclass
class Runs:
    """Makes runs at the sandbox, with handles as tasks store them."""

    box: Sandbox
    server: AirflowServer
    connections: Connections
    made: dict[str, TaskKey] = field(default_factory=dict)

    def alive(self, name: str) -> str:
        """Make a live run at bctrl; return its id."""
        return alive_at_bctrl(self.box, self.connections, name)

    def handle(
        self,
        name: str,
        run_id: str,
        where: TaskKey,
        *,
        age: float = 3600,
        ownership: Ownership = Ownership.TASK,
    ) -> dict[str, Any]:
        """Return the handle of a run, as the task at ``where`` would seal it."""
        ids = {"workspace_id": WORKSPACE, "alias": name, "id": run_id}
        began = datetime.now(UTC) - timedelta(seconds=age)
        owner = Owner(where, 1, ownership)
        run = ExternalRun("bctrl", CONN_ID, run_id, "https://page", began, ids, owner)
        return handle_of(run, self.connections.access(CONN_ID))

    def add(
        self, name: str, state: str | None = "running", dag_run: str = "running", dag_id: str = "nightly", **more: Any
    ) -> str:
        """Make a live run that a task instance has recorded; return its id."""
        run_id = self.alive(name)
        where = TaskKey(dag_id, "scheduled__1", name)
        self.server.add(where, self.handle(name, run_id, where, **more), state, dag_run)
        self.made[run_id] = where
        return run_id

    def kill_path(self, *, works: bool = True) -> None:
        """Let a task that is marked as failed stop its run, as its kill does."""

        def on_fail(where: TaskKey) -> None:
            handle = self.server.xcoms.get((where, "external_run"))
            if not works or handle is None:
                return
            self.box.set_run(handle["run_id"], "stopped")
            stop = {"reason": "killed", "by": "worker", "asked_at": "", "outcome": "stopped", "seconds": 0.1}
            shown = {name: handle[name] for name in ("run_id", "started_at")}
            self.server.xcoms[where, "external_run_audit"] = {**shown, "state": "stopped", "stop": stop}
            del self.server.xcoms[where, "external_run"]

        self.server.on_fail = on_fail

    def open(self) -> set[str]:
        """Return the ids of the runs that are alive."""
        return {run["run_id"] for run in self.box.open_runs()}
