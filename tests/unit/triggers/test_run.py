"""The trigger follows a run to one event, stops it only when a user acted or a limit passed, and never raises."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from airflow_runctl.control import ownership, rounds
from airflow_runctl.control.records import AUDIT_KEY, LEFT_BY, noted_stop
from airflow_runctl.control.seal import handle_of, open_handle
from airflow_runctl.control.watch import Watched
from airflow_runctl.hooks.snaplogic import SnapLogicHook
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.runs import HANDLE_KEY, RunState, StopOutcome, StopReason
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.transport.aio import in_own_loop
from airflow_runctl.triggers import run as module
from airflow_runctl.triggers.run import ExternalRunTrigger
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import Attempt
from tests.unit.versions import needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")

T = TypeVar("T")
VENDORS = ["snaplogic", "axiom"]


def go(doing: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run in an event loop of its own, as in one process."""
    return in_own_loop(doing())


class Deferred:
    """Tasks that are deferred, each with its trigger."""

    def __init__(self, fake: FakeAirflow, box: Sandbox) -> None:
        self.fake = fake
        self.box = box

    def start(
        self, vendor: str = "snaplogic", map_index: int = -1, try_number: int = 1, retries: int = 0, **more: Any
    ) -> ExternalRunTrigger:
        """Start a run that hangs, and defer; return the trigger as the triggerer rebuilds it."""
        arguments = {"task_id": "start", "deferrable": True, "poll_interval": 0.05, "stop_timeout": 5.0, **more}
        operator: Any
        with self.fake.dag():
            if vendor == "snaplogic":
                operator = SnapLogicTriggerTaskOperator(task_path="projects/sales/early-hang", **arguments)
            else:
                operator = AxiomTriggerRunOperator(name="Hang", **arguments)
        attempt: Attempt = self.fake.run(operator, map_index=map_index, try_number=try_number, retries=retries)
        assert attempt.state == "deferred", attempt.said
        assert attempt.deferral is not None
        trigger: ExternalRunTrigger = self.fake.trigger_of(attempt.deferral, attempt)
        return trigger

    def go(self, doing: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with self.fake.recorded():
            return go(doing)

    def logged(self, level: str = "info") -> list[str]:
        """Return what the trigger says; the audit log, which on Airflow 2 is among it, is another one.

        So are Airflow's own words of a short secret.
        """
        rows = [row for row in self.fake.logs if row["log_level"] == level]
        said = [str(row["event"]) % row.get("positional_args", ()) for row in rows]
        return [line for line in said if not line.startswith(("{", "Skipping masking"))]

    def event(self, trigger: ExternalRunTrigger) -> dict[str, Any]:
        async def first() -> Any:
            events = [event.payload async for event in trigger.run()]
            assert len(events) == 1
            return json.loads(json.dumps(events[0]))

        found: dict[str, Any] = self.go(first)
        return found

    def kill(self, trigger: ExternalRunTrigger) -> None:
        self.go(trigger.on_kill)

    def only(self) -> dict[str, Any]:
        (run,) = self.box.runs()
        return run

    def audit(self, map_index: int = -1) -> Any:
        return self.fake.xcom("start", AUDIT_KEY, map_index)

    def handle(self, map_index: int = -1) -> Any:
        return self.fake.xcom("start", HANDLE_KEY, map_index)


@pytest.fixture
def deferred(fake: FakeAirflow, box: Sandbox, caplog: pytest.LogCaptureFixture) -> Iterator[Deferred]:
    box.behave("snaplogic", "early-hang", stop_seconds=0.02)
    box.behave("axiom", "Hang", stop_seconds=0.02)
    with caplog.at_level("DEBUG"):
        yield Deferred(fake, box)
    assert box.seed not in fake.everything()
    assert box.seed not in caplog.text


# -- at once ---------------------------------------------------------------------------------------------


def test_triggers_of_a_process_ask_airflow_something_once_before_they_need_it(deferred: Deferred, box: Sandbox) -> None:
    """A supervisor that has just begun loads for seconds what it answers its first question with."""
    first, second = deferred.start("snaplogic"), deferred.start("axiom", map_index=1)
    before = len(deferred.fake.sent("GetXCom", key=AUDIT_KEY))

    async def both() -> None:
        watching = [asyncio.ensure_future(anext(one.run())) for one in (first, second)]
        while len(box.requests(operation="status")) < 2:
            await asyncio.sleep(0.01)
        assert len(deferred.fake.sent("GetXCom", key=AUDIT_KEY)) - before == 1
        for one in watching:
            one.cancel()
        await asyncio.gather(*watching, return_exceptions=True)

    deferred.go(both)


# -- to an event -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor", "end", "state"),
    [
        ("snaplogic", "Completed", RunState.SUCCEEDED),
        ("snaplogic", "Failed", RunState.FAILED),
        ("snaplogic", "Stopped", RunState.STOPPED),
        ("snaplogic", "Suspended", RunState.SUSPENDED),
        ("axiom", "Success", RunState.SUCCEEDED),
        ("axiom", "Failure", RunState.FAILED),
    ],
)
def test_end_of_the_run_is_the_one_event(
    deferred: Deferred, box: Sandbox, vendor: str, end: str, state: RunState
) -> None:
    trigger = deferred.start(vendor)
    box.set_run(deferred.only()["run_id"], end, "because")
    event = deferred.event(trigger)
    status = Watched.read(event).status
    assert status is not None
    assert (status.state, status.vendor_state) == (state, end)
    assert event[HANDLE_KEY] == deferred.handle()
    assert deferred.only()["stop_requests"] == 0


def test_arguments_come_back_whole_through_json(deferred: Deferred) -> None:
    handle = {"vendor": "axiom", "conn_id": "x", "token": "y"}
    trigger = ExternalRunTrigger(handle, 7.5, {"max_runtime": 1.5}, 12.0, False, 99.0)
    path, arguments = trigger.serialize()
    assert path == "airflow_runctl.triggers.run.ExternalRunTrigger"
    again = ExternalRunTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == trigger.serialize()


def test_trigger_shows_no_secret(deferred: Deferred, box: Sandbox) -> None:
    trigger = deferred.start("axiom")
    assert box.seed not in f"{trigger!r} {vars(trigger)!r} {json.dumps(trigger.serialize())}"


def test_changes_of_state_are_logged_once_each(deferred: Deferred) -> None:
    trigger = deferred.start()
    run_id = deferred.only()["run_id"]
    deferred.box.wait_for_state(run_id, "Started")

    async def watched() -> None:
        watching = asyncio.create_task(anext(trigger.run()))  # type: ignore[arg-type]
        await asyncio.to_thread(eventually, lambda: len(deferred.box.requests(operation="status")) > 3)
        await asyncio.to_thread(deferred.box.set_run, run_id, "Completed")
        await watching

    deferred.fake.logs.clear()
    deferred.go(watched)
    assert deferred.logged() == [
        f"snaplogic run {run_id}: Started (running)",
        f"snaplogic run {run_id}: Completed (succeeded)",
    ]


# -- limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "limit", [{"max_runtime": timedelta(seconds=0.3)}, {"execution_timeout": timedelta(seconds=3)}], ids=str
)
def test_limit_stops_the_run_and_is_recorded_for_the_worker(
    deferred: Deferred, box: Sandbox, vendor: str, limit: dict[str, Any]
) -> None:
    trigger = deferred.start(vendor, **limit)
    watched = Watched.read(deferred.event(trigger))
    (reason,) = limit
    assert watched.limit is StopReason(reason)
    assert watched.stop is not None
    assert watched.stop.outcome is StopOutcome.STOPPED
    assert box.open_runs() == []
    stop = deferred.audit()["stop"]
    assert (stop["reason"], stop["by"], stop["outcome"]) == (reason, "triggerer", "stopped")


def test_intent_is_recorded_before_the_vendor_is_asked(deferred: Deferred, box: Sandbox) -> None:
    trigger = deferred.start(max_runtime=timedelta(seconds=0.2))
    asked: list[tuple[Any, int]] = []

    def hear(message: Any) -> None:
        if type(message).__name__ == "SetXCom" and message.key == AUDIT_KEY:
            asked.append((message.value["stop"]["outcome"], len(box.requests(operation="stop"))))

    deferred.fake.on_message = hear
    deferred.event(trigger)
    assert asked == [(None, 0), ("stopped", 1)]


def test_stop_at_a_limit_happens_though_it_cannot_be_recorded(deferred: Deferred, box: Sandbox) -> None:
    trigger = deferred.start(max_runtime=timedelta(seconds=0.2))
    deferred.fake.refuse("SetXCom")
    assert Watched.read(deferred.event(trigger)).limit is StopReason.MAX_RUNTIME
    assert box.open_runs() == []


# -- what cannot be followed -----------------------------------------------------------------------------


def test_handle_of_another_task_is_not_followed_and_stops_nothing(deferred: Deferred, box: Sandbox) -> None:
    other = deferred.start(task_id="other")
    trigger = deferred.start()
    trigger.external_run = other.external_run
    trigger.limits = {"max_runtime": 1.0}
    lost = Watched.read(deferred.event(trigger)).lost
    assert "belongs to harvest/manual__1/other. Nothing was stopped" in (lost or "")
    assert len(box.open_runs()) == 2


@pytest.mark.parametrize("token", ["tampered", None])
def test_tampered_handle_is_not_followed_and_stops_nothing(deferred: Deferred, box: Sandbox, token: Any) -> None:
    trigger = deferred.start()
    trigger.external_run = {**trigger.external_run, "token": token}
    trigger.limits = {"max_runtime": 1.0}
    lost = Watched.read(deferred.event(trigger)).lost
    assert "does not open" in (lost or "")
    assert deferred.only()["run_id"] in (lost or "")
    assert deferred.only()["open"]


def test_connection_that_is_gone_is_told_and_not_raised(deferred: Deferred, box: Sandbox) -> None:
    trigger = deferred.start()
    del deferred.fake.connections["snaplogic_default"]
    trigger.ride_out = 0.1
    lost = Watched.read(deferred.event(trigger)).lost
    assert "Connection 'snaplogic_default' cannot be read" in (lost or "")


def test_airflow_that_cannot_give_the_connection_for_a_moment_is_put_up_with(deferred: Deferred, box: Sandbox) -> None:
    """A restart of the API server, and of the triggerer with it, must end no run."""
    trigger = deferred.start()
    row = deferred.fake.connections.pop("snaplogic_default")
    asked: list[Any] = []

    def come_back(message: Any) -> None:
        if type(message).__name__ == "GetConnection":
            asked.append(message)
            if len(asked) == 2:
                deferred.fake.connections["snaplogic_default"] = row
                box.set_run(deferred.only()["run_id"], "Completed")

    deferred.fake.on_message = come_back
    status = Watched.read(deferred.event(trigger)).status
    assert status is not None
    assert status.state is RunState.SUCCEEDED


def test_vendor_that_answers_badly_for_too_long_is_told_and_not_raised(
    deferred: Deferred, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_runctl.transport.retry import Patience

    monkeypatch.setattr(rounds, "POLL_PATIENCE", Patience(total=0.02))
    trigger = deferred.start()
    trigger.ride_out = 0.2
    box.fault("snaplogic", "status", "garbage")
    watched = Watched.read(deferred.event(trigger))
    assert "is not JSON" in (watched.lost or "")
    assert deferred.only()["open"]


# -- killed by a user ------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("state", ["failed", "success", "skipped", None, "scheduled", "queued"])
def test_user_who_marks_or_clears_the_task_stops_its_run(
    deferred: Deferred, box: Sandbox, vendor: str, state: str | None
) -> None:
    trigger = deferred.start(vendor)
    deferred.fake.states["start"] = state
    deferred.kill(trigger)
    assert box.open_runs() == []
    stop = deferred.audit()["stop"]
    assert (stop["reason"], stop["outcome"]) == ("user", "stopped")
    assert deferred.handle() is None


@pytest.mark.parametrize("state", ["deferred", "running"])
def test_kill_of_a_trigger_whose_task_still_follows_the_run_stops_nothing(
    deferred: Deferred, box: Sandbox, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A triggerer that stalled takes triggers that moved for killed ones (apache/airflow#73454)."""
    monkeypatch.setattr(ownership, "WIPE_SECONDS", 0.2)
    trigger = deferred.start()
    deferred.fake.states["start"] = state
    deferred.kill(trigger)
    assert deferred.only()["stop_requests"] == 0
    (said,) = deferred.logged("warning")
    assert deferred.only()["run_id"] in said
    assert "its task still follows it: nothing is stopped" in said


def test_clear_whose_new_attempt_has_yet_to_wipe_the_handle_stops_the_run(
    deferred: Deferred, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it looks as if it followed the run."""
    monkeypatch.setattr(ownership, "LOOK_AGAIN", 0.1)
    trigger = deferred.start()
    deferred.fake.states["start"] = "running"
    asked = len(deferred.fake.sent("GetTaskStates"))

    def wipe(message: Any) -> None:
        if len(deferred.fake.sent("GetTaskStates")) - asked == 3:
            deferred.fake.xcoms.clear()

    deferred.fake.on_message = wipe
    deferred.kill(trigger)
    assert box.open_runs() == []


def test_a_stop_that_is_not_taken_in_time_leaves_the_run_to_the_attempt_that_goes_on_with_it(
    deferred: Deferred, box: Sandbox
) -> None:
    """The attempt after a clear waits for the stop, and then takes the run over; the vendor recovers after that."""
    trigger = deferred.start()
    fault = box.fault("snaplogic", "stop", "status", status=503)
    deferred.fake.states["start"] = None

    def taken_over_once_it_was_refused(message: Any) -> None:
        if type(message).__name__ == "GetTaskStates" and deferred.only()["open"] and box.requests(operation="stop"):
            access = SnapLogicHook().access
            anew = handle_of(open_handle(trigger.external_run, access), access)
            deferred.fake.put_xcom("start", HANDLE_KEY, anew)
            deferred.fake.states["start"] = "deferred"
            box.clear_faults(fault)

    deferred.fake.on_message = taken_over_once_it_was_refused
    deferred.kill(trigger)
    assert len(box.open_runs()) == 1
    assert any("by now a task follows it, and it lives on" in said for said in deferred.logged())


def test_clear_whose_new_attempt_still_judges_the_run_stops_it(deferred: Deferred, box: Sandbox) -> None:
    """It has sealed the handle anew, and says that it does not follow the run yet."""
    trigger = deferred.start()
    access = SnapLogicHook().access
    judged = handle_of(open_handle(trigger.external_run, access), access)
    deferred.fake.put_xcom("start", HANDLE_KEY, {**judged, LEFT_BY: 1})
    deferred.fake.states["start"] = "running"
    deferred.kill(trigger)
    assert box.open_runs() == []


@needs_task_store
def test_new_attempt_that_has_taken_the_run_over_keeps_it(deferred: Deferred, box: Sandbox) -> None:
    """It has sealed the handle anew."""
    old = deferred.start(try_number=1, retries=1)
    deferred.start(try_number=2)
    assert deferred.only()["run_id"] == old.external_run["run_id"]
    deferred.fake.states["start"] = "running"
    deferred.kill(old)
    assert deferred.only()["stop_requests"] == 0


def test_clear_whose_new_attempt_has_wiped_the_handle_stops_the_old_run(deferred: Deferred, box: Sandbox) -> None:
    trigger = deferred.start()
    deferred.fake.xcoms.clear()
    deferred.fake.states["start"] = "running"
    deferred.kill(trigger)
    assert box.open_runs() == []


def test_clear_whose_new_attempt_has_a_run_of_its_own_stops_only_the_old_one(deferred: Deferred, box: Sandbox) -> None:
    old = deferred.start()
    deferred.fake.store.clear()
    deferred.fake.variables.clear()
    deferred.start()
    handle = deferred.handle()
    deferred.kill(old)
    first, second = box.runs()
    assert (first["open"], second["open"]) == (False, True)
    assert deferred.handle() == handle
    access = SnapLogicHook().access
    new = open_handle(handle, access)
    assert noted_stop(deferred.audit(), new) is None, "the new attempt must not take the old stop for its own"


def test_kill_leaves_the_run_alone_if_told_so(deferred: Deferred, box: Sandbox) -> None:
    trigger = deferred.start(stop_on_kill=False)
    deferred.fake.states["start"] = "failed"
    deferred.kill(trigger)
    assert deferred.only()["stop_requests"] == 0


def test_airflow_that_does_not_answer_stops_nothing(
    deferred: Deferred, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_OWNER_TRIES", 2)
    trigger = deferred.start()
    deferred.fake.refuse("GetTaskStates")
    deferred.kill(trigger)
    assert deferred.only()["stop_requests"] == 0
    assert "Airflow does not say who follows it" in deferred.logged("error")[0]


def test_airflow_is_asked_again_if_it_does_not_answer_at_first(deferred: Deferred, box: Sandbox) -> None:
    trigger = deferred.start()
    deferred.fake.states["start"] = "failed"
    refusal = deferred.fake.refuse("GetTaskStates")
    asked = len(deferred.fake.sent("GetTaskStates"))
    deferred.fake.on_message = lambda message: (
        deferred.fake.refusals.clear() if len(deferred.fake.sent("GetTaskStates")) - asked == 2 else None
    )
    assert refusal in deferred.fake.refusals
    deferred.kill(trigger)
    assert box.open_runs() == []


def test_cancelled_trigger_stops_nothing_and_hands_the_cancellation_on(deferred: Deferred, box: Sandbox) -> None:
    """A triggerer that is restarted or shut down cancels its triggers, and calls ``cleanup``."""
    trigger = deferred.start()

    async def shut_down() -> None:
        watching = asyncio.create_task(anext(trigger.run()))  # type: ignore[arg-type]
        await asyncio.to_thread(eventually, lambda: box.requests(operation="status"))
        watching.cancel("shutdown")
        with pytest.raises(asyncio.CancelledError, match="shutdown"):
            await watching
        await trigger.cleanup()

    deferred.go(shut_down)
    assert deferred.only()["stop_requests"] == 0
    assert deferred.only()["open"]


def test_trigger_that_has_moved_follows_the_run_where_the_other_left_off(deferred: Deferred, box: Sandbox) -> None:
    trigger = deferred.start(max_runtime=timedelta(hours=1))
    moved = ExternalRunTrigger(**json.loads(json.dumps(trigger.serialize()[1])))
    moved.task_instance = trigger.task_instance
    assert moved.limits == trigger.limits
    box.set_run(deferred.only()["run_id"], "Completed")
    assert Watched.read(deferred.event(moved)).status is not None


def test_stop_that_takes_longer_than_airflow_waits_goes_on_behind(
    deferred: Deferred, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KILL_SECONDS", 0.1)
    box.behave("snaplogic", "early-hang", stop_seconds=0.6)
    trigger = deferred.start()
    deferred.fake.states["start"] = "failed"

    async def killed() -> None:
        began = time.monotonic()
        await trigger.on_kill()
        assert time.monotonic() - began < 0.6, "on_kill has waited for the stop"
        while module._going_on:
            await asyncio.sleep(0.05)

    deferred.go(killed)
    assert box.open_runs() == []
    assert deferred.audit()["stop"]["outcome"] == "stopped"


def test_kill_that_airflow_cancels_before_it_was_told_who_owns_the_run_stops_it_all_the_same(
    deferred: Deferred, box: Sandbox
) -> None:
    """Airflow 3.3.2 cancels a killed trigger again about a second later, ``on_kill`` and all."""
    trigger = deferred.start()
    deferred.fake.states["start"] = "failed"

    async def killed() -> None:
        killing = asyncio.create_task(trigger.on_kill())
        await asyncio.sleep(0)
        assert deferred.only()["stop_requests"] == 0
        killing.cancel("user-action")
        with pytest.raises(asyncio.CancelledError):
            await killing
        while module._going_on:
            await asyncio.sleep(0.05)

    deferred.go(killed)
    assert box.open_runs() == []
    assert deferred.handle() is None


def test_kill_whose_connection_is_gone_says_what_may_be_alive(deferred: Deferred, box: Sandbox) -> None:
    trigger = deferred.start()
    deferred.fake.states["start"] = "failed"
    deferred.fake.connections.clear()
    deferred.kill(trigger)
    assert "was not stopped and may be alive" in deferred.logged("error")[0]


def test_kill_stops_the_run_though_nothing_can_be_recorded(deferred: Deferred, box: Sandbox) -> None:
    trigger = deferred.start()
    deferred.fake.states["start"] = "failed"
    deferred.fake.refuse("SetXCom")
    deferred.fake.refuse("DeleteXCom")
    deferred.kill(trigger)
    assert box.open_runs() == []


def test_mapped_task_is_known_by_its_index(deferred: Deferred, box: Sandbox) -> None:
    triggers = [deferred.start(map_index=index) for index in range(2)]
    assert set(deferred.fake.states) == {"start_0", "start_1"}
    deferred.fake.states["start_0"] = "failed"
    for trigger in triggers:
        deferred.kill(trigger)
    assert [run["open"] for run in box.runs()] == [False, True]
    assert (deferred.handle(0), deferred.handle(1)["run_id"]) == (None, box.runs()[1]["run_id"])


def test_many_that_are_killed_at_once_are_all_stopped_with_few_questions(deferred: Deferred, box: Sandbox) -> None:
    triggers = [deferred.start(task_id=f"t{number}") for number in range(20)]
    deferred.fake.states = dict.fromkeys(deferred.fake.states, "failed")
    asked = len(deferred.fake.sent("GetTaskStates", task_ids=None))

    async def killed() -> None:
        await asyncio.gather(*(trigger.on_kill() for trigger in triggers))

    deferred.go(killed)
    assert box.open_runs() == []
    assert [run["stop_requests"] for run in box.runs()] == [1] * 20
    assert len(deferred.fake.sent("GetTaskStates", task_ids=None)) - asked < 20
