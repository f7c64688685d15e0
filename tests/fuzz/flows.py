"""Every flow of every vendor, with what it is called with, and the sandbox's good answers to each of its requests."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import CodeType, FrameType
from typing import Any
from urllib.parse import urlsplit

from airflow_runctl.control.pause_resume import PAUSE, RESUME, change
from airflow_runctl.control.seal import handle_of
from airflow_runctl.control.stop import StopNote, stop
from airflow_runctl.control.stop_by_search import matching
from airflow_runctl.control.watch import follow
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, RunState, StopReason
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.retry import Patience
from airflow_runctl.transport.turns import Line
from airflow_runctl.vendors.axiom.vendor import Axiom
from airflow_runctl.vendors.base import Flow, HttpRequest, HttpResponse, Search, Started, StartPlan, Vendor
from airflow_runctl.vendors.bctrl.api import RuntimeStart, TaskStart
from airflow_runctl.vendors.bctrl.browsers import AWAITED, BctrlBrowsers
from airflow_runctl.vendors.bctrl.tasks import Tasks
from airflow_runctl.vendors.bctrl.workspaces import BctrlWorkspaces
from airflow_runctl.vendors.snaplogic.org import quota, switch_task
from airflow_runctl.vendors.snaplogic.trigger import Trigger, TriggeredTask
from airflow_runctl.vendors.snaplogic.vendor import SnapLogic
from airflow_runctl.vendors.vectorshift.start import PipelineRun, Starts
from airflow_runctl.vendors.vectorshift.vendor import VectorShift
from tests.fuzz.answers import Good
from tests.fuzz.server import AnsweredAtOnce, Key
from tests.unit.connections import Connections

Flows = dict[str, Callable[[], Flow[Any]]]

NOTE = StopNote(StopReason.BY_HAND, "fuzzer")
ONCE = Patience(total=0.05)
"""One try for each request."""

WORKSPACE = "77aa0c1e-5b7d-4f5e-9d43-2f6c1b8a9e10"
PIPELINE = "early-hang"


@dataclass(frozen=True)
class Subject:
    """A vendor, one run of it or two, and how its flows are called.

    :param access: what the connection gives access to.
    :param runs: runs by name; the first is an ordinary one.
    :param searches: what was written ahead of starts, by name.
    :param now: the time.
    """

    access: Access
    runs: Mapping[str, ExternalRun]
    searches: Mapping[str, Search]
    now: Callable[[], float]

    @property
    def vendor(self) -> Any:
        return self.access.vendor

    def flows(self) -> Flows:
        """Return every flow by name."""
        found = {**self._beside(), "test": self.vendor.test}
        for name, run in self.runs.items():
            found |= {f"{what} of {name}": flow for what, flow in self._of_run(run).items()}
        for name, plan in self.plans().items():
            found[f"start {name}"] = lambda plan=plan: self._start(plan)
        for name, search in self.searches.items():
            found[f"find {name}"] = lambda search=search: self._find(search)
        if filters := FILTERS.get(type(self.vendor)):
            found["search"] = lambda: self._search(filters)
        return found

    def _of_run(self, run: ExternalRun) -> Flows:
        vendor: Vendor = self.vendor
        found: Flows = {
            "status": lambda: vendor.status(run),
            "ask_stop": lambda: vendor.ask_stop(run),
            "stop": lambda: stop(vendor, run, NOTE, timeout=20.0),
            "kill": lambda: stop(vendor, run, NOTE, timeout=0.0, look_first=False),
            "watch": lambda: self._watch(run),
        }
        if not vendor.can_look(run):
            del found["status"], found["watch"]
        elif vendor.can_glance:
            found["glance"] = lambda: self._glance(run)
        if overridden(vendor, "ask_resume") and ("task_id" in run.ids or not isinstance(vendor, BctrlBrowsers)):
            found["ask_resume"] = lambda: vendor.ask_resume(run)
            found["resume"] = lambda: change(vendor, run, RESUME, timeout=5.0)
        if overridden(vendor, "ask_pause"):
            found["ask_pause"] = lambda: vendor.ask_pause(run)
            found["pause"] = lambda: change(vendor, run, PAUSE, timeout=5.0)
        if (again := vendor.restart(run)) is not None:
            found["restart"] = lambda: self._start(again)
        return found

    def _watch(self, run: ExternalRun) -> Flow[Any]:
        limits = {StopReason.MAX_RUNTIME.value: self.now() + 20.0}
        watched = yield from follow(
            self.vendor, run, by="fuzzer", poll_interval=2.0, limits=limits, stop_timeout=5.0, ride_out=10.0
        )
        return watched.out()

    def _glance(self, run: ExternalRun) -> Flow[Any]:
        word = (yield from self.vendor.status(run)).vendor_state
        glance = yield from self.vendor.glance([(run, word)] * 5)
        return glance(run)

    def _start(self, plan: StartPlan) -> Flow[Any]:
        """Start a run as an operator does, and stop it."""
        search = yield from plan.prepare()
        json.dumps(search).encode()
        started = yield from plan.start(search)
        yield from self._stop(started)
        return search, started

    def _find(self, search: Search) -> Flow[Any]:
        found = yield from self.vendor.find(search)
        for started in found:
            yield from self._stop(started)
        return found

    def _search(self, filters: Mapping[str, str]) -> Flow[Any]:
        found = yield from matching(self.vendor, filters, max_runs=100)
        for started in found[:2]:
            yield from self._stop(started)
        return found

    def _stop(self, started: Started) -> Flow[None]:
        """Record a run and stop it, whatever its ids are by now."""
        run = self.run_of(started)
        json.dumps(handle_of(run, self.access)).encode()
        with suppress(RunctlError):
            yield from stop(self.vendor, run, NOTE, timeout=3.0)

    def run_of(self, started: Started) -> ExternalRun:
        url = self.vendor.run_url(self.access.endpoint.base_url, started)
        conn = self.access.conn_id
        began = datetime.fromtimestamp(self.now(), UTC) - timedelta(minutes=5)
        return ExternalRun(self.vendor.name, conn, started.run_id, url, began, started.ids)

    # -- what only one vendor has ------------------------------------------------------------------------

    def plans(self) -> dict[str, StartPlan]:
        vendor = self.vendor
        if isinstance(vendor, SnapLogic):
            task = TriggeredTask(task_path=f"projects/sales/{PIPELINE}", pipeline_name=PIPELINE)
            url = f"{self.access.endpoint.base_url}/api/1/rest/slsched/feed/Acme/projects/sales/{PIPELINE}"
            return {"a task": vendor.trigger(task), "a task's URL": vendor.trigger(TriggeredTask(task_url=url))}
        if isinstance(vendor, Axiom):
            return {"an automation": vendor.trigger("Hang", [["a"]])}
        if isinstance(vendor, VectorShift):
            return {"a pipeline": vendor.run_pipeline(PipelineRun("pl-hang"))}
        if isinstance(vendor, BctrlBrowsers):
            return {
                "a new browser": vendor.start_runtime(RuntimeStart(name="shopper")),
                "a browser": vendor.start_runtime(RuntimeStart(browser_id="brw-shop")),
                "a task": vendor.run_task(TaskStart("hang-agent", "find the price")),
            }
        return {"a runtime": vendor.start_runtime(RuntimeStart(workspace_id=WORKSPACE, alias="shopper"))}

    def _beside(self) -> Flows:
        """Return what is not about one run, and the parts of which other flows are made."""
        vendor, [run, *_] = self.vendor, self.runs.values()
        if isinstance(vendor, SnapLogic):
            at = datetime(2026, 1, 1, tzinfo=UTC)
            return {
                "get_run": lambda: vendor.get_run(run.ids["ruuid"]),
                "list_runs": lambda: vendor.list_runs(state="Started", pipe_name=PIPELINE, last_hours=1),
                "live_runs": lambda: vendor.live_runs({"pipeline_name": PIPELINE, "invoker": "triggered"}),
                "quota": lambda: quota(vendor),
                "daily quota": lambda: quota(vendor, "daily", at),
                "enable a task": lambda: switch_task(vendor, f"projects/sales/{PIPELINE}", on=True),
                "find of a trigger": lambda: Trigger(vendor).find(self.searches["the run"]),
            }
        if isinstance(vendor, Axiom):
            return {
                "reports": lambda: vendor.reports(5),
                "automations": vendor.automations,
                "remaining_runtime": vendor.remaining_runtime,
            }
        if isinstance(vendor, VectorShift):
            ids = (run.ids["pipeline_id"], run.ids["run_id"])
            return {
                "get_run": lambda: vendor.get_run(*ids),
                "look": lambda: vendor.look(*ids),
                "events": lambda: vendor.events("pl-hang", "in_progress"),
                "list_runs": lambda: vendor.list_runs("pl-hang", "in_progress"),
                "list_pipelines": vendor.list_pipelines,
                "find of a start": lambda: Starts(vendor).find(self.searches["the run"]),
            }
        if isinstance(vendor, BctrlBrowsers):
            request = vendor.request("GET", "runs", run.ids["run_id"])
            task_id = self.runs["the task"].ids["task_id"]
            return {
                "pages": lambda: vendor.pages("browsers"),
                "keyed": lambda: vendor.keyed(request),
                "lost": lambda: vendor.lost(self.searches["the run"], "a browser", "it is lost"),
                "get_run": lambda: vendor.get_run(run.ids["run_id"]),
                "list_browsers": vendor.list_browsers,
                "list_runs": vendor.list_runs,
                "list_runs of a browser": lambda: vendor.list_runs("brw-shop"),
                "live_runs": lambda: vendor.live_runs({"name": "shopper"}),
                "tasks.list": lambda: Tasks(vendor).list(),
                "tasks.find": lambda: Tasks(vendor).find(self.searches["the task"]),
                "tasks.status": lambda: Tasks(vendor).status(task_id),
                "tasks.cancel": lambda: Tasks(vendor).cancel(task_id),
            }
        request = vendor.request("GET", "workspaces")
        return {
            "pages": lambda: vendor.pages("workspaces"),
            "keyed": lambda: vendor.keyed(request),
            "lost": lambda: vendor.lost(self.searches["the run"], "a runtime", "it is lost"),
            "list_workspaces": vendor.list_workspaces,
            "list_runtimes": lambda: vendor.list_runtimes(WORKSPACE),
            "live_runs": lambda: vendor.live_runs({"name": "shopper"}),
        }


FILTERS: Mapping[type[Vendor], Mapping[str, str]] = {
    SnapLogic: {"pipeline_name": PIPELINE},
    BctrlBrowsers: {"name": "shopper"},
    BctrlWorkspaces: {"workspace_id": WORKSPACE},
}


def overridden(vendor: Vendor, name: str) -> bool:
    """Return True if a vendor has an operation that a vendor need not have."""
    return getattr(type(vendor), name) is not getattr(Vendor, name)


# -- good answers ------------------------------------------------------------------------------------------


@dataclass
class Recording(AnsweredAtOnce):
    """A client that keeps what it is answered.

    :param access: the connection to the sandbox.
    :param pause: what it does instead of sleeping.
    """

    access: Access
    pause: Callable[[float], None]
    heard: dict[Key, list[Good]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.access.endpoint, sleep=self.pause)
        self._prefix = urlsplit(self.endpoint.base_url).path

    def send(self, request: HttpRequest, patience: Patience, line: Line | None = None) -> HttpResponse:
        response = super().send(request, patience, line)
        headers = tuple((name.encode(), value.encode("latin-1")) for name, value in response.headers.items())
        good = Good(response.status, headers, response.body)
        answers = self.heard.setdefault((request.method, self._prefix + request.path), [])
        if len(answers) < 12 and (good.status, good.body) not in [(one.status, one.body) for one in answers]:
            answers.append(good)
        return response


@dataclass(frozen=True)
class Recorded:
    """A vendor's good answers.

    :param subject: the vendor, at the sandbox.
    :param good: the good answers to each request.
    :param driven: the code of all that was called for them.
    """

    subject: Subject
    good: Mapping[Key, list[Good]]
    driven: frozenset[CodeType] = frozenset()

    @property
    def runs(self) -> list[ExternalRun]:
        return list(self.subject.runs.values())


def record(box: Sandbox, conn_id: str, now: Callable[[], float], pause: Callable[[float], None]) -> Recorded:
    """Drive every flow against the sandbox, and keep its answers, those to runs in every state among them."""
    box.reset()
    access = Connections(box).access(conn_id)
    if access.vendor.name in {"axiom", "vectorshift"}:
        box.settings(access.vendor.name, rate_limit_per_minute=None)
    client = Recording(access, pause)
    driven: set[CodeType] = set()
    subject = Subject(access, {}, {}, now)
    for name, plan in subject.plans().items():
        if name not in {"a task's URL", "a browser"}:
            subject = _with_run(subject, client, "the task" if name == "a task" and subject.runs else "the run", plan)
    subject = replace(subject, runs=dict(_more_runs(subject.runs)))

    def put(state: str) -> None:
        for run in box.runs(vendor=access.vendor.name):
            box.set_run(run["run_id"], state, "a reason")

    with _noting(driven):
        for flow in subject.flows().values():
            put(next(word for word, state in access.vendor.states.items() if state is RunState.RUNNING))
            with suppress(RunctlError):
                client.drive(flow(), ONCE)
    for word in access.vendor.states:
        put(word)
        for name, flow in subject.flows().items():
            if name.startswith("status"):
                with suppress(RunctlError):
                    client.drive(flow(), ONCE)
    client.close()
    return replace(_with_known_keys(subject, client.heard), driven=frozenset(driven))


@contextmanager
def _noting(driven: set[CodeType]) -> Iterator[None]:
    """Note what code runs."""

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            driven.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


KEY = "0" * 32
"""What every start bears, once the answers are recorded."""


def _with_known_keys(subject: Subject, heard: Mapping[Key, list[Good]]) -> Recorded:
    """Let the recorded runs be those of any later start: they bear its key, or its trace."""
    bodies = {
        key: [replace(good, body=_rekeyed(good.body)) for good in sorted(answers, key=lambda one: one.status >= 400)]
        for key, answers in heard.items()
    }
    searches = json.loads(_rekeyed(json.dumps(subject.searches).encode()))
    return Recorded(replace(subject, searches=searches), bodies)


def _rekeyed(text: bytes) -> bytes:
    return re.sub(rb"airflow-runctl-[0-9a-f]{32}", b"airflow-runctl-" + KEY.encode(), text)


def _with_run(subject: Subject, client: Recording, name: str, plan: StartPlan) -> Subject:
    search = client.drive(plan.prepare(), ONCE)
    run = subject.run_of(client.drive(plan.start(search), ONCE))
    return replace(subject, runs={**subject.runs, name: run}, searches={**subject.searches, name: search})


def _more_runs(runs: Mapping[str, ExternalRun]) -> Iterator[tuple[str, ExternalRun]]:
    """Yield the runs, and the first of them as it is known in other ways."""
    yield from runs.items()
    [run, *_] = runs.values()
    if run.vendor == "snaplogic":
        yield "an Ultra task", replace(run, ids={**run.ids, "disable_task": f"projects/sales/{PIPELINE}"})
    elif run.vendor == "axiom":
        yield "a run known by pid and pw", replace(run, ids={key: run.ids[key] for key in ("pid", "pw")})
        yield "a queued run", replace(run, ids={"name": "Hang", "after": "", "queued": "1"})
    elif "browser_id" in run.ids:
        awaited = {"browser_id": run.ids["browser_id"], AWAITED: "1", "after": ""}
        yield "a run not admitted yet", replace(run, ids=awaited)
        yield "a browser that a user named", replace(run, ids={"browser_id": run.ids["browser_id"]})
    elif "alias" in run.ids:
        yield "a runtime that a user named", replace(run, ids={k: v for k, v in run.ids.items() if k != "id"})
