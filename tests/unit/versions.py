"""What a test must know of the Airflow that runs it; ``airflow_runctl.compat`` knows which version has what."""

from typing import Any

import pytest

from airflow_runctl.compat import HAS_TASK_STORE, IS_AIRFLOW_2

needs_task_store = pytest.mark.skipif(not HAS_TASK_STORE, reason="the task state store came with Airflow 3.3")

needs_deadlines = pytest.mark.skipif(IS_AIRFLOW_2, reason="deadlines came with Airflow 3")

needs_rest_api = pytest.mark.skipif(IS_AIRFLOW_2, reason="the client of the REST API does not speak to Airflow 2")

refuses_last_words = pytest.mark.skipif(
    IS_AIRFLOW_2, reason="Airflow 2 refuses no deferral; what is done about that is tested in test_airflow_2.py"
)

if IS_AIRFLOW_2:
    from airflow.exceptions import AirflowTaskTerminated as ErrorOfAKilledTask
else:
    from airflow_runctl.exceptions import RunStopped as ErrorOfAKilledTask

__all__ = [
    "ErrorOfAKilledTask",
    "if_stored",
    "needs_deadlines",
    "needs_rest_api",
    "needs_task_store",
    "refuses_last_words",
]


def if_stored(value: Any) -> Any:
    """Return ``value`` as a look into the task state store shows it: ``None`` if there is no store."""
    return value if HAS_TASK_STORE else None
