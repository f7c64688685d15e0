"""Before a release all triggered runs of one project are stopped, whoever has started them."""

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.operators.snaplogic import SnapLogicStopTaskOperator

SALES = {"project_path": "/Acme/projects/sales", "invoker": "triggered"}

with DAG("stop_by_search", schedule=None):
    look = SnapLogicStopTaskOperator(task_id="look", search=SALES, report_only=True, max_runs=50)
    stop = SnapLogicStopTaskOperator(task_id="stop", search=SALES, max_runs=50, stop_reason="a release")
    look >> stop
