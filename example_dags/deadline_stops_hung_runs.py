"""Two external runs hang; the Dag's deadline passes; both runs are stopped at their vendors.

Deadlines came with Airflow 3: on Airflow 2 this file makes no Dag, and ``sla_miss_stops_hung_runs`` tells the story.
"""

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

try:  # from Airflow 3.2 on: from airflow.sdk import ...
    from airflow.sdk.definitions.deadline import AsyncCallback, DeadlineAlert, DeadlineReference
except ImportError:
    DeadlineAlert = None

LIMIT = timedelta(seconds=20)  # short, to be watched; hours in real life

if DeadlineAlert is not None:
    with DAG(
        "deadline_stops_hung_runs",
        schedule=None,
        deadline=DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=LIMIT,
            callback=AsyncCallback(StopRunsNotifier, kwargs={"stop_reason": "the night batch must end"}),
        ),
        on_failure_callback=StopRunsNotifier(),
        default_args={"poll_interval": 2.0, "deferrable": True},
    ):
        SnapLogicTriggerTaskOperator(
            task_id="load_orders",
            task_path="/Acme/projects/sales/hang",
            pipeline_name="hang",
        )
        AxiomTriggerRunOperator(task_id="scrape_prices", name="Hang")
