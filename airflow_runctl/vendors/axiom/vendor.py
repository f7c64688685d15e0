"""axiom.ai: what its API v3 says about runs of automations.

Source: https://axiom.ai/docs/developer-hub/api. Everything is a POST with JSON; the API key travels in the
body. A run has no id: it is known by its automation's name and by when it was started, and it can be
stopped only with ``pid`` and ``pw`` from the viewer URL that the trigger answered with. That URL is a
credential.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from airflow_runctl.exceptions import (
    BadAnswer,
    CannotStop,
    InvalidIdentifier,
    StartRefused,
    StartUncertain,
    TransportError,
    VendorError,
)
from airflow_runctl.runs import ExternalRun, RunState, RunStatus
from airflow_runctl.vendors.axiom.viewer import parse_viewer_url
from airflow_runctl.vendors.base import (
    Effect,
    Flow,
    Glance,
    HttpRequest,
    HttpResponse,
    Operation,
    Pause,
    Search,
    Started,
    StartPlan,
    StopReply,
    Vendor,
    parse_time,
    text_of,
    vendor_error,
    without_keys_to_a_run,
)

STATES: Final[Mapping[str, RunState]] = {
    "queued": RunState.QUEUED,
    "Running": RunState.RUNNING,
    "Success": RunState.SUCCEEDED,
    "Failure": RunState.FAILED,
}
"""``Failure`` also stands for a stopped run. ``Finished`` (see ``status``) says nothing of the outcome."""

FINISHED: Final = "Finished"
VIEWER_KEY: Final = "OPEN LINK IN BROWSER"

REPORT_COUNT: Final = 50
"""How many reports are read; the maximum is not documented."""

SETTLE_SECONDS: Final = 60.0
"""For how long after the trigger a final word without a report may still be the previous run's."""

MINUTES: Final = ("used", "allowance", "remaining")
"""What the remaining runtime is told by."""

LOST_CALL_LOOKS: Final = 6
LOOK_EVERY: Final = 5.0

START_REFUSED: Final = frozenset({400, 401, 403, 404, 422, 429})
"""Answers to a trigger that surely mean that no run was made."""

QUEUE_FULL: Final = 503
"""Means the full queue if it comes in axiom.ai's own form; a gateway's says nothing of the run behind it."""

DASHBOARD: Final = "the axiom.ai dashboard (https://axiom.ai, Cloud runs)"

HINTS: Final[Mapping[int, str]] = {
    401: "Check the API key in the password of the connection; making a new key kills the old one at once.",
    403: "The runtime quota of the period is used up, or the plan has no API access.",
    404: "Names are exact: case and spaces count.",
    429: "At most 100 calls a minute are allowed for a key.",
}

START_HINTS: Final = {**HINTS, QUEUE_FULL: "The queue is full; nothing was started."}

NOT_THIS_RUNS: Final = (
    "No API key goes with a stop, but pid and pw: they are outdated, or not those of this run. Each run has others; "
    "take both from the viewer URL with which axiom.ai answered its trigger."
)
STOP_HINTS: Final = {401: NOT_THIS_RUNS, 403: NOT_THIS_RUNS, 404: NOT_THIS_RUNS, 429: HINTS[429]}
"""Answers to ``/stop``. Which one wrong ones get is not documented; an error page has a 404 for an unknown run."""


@dataclass(frozen=True, slots=True)
class Axiom(Vendor):
    """axiom.ai's API v3 for one account.

    :param api_key: the key; it travels in the body of every call but ``/stop``.
    """

    name: ClassVar[str] = "axiom"
    label: ClassVar[str] = "axiom.ai"
    states: ClassVar[Mapping[str, RunState]] = STATES
    failed_may_mean_stopped: ClassVar[bool] = True
    # https://axiom.ai/docs, usage and limits: of an account, all calls together, /stop included.
    rate_limit: ClassVar[int | None] = 100
    # Once only: it has no word for a run that is stopping, and each call counts among the 100 a minute.
    stop_again_after: ClassVar[tuple[float, ...]] = (30.0,)
    can_glance: ClassVar[bool] = True
    looks_by_name: ClassVar[bool] = True
    operations: ClassVar[frozenset[Operation]] = frozenset(
        {Operation.START, Operation.WATCH, Operation.STOP, Operation.LIST, Operation.TEST}
    )

    api_key: str = field(repr=False)

    # -- start ---------------------------------------------------------------------------------------

    def trigger(self, name: str, data: list[list[Any]] | None = None) -> StartPlan:
        """Plan a run of the automation ``name``.

        :param name: its exact name.
        :param data: input, a list of lists; passed through, since the documentation disagrees about two
            or three levels.

        Source: https://axiom.ai/docs/developer-hub/api/run-automations/trigger-an-automation
        """

        def prepare() -> Flow[Search]:
            newest = yield from self._newest_report(name)
            return {"name": name, "after": newest}

        def start(search: Search) -> Flow[Started]:
            return (yield from self._start(search, data))

        return StartPlan({"name": name, "data": data}, prepare, start, what=name)

    def _start(self, search: Search, data: list[list[Any]] | None) -> Flow[Started]:
        body: dict[str, Any] = {"name": search["name"]}
        if data is not None:
            body["data"] = data
        try:
            response = yield self._request("/trigger", Effect.START, **body)
        except (TransportError, BadAnswer) as error:
            if isinstance(error, TransportError) and not error.sent:
                raise
            return (yield from self._lost(search, str(error)))
        answer = response.json_or_none()
        answer = answer if isinstance(answer, Mapping) else {}
        refused = answer.get("status") == "error"
        if response.status in START_REFUSED or (refused and (response.ok or response.status == QUEUE_FULL)):
            raise StartRefused(
                f"axiom.ai refused to start {search['name']!r} (HTTP {response.status}: {_text(response)}). "
                f"{START_HINTS.get(response.status, '')}".strip(),
                status=response.status,
            )
        if response.ok and isinstance(answer.get(VIEWER_KEY), str):
            return self._with_viewer(answer[VIEWER_KEY], answer, search)
        if response.ok and answer.get("status") == "queued":
            return Started(_run_name(answer, search), {**_ids(search), "queued": "1"}, "queued")
        return (yield from self._lost(search, f"the answer (HTTP {response.status}) has no viewer URL"))

    def _with_viewer(self, url: str, answer: Mapping[str, Any], search: Search) -> Started:
        try:
            viewer = parse_viewer_url(url)
        except InvalidIdentifier as error:
            # The run lives and can be watched; only a stop will have to say that it cannot be done.
            return Started(_run_name(answer, search), {**_ids(search), "unstoppable": str(error)}, "Running")
        run_id = _run_name(answer, search, viewer.task_id)
        return Started(run_id, {**_ids(search), "pid": viewer.pid, "pw": viewer.pw}, "Running")

    def _lost(self, search: Search, why: str) -> Flow[Started]:
        """Say what is known of a trigger without a usable answer. Its pid and pw cannot be had later."""
        seen: list[Started] = []
        for _ in range(LOST_CALL_LOOKS):
            try:
                seen = yield from self.find(search)
            except (TransportError, VendorError, BadAnswer):
                seen = []
            if seen:
                break
            yield Pause(LOOK_EVERY)
        listed = f"axiom.ai reports a run of it from {seen[0].ids['created_at']}" if seen else "none is reported"
        raise StartUncertain(
            f"axiom.ai was told to start {search['name']!r}, but {why}; {listed}. A run may be alive: it was not "
            f"started again, and without its viewer URL it can be stopped only in {DASHBOARD}.",
            candidates=tuple(run.run_id for run in seen),
        )

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return the runs of the name that are reported since ``search`` was written."""
        reports = yield from self._reports_after(search["name"], search["after"])
        return [
            Started(f"{search['name']} ({when})", {**_ids(search), "created_at": when}, created_at=parse_time(when))
            for when in (str(report.get("created_at")) for report in reports)
        ]

    # -- look ----------------------------------------------------------------------------------------

    def status(self, run: ExternalRun) -> Flow[RunStatus]:
        """Look at the newest run of the name; a final word is checked against the reports.

        ``/run-data`` has no run identity and may still speak of the previous run; ``Finished``, which the
        live endpoint is said to answer, tells no outcome. The report of our run is the first of that name
        that is newer than those that were there before the trigger.

        Source: https://axiom.ai/docs/developer-hub/api/run-automations/check-run-status and .../run-reports
        """
        response = yield self._request("/run-data", name=run.ids["name"])
        answer = self._answer(response)
        word = answer.get("status")
        if not isinstance(word, str):
            raise BadAnswer(f"axiom.ai's answer about {run.ids['name']!r} has no status.")
        if word != FINISHED and self.state_of(word).is_live:
            return RunStatus(self.state_of(word), word)
        reports = yield from self._reports_after(run.ids["name"], run.ids.get("after", ""))
        if reports:
            return self._by_reports(reports, answer)
        return self._without_report(run, word, answer, response.received_at)

    def glance(self, watched: Sequence[tuple[ExternalRun, str]]) -> Flow[Glance]:
        """Read the newest reports of the account, and say of each run what a look at it would go by.

        Source: https://axiom.ai/docs/developer-hub/api/run-automations/run-reports
        """
        reports = yield from self.reports(REPORT_COUNT)

        def shown(run: ExternalRun) -> str | None:
            words = (str(report.get("status")) for report in _newer(reports, run.ids["name"], run.ids.get("after", "")))
            return next((word for word in words if self.state_of(word).is_live), None)

        return shown

    def can_look(self, run: ExternalRun) -> bool:
        """Return False for a run without a name: pid and pw stop a run, and tell nothing of it."""
        return "name" in run.ids

    def _by_reports(self, reports: list[Mapping[str, Any]], answer: Mapping[str, Any]) -> RunStatus:
        """Judge by the reports of the runs since the trigger, the first of them being ours.

        Several runs of one name cannot be told apart for sure: all must be over before ours counts as over.
        """
        words = [str(report.get("status")) for report in reports]
        for word in words:
            if self.state_of(word).is_live:
                return RunStatus(self.state_of(word), word)
        first = reports[0]
        state = self.state_of(words[0])
        if len(set(words)) > 1:
            return RunStatus(
                RunState.FAILED,
                words[0],
                f"{len(words)} runs of this name ended since the start, as {', '.join(words)}; axiom.ai does "
                "not tell which is this task's, so it is not taken for a success.",
            )
        result = answer.get("data") if state is RunState.SUCCEEDED else None
        return RunStatus(state, words[0], text_of(first.get("description")), result)

    def _without_report(self, run: ExternalRun, word: str, answer: Mapping[str, Any], now: float) -> RunStatus:
        if run.ids.get("queued"):
            return RunStatus(RunState.QUEUED, word, "queued; no report of this run yet")
        if now - run.started_at.timestamp() < SETTLE_SECONDS:
            return RunStatus(RunState.RUNNING, word, "no report of this run yet; the word may be the previous run's")
        if word == FINISHED:
            return RunStatus(RunState.FAILED, word, "axiom.ai reports no outcome; it is not taken for a success")
        return RunStatus(self.state_of(word), word, None, answer.get("data"))

    def _reports_after(self, name: str, after: str) -> Flow[list[Mapping[str, Any]]]:
        """Return the reports of ``name`` that are newer than ``after``, the oldest first."""
        return _newer((yield from self.reports(REPORT_COUNT)), name, after)

    def _newest_report(self, name: str) -> Flow[str]:
        """Return when the newest reported run of ``name`` was made, or an empty text."""
        reports = yield from self._reports_after(name, "")
        return str(reports[-1].get("created_at")) if reports else ""

    def reports(self, count: int) -> Flow[list[Mapping[str, Any]]]:
        """Return the newest ``count`` runs of the whole account, newest first.

        Source: https://axiom.ai/docs/developer-hub/api/run-automations/run-reports
        """
        data = self._data((yield self._request("/run-reports", count=count)), "the reports")
        reports = data.get("reports")
        if not isinstance(reports, list):
            raise BadAnswer("axiom.ai's list of reports has no reports.")
        return [report for report in reports if isinstance(report, Mapping)]

    def automations(self) -> Flow[list[str]]:
        """Return the exact names that can be triggered.

        Source: https://axiom.ai/docs/developer-hub/api/run-automations/list-automations
        """
        data = self._data((yield self._request("/list-automations")), "the list of automations")
        names = data.get("names")
        if not isinstance(names, list):
            raise BadAnswer("axiom.ai's list of automations has no names.")
        return [str(name) for name in names]

    def remaining_runtime(self) -> Flow[Mapping[str, Any]]:
        """Return ``used``, ``allowance`` and ``remaining`` minutes of the subscription month.

        Source: https://axiom.ai/docs/developer-hub/api/usage-and-limits/remaining-runtime
        """
        response = yield self._request("/remaining-runtime")
        data = self._data(response, "the remaining runtime")
        if not any(isinstance(data.get(name), int | float) for name in MINUTES):
            raise BadAnswer(f"axiom.ai's answer about the remaining runtime tells no minutes: {response.excerpt()!r}")
        return data

    # -- act -----------------------------------------------------------------------------------------

    def ask_stop(self, run: ExternalRun) -> Flow[StopReply]:
        """Ask to stop by ``pid`` and ``pw``; this call carries no API key.

        Success was documented as the pid echoed under ``stopped``; the body for a run that is over is not
        documented, so a 2xx without it is no error.

        Source: https://axiom.ai/docs/developer-hub/api/run-automations/stop-a-run
        """
        if "pw" not in run.ids:
            raise CannotStop(self._why_unstoppable(run))
        body = {"pid": run.ids["pid"], "pw": run.ids["pw"]}
        response = yield HttpRequest("POST", "/stop", Effect.STOP, json=body)
        self._answer(response, STOP_HINTS, empty_is_fine=True)
        return StopReply()

    def _why_unstoppable(self, run: ExternalRun) -> str:
        if run.ids.get("queued"):
            return (
                f"The axiom.ai run {run.run_id!r} was queued: it has no viewer URL, so it cannot be stopped over "
                f"the API. Cancel it in {DASHBOARD}; it may start at any time until then."
            )
        why = run.ids.get("unstoppable", "its viewer URL is not known.")
        return f"The axiom.ai run {run.run_id!r} cannot be stopped over the API: {why} Stop it in {DASHBOARD}."

    def test(self) -> Flow[str]:
        """Read the remaining runtime, the smallest harmless call."""
        left = (yield from self.remaining_runtime()).get("remaining")
        minutes = f"{left} minutes of runtime left" if left is not None else "the remaining runtime is not told"
        return f"Reached axiom.ai with this API key; {minutes}."

    # -- envelope ------------------------------------------------------------------------------------

    def _request(self, where: str, effect: Effect = Effect.READ, **body: Any) -> HttpRequest:
        return HttpRequest("POST", where, effect, json={"key": self.api_key, **body})

    def _answer(
        self, response: HttpResponse, hints: Mapping[int, str] = HINTS, *, empty_is_fine: bool = False
    ) -> Mapping[str, Any]:
        """Return the body; ``"status": "error"`` is an error whatever the HTTP status says."""
        if not response.ok:
            raise self._error(response, hints)
        body = response.json_or_none() if empty_is_fine else response.json()
        if not isinstance(body, Mapping):
            if empty_is_fine:
                return {}
            raise BadAnswer(f"axiom.ai's answer is no JSON object: {response.excerpt()!r}")
        if body.get("status") == "error":
            raise self._error(response, hints)
        return body

    def _data(self, response: HttpResponse, what: str) -> Mapping[str, Any]:
        """Return the ``data`` of an answer; a call that failed may say so in place of ``success`` alone."""
        answer = self._answer(response)
        data, said = answer.get("data"), text_of(answer.get("status"))
        if isinstance(data, Mapping) and data:
            return data
        if said is not None and said != "success":
            raise VendorError(f"axiom.ai did not give {what}: {said.rstrip('.')}.", status=response.status)
        if not isinstance(data, Mapping):
            raise BadAnswer(f"axiom.ai's answer about {what} has no data.")
        return data

    def _error(self, response: HttpResponse, hints: Mapping[int, str]) -> VendorError:
        hint = hints.get(response.status, "")
        return vendor_error(
            response.status,
            f"axiom.ai answered HTTP {response.status}: {_text(response).rstrip('.')}. {hint}".strip(),
            response,
        )


def _text(response: HttpResponse) -> str:
    body = response.json_or_none()
    message = body.get("message") if isinstance(body, Mapping) else None
    return without_keys_to_a_run(text_of(message) or "") or response.excerpt() or "no text"


def _ids(search: Search) -> dict[str, str]:
    return {"name": str(search["name"]), "after": str(search["after"])}


def _run_name(answer: Mapping[str, Any], search: Search, task_id: str | None = None) -> str:
    """Return what people may call the run: axiom.ai gives ids only in some answers, and documents none."""
    run_id = answer.get("run_id")
    given = str(run_id) if isinstance(run_id, str | int) and str(run_id) else task_id
    return f"{search['name']} #{given}" if given else str(search["name"])


def _newer(reports: list[Mapping[str, Any]], name: str, after: str) -> list[Mapping[str, Any]]:
    """Return the reports of ``name`` that are newer than ``after``, the oldest first."""
    since = _moment({"created_at": after})
    return sorted((r for r in reports if r.get("task_name") == name and _moment(r) > since), key=_moment)


def _moment(report: Mapping[str, Any]) -> float:
    moment = parse_time(report.get("created_at"))
    return moment.timestamp() if moment else 0.0
