"""What Airflow is told of the API: one small application below ``/runctl``, which loads the rest when it is asked.

Every process of Airflow that loads plugins loads this: it imports nothing but the standard library and what Airflow
has loaded by then. Only the API server of Airflow 3 mounts the application; 2.11 does not know of such ones.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from airflow_runctl.plugin.door import Door

if TYPE_CHECKING:
    from airflow.plugins_manager import AirflowPlugin
else:
    # Whoever loads plugins has its own: tasks that of the SDK (3.2 and newer), all others that of core.
    LOADERS: Final = ("airflow.plugins_manager", "airflow.sdk.plugins_manager")
    loaded = next((sys.modules[name] for name in LOADERS if name in sys.modules), None)
    AirflowPlugin = (loaded or import_module(LOADERS[0])).AirflowPlugin

PREFIX: Final = "/runctl"


class RunctlPlugin(AirflowPlugin):
    """The API of airflow-runctl."""

    name = "runctl"
    fastapi_apps: list[Any] = [{"app": Door(), "url_prefix": PREFIX, "name": "runctl"}]  # noqa: RUF012  (Airflow's)
