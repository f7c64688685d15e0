"""A stop: look, record the intent, ask, confirm by looking, record the outcome; and say so when it did not work."""

import dataclasses
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from airflow_runctl.control import pause_resume
from airflow_runctl.control.kill import KILL_SECONDS
from airflow_runctl.control.stop import STOP_TIMEOUT, StopNote, stop
from airflow_runctl.exceptions import CannotStop, InvalidIdentifier, NotFound, RunctlError, VendorError
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import (
    ExternalRun,
    Owner,
    RunState,
    StopOutcome,
    StopReason,
    StopResult,
    TaskKey,
)
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.axiom.vendor import Axiom
from airflow_runctl.vendors.base import HttpResponse, Vendor
from airflow_runctl.vendors.bctrl.browsers import BctrlBrowsers
from airflow_runctl.vendors.bctrl.workspaces import BctrlWorkspaces
from airflow_runctl.vendors.snaplogic.trigger import TriggeredTask
from airflow_runctl.vendors.snaplogic.vendor import SnapLogic
from airflow_runctl.vendors.vectorshift.vendor import VectorShift
from tests.servers.listed_runs import ListedRuns
from tests.unit.clients import Client
from tests.unit.connections import Connections

pytestmark = pytest.mark.usefixtures("brisk")

NOTE = StopNote(StopReason.DEADLINE, "test", "too late")
OWNER = Owner(TaskKey("d", "r", "t"), 1)
ONCE = Patience(total=0.05)
SILENCE = Patience(total=0.05, answer=1.0)
"""For a vendor that never answers: what does answer may take longer than this on no machine."""

LIVE, OVER = RunState.RUNNING, {"snaplogic": "Completed", "axiom": "Success"}


@dataclasses.dataclass
class Case:
    """One vendor's run that hangs, and how to stop it."""

    box: Sandbox
    client: Client
    access: Access
    run: ExternalRun
    told: list[object]

    @property
    def made(self) -> dict[str, Any]:
        return self.box.runs(vendor=self.run.vendor)[0]

    @property
    def name(self) -> str:
        name: str = self.made["name"]
        return name

    def behave(self, **changes: Any) -> None:
        self.box.behave(self.run.vendor, self.name, **changes)

    def force(self, state: str) -> None:
        self.box.set_run(self.made["run_id"], state)

    def asked(self) -> list[dict[str, Any]]:
        return self.box.requests(vendor=self.run.vendor, operation="stop")

    def stop(self, timeout: float = 10.0, patience: Patience = ONCE, **more: Any) -> StopResult:
        def hear(what: object) -> None:
            self.told.append(what)

        flow = stop(self.access.vendor, self.run, NOTE, timeout=timeout, **more)
        result: StopResult = self.client.drive(self.access, flow, patience, hear)
        return result


def begin(client: Client, access: Access) -> tuple[str, dict[str, str]]:
    """Start a run that hangs, with as few requests as can be."""
    vendor = access.vendor
    if isinstance(vendor, SnapLogic):
        plan = vendor.trigger(TriggeredTask("projects/sales/early-hang"))
        search: dict[str, Any] = {"pipeline": "early-hang", "project": None, "known": []}
    else:
        assert isinstance(vendor, Axiom)
        plan = vendor.trigger("Hang")
        search = {"name": "Hang", "after": ""}
    started = client.drive(access, plan.start(search))
    return started.run_id, dict(started.ids)


Make = Callable[[str], Case]


@pytest.fixture
def make(client: Client, connections: Connections, box: Sandbox) -> Make:
    def made(vendor: str) -> Case:
        access = connections.access(f"{vendor}_default")
        box.behave("snaplogic", "early-hang", stop_seconds=0.02)
        box.behave("axiom", "Hang", stop_seconds=0.02)
        run_id, ids = begin(client, access)
        box.clear_requests()
        run = ExternalRun(vendor, access.conn_id, run_id, "https://page", datetime.now(UTC), ids, OWNER)
        return Case(box, client, access, run, [])

    return made


@pytest.fixture
def snap(make: Make) -> Case:
    return make("snaplogic")


@pytest.fixture
def ax(make: Make) -> Case:
    return make("axiom")


@pytest.fixture(params=["snaplogic", "axiom"])
def case(request: pytest.FixtureRequest, make: Make) -> Case:
    return make(request.param)


# -- it works --------------------------------------------------------------------------------------------


def test_live_run_is_stopped_and_seen_to_be(case: Case) -> None:
    result = case.stop()
    assert result.outcome is StopOutcome.STOPPED
    assert result.is_over
    assert result.status is not None
    assert result.status.state.is_terminal
    assert not case.made["open"]
    assert case.made["stop_requests"] == 1


def test_it_looks_then_asks_then_looks(case: Case) -> None:
    case.stop()
    operations = [request["operation"] for request in case.box.requests() if request["operation"] != "list"]
    assert operations[:3] == ["status", "stop", "status"]


def test_kill_asks_before_it_looks(case: Case) -> None:
    case.stop(look_first=False)
    assert case.box.requests()[0]["operation"] == "stop"
    assert not case.made["open"]


def test_intent_is_told_before_anything_is_asked_and_the_outcome_after(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    told = case.told

    class Ear(list[object]):
        def append(self, what: object) -> None:
            asked.append(len(case.asked()))
            told.append(what)

    case.told = Ear()
    case.stop()
    first, last = (note for note in told if isinstance(note, StopNote))
    assert asked == [0, 1]
    assert (first.reason, first.by, first.text) == (StopReason.DEADLINE, "test", "too late")
    assert datetime.fromisoformat(first.asked_at) <= datetime.now(UTC)
    assert first.outcome is None
    assert last == dataclasses.replace(first, outcome=StopOutcome.STOPPED, seconds=last.seconds)
    assert (last.seconds or 0) > 0


def test_stop_that_takes_its_time_is_waited_for(case: Case) -> None:
    case.behave(stop_seconds=0.4)
    result = case.stop()
    assert result.outcome is StopOutcome.STOPPED
    assert result.seconds >= 0.4
    assert case.made["stop_requests"] == 1


def test_stop_that_takes_too_long_was_only_requested(case: Case) -> None:
    case.behave(stop_seconds=60)
    result = case.stop(timeout=0.2)
    assert result.outcome is StopOutcome.REQUESTED
    assert not result.is_over
    assert result.status is not None
    assert result.status.state.is_live
    assert case.made["stop_requests"] == 1


def test_stop_that_never_lands_was_only_requested(case: Case) -> None:
    case.behave(stop_seconds=None)
    assert case.stop(timeout=0.15).outcome is StopOutcome.REQUESTED
    assert case.made["open"]


def test_stop_without_time_asks_and_does_not_wait(case: Case) -> None:
    case.behave(stop_seconds=60)
    assert case.stop(timeout=0).outcome is StopOutcome.REQUESTED
    assert case.made["stop_requests"] == 1
    assert len(case.box.requests(operation="status")) == 2


@pytest.mark.parametrize("state", ["Suspended", "Queued", "Prepared", "Failing", "Rebooting"])
def test_run_in_any_live_state_is_stopped(snap: Case, state: str) -> None:
    snap.force(state)
    assert snap.stop().outcome is StopOutcome.STOPPED


def test_run_that_is_stopping_already_is_waited_for(snap: Case) -> None:
    snap.behave(stop_seconds=0.3)
    assert snap.stop(timeout=0).outcome is StopOutcome.REQUESTED
    assert snap.stop().outcome is StopOutcome.STOPPED


# -- it was accepted and did nothing -----------------------------------------------------------------------

DID_NOTHING: dict[str, Any] = {"kind": "body", "body": {"status": "success"}}


def told_again_after(monkeypatch: pytest.MonkeyPatch, case: Case, *seconds: float) -> None:
    monkeypatch.setattr(type(case.access.vendor), "stop_again_after", seconds)


def test_stop_that_was_accepted_and_did_nothing_is_asked_for_again(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    told_again_after(monkeypatch, case, 0.1, 0.2)
    case.box.fault(case.run.vendor, "stop", count=1, **DID_NOTHING)
    result = case.stop()
    assert result.outcome is StopOutcome.STOPPED
    assert len(case.asked()) == 2
    assert case.made["stop_requests"] == 1


def test_it_is_asked_for_no_more_often_than_the_vendor_says(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    told_again_after(monkeypatch, case, 0.05, 0.1)
    case.box.fault(case.run.vendor, "stop", **DID_NOTHING)
    assert case.stop(timeout=1.5).outcome is StopOutcome.REQUESTED
    assert len(case.asked()) == 3


def test_vendor_that_lets_no_stop_be_repeated_is_asked_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    told_again_after(monkeypatch, case)
    case.box.fault(case.run.vendor, "stop", **DID_NOTHING)
    assert case.stop(timeout=0.5).outcome is StopOutcome.REQUESTED
    assert len(case.asked()) == 1


def test_run_that_is_seen_to_be_stopping_is_not_told_again(snap: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    told_again_after(monkeypatch, snap, 0.05, 0.05)
    snap.behave(stop_seconds=0.6)
    assert snap.stop().outcome is StopOutcome.STOPPED
    assert len(snap.asked()) == 1


def test_run_that_cannot_be_seen_is_not_told_again(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    told_again_after(monkeypatch, case, 0.05, 0.05)
    case.box.fault(case.run.vendor, "stop", **DID_NOTHING)
    case.box.fault(case.run.vendor, "status", "status", status=500)
    assert case.stop(timeout=0.5).outcome is StopOutcome.REQUESTED
    assert len(case.asked()) == 1


def test_refusal_of_what_is_asked_once_more_takes_nothing_back(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    told_again_after(monkeypatch, case, 0.05)
    case.box.fault(case.run.vendor, "stop", count=1, **DID_NOTHING)
    case.box.fault(case.run.vendor, "stop", "status", status=409)
    assert case.stop(timeout=0.5).outcome is StopOutcome.REQUESTED
    assert len(case.asked()) == 2


@pytest.mark.parametrize("vendor", [SnapLogic, Axiom, VectorShift, BctrlWorkspaces, BctrlBrowsers])
def test_every_vendor_is_told_again_within_a_stops_time_and_never_within_a_kills(vendor: type[Vendor]) -> None:
    waits = vendor.stop_again_after
    assert KILL_SECONDS < waits[0] < STOP_TIMEOUT
    assert all(later == 2 * earlier for earlier, later in pairwise(waits))
    assert len(waits) < 4


# -- it was over -----------------------------------------------------------------------------------------


def test_stop_of_a_finished_run_is_no_error_and_asks_nothing(case: Case) -> None:
    case.force(OVER[case.run.vendor])
    result = case.stop()
    assert result.outcome is StopOutcome.ALREADY_FINISHED
    assert result.status is not None
    assert result.status.state is RunState.SUCCEEDED
    assert case.asked() == []
    assert [note.outcome for note in case.told if isinstance(note, StopNote)] == [StopOutcome.ALREADY_FINISHED]


@pytest.mark.parametrize("status", [400, 200])
def test_run_that_ended_before_it_could_be_asked_is_no_error(case: Case, status: int) -> None:
    """Without the first look; what a vendor says to it is not documented."""
    if case.run.vendor == "snaplogic":
        case.box.settings("snaplogic", finished_stop_status=status)
    case.force(OVER[case.run.vendor])
    result = case.stop(look_first=False)
    assert result.outcome is StopOutcome.ALREADY_FINISHED
    assert len(case.asked()) == 1


@pytest.mark.parametrize(
    ("vendor", "end", "outcome"),
    [
        ("snaplogic", "Stopped", StopOutcome.STOPPED),
        ("snaplogic", "Failed", StopOutcome.ALREADY_FINISHED),
        ("snaplogic", "Completed", StopOutcome.ALREADY_FINISHED),
        ("axiom", "Failure", StopOutcome.STOPPED),
        ("axiom", "Success", StopOutcome.ALREADY_FINISHED),
    ],
)
def test_how_the_run_ended_after_the_stop_tells_whether_it_was_stopped(
    make: Make, vendor: str, end: str, outcome: StopOutcome
) -> None:
    """axiom.ai shows a stopped run as failed; at SnapLogic a run that failed got there first."""
    case = make(vendor)
    case.behave(stop_seconds=None)
    flow = stop(case.access.vendor, case.run, NOTE, timeout=10)

    def and_end_it() -> Any:
        """Let the run end by itself as soon as the stop was accepted."""
        answer: Any = None
        while True:
            try:
                step = flow.send(answer)
            except StopIteration as done:
                return done.value
            answer = yield step
            if case.asked() and case.made["open"]:
                case.force(end)

    result = case.client.drive(case.access, and_end_it(), ONCE)
    assert result.outcome is outcome
    assert result.status.vendor_state == end


# -- it did not work -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 409, 500, 503])
def test_refused_stop_names_the_run_that_may_be_alive(case: Case, status: int) -> None:
    case.box.fault(case.run.vendor, "stop", "status", status=status)
    with pytest.raises(CannotStop) as seen:
        case.stop(timeout=0.15)
    said = str(seen.value)
    assert f"did not take the stop of run {case.run.run_id!r} (https://page); the run may be alive" in said
    assert f"HTTP {status}: out of order" in said
    assert case.made["open"]


def test_refused_stop_is_asked_again_until_it_is_taken(case: Case) -> None:
    case.box.fault(case.run.vendor, "stop", "status", status=409, count=3)
    assert case.stop().outcome is StopOutcome.STOPPED
    assert len(case.asked()) == 4


@pytest.mark.parametrize("kind", ["cut", "garbage", "truncated"])
def test_stop_whose_answer_is_lost_is_asked_again(snap: Case, kind: str) -> None:
    snap.box.fault("snaplogic", "stop", kind, count=2)
    assert snap.stop().outcome is StopOutcome.STOPPED


@pytest.mark.parametrize(
    "fault",
    [{"kind": "cut"}, {"kind": "garbage"}, {"kind": "truncated"}, {"kind": "status", "status": 502}],
    ids=lambda fault: fault["kind"],
)
def test_stop_that_is_carried_out_and_never_answered_counts_as_a_stop(case: Case, fault: dict[str, Any]) -> None:
    case.box.fault(case.run.vendor, "stop", **fault, after_effect=True)
    result = case.stop()
    assert result.outcome is StopOutcome.STOPPED
    assert [note.outcome for note in case.told if isinstance(note, StopNote)] == [None, StopOutcome.STOPPED]


def test_refused_login_is_not_asked_again(snap: Case) -> None:
    snap.box.settings("snaplogic", basic_enabled=False)
    with pytest.raises(CannotStop, match=r"may be alive.*Basic authentication may be switched off"):
        snap.stop(timeout=30)
    assert len(snap.asked()) == 1


def test_look_that_fails_does_not_keep_anybody_from_asking(case: Case) -> None:
    case.box.fault(case.run.vendor, "status", "status", status=500)
    result = case.stop(timeout=0.15)
    assert (result.outcome, result.status) == (StopOutcome.REQUESTED, None)
    assert case.made["stop_requests"] == 1


def test_bad_looks_are_put_up_with_until_the_stop_is_seen(case: Case) -> None:
    case.box.fault(case.run.vendor, "status", "garbage", count=3)
    assert case.stop().outcome is StopOutcome.STOPPED


@pytest.mark.parametrize("hours", [1, -1])
def test_clock_that_is_set_meanwhile_changes_nothing(case: Case, hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward, a stop would count as not confirmed; back, it would be waited for as much longer."""
    case.behave(stop_seconds=0.3)
    real = time.time

    def shifted() -> float:
        return real() + (3600 * hours if any(isinstance(what, StopNote) for what in case.told) else 0)

    monkeypatch.setattr(time, "time", shifted)
    result = case.stop()
    assert result.outcome is StopOutcome.STOPPED
    assert 0 < result.seconds < 60


def test_vendor_that_falls_silent_after_the_stop_leaves_it_requested(case: Case) -> None:
    case.box.fault(case.run.vendor, "status", "hang")
    result = case.stop(timeout=0.15, patience=SILENCE)
    assert result.outcome is StopOutcome.REQUESTED
    assert case.made["stop_requests"] == 1


def test_vendor_that_is_silent_altogether_is_an_error_in_time(case: Case) -> None:
    case.box.fault(case.run.vendor, "any", "hang")
    with pytest.raises(CannotStop, match=r"may be alive\. No answer came"):
        case.stop(timeout=0.15, patience=SILENCE)


def test_run_that_a_user_named_and_nobody_knows_is_not_found(case: Case) -> None:
    ids = {**case.run.ids, "ruuid": "nothing", "pw": "wrong"}
    case.run = dataclasses.replace(case.run, owner=None, ids=ids)
    with pytest.raises(NotFound):
        case.stop(timeout=0.2)


def test_our_own_run_that_the_vendor_forgot_counts_as_over(snap: Case) -> None:
    begun = datetime.now(UTC) - timedelta(hours=1)
    snap.run = dataclasses.replace(snap.run, ids={"ruuid": "forgotten"}, started_at=begun)
    result = snap.stop()
    assert (result.outcome, result.status) == (StopOutcome.ALREADY_FINISHED, None)


@pytest.mark.parametrize("hours", [0, 1])
def test_refused_stop_of_our_own_run_that_no_look_knows_says_both(snap: Case, hours: int) -> None:
    """The look alone may be what is broken, so it is not taken for the end of the run."""
    snap.box.fault("snaplogic", "status", "status", status=404)
    snap.box.fault("snaplogic", "stop", "status", status=400)
    snap.run = dataclasses.replace(snap.run, started_at=datetime.now(UTC) - timedelta(hours=hours))
    with pytest.raises(CannotStop, match=r"the run may be alive.*HTTP 400.*To a look at it: .*HTTP 404"):
        snap.stop(timeout=0.2)


def test_accepted_stop_of_a_run_that_no_look_knows_was_only_requested(snap: Case) -> None:
    snap.box.fault("snaplogic", "status", "status", status=404)
    snap.box.fault("snaplogic", "stop", "body", body={})
    result = snap.stop(timeout=0.2)
    assert (result.outcome, result.status) == (StopOutcome.REQUESTED, None)
    assert "HTTP 404" in str(result.unknown)


def test_not_found_shortly_after_the_start_proves_nothing(snap: Case) -> None:
    snap.run = dataclasses.replace(snap.run, ids={"ruuid": "not readable yet"})
    with pytest.raises(NotFound):
        snap.stop(timeout=0.2)


@pytest.mark.parametrize("ruuid", ["..", "", "."])
def test_id_that_would_reach_something_else_is_refused(snap: Case, ruuid: str) -> None:
    snap.run = dataclasses.replace(snap.run, ids={"ruuid": ruuid})
    with pytest.raises(InvalidIdentifier, match="cannot be an id"):
        snap.stop()
    assert snap.box.requests() == []


def test_odd_id_is_encoded_into_the_path_of_the_stop(snap: Case) -> None:
    snap.run = dataclasses.replace(snap.run, owner=None, ids={"ruuid": "../../a?b=c #%2e é"})
    with pytest.raises(NotFound):
        snap.stop(timeout=0, look_first=False)
    path = "/snaplogic/api/1/rest/public/runtime/stop/Acme/..%2F..%2Fa%3Fb%3Dc%20%23%252e%20%C3%A9"
    assert {(request["path"], request["query"]) for request in snap.asked()} == {(path, "")}


def test_queued_automation_cannot_be_stopped_which_is_said(client: Client, axiom: Access, box: Sandbox) -> None:
    assert isinstance(axiom.vendor, Axiom)
    plan = axiom.vendor.trigger("Queued")
    started = client.drive(axiom, plan.start(client.drive(axiom, plan.prepare())))
    run = ExternalRun("axiom", axiom.conn_id, started.run_id, None, datetime.now(UTC), started.ids, OWNER)
    with pytest.raises(CannotStop, match=r"'Queued' was queued.*Cancel it in the axiom.ai dashboard"):
        client.drive(axiom, stop(axiom.vendor, run, NOTE), ONCE)


def test_run_that_cannot_be_looked_at_is_asked_and_stays_requested(ax: Case) -> None:
    ids = {name: ax.run.ids[name] for name in ("pid", "pw")}
    ax.run = dataclasses.replace(ax.run, ids=ids, owner=None)
    result = ax.stop()
    assert (result.outcome, result.status) == (StopOutcome.REQUESTED, None)
    assert [request["operation"] for request in ax.box.requests()] == ["stop"]
    ax.box.wait_for_state(ax.made["run_id"], "Failure")


# -- the note --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", list(StopReason))
@pytest.mark.parametrize("outcome", [None, *StopOutcome])
def test_note_comes_back_whole_through_json(reason: StopReason, outcome: StopOutcome | None) -> None:
    note = StopNote(reason, "triggerer", "näher", "2026-01-01T00:00:00+00:00", outcome, 1.5 if outcome else None)
    assert StopNote.read(json.loads(json.dumps(note.out()))) == note


@pytest.mark.parametrize("value", [None, "x", 7, [], {}, {"reason": "whim", "by": "x"}, {"reason": "user"}])
def test_note_that_makes_no_sense_is_none(value: Any) -> None:
    assert StopNote.read(value) is None


@pytest.mark.parametrize(
    ("reason", "final"),
    [
        (StopReason.DEADLINE, True),
        (StopReason.SLA, True),
        (StopReason.FAILURE, True),
        (StopReason.USER, True),
        (StopReason.BY_HAND, True),
        (StopReason.DAG_RUN_ENDED, True),
        (StopReason.KILLED, False),
        (StopReason.MAX_RUNTIME, False),
        (StopReason.EXECUTION_TIMEOUT, False),
        (StopReason.ERROR, False),
        (StopReason.LEFTOVER, False),
    ],
)
def test_reason_decides_whether_a_retry_may_start_the_run_again(reason: StopReason, final: bool) -> None:
    assert reason.is_final is final


# -- resume ----------------------------------------------------------------------------------------------


def resume(case: Case, timeout: float = 10.0) -> Any:
    flow = pause_resume.change(case.access.vendor, case.run, pause_resume.RESUME, timeout=timeout)
    return case.client.drive(case.access, flow, ONCE)


def test_resumed_run_is_seen_to_go_on(snap: Case) -> None:
    snap.force("Suspended")
    result = resume(snap)
    assert result.outcome == "resumed"
    assert result.status.state is RunState.RUNNING
    assert snap.made["resume_requests"] == 1


def test_resume_that_does_not_show_was_only_requested(snap: Case) -> None:
    snap.force("Suspended")
    body = {"response_map": {"state": "Suspended"}, "http_status_code": 200}
    snap.box.fault("snaplogic", "status", "body", body=body)
    assert resume(snap, timeout=0.2).outcome == "requested"


@pytest.mark.parametrize(("kind", "status"), [("status", 500), ("status", 504), ("cut", None), ("garbage", None)])
def test_resume_that_was_carried_out_and_badly_answered_is_seen_by_a_look(
    snap: Case, kind: str, status: int | None
) -> None:
    snap.force("Suspended")
    snap.box.fault("snaplogic", "resume", kind, status=status, after_effect=True)
    assert resume(snap).outcome == "resumed"
    assert snap.made["resume_requests"] == 1


def test_resume_that_was_badly_answered_and_does_not_show_is_an_error(snap: Case) -> None:
    snap.force("Suspended")
    snap.box.fault("snaplogic", "resume", "status", status=502)
    with pytest.raises(VendorError, match="HTTP 502"):
        resume(snap, timeout=0.2)


def test_resume_that_was_badly_answered_is_not_believed_for_a_word_that_may_mean_paused() -> None:
    """VectorShift's word for a paused run is not documented: a live run under an unknown word may still be paused."""
    paused = HttpResponse(200, {}, b'{"task_id": "r-1", "status": "paused"}')
    run = ExternalRun("vectorshift", "c", "r-1", None, datetime.now(UTC), {"pipeline_id": "p", "run_id": "r-1"})
    flow = pause_resume.change(VectorShift(headers={}), run, pause_resume.RESUME, timeout=0)
    next(flow)
    flow.send(paused)
    flow.send(HttpResponse(502, {}, b"bad gateway"))
    with pytest.raises(VendorError, match="HTTP 502"):
        flow.send(paused)


def test_run_that_is_not_suspended_is_not_resumed(snap: Case) -> None:
    snap.box.wait_for_state(snap.run.run_id, "Started")
    with pytest.raises(RunctlError, match=f"run {snap.run.run_id} is Started; only a Suspended run can be resumed"):
        resume(snap)
    assert snap.made["resume_requests"] == 0


def test_vendor_that_cannot_resume_says_so(ax: Case) -> None:
    with pytest.raises(NotImplementedError, match=r"axiom\.ai cannot resume a run"):
        resume(ax)


# -- a vendor that does not answer looks ---------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, (429, b"wait", {"Retry-After": "20"}), (503, b"busy", {})])
def test_vendor_that_does_not_let_itself_be_looked_at_is_told_to_stop_all_the_same(
    client: Client, snaplogic: Access, answer: Any
) -> None:
    with ListedRuns({"run-1": "Started"}) as server:
        access = dataclasses.replace(snaplogic, endpoint=dataclasses.replace(snaplogic.endpoint, base_url=server.url))
        if answer is None:
            server.hold_looks.clear()
        server.look_answer = answer
        run = ExternalRun("snaplogic", access.conn_id, "run-1", None, datetime.now(UTC), {"ruuid": "run-1"})
        began = time.monotonic()
        result = client.drive(access, stop(access.vendor, run, NOTE, timeout=0.0), Patience(total=50.0, answer=50.0))
        assert server.count("stop") == 1
        assert result.outcome is StopOutcome.REQUESTED
        assert time.monotonic() - began < 25, "long before the look was given up"
