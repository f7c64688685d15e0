"""SnapLogic's runs as the tests start, find, look at and stop them."""

import json
from contextlib import suppress
from typing import Any

import requests

from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import RunStatus
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Effect, Flow, HttpRequest, Started, StartPlan
from airflow_runctl.vendors.snaplogic.trigger import TriggeredTask
from airflow_runctl.vendors.snaplogic.vendor import SnapLogic
from tests.unit.clients import Client

SALES = "/Acme/projects/sales"
BRIEF = Patience(total=0.3)


def vendor(access: Access) -> SnapLogic:
    assert isinstance(access.vendor, SnapLogic)
    return access.vendor


def plan(access: Access, name: str = "hang", **task: Any) -> StartPlan:
    task = {"task_path": f"projects/sales/{name}", "pipeline_name": name, **task}
    return vendor(access).trigger(TriggeredTask(**task))


def trigger(access: Access, path: str) -> HttpRequest:
    """Somebody else's start."""
    return HttpRequest("POST", f"/api/1/rest/slsched/feed{path}", Effect.START, headers=vendor(access).task_headers)


def somebody_starts(access: Access, path: str = f"{SALES}/hang") -> None:
    """Start a run as somebody else does, who does not wait for its answer."""
    call = trigger(access, path)
    with suppress(requests.ReadTimeout):
        requests.post(access.endpoint.base_url + call.path, headers=dict(call.headers), timeout=0.2)


def whole(start: StartPlan) -> Flow[Started]:
    search = yield from start.prepare()
    json.dumps(search)
    return (yield from start.start(search))


def started(client: Client, access: Access, name: str = "hang", **task: Any) -> Started:
    found: Started = client.drive(access, whole(plan(access, name, **task)))
    return found


def only_run(box: Sandbox) -> dict[str, Any]:
    (run,) = box.runs(vendor="snaplogic")
    return run


def look(client: Client, access: Access, ruuid: str, patience: Patience | None = None) -> RunStatus:
    status: RunStatus = client.drive(access, vendor(access).get_run(ruuid), patience)
    return status


def external(access: Access, ruuid: str) -> Any:
    from datetime import UTC, datetime

    from airflow_runctl.runs import ExternalRun

    return ExternalRun("snaplogic", access.conn_id, ruuid, None, datetime.now(UTC), {"ruuid": ruuid})


def ask_stop(access: Access, ruuid: str) -> Flow[Any]:
    return vendor(access).ask_stop(external(access, ruuid))
