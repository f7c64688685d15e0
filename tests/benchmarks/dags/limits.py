"""A run that hangs and its limit, deferred and on a worker; ``tests/benchmarks/on_time.py`` sees when it is stopped."""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

LIMITS = {"deferred": timedelta(seconds=10), "worker": timedelta(seconds=20)}

for mode, limit in LIMITS.items():
    with DAG(f"limit_{mode}", schedule=None):
        SnapLogicTriggerTaskOperator(
            task_id="run",
            task_path=f"/Acme/projects/sales/early-{mode}",
            returns_ruuid=True,
            deferrable=mode == "deferred",
            poll_interval=0.5,
            max_runtime=limit,
        )
