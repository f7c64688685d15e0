"""Airflow 2: a scheduled load went well once; the next one hangs and misses its SLA; its run is stopped at the vendor.

Airflow 3 has no SLAs: there this file makes no Dag, and ``deadline_stops_hung_runs`` tells the story.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

try:
    from airflow.models import SlaMiss
except ImportError:
    SlaMiss = None

EVERY = timedelta(seconds=30)  # short, to be watched; a day in real life
LIMIT = timedelta(seconds=20)  # hours

if SlaMiss is not None:
    with DAG(
        "sla_miss_stops_hung_runs",
        schedule=EVERY,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=True,
        sla_miss_callback=StopRunsNotifier(stop_reason="the load is late"),
    ):
        SnapLogicTriggerTaskOperator(
            task_id="load_orders",
            task_path="/Acme/projects/sales/late",
            pipeline_name="late",
            deferrable=True,
            poll_interval=2.0,
            sla=LIMIT,
        )
