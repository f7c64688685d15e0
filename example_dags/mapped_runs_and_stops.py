"""One run for each item of a list, none of them waited for; then each is stopped by a mapped stop."""

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.vectorshift import VectorShiftRunPipelineOperator, VectorShiftTerminateRunOperator

with DAG("mapped_runs_and_stops", schedule=None, on_failure_callback=StopRunsNotifier()):
    start = VectorShiftRunPipelineOperator.partial(
        task_id="start", pipeline_id="pl-hang", wait_for_completion=False
    ).expand(inputs=[{"region": region} for region in ("north", "east", "south")])
    VectorShiftTerminateRunOperator.partial(task_id="stop").expand(external_run=start.output)
