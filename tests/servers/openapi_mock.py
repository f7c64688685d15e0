"""A server that knows nothing but one OpenAPI document: it judges every request and makes up every answer."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest
from openapi_core.testing.responses import MockResponse

from tests.places import OPENAPI


@dataclass
class Judged:
    """A request, and why it does not fit the document; an empty text if it does."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    wrong: str


@dataclass
class OpenApiMock:
    """Serves one document under ``prefix``.

    :param document: file name below ``openapi``.
    :param prefix: path before everything else, as behind an API gateway.
    :param says: fields of the answers, instead of what the schema makes of them.
    :param more: fields that no schema names, in every answer.
    :param checked: judge the answers too; off where ``says`` breaks the schema on purpose.
    """

    document: str
    prefix: str = ""
    says: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    checked: bool = True
    seen: list[Judged] = field(default_factory=list)

    def __enter__(self) -> OpenApiMock:
        mock = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mock._answer(self)

            do_POST = do_GET

            def log_message(self, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{self.prefix}"
        self.spec = yaml.safe_load((OPENAPI / self.document).read_text())
        self.spec["servers"] = [{"url": self.url}]
        self._openapi = OpenAPI.from_dict(self.spec)
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def known(self) -> list[Judged]:
        """Return the requests to operations of the document; others are met by a 404."""
        return [judged for judged in self.seen if "PathNotFound" not in judged.wrong]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        address = urlsplit(handler.path)
        request = MockRequest(
            host_url=self.url.removesuffix(self.prefix),
            method=handler.command,
            # Kept encoded where it separates: openapi-core matches the path segment by segment.
            path=address.path,
            args=dict(parse_qsl(address.query)),
            headers=dict(handler.headers),
            data=body,
            content_type=handler.headers.get("Content-Type", ""),
        )
        wrong = self._wrong(request)
        headers = dict(handler.headers)
        self.seen.append(Judged(handler.command, unquote(address.path), headers, body, wrong))
        status, answer = (200, self._made_up()) if not wrong else (404 if "PathNotFound" in wrong else 400, {})
        if status == 200 and self.checked:
            self._openapi.validate_response(
                request, MockResponse(json.dumps(answer).encode(), content_type="application/json")
            )
        content = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _wrong(self, request: MockRequest) -> str:
        try:
            self._openapi.validate_request(request)
        except Exception as error:
            return f"{type(error).__name__}: {error} {error.__cause__ or ''}"
        return ""

    def _made_up(self) -> dict[str, Any]:
        [operations] = self.spec["paths"].values()
        schema = operations["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        return {**self._example(schema), **self.more, **self.says}

    def _example(self, schema: Mapping[str, Any]) -> Any:
        """Return something that fits ``schema``."""
        if "$ref" in schema:
            return self._example(self.spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        if "enum" in schema:
            return schema["enum"][0]
        kind = schema.get("type")
        if kind == "object":
            return {name: self._example(inner) for name, inner in schema.get("properties", {}).items()}
        if isinstance(kind, list) and "null" in kind:
            return None
        if kind == "boolean":
            return True
        return str(uuid.uuid4()) if schema.get("format") == "uuid" else "made up"
