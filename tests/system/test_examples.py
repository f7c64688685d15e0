"""Every example Dag, run on a real Airflow against the sandbox. The three of the demo are run by its own test."""

from pathlib import Path

import pytest

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from demo.stories import runs_of
from tests.system.versions import essential

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
    "mapped_runs_and_stops": ["failed", "failed", "failed"],
    "stop_as_teardown": ["ended"],
    "suspended_repaired_resumed": ["Completed"],
    "chained_vendors": ["Success", "completed", "Completed"],
}
"""Example to the vendors' words for its runs in the end. VectorShift's SDK calls a terminated run failed."""

TOLD_BY_THE_COMMAND_LINE = {"sweep_runs"}
"""In test_command_line.py, which has an Airflow of its own to sweep."""

LASTS = 5.0
FOLLOWED = [
    ("snaplogic", "load-orders"),
    ("axiom", "Nightly prices"),
    ("vectorshift", "pl-summary"),
    ("bctrl", "researcher"),
]
"""What examples follow to a good end, and how many seconds that is away: a task that goes on before Airflow has noticed
that the process is gone which deferred it (a second later, or more on a busy machine) is taken for killed."""

BY_ITSELF = {"chained_vendors"}
"""Its automation and its pipeline are those of other examples: axiom.ai tells runs of one name apart by time only."""


@essential
def test_every_example_is_run_by_a_test():
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(RUNS) | TOLD_BY_THE_DEMO | TOLD_BY_THE_COMMAND_LINE


@pytest.fixture(scope="module")
def before(sandbox: Sandbox) -> set[str]:
    """Runs that were there before any example."""
    return {run["run_id"] for run in sandbox.runs()}


@pytest.fixture(scope="module")
def dag_runs(airflow: RealAirflow, sandbox: Sandbox, before: set[str]) -> dict[str, str]:
    """A Dag run of each example, under way together, but for one that starts what others start too."""
    for vendor, name in FOLLOWED:
        sandbox.behave(vendor, name, run_seconds=LASTS)
    return {dag_id: airflow.trigger(dag_id) for dag_id in RUNS if dag_id not in BY_ITSELF}


@essential
@pytest.mark.parametrize("dag_id", RUNS)
def test_an_example_runs_well(airflow: RealAirflow, sandbox: Sandbox, dag_runs: dict[str, str], dag_id: str):
    if dag_id in BY_ITSELF:
        dag_runs[dag_id] = airflow.trigger(dag_id)
    run_id = dag_runs[dag_id]

    state = airflow.wait_for_dag_run(dag_id, run_id, timeout=240)

    assert state == "success", airflow.task_states(dag_id, run_id)
    runs = runs_of(airflow, sandbox, dag_id, run_id)
    assert [run["state"] for run in runs] == RUNS[dag_id]
    assert not [run for run in runs if run["open"]]


@essential
def test_no_example_started_a_run_that_its_tasks_do_not_name(
    airflow: RealAirflow, sandbox: Sandbox, before: set[str], dag_runs: dict[str, str]
):
    named = {run["run_id"] for item in dag_runs.items() for run in runs_of(airflow, sandbox, *item)}
    assert {run["run_id"] for run in sandbox.runs()} - before == named
