"""Every terminate that the package sends fits the OpenAPI document of the vendor's page."""

import json
from typing import Any

import pytest
import requests

from airflow_runctl.exceptions import VendorError
from airflow_runctl.hooks.base import Access
from airflow_runctl.operators.vectorshift import VectorShiftRunPipelineOperator, VectorShiftTerminateRunOperator
from airflow_runctl.runs import ExternalRun
from airflow_runctl.sandbox.client import Sandbox
from tests.fakes.airflow_3 import FakeAirflow
from tests.servers.openapi_mock import OpenApiMock
from tests.unit.clients import Client
from tests.unit.connections import Connections
from tests.unit.vendors.vectorshift.test_vectorshift import Shift

DOCUMENT = "vectorshift-terminate.yaml"
EXTRAS: dict[str, Any] = {
    "requestId": "r-1",
    "warnings": [{"code": 3}],
    "task_id": None,
    "nested": {"status": "failed"},
}

pytestmark = pytest.mark.usefixtures("brisk")


def access_to(mock: OpenApiMock, connections: Connections) -> Access:
    return connections.access("vectorshift_default", host=mock.url)


def a_run(shift: Shift, pipeline_id: str = "pl-1") -> ExternalRun:
    return shift.run({"pipeline_id": pipeline_id, "run_id": "66aa02"})


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("GET", {}, None),
        ("POST", {}, {"run_id": "66aa02"}),
        ("POST", {"Authorization": "Bearer key"}, {"run_ids": ["66aa02"]}),
        ("POST", {"Authorization": "Bearer key"}, {"run_id": 3}),
        ("POST", {"Authorization": "Bearer key"}, None),
    ],
    ids=["wrong method", "no key", "the body of a resume", "an id that is no text", "no body"],
)
def test_the_mock_refuses_what_does_not_fit(method: str, headers: dict[str, str], body: Any) -> None:
    with OpenApiMock(DOCUMENT) as mock:
        requests.request(method, f"{mock.url}/pipeline/pl-1/terminate", headers=headers, json=body, timeout=30)
    assert [judged.wrong != "" for judged in mock.seen] == [True]


@pytest.mark.parametrize("prefix", ["", "/v1", "/gateway/team a/v1"])
@pytest.mark.parametrize("more", [{}, EXTRAS], ids=["plain", "with unknown fields"])
@pytest.mark.parametrize("pipeline_id", ["pl-1", "pl/1 ü?#"])
def test_a_terminate_fits_the_document(
    box: Sandbox, connections: Connections, client: Client, prefix: str, more: dict[str, Any], pipeline_id: str
) -> None:
    with OpenApiMock(DOCUMENT, prefix.replace(" ", "%20"), more=more) as mock:
        shift = Shift(box, connections.access("vectorshift_default", host=mock.url), client)
        assert shift.drive(shift.vendor.ask_stop(a_run(shift, pipeline_id))).status is None
    [judged] = mock.seen
    assert judged.wrong == ""
    assert judged.path == f"{prefix}/pipeline/{pipeline_id}/terminate"
    assert json.loads(judged.body) == {"run_id": "66aa02"}
    assert judged.headers["Content-Type"] == "application/json"


def test_a_terminate_answered_active_fits_the_document_and_is_not_believed(
    box: Sandbox, connections: Connections, client: Client
) -> None:
    with OpenApiMock(DOCUMENT, says={"status": "active"}, checked=False) as mock:
        shift = Shift(box, access_to(mock, connections), client)
        result = shift.stop(a_run(shift), timeout=0.3)
    assert result.outcome == "requested"
    assert [judged.wrong for judged in mock.known()] == [""]


def test_a_terminate_answered_failed_is_an_error(box: Sandbox, connections: Connections, client: Client) -> None:
    with OpenApiMock(DOCUMENT, says={"status": "failed"}) as mock:
        shift = Shift(box, access_to(mock, connections), client)
        with pytest.raises(VendorError, match="did not carry out"):
            shift.drive(shift.vendor.ask_stop(a_run(shift)))
    assert [judged.wrong for judged in mock.seen] == [""]


def test_every_terminate_of_the_operators_fits_the_document(
    fake: FakeAirflow, box: Sandbox, connections: Connections
) -> None:
    """By ids and by handle, at the mock; it answers no look, so the stops stay unconfirmed."""
    with fake.dag():
        start = VectorShiftRunPipelineOperator(task_id="start", pipeline_id="pl-hang", wait_for_completion=False)
    handle = fake.run(start).result["external_run"]
    with OpenApiMock(DOCUMENT, "/gateway", more=EXTRAS) as mock:
        fake.connections["vectorshift_default"] = connections.row("vectorshift_default", host=mock.url)
        with fake.dag():
            named: Any = {"task_id": "named", "pipeline_id": "pl-hang", "run_id": "66aa02"}
            operators = [
                VectorShiftTerminateRunOperator(**named, wait_for_stop=False),
                VectorShiftTerminateRunOperator(task_id="handled", external_run=handle, wait_for_stop=False),
            ]
        for operator in operators:
            attempt = fake.run(operator)
            assert attempt.state == "success", attempt.said
            assert attempt.result["outcome"] == "requested"
    assert len(mock.known()) == 2
    assert [judged.wrong for judged in mock.known()] == ["", ""]
