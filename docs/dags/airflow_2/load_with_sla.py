"""Airflow 2: a load that misses its SLA is stopped at its vendor, and the task fails."""

from datetime import UTC, datetime, timedelta

from airflow import DAG

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

EVERY = timedelta(seconds=40)  # short, to be watched; a day in real life
LIMIT = timedelta(seconds=20)  # hours

with DAG(
    "load_with_sla",
    schedule=EVERY,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    sla_miss_callback=StopRunsNotifier(stop_reason="the load is late"),
    default_args={"deferrable": True, "poll_interval": 2.0},
):
    SnapLogicTriggerTaskOperator(
        task_id="load_orders",
        task_path="/Acme/projects/sales/load_orders",
        pipeline_name="load_orders",
        sla=LIMIT,
    )
    AxiomTriggerRunOperator(task_id="scrape_prices", name="Scrape prices")
