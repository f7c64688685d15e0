"""The tutorial's Dag: a run that hangs, and a deadline that stops it."""

from datetime import timedelta

from airflow.sdk import DAG, AsyncCallback, DeadlineAlert, DeadlineReference

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

CONN_ID = "snaplogic_default"
TASK = "/Acme/projects/sales/hang"
PIPELINE = "hang"
LIMIT = timedelta(minutes=1)

with DAG(
    "first_deadline",
    schedule=None,
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=LIMIT,
        callback=AsyncCallback(StopRunsNotifier, kwargs={"stop_reason": "the load is late"}),
    ),
    on_failure_callback=StopRunsNotifier(),
):
    SnapLogicTriggerTaskOperator(
        task_id="load_orders",
        snaplogic_conn_id=CONN_ID,
        task_path=TASK,
        pipeline_name=PIPELINE,
        deferrable=True,
        poll_interval=5.0,
    )
