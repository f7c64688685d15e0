"""The tasks of the tests' Dags: a start at each vendor, named by the Dag run's conf, and kinds of arguments."""

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import task

from airflow_runctl.compat import HAS_TASK_STORE
from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.bctrl import BctrlRunTaskOperator, BctrlStartRuntimeOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.operators.vectorshift import VectorShiftRunPipelineOperator

NAME = "{{ dag_run.conf['name'] }}"
SECONDS = 15
"""Every limit of these Dags."""

DAG_RUN_SECONDS = 60
"""``dagrun_timeout``: it counts from before the start of the task, which takes its time on a busy machine. If it passes
between the task's deferral and the moment a triggerer takes its trigger, nobody tells our code."""

MODES = {"worker": False, "deferred": True}


def snaplogic(**kwargs: Any) -> StartRunOperator:
    return SnapLogicTriggerTaskOperator(task_path=f"/Acme/projects/sales/{NAME}", pipeline_name=NAME, **kwargs)


def axiom(**kwargs: Any) -> StartRunOperator:
    return AxiomTriggerRunOperator(name=NAME, **kwargs)


def vectorshift(**kwargs: Any) -> StartRunOperator:
    return VectorShiftRunPipelineOperator(pipeline_id=NAME, **kwargs)


def bctrl(**kwargs: Any) -> StartRunOperator:
    if kwargs.get("wait_for_completion") is False:
        return BctrlStartRuntimeOperator(name=NAME, bctrl_conn_id="bctrl_browsers", **kwargs)
    return BctrlRunTaskOperator(agent=NAME, input="go", bctrl_conn_id="bctrl_browsers", **kwargs)


VENDORS = {
    "snaplogic": snaplogic,
    "axiom": axiom,
    "vectorshift": vectorshift,
    "bctrl": bctrl,
}

RETRY: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(seconds=1)}

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "retry": RETRY,
    "timeout": {"execution_timeout": timedelta(seconds=SECONDS)},
    "runtime": {"max_runtime": timedelta(seconds=SECONDS)},
    "netted": {},
    "dagrun_timeout": {},
}
if HAS_TASK_STORE:
    KINDS |= {"resume": {**RETRY, "on_retry": "resume"}, "restart": {**RETRY, "on_retry": "restart"}}

DEADLINE_KINDS: dict[str, dict[str, Any]] = {"deadline": RETRY, "released": {"wait_for_completion": False}}

DAG_ARGUMENTS: dict[str, dict[str, Any]] = {
    "netted": {"on_failure_callback": StopRunsNotifier(), "on_success_callback": StopRunsNotifier()},
    "dagrun_timeout": {"dagrun_timeout": timedelta(seconds=DAG_RUN_SECONDS)},
}


@task
def sleep_a_while() -> None:
    """Keep the Dag run going past every limit here."""
    import time

    time.sleep(3 * SECONDS)
