"""The public REST API of Airflow 2.11 (``/api/v1``), in the words of the newest one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from demo.rest import UNMAPPED, AirflowRest31, Json, task_instance_path

# Job ids stand for the ids that task instances do not have yet: a new one for each process that runs the task.
JOBS = """
SELECT task_id, map_index, job_id FROM task_instance WHERE dag_id = :dag_id AND run_id = :run_id
"""
RUNNING = """
SELECT task_id, job_id FROM task_instance WHERE dag_id = :dag_id AND run_id = :run_id AND state = 'running'
"""
RESTART = """
UPDATE task_instance SET state = 'restarting'
WHERE dag_id = :dag_id AND run_id = :run_id AND task_id = :task_id AND job_id = :job_id AND state = 'running'
"""
QUEUED = "SELECT queued_at FROM dag_run WHERE dag_id = :dag_id AND run_id = :run_id"


class AirflowRestV1(AirflowRest31):
    """A client for an Airflow 2.11 that lets everybody in. What its API does not tell, the database does."""

    root = "api/v1"
    health_path = ("health",)
    trigger_defaults: ClassVar[Json] = {}
    mark_defaults: ClassVar[Json] = {"dry_run": False}

    def import_errors(self) -> dict[str, str]:
        """Return file name and stack trace of each Dag file that does not import."""
        return {str(Path(file).resolve()): trace for file, trace in super().import_errors().items()}

    def dag_run(self, dag_id: str, run_id: str) -> Json:
        """Return everything Airflow tells about one Dag run."""
        answer = super().dag_run(dag_id, run_id)
        (row,) = self.metadata.rows(QUEUED, dag_id=dag_id, run_id=run_id)
        return answer | {"queued_at": row["queued_at"] and row["queued_at"].isoformat()}

    def clear_dag_run(self, dag_id: str, run_id: str, *, only_failed: bool = False) -> None:
        """Clear all tasks of a Dag run, so that they run again."""
        self._clear(dag_id, run_id, only_failed=only_failed)

    def clear_task(self, dag_id: str, run_id: str, *tasks: str | tuple[str, int], downstream: bool = False) -> None:
        """Do what the button does: clear tasks, each given as ``task_id``.

        :raises ValueError: for a single mapped instance, which this API cannot clear
        """
        if mapped := [task for task in tasks if not isinstance(task, str)]:
            raise ValueError(f"Airflow 2.11's API clears whole tasks only, not {mapped}: clear {mapped[0][0]!r}")
        super().clear_task(dag_id, run_id, *tasks, downstream=downstream)

    def _clear(self, dag_id: str, run_id: str, **which: Any) -> Json:
        """Clear as the button does; of a running task the API forgets to store its new state."""
        running = self.metadata.rows(RUNNING, dag_id=dag_id, run_id=run_id)
        answer = super()._clear(dag_id, run_id, **which)
        cleared = {row["task_id"] for row in answer["task_instances"]}
        for row in running:
            # Not a new attempt, which may have begun meanwhile.
            if row["task_id"] in cleared:
                self.metadata.change(RESTART, dag_id=dag_id, run_id=run_id, **row)
        return answer

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        """Return every task instance of a Dag run, mapped ones each."""
        return self._with_ids(dag_id, run_id, super().task_instances(dag_id, run_id))

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED) -> Json:
        """Return everything Airflow tells about one task instance."""
        return self._with_ids(dag_id, run_id, [super().task_instance(dag_id, run_id, task_id, map_index)])[0]

    def _with_ids(self, dag_id: str, run_id: str, instances: Sequence[Json]) -> list[Json]:
        rows = self.metadata.rows(JOBS, dag_id=dag_id, run_id=run_id)
        jobs = {(row["task_id"], row["map_index"]): row["job_id"] for row in rows}
        return [
            row | {"id": f"{dag_id} {row['task_id']} {run_id} {jobs.get((row['task_id'], row['map_index']))}"}
            for row in instances
        ]

    def extra_links(self, dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED) -> dict[str, str | None]:
        """Return what the buttons of a task instance open, by their names; None where that is nothing yet."""
        path = (*task_instance_path(dag_id, run_id, task_id), "links")
        links: dict[str, str | None] = self.request("GET", *path, query={"map_index": map_index})
        return links

    def _log(self, path: Sequence[str | int], map_index: int) -> str:
        query = {"map_index": map_index, "full_content": "true"}
        return self.response("GET", *path, query=query, accept="text/plain").text
