"""The stand-in for axiom.ai does what the vendor's pages say; where they contradict each other, both sides."""

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from airflow_runctl.sandbox.client import Sandbox, eventually

NAME = "Nightly prices"


class Axiom:
    """Bare HTTP against the stand-in, with the key of its connection."""

    def __init__(self, sandbox: Sandbox) -> None:
        connection = json.loads(sandbox.connections["AIRFLOW_CONN_AXIOM_DEFAULT"])
        self.sandbox = sandbox
        self.host = connection["host"]
        self.key = connection["password"]

    def post(self, path: str, **body: Any) -> requests.Response:
        return requests.post(f"{self.host}/{path}", json=body, timeout=30)

    def trigger(self, name: str = NAME, **body: Any) -> requests.Response:
        return self.post("trigger", key=self.key, name=name, **body)

    def start(self, name: str = "Hang") -> tuple[str, str]:
        """Start a run; return the pid and pw that its viewer URL of form 1 holds."""
        url = self.trigger(name).json()["OPEN LINK IN BROWSER"]
        found = re.fullmatch(r"dev-c-00(\d\d)-v4-proxy\.axiom\.ai&port=443&password=(\w+)&taskId=\d+", url)
        assert found, url
        return found[1], found[2]

    def stop(self, pid: str, pw: str) -> requests.Response:
        return self.post("stop", pid=pid, pw=pw)

    def status(self, name: str = "Hang") -> str:
        return str(self.post("run-data", key=self.key, name=name).json()["status"])

    def reports(self, **body: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.post("run-reports", key=self.key, **body).json()["data"]["reports"]
        return found


@pytest.fixture
def axiom(box: Sandbox) -> Axiom:
    return Axiom(box)


# Trigger


def test_started_run_answers_with_the_viewer_url_and_nothing_else(axiom: Axiom) -> None:
    answer = axiom.trigger(data=[["url"], ["https://a.example"]])
    assert answer.status_code == 200
    assert list(answer.json()) == ["OPEN LINK IN BROWSER"]
    (run,) = axiom.sandbox.runs(vendor="axiom")
    assert run["inputs"] == [["url"], ["https://a.example"]]
    assert run["details"]["viewer_url"] == answer.json()["OPEN LINK IN BROWSER"]
    assert axiom.sandbox.seed in run["details"]["pw"]
    assert run["details"]["pw"].isalnum()


@pytest.mark.parametrize("shape", [1, 2, 3, 4, 5])
def test_viewer_url_has_each_of_the_five_forms(axiom: Axiom, shape: int) -> None:
    axiom.sandbox.behave("axiom", "Hang", viewer_url_shape=shape)
    url = axiom.trigger("Hang").json()["OPEN LINK IN BROWSER"]
    details = axiom.sandbox.runs()[0]["details"]
    assert f"password={details['pw']}" in url
    assert (f"c-00{details['pid']}-" in url) is (shape != 4)
    assert url.startswith("https://") is (shape in (3, 4, 5))
    if shape in (3, 4, 5):
        assert parse_qs(urlsplit(url).query)["password"] == [details["pw"]]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"key": "wrong", "name": NAME}, 401, "Invalid key"),
        ({"name": NAME}, 401, "Invalid key"),
        ({"key": True, "name": "no such"}, 404, "Task not found, please check the name and try again."),
        ({"key": True, "name": NAME.upper()}, 404, "Task not found, please check the name and try again."),
        ({"key": True}, 400, "Missing task name"),
        ({"key": True, "name": NAME, "data": ["a"]}, 400, "Data must be sent as an array of arrays."),
        ({"key": True, "name": NAME, "data": {"a": 1}}, 400, "Data must be sent as an array of arrays."),
    ],
)
def test_trigger_refuses(axiom: Axiom, body: dict[str, Any], status: int, message: str) -> None:
    if body.get("key") is True:
        body = {**body, "key": axiom.key}
    answer = axiom.post("trigger", **body)
    assert (answer.status_code, answer.json()) == (status, {"status": "error", "message": message})
    assert axiom.sandbox.runs() == []


@pytest.mark.parametrize("data", [[["a"], ["b"]], [[["a"], ["b"]]], []])
def test_data_of_two_or_three_levels_is_taken(axiom: Axiom, data: list[Any]) -> None:
    assert axiom.trigger(data=data).status_code == 200


def test_body_must_be_json_and_say_so(axiom: Axiom) -> None:
    body = json.dumps({"key": axiom.key, "name": NAME})
    assert requests.post(f"{axiom.host}/trigger", data=body, timeout=30).status_code == 400
    header = {"Content-Type": "application/json"}
    assert requests.post(f"{axiom.host}/trigger", "{", headers=header, timeout=30).status_code == 400
    assert requests.get(f"{axiom.host}/trigger", timeout=30).status_code == 404


@pytest.mark.parametrize("status", [503, 403, 200])
def test_trigger_can_be_made_to_refuse(axiom: Axiom, status: int) -> None:
    axiom.sandbox.behave("axiom", NAME, refuse={"status": status, "message": "busy"})
    answer = axiom.trigger()
    assert (answer.status_code, answer.json()) == (status, {"status": "error", "message": "busy"})


def test_run_id_is_an_extra_that_some_pages_speak_of(axiom: Axiom) -> None:
    axiom.sandbox.behave("axiom", NAME, gives_run_id=True)
    assert axiom.trigger().json()["run_id"] == axiom.sandbox.runs()[0]["run_id"]


# Queue


def test_queued_run_has_no_viewer_url_and_shows_running(axiom: Axiom) -> None:
    answer = axiom.trigger("Queued")
    assert answer.status_code == 200
    assert answer.json()["status"] == "queued"
    assert "OPEN LINK IN BROWSER" not in answer.json()
    (run,) = axiom.sandbox.open_runs()
    assert (run["state"], run["details"]["pid"]) == ("queued", None)
    assert axiom.status("Queued") == "Running"
    assert axiom.reports() == []


def test_queued_run_starts_when_it_is_put_to_running(axiom: Axiom) -> None:
    axiom.trigger("Queued")
    axiom.sandbox.behave("axiom", "Queued", run_seconds=0.1)
    run = axiom.sandbox.set_run(axiom.sandbox.runs()[0]["run_id"], state="Running")
    assert run["details"]["pid"] == "01"
    axiom.sandbox.wait_for_state(run["run_id"], "Success")


def test_queued_run_starts_after_its_queue_time(axiom: Axiom) -> None:
    axiom.sandbox.behave("axiom", "Queued", queue_seconds=0.1, run_seconds=0.1)
    assert axiom.trigger("Queued").json()["status"] == "queued"
    axiom.sandbox.wait_for_state(axiom.sandbox.runs()[0]["run_id"], "Success")


def test_runs_beyond_the_concurrency_queue_in_order(axiom: Axiom) -> None:
    axiom.sandbox.settings("axiom", concurrency=1)
    pid, pw = axiom.start()
    for _ in range(2):
        assert axiom.trigger("Hang").json()["status"] == "queued"
    _, second, _ = axiom.sandbox.runs()
    axiom.stop(pid, pw)
    axiom.sandbox.wait_for_state(second["run_id"], "Running")
    assert [run["state"] for run in axiom.sandbox.runs()] == ["Failure", "Running", "queued"]


def test_twenty_runs_at_once_by_default(axiom: Axiom) -> None:
    answers = [axiom.trigger("Hang").json() for _ in range(21)]
    assert [("OPEN LINK IN BROWSER" in answer) for answer in answers] == [True] * 20 + [False]


def test_single_instance_automation_queues_its_second_run(axiom: Axiom) -> None:
    axiom.sandbox.behave("axiom", "Hang", single_instance=True)
    axiom.start()
    assert axiom.trigger("Hang").json()["status"] == "queued"
    assert "OPEN LINK IN BROWSER" in axiom.trigger(NAME).json()


# Watching


def test_run_data_follows_the_newest_run_of_a_name(axiom: Axiom) -> None:
    axiom.sandbox.behave("axiom", NAME, run_seconds=None)
    axiom.trigger()
    first = axiom.sandbox.runs()[0]["run_id"]
    axiom.sandbox.set_run(first, state="Success")
    assert axiom.status(NAME) == "Success"
    axiom.trigger()
    assert axiom.status(NAME) == "Running"


def test_run_data_has_the_rows_of_a_good_run(axiom: Axiom) -> None:
    axiom.sandbox.behave("axiom", NAME, run_seconds=0)
    axiom.trigger()
    answer = axiom.post("run-data", key=axiom.key, name=NAME).json()
    assert answer == {"status": "Success", "data": {"sheet-1": [["item", "price"], ["tea", "3"]]}}


def test_name_that_never_ran_has_no_run_data(axiom: Axiom) -> None:
    assert axiom.post("run-data", key=axiom.key, name=NAME).status_code == 404


@pytest.mark.parametrize("end", ["Success", "Failure"])
def test_run_data_in_the_words_of_the_code_hides_how_a_run_ended(axiom: Axiom, end: str) -> None:
    axiom.sandbox.behave("axiom", "Hang", words="code")
    axiom.trigger("Hang")
    assert axiom.status() == "Running"
    axiom.sandbox.set_run(axiom.sandbox.runs()[0]["run_id"], state=end)
    assert axiom.status() == "Finished"
    assert [report["status"] for report in axiom.reports()] == [end]


def test_run_data_can_be_stale_right_after_a_trigger(axiom: Axiom) -> None:
    axiom.sandbox.behave("axiom", "Hang", stale_seconds=1.0)
    axiom.trigger("Hang")
    assert axiom.status() == "Running"
    axiom.sandbox.set_run(axiom.sandbox.runs()[0]["run_id"], state="Failure")
    axiom.trigger("Hang")
    assert axiom.status() == "Failure"
    assert eventually(lambda: axiom.status() == "Running")


def test_unknown_word_is_handed_through(axiom: Axiom) -> None:
    axiom.trigger("Hang")
    assert axiom.sandbox.set_run(axiom.sandbox.runs()[0]["run_id"], state="Pondering")["open"]
    assert axiom.status() == "Pondering"


def test_reports_are_newest_first_without_ids(axiom: Axiom) -> None:
    axiom.sandbox.behave("axiom", "Fail", run_seconds=0)
    for name in ("Hang", "Fail", NAME):
        axiom.trigger(name)
    reports = axiom.reports()
    assert [report["task_name"] for report in reports] == [NAME, "Fail", "Hang"]
    assert [report["status"] for report in reports] == ["Running", "Failure", "Running"]
    assert set(reports[0]) == {"task_name", "status", "description", "created_at", "updated_at"}
    assert "element not found" in reports[1]["description"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", reports[0]["created_at"])


def test_reports_are_five_unless_asked_for_more(axiom: Axiom) -> None:
    for _ in range(7):
        axiom.trigger("Hang")
    assert [len(axiom.reports()), len(axiom.reports(count=6)), len(axiom.reports(count=50))] == [5, 6, 7]
    assert axiom.post("run-reports", key=axiom.key, count=0).status_code == 400


def test_reports_lag_behind(axiom: Axiom) -> None:
    axiom.sandbox.behave("axiom", NAME, run_seconds=0, report_lag_seconds=1.0)
    axiom.trigger()
    assert axiom.status(NAME) == "Success"
    assert axiom.reports() == []
    assert eventually(axiom.reports)[0]["status"] == "Success"


# Stop


def test_stop_needs_no_key_and_the_run_then_reports_failure(axiom: Axiom) -> None:
    axiom.sandbox.behave("axiom", "Hang", stop_seconds=1.0)
    pid, pw = axiom.start()
    answer = axiom.stop(pid, pw)
    assert (answer.status_code, answer.json()) == (200, {"stopped": pid})
    assert axiom.status() == "Running"
    axiom.sandbox.wait_for_state(axiom.sandbox.runs()[0]["run_id"], "Failure")
    assert axiom.status() == "Failure"
    assert [report["status"] for report in axiom.reports()] == ["Failure"]


@pytest.mark.parametrize(("reply", "body"), [("success", {"status": "success"}), ("empty", {})])
def test_stop_can_answer_otherwise(axiom: Axiom, reply: str, body: dict[str, str]) -> None:
    axiom.sandbox.behave("axiom", "Hang", stop_reply=reply)
    assert axiom.stop(*axiom.start()).json() == body


def test_stop_of_a_finished_run_succeeds_and_does_nothing(axiom: Axiom) -> None:
    pid, pw = axiom.start()
    axiom.sandbox.set_run(axiom.sandbox.runs()[0]["run_id"], state="Success")
    answer = axiom.stop(pid, pw)
    assert answer.status_code == 200
    assert "stopped" not in answer.json()
    assert axiom.sandbox.runs()[0]["state"] == "Success"


def test_old_password_does_not_stop_the_next_run_on_the_same_pod(axiom: Axiom) -> None:
    axiom.sandbox.behave("axiom", "Hang", stop_seconds=0)
    pid, old = axiom.start()
    axiom.stop(pid, old)
    again, new = axiom.start()
    assert (again == pid, new == old) == (True, False)
    axiom.stop(pid, old)
    assert len(axiom.sandbox.open_runs()) == 1


@pytest.mark.parametrize(("pid", "pw"), [("99", None), (None, "wrong")])
def test_wrong_pid_or_pw_stops_nothing(axiom: Axiom, pid: str | None, pw: str | None) -> None:
    right_pid, right_pw = axiom.start()
    answer = axiom.stop(pid or right_pid, pw or right_pw)
    assert (answer.status_code, answer.json()["message"]) == (404, "Run not found")
    assert len(axiom.sandbox.open_runs()) == 1
    assert axiom.post("stop", pid=right_pid).status_code == 400


def test_stop_can_never_land(axiom: Axiom) -> None:
    axiom.sandbox.behave("axiom", "Hang", stop_seconds=None)
    axiom.stop(*axiom.start())
    with pytest.raises(TimeoutError):
        axiom.sandbox.wait_for_state(axiom.sandbox.runs()[0]["run_id"], "Failure", seconds=0.5)


# The account


def test_hundred_calls_a_minute_and_no_more(axiom: Axiom) -> None:
    for _ in range(100):
        assert axiom.post("list-automations", key=axiom.key).status_code == 200
    answer = axiom.trigger()
    assert answer.status_code == 429
    assert "Retry-After" not in answer.headers
    assert axiom.stop("01", "x").status_code == 429
    assert axiom.sandbox.runs() == []
    axiom.sandbox.settings("axiom", rate_limit_per_minute=None)
    assert axiom.trigger().status_code == 200


def test_calls_with_a_wrong_key_do_not_use_up_the_limit(axiom: Axiom) -> None:
    axiom.sandbox.settings("axiom", rate_limit_per_minute=1)
    assert axiom.post("list-automations", key="wrong").status_code == 401
    assert axiom.post("list-automations", key=axiom.key).status_code == 200
    assert axiom.post("list-automations", key=axiom.key).status_code == 429


def test_automations_and_remaining_runtime(axiom: Axiom) -> None:
    names = axiom.post("list-automations", key=axiom.key).json()["data"]["names"]
    assert {NAME, "Hang", "Fail", "Queued"} <= set(names)
    quota = axiom.post("remaining-runtime", key=axiom.key).json()
    assert quota["status"] == "success"
    assert quota["data"]["remaining"] == quota["data"]["allowance"] - quota["data"]["used"]
