"""Airflow 3: a load that runs too long is stopped at its vendor; so is everything at the Dag's deadline."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, AsyncCallback, DeadlineAlert, DeadlineReference

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

EVERY = timedelta(seconds=40)  # short, to be watched; a day in real life
LIMIT = timedelta(seconds=20)  # hours

with DAG(
    "load_with_deadline",
    schedule=EVERY,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=LIMIT,
        callback=AsyncCallback(
            StopRunsNotifier, kwargs={"task_ids": ["load_orders"], "stop_reason": "the load is late"}
        ),
    ),
    on_failure_callback=StopRunsNotifier(),
    default_args={"deferrable": True, "poll_interval": 2.0},
):
    SnapLogicTriggerTaskOperator(
        task_id="load_orders",
        task_path="/Acme/projects/sales/load_orders",
        pipeline_name="load_orders",
    )
    AxiomTriggerRunOperator(task_id="scrape_prices", name="Scrape prices")
