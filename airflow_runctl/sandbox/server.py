"""One HTTP server for all four vendors and the control API.

Every request takes the same way: read it in full, note it in the log, let a fault strike before or after the
vendor's own answer, answer. Paths are split before they are percent-decoded, as a name may hold an encoded
slash.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from airflow_runctl.sandbox import faults as trouble
from airflow_runctl.sandbox.axiom.vendor import Axiom
from airflow_runctl.sandbox.bctrl.vendor import Bctrl
from airflow_runctl.sandbox.connections import connections
from airflow_runctl.sandbox.control import PATH, AnyVendor, Control, Seen
from airflow_runctl.sandbox.faults import Fault, Faults
from airflow_runctl.sandbox.runs import now
from airflow_runctl.sandbox.snaplogic.vendor import SnapLogic
from airflow_runctl.sandbox.vectorshift.vendor import VectorShift
from airflow_runctl.sandbox.wire import Answer, Call, Refused, Route, as_json

VENDORS: Final[tuple[type[AnyVendor], ...]] = (SnapLogic, Axiom, VectorShift, Bctrl)
MAX_BODY: Final = 64 * 1024 * 1024


class Server:
    """The sandbox as an aiohttp application.

    :param seed: marker that every secret of this sandbox contains.
    :param prefix: path before everything else, as behind an API gateway; with a leading slash, or empty.
    """

    def __init__(self, seed: str, prefix: str = "") -> None:
        self.seed = seed
        self.prefix = prefix
        self.vendors: dict[str, AnyVendor] = {v.name: v for v in (vendor(seed) for vendor in VENDORS)}
        self.faults = Faults()
        self.control = Control(self.vendors, self.faults, lambda: connections(self.url, seed))
        self._origin = ""
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return self._origin + self.prefix

    async def start(self, host: str, port: int) -> None:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # Open trigger calls and requests that hang must not delay the end.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=2048).start()
        bound_host, bound_port = self._runner.addresses[0][:2]
        self._origin = f"http://{bound_host}:{bound_port}"

    async def stop(self) -> None:
        for vendor in self.vendors.values():
            vendor.reset()
        self.faults.clear()
        if self._runner:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw_path = request.rel_url.raw_path
        if self.prefix and not raw_path.startswith(self.prefix + "/"):
            return web.json_response({"error": f"this sandbox is under {self.prefix}"}, status=404)
        segments = tuple(raw_path[len(self.prefix) :].split("/")[1:])
        call = Call(request.method, segments, request.query, request.headers, await request.read())
        if segments[0] == PATH:
            call.segments = segments[1:]
            return _response(await self.control.answer(call))
        for vendor in self.vendors.values():
            if segments[: len(vendor.mount)] == vendor.mount:
                call.segments = segments[len(vendor.mount) :]
                return await self._handle_vendor(request, call, vendor)
        return web.json_response({"error": "no vendor under this path"}, status=404)

    async def _handle_vendor(self, request: web.Request, call: Call, vendor: AnyVendor) -> web.StreamResponse:
        route = vendor.find(call)
        operation = route.operation if route else "unknown"
        seen = Seen(
            vendor=vendor.name,
            operation=operation,
            method=request.method,
            path=request.rel_url.raw_path,
            query=request.rel_url.raw_query_string,
            headers=dict(request.headers),
            body=call.body.decode(errors="replace"),
            at=now().isoformat(),
        )
        self.control.requests.append(seen)
        fault = self.faults.take(vendor.name, operation)
        if fault is None:
            response = await self._send(request, await vendor.answer(route, call))
        else:
            response = await self._strike(fault, request, call, vendor, route)
        if request.transport and not request.transport.is_closing():
            seen.status = response.status
        return response

    async def _send(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        return await trouble.cut(request) if answer.cut else _response(answer)

    async def _strike(
        self, fault: Fault, request: web.Request, call: Call, vendor: AnyVendor, route: Route | None
    ) -> web.StreamResponse:
        """Let ``fault`` strike; with ``after_effect`` the vendor first does what was asked."""
        true_answer = await self._effect(vendor, route, call, fault) if fault.after_effect else None
        if fault.kind == "hang":
            await self.faults.hang(fault.seconds)
            return await trouble.cut(request)
        if fault.seconds:
            await asyncio.sleep(fault.seconds)
        if fault.kind == "latency":
            return await self._send(request, true_answer or await vendor.answer(route, call))
        if fault.kind == "cut":
            return await trouble.cut(request)
        if fault.kind == "huge":
            return await trouble.huge(request, fault.bytes)
        if fault.kind == "truncated":
            return await trouble.truncated(request, true_answer or as_json({"response_map": {}}))
        elsewhere = f"{self._origin.replace('127.0.0.1', 'localhost')}{request.rel_url.raw_path}"
        refusal = vendor.refusal(call, Refused(fault.status or 503, "out of order"))
        return _response(trouble.spoiled(fault, refusal, elsewhere))

    @staticmethod
    async def _effect(vendor: AnyVendor, route: Route | None, call: Call, fault: Fault) -> Answer | None:
        """Carry the operation out and return its answer.

        Where the call would stay open (a trigger, a blocking run) the effect is there long before the answer:
        then None is returned as soon as it is, except for latency, which needs the answer.
        """
        answering = asyncio.ensure_future(vendor.answer(route, call))
        if fault.kind == "latency":
            return await answering
        effective = asyncio.ensure_future(call.effective.wait())
        await asyncio.wait((answering, effective), return_when=asyncio.FIRST_COMPLETED)
        effective.cancel()
        if answering.done():
            return answering.result()
        answering.cancel()
        return None


def _response(answer: Answer) -> web.Response:
    return web.Response(
        status=answer.status, body=answer.body, headers=answer.headers, content_type=answer.content_type
    )
