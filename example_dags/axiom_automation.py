"""axiom.ai: run an automation with input, and wait for its end in the triggerer."""

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.operators.axiom import AxiomTriggerRunOperator

with DAG("axiom_automation", schedule=None):
    AxiomTriggerRunOperator(
        task_id="scrape_prices",
        name="Nightly prices",
        data=[["url"], ["https://shop.example.com"]],
        deferrable=True,
        max_runtime=timedelta(hours=1),
    )
