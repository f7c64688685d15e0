"""VectorShift: what its API v1 says about runs of pipelines.

Source: https://docs.vectorshift.ai/api-reference (terminate, pause, resume, run, list) and, for the
background switch and the look at a run, which the REST reference leaves out, the vendor's own SDK:
https://docs.vectorshift.ai/sdk/pipeline/reference. ``task_id`` (start, look) and ``run_id`` (terminate,
pause) are two names for one value; every call needs the pipeline's id as well. In most answers ``status``
(``success`` or ``failed``) says how the call went; in the look at a run it is the state of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_runctl.exceptions import BadAnswer, RunctlError
from airflow_runctl.runs import ExternalRun, RunState, RunStatus
from airflow_runctl.vendors.base import (
    Effect,
    Flow,
    Operation,
    Search,
    Started,
    StartPlan,
    StopReply,
)
from airflow_runctl.vendors.vectorshift.analytics import ListedRun
from airflow_runctl.vendors.vectorshift.api import VectorShiftApi
from airflow_runctl.vendors.vectorshift.start import PipelineRun, Starts


@dataclass(frozen=True, slots=True)
class VectorShift(VectorShiftApi):
    """VectorShift's API v1 for the organisation of one key: runs are started, found, stopped, paused and resumed."""

    operations: ClassVar[frozenset[Operation]] = frozenset(Operation)

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

    def list_pipelines(self) -> Flow[list[Mapping[str, Any]]]:
        """List the pipelines that the key can see, each as VectorShift describes it.

        Source: https://docs.vectorshift.ai/api-reference/pipelines/list
        """
        request = self.request("GET", "pipelines", query={"verbose": "true"})
        response = yield request
        answer = self.done(response, "the list of pipelines")
        objects, ids = answer.get("objects"), answer.get("object_ids") or []
        if isinstance(objects, list):
            return [entry for entry in objects if isinstance(entry, Mapping)]
        if not isinstance(ids, list):
            raise BadAnswer(f"VectorShift's list of pipelines is no list: {response.excerpt()!r}")
        return [{"id": pipeline_id} for pipeline_id in ids]

    # -- act -----------------------------------------------------------------------------------------

    def ask_stop(self, run: ExternalRun) -> Flow[StopReply]:
        """Terminate ``run``. A 200 with ``status`` failed is an error: what it means only a look tells.

        What is answered for a run that is over is not documented.

        Source: https://docs.vectorshift.ai/api-reference/pipelines/terminate
        """
        run_id = run.ids["run_id"]
        request = self.request(
            "POST", "pipeline", run.ids["pipeline_id"], "terminate", effect=Effect.STOP, json={"run_id": run_id}
        )
        self.done((yield request), f"the terminate of run {run_id}")
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
        request = self.request("POST", "pipeline", pipeline_id, "pause", effect=Effect.STOP, json={"run_id": run_id})
        self.done((yield request), f"the pause of run {run_id}")

    def ask_resume(self, run: ExternalRun) -> Flow[None]:
        """Resume ``run``. The call takes a list of ids; one is sent, as one answer stands for all of them.

        Source: https://docs.vectorshift.ai/api-reference/pipelines/resume

        :raises RunctlError: if the run is over.
        """
        pipeline_id, run_id = run.ids["pipeline_id"], run.ids["run_id"]
        before, _ = yield from self.look(pipeline_id, run_id)
        if before.state.is_terminal:
            raise RunctlError(f"VectorShift run {run_id} is {before.vendor_state}; a run that is over is not resumed.")
        request = self.request(
            "POST", "pipeline", pipeline_id, "resume", effect=Effect.START, json={"run_ids": [run_id]}
        )
        self.done((yield request), f"the resume of run {run_id}")

    def may_be_suspended(self, status: RunStatus) -> bool:
        """Return True for a live run under a word that no page has: so a paused one may look."""
        return status.state in (RunState.SUSPENDED, RunState.UNKNOWN)

    def test(self) -> Flow[str]:
        """List the pipelines' ids, the smallest harmless call."""
        answer = self.done((yield self.request("GET", "pipelines")), "the list of pipelines")
        ids = answer.get("object_ids")
        if not isinstance(ids, list):
            raise BadAnswer("What answers here is not VectorShift's API: its list of pipelines has no object_ids.")
        return f"Reached VectorShift with this API key; it sees {len(ids)} pipelines."
