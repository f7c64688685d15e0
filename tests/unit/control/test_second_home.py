"""What an attempt leaves outlives a clear that deletes the task state store, as that of Airflow 3.4 does.

On 3.3, whose clears delete nothing, these tests make the package and the fake believe that they do.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_runctl.compat import variable_of
from airflow_runctl.control import identity, second_home
from airflow_runctl.control.records import AMBIGUOUS, AUDIT_KEY, LIVE, RELEASED, STARTING
from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.runs import TaskKey
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.sensors import run as sensor
from airflow_runctl.sensors.run import ExternalRunSensor
from tests.fakes import airflow_3
from tests.fakes.airflow_3 import FakeAirflow, refusal, speaks_for
from tests.fakes.airflow_any import Attempt
from tests.unit.operators.tasks import FINAL, Tasks, ends
from tests.unit.test_notifications import SYNC, Stops, lose_start
from tests.unit.triggers.test_run import go
from tests.unit.versions import needs_task_store

pytestmark = [pytest.mark.usefixtures("brisk", "clears_forget"), needs_task_store]

WHERE = TaskKey("harvest", "manual__1", "start")
KEY = variable_of(WHERE, 1)
ROW = ("harvest", "manual__1", "start", -1)
CLEARED = {"try_number": 2, "retries": 1}
"""An attempt that has as many tries again as the first: a clear alone gives them."""


@pytest.fixture(autouse=True)
def clears_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (second_home, sensor, airflow_3):
        monkeypatch.setattr(module, "CLEARS_FORGET", True)


@pytest.fixture
def tasks(fake: FakeAirflow, box: Sandbox) -> Tasks:
    box.behave("snaplogic", "early-hang", stop_seconds=0.02)
    return Tasks(fake, box)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stop of a clear is to be waited for."""
    monkeypatch.setattr("airflow_runctl.control.takeover.CLEAR_SECONDS", 0.1)


def lost(tasks: Tasks, phase: str, task_id: str = "start") -> str:
    """Leave a run alive whose attempt has come to this phase and is lost; return its id."""
    kept: dict[str, str] = {}
    stored: dict[str, Any] = {}

    def hear(message: Any) -> None:
        if type(message).__name__ == "PutVariable" and stored.get("phase") == phase:
            kept[message.key] = message.value
        if type(message).__name__ == "SetTaskStateStore":
            stored.update(message.value)

    tasks.fake.on_message = hear
    more = {"wait_for_completion": False} if phase == RELEASED else {"deferrable": True}
    tasks.fake.run(tasks.snaplogic(task_id=task_id, **more))
    tasks.fake.on_message = lambda message: None
    tasks.fake.variables = kept
    return str(tasks.only()["run_id"])


# -- what a clear leaves -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("phase", [STARTING, LIVE])
def test_an_attempt_after_a_clear_goes_on_with_the_run_that_was_left(tasks: Tasks, box: Sandbox, phase: str) -> None:
    run_id = lost(tasks, phase)
    ends(box, "snaplogic", good=True)
    attempt = tasks.fake.run(tasks.snaplogic(wait_for_completion=False), **CLEARED)
    assert attempt.state == "success", attempt.said
    assert attempt.result["run_id"] == run_id
    assert len(box.runs()) == 1


@pytest.mark.usefixtures("at_once")
def test_an_attempt_after_a_clear_ends_the_run_of_one_that_had_succeeded_before_it_starts_anew(
    tasks: Tasks, box: Sandbox
) -> None:
    lost(tasks, RELEASED)
    attempt = tasks.fake.run(tasks.snaplogic(wait_for_completion=False), **CLEARED)
    assert attempt.state == "success", attempt.said
    first, second = box.runs()
    assert (first["state"], second["open"]) == ("Stopped", True)
    assert first["ended_at"] <= second["created_at"]


def test_a_run_that_a_clear_stopped_is_started_anew(tasks: Tasks, box: Sandbox) -> None:
    """Else the new attempt would say that somebody stopped it for good."""
    box.set_run(lost(tasks, LIVE), "Stopped")
    ends(box, "snaplogic", good=True)
    attempt = tasks.run(tasks.snaplogic, **CLEARED)
    assert attempt.state == "success", attempt.said
    assert [run["state"] for run in box.runs()] == ["Stopped", "Completed"]


@pytest.mark.usefixtures("at_once")
def test_a_dag_run_that_was_deleted_and_made_again_takes_no_old_run_for_its_own(tasks: Tasks, box: Sandbox) -> None:
    """Its task instance is new, has the same name, and the same number of tries."""
    lost(tasks, RELEASED)
    tasks.fake.store.clear()
    attempt = tasks.fake.run(tasks.snaplogic(wait_for_completion=False))
    assert attempt.state == "success", attempt.said
    assert [run["open"] for run in box.runs()] == [False, True]


@pytest.mark.usefixtures("at_once")
def test_after_a_clear_nothing_is_started_beside_one_of_several_candidates(tasks: Tasks, box: Sandbox) -> None:
    lost(tasks, LIVE)
    record = tasks.fake.stored("start") | {"phase": AMBIGUOUS, "candidates": [tasks.only()["run_id"]]}
    keep(tasks, record)
    attempt = tasks.run(tasks.snaplogic, **CLEARED)
    assert attempt.state == FINAL
    assert "An earlier attempt started one of these runs, which are alive" in attempt.said
    assert len(box.runs()) == 1


def keep(tasks: Tasks, record: dict[str, Any]) -> None:
    """Put a record where a clear leaves it."""
    from airflow_runctl.control.second_home import SecondHome
    from airflow_runctl.hooks.snaplogic import SnapLogicHook
    from airflow_runctl.runs import Owner, Ownership

    SecondHome(Owner(WHERE, 1, Ownership.TASK), SnapLogicHook().access).keep(record)


def test_items_of_a_mapped_task_have_a_home_each(tasks: Tasks, box: Sandbox) -> None:
    for map_index in range(3):
        tasks.fake.run(tasks.snaplogic(deferrable=True), map_index=map_index)
    assert set(tasks.fake.variables) == {variable_of(TaskKey("harvest", "manual__1", "start", n), 1) for n in range(3)}


# -- what it shows, and to whom ------------------------------------------------------------------------------


def test_what_is_kept_shows_which_run_it_is_and_nothing_else(tasks: Tasks, box: Sandbox) -> None:
    secret = f"secret-of-{box.seed}"
    tasks.fake.run(tasks.snaplogic(deferrable=True, parameters={"password": secret}))
    kept = json.loads(tasks.fake.variables[KEY])
    assert kept.keys() == {"vendor", "conn_id", "run_id", "url", "started_at", "token"}
    assert kept["run_id"] == tasks.only()["run_id"]
    assert secret not in tasks.fake.variables[KEY]
    assert len(KEY) <= 250
    descriptions = {message.description for message in tasks.fake.sent("PutVariable")}
    assert descriptions == {"airflow-runctl: a run of harvest/manual__1/start that may be alive"}


FORGED: dict[str, Callable[[str], str]] = {
    "tampered": lambda kept: kept[:-8] + 'AAAAAA"}',
    "no JSON": lambda kept: "yes",
    "a list": lambda kept: "[1]",
    "empty": lambda kept: "",
}


@pytest.mark.parametrize("how", FORGED)
def test_what_does_not_open_is_an_error_that_names_the_variable(tasks: Tasks, box: Sandbox, how: str) -> None:
    lost(tasks, LIVE)
    tasks.fake.variables[KEY] = FORGED[how](tasks.fake.variables[KEY])
    attempt = tasks.run(tasks.snaplogic, **CLEARED)
    assert attempt.state == FINAL
    assert "An earlier attempt left a run. The handle of" in attempt.said
    assert f"Variable {KEY!r} says so; delete it once no such run is alive. Nothing was started." in attempt.said
    assert len(box.runs()) == 1


@pytest.mark.parametrize("phase", [STARTING, LIVE])
def test_what_is_kept_of_another_task_leads_to_nothing(tasks: Tasks, box: Sandbox, phase: str) -> None:
    lost(tasks, phase, task_id="other")
    tasks.fake.variables = {KEY: tasks.fake.variables[variable_of(TaskKey("harvest", "manual__1", "other"), 1)]}
    attempt = tasks.run(tasks.snaplogic, **CLEARED)
    assert attempt.state == FINAL
    assert "was found at task instance harvest/manual__1/start, but belongs to harvest/manual__1/other" in attempt.said
    assert tasks.only()["stop_requests"] == 0


# -- when it cannot be written or read ------------------------------------------------------------------------


def test_a_run_that_cannot_be_kept_is_stopped(tasks: Tasks, box: Sandbox) -> None:
    seen: list[str] = []

    def hear(message: Any) -> None:
        if type(message).__name__ == "PutVariable":
            seen.append(message.key)
            if len(seen) == 2:  # the first is written ahead of the start
                raise ConnectionError("the API server is away")

    tasks.fake.on_message = hear
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True))
    assert attempt.state == FINAL
    assert "the API server is away" in attempt.said
    assert box.open_runs() == []


@pytest.mark.parametrize("message", ["GetVariableKeys", "PutVariable"])
def test_nothing_is_started_while_the_second_home_cannot_be_asked(tasks: Tasks, box: Sandbox, message: str) -> None:
    tasks.fake.refuse(message)
    attempt = tasks.fake.run(tasks.snaplogic(), retries=1)
    assert attempt.state == "up_for_retry"
    assert box.runs() == []


@pytest.mark.parametrize("message", ["_on_GetVariableKeys", "_on_GetVariable"])
def test_a_refusal_to_show_it_is_not_taken_for_nothing(
    tasks: Tasks, box: Sandbox, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    refused = ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 403})
    lost(tasks, LIVE)
    monkeypatch.setattr(FakeAirflow, message, lambda fake, message: refused)
    assert tasks.fake.run(tasks.snaplogic(), try_number=2, retries=2).state == "up_for_retry"
    assert len(box.runs()) == 1


# -- who lets it go ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["worker", "deferred"])
@pytest.mark.parametrize("good", [True, False])
def test_nothing_is_kept_once_the_run_is_over(tasks: Tasks, box: Sandbox, mode: str, good: bool) -> None:
    ends(box, "snaplogic", good=good)
    tasks.run(tasks.snaplogic, mode)
    assert tasks.fake.variables == {}


def test_nothing_is_kept_of_a_run_that_is_left_to_itself(tasks: Tasks) -> None:
    tasks.leave_running(leave_running=True)
    assert tasks.fake.variables == {}


@pytest.mark.parametrize("form", ["triggerer", "Dag processor", "worker"])
def test_a_callback_lets_go_of_a_run_that_it_stopped_for_the_dag_run(
    tasks: Tasks, box: Sandbox, fake: FakeAirflow, form: str
) -> None:
    tasks.leave_running()
    assert KEY in fake.variables
    Stops(fake, box).stop(form)
    assert box.open_runs() == []
    assert fake.variables == {}


@pytest.mark.parametrize("came_up", [True, False])
@pytest.mark.parametrize("form", ["triggerer", "Dag processor"])
def test_a_callback_lets_go_of_a_start_that_was_lost(
    tasks: Tasks, box: Sandbox, fake: FakeAirflow, monkeypatch: pytest.MonkeyPatch, form: str, came_up: bool
) -> None:
    """It is kept without the id of a run: whatever came of it, or nothing did, no attempt is left to look for it."""
    stops = Stops(fake, box)
    lose_start(stops, box, monkeypatch)
    assert json.loads(fake.variables[KEY])["run_id"] == STARTING
    if not came_up:
        monkeypatch.setattr(identity, "LISTED_AFTER", 0.0)
        box.reset()
    stops.stop(form)
    assert box.open_runs() == []
    assert fake.variables == {}


def test_a_start_that_could_not_be_written_ahead_is_kept_nowhere(tasks: Tasks, box: Sandbox) -> None:
    tasks.fake.refuse("SetXCom", key=AUDIT_KEY)
    attempt = tasks.fake.run(tasks.snaplogic())
    assert attempt.state == FINAL
    assert box.runs() == []
    assert tasks.fake.variables == {}


@pytest.mark.parametrize("form", ["triggerer", "Dag processor", "worker"])
def test_a_callback_lets_go_of_nothing_that_a_later_attempt_keeps(
    tasks: Tasks, box: Sandbox, fake: FakeAirflow, form: str
) -> None:
    """A stop takes its time, and a clear may come meanwhile."""
    tasks.leave_running()
    later = variable_of(WHERE, 2)
    fake.variables[later] = fake.variables[KEY]
    Stops(fake, box).stop(form)
    assert fake.variables.keys() == {later}


@pytest.mark.usefixtures("at_once")
def test_a_further_try_that_goes_on_with_the_run_keeps_it_alone(tasks: Tasks, box: Sandbox) -> None:
    tasks.fake.run(tasks.snaplogic(deferrable=True), retries=1)
    tasks.fake.run(tasks.snaplogic(deferrable=True), try_number=2)
    assert len(box.runs()) == 1
    assert tasks.fake.variables.keys() == {variable_of(WHERE, 2)}


@pytest.mark.usefixtures("at_once")
def test_an_attempt_after_a_clear_that_starts_anew_keeps_its_own_run_alone(tasks: Tasks, box: Sandbox) -> None:
    box.set_run(lost(tasks, LIVE), "Stopped")
    tasks.fake.run(tasks.snaplogic(deferrable=True), **CLEARED)
    assert tasks.fake.variables.keys() == {variable_of(WHERE, 2)}
    assert json.loads(tasks.fake.variables[variable_of(WHERE, 2)])["run_id"] == box.runs()[1]["run_id"]


@pytest.mark.usefixtures("at_once")
def test_a_run_that_ended_well_before_a_clear_is_not_the_result_of_the_next_attempt(tasks: Tasks, box: Sandbox) -> None:
    box.set_run(lost(tasks, LIVE), "Completed")
    ends(box, "snaplogic", good=True)
    attempt = tasks.run(tasks.snaplogic, **CLEARED)
    assert attempt.state == "success", attempt.said
    assert attempt.result["run_id"] == box.runs()[1]["run_id"]


def test_a_callback_that_cannot_let_go_has_stopped_the_run_all_the_same(
    tasks: Tasks, box: Sandbox, fake: FakeAirflow, caplog: pytest.LogCaptureFixture
) -> None:
    tasks.leave_running()
    fake.refuse("GetVariableKeys")
    StopRunsNotifier(stop_timeout=5.0).notify(dict(SYNC))  # type: ignore[arg-type]
    assert box.open_runs() == []
    assert "Could not forget the record of a run that is over" in caplog.text


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_sensor_lets_go_of_a_run_that_it_saw_end(tasks: Tasks, box: Sandbox, deferrable: bool) -> None:
    result = tasks.leave_running()
    assert KEY in tasks.fake.variables
    with tasks.fake.dag():
        wait = ExternalRunSensor(
            task_id="wait", external_run=result, poke_interval=0.05, deferrable=deferrable, timeout=30
        )
    if deferrable:
        first = tasks.fake.run(wait)
        box.set_run(result["run_id"], "Completed")
        attempt = tasks.fake.run(wait, deferral=first.deferral, event=tasks.event(first))
    else:
        box.set_run(result["run_id"], "Completed")
        attempt = tasks.fake.run(wait)
    assert attempt.state == "success", attempt.said
    assert tasks.fake.variables == {}


# -- a kill of a deferred task -------------------------------------------------------------------------------


def deferred(tasks: Tasks) -> tuple[Any, Attempt]:
    """Return the trigger of a run that hangs, and its attempt."""
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True))
    assert attempt.deferral is not None
    return tasks.fake.trigger_of(attempt.deferral, attempt), attempt


def killed(tasks: Tasks, state: str | None) -> None:
    """Let the triggerer tell a trigger of a kill, after a user has given its task this state."""
    trigger, attempt = deferred(tasks)
    tasks.fake.states["start"] = state
    if state is None:
        tasks.fake.archive("start")

    async def kill() -> None:
        speaks_for.set(attempt.ti)  # as the triggerer lets each trigger do
        await trigger.on_kill()

    go(kill)
    eventually(lambda: not tasks.box.open_runs())


@pytest.mark.parametrize("state", ["failed", "success", None])
def test_a_kill_lets_go_of_it_and_of_nothing_that_a_later_attempt_keeps(tasks: Tasks, state: str | None) -> None:
    later = variable_of(WHERE, 2)
    tasks.fake.on_message = lambda _: tasks.fake.variables.update(
        {later: "kept"} if KEY in tasks.fake.variables else {}
    )
    killed(tasks, state)
    assert tasks.fake.variables.keys() == {later}


@pytest.mark.parametrize("state", ["failed", None])
def test_a_kill_asks_and_writes_in_nobodys_name(tasks: Tasks, state: str | None) -> None:
    """In the name of its task instance it would be refused once that was cleared, or does not defer any more."""
    names: list[Any] = []
    tasks.fake.on_message = lambda message: names.append(speaks_for.get())
    killed(tasks, state)
    assert set(names) == {None}


REFUSALS = {
    "an attempt that was archived": (403, "Task instance is not a live attempt", False),
    "an attempt that is gone": (410, "its attempt has been archived", False),
    "another right": (403, "Task does not have access to this XCom in multi-team mode", True),
    "a broken API server": (500, "Internal Server Error", True),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_a_refused_question_stops_the_run_only_if_it_says_that_the_attempt_is_over(
    tasks: Tasks, box: Sandbox, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr("airflow_runctl.triggers.run.ASK_OWNER_TRIES", 2)
    status, message, lives = REFUSALS[why]
    trigger, _ = deferred(tasks)
    tasks.fake.refuse("GetTaskStates").error = refusal(status, message)
    go(trigger.on_kill)
    assert bool(box.open_runs()) is lives
