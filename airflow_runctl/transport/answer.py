"""An answer as flows read it: text that can be stored, and nothing that repeats the credential of its request.

Gateways and debugging pages show the request that they did not like, its headers and body included. Messages quote
answers, and lie in logs, XComs and mails.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote, quote_plus

from airflow_runctl.runs import SECRET_IDS
from airflow_runctl.vendors.base import HttpRequest, HttpResponse

MASK: Final = b"***"

SHORTEST: Final = 8
"""Characters. What is shorter may be a word of any answer, and would be taken out of that."""


def answer_to(
    request: HttpRequest, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes, sent_at: float = 0.0
) -> HttpResponse:
    """Return the answer to ``request``.

    :param headers: as they came: of what is no ASCII each client makes something else, aiohttp half characters.
    :param body: unpacked.
    :param sent_at: when the request was sent, Unix time.
    """
    shapes = _shapes_in(request)
    body = _without(shapes, body)
    return HttpResponse(status, _read(tuple(headers), shapes), body, time.time(), sent_at)


@lru_cache(maxsize=256)
def _read(headers: tuple[tuple[bytes, bytes], ...], shapes: tuple[bytes, ...]) -> Mapping[str, str]:
    """Return headers as flows read them; thousands of answers that come within a second have the same."""
    return {_text(name).lower(): _text(_without(shapes, value)) for name, value in headers}


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", errors="replace")


def _without(shapes: Iterable[bytes], said: bytes) -> bytes:
    for shape in shapes:
        if shape in said:
            said = said.replace(shape, MASK)
    return said


def _shapes_in(request: HttpRequest) -> tuple[bytes, ...]:
    """Return what of a request is a credential: in its ``Authorization``, and in its body under a name for one."""
    in_header = _shapes_of_login(request.headers.get("Authorization", ""))
    if request.json is None or not isinstance(request.json, Mapping):
        return in_header
    secrets = (str(value) for name, value in request.json.items() if name in SECRET_IDS)
    return (*in_header, *(shape for secret in secrets for shape in _shapes(secret)))


@lru_cache(maxsize=256)
def _shapes_of_login(authorization: str) -> tuple[bytes, ...]:
    """Return the same of one ``Authorization``, which is that of thousands of requests."""
    scheme, _, credential = authorization.partition(" ")
    secrets = [credential]
    if scheme == "Basic":
        login_and_password = base64.b64decode(credential).decode()
        secrets += [login_and_password, login_and_password.partition(":")[2]]
    return tuple(shape for secret in secrets for shape in _shapes(secret))


@lru_cache(maxsize=256)
def _shapes(secret: str) -> list[bytes]:
    """Return how a secret may stand in a page, in JSON and in an address."""
    if len(secret) < SHORTEST:
        return []
    in_json = (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    shapes = {secret, quote(secret, safe=""), quote_plus(secret), *in_json}
    return sorted((shape.encode() for shape in shapes), key=len, reverse=True)
