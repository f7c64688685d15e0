"""The stand-in for bctrl: workspace runtimes by alias, and browsers, their runs and agents' tasks."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests
import yaml
from openapi_core import OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse

from airflow_runctl.sandbox.client import Sandbox, eventually
from tests.places import OPENAPI

DOCUMENT = OPENAPI / "bctrl-runtimes-stop.yaml"


class Bctrl:
    """Bare HTTP against the stand-in, with the key of its connection."""

    def __init__(self, sandbox: Sandbox) -> None:
        connection = json.loads(sandbox.connections["AIRFLOW_CONN_BCTRL_BROWSERS"])
        self.sandbox = sandbox
        self.host = connection["host"]
        self.header = {"Authorization": f"Bearer {connection['password']}"}

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        header = {**self.header, **more.pop("headers", {})}
        return requests.request(method, f"{self.host}/v1/{path}", headers=header, timeout=70, **more)

    def post(self, path: str, key: str | None = None, **body: Any) -> requests.Response:
        header = {"Idempotency-Key": key} if key is not None else {}
        return self.call("POST", path, json=body, headers=header)

    def get(self, path: str) -> dict[str, Any]:
        answer = self.call("GET", path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def runtimes(self) -> str:
        return f"workspaces/{self.get('workspaces')['workspaces'][0]['id']}/runtimes"

    def launch(self, alias: str = "main", **body: Any) -> requests.Response:
        ephemeral = {"kind": "browser", "driver": "playwright", "launch": {"mode": "ephemeral"}}
        return self.post(self.runtimes(), **{"alias": alias, **ephemeral, **body})

    def browser(self, name: str = "shopper", **body: Any) -> dict[str, Any]:
        """Create a browser and wait until its run is active."""
        found: dict[str, Any] = self.post("browsers?wait=10", name=name, **body).json()
        assert found["currentRun"]["status"] == "active", found
        return found

    def task(self, agent: str = "hang-agent", **body: Any) -> requests.Response:
        return self.post("tasks", agent=agent, input="find the price", **body)


@pytest.fixture
def bctrl(box: Sandbox) -> Bctrl:
    return Bctrl(box)


# Both generations


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic abc"])
@pytest.mark.parametrize("path", ["workspaces", "browsers"])
def test_wrong_key_is_a_401(bctrl: Bctrl, path: str, header: str) -> None:
    answer = bctrl.call("GET", path, headers={"Authorization": header})
    assert answer.status_code == 401


def test_error_is_flat_for_workspaces_and_nested_for_browsers(bctrl: Bctrl) -> None:
    flat = bctrl.call("GET", f"{bctrl.runtimes()}/nothing")
    assert (flat.status_code, flat.json()["code"]) == (404, "runtime.not_found")
    assert isinstance(flat.json()["error"], str)
    assert flat.headers["x-request-id"] == flat.json()["requestId"]
    nested = bctrl.call("GET", "browsers/nothing")
    assert (nested.status_code, nested.json()["error"]["code"]) == (404, "browser.not_found")
    assert nested.json()["error"].keys() >= {"code", "message", "reasonClass", "requestId", "hint"}
    assert nested.headers["BCTRL-Request-Id"] == nested.json()["error"]["requestId"]


def test_rate_limit_says_when_to_come_again(bctrl: Bctrl) -> None:
    bctrl.sandbox.settings("bctrl", rate_limit_per_minute=1)
    assert bctrl.call("GET", "auth/whoami").status_code == 200
    answer = bctrl.call("GET", "auth/whoami")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_empty_body_that_calls_itself_json_is_refused(bctrl: Bctrl) -> None:
    bctrl.launch()
    bctrl.browser()
    header = {"Content-Type": "application/json"}
    for path in (f"{bctrl.runtimes()}/main/stop", "browsers/shopper/stop"):
        assert bctrl.call("POST", path, headers=header).status_code == 400
    assert len(bctrl.sandbox.open_runs()) == 2
    for path in (f"{bctrl.runtimes()}/main/stop", "browsers/shopper/stop"):
        assert bctrl.call("POST", path).status_code == 200


# Workspaces


def test_runtime_is_launched_read_listed_and_stopped_by_alias(bctrl: Bctrl) -> None:
    made = bctrl.launch("night shift/1").json()
    assert (made["alias"], made["status"], made["kind"]) == ("night shift/1", "active", "browser")
    path = f"{bctrl.runtimes()}/night%20shift%2F1"
    assert bctrl.get(path) == made
    assert bctrl.get(bctrl.runtimes()) == {"runtimes": [made]}
    stopped = bctrl.post(f"{path}/stop").json()
    assert stopped["id"] == made["id"]
    run = bctrl.sandbox.wait_for_state(made["id"], "stopped")
    assert (run["name"], run["stop_requests"]) == ("night shift/1", 1)
    assert bctrl.get(path)["summary"]["browserRunning"] is False


@pytest.mark.parametrize(("seconds", "status"), [(0, "stopped"), (5, "active"), (None, "active")])
def test_reply_to_a_stop_may_still_say_active(bctrl: Bctrl, seconds: float | None, status: str) -> None:
    bctrl.sandbox.behave("bctrl", "main", stop_seconds=seconds)
    bctrl.launch()
    assert bctrl.post(f"{bctrl.runtimes()}/main/stop").json()["status"] == status


def test_answer_to_a_runtime_stop_is_that_of_the_openapi_document(bctrl: Bctrl) -> None:
    document = yaml.safe_load(DOCUMENT.read_text())
    document["servers"] = [{"url": bctrl.host}]
    openapi = OpenAPI.from_dict(document)
    bctrl.launch("one")
    bctrl.launch("two", launch={"mode": "profile", "profileId": str(uuid.uuid4())})
    bctrl.sandbox.behave("bctrl", "two", stop_seconds=0)
    cases: list[tuple[str, dict[str, Any] | None]] = [("one", None), ("two", {}), ("two", {})]
    for alias, body in cases:
        url = f"{bctrl.host}/v1/{bctrl.runtimes()}/{alias}/stop"
        request = requests.Request("POST", url, headers=bctrl.header, json=body).prepare()
        with requests.Session() as session:
            answer = session.send(request, timeout=30)
        assert answer.status_code == 200
        openapi.validate_request(RequestsOpenAPIRequest(request))
        openapi.validate_response(RequestsOpenAPIRequest(request), RequestsOpenAPIResponse(answer))


def test_alias_in_use_is_refused_and_a_free_one_gets_a_new_id(bctrl: Bctrl) -> None:
    bctrl.sandbox.behave("bctrl", "main", stop_seconds=0)
    first = bctrl.launch().json()["id"]
    assert bctrl.launch().status_code == 409
    bctrl.post(f"{bctrl.runtimes()}/main/stop")
    second = bctrl.launch().json()["id"]
    assert second != first
    assert bctrl.post(f"{bctrl.runtimes()}/main/stop").json()["id"] == second


def test_stop_of_a_stopped_runtime_gives_it_back_again(bctrl: Bctrl) -> None:
    bctrl.sandbox.behave("bctrl", "main", stop_seconds=0)
    bctrl.launch()
    answers = [bctrl.post(f"{bctrl.runtimes()}/main/stop").json() for _ in range(2)]
    assert answers[0] == answers[1]


def test_runtime_can_be_gone_once_it_has_stopped(bctrl: Bctrl) -> None:
    bctrl.sandbox.behave("bctrl", "main", stop_seconds=0, gone_after_end=True)
    bctrl.launch()
    bctrl.post(f"{bctrl.runtimes()}/main/stop")
    assert bctrl.call("GET", f"{bctrl.runtimes()}/main").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"alias": ""},
        {"kind": "desktop"},
        {"driver": "lynx"},
        {"driver": ["playwright"]},
        {"launch": {}},
        {"launch": {"mode": "profile"}},
    ],
)
def test_body_of_a_launch_is_checked(bctrl: Bctrl, body: dict[str, Any]) -> None:
    assert bctrl.launch(**body).status_code == 400
    assert bctrl.sandbox.runs() == []


def test_unknown_workspace_is_not_found(bctrl: Bctrl) -> None:
    assert bctrl.call("GET", f"workspaces/{uuid.uuid4()}/runtimes").status_code == 404


def test_workspaces_can_be_retired(bctrl: Bctrl) -> None:
    bctrl.sandbox.settings("bctrl", workspaces_retired=True)
    assert bctrl.call("GET", "workspaces").status_code == 404
    assert bctrl.call("GET", "browsers").status_code == 200


# Browsers and runs


def test_new_browser_starts_its_first_run(bctrl: Bctrl) -> None:
    answer = bctrl.post("browsers", name="shopper")
    browser = answer.json()
    assert (answer.status_code, browser["status"], browser["name"]) == (201, "running", "shopper")
    assert (browser["currentRun"]["status"], browser["currentRun"]["connections"]) == ("starting", None)
    run_id = browser["currentRun"]["id"]
    run = bctrl.get(f"runs/{run_id}?wait=10")
    assert (run["status"], run["resourceId"], run["endedAt"]) == ("active", browser["id"], None)
    assert bctrl.sandbox.seed in run["connections"]["cdpUrl"]
    assert bctrl.get("browsers/shopper")["currentRun"]["id"] == run_id


def test_current_run_is_null_until_it_is_admitted(bctrl: Bctrl) -> None:
    bctrl.sandbox.behave("bctrl", "shopper", queue_seconds=0.5)
    browser = bctrl.post("browsers", name="shopper").json()
    assert (browser["status"], browser["currentRun"]) == ("running", None)
    assert eventually(lambda: bctrl.get(f"browsers/{browser['id']}")["currentRun"])


def test_stop_is_a_request_and_not_a_completion(bctrl: Bctrl) -> None:
    bctrl.sandbox.behave("bctrl", "shopper", stop_seconds=1.0)
    browser = bctrl.browser()
    answer = bctrl.post(f"browsers/{browser['id']}/stop")
    assert (answer.status_code, answer.json()["currentRun"]["status"]) == (200, "stopping")
    again = bctrl.post(f"browsers/{browser['id']}/stop")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "browser.stop_pending")
    run = bctrl.sandbox.wait_for_state(browser["currentRun"]["id"], "ended")
    assert run["stop_requests"] == 2
    idle = bctrl.get("browsers/shopper")
    assert (idle["status"], idle["currentRun"], idle["savedState"]) == ("idle", None, {"status": "saved"})
    assert bctrl.get(f"runs/{run['run_id']}")["endReason"] == "stopped on request"


def test_stop_with_wait_answers_when_it_is_over(bctrl: Bctrl) -> None:
    browser = bctrl.browser()
    assert bctrl.post(f"browsers/{browser['id']}/stop?wait=10", discardState=True).json() == {
        **browser,
        "status": "idle",
        "currentRun": None,
    }


def test_wait_has_an_upper_limit(bctrl: Bctrl) -> None:
    assert bctrl.call("GET", "browsers/shop?wait=61").status_code == 400


def test_stop_of_an_idle_browser_is_a_conflict(bctrl: Bctrl) -> None:
    answer = bctrl.post("browsers/shop/stop")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "browser.not_running")


def test_start_of_a_running_browser_starts_no_second_run(bctrl: Bctrl) -> None:
    browser = bctrl.browser()
    again = bctrl.post(f"browsers/{browser['id']}/start").json()
    assert again["currentRun"]["id"] == browser["currentRun"]["id"]
    assert len(bctrl.sandbox.runs()) == 1


def test_start_waits_for_a_run_that_is_still_stopping(bctrl: Bctrl) -> None:
    bctrl.sandbox.behave("bctrl", "shopper", stop_seconds=0.3)
    browser = bctrl.browser()
    bctrl.post("browsers/shopper/stop")
    second = bctrl.post("browsers/shopper/start?wait=10").json()
    assert second["currentRun"]["id"] != browser["currentRun"]["id"]
    assert [run["state"] for run in bctrl.sandbox.runs()] == ["ended", "active"]


def test_name_that_two_browsers_have_is_ambiguous(bctrl: Bctrl) -> None:
    for _ in range(2):
        bctrl.post("browsers", name="twin")
    answer = bctrl.post("browsers/twin/stop")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "resource.name_ambiguous")


def test_run_can_fail_by_itself(bctrl: Bctrl) -> None:
    bctrl.sandbox.behave("bctrl", "shopper", run_seconds=0.1, end="failed", message="host lost")
    run_id = bctrl.post("browsers", name="shopper").json()["currentRun"]["id"]
    bctrl.sandbox.wait_for_state(run_id, "failed")
    run = bctrl.get(f"runs/{run_id}")
    assert (run["status"], run["endReason"]) == ("failed", "host lost")


def test_runs_are_listed_newest_first_in_pages(bctrl: Bctrl) -> None:
    made = [bctrl.post("browsers", name=f"b{number}").json()["currentRun"]["id"] for number in range(5)]
    first = bctrl.get("runs?limit=2")
    assert ([run["id"] for run in first["data"]], first["hasMore"]) == ([made[4], made[3]], True)
    # A run that comes while one pages neither repeats nor hides another.
    bctrl.post("browsers", name="late")
    second = bctrl.get(f"runs?limit=2&cursor={first['nextCursor']}")
    third = bctrl.get(f"runs?limit=2&cursor={second['nextCursor']}")
    assert [run["id"] for run in second["data"] + third["data"]] == [made[2], made[1], made[0]]
    assert (third["hasMore"], third["nextCursor"]) == (False, None)
    assert [run["id"] for run in bctrl.get("runs?order=asc&limit=1")["data"]] == [made[0]]
    assert bctrl.call("GET", "runs?cursor=xyz").status_code == 400


def test_runs_are_filtered(bctrl: Bctrl) -> None:
    one, other = bctrl.browser("one"), bctrl.browser("other")
    bctrl.post("browsers/one/stop?wait=10")
    assert [run["resourceId"] for run in bctrl.get("runs?status=ended")["data"]] == [one["id"]]
    assert len(bctrl.get("runs?status=ended&status=active")["data"]) == 2
    assert len(bctrl.get(f"runs?resourceId={other['id']}")["data"]) == 1
    assert len(bctrl.get("browsers/other/runs")["data"]) == 1
    assert bctrl.get("runs?from=2031-01-01T00:00:00Z")["data"] == []
    assert {browser["name"] for browser in bctrl.get("browsers")["data"]} == {"shop", "one", "other"}


# Idempotency keys


@pytest.mark.parametrize(
    "act",
    [
        lambda bctrl: bctrl.post("browsers", key="k-1", name="once"),
        lambda bctrl: bctrl.post("tasks", key="k-1", agent="hang-agent", input="a"),
    ],
)
def test_key_makes_a_repeated_start_one_run(bctrl: Bctrl, act: Callable[[Bctrl], requests.Response]) -> None:
    first, second = act(bctrl), act(bctrl)
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert len(bctrl.sandbox.runs()) == 1


def test_key_of_another_request_is_a_mismatch(bctrl: Bctrl) -> None:
    bctrl.post("browsers", key="k-1", name="once")
    answer = bctrl.post("browsers", key="k-1", name="twice")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency.mismatch")
    assert bctrl.post("browsers", key="k" * 201, name="once").status_code == 400


def test_key_replays_a_success_but_not_a_failure(bctrl: Bctrl) -> None:
    assert bctrl.post("browsers/shop/stop", key="k-1").status_code == 409
    bctrl.post("browsers/shop/start?wait=10")
    first, second = (bctrl.post("browsers/shop/stop", key="k-1") for _ in range(2))
    assert (first.status_code, first.json()) == (200, second.json())
    assert bctrl.sandbox.runs()[0]["stop_requests"] == 1


# Tasks


def test_task_is_queued_runs_and_has_an_output(bctrl: Bctrl) -> None:
    bctrl.sandbox.behave("bctrl", "researcher", run_seconds=0.1)
    answer = bctrl.task("researcher")
    task = answer.json()
    assert (answer.status_code, task["status"], task["output"]) == (202, "queued", None)
    done = bctrl.get(f"tasks/{task['id']}?wait=10")
    assert (done["status"], done["output"]) == ("succeeded", {"answer": "two lines"})
    assert done["finishedAt"] >= done["startedAt"] >= done["createdAt"]
    (run,) = bctrl.sandbox.runs()
    assert [event["event"] for event in run["history"]] == ["queued", "running", "succeeded"]


def test_task_that_fails_says_why(bctrl: Bctrl) -> None:
    bctrl.sandbox.behave("bctrl", "fail-agent", run_seconds=0.1)
    task = bctrl.get(f"tasks/{bctrl.task('fail-agent').json()['id']}?wait=10")
    assert (task["status"], task["errorMessage"]) == ("failed", "the page did not load")


def test_task_that_asks_stays_open_until_it_is_canceled(bctrl: Bctrl) -> None:
    task_id = bctrl.task("asking-agent").json()["id"]
    begun = time.monotonic()
    task = bctrl.get(f"tasks/{task_id}?wait=20")
    assert time.monotonic() - begun < 10
    assert (task["status"], task["inputRequest"]) == ("awaiting_input", {"message": "Which account?"})
    assert len(bctrl.sandbox.open_runs()) == 1
    assert bctrl.post(f"tasks/{task_id}/cancel").status_code == 200
    bctrl.sandbox.wait_for_state(task_id, "canceled")
    assert bctrl.post(f"tasks/{task_id}/cancel").status_code == 409


def test_task_of_unknown_outcome_is_over_but_no_success(bctrl: Bctrl) -> None:
    task_id = bctrl.task().json()["id"]
    assert not bctrl.sandbox.set_run(task_id, state="unknown")["open"]
    assert bctrl.get(f"tasks/{task_id}")["output"] is None


@pytest.mark.parametrize(
    ("body", "status"),
    [({"agent": "hang-agent"}, 400), ({"input": "a"}, 400), ({"agent": "nobody", "input": "a"}, 404)],
)
def test_body_of_a_task_is_checked(bctrl: Bctrl, body: dict[str, str], status: int) -> None:
    assert bctrl.post("tasks", **body).status_code == status


def test_tasks_are_listed_by_status(bctrl: Bctrl) -> None:
    first, second = bctrl.task().json()["id"], bctrl.task().json()["id"]
    bctrl.sandbox.set_run(first, state="succeeded")
    bctrl.sandbox.wait_for_state(second, "running")
    assert [task["id"] for task in bctrl.get("tasks")["data"]] == [second, first]
    assert [task["id"] for task in bctrl.get("tasks?status=running&status=queued")["data"]] == [second]
    assert bctrl.call("GET", "tasks/nothing").json()["error"]["code"] == "task.not_found"
