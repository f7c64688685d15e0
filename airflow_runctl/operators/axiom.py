"""Operators for axiom.ai: trigger a run of an automation, stop it. The API can neither pause nor resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_runctl.arguments.reading import read_given
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.existing import StopRunOperator
from airflow_runctl.operators.secret_fields import revealed

if TYPE_CHECKING:
    from airflow_runctl.vendors.axiom.vendor import Axiom
    from airflow_runctl.vendors.base import StartPlan

CONN_ID = "axiom_default"


class AxiomTriggerRunOperator(StartRunOperator):
    """Starts a run of an axiom.ai automation, and waits for its end.

    axiom.ai gives runs no id: the status is that of the newest run of the name. Where the same
    automation runs twice at a time, neither counts as over before both are.

    Source: https://axiom.ai/docs/developer-hub/api/run-automations/trigger-an-automation

    :param name: exact name of the automation. (templated)
    :param data: input, a list of lists. (templated)
    :param axiom_conn_id: id of the connection.
    :param kwargs: see :class:`~airflow_runctl.operators.base.StartRunOperator`.
    :returns: a dict with ``run_id``, ``state``, ``vendor_state``, ``url``, ``result``, ``external_run``.
    """

    vendor = "axiom"
    template_fields: Sequence[str] = ("name", "data", "conn_id")

    def __init__(
        self, *, name: str, data: list[list[Any]] | None = None, axiom_conn_id: str = CONN_ID, **kwargs: Any
    ) -> None:
        super().__init__(conn_id=axiom_conn_id, **kwargs)
        self.name = name
        self.data = data
        read_given(self, AxiomTriggerRunOperator)

    def plan(self, vendor: Axiom) -> StartPlan:
        """Return the start of the automation's run."""
        return vendor.trigger(self.name, self.data)


class AxiomStopRunOperator(StopRunOperator):
    """Stops axiom.ai runs and waits until each is seen to be over.

    A run that was queued has no viewer URL and cannot be stopped over the API.

    Source: https://axiom.ai/docs/developer-hub/api/run-automations/stop-a-run

    :param pid: two-digit pod number from the viewer URL, as text. (templated)
    :param pw: the run's password from the viewer URL. (templated; never shown)
    :param viewer_url: the viewer URL, instead of ``pid`` and ``pw``. (templated; never shown)
    :param name: name of the automation, so that the stop can be confirmed; without it the outcome of a
        run that is named by ids stays ``requested``. (templated)
    :param external_run: a handle, what a start operator returned, or a list of either, instead. (templated)
    :param axiom_conn_id: id of the connection, for ids.
    :param kwargs: see :class:`~airflow_runctl.operators.existing.StopRunOperator`.
    :returns: a dict with ``run_id``, ``outcome``, ``state``, ``vendor_state``, ``seconds``, or a list of them.
    """

    vendor = "axiom"
    secret_fields = frozenset({"pw", "viewer_url"})
    template_fields: Sequence[str] = (
        "pid",
        "pw",
        "viewer_url",
        "name",
        "external_run",
        "conn_id",
        "stop_reason",
    )

    def __init__(
        self,
        *,
        pid: str | None = None,
        pw: str | None = None,
        viewer_url: str | None = None,
        name: str | None = None,
        axiom_conn_id: str = CONN_ID,
        **kwargs: Any,
    ) -> None:
        ids = {"pid": pid, "pw": pw, "viewer_url": viewer_url}
        super().__init__(conn_id=axiom_conn_id, ids=ids, **kwargs)
        self.pid = pid
        self.pw = pw
        self.viewer_url = viewer_url
        self.name = name
        read_given(self, AxiomStopRunOperator)
        if (pid is None) != (pw is None) or (pid is not None and viewer_url is not None):
            raise ValueError(f"{type(self).__name__} {self.task_id!r}: give pid and pw together, or viewer_url alone.")

    def named_run(self) -> tuple[str, Mapping[str, str]]:
        """Return the run that ``pid`` and ``pw``, or the viewer URL, name."""
        from airflow_runctl.vendors.axiom.viewer import Viewer, parse_viewer_url

        url = revealed(self.viewer_url)
        viewer = parse_viewer_url(url) if url else Viewer(str(self.pid), str(revealed(self.pw)))
        ids = {"pid": viewer.pid, "pw": viewer.pw}
        return self.name or f"pid {viewer.pid}", {**ids, "name": self.name} if self.name else ids
