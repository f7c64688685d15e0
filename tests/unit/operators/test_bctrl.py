"""The bctrl operators on Airflow's own task runner, against the sandbox, over both contracts."""

import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from airflow_runctl.compat import AirflowFailException
from airflow_runctl.exceptions import ConnectionSetupError, RunFailed, RunSuspended
from airflow_runctl.hooks.bctrl import BctrlHook
from airflow_runctl.operators.bctrl import BctrlRunTaskOperator, BctrlStartRuntimeOperator, BctrlStopRuntimeOperator
from airflow_runctl.sandbox.client import Sandbox, eventually
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import Attempt, event_of
from tests.unit.versions import if_stored, needs_task_store

WORKSPACE = "77aa0c1e-5b7d-4f5e-9d43-2f6c1b8a9e10"
BROWSERS = "bctrl_browsers"

OF_WORKSPACES: dict[str, Any] = {"workspace_id": WORKSPACE, "alias": "main"}
OF_BROWSERS: dict[str, Any] = {"name": "shopper", "bctrl_conn_id": BROWSERS}
CONTRACTS = pytest.mark.parametrize("which", [OF_WORKSPACES, OF_BROWSERS], ids=["workspaces", "browsers"])

pytestmark = pytest.mark.usefixtures("brisk")


class Tasks:
    """Makes tasks of one Dag and runs them."""

    def __init__(self, fake: FakeAirflow) -> None:
        self.fake = fake

    def make(self, operator: Callable[..., Any], task_id: str, **more: Any) -> Any:
        with self.fake.dag():
            return operator(task_id=task_id, **more)

    def act(self, operator: Callable[..., Any], task_id: str = "act", **more: Any) -> Attempt:
        return self.fake.run(self.make(operator, task_id, **more))

    def start(self, task_id: str = "start", **which: Any) -> dict[str, Any]:
        attempt = self.act(BctrlStartRuntimeOperator, task_id, **which)
        assert attempt.state == "success", attempt.said
        result: dict[str, Any] = attempt.result
        return result

    def agent(self, agent: str = "researcher", **more: Any) -> Any:
        arguments = {"agent": agent, "input": "find the price", "poll_interval": 0.1, "bctrl_conn_id": BROWSERS, **more}
        return self.make(BctrlRunTaskOperator, "work", **arguments)

    def event(self, attempt: Attempt) -> Any:
        return event_of(self.fake, attempt)

    def run_agent(self, agent: str, deferrable: bool, retries: int = 0, **more: Any) -> Attempt:
        """Run a task to its end, deferred or not."""
        attempt = self.fake.run(self.agent(agent, deferrable=deferrable, **more), retries=retries)
        if not deferrable:
            return attempt
        assert attempt.deferral is not None, attempt.said
        event = self.event(attempt)
        again = self.agent(agent, deferrable=True, **more)
        return self.fake.run(again, deferral=attempt.deferral, event=event, retries=retries)


@pytest.fixture
def tasks(fake: FakeAirflow) -> Tasks:
    return Tasks(fake)


# -- start a runtime ---------------------------------------------------------------------------------------


def test_a_runtime_of_a_workspace_is_started_and_left_to_the_dag_run(tasks: Tasks, box: Sandbox) -> None:
    result = tasks.start(**OF_WORKSPACES)
    [run] = box.open_runs()
    assert result.pop("external_run") == tasks.fake.xcom("start", "external_run")
    assert result == {
        "run_id": run["run_id"],
        "state": "running",
        "vendor_state": "active",
        "url": None,
        "result": {"workspace_id": WORKSPACE, "alias": "main"},
    }
    assert tasks.fake.stored("start").get("phase") == if_stored("released")


def test_a_browser_is_started_and_left_to_the_dag_run(tasks: Tasks, box: Sandbox) -> None:
    result = tasks.start(**OF_BROWSERS)
    [run] = box.open_runs()
    assert (result["run_id"], result["state"], result["vendor_state"]) == (run["run_id"], "running", "active")
    assert result["result"] == {"browser_id": run["details"]["browser_id"], "run_id": run["run_id"]}


def test_another_run_of_a_browser_is_started(tasks: Tasks, box: Sandbox) -> None:
    result = tasks.start(browser_id="brw-shop", bctrl_conn_id=BROWSERS)
    assert result["result"]["browser_id"] == "brw-shop"
    assert box.open_runs()[0]["name"] == "shop"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {**OF_WORKSPACES, "wait_for_completion": True},
            "never completes by itself, so wait_for_completion and max_runtime",
        ),
        ({**OF_BROWSERS, "max_runtime": timedelta(hours=1)}, "BctrlRunTaskOperator waits for that"),
        ({"workspace_id": "w"}, "workspace_id was given. A runtime of a workspace needs workspace_id and alias"),
        ({"alias": "main", "name": "shop"}, "alias, name was given. A runtime of a workspace needs"),
        ({**OF_WORKSPACES, "browser_id": "b"}, "and nothing of browser_id, name and space_id"),
        ({"browser_id": "b", "name": "shop"}, "name and space_id are for a new browser"),
        ({**OF_WORKSPACES, "on_retry": "again"}, "on_retry is 'again'"),
    ],
)
def test_what_makes_no_sense_is_told_when_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BctrlStartRuntimeOperator(task_id="start", **arguments)


def test_a_runtime_may_be_left_running(tasks: Tasks, box: Sandbox) -> None:
    tasks.start(**OF_BROWSERS, leave_running=True)
    assert len(box.open_runs()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "shop"}, "speaks bctrl's contract 'workspaces', in which a runtime has a workspace_id and an alias"),
        ({**OF_WORKSPACES, "bctrl_conn_id": BROWSERS}, "speaks bctrl's contract 'browsers', which knows neither"),
        (
            {**OF_BROWSERS, "options": "{{ [1] }}"},
            "options came out of its template as a value of type str (not shown)",
        ),
        ({**OF_WORKSPACES, "alias": "{{ '' }}"}, "alias came out of its template as ''"),
    ],
)
def test_what_the_connection_cannot_do_is_told_before_anything_is_sent(
    tasks: Tasks, box: Sandbox, arguments: dict[str, Any], said: str
) -> None:
    attempt = tasks.act(BctrlStartRuntimeOperator, "start", **arguments)
    assert said in attempt.said
    assert box.requests(vendor="bctrl", operation="start") == []


def test_the_arguments_of_a_start_are_templated(tasks: Tasks, box: Sandbox) -> None:
    tasks.start(
        workspace_id="{{ params.w or '" + WORKSPACE + "' }}",
        alias="{{ dag.dag_id }}",
        driver="{{ 'sele' ~ 'nium' }}",
        launch={"mode": "{{ 'profile' }}", "profileId": "p-{{ 1 + 1 }}"},
        options={"note": "{{ run_id }}"},
        params={"w": ""},
    )
    [run] = box.open_runs()
    assert run["inputs"] == {
        "kind": "browser",
        "alias": "harvest",
        "driver": "selenium",
        "launch": {"mode": "profile", "profileId": "p-2"},
        "note": "manual__1",
    }


@CONTRACTS
def test_nothing_that_drives_the_browser_is_kept_or_shown(tasks: Tasks, box: Sandbox, which: dict[str, Any]) -> None:
    started = tasks.start(**which)
    tasks.act(BctrlStopRuntimeOperator, external_run=started)
    kept = tasks.fake.everything()
    assert box.seed not in kept
    for name in ("connections", "cdpUrl", "webdriverUrl", "wss://"):
        assert name not in kept


# -- stop --------------------------------------------------------------------------------------------------


@CONTRACTS
def test_a_runtime_is_stopped_by_its_handle(tasks: Tasks, box: Sandbox, which: dict[str, Any]) -> None:
    started = tasks.start(**which)
    attempt = tasks.act(BctrlStopRuntimeOperator, external_run=started, stop_reason="done with it")
    assert attempt.state == "success", attempt.said
    assert attempt.result.pop("seconds") >= 0
    word = "stopped" if which is OF_WORKSPACES else "ended"
    assert attempt.result == {
        "run_id": started["run_id"],
        "outcome": "stopped",
        "state": "stopped",
        "vendor_state": word,
    }
    assert box.open_runs() == []
    assert tasks.fake.xcom("start", "external_run") is None
    assert tasks.fake.xcom("start", "external_run_audit")["stop"]["text"] == "done with it"


def test_runtimes_of_both_contracts_are_stopped_from_one_list(tasks: Tasks, box: Sandbox) -> None:
    started = [tasks.start("first", **OF_WORKSPACES), tasks.start("second", **OF_BROWSERS)]
    attempt = tasks.act(BctrlStopRuntimeOperator, external_run=started)
    assert attempt.state == "success", attempt.said
    assert [result["run_id"] for result in attempt.result] == [one["run_id"] for one in started]
    assert box.open_runs() == []


def test_a_stop_of_a_runtime_whose_alias_was_given_away_hits_nobody(tasks: Tasks, box: Sandbox) -> None:
    started = tasks.start(**OF_WORKSPACES)
    box.set_run(started["run_id"], "stopped")
    other = tasks.start("other", **OF_WORKSPACES)
    attempt = tasks.act(BctrlStopRuntimeOperator, external_run=started)
    assert f"means bctrl runtime {other['run_id']} now, not {started['run_id']}. Nothing was stopped" in attempt.said
    assert [run["run_id"] for run in box.open_runs()] == [other["run_id"]]


@pytest.mark.parametrize("named_by", ["workspace and alias", "browser", "agent's task"])
def test_what_ids_name_is_stopped(tasks: Tasks, box: Sandbox, named_by: str) -> None:
    named: dict[str, Any]
    if named_by == "workspace and alias":
        tasks.start(**OF_WORKSPACES)
        named = {"workspace_id": WORKSPACE, "alias": "{{ 'main' }}"}
    elif named_by == "browser":
        browser_id = tasks.start(**OF_BROWSERS)["result"]["browser_id"]
        named = {"browser_id": browser_id, "bctrl_conn_id": "{{ '" + BROWSERS + "' }}"}
    else:
        work = tasks.fake.run(tasks.agent("hang-agent", wait_for_completion=False)).result
        named = {"agent_task_id": work["run_id"], "bctrl_conn_id": BROWSERS}
    attempt = tasks.act(BctrlStopRuntimeOperator, **named)
    assert attempt.state == "success", attempt.said
    assert attempt.result["outcome"] == "stopped"
    assert box.open_runs() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "exactly one of external_run and the ids of the run"),
        (
            {"alias": "main"},
            "give workspace_id and alias together, or browser_id alone, or agent_task_id alone; alias was",
        ),
        ({**OF_WORKSPACES, "browser_id": "b"}, "alias, browser_id, workspace_id was given"),
        ({"browser_id": "b", "agent_task_id": "t"}, "agent_task_id, browser_id was given"),
        ({"browser_id": "b", "external_run": {}}, "exactly one of external_run and the ids"),
    ],
)
def test_the_runtime_has_to_be_named_when_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BctrlStopRuntimeOperator(task_id="stop", **arguments)


def test_a_handle_of_the_other_contract_is_refused_and_that_is_said(tasks: Tasks, box: Sandbox) -> None:
    """The connection was switched to the other contract after the start."""
    started = tasks.start(**OF_WORKSPACES)
    tasks.fake.connections["bctrl_default"] = tasks.fake.connections[BROWSERS]
    attempt = tasks.act(BctrlStopRuntimeOperator, external_run=started)
    assert "has no browser_id: it was started over another contract" in attempt.said
    assert len(box.open_runs()) == 1


# -- run a task of an agent --------------------------------------------------------------------------------


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_task_is_run_to_its_end_and_its_output_returned(tasks: Tasks, box: Sandbox, deferrable: bool) -> None:
    box.behave("bctrl", "researcher", run_seconds=0.2)
    attempt = tasks.run_agent("researcher", deferrable, version="2", options={"conversation": "c-{{ 1 }}"})
    assert attempt.state == "success", attempt.said
    [task] = box.runs()
    assert attempt.result.pop("external_run")["run_id"] == task["run_id"]
    assert attempt.result == {
        "run_id": task["run_id"],
        "state": "succeeded",
        "vendor_state": "succeeded",
        "url": None,
        "result": {"answer": "two lines"},
    }
    assert (task["inputs"]["version"], task["inputs"]["conversation"]) == (2, "c-1")


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_task_that_asks_for_input_ends_the_wait_and_is_cancelled(
    tasks: Tasks, box: Sandbox, deferrable: bool
) -> None:
    attempt = tasks.run_agent("asking-agent", deferrable)
    assert isinstance(attempt.error, RunSuspended)
    [task] = box.runs()
    assert attempt.said.startswith(
        f'bctrl run {task["run_id"]} suspended itself: it asks for input ("Which account?"). Nobody here can answer. '
        "Give the agent what it needs in its input; or answer at bctrl, with on_retry='resume' and retries"
    )
    assert (task["state"], task["stop_requests"]) == ("canceled", 1)
    assert tasks.fake.xcom("work", "external_run") is None


@needs_task_store
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_task_that_asks_for_input_is_left_alive_for_a_retry_that_resumes(
    tasks: Tasks, box: Sandbox, deferrable: bool
) -> None:
    attempt = tasks.run_agent("asking-agent", deferrable, retries=1, on_retry="resume")
    assert isinstance(attempt.error, RunSuspended)
    [task] = box.open_runs()
    box.behave("bctrl", "asking-agent", result="the second account")
    box.set_run(task["run_id"], "succeeded")
    again = tasks.fake.run(tasks.agent("asking-agent", on_retry="resume"), try_number=2)
    assert again.state == "success", again.said
    assert again.result["result"] == "the second account"
    assert len(box.runs()) == 1


@needs_task_store
def test_a_task_that_nobody_answered_is_cancelled_by_the_last_try(tasks: Tasks, box: Sandbox) -> None:
    tasks.run_agent("asking-agent", False, retries=1, on_retry="resume")
    again = tasks.fake.run(tasks.agent("asking-agent", on_retry="resume"), try_number=2)
    assert "It goes on only when it is answered at bctrl" in again.said
    [task] = box.runs()
    assert task["state"] == "canceled"


@pytest.mark.parametrize("deferrable", [False, True])
def test_an_unknown_outcome_is_no_success_and_is_not_tried_again(tasks: Tasks, box: Sandbox, deferrable: bool) -> None:
    box.behave("bctrl", "researcher", run_seconds=0.2, end="unknown")
    attempt = tasks.run_agent("researcher", deferrable, retries=3)
    assert isinstance(attempt.error, AirflowFailException)
    assert attempt.state == "failed"
    assert "is unknown: bctrl does not know how it ended; all of its work may be done." in attempt.said
    assert "no retry may start it" in attempt.said
    assert tasks.fake.xcom("work", "external_run") is None
    assert box.runs()[0]["stop_requests"] == 0


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_task_that_failed_tells_its_reason_and_may_be_tried_again(
    tasks: Tasks, box: Sandbox, deferrable: bool
) -> None:
    box.behave("bctrl", "fail-agent", run_seconds=0.1)
    attempt = tasks.run_agent("fail-agent", deferrable, retries=1)
    assert isinstance(attempt.error, RunFailed)
    assert attempt.state == "up_for_retry"
    assert attempt.said.endswith("is failed: the page did not load (task.failed).")


def test_a_task_that_was_cancelled_at_bctrl_is_not_tried_again(tasks: Tasks, box: Sandbox) -> None:
    box.behave("bctrl", "researcher", run_seconds=0.1, end="canceled")
    attempt = tasks.run_agent("researcher", False, retries=1)
    assert isinstance(attempt.error, AirflowFailException)
    assert "was stopped at the vendor, not by Airflow" in attempt.said


def test_a_task_past_its_max_runtime_is_cancelled(tasks: Tasks, box: Sandbox) -> None:
    attempt = tasks.run_agent("hang-agent", False, max_runtime=timedelta(seconds=0.3))
    assert "took longer than max_runtime; it was stopped (stopped" in attempt.said
    assert box.runs()[0]["state"] == "canceled"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"input": "{{ none }}"},
            "BctrlRunTaskOperator 'work': input came out of its template as nothing",
        ),
        ({"agent": "{{ '' }}"}, "agent came out of its template as ''"),
        ({"version": "{{ 'two' }}"}, "version came out of its template as 'two'; it has to be a whole number"),
        ({"options": "{{ 'no' }}"}, "options came out of its template as a value of type str (not shown)"),
        ({"bctrl_conn_id": "bctrl_default"}, "Tasks of agents belong to bctrl's contract 'browsers'"),
    ],
)
def test_bad_arguments_of_a_task_are_told_before_anything_is_sent(
    tasks: Tasks, box: Sandbox, arguments: dict[str, Any], said: str
) -> None:
    attempt = tasks.fake.run(tasks.agent(**arguments))
    assert said in attempt.said
    assert box.requests() == []


# -- hook --------------------------------------------------------------------------------------------------


def test_the_hook_lists_what_its_contract_knows_without_addresses(tasks: Tasks, box: Sandbox) -> None:
    runtime, browser = tasks.start("first", **OF_WORKSPACES), tasks.start("second", **OF_BROWSERS)
    work = tasks.fake.run(tasks.agent("hang-agent", wait_for_completion=False)).result
    workspaces, browsers = BctrlHook(), BctrlHook(BROWSERS)
    assert [entry["id"] for entry in workspaces.list_workspaces()] == [WORKSPACE]
    assert [entry["id"] for entry in workspaces.list_runtimes(WORKSPACE)] == [runtime["run_id"]]
    listed = browsers.list_browsers()
    assert {entry["id"] for entry in listed} == {"brw-shop", browser["result"]["browser_id"]}
    runs = browsers.list_runs(browser["result"]["browser_id"])
    assert [run["id"] for run in runs] == [browser["run_id"]] == [run["id"] for run in browsers.list_runs()]
    assert [task["id"] for task in browsers.list_tasks()] == [work["run_id"]]
    assert box.seed not in str([listed, runs])


def test_the_hook_says_which_contract_is_needed(tasks: Tasks) -> None:
    with pytest.raises(
        ConnectionSetupError, match="needs bctrl's contract 'browsers': set the extra 'api' of connection"
    ):
        BctrlHook().list_browsers()
    with pytest.raises(ConnectionSetupError, match="needs bctrl's contract 'workspaces'"):
        BctrlHook(BROWSERS).list_workspaces()


# -- what a further try finds ------------------------------------------------------------------------------


def lost_start(tasks: Tasks, box: Sandbox, on_retry: str = "resume") -> Any:
    """An attempt that is lost when it has recorded its browser, whose run is then stopped; return that run."""
    tasks.fake.refuse("SucceedTask")
    operator = tasks.make(BctrlStartRuntimeOperator, "start", on_retry=on_retry, **OF_BROWSERS)
    tasks.fake.run(operator, retries=1)
    tasks.fake.refusals.clear()
    [run] = box.runs()
    tasks.act(BctrlStopRuntimeOperator, external_run=tasks.fake.xcom("start", "external_run"))
    eventually(lambda: not box.open_runs())
    return run


@pytest.mark.parametrize(
    ("on_retry", "same"), [pytest.param("resume", True, marks=needs_task_store), ("reattach", False)]
)
def test_a_further_try_starts_a_stopped_browser_again_if_told_so(
    tasks: Tasks, box: Sandbox, on_retry: str, same: bool
) -> None:
    first = lost_start(tasks, box, on_retry)
    again = tasks.make(BctrlStartRuntimeOperator, "start", on_retry=on_retry, **OF_BROWSERS)
    attempt = tasks.fake.run(again, try_number=2)
    assert attempt.state == "success", attempt.said
    second = box.runs()[-1]
    assert second["run_id"] != first["run_id"]
    assert (second["details"]["browser_id"] == first["details"]["browser_id"]) == same
    assert attempt.result["run_id"] == second["run_id"]


@needs_task_store
def test_a_further_try_starts_the_browser_again_that_a_kill_has_stopped(tasks: Tasks, box: Sandbox) -> None:
    """Told to end while its start is under way, the first attempt stops what it has started."""
    box.fault("bctrl", "start", "latency", seconds=0.5)
    operator = tasks.make(BctrlStartRuntimeOperator, "start", on_retry="resume", **OF_BROWSERS)
    killer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    killer.start()
    assert tasks.fake.run(operator, retries=1).state == "up_for_retry"
    killer.join()
    assert box.open_runs() == []
    again = tasks.make(BctrlStartRuntimeOperator, "start", on_retry="resume", **OF_BROWSERS)
    attempt = tasks.fake.run(again, try_number=2)
    assert attempt.state == "success", attempt.said
    assert len({run["details"]["browser_id"] for run in box.runs()}) == 1
    assert len(box.open_runs()) == 1


@needs_task_store
def test_a_cleared_task_starts_a_browser_of_its_own(tasks: Tasks, box: Sandbox) -> None:
    first = lost_start(tasks, box)
    again = tasks.make(BctrlStartRuntimeOperator, "start", on_retry="resume", **OF_BROWSERS)
    attempt = tasks.fake.run(again, try_number=2, retries=5)
    assert attempt.state == "success", attempt.said
    assert box.runs()[-1]["details"]["browser_id"] != first["details"]["browser_id"]
