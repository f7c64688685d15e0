"""Maintenance: every hour the runs whose owner is over are found, named in the log, and left alone.

Once what it names is what you would stop, give ``report_only=False``. It is paused when it comes up. Connection
``airflow_api``: the address of the API server as host, and an Airflow user who may read all Dags and edit XComs; the
workers need ``pip install 'airflow-runctl[cli]'``. Airflow 3.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.operators.sweep import SweepRunsOperator

with DAG(
    "sweep_runs",
    schedule=timedelta(hours=1),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
):
    SweepRunsOperator(
        task_id="sweep",
        airflow_conn_id="airflow_api",
        report_only=True,
        min_age=timedelta(minutes=30),
        exclude_dags=["sandbox_*"],
        stop_reason="nobody owns it any more",
    )
