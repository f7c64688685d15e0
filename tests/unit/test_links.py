"""The button that opens a run at its vendor: when its address is stored, and what never is in it."""

import importlib
import itertools
import json
from typing import Any

import pytest

from airflow_runctl.compat import IS_AIRFLOW_2
from airflow_runctl.hooks.base import Access
from airflow_runctl.links import ExternalRunLink
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.provider_info import get_provider_info
from airflow_runctl.runs import HANDLE_KEY, LINK_KEY
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.sensors.run import ExternalRunSensor
from airflow_runctl.vendors.base import Started
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import Attempt
from tests.unit.connections import Connections

pytestmark = pytest.mark.usefixtures("brisk")

_numbers = itertools.count(1)


def start(fake: FakeAirflow, box: Sandbox, vendor: str = "snaplogic", **arguments: Any) -> StartRunOperator:
    """Return a start of a run that hangs."""
    name = f"linked-{next(_numbers)}"
    with fake.dag():
        if vendor == "snaplogic":
            box.behave("snaplogic", name, run_seconds=None, answers="early")
            return SnapLogicTriggerTaskOperator(task_id="run", task_path=f"/Acme/projects/sales/{name}", **arguments)
        box.behave("axiom", name, run_seconds=None)
        return AxiomTriggerRunOperator(task_id="run", name=name, **arguments)


def address(fake: FakeAirflow, attempt: Attempt) -> Any:
    """Return what the button opens: what Airflow 3 has stored; Airflow 2 asks each time the page is shown."""
    if IS_AIRFLOW_2:
        (link,) = attempt.task.operator_extra_links
        return link.get_link(attempt.task, ti_key=attempt.ti.key)
    return fake.xcom("run", LINK_KEY)


def test_airflow_finds_the_link_under_the_key_that_it_makes_from_the_class() -> None:
    """The UI and the API know nothing but the name and the key, which are all that a serialized Dag holds."""
    assert ExternalRunLink().xcom_key == f"_link_{ExternalRunLink.__name__}" == LINK_KEY
    assert ExternalRunLink().name == "External run"


@pytest.mark.parametrize(
    "operator", [StartRunOperator, SnapLogicTriggerTaskOperator, AxiomTriggerRunOperator, ExternalRunSensor]
)
def test_every_operator_that_knows_a_run_has_the_button(operator: Any) -> None:
    assert [type(link) for link in operator.operator_extra_links] == [ExternalRunLink]


def test_the_provider_tells_airflow_of_the_link() -> None:
    (path,) = get_provider_info()["extra-links"]  # type: ignore[misc]
    module, _, name = path.rpartition(".")
    assert getattr(importlib.import_module(module), name) is ExternalRunLink


@pytest.mark.parametrize(
    "arguments", [{"deferrable": True}, {"wait_for_completion": False}], ids=["deferred", "released"]
)
def test_the_address_is_stored_right_after_the_handle_and_is_the_same_at_the_end(
    fake: FakeAirflow, box: Sandbox, arguments: dict[str, Any]
) -> None:
    attempt = fake.run(start(fake, box, **arguments))

    assert attempt.state in {"deferred", "success"}
    keys = [msg.key for msg in fake.sent("SetXCom")]
    assert keys[:3] == ["external_run_audit", HANDLE_KEY, LINK_KEY]
    addresses = [msg.value for msg in fake.sent("SetXCom", key=LINK_KEY)]
    if not IS_AIRFLOW_2:
        assert len(addresses) == 2, "Airflow has not asked for the address at the end of the process"
    assert set(addresses) == {f"{box.url}/snaplogic/sl/dashboard.html"} == {address(fake, attempt)}
    assert fake.xcom("run", HANDLE_KEY)["url"] == addresses[0]


def test_an_address_that_cannot_be_stored_ends_no_run(fake: FakeAirflow, box: Sandbox) -> None:
    fake.refuse("SetXCom", key=LINK_KEY)
    attempt = fake.run(start(fake, box, wait_for_completion=False))
    assert attempt.state == "success", attempt.error
    assert len(box.open_runs()) == 1
    assert fake.xcom("run", HANDLE_KEY)["run_id"] == attempt.result["run_id"]


def test_there_is_none_where_the_vendor_has_no_page(fake: FakeAirflow, box: Sandbox) -> None:
    """The API turns the empty text into null, and the UI shows no button for it."""
    attempt = fake.run(start(fake, box, "axiom", wait_for_completion=False))
    assert attempt.result["url"] is None
    assert address(fake, attempt) == ""
    assert {msg.value for msg in fake.sent("SetXCom", key=LINK_KEY)} <= {""}


def test_there_is_none_for_a_task_that_started_nothing(fake: FakeAirflow, box: Sandbox) -> None:
    box.fault("snaplogic", "any", "status", status=403)
    attempt = fake.run(start(fake, box))
    assert attempt.state == "failed"
    assert address(fake, attempt) == ""


def test_the_template_on_the_connection_makes_the_address(fake: FakeAirflow, box: Sandbox) -> None:
    row = fake.connections["snaplogic_default"]
    template = "https://example.com/{org}/runs?id={ruuid}"
    fake.connections["snaplogic_default"] = {**row, "extra": {**row["extra"], "dashboard_url": template}}
    attempt = fake.run(start(fake, box, wait_for_completion=False))
    assert fake.xcom("run", LINK_KEY) == f"https://example.com/Acme/runs?id={attempt.result['run_id']}"


@pytest.mark.parametrize(
    "conn_id",
    ["snaplogic_default", "snaplogic_jwt", "axiom_default", "vectorshift_default", "bctrl_default", "bctrl_browsers"],
)
def test_no_secret_of_a_connection_or_a_run_is_in_an_address(connections: Connections, conn_id: str) -> None:
    """Whatever a vendor's ids are named: none that is no part of the shown id may come up in the address."""
    try:
        access: Access = connections.access(conn_id)
    except Exception as error:
        if "No installed package knows the vendor" in str(error):
            pytest.skip(str(error))
        raise
    secrets = {name: f"swordfish-{name}" for name in ("pw", "password", "viewer_url", "connect_url", "token", "secret")}
    shown = ("ruuid", "run_id", "pipeline_id", "workspace_id", "alias", "runtime_id", "task_id", "browser_id", "kind")
    ids = {**{name: "shown" for name in shown}, **secrets}
    url = access.vendor.run_url(access.endpoint.base_url, Started("shown", ids))
    assert "swordfish" not in (url or "")
    held = json.dumps(connections.rows[conn_id].get("extra", {}))
    for key in [*access.seal_keys, *(value for value in json.loads(held).values() if "-" in str(value))]:
        assert key not in (url or "")


@pytest.mark.parametrize("forged", ["javascript:alert(1)", "data:text/html,x", " https://x", {"a": 1}, 7, ""])
def test_button_opens_nothing_but_a_page(fake: FakeAirflow, box: Sandbox, forged: Any) -> None:
    """Whoever may write XComs could put a script there."""
    task = start(fake, box, wait_for_completion=False)
    attempt = fake.run(task)
    fake.put_xcom("run", LINK_KEY, forged)
    assert ExternalRunLink().get_link(task, ti_key=attempt.ti.key if IS_AIRFLOW_2 else _key(fake)) == ""


def _key(fake: FakeAirflow) -> Any:
    from airflow.models.taskinstancekey import TaskInstanceKey

    return TaskInstanceKey(fake.dag_id, "run", fake.run_id, 1, -1)
