"""Which tests a version of Airflow can take. The tests' own process never imports Airflow."""

import pytest

from demo.release import RELEASE

AIRFLOW = tuple(int(part) for part in RELEASE.minor.split("."))

each_version = pytest.mark.each_version
"""What ``make test-airflow`` runs on every version: the rows that each must keep."""

essential = pytest.mark.essential
"""What ``make test`` runs: each row and mode of the kill matrix, the demo, the examples, the form in a browser."""

needs_task_store = pytest.mark.skipif(AIRFLOW < (3, 3), reason="the task state store came with Airflow 3.3")
needs_deadlines = pytest.mark.skipif(AIRFLOW < (3, 1), reason="deadlines came with Airflow 3.1")
needs_sync_callbacks = pytest.mark.skipif(AIRFLOW < (3, 2), reason="SyncCallback came with Airflow 3.2")
needs_task_loops = pytest.mark.skipif(AIRFLOW < (3, 4), reason="task loops came with Airflow 3.4")
needs_clears_that_forget = pytest.mark.skipif(
    AIRFLOW < (3, 4), reason="below Airflow 3.4 a clear deletes nothing of the task state store"
)
needs_slas = pytest.mark.skipif(AIRFLOW >= (3, 0), reason="Airflow 3 has no SLAs")
