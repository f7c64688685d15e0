"""Half an hour is worth a word, an hour is too long; and the task itself has two."""

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

with DAG("limit_a_task", schedule=None):
    SnapLogicTriggerTaskOperator(
        task_id="load_orders",
        task_path="/Acme/projects/sales/load-orders",
        pipeline_name="load-orders",
        deferrable=True,
        warn_after=timedelta(minutes=30),
        max_runtime=timedelta(hours=1),
        execution_timeout=timedelta(hours=2),
    )
