"""What a further try does with the run that the one before left: go on with it, or end it before starting anew."""

from typing import Any

import pytest

from airflow_runctl.exceptions import RunctlError
from airflow_runctl.sandbox.client import Sandbox
from tests.unit.later import Later
from tests.unit.operators.tasks import FINAL, Tasks, ends
from tests.unit.versions import needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")


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
@pytest.mark.usefixtures("suspends")
def test_next_try_resumes_the_suspended_run(tasks: Tasks, box: Sandbox) -> None:
    tasks.run(lambda **more: tasks.snaplogic(on_retry="resume", **more), retries=1)
    box.behave("snaplogic", "early-hang", run_seconds=0.1)
    attempt = tasks.run(lambda **more: tasks.snaplogic(on_retry="resume", **more), try_number=2)
    assert attempt.state == "success"
    assert tasks.only()["resume_requests"] == 1


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
