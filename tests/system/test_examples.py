"""Every example Dag, run on a real Airflow against the sandbox. The three of the demo are run by its own test."""

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "example_dags"

TOLD_BY_THE_DEMO = {
    "deadline_stops_hung_runs",
    "sla_miss_stops_hung_runs",  # on Airflow 2.11
    "max_runtime_while_deferred",
    "execution_timeout_on_worker",
}

RUNS = {
    "snaplogic_task": ["Completed"],
    "axiom_automation": ["Success"],
    "vectorshift_pipeline": ["completed"],
    "bctrl_agent_task": ["succeeded"],
    "chained_vendors": ["Success", "completed", "Completed"],
    "mapped_runs_and_stops": ["failed", "failed", "failed"],
    "stop_as_teardown": ["ended"],
    "suspended_repaired_resumed": ["Completed"],
}
"""Example to the vendors' words for its runs in the end. VectorShift's SDK calls a terminated run failed."""


def test_every_example_is_run_by_a_test():
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(RUNS) | TOLD_BY_THE_DEMO


@pytest.mark.parametrize("dag_id", RUNS)
def test_an_example_runs_well(airflow, sandbox, dag_id):
    before = {run["run_id"] for run in sandbox.runs()}
    run_id = airflow.trigger(dag_id)

    state = airflow.wait_for_dag_run(dag_id, run_id, timeout=180)

    assert state == "success", airflow.task_states(dag_id, run_id)
    runs = [run for run in sandbox.runs() if run["run_id"] not in before]
    assert [run["state"] for run in runs] == RUNS[dag_id]
    assert not [run for run in runs if run["open"]]
