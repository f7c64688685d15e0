"""A resumable SnapLogic run suspends itself on an error; its cause is repaired, and the run goes on."""

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.snaplogic import SnapLogicResumeTaskOperator, SnapLogicTriggerTaskOperator
from airflow_runctl.sensors.run import ExternalRunSensor


@task
def repair() -> None:
    """Mend what the run stumbled over: a column, a file, a right."""


WAIT = {"deferrable": True, "poke_interval": 2.0, "timeout": timedelta(minutes=10).total_seconds()}

with DAG("suspended_repaired_resumed", schedule=None, on_failure_callback=StopRunsNotifier()):
    start = SnapLogicTriggerTaskOperator(
        task_id="start",
        task_path="/Acme/projects/sales/suspend",
        pipeline_name="suspend",
        wait_for_completion=False,
    )
    suspended = ExternalRunSensor(task_id="suspended", external_run=start.output, target_states=["suspended"], **WAIT)
    resume = SnapLogicResumeTaskOperator(task_id="resume", external_run=start.output)
    done = ExternalRunSensor(task_id="done", external_run=start.output, **WAIT)
    suspended >> repair() >> resume >> done
