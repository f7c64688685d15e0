"""The stand-in for SnapLogic does what the vendor's pages say, and what its comments say where they are silent."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import requests

from airflow_runctl.sandbox.client import Sandbox, eventually

SALES = "/Acme/projects/sales"


class SnapLogic:
    """Bare HTTP against the stand-in, with the credentials of its connection."""

    def __init__(self, sandbox: Sandbox) -> None:
        connection = json.loads(sandbox.connections["AIRFLOW_CONN_SNAPLOGIC_DEFAULT"])
        self.sandbox = sandbox
        self.host = connection["host"]
        self.basic = (connection["login"], connection["password"])
        self.token = {"Authorization": f"Bearer {connection['extra']['task_token']}"}

    def trigger(self, task: str, path: str = f"{SALES}/", **more: Any) -> requests.Response:
        more.setdefault("headers", self.token)
        return requests.post(f"{self.host}/api/1/rest/slsched/feed{path}{task}", timeout=30, **more)

    def start(self, task: str = "early-hang") -> str:
        """Start a run at a task that answers early; return its ruuid once it runs."""
        ruuid: str = self.trigger(task).json()[0]["ruuid"]
        self.sandbox.wait_for_state(ruuid, "Started")
        return ruuid

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        if "headers" not in more:
            more.setdefault("auth", self.basic)
        return requests.request(method, f"{self.host}/api/1/rest/public/{path}", timeout=30, **more)

    def stop(self, ruuid: str) -> requests.Response:
        return self.call("POST", f"runtime/stop/Acme/{ruuid}")

    def resume(self, ruuid: str) -> requests.Response:
        return self.call("POST", f"runtime/start/Acme/{ruuid}")

    def get(self, ruuid: str, **query: Any) -> dict[str, Any]:
        answer = self.call("GET", f"runtime/Acme/{ruuid}", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["response_map"]
        return found

    def list(self, **query: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", "runtime/Acme", params=query).json()["response_map"]
        return found


@pytest.fixture
def snaplogic(box: Sandbox) -> SnapLogic:
    return SnapLogic(box)


def states(run: dict[str, Any]) -> list[str]:
    return [event["event"] for event in run["history"] if not event["event"].endswith("asked")]


# Triggered Tasks


def test_trigger_call_stays_open_until_the_run_is_over(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.behave("snaplogic", "load-orders", run_seconds=0.3)
    answer = snaplogic.trigger("load-orders", params={"region": "EU"}, json={"rows": 3})
    assert (answer.status_code, answer.json()) == (200, {"http_status_code": 200})
    (run,) = snaplogic.sandbox.runs(vendor="snaplogic")
    assert states(run) == ["NoUpdate", "Prepared", "Started", "Completed"]
    assert run["inputs"] == {"parameters": {"region": "EU"}, "body": {"rows": 3}}
    assert not run["open"]
    assert run["ended_at"] > run["created_at"]


def test_result_of_a_finished_run_is_the_answer(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.behave("snaplogic", "load-orders", run_seconds=0, result=[{"loaded": 40}])
    assert snaplogic.trigger("load-orders").json() == [{"loaded": 40}]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
def test_every_documented_method_triggers(snaplogic: SnapLogic, method: str) -> None:
    url = f"{snaplogic.host}/api/1/rest/slsched/feed{SALES}/early-hang"
    assert requests.request(method, url, headers=snaplogic.token, timeout=30).status_code == 200
    assert len(snaplogic.sandbox.open_runs(name="early-hang")) == 1


def test_failed_run_answers_its_open_trigger_call_with_the_reason(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.behave("snaplogic", "fail", run_seconds=0.1)
    answer = snaplogic.trigger("fail")
    assert answer.status_code == 500
    assert answer.json()["reason"] == "target refused the row"
    assert answer.json()["resolution"] == "check the column type"
    (run,) = snaplogic.sandbox.runs()
    assert states(run)[-2:] == ["Failing", "Failed"]


@pytest.mark.parametrize(
    ("answers", "body", "header"),
    [
        ("early", "ruuid", False),
        ("early_blind", {"http_status_code": 200}, False),
        ("header", {"http_status_code": 200}, True),
    ],
)
def test_trigger_call_can_answer_before_the_end(snaplogic: SnapLogic, answers: str, body: Any, header: bool) -> None:
    snaplogic.sandbox.behave("snaplogic", "hang", answers=answers)
    answer = snaplogic.trigger("hang")
    (run,) = snaplogic.sandbox.open_runs()
    assert answer.json() == ([{"ruuid": run["run_id"]}] if body == "ruuid" else body)
    assert answer.headers.get("x-snapi-pipeline-ruuid") == (run["run_id"] if header else None)


def test_open_trigger_call_is_cut_after_its_time_and_the_run_goes_on(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.settings("snaplogic", trigger_seconds=0.2)
    with pytest.raises(requests.ConnectionError):
        snaplogic.trigger("hang")
    assert [run["name"] for run in snaplogic.sandbox.open_runs()] == ["hang"]


def test_run_goes_on_when_the_caller_of_the_trigger_goes_away(snaplogic: SnapLogic) -> None:
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{snaplogic.host}/api/1/rest/slsched/feed{SALES}/hang", headers=snaplogic.token, timeout=0.3)
    (run,) = snaplogic.sandbox.open_runs()
    snaplogic.sandbox.wait_for_state(run["run_id"], "Started")


def test_ruuid_has_61_characters_and_names_the_org(snaplogic: SnapLogic) -> None:
    first, second = snaplogic.start(), snaplogic.start()
    assert len(first) == 61
    assert first != second
    assert first.partition("_")[0] == second.partition("_")[0]


def test_single_instance_task_refuses_a_second_run(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.behave("snaplogic", "early-hang", single_instance=True)
    snaplogic.start()
    assert snaplogic.trigger("early-hang").status_code == 409
    assert len(snaplogic.sandbox.runs()) == 1


def test_queued_run_waits_before_it_starts(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.behave("snaplogic", "early", queue_seconds=0.2, run_seconds=0)
    ruuid = snaplogic.trigger("early").json()[0]["ruuid"]
    run = snaplogic.sandbox.wait_for_state(ruuid, "Completed")
    assert states(run) == ["Queued", "NoUpdate", "Prepared", "Started", "Completed"]


@pytest.mark.parametrize(
    ("org", "space", "project", "task"),
    [("My Org", "projects", "a/b", "load: 100%"), ("Acme/EU", "shared", "näher", "plain")],
)
def test_names_with_spaces_and_slashes_work_when_encoded(
    snaplogic: SnapLogic, org: str, space: str, project: str, task: str
) -> None:
    path = "".join("/" + quote(part, safe="") for part in (org, space, project, task))
    snaplogic.sandbox.behave("snaplogic", path, answers="early", run_seconds=None)
    ruuid = snaplogic.trigger("", path=path).json()[0]["ruuid"]
    encoded = quote(org, safe="")
    found = snaplogic.call("GET", f"runtime/{encoded}", params={"project_path": f"/{org}/{space}/{project}"})
    assert [(row["id"], row["label"]) for row in found.json()["response_map"]["entries"]] == [(ruuid, task)]
    assert snaplogic.call("POST", f"runtime/stop/{encoded}/{ruuid}").status_code == 200
    assert snaplogic.sandbox.wait_for_state(ruuid, "Stopped")["name"] == task


@pytest.mark.parametrize("path", ["/Acme/projects/sales/nothing", "/Nowhere/projects/sales/load-orders"])
def test_unknown_task_or_org_is_not_found(snaplogic: SnapLogic, path: str) -> None:
    answer = snaplogic.trigger("", path=path)
    assert answer.status_code == 404
    assert answer.json()["response_map"]["error_list"][0]["message"]


def test_limits_of_triggers_answer_429_only_once_they_are_set(snaplogic: SnapLogic) -> None:
    ruuid = snaplogic.start()
    snaplogic.sandbox.settings("snaplogic", concurrent_limit=1)
    assert snaplogic.trigger("early-hang").status_code == 429
    assert snaplogic.stop(ruuid).status_code == 200
    snaplogic.sandbox.wait_for_state(ruuid, "Stopped")
    assert snaplogic.trigger("early-hang").status_code == 200
    snaplogic.sandbox.settings("snaplogic", concurrent_limit=None, daily_limit=2)
    assert snaplogic.trigger("early-hang").status_code == 429


# Credentials


def test_task_token_and_user_may_trigger_but_not_the_jwt(snaplogic: SnapLogic) -> None:
    jwt = {"Authorization": f"Bearer snaplogic-jwt-{snaplogic.sandbox.seed}"}
    assert snaplogic.trigger("early").status_code == 200
    assert snaplogic.trigger("early", headers=None, auth=snaplogic.basic).status_code == 200
    assert snaplogic.trigger("early", headers=jwt).status_code == 401
    assert snaplogic.trigger("early", headers=None).status_code == 401


def test_user_and_jwt_may_use_the_public_api_but_not_the_task_token(snaplogic: SnapLogic) -> None:
    seed = snaplogic.sandbox.seed
    for jwt in (f"snaplogic-jwt-{seed}", f"snaplogic-jwt-{seed}.made-anew"):
        header = {"Authorization": f"Bearer {jwt}"}
        assert snaplogic.call("GET", "runtime/Acme", headers=header).status_code == 200
    assert snaplogic.call("GET", "runtime/Acme").status_code == 200
    assert snaplogic.call("GET", "runtime/Acme", headers=snaplogic.token).status_code == 401
    wrong = snaplogic.call("GET", "runtime/Acme", auth=(snaplogic.basic[0], "wrong"))
    assert wrong.status_code == 401
    assert wrong.json()["http_status_code"] == 401
    assert wrong.headers["X-SL-StatusCode"] == "401"


def test_basic_switched_off_answers_403_to_every_basic_call(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.settings("snaplogic", basic_enabled=False)
    ruuid = snaplogic.trigger("early-hang").json()[0]["ruuid"]
    assert snaplogic.stop(ruuid).status_code == 403
    assert snaplogic.call("GET", "runtime/Acme", auth=("any", "body")).status_code == 403
    jwt = {"Authorization": f"Bearer snaplogic-jwt-{snaplogic.sandbox.seed}"}
    assert snaplogic.call("GET", "runtime/Acme", headers=jwt).status_code == 200


# Stop and resume


def test_stop_only_asks_and_the_run_stops_later(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.behave("snaplogic", "early-hang", stop_seconds=1.0)
    ruuid = snaplogic.start()
    answer = snaplogic.stop(ruuid)
    assert (answer.status_code, answer.content, answer.headers["X-SL-StatusCode"]) == (200, b"", "200")
    assert snaplogic.get(ruuid, level="summary")["state"] == "Stopping"
    assert snaplogic.stop(ruuid).status_code == 200
    run = snaplogic.sandbox.wait_for_state(ruuid, "Stopped")
    assert run["stop_requests"] == 2
    assert states(run)[-2:] == ["Stopping", "Stopped"]
    assert snaplogic.get(ruuid)["stopper"] == snaplogic.basic[0]


def test_second_stop_does_not_put_off_the_first(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.behave("snaplogic", "early-hang", stop_seconds=0.5)
    ruuid = snaplogic.start()

    def stop_and_look() -> bool:
        snaplogic.stop(ruuid)
        return bool(snaplogic.get(ruuid)["state"] == "Stopped")

    assert eventually(stop_and_look, seconds=5)


def test_stop_can_never_land(snaplogic: SnapLogic) -> None:
    ruuid = snaplogic.start()
    snaplogic.sandbox.behave("snaplogic", "early-hang", stop_seconds=None)
    snaplogic.stop(ruuid)
    with pytest.raises(TimeoutError):
        snaplogic.sandbox.wait_for_state(ruuid, "Stopped", seconds=0.5)
    assert snaplogic.sandbox.open_runs()[0]["state"] == "Stopping"


def test_stop_answers_with_the_envelope_if_asked_to(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.settings("snaplogic", stop_body="envelope")
    assert snaplogic.stop(snaplogic.start()).json() == {"response_map": {}, "http_status_code": 200}


@pytest.mark.parametrize("status", [400, 200])
def test_answer_to_a_stop_of_a_finished_run_is_a_setting(snaplogic: SnapLogic, status: int) -> None:
    snaplogic.sandbox.settings("snaplogic", finished_stop_status=status)
    ruuid = snaplogic.start()
    snaplogic.sandbox.set_run(ruuid, state="Completed")
    assert snaplogic.stop(ruuid).status_code == status
    assert snaplogic.get(ruuid)["state"] == "Completed"


def test_stop_of_an_unknown_run_is_not_found(snaplogic: SnapLogic) -> None:
    assert snaplogic.stop("nothing").status_code == 404


def test_suspended_run_is_resumed_under_the_same_ruuid(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.behave("snaplogic", "suspend", answers="early", suspend_after_seconds=0.1, run_seconds=0.1)
    ruuid = snaplogic.trigger("suspend").json()[0]["ruuid"]
    run = snaplogic.sandbox.wait_for_state(ruuid, "Suspended")
    assert run["open"]
    assert snaplogic.get(ruuid)["reason"] == "target refused the row"
    answer = snaplogic.resume(ruuid)
    assert (answer.status_code, answer.json()) == (200, {"response_map": {}, "http_status_code": 200})
    run = snaplogic.sandbox.wait_for_state(ruuid, "Completed")
    assert run["resume_requests"] == 1
    assert states(run)[3:] == ["Suspending", "Suspended", "Resuming", "Started", "Completed"]
    assert len(snaplogic.sandbox.runs()) == 1


def test_only_a_suspended_run_can_be_resumed(snaplogic: SnapLogic) -> None:
    ruuid = snaplogic.start()
    assert snaplogic.resume(ruuid).status_code == 400
    snaplogic.sandbox.set_run(ruuid, state="Completed")
    assert snaplogic.resume(ruuid).status_code == 400


@pytest.mark.parametrize("state", ["Suspended", "Queued", "Rebooting"])
def test_every_live_run_can_be_stopped(snaplogic: SnapLogic, state: str) -> None:
    ruuid = snaplogic.start()
    assert snaplogic.sandbox.set_run(ruuid, state=state)["open"]
    assert snaplogic.stop(ruuid).status_code == 200
    snaplogic.sandbox.wait_for_state(ruuid, "Stopped")


def test_stopped_ultra_run_is_replaced_until_its_task_is_disabled(snaplogic: SnapLogic) -> None:
    ruuid = snaplogic.start("ultra")
    snaplogic.stop(ruuid)
    snaplogic.sandbox.wait_for_state(ruuid, "Stopped")
    (second,) = snaplogic.sandbox.open_runs(name="ultra")
    assert second["run_id"] != ruuid
    snaplogic.sandbox.wait_for_state(second["run_id"], "Started")
    assert snaplogic.list(invoker="always_on", state="Started")["total"] == 1
    answer = snaplogic.call("POST", "task/disable", json={"task_path": f"{SALES}/ultra"})
    assert answer.json() == {"success": [f"{SALES}/ultra"], "failed": []}
    assert snaplogic.sandbox.wait_for_state(second["run_id"], "Completed")
    assert snaplogic.sandbox.open_runs() == []
    assert snaplogic.trigger("ultra").status_code == 403
    snaplogic.call("POST", "task/enable", json={"project_path": SALES})
    assert len(snaplogic.sandbox.open_runs(name="ultra")) == 1


def test_disabling_reports_what_it_did_not_find_with_200(snaplogic: SnapLogic) -> None:
    answer = snaplogic.call("POST", "task/disable", json={"task_path": f"{SALES}/Load-Orders"})
    assert (answer.status_code, answer.json()) == (
        200,
        {"success": [], "failed": [f"{SALES}/Load-Orders"]},
    )
    assert snaplogic.call("POST", "task/disable", json={}).status_code == 400


# Get and list


def test_summary_leaves_out_what_only_the_detail_has(snaplogic: SnapLogic) -> None:
    ruuid = snaplogic.start()
    summary, detail = snaplogic.get(ruuid, level="summary"), snaplogic.get(ruuid)
    assert detail.keys() - summary.keys() == {"session_id", "export_link", "env_map_list", "snap_map"}
    assert snaplogic.sandbox.seed in json.dumps(detail["env_map_list"])
    assert summary["ruuid"] == ruuid
    assert [row["new_state"] for row in summary["state_log"]] == ["NoUpdate", "Prepared", "Started"]
    assert summary["state_log"][0]["timestamp"] > 1_700_000_000_000
    assert snaplogic.call("GET", f"runtime/Acme/{ruuid}", params={"level": "Summary"}).status_code == 400


def test_rows_of_the_list_name_the_run_id_and_not_ruuid(snaplogic: SnapLogic) -> None:
    ruuid = snaplogic.start()
    page = snaplogic.list()
    assert (page["total"], page["limit"], page["offset"]) == (1, 10, 0)
    (row,) = page["entries"]
    assert row["id"] == ruuid
    assert "ruuid" not in row
    assert row["path_id"] == SALES
    assert row["create_time"].endswith("+00:00")


def test_list_comes_in_pages_of_ten(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.behave("snaplogic", "early-hang", run_seconds=None)
    made = {snaplogic.trigger("early-hang").json()[0]["ruuid"] for _ in range(13)}
    first, second = snaplogic.list(), snaplogic.list(offset=10)
    assert [len(first["entries"]), len(second["entries"])] == [10, 3]
    assert {row["id"] for row in first["entries"] + second["entries"]} == made
    assert len(snaplogic.list(limit=1000)["entries"]) == 13


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"offset": -1}, {"last_hours": 1081}])
def test_list_refuses_numbers_out_of_bounds(snaplogic: SnapLogic, query: dict[str, int]) -> None:
    assert snaplogic.call("GET", "runtime/Acme", params=query).status_code == 400


def test_list_without_a_state_shows_every_state(snaplogic: SnapLogic) -> None:
    live, over = snaplogic.start(), snaplogic.start()
    snaplogic.sandbox.set_run(over, state="Failed")
    assert {row["id"] for row in snaplogic.list()["entries"]} == {live, over}
    assert [row["id"] for row in snaplogic.list(state="Started")["entries"]] == [live]
    assert snaplogic.list(state="Started,Failed")["total"] == 0


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"pipe_name": "nightly load"}, 1),
        ({"pipe_name": "early-hang"}, 0),
        ({"invoker": "triggered"}, 1),
        ({"invoker": "scheduled"}, 0),
        ({"project_path": SALES}, 1),
        ({"project_path": "/Acme/shared"}, 0),
        ({"level": "summary"}, 1),
    ],
)
def test_list_filters(snaplogic: SnapLogic, query: dict[str, str], found: int) -> None:
    snaplogic.sandbox.behave("snaplogic", "early-hang", pipeline="nightly load")
    snaplogic.start()
    assert snaplogic.list(**query)["total"] == found


def test_list_reaches_back_one_hour_unless_asked_for_more(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.behave("snaplogic", "early-hang", age_seconds=2 * 3600)
    snaplogic.trigger("early-hang")
    assert snaplogic.list()["total"] == 0
    assert snaplogic.list(last_hours=3)["total"] == 1
    three_hours_ago = datetime.now(UTC) - timedelta(hours=3)
    assert snaplogic.list(start=int(three_hours_ago.timestamp() * 1000))["total"] == 1
    assert snaplogic.list(start=0, end=int(three_hours_ago.timestamp() * 1000))["total"] == 0


def test_run_can_be_seen_only_after_its_list_delay(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.behave("snaplogic", "early-hang", list_delay_seconds=1.0)
    ruuid = snaplogic.trigger("early-hang").json()[0]["ruuid"]
    assert snaplogic.list()["total"] == 0
    assert snaplogic.call("GET", f"runtime/Acme/{ruuid}").status_code == 404
    assert eventually(lambda: snaplogic.list()["total"])
    assert snaplogic.get(ruuid)["ruuid"] == ruuid


def test_run_appears_in_the_list_while_its_trigger_call_is_open(snaplogic: SnapLogic) -> None:
    caller = threading.Thread(target=snaplogic.trigger, args=("hang",))
    caller.start()
    row = eventually(lambda: snaplogic.list(pipe_name="hang", state="Started")["entries"])[0]
    snaplogic.stop(row["id"])
    caller.join(10)
    assert not caller.is_alive()


def test_errors_can_come_with_200_outside(snaplogic: SnapLogic) -> None:
    snaplogic.sandbox.settings("snaplogic", errors_as_200=True)
    answer = snaplogic.stop("nothing")
    assert (answer.status_code, answer.json()["http_status_code"]) == (200, 404)


# Quota


def test_api_stats_count_triggers(snaplogic: SnapLogic) -> None:
    snaplogic.start()
    snaplogic.sandbox.set_run(snaplogic.start(), state="Completed")
    both = snaplogic.call("GET", "runtime/api-stats/Acme").json()["response_map"]
    assert both == {
        "organization": "Acme",
        "daily_limit": 10_000,
        "daily_call_used": 2,
        "concurrent_limit": 10,
        "concurrent_call_in_progress": 1,
    }
    daily = snaplogic.call("GET", "runtime/api-stats/Acme/daily").json()["response_map"]
    assert (daily["daily_call_used"], daily["daily_call_available"], daily["task_count"]) == (2, 9_998, 1)
    concurrent = snaplogic.call("GET", "runtime/api-stats/Acme/concurrent").json()["response_map"]
    assert concurrent["concurrent_call_in_progress"] == 1
    wrong = snaplogic.call("GET", "runtime/api-stats/Acme", params={"date_time": "today"})
    assert wrong.status_code == 400
