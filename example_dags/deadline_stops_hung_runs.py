"""Two external runs hang; the Dag's deadline passes; both runs are stopped at their vendors."""

from datetime import timedelta

from airflow.sdk import DAG, AsyncCallback, DeadlineAlert, DeadlineReference

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

LIMIT = timedelta(seconds=20)  # short, to be watched; hours in real life

with DAG(
    "deadline_stops_hung_runs",
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=LIMIT,
        callback=AsyncCallback(StopRunsNotifier, kwargs={"stop_reason": "the night batch must end"}),
    ),
    on_failure_callback=StopRunsNotifier(),
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5), "poll_interval": 2.0, "deferrable": True},
):
    SnapLogicTriggerTaskOperator(
        task_id="load_orders",
        task_path="/Acme/projects/sales/hang",
        pipeline_name="hang",
    )
    AxiomTriggerRunOperator(task_id="scrape_prices", name="Hang")
