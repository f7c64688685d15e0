"""Loads what asking Airflow needs, before it is needed: seconds of imports, in a process that has just begun."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Final

from airflow_runctl.compat.names import XCom
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
        "asgiref.sync",
    )
)
"""What Airflow imports in the functions that are called, as far as this version has it."""

SAMPLE: Final = {"run_id": "r", "stop": {"seconds": 1.0, "outcome": None}}
"""Of the shape of a record; its serialization loads serializers."""


def load_channel() -> None:
    """Import what connections, XComs and states of tasks are read and written with. It blocks."""
    for name in MODULES:
        with suppress(ImportError):
            import_module(name)
    if not IS_AIRFLOW_2:
        XCom.serialize_value(SAMPLE, key="k", dag_id="d", task_id="t", run_id="r", map_index=-1)
