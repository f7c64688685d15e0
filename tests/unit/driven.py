"""A vendor as the package sees it: its flows, driven over real HTTP by one of the two clients."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_runctl.control.stop import StopNote, stop
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, RunStatus, StopReason, StopResult
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Flow, Search, Started, StartPlan
from tests.unit.clients import Client

ONCE: Final = Patience(total=0.05)
"""One try for each request."""

NOTE: Final = StopNote(StopReason.BY_HAND, "test")


@dataclass
class Driven:
    """One connection to the sandbox.

    :param box: the sandbox.
    :param access: what the connection gives access to.
    :param client: the HTTP client.
    """

    box: Sandbox
    access: Access
    client: Client

    def drive(self, flow: Flow[Any], patience: Patience | None = None) -> Any:
        return self.client.drive(self.access, flow, patience)

    def prepare(self, plan: StartPlan) -> Search:
        search: Search = self.drive(plan.prepare(), ONCE)
        return search

    def carry_out(self, plan: StartPlan) -> ExternalRun:
        """Start a run as the operators do: prepare, then start."""
        return self.run_of(self.drive(plan.start(self.prepare(plan)), ONCE))

    def run_of(self, started: Started) -> ExternalRun:
        return self.run(started.ids, started.run_id)

    def run(self, ids: dict[str, str] | Any, run_id: str = "named by a user") -> ExternalRun:
        began = datetime.now(UTC) - timedelta(minutes=1)
        return ExternalRun(self.access.vendor.name, self.access.conn_id, run_id, None, began, ids)

    def status(self, run: ExternalRun) -> RunStatus:
        status: RunStatus = self.drive(self.access.vendor.status(run), ONCE)
        return status

    def stop(self, run: ExternalRun, timeout: float = 5.0, look_first: bool = True) -> StopResult:
        flow = stop(self.access.vendor, run, NOTE, timeout=timeout, look_first=look_first)
        result: StopResult = self.drive(flow, ONCE)
        return result

    def requests(self, operation: str) -> list[dict[str, Any]]:
        return self.box.requests(vendor=self.access.vendor.name, operation=operation)

    def sent(self, operation: str) -> list[Any]:
        """Return the bodies of what was sent, as JSON."""
        return [json.loads(seen["body"]) if seen["body"] else None for seen in self.requests(operation)]
