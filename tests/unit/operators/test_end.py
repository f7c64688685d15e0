"""How a run ends, as the task shows it: what is returned, what is raised, and whether retries apply."""

from typing import Any

import pytest

from airflow_runctl.compat import HAS_TASK_STORE, AirflowFailException
from airflow_runctl.control.records import AUDIT_KEY
from airflow_runctl.control.stop import StopNote
from airflow_runctl.exceptions import RunctlError, RunFailed, RunSuspended
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.runs import StopReason
from airflow_runctl.sandbox.client import Sandbox, eventually
from tests.unit.later import Later
from tests.unit.operators.tasks import FINAL, MODES, RETRIED, VENDORS, Tasks, ends
from tests.unit.versions import if_stored, needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")


# -- a run that ends well --------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("mode", MODES)
def test_run_that_ends_well_is_returned(tasks: Tasks, box: Sandbox, vendor: str, mode: str) -> None:
    ends(box, vendor, good=True)
    attempt = tasks.run(lambda **more: tasks.start(vendor, **more), mode)
    assert attempt.state == "success"
    result = attempt.result
    run_id = tasks.only()["run_id"] if vendor == "snaplogic" else "Hang"
    assert result["run_id"].startswith(run_id)
    assert result["state"] == "succeeded"
    assert result["vendor_state"] == {"snaplogic": "Completed", "axiom": "Success"}[vendor]
    assert result["url"] == (f"{box.url}/snaplogic/sl/dashboard.html" if vendor == "snaplogic" else None)
    assert result["external_run"].keys() == {"vendor", "conn_id", "what", "run_id", "url", "started_at", "token"}
    assert set(result) == {"run_id", "state", "vendor_state", "url", "result", "external_run"}


@pytest.mark.parametrize("mode", MODES)
def test_handle_goes_when_the_run_is_over_and_the_audit_stays(tasks: Tasks, box: Sandbox, mode: str) -> None:
    ends(box, "snaplogic", good=True)
    tasks.run(tasks.snaplogic, mode)
    assert tasks.handle() is None
    audit = tasks.audit()
    assert (audit["state"], audit["vendor_state"], audit["stop"]) == ("succeeded", "Completed", None)
    assert audit["run_id"] == tasks.only()["run_id"]
    assert tasks.fake.stored("start").get("phase") == if_stored("over")


@pytest.mark.parametrize("mode", MODES)
def test_run_that_cannot_be_read_at_once_is_followed(tasks: Tasks, box: Sandbox, mode: str) -> None:
    ends(box, "snaplogic", good=True, seconds=2.5)
    box.behave("snaplogic", "early-hang", list_delay_seconds=1.5)
    attempt = tasks.run(tasks.snaplogic, mode)
    assert attempt.state == "success", attempt.said
    assert 404 in {request["status"] for request in box.requests(operation="status")}
    assert tasks.only()["stop_requests"] == 0


def test_what_a_run_gives_back_is_returned(tasks: Tasks, box: Sandbox) -> None:
    box.behave("axiom", "Hang", run_seconds=0.1, result={"sheet-1": [["tea", "3"]]})
    assert tasks.run(tasks.axiom).result["result"] == {"sheet-1": [["tea", "3"]]}


# -- a run that ends badly -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(("retries", "state"), [(0, FINAL), (1, RETRIED)])
def test_failed_run_fails_the_task_with_the_vendors_reason(
    tasks: Tasks, box: Sandbox, vendor: str, mode: str, retries: int, state: str
) -> None:
    ends(box, vendor, good=False)
    attempt = tasks.run(lambda **more: tasks.start(vendor, **more), mode, retries=retries)
    assert attempt.state == state
    assert isinstance(attempt.error, RunFailed)
    assert "target refused the row" in attempt.said
    assert tasks.handle() is None


@pytest.mark.parametrize("mode", MODES)
def test_run_that_somebody_stopped_at_the_vendor_is_not_started_again(tasks: Tasks, box: Sandbox, mode: str) -> None:
    box.behave("snaplogic", "early-hang", run_seconds=0.2, end="Stopped")
    attempt = tasks.run(tasks.snaplogic, mode, retries=3)
    assert attempt.state == FINAL
    assert isinstance(attempt.error, AirflowFailException)
    assert "was stopped at the vendor, not by Airflow" in attempt.said


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(("reason", "state"), [(StopReason.DEADLINE, FINAL), (StopReason.KILLED, RETRIED)])
def test_recorded_reason_of_a_stop_decides_about_retries(
    tasks: Tasks, box: Sandbox, vendor: str, mode: str, reason: StopReason, state: str
) -> None:
    """axiom.ai shows a stopped run as failed, so only our own record can tell."""

    def stopped_by_another(*_: Any) -> None:
        run = eventually(tasks.handle)
        shown = {name: run[name] for name in ("vendor", "conn_id", "run_id", "url", "started_at")}
        tasks.fake.put_xcom("start", AUDIT_KEY, {**shown, "stop": StopNote(reason, "somebody", "too late").out()})
        box.set_run(tasks.only()["run_id"], {"snaplogic": "Stopped", "axiom": "Failure"}[vendor])

    def make(**more: Any) -> Any:
        return tasks.start(vendor, **more)

    if mode == "worker":
        with Later(tasks.handle, stopped_by_another):
            attempt = tasks.run(make, mode, retries=2)
    else:
        attempt = tasks.run(make, mode, stopped_by_another, retries=2)
    assert attempt.state == state
    assert f"was stopped: {reason.value} (too late), by somebody" in attempt.said
    assert tasks.audit()["stop"]["reason"] == reason.value


# -- a run that does not end -----------------------------------------------------------------------------


@pytest.mark.usefixtures("suspends")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("on_retry", "retries", "alive"),
    [
        pytest.param("resume", 1, True, marks=needs_task_store),
        pytest.param("resume", 0, False, marks=needs_task_store),
        ("reattach", 1, False),
        ("restart", 1, False),
    ],
)
def test_suspended_run_is_left_only_for_a_try_that_will_resume_it(
    tasks: Tasks, box: Sandbox, mode: str, on_retry: str, retries: int, alive: bool
) -> None:
    attempt = tasks.run(lambda **more: tasks.snaplogic(on_retry=on_retry, **more), mode, retries=retries)
    assert isinstance(attempt.error, RunSuspended)
    assert "suspended itself" in attempt.said
    assert "no disk" in attempt.said
    assert tasks.only()["open"] == alive
    assert (tasks.handle() is not None) == alive


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor that answers badly is given up soon."""
    from airflow_runctl.transport import retry

    monkeypatch.setenv("AIRFLOW__RUNCTL__RIDE_OUT", "0.2")
    monkeypatch.setattr(retry, "TOTAL_SECONDS", 0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("retries", "alive"), [(0, False), (1, HAS_TASK_STORE)])
def test_run_that_is_lost_sight_of_is_stopped_unless_a_further_try_comes(
    tasks: Tasks, box: Sandbox, mode: str, retries: int, alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_runctl.control import attempt as control
    from airflow_runctl.control import rounds, watch
    from airflow_runctl.transport.retry import Patience

    for module in (watch, rounds):
        monkeypatch.setattr(module, "POLL_PATIENCE", Patience(total=0.05))
    monkeypatch.setattr(control, "STOP_PATIENCE", Patience(total=0.05))
    box.fault("snaplogic", "status", "status", status=500, count=None)
    later = Later(lambda: box.requests(operation="stop"), box.clear_faults)
    if alive:
        attempted = tasks.run(tasks.snaplogic, mode, retries=retries)
    else:
        with later:
            attempted = tasks.run(tasks.snaplogic, mode, retries=retries)
    assert isinstance(attempted.error, RunctlError)
    assert "was lost sight of: VendorError: SnapLogic answered HTTP 500: out of order" in attempted.said
    assert bool(box.open_runs()) == alive
    assert (tasks.handle() is not None) == alive


# -- an error of our own ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("bug"), SystemExit(3), KeyboardInterrupt()])
def test_any_error_of_ours_stops_the_run(
    tasks: Tasks, box: Sandbox, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(StartRunOperator, "_watch_here", breaks)
    tasks.run(tasks.snaplogic)
    assert box.open_runs() == []


@pytest.mark.parametrize(("marked", "alive"), [("failed", False), (None, HAS_TASK_STORE)])
def test_run_that_is_left_to_a_retry_is_stopped_if_airflow_lets_none_come(
    tasks: Tasks, box: Sandbox, marked: str | None, alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> Any:
        raise RuntimeError("bug")

    monkeypatch.setattr(StartRunOperator, "_watch_here", breaks)
    tasks.run(tasks.snaplogic, retries=1, marked=marked)
    assert bool(box.open_runs()) == alive
