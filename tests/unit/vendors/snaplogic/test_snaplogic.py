"""SnapLogic: starts in every answer style, looks, stops and resumes; what goes wrong is said, and nothing is lost."""

import dataclasses
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from airflow_runctl.exceptions import (
    BadAnswer,
    ConnectionSetupError,
    InvalidIdentifier,
    LoginRefused,
    NotFound,
    RateLimited,
    RunctlError,
    StartRefused,
    StartUncertain,
    TransportError,
    VendorError,
)
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import RunState, RunStatus
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors import base as vendors
from airflow_runctl.vendors.base import Effect, Flow, HttpRequest, Open, Pause, Started, StartPlan
from airflow_runctl.vendors.snaplogic import api
from airflow_runctl.vendors.snaplogic import trigger as module
from airflow_runctl.vendors.snaplogic.answers import STATES
from airflow_runctl.vendors.snaplogic.trigger import Trigger, TriggeredTask
from airflow_runctl.vendors.snaplogic.vendor import SnapLogic
from tests.servers.odd_server import OddServer, say
from tests.unit.clients import Client
from tests.unit.connections import Connections

pytestmark = pytest.mark.usefixtures("brisk")

SALES = "/Acme/projects/sales"
BRIEF = Patience(total=0.3)
ODD_NAMES = ["a b", "100%", "what?", "a#b", "näher", "日本", "a;b", "%2e", "a+b"]


def vendor(access: Access) -> SnapLogic:
    assert isinstance(access.vendor, SnapLogic)
    return access.vendor


def plan(access: Access, name: str = "hang", **task: Any) -> StartPlan:
    task = {"task_path": f"projects/sales/{name}", "pipeline_name": name, **task}
    return vendor(access).trigger(TriggeredTask(**task))


def trigger(access: Access, path: str) -> HttpRequest:
    """Somebody else's start."""
    return HttpRequest("POST", f"/api/1/rest/slsched/feed{path}", Effect.START, headers=vendor(access).task_headers)


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


@pytest.fixture
def ruuid(client: Client, snaplogic: Access, box: Sandbox) -> str:
    """A run that hangs."""
    return started(client, snaplogic, "early-hang").run_id


# -- start: where the run's id comes from ----------------------------------------------------------------


@pytest.mark.parametrize("answers", ["end", "early", "early_blind", "header"])
def test_run_is_found_however_the_trigger_answers(
    client: Client, snaplogic: Access, box: Sandbox, answers: str
) -> None:
    box.behave("snaplogic", "hang", answers=answers)
    run = started(client, snaplogic)
    assert run.run_id == only_run(box)["run_id"]
    assert run.ids == {"ruuid": run.run_id}
    assert len(box.requests(operation="start")) == 1


@pytest.mark.parametrize("answers", ["end", "early", "early_blind", "header"])
@pytest.mark.parametrize(("end", "state"), [("Completed", RunState.SUCCEEDED), ("Failed", RunState.FAILED)])
def test_run_that_is_over_at_once_is_found_too(
    client: Client, snaplogic: Access, box: Sandbox, answers: str, end: str, state: RunState
) -> None:
    box.behave("snaplogic", "hang", answers=answers, run_seconds=0, end=end, message="no such table")
    run = started(client, snaplogic)
    assert run.run_id == only_run(box)["run_id"]
    box.wait_for_state(run.run_id, end)
    assert look(client, snaplogic, run.run_id).state is state


def test_open_trigger_call_is_not_waited_for(client: Client, snaplogic: Access, box: Sandbox) -> None:
    run = started(client, snaplogic)
    assert only_run(box)["open"]
    assert box.requests(operation="start")[0]["status"] is None
    assert run.run_id == only_run(box)["run_id"]


def test_run_that_is_listed_late_is_waited_for(client: Client, snaplogic: Access, box: Sandbox) -> None:
    box.behave("snaplogic", "hang", list_delay_seconds=0.7)
    assert started(client, snaplogic).run_id == only_run(box)["run_id"]


def test_parameters_body_and_method_arrive(client: Client, snaplogic: Access, box: Sandbox) -> None:
    box.behave("snaplogic", "early-hang")
    started(
        client, snaplogic, "early-hang", parameters={"region": "EU & ü", "n": "1"}, body={"rows": [1]}, method="put"
    )
    assert only_run(box)["inputs"] == {"parameters": {"region": "EU & ü", "n": "1"}, "body": {"rows": [1]}}
    assert box.requests(operation="start")[0]["method"] == "PUT"


def test_trigger_uses_the_task_token_and_the_public_api_the_account(
    client: Client, connections: Connections, box: Sandbox
) -> None:
    access = connections.access("snaplogic_jwt")
    started(client, access)
    headers = {r["operation"]: r["headers"]["Authorization"] for r in box.requests()}
    assert headers == {
        "start": f"Bearer snaplogic-task-token-{box.seed}",
        "list": f"Bearer snaplogic-jwt-{box.seed}",
    }


def test_task_without_a_token_of_its_own_is_triggered_by_the_account(
    client: Client, connections: Connections, box: Sandbox
) -> None:
    access = connections.access("snaplogic_default", {"task_token": None})
    started(client, access, "early-hang")
    assert box.requests(operation="start")[0]["headers"]["Authorization"].startswith("Basic ")


# -- start: which run is ours ----------------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["end", "early_blind"])
def test_runs_that_were_there_before_are_not_taken_for_the_new_one(
    client: Client, snaplogic: Access, box: Sandbox, answers: str
) -> None:
    live, over = started(client, snaplogic), started(client, snaplogic)
    box.set_run(over.run_id, "Completed")
    box.behave("snaplogic", "hang", answers=answers)
    new = started(client, snaplogic)
    assert new.run_id not in {live.run_id, over.run_id}
    assert new.run_id == box.runs()[-1]["run_id"]


def test_run_that_ended_before_is_not_taken_for_one_that_was_never_started(
    client: Client, snaplogic: Access, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOST_CALL_LOOKS", 3)
    earlier = started(client, snaplogic)
    box.set_run(earlier.run_id, "Completed")
    box.fault("snaplogic", "start", "cut")
    with pytest.raises(StartUncertain, match="no new run is listed"):
        started(client, snaplogic)


def test_runs_of_other_pipelines_and_projects_do_not_matter(client: Client, snaplogic: Access, box: Sandbox) -> None:
    other_project = f"{quote('/Acme/projects/other', safe='/')}/hang"
    box.behave("snaplogic", other_project, run_seconds=None, answers="early")
    box.behave("snaplogic", "hang", list_delay_seconds=1.0)

    def others_come_up() -> Flow[Started]:
        start = plan(snaplogic)
        search = yield from start.prepare()
        for path in (f"{SALES}/early-hang", other_project):
            yield trigger(snaplogic, path)
        return (yield from start.start(search))

    run = client.drive(snaplogic, others_come_up())
    assert [row["run_id"] for row in box.runs(name="hang") if row["details"]["task_path"] == f"{SALES}/hang"] == [
        run.run_id
    ]


def test_two_new_runs_while_the_call_is_open_are_an_error_that_names_both(
    client: Client, snaplogic: Access, box: Sandbox
) -> None:
    def with_a_rival() -> Flow[Started]:
        start = plan(snaplogic)
        search = yield from start.prepare()
        yield Open(trigger(snaplogic, f"{SALES}/hang"))
        yield Pause(0.3)
        return (yield from start.start(search))

    with pytest.raises(StartUncertain) as seen:
        client.drive(snaplogic, with_a_rival())
    ids = sorted(run["run_id"] for run in box.open_runs())
    assert len(ids) == 2
    assert seen.value.candidates == tuple(ids)
    assert all(run_id in str(seen.value) for run_id in ids)
    assert "pipe.ruuid" in str(seen.value)
    assert "none was stopped" in str(seen.value)


def test_two_new_runs_are_no_trouble_if_the_answer_names_ours(client: Client, snaplogic: Access, box: Sandbox) -> None:
    first, second = started(client, snaplogic, "early-hang"), started(client, snaplogic, "early-hang")
    assert [first.run_id, second.run_id] == [run["run_id"] for run in box.runs()]


def test_unfinished_start_is_found_again_by_what_was_written_ahead(
    client: Client, snaplogic: Access, box: Sandbox
) -> None:
    started(client, snaplogic)
    search = json.loads(json.dumps(client.drive(snaplogic, plan(snaplogic).prepare())))
    assert client.drive(snaplogic, vendor(snaplogic).find(search)) == []
    ours = started(client, snaplogic)
    assert [run.run_id for run in client.drive(snaplogic, vendor(snaplogic).find(search))] == [ours.run_id]
    box.set_run(ours.run_id, "Failed")
    assert [run.run_id for run in client.drive(snaplogic, vendor(snaplogic).find(search))] == [ours.run_id]


# -- start: when the answer is lost ----------------------------------------------------------------------

LOST = [
    {"kind": "cut"},
    {"kind": "hang", "seconds": 0.3},
    {"kind": "truncated"},
    {"kind": "garbage"},
    {"kind": "empty"},
    {"kind": "huge"},
    {"kind": "redirect"},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 504},
    {"kind": "body", "body": "queued"},
    {"kind": "body", "body": [{"ruuid": ""}]},
    {"kind": "body", "body": [7]},
]


@pytest.mark.parametrize("trouble", LOST, ids=str)
def test_start_with_a_lost_answer_is_found_in_the_list_and_never_sent_again(
    client: Client, snaplogic: Access, box: Sandbox, trouble: dict[str, Any]
) -> None:
    box.fault("snaplogic", "start", after_effect=True, **trouble)
    run = started(client, snaplogic)
    assert run.run_id == only_run(box)["run_id"]
    assert len(box.requests(operation="start")) == 1


@pytest.mark.parametrize("trouble", LOST, ids=str)
def test_start_that_may_have_failed_is_an_error_that_says_what_to_do(
    client: Client, snaplogic: Access, box: Sandbox, trouble: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOST_CALL_LOOKS", 2)
    box.fault("snaplogic", "start", **trouble)
    with pytest.raises(StartUncertain) as seen:
        started(client, snaplogic)
    assert "it was not started again" in str(seen.value)
    assert "pipeline hang" in str(seen.value)
    assert "pipe.ruuid" in str(seen.value)
    assert len(box.requests(operation="start")) == 1
    assert box.runs() == []


def test_connection_that_is_refused_was_no_start(client: Client, snaplogic: Access) -> None:
    with OddServer(say()) as server:
        gone = dataclasses.replace(snaplogic, endpoint=dataclasses.replace(snaplogic.endpoint, base_url=server.url))
    flow = Trigger(vendor(snaplogic))._trigger_request(TriggeredTask("projects/sales/hang"))

    def ask() -> Flow[Any]:
        return (yield flow)

    with pytest.raises(TransportError) as seen:
        client.drive(gone, ask(), BRIEF)
    assert not seen.value.sent


@pytest.mark.parametrize("trouble", [{"kind": "status", "status": 503}, {"kind": "garbage"}, {"kind": "cut"}], ids=str)
def test_list_that_fails_while_the_call_is_open_does_not_lose_the_run(
    client: Client, snaplogic: Access, box: Sandbox, trouble: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.02)

    def list_breaks() -> Flow[Started]:
        start = plan(snaplogic)
        search = yield from start.prepare()
        box.fault("snaplogic", "list", count=5, **trouble)
        return (yield from start.start(search))

    run = client.drive(snaplogic, list_breaks(), Patience(total=0.01))
    assert run.run_id == only_run(box)["run_id"]
    assert len(box.requests(operation="start")) == 1


def test_list_that_is_refused_while_the_call_is_open_leaves_a_run_that_may_live(
    client: Client, snaplogic: Access, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Basic is switched off in between: the answer to the start is lost too, and nothing may say "not started"."""
    monkeypatch.setattr(module, "LOST_CALL_LOOKS", 2)

    def basic_goes() -> Flow[Started]:
        start = plan(snaplogic)
        search = yield from start.prepare()
        box.settings("snaplogic", basic_enabled=False, trigger_seconds=0.5)
        return (yield from start.start(search))

    with pytest.raises(StartUncertain, match="may be alive") as seen:
        client.drive(snaplogic, basic_goes())
    assert "Basic" in str(seen.value)
    assert only_run(box)["open"]


# -- start: refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "task_token"),
        (403, "execute right"),
        (404, "case-sensitive"),
        (409, "while one is active"),
        (400, "HTTP 400"),
    ],
)
def test_refused_start_says_why_and_what_to_check(
    client: Client, snaplogic: Access, box: Sandbox, status: int, hint: str
) -> None:
    box.fault("snaplogic", "start", "status", status=status)
    with pytest.raises(StartRefused, match=hint) as seen:
        started(client, snaplogic)
    assert seen.value.status == status
    assert f"HTTP {status}: out of order" in str(seen.value)
    assert box.runs() == []


def test_unknown_task_is_refused_by_name(client: Client, snaplogic: Access, box: Sandbox) -> None:
    with pytest.raises(StartRefused, match=r"no task /Acme/projects/sales/nothing.*hidden"):
        started(client, snaplogic, "nothing")


def test_wrong_task_token_is_named(client: Client, connections: Connections, box: Sandbox) -> None:
    access = connections.access("snaplogic_default", {"task_token": "wrong"})
    with pytest.raises(StartRefused, match="'task_token' in the extra"):
        started(client, access)


def test_single_instance_task_that_runs_refuses(client: Client, snaplogic: Access, box: Sandbox) -> None:
    box.behave("snaplogic", "early-hang", single_instance=True)
    started(client, snaplogic, "early-hang")
    with pytest.raises(StartRefused, match="HTTP 409"):
        started(client, snaplogic, "early-hang")


def test_quota_of_triggers_is_waited_for(client: Client, snaplogic: Access, box: Sandbox) -> None:
    box.fault("snaplogic", "start", "status", status=429, count=2)
    started(client, snaplogic, "early-hang")
    assert len(box.requests(operation="start")) == 3
    assert len(box.runs()) == 1


def test_quota_of_triggers_that_is_used_up_is_an_error(client: Client, snaplogic: Access, box: Sandbox) -> None:
    box.fault("snaplogic", "start", "status", status=429, retry_after="86400")
    with pytest.raises(StartRefused, match="quota of triggered runs is used up"):
        started(client, snaplogic)


def test_nothing_is_started_if_the_list_cannot_be_read(client: Client, connections: Connections, box: Sandbox) -> None:
    access = connections.access("snaplogic_default", password="wrong")
    with pytest.raises(LoginRefused, match="Check the login"):
        started(client, access)
    assert box.requests(operation="start") == []


# -- start: what is called -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_of_tasks_and_projects_work(client: Client, snaplogic: Access, box: Sandbox, name: str) -> None:
    encoded = quote(name, safe="")
    box.behave("snaplogic", f"/Acme/projects/{encoded}/{encoded}", run_seconds=None)
    run = started(client, snaplogic, task_path=f"/Acme/projects/{name}/{name}", pipeline_name=name)
    assert run.run_id == only_run(box)["run_id"]
    assert only_run(box)["name"] == name
    (call,) = box.requests(operation="start")
    assert call["path"] == f"/snaplogic/api/1/rest/slsched/feed/Acme/projects/{encoded}/{encoded}"


@pytest.mark.parametrize(
    "task_path",
    ["/Acme/projects/sales/hang", "Acme/projects/sales/hang", "projects/sales/hang", "/projects/sales/hang/"],
)
def test_org_may_be_left_out_of_the_task_path(client: Client, snaplogic: Access, box: Sandbox, task_path: str) -> None:
    started(client, snaplogic, task_path=task_path)
    assert box.requests(operation="start")[0]["path"].endswith("/feed/Acme/projects/sales/hang")


@pytest.mark.parametrize("task_path", ["hang", "", "/", "/Acme", "Acme/hang"])
def test_task_path_without_a_project_is_refused_before_anything_is_sent(
    snaplogic: Access, box: Sandbox, task_path: str
) -> None:
    with pytest.raises(ConnectionSetupError, match="/org/space/project/task"):
        plan(snaplogic, task_path=task_path)
    assert box.requests() == []


@pytest.mark.parametrize("task_path", ["projects/../hang", "projects/./hang", "../../other/x"])
def test_dots_in_a_task_path_are_refused(snaplogic: Access, box: Sandbox, task_path: str) -> None:
    with pytest.raises(InvalidIdentifier, match=r"'\.\.?' cannot be an id or a name"):
        plan(snaplogic, task_path=task_path)


def task_url(access: Access, rest: str = "/hang") -> str:
    return f"{access.endpoint.base_url}/api/1/rest/slsched/feed{SALES}{rest}"


def test_full_url_on_the_connections_host_works(client: Client, snaplogic: Access, box: Sandbox) -> None:
    url = task_url(snaplogic, "/hang?region=E%26U&x=1")
    run = started(client, snaplogic, task_path=None, task_url=url, parameters={"x": "2"})
    assert run.run_id == only_run(box)["run_id"]
    assert only_run(box)["inputs"]["parameters"] == {"region": "E&U", "x": "2"}


@pytest.mark.parametrize("written", ["a b", "a%20b", "n%C3%A4her", "näher", "a%2Fb", "100%25"])
def test_full_url_with_odd_names_reaches_the_task(
    client: Client, snaplogic: Access, box: Sandbox, written: str
) -> None:
    from urllib.parse import unquote

    encoded = quote(unquote(written), safe="")
    box.behave("snaplogic", f"{SALES}/{encoded}", run_seconds=None, answers="early")
    started(client, snaplogic, task_path=None, task_url=task_url(snaplogic, f"/{written}"), pipeline_name=None)
    assert box.requests(operation="start")[0]["path"].endswith(f"{SALES}/{encoded}")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/api/1/rest/slsched/feed/Acme/projects/sales/hang",
        "http://127.0.0.1.evil.example/snaplogic/api",
        "{base}.evil.example/api",
        "{base}@evil.example/api",
        "http://someone:url-secret@evil.example/api/hang",
        "ftp://127.0.0.1/api",
        "api/1/rest/slsched/feed/Acme/projects/sales/hang",
        "//evil.example/x",
    ],
)
def test_full_url_on_another_host_is_refused_unless_the_connection_names_it(
    snaplogic: Access, box: Sandbox, url: str
) -> None:
    with pytest.raises(ConnectionSetupError, match="task_hosts") as seen:
        plan(snaplogic, task_path=None, task_url=url.format(base=snaplogic.endpoint.base_url))
    assert "url-secret" not in str(seen.value)


@pytest.mark.parametrize("rest", ["/../../x", "/%2e%2e/x", "/./x", "//x", "/%2E/hang"])
def test_full_url_that_climbs_is_refused(snaplogic: Access, rest: str) -> None:
    with pytest.raises(InvalidIdentifier, match="cannot be an id or a name"):
        plan(snaplogic, task_path=None, task_url=task_url(snaplogic, rest))


def test_full_url_on_a_host_that_the_connection_names_gets_the_task_token(
    client: Client, connections: Connections, box: Sandbox
) -> None:
    with OddServer(say(b'[{"ruuid": "made-elsewhere"}]')) as plex:
        access = connections.access("snaplogic_default", {"task_hosts": f"http://other:1, {plex.url}/"})
        run = started(client, access, task_path=None, task_url=f"{plex.url}/api/1/rest/feed/Acme/x/y/hang?a=b")
        assert run.run_id == "made-elsewhere"
        (call,) = plex.received
        assert call.startswith(b"POST /api/1/rest/feed/Acme/x/y/hang?a=b ")
        assert f"Authorization: Bearer snaplogic-task-token-{box.seed}".encode() in call


# -- look ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "state"), STATES.items())
def test_each_word_has_its_state(
    client: Client, snaplogic: Access, box: Sandbox, ruuid: str, word: str, state: RunState
) -> None:
    box.set_run(ruuid, word)
    status = look(client, snaplogic, ruuid)
    assert (status.state, status.vendor_state) == (state, word)


def test_the_states_of_the_documentation_are_all_known() -> None:
    live = {"Queued", "NoUpdate", "Prepared", "Started", "Resuming", "Suspending", "Stopping", "Failing", "Suspended"}
    over = {"Completed": RunState.SUCCEEDED, "Failed": RunState.FAILED, "Stopped": RunState.STOPPED}
    assert set(STATES) == live | set(over)
    assert {word for word, state in STATES.items() if state.is_live} == live
    assert {word: STATES[word] for word in over} == over
    assert set(module.LIVE_STATES) == live
    assert set(module.OVER_STATES) == set(over)


@pytest.mark.parametrize("word", ["Rebooting", "completed", "SUCCESS", ""])
def test_unknown_word_is_live_and_logged_once(
    client: Client, snaplogic: Access, box: Sandbox, ruuid: str, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    vendors._warn_unknown_word.cache_clear()
    box.set_run(ruuid, word)
    with caplog.at_level(logging.WARNING):
        states = {look(client, snaplogic, ruuid).state for _ in range(3)}
    assert states == {RunState.UNKNOWN}
    assert RunState.UNKNOWN.is_live
    assert [record.getMessage() for record in caplog.records if "not documented" in record.getMessage()] == [
        f"SnapLogic: state {word!r} is not documented. The run is taken for live; only a limit or a stop ends the wait."
    ]


def test_reason_of_a_failure_is_told(client: Client, snaplogic: Access, box: Sandbox) -> None:
    box.behave("snaplogic", "fail", answers="early", run_seconds=0)
    run = started(client, snaplogic, "fail")
    box.wait_for_state(run.run_id, "Failed")
    status = look(client, snaplogic, run.run_id)
    assert status.message == "Pipeline failed; target refused the row; check the column type"


def test_reason_is_read_from_the_detail_if_the_summary_has_none(
    client: Client, snaplogic: Access, box: Sandbox, ruuid: str
) -> None:
    box.set_run(ruuid, "Failed", "disk full")
    box.fault(
        "snaplogic", "status", "body", body={"response_map": {"state": "Failed"}, "http_status_code": 200}, count=1
    )
    status = look(client, snaplogic, ruuid)
    assert "disk full" in (status.message or "")
    assert box.seed not in (status.message or "")
    assert [request["query"] for request in box.requests(operation="status")] == ["level=summary", "level=detail"]


def test_detail_that_cannot_be_read_does_not_hide_the_failure(
    client: Client, snaplogic: Access, box: Sandbox, ruuid: str
) -> None:
    box.fault("snaplogic", "status", "body", body={"response_map": {"state": "Failed"}}, count=1)
    box.fault("snaplogic", "status", "status", status=404)
    status = look(client, snaplogic, ruuid)
    assert (status.state, status.message) == (RunState.FAILED, None)


def test_extra_fields_do_not_matter(client: Client, snaplogic: Access, box: Sandbox, ruuid: str) -> None:
    body = {
        "response_map": {"state": "Started", "new": {"deep": [1]}, "ruuid": None},
        "more": 1,
        "http_status_code": "200",
    }
    box.fault("snaplogic", "status", "body", body=body)
    assert look(client, snaplogic, ruuid).state is RunState.RUNNING


def test_unknown_run_is_not_found(client: Client, snaplogic: Access, box: Sandbox) -> None:
    with pytest.raises(NotFound, match="No such run or org, or it is hidden"):
        look(client, snaplogic, "nothing")


@pytest.mark.parametrize("odd", ["a/b", "a b", "a?b=c", "a#b", "100%", "%2e%2e", "näher", "日本", "..a", "a\\b"])
def test_odd_ids_stay_one_segment_of_the_path(client: Client, snaplogic: Access, box: Sandbox, odd: str) -> None:
    with pytest.raises(NotFound):
        look(client, snaplogic, odd)
    (request,) = box.requests()
    assert request["path"] == f"/snaplogic/api/1/rest/public/runtime/Acme/{quote(odd, safe='')}"
    assert request["query"] == "level=summary"


@pytest.mark.parametrize("odd", ["", ".", ".."])
def test_ids_that_would_change_the_path_are_refused_before_anything_is_sent(
    client: Client, snaplogic: Access, box: Sandbox, odd: str
) -> None:
    with pytest.raises(InvalidIdentifier, match="cannot be an id"):
        look(client, snaplogic, odd)
    assert box.requests() == []


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, VendorError), (401, LoginRefused), (403, LoginRefused), (404, NotFound), (409, VendorError)],
)
def test_each_status_has_its_error(
    client: Client, snaplogic: Access, box: Sandbox, status: int, error: type[VendorError]
) -> None:
    box.fault("snaplogic", "status", "status", status=status)
    with pytest.raises(error, match=f"SnapLogic answered HTTP {status}: out of order") as seen:
        look(client, snaplogic, "x")
    assert seen.value.status == status


def test_rate_limit_that_lasts_is_an_error(client: Client, snaplogic: Access, box: Sandbox) -> None:
    box.fault("snaplogic", "status", "status", status=429)
    with pytest.raises(RateLimited):
        look(client, snaplogic, "x", BRIEF)


@pytest.mark.parametrize("way", ["body", "errors_as_200"])
def test_ok_that_says_failed_in_the_body_is_an_error(
    client: Client, snaplogic: Access, box: Sandbox, ruuid: str, way: str
) -> None:
    if way == "body":
        box.fault("snaplogic", "stop", "body", body={"response_map": {}, "http_status_code": 403})
    else:
        box.settings("snaplogic", errors_as_200=True)
        box.set_run(ruuid, "Completed")
    with pytest.raises(VendorError, match=r"HTTP 40[03]"):
        client.drive(snaplogic, ask_stop(snaplogic, ruuid))


def test_ok_that_says_failed_in_its_header_is_an_error(client: Client, snaplogic: Access) -> None:
    def answer(connection: Any, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-SL-StatusCode: 404\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with OddServer(answer) as server:
        way = dataclasses.replace(snaplogic.endpoint, base_url=server.url)
        with pytest.raises(NotFound):
            client.drive(dataclasses.replace(snaplogic, endpoint=way), ask_stop(snaplogic, "x"))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"response_map": None},
        {"response_map": []},
        {"response_map": {}},
        {"response_map": {"state": 3}},
        [],
        "x",
        7,
    ],
    ids=str,
)
def test_answer_of_another_shape_is_a_bad_answer(client: Client, snaplogic: Access, box: Sandbox, body: Any) -> None:
    box.fault("snaplogic", "status", "body", body=body)
    with pytest.raises(BadAnswer, match="answer about run x has no"):
        look(client, snaplogic, "x")


def test_empty_answer_is_a_bad_answer(client: Client, snaplogic: Access, box: Sandbox) -> None:
    box.fault("snaplogic", "any", "empty")
    with pytest.raises(BadAnswer):
        look(client, snaplogic, "x")
    with pytest.raises(BadAnswer, match="no entries"):
        client.drive(snaplogic, vendor(snaplogic).list_runs(state="Started"))


# -- list ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "PAGE", 3)


@pytest.mark.usefixtures("small_pages")
def test_list_reads_every_page(client: Client, snaplogic: Access, box: Sandbox) -> None:
    def many() -> Flow[None]:
        for _ in range(8):
            yield trigger(snaplogic, f"{SALES}/early-hang")

    client.drive(snaplogic, many())
    eventually(lambda: all(run["state"] == "Started" for run in box.runs()))
    box.clear_requests()
    entries = client.drive(snaplogic, vendor(snaplogic).list_runs(state="Started", invoker="triggered"))
    assert {entry["id"] for entry in entries} == {run["run_id"] for run in box.runs()}
    assert [request["query"] for request in box.requests()] == [
        f"state=Started&invoker=triggered&limit=3&offset={offset}" for offset in (0, 3, 6)
    ]


def page(*entries: dict[str, Any], total: Any = None) -> dict[str, Any]:
    return {"response_map": {"entries": list(entries), "total": total}, "http_status_code": 200}


@pytest.mark.usefixtures("small_pages")
def test_list_whose_pages_repeat_comes_to_an_end(client: Client, snaplogic: Access, box: Sandbox) -> None:
    box.fault("snaplogic", "list", "body", body=page({"id": "a"}, {"id": "b"}, total=1_000_000))
    entries = client.drive(snaplogic, vendor(snaplogic).list_runs())
    assert [entry["id"] for entry in entries] == ["a", "b"]
    assert len(box.requests()) == 2


def test_filters_that_the_server_ignored_are_applied(client: Client, snaplogic: Access, box: Sandbox) -> None:
    fits = {"id": "a", "state": "Started", "label": "load", "invoker": "triggered", "path_id": SALES}
    body = page(
        fits, {**fits, "id": "b", "state": "Failed"}, {**fits, "id": "c", "label": "other"}, {"id": "d"}, total=4
    )
    box.fault("snaplogic", "list", "body", body=body)
    flow = vendor(snaplogic).list_runs(state="Started", pipe_name="load", invoker="triggered", project_path=SALES)
    assert [entry["id"] for entry in client.drive(snaplogic, flow)] == ["a", "d"]


@pytest.mark.parametrize("total", [None, "many", 2])
def test_list_without_a_usable_total_ends_with_its_page(
    client: Client, snaplogic: Access, box: Sandbox, total: Any
) -> None:
    box.fault("snaplogic", "list", "body", body=page({"id": "a"}, {"ruuid": "b"}, total=total))
    assert len(client.drive(snaplogic, vendor(snaplogic).list_runs())) == 2


@pytest.mark.parametrize("entry", [{}, {"id": 7}])
def test_entry_without_an_id_is_a_bad_answer(
    client: Client, snaplogic: Access, box: Sandbox, entry: dict[str, Any]
) -> None:
    box.fault("snaplogic", "list", "body", body=page(entry, total=1))
    with pytest.raises(BadAnswer, match="has no id"):
        client.drive(snaplogic, vendor(snaplogic).list_runs())


# -- stop and resume -------------------------------------------------------------------------------------


def external(access: Access, ruuid: str) -> Any:
    from datetime import UTC, datetime

    from airflow_runctl.runs import ExternalRun

    return ExternalRun("snaplogic", access.conn_id, ruuid, None, datetime.now(UTC), {"ruuid": ruuid})


def ask_stop(access: Access, ruuid: str) -> Flow[Any]:
    return vendor(access).ask_stop(external(access, ruuid))


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
