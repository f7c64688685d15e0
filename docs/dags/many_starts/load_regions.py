"""Many runs of one pipeline, of several Dag runs at once, whose calls name none: a pool lets one start at a time."""

from airflow.sdk import DAG

from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

REGIONS = ("north", "south", "east", "west")

with DAG("load_regions", schedule=None, max_active_runs=3):
    SnapLogicTriggerTaskOperator.partial(
        task_id="load",
        pipeline_name="load_region",
        deferrable=True,
        pool="snaplogic_starts",  # one slot, deferred tasks not counted
        poll_interval=5.0,
    ).expand(task_path=[f"/Acme/projects/sales/load_{region}" for region in REGIONS])
