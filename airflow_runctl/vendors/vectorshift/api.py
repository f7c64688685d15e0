"""How VectorShift's API v1 is called and read: requests, what an answer says of its call, a run, the analytics.

What starts runs (``start.py``) and the vendor itself (``vendor.py``) stand on it. Source, for the look at a run, which
the REST reference leaves out: https://docs.vectorshift.ai/sdk/pipeline/reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from airflow_runctl.exceptions import BadAnswer, TransportError, VendorError
from airflow_runctl.runs import RunState, RunStatus
from airflow_runctl.vendors.base import Effect, Flow, HttpRequest, HttpResponse, Pause, Vendor, path, vendor_error
from airflow_runctl.vendors.vectorshift.analytics import MOST_PAGES, PAGE, ListedRun, listed_run, search_body
from airflow_runctl.vendors.vectorshift.answers import FAILED_CALL, STATES, id_in, said_in, text_in

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
class VectorShiftApi(Vendor):
    """VectorShift's API v1 for the organisation of one key, as far as it is only read.

    :param headers: the ``Authorization`` header.
    """

    name: ClassVar[str] = "vectorshift"
    label: ClassVar[str] = "VectorShift"
    states: ClassVar[Mapping[str, RunState]] = STATES
    failed_may_mean_stopped: ClassVar[bool] = True
    # https://docs.vectorshift.ai/vectorshift/developers/api/usage: outside Enterprise, said of the older API only.
    rate_limit: ClassVar[int | None] = 250

    headers: Mapping[str, str] = field(repr=False)

    def state_of(self, word: str) -> RunState:
        """Map a word of the look at a run, in any case."""
        return Vendor.state_of(self, word.lower())

    # -- one run and the analytics ---------------------------------------------------------------------

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
        response = yield self.request("GET", "pipeline", pipeline_id, "run", "status", run_id)
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

    def events(self, pipeline_id: str, status: str | None = None, **columns: str) -> Flow[list[ListedRun]]:
        """List the runs of a pipeline that the analytics know, with these values in these columns."""
        found: dict[str, ListedRun] = {}
        offset = 0
        for _ in range(MOST_PAGES):
            body = search_body(pipeline_id, status, columns, offset)
            request = self.request("POST", "analytics", "events", "search", json=body)
            events = self._object((yield request)).get("events")
            if not isinstance(events, list):
                raise BadAnswer("VectorShift's list of events has no events.")
            fresh = {run.run_id: run for event in events if (run := listed_run(event, pipeline_id)) is not None}
            more = len(events) >= PAGE and bool(fresh.keys() - found.keys())
            found.update(fresh)
            offset += len(events)
            if not more:
                return list(found.values())
        raise BadAnswer(f"VectorShift's list of events goes on after {offset} of them; the rest was not read.")

    # -- envelope ------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        *segments: str,
        effect: Effect = Effect.READ,
        query: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> HttpRequest:
        """Return a request of the organisation's key."""
        return HttpRequest(method, path(*segments), effect, query=query or {}, headers=self.headers, json=json)

    def _object(self, response: HttpResponse) -> Mapping[str, Any]:
        if not response.ok:
            raise self.error_of(response)
        body = response.json()
        if not isinstance(body, Mapping):
            raise BadAnswer(f"VectorShift's answer is no JSON object: {response.excerpt()!r}")
        return body

    def done(self, response: HttpResponse, what: str) -> Mapping[str, Any]:
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
        return vendor_error(response.status, message.strip(), response)
