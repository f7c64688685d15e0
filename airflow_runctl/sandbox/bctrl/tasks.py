"""bctrl's generation B: tasks, the work that an agent is given. As the official client 0.3.0 speaks it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Final

from airflow_runctl.sandbox.bctrl.account import Account
from airflow_runctl.sandbox.bctrl.runs import SPACE, BctrlRun, body_of, page, stamp, wait_seconds
from airflow_runctl.sandbox.runs import Step
from airflow_runctl.sandbox.wire import Answer, Call, Refused, Route, as_json

# `unknown` is a documented end: nobody knows how it went.
TERMINAL: Final = frozenset({"succeeded", "failed", "canceled", "unknown"})
ASKING: Final = "awaiting_input"


@dataclass(eq=False, slots=True, kw_only=True)
class TaskRun(BctrlRun):
    space: str

    def details(self) -> dict[str, Any]:
        return {"agent": self.key}


class Tasks:
    """The tasks of one account; any name with a behaviour is an agent."""

    def __init__(self, account: Account) -> None:
        self._account = account
        once = account.replays.once
        self.routes = (
            Route("POST", "v1/tasks", "start", once(self.create)),
            Route("GET", "v1/tasks", "list", self.list_tasks),
            Route("GET", "v1/tasks/{id}", "status", self.get),
            Route("POST", "v1/tasks/{id}/cancel", "stop", once(self.cancel)),
        )

    async def create(self, call: Call) -> Answer:
        """[code] 202; agent (id or name) and input (text or a list of parts) are required."""
        body = body_of(call)
        agent = body.get("agent")
        if not isinstance(agent, str) or not body.get("input") or not isinstance(body["input"], (str, list)):
            raise Refused(400, "agent and input are required")
        if agent not in self._account.behaviours:
            raise Refused(404, "No such agent", "agent.not_found")  # [inferred]
        task = TaskRun(
            vendor=self._account.name,
            run_id=f"tsk-{secrets.token_hex(8)}",
            name=agent,
            key=agent,
            terminal=TERMINAL,
            inputs=body,
            space=body.get("spaceId") or SPACE,
        )
        behaviour = self._account.behaviours[agent]
        queue, asking = behaviour.queue_seconds, behaviour.awaiting_input_after_seconds
        good = behaviour.end in ("", "succeeded")
        last = Step(behaviour.run_seconds, behaviour.end or "succeeded", None if good else behaviour.message)
        task.follow(
            Step(0, "queued"),
            Step(None if queue is None else queue + behaviour.start_seconds, "running"),
            last if asking is None else Step(asking, ASKING),
        )
        self._account.add(task)
        return as_json(self._shown(task), 202)

    def _task(self, call: Call) -> TaskRun:
        task = self._account.runs.get(call.args["id"])
        if not isinstance(task, TaskRun):
            raise Refused(404, "No such task", "task.not_found")
        return task

    async def get(self, call: Call) -> Answer:
        """[code] With ``wait`` it returns when the task is over or asks for input."""
        task, wait = self._task(call), wait_seconds(call)
        if wait:
            await task.until(lambda: not task.open or task.state == ASKING, wait)
        return as_json(self._shown(task))

    async def cancel(self, call: Call) -> Answer:
        """Cancel a task. [unknown] One that is over: 409, which is listed for this call; its code is not."""
        task = self._task(call)
        body_of(call)
        task.asked_to_stop()
        if not task.open:
            raise Refused(409, f"the task is already {task.state}")
        task.follow_stop(Step(self._account.behaviour_of(task).stop_seconds, "canceled"))
        return as_json(self._shown(task))

    async def list_tasks(self, call: Call) -> Answer:
        states = call.query.getall("status", [])
        tasks = [run for run in self._account.runs.values() if isinstance(run, TaskRun)]
        wanted = [task for task in tasks if not states or task.state in states]
        return page(call, wanted, lambda task: task.run_id, self._shown)

    def _shown(self, task: TaskRun) -> dict[str, Any]:
        """[unknown] The shape of ``inputRequest``: a message here, and the code of a failure."""
        failed, message = task.state == "failed", self._account.behaviour_of(task).message
        started = next((event.at for event in task.history if event.event == "running"), None)
        return {
            "object": "task",
            "id": task.run_id,
            "agent": task.key,
            "spaceId": task.space,
            "status": task.state,
            "output": self._account.behaviour_of(task).result if task.state == "succeeded" else None,
            "errorCode": "task.failed" if failed else None,
            "errorMessage": task.message if failed else None,
            "runs": [],
            "createdAt": stamp(task.created_at),
            "startedAt": stamp(started),
            "finishedAt": stamp(task.ended_at),
            "inputRequest": {"message": message} if task.state == ASKING else None,
        }
