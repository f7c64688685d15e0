"""A start whose answer is lost: never sent again, looked for by the next try, never mistaken for another."""

from datetime import datetime, timedelta

import pytest

from airflow_runctl.compat import AirflowFailException
from airflow_runctl.control.records import AUDIT_KEY
from airflow_runctl.control.stop import StopNote
from airflow_runctl.exceptions import StartUncertain
from airflow_runctl.runs import StopReason
from airflow_runctl.sandbox.client import Sandbox, eventually
from tests.unit.later import Later
from tests.unit.operators.tasks import FINAL, RETRIED, VENDORS, Tasks
from tests.unit.versions import needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")


@pytest.fixture
def few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_runctl.vendors.axiom import vendor as axiom
    from airflow_runctl.vendors.snaplogic import trigger

    monkeypatch.setattr(trigger, "LOST_CALL_LOOKS", 2)
    monkeypatch.setattr(axiom, "LOST_CALL_LOOKS", 1)


@pytest.mark.usefixtures("few_looks")
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(("has_store", "state"), [pytest.param(True, RETRIED, marks=needs_task_store), (False, FINAL)])
def test_start_that_is_unclear_is_retried_only_where_the_next_try_can_look(
    tasks: Tasks, box: Sandbox, vendor: str, has_store: bool, state: str
) -> None:
    tasks.fake.has_store = has_store
    box.fault(vendor, "start", "cut")
    attempt = tasks.run(lambda **more: tasks.start(vendor, **more), retries=1)
    assert attempt.state == state
    assert isinstance(attempt.error, StartUncertain if has_store else AirflowFailException)
    assert "not started again" in attempt.said
    assert len(box.requests(operation="start")) == 1


@needs_task_store
@pytest.mark.usefixtures("few_looks")
def test_next_try_finds_the_run_of_an_unclear_start(tasks: Tasks, box: Sandbox) -> None:
    box.behave("snaplogic", "early-hang", list_delay_seconds=1.0)
    box.fault("snaplogic", "start", "cut", after_effect=True, count=1)
    attempt = tasks.run(tasks.snaplogic, retries=1)
    assert isinstance(attempt.error, StartUncertain)
    eventually(lambda: any(run["state"] == "Started" for run in box.runs()))
    with Later(tasks.handle, lambda: box.set_run(tasks.only()["run_id"], "Completed")):
        attempt = tasks.run(tasks.snaplogic, try_number=2)
    assert attempt.state == "success"
    assert len(box.requests(operation="start")) == 1
    assert tasks.audit()["what"] == "projects/sales/early-hang"


@needs_task_store
@pytest.mark.usefixtures("few_looks")
def test_run_that_came_up_long_after_the_lost_start_is_not_taken_for_its_own(
    tasks: Tasks, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's, of the same pipeline, while ours never reached the vendor."""
    from airflow_runctl.control import identity

    box.fault("snaplogic", "start", "cut", count=1)
    assert isinstance(tasks.run(tasks.snaplogic, retries=1).error, StartUncertain)
    box.clear_faults()
    strange = tasks.leave_running(task_id="strange", name="early-hang")
    monkeypatch.setattr(identity, "LATER", timedelta(seconds=-30))
    attempt = tasks.run(tasks.snaplogic, try_number=2)
    assert isinstance(attempt.error, AirflowFailException)
    assert f"Nothing tells which it is of: {strange['run_id']}." in attempt.said
    assert [(run["open"], run["stop_requests"]) for run in box.runs()] == [(True, 0)]


@needs_task_store
@pytest.mark.usefixtures("few_looks")
def test_deadline_that_comes_while_a_further_try_looks_for_a_lost_start_finds_it_written_ahead(
    tasks: Tasks, box: Sandbox
) -> None:
    """Airflow has wiped what the first attempt wrote; the deadline leaves its intent, and the try obeys."""
    box.behave("snaplogic", "early-hang", list_delay_seconds=1.0)
    box.fault("snaplogic", "start", "cut", after_effect=True, count=1)
    tasks.run(tasks.snaplogic, retries=1)

    def deadline() -> None:
        audit = tasks.audit()
        assert audit["start"]["token"]
        note = StopNote(StopReason.DEADLINE, "deadline callback", "too late").out()
        tasks.fake.put_xcom("start", AUDIT_KEY, {**audit, "stop": note})

    written = len(tasks.fake.sent("SetXCom", key=AUDIT_KEY))
    with Later(lambda: len(tasks.fake.sent("SetXCom", key=AUDIT_KEY)) > written, deadline):
        attempt = tasks.run(tasks.snaplogic, try_number=2)
    assert isinstance(attempt.error, AirflowFailException)
    assert "was stopped: deadline (too late)" in attempt.said
    assert [(run["open"], run["stop_requests"]) for run in box.runs()] == [(False, 1)]


@needs_task_store
@pytest.mark.usefixtures("few_looks")
def test_run_of_a_lost_start_counts_its_time_from_the_start_and_not_from_when_it_was_found(
    tasks: Tasks, box: Sandbox
) -> None:
    box.behave("snaplogic", "early-hang", list_delay_seconds=1.0)
    box.fault("snaplogic", "start", "cut", after_effect=True, count=1)
    tasks.run(tasks.snaplogic, retries=1)
    began = tasks.fake.stored("start")["at"]
    with Later(tasks.handle, lambda: box.set_run(tasks.only()["run_id"], "Completed")):
        attempt = tasks.run(tasks.snaplogic, try_number=2)
    started_at = datetime.fromisoformat(attempt.result["external_run"]["started_at"])
    assert started_at.timestamp() == pytest.approx(began, abs=0.001)


def test_start_with_two_candidates_is_final_and_names_both(tasks: Tasks, box: Sandbox) -> None:
    box.behave("snaplogic", "hang", list_delay_seconds=0.4)

    def rival() -> None:
        import requests as http

        row = tasks.fake.connections["snaplogic_default"]
        headers = {"Authorization": f"Bearer {row['extra']['task_token']}"}
        url = f"{row['host']}/api/1/rest/slsched/feed/Acme/projects/sales/hang"
        with pytest.raises(http.ReadTimeout):
            http.post(url, headers=headers, timeout=0.2)

    with Later(lambda: box.requests(operation="start"), rival):
        attempt = tasks.run(lambda **more: tasks.snaplogic("hang", **more), retries=3)
    assert attempt.state == FINAL
    assert isinstance(attempt.error, AirflowFailException)
    for run in box.runs():
        assert run["run_id"] in attempt.said
        assert run["stop_requests"] == 0
    assert len(box.open_runs()) == 2
