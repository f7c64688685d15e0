"""The Dag that does what Airflow's API server must not do itself: on a worker, where network and credentials are.

A Dag file with this one line gives it::

    from airflow_runctl.maintenance import dag

The API of airflow-runctl starts it, as the user who asks; who may start it can have any run stopped whose handle
they can read. docs/how-to/operating.md says more.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_runctl.compat.dags import DAG
from airflow_runctl.control.errands import DAG_ID, TASK_ID
from airflow_runctl.operators.errand import DoErrandOperator

with DAG(
    dag_id=DAG_ID,
    description="Stops, resumes, sweeps and tests for those who ask the API of airflow-runctl",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    tags=["runctl"],
) as dag:
    DoErrandOperator(task_id=TASK_ID, retries=0)
