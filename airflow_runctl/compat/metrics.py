"""Airflow's metrics: which there are, what they carry, and the object that sends them; there may be two.

The Task SDK's and core's are two objects from Airflow 3.2 on. A worker sets up the SDK's, the triggerer and the Dag
processor core's; a command of ours, and whoever else imports Airflow, neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from importlib import import_module
from typing import Any, Final, cast

from airflow_runctl.compat.names import conf
from airflow_runctl.compat.release import AIRFLOW

SDK: Final = "airflow.sdk._shared.observability.metrics.stats"
CORE: Final = "airflow._shared.observability.metrics.stats"


def metrics_are_on() -> bool:
    """Return True if Airflow is told to send metrics anywhere."""
    return any(_is_set(name) for name in ("statsd_on", "statsd_datadog_enabled", "otel_on"))


def metrics_carry_tags() -> bool:
    """Return True if what Airflow sends its metrics with has tags beside the name: all but plain statsd."""
    if _is_set("statsd_datadog_enabled"):
        return _is_set("statsd_datadog_metrics_tags", fallback=True)
    return not _is_set("statsd_on") or _is_set("statsd_influxdb_enabled")


def _is_set(name: str, *, fallback: bool = False) -> bool:
    return bool(conf.getboolean("metrics", name, fallback=fallback))


def add_to_counter(name: str, count: int, tags: Mapping[str, str] | None) -> None:
    """Add to a counter of Airflow's metrics."""
    _stats().incr(name, count, tags=tags and dict(tags))


def add_to_timer(name: str, seconds: float, tags: Mapping[str, str] | None) -> None:
    """Add to a timer of Airflow's metrics; it knows itself in which unit it sends a ``timedelta``."""
    _stats().timing(name, timedelta(seconds=seconds), tags=tags and dict(tags))


def _stats() -> Any:
    """Return what sends metrics in this process."""
    if AIRFLOW < (3, 2):
        from airflow.providers.common.compat.sdk import Stats

        return Stats
    for path in (SDK, CORE):
        stats = _stats_in(path)
        if _is_set_up(stats):
            return stats
    return _set_up()


def _stats_in(path: str) -> Any:
    """Return a module of functions from 3.3 on, a class in a module before."""
    module = import_module(path)
    return getattr(module, "Stats", module) if AIRFLOW < (3, 3) else module


def _is_set_up(stats: Any) -> bool:
    return getattr(stats, "_factory" if AIRFLOW >= (3, 3) else "factory", None) is not None


def _set_up() -> Any:
    """Set up the SDK's as a worker does, where nobody has: else all metrics of this process went nowhere."""
    from airflow.sdk.observability.metrics import stats_utils

    stats, get_factory = _stats_in(SDK), cast(Any, stats_utils.get_stats_factory)
    if AIRFLOW < (3, 3):
        stats.initialize(factory=get_factory(stats))
    else:
        legacy = conf.getboolean("metrics", "legacy_names_on", fallback=True)
        stats.initialize(factory=get_factory(), export_legacy_names=legacy)
    return stats
