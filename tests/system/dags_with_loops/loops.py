"""A start inside a task loop, which Airflow has from 3.4 on."""

from airflow.sdk import DAG, task_group
from vendor_tasks import snaplogic

with DAG("start_in_a_loop", schedule=None):

    @task_group
    def again() -> None:
        snaplogic(task_id="run", deferrable=False, poll_interval=1.0)

    again.loop(max_iterations=2)  # type: ignore[attr-defined]
