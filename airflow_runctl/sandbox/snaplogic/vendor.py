"""A stand-in for SnapLogic's public API and for the URLs of its Triggered Tasks.

What the documentation says is done as it says: a stop and a resume only ask; a list shows the last hour, ten
rows and the run id as ``id``; a trigger call stays open until the pipeline is over, at most 15 minutes. Where
it is silent the code says [unknown] or [inferred] and takes the answer that catches a careless client.

Pages: https://docs.snaplogic.com/public-apis/ (post-runtime-stop-org-ruuid, post-runtime-start-org-ruuid,
get-runtime-org, get-runtime-org-ruuid) and https://docs.snaplogic.com/manager/triggered-tasks.html.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from airflow_runctl.sandbox.runs import Step, now
from airflow_runctl.sandbox.snaplogic.org import Org
from airflow_runctl.sandbox.snaplogic.quota import Quota
from airflow_runctl.sandbox.snaplogic.runs import (
    BRIEF,
    LOGIN,
    SnapLogicRun,
    detail,
    entry,
    envelope,
    last_steps,
    summary,
    task_key,
)
from airflow_runctl.sandbox.snaplogic.switches import TaskSwitches
from airflow_runctl.sandbox.wire import ANY_METHOD, CUT, Answer, Call, Refused, Route, as_json, integer

MAX_LIMIT: Final = 1000
MAX_HOURS: Final = 1080
LATEST_MS: Final = 10**14


class SnapLogic(Org):
    """All that is served of SnapLogic."""

    def __init__(self, seed: str) -> None:
        super().__init__(seed)
        self.quota = Quota(self)
        self.switches = TaskSwitches(self)
        self.parts = (self.quota,)
        runtime = "api/1/rest/public/runtime"
        self.routes = (
            Route(ANY_METHOD, "api/1/rest/slsched/feed/{org}/{*}", "start", self.trigger),
            Route("POST", f"{runtime}/stop/{{org}}/{{ruuid}}", "stop", self.stop),
            Route("POST", f"{runtime}/start/{{org}}/{{ruuid}}", "resume", self.resume),
            *self.quota.routes,
            Route("GET", f"{runtime}/{{org}}/{{ruuid}}", "status", self.get),
            Route("GET", f"{runtime}/{{org}}", "list", self.list_runs),
            *self.switches.routes,
        )

    def _run(self, call: Call) -> SnapLogicRun:
        org = self.check_org(call)
        run = self.runs.get(call.args["ruuid"])
        if run is None or run.org != org or run.visible_at > now():
            raise Refused(404, f"no runtime {call.args['ruuid']}")  # [inferred]
        return run

    # Triggered Tasks

    async def trigger(self, call: Call) -> Answer:
        """Start a run by a task's URL: https://docs.snaplogic.com/manager/triggered-task-execution.html."""
        key = task_key((self.check_org(call), *call.rest))
        if key not in self.behaviours:
            raise Refused(404, f"no task {key}")  # [inferred]
        if key in self.disabled:
            raise Refused(403, f"task {key} is disabled")  # [unknown]
        active = any(run.open and run.key == key for run in self.runs.values())
        if active and self.behaviours[key].single_instance:
            raise Refused(409, "a pipeline of this task is already running")  # [doc]
        self.quota.check()
        self.quota.count(key)
        run = self.start_run(key, _inputs(call))
        call.effective.set()
        return await self._trigger_answer(run)

    async def _trigger_answer(self, run: SnapLogicRun) -> Answer:
        """Answer early, or wait for the end of the run and say how it went.

        [unknown] What a caller sees when the run suspends: here the call stays open. [unknown] When it is
        stopped: the same as when it fails.
        """
        behaviour = self.behaviour_of(run)
        good = as_json({"http_status_code": 200} if behaviour.result is None else behaviour.result)
        if behaviour.answers == "early":
            return as_json([{"ruuid": run.run_id}])
        if behaviour.answers == "header":
            return replace(good, headers={"x-snapi-pipeline-ruuid": run.run_id})
        if behaviour.answers == "early_blind":
            return good  # looks just like the answer at the end
        if not await run.over(self.settings.trigger_seconds):
            return CUT  # [doc] after 15 minutes; the run goes on
        if run.state == "Completed":
            return good
        # [code] Not 200, and the reason in keys of its own, not in the envelope.
        failure = f"Pipeline {run.state.lower()}"
        return as_json({"failure": failure, "reason": run.message, "resolution": behaviour.resolution}, 500)

    # Run control

    async def stop(self, call: Call) -> Answer:
        """Ask a run to stop.

        Asynchronous in effect: there are the states Stopping and Stopped [doc]. [unknown] Which states may be
        stopped: here every live one, suspended and queued ones too; a run that is already stopping is left to
        it; a run that is over is refused, see ``finished_stop_status``.
        """
        run = self._run(call)
        run.asked_to_stop()
        if not run.open and self.settings.finished_stop_status != 200:
            raise Refused(self.settings.finished_stop_status, f"runtime {run.run_id} is not active")
        if run.open:
            run.stopper = LOGIN
            run.follow_stop(Step(0, "Stopping"), Step(self.behaviour_of(run).stop_seconds, "Stopped"))
        if self.settings.stop_body == "envelope":
            return envelope({})
        return Answer(headers={"X-SL-StatusCode": "200"})

    async def resume(self, call: Call) -> Answer:
        """Resume a suspended run, which keeps its ruuid [inferred]; in any other state refused [unknown]."""
        run = self._run(call)
        run.asked_to_resume()
        if run.state != "Suspended":
            raise Refused(400, f"runtime {run.run_id} cannot be resumed in state {run.state}")
        steps = last_steps(self.behaviour_of(run), suspends=False)
        run.follow(Step(0, "Resuming"), Step(BRIEF, "Started"), *steps)
        return envelope({})

    async def get(self, call: Call) -> Answer:
        """[doc] ``level`` is case-sensitive, default ``detail``. [unknown] Any other value: refused here."""
        run = self._run(call)
        level = call.query.get("level", "detail")
        if level not in ("summary", "detail"):
            raise Refused(400, f"level {level!r} is neither summary nor detail")
        resolution = self.behaviour_of(run).resolution
        more = detail(run, resolution, self.seed) if level == "detail" else {}
        return envelope(summary(run, resolution) | more)

    async def list_runs(self, call: Call) -> Answer:
        """List runs: https://docs.snaplogic.com/public-apis/get-runtime-org.html.

        The page calls Started the default of ``state``, yet callers who leave it out get finished runs too
        [code]: so it is here, and likewise for ``invoker``. One state per request: a row of states matches
        nothing [unknown]. Sort order [unknown]: by id here, so that nobody relies on the newest being first.
        """
        org = self.check_org(call)
        limit = integer(call, "limit", 10, 1, MAX_LIMIT)
        offset = integer(call, "offset", 0, 0, LATEST_MS)
        wanted = [run for run in self._in_window(call) if run.org == org and _asked_for(run, call)]
        wanted.sort(key=lambda run: run.run_id)
        entries = [entry(run) for run in wanted[offset : offset + limit]]
        return envelope({"entries": entries, "total": len(wanted), "limit": limit, "offset": offset})

    def _in_window(self, call: Call) -> list[SnapLogicRun]:
        """[doc] Only the last hour by default; a run made outside the window may be missing: here it is."""
        moment = now()
        since = moment - timedelta(hours=integer(call, "last_hours", 1, 1, MAX_HOURS))
        start = integer(call, "start", int(since.timestamp() * 1000), 0, LATEST_MS)
        end = integer(call, "end", LATEST_MS, 0, LATEST_MS)
        return [
            run
            for run in self.runs.values()
            if start <= run.created_at.timestamp() * 1000 <= end and run.visible_at <= moment
        ]


def _inputs(call: Call) -> dict[str, Any]:
    """[doc] The query string is the pipeline's parameters, the body the document for its open input view."""
    text = call.body.decode(errors="replace")
    try:
        body = json.loads(text) if text else None
    except ValueError:
        body = text
    return {"parameters": {name: call.query[name] for name in call.query}, "body": body}


def _asked_for(run: SnapLogicRun, call: Call) -> bool:
    values = {
        "state": run.state,
        "invoker": run.invoker,
        "pipe_name": run.pipeline,
        "project_path": run.project,
        "user_id": LOGIN,
        "plex_label": "Cloud",
        "cc_label": "node-1",
    }
    return all(call.query[name] == value for name, value in values.items() if name in call.query)
