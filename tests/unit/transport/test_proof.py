"""A start that may have arrived is sent once, one that surely has not is sent again: sockets count what comes."""

from __future__ import annotations

import contextlib
import dataclasses
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_runctl.exceptions import TransportError
from airflow_runctl.hooks.base import Access
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Effect, Flow, HttpRequest, HttpResponse
from tests.servers.odd_server import Answer, OddServer, certificate, free_port, say
from tests.unit.clients import Client

pytestmark = pytest.mark.usefixtures("brisk")

TRIES = Patience(total=1.0)
START = HttpRequest("POST", "/start", Effect.START, json={"go": True})


def sent_once() -> Flow[HttpResponse]:
    return (yield START)


def to(access: Access, url: str, **more: object) -> Access:
    return dataclasses.replace(access, endpoint=dataclasses.replace(access.endpoint, base_url=url, **more))


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


# -- what a server or a proxy does ---------------------------------------------------------------------------


def closes(connection: socket.socket, request: bytes) -> None:
    """Take the request, and close without an answer."""


def resets(connection: socket.socket, request: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def breaks_the_stream(connection: socket.socket, request: bytes) -> None:
    """Say bytes that are no TLS record, beneath the encryption."""
    raw = socket.socket(fileno=connection.detach())
    raw.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    raw.close()


def refuses_the_tunnel(connection: socket.socket, request: bytes) -> None:
    say(b"no", "403 Forbidden")(connection, request)


def tunnels(target: OddServer) -> Answer:
    """Answer CONNECT, and pass on what comes until one side closes."""

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with socket.create_connection(("127.0.0.1", target.port)) as other, contextlib.suppress(OSError):
            ends = {connection: other, other: connection}
            while True:
                for end in select.select(list(ends), [], [], 10)[0]:
                    if not (data := end.recv(65536)):
                        return
                    ends[end].sendall(data)

    return answer


# -- it may have arrived: once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [closes, resets])
@pytest.mark.parametrize("way", ["directly", "forward proxy"])
def test_a_start_whose_connection_ends_after_it_is_not_sent_again(
    client: Client, axiom: Access, ends: Answer, way: str
) -> None:
    with OddServer(ends) as server:
        access = to(axiom, server.url)
        if way == "forward proxy":
            access = to(axiom, "http://vendor.example", proxies={"http": server.url})
        with pytest.raises(TransportError) as seen:
            client.drive(access, sent_once(), TRIES)
    assert seen.value.sent
    assert len(server.received) == 1


@pytest.mark.parametrize("ends", [closes, resets, breaks_the_stream])
@pytest.mark.parametrize("way", ["directly", "tunnel"])
def test_a_start_whose_tls_stream_breaks_after_it_is_not_sent_again(
    client: Client, axiom: Access, pem: tuple[Path, Path], ends: Answer, way: str
) -> None:
    with OddServer(ends, tls=pem[0]) as server, OddServer(tunnels(server)) as proxy:
        proxies = {"https": proxy.url} if way == "tunnel" else {}
        access = to(axiom, server.url, verify=str(pem[1]), proxies=proxies)
        with pytest.raises(TransportError) as seen:
            client.drive(access, sent_once(), TRIES)
    assert seen.value.sent
    assert len(server.received) == 1
    assert len(proxy.received) == (1 if way == "tunnel" else 0)


# -- it surely has not: again ----------------------------------------------------------------------------------


def nobody_listens(_: OddServer, pem: tuple[Path, Path]) -> dict[str, object]:
    return {"url": f"http://127.0.0.1:{free_port()}"}


def no_such_name(_: OddServer, pem: tuple[Path, Path]) -> dict[str, object]:
    return {"url": "http://no-such-name.invalid"}


def nobody_vouches(_: OddServer, pem: tuple[Path, Path]) -> dict[str, object]:
    return {"url": _.url, "verify": True}


def tunnel_refused(_: OddServer, pem: tuple[Path, Path]) -> dict[str, object]:
    return {"url": "https://vendor.example", "proxies": {"https": _.url}}


@pytest.mark.parametrize(
    ("trouble", "tls"),
    [(nobody_listens, False), (no_such_name, False), (nobody_vouches, True), (tunnel_refused, False)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_start_of_which_no_byte_was_sent_may_be_sent_again(
    client: Client,
    axiom: Access,
    pem: tuple[Path, Path],
    trouble: Callable[[OddServer, tuple[Path, Path]], dict[str, object]],
    tls: bool,
) -> None:
    with OddServer(refuses_the_tunnel, tls=pem[0] if tls else None) as server:
        changes = trouble(server, pem)
        access = to(axiom, str(changes.pop("url")), **changes)
        with pytest.raises(TransportError) as seen:
            client.drive(access, sent_once(), TRIES)
    assert not seen.value.sent
    assert not [request for request in server.received if b"/start" in request]
    assert trouble is not tunnel_refused or len(server.received) > 1, "not tried again"


def test_a_start_over_a_connection_that_comes_late_is_sent_once_it_is_there(client: Client, axiom: Access) -> None:
    """Nobody listens at first; the repetition reaches the server."""
    port = free_port()
    servers: list[OddServer] = []

    def then_listens() -> Flow[HttpResponse]:
        servers.append(OddServer(say(), port=port))
        return (yield START)

    with pytest.raises(TransportError):
        client.drive(to(axiom, f"http://127.0.0.1:{port}"), sent_once(), Patience(total=0.1))
    client.drive(to(axiom, f"http://127.0.0.1:{port}"), then_listens(), TRIES)
    with servers[0]:
        assert len(servers[0].received) == 1


# -- a request ends with its time ------------------------------------------------------------------------------


def drips(head: bytes, drop: bytes) -> Answer:
    """Say ``head``, then ``drop`` again and again, a little at a time and without an end."""

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            connection.sendall(drop)
            select.select([connection], [], [], 0.05)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        drips(b"HTTP/1.1 200 OK\r\n", b"X"),
        drips(b"", b"H"),
        drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    ],
    ids=["a header without an end", "a status without an end", "100 Continue for ever", "a body without an end"],
)
@pytest.mark.parametrize("way", ["directly", "proxy's answer to CONNECT"])
def test_the_whole_of_a_request_ends_with_its_time(client: Client, axiom: Access, answer: Answer, way: str) -> None:
    with OddServer(answer) as server:
        access = to(axiom, server.url)
        if way != "directly":
            access = to(axiom, "https://vendor.example", proxies={"https": server.url})
        began = time.monotonic()
        with pytest.raises(TransportError):
            client.drive(access, sent_once(), Patience(total=1.0, answer=0.5, until=time.time() + 1.0))
        assert time.monotonic() - began < 10, "30 s of dripping were waited for"


# -- a name with several addresses -------------------------------------------------------------------------------


@pytest.fixture
def black_holes() -> Iterator[tuple[list[str], int]]:
    """Three addresses and a port, of which nothing answers a connection: their listeners' queues are full."""
    with contextlib.ExitStack() as held:
        port = free_port()
        hosts = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
        for host in hosts:
            held.enter_context(socket.create_server((host, port), backlog=0))
            while True:
                filling = held.enter_context(socket.socket())
                filling.setblocking(False)
                filling.connect_ex((host, port))
                if not select.select([], [filling], [], 0.3)[1]:
                    break
        yield hosts, port


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    """Let ``vendor.example`` have these addresses."""
    true = socket.getaddrinfo

    def has(hosts: Sequence[str]) -> None:
        def look_up(host: str, port: int, *more: Any, **named: Any) -> list[Any]:
            if host != "vendor.example":
                return true(host, port, *more, **named)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in hosts]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return has


def test_a_name_of_which_no_address_answers_takes_no_more_than_the_requests_time(
    client: Client, axiom: Access, black_holes: tuple[list[str], int], addresses: Callable[[Sequence[str]], None]
) -> None:
    hosts, port = black_holes
    addresses(hosts)
    began = time.monotonic()
    with pytest.raises(TransportError) as seen:
        client.drive(to(axiom, f"http://vendor.example:{port}"), sent_once(), Patience(total=0.1, answer=2.0))
    assert time.monotonic() - began < 3.5, "each address was waited for as long as the request may take"
    assert not seen.value.sent


def test_an_address_that_answers_is_reached_behind_those_that_do_not(
    client: Client, axiom: Access, black_holes: tuple[list[str], int], addresses: Callable[[Sequence[str]], None]
) -> None:
    hosts, port = black_holes
    with OddServer(say(), port=port) as server:
        addresses([*hosts, "127.0.0.1"])
        access = to(axiom, f"http://vendor.example:{port}")
        response = client.drive(access, sent_once(), Patience(total=0.1, answer=4.0))
    assert response.ok
    assert len(server.received) == 1


def test_a_name_that_nobody_looks_up_in_time_ends_the_request(
    client: Client, axiom: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def look_up(*_: Any, **__: Any) -> list[Any]:
        answered.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    def ended() -> Flow[HttpResponse]:
        try:
            return (yield START)
        finally:
            ends.append(time.monotonic())
            answered.set()  # asyncio waits for the thread of its look-up

    ends: list[float] = []
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    began = time.monotonic()
    with pytest.raises(TransportError) as seen:
        client.drive(to(axiom, "http://vendor.example"), ended(), Patience(total=0.1, answer=0.5))
    assert ends[0] - began < 10
    assert not seen.value.sent
