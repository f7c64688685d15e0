"""bctrl's contract ``browsers`` over real HTTP, with both clients: browsers and their runs."""

from dataclasses import dataclass
from typing import Any

import pytest

from airflow_runctl.exceptions import (
    BadAnswer,
    CannotStop,
    ConnectionSetupError,
    HandleError,
    NotFound,
    StartRefused,
    StartUncertain,
    TransportError,
    VendorError,
)
from airflow_runctl.runs import ExternalRun, RunState, StopOutcome
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.vendors.bctrl import api as module
from airflow_runctl.vendors.bctrl.api import RuntimeStart
from airflow_runctl.vendors.bctrl.browsers import BctrlBrowsers
from tests.servers.odd_server import OddServer
from tests.unit.clients import Client
from tests.unit.connections import Connections
from tests.unit.driven import ONCE, Driven

SHOP = "brw-shop"
"""A browser that is there from the beginning, idle."""


@dataclass
class Browsers(Driven):
    """The browsers of the sandbox."""

    @property
    def vendor(self) -> BctrlBrowsers:
        vendor = self.access.vendor
        assert isinstance(vendor, BctrlBrowsers)
        return vendor

    def start(self, name: str | None = "shopper", **more: Any) -> ExternalRun:
        return self.carry_out(self.vendor.start_runtime(RuntimeStart(name=name, **more)))

    def again(self, browser_id: str = SHOP) -> ExternalRun:
        return self.carry_out(self.vendor.start_runtime(RuntimeStart(browser_id=browser_id)))

    def open_ids(self) -> list[str]:
        return [run["run_id"] for run in self.box.open_runs(vendor="bctrl")]


@pytest.fixture
def browsers(
    box: Sandbox, connections: Connections, client: Client, brisk: None, monkeypatch: pytest.MonkeyPatch
) -> Browsers:
    monkeypatch.setattr(module, "LOST_PAUSES", (0.0, 0.05))
    monkeypatch.setattr(module, "KEYED_PAUSES", (0.0, 0.05, 0.05))
    return Browsers(box, connections.access("bctrl_browsers"), client)


# -- headers -----------------------------------------------------------------------------------------------


def test_every_request_says_the_version_of_the_contract(browsers: Browsers) -> None:
    run = browsers.start()
    browsers.status(run)
    browsers.stop(run)
    for request in browsers.box.requests(vendor="bctrl"):
        headers = {name.lower(): value for name, value in request["headers"].items()}
        assert headers["bctrl-version"] == "2026-10-03"
        assert "bctrl-subaccount-id" not in headers


def test_a_subaccount_is_named_in_every_request(browsers: Browsers, connections: Connections) -> None:
    browsers.access = connections.access("bctrl_browsers", {"subaccount_id": "sub-7"})
    browsers.drive(browsers.vendor.test())
    [request] = browsers.box.requests(vendor="bctrl")
    assert {name.lower(): value for name, value in request["headers"].items()}["bctrl-subaccount-id"] == "sub-7"


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (
            {"api": "runtimes"},
            "Extra 'api' of connection 'bctrl_default' is 'runtimes'; it can be workspaces or browsers.",
        ),
        ({"subaccount_id": "sub-7"}, "goes only with 'api' set to browsers"),
    ],
)
def test_a_connection_that_makes_no_sense_is_told(connections: Connections, extra: dict[str, Any], said: str) -> None:
    with pytest.raises(ConnectionSetupError, match=said):
        connections.access("bctrl_default", extra)


def test_the_workspaces_of_the_page_are_spoken_where_the_connection_does_not_say(connections: Connections) -> None:
    assert connections.access("bctrl_default", {"api": None}).vendor == connections.access("bctrl_default").vendor
    assert isinstance(connections.access("bctrl_default", {"api": "Browsers"}).vendor, BctrlBrowsers)


# -- start -------------------------------------------------------------------------------------------------


def test_a_new_browser_is_started_under_a_key_that_was_recorded_before(browsers: Browsers) -> None:
    options = {"headless": True, "timeoutSeconds": 60, "metadata": {"team": "a"}}
    plan = browsers.vendor.start_runtime(RuntimeStart(name="shopper", space_id="spc-1", options=options))
    search = browsers.prepare(plan)
    assert browsers.requests("start") == []
    started = browsers.drive(plan.start(search))
    [run] = browsers.box.open_runs()
    assert started.run_id == run["run_id"]
    assert started.ids == {"browser_id": run["details"]["browser_id"], "run_id": run["run_id"]}
    assert started.vendor_state == "active"
    [request] = browsers.requests("start")
    assert request["headers"]["Idempotency-Key"] == search["key"]
    assert request["query"] == "wait=10"
    marked = {"team": "a", "airflow_runctl": search["key"]}
    assert browsers.sent("start") == [
        {"headless": True, "timeoutSeconds": 60, "metadata": marked, "name": "shopper", "spaceId": "spc-1"}
    ]


def test_the_key_does_not_make_two_starts_of_the_same_different(browsers: Browsers) -> None:
    first, second = (browsers.vendor.start_runtime(RuntimeStart(name="a")) for _ in range(2))
    assert first.arguments == second.arguments
    assert browsers.prepare(first)["key"] != browsers.prepare(second)["key"]


def test_another_run_of_a_browser_that_is_there_is_started(browsers: Browsers) -> None:
    earlier = browsers.again()
    browsers.stop(earlier)
    run = browsers.again()
    assert run.ids == {"browser_id": SHOP, "run_id": run.run_id}
    assert browsers.open_ids() == [run.run_id] != [earlier.run_id]
    assert browsers.sent("start") == [{}, {}]


def test_a_run_that_is_there_already_is_not_taken_for_ours(browsers: Browsers) -> None:
    """bctrl would give it back as if it had been started now; and then it would be ours to stop."""
    other = browsers.again()
    with pytest.raises(StartRefused, match=rf"'brw-shop' has run {other.run_id} already .active.. Nothing was started"):
        browsers.again()
    assert len(browsers.requests("start")) == 1


def test_a_start_behind_a_stop_waits_for_a_run_of_its_own(browsers: Browsers) -> None:
    browsers.box.behave("bctrl", "shop", stop_seconds=0.5)
    earlier = browsers.again()
    browsers.drive(browsers.vendor.ask_stop(earlier))
    run = browsers.again()
    assert run.run_id != earlier.run_id
    assert browsers.open_ids() == [run.run_id]


def test_a_run_that_is_not_admitted_yet_is_live_and_is_found_later(browsers: Browsers, monkeypatch: Any) -> None:
    monkeypatch.setattr("airflow_runctl.vendors.bctrl.browsers.START_WAIT", 0)
    browsers.box.behave("bctrl", "shopper", queue_seconds=3)
    run = browsers.start()
    assert run.ids == {"browser_id": run.run_id, "awaited": "1", "after": ""}
    status = browsers.status(run)
    assert (status.state, status.message) == (RunState.QUEUED, "no run is admitted yet")
    [true_run] = browsers.box.open_runs()
    browsers.box.wait_for_state(true_run["run_id"], "active")
    assert browsers.status(run).vendor_state == "active"
    assert browsers.stop(run).outcome is StopOutcome.STOPPED


def test_an_awaited_run_is_told_from_the_runs_before_and_after_it(browsers: Browsers) -> None:
    before = browsers.again()
    browsers.stop(before)
    ours = browsers.again()
    awaited = browsers.run({"browser_id": SHOP, "awaited": "1", "after": before.run_id}, SHOP)
    assert browsers.status(awaited).vendor_state == "active"
    browsers.stop(ours)
    after = browsers.again()
    assert browsers.status(awaited).vendor_state == "ended"
    assert browsers.stop(awaited).outcome is StopOutcome.ALREADY_FINISHED
    assert browsers.open_ids() == [after.run_id]


def test_an_awaited_run_of_an_idle_browser_is_not_taken_for_over(browsers: Browsers) -> None:
    """Nothing says that it will not be admitted: a stop that is refused leaves it possibly alive."""
    awaited = browsers.run({"browser_id": SHOP, "awaited": "1", "after": ""}, SHOP)
    assert browsers.status(awaited).state is RunState.QUEUED
    with pytest.raises(CannotStop, match=r"the run may be alive\. bctrl answered HTTP 409: the browser is not running"):
        browsers.stop(awaited, timeout=0.4)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422])
def test_a_refused_start_surely_started_nothing(browsers: Browsers, status: int) -> None:
    browsers.box.fault("bctrl", "start", "status", status=status)
    with pytest.raises(
        StartRefused, match=rf"refused to start a browser named 'shopper'. bctrl answered HTTP {status}"
    ):
        browsers.start()
    assert len(browsers.requests("start")) == 1


def test_a_run_that_fails_at_once_is_no_success(browsers: Browsers) -> None:
    run = {"id": "run-1", "status": "failed", "endReason": "no capacity"}
    body = {"id": "brw-1", "status": "idle", "currentRun": run}
    browsers.box.fault("bctrl", "start", "body", status=201, body=body)
    with pytest.raises(StartRefused, match=r"of browser brw-1, but it is failed \(no capacity\). Nothing is running"):
        browsers.start()


@pytest.mark.parametrize("trouble", [{"kind": "cut"}, {"kind": "status", "status": 503}], ids=str)
def test_a_start_without_an_answer_is_sent_again_under_its_key_and_starts_nothing_more(
    browsers: Browsers, trouble: dict[str, Any]
) -> None:
    browsers.box.fault("bctrl", "start", count=2, after_effect=True, **trouble)
    run = browsers.start()
    assert browsers.open_ids() == [run.run_id]
    keys = [request["headers"]["Idempotency-Key"] for request in browsers.requests("start")]
    assert len(keys) == 3
    assert len(set(keys)) == len({request["body"] for request in browsers.requests("start")}) == 1


def test_a_refusal_after_an_unclear_answer_proves_nothing(browsers: Browsers) -> None:
    browsers.box.fault("bctrl", "start", "cut", count=1, after_effect=True)
    browsers.box.fault("bctrl", "start", "status", status=401)
    with pytest.raises(
        StartUncertain, match=r"what became of it is not known: bctrl answered HTTP 401: .*none was found"
    ):
        browsers.start()
    assert len(browsers.open_ids()) == 1


@pytest.mark.parametrize("reason", ["unknown", "outcome_unknown"])
def test_a_start_whose_outcome_bctrl_does_not_know_is_not_sent_again(browsers: Browsers, reason: str) -> None:
    body = {"error": {"code": "x", "message": "who knows", "reasonClass": reason}}
    browsers.box.fault("bctrl", "start", "status", status=500, body=body)
    with pytest.raises(StartUncertain, match="who knows"):
        browsers.start()
    assert len(browsers.requests("start")) == 1


def test_a_start_that_never_left_says_so(browsers: Browsers, connections: Connections) -> None:
    browsers.access = connections.access("bctrl_browsers", host="http://127.0.0.1:1")
    plan = browsers.vendor.start_runtime(RuntimeStart(name="a"))
    with pytest.raises(TransportError) as error:
        browsers.drive(plan.start(browsers.prepare(plan)), ONCE)
    assert not error.value.sent


def test_a_start_that_left_once_is_not_taken_for_one_that_never_did(
    browsers: Browsers, connections: Connections
) -> None:
    """The first sending is cut; by the second nobody listens any more."""
    with OddServer(lambda connection, request: odd.__exit__()) as odd:
        browsers.access = connections.access("bctrl_browsers", host=odd.url)
        with pytest.raises(StartUncertain, match="what became of it is not known: No connection could be made"):
            browsers.start()
    assert len(odd.received) == 1


def test_an_answer_without_an_id_is_looked_behind(browsers: Browsers) -> None:
    browsers.box.fault("bctrl", "start", "body", body={"object": "browser"})
    with pytest.raises(StartUncertain, match="its answer names no browser; none was found"):
        browsers.start()


def test_a_browser_is_found_by_the_mark_of_its_start(browsers: Browsers) -> None:
    """The sandbox does not show metadata; the contract does."""
    run = browsers.start()
    shown = {
        **browsers.drive(browsers.vendor._get_browser(run.ids["browser_id"])),
        "metadata": {"airflow_runctl": "key-1"},
    }
    others = [{"id": "brw-2", "metadata": {"airflow_runctl": "key-2"}}, {"id": "brw-3"}]
    browsers.box.fault("bctrl", "list", "body", body={"data": [*others, shown], "nextCursor": None})
    search = {"browser": "", "name": None, "key": "key-1", "after": ""}
    [found] = browsers.drive(browsers.vendor.find(search))
    assert (found.run_id, found.ids) == (run.run_id, run.ids)
    assert browsers.drive(browsers.vendor.find({**search, "key": "key-9"})) == []


def test_a_new_run_of_a_browser_is_found_behind_the_one_before(browsers: Browsers) -> None:
    before = browsers.again()
    browsers.stop(before)
    search = {"browser": SHOP, "name": None, "key": "k", "after": before.run_id}
    assert browsers.drive(browsers.vendor.find(search)) == []
    run = browsers.again()
    assert [found.ids for found in browsers.drive(browsers.vendor.find(search))] == [run.ids]


def test_what_is_of_the_other_contract_is_refused(browsers: Browsers) -> None:
    with pytest.raises(ConnectionSetupError, match="knows neither workspace_id nor alias"):
        browsers.vendor.start_runtime(RuntimeStart("w-1", "main"))


# -- look --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("starting", RunState.RUNNING),
        ("active", RunState.RUNNING),
        ("standby", RunState.RUNNING),
        ("stopping", RunState.STOPPING),
        ("ended", RunState.STOPPED),
        ("failed", RunState.FAILED),
        ("canceled", RunState.UNKNOWN),
        ("succeeded", RunState.UNKNOWN),
        ("unknown", RunState.UNKNOWN),
        ("molten", RunState.UNKNOWN),
    ],
)
def test_the_words_of_a_run_are_read_and_others_are_live(browsers: Browsers, word: str, state: RunState) -> None:
    """Those of a task among them: of a run they are not documented."""
    run = browsers.start()
    browsers.box.set_run(run.run_id, word)
    status = browsers.status(run)
    assert (status.state, status.vendor_state) == (state, word)


def test_the_reason_of_an_end_is_told(browsers: Browsers) -> None:
    run = browsers.start()
    browsers.box.set_run(run.run_id, "failed", "out of memory")
    assert browsers.status(run).message == "out of memory"


def test_a_browser_that_a_user_names_is_looked_at_through_its_run(browsers: Browsers) -> None:
    named = browsers.run({"browser_id": SHOP}, SHOP)
    status = browsers.status(named)
    assert (status.state, status.vendor_state, status.message) == (RunState.STOPPED, "idle", "the browser has no run")
    run = browsers.again()
    assert browsers.status(named).vendor_state == "active"
    browsers.box.set_run(run.run_id, "failed", "crashed")
    assert browsers.status(named).state is RunState.FAILED


@pytest.mark.parametrize("body", [{}, {"status": 1}, [], "active"])
def test_a_look_without_a_state_is_a_bad_answer(browsers: Browsers, body: Any) -> None:
    run = browsers.start()
    browsers.box.fault("bctrl", "status", "body", body=body)
    with pytest.raises(BadAnswer):
        browsers.status(run)


# -- stop --------------------------------------------------------------------------------------------------


def test_a_stop_waits_a_moment_and_has_no_body(browsers: Browsers) -> None:
    run = browsers.start()
    assert browsers.stop(run).outcome is StopOutcome.STOPPED
    [request] = browsers.requests("stop")
    assert request["path"].endswith(f"/v1/browsers/{run.ids['browser_id']}/stop")
    assert (request["query"], request["body"]) == ("wait=1", "")
    assert "content-type" not in {name.lower() for name in request["headers"]}


def test_a_stop_is_confirmed_by_the_run_and_not_by_the_answer(browsers: Browsers) -> None:
    browsers.box.behave("bctrl", "shopper", stop_seconds=1.5)
    run = browsers.start()
    result = browsers.stop(run)
    assert result.outcome is StopOutcome.STOPPED
    assert result.status is not None
    assert (result.status.vendor_state, result.status.message) == ("ended", "stopped on request")
    assert result.seconds >= 1.5


def test_a_stop_that_never_lands_is_only_requested(browsers: Browsers) -> None:
    browsers.box.behave("bctrl", "shopper", stop_seconds=None)
    result = browsers.stop(browsers.start(), timeout=1.5)
    assert (result.outcome, result.status and result.status.vendor_state) == (StopOutcome.REQUESTED, "stopping")


@pytest.mark.parametrize("look_first", [True, False])
def test_a_stop_of_a_finished_run_is_no_error(browsers: Browsers, look_first: bool) -> None:
    run = browsers.start()
    browsers.box.set_run(run.run_id, "ended")
    assert browsers.stop(run, look_first=look_first).outcome is StopOutcome.ALREADY_FINISHED
    assert len(browsers.requests("stop")) == (0 if look_first else 1)


def test_a_stop_while_another_is_under_way_is_no_error(browsers: Browsers) -> None:
    browsers.box.behave("bctrl", "shopper", stop_seconds=1.5)
    run = browsers.start()
    browsers.drive(browsers.vendor.ask_stop(run))
    assert browsers.stop(run).outcome is StopOutcome.STOPPED
    assert len(browsers.requests("stop")) == 2


def test_another_409_is_an_error(browsers: Browsers) -> None:
    run = browsers.start()
    browsers.box.fault("bctrl", "stop", "status", status=409)
    with pytest.raises(VendorError, match="HTTP 409: out of order") as error:
        browsers.drive(browsers.vendor.ask_stop(run), ONCE)
    assert error.value.status == 409


@pytest.mark.parametrize("look_first", [True, False])
def test_a_foreign_run_of_the_browser_is_not_hit(browsers: Browsers, look_first: bool) -> None:
    ours = browsers.again()
    browsers.stop(ours)
    browsers.box.clear_requests()
    foreign = browsers.again()
    result = browsers.stop(ours, look_first=look_first)
    assert result.status is not None
    assert result.status.vendor_state == "ended"
    assert browsers.requests("stop") == []
    assert browsers.open_ids() == [foreign.run_id]


def test_a_foreign_run_is_not_hit_even_if_ours_seems_alive(browsers: Browsers) -> None:
    ours = browsers.again()
    body = {"id": SHOP, "status": "running", "currentRun": {"id": "run-foreign", "status": "active"}}
    browsers.box.fault("bctrl", "status", "latency", count=1)
    browsers.box.fault("bctrl", "status", "body", count=1, body=body)
    with pytest.raises(
        CannotStop, match=rf"runs run-foreign now, while run {ours.run_id} is active. Nothing was stopped"
    ):
        browsers.stop(ours)
    assert browsers.requests("stop") == []


def test_a_stop_that_hit_another_run_after_all_is_told(browsers: Browsers) -> None:
    ours = browsers.again()
    body = {"id": SHOP, "status": "running", "currentRun": {"id": "run-foreign", "status": "stopping"}}
    browsers.box.fault("bctrl", "stop", "body", body=body)
    with pytest.raises(CannotStop, match=rf"the stop hit run run-foreign, not {ours.run_id}"):
        browsers.stop(ours)


@pytest.mark.parametrize("name", [SHOP, "shop"], ids=["by id", "by name"])
def test_a_browser_that_a_user_names_is_stopped_whatever_runs_there(browsers: Browsers, name: str) -> None:
    browsers.again()
    assert browsers.stop(browsers.run({"browser_id": name}, name)).outcome is StopOutcome.STOPPED
    assert browsers.open_ids() == []


def test_an_idle_browser_that_a_user_names_needs_no_stop(browsers: Browsers) -> None:
    assert browsers.stop(browsers.run({"browser_id": SHOP}, SHOP)).outcome is StopOutcome.ALREADY_FINISHED
    assert browsers.requests("stop") == []


def test_a_browser_that_does_not_exist_is_an_error(browsers: Browsers) -> None:
    with pytest.raises(NotFound, match=r"HTTP 404: No such browser \(browser.not_found, request req-"):
        browsers.stop(browsers.run({"browser_id": "brw/none"}), timeout=0.3)
    assert browsers.requests("stop")[0]["path"].endswith("/browsers/brw%2Fnone/stop")


def test_a_run_of_the_other_contract_is_left_alone_and_that_is_said(browsers: Browsers) -> None:
    run = browsers.run({"workspace_id": "w", "alias": "main", "id": "rt-1"}, "rt-1")
    with pytest.raises(HandleError, match="'rt-1' has no browser_id: it was started over another contract"):
        browsers.stop(run)


# -- lists, test, secrets ----------------------------------------------------------------------------------


def test_all_pages_of_browsers_and_runs_are_listed(browsers: Browsers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    started = [browsers.start(f"b-{number}") for number in range(3)]
    shop = browsers.again()
    assert len(browsers.drive(browsers.vendor.list_browsers())) == 4
    assert {run["id"] for run in browsers.drive(browsers.vendor.list_runs())} == {
        run.run_id for run in (*started, shop)
    }
    assert [run["id"] for run in browsers.drive(browsers.vendor.list_runs(SHOP))] == [shop.run_id]
    assert len([request for request in browsers.requests("list") if "cursor=" in request["query"]]) == 2


def test_a_list_without_an_end_is_a_bad_answer(browsers: Browsers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAGES", 3)
    for number in range(3):
        browsers.box.fault("bctrl", "list", "body", body={"data": [], "nextCursor": f"page {number}"}, count=1)
    with pytest.raises(BadAnswer, match="list of browsers has more than 3 pages of 100"):
        browsers.drive(browsers.vendor.list_browsers())


def test_a_list_that_leads_back_to_a_page_that_was_read_is_a_bad_answer(browsers: Browsers) -> None:
    browsers.box.fault("bctrl", "list", "body", body={"data": [], "nextCursor": "same"})
    with pytest.raises(BadAnswer, match="list of browsers leads back to a page that was read"):
        browsers.drive(browsers.vendor.list_browsers())
    assert len(browsers.requests("list")) == 2


def test_the_connection_test_says_whose_key_it_is(browsers: Browsers) -> None:
    assert browsers.drive(browsers.vendor.test()) == (
        "Reached bctrl (contract browsers) with this API key: accountId acc-1."
    )
    body = {"email": "a@b.example", "organizationId": "org-1", "subaccountId": None}
    browsers.box.fault("bctrl", "whoami", "body", body=body)
    assert browsers.drive(browsers.vendor.test()).endswith(": email a@b.example, organizationId org-1.")


def test_an_error_does_not_show_the_address_that_its_answer_holds(browsers: Browsers) -> None:
    body = {"connections": {"cdpUrl": "wss://a/secret-1"}, "liveViewUrl": "https://a/secret-2", "id": "run-1"}
    browsers.box.fault("bctrl", "whoami", "status", status=418, body=body)
    with pytest.raises(VendorError, match=r"HTTP 418: .*run-1") as seen:
        browsers.drive(browsers.vendor.test(), ONCE)
    assert "secret" not in str(seen.value)


def test_no_address_to_drive_the_browser_by_is_kept_or_told(browsers: Browsers) -> None:
    run = browsers.start()
    shown = browsers.drive(browsers.vendor.get_run(run.run_id))
    assert browsers.box.seed in shown["connections"]["cdpUrl"], "the sandbox tells them"
    assert browsers.box.seed not in str(run.ids)
    for value in (run, browsers.status(run), browsers.stop(run), browsers.vendor, browsers.access):
        assert browsers.box.seed not in repr(value)


# -- a stop that did nothing -------------------------------------------------------------------------------


def test_a_stop_that_did_nothing_is_asked_for_again(browsers: Browsers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BctrlBrowsers, "stop_again_after", (0.1,))
    run = browsers.again()
    body = {"id": SHOP, "status": "running", "currentRun": {"id": run.run_id, "status": "active"}}
    browsers.box.fault("bctrl", "stop", "body", body=body, count=1)
    assert browsers.stop(run).is_over
    assert len(browsers.requests("stop")) == 2
    assert browsers.open_ids() == []
