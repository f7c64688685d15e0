"""The name of what a run is a run of: in its handle and its records, for people, and no secret in it."""

from collections.abc import Callable
from typing import Any

import pytest

from airflow_runctl.control.start import LONGEST_NAME, what_of
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.bctrl import BctrlRunTaskOperator, BctrlStartRuntimeOperator
from airflow_runctl.operators.vectorshift import VectorShiftRunPipelineOperator
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.vendors.base import StartPlan
from tests.fakes.airflow_any import Attempt
from tests.unit.operators.tasks import Tasks

pytestmark = pytest.mark.usefixtures("brisk")

WORKSPACE = "77aa0c1e-5b7d-4f5e-9d43-2f6c1b8a9e10"
BROWSERS = {"bctrl_conn_id": "bctrl_browsers"}
LEFT = {"wait_for_completion": False}


def made(tasks: Tasks, operator: Callable[..., StartRunOperator], **arguments: Any) -> Any:
    """Return the handle of a run that was started and left."""
    with tasks.fake.dag():
        task = operator(**{"task_id": "start", **LEFT, **arguments})
    attempt: Attempt = tasks.fake.run(task)
    assert attempt.state == "success", attempt.said
    return attempt.result["external_run"]


@pytest.mark.parametrize(
    ("operator", "arguments", "what"),
    [
        (VectorShiftRunPipelineOperator, {"pipeline_id": "pl-hang", "inputs": {"pw": "private"}}, "pl-hang"),
        (BctrlStartRuntimeOperator, {"workspace_id": WORKSPACE, "alias": "main"}, f"{WORKSPACE}/main"),
        (BctrlStartRuntimeOperator, {"name": "shopper", "options": {"proxy": "private"}, **BROWSERS}, "shopper"),
        (BctrlStartRuntimeOperator, {"options": {"headless": True}, **BROWSERS}, None),
        (BctrlRunTaskOperator, {"agent": "researcher", "input": "private", **BROWSERS}, "researcher"),
    ],
)
def test_a_handle_names_what_was_started(tasks: Tasks, operator: Any, arguments: dict[str, Any], what: Any) -> None:
    handle = made(tasks, operator, **arguments)
    assert handle.get("what") == what
    assert ("what" in handle) is (what is not None)
    assert "private" not in str({**handle, "token": None})


def test_a_handle_names_the_task_of_snaplogic_and_the_automation_of_axiom(tasks: Tasks) -> None:
    assert tasks.leave_running()["external_run"]["what"] == "projects/sales/early-hang"
    assert tasks.leave_running("axiom", task_id="other")["external_run"]["what"] == "Hang"


@pytest.mark.parametrize("feed", ["slsched/feed", "feed"])
def test_of_a_full_url_only_the_path_below_the_org_is_told(tasks: Tasks, box: Sandbox, feed: str) -> None:
    from airflow_runctl.hooks.snaplogic import SnapLogicHook
    from airflow_runctl.vendors.snaplogic.trigger import TriggeredTask

    with tasks.fake.recorded():
        access = SnapLogicHook().access
    url = f"{access.endpoint.base_url}/api/1/rest/{feed}/Acme/shared/a%20b?bearer_token=b-secret&key=k-secret"
    plan = access.vendor.trigger(TriggeredTask(task_url=url))  # type: ignore[attr-defined]
    assert what_of(plan) == "shared/a b"


@pytest.mark.parametrize("mode", ["worker", "deferred"])
def test_the_name_is_there_while_the_run_goes_on_and_in_the_record_of_its_end(
    tasks: Tasks, box: Sandbox, mode: str
) -> None:
    box.behave("axiom", "Hang", run_seconds=0.2, end="Success")
    seen: list[Any] = []

    def hear(message: Any) -> None:
        if type(message).__name__ == "SetXCom" and message.key == "external_run":
            seen.append(message.value["what"])

    tasks.fake.on_message = hear
    assert tasks.run(tasks.axiom, mode).state == "success"
    assert set(seen) == {"Hang"}
    assert tasks.audit()["what"] == "Hang"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (None, None),
        ("", None),
        ("nightly load", "nightly load"),
        ("a task?bearer_token=b-secret", "a task?bearer_token=***"),
        ('{"password": "b-secret"}', '{"password": ***}'),
        ("two\nlines\x00", "two?lines?"),
        ("x" * 300, "x" * LONGEST_NAME + "..."),
        (17, "17"),
    ],
)
def test_a_name_is_cut_and_holds_no_secret(name: Any, shown: str | None) -> None:
    def nothing(*_: Any) -> Any:
        yield from ()

    assert what_of(StartPlan({}, nothing, nothing, what=name)) == shown


def test_what_airflow_masks_is_masked_in_the_name(tasks: Tasks) -> None:
    from airflow_runctl.compat import mask_secret

    with tasks.fake.recorded():
        mask_secret("a-rendered-password")
    handle = made(tasks, BctrlStartRuntimeOperator, name="a-rendered-password", **BROWSERS)
    assert handle["what"] == "***"
