"""The peers: deferred tasks of the dbt Cloud and Databricks providers, and stand-ins for their vendors.

Their triggers and hooks run as they are installed, pointed at a local server by the connection's host. One thing is
changed: dbt Cloud's hook writes ``https://`` before whatever the host is, so ``http://`` is put there again. With TLS
each of its polls would cost a handshake more, since it opens a session for each.

``python -m tests.benchmarks.peers`` serves both vendors in a process of its own.
"""

from __future__ import annotations

import json
import os
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from urllib.parse import urlsplit

from tests.servers.many_runs import ManyRuns, ManyRunsElsewhere, Seen, main

DBT_CLOUD: Final = "dbt-cloud"
DATABRICKS: Final = "databricks"
PACKAGES: Final = {peer: f"apache-airflow-providers-{peer}" for peer in (DBT_CLOUD, DATABRICKS)}
DBT_RUNNING: Final = 3
NOT_INSTALLED: Final = "not installed: make bench installs it"


def installed(peer: str) -> bool:
    """Return True if the peer is there to be measured."""
    return named(peer) != peer


def named(peer: str) -> str:
    """Return a peer's name and version."""
    try:
        return f"{peer} {version(PACKAGES[peer])}"
    except PackageNotFoundError:
        return peer


class PeersVendors(ManyRuns):
    """dbt Cloud's and Databricks' look at a run and stop of it, as cheap as SnapLogic's."""

    def answer(self, method: bytes, path: str, query: str = "", body: bytes = b"") -> bytes | None:
        if path.startswith("/api/2."):
            run_id = str(json.loads(body)["run_id"])
            told = {"run_id": run_id, "state": {"life_cycle_state": "RUNNING", "state_message": "In run"}}
        elif path.startswith("/api/v2/accounts/"):
            run_id = path.rstrip("/").rpartition("/")[2]
            told = {"data": {"id": run_id, "status": DBT_RUNNING}}
        else:
            return super().answer(method, path, query, body)
        what = "stop" if method == b"POST" else "look"
        self.seen.append(Seen(what, run_id))
        self.told += what == "look"
        if what == "stop":
            self.stopped.add(run_id)
        return json.dumps(told).encode()


def vendors() -> ManyRunsElsewhere:
    """Return the vendors of both, in a process of their own."""
    return ManyRunsElsewhere(__name__)


def triggers(peer: str, url: str, interval: float, runs: int) -> list[Any]:
    """Return the triggers of so many deferred tasks, made as the peer's operator makes them."""
    return {DBT_CLOUD: _dbt_cloud, DATABRICKS: _databricks}[peer](url, interval, runs)


def _dbt_cloud(url: str, interval: float, runs: int) -> list[Any]:
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    _connection("dbt_cloud_default", conn_type="dbt_cloud", host=urlsplit(url).netloc, login="1", password="token")
    _speak_http()
    end = time.time() + 24 * 3600
    return [DbtCloudRunJobTrigger("dbt_cloud_default", number, end, interval, 1) for number in range(1, runs + 1)]


@cache
def _speak_http() -> None:
    """Put ``http://`` where dbt Cloud's hook has written ``https://``."""
    from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook

    as_installed = DbtCloudHook.get_request_url_params

    def without_tls(*arguments: Any, **more: Any) -> tuple[str, dict[str, Any]]:
        address, params = as_installed(*arguments, **more)
        return address.replace("https://", "http://", 1), params

    DbtCloudHook.get_request_url_params = staticmethod(without_tls)  # type: ignore[method-assign]


def _databricks(url: str, interval: float, runs: int) -> list[Any]:
    from airflow.providers.databricks.triggers.databricks import DatabricksExecutionTrigger

    at = urlsplit(url)
    _connection(
        "databricks_default",
        conn_type="databricks",
        host=at.hostname,
        port=at.port,
        schema="http",
        password="token",
    )
    period: Any = interval
    return [DatabricksExecutionTrigger(number, "databricks_default", period) for number in range(1, runs + 1)]


def _connection(conn_id: str, **fields: Any) -> None:
    os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(fields)


if __name__ == "__main__":
    main(PeersVendors())
