"""Operators for Acme: start a job, stop one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.existing import StopRunOperator

if TYPE_CHECKING:
    from acme_runs.vendor import Acme
    from airflow_runctl.vendors.base import StartPlan


class AcmeStartJobOperator(StartRunOperator):
    """Starts a job of an Acme flow, and waits for its end.

    :param flow: name of the flow. (templated)
    :param acme_conn_id: id of the connection.
    :param kwargs: see :class:`~airflow_runctl.operators.base.StartRunOperator`.
    :returns: a dict with ``run_id``, ``state``, ``vendor_state``, ``url``, ``result``, ``external_run``.
    """

    vendor = "acme"
    template_fields: Sequence[str] = ("flow", "conn_id")

    def __init__(self, *, flow: str, acme_conn_id: str = "acme_default", **kwargs: Any) -> None:
        super().__init__(conn_id=acme_conn_id, **kwargs)
        self.flow = flow

    def plan(self, vendor: Acme) -> StartPlan:
        """Return the start of the flow's job."""
        return vendor.start_job(self.flow)


class AcmeStopJobOperator(StopRunOperator):
    """Stops Acme jobs and waits until each is seen to be over.

    :param job_id: id of the job. (templated)
    :param external_run: a handle, what a start operator returned, or a list of either, instead. (templated)
    :param acme_conn_id: id of the connection, for ``job_id``.
    :param kwargs: see :class:`~airflow_runctl.operators.existing.StopRunOperator`.
    :returns: a dict with ``run_id``, ``outcome``, ``state``, ``vendor_state``, ``seconds``, or a list of them.
    """

    vendor = "acme"
    template_fields: Sequence[str] = ("job_id", "external_run", "conn_id", "stop_reason")

    def __init__(self, *, job_id: str | None = None, acme_conn_id: str = "acme_default", **kwargs: Any) -> None:
        super().__init__(conn_id=acme_conn_id, ids={"job_id": job_id}, **kwargs)
        self.job_id = job_id

    def named_run(self) -> tuple[str, Mapping[str, str]]:
        """Return the job that ``job_id`` names."""
        return str(self.job_id), {"job_id": str(self.job_id)}
