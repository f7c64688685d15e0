"""bctrl: give an agent a task, and wait for its answer. Needs the contract ``browsers`` on the connection."""

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.operators.bctrl import BctrlRunTaskOperator

with DAG("bctrl_agent_task", schedule=None):
    BctrlRunTaskOperator(
        task_id="research",
        agent="researcher",
        input="What changed on the page since yesterday?",
        bctrl_conn_id="bctrl_browsers",
        deferrable=True,
        max_runtime=timedelta(minutes=30),
    )
