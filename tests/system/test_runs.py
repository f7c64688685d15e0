"""What users see of runs on a real Airflow: deadlines, callbacks, stops by a task, and no secret anywhere."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.system.versions import essential, needs_deadlines, needs_sync_callbacks


@needs_deadlines
def test_a_deadline_stops_the_run_and_no_retry_starts_it_again(cases):
    case = cases.start("deadline_snaplogic_deferred", "snaplogic")
    case.wait_for_handle()

    assert case.wait_until_over() == "failed"

    assert case.open() == 0
    assert len(case.runs()) == 1, "a retry started the run again"
    assert case.airflow.task_instance(case.dag_id, case.run_id, "run")["try_number"] == 1
    assert "was stopped: deadline (test)" in case.log()
    audit = case.airflow.xcom(case.dag_id, case.run_id, "run", "external_run_audit")
    assert (audit["stop"]["reason"], audit["stop"]["outcome"], audit["stop"]["by"]) == (
        "deadline",
        "stopped",
        "deadline callback",
    )
    assert "external_run" not in case.airflow.xcom_keys(case.dag_id, case.run_id, "run")


@needs_deadlines
def test_a_plain_failure_at_axiom_is_recognised_as_stopped_by_the_deadline(cases):
    case = cases.start("deadline_axiom_worker", "axiom")

    assert case.wait_until_over() == "failed"

    assert [run["state"] for run in case.runs()] == ["Failure"]
    assert "was stopped: deadline (test)" in case.log()


@needs_deadlines
def test_a_deadline_after_the_end_of_the_run_changes_nothing(cases, airflow):
    case = cases.start("deadline_axiom_deferred", "axiom", run_seconds=1)

    assert case.wait_until_over() == "success"
    deadline = datetime.fromisoformat(airflow.dag_run(case.dag_id, case.run_id)["queued_at"]) + timedelta(seconds=15)
    airflow.wait_for(lambda: datetime.now(deadline.tzinfo) > deadline + timedelta(seconds=8), "the deadline", 60)

    assert case.stop_requests() == 0
    assert case.airflow.dag_run_state(case.dag_id, case.run_id) == "success"


@needs_deadlines
def test_a_deadline_stops_a_run_that_no_task_waits_for(cases):
    case = cases.start("released_snaplogic_worker", "snaplogic")
    case.wait_for_state("success")
    assert case.open() == 1

    case.wait_until_stopped()

    assert case.wait_until_over() == "success"


@needs_deadlines
def test_a_deadline_that_comes_while_the_start_is_in_flight_stops_its_run(cases):
    case = cases.start("deadline_in_flight", "snaplogic", list_delay_seconds=15)

    case.wait_until_over()

    assert [run["state"] for run in case.runs()] == ["Stopped"]
    assert "was stopped: deadline (test)" in case.log()


@needs_deadlines
def test_several_deadlines_on_one_dag_and_dry_run_only_says(cases):
    case = cases.start("two_deadlines", "axiom")

    case.wait_until_over()

    assert case.open() == 0
    assert case.stop_requests() == 1


@needs_sync_callbacks
def test_a_sync_callback_refuses_at_once_and_says_what_to_use(cases, airflow):
    case = cases.start("deadline_sync_callback", "axiom", run_seconds=25)

    def refusal():
        return [text for where, text in airflow.texts() if "executor_callbacks" in where and "AsyncCallback" in text]

    assert (
        "Nothing was stopped. Use DeadlineAlert(callback=AsyncCallback(StopRunsNotifier"
        in airflow.wait_for(refusal, "the refusal in a log", 90)[0]
    )
    assert case.wait_until_over() == "success"
    assert case.stop_requests() == 0


def test_a_failing_task_stops_the_mapped_runs_of_its_dag_run(cases, tmp_path: Path):
    go = tmp_path / "go"
    case = cases.start("mapped_runs", "snaplogic", names=("-a", "-b", "-c"), conf={"go": str(go)})
    handles = [case.wait_for_handle(map_index=index) for index in range(3)]
    go.touch()

    case.wait_until_over()

    assert {run["run_id"] for run in case.runs()} == {handle["run_id"] for handle in handles}
    assert case.open() == 0


def test_a_stop_task_stops_the_run_of_a_start_task(cases):
    case = cases.start("stop_by_task", "snaplogic", stop_seconds=2)

    assert case.wait_until_over() == "success"

    result = case.airflow.xcom(case.dag_id, case.run_id, "stop")
    assert (result["outcome"], result["state"], result["vendor_state"]) == ("stopped", "stopped", "Stopped")
    assert "external_run" not in case.airflow.xcom_keys(case.dag_id, case.run_id, "run")


def test_the_stop_of_a_queued_axiom_run_says_that_it_cannot_be_done_and_where_it_can(cases):
    case = cases.start("stop_queued", "axiom", queued=True)

    assert case.wait_until_over() == "failed"

    assert "cannot be stopped over the API. Cancel it in the axiom.ai dashboard" in case.log("stop")


@pytest.mark.parametrize("vendor", ["snaplogic", "axiom"])
@pytest.mark.parametrize("mode", ["worker", "deferred"])
def test_a_run_that_ends_well_gives_its_result(cases, vendor, mode):
    case = cases.start(f"plain_{vendor}_{mode}", vendor, run_seconds=2)

    assert case.wait_until_over() == "success"

    result = case.airflow.xcom(case.dag_id, case.run_id, "run")
    assert result["state"] == "succeeded"
    assert set(result) == {"run_id", "state", "vendor_state", "url", "result", "external_run"}
    assert case.stop_requests() == 0


@needs_deadlines
def test_a_forged_handle_stops_nothing_and_is_reported(cases, airflow):
    """A hostile task copies the handle of another Dag run: the deadline must not hit that run."""
    victim = cases.start("plain_snaplogic_deferred", "snaplogic")
    stolen = victim.wait_for_handle()
    case = cases.start("deadline_snaplogic_deferred", "snaplogic")
    case.wait_for_handle()
    airflow.set_xcom(case.dag_id, case.run_id, "run", "external_run", stolen)

    def reported():
        return any("belongs to plain_snaplogic_deferred/" in text for _, text in airflow.texts())

    airflow.wait_for(reported, "the report of the forged handle", 60)
    assert victim.open() == 1
    assert victim.stop_requests() == 0
    airflow.mark_task(victim.dag_id, victim.run_id, "run", "failed")
    victim.wait_until_stopped()
    airflow.mark_task(case.dag_id, case.run_id, "run", "failed")


@essential
def test_no_secret_of_any_connection_is_found_anywhere(cases, airflow, sandbox):
    """Last in this file: looks at all that the tests above left in logs and in the database."""
    assert json.dumps(sandbox.connections).count(sandbox.seed) >= 4, "the connections carry no marker"
    runs = sandbox.runs(vendor="axiom")
    assert any(sandbox.seed in run["details"]["pw"] for run in runs if run["details"].get("pw"))

    leaks = {where for where, text in airflow.texts() if sandbox.seed in text}

    assert leaks == set()
