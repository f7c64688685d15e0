"""VectorShift's flows over real HTTP, with both clients: start, look, terminate, pause, resume, lists, errors."""

import base64
import json
import logging
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_runctl.exceptions import (
    BadAnswer,
    CannotStop,
    InvalidIdentifier,
    LoginRefused,
    NotFound,
    RateLimited,
    RunctlError,
    StartRefused,
    StartUncertain,
    TransportError,
    VendorError,
)
from airflow_runctl.runs import ExternalRun, RunState, RunStatus, StopOutcome
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.vendors import base as vendors_base
from airflow_runctl.vendors.base import HttpResponse
from airflow_runctl.vendors.vectorshift import analytics, answers, start
from airflow_runctl.vendors.vectorshift import api as module
from airflow_runctl.vendors.vectorshift.start import PipelineRun, file_input
from airflow_runctl.vendors.vectorshift.vendor import VectorShift
from tests.unit.clients import Client
from tests.unit.connections import Connections
from tests.unit.driven import ONCE, Driven


@dataclass
class Shift(Driven):
    """VectorShift as the package sees it."""

    @property
    def vendor(self) -> VectorShift:
        vendor = self.access.vendor
        assert isinstance(vendor, VectorShift)
        return vendor

    def start(self, pipeline_id: str = "pl-hang", **more: Any) -> ExternalRun:
        return self.carry_out(self.vendor.run_pipeline(PipelineRun(pipeline_id, **more)))


@pytest.fixture
def shift(
    box: Sandbox, connections: Connections, client: Client, brisk: None, monkeypatch: pytest.MonkeyPatch
) -> Shift:
    monkeypatch.setattr(start, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(module, "RESULT_PAUSES", (0.1,) * 5)
    return Shift(box, connections.access("vectorshift_default"), client)


# -- start -------------------------------------------------------------------------------------------------


def test_a_run_is_started_in_the_background_with_inputs_version_and_a_trace_id(shift: Shift) -> None:
    plan = shift.vendor.run_pipeline(PipelineRun("pl-hang", {"text": "long", "count": 3}, "1.2.0"))
    search = shift.prepare(plan)
    assert shift.sent("start") == []
    started = shift.drive(plan.start(search))
    [run] = shift.box.open_runs()
    assert started.run_id == run["run_id"]
    assert started.ids == {"pipeline_id": "pl-hang", "run_id": run["run_id"], "trace_id": search["trace_id"]}
    assert started.vendor_state == "in_progress"
    assert shift.sent("start") == [
        {
            "inputs": {"text": "long", "count": 3},
            "background": True,
            "version": "1.2.0",
            "trace_id": search["trace_id"],
        }
    ]


def test_every_start_has_a_trace_id_of_its_own(shift: Shift) -> None:
    plan = shift.vendor.run_pipeline(PipelineRun("pl-hang"))
    assert shift.prepare(plan)["trace_id"] != shift.prepare(plan)["trace_id"]


def test_the_trace_id_does_not_make_two_starts_of_the_same_different(shift: Shift) -> None:
    first, second = (shift.vendor.run_pipeline(PipelineRun("pl-hang", {"text": "a"})) for _ in range(2))
    assert first.arguments == second.arguments


def test_inputs_of_every_documented_kind_arrive_as_they_are(shift: Shift) -> None:
    inputs = {
        "text": "ä \u2603",
        "integer": 3,
        "number": 2.5,
        "flag": True,
        "nothing": None,
        "list": ["a", 1, False],
        "map": {"type": "map", "items": {"a": "1"}},
        "file": file_input("a.csv", b"a;b\n\xff", "text/csv"),
    }
    shift.start(inputs=inputs)
    assert shift.box.open_runs()[0]["inputs"] == inputs


def test_a_file_is_sent_as_the_documented_object() -> None:
    value = file_input("report.pdf", b"\x00%PDF", "application/pdf")
    assert base64.b64decode(value.pop("raw_bytes")) == b"\x00%PDF"
    assert value == {
        "type": "file",
        "metadata": {"name": "report.pdf", "path": "report.pdf", "mime_type": "application/pdf"},
    }


def test_the_id_is_taken_from_run_id_where_there_is_no_task_id(shift: Shift) -> None:
    shift.box.fault("vectorshift", "start", "body", body={"status": "success", "run_id": "66aa01"}, count=1)
    run = shift.start()
    assert run.run_id == run.ids["run_id"] == "66aa01"


def test_ids_are_percent_encoded_into_their_paths(shift: Shift) -> None:
    shift.box.behave("vectorshift", "a/b ü?", run_seconds=None)
    run = shift.start("a/b ü?")
    assert shift.status(run).state is RunState.RUNNING
    assert shift.stop(run).outcome is StopOutcome.STOPPED
    assert {"a%2Fb%20%C3%BC%3F"} == {seen["path"].split("/")[4] for seen in shift.box.requests(vendor="vectorshift")}


@pytest.mark.parametrize("pipeline_id", ["", ".", ".."])
def test_an_id_that_would_reach_something_else_is_refused_before_anything_is_sent(
    connections: Connections, pipeline_id: str
) -> None:
    vendor = connections.access("vectorshift_default").vendor
    assert isinstance(vendor, VectorShift)
    with pytest.raises(InvalidIdentifier, match="cannot be an id"):
        vendor.run_pipeline(PipelineRun(pipeline_id))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refused_start_surely_started_nothing(shift: Shift, status: int) -> None:
    shift.box.fault("vectorshift", "start", "status", status=status)
    with pytest.raises(StartRefused, match=rf"refused the start.*HTTP {status}: out of order") as refused:
        shift.start()
    assert refused.value.status == status
    assert len(shift.sent("start")) == 1
    assert shift.sent("list") == []


def test_a_start_that_never_left_says_so(shift: Shift, connections: Connections) -> None:
    shift.access = connections.access("vectorshift_default", host="http://127.0.0.1:1/v1")
    with pytest.raises(TransportError) as error:
        shift.drive(
            shift.vendor.run_pipeline(PipelineRun("pl-hang")).start({"trace_id": "t", "pipeline_id": "p"}), ONCE
        )
    assert not error.value.sent


@pytest.mark.parametrize(
    "trouble",
    [{"kind": "cut"}, {"kind": "status", "status": 502}, {"kind": "garbage"}, {"kind": "empty"}, {"kind": "huge"}],
    ids=lambda trouble: trouble["kind"],
)
def test_a_start_whose_answer_is_lost_is_found_by_its_trace_id_and_not_sent_again(
    shift: Shift, trouble: dict[str, Any]
) -> None:
    shift.start()  # another run of the same pipeline
    shift.box.fault("vectorshift", "start", after_effect=True, count=1, **trouble)
    run = shift.start()
    assert run.ids["trace_id"] == next(r for r in shift.box.runs() if r["run_id"] == run.run_id)["details"]["trace_id"]
    assert len(shift.box.open_runs()) == len(shift.sent("start")) == 2


def test_a_start_that_cannot_be_found_is_uncertain_and_names_its_trace(shift: Shift) -> None:
    shift.box.fault("vectorshift", "start", "cut", count=1)
    plan = shift.vendor.run_pipeline(PipelineRun("pl-hang"))
    search = shift.prepare(plan)
    with pytest.raises(StartUncertain) as error:
        shift.drive(plan.start(search))
    said = str(error.value)
    assert f"trace id {search['trace_id']}; the analytics show no run with it" in said
    assert "A run may be alive: it was not started again" in said
    assert error.value.candidates == ()
    assert len(shift.sent("list")) == start.LOST_CALL_LOOKS


def test_a_start_answered_failed_without_an_id_is_no_success(shift: Shift) -> None:
    shift.box.behave("vectorshift", "pl-hang", failing_calls=["start"])
    with pytest.raises(StartUncertain, match=r"names no run \(HTTP 200: .*failed.*A run may be alive"):
        shift.start()


def test_a_start_answered_failed_with_an_id_is_judged_by_a_look(shift: Shift) -> None:
    live = shift.start()
    shift.box.fault("vectorshift", "start", "body", body={"status": "failed", "task_id": live.run_id})
    assert shift.start().run_id == live.run_id
    shift.box.set_run(live.run_id, "failed", "node llm: no model")
    with pytest.raises(
        StartRefused, match=r"status failed, and run .* is failed: node llm: no model. Nothing is running"
    ):
        shift.start()


# -- finding the run of an unfinished start ----------------------------------------------------------------


def test_find_returns_the_run_with_the_trace_id_living_or_over(shift: Shift) -> None:
    first, second = shift.start(), shift.start()
    shift.box.set_run(second.run_id, "completed")
    for run in (first, second):
        [found] = shift.drive(shift.vendor.find(run.ids))
        assert (found.run_id, found.ids) == (run.run_id, run.ids)
    assert shift.drive(shift.vendor.find({**first.ids, "trace_id": "nobodys"})) == []


def test_find_reads_both_spellings_and_passes_over_what_is_not_ours(shift: Shift) -> None:
    run = shift.start()
    events = [
        {"span_id": run.run_id, "trace_id": run.ids["trace_id"], "object_id": "pl-hang", "status": "IN_PROGRESS"},
        {"spanId": "elsewhere", "traceId": run.ids["trace_id"], "objectId": "pl-other", "status": "IN_PROGRESS"},
        {"spanId": "not-ours", "traceId": "tr-other", "objectId": "pl-hang", "status": "IN_PROGRESS"},
        {"traceId": run.ids["trace_id"]},
        "what is this",
    ]
    shift.box.fault("vectorshift", "list", "body", body={"events": events})
    assert [found.run_id for found in shift.drive(shift.vendor.find(run.ids))] == [run.run_id]


def test_find_says_what_to_do_where_the_analytics_cannot_be_asked(shift: Shift) -> None:
    shift.box.fault("vectorshift", "list", "status", status=403)
    with pytest.raises(StartUncertain, match=r"do not tell whether a run with trace id tr-1 was started: .*HTTP 403"):
        shift.drive(shift.vendor.find({"pipeline_id": "pl-hang", "trace_id": "tr-1"}))


def test_find_does_not_hide_a_run_that_it_cannot_reach(shift: Shift) -> None:
    event = {"spanId": "span-1", "traceId": "tr-1", "objectId": "pl-hang", "status": "IN_PROGRESS"}
    shift.box.fault("vectorshift", "list", "body", body={"events": [event]})
    with pytest.raises(StartUncertain, match="none can be read under its id span-1") as error:
        shift.drive(shift.vendor.find({"pipeline_id": "pl-hang", "trace_id": "tr-1"}))
    assert error.value.candidates == ("span-1",)


# -- look --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("in_progress", RunState.RUNNING),
        ("running", RunState.RUNNING),
        ("completed", RunState.SUCCEEDED),
        ("succeeded", RunState.SUCCEEDED),
        ("failed", RunState.FAILED),
        ("cancelled", RunState.STOPPED),
        ("COMPLETED", RunState.SUCCEEDED),
        ("In_Progress", RunState.RUNNING),
        ("paused", RunState.UNKNOWN),
        ("success", RunState.UNKNOWN),
    ],
)
def test_both_documented_sets_of_words_are_read_in_any_case_and_others_are_live(
    shift: Shift, word: str, state: RunState
) -> None:
    run = shift.start()
    shift.box.set_run(run.run_id, word)
    status = shift.status(run)
    assert (status.state, status.vendor_state) == (state, word)
    assert status.state.is_terminal == (state in {RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED})


def test_an_unknown_word_is_logged_once(shift: Shift, caplog: pytest.LogCaptureFixture) -> None:
    vendors_base._warn_unknown_word.cache_clear()
    run = shift.start()
    shift.box.set_run(run.run_id, "dreaming")
    with caplog.at_level(logging.WARNING):
        assert [shift.status(run).state for _ in range(3)] == [RunState.UNKNOWN] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "VectorShift: state 'dreaming' is not documented. The run is taken for live; only a limit or a stop ends the "
        "wait."
    ]


def test_a_failed_run_tells_its_reason(shift: Shift) -> None:
    run = shift.start()
    shift.box.set_run(run.run_id, "failed", "node llm: model unavailable")
    assert shift.status(run) == RunStatus(RunState.FAILED, "failed", "node llm: model unavailable")


def test_a_reason_may_be_null(shift: Shift) -> None:
    run = shift.start()
    shift.box.set_run(run.run_id, "cancelled")
    assert shift.status(run).message is None


@pytest.mark.parametrize("words", ["sdk", "guide"])
def test_the_outputs_are_the_result(shift: Shift, words: str) -> None:
    shift.box.behave("vectorshift", "pl-summary", run_seconds=0.0, words=words)
    status = shift.status(shift.start("pl-summary"))
    assert (status.state, status.result) == (RunState.SUCCEEDED, {"summary": "two lines"})


def test_a_result_that_lags_behind_is_waited_for(shift: Shift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESULT_PAUSES", (0.1,) * 300)
    shift.box.behave("vectorshift", "pl-summary", run_seconds=0.0, result_lag_seconds=3600.0)
    run = shift.start("pl-summary")

    def come_after_a_look() -> None:
        eventually(lambda: shift.sent("status"))
        shift.box.behave("vectorshift", "pl-summary", result_lag_seconds=0.0)

    coming = threading.Thread(target=come_after_a_look)
    coming.start()
    status = shift.status(run)
    coming.join()
    assert (status.state, status.result) == (RunState.SUCCEEDED, {"summary": "two lines"})
    assert len(shift.sent("status")) >= 2


def test_a_result_that_never_comes_is_no_error(shift: Shift) -> None:
    shift.box.behave("vectorshift", "pl-summary", run_seconds=0.0, result_lag_seconds=3600.0)
    status = shift.status(shift.start("pl-summary"))
    assert (status.state, status.vendor_state, status.result) == (RunState.SUCCEEDED, "completed", None)
    assert len(shift.sent("status")) == 1 + len(module.RESULT_PAUSES)


def test_the_wait_for_a_result_is_the_sdks_thirty_seconds() -> None:
    assert sum(module.RESULT_PAUSES) == 30


def test_that_a_run_is_completed_is_not_forgotten_when_the_wait_for_its_result_fails(shift: Shift) -> None:
    shift.box.behave("vectorshift", "pl-summary", run_seconds=0.0, result_lag_seconds=3600.0)
    run = shift.start("pl-summary")
    shift.box.fault("vectorshift", "status", "latency", count=1)
    shift.box.fault("vectorshift", "status", "status", status=500)
    assert shift.status(run) == RunStatus(RunState.SUCCEEDED, "completed", None, None)


def test_a_result_that_is_null_or_empty_is_not_waited_for(shift: Shift) -> None:
    run = shift.start()
    for result in (None, {}):
        shift.box.clear_requests()
        body = {"task_id": run.run_id, "status": "completed", "result": result, "more": "of it"}
        shift.box.fault("vectorshift", "status", "body", body=body, count=1)
        assert shift.status(run).result == result
        assert len(shift.sent("status")) == 1


def test_a_failed_that_names_no_run_is_a_failed_call_and_not_a_failed_run(shift: Shift) -> None:
    run = shift.start()
    shift.box.fault("vectorshift", "status", "body", body={"status": "failed", "error": "try later"})
    with pytest.raises(
        VendorError, match=r"did not carry out the look at run .*HTTP 200, but status failed .try later"
    ):
        shift.status(run)


@pytest.mark.parametrize("body", [{}, {"status": 3}, [], "completed"])
def test_a_look_without_a_state_is_a_bad_answer(shift: Shift, body: Any) -> None:
    run = shift.start()
    shift.box.fault("vectorshift", "status", "body", body=body)
    with pytest.raises(BadAnswer):
        shift.status(run)


# -- terminate ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["sdk", "guide"])
def test_terminate_sends_run_id_and_counts_cancelled_and_failed_as_stopped(shift: Shift, words: str) -> None:
    shift.box.behave("vectorshift", "pl-hang", words=words, stop_seconds=0.2)
    run = shift.start()
    result = shift.stop(run)
    assert result.outcome is StopOutcome.STOPPED
    assert result.status is not None
    assert result.status.vendor_state == {"sdk": "failed", "guide": "cancelled"}[words]
    assert shift.sent("stop") == [{"run_id": run.run_id}]
    assert shift.box.requests(vendor="vectorshift", operation="stop")[0]["path"].endswith("/pipeline/pl-hang/terminate")
    assert shift.box.open_runs() == []


def test_a_run_that_completes_before_the_stop_lands_finished_first(shift: Shift) -> None:
    shift.box.behave("vectorshift", "pl-hang", stop_seconds=None)
    run = shift.start()
    shift.box.fault("vectorshift", "status", "status", status=500, count=1)
    shift.box.fault("vectorshift", "status", "body", body={"task_id": run.run_id, "status": "completed", "result": 1})
    assert shift.stop(run).outcome is StopOutcome.ALREADY_FINISHED


@pytest.mark.parametrize("word", ["completed", "failed", "cancelled"])
def test_a_run_that_is_over_is_not_terminated(shift: Shift, word: str) -> None:
    run = shift.start()
    shift.box.set_run(run.run_id, word)
    assert shift.stop(run).outcome is StopOutcome.ALREADY_FINISHED
    assert shift.sent("stop") == []


def test_a_terminate_answered_failed_is_an_error_that_says_what_to_do(shift: Shift) -> None:
    run = shift.start()
    shift.box.behave("vectorshift", "pl-hang", failing_calls=["stop"])
    with pytest.raises(VendorError, match=r"did not carry out the terminate of run .*HTTP 200.*look at it"):
        shift.drive(shift.vendor.ask_stop(run))


def test_a_terminate_answered_failed_of_a_live_run_ends_as_cannot_stop(shift: Shift) -> None:
    run = shift.start()
    shift.box.behave("vectorshift", "pl-hang", failing_calls=["stop"])
    with pytest.raises(CannotStop, match=r"did not take the stop of run .* the run may be alive"):
        shift.stop(run, timeout=0.5)
    assert len(shift.box.open_runs()) == 1


@pytest.mark.parametrize("trouble", ["failed in the body", 400, 500])
def test_a_refused_terminate_of_a_run_that_is_over_by_now_is_no_error(shift: Shift, trouble: str | int) -> None:
    run = shift.start()
    over = {"task_id": run.run_id, "status": "failed", "error": None}
    shift.box.fault("vectorshift", "status", "latency", count=1)
    shift.box.fault("vectorshift", "status", "body", body=over)
    if isinstance(trouble, int):
        shift.box.fault("vectorshift", "stop", "status", status=trouble)
    else:
        shift.box.behave("vectorshift", "pl-hang", failing_calls=["stop"])
    assert shift.stop(run).outcome is StopOutcome.ALREADY_FINISHED
    assert len(shift.sent("stop")) == 1


def test_a_stop_answered_with_another_word_is_believed_only_when_the_run_is_seen_to_be_over(shift: Shift) -> None:
    run = shift.start()
    shift.box.fault("vectorshift", "stop", "body", body={"status": "active", "news": [1]})
    assert shift.stop(run, timeout=0.5).outcome is StopOutcome.REQUESTED


def test_a_terminate_that_did_nothing_is_asked_for_again(shift: Shift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VectorShift, "stop_again_after", (0.1,))
    run = shift.start()
    shift.box.fault("vectorshift", "stop", "body", body={"status": "success"}, count=1)
    assert shift.stop(run).outcome is StopOutcome.STOPPED
    assert len(shift.sent("stop")) == 2


def test_an_answer_that_is_not_vectorshifts_is_no_accepted_stop(shift: Shift) -> None:
    run = shift.start()
    shift.box.fault("vectorshift", "stop", "garbage")
    with pytest.raises(CannotStop, match="is not JSON"):
        shift.stop(run, timeout=0.5)


# -- pause and resume --------------------------------------------------------------------------------------


def test_pause_sends_one_id_and_resume_a_list_of_one(shift: Shift) -> None:
    run = shift.start()
    shift.drive(shift.vendor.ask_pause(run))
    assert shift.box.runs(run_id=run.run_id)[0]["state"] == "paused"
    assert shift.status(run).state is RunState.UNKNOWN, "no document has a word for it, so it is live"
    shift.drive(shift.vendor.ask_resume(run))
    assert shift.box.runs(run_id=run.run_id)[0]["state"] == "in_progress"
    assert shift.sent("pause") == [{"run_id": run.run_id}]
    assert shift.sent("resume") == [{"run_ids": [run.run_id]}]


@pytest.mark.parametrize("operation", ["pause", "resume"])
def test_a_pause_or_resume_answered_failed_is_an_error(shift: Shift, operation: str) -> None:
    run = shift.start()
    shift.box.behave("vectorshift", "pl-hang", failing_calls=[operation])
    with pytest.raises(VendorError, match=rf"did not carry out the {operation} of run .*HTTP 200, but status failed"):
        shift.drive({"pause": shift.vendor.ask_pause, "resume": shift.vendor.ask_resume}[operation](run))


def test_a_run_that_is_over_is_not_paused(shift: Shift) -> None:
    run = shift.start()
    shift.box.set_run(run.run_id, "completed")
    shift.drive(shift.vendor.ask_pause(run))
    assert shift.sent("pause") == []


def test_a_run_that_is_over_is_not_resumed_and_that_is_said(shift: Shift) -> None:
    run = shift.start()
    shift.box.set_run(run.run_id, "cancelled")
    with pytest.raises(RunctlError, match="is cancelled; a run that is over is not resumed"):
        shift.drive(shift.vendor.ask_resume(run))
    assert shift.sent("resume") == []


def test_a_resume_without_an_answer_is_not_sent_again(shift: Shift) -> None:
    run = shift.start()
    shift.drive(shift.vendor.ask_pause(run))
    shift.box.fault("vectorshift", "resume", "cut")
    with pytest.raises(TransportError):
        shift.drive(shift.vendor.ask_resume(run))
    assert len(shift.sent("resume")) == 1


# -- lists and test ----------------------------------------------------------------------------------------


def test_all_pages_of_a_pipelines_runs_are_listed_once_each(shift: Shift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    monkeypatch.setattr(analytics, "PAGE", 2)
    runs = [shift.start() for _ in range(5)]
    shift.start("pl-summary")
    shift.box.set_run(runs[0].run_id, "failed", "no model")
    listed = shift.drive(shift.vendor.list_runs("pl-hang"))
    assert {run.run_id for run in listed} == {run.run_id for run in runs}
    assert [body["pagination_config"]["offset"] for body in shift.sent("list")] == [0, 2, 4]
    [failed] = [run for run in listed if run.run_id == runs[0].run_id]
    assert failed.status == RunStatus(RunState.FAILED, "failure", "no model")
    assert failed.trace_id == runs[0].ids["trace_id"]
    live = shift.drive(shift.vendor.list_runs("pl-hang", "in_progress"))
    assert {run.run_id for run in live} == {run.run_id for run in runs[1:]}


def test_a_list_that_has_no_end_is_an_error_that_says_so(shift: Shift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    monkeypatch.setattr(module, "MOST_PAGES", 3)
    for number in range(3):
        events = [{"spanId": f"{number}-{one}", "status": "SUCCESS"} for one in range(2)]
        shift.box.fault("vectorshift", "list", "body", body={"events": events}, count=1)
    with pytest.raises(BadAnswer, match="goes on after 6 of them; the rest was not read"):
        shift.drive(shift.vendor.list_runs("pl-hang"))


def test_a_list_whose_pages_repeat_ends(shift: Shift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 1)
    shift.box.fault("vectorshift", "list", "body", body={"events": [{"spanId": "same", "status": "SUCCESS"}]})
    assert [run.run_id for run in shift.drive(shift.vendor.list_runs("pl-hang"))] == ["same"]
    assert len(shift.sent("list")) == 2


def test_pipelines_are_listed(shift: Shift) -> None:
    listed = shift.drive(shift.vendor.list_pipelines())
    assert {"_id": "pl-summary", "name": "summary"} in listed
    shift.box.fault("vectorshift", "pipelines", "body", body={"status": "success", "object_ids": ["pl-1"]})
    assert shift.drive(shift.vendor.list_pipelines()) == [{"id": "pl-1"}]


def test_a_list_answered_failed_is_no_empty_list(shift: Shift) -> None:
    shift.box.fault("vectorshift", "pipelines", "body", body={"status": "failed", "object_ids": []})
    with pytest.raises(VendorError, match="did not carry out the list of pipelines"):
        shift.drive(shift.vendor.list_pipelines())


def test_the_connection_test_says_how_many_pipelines_the_key_sees(shift: Shift) -> None:
    said = shift.drive(shift.vendor.test())
    assert said == "Reached VectorShift with this API key; it sees 3 pipelines."


# -- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"status": "failed", "error": "first", "message": "second"}, "first"),
        ({"message": "second", "detail": "third"}, "second"),
        ({"detail": [{"loc": ["body"], "message": "third"}], "errors": "fourth"}, "third"),
        ({"error": None, "errors": ["fourth", {"message": "fifth"}]}, "fourth; fifth"),
        ({"errors": "fourth"}, "fourth"),
        ({"what": "else"}, '{"what": "else"}'),
    ],
)
def test_the_text_of_an_error_is_looked_for_where_the_sdk_looks(body: Any, text: str) -> None:
    assert answers.said_in(HttpResponse(500, {}, json.dumps(body).encode())) == text


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (401, LoginRefused, "Check the API key in the password of the connection."),
        (403, LoginRefused, "The API key is good, but not allowed to do this."),
        (404, NotFound, "No such pipeline or run, or it is hidden from this API key."),
        (422, VendorError, "The names and types of the inputs must be those of the pipeline's input nodes."),
        (429, RateLimited, "Too many calls for this organisation."),
        (500, VendorError, ""),
    ],
)
def test_an_http_status_becomes_an_error_that_says_what_to_do(
    shift: Shift, status: int, error: type[VendorError], hint: str
) -> None:
    run = shift.start()
    shift.box.fault("vectorshift", "status", "status", status=status)
    with pytest.raises(VendorError) as raised:
        shift.status(run)
    assert type(raised.value) is error
    assert str(raised.value) == f"VectorShift answered HTTP {status}: out of order. {hint}".strip()


def test_a_401_has_a_body_of_its_own(shift: Shift, connections: Connections) -> None:
    shift.access = connections.access("vectorshift_default", password="wrong-key")
    with pytest.raises(LoginRefused, match=r"HTTP 401: Invalid API key. Check the API key") as error:
        shift.drive(shift.vendor.test())
    assert "wrong-key" not in str(error.value)


def test_no_representation_shows_the_key(shift: Shift) -> None:
    request = shift.vendor.request("GET", "pipelines")
    for value in (shift.vendor, shift.access, request, shift.start()):
        assert shift.box.seed not in repr(value)


@pytest.mark.parametrize("ids", [-1, "p", {"a": 1}])
def test_list_of_pipelines_that_is_none_is_a_bad_answer(
    client: Client, box: Sandbox, connections: Any, ids: Any
) -> None:
    access = connections.access("vectorshift_default")
    box.fault("vectorshift", "any", "body", body={"object_ids": ids})
    with pytest.raises(BadAnswer, match="is no list"):
        client.drive(access, access.vendor.list_pipelines())
