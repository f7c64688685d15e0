"""Connections to the sandbox, and what they give access to."""

import json
from typing import Any

from airflow_runctl.hooks.base import Access, RunHook
from airflow_runctl.hooks.base import hook_class as hook_of
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.testing import connection_rows


class Connections:
    """The sandbox's connections, as they are or with changes."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.rows: dict[str, dict[str, Any]] = connection_rows(sandbox)

    def row(self, conn_id: str, extra: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """Return a connection in Airflow's JSON form; an ``extra`` of ``None`` is taken out."""
        row = {**self.rows[conn_id], **changes}
        merged = {**row.get("extra", {}), **(extra or {})}
        return {**row, "extra": {name: value for name, value in merged.items() if value is not None}}

    def access(self, conn_id: str, extra: dict[str, Any] | None = None, **changes: Any) -> Access:
        """Return what the connection gives access to."""
        from airflow.providers.common.compat.sdk import Connection

        row = self.row(conn_id, extra, **changes)
        hook: type[RunHook] = hook_of(row["conn_type"])
        fields = {**row, "extra": json.dumps(row["extra"])}
        conn = Connection(conn_id=conn_id, **fields)
        return hook.access_of(conn, conn.extra_dejson)
