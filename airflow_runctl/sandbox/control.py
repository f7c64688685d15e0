"""The control API under ``/_sandbox``: look at every run, force it, make trouble. JSON, no credentials."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from airflow_runctl.sandbox.changes import changed
from airflow_runctl.sandbox.faults import Faults
from airflow_runctl.sandbox.runs import Run
from airflow_runctl.sandbox.vendor import Vendor
from airflow_runctl.sandbox.wire import Answer, Call, Refused, Route, as_json, find

PATH: Final = "_sandbox"
REQUESTS_KEPT: Final = 100_000
RUN_FILTERS: Final = frozenset({"vendor", "name", "run_id", "state", "open"})
REQUEST_FILTERS: Final = frozenset({"vendor", "operation", "method"})

AnyVendor = Vendor[Any, Any, Any]


@dataclass(slots=True)
class Seen:
    """One request as a vendor received it; ``status`` is None while unanswered, for ever if it was cut."""

    vendor: str
    operation: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: str
    at: str
    status: int | None = None


class Control:
    """What tests and people may do to the sandbox."""

    def __init__(self, vendors: Mapping[str, AnyVendor], faults: Faults, connections: Callable[[], dict[str, str]]):
        self.vendors = vendors
        self.faults = faults
        self.requests: deque[Seen] = deque(maxlen=REQUESTS_KEPT)
        self._connections = connections
        self.routes = (
            Route("GET", "connections", "", self.show_connections),
            Route("GET", "runs", "", self.show_runs),
            Route("POST", "runs/{run_id}", "", self.force),
            Route("PUT", "behaviours/{vendor}/{name}", "", self.behave),
            Route("PUT", "settings/{vendor}", "", self.change_settings),
            Route("GET", "faults", "", self.show_faults),
            Route("POST", "faults", "", self.add_fault),
            Route("DELETE", "faults", "", self.clear_faults),
            Route("DELETE", "faults/{id}", "", self.remove_fault),
            Route("GET", "requests", "", self.show_requests),
            Route("DELETE", "requests", "", self.clear_requests),
            Route("POST", "reset", "", self.reset),
        )

    async def answer(self, call: Call) -> Answer:
        try:
            route = find(self.routes, call)
            if route is None:
                raise Refused(404, f"there is no {call.method} /{PATH}/{'/'.join(call.segments)}")
            return await route.handler(call)
        except Refused as refused:
            return as_json({"error": refused.message}, refused.status)

    def _vendor(self, name: str) -> AnyVendor:
        if name not in self.vendors:
            raise Refused(404, f"no vendor {name!r}; there are {', '.join(self.vendors)}")
        return self.vendors[name]

    async def show_connections(self, call: Call) -> Answer:
        return as_json(self._connections())

    # Runs

    async def show_runs(self, call: Call) -> Answer:
        """``?vendor=``, ``?name=`` and ``?open=1`` (or 0) narrow the answer; ``open`` counts within it."""
        _check_filters(call, RUN_FILTERS)
        runs = [run for vendor in self.vendors.values() for run in vendor.runs.values()]
        for name, want in call.query.items():
            runs = [run for run in runs if _is(run, name, want)]
        runs.sort(key=lambda run: run.created_at)
        return as_json({"open": sum(run.open for run in runs), "runs": [shown(run) for run in runs]})

    async def force(self, call: Call) -> Answer:
        body = call.json_object()
        if not isinstance(body.get("state"), str):
            raise Refused(400, "state is missing")
        for vendor in self.vendors.values():
            run = vendor.runs.get(call.args["run_id"])
            if run:
                vendor.force(run, body["state"], body.get("message"))
                return as_json(shown(run))
        raise Refused(404, f"no run {call.args['run_id']}")

    # Behaviours and settings

    async def behave(self, call: Call) -> Answer:
        return as_json(asdict(self._vendor(call.args["vendor"]).behave(call.args["name"], call.json())))

    async def change_settings(self, call: Call) -> Answer:
        vendor = self._vendor(call.args["vendor"])
        vendor.settings = changed(vendor.settings, call.json())
        return as_json(asdict(vendor.settings))

    # Faults

    async def show_faults(self, call: Call) -> Answer:
        return as_json({"faults": self.faults.shown()})

    async def add_fault(self, call: Call) -> Answer:
        return as_json({"id": self.faults.add(call.json())}, 201)

    async def clear_faults(self, call: Call) -> Answer:
        self.faults.clear()
        return as_json({})

    async def remove_fault(self, call: Call) -> Answer:
        number = call.args["id"]
        if not number.isdigit() or not self.faults.remove(int(number)):
            raise Refused(404, f"no fault {number}")
        return as_json({})

    # Requests

    async def show_requests(self, call: Call) -> Answer:
        """``?vendor=``, ``?operation=`` and ``?method=`` narrow the answer."""
        _check_filters(call, REQUEST_FILTERS)
        filters = call.query.items()
        wanted = [seen for seen in self.requests if all(getattr(seen, name) == want for name, want in filters)]
        return as_json({"requests": [asdict(seen) for seen in wanted]})

    async def clear_requests(self, call: Call) -> Answer:
        self.requests.clear()
        return as_json({})

    async def reset(self, call: Call) -> Answer:
        for vendor in self.vendors.values():
            vendor.reset()
        self.faults.clear()
        self.requests.clear()
        return as_json({})


def _check_filters(call: Call, known: frozenset[str]) -> None:
    unknown = call.query.keys() - known
    if unknown:
        raise Refused(400, f"no filter {', '.join(unknown)}; there are {', '.join(sorted(known))}")


def _is(run: Run, name: str, want: str) -> bool:
    if name == "open":
        return run.open == (want in ("1", "true"))
    return bool(getattr(run, name) == want)


def shown(run: Run) -> dict[str, Any]:
    """Return a run as the control API shows it."""
    return {
        "vendor": run.vendor,
        "run_id": run.run_id,
        "name": run.name,
        "state": run.state,
        "open": run.open,
        "message": run.message,
        "created_at": run.created_at.isoformat(),
        "ended_at": _iso(run.ended_at),
        "stop_requests": run.stop_requests,
        "resume_requests": run.resume_requests,
        "inputs": run.inputs,
        "details": run.details(),
        "history": [{"at": event.at.isoformat(), "event": event.event} for event in run.history],
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
