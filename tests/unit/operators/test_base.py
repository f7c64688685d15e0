"""The operators in Airflow's own task runner: what they return, raise and record, and that no run is left behind."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl.compat import HAS_TASK_STORE, IS_AIRFLOW_2, AirflowFailException, AirflowTaskTimeout, lead_over_core
from airflow_runctl.control.records import AUDIT_KEY
from airflow_runctl.control.stop import StopNote
from airflow_runctl.control.watch import Watched
from airflow_runctl.exceptions import (
    HandleError,
    LimitReached,
    LoginRefused,
    RunctlError,
    RunFailed,
    RunSuspended,
    StartRefused,
    StartUncertain,
)
from airflow_runctl.operators import base
from airflow_runctl.operators.axiom import AxiomStopRunOperator, AxiomTriggerRunOperator
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.snaplogic import (
    SnapLogicResumeTaskOperator,
    SnapLogicStopTaskOperator,
    SnapLogicTriggerTaskOperator,
)
from airflow_runctl.runs import HANDLE_KEY, StopReason
from airflow_runctl.sandbox.client import Sandbox, eventually
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import Attempt, event_of
from tests.unit.versions import ErrorOfAKilledTask, if_stored, needs_task_store, refuses_last_words

pytestmark = pytest.mark.usefixtures("brisk")

SALES = "/Acme/projects/sales"
MODES = ["worker", "deferred"]
VENDORS = ["snaplogic", "axiom"]
RETRIED, FINAL = "up_for_retry", "failed"


class Tasks:
    """Makes operators and runs them."""

    def __init__(self, fake: FakeAirflow, box: Sandbox) -> None:
        self.fake = fake
        self.box = box

    def snaplogic(self, name: str = "early-hang", **more: Any) -> SnapLogicTriggerTaskOperator:
        arguments = {"task_id": "start", "task_path": f"projects/sales/{name}", "pipeline_name": name, **self._brisk()}
        with self.fake.dag():
            return SnapLogicTriggerTaskOperator(**{**arguments, **more})

    def axiom(self, name: str = "Hang", **more: Any) -> AxiomTriggerRunOperator:
        with self.fake.dag():
            return AxiomTriggerRunOperator(**{"task_id": "start", "name": name, **self._brisk(), **more})

    def start(self, vendor: str, **more: Any) -> StartRunOperator:
        """Return a start of a run that hangs."""
        return self.snaplogic(**more) if vendor == "snaplogic" else self.axiom(**more)

    @staticmethod
    def _brisk() -> dict[str, Any]:
        return {"poll_interval": 0.05, "stop_timeout": 5.0}

    def run(self, make: Callable[..., Any], mode: str = "worker", between: Any = None, **more: Any) -> Attempt:
        """Run an attempt to its end, deferred or not.

        :param between: called with the half that was deferred, before its trigger runs.
        """
        attempt = self.fake.run(make(deferrable=mode == "deferred"), **more)
        if attempt.deferral is None:
            assert mode == "worker" or attempt.state != "success", "it should have deferred"
            return attempt
        if between is not None:
            between(attempt)
        event = self.event(attempt)
        return self.fake.run(make(deferrable=True), deferral=attempt.deferral, event=event, **more)

    def event(self, attempt: Attempt) -> Any:
        """Run the trigger of a deferred attempt to its event."""
        return event_of(self.fake, attempt)

    def leave_running(self, vendor: str = "snaplogic", **more: Any) -> dict[str, Any]:
        """Run a start that does not wait; return what it returned."""
        more.setdefault("wait_for_completion", False)
        attempt = self.fake.run(self.start(vendor, **more))
        assert attempt.state == "success", attempt.said
        result: dict[str, Any] = attempt.result
        return result

    def only(self) -> dict[str, Any]:
        (run,) = self.box.runs()
        return run

    def audit(self, task_id: str = "start", map_index: int = -1) -> Any:
        return self.fake.xcom(task_id, AUDIT_KEY, map_index)

    def handle(self, task_id: str = "start", map_index: int = -1) -> Any:
        return self.fake.xcom(task_id, HANDLE_KEY, map_index)


@pytest.fixture
def tasks(fake: FakeAirflow, box: Sandbox, caplog: pytest.LogCaptureFixture) -> Iterator[Tasks]:
    """Tasks; wherever they leave anything, no secret of the sandbox may be in it."""
    box.behave("snaplogic", "early-hang", stop_seconds=0.02)
    box.behave("axiom", "Hang", stop_seconds=0.02)
    yield Tasks(fake, box)
    assert box.seed not in fake.everything()
    assert box.seed not in caplog.text


def ends(box: Sandbox, vendor: str, good: bool, seconds: float = 0.2) -> None:
    """Let the runs that hang end."""
    end = {"snaplogic": ("Failed", "Completed"), "axiom": ("Failure", "Success")}[vendor][good]
    name = {"snaplogic": "early-hang", "axiom": "Hang"}[vendor]
    box.behave(vendor, name, run_seconds=seconds, end=end, message="target refused the row")


class Later(threading.Thread):
    """Does something as soon as a condition holds, while the test is in an operator."""

    def __init__(self, condition: Callable[[], Any], do: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.condition, self.do = condition, do
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            eventually(self.condition)
            self.do()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> "Later":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.join(20)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error


def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


# -- a run that ends well --------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("mode", MODES)
def test_run_that_ends_well_is_returned(tasks: Tasks, box: Sandbox, vendor: str, mode: str) -> None:
    ends(box, vendor, good=True)
    attempt = tasks.run(lambda **more: tasks.start(vendor, **more), mode)
    assert attempt.state == "success"
    result = attempt.result
    run_id = tasks.only()["run_id"] if vendor == "snaplogic" else "Hang"
    assert result["run_id"].startswith(run_id)
    assert result["state"] == "succeeded"
    assert result["vendor_state"] == {"snaplogic": "Completed", "axiom": "Success"}[vendor]
    assert result["url"] == (f"{box.url}/snaplogic/sl/dashboard.html" if vendor == "snaplogic" else None)
    assert result["external_run"].keys() == {"vendor", "conn_id", "run_id", "url", "started_at", "token"}
    assert set(result) == {"run_id", "state", "vendor_state", "url", "result", "external_run"}


@pytest.mark.parametrize("mode", MODES)
def test_handle_goes_when_the_run_is_over_and_the_audit_stays(tasks: Tasks, box: Sandbox, mode: str) -> None:
    ends(box, "snaplogic", good=True)
    tasks.run(tasks.snaplogic, mode)
    assert tasks.handle() is None
    audit = tasks.audit()
    assert (audit["state"], audit["vendor_state"], audit["stop"]) == ("succeeded", "Completed", None)
    assert audit["run_id"] == tasks.only()["run_id"]
    assert tasks.fake.stored("start").get("phase") == if_stored("over")


@pytest.mark.parametrize("mode", MODES)
def test_run_that_cannot_be_read_at_once_is_followed(tasks: Tasks, box: Sandbox, mode: str) -> None:
    ends(box, "snaplogic", good=True, seconds=0.6)
    box.behave("snaplogic", "early-hang", list_delay_seconds=0.4)
    attempt = tasks.run(tasks.snaplogic, mode)
    assert attempt.state == "success", attempt.said
    assert 404 in {request["status"] for request in box.requests(operation="status")}
    assert tasks.only()["stop_requests"] == 0


def test_what_a_run_gives_back_is_returned(tasks: Tasks, box: Sandbox) -> None:
    box.behave("axiom", "Hang", run_seconds=0.1, result={"sheet-1": [["tea", "3"]]})
    assert tasks.run(tasks.axiom).result["result"] == {"sheet-1": [["tea", "3"]]}


def test_handle_is_recorded_before_the_run_is_looked_at(tasks: Tasks, box: Sandbox) -> None:
    ends(box, "snaplogic", good=True)
    looks: list[int] = []

    def seen(message: Any) -> None:
        if getattr(message, "key", None) == HANDLE_KEY and type(message).__name__ == "SetXCom":
            looks.append(len(box.requests(operation="status")))

    tasks.fake.on_message = seen
    tasks.run(tasks.snaplogic)
    assert looks == [0]


def test_start_is_written_ahead_for_whoever_looks_after_the_dag_run(tasks: Tasks, box: Sandbox) -> None:
    ends(box, "snaplogic", good=True)
    seen: list[tuple[str, int]] = []

    def hear(message: Any) -> None:
        if type(message).__name__ == "SetXCom" and message.key == AUDIT_KEY:
            seen.append((message.value["state"], len(box.requests(operation="start"))))

    tasks.fake.on_message = hear
    tasks.run(tasks.snaplogic)
    assert seen == [("starting", 0), ("succeeded", 1)]


@needs_task_store
def test_start_is_written_ahead_for_a_further_try(tasks: Tasks, box: Sandbox) -> None:
    ends(box, "snaplogic", good=True)
    seen: list[tuple[str, int]] = []

    def hear(message: Any) -> None:
        if type(message).__name__ == "SetTaskStateStore":
            seen.append((message.value["phase"], len(box.requests(operation="start"))))

    tasks.fake.on_message = hear
    tasks.run(tasks.snaplogic)
    assert seen == [("starting", 0), ("live", 1), ("over", 1)]


def test_deferral_carries_a_sealed_handle_and_no_timeout_of_airflows(tasks: Tasks, box: Sandbox) -> None:
    attempt = tasks.fake.run(tasks.axiom(deferrable=True, max_runtime=timedelta(hours=1)))
    assert attempt.state == "deferred"
    assert attempt.deferral is not None
    assert attempt.deferral.timeout is None
    assert attempt.deferral.method == "execute_complete"
    assert box.seed not in json.dumps(attempt.deferral.trigger_kwargs)
    assert tasks.handle() == attempt.deferral.trigger_kwargs["external_run"]
    assert len(box.open_runs()) == 1


def test_arguments_are_templated(tasks: Tasks, box: Sandbox) -> None:
    ends(box, "snaplogic", good=True, seconds=0)
    tasks.run(
        lambda **more: tasks.snaplogic(
            task_path="projects/sales/{{ 'early' }}-hang",
            parameters={"run": "{{ run_id }}", "n": 3},
            body={"dag": "{{ dag.dag_id }}"},
            **more,
        )
    )
    assert tasks.only()["inputs"] == {"parameters": {"run": "manual__1", "n": "3"}, "body": {"dag": "harvest"}}
    ends(box, "axiom", good=True, seconds=0)
    tasks.run(lambda **more: tasks.axiom(name="{{ 'Hang' }}", data=[["{{ run_id }}"]], task_id="two", **more))
    assert box.runs(vendor="axiom")[0]["inputs"] == [["manual__1"]]


# -- a run that ends badly -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(("retries", "state"), [(0, FINAL), (1, RETRIED)])
def test_failed_run_fails_the_task_with_the_vendors_reason(
    tasks: Tasks, box: Sandbox, vendor: str, mode: str, retries: int, state: str
) -> None:
    ends(box, vendor, good=False)
    attempt = tasks.run(lambda **more: tasks.start(vendor, **more), mode, retries=retries)
    assert attempt.state == state
    assert isinstance(attempt.error, RunFailed)
    assert "target refused the row" in attempt.said
    assert tasks.handle() is None


@pytest.mark.parametrize("mode", MODES)
def test_run_that_somebody_stopped_at_the_vendor_is_not_started_again(tasks: Tasks, box: Sandbox, mode: str) -> None:
    box.behave("snaplogic", "early-hang", run_seconds=0.2, end="Stopped")
    attempt = tasks.run(tasks.snaplogic, mode, retries=3)
    assert attempt.state == FINAL
    assert isinstance(attempt.error, AirflowFailException)
    assert "was stopped at the vendor, not by Airflow" in attempt.said


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(("reason", "state"), [(StopReason.DEADLINE, FINAL), (StopReason.KILLED, RETRIED)])
def test_recorded_reason_of_a_stop_decides_about_retries(
    tasks: Tasks, box: Sandbox, vendor: str, mode: str, reason: StopReason, state: str
) -> None:
    """axiom.ai shows a stopped run as failed, so only our own record can tell."""

    def stopped_by_another(*_: Any) -> None:
        run = eventually(tasks.handle)
        shown = {name: run[name] for name in ("vendor", "conn_id", "run_id", "url", "started_at")}
        tasks.fake.put_xcom("start", AUDIT_KEY, {**shown, "stop": StopNote(reason, "somebody", "too late").out()})
        box.set_run(tasks.only()["run_id"], {"snaplogic": "Stopped", "axiom": "Failure"}[vendor])

    def make(**more: Any) -> Any:
        return tasks.start(vendor, **more)

    if mode == "worker":
        with Later(tasks.handle, stopped_by_another):
            attempt = tasks.run(make, mode, retries=2)
    else:
        attempt = tasks.run(make, mode, stopped_by_another, retries=2)
    assert attempt.state == state
    assert f"was stopped: {reason.value} (too late), by somebody" in attempt.said
    assert tasks.audit()["stop"]["reason"] == reason.value


# -- limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(("retries", "state"), [(0, FINAL), (1, RETRIED)])
def test_run_past_max_runtime_is_stopped_and_retries_apply(
    tasks: Tasks, box: Sandbox, vendor: str, mode: str, retries: int, state: str
) -> None:
    limit = timedelta(seconds=0.3)
    attempt = tasks.run(lambda **more: tasks.start(vendor, max_runtime=limit, **more), mode, retries=retries)
    assert attempt.state == state
    assert isinstance(attempt.error, LimitReached)
    assert "took longer than max_runtime; it was stopped (stopped" in attempt.said
    assert box.open_runs() == []
    assert tasks.audit()["stop"]["reason"] == "max_runtime"
    assert tasks.handle() is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vendor", VENDORS)
def test_execution_timeout_counts_from_the_start_of_the_attempt_in_both_modes(
    tasks: Tasks, box: Sandbox, vendor: str, mode: str
) -> None:
    began = datetime.now(UTC) - timedelta(hours=1)
    limit = timedelta(hours=1, seconds=1)
    if mode == "deferred":
        limit += lead_over_core(limit)
    attempt = tasks.run(
        lambda **more: tasks.start(vendor, execution_timeout=limit, **more), mode, start_date=began, retries=1
    )
    assert attempt.state == RETRIED
    assert isinstance(attempt.error, AirflowTaskTimeout)
    assert "execution_timeout passed; of" in attempt.said
    assert "it was stopped (stopped" in attempt.said
    assert box.open_runs() == []


@pytest.mark.parametrize("mode", MODES)
def test_deadline_that_meets_the_limit_of_the_task_outweighs_it(tasks: Tasks, box: Sandbox, mode: str) -> None:
    """Both stop the run in the same moment; no retry may start it again."""
    box.behave("snaplogic", "early-hang", stop_seconds=0.6)

    def deadline() -> None:
        handle = tasks.handle()
        shown = {name: handle[name] for name in ("vendor", "conn_id", "run_id", "url", "started_at")}
        note = StopNote(StopReason.DEADLINE, "deadline callback", "too late").out()
        tasks.fake.put_xcom("start", AUDIT_KEY, {**shown, "stop": note})

    with Later(tasks.handle, deadline):
        attempt = tasks.run(lambda **more: tasks.snaplogic(**more, max_runtime=timedelta(seconds=0.8)), mode, retries=2)
    assert attempt.state == FINAL
    assert isinstance(attempt.error, AirflowFailException)
    assert "was stopped: deadline (too late), by deadline callback" in attempt.said
    assert tasks.audit()["stop"]["reason"] == "deadline"
    assert box.open_runs() == []


def test_nothing_is_started_once_execution_timeout_has_passed(tasks: Tasks, box: Sandbox) -> None:
    began = datetime.now(UTC) - timedelta(hours=2)
    attempt = tasks.run(lambda **more: tasks.snaplogic(execution_timeout=timedelta(hours=1), **more), start_date=began)
    assert isinstance(attempt.error, AirflowTaskTimeout)
    assert "nothing was started" in attempt.said
    assert box.runs() == []
    # Else a retry would look for a run of this start, and could take somebody else's.
    assert tasks.fake.stored("start").get("phase") != "starting"


@pytest.mark.parametrize("mode", MODES)
def test_limit_whose_stop_is_not_confirmed_names_a_run_that_may_be_alive(tasks: Tasks, box: Sandbox, mode: str) -> None:
    box.behave("snaplogic", "early-hang", stop_seconds=None)
    attempt = tasks.run(
        lambda **more: tasks.snaplogic(max_runtime=timedelta(seconds=0.2), **{**more, "stop_timeout": 0.2}), mode
    )
    assert isinstance(attempt.error, LimitReached)
    assert tasks.only()["run_id"] in attempt.said
    assert "may be alive" in attempt.said
    assert tasks.handle() is not None, "whoever comes next must find it"


# -- suspended and lost ----------------------------------------------------------------------------------


@pytest.fixture
def suspends(box: Sandbox) -> None:
    box.behave("snaplogic", "early-hang", suspend_after_seconds=0.1, message="no disk")


@pytest.mark.usefixtures("suspends")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("on_retry", "retries", "alive"),
    [
        pytest.param("resume", 1, True, marks=needs_task_store),
        pytest.param("resume", 0, False, marks=needs_task_store),
        ("reattach", 1, False),
        ("restart", 1, False),
    ],
)
def test_suspended_run_is_left_only_for_a_try_that_will_resume_it(
    tasks: Tasks, box: Sandbox, mode: str, on_retry: str, retries: int, alive: bool
) -> None:
    attempt = tasks.run(lambda **more: tasks.snaplogic(on_retry=on_retry, **more), mode, retries=retries)
    assert isinstance(attempt.error, RunSuspended)
    assert "suspended itself" in attempt.said
    assert "no disk" in attempt.said
    assert tasks.only()["open"] == alive
    assert (tasks.handle() is not None) == alive


@needs_task_store
@pytest.mark.usefixtures("suspends")
def test_next_try_resumes_the_suspended_run(tasks: Tasks, box: Sandbox) -> None:
    tasks.run(lambda **more: tasks.snaplogic(on_retry="resume", **more), retries=1)
    box.behave("snaplogic", "early-hang", run_seconds=0.1)
    attempt = tasks.run(lambda **more: tasks.snaplogic(on_retry="resume", **more), try_number=2)
    assert attempt.state == "success"
    assert tasks.only()["resume_requests"] == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor that answers badly is given up soon."""
    from airflow_runctl.transport import retry

    monkeypatch.setenv("AIRFLOW__RUNCTL__RIDE_OUT", "0.2")
    monkeypatch.setattr(retry, "TOTAL_SECONDS", 0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("retries", "alive"), [(0, False), (1, HAS_TASK_STORE)])
def test_run_that_is_lost_sight_of_is_stopped_unless_a_further_try_comes(
    tasks: Tasks, box: Sandbox, mode: str, retries: int, alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_runctl.control import attempt as control
    from airflow_runctl.control import watch
    from airflow_runctl.transport.retry import Patience
    from airflow_runctl.triggers import run as trigger

    for module in (watch, trigger):
        monkeypatch.setattr(module, "POLL_PATIENCE", Patience(total=0.05))
    monkeypatch.setattr(control, "STOP_PATIENCE", Patience(total=0.05))
    box.fault("snaplogic", "status", "status", status=500, count=None)
    later = Later(lambda: box.requests(operation="stop"), box.clear_faults)
    if alive:
        attempted = tasks.run(tasks.snaplogic, mode, retries=retries)
    else:
        with later:
            attempted = tasks.run(tasks.snaplogic, mode, retries=retries)
    assert isinstance(attempted.error, RunctlError)
    assert "was lost sight of: VendorError: SnapLogic answered HTTP 500: out of order" in attempted.said
    assert bool(box.open_runs()) == alive
    assert (tasks.handle() is not None) == alive


# -- the Dag run's, or nobody's --------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("leave_running", [False, True])
def test_task_that_does_not_wait_ends_and_leaves_a_recorded_run(
    tasks: Tasks, box: Sandbox, vendor: str, leave_running: bool
) -> None:
    result = tasks.leave_running(vendor, leave_running=leave_running)
    assert result["state"] == "running"
    assert tasks.only()["open"]
    assert box.requests(operation="status") == []
    assert tasks.handle() == result["external_run"]
    assert tasks.fake.stored("start").get("phase") == if_stored("released")


def test_queued_run_is_returned_as_queued(tasks: Tasks, box: Sandbox) -> None:
    result = tasks.leave_running("axiom", name="Queued")
    assert (result["state"], result["vendor_state"]) == ("queued", "queued")


# -- killed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
def test_killed_task_stops_its_run_without_a_word_to_airflow(tasks: Tasks, box: Sandbox, vendor: str) -> None:
    """SIGTERM as the supervisor sends it; the handler runs in the middle of whatever the task is doing."""
    said: list[tuple[int, int]] = []
    asked: list[str] = []
    original = StartRunOperator.on_kill

    def on_kill(self: StartRunOperator) -> None:
        before, requests = len(tasks.fake.messages), len(box.requests())
        original(self)
        said.append((before, len(tasks.fake.messages)))
        asked.extend(request["operation"] for request in box.requests()[requests:])

    with pytest.MonkeyPatch.context() as patch, Later(lambda: box.requests(operation="status"), sigterm):
        patch.setattr(StartRunOperator, "on_kill", on_kill)
        attempt = tasks.run(lambda **more: tasks.start(vendor, **{**more, "poll_interval": 30.0}), retries=1)
    assert isinstance(attempt.error, ErrorOfAKilledTask)
    assert "The task was killed" in attempt.said
    assert box.open_runs() == []
    ((before, after),) = said
    assert before == after
    assert asked[0] == "stop", "the request goes first"


@pytest.mark.parametrize("told_by", ["a signal", "Airflow's records"])
def test_task_that_is_killed_before_it_could_wait_in_the_triggerer_stops_its_run_and_does_not_defer(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch, told_by: str
) -> None:
    """On Airflow 2.11 the deferral would write over what a user did to the task; 3 refuses it."""
    if told_by == "a signal":
        limits = StartRunOperator._limits

        def killed(self: StartRunOperator, *args: Any) -> dict[str, float]:
            signal.raise_signal(signal.SIGTERM)
            return limits(self, *args)

        monkeypatch.setattr(StartRunOperator, "_limits", killed)
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


# -- nothing is left behind ------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("what", ["SetXCom", pytest.param("SetTaskStateStore", marks=needs_task_store)])
@pytest.mark.parametrize("mode", MODES)
def test_run_whose_handle_cannot_be_stored_is_stopped_and_the_first_error_shown(
    tasks: Tasks, box: Sandbox, vendor: str, what: str, mode: str
) -> None:
    fields = {"key": HANDLE_KEY} if what == "SetXCom" else {}
    refusal = tasks.fake.refuse(what, **fields)
    if what == "SetTaskStateStore":
        plain = refusal.when
        refusal.when = lambda msg: plain(msg) and msg.value["phase"] == "live"
    attempt = tasks.run(lambda **more: tasks.start(vendor, **more), mode, retries=1)
    assert str(attempt.error) == "the API server is away"
    assert box.open_runs() == []
    assert tasks.only()["stop_requests"] == 1


def test_run_that_can_neither_be_recorded_nor_stopped_is_named_in_the_error(tasks: Tasks, box: Sandbox) -> None:
    tasks.fake.refuse("SetXCom", key=HANDLE_KEY)
    box.fault("snaplogic", "stop", "status", status=403)
    attempt = tasks.run(tasks.snaplogic)
    assert str(attempt.error) == "the API server is away"
    assert tasks.only()["run_id"] in attempt.said
    assert "could not be stopped and may be alive" in attempt.said
    assert "HTTP 403" in attempt.said


@pytest.mark.parametrize("what", ["SetXCom", pytest.param("SetTaskStateStore", marks=needs_task_store)])
def test_nothing_is_started_if_it_cannot_be_written_ahead(tasks: Tasks, box: Sandbox, what: str) -> None:
    tasks.fake.refuse(what)
    tasks.run(tasks.snaplogic)
    assert box.requests(operation="start") == []


@pytest.mark.parametrize("error", [RuntimeError("bug"), SystemExit(3), KeyboardInterrupt()])
def test_any_error_of_ours_stops_the_run(
    tasks: Tasks, box: Sandbox, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(StartRunOperator, "_watch_here", breaks)
    tasks.run(tasks.snaplogic)
    assert box.open_runs() == []


def test_alarm_of_airflow_does_not_strike_between_start_and_record(tasks: Tasks, box: Sandbox) -> None:
    """Airflow enforces ``execution_timeout`` with an alarm that raises wherever the process is."""

    def strike(number: int, frame: Any) -> None:
        raise RuntimeError("the alarm")

    ends(box, "snaplogic", good=True)
    box.fault("snaplogic", "start", "latency", seconds=0.5)
    before = signal.signal(signal.SIGALRM, strike)
    try:
        with Later(lambda: box.requests(operation="start"), lambda: os.kill(os.getpid(), signal.SIGALRM)):
            attempt = tasks.run(tasks.snaplogic)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert attempt.state == "success", attempt.said


@refuses_last_words
@pytest.mark.parametrize("marked", ["failed", "success", "skipped", "restarting"])
def test_deferral_that_airflow_refuses_since_a_user_acted_meanwhile_stops_the_run(
    tasks: Tasks, box: Sandbox, marked: str
) -> None:
    """Airflow logs the refusal, and that is all: there is no trigger, and no ``on_kill``."""
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True), marked=marked)
    assert attempt.deferral is not None
    assert box.open_runs() == []
    assert tasks.audit()["stop"]["reason"] == "user"
    assert tasks.handle() is None


@pytest.mark.parametrize("map_index", [-1, 3])
def test_deferral_that_airflow_takes_leaves_the_run_to_its_trigger(tasks: Tasks, box: Sandbox, map_index: int) -> None:
    """What the other tasks of the Dag run do is none of its business, and is not asked for."""
    tasks.fake.states["start_4"] = "failed"
    tasks.fake.run(tasks.snaplogic(deferrable=True), map_index=map_index)
    assert [run["stop_requests"] for run in box.runs()] == [0]
    asked = tasks.fake.sent("GetTaskStates")
    # Before it too, where Airflow would write over what a user has marked.
    assert len(asked) == (2 if IS_AIRFLOW_2 else 1)
    for question in asked:
        assert (question.task_ids, question.map_index) == (["start"], map_index)


def test_refused_deferral_leaves_a_run_alone_that_no_kill_may_stop(tasks: Tasks, box: Sandbox) -> None:
    tasks.fake.run(tasks.snaplogic(deferrable=True, stop_on_kill=False), marked="failed")
    assert [run["stop_requests"] for run in box.runs()] == [0]


@pytest.mark.parametrize(("marked", "alive"), [("failed", False), (None, HAS_TASK_STORE)])
def test_run_that_is_left_to_a_retry_is_stopped_if_airflow_lets_none_come(
    tasks: Tasks, box: Sandbox, marked: str | None, alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> Any:
        raise RuntimeError("bug")

    monkeypatch.setattr(StartRunOperator, "_watch_here", breaks)
    tasks.run(tasks.snaplogic, retries=1, marked=marked)
    assert bool(box.open_runs()) == alive


@pytest.mark.parametrize("retries", [0, 1])
def test_lost_trigger_does_not_leave_its_run_behind(tasks: Tasks, box: Sandbox, retries: int) -> None:
    from tests.fakes.airflow_any import Deferral

    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True), retries=retries)
    assert attempt.deferral is not None
    gone = Deferral("", {}, None, "__fail__", {"error": "Trigger failure", "traceback": ["boom"]})
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True), deferral=gone, retries=retries)
    assert "Trigger failure" in attempt.said
    left = bool(retries) and HAS_TASK_STORE
    assert bool(box.open_runs()) == left
    assert (tasks.handle() is not None) == left, "left to the further try, if that can know of it"


@needs_task_store
def test_lost_trigger_whose_handle_is_gone_from_xcom_is_found_in_the_task_state_store(
    tasks: Tasks, box: Sandbox
) -> None:
    from tests.fakes.airflow_any import Deferral

    tasks.fake.run(tasks.snaplogic(deferrable=True))
    tasks.fake.put_xcom("start", HANDLE_KEY, "nonsense")
    gone = Deferral("", {}, None, "__fail__", {"error": "Trigger failure", "traceback": ["boom"]})
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True), deferral=gone)
    assert "Trigger failure" in attempt.said
    assert box.open_runs() == []


def test_lost_trigger_whose_handle_cannot_be_read_says_that_a_run_may_be_alive(tasks: Tasks, box: Sandbox) -> None:
    from tests.fakes.airflow_any import Deferral

    tasks.fake.run(tasks.snaplogic(deferrable=True))
    tasks.fake.refuse("GetXCom", key=HANDLE_KEY)
    gone = Deferral("", {}, None, "__fail__", {"error": "Trigger failure", "traceback": ["boom"]})
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True), deferral=gone)
    assert "Trigger failure" in attempt.said
    assert "What it ran may be alive: its handle cannot be read. ConnectionError" in attempt.said


def test_event_with_a_foreign_handle_is_refused_and_the_own_run_stopped(tasks: Tasks, box: Sandbox) -> None:
    """Airflow 3.1 on SQLite was seen to hand on what an earlier trigger of the same number saw."""
    other = tasks.leave_running("axiom", task_id="other")
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True))
    assert attempt.deferral is not None
    event = {HANDLE_KEY: other[HANDLE_KEY], **Watched(lost="nothing").out()}
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True), deferral=attempt.deferral, event=event)
    assert isinstance(attempt.error, HandleError)
    assert "The event was another task's; what this task ran itself was looked for, and stopped" in attempt.said
    assert {run["vendor"]: (run["open"], run["stop_requests"]) for run in box.runs()} == {
        "axiom": (True, 0),
        "snaplogic": (False, 1),
    }


# -- a deadline that meets a start -----------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
def test_stop_that_was_asked_for_while_the_start_was_in_flight_is_carried_out(
    tasks: Tasks, box: Sandbox, vendor: str
) -> None:
    def deadline() -> None:
        note = StopNote(StopReason.DEADLINE, "deadline callback", "too late").out()
        tasks.fake.put_xcom("start", AUDIT_KEY, {"state": "starting", "stop": note})

    box.fault(vendor, "start", "latency", seconds=0.5)
    with Later(lambda: box.requests(operation="start"), deadline):
        attempt = tasks.run(lambda **more: tasks.start(vendor, **more), retries=3)
    assert attempt.state == FINAL
    assert isinstance(attempt.error, AirflowFailException)
    assert "was stopped: deadline (too late), by deadline callback" in attempt.said
    assert box.open_runs() == []
    assert tasks.handle() is None


# -- what a further try finds ----------------------------------------------------------------------------


def lost_attempt(tasks: Tasks, **more: Any) -> dict[str, Any]:
    """An attempt whose process dies while its run goes on; return its handle."""
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True, **more), retries=1)
    assert attempt.state == "deferred"
    handle: dict[str, Any] = tasks.handle()
    return handle


@needs_task_store
def test_further_try_follows_the_run_of_the_one_before(tasks: Tasks, box: Sandbox) -> None:
    lost_attempt(tasks)
    ends(box, "snaplogic", good=True)
    box.set_run(tasks.only()["run_id"], "Started")
    with Later(tasks.handle, lambda: box.set_run(tasks.only()["run_id"], "Completed")):
        attempt = tasks.run(tasks.snaplogic, try_number=2)
    assert attempt.state == "success"
    assert len(box.runs()) == 1
    assert attempt.result["run_id"] == tasks.only()["run_id"]


@needs_task_store
def test_max_runtime_counts_from_the_run_s_own_start_whoever_watches_it(tasks: Tasks, box: Sandbox) -> None:
    more = {"deferrable": True, "max_runtime": timedelta(hours=1)}
    first = tasks.fake.run(tasks.snaplogic(**more), retries=1)
    second = tasks.fake.run(tasks.snaplogic(**more), try_number=2)
    assert first.deferral is not None
    assert second.deferral is not None
    assert second.deferral.trigger_kwargs["limits"] == first.deferral.trigger_kwargs["limits"]
    began = datetime.fromisoformat(tasks.handle()["started_at"])
    assert second.deferral.trigger_kwargs["limits"]["max_runtime"] == (began + timedelta(hours=1)).timestamp()


@needs_task_store
@pytest.mark.parametrize("more", [{"on_retry": "restart"}, {"parameters": {"changed": "yes"}}])
def test_run_of_another_wish_is_stopped_before_a_new_one_starts(
    tasks: Tasks, box: Sandbox, more: dict[str, Any]
) -> None:
    lost_attempt(tasks)
    ends(box, "snaplogic", good=True)
    attempt = tasks.run(lambda **other: tasks.snaplogic(**{**other, **more}), try_number=2)
    assert attempt.state == "success"
    first, second = box.runs()
    assert (first["state"], second["state"]) == ("Stopped", "Completed")
    assert first["ended_at"] <= second["created_at"]


@needs_task_store
def test_run_that_is_stopping_is_waited_for_before_a_new_one_starts(tasks: Tasks, box: Sandbox) -> None:
    lost_attempt(tasks)
    box.set_run(tasks.only()["run_id"], "Stopping")
    ends(box, "snaplogic", good=True)
    with Later(
        lambda: len(box.requests(operation="status")) > 1,
        lambda: box.set_run(box.runs()[0]["run_id"], "Stopped"),
    ):
        attempt = tasks.run(tasks.snaplogic, try_number=2)
    assert attempt.state == "success"
    first, second = box.runs()
    assert first["ended_at"] <= second["created_at"]


@needs_task_store
def test_second_run_is_not_started_beside_one_that_does_not_stop(tasks: Tasks, box: Sandbox) -> None:
    lost_attempt(tasks)
    box.behave("snaplogic", "early-hang", stop_seconds=None)
    attempt = tasks.run(
        lambda **more: tasks.snaplogic(**{**more, "on_retry": "restart", "stop_timeout": 0.2}), try_number=2
    )
    assert isinstance(attempt.error, RunctlError)
    assert "No second run was started beside it" in attempt.said
    assert len(box.runs()) == 1


@needs_task_store
def test_run_that_ended_well_meanwhile_is_the_result(tasks: Tasks, box: Sandbox) -> None:
    lost_attempt(tasks)
    box.set_run(tasks.only()["run_id"], "Completed")
    attempt = tasks.run(tasks.snaplogic, try_number=2)
    assert attempt.state == "success"
    assert len(box.runs()) == 1


@needs_task_store
@pytest.mark.parametrize("how", ["tampered", "changed credential"])
def test_handle_in_the_store_that_does_not_open_is_an_error_and_nothing_is_started(
    tasks: Tasks, box: Sandbox, how: str
) -> None:
    handle = lost_attempt(tasks)
    if how == "tampered":
        rows = tasks.fake.store[("harvest", "manual__1", "start", -1)]["airflow_runctl"]
        rows["handle"]["token"] = handle["token"][:-6] + "AAAAAA"
    else:
        row = tasks.fake.connections["snaplogic_default"]
        extra = {**row["extra"], "auth": "jwt", "seal_key": "another"}
        tasks.fake.connections["snaplogic_default"] = {**row, "password": f"snaplogic-jwt-{box.seed}", "extra": extra}
    attempt = tasks.run(tasks.snaplogic, try_number=2, retries=1)
    assert attempt.state == FINAL
    assert "An earlier attempt left a run. The handle of snaplogic run" in attempt.said
    assert tasks.only()["run_id"] in attempt.said
    assert "Nothing was started" in attempt.said
    assert len(box.runs()) == 1


@needs_task_store
def test_handle_in_the_store_opens_with_the_old_credential_in_seal_key(tasks: Tasks, box: Sandbox) -> None:
    lost_attempt(tasks)
    row = tasks.fake.connections["snaplogic_default"]
    extra = {**row["extra"], "auth": "jwt", "seal_key": f"another,{row['password']}"}
    tasks.fake.connections["snaplogic_default"] = {**row, "password": f"snaplogic-jwt-{box.seed}", "extra": extra}
    box.set_run(tasks.only()["run_id"], "Completed")
    assert tasks.run(tasks.snaplogic, try_number=2).state == "success"


# -- a start that is unclear -----------------------------------------------------------------------------


@pytest.fixture
def few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_runctl.vendors.axiom import vendor as axiom
    from airflow_runctl.vendors.snaplogic import trigger

    monkeypatch.setattr(trigger, "LOST_CALL_LOOKS", 2)
    monkeypatch.setattr(axiom, "LOST_CALL_LOOKS", 1)


@pytest.mark.usefixtures("few_looks")
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(("has_store", "state"), [pytest.param(True, RETRIED, marks=needs_task_store), (False, FINAL)])
def test_start_that_is_unclear_is_retried_only_where_the_next_try_can_look(
    tasks: Tasks, box: Sandbox, vendor: str, has_store: bool, state: str
) -> None:
    tasks.fake.has_store = has_store
    box.fault(vendor, "start", "cut")
    attempt = tasks.run(lambda **more: tasks.start(vendor, **more), retries=1)
    assert attempt.state == state
    assert isinstance(attempt.error, StartUncertain if has_store else AirflowFailException)
    assert "not started again" in attempt.said
    assert len(box.requests(operation="start")) == 1


@needs_task_store
@pytest.mark.usefixtures("few_looks")
def test_next_try_finds_the_run_of_an_unclear_start(tasks: Tasks, box: Sandbox) -> None:
    box.behave("snaplogic", "early-hang", list_delay_seconds=1.0)
    box.fault("snaplogic", "start", "cut", after_effect=True, count=1)
    attempt = tasks.run(tasks.snaplogic, retries=1)
    assert isinstance(attempt.error, StartUncertain)
    eventually(lambda: any(run["state"] == "Started" for run in box.runs()))
    with Later(tasks.handle, lambda: box.set_run(tasks.only()["run_id"], "Completed")):
        attempt = tasks.run(tasks.snaplogic, try_number=2)
    assert attempt.state == "success"
    assert len(box.requests(operation="start")) == 1


@needs_task_store
@pytest.mark.usefixtures("few_looks")
def test_run_that_came_up_long_after_the_lost_start_is_not_taken_for_its_own(
    tasks: Tasks, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's, of the same pipeline, while ours never reached the vendor."""
    from airflow_runctl.control import identity

    box.fault("snaplogic", "start", "cut", count=1)
    assert isinstance(tasks.run(tasks.snaplogic, retries=1).error, StartUncertain)
    box.clear_faults()
    strange = tasks.leave_running(task_id="strange", name="early-hang")
    monkeypatch.setattr(identity, "LATER", timedelta(seconds=-30))
    attempt = tasks.run(tasks.snaplogic, try_number=2)
    assert isinstance(attempt.error, AirflowFailException)
    assert f"Nothing tells which it is of: {strange['run_id']}." in attempt.said
    assert [(run["open"], run["stop_requests"]) for run in box.runs()] == [(True, 0)]


@needs_task_store
@pytest.mark.usefixtures("few_looks")
def test_deadline_that_comes_while_a_further_try_looks_for_a_lost_start_finds_it_written_ahead(
    tasks: Tasks, box: Sandbox
) -> None:
    """Airflow has wiped what the first attempt wrote; the deadline leaves its intent, and the try obeys."""
    box.behave("snaplogic", "early-hang", list_delay_seconds=1.0)
    box.fault("snaplogic", "start", "cut", after_effect=True, count=1)
    tasks.run(tasks.snaplogic, retries=1)

    def deadline() -> None:
        audit = tasks.audit()
        assert audit["start"]["token"]
        note = StopNote(StopReason.DEADLINE, "deadline callback", "too late").out()
        tasks.fake.put_xcom("start", AUDIT_KEY, {**audit, "stop": note})

    written = len(tasks.fake.sent("SetXCom", key=AUDIT_KEY))
    with Later(lambda: len(tasks.fake.sent("SetXCom", key=AUDIT_KEY)) > written, deadline):
        attempt = tasks.run(tasks.snaplogic, try_number=2)
    assert isinstance(attempt.error, AirflowFailException)
    assert "was stopped: deadline (too late)" in attempt.said
    assert [(run["open"], run["stop_requests"]) for run in box.runs()] == [(False, 1)]


@needs_task_store
@pytest.mark.usefixtures("few_looks")
def test_run_of_a_lost_start_counts_its_time_from_the_start_and_not_from_when_it_was_found(
    tasks: Tasks, box: Sandbox
) -> None:
    box.behave("snaplogic", "early-hang", list_delay_seconds=1.0)
    box.fault("snaplogic", "start", "cut", after_effect=True, count=1)
    tasks.run(tasks.snaplogic, retries=1)
    began = tasks.fake.stored("start")["at"]
    with Later(tasks.handle, lambda: box.set_run(tasks.only()["run_id"], "Completed")):
        attempt = tasks.run(tasks.snaplogic, try_number=2)
    started_at = datetime.fromisoformat(attempt.result["external_run"]["started_at"])
    assert started_at.timestamp() == pytest.approx(began, abs=0.001)


@needs_task_store
@pytest.mark.parametrize("kind", ["status", "garbage"])
def test_further_try_rides_out_a_vendor_that_answers_badly_at_its_first_look(
    tasks: Tasks, box: Sandbox, kind: str
) -> None:
    lost_attempt(tasks)
    box.fault("snaplogic", "status", kind)
    met = len(box.requests(operation="status"))

    def recover() -> None:
        box.clear_faults()
        box.set_run(tasks.only()["run_id"], "Completed")

    with Later(lambda: len(box.requests(operation="status")) > met + 3, recover):
        attempt = tasks.run(tasks.snaplogic, try_number=2)
    assert attempt.state == "success", attempt.said
    assert [run["stop_requests"] for run in box.runs()] == [0]


def test_start_with_two_candidates_is_final_and_names_both(tasks: Tasks, box: Sandbox) -> None:
    box.behave("snaplogic", "hang", list_delay_seconds=0.4)

    def rival() -> None:
        import requests as http

        row = tasks.fake.connections["snaplogic_default"]
        headers = {"Authorization": f"Bearer {row['extra']['task_token']}"}
        url = f"{row['host']}/api/1/rest/slsched/feed{SALES}/hang"
        with pytest.raises(http.ReadTimeout):
            http.post(url, headers=headers, timeout=0.2)

    with Later(lambda: box.requests(operation="start"), rival):
        attempt = tasks.run(lambda **more: tasks.snaplogic("hang", **more), retries=3)
    assert attempt.state == FINAL
    assert isinstance(attempt.error, AirflowFailException)
    for run in box.runs():
        assert run["run_id"] in attempt.said
        assert run["stop_requests"] == 0
    assert len(box.open_runs()) == 2


def test_refused_start_is_retried_and_leaves_nothing_to_look_for(tasks: Tasks, box: Sandbox) -> None:
    box.fault("axiom", "start", "status", status=503)
    attempt = tasks.run(tasks.axiom, retries=1)
    assert attempt.state == RETRIED
    assert isinstance(attempt.error, StartRefused)
    assert tasks.fake.stored("start").get("phase") == if_stored("over")
    assert tasks.audit()["state"] == "not_started"


# -- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SnapLogicTriggerTaskOperator(task_id="t"), "give exactly one of task_path and task_url"),
        (
            lambda: SnapLogicTriggerTaskOperator(task_id="t", task_path="a/b", task_url="https://x"),
            "give exactly one of task_path and task_url",
        ),
        (
            lambda: AxiomTriggerRunOperator(task_id="t", name="x", on_retry="again"),
            "it can be reattach, resume, restart",
        ),
        (
            lambda: AxiomTriggerRunOperator(task_id="t", name="x", leave_running=True),
            "goes only with wait_for_completion=False",
        ),
        (lambda: AxiomTriggerRunOperator(task_id="t", name="x", max_runtime=60), "max_runtime is a timedelta, not int"),
        (
            lambda: AxiomTriggerRunOperator(
                task_id="t", name="x", max_runtime=timedelta(hours=1), wait_for_completion=False
            ),
            "max_runtime needs wait_for_completion=True",
        ),
        (lambda: AxiomTriggerRunOperator(task_id="t", name="x", poll_interval=0), "are seconds above 0"),
        (lambda: AxiomTriggerRunOperator(task_id="t", name="x", stop_timeout=-1), "are seconds above 0"),
        (lambda: SnapLogicStopTaskOperator(task_id="t"), "exactly one of external_run and the ids of the run (ruuid"),
        (
            lambda: SnapLogicStopTaskOperator(task_id="t", ruuid="x", external_run={"a": 1}),
            "ruuid and external_run were given",
        ),
        (lambda: SnapLogicResumeTaskOperator(task_id="t"), "neither was given"),
        (
            lambda: SnapLogicResumeTaskOperator(task_id="t", ruuid="x", external_run={"a": 1}),
            "ruuid and external_run were given",
        ),
        (
            lambda: AxiomStopRunOperator(task_id="t"),
            "exactly one of external_run and the ids of the run (pid, pw, viewer",
        ),
        (
            lambda: AxiomStopRunOperator(task_id="t", viewer_url="x", external_run={"a": 1}),
            "viewer_url and external_run were given",
        ),
        (lambda: AxiomStopRunOperator(task_id="t", pid="07"), "give pid and pw together"),
        (lambda: AxiomStopRunOperator(task_id="t", pw="x"), "give pid and pw together"),
        (lambda: AxiomStopRunOperator(task_id="t", pid="07", pw="x", viewer_url="y"), "or viewer_url alone"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_when_the_dag_is_parsed(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match="Operator 't'") as seen:
        make()
    assert said in str(seen.value)


@pytest.mark.parametrize("data", ["text", [["a"], "b"], {"a": 1}])
def test_data_that_is_no_list_of_lists_starts_nothing(tasks: Tasks, box: Sandbox, data: Any) -> None:
    attempt = tasks.run(lambda **more: tasks.axiom(data=data, **more))
    assert "data of task 'start' must be a list of lists" in attempt.said
    assert box.requests() == []


def test_arguments_that_are_no_json_start_nothing(tasks: Tasks, box: Sandbox) -> None:
    attempt = tasks.run(lambda **more: tasks.snaplogic(body={"when": datetime.now(UTC)}, **more), retries=1)
    assert attempt.state == FINAL
    assert "cannot be sent as JSON" in attempt.said
    assert box.requests() == []


def test_wrong_credential_is_said_and_starts_nothing(tasks: Tasks, box: Sandbox) -> None:
    row = tasks.fake.connections["snaplogic_default"]
    tasks.fake.connections["snaplogic_default"] = {**row, "password": "wrong-topsecret"}
    attempt = tasks.run(tasks.snaplogic)
    assert isinstance(attempt.error, LoginRefused)
    assert "SnapLogic answered HTTP 401: Authentication failed. Check the login of the connection" in attempt.said
    assert "topsecret" not in attempt.said + tasks.fake.everything()
    assert box.requests(operation="start") == []


def test_basic_switched_off_is_said_and_starts_nothing(tasks: Tasks, box: Sandbox) -> None:
    box.settings("snaplogic", basic_enabled=False)
    attempt = tasks.run(tasks.snaplogic)
    assert "Basic authentication may be switched off for the org" in attempt.said
    assert "use auth=jwt" in attempt.said
    assert box.runs() == []


def test_jwt_without_a_seal_key_is_said_before_anything_is_sent(tasks: Tasks, box: Sandbox) -> None:
    row = tasks.fake.connections["snaplogic_jwt"]
    extra = {name: value for name, value in row["extra"].items() if name != "seal_key"}
    tasks.fake.connections["snaplogic_jwt"] = {**row, "extra": extra}
    attempt = tasks.run(lambda **more: tasks.snaplogic(snaplogic_conn_id="snaplogic_jwt", **more))
    assert "uses auth=jwt and has no 'seal_key' in its extra" in attempt.said
    assert box.requests() == []


def test_jwt_with_a_seal_key_works_to_the_end(tasks: Tasks, box: Sandbox) -> None:
    ends(box, "snaplogic", good=True)
    attempt = tasks.run(lambda **more: tasks.snaplogic(snaplogic_conn_id="snaplogic_jwt", **more), "deferred")
    assert attempt.state == "success"


@pytest.mark.parametrize(
    ("vendor", "said"),
    [
        ("snaplogic", "no task /Acme/projects/sales/nothing). No such task, or it is hidden"),
        ("axiom", "Task not found, please check the name and try again.). Names are exact"),
    ],
)
def test_unknown_task_or_automation_is_said(tasks: Tasks, box: Sandbox, vendor: str, said: str) -> None:
    make = tasks.snaplogic if vendor == "snaplogic" else tasks.axiom
    attempt = tasks.run(lambda **more: make("nothing", **more))
    assert isinstance(attempt.error, StartRefused)
    assert said in attempt.said


def test_task_url_elsewhere_is_refused_before_anything_is_sent(tasks: Tasks, box: Sandbox) -> None:
    attempt = tasks.run(lambda **more: tasks.snaplogic(task_path=None, task_url="https://evil.example/x", **more))
    assert "The task's URL points to 'evil.example'" in attempt.said
    assert "'task_hosts'" in attempt.said
    assert box.requests() == []


# -- stop ------------------------------------------------------------------------------------------------


def stop(tasks: Tasks, operator: Any = SnapLogicStopTaskOperator, **more: Any) -> Attempt:
    arguments = {"task_id": "stop", "stop_timeout": 5.0, **more}
    with tasks.fake.dag():
        task = operator(**arguments)
    return tasks.fake.run(task)


@pytest.mark.parametrize("named_by", ["ruuid", "handle", "return value", "list", "template", "template of a list"])
def test_run_is_stopped_however_it_is_named(tasks: Tasks, box: Sandbox, named_by: str) -> None:
    result = tasks.leave_running()
    named: dict[str, Any] = {
        "ruuid": {"ruuid": "{{ ti.xcom_pull(task_ids='start')['run_id'] }}"},
        "handle": {"external_run": result["external_run"]},
        "return value": {"external_run": result},
        "list": {"external_run": [result]},
        "template": {"external_run": "{{ ti.xcom_pull(task_ids='start') }}"},
        "template of a list": {"external_run": "{{ [ti.xcom_pull(task_ids='start', key='external_run')] | tojson }}"},
    }[named_by]
    attempt = stop(tasks, **named)
    assert attempt.state == "success", attempt.said
    found = attempt.result if "list" not in named_by else attempt.result[0]
    assert {**found, "seconds": 0} == {
        "run_id": result["run_id"],
        "outcome": "stopped",
        "state": "stopped",
        "vendor_state": "Stopped",
        "seconds": 0,
    }
    assert box.open_runs() == []
    if named_by != "ruuid":
        assert tasks.handle() is None
        assert tasks.audit()["stop"]["reason"] == "by_hand"


def test_automation_is_stopped_by_its_handle(tasks: Tasks, box: Sandbox) -> None:
    result = tasks.leave_running("axiom")
    attempt = stop(tasks, AxiomStopRunOperator, external_run=result)
    assert attempt.result["outcome"] == "stopped"
    assert box.open_runs() == []


@pytest.mark.parametrize("shape", [1, 2, 3, 5])
def test_automation_is_stopped_by_its_viewer_url_which_is_not_shown(tasks: Tasks, box: Sandbox, shape: int) -> None:
    box.behave("axiom", "Hang", viewer_url_shape=shape)
    tasks.leave_running("axiom")
    details = tasks.only()["details"]
    attempt = stop(tasks, AxiomStopRunOperator, viewer_url=details["viewer_url"], name="Hang")
    assert attempt.result["outcome"] == "stopped"
    assert tasks.fake.rendered[-1]["viewer_url"] == "***"
    assert details["pw"] not in tasks.fake.everything()


def test_automation_is_stopped_by_pid_and_pw_and_stays_requested_without_a_name(tasks: Tasks, box: Sandbox) -> None:
    tasks.leave_running("axiom")
    details = tasks.only()["details"]
    attempt = stop(tasks, AxiomStopRunOperator, pid=details["pid"], pw=details["pw"])
    assert attempt.state == "success", attempt.said
    assert attempt.result["outcome"] == "requested"
    assert tasks.fake.rendered[-1]["pw"] == "***"
    box.wait_for_state(tasks.only()["run_id"], "Failure")


def test_viewer_url_without_a_password_is_said_and_not_repeated(tasks: Tasks, box: Sandbox) -> None:
    attempt = stop(tasks, AxiomStopRunOperator, viewer_url="c-0007-v4-proxy.axiom.ai&port=443")
    assert "The viewer URL has no password" in attempt.said
    assert "give pid and pw instead" in attempt.said
    assert "c-0007" not in attempt.said
    assert box.requests() == []


def test_queued_automation_cannot_be_stopped_which_is_said_and_where_to_do_it(tasks: Tasks, box: Sandbox) -> None:
    result = tasks.leave_running("axiom", name="Queued")
    attempt = stop(tasks, AxiomStopRunOperator, external_run=result)
    assert "was queued: it has no viewer URL, so it cannot be stopped over the API" in attempt.said
    assert "Cancel it in the axiom.ai dashboard" in attempt.said
    assert box.requests(operation="stop") == []


def test_stop_of_a_finished_run_is_no_error(tasks: Tasks, box: Sandbox) -> None:
    result = tasks.leave_running()
    box.set_run(result["run_id"], "Completed")
    attempt = stop(tasks, external_run=result)
    assert (attempt.state, attempt.result["outcome"]) == ("success", "already_finished")
    assert box.requests(operation="stop") == []


def test_unknown_run_is_said(tasks: Tasks, box: Sandbox) -> None:
    attempt = stop(tasks, ruuid="nothing", stop_timeout=0.2)
    assert attempt.state == FINAL
    assert "No such run or org, or it is hidden from this account" in attempt.said


def test_stop_that_is_not_confirmed_is_an_error_unless_nobody_waits(tasks: Tasks, box: Sandbox) -> None:
    box.behave("snaplogic", "early-hang", stop_seconds=None)
    result = tasks.leave_running()
    attempt = stop(tasks, external_run=result, stop_timeout=0.2)
    assert "asked to stop, not confirmed in 0 s; it may be alive" in attempt.said
    attempt = stop(tasks, external_run=result, wait_for_stop=False)
    assert (attempt.state, attempt.result["outcome"]) == ("success", "requested")


def test_handle_of_another_vendor_is_refused(tasks: Tasks, box: Sandbox) -> None:
    result = tasks.leave_running("axiom")
    for operator in (SnapLogicStopTaskOperator, SnapLogicResumeTaskOperator):
        attempt = stop(tasks, operator, external_run=result)
        assert "This is the handle of a run at 'axiom'" in attempt.said
        assert "acts on runs at 'snaplogic' only. Nothing was done" in attempt.said
    assert tasks.only()["open"]


def test_handle_of_another_dag_run_is_refused(tasks: Tasks, box: Sandbox) -> None:
    result = tasks.leave_running()
    tasks.fake.run_id = "manual__2"
    attempt = stop(tasks, external_run=result)
    assert "belongs to harvest/manual__1/start, not to a task of this Dag run (harvest/manual__2)" in attempt.said
    assert "give the vendor's own ids" in attempt.said
    assert tasks.only()["open"]


def test_tampered_handle_is_refused(tasks: Tasks, box: Sandbox) -> None:
    handle = tasks.leave_running()["external_run"]
    attempt = stop(tasks, external_run={**handle, "token": handle["token"][:-6] + "AAAAAA"})
    assert "does not open with connection 'snaplogic_default': it was altered, or the connection's" in attempt.said
    assert handle["run_id"] in attempt.said
    assert tasks.only()["open"]


def test_handle_under_a_changed_credential_opens_again_with_the_old_one_in_seal_key(tasks: Tasks, box: Sandbox) -> None:
    result = tasks.leave_running()
    row = tasks.fake.connections["snaplogic_default"]
    changed = {**row, "password": f"snaplogic-jwt-{box.seed}"}
    extra = {**row["extra"], "auth": "jwt", "seal_key": "new"}
    tasks.fake.connections["snaplogic_default"] = {**changed, "extra": extra}
    attempt = stop(tasks, external_run=result)
    assert "add the old one to its extra 'seal_key'" in attempt.said
    assert tasks.only()["open"]
    extra = {**extra, "seal_key": f"new,{row['password']}"}
    tasks.fake.connections["snaplogic_default"] = {**changed, "extra": extra}
    assert stop(tasks, external_run=result).result["outcome"] == "stopped"


@pytest.mark.parametrize("value", [{"run_id": "x"}, 7, "no handle", [["x"]], {"external_run": "x"}])
def test_value_that_is_no_handle_is_refused(tasks: Tasks, box: Sandbox, value: Any) -> None:
    attempt = stop(tasks, external_run=value)
    assert attempt.state == FINAL
    assert "handle" in attempt.said
    assert box.requests() == []


def test_stop_as_teardown_is_skipped_if_nothing_was_started(tasks: Tasks, box: Sandbox) -> None:
    box.fault("snaplogic", "start", "status", status=404)
    with tasks.fake.dag():
        start = SnapLogicTriggerTaskOperator(task_id="start", task_path="projects/sales/early-hang")
        teardown = SnapLogicStopTaskOperator(task_id="stop", external_run=start.output).as_teardown(setups=start)
    assert tasks.fake.run(start).state == FINAL
    attempt = tasks.fake.run(teardown)
    assert attempt.state == "skipped"
    assert box.requests(operation="stop") == []


def test_stop_as_teardown_stops_what_a_killed_start_left(tasks: Tasks, box: Sandbox) -> None:
    """A start that was lost returned nothing; its handle is in its XCom."""
    with tasks.fake.dag():
        start = SnapLogicTriggerTaskOperator(task_id="start", task_path="projects/sales/early-hang", deferrable=True)
        teardown = SnapLogicStopTaskOperator(task_id="stop", external_run=start.output).as_teardown(setups=start)
    assert tasks.fake.run(start).state == "deferred"
    attempt = tasks.fake.run(teardown)
    assert attempt.state == "success", attempt.said
    assert box.open_runs() == []


def test_every_run_of_a_list_is_stopped_though_one_cannot_be(tasks: Tasks, box: Sandbox) -> None:
    results = [tasks.leave_running(task_id=f"t{number}") for number in range(3)]
    gone = tasks.leave_running(task_id="gone")
    box.fault("snaplogic", "status", "latency", seconds=0.5, count=3)
    box.fault("snaplogic", "stop", "status", status=403, count=1)
    attempt = stop(tasks, external_run=[*results, gone])
    assert attempt.state == FINAL
    assert "HTTP 403" in attempt.said
    assert [run["stop_requests"] for run in box.runs()] == [1, 1, 1, 0]


def test_every_run_of_a_list_is_stopped_though_one_handle_is_bad(tasks: Tasks, box: Sandbox) -> None:
    results = [tasks.leave_running(task_id=f"t{number}") for number in range(3)]
    results[1]["external_run"]["token"] = "tampered"
    attempt = stop(tasks, external_run=results)
    assert attempt.state == FINAL
    assert "does not open" in attempt.said
    assert [run["open"] for run in box.runs()] == [False, True, False]


# -- resume ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("suspends")
@pytest.mark.parametrize("named_by", ["ruuid", "handle"])
def test_suspended_run_is_resumed(tasks: Tasks, box: Sandbox, named_by: str) -> None:
    result = tasks.leave_running()
    box.wait_for_state(result["run_id"], "Suspended")
    named = {"ruuid": result["run_id"]} if named_by == "ruuid" else {"external_run": result}
    attempt = stop(tasks, SnapLogicResumeTaskOperator, **named)
    assert attempt.state == "success", attempt.said
    assert (attempt.result["run_id"], attempt.result["outcome"]) == (result["run_id"], "resumed")
    assert tasks.only()["resume_requests"] == 1


def test_run_that_is_not_suspended_is_not_resumed(tasks: Tasks, box: Sandbox) -> None:
    result = tasks.leave_running()
    box.wait_for_state(result["run_id"], "Started")
    attempt = stop(tasks, SnapLogicResumeTaskOperator, external_run=result)
    assert f"SnapLogic run {result['run_id']} is Started; only a Suspended run can be resumed" in attempt.said


# -- mapped ----------------------------------------------------------------------------------------------


def test_mapped_starts_keep_their_runs_apart(tasks: Tasks, box: Sandbox) -> None:
    box.behave("axiom", "Other", run_seconds=None)
    for index, name in enumerate(("Hang", "Other")):
        with tasks.fake.dag():
            start = AxiomTriggerRunOperator.partial(task_id="start", wait_for_completion=False).expand(
                name=["Hang", "Other"]
            )
        attempt = tasks.fake.run(start, map_index=index)
        assert attempt.state == "success", attempt.said
        assert tasks.handle(map_index=index)["run_id"].startswith(name)
    assert tasks.handle() is None
    assert [run["name"] for run in box.open_runs()] == ["Hang", "Other"]


def test_mapped_stop_hides_its_secrets_too(tasks: Tasks, box: Sandbox) -> None:
    tasks.leave_running("axiom")
    details = tasks.only()["details"]
    with tasks.fake.dag():
        mapped = AxiomStopRunOperator.partial(task_id="stop", name="Hang").expand_kwargs(
            [{"pid": details["pid"], "pw": details["pw"]}]
        )
    attempt = tasks.fake.run(mapped, map_index=0)
    assert attempt.state == "success", attempt.said
    assert tasks.fake.rendered[-1]["pw"] == "***"
    assert box.open_runs() == []


def test_output_of_mapped_starts_is_stopped_one_by_one(tasks: Tasks, box: Sandbox) -> None:
    box.behave("axiom", "Other", run_seconds=None)
    with tasks.fake.dag():
        start = AxiomTriggerRunOperator.partial(task_id="start", wait_for_completion=False)
        starts = start.expand(name=["Hang", "Other"])
        stops = AxiomStopRunOperator.partial(task_id="stop").expand(external_run=starts.output)
    for index in range(2):
        assert tasks.fake.run(starts, map_index=index).state == "success"
    for index in range(2):
        assert len(box.open_runs()) == 2 - index
        attempt = tasks.fake.run(stops, map_index=index)
        assert attempt.state == "success", attempt.said
        assert attempt.result["outcome"] == "stopped"
    assert box.open_runs() == []


# -- secrets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
def test_nothing_that_an_operator_holds_shows_a_secret(tasks: Tasks, box: Sandbox, vendor: str) -> None:
    attempt = tasks.fake.run(tasks.start(vendor, deferrable=True))
    assert attempt.deferral is not None
    trigger = tasks.fake.trigger_of(attempt.deferral, attempt)
    for held in (attempt.task, vars(attempt.task), trigger, vars(trigger), attempt.deferral, tasks.handle()):
        assert box.seed not in f"{held!r} {held}"
