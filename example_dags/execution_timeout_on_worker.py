"""A task waits on a worker past its ``execution_timeout``: its run is stopped."""

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.operators.axiom import AxiomTriggerRunOperator

with DAG("execution_timeout_on_worker", schedule=None):
    AxiomTriggerRunOperator(
        task_id="watch_stock",
        name="Watch stock",
        deferrable=False,
        poll_interval=2.0,
        execution_timeout=timedelta(seconds=10),
    )
