"""A watched run is followed to its end or to a limit; bad answers are put up with, and limits are kept."""

import dataclasses
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_runctl.control import watch
from airflow_runctl.control.watch import Limits, Watched, follow, next_limit
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import (
    ExternalRun,
    Owner,
    RunState,
    RunStatus,
    StopOutcome,
    StopReason,
    StopResult,
    TaskKey,
)
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.axiom.vendor import Axiom
from airflow_runctl.vendors.base import HttpRequest
from airflow_runctl.vendors.snaplogic.trigger import TriggeredTask
from airflow_runctl.vendors.snaplogic.vendor import SnapLogic
from tests.unit.clients import Client
from tests.unit.connections import Connections

pytestmark = pytest.mark.usefixtures("brisk")

ONCE = Patience(total=0.02)
SILENCE = Patience(total=0.02, answer=1.0)
"""For a vendor that never answers: what does answer may take longer than this on no machine."""

ENDS = [
    ("snaplogic", "Completed", RunState.SUCCEEDED),
    ("snaplogic", "Failed", RunState.FAILED),
    ("snaplogic", "Stopped", RunState.STOPPED),
    ("snaplogic", "Suspended", RunState.SUSPENDED),
    ("axiom", "Success", RunState.SUCCEEDED),
    ("axiom", "Failure", RunState.FAILED),
]


@dataclasses.dataclass
class Case:
    """One vendor's run that hangs, and how to follow it."""

    box: Sandbox
    client: Client
    access: Access
    run: ExternalRun
    heard: list[object] = dataclasses.field(default_factory=list)
    on_poll: Callable[[int], None] = lambda number: None
    patience: Patience = ONCE

    @property
    def made(self) -> dict[str, Any]:
        return self.box.runs(vendor=self.run.vendor)[0]

    def force(self, state: str, message: str | None = None) -> None:
        self.box.set_run(self.made["run_id"], state, message)

    def polls(self) -> int:
        return len(self.box.requests(operation="status"))

    def told(self) -> list[str]:
        return [what.vendor_state for what in self.heard if isinstance(what, RunStatus)]

    def follow(self, limits: Limits | None = None, **more: Any) -> Watched:
        """Follow the run; ``on_poll`` is called after each look, with its number."""
        arguments = {"by": "test", "poll_interval": 0.02, "stop_timeout": 10.0, "ride_out": 30.0, **more}
        flow = follow(self.access.vendor, self.run, limits=limits or {}, **arguments)

        def watched() -> Any:
            answer: Any = None
            looks = 0
            while True:
                try:
                    step = flow.throw(answer) if isinstance(answer, Exception) else flow.send(answer)
                except StopIteration as done:
                    return done.value
                try:
                    answer = yield step
                except Exception as error:
                    answer = error
                if isinstance(step, HttpRequest) and (polls := self.polls()) > looks:
                    looks = polls
                    self.on_poll(looks)

        found: Watched = self.client.drive(self.access, watched(), self.patience, self.heard.append)
        return found


Make = Callable[[str], Case]


@pytest.fixture
def make(client: Client, connections: Connections, box: Sandbox) -> Make:
    def made(name: str) -> Case:
        access = connections.access(f"{name}_default")
        vendor = access.vendor
        if isinstance(vendor, SnapLogic):
            flow = vendor.trigger(TriggeredTask("projects/sales/early-hang")).start(
                {"pipeline": None, "project": None, "known": []}
            )
        else:
            assert isinstance(vendor, Axiom)
            flow = vendor.trigger("Hang").start({"name": "Hang", "after": ""})
        box.behave("snaplogic", "early-hang", stop_seconds=0.02)
        box.behave("axiom", "Hang", stop_seconds=0.02)
        started = client.drive(access, flow)
        box.clear_requests()
        if name == "snaplogic":
            box.wait_for_state(started.run_id, "Started")
        owner = Owner(TaskKey("d", "r", "t"), 1)
        run = ExternalRun(name, access.conn_id, started.run_id, None, datetime.now(UTC), started.ids, owner)
        return Case(box, client, access, run)

    return made


@pytest.fixture
def snap(make: Make) -> Case:
    return make("snaplogic")


@pytest.fixture(params=["snaplogic", "axiom"])
def case(request: pytest.FixtureRequest, make: Make) -> Case:
    return make(request.param)


def soon(seconds: float = 0.15) -> float:
    return time.time() + seconds


# -- to the end ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vendor", "end", "state"), ENDS)
def test_run_is_followed_until_it_is_over_or_suspended(make: Make, vendor: str, end: str, state: RunState) -> None:
    case = make(vendor)
    case.on_poll = lambda number: case.force(end, "because") if number == 3 else None
    watched = case.follow()
    assert watched.status is not None
    assert (watched.status.state, watched.status.vendor_state) == (state, end)
    assert (watched.limit, watched.lost, watched.stop) == (None, None, None)
    assert case.polls() == 4
    assert case.made["stop_requests"] == 0


def test_each_change_of_state_is_told_once(snap: Case) -> None:
    plan = {2: "Suspending", 4: "Started", 5: "Completed"}
    snap.on_poll = lambda number: snap.force(plan[number]) if number in plan else None
    snap.follow()
    assert snap.told() == ["Started", "Suspending", "Started", "Completed"]


def test_suspended_run_is_left_alone(snap: Case) -> None:
    snap.force("Suspended")
    watched = snap.follow({"max_runtime": soon(3600)})
    assert watched.status is not None
    assert watched.status.state is RunState.SUSPENDED
    assert snap.made["open"]


def test_unknown_word_is_followed_on_and_is_no_end(snap: Case) -> None:
    snap.force("Rebooting")
    snap.on_poll = lambda number: snap.force("Completed") if number == 3 else None
    watched = snap.follow()
    assert snap.told() == ["Rebooting", "Completed"]
    assert watched.status is not None
    assert watched.status.state is RunState.SUCCEEDED


def test_unknown_word_goes_on_until_a_limit(snap: Case) -> None:
    snap.force("Rebooting")
    watched = snap.follow({"max_runtime": soon()})
    assert watched.limit is StopReason.MAX_RUNTIME
    assert not snap.made["open"]


# -- bad polls -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        {"kind": "cut"},
        {"kind": "hang"},
        {"kind": "garbage"},
        {"kind": "empty"},
        {"kind": "truncated"},
        {"kind": "huge", "bytes": 20_000_000},
        {"kind": "redirect"},
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 404},
        {"kind": "status", "status": 401},
        {"kind": "body", "body": {"response_map": {}, "http_status_code": 500}},
        {"kind": "body", "body": []},
    ],
    ids=str,
)
def test_bad_polls_are_ridden_out(case: Case, trouble: dict[str, Any]) -> None:
    case.patience = SILENCE if trouble["kind"] == "hang" else ONCE
    fault = case.box.fault(case.run.vendor, "status", **trouble)
    end = {"snaplogic": "Completed", "axiom": "Success"}[case.run.vendor]

    def recover(number: int) -> None:
        if number == 3:
            case.box.clear_faults(fault)
            case.force(end)

    case.on_poll = recover
    watched = case.follow()
    assert watched.status is not None
    assert watched.status.state is RunState.SUCCEEDED
    assert len([what for what in case.heard if isinstance(what, Exception)]) >= 1
    assert case.made["stop_requests"] == 0


def test_vendor_that_answers_badly_for_too_long_is_lost_and_the_error_is_told(case: Case) -> None:
    case.box.fault(case.run.vendor, "status", "status", status=500)
    watched = case.follow(ride_out=0.15)
    assert watched.lost is not None
    assert "HTTP 500: out of order" in watched.lost
    assert watched.status is None
    assert case.polls() >= 2
    assert case.made["open"]


def test_good_poll_in_between_starts_the_patience_anew(snap: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad for longer than the patience in sum, never in a row; by a clock that goes on with each look."""
    now = 1000.0
    faults: list[int] = []

    def now_and_then(number: int) -> None:
        nonlocal now
        now += 0.3
        if faults:
            snap.box.clear_faults(faults.pop())
            if number >= 8:
                snap.force("Completed")
        else:
            faults.append(snap.box.fault("snaplogic", "status", "garbage"))

    monkeypatch.setattr(watch, "time", SimpleNamespace(time=lambda: now))
    snap.on_poll = now_and_then
    watched = snap.follow(ride_out=0.5)
    assert watched.lost is None
    assert watched.status is not None
    assert sum(isinstance(what, Exception) for what in snap.heard) > 3


# -- limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["execution_timeout", "max_runtime"])
def test_run_that_passes_a_limit_is_stopped(case: Case, reason: str) -> None:
    at = soon()
    watched = case.follow({reason: at})
    assert time.time() >= at
    assert watched.limit is StopReason(reason)
    assert watched.stop is not None
    assert watched.stop.outcome is StopOutcome.STOPPED
    assert watched.status is None
    assert not case.made["open"]
    assert case.made["stop_requests"] == 1


def test_earliest_limit_counts(snap: Case) -> None:
    watched = snap.follow({"execution_timeout": soon(3600), "max_runtime": soon()})
    assert watched.limit is StopReason.MAX_RUNTIME


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ({}, (None, float("inf"))),
        ({"max_runtime": 5.0}, (StopReason.MAX_RUNTIME, 5.0)),
        ({"max_runtime": 5.0, "execution_timeout": 4.0}, (StopReason.EXECUTION_TIMEOUT, 4.0)),
    ],
)
def test_next_limit(limits: Limits, found: tuple[StopReason | None, float]) -> None:
    assert next_limit(limits) == found


def test_limit_is_not_overslept_between_two_polls(snap: Case) -> None:
    watched = snap.follow({"max_runtime": soon()}, poll_interval=3600)
    assert watched.limit is StopReason.MAX_RUNTIME
    assert not snap.made["open"]


def test_limit_that_has_passed_already_stops_at_once(snap: Case) -> None:
    watched = snap.follow({"max_runtime": time.time() - 60})
    assert watched.limit is StopReason.MAX_RUNTIME
    assert [request["operation"] for request in snap.box.requests()][:2] == ["status", "stop"]


def test_run_that_ended_right_at_the_limit_is_not_stopped(case: Case) -> None:
    case.force({"snaplogic": "Completed", "axiom": "Success"}[case.run.vendor])
    watched = case.follow({"max_runtime": time.time() - 60})
    assert watched.limit is None
    assert watched.status is not None
    assert watched.status.state is RunState.SUCCEEDED
    assert case.made["stop_requests"] == 0


@pytest.mark.parametrize("kind", ["hang", "cut", "garbage"])
def test_limit_holds_while_the_vendor_answers_badly(snap: Case, kind: str) -> None:
    snap.patience = SILENCE if kind == "hang" else ONCE
    snap.box.fault("snaplogic", "status", kind)
    watched = snap.follow({"max_runtime": soon()}, stop_timeout=0.2)
    assert watched.limit is StopReason.MAX_RUNTIME
    assert watched.stop is not None
    assert watched.stop.outcome is StopOutcome.REQUESTED
    snap.box.wait_for_state(snap.run.run_id, "Stopped")


def test_stop_that_is_not_confirmed_in_time_is_told(snap: Case) -> None:
    snap.box.behave("snaplogic", "early-hang", stop_seconds=None)
    watched = snap.follow({"max_runtime": soon(0.1)}, stop_timeout=0.2)
    assert watched.stop is not None
    assert watched.stop.outcome is StopOutcome.REQUESTED
    assert not watched.stop.is_over


def test_stop_that_is_refused_at_the_limit_is_told(snap: Case) -> None:
    snap.box.fault("snaplogic", "stop", "status", status=403)
    watched = snap.follow({"max_runtime": soon(0.1)}, stop_timeout=0.2)
    assert watched.limit is StopReason.MAX_RUNTIME
    assert watched.stop is None
    assert f"did not take the stop of run {snap.run.run_id!r}" in (watched.stop_error or "")


def test_limit_without_a_stop_only_ends_the_watching(snap: Case) -> None:
    watched = snap.follow({"max_runtime": soon(0.1)}, stop_timeout=None)
    assert watched == Watched(limit=StopReason.MAX_RUNTIME)
    assert snap.made["stop_requests"] == 0


# -- through an event ------------------------------------------------------------------------------------

FAILED = RunStatus(RunState.FAILED, "Failed", "näher", {"sheet": [["a"]]})


@pytest.mark.parametrize(
    "watched",
    [
        Watched(status=FAILED),
        Watched(status=RunStatus(RunState.SUCCEEDED, "Completed")),
        Watched(lost="TransportError: No answer came"),
        Watched(limit=StopReason.MAX_RUNTIME, stop=StopResult(StopOutcome.STOPPED, FAILED, 1.5)),
        Watched(limit=StopReason.EXECUTION_TIMEOUT, stop=StopResult(StopOutcome.REQUESTED, None, 0.0)),
        Watched(limit=StopReason.EXECUTION_TIMEOUT, stop_error="CannotStop: no"),
    ],
)
def test_what_was_watched_comes_back_whole_through_json(watched: Watched) -> None:
    assert Watched.read(json.loads(json.dumps(watched.out()))) == watched
