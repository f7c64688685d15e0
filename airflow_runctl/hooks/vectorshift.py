"""The VectorShift connection type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_runctl.arguments.reading import read_call
from airflow_runctl.hooks.base import RunHook, Settings
from airflow_runctl.vendors.base import bearer
from airflow_runctl.vendors.vectorshift.analytics import ListedRun
from airflow_runctl.vendors.vectorshift.vendor import VectorShift


class VectorShiftHook(RunHook):
    """Reaches VectorShift's API v1.

    The connection: host (``api.vectorshift.ai/v1`` by default) and the API key as the password; extra
    field ``seal_key``. The key stands for its user and organisation; there is nothing else to say.

    :param conn_id: id of the connection, ``vectorshift_default`` if left out.
    """

    conn_name_attr = "vectorshift_conn_id"
    default_conn_name = "vectorshift_default"
    conn_type = "vectorshift"
    hook_name = "VectorShift"
    default_host = "api.vectorshift.ai/v1"

    @classmethod
    def build(cls, settings: Settings) -> VectorShift:
        """Return VectorShift as the connection describes it."""
        return VectorShift(headers=bearer(settings.require(settings.password, "API key in its password")))

    @property
    def vendor(self) -> VectorShift:
        """VectorShift, with the connection's key."""
        vendor = self.access.vendor
        assert isinstance(vendor, VectorShift)
        return vendor

    def list_pipelines(self) -> list[Mapping[str, Any]]:
        """Return the pipelines that the key can see, each as VectorShift describes it.

        Source: https://docs.vectorshift.ai/api-reference/pipelines/list
        """
        return self.run(self.vendor.list_pipelines())

    def list_runs(self, pipeline_id: str, status: str | None = None) -> list[ListedRun]:
        """Return the runs of a pipeline as far as the analytics know them, which may lag behind.

        Source: https://docs.vectorshift.ai/sdk/analytics/reference

        :param pipeline_id: id of the pipeline.
        :param status: ``in_progress``, ``success`` or ``failure``; all by default.
        """
        read_call("VectorShiftHook.list_runs", pipeline_id=pipeline_id, status=status)
        return self.run(self.vendor.list_runs(pipeline_id, status))
