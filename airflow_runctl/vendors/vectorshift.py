"""VectorShift: what its API v1 says about runs of pipelines.

Source: https://docs.vectorshift.ai/api-reference (terminate, pause, resume, run, list) and, for the
background switch and the look at a run, which the REST reference leaves out, the vendor's own SDK:
https://docs.vectorshift.ai/sdk/pipeline/reference. ``task_id`` (start, look) and ``run_id`` (terminate,
pause) are two names for one value; every call needs the pipeline's id as well. In most answers ``status``
(``success`` or ``failed``) says how the call went; in the look at a run it is the state of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from airflow_runctl.exceptions import (
    BadAnswer,
    RunctlError,
    TransportError,
    VendorError,
)
from airflow_runctl.runs import ExternalRun, RunState, RunStatus
from airflow_runctl.vendors.base import (
    Effect,
    Flow,
    HttpRequest,
    HttpResponse,
    Operation,
    Pause,
    Search,
    Started,
    StartPlan,
    StopReply,
    Vendor,
    path,
    vendor_error,
)
from airflow_runctl.vendors.vectorshift_analytics import PAGE, ListedRun, listed_run, search_body
from airflow_runctl.vendors.vectorshift_answers import FAILED_CALL, STATES, id_in, said_in, text_in
from airflow_runctl.vendors.vectorshift_start import PipelineRun, Starts

RESULT_PAUSES: Final = (1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 5.0, 5.0)
"""Seconds between looks for a result that lags behind ``completed``: 30 in all, as in the SDK."""

HINTS: Final[Mapping[int, str]] = {
    401: "Check the API key in the password of the connection.",
    403: "The API key is good, but not allowed to do this.",
    404: "No such pipeline or run, or it is hidden from this API key.",
    422: "The names and types of the inputs must be those of the pipeline's input nodes.",
    429: "Too many calls for this organisation.",
}


@dataclass(frozen=True, slots=True)
class VectorShift(Vendor):
    """VectorShift's API v1 for the organisation of one key.

    :param headers: the ``Authorization`` header.
    """

    name: ClassVar[str] = "vectorshift"
    label: ClassVar[str] = "VectorShift"
    states: ClassVar[Mapping[str, RunState]] = STATES
    failed_may_mean_stopped: ClassVar[bool] = True
    operations: ClassVar[frozenset[Operation]] = frozenset(Operation)

    headers: Mapping[str, str] = field(repr=False)

    def state_of(self, word: str) -> RunState:
        """Map a word of the look at a run, in any case."""
        return Vendor.state_of(self, word.lower())

    # -- start ---------------------------------------------------------------------------------------

    def run_pipeline(self, run: PipelineRun) -> StartPlan:
        """Plan a run in the background: the only way that gives an id before the run is over."""
        return Starts(self).plan(run)

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return the runs that carry the trace id of an unfinished start, each seen to be readable.

        :raises StartUncertain: if the analytics cannot be asked, or show a run that cannot be reached.
        """
        return (yield from Starts(self).find(search))

    # -- look ----------------------------------------------------------------------------------------

    def status(self, run: ExternalRun) -> Flow[RunStatus]:
        """Look at ``run``. See :meth:`get_run`."""
        return (yield from self.get_run(run.ids["pipeline_id"], run.ids["run_id"]))

    def get_run(self, pipeline_id: str, run_id: str) -> Flow[RunStatus]:
        """Look at a run; one that is completed is looked at for up to 30 s until it shows its result.

        A pipeline without outputs looks the same as one whose outputs are late, so the wait ends without a
        result and without an error, as in the SDK.

        Source: https://docs.vectorshift.ai/sdk/pipeline/reference
        """
        status, is_late = yield from self.look(pipeline_id, run_id)
        for seconds in RESULT_PAUSES if is_late else ():
            try:
                yield Pause(seconds)
                status, is_late = yield from self.look(pipeline_id, run_id)
            except (TransportError, VendorError, BadAnswer):
                break  # that it is completed is known; only its result is not
            if not is_late:
                break
        return status

    def look(self, pipeline_id: str, run_id: str) -> Flow[tuple[RunStatus, bool]]:
        """Look once; say whether the run is completed and shows no result (yet)."""
        response = yield self._request("GET", "pipeline", pipeline_id, "run", "status", run_id)
        answer = self._object(response)
        word = answer.get("status")
        if not isinstance(word, str):
            raise BadAnswer(f"VectorShift's answer about run {run_id} has no status.")
        state = self.state_of(word)
        if state is RunState.FAILED and id_in(answer) is None:
            # Every look at a run names it; this is the "failed" of a call that was not carried out.
            raise self._not_done(response, f"the look at run {run_id}")
        status = RunStatus(state, word, text_in(answer), answer.get("result"))
        return status, state is RunState.SUCCEEDED and "result" not in answer

    def list_runs(self, pipeline_id: str, status: str | None = None) -> Flow[list[ListedRun]]:
        """List the runs of a pipeline, as far as the analytics know them.

        Best effort: no document says how far the analytics lag behind, or how they show a run that was
        terminated or paused. Look at a run before acting on it.

        Source: https://docs.vectorshift.ai/sdk/analytics/reference

        :param pipeline_id: id of the pipeline.
        :param status: ``in_progress``, ``success`` or ``failure``; all by default.
        """
        runs = yield from self.events(pipeline_id, status)
        return [run for run in runs if status is None or run.status.vendor_state == status]

    def events(self, pipeline_id: str, status: str | None = None, **columns: str) -> Flow[list[ListedRun]]:
        """List the runs of a pipeline that the analytics know, with these values in these columns."""
        found: dict[str, ListedRun] = {}
        offset = 0
        while True:
            body = search_body(pipeline_id, status, columns, offset)
            request = self._request("POST", "analytics", "events", "search", json=body)
            events = self._object((yield request)).get("events")
            if not isinstance(events, list):
                raise BadAnswer("VectorShift's list of events has no events.")
            fresh = {run.run_id: run for event in events if (run := listed_run(event, pipeline_id)) is not None}
            more = len(events) >= PAGE and bool(fresh.keys() - found.keys())
            found.update(fresh)
            offset += len(events)
            if not more:
                return list(found.values())

    def list_pipelines(self) -> Flow[list[Mapping[str, Any]]]:
        """List the pipelines that the key can see, each as VectorShift describes it.

        Source: https://docs.vectorshift.ai/api-reference/pipelines/list
        """
        request = self._request("GET", "pipelines", query={"verbose": "true"})
        answer = self._done((yield request), "the list of pipelines")
        objects = answer.get("objects")
        if isinstance(objects, list):
            return [entry for entry in objects if isinstance(entry, Mapping)]
        return [{"id": pipeline_id} for pipeline_id in answer.get("object_ids") or []]

    # -- act -----------------------------------------------------------------------------------------

    def ask_stop(self, run: ExternalRun) -> Flow[StopReply]:
        """Terminate ``run``. A 200 with ``status`` failed is an error: what it means only a look tells.

        What is answered for a run that is over is not documented.

        Source: https://docs.vectorshift.ai/api-reference/pipelines/terminate
        """
        run_id = run.ids["run_id"]
        request = self._request(
            "POST", "pipeline", run.ids["pipeline_id"], "terminate", effect=Effect.STOP, json={"run_id": run_id}
        )
        self._done((yield request), f"the terminate of run {run_id}")
        return StopReply()

    def ask_pause(self, run: ExternalRun) -> Flow[None]:
        """Pause ``run``; one that is over is left alone.

        When a pause takes effect, and which word the look at the run then has, is not documented.

        Source: https://docs.vectorshift.ai/api-reference/pipelines/pause
        """
        pipeline_id, run_id = run.ids["pipeline_id"], run.ids["run_id"]
        before, _ = yield from self.look(pipeline_id, run_id)
        if before.state.is_terminal:
            return
        # As harmless a second time as a stop: it asks for the same.
        request = self._request("POST", "pipeline", pipeline_id, "pause", effect=Effect.STOP, json={"run_id": run_id})
        self._done((yield request), f"the pause of run {run_id}")

    def ask_resume(self, run: ExternalRun) -> Flow[None]:
        """Resume ``run``. The call takes a list of ids; one is sent, as one answer stands for all of them.

        Source: https://docs.vectorshift.ai/api-reference/pipelines/resume

        :raises RunctlError: if the run is over.
        """
        pipeline_id, run_id = run.ids["pipeline_id"], run.ids["run_id"]
        before, _ = yield from self.look(pipeline_id, run_id)
        if before.state.is_terminal:
            raise RunctlError(f"VectorShift run {run_id} is {before.vendor_state}; a run that is over is not resumed.")
        request = self._request(
            "POST", "pipeline", pipeline_id, "resume", effect=Effect.START, json={"run_ids": [run_id]}
        )
        self._done((yield request), f"the resume of run {run_id}")

    def may_be_suspended(self, status: RunStatus) -> bool:
        """Return True for a live run under a word that no page has: so a paused one may look."""
        return status.state in (RunState.SUSPENDED, RunState.UNKNOWN)

    def test(self) -> Flow[str]:
        """List the pipelines' ids, the smallest harmless call."""
        answer = self._done((yield self._request("GET", "pipelines")), "the list of pipelines")
        ids = answer.get("object_ids")
        return f"Reached VectorShift with this API key; it sees {len(ids) if isinstance(ids, list) else '?'} pipelines."

    # -- envelope ------------------------------------------------------------------------------------

    def _request(
        self,
        method: str,
        *segments: str,
        effect: Effect = Effect.READ,
        query: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> HttpRequest:
        return HttpRequest(method, path(*segments), effect, query=query or {}, headers=self.headers, json=json)

    def _object(self, response: HttpResponse) -> Mapping[str, Any]:
        if not response.ok:
            raise self.error_of(response)
        body = response.json()
        if not isinstance(body, Mapping):
            raise BadAnswer(f"VectorShift's answer is no JSON object: {response.excerpt()!r}")
        return body

    def _done(self, response: HttpResponse, what: str) -> Mapping[str, Any]:
        """Return the body of a call that was carried out."""
        body = self._object(response)
        if str(body.get("status")).lower() == FAILED_CALL:
            raise self._not_done(response, what)
        return body

    def _not_done(self, response: HttpResponse, what: str) -> VendorError:
        return VendorError(
            f"VectorShift did not carry out {what}: HTTP {response.status}, but status failed "
            f"({said_in(response)}). The run may be in no state for it, or the id another pipeline's: look at it.",
            status=response.status,
        )

    def error_of(self, response: HttpResponse) -> VendorError:
        """Return the error for an answer that is none, with what it says and how to mend it."""
        hint = HINTS.get(response.status, "")
        message = f"VectorShift answered HTTP {response.status}: {said_in(response)}. {hint}"
        return vendor_error(response.status, message.strip())
