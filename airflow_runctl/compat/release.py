"""Which Airflow this is: 2.11, or 3.1 and newer. All other version knowledge of this folder rests on it."""

from __future__ import annotations

from typing import Final

from airflow import __version__ as airflow_version
from airflow.triggers.base import BaseTrigger

AIRFLOW: Final = tuple(int(part) for part in airflow_version.split(".")[:2])

IS_AIRFLOW_2: Final = AIRFLOW < (3, 0)
"""Airflow 2.11: every process has the metadata database; SLAs instead of deadlines."""

HAS_TASK_STORE: Final = AIRFLOW >= (3, 3)
"""True if something that a task stores survives its retries and clears."""

CLEARS_FORGET: Final = AIRFLOW >= (3, 4)
"""True if the clear of a task deletes what it stored for its further tries (3.4 and newer)."""

TRIGGERS_HEAR_OF_KILLS: Final = hasattr(BaseTrigger, "on_kill")
"""True if Airflow tells a trigger of a kill (3.3 and newer); below, all it sees is that it is cancelled."""
