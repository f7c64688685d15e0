"""SnapLogic: start a Triggered Task's pipeline with parameters, and wait for its end in the triggerer."""

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

with DAG("snaplogic_task", schedule=None):
    SnapLogicTriggerTaskOperator(
        task_id="load_orders",
        task_path="/Acme/projects/sales/load-orders",
        pipeline_name="load-orders",
        parameters={"day": "{{ dag_run.run_after | ds }}"},
        deferrable=True,
        max_runtime=timedelta(hours=1),
    )
