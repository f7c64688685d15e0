"""A deadline with a ``SyncCallback``, which came with Airflow 3.2."""

from datetime import timedelta

from airflow.sdk import DAG, DeadlineAlert, DeadlineReference, SyncCallback
from vendor_tasks import axiom

from airflow_runctl.notifications import StopRunsNotifier

with DAG(
    "deadline_sync_callback",
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=5),
        callback=SyncCallback(StopRunsNotifier),
    ),
):
    axiom(task_id="run", deferrable=True, poll_interval=1.0)
