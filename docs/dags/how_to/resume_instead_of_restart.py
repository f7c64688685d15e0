"""A resumable run suspends itself on an error; the task's next try resumes it where it stood."""

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

with DAG("resume_instead_of_restart", schedule=None):
    SnapLogicTriggerTaskOperator(
        task_id="load_orders",
        task_path="/Acme/projects/sales/suspend",
        pipeline_name="suspend",
        deferrable=True,
        retries=3,
        retry_delay=timedelta(minutes=10),  # in which somebody, or something, mends the cause
        on_retry="resume",
    )
