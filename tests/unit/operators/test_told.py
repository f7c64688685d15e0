"""What is told of a run, from its start to its end: metrics, spans, the audit log; each once, and no secret in any."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl import metrics
from airflow_runctl.control import audit
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomStopRunOperator
from airflow_runctl.operators.vectorshift import VectorShiftPauseRunOperator, VectorShiftRunPipelineOperator
from airflow_runctl.runs import HANDLE_KEY, ExternalRun, Owner, RunState, RunStatus, StopReason, TaskKey
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.transport.aio import close_session
from tests.fakes.airflow_any import Attempt
from tests.servers.statsd import Statsd, statsd_of
from tests.unit.later import Later
from tests.unit.operators.tasks import MODES, Tasks, ends, sigterm
from tests.unit.versions import needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")

TASK = "dag_id=harvest,task_id=start"


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Statsd]:
    with statsd_of(monkeypatch) as server:
        yield server


def counted(statsd: Statsd) -> list[str]:
    """Return what was counted, without how many looks there were, how long a stop took, and what was not answered.

    A limit or a kill cuts a look short that is under way, which on a busy machine is any.
    """
    lines = [line for line in statsd.lines() if not line.startswith("runctl.polls") and "no_answer" not in line]
    return sorted(line.rpartition(":")[0] if line.endswith("|ms") else line.removesuffix(":1|c") for line in lines)


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Any:
    """Return what the audit log says, an event a line."""
    caplog.set_level(logging.INFO, "airflow_runctl.audit")

    def said() -> list[dict[str, Any]]:
        lines = [record.getMessage() for record in caplog.records if record.name == "airflow_runctl.audit"]
        return [json.loads(line) for line in lines]

    return said


def names(said: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in said if event["event"] != "state"]


@pytest.mark.parametrize(("vendor", "mode"), [("axiom", "worker"), ("snaplogic", "deferred")])
def test_a_run_that_ends_well(tasks: Tasks, box: Sandbox, statsd: Statsd, events: Any, vendor: str, mode: str) -> None:
    ends(box, vendor, good=True, seconds=0.05)
    attempt = tasks.run(lambda **more: tasks.start(vendor, **more), mode)

    assert attempt.state == "success", attempt.said
    assert counted(statsd) == [
        f"runctl.runs_ended,vendor={vendor},state=succeeded,{TASK}",
        f"runctl.runs_started,vendor={vendor},{TASK}",
    ]
    said = events()
    assert names(said) == ["started", "ended"]
    started, ended = (event for event in said if event["event"] != "state")
    run_id = attempt.result["run_id"]
    assert {event["run_id"] for event in said} == {run_id}
    assert (started["vendor"], started["task"], started["try_number"]) == (vendor, "harvest/manual__1/start", 1)
    assert (ended["state"], ended["vendor_state"]) == ("succeeded", attempt.result["vendor_state"])
    assert ended["seconds"] > 0
    words = [event["vendor_state"] for event in said if event["event"] == "state"]
    assert len(words) == len(set(words)) >= 1, "a change is told, not a look"


@pytest.mark.parametrize("mode", MODES)
def test_looks_are_counted(tasks: Tasks, box: Sandbox, statsd: Statsd, mode: str) -> None:
    ends(box, "axiom", good=True, seconds=1.0)
    tasks.run(lambda **more: tasks.axiom(**more), mode)
    polls = [line for line in statsd.lines() if line.startswith("runctl.polls,vendor=axiom:")]
    looked = len(box.requests(operation="status"))
    assert sum(int(line.rpartition(":")[2].removesuffix("|c")) for line in polls) == looked > 1
    assert len(polls) < looked, "they are added up"


@pytest.mark.parametrize("mode", MODES)
def test_a_limit(tasks: Tasks, statsd: Statsd, events: Any, mode: str) -> None:
    attempt = tasks.run(lambda **more: tasks.axiom(max_runtime=timedelta(seconds=0.1), **more), mode)

    assert "took longer than max_runtime" in attempt.said
    assert counted(statsd) == [
        f"runctl.runs_ended,vendor=axiom,state=stopped,{TASK}",
        f"runctl.runs_started,vendor=axiom,{TASK}",
        "runctl.stop_duration,vendor=axiom,reason=max_runtime",
        f"runctl.stops,vendor=axiom,reason=max_runtime,outcome=stopped,{TASK}",
    ]
    said = events()
    assert names(said) == ["started", "stop", "ended"]
    (stop,) = (event for event in said if event["event"] == "stop")
    assert (stop["why"], stop["outcome"], stop["by"]) == (
        "max_runtime",
        "stopped",
        "triggerer" if mode == "deferred" else "worker",
    )


@needs_task_store
def test_a_run_that_a_further_try_goes_on_with_is_started_once(
    tasks: Tasks, box: Sandbox, statsd: Statsd, events: Any
) -> None:
    """The first try is lost while its run goes on."""
    tasks.fake.run(tasks.axiom(deferrable=True), retries=1)
    ends(box, "axiom", good=True, seconds=0.05)
    box.set_run(box.runs()[0]["run_id"], "Success")
    assert tasks.run(lambda **more: tasks.axiom(**more), try_number=2).state == "success"
    assert counted(statsd) == [
        f"runctl.runs_ended,vendor=axiom,state=succeeded,{TASK}",
        f"runctl.runs_started,vendor=axiom,{TASK}",
    ]
    said = events()
    assert names(said) == ["started", "taken_over", "ended"]
    over = next(event for event in said if event["event"] == "taken_over")
    assert (over["why"], over["try_number"]) == ("left by attempt 1", 2)


def test_a_kill_that_is_refused_because_the_task_goes_on(tasks: Tasks, statsd: Statsd, events: Any) -> None:
    attempt = tasks.fake.run(tasks.axiom(deferrable=True))
    kill(tasks, attempt)
    assert counted(statsd) == [f"runctl.runs_started,vendor=axiom,{TASK}"]
    refused = events()[-1]
    assert (refused["event"], refused["outcome"], refused["why"]) == ("stop", "refused", "its task still follows it")


def test_a_handle_that_does_not_open_is_refused(tasks: Tasks, statsd: Statsd, events: Any) -> None:
    """Nothing that stands in it is told: whoever may write XComs could have put it there."""
    tasks.fake.run(tasks.axiom(deferrable=True))
    tasks.fake.put_xcom("start", HANDLE_KEY, {**tasks.handle(), "token": "2gAAAA", "vendor": "axiom", "run_id": "evil"})
    with pytest.raises(RunctlError):
        deadline(tasks)
    assert counted(statsd) == [f"runctl.runs_started,vendor=axiom,{TASK}"]
    refused = events()[-1]
    assert (refused["event"], refused["outcome"], refused["task"]) == ("stop", "refused", "harvest/manual__1/start")
    assert "run_id" not in refused


def test_the_time_of_a_stop_counts_from_when_its_limit_passed(tasks: Tasks, statsd: Statsd, events: Any) -> None:
    """As after an hour in which no triggerer was alive."""
    attempt = tasks.fake.run(tasks.axiom(deferrable=True))
    assert attempt.deferral is not None
    attempt.deferral.trigger_kwargs["limits"] = {"max_runtime": time.time() - 3600}
    tasks.event(attempt)
    (line,) = (line for line in statsd.lines() if line.startswith("runctl.stop_duration"))
    assert float(line.rpartition(":")[2].removesuffix("|ms")) >= 3600_000
    (stop,) = (event for event in events() if event["event"] == "stop")
    assert stop["seconds"] >= 3600


def deadline(tasks: Tasks, **more: Any) -> None:
    """Stop what the Dag run has running, as a deadline's callback does."""

    async def notify() -> None:
        context: Any = {
            "dag_run": {"dag_id": tasks.fake.dag_id, "dag_run_id": tasks.fake.run_id},
            "deadline": {"id": "d-1", "deadline_time": "2026-01-01T00:00:00Z"},
        }
        try:
            await StopRunsNotifier(stop_timeout=5.0, context=context, **more).async_notify(context)
        finally:
            await close_session()

    asyncio.run(notify())


def test_a_deadline_and_the_task_that_sees_its_run_stopped_tell_one_end(
    tasks: Tasks, statsd: Statsd, events: Any
) -> None:
    attempt = tasks.run(
        lambda **more: tasks.axiom(**more),
        "deferred",
        between=lambda _: deadline(tasks, stop_reason="too late"),
    )

    assert "was stopped: deadline (too late)" in attempt.said
    assert counted(statsd) == [
        f"runctl.runs_ended,vendor=axiom,state=stopped,{TASK}",
        f"runctl.runs_started,vendor=axiom,{TASK}",
        "runctl.stop_duration,vendor=axiom,reason=deadline",
        f"runctl.stops,vendor=axiom,reason=deadline,outcome=stopped,{TASK}",
    ]
    said = events()
    assert names(said) == ["started", "stop", "ended"]
    stop = next(event for event in said if event["event"] == "stop")
    assert (stop["why"], stop["by"]) == ("deadline: too late", "deadline callback")
    assert stop["seconds"] > 24 * 3600, "from when the deadline passed, not from when its callback came"


def test_a_task_that_sees_the_end_before_the_deadline_does_tells_it_alone(tasks: Tasks, statsd: Statsd) -> None:
    ends(tasks.box, "axiom", good=True, seconds=0.05)
    attempt = tasks.run(lambda **more: tasks.axiom(**more), "deferred")
    assert attempt.state == "success"
    deadline(tasks)
    assert counted(statsd) == [
        f"runctl.runs_ended,vendor=axiom,state=succeeded,{TASK}",
        f"runctl.runs_started,vendor=axiom,{TASK}",
    ]


def kill(tasks: Tasks, attempt: Attempt) -> None:
    """Tell the trigger of a deferred attempt that a user has acted on its task."""
    deferral = attempt.deferral
    assert deferral is not None

    async def killed() -> None:
        try:
            await tasks.fake.trigger_of(deferral, attempt).on_kill()
        finally:
            await close_session()

    asyncio.run(killed())


@pytest.mark.parametrize("late", [False, True])
def test_a_killed_task(
    tasks: Tasks, box: Sandbox, statsd: Statsd, events: Any, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted inside the signal handler, told after it; what is confirmed only later takes the first word back."""

    def stops() -> list[dict[str, Any]]:
        return [event for event in events() if event["event"] == "stop"]

    def kill() -> None:
        time.sleep(0.5)  # until it sleeps: a kill right between the look and the sleep is told at the end alone
        sigterm()
        if late:
            eventually(stops)
            box.set_run(box.runs()[0]["run_id"], "Stopped")

    if late:
        box.behave("snaplogic", "early-hang", stop_seconds=3600)
        monkeypatch.setattr("airflow_runctl.control.kill.KILL_SECONDS", 0.1)
        monkeypatch.setattr("airflow_runctl.control.attempt.KILLED_LOOK", 0.1)
    with Later(lambda: box.requests(operation="status"), kill):
        attempt = tasks.run(lambda **more: tasks.snaplogic(**{**more, "poll_interval": 30.0}))

    assert "The task was killed" in attempt.said
    outcomes = ["confirmed_late", "requested"] if late else ["stopped"]
    assert counted(statsd) == [
        f"runctl.runs_ended,vendor=snaplogic,state=stopped,{TASK}",
        f"runctl.runs_started,vendor=snaplogic,{TASK}",
        "runctl.stop_duration,vendor=snaplogic,reason=killed",
        *(f"runctl.stops,vendor=snaplogic,reason=killed,outcome={outcome},{TASK}" for outcome in outcomes),
    ]
    assert [event["outcome"] for event in stops()] == (["requested", "stopped"] if late else ["stopped"])


def test_a_user_who_acts_on_a_deferred_task(tasks: Tasks, statsd: Statsd, events: Any) -> None:
    attempt = tasks.fake.run(tasks.axiom(deferrable=True))
    tasks.fake.states["start"] = "failed"
    kill(tasks, attempt)
    assert counted(statsd) == [
        f"runctl.runs_ended,vendor=axiom,state=stopped,{TASK}",
        f"runctl.runs_started,vendor=axiom,{TASK}",
        "runctl.stop_duration,vendor=axiom,reason=user",
        f"runctl.stops,vendor=axiom,reason=user,outcome=stopped,{TASK}",
    ]
    assert names(events()) == ["started", "stop", "ended"]


def test_a_stop_by_hand_of_a_run_that_belongs_to_the_dag_run(tasks: Tasks, statsd: Statsd, events: Any) -> None:
    result = tasks.leave_running("axiom")
    with tasks.fake.dag():
        stop = AxiomStopRunOperator(task_id="stop", external_run=result, stop_reason="night is over")
    assert tasks.fake.run(stop).state == "success"
    assert counted(statsd) == [
        f"runctl.runs_ended,vendor=axiom,state=stopped,{TASK}",
        f"runctl.runs_started,vendor=axiom,{TASK}",
        "runctl.stop_duration,vendor=axiom,reason=by_hand",
        f"runctl.stops,vendor=axiom,reason=by_hand,outcome=stopped,{TASK}",
    ]
    stopped = next(event for event in events() if event["event"] == "stop")
    assert (stopped["by"], stopped["why"]) == ("task stop", "by_hand: night is over")


def test_a_stop_that_the_vendor_does_not_take(tasks: Tasks, box: Sandbox, statsd: Statsd, events: Any) -> None:
    result = tasks.leave_running("axiom")
    box.fault("axiom", "stop", "status", status=403)
    with tasks.fake.dag():
        stop = AxiomStopRunOperator(task_id="stop", external_run=result, stop_timeout=0.3)
    assert tasks.fake.run(stop).state == "failed"
    assert counted(statsd) == [
        f"runctl.runs_started,vendor=axiom,{TASK}",
        f"runctl.stops,vendor=axiom,reason=by_hand,outcome=failed,{TASK}",
        "runctl.vendor_errors,vendor=axiom,kind=login_refused",
    ]
    stopped = next(event for event in events() if event["event"] == "stop")
    assert stopped["outcome"] == "failed"
    assert "did not take the stop" in stopped["error"]


def test_bad_looks_are_errors_of_the_vendor(tasks: Tasks, box: Sandbox, statsd: Statsd) -> None:
    ends(box, "axiom", good=True, seconds=0.05)
    box.fault("axiom", "status", "garbage", count=1)
    attempt = tasks.run(lambda **more: tasks.axiom(**more))
    assert attempt.state == "success", attempt.said
    assert "runctl.vendor_errors,vendor=axiom,kind=bad_answer" in counted(statsd)


def test_a_start_that_is_refused(tasks: Tasks, box: Sandbox, statsd: Statsd, events: Any) -> None:
    box.fault("axiom", "start", "status", status=403, count=1)
    attempt = tasks.run(lambda **more: tasks.axiom(**more))
    assert attempt.state == "failed"
    assert counted(statsd) == ["runctl.vendor_errors,vendor=axiom,kind=start_refused"]
    (said,) = events()
    assert (said["event"], said["outcome"], said["task"]) == ("start_failed", "StartRefused", "harvest/manual__1/start")


def test_a_task_does_not_end_before_airflow_has_what_was_counted(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch, statsd: Statsd
) -> None:
    """Its process is gone then. An Airflow that takes its time is waited for a while."""
    arrived: list[str] = []

    def slowly(name: str, *_: Any) -> None:
        time.sleep(0.02)
        arrived.append(name)

    monkeypatch.setattr(metrics, "add_to_counter", slowly)
    assert tasks.leave_running("axiom")
    assert arrived == ["runctl.runs_started"]

    with tasks.fake.dag():
        stop = AxiomStopRunOperator(task_id="stop", external_run=tasks.handle())
    assert tasks.fake.run(stop).state == "success"
    assert arrived == ["runctl.runs_started", "runctl.stops", "runctl.runs_ended"]


def test_an_orphan_that_a_sweep_finds(tasks: Tasks, statsd: Statsd, events: Any) -> None:
    owner = Owner(TaskKey("harvest", "manual__1", "start"), 1)
    run = ExternalRun("axiom", "axiom_default", "r-1", None, datetime.now(UTC), {}, owner)
    audit.orphan_found(run, RunStatus(RunState.RUNNING, "Running"), "sweep of ops")
    assert counted(statsd) == [f"runctl.orphans_found,vendor=axiom,{TASK}"]
    (said,) = events()
    assert (said["event"], said["run_id"], said["state"], said["by"]) == ("orphan", "r-1", "running", "sweep of ops")


def test_a_pause_is_told(tasks: Tasks, box: Sandbox, events: Any) -> None:
    with tasks.fake.dag():
        start = VectorShiftRunPipelineOperator(task_id="start", pipeline_id="pl-hang", wait_for_completion=False)
    result = tasks.fake.run(start).result
    with tasks.fake.dag():
        pause = VectorShiftPauseRunOperator(task_id="pause", external_run=result)
    came = tasks.fake.run(pause)
    said = [event for event in events() if event["event"] == "pause"]
    assert [(event["by"], event["outcome"]) for event in said] == [("task pause", came.result["outcome"])]


def test_telling_never_fails(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no more")

    for name in ("count", "took", "tell_span", "_line"):
        monkeypatch.setattr(audit, name, fail)
    run: Any = object()
    audit.started(run, "worker", 1.0)
    audit.stopped(run, "worker", StopReason.USER, None, run, None, 1.0)
    assert caplog.text.count("Could not tell of an event") == 2


# -- spans ------------------------------------------------------------------------------------------------------


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the spans that were told, by OpenTelemetry's own SDK, which Airflow brings."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)

    def found() -> dict[str, Any]:
        return {span.name: span for span in exporter.get_finished_spans()}

    with provider.get_tracer("airflow").start_as_current_span("task"):
        yield found


@pytest.mark.parametrize("mode", MODES)
def test_spans_are_told_below_the_one_that_is_current(tasks: Tasks, spans: Any, mode: str) -> None:
    from opentelemetry import trace

    attempt = tasks.run(lambda **more: tasks.axiom(max_runtime=timedelta(seconds=0.1), **more), mode)

    assert "took longer than max_runtime" in attempt.said
    found = spans()
    ours = {name: span for name, span in found.items() if name.startswith("runctl.")}
    assert set(ours) == {"runctl.start", "runctl.watch", "runctl.stop"}
    current = trace.get_current_span().get_span_context()
    assert {span.context.trace_id for span in ours.values()} == {current.trace_id}
    run_id = tasks.audit()["run_id"]
    expected = {"runctl.vendor": "axiom", "runctl.conn_id": "axiom_default", "runctl.run_id": run_id}
    for span in ours.values():
        assert expected.items() <= dict(span.attributes).items()
        assert span.start_time < span.end_time
        assert tasks.box.seed not in span.to_json()
    stop = dict(ours["runctl.stop"].attributes)
    # "failed" is what axiom.ai calls it.
    assert [stop[f"runctl.{name}"] for name in ("reason", "outcome", "state")] == ["max_runtime", "stopped", "failed"]


def test_a_kill_of_a_trigger_stays_in_the_trace(tasks: Tasks, spans: Any) -> None:
    """Its stop runs in nobody's name, and is a part of the task's trace all the same."""
    from opentelemetry import trace

    attempt = tasks.fake.run(tasks.axiom(deferrable=True))
    tasks.fake.states["start"] = "failed"
    kill(tasks, attempt)
    stop = spans()["runctl.stop"]
    assert stop.parent.span_id == trace.get_current_span().get_span_context().span_id


def test_a_start_that_failed_is_an_error_of_its_span(tasks: Tasks, box: Sandbox, spans: Any) -> None:
    box.fault("axiom", "start", "status", status=403, count=1)
    tasks.run(lambda **more: tasks.axiom(**more))
    span = spans()["runctl.start"]
    assert (span.status.is_ok, span.status.description) == (False, "StartRefused")
