"""What happened to a task instance's runs is kept for people; no stop, no limit and no other record waits for that."""

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from airflow_runctl.compat import TRIGGERS_HEAR_OF_KILLS
from airflow_runctl.control import remember
from airflow_runctl.control.history import MOST
from airflow_runctl.control.records import HISTORY_STORE_KEY
from airflow_runctl.operators.axiom import AxiomStopRunOperator
from airflow_runctl.operators.vectorshift import VectorShiftPauseRunOperator, VectorShiftRunPipelineOperator
from airflow_runctl.runs import HISTORY_KEY
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.aio import close_session
from tests.unit.later import Later
from tests.unit.operators.tasks import MODES, Tasks, ends, sigterm
from tests.unit.operators.test_told import deadline, kill
from tests.unit.versions import needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")


def history(tasks: Tasks) -> list[dict[str, Any]]:
    return tasks.fake.xcom("start", HISTORY_KEY) or []


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events if event["event"] != "state"]


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_ends_well(tasks: Tasks, box: Sandbox, mode: str) -> None:
    ends(box, "axiom", good=True, seconds=0.1)
    attempt = tasks.run(lambda **more: tasks.axiom(**more), mode)
    assert attempt.state == "success", attempt.said
    events = history(tasks)
    assert names(events) == ["started", "ended"]
    words = [event["vendor_state"] for event in events if event["event"] == "state"]
    assert len(words) == len(set(words)) >= 1
    started, ended = events[0], events[-1]
    assert (started["by"], started["try_number"], started["run_id"]) == ("worker", 1, attempt.result["run_id"])
    assert (ended["outcome"], ended["state"]) == ("succeeded", "succeeded")
    assert sorted(event["at"] for event in events) == [event["at"] for event in events]
    if tasks.fake.has_store:
        assert tasks.fake.store["harvest", "manual__1", "start", -1][HISTORY_STORE_KEY] == events


@pytest.mark.parametrize("mode", MODES)
def test_that_there_is_none_yet_is_no_line_in_the_log(tasks: Tasks, box: Sandbox, mode: str) -> None:
    """Airflow 3.1 and 3.2 warn of each XCom that they are asked for and do not have."""
    ends(box, "axiom", good=True, seconds=0.1)
    tasks.run(lambda **more: tasks.axiom(**more), mode)
    assert [row for row in tasks.fake.logs if "No XCom" in str(row["event"])] == []


@pytest.mark.parametrize("mode", MODES)
def test_a_limit(tasks: Tasks, mode: str) -> None:
    tasks.run(lambda **more: tasks.axiom(max_runtime=timedelta(seconds=0.1), **more), mode)
    events = history(tasks)
    assert names(events) == ["started", "stop", "ended"]
    (stop,) = (event for event in events if event["event"] == "stop")
    by = "triggerer" if mode == "deferred" else "worker"
    assert (stop["why"], stop["outcome"], stop["by"]) == ("max_runtime", "stopped", by)


def test_a_deferred_run_shows_its_state_while_it_is_watched(tasks: Tasks, box: Sandbox) -> None:
    """A change of state costs one write, and a triggerer that begins anew none."""
    attempt = tasks.fake.run(tasks.axiom(deferrable=True))
    deferral = attempt.deferral
    assert deferral is not None
    before = len(tasks.fake.sent("SetXCom", key=HISTORY_KEY))

    async def watch() -> None:
        for _ in range(2):
            watching = asyncio.create_task(anext(tasks.fake.trigger_of(deferral, attempt).run()))  # type: ignore[arg-type]
            looked = len(box.requests(operation="status"))
            while len(box.requests(operation="status")) < looked + 2:
                await asyncio.sleep(0.01)
            watching.cancel()
            await asyncio.wait({watching})
        await close_session()

    tasks.fake.states["start"] = "deferred"
    asyncio.run(watch())
    assert [(event["event"], event.get("by")) for event in history(tasks)[:2]] == [
        ("started", "worker"),
        ("state", "triggerer"),
    ]
    assert [event["event"] for event in history(tasks)].count("state") == 1
    if TRIGGERS_HEAR_OF_KILLS:  # else each end of a triggerer looks like a kill, which is refused, and that is written
        assert len(tasks.fake.sent("SetXCom", key=HISTORY_KEY)) - before == 1


def test_a_killed_task_writes_nothing_in_its_signal_handler_and_all_of_it_after(tasks: Tasks, box: Sandbox) -> None:
    with Later(lambda: box.requests(operation="status"), sigterm):
        tasks.run(lambda **more: tasks.snaplogic(**{**more, "poll_interval": 30.0}))
    events = history(tasks)
    assert names(events) == ["started", "stop", "ended"]
    (stop,) = (event for event in events if event["event"] == "stop")
    assert (stop["why"], stop["outcome"]) == ("killed", "stopped")


def test_a_kill_of_a_deferred_task_and_one_that_is_refused(tasks: Tasks) -> None:
    attempt = tasks.fake.run(tasks.axiom(deferrable=True))
    kill(tasks, attempt)
    assert [history(tasks)[-1][name] for name in ("event", "outcome", "why")] == [
        "stop",
        "refused",
        "its task still follows it",
    ]
    tasks.fake.states["start"] = "failed"
    kill(tasks, attempt)
    events = history(tasks)
    assert names(events) == ["started", "stop", "stop", "ended"]
    assert [events[-2][name] for name in ("why", "by", "outcome")] == ["user", "triggerer", "stopped"]


def test_a_deadline_and_the_task_that_sees_its_run_stopped(tasks: Tasks) -> None:
    tasks.run(lambda **more: tasks.axiom(**more), "deferred", between=lambda _: deadline(tasks, stop_reason="too late"))
    events = history(tasks)
    assert names(events) == ["started", "stop", "ended"]
    assert (events[-2]["why"], events[-2]["by"]) == ("deadline: too late", "deadline callback")


def test_an_operator_that_stops(tasks: Tasks) -> None:
    tasks.leave_running("axiom")
    with tasks.fake.dag():
        stop = AxiomStopRunOperator(task_id="stop", external_run=tasks.handle(), stop_reason="no use")
    tasks.fake.run(stop)
    assert [(event["event"], event["by"]) for event in history(tasks)][1:] == [
        ("stop", "task stop"),
        ("ended", "task stop"),
    ]


def test_an_operator_that_pauses(tasks: Tasks) -> None:
    with tasks.fake.dag():
        start = VectorShiftRunPipelineOperator(task_id="start", pipeline_id="pl-hang", wait_for_completion=False)
    result = tasks.fake.run(start).result
    with tasks.fake.dag():
        pause = VectorShiftPauseRunOperator(task_id="pause", external_run=result)
    tasks.fake.run(pause)
    assert [(event["event"], event["by"]) for event in history(tasks)][-1] == ("pause", "task pause")


@needs_task_store
def test_a_further_try_still_has_what_its_start_has_wiped(tasks: Tasks, box: Sandbox) -> None:
    ends(box, "axiom", good=False, seconds=0.05)
    tasks.run(lambda **more: tasks.axiom(retries=1, **more), retries=1)
    first = history(tasks)
    assert names(first) == ["started", "ended"]
    tasks.fake.xcoms.clear()
    ends(box, "axiom", good=True, seconds=0.05)
    tasks.run(lambda **more: tasks.axiom(**more), try_number=2)
    events = history(tasks)
    assert events[: len(first)] == first
    assert [event["try_number"] for event in events if event["event"] == "started"] == [1, 2]


def test_no_more_is_kept_than_can_be_read(tasks: Tasks, box: Sandbox) -> None:
    before = [{"event": "state", "at": f"2026-01-01T00:00:{n:02}", "vendor_state": f"{n}"} for n in range(MOST + 5)]
    tasks.leave_running("axiom")
    tasks.fake.put_xcom("start", HISTORY_KEY, [*before, "no event", {"at": 7}])
    deadline(tasks)
    events = history(tasks)
    assert len(events) == MOST
    assert events[0] == before[0]
    assert names(events)[-2:] == ["stop", "ended"]


@pytest.mark.parametrize("mode", MODES)
def test_what_cannot_be_kept_is_a_line_in_the_log_and_no_error(
    tasks: Tasks, box: Sandbox, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    caplog.set_level("INFO")
    tasks.fake.refuse("SetXCom", key=HISTORY_KEY)
    ends(box, "axiom", good=True, seconds=0.1)
    attempt = tasks.run(lambda **more: tasks.axiom(**more), mode)
    assert attempt.state == "success", attempt.said
    assert "could not be kept" in tasks.fake.everything() + caplog.text


def test_a_limit_is_kept_on_the_worker_while_airflow_takes_no_history(tasks: Tasks, box: Sandbox) -> None:
    """Nothing asks Airflow beside it: the intent waits for its turn, the stop does not wait for the intent."""
    stopped_after: list[float] = []

    def hear(message: Any) -> None:
        if type(message).__name__ != "SetXCom" or message.key != HISTORY_KEY or stopped_after:
            return
        began = time.monotonic()
        while time.monotonic() < began + 15 and not box.requests(operation="stop"):
            time.sleep(0.02)
        stopped_after.append(time.monotonic() - began)

    tasks.fake.on_message = hear
    attempt = tasks.run(lambda **more: tasks.axiom(max_runtime=timedelta(seconds=0.5), **more))
    assert "took longer than max_runtime" in attempt.said
    assert stopped_after[0] < 10, "the stop waited for the history"
    assert tasks.audit()["stop"]["outcome"] == "stopped"
    assert names(history(tasks)) == ["started", "stop", "ended"]
    assert not [thread for thread in threading.enumerate() if thread.name == "runctl-record"]


def test_of_many_stops_at_once_only_some_are_kept(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their audit records say the same: the history is read together with that."""
    monkeypatch.setattr(remember, "AT_ONCE", 0)
    tasks.leave_running("axiom")
    deadline(tasks)
    assert names(history(tasks)) == ["started"]
    assert tasks.audit()["stop"]["outcome"] == "stopped"
