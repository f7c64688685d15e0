"""Loads what asking Airflow needs, before it is needed: seconds of imports, in a process that has just begun."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Final

from airflow_runctl.compat.release import IS_AIRFLOW_2

MODULES: Final = (
    ("airflow.utils.session", "airflow.models")
    if IS_AIRFLOW_2
    else (
        "airflow.sdk.execution_time.comms",
        "airflow.sdk.execution_time.task_runner",
        "airflow.sdk.execution_time.supervisor",
        "airflow.sdk.execution_time.cache",
        "airflow.sdk.definitions.connection",
        "airflow.providers.common.compat.connection",
        "airflow.sdk.serde",
        "airflow.serialization.serde",
        "asgiref.sync",
    )
)
"""What Airflow imports in the functions that are called, as far as this version has it."""


def load_channel() -> None:
    """Import what connections, XComs and states of tasks are read and written with. It blocks.

    The class of XComs is imported, and not tried: that of a deployment may store what it is asked to serialize.
    """
    for name in MODULES:
        with suppress(ImportError):
            import_module(name)
