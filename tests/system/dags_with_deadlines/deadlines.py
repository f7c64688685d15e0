"""Dags with deadlines, which came with Airflow 3.1; otherwise as in ``dags/runs.py``."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.definitions.deadline import AsyncCallback, DeadlineAlert, DeadlineReference
from vendor_tasks import DEADLINE_KINDS, MODES, SECONDS, VENDORS, axiom, sleep_a_while, snaplogic

from airflow_runctl.notifications import StopRunsNotifier


def alert(seconds: float = SECONDS, **kwargs: Any) -> DeadlineAlert:
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=seconds),
        callback=AsyncCallback(StopRunsNotifier, kwargs={"stop_reason": "test", **kwargs}),
    )


for vendor, start in VENDORS.items():
    for mode, deferrable in MODES.items():
        for kind, arguments in DEADLINE_KINDS.items():
            with DAG(f"{kind}_{vendor}_{mode}", deadline=alert()):
                if kind == "released":
                    sleep_a_while()  # a Dag run that succeeds takes its deadlines with it
                start(task_id="run", deferrable=deferrable, poll_interval=1.0, stop_timeout=30.0, **arguments)

# The deadline comes while the start is in flight: the vendor lists and answers late.
with DAG("deadline_in_flight", deadline=alert(5)):
    snaplogic(task_id="run", deferrable=True, poll_interval=1.0)

with DAG("two_deadlines", deadline=[alert(6, dry_run=True), alert(12)]):
    axiom(task_id="run", deferrable=True, poll_interval=1.0)
