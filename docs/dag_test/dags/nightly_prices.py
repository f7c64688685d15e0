"""A Dag to be tested: one run at axiom.ai, for two hours at most."""

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.operators.axiom import AxiomTriggerRunOperator

with DAG("nightly_prices", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
    AxiomTriggerRunOperator(task_id="scrape", name="Nightly prices", max_runtime=timedelta(hours=2), poll_interval=0.2)
