"""What OpenLineage's listener asks an operator that starts a run: which run at which vendor, and how it ended.

The listener asks in the process of the task, as it begins and as it is over; after a deferral in the one that goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from airflow_runctl.control.attempt import Attempt


class TellsLineage:
    """Answers OpenLineage's listener; imports nothing of it before it asks."""

    vendor: ClassVar[str]
    conn_id: str
    _attempt: Attempt | None

    def get_openlineage_facets_on_start(self) -> Any:
        """Return at which vendor a run is to be started; none is known yet."""
        from airflow_runctl.compat.lineage import lineage_of

        return lineage_of(self.vendor, self.conn_id, None, None, None)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return the run, and where it was seen last.

        :param task_instance: given by Airflow.
        """
        from airflow_runctl.compat.lineage import lineage_of

        run = self._attempt.last_run if self._attempt is not None else None
        if self._attempt is None or run is None:
            return self.get_openlineage_facets_on_start()
        state = self._attempt.last_state
        return lineage_of(run.vendor, run.conn_id, run.run_id, run.url, state.value if state else None)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> Any:
        """Return the same of a task that failed.

        :param task_instance: given by Airflow.
        """
        return self.get_openlineage_facets_on_complete(task_instance)
