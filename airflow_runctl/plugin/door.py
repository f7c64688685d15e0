"""The door to the API: an ASGI application that loads the true one with the first request.

So no process but one that serves requests ever loads it, whatever loads plugins; and whatever is wrong with it, or with
what it needs, can be seen in its answers and in the log, and keeps no API server from starting.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from typing import Any, Final

from airflow_runctl.plugin.scripts import give, script_in

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HOST: Final = "runctl.host"
"""Where the application that this one is mounted in is handed on: Airflow itself."""

OUT_OF_ORDER: Final = (
    "The API of airflow-runctl could not be loaded; the log of the API server says why. What can be done meanwhile: "
    "the command runctl."
)

log = logging.getLogger(__name__)


class Door:
    """Loads the API once, and hands requests on to it.

    :param module: the module that has it, as ``app``.
    """

    def __init__(self, module: str = "airflow_runctl.plugin.app") -> None:
        self._module = module
        self._app: App | None = None
        self._is_broken = False
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if (script := script_in(scope)) is not None:
            await give(script, scope, send)
            return
        app = self._app or await asyncio.to_thread(self._load)
        if app is None:
            await _say_out_of_order(scope, send)
            return
        scope[HOST] = scope.get("app")
        await app(scope, receive, send)

    def _load(self) -> App | None:
        with self._lock:
            if self._app is None and not self._is_broken:
                try:
                    self._app = import_module(self._module).app
                except Exception:
                    log.exception("The API of airflow-runctl cannot be loaded; it answers 503 until a restart")
                    self._is_broken = True
            return self._app


async def _say_out_of_order(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
        return
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": OUT_OF_ORDER}).encode()})
