"""bctrl's contract ``workspaces`` over real HTTP, with both clients: a runtime by workspace and alias."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from airflow_runctl.exceptions import (
    BadAnswer,
    CannotStop,
    ConnectionSetupError,
    HandleError,
    InvalidIdentifier,
    LoginRefused,
    NotFound,
    RateLimited,
    StartRefused,
    StartUncertain,
    VendorError,
)
from airflow_runctl.runs import ExternalRun, RunState, StopOutcome
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.vendors import base as vendors_base
from airflow_runctl.vendors.base import HttpResponse
from airflow_runctl.vendors.bctrl import api as module
from airflow_runctl.vendors.bctrl.api import Failure, RuntimeStart, TaskStart, without_credentials
from airflow_runctl.vendors.bctrl.workspaces import BctrlWorkspaces
from tests.unit.clients import Client
from tests.unit.connections import Connections
from tests.unit.driven import Driven


@dataclass
class Runtimes(Driven):
    """The runtimes of the sandbox's one workspace."""

    workspace: str = ""

    @property
    def vendor(self) -> BctrlWorkspaces:
        vendor = self.access.vendor
        assert isinstance(vendor, BctrlWorkspaces)
        return vendor

    def start(self, alias: str = "main", **more: Any) -> ExternalRun:
        return self.carry_out(self.vendor.start_runtime(RuntimeStart(self.workspace, alias, **more)))

    def named(self, alias: str = "main") -> ExternalRun:
        """Return a runtime as a user names it: without its id."""
        return self.run({"workspace_id": self.workspace, "alias": alias}, alias)

    def answer(self, operation: str, run: ExternalRun, **fields: Any) -> None:
        """Have the next requests answered with a runtime of these fields."""
        body = {"id": run.ids["id"], "workspaceId": self.workspace, "alias": run.ids["alias"], **fields}
        self.box.fault("bctrl", operation, "body", body=body)


@pytest.fixture
def runtimes(
    box: Sandbox, connections: Connections, client: Client, brisk: None, monkeypatch: pytest.MonkeyPatch
) -> Runtimes:
    monkeypatch.setattr(module, "LOST_PAUSES", (0.0, 0.05))
    found = Runtimes(box, connections.access("bctrl_default"), client)
    found.workspace = found.drive(found.vendor.list_workspaces())[0]["id"]
    box.clear_requests()
    return found


# -- start -------------------------------------------------------------------------------------------------


def test_a_runtime_is_made_under_an_alias(runtimes: Runtimes) -> None:
    run = runtimes.start("main", launch={"mode": "profile", "profileId": "p-1"}, driver="selenium", options={"a": 1})
    [made] = runtimes.box.open_runs()
    assert run.run_id == made["run_id"]
    assert run.ids == {"workspace_id": runtimes.workspace, "alias": "main", "id": made["run_id"]}
    assert runtimes.sent("start") == [
        {
            "kind": "browser",
            "alias": "main",
            "driver": "selenium",
            "launch": {"mode": "profile", "profileId": "p-1"},
            "a": 1,
        }
    ]


def test_a_browser_is_ephemeral_and_driven_by_playwright_by_default(runtimes: Runtimes) -> None:
    runtimes.start()
    [body] = runtimes.sent("start")
    assert (body["driver"], body["launch"]) == ("playwright", {"mode": "ephemeral"})


def test_a_kind_that_the_page_does_not_describe_is_sent_as_it_is(runtimes: Runtimes) -> None:
    answer = {"id": "rt-1", "alias": "desk", "kind": "desktop", "status": "active"}
    runtimes.box.fault("bctrl", "start", "body", body=answer)
    run = runtimes.start("desk", kind="desktop", options={"os": "linux"})
    assert runtimes.sent("start") == [{"kind": "desktop", "alias": "desk", "os": "linux"}]
    runtimes.answer("status", run, kind="hologram", status="active")
    assert runtimes.status(run).state is RunState.RUNNING


def test_the_alias_that_the_answer_says_is_the_one_that_counts(runtimes: Runtimes) -> None:
    """No document spells out the body's field for the alias: bctrl might have passed it over and chosen one."""
    runtimes.box.fault("bctrl", "start", "body", body={"id": "rt-1", "alias": "brave-otter", "status": "active"})
    assert runtimes.start("main").ids["alias"] == "brave-otter"


def test_an_alias_of_a_live_runtime_is_refused_before_anything_is_made(runtimes: Runtimes) -> None:
    first = runtimes.start("main")
    with pytest.raises(
        StartRefused, match=rf"'main' belongs to bctrl runtime {first.run_id}, which is active. Nothing was"
    ):
        runtimes.start("main")
    assert len(runtimes.sent("start")) == 1


def test_an_alias_whose_runtime_is_over_is_used_again(runtimes: Runtimes) -> None:
    first = runtimes.start("main")
    runtimes.stop(first)
    assert runtimes.start("main").run_id != first.run_id


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422])
def test_a_refused_start_surely_started_nothing(runtimes: Runtimes, status: int) -> None:
    runtimes.box.fault("bctrl", "start", "status", status=status)
    with pytest.raises(StartRefused, match=rf"bctrl refused the start. bctrl answered HTTP {status}: out of order"):
        runtimes.start()
    assert len(runtimes.sent("start")) == 1


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_a_runtime_that_is_over_from_the_beginning_is_no_success(runtimes: Runtimes, status: str) -> None:
    runtimes.box.fault("bctrl", "start", "body", body={"id": "rt-1", "alias": "main", "status": status})
    with pytest.raises(StartRefused, match=rf"made runtime rt-1, but it is {status}. Nothing is running"):
        runtimes.start()


@pytest.mark.parametrize("trouble", [{"kind": "cut"}, {"kind": "status", "status": 500}, {"kind": "garbage"}], ids=str)
def test_a_start_whose_answer_is_lost_is_found_under_its_alias_and_not_sent_again(
    runtimes: Runtimes, trouble: dict[str, Any]
) -> None:
    before = runtimes.start("main")
    runtimes.stop(before)
    runtimes.box.fault("bctrl", "start", count=1, after_effect=True, **trouble)
    run = runtimes.start("main")
    [live] = runtimes.box.open_runs()
    assert run.run_id == live["run_id"] != before.run_id
    assert len(runtimes.sent("start")) == 2


def test_a_start_that_cannot_be_found_is_uncertain(runtimes: Runtimes) -> None:
    before = runtimes.start("main")
    runtimes.stop(before)
    runtimes.box.fault("bctrl", "start", "cut", count=1)
    with pytest.raises(
        StartUncertain, match=r"a runtime under alias 'main' .*none was found. It may be alive: no second"
    ):
        runtimes.start("main")


def test_a_second_contract_is_needed_for_what_is_not_of_this_one(runtimes: Runtimes) -> None:
    with pytest.raises(
        ConnectionSetupError, match=r"in which a runtime has a workspace_id and an alias. Give both, or set"
    ):
        runtimes.vendor.start_runtime(RuntimeStart(name="shop"))
    with pytest.raises(ConnectionSetupError, match="Tasks of agents belong to bctrl's contract 'browsers'"):
        runtimes.vendor.run_task(TaskStart("researcher", "find it"))


# -- look --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("active", RunState.RUNNING),
        ("stopped", RunState.STOPPED),
        ("failed", RunState.FAILED),
        ("hibernating", RunState.UNKNOWN),
    ],
)
def test_the_words_of_the_page_are_read_and_others_are_live(runtimes: Runtimes, word: str, state: RunState) -> None:
    run = runtimes.start()
    runtimes.box.set_run(run.run_id, word)
    status = runtimes.status(run)
    assert (status.state, status.vendor_state) == (state, word)


def test_an_unknown_word_is_logged_once(runtimes: Runtimes, caplog: pytest.LogCaptureFixture) -> None:
    vendors_base._warn_unknown_word.cache_clear()
    run = runtimes.start()
    runtimes.box.set_run(run.run_id, "hibernating")
    with caplog.at_level(logging.WARNING):
        assert [runtimes.status(run).state.is_live for _ in range(2)] == [True, True]
    assert len([record for record in caplog.records if "'hibernating' is not documented" in record.getMessage()]) == 1


def test_a_runtime_whose_alias_means_another_one_is_looked_for_in_the_list(runtimes: Runtimes) -> None:
    run = runtimes.start("main")
    lost = runtimes.run({**run.ids, "id": "rt-lost"}, "rt-lost")
    runtimes.box.fault("bctrl", "status", "body", body={"id": "rt-other", "alias": "main", "status": "active"})
    assert runtimes.status(run).state is RunState.RUNNING, "the list shows it"
    with pytest.raises(
        NotFound, match=r"rt-lost is not under alias 'main' of workspace .* that is runtime rt-other now"
    ):
        runtimes.status(lost)


@pytest.mark.parametrize("body", [{}, {"status": None}, [], "stopped"])
def test_a_look_without_a_state_is_a_bad_answer(runtimes: Runtimes, body: Any) -> None:
    run = runtimes.start()
    runtimes.box.fault("bctrl", "status", "body", body=body)
    with pytest.raises(BadAnswer):
        runtimes.status(run)


# -- stop --------------------------------------------------------------------------------------------------


def test_a_stop_has_neither_body_nor_content_type(runtimes: Runtimes) -> None:
    run = runtimes.start("main")
    assert runtimes.stop(run).outcome is StopOutcome.STOPPED
    [request] = runtimes.requests("stop")
    assert request["method"] == "POST"
    assert request["path"].endswith(f"/v1/workspaces/{runtimes.workspace}/runtimes/main/stop")
    assert (request["query"], request["body"]) == ("", "")
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert "content-type" not in headers
    assert headers["authorization"].startswith("Bearer ")
    assert not {name for name in headers if name.startswith("bctrl-")}


def test_a_stop_answered_active_is_confirmed_by_looking(runtimes: Runtimes) -> None:
    runtimes.box.behave("bctrl", "main", stop_seconds=0.3)
    run = runtimes.start("main")
    result = runtimes.stop(run)
    assert result.outcome is StopOutcome.STOPPED
    assert result.seconds >= 0.3
    assert len(runtimes.requests("status")) >= 3


def test_a_stop_that_never_lands_is_only_requested(runtimes: Runtimes) -> None:
    runtimes.box.behave("bctrl", "main", stop_seconds=None)
    run = runtimes.start("main")
    result = runtimes.stop(run, timeout=0.4)
    assert (result.outcome, result.status and result.status.vendor_state) == (StopOutcome.REQUESTED, "active")


@pytest.mark.parametrize("named", [False, True])
def test_a_runtime_that_is_over_is_not_told_to_stop(runtimes: Runtimes, named: bool) -> None:
    run = runtimes.start("main")
    runtimes.box.set_run(run.run_id, "failed")
    assert runtimes.stop(runtimes.named() if named else run).outcome is StopOutcome.ALREADY_FINISHED
    assert runtimes.requests("stop") == []


def test_a_runtime_of_ours_that_cannot_be_read_any_more_is_over(runtimes: Runtimes) -> None:
    runtimes.box.behave("bctrl", "main", gone_after_end=True)
    run = runtimes.start("main")
    runtimes.box.set_run(run.run_id, "stopped")
    from airflow_runctl.runs import Owner, TaskKey

    ours = ExternalRun(
        run.vendor, run.conn_id, run.run_id, None, run.started_at, run.ids, Owner(TaskKey("d", "r", "t"), 1)
    )
    assert runtimes.stop(ours).outcome is StopOutcome.ALREADY_FINISHED
    with pytest.raises(NotFound, match="HTTP 404: No such runtime"):
        runtimes.stop(runtimes.named(), timeout=0.3)


@pytest.mark.parametrize("look_first", [True, False])
def test_a_foreign_runtime_under_the_alias_is_not_hit(runtimes: Runtimes, look_first: bool) -> None:
    ours = runtimes.start("main")
    runtimes.box.set_run(ours.run_id, "stopped")
    foreign = runtimes.start("main")
    with pytest.raises(CannotStop) as error:
        runtimes.stop(ours, look_first=look_first)
    said = str(error.value)
    assert f"The alias 'main' of workspace {runtimes.workspace} means bctrl runtime {foreign.run_id} now, not" in said
    assert "Nothing was stopped" in said
    assert runtimes.requests("stop") == []
    assert [run["run_id"] for run in runtimes.box.open_runs()] == [foreign.run_id]


def test_a_runtime_of_ours_that_the_list_shows_as_over_needs_no_stop_though_its_alias_was_given_away(
    runtimes: Runtimes,
) -> None:
    ours = runtimes.start("main")
    runtimes.box.fault("bctrl", "status", "body", body={"id": "rt-other", "alias": "main", "status": "active"})
    listed = {"runtimes": [{"id": ours.run_id, "alias": "main", "status": "stopped"}]}
    runtimes.box.fault("bctrl", "list", "body", body=listed)
    assert runtimes.stop(ours).outcome is StopOutcome.ALREADY_FINISHED
    assert runtimes.requests("stop") == []


def test_a_stop_that_hit_another_runtime_after_all_is_told(runtimes: Runtimes) -> None:
    """The alias is given away between the look and the stop: nothing can prevent that, but it can be seen."""
    ours = runtimes.start("main")
    runtimes.box.fault("bctrl", "stop", "body", body={"id": "rt-other", "alias": "main", "status": "stopped"})
    with pytest.raises(CannotStop, match=rf"the stop hit runtime rt-other, not {ours.run_id}, which may be alive"):
        runtimes.stop(ours)


def test_what_a_user_names_by_alias_is_stopped_whatever_its_id(runtimes: Runtimes) -> None:
    runtimes.start("main")
    assert runtimes.stop(runtimes.named()).outcome is StopOutcome.STOPPED
    assert runtimes.box.open_runs() == []


def test_unknown_fields_in_the_stops_answer_are_no_error(runtimes: Runtimes) -> None:
    run = runtimes.start("main")
    runtimes.answer("stop", run, kind="desktop", status="stopped", summary={"new": [1]}, price=3)
    assert runtimes.stop(run).outcome is StopOutcome.STOPPED


def test_ids_and_aliases_are_percent_encoded(runtimes: Runtimes) -> None:
    run = runtimes.start("a/b ü?")
    assert runtimes.stop(run).outcome is StopOutcome.STOPPED
    assert runtimes.requests("stop")[0]["path"].endswith("/runtimes/a%2Fb%20%C3%BC%3F/stop")


@pytest.mark.parametrize("alias", ["", ".", ".."])
def test_an_alias_that_would_reach_something_else_is_refused(runtimes: Runtimes, alias: str) -> None:
    with pytest.raises(InvalidIdentifier, match="cannot be an id"):
        runtimes.start(alias)
    with pytest.raises(InvalidIdentifier, match="cannot be an id"):
        runtimes.stop(runtimes.named(alias))
    assert runtimes.box.requests(vendor="bctrl") == []


def test_a_run_of_the_other_contract_is_left_alone_and_that_is_said(runtimes: Runtimes) -> None:
    run = runtimes.run({"browser_id": "brw-1", "run_id": "run-1"}, "run-1")
    with pytest.raises(
        HandleError, match=r"'run-1' has no workspace_id: it was started over another contract .*'workspaces'"
    ):
        runtimes.stop(run)


# -- lists, test, errors -----------------------------------------------------------------------------------


def test_runtimes_and_workspaces_are_listed(runtimes: Runtimes) -> None:
    runs = {runtimes.start(alias).run_id for alias in ("a", "b")}
    assert {entry["id"] for entry in runtimes.drive(runtimes.vendor.list_runtimes(runtimes.workspace))} == runs


@pytest.mark.parametrize("body", [{"data": [{"id": "w-1"}]}, [{"id": "w-1"}, "odd"], {"workspaces": [{"id": "w-1"}]}])
def test_a_list_is_read_in_whatever_it_is_wrapped(runtimes: Runtimes, body: Any) -> None:
    runtimes.box.fault("bctrl", "workspaces", "body", body=body)
    assert runtimes.drive(runtimes.vendor.list_workspaces()) == [{"id": "w-1"}]


def test_a_stop_that_did_nothing_is_asked_for_again(runtimes: Runtimes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BctrlWorkspaces, "stop_again_after", (0.1,))
    run = runtimes.start()
    body = {"id": run.ids["id"], "workspaceId": runtimes.workspace, "alias": run.ids["alias"], "status": "active"}
    runtimes.box.fault("bctrl", "stop", "body", body=body, count=1)
    assert runtimes.stop(run).outcome is StopOutcome.STOPPED
    assert len(runtimes.requests("stop")) == 2


def test_the_connection_test_says_what_was_reached(runtimes: Runtimes) -> None:
    said = runtimes.drive(runtimes.vendor.test())
    assert said == "Reached bctrl (contract workspaces) with this API key; it sees 1 workspaces."


def test_a_retired_contract_is_told_and_what_to_do(runtimes: Runtimes) -> None:
    runtimes.box.settings("bctrl", workspaces_retired=True)
    with pytest.raises(NotFound, match="the oldest, and probably retired; set 'api' of the connection to browsers"):
        runtimes.drive(runtimes.vendor.test())


def test_a_gateway_whose_path_ends_in_v1_is_let_through_and_named_where_nothing_is_found(runtimes: Runtimes) -> None:
    endpoint = runtimes.access.endpoint
    access = replace(runtimes.access, endpoint=replace(endpoint, base_url=f"{endpoint.base_url}/v1"))
    with pytest.raises(NotFound, match="Or the path in the connection's host ends in /v1, which it must not"):
        runtimes.client.drive(access, runtimes.vendor.test())


@pytest.mark.parametrize(
    ("body", "text", "code", "reason"),
    [
        (
            {"error": "No such runtime", "code": "runtime.not_found", "reasonClass": "not_found", "requestId": "req_9"},
            "No such runtime (runtime.not_found, request req_9).",
            "runtime.not_found",
            "not_found",
        ),
        (
            {"error": {"code": "x.y", "message": "No.", "reasonClass": "conflict", "hint": "Wait", "requestId": "r"}},
            "No. (x.y, request r). Wait.",
            "x.y",
            "conflict",
        ),
        ({"error": {"message": "No"}}, "No.", "", ""),
        ({"message": "No"}, "No.", "", ""),
        ({"error": {}}, '{"error": {}}.', "", ""),
        (["odd"], '["odd"].', "", ""),
    ],
)
def test_errors_are_read_flat_and_nested(body: Any, text: str, code: str, reason: str) -> None:
    failure = Failure.read(HttpResponse(404, {}, json.dumps(body).encode()))
    assert (failure.text, failure.code, failure.reason) == (text, code, reason)


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (401, LoginRefused, "Check the API key"),
        (403, LoginRefused, "not allowed to do this"),
        (404, NotFound, "probably retired"),
        (429, RateLimited, "Too many calls"),
        (500, VendorError, "out of order"),
    ],
)
def test_an_http_status_becomes_an_error_that_says_what_to_do(
    runtimes: Runtimes, status: int, error: type[VendorError], hint: str
) -> None:
    run = runtimes.start()
    runtimes.box.fault("bctrl", "status", "status", status=status)
    with pytest.raises(VendorError, match=hint) as raised:
        runtimes.status(run)
    assert type(raised.value) is error


def test_no_message_quotes_an_answer_that_is_not_an_error(runtimes: Runtimes) -> None:
    """It may hold an address by which anybody can drive the browser."""
    run = runtimes.start()
    runtimes.box.fault("bctrl", "status", "body", body=["wss://secret"])
    with pytest.raises(BadAnswer, match="is not what it should be") as error:
        runtimes.status(run)
    assert "wss" not in str(error.value)


def test_addresses_to_drive_a_browser_by_are_taken_out_of_what_is_listed() -> None:
    run: Mapping[str, Any] = {
        "id": "r",
        "connections": {"cdpUrl": "wss://secret"},
        "control": {"cdpUrl": "wss://secret"},
    }
    entry = {"currentRun": run, "runs": [run], "inputRequest": {"viewUrl": "https://secret", "summary": "?"}, "n": 1}
    bare = {"id": "r", "control": {}}
    assert without_credentials(entry) == {"currentRun": bare, "runs": [bare], "inputRequest": {"summary": "?"}, "n": 1}


def test_no_representation_shows_the_key(runtimes: Runtimes) -> None:
    for value in (runtimes.vendor, runtimes.access, runtimes.vendor.request("GET", "workspaces"), runtimes.start()):
        assert runtimes.box.seed not in repr(value)


def test_id_of_another_runtime_that_is_a_whole_page_is_cut_in_the_message(runtimes: Runtimes) -> None:
    """Found by the fuzzer: where an id is expected an answer can hold anything."""
    ours = runtimes.start("main")
    runtimes.box.fault("bctrl", "stop", "body", body={"id": [{}] * 5000, "alias": "main", "status": "stopped"})
    with pytest.raises(CannotStop, match="the stop hit runtime") as seen:
        runtimes.stop(ours)
    assert len(str(seen.value)) < 500
