"""SnapLogic's runs, looked at one by one and in lists: each word, each error and each odd answer."""

import dataclasses
import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from airflow_runctl.exceptions import BadAnswer, InvalidIdentifier, LoginRefused, NotFound, RateLimited, VendorError
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import RunState
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.vendors import base as vendors
from airflow_runctl.vendors.base import Flow, HttpRequest, HttpResponse
from airflow_runctl.vendors.snaplogic import api
from airflow_runctl.vendors.snaplogic import trigger as module
from airflow_runctl.vendors.snaplogic.answers import STATES
from tests.servers.odd_server import OddServer
from tests.unit.clients import Client
from tests.unit.vendors.snaplogic.runs import BRIEF, SALES, ask_stop, look, started, trigger, vendor

pytestmark = pytest.mark.usefixtures("brisk")

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


def answered(flow: Flow[Any], answer: Callable[[HttpRequest], dict[str, Any]]) -> Any:
    """Drive a flow with answers of a test's own, and return what it returns."""
    request: Any = next(flow)
    while True:
        body = {"response_map": answer(request), "http_status_code": 200}
        try:
            request = flow.send(HttpResponse(200, {}, json.dumps(body).encode()))
        except StopIteration as end:
            return end.value


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("limit", [None, 2])
def test_list_without_a_total_is_read_while_its_pages_are_full(snaplogic: Access, limit: int | None) -> None:
    """A server that takes no more than two at a time says so in ``limit``."""
    full = limit or 3
    ids = [f"r-{number}" for number in range(2 * full + 1)]
    asked: list[int] = []

    def page(request: HttpRequest) -> dict[str, Any]:
        offset = int(request.query["offset"])
        asked.append(offset)
        shown = [{"id": name} for name in ids[offset : offset + full]]
        return {"entries": shown, **({"limit": limit} if limit else {})}

    assert [entry["id"] for entry in answered(vendor(snaplogic).list_runs(), page)] == ids
    assert asked == [0, full, 2 * full]


@pytest.mark.usefixtures("small_pages")
def test_list_that_has_no_end_is_an_error_that_says_so(snaplogic: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MOST_RUNS", 6)

    def page(request: HttpRequest) -> dict[str, Any]:
        return {"entries": [{"id": f"r-{int(request.query['offset']) + number}"} for number in range(3)]}

    with pytest.raises(BadAnswer, match="goes on after 6 of them; the rest was not read"):
        answered(vendor(snaplogic).list_runs(), page)


def test_list_of_ever_so_small_pages_has_an_end_too(snaplogic: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MOST_PAGES", 4)

    def page(request: HttpRequest) -> dict[str, Any]:
        return {"entries": [{"id": f"r-{request.query['offset']}"}], "limit": 1, "total": 10**9}

    with pytest.raises(BadAnswer, match="goes on after 4 of them; the rest was not read"):
        answered(vendor(snaplogic).list_runs(), page)


@pytest.mark.parametrize("entry", [{}, {"id": 7}])
def test_entry_without_an_id_is_a_bad_answer(
    client: Client, snaplogic: Access, box: Sandbox, entry: dict[str, Any]
) -> None:
    box.fault("snaplogic", "list", "body", body=page(entry, total=1))
    with pytest.raises(BadAnswer, match="has no id"):
        client.drive(snaplogic, vendor(snaplogic).list_runs())
