"""SnapLogic's tasks on and off."""

from __future__ import annotations

from airflow_runctl.sandbox.runs import Step
from airflow_runctl.sandbox.snaplogic.org import Org
from airflow_runctl.sandbox.snaplogic.runs import ULTRA, task_key
from airflow_runctl.sandbox.wire import Answer, Call, Refused, Route, as_json


class TaskSwitches:
    """Tasks on and off: https://docs.snaplogic.com/public-apis/post-task-disable.html and
    post-task-enable.html.

    The answer is two lists and not the envelope. [unknown] Their items: task paths here.
    """

    def __init__(self, org: Org) -> None:
        self._org = org
        self.routes = (
            Route("POST", "api/1/rest/public/task/disable", "disable", self.disable),
            Route("POST", "api/1/rest/public/task/enable", "enable", self.enable),
        )

    async def disable(self, call: Call) -> Answer:
        """[doc] Disabling an Ultra Task marks its instances complete. [inferred] A triggered run goes on."""
        found, answer = self._found(call)
        self._org.disabled.update(found)
        for run in list(self._org.runs.values()):
            if run.key in found and run.invoker == ULTRA and run.open:
                run.follow(Step(0, "Completed"))
        return answer

    async def enable(self, call: Call) -> Answer:
        """[inferred] An Ultra Task gets its instance: the platform keeps the wanted number of them."""
        found, answer = self._found(call)
        self._org.disabled.difference_update(found)
        alive = {run.key for run in self._org.runs.values() if run.open}
        for key in found:
            if self._org.behaviours[key].invoker == ULTRA and key not in alive:
                self._org.start_run(key, None)
        return answer

    def _found(self, call: Call) -> tuple[list[str], Answer]:
        body = call.json_object()
        path = body.get("task_path") or body.get("project_path")
        if not isinstance(path, str) or not path.startswith("/"):
            raise Refused(400, "task_path or project_path is missing")
        asked = task_key(tuple(path[1:].split("/")))
        if "task_path" in body:
            found = [asked] if asked in self._org.behaviours else []
        else:
            found = [key for key in self._org.behaviours if key.startswith(f"{asked}/")]
        return found, as_json({"success": found, "failed": [] if found else [path]})
