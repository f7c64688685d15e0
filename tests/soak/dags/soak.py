"""The Dags of the soak: each kind for each vendor; a run's name at the vendor says which task instance owns it."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task
from airflow.sdk.definitions.deadline import AsyncCallback, DeadlineAlert, DeadlineReference
from soak_limits import BACKSTOP, DEADLINE, EXECUTION_TIMEOUT, ITEMS, MAX_RUNTIME, STOP_TIMEOUT

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.bctrl import BctrlRunTaskOperator, BctrlStartRuntimeOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.operators.vectorshift import VectorShiftRunPipelineOperator

WATCH: dict[str, Any] = {"poll_interval": 3.0, "stop_timeout": float(STOP_TIMEOUT)}
RETRY: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=5)}
NETS: dict[str, Any] = {"on_failure_callback": StopRunsNotifier(), "on_success_callback": StopRunsNotifier()}
BROWSERS: dict[str, Any] = {"bctrl_conn_id": "bctrl_browsers"}

OPERATORS: dict[str, Any] = {
    "snaplogic": SnapLogicTriggerTaskOperator,
    "axiom": AxiomTriggerRunOperator,
    "vectorshift": VectorShiftRunPipelineOperator,
    "bctrl": BctrlRunTaskOperator,
}


def named(vendor: str, task: str) -> dict[str, Any]:
    """Return the arguments that start a run whose name says which task instance owns it."""
    name = f"{{{{ dag_run.run_id }}}}-{task}"
    return {
        "snaplogic": {"task_path": f"/Acme/projects/sales/{name}", "pipeline_name": name},
        "axiom": {"name": name},
        "vectorshift": {"pipeline_id": name},
        "bctrl": {"agent": name, "input": "go"},
    }[vendor]


def start(vendor: str, task_id: str, **kwargs: Any) -> Any:
    """Make a task that starts a run at a vendor."""
    own = BROWSERS if vendor == "bctrl" else {}
    return OPERATORS[vendor](task_id=task_id, **named(vendor, task_id), **own, **WATCH, **kwargs)


def release(vendor: str) -> Any:
    """Make a task that leaves its run to the Dag run."""
    if vendor != "bctrl":
        return start(vendor, "released", wait_for_completion=False, **RETRY)
    return BctrlStartRuntimeOperator(
        task_id="released", name="{{ dag_run.run_id }}-released", **BROWSERS, **WATCH, **RETRY
    )


def both_modes(vendor: str, **kwargs: Any) -> None:
    """Make a task that waits in the triggerer, and one that waits on a worker."""
    start(vendor, "deferred", deferrable=True, **kwargs)
    start(vendor, "worker", deferrable=False, **kwargs)


@task(**RETRY)
def go_on() -> None:
    """Keep the Dag run going."""
    import time

    time.sleep(20)


for name in OPERATORS:
    with DAG(f"soak_plain_{name}", **NETS):
        both_modes(name, **RETRY)

    with DAG(f"soak_restart_{name}", **NETS):
        both_modes(name, on_retry="restart", **RETRY)

    with DAG(f"soak_mapped_{name}", **NETS):
        own = BROWSERS if name == "bctrl" else {}
        OPERATORS[name].partial(task_id="mapped", deferrable=True, **own, **WATCH, **RETRY).expand_kwargs(
            [named(name, f"mapped-{item}") for item in range(ITEMS)]
        )

    with DAG(
        f"soak_deadline_{name}",
        deadline=DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(seconds=DEADLINE),
            callback=AsyncCallback(StopRunsNotifier, kwargs={"stop_reason": "the deadline has passed"}),
        ),
        **NETS,
    ):
        both_modes(name, max_runtime=timedelta(seconds=BACKSTOP), **RETRY)

    with DAG(f"soak_limits_{name}", **NETS):
        retry = {**RETRY, "retries": 1}
        start(name, "deferred", deferrable=True, max_runtime=timedelta(seconds=MAX_RUNTIME), **retry)
        start(name, "worker", deferrable=False, execution_timeout=timedelta(seconds=EXECUTION_TIMEOUT), **retry)

    # The run belongs to the Dag run, and ends with it.
    with DAG(f"soak_released_{name}", **NETS):
        release(name) >> go_on()

    # No net: what a lost last try leaves is for the sweep.
    with DAG(f"soak_bare_{name}"):
        both_modes(name)
