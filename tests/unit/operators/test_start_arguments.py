"""Arguments and connections that cannot work: said as early as can be, and before anything is started."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl.exceptions import LoginRefused, StartRefused
from airflow_runctl.operators.axiom import AxiomStopRunOperator, AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import (
    SnapLogicResumeTaskOperator,
    SnapLogicStopTaskOperator,
    SnapLogicTriggerTaskOperator,
)
from airflow_runctl.sandbox.client import Sandbox
from tests.unit.operators.tasks import FINAL, Tasks, ends

pytestmark = pytest.mark.usefixtures("brisk")


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
            "on_retry is 'again'; give one of reattach, resume, restart",
        ),
        (
            lambda: AxiomTriggerRunOperator(task_id="t", name="x", leave_running=True),
            "goes only with wait_for_completion=False",
        ),
        (
            lambda: AxiomTriggerRunOperator(task_id="t", name="x", max_runtime=60),
            "max_runtime is 60 (int); give a timedelta above zero",
        ),
        (
            lambda: AxiomTriggerRunOperator(
                task_id="t", name="x", max_runtime=timedelta(hours=1), wait_for_completion=False
            ),
            "max_runtime needs wait_for_completion=True",
        ),
        (lambda: AxiomTriggerRunOperator(task_id="t", name="x", poll_interval=0), "give seconds above 0"),
        (lambda: AxiomTriggerRunOperator(task_id="t", name="x", stop_timeout=-1), "give seconds above 0"),
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


def test_data_that_comes_out_of_a_template_as_no_list_of_lists_starts_nothing(tasks: Tasks, box: Sandbox) -> None:
    attempt = tasks.run(lambda **more: tasks.axiom(data="{{ [1, 2] }}", **more))
    assert "data came out of its template as a value of type str (not shown)" in attempt.said
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
        (
            "snaplogic",
            "No such task as /api/1/rest/slsched/feed/Acme/projects/sales/nothing, or it is hidden",
        ),
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
