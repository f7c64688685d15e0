"""A run takes longer than ``max_runtime`` while its task is deferred: it is stopped."""

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

with DAG("max_runtime_while_deferred", schedule=None):
    SnapLogicTriggerTaskOperator(
        task_id="load_orders",
        task_path="/Acme/projects/sales/early-hang",
        deferrable=True,
        poll_interval=2.0,
        max_runtime=timedelta(seconds=10),
    )
