"""bctrl's contract ``workspaces``: a runtime is known by its workspace and its alias.

Source: https://platform.bctrl.ai/api/api-reference/workspaces/runtimes-stop and its neighbours ``runtimes-get``,
``runtimes-list``, ``runtimes-create``. An alias can mean another runtime later: whatever acts on a runtime of
ours first compares its id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from airflow_runctl.exceptions import (
    BadAnswer,
    CannotStop,
    ConnectionSetupError,
    NotFound,
    StartRefused,
    TransportError,
)
from airflow_runctl.runs import ExternalRun, RunState, RunStatus, printable
from airflow_runctl.vendors.base import (
    WORTH_A_LIST,
    Effect,
    Flow,
    Glance,
    HttpRequest,
    Operation,
    Search,
    Started,
    StartPlan,
    StopReply,
    path,
)
from airflow_runctl.vendors.bctrl.api import START_REFUSED, Bctrl, RuntimeStart, TaskStart

STATES: Final[Mapping[str, RunState]] = {
    "active": RunState.RUNNING,
    "stopped": RunState.STOPPED,
    "failed": RunState.FAILED,
}
"""A runtime knows no success: closed on request, idle for too long and at its end look alike."""

DEFAULT_DRIVER: Final = "playwright"
DEFAULT_LAUNCH: Final = {"mode": "ephemeral"}


@dataclass(frozen=True, slots=True)
class BctrlWorkspaces(Bctrl):
    """bctrl over the contract ``workspaces``."""

    contract: ClassVar[str] = "workspaces"
    states: ClassVar[Mapping[str, RunState]] = STATES
    operations: ClassVar[frozenset[Operation]] = frozenset(Operation) - {Operation.PAUSE, Operation.RESUME}
    can_glance: ClassVar[bool] = True
    filters: ClassVar[frozenset[str]] = frozenset({"name", "workspace_id"})
    not_found_hint: ClassVar[str] = (
        "If nothing at all is found: this contract (extra 'api' is workspaces) is the oldest, and probably retired; "
        "set 'api' of the connection to browsers. Or the path in the connection's host ends in /v1, which it must not."
    )

    # -- start ---------------------------------------------------------------------------------------

    def start_runtime(self, runtime: RuntimeStart) -> StartPlan:
        """Plan a new runtime under an alias. Creating it launches it; there is no other start.

        The documentation does not spell out the body's field for the alias (``alias`` is sent, and what the
        answer says is used), nor the bodies of other kinds than ``browser``.

        Source: https://platform.bctrl.ai/api/api-reference/workspaces/runtimes-create
        """
        if runtime.workspace_id is None or runtime.alias is None:
            raise ConnectionSetupError(
                "The connection speaks bctrl's contract 'workspaces', in which a runtime has a workspace_id and an "
                "alias. Give both, or set the connection's extra 'api' to browsers."
            )
        workspace_id, alias = runtime.workspace_id, runtime.alias
        where = path("v1", "workspaces", workspace_id, "runtimes")
        body = {"kind": runtime.kind, "alias": alias, **_launch_of(runtime), **runtime.options}

        def prepare() -> Flow[Search]:
            known = yield from self._free_alias(workspace_id, alias)
            return {"workspace_id": workspace_id, "alias": alias, "known": known}

        def start(search: Search) -> Flow[Started]:
            request = HttpRequest("POST", where, Effect.START, headers=self.headers, json=body)
            return (yield from self._start(request, search))

        return StartPlan({"workspace_id": workspace_id, "body": body}, prepare, start, what=f"{workspace_id}/{alias}")

    def run_task(self, task: TaskStart) -> StartPlan:
        """Refuse: this contract's work for agents has states that no document shows."""
        raise ConnectionSetupError(
            "Tasks of agents belong to bctrl's contract 'browsers': set the connection's extra 'api' to browsers."
        )

    def _free_alias(self, workspace_id: str, alias: str) -> Flow[str]:
        """Return the id of the runtime that had the alias last, or an empty text.

        :raises StartRefused: if a live runtime has it: what a second one would do to it is not documented, and
            a stop by alias could not tell the two apart.
        """
        try:
            runtime = yield from self._get(workspace_id, alias)
        except NotFound:
            return ""
        status = self._status_of(runtime)
        if status.state.is_live:
            raise StartRefused(
                f"The alias {alias!r} belongs to bctrl runtime {printable(runtime.get('id'))}, which is "
                f"{status.vendor_state}. Nothing was started: stop that one first, or take another alias.",
                status=409,
            )
        return str(runtime.get("id"))

    def _start(self, request: HttpRequest, search: Search) -> Flow[Started]:
        what = f"a runtime under alias {search['alias']!r} of workspace {search['workspace_id']}"
        try:
            response = yield request
        except (TransportError, BadAnswer) as error:
            if not getattr(error, "sent", True):
                raise
            return (yield from self.lost(search, what, str(error)))
        if response.status in START_REFUSED:
            raise StartRefused(f"bctrl refused the start. {self.error_of(response)}", status=response.status)
        runtime = response.json_or_none() if response.ok else None
        if not isinstance(runtime, Mapping) or not isinstance(runtime.get("id"), str):
            return (yield from self.lost(search, what, f"its answer (HTTP {response.status}) names no runtime"))
        started = self._started(runtime, search["workspace_id"], search["alias"])
        if started.vendor_state in STATES and STATES[started.vendor_state].is_terminal:
            raise StartRefused(
                f"bctrl made runtime {started.run_id}, but it is {started.vendor_state}. Nothing is running.",
                status=200,
            )
        return started

    def _started(self, runtime: Mapping[str, Any], workspace_id: str, alias: str) -> Started:
        runtime_id = str(runtime["id"])
        ids = {"workspace_id": workspace_id, "alias": str(runtime.get("alias") or alias), "id": runtime_id}
        shown = {name: ids[name] for name in ("workspace_id", "alias")}
        return Started(runtime_id, ids, str(runtime.get("status") or ""), shown)

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return the runtime under the alias, if it came up since ``search`` was written."""
        try:
            runtime = yield from self._get(search["workspace_id"], search["alias"])
        except NotFound:
            return []
        if not isinstance(runtime.get("id"), str) or runtime["id"] == search["known"]:
            return []
        return [self._started(runtime, search["workspace_id"], search["alias"])]

    # -- look ----------------------------------------------------------------------------------------

    def status(self, run: ExternalRun) -> Flow[RunStatus]:
        """Look at the runtime under the alias; if it is another one by now, look for ours in the list.

        Source: https://platform.bctrl.ai/api/api-reference/workspaces/runtimes-get

        :raises NotFound: if the alias means another runtime, and ours is not listed.
        """
        workspace_id, alias = self.id_of(run, "workspace_id"), self.id_of(run, "alias")
        runtime = yield from self._get(workspace_id, alias)
        if not _is_other(run, runtime):
            return self._status_of(runtime)
        for entry in (yield from self.list_runtimes(workspace_id)):
            if entry.get("id") == run.ids["id"]:
                return self._status_of(entry)
        raise NotFound(
            f"bctrl runtime {run.run_id} is not under alias {alias!r} of workspace {workspace_id} any more: that is "
            f"runtime {printable(runtime.get('id'))} now.",
            status=404,
        )

    def _get(self, workspace_id: str, alias: str) -> Flow[Mapping[str, Any]]:
        response = yield self.request("GET", "workspaces", workspace_id, "runtimes", alias)
        return self.object_of(response, f"runtime {alias!r}")

    def _status_of(self, runtime: Mapping[str, Any]) -> RunStatus:
        word = runtime.get("status")
        if not isinstance(word, str):
            raise BadAnswer(f"bctrl's answer about runtime {runtime.get('alias')!r} has no status.")
        return RunStatus(self.state_of(word), word)

    def glance(self, watched: Sequence[tuple[ExternalRun, str]]) -> Flow[Glance]:
        """List the runtimes of each workspace in which many are watched, and know each by its id."""
        shown: dict[str, str] = {}
        workspaces = Counter(run.ids["workspace_id"] for run, _ in watched if "id" in run.ids)
        for workspace_id, count in workspaces.items():
            if count >= WORTH_A_LIST:
                entries = yield from self.list_runtimes(workspace_id)
                shown.update({str(entry.get("id")): str(entry.get("status")) for entry in entries})
        return lambda run: shown.get(run.ids.get("id", ""))

    def list_runtimes(self, workspace_id: str) -> Flow[list[Mapping[str, Any]]]:
        """List the runtimes of a workspace.

        Source: https://platform.bctrl.ai/api/api-reference/workspaces/runtimes-list
        """
        response = yield self.request("GET", "workspaces", workspace_id, "runtimes")
        return self.array_of(response, "runtimes")

    def list_workspaces(self) -> Flow[list[Mapping[str, Any]]]:
        """List the workspaces.

        Source: https://platform.bctrl.ai/api/api-reference/workspaces/list
        """
        return self.array_of((yield self.request("GET", "workspaces")), "workspaces")

    def live_runs(self, filters: Mapping[str, str]) -> Flow[list[Started]]:
        """Return the live runtimes of an alias (``name``), of a workspace (``workspace_id``), or of both."""
        if "workspace_id" in filters:
            workspaces = [filters["workspace_id"]]
        else:
            workspaces = [str(entry["id"]) for entry in (yield from self.list_workspaces()) if entry.get("id")]
        found = []
        for workspace_id in workspaces:
            for runtime in (yield from self.list_runtimes(workspace_id)):
                named = isinstance(runtime.get("id"), str) and isinstance(runtime.get("alias"), str)
                if named and filters.get("name") in (None, runtime["alias"]) and self._status_of(runtime).state.is_live:
                    found.append(self._started(runtime, workspace_id, runtime["alias"]))
        return found

    # -- act -----------------------------------------------------------------------------------------

    def ask_stop(self, run: ExternalRun) -> Flow[StopReply]:
        """Stop the runtime under the alias, if it is ours; no body, no content type.

        The answer is the runtime and may still say ``active``: then it is not stopped yet. Its id is compared
        too, since the alias may have been given away between the look and the stop. A runtime that a user
        named by workspace and alias has no id to compare: whatever has the alias is meant.

        Source: https://platform.bctrl.ai/api/api-reference/workspaces/runtimes-stop

        :raises CannotStop: if the alias means another runtime.
        """
        workspace_id, alias = self.id_of(run, "workspace_id"), self.id_of(run, "alias")
        if "id" in run.ids:
            runtime = yield from self._get(workspace_id, alias)
            if _is_other(run, runtime):
                return (yield from self._leave_alone(run, runtime))
        response = yield self.request("POST", "workspaces", workspace_id, "runtimes", alias, "stop", effect=Effect.STOP)
        runtime = self.object_of(response, f"the stop of runtime {alias!r}")
        if _is_other(run, runtime):
            raise CannotStop(
                f"The alias {alias!r} was given to another bctrl runtime while this was under way: the stop hit "
                f"runtime {printable(runtime.get('id'))}, not {run.run_id}, which may be alive. Look at both at bctrl."
            )
        return StopReply(self._status_of(runtime))

    def _leave_alone(self, run: ExternalRun, other: Mapping[str, Any]) -> Flow[StopReply]:
        """Return the end of our runtime, if the list shows it; the one that has its alias is not stopped."""
        try:
            status = yield from self.status(run)
        except NotFound:
            status = None
        if status is not None and status.state.is_terminal:
            return StopReply(status)
        raise CannotStop(
            f"The alias {run.ids['alias']!r} of workspace {run.ids['workspace_id']} means bctrl runtime "
            f"{printable(other.get('id'))} now, not {run.run_id}. Nothing was stopped, since a stop by alias would hit "
            f"the other one. {run.run_id} is over or out of reach; look for it at bctrl."
        )

    def test(self) -> Flow[str]:
        """List the workspaces, a harmless call."""
        response = yield self.request("GET", "workspaces")
        if not self.object_of(response, "the list of workspaces"):
            raise BadAnswer(f"What answers here is not bctrl, it lists no workspaces: {response.excerpt()!r}")
        count = len(self.array_of(response, "workspaces"))
        return f"Reached bctrl (contract workspaces) with this API key; it sees {count} workspaces."


def _launch_of(runtime: RuntimeStart) -> dict[str, Any]:
    """Return driver and launch; only what a browser needs is known well enough for a default."""
    is_browser = runtime.kind == "browser"
    driver = runtime.driver or (DEFAULT_DRIVER if is_browser else None)
    launch = runtime.launch or (DEFAULT_LAUNCH if is_browser else None)
    return {key: value for key, value in {"driver": driver, "launch": launch}.items() if value is not None}


def _is_other(run: ExternalRun, runtime: Mapping[str, Any]) -> bool:
    """Return True if ``runtime`` surely is not ``run``."""
    return "id" in run.ids and runtime.get("id") not in (None, run.ids["id"])
