"""bctrl's tasks of agents over real HTTP, with both clients."""

from dataclasses import dataclass
from typing import Any

import pytest

from airflow_runctl.exceptions import BadAnswer, RunctlError, StartRefused, StartUncertain
from airflow_runctl.runs import ExternalRun, RunState, RunStatus, StopOutcome
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.vendors.bctrl import api as module
from airflow_runctl.vendors.bctrl.api import TaskStart
from airflow_runctl.vendors.bctrl.browsers import BctrlBrowsers
from tests.unit.clients import Client
from tests.unit.connections import Connections
from tests.unit.driven import Driven


@dataclass
class Agents(Driven):
    """The agents of the sandbox."""

    @property
    def vendor(self) -> BctrlBrowsers:
        vendor = self.access.vendor
        assert isinstance(vendor, BctrlBrowsers)
        return vendor

    def start(self, agent: str = "hang-agent", input: Any = "find the price", **more: Any) -> ExternalRun:
        return self.carry_out(self.vendor.run_task(TaskStart(agent, input, **more)))


@pytest.fixture
def agents(
    box: Sandbox, connections: Connections, client: Client, brisk: None, monkeypatch: pytest.MonkeyPatch
) -> Agents:
    monkeypatch.setattr(module, "LOST_PAUSES", (0.0, 0.05))
    monkeypatch.setattr(module, "KEYED_PAUSES", (0.0, 0.05, 0.05))
    return Agents(box, connections.access("bctrl_browsers"), client)


# -- start -------------------------------------------------------------------------------------------------


def test_a_task_is_started_under_a_key_that_was_recorded_before(agents: Agents) -> None:
    options = {"outputSchema": {"type": "object"}, "metadata": {"team": "a"}}
    plan = agents.vendor.run_task(TaskStart("hang-agent", ["part", {"type": "text"}], 3, options))
    search = agents.prepare(plan)
    assert agents.requests("start") == []
    started = agents.drive(plan.start(search))
    [task] = agents.box.open_runs()
    assert (started.run_id, started.ids) == (task["run_id"], {"task_id": task["run_id"]})
    [request] = agents.requests("start")
    assert request["headers"]["Idempotency-Key"] == search["key"]
    assert agents.sent("start") == [
        {
            "agent": "hang-agent",
            "input": ["part", {"type": "text"}],
            "version": 3,
            "outputSchema": {"type": "object"},
            "metadata": {"team": "a", "airflow_runctl": search["key"]},
        }
    ]


def test_what_is_asked_of_the_agent_is_not_among_the_search_keys(agents: Agents) -> None:
    search = agents.prepare(agents.vendor.run_task(TaskStart("hang-agent", "a-secret-plan")))
    assert "a-secret-plan" not in str(search)
    assert search.keys() == {"task", "key"}


@pytest.mark.parametrize("trouble", [{"kind": "cut"}, {"kind": "status", "status": 500}], ids=str)
def test_a_start_without_an_answer_is_sent_again_under_its_key_and_starts_nothing_more(
    agents: Agents, trouble: dict[str, Any]
) -> None:
    agents.box.fault("bctrl", "start", count=2, after_effect=True, **trouble)
    run = agents.start()
    assert [task["run_id"] for task in agents.box.runs()] == [run.run_id]
    assert len(agents.requests("start")) == 3


def test_a_start_without_any_answer_is_uncertain(agents: Agents) -> None:
    agents.box.fault("bctrl", "start", "cut")
    with pytest.raises(StartUncertain, match=r"told to start a task of agent 'hang-agent', but .*none was found"):
        agents.start()
    assert len(agents.requests("start")) == 3


def test_an_unknown_agent_is_told(agents: Agents) -> None:
    with pytest.raises(
        StartRefused, match=r"refused a task of agent 'nobody'. .*HTTP 404: .* Check the agent's id or name"
    ):
        agents.start("nobody")


def test_a_task_is_found_by_the_mark_of_its_start(agents: Agents) -> None:
    """The sandbox does not show metadata; the contract does."""
    run = agents.start()
    entries = [
        {"id": "tsk-other", "metadata": {"airflow_runctl": "key-2"}, "status": "running"},
        {"id": "tsk-bare", "metadata": None, "status": "running"},
        {"id": run.run_id, "metadata": {"airflow_runctl": "key-1"}, "status": "running"},
    ]
    agents.box.fault("bctrl", "list", "body", body={"data": entries, "hasMore": False, "nextCursor": None})
    assert [found.ids for found in agents.drive(agents.vendor.find({"task": "hang-agent", "key": "key-1"}))] == [
        run.ids
    ]
    assert agents.drive(agents.vendor.find({"task": "hang-agent", "key": "key-9"})) == []


# -- look --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("queued", RunState.QUEUED),
        ("running", RunState.RUNNING),
        ("awaiting_input", RunState.SUSPENDED),
        ("succeeded", RunState.SUCCEEDED),
        ("failed", RunState.FAILED),
        ("canceled", RunState.STOPPED),
        ("unknown", RunState.FAILED),
        ("ended", RunState.UNKNOWN),
        ("stopped", RunState.UNKNOWN),
        ("dreaming", RunState.UNKNOWN),
    ],
)
def test_the_words_of_a_task_are_read_and_others_are_live(agents: Agents, word: str, state: RunState) -> None:
    run = agents.start()
    agents.box.set_run(run.run_id, word)
    status = agents.status(run)
    assert (status.state, status.vendor_state) == (state, word)


def test_an_outcome_that_bctrl_does_not_know_is_over_and_no_success(agents: Agents) -> None:
    run = agents.start()
    agents.box.set_run(run.run_id, "unknown")
    status = agents.status(run)
    assert status.state.is_terminal
    assert status.message == "bctrl does not know how it ended; all of its work may be done"


def test_the_output_is_the_result(agents: Agents) -> None:
    agents.box.behave("bctrl", "researcher", run_seconds=0.0, start_seconds=0.0)
    run = agents.start("researcher")
    agents.box.wait_for_state(run.run_id, "succeeded")
    assert agents.status(run) == RunStatus(RunState.SUCCEEDED, "succeeded", None, {"answer": "two lines"})


def test_a_failure_tells_text_and_code(agents: Agents) -> None:
    run = agents.start("fail-agent")
    agents.box.set_run(run.run_id, "failed", "the page did not load")
    assert agents.status(run).message == "the page did not load (task.failed)"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"summary": "Which account?", "viewUrl": "https://secret"}, 'it asks for input ("Which account?")'),
        ({"message": "Which account?"}, 'it asks for input ("Which account?")'),
        ({"viewUrl": "https://secret"}, "it asks for input"),
        (None, "it asks for input"),
    ],
)
def test_a_task_that_asks_for_input_is_suspended_and_tells_only_the_question(
    agents: Agents, request_: Any, said: str
) -> None:
    run = agents.start()
    body = {"id": run.run_id, "status": "awaiting_input", "inputRequest": request_}
    agents.box.fault("bctrl", "status", "body", body=body)
    assert agents.status(run) == RunStatus(RunState.SUSPENDED, "awaiting_input", said)


@pytest.mark.parametrize("body", [{}, {"status": 1}, []])
def test_a_look_without_a_state_is_a_bad_answer(agents: Agents, body: Any) -> None:
    run = agents.start()
    agents.box.fault("bctrl", "status", "body", body=body)
    with pytest.raises(BadAnswer):
        agents.status(run)


# -- cancel ------------------------------------------------------------------------------------------------


def test_a_task_is_cancelled_and_seen_to_be_over(agents: Agents) -> None:
    run = agents.start()
    result = agents.stop(run)
    assert (result.outcome, result.status and result.status.vendor_state) == (StopOutcome.STOPPED, "canceled")
    [request] = agents.requests("stop")
    assert request["path"].endswith(f"/v1/tasks/{run.run_id}/cancel")
    assert request["body"] == ""


@pytest.mark.parametrize("word", ["succeeded", "failed", "canceled", "unknown"])
@pytest.mark.parametrize("look_first", [True, False])
def test_a_cancel_of_a_finished_task_is_no_error(agents: Agents, word: str, look_first: bool) -> None:
    run = agents.start()
    agents.box.set_run(run.run_id, word)
    assert agents.stop(run, look_first=look_first).outcome is StopOutcome.ALREADY_FINISHED
    assert len(agents.requests("stop")) == (0 if look_first else 1)


def test_a_task_that_asks_for_input_can_be_cancelled(agents: Agents) -> None:
    run = agents.start("asking-agent")
    agents.box.wait_for_state(run.run_id, "awaiting_input")
    assert agents.stop(run).outcome is StopOutcome.STOPPED


def test_a_task_goes_on_only_when_it_is_answered_at_bctrl(agents: Agents) -> None:
    run = agents.start("asking-agent")
    agents.box.wait_for_state(run.run_id, "awaiting_input")
    with pytest.raises(RunctlError, match=r"\(.Which account\?.\)\. It goes on only when it is answered at bctrl"):
        agents.drive(agents.vendor.ask_resume(run))
    agents.box.set_run(run.run_id, "running")
    agents.drive(agents.vendor.ask_resume(run))


def test_tasks_are_listed(agents: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 1)
    runs = [agents.start().run_id for _ in range(3)]
    assert [task["id"] for task in agents.drive(agents.vendor.tasks.list())] == runs[::-1]


# -- a cancel that did nothing -----------------------------------------------------------------------------


def test_a_cancel_that_did_nothing_is_asked_for_again(agents: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BctrlBrowsers, "stop_again_after", (0.1,))
    run = agents.start()
    agents.box.fault("bctrl", "stop", "body", body={"id": run.run_id, "status": "running"}, count=1)
    assert agents.stop(run).outcome is StopOutcome.STOPPED
    assert len(agents.requests("stop")) == 2
