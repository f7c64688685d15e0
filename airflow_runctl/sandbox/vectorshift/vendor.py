"""A stand-in for VectorShift's API v1: pipelines and their runs.

https://docs.vectorshift.ai/api-reference/pipelines/{run, bulk-run, terminate, pause, resume, fetch, list};
the background switch, the status call and the search in the analytics are known from the vendor's SDK only
(https://docs.vectorshift.ai/sdk/pipeline/reference). Streaming answers are not served.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from airflow_runctl.sandbox.forms import fields
from airflow_runctl.sandbox.runs import Step, now
from airflow_runctl.sandbox.vectorshift.analytics import event, matches
from airflow_runctl.sandbox.vectorshift.runs import (
    PAUSED,
    TERMINAL,
    WORDS,
    VectorShiftBehaviour,
    VectorShiftRun,
    VectorShiftSettings,
)
from airflow_runctl.sandbox.vendor import Vendor
from airflow_runctl.sandbox.wire import CUT, Answer, Call, Refused, Route, as_json


class VectorShift(Vendor[VectorShiftBehaviour, VectorShiftSettings, VectorShiftRun]):
    """One organisation. Runs and behaviours go by the pipeline's id."""

    name: ClassVar[str] = "vectorshift"
    mount: ClassVar[tuple[str, ...]] = ("vectorshift", "v1")
    default = VectorShiftBehaviour()
    default_settings = VectorShiftSettings()

    def __init__(self, seed: str) -> None:
        super().__init__(seed)
        self.api_key = f"vectorshift-key-{seed}"
        self.routes = (
            Route("POST", "pipeline/{id}/run", "start", self.start),
            # [unknown] The docs write an underscore, every SDK a hyphen: both are taken.
            Route("POST", "pipeline/{id}/bulk_run", "bulk", self.bulk_run),
            Route("POST", "pipeline/{id}/bulk-run", "bulk", self.bulk_run),
            Route("GET", "pipeline/{id}/run/status/{task_id}", "status", self.status),
            Route("POST", "pipeline/{id}/terminate", "stop", self.terminate),
            Route("POST", "pipeline/{id}/pause", "pause", self.pause),
            Route("POST", "pipeline/{id}/resume", "resume", self.resume),
            Route("POST", "analytics/events/search", "list", self.search),
            Route("GET", "pipeline", "fetch", self.fetch),
            Route("GET", "pipelines", "pipelines", self.pipelines),
        )

    def catalogue(self) -> dict[str, VectorShiftBehaviour]:
        return {
            "pl-summary": VectorShiftBehaviour(pipeline="summary", result={"summary": "two lines"}),
            "pl-hang": VectorShiftBehaviour(pipeline="hang", run_seconds=None),
            "pl-fail": VectorShiftBehaviour(
                pipeline="fail", run_seconds=1.0, end="failed", message="node llm: model unavailable"
            ),
        }

    def check_credential(self, call: Call, operation: str) -> None:
        """[doc] The three texts of the 401, which has a body of its own."""
        header = call.headers.get("Authorization")
        if header is None:
            raise Refused(401, "Missing authorization header")
        scheme, _, key = header.partition(" ")
        if scheme != "Bearer" or not key:
            raise Refused(401, "Invalid authorization header format")
        if not hmac.compare_digest(key.encode(), self.api_key.encode()):
            raise Refused(401, "Invalid API key")

    def refusal(self, call: Call, refused: Refused) -> Answer:
        if refused.status == 401:
            return as_json({"error": refused.message}, 401)
        return as_json({"status": "failed", "error": refused.message}, refused.status)

    def _pipeline(self, call: Call) -> tuple[str, VectorShiftBehaviour]:
        pipeline = call.args["id"]
        if pipeline not in self.behaviours:
            raise Refused(404, "Pipeline not found")  # [doc] errors page; not in the OpenAPI of every call
        return pipeline, self.behaviours[pipeline]

    @staticmethod
    def _fails(behaviour: VectorShiftBehaviour, operation: str) -> bool:
        return operation in (behaviour.failing_calls or [])

    # Start

    async def start(self, call: Call) -> Answer:
        """Start a run: with ``background`` the answer is its ``task_id``, else the outputs at the end."""
        pipeline, behaviour = self._pipeline(call)
        body = await fields(call)
        if body.get("stream") is True:
            raise Refused(400, "the sandbox does not stream")
        if self._fails(behaviour, "start"):
            return as_json({"status": "failed", "run_id": "", "outputs": {}})
        run = self._begin(pipeline, behaviour, body)
        call.effective.set()
        if body.get("background") is True:
            # [code] A started run is `in_progress` here whatever the status call says later.
            return as_json({"task_id": run.run_id, "trace_id": run.trace_id, "status": "in_progress"})
        if not await run.over():
            return CUT
        return as_json({**self._outcome(run, behaviour), "trace_id": run.trace_id})

    async def bulk_run(self, call: Call) -> Answer:
        """[doc] Blocks until every run is over; one status for all of them."""
        pipeline, behaviour = self._pipeline(call)
        rows = (await fields(call)).get("runs")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Refused(400, "runs is required")
        runs = [self._begin(pipeline, behaviour, row) for row in rows]
        call.effective.set()
        for run in runs:
            if not await run.over():
                return CUT
        outcomes = [self._outcome(run, behaviour) for run in runs]
        failed = any(outcome.pop("status") == "failed" for outcome in outcomes)
        return as_json({"status": "failed" if failed else "success", "run_outputs": outcomes})

    def _begin(self, pipeline: str, behaviour: VectorShiftBehaviour, body: dict[str, Any]) -> VectorShiftRun:
        inputs = body.get("inputs", {})
        if not isinstance(inputs, dict):
            raise Refused(400, "inputs must be an object")
        words = WORDS[behaviour.words]
        run = VectorShiftRun(
            vendor=self.name,
            run_id=secrets.token_hex(12),  # [code] 24 hex digits
            name=pipeline,
            key=pipeline,
            terminal=TERMINAL,
            inputs=inputs,
            trace_id=body.get("trace_id") or f"tr-{secrets.token_hex(8)}",
        )
        end = behaviour.end or words.done
        run.follow(
            Step(0, words.live),
            Step(behaviour.run_seconds, end, None if end == words.done else behaviour.message),
        )
        return self.add(run)

    @staticmethod
    def _outcome(run: VectorShiftRun, behaviour: VectorShiftBehaviour) -> dict[str, Any]:
        """[unknown] A blocking run that failed: 200, status failed; its schema has no key for the error."""
        good = run.state in ("completed", "succeeded")
        outputs = behaviour.result if good and behaviour.result else {}
        return {"status": "success" if good else "failed", "run_id": run.run_id, "outputs": outputs}

    # Status

    async def status(self, call: Call) -> Answer:
        """[code] The outputs are called ``result`` here, and may be missing for a while after the end."""
        pipeline, behaviour = self._pipeline(call)
        run = self.runs.get(call.args["task_id"])
        if run is None or run.key != pipeline:
            raise Refused(404, "Task not found")  # [code]
        body: dict[str, Any] = {"task_id": run.run_id, "status": run.state}
        if run.state in ("completed", "succeeded"):
            if now() >= run.since + timedelta(seconds=behaviour.result_lag_seconds):
                body["result"] = behaviour.result or {}
        elif run.state in TERMINAL:
            body["error"] = run.message
        return as_json(body)

    # Run control: 200 with nothing but success or failed

    async def terminate(self, call: Call) -> Answer:
        """https://docs.vectorshift.ai/api-reference/pipelines/terminate.

        [unknown] A paused run: it can be terminated. A run that is over: 200 with status failed.
        """
        run, behaviour = await self._one_run(call)
        run.asked_to_stop()

        def stop() -> bool:
            if not run.open:
                return False
            run.follow_stop(Step(behaviour.stop_seconds, WORDS[behaviour.words].terminated, "terminated"))
            return True

        return self._done(behaviour, "stop", stop)

    async def pause(self, call: Call) -> Answer:
        """https://docs.vectorshift.ai/api-reference/pipelines/pause. [unknown] At once, and for ever."""
        run, behaviour = await self._one_run(call)
        run.note("pause asked")

        def pause() -> bool:
            if run.state != WORDS[behaviour.words].live:
                return False
            run.paused_plan = run.halt()
            run.enter(PAUSED)
            return True

        return self._done(behaviour, "pause", pause)

    async def resume(self, call: Call) -> Answer:
        """https://docs.vectorshift.ai/api-reference/pipelines/resume: a list of ids, one answer for all of
        them.

        [unknown] When only some can be resumed: they are, and the answer is ``failed``.
        """
        pipeline, behaviour = self._pipeline(call)
        ids = (await fields(call)).get("run_ids")
        if not isinstance(ids, list) or not ids or not all(isinstance(one, str) for one in ids):
            raise Refused(400, "run_ids is required")
        runs = [self._known(pipeline, one) for one in ids]
        for run in runs:
            run.asked_to_resume()

        def resume() -> bool:
            paused = [run for run in runs if run.state == PAUSED]
            for run in paused:
                run.follow(Step(0, WORDS[behaviour.words].live), *run.paused_plan)
            return len(paused) == len(runs)

        return self._done(behaviour, "resume", resume)

    def _done(self, behaviour: VectorShiftBehaviour, operation: str, act: Callable[[], bool]) -> Answer:
        done = not self._fails(behaviour, operation) and act()
        return as_json({"status": "success" if done else "failed"})

    async def _one_run(self, call: Call) -> tuple[VectorShiftRun, VectorShiftBehaviour]:
        pipeline, behaviour = self._pipeline(call)
        run_id = (await fields(call)).get("run_id")
        if not isinstance(run_id, str):
            raise Refused(400, "run_id is required")
        return self._known(pipeline, run_id), behaviour

    def _known(self, pipeline: str, run_id: str) -> VectorShiftRun:
        """[unknown] The answer for a run that does not exist: the OpenAPI has no 404 here, so it is 400."""
        run = self.runs.get(run_id)
        if run is None or run.key != pipeline:
            raise Refused(400, f"run {run_id} not found")
        return run

    # Lists

    async def search(self, call: Call) -> Answer:
        """Search the analytics for runs.

        [code] https://docs.vectorshift.ai/sdk/analytics/reference. Only what a search for a pipeline's runs
        needs: columns ObjectId and TraceId, the status, the time, the page.
        """
        body = call.json_object()
        found = [run for run in self.runs.values() if matches(run, body)]
        found.sort(key=lambda run: run.created_at, reverse=True)
        page = body.get("pagination_config", {})
        size, offset = page.get("results_per_page", 50), page.get("offset", 0)
        if not isinstance(size, int) or not isinstance(offset, int) or size < 1 or offset < 0:
            raise Refused(400, "pagination_config is not valid")
        return as_json(
            {
                "events": [event(run) for run in found[offset : offset + size]],
                "pagination_meta": {
                    "results_per_page": size,
                    "page_number": offset // size + 1,
                    "offset": offset,
                    "total_records": len(found),
                },
            }
        )

    async def fetch(self, call: Call) -> Answer:
        """https://docs.vectorshift.ai/api-reference/pipelines/fetch."""
        for pipeline, behaviour in self.behaviours.items():
            if call.query.get("id") == pipeline or call.query.get("name") == (behaviour.pipeline or pipeline):
                return as_json({"status": "success", "object": _object(pipeline, behaviour)})
        if "id" not in call.query and "name" not in call.query:
            raise Refused(400, "id or name is required")
        raise Refused(404, "Pipeline not found")

    async def pipelines(self, call: Call) -> Answer:
        """https://docs.vectorshift.ai/api-reference/pipelines/list; ``objects`` only when verbose."""
        body: dict[str, Any] = {"status": "success", "object_ids": list(self.behaviours)}
        if call.query.get("verbose") == "true":
            body["objects"] = [_object(*item) for item in self.behaviours.items()]
        return as_json(body)


def _object(pipeline: str, behaviour: VectorShiftBehaviour) -> dict[str, Any]:
    return {"_id": pipeline, "name": behaviour.pipeline or pipeline}
