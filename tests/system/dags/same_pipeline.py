"""Mapped starts of one pipeline by Triggered Tasks whose calls stay open: only the list tells their runs apart."""

import warnings

from airflow.providers.common.compat.sdk import DAG
from vendor_tasks import NAME, RETRY

from airflow_runctl.exceptions import StartsMixUp
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

for items in (3, 5, 20):
    with DAG(f"same_pipeline_{items}", schedule=None), warnings.catch_warnings():
        warnings.simplefilter("ignore", StartsMixUp)
        SnapLogicTriggerTaskOperator.partial(
            task_id="run", deferrable=True, poll_interval=1.0, pipeline_name=NAME, **RETRY
        ).expand(task_path=[f"/Acme/projects/sales/{NAME}-{item}" for item in range(items)])
