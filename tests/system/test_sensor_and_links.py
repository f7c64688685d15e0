"""``ExternalRunSensor`` and the button that opens a run, on a real Airflow."""

import os
import signal
from typing import Any

import pytest

from demo.real_airflow import RealAirflow

MODES = ["worker", "reschedule", "deferred"]
WAITING = {"worker": "running", "reschedule": "up_for_reschedule", "deferred": "deferred"}


def links(case: Any, task_id: str, map_index: int = -1) -> dict[str, str | None]:
    """Return what the UI asks for when it draws the buttons of a task."""
    answer: dict[str, str | None] = case.airflow.extra_links(case.dag_id, case.run_id, task_id, map_index)
    return answer


def wait_for_link(case: Any, task_id: str) -> str:
    """Wait until the button of a task opens something."""
    found = case.airflow.wait_for(lambda: links(case, task_id).get("External run"), f"a link of {task_id}", 90)
    return str(found)


def wait_until_away(case: Any, task_id: str, map_index: int = -1) -> None:
    """Wait until a task is deferred or rescheduled and the last process that ran it is gone.

    Airflow takes a task that goes on before it has noticed that, up to 5 s late, for killed.
    """

    def is_away() -> bool:
        instance = case.airflow.task_instance(case.dag_id, case.run_id, task_id, map_index)
        processes = [row for row in case.airflow.process_table() if instance["id"] in row.title]
        return instance["state"] in {"deferred", "up_for_reschedule"} and not processes

    case.airflow.wait_for(is_away, f"{task_id} to be away", 90)


@pytest.fixture
def page(sandbox) -> str:
    """Where the default of a SnapLogic connection points: no page of a single run is documented."""
    return f"{sandbox.url}/snaplogic/sl/dashboard.html"


# -- the sensor ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_sensor_succeeds_with_the_run_and_its_button_opens_the_run_meanwhile(cases, page, mode):
    case = cases.start(f"sensed_{mode}", "snaplogic", answers="early")
    assert wait_for_link(case, "wait") == page
    if mode != "worker":
        wait_until_away(case, "wait")
    (run,) = case.runs()
    case.sandbox.set_run(run["run_id"], "Completed")

    assert case.wait_until_over() == "success"

    result = case.airflow.xcom(case.dag_id, case.run_id, "wait")
    assert (result["run_id"], result["state"]) == (run["run_id"], "succeeded")
    assert links(case, "wait") == {"External run": page}
    assert links(case, "run") == {"External run": page}
    assert case.stop_requests() == 0


@pytest.mark.parametrize("mode", MODES)
def test_the_timeout_of_a_sensor_fails_it_without_a_retry_and_leaves_the_run_alone(cases, mode):
    case = cases.start(f"sensed_timeout_{mode}", "snaplogic", answers="early")

    assert case.wait_until_over() == "failed"

    assert case.airflow.task_instance(case.dag_id, case.run_id, "wait")["try_number"] == 1
    assert "was not succeeded within" in case.log("wait")
    assert "It was left alone." in case.log("wait")
    assert (case.open(), case.stop_requests()) == (1, 0)


@pytest.mark.parametrize("mode", MODES)
def test_the_timeout_of_a_sensor_is_a_skip_where_that_is_wanted(cases, mode):
    case = cases.start(f"sensed_skip_{mode}", "snaplogic", answers="early")
    case.wait_until_over()
    assert case.state("wait") == "skipped"
    assert (case.open(), case.stop_requests()) == (1, 0)


@pytest.mark.parametrize("mode", MODES)
def test_the_timeout_of_a_sensor_stops_the_run_if_asked_to(cases, mode):
    case = cases.start(f"sensed_stop_{mode}", "snaplogic", answers="early")

    assert case.wait_until_over() == "failed"

    assert (case.open(), case.stop_requests()) == (0, 1)
    audit = case.airflow.xcom(case.dag_id, case.run_id, "run", "external_run_audit")
    assert (audit["stop"]["reason"], audit["stop"]["outcome"]) == ("sensor_timeout", "stopped")
    assert "external_run" not in case.airflow.xcom_keys(case.dag_id, case.run_id, "run")


@pytest.mark.parametrize("mode", ["worker", "deferred"])
@pytest.mark.parametrize("act", ["mark", "clear"])
def test_a_sensor_that_is_killed_stops_nothing(cases, airflow, mode, act):
    case = cases.start(f"sensed_{mode}", "snaplogic", answers="early")
    case.wait_for_state(WAITING[mode], task_id="wait")
    wait_for_link(case, "wait")
    if mode == "deferred":
        airflow.triggerer_of(case.dag_id, case.run_id, "wait")

    if act == "mark":
        airflow.mark_task(case.dag_id, case.run_id, "wait", "failed")
        case.wait_until_over()
    else:
        first = airflow.task_instance(case.dag_id, case.run_id, "wait")["id"]
        airflow.clear_task(case.dag_id, case.run_id, "wait")
        # The next attempt waits: whatever the kill of the first one did, it has done.
        airflow.wait_for(
            lambda: (
                (now := airflow.task_instance(case.dag_id, case.run_id, "wait"))["id"] != first
                and now["state"] == WAITING[mode]
            ),
            "the next attempt to wait",
            120,
        )
        wait_for_link(case, "wait")

    assert (case.open(), case.stop_requests()) == (1, 0)
    if (mode, act) == ("deferred", "clear"):
        wait_until_away(case, "wait")
    (run,) = case.runs()
    case.sandbox.set_run(run["run_id"], "Completed")
    if act == "clear":
        assert case.wait_until_over() == "success"
    assert case.stop_requests() == 0


def test_a_sensor_waits_for_a_run_that_another_dag_run_has_started(cases, page):
    owner = cases.start("sensed_worker", "snaplogic", answers="early")
    owner.wait_for_state("running", task_id="wait")
    (run,) = owner.runs()
    case = cases.start("sensed_by_ids", "snaplogic", conf={"ruuid": run["run_id"]})
    wait_until_away(case, "wait")
    case.sandbox.set_run(run["run_id"], "Completed")

    assert case.wait_until_over() == "success"
    assert links(case, "wait") == {"External run": page}
    assert owner.wait_until_over() == "success"


def test_a_sensor_waits_at_a_vendor_without_run_ids_and_pages(cases):
    case = cases.start("sensed_axiom", "axiom", result=[["tea", "3"]])
    wait_until_away(case, "wait")
    (run,) = case.runs()
    case.sandbox.set_run(run["run_id"], "Success")

    assert case.wait_until_over() == "success"
    assert case.airflow.xcom(case.dag_id, case.run_id, "wait")["result"] == [["tea", "3"]]
    assert links(case, "wait") == {"External run": None}


def test_mapped_sensors_wait_for_mapped_runs(cases, page):
    case = cases.start("sensed_mapped", "snaplogic", names=("-a", "-b"), answers="early")
    for index in range(2):
        wait_until_away(case, "wait", index)
    for run in case.runs():
        case.sandbox.set_run(run["run_id"], "Completed")

    assert case.wait_until_over() == "success"

    waited = {case.airflow.xcom(case.dag_id, case.run_id, "wait", map_index=n)["run_id"] for n in range(2)}
    assert waited == {run["run_id"] for run in case.runs()}
    assert [links(case, "wait", n) for n in range(2)] == [{"External run": page}] * 2


# -- the button ------------------------------------------------------------------------------------------------


def test_the_button_of_a_start_opens_the_run_while_it_runs_after_its_end_and_after_sigkill(
    cases, airflow: RealAirflow, page
):
    case = cases.start("linked", "snaplogic", names=("-worker", "-deferred"), answers="early")
    case.sandbox.behave("axiom", case.name, run_seconds=None)

    assert wait_for_link(case, "worker") == page
    assert case.state("worker") == "running"
    assert wait_for_link(case, "deferred") == page
    wait_until_away(case, "deferred")
    case.wait_for_state("success", task_id="pageless")
    assert links(case, "pageless") == {"External run": None}

    os.kill(airflow.task_process(case.dag_id, case.run_id, "worker"), signal.SIGKILL)
    (ended,) = [run for run in case.runs() if run["name"].endswith("-deferred")]
    case.sandbox.set_run(ended["run_id"], "Completed")
    case.wait_until_over()

    assert (case.state("worker"), case.state("deferred")) == ("failed", "success")
    assert links(case, "worker") == {"External run": page}
    assert links(case, "deferred") == {"External run": page}


def test_no_secret_of_any_connection_is_in_what_the_tests_above_left(cases, airflow, sandbox):
    """The runs at axiom.ai had a password, the connections have all kinds of credentials."""
    assert any(sandbox.seed in str(run["details"].get("pw")) for run in sandbox.runs(vendor="axiom"))
    assert {where for where, text in airflow.texts() if sandbox.seed in text} == set()
