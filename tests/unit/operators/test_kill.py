"""A task that is killed on its worker, in whatever it is doing: no run is left behind."""

import signal
import threading
import time
from typing import Any

import pytest

from airflow_runctl.compat import IS_AIRFLOW_2
from airflow_runctl.control.attempt import Attempt
from airflow_runctl.control.records import AUDIT_KEY
from airflow_runctl.operators import base
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.runs import HANDLE_KEY
from airflow_runctl.sandbox.client import Sandbox, eventually
from tests.unit.later import Later
from tests.unit.operators.tasks import VENDORS, Tasks, ends, sigterm
from tests.unit.versions import ErrorOfAKilledTask

pytestmark = pytest.mark.usefixtures("brisk")


@pytest.mark.parametrize("vendor", VENDORS)
def test_killed_task_stops_its_run_without_a_word_to_airflow(tasks: Tasks, box: Sandbox, vendor: str) -> None:
    """SIGTERM as the supervisor sends it; the handler runs in the middle of whatever the task is doing."""
    said: list[str] = []
    asked: list[str] = []
    original = StartRunOperator.on_kill
    handling: set[threading.Thread] = set()

    def hear(message: Any) -> None:
        # The history of the look before may still be on its way, in a thread of its own.
        if threading.current_thread() in handling:
            said.append(type(message).__name__)

    def on_kill(self: StartRunOperator) -> None:
        requests = len(box.requests())
        handling.add(threading.current_thread())
        original(self)
        handling.clear()
        asked.extend(request["operation"] for request in box.requests()[requests:])

    tasks.fake.on_message = hear
    with pytest.MonkeyPatch.context() as patch, Later(lambda: box.requests(operation="status"), sigterm):
        patch.setattr(StartRunOperator, "on_kill", on_kill)
        attempt = tasks.run(lambda **more: tasks.start(vendor, **{**more, "poll_interval": 30.0}), retries=1)
    assert isinstance(attempt.error, ErrorOfAKilledTask)
    assert "The task was killed" in attempt.said
    assert box.open_runs() == []
    assert said == []
    assert asked[0] == "stop", "the request goes first"


def test_killed_task_looks_for_the_end_of_its_run_more_often_than_before(tasks: Tasks, box: Sandbox) -> None:
    """The stop is not seen to take effect within a kill's time; the task must not sleep for a poll interval then."""
    box.behave("snaplogic", "early-hang", stop_seconds=4)
    began = time.monotonic()
    with Later(lambda: box.requests(operation="status"), sigterm):
        attempt = tasks.run(lambda **more: tasks.snaplogic(**{**more, "poll_interval": 30.0}))
    assert "The task was killed" in attempt.said
    assert box.open_runs() == []
    assert time.monotonic() - began < 30.0


def test_kill_that_comes_between_a_look_and_the_sleep_after_it_is_recorded_at_once(
    tasks: Tasks, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was noticed only in the middle of a sleep: else its record came at the end alone."""
    box.behave("snaplogic", "early-hang", stop_seconds=None)
    monkeypatch.setattr("airflow_runctl.control.kill.KILL_SECONDS", 0.1)
    sleep = Attempt.sleep

    def killed_before(attempt: Attempt, seconds: float) -> None:
        if not attempt.killed and box.requests(operation="status"):
            sigterm()
        sleep(attempt, seconds)

    def told() -> bool:
        records = [message.value for message in tasks.fake.sent("SetXCom", key=AUDIT_KEY)]
        return any((record.get("stop") or {}).get("reason") == "killed" for record in records)

    monkeypatch.setattr(Attempt, "sleep", killed_before)
    with Later(told, lambda: box.set_run(box.runs()[0]["run_id"], "Stopped")):
        attempt = tasks.run(lambda **more: tasks.snaplogic(**{**more, "poll_interval": 30.0}))
    assert "The task was killed" in attempt.said


@pytest.mark.parametrize("stop_seconds", [0.02, 4])
def test_a_killed_task_records_why_its_run_was_stopped_and_that_it_was(
    tasks: Tasks, box: Sandbox, stop_seconds: float
) -> None:
    """Within a kill's time, or after it: until SIGKILL comes, 60 s later on Airflow 3.4, the task goes on to look."""
    box.behave("snaplogic", "early-hang", stop_seconds=stop_seconds)
    with Later(lambda: box.requests(operation="status"), sigterm):
        tasks.run(lambda **more: tasks.snaplogic(**{**more, "poll_interval": 30.0}))
    audit = tasks.audit()
    assert (audit["state"], audit["stop"]["reason"], audit["stop"]["outcome"]) == ("stopped", "killed", "stopped")
    assert audit["stop"]["seconds"] >= stop_seconds


def test_a_stop_for_good_is_not_written_over_by_a_kill(tasks: Tasks, box: Sandbox) -> None:
    """A deadline's callback and the end of the worker at the same time: no retry may start the run again."""

    def deadline_then_kill() -> None:
        note = {"reason": "deadline", "by": "triggerer", "text": None, "asked_at": "", "outcome": None, "seconds": None}
        handle = tasks.handle()
        tasks.fake.put_xcom("start", AUDIT_KEY, {**handle, "stop": note})
        sigterm()

    with Later(lambda: box.requests(operation="status"), deadline_then_kill):
        tasks.run(lambda **more: tasks.snaplogic(**{**more, "poll_interval": 30.0}), retries=1)
    assert tasks.audit()["stop"]["reason"] == "deadline"


@pytest.mark.parametrize("told_by", ["a signal", "Airflow's records"])
def test_task_that_is_killed_before_it_could_wait_in_the_triggerer_stops_its_run_and_does_not_defer(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch, told_by: str
) -> None:
    """On Airflow 2.11 the deferral would write over what a user did to the task; 3 refuses it."""
    if told_by == "a signal":
        warn_at = StartRunOperator._warn_at

        def killed(self: StartRunOperator, *args: Any) -> float | None:
            signal.raise_signal(signal.SIGTERM)
            return warn_at(self, *args)

        monkeypatch.setattr(StartRunOperator, "_warn_at", killed)
    else:
        monkeypatch.setattr(base, "is_marked", lambda ti: True)

    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True))

    assert attempt.deferral is None
    assert "The task was killed before it could wait in the triggerer" in attempt.said
    assert tasks.only()["state"] == "Stopped"


def test_kill_is_over_in_time_when_the_vendor_is_silent(tasks: Tasks, box: Sandbox) -> None:
    running: list[StartRunOperator] = []
    took: list[float] = []
    original = StartRunOperator.execute

    def execute(self: StartRunOperator, context: Any, **_: Any) -> Any:  # Airflow 2 adds a mark of its own
        running.append(self)
        return original(self, context)

    def kill_it() -> None:
        box.fault("snaplogic", "any", "hang")
        began = time.monotonic()
        running[0].on_kill()
        took.append(time.monotonic() - began)
        box.clear_faults()

    ends(box, "snaplogic", good=True, seconds=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StartRunOperator, "execute", execute)
        with Later(tasks.handle, kill_it):
            tasks.run(tasks.snaplogic)
    assert took[0] < 4.0, "Airflow sends SIGKILL 5 s after SIGTERM"


@pytest.mark.parametrize("answers", ["end", "early"])
def test_kill_while_the_start_is_in_flight_stops_the_run_as_soon_as_it_is_known(
    tasks: Tasks, box: Sandbox, answers: str
) -> None:
    box.behave("snaplogic", "early-hang", answers=answers, list_delay_seconds=0.8)
    if answers == "early":
        box.fault("snaplogic", "start", "latency", seconds=0.8)
    asked: list[int] = []

    def hear(message: Any) -> None:
        if type(message).__name__ == "SetXCom" and message.key == HANDLE_KEY:
            asked.append(len(box.requests(operation="stop")))

    tasks.fake.on_message = hear
    with Later(lambda: box.requests(operation="start"), sigterm):
        attempt = tasks.run(tasks.snaplogic, retries=1)
    assert asked[0] >= 1, "Airflow was talked to first, and sends SIGKILL in 5 s"
    assert isinstance(attempt.error, ErrorOfAKilledTask)
    assert "was killed while run" in attempt.said
    assert tasks.only()["stop_requests"] >= 1
    eventually(lambda: not box.open_runs())
    assert box.requests(operation="start").__len__() == 1


def test_kill_before_anything_was_started_starts_nothing(tasks: Tasks, box: Sandbox) -> None:
    operator = tasks.snaplogic()
    operator.on_kill()
    assert box.requests() == []


def test_kill_while_the_start_is_prepared_starts_nothing(tasks: Tasks, box: Sandbox) -> None:
    box.fault("snaplogic", "list", "latency", seconds=0.5)
    with Later(lambda: box.requests(operation="list"), sigterm):
        attempt = tasks.run(tasks.snaplogic)
    assert "The task was killed before its run was started; nothing was started." in attempt.said
    assert box.requests(operation="start") == []


def test_kill_leaves_the_run_alone_if_told_so(tasks: Tasks, box: Sandbox) -> None:
    ends(box, "snaplogic", good=True, seconds=1.0)
    with Later(lambda: box.requests(operation="status"), sigterm):
        attempt = tasks.run(lambda **more: tasks.snaplogic(stop_on_kill=False, **more))
    # Airflow 2 lets no task end well that it has told to end.
    assert attempt.state == ("failed" if IS_AIRFLOW_2 else "success")
    assert tasks.only()["stop_requests"] == 0
