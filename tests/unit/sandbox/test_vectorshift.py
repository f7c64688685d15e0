"""The stand-in for VectorShift does what the vendor's pages and SDK say, both sets of status words included."""

import json
import threading
from typing import Any

import pytest
import requests
import yaml
from openapi_core import OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse

from airflow_runctl.sandbox.client import Sandbox, eventually
from tests.places import OPENAPI

DOCUMENT = OPENAPI / "vectorshift-terminate.yaml"
BACKGROUND: dict[str, Any] = {"background": True}


class VectorShift:
    """Bare HTTP against the stand-in, with the key of its connection."""

    def __init__(self, sandbox: Sandbox) -> None:
        connection = json.loads(sandbox.connections["AIRFLOW_CONN_VECTORSHIFT_DEFAULT"])
        self.sandbox = sandbox
        self.host = connection["host"]
        self.header = {"Authorization": f"Bearer {connection['password']}"}

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        more.setdefault("headers", self.header)
        return requests.request(method, f"{self.host}/{path}", timeout=30, **more)

    def run(self, pipeline: str = "pl-hang", **body: Any) -> requests.Response:
        return self.call("POST", f"pipeline/{pipeline}/run", json=body)

    def start(self, pipeline: str = "pl-hang", **body: Any) -> str:
        return str(self.run(pipeline, **BACKGROUND, **body).json()["task_id"])

    def status(self, task_id: str, pipeline: str = "pl-hang") -> dict[str, Any]:
        answer = self.call("GET", f"pipeline/{pipeline}/run/status/{task_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def act(self, action: str, run_id: str, pipeline: str = "pl-hang") -> requests.Response:
        body = {"run_ids": [run_id]} if action == "resume" else {"run_id": run_id}
        return self.call("POST", f"pipeline/{pipeline}/{action}", json=body)

    def search(self, **body: Any) -> dict[str, Any]:
        answer = self.call("POST", "analytics/events/search", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def vectorshift(box: Sandbox) -> VectorShift:
    return VectorShift(box)


# Start


def test_background_run_answers_with_its_task_id(vectorshift: VectorShift) -> None:
    vectorshift.sandbox.behave("vectorshift", "pl-summary", run_seconds=0.2)
    answer = vectorshift.run("pl-summary", **BACKGROUND, inputs={"text": "long"}, trace_id="tr-7").json()
    task_id = answer.pop("task_id")
    assert answer == {"trace_id": "tr-7", "status": "in_progress"}
    assert len(task_id) == 24
    assert vectorshift.status(task_id, "pl-summary") == {"task_id": task_id, "status": "in_progress"}
    run = vectorshift.sandbox.wait_for_state(task_id, "completed")
    assert run["inputs"] == {"text": "long"}
    assert vectorshift.status(task_id, "pl-summary") == {
        "task_id": task_id,
        "status": "completed",
        "result": {"summary": "two lines"},
    }


def test_blocking_run_answers_at_the_end(vectorshift: VectorShift) -> None:
    vectorshift.sandbox.behave("vectorshift", "pl-summary", run_seconds=0.2)
    answer = vectorshift.run("pl-summary").json()
    (run,) = vectorshift.sandbox.runs()
    assert not run["open"]
    assert (
        answer.items()
        >= {
            "status": "success",
            "run_id": run["run_id"],
            "outputs": {"summary": "two lines"},
        }.items()
    )


def test_blocking_run_that_fails_answers_200_with_failed(vectorshift: VectorShift) -> None:
    vectorshift.sandbox.behave("vectorshift", "pl-fail", run_seconds=0.1)
    answer = vectorshift.run("pl-fail")
    assert (answer.status_code, answer.json()["status"], answer.json()["outputs"]) == (200, "failed", {})


def test_failed_run_has_its_reason_in_the_status(vectorshift: VectorShift) -> None:
    vectorshift.sandbox.behave("vectorshift", "pl-fail", run_seconds=0)
    status = vectorshift.status(vectorshift.start("pl-fail"), "pl-fail")
    assert (status["status"], status["error"]) == ("failed", "node llm: model unavailable")


@pytest.mark.parametrize("path", ["bulk_run", "bulk-run"])
def test_bulk_run_blocks_for_all_its_runs(vectorshift: VectorShift, path: str) -> None:
    vectorshift.sandbox.behave("vectorshift", "pl-summary", run_seconds=0.1)
    runs = [{"inputs": {"text": "a"}}, {"inputs": {"text": "b"}}]
    answer = vectorshift.call("POST", f"pipeline/pl-summary/{path}", json={"runs": runs}).json()
    assert answer["status"] == "success"
    made = [(run["run_id"], run["inputs"]) for run in vectorshift.sandbox.runs()]
    assert [(row["run_id"], row["outputs"]) for row in answer["run_outputs"]] == [
        (run_id, {"summary": "two lines"}) for run_id, _ in made
    ]
    assert [inputs for _, inputs in made] == [run["inputs"] for run in runs]


@pytest.mark.parametrize("part", ["inputs.report", "report"])
def test_multipart_start_takes_files(vectorshift: VectorShift, part: str) -> None:
    answer = vectorshift.call(
        "POST",
        "pipeline/pl-hang/run",
        data={"inputs": json.dumps({"text": "a"}), "background": "true"},
        files={part: ("report.pdf", b"\x00\r\n\xff")},
    )
    assert answer.json()["status"] == "in_progress"
    (run,) = vectorshift.sandbox.open_runs()
    assert run["inputs"] == {"text": "a", "report": {"type": "file", "name": "report.pdf", "size": 4}}


def test_form_start_reads_lower_case_booleans_only(vectorshift: VectorShift) -> None:
    vectorshift.sandbox.behave("vectorshift", "pl-summary", run_seconds=0)
    for text, key in (("true", "task_id"), ("True", "outputs")):
        form = {"inputs": "{}", "background": text}
        assert key in vectorshift.call("POST", "pipeline/pl-summary/run", data=form).json()


@pytest.mark.parametrize(
    ("body", "status"), [({"inputs": ["a"]}, 400), ({"stream": True}, 400), ({"background": True}, 200)]
)
def test_body_of_a_start_is_checked(vectorshift: VectorShift, body: dict[str, Any], status: int) -> None:
    assert vectorshift.run(**body).status_code == status


# Credentials and errors


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ({}, "Missing authorization header"),
        ({"Authorization": "Basic abc"}, "Invalid authorization header format"),
        ({"Authorization": "Bearer"}, "Invalid authorization header format"),
        ({"Authorization": "Bearer wrong"}, "Invalid API key"),
    ],
)
def test_wrong_key_is_a_401_with_a_body_of_its_own(vectorshift: VectorShift, header: dict[str, str], text: str) -> None:
    answer = vectorshift.call("GET", "pipelines", headers=header)
    assert (answer.status_code, answer.json()) == (401, {"error": text})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "pipeline/nothing/run", 404),
        ("POST", "pipeline/nothing/terminate", 404),
        ("GET", "pipeline/pl-hang/run/status/nothing", 404),
        ("GET", "pipeline?name=nothing", 404),
        ("GET", "pipeline", 400),
        ("POST", "pipelines/run", 404),
        ("POST", "pipeline/pl-hang/terminate", 400),
        ("POST", "pipeline/pl-hang/resume", 400),
    ],
)
def test_errors_have_status_and_error(vectorshift: VectorShift, method: str, path: str, status: int) -> None:
    answer = vectorshift.call(method, path)
    assert answer.status_code == status
    assert answer.json().keys() == {"status", "error"}
    assert answer.json()["status"] == "failed"


def test_run_of_another_pipeline_is_not_found(vectorshift: VectorShift) -> None:
    task_id = vectorshift.start()
    assert vectorshift.call("GET", f"pipeline/pl-fail/run/status/{task_id}").status_code == 404
    assert vectorshift.act("terminate", task_id, "pl-fail").status_code == 400


# Terminate, pause, resume


@pytest.mark.parametrize(("words", "word"), [("sdk", "failed"), ("guide", "cancelled")])
def test_terminate_is_immediate(vectorshift: VectorShift, words: str, word: str) -> None:
    vectorshift.sandbox.behave("vectorshift", "pl-hang", words=words)
    task_id = vectorshift.start()
    answer = vectorshift.act("terminate", task_id)
    assert (answer.status_code, answer.json()) == (200, {"status": "success"})
    assert vectorshift.status(task_id)["status"] == word
    assert vectorshift.sandbox.runs()[0]["stop_requests"] == 1


def test_terminate_can_be_slow_or_never_land(vectorshift: VectorShift) -> None:
    vectorshift.sandbox.behave("vectorshift", "pl-hang", stop_seconds=0.5)
    slow = vectorshift.start()
    vectorshift.act("terminate", slow)
    assert vectorshift.status(slow)["status"] == "in_progress"
    vectorshift.sandbox.wait_for_state(slow, "failed")
    vectorshift.sandbox.behave("vectorshift", "pl-hang", stop_seconds=None)
    never = vectorshift.start()
    vectorshift.act("terminate", never)
    with pytest.raises(TimeoutError):
        vectorshift.sandbox.wait_for_state(never, "failed", seconds=0.5)


def test_terminate_of_a_finished_run_answers_failed(vectorshift: VectorShift) -> None:
    task_id = vectorshift.start()
    vectorshift.sandbox.set_run(task_id, state="completed")
    assert vectorshift.act("terminate", task_id).json() == {"status": "failed"}
    assert vectorshift.status(task_id)["status"] == "completed"


@pytest.mark.parametrize("kind", ["json", "data", "files"])
def test_answers_to_terminate_are_those_of_the_openapi_document(vectorshift: VectorShift, kind: str) -> None:
    document = yaml.safe_load(DOCUMENT.read_text())
    document["servers"] = [{"url": vectorshift.host}]
    openapi = OpenAPI.from_dict(document)
    task_id = vectorshift.start()
    sent = {"json": {"run_id": task_id}, "data": {"run_id": task_id}, "files": {"run_id": (None, task_id)}}
    url = f"{vectorshift.host}/pipeline/pl-hang/terminate"
    cases: list[tuple[dict[str, Any], dict[str, str], int]] = [
        ({kind: sent[kind]}, vectorshift.header, 200),
        ({kind: sent[kind]}, vectorshift.header, 200),
        ({"json": {}}, vectorshift.header, 400),
        ({kind: sent[kind]}, {}, 401),
        ({kind: sent[kind]}, {"Authorization": "Bearer wrong"}, 401),
    ]
    for body, header, status in cases:
        request = requests.Request("POST", url, headers=header, **body).prepare()
        with requests.Session() as session:
            answer = session.send(request, timeout=30)
        assert answer.status_code == status
        if status == 200:
            openapi.validate_request(RequestsOpenAPIRequest(request))
        openapi.validate_response(RequestsOpenAPIRequest(request), RequestsOpenAPIResponse(answer))


def test_paused_run_stands_still_until_it_is_resumed(vectorshift: VectorShift) -> None:
    vectorshift.sandbox.behave("vectorshift", "pl-hang", run_seconds=0.3)
    task_id = vectorshift.start()
    assert vectorshift.act("pause", task_id).json() == {"status": "success"}
    with pytest.raises(TimeoutError):
        vectorshift.sandbox.wait_for_state(task_id, "completed", seconds=0.6)
    assert vectorshift.status(task_id)["status"] == "paused"
    assert vectorshift.act("pause", task_id).json() == {"status": "failed"}
    assert vectorshift.act("resume", task_id).json() == {"status": "success"}
    run = vectorshift.sandbox.wait_for_state(task_id, "completed")
    events = [event["event"] for event in run["history"]]
    assert [word for word in events if word.endswith("asked")] == ["pause asked", "pause asked", "resume asked"]
    assert run["resume_requests"] == 1


def test_paused_run_can_be_terminated(vectorshift: VectorShift) -> None:
    task_id = vectorshift.start()
    vectorshift.act("pause", task_id)
    assert vectorshift.act("terminate", task_id).json() == {"status": "success"}
    assert vectorshift.sandbox.open_runs() == []


def test_resume_of_several_runs_has_one_answer(vectorshift: VectorShift) -> None:
    first, second, live = vectorshift.start(), vectorshift.start(), vectorshift.start()
    for run_id in (first, second):
        vectorshift.act("pause", run_id)
    path = "pipeline/pl-hang/resume"
    assert vectorshift.call("POST", path, json={"run_ids": [first, live]}).json() == {"status": "failed"}
    assert vectorshift.status(first)["status"] == "in_progress"
    assert vectorshift.call("POST", path, json={"run_ids": [second]}).json() == {"status": "success"}
    assert vectorshift.call("POST", path, json={"run_ids": second}).status_code == 400


@pytest.mark.parametrize(
    ("operation", "act"), [("stop", "terminate"), ("pause", "pause"), ("resume", "resume"), ("start", "run")]
)
def test_200_can_say_failed(vectorshift: VectorShift, operation: str, act: str) -> None:
    task_id = vectorshift.start()
    vectorshift.sandbox.behave("vectorshift", "pl-hang", failing_calls=[operation])
    answer = vectorshift.run(**BACKGROUND) if act == "run" else vectorshift.act(act, task_id)
    assert (answer.status_code, answer.json()["status"]) == (200, "failed")
    assert [run["state"] for run in vectorshift.sandbox.runs()] == ["in_progress"]


# Status


def test_status_in_the_words_of_the_guide(vectorshift: VectorShift) -> None:
    vectorshift.sandbox.behave("vectorshift", "pl-summary", words="guide", run_seconds=0.3)
    task_id = vectorshift.start("pl-summary")
    assert vectorshift.status(task_id, "pl-summary")["status"] == "running"
    vectorshift.sandbox.wait_for_state(task_id, "succeeded")


def test_completed_comes_before_the_result(vectorshift: VectorShift) -> None:
    vectorshift.sandbox.behave("vectorshift", "pl-summary", run_seconds=0, result_lag_seconds=1.0)
    task_id = vectorshift.start("pl-summary")
    assert vectorshift.status(task_id, "pl-summary") == {"task_id": task_id, "status": "completed"}
    status = eventually(lambda: vectorshift.status(task_id, "pl-summary").get("result"))
    assert status == {"summary": "two lines"}


def test_blocking_run_shows_while_its_call_is_open(vectorshift: VectorShift) -> None:
    caller = threading.Thread(target=vectorshift.run)
    caller.start()
    (run,) = eventually(lambda: vectorshift.sandbox.open_runs(name="pl-hang"))
    vectorshift.act("terminate", run["run_id"])
    caller.join(10)
    assert not caller.is_alive()


# Lists


def test_search_finds_runs_by_pipeline_trace_and_status(vectorshift: VectorShift) -> None:
    live = vectorshift.start(trace_id="tr-live")
    over = vectorshift.start()
    vectorshift.sandbox.set_run(over, state="completed")
    pipeline = {"column_name": "ObjectId", "operator": "OPERATOR_EQUAL", "value": {"string_value": "pl-hang"}}
    trace = {"column_name": "TraceId", "operator": "OPERATOR_EQUAL", "value": {"string_value": "tr-live"}}
    status = {"basic_op": {"column": "STATUS", "operation": "EQUALS", "value": {"string_value": "in_progress"}}}
    found = vectorshift.search(filters=[pipeline], start_time="2031-05-01T00:00:00Z")
    assert found["events"] == []
    found = vectorshift.search(filters=[pipeline], start_time="2020-05-01T00:00:00Z")
    assert {(row["spanId"], row["status"]) for row in found["events"]} == {
        (live, "IN_PROGRESS"),
        (over, "SUCCESS"),
    }
    assert [row["spanId"] for row in vectorshift.search(filters=[trace])["events"]] == [live]
    found = vectorshift.search(filters=[pipeline], table_filters=[status])
    assert [(row["spanId"], row["traceId"]) for row in found["events"]] == [(live, "tr-live")]


def test_search_comes_in_pages(vectorshift: VectorShift) -> None:
    made = [vectorshift.start() for _ in range(3)]
    page = {"results_per_page": 2, "page_number": 2, "offset": 2}
    found = vectorshift.search(pagination_config=page)
    assert [row["spanId"] for row in found["events"]] == made[:1]
    assert found["pagination_meta"]["total_records"] == 3


def test_pipelines_are_listed_and_fetched(vectorshift: VectorShift) -> None:
    listed = vectorshift.call("GET", "pipelines").json()
    assert listed.keys() == {"status", "object_ids"}
    assert {"pl-summary", "pl-hang", "pl-fail"} <= set(listed["object_ids"])
    verbose = vectorshift.call("GET", "pipelines?verbose=true").json()
    assert [row["_id"] for row in verbose["objects"]] == verbose["object_ids"]
    for query in ("id=pl-summary", "name=summary"):
        fetched = vectorshift.call("GET", f"pipeline?{query}").json()
        assert fetched["object"] == {"_id": "pl-summary", "name": "summary"}


def test_two_hundred_fifty_calls_a_minute(vectorshift: VectorShift) -> None:
    answers = [vectorshift.call("GET", "pipelines").status_code for _ in range(251)]
    assert answers == [200] * 250 + [429]
