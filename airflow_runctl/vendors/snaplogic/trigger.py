"""SnapLogic's Triggered Tasks: a call of a task's URL starts a run, and may stay open as long as that runs.

Source: https://docs.snaplogic.com/manager/triggered-tasks.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from airflow_runctl.exceptions import (
    BadAnswer,
    ConnectionSetupError,
    StartRefused,
    StartUncertain,
    TransportError,
    VendorError,
)
from airflow_runctl.vendors.base import (
    Effect,
    Flow,
    HttpRequest,
    HttpResponse,
    Open,
    Pause,
    Search,
    Started,
    StartPlan,
    parse_time,
    path,
)
from airflow_runctl.vendors.snaplogic.answers import LIVE_STATES, OVER_STATES, entry_id, reason_of, started
from airflow_runctl.vendors.snaplogic.api import SnapLogicApi

START_REFUSED: Final = frozenset({400, 401, 403, 404, 405, 409, 429})
"""Answers of a Triggered Task's URL that surely mean that no run was made."""

FEED: Final = ("api", "1", "rest", "slsched", "feed")

RUUID_HEADER: Final = "x-snapi-pipeline-ruuid"

LOOK_BACK_HOURS: Final = 1080
"""The widest window that the list takes (45 days): a narrow one hides runs that began before it."""

TRIGGER_TIMEOUT: Final = 960.0
"""Seconds. SnapLogic itself cuts a trigger call after 15 minutes."""

ANSWER_WAIT: Final = 1.0
"""Seconds in which a trigger call may answer before the list is asked for its run."""

LOOK_EVERY: Final = 1.0
LOST_CALL_LOOKS: Final = 20
"""How often the list is asked for the run of a call that ended without naming it."""

LOST_LOOKS: Final = 3
"""How many of these may fail; each has been tried for as long as the driver's patience lasts."""

UNREAD: Final = (TransportError, BadAnswer, VendorError)
"""A list that could not be read says nothing of a run that may be alive."""

SAFE_WAY: Final = "To be safe, let the pipeline return its own id early (the expression pipe.ruuid in its output)."


@dataclass(frozen=True, slots=True)
class TriggeredTask:
    """A Triggered Task and what it is called with.

    :param task_path: ``/org/space/project/task``; the org may be left out.
    :param task_url: the task's full URL instead, as the Manager shows it.
    :param parameters: pipeline parameters; they travel in the query.
    :param body: JSON for the pipeline's open input.
    :param method: HTTP method.
    :param pipeline_name: the pipeline that the task runs, to find its run by.
    :param project_path: ``/org/space/project`` of that pipeline; the task's own by default.
    """

    task_path: str | None = None
    task_url: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Any = field(default=None, repr=False)
    method: str = "POST"
    pipeline_name: str | None = None
    project_path: str | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """The flows that start a run.

    :param api: SnapLogicApi, for requests and lists.
    """

    api: SnapLogicApi = field(repr=False)

    def plan(self, task: TriggeredTask) -> StartPlan:
        """Plan a new run of a Triggered Task.

        Source: https://docs.snaplogic.com/manager/triggered-tasks.html
        """
        request = self._trigger_request(task)

        def prepare() -> Flow[Search]:
            search = self._search(task)
            # Also those that are over: after a lost answer the run is looked for among them too.
            known = yield from self._matching(search, LIVE_STATES + OVER_STATES)
            return {**search, "known": sorted(known)}

        def start(search: Search) -> Flow[Started]:
            return (yield from self._start(request, search))

        arguments = {
            "task": task.task_path or task.task_url,
            "parameters": dict(task.parameters),
            "body": task.body,
            "method": task.method,
        }
        return StartPlan(arguments, prepare, start)

    def _trigger_request(self, task: TriggeredTask) -> HttpRequest:
        query = dict(task.parameters)
        base_url: str | None = None
        if task.task_url is not None:
            base_url, where = self._allowed(task.task_url)
            address = urlsplit(where)
            query = {**dict(parse_qsl(address.query, keep_blank_values=True)), **query}
            where = path(*(unquote(part) for part in address.path.strip("/").split("/")))
        else:
            where = path(*FEED, *self.api.task_segments(task.task_path or ""))
        return HttpRequest(
            task.method.upper(),
            where,
            Effect.START,
            query=query,
            headers=self.api.task_headers,
            json=task.body,
            timeout=TRIGGER_TIMEOUT,
            base_url=base_url,
        )

    def _allowed(self, url: str) -> tuple[str, str]:
        """Split a task's full URL into a base URL that the connection allows, and the rest."""
        for base in (self.api.base_url, *self.api.task_hosts):
            if url.startswith(base.rstrip("/") + "/"):
                return base.rstrip("/"), url[len(base.rstrip("/")) :]
        raise ConnectionSetupError(
            f"The task's URL points to {urlsplit(url).hostname!r}, which is neither the host of the SnapLogic "
            "connection nor one of its 'task_hosts'. The task token is sent to no other host: add the "
            "base URL (https://host:port) to the connection's extra 'task_hosts'."
        )

    def _search(self, task: TriggeredTask) -> Search:
        project = task.project_path
        if project is None and task.task_path is not None:
            project = "/" + "/".join(self.api.task_segments(task.task_path)[:-1])
        return {"pipeline": task.pipeline_name, "project": project}

    def _start(self, request: HttpRequest, search: Search) -> Flow[Started]:
        """Call the task's URL once; while the call stays open, look for its run in the list."""
        call = yield Open(request)
        yield Pause(ANSWER_WAIT)
        seen: set[str] = set()
        while True:
            try:
                response = call.poll()
            except (TransportError, BadAnswer) as error:
                if isinstance(error, TransportError) and not error.sent:
                    raise
                return (yield from self._after_lost_call(search, str(error)))
            if response is not None:
                return (yield from self._after_answer(response, search))
            try:
                new = yield from self._new_runs(search, LIVE_STATES)
            except UNREAD:
                new = set()  # the call goes on, and ends sometime
            # Twice the same and alone: another start of the same pipeline may not be listed yet.
            if len(new) == 1 and new == seen:
                return started(new.pop())
            if len(new) > 1 and new == seen:
                raise _ambiguous(new)
            seen = new
            yield Pause(LOOK_EVERY)

    def _after_answer(self, response: HttpResponse, search: Search) -> Flow[Started]:
        if ruuid := _ruuid_of(response):
            return started(ruuid)
        if response.status in START_REFUSED:
            raise self._refused(response)
        outcome = "answered" if response.ok else f"answered HTTP {response.status}"
        return (yield from self._after_lost_call(search, f"the call {outcome} without naming its run"))

    def _after_lost_call(self, search: Search, why: str) -> Flow[Started]:
        """Find the run of a call that can say nothing more; its run may be over already."""
        seen: set[str] = set()
        unread: list[str] = []
        for _ in range(LOST_CALL_LOOKS):
            try:
                new = yield from self._new_runs(search, LIVE_STATES + OVER_STATES)
            except UNREAD as error:
                unread.append(f" The list of runs could not be read: {error}")
                if len(unread) == LOST_LOOKS:
                    break
            else:
                if new and new == seen:
                    break
                seen = new
            yield Pause(LOOK_EVERY)
        if len(seen) == 1:
            return started(seen.pop())
        if seen:
            raise _ambiguous(seen)
        raise StartUncertain(
            f"SnapLogic was told to start a run, but {why}, and no new run is listed for "
            f"pipeline {search['pipeline'] or '(any)'} in {search['project'] or 'the org'}. "
            f"A run may be alive; it was not started again. Look for it in the SnapLogic dashboard. {SAFE_WAY}"
            + "".join(unread[-1:])
        )

    def _refused(self, response: HttpResponse) -> VendorError:
        hints = {
            401: "Check 'task_token' in the extra of the connection: a Triggered Task has a token of its own.",
            403: "Check 'task_token' in the extra of the connection, or the execute right of the account.",
            404: "No such task, or it is hidden from this credential; names are case-sensitive.",
            409: "The task does not start a new run while one is active.",
            429: "The org's quota of triggered runs is used up.",
        }
        message = f"SnapLogic refused to start the task (HTTP {response.status}: {reason_of(response)})."
        return StartRefused(f"{message} {hints.get(response.status, '')}".strip(), status=response.status)

    def _new_runs(self, search: Search, states: Iterable[str]) -> Flow[set[str]]:
        found = yield from self._matching(search, states)
        return found.keys() - set(search["known"])

    def _matching(self, search: Search, states: Iterable[str]) -> Flow[dict[str, Mapping[str, Any]]]:
        """Return the triggered runs of the searched pipeline and project in ``states``, each under its id."""
        found: dict[str, Mapping[str, Any]] = {}
        for state in states:
            entries = yield from self.api.list_runs(
                state=state,
                invoker="triggered",
                pipe_name=search["pipeline"],
                project_path=search["project"],
                last_hours=LOOK_BACK_HOURS if state in LIVE_STATES else 1,
            )
            found.update({entry_id(entry): entry for entry in entries})
        return found

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return the runs that came up since ``search`` was written, living or over."""
        found = yield from self._matching(search, LIVE_STATES + OVER_STATES)
        new = sorted(found.keys() - set(search["known"]))
        return [replace(started(ruuid), created_at=parse_time(found[ruuid].get("create_time"))) for ruuid in new]


def _ambiguous(candidates: set[str]) -> StartUncertain:
    ids = tuple(sorted(candidates))
    return StartUncertain(
        f"SnapLogic started a run, but {len(ids)} new runs of the pipeline came up while the call was open, and "
        f"nothing tells which is this task's: {', '.join(ids)}. They may be alive; none was stopped. {SAFE_WAY}",
        candidates=ids,
    )


def _ruuid_of(response: HttpResponse) -> str | None:
    """Return the run's id from the header, or from the pipeline's own output ``[{"ruuid": ...}]``."""
    if ruuid := response.headers.get(RUUID_HEADER):
        return ruuid
    body = response.json_or_none()
    first = body[0] if isinstance(body, list) and body else body
    ruuid = first.get("ruuid") if isinstance(first, Mapping) else None
    return ruuid if isinstance(ruuid, str) and ruuid else None
