"""A run takes longer than ``max_runtime`` while its task is deferred: it is stopped, and a retry may come."""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

with DAG("max_runtime_while_deferred"):
    SnapLogicTriggerTaskOperator(
        task_id="load_orders",
        task_path="/Acme/projects/sales/early-hang",
        deferrable=True,
        poll_interval=2.0,
        max_runtime=timedelta(seconds=10),
        retries=1,
        retry_delay=timedelta(seconds=1),
    )
