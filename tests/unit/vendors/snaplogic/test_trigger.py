"""SnapLogic's trigger call: whose run it started in every answer style, what it refuses, what is never sent again."""

import dataclasses
import json
from typing import Any
from urllib.parse import quote

import pytest

from airflow_runctl.exceptions import (
    ConnectionSetupError,
    InvalidIdentifier,
    LoginRefused,
    StartRefused,
    StartUncertain,
    TransportError,
)
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import RunState
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Flow, Started
from airflow_runctl.vendors.snaplogic import trigger as module
from airflow_runctl.vendors.snaplogic.trigger import Trigger, TriggeredTask
from tests.servers.odd_server import OddServer, say
from tests.unit.clients import Client
from tests.unit.connections import Connections
from tests.unit.later import Later
from tests.unit.vendors.snaplogic.runs import (
    BRIEF,
    SALES,
    look,
    only_run,
    plan,
    somebody_starts,
    started,
    trigger,
    vendor,
    whole,
)

pytestmark = pytest.mark.usefixtures("brisk")

ODD_NAMES = ["a b", "100%", "what?", "a#b", "näher", "日本", "a;b", "%2e", "a+b"]


# -- where the run's id comes from -----------------------------------------------------------------------


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


# -- which run is ours -----------------------------------------------------------------------------------


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
    rival = Later(lambda: box.requests(operation="start"), lambda: somebody_starts(snaplogic))
    with rival, pytest.raises(StartUncertain) as seen:
        client.drive(snaplogic, whole(plan(snaplogic)))
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


# -- when the answer is lost -----------------------------------------------------------------------------

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


# -- refused ---------------------------------------------------------------------------------------------


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


# -- what is called --------------------------------------------------------------------------------------


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
