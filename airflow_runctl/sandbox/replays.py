"""Idempotency keys: the same key with the same request is answered with the first success again."""

from __future__ import annotations

import asyncio
from typing import Final

from airflow_runctl.sandbox.wire import Answer, Call, Handler, Refused

HEADER: Final = "Idempotency-Key"
MAX_LENGTH: Final = 200

Request = tuple[str, tuple[str, ...], bytes]


class Replays:
    """The keys seen so far.

    https://platform.bctrl.ai/api/api-reference/runtimes/start: 1 to 200 characters; the same key with another
    request is a 409. [unknown] How long a key is kept: for ever here. A failure is forgotten.
    """

    def __init__(self) -> None:
        self._first: dict[str, tuple[Request, asyncio.Task[Answer]]] = {}

    def clear(self) -> None:
        self._first.clear()

    def once(self, handler: Handler) -> Handler:
        """Return ``handler`` with the rule of the key around it; a call without a key is not touched."""

        async def answer(call: Call) -> Answer:
            key = call.headers.get(HEADER)
            if key is None:
                return await handler(call)
            if not 1 <= len(key) <= MAX_LENGTH:
                raise Refused(400, f"{HEADER} must have 1 to {MAX_LENGTH} characters")
            return await self._keyed(key, handler, call)

        return answer

    async def _keyed(self, key: str, handler: Handler, call: Call) -> Answer:
        request = (call.method, call.segments, call.body)
        if key not in self._first:
            self._first[key] = (request, asyncio.ensure_future(_run(handler, call)))
        first, answering = self._first[key]
        if first != request:
            raise Refused(409, "this key was used for another request", "idempotency.mismatch")
        try:
            # A second request may come while the first is still at work; the end of one must not end the
            # other.
            return await asyncio.shield(answering)
        except Refused:
            self._first.pop(key, None)
            raise


async def _run(handler: Handler, call: Call) -> Answer:
    return await handler(call)
