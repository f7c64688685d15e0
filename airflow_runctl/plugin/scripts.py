"""Gives out the scripts of the page, to whoever asks, as Airflow gives out its own: there is nothing in them but code.

So the page can be shown, and say what is wrong, where the API behind it cannot be loaded. No build makes them: what
lies in this folder is what a browser gets. It keeps a copy, and asks each time whether that is still the one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import cache
from pathlib import Path
from typing import Any, Final

Send = Callable[[Any], Awaitable[None]]

SCRIPTS: Final = frozenset({"page.js", "views.js", "acting.js", "asking.js", "parts.js", "pure.js", "texts.js"})

HEADERS: Final = {
    "content-type": "text/javascript; charset=utf-8",
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
}


def script_in(scope: MutableMapping[str, Any]) -> str | None:
    """Return the name of the script that a request is about, or ``None``."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return None
    name: str = scope["path"].removeprefix(scope.get("root_path") or "").strip("/")
    return name if name in SCRIPTS else None


async def give(name: str, scope: MutableMapping[str, Any], send: Send) -> None:
    """Answer a request for a script."""
    body, tag = _script(name)
    known = any(tag in value for header, value in _headers(scope) if header == b"if-none-match")
    headers = {**HEADERS, "etag": tag.decode(), **({} if known else {"content-length": str(len(body))})}
    raw = [(header.encode(), value.encode()) for header, value in headers.items()]
    await send({"type": "http.response.start", "status": 304 if known else 200, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if known or scope["method"] == "HEAD" else body})


def _headers(scope: MutableMapping[str, Any]) -> Iterable[tuple[bytes, bytes]]:
    headers: Iterable[tuple[bytes, bytes]] = scope.get("headers") or ()
    return headers


@cache
def _script(name: str) -> tuple[bytes, bytes]:
    """Return a script and the tag that tells it from another one."""
    body = (Path(__file__).parent / name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:20]}"'.encode()
