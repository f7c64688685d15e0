"""Both clients carry the same requests, send again what may be sent again, and say what went wrong."""

import asyncio
import dataclasses
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_runctl.exceptions import BadAnswer, ConnectionSetupError, TransportError, VendorError
from airflow_runctl.hooks.base import Access
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport import endpoint, retry
from airflow_runctl.transport.aio import in_own_loop
from airflow_runctl.transport.endpoint import Endpoint
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Effect, Flow, HttpRequest, HttpResponse, Pause, path
from tests.servers.odd_server import OddServer, certificate, free_port, say
from tests.unit.clients import Client
from tests.unit.connections import Connections

BRIEF = Patience(total=0.4)


def ask(request: HttpRequest) -> Flow[HttpResponse]:
    return (yield request)


def quota(axiom: Access, effect: Effect = Effect.READ, **changes: Any) -> HttpRequest:
    """A harmless request, sent as if it had ``effect``."""
    body = {"key": axiom.vendor.api_key}  # type: ignore[attr-defined]
    return HttpRequest("POST", "/remaining-runtime", effect, json=body, **changes)


def at(request: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(request["at"])


def to(server: OddServer, access: Access, **changes: Any) -> Access:
    """The same connection, with its way leading to ``server``."""
    way = dataclasses.replace(access.endpoint, base_url=server.url, **changes)
    return dataclasses.replace(access, endpoint=way)


# -- one request -----------------------------------------------------------------------------------------


def test_answer_has_status_lower_case_headers_body_and_time(client: Client, snaplogic: Access, box: Sandbox) -> None:
    before = time.time()
    request = HttpRequest("GET", "/api/1/rest/public/runtime/Acme", headers=snaplogic.vendor.headers)  # type: ignore[attr-defined]
    answer = client.drive(snaplogic, ask(request))
    assert (answer.status, answer.ok) == (200, True)
    assert answer.headers["x-sl-statuscode"] == "200"
    assert answer.json()["response_map"]["total"] == 0
    assert before <= answer.received_at <= time.time()


def test_request_without_a_body_has_no_content_type(client: Client, snaplogic: Access, box: Sandbox) -> None:
    client.drive(snaplogic, ask(HttpRequest("POST", "/x")))
    client.drive(snaplogic, ask(HttpRequest("POST", "/x", json={"ä": 1})))
    empty, filled = box.requests()
    assert "Content-Type" not in empty["headers"]
    assert empty["body"] == ""
    assert filled["headers"]["Content-Type"] == "application/json"
    assert json.loads(filled["body"]) == {"ä": 1}


@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "a b",
        "a?b",
        "a#b",
        "100%",
        "%2e%2e",
        "näher",
        "日本",
        "a;b",
        "a+b",
        "a:b@c",
        "(a)'!*",
        "a\\b",
        "..a",
        "~a",
    ],
)
def test_names_reach_the_wire_percent_encoded(client: Client, snaplogic: Access, box: Sandbox, name: str) -> None:
    from urllib.parse import quote, unquote

    client.drive(snaplogic, ask(HttpRequest("GET", path("api", name, "end"))))
    (request,) = box.requests()
    assert request["path"] == f"/snaplogic/api/{quote(name, safe='')}/end"
    assert unquote(request["path"].split("/")[3]) == name
    assert request["query"] == ""


@pytest.mark.parametrize("value", ["a b", "a&b=c", "ä", "a+b", "100%", "a/b?c", ""])
def test_query_values_arrive_as_they_were(client: Client, snaplogic: Access, box: Sandbox, value: str) -> None:
    from urllib.parse import parse_qs

    client.drive(snaplogic, ask(HttpRequest("GET", "/x", query={"region": value})))
    (request,) = box.requests()
    assert parse_qs(request["query"], keep_blank_values=True) == {"region": [value]}


def test_redirect_is_not_followed_so_no_credential_goes_elsewhere(
    client: Client, snaplogic: Access, box: Sandbox
) -> None:
    box.fault("snaplogic", "list", "redirect")
    with pytest.raises(VendorError, match="HTTP 302"):
        client.drive(snaplogic, snaplogic.vendor.test())
    assert [request["headers"]["Host"].partition(":")[0] for request in box.requests()] == ["127.0.0.1"]


def test_netrc_does_not_replace_the_credential(
    client: Client,
    snaplogic: Access,
    axiom: Access,
    box: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login stranger password stranger\ndefault login stranger password stranger\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    client.drive(snaplogic, snaplogic.vendor.test())
    client.drive(axiom, axiom.vendor.test())
    with_basic, with_key = box.requests()
    assert with_basic["headers"]["Authorization"] == snaplogic.vendor.headers["Authorization"]  # type: ignore[attr-defined]
    assert "Authorization" not in with_key["headers"]


def test_cookies_of_a_vendor_are_not_sent_back_by_the_shared_session(axiom: Access) -> None:
    def answer(connection: Any, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    def twice() -> Flow[None]:
        yield HttpRequest("GET", "/one")
        yield HttpRequest("GET", "/two")

    with OddServer(answer) as server:
        Client("aiohttp").drive(to(server, axiom), twice())
    assert len(server.received) == 2
    assert b"cookie" not in server.received[1].lower()


# -- what may be sent again ------------------------------------------------------------------------------

AGAIN, NEVER = 2, 1


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize(
    ("effect", "trouble", "requests"),
    [
        (Effect.READ, {"kind": "cut"}, AGAIN),
        (Effect.READ, {"kind": "hang"}, AGAIN),
        (Effect.READ, {"kind": "truncated"}, AGAIN),
        (Effect.READ, {"kind": "status", "status": 503}, AGAIN),
        (Effect.READ, {"kind": "status", "status": 500}, AGAIN),
        (Effect.READ, {"kind": "status", "status": 429}, AGAIN),
        (Effect.READ, {"kind": "status", "status": 404}, NEVER),
        (Effect.READ, {"kind": "status", "status": 401}, NEVER),
        (Effect.STOP, {"kind": "cut"}, AGAIN),
        (Effect.STOP, {"kind": "hang"}, AGAIN),
        (Effect.STOP, {"kind": "status", "status": 502}, AGAIN),
        (Effect.STOP, {"kind": "status", "status": 429}, AGAIN),
        (Effect.STOP, {"kind": "status", "status": 400}, NEVER),
        (Effect.START, {"kind": "cut"}, NEVER),
        (Effect.START, {"kind": "hang"}, NEVER),
        (Effect.START, {"kind": "truncated"}, NEVER),
        (Effect.START, {"kind": "status", "status": 500}, NEVER),
        (Effect.START, {"kind": "status", "status": 503}, NEVER),
        (Effect.START, {"kind": "status", "status": 504}, NEVER),
        (Effect.START, {"kind": "status", "status": 429}, AGAIN),
    ],
    ids=lambda value: value.value if isinstance(value, Effect) else str(value),
)
def test_what_is_sent_again(
    client: Client, axiom: Access, box: Sandbox, effect: Effect, trouble: dict[str, Any], requests: int
) -> None:
    box.fault("axiom", "quota", count=1, **trouble)
    timeout = 0.3 if trouble["kind"] == "hang" else 10.0
    flow = ask(quota(axiom, effect, timeout=timeout))
    if requests == NEVER and trouble["kind"] != "status":
        with pytest.raises(TransportError) as seen:
            client.drive(axiom, flow)
        assert seen.value.sent
    else:
        assert client.drive(axiom, flow).ok == (requests == AGAIN)
    assert len(box.requests(operation="quota")) == requests


@pytest.mark.parametrize("effect", list(Effect))
def test_refused_connection_is_tried_again_whatever_the_request(
    client: Client, axiom: Access, effect: Effect, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    late: list[OddServer] = []

    def come_up(state: object) -> float:
        late.append(OddServer(say(b'{"late": true}'), port))
        return 0.0

    monkeypatch.setattr(retry, "_backoff", come_up)
    way = dataclasses.replace(axiom, endpoint=Endpoint(f"http://127.0.0.1:{port}"))
    answer = client.drive(way, ask(quota(axiom, effect)))
    assert answer.json() == {"late": True}
    (server,) = late
    assert len(server.received) == 1
    server.__exit__()


def test_connection_that_is_refused_for_good_was_surely_not_sent(client: Client, axiom: Access) -> None:
    way = dataclasses.replace(axiom, endpoint=Endpoint(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(
        TransportError, match=r"No connection could be made to POST http://127.0.0.1:\d+/remain"
    ) as seen:
        client.drive(way, ask(quota(axiom, Effect.START)), BRIEF)
    assert not seen.value.sent


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_start_on_a_kept_connection_that_dies_is_not_sent_again(
    client: Client, snaplogic: Access, box: Sandbox, method: str
) -> None:
    """An HTTP client may repeat a GET by itself when a connection from its pool is cut; a GET can be a start."""

    def flow() -> Flow[HttpResponse]:
        yield HttpRequest("GET", "/warm")
        return (yield HttpRequest(method, "/start", Effect.START))

    box.fault("snaplogic", "unknown", "latency", seconds=0.0, count=1)
    box.fault("snaplogic", "unknown", "cut", count=1)
    with pytest.raises(TransportError) as seen:
        client.drive(snaplogic, flow())
    assert seen.value.sent
    assert [request["path"] for request in box.requests()] == ["/snaplogic/warm", "/snaplogic/start"]


def test_retry_after_as_a_number_is_honoured(client: Client, axiom: Access, box: Sandbox, brisk: None) -> None:
    box.fault("axiom", "quota", "status", status=429, retry_after="1.5", count=1)
    assert client.drive(axiom, ask(quota(axiom))).ok
    first, second = box.requests()
    assert at(second) - at(first) >= timedelta(seconds=1.5)


def test_retry_after_as_a_date_is_honoured(client: Client, axiom: Access, box: Sandbox, brisk: None) -> None:
    until = (datetime.now(UTC) + timedelta(seconds=3)).replace(microsecond=0)
    box.fault("axiom", "quota", "status", status=503, retry_after=format_datetime(until, usegmt=True), count=1)
    assert client.drive(axiom, ask(quota(axiom))).ok
    first, second = box.requests()
    assert at(second) >= until > at(first)


@pytest.mark.parametrize("value", ["soon", "", "-5", "Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 99 Foo 2026 00:00:00 GMT"])
def test_senseless_or_past_retry_after_does_no_harm(
    client: Client, axiom: Access, box: Sandbox, brisk: None, value: str
) -> None:
    box.fault("axiom", "quota", "status", status=429, retry_after=value, count=1)
    assert client.drive(axiom, ask(quota(axiom))).ok


def test_no_waiting_for_a_try_that_would_come_too_late(client: Client, axiom: Access, box: Sandbox) -> None:
    box.fault("axiom", "quota", "status", status=429, retry_after="3600")
    assert client.drive(axiom, ask(quota(axiom))).status == 429
    assert len(box.requests()) == 1


def test_tries_end_with_the_total_time_and_the_last_answer_is_handed_on(
    client: Client, axiom: Access, box: Sandbox, brisk: None
) -> None:
    box.fault("axiom", "quota", "status", status=503)
    assert client.drive(axiom, ask(quota(axiom)), BRIEF).status == 503
    assert 2 <= len(box.requests()) <= 9


def test_waits_between_tries_grow_and_differ() -> None:
    import tenacity

    def waits(number: int) -> list[float]:
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = number
        return [retry._backoff(state) for _ in range(200)]

    early, late = waits(1), waits(20)
    assert max(early) <= retry.FIRST_WAIT
    assert max(late) <= retry.LONGEST_WAIT
    assert max(late) > 10 * max(early)
    assert len(set(late)) > 100


def test_flow_whose_time_is_up_gets_an_error_instead_of_an_answer(client: Client, axiom: Access, box: Sandbox) -> None:
    with pytest.raises(TransportError, match="time") as seen:
        client.drive(axiom, ask(quota(axiom)), Patience(until=time.time() - 1))
    assert not seen.value.sent
    assert box.requests() == []


def test_pause_ends_with_the_time_of_the_flow(client: Client, axiom: Access) -> None:
    def flow() -> Flow[None]:
        yield Pause(3600)

    client.drive(axiom, flow(), Patience(until=time.time() + 0.2))


# -- answers that are none -------------------------------------------------------------------------------


def test_vendor_that_never_answers_is_given_up_after_the_connections_timeout(
    client: Client, connections: Connections, box: Sandbox
) -> None:
    access = connections.access("axiom_default", {"timeout": 0.3})
    box.fault("axiom", "any", "hang")
    with pytest.raises(TransportError, match="No answer came to POST http") as seen:
        client.drive(access, access.vendor.test(), BRIEF)
    assert seen.value.sent
    assert box.seed not in str(seen.value)


def test_cancellation_that_comes_as_a_request_runs_out_of_time_is_not_lost(axiom: Access, box: Sandbox) -> None:
    """Both in one turn of the event loop, which was held up: aiohttp's own time-out swallows it."""
    box.fault("axiom", "quota", "hang")

    async def doing() -> object:
        loop = asyncio.get_running_loop()
        asking = asyncio.create_task(axiom.adrive(ask(quota(axiom)), Patience(total=0.0, answer=1.0)))
        while not await asyncio.to_thread(box.requests, operation="quota"):
            await asyncio.sleep(0.01)
        loop.call_soon(time.sleep, 1.5)
        loop.call_later(1.2, asking.cancel)
        (came,) = await asyncio.gather(asking, return_exceptions=True)
        return came

    came = in_own_loop(doing())
    assert isinstance(came, asyncio.CancelledError)


def test_answer_that_trickles_in_without_an_end_is_given_up(client: Client, axiom: Access) -> None:
    def trickle(connection: Any, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.02)

    with OddServer(trickle) as server, pytest.raises(TransportError) as seen:
        client.drive(to(server, axiom, timeout=0.5), ask(quota(axiom)), Patience(total=0.1))
    assert seen.value.sent


def test_huge_answer_is_not_read_to_its_end(
    client: Client, axiom: Access, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.fault("axiom", "quota", "huge", bytes=200_000_000)
    with pytest.raises(BadAnswer, match=f"larger than {endpoint.MAX_BODY} bytes"):
        client.drive(axiom, ask(quota(axiom)))


def test_answer_cut_in_the_middle_is_no_answer(client: Client, axiom: Access, box: Sandbox, brisk: None) -> None:
    box.fault("axiom", "quota", "truncated", after_effect=True)
    with pytest.raises(TransportError) as seen:
        client.drive(axiom, ask(quota(axiom)), BRIEF)
    assert seen.value.sent


@pytest.mark.parametrize("conn_id", ["snaplogic_default", "axiom_default"])
def test_answer_that_is_not_json_is_quoted_in_the_error(
    client: Client, connections: Connections, box: Sandbox, conn_id: str
) -> None:
    access = connections.access(conn_id)
    box.fault("any", "any", "garbage")
    with pytest.raises(BadAnswer, match=r"is not JSON: '<html>"):
        client.drive(access, access.vendor.test())


def test_error_page_in_html_is_quoted_shortly(client: Client, connections: Connections, box: Sandbox) -> None:
    access = connections.access("snaplogic_default")
    with OddServer(say(b"<html>" + b"x" * 100_000, "418 Teapot")) as server, pytest.raises(VendorError) as seen:
        client.drive(to(server, access), access.vendor.test())
    assert seen.value.status == 418
    assert "<html>xxx" in str(seen.value)
    assert len(str(seen.value)) < 500


# -- proxies and certificates ----------------------------------------------------------------------------


@pytest.fixture
def proxy() -> Iterator[OddServer]:
    """A proxy that answers by itself, so that what came to it can be seen."""
    with OddServer(say(b'{"status": "success", "data": {"remaining": 7}}')) as server:
        yield server


@pytest.mark.parametrize("form", ["text", "object"])
def test_proxies_of_the_connection_are_used(
    client: Client, connections: Connections, box: Sandbox, proxy: OddServer, form: str
) -> None:
    proxies = proxy.url if form == "text" else {"http": proxy.url}
    access = connections.access("axiom_default", {"proxies": proxies})
    assert "7 minutes" in client.drive(access, access.vendor.test())
    assert proxy.received[0].startswith(b"POST http://127.0.0.1:")
    assert box.requests() == []


def test_proxy_of_the_environment_is_used(
    client: Client, axiom: Access, box: Sandbox, proxy: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)
    assert "7 minutes" in client.drive(axiom, axiom.vendor.test())
    assert len(proxy.received) == 1


def test_no_proxy_of_the_environment_is_heeded(
    client: Client, axiom: Access, box: Sandbox, proxy: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    client.drive(axiom, axiom.vendor.test())
    assert proxy.received == []
    assert len(box.requests()) == 1


def test_proxy_of_the_connection_wins_over_the_environment(
    client: Client, connections: Connections, proxy: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    access = connections.access("axiom_default", {"proxies": proxy.url})
    client.drive(access, access.vendor.test())
    assert len(proxy.received) == 1


def test_proxy_that_is_away_is_an_error_without_its_login(client: Client, connections: Connections) -> None:
    proxies = f"http://someone:proxy-secret@127.0.0.1:{free_port()}"
    access = connections.access("axiom_default", {"proxies": proxies})
    with pytest.raises(TransportError) as seen:
        client.drive(access, access.vendor.test(), BRIEF)
    assert "proxy-secret" not in f"{seen.value} {seen.value!r} {access!r} {access.endpoint!r}"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(pem: tuple[Path, Path]) -> Iterator[OddServer]:
    with OddServer(say(b'{"status": "success", "data": {"remaining": 7}}'), tls=pem[0]) as server:
        yield server


def test_certificate_that_nobody_vouches_for_is_refused(
    client: Client, connections: Connections, secure: OddServer
) -> None:
    access = connections.access("axiom_default", host=secure.url)
    with pytest.raises(TransportError, match="No connection could be made to POST https") as seen:
        client.drive(access, access.vendor.test(), BRIEF)
    assert not seen.value.sent
    assert "ertificate" in str(seen.value)
    assert secure.received == []


@pytest.mark.parametrize("how", ["off", "file", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_verify_and_ca_files_reach_both_clients(
    client: Client,
    connections: Connections,
    secure: OddServer,
    pem: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    extra: dict[str, Any] = {"off": {"verify": False}, "file": {"verify": str(pem[1])}}.get(how, {})
    if not extra:
        monkeypatch.setenv(how, str(pem[1]))
    access = connections.access("axiom_default", extra, host=secure.url)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # urllib3 warns of verify=false, rightly
        assert "7 minutes" in client.drive(access, access.vendor.test())


@pytest.mark.parametrize("how", ["verify", "REQUESTS_CA_BUNDLE"])
def test_ca_file_that_is_not_there_is_named(
    client: Client, connections: Connections, secure: OddServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how != "verify":
        monkeypatch.setenv(how, "/no/such/ca.pem")
    extra = {"verify": "/no/such/ca.pem"} if how == "verify" else {}
    access = connections.access("axiom_default", extra, host=secure.url)
    with pytest.raises(
        ConnectionSetupError, match=r"CA file that extra 'verify'.* cannot be read here: /no/such/ca.pem"
    ):
        client.drive(access, access.vendor.test())
    assert secure.received == []


def test_start_over_tls_that_is_cut_is_not_sent_again(
    client: Client, connections: Connections, pem: tuple[Path, Path]
) -> None:
    with OddServer(lambda connection, request: None, tls=pem[0]) as server:
        access = connections.access("axiom_default", {"verify": str(pem[1])}, host=server.url)
        with pytest.raises(TransportError) as seen:
            client.drive(access, ask(quota(access, Effect.START)))
        assert seen.value.sent
        assert len(server.received) == 1


# -- secrets ---------------------------------------------------------------------------------------------


def test_no_repr_shows_a_credential(connections: Connections, box: Sandbox) -> None:
    for conn_id in connections.rows:
        if not conn_id.startswith(("snaplogic", "axiom")):
            continue
        access = connections.access(conn_id)
        request = HttpRequest(
            "POST",
            "/x",
            query={"q": box.seed},
            headers={"Authorization": box.seed},
            json={"key": box.seed},
            data=box.seed.encode(),
        )
        answer = HttpResponse(200, {"set-cookie": box.seed}, box.seed.encode())
        for shown in (access, access.vendor, access.endpoint, request, answer):
            assert box.seed not in f"{shown!r} {shown}"


def test_errors_of_the_transport_show_no_credential_and_no_query(client: Client, axiom: Access, box: Sandbox) -> None:
    box.fault("axiom", "any", "cut")
    request = quota(axiom, query={"token": box.seed}, headers={"Authorization": f"Bearer {box.seed}"})
    with pytest.raises(TransportError) as seen:
        client.drive(axiom, ask(request), BRIEF)
    chain: BaseException | None = seen.value
    assert "/remaining-runtime" in str(chain)
    assert box.seed not in str(chain)
