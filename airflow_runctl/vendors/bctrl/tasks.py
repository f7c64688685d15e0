"""bctrl's tasks of agents: work with an end and a result. Part of the contract ``browsers``.

Known from the vendor's Python client 0.3.0, contract 2026-10-03.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from airflow_runctl.exceptions import BadAnswer, StartRefused, StartUncertain
from airflow_runctl.runs import RunState, RunStatus
from airflow_runctl.vendors.base import Effect, Flow, Search, Started, StartPlan, StopReply, text_of
from airflow_runctl.vendors.bctrl.api import Bctrl, TaskStart

STATES: Final[Mapping[str, RunState]] = {
    "queued": RunState.QUEUED,
    "running": RunState.RUNNING,
    "awaiting_input": RunState.SUSPENDED,
    "succeeded": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    "canceled": RunState.STOPPED,
}

OUTCOME_UNKNOWN: Final = "unknown"
"""The word of a task that is over, nobody knows how. It is not among the states: anywhere else an ``unknown``
would be a word that is not documented, and live."""

MARK: Final = "airflow_runctl"
"""Key in a task's or browser's own metadata under which the start's idempotency key is kept, to find it by."""


def new_key() -> str:
    """Return an idempotency key that nobody else uses."""
    return f"airflow-runctl-{uuid4().hex}"


def marked(options: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the metadata of a request's ``options``, with our mark."""
    metadata = options.get("metadata")
    return {**(metadata if isinstance(metadata, Mapping) else {}), MARK: key}


def bears_mark(entry: Mapping[str, Any], key: str) -> bool:
    """Return True if an entry of a list was made by the start with this key."""
    metadata = entry.get("metadata")
    return isinstance(metadata, Mapping) and metadata.get(MARK) == key


@dataclass(frozen=True, slots=True)
class Tasks:
    """The flows of tasks.

    :param api: bctrl, for requests and answers.
    """

    api: Bctrl = field(repr=False)

    def start(self, task: TaskStart) -> StartPlan:
        """Plan a task. Its idempotency key is recorded before the start, and kept in the task's metadata."""
        body: dict[str, Any] = {**task.options, "agent": task.agent, "input": task.input}
        if task.version is not None:
            body["version"] = task.version

        def prepare() -> Flow[Search]:
            yield from ()
            return {"task": task.agent, "key": new_key()}

        def start(search: Search) -> Flow[Started]:
            return (yield from self._start(body, search))

        return StartPlan(body, prepare, start, what=task.agent)

    def _start(self, body: Mapping[str, Any], search: Search) -> Flow[Started]:
        key = search["key"]
        request = self.api.request(
            "POST", "tasks", effect=Effect.START, json={**body, "metadata": marked(body, key)}, key=key
        )
        what = f"a task of agent {search['task']!r}"
        try:
            response = yield from self.api.keyed(request)
        except StartUncertain as error:
            return (yield from self.api.lost(search, what, str(error)))
        if not response.ok:
            hint = "Check the agent's id or name." if response.status == 404 else ""
            message = f"bctrl refused {what}. {self.api.error_of(response)} {hint}".strip()
            raise StartRefused(message, status=response.status)
        answer = response.json_or_none()
        if not isinstance(answer, Mapping) or not isinstance(answer.get("id"), str):
            return (yield from self.api.lost(search, what, "its answer names no task"))
        return _started(answer)

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return the task that bears the mark of an unfinished start."""
        entries = yield from self.api.pages("tasks")
        return [_started(entry) for entry in entries if bears_mark(entry, search["key"])]

    def status(self, task_id: str) -> Flow[RunStatus]:
        """Look at a task. One that asks for input is suspended: no look will ever see it go on by itself."""
        task = self.api.object_of((yield self.api.request("GET", "tasks", task_id)), f"task {task_id}")
        word = task.get("status")
        if not isinstance(word, str):
            raise BadAnswer(f"bctrl's answer about task {task_id} has no status.")
        if word == OUTCOME_UNKNOWN:
            said = "bctrl does not know how it ended; all of its work may be done"
            return RunStatus(RunState.FAILED, word, said, retry_is_safe=False)
        state = self.api.state_among(STATES, "task", word)
        if state is RunState.SUSPENDED:
            return RunStatus(state, word, f"it asks for input{_question(task.get('inputRequest'))}")
        result = task.get("output") if state is RunState.SUCCEEDED else None
        return RunStatus(state, word, _error(task), result)

    def cancel(self, task_id: str) -> Flow[StopReply]:
        """Cancel a task. What clears up behind it goes on for a while; its state tells when it is over."""
        response = yield self.api.request("POST", "tasks", task_id, "cancel", effect=Effect.STOP)
        self.api.object_of(response, f"the cancel of task {task_id}")
        return StopReply()

    def list(self) -> Flow[list[Mapping[str, Any]]]:
        """List the tasks, newest first."""
        return (yield from self.api.pages("tasks"))


def _started(task: Mapping[str, Any]) -> Started:
    task_id = str(task["id"])
    return Started(task_id, {"task_id": task_id}, str(task.get("status") or ""))


def _question(request: Any) -> str:
    """Return what a task asks. Nothing else of the request: it may hold an address by which to answer."""
    fields = request if isinstance(request, Mapping) else {}
    text = text_of(fields.get("summary")) or text_of(fields.get("message"))
    return f' ("{text}")' if text else ""


def _error(task: Mapping[str, Any]) -> str | None:
    text, code = text_of(task.get("errorMessage")), text_of(task.get("errorCode"))
    return f"{text} ({code})" if text and code else text or code
