"""``max_runtime`` and ``execution_timeout``: what they count from, and that they stop the run."""

from datetime import UTC, datetime, timedelta

import pytest

from airflow_runctl.compat import AirflowFailException, AirflowTaskTimeout, lead_over_core
from airflow_runctl.control.records import AUDIT_KEY
from airflow_runctl.control.stop import StopNote
from airflow_runctl.exceptions import LimitReached
from airflow_runctl.runs import StopReason
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.vendors.snaplogic.vendor import SnapLogic
from tests.unit.later import Later
from tests.unit.operators.tasks import FINAL, MODES, RETRIED, VENDORS, Tasks
from tests.unit.versions import needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(("retries", "state"), [(0, FINAL), (1, RETRIED)])
def test_run_past_max_runtime_is_stopped_and_retries_apply(
    tasks: Tasks, box: Sandbox, vendor: str, mode: str, retries: int, state: str
) -> None:
    limit = timedelta(seconds=0.3)
    attempt = tasks.run(lambda **more: tasks.start(vendor, max_runtime=limit, **more), mode, retries=retries)
    assert attempt.state == state
    assert isinstance(attempt.error, LimitReached)
    assert "took longer than max_runtime; it was stopped (stopped" in attempt.said
    assert box.open_runs() == []
    assert tasks.audit()["stop"]["reason"] == "max_runtime"
    assert tasks.handle() is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vendor", VENDORS)
def test_execution_timeout_counts_from_the_start_of_the_attempt_in_both_modes(
    tasks: Tasks, box: Sandbox, vendor: str, mode: str
) -> None:
    began = datetime.now(UTC) - timedelta(hours=1)
    limit = timedelta(hours=1, seconds=1)
    if mode == "deferred":
        limit += lead_over_core(limit)
    attempt = tasks.run(
        lambda **more: tasks.start(vendor, execution_timeout=limit, **more), mode, start_date=began, retries=1
    )
    assert attempt.state == RETRIED
    assert isinstance(attempt.error, AirflowTaskTimeout)
    assert "execution_timeout passed; of" in attempt.said
    assert "it was stopped (stopped" in attempt.said
    assert box.open_runs() == []


def test_limits_lie_in_the_handle_for_people(tasks: Tasks, box: Sandbox) -> None:
    """As the trigger keeps them; of a run that nobody watches there are none, and a handle without any is one too."""
    more = {"deferrable": True, "max_runtime": timedelta(hours=1), "execution_timeout": timedelta(hours=2)}
    attempt = tasks.fake.run(tasks.axiom(**more))
    assert attempt.deferral is not None
    assert tasks.handle()["limits"] == attempt.deferral.trigger_kwargs["limits"]
    assert set(tasks.handle()["limits"]) == {"max_runtime", "execution_timeout"}
    tasks.leave_running("axiom", execution_timeout=timedelta(hours=1))
    assert "limits" not in tasks.handle()


@needs_task_store
def test_max_runtime_counts_from_the_run_s_own_start_whoever_watches_it(tasks: Tasks, box: Sandbox) -> None:
    more = {"deferrable": True, "max_runtime": timedelta(hours=1)}
    first = tasks.fake.run(tasks.snaplogic(**more), retries=1)
    second = tasks.fake.run(tasks.snaplogic(**more), try_number=2)
    assert first.deferral is not None
    assert second.deferral is not None
    assert second.deferral.trigger_kwargs["limits"] == first.deferral.trigger_kwargs["limits"]
    began = datetime.fromisoformat(tasks.handle()["started_at"])
    assert second.deferral.trigger_kwargs["limits"]["max_runtime"] == (began + timedelta(hours=1)).timestamp()


@pytest.mark.parametrize("mode", MODES)
def test_deadline_that_meets_the_limit_of_the_task_outweighs_it(tasks: Tasks, box: Sandbox, mode: str) -> None:
    """Both stop the run in the same moment; no retry may start it again."""
    box.behave("snaplogic", "early-hang", stop_seconds=0.6)

    def deadline() -> None:
        handle = tasks.handle()
        shown = {name: handle[name] for name in ("vendor", "conn_id", "run_id", "url", "started_at")}
        note = StopNote(StopReason.DEADLINE, "deadline callback", "too late").out()
        tasks.fake.put_xcom("start", AUDIT_KEY, {**shown, "stop": note})

    with Later(tasks.handle, deadline):
        attempt = tasks.run(lambda **more: tasks.snaplogic(**more, max_runtime=timedelta(seconds=0.8)), mode, retries=2)
    assert attempt.state == FINAL
    assert isinstance(attempt.error, AirflowFailException)
    assert "was stopped: deadline (too late), by deadline callback" in attempt.said
    assert tasks.audit()["stop"]["reason"] == "deadline"
    assert box.open_runs() == []


def test_nothing_is_started_once_execution_timeout_has_passed(tasks: Tasks, box: Sandbox) -> None:
    began = datetime.now(UTC) - timedelta(hours=2)
    attempt = tasks.run(lambda **more: tasks.snaplogic(execution_timeout=timedelta(hours=1), **more), start_date=began)
    assert isinstance(attempt.error, AirflowTaskTimeout)
    assert "nothing was started" in attempt.said
    assert box.runs() == []
    # Else a retry would look for a run of this start, and could take somebody else's.
    assert tasks.fake.stored("start").get("phase") != "starting"


@pytest.mark.parametrize("mode", MODES)
def test_limit_whose_stop_was_accepted_and_did_nothing_is_asked_for_again(
    tasks: Tasks, box: Sandbox, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SnapLogic, "stop_again_after", (0.1,))
    box.fault("snaplogic", "stop", "body", body={}, count=1)
    attempt = tasks.run(lambda **more: tasks.snaplogic(max_runtime=timedelta(seconds=0.2), **more), mode)
    assert "took longer than max_runtime; it was stopped (stopped" in attempt.said
    assert len(box.requests(operation="stop")) == 2
    assert box.open_runs() == []


@pytest.mark.parametrize("mode", MODES)
def test_limit_whose_stop_is_not_confirmed_names_a_run_that_may_be_alive(tasks: Tasks, box: Sandbox, mode: str) -> None:
    box.behave("snaplogic", "early-hang", stop_seconds=None)
    attempt = tasks.run(
        lambda **more: tasks.snaplogic(max_runtime=timedelta(seconds=0.2), **{**more, "stop_timeout": 0.2}), mode
    )
    assert isinstance(attempt.error, LimitReached)
    assert tasks.only()["run_id"] in attempt.said
    assert "may be alive" in attempt.said
    assert tasks.handle() is not None, "whoever comes next must find it"
