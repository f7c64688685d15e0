"""A request as the stand-ins read it, an answer as they give it, and the routes between the two."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from multidict import CIMultiDictProxy, MultiMapping

ANY_METHOD: Final = "*"


class Refused(Exception):
    """A request that a vendor turns down; each vendor gives it its own shape.

    :param code: the vendor's word for the error, where it has one.
    :param retry_after: seconds after which a try may be worth it, for vendors that say so.
    """

    def __init__(self, status: int, message: str, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client; ``cut`` means that the connection ends without an answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    cut: bool = False


CUT: Final = Answer(cut=True)


def as_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, json.dumps(value).encode(), headers or {})


@dataclass(slots=True)
class Call:
    """One request, read in full.

    ``effective`` is set by a handler that has done what was asked but keeps the caller waiting, such as a
    trigger call that stays open until the run is over: a fault "after the effect" strikes there.
    """

    method: str
    segments: tuple[str, ...]
    query: MultiMapping[str]
    headers: CIMultiDictProxy[str]
    body: bytes
    args: Mapping[str, str] = field(default_factory=dict)
    rest: tuple[str, ...] = ()
    effective: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """Return the parsed body; a body that is no JSON is refused with 400."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Refused(400, "the body is not valid JSON") from None

    def json_object(self) -> dict[str, Any]:
        value = self.json()
        if not isinstance(value, dict):
            raise Refused(400, "the body is not a JSON object")
        return value


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of a vendor's table of endpoints.

    :param method: HTTP method, or ``*``.
    :param pattern: path with ``{name}`` for one segment and a last ``{*}`` for one or more.
    :param operation: what it does, in the words that faults and the request log use.
    """

    method: str
    pattern: str
    operation: str
    handler: Handler

    def match(self, segments: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]] | None:
        """Return the named segments and the rest, or None; matching comes before percent-decoding."""
        wanted = self.pattern.split("/")
        rest: tuple[str, ...] = ()
        if wanted[-1] == "{*}":
            wanted.pop()
            segments, rest = segments[: len(wanted)], segments[len(wanted) :]
            if not rest:
                return None
        if len(wanted) != len(segments):
            return None
        args: dict[str, str] = {}
        for want, have in zip(wanted, segments, strict=True):
            if want.startswith("{"):
                args[want[1:-1]] = unquote(have)
            elif want != have:
                return None
        return args, tuple(map(unquote, rest))


def find(routes: tuple[Route, ...], call: Call) -> Route | None:
    """Return the route for path and method of ``call`` and fill in its ``args`` and ``rest``; or None."""
    for route in routes:
        if route.method not in (call.method, ANY_METHOD):
            continue
        matched = route.match(call.segments)
        if matched:
            call.args, call.rest = matched
            return route
    return None


def integer(call: Call, name: str, default: int, lowest: int, highest: int) -> int:
    """Return the query parameter ``name`` as a number within bounds; anything else is refused with 400."""
    text = call.query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
        raise Refused(400, f"{name} must be a number from {lowest} to {highest}")
    return int(text)
