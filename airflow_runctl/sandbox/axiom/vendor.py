"""A stand-in for axiom.ai's API v3.

Every call is a POST with JSON, the key is in the body, and a run has no identity but the viewer URL that the
trigger call hands out once.

Pages under https://axiom.ai/docs/developer-hub/api: run-automations/{trigger-an-automation, check-run-status,
run-reports, stop-a-run, list-automations}, usage-and-limits/..., reference/errorcodes. Where they contradict
each other a behaviour chooses the side; where they are silent the code says [unknown] and what it does.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from airflow_runctl.sandbox.axiom.runs import (
    PODS,
    QUEUED,
    RUNNING,
    STOP_REPLIES,
    TERMINAL,
    VIEWER_URLS,
    AxiomBehaviour,
    AxiomRun,
    AxiomSettings,
)
from airflow_runctl.sandbox.runs import Step, now
from airflow_runctl.sandbox.vendor import Vendor
from airflow_runctl.sandbox.wire import Answer, Call, Refused, Route, as_json


class Axiom(Vendor[AxiomBehaviour, AxiomSettings, AxiomRun]):
    """One account."""

    name: ClassVar[str] = "axiom"
    mount: ClassVar[tuple[str, ...]] = ("axiom", "api", "v3")
    default = AxiomBehaviour()
    default_settings = AxiomSettings()

    def __init__(self, seed: str) -> None:
        self._numbers = itertools.count(1)
        super().__init__(seed)
        self.api_key = f"axiom-key-{seed}"
        self.routes = (
            Route("POST", "trigger", "start", self.trigger),
            Route("POST", "run-data", "status", self.run_data),
            Route("POST", "run-reports", "list", self.run_reports),
            Route("POST", "stop", "stop", self.stop),
            Route("POST", "list-automations", "automations", self.list_automations),
            Route("POST", "remaining-runtime", "quota", self.remaining_runtime),
        )

    def catalogue(self) -> dict[str, AxiomBehaviour]:
        return {
            "Nightly prices": AxiomBehaviour(result={"sheet-1": [["item", "price"], ["tea", "3"]]}),
            "Hang": AxiomBehaviour(run_seconds=None),
            "Scrape prices": AxiomBehaviour(run_seconds=None),
            "Watch stock": AxiomBehaviour(run_seconds=None),
            "Fail": AxiomBehaviour(run_seconds=1.0, end="Failure", message="Error: element not found\n  at step 3"),
            "Queued": AxiomBehaviour(queued=True),
        }

    def check_credential(self, call: Call, operation: str) -> None:
        """The key is in the body; a stop has none, pid and pw are its whole credential."""
        if call.content_type != "application/json":
            raise Refused(400, "Content-Type must be application/json")
        key = call.json_object().get("key")
        if operation != "stop" and not (
            isinstance(key, str) and hmac.compare_digest(key.encode(), self.api_key.encode())
        ):
            raise Refused(401, "Invalid key")

    def refusal(self, call: Call, refused: Refused) -> Answer:
        return as_json({"status": "error", "message": refused.message}, refused.status)

    def _automation(self, body: dict[str, Any]) -> tuple[str, AxiomBehaviour]:
        name = body.get("name")
        if not isinstance(name, str) or not name:
            raise Refused(400, "Missing task name")
        if name not in self.behaviours:
            raise Refused(404, "Task not found, please check the name and try again.")
        return name, self.behaviours[name]

    # Trigger and queue

    async def trigger(self, call: Call) -> Answer:
        """Answer when the run has started or is queued: two successes, told apart by their keys alone."""
        body = call.json_object()
        name, behaviour = self._automation(body)
        rows = body.get("data", [])
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise Refused(400, "Data must be sent as an array of arrays.")
        if behaviour.refuse:
            raise Refused(behaviour.refuse.get("status", 503), behaviour.refuse.get("message", "queue full"))
        number = next(self._numbers)
        run = self.add(
            AxiomRun(
                vendor=self.name,
                run_id=f"axiom-{number}",  # the sandbox's own: the vendor has no id for a run
                name=name,
                key=name,
                terminal=TERMINAL,
                inputs=body.get("data"),
                number=number,
                pw=f"pw{self.seed}{number}",
            )
        )
        run.on_end = self._admit_next
        if behaviour.queued:
            run.follow(Step(0, QUEUED))
            self._start_later(run, behaviour.queue_seconds)
        elif self._has_room(run, behaviour):
            self._begin(run)
        else:
            run.follow(Step(0, QUEUED))
        extra = {"run_id": run.run_id} if behaviour.gives_run_id else {}
        if run.viewer_url is None:
            return as_json({"status": "queued", "message": "no free slot, next try in 5 minutes", **extra})
        return as_json({"OPEN LINK IN BROWSER": run.viewer_url, **extra})

    def _has_room(self, run: AxiomRun, behaviour: AxiomBehaviour) -> bool:
        others = (other for other in self.runs.values() if other is not run)
        active = [other for other in others if other.open and other.state != QUEUED]
        if behaviour.single_instance and any(other.key == run.key for other in active):
            return False
        return len(active) < self.settings.concurrency

    def _begin(self, run: AxiomRun) -> None:
        """Take the lowest free pod and run. [unknown] Pods above 99: pids are shared then, pw decides."""
        behaviour = self.behaviour_of(run)
        taken = {other.pid for other in self.runs.values() if other.open}
        free = (f"{pod:02}" for pod in range(1, PODS) if f"{pod:02}" not in taken)
        run.pid = next(free, f"{run.number % PODS:02}")
        run.viewer_url = VIEWER_URLS[behaviour.viewer_url_shape](run.pid, run.pw, 22840 + run.number)
        run.started_at = now()
        message = behaviour.message if behaviour.end != "Success" else None
        run.follow(Step(0, RUNNING), Step(behaviour.run_seconds, behaviour.end, message))

    def _start_later(self, run: AxiomRun, seconds: float | None) -> None:
        def start() -> None:
            if run.state == QUEUED and not run.discarded:
                self._begin(run)

        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, start)

    def _admit_next(self) -> None:
        """First in, first out. [doc] The queue is tried every five minutes, it says; here at once."""
        for run in list(self.runs.values()):
            behaviour = self.behaviour_of(run)
            if run.state == QUEUED and not behaviour.queued and self._has_room(run, behaviour):
                self._begin(run)

    def force(self, run: AxiomRun, state: str, message: str | None) -> None:
        """A queued run that is put to Running really starts: it gets a pod, and takes its course."""
        if run.state == QUEUED and state == RUNNING:
            self._begin(run)
        else:
            super().force(run, state, message)

    # Watching

    async def run_data(self, call: Call) -> Answer:
        """The newest run of a name, without saying which run that is.

        A queued run shows Running [doc; the queue page also says the opposite]. A name that never ran:
        [unknown], the error page's "Run not found" here.
        """
        name, behaviour = self._automation(call.json_object())
        own = [run for run in self.runs.values() if run.key == name]
        if not own:
            raise Refused(404, "Run not found")
        newest = own[-1]
        stale_until = newest.created_at + timedelta(seconds=behaviour.stale_seconds)
        if len(own) > 1 and now() < stale_until:
            newest = own[-2]
        return as_json({"status": self._word(own, newest, behaviour), "data": self._rows(newest, behaviour)})

    @staticmethod
    def _word(own: list[AxiomRun], newest: AxiomRun, behaviour: AxiomBehaviour) -> str:
        if behaviour.words == "code":
            # [code] Finished means that no pod runs this name now; how the run ended does not show.
            return RUNNING if any(run.open for run in own) else "Finished"
        return RUNNING if newest.state == QUEUED else newest.state

    @staticmethod
    def _rows(run: AxiomRun, behaviour: AxiomBehaviour) -> dict[str, Any]:
        return behaviour.result if run.state == "Success" and behaviour.result else {}

    async def run_reports(self, call: Call) -> Answer:
        """The newest runs of the whole account, without ids. [unknown] The largest count: none here."""
        count = call.json_object().get("count", 5)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise Refused(400, "count must be a positive number")
        started = [run for run in self.runs.values() if run.started_at and self._shown(run, run.started_at)]
        started.sort(key=lambda run: run.started_at or run.created_at, reverse=True)
        return as_json({"status": "success", "data": {"reports": [self._report(run) for run in started[:count]]}})

    def _shown(self, run: AxiomRun, moment: datetime) -> bool:
        return now() >= moment + timedelta(seconds=self.behaviour_of(run).report_lag_seconds)

    def _report(self, run: AxiomRun) -> dict[str, Any]:
        over = run.ended_at is not None and self._shown(run, run.ended_at)
        started = run.started_at or run.created_at
        return {
            "task_name": run.name,
            "status": run.state if over or run.state not in TERMINAL else RUNNING,
            "description": "started on cloud\n\n" + ((run.message or "done") if over else ""),
            "created_at": _stamp(started),
            "updated_at": _stamp(run.ended_at if over and run.ended_at else started),
        }

    # Stop

    async def stop(self, call: Call) -> Answer:
        """Stop the run that pid and pw belong to; it will report Failure.

        https://axiom.ai/docs/developer-hub/api/run-automations/stop-a-run. A run already over: documented as
        a success that does nothing; its body is [unknown], here without ``stopped``. Wrong or outdated pid
        and pw: [unknown], here the error page's 404 "Run not found".
        """
        body = call.json_object()
        pid, pw = body.get("pid"), body.get("pw")
        if not isinstance(pid, str) or not isinstance(pw, str):
            raise Refused(400, "pid and pw are required")
        run = next((run for run in self.runs.values() if run.pid == pid and run.pw == pw), None)
        if run is None:
            raise Refused(404, "Run not found")
        run.asked_to_stop()
        if not run.open:
            return as_json({"status": "success"})
        behaviour = self.behaviour_of(run)
        run.follow_stop(Step(behaviour.stop_seconds, "Failure"))
        return as_json(STOP_REPLIES[behaviour.stop_reply](pid))

    # The account

    async def list_automations(self, call: Call) -> Answer:
        return as_json({"status": "success", "data": {"names": list(self.behaviours)}})

    async def remaining_runtime(self, call: Call) -> Answer:
        """[doc] Minutes of this month; the time of a stopped run counts."""
        seconds = sum(
            ((run.ended_at or now()) - run.started_at).total_seconds() for run in self.runs.values() if run.started_at
        )
        used = round(seconds / 60, 2)
        return as_json({"status": "success", "data": {"used": used, "allowance": 900, "remaining": 900 - used}})


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
