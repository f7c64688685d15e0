"""The Acme connection type."""

from __future__ import annotations

from acme_runs.vendor import Acme
from airflow_runctl.hooks.base import RunHook, Settings
from airflow_runctl.vendors.base import bearer


class AcmeHook(RunHook):
    """Reaches Acme. The connection: host, and the API key as the password.

    :param conn_id: id of the connection, ``acme_default`` if left out.
    """

    conn_name_attr = "acme_conn_id"
    default_conn_name = "acme_default"
    conn_type = "acme"
    hook_name = "Acme"
    default_host = "api.acme.example"

    @classmethod
    def build(cls, settings: Settings) -> Acme:
        """Return Acme as the connection describes it."""
        return Acme(headers=bearer(settings.require(settings.password, "API key in its password")))
