"""The control API: runs, behaviours, settings, the request log, and every kind of trouble."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
import requests

from airflow_runctl.sandbox.client import Sandbox, eventually


def axiom(sandbox: Sandbox, path: str = "remaining-runtime", **more: Any) -> requests.Response:
    """Send a call to the axiom.ai stand-in; by default one that changes nothing."""
    connection = json.loads(sandbox.connections["AIRFLOW_CONN_AXIOM_DEFAULT"])
    body = {"key": connection["password"], **more.pop("body", {})}
    more.setdefault("timeout", 30)
    return requests.post(f"{connection['host']}/{path}", json=body, **more)


def trigger(sandbox: Sandbox, name: str = "Hang", **more: Any) -> requests.Response:
    return axiom(sandbox, "trigger", body={"name": name}, **more)


def snaplogic(sandbox: Sandbox, task: str, **more: Any) -> requests.Response:
    connection = json.loads(sandbox.connections["AIRFLOW_CONN_SNAPLOGIC_DEFAULT"])
    url = f"{connection['host']}/api/1/rest/slsched/feed/Acme/projects/sales/{task}"
    header = {"Authorization": f"Bearer {connection['extra']['task_token']}"}
    return requests.post(url, headers=header, timeout=30, **more)


def code(error: pytest.ExceptionInfo[HTTPError]) -> int:
    return error.value.code


# Runs


def test_runs_are_shown_with_their_history_and_counted(box: Sandbox) -> None:
    trigger(box)
    trigger(box, "Queued")
    box.set_run(box.runs(name="Hang")[0]["run_id"], state="Success", message="by hand")
    shown = requests.get(f"{box.url}/_sandbox/runs", timeout=30).json()
    assert (shown["open"], len(shown["runs"])) == (1, 2)
    run = shown["runs"][0]
    wanted = {"vendor": "axiom", "name": "Hang", "state": "Success", "open": False, "message": "by hand"}
    assert {name: run[name] for name in wanted} == wanted
    assert [event["event"] for event in run["history"]] == ["Running", "Success"]
    assert run["ended_at"]
    assert (run["stop_requests"], run["resume_requests"]) == (0, 0)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"vendor": "axiom"}, 2),
        ({"vendor": "snaplogic"}, 1),
        ({"name": "Hang"}, 1),
        ({"open": 0}, 1),
        ({"vendor": "axiom", "open": 1}, 1),
    ],
)
def test_runs_are_filtered(box: Sandbox, filters: dict[str, Any], found: int) -> None:
    trigger(box)
    trigger(box, "Queued")
    snaplogic(box, "early-hang")
    box.set_run(box.runs(name="Hang")[0]["run_id"], state="Failure")
    assert len(box.runs(**filters)) == found


def test_word_that_no_vendor_has_counts_as_open(box: Sandbox) -> None:
    snaplogic(box, "early-hang")
    (run,) = box.runs()
    box.set_run(run["run_id"], state="Completed")
    assert box.open_runs() == []
    box.set_run(run["run_id"], state="Napping")
    (again,) = box.open_runs()
    assert (again["state"], again["ended_at"]) == ("Napping", None)


def test_forced_run_no_longer_follows_its_plan(box: Sandbox) -> None:
    box.behave("snaplogic", "early", run_seconds=0.3)
    snaplogic(box, "early")
    (run,) = box.runs()
    box.set_run(run["run_id"], state="Suspended")
    with pytest.raises(TimeoutError):
        box.wait_for_state(run["run_id"], "Completed", seconds=0.6)


# What is misspelt is refused, else a test stays green for the wrong reason


@pytest.mark.parametrize(
    "change",
    [
        lambda sandbox: sandbox.behave("axiom", "Hang", run_second=1),
        lambda sandbox: sandbox.behave("axiom", "Hang", run_seconds="1"),
        lambda sandbox: sandbox.behave("axiom", "Hang", words="both"),
        lambda sandbox: sandbox.settings("axiom", basic_enabled=False),
        lambda sandbox: sandbox.settings("axiom", concurrency=None),
        lambda sandbox: sandbox.fault("axiom", "start", "explode"),
        lambda sandbox: sandbox.fault("axiom", "start", "cut", times=1),
        lambda sandbox: sandbox.runs(vendors="axiom"),
        lambda sandbox: sandbox.requests(name="Hang"),
    ],
)
def test_mistakes_are_refused(box: Sandbox, change: Callable[[Sandbox], Any]) -> None:
    with pytest.raises(HTTPError) as error:
        change(box)
    assert code(error) == 400


@pytest.mark.parametrize(
    "change",
    [
        lambda sandbox: sandbox.behave("acme", "Hang", run_seconds=1),
        lambda sandbox: sandbox.settings("acme", concurrency=1),
        lambda sandbox: sandbox.set_run("nothing", state="Failure"),
        lambda sandbox: sandbox.clear_faults(12345),
    ],
)
def test_unknown_things_are_not_found(box: Sandbox, change: Callable[[Sandbox], Any]) -> None:
    with pytest.raises(HTTPError) as error:
        change(box)
    assert code(error) == 404


def test_behaviours_merge_and_new_names_come_into_being(box: Sandbox) -> None:
    box.behave("axiom", "New one", run_seconds=None)
    merged = box.behave("axiom", "New one", stop_seconds=1.5)
    assert (merged["run_seconds"], merged["stop_seconds"]) == (None, 1.5)
    assert trigger(box, "New one").status_code == 200


# The request log


def test_requests_are_logged_as_they_came(box: Sandbox) -> None:
    snaplogic(box, "no%2Fsuch%20task", params={"a": "b c"}, data=b"text")
    (seen,) = box.requests()
    assert (seen["vendor"], seen["operation"], seen["method"]) == ("snaplogic", "start", "POST")
    assert seen["path"].endswith("/Acme/projects/sales/no%2Fsuch%20task")
    assert (seen["query"], seen["body"], seen["status"]) == ("a=b+c", "text", 404)
    assert box.seed in seen["headers"]["Authorization"]
    assert box.requests(vendor="axiom") == []
    box.clear_requests()
    assert box.requests() == []


def test_unknown_endpoints_are_logged_too(box: Sandbox) -> None:
    assert axiom(box, "v4/stop").status_code == 404
    assert [seen["operation"] for seen in box.requests()] == ["unknown"]


# Trouble


def test_status_comes_in_the_shape_of_the_vendor(box: Sandbox) -> None:
    box.fault("axiom", "quota", "status", status=500, count=1)
    answer = axiom(box)
    assert (answer.status_code, answer.json()["status"]) == (500, "error")
    assert "Retry-After" not in answer.headers
    assert axiom(box).status_code == 200


def test_status_with_retry_after_and_body(box: Sandbox) -> None:
    box.fault("axiom", "any", "status", status=429, retry_after="2", body={"any": "thing"})
    answer = axiom(box)
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()) == (429, "2", {"any": "thing"})


def test_body_replaces_the_answer(box: Sandbox) -> None:
    box.fault("any", "any", "body", body=["odd"])
    answer = axiom(box)
    assert (answer.status_code, answer.json()) == (200, ["odd"])


def test_latency_is_followed_by_the_true_answer(box: Sandbox) -> None:
    box.fault("axiom", "quota", "latency", seconds=0.3)
    begun = time.monotonic()
    assert axiom(box).json()["status"] == "success"
    assert time.monotonic() - begun >= 0.3


def test_cut_ends_the_connection_without_an_answer(box: Sandbox) -> None:
    box.fault("axiom", "quota", "cut")
    with pytest.raises(requests.ConnectionError):
        axiom(box)
    assert box.requests()[0]["status"] is None


def test_hang_never_answers(box: Sandbox) -> None:
    box.fault("axiom", "quota", "hang")
    with pytest.raises(requests.ReadTimeout):
        axiom(box, timeout=0.3)


def test_hang_can_end_in_a_cut(box: Sandbox) -> None:
    box.fault("axiom", "quota", "hang", seconds=0.1)
    with pytest.raises(requests.ConnectionError):
        axiom(box)


def test_garbage_is_no_json(box: Sandbox) -> None:
    box.fault("axiom", "quota", "garbage")
    answer = axiom(box)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting value|codec can't decode"):
        json.loads(answer.content)


def test_empty_has_no_body(box: Sandbox) -> None:
    box.fault("axiom", "quota", "empty")
    answer = axiom(box)
    assert (answer.status_code, answer.content) == (200, b"")


def test_truncated_ends_in_the_middle(box: Sandbox) -> None:
    box.fault("axiom", "quota", "truncated", after_effect=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        axiom(box)


def test_huge_is_as_long_as_asked(box: Sandbox) -> None:
    box.fault("axiom", "quota", "huge", bytes=2_000_000)
    answer = axiom(box)
    assert len(answer.content) > 1_900_000
    assert answer.json()["padding"].startswith("xxx")


def test_redirect_points_to_another_host_name(box: Sandbox) -> None:
    box.fault("axiom", "quota", "redirect", status=307)
    answer = axiom(box, allow_redirects=False)
    assert answer.status_code == 307
    there = urlsplit(answer.headers["Location"])
    assert (there.hostname, there.path) == ("localhost", urlsplit(answer.url).path)
    box.clear_faults()
    box.fault("axiom", "quota", "redirect", location="https://elsewhere.example/")
    assert axiom(box, allow_redirects=False).headers["Location"] == "https://elsewhere.example/"


@pytest.mark.parametrize("kind", ["cut", "status", "garbage", "empty", "truncated", "redirect", "body"])
@pytest.mark.parametrize(("after_effect", "runs"), [(False, 0), (True, 1)])
def test_start_is_carried_out_only_if_the_trouble_comes_after_it(
    box: Sandbox, kind: str, after_effect: bool, runs: int
) -> None:
    box.fault("axiom", "start", kind, after_effect=after_effect)
    try:
        trigger(box, allow_redirects=False)
    except requests.RequestException:
        assert kind in ("cut", "truncated")
    assert len(box.open_runs()) == runs


def test_open_trigger_call_is_struck_once_its_run_exists(box: Sandbox) -> None:
    box.fault("snaplogic", "start", "cut", after_effect=True)
    with pytest.raises(requests.ConnectionError):
        snaplogic(box, "hang")
    assert [run["name"] for run in box.open_runs()] == ["hang"]


def test_latency_before_the_effect_delays_it_even_if_the_caller_goes_away(box: Sandbox) -> None:
    box.fault("axiom", "start", "latency", seconds=0.5)
    with pytest.raises(requests.ReadTimeout):
        trigger(box, timeout=0.1)
    assert box.runs() == []
    assert eventually(box.open_runs)


def test_fault_strikes_its_operation_and_vendor_only(box: Sandbox) -> None:
    box.fault("axiom", "start", "status", status=500)
    box.fault("snaplogic", "any", "status", status=502)
    assert axiom(box).status_code == 200
    assert trigger(box).status_code == 500
    assert snaplogic(box, "early").status_code == 502


def test_fault_counts_down_and_can_be_removed(box: Sandbox) -> None:
    box.fault("axiom", "quota", "status", status=500, count=2)
    second = box.fault("axiom", "quota", "status", status=502)
    assert [fault["left"] for fault in box.faults()] == [2, None]
    assert [axiom(box).status_code for _ in range(3)] == [500, 500, 502]
    box.clear_faults(second)
    assert axiom(box).status_code == 200
    box.fault("axiom", "quota", "cut")
    box.clear_faults()
    assert box.faults() == []
    assert axiom(box).status_code == 200


# Reset


def test_reset_forgets_everything(box: Sandbox) -> None:
    trigger(box)
    box.behave("axiom", "Hang", refuse={"status": 503})
    box.settings("axiom", concurrency=1)
    box.fault("any", "any", "cut")
    box.reset()
    assert (box.runs(), box.requests(), box.faults()) == ([], [], [])
    assert ["OPEN LINK IN BROWSER" in trigger(box).json() for _ in range(2)] == [True, True]


def test_reset_lets_go_of_calls_that_wait(box: Sandbox) -> None:
    def call() -> None:
        with pytest.raises(requests.ConnectionError):
            axiom(box)

    box.fault("axiom", "quota", "hang")
    caller = threading.Thread(target=call)
    caller.start()
    assert eventually(box.requests)
    box.reset()
    caller.join(10)
    assert not caller.is_alive()


def test_reset_stops_the_clocks_of_runs(box: Sandbox) -> None:
    # The end of an Ultra run brings a new one: after a reset there must be no such end.
    box.behave("snaplogic", "ultra", run_seconds=0.2)
    snaplogic(box, "ultra")
    box.reset()
    with pytest.raises(TimeoutError):
        eventually(box.runs, seconds=0.6)
