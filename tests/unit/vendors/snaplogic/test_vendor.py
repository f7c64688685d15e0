"""SnapLogic: stop, resume, and what its connection says."""

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_runctl.exceptions import LoginRefused, NotFound, RunctlError, TransportError
from airflow_runctl.hooks.base import Access
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.vendors.base import Flow, Started
from tests.unit.clients import Client
from tests.unit.connections import Connections
from tests.unit.vendors.snaplogic.runs import ask_stop, external, started, vendor

pytestmark = pytest.mark.usefixtures("brisk")

# -- stop and resume -------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["empty", "envelope"])
def test_stop_asks_without_query_and_body_and_takes_either_answer(
    client: Client, snaplogic: Access, box: Sandbox, ruuid: str, body: str
) -> None:
    box.settings("snaplogic", stop_body=body)
    client.drive(snaplogic, ask_stop(snaplogic, ruuid))
    (request,) = box.requests(operation="stop")
    assert (request["method"], request["query"], request["body"]) == ("POST", "", "")
    assert request["path"] == f"/snaplogic/api/1/rest/public/runtime/stop/Acme/{ruuid}"
    box.wait_for_state(ruuid, "Stopped")


@pytest.fixture
def suspended(client: Client, snaplogic: Access, box: Sandbox) -> Iterator[str]:
    box.behave("snaplogic", "suspend", answers="early", suspend_after_seconds=0, run_seconds=None)
    run = started(client, snaplogic, "suspend")
    box.wait_for_state(run.run_id, "Suspended")
    return run.run_id


def ask_resume(access: Access, ruuid: str) -> Flow[Any]:
    return vendor(access).ask_resume(external(access, ruuid))


def test_suspended_run_is_resumed_under_its_id(client: Client, snaplogic: Access, box: Sandbox, suspended: str) -> None:
    client.drive(snaplogic, ask_resume(snaplogic, suspended))
    assert box.wait_for_state(suspended, "Started")["resume_requests"] == 1
    assert box.requests(operation="resume")[0]["path"].endswith(f"/runtime/start/Acme/{suspended}")


@pytest.mark.parametrize("state", ["Started", "Failed", "Stopped", "Completed", "Stopping"])
def test_only_a_suspended_run_is_resumed(
    client: Client, snaplogic: Access, box: Sandbox, suspended: str, state: str
) -> None:
    box.set_run(suspended, state)
    with pytest.raises(RunctlError, match=f"run {suspended} is {state}; only a Suspended run can be resumed"):
        client.drive(snaplogic, ask_resume(snaplogic, suspended))
    assert box.requests(operation="resume") == []


def test_resume_with_a_lost_answer_is_looked_for_and_not_repeated(
    client: Client, snaplogic: Access, box: Sandbox, suspended: str
) -> None:
    box.fault("snaplogic", "resume", "cut", after_effect=True)
    client.drive(snaplogic, ask_resume(snaplogic, suspended))
    assert box.wait_for_state(suspended, "Started")["resume_requests"] == 1


def test_resume_that_never_arrived_is_an_error(client: Client, snaplogic: Access, box: Sandbox, suspended: str) -> None:
    box.fault("snaplogic", "resume", "cut")
    with pytest.raises(TransportError):
        client.drive(snaplogic, ask_resume(snaplogic, suspended))
    assert len(box.requests(operation="resume")) == 1


# -- the connection --------------------------------------------------------------------------------------


def test_test_says_what_it_reached_and_as_whom(client: Client, connections: Connections, box: Sandbox) -> None:
    access = connections.access("snaplogic_default")
    assert client.drive(access, access.vendor.test()) == "Reached SnapLogic org 'Acme' as ops@acme.example."
    access = connections.access("snaplogic_jwt")
    assert "bearer of the token" in client.drive(access, access.vendor.test())


def test_basic_switched_off_for_the_org_is_suspected(client: Client, snaplogic: Access, box: Sandbox) -> None:
    box.settings("snaplogic", basic_enabled=False)
    for flow in (vendor(snaplogic).test(), vendor(snaplogic).get_run("x"), ask_stop(snaplogic, "x")):
        with pytest.raises(LoginRefused, match=r"Basic authentication may be switched off.*use auth=jwt"):
            client.drive(snaplogic, flow)


def test_refused_jwt_is_not_blamed_on_basic(client: Client, connections: Connections, box: Sandbox) -> None:
    access = connections.access("snaplogic_jwt", password="expired")
    with pytest.raises(LoginRefused, match="Check the login of the connection") as seen:
        client.drive(access, access.vendor.test())
    assert "Basic" not in str(seen.value)


def test_unknown_org_is_not_found(client: Client, connections: Connections, box: Sandbox) -> None:
    access = connections.access("snaplogic_default", {"org": "Nowhere"})
    with pytest.raises(NotFound, match="no environment Nowhere"):
        client.drive(access, access.vendor.test())


def test_page_of_a_run_is_the_dashboard_or_what_the_connection_says(connections: Connections) -> None:
    made = Started("r-1", {"ruuid": "r-1"})
    access = connections.access("snaplogic_default", host="elastic.snaplogic.com")
    assert access.vendor.run_url(access.endpoint.base_url, made) == "https://elastic.snaplogic.com/sl/dashboard.html"
    access = connections.access("snaplogic_default", {"dashboard_url": "https://ui/{org}?id={ruuid}"})
    assert access.vendor.run_url(access.endpoint.base_url, made) == "https://ui/Acme?id=r-1"
