"""Bodies that may be JSON, multipart or urlencoded: VectorShift's pipeline calls take all three."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import BodyPartReader, MultipartReader, StreamReader
from aiohttp.base_protocol import BaseProtocol

from airflow_runctl.sandbox.wire import Call, Refused


async def fields(call: Call) -> dict[str, Any]:
    """Return the fields of the body.

    In forms ``inputs`` is a JSON string, a list may be a JSON string, and only the lower-case words ``true``
    and ``false`` are booleans: Python's ``True`` is ignored. A file becomes ``{"type": "file", "name",
    "size"}`` among the inputs, whether its part is called ``inputs.<name>`` (docs) or ``<name>`` (SDK).
    """
    if call.content_type == "multipart/form-data":
        return await _multipart(call)
    if call.content_type == "application/x-www-form-urlencoded":
        return {name: _value(text) for name, text in parse_qsl(call.body.decode(), keep_blank_values=True)}
    return call.json_object() if call.body else {}


async def _multipart(call: Call) -> dict[str, Any]:
    values: dict[str, Any] = {}
    files: dict[str, Any] = {}
    async for part in MultipartReader(call.headers, _stream(call.body)):
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise Refused(400, "a part of the form has no name")
        content = await part.read(decode=True)
        if part.filename is None:
            values[part.name] = _value(bytes(content).decode())
        else:
            name = part.name.removeprefix("inputs.")
            files[name] = {"type": "file", "name": part.filename, "size": len(content)}
    if files:
        given = values.get("inputs", {})
        values["inputs"] = {**(given if isinstance(given, dict) else {}), **files}
    return values


def _stream(body: bytes) -> StreamReader:
    loop = asyncio.get_running_loop()
    stream = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    stream.feed_data(body)
    stream.feed_eof()
    return stream


def _value(text: str) -> Any:
    """Return what a form's text stands for: JSON objects, lists and booleans, else the text."""
    if text in ("true", "false") or text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
