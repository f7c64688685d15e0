"""One line makes a deployment safe: every Dag with operators of ours stops its runs when its Dag run ends.

Nothing here loads by itself. In ``airflow_local_settings.py``::

    from airflow_runctl.policy import dag_policy

It adds :class:`~airflow_runctl.notifications.StopRunsNotifier` to the failure and success callbacks of a Dag,
beside those that are there. A Dag run can end as a success with a task that was killed, and then only the
success callback comes.
"""

from __future__ import annotations

from typing import Any, Final

from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.base import StartRunOperator

CALLBACKS: Final = ("on_failure_callback", "on_success_callback")


def stop_runs_of_ended_dag_runs(dag: Any) -> None:
    """Let ``dag`` stop what its Dag runs leave alive, if it has tasks that start runs.

    :param dag: the Dag, as a cluster policy gets it.
    """
    if not any(_starts_runs(task) for task in dag.tasks):
        return
    for name in CALLBACKS:
        present = _listed(getattr(dag, name))
        if not any(isinstance(callback, StopRunsNotifier) for callback in present):
            setattr(dag, name, [*present, StopRunsNotifier()])
            # Without it Airflow does not see a callback that was set after the Dag was built.
            setattr(dag, f"has_{name}", True)


dag_policy = stop_runs_of_ended_dag_runs
"""The name under which Airflow looks for a policy of Dags."""


def _starts_runs(task: Any) -> bool:
    return issubclass(getattr(task, "operator_class", type(task)), StartRunOperator)


def _listed(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
