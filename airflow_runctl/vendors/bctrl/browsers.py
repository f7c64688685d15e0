"""bctrl's contract ``browsers``: a browser outlives its runs, and a run has an id of its own.

Known from the vendor's Python client 0.3.0, contract 2026-10-03. A run here is one of two things, told apart by
its ids: a run of a browser, which lives until something stops it or it idles out, or a task of an agent
(``tasks.py``). A browser can only be told to stop whatever it runs now: that is compared with our run first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, ClassVar, Final

from airflow_runctl.exceptions import (
    BadAnswer,
    CannotStop,
    ConnectionSetupError,
    RunctlError,
    StartRefused,
    StartUncertain,
)
from airflow_runctl.runs import ExternalRun, RunState, RunStatus
from airflow_runctl.vendors.base import (
    WORTH_A_LIST,
    Effect,
    Flow,
    Glance,
    HttpRequest,
    HttpResponse,
    Operation,
    Search,
    Started,
    StartPlan,
    StopReply,
    Vendor,
    pages_worth,
    parse_time,
    path,
    text_of,
)
from airflow_runctl.vendors.bctrl.api import PAGE, Bctrl, Failure, RuntimeStart, TaskStart
from airflow_runctl.vendors.bctrl.tasks import STATES as TASK_STATES
from airflow_runctl.vendors.bctrl.tasks import Tasks, bears_mark, marked, new_key

VERSION: Final = {"BCTRL-Version": "2026-10-03"}

RUN_STATES: Final[Mapping[str, RunState]] = {
    "starting": RunState.RUNNING,
    "active": RunState.RUNNING,
    "standby": RunState.RUNNING,
    "stopping": RunState.STOPPING,
    "ended": RunState.STOPPED,
    "failed": RunState.FAILED,
}
"""``ended`` is said of a run that was stopped and of one that idled out alike; its reason is free text."""

IDLE: Final = "idle"
"""The word of a browser without a run."""

STOP_PENDING: Final = "browser.stop_pending"
"""The code of a refused stop that says that an earlier one is under way."""

START_WAIT: Final = 10
"""Seconds for which a start may wait for the browser to be up, so that its run's id is in the answer."""

STOP_WAIT: Final = 1
"""Seconds for which a stop may wait for the run to end: no longer than a kill has time for."""

ANSWER_SECONDS: Final = 30.0

AWAITED: Final = "awaited"
"""Id of a run that was asked for, but not admitted when the start was answered."""


@dataclass(frozen=True, slots=True)
class BctrlBrowsers(Bctrl):
    """bctrl over the contract ``browsers``."""

    contract: ClassVar[str] = "browsers"
    states: ClassVar[Mapping[str, RunState]] = {**RUN_STATES, **TASK_STATES}
    operations: ClassVar[frozenset[Operation]] = frozenset(Operation) - {Operation.PAUSE, Operation.RESUME}
    can_glance: ClassVar[bool] = True
    filters: ClassVar[frozenset[str]] = frozenset({"name", "space_id"})

    @property
    def tasks(self) -> Tasks:
        """The flows of agents' tasks."""
        return Tasks(self)

    # -- start ---------------------------------------------------------------------------------------

    def run_task(self, task: TaskStart) -> StartPlan:
        """Plan a task of an agent."""
        return self.tasks.start(task)

    def start_runtime(self, runtime: RuntimeStart) -> StartPlan:
        """Plan a run of a browser: of a new one, or with ``browser_id`` of one that is there."""
        if runtime.workspace_id is not None or runtime.alias is not None:
            raise ConnectionSetupError(
                "The connection speaks bctrl's contract 'browsers', which knows neither workspace_id nor alias. Give "
                "name or browser_id, or set the connection's extra 'api' to workspaces."
            )
        if runtime.browser_id is not None:
            return self._start_plan(runtime.browser_id)
        return self._create_plan(runtime)

    def _create_plan(self, runtime: RuntimeStart) -> StartPlan:
        """Plan a new browser, which starts its first run at once. Its key is recorded first, and in its metadata."""
        named = {"name": runtime.name, "spaceId": runtime.space_id}
        body = {**runtime.options, **{field: value for field, value in named.items() if value is not None}}

        def prepare() -> Flow[Search]:
            yield from ()
            return {"browser": "", "name": runtime.name, "key": new_key(), "after": ""}

        def start(search: Search) -> Flow[Started]:
            request = self._start_request(search, "browsers", json={**body, "metadata": marked(body, search["key"])})
            what = f"a browser named {runtime.name!r}" if runtime.name else "a browser"
            return (yield from self._start(request, search, what))

        return StartPlan({"body": body}, prepare, start, what=runtime.name)

    def _start_plan(self, browser_id: str) -> StartPlan:
        """Plan another run of a browser. A run that is there already would be given back as if it were ours."""
        path("v1", "browsers", browser_id, "start")

        def prepare() -> Flow[Search]:
            browser = yield from self._get_browser(browser_id)
            current = _run_in(browser)
            if current is not None and self._run_status(current).state is not RunState.STOPPING:
                raise StartRefused(
                    f"bctrl browser {browser_id!r} has run {current.get('id')} already ({current.get('status')}). "
                    "Nothing was started, and that one was left alone: stop it first, or start another browser.",
                    status=409,
                )
            newest = yield from self._newest_run(browser_id)
            return {
                "browser": browser_id,
                "name": None,
                "key": new_key(),
                "after": newest.get("id", "") if newest else "",
            }

        def start(search: Search) -> Flow[Started]:
            request = self._start_request(search, "browsers", browser_id, "start", json={})
            return (yield from self._start(request, search, f"a run of browser {browser_id!r}"))

        return StartPlan({"browser": browser_id}, prepare, start, what=browser_id)

    def _start_request(self, search: Search, *segments: str, json: Any) -> HttpRequest:
        return self.request(
            "POST",
            *segments,
            effect=Effect.START,
            query={"wait": str(START_WAIT)},
            json=json,
            key=search["key"],
            timeout=START_WAIT + ANSWER_SECONDS,
        )

    def _start(self, request: HttpRequest, search: Search, what: str) -> Flow[Started]:
        try:
            response = yield from self.keyed(request)
        except StartUncertain as error:
            return (yield from self.lost(search, what, str(error)))
        if not response.ok:
            raise StartRefused(f"bctrl refused to start {what}. {self.error_of(response)}", status=response.status)
        browser = response.json_or_none()
        if not isinstance(browser, Mapping) or not isinstance(browser.get("id"), str):
            return (yield from self.lost(search, what, "its answer names no browser"))
        started = _started(browser, search["after"])
        if (state := self.states.get(started.vendor_state)) is not None and state.is_terminal:
            raise StartRefused(
                f"bctrl made a run of browser {browser['id']}, but it is {started.vendor_state} "
                f"({text_of((_run_in(browser) or {}).get('endReason')) or 'no reason is given'}). Nothing is running.",
                status=200,
            )
        return started

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return what an unfinished start made: a task or a browser that bears its mark, or a browser's new run."""
        if "task" in search:
            return (yield from self.tasks.find(search))
        if not search["browser"]:
            browsers = yield from self.pages("browsers")
            return [_started(browser) for browser in browsers if bears_mark(browser, search["key"])]
        newest = yield from self._newest_run(search["browser"])
        if newest is None or newest["id"] == search["after"]:
            return []
        ids = {"browser_id": search["browser"], "run_id": newest["id"]}
        when = parse_time(newest.get("createdAt"))
        return [Started(newest["id"], ids, str(newest.get("status") or ""), created_at=when)]

    # -- look ----------------------------------------------------------------------------------------

    def status(self, run: ExternalRun) -> Flow[RunStatus]:
        """Look at a task, at a browser's run, or at what a browser runs that a user named."""
        if "task_id" in run.ids:
            return (yield from self.tasks.status(run.ids["task_id"]))
        browser_id = self.id_of(run, "browser_id")
        run_id = yield from self._run_id(run)
        if run_id is not None:
            return self._run_status((yield from self.get_run(run_id)))
        browser = yield from self._get_browser(browser_id)
        word = str(browser.get("status"))
        if word != IDLE or AWAITED in run.ids:
            current = None if AWAITED in run.ids else _run_in(browser)
            return self._run_status(current) if current else RunStatus(RunState.QUEUED, word, "no run is admitted yet")
        newest = yield from self._newest_run(browser_id)
        return self._run_status(newest) if newest else RunStatus(RunState.STOPPED, word, "the browser has no run")

    def glance(self, watched: Sequence[tuple[ExternalRun, str]]) -> Flow[Glance]:
        """List the runs of each state in which many are watched, and the newest tasks, of which any state is shown.

        A list of runs takes a state [code]; that one of tasks does is not known.
        """
        tasks = [word for run, word in watched if "task_id" in run.ids]
        runs = Counter(word for run, word in watched if "run_id" in run.ids)
        asked = [("runs", {"status": word}, count) for word, count in runs.items()] + [("tasks", {}, len(tasks))]
        shown: dict[tuple[str, str], str] = {}
        for kind, query, count in asked:
            if count >= WORTH_A_LIST:
                entries = yield from self.pages(kind, query=query, most=pages_worth(count, PAGE))
                shown.update({(kind, str(entry.get("id"))): str(entry.get("status")) for entry in entries})

        def word_of(run: ExternalRun) -> str | None:
            kind = "tasks" if "task_id" in run.ids else "runs"
            return shown.get((kind, run.ids.get("task_id") or run.ids.get("run_id", "")))

        return word_of

    def _run_id(self, run: ExternalRun) -> Flow[str | None]:
        """Return the id of our run, if it has one by now: the first after those that were there before."""
        if AWAITED not in run.ids:
            return run.ids.get("run_id")
        runs = yield from self.pages("browsers", run.ids["browser_id"], "runs")
        ours = takewhile(lambda listed: listed.get("id") != run.ids["after"], runs)
        return next((str(listed["id"]) for listed in reversed(list(ours)) if listed.get("id")), None)

    def get_run(self, run_id: str) -> Flow[Mapping[str, Any]]:
        """Read a run, with the addresses by which its browser can be driven; keep those to yourself."""
        return self.object_of((yield self.request("GET", "runs", run_id)), f"run {run_id}")

    def _run_status(self, run: Mapping[str, Any]) -> RunStatus:
        word = run.get("status")
        if not isinstance(word, str):
            raise BadAnswer(f"bctrl's answer about run {run.get('id')} has no status.")
        return RunStatus(self.state_among(RUN_STATES, "run", word), word, text_of(run.get("endReason")))

    def _get_browser(self, browser_id: str) -> Flow[Mapping[str, Any]]:
        response = yield self.request("GET", "browsers", browser_id)
        return self.object_of(response, f"browser {browser_id!r}")

    def _newest_run(self, browser_id: str) -> Flow[Mapping[str, Any] | None]:
        response = yield self.request("GET", "browsers", browser_id, "runs", query={"limit": "1"})
        runs = [run for run in self.array_of(response, "runs") if isinstance(run.get("id"), str)]
        return runs[0] if runs else None

    def list_browsers(self) -> Flow[list[Mapping[str, Any]]]:
        """List the browsers, newest first."""
        return (yield from self.pages("browsers"))

    def list_runs(self, browser_id: str | None = None) -> Flow[list[Mapping[str, Any]]]:
        """List the runs of a browser, or of all; newest first."""
        return (yield from self.pages("runs") if browser_id is None else self.pages("browsers", browser_id, "runs"))

    def live_runs(self, filters: Mapping[str, str]) -> Flow[list[Started]]:
        """Return the runs of browsers that are not idle, by the browser's ``name``, its ``space_id``, or both."""
        keys = {"name": "name", "space_id": "spaceId"}
        found = []
        for browser in (yield from self.pages("browsers")):
            named = isinstance(browser.get("id"), str) and browser.get("status") != IDLE
            if named and all(browser.get(keys[name]) == value for name, value in filters.items()):
                found.append(_running(browser))
        return found

    # -- act -----------------------------------------------------------------------------------------

    def ask_stop(self, run: ExternalRun) -> Flow[StopReply]:
        """Cancel a task; stop a browser's run, if the browser runs that one. The answer means "asked".

        :raises CannotStop: if the browser runs another run.
        """
        if "task_id" in run.ids:
            return (yield from self.tasks.cancel(run.ids["task_id"]))
        browser_id = self.id_of(run, "browser_id")
        ours = yield from self._run_id(run)
        if ours is not None:
            current = _run_in((yield from self._get_browser(browser_id)))
            if current is not None and current["id"] != ours:
                return (yield from self._leave_alone(run, current))
        response = yield self.request(
            "POST", "browsers", browser_id, "stop", effect=Effect.STOP, query={"wait": str(STOP_WAIT)}
        )
        if _is_pending(response):
            return StopReply()
        current = _run_in(self.object_of(response, f"the stop of browser {browser_id!r}"))
        if ours is not None and current is not None and current["id"] != ours:
            raise CannotStop(
                f"bctrl browser {browser_id!r} began another run while this was under way: the stop hit run "
                f"{current['id']}, not {ours}. Look at both at bctrl."
            )
        return StopReply()

    def _leave_alone(self, run: ExternalRun, other: Mapping[str, Any]) -> Flow[StopReply]:
        """Return the end of our run; the one that its browser runs now is not stopped."""
        status = yield from self.status(run)
        if status.state.is_terminal:
            return StopReply(status)
        raise CannotStop(
            f"bctrl browser {run.ids['browser_id']!r} runs {other['id']} now, while run {run.run_id} is "
            f"{status.vendor_state}. Nothing was stopped, since a stop would hit the other one. Look at both at bctrl."
        )

    def ask_resume(self, run: ExternalRun) -> Flow[None]:
        """See whether a task that asked for input has been answered; nothing here can answer it.

        :raises RunctlError: if it still asks.
        """
        if "task_id" not in run.ids:
            yield from Vendor.ask_resume(self, run)
        status = yield from self.status(run)
        if status.state is RunState.SUSPENDED:
            raise RunctlError(
                f"bctrl task {run.run_id}: {status.message}. It goes on only when it is answered at bctrl."
            )

    def restart(self, run: ExternalRun) -> StartPlan | None:
        """Plan another run of the browser whose run was stopped."""
        browser_id = run.ids.get("browser_id")
        return self._start_plan(browser_id) if browser_id else None

    def test(self) -> Flow[str]:
        """Ask who the key belongs to."""
        response = yield self.request("GET", "auth", "whoami")
        answer = self.object_of(response, "the API key")
        if not answer:
            raise BadAnswer(f"What answers here is not bctrl, it says nothing of the API key: {response.excerpt()!r}")
        names = ("email", "organizationId", "accountId", "subaccountId")
        known = [f"{name} {answer[name]}" for name in names if isinstance(answer.get(name), str)]
        return f"Reached bctrl (contract browsers) with this API key: {', '.join(known) or 'it does not say whose'}."


def _run_in(browser: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the run that a browser has now."""
    current = browser.get("currentRun")
    return current if isinstance(current, Mapping) and isinstance(current.get("id"), str) else None


def _running(browser: Mapping[str, Any]) -> Started:
    """Return what a browser runs now, whoever started it."""
    current = _run_in(browser) or {}
    ids = {"browser_id": str(browser["id"]), **({"run_id": current["id"]} if current else {})}
    return Started(ids.get("run_id", ids["browser_id"]), ids, str(current.get("status") or ""), shown=ids)


def _started(browser: Mapping[str, Any], after: str = "") -> Started:
    """Return the run that was asked for; a browser does not show it before it is admitted.

    :param after: the newest run before it.
    """
    started = _running(browser)
    if started.ids.get("run_id", after) != after:
        return started
    browser_id = started.ids["browser_id"]
    ids = {"browser_id": browser_id}
    return Started(browser_id, {**ids, AWAITED: "1", "after": after}, shown=ids)


def _is_pending(response: HttpResponse) -> bool:
    """Return True for the refusal that says that a stop is under way already."""
    return response.status == 409 and Failure.read(response).code == STOP_PENDING
