"""Dags in which a sensor waits for the run of another task, in each way that a sensor can wait."""

from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.sensors.run import ExternalRunSensor

NAME = "{{ dag_run.conf['name'] }}"
PATH = f"/Acme/projects/sales/{NAME}"
# Airflow notices the end of a task's process up to 5 s late, and takes a task that goes on by then for killed; it
# does so to any sensor. So no look is followed by the next process sooner.
MODES: dict[str, dict[str, Any]] = {
    "worker": {"deferrable": False, "poke_interval": 1.0},
    "reschedule": {"deferrable": False, "mode": "reschedule", "poke_interval": 12.0},
    "deferred": {"deferrable": True, "poke_interval": 1.0},
}

TIMEOUTS = {"worker": 5, "reschedule": 5, "deferred": 15}

KINDS: dict[str, dict[str, Any]] = {
    "sensed": {"timeout": 600},
    "sensed_timeout": {"retries": 2},
    "sensed_skip": {"soft_fail": True},
    "sensed_stop": {"stop_on_timeout": True, "stop_timeout": 30.0},
}

for mode, how in MODES.items():
    for kind, arguments in KINDS.items():
        with DAG(f"{kind}_{mode}", schedule=None):
            started = SnapLogicTriggerTaskOperator(task_id="run", task_path=PATH, wait_for_completion=False)
            ExternalRunSensor(
                task_id="wait", external_run=started.output, **{"timeout": TIMEOUTS[mode], **how, **arguments}
            )

with DAG("sensed_by_ids", schedule=None):
    ExternalRunSensor(
        task_id="wait",
        vendor="snaplogic",
        ids={"ruuid": "{{ dag_run.conf['ruuid'] }}"},
        deferrable=True,
        poke_interval=1.0,
    )

with DAG("sensed_axiom", schedule=None):
    scraped = AxiomTriggerRunOperator(task_id="run", name=NAME, wait_for_completion=False)
    ExternalRunSensor(task_id="wait", external_run=scraped.output, deferrable=True, poke_interval=1.0)

with DAG("sensed_mapped", schedule=None):
    several = SnapLogicTriggerTaskOperator.partial(task_id="run", wait_for_completion=False).expand(
        task_path=[f"{PATH}-a", f"{PATH}-b"]
    )
    ExternalRunSensor.partial(task_id="wait", deferrable=True, poke_interval=1.0).expand(external_run=several.output)

with DAG("linked", schedule=None):
    for mode in ("worker", "deferred"):
        SnapLogicTriggerTaskOperator(
            task_id=mode, task_path=f"{PATH}-{mode}", deferrable=mode == "deferred", poll_interval=1.0
        )
    AxiomTriggerRunOperator(task_id="pageless", name=NAME, wait_for_completion=False)
