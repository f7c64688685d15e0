"""VectorShift: what its API v1 says about runs of pipelines.

Source: https://docs.vectorshift.ai/api-reference (terminate, pause, resume, run, list) and, for the
background switch and the look at a run, which the REST reference leaves out, the vendor's own SDK:
https://docs.vectorshift.ai/sdk/pipeline/reference. ``task_id`` (start, look) and ``run_id`` (terminate,
pause) are two names for one value; every call needs the pipeline's id as well. In most answers ``status``
(``success`` or ``failed``) says how the call went; in the look at a run it is the state of the run.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from uuid import uuid4

from airflow_runctl.exceptions import (
    BadAnswer,
    NotFound,
    RunctlError,
    StartRefused,
    StartUncertain,
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
    text_of,
    vendor_error,
)
from airflow_runctl.vendors.vectorshift_analytics import PAGE, ListedRun, listed_run, search_body

STATES: Final[Mapping[str, RunState]] = {
    # What the SDK and its reference page say.
    "in_progress": RunState.RUNNING,
    "completed": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    # What the guide to background runs says.
    "running": RunState.RUNNING,
    "succeeded": RunState.SUCCEEDED,
    "cancelled": RunState.STOPPED,
}
"""Two official pages contradict each other; both sets are read, in any case. No page has a word for a run
that is paused or queued: such a word is taken for live."""

FAILED_CALL: Final = "failed"
"""``status`` of an answer whose call was not carried out, the HTTP status 200 notwithstanding."""

START_REFUSED: Final = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
"""Answers to a start that surely mean that no run was made."""

RESULT_PAUSES: Final = (1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 5.0, 5.0)
"""Seconds between looks for a result that lags behind ``completed``: 30 in all, as in the SDK."""

LOST_CALL_LOOKS: Final = 7
LOOK_EVERY: Final = 5.0
"""How often, and how many seconds apart, the analytics are asked for the run of a start without an answer."""

HINTS: Final[Mapping[int, str]] = {
    401: "Check the API key in the password of the connection.",
    403: "The API key is good, but not allowed to do this.",
    404: "No such pipeline or run, or it is hidden from this API key.",
    422: "The names and types of the inputs must be those of the pipeline's input nodes.",
    429: "Too many calls for this organisation.",
}

ERROR_KEYS: Final = ("error", "message", "detail", "errors")
"""Where the text of an error stands, in the order in which the SDK looks."""


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """A pipeline, and what it is run with.

    :param pipeline_id: id of the pipeline.
    :param inputs: name of an input node to its value: text, number, boolean, ``None``, list, map or file object.
    :param version: version of the pipeline, such as ``1.2.0``; the server's choice if left out.
    """

    pipeline_id: str
    inputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    version: str | None = None


def file_input(name: str, content: bytes, mime_type: str) -> dict[str, Any]:
    """Return a file as an input's value.

    The file travels inside the JSON, as the run page documents it, a third longer than it is. A multipart form
    would be shorter, but documentation and SDK disagree on the names of its parts, and a form's ``background``
    that the server does not understand would make the call block, with a run that cannot be terminated.

    Source: https://docs.vectorshift.ai/api-reference/pipelines/run

    :param name: name of the file, without folders.
    :param content: what is in it.
    :param mime_type: its media type.
    """
    return {
        "type": "file",
        "raw_bytes": base64.b64encode(content).decode("ascii"),
        "metadata": {"name": name, "path": name, "mime_type": mime_type},
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
        """Plan a run in the background: the only way that gives an id before the run is over.

        There is no idempotency key. A ``trace_id`` that nobody else uses is recorded before the start and sent
        with it: by that the run can be looked for in the analytics.

        Source: https://docs.vectorshift.ai/api-reference/pipelines/run
        """
        where = path("pipeline", run.pipeline_id, "run")
        body: dict[str, Any] = {"inputs": dict(run.inputs), "background": True}
        if run.version is not None:
            body["version"] = run.version

        def prepare() -> Flow[Search]:
            yield from ()
            return {"pipeline_id": run.pipeline_id, "trace_id": f"airflow-runctl-{uuid4().hex}"}

        def start(search: Search) -> Flow[Started]:
            request = HttpRequest(
                "POST", where, Effect.START, headers=self.headers, json={**body, "trace_id": search["trace_id"]}
            )
            return (yield from self._start(request, search))

        arguments = {"pipeline_id": run.pipeline_id, "inputs": dict(run.inputs), "version": run.version}
        return StartPlan(arguments, prepare, start)

    def _start(self, request: HttpRequest, search: Search) -> Flow[Started]:
        try:
            response = yield request
        except (TransportError, BadAnswer) as error:
            if not getattr(error, "sent", True):
                raise
            return (yield from self._lost(search, str(error)))
        if response.status in START_REFUSED:
            raise StartRefused(f"VectorShift refused the start. {self._error(response)}", status=response.status)
        answer = response.json_or_none() if response.ok else None
        answer = answer if isinstance(answer, Mapping) else {}
        run_id = _id_in(answer)
        if run_id is None:
            said = f"HTTP {response.status}: {_text(response)}"
            return (yield from self._lost(search, f"its answer names no run ({said})"))
        word = str(answer.get("status", "")).lower()
        if word == FAILED_CALL:
            yield from self._refuse_if_over(search, run_id)
        return _started(search, run_id, word if word in STATES and word != FAILED_CALL else "")

    def _refuse_if_over(self, search: Search, run_id: str) -> Flow[None]:
        """Judge a start that was answered ``failed`` and yet names a run: only a look tells if that lives."""
        try:
            status = yield from self.get_run(search["pipeline_id"], run_id)
        except (TransportError, VendorError, BadAnswer):
            return  # taken for alive: whoever watches it will see
        if status.state.is_terminal and status.state is not RunState.SUCCEEDED:
            raise StartRefused(
                f"VectorShift answered the start with status failed, and run {run_id} is {status.vendor_state}: "
                f"{status.message or 'no reason is given'}. Nothing is running.",
                status=200,
            )

    def _lost(self, search: Search, why: str) -> Flow[Started]:
        """Look for the run of a start whose answer said nothing; it is never sent a second time."""
        seen: list[Started] = []
        said = "the analytics show no run with it"
        for look in range(LOST_CALL_LOOKS):
            if look:
                yield Pause(LOOK_EVERY)
            try:
                seen = yield from self.find(search)
            except (StartUncertain, TransportError, VendorError, BadAnswer) as error:
                said = f"where its run would be looked for: {error}"
            if seen:
                break
        if len(seen) == 1:
            return seen[0]
        if seen:
            said = f"the analytics show {len(seen)} runs with it"
        raise StartUncertain(
            f"VectorShift was told to run pipeline {search['pipeline_id']}, but {why}. The start carried trace id "
            f"{search['trace_id']}; {said}. A run may be alive: it was not started again. Look for the trace "
            "in VectorShift's analytics, and terminate its run by its id.",
            candidates=tuple(run.run_id for run in seen),
        )

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return the runs that carry the trace id of an unfinished start, each seen to be readable.

        That a span's id is the run's rests on a third party's word, so each is looked at.

        :raises StartUncertain: if the analytics cannot be asked, or show a run that cannot be reached.
        """
        pipeline_id, trace_id = search["pipeline_id"], search["trace_id"]
        try:
            events = yield from self._events(pipeline_id, TraceId=trace_id)
        except VendorError as error:
            raise StartUncertain(
                f"The analytics do not tell whether a run with trace id {trace_id} was started: {error}"
            ) from error
        found = []
        for event in events:
            if event.trace_id not in (None, trace_id):
                continue
            try:
                status, _ = yield from self._look(pipeline_id, event.run_id)
            except NotFound as error:
                raise StartUncertain(
                    f"The analytics show a run with trace id {trace_id}, but none can be read under its id "
                    f"{event.run_id}. It may be alive; look for it at VectorShift.",
                    candidates=(event.run_id,),
                ) from error
            found.append(_started(search, event.run_id, status.vendor_state))
        return found

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
        status, is_late = yield from self._look(pipeline_id, run_id)
        for seconds in RESULT_PAUSES if is_late else ():
            try:
                yield Pause(seconds)
                status, is_late = yield from self._look(pipeline_id, run_id)
            except (TransportError, VendorError, BadAnswer):
                break  # that it is completed is known; only its result is not
            if not is_late:
                break
        return status

    def _look(self, pipeline_id: str, run_id: str) -> Flow[tuple[RunStatus, bool]]:
        """Look once; say whether the run is completed and shows no result (yet)."""
        response = yield self._request("GET", "pipeline", pipeline_id, "run", "status", run_id)
        answer = self._object(response)
        word = answer.get("status")
        if not isinstance(word, str):
            raise BadAnswer(f"VectorShift's answer about run {run_id} has no status.")
        state = self.state_of(word)
        if state is RunState.FAILED and _id_in(answer) is None:
            # Every look at a run names it; this is the "failed" of a call that was not carried out.
            raise self._not_done(response, f"the look at run {run_id}")
        status = RunStatus(state, word, _text_in(answer), answer.get("result"))
        return status, state is RunState.SUCCEEDED and "result" not in answer

    def list_runs(self, pipeline_id: str, status: str | None = None) -> Flow[list[ListedRun]]:
        """List the runs of a pipeline, as far as the analytics know them.

        Best effort: no document says how far the analytics lag behind, or how they show a run that was
        terminated or paused. Look at a run before acting on it.

        Source: https://docs.vectorshift.ai/sdk/analytics/reference

        :param pipeline_id: id of the pipeline.
        :param status: ``in_progress``, ``success`` or ``failure``; all by default.
        """
        runs = yield from self._events(pipeline_id, status)
        return [run for run in runs if status is None or run.status.vendor_state == status]

    def _events(self, pipeline_id: str, status: str | None = None, **columns: str) -> Flow[list[ListedRun]]:
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
        before, _ = yield from self._look(pipeline_id, run_id)
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
        before, _ = yield from self._look(pipeline_id, run_id)
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
            raise self._error(response)
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
            f"({_text(response)}). The run may be in no state for it, or the id another pipeline's: look at it.",
            status=response.status,
        )

    def _error(self, response: HttpResponse) -> VendorError:
        hint = HINTS.get(response.status, "")
        message = f"VectorShift answered HTTP {response.status}: {_text(response)}. {hint}"
        return vendor_error(response.status, message.strip())


def _started(search: Search, run_id: str, word: str) -> Started:
    ids = {"pipeline_id": search["pipeline_id"], "run_id": run_id, "trace_id": search["trace_id"]}
    return Started(run_id, ids, word)


def _id_in(answer: Mapping[str, Any]) -> str | None:
    """Return the id of the run in an answer: ``task_id``, in some answers called ``run_id``."""
    for key in ("task_id", "run_id"):
        value = answer.get(key)
        if isinstance(value, str) and value:
            return value
    return None


def _text(response: HttpResponse) -> str:
    """Return what an answer says of its failure; a 401 has a body of its own, without ``status``."""
    body = response.json_or_none()
    return (_text_in(body) if isinstance(body, Mapping) else None) or response.excerpt() or "no text"


def _text_in(body: Mapping[str, Any]) -> str | None:
    for key in ERROR_KEYS:
        value = body.get(key)
        if isinstance(value, list):
            texts = [text_of(entry.get("message", entry) if isinstance(entry, Mapping) else entry) for entry in value]
            value = "; ".join(text for text in texts if text)
        if text := text_of(value):
            return text
    return None
