"""Airflow's own names, from wherever this version has them: mostly ``apache-airflow-providers-common-compat``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseHook,
    BaseNotifier,
    BaseOperator,
    BaseOperatorLink,
    BaseSensorOperator,
    PokeReturnValue,
    TaskDeferred,
    XCom,
    conf,
    mask_secret,
    redact,
)
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_runctl.compat.release import AIRFLOW, IS_AIRFLOW_2

if TYPE_CHECKING:
    from airflow.sdk import Context

if IS_AIRFLOW_2:
    from airflow.exceptions import TaskDeferralError

    TaskDeferralTimeout = TaskDeferralError  # both are one there

    class BaseNotifier(BaseNotifier):  # type: ignore[no-redef]
        """Takes the context that Airflow 3 gives a notifier of a deadline."""

        def __init__(self, context: Context | None = None) -> None:
            super().__init__()

elif AIRFLOW < (3, 2):
    from airflow.exceptions import TaskDeferralError, TaskDeferralTimeout  # type: ignore[no-redef]
else:
    from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout


__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "PokeReturnValue",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "TaskDeferred",
    "TriggerEvent",
    "XCom",
    "conf",
    "mask_secret",
    "redact",
]
