"""The axiom.ai connection type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from airflow_runctl.arguments.reading import read_call
from airflow_runctl.hooks.base import RunHook, Settings
from airflow_runctl.vendors.axiom.vendor import Axiom


class AxiomHook(RunHook):
    """Reaches axiom.ai's API.

    The connection: host (``lar.axiom.ai/api/v3`` by default) and the API key as the password; extra
    field ``seal_key``.

    :param conn_id: id of the connection, ``axiom_default`` if left out.
    """

    conn_name_attr = "axiom_conn_id"
    default_conn_name = "axiom_default"
    conn_type = "axiom"
    hook_name = "axiom.ai"
    default_host = "lar.axiom.ai/api/v3"

    @classmethod
    def build(cls, settings: Settings) -> Axiom:
        """Return axiom.ai as the connection describes it."""
        return Axiom(api_key=settings.require(settings.password, "API key in its password"))

    def get_reports(self, count: int = 5) -> list[Mapping[str, Any]]:
        """Return the newest runs of the whole account, newest first.

        :param count: how many; the maximum is not documented.
        :returns: dicts with ``task_name``, ``status``, ``description``, ``created_at``, ``updated_at``.
        """
        read_call("AxiomHook.get_reports", count=count)
        return self.run(self._axiom().reports(count))

    def list_automations(self) -> list[str]:
        """Return the exact names of the automations that can be triggered."""
        return self.run(self._axiom().automations())

    def get_remaining_runtime(self) -> Mapping[str, Any]:
        """Return ``used``, ``allowance`` and ``remaining`` minutes of the subscription month."""
        return self.run(self._axiom().remaining_runtime())

    def _axiom(self) -> Axiom:
        return cast(Axiom, self.access.vendor)
