"""A browser at bctrl for as long as the work in between takes: its stop is the teardown of its start."""

from airflow.providers.common.compat.sdk import DAG, task

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.bctrl import BctrlStartRuntimeOperator, BctrlStopRuntimeOperator


@task
def work(browser: dict) -> None:
    """Do something in the browser."""
    print("working in", browser["run_id"])


with DAG("stop_as_teardown", schedule=None, on_failure_callback=StopRunsNotifier()):
    start = BctrlStartRuntimeOperator(task_id="start", name="shop", bctrl_conn_id="bctrl_browsers")
    stop = BctrlStopRuntimeOperator(task_id="stop", external_run=start.output)
    start >> work(start.output) >> stop.as_teardown(setups=start)
