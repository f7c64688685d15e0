"""Acme: what its API says about jobs. No network, no clock, no Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from uuid import uuid4

from airflow_runctl.exceptions import BadAnswer, StartRefused, StartUncertain, TransportError
from airflow_runctl.runs import ExternalRun, RunState, RunStatus
from airflow_runctl.vendors.base import (
    Effect,
    Flow,
    HttpRequest,
    HttpResponse,
    Operation,
    Search,
    Started,
    StartPlan,
    StopReply,
    Vendor,
    path,
    vendor_error,
)

STATES: Final[Mapping[str, RunState]] = {
    "WAITING": RunState.QUEUED,
    "WORKING": RunState.RUNNING,
    "CANCELLING": RunState.STOPPING,
    "DONE": RunState.SUCCEEDED,
    "BROKEN": RunState.FAILED,
    "CANCELLED": RunState.STOPPED,
}

START_REFUSED: Final = frozenset({400, 401, 403, 404, 422, 429})
"""Answers to a start that surely mean that no job was made."""


@dataclass(frozen=True, slots=True)
class Acme(Vendor):
    """Acme's API for one account.

    :param headers: the ``Authorization`` header.
    """

    name: ClassVar[str] = "acme"
    label: ClassVar[str] = "Acme"
    states: ClassVar[Mapping[str, RunState]] = STATES
    failed_may_mean_stopped: ClassVar[bool] = False
    operations: ClassVar[frozenset[Operation]] = frozenset(
        {Operation.START, Operation.WATCH, Operation.STOP, Operation.TEST}
    )

    headers: Mapping[str, str] = field(repr=False)

    def start_job(self, flow: str) -> StartPlan:
        """Plan a job. Acme lists jobs by a reference of ours: by that a lost one is found again."""

        def prepare() -> Flow[Search]:
            yield from ()  # nothing to ask beforehand
            return {"flow": flow, "reference": uuid4().hex}

        def start(search: Search) -> Flow[Started]:
            body = {"flow": search["flow"], "reference": search["reference"]}
            try:
                response = yield HttpRequest("POST", "/jobs", Effect.START, headers=self.headers, json=body)
            except TransportError as error:
                if not error.sent:
                    raise  # surely no job: the next try may start one
                return (yield from self._lost(search, str(error)))
            if response.status in START_REFUSED:
                raise StartRefused(f"Acme refused to start {flow!r}. {response.excerpt()}", status=response.status)
            job = response.json_or_none() if response.ok else None
            if not isinstance(job, Mapping) or "id" not in job:
                return (yield from self._lost(search, f"the answer was HTTP {response.status}"))
            return _started(job)

        return StartPlan({"flow": flow}, prepare, start, what=flow)

    def _lost(self, search: Search, why: str) -> Flow[Started]:
        found = yield from self.find(search)
        if len(found) == 1:
            return found[0]
        raise StartUncertain(
            f"Acme was told to start {search['flow']!r}, but {why}, and lists {len(found)} jobs with reference "
            f"{search['reference']}. A job may be alive; it was not started again."
        )

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return the jobs that carry the reference of a start, living or over."""
        jobs = yield from self._call("GET", "/jobs", query={"reference": search["reference"]})
        return [_started(job) for job in jobs]

    def status(self, run: ExternalRun) -> Flow[RunStatus]:
        """Look at a job."""
        job = yield from self._call("GET", path("jobs", run.ids["job_id"]))
        word = job.get("status") if isinstance(job, Mapping) else None
        if not isinstance(word, str):
            raise BadAnswer(f"Acme's answer about job {run.run_id} has no status.")  # ridden out, like a 503
        return RunStatus(self.state_of(word), word, job.get("reason"), job.get("output"))

    def ask_stop(self, run: ExternalRun) -> Flow[StopReply]:
        """Ask Acme to cancel a job; the answer means "asked"."""
        yield from self._call("POST", path("jobs", run.ids["job_id"], "cancel"), Effect.STOP)
        return StopReply()

    def test(self) -> Flow[str]:
        """Ask Acme who we are."""
        me = yield from self._call("GET", "/me")
        return f"Reached Acme as {me['name']}."

    def run_url(self, base_url: str, started: Started) -> str | None:
        """Return the page of a job."""
        return base_url + path("jobs", started.run_id, "page")

    def _call(self, method: str, where: str, effect: Effect = Effect.READ, **more: Any) -> Flow[Any]:
        response: HttpResponse = yield HttpRequest(method, where, effect, headers=self.headers, **more)
        if not response.ok:
            raise vendor_error(response.status, f"Acme answered HTTP {response.status}: {response.excerpt()}", response)
        return response.json()


def _started(job: Mapping[str, Any]) -> Started:
    return Started(str(job["id"]), {"job_id": str(job["id"])}, str(job.get("status", "")))
