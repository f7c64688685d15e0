"""bctrl's generation W: a runtime is found by its workspace and the alias that its creator chose.

https://platform.bctrl.ai/api/api-reference/workspaces/{runtimes-create, runtimes-get, runtimes-list,
runtimes-stop, list}. Only the 200 replies are documented; ``execute`` and its operations are not served, as
no page shows their states.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Final

from airflow_runctl.sandbox.bctrl.account import Account
from airflow_runctl.sandbox.bctrl.runs import BctrlRun, body_of, stamp
from airflow_runctl.sandbox.runs import Step
from airflow_runctl.sandbox.wire import Answer, Call, Refused, Route, as_json

WORKSPACE_ID: Final = "77aa0c1e-5b7d-4f5e-9d43-2f6c1b8a9e10"
TERMINAL: Final = frozenset({"stopped", "failed"})
DRIVERS: Final = frozenset({"puppeteer", "playwright", "selenium", "stagehand"})
LAUNCH_MODES: Final = frozenset({"profile", "ephemeral"})


@dataclass(eq=False, slots=True, kw_only=True)
class RuntimeRun(BctrlRun):
    workspace: str
    alias: str
    driver: str
    launch_mode: str
    profile: str | None

    def details(self) -> dict[str, Any]:
        return {"workspace_id": self.workspace, "alias": self.alias}


class Workspaces:
    """The runtimes of one workspace."""

    def __init__(self, account: Account) -> None:
        self._account = account
        runtimes = "v1/workspaces/{id}/runtimes"
        self.routes = (
            Route("GET", "v1/workspaces", "workspaces", self.list_workspaces),
            Route("POST", runtimes, "start", self.create),
            Route("GET", runtimes, "list", self.list_runtimes),
            Route("GET", f"{runtimes}/{{alias}}", "status", self.get),
            Route("POST", f"{runtimes}/{{alias}}/stop", "stop", self.stop),
        )

    def _check(self, call: Call) -> None:
        if self._account.settings.workspaces_retired:
            raise Refused(404, "Not found")
        if call.args.get("id", WORKSPACE_ID) != WORKSPACE_ID:
            raise Refused(404, "No such workspace")

    def _newest(self) -> dict[str, RuntimeRun]:
        """Return the runtime that each alias means now: the one created last."""
        return {run.alias: run for run in self._account.runs.values() if isinstance(run, RuntimeRun)}

    def _runtime(self, call: Call) -> RuntimeRun:
        self._check(call)
        run = self._newest().get(call.args["alias"])
        if run is None or (not run.open and self._account.behaviour_of(run).gone_after_end):
            raise Refused(404, "No such runtime", "runtime.not_found")
        return run

    async def list_workspaces(self, call: Call) -> Answer:
        self._check(call)
        return as_json({"workspaces": [{"id": WORKSPACE_ID, "name": "default"}]})  # [inferred]

    async def create(self, call: Call) -> Answer:
        """Create a runtime, which launches it. Only browsers: the other kinds were announced and never came.

        [unknown] The field for the alias: ``alias`` here. [unknown] An alias in use: refused; one whose
        runtime is over can be used again, by a runtime with another id.
        """
        self._check(call)
        body = body_of(call)
        alias, driver, launch = body.get("alias"), body.get("driver"), body.get("launch")
        if body.get("kind") != "browser":
            raise Refused(400, "kind must be browser")
        if not isinstance(alias, str) or not alias:
            raise Refused(400, "alias is required")
        if not isinstance(driver, str) or driver not in DRIVERS:
            raise Refused(400, f"driver must be one of {', '.join(sorted(DRIVERS))}")
        if not isinstance(launch, dict) or str(launch.get("mode")) not in LAUNCH_MODES:
            raise Refused(400, "launch.mode must be profile or ephemeral")
        if launch["mode"] == "profile" and not launch.get("profileId"):
            raise Refused(400, "launch.profileId is required")
        before = self._newest().get(alias)
        if before and before.open:
            raise Refused(409, "alias is in use")
        return as_json(self._shown(self._launch(call.args["id"], alias, driver, launch, body)))

    def _launch(
        self, workspace: str, alias: str, driver: str, launch: dict[str, Any], body: dict[str, Any]
    ) -> RuntimeRun:
        run = RuntimeRun(
            vendor=self._account.name,
            run_id=str(uuid.uuid4()),
            name=alias,
            key=alias,
            terminal=TERMINAL,
            inputs=body,
            workspace=workspace,
            alias=alias,
            driver=driver,
            launch_mode=launch["mode"],
            profile=launch.get("profileId"),
        )
        behaviour = self._account.behaviour_of(run)
        run.follow(Step(0, "active"), Step(behaviour.run_seconds, behaviour.end or "stopped", behaviour.message))
        self._account.add(run)
        return run

    async def list_runtimes(self, call: Call) -> Answer:
        self._check(call)
        return as_json({"runtimes": [self._shown(run) for run in self._newest().values()]})

    async def get(self, call: Call) -> Answer:
        return as_json(self._shown(self._runtime(call)))

    async def stop(self, call: Call) -> Answer:
        """Stop whatever runs under the alias now.

        The reply may still say ``active``: the schema allows it, and here it does while ``stop_seconds``
        last. A runtime that is over: its object again. [unknown]
        """
        run = self._runtime(call)
        body_of(call)
        run.asked_to_stop()
        if run.open:
            run.follow_stop(Step(self._account.behaviour_of(run).stop_seconds, "stopped"))
        return as_json(self._shown(run))

    @staticmethod
    def _shown(run: RuntimeRun) -> dict[str, Any]:
        return {
            "id": run.run_id,
            "workspaceId": run.workspace,
            "alias": run.alias,
            "kind": "browser",
            "driver": run.driver,
            "status": run.state,
            "createdAt": stamp(run.created_at),
            "updatedAt": stamp(run.since),
            "summary": {
                "browserRunning": run.open,
                "launchMode": run.launch_mode,
                "currentDriver": run.driver if run.open else None,
                "defaultContextId": None,
                "defaultPageId": None,
                "profileId": run.profile,
                "storageWorkspace": None,
            },
        }
