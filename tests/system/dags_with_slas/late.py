"""Airflow 2.11: an SLA that is longer than the schedule, so that runs overlap, each late by its own clock."""

from datetime import UTC, datetime, timedelta

from airflow import DAG

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.operators.vectorshift import VectorShiftRunPipelineOperator

EVERY = timedelta(seconds=20)
LIMIT = timedelta(seconds=35)

with DAG(
    "overlapping",
    schedule=EVERY,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=3,
    sla_miss_callback=StopRunsNotifier(stop_reason="late"),
    default_args={"poll_interval": 1.0},
):
    SnapLogicTriggerTaskOperator(
        task_id="deferred",
        task_path="/Acme/projects/sales/overlapping",
        pipeline_name="overlapping",
        deferrable=True,
        sla=LIMIT,
    )
    VectorShiftRunPipelineOperator(task_id="worker", pipeline_id="overlapping", deferrable=False, sla=LIMIT)
    AxiomTriggerRunOperator(task_id="without", name="overlapping", deferrable=True)
