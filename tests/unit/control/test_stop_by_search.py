"""Stopping every live run that matches filters: SnapLogic and both contracts of bctrl."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from airflow_runctl.control import stop_many
from airflow_runctl.control.stop_by_search import matching, stop_all_matching
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.hooks.base import Access, hook_class
from airflow_runctl.operators.bctrl import BctrlRunTaskOperator, BctrlStopRuntimeOperator
from airflow_runctl.operators.snaplogic import SnapLogicStopTaskOperator
from airflow_runctl.runs import ExternalRun
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.vendors.bctrl.browsers import BctrlBrowsers
from airflow_runctl.vendors.bctrl.workspaces import BctrlWorkspaces
from airflow_runctl.vendors.snaplogic.vendor import SnapLogic
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import Attempt
from tests.unit.clients import Client
from tests.unit.connections import Connections
from tests.unit.driven import ONCE

WORKSPACE = "77aa0c1e-5b7d-4f5e-9d43-2f6c1b8a9e10"

pytestmark = pytest.mark.usefixtures("brisk")


@dataclass
class Field:
    """Runs at one connection, made by bare HTTP: nobody here has a handle of them.

    :param wanted: filters that match the runs ``a`` and not the run ``b``.
    """

    box: Sandbox
    conn_id: str
    row: dict[str, Any]
    operator: Callable[..., Any]
    wanted: dict[str, str]

    @property
    def vendor(self) -> str:
        return str(self.row["conn_type"])

    def post(self, path: str, body: dict[str, Any], token: str | None = None) -> None:
        header = {"Authorization": f"Bearer {token or self.row['password']}"}
        answer = requests.post(f"{self.row['host']}/{path}", json=body, headers=header, timeout=30)
        assert answer.ok, answer.text

    def make(self, name: str) -> str:
        """Make a live run of this name; return its id."""
        before = {run["run_id"] for run in self.box.runs()}
        if self.conn_id == "snaplogic_default":
            self.box.behave("snaplogic", name, run_seconds=None, answers="early")
            token = self.row["extra"]["task_token"]
            self.post(f"api/1/rest/slsched/feed/Acme/projects/sales/{name}", {}, token)
        elif self.conn_id == "bctrl_browsers":
            self.post("v1/browsers?wait=5", {"name": name})
        else:
            body = {"kind": "browser", "alias": name, "driver": "playwright", "launch": {"mode": "ephemeral"}}
            self.post(f"v1/workspaces/{WORKSPACE}/runtimes", body)
        [made] = {run["run_id"] for run in self.box.runs()} - before
        self.box.wait_for_state(made, "Started", "active")
        return str(made)

    def open_ids(self) -> set[str]:
        return {run["run_id"] for run in self.box.open_runs()}


FIELDS: dict[str, tuple[Callable[..., Any], dict[str, str]]] = {
    "snaplogic_default": (SnapLogicStopTaskOperator, {"pipeline_name": "a"}),
    "bctrl_default": (BctrlStopRuntimeOperator, {"name": "a"}),
    "bctrl_browsers": (BctrlStopRuntimeOperator, {"name": "a"}),
}


@pytest.fixture(params=FIELDS)
def field_(request: pytest.FixtureRequest, box: Sandbox, connections: Connections) -> Field:
    return Field(box, request.param, connections.rows[request.param], *FIELDS[request.param])


@pytest.fixture
def stop(fake: FakeAirflow, field_: Field) -> Callable[..., Attempt]:
    """Run the stop operator of the vendor with these arguments."""

    def run(**arguments: Any) -> Attempt:
        conn = {f"{field_.vendor}_conn_id": field_.conn_id}
        with fake.dag():
            operator = field_.operator(task_id="stop", **conn, **arguments)
        return fake.run(operator)

    return run


# -- the operators -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("field_", ["snaplogic_default"], indirect=True)
def test_a_stop_that_was_accepted_and_did_nothing_is_asked_for_again(
    field_: Field, stop: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SnapLogic, "stop_again_after", (0.1,))
    field_.make("a")
    field_.box.fault("snaplogic", "stop", "body", body={}, count=1)
    assert [row["outcome"] for row in stop(search=field_.wanted).result] == ["stopped"]
    assert len(field_.box.requests(operation="stop")) == 2


def test_every_live_run_that_matches_is_stopped_and_listed(field_: Field, stop: Callable[..., Attempt]) -> None:
    wanted, other = field_.make("a"), field_.make("b")
    attempt = stop(search=field_.wanted, stop_reason="left over")
    assert attempt.state == "success", attempt.said
    assert [(row["run_id"], row["outcome"], row["state"]) for row in attempt.result] == [(wanted, "stopped", "stopped")]
    assert attempt.result[0]["seconds"] >= 0
    assert field_.open_ids() == {other}


def test_what_nobody_foresaw_of_one_run_that_matches_keeps_no_other_alive(
    field_: Field, stop: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    if field_.conn_id == "bctrl_default":
        search, made = {"workspace_id": WORKSPACE}, [field_.make("a"), field_.make("b")]
    else:
        search, made = field_.wanted, [field_.make("a"), field_.make("a")]
    asking = stop_many.stop

    def odd(vendor: Any, run: ExternalRun, *args: Any, **more: Any) -> Any:
        if run.run_id == made[0]:
            raise TypeError("nobody foresaw this")
        return (yield from asking(vendor, run, *args, **more))

    monkeypatch.setattr(stop_many, "stop", odd)
    attempt = stop(search=search)
    assert "TypeError: nobody foresaw this. It may be alive." in attempt.said
    assert field_.open_ids() == {made[0]}


def test_report_only_stops_nothing(field_: Field, stop: Callable[..., Attempt]) -> None:
    wanted, other = field_.make("a"), field_.make("b")
    attempt = stop(search=field_.wanted, report_only=True)
    assert attempt.state == "success", attempt.said
    word = field_.box.runs(run_id=wanted)[0]["state"]
    assert attempt.result == [{"run_id": wanted, "outcome": None, "state": None, "vendor_state": word, "seconds": None}]
    assert field_.open_ids() == {wanted, other}
    assert field_.box.requests(operation="stop") == []


def test_nothing_that_matches_is_no_error(field_: Field, stop: Callable[..., Attempt]) -> None:
    live = field_.make("b")
    over = field_.make("a")
    field_.box.set_run(
        over, {"snaplogic_default": "Completed", "bctrl_default": "stopped"}.get(field_.conn_id, "ended")
    )
    attempt = stop(search=field_.wanted)
    assert (attempt.state, attempt.result) == ("success", [])
    assert field_.open_ids() == {live}


@pytest.mark.parametrize("report_only", [False, True])
def test_it_refuses_when_more_match_than_expected(
    field_: Field, stop: Callable[..., Attempt], report_only: bool
) -> None:
    if field_.conn_id == "bctrl_default":
        search = {"workspace_id": WORKSPACE}
        made = {field_.make("a"), field_.make("b")}
    else:
        search = field_.wanted
        made = {field_.make("a"), field_.make("a")}
    attempt = stop(search=search, max_runs=1, report_only=report_only)
    assert "2 live " in attempt.said
    assert "more than max_runs=1" in attempt.said
    assert "None was stopped: narrow the filters, or raise max_runs" in attempt.said
    assert all(run_id in attempt.said for run_id in made)
    assert field_.open_ids() == made
    attempt = stop(search=search, max_runs=2)
    assert len(attempt.result) == 2
    assert field_.open_ids() == set()


def test_filters_are_templated_and_an_empty_one_refuses(field_: Field, stop: Callable[..., Attempt]) -> None:
    live = field_.make("a")
    [name] = field_.wanted
    attempt = stop(search={name: "{{ '' }}"})
    assert f"({name} is empty); it has to be a dict of filters" in attempt.said
    assert "Nothing was sent" in attempt.said
    assert field_.open_ids() == {live}
    assert len(stop(search={name: "{{ 'a' }}"}).result) == 1


def test_a_filter_is_compared_whole(field_: Field, stop: Callable[..., Attempt]) -> None:
    live = field_.make("a-longer-name")
    [name] = field_.wanted
    for part in ("a", "a-longer", "%", "*", "A-LONGER-NAME"):
        assert stop(search={name: part}).result == []
    assert field_.open_ids() == {live}


def test_one_that_cannot_be_stopped_keeps_no_other_alive_and_both_are_named(
    field_: Field, stop: Callable[..., Attempt]
) -> None:
    if field_.conn_id == "bctrl_default":
        search = {"workspace_id": WORKSPACE}
        first, second = field_.make("a"), field_.make("b")
    else:
        search = field_.wanted
        first, second = field_.make("a"), field_.make("a")
    field_.box.fault(field_.vendor, "stop", "status", status=403, count=1)
    attempt = stop(search=search, stop_timeout=5)
    assert isinstance(attempt.error, RunctlError)
    [alive] = field_.open_ids()
    [stopped] = {first, second} - {alive}
    assert f"did not take the stop of run {alive!r}" in attempt.said
    assert f"Of 2 runs that matched, stopped: {stopped}." in attempt.said


def test_a_stop_that_is_not_confirmed_is_an_error_unless_nobody_waits(
    field_: Field, stop: Callable[..., Attempt]
) -> None:
    field_.box.behave(field_.vendor, "a", stop_seconds=None)
    field_.make("a")
    assert "asked to stop, not confirmed" in stop(search=field_.wanted, stop_timeout=1.5).said
    attempt = stop(search=field_.wanted, wait_for_stop=False)
    assert [row["outcome"] for row in attempt.result] == ["requested"]


@pytest.mark.parametrize("operator", [SnapLogicStopTaskOperator, BctrlStopRuntimeOperator])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"search": {}}, "search has no filter; it would stop every run there is"),
        ({"search": {"color": "red"}}, "runs cannot be searched by color, only by "),
        (
            {"search": {"color": "red"}, "external_run": {}},
            "give either search or the runs themselves, not both|exactly one",
        ),
        ({"report_only": True, "external_run": {"vendor": "x"}}, "report_only goes only with search"),
        ({}, "exactly one of external_run and the ids of the run .*search"),
    ],
)
def test_a_search_that_makes_no_sense_is_told_when_the_dag_is_parsed(
    operator: Callable[..., Any], arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        operator(task_id="stop", **arguments)


def test_ids_and_search_together_are_told_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match="give either search or the runs themselves, not both"):
        SnapLogicStopTaskOperator(task_id="stop", ruuid="r", search={"pipeline_name": "a"})
    with pytest.raises(ValueError, match="give either search or the runs themselves, not both"):
        BctrlStopRuntimeOperator(task_id="stop", browser_id="b", search={"name": "a"})


@pytest.mark.parametrize(
    ("conn_id", "search", "said"),
    [
        (
            "bctrl_default",
            {"space_id": "s"},
            "cannot be searched by space_id over this connection; name, workspace_id can",
        ),
        (
            "bctrl_browsers",
            {"workspace_id": "w"},
            "cannot be searched by workspace_id over this connection; name, space_id",
        ),
    ],
)
def test_a_filter_of_the_other_contract_refuses(fake: FakeAirflow, conn_id: str, search: Any, said: str) -> None:
    with fake.dag():
        operator = BctrlStopRuntimeOperator(task_id="stop", bctrl_conn_id=conn_id, search=search)
    assert said in fake.run(operator).said


def test_operators_and_vendors_know_the_same_filters() -> None:
    assert SnapLogicStopTaskOperator.filters == SnapLogic.filters
    assert BctrlStopRuntimeOperator.filters == BctrlBrowsers.filters | BctrlWorkspaces.filters


def test_tasks_of_agents_are_no_runtimes(fake: FakeAirflow, box: Sandbox) -> None:
    with fake.dag():
        work = BctrlRunTaskOperator(
            task_id="work", agent="hang-agent", input="a", bctrl_conn_id="bctrl_browsers", wait_for_completion=False
        )
        stop = BctrlStopRuntimeOperator(
            task_id="stop", bctrl_conn_id="bctrl_browsers", search={"space_id": "spc-default"}
        )
    assert fake.run(work).state == "success"
    assert fake.run(stop).result == []
    assert len(box.open_runs()) == 1


# -- hooks -------------------------------------------------------------------------------------------------


def test_a_hook_stops_what_matches_and_says_what_it_stopped(fake: FakeAirflow, field_: Field) -> None:
    wanted, other = field_.make("a"), field_.make("b")
    hook = hook_class(field_.vendor)(field_.conn_id)
    found = hook.run(matching(hook.access.vendor, field_.wanted))
    assert [run.run_id for run in found] == [wanted]
    assert [row["outcome"] for row in stop_all_matching(hook, field_.wanted, report_only=True)] == [None]
    assert field_.open_ids() == {wanted, other}
    assert [(row["run_id"], row["outcome"]) for row in stop_all_matching(hook, field_.wanted)] == [(wanted, "stopped")]
    assert field_.open_ids() == {other}


@pytest.mark.parametrize("filters", [{}, {"name": ""}, {"name": None}, {"name": " ", "space_id": "s"}])
def test_a_hook_refuses_without_a_filter(fake: FakeAirflow, box: Sandbox, filters: dict[str, Any]) -> None:
    with pytest.raises(RunctlError, match="needs a filter, and every filter a value"):
        stop_all_matching(hook_class("bctrl")("bctrl_browsers"), filters)
    assert box.requests() == []


# -- the vendors, with both clients ------------------------------------------------------------------------


def found(client: Client, access: Access, **filters: str) -> dict[str, str]:
    """Return the ids and the vendor's words of the live runs that match."""
    runs = client.drive(access, access.vendor.live_runs(filters), ONCE)
    return {run.run_id: run.vendor_state for run in runs}


def test_snaplogic_is_asked_for_every_live_state_and_every_invoker(
    box: Sandbox, connections: Connections, client: Client
) -> None:
    snaplogic = Field(box, "snaplogic_default", connections.rows["snaplogic_default"], SnapLogicStopTaskOperator, {})
    access = connections.access("snaplogic_default")
    box.behave("snaplogic", "ultra-a", invoker="always_on")
    hang, ultra, parked = (snaplogic.make(name) for name in ("hang", "ultra-a", "parked"))
    box.set_run(parked, "Suspended")
    assert found(client, access, project_path="/Acme/projects/sales").keys() == {hang, ultra, parked}
    assert found(client, access, invoker="always_on").keys() == {ultra}
    assert found(client, access, pipeline_name="parked") == {parked: "Suspended"}
    assert found(client, access, pipeline_name="hang", project_path="/Acme/projects/none") == {}
    assert found(client, access, invoker="scheduled") == {}
    box.clear_requests()
    assert found(client, access, invoker="triggered", pipeline_name="hang").keys() == {hang}
    queries = [request["query"] for request in box.requests(operation="list")]
    assert len(queries) == 9
    assert all("invoker=triggered" in query and "last_hours=1080" in query for query in queries)


def test_a_snaplogic_run_that_does_not_say_what_is_asked_for_is_left_alone(
    box: Sandbox, connections: Connections, client: Client
) -> None:
    rows = [
        {"id": "r-1", "state": "Started", "label": "a", "invoker": "triggered"},
        {"id": "r-2", "state": "Started", "invoker": "triggered"},
        {"id": "r-3", "state": "Started", "label": "ab", "invoker": "triggered"},
    ]
    page = {"response_map": {"entries": rows, "total": 3, "limit": 1000, "offset": 0}, "http_status_code": 200}
    box.fault("snaplogic", "list", "body", body=page)
    access = connections.access("snaplogic_default")
    assert found(client, access, pipeline_name="a", invoker="triggered").keys() == {"r-1"}
    assert found(client, access, pipeline_name="a", invoker="scheduled") == {}


def test_runtimes_are_looked_for_in_one_workspace_or_in_all(
    box: Sandbox, connections: Connections, client: Client
) -> None:
    runtimes = Field(box, "bctrl_default", connections.rows["bctrl_default"], BctrlStopRuntimeOperator, {})
    access = connections.access("bctrl_default")
    first, second = runtimes.make("a"), runtimes.make("b")
    box.set_run(second, "hibernating")
    assert found(client, access, workspace_id=WORKSPACE) == {first: "active", second: "hibernating"}
    assert found(client, access, name="b") == {second: "hibernating"}
    box.clear_requests()
    assert found(client, access, name="a", workspace_id=WORKSPACE) == {first: "active"}
    assert [request["operation"] for request in box.requests()] == ["list"]


def test_browsers_are_looked_for_by_name_and_space(box: Sandbox, connections: Connections, client: Client) -> None:
    browsers = Field(box, "bctrl_browsers", connections.rows["bctrl_browsers"], BctrlStopRuntimeOperator, {})
    access = connections.access("bctrl_browsers")
    first, second = browsers.make("a"), browsers.make("a")
    assert found(client, access, name="a") == {first: "active", second: "active"}
    assert found(client, access, space_id="spc-default").keys() == {first, second}
    assert found(client, access, name="a", space_id="spc-other") == {}
    assert found(client, access, name="shop") == {}, "it is idle"


def test_a_list_that_cannot_be_read_stops_nothing(
    fake: FakeAirflow, field_: Field, stop: Callable[..., Attempt]
) -> None:
    live = field_.make("a")
    field_.box.fault(field_.vendor, "list", "body", body={"odd": json.dumps(1)})
    assert stop(search=field_.wanted).state == "failed"
    assert field_.open_ids() == {live}
