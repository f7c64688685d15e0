"""The facet of OpenLineage that names an external run; imported only once OpenLineage's listener asks for it.

common-compat has the base of facets from wherever the installed client keeps it, and a function that does nothing if
there is none.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Final

from airflow_runctl import __version__

FACET: Final = "airflowRunctl_externalRun"
"""Name of the facet in an event."""

EXTRACTORS: Final = "airflow.providers.openlineage.extractors"

PRODUCER: Final = f"https://pypi.org/project/airflow-runctl/{__version__}/"


@cache
def facet_class() -> type[Any] | None:
    """Return the class of the facet, or ``None`` without an OpenLineage client."""
    from airflow.providers.common.compat.openlineage.facet import RunFacet
    from attrs import define

    if not isinstance(RunFacet, type):
        return None

    @define
    class ExternalRunFacet(RunFacet):  # type: ignore[misc]
        """A run at a vendor, outside of Airflow.

        :param vendor: name of the vendor, as in ``snaplogic``.
        :param connId: the Airflow connection.
        :param runId: the run's id at the vendor; ``None`` before it is started.
        :param url: the page of the run at the vendor, if it has one.
        :param state: its state, in this package's words; ``None`` before it is started.
        """

        vendor: str
        connId: str
        runId: str | None = None
        url: str | None = None
        state: str | None = None
        _additional_skip_redact = ["vendor", "runId", "state"]  # noqa: RUF012

    return ExternalRunFacet


def lineage_of(vendor: str, conn_id: str, run_id: str | None, url: str | None, state: str | None) -> Any:
    """Return what an operator's ``get_openlineage_facets_on_...`` returns; ``None`` without OpenLineage.

    :param run_id: ``None`` before the run is started.
    """
    facet = facet_class()
    if facet is None:
        return None
    shown = facet(vendor=vendor, connId=conn_id, runId=run_id, url=url, state=state, producer=PRODUCER)
    # By its name: whoever checks the types of this package need not have it.
    return import_module(EXTRACTORS).OperatorLineage(run_facets={FACET: shown})
