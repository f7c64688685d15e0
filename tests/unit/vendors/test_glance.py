"""A list says of a live run what a look at it says, and of one that is over nothing that would pass for live."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pytest

from airflow_runctl.runs import ExternalRun
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.vendors.base import Glance, HttpRequest, HttpResponse, pages_worth
from airflow_runctl.vendors.bctrl.api import RuntimeStart, TaskStart
from airflow_runctl.vendors.snaplogic.trigger import TriggeredTask
from tests.unit.clients import Client
from tests.unit.connections import Connections
from tests.unit.driven import ONCE, Driven

pytestmark = pytest.mark.usefixtures("brisk")


def a_pipeline(at: Driven, number: int) -> ExternalRun:
    return at.carry_out(_vendor(at).trigger(TriggeredTask("projects/sales/early-hang")))


def an_automation(at: Driven, number: int) -> ExternalRun:
    return at.carry_out(_vendor(at).trigger(["Hang", "Nightly prices"][number]))


def a_browser(at: Driven, number: int) -> ExternalRun:
    return at.carry_out(_vendor(at).start_runtime(RuntimeStart(name=f"shopper-{number}")))


def a_task(at: Driven, number: int) -> ExternalRun:
    return at.carry_out(_vendor(at).run_task(TaskStart("hang-agent", "find the price")))


def a_runtime(at: Driven, number: int) -> ExternalRun:
    workspace = at.drive(_vendor(at).list_workspaces())[0]["id"]
    return at.carry_out(_vendor(at).start_runtime(RuntimeStart(workspace, f"main-{number}")))


def _vendor(at: Driven) -> Any:
    return at.access.vendor


class Start(NamedTuple):
    """A run, the words that its vendor has for a live one and for one that is over, and how many make a list."""

    run: Callable[[Driven, int], ExternalRun]
    conn_id: str
    live: str
    over: str
    count: int = 3


STARTS = [
    Start(a_pipeline, "snaplogic_default", "Started", "Completed"),
    Start(an_automation, "axiom_default", "Running", "Success", count=2),
    Start(a_browser, "bctrl_browsers", "active", "ended"),
    Start(a_task, "bctrl_browsers", "running", "succeeded"),
    Start(a_runtime, "bctrl_default", "active", "stopped"),
]


@dataclass
class Runs(Driven):
    """Runs of one kind, all of them alive."""

    start: Start
    runs: list[ExternalRun] = field(default_factory=list)

    def put(self, word: str) -> None:
        for made in self.box.open_runs():
            self.box.set_run(made["run_id"], word)

    def glance(self) -> Glance:
        watched = [(run, self.start.live) for run in self.runs]
        found: Glance = self.drive(self.access.vendor.glance(watched), ONCE)
        return found


@pytest.fixture(params=STARTS, ids=lambda start: start.run.__name__)
def runs(box: Sandbox, connections: Connections, client: Client, request: pytest.FixtureRequest) -> Runs:
    start: Start = request.param
    found = Runs(box, connections.access(start.conn_id), client, start)
    found.runs = [start.run(found, number) for number in range(start.count)]
    found.put(start.live)
    return found


def test_list_shows_live_runs_as_a_look_does_in_one_request(runs: Runs) -> None:
    assert {runs.status(run).vendor_state for run in runs.runs} == {runs.start.live}
    runs.box.clear_requests()
    glance = runs.glance()
    assert [glance(run) for run in runs.runs] == [runs.start.live] * runs.start.count
    assert len(runs.box.requests()) == 1


def test_run_that_is_over_is_shown_as_nothing_that_would_pass_for_live(runs: Runs) -> None:
    runs.put(runs.start.over)
    glance = runs.glance()
    for run in runs.runs:
        assert glance(run) is None or runs.access.vendor.state_of(str(glance(run))).is_terminal


def test_run_that_is_none_of_the_listed_is_not_shown(runs: Runs) -> None:
    other = replace(runs.runs[0], run_id="other", ids=dict.fromkeys(runs.runs[0].ids, "other"))
    assert runs.glance()(other) is None


# -- what SnapLogic's list leaves open ------------------------------------------------------------------------


def snaplogic_glance(access: Any, count: int, *pages: list[dict[str, Any]], total: int) -> tuple[Glance, int]:
    """Answer a glance at ``count`` Started runs with ``pages``; return it, and the number of requests."""
    run = ExternalRun("snaplogic", "c", "r", None, None, {"ruuid": "r"})  # type: ignore[arg-type]
    flow = access.vendor.glance([(run, "Started")] * count)
    request = next(flow)
    for number in range(1, 100):
        assert isinstance(request, HttpRequest)
        assert request.query["state"] == "Started"
        assert request.query["invoker"] == "triggered"
        entries = pages[min(number, len(pages)) - 1]
        body = {"response_map": {"entries": entries, "total": total, "limit": 1000}, "http_status_code": 200}
        try:
            request = flow.send(HttpResponse(200, {}, json.dumps(body).encode()))
        except StopIteration as stop:
            return stop.value, number
    raise AssertionError("it goes on and on")


def entries(first: int, count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": f"run-{number}", "state": "Started", **more} for number in range(first, first + count)]


def named(run_id: str) -> ExternalRun:
    return ExternalRun("snaplogic", "c", run_id, None, None, {"ruuid": run_id})  # type: ignore[arg-type]


def test_thousand_runs_are_one_page(snaplogic: Any) -> None:
    glance, requests = snaplogic_glance(snaplogic, 1000, entries(0, 1000), total=1000)
    assert requests == 1
    assert [glance(named(f"run-{number}")) for number in (0, 999)] == ["Started", "Started"]


def test_runs_of_others_are_not_read_page_after_page(snaplogic: Any) -> None:
    pages = [entries(1000 * number, 1000) for number in range(50)]
    assert snaplogic_glance(snaplogic, 3, *pages, total=50_000)[1] == pages_worth(3, 1000) == 1
    glance, requests = snaplogic_glance(snaplogic, 1000, *pages, total=50_000)
    assert requests == pages_worth(1000, 1000) == 3
    assert glance(named("run-2999")) == "Started"
    assert glance(named("run-3000")) is None


@pytest.mark.parametrize("entry", [{"state": None}, {"state": "Stopping"}, {"state": 7}])
def test_entry_that_shows_another_state_than_was_asked_for_is_not_believed(snaplogic: Any, entry: Any) -> None:
    glance, _ = snaplogic_glance(snaplogic, 3, [{"id": "run-0", **entry}, *entries(1, 2)], total=3)
    assert glance(named("run-0")) is None
    assert glance(named("run-1")) == "Started"


def test_states_that_few_are_in_or_that_nobody_documents_are_not_listed(snaplogic: Any) -> None:
    watched = [(named("a"), "Started"), (named("b"), "Queued"), *[(named("c"), "Dreaming")] * 5]
    with pytest.raises(StopIteration) as stop:
        next(snaplogic.vendor.glance(watched))
    assert stop.value.value(named("a")) is None
