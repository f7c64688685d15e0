"""axiom.ai: starts, looks without a run id, stops by pid and pw; what goes wrong is said, and nothing is lost."""

import dataclasses
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl.exceptions import (
    BadAnswer,
    CannotStop,
    InvalidIdentifier,
    LoginRefused,
    NotFound,
    RateLimited,
    StartRefused,
    StartUncertain,
    VendorError,
)
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, RunState, RunStatus
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors import base as vendors
from airflow_runctl.vendors.axiom import vendor as module
from airflow_runctl.vendors.axiom.vendor import STATES, Axiom
from airflow_runctl.vendors.axiom.viewer import Viewer, parse_viewer_url
from airflow_runctl.vendors.base import Flow, Started
from tests.unit.clients import Client
from tests.unit.connections import Connections

pytestmark = pytest.mark.usefixtures("brisk")

BRIEF = Patience(total=0.3)


def vendor(access: Access) -> Axiom:
    assert isinstance(access.vendor, Axiom)
    return access.vendor


def whole(access: Access, name: str, data: Any = None) -> Flow[Started]:
    plan = vendor(access).trigger(name, data)
    search = yield from plan.prepare()
    json.dumps(search)
    return (yield from plan.start(search))


def started(client: Client, access: Access, name: str = "Hang", data: Any = None) -> Started:
    found: Started = client.drive(access, whole(access, name, data))
    return found


def external(access: Access, run: Started, age: float = 0.0) -> ExternalRun:
    begun = datetime.now(UTC) - timedelta(seconds=age)
    return ExternalRun("axiom", access.conn_id, run.run_id, None, begun, run.ids)


def look(client: Client, access: Access, run: Started, age: float = 0.0, patience: Patience | None = None) -> RunStatus:
    status: RunStatus = client.drive(access, vendor(access).status(external(access, run, age)), patience)
    return status


def report(name: str, status: str, seconds: float, description: str = "done") -> dict[str, Any]:
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"task_name": name, "status": status, "description": description, "created_at": stamp, "updated_at": stamp}


def reports(*rows: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"reports": list(rows)}}


# -- the viewer URL --------------------------------------------------------------------------------------

HOST = "c-0007-v4-proxy.axiom.ai"


@pytest.mark.parametrize(
    ("url", "viewer"),
    [
        ("dev-c-0007-v4-proxy.axiom.ai&port=443&password=Qx3&taskId=31415", Viewer("07", "Qx3", "31415")),
        (f"{HOST}&port=443&password=Qx3", Viewer("07", "Qx3")),
        (f"https://vnc.axiom.ai/vnc_lite.html?host={HOST}&port=443&password=Qx3&scale=local", Viewer("07", "Qx3")),
        (f"https://viewer.axiom.ai/watch?password=Qx3&host={HOST}", Viewer("07", "Qx3")),
        (f"https://{HOST}/vnc.html?port=443&password=Qx3&taskId=5", Viewer("07", "Qx3", "5")),
        (f"{HOST}?port=443&password=Qx3", Viewer("07", "Qx3")),
        (f"https://vnc.axiom.ai/vnc_lite.html?host=dev-{HOST}&password=Qx3", Viewer("07", "Qx3")),
        (f"https://vnc.axiom.ai/vnc_lite.html#host={HOST}&password=Qx3", Viewer("07", "Qx3")),
        ("https://vnc.axiom.ai/?host=c%2D0007%2Dv4&password=a%26b%3Dc%2B%25", Viewer("07", "a&b=c+%")),
        (f"{HOST}&password=a+b", Viewer("07", "a+b")),
        (f"{HOST}&password=a=b=", Viewer("07", "a=b=")),
        (f"  {HOST}&password=Qx3\n", Viewer("07", "Qx3")),
        ("C-0042-v4-proxy.axiom.ai&password=Qx3", Viewer("42", "Qx3")),
        ("c-0000-v4-proxy.axiom.ai&password=Qx3", Viewer("00", "Qx3")),
        ("c-0123-v4-proxy.axiom.ai&password=Qx3", Viewer("23", "Qx3")),
        (f"https://abc-9911.example/?host={HOST}&password=Qx3", Viewer("07", "Qx3")),
    ],
)
def test_viewer_url_of_every_shape_is_read(url: str, viewer: Viewer) -> None:
    assert parse_viewer_url(url) == viewer


@pytest.mark.parametrize(
    "url",
    [
        f"{HOST}&port=443",
        f"{HOST}&port=443&password=",
        f"https://{HOST}/vnc_lite.html",
        "",
        "OPEN LINK IN BROWSER",
        f"{HOST}&passwords=topsecret",
    ],
)
def test_viewer_url_without_a_password_is_refused_with_what_to_do(url: str) -> None:
    with pytest.raises(InvalidIdentifier, match=r"no password.*OPEN LINK IN BROWSER.*pid and pw") as seen:
        parse_viewer_url(url)
    assert HOST not in str(seen.value)
    assert "topsecret" not in str(seen.value)


@pytest.mark.parametrize(
    "host", ["v4-proxy-7-axiom-ai", "c-007-v4", "c-00071-v4", "abc-0007-v4", "proxy.axiom.ai", "", "4"]
)
def test_viewer_url_without_a_pid_is_refused_without_repeating_the_secret(host: str) -> None:
    url = f"https://vnc.axiom.ai/vnc_lite.html?host={host}&port=443&password=topsecret"
    with pytest.raises(InvalidIdentifier, match=r"No pid can be read.*Give pid") as seen:
        parse_viewer_url(url)
    assert "topsecret" not in str(seen.value)


def test_viewer_does_not_show_its_password() -> None:
    assert "topsecret" not in repr(Viewer("07", "topsecret"))


# -- start -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [1, 2, 3, 5])
def test_start_reads_pid_and_pw_from_the_answer(client: Client, axiom: Access, box: Sandbox, shape: int) -> None:
    box.behave("axiom", "Hang", viewer_url_shape=shape)
    run = started(client, axiom)
    (made,) = box.runs()
    assert (run.ids["pid"], run.ids["pw"]) == (made["details"]["pid"], made["details"]["pw"])
    assert run.ids["pid"] == "01"
    assert box.seed not in f"{run!r} {run.run_id}"
    client.drive(axiom, vendor(axiom).ask_stop(external(axiom, run)))
    box.wait_for_state(made["run_id"], "Failure")


def test_run_is_named_after_what_the_answer_has(client: Client, axiom: Access, box: Sandbox) -> None:
    box.behave("axiom", "Hang", viewer_url_shape=2)
    assert started(client, axiom).run_id == "Hang"
    box.behave("axiom", "Hang", viewer_url_shape=1)
    run = started(client, axiom)
    task_id = box.runs()[-1]["details"]["viewer_url"].partition("taskId=")[2]
    assert run.run_id == f"Hang #{task_id}"
    box.behave("axiom", "Hang", gives_run_id=True)
    assert started(client, axiom).run_id == f"Hang #{box.runs()[-1]['run_id']}"


def test_viewer_url_without_a_pid_gives_a_run_that_can_be_watched_but_not_stopped(
    client: Client, axiom: Access, box: Sandbox
) -> None:
    box.behave("axiom", "Hang", viewer_url_shape=4)
    run = started(client, axiom)
    assert look(client, axiom, run).state is RunState.RUNNING
    with pytest.raises(CannotStop, match=r"'Hang' cannot be stopped over the API: No pid.*dashboard") as seen:
        client.drive(axiom, vendor(axiom).ask_stop(external(axiom, run)))
    assert box.seed not in f"{seen.value} {run.ids}"
    assert box.requests(operation="stop") == []


def test_queued_run_is_live_and_cannot_be_stopped_which_is_said(client: Client, axiom: Access, box: Sandbox) -> None:
    run = started(client, axiom, "Queued")
    assert run.vendor_state == "queued"
    assert look(client, axiom, run).state.is_live
    with pytest.raises(CannotStop, match=r"was queued: it has no viewer URL.*Cancel it in the axiom.ai dashboard"):
        client.drive(axiom, vendor(axiom).ask_stop(external(axiom, run)))
    assert box.requests(operation="stop") == []


@pytest.mark.parametrize(
    "data", [None, [], [["url"], ["https://a.example"]], [[["url"], ["https://a.example"]]], [[""]]]
)
def test_data_is_passed_through_as_it_was_given(client: Client, axiom: Access, box: Sandbox, data: Any) -> None:
    started(client, axiom, data=data)
    (request,) = box.requests(operation="start")
    assert json.loads(request["body"]).get("data") == data
    assert ("data" in json.loads(request["body"])) == (data is not None)


@pytest.mark.parametrize("name", [" Hang ", "hang", "näher / 100%", "日本"])
def test_name_is_sent_exactly_as_it_was_given(client: Client, axiom: Access, box: Sandbox, name: str) -> None:
    box.behave("axiom", name, run_seconds=None)
    started(client, axiom, name)
    assert box.runs()[0]["name"] == name


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (400, "HTTP 400"),
        (401, "making a new key kills the old one"),
        (403, "quota of the period is used up"),
        (404, "Names are exact"),
        (503, "queue is full; nothing was started"),
        (200, "HTTP 200: out of order"),
    ],
)
def test_refused_start_says_why_and_what_to_check(
    client: Client, axiom: Access, box: Sandbox, status: int, hint: str
) -> None:
    body = {"status": "error", "message": "out of order"}
    box.fault("axiom", "start", "status", status=status, body=body)
    with pytest.raises(StartRefused, match=hint) as seen:
        started(client, axiom)
    assert "axiom.ai refused to start 'Hang'" in str(seen.value)
    assert seen.value.status == status
    assert len(box.requests(operation="start")) == 1


@pytest.mark.parametrize("said", [{"OPEN LINK IN BROWSER": "{url}"}, {"message": "see {url}", "status": "error"}])
def test_refused_start_does_not_show_the_viewer_url_that_its_answer_holds(
    client: Client, axiom: Access, box: Sandbox, said: dict[str, str]
) -> None:
    body = {key: text.replace("{url}", f"{HOST}&port=443&password=pw3147&taskId=1") for key, text in said.items()}
    box.fault("axiom", "start", "status", status=403, body=body)
    with pytest.raises(StartRefused, match=r"HTTP 403: .*\*\*\*") as seen:
        started(client, axiom)
    assert "pw3147" not in str(seen.value)


def test_full_queue_is_a_refusal(client: Client, axiom: Access, box: Sandbox) -> None:
    box.behave("axiom", "Hang", refuse={"status": 503, "message": "No capacity"})
    with pytest.raises(StartRefused, match=r"HTTP 503: No capacity.*queue is full"):
        started(client, axiom)
    assert box.runs() == []


def test_unknown_automation_is_refused_by_name(client: Client, axiom: Access, box: Sandbox) -> None:
    with pytest.raises(StartRefused, match=r"'No such thing' \(HTTP 404: Task not found.*case and spaces count"):
        started(client, axiom, "No such thing")


def test_rate_limit_is_waited_for_before_a_start(client: Client, axiom: Access, box: Sandbox) -> None:
    box.fault("axiom", "start", "status", status=429, count=2)
    started(client, axiom)
    assert len(box.requests(operation="start")) == 3
    assert len(box.runs()) == 1


def test_rate_limit_that_lasts_refuses_the_start(client: Client, axiom: Access, box: Sandbox) -> None:
    box.fault("axiom", "start", "status", status=429, retry_after="3600")
    with pytest.raises(StartRefused, match="100 calls a minute"):
        started(client, axiom)


LOST = [
    {"kind": "cut"},
    {"kind": "hang", "seconds": 0.3},
    {"kind": "truncated"},
    {"kind": "garbage"},
    {"kind": "garbage", "status": 503},
    {"kind": "empty"},
    {"kind": "empty", "status": 503},
    {"kind": "huge"},
    {"kind": "redirect"},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 504},
    {"kind": "body", "body": {}},
    {"kind": "body", "body": {"OPEN LINK IN BROWSER": None}},
    {"kind": "body", "body": ["queued"]},
]


@pytest.mark.parametrize("trouble", LOST, ids=str)
@pytest.mark.parametrize("arrived", [True, False])
def test_start_with_a_lost_answer_is_never_sent_again_and_says_where_to_look(
    client: Client, axiom: Access, box: Sandbox, trouble: dict[str, Any], arrived: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOST_CALL_LOOKS", 2)
    box.fault("axiom", "start", after_effect=arrived, **trouble)
    with pytest.raises(StartUncertain, match=r"was not started again.*dashboard") as seen:
        started(client, axiom)
    assert len(box.requests(operation="start")) == 1
    assert len(box.runs()) == arrived
    assert ("axiom.ai reports a run of it" in str(seen.value)) == arrived
    assert ("none is reported" in str(seen.value)) != arrived
    assert box.seed not in str(seen.value)


def test_lost_start_whose_reports_cannot_be_read_stays_uncertain(
    client: Client, axiom: Access, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOST_CALL_LOOKS", 2)

    def reports_break() -> Flow[Started]:
        plan = vendor(axiom).trigger("Hang")
        search = yield from plan.prepare()
        box.fault("axiom", "start", "cut", after_effect=True)
        box.fault("axiom", "list", "garbage")
        return (yield from plan.start(search))

    with pytest.raises(StartUncertain, match="A run may be alive"):
        client.drive(axiom, reports_break())


def test_unfinished_start_is_found_again_by_what_was_written_ahead(client: Client, axiom: Access, box: Sandbox) -> None:
    started(client, axiom)
    search = json.loads(json.dumps(client.drive(axiom, vendor(axiom).trigger("Hang").prepare())))
    assert client.drive(axiom, vendor(axiom).find(search)) == []
    started(client, axiom, "Nightly prices")
    started(client, axiom)
    (found,) = client.drive(axiom, vendor(axiom).find(search))
    assert found.run_id.startswith("Hang (20")
    with pytest.raises(CannotStop, match="its viewer URL is not known"):
        client.drive(axiom, vendor(axiom).ask_stop(external(axiom, found)))


# -- look ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["docs", "code"])
@pytest.mark.parametrize(("end", "state"), [("Success", RunState.SUCCEEDED), ("Failure", RunState.FAILED)])
def test_run_is_followed_to_its_end_whichever_words_the_live_api_uses(
    client: Client, axiom: Access, box: Sandbox, words: str, end: str, state: RunState
) -> None:
    box.behave("axiom", "Hang", words=words, result={"sheet-1": [["tea", "3"]]})
    run = started(client, axiom)
    assert look(client, axiom, run) == RunStatus(RunState.RUNNING, "Running")
    box.set_run(box.runs()[0]["run_id"], end, "Error: element not found")
    status = look(client, axiom, run)
    assert (status.state, status.vendor_state) == (state, end)
    assert status.result == ({"sheet-1": [["tea", "3"]]} if end == "Success" else None)
    assert "Error: element not found" in (status.message or "")


def test_the_words_of_the_documentation_are_all_known() -> None:
    assert STATES == {
        "queued": RunState.QUEUED,
        "Running": RunState.RUNNING,
        "Success": RunState.SUCCEEDED,
        "Failure": RunState.FAILED,
    }


@pytest.mark.parametrize("word", ["Paused", "success", "SUCCESS", "done", ""])
def test_unknown_word_is_live_and_logged_once(
    client: Client, axiom: Access, box: Sandbox, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    vendors._warn_unknown_word.cache_clear()
    run = started(client, axiom)
    box.fault("axiom", "status", "body", body={"status": word, "data": {}})
    with caplog.at_level(logging.WARNING):
        states = {look(client, axiom, run, age=3600).state for _ in range(3)}
    assert states == {RunState.UNKNOWN}
    assert [r.getMessage() for r in caplog.records if "not documented" in r.getMessage()] == [
        f"axiom.ai: state {word!r} is not documented. The run is taken for live; only a limit or a stop ends the wait."
    ]


@pytest.mark.parametrize("words", ["docs", "code"])
def test_final_word_of_the_run_before_is_not_taken_for_ours(
    client: Client, axiom: Access, box: Sandbox, words: str
) -> None:
    started(client, axiom)
    box.set_run(box.runs()[0]["run_id"], "Success")
    box.behave("axiom", "Hang", stale_seconds=3600, words=words, report_lag_seconds=3600)
    run = started(client, axiom)
    box.fault("axiom", "status", "body", body={"status": "Finished" if words == "code" else "Success", "data": {}})
    assert look(client, axiom, run).state is RunState.RUNNING
    box.behave("axiom", "Hang", stale_seconds=3600, words=words, report_lag_seconds=0)
    assert look(client, axiom, run).state is RunState.RUNNING
    box.set_run(box.runs()[1]["run_id"], "Failure", "boom")
    assert look(client, axiom, run).state is RunState.FAILED


def test_finished_without_a_report_is_waited_for_and_then_no_success(
    client: Client, axiom: Access, box: Sandbox
) -> None:
    box.behave("axiom", "Hang", words="code", report_lag_seconds=3600)
    run = started(client, axiom)
    box.set_run(box.runs()[0]["run_id"], "Success")
    assert look(client, axiom, run).state is RunState.RUNNING
    late = look(client, axiom, run, age=module.SETTLE_SECONDS + 1)
    assert (late.state, late.vendor_state) == (RunState.FAILED, "Finished")
    assert "not taken for a success" in (late.message or "")


def test_documented_final_word_without_a_report_counts_after_a_while(
    client: Client, axiom: Access, box: Sandbox
) -> None:
    box.behave("axiom", "Hang", report_lag_seconds=3600)
    run = started(client, axiom)
    box.set_run(box.runs()[0]["run_id"], "Success")
    assert look(client, axiom, run).state is RunState.RUNNING
    assert look(client, axiom, run, age=module.SETTLE_SECONDS + 1).state is RunState.SUCCEEDED


def test_queued_run_without_a_report_stays_queued_whatever_the_run_before_says(
    client: Client, axiom: Access, box: Sandbox
) -> None:
    run = started(client, axiom, "Queued")
    for word in ("Success", "Failure", "Finished"):
        box.clear_faults()
        box.fault("axiom", "status", "body", body={"status": word, "data": {}})
        assert look(client, axiom, run, age=7200).state is RunState.QUEUED


def test_queued_run_that_starts_after_all_is_followed(client: Client, axiom: Access, box: Sandbox) -> None:
    run = started(client, axiom, "Queued")
    made = box.runs()[0]["run_id"]
    box.set_run(made, "Running")
    box.set_run(made, "Success")
    assert look(client, axiom, run).state is RunState.SUCCEEDED


def test_overlapping_runs_of_one_name_count_as_over_only_together(client: Client, axiom: Access, box: Sandbox) -> None:
    run = started(client, axiom)
    started(client, axiom)
    first, second = (made["run_id"] for made in box.runs())
    box.set_run(second, "Success")
    assert look(client, axiom, run).state is RunState.RUNNING
    box.set_run(first, "Success")
    assert look(client, axiom, run).state is RunState.SUCCEEDED


def test_overlapping_runs_with_different_ends_are_no_success(client: Client, axiom: Access, box: Sandbox) -> None:
    run = started(client, axiom)
    started(client, axiom)
    for made, end in zip(box.runs(), ("Success", "Failure"), strict=True):
        box.set_run(made["run_id"], end)
    status = look(client, axiom, run)
    assert status.state is RunState.FAILED
    assert "2 runs of this name ended" in (status.message or "")
    assert "not taken for a success" in (status.message or "")


def test_reports_of_other_automations_do_not_matter(client: Client, axiom: Access, box: Sandbox) -> None:
    run = started(client, axiom)
    box.behave("axiom", "Nightly prices", run_seconds=0.1)
    started(client, axiom, "Nightly prices")
    eventually(lambda: not box.open_runs(name="Nightly prices"))
    assert look(client, axiom, run).state is RunState.RUNNING


def test_reports_in_any_order_with_extra_fields_and_odd_rows_are_read(
    client: Client, axiom: Access, box: Sandbox
) -> None:
    run = started(client, axiom)
    rows = [report("Hang", "Success", 5), "odd", {"task_name": "Hang"}, report("Hang", "Success", 9) | {"id": 7}, {}]
    box.fault("axiom", "status", "body", body={"status": "Success", "data": {}, "more": 1})
    box.fault("axiom", "list", "body", body=reports(*rows))
    assert look(client, axiom, run).state is RunState.SUCCEEDED


@pytest.mark.parametrize("body", [[], "x", 7, {"data": {}}, {"status": None}, {"status": 3}], ids=str)
def test_status_of_another_shape_is_a_bad_answer(client: Client, axiom: Access, box: Sandbox, body: Any) -> None:
    run = started(client, axiom)
    box.fault("axiom", "status", "body", body=body)
    with pytest.raises(BadAnswer):
        look(client, axiom, run)


@pytest.mark.parametrize("body", [{}, {"data": []}, {"data": {"reports": None}}, {"data": None}, [1]], ids=str)
def test_reports_of_another_shape_are_a_bad_answer(client: Client, axiom: Access, box: Sandbox, body: Any) -> None:
    box.fault("axiom", "list", "body", body=body)
    with pytest.raises(BadAnswer):
        client.drive(axiom, vendor(axiom).reports(5))


def test_empty_answer_is_a_bad_answer(client: Client, axiom: Access, box: Sandbox) -> None:
    run = started(client, axiom)
    box.fault("axiom", "status", "empty")
    with pytest.raises(BadAnswer):
        look(client, axiom, run)


def test_ok_that_says_error_is_an_error(client: Client, axiom: Access, box: Sandbox) -> None:
    run = started(client, axiom)
    box.fault("axiom", "any", "body", body={"status": "error", "message": "Unable to authenticate"})
    for flow in (
        vendor(axiom).status(external(axiom, run)),
        vendor(axiom).reports(5),
        vendor(axiom).ask_stop(external(axiom, run)),
        vendor(axiom).test(),
    ):
        with pytest.raises(VendorError, match="HTTP 200: Unable to authenticate"):
            client.drive(axiom, flow)


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (400, VendorError, ""),
        (401, LoginRefused, "Check the API key in the password"),
        (403, LoginRefused, "quota"),
        (404, NotFound, "Names are exact"),
    ],
)
def test_each_status_has_its_error(
    client: Client, axiom: Access, box: Sandbox, status: int, error: type[VendorError], hint: str
) -> None:
    box.fault("axiom", "list", "status", status=status)
    with pytest.raises(error, match=f"axiom.ai answered HTTP {status}: out of order") as seen:
        client.drive(axiom, vendor(axiom).reports(5))
    assert hint in str(seen.value)


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda v: v.reports(5), "the reports"),
        (lambda v: v.automations(), "the list of automations"),
        (lambda v: v.remaining_runtime(), "the remaining runtime"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"data": {}}])
def test_a_failed_call_that_says_why_in_its_status_is_told_so(
    client: Client, axiom: Access, box: Sandbox, ask: Any, what: str, more: dict[str, Any]
) -> None:
    box.fault("axiom", "any", "body", body={"status": "No reports for this plan.", **more})
    with pytest.raises(VendorError, match=f"axiom.ai did not give {what}: No reports for this plan[.]$"):
        client.drive(axiom, ask(vendor(axiom)))


def test_rate_limit_that_lasts_is_an_error(client: Client, axiom: Access, box: Sandbox) -> None:
    box.settings("axiom", rate_limit_per_minute=0)
    with pytest.raises(RateLimited, match="100 calls a minute"):
        client.drive(axiom, vendor(axiom).test(), BRIEF)


# -- stop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", ["stopped", "success", "empty"])
def test_stop_sends_pid_and_pw_and_no_key_and_takes_every_documented_answer(
    client: Client, axiom: Access, box: Sandbox, reply: str
) -> None:
    box.behave("axiom", "Hang", stop_reply=reply)
    run = started(client, axiom)
    client.drive(axiom, vendor(axiom).ask_stop(external(axiom, run)))
    (request,) = box.requests(operation="stop")
    assert json.loads(request["body"]) == {"pid": run.ids["pid"], "pw": run.ids["pw"]}
    assert "Authorization" not in request["headers"]
    box.wait_for_state(box.runs()[0]["run_id"], "Failure")


def test_stop_of_a_run_that_is_over_is_no_error(client: Client, axiom: Access, box: Sandbox) -> None:
    run = started(client, axiom)
    box.set_run(box.runs()[0]["run_id"], "Success")
    client.drive(axiom, vendor(axiom).ask_stop(external(axiom, run)))
    assert box.runs()[0]["state"] == "Success"


def test_stop_with_an_empty_answer_was_taken(client: Client, axiom: Access, box: Sandbox) -> None:
    run = started(client, axiom)
    box.fault("axiom", "stop", "empty")
    client.drive(axiom, vendor(axiom).ask_stop(external(axiom, run)))


def test_stop_with_a_wrong_password_is_not_found_and_hits_nobody(client: Client, axiom: Access, box: Sandbox) -> None:
    run = started(client, axiom)
    wrong = dataclasses.replace(external(axiom, run), ids={**run.ids, "pw": "wrong"})
    with pytest.raises(NotFound, match=r"Run not found\. No API key goes with a stop, but pid and pw.*viewer URL"):
        client.drive(axiom, vendor(axiom).ask_stop(wrong))
    assert len(box.open_runs()) == 1


# -- the connection --------------------------------------------------------------------------------------


def test_test_says_what_it_reached(client: Client, axiom: Access, box: Sandbox) -> None:
    said = client.drive(axiom, vendor(axiom).test())
    assert said == "Reached axiom.ai with this API key; 900.0 minutes of runtime left."


def test_wrong_key_is_named_and_not_shown(client: Client, connections: Connections, box: Sandbox) -> None:
    access = connections.access("axiom_default", password="wrong-key-topsecret")
    with pytest.raises(LoginRefused, match=r"Invalid key.*Check the API key in the password") as seen:
        client.drive(access, access.vendor.test())
    assert "topsecret" not in str(seen.value)


def test_every_call_but_the_stop_carries_the_key_in_its_body(client: Client, axiom: Access, box: Sandbox) -> None:
    run = started(client, axiom)
    look(client, axiom, run)
    client.drive(axiom, vendor(axiom).test())
    for request in box.requests():
        assert request["method"] == "POST"
        assert json.loads(request["body"])["key"] == f"axiom-key-{box.seed}"
        assert box.seed not in request["path"] + request["query"]
