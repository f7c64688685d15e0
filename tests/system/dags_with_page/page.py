"""Three Dags, each with a run at each vendor, for the page; one whose run has a deadline; one for a short look."""

from datetime import timedelta

from airflow.sdk import DAG, task
from airflow.sdk.definitions.deadline import AsyncCallback, DeadlineAlert, DeadlineReference
from vendor_tasks import VENDORS, axiom, snaplogic

from airflow_runctl.notifications import StopRunsNotifier

LEFT = ("page_one", "snaplogic")
"""A task that follows a run which suspends itself ends it; this one leaves its run to the Dag run."""

for dag_id in ("page_one", "page_two", "page_three"):
    with DAG(dag_id, schedule=None):
        for vendor, start in VENDORS.items():
            start(
                task_id=vendor,
                deferrable=True,
                poll_interval=1.0,
                stop_timeout=20.0,
                retries=1,
                execution_timeout=timedelta(hours=2),
                wait_for_completion=(dag_id, vendor) != LEFT,
            )

alert = DeadlineAlert(
    reference=DeadlineReference.DAGRUN_QUEUED_AT,
    interval=timedelta(seconds=75),
    callback=AsyncCallback(StopRunsNotifier, kwargs={"stop_reason": "too late"}),
)

with DAG("page_late", schedule=None, deadline=alert):
    axiom(task_id="axiom", deferrable=True, poll_interval=1.0, stop_timeout=20.0)

with DAG("page_short", schedule=None):
    for start in (snaplogic, axiom):
        start(task_id=start.__name__, deferrable=True, poll_interval=1.0, stop_timeout=20.0)

    @task
    def other() -> None:
        """Starts no run anywhere."""

    other()
