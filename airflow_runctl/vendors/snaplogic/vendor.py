"""SnapLogic: what its public REST API says about runs of pipelines.

Source: https://docs.snaplogic.com/public-apis/public-apis-about.html and the pages named at each operation.
Two credentials live on one connection: the account (Basic or JWT) for the public API, and the Triggered
Task's own bearer token. ``/runtime/start`` resumes; a new run begins only at a Triggered Task's URL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from airflow_runctl.exceptions import (
    BadAnswer,
    RunctlError,
    TransportError,
)
from airflow_runctl.runs import ExternalRun, RunState, RunStatus
from airflow_runctl.vendors.base import (
    WORTH_A_LIST,
    Effect,
    Flow,
    Glance,
    Operation,
    Search,
    Started,
    StartPlan,
    StopReply,
    pages_worth,
)
from airflow_runctl.vendors.snaplogic.answers import (
    LIVE_STATES,
    entry_id,
    started,
)
from airflow_runctl.vendors.snaplogic.api import ENTRY_KEYS, PAGE, SnapLogicApi
from airflow_runctl.vendors.snaplogic.org import switch_task
from airflow_runctl.vendors.snaplogic.trigger import LOOK_BACK_HOURS, Trigger, TriggeredTask

INVOKERS: Final = ("triggered", "scheduled", "always_on", "manual")

FILTER_KEYS: Final[Mapping[str, str]] = {
    "pipeline_name": "pipe_name",
    "project_path": "project_path",
    "invoker": "invoker",
}
"""What a search for live runs calls it to what the list does."""


@dataclass(frozen=True, slots=True)
class SnapLogic(SnapLogicApi):
    """SnapLogic's public API for one org: runs are started, found, looked at, stopped and resumed."""

    operations: ClassVar[frozenset[Operation]] = frozenset(Operation) - {Operation.PAUSE}
    can_glance: ClassVar[bool] = True
    filters: ClassVar[frozenset[str]] = frozenset({"pipeline_name", "project_path", "invoker"})

    # -- start ---------------------------------------------------------------------------------------

    def trigger(self, task: TriggeredTask) -> StartPlan:
        """Plan a new run of a Triggered Task."""
        return Trigger(self).plan(task)

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return the runs that came up since ``search`` was written, living or over."""
        return (yield from Trigger(self).find(search))

    # -- look ----------------------------------------------------------------------------------------

    def status(self, run: ExternalRun) -> Flow[RunStatus]:
        """Look at a run; a failed one is looked at once more in detail if the summary has no reason.

        Source: https://docs.snaplogic.com/public-apis/get-runtime-org-ruuid.html
        """
        return (yield from self.get_run(run.ids["ruuid"]))

    def glance(self, watched: Sequence[tuple[ExternalRun, str]]) -> Flow[Glance]:
        """List the triggered runs of each state in which many are watched; an entry counts by the state it shows.

        Source: https://docs.snaplogic.com/public-apis/get-runtime-org.html
        """
        shown: dict[str, str] = {}
        for word, count in Counter(word for _, word in watched).items():
            if count < WORTH_A_LIST or word not in LIVE_STATES:
                continue
            most = pages_worth(count, PAGE)
            entries = yield from self.list_runs(None, most, state=word, invoker="triggered", last_hours=LOOK_BACK_HOURS)
            shown.update((entry_id(entry), word) for entry in entries if entry.get("state") == word)
        return lambda run: shown.get(run.ids["ruuid"])

    def live_runs(self, filters: Mapping[str, str]) -> Flow[list[Started]]:
        """Return the live runs of a pipeline (``pipeline_name``), of a project, of an ``invoker``, or of all of these.

        The list's own defaults for state and invoker hide runs, so each is asked for by name; children of a
        run are left to it.

        Source: https://docs.snaplogic.com/public-apis/get-runtime-org.html
        """
        wanted = {FILTER_KEYS[name]: value for name, value in filters.items()}
        found: dict[str, Started] = {}
        for state in LIVE_STATES:
            for invoker in [wanted["invoker"]] if "invoker" in wanted else INVOKERS:
                query: dict[str, str | int | None] = {**wanted, "invoker": invoker}
                entries = yield from self.list_runs(**query, state=state, last_hours=LOOK_BACK_HOURS)
                for entry in entries:
                    # list_runs lets an entry pass that does not say; a search must not.
                    if all(entry.get(ENTRY_KEYS[name]) == value for name, value in wanted.items()):
                        run_id = entry_id(entry)
                        found[run_id] = replace(started(run_id), vendor_state=str(entry.get("state") or state))
        return list(found.values())

    # -- act -----------------------------------------------------------------------------------------

    def ask_stop(self, run: ExternalRun) -> Flow[StopReply]:
        """Ask to stop: no query, no body. Stopping is asynchronous, the answer means "asked".

        The platform starts the run of an Ultra Task again; where ``disable_task`` is among the ids that task is
        disabled instead.

        Source: https://docs.snaplogic.com/public-apis/post-runtime-stop-org-ruuid.html
        """
        if task_path := run.ids.get("disable_task"):
            yield from switch_task(self, task_path, on=False)
            return StopReply()
        response = yield self.request("POST", "runtime", "stop", self.org, run.ids["ruuid"], effect=Effect.STOP)
        self.envelope(response)
        return StopReply()

    def ask_resume(self, run: ExternalRun) -> Flow[None]:
        """Resume a suspended run; its id stays. What else can be resumed is not documented.

        Source: https://docs.snaplogic.com/public-apis/post-runtime-start-org-ruuid.html
        """
        ruuid = run.ids["ruuid"]
        before = yield from self.get_run(ruuid)
        if before.state is not RunState.SUSPENDED:
            raise RunctlError(f"SnapLogic run {ruuid} is {before.vendor_state}; only a Suspended run can be resumed.")
        try:
            response = yield self.request("POST", "runtime", "start", self.org, ruuid, effect=Effect.START)
        except TransportError:
            # Resuming twice is undocumented: look instead of asking again.
            after = yield from self.get_run(ruuid)
            if after.state is RunState.SUSPENDED:
                raise
        else:
            self.envelope(response)

    def test(self) -> Flow[str]:
        """Read one row of the org's list of runs."""
        response = yield self.request("GET", "runtime", self.org, query={"limit": "1"})
        page = self.envelope(response)
        if not isinstance(page, Mapping) or not isinstance(page.get("entries"), list):
            raise BadAnswer(f"What answers here is not SnapLogic's public API: {response.excerpt() or 'no text'!r}")
        return f"Reached SnapLogic org {self.org!r} as {self.account or 'the bearer of the token'}."

    def run_url(self, base_url: str, started: Started) -> str | None:
        """Return the dashboard: SnapLogic publishes no address of a single run."""
        template = self.dashboard_url or f"{base_url}/sl/dashboard.html"
        return template.replace("{org}", self.org).replace("{ruuid}", started.run_id)
