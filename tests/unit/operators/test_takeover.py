"""What a further try does with the run that the one before left: go on with it, or end it before starting anew."""

import json
import re
from typing import Any

import pytest

from airflow_runctl.control.arguments import digests_of
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.sandbox.client import Sandbox
from tests.unit.later import Later
from tests.unit.operators.tasks import FINAL, Tasks, ends
from tests.unit.versions import needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")


def lost_attempt(tasks: Tasks, retries: int = 1, **more: Any) -> dict[str, Any]:
    """An attempt whose process dies while its run goes on; return its handle."""
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True, **more), retries=retries)
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


def logged(tasks: Tasks) -> str:
    """Return what the tasks have logged, a line each."""
    rows = [(str(row["event"]), row.get("positional_args", ())) for row in tasks.fake.logs]
    return "\n".join(text % tuple(values) if values else text for text, values in rows)


# -- why a run is not gone on with -----------------------------------------------------------------------


WHY: dict[str, tuple[dict[str, Any], dict[str, Any], str | None, str]] = {
    # what the first try was given, what the second is, the state of the run between them, what is said
    "arguments": (
        {"parameters": {"day": "topsecret-1", "same": "1"}, "body": {"a": 1}},
        {"parameters": {"day": "topsecret-2", "same": "1"}, "body": {"a": 2}},
        None,
        "it was started with other arguments than now (body.a, parameters.day)",
    ),
    "an argument more": ({}, {"parameters": {"day": "topsecret"}}, None, "than now (parameters, parameters.day)"),
    "restart": ({}, {"on_retry": "restart"}, None, "on_retry is 'restart'"),
    "suspended": ({}, {}, "Suspended", "it is suspended (Suspended), and on_retry is not 'resume'"),
    "stopping": ({}, {"stop_timeout": 0.2}, "Stopping", "it is being stopped already (Stopping)"),
    "failed": ({}, {}, "Failed", "is over and not gone on with: it has failed already (Failed)"),
}


@needs_task_store
@pytest.mark.parametrize("why", WHY)
def test_log_says_why_a_run_is_not_gone_on_with(tasks: Tasks, box: Sandbox, why: str) -> None:
    first, second, state, said = WHY[why]
    lost_attempt(tasks, **first)
    run_id = tasks.only()["run_id"]
    if state is not None:
        box.set_run(run_id, state)
    ends(box, "snaplogic", good=True)
    attempt = tasks.run(lambda **more: tasks.snaplogic(**{**more, **second}), try_number=2)
    assert f"un {run_id}, which an earlier attempt left" in logged(tasks)
    assert said in logged(tasks)
    assert "topsecret" not in logged(tasks)
    assert attempt.state == "success" or f"told to stop ({said})" in attempt.said


@needs_task_store
def test_log_says_that_a_task_which_had_succeeded_was_cleared(tasks: Tasks, box: Sandbox) -> None:
    tasks.fake.run(tasks.snaplogic(wait_for_completion=False), retries=0)
    ends(box, "snaplogic", good=True)
    tasks.run(lambda **more: tasks.snaplogic(stop_on_kill=False, **more), try_number=2, retries=1)
    assert "which an earlier attempt left: the task had succeeded, and was cleared to start anew" in logged(tasks)


@needs_task_store
def test_arguments_are_not_named_where_the_record_does_not_tell_them(tasks: Tasks, box: Sandbox) -> None:
    """Records of 0.1.0 hold no more than the digest of all of them."""
    lost_attempt(tasks)
    del tasks.fake.store[("harvest", "manual__1", "start", -1)]["airflow_runctl"]["arguments"]
    ends(box, "snaplogic", good=True)
    tasks.run(lambda **more: tasks.snaplogic(**more, parameters={"day": "1"}), try_number=2)
    assert re.search("left: it was started with other arguments than now$", logged(tasks), re.MULTILINE)


@needs_task_store
def test_arguments_are_named_to_the_try_after_one_that_could_not_end_the_run(tasks: Tasks, box: Sandbox) -> None:
    """What lies in the record is about the run that lives, not about the try that wrote it."""
    lost_attempt(tasks, retries=2, parameters={"day": "1"})
    box.behave("snaplogic", "early-hang", stop_seconds=None)
    changed = {"parameters": {"day": "2"}, "stop_timeout": 0.2}
    attempt = tasks.run(lambda **more: tasks.snaplogic(**{**more, **changed}), try_number=2, retries=1)
    assert "told to stop (it was started with other arguments than now (parameters.day))" in attempt.said
    tasks.fake.logs.clear()
    box.set_run(tasks.only()["run_id"], "Started")
    box.behave("snaplogic", "early-hang", stop_seconds=0.02, run_seconds=0.2, end="Completed")
    attempt = tasks.run(lambda **more: tasks.snaplogic(**{**more, **changed}), try_number=3)
    assert attempt.state == "success", attempt.said
    assert "left: it was started with other arguments than now (parameters.day)" in logged(tasks)


@needs_task_store
def test_no_argument_can_be_read_or_guessed_in_the_task_state_store(tasks: Tasks, box: Sandbox) -> None:
    parameters = {"password": "hunter2"}
    lost_attempt(tasks, parameters=parameters)
    record = tasks.fake.stored("start")
    plain = json.dumps(record)
    for digest in digests_of({"parameters": parameters}).values():
        assert f'"{digest}"' not in plain
    assert "hunter2" not in plain
    assert "password" not in plain


# -- the run that was left -------------------------------------------------------------------------------


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
    attempt = tasks.run(tasks.snaplogic, try_number=2)
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
