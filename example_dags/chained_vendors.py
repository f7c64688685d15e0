"""Three vendors in a row: scrape, summarise what was scraped, load the summary."""

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.operators.vectorshift import VectorShiftRunPipelineOperator

with DAG("chained_vendors", schedule=None, default_args={"deferrable": True, "poll_interval": 2.0}):
    scrape = AxiomTriggerRunOperator(task_id="scrape", name="Nightly prices")
    summarise = VectorShiftRunPipelineOperator(
        task_id="summarise",
        pipeline_id="pl-summary",
        inputs={"text": "{{ ti.xcom_pull(task_ids='scrape')['result'] | tojson }}"},
    )
    load = SnapLogicTriggerTaskOperator(
        task_id="load",
        task_path="/Acme/projects/sales/load-orders",
        pipeline_name="load-orders",
        parameters={"summary": "{{ ti.xcom_pull(task_ids='summarise')['result'] | tojson }}"},
    )
    scrape >> summarise >> load
