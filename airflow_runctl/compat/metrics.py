"""Airflow's metrics: the Task SDK's and core's are two objects on some versions."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_runctl.compat.release import AIRFLOW


def count(name: str, tags: Mapping[str, str], *, in_triggerer: bool) -> None:
    """Add one to a counter of Airflow's metrics.

    :param name: name of the counter.
    :param tags: its tags.
    :param in_triggerer: the triggerer sets up core's metrics, a worker the Task SDK's; on some versions they are two.
    """
    if in_triggerer and AIRFLOW >= (3, 2):
        from airflow._shared.observability.metrics import stats as core

        # A module of functions from 3.3 on, a class in a module before.
        getattr(core, "Stats", core).incr(name, tags=dict(tags))
        return
    from airflow.providers.common.compat.sdk import Stats

    Stats.incr(name, tags=dict(tags))
