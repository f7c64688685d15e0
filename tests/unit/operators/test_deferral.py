"""The way into the triggerer and back: a deferral that Airflow refuses, a trigger that is lost, a foreign event."""

import json
from datetime import timedelta

import pytest

from airflow_runctl.compat import HAS_TASK_STORE, IS_AIRFLOW_2
from airflow_runctl.control.watch import Watched
from airflow_runctl.exceptions import HandleError
from airflow_runctl.runs import HANDLE_KEY
from airflow_runctl.sandbox.client import Sandbox
from tests.unit.operators.tasks import Tasks, ends
from tests.unit.versions import needs_task_store, refuses_last_words

pytestmark = pytest.mark.usefixtures("brisk")


def test_deferral_carries_a_sealed_handle_and_no_timeout_of_airflows(tasks: Tasks, box: Sandbox) -> None:
    attempt = tasks.fake.run(tasks.axiom(deferrable=True, max_runtime=timedelta(hours=1)))
    assert attempt.state == "deferred"
    assert attempt.deferral is not None
    assert attempt.deferral.timeout is None
    assert attempt.deferral.method == "execute_complete"
    assert box.seed not in json.dumps(attempt.deferral.trigger_kwargs)
    assert tasks.handle() == attempt.deferral.trigger_kwargs["external_run"]
    assert len(box.open_runs()) == 1


@refuses_last_words
@pytest.mark.parametrize("marked", ["failed", "success", "skipped", "restarting"])
def test_deferral_that_airflow_refuses_since_a_user_acted_meanwhile_stops_the_run(
    tasks: Tasks, box: Sandbox, marked: str
) -> None:
    """Airflow logs the refusal, and that is all: there is no trigger, and no ``on_kill``."""
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True), marked=marked)
    assert attempt.deferral is not None
    assert box.open_runs() == []
    assert tasks.audit()["stop"]["reason"] == "user"
    assert tasks.handle() is None


@pytest.mark.parametrize("map_index", [-1, 3])
def test_deferral_that_airflow_takes_leaves_the_run_to_its_trigger(tasks: Tasks, box: Sandbox, map_index: int) -> None:
    """What the other tasks of the Dag run do is none of its business, and is not asked for."""
    tasks.fake.states["start_4"] = "failed"
    tasks.fake.run(tasks.snaplogic(deferrable=True), map_index=map_index)
    assert [run["stop_requests"] for run in box.runs()] == [0]
    asked = tasks.fake.sent("GetTaskStates")
    # Before it too, where Airflow would write over what a user has marked.
    turns = int(map_index >= 0)  # a mapped one asks whose turn it is to start
    assert len(asked) == turns + (2 if IS_AIRFLOW_2 else 1)
    for question in asked[turns:]:
        assert (question.task_ids, question.map_index) == (["start"], map_index)


def test_refused_deferral_leaves_a_run_alone_that_no_kill_may_stop(tasks: Tasks, box: Sandbox) -> None:
    tasks.fake.run(tasks.snaplogic(deferrable=True, stop_on_kill=False), marked="failed")
    assert [run["stop_requests"] for run in box.runs()] == [0]


@pytest.mark.parametrize("retries", [0, 1])
def test_lost_trigger_does_not_leave_its_run_behind(tasks: Tasks, box: Sandbox, retries: int) -> None:
    from tests.fakes.airflow_any import Deferral

    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True), retries=retries)
    assert attempt.deferral is not None
    gone = Deferral("", {}, None, "__fail__", {"error": "Trigger failure", "traceback": ["boom"]})
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True), deferral=gone, retries=retries)
    assert "Trigger failure" in attempt.said
    left = bool(retries) and HAS_TASK_STORE
    assert bool(box.open_runs()) == left
    assert (tasks.handle() is not None) == left, "left to the further try, if that can know of it"


@needs_task_store
def test_lost_trigger_whose_handle_is_gone_from_xcom_is_found_in_the_task_state_store(
    tasks: Tasks, box: Sandbox
) -> None:
    from tests.fakes.airflow_any import Deferral

    tasks.fake.run(tasks.snaplogic(deferrable=True))
    tasks.fake.put_xcom("start", HANDLE_KEY, "nonsense")
    gone = Deferral("", {}, None, "__fail__", {"error": "Trigger failure", "traceback": ["boom"]})
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True), deferral=gone)
    assert "Trigger failure" in attempt.said
    assert box.open_runs() == []


def test_lost_trigger_whose_handle_cannot_be_read_says_that_a_run_may_be_alive(tasks: Tasks, box: Sandbox) -> None:
    from tests.fakes.airflow_any import Deferral

    tasks.fake.run(tasks.snaplogic(deferrable=True))
    tasks.fake.refuse("GetXCom", key=HANDLE_KEY)
    gone = Deferral("", {}, None, "__fail__", {"error": "Trigger failure", "traceback": ["boom"]})
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True), deferral=gone)
    assert "Trigger failure" in attempt.said
    assert "What it ran may be alive: its handle cannot be read. ConnectionError" in attempt.said


@pytest.mark.parametrize("good", [True, False])
def test_try_that_is_given_the_event_of_the_one_before_starts_anew(tasks: Tasks, box: Sandbox, good: bool) -> None:
    """Cleared while it went on after its deferral, a task keeps ``next_method``: seen on Airflow 3.3.2."""
    ends(box, "snaplogic", good)
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True))
    event = tasks.event(attempt)
    again = tasks.fake.run(tasks.snaplogic(deferrable=True), try_number=2, deferral=attempt.deferral, event=event)
    assert again.state == "deferred"
    first, second = box.runs()
    assert first["run_id"] != second["run_id"]


@pytest.mark.parametrize("ended", [True, False])
def test_try_that_is_given_the_lost_trigger_of_the_one_before_starts_anew(
    tasks: Tasks, box: Sandbox, ended: bool
) -> None:
    """Cleared in the second in which its trigger fails, a task keeps that as its ``next_method``: no number is in it.

    :param ended: whether the attempt that was cleared has still stopped its run.
    """
    from tests.fakes.airflow_any import Deferral

    gone = Deferral("", {}, None, "__fail__", {"error": "Trigger failure", "traceback": ["boom"]})
    tasks.fake.run(tasks.snaplogic(deferrable=True))
    if ended:
        tasks.fake.run(tasks.snaplogic(deferrable=True), deferral=gone)
    again = tasks.fake.run(tasks.snaplogic(deferrable=True, on_retry="restart"), try_number=2, deferral=gone)
    known_of = HAS_TASK_STORE or not ended
    assert again.state == ("deferred" if known_of else "failed"), again.said
    first, *others = box.runs()
    assert (first["open"], [run["open"] for run in others]) == (False, [True] * known_of)


def test_task_that_was_deferred_by_an_older_version_goes_on(tasks: Tasks, box: Sandbox) -> None:
    ends(box, "snaplogic", True)
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True))
    assert attempt.deferral is not None
    event = tasks.event(attempt)
    attempt.deferral.next_kwargs.clear()
    assert tasks.fake.run(tasks.snaplogic(deferrable=True), deferral=attempt.deferral, event=event).state == "success"
    assert len(box.runs()) == 1


def test_event_with_a_foreign_handle_is_refused_and_the_own_run_stopped(tasks: Tasks, box: Sandbox) -> None:
    """Airflow 3.1 on SQLite was seen to hand on what an earlier trigger of the same number saw."""
    other = tasks.leave_running("axiom", task_id="other")
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True))
    assert attempt.deferral is not None
    event = {HANDLE_KEY: other[HANDLE_KEY], **Watched(lost="nothing").out()}
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True), deferral=attempt.deferral, event=event)
    assert isinstance(attempt.error, HandleError)
    assert "The event was another task's; what this task ran itself was looked for, and stopped" in attempt.said
    assert {run["vendor"]: (run["open"], run["stop_requests"]) for run in box.runs()} == {
        "axiom": (True, 0),
        "snaplogic": (False, 1),
    }
