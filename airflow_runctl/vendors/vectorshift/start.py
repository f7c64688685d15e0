"""VectorShift: the start of a run in the background, and the search for one whose answer was lost.

Source: https://docs.vectorshift.ai/api-reference/pipelines/run
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from airflow_runctl.exceptions import (
    BadAnswer,
    NotFound,
    StartRefused,
    StartUncertain,
    TransportError,
    VendorError,
)
from airflow_runctl.runs import RunState
from airflow_runctl.vendors.base import Effect, Flow, HttpRequest, Pause, Search, Started, StartPlan, path
from airflow_runctl.vendors.vectorshift.answers import FAILED_CALL, STATES, id_in, said_in
from airflow_runctl.vendors.vectorshift.api import VectorShiftApi

START_REFUSED: Final = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
"""Answers to a start that surely mean that no run was made."""

LOST_CALL_LOOKS: Final = 7
LOOK_EVERY: Final = 5.0
"""How often, and how many seconds apart, the analytics are asked for the run of a start without an answer."""


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
class Starts:
    """The flows that start a run.

    :param api: VectorShift, for requests and looks.
    """

    api: VectorShiftApi = field(repr=False)

    def plan(self, run: PipelineRun) -> StartPlan:
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
                "POST", where, Effect.START, headers=self.api.headers, json={**body, "trace_id": search["trace_id"]}
            )
            return (yield from self._start(request, search))

        arguments = {"pipeline_id": run.pipeline_id, "inputs": dict(run.inputs), "version": run.version}
        return StartPlan(arguments, prepare, start, what=run.pipeline_id)

    def _start(self, request: HttpRequest, search: Search) -> Flow[Started]:
        try:
            response = yield request
        except (TransportError, BadAnswer) as error:
            if not getattr(error, "sent", True):
                raise
            return (yield from self._lost(search, str(error)))
        if response.status in START_REFUSED:
            raise StartRefused(f"VectorShift refused the start. {self.api.error_of(response)}", status=response.status)
        answer = response.json_or_none() if response.ok else None
        answer = answer if isinstance(answer, Mapping) else {}
        run_id = id_in(answer)
        if run_id is None:
            said = f"HTTP {response.status}: {said_in(response)}"
            return (yield from self._lost(search, f"its answer names no run ({said})"))
        word = str(answer.get("status", "")).lower()
        if word == FAILED_CALL:
            yield from self._refuse_if_over(search, run_id)
        return _started(search, run_id, word if word in STATES and word != FAILED_CALL else "")

    def _refuse_if_over(self, search: Search, run_id: str) -> Flow[None]:
        """Judge a start that was answered ``failed`` and yet names a run: only a look tells if that lives."""
        try:
            status = yield from self.api.get_run(search["pipeline_id"], run_id)
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
            events = yield from self.api.events(pipeline_id, TraceId=trace_id)
        except VendorError as error:
            raise StartUncertain(
                f"The analytics do not tell whether a run with trace id {trace_id} was started: {error}"
            ) from error
        found = []
        for event in events:
            if event.trace_id not in (None, trace_id):
                continue
            try:
                status, _ = yield from self.api.look(pipeline_id, event.run_id)
            except NotFound as error:
                raise StartUncertain(
                    f"The analytics show a run with trace id {trace_id}, but none can be read under its id "
                    f"{event.run_id}. It may be alive; look for it at VectorShift.",
                    candidates=(event.run_id,),
                ) from error
            found.append(_started(search, event.run_id, status.vendor_state))
        return found


def _started(search: Search, run_id: str, word: str) -> Started:
    ids = {"pipeline_id": search["pipeline_id"], "run_id": run_id, "trace_id": search["trace_id"]}
    return Started(run_id, ids, word)
