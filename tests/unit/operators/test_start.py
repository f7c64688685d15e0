"""What goes before a start, the start itself, and its record: written ahead, sent once, kept before anything else."""

import os
import signal
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_runctl.compat import AirflowFailException
from airflow_runctl.control.records import AUDIT_KEY
from airflow_runctl.control.stop import StopNote
from airflow_runctl.exceptions import StartRefused
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.runs import HANDLE_KEY, StopReason
from airflow_runctl.sandbox.client import Sandbox
from tests.unit.later import Later
from tests.unit.operators.tasks import FINAL, MODES, RETRIED, VENDORS, Tasks, ends
from tests.unit.versions import if_stored, needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")


# -- before and start ------------------------------------------------------------------------------------


def test_start_is_written_ahead_for_whoever_looks_after_the_dag_run(tasks: Tasks, box: Sandbox) -> None:
    ends(box, "snaplogic", good=True)
    seen: list[tuple[str, int]] = []

    def hear(message: Any) -> None:
        if type(message).__name__ == "SetXCom" and message.key == AUDIT_KEY:
            seen.append((message.value["state"], len(box.requests(operation="start"))))

    tasks.fake.on_message = hear
    tasks.run(tasks.snaplogic)
    assert seen == [("starting", 0), ("succeeded", 1)]


def test_run_counts_from_its_start_however_long_airflow_took_to_write_ahead(tasks: Tasks) -> None:
    written: list[datetime] = []

    def slow(message: Any) -> None:
        if type(message).__name__ == "SetXCom" and message.key == AUDIT_KEY and not written:
            time.sleep(0.05)
            written.append(datetime.now(UTC))

    tasks.fake.on_message = slow
    handle = tasks.leave_running()["external_run"]
    assert datetime.fromisoformat(handle["started_at"]) >= written[0]


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


@pytest.mark.parametrize("what", ["SetXCom", pytest.param("SetTaskStateStore", marks=needs_task_store)])
def test_nothing_is_started_if_it_cannot_be_written_ahead(tasks: Tasks, box: Sandbox, what: str) -> None:
    tasks.fake.refuse(what)
    tasks.run(tasks.snaplogic)
    assert box.requests(operation="start") == []


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


def test_refused_start_is_retried_and_leaves_nothing_to_look_for(tasks: Tasks, box: Sandbox) -> None:
    box.fault("axiom", "start", "status", status=503)
    attempt = tasks.run(tasks.axiom, retries=1)
    assert attempt.state == RETRIED
    assert isinstance(attempt.error, StartRefused)
    assert tasks.fake.stored("start").get("phase") == if_stored("over")
    assert tasks.audit()["state"] == "not_started"


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


# -- record ----------------------------------------------------------------------------------------------


def test_handle_is_recorded_before_the_run_is_looked_at(tasks: Tasks, box: Sandbox) -> None:
    ends(box, "snaplogic", good=True)
    looks: list[int] = []

    def seen(message: Any) -> None:
        if getattr(message, "key", None) == HANDLE_KEY and type(message).__name__ == "SetXCom":
            looks.append(len(box.requests(operation="status")))

    tasks.fake.on_message = seen
    tasks.run(tasks.snaplogic)
    assert looks == [0]


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


@pytest.mark.parametrize("vendor", VENDORS)
def test_nothing_that_an_operator_holds_shows_a_secret(tasks: Tasks, box: Sandbox, vendor: str) -> None:
    attempt = tasks.fake.run(tasks.start(vendor, deferrable=True))
    assert attempt.deferral is not None
    trigger = tasks.fake.trigger_of(attempt.deferral, attempt)
    for held in (attempt.task, vars(attempt.task), trigger, vars(trigger), attempt.deferral, tasks.handle()):
        assert box.seed not in f"{held!r} {held}"


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
