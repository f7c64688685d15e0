"""Airflow 2.11: what only the metadata database tells; every process of it has one."""

from __future__ import annotations

from datetime import datetime

from airflow_runctl.runs import TaskKey, instance_name


def unfinished_dag_runs(dag_id: str) -> dict[str, datetime]:
    """Return the unfinished Dag runs of a Dag: run id to when its SLAs begin to count.

    That is the end of the data interval: the moment from which a scheduled run may start. On Airflow 2.11 only.
    """
    from airflow.models import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.query(DagRun).filter(DagRun.dag_id == dag_id, DagRun.state.in_(("queued", "running"))).all()
        # A run by hand has the last complete interval, and a logical date after it.
        return {row.run_id: max(row.data_interval_end or row.execution_date, row.execution_date) for row in rows}


def task_states_in_database(dag_id: str, run_id: str, only: TaskKey | None) -> dict[str, str | None]:
    """Return what Airflow 3 answers to ``GetTaskStates``.

    A task between its trigger and its worker, which 2.11 has to start again to fail it, still is the deferred
    attempt: a new one has nothing to come back to.
    """
    from airflow.models import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        asked = session.query(
            TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state, TaskInstance.next_method
        ).filter(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        if only is not None:
            asked = asked.filter(TaskInstance.task_id == only.task_id, TaskInstance.map_index == only.map_index)
        return {
            instance_name(task_id, map_index): (
                "deferred" if next_method and state in ("scheduled", "queued") else state and str(state)
            )
            for task_id, map_index, state, next_method in asked
        }
