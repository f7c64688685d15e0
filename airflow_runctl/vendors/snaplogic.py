"""SnapLogic: what its public REST API says about runs of pipelines.

Source: https://docs.snaplogic.com/public-apis/public-apis-about.html and the pages named at each operation.
Two credentials live on one connection: the account (Basic or JWT) for the public API, and the Triggered
Task's own bearer token. ``/runtime/start`` resumes; a new run begins only at a Triggered Task's URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

from airflow_runctl.exceptions import (
    BadAnswer,
    ConnectionSetupError,
    RunctlError,
    TransportError,
    VendorError,
)
from airflow_runctl.runs import ExternalRun, RunState, RunStatus
from airflow_runctl.vendors.base import (
    Effect,
    Flow,
    HttpRequest,
    HttpResponse,
    Operation,
    Search,
    Started,
    StartPlan,
    StopReply,
    Vendor,
    path,
    vendor_error,
)
from airflow_runctl.vendors.snaplogic_answers import (
    LIVE_STATES,
    STATES,
    entry_id,
    failure_text,
    reason_of,
    started,
)
from airflow_runctl.vendors.snaplogic_org import switch_task
from airflow_runctl.vendors.snaplogic_trigger import LOOK_BACK_HOURS, Trigger, TriggeredTask

INVOKERS: Final = ("triggered", "scheduled", "always_on", "manual")

FILTER_KEYS: Final[Mapping[str, str]] = {
    "pipeline_name": "pipe_name",
    "project_path": "project_path",
    "invoker": "invoker",
}
"""What a search for live runs calls it to what the list does."""

PUBLIC: Final = ("api", "1", "rest", "public")

STATUS_HEADER: Final = "x-sl-statuscode"

PAGE: Final = 1000


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
        """Plan a new run of a Triggered Task."""
        return Trigger(self).plan(task)

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return the runs that came up since ``search`` was written, living or over."""
        return (yield from Trigger(self).find(search))

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
        message = failure_text(fields)
        if state is RunState.FAILED and message is None:
            try:
                message = failure_text((yield from self._details(ruuid, "detail")))
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
            fresh = {entry_id(entry): entry for entry in entries if isinstance(entry, Mapping)}
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
                        run_id = entry_id(entry)
                        found[run_id] = replace(started(run_id), vendor_state=str(entry.get("state") or state))
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
        return vendor_error(status, f"SnapLogic answered HTTP {status}: {reason_of(response)}.{hint}")


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
