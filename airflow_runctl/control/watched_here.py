"""Which runs this process watches for their owners: their handles need not be read before they are stopped.

Airflow gives one handle after the other, in 10 to 14 ms each; the last of a thousand runs would be told to stop ten
seconds late. What is known here is stopped at once, and the handles are read all the same: a task instance may have
begun another run meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_runctl.control.stop_many import Target
from airflow_runctl.runs import TaskKey

_here: dict[tuple[str, str], dict[object, tuple[TaskKey, Target]]] = {}
"""By Dag and Dag run; then by watcher, of which thousands may come and go."""


@contextmanager
def watched(where: TaskKey | None, target: Target) -> Iterator[None]:
    """Let the run be known while it is watched.

    :param where: the task instance that owns it; ``None`` if whoever watches does not watch for its owner.
    """
    if where is None:
        yield
        return
    dag_run, watcher = (where.dag_id, where.run_id), object()
    _here.setdefault(dag_run, {})[watcher] = (where, target)
    try:
        yield
    finally:
        del _here[dag_run][watcher]
        if not _here[dag_run]:
            del _here[dag_run]


def watched_in(dag_id: str, run_id: str, task_ids: frozenset[str] | None) -> list[tuple[TaskKey, Target]]:
    """Return the runs of a Dag run that are watched here, of all tasks or of those named."""
    here = _here.get((dag_id, run_id), {})
    return [(where, target) for where, target in here.values() if task_ids is None or where.task_id in task_ids]
