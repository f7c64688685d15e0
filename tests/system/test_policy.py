"""The cluster policy, imported into ``airflow_local_settings.py`` of a real Airflow as a user would."""

import os
import signal
from pathlib import Path

import pytest

from demo.real_airflow import RealAirflow

DAG_FILE = """
from airflow.providers.common.compat.sdk import DAG
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator

with DAG("no_callbacks_of_its_own", schedule=None):
    AxiomTriggerRunOperator(task_id="run", name="{{ dag_run.conf['name'] }}", poll_interval=1.0, deferrable=False)
"""


@pytest.fixture(scope="module")
def guarded(sandbox, tmp_path_factory, airflow_database):
    """An Airflow whose local settings hold the one line."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "dags").mkdir()
    (folder / "dags" / "plain.py").write_text(DAG_FILE)
    settings = folder / "settings"
    settings.mkdir()
    (settings / "airflow_local_settings.py").write_text("from airflow_runctl.policy import dag_policy\n")
    path = os.pathsep.join(filter(None, [str(settings), os.environ.get("PYTHONPATH")]))
    with RealAirflow(
        dag_folders=[Path(folder / "dags")],
        environment={**sandbox.connections, "PYTHONPATH": path},
        database=airflow_database,
    ) as airflow:
        yield airflow


def test_one_line_stops_the_run_of_a_killed_task_in_a_dag_without_callbacks(guarded, make_cases):
    case = make_cases(guarded).start("no_callbacks_of_its_own", "axiom")
    case.wait_for_handle()
    os.kill(guarded.task_process(case.dag_id, case.run_id, "run"), signal.SIGKILL)

    case.wait_until_stopped()
    assert case.wait_until_over() == "failed"
