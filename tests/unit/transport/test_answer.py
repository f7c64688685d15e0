"""An answer as both clients hand it to flows: storable, and without the credential of its request."""

import json
import socket

import pytest

from airflow_runctl.exceptions import RunctlError
from airflow_runctl.hooks.base import Access
from airflow_runctl.transport.answer import answer_to
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Effect, Flow, HttpRequest, HttpResponse, basic, bearer
from tests.servers.odd_server import Answer, OddServer
from tests.unit.clients import Client
from tests.unit.connections import Connections
from tests.unit.transport.test_transport import to

ONCE = Patience(total=0.05)


def answered(client: Client, access: Access, answer: Answer, request: HttpRequest) -> HttpResponse:
    """Return what a flow is given for ``answer``."""

    def ask() -> Flow[HttpResponse]:
        return (yield request)

    with OddServer(answer) as server:
        response: HttpResponse = client.drive(to(server, access), ask(), ONCE)
    return response


def echo(connection: socket.socket, request: bytes) -> None:
    """Show the request, as gateways do with one that they do not like."""
    head = f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(request)}\r\nX-Seen: {request[-60:]!r}\r\n\r\n"
    connection.sendall(head.encode() + request)


@pytest.mark.parametrize(
    "conn_id", ["snaplogic_default", "snaplogic_jwt", "axiom_default", "vectorshift_default", "bctrl_default"]
)
def test_an_error_that_quotes_the_request_does_not_quote_its_credential(
    client: Client, connections: Connections, conn_id: str
) -> None:
    access = connections.access(conn_id)
    with OddServer(echo) as server, pytest.raises(RunctlError) as seen:
        client.drive(to(server, access), access.vendor.test(), ONCE)
    assert "HTTP/1.1" in str(seen.value), "it quotes the answer"
    assert connections.rows[conn_id]["password"] not in str(seen.value)
    for value in getattr(access.vendor, "headers", {}).values():
        assert value not in str(seen.value)


PASSWORD = 'it is "secret" & long'


@pytest.mark.parametrize(
    ("request_", "shown"),
    [
        (HttpRequest("GET", "/", headers=basic("ops", PASSWORD)), f"ops:{PASSWORD}"),
        (HttpRequest("GET", "/", headers=basic("ops", PASSWORD)), f"bad password <{PASSWORD}>"),
        (HttpRequest("GET", "/", headers=basic("ops", PASSWORD)), basic("ops", PASSWORD)["Authorization"]),
        (HttpRequest("GET", "/", headers=bearer("abcdefgh+/=")), "token=abcdefgh%2B%2F%3D"),
        (HttpRequest("POST", "/stop", Effect.STOP, json={"pid": "07", "pw": PASSWORD}), json.dumps({"pw": PASSWORD})),
    ],
)
def test_a_credential_is_taken_out_however_it_is_written(request_: HttpRequest, shown: str) -> None:
    response = answer_to(request_, 400, [(b"X-Seen", shown.encode())], f"before {shown} after".encode())
    for text in (response.body.decode(), response.headers["x-seen"]):
        assert "***" in text
        assert "secret" not in text
        assert "abcdefgh" not in text
        assert basic("ops", PASSWORD)["Authorization"].partition(" ")[2] not in text
    assert response.body.startswith(b"before ")
    assert response.body.endswith(b" after")


def test_a_credential_that_is_as_short_as_a_word_stays(snaplogic: Access) -> None:
    """Taken out of every answer it could make a state of a run one that nobody knows."""
    response = answer_to(HttpRequest("GET", "/", headers=bearer("Started")), 200, (), b'{"state": "Started"}')
    assert response.json() == {"state": "Started"}


@pytest.mark.parametrize(("sent", "text"), [("é".encode(), "é"), (b"a\xff", "a\ufffd"), (b"plain", "plain")])
def test_a_header_is_text_that_can_be_stored_with_both_clients(
    client: Client, snaplogic: Access, sent: bytes, text: str
) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Run: " + sent + b"\r\n\r\n")

    response = answered(client, snaplogic, answer, HttpRequest("GET", "/"))
    assert response.headers["x-run"] == text
    response.headers["x-run"].encode()
