"""The operators that act on a run that is there: stop and resume, however the run is named."""

import re
from typing import Any

import pytest

from airflow_runctl.operators.axiom import AxiomStopRunOperator, AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import (
    SnapLogicResumeTaskOperator,
    SnapLogicStopTaskOperator,
    SnapLogicTriggerTaskOperator,
)
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.vendors.snaplogic.vendor import SnapLogic
from tests.fakes.airflow_any import Attempt
from tests.unit.operators.tasks import FINAL, Tasks

pytestmark = pytest.mark.usefixtures("brisk")


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


@pytest.mark.parametrize("pid", ["7", "007", "7a", "\u0660\u0667", "https://vnc.example/?password=topsecret"])
def test_pid_that_is_not_two_digits_is_refused_before_anything_is_asked(tasks: Tasks, box: Sandbox, pid: str) -> None:
    attempt = stop(tasks, AxiomStopRunOperator, pid=pid, pw="Qx3mT9", name="Hang")
    assert "pid must be two digits, as text and with a leading zero ('07')" in attempt.said
    assert "topsecret" not in attempt.said
    assert box.requests() == []


def test_pid_and_pw_of_another_run_are_told_to_be_outdated(tasks: Tasks, box: Sandbox) -> None:
    tasks.leave_running("axiom")
    attempt = stop(tasks, AxiomStopRunOperator, pid=tasks.only()["details"]["pid"], pw="ofYesterday", stop_timeout=0.1)
    assert "pid and pw: they are outdated, or not those of this run" in attempt.said
    assert "take both from the viewer URL" in attempt.said
    assert "Names are exact" not in attempt.said
    assert "ofYesterday" not in attempt.said
    assert len(box.open_runs()) == 1


def test_accepted_stop_that_did_nothing_is_asked_for_again(
    tasks: Tasks, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SnapLogic, "stop_again_after", (0.1,))
    result = tasks.leave_running()
    box.fault("snaplogic", "stop", "body", body={}, count=1)
    assert stop(tasks, external_run=result).result["outcome"] == "stopped"
    assert len(box.requests(operation="stop")) == 2


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
    assert re.search(r"asked to stop, not confirmed in \d+ s; it may be alive", attempt.said)
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
    assert (
        "does not open with connection 'snaplogic_default': it was altered, sealed for another connection"
        in attempt.said
    )
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


@pytest.mark.parametrize("value", [{"run_id": "x"}, "no handle", [["x"]], {"external_run": "x"}])
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
