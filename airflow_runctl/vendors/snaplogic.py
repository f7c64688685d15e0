"""SnapLogic: what its public REST API says about runs of pipelines.

Source: https://docs.snaplogic.com/public-apis/public-apis-about.html and the pages named at each operation.
Two credentials live on one connection: the account (Basic or JWT) for the public API, and the Triggered
Task's own bearer token. ``/runtime/start`` resumes; a new run begins only at a Triggered Task's URL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from airflow_runctl.exceptions import (
    BadAnswer,
    ConnectionSetupError,
    RunctlError,
    StartRefused,
    StartUncertain,
    TransportError,
    VendorError,
)
from airflow_runctl.runs import ExternalRun, RunState, RunStatus
from airflow_runctl.vendors.base import (
    Effect,
    Flow,
    HttpRequest,
    HttpResponse,
    Open,
    Operation,
    Pause,
    Search,
    Started,
    StartPlan,
    StopReply,
    Vendor,
    parse_time,
    path,
    text_of,
    vendor_error,
)
from airflow_runctl.vendors.snaplogic_org import switch_task

STATES: Final[Mapping[str, RunState]] = {
    "Queued": RunState.QUEUED,
    "NoUpdate": RunState.QUEUED,
    "Prepared": RunState.RUNNING,
    "Started": RunState.RUNNING,
    "Resuming": RunState.RUNNING,
    "Suspending": RunState.RUNNING,
    "Stopping": RunState.STOPPING,
    "Failing": RunState.RUNNING,
    "Suspended": RunState.SUSPENDED,
    "Completed": RunState.SUCCEEDED,
    "Failed": RunState.FAILED,
    "Stopped": RunState.STOPPED,
}

LIVE_STATES: Final = (
    "Queued",
    "NoUpdate",
    "Prepared",
    "Resuming",
    "Started",
    "Suspending",
    "Suspended",
    "Failing",
    "Stopping",
)
"""In the order in which a run passes them: asked one after the other, a run that moves on is met later."""

OVER_STATES: Final = ("Completed", "Failed", "Stopped")

START_REFUSED: Final = frozenset({400, 401, 403, 404, 405, 409, 429})
"""Answers of a Triggered Task's URL that surely mean that no run was made."""

INVOKERS: Final = ("triggered", "scheduled", "always_on", "manual")

FILTER_KEYS: Final[Mapping[str, str]] = {
    "pipeline_name": "pipe_name",
    "project_path": "project_path",
    "invoker": "invoker",
}
"""What a search for live runs calls it to what the list does."""

PUBLIC: Final = ("api", "1", "rest", "public")
FEED: Final = ("api", "1", "rest", "slsched", "feed")

RUUID_HEADER: Final = "x-snapi-pipeline-ruuid"
STATUS_HEADER: Final = "x-sl-statuscode"

PAGE: Final = 1000
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
class SnapLogic(Vendor):
    """SnapLogic's public API for one org.

    :param org: the org (environment).
    :param headers: the account's ``Authorization`` header, for the public API.
    :param task_headers: the ``Authorization`` header for Triggered Tasks.
    :param base_url: base URL of the control plane.
    :param task_hosts: further base URLs (a Snaplex, a FeedMaster) that a task's full URL may begin with.
    :param dashboard_url: template of a run's page; takes ``{org}`` and ``{ruuid}``.
    :param uses_basic: whether the account logs in with Basic; only for the hint in an error.
    :param account: who logs in, for messages.
    """

    name: ClassVar[str] = "snaplogic"
    label: ClassVar[str] = "SnapLogic"
    states: ClassVar[Mapping[str, RunState]] = STATES
    failed_may_mean_stopped: ClassVar[bool] = False
    operations: ClassVar[frozenset[Operation]] = frozenset(Operation) - {Operation.PAUSE}
    filters: ClassVar[frozenset[str]] = frozenset({"pipeline_name", "project_path", "invoker"})

    org: str
    headers: Mapping[str, str] = field(repr=False)
    task_headers: Mapping[str, str] = field(repr=False)
    base_url: str = ""
    task_hosts: tuple[str, ...] = ()
    dashboard_url: str | None = None
    uses_basic: bool = True
    account: str = ""

    # -- start ---------------------------------------------------------------------------------------

    def trigger(self, task: TriggeredTask) -> StartPlan:
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
            where = path(*FEED, *self.task_segments(task.task_path or ""))
        return HttpRequest(
            task.method.upper(),
            where,
            Effect.START,
            query=query,
            headers=self.task_headers,
            json=task.body,
            timeout=TRIGGER_TIMEOUT,
            base_url=base_url,
        )

    def _allowed(self, url: str) -> tuple[str, str]:
        """Split a task's full URL into a base URL that the connection allows, and the rest."""
        for base in (self.base_url, *self.task_hosts):
            if url.startswith(base.rstrip("/") + "/"):
                return base.rstrip("/"), url[len(base.rstrip("/")) :]
        raise ConnectionSetupError(
            f"The task's URL points to {urlsplit(url).hostname!r}, which is neither the host of the SnapLogic "
            "connection nor one of its 'task_hosts'. The task token is sent to no other host: add the "
            "base URL (https://host:port) to the connection's extra 'task_hosts'."
        )

    def task_segments(self, task_path: str) -> list[str]:
        """Return ``[org, space, project, task]`` of a task path with or without its org."""
        parts = [part for part in task_path.split("/") if part]
        if parts and parts[0] == self.org:
            del parts[0]
        if len(parts) < 2:
            raise ConnectionSetupError(
                f"task_path {task_path!r} names no task: it has the form /org/space/project/task."
            )
        return [self.org, *parts]

    def _search(self, task: TriggeredTask) -> Search:
        project = task.project_path
        if project is None and task.task_path is not None:
            project = "/" + "/".join(self.task_segments(task.task_path)[:-1])
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
                return _started(new.pop())
            if len(new) > 1 and new == seen:
                raise _ambiguous(new)
            seen = new
            yield Pause(LOOK_EVERY)

    def _after_answer(self, response: HttpResponse, search: Search) -> Flow[Started]:
        if ruuid := _ruuid_of(response):
            return _started(ruuid)
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
            return _started(seen.pop())
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
        message = f"SnapLogic refused to start the task (HTTP {response.status}: {_reason(response)})."
        return StartRefused(f"{message} {hints.get(response.status, '')}".strip(), status=response.status)

    def _new_runs(self, search: Search, states: Iterable[str]) -> Flow[set[str]]:
        found = yield from self._matching(search, states)
        return found.keys() - set(search["known"])

    def _matching(self, search: Search, states: Iterable[str]) -> Flow[dict[str, Mapping[str, Any]]]:
        """Return the triggered runs of the searched pipeline and project in ``states``, each under its id."""
        found: dict[str, Mapping[str, Any]] = {}
        for state in states:
            entries = yield from self.list_runs(
                state=state,
                invoker="triggered",
                pipe_name=search["pipeline"],
                project_path=search["project"],
                last_hours=LOOK_BACK_HOURS if state in LIVE_STATES else 1,
            )
            found.update({_entry_id(entry): entry for entry in entries})
        return found

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return the runs that came up since ``search`` was written, living or over."""
        found = yield from self._matching(search, LIVE_STATES + OVER_STATES)
        new = sorted(found.keys() - set(search["known"]))
        return [replace(_started(ruuid), created_at=parse_time(found[ruuid].get("create_time"))) for ruuid in new]

    # -- look ----------------------------------------------------------------------------------------

    def status(self, run: ExternalRun) -> Flow[RunStatus]:
        """Look at a run; a failed one is looked at once more in detail if the summary has no reason.

        Source: https://docs.snaplogic.com/public-apis/get-runtime-org-ruuid.html
        """
        return (yield from self.get_run(run.ids["ruuid"]))

    def get_run(self, ruuid: str) -> Flow[RunStatus]:
        """Look at the run with this runtime id."""
        fields = yield from self._details(ruuid, "summary")
        word = fields.get("state")
        if not isinstance(word, str):
            raise BadAnswer(f"SnapLogic's answer about run {ruuid} has no state.")
        state = self.state_of(word)
        message = _failure_text(fields)
        if state is RunState.FAILED and message is None:
            try:
                message = _failure_text((yield from self._details(ruuid, "detail")))
            except RunctlError:
                message = None
        return RunStatus(state, word, message)

    def _details(self, ruuid: str, level: str) -> Flow[Mapping[str, Any]]:
        response = yield self.request("GET", "runtime", self.org, ruuid, query={"level": level})
        fields = self.envelope(response)
        if not isinstance(fields, Mapping):
            raise BadAnswer(f"SnapLogic's answer about run {ruuid} has no response_map: {response.excerpt()!r}")
        return fields

    def list_runs(self, **filters: str | int | None) -> Flow[list[Mapping[str, Any]]]:
        """List runs, all pages; filters that the server ignored are applied again here.

        :param filters: ``state``, ``invoker``, ``pipe_name``, ``project_path``, ``last_hours``, ``user_id`` ...

        Source: https://docs.snaplogic.com/public-apis/get-runtime-org.html
        """
        query = {key: str(value) for key, value in filters.items() if value is not None}
        found: dict[str, Mapping[str, Any]] = {}
        offset = 0
        while True:
            response = yield self.request(
                "GET", "runtime", self.org, query={**query, "limit": str(PAGE), "offset": str(offset)}
            )
            page = self.envelope(response)
            entries = page.get("entries") if isinstance(page, Mapping) else None
            if not isinstance(entries, list):
                raise BadAnswer(f"SnapLogic's list of runs has no entries: {response.excerpt()!r}")
            fresh = {_entry_id(entry): entry for entry in entries if isinstance(entry, Mapping)}
            more = bool(fresh.keys() - found.keys())
            found.update(fresh)
            offset += len(entries)
            total = page.get("total")
            if not more or not isinstance(total, int) or offset >= total:
                return [entry for entry in found.values() if _matches(entry, filters)]

    def live_runs(self, filters: Mapping[str, str]) -> Flow[list[Started]]:
        """Return the live runs of a pipeline (``pipeline_name``), of a project, of an ``invoker``, or of all of these.

        The list's own defaults for state and invoker hide runs, so each is asked for by name; children of a
        run are left to it.

        Source: https://docs.snaplogic.com/public-apis/get-runtime-org.html
        """
        wanted = {FILTER_KEYS[name]: value for name, value in filters.items()}
        found: dict[str, Started] = {}
        for state in LIVE_STATES:
            for invoker in [wanted["invoker"]] if "invoker" in wanted else INVOKERS:
                query: dict[str, str | int | None] = {**wanted, "invoker": invoker}
                entries = yield from self.list_runs(**query, state=state, last_hours=LOOK_BACK_HOURS)
                for entry in entries:
                    # list_runs lets an entry pass that does not say; a search must not.
                    if all(entry.get(ENTRY_KEYS[name]) == value for name, value in wanted.items()):
                        run_id = _entry_id(entry)
                        found[run_id] = replace(_started(run_id), vendor_state=str(entry.get("state") or state))
        return list(found.values())

    # -- act -----------------------------------------------------------------------------------------

    def ask_stop(self, run: ExternalRun) -> Flow[StopReply]:
        """Ask to stop: no query, no body. Stopping is asynchronous, the answer means "asked".

        The platform starts the run of an Ultra Task again; where ``disable_task`` is among the ids that task is
        disabled instead.

        Source: https://docs.snaplogic.com/public-apis/post-runtime-stop-org-ruuid.html
        """
        if task_path := run.ids.get("disable_task"):
            yield from switch_task(self, task_path, on=False)
            return StopReply()
        response = yield self.request("POST", "runtime", "stop", self.org, run.ids["ruuid"], effect=Effect.STOP)
        self.envelope(response)
        return StopReply()

    def ask_resume(self, run: ExternalRun) -> Flow[None]:
        """Resume a suspended run; its id stays. What else can be resumed is not documented.

        Source: https://docs.snaplogic.com/public-apis/post-runtime-start-org-ruuid.html
        """
        ruuid = run.ids["ruuid"]
        before = yield from self.get_run(ruuid)
        if before.state is not RunState.SUSPENDED:
            raise RunctlError(f"SnapLogic run {ruuid} is {before.vendor_state}; only a Suspended run can be resumed.")
        try:
            response = yield self.request("POST", "runtime", "start", self.org, ruuid, effect=Effect.START)
        except TransportError:
            # Resuming twice is undocumented: look instead of asking again.
            after = yield from self.get_run(ruuid)
            if after.state is RunState.SUSPENDED:
                raise
        else:
            self.envelope(response)

    def test(self) -> Flow[str]:
        """Read one row of the org's list of runs."""
        response = yield self.request("GET", "runtime", self.org, query={"limit": "1"})
        self.envelope(response)
        return f"Reached SnapLogic org {self.org!r} as {self.account or 'the bearer of the token'}."

    def run_url(self, base_url: str, started: Started) -> str | None:
        """Return the dashboard: SnapLogic publishes no address of a single run."""
        template = self.dashboard_url or f"{base_url}/sl/dashboard.html"
        return template.replace("{org}", self.org).replace("{ruuid}", started.run_id)

    # -- envelope ------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        *segments: str,
        effect: Effect = Effect.READ,
        query: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> HttpRequest:
        """Return a request to the public API."""
        where = path(*PUBLIC, *segments)
        return HttpRequest(method, where, effect, query=query or {}, headers=self.headers, json=json)

    def envelope(self, response: HttpResponse) -> Any:
        """Return ``response_map``; an answer is good only if all three status codes are.

        The HTTP status, ``http_status_code`` in the body and the header ``X-SL-StatusCode`` may differ.
        """
        body = response.json_or_none()
        codes = [response.status, response.headers.get(STATUS_HEADER)]
        if isinstance(body, Mapping):
            codes.append(body.get("http_status_code"))
        for code in codes:
            if (number := _code(code)) is not None and not 200 <= number < 300:
                raise self._error(number, response)
        if response.body.strip() and body is None:
            response.json()  # raises: the answer is not JSON
        return body.get("response_map") if isinstance(body, Mapping) else None

    def _error(self, status: int, response: HttpResponse) -> VendorError:
        hint = ""
        if status == 403 and self.uses_basic:
            hint = (
                " Basic authentication may be switched off for the org (then every call answers 403):"
                " use auth=jwt; or the account lacks the right."
            )
        elif status in {401, 403}:
            hint = " Check the login of the connection, and the account's right to this."
        elif status == 404:
            hint = " No such run or org, or it is hidden from this account."
        return vendor_error(status, f"SnapLogic answered HTTP {status}: {_reason(response)}.{hint}")


def _started(ruuid: str) -> Started:
    return Started(ruuid, {"ruuid": ruuid})


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


def _entry_id(entry: Mapping[str, Any]) -> str:
    """Return the id of a list entry, which calls it ``id``, not ``ruuid``."""
    ruuid = entry.get("id") or entry.get("ruuid")
    if not isinstance(ruuid, str):
        raise BadAnswer("An entry of SnapLogic's list of runs has no id.")
    return ruuid


ENTRY_KEYS: Final[Mapping[str, str]] = {
    "state": "state",
    "invoker": "invoker",
    "pipe_name": "label",
    "project_path": "path_id",
    "user_id": "user_id",
}
"""Filter of the list to the key of an entry that shows it."""


def _matches(entry: Mapping[str, Any], filters: Mapping[str, str | int | None]) -> bool:
    return all(filters.get(name) is None or entry.get(key) in (None, filters[name]) for name, key in ENTRY_KEYS.items())


def _code(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _reason(response: HttpResponse) -> str:
    body = response.json_or_none()
    if isinstance(body, Mapping):
        fields = body.get("response_map", body)
        if isinstance(fields, Mapping) and (text := _failure_text(fields)):
            return text
    return response.excerpt() or "no text"


def _failure_text(fields: Mapping[str, Any]) -> str | None:
    """Return what an answer says of a failure, or ``None``."""
    errors = fields.get("error_list")
    texts = [fields.get(key) for key in ("failure", "reason", "resolution", "error", "message")]
    if isinstance(errors, list):
        texts += [error.get("message") if isinstance(error, Mapping) else error for error in errors]
    parts = [text for value in texts if (text := text_of(value))]
    return "; ".join(dict.fromkeys(parts)) or None
