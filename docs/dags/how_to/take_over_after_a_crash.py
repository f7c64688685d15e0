"""A task that is tried again goes on with the run that its lost process left, instead of starting a second one."""

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

with DAG(
    "take_over_after_a_crash",
    schedule=None,
    on_failure_callback=StopRunsNotifier(),
    on_success_callback=StopRunsNotifier(),
):
    SnapLogicTriggerTaskOperator(
        task_id="load_orders",
        task_path="/Acme/projects/sales/load-orders",
        pipeline_name="load-orders",
        parameters={"day": "{{ dag_run.run_after | ds }}"},
        retries=2,
        retry_delay=timedelta(minutes=1),
        on_retry="reattach",
    )
