"""What Airflow is told of the API and of the page: an application below ``/runctl``, and where its UI shows the page.

Every process of Airflow that loads plugins loads this: it imports nothing but the standard library and what Airflow
has loaded by then. Only the API server of Airflow 3 mounts the application, and only there, from 3.1 on, a page is
announced; 2.11 does not know of such ones.
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

PAGE: Final = "External runs"
"""What the menu and the tabs say; also the name under which the script leaves its component for Airflow's page."""

DESTINATIONS: Final = {
    "nav": "external-runs",
    "dag": "external-runs-of-dag",
    "dag_run": "external-runs-of-dag-run",
    "task": "external-runs-of-task",
    "task_instance": "external-runs-of-task-instance",
}
"""Where Airflow shows the page, and under which part of an address; no two may have the same."""


COLOR: Final = "#e3eefb"
"""That of every operator of ours in Airflow's graph, those of further vendors and subclasses too."""

SCOPES: Final = {"task": {"ui_color": [COLOR]}, "task_instance": {"task.ui_color": [COLOR]}}
"""What a task has to have for the page to be offered with it, where Airflow can tell (3.4 and newer). Not its links,
which name us plainly: as 3.4.0b2 answers, no task has any (``extra_links`` of ``TaskResponse`` reads what that does not
have). Nor its class: that of a further vendor, or of a subclass, has another name."""


def serves_pages() -> bool:
    """Return True in the API server."""
    return "airflow.api_fastapi.main" in sys.modules or "api-server" in sys.argv[1:2]


def pages(version: str) -> list[dict[str, Any]]:
    """Return what Airflow's UI is told of the page.

    :param version: Airflow's, such as ``3.3.2``.
    """
    airflow = tuple(int(part) for part in version.split(".")[:2])
    if airflow < (3, 1):
        return []
    # Up to 3.2 Airflow's script imports the address as it is: what is relative begins at that script, which lies in
    # static/assets. From 3.3 on it begins at the document. Neither takes a setting to tell the base path.
    script = "../../runctl/page.js" if airflow < (3, 3) else "runctl/page.js"
    return [
        {
            "name": PAGE,
            "bundle_url": script,
            "destination": destination,
            "url_route": route,
            **({"category": "browse"} if destination == "nav" else {}),
            **({"applies_to": SCOPES[destination]} if airflow >= (3, 4) and destination in SCOPES else {}),
        }
        for destination, route in DESTINATIONS.items()
    ]


def _announced() -> list[dict[str, Any]]:
    return pages(sys.modules["airflow"].__version__) if serves_pages() else []


class RunctlPlugin(AirflowPlugin):
    """The API of airflow-runctl, and its page."""

    name = "runctl"
    fastapi_apps: list[Any] = [{"app": Door(), "url_prefix": PREFIX, "name": "runctl"}]  # noqa: RUF012  (Airflow's)
    react_apps: list[Any] = _announced()
