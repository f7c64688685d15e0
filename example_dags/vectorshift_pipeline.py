"""VectorShift: run a pipeline with inputs, and hand its outputs to the next task."""

from airflow.providers.common.compat.sdk import DAG, task

from airflow_runctl.operators.vectorshift import VectorShiftRunPipelineOperator


@task
def show(run: dict) -> None:
    """Print what the pipeline returned."""
    print(run["result"])


with DAG("vectorshift_pipeline", schedule=None):
    summary = VectorShiftRunPipelineOperator(
        task_id="summarise", pipeline_id="pl-summary", inputs={"text": "A long text."}, deferrable=True
    )
    show(summary.output)
