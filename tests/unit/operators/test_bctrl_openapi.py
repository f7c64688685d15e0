"""Every stop of a workspace's runtime that the package sends fits the OpenAPI document of the vendor's page."""

from typing import Any

import pytest
import requests

from airflow_runctl.operators.bctrl import BctrlStartRuntimeOperator, BctrlStopRuntimeOperator
from airflow_runctl.runs import RunState, StopOutcome
from airflow_runctl.sandbox.client import Sandbox
from tests.fakes.airflow_3 import FakeAirflow
from tests.servers.openapi_mock import OpenApiMock
from tests.unit.clients import Client
from tests.unit.connections import Connections
from tests.unit.driven import Driven

DOCUMENT = "bctrl-runtimes-stop.yaml"
EXTRAS: dict[str, Any] = {"requestId": "r-1", "warnings": [{"code": 3}], "region": None}

pytestmark = pytest.mark.usefixtures("brisk")


@pytest.mark.parametrize(("method", "headers"), [("GET", {"Authorization": "Bearer key"}), ("POST", {})])
def test_the_mock_refuses_what_does_not_fit(method: str, headers: dict[str, str]) -> None:
    with OpenApiMock(DOCUMENT) as mock:
        requests.request(method, f"{mock.url}/v1/workspaces/w/runtimes/main/stop", headers=headers, timeout=30)
    assert [judged.wrong != "" for judged in mock.seen] == [True]


@pytest.mark.parametrize("prefix", ["", "/bctrl", "/gateway/team a"])
@pytest.mark.parametrize("more", [{}, EXTRAS], ids=["plain", "with unknown fields"])
@pytest.mark.parametrize(
    ("status", "state"),
    [("active", RunState.RUNNING), ("stopped", RunState.STOPPED), ("failed", RunState.FAILED)],
)
def test_a_stop_fits_the_document_and_its_answer_is_read(
    box: Sandbox,
    connections: Connections,
    client: Client,
    prefix: str,
    more: dict[str, Any],
    status: str,
    state: RunState,
) -> None:
    with OpenApiMock(DOCUMENT, prefix.replace(" ", "%20"), says={"status": status}, more=more) as mock:
        runtimes = Driven(box, connections.access("bctrl_default", host=mock.url), client)
        run = runtimes.run({"workspace_id": "w/1", "alias": "main ü"})
        reply = runtimes.drive(runtimes.access.vendor.ask_stop(run))
    assert (reply.status.state, reply.status.vendor_state) == (state, status)
    [judged] = mock.seen
    assert judged.wrong == ""
    assert judged.path == f"{prefix}/v1/workspaces/w/1/runtimes/main ü/stop"
    assert judged.body == b""
    assert "content-type" not in {name.lower() for name in judged.headers}


def test_a_stop_answered_active_is_not_believed(box: Sandbox, connections: Connections, client: Client) -> None:
    with OpenApiMock(DOCUMENT, says={"status": "active"}) as mock:
        runtimes = Driven(box, connections.access("bctrl_default", host=mock.url), client)
        result = runtimes.stop(runtimes.run({"workspace_id": "w", "alias": "main"}), timeout=0.3)
    assert result.outcome is StopOutcome.REQUESTED
    assert [judged.wrong for judged in mock.known()] == [""]


def test_every_stop_of_the_operators_fits_the_document(
    fake: FakeAirflow, box: Sandbox, connections: Connections
) -> None:
    with OpenApiMock(DOCUMENT, "/gateway", says={"status": "stopped"}, more=EXTRAS) as mock:
        fake.connections["bctrl_default"] = connections.row("bctrl_default", host=mock.url)
        with fake.dag():
            operator = BctrlStopRuntimeOperator(task_id="stop", workspace_id="w-1", alias="{{ 'main' }}")
        attempt = fake.run(operator)
        assert attempt.state == "success", attempt.said
        assert attempt.result["outcome"] == "stopped"
    assert [(judged.path, judged.wrong) for judged in mock.known()] == [
        ("/gateway/v1/workspaces/w-1/runtimes/main/stop", "")
    ]


def test_a_stop_by_handle_sends_what_the_document_says(
    fake: FakeAirflow, box: Sandbox, connections: Connections
) -> None:
    """The sandbox answers the looks that the document does not know; what it received is judged afterwards."""
    workspace = "77aa0c1e-5b7d-4f5e-9d43-2f6c1b8a9e10"
    box.behave("bctrl", "main", stop_seconds=0.3)
    with fake.dag():
        start = BctrlStartRuntimeOperator(task_id="start", workspace_id=workspace, alias="main")
        handle = fake.run(start).result["external_run"]
        stop = BctrlStopRuntimeOperator(task_id="stop", external_run=handle)
    attempt = fake.run(stop)
    assert (attempt.state, attempt.result["outcome"]) == ("success", "stopped")
    [seen] = box.requests(vendor="bctrl", operation="stop")
    with OpenApiMock(DOCUMENT) as mock:
        path = seen["path"].removeprefix("/bctrl")
        requests.request(seen["method"], f"{mock.url}{path}", headers=seen["headers"], data=seen["body"], timeout=30)
    assert [judged.wrong for judged in mock.seen] == [""]
