"""The VectorShift operators on Airflow's own task runner, against the sandbox."""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_runctl.exceptions import RunctlError, RunFailed
from airflow_runctl.hooks.vectorshift import VectorShiftHook
from airflow_runctl.operators.vectorshift import (
    VectorShiftPauseRunOperator,
    VectorShiftResumeRunOperator,
    VectorShiftRunPipelineOperator,
    VectorShiftTerminateRunOperator,
)
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.transport.aio import close_session
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import Attempt, event_of
from tests.unit.versions import needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")

ON_EXISTING = [VectorShiftTerminateRunOperator, VectorShiftPauseRunOperator, VectorShiftResumeRunOperator]


class Tasks:
    """Makes tasks of one Dag and runs them."""

    def __init__(self, fake: FakeAirflow) -> None:
        self.fake = fake

    def pipeline(self, pipeline_id: str = "pl-hang", **more: Any) -> VectorShiftRunPipelineOperator:
        with self.fake.dag():
            return VectorShiftRunPipelineOperator(
                **{"task_id": "start", "pipeline_id": pipeline_id, "poll_interval": 0.1, **more}
            )

    def start(self, pipeline_id: str = "pl-hang", task_id: str = "start", **more: Any) -> dict[str, Any]:
        attempt = self.fake.run(self.pipeline(pipeline_id, task_id=task_id, wait_for_completion=False, **more))
        assert attempt.state == "success", attempt.said
        result: dict[str, Any] = attempt.result
        return result

    def act(self, operator: Callable[..., Any], task_id: str = "act", **more: Any) -> Attempt:
        with self.fake.dag():
            task = operator(task_id=task_id, **more)
        return self.fake.run(task)


@pytest.fixture
def tasks(fake: FakeAirflow) -> Tasks:
    return Tasks(fake)


def test_terminate_of_a_run_that_there_is_not_says_so(tasks: Tasks, box: Sandbox) -> None:
    """A caller saw the look at an unknown id answered with 404; of its terminate no document says anything."""
    box.fault("vectorshift", "status", "status", status=404, body={"status": "failed", "error": "task not found"})
    attempt = tasks.act(VectorShiftTerminateRunOperator, pipeline_id="pl-hang", run_id="nothing", stop_timeout=0.3)
    assert "VectorShift knows no run 'nothing', and did not take its stop either" in attempt.said
    assert "task not found. No such pipeline or run, or it is hidden from this API key" in attempt.said
    assert "run nothing not found" in attempt.said
    assert "may be alive" not in attempt.said


def test_accepted_terminate_of_a_run_that_there_is_not_says_so(tasks: Tasks, box: Sandbox) -> None:
    box.fault("vectorshift", "status", "status", status=404, body={"status": "failed", "error": "task not found"})
    box.fault("vectorshift", "stop", "body", body={"status": "success"})
    attempt = tasks.act(VectorShiftTerminateRunOperator, pipeline_id="pl-hang", run_id="nothing", stop_timeout=0.3)
    assert "VectorShift run nothing: asked to stop, not confirmed in 0 s; no look finds such a run." in attempt.said
    assert "task not found. No such pipeline or run" in attempt.said
    assert "may be alive" not in attempt.said


def test_accepted_terminate_of_a_run_of_ours_that_no_look_finds_may_be_alive(tasks: Tasks, box: Sandbox) -> None:
    handle = tasks.start()["external_run"]
    box.fault("vectorshift", "status", "status", status=404, body={"status": "failed", "error": "task not found"})
    box.fault("vectorshift", "stop", "body", body={"status": "success"})
    attempt = tasks.act(VectorShiftTerminateRunOperator, external_run=handle, stop_timeout=0.3)
    assert "it may be alive, though no look finds it. VectorShift answered HTTP 404: task not found" in attempt.said


# -- run a pipeline ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_pipeline_is_run_to_its_end_and_its_outputs_returned(tasks: Tasks, box: Sandbox, deferrable: bool) -> None:
    box.behave("vectorshift", "pl-summary", run_seconds=0.3)
    attempt = tasks.fake.run(tasks.pipeline("pl-summary", inputs={"text": "long"}, deferrable=deferrable))
    if deferrable:
        assert attempt.deferral is not None
        event = event_of(tasks.fake, attempt)
        attempt = tasks.fake.run(tasks.pipeline("pl-summary", deferrable=True), deferral=attempt.deferral, event=event)
    assert attempt.state == "success", attempt.said
    [run] = box.runs()
    handle = attempt.result.pop("external_run")
    assert attempt.result == {
        "run_id": run["run_id"],
        "state": "succeeded",
        "vendor_state": "completed",
        "url": None,
        "result": {"summary": "two lines"},
    }
    assert (handle["vendor"], handle["conn_id"]) == ("vectorshift", "vectorshift_default")
    assert run["inputs"] == {"text": "long"}


def test_a_failed_pipeline_fails_with_its_reason(tasks: Tasks, box: Sandbox) -> None:
    box.behave("vectorshift", "pl-fail", run_seconds=0.1)
    attempt = tasks.fake.run(tasks.pipeline("pl-fail"))
    assert isinstance(attempt.error, RunFailed)
    assert "is failed: node llm: model unavailable" in attempt.said


def test_a_refused_start_says_what_is_wrong(tasks: Tasks) -> None:
    attempt = tasks.fake.run(tasks.pipeline("pl-none"))
    assert "refused the start. VectorShift answered HTTP 404: Pipeline not found. No such pipeline" in attempt.said
    assert tasks.fake.xcom("start", "external_run_audit")["state"] == "not_started"


def test_pipeline_inputs_files_and_version_are_templated(tasks: Tasks, box: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "harvest.csv").write_bytes(b"a;b")
    tasks.start(
        "pl-{{ 'hang' }}",
        inputs={"day": "{{ dag.dag_id }}", "list": ["{{ 1 + 1 }}"]},
        files={"table": str(tmp_path / "{{ dag.dag_id }}.csv")},
        version="{{ '1.2' }}.0",
    )
    [sent] = box.requests(vendor="vectorshift", operation="start")
    assert '"version": "1.2.0"' in sent["body"]
    [run] = box.runs(name="pl-hang")
    assert run["inputs"] == {
        "day": "harvest",
        "list": ["2"],
        "table": {
            "type": "file",
            "raw_bytes": base64.b64encode(b"a;b").decode(),
            "metadata": {"name": "harvest.csv", "path": "harvest.csv", "mime_type": "text/csv"},
        },
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"files": {"doc": "/no/such/file.pdf"}},
            "files of task 'start': 'doc' is '/no/such/file.pdf', which cannot be",
        ),
        ({"inputs": {"doc": "a"}, "files": {"doc": __file__}}, "doc is given both in inputs and in files"),
        (
            {"inputs": "{{ [1] }}"},
            "inputs came out of its template as a value of type str (not shown)",
        ),
        ({"files": "{{ 'a.pdf' }}"}, "files came out of its template as 'a.pdf'; it has to be a dict"),
        ({"inputs": {"when": object()}}, "cannot be sent as JSON"),
        ({"pipeline_id": ".."}, "'..' cannot be an id or a name"),
        ({"pipeline_id": "{{ '' }}"}, "pipeline_id came out of its template as ''"),
    ],
)
def test_bad_arguments_are_told_before_anything_is_sent(
    tasks: Tasks, box: Sandbox, arguments: dict[str, Any], said: str
) -> None:
    attempt = tasks.fake.run(tasks.pipeline(**arguments))
    assert said in attempt.said
    assert box.requests() == []


@needs_task_store
def test_a_retry_takes_up_the_run_whose_answer_was_lost(tasks: Tasks, box: Sandbox) -> None:
    """The worker is lost between the start and its record; only the trace id that was recorded before is left."""
    box.behave("vectorshift", "pl-hang", run_seconds=0.5)
    record: dict[str, Any] = {}

    def lost(message: Any) -> None:
        # The record as the write-ahead leaves it is put back, as if the process had died right after it.
        if type(message).__name__ == "SetTaskStateStore" and message.value["phase"] == "starting":
            record.update(message.value)

    tasks.fake.on_message = lost
    first = tasks.fake.run(tasks.pipeline(wait_for_completion=False), retries=1).result
    tasks.fake.on_message = lambda message: None
    tasks.fake.store[(tasks.fake.dag_id, tasks.fake.run_id, "start", -1)] = {"airflow_runctl": record}
    again = tasks.fake.run(tasks.pipeline(), try_number=2)
    assert again.state == "success", again.said
    assert again.result["run_id"] == first["run_id"]
    assert len(box.runs()) == 1


# -- terminate, pause, resume ------------------------------------------------------------------------------


def test_a_run_is_terminated_by_its_ids(tasks: Tasks, box: Sandbox) -> None:
    started = tasks.start()
    attempt = tasks.act(VectorShiftTerminateRunOperator, pipeline_id="pl-hang", run_id=started["run_id"])
    assert attempt.state == "success", attempt.said
    seconds = attempt.result.pop("seconds")
    assert 0 <= seconds < 10
    assert attempt.result == {
        "run_id": started["run_id"],
        "outcome": "stopped",
        "state": "failed",
        "vendor_state": "failed",
    }
    assert box.open_runs() == []


def test_runs_are_terminated_by_a_list_of_what_start_operators_returned(tasks: Tasks, box: Sandbox) -> None:
    started = [tasks.start(task_id=f"start-{number}") for number in range(3)]
    attempt = tasks.act(VectorShiftTerminateRunOperator, external_run=started)
    assert attempt.state == "success", attempt.said
    assert [result["outcome"] for result in attempt.result] == ["stopped"] * 3
    assert box.open_runs() == []


def test_a_terminate_of_a_finished_run_is_no_error(tasks: Tasks, box: Sandbox) -> None:
    started = tasks.start()
    box.set_run(started["run_id"], "completed")
    assert tasks.act(VectorShiftTerminateRunOperator, external_run=started).result["outcome"] == "already_finished"


def test_a_terminate_of_nobodys_run_is_an_error(tasks: Tasks) -> None:
    attempt = tasks.act(VectorShiftTerminateRunOperator, pipeline_id="pl-hang", run_id="66ff00", stop_timeout=0.3)
    assert "run 66ff00 not found" in attempt.said


def test_a_pause_cannot_be_confirmed_and_says_so_at_once(tasks: Tasks, box: Sandbox) -> None:
    started = tasks.start()
    attempt = tasks.act(VectorShiftPauseRunOperator, external_run=started)
    assert attempt.state == "success", attempt.said
    assert attempt.result.pop("seconds") < 5
    assert attempt.result == {
        "run_id": started["run_id"],
        "outcome": "requested",
        "state": "unknown",
        "vendor_state": "paused",
    }
    assert box.runs()[0]["state"] == "paused"


def test_a_pause_of_a_finished_run_is_no_error(tasks: Tasks, box: Sandbox) -> None:
    started = tasks.start()
    box.set_run(started["run_id"], "completed")
    attempt = tasks.act(VectorShiftPauseRunOperator, pipeline_id="pl-hang", run_id=started["run_id"])
    assert attempt.result["outcome"] == "already_finished"


def test_whoever_watches_a_run_goes_on_while_it_is_paused(tasks: Tasks, box: Sandbox, fake: FakeAirflow) -> None:
    words: list[str] = []
    attempt = fake.run(tasks.pipeline(deferrable=True))
    [run] = box.runs()
    header = {"Authorization": f"Bearer {fake.connections['vectorshift_default']['password']}"}
    base = fake.connections["vectorshift_default"]["host"]

    def tell(action: str, body: dict[str, Any]) -> None:
        answer = requests.post(f"{base}/pipeline/pl-hang/{action}", json=body, headers=header, timeout=30)
        words.append(answer.json()["status"])

    async def watch() -> Any:
        events = fake.trigger_of(attempt.deferral, attempt).run()
        watching = asyncio.ensure_future(anext(events))
        try:
            await asyncio.to_thread(tell, "pause", {"run_id": run["run_id"]})
            box.clear_requests()
            while len(box.requests(vendor="vectorshift", operation="status")) < 3:
                await asyncio.sleep(0.05)
            assert not watching.done()
            await asyncio.to_thread(tell, "resume", {"run_ids": [run["run_id"]]})
            box.set_run(run["run_id"], "completed")
            return (await watching).payload
        finally:
            await close_session()

    event = asyncio.run(watch())
    assert words == ["success", "success"]
    assert event["status"]["state"] == "succeeded"


def test_a_paused_run_is_resumed(tasks: Tasks, box: Sandbox) -> None:
    started = tasks.start()
    tasks.act(VectorShiftPauseRunOperator, external_run=started)
    attempt = tasks.act(VectorShiftResumeRunOperator, task_id="resume", external_run=started)
    assert attempt.state == "success", attempt.said
    assert (attempt.result["outcome"], attempt.result["vendor_state"]) == ("resumed", "in_progress")
    assert box.runs()[0]["resume_requests"] == 1


def test_a_resume_of_a_finished_run_is_an_error(tasks: Tasks, box: Sandbox) -> None:
    started = tasks.start()
    box.set_run(started["run_id"], "cancelled")
    attempt = tasks.act(VectorShiftResumeRunOperator, external_run=started)
    assert isinstance(attempt.error, RunctlError)
    assert "a run that is over is not resumed" in attempt.said


@pytest.mark.parametrize("operator", ON_EXISTING)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "exactly one of external_run and the ids of the run"),
        ({"pipeline_id": "p", "run_id": "r", "external_run": {}}, "exactly one of external_run and the ids"),
        ({"pipeline_id": "p"}, "give pipeline_id and run_id together; VectorShift knows a run only with its pipeline"),
        ({"run_id": "r"}, "give pipeline_id and run_id together"),
    ],
)
def test_the_run_has_to_be_named_when_the_dag_is_parsed(
    operator: Callable[..., Any], arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        operator(task_id="act", **arguments)


@pytest.mark.parametrize("operator", ON_EXISTING)
def test_ids_of_existing_runs_are_templated(tasks: Tasks, operator: Callable[..., Any]) -> None:
    started = tasks.start()
    if operator is VectorShiftResumeRunOperator:
        tasks.act(VectorShiftPauseRunOperator, task_id="pause", external_run=started)
    run_id = "{{ ti.xcom_pull(task_ids='start')['run_id'] }}"
    attempt = tasks.act(operator, pipeline_id="{{ 'pl-hang' }}", run_id=run_id)
    assert attempt.state == "success", attempt.said
    assert attempt.result["run_id"] == started["run_id"]


# -- hook and secrets --------------------------------------------------------------------------------------


def test_the_hook_lists_pipelines_and_runs(tasks: Tasks, box: Sandbox) -> None:
    started = tasks.start()
    hook = VectorShiftHook()
    assert {"_id": "pl-hang", "name": "hang"} in hook.list_pipelines()
    assert [run.run_id for run in hook.list_runs("pl-hang", "in_progress")] == [started["run_id"]]
    assert hook.list_runs("pl-hang", "success") == []


def test_the_key_is_nowhere_in_what_airflow_keeps_or_shows(tasks: Tasks, box: Sandbox) -> None:
    started = tasks.start(inputs={"text": "long"})
    tasks.act(VectorShiftPauseRunOperator, external_run=started)
    tasks.act(VectorShiftTerminateRunOperator, task_id="stop", external_run=started)
    assert box.seed not in tasks.fake.everything()


# -- what a further try finds ------------------------------------------------------------------------------


def left_paused(tasks: Tasks, box: Sandbox, on_retry: str) -> None:
    """An attempt whose process dies, and whose run is paused."""
    attempt = tasks.fake.run(tasks.pipeline(deferrable=True, on_retry=on_retry), retries=1)
    assert attempt.deferral is not None
    tasks.act(VectorShiftPauseRunOperator, external_run=tasks.fake.xcom("start", "external_run"))
    eventually(lambda: box.runs()[0]["state"] == "paused")


@needs_task_store
def test_a_further_try_resumes_a_paused_run_if_told_so(tasks: Tasks, box: Sandbox) -> None:
    box.behave("vectorshift", "pl-hang", run_seconds=3)
    left_paused(tasks, box, "resume")
    attempt = tasks.fake.run(tasks.pipeline(on_retry="resume"), try_number=2)
    assert attempt.state == "success", attempt.said
    assert [(run["resume_requests"], run["stop_requests"]) for run in box.runs()] == [(1, 0)]


@needs_task_store
def test_a_further_try_that_is_to_reattach_leaves_a_paused_run_paused(tasks: Tasks, box: Sandbox) -> None:
    left_paused(tasks, box, "reattach")
    again = tasks.pipeline(on_retry="reattach", deferrable=True)
    assert tasks.fake.run(again, try_number=2).deferral is not None
    assert [(run["state"], run["resume_requests"]) for run in box.runs()] == [("paused", 0)]


@needs_task_store
def test_a_run_that_cannot_be_resumed_is_watched_all_the_same(tasks: Tasks, box: Sandbox) -> None:
    left_paused(tasks, box, "resume")
    box.behave("vectorshift", "pl-hang", failing_calls=["resume"])
    attempt = tasks.fake.run(tasks.pipeline(on_retry="resume", deferrable=True), try_number=2)
    assert attempt.deferral is not None
    assert [(run["open"], run["stop_requests"]) for run in box.runs()] == [(True, 0)]
